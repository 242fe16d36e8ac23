"""S3 with AWS's own command line program: files and trees, both ways."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Lambdad

PROGRAM = Path(sys.executable).with_name("aws")


class Cli:
    """`aws s3 ...`, as a user would type it."""

    def __init__(self, url: str, home: Path) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def __call__(self, *words: str, fails: bool = False, stdin: bytes | None = None) -> str:
        done = subprocess.run(
            [PROGRAM, *words], env=self._environment, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600
        )
        output = done.stdout.decode()
        assert (done.returncode != 0) == fails, output
        return output


@pytest.fixture
def aws(lambdad: Lambdad, tmp_path: Path) -> Cli:
    return Cli(lambdad.url, tmp_path)


@pytest.fixture
def bucket(aws: Cli) -> Iterator[str]:
    name = f"cli-{os.urandom(6).hex()}"
    assert f"make_bucket: {name}" in aws("s3", "mb", f"s3://{name}")
    yield name
    aws("s3", "rb", "--force", f"s3://{name}")


def tree(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def grow(top: Path, count: int) -> None:
    """Make a tree of small files in a few dozen folders, with names of all sorts."""
    for number in range(count):
        folder = top / f"folder {number % 37}" / f"d{number % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"file+{number}-ü.txt"
        file.write_bytes(os.urandom(number % 300))
        os.utime(file, (1_700_000_000, 1_700_000_000))  # S3 tells whole seconds, so a file of this second would seem newer than its object


def test_files(aws: Cli, bucket: str, tmp_path: Path) -> None:
    """Files are copied there and back, listed, moved, removed; large ones go in parts."""
    small, large, back = tmp_path / "small.txt", tmp_path / "large.bin", tmp_path / "back"
    small.write_text("hello")
    large.write_bytes(os.urandom(20 * 1024 * 1024))
    aws("s3", "cp", str(small), f"s3://{bucket}/a/small.txt")
    aws("s3", "cp", str(large), f"s3://{bucket}/large.bin")
    listing = aws("s3", "ls", f"s3://{bucket}")
    assert "PRE a/" in listing and "20971520 large.bin" in listing
    assert "Total Objects: 2" in aws("s3", "ls", "--recursive", "--summarize", f"s3://{bucket}")
    aws("s3", "cp", f"s3://{bucket}/large.bin", str(back))
    assert back.read_bytes() == large.read_bytes()
    aws("s3", "mv", f"s3://{bucket}/a/small.txt", f"s3://{bucket}/b/small.txt")
    assert aws("s3", "cp", f"s3://{bucket}/b/small.txt", "-") == "hello"
    aws("s3", "cp", "-", f"s3://{bucket}/piped", stdin=b"from a pipe")
    assert aws("s3", "cp", f"s3://{bucket}/piped", "-") == "from a pipe"
    aws("s3", "rm", f"s3://{bucket}/piped")
    assert "404" in aws("s3", "cp", f"s3://{bucket}/piped", "-", fails=True)
    assert "BucketNotEmpty" in aws("s3", "rb", f"s3://{bucket}", fails=True)
    assert bucket in aws("s3", "ls")
    assert "NoSuchBucket" in aws("s3", "ls", "s3://none-such-bucket", fails=True)


def synchronise(aws: Cli, bucket: str, tmp_path: Path, count: int) -> None:
    """Synchronise a tree up and down, and then only what has changed."""
    there, back = tmp_path / "there", tmp_path / "back"
    grow(there, count)
    aws("s3", "sync", "--only-show-errors", str(there), f"s3://{bucket}/tree")
    aws("s3", "sync", "--only-show-errors", f"s3://{bucket}/tree", str(back))
    assert tree(back) == tree(there) and len(tree(back)) == count
    assert aws("s3", "sync", str(there), f"s3://{bucket}/tree") == ""
    first = sorted(there.rglob("*.txt"))[0]
    first.unlink()
    (there / "new").write_text("new")
    changes = aws("s3", "sync", "--delete", "--no-progress", str(there), f"s3://{bucket}/tree")
    assert sorted(line.partition(":")[0] for line in changes.splitlines()) == ["delete", "upload"]
    aws("s3", "sync", "--delete", "--only-show-errors", f"s3://{bucket}/tree", str(back))
    assert tree(back) == tree(there)


def test_sync(aws: Cli, bucket: str, tmp_path: Path) -> None:
    """`aws s3 sync` goes both ways, and is quiet when nothing has changed."""
    synchronise(aws, bucket, tmp_path, 120)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sync_of_five_thousand_files(aws: Cli, bucket: str, tmp_path: Path) -> None:
    """A tree of 5,000 small files is synchronised both ways."""
    synchronise(aws, bucket, tmp_path, 5000)

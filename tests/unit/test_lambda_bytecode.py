"""Compiled modules put beside their sources: what is whole goes to its place, and nothing goes anywhere else."""

import io
import os
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.services.lambda_ import bytecode


def record(name: str | bytes, content: bytes) -> bytes:
    raw = os.fsencode(name)
    return struct.pack(">II", len(raw), len(content)) + raw + content


END = record("", b"")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "code"
    (root / "pkg" / "deep").mkdir(parents=True)
    (root / "app.py").write_text("x = 1\n")
    return root


def files_below(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file() and not path.is_symlink()}


def test_modules_go_beside_their_sources(root: Path):
    """Each is readable for everybody, and replaces one that is there."""
    stale = root / "__pycache__" / "app.cpython-311.pyc"
    stale.parent.mkdir()
    stale.write_bytes(b"stale")
    stream = record("__pycache__/app.cpython-311.pyc", b"one") + record("pkg/deep/__pycache__/m.cpython-39.pyc", b"two") + END
    assert bytecode.install(io.BytesIO(stream), root) == 2
    assert files_below(root) == {
        "app.py": b"x = 1\n",
        "__pycache__/app.cpython-311.pyc": b"one",
        "pkg/deep/__pycache__/m.cpython-39.pyc": b"two",
    }
    assert stat.S_IMODE(stale.stat().st_mode) == 0o644
    assert stat.S_IMODE((root / "pkg/deep/__pycache__").stat().st_mode) == 0o755


def test_many_modules_are_synced_together(root: Path):
    """More than are synced one by one."""
    stream = b"".join(record(f"__pycache__/m{number}.cpython-312.pyc", b"%d" % number) for number in range(200)) + END
    assert bytecode.install(io.BytesIO(stream), root) == 200
    assert len(files_below(root)) == 201


@pytest.mark.parametrize(
    "name",
    [
        "../__pycache__/app.cpython-311.pyc",
        "pkg/../../__pycache__/app.cpython-311.pyc",
        "./__pycache__/app.cpython-311.pyc",
        "/__pycache__/app.cpython-311.pyc",
        "pkg//__pycache__/app.cpython-311.pyc",
        "__pycache__/../app.cpython-311.pyc",
        "app.py",
        "__pycache__/app.py",
        "__pycache__/app.cpython-311.pyc\0",
        "__pycache__/.publishing-x",
    ],
)
def test_other_names_end_the_reading(root: Path, name: str):
    """A name that is not a compiled module's is refused with all that follows."""
    stream = record(name, b"evil") + record("__pycache__/app.cpython-311.pyc", b"good") + END
    assert bytecode.install(io.BytesIO(stream), root) == 0
    assert files_below(root.parent) == {"code/app.py": b"x = 1\n"}


def test_no_link_is_followed(root: Path, tmp_path: Path):
    """Neither a linked directory nor a linked __pycache__ leads out."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "linked").symlink_to(outside)
    (root / "pkg" / "__pycache__").symlink_to(outside)
    names = ("linked/__pycache__/a.cpython-311.pyc", "pkg/__pycache__/a.cpython-311.pyc", "missing/__pycache__/a.cpython-311.pyc")
    assert bytecode.install(io.BytesIO(b"".join(record(name, b"evil") for name in names) + END), root) == 0
    assert not list(outside.iterdir())


def test_a_torn_stream_gives_what_is_whole(root: Path):
    """The compiler may die at any byte."""
    whole = record("__pycache__/a.cpython-311.pyc", b"aaaa")
    stream = whole + record("__pycache__/b.cpython-311.pyc", b"bbbb") + END
    for cut in range(len(stream)):
        count = bytecode.install(io.BytesIO(stream[:cut]), root)
        assert count == (cut >= len(whole)) + (cut >= len(stream) - len(END))
    assert not [name for name in files_below(root) if "publishing" in name]


@given(st.binary(max_size=300))
def test_garbage_does_nothing(tmp_path_factory: pytest.TempPathFactory, garbage: bytes):
    """Whatever comes, nothing is written outside of __pycache__, and nothing raises."""
    root = tmp_path_factory.mktemp("code")
    bytecode.install(io.BytesIO(garbage), root)
    assert all("__pycache__/" in name for name in files_below(root))


def test_a_full_disk_leaves_no_half_module(root: Path, monkeypatch: pytest.MonkeyPatch):
    """What was begun is removed, what was there stays."""

    def full(descriptor: int, data: bytes) -> None:
        os.write(descriptor, data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bytecode.publish, "write_all", full)
    with pytest.raises(OSError, match="No space left"):
        bytecode.install(io.BytesIO(record("__pycache__/a.cpython-311.pyc", b"aaaa") + END), root)
    assert files_below(root) == {"app.py": b"x = 1\n"}


def test_what_a_dead_one_left_is_removed(root: Path):
    """Half written modules of a process that was killed go away the next time."""
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / ".publishing-0123456789abcdef-a.cpython-311.pyc").write_bytes(b"a")
    assert bytecode.install(io.BytesIO(END), root) == 0
    assert files_below(root) == {"app.py": b"x = 1\n"}

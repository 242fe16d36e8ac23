"""Zips on a real file system: stored, unpacked, merged, collected; and hostile ones that must not leave their directory."""

import asyncio
import io
import os
import stat
import subprocess
import tempfile
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.kit import threads
from lambdad.model.errors import AwsError
from lambdad.model.function import FunctionVersion, LayerReference, StateReasonCode
from lambdad.model.ids import AccountId, Region
from lambdad.services.lambda_ import unpacking
from lambdad.services.lambda_.code import Code, merged_name
from lambdad.services.lambda_.ports import PreparationFailed
from lambdad.store import publish
from lambdad.store.blobs import Blobs


def zipped(files: dict[str, bytes | str], modes: dict[str, int] | None = None) -> bytes:
    """Make a zip; a text instead of bytes makes a symbolic link to it."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            form, mode = (stat.S_IFLNK, 0o777) if isinstance(content, str) else (stat.S_IFREG, 0o644)
            info.external_attr = (form | (modes or {}).get(name, mode)) << 16
            archive.writestr(info, content)
    return target.getvalue()


def tree(root: Path) -> dict[str, tuple[str, int, bytes]]:
    """Read a directory as (kind, mode, content or target) by relative path, following nothing."""
    found = {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(directory, name)
            status = path.lstat()
            relative = str(path.relative_to(root))
            mode = stat.S_IMODE(status.st_mode)
            if path.is_symlink():
                found[relative] = ("link", mode, os.readlink(path).encode())
            elif path.is_dir():
                found[relative] = ("directory", mode, b"")
            else:
                found[relative] = ("file", mode, path.read_bytes())
    return found


def version(code_sha256: str, *layers: str) -> FunctionVersion:
    """Make a version that refers to zips."""
    return FunctionVersion(
        account=AccountId("000000000000"),
        region=Region("us-east-1"),
        name="f",
        deployment_id="d",
        revision_id="r",
        last_modified="",
        runtime="python3.11",
        handler="f.h",
        role="arn:aws:iam::000000000000:role/r",
        timeout_s=3,
        memory_mib=128,
        ephemeral_storage_mib=512,
        code_sha256=code_sha256,
        code_size_bytes=0,
        layers=tuple(LayerReference(f"arn:{sha256}", sha256, 0) for sha256 in layers),
        log_group="/aws/lambda/f",
    )


@pytest.fixture
async def code(tmp_path: Path) -> AsyncIterator[Code]:
    code = Code(Blobs(tmp_path / "zips"), tmp_path / "unpacked")
    await code.open()
    yield code


async def test_store_and_unpack(code: Code) -> None:
    """A zip comes back as it was sent, and its directory holds its files with their modes."""
    data = zipped({"a/b.py": b"x = 1\n", "run": b"#!/bin/sh\n", "a/l": "b.py"}, {"run": 0o755})
    stored = await code.store(data)
    assert (stored.size_bytes, stored.unzipped_bytes) == (len(data), 16 + len("b.py"))
    assert await code.read(stored.sha256) == data == code.zip_path(stored.sha256).read_bytes()
    directory = await code.unpack(stored.sha256)
    assert directory == code.root / stored.sha256
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert tree(directory) == {
        "a": ("directory", 0o755, b""),
        "a/b.py": ("file", 0o644, b"x = 1\n"),
        "a/l": ("link", 0o777, b"b.py"),
        "run": ("file", 0o755, b"#!/bin/sh\n"),
    }


async def in_pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]


async def test_pieces_are_stored_like_a_whole_zip(code: Code) -> None:
    """A zip that comes in pieces is the same as one that comes whole, and may be larger than a request."""
    data = zipped({"a": os.urandom(5000)})
    assert await code.store(in_pieces(data)) == await code.check(in_pieces(data)) == await code.store(data)
    large = zipped({"a": os.urandom(55_000_000)})
    assert (await code.store(in_pieces(large, 1_000_000))).unzipped_bytes == 55_000_000


async def test_pieces_that_are_no_zip(code: Code) -> None:
    """What comes in pieces is looked at like what comes whole; what is refused goes when nobody refers to it."""
    for data in (b"", b"nonsense", zipped({"a": b"1" * 1000})[:-30]):
        with pytest.raises(AwsError) as whole:
            await code.store(data)
        with pytest.raises(AwsError) as pieces:
            await code.store(in_pieces(data))
        assert str(pieces.value) == str(whole.value)
    assert await code.collect(set(), older_than_s=-1) == 3


async def test_modes_do_not_depend_on_umask(code: Code) -> None:
    """Whoever started lambdad with a strict umask gets the same directories."""
    stored = await code.store(zipped({"d/x": b"1"}, {"d/x": 0o666}))
    before = os.umask(0o077)
    try:
        directory = await code.unpack(stored.sha256)
    finally:
        os.umask(before)
    assert {path: mode for path, (_, mode, _) in tree(directory).items()} == {"d": 0o755, "d/x": 0o666}


async def test_unpacking_is_shared(code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many callers at once, and later ones, cost one extraction."""
    calls: list[Path] = []
    extract = unpacking.extract

    def counted(zip_path: Path, root: Path) -> None:
        calls.append(root)
        extract(zip_path, root)

    monkeypatch.setattr(unpacking, "extract", counted)
    stored = await code.store(zipped({"x": b"1"}))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(code.unpack(stored.sha256)) for _ in range(20)]
    assert {task.result() for task in tasks} == {code.root / stored.sha256}
    await code.unpack(stored.sha256)
    assert len(calls) == 1


async def test_what_was_unpacked_before_is_used(code: Code, tmp_path: Path) -> None:
    """A restart finds directories by their names, and removes half made ones."""
    stored = await code.store(zipped({"x": b"1"}))
    directory = await code.unpack(stored.sha256)
    inode = (directory / "x").stat().st_ino
    leftover = publish.temporary_beside(directory)
    leftover.mkdir()
    (leftover / "half").write_bytes(b"x")
    again = Code(Blobs(tmp_path / "zips"), tmp_path / "unpacked")
    await again.open()
    assert not leftover.exists()
    assert (await again.unpack(stored.sha256) / "x").stat().st_ino == inode


async def test_failed_unpacking_leaves_nothing(code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk error in the middle is no directory, and the next attempt succeeds."""
    stored = await code.store(zipped({"x": b"1", "y": b"2"}))
    extract = unpacking.extract

    def broken(zip_path: Path, root: Path) -> None:
        extract(zip_path, root)
        raise OSError(5, "input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(unpacking, "extract", broken)
        with pytest.raises(PreparationFailed) as caught:
            await code.prepare(version(stored.sha256))
    assert caught.value.code is StateReasonCode.INTERNAL_ERROR
    assert list(code.root.iterdir()) == []
    await code.prepare(version(stored.sha256))
    assert (code.root / stored.sha256 / "x").read_bytes() == b"1"


async def test_lost_and_damaged_zips_fail_to_prepare(code: Code) -> None:
    """What the disk did to a stored zip is shown as a failed deployment."""
    with pytest.raises(PreparationFailed):
        await code.prepare(version("0" * 64))
    stored = await code.store(zipped({"x": b"1" * 1000}))
    path = code.zip_path(stored.sha256)
    damaged = bytearray(path.read_bytes())
    damaged[35] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(damaged)
    with pytest.raises(PreparationFailed) as caught:
        await code.prepare(version(stored.sha256))
    assert caught.value.code is StateReasonCode.INVALID_ZIP_FILE
    assert list(code.root.iterdir()) == []


async def test_refused_zips_are_not_kept(code: Code, tmp_path: Path) -> None:
    """Checking comes before storing, and `check` alone stores nothing either."""
    for data in (b"", b"no zip", zipped({"../x": b"1"})):
        with pytest.raises(AwsError):
            await code.store(data)
    await code.check(zipped({"x": b"1"}))
    assert not list((tmp_path / "zips").rglob("*"))


async def test_layers_are_merged(code: Code) -> None:
    """Later layers win, directories are merged, and what was a directory may become a file and the other way round."""
    first = zipped(
        {
            "python/a.py": b"1",
            "python/b.py": b"1",
            "bin/tool": b"1",
            "was-dir/deep/x": b"1",
            "was-file": b"1",
            "was-link": "python",
            "link": "python/a.py",
        },
        {"bin/tool": 0o755},
    )
    second = zipped({"python/b.py": b"2", "python/c.py": b"2", "was-dir": b"2", "was-file/y": b"2", "was-link/z": b"2", "link": "bin"})
    hashes = [(await code.store(data)).sha256 for data in (first, second)]
    name = await code.merge_layers(hashes)
    assert name is not None
    assert name == merged_name(hashes) != merged_name(hashes[::-1])
    assert tree(code.root / name) == {
        "python": ("directory", 0o755, b""),
        "python/a.py": ("file", 0o644, b"1"),
        "python/b.py": ("file", 0o644, b"2"),
        "python/c.py": ("file", 0o644, b"2"),
        "bin": ("directory", 0o755, b""),
        "bin/tool": ("file", 0o755, b"1"),
        "was-dir": ("file", 0o644, b"2"),
        "was-file": ("directory", 0o755, b""),
        "was-file/y": ("file", 0o644, b"2"),
        "was-link": ("directory", 0o755, b""),
        "was-link/z": ("file", 0o644, b"2"),
        "link": ("link", 0o777, b"bin"),
    }
    assert tree(code.root / hashes[0])["python/b.py"] == ("file", 0o644, b"1")


async def test_one_layer_needs_no_merging(code: Code) -> None:
    """Most functions have one layer or none."""
    stored = await code.store(zipped({"x": b"1"}))
    assert await code.merge_layers([]) is None
    assert await code.merge_layers([stored.sha256]) == stored.sha256
    function = version(stored.sha256, stored.sha256)
    await code.prepare(function)
    assert (code.task_directory(function), code.opt_directory(function)) == (stored.sha256, stored.sha256)
    assert [path.name for path in code.root.iterdir()] == [stored.sha256]


async def test_layers_are_copied_where_links_do_not_work(code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links, or a file with too many of them, costs space only."""
    hashes = [(await code.store(zipped({name: b"x" * 1000}, {name: 0o754}))).sha256 for name in "ab"]

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(31, "too many links")

    monkeypatch.setattr(os, "link", refuse)
    name = await code.merge_layers(hashes)
    assert name is not None
    assert tree(code.root / name) == dict.fromkeys("ab", ("file", 0o754, b"x" * 1000))


async def test_merging_follows_no_link(code: Code, tmp_path: Path) -> None:
    """A layer's link to a directory is replaced by the next layer's directory, not written through."""
    outside = tmp_path / "outside"
    outside.mkdir()
    one, two = tmp_path / "one", tmp_path / "two"
    (two / "d").mkdir(parents=True)
    (two / "d" / "x").write_bytes(b"2")
    one.mkdir()
    (one / "d").symlink_to(outside)
    target = tmp_path / "target"
    target.mkdir()
    unpacking.merge([one, two], target)
    assert not list(outside.iterdir())
    assert tree(target) == {"d": ("directory", 0o755, b""), "d/x": ("file", 0o644, b"2")}


async def test_collect(code: Code, tmp_path: Path) -> None:
    """What nobody refers to goes, once it is old enough; what is used again in time stays."""
    data = [zipped({name: b"1"}) for name in "abcd"]
    a, b, c, d = [(await code.store(each)).sha256 for each in data]
    await code.prepare(version(a, b, c))
    await code.prepare(version(d))
    function = version(a, b)
    assert await code.collect(code.names(function)) == 0
    merged = merged_name([b, c])
    assert merged is not None

    later = Code(Blobs(tmp_path / "zips"), tmp_path / "unpacked")
    await later.open()
    for path in [*(tmp_path / "unpacked").iterdir(), *(later.zip_path(sha256) for sha256 in (a, b, c, d))]:
        os.utime(path, (1, 1))
    await later.unpack(d)
    assert await later.collect(code.names(function)) == 3  # c's zip and directory, and the merged one
    assert {path.name for path in (tmp_path / "unpacked").iterdir()} == {a, b, d}
    with pytest.raises(KeyError):
        await later.read(c)
    assert await later.read(d) == data[3]

    assert await later.collect(code.names(function), older_than_s=0) == 2
    assert (await later.store(data[3])).sha256 == d
    assert (await later.unpack(d) / "d").read_bytes() == b"1"


@pytest.mark.parametrize("arguments", [["-r"], ["-r", "-0"], ["-ry"], ["-r", "-fz"], ["-rD"]])
async def test_zips_of_info_zip(code: Code, tmp_path: Path, arguments: list[str]) -> None:
    """What the `zip` program packs is unpacked as it was: contents, modes and links."""
    source = tmp_path / "source"
    (source / "lib/deep").mkdir(parents=True)
    (source / "lib/deep/größe.txt").write_bytes(b"x" * 10_000)
    (source / "handler.py").write_bytes(b"def handler(event, context): ...\n")
    (source / "handler.py").chmod(0o644)
    (source / "run.sh").write_bytes(b"#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    if "-ry" in arguments:
        (source / "link").symlink_to("lib/deep")
    wanted = tree(source)
    try:
        await threads.run(subprocess.run, ["zip", "-q", *arguments, "../code.zip", "."], cwd=source, check=True)
    except FileNotFoundError:
        pytest.skip("the zip program is not installed")
    stored = await code.store((tmp_path / "code.zip").read_bytes())
    assert tree(await code.unpack(stored.sha256)) == wanted


names = st.lists(st.sampled_from(["a", "b", "c", "..", ".", "", "/etc", "a\\..\\b"]), min_size=1, max_size=4).map("/".join)
entries = st.tuples(
    names,
    st.one_of(st.binary(max_size=20), names),
    st.sampled_from([stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o700, stat.S_IFIFO, stat.S_IFREG | 0o6777]),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(entries, min_size=1, max_size=6))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_nothing_is_written_outside(crafted: list[tuple[str, bytes | str, int]]) -> None:
    """Whatever names, links and kinds a zip has: all of it is in the directory, or nothing is anywhere."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content, mode in crafted:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            archive.writestr(info, content)
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        root = base / "outer" / "root"
        root.mkdir(parents=True)
        (base / "code.zip").write_bytes(target.getvalue())
        try:
            unpacking.extract(base / "code.zip", root)
        except AwsError:
            assert list(root.iterdir()) == []  # refused before the first byte was written
        assert {path.name for path in base.iterdir()} == {"outer", "code.zip"}
        assert [path.name for path in (base / "outer").iterdir()] == ["root"]
        for path, (kind, mode, content) in tree(root).items():
            assert mode & 0o7000 == 0
            if kind == "link":
                inside = os.path.realpath(root / path)
                assert inside == str(root) or inside.startswith(f"{root}/"), content


@pytest.mark.slow
async def test_large_zip_needs_little_memory(code: Code) -> None:
    """Fifty megabytes that inflate to two hundred are unpacked piece by piece."""
    noise = os.urandom(1_000_000)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(49):
            archive.writestr(f"noise/{number}", noise)
        archive.writestr("zeros", bytes(150_000_000))
    data = target.getvalue()
    del target
    stored = await code.store(data)
    assert stored.unzipped_bytes == 199_000_000
    del data
    tracemalloc.start()
    try:
        directory = await code.unpack(stored.sha256)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (directory / "zeros").stat().st_size == 150_000_000
    assert peak_bytes < 8_000_000

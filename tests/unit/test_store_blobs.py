"""Content-addressed files."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lambdad.store import publish
from lambdad.store.blobs import Blobs
from lambdad.store.errors import Corrupt


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_the_name_is_the_hash(tmp_path: Path) -> None:
    """However the bytes come, they are kept once, under their sha256."""
    blobs = Blobs(tmp_path / "deep" / "blobs")
    data = b"piece one" * 1000 + b"piece two"
    expected = hashlib.sha256(data).hexdigest()
    assert not blobs.exists(expected)
    assert await blobs.put(data) == expected
    assert await blobs.put(pieces(b"piece one" * 1000, b"", b"piece two")) == expected
    assert await blobs.put(data) == expected
    assert blobs.exists(expected)
    assert await blobs.get(expected) == data
    with blobs.open(expected) as file:
        assert file.read(9) == b"piece one"
    assert files(tmp_path) == [f"deep/blobs/{expected[:2]}/{expected}"]
    assert await blobs.put(pieces()) == hashlib.sha256().hexdigest()


async def test_what_is_deleted_is_gone(tmp_path: Path) -> None:
    """Deleting is final, and may be repeated."""
    blobs = Blobs(tmp_path)
    sha256 = await blobs.put(b"x")
    await blobs.delete(sha256)
    await blobs.delete(sha256)
    assert not blobs.exists(sha256)
    with pytest.raises(KeyError):
        await blobs.get(sha256)
    with pytest.raises(KeyError):
        blobs.open(sha256)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n"])
async def test_only_hashes_are_names(tmp_path: Path, name: str) -> None:
    """A name from a stranger cannot lead outside."""
    blobs = Blobs(tmp_path)
    for use in (blobs.path, blobs.exists, blobs.open):
        with pytest.raises(ValueError, match="not a sha256"):
            use(name)
    with pytest.raises(ValueError, match="not a sha256"):
        await blobs.get(name)
    with pytest.raises(ValueError, match="not a sha256"):
        await blobs.delete(name)


async def test_other_bytes_are_noticed(tmp_path: Path) -> None:
    """A blob that was changed on the disk is not handed out."""
    blobs = Blobs(tmp_path)
    sha256 = await blobs.put(b"right")
    blobs.path(sha256).chmod(0o600)
    blobs.path(sha256).write_bytes(b"wrong")
    with pytest.raises(Corrupt):
        await blobs.get(sha256)


async def test_an_interrupted_stream_leaves_nothing(tmp_path: Path) -> None:
    """A source that fails or a caller that is cancelled leaves no file."""
    blobs = Blobs(tmp_path)

    async def failing() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await blobs.put(failing())

    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"half"
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(blobs.put(endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(tmp_path) == []


async def test_many_put_the_same_at_once(tmp_path: Path) -> None:
    """Concurrent publishers of one blob all succeed."""
    blobs = Blobs(tmp_path)
    data = os.urandom(50_000)
    names = await asyncio.gather(*(blobs.put(data) for _ in range(8)), *(blobs.put(pieces(data)) for _ in range(8)))
    assert len(set(names)) == 1
    assert len(files(tmp_path)) == 1
    assert await blobs.get(names[0]) == data


async def test_sweeping_removes_what_was_half_written(tmp_path: Path) -> None:
    """Leftovers are found at the top and beside the blobs."""
    blobs = Blobs(tmp_path / "blobs")
    assert await blobs.sweep() == 0
    sha256 = await blobs.put(b"kept")
    publish.temporary_beside(blobs.path(sha256)).touch()
    publish.temporary_beside(tmp_path / "blobs" / "x").touch()
    assert await blobs.sweep() == 2
    assert await blobs.get(sha256) == b"kept"

"""Blobs: bytes kept in files whose names are their sha256.

root/3f/3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea
"""

import hashlib
import os
import re
from collections.abc import AsyncIterable, Iterator
from pathlib import Path
from typing import BinaryIO

from lambdad.kit import threads
from lambdad.store import publish
from lambdad.store.errors import Corrupt
from lambdad.store.publish import publish_directory, publish_file, sweep

__all__ = ["Blobs", "publish_directory", "publish_file", "sweep"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """
    Content-addressed files under one directory.

    A blob that was put is durable, is never changed, and is the same file for everybody who puts the same bytes.

    Args:
        root: made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, data: bytes | AsyncIterable[bytes]) -> str:
        """
        Keep bytes, and return their sha256 in hex after they are durable.

        Args:
            data: whole, or in pieces, which are written as they come and never held together in memory.

        Raises:
            DiskFull: nothing fits any more.
            OSError: as the file system says.
        """
        if isinstance(data, bytes):
            return await threads.run(self._put_whole, data)
        return await self._put_pieces(data)

    async def get(self, sha256: str) -> bytes:
        """
        Read a whole blob and check it.

        Raises:
            KeyError: there is none.
            Corrupt: the bytes do not have that hash.
        """
        return await threads.run(self._get, sha256)

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading, unchecked; raises KeyError if there is none."""
        try:
            return self.path(sha256).open("rb")
        except FileNotFoundError:
            raise KeyError(sha256) from None

    def path(self, sha256: str) -> Path:
        """Say where a blob is, or would be; raises ValueError for what is not a sha256 in hex."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is not a sha256 in small hex digits")
        return self._root / sha256[:2] / sha256

    def exists(self, sha256: str) -> bool:
        """Say whether a blob is there."""
        return self.path(sha256).is_file()

    def hashes(self) -> Iterator[str]:
        """Go through all blobs that are there, in no order. Blocks; from a coroutine, call it through `kit.threads`."""
        if self._root.is_dir():
            for shard in self._root.iterdir():
                if shard.is_dir():
                    yield from (path.name for path in shard.iterdir() if _SHA256.fullmatch(path.name))

    async def delete(self, sha256: str) -> None:
        """Remove a blob; does nothing if there is none. Who has it open goes on reading it."""
        await threads.run(self.path(sha256).unlink, missing_ok=True)

    async def sweep(self) -> int:
        """Remove what dead processes left half written, and return how much there was. To be called before the first put."""
        return await threads.run(self._sweep)

    def _put_whole(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._shard(sha256) / sha256
        if path.is_file():  # put by another, perhaps this moment: wait until it is durable
            publish.sync_directory(path.parent)
        else:
            publish.publish_file(path, data, mode=0o400)
        return sha256

    async def _put_pieces(self, pieces: AsyncIterable[bytes]) -> str:
        await threads.run(self._make_root)
        temporary = publish.temporary_beside(self._root / "blob")
        digest = hashlib.sha256()
        try:
            await threads.run(_append, temporary, b"", os.O_CREAT | os.O_EXCL)
            async for piece in pieces:
                digest.update(piece)
                # Opened anew for each piece: a cancelled caller leaves a thread behind, and must not close its file under it.
                await threads.run(_append, temporary, piece, 0)
            sha256 = digest.hexdigest()
            await threads.run(self._place, temporary, sha256)
        finally:
            temporary.unlink(missing_ok=True)
        return sha256

    def _place(self, temporary: Path, sha256: str) -> None:
        publish.sync_file(temporary)
        shard = self._shard(sha256)
        temporary.rename(shard / sha256)
        publish.sync_directory(shard)

    def _get(self, sha256: str) -> bytes:
        with self.open(sha256) as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Corrupt(f"blob {sha256} has other bytes than it was put with")
        return data

    def _sweep(self) -> int:
        if not self._root.is_dir():
            return 0
        return publish.sweep(self._root) + sum(publish.sweep(path) for path in self._root.iterdir() if path.is_dir())

    def _make_root(self) -> None:
        if not self._root.is_dir():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            publish.sync_directory(self._root.parent)

    def _shard(self, sha256: str) -> Path:
        self._make_root()
        shard = self._root / sha256[:2]
        if not shard.is_dir():
            shard.mkdir(mode=0o700, exist_ok=True)
        # Also where another has just made it: the name must be durable before a blob in it is.
        publish.sync_directory(self._root)
        return shard


def _append(path: Path, data: bytes, flags: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
    try:
        publish.write_all(descriptor, data)
    finally:
        os.close(descriptor)

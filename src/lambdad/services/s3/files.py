"""Files that hold the bytes of objects: written once under a name of their own, durable before anybody hears of them, never changed.

    root/0000001f/9c1185a5c5e9fc54612808977ee8f548

A row that names a file is committed only after the file is durable, so a crash leaves a file that no row names, never a row without its
file. Such files are found at the next start: directories are numbered, and a process writes only into those that it has made itself.

Ordering: write, fsync the file, fsync its directory (once for all files that are finished together), then the row.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from lambdad.kit import threads
from lambdad.kit.threads import Call, Crew
from lambdad.services.s3.rules.checksums import Digests
from lambdad.store import publish

FILES_IN_SHARD: Final = 2048
READ_BYTES: Final = 512 * 1024
WRITERS: Final = 4
_NO_LINKS: Final = frozenset({errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})  # too many, or the file system has none
PENDING_MAX: Final = 4096  # files that are written or wait; a further caller waits


class Desk:
    """What a thread that writes owns: the directories in which it has made names since they were last made durable."""

    def __init__(self) -> None:
        self.directories: set[Path] = set()


class _Writing:
    """The job of the writing threads."""

    def open(self) -> Desk:
        return Desk()

    def serve(self, state: Desk, calls: Sequence[Call[Desk]]) -> None:
        """Write each file and make it durable, then their names, all at once."""
        for call in calls:
            call.attempt(state)
        directories, state.directories = state.directories, set()
        for directory in directories:
            publish.sync_directory(directory)

    def close(self, state: Desk) -> None:
        pass


class Piece(NamedTuple):
    """A stretch of an object: so many bytes of a file, from an offset on."""

    file: str
    offset: int
    size_bytes: int


class Files:
    """
    The files of all objects.

    Args:
        root: made if it is not there.

    Resource handling: an async context manager; leaving it finishes what is being written.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._crew = Crew("s3-files", _Writing(), threads=WRITERS, take_max=16, pending_max=PENDING_MAX)
        self.old_shards: list[int] = []  # directories of earlier processes
        self._shard = 0
        self._in_shard = FILES_IN_SHARD  # the first file begins a new one
        self._turning = asyncio.Lock()  # to the next directory
        self._pinned: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        await threads.run(self._open)
        await self._crew.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._crew.__aexit__(kind, error, trace)

    def _open(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        publish.sync_directory(self._root.parent)
        self.old_shards = self._shards()
        self._shard = max(self.old_shards, default=0)

    def _shards(self) -> list[int]:
        """Return the numbers of the directories that are there."""
        return sorted(int(entry.name, 16) for entry in os.scandir(self._root) if entry.is_dir() and len(entry.name) == 8)

    def path(self, file: str) -> Path:
        """Say where a file is."""
        return self._root / file

    async def _new_name(self) -> str:
        if self._in_shard >= FILES_IN_SHARD:
            async with self._turning:
                if self._in_shard >= FILES_IN_SHARD:
                    await threads.run(self._make_shard, self._shard + 1)
                    self._shard += 1
                    self._in_shard = 0
        self._in_shard += 1
        return f"{self._shard:08x}/{secrets.token_hex(16)}"

    def _make_shard(self, shard: int) -> None:
        (self._root / f"{shard:08x}").mkdir(mode=0o700, exist_ok=True)
        publish.sync_directory(self._root)

    async def put(self, data: bytes) -> str:
        """Keep bytes in a new file, and return its name once it is durable."""
        name = await self._new_name()
        path = self.path(name)

        def write(desk: Desk) -> None:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                publish.write_all(descriptor, data)
                os.fsync(descriptor)
            except OSError:
                path.unlink(missing_ok=True)
                raise
            finally:
                os.close(descriptor)
            desk.directories.add(path.parent)

        await self._crew.call(write)
        return name

    @contextlib.asynccontextmanager
    async def writing(self, *algorithms: str) -> AsyncIterator["Writer"]:
        """Write a new file piece by piece; what was not finished when the block is left is removed."""
        name = await self._new_name()
        writer = Writer(name, self.path(name), Digests(*algorithms), self._crew)
        try:
            yield writer
        finally:
            await threads.run(writer.close)

    async def link(self, file: str) -> str:
        """Give a file a second name, so that each can be removed without the other."""
        name = await self._new_name()
        source, path = self.path(file), self.path(name)

        def link(desk: Desk) -> None:
            try:
                os.link(source, path)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                shutil.copyfile(source, path)
                publish.sync_file(path)
            desk.directories.add(path.parent)

        await self._crew.call(link)
        return name

    async def read(self, file: str, offset: int, size_bytes: int) -> bytes:
        """Read a stretch of a file that is small."""
        return await threads.run(_read, self.path(file), offset, size_bytes)

    def body(self, pieces: Sequence[Piece], size_bytes: int) -> "ObjectBody":
        """Read pieces one after the other."""
        names = [piece.file for piece in pieces]
        self._pinned.update(names)
        return ObjectBody(self, pieces, size_bytes, lambda: self._unpin(names))

    @contextlib.contextmanager
    def pinned(self, names: Sequence[str]) -> Iterator[None]:
        """Keep files from being removed while they are read."""
        self._pinned.update(names)
        try:
            yield
        finally:
            self._unpin(names)

    def _unpin(self, names: Sequence[str]) -> None:
        self._pinned.subtract(names)
        for name in names:
            if self._pinned[name] <= 0:
                del self._pinned[name]

    def is_pinned(self, name: str) -> bool:
        """Say whether somebody reads a file."""
        return name in self._pinned

    async def remove(self, names: Sequence[str]) -> None:
        """Remove files; those that are not there are no trouble."""
        await threads.run(self._remove, names)

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def list_shard(self, shard: int) -> list[str]:
        """Return the names of the files in a directory. Blocks."""
        with contextlib.suppress(FileNotFoundError):
            return [f"{shard:08x}/{entry.name}" for entry in os.scandir(self._root / f"{shard:08x}")]
        return []

    def drop_shard(self, shard: int) -> None:
        """Remove a directory if nothing is in it. Blocks."""
        with contextlib.suppress(OSError):
            (self._root / f"{shard:08x}").rmdir()


class Writer:
    """One file being written. Made by `Files.writing`."""

    def __init__(self, name: str, path: Path, digests: Digests, crew: Crew[Desk, Desk]) -> None:
        self.name = name
        self.digests = digests
        self._path = path
        self._crew = crew
        self._descriptor = -1
        self._is_kept = False
        self._is_closed = False
        self._lock = threading.Lock()  # a cancelled caller leaves a thread behind, whose file must not be closed under it

    async def write(self, piece: bytes) -> None:
        """Append a piece, and take it into the digests."""
        await threads.run(self._write, piece)

    def _write(self, piece: bytes) -> None:
        with self._lock:
            if self._is_closed:
                return
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self.digests.update(piece)
            publish.write_all(self._descriptor, piece)

    async def finish(self) -> str:
        """Make the file durable, and return its name. It is still removed unless `keep` is called."""
        if self._descriptor < 0:
            await self.write(b"")
        await self._crew.call(self._sync)
        return self.name

    def _sync(self, desk: Desk) -> None:
        with self._lock:
            if not self._is_closed:
                os.fsync(self._descriptor)
                desk.directories.add(self._path.parent)

    def keep(self) -> None:
        """A row is about to name the file."""
        self._is_kept = True

    def close(self) -> None:
        """Close the file, and remove it if it was not kept. Blocks."""
        with self._lock:
            self._is_closed = True
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            if not self._is_kept:
                self._path.unlink(missing_ok=True)


def _read(path: Path, offset: int, size_bytes: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read_from(descriptor, offset, size_bytes)
    finally:
        os.close(descriptor)


def _read_from(descriptor: int, offset: int, size_bytes: int) -> bytes:
    data = os.pread(descriptor, size_bytes, offset)
    while len(data) < size_bytes:
        more = os.pread(descriptor, size_bytes - len(data), offset + len(data))
        if not more:
            raise OSError(f"a file of an object ends {size_bytes - len(data)} bytes too early")
        data += more
    return data


class ObjectBody:
    """
    The bytes of an object, or a range of it, as they are read: an async iterator of pieces of at most 512 KiB.

    Args:
        size_bytes: of all pieces together.

    Resource handling: iterate it to its end or `aclose` it; until then its files are kept, also when the object is deleted.
    """

    def __init__(self, files: Files, pieces: Sequence[Piece], size_bytes: int, close: Callable[[], None]) -> None:
        self.size_bytes = size_bytes
        self._files = files
        self._left = list(reversed(pieces))
        self._close = close
        self._is_open = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left or not self._is_open:
            await self.aclose()
            raise StopAsyncIteration
        piece = self._left.pop()
        count = min(piece.size_bytes, READ_BYTES)
        if count < piece.size_bytes:
            self._left.append(Piece(piece.file, piece.offset + count, piece.size_bytes - count))
        return await self._files.read(piece.file, piece.offset, count)

    async def aclose(self) -> None:
        """Let go of the files."""
        if self._is_open:
            self._is_open = False
            self._close()

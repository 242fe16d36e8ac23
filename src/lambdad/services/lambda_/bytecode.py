"""Compiled Python modules, put beside the sources of functions and layers when these are deployed.

Code is mounted read-only, so an interpreter could not keep what it compiles and would do it again at every cold start. What is put
here does not change what a directory means: without it, or with half of it, functions start more slowly and otherwise the same. The
bytes come from a sandbox and are believed as far as the function's own code is: they go nowhere but beside it.
"""

import asyncio
import contextlib
import errno
import logging
import os
import re
import struct
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from lambdad.kit import threads
from lambdad.model.function import FunctionVersion
from lambdad.services.lambda_.code import Code
from lambdad.services.lambda_.ports import Compiler
from lambdad.store import publish

log = logging.getLogger("lambdad.lambda.bytecode")

WAIT_S = 3.0  # how long a deployment waits; what takes longer goes on beside it
MOST_BYTES = 256 * 1024 * 1024  # of one directory
_RECORD = struct.Struct(">II")
_NAME_BYTES = 4096
_CONTENT_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"(?P<directory>(?:[^/\0]+/)*)__pycache__/(?P<file>[^/\0]{1,200}\.cpython-\d{2,4}\.pyc)")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Bytecode:
    """
    Has the code of Python functions compiled.

    Args:
        marks: a directory of its own, where it is noted what has been compiled by which interpreters.
        interpreters: waits until there is something to compile with, and says what it is.
    """

    def __init__(self, code: Code, marks: Path, compiler: Compiler, interpreters: Callable[[], Awaitable[list[str]]]) -> None:
        self._code = code
        self._marks = marks
        self._compiler = compiler
        self._interpreters = interpreters
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def add(self, version: FunctionVersion) -> None:
        """Compile a prepared version's code and layers, or go on after `WAIT_S` while that is being done. Never fails."""
        runtime = version.runtime or ""
        if not runtime.startswith("python"):
            return
        names = {self._code.task_directory(version), self._code.opt_directory(version)}
        jobs = [self._job(runtime, name) for name in names if name is not None]
        await asyncio.wait(jobs, timeout=WAIT_S)

    async def collect(self) -> None:
        """Forget what was compiled in directories that are no more."""
        await threads.run(self._collect)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._under_way.values()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _job(self, runtime: str, name: str) -> asyncio.Task[None]:
        key = (runtime, name)
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._compile(runtime, name))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return task

    async def _compile(self, runtime: str, name: str) -> None:
        root, mark = self._code.root / name, self._marks / f"{name}.{runtime}"
        try:
            interpreters = " ".join(await self._interpreters())
            if await threads.run(_is_marked, mark, root, interpreters):
                return
            with tempfile.TemporaryFile(dir=self._marks.parent) as file:
                if await threads.run(_has_sources, root):
                    if not await self._compiler.compile(runtime, name, _bounded(file)):
                        return
                    count = await threads.run(install, file, root)
                    log.info("code.compiled directory=%s runtime=%s modules=%d", name, runtime, count)
            await threads.run(_mark, mark, root, interpreters)
        except OSError as error:
            # Safe to go on: what is missing is compiled at each import.
            log.warning("code.uncompiled directory=%s runtime=%s error=%r", name, runtime, error)

    def _collect(self) -> None:
        for mark in self._marks.iterdir() if self._marks.is_dir() else ():
            if not (self._code.root / mark.name.partition(".")[0]).is_dir():
                mark.unlink(missing_ok=True)


def install(file: BinaryIO, root: Path) -> int:
    """
    Put compiled modules beside their sources; each is there wholly or not at all, and durable.

    Args:
        file: records as `runtimes/python/bootstrap.py` writes them; whatever is not one ends the reading.

    Returns:
        How many there were.

    Raises:
        OSError: as the file system says; then none is there, or some.
    """
    file.seek(0)
    for left in root.glob(f"**/__pycache__/{publish.TEMPORARY_PREFIX}*"):  # by one who died
        left.unlink(missing_ok=True)
    pending: list[tuple[Path, Path]] = []  # temporary and final paths; their directories are real ones, and nobody else changes them
    count = 0
    try:
        for parent, name, content in _records(file):
            with _entered(root, parent) as directory:
                if directory is not None:
                    path = root / parent / "__pycache__" / name
                    temporary = publish.temporary_beside(path)
                    pending.append((temporary, path))
                    _write(directory, temporary.name, content)
        publish.sync_files([temporary for temporary, _ in pending])
        while pending:
            temporary, path = pending[-1]
            temporary.rename(path)
            pending.pop()
            count += 1
    finally:
        for temporary, _ in pending:
            temporary.unlink(missing_ok=True)
    return count


def _records(file: BinaryIO) -> Iterator[tuple[str, str, bytes]]:
    """Yield directory, file name and content of each record, up to the first that is none."""
    while len(head := file.read(_RECORD.size)) == _RECORD.size:
        name_bytes, content_bytes = _RECORD.unpack(head)
        if not 0 < name_bytes <= _NAME_BYTES or content_bytes > _CONTENT_BYTES:
            return
        name, content = os.fsdecode(file.read(name_bytes)), file.read(content_bytes)
        found = _NAME.fullmatch(name)
        if len(content) < content_bytes or found is None or any(part in (".", "..") for part in name.split("/")):
            return
        yield found["directory"].rstrip("/"), found["file"], content


@contextlib.contextmanager
def _entered(root: Path, parent: str) -> Iterator[int | None]:
    """Open a directory's `__pycache__`, made if need be, going through no link; None where there is none to be had."""
    opened = [os.open(root, _DIRECTORY)]
    try:
        for part in parent.split("/") if parent else ():
            opened.append(os.open(part, _DIRECTORY, dir_fd=opened[-1]))
        with contextlib.suppress(FileExistsError):
            os.mkdir("__pycache__", 0o755, dir_fd=opened[-1])
        opened.append(os.open("__pycache__", _DIRECTORY, dir_fd=opened[-1]))
        os.fchmod(opened[-1], 0o755)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            raise
        yield None
    else:
        yield opened[-1]
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _write(directory: int, name: str, content: bytes) -> None:
    descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
    try:
        publish.write_all(descriptor, content)
        os.fchmod(descriptor, 0o644)
    finally:
        os.close(descriptor)


def _bounded(file: BinaryIO) -> Callable[[bytes], None]:
    """Write pieces to a file as long as they fit; the first that does not is the last that is looked at."""
    room = MOST_BYTES

    def take(piece: bytes) -> None:
        nonlocal room
        room = room - len(piece) if len(piece) <= room else 0
        if room:
            file.write(piece)

    return take


def _has_sources(root: Path) -> bool:
    return any(name.endswith(".py") for _, _, files in os.walk(root) for name in files)


def _state(root: Path, interpreters: str) -> str:
    found = root.stat()
    return f"{found.st_ino} {found.st_mtime_ns} {interpreters}"


def _is_marked(mark: Path, root: Path, interpreters: str) -> bool:
    try:
        return mark.read_text() == _state(root, interpreters)
    except FileNotFoundError:
        return False


def _mark(mark: Path, root: Path, interpreters: str) -> None:
    mark.parent.mkdir(exist_ok=True)
    mark.write_text(_state(root, interpreters))

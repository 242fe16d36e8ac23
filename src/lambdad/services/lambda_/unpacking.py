"""Zips become directories: extraction and the merging of layers. Blocking; to be run in a thread, in a directory nobody else sees.

Every name is opened relative to the descriptor of its directory, one component at a time and never through a link, and every file is
created anew. So whatever a zip says, nothing outside the given directory is touched; `zips.inspect` has refused such zips before,
and this is the second wall. Memory does not grow with the size of the content.
"""

import errno
import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lambdad.services.lambda_.rules import zip_format, zips
from lambdad.services.lambda_.rules.zips import DIRECTORY_MODE, Kind

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CANNOT_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP)


def extract(zip_path: Path, root: Path) -> None:
    """
    Unpack a zip into an empty directory.

    Raises:
        AwsError: as `zips.inspect` and `zip_format.inflate`; `root` then holds a part.
        OSError: as the file system says.
    """
    with zip_path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        plan = zips.inspect(data)
        with _Trail(root) as trail:
            for entry in plan.entries:
                parent, _, name = entry.path.rpartition("/")
                directory = trail.enter(parent)
                match entry.kind:
                    case Kind.DIRECTORY:
                        trail.make(directory, name, entry.path)
                    case Kind.LINK:
                        os.symlink(entry.target, name, dir_fd=directory)
                    case Kind.FILE:
                        assert entry.member is not None
                        with _new_file(directory, name, entry.mode) as descriptor:
                            for chunk in zip_format.inflate(data, entry.member):
                                _write_all(descriptor, chunk)


def merge(layers: Sequence[Path], root: Path) -> None:
    """
    Lay directories over one another in an empty directory; where two have the same name, the later one wins.

    Directories of one name are merged; a file or link takes the place of whatever was there. Files are hard links to those of
    the layers where the file system allows it, and copies where not.

    Raises:
        OSError: as the file system says.
    """
    with _opened(root) as target:
        for layer in layers:
            with _opened(layer) as source:
                _merge(source, target)


class _Trail:
    """The directories that lead to where is written now, open from the root down.

    Resource handling: a context manager; holds at most `zips.DEPTH` + 1 descriptors.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: list[tuple[str, int]] = []

    def __enter__(self) -> "_Trail":
        self._open.append(("", os.open(self._root, _DIRECTORY)))
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            os.close(self._open.pop()[1])

    def enter(self, path: str) -> int:
        """Give the descriptor of a directory that was made before; plans have every directory right before its content."""
        while self._open[-1][0] != path:
            assert len(self._open) > 1, "a plan has parents before children"
            os.close(self._open.pop()[1])
        return self._open[-1][1]

    def make(self, parent: int, name: str, path: str) -> None:
        """Make a directory in the one that was entered, and go into it."""
        os.mkdir(name, 0o700, dir_fd=parent)
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
        self._open.append((path, descriptor))
        os.fchmod(descriptor, DIRECTORY_MODE)


def _merge(source: int, target: int) -> None:
    with os.scandir(source) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = entry.name
        if entry.is_dir(follow_symlinks=False):
            _make_room(target, name, for_directory=True)
            with _opened(name, source) as below_source, _opened(name, target) as below_target:
                _merge(below_source, below_target)
        else:
            _make_room(target, name, for_directory=False)
            if entry.is_symlink():
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            else:
                _link_or_copy(source, target, name)


def _make_room(target: int, name: str, *, for_directory: bool) -> None:
    """Remove what a later layer replaces; where a directory is wanted, make it unless there is one."""
    try:
        os.unlink(name, dir_fd=target)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):  # the latter is what POSIX says for directories
        if for_directory:
            return
        shutil.rmtree(name, dir_fd=target)
    if for_directory:
        os.mkdir(name, 0o700, dir_fd=target)
        with _opened(name, target) as descriptor:
            os.fchmod(descriptor, DIRECTORY_MODE)


def _link_or_copy(source: int, target: int, name: str) -> None:
    try:
        os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        return
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
    original = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        with _new_file(target, name, os.fstat(original).st_mode & 0o777) as descriptor:
            while chunk := os.read(original, zip_format.CHUNK_BYTES):
                _write_all(descriptor, chunk)
    finally:
        os.close(original)


@contextmanager
def _opened(path: Path | str, directory: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, _DIRECTORY, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _new_file(directory: int, name: str, mode: int) -> Iterator[int]:
    descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
    try:
        yield descriptor
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]

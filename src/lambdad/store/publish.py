"""Files and directories that are there wholly or not at all, whenever the machine dies.

Ordering: write under a temporary name beside the target; fsync what was written; rename; fsync the directory that holds the name. A
return means that all of it is on the disk. What a dead process left under temporary names is removed by `sweep`.

Everything here blocks; from a coroutine, call it through `kit.threads`. The file system's OSError is the caller's to judge, but for a
full disk, which is `DiskFull`.
"""

import ctypes
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lambdad.store.errors import DiskFull

TEMPORARY_PREFIX = ".publishing-"
FILES_ONE_BY_ONE = 64  # beyond that the whole file system is synced, once
_libc = ctypes.CDLL(None, use_errno=True)
NAME_BYTES_MAX = 255 - len(TEMPORARY_PREFIX) - 17  # what the file system allows, less what a temporary name adds


def publish_file(path: Path, data: bytes | Callable[[int], None], *, mode: int = 0o600) -> None:
    """
    Put a file in place, replacing one that is there.

    Args:
        path: its directory must be there, and its name be a plain one (no "..", not beginning like a temporary name).
        data: the content, or what writes it to a file descriptor.
        mode: the file's permissions; the process's umask does not change them.

    Raises:
        ValueError: the name is not allowed.
        DiskFull: nothing fits any more; nothing was changed.
        OSError: as the file system says; nothing was changed, unless it failed at the very last fsync.
    """
    temporary = temporary_beside(path)
    with _map_full_disk(path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                if callable(data):
                    data(descriptor)
                else:
                    write_all(descriptor, data)
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def publish_directory(build: Callable[[Path], None], target: Path, *, mode: int = 0o755) -> bool:
    """
    Put a directory in place, whose name says what is in it (by a hash, for example).

    A target that is there already is the same, so it is left alone and this succeeds; likewise for those who publish the same target
    at the same time: one of them wins, for all of them it is there.

    Args:
        build: fills the empty directory it is given; it may make what it wrote read-only.
        target: its parent must be there, and its name be a plain one, as in `publish_file`.
        mode: the directory's own permissions; what is in it is the builder's.

    Returns:
        True if this call has put it in place.

    Raises:
        BaseException: what `build` raised; and as `publish_file`. Nothing was changed.
    """
    temporary = temporary_beside(target)
    with _map_full_disk(target):
        # One that another process is publishing this moment may not be durable yet, hence the fsync either way.
        published = not target.is_dir()
        if published:
            try:
                temporary.mkdir(0o700)
                build(temporary)
                temporary.chmod(mode)
                sync_tree(temporary)
                published = _renamed(temporary, target)
            except BaseException:
                remove_tree(temporary)
                raise
            if not published:
                remove_tree(temporary)
        sync_directory(target.parent)
    return published


def sweep(directory: Path) -> int:
    """
    Remove what dead processes left under temporary names in a directory (not below it), and return how many there were.

    To be called before anybody publishes there.
    """
    if not directory.is_dir():
        return 0
    leftovers = [path for path in directory.iterdir() if path.name.startswith(TEMPORARY_PREFIX)]
    for path in leftovers:
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)
    return len(leftovers)


def temporary_beside(path: Path) -> Path:
    """
    Make up the temporary name under which a file or directory is written.

    Raises:
        ValueError: the path's own name is not a plain one, or too long.
    """
    name = path.name
    if name in ("", ".", "..") or "\0" in name or name.startswith(TEMPORARY_PREFIX):
        raise ValueError(f"{name!r} cannot be published: not a plain name")
    if len(os.fsencode(name)) > NAME_BYTES_MAX:
        raise ValueError(f"{name[:40]!r}... cannot be published: the name is longer than {NAME_BYTES_MAX} bytes")
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}-{name}")


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of the data to a file descriptor."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    _sync(path, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    _sync(path, os.O_NOFOLLOW)


def sync_files(paths: Sequence[Path]) -> None:
    """Make the content of files durable, and the names of their directories too."""
    if len(paths) > FILES_ONE_BY_ONE:
        _sync_file_system(paths[0].parent)
        return
    for path in paths:
        sync_file(path)
    for directory in dict.fromkeys(path.parent for path in paths):
        sync_directory(directory)


def sync_tree(top: Path) -> None:
    """Make a directory and everything in it durable. Links are not followed; their text is part of their directory."""
    files: list[Path] = []
    directories: list[Path] = []
    for directory, _, names in os.walk(top, topdown=False, onerror=_raise):
        directories.append(Path(directory))
        files += [path for name in names if (path := Path(directory, name)).is_file() and not path.is_symlink()]
    if len(files) > FILES_ONE_BY_ONE:
        _sync_file_system(top)
        return
    for path in files:
        sync_file(path)
    for path in directories:
        sync_directory(path)


def _sync_file_system(directory: Path) -> None:
    """
    Make everything durable that is in the file system of a directory: for many files quicker than one by one.

    Source: Linux manual page syncfs(2). Since Linux 5.8 an error of writing back is reported to whoever has the file system open.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)


def remove_tree(top: Path) -> None:
    """Remove a directory and everything in it, read-only directories too; it need not be there."""
    if not top.is_dir():
        return
    for directory, _, _ in os.walk(top):
        Path(directory).chmod(0o700)
    shutil.rmtree(top)


def _renamed(temporary: Path, target: Path) -> bool:
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and target.is_dir():
            return False
        raise
    return True


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def _map_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"{path}: {error.strerror}") from error
        raise

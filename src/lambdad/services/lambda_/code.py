"""Code: zips that were checked, kept as blobs, and unpacked once for each content to read-only directories.

    zips/3f/3f79bb7b...        the zip, as it was sent                            `Blobs`
    unpacked/3f79bb7b.../      what was in it; mounted at /var/task, or at /opt   one for each zip
    unpacked/opt-b5bb9d80.../  several layers, laid over one another              one for each list of layers

Names say what is in them, so a directory that is there is right, whoever made it, and is never changed. Everything but the zips can
be made again from them. Both places belong to one `Code`; what is in them and nobody needs is removed by `collect`.
"""

import asyncio
import contextlib
import hashlib
import logging
import mmap
import threading
import time
import weakref
from collections.abc import AsyncIterable, Callable, Collection, Iterator, Sequence
from pathlib import Path

from lambdad.kit import threads
from lambdad.model.errors import AwsError
from lambdad.model.function import FunctionVersion, StateReasonCode
from lambdad.services.lambda_ import unpacking
from lambdad.services.lambda_.ports import PreparationFailed, StoredCode
from lambdad.services.lambda_.rules import zips
from lambdad.services.lambda_.rules.zip_format import RefusedZip, Source
from lambdad.store import publish
from lambdad.store.blobs import Blobs
from lambdad.store.errors import StoreError

log = logging.getLogger("lambdad.lambda.code")

COLLECT_AFTER_S = 3600.0  # how long what nobody refers to is kept: longer than any deployment is under way


class Code:
    """
    The zips and directories of all functions and layers.

    Args:
        blobs: for zips alone.
        root: of the unpacked directories; its parent must be there.
    """

    def __init__(self, blobs: Blobs, root: Path) -> None:
        self._blobs = blobs
        self._root = root
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._guard = threading.Lock()  # what was used lately and what is removed are decided under it
        self._used_at_s: dict[str, float] = {}  # of zips and directories, monotonic
        self._ready: set[str] = set()  # directories that are known to be there

    async def open(self) -> None:
        """Make the directories, and remove what a dead process left half done. To be called before anything else."""
        await self._blobs.sweep()
        await threads.run(self._open)

    # --- what services use

    async def check(self, zip_file: bytes | AsyncIterable[bytes]) -> StoredCode:
        """
        Check a zip, to the last byte of every file in it, without keeping it longer than `COLLECT_AFTER_S`.

        Args:
            zip_file: whole, as a request carries it; or in pieces, as they come from S3, which are never held together in memory.

        Raises:
            AwsError: InvalidParameterValue for what cannot or must not be unpacked, TooLarge for what is sent in too large a
                zip, in AWS's words; and what the pieces raise.
        """
        if not isinstance(zip_file, bytes):
            return await self.store(zip_file)  # it has to be in a file to be looked at
        with _refusals_logged(len(zip_file)):
            return await threads.run(_check, zip_file)

    async def store(self, zip_file: bytes | AsyncIterable[bytes]) -> StoredCode:
        """Check a zip and keep it; it is durable when this returns. Arguments and errors as `check`."""
        if isinstance(zip_file, bytes):
            checked = await self.check(zip_file)
            self._use(checked.sha256)
            await self._blobs.put(zip_file)
            return checked
        sha256 = await self._blobs.put(zip_file)
        self._use(sha256)  # if it is refused, nobody will refer to it, and `collect` removes it
        path = self._blobs.path(sha256)
        with _refusals_logged(path.stat().st_size):
            return await threads.run(_check_file, path)

    async def prepare(self, version: FunctionVersion) -> None:
        """
        Unpack a version's code and lay its layers over one another. Doing it again is free.

        Raises:
            PreparationFailed: the zip is gone or damaged, or the disk is full.
        """
        try:
            await self.unpack(version.code_sha256)
            await self.merge_layers([layer.code_sha256 for layer in version.layers])
        except AwsError as error:
            raise PreparationFailed(error.message or error.code, StateReasonCode.INVALID_ZIP_FILE) from error
        except (OSError, StoreError) as error:
            log.error("code.prepare.failed function=%s error=%r", version.qualified_arn, error)
            raise PreparationFailed("The function's code could not be unpacked.", StateReasonCode.INTERNAL_ERROR) from error

    async def read(self, sha256: str) -> bytes:
        """Give a zip as it was sent; raises KeyError if there is none."""
        return await self._blobs.get(sha256)

    def zip_path(self, sha256: str) -> Path:
        """Say where a zip is."""
        return self._blobs.path(sha256)

    # --- directories

    @property
    def root(self) -> Path:
        """Where the directories are whose names `task_directory` and `opt_directory` give."""
        return self._root

    @staticmethod
    def task_directory(version: FunctionVersion) -> str:
        """Name the directory to be mounted at /var/task."""
        return version.code_sha256

    @staticmethod
    def opt_directory(version: FunctionVersion) -> str | None:
        """Name the directory to be mounted at /opt; None means: an empty one."""
        return merged_name([layer.code_sha256 for layer in version.layers])

    @staticmethod
    def names(version: FunctionVersion) -> set[str]:
        """Name all that a version needs, for `collect`."""
        hashes = [layer.code_sha256 for layer in version.layers]
        return {version.code_sha256, *hashes, merged_name(hashes) or version.code_sha256}

    async def unpack(self, sha256: str) -> Path:
        """
        Unpack a zip, unless that was done; callers at the same time share the work.

        Raises:
            AwsError: the stored zip is not what it was.
            FileNotFoundError: there is no such zip.
            OSError, StoreError: as the file system says.
        """
        zip_path = self._blobs.path(sha256)
        return await self._publish(sha256, lambda directory: unpacking.extract(zip_path, directory))

    async def merge_layers(self, hashes: Sequence[str]) -> str | None:
        """
        Lay unpacked zips over one another, later ones on top, unless that was done.

        Args:
            hashes: of the layers' zips, in the function's order.

        Returns:
            The directory's name under `root`; for a single layer its own; None for no layers.

        Raises:
            As `unpack`.
        """
        directories = [await self.unpack(sha256) for sha256 in hashes]
        name = merged_name(hashes)
        if name is not None and len(directories) > 1:
            await self._publish(name, lambda directory: unpacking.merge(directories, directory))
        return name

    async def collect(self, live: Collection[str], *, older_than_s: float = COLLECT_AFTER_S) -> int:
        """
        Remove zips and directories that nobody needs any more, and return how many there were.

        What was stored, unpacked or asked for within the last `older_than_s` stays in any case, so that what is not yet written
        down anywhere is safe.

        Args:
            live: hashes and names (`names`) that functions, layers and running environments refer to.
        """
        return await threads.run(self._collect, frozenset(live), older_than_s)

    # --- in threads

    def _open(self) -> None:
        if not self._root.is_dir():
            self._root.mkdir(mode=0o755)
            publish.sync_directory(self._root.parent)
        publish.sweep(self._root)

    async def _publish(self, name: str, build: Callable[[Path], None]) -> Path:
        target = self._root / name
        self._use(name)
        if name in self._ready:
            return target
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        async with lock:
            if name not in self._ready:
                await threads.run(publish.publish_directory, build, target)
                self._ready.add(name)
        return target

    def _use(self, name: str) -> None:
        with self._guard:
            self._used_at_s[name] = time.monotonic()

    def _collect(self, live: frozenset[str], older_than_s: float) -> int:
        removed = 0
        made_before_s = time.time() - older_than_s
        for path in [*self._directories(), *self._zips()]:
            if path.name in live or path.stat(follow_symlinks=False).st_mtime > made_before_s:
                continue
            grave = self._take_away(path, older_than_s)
            if grave is None:
                continue
            if grave.is_dir():
                publish.remove_tree(grave)
            else:
                grave.unlink()
            removed += 1
        if removed:
            log.info("code.collected count=%d", removed)
        return removed

    def _take_away(self, path: Path, older_than_s: float) -> Path | None:
        """Rename what is to be removed, so that it is gone at once for those who come after; None if it is in use again."""
        with self._guard:
            used_at_s = self._used_at_s.get(path.name)
            if used_at_s is not None and used_at_s > time.monotonic() - older_than_s:
                return None
            self._used_at_s.pop(path.name, None)
            self._ready.discard(path.name)
            return path.rename(publish.temporary_beside(path))

    def _directories(self) -> Iterator[Path]:
        for path in self._root.iterdir():
            if not path.name.startswith(publish.TEMPORARY_PREFIX):
                yield path

    def _zips(self) -> Iterator[Path]:
        for sha256 in self._blobs.hashes():
            yield self._blobs.path(sha256)


def merged_name(hashes: Sequence[str]) -> str | None:
    """Name the directory of several layers by their list; a single layer's is its own, no layers have none."""
    if len(hashes) < 2:
        return hashes[0] if hashes else None
    return "opt-" + hashlib.sha256("\n".join(hashes).encode()).hexdigest()


@contextlib.contextmanager
def _refusals_logged(size_bytes: int) -> Iterator[None]:
    try:
        yield
    except RefusedZip as refused:
        log.info("code.refused size_bytes=%d reason=%s", size_bytes, refused.reason)
        raise


def _check(zip_file: bytes) -> StoredCode:
    zips.check_zipped_size(len(zip_file))
    return _checked(zip_file, hashlib.sha256(zip_file).hexdigest())


def _check_file(path: Path) -> StoredCode:
    if path.stat().st_size == 0:  # which cannot be mapped
        return _checked(b"", path.name)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _checked(data, path.name)


def _checked(data: Source, sha256: str) -> StoredCode:
    plan = zips.inspect(data)
    zips.verify(data, plan)
    return StoredCode(sha256=sha256, size_bytes=len(data), unzipped_bytes=plan.unzipped_size_bytes)

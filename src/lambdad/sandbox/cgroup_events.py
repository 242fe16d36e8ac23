"""Tells when files of cgroups change, many directories on one inotify descriptor: a user may have few of those."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

_IN_MODIFY = 0x2
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class WatchFailed(OSError):
    """The kernel refused to watch one more file."""


class FileEvents:
    """
    Watches files for one event loop.

    Resource handling: one descriptor from the first ``add`` to ``close``.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._callbacks: dict[int, Callable[[], None]] = {}

    def add(self, file: Path, on_change: Callable[[], None]) -> int:
        """Call ``on_change`` on the running loop whenever the file changes; returns the number to remove it by."""
        if self._fd < 0:
            self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._fd, self._readable)
        number = _checked(_libc.inotify_add_watch(self._fd, os.fsencode(file), _IN_MODIFY))
        self._callbacks[number] = on_change
        return number

    def remove(self, number: int) -> None:
        """Stop watching; a file that is gone has stopped by itself."""
        self._callbacks.pop(number, None)
        _libc.inotify_rm_watch(self._fd, number)

    def close(self) -> None:
        """Stop watching everything. Idempotent."""
        if self._fd >= 0:
            assert self._loop is not None
            with contextlib.suppress(RuntimeError):  # the loop may be closed already
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._callbacks.clear()

    def _readable(self) -> None:
        try:
            raw = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        numbers = []
        offset = 0
        while offset < len(raw):
            number, _mask, _cookie, length = _EVENT.unpack_from(raw, offset)
            numbers.append(number)
            offset += _EVENT.size + length
        for number in dict.fromkeys(numbers):
            callback = self._callbacks.get(number)
            if callback is not None:
                callback()


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise WatchFailed(number, os.strerror(number))
    return result

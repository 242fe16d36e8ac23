"""Packets with descriptors between the event loop and the processes inside fences."""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from lambdad.sandbox.inside import wire

_SENDER = struct.Struct("iII")
_NUMBER_BYTES = array.array("i").itemsize
_ANCILLARY_BYTES = socket.CMSG_SPACE(wire.MOST_DESCRIPTORS * _NUMBER_BYTES) + socket.CMSG_SPACE(_SENDER.size)

OnMessage = Callable[[dict[str, Any], list[int], int], None]


class MessageTooLarge(Exception):
    """A message does not fit into one packet; ``size_bytes`` says how large it was."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes, at most {wire.LARGEST_MESSAGE_BYTES} are allowed")
        self.size_bytes = size_bytes


class Channel:
    """
    The worker's side of one SOCK_SEQPACKET socket, read by callbacks of the running loop.

    ``on_message`` is given the message, its descriptors (the callee's to close) and the sender's pid as this process sees
    it; ``on_end`` is called once, when the other side is gone.

    Resource handling: ``close`` is idempotent and stops the callbacks.
    """

    def __init__(self, own: socket.socket, on_message: OnMessage, on_end: Callable[[], None]) -> None:
        own.setblocking(False)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * wire.LARGEST_MESSAGE_BYTES)
        self._socket = own
        self._on_message = on_message
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(own.fileno(), self._readable)

    @property
    def closed(self) -> bool:
        """Say whether this side has been closed."""
        return self._socket.fileno() == -1

    def send(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        """Send one message without waiting. Raises MessageTooLarge, and OSError when the other side is gone."""
        raw = json.dumps(message, separators=(",", ":")).encode()
        if len(raw) > wire.LARGEST_MESSAGE_BYTES:
            raise MessageTooLarge(len(raw))
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self._socket.sendmsg([raw], ancillary, socket.MSG_NOSIGNAL)

    def close(self) -> None:
        """Stop reading and let the other side see the end."""
        if not self.closed:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _readable(self) -> None:
        for _ in range(8):  # a talkative peer must not hold the loop
            if self.closed:
                return
            try:
                raw, ancillary, _flags, _address = self._socket.recvmsg(
                    wire.LARGEST_MESSAGE_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # said once, of what the other side left unread; what it sent before that is here to be read, and then the end
            except OSError:
                raw, ancillary = b"", []
            fds, pid = _unpacked(ancillary)
            if not raw:
                self.close()
                self._on_end()
                return
            self._on_message(json.loads(raw), fds, pid)


def close_all(fds: list[int]) -> None:
    """Close descriptors, ignoring those that are closed already."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def _unpacked(ancillary: list[tuple[int, int, bytes]]) -> tuple[list[int], int]:
    fds = array.array("i")
    pid = 0
    for level, kind, data in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % _NUMBER_BYTES])
        elif kind == socket.SCM_CREDENTIALS:
            pid = _SENDER.unpack(data[: _SENDER.size])[0]
    return list(fds), pid

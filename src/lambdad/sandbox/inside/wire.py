"""Messages between the worker and its fences: one JSON object per packet, descriptors beside it."""

from __future__ import annotations

import array
import json
import socket
from typing import Any

LARGEST_MESSAGE_BYTES = 192 * 1024
MOST_DESCRIPTORS = 16

_encode = json.JSONEncoder(separators=(",", ":")).encode
_NUMBER_BYTES = array.array("i").itemsize


def send(channel: socket.socket, message: dict[str, Any], fds: list[int] | None = None) -> None:
    """Send one message; the receiver gets its own copies of ``fds``. Raises OSError."""
    raw = _encode(message).encode()
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    channel.sendmsg([raw], ancillary, socket.MSG_NOSIGNAL)


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Wait for one message and its descriptors (close-on-exec); None when the other side is gone."""
    try:
        raw, ancillary, _flags, _address = channel.recvmsg(
            LARGEST_MESSAGE_BYTES, socket.CMSG_SPACE(MOST_DESCRIPTORS * _NUMBER_BYTES), socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionError:
        return None
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % _NUMBER_BYTES])
    if not raw:
        return None
    message: dict[str, Any] = json.loads(raw)
    return message, list(fds)

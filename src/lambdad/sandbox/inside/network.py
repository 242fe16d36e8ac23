"""The loopback network of a fence: two addresses, two listeners, no way out."""

from __future__ import annotations

import fcntl
import socket
import struct

from . import kernel

_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_IFF_UP = 1


def bring_up(addresses: list[str]) -> None:
    """Bring ``lo`` of this network namespace up and give it more /32 addresses. Raises StepFailed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as handle:
        _ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP), "bring lo up")
        for number, address in enumerate(addresses, 1):
            label = b"lo:%d" % number
            _ioctl(handle, _SIOCSIFADDR, _address_request(label, address), "add " + address)
            _ioctl(handle, _SIOCSIFNETMASK, _address_request(label, "255.255.255.255"), "narrow " + address)


def listener(address: str, port: int, backlog: int = 256) -> socket.socket:
    """Open a listening TCP socket; it stays in this network namespace wherever its descriptor goes. Raises StepFailed."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address, port))
        opened.listen(backlog)
    except OSError as refused:
        opened.close()
        raise kernel.StepFailed("listen on %s:%d" % (address, port), refused.errno or 0) from refused
    return opened


def _address_request(label: bytes, address: str) -> bytes:
    return struct.pack("16sHH4s16x", label, socket.AF_INET, 0, socket.inet_aton(address))


def _ioctl(handle: socket.socket, request: int, argument: bytes, step: str) -> None:
    try:
        fcntl.ioctl(handle, request, argument)
    except OSError as refused:
        raise kernel.StepFailed(step, refused.errno or 0) from refused

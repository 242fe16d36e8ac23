"""Listening sockets for the API, and the HTTP server on them."""

import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Sequence

from lambdad.kit import http1
from lambdad.kit.http1 import Limits, Server

BACKLOG = 1024

LIMITS = Limits(header_bytes=1024 * 1024, body_bytes=72 * 1024 * 1024, discard_bytes=512 * 1024 * 1024)
"""What one client of the API may cost: 1 MB of request line and headers, as Lambda allows, and the largest of AWS's bodies, a function's
code in base64, with room to spare. Larger ones are read and thrown away, so that the answer is AWS's and the client gets to read it."""


class CannotListen(Exception):
    """The address cannot be served; the text says why."""


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """
    Open a listening socket for each address of a host name.

    Args:
        host: an address or a name; "localhost" may have two addresses.
        port: 0 takes a free one, the same for all addresses where that is possible.

    Raises:
        CannotListen: no address could be bound; a part of them is none either.

    Resource handling: the caller owns the sockets; `serving` closes them.
    """
    opened: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
            chosen = opened[0].getsockname()[1] if opened and port == 0 else port
            opened.append(_listening(family, (address[0], chosen, *address[2:])))
    except OSError as error:
        for sock in opened:
            sock.close()
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return opened


def inherited_socket(descriptor: int) -> socket.socket:
    """
    Take over a listening socket that was opened by whoever started us, e.g. by systemd.

    Raises:
        CannotListen: the descriptor is no listening stream socket.
    """
    try:
        sock = socket.socket(fileno=descriptor)
        listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    except OSError as error:
        raise CannotListen(f"descriptor {descriptor} is no socket: {error.strerror}") from error
    if not listens:
        sock.detach()
        raise CannotListen(f"descriptor {descriptor} is no listening stream socket")
    sock.setblocking(False)
    return sock


def address_of(sock: socket.socket) -> tuple[str, int]:
    """Return host and port of a listening socket."""
    host, port = sock.getsockname()[:2]
    return str(host), int(port)


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address or name; a name that cannot be resolved is none."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)


@contextlib.asynccontextmanager
async def serving(
    handler: http1.Handler,
    sockets: Sequence[socket.socket],
    *,
    limits: Limits = LIMITS,
    wants_stream: Callable[[http1.Request], bool] | None = None,
    drain_timeout_s: float = 25.0,
) -> AsyncIterator[Server]:
    """
    Serve the API on listening sockets while the block runs.

    Args:
        wants_stream: says of which requests the handler takes the body as a stream.

    Resource handling: leaving the block drains: no new connections, requests in flight get `drain_timeout_s` to end, then all is
    closed, the sockets included.
    """
    try:
        async with http1.serve(handler, sockets, limits, wants_stream=wants_stream, drain_timeout_s=drain_timeout_s) as server:
            yield server
    finally:
        for sock in sockets:
            sock.close()


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock

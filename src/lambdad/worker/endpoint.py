"""AWS's endpoint inside an environment: connections made there are passed on to the server, byte by byte.

Functions reach lambdad's own API through it even where they have no other network. Bounds: `MAX_CONNECTIONS` for each environment;
what one side sends waits in the socket while the other side is slower.
"""

import asyncio

MAX_CONNECTIONS = 128


class Relay:
    """The connections of one environment to the server.

    Args:
        upstream: host and port of the server, as the worker reaches it.
    """

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._near: set[_Side] = set()
        self._connecting: set[asyncio.Task[None]] = set()

    def accept(self) -> "_Side":
        """Make the protocol of a connection that was just accepted."""
        return _Side(self)

    def opened(self, near: "_Side") -> None:
        if len(self._near) >= MAX_CONNECTIONS:
            near.close()
            return
        self._near.add(near)
        task = asyncio.get_running_loop().create_task(self._connect(near))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, near: "_Side") -> None:
        far = _Side(None)
        try:
            await asyncio.get_running_loop().create_connection(lambda: far, *self._upstream)
        except OSError:
            near.close()
            return
        near.join(far)

    def closed(self, near: "_Side") -> None:
        self._near.discard(near)

    def close(self) -> None:
        """Cut every connection."""
        for task in list(self._connecting):
            task.cancel()
        for near in list(self._near):
            near.close()


class _Side(asyncio.Protocol):
    """One of the two connections of a relayed one."""

    def __init__(self, relay: Relay | None) -> None:
        self._relay = relay
        self._transport: asyncio.Transport | None = None
        self._other: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio's and uvloop's transports have no common class
        if self._relay is not None:
            self._transport.pause_reading()  # type: ignore[union-attr]  # until there is someone to pass it to
            self._relay.opened(self)

    def join(self, other: "_Side") -> None:
        if self._transport is None or self._transport.is_closing():
            other.close()
            return
        self._other, other._other = other, self
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.write(data)

    def eof_received(self) -> bool:
        other = self._other
        if other is not None and other._transport is not None and other._transport.can_write_eof():
            other._transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._relay is not None:
            self._relay.closed(self)
        if self._other is not None:
            self._other.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

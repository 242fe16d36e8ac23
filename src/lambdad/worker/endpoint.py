"""AWS's endpoint inside an environment: connections made there are passed on to the server, byte by byte.

Functions reach lambdad's own API through it even where they have no other network. Bounds: `MAX_CONNECTIONS` for each environment, and
`MAX_CONNECTIONS_TOGETHER`, so that functions leave the server room for its other clients; what one side sends waits in the socket while
the other side is slower.
"""

import asyncio

MAX_CONNECTIONS = 128
MAX_CONNECTIONS_TOGETHER = 4096


class Upstream:
    """The server, as the worker reaches it; shared by all relays of a worker."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)
        self.connections = 0


class Relay:
    """The connections of one environment to the server.

    Args:
        upstream: what they are passed on to.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._near: set[_Side] = set()
        self._connecting: set[asyncio.Task[None]] = set()

    def accept(self) -> "_Side":
        """Make the protocol of a connection that was just accepted."""
        return _Side(self)

    def opened(self, near: "_Side") -> None:
        if len(self._near) >= MAX_CONNECTIONS or self._upstream.connections >= MAX_CONNECTIONS_TOGETHER:
            near.close()
            return
        self._near.add(near)
        self._upstream.connections += 1
        task = asyncio.get_running_loop().create_task(self._connect(near))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, near: "_Side") -> None:
        far = _Side(None)
        try:
            await asyncio.get_running_loop().create_connection(lambda: far, *self._upstream.address)
        except OSError:
            near.close()
            return
        near.join(far)

    def closed(self, near: "_Side") -> None:
        if near in self._near:
            self._near.remove(near)
            self._upstream.connections -= 1

    def close(self) -> None:
        """Cut every connection."""
        for task in list(self._connecting):
            task.cancel()
        for near in list(self._near):
            near.close()


class _Side(asyncio.Protocol):
    """One of the two connections of a relayed one. What comes before there is another side waits here: one read, then reading stops."""

    def __init__(self, relay: Relay | None) -> None:
        self._relay = relay
        self._transport: asyncio.Transport | None = None
        self._other: _Side | None = None
        self._early: list[bytes] = []
        self._ended = False  # it will send no more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio's and uvloop's transports have no common class
        if self._relay is not None:
            self._relay.opened(self)

    def join(self, other: "_Side") -> None:
        """Pass everything on to another side from here on, what came early first."""
        for side, far in ((self, other), (other, self)):
            if side._transport is None or side._transport.is_closing():
                far.close()
                return
        self._other, other._other = other, self
        self._catch_up()
        other._catch_up()

    def _catch_up(self) -> None:
        early, self._early = self._early, []
        for data in early:
            self._pass_on(data)
        if self._ended:
            self._pass_end_on()
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._other is not None:
            self._pass_on(data)
        else:
            self._early.append(data)
            self._transport.pause_reading()  # type: ignore[union-attr]  # it is there while it receives

    def _pass_on(self, data: bytes) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        if self._other is not None:
            self._pass_end_on()
        return True

    def _pass_end_on(self) -> None:
        other = self._other
        assert other is not None
        if other._ended:
            self.close()
            other.close()
        elif other._transport is not None and other._transport.can_write_eof():
            other._transport.write_eof()

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

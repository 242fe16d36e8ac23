"""What clients can make a server keep: bodies, answers that they do not read, headers, requests behind one another."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop

from lambdad.kit import http1

MIB = 1024 * 1024


class Serving:
    """A server whose handler waits until it is told to go on, and what it has been asked."""

    def __init__(self, limits: http1.Limits) -> None:
        self.limits = limits
        self.requests: list[http1.Request] = []
        self.go_on = asyncio.Event()
        self.server: http1.Server
        self._address: tuple[str, int]
        self._writers: list[asyncio.StreamWriter] = []

    async def handle(self, request: http1.Request) -> http1.Response:
        self.requests.append(request)
        await self.go_on.wait()
        return http1.Response(200, [], b"x" * 1000)

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self._address)
        self._writers.append(writer)
        return reader, writer

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Serving"]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            self._address = listener.getsockname()
            async with asyncio.timeout(20), http1.serve(self.handle, [listener.dup()], self.limits, drain_timeout_s=1) as self.server:
                yield self
                self.go_on.set()
                for writer in self._writers:
                    writer.transport.abort()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    """Run a coroutine to its end on one of the event loops."""
    return uvloop.run if request.param == "uvloop" else asyncio.run


async def status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
    await reader.readexactly(length)
    return int(head[9:12])


def post(size_bytes: int) -> bytes:
    return b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % size_bytes + bytes(size_bytes)


def test_bodies_of_all_connections_together(run):
    """Beyond the bound a large body is answered 503, a small one is taken; when bodies have gone there is room again."""

    async def work() -> None:
        async with Serving(http1.Limits(body_bytes=8 * MIB, bodies_bytes=10 * MIB)).open() as there:
            kept = [await there.dial() for _ in range(2)]
            for _, writer in kept:
                writer.write(post(4 * MIB))
            while len(there.requests) < 2:
                await asyncio.sleep(0.001)
            assert there.server.bodies_bytes == 8 * MIB
            reader, writer = await there.dial()
            writer.write(post(4 * MIB))
            assert await status(reader) == 503
            small, writer = await there.dial()
            writer.write(post(MIB))
            while len(there.requests) < 3:
                await asyncio.sleep(0.001)
            kept[0][1].transport.abort()  # its request is being handled still
            there.go_on.set()
            assert await status(kept[1][0]) == 200 and await status(small) == 200
            writer.transport.abort()
            while there.server.bodies_bytes:
                await asyncio.sleep(0.001)
            reader, writer = await there.dial()
            writer.write(post(8 * MIB))
            assert await status(reader) == 200
        assert there.server.bodies_bytes == 0

    run(work())


def test_half_a_body_and_gone(run):
    """What was kept of it is no longer counted."""

    async def work() -> None:
        async with Serving(http1.Limits()).open() as there:
            for _ in range(20):
                _, writer = await there.dial()
                writer.write(post(2 * MIB)[:-1])
                await writer.drain()
                writer.close()
            while there.server.bodies_bytes or there.server.connections:
                await asyncio.sleep(0.001)
            assert there.requests == []

    run(work())


def test_answers_that_are_not_read(run):
    """A client that asks and does not read is not read either, until it does; then it has every answer."""

    async def work() -> None:
        async with Serving(http1.Limits()).open() as there:
            there.go_on.set()
            reader, writer = await there.dial()
            asked = 20_000
            writer.write(b"GET / HTTP/1.1\r\n\r\n" * asked)
            seen = -1
            while len(there.requests) > seen:
                seen = len(there.requests)
                await asyncio.sleep(0.2)
            [connection] = there.server.connections
            assert seen < asked and connection.held_bytes() < 4 * MIB
            for _ in range(asked):
                assert await status(reader) == 200

    run(work())


def test_a_header_that_comes_more_than_once(run):
    """Its values are joined in their order, those of trailers too; more than a thousand headers are refused."""

    async def work() -> None:
        async with Serving(http1.Limits()).open() as there:
            there.go_on.set()
            reader, writer = await there.dial()
            writer.write(b"GET / HTTP/1.1\r\na: 1\r\nb: 2\r\nA: 3\r\na:\r\na: 1\r\n\r\n")
            assert await status(reader) == 200
            assert there.requests[-1].headers == {"a": "1,3,,1", "b": "2"}
            writer.write(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\na: 1\r\n\r\n1\r\nx\r\n0\r\na: 2\r\nc: 3\r\n\r\n")
            assert await status(reader) == 200
            assert there.requests[-1].headers == {"transfer-encoding": "chunked", "a": "1,2", "c": "3"}
            writer.write(b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 1000 + b"\r\n")
            assert await status(reader) == 200
            writer.write(b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 1001 + b"\r\n")
            assert await status(reader) == 431 and await reader.read() == b""

    run(work())


def test_chunks_of_one_byte(run):
    """A body in the smallest chunks is a body; extensions of chunks without end are not."""

    async def work() -> None:
        async with Serving(http1.Limits(header_bytes=4096)).open() as there:
            there.go_on.set()
            reader, writer = await there.dial()
            writer.write(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
            assert await status(reader) == 200 and there.requests[-1].body == b"x" * 50_000
            writer.write(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"x" * 1_000_000)
            assert await status(reader) in (400, 431)

    run(work())

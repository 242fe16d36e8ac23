"""The relay between a function and the server, over real sockets, on both event loops."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop

from lambdad.worker import endpoint

Served = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    """Run a coroutine to its end on one of the event loops."""
    return uvloop.run if request.param == "uvloop" else asyncio.run


class Place:
    """A server behind a relay; `dial` connects to the relay as a function does."""

    def __init__(self, relay: endpoint.Relay, upstream: endpoint.Upstream, port: int) -> None:
        self.relay = relay
        self.upstream = upstream
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def dial(self) -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(writer)
        return reader, writer

    async def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def place(served: Served) -> AsyncIterator[Place]:
    ended: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ended.append(task)
        try:
            with contextlib.suppress(ConnectionError):
                await served(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    upstream = endpoint.Upstream(host, port)
    relay = endpoint.Relay(upstream)
    near = await asyncio.get_running_loop().create_server(relay.accept, "127.0.0.1", 0)
    made = Place(relay, upstream, near.sockets[0].getsockname()[1])
    try:
        async with asyncio.timeout(20):
            yield made
            await made.hang_up()
            while upstream.connections or not all(task.done() for task in ended):
                await asyncio.sleep(0.001)
    finally:
        near.close()
        server.close()
        relay.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def test_what_comes_before_the_server_is_reached(run):
    """A request that arrives with its connection is passed on, whole and once."""

    async def work() -> None:
        async with place(echo) as there:
            for n in range(50):
                reader, writer = await there.dial()
                writer.write(b"request %d" % n)
                assert await reader.readexactly(len(b"request %d" % n)) == b"request %d" % n
                writer.close()

    run(work())


def test_ends_are_passed_on(run):
    """Whoever ends first, the other hears of it and can still be heard; afterwards both connections are gone."""

    async def work() -> None:
        heard: list[bytes] = []

        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.read())
            writer.write(b"answer")
            writer.close()

        async with place(served) as there:
            reader, writer = await there.dial()
            writer.write(b"question")
            writer.write_eof()
            assert await reader.read() == b"answer" and heard == [b"question"]
            writer.close()

        async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"enough")
            writer.close()

        async with place(short) as there:
            for _ in range(5):
                reader, writer = await there.dial()
                assert await reader.read() == b"enough"
                writer.close()

    run(work())


def test_much_data_and_a_slow_reader(run):
    """Megabytes pass unchanged in both directions while the other side takes its time."""

    async def work() -> None:
        async with place(echo) as there:
            reader, writer = await there.dial()
            data = bytes(range(256)) * 40_000

            async def send() -> None:
                for start in range(0, len(data), 100_000):
                    writer.write(data[start : start + 100_000])
                    await writer.drain()
                writer.write_eof()

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(send())
                back = b""
                while piece := await reader.read(30_000):
                    back += piece
            assert back == data

    run(work())


def test_more_connections_than_there_may_be(run, monkeypatch):
    """Beyond the limits a connection is closed at once; when others have gone there is room again."""

    async def work() -> None:
        async with place(echo) as there:
            kept = [await there.dial() for _ in range(3)]
            for n, (reader, writer) in enumerate(kept):
                writer.write(b"%d" % n)
                assert await reader.readexactly(1) == b"%d" % n
            reader, writer = await there.dial()
            assert await reader.read() == b""
            writer.close()
            kept[0][1].close()
            while there.upstream.connections > 2:
                await asyncio.sleep(0.001)
            reader, writer = await there.dial()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"

    monkeypatch.setattr(endpoint, "MAX_CONNECTIONS", 3)
    run(work())
    monkeypatch.setattr(endpoint, "MAX_CONNECTIONS", 128)
    monkeypatch.setattr(endpoint, "MAX_CONNECTIONS_TOGETHER", 3)
    run(work())


def test_a_server_that_is_not_there(run):
    """The function's connection is closed, and the relay goes on."""

    async def work() -> None:
        async with place(echo) as there:
            host, port = there.upstream.address
            there.upstream.address = (host, 1)
            reader, writer = await there.dial()
            assert await reader.read() == b""
            writer.close()
            there.upstream.address = (host, port)
            reader, writer = await there.dial()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"

    run(work())


def test_cutting_all(run):
    """`close` ends every connection, those that are being made among them."""

    async def work() -> None:
        async with place(echo) as there:
            pairs = [await there.dial() for _ in range(4)]
            there.relay.close()
            for reader, _ in pairs:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""

    run(work())

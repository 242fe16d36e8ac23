"""HTTP/1.1 as clients really speak it, well and badly, over real sockets."""

import asyncio
import contextlib
import socket

import pytest

from lambdad.kit import http1
from lambdad.kit.http1 import Limits, Response

LIMITS = Limits(header_bytes=4096, body_bytes=100_000, pipelined=4, connections=8)


class Peer:
    """A client that speaks bytes."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def head(self):
        """Return the status and headers of the next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.rstrip().split("\r\n")
        return int(status.split()[1]), dict(line.split(": ", 1) for line in lines)

    async def answer(self):
        """Return status, headers and body of the next answer."""
        status, headers = await self.head()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
            return status, headers, body
        return status, headers, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def rest(self):
        """Return everything until the server closes."""
        return await self.reader.read()


class Serving:
    def __init__(self, server, address):
        self.server, self.address = server, address
        self.requests = []
        self.release = asyncio.Event()

    @contextlib.asynccontextmanager
    async def peer(self):
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            yield Peer(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, data):
        async with self.peer() as peer:
            await peer.send(data)
            return await peer.answer()

    async def wait_for_connections(self, count):
        while len(self.server.connections) != count:
            await asyncio.sleep(0)

    async def wait_for_requests(self, count):
        while len(self.requests) != count:
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def serving(limits=LIMITS, wants_stream=None, drain_timeout_s=2.0):
    found = []

    async def handle(request):
        serving = found[0]
        serving.requests.append(request)
        match request.target:
            case "/wait":
                await serving.release.wait()
            case "/stream":
                return Response(200, [], chunks(3))
            case "/broken":
                raise RuntimeError("a bug")
            case "/half":
                return Response(200, [], broken_chunks())
            case "/upload":
                size = 0
                async for piece in request.stream:
                    size += len(piece)
                return Response(200, [], b"%d" % size)
            case "/nothing":
                return Response(204, [])
        return Response(200, [("X-Target", request.target)], request.body or b"none")

    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    address = sock.getsockname()
    async with http1.serve(handle, [sock], limits, wants_stream=wants_stream, drain_timeout_s=drain_timeout_s) as server:
        found.append(Serving(server, address))
        yield found[0]


async def chunks(count):
    for number in range(count):
        yield b"%d" % number * 10


async def broken_chunks():
    yield b"first"
    raise RuntimeError("the source failed")


@pytest.fixture
async def served():
    async with serving() as serving_now:
        yield serving_now


async def test_keep_alive_and_bodies(served):
    """Requests follow one another on a connection, with whole and chunked bodies."""
    async with served.peer() as peer:
        await peer.send(b"GET /a?b=c%20d HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-A: 2\r\n\r\n")
        assert (await peer.answer())[2] == b"none"
        await peer.send(b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
        assert (await peer.answer())[2] == b"hello"
        await peer.send(b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert (await peer.answer())[2] == b"abcde"
    first = served.requests[0]
    assert (first.method, first.target, first.headers["x-a"]) == ("GET", "/a?b=c%20d", "1,2")


async def test_a_request_may_come_byte_by_byte(served):
    """Where the network cuts a request does not matter."""
    async with served.peer() as peer:
        for byte in b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc":
            await peer.send(bytes([byte]))
        assert (await peer.answer())[2] == b"abc"


async def test_pipelining_keeps_the_order(served):
    """Requests sent at once are answered one after another, more of them than are held."""
    async with served.peer() as peer:
        targets = ["/wait", *(f"/{number}" for number in range(20))]
        await peer.send(b"".join(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode() for target in targets))
        await served.wait_for_requests(1)
        served.release.set()
        assert [(await peer.answer())[1]["X-Target"] for _ in targets] == targets


async def test_what_came_before_garbage_is_answered(served):
    """A malformed message does not take the answers of earlier ones with it."""
    async with served.peer() as peer:
        await peer.send(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\nno http at all\r\n\r\n")
        await served.wait_for_requests(1)
        served.release.set()
        assert (await peer.answer())[1]["X-Target"] == "/wait"
        assert (await peer.answer())[1]["X-Target"] == "/b"
        assert (await peer.answer())[0] == 400
        assert await peer.rest() == b""


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\nX: y\0\r\n\r\n",
    ],
    ids=["tls", "two lengths", "length and chunks", "negative", "folded", "space", "zero byte"],
)
async def test_malformed_requests_are_refused(served, data):
    """What is ambiguous is refused, and never handled."""
    async with served.peer() as peer:
        await peer.send(data)
        assert (await peer.answer())[0] == 400
        assert await peer.rest() == b""
    assert served.requests == []


@pytest.mark.parametrize("pieces", [1, 40])
async def test_oversize_headers(served, pieces):
    """Headers beyond the limit are refused, at once or trickling in."""
    data = b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 100) for n in range(100)) + b"\r\n"
    async with served.peer() as peer:
        size = len(data) // pieces + 1
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(data), size):
                await peer.send(data[start : start + size])
        assert (await peer.answer())[0] == 431
    assert served.requests == []


async def test_headers_within_the_limit_after_a_large_body(served):
    """A body does not count as headers, nor do earlier requests."""
    body = b"x" * 50_000
    one = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n" + body
    async with served.peer() as peer:
        await peer.send(one + one)
        for _ in range(2):
            assert (await peer.answer())[2] == body


@pytest.mark.parametrize("framing", ["announced", "chunked"])
async def test_oversize_bodies(served, framing):
    """A body beyond the limit is refused; the client that is still sending it can read the answer."""
    if framing == "announced":
        data = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000
    else:
        data = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + b"186a0\r\n%s\r\n" % (b"x" * 100_000) * 30
    async with served.peer() as peer:
        await peer.send(data)
        status, headers, _ = await peer.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert await peer.rest() == b""
    assert served.requests == []


async def test_nothing_is_handled_after_a_refusal(served):
    """What follows a refused message on the connection could be part of it."""
    async with served.peer() as peer:
        await peer.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n" + b"GET /smuggled HTTP/1.1\r\n\r\n")
        assert (await peer.answer())[0] == 413
        assert await peer.rest() == b""
    assert served.requests == []


async def test_expect_100_continue(served):
    """The client that asks first is told to go on, and refused before it sends too much."""
    async with served.peer() as peer:
        await peer.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert (await peer.head())[0] == 100
        await peer.send(b"hello")
        assert (await peer.answer())[2] == b"hello"
        await peer.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\nExpect: 100-continue\r\n\r\n")
        assert (await peer.head())[0] == 413


async def test_head_has_no_body(served):
    """HEAD is answered with the length alone."""
    async with served.peer() as peer:
        await peer.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await peer.head())[1]["content-length"] == "4"
        assert (await peer.answer())[1]["X-Target"] == "/next"
        await peer.send(b"HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\nGET /nothing HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await peer.head())[0] == 200
        status, headers = await peer.head()
        assert (status, "content-length" in headers) == (204, False)


@pytest.mark.parametrize("connection", [b"", b"Connection: keep-alive\r\n"])
@pytest.mark.parametrize("target", [b"/", b"/stream"])
async def test_http_1_0(served, target, connection):
    """An HTTP/1.0 client reads to the end of the connection, and never sees chunks."""
    async with served.peer() as peer:
        await peer.send(b"GET " + target + b" HTTP/1.0\r\n" + connection + b"\r\n")
        head, _, body = (await peer.rest()).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert body == (b"none" if target == b"/" else b"0" * 10 + b"1" * 10 + b"2" * 10)


async def test_connection_close(served):
    """A client that wants the connection closed gets it closed."""
    async with served.peer() as peer:
        await peer.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert (await peer.answer())[1]["connection"] == "close"
        assert await peer.rest() == b""


async def test_client_that_stops_sending_is_answered(served):
    """A half-closed connection still takes the answer."""
    async with served.peer() as peer:
        await peer.send(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        await served.wait_for_requests(1)
        peer.writer.write_eof()
        async with served.peer() as other:
            await other.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")  # by its answer, the end of the first has been seen too
            await other.answer()
        served.release.set()
        assert (await peer.answer())[1]["X-Target"] == "/wait"
        assert await peer.rest() == b""


async def test_connect_is_refused(served):
    """We are no proxy."""
    assert (await served.ask(b"CONNECT example.com:443 HTTP/1.1\r\nHost: h\r\n\r\n"))[0] == 501
    assert served.requests == []


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"])
async def test_offered_upgrades_are_not_taken(served, framing):
    """A client that offers HTTP/2 over cleartext is served in HTTP/1.1, body and all."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
    async with served.peer() as peer:
        await peer.send(b"POST /x HTTP/1.1\r\nHost: h\r\n" + offer + framing)
        assert (await peer.answer())[2] == b"hello"
        await peer.send(b"GET /y HTTP/1.1\r\nHost: h\r\n" + offer + b"\r\n")
        assert (await peer.answer())[1]["X-Target"] == "/y"
    assert len(served.requests) == 2


async def test_streamed_answers(served):
    """An iterator is sent in chunks, and the connection goes on."""
    async with served.peer() as peer:
        await peer.send(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await peer.answer())[2] == b"0" * 10 + b"1" * 10 + b"2" * 10
        assert (await peer.answer())[2] == b"none"


async def test_bugs_are_500(served, caplog):
    """A handler's bug is an answer; one in the middle of an answer cuts it off, so that it does not look whole."""
    assert (await served.ask(b"GET /broken HTTP/1.1\r\nHost: h\r\n\r\n"))[0] == 500
    async with served.peer() as peer:
        await peer.send(b"GET /half HTTP/1.1\r\nHost: h\r\n\r\n")
        assert not (await peer.rest()).endswith(b"0\r\n\r\n")
    assert "a bug" in caplog.text and "the source failed" in caplog.text


async def test_streamed_uploads():
    """A body may be read as it comes, however large."""
    async with serving(wants_stream=lambda request: request.target == "/upload") as served:
        async with served.peer() as peer:
            await peer.send(b"PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n")
            for _ in range(20):
                await peer.send(b"x" * 100_000)
            assert (await peer.answer())[2] == b"2000000"


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"GET / HT", 408), (b"GET / HTTP/1.1\r\nHo", 408), (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", 408), (b"", None)],
    ids=["request line", "headers", "body", "nothing"],
)
async def test_slow_clients_are_cut_off(served, data, status):
    """A request that does not arrive in time is told so; an idle connection is closed."""
    async with served.peer() as peer:
        await peer.send(data + b"")
        await served.wait_for_connections(1)
        [connection] = served.server.connections
        while data and not (connection._in_headers or connection._reading):
            await asyncio.sleep(0)
        now_s = asyncio.get_running_loop().time()
        connection.expire(now_s + 10)
        assert not connection.closing
        connection.expire(now_s + 100)
        if status is not None:
            assert (await peer.answer())[0] == status
        with contextlib.suppress(ConnectionError):
            assert await peer.rest() == b""
    assert served.requests == []


async def test_waiting_for_a_handler_is_no_slowness(served):
    """A request that is being handled may take as long as it takes."""
    async with served.peer() as peer:
        await peer.send(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        await served.wait_for_requests(1)
        [connection] = served.server.connections
        connection.expire(asyncio.get_running_loop().time() + 10_000)
        served.release.set()
        assert (await peer.answer())[0] == 200


async def test_too_many_connections(served):
    """One connection too many is told to come again."""
    async with contextlib.AsyncExitStack() as stack:
        for count in range(1, LIMITS.connections + 1):
            await stack.enter_async_context(served.peer())
            await served.wait_for_connections(count)
        async with served.peer() as peer:
            assert (await peer.answer())[0] == 503


async def test_drain_lets_requests_end():
    """Leaving the block answers what is in flight, with a close, and takes nothing new."""
    async with contextlib.AsyncExitStack() as stack:
        async with serving() as served:
            busy = await stack.enter_async_context(served.peer())
            idle = await stack.enter_async_context(served.peer())
            await served.wait_for_connections(2)
            await busy.send(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
            await served.wait_for_requests(1)
            asyncio.get_running_loop().call_soon(served.release.set)
        status, headers, _ = await busy.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await idle.rest() == b""
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*served.address)


async def test_statistics(served):
    """What is open, in flight and answered is told."""
    await served.ask(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    await served.wait_for_connections(0)
    found = served.server.statistics()
    assert (found.connections, found.in_flight, found.answered) == (0, 0, 1)

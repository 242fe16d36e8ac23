"""What a runtime can do to its worker over the Runtime API: nothing, whatever it sends, in whatever order, on however many connections.

The environment is real and its sandbox pretends; a second environment stands for the neighbours, who must not notice.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_worker_environment import Client, Scene  # type: ignore[import-not-found]

from lambdad.machines import environment as machine
from lambdad.wire import frames
from lambdad.worker import runtime_api

PREFIX = b"/2018-06-01/runtime/"
NEXT = b"GET " + PREFIX + b"invocation/next HTTP/1.1\r\nhost: x\r\n\r\n"
PING = b"GET /ping HTTP/1.1\r\n\r\n"
ONE_READ_BYTES = 256 * 1024  # what the event loop takes from a socket at once


def post(path: bytes, body: bytes = b"{}", headers: bytes = b"") -> bytes:
    return b"POST %b%b HTTP/1.1\r\ncontent-length: %d\r\n%b\r\n%b" % (PREFIX, path, len(body), headers, body)


@dataclass
class Watch:
    """What went wrong in places that nobody awaits."""

    failures: list[BaseException | str] = field(default_factory=list)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Note every exception of a request's handling: the parser would turn it into a 400, the event loop into a line of its log."""
    seen = Watch()
    honest = runtime_api.RuntimeApi.request_received

    def received(self: runtime_api.RuntimeApi, request: Any) -> None:
        try:
            honest(self, request)
        except BaseException as error:
            seen.failures.append(error)
            raise

    monkeypatch.setattr(runtime_api.RuntimeApi, "request_received", received)
    return seen


@contextlib.asynccontextmanager
async def stage(watch: Watch, within_s: float = 20) -> AsyncIterator[tuple[Scene, Scene, Client]]:
    """A hostile environment, a neighbour, and the neighbour's runtime, which has asked for its first invocation."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: watch.failures.append(context.get("exception") or str(context)))
    async with asyncio.timeout(within_s):
        scenes = Scene(), Scene()
        running = [asyncio.ensure_future(scene.environment.run()) for scene in scenes]
        client = await scenes[1].dial()
        client.poll()
        await scenes[1].heard()
        try:
            yield *scenes, client
        finally:
            for scene in scenes:
                scene.environment.stop()
            await asyncio.gather(*running)
            for scene in scenes:
                await scene.hang_up()
    assert watch.failures == []


async def is_served(scene: Scene, client: Client, request_id: str) -> None:
    """Run an invocation of the neighbour's to its end."""
    scene.invoke(request_id)
    status, headers, _ = await client.answer()
    assert (status, headers["lambda-runtime-aws-request-id"]) == (200, request_id)
    assert await client.post(f"invocation/{request_id}/response", b"[1]") == 202
    answer, payload = await scene.heard()
    assert isinstance(answer, frames.Answer) and (answer.request_id, payload) == (request_id, b"[1]")
    client.poll()
    while scene.environment._state.state is not machine.State.READY:
        await asyncio.sleep(0)


async def is_reset(scene: Scene) -> None:
    """Let the hostile process end, and see that the next invocation is run by a new one, and answered by it."""
    scene.sandbox.exit(1)
    while scene.environment._state.state is not machine.State.RESET:
        await asyncio.sleep(0.001)
    launched = scene.sandbox.calls.count("respawn")
    scene.invoke("last")
    while scene.sandbox.calls.count("respawn") == launched:
        await asyncio.sleep(0.001)
    client = await scene.dial()
    client.poll()
    status, headers, _ = await client.answer()
    assert (status, headers["lambda-runtime-aws-request-id"]) == (200, "last")
    assert await client.post("invocation/last/response", b'"served"') == 202
    while not scene.sent.empty():
        answer, payload = await scene.heard()
    assert isinstance(answer, frames.Answer) and (answer.request_id, answer.function_error, payload) == ("last", "", b'"served"')


def held_bytes(scene: Scene) -> int:
    return sum(one.held_bytes() for one in scene.environment.connections)


async def pour(client: Client, data: bytes, times: int) -> int:
    """Write without reading, until the other side takes no more or hangs up; returns how many times it went."""
    for n in range(times):
        client.writer.write(data)
        try:
            async with asyncio.timeout(1):
                await client.writer.drain()
        except (TimeoutError, ConnectionError):
            return n
    return times


async def test_thousands_of_requests_behind_a_next(watch: Watch):
    """A connection that asks for more while its `next` is pending is cut; the invocation then goes to another."""
    async with stage(watch) as (scene, neighbour, honest):
        for count in (5, 5000):
            client = await scene.dial()
            client.writer.write(NEXT + PING * count)
            assert await client.reader.read() == b""
        client = await scene.dial()
        client.writer.write(NEXT + PING * runtime_api.LIMITS.pipelined)
        while scene.environment._state.state is not machine.State.READY:
            await asyncio.sleep(0.001)
        scene.invoke("r1")
        assert (await client.answer())[1]["lambda-runtime-aws-request-id"] == "r1"
        for _ in range(runtime_api.LIMITS.pipelined):
            assert (await client.answer())[2] == b"pong"
        await is_served(neighbour, honest, "n1")


async def test_answers_that_are_never_read(watch: Watch):
    """Requests whose answers are not read are not read themselves after a while; little piles up."""
    async with stage(watch) as (scene, neighbour, honest):
        client = await scene.dial()
        assert await pour(client, PING * 5000, 100) < 100
        assert held_bytes(scene) < 4 * ONE_READ_BYTES * len(PING)  # of one read's requests, their answers
        await is_served(neighbour, honest, "n1")
        client.writer.transport.abort()
        await is_reset(scene)


@pytest.mark.parametrize("piece", [b"x-%d: y\r\n", b"x: y\r\n", b"x" * 65536, b" 1\r\n"], ids=["many", "one name", "one line", "folded"])
async def test_trailers_without_end(watch: Watch, piece: bytes):
    """What follows a body in chunks is bounded as headers are."""
    async with stage(watch) as (scene, neighbour, honest):
        client = await scene.dial()
        client.writer.write(b"POST %binit/error HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nx: y\r\n" % PREFIX)
        lines = [piece % n if b"%d" in piece else piece for n in range(2000 if len(piece) < 100 else 20)]
        await pour(client, b"".join(lines), 2)
        assert (await client.answer())[0] in (400, 431)
        assert held_bytes(scene) < 2 * runtime_api.LIMITS.header_bytes + ONE_READ_BYTES
        await is_served(neighbour, honest, "n1")
        client.close()


@pytest.mark.parametrize("piece", [b"a:\r\n", b"a%d:\r\n", b"a: b\r\n"], ids=["empty", "many", "one name"])
async def test_hundreds_of_thousands_of_headers(watch: Watch, piece: bytes):
    """More than a thousand headers are refused, however small they are, before they cost anything."""
    async with stage(watch) as (scene, neighbour, honest):
        client = await scene.dial()
        lines = [piece % n if b"%d" in piece else piece for n in range(200_000)]
        client.writer.write(b"GET /ping HTTP/1.1\r\n" + b"".join(lines) + b"\r\n")
        assert (await client.answer())[0] == 431
        assert all(len(connection._headers) <= 1000 for connection in scene.environment.connections)
        await is_served(neighbour, honest, "n1")


async def test_bodies_on_every_connection(watch: Watch):
    """Half-sent answers of six megabytes on all connections together stay within the environment's bound."""
    async with stage(watch) as (scene, neighbour, honest):
        half = post(b"invocation/r1/response", bytes(6_000_000))[:-1]
        clients = [await scene.dial() for _ in range(runtime_api.MAX_CONNECTIONS)]
        most = 0
        for start in range(0, len(half), 500_000):
            for client in clients:
                client.writer.write(half[start : start + 500_000])
            for client in clients:
                with contextlib.suppress(ConnectionError):
                    await client.writer.drain()
            most = max(most, held_bytes(scene))
        assert most <= runtime_api.MAX_HELD_BYTES + ONE_READ_BYTES
        for client in clients:
            client.close()
        await is_served(neighbour, honest, "n1")
        await is_reset(scene)


async def test_more_connections_than_there_may_be(watch: Watch):
    """Beyond the limit a connection is closed at once; those that are there go on."""
    async with stage(watch) as (scene, neighbour, honest):
        kept = [await scene.dial() for _ in range(runtime_api.MAX_CONNECTIONS)]
        for client in kept:
            client.writer.write(b"GET /ping HTT")
        for _ in range(200):
            refused = await scene.dial()
            assert await refused.reader.read() == b""
        assert len(scene.environment.connections) == runtime_api.MAX_CONNECTIONS
        kept[-1].writer.write(b"P/1.1\r\n\r\n")
        assert (await kept[-1].answer())[2] == b"pong"
        await is_served(neighbour, honest, "n1")


async def test_an_init_error_that_comes_too_late(watch: Watch):
    """It is refused, and is not what the invocation's failure says afterwards."""
    async with stage(watch) as (scene, _, __):
        client = await scene.dial()
        client.poll()
        await scene.heard()
        scene.invoke("r1")
        await client.answer()
        assert await client.post("init/error", b'{"errorType": "Forged"}') == 403
        scene.sandbox.exit(3)
        answer, payload = await scene.heard()
        assert isinstance(answer, frames.Answer) and b"exit status 3" in payload and b"Forged" not in payload


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST %binvocation/r1/response HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + NEXT,
        b"POST %binvocation/r1/response HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST %binvocation/r1/response HTTP/1.1\r\ncontent-length: -1\r\n\r\n{}",
        b"POST %binvocation/r1/response HTTP/1.1\r\ncontent-length: +2\r\n\r\n{}",
        b"POST %binvocation/r1/response HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n{}",
        b"POST %binvocation/r1/response HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}",
        b"POST %binvocation/r1/response HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
        b"POST %binvocation/r1/response HTTP/1.1\r\ntransfer-encoding: gzip, chunked, identity\r\n\r\n{}",
        b"POST %binvocation/r1/response HTTP/9.9\r\ncontent-length: 2\r\n\r\n{}",
        b"POST %binvocation/r1/response HTTP/1.1\r\ncontent-length : 2\r\n\r\n{}",
        b"POST %binvocation/r1/response HTTP/1.1\ncontent-length: 2\n\n\0\0\0\0",
        b"CONNECT %b HTTP/1.1\r\n\r\n",
    ],
)  # fmt: skip
async def test_framing_that_can_be_read_in_two_ways(watch: Watch, request_bytes: bytes):
    """It is refused and the connection closed; nothing after it is taken for a request, and the invocation is not answered by it."""
    async with stage(watch) as (scene, neighbour, honest):
        client = await scene.dial()
        client.poll()
        await scene.heard()
        scene.invoke("r1")
        await client.answer()
        client.writer.write(request_bytes.replace(b"%b", PREFIX, 1))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            assert (await client.answer())[0] in (400, 413, 501)
        client.close()
        again = await scene.dial()
        again.writer.write(post(b"invocation/r1/response", b'"mine"'))
        status = (await again.answer())[0]
        answer, payload = await scene.heard()
        assert isinstance(answer, frames.Answer)
        if status == 202:
            assert payload == b'"mine"'
        else:  # one that was announced to be too large is the function's answer
            assert (status, answer.error_type) == (400, "Function.ResponseSizeTooLarge") and b"9999" in request_bytes
        await is_served(neighbour, honest, "n1")


PATHS = st.sampled_from(
    [b"invocation/next", b"invocation/r%d/response", b"invocation/r%d/error", b"init/error", b"invocation//response",
     b"invocation/../../next", b"invocation/r%d/response/x", b"", b"%%00"]
)  # fmt: skip
HEADERS = st.sampled_from(
    [b"", b"x: " + b"y" * 500 + b"\r\n", b"upgrade: h2c\r\nconnection: upgrade\r\n", b"expect: 100-continue\r\n", b"connection: close\r\n",
     b"lambda-runtime-function-response-mode: streaming\r\nlambda-runtime-function-error-type: A.B\r\n",
     b"lambda-runtime-function-error-type: \xff\xfe\r\n", b"transfer-encoding: chunked\r\n", b"content-length: 7\r\n"]
)  # fmt: skip
BODIES = st.sampled_from([b"", b"{}", b"\xff" * 100, b"0\r\n\r\n", b"5\r\nhello\r\n0\r\nx: y\r\n\r\n", b"[" * 4000, bytes(300_000)])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that may be right, wrong, or cut off."""
    path = draw(PATHS).replace(b"%d", b"%d" % draw(st.integers(0, 3)))
    method = draw(st.sampled_from([b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"OPTIONS"]))
    body, headers = draw(BODIES), draw(HEADERS)
    raw = method + post(path, body, headers)[4:]
    if draw(st.booleans()):
        raw = NEXT if draw(st.booleans()) else post(b"invocation/r%d/response" % draw(st.integers(0, 3)))
    return raw[: draw(st.integers(0, len(raw)))] if draw(st.integers(0, 4)) == 0 else raw


ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 3), requests()),
    st.tuples(st.just("send"), st.integers(0, 3), requests()),
    st.tuples(st.just("send"), st.integers(0, 3), st.binary(min_size=1, max_size=60)),
    st.tuples(st.sampled_from(["close", "reset", "half"]), st.integers(0, 3), st.just(b"")),
    st.tuples(st.sampled_from(["invoke", "exit", "freeze", "turn", "turn"]), st.just(0), st.just(b"")),
)


class Attacker:
    """Carries out actions on a hostile environment; never reads an answer unless its buffer is to be emptied at the end."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._clients: dict[int, Client] = {}
        self._left: list[Client] = []
        self._count = 0

    async def act(self, what: str, number: int, data: bytes) -> None:
        match what:
            case "send":
                client = self._clients.get(number)
                if client is None or client.writer.is_closing():
                    client = self._clients[number] = await self.scene.dial()
                client.writer.write(data)
            case "close" | "reset" | "half" if number in self._clients:
                client = self._clients.pop(number)
                self._left.append(client)
                self._end(what, client.writer)
            case "invoke" if self._idle():
                self.scene.invoke(f"r{self._count % 4}")
                self._count += 1
            case "exit":
                self.scene.sandbox.exit(1)
            case "freeze":
                self.scene.environment.freeze_if_idle(asyncio.get_running_loop().time() + 1)
            case "turn":
                for _ in range(5):
                    await asyncio.sleep(0)

    def _idle(self) -> bool:
        state = self.scene.environment._state
        return state.request_id is None and state.state in (machine.State.READY, machine.State.SETTLING, machine.State.RESET)

    @staticmethod
    def _end(how: str, writer: asyncio.StreamWriter) -> None:
        if writer.is_closing():
            return
        if how == "half":
            with contextlib.suppress(OSError):
                writer.write_eof()
            return
        if how == "reset":
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    def leave(self) -> None:
        for client in (*self._clients.values(), *self._left):
            client.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(ACTIONS, max_size=25))
def test_whatever_a_runtime_does(watch: Watch, actions: list[tuple[str, int, bytes]]):
    """Nothing breaks, what is kept stays bounded, the neighbour is served, and the environment serves again after a reset at the latest."""

    async def play() -> None:
        async with stage(watch) as (scene, neighbour, honest):
            attacker = Attacker(scene)
            for n, action in enumerate(actions):
                await attacker.act(*action)
                if n % 8 == 7:
                    await is_served(neighbour, honest, f"n{n}")
                assert held_bytes(scene) <= runtime_api.MAX_HELD_BYTES + ONE_READ_BYTES
            await attacker.act("turn", 0, b"")
            await is_served(neighbour, honest, "n-last")
            attacker.leave()
            await is_reset(scene)

    asyncio.run(play())

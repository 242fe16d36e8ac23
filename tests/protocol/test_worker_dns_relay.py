"""Questions of environments to the machine's resolvers, over real sockets, on both event loops."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from lambdad.worker import dns_relay

Run = Callable[[Awaitable[None]], None]
QUESTION = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x07example\x04test\x00\x00\x01\x00\x01"


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine to its end on one of the event loops."""
    return uvloop.run if request.param == "uvloop" else asyncio.run


class Resolver(asyncio.DatagramProtocol):
    """A resolver that answers as it is told: `reply` makes answers of a question."""

    def __init__(self, reply: Callable[[bytes], list[bytes]]) -> None:
        self.asked: list[bytes] = []
        self.ports: set[int] = set()
        self._reply = reply
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # asyncio's and uvloop's have no common class

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append(data)
        self.ports.add(addr[1])
        for answer in self._reply(data):
            self.transport.sendto(answer, addr)


def answer_to(question: bytes) -> bytes:
    return question[:2] + b"\x81\x80" + question[4:] + b"answer"


class Place:
    """A relay, its resolvers, and an environment that asks."""

    def __init__(self, relay: dns_relay.DnsRelay, udp: socket.socket, tcp: socket.socket) -> None:
        self.relay = relay
        self.tcp_port = tcp.getsockname()[1]
        self.asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.asker.setblocking(False)
        self.asker.connect(udp.getsockname())

    async def ask(self, question: bytes) -> bytes:
        self.asker.send(question)
        return await self.hear()

    async def hear(self, within_s: float = 8.0) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.asker, 65535), within_s)


def _bound(kind: socket.SocketKind) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind)
    opened.setblocking(False)
    opened.bind(("127.0.0.1", 0))
    if kind is socket.SOCK_STREAM:
        opened.listen()
    return opened


@contextlib.asynccontextmanager
async def place(*resolvers: Resolver | int) -> AsyncIterator[Place]:
    """Open a relay that asks these, in their order; a number is a port where nobody is."""
    loop = asyncio.get_running_loop()
    transports, addresses = [], []
    for one in resolvers:
        if isinstance(one, int):
            addresses.append(("127.0.0.1", one))
        else:
            transport, _ = await loop.create_datagram_endpoint(lambda one=one: one, local_addr=("127.0.0.1", 0))
            transports.append(transport)
            addresses.append(transport.get_extra_info("sockname"))
    with _bound(socket.SOCK_DGRAM) as udp, _bound(socket.SOCK_STREAM) as tcp:
        relay = dns_relay.DnsRelay(udp, tcp, lambda: addresses)
        await relay.start()
        opened = Place(relay, udp, tcp)
        try:
            yield opened
        finally:
            relay.close()
            opened.asker.close()
            for transport in transports:
                transport.close()
            await asyncio.sleep(0.01)


def _nobody() -> int:
    with _bound(socket.SOCK_DGRAM) as opened:
        return int(opened.getsockname()[1])


def test_a_question_is_passed_on_and_its_answer_back(run: Run) -> None:
    """Both to the last byte; each question comes from a port of its own."""

    async def scene() -> None:
        resolver = Resolver(lambda question: [answer_to(question)])
        async with place(resolver) as here:
            for number in range(3):
                question = bytes([number, number]) + QUESTION[2:]
                assert await here.ask(question) == answer_to(question)
                assert resolver.asked[-1] == question
            assert len(resolver.ports) == 3

    run(scene())


def test_an_answer_with_another_id_is_not_passed_on(run: Run) -> None:
    """What has not the question's id, is a question itself, or is shorter than a header is passed over; the right one comes through."""

    async def scene() -> None:
        async with place(
            Resolver(lambda question: [b"\xff\xff" + answer_to(question)[2:], question, b"", b"x", answer_to(question)])
        ) as here:
            assert await here.ask(QUESTION) == answer_to(QUESTION)

    run(scene())


def test_the_next_resolver_is_asked_where_one_is_not_there(run: Run) -> None:
    """A resolver that refuses costs no time."""

    async def scene() -> None:
        async with place(_nobody(), Resolver(lambda question: [answer_to(question)])) as here:
            async with asyncio.timeout(1):
                assert await here.ask(QUESTION) == answer_to(QUESTION)

    run(scene())


def test_the_next_resolver_is_asked_where_one_says_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that is silent is given a while."""
    monkeypatch.setattr(dns_relay, "NEXT_RESOLVER_AFTER_S", 0.05)

    async def scene() -> None:
        async with place(Resolver(lambda _: []), Resolver(lambda question: [answer_to(question)])) as here:
            assert await here.ask(QUESTION) == answer_to(QUESTION)

    run(scene())


@pytest.mark.parametrize("resolvers", ["none", "silent"])
def test_no_resolver_is_a_failure_and_said_to_be(run: Run, monkeypatch: pytest.MonkeyPatch, resolvers: str) -> None:
    """Whoever asks hears SERVFAIL instead of waiting."""
    monkeypatch.setattr(dns_relay, "ANSWER_WITHIN_S", 0.1)

    async def scene() -> None:
        async with place(_nobody() if resolvers == "none" else Resolver(lambda _: [])) as here:
            failed = await here.ask(QUESTION)
            assert failed[:4] == b"\x12\x34\x81\x82"
            assert failed[4:] == QUESTION[4:]

    run(scene())


def test_questions_under_way_are_bounded(run: Run) -> None:
    """No more than the bound are asked for one environment; when some are answered others may follow."""

    async def scene() -> None:
        silent = Resolver(lambda _: [])
        async with place(silent) as here:
            for number in range(dns_relay.MAX_QUESTIONS_EACH + 40):
                here.asker.send(bytes([0, number]) + QUESTION[2:])
                await asyncio.sleep(0)
            await asyncio.sleep(0.2)
            assert len(silent.asked) == dns_relay.MAX_QUESTIONS_EACH

    run(scene())


def test_what_is_no_question_is_dropped(run: Run) -> None:
    """Too short, too long, or an answer: nobody is asked."""

    async def scene() -> None:
        resolver = Resolver(lambda question: [answer_to(question)])
        async with place(resolver) as here:
            for wrong in (b"", b"\x12\x34\x01", answer_to(QUESTION), QUESTION + bytes(dns_relay.MAX_QUESTION_BYTES)):
                here.asker.send(wrong)
            assert await here.ask(QUESTION) == answer_to(QUESTION)
            assert resolver.asked == [QUESTION]

    run(scene())


def test_a_connection_is_joined_to_a_resolver(run: Run) -> None:
    """By TCP both directions are passed on, and their ends."""

    async def scene() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.read()) * 2)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, place(_nobody(), server.sockets[0].getsockname()[1]) as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.tcp_port)
            writer.write(b"question" * 1000)
            writer.write_eof()
            assert await reader.read() == b"question" * 2000
            writer.close()

    run(scene())


def test_a_connection_is_closed_where_no_resolver_is(run: Run) -> None:
    """Nobody waits for a resolver that is not there."""

    async def scene() -> None:
        async with place(_nobody()) as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.tcp_port)
            assert await reader.read() == b""
            writer.close()

    run(scene())


@given(st.binary(min_size=12, max_size=600))
def test_a_failure_answers_its_question(question: bytes) -> None:
    """Whatever was asked, the failure has its id and is an answer to it, of the same length."""
    failed = dns_relay.failure(question)
    assert len(failed) == len(question)
    assert dns_relay.answers(failed, question)

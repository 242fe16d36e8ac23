"""Name resolution for environments: questions that come to the gateway are passed on to the machine's resolvers, and answers back.

Nothing of a message is parsed. Each question goes out from a socket of its own, on a port that the kernel draws, to one resolver at a
time, so an answer belongs to a question by the socket it comes to; its id, which only the asker knows besides, must be the question's.

Bounds: `MAX_QUESTIONS_EACH` and `MAX_QUESTIONS` under way, further ones are dropped, as a network would; `MAX_CONNECTIONS` by TCP, further
ones are closed. How often one environment asks is limited by the gateway before anything comes here.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence

MAX_QUESTIONS_EACH = 64
MAX_QUESTIONS = 1024
MAX_CONNECTIONS = 256
MAX_QUESTION_BYTES = 4096
MAX_ANSWER_BYTES = 65535
NEXT_RESOLVER_AFTER_S = 1.5
ANSWER_WITHIN_S = 5.0
CONNECTION_S = 15.0
_READS = 32  # for each time that the event loop calls; then others get their turn
_CHUNK_BYTES = 16384
_HEADER_BYTES = 12
_ANSWERS = 0x80  # in byte 2
_SERVER_FAILURE = 0x82  # byte 3: recursion available, RCODE 2

Resolvers = Callable[[], Sequence[tuple[str, int]]]


def failure(question: bytes) -> bytes:
    """Return the question as its own answer: the server has failed. At least a header. Source: RFC 1035, 4.1.1."""
    return question[:2] + bytes([question[2] | _ANSWERS, _SERVER_FAILURE]) + question[4:]


def answers(answer: bytes, question: bytes) -> bool:
    """Say whether a datagram can be the answer to a question: it has a header, is an answer, and has the question's id."""
    return len(answer) >= _HEADER_BYTES and answer[:2] == question[:2] and bool(answer[2] & _ANSWERS)


class DnsRelay:
    """
    Serves the gateway's two sockets.

    Args:
        resolvers: the machine's own, asked for at every question, in the order in which they are tried.

    Resource handling: `close` ends everything under way; the two sockets stay their owner's.
    """

    def __init__(self, udp: socket.socket, tcp: socket.socket, resolvers: Resolvers) -> None:
        self.resolvers = resolvers
        self._udp = udp
        self._tcp = tcp
        self._loop = asyncio.get_running_loop()
        self._questions: set[_Question] = set()
        self._each: dict[str, int] = {}
        self._connections = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to serve."""
        self._loop.add_reader(self._udp, self._readable)
        self._server = await asyncio.start_server(self._connected, sock=self._tcp.dup(), limit=_CHUNK_BYTES)

    def close(self) -> None:
        """Serve no more."""
        self._loop.remove_reader(self._udp)
        if self._server is not None:
            self._server.close()
        for question in list(self._questions):
            question.end()

    def _readable(self) -> None:
        for _ in range(_READS):
            try:
                question, client = self._udp.recvfrom(MAX_QUESTION_BYTES + 1)
            except OSError:  # nothing more, or news of an answer that nobody took
                return
            if not _HEADER_BYTES <= len(question) <= MAX_QUESTION_BYTES or question[2] & _ANSWERS:
                continue
            if len(self._questions) >= MAX_QUESTIONS or self._each.get(client[0], 0) >= MAX_QUESTIONS_EACH:
                continue
            self._each[client[0]] = self._each.get(client[0], 0) + 1
            asked = _Question(self, client, question)
            self._questions.add(asked)
            asked.ask()

    def ended(self, question: "_Question", answer: bytes) -> None:
        """Let go of a question; an answer goes to whoever asked."""
        self._questions.discard(question)
        left = self._each[question.client[0]] - 1
        if left:
            self._each[question.client[0]] = left
        else:
            del self._each[question.client[0]]
        if answer:
            with contextlib.suppress(OSError):  # the environment is gone, or its buffer full: as if lost on the way
                self._udp.sendto(answer, question.client)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a connection of an environment to one to a resolver, for `CONNECTION_S` at most."""
        if self._connections >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections += 1
        far: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(CONNECTION_S):
                for host, port in self.resolvers():
                    try:
                        far_reader, far = await asyncio.open_connection(host, port, limit=_CHUNK_BYTES)
                        break
                    except OSError:
                        continue
                if far is not None:
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(_copy(reader, far))
                        tasks.create_task(_copy(far_reader, writer))
        except TimeoutError:
            pass
        finally:
            self._connections -= 1
            writer.close()
            if far is not None:
                far.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, and then its end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


class _Question:
    """One question under way: to the first resolver, after a while to the next as well; the first answer is the answer."""

    __slots__ = ("_loop", "_question", "_relay", "_resolvers", "_sockets", "_timer", "_until_s", "client")

    def __init__(self, relay: DnsRelay, client: tuple[str, int], question: bytes) -> None:
        self.client = client
        self._relay = relay
        self._question = question
        self._resolvers = list(relay.resolvers())
        self._sockets: list[socket.socket] = []
        self._loop = asyncio.get_running_loop()
        self._until_s = self._loop.time() + ANSWER_WITHIN_S
        self._timer: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        """Ask the next resolver, if there is one that can be asked; else wait for those who were, while there is time."""
        while self._resolvers:
            host, port = self._resolvers.pop(0)
            opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            opened.setblocking(False)
            try:
                opened.connect((host, port))
                opened.send(self._question)
            except OSError:
                opened.close()
                continue
            self._sockets.append(opened)
            self._loop.add_reader(opened, self._readable, opened)
            break
        left_s = self._until_s - self._loop.time()
        if not self._sockets or left_s <= 0:
            self.end(failure(self._question))
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(min(left_s, NEXT_RESOLVER_AFTER_S) if self._resolvers else left_s, self.ask)

    def _readable(self, opened: socket.socket) -> None:
        try:
            answer = opened.recv(MAX_ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError:  # nobody is there: on to the next one
            self._drop(opened)
            self.ask()
            return
        if answers(answer, self._question):
            self.end(answer)

    def _drop(self, opened: socket.socket) -> None:
        self._sockets.remove(opened)
        self._loop.remove_reader(opened)
        opened.close()

    def end(self, answer: bytes = b"") -> None:
        """Be done, with an answer or without."""
        if self._timer is not None:
            self._timer.cancel()
        for opened in list(self._sockets):
            self._drop(opened)
        self._relay.ended(self, answer)

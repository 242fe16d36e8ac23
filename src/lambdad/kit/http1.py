"""An HTTP/1.1 server on asyncio: framing by httptools, limits and drain by us.

Rules of this file: it knows no path, no service and no header but those that frame a message. A `Connection` calls
`Connection.request_received` once a request is whole (or, where streaming was asked for, once its headers are), one request at a
time, in order; pipelined ones wait in the connection. `serve` puts a task per request on top.

Source: RFC 9112 (message syntax), RFC 9110 section 10.1.1 (Expect: 100-continue).
"""

import asyncio
import collections
import contextlib
import http
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httptools

log = logging.getLogger("lambdad.http")

_REASONS = {status.value: status.phrase.encode() for status in http.HTTPStatus}
_BODILESS = frozenset({204, 304})
_STREAM_HIGH_WATER_BYTES = 256 * 1024
_SMALL_BODY_BYTES = 1024 * 1024
_MOST_FIELDS = 1000  # headers and trailers of one message; a dictionary of many small ones takes many times their bytes
_FRAMING_BYTES_FOR_ONE = 16  # of a chunk's size and ends, for each byte of a body in chunks of one byte, with some room
_LINGER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client may cost.

    Args:
        header_bytes: request line and headers together; AWS allows 1 MB in all for Lambda. More is answered 431, and so are more than
            1,000 headers, and trailers or extensions of chunks beyond this.
        body_bytes: a body read whole; more is answered 413. Streamed bodies are the handler's to limit.
        discard_bytes: a body over `body_bytes` but not over this is read and thrown away, and the request is handled with
            `Request.oversize` set, so that the client reads a proper answer instead of a reset connection. 0: never.
        header_timeout_s: from the first byte of a request to the end of its headers; then 408.
        body_idle_timeout_s: between two reads of a body; then the connection is closed.
        keep_alive_s: an idle connection is closed after this long.
        bodies_bytes: what all connections of a server may keep of bodies together. Beyond it, a body that is larger than 1 MiB is
            answered 503, so that small ones have a chance.
        connections: more are refused by 503 at once.
        pipelined: requests waiting in one connection; reading pauses when reached.
    """

    header_bytes: int = 64 * 1024
    body_bytes: int = 72 * 1024 * 1024
    discard_bytes: int = 0
    header_timeout_s: float = 20.0
    body_idle_timeout_s: float = 60.0
    keep_alive_s: float = 75.0
    bodies_bytes: int = 512 * 1024 * 1024
    connections: int = 10_000
    pipelined: int = 16


class ClientDisconnected(Exception):
    """The client went away in the middle of a message."""


class BodyStream:
    """A request's body as it arrives, with back-pressure to the socket. Iterate it once."""

    __slots__ = ("_chunks", "_connection", "_ended", "_failure", "_size_bytes", "_waiter")

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._chunks: collections.deque[bytes] = collections.deque()
        self._size_bytes = 0
        self._ended = False
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size_bytes += len(chunk)
        if self._size_bytes > _STREAM_HIGH_WATER_BYTES:
            self._connection.pause_reading()
        self._wake()

    def end(self, failure: Exception | None = None) -> None:
        self._ended = True
        self._failure = failure
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> "BodyStream":
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._ended:
                if self._failure is not None:
                    raise self._failure
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        chunk = self._chunks.popleft()
        self._size_bytes -= len(chunk)
        if self._size_bytes <= _STREAM_HIGH_WATER_BYTES:
            self._connection.resume_reading()
        return chunk


@dataclass(slots=True)
class Request:
    """One request. `target` is the raw request target, still percent-encoded; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    peer: str = ""
    stream: BodyStream | None = None
    http_10: bool = False
    keep_alive: bool = True
    oversize: bool = False  # the body was larger than `Limits.body_bytes` and is not here
    is_gone: bool = False  # whoever sent it has closed the connection since, or at least his side of it


@dataclass(slots=True)
class Response:
    """One answer. A body that is an iterator is sent chunked, each item as it comes; Content-Length is added otherwise."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes | AsyncIterator[bytes] = b""


def head_bytes(status: int, headers: Sequence[tuple[str, str]], length: int | None, *, close: bool) -> bytes:
    """Return the status line and headers; `length` None means no Content-Length is written."""
    parts = [f"HTTP/1.1 {status} ".encode() + _REASONS.get(status, b"Unknown") + b"\r\n"]
    for name, value in headers:
        if "\r" in value or "\n" in value or "\0" in value:
            value = value.translate({13: " ", 10: " ", 0: " "})
        parts.append(f"{name}: {value}\r\n".encode("utf-8", "replace"))
    if length is not None:
        parts.append(b"content-length: %d\r\n" % length)
    parts.append(b"connection: close\r\n\r\n" if close else b"\r\n")
    return b"".join(parts)


class Connection(asyncio.Protocol):
    """One client connection. Subclasses implement `request_received` and answer each request once with `respond`."""

    def __init__(self, limits: Limits, wants_stream: Callable[[Request], bool] | None = None) -> None:
        self.limits = limits
        self.wants_stream = wants_stream
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made, before any use
        self.loop = asyncio.get_running_loop()
        self.peer = ""
        self.current: Request | None = None  # being handled
        self.waiting: collections.deque[Request] = collections.deque()
        self.closing = False
        self.writable: asyncio.Future[None] | None = None
        self.deadline_s = 0.0  # loop time at which the sweep acts; 0 means none
        self._parser: Any = None
        self._reading: Request | None = None  # headers known, body arriving
        self._chunks: list[bytes] = []
        self._body_bytes = 0
        self._header_bytes = 0
        self._framing_bytes = 0  # of the message being read, after its headers, what was not body
        self._url = b""
        self._headers: dict[str, str] = {}
        self._repeated: dict[str, list[str]] = {}  # values of those that came more than once
        self._fields = 0
        self._turning = False  # to the next of the waiting requests
        self._paused = False
        self._in_headers = False
        self._refused = False  # nothing that arrives is read any more
        self._refusal = b""  # the answer to what was refused, due after those to earlier requests
        self._most_bytes = max(limits.body_bytes, limits.discard_bytes)

    # To be implemented by users of the class.
    def request_received(self, request: Request) -> None:
        raise NotImplementedError

    def disconnected(self) -> None:
        """Hear that the client went away; called once."""

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports are no subclasses
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) and peer else ""
        self._parser = httptools.HttpRequestParser(self)
        self.deadline_s = self.loop.time() + self.limits.header_timeout_s

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_headers or self._reading is None:
            self._header_bytes += len(data)
        else:
            self._framing_bytes += len(data)
        try:
            while data:
                try:
                    self._parser.feed_data(data)
                    data = b""
                except httptools.HttpParserUpgrade as offer:
                    data = self._without_offer(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.refuse(400, b"malformed request")
        else:
            if self._in_headers and self._header_bytes > self.limits.header_bytes:
                self.refuse(431, b"request headers too large")
            elif self._framing_bytes > self.limits.header_bytes + _FRAMING_BYTES_FOR_ONE * self._body_bytes:
                self.refuse(431, b"request trailers too large")
            elif self._reading is not None:
                self.deadline_s = self.loop.time() + self.limits.body_idle_timeout_s

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self.deadline_s = 0.0
        if self.current is not None:
            self.current.is_gone = True
        for request in (self._reading, self.current):
            if request is not None and request.stream is not None:
                request.stream.end(ClientDisconnected("the client went away before its body was whole"))
        self._reading = None
        self.waiting.clear()
        if self.writable is not None and not self.writable.done():
            self.writable.set_result(None)
        self.disconnected()

    def pause_writing(self) -> None:
        """Hear that the client is slow to read its answers; more of its requests are not read, or their answers would pile up here."""
        if self.writable is None:
            self.writable = self.loop.create_future()
        if self.current is None or self.current.stream is None:
            self.pause_reading()

    def resume_writing(self) -> None:
        if self.writable is not None and not self.writable.done():
            self.writable.set_result(None)
        self.writable = None
        self.resume_reading()

    def pause_reading(self) -> None:
        if not self._paused and not self.closing:
            self._paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        blocked = self.writable is not None and (self.current is None or self.current.stream is None)
        if self._paused and not self.closing and not blocked and len(self.waiting) < self.limits.pipelined:
            self._paused = False
            self.transport.resume_reading()

    # httptools callbacks
    def on_message_begin(self) -> None:
        self._url, self._headers = b"", {}
        self._fields = 0
        self._in_headers = True
        if self.deadline_s == 0.0 or self.current is None:
            self.deadline_s = self.loop.time() + self.limits.header_timeout_s

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > _MOST_FIELDS:
            self.refuse(431, b"too many request headers")
            return
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        if key in self._headers:
            self._repeated.setdefault(key, [self._headers[key]]).append(text)
        else:
            self._headers[key] = text

    def _join_repeated(self) -> None:
        for key, values in self._repeated.items():
            self._headers[key] = ",".join(values)
        self._repeated.clear()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._framing_bytes = 0
        if self._repeated:
            self._join_repeated()
        received_bytes, self._header_bytes = self._header_bytes, 0
        headers = self._headers
        if self._refused or self._parser.should_upgrade():
            return  # an offer to upgrade ends the parser's work; see _without_offer
        if received_bytes > self.limits.header_bytes and self._field_bytes() > self.limits.header_bytes:
            self.refuse(431, b"request headers too large")
            return
        http_10 = self._parser.get_http_version() == "1.0"
        request = Request(
            self._parser.get_method().decode("latin-1"),
            self._url.decode("latin-1"),
            headers,
            b"",
            self.peer,
            None,
            http_10,
            self._parser.should_keep_alive() and not http_10,
        )
        self._reading = request
        self._chunks = []
        self._body_bytes = 0
        streaming = self.wants_stream is not None and self.wants_stream(request)
        if not streaming and _announced_bytes(headers) > self._most_bytes:
            self.refuse(413, b"request body too large")
            return
        if headers.get("expect", "").lower() == "100-continue" and not http_10:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if streaming:
            request.stream = BodyStream(self)
            self._accept(request)

    def on_body(self, body: bytes) -> None:
        request = self._reading
        if request is None or self._refused:
            return
        self._body_bytes += len(body)
        self._framing_bytes -= len(body)
        if request.stream is not None:
            request.stream.feed(body)
            return
        if self._body_bytes > self._most_bytes:
            self.refuse(413, b"request body too large")
        elif self._body_bytes > self.limits.body_bytes:
            request.oversize = True
            self._chunks.clear()
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        request, self._reading = self._reading, None
        if request is None or self._refused:
            return
        self.deadline_s = 0.0
        if self._repeated:
            self._join_repeated()
        if request.stream is not None:
            request.stream.end()
            return
        chunks = self._chunks
        request.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        self._accept(request)

    def _accept(self, request: Request) -> None:
        if self.current is None:
            self.current = request
            self.request_received(request)
            return
        self.waiting.append(request)
        if len(self.waiting) >= self.limits.pipelined:
            self.pause_reading()

    # Answers
    def write(self, data: bytes) -> None:
        """Write a part of an answer; a subclass may hold it back until `write_out`."""
        self.transport.write(data)

    def write_out(self) -> None:
        """Let go of what was held back: nothing follows."""

    def respond(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Answer the current request with a whole body and turn to the next one."""
        request = self.current
        assert request is not None, "respond without a request"
        close = self.closing or not request.keep_alive
        if not self.transport.is_closing():
            if status in _BODILESS:
                self.write(head_bytes(status, headers, None, close=close))
            elif request.method == "HEAD":
                length = None if any(name.lower() == "content-length" for name, _ in headers) else len(body)
                self.write(head_bytes(status, headers, length, close=close))
            elif len(body) < 65536:
                self.write(head_bytes(status, headers, len(body), close=close) + body)
            else:
                self.write(head_bytes(status, headers, len(body), close=close))
                self.write(body)
        self.request_done(close=close)

    def request_done(self, *, close: bool) -> None:
        """Turn to the next request, or close."""
        request, self.current = self.current, None
        unread = request is not None and request.stream is not None and self._reading is request
        if close or unread:
            self.close()
            return
        if self._turning:
            return  # whoever turns goes on; requests that are answered as they come must not be nested
        self._turning = True
        try:
            while self.waiting and self.current is None and not self.closing:
                self.current = self.waiting.popleft()
                self.resume_reading()
                self.request_received(self.current)
        finally:
            self._turning = False
        if self.current is not None or self.closing:
            return
        if self._refusal:
            self._send_refusal()
        elif self._reading is None and not self._in_headers:
            self.deadline_s = self.loop.time() + self.limits.keep_alive_s

    def refuse(self, status: int, reason: bytes) -> None:
        """Answer a message that cannot be handled, once what came before it is answered, and close."""
        if self._refused:
            return
        self._refused = True
        self.deadline_s = 0.0
        head = head_bytes(status, [("content-type", "text/plain")], len(reason) + 1, close=True)
        self._refusal = head + reason + b"\n"
        reading, self._reading = self._reading, None
        self._chunks = []
        if reading is not None and reading.stream is not None:
            reading.stream.end(ClientDisconnected("the rest of the body cannot be read"))
            if self.current is reading:
                self.current = None
        if self.current is None:
            self._send_refusal()

    def _send_refusal(self) -> None:
        """Write the refusal and linger: closing while the client still sends would reset the connection before it reads the answer.

        Source: RFC 9112, section 9.6.
        """
        self.resume_reading()
        self.closing = True
        if not self.transport.is_closing():
            self.write(self._refusal)
            self.write_out()
            self.transport.write_eof()
            self.deadline_s = self.loop.time() + _LINGER_S

    def _field_bytes(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers.items())

    def _without_offer(self, rest: bytes) -> bytes:
        """
        Return the request that was being parsed without its offer to upgrade, with `rest`, the bytes after its headers.

        A server may ignore an offer such as h2c (RFC 9110, section 7.8); the parser cannot, it stops before the body. Empty
        for CONNECT, which asks for nothing else.
        """
        method: bytes = self._parser.get_method()
        version: str = self._parser.get_http_version()
        if method == b"CONNECT":
            self.refuse(501, b"CONNECT is not supported")
            return b""
        fields = dict(self._headers)
        fields.pop("upgrade", None)
        tokens = [token.strip() for token in fields.pop("connection", "").split(",")]
        kept = [token for token in tokens if token.lower() not in ("upgrade", "http2-settings", "")]
        if kept:
            fields["connection"] = ",".join(kept)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._parser = httptools.HttpRequestParser(self)
        return b"%b %b HTTP/%b\r\n%b\r\n%b" % (method, self._url, version.encode(), lines.encode("latin-1"), rest)

    def held_bytes(self) -> int:
        """Return what is kept for this client: requests not yet handled, and answers that it has yet to read."""
        reading = self._reading
        kept_bytes = self._header_bytes + sum(len(request.body) for request in self.waiting)
        if reading is not None and reading.stream is None and not reading.oversize:
            kept_bytes += self._body_bytes
        return kept_bytes + self.transport.get_write_buffer_size()

    def close(self) -> None:
        self.closing = True
        self.deadline_s = 0.0
        if self.transport is not None and not self.transport.is_closing():
            self.write_out()
            self.transport.close()

    def expire(self, now_s: float) -> None:
        """Act on a client that is too slow, or idle for too long. Called by whoever owns the connections, about each second."""
        if self.deadline_s == 0.0 or now_s < self.deadline_s:
            return
        if not self._refused and self.current is None and (self._in_headers or self._reading is not None):
            self.refuse(408, b"request not received in time")
        else:
            self.transport.abort()


def _announced_bytes(headers: dict[str, str]) -> int:
    value = headers.get("content-length", "0")
    return int(value) if value.isascii() and value.isdigit() else 0


Handler = Callable[[Request], Awaitable[Response]]


class _Served(Connection):
    """A connection whose requests are handled by tasks of a `Server`."""

    def __init__(self, server: "Server") -> None:
        super().__init__(server.limits, server.wants_stream)
        self._server = server
        self._kept_bytes = 0  # of bodies, as counted by the server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._server.connections) >= self.limits.connections:
            self.refuse(503, b"too many connections")
            self.close()
            return
        self._server.connections.add(self)

    def eof_received(self) -> bool:
        """Answer the requests of a client that has sent its last one; keep nothing for a client that stopped half-way."""
        last = self.waiting[-1] if self.waiting else self.current
        if last is None or self._refused or self._in_headers or self._reading is not None:
            return False
        last.keep_alive = False
        if self.current is not None:
            self.current.is_gone = True  # hardly anybody waits for an answer that way; he gets it all the same
        return True

    def disconnected(self) -> None:
        self._server.connections.discard(self)
        handled_bytes = 0 if self.current is None else len(self.current.body)  # until its handler has ended
        self.keep(handled_bytes - self._kept_bytes)

    def keep(self, size_bytes: int) -> None:
        """Count bytes of bodies that are kept from now on, or, below 0, no longer."""
        self._kept_bytes += size_bytes
        self._server.bodies_bytes += size_bytes

    def on_body(self, body: bytes) -> None:
        before_bytes = self._body_bytes
        super().on_body(body)
        request = self._reading
        if request is None or request.stream is not None:
            return
        if not request.oversize:
            self.keep(len(body))
            if self._server.bodies_bytes > self.limits.bodies_bytes and self._body_bytes > _SMALL_BODY_BYTES:
                self.refuse(503, b"too many large request bodies at once")
        elif before_bytes <= self.limits.body_bytes:
            self.keep(-before_bytes)  # thrown away just now

    def refuse(self, status: int, reason: bytes) -> None:
        super().refuse(status, reason)
        whole = self.waiting if self.current is None else (self.current, *self.waiting)
        self.keep(sum(len(request.body) for request in whole) - self._kept_bytes)

    def request_received(self, request: Request) -> None:
        self._server.start(self, request)

    async def send(self, response: Response) -> None:
        """Write an answer whose body may be an iterator, waiting while the client is slower than we are.

        Raises:
            ClientDisconnected: the client went away; the iterator has been closed.
        """
        body = response.body
        if isinstance(body, bytes | bytearray | memoryview):
            self.respond(response.status, response.headers, bytes(body))
            return
        request = self.current
        assert request is not None, "send without a request"
        bodiless = request.method == "HEAD" or response.status in _BODILESS
        chunked = (
            not request.http_10
            and response.status not in _BODILESS
            and not any(name.lower() == "content-length" for name, _ in response.headers)
        )
        close = self.closing or not request.keep_alive or (request.http_10 and not chunked)
        headers = [*response.headers, ("transfer-encoding", "chunked")] if chunked else list(response.headers)
        self.transport.write(head_bytes(response.status, headers, None, close=close))
        whole = False
        try:
            if not bodiless:
                async for chunk in body:
                    if self.transport.is_closing():
                        raise ClientDisconnected("the client went away while it was being answered")
                    if chunk:
                        self.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
                    if self.writable is not None:
                        await self.writable
            if chunked and not bodiless:
                self.transport.write(b"0\r\n\r\n")
            whole = True
        finally:
            closer = getattr(body, "aclose", None)
            if closer is not None:
                await closer()
            self.request_done(close=close or not whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    connections: int
    in_flight: int
    answered: int


class Server:
    """Many connections and the tasks that handle their requests.

    A client that goes away does not stop its handler: what was begun is finished, and the answer is dropped.
    """

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        tasks: asyncio.TaskGroup,
        wants_stream: Callable[[Request], bool] | None = None,
    ) -> None:
        self.limits = limits
        self.wants_stream = wants_stream
        self.connections: set[_Served] = set()
        self.bodies_bytes = 0  # kept by all connections
        self._handler = handler
        self._tasks = tasks
        self._in_flight = 0
        self._answered = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._listeners: list[asyncio.Server] = []

    def statistics(self) -> Statistics:
        return Statistics(connections=len(self.connections), in_flight=self._in_flight, answered=self._answered)

    def start(self, connection: _Served, request: Request) -> None:
        self._in_flight += 1
        self._idle.clear()
        self._tasks.create_task(self._answer(connection, request))

    async def _answer(self, connection: _Served, request: Request) -> None:
        try:
            response = await self._handler(request)
            if response.status == 101:
                raise ValueError("protocol upgrades are not supported")
            await connection.send(response)
        except ClientDisconnected:
            connection.close()
        except Exception:
            # Safe to go on: one request fails, its connection is closed, and nothing is shared with the others.
            log.exception("request.failed method=%s target=%s", request.method, request.target[:200])
            if connection.current is request:
                connection.closing = True
                connection.respond(500, [("content-type", "text/plain")], b"internal error\n")
            else:
                connection.close()
        finally:
            connection.keep(-len(request.body))
            self._answered += 1
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()

    async def listen(self, sockets: Sequence[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for sock in sockets:
            self._listeners.append(await loop.create_server(lambda: _Served(self), sock=sock, backlog=1024))

    async def sweep(self) -> None:
        """Close slow and idle clients, once a second, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            now_s = loop.time()
            for connection in list(self.connections):
                connection.expire(now_s)

    async def drain(self, within_s: float) -> bool:
        """Stop accepting, let what is in flight end, close all. Return False if something was cut off after `within_s`."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.closing = True  # the answer in flight says "connection: close"
            if connection.current is None:
                connection.close()
        drained = True
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            drained = False
        for connection in list(self.connections):
            connection.close()
        return drained


@contextlib.asynccontextmanager
async def serve(
    handler: Handler,
    sockets: Sequence[socket.socket],
    limits: Limits | None = None,
    *,
    wants_stream: Callable[[Request], bool] | None = None,
    drain_timeout_s: float = 25.0,
) -> AsyncIterator[Server]:
    """
    Serve HTTP/1.1 on listening sockets for as long as the block runs, then drain.

    Args:
        handler: called once per request, in a task of its own.
        sockets: bound and listening; they belong to the server from here on.
        wants_stream: says, from the headers alone, that the body shall come as `Request.stream`.
        drain_timeout_s: how long requests in flight may take once the block is left.

    Resource handling: leaving the block closes the sockets and every connection.
    """
    async with asyncio.TaskGroup() as tasks:
        server = Server(handler, limits or Limits(), tasks, wants_stream)
        await server.listen(sockets)
        sweeper = tasks.create_task(server.sweep())
        try:
            yield server
        finally:
            sweeper.cancel()
            await server.drain(drain_timeout_s)

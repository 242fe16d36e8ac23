"""A client that costs little: requests are signed once and sent many times, over plain sockets."""

import asyncio
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ACCESS_KEY, SECRET = "AKIABENCHBENCHBENCH1", "bench-secret-key"


def signed_invoke(url: str, function: str, payload: bytes, qualifier: str = "") -> bytes:
    """Return the bytes of a signed Invoke request; AWS allows it to be sent for five minutes."""
    path = f"/2015-03-31/functions/{function}/invocations" + (f"?Qualifier={qualifier}" if qualifier else "")
    host = urlsplit(url).netloc
    request = AWSRequest("POST", f"{url}{path}", data=payload, headers={"Content-Type": "application/json", "Host": host})
    SigV4Auth(Credentials(ACCESS_KEY, SECRET), "lambda", "us-east-1").add_auth(request)
    headers = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST {path} HTTP/1.1\r\n{headers}Content-Length: {len(payload)}\r\n\r\n".encode() + payload


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None and parts.port is not None
    return parts.hostname, parts.port


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: bytes
    body: bytes


class Connection:
    """One blocking keep-alive connection."""

    def __init__(self, url: str) -> None:
        self._socket = socket.create_connection(address(url))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, request: bytes) -> Reply:
        self._socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = content_length(head)
        while len(body) < length:
            body += self._receive()
        return Reply(int(head[9:12]), head, body)

    def _receive(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data

    def close(self) -> None:
        self._socket.close()


def content_length(head: bytes) -> int:
    """Return what a head says of its body; 0 where it says nothing."""
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


class _Looper(asyncio.Protocol):
    """One connection that sends the same request again as soon as it is answered."""

    def __init__(self, request: bytes, took_s: list[float], until_s: float, done: asyncio.Future[None]) -> None:
        self._request, self._took_s, self._until_s, self._done = request, took_s, until_s, done
        self._data = b""
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent_s = time.perf_counter()
        self._transport.write(self._request)  # type: ignore[attr-defined]  # a stream transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0 or len(self._data) < end + 4 + content_length(self._data[:end]):
            return
        now_s = time.perf_counter()
        if not self._data.startswith(b"HTTP/1.1 200"):
            self._done.set_exception(RuntimeError(self._data[:300].decode("latin-1")))
            self._transport.close()
            return
        self._took_s.append(now_s - self._sent_s)
        self._data = b""
        if now_s < self._until_s:
            self._send()
        else:
            self._transport.close()
            self._done.set_result(None)


async def hammer(url: str, requests: list[bytes], for_s: float) -> list[float]:
    """Send each request over a connection of its own, again and again; return what each call took, in seconds."""
    loop = asyncio.get_running_loop()
    took_s: list[float] = []
    until_s = time.perf_counter() + for_s
    done: list[asyncio.Future[None]] = []
    for request in requests:
        future: asyncio.Future[None] = loop.create_future()
        done.append(future)
        await loop.create_connection(lambda r=request, f=future: _Looper(r, took_s, until_s, f), *address(url))
    for future in done:
        await future
    return took_s

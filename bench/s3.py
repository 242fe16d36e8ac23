"""S3: small objects put by several clients, each durable before it is acknowledged; large ones in and out."""

import asyncio
import hashlib
import http.client
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import boto3
import uvloop
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from bench import client
from bench.invoke import memory_mib, serving, spread

CLIENTS = 16
PUTS = 4000
SMALL_BYTES = 1024
LARGE_BYTES = 256 * 1024 * 1024
BUCKET = "bench"


def signed_put(url: str, path: str, body: bytes) -> bytes:
    """Return the bytes of a signed PUT; S3 allows it to be sent for fifteen minutes."""
    host = urlsplit(url).netloc
    headers = {"Host": host, "X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest()}
    request = AWSRequest("PUT", f"{url}{path}", data=body, headers=headers)
    S3SigV4Auth(Credentials(client.ACCESS_KEY, client.SECRET), "s3", "us-east-1").add_auth(request)
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"PUT {path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Putter(asyncio.Protocol):
    """One connection that sends the next request as soon as one is answered."""

    def __init__(self, requests: Iterator[bytes], took_s: list[float], done: asyncio.Future[None]) -> None:
        self._requests, self._took_s, self._done = requests, took_s, done
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            self._done.set_result(None)
            return
        self._sent_s = time.perf_counter()
        self._transport.write(request)  # type: ignore[attr-defined]  # a stream transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        if b"\r\n\r\n" not in self._data:
            return
        if not self._data.startswith(b"HTTP/1.1 200"):
            self._done.set_exception(RuntimeError(self._data[:300].decode("latin-1")))
            self._transport.close()
            return
        self._took_s.append(time.perf_counter() - self._sent_s)
        self._data = b""
        self._send()


async def put_all(url: str, requests: list[bytes], clients: int) -> list[float]:
    """Send all requests over so many connections; return what each took, in seconds."""
    loop = asyncio.get_running_loop()
    took_s: list[float] = []
    left = iter(requests)
    done: list[asyncio.Future[None]] = [loop.create_future() for _ in range(clients)]
    for future in done:
        await loop.create_connection(lambda f=future: _Putter(left, took_s, f), *client.address(url))  # type: ignore[misc]
    for future in done:
        await future
    return took_s


def run() -> None:
    """Measure on a lambdad of its own."""
    with serving() as (url, _, pid):
        connection = client.Connection(url)
        assert connection.call(signed_put(url, f"/{BUCKET}", b"")).status == 200
        connection.close()
        for clients in (1, CLIENTS):
            body = bytes(SMALL_BYTES)
            requests = [signed_put(url, f"/{BUCKET}/{clients}/{number}", body) for number in range(PUTS * clients // CLIENTS)]
            started_s = time.perf_counter()
            took_s = uvloop.run(put_all(url, requests, clients))
            rate = len(took_s) / (time.perf_counter() - started_s)
            print(f"{f'S3 puts of 1 KB, {clients} clients':34} {rate:,.0f}/s, each fsynced; {spread(took_s)}")
        large(url)
        print(f"{'memory with S3 used':34} {memory_mib(pid):.0f} MB (PSS of all processes)")


def large(url: str) -> None:
    """Put and get one large object."""
    s3 = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=client.ACCESS_KEY,
        aws_secret_access_key=client.SECRET,
        config=Config(signature_version="s3v4"),
    )
    put, got = (s3.generate_presigned_url(name, {"Bucket": BUCKET, "Key": "large"}) for name in ("put_object", "get_object"))
    s3.close()
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    started_s = time.perf_counter()
    connection.request("PUT", put.removeprefix(url), bytes(LARGE_BYTES))
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    put_s = time.perf_counter() - started_s
    started_s = time.perf_counter()
    connection.request("GET", got.removeprefix(url))
    answer = connection.getresponse()
    size_bytes = 0
    while piece := answer.read(1024 * 1024):
        size_bytes += len(piece)
    assert size_bytes == LARGE_BYTES
    get_s = time.perf_counter() - started_s
    connection.close()
    mib = LARGE_BYTES / 1024 / 1024
    print(f"{'S3, one object of 256 MB':34} put {mib / put_s:,.0f} MB/s, fsynced; got {mib / get_s:,.0f} MB/s")

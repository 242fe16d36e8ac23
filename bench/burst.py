"""A burst: many simultaneous first invokes of one function that waits a second, and what its environments cost afterwards."""

import asyncio
import json
import time
from typing import Any

import uvloop

from bench import client
from bench.invoke import deploy, memory_mib, sdk, serving, spread, zipped

ENVIRONMENTS = 1000
WAITING = {"app.py": (b"import time\n\ndef handler(event, context):\n    time.sleep(1)\n    return event\n", 0o644)}


class _Once(asyncio.Protocol):
    """One connection that sends one request and keeps its answer."""

    def __init__(self, request: bytes, done: "asyncio.Future[tuple[bytes, float]]") -> None:
        self._request, self._done, self._data = request, done, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._started_s = time.perf_counter()
        transport.write(self._request)  # type: ignore[attr-defined]  # a stream transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        if b"\r\n\r\n" in self._data and not self._done.done():
            self._done.set_result((self._data, time.perf_counter() - self._started_s))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(ConnectionError(str(exc)))


async def _all_at_once(url: str, request: bytes, count: int) -> list[tuple[bytes, float]]:
    loop = asyncio.get_running_loop()
    answers: list[asyncio.Future[tuple[bytes, float]]] = [loop.create_future() for _ in range(count)]
    host, port = client.address(url)
    for answer in answers:
        await loop.create_connection(lambda a=answer: _Once(request, a), host, port)  # type: ignore[misc]  # mypy and default arguments
    return [await answer for answer in answers]


def run() -> None:
    """Measure on a lambdad of its own."""
    with serving() as (url, health, pid):
        # The interpreter of most functions of today; those before it write to more of the memory that they share.
        runtime = next((name for name in ("python3.12", "python3.13") if name in health["worker"]["runtimes"]), "python3.11")
        measure(url, sdk(url), pid, runtime)


def measure(url: str, lambda_: Any, pid: int, runtime: str, count: int = ENVIRONMENTS) -> None:
    """Measure, and say what was not answered with 200 and the event."""
    before_mib = memory_mib(pid)
    deploy(lambda_, "burst", runtime, "app.handler", zipped(WAITING))
    request = client.signed_invoke(url, "burst", b'"payload"')
    started_s = time.perf_counter()
    answers = uvloop.run(_all_at_once(url, request, count))
    took_s = time.perf_counter() - started_s
    failed = [data[:200] for data, _ in answers if not data.startswith(b"HTTP/1.1 200") or not data.endswith(b'\r\n\r\n"payload"')]
    print(f"{f'burst of {count}, {runtime}':34} each waits 1 s, all answered after {took_s:.2f} s, {len(failed)} of them not right")
    print(f"{'':34} {spread([took for _, took in answers])}")
    if failed:
        print(f"{'':34} for example {failed[0]!r}")
    environments = _settled(url)
    used_mib = memory_mib(pid) - before_mib
    print(f"{f'memory of {environments} idle environments':34} {used_mib:.0f} MB (PSS of all processes, less that of the idle lambdad)")


def _settled(url: str) -> int:
    """Wait until no environment is being made any more, and return how many there are."""
    connection = client.Connection(url)
    for _ in range(300):
        time.sleep(0.1)
        counts = json.loads(connection.call(b"GET /_lambdad/health HTTP/1.1\r\nHost: x\r\n\r\n").body)["environments"]
        if not counts["starting"] and not counts["busy"]:
            break
    connection.close()
    return int(counts["idle"])

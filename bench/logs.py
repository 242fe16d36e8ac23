"""Measure how fast CloudWatch Logs takes events in and gives them out.

    .venv/bin/python bench/logs.py [--events N] [--streams N]

Prints events a second and CPU time for each event, of the whole process: appending and writing out (packing, compressing, SQL,
fsync), the same with a subscription filter that wants one event in four, reading back by FilterLogEvents, and a rare term found by
FilterLogEvents. And messages a second for each kind of filter pattern.
"""

import argparse
import asyncio
import itertools
import random
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lambdad.kit import clock
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services import outbox
from lambdad.services.logs.app import LogsService, migrations
from lambdad.services.logs.rules import patterns
from lambdad.services.ports import CallContext, Origin
from lambdad.store.database import open_database, sqlite_url

ACCOUNT, REGION, GROUP = "000000000000", "us-east-1", "/aws/lambda/bench"
EVENTS_PER_INVOKE = 4
CTX = CallContext(
    account=AccountId(ACCOUNT),
    region=Region(REGION),
    request_id=RequestId("00000000-0000-0000-0000-000000000000"),
    principal_arn="arn:aws:iam::000000000000:root",
)


def invoke_lines(number: int, rng: random.Random) -> list[tuple[int, str]]:
    """Make what one invocation writes: START, a line of its own, END, REPORT."""
    now_ms = clock.now_ms()
    request_id = f"{rng.getrandbits(128):032x}"
    return [
        (now_ms, f"START RequestId: {request_id} Version: $LATEST\n"),
        (now_ms, f"[INFO]\t2026-01-01T00:00:00.000Z\t{request_id}\thandled order {number} for customer {rng.randrange(10_000)}\n"),
        (now_ms, f"END RequestId: {request_id}\n"),
        (
            now_ms,
            f"REPORT RequestId: {request_id}\tDuration: {rng.random() * 9:.2f} ms\tBilled Duration: 10 ms\t"
            "Memory Size: 128 MB\tMax Memory Used: 36 MB\t\n",
        ),
    ]


JSON_LINE = (
    '{"timestamp":"2026-01-01T00:00:00.000Z","level":"ERROR","message":"order refused","request":{"id":"8f5d1b1e-0000-4000-8000",'
    '"customer":4711,"items":[{"sku":"A1","count":2}]},"latency_ms":12.5}'
)
ACCESS_LINE = '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html?id=17 HTTP/1.0" 404 1534'
PATTERNS = [
    ("terms", "ERROR -timeout", JSON_LINE),
    ("any of the terms", '?WARN ?"order refused"', JSON_LINE),
    ("JSON", '{ $.level = "ERROR" && $.latency_ms > 10 }', JSON_LINE),
    ("JSON, elements", "{ $.request.items[*].sku = A* }", JSON_LINE),
    ("space-delimited", "[ip, id, user, time, request, status = 4*, bytes > 1000]", ACCESS_LINE),
    ("regular expression", "%order.ref[a-z]+%", JSON_LINE),
]
FUNCTION_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"


class Willing:
    """Neighbours that take every call."""

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"StatusCode": 202}


class Stopwatch:
    """Wall and CPU time of a block, printed for a number of events."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.events = 0

    def __enter__(self) -> "Stopwatch":
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        print(f"{self.what:<64} {self.events / wall:>12,.0f} events/s {cpu / self.events * 1e6:>8.2f} us CPU/event")


async def read_all(logs: LogsService, **request: Any) -> int:
    """Page through the group; returns how many events came."""
    handler = logs.service().handlers["FilterLogEvents"]
    count = 0
    token: dict[str, str] = {}
    while True:
        page = await handler(CTX, {"logGroupName": GROUP, **request, **token})
        count += len(page["events"])
        if "nextToken" not in page:
            return count
        token = {"nextToken": page["nextToken"]}


async def measure(events: int, streams: int, directory: Path) -> None:
    """Run all measurements with so many events in so many streams."""
    rng = random.Random(1)
    invokes = [invoke_lines(number, rng) for number in range(events // EVENTS_PER_INVOKE)]
    names = itertools.cycle([f"2026/01/01/[$LATEST]{number:032x}" for number in range(streams)])
    path = directory / f"{streams}.db"
    async with open_database(sqlite_url(path), migrations=[migrations(), outbox.migrations()], now_ms=clock.now_ms) as database:
        deliveries = outbox.Outbox(database, Willing(), clock.now_ms)
        logs = LogsService(database, clock.now_ms, outbox=deliveries, neighbours=Willing(), new_uuid=lambda: str(uuid.uuid4()))
        print(f"--- {events:,} events in {streams:,} streams, written out every 1,000 events")
        with Stopwatch("append and flush") as watch:
            watch.events = await append_all(logs, invokes, names)
        with Stopwatch("FilterLogEvents, everything") as watch:
            watch.events = await read_all(logs)
        assert watch.events == events, (watch.events, events)
        with Stopwatch("FilterLogEvents, a rare term (looked through)") as watch:
            found = await read_all(logs, filterPattern='"handled order 17 "')
            watch.events = events
        assert found == 1, found
        with Stopwatch("FilterLogEvents, space-delimited pattern") as watch:
            await read_all(logs, filterPattern='[report="REPORT", l1, id, l2, duration > 8.99, ...]')
            watch.events = events
        subscribe = logs.service().handlers["PutSubscriptionFilter"]
        await subscribe(CTX, {"logGroupName": GROUP, "filterName": "f", "filterPattern": "REPORT", "destinationArn": FUNCTION_ARN})
        with Stopwatch("append and flush, a quarter to a subscriber") as watch:
            watch.events = await append_all(logs, invokes, names)


async def append_all(logs: LogsService, invokes: list[list[tuple[int, str]]], names: Iterator[str]) -> int:
    """Append what invocations wrote and write it out every 1,000 events; returns how many events there were."""
    before = logs.store.statistics().events_written
    for number, lines in enumerate(invokes, 1):
        logs.store.append(ACCOUNT, REGION, GROUP, next(names), lines)
        if number % 250 == 0:
            await logs.store.flush()
    await logs.store.flush()
    return logs.store.statistics().events_written - before


def measure_patterns(messages: int) -> None:
    """Try every kind of pattern on so many messages."""
    print(f"--- filter patterns, {messages:,} messages each")
    for kind, text, message in PATTERNS:
        pattern = patterns.compile_pattern(text)
        assert pattern.matches(message), text
        with Stopwatch(f"{kind}: {text}"[:64]) as watch:
            for _ in range(messages):
                pattern.matches(message)
            watch.events = messages


def bytes_on_disk(directory: Path) -> int:
    """Add up what the databases take."""
    return sum(file.stat().st_size for file in directory.iterdir())


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 10, 100])
    arguments = parser.parse_args()
    measure_patterns(arguments.events)
    with tempfile.TemporaryDirectory(prefix="lambdad-bench-") as directory:
        for streams in arguments.streams:
            before = bytes_on_disk(Path(directory))
            asyncio.run(measure(arguments.events, streams, Path(directory)))
            taken = bytes_on_disk(Path(directory)) - before
            print(f"{'on disk':<64} {taken / arguments.events:>12.1f} bytes/event")


if __name__ == "__main__":
    main()

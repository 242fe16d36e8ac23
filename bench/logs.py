"""Measure how fast CloudWatch Logs takes events in and gives them out.

    .venv/bin/python bench/logs.py [--events N] [--streams N]

Prints events a second and CPU time for each event, of the whole process: appending and writing out (packing, compressing, SQL,
fsync), reading back by FilterLogEvents, and a rare term found by FilterLogEvents.
"""

import argparse
import asyncio
import itertools
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from lambdad.kit import clock
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.logs.app import LogsService, migrations
from lambdad.services.ports import CallContext
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
        print(f"{self.what:<44} {self.events / wall:>12,.0f} events/s {cpu / self.events * 1e6:>8.2f} us CPU/event")


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
    async with open_database(sqlite_url(path), migrations=[migrations()], now_ms=clock.now_ms) as database:
        logs = LogsService(database, clock.now_ms)
        print(f"--- {events:,} events in {streams:,} streams, written out every 1,000 events")
        with Stopwatch("append and flush") as watch:
            for number, lines in enumerate(invokes, 1):
                logs.store.append(ACCOUNT, REGION, GROUP, next(names), lines)
                if number % 250 == 0:
                    await logs.store.flush()
            await logs.store.flush()
            watch.events = logs.store.statistics().events_written
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


def bytes_on_disk(directory: Path) -> int:
    """Add up what the databases take."""
    return sum(file.stat().st_size for file in directory.iterdir())


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 10, 100])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lambdad-bench-") as directory:
        for streams in arguments.streams:
            before = bytes_on_disk(Path(directory))
            asyncio.run(measure(arguments.events, streams, Path(directory)))
            taken = bytes_on_disk(Path(directory)) - before
            print(f"{'on disk':<44} {taken / arguments.events:>12.1f} bytes/event")


if __name__ == "__main__":
    main()

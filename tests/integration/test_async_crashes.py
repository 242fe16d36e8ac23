"""kill -9 between an asynchronous invocation and whoever hears of its end."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest
from async_world import MIGRATIONS

from lambdad.services.lambda_ import async_event_rows
from lambdad.services.outbox import rows
from lambdad.store.database import open_database

PROGRAM = Path(__file__).parent / "async_killed_dispatcher.py"
EVENTS = 300
KILLS = int(os.environ.get("LAMBDAD_TEST_KILLS", "5"))


def start(url: str, name: str, count: int, record: Path, began_ms: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(PROGRAM), url, name, str(count), str(record), str(began_ms)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


async def left(url: str) -> int:
    async with open_database(url, migrations=MIGRATIONS, now_ms=lambda: 0) as database:
        return await database.read(lambda connection: async_event_rows.count(connection) + rows.count(connection))


@pytest.mark.slow
@pytest.mark.timeout(180 + 20 * KILLS)
async def test_every_end_is_told_whoever_is_killed(database_url: str, tmp_path: Path) -> None:
    """Every acknowledged event is told to its destination at least once, failures to the dead-letter queue too, and never two ways."""
    record = tmp_path / "record"
    began_ms = time.time_ns() // 1_000_000
    acknowledged: set[str] = set()
    dice = random.Random(7)
    for life in range(KILLS):
        process = start(database_url, f"life{life}", EVENTS, record, began_ms)
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline() for _ in range(dice.randrange(1, EVENTS))]
            await asyncio.sleep(dice.uniform(0, 0.5))  # wherever it is now, it is killed there
        finally:
            process.kill()
        lines += process.stdout.readlines()
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        acknowledged |= {line.decode().strip() for line in lines if line.endswith(b"\n")}
    process = start(database_url, "last", 0, record, began_ms)
    assert process.stdout is not None
    try:
        until_s = time.monotonic() + 90 + 5 * KILLS
        while await left(database_url):
            assert process.poll() is None and time.monotonic() < until_s, "events are left"
            await asyncio.sleep(0.5)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

    told: dict[str, set[str]] = defaultdict(set)
    for line in record.read_text().splitlines():
        request_id, destination, condition, attempts = line.split()
        told[request_id].add(destination)
        expected = {"good": ("Success", "1"), "bad": ("RetriesExhausted", "3"), "dead": ("-", "-")}
        assert (condition, attempts) == expected[destination]
    assert len(acknowledged) > EVENTS and acknowledged <= told.keys()
    for request_id, destinations in told.items():
        is_odd = int(request_id.rpartition("-")[2]) % 2 == 1
        assert destinations == ({"bad", "dead"} if is_odd else {"good"}), request_id

"""How fast the store is: one write at a time, and rows per second with 1, 10 and 100 writers at once, on both databases.

    python bench/store.py [--seconds 2] [--directory DIR]

Every write is one row and one `await database.write(...)`, acknowledged after an fsync. PostgreSQL is measured where its server
programs are installed. The machine's own cost of an fsync is printed as the yardstick.
"""

import argparse
import asyncio
import functools
import itertools
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lambdad.store import migrations, queries
from lambdad.store.database import Connection, Database, open_database, sqlite_url

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).parent))

import fixtures_postgres

WRITERS = (1, 10, 100)


def insert_entry(insert: queries.Query, key: int, connection: Connection) -> int:
    """Write one row."""
    return connection.run(insert, id=key, at_ms=1, body="x" * 100)


async def measure(database: Database, writers: int, seconds: float, keys: Iterator[int]) -> tuple[float, list[float]]:
    """Write from many tasks for a while; return rows per second and the latencies in milliseconds, sorted."""
    insert = queries.load_queries("store_bench", "queries.sql").insert_entry
    latencies_ms: list[float] = []
    start_s = time.perf_counter()
    end_s = start_s + seconds

    async def one_writer() -> None:
        while (before_s := time.perf_counter()) < end_s:
            await database.write(functools.partial(insert_entry, insert, next(keys)))
            latencies_ms.append((time.perf_counter() - before_s) * 1000)

    async with asyncio.TaskGroup() as group:
        for _ in range(writers):
            group.create_task(one_writer())
    return len(latencies_ms) / (time.perf_counter() - start_s), sorted(latencies_ms)


async def bench(name: str, url: str, seconds: float) -> None:
    """Print the table of one database."""
    keys = itertools.count(1)
    async with open_database(url, migrations=[migrations.load_migrations("store_bench")], now_ms=lambda: 0) as database:
        await measure(database, 10, seconds / 4, keys)  # warm
        for writers in WRITERS:
            before = database.statistics()
            rows_per_s, latencies_ms = await measure(database, writers, seconds, keys)
            after = database.statistics()
            group = (after.writes - before.writes) / max(1, after.commits - before.commits)
            p50, p99 = statistics.median(latencies_ms), latencies_ms[int(len(latencies_ms) * 0.99)]
            print(
                f"{name:10} {writers:4} writers {rows_per_s:10,.0f} rows/s   p50 {p50:7.3f} ms   p99 {p99:7.3f} ms"
                f"   {group:5.1f} writes/commit"
            )
        start_s = time.perf_counter()
        count = 0
        read = queries.load_queries("store_bench", "queries.sql").find_entry
        while time.perf_counter() - start_s < seconds / 2:
            await database.read(lambda connection: connection.one(read, id=1))
            count += 1
        print(f"{name:10}    1 reader  {count / (time.perf_counter() - start_s):10,.0f} reads/s")


def fsync_ms(directory: Path) -> float:
    """Measure appending a page to a file and fsyncing it, the median in milliseconds."""
    costs: list[float] = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(200):
            before_s = time.perf_counter()
            file.write(b"\0" * 4096)
            os.fdatasync(file.fileno())
            costs.append((time.perf_counter() - before_s) * 1000)
    return statistics.median(costs)


@contextmanager
def postgres() -> Iterator[str | None]:
    """Run a server for the time of the bench; None where it is not installed."""
    programs = fixtures_postgres.server_programs()
    if programs is None:
        yield None
        return
    with fixtures_postgres.running_server(programs) as server:
        yield server.new_database()


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="on the disk that is to be measured")
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}")
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        print(f"yardstick: write and fdatasync of 4 KiB {fsync_ms(Path(directory)):.3f} ms")
        asyncio.run(bench("sqlite", sqlite_url(Path(directory) / "bench.db"), arguments.seconds))
    with postgres() as url:
        if url is None:
            print("postgres   not installed")
        else:
            asyncio.run(bench("postgres", url, arguments.seconds))


if __name__ == "__main__":
    main()

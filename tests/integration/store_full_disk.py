"""Write until the log file cannot grow, then let it grow again; run as a program by `test_store_crashes`.

The limit is RLIMIT_FSIZE, which makes the kernel refuse the write at the commit as a full disk would. Prints what happened.
"""

import asyncio
import json
import resource
import signal
import sys

from lambdad.store import errors, migrations, queries
from lambdad.store.database import Database, open_database

sql = queries.load_queries("store_example", "queries.sql")


async def burst(database: Database, prefix: str) -> tuple[list[str], list[str]]:
    """Write thirty large entries at once; return the acknowledged names and the kinds of failures."""
    names = [f"{prefix}{number}" for number in range(30)]
    works = [
        lambda connection, name=name: connection.run(sql.insert_entry, id=hash(name), name=name, count=1, ratio=None, body=b"x" * 20_000)
        for name in names
    ]
    results = await asyncio.gather(*(database.write(work) for work in works), return_exceptions=True)
    acknowledged = [name for name, result in zip(names, results, strict=True) if result == 1]
    failures = [result for result in results if isinstance(result, BaseException)]
    assert all(isinstance(failure, errors.Unavailable) for failure in failures), failures
    return acknowledged, sorted({type(failure).__name__ for failure in failures})


async def main(url: str) -> None:
    """Report the three bursts, and what is there at the end."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    steps = [migrations.load_migrations("store_example")]
    async with open_database(url, migrations=steps, now_ms=lambda: 0) as database:
        before, _ = await burst(database, "before")
        resource.setrlimit(resource.RLIMIT_FSIZE, (800_000, resource.RLIM_INFINITY))
        during, failures = await burst(database, "during")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        after, _ = await burst(database, "after")
        there = await database.read(lambda connection: [row.name for row in connection.all(sql.all_entries)])
    json.dump({"acknowledged": before + during + after, "failures": failures, "there": there}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

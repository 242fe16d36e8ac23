"""What is acknowledged survives: processes killed, servers crashed, disks full."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fixtures_postgres import PostgresServer
from lambdad.store import errors, migrations, queries
from lambdad.store.database import open_database, sqlite_url

HERE = Path(__file__).parent
sql = queries.load_queries("store_example", "queries.sql")
steps = migrations.load_migrations("store_example")


def program(name: str, *arguments: str, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    command = [*before, sys.executable, str(HERE / name), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


async def names_in(url: str) -> set[str]:
    async with open_database(url, migrations=[steps], now_ms=lambda: 0) as database:
        return {row.name for row in await database.read(lambda connection: connection.all(sql.all_entries))}


@pytest.mark.slow
async def test_a_killed_writer_loses_nothing_acknowledged(database_url: str) -> None:
    """After kill -9 in the middle of a stream of writes, each acknowledged one is there."""
    acknowledged: set[str] = set()
    dice = random.Random(7)
    for _ in range(3):
        with program("store_killed_writer.py", database_url, str(len(acknowledged) * 10 + 1)) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(dice.randrange(1, 1500))]
            process.kill()
            lines += process.stdout.readlines()
        assert process.returncode == -signal.SIGKILL
        acknowledged |= {line.decode().strip() for line in lines if line.endswith(b"\n")}
        assert acknowledged
        there = await names_in(database_url)
        assert acknowledged <= there
        assert len(there - acknowledged) <= 20 * 3, "only what was under way may be there unacknowledged"


def test_a_publisher_killed_at_any_step_leaves_nothing_or_all(tmp_path: Path) -> None:
    """Killed before each of its steps in turn, publishing leaves the target away or whole."""
    with program("store_killed_publisher.py", str(tmp_path)) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    counts = [int(count) for count in output.split()]
    assert len(counts) == 3
    assert min(counts) >= 9, "every call into the file system was a step"


async def test_a_full_disk_is_not_acknowledged(tmp_path: Path) -> None:
    """When the commit cannot be written nobody is told of success, and when there is room again writing goes on."""
    url = sqlite_url(tmp_path / "database.db")
    with program("store_full_disk.py", url) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    report = json.loads(output)
    assert report["failures"]
    assert set(report["failures"]) <= {"DiskFull", "Unavailable"}
    assert set(report["acknowledged"]) == set(report["there"]) == await names_in(url)
    assert len([name for name in report["there"] if name.startswith("before")]) == 30
    assert len([name for name in report["there"] if name.startswith("after")]) == 30


def test_each_commit_is_one_call_to_the_disk(tmp_path: Path) -> None:
    """Seen from the kernel, an acknowledged write has been synced before it is acknowledged."""
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-o", "/dev/null", "true"], check=False).returncode:
        pytest.skip("strace is not installed, or may not trace")
    url = sqlite_url(tmp_path / "database.db")
    trace = tmp_path / "trace"
    command = [strace, "-f", "-e", "trace=fdatasync,fsync,write", "-o", str(trace)]
    with program("store_killed_writer.py", url, "1", before=command) as process:
        assert process.stdout is not None
        for _ in range(200):
            process.stdout.readline()
        os.kill(int(trace.read_text().split()[0]), signal.SIGKILL)
    # What reaches the disk late would be acknowledged without a sync in between: at most one group of writers per sync.
    unsynced = 0
    for line in trace.read_text().splitlines():
        if "sync(" in line:
            unsynced = 0
        elif "write(1," in line:
            unsynced += 1
            assert unsynced <= 40, "acknowledged more writes than two groups of twenty hold"


async def test_a_damaged_file_is_called_corrupt(tmp_path: Path) -> None:
    """A file that is not a database is refused as such."""
    (tmp_path / "database.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(errors.Corrupt):
        await names_in(sqlite_url(tmp_path / "database.db"))
    with pytest.raises(errors.Unavailable):
        await names_in(sqlite_url(tmp_path / "missing" / "database.db"))


@pytest.mark.postgres
async def test_a_lost_connection_fails_what_was_under_way_only(postgres_url: str) -> None:
    """When the server ends our connections, later calls have new ones."""
    async with open_database(postgres_url, migrations=[steps], now_ms=lambda: 0, readers=1) as database:
        await database.write(lambda connection: connection.run(sql.add_entry, name="before"))
        # The reader kills the writer's idle connection; the writer notices when it begins, and nobody else does.
        killed = await database.read(lambda connection: connection.one(sql.kill_others))
        assert killed is not None and killed.killed == 1
        assert await database.write(lambda connection: connection.run(sql.add_entry, name="after idle")) == 1

        async def kill_the_writer_at_work() -> list[BaseException | int]:
            def kill_me(connection: object) -> int:
                import psycopg

                with psycopg.connect(postgres_url, autocommit=True) as other:
                    other.execute(sql.kill_others.postgres.text.encode())
                return 1

            works = [lambda connection: connection.run(sql.add_entry, name="lost"), kill_me]
            works.append(lambda connection: connection.run(sql.add_entry, name="lost too"))
            return await asyncio.gather(*(database.write(work) for work in works), return_exceptions=True)

        results = await kill_the_writer_at_work()
        assert [type(result) for result in results] == [errors.Unavailable] * 3
        assert await database.write(lambda connection: connection.run(sql.add_entry, name="after")) == 1
        assert await database.read(lambda connection: [row.name for row in connection.all(sql.all_entries)]) == [
            "after",
            "after idle",
            "before",
        ]


@pytest.mark.postgres
async def test_a_crashed_server_loses_nothing_acknowledged(postgres_server: PostgresServer, postgres_url: str) -> None:
    """The server is crashed under us: writes fail until it is back, and what was acknowledged is there."""
    async with open_database(postgres_url, migrations=[steps], now_ms=lambda: 0) as database:
        for number in range(20):
            await database.write(lambda connection, name=str(number): connection.run(sql.add_entry, name=name))
        await asyncio.to_thread(postgres_server.crash)
        with pytest.raises(errors.Unavailable):
            await database.write(lambda connection: connection.run(sql.add_entry, name="down"))
        with pytest.raises(errors.Unavailable):
            await database.read(lambda connection: connection.all(sql.all_entries))
        await asyncio.to_thread(postgres_server.start)
        assert await database.write(lambda connection: connection.run(sql.add_entry, name="up")) == 1
        rows = await database.read(lambda connection: connection.all(sql.all_entries))
        assert {row.name for row in rows} == {str(number) for number in range(20)} | {"up"}


@pytest.mark.postgres
async def test_a_statement_that_takes_too_long_is_ended(postgres_url: str) -> None:
    """Past the timeout the caller is told so, and the connection lives on."""
    async with open_database(postgres_url, now_ms=lambda: 0, statement_timeout_s=0.05) as database:
        for call in (database.read, database.write):
            with pytest.raises(errors.Busy):
                await call(lambda connection: connection.one(sql.wait_long))
            assert await call(lambda connection: connection.one(sql.kill_others)) is not None


@pytest.mark.postgres
async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """Opening says that the database cannot be reached."""
    with pytest.raises(errors.Unavailable):
        await names_in(f"postgresql:///none?host={tmp_path}")


async def test_an_unknown_kind_of_database_is_refused() -> None:
    """Only what we can open is accepted."""
    for url in ("mysql://host/database", "sqlite://relative/path", "database.db"):
        with pytest.raises(errors.WrongQuery, match="a database is"):
            await names_in(url)

"""Migrations on both databases."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lambdad.store import errors, migrations, queries, schema
from lambdad.store.database import Connection, open_database, sqlite_url
from lambdad.store.migrations import Migrations

sql = queries.load_queries("store_example", "queries.sql")
steps = migrations.load_migrations("store_example")

Load = Callable[[dict[str, str]], Migrations]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Load:
    """Load migrations from texts."""
    monkeypatch.syspath_prepend(tmp_path)
    count = 0

    def load(texts: dict[str, str]) -> Migrations:
        nonlocal count
        count += 1
        package = f"migrations_{abs(hash(request.node.nodeid))}_{count}"
        (tmp_path / package / "migrations").mkdir(parents=True)
        for name, text in texts.items():
            (tmp_path / package / "migrations" / f"{name}.sql").write_text(text)
        return migrations.load_migrations(package, namespace="test")

    return load


async def opened(url: str, *given: Migrations, at_ms: int = 0) -> list[dict[str, Any]]:
    """Open, and return the records."""

    def records(connection: Connection) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.all(sql.records)]

    async with open_database(url, migrations=given, now_ms=lambda: at_ms) as database:
        return await database.read(records)


async def test_each_step_is_applied_once(database_url: str) -> None:
    """The record says when, and opening again changes nothing."""
    first = Migrations("store_example", steps.steps[:1])
    record = {"namespace": "store_example", "number": 1, "name": "0001_entries", "applied_at_ms": 5}
    assert await opened(database_url, first, at_ms=5) == [record]
    both = [record, {"namespace": "store_example", "number": 2, "name": "0002_links", "applied_at_ms": 7}]
    assert await opened(database_url, steps, at_ms=7) == both
    assert await opened(database_url, steps, at_ms=9) == both
    assert await opened(database_url) == both, "a program without that service does not mind"


async def test_dialects_differ_by_override_only(database_url: str) -> None:
    """The block for PostgreSQL replaces the common one there and nowhere else."""
    async with open_database(database_url, migrations=[steps], now_ms=lambda: 0) as database:
        row = await database.read(lambda connection: connection.one(sql.dialect))
    assert row is not None
    assert row.right_name == ("postgres" if database_url.startswith("postgres") else "sqlite; -- not a comment")


async def test_a_changed_migration_is_refused(database_url: str) -> None:
    """Editing what was applied stops the program with words that help."""
    await opened(database_url, steps)
    changed = Migrations(steps.namespace, (replace(steps.steps[0], checksum="other"), steps.steps[1]))
    with pytest.raises(errors.MigrationChanged, match="store_example: migration 0001_entries is not the one"):
        await opened(database_url, changed)


async def test_a_newer_database_is_refused(database_url: str) -> None:
    """A program that is older than the database does not touch it."""
    before = await opened(database_url, steps)
    with pytest.raises(errors.DatabaseNewer, match="has migration 0002_links, this program only goes up to number 1"):
        await opened(database_url, Migrations(steps.namespace, steps.steps[:1]), Migrations("new", steps.steps[:1]))
    assert await opened(database_url, steps) == before


async def test_a_failing_step_leaves_no_part_of_itself(database_url: str, load: Load) -> None:
    """The steps before it stay, of it nothing does, and the mended file can be applied."""
    good, bad = "CREATE TABLE one (a TEXT);", "CREATE TABLE two (a TEXT); CREATE TABLE one (a TEXT);"
    with pytest.raises(errors.WrongQuery):
        await opened(database_url, load({"0001_one": good, "0002_two": bad}))
    records = await opened(database_url, load({"0001_one": good, "0002_two": "CREATE TABLE two (a TEXT);"}))
    assert [record["name"] for record in records] == ["0001_one", "0002_two"]


async def test_an_override_may_be_empty(database_url: str, load: Load) -> None:
    """What only one database needs is left out in the other."""
    text = "CREATE TABLE one (a TEXT);\n-- name: only_sqlite\nDROP TABLE one;\n-- postgres: only_sqlite\n"
    found = load({"0001_one": text, "0002_one": "CREATE TABLE one (a TEXT);"})
    if database_url.startswith("postgres"):
        with pytest.raises(errors.WrongQuery):
            await opened(database_url, found)
    else:
        assert len(await opened(database_url, found)) == 2


OPEN_BOTH = """
import asyncio, sys
from lambdad.store import migrations, database
async def main():
    steps = [migrations.load_migrations("store_example")]
    sys.stdin.read(1)
    async with database.open_database(sys.argv[1], migrations=steps, now_ms=lambda: 0):
        pass
asyncio.run(main())
"""


def test_processes_that_start_at_once_share_the_work(database_url: str) -> None:
    """Each migration is applied by one of them, and all of them start."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", OPEN_BOTH, database_url]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=30)
    assert [process.returncode for process in processes] == [0] * 4
    assert [record["number"] for record in asyncio.run(opened(database_url, steps))] == [1, 2]


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_migrated_is_fresh(kind: str, tmp_path: Path, request: pytest.FixtureRequest, load: Load) -> None:
    """The migrations come to what schema.sql says, and a difference would be seen."""
    if kind == "sqlite":
        urls = [sqlite_url(tmp_path / f"{number}.db") for number in range(4)]
    else:
        server = request.getfixturevalue("postgres_server")
        urls = [server.new_database() for _ in range(4)]
    assert await schema.differences("store_example", urls[0], urls[1]) == []

    described = []
    for url, text in zip(urls[2:], ("CREATE TABLE one (a TEXT);", "CREATE TABLE one (a TEXT UNIQUE);"), strict=True):
        async with open_database(url, migrations=[load({"0001_one": text})], now_ms=lambda: 0) as database:
            described.append(await database.read(schema.describe))
    assert described[0] != described[1]
    assert len(described[0]) == 1

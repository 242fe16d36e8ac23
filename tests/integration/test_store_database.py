"""The facade, the same on both databases."""

import asyncio
import enum
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lambdad.store import errors, migrations, queries
from lambdad.store.database import Connection, Database, open_database

sql = queries.load_queries("store_example", "queries.sql")
steps = migrations.load_migrations("store_example")


def opened(url: str, **settings: Any) -> Any:
    return open_database(url, migrations=[steps], now_ms=lambda: 1_700_000_000_000, **settings)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url, busy_timeout_s=0.2, statement_timeout_s=0.5) as database:
        yield database


def put(name: str, count: int = 1) -> Callable[[Connection], int]:
    return lambda connection: connection.run(sql.put_entry, name=name, count=count)


def names(connection: Connection) -> list[str]:
    return [row.name for row in connection.all(sql.all_entries)]


async def test_values_come_back_as_they_went_in(database: Database) -> None:
    """Each kind of value survives, at its extremes."""
    values = [
        {"id": 2**63 - 1, "name": "ü\U0001f600'\"%s:x", "count": 0, "ratio": 0.1, "body": b"\0\xff"},
        {"id": -(2**63), "name": "", "count": 2**40, "ratio": None, "body": b""},
        {"id": 0, "name": "inf", "count": 1, "ratio": float("inf"), "body": None},
    ]
    assert await database.write(lambda connection: connection.many(sql.insert_entry, values)) == 3
    for value in values:
        row = await database.read(lambda connection, value=value: connection.one(sql.find_entry, name=value["name"]))
        assert row == value
        assert row is not None
        assert [type(each) for each in row.values()] == [type(each) for each in value.values()]


async def test_enums_booleans_and_buffers_are_stored_plainly(database: Database) -> None:
    """Subclasses of the plain types go in as what they are made of."""

    class Name(enum.StrEnum):
        ACTIVE = "Active"

    def work(connection: Connection) -> Any:
        connection.run(sql.insert_entry, id=1, name=Name.ACTIVE, count=True, ratio=1, body=memoryview(b"body"))
        return connection.one(sql.find_entry, name="Active")

    assert dict(await database.write(work)) == {"id": 1, "name": "Active", "count": 1, "ratio": 1.0, "body": b"body"}


async def test_sums_and_comparisons_have_the_same_types(database: Database) -> None:
    """What only one of the databases has a type for is mapped to the common ones."""
    await database.write(put("a", 1))
    await database.write(put("b", 2))
    row = await database.read(lambda connection: connection.one(sql.summary))
    assert row is not None
    assert row == {"entries": 2, "total": 3, "mean": 1.5, "is_any": 1, "largest": 2, "percent": "100%"}
    assert [type(value) for value in row.values()] == [int, int, float, int, int, str]


async def test_changed_rows_are_counted(database: Database) -> None:
    """The count is right also for upserts, WITH, RETURNING, and none."""
    assert await database.write(put("a", 5)) == 1
    assert await database.write(put("a", 5)) == 1
    assert await database.write(put("b", 1)) == 1
    assert await database.write(lambda connection: connection.run(sql.copy_entries, above=0)) == 2
    assert await database.write(lambda connection: connection.run(sql.delete_entry, name="missing")) == 0
    assert await database.write(lambda connection: connection.run(sql.add_entry, name="c")) == 1
    assert await database.write(lambda connection: connection.many(sql.delete_entry, [{"name": "a"}, {"name": "b"}])) == 2
    assert await database.write(lambda connection: connection.many(sql.delete_entry, [])) == 0


async def test_a_table_numbers_its_rows(database: Database) -> None:
    """INTEGER PRIMARY KEY gives rows ascending numbers in both databases."""
    first = await database.write(lambda connection: connection.one(sql.add_entry, name="first"))
    second = await database.write(lambda connection: connection.one(sql.add_entry, name="second"))
    assert first is not None and second is not None
    assert second.id == first.id + 1


async def test_order_and_patterns_go_by_bytes(database: Database) -> None:
    """Text sorts by its UTF-8 bytes and LIKE minds the case, whatever the server's locale."""
    for name in ("b", "B", "a", "é", "a_c", "abc", "Ab", "~"):
        await database.write(put(name))
    assert await database.read(names) == ["Ab", "B", "a", "a_c", "abc", "b", "~", "é"]

    def like(connection: Connection) -> list[str]:
        return [row.name for row in connection.all(sql.names_like, pattern=r"a\_%")]

    assert await database.read(like) == ["a_c"]


async def test_one_means_at_most_one(database: Database) -> None:
    """None for no row, an error for two."""
    assert await database.read(lambda connection: connection.one(sql.all_entries)) is None
    await database.write(put("a"))
    await database.write(put("b"))
    with pytest.raises(errors.WrongQuery, match="2 rows"):
        await database.read(lambda connection: connection.one(sql.all_entries))


@pytest.mark.parametrize(
    ("expected", "work"),
    [
        (errors.UniqueViolated, lambda connection: connection.run(sql.add_entry, name="taken")),
        (errors.ConstraintViolated, lambda connection: connection.run(sql.put_entry, name="n", count=-1)),
        (errors.ConstraintViolated, lambda connection: connection.run(sql.add_entry, name=None)),
        (errors.WrongQuery, lambda connection: connection.all(sql.wrong)),
        (errors.WrongValue, lambda connection: connection.run(sql.put_entry, name="n", count="many")),
        (errors.WrongValue, lambda connection: connection.run(sql.put_entry, name="n", count=2**63)),
        (errors.WrongValue, lambda connection: connection.run(sql.add_entry, name="\0")),
        (errors.WrongValue, lambda connection: connection.run(sql.add_entry, name="\ud800")),
        (errors.WrongValue, lambda connection: connection.run(sql.add_entry, name=object())),
        (
            errors.WrongValue,
            lambda connection: connection.run(sql.insert_entry, id=1, name="n", count=1, ratio=float("nan"), body=b""),
        ),
        (errors.MissingParameter, lambda connection: connection.run(sql.put_entry, name="n")),
    ],
)
async def test_failures_are_the_stores_own(database: Database, expected: type[Exception], work: Any) -> None:
    """Every exception of a driver becomes the same error of ours, and the write leaves nothing."""
    await database.write(put("taken"))

    def write_then_fail(connection: Connection) -> None:
        connection.run(sql.put_entry, name="before", count=1)
        work(connection)

    with pytest.raises(expected) as caught:
        await database.write(write_then_fail)
    assert type(caught.value).__module__ == "lambdad.store.errors"
    assert await database.read(names) == ["taken"]


async def test_a_read_cannot_write(database: Database) -> None:
    """A write in a read is refused."""
    with pytest.raises(errors.StoreError):
        await database.read(put("a"))
    assert await database.read(names) == []


async def test_concurrent_writes_share_commits(database: Database) -> None:
    """All of a burst succeed, in far fewer commits than writes."""
    before = database.statistics()
    async with asyncio.TaskGroup() as group:
        for number in range(300):
            group.create_task(database.write(put(f"n{number:03}")))
    after = database.statistics()
    assert after.writes - before.writes == 300
    assert after.commits - before.commits <= 30
    assert after.group_max > 1
    assert after.group_mean > 1
    assert after.writes_pending == 0
    assert len(await database.read(names)) == 300
    assert database.statistics().reads == 1


async def test_a_failing_work_undoes_itself_alone(database: Database) -> None:
    """Of a group, those that raise are gone and their callers know, the others are there."""

    def write_and_raise(connection: Connection) -> None:
        connection.run(sql.add_entry, name="undone")
        raise ValueError("mine")

    def clash(connection: Connection) -> None:
        connection.run(sql.add_entry, name="undone too")
        connection.run(sql.add_entry, name="kept 0")

    works = [put("kept 0"), write_and_raise, clash, put("kept 1"), write_and_raise, put("kept 2")]
    results = await asyncio.gather(*(database.write(work) for work in works), return_exceptions=True)
    assert [type(result) for result in results] == [int, ValueError, errors.UniqueViolated, int, ValueError, int]
    assert await database.read(names) == ["kept 0", "kept 1", "kept 2"]
    assert database.statistics().writes_failed == 3


async def test_one_bad_row_among_thousands_fails_its_work_alone(database: Database) -> None:
    """A failure in the middle of many rows, sent before it is noticed, does not spread to the group."""

    def many(connection: Connection) -> int:
        rows = [{"name": f"row {number}", "count": -1 if number == 7 else 1} for number in range(3000)]
        return connection.many(sql.put_entry, rows)

    results = await asyncio.gather(*(database.write(work) for work in (put("a"), many, put("b"))), return_exceptions=True)
    assert [type(result) for result in results] == [int, errors.ConstraintViolated, int]
    assert await database.read(names) == ["a", "b"]


async def test_a_statements_failure_is_the_works_failure(database: Database) -> None:
    """Swallowing an error saves nothing, in either database."""
    await database.write(put("taken"))

    def swallow(connection: Connection) -> str:
        connection.run(sql.add_entry, name="fine")
        with pytest.raises(errors.UniqueViolated):
            connection.run(sql.add_entry, name="taken")
        with pytest.raises(errors.UniqueViolated):
            connection.all(sql.all_entries)
        return "done"

    with pytest.raises(errors.UniqueViolated):
        await database.write(swallow)
    assert await database.write(put("later")) == 1
    assert await database.read(names) == ["later", "taken"]


async def test_a_failing_commit_fails_all(database: Database) -> None:
    """When the commit itself is refused nobody is told of success, and nothing is there."""

    def dangling(connection: Connection) -> None:
        connection.run(sql.insert_link, entry_id=99)

    results = await asyncio.gather(*(database.write(work) for work in (put("a"), dangling, put("b"))), return_exceptions=True)
    assert [type(result) for result in results] == [errors.ConstraintViolated] * 3
    assert len({id(result) for result in results}) == 3, "each caller has an exception of its own"
    assert await database.read(names) == []
    assert await database.write(put("c")) == 1


async def test_a_write_sees_those_before_it_and_reads_see_acknowledged_ones(database: Database) -> None:
    """Works run in order of arrival on one state; a read that begins after an answer sees what was answered."""

    def count_then_add(connection: Connection) -> int:
        (row,) = connection.all(sql.count_entries)
        connection.run(sql.add_entry, name=f"entry {row.entries}")
        return int(row.entries)

    counts = await asyncio.gather(*(database.write(count_then_add) for _ in range(50)))
    assert counts == list(range(50))
    for number in range(50, 60):
        assert await database.write(count_then_add) == number
        assert len(await database.read(names)) == number + 1


async def test_a_read_sees_one_state_throughout(database: Database) -> None:
    """A commit in the middle of a read does not show in it."""
    looked, written = threading.Event(), threading.Event()

    def look_twice(connection: Connection) -> tuple[list[str], list[str]]:
        before = names(connection)
        looked.set()
        assert written.wait(10)
        return before, names(connection)

    reading = asyncio.ensure_future(database.read(look_twice))
    assert await asyncio.to_thread(looked.wait, 10)
    await database.write(put("new"))
    assert await database.read(names) == ["new"], "the other reader is not held up"
    written.set()
    assert await reading == ([], [])


async def test_a_cancelled_write_is_dropped_or_done(database: Database) -> None:
    """What the writer has not taken never happens; what it has taken is committed."""
    entered, go_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        connection.run(sql.add_entry, name="taken by the writer")
        entered.set()
        assert go_on.wait(10)

    taken = asyncio.ensure_future(database.write(slow))
    assert await asyncio.to_thread(entered.wait, 10)
    waiting = asyncio.ensure_future(database.write(put("still in the queue")))
    third = asyncio.ensure_future(database.write(put("third")))
    while database.statistics().writes_pending < 3:
        await asyncio.sleep(0)
    for task in (taken, waiting):
        task.cancel()
    results = await asyncio.gather(taken, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
    go_on.set()
    await third
    assert await database.read(names) == ["taken by the writer", "third"]


async def test_leaving_finishes_what_was_begun(database_url: str) -> None:
    """Writes made before the end are committed, also those that had to wait for room; later ones are refused."""
    async with opened(database_url, pending_max=4) as database:
        tasks = [asyncio.ensure_future(database.write(put(f"n{number:02}"))) for number in range(50)]
        await asyncio.sleep(0)
        assert database.statistics().writes_pending == 50
    assert [await task for task in tasks] == [1] * 50
    with pytest.raises(errors.Closed):
        await database.write(put("late"))
    with pytest.raises(errors.Closed):
        await database.read(names)
    async with opened(database_url) as database:
        assert len(await database.read(names)) == 50


async def test_the_commit_is_durable(database: Database) -> None:
    """The settings that make the database fsync are on, on the very connection that writes."""
    row = await database.write(lambda connection: connection.one(sql.journal_settings))
    assert row is not None
    assert row in ({"journal": "wal", "synchronous": 2}, {"journal": "on", "synchronous": "on"})


async def test_another_sort_of_exception_passes_through(database: Database) -> None:
    """Even what is hardly ever caught reaches the caller, and the writer lives on."""

    def stop(connection: Connection) -> None:
        connection.run(sql.add_entry, name="undone")
        raise StopIteration

    def leave(connection: Connection) -> None:
        raise GeneratorExit

    with pytest.raises(RuntimeError, match="StopIteration"):
        await database.write(stop)
    with pytest.raises(GeneratorExit):
        await database.write(leave)
    assert await database.write(put("a")) == 1
    assert await database.read(names) == ["a"]


@contextmanager
def locked_by_another(url: str) -> Iterator[None]:
    """Hold, from outside the store, a lock that a write to `entry` needs."""
    if url.startswith("sqlite"):
        connection: Any = sqlite3.connect(url.removeprefix("sqlite://"), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
    else:
        psycopg = pytest.importorskip("psycopg")
        connection = psycopg.connect(url)
        connection.execute("LOCK TABLE entry IN EXCLUSIVE MODE")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


async def test_anothers_lock_is_waited_for_in_vain(database_url: str) -> None:
    """A write that cannot begin in time is told that the database is busy, reads go on, and later writes succeed."""
    async with opened(database_url, busy_timeout_s=0.05) as database:
        with locked_by_another(database_url):
            results = await asyncio.gather(*(database.write(put("a")) for _ in range(3)), return_exceptions=True)
            assert [type(result) for result in results] == [errors.Busy] * 3
            assert await database.read(names) == []
        assert await database.write(put("b")) == 1
        assert await database.read(names) == ["b"]

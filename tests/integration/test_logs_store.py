"""The way of log events from the platform: buffered, bounded, written in batches, lost only when it is said."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from logs_neighbours import FakeNeighbours, FakeOutbox, new_uuid

from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.logs.app import LogsService, migrations
from lambdad.services.ports import CallContext
from lambdad.store.database import Database, open_database
from lambdad.store.errors import StoreError, Unavailable, WrongQuery

START_MS = 1_700_000_000_000
KEY = ("000000000000", "us-east-1", "/aws/lambda/f", "2023/11/14/[$LATEST]0123456789abcdef0123456789abcdef")
CTX = CallContext(
    account=AccountId(KEY[0]),
    region=Region(KEY[1]),
    request_id=RequestId("00000000-0000-0000-0000-000000000000"),
    principal_arn="arn:aws:iam::000000000000:root",
)


class FaultyDatabase:
    """A database whose writes can be made to fail or to wait."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.failures: list[StoreError] = []
        self.gate: asyncio.Event | None = None
        self.writes = 0

    async def read(self, work: Callable[[Any], Any]) -> Any:
        return await self._database.read(work)

    async def write(self, work: Callable[[Any], Any]) -> Any:
        self.writes += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop()
        return await self._database.write(work)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[FaultyDatabase]:
    async with open_database(database_url, migrations=[migrations()], now_ms=lambda: START_MS) as opened:
        yield FaultyDatabase(opened)


@pytest.fixture
def logs(database: FaultyDatabase) -> LogsService:
    return LogsService(
        database,
        lambda: START_MS,
        outbox=FakeOutbox(),
        neighbours=FakeNeighbours(),
        new_uuid=new_uuid,
        buffer_bytes=1_000,
        flush_interval_s=0.001,
    )  # type: ignore[arg-type]  # a fake


async def stored(logs: LogsService) -> list[str]:
    page = await logs.service().handlers["FilterLogEvents"](CTX, {"logGroupName": KEY[2]})
    return [event["message"] for event in page["events"]]


async def test_readers_see_what_was_appended(logs: LogsService) -> None:
    """Group and stream are made by the first event, and a read that follows an append has it, in order of time."""
    logs.store.append(*KEY, [(START_MS + 1, "second\n"), (START_MS, "first\n"), (START_MS + 1, "third\n")])
    logs.store.append(*KEY, [])
    assert await stored(logs) == ["first\n", "second\n", "third\n"]
    streams = await logs.service().handlers["DescribeLogStreams"](CTX, {"logGroupName": KEY[2]})
    assert [stream["logStreamName"] for stream in streams["logStreams"]] == [KEY[3]]
    statistics = logs.store.statistics()
    assert (statistics.events_appended, statistics.events_written, statistics.buffered_bytes) == (3, 3, 0)


async def test_run_writes_without_being_asked(logs: LogsService, database: FaultyDatabase) -> None:
    """The store's own task writes what is appended, and stops when it is cancelled."""
    database.gate = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(logs.store.run())
        logs.store.append(*KEY, [(START_MS, "m")])
        while database.writes == 0:
            await asyncio.sleep(0)
        database.gate.set()
        while logs.store.statistics().events_written == 0:
            await asyncio.sleep(0)
        running.cancel()
    assert await stored(logs) == ["m"]


async def test_full_buffer_drops_and_says_so(logs: LogsService) -> None:
    """What does not fit is dropped without waiting; the stream is told how much, and goes on."""
    logs.store.append(*KEY, [(START_MS, "x" * 900)])
    logs.store.append(*KEY, [(START_MS, "y" * 900), (START_MS, "z")])
    logs.store.append(*KEY, [(START_MS, "w" * 900)])
    assert await stored(logs) == ["x" * 900, "[lambdad] 3 log events could not be stored and were lost.\n"]
    logs.store.append(*KEY, [(START_MS, "again")])
    assert (await stored(logs))[2:] == ["again"]
    assert logs.store.statistics().events_dropped == 3


async def test_what_is_on_its_way_counts(logs: LogsService, database: FaultyDatabase) -> None:
    """The bound holds for events that are being written, too."""
    database.gate = asyncio.Event()
    logs.store.append(*KEY, [(START_MS, "x" * 900)])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(logs.store.flush())
        while database.writes == 0:
            await asyncio.sleep(0)
        logs.store.append(*KEY, [(START_MS, "y" * 900)])
        assert logs.store.statistics().events_dropped == 1
        database.gate.set()
    database.gate = None
    assert len(await stored(logs)) == 2


async def test_failed_write_is_repeated(logs: LogsService, database: FaultyDatabase) -> None:
    """Events stay in the buffer, in order, while the database cannot be written to."""
    database.failures = [Unavailable("gone")]
    logs.store.append(*KEY, [(START_MS, "one")])
    with pytest.raises(Unavailable):
        await logs.store.flush()
    logs.store.append(*KEY, [(START_MS, "two")])
    assert logs.store.statistics().buffered_bytes == 58
    assert await stored(logs) == ["one", "two"]
    assert logs.store.statistics().buffered_bytes == 0


async def test_hopeless_write_is_counted(logs: LogsService, database: FaultyDatabase) -> None:
    """Events that the database will never take are dropped, and the stream says so."""
    database.failures = [WrongQuery("no")]
    logs.store.append(*KEY, [(START_MS, "one")])
    with pytest.raises(WrongQuery):
        await logs.store.flush()
    assert await stored(logs) == ["[lambdad] 1 log events could not be stored and were lost.\n"]


async def test_name_that_cannot_be_stored(logs: LogsService) -> None:
    """A stream name with a NUL loses its own events and nobody else's."""
    logs.store.append(*KEY[:3], "bad\0name", [(START_MS, "lost")])
    logs.store.append(*KEY, [(START_MS, "kept")])
    assert await stored(logs) == ["kept"]
    assert logs.store.statistics().events_dropped == 1


async def test_cancelled_reader_takes_nothing_along(logs: LogsService, database: FaultyDatabase) -> None:
    """A caller who goes away while events are written leaves the writing alone, and it is waited for by the next."""
    database.gate = asyncio.Event()
    logs.store.append(*KEY, [(START_MS, "m")])
    flushing = asyncio.ensure_future(logs.store.flush())
    while database.writes == 0:
        await asyncio.sleep(0)
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    database.gate.set()
    assert await stored(logs) == ["m"]
    assert database.writes == 1


async def test_deleted_group_stays_deleted(logs: LogsService, database: FaultyDatabase) -> None:
    """Events that wait or are on their way when a group is deleted do not make it anew; later ones do."""
    database.gate = asyncio.Event()
    logs.store.append(*KEY, [(START_MS, "on its way")])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(logs.store.flush())
        while database.writes == 0:
            await asyncio.sleep(0)
        logs.store.append(*KEY, [(START_MS, "waits")])
        deleting = tasks.create_task(logs.service().handlers["DeleteLogGroup"](CTX, {"logGroupName": KEY[2]}))
        await asyncio.sleep(0)
        database.gate.set()
        await deleting
    assert await logs.service().handlers["DescribeLogGroups"](CTX, {}) == {"logGroups": []}
    logs.store.append(*KEY, [(START_MS, "later")])
    assert await stored(logs) == ["later"]


async def test_deleted_stream_is_made_anew(logs: LogsService) -> None:
    """An environment that goes on writing after its stream was deleted gets a new one."""
    logs.store.append(*KEY, [(START_MS, "before")])
    await logs.store.flush()
    await logs.service().handlers["DeleteLogStream"](CTX, {"logGroupName": KEY[2], "logStreamName": KEY[3]})
    logs.store.append(*KEY, [(START_MS, "after")])
    assert await stored(logs) == ["after"]


async def test_events_survive_a_new_start(database_url: str) -> None:
    """What was flushed is there after the database was closed and opened again."""
    for expected in (["m"], ["m", "m"]):
        async with open_database(database_url, migrations=[migrations()], now_ms=lambda: START_MS) as database:
            logs = LogsService(database, lambda: START_MS, outbox=FakeOutbox(), neighbours=FakeNeighbours(), new_uuid=new_uuid)
            logs.store.append(*KEY, [(START_MS, "m")])
            await logs.store.flush()
        async with open_database(database_url, migrations=[migrations()], now_ms=lambda: START_MS) as database:
            assert (
                await stored(LogsService(database, lambda: START_MS, outbox=FakeOutbox(), neighbours=FakeNeighbours(), new_uuid=new_uuid))
                == expected
            )


async def test_large_batches_are_packed_in_a_thread(database: FaultyDatabase) -> None:
    """Many events at once are written whole."""
    logs = LogsService(database, lambda: START_MS, outbox=FakeOutbox(), neighbours=FakeNeighbours(), new_uuid=new_uuid)  # type: ignore[arg-type]  # a fake
    for stream in ("a", "b"):
        logs.store.append(*KEY[:3], stream, [(START_MS + number, "x" * 100) for number in range(1_000)])
    assert len(await stored(logs)) == 2_000

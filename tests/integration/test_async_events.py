"""Asynchronous invocations on a real database, with a clock that the tests move and functions that they script."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lambdad.model.errors import AwsError
from lambdad.model.function import FunctionKey
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.model.invocation import Outcome, SystemFailure, Throttled
from lambdad.services.lambda_.async_events import AsyncEvents
from lambdad.store.database import Database, open_database
from lambdad.store.migrations import load_migrations

KEY = FunctionKey(AccountId("000000000000"), Region("us-east-1"), "f")
MINUTE_MS = 60_000


def outcome(function_error: str = "") -> Outcome:
    return Outcome(
        payload=b"1", function_error=function_error, error_type="", tail=b"", duration_ms=1, billed_ms=1, init_ms=0, max_memory_mib=1
    )


class Target:
    reserved_concurrency: int | None = None


class World:
    """A clock, a function that does what the test says, and the events of one queue."""

    def __init__(self, database: Database) -> None:
        self.now_ms = 1_000_000
        self.script: Callable[[RequestId, int], Any] = lambda request_id, attempt: outcome()
        self.attempts: dict[RequestId, list[int]] = {}
        self.target = Target()
        self.missing = False
        self.events = AsyncEvents(database, self, lambda: self.now_ms, in_flight=8)  # type: ignore[arg-type]  # a scripted invoker

    def resolve(self, key: FunctionKey, qualifier: str | None) -> Any:
        if self.missing:
            raise AwsError("ResourceNotFoundException", "Function not found", status=404)
        return self.target

    async def run(self, target: Any, payload: bytes, request_id: RequestId, *, trace_id: str = "", rate_limited: bool = True) -> Outcome:
        await asyncio.sleep(0)
        made = self.attempts.setdefault(request_id, [])
        made.append(self.now_ms)
        result = self.script(request_id, len(made))
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, Outcome)
        return result

    async def accept(self, *names: str) -> None:
        for name in names:
            await self.events.accept(KEY, None, b"{}", RequestId(name), "trace")

    async def settle(self) -> None:
        """Wait until nothing runs and nothing is ready."""
        for _ in range(400):
            self.events._wake.set()  # stands for the poll of once a second
            await asyncio.sleep(0.005)
            statistics = self.events.statistics()
            if not statistics.running and not statistics.ready:
                return
        raise AssertionError(f"does not settle: {self.events.statistics()}")


@contextlib.asynccontextmanager
async def dispatching(world: World) -> AsyncIterator[None]:
    task = asyncio.ensure_future(world.events.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _count(database: Database, world: World) -> int:
    row = await database.read(lambda connection: connection.one(world.events._queries.count_events))
    assert row is not None
    return int(row["events"])


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    migrations = [load_migrations("lambdad.services.lambda_")]
    async with open_database(database_url, migrations=migrations, now_ms=lambda: 0) as opened:
        yield opened


async def test_an_event_runs_once_and_is_forgotten(database: Database):
    """Success needs one attempt, and leaves no row."""
    world = World(database)
    async with dispatching(world):
        await world.accept(*(f"e{n}" for n in range(50)))
        await world.settle()
    assert {len(made) for made in world.attempts.values()} == {1} and len(world.attempts) == 50
    assert await _count(database, world) == 0


async def test_function_errors_are_tried_after_one_and_two_minutes(database: Database):
    """Three attempts with the same id, then the event is given up."""
    world = World(database)
    world.script = lambda request_id, attempt: outcome("Unhandled")
    async with dispatching(world):
        await world.accept("e")
        for _ in range(30):
            await world.settle()
            world.now_ms += 10_000
    first, second, third = world.attempts[RequestId("e")]
    assert (second - first, third - second) == (MINUTE_MS, 2 * MINUTE_MS)
    assert await _count(database, world) == 0
    assert world.events.statistics().given_up == 1


async def test_throttles_and_system_errors_use_up_no_attempts(database: Database):
    """However often the platform fails, the function has its three attempts."""
    world = World(database)
    script = [Throttled("x"), SystemFailure("y"), Throttled("x"), Throttled("x"), outcome()]
    world.script = lambda request_id, attempt: script[attempt - 1]
    async with dispatching(world):
        await world.accept("e")
        for _ in range(20):
            await world.settle()
            world.now_ms += 2_000
    assert len(world.attempts[RequestId("e")]) == 5
    assert await _count(database, world) == 0


async def test_events_outlive_their_dispatcher(database: Database):
    """What was accepted and has not ended is run by the next process, retries at their time."""
    world = World(database)
    world.script = lambda request_id, attempt: outcome("Unhandled")
    async with dispatching(world):
        await world.accept("retried")
        await world.settle()
    await world.accept("fresh")
    after = World(database)
    after.now_ms = world.now_ms
    async with dispatching(after):
        await after.settle()
        assert list(after.attempts) == ["fresh"]
        after.now_ms += MINUTE_MS
        await after.settle()
    assert sorted(after.attempts) == ["fresh", "retried"]
    assert await _count(database, after) == 0


async def test_a_function_that_is_gone_discards_its_events(database: Database):
    """As AWS does; and one that reserves nothing gives them up at once."""
    world = World(database)
    world.missing = True
    async with dispatching(world):
        await world.accept("deleted")
        await world.settle()
        world.missing = False
        world.target.reserved_concurrency = 0
        await world.accept("stopped")
        await world.settle()
    assert world.attempts == {} and await _count(database, world) == 0

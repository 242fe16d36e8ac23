"""Asynchronous invocations on a real database, with a clock that the tests move and functions that they script."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from async_world import MIGRATIONS, MINUTE_MS, World, dispatching, outcome

from lambdad.model.ids import RequestId
from lambdad.model.invocation import Outcome, SystemFailure, Throttled
from lambdad.store.database import Connection, Database, open_database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, migrations=MIGRATIONS, now_ms=lambda: 0) as opened:
        yield opened


async def test_an_event_runs_once_and_is_forgotten(database: Database):
    """Success needs one attempt, and leaves no row."""
    world = World(database)
    async with dispatching(world):
        await world.accept(*(f"e{n}" for n in range(50)))
        await world.settle()
    assert {len(made) for made in world.attempts.values()} == {1} and len(world.attempts) == 50
    assert (await world.left())[0] == 0


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
    assert (await world.left())[0] == 0
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
    assert (await world.left())[0] == 0


async def test_an_event_that_ends_while_the_table_is_read_is_not_run_again(database: Database):
    """What a read saw is old by the time that it comes back."""
    world, release, gate, reading = World(database), asyncio.Event(), asyncio.Event(), asyncio.Event()
    run, read = world.run, database.read

    async def run_slowly(*args: Any, **options: Any) -> Outcome:
        await release.wait()
        return await run(*args, **options)

    async def read_slowly(work: Callable[[Connection], Any]) -> Any:
        result = await read(work)
        if world.events.statistics().running:
            reading.set()
            await gate.wait()
        return result

    world.run, database.read = run_slowly, read_slowly  # type: ignore[method-assign]  # both only wait longer
    async with dispatching(world):
        await world.accept("e")
        while not world.events.statistics().running:
            await asyncio.sleep(0.005)
        world.events._unread = True
        world.events._wake.set()
        await reading.wait()
        release.set()
        while world.events.statistics().running:
            await asyncio.sleep(0.005)
        gate.set()
        await world.settle()
    assert len(world.attempts[RequestId("e")]) == 1


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
    assert (await after.left())[0] == 0


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
    assert world.attempts == {} and (await world.left())[0] == 0

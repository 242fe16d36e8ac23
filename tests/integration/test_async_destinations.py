"""Who hears of the ends of asynchronous invocations, on a real database with a clock that the tests move."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from async_world import MIGRATIONS, MINUTE_MS, World, dispatching, outcome

from lambdad.model.ids import RequestId
from lambdad.model.invocation import Throttled
from lambdad.services.lambda_.rules.event_invoke import Settings
from lambdad.store.database import Database, open_database

QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
TOPIC = "arn:aws:sns:us-east-1:000000000000:t"
DEAD = "arn:aws:sqs:us-east-1:000000000000:dead"
ALL = Settings(on_success=QUEUE, on_failure=TOPIC, dead_letter_target=DEAD)
ERROR = b'{"errorMessage":"boom"}'


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, migrations=MIGRATIONS, now_ms=lambda: 0) as opened:
        yield opened


def operations(world: World) -> list[str]:
    return [f"{service}:{operation}" for _, service, operation, _ in world.sent]


async def test_a_success_is_told_once(database: Database) -> None:
    """The record goes to the destination for successes and nowhere else, and nothing is left."""
    world = World(database)
    world.applied = ALL
    async with dispatching(world):
        await world.accept("e", payload=b'{"n": 1}')
        await world.settle()
    ((origin, service, operation, params),) = world.sent
    assert (service, operation, params["QueueUrl"]) == ("sqs", "SendMessage", "https://sqs.us-east-1.amazonaws.com/000000000000/q")
    record = json.loads(params["MessageBody"])
    assert record["requestContext"]["condition"] == "Success" and record["requestPayload"] == {"n": 1} and record["responsePayload"] == 1
    assert (origin.account, origin.principal, origin.trace_id) == ("000000000000", "", "trace")
    assert await world.left() == (0, 0)


async def test_a_failure_is_told_after_all_retries(database: Database) -> None:
    """Destination and dead-letter queue both hear of it, once, after the third attempt."""
    world = World(database)
    world.applied = ALL
    world.script = lambda request_id, attempt: outcome("Unhandled", ERROR)
    async with dispatching(world):
        await world.accept("e")
        for _ in range(4):
            await world.settle()
            assert (world.sent == []) == (len(world.attempts[RequestId("e")]) < 3)
            world.now_ms += MINUTE_MS
        await world.settle()
    assert sorted(operations(world)) == ["sns:Publish", "sqs:SendMessage"]
    record = json.loads(next(params["Message"] for *_, operation, params in world.sent if operation == "Publish"))
    assert record["requestContext"] | {"functionArn": ""} == {
        "requestId": "e",
        "functionArn": "",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    }
    assert await world.left() == (0, 0)


async def test_retries_and_age_are_those_of_the_configuration(database: Database) -> None:
    """No retry with none allowed; one with an age that leaves room for one, and the last response is told."""
    world = World(database)
    world.applied = replace(ALL, maximum_retry_attempts=0)
    world.script = lambda request_id, attempt: outcome("Unhandled", ERROR)
    async with dispatching(world):
        await world.accept("none")
        await world.settle()
        assert len(world.attempts[RequestId("none")]) == 1 and len(world.sent) == 2
        world.applied = Settings(on_failure=TOPIC, maximum_event_age_ms=90_000)
        await world.accept("one")
        for _ in range(4):
            await world.settle()
            world.now_ms += MINUTE_MS // 2
    assert len(world.attempts[RequestId("one")]) == 2
    record = json.loads(world.sent[-1][3]["Message"])
    assert record["requestContext"]["condition"] == "EventAgeExceeded" and record["requestContext"]["approximateInvokeCount"] == 2
    assert record["responsePayload"] == {"errorMessage": "boom"}


async def test_what_never_ran_is_told_without_a_response(database: Database) -> None:
    """An event that was throttled until it was too old; one of a function that reserves nothing; one found too old after a long stop."""
    world = World(database)
    world.applied = replace(ALL, maximum_event_age_ms=60_000)
    world.script = lambda request_id, attempt: Throttled("x")
    await world.accept("old")
    world.now_ms += 60_001
    async with dispatching(world):
        await world.settle()
        assert world.attempts == {}
        await world.accept("throttled")
        for _ in range(70):
            await world.settle()
            world.now_ms += 1_000
        world.target.reserved_concurrency = 0
        await world.accept("stopped")
        await world.settle()
    records = [json.loads(params["Message"]) for _, service, _, params in world.sent if service == "sns"]
    conditions = [(record["requestContext"]["requestId"], record["requestContext"]["condition"]) for record in records]
    assert conditions == [("old", "EventAgeExceeded"), ("throttled", "EventAgeExceeded"), ("stopped", "ZeroReservedConcurrency")]
    assert all("responseContext" not in record and record["requestContext"]["approximateInvokeCount"] == 0 for record in records)
    codes = [params["MessageAttributes"]["ErrorCode"]["StringValue"] for _, service, _, params in world.sent if service == "sqs"]
    assert codes == ["429", "429", "429"]


async def test_the_last_response_outlives_the_process(database: Database) -> None:
    """An event that ran, failed, and is then throttled until it is too old in another process is told with what it had come to."""
    world = World(database)
    world.applied = replace(ALL, maximum_event_age_ms=100_000)
    world.script = lambda request_id, attempt: outcome("Unhandled", ERROR)
    async with dispatching(world):
        await world.accept("e")
        await world.settle()
    after = World(database)
    after.applied, after.now_ms = world.applied, world.now_ms + MINUTE_MS
    after.script = lambda request_id, attempt: Throttled("x")
    async with dispatching(after):
        for _ in range(50):
            await after.settle()
            after.now_ms += 1_000
    record = json.loads(next(params["Message"] for _, service, _, params in after.sent if service == "sns"))
    assert record["requestContext"]["approximateInvokeCount"] == 1
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert await after.left() == (0, 0)


async def test_destinations_that_are_down_are_waited_for(database: Database) -> None:
    """The event is over, what it has to tell is kept, and told by the next process."""
    world = World(database)
    world.applied, world.unreachable = ALL, True
    async with dispatching(world):
        await world.accept("e")
        await world.settle()
    assert await world.left() == (0, 1)
    after = World(database)
    after.now_ms = world.now_ms + 1_000
    async with dispatching(after):
        await after.settle()
        await after.settle()
    assert operations(after) == ["sqs:SendMessage"] and after.attempts == {}
    assert await after.left() == (0, 0)


async def test_a_function_that_is_gone_tells_nobody(database: Database) -> None:
    """Its events are discarded."""
    world = World(database)
    world.applied, world.missing = ALL, True
    async with dispatching(world):
        await world.accept("e")
        await world.settle()
    assert world.sent == [] and await world.left() == (0, 0)

"""The outbox on a real database, with a clock that the tests move and neighbours that they script."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region
from lambdad.services.outbox import DeadLetter, Delivery, Outbox, migrations, rows
from lambdad.services.ports import Origin
from lambdad.store.database import Database, open_database

ORIGIN = Origin(account=AccountId("000000000000"), region=Region("us-east-1"), principal="sns.amazonaws.com")
DOWN = AwsError("ServiceUnavailable", "down", status=503)
DEAD = DeadLetter(queue_arn="arn:aws:sqs:us-east-1:000000000000:dead", body="letter", error_code_attribute="Code")


def to(queue: str, number: int = 0, **changes: Any) -> Delivery:
    params = {"QueueUrl": queue, "MessageBody": str(number)}
    members: dict[str, Any] = {"maximum_attempts": 3, "maximum_age_s": 3600, **changes}
    return Delivery(origin=ORIGIN, service="sqs", operation="SendMessage", params=params, **members)


class World:
    """A clock, neighbours that do what the test says, and an outbox."""

    def __init__(self, database: Database, **bounds: int) -> None:
        self.database = database
        self.now_ms = 1_000_000
        self.script: Callable[[str, str], AwsError | asyncio.Event | None] = lambda queue, body: None
        self.tried: list[tuple[str, str, int]] = []
        self.arrived: list[tuple[str, str]] = []
        self.outbox = Outbox(database, self, lambda: self.now_ms, jitter=lambda: 0.0, **bounds)

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        assert (service, operation) == ("sqs", "SendMessage")
        queue, body = params["QueueUrl"], params["MessageBody"]
        self.tried.append((queue, body, self.now_ms))
        await asyncio.sleep(0)
        result = self.script(queue, body)
        if isinstance(result, asyncio.Event):
            await result.wait()
        elif result is not None:
            raise result
        self.arrived.append((queue, body))
        return {}

    async def add(self, *deliveries: Delivery) -> None:
        now_ms = self.now_ms
        await self.database.write(lambda connection: self.outbox.add(connection, deliveries, now_ms))
        self.outbox.wake()

    async def left(self) -> int:
        return await self.database.read(rows.count)

    async def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(2000):
            if holds():
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"does not come: {self.outbox.statistics()}")

    async def settle(self) -> None:
        """Wait until nothing is in memory, and nothing is due."""
        now_ms = self.now_ms
        for _ in range(4000):
            self.outbox.wake()
            await asyncio.sleep(0.005)
            statistics = self.outbox.statistics()
            due = await self.database.read(lambda connection: rows.is_due(connection, now_ms))
            if not (statistics.running or statistics.waiting or due):
                return
        raise AssertionError(f"does not settle: {self.outbox.statistics()}")

    @contextlib.asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.outbox.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, migrations=[migrations()], now_ms=lambda: 0) as opened:
        yield opened


async def test_deliveries_arrive_once_and_are_forgotten(database: Database) -> None:
    """Many more than fit into memory arrive at their targets, and leave no rows."""
    world = World(database, in_flight=8, lane_width=4)
    async with world.delivering():
        await world.add(*(to(f"q{n % 7}", n) for n in range(700)))
        await world.until(lambda: world.outbox.statistics().delivered == 700)
        await world.settle()
    assert sorted(int(body) for _, body in world.arrived) == list(range(700))
    assert await world.left() == 0


async def test_what_is_rolled_back_is_not_delivered(database: Database) -> None:
    """A delivery belongs to the transaction that causes it."""
    world = World(database)

    def fails(connection: Any) -> None:
        world.outbox.add(connection, [to("q")], world.now_ms)
        raise KeyError

    async with world.delivering():
        with pytest.raises(KeyError):
            await database.write(fails)
        await world.settle()
    assert world.tried == []


async def test_failures_are_tried_again_with_growing_delays_and_given_up(database: Database) -> None:
    """Three tries in all, then the dead-letter queue hears of it; without one it is dropped."""
    world = World(database)
    world.script = lambda queue, body: None if queue.endswith("/dead") else DOWN
    async with world.delivering():
        await world.add(to("q", 1, dead_letter=DEAD), to("r", 2))
        await world.settle()
        for _ in range(12):
            world.now_ms += 100
            await world.settle()
    assert [at_ms - 1_000_000 for queue, _, at_ms in world.tried if queue == "q"] == [0, 200, 600]
    assert world.arrived == [("https://sqs.us-east-1.amazonaws.com/000000000000/dead", "letter")]
    statistics = world.outbox.statistics()
    assert (statistics.given_up, statistics.dead_lettered, statistics.lost, statistics.retried) == (2, 1, 1, 4)
    assert await world.left() == 0


async def test_final_errors_are_not_tried_again(database: Database) -> None:
    """A queue that does not exist is given up at the first try."""
    world = World(database)
    world.script = lambda queue, body: None if queue.endswith("/dead") else AwsError("QueueDoesNotExist", "no")
    async with world.delivering():
        await world.add(to("q", dead_letter=DEAD))
        await world.until(lambda: len(world.arrived) == 1)
        await world.settle()
    assert len(world.tried) == 2 and await world.left() == 0


async def test_order_is_kept_through_failures(database: Database) -> None:
    """What has an order waits for those before it, however often they fail, and nobody else does."""
    world = World(database)
    failures = {"0": 2, "3": 1, "5": 9}

    def script(queue: str, body: str) -> AwsError | None:
        failures[body] = failures.get(body, 0) - 1
        return DOWN if queue == "q" and failures[body] >= 0 else None

    world.script = script
    async with world.delivering():
        await world.add(*(to("q", n, order_key="k") for n in range(8)), *(to("r", n) for n in range(3)))
        await world.settle()
        assert [queue for queue, _ in world.arrived] == ["r", "r", "r"]
        for _ in range(40):
            world.now_ms += 100
            await world.settle()
        await world.add(to("q", 8, order_key="k"))
        await world.settle()
    assert [body for queue, body in world.arrived if queue == "q"] == list("01234678")
    assert await world.left() == 0


async def test_a_target_that_hangs_holds_nobody_up(database: Database) -> None:
    """With a thousand deliveries to one that never answers before it, another target is served at once."""
    world = World(database, in_flight=16, lane_width=8)
    never = asyncio.Event()
    world.script = lambda queue, body: never if queue == "dead" else None
    async with world.delivering():
        await world.add(*(to("dead", n) for n in range(1000)))
        await world.until(lambda: world.outbox.statistics().running == 8)
        await world.add(*(to("sound", n) for n in range(100)))
        await world.until(lambda: len(world.arrived) == 100)
        await world.until(lambda: world.outbox.statistics().running == 8)  # the sound ones are noted, too
        never.set()
        await world.until(lambda: len(world.arrived) == 1100)


async def test_more_lanes_than_one_look_takes(database: Database) -> None:
    """With more targets than are looked at together, all get their turn, and new ones are seen while others are dead."""
    world = World(database, in_flight=8, lane_width=4)
    world.script = lambda queue, body: DOWN if queue.startswith("dead") else None
    dead = [to(f"dead{n}", maximum_attempts=2) for n in range(300)]
    async with world.delivering():
        await world.add(*dead)
        await world.until(lambda: world.outbox.statistics().retried == 300)
        await world.add(to("aaa", 1), to("zzz", 2))
        await world.until(lambda: len(world.arrived) == 2)
        world.now_ms += 300
        await world.until(lambda: world.outbox.statistics().lost == 300)
        await world.settle()
    assert await world.left() == 0


async def test_deliveries_outlive_their_process(database: Database) -> None:
    """What was under way, what waits for its retry, and what waits for its turn are all made by the next process."""
    world = World(database)
    never = asyncio.Event()
    world.script = lambda queue, body: {"hangs": never, "fails": DOWN}.get(queue)
    async with world.delivering():
        await world.add(to("hangs", 1, order_key="k"), to("fails", 2), to("later", 3, order_key="k"))
        await world.until(lambda: len(world.tried) == 2 and world.outbox.statistics().retried == 1)
        await asyncio.sleep(0.05)
    assert await world.left() == 3
    after = World(database)
    after.now_ms = world.now_ms + 200
    async with after.delivering():
        await after.until(lambda: len(after.arrived) == 3)
        await after.settle()
    order = [queue for queue, _ in after.arrived]
    assert order.index("hangs") < order.index("later")
    assert await after.left() == 0


@pytest.mark.parametrize("seed", range(3))
async def test_order_and_completeness_over_many_lives(database: Database, seed: int) -> None:
    """Whatever fails and whenever the dispatcher ends, all arrive, and of one key none arrives before one that was added earlier."""
    dice = random.Random(seed)
    arrived: list[tuple[str, str]] = []
    keys: dict[str, str] = {}
    now_ms, count = 1_000_000, 0
    for _ in range(12):
        world = World(database, in_flight=8, lane_width=4)
        world.now_ms, world.arrived = now_ms, arrived
        world.script = lambda queue, body: DOWN if dice.random() < 0.3 else None
        async with world.delivering():
            for _ in range(dice.randrange(6)):
                batch = [
                    to(
                        f"q{dice.randrange(3)}",
                        count + n,
                        order_key=dice.choice(["", "a", "b", "c"]),
                        maximum_attempts=10**6,
                        maximum_age_s=10**9,
                    )
                    for n in range(dice.randrange(1, 20))
                ]
                count += len(batch)
                keys.update({each.params["MessageBody"]: each.order_key for each in batch})
                await world.add(*batch)
                await asyncio.sleep(dice.random() / 50)
                world.now_ms += dice.randrange(2_000)
        now_ms = world.now_ms
    last = World(database)
    last.now_ms, last.arrived = now_ms, arrived
    async with last.delivering():
        while await last.left():
            last.now_ms += 400_000
            await last.settle()
    assert {body for _, body in arrived} == {str(n) for n in range(count)}
    for key in "abc":
        numbers = [int(body) for _, body in arrived if keys[body] == key]
        assert numbers == sorted(numbers)


async def test_a_row_that_cannot_be_read_stops_nobody(database: Database) -> None:
    """It is put off, and the rest of its lane goes on."""
    world = World(database)
    await world.add(to("q", 1))
    await database.write(
        lambda connection: connection.run(
            rows.queries.insert_delivery, lane="sqs 000000000000 us-east-1 q", order_key="", now_ms=0, delivery=b"\xc1"
        )
    )
    async with world.delivering():
        await world.until(lambda: len(world.arrived) == 1)
        await world.settle()
    assert await world.left() == 1

"""Pollers against SQS in memory and functions that do as the test says, in fast time."""

import asyncio
import contextlib
import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from fake_sqs import ACCOUNT, REGION, FakeSqs, Queue
from fast_time import run

from lambdad.machines.record_filters import Filters
from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region
from lambdad.pollers.fleet import Fleet
from lambdad.pollers.plans import Plan
from lambdad.pollers.ports import Answered, FunctionFailed, NotRun, Result
from lambdad.pollers.room import Room
from lambdad.services.lambda_.rules.event_source_mappings import QueueReference
from lambdad.services.lambda_.sqs_queues import SqsQueue
from lambdad.services.ports import Origin

Function = Callable[[list[dict[str, Any]]], Awaitable[Result]]
UNREACHABLE = AwsError("ServiceUnavailable", "sqs cannot be reached", status=503)


class Runner:
    """Runs what the test says, and keeps what it was sent."""

    def __init__(self, function: Function | None = None) -> None:
        self.function = function
        self.batches: list[list[str]] = []
        self.events: list[dict[str, Any]] = []
        self.at_s: list[float] = []
        self.running = self.running_most = 0

    async def run(self, payload: bytes) -> Result:
        event = orjson.loads(payload)
        self.events.append(event)
        self.batches.append([record["body"] for record in event["Records"]])
        self.at_s.append(asyncio.get_running_loop().time())
        self.running += 1
        self.running_most = max(self.running_most, self.running)
        try:
            return await self.function(event["Records"]) if self.function is not None else Answered(b"null")
        finally:
            self.running -= 1

    @property
    def bodies(self) -> list[str]:
        return [body for batch in self.batches for body in batch]


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def make_plan(queue: Queue, **changes: Any) -> Plan:
    plan = Plan(
        id="mapping",
        queue_arn=queue.arn,
        region=REGION,
        is_fifo=queue.is_fifo,
        batch_size=10,
        window_s=0,
        function_timeout_s=3,
        filters=Filters(()),
    )
    return replace(plan, **changes)


def source(sqs: FakeSqs, queue: Queue) -> SqsQueue:
    origin = Origin(account=AccountId(ACCOUNT), region=Region(REGION))
    return SqsQueue(sqs, origin, QueueReference(AccountId(ACCOUNT), Region(REGION), queue.name))


@contextlib.asynccontextmanager
async def running(room: Room | None = None) -> AsyncIterator[Fleet]:
    fleet = Fleet(lambda: 0.5, room)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(fleet.run())
        await asyncio.sleep(0)
        try:
            yield fleet
        finally:
            fleet.begin_to_close(60)
            await fleet.close()
            task.cancel()
    assert fleet.statistics().held_bytes == 0


def test_a_record_is_what_aws_sends() -> None:
    """An event has AWS's members and no others, with attributes in its spelling."""

    async def scene() -> None:
        sqs, runner = FakeSqs(), Runner()
        queue = sqs.create()
        attributes = {
            "Author": {"StringValue": "x", "DataType": "String"},
            "Picture": {"BinaryValue": b"\x00\xff", "DataType": "Binary"},
            "Count": {"StringValue": "3", "DataType": "Number"},
        }
        async with running() as fleet:
            sqs.send(queue, "plain")
            sqs.send(queue, '{"a":1}', attributes=attributes)
            fleet.put(make_plan(queue), source(sqs, queue), runner, "")
            await asyncio.sleep(1)
        assert runner.events == [
            {
                "Records": [
                    {
                        "messageId": "00000000-0000-4000-8000-000000000001",
                        "receiptHandle": "receipt-3",
                        "body": "plain",
                        "attributes": {
                            "SenderId": ACCOUNT,
                            "ApproximateFirstReceiveTimestamp": "1000000",
                            "ApproximateReceiveCount": "1",
                            "SentTimestamp": "1000000",
                        },
                        "messageAttributes": {},
                        "md5OfBody": md5("plain"),
                        "eventSource": "aws:sqs",
                        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q",
                        "awsRegion": "us-east-1",
                    },
                    {
                        "messageId": "00000000-0000-4000-8000-000000000002",
                        "receiptHandle": "receipt-4",
                        "body": '{"a":1}',
                        "attributes": {
                            "SenderId": ACCOUNT,
                            "ApproximateFirstReceiveTimestamp": "1000000",
                            "ApproximateReceiveCount": "1",
                            "SentTimestamp": "1000000",
                        },
                        "messageAttributes": {
                            "Author": {"stringValue": "x", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
                            "Picture": {"binaryValue": "AP8=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
                            "Count": {"stringValue": "3", "stringListValues": [], "binaryListValues": [], "dataType": "Number"},
                        },
                        "md5OfMessageAttributes": "ab" * 16,
                        "md5OfBody": md5('{"a":1}'),
                        "eventSource": "aws:sqs",
                        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q",
                        "awsRegion": "us-east-1",
                    },
                ]
            }
        ]

    run(scene())


def test_what_succeeds_is_deleted_by_tens() -> None:
    """A batch that was dealt with is deleted in requests of ten."""

    async def scene() -> None:
        sqs, runner = FakeSqs(), Runner()
        queue = sqs.create()
        sqs.send(queue, *map(str, range(105)))
        async with running() as fleet:
            fleet.put(make_plan(queue, batch_size=50, window_s=1), source(sqs, queue), runner, "")
            await asyncio.sleep(10)
            assert fleet.statistics().deleted == 105
        assert queue.messages == []
        assert sorted(map(int, runner.bodies)) == list(range(105))
        assert sqs.count("DeleteMessageBatch") <= 13

    run(scene())


def test_an_idle_mapping_costs_a_long_poll() -> None:
    """Ten minutes of nothing are thirty receives, and a look at the queue's timeout each minute."""

    async def scene() -> None:
        sqs = FakeSqs()
        queue = sqs.create()
        async with running() as fleet:
            fleet.put(make_plan(queue), source(sqs, queue), Runner(), "")
            await asyncio.sleep(599)
            assert sqs.count("ReceiveMessage") == 30
            assert sqs.count("GetQueueAttributes") <= 11
            assert {params["WaitTimeSeconds"] for operation, params in sqs.calls if operation == "ReceiveMessage"} == {20}

    run(scene())


def test_what_fails_comes_again_by_its_timeout_and_ends_as_a_dead_letter() -> None:
    """Nothing is done with the messages of a function that fails; the queue has its way with them."""

    async def scene() -> None:
        async def fail(records: Sequence[dict[str, Any]]) -> Result:
            return FunctionFailed()

        sqs, runner = FakeSqs(), Runner(fail)
        dead = sqs.create("dead")
        queue = sqs.create(maximum_receives=3, dead_letters=dead)
        sqs.send(queue, "a", "b")
        async with running() as fleet:
            fleet.put(make_plan(queue), source(sqs, queue), runner, "")
            await asyncio.sleep(200)
        assert runner.batches == [["a", "b"]] * 3
        assert [round(at_s - runner.at_s[0]) for at_s in runner.at_s] == [0, 30, 60]
        assert [message.body for message in dead.messages] == ["a", "b"]
        assert sqs.count("ChangeMessageVisibilityBatch") == sqs.count("DeleteMessageBatch") == 0

    run(scene())


def test_what_is_reported_comes_again() -> None:
    """Of a batch whose function reports failures, the rest is deleted."""

    async def scene() -> None:
        async def report(records: Sequence[dict[str, Any]]) -> Result:
            failed = [record["messageId"] for record in records if record["body"] == "b"]
            return Answered(orjson.dumps({"batchItemFailures": [{"itemIdentifier": each} for each in failed]}))

        sqs, runner = FakeSqs(), Runner(report)
        queue = sqs.create()
        sqs.send(queue, "a", "b", "c")
        async with running() as fleet:
            fleet.put(make_plan(queue, reports_failures=True), source(sqs, queue), runner, "")
            await asyncio.sleep(35)
            fleet.put(make_plan(queue, reports_failures=False), source(sqs, queue), runner, "")
            await asyncio.sleep(35)
        assert runner.batches == [["a", "b", "c"], ["b"], ["b"]]
        assert queue.messages == []

    run(scene())


def test_what_no_filter_lets_pass_is_deleted() -> None:
    """Messages that are not for the function are gone at once, and it does not hear of them."""

    async def scene() -> None:
        sqs, runner = FakeSqs(), Runner()
        queue = sqs.create()
        sqs.send(queue, '{"kind":"a"}', '{"kind":"b"}', "kind a")
        async with running() as fleet:
            plan = make_plan(queue, filters=Filters(['{"body":{"kind":["a"]}}']))
            fleet.put(plan, source(sqs, queue), runner, "")
            await asyncio.sleep(1)
            assert fleet.statistics().filtered == 2
        assert runner.bodies == ['{"kind":"a"}']
        assert queue.messages == []

    run(scene())


def test_a_window_is_waited_for() -> None:
    """Messages that trickle in are one batch when the window is over; a full batch goes at once."""

    async def scene() -> None:
        sqs, runner = FakeSqs(), Runner()
        queue = sqs.create()
        async with running() as fleet:
            fleet.put(make_plan(queue, batch_size=20, window_s=2), source(sqs, queue), runner, "")
            for number in range(8):
                await asyncio.sleep(0.3)
                sqs.send(queue, str(number))
            await asyncio.sleep(10)
            assert runner.batches[0] == ["0", "1", "2", "3", "4", "5", "6"]
            begun_s = asyncio.get_running_loop().time()
            sqs.send(queue, *map(str, range(100, 120)))
            await asyncio.sleep(10)
            assert len(runner.batches[-1]) == 20
            assert runner.at_s[-1] - begun_s < 0.1

    run(scene())


def test_a_long_window_holds_messages_for_longer() -> None:
    """Where window and function take longer than the queue's timeout, messages are received for as long as both, and half a minute."""

    async def scene() -> None:
        sqs = FakeSqs()
        queue = sqs.create()
        async with running() as fleet:
            fleet.put(make_plan(queue, batch_size=100, window_s=60), source(sqs, queue), Runner(), "")
            await asyncio.sleep(1)
            assert sqs.calls[-1][1]["VisibilityTimeout"] == 93
            fleet.put(make_plan(queue), source(sqs, queue), Runner(), "")
            sqs.send(queue, "a")
            await asyncio.sleep(1)
            assert "VisibilityTimeout" not in [params for operation, params in sqs.calls if operation == "ReceiveMessage"][-1]

    run(scene())


@pytest.mark.parametrize(("maximum", "expected"), [(None, 5), (2, 2), (3, 3)])
def test_concurrency_begins_at_five_or_the_maximum(maximum: int | None, expected: int) -> None:
    """A mapping does not run its function more often at once than it may."""

    async def scene() -> None:
        async def work(records: Sequence[dict[str, Any]]) -> Result:
            await asyncio.sleep(0.5)
            return Answered(b"")

        sqs, runner = FakeSqs(), Runner(work)
        queue = sqs.create()
        sqs.send(queue, *map(str, range(200)))
        async with running() as fleet:
            fleet.put(make_plan(queue, batch_size=1, maximum_concurrency=maximum), source(sqs, queue), runner, "")
            await asyncio.sleep(0.9)
            assert runner.running_most == expected
            await asyncio.sleep(60)
        assert sorted(map(int, runner.bodies)) == list(range(200))
        if maximum is not None:
            assert runner.running_most == maximum

    run(scene())


def test_a_backlog_brings_three_hundred_more_a_minute() -> None:
    """While there is a backlog, concurrency grows by five a second; provisioned pollers begin with twenty and grow faster."""

    async def scene() -> None:
        async def work(records: Sequence[dict[str, Any]]) -> Result:
            await asyncio.sleep(20)
            return Answered(b"")

        for pollers, after_10_s in ((None, 55), ((2, 200), 186)):
            sqs, runner = FakeSqs(), Runner(work)
            queue = sqs.create()
            sqs.send(queue, *map(str, range(1000)))
            async with running() as fleet:
                fleet.put(make_plan(queue, batch_size=1, pollers=pollers, function_timeout_s=20), source(sqs, queue), runner, "")
                await asyncio.sleep(10.5)
                assert runner.running == pytest.approx(after_10_s, abs=2)
                sqs.queues.clear()

    run(scene())


def test_throttles_are_waited_out() -> None:
    """A function that is throttled for a while gets its messages then, and they are received once."""

    async def scene() -> None:
        async def throttled(records: Sequence[dict[str, Any]]) -> Result:
            return NotRun("throttled") if asyncio.get_running_loop().time() < 1008 else Answered(b"")

        sqs, runner = FakeSqs(), Runner(throttled)
        queue = sqs.create()
        sqs.send(queue, "a")
        async with running() as fleet:
            fleet.put(make_plan(queue), source(sqs, queue), runner, "")
            await asyncio.sleep(20)
            assert fleet.statistics().throttles == len(runner.batches) - 1 < 10
        assert {record["attributes"]["ApproximateReceiveCount"] for event in runner.events for record in event["Records"]} == {"1"}
        assert queue.messages == []

    run(scene())


def test_a_reserved_concurrency_is_not_run_against_for_long() -> None:
    """A function that may run twice at once works its queue off with few throttles, and nothing becomes a dead letter."""

    async def scene() -> None:
        active = 0

        async def reserved(records: Sequence[dict[str, Any]]) -> Result:
            nonlocal active
            if active >= 2:
                return NotRun("throttled")
            active += 1
            await asyncio.sleep(0.2)
            active -= 1
            return Answered(b"")

        sqs, runner = FakeSqs(), Runner(reserved)
        dead = sqs.create("dead")
        queue = sqs.create(maximum_receives=2, dead_letters=dead)
        sqs.send(queue, *map(str, range(600)))
        async with running() as fleet:
            fleet.put(make_plan(queue, batch_size=1), source(sqs, queue), runner, "")
            await asyncio.sleep(120)
            assert fleet.statistics().deleted == 600
        assert dead.messages == [] and queue.messages == []

    run(scene())


def test_a_halted_mapping_receives_nothing() -> None:
    """While the function cannot be invoked its messages stay where they are; then it goes on by itself."""

    async def scene() -> None:
        sqs, runner = FakeSqs(), Runner()
        queue = sqs.create()
        async with running() as fleet:
            fleet.put(make_plan(queue), source(sqs, queue), runner, "no such function")
            sqs.send(queue, "a")
            await asyncio.sleep(100)
            assert sqs.calls == [] and fleet.problem("mapping") == "no such function"
            fleet.resume("mapping")
            await asyncio.sleep(1)
            assert runner.bodies == ["a"] and fleet.problem("mapping") == ""
            fleet.halt("mapping", "gone again")
            sqs.send(queue, "b")
            await asyncio.sleep(100)
            assert runner.bodies == ["a"]
            assert [message.receives for message in queue.messages] == [0]

    run(scene())


def test_a_queue_that_is_gone_is_said_and_looked_for() -> None:
    """A mapping says that its queue does not exist, asks ever more rarely, and goes on when there is one again."""

    async def scene() -> None:
        sqs, runner = FakeSqs(), Runner()
        queue = sqs.create()
        async with running() as fleet:
            fleet.put(make_plan(queue), source(sqs, queue), runner, "")
            await asyncio.sleep(1)
            del sqs.queues["q"]
            await asyncio.sleep(600)
            assert fleet.problem("mapping") == (
                "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
                "SQS Error Message: The specified queue does not exist."
            )
            assert len(sqs.calls) < 30
            sqs.send(sqs.create(), "a")
            await asyncio.sleep(61)
            assert runner.bodies == ["a"] and fleet.problem("mapping") == ""

    run(scene())


def test_removing_a_mapping_waits_for_what_runs() -> None:
    """A mapping that is disabled finishes its batches, deletes them, and receives nothing more."""

    async def scene() -> None:
        async def work(records: Sequence[dict[str, Any]]) -> Result:
            await asyncio.sleep(10)
            return Answered(b"")

        sqs, runner = FakeSqs(), Runner(work)
        queue = sqs.create()
        sqs.send(queue, "a")
        async with running() as fleet:
            fleet.put(make_plan(queue), source(sqs, queue), runner, "")
            await asyncio.sleep(1)
            begun_s = asyncio.get_running_loop().time()
            await fleet.remove("mapping")
            assert asyncio.get_running_loop().time() - begun_s == pytest.approx(9, abs=0.1)
            assert queue.messages == []
            sqs.send(queue, "b")
            await asyncio.sleep(100)
        assert runner.bodies == ["a"]

    run(scene())


def test_two_mappings_compete_for_a_queue() -> None:
    """Each message of a queue with two mappings is for one of them."""

    async def scene() -> None:
        sqs, one, other = FakeSqs(), Runner(), Runner()
        queue = sqs.create()
        async with running() as fleet:
            fleet.put(make_plan(queue, id="one", batch_size=1), source(sqs, queue), one, "")
            fleet.put(make_plan(queue, id="other", batch_size=1), source(sqs, queue), other, "")
            for number in range(100):
                sqs.send(queue, str(number))
                await asyncio.sleep(0.01)
            await asyncio.sleep(30)
        assert sorted(map(int, one.bodies + other.bodies)) == list(range(100))
        assert one.bodies and other.bodies

    run(scene())


def test_held_messages_are_bounded() -> None:
    """While too many bytes are held nothing more is received but for what is under way; it goes on when there is room."""

    async def scene() -> None:
        async def work(records: Sequence[dict[str, Any]]) -> Result:
            await asyncio.sleep(1)
            return Answered(b"")

        sqs, runner = FakeSqs(), Runner(work)
        queue = sqs.create()
        sqs.send(queue, *["x" * 100_000] * 300)
        most = 0
        async with running(Room(limit_bytes=1_000_000)) as fleet:
            fleet.put(make_plan(queue), source(sqs, queue), runner, "")
            for _ in range(300):
                await asyncio.sleep(0.2)
                most = max(most, fleet.statistics().held_bytes)
        assert len(runner.bodies) == 300
        assert 1_000_000 <= most < 11_000_000  # ten receives of ten messages each were under way

    run(scene())


def test_a_poller_that_breaks_is_made_anew() -> None:
    """A fault that nobody foresaw costs some seconds and no message."""

    async def scene() -> None:
        faults = 1

        async def broken(records: Sequence[dict[str, Any]]) -> Result:
            nonlocal faults
            if faults:
                faults -= 1
                raise RuntimeError("a fault of the runner")
            return Answered(b"")

        sqs, runner = FakeSqs(), Runner(broken)
        queue = sqs.create()
        sqs.send(queue, "a")
        async with running() as fleet:
            fleet.put(make_plan(queue), source(sqs, queue), runner, "")
            await asyncio.sleep(40)
        assert runner.bodies == ["a", "a"]
        assert queue.messages == []

    run(scene())


@pytest.mark.parametrize("is_fifo", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_whatever_happens(seed: int, is_fifo: bool) -> None:
    """A function that fails and reports, an SQS that fails, pollers that are killed: nothing is lost, groups keep their order."""

    async def scene() -> None:
        chance = random.Random(seed)
        processed: list[tuple[str, str]] = []

        async def work(records: Sequence[dict[str, Any]]) -> Result:
            await asyncio.sleep(chance.random() * 3)
            what = chance.random()
            if what < 0.1:
                return NotRun("throttled")
            if what < 0.2:
                return FunctionFailed()
            good = len(records) if what < 0.6 else chance.randrange(len(records) + 1)
            done, failed = records[:good], records[good:]
            processed.extend((record["attributes"].get("MessageGroupId", ""), record["body"]) for record in done)
            return Answered(orjson.dumps({"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in failed]}))

        sqs, runner = FakeSqs(), Runner(work)
        dead = sqs.create("dead.fifo" if is_fifo else "dead")
        queue = sqs.create("q.fifo" if is_fifo else "q", maximum_receives=None if is_fifo else 8, dead_letters=dead)
        sent = [str(number) for number in range(400)]
        groups = {body: f"g{int(body) % 7}" for body in sent} if is_fifo else {}
        for body in sent:
            sqs.send(queue, body, group=groups.get(body, ""))
        for _ in range(40):
            if not queue.messages:
                break
            fleet = Fleet(chance.random)
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(fleet.run())
                fleet.put(make_plan(queue, reports_failures=True), source(sqs, queue), runner, "")
                for _ in range(20):
                    await asyncio.sleep(chance.random() * 8)
                    if chance.random() < 0.2:
                        sqs.failures.append(UNREACHABLE)
                task.cancel()  # as kill -9: nothing is given back
        sqs.failures.clear()
        fleet = Fleet(chance.random)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(fleet.run())
            fleet.put(make_plan(queue, reports_failures=True), source(sqs, queue), runner, "")
            async with asyncio.timeout(100_000):
                while queue.messages:
                    await asyncio.sleep(60)
            task.cancel()
        done = Counter(body for _, body in processed)
        dead_bodies = {message.body for message in dead.messages}
        assert set(sent) == set(done) | dead_bodies
        if is_fifo:
            last: defaultdict[str, int] = defaultdict(lambda: -1)
            first_done: dict[str, None] = dict.fromkeys(body for _, body in processed)
            for body in first_done:
                group = groups[body]
                assert int(body) > last[group], "a message overtook another one of its group"
                last[group] = int(body)

    run(scene())

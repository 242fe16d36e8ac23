"""Dead-letter queues and message move tasks, on both databases."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqs_house import START_MS, Clock, Sqs, arn, opened

from lambdad.services.sqs import errors


@pytest.fixture
async def sqs(database_url: str) -> AsyncIterator[Sqs]:
    async with opened(database_url, Clock(), window=20) as running:
        yield running


def redrive(name: str, count: int) -> str:
    return json.dumps({"deadLetterTargetArn": arn(name), "maxReceiveCount": count})


async def pair(sqs: Sqs, suffix: str = "", count: int = 2) -> tuple[str, str]:
    """Make a queue and its dead-letter queue."""
    more = {"ContentBasedDeduplication": "true"} if suffix else {}
    dead = await sqs.queue(f"dead{suffix}", **more)
    source = await sqs.queue(f"q{suffix}", RedrivePolicy=redrive(f"dead{suffix}", count), VisibilityTimeout="10", **more)
    return source, dead


async def fail(sqs: Sqs, url: str, times: int) -> None:
    """Receive everything so often, and never delete it."""
    for _ in range(times):
        while await sqs.receive(url):
            pass
        sqs.wait(10)


async def test_a_message_that_fails_comes_to_the_dead_letter_queue(sqs: Sqs) -> None:
    """After the last receive that is allowed, the next one moves the message; it is the same message there."""
    source, dead = await pair(sqs)
    sent = await sqs("SendMessage", QueueUrl=source, MessageBody="m")
    await fail(sqs, source, 2)
    assert await sqs.bodies(dead) == []
    assert await sqs.bodies(source) == []
    assert await sqs.counts(source) == (0, 0, 0)
    (message,) = await sqs.receive(dead)
    assert message["MessageId"] == sent["MessageId"]
    assert message["Attributes"]["DeadLetterQueueSourceArn"] == arn("q")
    assert message["Attributes"]["SentTimestamp"] == str(START_MS)
    assert message["Attributes"]["ApproximateReceiveCount"] == "3"  # across all queues
    listed = await sqs("ListDeadLetterSourceQueues", QueueUrl=dead)
    assert listed == {"queueUrls": [source]}


async def test_others_are_received_meanwhile(sqs: Sqs) -> None:
    """What is moved does not hold up what can be received."""
    source, dead = await pair(sqs, count=1)
    await sqs.send(source, *[f"bad{number}" for number in range(25)])
    await fail(sqs, source, 1)
    await sqs.send(source, "good")
    assert await sqs.bodies(source) == ["good"]
    found: list[str] = []
    while got := await sqs.bodies(dead):
        found += got
    assert sorted(found) == sorted(f"bad{number}" for number in range(25))


async def test_long_polls_hear_of_dead_messages(sqs: Sqs) -> None:
    """Who waits at the dead-letter queue gets a message as soon as it comes there."""
    source, dead = await pair(sqs, count=1)
    await sqs.send(source, "m")
    await fail(sqs, source, 1)
    at_source = asyncio.ensure_future(sqs.bodies(source, WaitTimeSeconds=1))
    assert await sqs.bodies(dead, WaitTimeSeconds=20) == ["m"]
    assert await at_source == []


async def test_order_in_fifo_queues(sqs: Sqs) -> None:
    """A group's next message is not received before the dead one is away, and the dead come in order."""
    source, dead = await pair(sqs, ".fifo", count=1)
    for number in range(6):
        await sqs.send(source, f"m{number}", MessageGroupId="g")
    assert await sqs.bodies(source, 2) == ["m0", "m1"]
    sqs.wait(10)
    assert await sqs.bodies(source, 2) == ["m2", "m3"]
    sqs.wait(10)
    assert await sqs.bodies(source, 2) == ["m4", "m5"]
    got = await sqs.receive(dead)
    assert [message["Body"] for message in got] == ["m0", "m1", "m2", "m3"]
    assert got[0]["Attributes"]["MessageGroupId"] == "g"


async def test_counts_and_moves_survive_a_kill(database_url: str) -> None:
    """How often a message was received is known after a kill, once it was written down; what was moved is moved."""
    clock = Clock()
    async with opened(database_url, clock, kill=True) as sqs:
        source, dead = await pair(sqs)
        await sqs.send(source, "m")
        await fail(sqs, source, 2)
        await sqs.service.upkeep.flush()
    async with opened(database_url, clock, kill=True) as sqs:
        assert await sqs.bodies(source) == []
    async with opened(database_url, clock) as sqs:
        assert await sqs.bodies(dead) == ["m"]
        assert await sqs.counts(source) == (0, 0, 0)


async def test_policies_are_checked(sqs: Sqs) -> None:
    """A dead-letter queue must be there, be of the same type, and allow it."""
    await sqs.queue("dead")
    await sqs.queue("dead.fifo")

    async def refused(policy: str) -> str:
        code, message = await sqs.refused("CreateQueue", QueueName="q", Attributes={"RedrivePolicy": policy})
        assert code == "InvalidParameterValue"
        return str(message)

    assert (await refused(redrive("none", 1))).endswith("Reason: Dead letter target does not exist.")
    assert (await refused(redrive("dead.fifo", 1))).endswith("Reason: Dead-letter queue must be same type of queue as the source.")
    assert (await refused(redrive("dead", 0))).endswith(
        "Invalid value for maxReceiveCount: 0, valid values are from 1 to 1000 both inclusive."
    )
    assert (await refused('{"deadLetterTargetArn": "x"}')).endswith("Redrive policy does not contain mandatory attribute: maxReceiveCount.")
    assert (await refused("[]")).endswith("Redrive policy is not a valid JSON map.")
    await sqs("SetQueueAttributes", QueueUrl="dead", Attributes={"RedriveAllowPolicy": '{"redrivePermission": "denyAll"}'})
    assert "RedriveAllowPolicy" in await refused(redrive("dead", 1))
    allowed = json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [arn("q")]})
    await sqs("SetQueueAttributes", QueueUrl="dead", Attributes={"RedriveAllowPolicy": allowed})
    url = await sqs.queue("q", RedrivePolicy=redrive("dead", 1))
    found = await sqs("GetQueueAttributes", QueueUrl=url, AttributeNames=["RedrivePolicy"])
    assert json.loads(found["Attributes"]["RedrivePolicy"]) == {"deadLetterTargetArn": arn("dead"), "maxReceiveCount": 1}
    await sqs("SetQueueAttributes", QueueUrl=url, Attributes={"RedrivePolicy": ""})
    assert await sqs("GetQueueAttributes", QueueUrl=url, AttributeNames=["RedrivePolicy"]) == {}


async def finished(sqs: Sqs, name: str = "dead") -> dict[str, Any]:
    """Wait for the last task of a queue."""
    while True:
        (task, *_) = (await sqs("ListMessageMoveTasks", SourceArn=arn(name)))["Results"]
        if task["Status"] not in ("RUNNING", "CANCELLING"):
            return dict(task)
        await asyncio.sleep(0)


async def test_messages_are_moved_back(sqs: Sqs) -> None:
    """A task moves messages to where they came from, as new messages, also more than are in memory."""
    source, dead = await pair(sqs, count=1)
    sent = await sqs("SendMessage", QueueUrl=source, MessageBody="m0")
    await sqs.send(source, *[f"m{number}" for number in range(1, 60)])
    await fail(sqs, source, 1)
    assert await sqs.bodies(source) == []
    assert await sqs.bodies(source) == []
    assert (await sqs.counts(dead))[0] == 60
    started = await sqs("StartMessageMoveTask", SourceArn=arn("dead"))
    task = await finished(sqs)
    assert task == {
        "Status": "COMPLETED",
        "SourceArn": arn("dead"),
        "ApproximateNumberOfMessagesMoved": 60,
        "ApproximateNumberOfMessagesToMove": 60,
        "StartedTimestamp": sqs.clock.ms,
    }
    got: list[dict[str, Any]] = []
    while more := await sqs.receive(source):
        got += more
    assert len(got) == 60
    assert all(message["Attributes"]["ApproximateReceiveCount"] == "1" for message in got)
    assert all("DeadLetterQueueSourceArn" not in message["Attributes"] for message in got)
    assert sent["MessageId"] not in {message["MessageId"] for message in got}
    with pytest.raises(errors.UnsupportedOperation):
        await sqs("CancelMessageMoveTask", TaskHandle=started["TaskHandle"])


async def test_messages_are_moved_elsewhere_at_a_rate(database_url: str) -> None:
    """A task goes where it is told, no faster than it is told, can be cancelled, and goes on after a kill."""
    clock = Clock()
    async with opened(database_url, clock, kill=True) as sqs:
        _, dead = await pair(sqs)
        other = await sqs.queue("other")
        await sqs.send(dead, *[f"m{number}" for number in range(30)])
        more = {"SourceArn": arn("dead"), "DestinationArn": arn("other"), "MaxNumberOfMessagesPerSecond": 5}
        await sqs("StartMessageMoveTask", **more)
        assert (await sqs.refused("StartMessageMoveTask", SourceArn=arn("dead"))) == (
            "UnsupportedOperation",
            "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
        )
        assert await sqs.bodies(other, 1, WaitTimeSeconds=20)
    async with opened(database_url, clock) as sqs:
        assert await sqs.bodies(other, 1, WaitTimeSeconds=20)
        (task,) = (await sqs("ListMessageMoveTasks", SourceArn=arn("dead"), MaxResults=10))["Results"]
        assert task["Status"] == "RUNNING"
        assert task["MaxNumberOfMessagesPerSecond"] == 5
        cancelled = await sqs("CancelMessageMoveTask", TaskHandle=task["TaskHandle"])
        assert 1 <= cancelled["ApproximateNumberOfMessagesMoved"] < 30
        task = await finished(sqs)
        assert task["Status"] == "CANCELLED"
        assert (await sqs.counts(dead))[0] == 30 - task["ApproximateNumberOfMessagesMoved"]


async def test_tasks_that_cannot_go_on_fail(sqs: Sqs) -> None:
    """A message that does not say where it came from cannot be moved there, and stays."""
    _, dead = await pair(sqs)
    await sqs.send(dead, "m")
    await sqs("StartMessageMoveTask", SourceArn=arn("dead"))
    task = await finished(sqs)
    assert (task["Status"], task["FailureReason"]) == ("FAILED", "CouldNotDetermineMessageSource")
    assert await sqs.bodies(dead) == ["m"]


async def test_tasks_are_refused(sqs: Sqs) -> None:
    """Sources that are no dead-letter queues, queues and tasks that are not there, rates out of range."""
    await pair(sqs)

    async def refused(**request: Any) -> tuple[str, str | None]:
        return await sqs.refused("StartMessageMoveTask", **request)

    missing = "The resource that you specified for the {} parameter doesn't exist."
    assert await refused(SourceArn=arn("none")) == ("ResourceNotFoundException", missing.format("SourceArn"))
    assert await refused(SourceArn=arn("dead"), DestinationArn=arn("none")) == (
        "ResourceNotFoundException",
        missing.format("DestinationArn"),
    )
    assert await refused(SourceArn=arn("q")) == ("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
    assert (await refused(SourceArn=arn("dead"), MaxNumberOfMessagesPerSecond=501))[0] == "InvalidParameterValue"
    assert (await refused())[0] == "MissingParameter"
    assert (await sqs.refused("CancelMessageMoveTask", TaskHandle="x"))[0] == "InvalidParameterValue"
    assert (await sqs.refused("ListMessageMoveTasks", SourceArn=arn("dead"), MaxResults=11))[0] == "InvalidParameterValue"
    assert await sqs("ListMessageMoveTasks", SourceArn=arn("dead")) == {"Results": []}

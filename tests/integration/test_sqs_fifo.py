"""FIFO queues: groups, order, de-duplication, receive attempts; on both databases."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqs_house import Clock, Sqs, opened

from lambdad.services.sqs import errors


@pytest.fixture
async def sqs(database_url: str) -> AsyncIterator[Sqs]:
    async with opened(database_url, Clock(), window=20) as running:
        yield running


async def send(sqs: Sqs, url: str, *bodies: str) -> None:
    """Send "a1" to group a, and so on."""
    for body in bodies:
        await sqs("SendMessage", QueueUrl=url, MessageBody=body, MessageGroupId=body[0])


async def test_groups_are_locked_and_in_order(sqs: Sqs) -> None:
    """While messages of a group are in flight the others wait; other groups do not."""
    url = await sqs.queue("q.fifo", ContentBasedDeduplication="true")
    await send(sqs, url, "a1", "b1", "a2", "a3", "b2", "c1")
    first = await sqs.receive(url, 2)
    assert [message["Body"] for message in first] == ["a1", "a2"]
    numbers = [int(message["Attributes"]["SequenceNumber"]) for message in first]
    assert numbers == sorted(numbers)
    assert all(len(str(number)) == 20 for number in numbers)
    assert first[0]["Attributes"]["MessageGroupId"] == "a"
    second = await sqs.receive(url, 10)
    assert [message["Body"] for message in second] == ["b1", "b2", "c1"]
    await sqs.delete(url, first[1])
    assert await sqs.bodies(url) == []
    await sqs.delete(url, first[0])
    assert await sqs.bodies(url) == ["a3"]


async def test_order_survives_visibility_timeouts(sqs: Sqs) -> None:
    """What comes back comes before what was sent later; a handle that has expired neither deletes nor changes anything."""
    url = await sqs.queue("q.fifo", ContentBasedDeduplication="true", VisibilityTimeout="10")
    await send(sqs, url, "a1", "a2", "a3")
    (first,) = await sqs.receive(url, 1)
    sqs.wait(10)
    reason = "The receipt handle has expired."
    with pytest.raises(errors.InvalidParameterValue, match=reason):
        await sqs.delete(url, first)
    with pytest.raises(errors.InvalidParameterValue, match=reason):
        await sqs("ChangeMessageVisibility", QueueUrl=url, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=1)
    again = await sqs.receive(url)
    assert [message["Body"] for message in again] == ["a1", "a2", "a3"]
    with pytest.raises(errors.InvalidParameterValue, match=reason):
        await sqs.delete(url, first)
    await sqs.delete(url, again[0])
    await sqs.delete(url, again[0])  # what is gone may be deleted again
    await sqs("ChangeMessageVisibility", QueueUrl=url, ReceiptHandle=again[1]["ReceiptHandle"], VisibilityTimeout=0)
    assert await sqs.bodies(url) == []  # a3 is still in flight
    sqs.wait(10)
    assert await sqs.bodies(url) == ["a2", "a3"]


async def test_long_polls_wait_for_groups(sqs: Sqs) -> None:
    """Who waits gets the next of a group as soon as it is free."""
    url = await sqs.queue("q.fifo", ContentBasedDeduplication="true")
    await send(sqs, url, "a1", "a2")
    received = await sqs.receive(url, 1)
    waiting = asyncio.ensure_future(sqs.bodies(url, WaitTimeSeconds=20))
    await asyncio.sleep(0)
    await sqs.delete(url, *received)
    assert await waiting == ["a2"]


async def test_deduplication(sqs: Sqs) -> None:
    """For five minutes the same id is the same message, whatever has become of it; in the scope that the queue says."""
    url = await sqs.queue("q.fifo")

    async def sent(deduplication_id: str, group: str = "g", body: str = "m") -> tuple[str, str]:
        answer = await sqs("SendMessage", QueueUrl=url, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=deduplication_id)
        return answer["MessageId"], answer["SequenceNumber"]

    first = await sent("1")
    assert await sent("1", body="other") == first
    assert await sent("1", group="h") == first
    (received,) = await sqs.receive(url)
    assert received["Attributes"]["MessageDeduplicationId"] == "1"
    await sqs.delete(url, received)
    sqs.wait(299)
    assert await sent("1") == first
    assert await sqs.bodies(url) == []
    sqs.wait(1)
    assert await sent("1") != first
    await sqs.service.upkeep.sweep()
    assert len(await sqs.bodies(url)) == 1
    attributes = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    await sqs("SetQueueAttributes", QueueUrl=url, Attributes=attributes)
    one, other = await sent("2"), await sent("2", group="h")
    assert one != other
    assert await sent("2", group="h") == other
    entries = [{"Id": each, "MessageBody": "m", "MessageGroupId": "g", "MessageDeduplicationId": "3"} for each in "ab"]
    twins = (await sqs("SendMessageBatch", QueueUrl=url, Entries=entries))["Successful"]
    assert twins[0]["MessageId"] == twins[1]["MessageId"]
    assert (await sqs.counts(url))[0] == 3  # but for the one in flight


async def test_deduplication_survives_a_kill(database_url: str) -> None:
    """What was sent before the program was killed is not sent again after it."""
    clock = Clock()
    more = {"MessageGroupId": "g", "MessageDeduplicationId": "1"}
    async with opened(database_url, clock, kill=True) as sqs:
        url = await sqs.queue("q.fifo")
        first = await sqs("SendMessage", QueueUrl=url, MessageBody="m", **more)
    async with opened(database_url, clock) as sqs:
        assert await sqs("SendMessage", QueueUrl=url, MessageBody="m", **more) == first
        assert await sqs.bodies(url) == ["m"]


async def test_order_survives_a_kill(database_url: str) -> None:
    """After a kill the messages of each group come again in order, those that were in flight first, and new ones last."""
    clock = Clock()
    async with opened(database_url, clock, kill=True) as sqs:
        url = await sqs.queue("q.fifo", ContentBasedDeduplication="true", VisibilityTimeout="30")
        await send(sqs, url, *[f"{group}{number:02}" for number in range(20) for group in "ab"])
        received = await sqs.receive(url, 3)
        await sqs.delete(url, received[0])
        await sqs.service.upkeep.flush()
        more = await sqs.receive(url, 2)
        assert [message["Body"] for message in more] == ["b00", "b01"]
    async with opened(database_url, clock, window=50) as sqs:
        await send(sqs, url, "a99", "b99")
        await sqs.delete(url, more[0])  # received shortly before the kill, and deleted after it
        found: list[str] = []
        while got := await sqs.receive(url, 3):
            found += [message["Body"] for message in got]
            await sqs.delete(url, *got)
        assert found == [f"b{number:02}" for number in range(1, 20)] + ["b99"]
        sqs.wait(30)  # what was written down of group a's receive counts
        found.clear()
        while got := await sqs.receive(url, 3):
            assert int(got[0]["Attributes"]["ApproximateReceiveCount"]) == (2 if got[0]["Body"] in ("a01", "a02") else 1)
            found += [message["Body"] for message in got]
            await sqs.delete(url, *got)
        assert found == [f"a{number:02}" for number in range(1, 20)] + ["a99"]


async def test_receive_attempts(sqs: Sqs) -> None:
    """A receive that is tried again gives the same messages and handles, as long as nothing has happened to them."""
    url = await sqs.queue("q.fifo", ContentBasedDeduplication="true", VisibilityTimeout="10")
    await send(sqs, url, "a1", "a2", "b1")
    first = await sqs.receive(url, 2, ReceiveRequestAttemptId="try")
    sqs.wait(5)
    again = await sqs.receive(url, 2, ReceiveRequestAttemptId="try")
    assert again == first
    sqs.wait(6)  # the visibility has begun anew
    assert await sqs.bodies(url, 2, ReceiveRequestAttemptId="other") == ["b1"]
    await sqs.delete(url, first[0])
    assert await sqs.bodies(url, 2, ReceiveRequestAttemptId="try") == []
    sqs.wait(10)
    assert await sqs.bodies(url, 2, ReceiveRequestAttemptId="try") == ["a2", "b1"]


async def test_delays_hold_groups_up(sqs: Sqs) -> None:
    """A delay of the queue delays each message, and never turns the order round."""
    url = await sqs.queue("q.fifo", ContentBasedDeduplication="true", DelaySeconds="10")
    await send(sqs, url, "a1")
    await sqs("SetQueueAttributes", QueueUrl=url, Attributes={"DelaySeconds": "0"})
    await send(sqs, url, "a2", "b1")
    assert await sqs.bodies(url) == ["b1"]
    sqs.wait(10)
    assert await sqs.bodies(url) == ["a1", "a2"]


async def test_a_backlog_larger_than_memory_stays_in_order(sqs: Sqs) -> None:
    """Of a long backlog only the head is in memory, and each group comes in order all the same."""
    url = await sqs.queue("q.fifo", ContentBasedDeduplication="true")
    await send(sqs, url, *[f"{'abc'[number % 3]}{number:03}" for number in range(90)])
    assert sqs.service.statistics().messages_spilled == 70
    found: list[str] = []
    while got := await sqs.receive(url, 7):
        found += [message["Body"] for message in got]
        await sqs.delete(url, *got)
    for group in "abc":
        own = [body for body in found if body[0] == group]
        assert own == sorted(own)
    assert len(found) == 90

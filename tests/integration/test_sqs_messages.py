"""Messages of standard queues: sending, receiving, visibility, deletion, expiry; on both databases."""

import asyncio
import contextlib
import hashlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqs_house import ACCOUNT, ENDPOINT, START_MS, Clock, Sqs, arn, opened

from lambdad.services.sqs import errors
from lambdad.services.sqs.registry import queries


@pytest.fixture
async def sqs(database_url: str) -> AsyncIterator[Sqs]:
    async with opened(database_url, Clock(), window=20) as running:
        yield running


ATTRIBUTES = {
    "colour": {"DataType": "String", "StringValue": "red"},
    "count": {"DataType": "Number.int", "StringValue": "3"},
    "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
}
TRACE = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}


async def test_a_message_arrives_as_it_was_sent(sqs: Sqs) -> None:
    """Body, attributes, digests and system attributes are the same at both ends."""
    url = await sqs.queue()
    assert url == f"{ENDPOINT}/{ACCOUNT}/q"
    sent = await sqs("SendMessage", QueueUrl=url, MessageBody="häll<o>\n", MessageAttributes=ATTRIBUTES, MessageSystemAttributes=TRACE)
    assert sent["MD5OfMessageBody"] == hashlib.md5("häll<o>\n".encode(), usedforsecurity=False).hexdigest()
    sqs.wait(1)
    (received,) = await sqs.receive(url, MessageAttributeNames=["All"])
    handle = received.pop("ReceiptHandle")
    assert received == {
        "MessageId": sent["MessageId"],
        "MD5OfBody": sent["MD5OfMessageBody"],
        "Body": "häll<o>\n",
        "Attributes": {
            "SenderId": ACCOUNT,
            "SentTimestamp": str(START_MS),
            "ApproximateReceiveCount": "1",
            "ApproximateFirstReceiveTimestamp": str(START_MS + 1000),
            "AWSTraceHeader": TRACE["AWSTraceHeader"]["StringValue"],
        },
        "MessageAttributes": ATTRIBUTES,
        "MD5OfMessageAttributes": sent["MD5OfMessageAttributes"],
    }
    assert await sqs("DeleteMessage", QueueUrl=url, ReceiptHandle=handle) == {}
    assert await sqs.counts(url) == (0, 0, 0)
    assert await sqs("ReceiveMessage", QueueUrl=url) == {}


async def test_attributes_are_chosen_by_the_receiver(sqs: Sqs) -> None:
    """Names, beginnings and All choose attributes; without them there are none."""
    url = await sqs.queue(VisibilityTimeout="0")
    await sqs.send(url, "m", MessageAttributes=ATTRIBUTES)

    async def shown(**asked: Any) -> tuple[list[str], list[str]]:
        (message,) = (await sqs("ReceiveMessage", QueueUrl=url, **asked))["Messages"]
        return sorted(message.get("MessageAttributes", {})), sorted(message.get("Attributes", {}))

    assert await shown() == ([], [])
    assert await shown(MessageAttributeNames=["raw"], AttributeNames=["SentTimestamp"]) == (["raw"], ["SentTimestamp"])
    assert await shown(MessageAttributeNames=["co.*"]) == (["colour", "count"], [])
    assert (await shown(MessageAttributeNames=[".*"]))[0] == ["colour", "count", "raw"]
    assert (await shown(AttributeNames=["SenderId"], MessageSystemAttributeNames=["ApproximateReceiveCount"]))[1] == [
        "ApproximateReceiveCount",
        "SenderId",
    ]


async def test_visibility(sqs: Sqs) -> None:
    """A message that was received is invisible for the timeout, and then comes again with a new handle and a higher count."""
    url = await sqs.queue(VisibilityTimeout="10")
    await sqs.send(url, "m")
    (first,) = await sqs.receive(url)
    assert await sqs.counts(url) == (0, 1, 0)
    sqs.wait(9.9)
    assert await sqs.bodies(url) == []
    sqs.wait(0.1)
    (second,) = await sqs.receive(url, VisibilityTimeout=100)
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"
    assert second["Attributes"]["ApproximateFirstReceiveTimestamp"] == first["Attributes"]["ApproximateFirstReceiveTimestamp"]
    assert second["ReceiptHandle"] != first["ReceiptHandle"]
    sqs.wait(50)
    assert await sqs.bodies(url) == []
    await sqs.delete(url, first)  # an old handle deletes all the same
    sqs.wait(100)
    assert await sqs.bodies(url) == []
    await sqs.delete(url, second)


async def test_changing_visibility(sqs: Sqs) -> None:
    """The timeout is made longer, shorter or none; twelve hours from the receive are the most."""
    url = await sqs.queue(VisibilityTimeout="10")
    await sqs.send(url, "m")
    (message,) = await sqs.receive(url)
    handle = message["ReceiptHandle"]

    async def change(seconds: int) -> Any:
        return await sqs("ChangeMessageVisibility", QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=seconds)

    await change(60)
    sqs.wait(59)
    assert await sqs.bodies(url) == []
    with pytest.raises(errors.InvalidParameterValue, match="Total VisibilityTimeout for the message is beyond the limit"):
        await change(43_200)
    await change(0)
    with pytest.raises(errors.MessageNotInflight):
        await change(5)
    (again,) = await sqs.receive(url)
    await sqs.delete(url, again)
    with pytest.raises(errors.InvalidParameterValue, match="Message does not exist or is not available for visibility timeout change"):
        await change(5)


async def test_batches(sqs: Sqs) -> None:
    """What cannot be done for one entry does not hold up the others."""
    url = await sqs.queue()
    entries = [{"Id": str(number), "MessageBody": f"m{number}"} for number in range(9)]
    sent = await sqs("SendMessageBatch", QueueUrl=url, Entries=[*entries, {"Id": "bad", "MessageBody": "\x01"}])
    assert [entry["Id"] for entry in sent["Successful"]] == [str(number) for number in range(9)]
    assert [(entry["Id"], entry["Code"], entry["SenderFault"]) for entry in sent["Failed"]] == [("bad", "InvalidMessageContents", True)]
    received = await sqs.receive(url)
    assert [message["Body"] for message in received] == [f"m{number}" for number in range(9)]
    handles = [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(received)]
    entries = [{**handle, "VisibilityTimeout": 0} for handle in handles[:3]]
    changed = await sqs(
        "ChangeMessageVisibilityBatch", QueueUrl=url, Entries=[*entries, {"Id": "x", "ReceiptHandle": "x", "VisibilityTimeout": 1}]
    )
    assert len(changed["Successful"]) == 3
    assert changed["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
    assert sorted(await sqs.bodies(url)) == ["m0", "m1", "m2"]
    deleted = await sqs("DeleteMessageBatch", QueueUrl=url, Entries=[*handles, {"Id": "x", "ReceiptHandle": "x"}])
    assert len(deleted["Successful"]) == 9
    assert deleted["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
    assert await sqs.counts(url) == (0, 0, 0)


async def test_delays(sqs: Sqs) -> None:
    """A message is delayed by what its queue says, or by what it says itself."""
    url = await sqs.queue(DelaySeconds="5")
    await sqs.send(url, "queue's")
    await sqs.send(url, "none", DelaySeconds=0)
    await sqs.send(url, "own", DelaySeconds=900)
    assert await sqs.counts(url) == (1, 0, 2)
    assert await sqs.bodies(url) == ["none"]
    sqs.wait(5)
    assert await sqs.bodies(url) == ["queue's"]
    sqs.wait(895)
    assert "own" in await sqs.bodies(url)


async def test_long_polls_end_when_a_message_comes(sqs: Sqs) -> None:
    """Who waits longest has the first message; who waits in vain has nothing; nobody waits for what is there."""
    url = await sqs.queue(ReceiveMessageWaitTimeSeconds="20")
    first = asyncio.ensure_future(sqs.bodies(url, 1))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(sqs.bodies(url, 1))
    await asyncio.sleep(0)
    await sqs.send(url, "a", "b", "c")
    assert await first == ["a"]
    assert await second == ["b"]
    assert await sqs.bodies(url) == ["c"]
    assert await sqs.bodies(url, WaitTimeSeconds=0) == []
    assert await sqs.bodies(url, WaitTimeSeconds=1) == []


async def test_long_polls_end_when_a_message_is_visible_again(sqs: Sqs) -> None:
    """A message that is given back, or whose time is over, goes to who waits."""
    url = await sqs.queue(VisibilityTimeout="1")
    await sqs.send(url, "m")
    (message,) = await sqs.receive(url)
    waiting = asyncio.ensure_future(sqs.bodies(url, WaitTimeSeconds=20))
    await asyncio.sleep(0)
    await sqs("ChangeMessageVisibility", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert await waiting == ["m"]
    waiting = asyncio.ensure_future(sqs.bodies(url, WaitTimeSeconds=20))
    await asyncio.sleep(0)
    sqs.wait(1)
    assert await waiting == ["m"]


async def test_a_receiver_that_goes_away_takes_nothing_with_it(sqs: Sqs) -> None:
    """A long poll that is cancelled leaves messages to others, also when it had just been given one."""
    url = await sqs.queue()
    waiting = asyncio.ensure_future(sqs.bodies(url, WaitTimeSeconds=20))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    waiting = asyncio.ensure_future(sqs.bodies(url, WaitTimeSeconds=20))
    await asyncio.sleep(0)
    sending = asyncio.ensure_future(sqs.send(url, "m"))
    queue = next(iter(sqs.service._registry.everything()))
    while queue.waiters:
        await asyncio.sleep(0)
    waiting.cancel()  # between having been given the message and going on
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    await sending
    (message,) = await sqs.receive(url)
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert sqs.service.statistics().waiters == 0


async def test_a_receiver_that_is_being_cancelled_is_given_nothing(sqs: Sqs) -> None:
    """A long poll that was cancelled, and does not know it yet, is passed over."""
    url = await sqs.queue()
    await sqs.send(url, "m")
    (message,) = await sqs.receive(url)
    waiting = asyncio.ensure_future(sqs.bodies(url, WaitTimeSeconds=20))
    other = asyncio.ensure_future(sqs.bodies(url, WaitTimeSeconds=20))
    await asyncio.sleep(0)
    waiting.cancel()
    await sqs("ChangeMessageVisibility", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert await other == ["m"]
    await asyncio.wait([waiting])


async def test_deleting_a_queue_ends_long_polls(sqs: Sqs) -> None:
    """Who waits for messages of a queue is told that it is gone."""
    url = await sqs.queue()
    waiting = asyncio.ensure_future(sqs.bodies(url, WaitTimeSeconds=20))
    await asyncio.sleep(0)
    await sqs("DeleteQueue", QueueUrl=url)
    with pytest.raises(errors.QueueDoesNotExist):
        await waiting


async def test_stopping_ends_long_polls(sqs: Sqs) -> None:
    """A server that stops does not wait for those who wait."""
    url = await sqs.queue()
    waiting = asyncio.ensure_future(sqs.bodies(url, WaitTimeSeconds=20))
    await asyncio.sleep(0)
    sqs.service.stop_waiting()
    assert await waiting == []
    assert await sqs.bodies(url, WaitTimeSeconds=20) == []


async def test_what_was_sent_and_is_cancelled_is_sent(sqs: Sqs) -> None:
    """A sender who goes away while his message is written leaves it in the queue, in the database and in memory alike."""
    url = await sqs.queue()
    sending = asyncio.ensure_future(sqs.send(url, "m"))
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.wait([sending])
    assert await sqs.bodies(url, WaitTimeSeconds=5) == ["m"]


async def test_retention(sqs: Sqs) -> None:
    """Messages that are too old are not received, and are removed."""
    url = await sqs.queue(MessageRetentionPeriod="60", VisibilityTimeout="10")
    await sqs.send(url, *[f"old{number}" for number in range(30)])
    await sqs.receive(url)
    sqs.wait(30)
    await sqs.send(url, "new")
    sqs.wait(30)
    found: list[str] = []
    while bodies := await sqs.bodies(url):
        found += bodies
    assert found == ["new"]
    await sqs.service.upkeep.sweep()
    assert await sqs.counts(url) == (0, 1, 0)


async def test_purging(sqs: Sqs) -> None:
    """What was sent before is gone, in flight or not; what is sent afterwards is not; once a minute."""
    url = await sqs.queue()
    await sqs.send(url, *[f"m{number}" for number in range(50)])
    (message, *_) = await sqs.receive(url)
    await sqs("PurgeQueue", QueueUrl=url)
    assert await sqs.counts(url) == (0, 0, 0)
    assert await sqs.refused("PurgeQueue", QueueUrl=url) == (
        "PurgeQueueInProgress",
        "Only one PurgeQueue operation on q is allowed every 60 seconds.",
    )
    await sqs.send(url, "new")
    await sqs.service.upkeep.sweep()
    assert await sqs.bodies(url) == ["new"]
    await sqs.delete(url, message)
    sqs.wait(60)
    await sqs("PurgeQueue", QueueUrl=url)


async def test_a_backlog_larger_than_memory(database_url: str) -> None:
    """Of a long backlog only the head is in memory; all of it is received, once, in turn, and the tail keeps its delays."""
    async with opened(database_url, Clock(), window=20, cache_bytes=2000) as sqs:
        url = await sqs.queue()
        entries = [{"Id": str(number), "MessageBody": "x"} for number in range(10)]
        for batch in range(20):
            await sqs("SendMessageBatch", QueueUrl=url, Entries=[{**each, "MessageBody": f"{batch}-{each['Id']}"} for each in entries])
        await sqs.send(url, "late", DelaySeconds=10)
        statistics = sqs.service.statistics()
        assert statistics.messages_in_memory == 20
        assert statistics.messages_spilled == 181
        assert statistics.cached_bytes <= 2000
        assert (await sqs.counts(url))[0] == 201
        found: list[str] = []
        while received := await sqs.receive(url):
            found += [message["Body"] for message in received]
            await sqs.delete(url, *received)
        assert sorted(found) == sorted(f"{batch}-{number}" for batch in range(20) for number in range(10))
        assert await sqs.counts(url) == (0, 0, 1)
        sqs.wait(10)
        assert await sqs.bodies(url) == ["late"]


async def test_what_is_in_flight_may_be_more_than_the_window(sqs: Sqs) -> None:
    """Messages in flight do not count against those that wait."""
    url = await sqs.queue()
    await sqs.send(url, *[f"m{number:03}" for number in range(100)])
    received: list[dict[str, Any]] = []
    while found := await sqs.receive(url):
        received += found
    assert len(received) == 100
    assert await sqs.counts(url) == (0, 100, 0)
    await sqs.delete(url, *received)
    assert await sqs.counts(url) == (0, 0, 0)
    assert sqs.service.statistics().cached_bytes == 0


async def test_a_poison_message_holds_nobody_up(sqs: Sqs) -> None:
    """A message that is given back again and again takes turns with those that were not received yet."""
    url = await sqs.queue()
    await sqs.send(url, *[f"m{number}" for number in range(5)])
    seen = []
    for _ in range(10):
        (message,) = await sqs.receive(url, 1)
        seen.append(message["Body"])
        if message["Body"] == "m0":
            await sqs("ChangeMessageVisibility", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
        else:
            await sqs.delete(url, message)
    assert {"m1", "m2", "m3", "m4"} <= set(seen)


@pytest.mark.parametrize("name", ["q", "q.fifo"])
async def test_memory_and_rows_agree(database_url: str, name: str) -> None:
    """After much sending, receiving, giving back, deleting and going away in between, what is in memory is what is a row."""
    rng = random.Random(1)
    clock = Clock()
    more = {"ContentBasedDeduplication": "true"} if name.endswith(".fifo") else {}
    async with opened(database_url, clock, window=30, cache_bytes=5000) as sqs:
        dead = await sqs.queue(f"dead{name[1:]}", VisibilityTimeout="2", **more)
        policy = json.dumps({"deadLetterTargetArn": arn(f"dead{name[1:]}"), "maxReceiveCount": 3})
        url = await sqs.queue(name, VisibilityTimeout="2", RedrivePolicy=policy, **more)
        sent: set[str] = set()
        deleted: set[str] = set()

        async def one(number: int) -> None:
            kind = rng.random()
            if kind < 0.4:
                entries = [{"Id": str(at), "MessageBody": f"{number}-{at}"} for at in range(rng.randint(1, 10))]
                for entry in entries:
                    entry |= {"MessageGroupId": rng.choice("abc")} if more else {}
                sent.update(entry["MessageBody"] for entry in entries)
                await sqs("SendMessageBatch", QueueUrl=url, Entries=entries)
            elif kind < 0.9:
                for message in await sqs.receive(rng.choice([url, url, dead]), rng.randint(1, 10)):
                    where = dead if "DeadLetterQueueSourceArn" in message["Attributes"] else url
                    what = rng.random()
                    if what < 0.6:
                        deleted.add(message["Body"])
                        with contextlib.suppress(errors.InvalidParameterValue):  # its time is over
                            await sqs.delete(where, message)
                    elif what < 0.8:
                        given = {"QueueUrl": where, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": rng.choice([0, 5])}
                        with contextlib.suppress(errors.InvalidParameterValue, errors.MessageNotInflight):
                            await sqs("ChangeMessageVisibility", **given)
            else:
                clock.ms += rng.randint(0, 1500)

        for start in range(0, 400, 20):
            tasks = [asyncio.ensure_future(one(number)) for number in range(start, start + 20)]
            for _ in range(rng.randint(0, 30)):
                await asyncio.sleep(0)
            for task in rng.sample(tasks, 5):
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(not isinstance(outcome, Exception) for outcome in outcomes), outcomes
        clock.ms += 10_000
        counted = sum([sum(await sqs.counts(each)) for each in (url, dead)])
        rows = await sqs.database.read(lambda connection: connection.all(queries.count_messages))
        assert counted == sum(row.messages for row in rows)
        left: set[str] = set()
        for _ in range(4):
            for each in (url, dead):
                while received := await sqs.receive(each):
                    left.update(message["Body"] for message in received)
                    await sqs.delete(each, *received)
        assert sum([sum(await sqs.counts(each)) for each in (url, dead)]) == 0
        assert left | deleted <= sent
        assert sqs.service.statistics().cached_bytes == 0

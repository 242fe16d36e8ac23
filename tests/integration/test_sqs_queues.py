"""Queues, their attributes, tags and permissions; on both databases."""

import json
from collections.abc import AsyncIterator

import pytest
from sqs_house import ACCOUNT, ENDPOINT, START_MS, Clock, Sqs, arn, opened

from lambdad.model.ids import AccountId, Region
from lambdad.services.ports import Origin
from lambdad.services.sqs import errors
from lambdad.services.sqs.app import migrations
from lambdad.store.database import open_database


@pytest.fixture
async def sqs(database_url: str) -> AsyncIterator[Sqs]:
    async with opened(database_url, Clock()) as running:
        yield running


async def attributes(sqs: Sqs, url: str) -> dict[str, str]:
    return dict((await sqs("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"]))["Attributes"])


async def test_queue_life(sqs: Sqs) -> None:
    """A queue is made, found, changed, and gone; its name is free again a minute later."""
    url = await sqs.queue("q", DelaySeconds="3")
    assert await sqs("GetQueueUrl", QueueName="q") == {"QueueUrl": url}
    expected = {
        "QueueArn": arn("q"),
        "ApproximateNumberOfMessages": "0",
        "ApproximateNumberOfMessagesNotVisible": "0",
        "ApproximateNumberOfMessagesDelayed": "0",
        "CreatedTimestamp": str(START_MS // 1000),
        "LastModifiedTimestamp": str(START_MS // 1000),
        "DelaySeconds": "3",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "ReceiveMessageWaitTimeSeconds": "0",
        "VisibilityTimeout": "30",
        "SqsManagedSseEnabled": "true",
    }
    assert await attributes(sqs, url) == expected
    sqs.wait(10)
    policy = json.dumps({"Statement": []})
    await sqs("SetQueueAttributes", QueueUrl=url, Attributes={"VisibilityTimeout": "7", "Policy": policy})
    changed = {"VisibilityTimeout": "7", "Policy": policy, "LastModifiedTimestamp": str(START_MS // 1000 + 10)}
    assert await attributes(sqs, url) == {**expected, **changed}
    await sqs("SetQueueAttributes", QueueUrl=url, Attributes={"Policy": ""})
    assert "Policy" not in await attributes(sqs, url)
    assert await sqs("GetQueueAttributes", QueueUrl=url) == {}
    await sqs.send(url, "m")
    await sqs("DeleteQueue", QueueUrl=url)
    gone = ("QueueDoesNotExist", "The specified queue does not exist.")
    assert await sqs.refused("GetQueueUrl", QueueName="q") == gone
    assert await sqs.refused("SendMessage", QueueUrl=url, MessageBody="m") == gone
    sqs.wait(59)
    assert (await sqs.refused("CreateQueue", QueueName="q"))[0] == "QueueDeletedRecently"
    sqs.wait(1)
    await sqs.queue("q")
    await sqs.service.upkeep.sweep()
    assert await sqs.counts(url) == (0, 0, 0)


async def test_fifo_attributes(sqs: Sqs) -> None:
    """FIFO queues have attributes that others have not."""
    url = await sqs.queue("q.fifo")
    found = await attributes(sqs, url)
    assert {name: found[name] for name in ("FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit")} == {
        "FifoQueue": "true",
        "ContentBasedDeduplication": "false",
        "DeduplicationScope": "queue",
        "FifoThroughputLimit": "perQueue",
    }
    assert await sqs.refused("SetQueueAttributes", QueueUrl=url, Attributes={"FifoQueue": "false"}) == (
        "InvalidAttributeValue",
        "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.",
    )
    assert (await sqs.refused("SetQueueAttributes", QueueUrl=url, Attributes={"FifoThroughputLimit": "perMessageGroupId"}))[0] == (
        "InvalidAttributeValue"
    )
    standard = await sqs.queue("q")
    assert await sqs.refused("SetQueueAttributes", QueueUrl=standard, Attributes={"FifoQueue": "true"}) == (
        "InvalidAttributeName",
        "Unknown Attribute FifoQueue.",
    )


async def test_making_a_queue_twice(sqs: Sqs) -> None:
    """The same name and attributes are the same queue; other attributes are an error that names the first of them."""
    url = await sqs.queue("q", VisibilityTimeout="5")
    assert await sqs.queue("q", VisibilityTimeout="5") == url
    assert await sqs.queue("q") == url
    assert await sqs.refused("CreateQueue", QueueName="q", Attributes={"VisibilityTimeout": "6"}) == (
        "QueueNameExists",
        "A queue already exists with the same name and a different value for attribute VisibilityTimeout",
    )


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("", {}, "MissingParameter"),
        ("a b", {}, "InvalidParameterValue"),
        ("a" * 81, {}, "InvalidParameterValue"),
        ("q.fifo", {}, "InvalidParameterValue"),
        ("q", {"FifoQueue": "true"}, "InvalidParameterValue"),
        ("q.fifo", {"FifoQueue": "maybe"}, "InvalidParameterValue"),
        ("q", {"FifoQueue": "false"}, "InvalidAttributeName"),
        ("q", {"Colour": "red"}, "InvalidAttributeName"),
        ("q", {"QueueArn": "x"}, "InvalidAttributeName"),
        ("q", {"DelaySeconds": "901"}, "InvalidAttributeValue"),
        ("q", {"MaximumMessageSize": "1023"}, "InvalidAttributeValue"),
        ("q", {"MessageRetentionPeriod": "59"}, "InvalidAttributeValue"),
        ("q", {"ReceiveMessageWaitTimeSeconds": "21"}, "InvalidAttributeValue"),
        ("q", {"VisibilityTimeout": "-1"}, "InvalidAttributeValue"),
        ("q", {"VisibilityTimeout": "x"}, "InvalidAttributeValue"),
        ("q", {"Policy": "x"}, "InvalidAttributeValue"),
        ("q", {"SqsManagedSseEnabled": "perhaps"}, "InvalidAttributeValue"),
        ("q", {"KmsMasterKeyId": "alias/aws/sqs"}, "UnsupportedOperation"),
        ("q", {"KmsDataKeyReusePeriodSeconds": "59"}, "InvalidAttributeValue"),
        ("q", {"RedriveAllowPolicy": "{}"}, "InvalidParameterValue"),
        ("q.fifo", {"FifoQueue": "true", "DeduplicationScope": "group"}, "InvalidAttributeValue"),
    ],
)
async def test_what_no_queue_can_be(sqs: Sqs, name: str, given: dict[str, str], code: str) -> None:
    """Names and attributes out of their ranges are refused."""
    assert (await sqs.refused("CreateQueue", QueueName=name, Attributes=given))[0] == code
    assert await sqs("ListQueues") == {}


async def test_listing(sqs: Sqs) -> None:
    """Queues are listed in order, by prefix and in pages."""
    for name in ("b", "a2", "a1", "a3"):
        await sqs.queue(name)
    await sqs("CreateQueue", QueueName="elsewhere", region="eu-west-1")
    await sqs("CreateQueue", QueueName="others", account="111111111111")
    listed = await sqs("ListQueues")
    assert listed == {"QueueUrls": [f"{ENDPOINT}/{ACCOUNT}/{name}" for name in ("a1", "a2", "a3", "b")]}
    page = await sqs("ListQueues", QueueNamePrefix="a", MaxResults=2)
    assert [url[-2:] for url in page["QueueUrls"]] == ["a1", "a2"]
    page = await sqs("ListQueues", QueueNamePrefix="a", MaxResults=2, NextToken=page["NextToken"])
    assert [url[-2:] for url in page["QueueUrls"]] == ["a3"]
    assert "NextToken" not in page
    assert (await sqs.refused("ListQueues", NextToken="?"))[0] == "InvalidParameterValue"
    assert (await sqs.refused("ListQueues", MaxResults=1001))[0] == "InvalidParameterValue"


@pytest.mark.parametrize(
    "url",
    [
        "q",
        "http://anything:1/000000000000/q",
        "https://sqs.us-east-1.amazonaws.com/000000000000/q",
        "http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/q",
        "http://localhost:4566/queue/us-east-1/000000000000/q/",
    ],
)
async def test_urls(sqs: Sqs, url: str) -> None:
    """A queue is found by the end of its URL, whatever the host; a host of AWS's form names the region."""
    await sqs.queue("q")
    await sqs.send(url, "m")
    assert await sqs.bodies(url) == ["m"]


async def test_urls_that_name_no_queue(sqs: Sqs) -> None:
    """What is no URL of a queue is told so; a region in it counts."""
    await sqs.queue("q")
    assert (await sqs.refused("ReceiveMessage", QueueUrl="http://host/q"))[0] == "InvalidAddress"
    assert (await sqs.refused("ReceiveMessage"))[0] == "MissingParameter"
    elsewhere = "https://sqs.eu-west-1.amazonaws.com/000000000000/q"
    assert (await sqs.refused("ReceiveMessage", QueueUrl=elsewhere))[0] == "QueueDoesNotExist"


async def test_tags(sqs: Sqs) -> None:
    """Tags are set at creation and later, and removed; fifty are the most."""
    created = await sqs("CreateQueue", QueueName="q", tags={"a": "1"})
    url = created["QueueUrl"]
    await sqs("TagQueue", QueueUrl=url, Tags={"b": "2", "a": "3"})
    assert await sqs("ListQueueTags", QueueUrl=url) == {"Tags": {"a": "3", "b": "2"}}
    await sqs("UntagQueue", QueueUrl=url, TagKeys=["a", "none"])
    assert await sqs("ListQueueTags", QueueUrl=url) == {"Tags": {"b": "2"}}
    assert (await sqs.refused("TagQueue", QueueUrl=url, Tags={str(number): "" for number in range(50)})) == (
        "InvalidParameterValue",
        "Too many tags added for queue q.",
    )
    await sqs("UntagQueue", QueueUrl=url, TagKeys=["b"])
    assert await sqs("ListQueueTags", QueueUrl=url) == {}


async def test_permissions(sqs: Sqs) -> None:
    """Statements are added to the policy and removed by their labels, and let other accounts in."""
    url = await sqs.queue("q")
    other = {"account": "111111111111", "QueueUrl": url}
    denied, message = await sqs.refused("SendMessage", MessageBody="m", **other)
    assert denied == "AccessDenied"
    assert str(message).startswith(
        f"User: arn:aws:iam::111111111111:root is not authorized to perform: sqs:sendmessage on resource: {arn('q')}"
    )
    added = {"QueueUrl": url, "Label": "l", "AWSAccountIds": ["111111111111"], "Actions": ["SendMessage", "GetQueueUrl"]}
    await sqs("AddPermission", **added)
    assert await sqs.refused("AddPermission", **added) == (
        "InvalidParameterValue",
        "Value l for parameter Label is invalid. Reason: Already exists.",
    )
    policy = json.loads((await attributes(sqs, url))["Policy"])
    assert policy == {
        "Version": "2008-10-17",
        "Id": f"{arn('q')}/SQSDefaultPolicy",
        "Statement": [
            {
                "Sid": "l",
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::111111111111:root"},
                "Action": ["SQS:SendMessage", "SQS:GetQueueUrl"],
                "Resource": arn("q"),
            }
        ],
    }
    await sqs("SendMessage", MessageBody="m", **other)
    assert (await sqs("GetQueueUrl", account="111111111111", QueueName="q", QueueOwnerAWSAccountId=ACCOUNT))["QueueUrl"] == url
    assert (await sqs.refused("ReceiveMessage", **other))[0] == "AccessDenied"
    await sqs("RemovePermission", QueueUrl=url, Label="l")
    assert "Policy" not in await attributes(sqs, url)
    assert (await sqs.refused("SendMessage", MessageBody="m", **other))[0] == "AccessDenied"
    assert await sqs.refused("RemovePermission", QueueUrl=url, Label="l") == (
        "InvalidParameterValue",
        "Value l for parameter Label is invalid. Reason: can't find label.",
    )
    assert (await sqs.refused("AddPermission", **{**added, "Actions": ["DeleteQueue"]}))[0] == "InvalidParameterValue"
    assert (await sqs.refused("AddPermission", **{**added, "AWSAccountIds": ["x"]}))[0] == "InvalidParameterValue"
    assert (await sqs.refused("AddPermission", **{**added, "Actions": ["SendMessage"] * 8}))[0] == "OverLimit"
    assert (await sqs.refused("AddPermission", QueueUrl=url, Label="l"))[0] == "MissingParameter"


async def test_neighbours_reach_queues_of_other_accounts(sqs: Sqs) -> None:
    """A neighbour service is let in, whose own business it is for whom it comes."""
    url = await sqs.queue("q")
    origin = Origin(account=AccountId("111111111111"), region=Region("us-east-1"), principal="sns.amazonaws.com")
    await sqs("SendMessage", account="111111111111", origin=origin, QueueUrl=url, MessageBody="m")
    assert await sqs.bodies(url) == ["m"]


async def test_everything_is_there_after_a_restart(database_url: str) -> None:
    """Queues, attributes, tags, purges, deleted names and messages in every state survive; handles are still good."""
    clock = Clock()
    async with opened(database_url, clock) as sqs:
        url = await sqs.queue("q", VisibilityTimeout="60")
        await sqs("TagQueue", QueueUrl=url, Tags={"a": "1"})
        await sqs.send(url, "purged")
        await sqs("PurgeQueue", QueueUrl=url)
        await sqs.send(url, "flying")
        (flying,) = await sqs.receive(url)
        await sqs.send(url, "late", DelaySeconds=10)
        await sqs.send(url, "ready")
        gone = await sqs.queue("gone")
        await sqs("DeleteQueue", QueueUrl=gone)
        before = await attributes(sqs, url)
        assert await sqs.counts(url) == (1, 1, 1)
    async with opened(database_url, clock) as sqs:
        assert (await sqs.refused("CreateQueue", QueueName="gone"))[0] == "QueueDeletedRecently"
        assert await sqs("ListQueueTags", QueueUrl=url) == {"Tags": {"a": "1"}}
        assert (await sqs.refused("PurgeQueue", QueueUrl=url))[0] == "PurgeQueueInProgress"
        assert await sqs.bodies(url) == ["ready"]
        after = await attributes(sqs, url)
        assert {name: value for name, value in after.items() if not name.startswith("Approx")} == {
            name: value for name, value in before.items() if not name.startswith("Approx")
        }
        await sqs("ChangeMessageVisibility", QueueUrl=url, ReceiptHandle=flying["ReceiptHandle"], VisibilityTimeout=100)
        sqs.wait(61)
        assert sorted(await sqs.bodies(url)) == ["late", "ready"]
        await sqs.delete(url, flying)
        assert await sqs.counts(url) == (0, 2, 0)


async def test_a_handle_of_another_queue_is_none(sqs: Sqs) -> None:
    """A handle is good for the queue that gave it out, and a changed one for none."""
    one, other = await sqs.queue("one"), await sqs.queue("other")
    await sqs.send(one, "m")
    (message,) = await sqs.receive(one)
    handle = message["ReceiptHandle"]
    with pytest.raises(errors.ReceiptHandleIsInvalid):
        await sqs.delete(other, message)
    for wrong in ("", "x", handle[:-4], handle.swapcase(), "AQEB" + handle):
        with pytest.raises((errors.ReceiptHandleIsInvalid, errors.MissingParameter)):
            await sqs("DeleteMessage", QueueUrl=one, ReceiptHandle=wrong)


async def test_the_schema_has_the_tables_of_the_service(database_url: str) -> None:
    """The migrations run on both databases, and again without harm."""
    for _ in range(2):
        async with open_database(database_url, migrations=[migrations()], now_ms=Clock()):
            pass

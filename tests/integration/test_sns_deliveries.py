"""What SNS delivers, to functions, queues and dead-letter queues, on both databases."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from tests.integration.sns_house import ACCOUNT, ENDPOINT, FUNCTION, QUEUE, START_MS, Clock, Sns, open_sns

from lambdad.kit import http1
from lambdad.model.errors import AwsError
from lambdad.services.sns.rules import limits, notifications

FIFO_QUEUE = f"{QUEUE}.fifo"
QUEUE_URL = f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/queue"
DEAD = f"arn:aws:sqs:us-east-1:{ACCOUNT}:dead"


@pytest.fixture
async def sns(database_url: str) -> AsyncIterator[Sns]:
    async with open_sns(database_url) as opened:
        yield opened


async def certificate(sns: Sns, url: str) -> x509.Certificate:
    """Fetch a certificate as the subscriber would."""
    assert url.startswith(ENDPOINT)
    answer = await sns.service.links.answer(http1.Request("GET", url.removeprefix(ENDPOINT), {}, b""))
    assert answer.status == 200
    assert isinstance(answer.body, bytes)
    return x509.load_pem_x509_certificate(answer.body)


async def verify(sns: Sns, message: dict[str, Any], url: str, *names: str) -> None:
    """Verify a message's signature as the Developer Guide says; raises where it is wrong."""
    text = "".join(f"{name}\n{message[name]}\n" for name in names if message.get(name) is not None)
    algorithm = {"1": hashes.SHA1, "2": hashes.SHA256}[message["SignatureVersion"]]()
    key = (await certificate(sns, url)).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(base64.b64decode(message["Signature"]), text.encode(), padding.PKCS1v15(), algorithm)


SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_function_gets_the_event(sns: Sns, version: str) -> None:
    """The event has AWS's members, nothing else, and a signature that verifies."""
    topic = await sns.topic(SignatureVersion=version)
    subscription = await sns.subscription(topic, "lambda", f"{FUNCTION}:live")
    answer = await sns(
        "Publish",
        TopicArn=topic,
        Message="hello €",
        MessageAttributes={"k": {"DataType": "String", "StringValue": "v"}, "b": {"DataType": "Binary", "BinaryValue": b"\0\1"}},
    )
    [(origin, service, operation, params)] = await sns.delivered(1)
    assert (service, operation) == ("lambda", "Invoke")
    assert (origin.account, origin.region, origin.principal, origin.source_arn) == (ACCOUNT, "us-east-1", "sns.amazonaws.com", topic)
    assert (params["FunctionName"], params["InvocationType"]) == (f"{FUNCTION}:live", "Event")
    [record] = json.loads(params["Payload"])["Records"]
    message = record.pop("Sns")
    assert record == {"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": subscription}
    await verify(sns, message, message["SigningCertUrl"], *SIGNED)
    del message["Signature"], message["SigningCertUrl"]
    assert message == {
        "Type": "Notification",
        "MessageId": answer["MessageId"],
        "TopicArn": topic,
        "Subject": None,
        "Message": "hello €",
        "Timestamp": "2023-11-14T22:13:20.123Z",
        "SignatureVersion": version,
        "UnsubscribeUrl": f"{ENDPOINT}/_lambdad/sns/?Action=Unsubscribe&SubscriptionArn={subscription}",
        "MessageAttributes": {"k": {"Type": "String", "Value": "v"}, "b": {"Type": "Binary", "Value": "AAE="}},
    }


async def test_a_queue_gets_the_envelope(sns: Sns) -> None:
    """The body is AWS's envelope, laid out as AWS lays it out, and signed."""
    topic = await sns.topic()
    subscription = await sns.subscription(topic)
    answer = await sns("Publish", TopicArn=topic, Message='say "hi"', Subject="s", MessageAttributes=text_attributes(k="v"))
    [(_, service, operation, params)] = await sns.delivered(1)
    assert (service, operation, params["QueueUrl"]) == ("sqs", "SendMessage", QUEUE_URL)
    assert params.keys() == {"QueueUrl", "MessageBody"}
    message = json.loads(params["MessageBody"])
    await verify(sns, message, message["SigningCertURL"], *SIGNED)
    assert params["MessageBody"] == (
        "{\n"
        '  "Type" : "Notification",\n'
        f'  "MessageId" : "{answer["MessageId"]}",\n'
        f'  "TopicArn" : "{topic}",\n'
        '  "Subject" : "s",\n'
        '  "Message" : "say \\"hi\\"",\n'
        '  "Timestamp" : "2023-11-14T22:13:20.123Z",\n'
        '  "SignatureVersion" : "1",\n'
        f'  "Signature" : "{message["Signature"]}",\n'
        f'  "SigningCertURL" : "{message["SigningCertURL"]}",\n'
        f'  "UnsubscribeURL" : "{ENDPOINT}/_lambdad/sns/?Action=Unsubscribe&SubscriptionArn={subscription}",\n'
        '  "MessageAttributes" : {\n'
        '    "k" : {"Type":"String","Value":"v"}\n'
        "  }\n"
        "}"
    )


def text_attributes(**values: str) -> dict[str, dict[str, str]]:
    return {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}


async def test_raw_messages_come_as_they_are(sns: Sns) -> None:
    """With RawMessageDelivery the body is the message, and attributes are the queue's own."""
    topic = await sns.topic()
    await sns.subscription(topic, RawMessageDelivery="true")
    attributes = text_attributes(k="v") | {"n": {"DataType": "Number", "StringValue": "1"}}
    await sns("Publish", TopicArn=topic, Message="plain", MessageAttributes=attributes)
    [(_, _, _, params)] = await sns.delivered(1)
    assert params == {"QueueUrl": QUEUE_URL, "MessageBody": "plain", "MessageAttributes": attributes}


async def test_each_protocol_gets_its_own_text(sns: Sns) -> None:
    """MessageStructure "json" chooses a text by protocol, and the default for the others."""
    topic = await sns.topic()
    await sns.subscription(topic, RawMessageDelivery="true")
    await sns.subscription(topic, "lambda", FUNCTION)
    await sns("Publish", TopicArn=topic, MessageStructure="json", Message='{"default":"d","sqs":"q","http":1}')
    calls = await sns.delivered(2)
    texts = {service: params for _, service, _, params in calls}
    assert texts["sqs"]["MessageBody"] == "q"
    assert json.loads(texts["lambda"]["Payload"])["Records"][0]["Sns"]["Message"] == "d"


async def test_filters_choose_who_gets_a_message(sns: Sns) -> None:
    """Subscriptions get what their policies want, of attributes or of the body; a changed policy counts from then on."""
    topic = await sns.topic()
    by_attribute = await sns.subscription(topic, endpoint=f"{QUEUE}-a", FilterPolicy='{"kind":["a"]}')
    await sns.subscription(topic, endpoint=f"{QUEUE}-b", FilterPolicy='{"kind":{"of":["b"]}}', FilterPolicyScope="MessageBody")
    await sns.subscription(topic, endpoint=f"{QUEUE}-c", FilterPolicy='{"n":[{"numeric":[">",1]}],"l":["x"]}')

    async def receivers(message: str, attributes: dict[str, dict[str, str]], count: int) -> list[str]:
        await sns("Publish", TopicArn=topic, Message=message, MessageAttributes=attributes)
        return sorted(params["QueueUrl"][-1] for _, _, _, params in await sns.delivered(count))

    assert await receivers('{"kind":{"of":"b"}}', text_attributes(kind="a"), 2) == ["a", "b"]
    assert await receivers("no JSON", text_attributes(kind="b"), 0) == []
    listed = {"n": {"DataType": "Number", "StringValue": "1.5"}, "l": {"DataType": "String.Array", "StringValue": '["y","x"]'}}
    assert await receivers("m", listed, 1) == ["c"]
    await sns("SetSubscriptionAttributes", SubscriptionArn=by_attribute, AttributeName="FilterPolicy", AttributeValue="")
    assert await receivers("m", {}, 1) == ["a"]


async def test_a_batch_is_delivered_in_order_and_fails_in_parts(sns: Sns) -> None:
    """Good entries are published, bad ones are told why."""
    topic = await sns.topic()
    await sns.subscription(topic, RawMessageDelivery="true")
    answer = await sns(
        "PublishBatch",
        TopicArn=topic,
        PublishBatchRequestEntries=[{"Id": "a", "Message": "1"}, {"Id": "b", "Message": ""}, {"Id": "c", "Message": "2", "Subject": ""}],
    )
    assert [entry["Id"] for entry in answer["Successful"]] == ["a"]
    assert answer["Failed"] == [
        {"Id": "b", "Code": "InvalidParameter", "Message": "Invalid parameter: Empty message", "SenderFault": True},
        {"Id": "c", "Code": "InvalidParameter", "Message": "Invalid parameter: Subject", "SenderFault": True},
    ]
    [(_, _, _, params)] = await sns.delivered(1)
    assert params["MessageBody"] == "1"


async def test_fifo_topics_keep_order_and_drop_duplicates(sns: Sns) -> None:
    """Messages of a group arrive in order, with group, id and rising sequence numbers; a duplicate is told what its original was."""
    topic = await sns.topic("t.fifo")
    subscription = await sns.subscription(topic, endpoint=FIFO_QUEUE)

    async def publish(message: str, deduplication_id: str, group: str = "g") -> dict[str, str]:
        answer: dict[str, str] = await sns(
            "Publish", TopicArn=topic, Message=message, MessageGroupId=group, MessageDeduplicationId=deduplication_id
        )
        return answer

    answers = [await publish(str(number), f"id{number}") for number in range(20)]
    again = await publish("again", "id3", "other")
    assert again == answers[3]
    numbers = [int(answer["SequenceNumber"]) for answer in answers]
    assert numbers == sorted(set(numbers))
    assert all(len(answer["SequenceNumber"]) == 20 for answer in answers)
    calls = await sns.delivered(20)
    bodies = [json.loads(params["MessageBody"]) for _, _, _, params in calls]
    assert [body["Message"] for body in bodies] == [str(number) for number in range(20)]
    assert [body["SequenceNumber"] for body in bodies] == [answer["SequenceNumber"] for answer in answers]
    assert bodies[0].keys() == {"Type", "MessageId", "SequenceNumber", "TopicArn", "Message", "Timestamp", "UnsubscribeURL"}
    assert subscription in bodies[0]["UnsubscribeURL"]
    assert [(params["MessageGroupId"], params["MessageDeduplicationId"]) for *_, params in calls[:2]] == [("g", "id0"), ("g", "id1")]
    sns.clock.ms += limits.DEDUPLICATION_MS
    assert (await publish("anew", "id3"))["MessageId"] != answers[3]["MessageId"]
    assert len(await sns.delivered(1)) == 1


async def test_fifo_topics_can_count_by_content_and_by_group(sns: Sns) -> None:
    """ContentBasedDeduplication takes the body's hash for an id; FifoThroughputScope makes ids count within a group."""
    topic = await sns.topic("t.fifo", ContentBasedDeduplication="true", FifoThroughputScope="MessageGroup")
    await sns.subscription(topic, endpoint=FIFO_QUEUE)
    entries = [{"Id": f"e{number}", "Message": "m", "MessageGroupId": group} for number, group in enumerate(["g", "g", "h"])]
    answer = await sns("PublishBatch", TopicArn=topic, PublishBatchRequestEntries=entries)
    ids = [entry["MessageId"] for entry in answer["Successful"]]
    assert ids[0] == ids[1] != ids[2]
    assert {params["MessageGroupId"] for *_, params in await sns.delivered(2)} == {"g", "h"}


async def test_sequence_numbers_rise_over_restarts(database_url: str) -> None:
    """A restarted topic does not give out a sequence number again, and still knows duplicates."""
    clock = Clock()
    async with open_sns(database_url, clock) as sns:
        topic = await sns.topic("t.fifo", ContentBasedDeduplication="true")
        before = await sns("Publish", TopicArn=topic, Message="m", MessageGroupId="g")
    async with open_sns(database_url, clock) as sns:
        assert await sns("Publish", TopicArn=topic, Message="m", MessageGroupId="g") == before
        after = await sns("Publish", TopicArn=topic, Message="n", MessageGroupId="g")
        assert int(after["SequenceNumber"]) > int(before["SequenceNumber"])


async def test_what_cannot_be_delivered_goes_to_the_dead_letter_queue(sns: Sns) -> None:
    """A function that refuses for good is not asked again; the envelope goes to the subscription's queue, with the error."""
    topic = await sns.topic()
    await sns.subscription(topic, "lambda", FUNCTION, RedrivePolicy=json.dumps({"deadLetterTargetArn": DEAD}))
    sns.neighbours.failures["lambda"] = AwsError("AccessDeniedException", "no", status=403)
    answer = await sns("Publish", TopicArn=topic, Message="m")
    [_, (_, service, _, params)] = await sns.delivered(2)
    assert (service, params["QueueUrl"].rpartition("/")[2]) == ("sqs", "dead")
    assert json.loads(params["MessageBody"])["MessageId"] == answer["MessageId"]
    assert params["MessageAttributes"]["ErrorCode"]["StringValue"] == "AccessDeniedException"


async def test_a_signing_key_is_made_once(database_url: str) -> None:
    """The certificate is the same after a restart; nothing else is served in its place."""
    async with open_sns(database_url) as sns:
        topic = await sns.topic()
        await sns.subscription(topic)
        await sns("Publish", TopicArn=topic, Message="m")
        [(_, _, _, params)] = await sns.delivered(1)
        url = json.loads(params["MessageBody"])["SigningCertURL"]
        first = await certificate(sns, url)
    async with open_sns(database_url) as sns:
        assert await certificate(sns, url) == first
        missing = await sns.service.links.answer(http1.Request("GET", notifications.PATH + "other.pem", {}, b""))
        assert missing.status == 404


async def test_nobody_subscribed_is_no_error(sns: Sns) -> None:
    """A message to a topic without subscriptions gets an id and goes nowhere."""
    topic = await sns.topic()
    assert (await sns("Publish", TargetArn=topic, Message="m"))["MessageId"]
    assert await sns.delivered(0) == []


async def test_times_are_written_in_milliseconds() -> None:
    """Timestamps have three digits behind the second, also where they are zeros."""
    assert notifications.timestamp(START_MS - 123) == "2023-11-14T22:13:20.000Z"


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"Message": ""}, "InvalidParameter", "Invalid parameter: Empty message"),
        ({"Message": "m" * 262_145}, "InvalidParameter", "Invalid parameter: Message too long"),
        ({"Message": "m", "Subject": ""}, "InvalidParameter", "Invalid parameter: Subject"),
        ({"Message": "m", "Subject": "s" * 101}, "InvalidParameter", "Invalid parameter: Subject"),
        ({"Message": "m", "Subject": "a\nb"}, "InvalidParameter", "Invalid parameter: Subject"),
        (
            {"Message": "m", "MessageStructure": "json"},
            "InvalidParameter",
            "Invalid parameter: Message Structure - JSON message body failed to parse",
        ),
        (
            {"Message": '{"sqs":"x"}', "MessageStructure": "json"},
            "InvalidParameter",
            "Invalid parameter: Message Structure - No default entry in JSON message body",
        ),
        (
            {"Message": "m", "MessageDeduplicationId": "d"},
            "InvalidParameter",
            "Invalid parameter: MessageDeduplicationId Reason: "
            "The request includes MessageDeduplicationId parameter that is not valid for this topic type",
        ),
        (
            {"Message": "m", "MessageGroupId": "a b"},
            "InvalidParameter",
            "Invalid parameter: MessageGroupId Reason: "
            "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.",
        ),
        (
            {"Message": "m", "MessageAttributes": {"k": {"DataType": "Bool", "StringValue": "x"}}},
            "ParameterValueInvalid",
            "The message attribute 'k' has an invalid message attribute type, the set of supported type prefixes is "
            "Binary, Number, and String.",
        ),
        (
            {"Message": "m", "MessageAttributes": {"k": {"DataType": "String", "StringValue": ""}}},
            "ParameterValueInvalid",
            "The message attribute 'k' must contain non-empty message attribute value for message attribute type 'String'.",
        ),
        (
            {"Message": "m", "MessageAttributes": {"k": {"DataType": "String", "BinaryValue": b"x"}}},
            "ParameterValueInvalid",
            "The message attribute 'k' with type 'String' must use field 'String'.",
        ),
        (
            {"Message": "m", "MessageAttributes": {"k": {"DataType": "Number", "StringValue": "x"}}},
            "ParameterValueInvalid",
            "Could not cast message attribute 'k' value to number.",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_messages_that_cannot_be_are_refused(sns: Sns, request_: dict[str, object], code: str, message: str) -> None:
    """Publish says what is wrong in AWS's words, and delivers nothing."""
    topic = await sns.topic()
    await sns.subscription(topic)
    assert await sns.refused("Publish", TopicArn=topic, **request_) == (code, message)
    assert await sns.delivered(0) == []


async def test_fifo_messages_need_their_ids(sns: Sns) -> None:
    """A FIFO topic wants a group, and an id where the content is not it."""
    topic = await sns.topic("t.fifo")
    assert await sns.refused("Publish", TopicArn=topic, Message="m") == (
        "InvalidParameter",
        "Invalid parameter: The MessageGroupId parameter is required for FIFO topics",
    )
    assert await sns.refused("Publish", TopicArn=topic, Message="m", MessageGroupId="g") == (
        "InvalidParameter",
        "Invalid parameter: The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
    )


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([], "EmptyBatchRequest"),
        ([{"Id": str(number), "Message": "m"} for number in range(11)], "TooManyEntriesInBatchRequest"),
        ([{"Id": "a", "Message": "m"}] * 2, "BatchEntryIdsNotDistinct"),
        ([{"Id": "a b", "Message": "m"}], "InvalidBatchEntryId"),
        ([{"Id": str(number), "Message": "m" * 140_000} for number in range(2)], "BatchRequestTooLong"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_batches_that_cannot_be_are_refused(sns: Sns, entries: list[dict[str, str]], code: str) -> None:
    """PublishBatch refuses the whole where the entries cannot be together."""
    topic = await sns.topic()
    assert (await sns.refused("PublishBatch", TopicArn=topic, PublishBatchRequestEntries=entries))[0] == code


async def test_text_messages_and_missing_targets_are_refused(sns: Sns) -> None:
    """Publish wants a topic."""
    assert await sns.refused("Publish", Message="m") == (
        "InvalidParameter",
        "Invalid parameter: TopicArn or TargetArn Reason: no value for required parameter",
    )
    assert (await sns.refused("Publish", Message="m", PhoneNumber="+41790000000"))[0] == "InvalidParameter"

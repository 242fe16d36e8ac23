"""Each error that SQS's operations document and lambdad can meet, provoked through boto3 and through the older Query protocol."""

import re
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError

from conftest import Lambdad  # type: ignore[import-not-found]

NAMESPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"
OLD = "AWS.SimpleQueueService."
URL, FIFO, NOWHERE = "<url>", "<fifo>", "<nowhere>"
ARN = "arn:aws:sqs:us-east-1:000000000000:"


class Case(NamedTuple):
    """A call, and what is answered: status, name in JSON, code in Query, message."""

    operation: str
    parameters: dict[str, Any]
    status: int
    name: str
    code: str
    message: str


def invalid(operation: str, parameters: dict[str, Any], message: str) -> Case:
    return Case(operation, parameters, 400, "InvalidParameterValueException", "InvalidParameterValue", message)


def missing(operation: str, parameters: dict[str, Any], what: str) -> Case:
    message = f"The request must contain the parameter {what}."
    return Case(operation, parameters, 400, "MissingRequiredParameterException", "MissingParameter", message)


TWICE = [{"Id": "a", "MessageBody": "m"}, {"Id": "a", "MessageBody": "m"}]
MANY = [{"Id": str(number), "MessageBody": "m"} for number in range(11)]
LONG = [{"Id": str(number), "MessageBody": "m" * 600_000} for number in range(2)]
NO_QUEUE = (400, "QueueDoesNotExist", f"{OLD}NonExistentQueue", "The specified queue does not exist.")
TYPE = "The request include parameter that is not valid for this queue type."

CASES = [
    *[
        Case(operation, {"QueueUrl": NOWHERE, **parameters}, *NO_QUEUE)
        for operation, parameters in [
            ("AddPermission", {"Label": "l", "AWSAccountIds": ["000000000000"], "Actions": ["SendMessage"]}),
            ("ChangeMessageVisibility", {"ReceiptHandle": "x", "VisibilityTimeout": 1}),
            ("ChangeMessageVisibilityBatch", {"Entries": [{"Id": "a", "ReceiptHandle": "x", "VisibilityTimeout": 1}]}),
            ("DeleteMessage", {"ReceiptHandle": "x"}),
            ("DeleteMessageBatch", {"Entries": [{"Id": "a", "ReceiptHandle": "x"}]}),
            ("DeleteQueue", {}),
            ("GetQueueAttributes", {}),
            ("ListDeadLetterSourceQueues", {}),
            ("ListQueueTags", {}),
            ("PurgeQueue", {}),
            ("ReceiveMessage", {}),
            ("RemovePermission", {"Label": "l"}),
            ("SendMessage", {"MessageBody": "m"}),
            ("SendMessageBatch", {"Entries": [{"Id": "a", "MessageBody": "m"}]}),
            ("SetQueueAttributes", {"Attributes": {"DelaySeconds": "1"}}),
            ("TagQueue", {"Tags": {"a": "b"}}),
            ("UntagQueue", {"TagKeys": ["a"]}),
        ]
    ],
    Case("GetQueueUrl", {"QueueName": "nowhere"}, *NO_QUEUE),
    Case(
        "SendMessage",
        {"QueueUrl": "http://host/x", "MessageBody": "m"},
        404,
        "InvalidAddress",
        "InvalidAddress",
        "The address http://host/x is not valid for this endpoint.",
    ),
    Case(
        "CreateQueue",
        {"QueueName": "errors", "Attributes": {"DelaySeconds": "9"}},
        400,
        "QueueNameExists",
        "QueueAlreadyExists",
        "A queue already exists with the same name and a different value for attribute DelaySeconds",
    ),
    invalid("CreateQueue", {"QueueName": "a b"}, "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"),
    Case(
        "CreateQueue",
        {"QueueName": "x", "Attributes": {"Colour": "red"}},
        400,
        "InvalidAttributeName",
        "InvalidAttributeName",
        "Unknown Attribute Colour.",
    ),
    Case(
        "GetQueueAttributes",
        {"QueueUrl": URL, "AttributeNames": ["Colour"]},
        400,
        "InvalidAttributeName",
        "InvalidAttributeName",
        "Unknown Attribute Colour.",
    ),
    Case(
        "SetQueueAttributes",
        {"QueueUrl": FIFO, "Attributes": {"FifoQueue": "false"}},
        400,
        "InvalidAttributeValue",
        "InvalidAttributeValue",
        "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.",
    ),
    Case(
        "CreateQueue",
        {"QueueName": "x", "Attributes": {"KmsMasterKeyId": "k"}},
        400,
        "UnsupportedOperation",
        f"{OLD}UnsupportedOperation",
        "lambdad does not encrypt queues with KMS keys; leave out KmsMasterKeyId.",
    ),
    missing("SendMessage", {"QueueUrl": URL}, "MessageBody"),
    missing("SendMessage", {"QueueUrl": FIFO, "MessageBody": "m"}, "MessageGroupId"),
    missing("SendMessage", {"MessageBody": "m"}, "QueueUrl"),
    invalid(
        "SendMessage",
        {"QueueUrl": FIFO, "MessageBody": "m", "MessageGroupId": "g"},
        "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
    ),
    invalid(
        "SendMessage",
        {"QueueUrl": FIFO, "MessageBody": "m", "MessageGroupId": "g", "MessageDeduplicationId": "d", "DelaySeconds": 2},
        f"Value 2 for parameter DelaySeconds is invalid. Reason: {TYPE}",
    ),
    invalid(
        "SendMessage",
        {"QueueUrl": URL, "MessageBody": "m", "MessageDeduplicationId": "d"},
        f"Value d for parameter MessageDeduplicationId is invalid. Reason: {TYPE}",
    ),
    invalid(
        "SendMessage",
        {"QueueUrl": URL, "MessageBody": "m", "DelaySeconds": 901},
        "Value 901 for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.",
    ),
    invalid(
        "SendMessage",
        {"QueueUrl": URL, "MessageBody": "m" * 1_048_577},
        "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.",
    ),
    Case(
        "SendMessage",
        {"QueueUrl": URL, "MessageBody": "\x00"},
        400,
        "InvalidMessageContents",
        "InvalidMessageContents",
        "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
    ),
    invalid(
        "SendMessage",
        {"QueueUrl": URL, "MessageBody": "m", "MessageAttributes": {"X": {"DataType": "String", "StringValue": ""}}},
        "Message (user) attribute 'X' must contain a non-empty value of type 'String'.",
    ),
    invalid(
        "SendMessage",
        {"QueueUrl": URL, "MessageBody": "m", "MessageAttributes": {"X": {"DataType": "Number", "StringValue": "x"}}},
        "Can't cast the value of message (user) attribute 'X' to a number.",
    ),
    invalid(
        "SendMessage",
        {"QueueUrl": URL, "MessageBody": "m", "MessageAttributes": {"X": {"DataType": "Colour", "StringValue": "x"}}},
        "The type of message (user) attribute 'X' is invalid. "
        "You must use only the following supported type prefixes: Binary, Number, String.",
    ),
    invalid(
        "SendMessage",
        {
            "QueueUrl": URL,
            "MessageBody": "m",
            "MessageAttributes": {f"X{number}": {"DataType": "String", "StringValue": "x"} for number in range(11)},
        },
        "Number of message attributes [11] exceeds the allowed maximum [10].",
    ),
    Case(
        "SendMessageBatch",
        {"QueueUrl": URL, "Entries": []},
        400,
        "EmptyBatchRequest",
        f"{OLD}EmptyBatchRequest",
        "There should be at least one SendMessageBatchRequestEntry in the request.",
    ),
    Case(
        "SendMessageBatch",
        {"QueueUrl": URL, "Entries": MANY},
        400,
        "TooManyEntriesInBatchRequest",
        f"{OLD}TooManyEntriesInBatchRequest",
        "Maximum number of entries per request are 10. You have sent 11.",
    ),
    Case(
        "SendMessageBatch",
        {"QueueUrl": URL, "Entries": TWICE},
        400,
        "BatchEntryIdsNotDistinct",
        f"{OLD}BatchEntryIdsNotDistinct",
        "Id a repeated.",
    ),
    Case(
        "SendMessageBatch",
        {"QueueUrl": URL, "Entries": [{"Id": "a b", "MessageBody": "m"}]},
        400,
        "InvalidBatchEntryId",
        f"{OLD}InvalidBatchEntryId",
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.",
    ),
    Case(
        "SendMessageBatch",
        {"QueueUrl": URL, "Entries": LONG},
        400,
        "BatchRequestTooLong",
        f"{OLD}BatchRequestTooLong",
        "Batch requests cannot be longer than 1048576 bytes. You have sent 1200000 bytes.",
    ),
    invalid(
        "ReceiveMessage",
        {"QueueUrl": URL, "MaxNumberOfMessages": 11},
        "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
    ),
    invalid(
        "ReceiveMessage",
        {"QueueUrl": URL, "WaitTimeSeconds": 21},
        "Value 21 for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided.",
    ),
    invalid(
        "ReceiveMessage",
        {"QueueUrl": URL, "ReceiveRequestAttemptId": "a"},
        f"Value a for parameter ReceiveRequestAttemptId is invalid. Reason: {TYPE}",
    ),
    Case(
        "DeleteMessage",
        {"QueueUrl": URL, "ReceiptHandle": "garbage"},
        404,
        "ReceiptHandleIsInvalid",
        "ReceiptHandleIsInvalid",
        'The input receipt handle "garbage" is not a valid receipt handle.',
    ),
    invalid(
        "AddPermission",
        {"QueueUrl": URL, "Label": "l", "AWSAccountIds": ["000000000000"], "Actions": ["DeleteQueue"]},
        "Value SQS:DeleteQueue for parameter ActionName is invalid. Reason: Only the queue owner is allowed to invoke this action.",
    ),
    Case(
        "AddPermission",
        {"QueueUrl": URL, "Label": "l", "AWSAccountIds": ["000000000000"], "Actions": ["SendMessage"] * 8},
        403,
        "OverLimit",
        "OverLimit",
        "8 Actions were found, maximum allowed is 7.",
    ),
    invalid("RemovePermission", {"QueueUrl": URL, "Label": "l"}, "Value l for parameter Label is invalid. Reason: can't find label."),
    Case(
        "StartMessageMoveTask",
        {"SourceArn": f"{ARN}nowhere"},
        404,
        "ResourceNotFoundException",
        "ResourceNotFoundException",
        "The resource that you specified for the SourceArn parameter doesn't exist.",
    ),
    invalid("StartMessageMoveTask", {"SourceArn": f"{ARN}errors"}, "Source queue must be configured as a Dead Letter Queue."),
]


@pytest.fixture(scope="module")
def urls(lambdad: Lambdad) -> dict[str, str]:
    client = lambdad.client("sqs")
    made = {
        URL: client.create_queue(QueueName="errors")["QueueUrl"],
        FIFO: client.create_queue(QueueName="errors.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"],
    }
    return {**made, NOWHERE: f"{lambdad.url}/000000000000/nowhere"}


def _parameters(case: Case, urls: dict[str, str]) -> dict[str, Any]:
    return {name: urls.get(value, value) if isinstance(value, str) else value for name, value in case.parameters.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operation}-{case.name}")
def test_errors_through_boto3(lambdad: Lambdad, urls: dict[str, str], case: Case) -> None:
    """boto3 reads the code of old, the new name, the message and the status."""
    client = lambdad.client("sqs", checks=False)
    method = getattr(client, re.sub(r"(?<!^)(?=[A-Z])", "_", case.operation).lower())
    with pytest.raises(ClientError) as caught:
        method(**_parameters(case, urls))
    response = caught.value.response
    assert response["Error"]["Code"] == case.code
    assert response["Error"]["QueryErrorCode"] == case.name
    assert response["Error"]["Type"] == "Sender"
    assert response["Error"]["Message"] == case.message
    assert response["ResponseMetadata"]["HTTPStatusCode"] == case.status
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-query-error"] == f"{case.code};Sender"


_LISTS = {"AttributeNames": "AttributeName", "AWSAccountIds": "AWSAccountId", "Actions": "ActionName", "TagKeys": "TagKey"}


def _form(operation: str, parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """Write a request as SDKs did before 2023."""
    fields = [("Action", operation), ("Version", "2012-11-05")]
    for name, value in parameters.items():
        if name == "Entries":
            for number, entry in enumerate(value, 1):
                fields += [(f"{operation}RequestEntry.{number}.{key}", str(each)) for key, each in entry.items()]
        elif name in ("Attributes", "Tags"):
            singular, key, item = ("Attribute", "Name", "Value") if name == "Attributes" else ("Tag", "Key", "Value")
            for number, pair in enumerate(value.items(), 1):
                fields += [(f"{singular}.{number}.{key}", pair[0]), (f"{singular}.{number}.{item}", pair[1])]
        elif name == "MessageAttributes":
            for number, (key, each) in enumerate(value.items(), 1):
                fields.append((f"MessageAttribute.{number}.Name", key))
                fields += [(f"MessageAttribute.{number}.Value.{part}", text) for part, text in each.items()]
        elif isinstance(value, list):
            fields += [(f"{_LISTS[name]}.{number}", each) for number, each in enumerate(value, 1)]
        else:
            fields.append((name, str(value)))
    return fields


def _query(url: str, fields: list[tuple[str, str]]) -> tuple[int, ElementTree.Element]:
    request = urllib.request.Request(
        url,
        urllib.parse.urlencode(fields).encode(),
        {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0"},
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, ElementTree.fromstring(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ElementTree.fromstring(error.read())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operation}-{case.name}")
def test_errors_in_the_query_protocol(lambdad: Lambdad, urls: dict[str, str], case: Case) -> None:
    """Clients of old read the code of old, in XML."""
    status, root = _query(lambdad.url, _form(case.operation, _parameters(case, urls)))
    assert status == case.status
    assert root.tag == f"{NAMESPACE}ErrorResponse"
    assert root.findtext(f"{NAMESPACE}Error/{NAMESPACE}Type") == "Sender"
    assert root.findtext(f"{NAMESPACE}Error/{NAMESPACE}Code") == case.code
    message = case.message
    if case.name == "QueueDoesNotExist":
        message = message.replace("does not exist.", "does not exist for this wsdl version.")
    assert root.findtext(f"{NAMESPACE}Error/{NAMESPACE}Message") == message


def test_a_round_in_the_query_protocol(lambdad: Lambdad) -> None:
    """Clients of old send, receive and delete; requests may go to the queue's own URL."""

    def ask(url: str, *fields: tuple[str, str]) -> ElementTree.Element:
        status, root = _query(url, [*fields, ("Version", "2012-11-05")])
        assert status == 200, ElementTree.tostring(root)
        return root

    def text(root: ElementTree.Element, *path: str) -> str | None:
        return root.findtext("/".join(NAMESPACE + step for step in path))

    root = ask(
        lambdad.url, ("Action", "CreateQueue"), ("QueueName", "old"), ("Attribute.1.Name", "DelaySeconds"), ("Attribute.1.Value", "0")
    )
    url = text(root, "CreateQueueResult", "QueueUrl")
    assert url == f"{lambdad.url}/000000000000/old"
    attribute = [
        ("MessageAttribute.1.Name", "a"),
        ("MessageAttribute.1.Value.DataType", "String"),
        ("MessageAttribute.1.Value.StringValue", "v"),
    ]
    root = ask(url, ("Action", "SendMessage"), ("MessageBody", "<m> & ä"), *attribute)
    assert text(root, "SendMessageResult", "MD5OfMessageBody")
    root = ask(url, ("Action", "ReceiveMessage"), ("AttributeName.1", "All"), ("MessageAttributeName.1", "All"))
    message = ("ReceiveMessageResult", "Message")
    assert text(root, *message, "Body") == "<m> & ä"
    assert text(root, *message, "MessageAttribute", "Value", "StringValue") == "v"
    assert text(root, *message, "Attribute", "Name")
    handle = text(root, *message, "ReceiptHandle")
    assert handle
    ask(url, ("Action", "DeleteMessage"), ("ReceiptHandle", handle))
    root = ask(url, ("Action", "GetQueueAttributes"), ("AttributeName.1", "ApproximateNumberOfMessagesNotVisible"))
    assert text(root, "GetQueueAttributesResult", "Attribute", "Value") == "0"
    ask(url, ("Action", "DeleteQueue"))


def test_errors_that_take_a_while(lambdad: Lambdad) -> None:
    """Purging twice, making a deleted queue anew, changing what is not in flight, moving what is being moved."""
    client = lambdad.client("sqs")
    url = client.create_queue(QueueName="twice")["QueueUrl"]
    client.purge_queue(QueueUrl=url)
    with pytest.raises(client.exceptions.PurgeQueueInProgress) as purged:
        client.purge_queue(QueueUrl=url)
    assert purged.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert purged.value.response["Error"]["Code"] == f"{OLD}PurgeQueueInProgress"
    client.send_message(QueueUrl=url, MessageBody="m")
    handle = client.receive_message(QueueUrl=url)["Messages"][0]["ReceiptHandle"]
    client.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    with pytest.raises(client.exceptions.MessageNotInflight):
        client.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=1)
    client.delete_queue(QueueUrl=url)
    with pytest.raises(client.exceptions.QueueDeletedRecently):
        client.create_queue(QueueName="twice")

"""Queues worked off by functions, through AWS's own clients: events, failures, filters, order, states and errors."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import Functions, Lambdad, eventually  # type: ignore[import-not-found]

# Prints what it was sent, and fails as the bodies say.
SOURCE = """
import json

def handler(event, context):
    for record in event["Records"]:
        print("RECORD " + json.dumps(record))
    bodies = [each["body"] for each in event["Records"]]
    if "raise" in bodies:
        raise RuntimeError("told to")
    first = [each for each in event["Records"] if each["attributes"]["ApproximateReceiveCount"] == "1"]
    return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in first if each["body"] == "bad"]}
"""


class Queues:
    """Queues and mappings of one test, deleted after it."""

    def __init__(self, lambdad: Lambdad, prefix: str) -> None:
        self.sqs = lambdad.client("sqs")
        self.client = lambdad.client("lambda")
        self._prefix = prefix
        self._urls: list[str] = []
        self._mappings: list[str] = []

    def create(self, suffix: str = "", **attributes: str) -> tuple[str, str]:
        """Return the URL and the ARN."""
        name = f"{self._prefix}-{len(self._urls)}{suffix}"
        url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self._urls.append(url)
        return url, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def map(self, arn: str, name: str, **options: Any) -> dict[str, Any]:
        """Return the mapping when it is enabled."""
        made = self.client.create_event_source_mapping(EventSourceArn=arn, FunctionName=name, **options)
        self._mappings.append(made["UUID"])
        return self.settled(made["UUID"])

    def settled(self, uuid: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            shown: dict[str, Any] = self.client.get_event_source_mapping(UUID=uuid)
            return shown if shown["State"] in ("Enabled", "Disabled") else None

        return dict(eventually(found, "the mapping settles"))

    def count(self, url: str) -> int:
        """Count all messages of a queue, visible or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
        return sum(map(int, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))

    def clean(self) -> None:
        for uuid in self._mappings:
            try:
                self.client.delete_event_source_mapping(UUID=uuid)
            except self.client.exceptions.ResourceNotFoundException:
                continue
        for url in self._urls:
            try:
                self.sqs.delete_queue(QueueUrl=url)
            except self.sqs.exceptions.QueueDoesNotExist:
                continue


@pytest.fixture
def queues(lambdad: Lambdad) -> Iterator[Queues]:
    made = Queues(lambdad, f"q-{os.urandom(4).hex()}")
    yield made
    made.clean()


def _refused(call: Callable[..., Any], **request: Any) -> tuple[str, str, int]:
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        call(**request)
    response = caught.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_a_record_is_what_aws_sends(functions: Functions, queues: Queues) -> None:
    """A function gets the records that AWS sends, member for member, and what it has dealt with is deleted."""
    name = functions.deploy(SOURCE)
    url, arn = queues.create()
    queues.map(arn, name)
    sent = queues.sqs.send_message(
        QueueUrl=url,
        MessageBody='{"a": "ä"}',
        MessageAttributes={
            "Author": {"DataType": "String", "StringValue": "x"},
            "Picture": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        },
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}},
    )
    (record,) = functions.records(name, 1)
    attributes = record.pop("attributes")
    assert record.pop("receiptHandle")
    assert record == {
        "messageId": sent["MessageId"],
        "body": '{"a": "ä"}',
        "messageAttributes": {
            "Author": {"stringValue": "x", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
            "Picture": {"binaryValue": "AP8=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
        },
        "md5OfMessageAttributes": sent["MD5OfMessageAttributes"],
        "md5OfBody": sent["MD5OfMessageBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": "us-east-1",
    }
    assert attributes.keys() == {
        *("ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp", "AWSTraceHeader"),
    }
    assert attributes["ApproximateReceiveCount"] == "1"
    assert int(attributes["ApproximateFirstReceiveTimestamp"]) >= int(attributes["SentTimestamp"]) > 1_600_000_000_000
    eventually(lambda: queues.count(url) == 0, "it is deleted")


def test_a_fifo_record_has_its_place(functions: Functions, queues: Queues) -> None:
    """Records of FIFO queues say their group, their number and their deduplication, and come in order."""
    name = functions.deploy(SOURCE)
    url, arn = queues.create(".fifo", FifoQueue="true", ContentBasedDeduplication="true")
    queues.map(arn, name, BatchSize=3)
    for number in range(20):
        queues.sqs.send_message(QueueUrl=url, MessageBody=str(number), MessageGroupId=f"g{number % 2}")
    records = functions.records(name, 20)
    for group in range(2):
        came = [each for each in records if each["attributes"]["MessageGroupId"] == f"g{group}"]
        assert [int(each["body"]) for each in came] == list(range(group, 20, 2))
        numbers = [each["attributes"]["SequenceNumber"] for each in came]
        assert numbers == sorted(numbers)
    assert all("MessageDeduplicationId" in each["attributes"] for each in records)


def test_what_fails_comes_again_and_ends_as_a_dead_letter(functions: Functions, queues: Queues) -> None:
    """A message whose function raises comes again by the queue's timeout, and is a dead letter after its last receive."""
    name = functions.deploy(SOURCE, Timeout=1)
    dead_url, dead_arn = queues.create()
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, arn = queues.create(VisibilityTimeout="1", RedrivePolicy=policy)
    queues.map(arn, name)
    queues.sqs.send_message(QueueUrl=url, MessageBody="raise")
    eventually(lambda: queues.count(dead_url) == 1, "it is a dead letter")
    counts = [record["attributes"]["ApproximateReceiveCount"] for record in functions.records(name, 2)]
    assert counts == ["1", "2"]
    assert queues.count(url) == 0


def test_reported_failures_come_again(functions: Functions, queues: Queues) -> None:
    """Of a batch whose function reports failures only these come again."""
    name = functions.deploy(SOURCE, Timeout=1)
    url, arn = queues.create(VisibilityTimeout="1")
    queues.map(arn, name, FunctionResponseTypes=["ReportBatchItemFailures"])
    entries = [{"Id": body, "MessageBody": body} for body in ("good", "bad", "better")]
    queues.sqs.send_message_batch(QueueUrl=url, Entries=entries)
    came = [(each["body"], each["attributes"]["ApproximateReceiveCount"]) for each in functions.records(name, 4)]
    assert sorted(came) == [("bad", "1"), ("bad", "2"), ("better", "1"), ("good", "1")]
    eventually(lambda: queues.count(url) == 0, "all are deleted")


def test_filters_delete_what_they_do_not_let_pass(functions: Functions, queues: Queues) -> None:
    """Messages that no filter lets pass are deleted, and the function does not hear of them."""
    name = functions.deploy(SOURCE)
    url, arn = queues.create()
    queues.map(arn, name, FilterCriteria={"Filters": [{"Pattern": '{"body": {"size": [{"numeric": [">", 5]}]}}'}]})
    for body in ('{"size": 3}', "text", '{"size": 7}'):
        queues.sqs.send_message(QueueUrl=url, MessageBody=body)
    assert [record["body"] for record in functions.records(name, 1)] == ['{"size": 7}']
    eventually(lambda: queues.count(url) == 0, "all are deleted")


def test_a_window_makes_batches_of_more_than_ten(functions: Functions, queues: Queues) -> None:
    """With a window, what comes during it is one event."""
    source = "def handler(event, context):\n    print('COUNT', len(event['Records']))\n"
    name = functions.deploy(source)
    url, arn = queues.create()
    for begin in range(0, 40, 10):
        entries = [{"Id": str(number), "MessageBody": str(number)} for number in range(begin, begin + 10)]
        queues.sqs.send_message_batch(QueueUrl=url, Entries=entries)
    queues.map(arn, name, BatchSize=100, MaximumBatchingWindowInSeconds=2)

    def counts() -> list[int]:
        return [int(line.split()[1]) for line in functions.log_lines(name, until="COUNT") if line.startswith("COUNT")]

    eventually(lambda: sum(counts()) == 40, "all have come")
    assert max(counts()) > 10


def test_an_alias_is_invoked_as_it_points_then(functions: Functions, queues: Queues) -> None:
    """A mapping to an alias follows it."""
    name = functions.deploy("def handler(event, context):\n    print('RAN', context.function_version)\n")
    version = functions.client.publish_version(FunctionName=name)["Version"]
    alias = functions.client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)["AliasArn"]
    url, arn = queues.create()
    assert queues.map(arn, alias)["FunctionArn"] == alias
    queues.sqs.send_message(QueueUrl=url, MessageBody="a")
    assert "RAN 1" in functions.log_lines(name, until="RAN 1")
    functions.client.update_alias(FunctionName=name, Name="live", FunctionVersion="$LATEST")
    queues.sqs.send_message(QueueUrl=url, MessageBody="b")
    assert "RAN $LATEST" in functions.log_lines(name, until="RAN $LATEST")


def test_a_mapping_is_disabled_and_enabled(functions: Functions, queues: Queues) -> None:
    """A disabled mapping leaves messages where they are, an enabled one works them off."""
    name = functions.deploy(SOURCE)
    url, arn = queues.create()
    mapping = queues.map(arn, name)
    assert mapping["State"] == "Enabled"
    assert queues.client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)["State"] == "Disabling"
    assert queues.settled(mapping["UUID"])["State"] == "Disabled"
    queues.sqs.send_message(QueueUrl=url, MessageBody="a")
    assert queues.count(url) == 1
    assert queues.client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)["State"] == "Enabling"
    assert [record["body"] for record in functions.records(name, 1)] == ["a"]


def test_a_queue_that_is_deleted_is_said(functions: Functions, queues: Queues) -> None:
    """A mapping whose queue is gone says so."""
    name = functions.deploy(SOURCE)
    url, arn = queues.create()
    mapping = queues.map(arn, name)
    queues.sqs.delete_queue(QueueUrl=url)
    reason = "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
    eventually(lambda: queues.settled(mapping["UUID"])["StateTransitionReason"].startswith(reason), "the mapping says so", 30)


def test_errors(functions: Functions, queues: Queues) -> None:
    """The operations' errors have AWS's codes, texts and statuses."""
    client, invalid = queues.client, "InvalidParameterValueException"
    name = functions.deploy(SOURCE)
    _, arn = queues.create()
    create = client.create_event_source_mapping
    missing = ("ResourceNotFoundException", "The resource you requested does not exist.", 404)
    unknown = "00000000-0000-4000-8000-000000000000"
    assert _refused(client.get_event_source_mapping, UUID=unknown) == missing
    assert _refused(client.update_event_source_mapping, UUID=unknown) == missing
    assert _refused(client.delete_event_source_mapping, UUID=unknown) == missing
    assert _refused(create, EventSourceArn=arn, FunctionName="nobody") == (invalid, "Function does not exist", 400)
    assert _refused(create, FunctionName=name) == (invalid, "Unrecognized event source.", 400)
    assert _refused(create, EventSourceArn=f"{arn}x", FunctionName=name) == (
        invalid,
        "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
        "SQS Error Message: The specified queue does not exist.",
        400,
    )
    slow = functions.deploy(SOURCE, Timeout=60)
    text = "Queue visibility timeout: 30 seconds is less than Function timeout: 60 seconds"
    assert _refused(create, EventSourceArn=arn, FunctionName=slow) == (invalid, text, 400)
    text = "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"
    assert _refused(create, EventSourceArn=arn, FunctionName=name, BatchSize=11) == (invalid, text, 400)
    filters = {"Filters": [{"Pattern": "text"}]}
    text = "Invalid filter pattern definition."
    assert _refused(create, EventSourceArn=arn, FunctionName=name, FilterCriteria=filters) == (invalid, text, 400)
    code, text, status = _refused(create, EventSourceArn=arn, FunctionName=name, ScalingConfig={"MaximumConcurrency": 2000})
    assert (code, status) == ("ValidationException", 400)
    assert "'scalingConfig.maximumConcurrency' failed to satisfy constraint" in text
    uuid = queues.map(arn, name)["UUID"]
    assert _refused(create, EventSourceArn=arn, FunctionName=name) == (
        "ResourceConflictException",
        f'An event source mapping with SQS arn (" {arn} ") and function (" {name} ") already exists. '
        f"Please update or delete the existing mapping with UUID {uuid}",
        409,
    )
    unknown_arn = f"arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{unknown}"
    assert _refused(client.list_tags, Resource=unknown_arn) == (
        "ResourceNotFoundException",
        f"Event source mapping not found: {unknown_arn}",
        404,
    )


def test_a_stop_lets_batches_end(own_lambdad: Callable[..., Lambdad]) -> None:
    """What runs when lambdad is stopped is finished and deleted, and does not come again after the next start."""
    lambdad = own_lambdad()
    functions, queues = Functions(lambdad, "stop"), Queues(lambdad, "stop")
    name = functions.deploy("import time\n\ndef handler(event, context):\n    print('BEGIN')\n    time.sleep(1.5)\n    print('DONE')\n")
    url, arn = queues.create()
    queues.map(arn, name)
    queues.sqs.send_message(QueueUrl=url, MessageBody="a")
    functions.log_lines(name, until="BEGIN")
    assert lambdad.stop() == 0
    lambdad.start()
    functions, queues = Functions(lambdad, "stop"), Queues(lambdad, "stop")
    assert queues.count(url) == 0
    assert [line for line in functions.log_lines(name, until="DONE") if line in ("BEGIN", "DONE")] == ["BEGIN", "DONE"]

"""Event source mappings from the queues of a server that is not ours: ElasticMQ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import elasticmq  # type: ignore[import-not-found]
import pytest
from botocore.config import Config

from conftest import Functions, Lambdad, eventually  # type: ignore[import-not-found]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SOURCE = """
import json

def handler(event, context):
    for record in event["Records"]:
        print("RECORD " + json.dumps(record))
    return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in event["Records"]
                                  if each["body"] == "bad" and each["attributes"]["ApproximateReceiveCount"] == "1"]}
"""


@pytest.fixture(scope="module")
def jars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(elasticmq.fetched(tmp_path_factory.mktemp("elasticmq")))


@pytest.fixture
def sqs(jars: Path, tmp_path: Path) -> Iterator[Any]:
    with elasticmq.running(jars, tmp_path) as url:
        client = boto3.client(
            "sqs", endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x", config=Config()
        )
        yield client
        client.close()


@pytest.fixture
def lambdad_beside(sqs: Any, tmp_path: Path) -> Iterator[Lambdad]:
    running = Lambdad(tmp_path / "data", environment={"LAMBDAD_ENDPOINTS": f"sqs={sqs.meta.endpoint_url}"})
    yield running.start()
    assert running.stop() == 0


def test_a_queue_elsewhere_is_worked_off(lambdad_beside: Lambdad, sqs: Any) -> None:
    """Messages of a queue at a configured endpoint reach the function as from AWS, come again where they failed, and are deleted."""
    functions = Functions(lambdad_beside, "elsewhere")
    url = sqs.create_queue(QueueName="q", Attributes={"VisibilityTimeout": "4"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    assert arn == "arn:aws:sqs:us-east-1:000000000000:q"
    name = functions.deploy(SOURCE)
    mapping = functions.client.create_event_source_mapping(
        FunctionName=name, EventSourceArn=arn, FunctionResponseTypes=["ReportBatchItemFailures"]
    )
    bodies = [*map(str, range(30)), "bad"]
    for body in bodies:
        attributes = {"Kind": {"DataType": "String", "StringValue": "k"}}
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)
    records = functions.records(name, 32, within_s=60)
    assert sorted(record["body"] for record in records) == sorted([*bodies, "bad"])
    assert {record["eventSourceARN"] for record in records} == {arn}
    assert {record["messageAttributes"]["Kind"]["stringValue"] for record in records} == {"k"}
    assert all(record["attributes"]["SentTimestamp"].isdigit() for record in records)

    def left() -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return sum(map(int, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))

    eventually(lambda: left() == 0, "all are deleted")
    functions.client.delete_event_source_mapping(UUID=mapping["UUID"])
    functions.clean()


def test_groups_of_a_queue_elsewhere_keep_their_order(lambdad_beside: Lambdad, sqs: Any) -> None:
    """Of a FIFO queue at a configured endpoint each group's messages come in order."""
    functions = Functions(lambdad_beside, "in-order")
    url = sqs.create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    name = functions.deploy(SOURCE)
    functions.client.create_event_source_mapping(FunctionName=name, EventSourceArn="arn:aws:sqs:us-east-1:000000000000:q.fifo", BatchSize=3)
    for number in range(40):
        sqs.send_message(QueueUrl=url, MessageBody=str(number), MessageGroupId=f"g{number % 4}", MessageDeduplicationId=str(number))
    records = functions.records(name, 40, within_s=60)
    for group in range(4):
        came = [int(record["body"]) for record in records if record["attributes"]["MessageGroupId"] == f"g{group}"]
        assert came == list(range(group, 40, 4))
    functions.clean()


def test_a_queue_that_is_not_elsewhere_either(lambdad_beside: Lambdad, sqs: Any) -> None:
    """A mapping from a queue that the endpoint does not have is refused as AWS refuses it."""
    functions = Functions(lambdad_beside, "none")
    name = functions.deploy(SOURCE)
    with pytest.raises(functions.client.exceptions.InvalidParameterValueException) as refused:
        functions.client.create_event_source_mapping(FunctionName=name, EventSourceArn="arn:aws:sqs:us-east-1:000000000000:none")
    assert refused.value.response["Error"]["Message"] == (
        "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
        "SQS Error Message: The specified queue does not exist."
    )
    functions.clean()

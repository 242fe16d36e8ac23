"""Ends of asynchronous invocations, through boto3: who hears of them, what is refused, and kill -9 in between."""

import concurrent.futures
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from conftest import Functions, Lambdad, eventually  # type: ignore[import-not-found]

SOURCE = """
def handler(event, context):
    if event.get("fail"):
        raise ValueError("told to")
    return {"got": event}
"""
ARN = "arn:aws:lambda:us-east-1:000000000000:function:{}"


class Queues:
    """Queues of one test, by their ARNs."""

    def __init__(self, lambdad: Lambdad, prefix: str) -> None:
        self.client = lambdad.client("sqs")
        self._prefix = prefix
        self._urls: dict[str, str] = {}

    def make(self, name: str) -> str:
        url = self.client.create_queue(QueueName=f"{self._prefix}-{name}")["QueueUrl"]
        arn: str = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self._urls[arn] = url
        return arn

    def admit(self, arn: str, principal: str, source_arn: str) -> None:
        """Let a service send to a queue."""
        allow = {
            "Effect": "Allow",
            "Principal": {"Service": principal},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": source_arn}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        self.client.set_queue_attributes(QueueUrl=self._urls[arn], Attributes={"Policy": policy})

    def receive(self, arn: str, wait_s: int = 10) -> list[dict[str, Any]]:
        """Return up to ten messages, and delete them."""
        url = self._urls[arn]
        messages = self.client.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_s, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"]
        ).get("Messages", [])
        for message in messages:
            self.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return list(messages)

    def one(self, arn: str) -> dict[str, Any]:
        (message,) = eventually(lambda: self.receive(arn), "a message", 30)
        return dict(message)


@pytest.fixture
def queues(lambdad: Lambdad) -> Queues:
    return Queues(lambdad, f"q{os.urandom(4).hex()}")


def test_success_and_failure_are_told_to_queues(functions: Functions, queues: Queues) -> None:
    """The record for each end, the dead letter for the failure, with the function's own words."""
    client = functions.client
    good, bad, dead = (queues.make(name) for name in ("good", "bad", "dead"))
    name = functions.deploy(SOURCE, DeadLetterConfig={"TargetArn": dead})
    assert client.get_function_configuration(FunctionName=name)["DeadLetterConfig"] == {"TargetArn": dead}
    config = client.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnSuccess": {"Destination": good}, "OnFailure": {"Destination": bad}},
    )
    assert config["FunctionArn"] == ARN.format(name) + ":$LATEST"
    request_id = client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"a": 1.50}')["ResponseMetadata"]["RequestId"]
    text = queues.one(good)["Body"]
    record = json.loads(text)
    assert '"requestPayload":{"a": 1.50}' in text
    assert record == {
        "version": "1.0",
        "timestamp": record["timestamp"],
        "requestContext": {
            "requestId": request_id,
            "functionArn": ARN.format(name) + ":$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"a": 1.5},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"got": {"a": 1.5}},
    }
    request_id = client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"fail": true}')["ResponseMetadata"]["RequestId"]
    record = json.loads(queues.one(bad)["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted" and record["requestContext"]["requestId"] == request_id
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert record["responsePayload"]["errorMessage"] == "told to" and record["responsePayload"]["errorType"] == "ValueError"
    letter = queues.one(dead)
    assert letter["Body"] == '{"fail": true}'
    attributes = {key: (value["DataType"], value["StringValue"]) for key, value in letter["MessageAttributes"].items()}
    assert attributes == {"RequestID": ("String", request_id), "ErrorCode": ("Number", "200"), "ErrorMessage": ("String", "told to")}
    assert not queues.receive(good, 0) and not queues.receive(bad, 0)


def test_functions_and_topics_hear_too(functions: Functions, queues: Queues, lambdad: Lambdad) -> None:
    """A destination that is a function gets the record as its event; a topic hands it on to its subscribers."""
    client, sns = functions.client, lambdad.client("sns")
    queue = queues.make("end")
    topic = sns.create_topic(Name=f"t{os.urandom(4).hex()}")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue, Attributes={"RawMessageDelivery": "true"})
    queues.admit(queue, "sns.amazonaws.com", topic)
    second = functions.deploy(SOURCE)
    first = functions.deploy(SOURCE)
    client.put_function_event_invoke_config(FunctionName=first, DestinationConfig={"OnSuccess": {"Destination": ARN.format(second)}})
    client.put_function_event_invoke_config(FunctionName=second, DestinationConfig={"OnSuccess": {"Destination": topic}})
    client.invoke(FunctionName=first, InvocationType="Event", Payload=b'{"chain": 1}')
    outer = json.loads(queues.one(queue)["Body"])
    assert outer["requestContext"]["functionArn"] == ARN.format(second) + ":$LATEST"
    assert outer["requestPayload"]["responsePayload"] == {"got": {"chain": 1}}


def test_a_bucket_gets_failures(functions: Functions, lambdad: Lambdad) -> None:
    """A failure becomes an object in AWS's place."""
    client, s3, bucket = functions.client, lambdad.client("s3"), f"b{os.urandom(4).hex()}"
    s3.create_bucket(Bucket=bucket)
    name = functions.deploy(SOURCE)
    destination = {"OnFailure": {"Destination": f"arn:aws:s3:::{bucket}"}}
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0, DestinationConfig=destination)
    client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"fail": true}')
    (found,) = eventually(lambda: s3.list_objects_v2(Bucket=bucket).get("Contents"), "an object", 30)
    assert re.fullmatch(rf"aws/lambda/async/{name}/\d{{4}}/\d\d/\d\d/[\dT.-]+-[0-9a-f-]{{36}}", found["Key"])
    record = json.load(s3.get_object(Bucket=bucket, Key=found["Key"])["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted" and record["requestPayload"] == {"fail": True}


def test_a_bus_gets_events_that_rules_match(functions: Functions, queues: Queues, lambdad: Lambdad) -> None:
    """A success becomes an event, and a rule hands it on."""
    client, events = functions.client, lambdad.client("events")
    bus, queue = f"bus{os.urandom(4).hex()}", queues.make("matched")
    try:
        bus_arn = events.create_event_bus(Name=bus)["EventBusArn"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NotImplementedException":
            raise
        pytest.skip("EventBridge is not built")
    pattern = {"source": ["lambda"], "detail": {"requestContext": {"condition": ["Success"]}}}
    rule_arn = events.put_rule(Name="r", EventBusName=bus, EventPattern=json.dumps(pattern))["RuleArn"]
    events.put_targets(Rule="r", EventBusName=bus, Targets=[{"Id": "1", "Arn": queue}])
    queues.admit(queue, "events.amazonaws.com", rule_arn)
    name = functions.deploy(SOURCE)
    client.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": bus_arn}})
    client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"n": 1}')
    event = json.loads(queues.one(queue)["Body"])
    assert (event["source"], event["detail-type"]) == ("lambda", "Lambda Function Invocation Result - Success")
    assert event["resources"] == [bus_arn, ARN.format(name) + ":$LATEST"]
    assert event["detail"]["requestPayload"] == {"n": 1}


def test_configurations_of_events_are_checked(functions: Functions) -> None:
    """Each error that is documented, as boto3 raises it."""
    client = functions.client
    name = functions.deploy(SOURCE)
    put = client.put_function_event_invoke_config

    def refused(code: str, call: Callable[..., Any], **request: Any) -> str:
        with pytest.raises(ClientError) as caught:
            call(**request)
        assert caught.value.response["Error"]["Code"] == code
        return str(caught.value.response["Error"]["Message"])

    invalid, missing = "InvalidParameterValueException", "ResourceNotFoundException"
    assert refused(invalid, put, FunctionName=name) == "You must specify at least one of error handling or destination setting."
    assert refused(missing, put, FunctionName="no-such", MaximumRetryAttempts=1) == "The function doesn't exist."
    itself = {"OnSuccess": {"Destination": ARN.format(name)}}
    assert refused(invalid, put, FunctionName=name, DestinationConfig=itself) == (
        "You can't specify the function as a destination for itself."
    )
    bucket = {"OnSuccess": {"Destination": "arn:aws:s3:::bucket"}}
    printed = "DestinationConfig(onSuccess=OnSuccess(destination=arn:aws:s3:::bucket), onFailure=null)"
    message = f"The provided destination config {printed} is invalid."
    assert refused(invalid, put, FunctionName=name, DestinationConfig=bucket) == message
    gone = {"OnFailure": {"Destination": ARN.format("no-such")}}
    message = f"The destination ARN {ARN.format('no-such')} is invalid."
    assert refused(invalid, put, FunctionName=name, DestinationConfig=gone) == message
    no_config = f"The function {ARN.format(name)}:$LATEST doesn't have an EventInvokeConfig"
    for call in (client.get_function_event_invoke_config, client.delete_function_event_invoke_config):
        assert refused(missing, call, FunctionName=name) == no_config
    assert refused(missing, client.update_function_event_invoke_config, FunctionName=name, MaximumRetryAttempts=1) == no_config
    assert refused(missing, client.list_function_event_invoke_configs, FunctionName="no-such") == "The function doesn't exist."
    broken = {"OnFailure": {"Destination": "queue"}}
    assert "destinationConfig.onFailure.destination" in refused("ValidationException", put, FunctionName=name, DestinationConfig=broken)
    fifo = {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:q.fifo"}
    assert "dead letter target" in refused(invalid, client.update_function_configuration, FunctionName=name, DeadLetterConfig=fifo)
    put(FunctionName=name, MaximumEventAgeInSeconds=60)
    assert client.update_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=2)["MaximumEventAgeInSeconds"] == 60
    (listed,) = client.list_function_event_invoke_configs(FunctionName=name)["FunctionEventInvokeConfigs"]
    assert listed["MaximumRetryAttempts"] == 2 and listed["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {}}
    client.delete_function_event_invoke_config(FunctionName=name)
    assert client.list_function_event_invoke_configs(FunctionName=name)["FunctionEventInvokeConfigs"] == []


def _send(lambdad: Lambdad, name: str, numbers: range) -> dict[str, bool]:
    """Send events until all are acknowledged; returns whether each is to fail, by its request id."""
    client = lambdad.client("lambda")
    acknowledged: dict[str, bool] = {}
    for number in numbers:
        fails = number % 3 == 0
        while True:
            try:
                answer = client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"fail": fails}))
                break
            except (BotoCoreError, ClientError):
                time.sleep(0.02)
        acknowledged[answer["ResponseMetadata"]["RequestId"]] = fails
    return acknowledged


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_end_reaches_its_queue_though_the_server_is_killed(own_lambdad: Callable[..., Lambdad]) -> None:
    """Events that fail are tried again after a minute; whatever is killed meanwhile, each acknowledged event is told, and one way only."""
    lambdad = own_lambdad()
    functions, queues = Functions(lambdad, "killed"), Queues(lambdad, "killed")
    good, bad = queues.make("good"), queues.make("bad")
    name = functions.deploy(SOURCE)
    destinations = {"OnSuccess": {"Destination": good}, "OnFailure": {"Destination": bad}}
    functions.client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1, DestinationConfig=destinations)
    dice = random.Random(7)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        senders = [pool.submit(_send, lambdad, name, range(start, start + 50)) for start in range(0, 300, 50)]
        for _ in range(4):
            time.sleep(dice.uniform(0.2, 0.8))
            if "server" in (pids := lambdad.pids()):
                os.kill(pids["server"], signal.SIGKILL)
        acknowledged: dict[str, bool] = {}
        for sender in senders:
            acknowledged |= sender.result(timeout=90)
    until_s = time.monotonic() + 120
    told: dict[str, set[str]] = {}
    while not acknowledged.keys() <= told.keys():
        assert time.monotonic() < until_s, f"{len(acknowledged.keys() - told.keys())} of {len(acknowledged)} are not told"
        for arn in (good, bad):
            for message in queues.receive(arn, 1):
                told.setdefault(json.loads(message["Body"])["requestContext"]["requestId"], set()).add(arn)
    for request_id, fails in acknowledged.items():
        assert told[request_id] == {bad if fails else good}
    assert lambdad.stop() == 0

"""EventBridge and Scheduler through AWS's own clients: from an event or a time to functions, queues, topics, logs and buses."""

import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from conftest import Functions, Lambdad, eventually  # type: ignore[import-not-found]

ROLE = "arn:aws:iam::000000000000:role/r"
OFF = {"Mode": "OFF"}
SOURCE = """
import json

def handler(event, context):
    print("EVENT " + json.dumps(event))
"""


class Stage:
    """Queues, rules and schedules of one test, deleted after it."""

    def __init__(self, lambdad: Lambdad) -> None:
        self.events = lambdad.client("events")
        self.scheduler = lambdad.client("scheduler")
        self.sqs = lambdad.client("sqs")
        self.id = f"e-{os.urandom(4).hex()}"
        self._clean: list[Callable[[], Any]] = []

    def queue(self, suffix: str = "", **attributes: str) -> tuple[str, str]:
        """Return the URL and the ARN of a new queue."""
        url = self.sqs.create_queue(QueueName=f"{self.id}-{len(self._clean)}{suffix}", Attributes=attributes)["QueueUrl"]
        self._clean.append(lambda: self.sqs.delete_queue(QueueUrl=url))
        return url, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def rule(self, *targets: dict[str, Any], **request: Any) -> str:
        """Put a rule for events whose source is the test's id, or as the request says, and return its ARN."""
        name = f"{self.id}-{len(self._clean)}"
        request = request or {"EventPattern": json.dumps({"source": [self.id]})}
        arn: str = self.events.put_rule(Name=name, **request)["RuleArn"]
        numbered = [{"Id": str(number), **target} for number, target in enumerate(targets)]
        if numbered:
            assert self.events.put_targets(Rule=name, Targets=numbered)["FailedEntryCount"] == 0

        def clean() -> None:
            if numbered:
                self.events.remove_targets(Rule=name, Ids=[target["Id"] for target in numbered])
            self.events.delete_rule(Name=name)

        self._clean.append(clean)
        return arn

    def put(self, detail: Any, **entry: Any) -> str:
        """Put an event from the test's source, and return its id."""
        whole = {"Source": self.id, "DetailType": "Order", "Detail": json.dumps(detail), **entry}
        answer = self.events.put_events(Entries=[whole])
        assert answer["FailedEntryCount"] == 0
        return str(answer["Entries"][0]["EventId"])

    def schedule(self, expression: str, target: dict[str, Any], **request: Any) -> str:
        name = f"{self.id}-{len(self._clean)}"
        whole = {"FlexibleTimeWindow": OFF, "Target": {"RoleArn": ROLE, **target}, **request}
        self.scheduler.create_schedule(Name=name, ScheduleExpression=expression, **whole)
        self._clean.append(lambda: self.scheduler.delete_schedule(Name=name))
        return name

    def receive(self, url: str) -> dict[str, Any]:
        """Return the next message of a queue."""

        def message() -> Any:
            asked = {"QueueUrl": url, "WaitTimeSeconds": 5, "MessageAttributeNames": ["All"], "AttributeNames": ["All"]}
            return self.sqs.receive_message(**asked).get("Messages")

        found: dict[str, Any] = eventually(message, "a message comes")[0]
        self.sqs.delete_message(QueueUrl=url, ReceiptHandle=found["ReceiptHandle"])
        return found

    def clean(self) -> None:
        for work in reversed(self._clean):
            with contextlib.suppress(ClientError):
                work()


@pytest.fixture
def stage(lambdad: Lambdad) -> Iterator[Stage]:
    made = Stage(lambdad)
    yield made
    made.clean()


def logged(functions: Functions, name: str) -> dict[str, Any]:
    lines = functions.log_lines(name, until="EVENT")
    return dict(json.loads(next(line for line in lines if line.startswith("EVENT"))[6:]))


def in_seconds(seconds: float) -> str:
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return at.strftime("at(%Y-%m-%dT%H:%M:%S)")


def test_an_event_starts_a_function(stage: Stage, functions: Functions) -> None:
    """A function that lets the rule in is started with AWS's event; one that does not is named in the dead-letter queue."""
    function, closed = functions.deploy(SOURCE), functions.deploy(SOURCE)
    dead_url, dead = stage.queue()
    arns = [functions.client.get_function_configuration(FunctionName=name)["FunctionArn"] for name in (function, closed)]
    rule = stage.rule({"Arn": arns[0]}, {"Arn": arns[1], "DeadLetterConfig": {"Arn": dead}})
    functions.client.add_permission(
        FunctionName=function, StatementId="s", Action="lambda:InvokeFunction", Principal="events.amazonaws.com", SourceArn=rule
    )
    event_id = stage.put({"n": 1}, Resources=["arn:x"], Time=datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC))
    assert logged(functions, function) == {
        "version": "0",
        "id": event_id,
        "detail-type": "Order",
        "source": stage.id,
        "account": "000000000000",
        "time": "2026-01-31T12:00:00Z",
        "region": "us-east-1",
        "resources": ["arn:x"],
        "detail": {"n": 1},
    }
    letter = stage.receive(dead_url)
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert (attributes["RULE_ARN"], attributes["TARGET_ARN"], attributes["ERROR_CODE"]) == (rule, arns[1], "NO_PERMISSIONS")
    assert json.loads(letter["Body"])["id"] == event_id


def test_queues_topics_logs_and_buses(stage: Stage, lambdad: Lambdad) -> None:
    """One event reaches a FIFO queue, a topic's subscriber, a log group, and a queue behind another bus in another region."""
    fifo_url, fifo = stage.queue(".fifo", FifoQueue="true", ContentBasedDeduplication="true")
    topic_url, topic_queue = stage.queue()
    far_sqs, far_events = (lambdad.client(service, region_name="eu-west-1") for service in ("sqs", "events"))
    far_url = far_sqs.create_queue(QueueName=stage.id)["QueueUrl"]
    far_queue = far_sqs.get_queue_attributes(QueueUrl=far_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    bus = far_events.create_event_bus(Name=stage.id)["EventBusArn"]
    far_events.put_rule(Name="far", EventBusName=stage.id, EventPattern=json.dumps({"account": ["000000000000"]}))
    far_events.put_targets(Rule="far", EventBusName=stage.id, Targets=[{"Id": "1", "Arn": far_queue}])
    sns, logs = lambdad.client("sns"), lambdad.client("logs")
    topic = sns.create_topic(Name=stage.id)["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=topic_queue, Attributes={"RawMessageDelivery": "true"})
    group = f"/aws/events/{stage.id}"
    logs.create_log_group(logGroupName=group)
    transformer = {"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": '"number <n>"'}
    stage.rule(
        {"Arn": fifo, "SqsParameters": {"MessageGroupId": "g"}, "InputPath": "$.detail"},
        {"Arn": topic, "InputTransformer": transformer},
        {"Arn": f"arn:aws:logs:us-east-1:000000000000:log-group:{group}"},
        {"Arn": bus, "RoleArn": ROLE},
    )
    event_id = stage.put({"n": 5})
    message = stage.receive(fifo_url)
    assert message["Body"] == '{"n":5}' and message["Attributes"]["MessageGroupId"] == "g"
    assert stage.receive(topic_url)["Body"] == '"number 5"'
    found = eventually(lambda: logs.filter_log_events(logGroupName=group)["events"], "the event is in the log")
    assert json.loads(found[0]["message"])["id"] == event_id
    arrived = eventually(lambda: far_sqs.receive_message(QueueUrl=far_url, WaitTimeSeconds=5).get("Messages"), "the event is far away")
    assert json.loads(arrived[0]["Body"])["id"] == event_id
    assert json.loads(arrived[0]["Body"])["region"] == "us-east-1"
    far_events.remove_targets(Rule="far", EventBusName=stage.id, Ids=["1"])
    far_events.delete_rule(Name="far", EventBusName=stage.id)
    far_events.delete_event_bus(Name=stage.id)


def test_an_archive_is_replayed(stage: Stage) -> None:
    """What an archive has kept is sent again by a replay, with its name."""
    url, arn = stage.queue()
    stage.rule({"Arn": arn})
    bus = stage.events.describe_event_bus()["Arn"]
    archive = stage.events.create_archive(
        ArchiveName=stage.id, EventSourceArn=bus, EventPattern=json.dumps({"source": [stage.id]}), RetentionDays=1
    )
    now = datetime.datetime.now(datetime.UTC)
    event_id = stage.put({"n": 1})
    stage.receive(url)
    stage.events.start_replay(
        ReplayName=stage.id,
        EventSourceArn=archive["ArchiveArn"],
        EventStartTime=now - datetime.timedelta(minutes=1),
        EventEndTime=now + datetime.timedelta(minutes=1),
        Destination={"Arn": bus},
    )
    body = json.loads(stage.receive(url)["Body"])
    assert (body["id"], body["replay-name"]) == (event_id, stage.id)
    eventually(lambda: stage.events.describe_replay(ReplayName=stage.id)["State"] == "COMPLETED", "the replay ends")
    stage.events.delete_archive(ArchiveName=stage.id)


def test_schedules(stage: Stage, functions: Functions) -> None:
    """A time starts a function and a rate any operation; a schedule that has had its last time is gone if it was told so."""
    function = functions.deploy(SOURCE)
    arn = functions.client.get_function_configuration(FunctionName=function)["FunctionArn"]
    url, _ = stage.queue()
    once = stage.schedule(in_seconds(2), {"Arn": arn, "Input": '{"at": "<aws.scheduler.scheduled-time>"}'}, ActionAfterCompletion="DELETE")
    params = {"QueueUrl": url, "MessageBody": "<aws.scheduler.schedule-arn>"}
    rate = stage.schedule("rate(1 hour)", {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", "Input": json.dumps(params)})
    assert stage.receive(url)["Body"] == f"arn:aws:scheduler:us-east-1:000000000000:schedule/default/{rate}"
    assert logged(functions, function)["at"].endswith("Z")
    with pytest.raises(stage.scheduler.exceptions.ResourceNotFoundException):
        stage.scheduler.get_schedule(Name=once)


@pytest.mark.slow
def test_a_thousand_schedules_in_the_same_second(stage: Stage) -> None:
    """A thousand schedules that are due in the same second are all started within two seconds, each once."""
    url, arn = stage.queue()
    group = stage.scheduler.create_schedule_group(Name=stage.id)["ScheduleGroupArn"].rpartition("/")[2]
    at_s = int(time.time()) + 25
    expression = time.strftime("at(%Y-%m-%dT%H:%M:%S)", time.gmtime(at_s))
    for number in range(1000):
        target = {"Arn": arn, "RoleArn": ROLE, "Input": str(number)}
        stage.scheduler.create_schedule(
            Name=f"s{number}", GroupName=group, ScheduleExpression=expression, FlexibleTimeWindow=OFF, Target=target
        )
    assert time.time() < at_s, "this machine is too slow for the test"
    sent: dict[str, int] = {}
    end_s = at_s + 30
    while len(sent) < 1000 and time.time() < end_s:
        asked = {"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1, "AttributeNames": ["SentTimestamp"]}
        for message in stage.sqs.receive_message(**asked).get("Messages", []):
            assert message["Body"] not in sent
            sent[message["Body"]] = int(message["Attributes"]["SentTimestamp"])
    assert sent.keys() == {str(number) for number in range(1000)}
    assert at_s * 1000 <= min(sent.values()) and max(sent.values()) <= at_s * 1000 + 2000
    stage.scheduler.delete_schedule_group(Name=group)


@pytest.mark.slow
def test_nothing_that_was_put_is_lost(own_lambdad: Callable[..., Lambdad]) -> None:
    """kill -9 of everything while events are put and schedules are started: what was acknowledged arrives."""
    running = own_lambdad()
    stage = Stage(running)
    url, arn = stage.queue()
    stage.rule({"Arn": arn})
    schedules = {stage.schedule(in_seconds(3), {"Arn": arn, "Input": f"schedule-{number}"}): f"schedule-{number}" for number in range(50)}
    wanted = set(schedules.values())
    for round_ in range(3):
        for number in range(150):
            with contextlib.suppress(ClientError, BotoCoreError):
                stage.put({"n": f"{round_}-{number}"})
                wanted.add(f"{round_}-{number}")
            if number == 100:
                for pid in running.pids().values():
                    os.kill(pid, signal.SIGKILL)
    got: set[str] = set()

    def collect() -> bool:
        with contextlib.suppress(ClientError, BotoCoreError):
            for message in stage.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
                body = message["Body"]
                got.add(body if body.startswith("schedule") else json.loads(body)["detail"]["n"])
                stage.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return wanted <= got

    eventually(collect, "everything arrives", within_s=60)


def aws(lambdad: Lambdad, *arguments: str) -> Any:
    """Run the AWS CLI and return what it prints, read as JSON."""
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": lambdad.url,
        "AWS_CONFIG_FILE": "/nonexistent",
    }
    program = str(Path(sys.executable).with_name("aws"))
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def test_the_aws_cli(lambdad: Lambdad, stage: Stage) -> None:
    """`aws events` and `aws scheduler` do what their help says."""
    url, arn = stage.queue()
    name = stage.id
    made = aws(lambdad, "events", "put-rule", "--name", name, "--event-pattern", json.dumps({"source": [name]}))
    assert made["RuleArn"].endswith(f":rule/{name}")
    assert aws(lambdad, "events", "put-targets", "--rule", name, "--targets", f"Id=1,Arn={arn}")["FailedEntryCount"] == 0
    assert aws(lambdad, "events", "list-targets-by-rule", "--rule", name)["Targets"] == [{"Id": "1", "Arn": arn}]
    entries = json.dumps([{"Source": name, "DetailType": "d", "Detail": '{"a":1}'}])
    assert aws(lambdad, "events", "put-events", "--entries", entries)["FailedEntryCount"] == 0
    assert json.loads(stage.receive(url)["Body"])["detail"] == {"a": 1}
    aws(lambdad, "events", "remove-targets", "--rule", name, "--ids", "1")
    aws(lambdad, "events", "delete-rule", "--name", name)
    target = json.dumps({"Arn": arn, "RoleArn": ROLE, "Input": "hello"})
    words = ("--name", name, "--schedule-expression", "rate(1 day)", "--flexible-time-window", "Mode=OFF", "--target", target)
    aws(lambdad, "scheduler", "create-schedule", *words)
    assert stage.receive(url)["Body"] == "hello"
    assert aws(lambdad, "scheduler", "get-schedule", "--name", name)["State"] == "ENABLED"
    aws(lambdad, "scheduler", "delete-schedule", "--name", name)


def test_errors_through_boto3(stage: Stage, lambdad: Lambdad) -> None:
    """Errors have the classes, statuses and texts that boto3's users look for."""
    events, scheduler = stage.events, stage.scheduler
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    bus = "arn:aws:events:us-east-1:000000000000:event-bus/default"
    archive = "arn:aws:events:us-east-1:000000000000:archive/nope"
    name = stage.id
    scheduler.create_schedule_group(Name=name)
    events.create_event_bus(Name=name)
    events.create_archive(ArchiveName=name, EventSourceArn=bus)
    span = {"EventStartTime": at, "EventEndTime": at + datetime.timedelta(days=1)}
    kept = f"arn:aws:events:us-east-1:000000000000:archive/{name}"
    events.start_replay(ReplayName=name, EventSourceArn=kept, Destination={"Arn": bus}, **span)
    eventually(lambda: events.describe_replay(ReplayName=name)["State"] == "COMPLETED", "the replay ends")
    target = {"Arn": "arn:aws:sqs:us-east-1:000000000000:q", "RoleArn": ROLE}
    whole = {"Name": "x", "ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": OFF, "Target": target}
    rule = stage.rule({"Arn": target["Arn"]}).rpartition("/")[2]
    six = [{"Id": f"x{number}", "Arn": target["Arn"]} for number in range(6)]
    long_policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Sid": "x" * 11_000}]})
    many_tags = [{"Key": str(number), "Value": "v"} for number in range(51)]
    group_arn = f"arn:aws:scheduler:us-east-1:000000000000:schedule-group/{name}"
    cases: list[tuple[Callable[..., Any], dict[str, Any], str, int]] = [
        (events.put_rule, {"Name": "r"}, "ValidationException", 400),
        (events.put_rule, {"Name": "r", "EventPattern": "{}"}, "InvalidEventPatternException", 400),
        (events.put_rule, {"Name": "r", "ScheduleExpression": "rate(1 minutes)"}, "ValidationException", 400),
        (events.put_rule, {"Name": "r", "EventBusName": "nope", "EventPattern": '{"a":[1]}'}, "ResourceNotFoundException", 400),
        (events.test_event_pattern, {"EventPattern": '{"a":[]}', "Event": "{}"}, "ValidationException", 400),
        (events.describe_rule, {"Name": "nope"}, "ResourceNotFoundException", 400),
        (events.delete_rule, {"Name": rule}, "ValidationException", 400),
        (events.put_targets, {"Rule": rule, "Targets": six}, "LimitExceededException", 400),
        (events.put_targets, {"Rule": rule, "Targets": [{"Id": "1", "Arn": "x"}]}, "ValidationException", 400),
        (events.put_events, {"Entries": [{"Source": "s", "DetailType": "d", "Detail": "{}"}] * 11}, "ValidationException", 400),
        (events.create_event_bus, {"Name": name}, "ResourceAlreadyExistsException", 400),
        (events.delete_event_bus, {"Name": "default"}, "ValidationException", 400),
        (events.put_permission, {"Policy": long_policy}, "PolicyLengthExceededException", 400),
        (events.remove_permission, {"StatementId": "nope"}, "ResourceNotFoundException", 400),
        (events.create_archive, {"ArchiveName": name, "EventSourceArn": bus}, "ResourceAlreadyExistsException", 400),
        (events.create_archive, {"ArchiveName": "x", "EventSourceArn": bus, "EventPattern": "[]"}, "InvalidEventPatternException", 400),
        (events.describe_archive, {"ArchiveName": "nope"}, "ResourceNotFoundException", 400),
        (
            events.start_replay,
            {"ReplayName": "x", "EventSourceArn": archive, "Destination": {"Arn": bus}, **span},
            "ValidationException",
            400,
        ),
        (
            events.start_replay,
            {"ReplayName": name, "EventSourceArn": kept, "Destination": {"Arn": bus}, **span},
            "ResourceAlreadyExistsException",
            400,
        ),
        (events.cancel_replay, {"ReplayName": name}, "IllegalStatusException", 400),
        (events.describe_replay, {"ReplayName": "nope"}, "ResourceNotFoundException", 400),
        (events.tag_resource, {"ResourceARN": bus, "Tags": many_tags}, "LimitExceededException", 400),
        (events.list_connections, {}, "NotImplementedException", 501),
        (scheduler.create_schedule, {**whole, "ScheduleExpression": "rate(1)"}, "ValidationException", 400),
        (scheduler.create_schedule, {**whole, "GroupName": "nope"}, "ResourceNotFoundException", 404),
        (scheduler.get_schedule, {"Name": "nope"}, "ResourceNotFoundException", 404),
        (scheduler.update_schedule, {**whole, "Name": "nope"}, "ResourceNotFoundException", 404),
        (scheduler.delete_schedule, {"Name": "nope"}, "ResourceNotFoundException", 404),
        (scheduler.create_schedule_group, {"Name": name}, "ConflictException", 409),
        (scheduler.delete_schedule_group, {"Name": "default"}, "ValidationException", 400),
        (scheduler.tag_resource, {"ResourceArn": group_arn, "Tags": many_tags}, "ServiceQuotaExceededException", 402),
    ]
    for call, request, code, status in cases:
        with pytest.raises(ClientError) as caught:
            call(**request)
        answered = caught.value.response
        assert (answered["Error"]["Code"], answered["ResponseMetadata"]["HTTPStatusCode"]) == (code, status), (request, answered)
    stage.schedule("rate(1 day)", {"Arn": target["Arn"]})
    taken = scheduler.list_schedules(NamePrefix=name)["Schedules"][0]["Name"]
    with pytest.raises(scheduler.exceptions.ConflictException, match=f"Schedule {taken} already exists."):
        scheduler.create_schedule(**{**whole, "Name": taken})
    events.delete_archive(ArchiveName=name)
    events.delete_event_bus(Name=name)
    scheduler.delete_schedule_group(Name=name)

"""EventBridge through its handlers, on both databases."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from events_house import ACCOUNT, START_MS, Clock, House, Neighbours, ShownOutbox

from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region
from lambdad.services.events.app import EventsService, migrations
from lambdad.services.outbox import migrations as outbox_migrations
from lambdad.services.ports import Origin
from lambdad.store.database import open_database

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
BUS = "arn:aws:events:us-east-1:000000000000:event-bus"
RULE = "arn:aws:events:us-east-1:000000000000:rule"
MINUTE_MS = 60_000
DAY_MS = 86_400_000


class Events(House):
    """EventBridge, called by somebody."""

    def __init__(self, service: EventsService, clock: Clock, outbox: ShownOutbox) -> None:
        super().__init__(service.service(), clock, outbox)
        self.service = service

    async def rule(self, name: str, *targets: dict[str, Any], bus: str = "default", **request: Any) -> None:
        """Put a rule for source "shop", or as the request says, with targets."""
        if not request:
            request = {"EventPattern": '{"source":["shop"]}'}
        await self("PutRule", Name=name, EventBusName=bus, **request)
        if targets:
            await self(
                "PutTargets", Rule=name, EventBusName=bus, Targets=[{"Id": str(number), **each} for number, each in enumerate(targets)]
            )

    async def put(self, *details: Any, source: str = "shop", bus: str = "default", **request: Any) -> Any:
        entries = [
            {"Source": source, "DetailType": "Order", "Detail": json.dumps(detail), "EventBusName": bus, **request}
            for detail in details or ({},)
        ]
        return await self("PutEvents", Entries=entries)


@asynccontextmanager
async def opened(url: str, clock: Clock) -> AsyncIterator[Events]:
    numbers = itertools.count(1)
    async with (
        open_database(url, migrations=[outbox_migrations(), migrations()], now_ms=clock) as database,
        asyncio.TaskGroup() as tasks,
    ):
        outbox = ShownOutbox(database, Neighbours(), clock)
        service = EventsService(
            database, outbox, clock, new_id=lambda: f"id-{next(numbers)}", spawn=lambda work: [tasks.create_task(work)].clear()
        )
        await service.load()
        yield Events(service, clock, outbox)


@pytest.fixture
async def events(database_url: str) -> AsyncIterator[Events]:
    async with opened(database_url, Clock()) as service:
        yield service


async def test_a_matching_event_becomes_deliveries(events: Events) -> None:
    """Each target of each matching rule gets the event, for the rule and in its name."""
    await events.rule("a", {"Arn": FUNCTION}, {"Arn": QUEUE, "RetryPolicy": {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 60}})
    await events.rule("b", {"Arn": FUNCTION}, EventPattern='{"source":["other"]}')
    assert await events.put({"n": 1}) == {"FailedEntryCount": 0, "Entries": [{"EventId": "id-1"}]}
    invoke, send = events.outbox.take()
    assert invoke.origin == Origin(
        account=AccountId(ACCOUNT), region=Region("us-east-1"), principal="events.amazonaws.com", source_arn=f"{RULE}/a"
    )
    assert (invoke.service, invoke.operation, invoke.maximum_attempts, invoke.maximum_age_s) == ("lambda", "Invoke", 186, 86_400)
    assert json.loads(invoke.params["Payload"]) == {
        "version": "0",
        "id": "id-1",
        "detail-type": "Order",
        "source": "shop",
        "account": ACCOUNT,
        "time": "2023-11-14T22:13:20Z",
        "region": "us-east-1",
        "resources": [],
        "detail": {"n": 1},
    }
    assert (send.service, send.operation, send.maximum_attempts, send.maximum_age_s) == ("sqs", "SendMessage", 3, 60)
    assert send.params["QueueUrl"] == "https://sqs.us-east-1.amazonaws.com/000000000000/q"


async def test_entries_fail_one_by_one(events: Events) -> None:
    """A bad entry is told in its place, and the others are taken; too much together is refused."""
    await events.rule("a", {"Arn": FUNCTION})
    good = {"Source": "shop", "DetailType": "d", "Detail": "{}"}
    answer = await events("PutEvents", Entries=[good, {"DetailType": "d", "Detail": "{}"}, {**good, "Detail": "x"}, good])
    assert answer["FailedEntryCount"] == 2
    assert [each.get("ErrorCode") for each in answer["Entries"]] == [None, "InvalidArgument", "MalformedDetail", None]
    assert len(events.outbox.take()) == 2
    large = {**good, "Detail": json.dumps({"x": "y" * 600_000})}
    assert await events.refused("PutEvents", Entries=[large, large]) == (
        "ValidationException",
        "Total size of the entries in the request is over the limit.",
    )


async def test_a_bus_that_is_not_there_swallows_events(events: Events) -> None:
    """As in AWS, an event for a bus that is not there has an id and goes nowhere."""
    assert (await events.put(bus="none"))["Entries"] == [{"EventId": "id-1"}]
    assert events.outbox.take() == []


async def test_large_events(events: Events) -> None:
    """An event that is so large that it is matched aside reaches its targets all the same."""
    await events.rule("a", {"Arn": FUNCTION}, EventPattern='{"detail":{"list":[99999]}}')
    await events.rule("b", {"Arn": QUEUE}, EventPattern='{"detail":{"list":[-1]}}')
    await events.put({"list": list(range(100_000))})
    assert [each.service for each in events.outbox.take()] == ["lambda"]


async def test_an_event_for_another_account_says_where_it_comes_from(events: Events) -> None:
    """An event that is put on the bus of another account has the account of who put it."""
    await events("CreateEventBus", Name="theirs", account="111122223333")
    await events("PutRule", Name="r", EventBusName="theirs", EventPattern='{"source":["shop"]}', account="111122223333")
    await events("PutTargets", Rule="r", EventBusName="theirs", Targets=[{"Id": "1", "Arn": FUNCTION}], account="111122223333")
    await events.put(bus="arn:aws:events:us-east-1:111122223333:event-bus/theirs")
    (delivery,) = events.outbox.take()
    assert json.loads(delivery.params["Payload"])["account"] == ACCOUNT and delivery.origin.account == "111122223333"


async def test_services_put_their_events(events: Events) -> None:
    """A neighbour service puts events of AWS's sources on the default bus; a client may not."""
    await events.rule("a", {"Arn": FUNCTION}, EventPattern='{"source":["aws.s3"]}')
    origin = Origin(account=AccountId(ACCOUNT), region=Region("us-east-1"), principal="s3.amazonaws.com", source_arn="arn:aws:s3:::b")
    entry = {"Source": "aws.s3", "DetailType": "Object Created", "Detail": "{}"}
    assert (await events("PutEvents", Entries=[entry], origin=origin))["FailedEntryCount"] == 0
    assert len(events.outbox.take()) == 1
    assert (await events("PutEvents", Entries=[entry]))["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"


async def test_everything_is_there_after_a_restart(database_url: str) -> None:
    """Buses, rules, targets, tags, policies and archives are read again."""
    clock = Clock()
    async with opened(database_url, clock) as events:
        await events("CreateEventBus", Name="orders", Description="d", Tags=[{"Key": "k", "Value": "v"}])
        await events("PutPermission", EventBusName="orders", StatementId="s", Action="events:PutEvents", Principal="*")
        await events.rule("a", {"Arn": FUNCTION}, bus="orders")
        await events("CreateArchive", ArchiveName="kept", EventSourceArn=f"{BUS}/orders")
        before = [await events("DescribeEventBus", Name="orders"), await events("DescribeRule", Name="a", EventBusName="orders")]
        await events.put(bus="orders")
    async with opened(database_url, clock) as events:
        assert [await events("DescribeEventBus", Name="orders"), await events("DescribeRule", Name="a", EventBusName="orders")] == before
        assert await events("ListTagsForResource", ResourceARN=f"{BUS}/orders") == {"Tags": [{"Key": "k", "Value": "v"}]}
        assert (await events("DescribeArchive", ArchiveName="kept"))["EventCount"] == 1
        await events.put(bus="orders")
        assert len(events.outbox.take()) == 1


async def test_buses(events: Events) -> None:
    """Buses are made, changed, listed by pages and removed; the default bus is always there."""
    assert await events("DescribeEventBus") == {"Name": "default", "Arn": f"{BUS}/default"}
    assert await events("CreateEventBus", Name="b", Description="d") == {"EventBusArn": f"{BUS}/b", "Description": "d"}
    assert await events.refused("CreateEventBus", Name="b") == ("ResourceAlreadyExistsException", "Event bus b already exists.")
    assert await events.refused("CreateEventBus", Name="default") == ("ResourceAlreadyExistsException", "Event bus default already exists.")
    assert (await events.refused("CreateEventBus", Name="a/b"))[0] == "ValidationException"
    assert (await events.refused("CreateEventBus", Name="c", LogConfig={"Level": "INFO"}))[0] == "ValidationException"
    events.clock.ms += 5000
    await events("UpdateEventBus", Name="b", Description="e")
    described = await events("DescribeEventBus", Name=f"{BUS}/b")
    assert described["Description"] == "e" and described["LastModifiedTime"] - described["CreationTime"] == timedelta(seconds=5)
    first = await events("ListEventBuses", Limit=1)
    second = await events("ListEventBuses", Limit=1, NextToken=first["NextToken"])
    assert [bus["Name"] for page in (first, second) for bus in page["EventBuses"]] == ["b", "default"] and "NextToken" not in second
    assert [bus["Name"] for bus in (await events("ListEventBuses", NamePrefix="de"))["EventBuses"]] == ["default"]
    await events.rule("a", bus="b")
    assert await events.refused("DeleteEventBus", Name="b") == ("ValidationException", "Event bus can't be deleted since it has rules.")
    await events("DeleteRule", Name="a", EventBusName="b")
    await events("DeleteEventBus", Name="b")
    await events("DeleteEventBus", Name="b")
    assert await events.refused("DescribeEventBus", Name="b") == ("ResourceNotFoundException", "Event bus b does not exist.")
    assert await events.refused("DeleteEventBus", Name="default") == ("ValidationException", "Cannot delete event bus default.")
    assert await events.refused("ListEventBuses", NextToken="!") == ("ValidationException", "Parameter NextToken is not valid.")


async def test_rules(events: Events) -> None:
    """Rules are put, replaced, switched, listed by pages and removed."""
    assert await events("PutRule", Name="a", EventPattern='{"source":["x"]}', Description="d", Tags=[{"Key": "k", "Value": "v"}]) == {
        "RuleArn": f"{RULE}/a"
    }
    await events("PutTargets", Rule="a", Targets=[{"Id": "1", "Arn": FUNCTION}])
    await events("PutRule", Name="a", ScheduleExpression="rate(5 minutes)", State="DISABLED")
    assert await events("DescribeRule", Name="a") == {
        "Name": "a",
        "Arn": f"{RULE}/a",
        "EventBusName": "default",
        "ScheduleExpression": "rate(5 minutes)",
        "State": "DISABLED",
        "CreatedBy": ACCOUNT,
    }
    assert (await events("ListTagsForResource", ResourceARN=f"{RULE}/a"))["Tags"] == [{"Key": "k", "Value": "v"}]
    assert (await events("ListTargetsByRule", Rule="a"))["Targets"] == [{"Id": "1", "Arn": FUNCTION}]
    await events("EnableRule", Name="a")
    assert (await events("DescribeRule", Name="a"))["State"] == "ENABLED"
    await events("DisableRule", Name="a")
    await events.rule("b")
    await events.rule("c")
    first = await events("ListRules", Limit=2)
    second = await events("ListRules", Limit=2, NextToken=first["NextToken"])
    assert [rule["Name"] for page in (first, second) for rule in page["Rules"]] == ["a", "b", "c"]
    assert [rule["Name"] for rule in (await events("ListRules", NamePrefix="b"))["Rules"]] == ["b"]
    assert await events.refused("DeleteRule", Name="a") == ("ValidationException", "Rule can't be deleted since it has targets.")
    await events("RemoveTargets", Rule="a", Ids=["1"])
    await events("DeleteRule", Name="a")
    await events("DeleteRule", Name="a")
    missing = ("ResourceNotFoundException", "Rule a does not exist on EventBus default.")
    for operation, request in {
        "DescribeRule": {"Name": "a"},
        "EnableRule": {"Name": "a"},
        "DisableRule": {"Name": "a"},
        "PutTargets": {"Rule": "a", "Targets": []},
        "RemoveTargets": {"Rule": "a", "Ids": []},
        "ListTargetsByRule": {"Rule": "a"},
        "ListTagsForResource": {"ResourceARN": f"{RULE}/a"},
    }.items():
        assert await events.refused(operation, **request) == missing


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({}, "ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified."),
        ({"ScheduleExpression": "rate(1 minutes)"}, "ValidationException", "Parameter ScheduleExpression is not valid."),
        (
            {"ScheduleExpression": "rate(1 minute)", "EventBusName": "b"},
            "ValidationException",
            "ScheduleExpression is supported only on the default event bus.",
        ),
        (
            {"EventPattern": '{"a":"b"}'},
            "InvalidEventPatternException",
            'Event pattern is not valid. Reason: "a" must be an object or an array',
        ),
        ({"EventPattern": '{"a":["b"]}', "EventBusName": "b"}, "ResourceNotFoundException", "Event bus b does not exist."),
    ],
)
async def test_rules_that_cannot_be(events: Events, request_: dict[str, Any], code: str, message: str) -> None:
    """What could never match or start is refused."""
    assert await events.refused("PutRule", Name="r", **request_) == (code, message)


async def test_targets(events: Events) -> None:
    """Targets are put and replaced by their ids, listed by pages, found by their ARNs, and at most five."""
    await events.rule("a", {"Arn": FUNCTION}, {"Arn": QUEUE})
    await events.rule("b", {"Arn": QUEUE})
    await events("PutTargets", Rule="a", Targets=[{"Id": "0", "Arn": QUEUE, "InputPath": "$.detail"}])
    first = await events("ListTargetsByRule", Rule="a", Limit=1)
    second = await events("ListTargetsByRule", Rule="a", Limit=1, NextToken=first["NextToken"])
    assert first["Targets"] + second["Targets"] == [{"Id": "0", "Arn": QUEUE, "InputPath": "$.detail"}, {"Id": "1", "Arn": QUEUE}]
    assert await events("ListRuleNamesByTarget", TargetArn=QUEUE) == {"RuleNames": ["a", "b"]}
    page = await events("ListRuleNamesByTarget", TargetArn=QUEUE, Limit=1)
    assert await events("ListRuleNamesByTarget", TargetArn=QUEUE, NextToken=page["NextToken"]) == {"RuleNames": ["b"]}
    six = [{"Id": f"x{number}", "Arn": QUEUE} for number in range(4)]
    assert await events.refused("PutTargets", Rule="a", Targets=six) == (
        "LimitExceededException",
        "The requested resource exceeds the maximum number allowed.",
    )
    assert await events("RemoveTargets", Rule="a", Ids=["0", "9"]) == {
        "FailedEntryCount": 1,
        "FailedEntries": [
            {"TargetId": "9", "ErrorCode": "ResourceNotFoundException", "ErrorMessage": "Rule 'a' does not have a target with the Id '9'."}
        ],
    }


async def test_a_rule_on_one_bus_sends_to_another(events: Events) -> None:
    """An event goes on to a second bus, in another region too, as it is; to a third one it does not."""
    await events("CreateEventBus", Name="second")
    await events("CreateEventBus", Name="third", region="eu-west-1")
    third = "arn:aws:events:eu-west-1:000000000000:event-bus/third"
    await events.rule("to-second", {"Arn": f"{BUS}/second", "RoleArn": "arn:aws:iam::000000000000:role/r"})
    await events.rule("to-function", {"Arn": FUNCTION}, {"Arn": third}, bus="second")
    await events("PutRule", Name="r", EventBusName="third", EventPattern='{"source":["shop"]}', region="eu-west-1")
    await events("PutTargets", Rule="r", EventBusName="third", Targets=[{"Id": "1", "Arn": QUEUE}], region="eu-west-1")
    await events.put({"n": 1})
    (delivery,) = events.outbox.take()
    assert delivery.origin.source_arn == f"{RULE}/second/to-function"
    assert json.loads(delivery.params["Payload"])["detail"] == {"n": 1}
    await events.put(bus="second")
    assert [each.service for each in events.outbox.take()] == ["lambda", "sqs"]


async def test_a_bus_that_is_gone_makes_a_dead_letter(events: Events) -> None:
    """Where the bus of a target is not there, its dead-letter queue hears of it."""
    await events.rule("a", {"Arn": f"{BUS}/gone", "DeadLetterConfig": {"Arn": QUEUE}})
    await events.put({"n": 1})
    (delivery,) = events.outbox.take()
    attributes = {name: value["StringValue"] for name, value in delivery.params["MessageAttributes"].items()}
    assert attributes["ERROR_CODE"] == "NO_RESOURCE" and attributes["TARGET_ARN"] == f"{BUS}/gone"
    assert json.loads(delivery.params["MessageBody"])["detail"] == {"n": 1}


async def test_a_target_that_refuses_makes_a_dead_letter(events: Events) -> None:
    """What a target's service refuses for good is in the dead-letter queue with AWS's attributes."""
    events.outbox.neighbours.errors["lambda"] = AwsError("AccessDeniedException", "no", status=403)
    await events.rule("a", {"Arn": FUNCTION, "Input": '{"x":1}', "DeadLetterConfig": {"Arn": QUEUE}})
    await events.put()
    await events.outbox.deliver(2)
    _, service, operation, params = events.outbox.neighbours.calls[1]
    assert (service, operation, params["MessageBody"]) == ("sqs", "SendMessage", '{"x":1}')
    assert {name: value["StringValue"] for name, value in params["MessageAttributes"].items()} == {
        "RULE_ARN": f"{RULE}/a",
        "TARGET_ARN": FUNCTION,
        "ERROR_CODE": "NO_PERMISSIONS",
        "ERROR_MESSAGE": "no",
        "RETRY_ATTEMPTS": "0",
    }


async def test_a_log_group_gets_its_stream_first(events: Events) -> None:
    """An event for a log group is two calls in order: make a stream, put the event."""
    await events.rule("a", {"Arn": "arn:aws:logs:us-east-1:000000000000:log-group:/aws/events/all"})
    await events.put({"n": 1})
    await events.outbox.deliver(2)
    assert [call[2] for call in events.outbox.neighbours.calls] == ["CreateLogStream", "PutLogEvents"]
    made, put = (call[3] for call in events.outbox.neighbours.calls)
    assert made["logStreamName"] == put["logStreamName"] and put["logEvents"][0]["timestamp"] == START_MS


async def test_rules_start_by_the_clock(events: Events) -> None:
    """A rate starts its targets each time once, with a Scheduled Event; a disabled rule does not."""
    await events.rule("every", {"Arn": FUNCTION}, ScheduleExpression="rate(5 minutes)")
    await events.rule("off", {"Arn": FUNCTION}, ScheduleExpression="rate(1 minute)", State="DISABLED")
    assert await events.service.schedules.step(events.clock.ms) == START_MS + 5 * MINUTE_MS
    assert events.outbox.take() == []
    events.clock.ms += 5 * MINUTE_MS
    assert await events.service.schedules.step(events.clock.ms) == START_MS + 10 * MINUTE_MS
    assert await events.service.schedules.step(events.clock.ms) == START_MS + 10 * MINUTE_MS
    (delivery,) = events.outbox.take()
    shown = json.loads(delivery.params["Payload"])
    assert {**shown, "id": ""} == {
        "version": "0",
        "id": "",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": "2023-11-14T22:18:20Z",
        "region": "us-east-1",
        "resources": [f"{RULE}/every"],
        "detail": {},
    }


async def test_times_that_were_missed(database_url: str) -> None:
    """After a night without lambdad the latest missed time is made up for, and what is older than a day is not."""
    clock = Clock()
    async with opened(database_url, clock) as events:
        await events.rule("hourly", {"Arn": FUNCTION}, ScheduleExpression="cron(0 * * * ? *)")
        await events.rule("yearly", {"Arn": FUNCTION}, ScheduleExpression="cron(0 0 15 11 ? *)")
    clock.ms += 8 * 3_600_000
    async with opened(database_url, clock) as events:
        await events.service.schedules.step(clock.ms)
        times = {json.loads(each.params["Payload"])["time"] for each in events.outbox.take()}
        assert times == {"2023-11-15T06:00:00Z", "2023-11-15T00:00:00Z"}
    clock.ms += 3 * 365 * DAY_MS + 5 * DAY_MS
    async with opened(database_url, clock) as events:
        await events.service.schedules.step(clock.ms)
        assert len(events.outbox.take()) == 1


async def test_a_rule_that_is_put_again_keeps_its_rate(events: Events) -> None:
    """The same schedule goes on as before; another one, or one that was switched off, begins anew."""
    await events.rule("a", {"Arn": FUNCTION}, ScheduleExpression="rate(5 minutes)")
    events.clock.ms += 3 * MINUTE_MS
    await events("PutRule", Name="a", ScheduleExpression="rate(5 minutes)", Description="d")
    assert await events.service.schedules.step(events.clock.ms) == START_MS + 5 * MINUTE_MS
    await events("DisableRule", Name="a")
    assert await events.service.schedules.step(events.clock.ms) is None
    await events("EnableRule", Name="a")
    assert await events.service.schedules.step(events.clock.ms) == events.clock.ms + 5 * MINUTE_MS


async def test_archives_and_replays(events: Events) -> None:
    """An archive keeps what its pattern matches, and a replay sends it again to the rules that are asked for, exactly once."""
    await events.rule("a", {"Arn": FUNCTION})
    await events.rule("b", {"Arn": QUEUE})
    created = await events("CreateArchive", ArchiveName="kept", EventSourceArn=f"{BUS}/default", EventPattern='{"detail":{"n":[1,2]}}')
    assert created["State"] == "ENABLED"
    for number in range(4):
        events.clock.ms += 1000
        await events.put({"n": number})
    events.outbox.take()
    described = await events("DescribeArchive", ArchiveName="kept")
    assert described["EventCount"] == 2 and described["SizeBytes"] > 0 and described["RetentionDays"] == 0
    at = datetime.fromtimestamp(START_MS / 1000, UTC)
    request = {
        "EventSourceArn": created["ArchiveArn"],
        "EventStartTime": at,
        "EventEndTime": at + timedelta(hours=1),
        "Destination": {"Arn": f"{BUS}/default", "FilterArns": [f"{RULE}/b"]},
    }
    assert (await events("StartReplay", ReplayName="again", **request))["State"] == "STARTING"
    assert await events.refused("StartReplay", ReplayName="again", **request) == (
        "ResourceAlreadyExistsException",
        "Replay again already exists.",
    )
    step = events.service.replays._step
    while await step(events.clock.ms) is not None:
        pass
    bodies = [json.loads(each.params["MessageBody"]) for each in events.outbox.take()]
    assert [body["detail"]["n"] for body in bodies] == [1, 2] and {body["replay-name"] for body in bodies} == {"again"}
    assert (await events("DescribeReplay", ReplayName="again"))["State"] == "COMPLETED"
    assert (await events("DescribeArchive", ArchiveName="kept"))["EventCount"] == 2
    assert [each["ReplayName"] for each in (await events("ListReplays", State="COMPLETED"))["Replays"]] == ["again"]
    assert (await events.refused("CancelReplay", ReplayName="again"))[0] == "IllegalStatusException"
    await events("StartReplay", ReplayName="never", **request)
    assert (await events("CancelReplay", ReplayName="never"))["State"] == "CANCELLING"
    await step(events.clock.ms)
    assert (await events("DescribeReplay", ReplayName="never"))["State"] == "CANCELLED"
    assert events.outbox.take() == []


async def test_archives_keep_for_so_long(events: Events) -> None:
    """Events older than an archive's retention are removed, and all of them with the archive."""
    await events("CreateArchive", ArchiveName="a", EventSourceArn=f"{BUS}/default", RetentionDays=2)
    await events.put()
    events.clock.ms += DAY_MS
    await events.put()
    events.clock.ms += DAY_MS + 1000
    await events.service.archives.expire(events.clock.ms)
    assert (await events("DescribeArchive", ArchiveName="a"))["EventCount"] == 1
    await events("UpdateArchive", ArchiveName="a", RetentionDays=5)
    assert (await events("DescribeArchive", ArchiveName="a"))["RetentionDays"] == 5
    await events("DeleteArchive", ArchiveName="a")
    await events.service.archives.expire(events.clock.ms)
    assert (await events("ListArchives"))["Archives"] == []


async def test_errors_of_archives_and_replays(events: Events) -> None:
    """What is not there, is there already or does not fit is told in AWS's words."""
    at = datetime.fromtimestamp(START_MS / 1000, UTC)
    source = f"{BUS}/default"
    await events("CreateArchive", ArchiveName="a", EventSourceArn=source)
    assert await events.refused("CreateArchive", ArchiveName="a", EventSourceArn=source) == (
        "ResourceAlreadyExistsException",
        "Archive a already exists.",
    )
    assert await events.refused("CreateArchive", ArchiveName="b", EventSourceArn=f"{BUS}/x") == (
        "ResourceNotFoundException",
        "Event bus x does not exist.",
    )
    assert (await events.refused("CreateArchive", ArchiveName="b", EventSourceArn=source, EventPattern="[]"))[0] == (
        "InvalidEventPatternException"
    )
    for operation in ("DescribeArchive", "UpdateArchive", "DeleteArchive"):
        assert await events.refused(operation, ArchiveName="x") == ("ResourceNotFoundException", "Archive x does not exist.")
    for operation in ("DescribeReplay", "CancelReplay"):
        assert await events.refused(operation, ReplayName="x") == ("ResourceNotFoundException", "Replay x does not exist.")
    assert (await events.refused("ListArchives", NamePrefix="a", State="ENABLED"))[0] == "ValidationException"
    replay = {
        "ReplayName": "r",
        "EventSourceArn": "arn:aws:events:us-east-1:000000000000:archive/a",
        "EventStartTime": at,
        "EventEndTime": at + timedelta(days=1),
        "Destination": {"Arn": source},
    }
    for changed, message in (
        ({"EventEndTime": at}, "Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime."),
        ({"Destination": {"Arn": f"{BUS}/x"}}, "Parameter Destination.Arn is not valid. Reason: Cross event bus replay is not permitted."),
        ({"EventSourceArn": f"{BUS}/x"}, "Parameter EventSourceArn is not valid. Reason: Must contain an archive ARN."),
        (
            {"EventSourceArn": "arn:aws:events:us-east-1:000000000000:archive/x"},
            "Parameter EventSourceArn is not valid. Reason: Archive x does not exist.",
        ),
    ):
        assert await events.refused("StartReplay", **{**replay, **changed}) == ("ValidationException", message)


async def test_tags(events: Events) -> None:
    """Rules and buses have up to fifty tags; other ARNs have none."""
    await events.rule("a")
    for arn in (f"{RULE}/a", f"{BUS}/default"):
        await events("TagResource", ResourceARN=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
        await events("UntagResource", ResourceARN=arn, TagKeys=["a", "x"])
        assert await events("ListTagsForResource", ResourceARN=arn) == {"Tags": [{"Key": "b", "Value": "2"}]}
        many = [{"Key": str(number), "Value": ""} for number in range(50)]
        assert (await events.refused("TagResource", ResourceARN=arn, Tags=many))[0] == "LimitExceededException"
    assert (await events.refused("ListTagsForResource", ResourceARN="arn:aws:events:us-east-1:1:x/y"))[0] == "ResourceNotFoundException"


async def test_permissions(events: Events) -> None:
    """A bus's policy is shown, and what is not in it cannot be removed."""
    await events("PutPermission", StatementId="s", Action="events:PutEvents", Principal="*")
    assert json.loads((await events("DescribeEventBus"))["Policy"])["Statement"][0]["Sid"] == "s"
    assert await events.refused("RemovePermission", StatementId="x") == (
        "ResourceNotFoundException",
        "Statement with the provided id does not exist.",
    )
    await events("RemovePermission", StatementId="s")
    assert "Policy" not in await events("DescribeEventBus")


async def test_event_patterns_can_be_tried(events: Events) -> None:
    """TestEventPattern says whether an event matches, and wants a whole event."""
    event = {"id": "1", "account": "1", "source": "s", "time": "t", "region": "r", "resources": [], "detail-type": "d"}
    assert await events("TestEventPattern", EventPattern='{"source":["s"]}', Event=json.dumps(event)) == {"Result": True}
    assert await events("TestEventPattern", EventPattern='{"source":["x"]}', Event=json.dumps(event)) == {"Result": False}
    assert await events.refused("TestEventPattern", EventPattern='{"source":["s"]}', Event="{}") == (
        "ValidationException",
        "Parameter Event is not valid.",
    )
    assert (await events.refused("TestEventPattern", EventPattern="{", Event=json.dumps(event)))[0] == "InvalidEventPatternException"

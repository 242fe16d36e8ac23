"""EventBridge Scheduler through its handlers, on both databases."""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from events_house import ACCOUNT, START_MS, Clock, House, Neighbours, ShownOutbox

from lambdad.model.errors import AwsError
from lambdad.services.outbox import migrations as outbox_migrations
from lambdad.services.scheduler.app import SchedulerService, migrations
from lambdad.store.database import open_database

ROLE = "arn:aws:iam::000000000000:role/scheduler"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:dead"
ARN = "arn:aws:scheduler:us-east-1:000000000000"
MINUTE_MS = 60_000
OFF = {"Mode": "OFF"}


class Scheduler(House):
    """Scheduler, called by somebody."""

    def __init__(self, service: SchedulerService, clock: Clock, outbox: ShownOutbox) -> None:
        super().__init__(service.service(), clock, outbox)
        self.step = service.step

    async def create(self, name: str = "s", expression: str = "rate(5 minutes)", **request: Any) -> Any:
        return await self("CreateSchedule", **self.request(name, expression, **request))

    def request(self, name: str = "s", expression: str = "rate(5 minutes)", *, target: dict[str, Any] | None = None, **request: Any) -> Any:
        whole = {"Arn": FUNCTION, "RoleArn": ROLE, **(target or {})}
        return {"Name": name, "ScheduleExpression": expression, "FlexibleTimeWindow": OFF, "Target": whole, **request}

    async def started(self) -> list[str]:
        """Do what is due now, and return for which times functions were started."""
        await self.step(self.clock.ms)
        return [json.loads(each.params["Payload"])["time"] for each in self.outbox.take()]


@asynccontextmanager
async def opened(url: str, clock: Clock) -> AsyncIterator[Scheduler]:
    numbers = itertools.count(1)
    async with open_database(url, migrations=[outbox_migrations(), migrations()], now_ms=clock) as database:
        outbox = ShownOutbox(database, Neighbours(), clock)
        service = SchedulerService(database, outbox, clock, new_id=lambda: f"id-{next(numbers)}", draw=lambda: 0.5)
        yield Scheduler(service, clock, outbox)


@pytest.fixture
async def scheduler(database_url: str) -> AsyncIterator[Scheduler]:
    async with opened(database_url, Clock()) as service:
        yield service


async def test_a_schedule_starts_its_target_each_time_once(scheduler: Scheduler) -> None:
    """A rate starts its function at once and then every so often, as the schedule's role and for the schedule."""
    assert await scheduler.create() == {"ScheduleArn": f"{ARN}:schedule/default/s"}
    assert await scheduler.step(START_MS) == START_MS + 5 * MINUTE_MS
    assert await scheduler.step(START_MS) == START_MS + 5 * MINUTE_MS
    (delivery,) = scheduler.outbox.take()
    assert (delivery.service, delivery.operation, delivery.maximum_attempts, delivery.maximum_age_s) == ("lambda", "Invoke", 186, 86_400)
    assert (delivery.origin.account, delivery.origin.principal, delivery.origin.source_arn) == (ACCOUNT, "", f"{ARN}:schedule/default/s")
    scheduler.clock.ms += 5 * MINUTE_MS
    assert await scheduler.started() == ["2023-11-14T22:18:20Z"]


async def test_a_schedule_is_shown_as_it_was_made(scheduler: Scheduler) -> None:
    """GetSchedule gives what was given, with AWS's defaults."""
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15}
    target = {"Input": '{"a":1}', "DeadLetterConfig": {"Arn": QUEUE}, "RetryPolicy": {"MaximumRetryAttempts": 3}}
    await scheduler.create(
        expression="cron(0 9 ? * MON-FRI *)",
        target=target,
        StartDate=start,
        EndDate=end,
        Description="d",
        ScheduleExpressionTimezone="Europe/Berlin",
        FlexibleTimeWindow=window,
        State="DISABLED",
        ActionAfterCompletion="DELETE",
    )
    made = datetime.fromtimestamp(START_MS / 1000, UTC)
    assert await scheduler("GetSchedule", Name="s") == {
        "Arn": f"{ARN}:schedule/default/s",
        "Name": "s",
        "GroupName": "default",
        "ScheduleExpression": "cron(0 9 ? * MON-FRI *)",
        "ScheduleExpressionTimezone": "Europe/Berlin",
        "StartDate": start,
        "EndDate": end,
        "Description": "d",
        "State": "DISABLED",
        "ActionAfterCompletion": "DELETE",
        "FlexibleTimeWindow": window,
        "CreationDate": made,
        "LastModificationDate": made,
        "Target": {
            "Arn": FUNCTION,
            "RoleArn": ROLE,
            **target,
            "RetryPolicy": {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 86_400},
        },
    }
    scheduler.clock.ms += 1000
    await scheduler("UpdateSchedule", **scheduler.request(expression="rate(1 hour)"))
    shown = await scheduler("GetSchedule", Name="s")
    assert shown["LastModificationDate"] - shown["CreationDate"] == timedelta(seconds=1)
    assert (shown["State"], shown["ScheduleExpressionTimezone"], shown["FlexibleTimeWindow"]) == ("ENABLED", "UTC", OFF)
    assert not shown.keys() & {"StartDate", "EndDate", "Description"}


async def test_time_zones_and_windows(scheduler: Scheduler) -> None:
    """A local time is met in its zone, somewhere in the window."""
    window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 10}
    await scheduler.create(expression="cron(0 9 * * ? *)", ScheduleExpressionTimezone="Asia/Tokyo", FlexibleTimeWindow=window)
    due_ms = await scheduler.step(START_MS)
    assert due_ms is not None and datetime.fromtimestamp(due_ms / 1000, UTC) == datetime(2023, 11, 15, 0, 5, tzinfo=UTC)
    scheduler.clock.ms = due_ms
    assert await scheduler.started() == ["2023-11-15T00:00:00Z"]


async def test_after_completion(scheduler: Scheduler) -> None:
    """After its last time a schedule stays, or is deleted if it was told so."""
    end = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(minutes=7)
    await scheduler.create("once", "at(2023-11-14T22:15:00)", ActionAfterCompletion="DELETE")
    await scheduler.create("kept", "at(2023-11-14T22:15:00)")
    await scheduler.create("ending", "rate(5 minutes)", EndDate=end, ActionAfterCompletion="DELETE")
    assert await scheduler.started() == ["2023-11-14T22:13:20Z"]
    scheduler.clock.ms += 5 * MINUTE_MS
    scheduler.clock.ms -= 150_000  # 22:15:50
    assert await scheduler.started() == ["2023-11-14T22:15:00Z"] * 2
    assert [each["Name"] for each in (await scheduler("ListSchedules"))["Schedules"]] == ["ending", "kept"]
    scheduler.clock.ms += 150_000
    assert await scheduler.started() == ["2023-11-14T22:18:20Z"]
    assert [each["Name"] for each in (await scheduler("ListSchedules"))["Schedules"]] == ["kept"]
    assert await scheduler.step(scheduler.clock.ms) is None


async def test_a_schedule_survives_a_restart(database_url: str) -> None:
    """After hours without lambdad the latest missed time is made up for, once."""
    clock = Clock()
    async with opened(database_url, clock) as scheduler:
        await scheduler.create(expression="cron(0/10 * * * ? *)")
    clock.ms += 3 * 3_600_000
    async with opened(database_url, clock) as scheduler:
        assert await scheduler.started() == ["2023-11-15T01:10:00Z"]
        assert await scheduler.started() == []
        assert await scheduler.step(clock.ms) == START_MS + 3 * 3_600_000 + 400_000


async def test_an_update_does_not_start_a_rate_anew(scheduler: Scheduler) -> None:
    """A rate goes on as it was unless its expression, its start or its state changes."""
    await scheduler.create()
    await scheduler.started()
    scheduler.clock.ms += MINUTE_MS
    await scheduler("UpdateSchedule", **scheduler.request(Description="d"))
    assert await scheduler.step(scheduler.clock.ms) == START_MS + 5 * MINUTE_MS
    await scheduler("UpdateSchedule", **scheduler.request(State="DISABLED"))
    assert await scheduler.step(scheduler.clock.ms) is None
    await scheduler("UpdateSchedule", **scheduler.request(expression="rate(2 minutes)"))
    assert await scheduler.started() == ["2023-11-14T22:14:20Z"]


async def test_a_target_that_refuses_makes_a_dead_letter(scheduler: Scheduler) -> None:
    """What a target's service refuses for good is in the dead-letter queue with AWS's attributes."""
    scheduler.outbox.neighbours.errors["lambda"] = AwsError("ResourceNotFoundException", "gone", status=404)
    await scheduler.create(target={"Input": '{"x":1}', "DeadLetterConfig": {"Arn": QUEUE}})
    await scheduler.step(START_MS)
    await scheduler.outbox.deliver(2)
    _, service, operation, params = scheduler.outbox.neighbours.calls[1]
    assert (service, operation, params["MessageBody"]) == ("sqs", "SendMessage", '{"x":1}')
    assert {name: value["StringValue"] for name, value in params["MessageAttributes"].items()} == {
        "SCHEDULE_ARN": f"{ARN}:schedule/default/s",
        "TARGET_ARN": FUNCTION,
        "EXECUTION_ID": "id-1",
        "SCHEDULED_TIME": "2023-11-14T22:13:20Z",
        "IS_PAYLOAD_TRUNCATED": "false",
        "ERROR_CODE": "ResourceNotFoundException",
        "ERROR_MESSAGE": "gone",
        "RETRY_ATTEMPTS": "0",
    }


async def test_a_universal_target_whose_input_comes_out_wrong_makes_a_dead_letter(scheduler: Scheduler) -> None:
    """An input that is no JSON once its attributes are filled in is told to the dead-letter queue; the schedule goes on."""
    target = {
        "Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage",
        "Input": '{"QueueUrl":"u","MessageBody":"<aws.scheduler.execution-id>"}',
    }
    await scheduler.create("good", target=target)
    bad = {**target, "Input": '{"QueueUrl":"u","DelaySeconds":<aws.scheduler.attempt-number>0<aws.scheduler.execution-id>}'}
    with pytest.raises(AwsError):
        await scheduler.create("never", target={**bad, "Input": '{"QueueUrl":'})
    await scheduler.step(START_MS)
    (delivery,) = scheduler.outbox.take()
    assert delivery.params == {"QueueUrl": "u", "MessageBody": "id-1"}
    await scheduler.create("bad", target={**bad, "DeadLetterConfig": {"Arn": QUEUE}})
    await scheduler.step(START_MS)
    (letter,) = scheduler.outbox.take()
    assert letter.params["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "ValidationException"
    assert await scheduler.step(START_MS) == START_MS + 5 * MINUTE_MS


async def test_groups(scheduler: Scheduler) -> None:
    """Groups are made, tagged, listed by pages, and removed with their schedules; the default group is always there."""
    assert await scheduler("CreateScheduleGroup", Name="g", Tags=[{"Key": "k", "Value": "v"}], ClientToken="t") == {
        "ScheduleGroupArn": f"{ARN}:schedule-group/g"
    }
    await scheduler("CreateScheduleGroup", Name="g", ClientToken="t")
    assert await scheduler.refused("CreateScheduleGroup", Name="g") == ("ConflictException", "Schedule group g already exists.")
    assert (await scheduler("GetScheduleGroup", Name="default"))["State"] == "ACTIVE"
    first = await scheduler("ListScheduleGroups", MaxResults=1)
    second = await scheduler("ListScheduleGroups", MaxResults=1, NextToken=first["NextToken"])
    assert [each["Name"] for page in (first, second) for each in page["ScheduleGroups"]] == ["default", "g"]
    assert [each["Name"] for each in (await scheduler("ListScheduleGroups", NamePrefix="g"))["ScheduleGroups"]] == ["g"]
    arn = f"{ARN}:schedule-group/g"
    await scheduler("TagResource", ResourceArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    await scheduler("UntagResource", ResourceArn=arn, TagKeys=["k", "x"])
    assert await scheduler("ListTagsForResource", ResourceArn=arn) == {"Tags": [{"Key": "a", "Value": "b"}]}
    for number in range(3):
        await scheduler.create(f"s{number}", GroupName="g")
    await scheduler("DeleteScheduleGroup", Name="g")
    assert (await scheduler("GetScheduleGroup", Name="g"))["State"] == "DELETING"
    assert (await scheduler.refused("CreateSchedule", **scheduler.request(GroupName="g")))[0] == "ResourceNotFoundException"
    assert await scheduler.started() == []
    missing = ("ResourceNotFoundException", "Schedule group g does not exist.")
    assert await scheduler.refused("GetScheduleGroup", Name="g") == missing
    assert await scheduler.refused("DeleteScheduleGroup", Name="g") == missing
    assert await scheduler.refused("ListTagsForResource", ResourceArn=arn) == missing
    assert await scheduler.refused("ListSchedules", GroupName="g") == missing
    assert await scheduler.refused("CreateSchedule", **scheduler.request(GroupName="g")) == missing
    assert (await scheduler.refused("DeleteScheduleGroup", Name="default"))[0] == "ValidationException"
    many = [{"Key": str(number), "Value": "v"} for number in range(51)]
    assert (await scheduler.refused("CreateScheduleGroup", Name="h", Tags=many))[0] == "ServiceQuotaExceededException"


async def test_lists_of_schedules(scheduler: Scheduler) -> None:
    """Schedules are listed in order, by pages, by group, prefix and state; another account sees none of them."""
    await scheduler("CreateScheduleGroup", Name="g")
    for number in range(4):
        state = "DISABLED" if number % 2 else "ENABLED"
        await scheduler.create(f"a{number}", GroupName="g" if number > 1 else "default", State=state)
    names = []
    page = await scheduler("ListSchedules", MaxResults=3)
    names += [each["Name"] for each in page["Schedules"]]
    page = await scheduler("ListSchedules", MaxResults=3, NextToken=page["NextToken"])
    names += [each["Name"] for each in page["Schedules"]]
    assert names == ["a0", "a1", "a2", "a3"] and "NextToken" not in page
    assert page["Schedules"][0]["Target"] == {"Arn": FUNCTION} and page["Schedules"][0]["GroupName"] == "g"
    for filters, expected in (({"GroupName": "g"}, ["a2", "a3"]), ({"NamePrefix": "a3"}, ["a3"]), ({"State": "DISABLED"}, ["a1", "a3"])):
        assert [each["Name"] for each in (await scheduler("ListSchedules", **filters))["Schedules"]] == expected
    first = await scheduler("ListSchedules", State="DISABLED", MaxResults=1)
    second = await scheduler("ListSchedules", State="DISABLED", MaxResults=1, NextToken=first["NextToken"])
    assert [each["Name"] for each in second["Schedules"]] == ["a3"]
    assert (await scheduler("ListSchedules", account="111122223333"))["Schedules"] == []
    assert (await scheduler.refused("ListSchedules", NextToken="!"))[0] == "ValidationException"


async def test_errors_of_schedules(scheduler: Scheduler) -> None:
    """What is not there, is there already or cannot be is told in AWS's words; a token makes a call idempotent."""
    await scheduler.create(ClientToken="t")
    await scheduler.create(ClientToken="t")
    assert await scheduler.refused("CreateSchedule", **scheduler.request()) == ("ConflictException", "Schedule s already exists.")
    missing = ("ResourceNotFoundException", "Schedule x does not exist.")
    assert await scheduler.refused("GetSchedule", Name="x") == missing
    assert await scheduler.refused("UpdateSchedule", **scheduler.request("x")) == missing
    assert await scheduler.refused("DeleteSchedule", Name="x") == missing
    await scheduler("DeleteSchedule", Name="s")
    for request, message in (
        ({"expression": "rate(10)"}, "Invalid Schedule Expression rate(10)."),
        ({"ScheduleExpressionTimezone": "Mars/Phobos"}, "Invalid Schedule Expression Timezone Mars/Phobos."),
        ({"ScheduleExpressionTimezone": "../etc/passwd"}, "Invalid Schedule Expression Timezone ../etc/passwd."),
        ({"KmsKeyArn": "k"}, "KmsKeyArn is not supported: lambdad does not encrypt schedules."),
    ):
        assert await scheduler.refused("CreateSchedule", **scheduler.request(**request)) == ("ValidationException", message)


async def test_a_thousand_at_once(scheduler: Scheduler) -> None:
    """A thousand schedules that are due in the same second are started by a few steps."""
    for number in range(1000):
        await scheduler.create(f"s{number}", "at(2023-11-14T22:20:00)", ActionAfterCompletion="DELETE")
    scheduler.clock.ms += 7 * MINUTE_MS
    steps = 0
    while await scheduler.step(scheduler.clock.ms) is not None:
        steps += 1
    assert steps <= 2 and len(scheduler.outbox.take()) == 1000
    assert (await scheduler("ListSchedules"))["Schedules"] == []

"""Scheduler's decisions as values: times, windows, inputs, universal targets."""

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from lambdad.model.errors import AwsError
from lambdad.services.scheduler.rules import names, targets, times, universal
from lambdad.services.scheduler.rules.targets import Execution
from lambdad.services.scheduler.rules.times import Due, Times
from lambdad.wire import service_model

NOW_MS = 1_700_000_000_000  # 2023-11-14T22:13:20Z
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
EXECUTION = Execution(
    schedule_arn="arn:aws:scheduler:us-east-1:000000000000:schedule/default/s",
    account="000000000000",
    region="us-east-1",
    scheduled_at_ms=NOW_MS,
    id="0123456789abcdef",
)


def read(expression: str, *, zone: str = "UTC", window: int = 0, start: str = "", end: str = "") -> Times:
    mode = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": window} if window else {"Mode": "OFF"}
    dates = {name: date for name, date in (("StartDate", start), ("EndDate", end)) if date}
    return times.read({"ScheduleExpression": expression, "FlexibleTimeWindow": mode, **dates}, NOW_MS, ZoneInfo(zone))


def test_a_rate_begins_at_once_or_with_its_start_date() -> None:
    """Without a start date a rate's first time is now; with one it is that, and the others follow from it."""
    assert times.first(read("rate(5 minutes)"), NOW_MS, 0.0) == Due(NOW_MS, NOW_MS)
    late = read("rate(5 minutes)", start="2023-11-15T00:00:00+00:00")
    began = times.first(late, NOW_MS, 0.0)
    assert began is not None and times.iso(began.due_at_ms) == "2023-11-15T00:00:00Z"
    following = times.following(late, began.scheduled_at_ms, 0.0)
    assert following is not None and times.iso(following.due_at_ms) == "2023-11-15T00:05:00Z"


def test_dates_limit_recurring_schedules_only() -> None:
    """No time is after the end date; a single time does not mind dates."""
    ending = read("cron(0 * * * ? *)", end="2023-11-15T00:30:00+00:00")
    due = times.first(ending, NOW_MS, 0.0)
    assert due is not None
    second = times.following(ending, due.scheduled_at_ms, 0.0)
    assert second is not None and times.iso(second.scheduled_at_ms) == "2023-11-15T00:00:00Z"
    assert times.following(ending, second.scheduled_at_ms, 0.0) is None
    assert times.first(read("at(2023-12-01T00:00:00)", end="2023-11-15T00:00:00+00:00"), NOW_MS, 0.0) is not None


def test_single_times() -> None:
    """A single time is local, comes once, and is met if it passed within the last minute."""
    due = times.first(read("at(2023-11-15T09:00:00)", zone="Asia/Tokyo"), NOW_MS, 0.0)
    assert due is not None and times.iso(due.due_at_ms) == "2023-11-15T00:00:00Z"
    assert times.following(read("at(2023-11-15T09:00:00)", zone="Asia/Tokyo"), due.scheduled_at_ms, 0.0) is None
    assert times.first(read("at(2023-11-14T22:13:00)"), NOW_MS, 0.0) is not None
    assert times.first(read("at(2023-11-14T22:12:00)"), NOW_MS, 0.0) is None


def test_windows() -> None:
    """In a flexible window the target is started somewhere, and each time once, however late."""
    wide = read("rate(5 minutes)", window=10)
    due = times.first(wide, NOW_MS, 0.5)
    assert due == Due(NOW_MS, NOW_MS + 5 * MINUTE_MS)
    assert times.go_on(wide, due, NOW_MS + 5 * MINUTE_MS, 0.0) == (NOW_MS, Due(NOW_MS + 5 * MINUTE_MS, NOW_MS + 5 * MINUTE_MS))


def test_missed_times() -> None:
    """Of times that were missed the latest is made up for; what is older than a day is not."""
    hourly = read("rate(1 hour)")
    due = Due(NOW_MS, NOW_MS)
    assert times.go_on(hourly, due, NOW_MS + 30_000, 0.0) == (NOW_MS, Due(NOW_MS + HOUR_MS, NOW_MS + HOUR_MS))
    at_ms = NOW_MS + 5 * HOUR_MS
    assert times.go_on(hourly, due, at_ms + 90_000, 0.0) == (at_ms, Due(at_ms + HOUR_MS, at_ms + HOUR_MS))
    once = read("at(2023-11-14T22:14:00)")
    first = times.first(once, NOW_MS, 0.0)
    assert first is not None
    assert times.go_on(once, first, NOW_MS + HOUR_MS, 0.0) == (first.scheduled_at_ms, None)
    assert times.go_on(once, first, NOW_MS + 2 * DAY_MS, 0.0) == (None, None)
    ended = read("rate(1 hour)", end="2023-11-15T00:00:00+00:00")
    assert times.go_on(ended, due, NOW_MS + 5 * HOUR_MS, 0.0) == (NOW_MS + HOUR_MS, None)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"ScheduleExpression": "rate(10 seconds)"}, "Invalid Schedule Expression rate(10 seconds)."),
        (
            {"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}},
            "MaximumWindowInMinutes must be specified when the flexible time window Mode is FLEXIBLE.",
        ),
        (
            {"FlexibleTimeWindow": {"Mode": "OFF", "MaximumWindowInMinutes": 5}},
            "MaximumWindowInMinutes cannot be specified when the flexible time window Mode is OFF.",
        ),
    ],
)
def test_times_that_cannot_be(definition: dict[str, Any], message: str) -> None:
    """What has no times is refused."""
    with pytest.raises(AwsError) as caught:
        times.read({"ScheduleExpression": "rate(1 minute)", "FlexibleTimeWindow": {"Mode": "OFF"}, **definition}, NOW_MS, UTC)
    assert (caught.value.code, caught.value.message) == ("ValidationException", message)


@pytest.mark.parametrize(
    "dates",
    [
        {"StartDate": datetime(2023, 11, 14, 22, 0, tzinfo=UTC)},
        {"EndDate": datetime(2023, 11, 14, 22, 0, tzinfo=UTC)},
        {"StartDate": datetime(2024, 1, 2, tzinfo=UTC), "EndDate": datetime(2024, 1, 1, tzinfo=UTC)},
    ],
)
def test_dates_that_cannot_be(dates: dict[str, datetime]) -> None:
    """Dates that have passed, or are in the wrong order, are refused."""
    with pytest.raises(AwsError):
        times.check_dates(dates, NOW_MS)


def test_inputs() -> None:
    """A target is started with its input and what the context attributes stand for, or with AWS's notification."""
    target = {"Arn": FUNCTION, "Input": '{"at":"<aws.scheduler.scheduled-time>","by":"<aws.scheduler.schedule-arn>"}'}
    assert json.loads(targets.render(target, EXECUTION)) == {"at": "2023-11-14T22:13:20Z", "by": EXECUTION.schedule_arn}
    assert targets.render({"Arn": FUNCTION, "Input": "<aws.scheduler.execution-id> <aws.scheduler.attempt-number> <x>"}, EXECUTION) == (
        "0123456789abcdef 1 <x>"
    )
    assert json.loads(targets.render({"Arn": FUNCTION}, EXECUTION)) == {
        "version": "0",
        "id": "0123456789abcdef",
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": "000000000000",
        "time": "2023-11-14T22:13:20Z",
        "region": "us-east-1",
        "resources": [EXECUTION.schedule_arn],
        "detail": "{}",
    }


def test_an_event_bus_is_a_target() -> None:
    """A schedule puts an event on a bus."""
    bus = "arn:aws:events:us-east-1:000000000000:event-bus/b"
    target = {"Arn": bus, "Input": '{"a":1}', "EventBridgeParameters": {"DetailType": "d", "Source": "s"}}
    targets.check(target, service_model.read)
    found = targets.call(target, EXECUTION, service_model.read)
    entry = {"Source": "s", "DetailType": "d", "Detail": '{"a":1}', "Resources": [EXECUTION.schedule_arn], "EventBusName": bus}
    assert (found.service, found.operation, found.params) == ("events", "PutEvents", {"Entries": [entry]})


def test_universal_targets() -> None:
    """The input of any operation is typed by its model, whatever the case of its first letters."""

    def call(operation: str, **params: Any) -> tuple[str, str, Any]:
        target = {"Arn": f"arn:aws:scheduler:::aws-sdk:{operation}", "Input": json.dumps(params)}
        targets.check(target, service_model.read)
        found = targets.call(target, EXECUTION, service_model.read)
        return found.service, found.operation, found.params

    attributes = {"a": {"DataType": "String", "StringValue": "x"}}
    assert call("sqs:sendMessage", QueueUrl="u", MessageBody={"x": 1}, MessageAttributes=attributes) == (
        "sqs",
        "SendMessage",
        {"QueueUrl": "u", "MessageBody": '{"x":1}', "MessageAttributes": attributes},
    )
    assert call("lambda:invoke", FunctionName="f", InvocationType="Event", Payload='{"a":1}') == (
        "lambda",
        "Invoke",
        {"FunctionName": "f", "InvocationType": "Event", "Payload": b'{"a":1}'},
    )
    assert call("cloudwatchlogs:putRetentionPolicy", LogGroupName="g", RetentionInDays=7) == (
        "logs",
        "PutRetentionPolicy",
        {"logGroupName": "g", "retentionInDays": 7},
    )
    assert call("eventbridge:putEvents", Entries=[{"Source": "s", "Time": "2026-01-31T12:00:00Z"}])[2] == {
        "Entries": [{"Source": "s", "Time": datetime(2026, 1, 31, 12, tzinfo=UTC)}]
    }


@pytest.mark.parametrize(
    "target",
    [
        {"Arn": "x"},
        {"Arn": "arn:aws:ecs:us-east-1:000000000000:cluster/c"},
        {"Arn": FUNCTION, "Input": "no json"},
        {"Arn": FUNCTION, "SqsParameters": {"MessageGroupId": "g"}},
        {"Arn": FUNCTION, "Input": f'"{"x" * 262_144}"'},
        {"Arn": "arn:aws:sqs:us-east-1:000000000000:q.fifo"},
        {"Arn": "arn:aws:sns:us-east-1:000000000000:t.fifo"},
        {"Arn": "arn:aws:events:us-east-1:000000000000:event-bus/b"},
        {"Arn": "arn:aws:scheduler:::aws-sdk:sqs"},
        {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:receiveMessage"},
        {"Arn": "arn:aws:scheduler:::aws-sdk:nothing:doIt"},
        {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:doIt"},
        {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", "Input": "[]"},
        {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", "Input": "{"},
        {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", "Input": '{"QueueUrl": 5}'},
        {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", "Input": '{"Queue": "x"}'},
    ],
)
def test_targets_that_cannot_be_started(target: dict[str, Any]) -> None:
    """What could not be started is refused when the schedule is made."""
    with pytest.raises(AwsError) as caught:
        targets.check(target, service_model.read)
    assert caught.value.code == "ValidationException"


def test_an_input_that_comes_out_wrong() -> None:
    """An input that does not fit once its attributes are filled in is told apart."""
    target = {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", "Input": "<aws.scheduler.execution-id>"}
    with pytest.raises(universal.InvalidTarget):
        targets.call(target, EXECUTION, service_model.read)


def test_tokens() -> None:
    """A list's token brings back the names that it was made of, and nothing else is taken."""
    assert names.parse_token(names.token("group", "näme"), 2) == ["group", "näme"]
    assert names.parse_token(None, 2) == ["", ""]
    for token in ("!", names.token("one"), "\0"):
        with pytest.raises(AwsError):
            names.parse_token(token, 2)

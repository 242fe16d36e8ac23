"""CloudWatch Logs through its handlers, on both databases."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from logs_neighbours import FakeNeighbours, FakeOutbox, new_uuid

from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.logs import events as events_module
from lambdad.services.logs.app import LogsService, migrations
from lambdad.services.logs.rules import limits
from lambdad.services.ports import CallContext
from lambdad.store.database import open_database

START_MS = 1_700_000_000_000


class Clock:
    """A clock that stands still until it is told to go."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


class Logs:
    """The service with a caller, and calls by AWS's names."""

    def __init__(self, service: LogsService, clock: Clock) -> None:
        self.service = service
        self.clock = clock
        self.handlers = service.service().handlers

    async def __call__(self, operation: str, *, account: str = "000000000000", region: str = "us-east-1", **request: Any) -> Any:
        ctx = CallContext(
            account=AccountId(account),
            region=Region(region),
            request_id=RequestId("00000000-0000-0000-0000-000000000000"),
            principal_arn=f"arn:aws:iam::{account}:root",
        )
        return await self.handlers[operation](ctx, request)

    async def refused(self, operation: str, **request: Any) -> tuple[str, str | None]:
        with pytest.raises(AwsError) as caught:
            await self(operation, **request)
        return caught.value.code, caught.value.message

    def append(self, *events: tuple[int, str], group: str = "/aws/lambda/f", stream: str = "s") -> None:
        self.service.store.append("000000000000", "us-east-1", group, stream, events)


@pytest.fixture
async def logs(database_url: str) -> AsyncIterator[Logs]:
    clock = Clock()
    async with open_database(database_url, migrations=[migrations()], now_ms=clock) as database:
        service = LogsService(database, clock, outbox=FakeOutbox(), neighbours=FakeNeighbours(), new_uuid=new_uuid, groups_max=8)
        yield Logs(service, clock)
        await service.store.flush()


async def put(logs: Logs, *events: tuple[int, str], group: str = "g", stream: str = "s") -> Any:
    log_events = [{"timestamp": time, "message": message} for time, message in events]
    return await logs("PutLogEvents", logGroupName=group, logStreamName=stream, logEvents=log_events)


async def make(logs: Logs, group: str = "g", *streams: str) -> None:
    await logs("CreateLogGroup", logGroupName=group)
    for stream in streams or ("s",):
        await logs("CreateLogStream", logGroupName=group, logStreamName=stream)


def messages(page: Any) -> list[str]:
    return [event["message"] for event in page["events"]]


MISSING_GROUP = ("ResourceNotFoundException", "The specified log group does not exist.")
MISSING_STREAM = ("ResourceNotFoundException", "The specified log stream does not exist.")
BAD_TOKEN = ("InvalidParameterException", "The specified nextToken is invalid.")


async def test_group_life(logs: Logs) -> None:
    """A group is made, described in full, and removed with its streams."""
    await logs("CreateLogGroup", logGroupName="g", tags={"a": "1"}, logGroupClass="INFREQUENT_ACCESS")
    assert await logs.refused("CreateLogGroup", logGroupName="g") == (
        "ResourceAlreadyExistsException",
        "The specified log group already exists",
    )
    described = await logs("DescribeLogGroups")
    assert described == {
        "logGroups": [
            {
                "logGroupName": "g",
                "creationTime": START_MS,
                "metricFilterCount": 0,
                "arn": "arn:aws:logs:us-east-1:000000000000:log-group:g:*",
                "logGroupArn": "arn:aws:logs:us-east-1:000000000000:log-group:g",
                "storedBytes": 0,
                "logGroupClass": "INFREQUENT_ACCESS",
                "deletionProtectionEnabled": False,
            }
        ]
    }
    assert await logs("ListTagsLogGroup", logGroupName="g") == {"tags": {"a": "1"}}
    await logs("CreateLogStream", logGroupName="g", logStreamName="s")
    await put(logs, (START_MS, "m"))
    await logs("DeleteLogGroup", logGroupName="g")
    assert await logs("DescribeLogGroups") == {"logGroups": []}
    assert await logs.refused("DeleteLogGroup", logGroupName="g") == MISSING_GROUP
    await make(logs)
    assert await logs("FilterLogEvents", logGroupName="g") == {"events": [], "searchedLogStreams": []}


async def test_group_names(logs: Logs) -> None:
    """AWS's own names, a KMS key and more groups than allowed are refused."""
    assert await logs.refused("CreateLogGroup", logGroupName="aws/spans") == (
        "InvalidParameterException",
        "Log groups starting with AWS/ are reserved for AWS.",
    )
    assert (await logs.refused("CreateLogGroup", logGroupName="g", kmsKeyId="k"))[0] == "InvalidParameterException"
    for number in range(8):
        await logs("CreateLogGroup", logGroupName=f"/aws/lambda/{number}")
    assert await logs.refused("CreateLogGroup", logGroupName="g") == ("LimitExceededException", "Resource limit exceeded.")
    await logs("CreateLogGroup", logGroupName="g", region="eu-west-1")


async def test_groups_are_listed_in_pages(logs: Logs) -> None:
    """Groups come in order of names, by prefix or by pattern, in pages."""
    for name in ("b", "/aws/lambda/x", "/aws/lambda/y", "B"):
        await logs("CreateLogGroup", logGroupName=name)
    names = [group["logGroupName"] for group in (await logs("DescribeLogGroups"))["logGroups"]]
    assert names == ["/aws/lambda/x", "/aws/lambda/y", "B", "b"]
    first = await logs("DescribeLogGroups", limit=3)
    second = await logs("DescribeLogGroups", limit=3, nextToken=first["nextToken"])
    assert [group["logGroupName"] for group in second["logGroups"]] == ["b"]
    assert "nextToken" not in second
    by_prefix = await logs("DescribeLogGroups", logGroupNamePrefix="/aws/lambda/")
    assert len(by_prefix["logGroups"]) == 2
    by_pattern = await logs("DescribeLogGroups", logGroupNamePattern="lambda/x")
    assert [group["logGroupName"] for group in by_pattern["logGroups"]] == ["/aws/lambda/x"]
    by_name = await logs("DescribeLogGroups", logGroupIdentifiers=["B", "arn:aws:logs:us-east-1:000000000000:log-group:b", "none"])
    assert [group["logGroupName"] for group in by_name["logGroups"]] == ["B", "b"]
    assert await logs("DescribeLogGroups", logGroupClass="DELIVERY") == {"logGroups": []}
    assert await logs.refused("DescribeLogGroups", logGroupNamePrefix="a", logGroupNamePattern="b") == (
        "InvalidParameterException",
        "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
    )
    assert await logs.refused("DescribeLogGroups", nextToken="?") == BAD_TOKEN


async def test_list_log_groups(logs: Logs) -> None:
    """ListLogGroups selects by alternatives of prefixes and substrings, and by tags."""
    await logs("CreateLogGroup", logGroupName="/aws/lambda/x", tags={"team": "blue-1"})
    await logs("CreateLogGroup", logGroupName="web", tags={"team": "red"})
    await logs("CreateLogGroup", logGroupName="other")

    async def found(**request: Any) -> list[str]:
        return [group["logGroupName"] for group in (await logs("ListLogGroups", **request))["logGroups"]]

    assert await found() == ["/aws/lambda/x", "other", "web"]
    assert await found(logGroupNamePattern="^/aws|eb") == ["/aws/lambda/x", "web"]
    assert await found(logGroupTags=[{"key": "team"}]) == ["/aws/lambda/x", "web"]
    assert await found(logGroupTags=[{"key": "team", "values": ["bl*-*", "green"]}]) == ["/aws/lambda/x"]
    assert await found(fieldIndexNames=["f"]) == []
    first = await logs("ListLogGroups", limit=2)
    assert await found(limit=2, nextToken=first["nextToken"]) == ["web"]


async def test_accounts_and_regions_are_apart(logs: Logs) -> None:
    """The same name in another account or region is another group."""
    await make(logs)
    await put(logs, (START_MS, "mine"))
    for other in ({"account": "111111111111"}, {"region": "eu-west-1"}):
        assert await logs("DescribeLogGroups", **other) == {"logGroups": []}
        assert await logs.refused("FilterLogEvents", logGroupName="g", **other) == MISSING_GROUP
        await logs("CreateLogGroup", logGroupName="g", **other)
        assert (await logs("FilterLogEvents", logGroupName="g", **other))["events"] == []


async def test_streams(logs: Logs) -> None:
    """Streams are made, listed in both orders and directions in pages, and removed."""
    await make(logs, "g", "b", "a", "c/1", "c/2")
    assert await logs.refused("CreateLogStream", logGroupName="g", logStreamName="a") == (
        "ResourceAlreadyExistsException",
        "The specified log stream already exists",
    )
    assert await logs.refused("CreateLogStream", logGroupName="none", logStreamName="a") == MISSING_GROUP
    await put(logs, (START_MS - 5, "m"), (START_MS - 3, "m"), stream="b")
    logs.clock.ms += 10
    await put(logs, (START_MS, "m"), stream="a")

    async def found(**request: Any) -> list[str]:
        names: list[str] = []
        while True:
            page = await logs("DescribeLogStreams", logGroupIdentifier="g", limit=3, **request)
            names += [stream["logStreamName"] for stream in page["logStreams"]]
            if "nextToken" not in page:
                return names
            request["nextToken"] = page["nextToken"]

    assert await found() == ["a", "b", "c/1", "c/2"]
    assert await found(descending=True) == ["c/2", "c/1", "b", "a"]
    assert await found(logStreamNamePrefix="c/") == ["c/1", "c/2"]
    assert await found(orderBy="LastEventTime") == ["c/1", "c/2", "b", "a"]
    assert await found(orderBy="LastEventTime", descending=True) == ["a", "b", "c/2", "c/1"]
    described = (await logs("DescribeLogStreams", logGroupName="g"))["logStreams"]
    token = described[1].pop("uploadSequenceToken")
    assert len(token) == 56
    assert described[1] == {
        "logStreamName": "b",
        "creationTime": START_MS,
        "firstEventTimestamp": START_MS - 5,
        "lastEventTimestamp": START_MS - 3,
        "lastIngestionTime": START_MS,
        "arn": "arn:aws:logs:us-east-1:000000000000:log-group:g:log-stream:b",
        "storedBytes": 0,
    }
    assert "firstEventTimestamp" not in described[2]
    assert await logs.refused("DescribeLogStreams", logGroupName="g", orderBy="LastEventTime", logStreamNamePrefix="c") == (
        "InvalidParameterException",
        "Cannot order by LastEventTime with a logStreamNamePrefix.",
    )
    await logs("DeleteLogStream", logGroupName="g", logStreamName="b")
    assert await logs.refused("DeleteLogStream", logGroupName="g", logStreamName="b") == MISSING_STREAM
    assert messages(await logs("FilterLogEvents", logGroupName="g")) == ["m"]
    assert (await logs("DescribeLogGroups"))["logGroups"][0]["storedBytes"] == 27


async def test_put_and_get(logs: Logs) -> None:
    """Events come back with their ingestion time; rejected ones are told of; missing groups and streams are errors."""
    await make(logs)
    answer = await put(logs, (START_MS - limits.OLDEST_MS - 1, "old"), (START_MS, "é"), (START_MS + limits.NEWEST_MS + 1, "new"))
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2}
    assert len(answer["nextSequenceToken"]) == 56
    page = await logs("GetLogEvents", logGroupName="g", logStreamName="s")
    assert page["events"] == [{"timestamp": START_MS, "message": "é", "ingestionTime": START_MS}]
    assert (await logs("DescribeLogGroups"))["logGroups"][0]["storedBytes"] == 28
    event = {"timestamp": START_MS, "message": "m"}
    assert await logs.refused("PutLogEvents", logGroupName="x", logStreamName="s", logEvents=[event]) == MISSING_GROUP
    assert await logs.refused("PutLogEvents", logGroupName="g", logStreamName="x", logEvents=[event]) == MISSING_STREAM
    assert await logs.refused("GetLogEvents", logGroupName="g", logStreamName="x") == MISSING_STREAM
    await put(logs, (START_MS - limits.OLDEST_MS - 1, "old"))


async def test_get_goes_forward_and_backward(logs: Logs) -> None:
    """Tokens lead forward and backward; at either end the same token comes back, and later events are found behind it."""
    await make(logs)
    for number in range(10):
        await put(logs, (START_MS + number, f"m{number}"))

    async def get(**request: Any) -> Any:
        return await logs("GetLogEvents", logGroupName="g", logStreamName="s", **request)

    newest = await get(limit=3)
    assert messages(newest) == ["m7", "m8", "m9"]
    before = await get(limit=3, nextToken=newest["nextBackwardToken"])
    assert messages(before) == ["m4", "m5", "m6"]
    assert messages(await get(limit=3, nextToken=before["nextForwardToken"])) == ["m7", "m8", "m9"]
    assert messages(await get(limit=2, startFromHead=True)) == ["m0", "m1"]
    end = await get(nextToken=newest["nextForwardToken"])
    assert end["events"] == []
    assert end["nextForwardToken"] == newest["nextForwardToken"]
    assert messages(await get(limit=1, nextToken=end["nextBackwardToken"])) == ["m9"]
    head = await get(limit=2, startFromHead=True)
    beginning = await get(nextToken=head["nextBackwardToken"])
    assert beginning["events"] == []
    assert beginning["nextBackwardToken"] == head["nextBackwardToken"]
    assert messages(await get(limit=1, nextToken=beginning["nextForwardToken"])) == ["m0"]
    await put(logs, (START_MS + 9, "late"))
    assert messages(await get(nextToken=end["nextForwardToken"])) == ["late"]
    assert messages(await get(startTime=START_MS + 2, endTime=START_MS + 4)) == ["m2", "m3"]
    assert newest["nextForwardToken"].startswith("f/")
    assert newest["nextBackwardToken"].startswith("b/")
    assert await logs.refused("GetLogEvents", logGroupName="g", logStreamName="s", nextToken="f/x") == BAD_TOKEN


async def test_get_from_an_empty_stream(logs: Logs) -> None:
    """A stream without events has tokens, and the one forward leads to events that come later."""
    await make(logs)
    for request in ({"startFromHead": True}, {}, {"startTime": START_MS - 5}):
        page = await logs("GetLogEvents", logGroupName="g", logStreamName="s", **request)
        assert page["events"] == []
        again = await logs("GetLogEvents", logGroupName="g", logStreamName="s", nextToken=page["nextForwardToken"])
        assert again["nextForwardToken"] == page["nextForwardToken"]
    await put(logs, (START_MS, "m"))
    assert messages(await logs("GetLogEvents", logGroupName="g", logStreamName="s", nextToken=page["nextForwardToken"])) == ["m"]


async def test_filter(logs: Logs) -> None:
    """Events of all streams are interleaved in order of time; names, prefix, pattern and time range select."""
    await make(logs, "g", "a/1", "a/2", "b")
    await put(logs, (START_MS, "one ERROR"), (START_MS + 30, "four"), stream="a/1")
    await put(logs, (START_MS + 10, "two"), (START_MS + 20, "three ERROR"), stream="a/2")
    await put(logs, (START_MS + 15, '{"level": "ERROR"}'), stream="b")

    async def found(**request: Any) -> list[str]:
        return messages(await logs("FilterLogEvents", logGroupName="g", **request))

    page = await logs("FilterLogEvents", logGroupIdentifier="arn:aws:logs:us-east-1:000000000000:log-group:g", interleaved=True)
    assert messages(page) == ["one ERROR", "two", '{"level": "ERROR"}', "three ERROR", "four"]
    assert page["searchedLogStreams"] == []
    ids = [event.pop("eventId") for event in page["events"]]
    assert ids == sorted(ids)
    assert all(len(event_id) == 56 for event_id in ids)
    assert page["events"][1] == {"logStreamName": "a/2", "timestamp": START_MS + 10, "message": "two", "ingestionTime": START_MS}
    assert await found(startFromHead=False, limit=2) == ["four", "three ERROR"]
    assert await found(logStreamNames=["b"]) == ['{"level": "ERROR"}']
    assert await found(logStreamNames=["b", "a/1"], startFromHead=False) == ["four", '{"level": "ERROR"}', "one ERROR"]
    assert await found(logStreamNamePrefix="a/", filterPattern="ERROR") == ["one ERROR", "three ERROR"]
    assert await found(logStreamNamePrefix="a/", startFromHead=False, limit=1) == ["four"]
    assert await found(filterPattern='{ $.level = "ERR*" }') == ['{"level": "ERROR"}']
    assert await found(startTime=START_MS + 10, endTime=START_MS + 20, filterPattern="t") == ["two", "three ERROR"]
    assert await logs.refused("FilterLogEvents", logGroupName="g", logStreamNames=["x"]) == MISSING_STREAM
    assert (await logs.refused("FilterLogEvents", logGroupName="g", filterPattern="a:b"))[1] == "Invalid character(s) in term ':'"
    assert (await logs.refused("FilterLogEvents", logGroupName="g", logStreamNames=["b"], logStreamNamePrefix="a"))[0] == (
        "InvalidParameterException"
    )
    assert await logs.refused("FilterLogEvents", logGroupName="g", nextToken="x") == BAD_TOKEN


@pytest.mark.parametrize("forward", [True, False])
async def test_filter_in_pages(logs: Logs, forward: bool) -> None:
    """Pages follow each other without loss or repetition, however the streams overlap."""
    for number in range(60):
        stream = f"s{number % 3}"
        logs.append((START_MS + number * 40_000, f"{number}"), (START_MS + number * 40_000 - 100_000, f"{number}-late"), stream=stream)
        if number % 7 == 0:
            await logs.service.store.flush()
    found: list[tuple[int, str]] = []
    token: dict[str, str] = {}
    while True:
        page = await logs("FilterLogEvents", logGroupName="/aws/lambda/f", limit=7, startFromHead=forward, **token)
        found += [(event["timestamp"], event["message"]) for event in page["events"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert len(found) == len(set(found)) == 120
    times = [time for time, _ in found]
    assert times == sorted(times, reverse=not forward)


async def test_filter_looks_through_so_much_at_once(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rare match is found over several pages, some of them empty."""
    monkeypatch.setattr(events_module, "SCAN_EVENTS", 10)
    logs.append(*[(START_MS + number, "no") for number in range(25)], (START_MS + 99, "yes"))
    page = await logs("FilterLogEvents", logGroupName="/aws/lambda/f", filterPattern="yes")
    assert page["events"] == []
    pages = 1
    while "nextToken" in page:
        page = await logs("FilterLogEvents", logGroupName="/aws/lambda/f", filterPattern="yes", nextToken=page["nextToken"])
        pages += 1
    assert messages(page) == ["yes"]
    assert pages == 3


async def test_pages_are_bounded_in_bytes(logs: Logs) -> None:
    """A page has at most a mebibyte of events, and one event at least."""
    logs.append(*[(START_MS + number, "x" * 400_000) for number in range(4)])
    assert len((await logs("FilterLogEvents", logGroupName="/aws/lambda/f"))["events"]) == 2
    page = await logs("GetLogEvents", logGroupName="/aws/lambda/f", logStreamName="s", startFromHead=True)
    assert [event["timestamp"] for event in page["events"]] == [START_MS, START_MS + 1]
    page = await logs("GetLogEvents", logGroupName="/aws/lambda/f", logStreamName="s")
    assert [event["timestamp"] for event in page["events"]] == [START_MS + 2, START_MS + 3]


async def test_tail_and_follow(logs: Logs) -> None:
    """What `aws logs tail --follow` sends finds each event once: from the newest time on, seen ids left out."""
    logs.append((START_MS, "a"), (START_MS, "b"))
    seen: set[str] = set()
    start = START_MS - 600_000
    shown: list[str] = []
    for later in ([(START_MS, "c")], [(START_MS + 1, "d")], []):
        page = await logs("FilterLogEvents", logGroupName="/aws/lambda/f", interleaved=True, startTime=start)
        for event in page["events"]:
            if event["eventId"] not in seen:
                seen.add(event["eventId"])
                shown.append(event["message"])
            start = max(start, event["timestamp"])
        logs.append(*later)
    assert shown == ["a", "b", "c", "d"]


async def test_retention(logs: Logs) -> None:
    """Events beyond the retention are not shown, and are removed by `expire`, which keeps the stream and its other events."""
    await make(logs)
    await put(logs, (START_MS, "old"))
    logs.clock.ms += limits.DAY_MS + 1
    await put(logs, (START_MS + limits.DAY_MS, "new"), (START_MS + limits.DAY_MS + 1, "newer"))
    assert "retentionInDays" not in (await logs("DescribeLogGroups"))["logGroups"][0]
    await logs("PutRetentionPolicy", logGroupName="g", retentionInDays=1)
    assert (await logs("DescribeLogGroups"))["logGroups"][0]["retentionInDays"] == 1
    assert messages(await logs("FilterLogEvents", logGroupName="g")) == ["new", "newer"]
    assert messages(await logs("GetLogEvents", logGroupName="g", logStreamName="s")) == ["new", "newer"]
    await logs("DeleteRetentionPolicy", logGroupName="g")
    assert messages(await logs("FilterLogEvents", logGroupName="g")) == ["old", "new", "newer"]
    await logs("PutRetentionPolicy", logGroupName="g", retentionInDays=1)
    assert await logs.service.expire(logs.clock.ms) == 1
    assert await logs.service.expire(logs.clock.ms) == 0
    await logs("DeleteRetentionPolicy", logGroupName="g")
    assert messages(await logs("FilterLogEvents", logGroupName="g")) == ["new", "newer"]
    assert (await logs("DescribeLogStreams", logGroupName="g"))["logStreams"][0]["firstEventTimestamp"] == START_MS + limits.DAY_MS
    assert (await logs("DescribeLogGroups"))["logGroups"][0]["storedBytes"] == 26 * 2 + 8
    code, message = await logs.refused("PutRetentionPolicy", logGroupName="g", retentionInDays=2)
    assert code == "InvalidParameterException"
    assert message is not None
    assert message.startswith("1 validation error detected: Value '2' at 'retentionInDays' failed to satisfy constraint: ")
    assert await logs.refused("PutRetentionPolicy", logGroupName="x", retentionInDays=1) == MISSING_GROUP
    assert await logs.refused("DeleteRetentionPolicy", logGroupName="x") == MISSING_GROUP


async def test_tags(logs: Logs) -> None:
    """Tags are set, listed and removed by ARN and by name."""
    await make(logs)
    arn = "arn:aws:logs:us-east-1:000000000000:log-group:g"
    await logs("TagResource", resourceArn=arn, tags={"a": "1", "b": "2"})
    await logs("TagLogGroup", logGroupName="g", tags={"b": "3", "c": "4"})
    assert await logs("ListTagsForResource", resourceArn=arn + ":*") == {"tags": {"a": "1", "b": "3", "c": "4"}}
    await logs("UntagResource", resourceArn=arn, tagKeys=["a", "none"])
    await logs("UntagLogGroup", logGroupName="g", tags=["b"])
    assert await logs("ListTagsLogGroup", logGroupName="g") == {"tags": {"c": "4"}}
    await logs("TagResource", resourceArn=arn, tags={f"k{number}": "v" for number in range(49)})
    assert (await logs.refused("TagResource", resourceArn=arn, tags={"one": "more"}))[0] == "TooManyTagsException"
    assert await logs.refused("ListTagsForResource", resourceArn=arn + "g") == MISSING_GROUP
    assert (await logs.refused("TagResource", resourceArn="arn:aws:s3:::b", tags={"a": "b"}))[0] == "InvalidParameterException"


async def test_deletion_protection(logs: Logs) -> None:
    """A protected group cannot be deleted until the protection is taken away."""
    await make(logs)
    await logs("PutLogGroupDeletionProtection", logGroupIdentifier="g", deletionProtectionEnabled=True)
    assert (await logs("DescribeLogGroups"))["logGroups"][0]["deletionProtectionEnabled"] is True
    assert (await logs.refused("DeleteLogGroup", logGroupName="g"))[0] == "ValidationException"
    await logs("PutLogGroupDeletionProtection", logGroupIdentifier="g", deletionProtectionEnabled=False)
    await logs("DeleteLogGroup", logGroupName="g")


async def test_metric_filters_can_be_tried(logs: Logs) -> None:
    """TestMetricFilter says which messages fit and what is in them."""
    answer = await logs("TestMetricFilter", filterPattern="[ip, n > 1]", logEventMessages=["a 1", "b 2"])
    assert answer == {"matches": [{"eventNumber": 2, "eventMessage": "b 2", "extractedValues": {"$ip": "b", "$n": "2"}}]}


async def test_deleting_much(logs: Logs) -> None:
    """What one request does not remove of a deleted group is removed later, and is not seen meanwhile."""
    for number in range(30):
        logs.append(*[(START_MS + second * 61_000, "m") for second in range(700)], stream=f"s{number}")
    await logs.service.store.flush()
    await logs("DeleteLogGroup", logGroupName="/aws/lambda/f")
    assert await logs.refused("FilterLogEvents", logGroupName="/aws/lambda/f") == MISSING_GROUP
    logs.append((START_MS, "anew"))
    assert messages(await logs("FilterLogEvents", logGroupName="/aws/lambda/f")) == ["anew"]
    await logs.service.expire(logs.clock.ms)
    assert messages(await logs("FilterLogEvents", logGroupName="/aws/lambda/f")) == ["anew"]

"""Who is told of what, and in which words; lifecycle rules."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.services.s3 import errors
from lambdad.services.s3.rules import event_filters, event_records, lifecycle
from lambdad.services.s3.rules.event_filters import LAMBDA, Subscription
from lambdad.services.s3.rules.event_records import Happening
from lambdad.services.s3.rules.lifecycle import DAY_MS

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
IDS = ["generated-1", "generated-2", "generated-3"]
AFFIX = st.text(st.sampled_from("ab"), max_size=3)
EVENTS = st.sets(st.sampled_from(["s3:ObjectCreated:*", "s3:ObjectCreated:Put", "s3:ObjectRemoved:*", "s3:ObjectTagging:Put"]), min_size=1)


def entry(*events: str, **rules: str) -> dict[str, Any]:
    filters = [{"Name": name, "Value": value} for name, value in rules.items()]
    return {"LambdaFunctionArn": FUNCTION, "Events": list(events), "Filter": {"Key": {"FilterRules": filters}}}


def checked(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    return event_filters.checked({"LambdaFunctionConfigurations": list(entries), **more}, IDS)


def subscription(events: set[str], prefix: str, suffix: str) -> Subscription:
    every = frozenset(event for name in events for event in event_filters.expanded(name))
    return Subscription(kind=LAMBDA, id="i", arn=FUNCTION, events=every, prefix=prefix, suffix=suffix)


@given(EVENTS, AFFIX, AFFIX, EVENTS, AFFIX, AFFIX, st.text(st.sampled_from("ab"), max_size=8))
def test_no_event_concerns_two(one: set[str], p1: str, s1: str, two: set[str], p2: str, s2: str, key: str) -> None:
    """Configurations that do not overlap never both want the same event; overlapping is symmetric."""
    first, second = subscription(one, p1, s1), subscription(two, p2, s2)
    assert event_filters.overlap(first, second) == event_filters.overlap(second, first)
    if not event_filters.overlap(first, second):
        for event in first.events | second.events:
            assert not (first.wants(event, key) and second.wants(event, key))


def test_configurations_are_completed() -> None:
    """Ids are made up, names of filter rules capitalised, values kept as they are."""
    found = checked(entry("s3:ObjectCreated:*", prefix="a", SUFFIX=""), EventBridgeConfiguration={})
    assert found == {
        "LambdaFunctionConfigurations": [
            {
                "Id": "generated-1",
                "LambdaFunctionArn": FUNCTION,
                "Events": ["s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": [{"Name": "Prefix", "Value": "a"}, {"Name": "Suffix", "Value": ""}]}},
            }
        ],
        "EventBridgeConfiguration": {},
    }
    assert checked() == {}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{**entry("s3:ObjectCreated:*"), "LambdaFunctionArn": "f"}], "The ARN could not be parsed"),
        ([entry("s3:ObjectCreated:*", name="x")], "filter rule name must be either prefix or suffix"),
        ([entry("s3:Nonsense:*")], "The event is not supported for notifications"),
        ([entry("s3:ObjectCreated:Nonsense")], "The event is not supported for notifications"),
        ([entry("s3:ObjectCreated:*"), entry("s3:ObjectCreated:Put")], "Configurations overlap"),
        ([entry("s3:ObjectCreated:*", prefix="a"), entry("s3:ObjectCreated:Put", suffix="b")], "Configuration is ambiguously defined"),
        ([{**entry("s3:ObjectCreated:*"), "Id": "i"}, {**entry("s3:ObjectRemoved:*"), "Id": "i"}], "Same ID used"),
        ([entry("s3:ObjectCreated:*", prefix="a", Prefix="b")], "Cannot specify more than one prefix rule"),
        ([entry("s3:ObjectCreated:*", prefix="a" * 1025)], "cannot be longer than 1024 bytes"),
    ],
)
def test_configurations_that_are_refused(entries: list[dict[str, Any]], message: str) -> None:
    """What S3 does not take is refused in its words."""
    with pytest.raises(errors.InvalidArgument, match=message):
        checked(*entries)


def test_fifo_destinations_are_refused() -> None:
    """S3 does not tell FIFO queues."""
    queue = {"QueueArn": "arn:aws:sqs:us-east-1:000000000000:q.fifo", "Events": ["s3:ObjectCreated:*"]}
    with pytest.raises(errors.InvalidArgument, match="Unable to validate"):
        event_filters.checked({"QueueConfigurations": [queue]}, IDS)


def happening(event: str, **changes: Any) -> Happening:
    known: dict[str, Any] = {
        "event": event,
        "at_ms": 0,
        "bucket": "b",
        "bucket_arn": "arn:aws:s3:::b",
        "owner_account": "000000000000",
        "region": "us-east-1",
        "key": "a b/ü+",
        "size_bytes": 3,
        "etag": "e",
        "version_id": "",
        "sequencer": "01",
        "principal_id": "AWS:x",
        "source_ip": "127.0.0.1",
        "request_id": "r",
        "host_id": "h",
        "requester": "000000000000",
    }
    return Happening(**known | changes)


@pytest.mark.parametrize(
    ("event", "version", "members"),
    [
        ("s3:ObjectCreated:Put", "2.1", {"key": "a+b/%C3%BC%2B", "size": 3, "eTag": "e", "sequencer": "01"}),
        ("s3:ObjectRemoved:Delete", "2.1", {"key": "a+b/%C3%BC%2B", "sequencer": "01"}),
        ("s3:ObjectRemoved:DeleteMarkerCreated", "2.1", {"key": "a+b/%C3%BC%2B", "eTag": event_records.EMPTY_MD5, "sequencer": "01"}),
        ("s3:ObjectTagging:Delete", "2.3", {"key": "a+b/%C3%BC%2B", "eTag": "e"}),
        ("s3:ObjectAcl:Put", "2.3", {"key": "a+b/%C3%BC%2B", "eTag": "e"}),
        ("s3:LifecycleExpiration:Delete", "2.1", {"key": "a+b/%C3%BC%2B", "sequencer": "01"}),
    ],
)
def test_records(event: str, version: str, members: dict[str, Any]) -> None:
    """Each kind of event has its version and its members of the object."""
    (record,) = event_records.record(happening(event), "c")["Records"]
    assert record["eventVersion"] == version and record["eventName"] == event.removeprefix("s3:")
    assert record["s3"]["object"] == members and record["eventTime"] == "1970-01-01T00:00:00.000Z"
    (record,) = event_records.record(happening(event, version_id="v"), "c")["Records"]
    assert record["s3"]["object"] == members | {"versionId": "v"}


@pytest.mark.parametrize(
    ("event", "detail_type", "reason", "members"),
    [
        ("s3:ObjectCreated:Post", "Object Created", "POST Object", {"key", "size", "etag", "sequencer"}),
        ("s3:ObjectRemoved:Delete", "Object Deleted", "DeleteObject", {"key", "sequencer"}),
        ("s3:LifecycleExpiration:Delete", "Object Deleted", "Lifecycle Expiration", {"key", "sequencer"}),
        ("s3:ObjectTagging:Put", "Object Tags Added", None, {"key", "etag"}),
    ],
)
def test_entries_for_event_bridge(event: str, detail_type: str, reason: str | None, members: set[str]) -> None:
    """EventBridge hears of events by names of its own."""
    found = event_records.bridge_entry(happening(event))
    assert found is not None and found["DetailType"] == detail_type
    detail = json.loads(found["Detail"])
    assert detail.get("reason") == reason and set(detail["object"]) == members and detail["object"]["key"] == "a b/ü+"
    assert ("deletion-type" in detail) == (detail_type == "Object Deleted")


def test_event_bridge_is_not_told_of_everything() -> None:
    """What EventBridge has no name for is not told."""
    assert event_records.bridge_entry(happening("s3:ObjectRetention:Put")) is None


@given(st.integers(0, 2**60), st.integers(0, 2**60))
def test_sequencers_compare_as_texts(one: int, other: int) -> None:
    """The order of sequencers is that of their texts."""
    assert (one < other) == (event_records.sequencer(one) < event_records.sequencer(other))


@given(st.integers(0, 10**13), st.integers(1, 1000))
def test_days_end_at_midnight(since_ms: int, days: int) -> None:
    """A rule's days are over at the first midnight after them."""
    due_ms = lifecycle.due_ms(since_ms, days)
    assert due_ms % DAY_MS == 0 and days * DAY_MS <= due_ms - since_ms < (days + 1) * DAY_MS


def rule(**members: Any) -> dict[str, Any]:
    return {"Status": "Enabled", "Filter": {"Prefix": "a"}, "Expiration": {"Days": 1}, **members}


def test_lifecycle_filters() -> None:
    """A rule concerns what its whole filter lets through."""
    both = {"And": {"Prefix": "a", "Tags": [{"Key": "k", "Value": "v"}], "ObjectSizeGreaterThan": 5}}
    (found,) = lifecycle.rules_of({"Rules": lifecycle.checked([rule(Filter=both)], IDS)})
    assert found.concerns("a/b", {"k": "v", "x": "y"}, 6)
    assert not found.concerns("a/b", {"k": "v"}, 5) and not found.concerns("a/b", {}, 6) and not found.concerns("b", {"k": "v"}, 6)
    assert lifecycle.rules_of({"Rules": [rule(Status="Disabled", ID="x")]}) == []
    (old,) = lifecycle.rules_of({"Rules": [{"Status": "Enabled", "Prefix": "p", "Expiration": {"Days": 1}, "ID": "x"}]})
    assert old.prefix == "p" and lifecycle.widest_prefix([found, old]) == ""


@pytest.mark.parametrize(
    "bad",
    [
        {},
        rule(Status="Perhaps"),
        rule(Prefix="x"),
        rule(Expiration=None),
        rule(Expiration={"Days": 0}),
        rule(Expiration={"Days": 1, "ExpiredObjectDeleteMarker": True}),
        rule(Filter={"Prefix": "a", "Tag": {"Key": "k", "Value": "v"}}),
        rule(Filter={"And": {"Prefix": "a"}}),
        rule(Expiration={"Date": "2030-01-01T12:00:00+00:00"}),
        rule(NoncurrentVersionExpiration={"NewerNoncurrentVersions": 1}),
        rule(ID="x" * 256),
        rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}, Filter={"Tag": {"Key": "k", "Value": "v"}}),
    ],
)
def test_lifecycle_rules_that_are_refused(bad: dict[str, Any]) -> None:
    """Rules that make no sense are refused."""
    with pytest.raises(errors.S3Error):
        lifecycle.checked([bad], IDS)

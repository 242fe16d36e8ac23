"""Telemetry subscriptions, events and batches, and levels of JSON lines."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.machines import json_lines, telemetry
from lambdad.machines.telemetry import Api, Subscription

GOOD: dict[str, Any] = {"types": ["platform"], "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080"}}


def parse(api: Api = Api.TELEMETRY, **changes: Any) -> Subscription:
    return telemetry.parse(api, json.dumps({**GOOD, **changes}).encode())


def test_a_subscription_and_its_defaults():
    """What is not said is AWS's default."""
    assert parse() == Subscription(api=Api.TELEMETRY, schema="2022-07-01", types=("platform",), port=8080)
    full = parse(
        schemaVersion="2022-12-13",
        types=["extension", "function", "extension"],
        buffering={"maxItems": 1000, "maxBytes": 1048576, "timeoutMs": 25},
        destination={"protocol": "http", "URI": "http://sandbox:1/a/b?c", "method": "PUT", "encoding": "JSON"},
    )
    assert (full.types, full.max_items, full.max_bytes, full.timeout_s) == (("extension", "function"), 1000, 1048576, 0.025)
    assert (full.method, full.host, full.port, full.path, full.structured) == ("PUT", "sandbox", 1, "/a/b?c", True)
    tcp = parse(Api.LOGS, destination={"protocol": "TCP", "port": 9000})
    assert (tcp.schema, tcp.protocol, tcp.port, tcp.structured) == ("2020-08-15", "TCP", 9000, False)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"types": []}, "types should not be empty"),
        ({"types": None}, "types should not be empty"),
        ({"types": ["other"]}, "types should be among platform, function, extension"),
        ({"types": "platform"}, "request body is not valid: Expected"),
        ({"schemaVersion": "2021-03-18"}, "schemaVersion should be one of 2022-07-01, 2022-12-13, 2025-01-29"),
        ({"buffering": {"maxItems": 999}}, "maxItems should be between 1000 and 10000"),
        ({"buffering": {"maxBytes": 1}}, "maxBytes should be between 262144 and 1048576"),
        ({"buffering": {"timeoutMs": 30001}}, "timeoutMs should be between 25 and 30000"),
        ({"buffering": {"timeoutMs": 10**400}}, "timeoutMs should be between 25 and 30000"),
        ({"destination": None}, "destination protocol should be HTTP or TCP; destination port is not provided"),
        ({"destination": {"protocol": "UDP", "port": 1}}, "destination protocol should be HTTP or TCP"),
        ({"destination": {"protocol": "TCP"}}, "destination port is not provided"),
        ({"destination": {"protocol": "TCP", "port": 9001}}, "port 9001 can not be used"),
        ({"destination": {"protocol": "TCP", "port": 70000}}, "port 70000 can not be used"),
        ({"destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain"}}, "URI port is not provided"),
        ({"destination": {"protocol": "HTTP", "URI": "http://example.com:80"}}, "destination URI should be"),
        ({"destination": {"protocol": "HTTP", "URI": "http://sandbox@example.com:80"}}, "destination URI should be"),
        ({"destination": {"protocol": "HTTP", "URI": "https://sandbox:80"}}, "destination URI should be"),
        ({"destination": {"protocol": "HTTP", "URI": "http://sandbox:80/\r\nX: y"}}, "destination URI should be"),
        ({"destination": {"protocol": "HTTP", "URI": "http://sandbox:80/ü"}}, "destination URI should be"),
        ({"destination": {"protocol": "HTTP", "URI": "http://sandbox:80", "method": "GET"}}, "destination method should be"),
        ({"destination": {"protocol": "TCP", "port": 1, "encoding": "XML"}}, "destination encoding should be JSON"),
    ],
)
def test_what_is_no_subscription(changes: dict[str, Any], text: str):
    """Each fault is named."""
    with pytest.raises(telemetry.InvalidSubscription) as invalid:
        parse(**changes)
    assert str(invalid.value).startswith(text)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner)).map(json.dumps).map(str.encode)
)
def test_garbage_is_refused(body: bytes):
    """Whatever comes: a subscription, or a reason why it is none."""
    with pytest.raises(telemetry.InvalidSubscription):
        telemetry.parse(Api.TELEMETRY, body)


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"destination":' * 4000, b"x" * 70_000])
def test_huge_garbage(body: bytes):
    """Depth and size cost nothing."""
    with pytest.raises(telemetry.InvalidSubscription):
        telemetry.parse(Api.LOGS, body)


def item(subscription: Subscription, kind: str, record: Any) -> Any:
    made = telemetry.platform_item(subscription, kind, record, 1_767_225_600_042)
    return json.loads(made) if made is not None else None


def test_events_of_both_apis():
    """The older API has end and fault, and fewer fields; the newer one has everything else."""
    newer, older = parse(), parse(Api.LOGS)
    record = {"requestId": "r", "status": "success", "metrics": {}, "spans": []}
    assert item(newer, "platform.report", record) == {"time": "2026-01-01T00:00:00.042Z", "type": "platform.report", "record": record}
    assert item(older, "platform.report", record)["record"] == {"requestId": "r", "metrics": {}}
    assert item(older, "platform.fault", "text")["record"] == "text"
    assert item(newer, "platform.fault", "text") is item(newer, "platform.end", {}) is item(older, "platform.initStart", {}) is None
    assert item(older, "platform.runtimeDone", record) is None
    assert item(parse(Api.LOGS, schemaVersion="2021-03-18"), "platform.runtimeDone", record)["record"] == {
        "requestId": "r",
        "status": "success",
    }
    assert item(parse(types=["function"]), "platform.report", record) is None


@given(st.text(), st.booleans())
def test_lines_are_json_whatever_they_say(text: str, wanted: bool):
    """A line is a string, or the object that it is; never what breaks the batch."""
    as_object = wanted and json_lines.read(text) is not None
    made = json.loads(telemetry.line_item("function", text, 0, as_object=as_object))
    assert made["type"] == "function" and (as_object or made["record"] == text.encode("utf-8", "replace").decode())


def test_an_object_of_several_lines_is_one_line():
    """For destinations that tell events apart by newlines."""
    made = telemetry.line_item("function", '{\n "a": [1,\n 2]\n}', 0, as_object=True)
    assert b"\n" not in made and json.loads(made)["record"] == {"a": [1, 2]}


SMALL = Subscription(api=Api.TELEMETRY, schema="2022-07-01", types=("function",), max_items=3, max_bytes=100, timeout_s=1.0)


def test_when_a_batch_is_due():
    """When it is old enough, or full by number or by size."""
    buffer = telemetry.Buffer(SMALL)
    assert buffer.due_s() is None
    buffer.add(b"x", 5.0, room_bytes=1000)
    assert buffer.due_s() == 6.0
    buffer.add(b"x", 5.5, room_bytes=1000)
    buffer.add(b"x", 5.5, room_bytes=1000)
    assert buffer.due_s() == 5.0 and buffer.take(7.0) == [b"x"] * 3 and buffer.due_s() is None
    buffer.add(b"x" * 100, 8.0, room_bytes=1000)
    assert buffer.due_s() == 8.0


@given(st.lists(st.tuples(st.integers(1, 150), st.integers(0, 200), st.booleans()), max_size=60))
def test_buffers_lose_nothing_silently(history: list[tuple[int, int, bool]]):
    """Every event is in a batch, still there, or counted as lost; batches and buffers have their bounds; order is kept."""
    buffer = telemetry.Buffer(SMALL)
    given_, taken, lost = [], [], 0
    for number, (size_bytes, room_bytes, takes) in enumerate(history):
        data = (b"%d," % number).ljust(size_bytes, b".")
        if buffer.add(data, float(number), room_bytes=room_bytes):
            given_.append(data)
        else:
            lost += 1
        if takes:
            batch = buffer.take(float(number))
            assert len(batch) <= 3 and (len(batch) <= 1 or sum(map(len, batch)) <= 100)
            taken += batch
        assert len(buffer) <= 6 and (len(buffer) <= 1 or buffer.size_bytes <= 200)
    while len(buffer):
        taken += buffer.take(0.0)
    assert taken == given_ and buffer.size_bytes == 0
    assert buffer.take_dropped()[0] == lost and buffer.take_dropped() == (0, 0)


def test_retries_grow_and_stop_growing():
    """From a tenth of a second to five."""
    assert [telemetry.retry_after_s(failures) for failures in (1, 2, 3, 8)] == [0.1, 0.2, 0.4, 5.0]


@pytest.mark.parametrize(
    ("line", "level", "at_ms"),
    [
        ('{"level":"ERROR","timestamp":"2026-01-01T00:00:00Z"}', "ERROR", 1_767_225_600_000),
        ('  {"timestamp":"2026-01-01T02:00:00.123456789+02:00","level":"trace"}', "TRACE", 1_767_225_600_123),
        ('{"level":"ERROR"}', "INFO", None),
        ('{"level":"ERROR","timestamp":"yesterday"}', "INFO", None),
        ('{"level":"ERROR","timestamp":"2026-13-01T00:00:00Z"}', "INFO", None),
        ('{"level":"LOUD","timestamp":"2026-01-01T00:00:00Z"}', "INFO", 1_767_225_600_000),
        ('{"level":["ERROR"],"timestamp":1}', "INFO", None),
        ('{"level":"warning","timestamp":"2026-01-01T00:00:00Z"}', "WARN", 1_767_225_600_000),
        ("{}", "INFO", None),
    ],
)
def test_levels_of_json_lines(line: str, level: str, at_ms: int | None):
    """A valid level counts where there is a valid time."""
    assert json_lines.read(line) == json_lines.JsonLine(json_lines.LEVELS[level], at_ms)


@pytest.mark.parametrize("line", ["", "text", "[1]", '"{}"', "{", '{"a":NaN}', '{"a":1} x', "{" * 100_000, '{"a":' * 100_000])
def test_lines_that_are_no_objects(line: str):
    """They have no level, and are never filtered."""
    assert json_lines.read(line) is None

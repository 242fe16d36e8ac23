"""How asynchronous invocations end: what is decided after an attempt, and what destinations are sent."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.machines.retry import Condition, Failure
from lambdad.model import arn
from lambdad.model.errors import AwsError
from lambdad.model.function import FunctionKey
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.lambda_.rules import attempts, destinations, endings
from lambdad.services.lambda_.rules.attempts import Discarded, Ended, Event, Gone, Postponed
from lambdad.services.lambda_.rules.destinations import Kind
from lambdad.services.lambda_.rules.endings import Ending, Response
from lambdad.services.lambda_.rules.event_invoke import Settings
from lambdad.wire import codec

KEY = FunctionKey(AccountId("000000000000"), Region("us-east-1"), "f")
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
QUEUE = "arn:aws:sqs:eu-west-1:111122223333:q"
TOPIC = "arn:aws:sns:us-east-1:000000000000:t"
OTHER = "arn:aws:lambda:us-east-1:000000000000:function:g:live"
BUS = "arn:aws:events:us-east-1:000000000000:event-bus/default"
BUCKET = "arn:aws:s3:::bucket"
NOW_MS = 1_573_755_365_568
FAILED = Response(payload=b'{"errorMessage":"boom","errorType":"E"}', function_error="Unhandled", executed_version="3")
FINE = Response(payload=b'{"n": 1.50}', function_error="", executed_version="$LATEST")

ENDING = Ending(
    request_id=RequestId("id"),
    key=KEY,
    qualifier=None,
    payload=b'{"a": 1.0,"b":"\\u00e9"}',
    trace_id="Root=1;Sampled=0",
    condition="RetriesExhausted",
    attempts=3,
    response=FAILED,
)


def event(**changes: Any) -> Event:
    whole = Event(request_id=RequestId("id"), key=KEY, qualifier="live", payload=b"{}", trace_id="t", accepted_at_ms=NOW_MS)
    return replace(whole, **changes)


def test_the_record_is_awss_member_for_member() -> None:
    """In AWS's order, with the payloads byte for byte, and the function's ARN qualified."""
    text = endings.record(ENDING, NOW_MS).decode()
    assert text == (
        '{"version":"1.0","timestamp":"2019-11-14T18:16:05.568Z","requestContext":{"requestId":"id",'
        f'"functionArn":"{FUNCTION}:$LATEST","condition":"RetriesExhausted","approximateInvokeCount":3}},'
        '"requestPayload":{"a": 1.0,"b":"\\u00e9"},'
        '"responseContext":{"statusCode":200,"executedVersion":"3","functionError":"Unhandled"},'
        '"responsePayload":{"errorMessage":"boom","errorType":"E"}}'
    )


def test_the_record_of_a_success_and_of_what_never_ran() -> None:
    """A success has no functionError, and a null result is there; without an attempt there is no response at all."""
    fine = json.loads(endings.record(replace(ENDING, condition="Success", attempts=1, response=replace(FINE, payload=b"null")), NOW_MS))
    assert fine["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"} and fine["responsePayload"] is None
    never = json.loads(endings.record(replace(ENDING, condition="EventAgeExceeded", attempts=0, response=None), NOW_MS))
    assert never.keys() == {"version", "timestamp", "requestContext", "requestPayload"}
    text = json.loads(endings.record(replace(ENDING, response=replace(FAILED, payload=b"no \xff JSON")), NOW_MS))
    assert text["responsePayload"] == "no \ufffd JSON"


def sent(ending: Ending = ENDING, **settings: str) -> list[tuple[str, str, dict[str, Any]]]:
    made = endings.deliveries(ending, Settings(**settings), now_ms=NOW_MS, new_id="uuid")  # type: ignore[arg-type]  # ARNs only
    for each in made:
        codec.load(each.service).validator(each.operation)(each.params)
        assert each.origin.principal == "" and each.origin.source_arn == FUNCTION and each.dead_letter is None
    return [(each.service, each.operation, dict(each.params)) for each in made]


def test_each_kind_of_destination_gets_its_envelope() -> None:
    """Queue, topic, function, bus and bucket, each as AWS calls it, and each valid for its model."""
    record = endings.record(ENDING, NOW_MS)
    assert sent(on_failure=QUEUE) == [
        ("sqs", "SendMessage", {"QueueUrl": "https://sqs.eu-west-1.amazonaws.com/111122223333/q", "MessageBody": record.decode()})
    ]
    assert sent(on_failure=TOPIC) == [("sns", "Publish", {"TopicArn": TOPIC, "Message": record.decode()})]
    assert sent(on_failure=OTHER) == [("lambda", "Invoke", {"FunctionName": OTHER, "InvocationType": "Event", "Payload": record})]
    (bus,) = sent(on_failure=BUS)
    (entry,) = bus[2]["Entries"]
    assert entry.pop("Time").timestamp() * 1000 == NOW_MS
    assert entry == {
        "Source": "lambda",
        "DetailType": "Lambda Function Invocation Result - Failure",
        "Resources": [BUS, FUNCTION + ":$LATEST"],
        "Detail": record.decode(),
        "EventBusName": BUS,
    }
    name = "aws/lambda/async/f/2019/11/14/2019-11-14T18.16.05-uuid"
    assert sent(on_failure=BUCKET) == [("s3", "PutObject", {"Bucket": "bucket", "Key": name, "Body": record})]
    (traced,) = sent(replace(ENDING, trace_id="Root=1;Sampled=1"), on_failure=QUEUE)
    assert traced[2]["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"] == "Root=1;Sampled=1"
    success = replace(ENDING, condition="Success", response=FINE, qualifier="live")
    (bus,) = sent(success, on_success=BUS)
    assert bus[2]["Entries"][0]["DetailType"].endswith(" - Success")
    assert bus[2]["Entries"][0]["Resources"] == [BUS, FUNCTION + ":live"]


def test_dead_letter_targets_get_the_event_itself() -> None:
    """The original event, what went wrong in attributes; beside the destination, and only after a failure."""
    both = sent(dead_letter_target=QUEUE, on_failure=TOPIC, on_success=BUS)
    assert [service for service, _, _ in both] == ["sns", "sqs"]
    assert both[1][2]["MessageBody"] == ENDING.payload.decode()
    assert both[1][2]["MessageAttributes"] == {
        "RequestID": {"DataType": "String", "StringValue": "id"},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "boom"},
    }
    (topic,) = sent(dead_letter_target=TOPIC)
    assert topic[2]["Message"] == ENDING.payload.decode() and topic[2]["MessageAttributes"]["RequestID"]["StringValue"] == "id"
    assert [service for service, _, _ in sent(replace(ENDING, condition="Success"), dead_letter_target=QUEUE, on_success=TOPIC)] == ["sns"]
    long = replace(FAILED, payload=json.dumps({"errorMessage": "é" * 2000}).encode())
    (cut,) = sent(replace(ENDING, response=long), dead_letter_target=QUEUE)
    assert cut[2]["MessageAttributes"]["ErrorMessage"]["StringValue"] == "é" * 512
    (silent,) = sent(replace(ENDING, response=replace(FAILED, payload=b"[]")), dead_letter_target=QUEUE)
    assert "ErrorMessage" not in silent[2]["MessageAttributes"]


@given(
    results=st.lists(
        st.sampled_from([FAILED, FINE, Failure.THROTTLED, Failure.SYSTEM_ERROR, Condition.ZERO_RESERVED_CONCURRENCY, Gone("g")]),
        min_size=60,
        max_size=60,
    ),
    retries=st.integers(0, 2),
    age_s=st.integers(60, 21_600),
    late_ms=st.integers(0, 200_000),
)
def test_every_event_comes_to_one_end(results: list[Any], retries: int, age_s: int, late_ms: int) -> None:
    """Whatever attempts come to, the counts are right, and retries keep to number and age."""
    settings = Settings(maximum_retry_attempts=retries, maximum_event_age_ms=age_s * 1000)
    now_ms, current, ran = NOW_MS, event(), 0
    for result in results:
        if attempts.before(current, settings, now_ms, reserved_concurrency=None) is not None:
            result = Condition.EVENT_AGE_EXCEEDED
        ran += isinstance(result, Response)
        step = attempts.after(current, result, settings, now_ms, jitter=0.5)
        if isinstance(step, Discarded):
            assert isinstance(result, Gone)
            return
        if isinstance(step, Ended):
            ending = step.ending
            assert ending.attempts == ran <= retries + 1 and (ending.response is None) == (ran == 0)
            assert (ending.condition == "Success") == (result is FINE)
            if ending.condition == "RetriesExhausted":
                assert ran == retries + 1 and result is FAILED
            return
        assert isinstance(step, Postponed)
        assert step.due_at_ms > now_ms
        current, now_ms = step.event, step.due_at_ms + late_ms
    assert now_ms - NOW_MS <= age_s * 1000 + late_ms + 450_000


def test_what_the_dead_letter_target_is_told_of_attempts_that_never_ran() -> None:
    """Throttles are 429, the platform's failures 500; after a run it is the run's error that counts."""
    old = event(accepted_at_ms=NOW_MS - 21_600_000)
    throttled = attempts.after(old, Failure.THROTTLED, Settings(), NOW_MS, jitter=0)
    broken = attempts.after(old, Failure.SYSTEM_ERROR, Settings(), NOW_MS, jitter=0)
    zero = attempts.after(event(), Condition.ZERO_RESERVED_CONCURRENCY, Settings(), NOW_MS, jitter=0)
    aged = attempts.after(event(response=FAILED, attempts=1), Condition.EVENT_AGE_EXCEEDED, Settings(), NOW_MS, jitter=0)
    ends = [(step.ending.error_code, step.ending.condition) for step in (throttled, broken, zero, aged) if isinstance(step, Ended)]
    assert ends == [
        (429, "EventAgeExceeded"),
        (500, "EventAgeExceeded"),
        (429, "ZeroReservedConcurrency"),
        (200, "EventAgeExceeded"),
    ]


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (QUEUE, Kind.SQS),
        (TOPIC, Kind.SNS),
        (OTHER, Kind.LAMBDA),
        (BUS, Kind.EVENTS),
        (BUCKET, Kind.S3),
        ("arn:aws:s3:::bucket/key", None),
        ("arn:aws:events:us-east-1:000000000000:rule/r", None),
        ("arn:aws:kinesis:us-east-1:000000000000:stream/s", None),
        ("arn:aws:sqs:::q", None),
        ("arn:aws:lambda:us-east-1:000000000000:layer:l:1", None),
        ("kafka://topic", None),
    ],
)
def test_kinds_of_destinations(target: str, kind: Kind | None) -> None:
    """An ARN says what it names."""
    assert destinations.kind_of(target) is kind


@pytest.mark.parametrize(
    ("success", "failure", "message"),
    [
        (QUEUE, BUCKET, None),
        (OTHER, "", None),
        ("", "", None),
        (BUCKET, "", "DestinationConfig(onSuccess=OnSuccess(destination=arn:aws:s3:::bucket), onFailure=null)"),
        ("", "kafka://t", "DestinationConfig(onSuccess=null, onFailure=OnFailure(destination=kafka://t))"),
        ("", QUEUE + ".fifo", f"DestinationConfig(onSuccess=null, onFailure=OnFailure(destination={QUEUE}.fifo))"),
        (OTHER.replace(":g", ":h"), "", f"The destination ARN {OTHER.replace(':g', ':h')} is invalid."),
        (FUNCTION, "", "You can't specify the function as a destination for itself."),
        ("", FUNCTION + ":live", "You can't specify the function as a destination for itself."),
    ],
)
def test_destinations_are_checked(success: str, failure: str, message: str | None) -> None:
    """Only kinds that AWS knows, only functions that exist, and not the function itself."""
    config = {"OnSuccess": {"Destination": success}, "OnFailure": {"Destination": failure}}

    def exists(reference: arn.FunctionReference) -> bool:
        return reference.name == "g"

    if message is None:
        destinations.check(config, KEY, exists)
        return
    if message.startswith("DestinationConfig"):
        message = f"The provided destination config {message} is invalid."
    with pytest.raises(AwsError) as caught:
        destinations.check(config, KEY, exists)
    assert (caught.value.code, caught.value.message) == ("InvalidParameterValueException", message)

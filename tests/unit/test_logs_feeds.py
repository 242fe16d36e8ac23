"""Subscription filters at work: what they want of a batch, and the messages that are made of it. And what their requests may ask for."""

import base64
import gzip
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.model.errors import AwsError
from lambdad.model.limits import ASYNC_PAYLOAD_BYTES
from lambdad.services.logs.rules import chunks, destinations, feeds, metric_transformations, patterns, policies

SENDER = feeds.Sender(account="000000000000", region="us-east-1", group="g", stream="s")
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"


def feed(pattern: str, *system_fields: str) -> feeds.Feed:
    return feeds.Feed(name="n", pattern=patterns.compile_pattern(pattern), destination_arn=FUNCTION, system_fields=system_fields)


def unpacked(payload: bytes) -> dict[str, Any]:
    event = json.loads(payload)
    assert list(event) == ["awslogs"] and list(event["awslogs"]) == ["data"]
    message: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
    return message


def sent(one: feeds.Feed, *events: tuple[int, str]) -> list[dict[str, Any]]:
    found = feeds.match([one], chunks.cut(events))
    return [unpacked(payload) for match in found for payload in feeds.messages(SENDER, match, ["1"] * len(match.events)).payloads]


def test_a_message_has_the_shape_that_aws_sends() -> None:
    """The message equals AWS's member for member, in its order."""
    (message,) = sent(feed("ERROR"), (1, "ERROR a\n"), (2, "INFO b\n"), (3, "ERROR c\n"))
    assert json.dumps(message) == json.dumps(
        {
            "messageType": "DATA_MESSAGE",
            "owner": "000000000000",
            "logGroup": "g",
            "logStream": "s",
            "subscriptionFilters": ["n"],
            "logEvents": [{"id": "1", "timestamp": 1, "message": "ERROR a\n"}, {"id": "1", "timestamp": 3, "message": "ERROR c\n"}],
        }
    )


@pytest.mark.parametrize(
    ("one", "message", "fields"),
    [
        (feed("[ip, user, ..., status = 4*]"), "1.2.3.4 me x y 404", {"ip": "1.2.3.4", "user": "me", "3": "x", "4": "y", "status": "404"}),
        (feed('{ $.level = "E" }'), '{"level": "E"}', None),
        (feed("a", "@aws.region"), "a", {"@aws.region": "us-east-1"}),
        (feed("[x]", "@aws.account", "@aws.region"), "a", {"x": "a", "@aws.account": "000000000000", "@aws.region": "us-east-1"}),
        (feed(""), "a", None),
    ],
)
def test_fields_are_sent_where_the_filter_names_them(one: feeds.Feed, message: str, fields: dict[str, str] | None) -> None:
    """Space-delimited patterns and system fields become extractedFields; nothing else has any."""
    ((event,),) = [message["logEvents"] for message in sent(one, (1, message))]
    assert event.get("extractedFields") == fields


def test_nothing_is_sent_where_nothing_fits() -> None:
    """A filter that wants nothing of a batch has no match."""
    assert feeds.match([feed("ERROR"), feed("{ $.a = 1 }")], chunks.cut([(1, "INFO")])) == []


def test_many_events_are_sent_in_several_messages() -> None:
    """Messages are cut where they are large enough, and none is larger than an event of Lambda can be."""
    rng = random.Random(1)
    noise = ["".join(rng.choices("0123456789abcdef", k=200_000)) for _ in range(40)]
    events = [(number, text) for number, text in enumerate(noise)]
    (match,) = feeds.match([feed("")], chunks.cut(events))
    made = feeds.messages(SENDER, match, [str(number) for number in range(40)])
    assert all(len(payload) <= ASYNC_PAYLOAD_BYTES for payload in made.payloads)
    arrived = [event for payload in made.payloads for event in unpacked(payload)["logEvents"]]
    assert [event["id"] for event in arrived] == [str(number) for number in range(40)]
    assert [event["message"] for event in arrived] == noise
    assert 1 < len(made.payloads) < 40 and made.too_large == 0


def test_an_event_that_fits_into_no_message_is_left_out() -> None:
    """What does not become small enough is counted, and its neighbours are sent."""
    rng = random.Random(1)
    noise = "".join(chr(rng.randrange(32, 127)) for _ in range(1_048_000))
    (match,) = feeds.match([feed("")], chunks.cut([(1, "a"), (2, noise), (3, "b")]))
    made = feeds.messages(SENDER, match, ["1", "2", "3"])
    assert made.too_large == 1
    assert [event["id"] for payload in made.payloads for event in unpacked(payload)["logEvents"]] == ["1", "3"]


@given(st.lists(st.tuples(st.integers(0, 10**6), st.text(max_size=5)), min_size=1, max_size=50))
def test_the_empty_pattern_sends_everything_in_order(events: list[tuple[int, str]]) -> None:
    """All events arrive, in the order of their times, whatever characters they have."""
    arrived = [(event["timestamp"], event["message"]) for message in sent(feed(""), *events) for event in message["logEvents"]]
    assert arrived == [(time, text.encode("utf-8", "replace").decode()) for time, text in sorted(events, key=lambda event: event[0])]


@given(
    st.sampled_from(["", "a -b", "?a ?b", "%a.*[0-9]+$%", '{ $.a = "x*" || $.b[0] > 1 }', "[a, ..., b != 1]", '["]']),
    st.lists(st.text(st.characters(exclude_categories=())) | st.from_regex(r"[\[\]{}\",:$a-b0-9 \\]*"), max_size=5),
)
def test_no_message_breaks_a_batch(pattern: str, texts: list[str]) -> None:
    """Whatever functions print can be matched and sent: an error here would stop the log of everybody."""
    try:
        one = feed(pattern)
    except AwsError:
        return
    sent(one, *enumerate(texts))


def test_halves_of_characters_are_sent_as_they_are_stored() -> None:
    """A message with half a surrogate pair does not break its batch."""
    (message,) = sent(feed(""), (1, "a\ud800b"))
    assert message["logEvents"][0]["message"] == "a?b"


def test_the_control_message_is_recognizable() -> None:
    """Functions that look at messageType can tell the trial from data."""
    message = unpacked(feeds.control_message(5))
    assert message["messageType"] == "CONTROL_MESSAGE"
    assert (message["logGroup"], message["logStream"], message["subscriptionFilters"]) == ("", "", [])
    assert [event["timestamp"] for event in message["logEvents"]] == [5]


STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
HOSE = "arn:aws:firehose:us-east-1:000000000000:deliverystream/s"


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"destinationArn": "f"}, "InvalidParameterException", "Invalid destination ARN."),
        ({"destinationArn": FUNCTION + ":a:b"}, "InvalidParameterException", "Invalid destination ARN."),
        ({"destinationArn": STREAM}, "InvalidParameterException", "destinationArn for vendor kinesis cannot be used without roleArn"),
        ({"destinationArn": HOSE}, "InvalidParameterException", "destinationArn for vendor firehose cannot be used without roleArn"),
        (
            {"destinationArn": STREAM, "roleArn": "r"},
            "InvalidParameterException",
            "lambdad has no kinesis to deliver log events to; the destination must be a Lambda function.",
        ),
        (
            {"destinationArn": "arn:aws:logs:us-east-1:000000000000:destination:d"},
            "InvalidParameterException",
            "lambdad has no logs destinations; the destination must be a Lambda function.",
        ),
        (
            {"destinationArn": "arn:aws:sqs:us-east-1:000000000000:q"},
            "InvalidParameterException",
            "PutSubscriptionFilter operation cannot work with destinationArn for vendor sqs",
        ),
        (
            {"destinationArn": FUNCTION, "roleArn": "r"},
            "InvalidParameterException",
            "destinationArn for vendor lambda cannot be used with roleArn",
        ),
        (
            {"destinationArn": FUNCTION.replace("000000000000", "111111111111")},
            "AccessDeniedException",
            "Cross-account lambda invocation passing is not allowed. "
            "You must use DestinationPolicies to create cross account lambda triggers.",
        ),
        (
            {"destinationArn": FUNCTION.replace("us-east-1", "eu-west-1")},
            "InvalidParameterException",
            "Could not execute the lambda function. Make sure you have given CloudWatch Logs permission to execute your function.",
        ),
        (
            {"destinationArn": FUNCTION, "applyOnTransformedLogs": True},
            "InvalidParameterException",
            "The log group has no transformer; applyOnTransformedLogs cannot be true.",
        ),
        (
            {"destinationArn": FUNCTION, "fieldSelectionCriteria": "x"},
            "InvalidParameterException",
            "lambdad does not have fieldSelectionCriteria; use the filter pattern.",
        ),
        (
            {"destinationArn": FUNCTION, "emitSystemFields": ["@source.log"]},
            "InvalidParameterException",
            "Invalid system field '@source.log'. It must be one of @aws.account, @aws.region.",
        ),
    ],
)
def test_destinations_that_are_refused(request_: dict[str, Any], code: str, message: str) -> None:
    """Each is refused in AWS's words where it refuses it too."""
    with pytest.raises(AwsError) as caught:
        destinations.check("000000000000", "us-east-1", request_)
    assert (caught.value.code, caught.value.message) == (code, message)


@pytest.mark.parametrize("qualifier", ["", ":3", ":live", ":$LATEST"])
def test_functions_are_destinations(qualifier: str) -> None:
    """A function, a version and an alias are taken as they are."""
    request = {"destinationArn": FUNCTION + qualifier, "applyOnTransformedLogs": False, "emitSystemFields": ["@aws.account"]}
    assert destinations.check("000000000000", "us-east-1", request) == FUNCTION + qualifier


METRIC = {"metricName": "m", "metricNamespace": "n", "metricValue": "1"}


@pytest.mark.parametrize(
    ("pattern", "transformation"),
    [
        ("ERROR", {}),
        ("", {"metricValue": "-1.5e3", "defaultValue": 0.0}),
        ("{ $.a = 1 }", {"metricValue": "$.latency"}),
        ("[ip, ..., bytes]", {"metricValue": "$bytes", "unit": "Bytes"}),
        ("[ip, bytes]", {"dimensions": {"Ip": "$ip"}}),
        ("{ $.a = 1 }", {"dimensions": {"A": "$.a", "B": "$.b[0]", "C": "$['c']"}}),
    ],
)
def test_transformations_that_are_taken(pattern: str, transformation: dict[str, Any]) -> None:
    """Values are numbers or fields of the pattern, and so are dimensions."""
    wanted = {**METRIC, **transformation}
    assert metric_transformations.check({"metricTransformations": [wanted]}, patterns.compile_pattern(pattern)) == wanted


@pytest.mark.parametrize(
    ("pattern", "request_", "message"),
    [
        ("", {"metricValue": "x"}, "the metric value 'x' is neither a number nor a field of the filter pattern"),
        ("ERROR", {"metricValue": "$x"}, "the metric value '$x' is neither a number nor a field of the filter pattern"),
        ("[a]", {"metricValue": "$b"}, "the metric value '$b' is neither a number nor a field of the filter pattern"),
        ("{ $.a = 1 }", {"metricValue": "$a"}, "the metric value '$a' is neither a number nor a field of the filter pattern"),
        ("[a]", {"dimensions": {"A": "$a"}, "defaultValue": 0.0}, "dimensions and default value are mutually exclusive properties."),
        ("[a]", {"dimensions": dict.fromkeys("abcd", "$a")}, "there can be at most 3 dimensions."),
        ("ERROR", {"dimensions": {"A": "$a"}}, "the dimension '$a' is no field of the filter pattern"),
    ],
)
def test_transformations_that_are_refused(pattern: str, request_: dict[str, Any], message: str) -> None:
    """What cannot be counted is refused when it is asked for."""
    with pytest.raises(AwsError) as caught:
        metric_transformations.check({"metricTransformations": [{**METRIC, **request_}]}, patterns.compile_pattern(pattern))
    assert (caught.value.code, caught.value.message) == ("InvalidParameterException", f"Invalid metric transformation: {message}")


@pytest.mark.parametrize(
    "option", [{"applyOnTransformedLogs": True}, {"fieldSelectionCriteria": "x"}, {"emitSystemFieldDimensions": ["x"]}]
)
def test_options_of_metric_filters_that_are_not_here(option: dict[str, Any]) -> None:
    """Options that would change what is counted are refused."""
    with pytest.raises(AwsError, match="InvalidParameterException"):
        metric_transformations.check({"metricTransformations": [METRIC], **option}, patterns.compile_pattern(""))


POLICY = json.dumps({"Statement": {"Effect": "Allow", "Principal": {"Service": "es.amazonaws.com"}, "Action": "logs:PutLogEvents"}})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"policyDocument": POLICY}, "Policy name cannot be empty."),
        ({"policyName": "p", "policyDocument": "{"}, "The policy document is not valid: it is not JSON."),
        ({"policyName": "p", "policyDocument": "[]"}, "The policy document is not valid: it has no Statement with an Effect."),
        (
            {"policyName": "p", "policyDocument": '{"Statement": []}'},
            "The policy document is not valid: it has no Statement with an Effect.",
        ),
        (
            {"policyName": "p", "policyDocument": '{"Statement": [{"Effect": "Allow", "Action": "*"}]}'},
            "The policy document is not valid: a Statement has no Principal.",
        ),
        ({"policyName": "p", "policyDocument": " " * 5121}, "The policy document is longer than 5120 characters."),
        (
            {"resourceArn": "a", "policyDocument": POLICY},
            "lambdad does not have resource policies of single log groups; leave out resourceArn.",
        ),
    ],
)
def test_policies_that_are_refused(request_: dict[str, Any], message: str) -> None:
    """What is no policy is not kept."""
    with pytest.raises(AwsError) as caught:
        policies.check(request_)
    assert (caught.value.code, caught.value.message) == ("InvalidParameterException", message)


def test_a_policy_is_kept_as_it_was_given() -> None:
    """The text is not changed."""
    assert policies.check({"policyName": "p", "policyDocument": POLICY}) == ("p", POLICY)

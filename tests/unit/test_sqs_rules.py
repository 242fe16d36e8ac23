"""What SQS decides about names, messages, handles, attributes and policies, by value."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.services.sqs import errors
from lambdad.services.sqs.rules import attributes, handles, messages, names, policies, task_handles
from lambdad.services.sqs.rules.handles import Handle
from lambdad.services.sqs.rules.messages import Message
from lambdad.services.sqs.rules.names import QueueKey

NUMBERS = st.integers(0, 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.builds(Handle, NUMBERS, st.integers(0, 2**32 - 1), NUMBERS, NUMBERS), st.binary(min_size=16, max_size=16))
def test_handles_go_both_ways(handle: Handle, secret: bytes) -> None:
    """A handle says to its queue what was written, and nothing to another."""
    text = handles.write(handle, secret)
    assert handles.read(text, secret) == handle
    with pytest.raises(errors.ReceiptHandleIsInvalid):
        handles.read(text, bytes(16) if secret != bytes(16) else b"x" * 16)


@given(st.text() | st.text().map(lambda text: "AQEB" + text) | st.binary().map(lambda data: "AQEB" + data.hex()))
def test_garbage_is_no_handle(text: str) -> None:
    """Nothing else is a handle, of a queue or of a task."""
    with pytest.raises(errors.ReceiptHandleIsInvalid):
        handles.read(text, bytes(16))
    with pytest.raises(errors.InvalidParameterValue):
        task_handles.read(text)


ATTRIBUTE = st.one_of(
    st.builds(lambda text: {"DataType": "String.x", "StringValue": text}, TEXT),
    st.builds(lambda number: {"DataType": "Number", "StringValue": str(number)}, st.integers()),
    st.builds(lambda data: {"DataType": "Binary", "BinaryValue": data}, st.binary(min_size=1)),
)


@given(body=TEXT, attributes=st.dictionaries(TEXT, ATTRIBUTE), others=st.lists(st.sampled_from(["", "x"]), min_size=4, max_size=4))
def test_messages_are_read_as_they_were_written(body: str, attributes: dict[str, Any], others: list[str]) -> None:
    """What is a row is the message that was sent, digests included."""
    deduplication_id, trace_header, source_arn, group = others
    message = Message(
        message_id="id",
        sender_id="sender",
        body=body,
        md5_of_body=messages.md5_of_text(body),
        attributes=attributes,
        md5_of_attributes=messages.md5_of_attributes(attributes),
        group=group,
        deduplication_id=deduplication_id,
        trace_header=trace_header,
        source_arn=source_arn,
    )
    assert messages.parse(messages.dump(message), group) == message


def test_the_digest_of_attributes() -> None:
    """Names in order; lengths, types and values as the developer guide says."""
    given = {"b": {"DataType": "Binary.png", "BinaryValue": b"\x00\x01"}, "a": {"DataType": "Number", "StringValue": "é"}}
    written = b"\0\0\0\x01a\0\0\0\x06Number\x01\0\0\0\x02\xc3\xa9" + b"\0\0\0\x01b\0\0\0\x0aBinary.png\x02\0\0\0\x02\0\x01"
    assert messages.md5_of_attributes(given) == hashlib.md5(written, usedforsecurity=False).hexdigest()
    assert messages.md5_of_attributes({}) == ""
    assert messages.size_bytes("ä", given) == 2 + (1 + 10 + 2) + (1 + 6 + 2)


def test_an_empty_value_beside_the_other_is_none() -> None:
    """Some clients send both members, one of them empty."""
    given = {"a": {"DataType": "String", "StringValue": "x", "BinaryValue": b""}}
    messages.check_attributes(given)
    assert messages._parse_value(messages._dump_value(given["a"])) == {"DataType": "String", "StringValue": "x"}


@pytest.mark.parametrize("body", ["\x00", "a\x0b", "\ufffe", "\x1f", "a\ud800"])
def test_characters_that_cannot_be_sent(body: str) -> None:
    """XML 1.0 has no place for them."""
    with pytest.raises(errors.InvalidMessageContents):
        messages.check_body(body)


@pytest.mark.parametrize("body", ["a", "\t\r\n", "\x7f\x80", "é\ue000\ufffd\U0001f600", "\u2028"])
def test_characters_that_can(body: str) -> None:
    """Everything else arrives."""
    assert messages.check_body(body) == body


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", {"DataType": "String", "StringValue": "x"}),
        ("a" * 257, {"DataType": "String", "StringValue": "x"}),
        ("a b", {"DataType": "String", "StringValue": "x"}),
        (".a", {"DataType": "String", "StringValue": "x"}),
        ("a..b", {"DataType": "String", "StringValue": "x"}),
        ("AWS.a", {"DataType": "String", "StringValue": "x"}),
        ("a", {"StringValue": "x"}),
        ("a", {"DataType": "Text", "StringValue": "x"}),
        ("a", {"DataType": "Binary", "StringValue": "x"}),
        ("a", {"DataType": "String", "BinaryValue": b"x"}),
        ("a", {"DataType": "String", "StringValue": "x", "BinaryValue": b"x"}),
        ("a", {"DataType": "Number", "StringValue": "NaN"}),
        ("a", {"DataType": "Number", "StringValue": "1x"}),
    ],
)
def test_attributes_that_no_message_has(name: str, value: dict[str, Any]) -> None:
    """Names, types and values out of their ranges are refused."""
    with pytest.raises(errors.InvalidParameterValue):
        messages.check_attributes({name: value})


def test_lists_of_values_are_refused() -> None:
    """AWS has reserved them, and never built them."""
    with pytest.raises(errors.UnsupportedOperation):
        messages.check_attributes({"a": {"DataType": "String", "StringListValues": ["x"]}})


KEY = QueueKey("000000000000", "eu-west-1", "q.fifo")


def test_arns_go_both_ways() -> None:
    """A queue's ARN names it, in every partition; other texts name none."""
    for region in ("eu-west-1", "cn-north-1", "us-gov-west-1"):
        key = KEY._replace(region=region)
        assert names.of_arn(names.queue_arn(key)) == key
    for text in ("", "arn:aws:sns:eu-west-1:000000000000:q", "arn:aws:sqs:eu-west-1:0:q", "arn:aws:sqs:eu-west-1:000000000000:a b"):
        assert names.of_arn(text) is None


@given(st.text())
def test_urls_name_a_queue_or_are_refused(text: str) -> None:
    """Whatever is written for a URL, it is one or is told that it is none."""
    try:
        key = names.of_url(text, "000000000000", "us-east-1")
    except errors.InvalidAddress:
        return
    assert key.name


def statement(**members: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "*", **members}


@pytest.mark.parametrize(
    ("statements", "allowed"),
    [
        ([], False),
        ([statement()], True),
        (statement(), True),
        ([statement(Principal={"AWS": "111111111111"})], True),
        ([statement(Principal={"AWS": ["arn:aws:iam::111111111111:root"]})], True),
        ([statement(Principal={"AWS": "222222222222"})], False),
        ([statement(Principal={"Service": "sns.amazonaws.com"})], False),
        ([statement(Action=["SQS:SendMessage"])], True),
        ([statement(Action="sqs:Send*")], True),
        ([statement(Action="sqs:ReceiveMessage")], False),
        ([statement(Condition={"Bool": {"aws:SecureTransport": "true"}})], False),
        ([statement(), statement(Effect="Deny", Condition={"Bool": {"aws:SecureTransport": "false"}})], False),
        ([statement(), statement(Effect="Deny", Action="sqs:ReceiveMessage")], True),
        ([statement(), {"Effect": "Deny", "NotPrincipal": "*", "Action": "*"}], False),
        (["x"], False),
    ],
)
def test_policies(statements: Any, allowed: bool) -> None:
    """Others are let in where that is said without conditions, and never where it is denied."""
    policy = json.dumps({"Statement": statements})
    assert policies.allows(policy, "111111111111", "arn:aws:iam::111111111111:user/u", "SendMessage") is allowed


def test_equal_attributes() -> None:
    """Documents are equal whatever their order and blanks."""
    existing = {"RedrivePolicy": '{"deadLetterTargetArn":"a","maxReceiveCount":1}', "DelaySeconds": "0"}
    assert attributes.difference(existing, {"RedrivePolicy": '{"maxReceiveCount": 1, "deadLetterTargetArn": "a"}'}) is None
    assert attributes.difference(existing, {"DelaySeconds": "1"}) == "DelaySeconds"
    assert attributes.difference(existing, {"Policy": ""}) is None

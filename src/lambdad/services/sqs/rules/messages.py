"""A message: what it may be, how large it is, its digests, and how it is written down."""

import base64
import hashlib
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

import orjson

from lambdad.services.sqs import errors
from lambdad.services.sqs.rules import limits

Attributes: TypeAlias = Mapping[str, Mapping[str, Any]]
"""As in the API: ``{"colour": {"DataType": "String", "StringValue": "red"}}``; a ``BinaryValue`` is bytes."""

_UNSENDABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]").search
_ATTRIBUTE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+").fullmatch
_ID_OF_FIFO: Final = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}").fullmatch
_TYPES: Final = ("Binary", "Number", "String")
_STRING, _BINARY = b"\x01", b"\x02"
_LENGTH: Final = struct.Struct(">I").pack
_MESSAGE_OVERHEAD_BYTES: Final = 400  # what a message takes in memory beside its texts
_TRACE: Final = "AWSTraceHeader"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What was sent, and does not change."""

    message_id: str
    sender_id: str
    body: str
    md5_of_body: str
    attributes: Attributes
    md5_of_attributes: str  # "" where there are none
    group: str
    deduplication_id: str
    trace_header: str
    source_arn: str = ""  # of the queue that it was in before it came to a dead-letter queue

    @property
    def memory_bytes(self) -> int:
        """About what it takes in memory."""
        return _MESSAGE_OVERHEAD_BYTES + 2 * len(self.body) + (1024 * len(self.attributes) if self.attributes else 0)


def check_body(body: str | None) -> str:
    """
    Refuse a body that no message can have.

    Raises:
        MissingParameter: it is not there, or empty.
        InvalidMessageContents: it has characters that XML 1.0 does not allow.
    """
    if not body:
        raise errors.MissingParameter("MessageBody")
    if not (body.isascii() and body.isprintable()) and _UNSENDABLE(body):
        raise errors.InvalidMessageContents
    return body


def size_bytes(body: str, attributes: Attributes) -> int:
    """Count as SQS does: the body, and names, types and values of attributes."""
    size = len(body) if body.isascii() else len(body.encode())
    for name, value in attributes.items():
        size += len(name.encode()) + len(value["DataType"].encode())
        size += len(value.get("StringValue", "").encode()) + len(value.get("BinaryValue", b""))
    return size


def size_bytes_sent(entry: Mapping[str, Any]) -> int:
    """Count an entry of a batch that is not checked yet."""
    body = entry.get("MessageBody") or ""
    attributes = entry.get("MessageAttributes") or {}
    known = {name: {"DataType": "", **value} for name, value in attributes.items()} if attributes else {}
    return size_bytes(body, known)


def check_attributes(attributes: Attributes) -> None:
    """
    Refuse attributes that no message can have.

    Raises:
        InvalidParameterValue: too many; a name, a type or a value that is none.
        UnsupportedOperation: a list of values, which AWS has reserved and never built.
    """
    if len(attributes) > limits.MESSAGE_ATTRIBUTES:
        raise errors.InvalidParameterValue(
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum [{limits.MESSAGE_ATTRIBUTES}]."
        )
    for name, value in attributes.items():
        _check_attribute_name(name)
        _check_value(name, value, "user")


def check_system_attributes(attributes: Attributes) -> str:
    """
    Return the trace header, the only system attribute that can be sent; "" where there is none.

    Raises:
        InvalidParameterValue: another attribute, or a value that is none.
    """
    for name, value in attributes.items():
        if name != _TRACE:
            raise errors.InvalidParameterValue(f"Message system attribute name '{name}' is invalid.")
        _check_value(name, value, "system")
        if value["DataType"] != "String":
            raise errors.InvalidParameterValue(
                f"The type of message (system) attribute '{name}' is invalid. "
                "You must use only the following supported type prefixes: String."
            )
        return str(value["StringValue"])
    return ""


def check_fifo_id(value: str, parameter: str) -> None:
    """
    Refuse what cannot be a group's name or a deduplication id.

    Raises:
        InvalidParameterValue: it cannot.
    """
    if not _ID_OF_FIFO(value):
        raise errors.invalid(value, parameter, f"{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length.")


def _check_attribute_name(name: str) -> None:
    if not name:
        raise errors.InvalidParameterValue("Message (user) attribute name must not be empty.")
    if len(name) > limits.ATTRIBUTE_NAME_CHARACTERS:
        raise errors.InvalidParameterValue(f"Message (user) attribute name must be shorter than {limits.ATTRIBUTE_NAME_CHARACTERS} bytes.")
    if not _ATTRIBUTE_NAME(name):
        raise errors.InvalidParameterValue(f"Invalid non-alphanumeric character was found in the message (user) attribute name '{name}'.")
    if name.startswith(".") or name.endswith(".") or ".." in name:
        raise errors.InvalidParameterValue(
            f"Message (user) attribute name '{name}' must not start or end with a period, or have two of them in succession."
        )
    if name.lower().startswith(("aws.", "amazon.")):
        raise errors.InvalidParameterValue(
            f"You can't use message attribute names beginning with 'AWS.' or 'Amazon.' because these strings are reserved: '{name}'."
        )


def _check_value(name: str, value: Mapping[str, Any], kind: str) -> None:
    data_type = value.get("DataType")
    if not data_type:
        raise errors.InvalidParameterValue(f"Message ({kind}) attribute '{name}' must contain a non-empty attribute type.")
    prefix = data_type.partition(".")[0]
    if prefix not in _TYPES:
        raise errors.InvalidParameterValue(
            f"The type of message ({kind}) attribute '{name}' is invalid. "
            "You must use only the following supported type prefixes: Binary, Number, String."
        )
    if len(data_type) > limits.ATTRIBUTE_NAME_CHARACTERS or _UNSENDABLE(data_type):
        raise errors.InvalidParameterValue(f"The type of message ({kind}) attribute '{name}' is invalid.")
    if value.get("StringListValues") or value.get("BinaryListValues"):
        raise errors.UnsupportedOperation("Message attribute list values in SendMessage operation are not supported.")
    wanted, other = ("BinaryValue", "StringValue") if prefix == "Binary" else ("StringValue", "BinaryValue")
    if not value.get(wanted):
        raise errors.InvalidParameterValue(f"Message ({kind}) attribute '{name}' must contain a non-empty value of type '{prefix}'.")
    if value.get(other):
        raise errors.InvalidParameterValue(f"Message ({kind}) attribute '{name}' has multiple values.")
    if prefix == "Number" and not _is_number(value["StringValue"]):
        raise errors.InvalidParameterValue(f"Can't cast the value of message ({kind}) attribute '{name}' to a number.")
    if prefix != "Binary" and _UNSENDABLE(value["StringValue"]):
        raise errors.InvalidMessageContents


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def md5_of_text(text: str) -> str:
    """Return the digest of a body that SDKs compare."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def md5_of_attributes(attributes: Attributes) -> str:
    """Return the digest of attributes that SDKs compare; "" for none. Source: SQS Developer Guide, message attributes."""
    if not attributes:
        return ""
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        value = attributes[name]
        is_binary = value["DataType"].startswith("Binary")
        content = value["BinaryValue"] if is_binary else value["StringValue"].encode()
        for part in (name.encode(), value["DataType"].encode()):
            digest.update(_LENGTH(len(part)) + part)
        digest.update((_BINARY if is_binary else _STRING) + _LENGTH(len(content)) + content)
    return digest.hexdigest()


def select(attributes: Attributes, wanted: list[str]) -> Attributes:
    """
    Return the attributes that a receiver asked for.

    Args:
        wanted: names, beginnings such as ``foo.*``, or ``All`` or ``.*`` for all.
    """
    if not wanted or not attributes:
        return {}
    if "All" in wanted or ".*" in wanted:
        return attributes
    beginnings = tuple(name[:-2] for name in wanted if name.endswith(".*"))
    names = frozenset(wanted)
    return {name: value for name, value in attributes.items() if name in names or (beginnings and name.startswith(beginnings))}


def content_id(body: str) -> str:
    """Return the deduplication id that stands for a body."""
    return hashlib.sha256(body.encode()).hexdigest()


def dump(message: Message) -> str:
    """Write a message down: a JSON object, without what has a column of its own and what can be computed."""
    document: dict[str, Any] = {"id": message.message_id, "sender": message.sender_id, "body": message.body}
    if message.attributes:
        document["attributes"] = {name: _dump_value(value) for name, value in message.attributes.items()}
    if message.deduplication_id:
        document["deduplication_id"] = message.deduplication_id
    if message.trace_header:
        document["trace"] = message.trace_header
    if message.source_arn:
        document["source"] = message.source_arn
    return orjson.dumps(document).decode()


def parse(text: str, group: str) -> Message:
    """Read what `dump` has written."""
    document = orjson.loads(text)
    attributes = {name: _parse_value(value) for name, value in document.get("attributes", {}).items()}
    return Message(
        message_id=document["id"],
        sender_id=document["sender"],
        body=document["body"],
        md5_of_body=md5_of_text(document["body"]),
        attributes=attributes,
        md5_of_attributes=md5_of_attributes(attributes),
        group=group,
        deduplication_id=document.get("deduplication_id", ""),
        trace_header=document.get("trace", ""),
        source_arn=document.get("source", ""),
    )


def _dump_value(value: Mapping[str, Any]) -> list[str]:
    if value["DataType"].startswith("Binary"):
        return [value["DataType"], base64.b64encode(value["BinaryValue"]).decode("ascii")]
    return [value["DataType"], value["StringValue"]]


def _parse_value(stored: list[str]) -> dict[str, Any]:
    data_type, text = stored
    if data_type.startswith("Binary"):
        return {"DataType": data_type, "BinaryValue": base64.b64decode(text)}
    return {"DataType": data_type, "StringValue": text}

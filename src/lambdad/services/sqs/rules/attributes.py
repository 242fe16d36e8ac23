"""Attributes of queues: their names, values and defaults, and what they come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from lambdad.services.sqs import errors
from lambdad.services.sqs.rules import limits, names

# Lowest, highest, default.
_NUMBERS: Final[Mapping[str, tuple[int, int, int]]] = {
    "DelaySeconds": (0, limits.DELAY_S, 0),
    "MaximumMessageSize": (1024, limits.MESSAGE_BYTES, limits.MESSAGE_BYTES),
    "MessageRetentionPeriod": (60, 1_209_600, 345_600),
    "ReceiveMessageWaitTimeSeconds": (0, limits.WAIT_S, 0),
    "VisibilityTimeout": (0, limits.VISIBILITY_S, 30),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400, 300),
}
_BOOLEANS: Final = ("FifoQueue", "ContentBasedDeduplication", "SqsManagedSseEnabled")
_CHOICES: Final = {"DeduplicationScope": ("queue", "messageGroup"), "FifoThroughputLimit": ("perQueue", "perMessageGroupId")}
_FIFO_ONLY: Final = frozenset(("FifoQueue", "ContentBasedDeduplication", *_CHOICES))
_DOCUMENTS: Final = ("Policy", "RedrivePolicy", "RedriveAllowPolicy")
_SETTABLE: Final = frozenset((*_NUMBERS, *_BOOLEANS, *_CHOICES, *_DOCUMENTS, "KmsMasterKeyId"))

_DEFAULTS: Final = {
    **{name: str(default) for name, (_, _, default) in _NUMBERS.items() if name != "KmsDataKeyReusePeriodSeconds"},
    "SqsManagedSseEnabled": "true",
}
_FIFO_DEFAULTS: Final = {
    "FifoQueue": "true",
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}
COMPUTED: Final = (
    "QueueArn",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
)
READABLE: Final = frozenset((*_SETTABLE, *COMPUTED, "All"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """Where messages go that were received too often."""

    target: names.QueueKey
    receives_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """What the attributes of a queue come to."""

    is_fifo: bool
    delay_ms: int
    message_bytes_max: int
    retention_ms: int
    wait_s: int
    visibility_ms: int
    deduplicates_content: bool
    deduplicates_in_group: bool
    dead_letters: DeadLetters | None


def check(given: Mapping[str, str], *, is_fifo: bool, is_new: bool) -> dict[str, str]:
    """
    Check attributes that a caller gives, each by itself, and return them as they are kept.

    Args:
        is_new: the queue is being made; later its type cannot change.

    Returns:
        An empty value takes the attribute away.

    Raises:
        InvalidAttributeName, InvalidAttributeValue: a name or a value that is none.
        InvalidParameterValue: a redrive policy that says too little.
        UnsupportedOperation: a KMS key; there is no encryption here to use it.
    """
    kept: dict[str, str] = {}
    for name, value in given.items():
        if name not in _SETTABLE or (name in _FIFO_ONLY and not is_fifo):
            raise errors.InvalidAttributeName(name)
        if name == "FifoQueue" and not is_new and value != "true":
            raise errors.InvalidAttributeValue(name, "Modifying queue type is not supported.")
        kept[name] = _checked(name, value)
    return kept


def _checked(name: str, value: str) -> str:
    if name in _NUMBERS:
        lowest, highest, default = _NUMBERS[name]
        if value == "":
            return str(default)
        if not (value.isascii() and value.isdigit() and len(value) < 12 and lowest <= int(value) <= highest):
            raise errors.InvalidAttributeValue(name)
        return str(int(value))
    if name in _BOOLEANS:
        if value.lower() not in ("true", "false") or (name == "FifoQueue" and value.lower() == "false"):
            raise errors.InvalidAttributeValue(name)
        return value.lower()
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise errors.InvalidAttributeValue(name)
        return value
    if name == "KmsMasterKeyId":
        if value:
            raise errors.UnsupportedOperation("lambdad does not encrypt queues with KMS keys; leave out KmsMasterKeyId.")
        return ""
    return _checked_document(name, value)


def _checked_document(name: str, value: str) -> str:
    if value == "":
        return ""
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        document = None
    if name == "Policy":
        if not isinstance(document, dict) or not isinstance(document.get("Statement"), list | dict):
            raise errors.InvalidAttributeValue(name)
        return value
    if not isinstance(document, dict):
        raise errors.invalid(value, name, f"{_called(name)} is not a valid JSON map.")
    return _checked_redrive(value, document) if name == "RedrivePolicy" else _checked_redrive_allow(value, document)


def _called(name: str) -> str:
    return "Redrive policy" if name == "RedrivePolicy" else "Redrive allow policy"


def _checked_redrive(value: str, document: Mapping[str, Any]) -> str:
    for member in ("deadLetterTargetArn", "maxReceiveCount"):
        if not document.get(member) and document.get(member) != 0:
            raise errors.invalid(value, "RedrivePolicy", f"Redrive policy does not contain mandatory attribute: {member}.")
    for member in document:
        if member not in ("deadLetterTargetArn", "maxReceiveCount"):
            raise errors.invalid(
                value, "RedrivePolicy", f"Only following attributes are supported: [deadLetterTargetArn, maxReceiveCount]. Found: {member}."
            )
    count = _whole(document["maxReceiveCount"])
    if count is None or not 1 <= count <= limits.RECEIVES_BEFORE_DEAD:
        raise errors.invalid(
            value,
            "RedrivePolicy",
            f"Invalid value for maxReceiveCount: {document['maxReceiveCount']}, valid values are from 1 to 1000 both inclusive.",
        )
    if names.of_arn(str(document["deadLetterTargetArn"])) is None:
        raise errors.invalid(value, "RedrivePolicy", "Invalid value for deadLetterTargetArn.")
    return orjson.dumps({"deadLetterTargetArn": document["deadLetterTargetArn"], "maxReceiveCount": count}).decode()


def _checked_redrive_allow(value: str, document: Mapping[str, Any]) -> str:
    permission, arns = document.get("redrivePermission"), document.get("sourceQueueArns")
    if permission not in ("allowAll", "denyAll", "byQueue"):
        raise errors.invalid(
            value, "RedriveAllowPolicy", "Redrive allow policy must contain redrivePermission: allowAll, denyAll or byQueue."
        )
    if permission != "byQueue" and arns is not None:
        raise errors.invalid(value, "RedriveAllowPolicy", "sourceQueueArns is only allowed with redrivePermission byQueue.")
    if permission == "byQueue" and not (
        isinstance(arns, list) and 1 <= len(arns) <= 10 and all(isinstance(arn, str) and names.of_arn(arn) for arn in arns)
    ):
        raise errors.invalid(value, "RedriveAllowPolicy", "sourceQueueArns must name one to ten queues.")
    return value


def _whole(value: object) -> int | None:
    """Read a whole number that JSON may have as a number or as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def complete(given: Mapping[str, str], *, is_fifo: bool) -> dict[str, str]:
    """Return all attributes of a queue, defaults included; those with an empty value are left out."""
    merged = {**_DEFAULTS, **(_FIFO_DEFAULTS if is_fifo else {}), **given}
    if "KmsMasterKeyId" not in merged:
        merged.pop("KmsDataKeyReusePeriodSeconds", None)
    if merged.get("FifoThroughputLimit") == "perMessageGroupId" and merged.get("DeduplicationScope") != "messageGroup":
        raise errors.InvalidAttributeValue(
            "FifoThroughputLimit", "perMessageGroupId is allowed only when the value for DeduplicationScope is messageGroup."
        )
    return {name: value for name, value in merged.items() if value != ""}


def settings(attributes: Mapping[str, str]) -> QueueSettings:
    """Read the attributes of a queue, all of which were checked."""
    redrive = orjson.loads(attributes["RedrivePolicy"]) if "RedrivePolicy" in attributes else None
    target = names.of_arn(redrive["deadLetterTargetArn"]) if redrive else None
    return QueueSettings(
        is_fifo=attributes.get("FifoQueue") == "true",
        delay_ms=int(attributes["DelaySeconds"]) * 1000,
        message_bytes_max=int(attributes["MaximumMessageSize"]),
        retention_ms=int(attributes["MessageRetentionPeriod"]) * 1000,
        wait_s=int(attributes["ReceiveMessageWaitTimeSeconds"]),
        visibility_ms=int(attributes["VisibilityTimeout"]) * 1000,
        deduplicates_content=attributes.get("ContentBasedDeduplication") == "true",
        deduplicates_in_group=attributes.get("DeduplicationScope") == "messageGroup",
        dead_letters=DeadLetters(target=target, receives_max=redrive["maxReceiveCount"]) if redrive and target else None,
    )


def difference(existing: Mapping[str, str], given: Mapping[str, str]) -> str | None:
    """Return the first attribute whose value differs between a queue and what CreateQueue was given; None where all agree."""
    for name, value in given.items():
        if not _agree(existing.get(name, ""), value):
            return name
    return None


def _agree(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return bool(one and other and orjson.loads(one) == orjson.loads(other))
    except orjson.JSONDecodeError:
        return False


def allows_source(attributes: Mapping[str, str], source_arn: str) -> bool:
    """Say whether a queue lets another one name it as its dead-letter queue."""
    if "RedriveAllowPolicy" not in attributes:
        return True
    policy = orjson.loads(attributes["RedriveAllowPolicy"])
    return policy["redrivePermission"] == "allowAll" or source_arn in policy.get("sourceQueueArns", [])


def wanted(asked: Sequence[str]) -> frozenset[str]:
    """
    Read the attribute names of a GetQueueAttributes request; "All" stands for all.

    Raises:
        InvalidAttributeName: there is no such attribute.
    """
    for name in asked:
        if name not in READABLE:
            raise errors.InvalidAttributeName(name)
    return READABLE if "All" in asked else frozenset(asked)

"""Attributes of topics: which there are, which may be set to what, and what GetTopicAttributes shows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from lambdad.services.sns import errors
from lambdad.services.sns.rules import access_policies, delivery_policies, limits
from lambdad.services.sns.rules.nouns import Topic

_FIFO_ONLY: Final = frozenset({"ContentBasedDeduplication", "FifoThroughputScope", "ArchivePolicy"})
_FLAGS: Final = frozenset({"FifoTopic", "ContentBasedDeduplication"})
_FEEDBACK: Final = frozenset(
    f"{protocol}{what}"
    for protocol in ("HTTP", "Firehose", "Lambda", "Application", "SQS")
    for what in ("SuccessFeedbackRoleArn", "SuccessFeedbackSampleRate", "FailureFeedbackRoleArn")
)
_CHOICES: Final = {
    "FifoThroughputScope": ("Topic", "MessageGroup"),
    "SignatureVersion": ("1", "2"),
    "TracingConfig": ("PassThrough",),
}
_DEFAULTS: Final = {"FifoThroughputScope": "Topic", "SignatureVersion": "1", "TracingConfig": "PassThrough"}
_REFUSED: Final = {
    "ArchivePolicy": "lambdad does not keep archives of topics",
    "KmsMasterKeyId": "lambdad does not encrypt topics with KMS keys",
    **dict.fromkeys(_FEEDBACK, "lambdad does not log the status of deliveries"),
}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many subscriptions a topic has, by their states."""

    confirmed: int
    pending: int
    deleted: int


def checked_new(attributes: Mapping[str, str], *, is_fifo: bool) -> dict[str, str]:
    """
    Check the attributes that CreateTopic was given.

    Returns:
        Those to be kept: without empty ones, which mean the default, and without what the name says already.

    Raises:
        InvalidParameter: one of them cannot be.
    """
    kept = {}
    for name, value in attributes.items():
        checked = _checked(name, value, "Attributes Reason: ", is_fifo=is_fifo)
        if checked and name != "FifoTopic":
            kept[name] = checked
    return kept


def differs(topic: Topic, attributes: Mapping[str, str], given: Iterable[str]) -> bool:
    """
    Say whether a topic is another one than CreateTopic wants.

    Args:
        attributes: what `checked_new` made of those given.
        given: the names of those; others may be what they are.
    """
    return any(
        topic.attributes.get(name, _DEFAULTS.get(name, "")) != attributes.get(name, _DEFAULTS.get(name, ""))
        for name in given
        if name != "FifoTopic"
    )


def changed(topic: Topic, name: str, value: str) -> dict[str, str]:
    """
    Return a topic's attributes with one of them set.

    Raises:
        InvalidParameter: there is no such attribute, or it cannot be this.
    """
    if name == "FifoTopic":
        raise errors.InvalidParameter("AttributeName")
    left = {other: text for other, text in topic.attributes.items() if other != name}
    checked = _checked(name, value, "", is_fifo=topic.is_fifo)
    return {**left, name: checked} if checked else left


def _checked(name: str, value: str, prefix: str, *, is_fifo: bool) -> str:
    """Return an attribute's value as it is kept; empty for the default."""
    if name in _REFUSED:
        if value in ("", "0"):
            return ""
        raise errors.InvalidParameter(f"{prefix}{name}: {_REFUSED[name]}")
    if name in _FIFO_ONLY and not is_fifo:
        raise errors.InvalidParameter(f"{prefix}{name}: this attribute is only supported for FIFO topics")
    match name:
        case "DisplayName":
            if len(value) > limits.DISPLAY_NAME_CHARACTERS or not value.isprintable():
                raise errors.InvalidParameter(f"{prefix}DisplayName")
        case "Policy":
            if value:
                access_policies.check(value, f"{prefix}Policy")
        case "DeliveryPolicy":
            if value:
                delivery_policies.check_topics(value, f"{prefix}DeliveryPolicy")
        case "MaximumMessageSize":
            _check_size(value, prefix)
        case _ if name in _FLAGS:
            if value.lower() not in ("true", "false", ""):
                raise errors.InvalidParameter(f"{prefix}{name}: Invalid value [{value}]. Must be true or false.")
            return "true" if value.lower() == "true" else ""
        case _ if name in _CHOICES:
            if value and value not in _CHOICES[name]:
                raise errors.InvalidParameter(f"{prefix}{name}: Invalid value [{value}]. Must be one of {', '.join(_CHOICES[name])}.")
        case _:
            raise errors.InvalidParameter(f"{prefix}Unknown attribute {name}" if prefix else "AttributeName")
    return value


def _check_size(value: str, prefix: str) -> None:
    least, most = limits.MESSAGE_BYTES_RANGE
    if value and not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
        raise errors.InvalidParameter(f"{prefix}MaximumMessageSize: must be between {least} and {most}")


def to_api(topic: Topic, counts: Counts) -> dict[str, str]:
    """Show a topic as GetTopicAttributes does."""
    shown = {
        "Policy": policy(topic),
        "Owner": topic.account,
        "SubscriptionsPending": str(counts.pending),
        "TopicArn": topic.arn,
        "EffectiveDeliveryPolicy": delivery_policies.effective_of_topic(topic.attributes.get("DeliveryPolicy")),
        "SubscriptionsConfirmed": str(counts.confirmed),
        "SubscriptionsDeleted": str(counts.deleted),
        "DisplayName": "",
    }
    if topic.is_fifo:
        shown |= {"FifoTopic": "true", "ContentBasedDeduplication": "false", "FifoThroughputScope": "Topic"}
    return {**shown, **topic.attributes}


def policy(topic: Topic) -> str:
    """Return a topic's policy: its own, or the one it began with."""
    return topic.attributes.get("Policy") or access_policies.default(topic.arn, topic.account)

"""Notification configurations: are they ones that S3 takes, and which of them does an event concern?

A configuration is kept as in the service model: {"LambdaFunctionConfigurations": [{"Id", "LambdaFunctionArn", "Events", "Filter"}],
"QueueConfigurations": [...], "TopicConfigurations": [...], "EventBridgeConfiguration": {}}.

Source: S3 User Guide, "Amazon S3 Event Notifications" (overlaps, wildcards); S3 API Reference, PutBucketNotificationConfiguration.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lambdad.services.s3 import errors
from lambdad.services.s3.rules import limits

_EVENTS: Final = {
    "s3:ReducedRedundancyLostObject": (),
    "s3:ObjectCreated": ("Put", "Post", "Copy", "CompleteMultipartUpload"),
    "s3:ObjectRemoved": ("Delete", "DeleteMarkerCreated"),
    "s3:ObjectRestore": ("Post", "Completed", "Delete"),
    "s3:Replication": (
        "OperationFailedReplication",
        "OperationNotTracked",
        "OperationMissedThreshold",
        "OperationReplicatedAfterThreshold",
    ),
    "s3:LifecycleTransition": (),
    "s3:IntelligentTiering": (),
    "s3:ObjectAcl:Put": (),
    "s3:LifecycleExpiration": ("Delete", "DeleteMarkerCreated"),
    "s3:ObjectTagging": ("Put", "Delete"),
    "s3:ObjectAnnotation": ("Put", "Delete"),
    "s3:ObjectRetention:Put": (),
}


class Kind(NamedTuple):
    """A kind of destination: the list in the configuration, the member with the ARN, the name in errors, the service in ARNs."""

    member: str
    arn_member: str
    argument: str
    service: str


LAMBDA: Final = Kind("LambdaFunctionConfigurations", "LambdaFunctionArn", "CloudFunction", "lambda")
QUEUE: Final = Kind("QueueConfigurations", "QueueArn", "Queue", "sqs")
TOPIC: Final = Kind("TopicConfigurations", "TopicArn", "Topic", "sns")
KINDS: Final = (LAMBDA, QUEUE, TOPIC)
EVENT_BRIDGE: Final = "EventBridgeConfiguration"

_ARN = {
    "lambda": re.compile(r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:[A-Za-z0-9_-]+(?::[A-Za-z0-9_$-]+)?").fullmatch,
    "sqs": re.compile(r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+(?:\.fifo)?").fullmatch,
    "sns": re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+(?:\.fifo)?").fullmatch,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One destination and what it wants to hear of."""

    kind: Kind
    id: str
    arn: str
    events: frozenset[str]  # without wildcards: "s3:ObjectCreated:Put"
    prefix: str = ""
    suffix: str = ""

    def wants(self, event: str, key: str) -> bool:
        """Say whether an event, e.g. "s3:ObjectCreated:Put", concerns this destination."""
        return event in self.events and key.startswith(self.prefix) and key.endswith(self.suffix)


def subscriptions(configuration: Mapping[str, Any]) -> Iterator[Subscription]:
    """Go through the destinations of a configuration that was checked."""
    for kind in KINDS:
        for entry in configuration.get(kind.member, ()):
            prefix, suffix = _affixes(entry)
            yield Subscription(
                kind=kind,
                id=entry["Id"],
                arn=entry[kind.arn_member],
                events=frozenset(event for name in entry["Events"] for event in expanded(name)),
                prefix=prefix,
                suffix=suffix,
            )


def expanded(name: str) -> tuple[str, ...]:
    """Return the events that a name stands for: "s3:ObjectRemoved:*" is two; none where there is no such event."""
    head, _, tail = name.rpartition(":")
    if name in _EVENTS and not _EVENTS[name]:
        return (name,)
    details = _EVENTS.get(head, ())
    if tail == "*":
        return tuple(f"{head}:{detail}" for detail in details)
    return (name,) if tail in details else ()


def checked(configuration: Mapping[str, Any], new_id: Sequence[str]) -> dict[str, Any]:
    """
    Check a configuration and fill in what was left out. Whether its destinations exist is asked later.

    Args:
        new_id: an id for each entry, used for those that have none.

    Returns:
        The configuration as GetBucketNotificationConfiguration shows it.

    Raises:
        InvalidArgument: an ARN, an event, a filter or an id is wrong, or two entries overlap.
        MalformedXml: an entry has no events.
    """
    result: dict[str, Any] = {}
    seen: set[str] = set()
    number = 0
    if sum(len(configuration.get(kind.member, ())) for kind in KINDS) > limits.NOTIFICATIONS:
        raise errors.InvalidArgument("The maximum number of notification configurations is 100.")
    for kind in KINDS:
        for entry in configuration.get(kind.member, ()):
            arn = str(entry.get(kind.arn_member, ""))
            if not _ARN[kind.service](arn):
                raise errors.InvalidArgument("The ARN could not be parsed", kind.argument, arn)
            if arn.endswith(".fifo"):
                raise errors.InvalidArgument(_UNVALIDATED, ArgumentName1=arn, ArgumentValue1="FIFO destinations are not supported")
            identifier = entry.get("Id") or new_id[number]
            number += 1
            if identifier in seen:
                raise errors.InvalidArgument("Same ID used for multiple configurations. IDs must be unique", "Id", identifier)
            seen.add(identifier)
            result.setdefault(kind.member, []).append(_checked_entry(entry, kind, identifier, arn))
    if EVENT_BRIDGE in configuration:
        result[EVENT_BRIDGE] = {}
    _check_overlaps(list(subscriptions(result)))
    return result


_UNVALIDATED: Final = "Unable to validate the following destination configurations"


def unvalidated(failures: Sequence[tuple[str, str]]) -> errors.InvalidArgument:
    """Make the error for destinations that do not exist or do not let S3 in: pairs of a name and what is wrong."""
    members: dict[str, str] = {}
    for number, (name, value) in enumerate(failures, 1):
        members[f"ArgumentName{number}"] = name
        members[f"ArgumentValue{number}"] = value
    return errors.InvalidArgument(_UNVALIDATED, **members)


def _checked_entry(entry: Mapping[str, Any], kind: Kind, identifier: str, arn: str) -> dict[str, Any]:
    events = list(entry.get("Events", ()))
    if not events:
        raise errors.MalformedXml
    for event in events:
        if not expanded(event):
            raise errors.InvalidArgument("The event is not supported for notifications", "Event", event)
    checked_entry: dict[str, Any] = {"Id": identifier, kind.arn_member: arn, "Events": events}
    rules = ((entry.get("Filter") or {}).get("Key") or {}).get("FilterRules") or []
    if rules:
        checked_entry["Filter"] = {"Key": {"FilterRules": _checked_rules(rules)}}
    return checked_entry


def _checked_rules(rules: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for rule in rules:
        name, value = str(rule.get("Name", "")), str(rule.get("Value", ""))
        if name.lower() not in ("prefix", "suffix"):
            raise errors.InvalidArgument("filter rule name must be either prefix or suffix", "FilterRule.Name", name)
        if len(value.encode()) > limits.KEY_BYTES:
            raise errors.InvalidArgument("filter rule value cannot be longer than 1024 bytes", "FilterRule.Value", value)
        capital = name.capitalize()
        if any(other["Name"] == capital for other in found):
            raise errors.InvalidArgument(f"Cannot specify more than one {name.lower()} rule in a filter.", "FilterRule.Name", name)
        found.append({"Name": capital, "Value": value})
    return found


def _affixes(entry: Mapping[str, Any]) -> tuple[str, str]:
    rules = {rule["Name"]: rule["Value"] for rule in entry.get("Filter", {}).get("Key", {}).get("FilterRules", ())}
    return rules.get("Prefix", ""), rules.get("Suffix", "")


def _check_overlaps(all_subscriptions: Sequence[Subscription]) -> None:
    for at, one in enumerate(all_subscriptions):
        for other in all_subscriptions[at + 1 :]:
            if overlap(one, other):
                if not (one.prefix or one.suffix or other.prefix or other.suffix):
                    raise errors.InvalidArgument(
                        "Configurations overlap. Configurations on the same bucket cannot share a common event type."
                    )
                raise errors.InvalidArgument(
                    "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules "
                    "if the prefixes are overlapping for the same event type."
                )


def overlap(one: Subscription, other: Subscription) -> bool:
    """Say whether an event could concern both, in S3's way of reckoning."""
    return (
        bool(one.events & other.events)
        and (one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix))
        and (one.suffix.endswith(other.suffix) or other.suffix.endswith(one.suffix))
    )

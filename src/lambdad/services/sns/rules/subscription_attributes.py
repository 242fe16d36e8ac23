"""Attributes of subscriptions: which there are, which may be set to what, and what GetSubscriptionAttributes shows."""

from collections.abc import Mapping
from typing import Final

from lambdad.services.sns import errors
from lambdad.services.sns.rules import delivery_policies, endpoints, filter_policies, json_text, names
from lambdad.services.sns.rules.filter_policies import Filter, PolicyRefused, ScopeRefused
from lambdad.services.sns.rules.nouns import Protocol, State, Subscription, Topic

_REFUSED: Final = {
    "SubscriptionRoleArn": "lambdad does not deliver to Firehose",
    "ReplayPolicy": "lambdad does not keep archives of topics",
}
_NEW: Final = "Attributes Reason: "
_SCOPES: Final = (filter_policies.ATTRIBUTES, filter_policies.BODY)


def checked_new(topic: Topic, protocol: Protocol, attributes: Mapping[str, str]) -> dict[str, str]:
    """
    Check the attributes that Subscribe was given.

    Returns:
        Those to be kept; empty ones mean the default.

    Raises:
        InvalidParameter: one of them cannot be.
    """
    kept = {}
    for name, value in attributes.items():
        if checked := _checked(topic, protocol, name, value, _NEW):
            kept[name] = checked
    _compiled(kept, _NEW)
    return kept


def changed(topic: Topic, subscription: Subscription, name: str, value: str) -> dict[str, str]:
    """
    Return a subscription's attributes with one of them set.

    Raises:
        InvalidParameter: there is no such attribute, or it cannot be this.
    """
    left = {other: text for other, text in subscription.attributes.items() if other != name}
    checked = _checked(topic, subscription.protocol, name, value, "")
    attributes = {**left, name: checked} if checked else left
    _compiled(attributes, "")
    return attributes


def compiled(attributes: Mapping[str, str]) -> Filter | None:
    """Return the filter of a subscription's attributes, which have been checked; None if it gets every message."""
    return _compiled(attributes, "")


def _compiled(attributes: Mapping[str, str], prefix: str) -> Filter | None:
    text = attributes.get("FilterPolicy")
    if not text:
        return None
    try:
        return filter_policies.compile_policy(text, attributes.get("FilterPolicyScope", filter_policies.ATTRIBUTES))
    except ScopeRefused as error:
        raise errors.InvalidParameter(f"{prefix}{error}") from error
    except PolicyRefused as error:
        raise errors.InvalidParameter(f"{prefix}FilterPolicy: {error}") from error


def _checked(topic: Topic, protocol: Protocol, name: str, value: str, prefix: str) -> str:
    """Return an attribute's value as it is kept; empty for the default."""
    if name in _REFUSED:
        if not value:
            return ""
        raise errors.InvalidParameter(f"{prefix}{name}: {_REFUSED[name]}")
    match name:
        case "FilterPolicy":
            pass
        case "FilterPolicyScope":
            if value and value not in _SCOPES:
                raise errors.InvalidParameter(
                    f"{prefix}FilterPolicyScope: Invalid value [{value}]. Please use either MessageBody or MessageAttributes"
                )
            return "" if value == filter_policies.ATTRIBUTES else value
        case "RawMessageDelivery":
            return _checked_raw(protocol, value, prefix)
        case "RedrivePolicy":
            if value and value != "{}":
                _check_redrive(topic, value, prefix)
            else:
                return ""
        case "DeliveryPolicy":
            if value and value != "{}":
                if not protocol.is_http:
                    raise errors.InvalidParameter(f"{prefix}Delivery policy is only supported for HTTP/S subscriptions")
                delivery_policies.check_subscriptions(value, f"{prefix}DeliveryPolicy")
            else:
                return ""
        case _:
            raise errors.InvalidParameter(f"{prefix}Unknown attribute: {name}" if prefix else "AttributeName")
    return value


def _checked_raw(protocol: Protocol, value: str, prefix: str) -> str:
    match value.lower():
        case "true":
            if protocol is Protocol.LAMBDA:
                raise errors.InvalidParameter(f"{prefix}Delivery protocol [lambda] does not support raw message delivery.")
            return "true"
        case "false" | "":
            return ""
        case _:
            raise errors.InvalidParameter(f"{prefix}RawMessageDelivery: Invalid value [{value}]. Must be true or false.")


def _check_redrive(topic: Topic, value: str, prefix: str) -> None:
    try:
        policy = json_text.parse_object(value)
    except ValueError:
        raise errors.InvalidParameter(f"{prefix}RedrivePolicy: failed to parse JSON.") from None
    arn = policy.get("deadLetterTargetArn")
    if policy.keys() != {"deadLetterTargetArn"} or not isinstance(arn, str):
        raise errors.InvalidParameter(f"{prefix}RedrivePolicy: must have deadLetterTargetArn and nothing else")
    queue = names.parse_queue(arn)
    if queue is None:
        raise errors.InvalidParameter(f"{prefix}RedrivePolicy: deadLetterTargetArn is an invalid arn")
    if queue.is_fifo != topic.is_fifo:
        raise errors.InvalidParameter(
            f"{prefix}RedrivePolicy: must use a FIFO queue as DLQ for a FIFO topic"
            if topic.is_fifo
            else f"{prefix}RedrivePolicy: must use a standard queue as DLQ for a standard topic"
        )


def dead_letter_queue(subscription: Subscription) -> str:
    """Return the ARN of the queue that gets what cannot be delivered; empty if there is none."""
    policy = subscription.attributes.get("RedrivePolicy")
    return str(json_text.parse_object(policy)["deadLetterTargetArn"]) if policy else ""


def to_api(topic: Topic, subscription: Subscription) -> dict[str, str]:
    """Show a subscription as GetSubscriptionAttributes does."""
    shown = {
        "SubscriptionArn": subscription.arn,
        "TopicArn": subscription.topic_arn,
        "Owner": subscription.owner,
        "Protocol": subscription.protocol,
        "Endpoint": endpoints.shown(subscription.endpoint),
        "ConfirmationWasAuthenticated": _flag(subscription.confirmed_by_owner),
        "PendingConfirmation": _flag(subscription.state is not State.CONFIRMED),
        "RawMessageDelivery": "false",
        "SubscriptionPrincipal": subscription.principal,
    }
    if subscription.protocol.is_http:
        shown["EffectiveDeliveryPolicy"] = delivery_policies.effective_of_subscription(
            topic.attributes.get("DeliveryPolicy"), subscription.attributes.get("DeliveryPolicy")
        )
    if "FilterPolicy" in subscription.attributes:
        shown["FilterPolicyScope"] = filter_policies.ATTRIBUTES
    return {**shown, **subscription.attributes}


def _flag(value: bool) -> str:
    return "true" if value else "false"

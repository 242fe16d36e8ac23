"""Which deliveries share a fate: the target of a call, as far as its input names it."""

from collections.abc import Mapping
from typing import Any

from lambdad.services.outbox.delivery import Delivery

LANE_CHARACTERS = 300

# Members that name the resource a call is for, in the services that others call.
_TARGETS = (
    "QueueUrl",
    "TopicArn",
    "FunctionName",
    "TargetArn",
    "EventBusName",
    "StreamARN",
    "StreamName",
    "Bucket",
    "DeliveryStreamName",
    "stateMachineArn",
    "TableName",
    "logGroupName",
    "Url",
)


def lane_of(delivery: Delivery) -> str:
    """Name the lane of a delivery: ``sqs 000000000000 us-east-1 https://...``."""
    target = delivery.target or _target(delivery.params)
    lane = f"{delivery.service} {delivery.origin.account} {delivery.origin.region} {target}"
    return lane.replace("\0", "")[:LANE_CHARACTERS]


def _target(params: Mapping[str, Any]) -> str:
    for name in _TARGETS:
        if isinstance(value := params.get(name), str) and value:
            return value
    entries = params.get("Entries")
    if isinstance(entries, list) and entries and isinstance(entries[0], Mapping):
        return str(entries[0].get("EventBusName", ""))
    return ""

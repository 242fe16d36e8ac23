"""Universal targets: any operation of any service, its input written as JSON.

    arn:aws:scheduler:::aws-sdk:sqs:sendMessage        {"QueueUrl": "https://…", "MessageBody": "hello"}

Source: EventBridge Scheduler user guide, "Using universal targets".
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from lambdad.wire import service_model
from lambdad.wire.service_model import Ref

_ARN: Final = re.compile(r"arn:aws[a-z-]*:scheduler:::aws-sdk:([a-z0-9]+):([a-z][a-zA-Z0-9]+)", re.ASCII)

# The SDK for Java names services, where botocore calls them otherwise.
_NAMES: Final = {
    "cloudwatchlogs": "logs",
    "eventbridge": "events",
    "sfn": "stepfunctions",
    "dynamodbstreams": "dynamodbstreams",
    "elasticloadbalancingv2": "elbv2",
    "elasticloadbalancing": "elb",
}

_READING: Final = re.compile(
    r"(?:get|describe|list|poll|receive|search|scan|query|select|read|lookup|discover|validate|batchGet|batchDescribe)(?:[A-Z]|$)"
)


class Operation(NamedTuple):
    """An operation of a service, by botocore's names."""

    service: str
    name: str


class InvalidTarget(ValueError):
    """A universal target cannot be called; the text says why."""


def is_universal(arn: str) -> bool:
    """Say whether a target's ARN has the form of a universal target's."""
    return ":aws-sdk:" in arn


def operation_of(arn: str, model_of: Callable[[str], service_model.ServiceModel]) -> Operation:
    """
    Read a universal target's ARN.

    Args:
        model_of: reads the model of a service by botocore's name.

    Raises:
        InvalidTarget: it names no operation, or one that only reads, which AWS does not take.
    """
    match = _ARN.fullmatch(arn)
    if match is None:
        raise InvalidTarget(f"{arn} is not a valid universal target ARN.")
    service, operation = _NAMES.get(match[1], match[1]), match[2][0].upper() + match[2][1:]
    if _READING.match(match[2]):
        raise InvalidTarget(f"{arn} is not supported: read-only operations cannot be targets.")
    try:
        model = model_of(service)
    except LookupError:
        raise InvalidTarget(f"{arn} is not supported: there is no service {match[1]}.") from None
    if operation not in model.operations:
        raise InvalidTarget(f"{arn} is not supported: {match[1]} has no operation {match[2]}.")
    return Operation(service, operation)


def input_of(text: str, model: service_model.ServiceModel, operation: str) -> dict[str, Any]:
    """
    Read the input of an operation.

    Args:
        text: a JSON object with the operation's parameters, whose first letters may be in either case.

    Raises:
        InvalidTarget: it is none, or a parameter is unknown or of another type.
    """
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        raise InvalidTarget("Input is not valid JSON.") from None
    ref = model.operations[operation].input
    if not isinstance(value, dict) or (ref is None and value):
        raise InvalidTarget("Input must be a JSON object with the parameters of the operation.")
    found: dict[str, Any] = _typed(value, ref, "Input") if ref is not None else {}
    return found


def _typed(value: Any, ref: Ref, path: str) -> Any:
    shape = ref.shape
    match shape.type:
        case "structure" if isinstance(value, dict):
            return {
                name: _typed(each, member, f"{path}.{key}") for key, each in value.items() for name, member in [_member(ref, key, path)]
            }
        case "list" if isinstance(value, list):
            return [_typed(each, shape.element, path) for each in value]
        case "map" if isinstance(value, dict):
            return {key: _typed(each, shape.entry[1], f"{path}.{key}") for key, each in value.items()}
        case "blob" if isinstance(value, str):
            return value.encode()
        case "blob" if isinstance(value, dict | list):
            return _dumps(value, path)
        case "timestamp" if isinstance(value, str):
            try:
                at = datetime.fromisoformat(value)
            except ValueError:
                raise InvalidTarget(f"{path} is not a valid timestamp.") from None
            return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        case "timestamp" if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        case "string" | "character" if isinstance(value, str):
            return value
        case "string" if isinstance(value, dict | list):
            return _dumps(value, path).decode()
        case "boolean" if isinstance(value, bool):
            return value
        case "integer" | "long" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "float" | "double" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    raise InvalidTarget(f"{path} must be of type {shape.type}.")


def _dumps(value: Any, path: str) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        raise InvalidTarget(f"{path} is nested too deeply.") from None


def _member(ref: Ref, key: str, path: str) -> tuple[str, Ref]:
    members = ref.shape.members
    for name in (key, key[:1].upper() + key[1:], key[:1].lower() + key[1:]):
        if name in members:
            return name, members[name]
    raise InvalidTarget(f"{path}.{key} is not a parameter of the operation.")

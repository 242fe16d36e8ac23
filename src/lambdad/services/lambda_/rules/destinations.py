"""Where the ends of asynchronous invocations may be sent: destinations and dead-letter targets, by their ARNs.

Source: Lambda API Reference, PutFunctionEventInvokeConfig and CreateFunction; Lambda developer guide, "Capturing records of Lambda
asynchronous invocations".
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from lambdad.model import arn
from lambdad.model.arn import FunctionReference
from lambdad.model.function import FunctionKey
from lambdad.model.ids import AccountId, Region
from lambdad.services.lambda_ import errors


class Kind(StrEnum):
    """What an ARN names, by its service."""

    SQS = "sqs"
    SNS = "sns"
    LAMBDA = "lambda"
    EVENTS = "events"
    S3 = "s3"


_ON_SUCCESS = frozenset({Kind.SQS, Kind.SNS, Kind.LAMBDA, Kind.EVENTS})
_ON_FAILURE = _ON_SUCCESS | {Kind.S3}
_FIFO = ".fifo"


def kind_of(target: str) -> Kind | None:
    """Say what an ARN names; None for what is no destination of any kind."""
    parts = target.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn" or not parts[5]:
        return None
    _, _, service, region, account, resource = parts
    if service == "s3":
        return Kind.S3 if "/" not in resource else None
    if not region or not account:
        return None
    if service == "lambda":
        return Kind.LAMBDA if arn.parse_function(target) is not None else None
    if service == "events":
        return Kind.EVENTS if resource.startswith("event-bus/") else None
    return Kind(service) if service in ("sqs", "sns") and ":" not in resource else None


def check(config: Mapping[str, Any], key: FunctionKey, exists: Callable[[FunctionReference], bool]) -> None:
    """
    Check a DestinationConfig.

    Args:
        config: as the model has it; its ARNs match the model's pattern.
        key: of the function whose events they are.
        exists: whether there is a function, and the version or alias that is named.

    Raises:
        InvalidParameterValue: a target is of a kind that cannot be, does not exist, or is the function itself.
    """
    success = (config.get("OnSuccess") or {}).get("Destination") or ""
    failure = (config.get("OnFailure") or {}).get("Destination") or ""
    for target, kinds in ((success, _ON_SUCCESS), (failure, _ON_FAILURE)):
        if not target:
            continue
        kind = kind_of(target)
        if kind not in kinds or target.endswith(_FIFO):
            raise errors.InvalidParameterValue(f"The provided destination config {_printed(success, failure)} is invalid.")
        if kind is Kind.LAMBDA:
            reference = arn.parse_function(target)
            assert reference is not None
            if FunctionKey(reference.account or AccountId(""), reference.region or Region(""), reference.name) == key:
                raise errors.InvalidParameterValue("You can't specify the function as a destination for itself.")
            if not exists(reference):
                raise errors.InvalidParameterValue(f"The destination ARN {target} is invalid.")


def _printed(success: str, failure: str) -> str:
    """Print a DestinationConfig as AWS's front end, which is Java, does."""
    on_success = f"OnSuccess(destination={success})" if success else "null"
    on_failure = f"OnFailure(destination={failure})" if failure else "null"
    return f"DestinationConfig(onSuccess={on_success}, onFailure={on_failure})"


def check_dead_letter_target(target: str) -> None:
    """
    Check the TargetArn of a DeadLetterConfig; "" is none.

    Raises:
        InvalidParameterValue: it is neither a standard queue nor a standard topic.
    """
    if target and (kind_of(target) not in (Kind.SQS, Kind.SNS) or target.endswith(_FIFO)):
        raise errors.InvalidParameterValue(
            f"The provided dead letter target {target} is invalid. It must be a standard Amazon SQS queue or a standard Amazon SNS topic."
        )

"""Targets of rules: what may be one, and the call by which it is sent something.

Source: EventBridge API Reference, Target; user guide, "Amazon EventBridge targets", "Dead-letter queues".
"""

from collections.abc import Mapping
from typing import Any, Final

from lambdad.machines import target_calls
from lambdad.services.events import errors
from lambdad.services.events.rules import inputs

_PARAMETERS: Final = (
    *("KinesisParameters", "RunCommandParameters", "EcsParameters", "BatchParameters", "HttpParameters"),
    *("RedshiftDataParameters", "SageMakerPipelineParameters", "AppSyncParameters"),
)

ERROR_CODES: Final[Mapping[str, str]] = {
    "AccessDeniedException": "NO_PERMISSIONS",
    "AccessDenied": "NO_PERMISSIONS",
    "AuthorizationError": "NO_PERMISSIONS",
    "AuthorizationErrorException": "NO_PERMISSIONS",
    "KmsAccessDenied": "NO_PERMISSIONS",
    "ResourceNotFoundException": "NO_RESOURCE",
    "QueueDoesNotExist": "NO_RESOURCE",
    "AWS.SimpleQueueService.NonExistentQueue": "NO_RESOURCE",
    "NotFound": "NO_RESOURCE",
    "NotFoundException": "NO_RESOURCE",
    "TooManyRequestsException": "THROTTLING",
    "ThrottlingException": "THROTTLING",
    "Throttling": "THROTTLING",
    "ThrottledException": "THROTTLING",
    "RequestThrottled": "THROTTLING",
    "RequestTimeout": "TIMEOUT",
    "ServiceException": "INTERNAL_ERROR",
    "InternalFailure": "INTERNAL_ERROR",
    "InternalError": "INTERNAL_ERROR",
    "ServiceUnavailable": "INTERNAL_ERROR",
    "": "SDK_CLIENT_ERROR",
}
"""What a dead letter calls an error of the target's service."""


def check(target: Mapping[str, Any]) -> None:
    """
    Check a target of PutTargets.

    Raises:
        InvalidValue: it cannot be a target, or not here.
    """
    name, target_arn = target["Id"], target["Arn"]
    arn = target_calls.parse_arn(target_arn)
    if arn is None:
        raise errors.InvalidValue(f"Parameter {target_arn} is not valid. Reason: Provided Arn is not in correct format.")
    kind = target_calls.kind(arn)
    if not kind:
        raise errors.InvalidValue(f"Parameter {target_arn} is not valid. Reason: lambdad does not deliver events to this target.")
    for parameter in _PARAMETERS:
        if parameter in target:
            raise errors.InvalidValue(f"Parameter(s) {parameter} not valid for target {name}.")
    if kind == "queue":
        has_group = bool(target.get("SqsParameters", {}).get("MessageGroupId"))
        if target_calls.is_fifo(arn) and not has_group:
            raise errors.InvalidValue(f"Parameter(s) SqsParameters must be specified for target: {name}.")
    elif "SqsParameters" in target:
        raise errors.InvalidValue(f"Parameter(s) SqsParameters not valid for target {name}.")
    if kind == "topic" and target_calls.is_fifo(arn):
        raise errors.InvalidValue(
            f"Parameter {target_arn} is not valid. Reason: Unsupported target: FIFO topics cannot be targets of rules."
        )
    queue_arn = target.get("DeadLetterConfig", {}).get("Arn")
    if queue_arn is not None:
        queue = target_calls.parse_arn(queue_arn)
        if queue is None or target_calls.kind(queue) != "queue" or target_calls.is_fifo(queue):
            raise errors.InvalidValue(f"Parameter {queue_arn} is not valid. Reason: Dead-letter queue must be a standard SQS queue.")
    try:
        inputs.check(target)
    except inputs.InvalidInput as error:
        raise errors.InvalidValue(str(error)) from None

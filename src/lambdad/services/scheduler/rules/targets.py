"""Targets of schedules: what may be one, and the call by which it is started.

Source: EventBridge Scheduler user guide, "Managing targets", "Context attributes", "Configuring a dead-letter queue".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from lambdad.machines import target_calls
from lambdad.machines.target_calls import TargetCall
from lambdad.services.scheduler import errors
from lambdad.services.scheduler.rules import limits, times, universal
from lambdad.wire.service_model import ServiceModel

ModelOf = Callable[[str], ServiceModel]

_PARAMETERS: Final = {
    "function": (),
    "topic": (),
    "queue": ("SqsParameters",),
    "event bus": ("EventBridgeParameters",),
    "": (),
}
_ALL_PARAMETERS: Final = (
    *("SqsParameters", "EventBridgeParameters", "EcsParameters", "KinesisParameters", "SageMakerPipelineParameters"),
    *("EventBridgePutEventsV2Parameters", "EventBridgePutRawEventsParameters"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One start of a schedule's target: what the context attributes of its input stand for."""

    schedule_arn: str
    account: str
    region: str
    scheduled_at_ms: int
    id: str


def check(target: Mapping[str, Any], model_of: ModelOf) -> None:
    """
    Check the target of a schedule that is made or changed.

    Raises:
        InvalidValue: it cannot be a target, or not here.
    """
    target_arn = target["Arn"]
    kind = ""
    if universal.is_universal(target_arn):
        trial = Execution(schedule_arn="arn", account="0", region="r", scheduled_at_ms=0, id="0")
        try:
            call(target, trial, model_of)
        except universal.InvalidTarget as error:
            raise errors.InvalidValue(str(error)) from None
    else:
        kind = _check_templated(target)
    for parameter in _ALL_PARAMETERS:
        if parameter in target and parameter not in _PARAMETERS[kind]:
            raise errors.InvalidValue(f"{parameter} cannot be specified for target {target_arn}.")
    if len(target.get("Input", "").encode()) > limits.INPUT_BYTES:
        raise errors.InvalidValue("Input exceeds the maximum size of 256 KB.")


def call(target: Mapping[str, Any], execution: Execution, model_of: ModelOf) -> TargetCall:
    """
    Say what is called to start a target.

    Raises:
        InvalidTarget: the input of a universal target does not fit its operation.
    """
    text = render(target, execution)
    target_arn = target["Arn"]
    if universal.is_universal(target_arn):
        operation = universal.operation_of(target_arn, model_of)
        params = universal.input_of(text if "Input" in target else "", model_of(operation.service), operation.name)
        return TargetCall(operation.service, operation.name, params, execution.region)
    arn = target_calls.parse_arn(target_arn)
    if arn is not None and target_calls.kind(arn) == "event bus":
        parameters = target["EventBridgeParameters"]
        entry = {
            "Source": parameters["Source"],
            "DetailType": parameters["DetailType"],
            "Detail": text if "Input" in target else "{}",
            "Resources": [execution.schedule_arn],
            "EventBusName": target_arn,
        }
        return TargetCall("events", "PutEvents", {"Entries": [entry]}, arn.region)
    return target_calls.of_target(target_arn, text, group=target.get("SqsParameters", {}).get("MessageGroupId", ""))


def render(target: Mapping[str, Any], execution: Execution) -> str:
    """Write the input of a target, with what the context attributes stand for; AWS's notification where the schedule has none."""
    if "Input" not in target:
        return orjson.dumps(
            {
                "version": "0",
                "id": execution.id,
                "detail-type": "Scheduled Event",
                "source": "aws.scheduler",
                "account": execution.account,
                "time": times.iso(execution.scheduled_at_ms),
                "region": execution.region,
                "resources": [execution.schedule_arn],
                "detail": "{}",
            }
        ).decode()
    text = str(target["Input"])
    if "<aws.scheduler." in text:
        # The attempt is the first one in every try: the call is written down once, and tried again as it is.
        for name, value in (
            ("schedule-arn", execution.schedule_arn),
            ("scheduled-time", times.iso(execution.scheduled_at_ms)),
            ("execution-id", execution.id),
            ("attempt-number", "1"),
        ):
            text = text.replace(f"<aws.scheduler.{name}>", value)
    return text


def _check_templated(target: Mapping[str, Any]) -> str:
    """Return the kind of a target that is no universal one."""
    target_arn = target["Arn"]
    arn = target_calls.parse_arn(target_arn)
    if arn is None:
        raise errors.InvalidValue("Provided Arn is not in correct format.")
    kind = target_calls.kind(arn)
    if kind not in ("function", "topic", "queue", "event bus"):
        raise errors.InvalidValue(f"Provided Arn is not supported: lambdad does not start {target_arn}.")
    if kind == "queue" and target_calls.is_fifo(arn) and not target.get("SqsParameters", {}).get("MessageGroupId"):
        raise errors.InvalidValue("MessageGroupId must be specified for a FIFO queue.")
    if kind == "topic" and target_calls.is_fifo(arn):
        raise errors.InvalidValue("Provided Arn is not supported: a FIFO topic can be started by a universal target only.")
    if kind == "event bus" and "EventBridgeParameters" not in target:
        raise errors.InvalidValue("EventBridgeParameters must be specified for an event bus.")
    if kind in ("function", "event bus") and "Input" in target:
        try:
            orjson.loads(target["Input"])
        except orjson.JSONDecodeError:
            raise errors.InvalidValue("Invalid request provided: Input is not valid JSON.") from None
    return kind

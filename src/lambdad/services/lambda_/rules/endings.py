"""Who hears of the end of an asynchronous invocation, and what: the destinations' record, the dead-letter target's message.

Source: AWS Lambda developer guide, "Capturing records of Lambda asynchronous invocations" and "Adding a dead-letter queue"; the record's
members were recorded from the service.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from lambdad.model import arn
from lambdad.model.function import LATEST, FunctionKey
from lambdad.model.ids import Region, RequestId
from lambdad.services.lambda_.rules.destinations import Kind, kind_of
from lambdad.services.lambda_.rules.event_invoke import Settings
from lambdad.services.outbox.delivery import Delivery
from lambdad.services.ports import Origin

SUCCESS = "Success"
MAXIMUM_ATTEMPTS = 30
MAXIMUM_AGE_S = 6 * 3600
ERROR_MESSAGE_BYTES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the last attempt that ran came to."""

    payload: bytes
    function_error: str  # "" for success
    executed_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an event ended.

    Args:
        qualifier: as its sender gave it; None for none.
        condition: "Success", or why it is given up.
        attempts: how often the function ran for it.
        response: None where it never ran.
        error_code, error_message: of the last attempt, as the dead-letter target is told; the message of a function that ran and
            failed is in its response.
    """

    request_id: RequestId
    key: FunctionKey
    qualifier: str | None
    payload: bytes
    trace_id: str
    condition: str
    attempts: int
    response: Response | None
    error_code: int = 200
    error_message: str = ""


def deliveries(ending: Ending, settings: Settings, *, now_ms: int, new_id: str) -> list[Delivery]:
    """
    Make what is sent, by the function's role: to the destination for such an end, and to the dead-letter target after a failure.

    Args:
        new_id: a random UUID, for the name of an object.
    """
    is_success = ending.condition == SUCCESS
    made: list[Delivery] = []
    target = settings.on_success if is_success else settings.on_failure
    if target:
        made.append(_to_destination(ending, target, now_ms, new_id))
    if settings.dead_letter_target and not is_success:
        made.append(_to_dead_letter_target(ending, settings.dead_letter_target))
    return made


def record(ending: Ending, now_ms: int) -> bytes:
    """Write the record that destinations get."""
    document: dict[str, Any] = {
        "version": "1.0",
        "timestamp": timestamp(now_ms),
        "requestContext": {
            "requestId": ending.request_id,
            "functionArn": _function_arn(ending),
            "condition": ending.condition,
            "approximateInvokeCount": ending.attempts,
        },
        "requestPayload": _embedded(ending.payload),
    }
    if ending.response is not None:
        context: dict[str, Any] = {"statusCode": 200, "executedVersion": ending.response.executed_version}
        if ending.response.function_error:
            context["functionError"] = ending.response.function_error
        document["responseContext"] = context
        document["responsePayload"] = _embedded(ending.response.payload)
    return orjson.dumps(document)


def timestamp(at_ms: int) -> str:
    """Write an instant as records have it: ``2019-11-14T18:16:05.568Z``."""
    at = datetime.fromtimestamp(at_ms // 1000, tz=UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def _to_destination(ending: Ending, target: str, now_ms: int, new_id: str) -> Delivery:
    body = record(ending, now_ms)
    match kind_of(target):
        case Kind.SQS:
            message: dict[str, Any] = {"QueueUrl": _queue_url(target), "MessageBody": body.decode()}
            if "Sampled=1" in ending.trace_id:
                message["MessageSystemAttributes"] = {"AWSTraceHeader": {"DataType": "String", "StringValue": ending.trace_id}}
            return _delivery(ending, target, "sqs", "SendMessage", message)
        case Kind.SNS:
            return _delivery(ending, target, "sns", "Publish", {"TopicArn": target, "Message": body.decode()})
        case Kind.LAMBDA:
            invoke = {"FunctionName": target, "InvocationType": "Event", "Payload": body}
            return _delivery(ending, target, "lambda", "Invoke", invoke)
        case Kind.EVENTS:
            entry = {
                "Time": datetime.fromtimestamp(now_ms / 1000, tz=UTC),
                "Source": "lambda",
                "DetailType": f"Lambda Function Invocation Result - {SUCCESS if ending.condition == SUCCESS else 'Failure'}",
                "Resources": [target, _function_arn(ending)],
                "Detail": body.decode(),
                "EventBusName": target,
            }
            return _delivery(ending, target, "events", "PutEvents", {"Entries": [entry]})
        case _:
            at = datetime.fromtimestamp(now_ms // 1000, tz=UTC)
            name = f"aws/lambda/async/{ending.key.name}/{at:%Y/%m/%d}/{at:%Y-%m-%dT%H.%M.%S}-{new_id}"
            put = {"Bucket": target.rpartition(":")[2], "Key": name, "Body": body}
            return _delivery(ending, target, "s3", "PutObject", put)


def _to_dead_letter_target(ending: Ending, target: str) -> Delivery:
    attributes = {
        "RequestID": _attribute("String", ending.request_id),
        "ErrorCode": _attribute("Number", str(ending.error_code)),
    }
    if message := _error_message(ending):
        attributes["ErrorMessage"] = _attribute("String", message)
    text = ending.payload.decode(errors="replace")
    if kind_of(target) is Kind.SQS:
        message_to_queue = {"QueueUrl": _queue_url(target), "MessageBody": text, "MessageAttributes": attributes}
        return _delivery(ending, target, "sqs", "SendMessage", message_to_queue)
    return _delivery(ending, target, "sns", "Publish", {"TopicArn": target, "Message": text, "MessageAttributes": attributes})


def _delivery(ending: Ending, target: str, service: str, operation: str, params: Mapping[str, Any]) -> Delivery:
    key = ending.key
    parts = target.split(":")
    return Delivery(
        origin=Origin(
            account=key.account,
            region=Region(parts[3] or key.region),
            source_arn=arn.function(*key),
            trace_id=ending.trace_id,
        ),
        service=service,
        operation=operation,
        params=params,
        maximum_attempts=MAXIMUM_ATTEMPTS,
        maximum_age_s=MAXIMUM_AGE_S,
        target=target,
    )


def _error_message(ending: Ending) -> str:
    message = ending.error_message
    if not message and ending.response is not None and ending.response.function_error:
        try:
            found = json.loads(ending.response.payload)
        except (ValueError, RecursionError):
            found = None
        message = str(found.get("errorMessage") or "") if isinstance(found, dict) else ""
    return message.encode(errors="replace")[:ERROR_MESSAGE_BYTES].decode(errors="ignore")


def _embedded(payload: bytes) -> Any:
    """Give a payload as a part of a document: JSON as it is, byte for byte, and what is none as text."""
    if not payload:
        return None
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload.decode(errors="replace")
    return orjson.Fragment(payload)


def _function_arn(ending: Ending) -> str:
    return arn.function(*ending.key, ending.qualifier or LATEST)


def _queue_url(target: str) -> str:
    _, _, _, region, account, name = target.split(":")
    return f"https://sqs.{region}.amazonaws.com/{account}/{name}"


def _attribute(data_type: str, value: str) -> dict[str, str]:
    return {"DataType": data_type, "StringValue": value}

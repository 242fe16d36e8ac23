"""What is called for a target: an operation of the service that an ARN belongs to, and its input.

    of_target("arn:aws:sqs:us-east-1:000000000000:jobs", "{}", group="")
    -> TargetCall("sqs", "SendMessage", {"QueueUrl": "https://sqs.us-east-1.amazonaws.com/000000000000/jobs", "MessageBody": "{}"}, ...)

Source: EventBridge user guide, "Amazon EventBridge targets"; EventBridge Scheduler user guide, "Using templated targets".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_ARN: Final = re.compile(r"arn:(aws[a-zA-Z-]*):([a-zA-Z0-9\-]+):([a-z0-9\-]*):(\d{12}|):(.+)", re.DOTALL)
_LOG_GROUP: Final = re.compile(r"log-group:([\w./#-]{1,512})(?::\*)?", re.ASCII)
_FUNCTION: Final = re.compile(r"function:[a-zA-Z0-9\-_]{1,64}(?::(?:\$LATEST|[a-zA-Z0-9\-_]{1,128}))?", re.ASCII)
_QUEUE: Final = re.compile(r"[a-zA-Z0-9\-_]{1,80}(?:\.fifo)?", re.ASCII)
_TOPIC: Final = re.compile(r"[a-zA-Z0-9\-_]{1,256}(?:\.fifo)?", re.ASCII)
_BUS: Final = re.compile(r"event-bus/([/.\-_A-Za-z0-9]{1,256})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Arn:
    """The parts of any ARN; region and account may be empty."""

    partition: str
    service: str
    region: str
    account: str
    resource: str


@dataclass(frozen=True, slots=True)
class TargetCall:
    """One call, or the last of several: `before` are calls whose failure does not matter, such as making what may be there already."""

    service: str
    operation: str
    params: Mapping[str, Any]
    region: str
    account: str = ""  # of what is called, where the call itself does not name it
    before: tuple["TargetCall", ...] = ()


def parse_arn(text: str) -> Arn | None:
    """Take an ARN apart; None where the text is none."""
    match = _ARN.fullmatch(text)
    return Arn(*match.groups()) if match is not None else None


def kind(arn: Arn) -> str:
    """Name the kind of target: "function", "queue", "topic", "log group", "event bus"; "" for those that nothing here delivers to."""
    if not arn.region or not arn.account:
        return ""
    match arn.service:
        case "lambda" if _FUNCTION.fullmatch(arn.resource):
            return "function"
        case "sqs" if _QUEUE.fullmatch(arn.resource):
            return "queue"
        case "sns" if _TOPIC.fullmatch(arn.resource):
            return "topic"
        case "logs" if _LOG_GROUP.fullmatch(arn.resource):
            return "log group"
        case "events" if _BUS.fullmatch(arn.resource):
            return "event bus"
    return ""


def bus_name(arn: Arn) -> str:
    """Return the name of the event bus that an ARN of kind "event bus" names."""
    match = _BUS.fullmatch(arn.resource)
    assert match is not None
    return match[1]


def queue_url(arn: Arn) -> str:
    """Write a queue's URL as neighbours take it."""
    return f"https://sqs.{arn.region}.amazonaws.com/{arn.account}/{arn.resource}"


def is_fifo(arn: Arn) -> bool:
    """Say whether an ARN is that of a FIFO queue or topic."""
    return arn.resource.endswith(".fifo")


def of_target(target_arn: str, text: str, *, group: str = "", at_ms: int = 0, unique: str = "") -> TargetCall:
    """
    Say what is called to deliver a text to a function, queue, topic or log group.

    Args:
        group: MessageGroupId, for FIFO queues.
        at_ms: when it happened; a log event's time.
        unique: names a log stream.
    """
    arn = parse_arn(target_arn)
    assert arn is not None
    match kind(arn):
        case "function":
            params: dict[str, Any] = {"FunctionName": target_arn, "InvocationType": "Event", "Payload": text.encode("utf-8", "replace")}
            return TargetCall("lambda", "Invoke", params, arn.region)
        case "queue":
            params = {"QueueUrl": queue_url(arn), "MessageBody": text}
            if group:
                params["MessageGroupId"] = group
            return TargetCall("sqs", "SendMessage", params, arn.region)
        case "topic":
            params = {"TopicArn": target_arn, "Message": text}
            if group:
                params["MessageGroupId"] = group
            return TargetCall("sns", "Publish", params, arn.region)
        case "log group":
            match = _LOG_GROUP.fullmatch(arn.resource)
            assert match is not None
            stream = {"logGroupName": match[1], "logStreamName": unique}
            make = TargetCall("logs", "CreateLogStream", stream, arn.region, arn.account)
            event = {"timestamp": at_ms, "message": text}
            return TargetCall("logs", "PutLogEvents", {**stream, "logEvents": [event]}, arn.region, arn.account, before=(make,))
    raise ValueError(f"nothing delivers to {target_arn}")

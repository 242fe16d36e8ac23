"""A queue's message as a function sees it: one element of the event's ``Records``.

Source: AWS Lambda developer guide, "Example standard queue message event"; members and their order as recorded from the service.
"""

import base64
from collections.abc import Mapping
from typing import Any

EVENT_SOURCE = "aws:sqs"


def record(message: Mapping[str, Any], queue_arn: str, region: str) -> dict[str, Any]:
    """
    Make the record of a message.

    Args:
        message: an element of ReceiveMessage's ``Messages``.
    """
    made: dict[str, Any] = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message.get("Body", ""),
        "attributes": dict(message.get("Attributes") or {}),
        "messageAttributes": {name: _attribute(value) for name, value in (message.get("MessageAttributes") or {}).items()},
    }
    if message.get("MD5OfMessageAttributes"):
        made["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    made["md5OfBody"] = message.get("MD5OfBody", "")
    made["eventSource"] = EVENT_SOURCE
    made["eventSourceARN"] = queue_arn
    made["awsRegion"] = region
    return made


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if "StringValue" in value:
        made["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        made["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode()
    made["stringListValues"] = []
    made["binaryListValues"] = []
    made["dataType"] = value["DataType"]
    return made

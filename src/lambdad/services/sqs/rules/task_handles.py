"""Handles of message move tasks: base64 of a JSON object with the task's id and its source, as in AWS."""

import base64
import binascii

import orjson

from lambdad.services.sqs import errors


def write(task_id: str, source_arn: str) -> str:
    """Write a task's handle."""
    return base64.b64encode(orjson.dumps({"taskId": task_id, "sourceArn": source_arn})).decode()


def read(text: str) -> tuple[str, str]:
    """
    Return the id and the source of a task.

    Raises:
        InvalidParameterValue: the text is no handle.
    """
    try:
        document = orjson.loads(base64.b64decode(text, validate=True))
        return str(document["taskId"]), str(document["sourceArn"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise errors.invalid(text, "TaskHandle", "The task handle is not valid.") from None

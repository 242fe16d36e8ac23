"""What is written into a dead-letter queue."""

from typing import Any

from lambdad.model.errors import AwsError
from lambdad.services.outbox.delivery import DeadLetter, Delivery
from lambdad.services.outbox.rules.retries import Condition

MAXIMUM_ATTEMPTS = 50
MAXIMUM_AGE_S = 3600
ERROR_MESSAGE_BYTES = 1024


def delivery_for(given_up: Delivery, letter: DeadLetter, *, error: AwsError, condition: Condition, attempts: int) -> Delivery:
    """
    Make the delivery that takes a dead letter to its queue. It has no dead letter of its own.

    Args:
        attempts: how often the delivery was tried, >= 1.

    Raises:
        ValueError: `queue_arn` is no ARN of a queue.
    """
    attributes: dict[str, Any] = dict(letter.attributes)
    if letter.error_code_attribute:
        code = letter.error_codes.get(error.code) or letter.error_codes.get("") or error.code
        attributes[letter.error_code_attribute] = _text(code)
    if letter.error_message_attribute and error.message:
        attributes[letter.error_message_attribute] = _text(cut(error.message, ERROR_MESSAGE_BYTES))
    if letter.attempts_attribute:
        attributes[letter.attempts_attribute] = _text(str(attempts - 1))
    if letter.condition_attribute and condition is not Condition.FINAL_ERROR:
        attributes[letter.condition_attribute] = _text(condition.value)
    params: dict[str, Any] = {"QueueUrl": queue_url(letter.queue_arn), "MessageBody": letter.body}
    if attributes:
        params["MessageAttributes"] = attributes
    if letter.message_group_id:
        params["MessageGroupId"] = letter.message_group_id
    if letter.message_deduplication_id:
        params["MessageDeduplicationId"] = letter.message_deduplication_id
    return Delivery(
        origin=given_up.origin,
        service="sqs",
        operation="SendMessage",
        params=params,
        maximum_attempts=MAXIMUM_ATTEMPTS,
        maximum_age_s=MAXIMUM_AGE_S,
    )


def queue_url(queue_arn: str) -> str:
    """Write a queue's URL as neighbours take it: ``https://sqs.us-east-1.amazonaws.com/000000000000/queue``."""
    parts = queue_arn.split(":")
    if len(parts) != 6 or parts[2] != "sqs" or not all(parts[3:]):
        raise ValueError(f"not the ARN of a queue: {queue_arn}")
    return f"https://sqs.{parts[3]}.amazonaws.com/{parts[4]}/{parts[5]}"


def cut(text: str, size_bytes: int) -> str:
    """Shorten a text to a number of bytes in UTF-8, between characters."""
    return text.encode()[:size_bytes].decode(errors="ignore")


def _text(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}

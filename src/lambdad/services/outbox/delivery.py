"""What is delivered: an operation of a neighbour service, how often it is tried, and who hears of it when it is given up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lambdad.services.ports import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """The queue that gets a delivery that was given up, and what is written into it.

    Args:
        queue_arn: an SQS queue.
        body: of the message.
        attributes: MessageAttributes as SendMessage takes them.
        message_group_id, message_deduplication_id: for a FIFO queue.
        error_code_attribute: the name of a further attribute that holds the last error's code; "" for none. Likewise those that follow.
        error_message_attribute: its message.
        attempts_attribute: how often the delivery was tried again.
        condition_attribute: "MaximumRetryAttempts" or "MaximumEventAgeInSeconds", where one of these bounds was reached.
        error_codes: other words for some of AWS's error codes, where the queue's readers expect them; "" for all that are not named.
    """

    queue_arn: str
    body: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    message_group_id: str = ""
    message_deduplication_id: str = ""
    error_code_attribute: str = ""
    error_message_attribute: str = ""
    attempts_attribute: str = ""
    condition_attribute: str = ""
    error_codes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """
    A call of a neighbour that must not be lost.

    Args:
        origin: for whom the call is made.
        service: botocore's name, or the name of a service that only neighbours see.
        operation: of that service.
        params: its input, as `Handler` takes it: JSON-like values, bytes, aware datetimes.
        order_key: deliveries with the same key that is not empty are made one after the other, in the order in which they were added,
            each when the one before has arrived or was given up.
        maximum_attempts: tries in all, >= 1.
        maximum_age_s: since it was added, seconds; a first try is made even later.
        delays_ms: between the first and the second try, and so on, the last one repeated; () for a back-off from a tenth of a second
            to five minutes.
        dead_letter: None drops what is given up.
        target: what may be out of order while others of its service are not, e.g. a queue's URL; "" finds it in `params`.
    """

    origin: Origin
    service: str
    operation: str
    params: Mapping[str, Any]
    maximum_attempts: int
    maximum_age_s: int
    order_key: str = ""
    delays_ms: tuple[int, ...] = ()
    dead_letter: DeadLetter | None = None
    target: str = ""


_decoder = msgspec.msgpack.Decoder(Delivery)
_encoder = msgspec.msgpack.Encoder()


def encode(delivery: Delivery) -> bytes:
    """
    Write a delivery as it is stored.

    Raises:
        TypeError: the params hold something that cannot be stored.
    """
    return _encoder.encode(delivery)


def decode(stored: bytes) -> Delivery:
    """Read what `encode` wrote; members that are unknown are ignored, those that are missing have their defaults."""
    return _decoder.decode(stored)

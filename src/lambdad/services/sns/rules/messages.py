"""Messages: what Publish and PublishBatch accept, and what each protocol's subscribers read of it."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lambdad.services.sns import errors
from lambdad.services.sns.rules import json_text, limits, message_attributes
from lambdad.services.sns.rules.message_attributes import Attribute
from lambdad.services.sns.rules.nouns import Protocol, Topic

_FIFO_ID = re.compile(r"[\x21-\x7e]{1,128}")
_BATCH_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
_UNSTORABLE: Final = "\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that was accepted.

    Args:
        texts: by protocol; "default" is for those that are not there.
        group_id: of FIFO topics, and of standard ones for the fair queues behind them; "" if none.
        deduplication_id: of FIFO topics.
        size_bytes: what counts against limits.
    """

    texts: Mapping[str, str]
    subject: str | None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    group_id: str = ""
    deduplication_id: str = ""
    size_bytes: int = 0

    def text_for(self, protocol: Protocol) -> str:
        """Return what subscribers of a protocol read."""
        return self.texts.get(protocol, self.texts["default"])


def checked(topic: Topic, given: Mapping[str, Any]) -> Message:
    """
    Check a message.

    Args:
        given: the members of Publish, or of an entry of PublishBatch.

    Raises:
        InvalidParameter, InvalidAttributeValue: something about it cannot be.
    """
    body = given["Message"]
    if not body:
        raise errors.InvalidParameter("Empty message")
    if _UNSTORABLE in body:
        raise errors.InvalidParameter("Invalid characters in message")
    subject = given.get("Subject")
    if subject is not None:
        _check_subject(subject)
    texts = _texts(body, given.get("MessageStructure"))
    attributes = message_attributes.checked(given.get("MessageAttributes", {}))
    size_bytes = len(body.encode()) + sum(len(name.encode()) + attribute.size_bytes for name, attribute in attributes.items())
    if size_bytes > topic.message_bytes_max:
        raise errors.InvalidParameter("Message too long")
    group_id, deduplication_id = _fifo_ids(topic, given, body)
    return Message(
        texts=texts,
        subject=subject,
        attributes=attributes,
        group_id=group_id,
        deduplication_id=deduplication_id,
        size_bytes=size_bytes,
    )


def check_batch(entries: Sequence[Mapping[str, Any]]) -> None:
    """
    Check what the entries of a batch must be together.

    Raises:
        EmptyBatch, TooManyEntries, InvalidBatchId, IdsNotDistinct: they are not.
    """
    if not entries:
        raise errors.EmptyBatch
    if len(entries) > limits.BATCH_ENTRIES:
        raise errors.TooManyEntries
    ids = [entry["Id"] for entry in entries]
    if not all(map(_BATCH_ID.fullmatch, ids)):
        raise errors.InvalidBatchId
    if len(set(ids)) < len(ids):
        raise errors.IdsNotDistinct


def check_batch_size(topic: Topic, messages: Sequence[Message]) -> None:
    """
    Check that the messages of a batch are not too long together.

    Raises:
        BatchTooLong: they are.
    """
    if sum(message.size_bytes for message in messages) > topic.message_bytes_max:
        raise errors.BatchTooLong


def _check_subject(subject: str) -> None:
    if not subject or len(subject) > limits.SUBJECT_CHARACTERS or not subject.isprintable() or subject.isspace():
        raise errors.InvalidParameter("Subject")


def _texts(body: str, structure: str | None) -> dict[str, str]:
    if not structure:
        return {"default": body}
    if structure != "json":
        raise errors.InvalidParameter("MessageStructure")
    try:
        document = json_text.parse_object(body)
    except ValueError:
        raise errors.InvalidParameter("Message Structure - JSON message body failed to parse") from None
    texts = {name: text for name, text in document.items() if isinstance(text, str)}
    if "default" not in texts:
        raise errors.InvalidParameter("Message Structure - No default entry in JSON message body")
    if any(_UNSTORABLE in text for text in texts.values()):
        raise errors.InvalidParameter("Invalid characters in message")
    return texts


def _fifo_ids(topic: Topic, given: Mapping[str, Any], body: str) -> tuple[str, str]:
    """Return the group and the id for de-duplication."""
    group_id, deduplication_id = given.get("MessageGroupId"), given.get("MessageDeduplicationId")
    if topic.is_fifo and not group_id:
        raise errors.InvalidParameter("The MessageGroupId parameter is required for FIFO topics")
    if not topic.is_fifo and deduplication_id is not None:
        raise errors.InvalidParameter(
            "MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type"
        )
    for name, value in (("MessageGroupId", group_id), ("MessageDeduplicationId", deduplication_id)):
        if value is not None and not _FIFO_ID.fullmatch(value):
            raise errors.InvalidParameter(
                f"{name} Reason: {name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
            )
    if topic.is_fifo and deduplication_id is None:
        if not topic.has_content_based_deduplication:
            raise errors.InvalidParameter(
                "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
            )
        deduplication_id = hashlib.sha256(body.encode()).hexdigest()
    return group_id or "", deduplication_id or ""

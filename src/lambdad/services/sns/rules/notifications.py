"""What subscribers get: the texts that are signed, the envelope for queues and HTTP endpoints, the event for functions.

Envelopes are JSON laid out as AWS lays it out, for those who compare or print it.

Source: SNS Developer Guide, "Verifying the signatures of Amazon SNS messages", "HTTP/HTTPS notification JSON format".
"""

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson

from lambdad.services.sns.rules import message_attributes
from lambdad.services.sns.rules.message_attributes import Attribute

NOTIFICATION: Final = "Notification"
SUBSCRIPTION_CONFIRMATION: Final = "SubscriptionConfirmation"
UNSUBSCRIBE_CONFIRMATION: Final = "UnsubscribeConfirmation"

PATH: Final = "/_lambdad/sns/"
"""What the paths of all links in messages begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What all envelopes of a published message have in them.

    Args:
        signature: base64; "" where messages are not signed, as those of FIFO topics are not.
        certificate: the file name of the certificate that verifies it.
        sequence_number: of FIFO topics; "" for others.
    """

    message_id: str
    topic_arn: str
    subject: str | None
    text: str
    timestamp: str
    attributes: Mapping[str, Attribute]
    signature_version: str = ""
    signature: str = ""
    certificate: str = ""
    sequence_number: str = ""


def timestamp(at_ms: int) -> str:
    """Write a time as messages have it: ``2019-01-02T12:45:07.000Z``."""
    second = datetime.datetime.fromtimestamp(at_ms // 1000, datetime.UTC)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def signed_text(members: Mapping[str, str | None]) -> bytes:
    """
    Write what is signed of a message: the members, sorted, name and value on a line each.

    Args:
        members: of a notification Message, MessageId, Subject, Timestamp, TopicArn, Type; of a confirmation Message, MessageId,
            SubscribeURL, Timestamp, Token, TopicArn, Type. Those that are None are left out.
    """
    return "".join(f"{name}\n{value}\n" for name, value in sorted(members.items()) if value is not None).encode()


def signed_text_of(notice: Notice) -> bytes:
    """Write what is signed of a notification."""
    return signed_text(
        {
            "Message": notice.text,
            "MessageId": notice.message_id,
            "Subject": notice.subject,
            "Timestamp": notice.timestamp,
            "TopicArn": notice.topic_arn,
            "Type": NOTIFICATION,
        }
    )


def certificate_url(endpoint: str, certificate: str) -> str:
    """Write the link to the certificate that verifies signatures."""
    return f"{endpoint}{PATH}{certificate}"


def unsubscribe_url(endpoint: str, subscription_arn: str) -> str:
    """Write the link that ends a subscription."""
    return f"{endpoint}{PATH}?Action=Unsubscribe&SubscriptionArn={subscription_arn}"


def subscribe_url(endpoint: str, topic_arn: str, token: str) -> str:
    """Write the link that confirms a subscription, or restores it."""
    return f"{endpoint}{PATH}?Action=ConfirmSubscription&TopicArn={quote(topic_arn, safe=':')}&Token={token}"


def envelope_begin(notice: Notice) -> str:
    """Write that part of an envelope which is the same for all subscribers; `envelope` adds the rest."""
    members: dict[str, str] = {"Type": NOTIFICATION, "MessageId": notice.message_id}
    if notice.sequence_number:
        members["SequenceNumber"] = notice.sequence_number
    members["TopicArn"] = notice.topic_arn
    if notice.subject is not None:
        members["Subject"] = notice.subject
    members |= {"Message": notice.text, "Timestamp": notice.timestamp}
    if notice.signature:
        members |= {"SignatureVersion": notice.signature_version, "Signature": notice.signature}
    return "{\n" + _lines(members)


def envelope(begin: str, notice: Notice, endpoint: str, subscription_arn: str) -> str:
    """
    Write the envelope of a notification.

    Args:
        begin: of `envelope_begin`.
        endpoint: what links begin with.
    """
    members = {"SigningCertURL": certificate_url(endpoint, notice.certificate)} if notice.signature else {}
    members["UnsubscribeURL"] = unsubscribe_url(endpoint, subscription_arn)
    end = ""
    if notice.attributes:
        listed = ",\n".join(
            f"    {_json(name)} : {_compact_json(value)}" for name, value in message_attributes.in_envelope(notice.attributes).items()
        )
        end = f',\n  "MessageAttributes" : {{\n{listed}\n  }}'
    return f"{begin},\n{_lines(members)}{end}\n}}"


def confirmation(members: Mapping[str, str]) -> str:
    """Write the envelope of a confirmation: its members in this order."""
    return "{\n" + _lines(members) + "\n}"


def event(notice: Notice, endpoint: str, subscription_arn: str) -> bytes:
    """Write the event that a function gets."""
    record: dict[str, Any] = {
        "Type": NOTIFICATION,
        "MessageId": notice.message_id,
        "TopicArn": notice.topic_arn,
        "Subject": notice.subject,
        "Message": notice.text,
        "Timestamp": notice.timestamp,
        "SignatureVersion": notice.signature_version,
        "Signature": notice.signature,
        "SigningCertUrl": certificate_url(endpoint, notice.certificate),
        "UnsubscribeUrl": unsubscribe_url(endpoint, subscription_arn),
        "MessageAttributes": message_attributes.in_envelope(notice.attributes),
    }
    return orjson.dumps(
        {
            "Records": [
                {
                    "EventSource": "aws:sns",
                    "EventVersion": "1.0",
                    "EventSubscriptionArn": subscription_arn,
                    "Sns": record,
                }
            ]
        }
    )


def _lines(members: Mapping[str, str]) -> str:
    return ",\n".join(f"  {_json(name)} : {_json(value)}" for name, value in members.items())


_json = json.JSONEncoder(ensure_ascii=False).encode
_compact_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

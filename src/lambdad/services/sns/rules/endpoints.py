"""What can subscribe: protocols, and the endpoints that go with them."""

import re
from typing import Final
from urllib.parse import urlsplit

from lambdad.services.sns import errors
from lambdad.services.sns.rules import names
from lambdad.services.sns.rules.nouns import Protocol, Topic

_REFUSED: Final = {
    "application": "mobile push notifications",
    "email": "e-mails",
    "email-json": "e-mails",
    "firehose": "to Firehose",
    "sms": "text messages",
}
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-f:.]+")
_PASSWORD = re.compile(r"^([a-zA-Z]+://[^/?#:@]*):[^/?#]*@")
_URL_CHARACTERS: Final = 2048


def checked(topic: Topic, protocol: str, endpoint: str) -> Protocol:
    """
    Check what is to subscribe to a topic.

    Raises:
        InvalidParameter: there is no such protocol, lambdad does not deliver by it, the endpoint does not go with it, or the topic
            is FIFO and the endpoint no queue.
    """
    if protocol in _REFUSED:
        raise errors.InvalidParameter(
            f"Amazon SNS does not support this protocol string: {protocol} (lambdad does not send {_REFUSED[protocol]})"
        )
    if protocol not in tuple(Protocol):
        raise errors.InvalidParameter(f"Amazon SNS does not support this protocol string: {protocol}")
    if not endpoint:
        raise errors.InvalidParameter("Endpoint")
    known = Protocol(protocol)
    if topic.is_fifo and known is not Protocol.SQS:
        raise errors.InvalidParameter("Invalid parameter: Endpoint Reason: Please use FIFO SQS queue")
    match known:
        case Protocol.SQS:
            _check_queue(topic, endpoint)
        case Protocol.LAMBDA:
            if names.parse_function(endpoint) is None:
                raise errors.InvalidParameter("Lambda endpoint ARN")
        case Protocol.HTTP | Protocol.HTTPS:
            _check_url(known, endpoint)
    return known


def _check_queue(topic: Topic, endpoint: str) -> None:
    queue = names.parse_queue(endpoint)
    if queue is None:
        raise errors.InvalidParameter("SQS endpoint ARN")
    if queue.is_fifo and not topic.is_fifo:
        raise errors.InvalidParameter("Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics")


def _check_url(protocol: Protocol, endpoint: str) -> None:
    if not endpoint.lower().startswith(f"{protocol}://"):
        raise errors.InvalidParameter("Endpoint must match the specified protocol")
    if not is_url(endpoint):
        raise errors.InvalidParameter("Endpoint")


def is_url(text: str) -> bool:
    """Say whether a message can be posted to a URL: with a host, without control characters or spaces, not overlong."""
    if len(text) > _URL_CHARACTERS or not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return parts.scheme.lower() in ("http", "https") and host is not None and _HOST.fullmatch(host) is not None


def shown(endpoint: str) -> str:
    """Return an endpoint as it may be shown: a URL without its password."""
    return _PASSWORD.sub(r"\1:****@", endpoint)

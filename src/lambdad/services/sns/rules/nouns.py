"""Topics and subscriptions as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from lambdad.services.sns.rules import limits
from lambdad.services.sns.rules.filter_policies import Filter

PENDING_CONFIRMATION: Final = "PendingConfirmation"
"""What lists show in place of the ARN of a subscription that nobody has confirmed."""


class State(StrEnum):
    """Whether a subscription gets messages: only a confirmed one does. A deleted one can be restored for two days."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    DELETED = "deleted"


class Protocol(StrEnum):
    """How messages reach a subscriber."""

    HTTP = "http"
    HTTPS = "https"
    LAMBDA = "lambda"
    SQS = "sqs"

    @property
    def is_http(self) -> bool:
        """Say whether the endpoint is a URL, whose owner must confirm the subscription."""
        return self in (Protocol.HTTP, Protocol.HTTPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic.

    Args:
        attributes: those that were set, as they were set.
        sequence: the last sequence number that was given out, less `limits.FIRST_SEQUENCE_NUMBER`, when this was read.
    """

    arn: str
    account: str
    region: str
    name: str
    attributes: Mapping[str, str]
    tags: Mapping[str, str]
    sequence: int = 0

    @property
    def is_fifo(self) -> bool:
        """Say whether messages keep their order in their groups."""
        return self.name.endswith(".fifo")

    @property
    def has_content_based_deduplication(self) -> bool:
        """Say whether a message without an id for de-duplication gets one from its body."""
        return self.attributes.get("ContentBasedDeduplication") == "true"

    @property
    def deduplicates_by_group(self) -> bool:
        """Say whether ids for de-duplication count within a group, else within the topic."""
        return self.attributes.get("FifoThroughputScope") == "MessageGroup"

    @property
    def signature_version(self) -> str:
        """How messages are signed: "1" is SHA1withRSA, "2" SHA256withRSA."""
        return self.attributes.get("SignatureVersion", "1")

    @property
    def message_bytes_max(self) -> int:
        """How large a message may be."""
        return int(self.attributes.get("MaximumMessageSize", limits.MESSAGE_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription.

    Args:
        owner: the account that subscribed.
        principal: the ARN of who did.
        token: confirms it, or restores it after it was deleted; "" if neither can be.
        changed_at_ms: when the token was given out.
        confirmed_by_owner: whether who confirmed it has proven to be the owner (ConfirmationWasAuthenticated).
        unsubscribes_by_owner: whether only the owner may unsubscribe (AuthenticateOnUnsubscribe).
        endpoint_of_links: how who subscribed reaches lambdad, "http://127.0.0.1:4566": links in messages begin so.
        attributes: those that were set, as they were set.
        filter: of attributes["FilterPolicy"], compiled.
    """

    arn: str
    topic_arn: str
    owner: str
    principal: str
    protocol: Protocol
    endpoint: str
    state: State
    token: str
    changed_at_ms: int
    endpoint_of_links: str
    confirmed_by_owner: bool = False
    unsubscribes_by_owner: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)
    filter: Filter | None = field(default=None, compare=False)

    @property
    def is_raw(self) -> bool:
        """Say whether messages come without an envelope."""
        return self.attributes.get("RawMessageDelivery") == "true"

    @property
    def arn_shown(self) -> str:
        """What lists show as its ARN."""
        return self.arn if self.state is State.CONFIRMED else PENDING_CONFIRMATION

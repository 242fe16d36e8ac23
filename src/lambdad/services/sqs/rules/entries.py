"""What is in memory of a message: as much as it takes to decide who receives it, and when."""

from enum import IntEnum, auto
from typing import NamedTuple

from lambdad.services.sqs.rules.messages import Message


class State(IntEnum):
    """Where a message is in its life. A number, since it is an index of counters."""

    READY = auto()  # may be received; in a FIFO queue as soon as its group lets it
    DELAYED = auto()  # not yet visible, and never was
    IN_FLIGHT = auto()  # received, and neither deleted nor visible again
    MOVING = auto()  # on its way to another queue
    GONE = auto()  # deleted, moved or expired


class Entry:
    """One message of a queue; its queue's index changes it, nobody else.

    Args:
        seq: its place in the queue, never used twice; in the order of sending.
        due_at_ms: when it is visible, or is again.
        receives: how often it was received, in other queues too.
        receives_before: how often of these before it came to this queue.
        first_received_at_ms: 0 if it never was.
        group: of a FIFO queue; "" else.
        message: what was sent, while it is kept in memory.
    """

    __slots__ = (
        "due_at_ms",
        "first_received_at_ms",
        "group",
        "message",
        "receives",
        "receives_before",
        "sent_at_ms",
        "seq",
        "state",
    )

    def __init__(
        self,
        seq: int,
        sent_at_ms: int,
        due_at_ms: int,
        group: str = "",
        *,
        receives: int = 0,
        receives_before: int = 0,
        first_received_at_ms: int = 0,
        message: Message | None = None,
    ) -> None:
        self.seq = seq
        self.sent_at_ms = sent_at_ms
        self.due_at_ms = due_at_ms
        self.receives = receives
        self.receives_before = receives_before
        self.first_received_at_ms = first_received_at_ms
        self.group = group
        self.message = message
        self.state = State.GONE


class Received(NamedTuple):
    """One receive of a message, as it was then: the entry may have been received again since."""

    entry: Entry
    seq: int
    sent_at_ms: int
    received_at_ms: int
    until_ms: int
    receives: int
    first_received_at_ms: int
    message: Message | None


class Taken(NamedTuple):
    """What a receive comes to."""

    received: list[Received]
    dead: list[Entry]  # received too often: to be moved to the dead-letter queue; nobody receives them meanwhile
    expired: list[Entry]  # older than the queue keeps them, and out of the index


class Cache:
    """How much of messages is kept in memory, of all queues together."""

    __slots__ = ("limit_bytes", "used_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def keep(self, message: Message) -> Message | None:
        """Return the message if there is room for it."""
        size = message.memory_bytes
        if self.used_bytes + size > self.limit_bytes:
            return None
        self.used_bytes += size
        return message

    def drop(self, entry: Entry) -> None:
        """Make room again."""
        if entry.message is not None:
            self.used_bytes -= entry.message.memory_bytes
            entry.message = None

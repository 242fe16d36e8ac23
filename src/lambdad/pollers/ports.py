"""What pollers need: a queue to work off, and a function to run. Filled by the service that owns the mappings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias


class SourceFailed(Exception):
    """A call to a source has failed, and may succeed later; the text is shown to the mapping's owner."""


class Queue(Protocol):
    """One queue, by SQS's public operations. Every method raises `SourceFailed`."""

    async def visibility_timeout_s(self) -> int:
        """Give the queue's own visibility timeout."""
        ...

    async def receive(self, count: int, wait_s: int, visibility_s: int | None) -> Sequence[Mapping[str, Any]]:
        """
        Receive messages with all their attributes.

        Args:
            count: 1..10.
            wait_s: for the first message, 0..20.
            visibility_s: None: the queue's own.

        Returns:
            ReceiveMessage's ``Messages``.

        Cancellation: no message is received, or those that are come again by their visibility timeout.
        """
        ...

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[int]:
        """Delete up to ten messages; give the places of those that could not be deleted and should be tried again."""
        ...

    async def give_back(self, receipt_handles: Sequence[str]) -> None:
        """Make up to ten messages visible again at once."""
        ...


@dataclass(frozen=True, slots=True)
class Answered:
    """The function has returned something."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class FunctionFailed:
    """The function has raised an error, timed out or died."""


@dataclass(frozen=True, slots=True)
class NotRun:
    """The function did not run, or nobody knows whether it did: throttled, no worker. It may later."""

    reason: str


Result: TypeAlias = Answered | FunctionFailed | NotRun


class Runner(Protocol):
    """One function, as a mapping names it."""

    async def run(self, payload: bytes) -> Result:
        """Invoke the function synchronously. Takes as long as the function does."""
        ...

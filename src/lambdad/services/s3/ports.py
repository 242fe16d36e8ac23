"""What S3 needs of its neighbours, as it wants to see it."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from lambdad.services.ports import Neighbours
from lambdad.services.s3.rules.event_records import Happening
from lambdad.store.connection import Connection

__all__ = ["PRINCIPAL", "Announcer", "Neighbours", "NewId"]

PRINCIPAL: Final = "s3.amazonaws.com"

NewId = Callable[[], str]
"""Makes an id nobody can guess: 32 letters and digits."""


class Announcer(Protocol):
    """Who tells others of what happened to objects."""

    def announce(self, connection: Connection, bucket: Any, happening: Happening) -> None:
        """Write down, in the transaction that changes the object, whom to tell."""
        ...

    def wake(self) -> None:
        """The transaction is committed: tell them."""
        ...

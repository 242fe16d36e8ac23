"""What the store needs from a database: sessions that begin, mark and end transactions, used by one thread each."""

from typing import Protocol

from lambdad.store.connection import Executor


class Session(Executor, Protocol):
    """
    One connection to a database.

    Every method maps the driver's exceptions to `StoreError`. Not thread safe: the thread that opened a session uses and closes it.
    """

    @property
    def in_transaction(self) -> bool:
        """False where a transaction was begun and the database itself has thrown it away since."""
        ...

    def begin_write(self) -> None:
        """Begin a transaction that may write; where only one may at a time, wait for it."""
        ...

    def begin_read(self) -> None:
        """Begin a transaction that sees one state of the database throughout, and may not write."""
        ...

    def begin_migration(self) -> None:
        """Begin a transaction while no other process migrates; wait for it for minutes."""
        ...

    def define(self, statement: str) -> None:
        """Run a statement of a migration, as it is."""
        ...

    def mark(self) -> None:
        """Set the savepoint."""
        ...

    def keep(self) -> None:
        """Release the savepoint."""
        ...

    def back(self) -> None:
        """Undo what was done since the savepoint, and release it."""
        ...

    def commit(self) -> None:
        """Make the transaction durable. Raising means: it must not be acknowledged."""
        ...

    def rollback(self) -> None:
        """End the transaction without a trace; does nothing if there is none, raises nothing."""
        ...

    def close(self) -> None:
        """Close the connection; raises nothing."""
        ...


class Engine(Protocol):
    """A database that can be connected to."""

    @property
    def group_max(self) -> int:
        """How many writes may share a commit."""
        ...

    def open_writer(self) -> Session:
        """Connect for writing; create the database where that is the engine's business."""
        ...

    def open_reader(self) -> Session:
        """Connect for reading only."""
        ...

"""How calls become transactions: writes in groups that share one commit, reads one by one. Runs in the store's threads.

Ordering of a group: begin; each work in a savepoint of its own; commit; only then is anybody told. What a work raises is its caller's,
and undoes that work alone. What the database raises at begin, at a savepoint or at commit is everybody's, and nothing of the group is
acknowledged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lambdad.kit.threads import Call
from lambdad.store.connection import Connection
from lambdad.store.engine import Engine, Session
from lambdad.store.errors import Unavailable


@dataclass(slots=True)
class Desk:
    """What a thread of the store owns, and what it has done; the numbers are read from other threads."""

    session: Session
    connection: Connection
    transactions: int = 0
    calls: int = 0
    calls_failed: int = 0
    group_max: int = 0


class Writer:
    """Serve groups of writes. The job of one thread."""

    def __init__(self, engine: Engine, prepare: Callable[[Session], None]) -> None:
        self._engine = engine
        self._prepare = prepare
        self.desks: list[Desk] = []

    def open(self) -> Desk:
        """Connect, and prepare the database."""
        session = self._engine.open_writer()
        try:
            self._prepare(session)
        except BaseException:
            session.close()
            raise
        self.desks.append(desk := Desk(session, Connection(session)))
        return desk

    def serve(self, desk: Desk, calls: Sequence[Call[Connection]]) -> None:
        """Run works in one transaction; raising fails all that have not failed already."""
        done = 0
        try:
            desk.session.begin_write()
            for call in calls:
                done += _attempt_marked(desk, call)
            desk.session.commit()
        except BaseException:
            done = 0
            desk.session.rollback()
            raise
        else:
            desk.transactions += 1
        finally:
            desk.calls += len(calls)
            desk.calls_failed += len(calls) - done
            desk.group_max = max(desk.group_max, len(calls))

    def close(self, desk: Desk) -> None:
        """Disconnect."""
        desk.session.close()


class Reader:
    """Serve reads, each with a snapshot of its own. The job of a few threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.desks: list[Desk] = []

    def open(self) -> Desk:
        """Connect."""
        session = self._engine.open_reader()
        self.desks.append(desk := Desk(session, Connection(session)))
        return desk

    def serve(self, desk: Desk, calls: Sequence[Call[Connection]]) -> None:
        """Run each work in a transaction that is thrown away."""
        for call in calls:
            desk.session.begin_read()
            try:
                done = _attempt(desk, call)
            finally:
                desk.session.rollback()
            desk.transactions += 1
            desk.calls += 1
            desk.calls_failed += not done

    def close(self, desk: Desk) -> None:
        """Disconnect."""
        desk.session.close()


def _attempt(desk: Desk, call: Call[Connection]) -> bool:
    """Do a work; True means that it is to be kept."""
    desk.connection.failure = None
    if not call.attempt(desk.connection):
        return False
    if desk.connection.failure is not None:  # the work swallowed it; see `connection`
        call.fail(desk.connection.failure.again())
        return False
    return True


def _attempt_marked(desk: Desk, call: Call[Connection]) -> bool:
    desk.session.mark()
    if _attempt(desk, call):
        desk.session.keep()
        return True
    if not desk.session.in_transaction:
        failure = desk.connection.failure or Unavailable("the database ended the transaction by itself")
        raise failure.again()
    desk.session.back()
    return False

"""The database, as the rest of the program sees it: `read` and `write` take a function of a `Connection`.

    async with open_database("sqlite:///var/lib/lambdad/lambdad.db", migrations=[...], now_ms=clock) as database:
        await database.write(lambda connection: connection.run(queries.insert_function, name="f"))
        rows = await database.read(lambda connection: connection.all(queries.all_functions))

Writes that are under way at the same time share one commit; each is told of its success only when the commit is on the disk.
"""

import urllib.parse
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lambdad.kit.threads import Crew, CrewClosed
from lambdad.store import migrations as migrations_
from lambdad.store.connection import Connection, Row, Value
from lambdad.store.engine import Engine, Session
from lambdad.store.errors import Closed, WrongQuery
from lambdad.store.migrations import Migrations
from lambdad.store.transactions import Desk, Reader, Writer

__all__ = ["Connection", "Database", "Row", "Statistics", "Value", "open_database", "sqlite_url"]

Result = TypeVar("Result")

READERS = 2
PENDING_MAX = 10_000  # writes, and as many reads, that may be under way; a further caller waits
BUSY_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 30.0  # PostgreSQL only; SQLite is in our own process


@dataclass(frozen=True, slots=True)
class Statistics:
    """For debugging, introspection and metrics. Counted since the database was opened."""

    commits: int
    writes: int
    writes_failed: int
    reads: int
    reads_failed: int
    group_mean: float  # writes in a commit
    group_max: int
    writes_pending: int
    reads_pending: int
    pending_max: int


class Database:
    """
    Read and write rows. Made by `open_database`.

    When `pending_max` writes (or reads) are under way, a further caller waits for room, in order of arrival.
    """

    def __init__(self, writer: Writer, writers: Crew[Desk, Connection], reader: Reader, readers: Crew[Desk, Connection]) -> None:
        self._writer = writer
        self._writers = writers
        self._reader = reader
        self._readers = readers

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """
        Run `work` on a snapshot of the database, in a thread. It sees every write that was acknowledged before.

        Args:
            work: may be dropped or be run once; must be done with the connection when it returns.

        Raises:
            StoreError: the database's failure.
            BaseException: what the work raised.

        Cancellation: the result is dropped.
        """
        try:
            return await self._readers.call(work)
        except CrewClosed as error:
            raise Closed("the database is closed") from error

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """
        Run `work` as a transaction, in a thread, and return its result after the commit is durable.

        Other writes share the commit; they see each other's effects in order, and none is undone with another. Works run one after
        the other, so a slow one holds all others up: compute before, not inside.

        Args:
            work: is run once, or not at all when its caller was cancelled; must be done with the connection when it returns.

        Raises:
            Unavailable: it is not known whether the write happened.
            StoreError: the database's failure; nothing of this write is there.
            BaseException: what the work raised; nothing of this write is there.

        Cancellation: if the writer has the work already, it is done and committed all the same; else it is dropped.
        """
        try:
            return await self._writers.call(work)
        except CrewClosed as error:
            raise Closed("the database is closed") from error

    def statistics(self) -> Statistics:
        """Count what was done and what is under way."""
        commits = sum(desk.transactions for desk in self._writer.desks)
        failed = sum(desk.calls_failed for desk in self._writer.desks)
        calls = sum(desk.calls for desk in self._writer.desks)
        return Statistics(
            commits=commits,
            writes=calls - failed,
            writes_failed=failed,
            reads=sum(desk.calls - desk.calls_failed for desk in self._reader.desks),
            reads_failed=sum(desk.calls_failed for desk in self._reader.desks),
            group_mean=calls / commits if commits else 0.0,
            group_max=max((desk.group_max for desk in self._writer.desks), default=0),
            writes_pending=self._writers.statistics().pending,
            reads_pending=self._readers.statistics().pending,
            pending_max=self._writers.statistics().pending_max,
        )


@asynccontextmanager
async def open_database(
    url: str,
    *,
    migrations: Sequence[Migrations] = (),
    now_ms: Callable[[], int],
    readers: int = READERS,
    pending_max: int = PENDING_MAX,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
) -> AsyncIterator[Database]:
    """
    Open a database, bring its schema up to date, and close it in the end.

    Args:
        url: "sqlite:///absolute/path" or "postgresql://...", as libpq takes it.
        migrations: what this program needs, from `migrations.load_migrations`; in this order.
        now_ms: Unix time in milliseconds, for the record of migrations.
        readers: threads that read, 1 or more.
        pending_max: 1 or more; beyond, callers wait.
        busy_timeout_s: how long to wait for another's lock, before `Busy`.
        statement_timeout_s: how long one statement may take in PostgreSQL, before `Busy`.

    Raises:
        MigrationRefused: the schema and the program do not fit.
        Unavailable: the database cannot be reached.

    Resource handling: leaving the context refuses new calls (`Closed`), finishes those made before, and closes all connections.
    """
    engine = _engine(url, busy_timeout_s, statement_timeout_s)

    def prepare(session: Session) -> None:
        migrations_.migrate(session, migrations, now_ms)

    writer, reader = Writer(engine, prepare), Reader(engine)
    async with (
        Crew("store-writer", writer, threads=1, take_max=engine.group_max, pending_max=pending_max) as writers,
        Crew("store-reader", reader, threads=readers, take_max=1, pending_max=pending_max) as crew,
    ):
        yield Database(writer, writers, reader, crew)


def sqlite_url(path: Path) -> str:
    """Write the URL of a SQLite file, which need not be there yet."""
    return "sqlite://" + urllib.parse.quote(str(path.absolute()))


def _engine(url: str, busy_timeout_s: float, statement_timeout_s: float) -> Engine:
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/"):
        from lambdad.store.sqlite import SqliteEngine

        return SqliteEngine(Path("/" + urllib.parse.unquote(rest).lstrip("/")), busy_timeout_s=busy_timeout_s)
    if scheme in ("postgresql", "postgres"):
        # Imported here: loading the driver costs more than all else at start, and it is an extra.
        from lambdad.store.postgres import PostgresEngine

        return PostgresEngine(url, busy_timeout_s=busy_timeout_s, statement_timeout_s=statement_timeout_s)
    raise WrongQuery(f"a database is sqlite:///absolute/path or postgresql://..., not {scheme}:")

"""PostgreSQL, through psycopg 3 used synchronously in the store's threads.

A transaction is one pipeline: what answers nothing (savepoints) travels with the statement after it, so a work costs one round trip for
each of its statements and none for being a transaction of its own.

A lost connection fails the transaction it was lost in; the next one connects again. Beginning is tried twice, because nothing has been
done yet when a connection turns out to have died while it was idle.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from lambdad.store import errors
from lambdad.store.connection import Value
from lambdad.store.errors import StoreError
from lambdad.store.queries import Statement
from lambdad.store.sql_text import Dialect

try:
    import psycopg
    from psycopg import conninfo, pq
    from psycopg.abc import Buffer
    from psycopg.adapt import Loader
    from psycopg.types.numeric import Int8Dumper
except ImportError as missing:
    raise errors.Unavailable("PostgreSQL needs lambdad's extra: pip install 'lambdad[postgres]'") from missing

logger = logging.getLogger(__name__)

GROUP_MAX = 64  # writes in one commit: PostgreSQL keeps track of up to 64 savepoints that wrote cheaply, of more it does not
CONNECT_TIMEOUT_S = 5
PREPARE_AFTER = 3  # executions of a statement; then the server keeps its plan
ERRORS_READ_MAX = 100  # after one failure; a connection that goes on failing is given up
MIGRATION_WAIT_S = 600
MIGRATION_LOCK = int.from_bytes(b"lambdad", "big")  # the key of the advisory lock

_BY_STATE: Mapping[str, type[StoreError]] = {
    "23505": errors.UniqueViolated,
    "25006": errors.WrongQuery,  # a write in a read
    "40001": errors.Busy,  # serialization failure
    "40P01": errors.Busy,  # deadlock
    "42804": errors.WrongValue,  # the column has another type
    "53100": errors.DiskFull,
    "55P03": errors.Busy,  # lock timeout
    "57014": errors.Busy,  # statement timeout
}
_BY_STATE_CLASS: Mapping[str, type[StoreError]] = {
    "08": errors.Unavailable,  # connection
    "22": errors.WrongValue,  # data
    "23": errors.ConstraintViolated,
    "28": errors.Unavailable,  # who we say we are
    "53": errors.Unavailable,  # resources
    "57": errors.Unavailable,  # shutdown
    "58": errors.Unavailable,  # I/O
    "XX": errors.Corrupt,
}


@contextmanager
def map_errors() -> Iterator[None]:
    """Let no exception of the driver out."""
    try:
        yield
    except psycopg.Error as error:
        raise _mapped(error) from error
    except UnicodeEncodeError as error:  # a lone surrogate
        raise errors.WrongValue(str(error)) from error


def _mapped(error: psycopg.Error) -> StoreError:
    state = error.sqlstate
    if state is None:
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        family: type[StoreError] = errors.Unavailable if lost else errors.WrongQuery
        if isinstance(error, psycopg.DataError):
            family = errors.WrongValue
        return family(str(error).strip() or type(error).__name__)
    family = _BY_STATE.get(state) or _BY_STATE_CLASS.get(state[:2], errors.WrongQuery)
    return family(f"{state} {type(error).__name__}: {str(error).strip()}")


class PostgresEngine:
    """
    A database of a PostgreSQL server.

    Args:
        url: as libpq takes it; what it says about timeouts and keep-alive goes before our defaults.
        busy_timeout_s: how long to wait for another's lock.
        statement_timeout_s: how long a statement may take; also how long a silent server is waited for.
    """

    group_max = GROUP_MAX

    def __init__(self, url: str, *, busy_timeout_s: float, statement_timeout_s: float) -> None:
        with map_errors():
            given = conninfo.conninfo_to_dict(url)
        statement_ms = int(statement_timeout_s * 1000)
        defaults = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "lambdad",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": statement_ms,
        }
        self._parameters: dict[str, Any] = {**defaults, **given, "client_encoding": "UTF8"}
        self._settings = {
            "statement_timeout": statement_ms,
            "lock_timeout": int(busy_timeout_s * 1000),
            "idle_in_transaction_session_timeout": statement_ms,  # lets go of our locks when this process hangs
        }

    def open_writer(self) -> "PostgresSession":
        """Connect for writing."""
        return PostgresSession(self._connect, "BEGIN")

    def open_reader(self) -> "PostgresSession":
        """Connect for reading only."""
        return PostgresSession(self._connect, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    def _connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        with map_errors():
            if not psycopg.Pipeline.is_supported():
                raise errors.Unavailable("PostgreSQL needs libpq 14 or newer")
            connection = psycopg.connect(**self._parameters, autocommit=True, prepare_threshold=PREPARE_AFTER)
            try:
                self._set_up(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _set_up(self, connection: "psycopg.Connection[tuple[Any, ...]]") -> None:
        connection.adapters.register_dumper(int, Int8Dumper)  # not the smallest type that fits: an int is a BIGINT
        connection.adapters.register_loader("bool", _BoolLoader)
        connection.adapters.register_loader("numeric", _NumericLoader)
        for name, value in self._settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
        row = connection.execute("SELECT current_setting('synchronous_commit'), current_setting('fsync')").fetchone()
        assert row is not None
        if row[0] == "off":
            connection.execute("SET synchronous_commit = on")
        if row[1] == "off":
            logger.warning("store.postgres.fsync_off what_is_acknowledged_may_be_lost=true")


class PostgresSession:
    """One connection at a time to the server."""

    dialect = Dialect.POSTGRES

    def __init__(self, connect: "Callable[[], psycopg.Connection[tuple[Any, ...]]]", begin: str) -> None:
        self._connect = connect
        self._begin_text = begin
        self._adopt(connect())
        self._pipeline: psycopg.Pipeline | None = None
        self._stack = ExitStack()  # holds the pipeline of the transaction under way

    @property
    def in_transaction(self) -> bool:
        """False where the connection was lost."""
        status = self._connection.pgconn.transaction_status
        return not self._connection.broken and status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)

    def begin_write(self) -> None:
        """Begin with READ COMMITTED: works see what other processes commit in between."""
        self._begin(self._begin_text)

    def begin_read(self) -> None:
        """Begin a snapshot; it is taken at the first statement."""
        self._begin(self._begin_text)

    def begin_migration(self) -> None:
        """Begin while holding the advisory lock, with patience."""
        self._begin("BEGIN")
        with self._done():
            for name in ("statement_timeout", "lock_timeout"):
                self._command("SELECT set_config(%s, %s, true)", (name, str(MIGRATION_WAIT_S * 1000)))
            self._command("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))

    def define(self, statement: str) -> None:
        """Run a statement of a migration."""
        with self._done():
            self._command(statement)

    def mark(self) -> None:
        """Set the savepoint, with the next statement."""
        with map_errors():
            self._command("SAVEPOINT work")

    def keep(self) -> None:
        """Release the savepoint, with the next statement."""
        with map_errors():
            self._command("RELEASE work")

    def back(self) -> None:
        """Undo what was done since the savepoint, and release it."""
        with self._done():
            self._command("ROLLBACK TO work")
            self._command("RELEASE work")

    def commit(self) -> None:
        """Make the transaction durable: returns after the server has said so."""
        with map_errors():
            cursor = self._command("COMMIT")
            self._leave_pipeline()
            if cursor.statusmessage != "COMMIT":  # it answers ROLLBACK where the transaction had failed before
                raise errors.Unavailable(f"the commit was answered with {cursor.statusmessage}")

    def rollback(self) -> None:
        """End the transaction without a trace."""
        try:
            if self._pipeline is not None:
                self._rollback_in_pipeline()
            if not self._connection.closed and self._connection.info.transaction_status != pq.TransactionStatus.IDLE:
                self._command("ROLLBACK")  # that of the pipeline was skipped, because something before it had failed
        except psycopg.Error:  # a connection that cannot even do that is given up; the server rolls back when it is gone
            self._connection.close()

    def close(self) -> None:
        """Close the connection."""
        self.rollback()
        self._connection.close()

    def fetch(self, statement: Statement, values: Mapping[str, Value]) -> tuple[Sequence[str], Sequence[Sequence[Value]]]:
        """Run a statement and return column names and all rows."""
        with self._done():
            self._cursor.execute(statement.text, values)
        if self._cursor.description is None:
            return (), ()
        with map_errors():
            return [column.name for column in self._cursor.description], self._cursor.fetchall()

    def change(self, statement: Statement, values: Mapping[str, Value]) -> int:
        """Run a statement and return how many rows it changed."""
        with self._done():
            self._cursor.execute(statement.text, values)
        return max(self._cursor.rowcount, 0)

    def change_many(self, statement: Statement, values: Sequence[Mapping[str, Value]]) -> int:
        """Run a statement once for each set of values and return how many rows were changed together."""
        with self._done():
            self._cursor.executemany(statement.text, values)
        return max(self._cursor.rowcount, 0)

    def _begin(self, text: str) -> None:
        if not self._connection.closed:
            try:
                self._begin_once(text)
                return
            except errors.Unavailable:
                self.rollback()
                if not self._connection.closed:
                    raise
        self._adopt(self._connect())
        self._begin_once(text)

    def _adopt(self, connection: "psycopg.Connection[tuple[Any, ...]]") -> None:
        self._connection = connection
        # Two that are used over and over: making one costs as much as sending a statement.
        self._commands, self._cursor = connection.cursor(), connection.cursor()

    def _begin_once(self, text: str) -> None:
        with map_errors():
            self._pipeline = self._stack.enter_context(self._connection.pipeline())
            self._command(text)
            self._sync()

    def _command(self, text: str, values: Mapping[str, Value] | Sequence[Value] | None = None) -> "psycopg.Cursor[tuple[Any, ...]]":
        """Send a statement; it has been done, or has failed, at the end of `_done`."""
        return self._commands.execute(text, values, prepare=False)

    @contextmanager
    def _done(self) -> Iterator[None]:
        """Wait for what is sent inside, and leave the pipeline empty also when it fails."""
        with map_errors():
            try:
                yield
                self._sync()
            except psycopg.Error:
                self._sync_until_quiet()
                raise

    def _sync_until_quiet(self) -> None:
        # The first error is raised as soon as it arrives, be there more on the way; until the last has been read, the server's word
        # on the transaction has not.
        for _ in range(ERRORS_READ_MAX):
            if self._connection.closed:
                return
            try:
                self._sync()
            except psycopg.Error:
                continue
            return
        self._connection.close()

    def _sync(self) -> None:
        assert self._pipeline is not None
        self._pipeline.sync()

    def _rollback_in_pipeline(self) -> None:
        try:
            self._command("ROLLBACK")
            self._leave_pipeline()
        except psycopg.Error:  # perhaps only that of a statement before
            self._leave_pipeline()

    def _leave_pipeline(self) -> None:
        """Wait for everything that was sent, and let the pipeline go, even when that raises."""
        self._pipeline = None
        self._stack.close()


class _BoolLoader(Loader):
    """SQLite has no booleans; a comparison is 0 or 1 in both."""

    def load(self, data: Buffer) -> int:
        return int(bytes(data) == b"t")


class _NumericLoader(Loader):
    """Sums of integers are `numeric`; give back an int where it is one."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)

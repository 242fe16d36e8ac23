"""SQLite: one file in WAL mode, where a commit that returns is on the disk.

``synchronous=FULL`` makes each commit fsync the log; the directory's entry of a new file is fsynced here. No statement of Python's
own is ever added (``isolation_level=None``): transactions begin and end where this module says so.
"""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lambdad.store import errors
from lambdad.store.connection import Value
from lambdad.store.errors import StoreError
from lambdad.store.queries import Statement
from lambdad.store.sql_text import Dialect

GROUP_MAX = 512  # writes in one commit; bounds how long the first of them waits for the last
STATEMENTS_CACHED = 256
CACHE_KIB = 8 * 1024  # of pages, for each connection; SQLite's default is 2 MiB
LOG_BYTES_KEPT = 64 * 1024 * 1024  # the log file is cut back to this after a checkpoint
MIGRATION_WAIT_S = 600

_BY_CODE: Mapping[int, type[StoreError]] = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: errors.UniqueViolated,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: errors.UniqueViolated,
    sqlite3.SQLITE_CONSTRAINT_ROWID: errors.UniqueViolated,
    3091: errors.WrongValue,  # SQLITE_CONSTRAINT_DATATYPE, which the module does not name
}
_BY_PRIMARY_CODE: Mapping[int, type[StoreError]] = {
    sqlite3.SQLITE_BUSY: errors.Busy,
    sqlite3.SQLITE_LOCKED: errors.Busy,
    sqlite3.SQLITE_INTERRUPT: errors.Busy,
    sqlite3.SQLITE_FULL: errors.DiskFull,
    sqlite3.SQLITE_IOERR: errors.Unavailable,
    sqlite3.SQLITE_CANTOPEN: errors.Unavailable,
    sqlite3.SQLITE_PERM: errors.Unavailable,
    sqlite3.SQLITE_NOMEM: errors.Unavailable,
    sqlite3.SQLITE_PROTOCOL: errors.Unavailable,
    sqlite3.SQLITE_CORRUPT: errors.Corrupt,
    sqlite3.SQLITE_NOTADB: errors.Corrupt,
    sqlite3.SQLITE_CONSTRAINT: errors.ConstraintViolated,
    sqlite3.SQLITE_MISMATCH: errors.WrongValue,
    sqlite3.SQLITE_TOOBIG: errors.WrongValue,
}


@contextmanager
def map_errors() -> Iterator[None]:
    """Let no exception of the driver out."""
    try:
        yield
    except sqlite3.Error as error:
        raise _mapped(error) from error
    except (OverflowError, UnicodeEncodeError) as error:  # an int beyond 64 bits, a lone surrogate
        raise errors.WrongValue(str(error)) from error


def _mapped(error: sqlite3.Error) -> StoreError:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    family = _BY_CODE.get(code) or _BY_PRIMARY_CODE.get(code & 0xFF, errors.WrongQuery)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return family(f"{name}: {error}")


class SqliteEngine:
    """
    The database in one file.

    Args:
        path: of the file; it is made, readable for its owner only, if it is not there. Its directory must be there.
        busy_timeout_s: how long to wait for a lock of another process.
    """

    group_max = GROUP_MAX

    def __init__(self, path: Path, *, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s

    def open_writer(self) -> "SqliteSession":
        """Connect for writing; create the file if needed."""
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise errors.Unavailable(f"{self._path}: {error.strerror}") from error
        session = SqliteSession(self._path, self._busy_timeout_s)
        try:
            session.use_log(self._busy_timeout_s)
            _sync_directory(self._path.parent)
        except BaseException:
            session.close()
            raise
        return session

    def open_reader(self) -> "SqliteSession":
        """Connect for reading only."""
        session = SqliteSession(self._path, self._busy_timeout_s)
        session.define("PRAGMA query_only = ON")
        return session


class SqliteSession:
    """One connection to the file."""

    dialect = Dialect.SQLITE

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self._busy_timeout_s = busy_timeout_s
        with map_errors():
            self._connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, cached_statements=STATEMENTS_CACHED)
        try:
            with map_errors():
                for setting in (
                    "synchronous = FULL",
                    "fullfsync = ON",  # macOS: fsync alone does not reach the disk
                    "foreign_keys = ON",
                    "case_sensitive_like = ON",  # as in PostgreSQL
                    "temp_store = MEMORY",
                    f"cache_size = -{CACHE_KIB}",
                    f"journal_size_limit = {LOG_BYTES_KEPT}",
                ):
                    self._connection.execute(f"PRAGMA {setting}").close()
        except BaseException:
            self.close()
            raise

    @property
    def in_transaction(self) -> bool:
        """False where SQLite has rolled back by itself (disk full, I/O error, no memory)."""
        return self._connection.in_transaction

    def use_log(self, timeout_s: float) -> None:
        """Turn the write-ahead log on; of two processes that do so at once one is told to wait, whatever its timeout."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                with map_errors():
                    (mode,) = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
            except errors.Busy:
                if time.monotonic() >= deadline_s:
                    raise
                time.sleep(0.01)
                continue
            if mode != "wal":
                raise errors.Unavailable(f"the file system allows no write-ahead log (journal mode {mode})")
            return

    def begin_write(self) -> None:
        """Begin as the only writer."""
        with map_errors():
            self._connection.execute("BEGIN IMMEDIATE")

    def begin_read(self) -> None:
        """Begin a snapshot; it is taken at the first statement."""
        with map_errors():
            self._connection.execute("BEGIN")

    def begin_migration(self) -> None:
        """Begin as the only writer, with patience."""
        with map_errors():
            self._connection.execute(f"PRAGMA busy_timeout = {MIGRATION_WAIT_S * 1000}")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout_s * 1000)}")

    def define(self, statement: str) -> None:
        """Run a statement of a migration, or a setting."""
        with map_errors():
            self._connection.execute(statement)

    def mark(self) -> None:
        """Set the savepoint."""
        with map_errors():
            self._connection.execute("SAVEPOINT work")

    def keep(self) -> None:
        """Release the savepoint."""
        with map_errors():
            self._connection.execute("RELEASE work")

    def back(self) -> None:
        """Undo what was done since the savepoint, and release it."""
        with map_errors():
            self._connection.execute("ROLLBACK TO work")
            self._connection.execute("RELEASE work")

    def commit(self) -> None:
        """Make the transaction durable: returns after the log has been fsynced."""
        with map_errors():
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """End the transaction without a trace."""
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:  # rolled back by SQLite itself in the meantime, for the very failure that brings us here
                pass

    def close(self) -> None:
        """Close the connection; the last one to close moves the log into the file."""
        try:
            self._connection.close()
        except sqlite3.Error:  # the checkpoint failed; the log stays and is read at the next opening
            pass

    def fetch(self, statement: Statement, values: Mapping[str, Value]) -> tuple[Sequence[str], Sequence[Sequence[Value]]]:
        """Run a statement and return column names and all rows."""
        with map_errors():
            cursor = self._connection.execute(statement.text, values)
            rows = cursor.fetchall()
        return [column[0] for column in cursor.description or ()], rows

    def change(self, statement: Statement, values: Mapping[str, Value]) -> int:
        """Run a statement and return how many rows it changed."""
        with map_errors():
            before = self._connection.total_changes
            cursor = self._connection.execute(statement.text, values)
            if cursor.description is not None:
                return len(cursor.fetchall())
            if cursor.rowcount < 0 and self._connection.total_changes != before:  # WITH ... INSERT, which Python does not count
                (changed,) = self._connection.execute("SELECT changes()").fetchone()
                return int(changed)
        return max(cursor.rowcount, 0)

    def change_many(self, statement: Statement, values: Sequence[Mapping[str, Value]]) -> int:
        """Run a statement once for each set of values and return how many rows were changed together."""
        with map_errors():
            return max(self._connection.executemany(statement.text, values).rowcount, 0)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

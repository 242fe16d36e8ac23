"""What a unit of work sees of the database: a connection inside a transaction that the store begins and ends.

Both databases behave alike here, down to one thing that only PostgreSQL demands: after a statement has failed, the work has failed.
Every further statement raises the same error, and nothing the work wrote is kept, even if it swallowed the error and returned.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from lambdad.store.errors import MissingParameter, StoreError, WrongQuery, WrongValue
from lambdad.store.queries import Query, Statement
from lambdad.store.sql_text import Dialect

Value: TypeAlias = str | int | float | bytes | None
"""What goes into and comes out of a column. A bool goes in as 0 or 1; enums go in as their str or int."""

_PLAIN = frozenset((str, int, float, bytes, type(None)))


class Row(Mapping[str, Any]):
    """A row of a result: ``row.name`` or ``row["name"]``; a mapping of column names to `Value`."""

    __slots__ = ("_positions", "_values")

    def __init__(self, positions: Mapping[str, int], values: Sequence[Value]) -> None:
        self._positions = positions
        self._values = values

    def __getitem__(self, column: str) -> Any:
        return self._values[self._positions[column]]

    def __getattr__(self, column: str) -> Any:
        try:
            return self._values[self._positions[column]]
        except KeyError:
            raise AttributeError(f"the row has no column {column!r}, but {', '.join(self._positions)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)

    def __reduce__(self) -> tuple[Any, ...]:
        return Row, (self._positions, self._values)

    def __repr__(self) -> str:
        return f"Row({', '.join(f'{column}={value!r}' for column, value in self.items())})"


class Executor(Protocol):
    """What an engine does for a connection. Every method maps the driver's exceptions to `StoreError`."""

    dialect: Dialect

    def fetch(self, statement: Statement, values: Mapping[str, Value]) -> tuple[Sequence[str], Sequence[Sequence[Value]]]:
        """Run a statement and return column names and all rows."""
        ...

    def change(self, statement: Statement, values: Mapping[str, Value]) -> int:
        """Run a statement and return how many rows it changed (or, if it answers with rows, how many)."""
        ...

    def change_many(self, statement: Statement, values: Sequence[Mapping[str, Value]]) -> int:
        """Run a statement once for each set of values and return how many rows were changed together."""
        ...


class Connection:
    """Run named queries in the transaction of the work that was given this connection, and not after it."""

    __slots__ = ("_executor", "_is_sqlite", "failure")

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._is_sqlite = executor.dialect is Dialect.SQLITE
        self.failure: StoreError | None = None  # the first failed statement of the current work; the store resets it

    def all(self, query: Query, /, **params: Any) -> list[Row]:
        """
        Run a query and return all its rows.

        Raises:
            MissingParameter, WrongValue: the query was not run.
            StoreError: it failed, and with it the whole work.
        """
        columns, rows = self._fetch(query, params)
        positions = {column: position for position, column in enumerate(columns)}
        return [Row(positions, row) for row in rows]

    def one(self, query: Query, /, **params: Any) -> Row | None:
        """
        Run a query that gives at most one row, and return that.

        Raises:
            WrongQuery: there was more than one row.
            StoreError: as in `all`.
        """
        columns, rows = self._fetch(query, params)
        if not rows:
            return None
        if len(rows) > 1:
            raise WrongQuery(f"{query.name} gave {len(rows)} rows where at most one was expected")
        return Row({column: position for position, column in enumerate(columns)}, rows[0])

    def run(self, query: Query, /, **params: Any) -> int:
        """Run a query and return how many rows it changed; raises as `all` does."""
        statement = self._statement(query)
        values = _bound(query, statement, params)
        try:
            return self._executor.change(statement, values)
        except StoreError as error:
            self.failure = error
            raise

    def many(self, query: Query, params: Sequence[Mapping[str, Any]], /) -> int:
        """Run a query once for each set of parameters and return how many rows were changed; raises as `all` does."""
        statement = self._statement(query)
        values = [_bound(query, statement, each) for each in params]
        try:
            return self._executor.change_many(statement, values) if values else 0
        except StoreError as error:
            self.failure = error
            raise

    def _fetch(self, query: Query, params: dict[str, Any]) -> tuple[Sequence[str], Sequence[Sequence[Value]]]:
        statement = self._statement(query)
        values = _bound(query, statement, params)
        try:
            return self._executor.fetch(statement, values)
        except StoreError as error:
            self.failure = error
            raise

    def _statement(self, query: Query) -> Statement:
        if self.failure is not None:
            raise self.failure.again()
        return query.sqlite if self._is_sqlite else query.postgres


def _bound(query: Query, statement: Statement, params: Mapping[str, Any]) -> Mapping[str, Value]:
    """Return the statement's parameters as plain values; further ones in `params` are left out."""
    values: dict[str, Value] = {}
    for name in statement.parameters:
        try:
            value = params[name]
        except KeyError:
            raise MissingParameter(f"query {query.name} needs a parameter {name!r}") from None
        values[name] = value if type(value) in _PLAIN else _plain(query, name, value)
        if (type(value) is str and "\0" in value) or value != value:
            raise WrongValue(f"query {query.name}, parameter {name!r}: neither NUL in text nor NaN can be stored")
    return values


def _plain(query: Query, name: str, value: object) -> Value:
    match value:
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case bytes() | bytearray() | memoryview():
            return bytes(value)
        case _:
            raise WrongValue(f"query {query.name}, parameter {name!r}: cannot store a {type(value).__name__}")

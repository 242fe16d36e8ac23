"""The facade against a dictionary: any sequence of groups of writes, failures, and reopenings."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from fixtures_postgres import PostgresServer
from lambdad.store import errors, migrations, queries
from lambdad.store.database import Connection, open_database, sqlite_url

sql = queries.load_queries("store_example", "queries.sql")
steps = migrations.load_migrations("store_example")

NAMES = st.sampled_from(["a", "b", "c", "ü", ""])
WRITES = st.one_of(
    st.tuples(st.just("put"), NAMES, st.integers(1, 3)),
    st.tuples(st.just("add"), NAMES, st.just(0)),  # fails where it is there already
    st.tuples(st.just("delete"), NAMES, st.just(0)),
    st.tuples(st.just("put and raise"), NAMES, st.integers(1, 3)),
)


class Raised(Exception):
    """What a work of the test raises."""


def perform(connection: Connection, write: tuple[str, str, int]) -> None:
    kind, name, count = write
    if kind == "add":
        connection.run(sql.add_entry, name=name)
    elif kind == "delete":
        connection.run(sql.delete_entry, name=name)
    else:
        connection.run(sql.put_entry, name=name, count=count)
    if kind == "put and raise":
        raise Raised


class Facade(RuleBasedStateMachine):
    """Rules and the model; the URL is set by the test."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._model: dict[str, int] = {}
        self._open()
        self._runner.run(self._database.write(lambda connection: connection.run(sql.delete_all_entries)))

    def _open(self) -> None:
        self._context = open_database(self.url, migrations=[steps], now_ms=lambda: 0)
        self._database = self._runner.run(self._context.__aenter__())

    @rule(group=st.lists(WRITES, min_size=1, max_size=6))
    def write(self, group: list[tuple[str, str, int]]) -> None:
        """Write a group at once: each has the outcome it has alone, in order."""

        async def write_all() -> list[object]:
            calls = [self._database.write(lambda connection, each=each: perform(connection, each)) for each in group]
            return list(await asyncio.gather(*calls, return_exceptions=True))

        outcomes = self._runner.run(write_all())
        assert [type(outcome) for outcome in outcomes] == [self._expected(each) for each in group], outcomes

    def _expected(self, write: tuple[str, str, int]) -> type[object]:
        kind, name, count = write
        if kind == "put and raise":
            return Raised
        if kind == "add" and name in self._model:
            return errors.UniqueViolated
        if kind == "delete":
            self._model.pop(name, None)
        else:
            self._model[name] = self._model.get(name, 0) + count
        return type(None)

    @rule()
    def reopen(self) -> None:
        """Close and open again."""
        self._runner.run(self._context.__aexit__(None, None, None))
        self._open()

    @invariant()
    def same(self) -> None:
        """A read sees what the model has, in its order."""
        rows = self._runner.run(self._database.read(lambda connection: connection.all(sql.all_entries)))
        assert [(row.name, row.count) for row in rows] == sorted(self._model.items())

    def teardown(self) -> None:
        """Close."""
        self._runner.run(self._context.__aexit__(None, None, None))
        self._runner.close()


def check(url: str) -> None:
    class Here(Facade):
        pass

    Here.url = url
    limits = settings(max_examples=12, stateful_step_count=12, deadline=None)
    run_state_machine_as_test(Here, settings=limits)  # type: ignore[no-untyped-call]  # as hypothesis has it


def test_sqlite_is_a_dictionary() -> None:
    """SQLite behaves as the model does."""
    with tempfile.TemporaryDirectory() as directory:
        check(sqlite_url(Path(directory) / "database.db"))


@pytest.mark.postgres
def test_postgres_is_a_dictionary(postgres_server: PostgresServer) -> None:
    """PostgreSQL behaves as the model does."""
    check(postgres_server.new_database())

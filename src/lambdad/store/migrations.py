"""Migrations: numbered .sql files beside the code that owns the tables, applied once each, forward only.

``migrations/0001_functions.sql``, ``0002_layers.sql`` ... without gaps. A file holds any number of statements, in the common subset
(see `sql_text`); a block ``-- name: x`` in it can be replaced by ``-- postgres: x``, also by nothing. Each file is applied in one
transaction together with the record of it, so it is there wholly or not at all. A file that was applied is never edited again.
"""

import hashlib
import importlib.resources
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lambdad.store import queries, sql_text
from lambdad.store.connection import Connection, Row
from lambdad.store.engine import Session
from lambdad.store.errors import DatabaseNewer, MalformedSql, MigrationChanged
from lambdad.store.sql_text import Dialect

_FILE = re.compile(r"(?P<number>[0-9]{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a schema."""

    number: int  # from 1
    name: str  # "0001_functions"
    checksum: str  # sha256 of the file, lines ended by \n
    blocks: tuple[queries.Block, ...]

    def statements(self, dialect: Dialect) -> list[str]:
        """Write the step for a dialect."""
        found: list[str] = []
        for block in self.blocks:
            own = dialect is Dialect.POSTGRES and block.postgres_text is not None
            text = block.postgres_text if own and block.postgres_text is not None else block.text
            found += [sql_text.definition(each, dialect, rewrite=not own) for each in sql_text.statements(text)]
        return found


@dataclass(frozen=True, slots=True)
class Migrations:
    """All steps of one namespace, in order."""

    namespace: str
    steps: tuple[Migration, ...]


def load_migrations(package: str, *, folder: str = "migrations", namespace: str | None = None) -> Migrations:
    """
    Load a package's migrations.

    Args:
        package: "lambdad.services.lambda_".
        folder: inside the package.
        namespace: whose numbers these are; None means the package's last name without underscores at its end ("lambda").

    Raises:
        MalformedSql: a file's name or its blocks are wrong, a number is missing or there twice.
    """
    files = sorted(importlib.resources.files(package).joinpath(folder).iterdir(), key=lambda file: file.name)
    texts = {file.name: file.read_text(encoding="utf-8") for file in files if file.name.endswith(".sql")}
    return Migrations(namespace or _namespace(package), _steps(f"{package}/{folder}", texts))


def load_schema(package: str, *, file: str = "schema.sql", namespace: str | None = None) -> Migrations:
    """
    Load a package's whole schema as a single step, to be compared with what its migrations come to; see `schema`.

    Raises:
        MalformedSql: its blocks are wrong.
    """
    text = importlib.resources.files(package).joinpath(file).read_text(encoding="utf-8")
    return Migrations(namespace or _namespace(package), _steps(package, {"0001_schema.sql": text}))


def _namespace(package: str) -> str:
    return package.rpartition(".")[2].rstrip("_")


def _steps(source: str, texts: dict[str, str]) -> tuple[Migration, ...]:
    steps: list[Migration] = []
    for expected, (file, text) in enumerate(texts.items(), 1):
        match = _FILE.fullmatch(file)
        if match is None:
            raise MalformedSql(f"{source}: {file!r} is not named like 0001_functions.sql")
        if int(match["number"]) != expected:
            raise MalformedSql(f"{source}: {file} comes where number {expected:04} is due")
        lines = "\n".join(text.splitlines())
        blocks = tuple(queries.blocks(f"{source}/{file}", lines, unnamed_first=True))
        steps.append(Migration(expected, file.removesuffix(".sql"), hashlib.sha256(lines.encode()).hexdigest(), blocks))
    return tuple(steps)


def migrate(session: Session, migrations: Sequence[Migrations], now_ms: Callable[[], int]) -> None:
    """
    Apply what has not been applied. Of several processes that do so at once one works and the others wait for it.

    Args:
        now_ms: Unix time in milliseconds.

    Raises:
        MigrationChanged: a file differs from the one that was applied under its number.
        DatabaseNewer: a number was applied that the program does not have. Nothing has been changed by this call then.
        StoreError: a statement failed; the migrations before it stay applied.
    """
    connection = Connection(session)
    own = queries.load_queries("lambdad.store", "migrations.sql")
    pending: list[tuple[str, Migration]] = []
    session.begin_migration()
    try:
        connection.run(own.create_records)
        for each in migrations:
            applied = _applied(connection, own, each)
            pending += [(each.namespace, step) for step in each.steps[len(applied) :]]
        session.commit()
    except BaseException:
        session.rollback()
        raise
    for namespace, step in pending:
        _apply(session, connection, own, namespace, step, now_ms())


def _applied(connection: Connection, own: queries.Queries, migrations: Migrations) -> list[Row]:
    """Read the records of a namespace and compare them with the files."""
    records = connection.all(own.records, namespace=migrations.namespace)
    for record, step in zip(records, migrations.steps, strict=False):
        if record["checksum"] != step.checksum:
            raise MigrationChanged(
                f"{migrations.namespace}: migration {step.name} is not the one that was applied to this database as "
                f"{record['name']}. Put the file back as it was, and write the change into a new one."
            )
    if len(records) > len(migrations.steps):
        raise DatabaseNewer(
            f"{migrations.namespace}: the database has migration {records[-1]['name']}, this program only goes up to number "
            f"{len(migrations.steps)}. It was written by a newer lambdad; start that one."
        )
    return records


def _apply(session: Session, connection: Connection, own: queries.Queries, namespace: str, step: Migration, at_ms: int) -> None:
    session.begin_migration()
    try:
        records = connection.all(own.records, namespace=namespace)
        if len(records) < step.number:  # else another process was faster
            for statement in step.statements(session.dialect):
                session.define(statement)
            connection.run(
                own.insert_record,
                namespace=namespace,
                number=step.number,
                name=step.name,
                checksum=step.checksum,
                applied_at_ms=at_ms,
            )
        session.commit()
    except BaseException:
        session.rollback()
        raise

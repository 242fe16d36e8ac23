"""Named queries: SQL in .sql files beside the code that owns the tables, one named block for each statement.

    -- name: insert_function
    -- Store a function that is not there yet.
    INSERT INTO function (account, name) VALUES (:account, :name);

    -- postgres: claim_events
    -- Replaces the block of that name where the database is PostgreSQL.
    ...

The only way to a `Query` is a file of a package: no SQL is put together at run time.
"""

import functools
import importlib.resources
import re
from dataclasses import dataclass
from typing import NoReturn

from lambdad.store import sql_text
from lambdad.store.errors import MalformedSql
from lambdad.store.sql_text import Dialect

_HEADER = re.compile(r"--\s*(?P<kind>name|postgres)\s*:(?P<name>.*)$")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# Transactions are the store's; settings of a connection are the engines'.
_FORBIDDEN_FIRST_WORDS = frozenset(
    (
        *("BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "PREPARE"),
        *("PRAGMA", "ATTACH", "DETACH", "VACUUM", "SET", "RESET", "COPY"),
    )
)


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL as one driver wants it, and the names of its parameters."""

    text: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A named statement in both dialects. Made by `load_queries` only."""

    name: str
    comment: str
    sqlite: Statement
    postgres: Statement


@dataclass(frozen=True, slots=True)
class Block:
    """A named part of a .sql file."""

    name: str  # "" for the text before the first header
    line: int  # of the header, from 1
    text: str
    postgres_text: str | None  # None means: the text, rewritten for PostgreSQL

    @property
    def comment(self) -> str:
        """The comment lines directly under the header."""
        lines = []
        for line in self.text.strip().splitlines():
            if not line.startswith("--"):
                break
            lines.append(line[2:].strip())
        return " ".join(lines)


class Queries:
    """The queries of one file, each an attribute under its name."""

    def __init__(self, source: str, queries: dict[str, Query]) -> None:
        self._source = source
        self._queries = queries

    def __getattr__(self, name: str) -> Query:
        try:
            return self._queries[name]
        except KeyError:
            raise AttributeError(f"{self._source} has no query named {name!r}") from None

    def __dir__(self) -> list[str]:
        return sorted(self._queries)


@functools.cache
def load_queries(package: str, file: str) -> Queries:
    """
    Load the named queries of a package's .sql file; the result is cached.

    Args:
        package: "lambdad.services.lambda_".
        file: "queries.sql".

    Raises:
        MalformedSql: a block without a name, named twice, without a statement or with more than one, an override of nothing, or a
            statement that would end the store's transaction.
    """
    source = f"{package}/{file}"
    text = importlib.resources.files(package).joinpath(file).read_text(encoding="utf-8")
    return Queries(source, {block.name: _query(source, block) for block in blocks(source, text)})


def blocks(source: str, text: str, *, unnamed_first: bool = False) -> list[Block]:
    """
    Cut a .sql file into its named blocks, overrides joined with what they override.

    Args:
        source: the file's name, for messages.
        unnamed_first: SQL before the first header is allowed, and is a block without name.

    Raises:
        MalformedSql: a header without a proper name, a name twice, an override of nothing.
    """
    found: dict[str, Block] = {}
    overrides: dict[str, Block] = {}
    for kind, block in _cut(source, text):
        if kind == "":
            if unnamed_first:
                found[""] = block
            elif sql_text.statements(block.text):
                _malformed(source, 1, "SQL before the first '-- name:'")
            continue
        target = found if kind == "name" else overrides
        if block.name in target:
            _malformed(source, block.line, f"'-- {kind}: {block.name}' is there twice")
        target[block.name] = block
    for override in overrides.values():
        if override.name not in found:
            _malformed(source, override.line, f"'-- postgres: {override.name}' overrides a block that is not there")
        base = found[override.name]
        found[override.name] = Block(base.name, base.line, base.text, override.text)
    return list(found.values())


def _cut(source: str, text: str) -> list[tuple[str, Block]]:
    """Return (kind, block) for each header, and ("", block) for what is before the first."""
    parts: list[tuple[str, str, int, list[str]]] = [("", "", 1, [])]
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header is None:
            parts[-1][3].append(line)
            continue
        name = header["name"].strip()
        if not _NAME.fullmatch(name):
            _malformed(source, number, f"{name!r} is not a name; names are like insert_function")
        parts.append((header["kind"], name, number, []))
    return [(kind, Block(name, number, "\n".join(lines), None)) for kind, name, number, lines in parts]


def _query(source: str, block: Block) -> Query:
    base = _only_statement(source, block, block.text)
    if block.postgres_text is None:
        override = sql_text.for_driver(base, Dialect.POSTGRES, rewrite=True)
        postgres = Statement(override, sql_text.parameters(base))
    else:
        own = _only_statement(source, block, block.postgres_text)
        postgres = Statement(sql_text.for_driver(own, Dialect.POSTGRES, rewrite=False), sql_text.parameters(own))
    sqlite = Statement(sql_text.for_driver(base, Dialect.SQLITE, rewrite=False), sql_text.parameters(base))
    return Query(block.name, block.comment, sqlite, postgres)


def _only_statement(source: str, block: Block, text: str) -> str:
    try:
        found = sql_text.statements(text)
    except MalformedSql as error:
        raise MalformedSql(f"{source}, block {block.name}: {error}") from error
    if len(found) != 1:
        _malformed(source, block.line, f"block {block.name} has {len(found)} statements, not one")
    if (word := sql_text.first_word(found[0])) in _FORBIDDEN_FIRST_WORDS:
        _malformed(source, block.line, f"block {block.name}: {word} is the store's own business")
    return found[0]


def _malformed(source: str, line: int, message: str) -> NoReturn:
    raise MalformedSql(f"{source}, line {line}: {message}")

"""Every statement of every service is understood by both databases, after that service's own migrations."""

import sqlite3
from pathlib import Path

import pytest

import lambdad.services
from lambdad.store import migrations, queries, sql_text
from lambdad.store.database import open_database, sqlite_url

SERVICES = sorted(path.parent for path in Path(lambdad.services.__file__).parent.glob("*/migrations"))
FILES = [
    (f"lambdad.services.{folder.name}", file.name)
    for folder in SERVICES
    for file in sorted(folder.glob("*.sql"))
    if file.name != "schema.sql"
]


def found(package: str, file: str) -> list[queries.Query]:
    loaded = queries.load_queries(package, file)
    return [getattr(loaded, name) for name in dir(loaded)]


@pytest.mark.parametrize(("package", "file"), FILES)
async def test_sqlite_understands_it(package: str, file: str, tmp_path: Path) -> None:
    """SQLite can compile each statement."""
    path = tmp_path / "database.db"
    async with open_database(sqlite_url(path), migrations=[migrations.load_migrations(package)], now_ms=lambda: 0):
        pass
    connection = sqlite3.connect(path)
    try:
        for query in found(package, file):
            connection.execute(f"EXPLAIN {query.sqlite.text}", dict.fromkeys(query.sqlite.parameters)).close()
    finally:
        connection.close()


@pytest.mark.postgres
@pytest.mark.parametrize(("package", "file"), FILES)
async def test_postgres_understands_it(package: str, file: str, postgres_url: str) -> None:
    """PostgreSQL can plan each statement, with the types it works out for the parameters."""
    import psycopg

    async with open_database(postgres_url, migrations=[migrations.load_migrations(package)], now_ms=lambda: 0):
        pass
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for query in found(package, file):
            assert sql_text.first_word(query.postgres.text)
            connection.execute(f"EXPLAIN {query.postgres.text}".encode(), dict.fromkeys(query.postgres.parameters))

"""What tables, columns and indexes a database has, as text: proves that a service's migrations come to its ``schema.sql``."""

from lambdad.store import migrations, queries
from lambdad.store.connection import Connection
from lambdad.store.database import open_database


def describe(connection: Connection) -> list[str]:
    """
    Write down the schema, one line for each column, index, constraint and trigger, in an order that does not depend on history.

    The CHECK constraints of SQLite's tables are not in it; PostgreSQL's are, so compare on both.
    """
    own = queries.load_queries("lambdad.store", "schema.sql")
    columns = [" ".join(str(value) for value in row.values()) for row in connection.all(own.describe_columns)]
    rest = [" ".join(" ".join(row.values()).split()) for row in connection.all(own.describe_indexes)]
    return columns + rest


async def differences(package: str, migrated_url: str, fresh_url: str) -> list[str]:
    """
    Compare what a package's migrations make with what its ``schema.sql`` makes; for tests.

    Args:
        package: with a folder ``migrations`` and a file ``schema.sql``.
        migrated_url, fresh_url: two empty databases of the same kind.

    Returns:
        The lines that only one of them has, ``- migrated`` and ``+ fresh``; empty means that they are the same.
    """
    found = []
    for url, step in (
        (migrated_url, migrations.load_migrations(package)),
        (fresh_url, migrations.load_schema(package)),
    ):
        async with open_database(url, migrations=[step], now_ms=lambda: 0) as database:
            found.append(await database.read(describe))
    migrated, fresh = found
    return [f"- {line}" for line in migrated if line not in fresh] + [f"+ {line}" for line in fresh if line not in migrated]

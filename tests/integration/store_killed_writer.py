"""Write entries as fast as possible and print each name when it was acknowledged; run as a program, to be killed.

python store_killed_writer.py URL FIRST_NUMBER
"""

import asyncio
import itertools
import os
import sys

from lambdad.store import migrations, queries
from lambdad.store.database import open_database


async def main(url: str, first: int) -> None:
    """Write from twenty tasks, for ever."""
    sql = queries.load_queries("store_example", "queries.sql")
    numbers = itertools.count(first)
    steps = [migrations.load_migrations("store_example")]
    async with open_database(url, migrations=steps, now_ms=lambda: 0) as database, asyncio.TaskGroup() as group:

        async def write_for_ever() -> None:
            while True:
                name = str(next(numbers))
                await database.write(lambda connection, name=name: connection.run(sql.add_entry, name=name))
                os.write(1, f"{name}\n".encode())

        for _ in range(20):
            group.create_task(write_for_ever())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

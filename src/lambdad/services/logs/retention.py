"""Remove what is no longer wanted: events older than a group keeps them, and the chunks of what was deleted.

All of it goes in small transactions, so that nobody else's write waits long.
"""

from typing import Final

from lambdad.services.logs.rules import limits
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.logs", "queries.sql")

ROUNDS_OF_REQUEST: Final = 20
"""Transactions in which a request that deletes also removes; the rest is left to the next `expire`."""

_ROWS: Final = 500
_GROUPS: Final = 100


async def expire(database: Database, now_ms: int) -> int:
    """Remove all events that their groups do not keep any longer, and what is left of deleted groups and streams.

    Streams stay, as in AWS, even when no event is left in them.

    Args:
        now_ms: Unix time, milliseconds.

    Returns:
        How many chunks of living groups were removed.
    """
    await remove_discarded(database, rounds=None)
    removed = 0
    after = 0
    while groups := await database.read(
        lambda connection, after=after: connection.all(  # type: ignore[misc]  # a default argument, to bind the loop's value
            queries.groups_with_retention, after=after, limit=_GROUPS
        )
    ):
        for group in groups:
            removed += await _expire_group(database, group, now_ms)
        after = groups[-1].id
    return removed


async def remove_discarded(database: Database, *, rounds: int | None) -> None:
    """Remove chunks of deleted groups and streams.

    Args:
        rounds: how many transactions at most; None means until nothing is left.
    """
    while rounds is None or rounds > 0:
        if not await database.write(_remove_some_discarded):
            return
        if rounds is not None:
            rounds -= 1


def _remove_some_discarded(connection: Connection) -> bool:
    discard = connection.one(queries.next_discard)
    if discard is None:
        return False
    if discard.stream_id is None:
        removed = connection.run(queries.discard_group_chunks, group_id=discard.group_id, limit=_ROWS)
    else:
        removed = connection.run(queries.discard_stream_chunks, stream_id=discard.stream_id, limit=_ROWS)
    if removed < _ROWS:
        connection.run(queries.delete_discard, id=discard.id)
    return True


async def _expire_group(database: Database, group: Row, now_ms: int) -> int:
    before_ms = now_ms - group.retention_days * limits.DAY_MS
    removed = 0
    while True:
        count = await database.write(lambda connection: _expire_some(connection, group.id, before_ms))
        removed += count
        if count < _ROWS:
            return removed


def _expire_some(connection: Connection, group_id: int, before_ms: int) -> int:
    rows = connection.all(queries.expired_chunks, group_id=group_id, before_ms=before_ms, limit=_ROWS)
    connection.many(queries.delete_chunk, [{"id": row.id} for row in rows])
    by_stream: dict[int, int] = {}
    for row in rows:
        by_stream[row.stream_id] = by_stream.get(row.stream_id, 0) + row.size_bytes
    for stream_id, size_bytes in by_stream.items():
        connection.run(queries.refresh_stream, id=stream_id, size_bytes=size_bytes)
    if rows:
        connection.run(queries.add_group_bytes, id=group_id, size_bytes=-sum(by_stream.values()))
    return len(rows)

"""Write chunks, and make the groups and streams that they belong to. Runs inside a write of the store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from lambdad.services.logs import errors
from lambdad.services.logs.rules import batches, chunks, feeds
from lambdad.store.connection import Connection
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.logs", "queries.sql")

STANDARD: Final = "STANDARD"

INLINE_CHARACTERS: Final = 64 * 1024
"""As much may be packed in the event loop; more in a thread."""

StreamKey: TypeAlias = tuple[str, str, str, str]
"""Account, region, group, stream."""

StreamIds: TypeAlias = tuple[int, int]
"""The ids of the group and of the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBatch:
    """Packed events of one stream."""

    key: StreamKey
    ingested_at_ms: int
    chunks: Sequence[chunks.Chunk]
    matches: Sequence[feeds.Match] = ()  # what subscription filters want of it

    @property
    def size_bytes(self) -> int:
        """What AWS counts for the events."""
        return sum([chunk.size_bytes for chunk in self.chunks])


Send: TypeAlias = Callable[[Connection, StreamBatch, Sequence[int]], None]
"""Puts on their way what subscription filters want of a batch, within the write; told the ids that its chunks have been given."""


def pack(key: StreamKey, events: Sequence[batches.Event], subscribers: Sequence[feeds.Feed], now_ms: int) -> StreamBatch:
    """Make a batch of a stream's events, and find what subscription filters want of it. Needs no connection."""
    pieces = chunks.cut(events)
    return StreamBatch(key=key, ingested_at_ms=now_ms, chunks=chunks.pack_pieces(pieces), matches=feeds.match(subscribers, pieces))


def write_batches(
    connection: Connection, batches: Sequence[StreamBatch], known: Mapping[StreamKey, StreamIds], send: Send
) -> dict[StreamKey, StreamIds]:
    """Store batches, each of another stream; groups and streams that are missing are made.

    Args:
        known: ids from earlier calls; those that are no longer right are looked up again.
        send: called for each batch of which subscription filters want something.

    Returns:
        The ids of all streams written to.
    """
    written = {batch.key: known[batch.key] for batch in batches if batch.key in known}
    touched = connection.many(queries.touch_stream, [_touch_row(batch, written[batch.key][1]) for batch in batches if batch.key in written])
    if touched < len(written):
        written = {key: ids for key, ids in written.items() if connection.one(queries.get_stream_id, id=ids[1]) is not None}
    for batch in batches:
        if batch.key not in written:
            written[batch.key] = ids = ensure_stream(connection, batch.key, batch.ingested_at_ms)
            connection.run(queries.touch_stream, **_touch_row(batch, ids[1]))
    rows: list[dict[str, object]] = []
    group_bytes: dict[int, int] = {}
    for batch in batches:
        ids = written[batch.key]
        group_bytes[ids[0]] = group_bytes.get(ids[0], 0) + batch.size_bytes
        if batch.matches:
            send(connection, batch, _insert_each(connection, batch, ids))
        else:
            rows += _chunk_rows(batch, ids)
    connection.many(queries.insert_chunk, rows)
    for group_id, size_bytes in group_bytes.items():
        connection.run(queries.add_group_bytes, id=group_id, size_bytes=size_bytes)
    return written


def write_batch(connection: Connection, batch: StreamBatch, ids: StreamIds, send: Send) -> None:
    """Store one batch in a stream that must be there; `send` as in `write_batches`.

    Raises:
        StreamMissing: it is not there any more.
    """
    if not connection.run(queries.touch_stream, **_touch_row(batch, ids[1])):
        raise errors.StreamMissing
    if batch.matches:
        send(connection, batch, _insert_each(connection, batch, ids))
    else:
        connection.many(queries.insert_chunk, _chunk_rows(batch, ids))
    connection.run(queries.add_group_bytes, id=ids[0], size_bytes=batch.size_bytes)


def ensure_stream(connection: Connection, key: StreamKey, now_ms: int) -> StreamIds:
    """Find a stream, or make it and its group."""
    account, region, group_name, stream_name = key
    group = connection.one(queries.get_group, account=account, region=region, name=group_name)
    if group is None:
        insert_group(connection, account, region, group_name, now_ms)
        group = connection.one(queries.get_group, account=account, region=region, name=group_name)
        assert group is not None
    stream = connection.one(queries.get_stream, group_id=group.id, name=stream_name)
    if stream is None:
        connection.run(queries.insert_stream, group_id=group.id, name=stream_name, created_at_ms=now_ms)
        stream = connection.one(queries.get_stream, group_id=group.id, name=stream_name)
        assert stream is not None
    return group.id, stream.id


def insert_group(
    connection: Connection,
    account: str,
    region: str,
    name: str,
    now_ms: int,
    *,
    group_class: str = STANDARD,
    is_protected: bool = False,
    tags: str = "{}",
) -> bool:
    """Make a group; False where its name is taken. ``tags`` is a JSON object."""
    changed = connection.run(
        queries.insert_group,
        account=account,
        region=region,
        name=name,
        created_at_ms=now_ms,
        **{"class": group_class},
        deletion_protected=is_protected,
        tags=tags,
    )
    return changed == 1


def _touch_row(batch: StreamBatch, stream_id: int) -> dict[str, int]:
    return {
        "id": stream_id,
        "first_ms": min(chunk.first_ms for chunk in batch.chunks),
        "last_ms": max(chunk.last_ms for chunk in batch.chunks),
        "ingested_at_ms": batch.ingested_at_ms,
        "size_bytes": batch.size_bytes,
    }


def _chunk_rows(batch: StreamBatch, ids: StreamIds) -> list[dict[str, object]]:
    return [
        {
            "group_id": ids[0],
            "stream_id": ids[1],
            "first_ms": chunk.first_ms,
            "last_ms": chunk.last_ms,
            "ingested_at_ms": batch.ingested_at_ms,
            "events": chunk.events,
            "size_bytes": chunk.size_bytes,
            "payload": chunk.payload,
        }
        for chunk in batch.chunks
    ]


def _insert_each(connection: Connection, batch: StreamBatch, ids: StreamIds) -> list[int]:
    """Insert a batch's chunks one by one, and return their ids, which are part of the events' ids."""
    inserted = [connection.one(queries.insert_chunk_for_subscribers, **row) for row in _chunk_rows(batch, ids)]
    return [row.id for row in inserted if row is not None]

"""Read events in order, out of chunks that may overlap. Runs inside a read of the store."""

import bisect
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from lambdad.services.logs.rules import chunks, names
from lambdad.store.connection import Connection, Row
from lambdad.store.queries import Query, load_queries

queries = load_queries("lambdad.services.logs", "queries.sql")

_FIRST_ROWS: Final = 16
_ROWS_MAX: Final = 512
_FETCH_BYTES: Final = 4 * 1024 * 1024
"""How much one query may bring into memory, as far as the sizes of the chunks before tell."""

_FOREVER_MS: Final = 1 << 62
_position_of = operator.itemgetter(0)


class Event(NamedTuple):
    """A stored event. Events compare in the order in which readers get them."""

    position: chunks.Position
    message: str
    stream: str  # empty where only one stream was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose events are read: two queries (in order of first events, ascending and descending) and their parameters."""

    ascending: Query
    descending: Query
    parameters: dict[str, Any]


def of_stream(stream_id: int) -> Scope:
    """Read one stream."""
    return Scope(
        ascending=queries.chunks_of_stream,
        descending=queries.chunks_of_stream_descending,
        parameters={"stream_id": stream_id},
    )


def of_group(group_id: int) -> Scope:
    """Read all streams of a group, interleaved."""
    return Scope(
        ascending=queries.chunks_of_group,
        descending=queries.chunks_of_group_descending,
        parameters={"group_id": group_id},
    )


def of_prefix(group_id: int, prefix: str) -> Scope:
    """Read the streams of a group whose names have a prefix."""
    return Scope(
        ascending=queries.chunks_of_prefix,
        descending=queries.chunks_of_prefix_descending,
        parameters={"group_id": group_id, "prefix": prefix, "prefix_end": names.end_of_prefix(prefix)},
    )


def of_streams(group_id: int, stream_ids: Sequence[int]) -> Scope:
    """Read some streams of a group."""
    return Scope(
        ascending=queries.chunks_of_streams,
        descending=queries.chunks_of_streams_descending,
        parameters={"group_id": group_id, "stream_ids": orjson.dumps(list(stream_ids)).decode()},
    )


def ascending(connection: Connection, scope: Scope, begin: chunks.Position, end_ms: int | None) -> Iterator[Event]:
    """Give events from a position on (inclusive) to a time (exclusive; None means to the last), oldest first."""
    begin_ms = begin[0]
    end = (_FOREVER_MS if end_ms is None else end_ms, 0, 0, 0)

    def fetch(cursor: tuple[int, int] | None, limit: int) -> list[Row]:
        cursor_ms, cursor_id = cursor or (begin_ms - chunks.CHUNK_SPAN_MS - 1, 0)
        return connection.all(
            scope.ascending,
            cursor_ms=cursor_ms,
            cursor_id=cursor_id,
            begin_ms=begin_ms,
            end_ms=end[0],
            limit=limit,
            **scope.parameters,
        )

    pending: list[Event] = []
    for rows, is_last in _pages(fetch):
        pending += [event for row in rows for event in _events(row) if begin <= event.position < end]
        pending.sort()
        if is_last:
            break
        # What is not fetched yet begins here or later.
        frontier = (rows[-1].first_ms, 0, 0, 0)
        ready = bisect.bisect_left(pending, frontier, key=_position_of)
        yield from pending[:ready]
        del pending[:ready]
    yield from pending


def descending(connection: Connection, scope: Scope, before: chunks.Position | None, begin_ms: int) -> Iterator[Event]:
    """Give events from a time on (inclusive) to a position (exclusive; None means to the last), newest first."""
    end = before or (_FOREVER_MS, 0, 0, 0)
    begin = (begin_ms, 0, 0, 0)

    def fetch(cursor: tuple[int, int] | None, limit: int) -> list[Row]:
        # At the last millisecond there may be events of any chunk that begins then.
        cursor_ms, cursor_id = cursor or (min(end[0], _FOREVER_MS - 1) + 1, 0)
        return connection.all(
            scope.descending,
            cursor_ms=cursor_ms,
            cursor_id=cursor_id,
            begin_ms=begin_ms,
            least_ms=begin_ms - chunks.CHUNK_SPAN_MS - 1,
            limit=limit,
            **scope.parameters,
        )

    pending: list[Event] = []
    for rows, is_last in _pages(fetch):
        pending += [event for row in rows for event in _events(row) if begin <= event.position < end]
        pending.sort(reverse=True)
        if is_last:
            break
        # What is not fetched yet begins here or earlier, and ends within the span of a chunk.
        frontier = (rows[-1].first_ms + chunks.CHUNK_SPAN_MS + 1, 0, 0, 0)
        ready = next((index for index, event in enumerate(pending) if event.position < frontier), len(pending))
        yield from pending[:ready]
        del pending[:ready]
    yield from pending


def _pages(fetch: Callable[[tuple[int, int] | None, int], list[Row]]) -> Iterator[tuple[list[Row], bool]]:
    """Fetch chunks until there are no more; the second value says that these were the last."""
    cursor: tuple[int, int] | None = None
    limit = _FIRST_ROWS
    while True:
        rows = fetch(cursor, limit)
        is_last = len(rows) < limit
        yield rows, is_last
        if is_last:
            return
        cursor = (rows[-1].first_ms, rows[-1].id)
        mean_bytes = max(1, sum(len(row.payload) for row in rows) // len(rows))
        limit = max(4, min(_ROWS_MAX, _FETCH_BYTES // mean_bytes))


def _events(row: Row) -> list[Event]:
    ingested_ms, chunk_id, stream = row.ingested_at_ms, row.id, row.stream
    return [
        Event((timestamp, ingested_ms, chunk_id, index), message, stream)
        for index, (timestamp, message) in enumerate(chunks.unpack(row.first_ms, row.payload))
    ]

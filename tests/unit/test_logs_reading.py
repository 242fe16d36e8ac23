"""Reading events out of overlapping chunks, against a naive twin that sorts everything."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.services.logs import reading
from lambdad.services.logs.rules import chunks


@dataclass
class StoredChunk:
    id: int
    first_ms: int
    last_ms: int
    ingested_at_ms: int
    payload: bytes
    stream: str = "s"


class PaperConnection:
    """Answers the two queries of a stream from a list."""

    def __init__(self, rows: list[StoredChunk]) -> None:
        self.rows = rows

    def all(self, query: Any, **given: Any) -> list[StoredChunk]:
        cursor = (given["cursor_ms"], given["cursor_id"])
        rows = [row for row in self.rows if row.last_ms >= given["begin_ms"]]
        if query is reading.queries.chunks_of_stream:
            rows = [row for row in rows if (row.first_ms, row.id) > cursor and row.first_ms < given["end_ms"]]
            return sorted(rows, key=lambda row: (row.first_ms, row.id))[: given["limit"]]
        rows = [row for row in rows if (row.first_ms, row.id) < cursor and row.first_ms > given["least_ms"]]
        return sorted(rows, key=lambda row: (row.first_ms, row.id), reverse=True)[: given["limit"]]


_TIMES = st.integers(100_000, 400_000)
_BATCHES = st.lists(st.lists(_TIMES, min_size=1, max_size=4), max_size=12)


@pytest.fixture(scope="module", autouse=True)
def small_fetches() -> Any:
    """Make pages of chunks small, so that few chunks are several pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_FIRST_ROWS", 2)
        patch.setattr(reading, "_ROWS_MAX", 4)
        yield


@settings(max_examples=50, deadline=None)
@given(_BATCHES, _TIMES, _TIMES, st.integers(0, 50))
def test_reading_agrees_with_sorting(given_batches: list[list[int]], one_ms: int, other_ms: int, cut: int) -> None:
    """Both directions give all events of a range in order, from any event on."""
    rows: list[StoredChunk] = []
    for ingested_ms, times in enumerate(given_batches, 500_000):
        for chunk in chunks.pack([(time, f"{time}") for time in times]):
            rows.append(StoredChunk(len(rows) + 1, chunk.first_ms, chunk.last_ms, ingested_ms, chunk.payload))
    everything = sorted(
        (time, row.ingested_at_ms, row.id, index)
        for row in rows
        for index, (time, _) in enumerate(chunks.unpack(row.first_ms, row.payload))
    )
    connection: Any = PaperConnection(rows)
    scope = reading.of_stream(1)
    begin_ms, end_ms = sorted((one_ms, other_ms))
    wanted = [position for position in everything if begin_ms <= position[0] < end_ms]

    up = [event.position for event in reading.ascending(connection, scope, (begin_ms, 0, 0, 0), end_ms)]
    assert up == wanted
    down = [event.position for event in reading.descending(connection, scope, (end_ms, 0, 0, 0), begin_ms)]
    assert down == wanted[::-1]
    assert [event.position for event in reading.descending(connection, scope, None, 0)] == everything[::-1]
    if wanted:
        here = wanted[cut % len(wanted)]
        behind = chunks.position_of(chunks.position_number(here) + 1)
        assert [event.position for event in reading.ascending(connection, scope, behind, end_ms)] == [p for p in wanted if p > here]
        assert [event.position for event in reading.descending(connection, scope, here, begin_ms)] == [p for p in wanted[::-1] if p < here]

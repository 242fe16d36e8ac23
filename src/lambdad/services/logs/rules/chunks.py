"""Chunks: events of one stream, ingested together, packed into one row.

A row for each event would cost more than ten times as much. A chunk's events are in order of their timestamps, and no
chunk spans more than `CHUNK_SPAN_MS`, so that a reader who looks for a time knows which chunks can have it from
their beginnings alone.

A payload is one byte for the format (0 plain, 1 zlib) and a MessagePack array of two arrays: the timestamps, each as the
distance to the one before (the first to the chunk's first), and the messages.
"""

import operator
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from lambdad.services.logs.rules import batches

CHUNK_SPAN_MS: Final = 60_000
CHUNK_CHARACTERS: Final = 262_144  # but for a single event that is larger
CHUNK_EVENTS: Final = 10_000
COMPRESS_BYTES: Final = 512  # smaller bodies are left as they are
_ZLIB_LEVEL: Final = 1
_ZLIB_SMALL_BYTES: Final = 8192

Position: TypeAlias = tuple[int, int, int, int]
"""Where an event stands among all: its timestamp, its ingestion time, its chunk's id, its index in the chunk."""

_INGESTED_SHIFT: Final = 96
_TIMESTAMP_SHIFT: Final = 144
_CHUNK_SHIFT: Final = 32

_timestamp_of = operator.itemgetter(0)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[list[int], list[str]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A packed chunk; ``size_bytes`` is what AWS counts for its events."""

    first_ms: int
    last_ms: int
    events: int
    size_bytes: int
    payload: bytes


def cut(events: Sequence[batches.Event]) -> list[list[batches.Event]]:
    """Put events of one stream in order and cut them into what fits into a chunk each; events of one timestamp keep their order."""
    ordered = sorted(events, key=_timestamp_of)
    pieces: list[list[batches.Event]] = []
    begin = 0
    while begin < len(ordered):
        end = _end_of_chunk(ordered, begin)
        pieces.append(ordered[begin:end] if end - begin < len(ordered) else ordered)
        begin = end
    return pieces


def pack(events: Sequence[batches.Event]) -> list[Chunk]:
    """Pack events of one stream into chunks."""
    return pack_pieces(cut(events))


def pack_pieces(pieces: Sequence[Sequence[batches.Event]]) -> list[Chunk]:
    """Pack what `cut` gave into chunks, one of each piece."""
    return [_pack_one(piece) for piece in pieces]


def unpack(first_ms: int, payload: bytes) -> list[batches.Event]:
    """Unpack a chunk's events, in order."""
    body = zlib.decompress(memoryview(payload)[1:]) if payload[0] else memoryview(payload)[1:]
    distances, messages = _decoder.decode(body)
    events: list[batches.Event] = []
    time = first_ms
    for distance, message in zip(distances, messages, strict=True):
        time += distance
        events.append((time, message))
    return events


def event_id(position: Position) -> str:
    """Return the id that the API shows: 56 digits for times of this century, in the order of positions."""
    return f"{position_number(position):056d}"


def position_number(position: Position) -> int:
    """Write a position as one number; numbers are in the order of positions."""
    timestamp, ingested_ms, chunk_id, index = position
    return timestamp << _TIMESTAMP_SHIFT | ingested_ms << _INGESTED_SHIFT | chunk_id << _CHUNK_SHIFT | index


def position_of(number: int) -> Position:
    """Return the position that `position_number` wrote; of numbers below zero, the first position."""
    number = max(number, 0)
    return (
        number >> _TIMESTAMP_SHIFT,
        number >> _INGESTED_SHIFT & (1 << _TIMESTAMP_SHIFT - _INGESTED_SHIFT) - 1,
        number >> _CHUNK_SHIFT & (1 << _INGESTED_SHIFT - _CHUNK_SHIFT) - 1,
        number & (1 << _CHUNK_SHIFT) - 1,
    )


def _end_of_chunk(ordered: Sequence[batches.Event], begin: int) -> int:
    last = len(ordered)
    if (
        last - begin <= CHUNK_EVENTS
        and ordered[-1][0] - ordered[begin][0] <= CHUNK_SPAN_MS
        and sum([len(message) for _, message in ordered[begin:]]) <= CHUNK_CHARACTERS
    ):
        return last
    size = 0
    for index in range(begin, min(last, begin + CHUNK_EVENTS)):
        timestamp, message = ordered[index]
        size += len(message)
        if timestamp - ordered[begin][0] > CHUNK_SPAN_MS or (size > CHUNK_CHARACTERS and index > begin):
            return index
    return min(last, begin + CHUNK_EVENTS)


def _pack_one(events: Sequence[batches.Event]) -> Chunk:
    times = [timestamp for timestamp, _ in events]
    messages = [message for _, message in events]
    distances = [0, *map(operator.sub, times[1:], times)]
    try:
        body = _encoder.encode((distances, messages))
    except UnicodeEncodeError:
        # Half a surrogate pair is no text; the rest of the message is kept.
        body = _encoder.encode((distances, [message.encode("utf-8", "replace").decode() for message in messages]))
    payload = b"\x00" + body if len(body) < COMPRESS_BYTES else b"\x01" + _compress(body)
    return Chunk(
        first_ms=times[0],
        last_ms=times[-1],
        events=len(times),
        size_bytes=batches.size_bytes(messages),
        payload=payload,
    )


def _compress(body: bytes) -> bytes:
    if len(body) > _ZLIB_SMALL_BYTES:
        return zlib.compress(body, _ZLIB_LEVEL)
    # With its usual window zlib clears 256 KiB of memory first, which costs ten times as much as compressing a kilobyte.
    compressor = zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, 12, 4)
    return compressor.compress(body) + compressor.flush()

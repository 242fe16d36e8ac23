"""The way of log events from the platform into the store: a bounded buffer, written out in batches.

`LogStore.append` never waits: a function must not be slowed down by its own log. What was appended is in memory until
the next flush, a tenth of a second later as a rule; a crash loses that much and nothing older. Readers flush first, so
what was appended is seen by every read that begins later.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from lambdad.kit import threads
from lambdad.kit.clock import NowMs
from lambdad.services.logs import writing
from lambdad.services.logs.feeds import Feeds
from lambdad.services.logs.rules import batches, limits, names
from lambdad.services.logs.writing import StreamBatch, StreamIds, StreamKey
from lambdad.store.database import Database
from lambdad.store.errors import Busy, StoreError, Unavailable

_log = logging.getLogger(__name__)

FLUSH_INTERVAL_S: Final = 0.1
"""How long an event is in memory only, as a rule."""

FLUSH_INTERVAL_MAX_S: Final = 1.0
"""How long it is when so many streams are written to that a tenth of a second would mean a row for every few events."""

FLUSH_BYTES: Final = 1024 * 1024
"""As much in the buffer is written out at once."""

BUFFER_BYTES: Final = 64 * 1024 * 1024
"""More than this waits for no database: further events are dropped and counted."""

_STREAMS_PER_S: Final = 500  # rows written, at most, as long as the interval can be stretched
_KNOWN_MAX: Final = 10_000  # streams whose ids are remembered
_DROPS_MAX: Final = 10_000  # streams whose losses are counted one by one
_RETRY_S: Final = 1.0


@dataclass(slots=True)
class _Bucket:
    """Events of one stream that wait, and how much of the buffer they take."""

    events: list[batches.Event] = field(default_factory=list)
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """For debugging, introspection and metrics. Counted since the store was made; ``buffered_bytes`` is now."""

    events_appended: int
    events_written: int
    events_dropped: int
    flushes: int
    buffered_bytes: int
    buffer_bytes_max: int


class LogStore:
    """Take log events from the platform.

    One event loop uses it. `append` is for the hot path; `flush` and `run` write out what was appended.

    Args:
        database: where to.
        feeds: the subscription filters; what they want goes out with the same commit.
        now_ms: the clock, for the ingestion time.
        buffer_bytes: how much may wait (characters, and 26 for each event); when it is full, whole calls of `append`
            are dropped and counted, and the stream later gets a line that says how many events were lost.
        flush_interval_s: see `FLUSH_INTERVAL_S`.
    """

    def __init__(
        self,
        database: Database,
        feeds: Feeds,
        now_ms: NowMs,
        *,
        buffer_bytes: int = BUFFER_BYTES,
        flush_interval_s: float = FLUSH_INTERVAL_S,
    ) -> None:
        self._database = database
        self._feeds = feeds
        self._now_ms = now_ms
        self._buffer_bytes = buffer_bytes
        self._flush_interval_s = flush_interval_s
        self._buckets: dict[StreamKey, _Bucket] = {}
        self._drops: dict[StreamKey, int] = {}
        self._known: dict[StreamKey, StreamIds] = {}
        self._waiting_bytes = 0  # in the buckets
        self._taken_bytes = 0  # on the way to the database
        self._filled = asyncio.Event()
        self._much = asyncio.Event()
        self._flushing: asyncio.Task[None] | None = None
        self._appended = self._written = self._dropped = self._flushes = 0

    def append(self, account: str, region: str, group: str, stream: str, events: Sequence[batches.Event]) -> None:
        """Take events of one stream; never waits and never raises for want of room.

        The group and the stream are made when the events are written out, if they are not there.

        Args:
            events: timestamp (Unix time, milliseconds) and message, in any order.
        """
        if not events:
            return
        size = sum([len(message) for _, message in events]) + limits.EVENT_OVERHEAD_BYTES * len(events)
        key = (account, region, group, stream)
        if self._waiting_bytes + self._taken_bytes + size > self._buffer_bytes:
            self._drop(key, len(events))
            return
        bucket = self._buckets.get(key)
        if bucket is None:
            if not names.is_storable(stream):
                self._dropped += len(events)
                return
            bucket = self._buckets[key] = _Bucket()
            self._filled.set()
        bucket.events += events
        bucket.size_bytes += size
        self._appended += len(events)
        self._waiting_bytes += size
        if self._waiting_bytes >= FLUSH_BYTES:
            self._much.set()

    async def discard(self, account: str, region: str, group: str, stream: str | None = None) -> None:
        """Forget events that wait for a stream, or for all streams of a group, because it is being deleted.

        What is on its way to the database arrives there before this returns, so that it does not make the group anew.
        """
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        for key in [key for key in {**self._buckets, **self._drops} if _belongs(key, account, region, group, stream)]:
            self._drops.pop(key, None)
            bucket = self._buckets.pop(key, None)
            if bucket is not None:
                self._waiting_bytes -= bucket.size_bytes

    async def flush(self) -> None:
        """Write out all that was appended before this call; returns when it is durable.

        Raises:
            StoreError: the database failed. What may be tried again is still in the buffer.

        Cancellation: the writing goes on.
        """
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        if self._flushing is not None or self._buckets or self._drops:
            # The flush that another caller has begun meanwhile also has what was appended before this call.
            flushing = self._flushing or self._begin_flush()
            await asyncio.wait([flushing])
            flushing.result()

    async def run(self) -> NoReturn:
        """Write out what is appended, again and again, until cancelled. Call `flush` after that, before the database closes."""
        interval_s = self._flush_interval_s
        while True:
            await self._filled.wait()
            try:
                async with asyncio.timeout(interval_s):
                    await self._much.wait()
            except TimeoutError:
                pass
            streams = len(self._buckets)
            try:
                await self.flush()
            except StoreError:
                _log.exception("logs.flush.failed buffered_bytes=%d", self._waiting_bytes)
                await asyncio.sleep(_RETRY_S)
            stretched_s = min(streams / _STREAMS_PER_S, FLUSH_INTERVAL_MAX_S)
            interval_s = max(self._flush_interval_s, stretched_s)

    def statistics(self) -> Statistics:
        """Say how much came in, was written and was lost."""
        return Statistics(
            events_appended=self._appended,
            events_written=self._written,
            events_dropped=self._dropped,
            flushes=self._flushes,
            buffered_bytes=self._waiting_bytes + self._taken_bytes,
            buffer_bytes_max=self._buffer_bytes,
        )

    def _begin_flush(self) -> asyncio.Task[None]:
        # A task of its own, so that a reader who goes away does not take the events of others with him.
        self._flushing = asyncio.get_running_loop().create_task(self._flush(), name="logs-flush")
        self._flushing.add_done_callback(self._end_flush)
        return self._flushing

    def _end_flush(self, task: asyncio.Task[None]) -> None:
        self._flushing = None
        if not task.cancelled():
            task.exception()  # it has been told to whoever waited

    async def _flush(self) -> None:
        now_ms = self._now_ms()
        taken = self._take(now_ms)
        try:
            if self._taken_bytes <= writing.INLINE_CHARACTERS:
                packed = _pack(taken, self._feeds, now_ms)
            else:
                packed = await threads.run(_pack, taken, self._feeds, now_ms)
            known, send = self._known, self._feeds.send
            written = await self._database.write(lambda connection: writing.write_batches(connection, packed, known, send))
        except (Busy, Unavailable):
            self._put_back(taken)
            raise
        except StoreError:
            for key, bucket in taken.items():
                self._drop(key, len(bucket.events))
            raise
        finally:
            self._taken_bytes = 0
        self._feeds.sent(packed)
        self._flushes += 1
        self._written += sum(len(bucket.events) for bucket in taken.values())
        news = {key: ids for key, ids in written.items() if known.get(key) != ids}
        if news:
            # Never changed in place: the writer's thread reads it.
            self._known = {**(known if len(known) + len(news) <= _KNOWN_MAX else {}), **news}

    def _take(self, now_ms: int) -> dict[StreamKey, _Bucket]:
        taken, drops = self._buckets, self._drops
        self._buckets, self._drops = {}, {}
        self._taken_bytes, self._waiting_bytes = self._waiting_bytes, 0
        self._filled.clear()
        self._much.clear()
        for key, count in drops.items():
            bucket = taken.setdefault(key, _Bucket())
            bucket.events.append((now_ms, f"[lambdad] {count} log events could not be stored and were lost.\n"))
        return taken

    def _put_back(self, taken: dict[StreamKey, _Bucket]) -> None:
        for key, bucket in taken.items():
            later = self._buckets.get(key, _Bucket())
            self._buckets[key] = _Bucket(bucket.events + later.events, bucket.size_bytes + later.size_bytes)
            self._waiting_bytes += bucket.size_bytes
        if self._buckets:
            self._filled.set()

    def _drop(self, key: StreamKey, count: int) -> None:
        self._dropped += count
        if key in self._drops or len(self._drops) < _DROPS_MAX:
            self._drops[key] = self._drops.get(key, 0) + count
            self._filled.set()


def _belongs(key: StreamKey, account: str, region: str, group: str, stream: str | None) -> bool:
    return key[:3] == (account, region, group) and (stream is None or key[3] == stream)


def _pack(taken: dict[StreamKey, _Bucket], feeds: Feeds, now_ms: int) -> list[StreamBatch]:
    return [writing.pack(key, bucket.events, feeds.of(*key[:3]), now_ms) for key, bucket in taken.items()]

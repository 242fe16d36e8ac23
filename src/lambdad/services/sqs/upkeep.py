"""What the service does by itself: write down what receives have changed, and remove what is too old or was discarded.

How often a message was received, and until when it is in flight, is written within a second of the receive, together for all messages
that are still there. A program that is killed forgets at most that second: the message is visible again at once, and was received once
less.
"""

import asyncio
import logging
from functools import partial
from typing import Any, Final, NoReturn

from lambdad.kit.clock import NowMs
from lambdad.services.sqs.journal import Journal
from lambdad.services.sqs.moving import Mover, Removal
from lambdad.services.sqs.registry import Queue, Registry, queries
from lambdad.services.sqs.rules import limits
from lambdad.services.sqs.rules.entries import State
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.errors import StoreError

_log = logging.getLogger(__name__)

TOUCH_INTERVAL_S: Final = 0.5
SWEEP_INTERVAL_S: Final = 10.0
ROWS_AT_ONCE: Final = 1_000


class Upkeep:
    """Keep the rows of receives up to date, and the tables small."""

    def __init__(self, database: Database, registry: Registry, journal: Journal, mover: Mover, now_ms: NowMs) -> None:
        self._database = database
        self._registry = registry
        self._journal = journal
        self._mover = mover
        self._now_ms = now_ms
        self._touched: dict[Queue, None] = {}

    def touched(self, queue: Queue) -> None:
        """Hear that a queue has messages whose rows are not up to date."""
        self._touched[queue] = None

    async def run(self) -> NoReturn:
        """Do all that, again and again, until cancelled. Call `flush` after that, before the journal is finished."""
        next_sweep_s = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self.flush()
                if loop.time() >= next_sweep_s:
                    next_sweep_s = loop.time() + SWEEP_INTERVAL_S
                    await self.sweep()
            except StoreError:
                # Safe to go on: what was to be removed still is, and a receive that is not written down is as one before a kill.
                _log.exception("sqs.upkeep.failed")
            await asyncio.sleep(TOUCH_INTERVAL_S)

    async def flush(self) -> None:
        """Write down what receives have changed; returns when it is durable."""
        for written in self.hand_in():
            await written

    def hand_in(self) -> "list[asyncio.Future[Any]]":
        """Have written down what receives have changed."""
        queues, self._touched = self._touched, {}
        rows: list[dict[str, Any]] = []
        for queue in queues:
            rows += [
                {
                    "queue_id": queue.id,
                    "seq": entry.seq,
                    "visible_at_ms": entry.due_at_ms,
                    "receives": entry.receives,
                    "first_received_at_ms": entry.first_received_at_ms,
                }
                for entry in queue.touched.values()
                if entry.state is not State.GONE
            ]
            queue.touched.clear()
        return [self._journal.hand_in(_Touch(rows[at : at + ROWS_AT_ONCE])) for at in range(0, len(rows), ROWS_AT_ONCE)]

    async def sweep(self) -> None:
        """Remove messages that are too old, those of queues that were deleted or purged, and what is remembered for a while only."""
        now_ms = self._now_ms()
        for queue in list(self._registry.everything()):
            await self._expire(queue, now_ms - queue.settings.retention_ms)
        await self._discard()
        while await self._database.write(
            lambda connection: connection.run(queries.forget_deduplications, now_ms=now_ms, limit=ROWS_AT_ONCE)
        ):
            pass
        before_ms = now_ms - limits.DELETED_RECENTLY_MS
        deleted = self._registry.deleted_at_ms
        for key in [key for key, at_ms in deleted.items() if at_ms <= before_ms]:
            del deleted[key]
        await self._database.write(lambda connection: connection.run(queries.forget_deleted_queues, before_ms=before_ms))

    async def _expire(self, queue: Queue, oldest_ms: int) -> None:
        """Remove messages that were sent too long ago: those in memory, and what comes first of the rows that are not."""
        index = queue.index
        while found := index.expired(oldest_ms, ROWS_AT_ONCE):
            await self._mover.remove(queue, found)
        while index.spilled and not queue.is_deleted:
            rows = await self._database.read(
                lambda connection: connection.all(
                    queries.oldest_messages, queue_id=queue.id, after_seq=queue.purged_through, limit=ROWS_AT_ONCE
                )
            )
            seqs = [row.seq for row in rows if row.sent_at_ms <= oldest_ms and row.seq not in index.entries]
            if not seqs:
                return
            await self._journal.carry_out(Removal(queue, seqs, lambda _: None))

    async def _discard(self) -> None:
        for discard in await self._database.read(lambda connection: connection.all(queries.all_discards, limit=ROWS_AT_ONCE)):
            while await self._database.write(partial(_discard_some, discard)):
                pass


def _discard_some(discard: Row, connection: Connection) -> int:
    """Remove some messages, and, when none is left, the note that there are some; returns how many."""
    count = connection.run(queries.discard_messages, queue_id=discard.queue_id, through_seq=discard.through_seq, limit=ROWS_AT_ONCE)
    if not count:
        connection.run(queries.delete_discard, id=discard.id)
    return count


class _Touch:
    """What receives have changed is written down."""

    size_bytes = 0

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def write(self, connection: Connection) -> None:
        connection.many(queries.touch_message, self._rows)

    def apply(self, written: None) -> None:
        pass

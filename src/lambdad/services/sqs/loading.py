"""What of a queue is not in memory, read from the database when its turn comes."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NoReturn

from lambdad.kit.clock import NowMs
from lambdad.services.sqs.registry import Queue, queries
from lambdad.services.sqs.rules.entries import Entry
from lambdad.services.sqs.rules.index import START
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.errors import StoreError

_log = logging.getLogger(__name__)

_ROWS_AT_ONCE: Final = 5_000


class Loader:
    """
    Read messages, one queue after the other.

    Args:
        loaded: told of a queue after messages of it were read.
    """

    def __init__(self, database: Database, now_ms: NowMs, loaded: Callable[[Queue], None]) -> None:
        self._database = database
        self._now_ms = now_ms
        self._loaded = loaded
        self._asked: OrderedDict[Queue, None] = OrderedDict()
        self._filled = asyncio.Event()

    def load(self, queue: Queue) -> "asyncio.Future[None]":
        """Have the next messages of a queue read; the future is done when they are there, and need not be looked at."""
        if queue.loading is None:
            queue.loading = asyncio.get_running_loop().create_future()
            queue.loading.add_done_callback(_look_at)
            self._asked[queue] = None
            self._filled.set()
        return queue.loading

    async def run(self) -> NoReturn:
        """Read what was asked for, until cancelled."""
        while True:
            await self._filled.wait()
            queue, _ = self._asked.popitem(last=False)
            if not self._asked:
                self._filled.clear()
            failure: StoreError | None = None
            try:
                await self._load(queue)
            except StoreError as error:
                _log.exception("sqs.load.failed queue=%s", queue.arn)
                queue.index.end_load()
                failure = error
            loading, queue.loading = queue.loading, None
            assert loading is not None
            if failure is None:
                loading.set_result(None)
                self._loaded(queue)
            else:  # who waits for messages looks again by itself
                loading.set_exception(failure)

    async def _load(self, queue: Queue) -> None:
        index, after_seq = queue.index, queue.purged_through
        limit = min(index.room(), _ROWS_AT_ONCE)
        due_at_ms, from_seq = index.horizon or START

        def read(connection: Connection) -> list[Row]:
            query = queries.messages_by_number if queue.settings.is_fifo else queries.messages_by_visibility
            return connection.all(query, queue_id=queue.id, due_at_ms=due_at_ms, from_seq=from_seq, after_seq=after_seq, limit=limit)

        index.begin_load()
        rows = await self._database.read(read)
        if queue.purged_through != after_seq or queue.is_deleted:
            index.end_load()
            return
        index.load([entry_of(row) for row in rows], self._now_ms(), is_all=len(rows) < limit)


def _look_at(loading: "asyncio.Future[None]") -> None:
    if not loading.cancelled():
        loading.exception()


def entry_of(row: Row) -> Entry:
    """Return what is kept in memory of a row."""
    return Entry(
        row.seq,
        row.sent_at_ms,
        row.visible_at_ms,
        row.message_group,
        receives=row.receives,
        receives_before=row.receives_before,
        first_received_at_ms=row.first_received_at_ms,
    )

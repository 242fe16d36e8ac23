"""The service: its parts put together, its operations by name, and what it does by itself."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from lambdad.kit.clock import NowMs
from lambdad.services.ports import Service
from lambdad.services.sqs.acknowledging import Acknowledging
from lambdad.services.sqs.journal import Journal
from lambdad.services.sqs.loading import Loader
from lambdad.services.sqs.move_tasks import MoveTasks
from lambdad.services.sqs.moving import Mover
from lambdad.services.sqs.queues import Queues
from lambdad.services.sqs.receiving import Receiving
from lambdad.services.sqs.registry import Queue, Registry
from lambdad.services.sqs.rules import limits
from lambdad.services.sqs.rules.entries import Cache
from lambdad.services.sqs.sending import Sending
from lambdad.services.sqs.tags import Tags
from lambdad.services.sqs.upkeep import Upkeep
from lambdad.store.database import Database
from lambdad.store.migrations import Migrations, load_migrations

_SECRET_BYTES = 16


def migrations() -> Migrations:
    """Return the schema that the service needs in its database."""
    return load_migrations("lambdad.services.sqs")


def _new_id() -> str:
    """Make a UUID of version 4 as text, for a third of what the class in the library takes."""
    digits = secrets.token_hex(16)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) & 3]}{digits[17:20]}-{digits[20:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """For debugging, introspection and metrics; all of it is now."""

    queues: int
    messages_in_memory: int
    messages_in_flight: int
    messages_spilled: int
    waiters: int
    cached_bytes: int
    cached_bytes_max: int


class SqsService:
    """Amazon SQS. One process serves a queue: who receives what is decided in its memory.

    Args:
        database: opened with `migrations`.
        now_ms: the clock.
        new_id: makes ids of messages and tasks.
        cache_bytes, window: how much is in memory; see `rules.limits`.
        deleted_recently_ms: how long the name of a deleted queue cannot be used.

    Call `open` before anything else. `run` is to be kept running; after it has been cancelled, `close` writes down the rest.
    """

    def __init__(
        self,
        database: Database,
        now_ms: NowMs,
        *,
        new_id: Callable[[], str] = _new_id,
        cache_bytes: int = limits.CACHE_BYTES,
        window: int = limits.WINDOW,
        deleted_recently_ms: int = limits.DELETED_RECENTLY_MS,
    ) -> None:
        self._cache = Cache(cache_bytes)
        self._woken: dict[Queue, None] = {}
        self._registry = Registry(database, now_ms, self._cache, window)
        self._journal = Journal(database, self._serve_woken)
        mover = Mover(self._journal, now_ms, self._wake)
        self._loader = Loader(database, now_ms, lambda queue: self._receiving.serve(queue))
        self.upkeep = Upkeep(database, self._registry, self._journal, mover, now_ms)
        self._receiving = Receiving(database, self._registry, self._loader, mover, now_ms, self.upkeep.touched)
        self._queues = Queues(
            database,
            self._registry,
            self._journal,
            now_ms,
            lambda: secrets.token_bytes(_SECRET_BYTES),
            self._wake,
            deleted_recently_ms=deleted_recently_ms,
        )
        self._move_tasks = MoveTasks(database, self._registry, self._loader, mover, now_ms, new_id)
        self._chapters = (
            self._queues,
            Tags(database, self._registry, self._queues),
            Sending(self._registry, self._journal, now_ms, new_id, self._wake),
            self._receiving,
            Acknowledging(
                database,
                self._registry,
                self._journal,
                self._loader,
                now_ms,
                woken=self._wake,
                serve=self._receiving.serve,
                touched=self.upkeep.touched,
            ),
            self._move_tasks,
        )

    async def open(self) -> None:
        """Read all queues, and the tasks that are not done."""
        await self._registry.load()
        await self._move_tasks.resume()

    def service(self) -> Service:
        """Return the operations for the server."""
        return Service(name="sqs", handlers={name: handler for chapter in self._chapters for name, handler in chapter.handlers().items()})

    async def run(self) -> NoReturn:
        """Carry out changes, load messages, move messages, keep the tables small, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._journal.run())
            tasks.create_task(self._loader.run())
            tasks.create_task(self._move_tasks.run())
            tasks.create_task(self.upkeep.run())
        raise AssertionError("none of them ends by itself")

    def stop_waiting(self) -> None:
        """Answer all who wait for messages at once, from now on: the server is about to stop."""
        self._receiving.close()

    async def close(self) -> None:
        """Write down what is not yet, after `run` was cancelled."""
        self.stop_waiting()
        self.upkeep.hand_in()
        await self._journal.finish()

    def statistics(self) -> Statistics:
        """Say what is in memory."""
        queues = list(self._registry.everything())
        return Statistics(
            queues=len(queues),
            messages_in_memory=sum(len(queue.index.entries) for queue in queues),
            messages_in_flight=sum(queue.index.in_flight for queue in queues),
            messages_spilled=sum(queue.index.spilled for queue in queues),
            waiters=sum(len(queue.waiters) for queue in queues),
            cached_bytes=self._cache.used_bytes,
            cached_bytes_max=self._cache.limit_bytes,
        )

    def _wake(self, queue: Queue) -> None:
        self._woken[queue] = None

    def _serve_woken(self) -> None:
        woken, self._woken = self._woken, {}
        for queue in woken:
            self._receiving.serve(queue)

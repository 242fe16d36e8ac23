"""All queues, in memory: each with its attributes, its index, and who waits for its messages."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from lambdad.kit.clock import NowMs
from lambdad.services.ports import CallContext
from lambdad.services.sqs import errors
from lambdad.services.sqs.rules import attributes, names, policies
from lambdad.services.sqs.rules.attributes import QueueSettings
from lambdad.services.sqs.rules.entries import Cache, Entry, Received
from lambdad.services.sqs.rules.index import QueueIndex
from lambdad.services.sqs.rules.names import QueueKey
from lambdad.store.connection import Row
from lambdad.store.database import Database
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.sqs", "queries.sql")


@dataclass(slots=True, eq=False)
class Waiter:
    """A receive that waits for messages."""

    wanted: int
    visibility_ms: int
    is_gone: Callable[[], bool]
    future: "asyncio.Future[list[Received]]"


@dataclass(slots=True, kw_only=True, eq=False)
class Queue:
    """One queue. Its rows are truth; what is here follows them, but for what the index knows of receives (see `upkeep`).

    Args:
        attributes: all that are set, defaults included.
        purged_through: messages up to this number are gone.
        last_seq: the highest number that was given out.
        waiters: who waits for messages, the longest first.
        touched: messages whose rows are to be brought up to date.
        attempts: what receives with a ReceiveRequestAttemptId came to, and until when that counts.
    """

    id: int
    key: QueueKey
    arn: str
    attributes: dict[str, str]
    settings: QueueSettings
    tags: dict[str, str]
    secret: bytes
    created_at_ms: int
    modified_at_ms: int
    purged_at_ms: int
    purged_through: int
    last_seq: int
    index: QueueIndex
    waiters: dict[Waiter, None] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    loading: "asyncio.Future[None] | None" = None
    touched: dict[int, Entry] = field(default_factory=dict)
    attempts: OrderedDict[str, tuple[int, list[Received]]] = field(default_factory=OrderedDict)
    is_deleted: bool = False

    def next_seq(self, now_ms: int) -> int:
        """Give out a number: higher than all before, also than those that were given out before a restart and are forgotten."""
        self.last_seq = max(self.last_seq + 1, now_ms * 1000)
        return self.last_seq


class Registry:
    """Find queues."""

    def __init__(self, database: Database, now_ms: NowMs, cache: Cache, window: int) -> None:
        self._database = database
        self._now_ms = now_ms
        self._cache = cache
        self._window = window
        self._queues: dict[QueueKey, Queue] = {}
        self.deleted_at_ms: dict[QueueKey, int] = {}

    async def load(self) -> None:
        """Read all queues; their messages are read when somebody asks for them."""

        def read(connection: Any) -> tuple[list[Row], list[Row], list[Row]]:
            return (
                connection.all(queries.all_queues),
                connection.all(queries.count_messages),
                connection.all(queries.deleted_queues),
            )

        rows, counts, deleted = await self._database.read(read)
        counted = {row.queue_id: (row.messages, row.last_seq) for row in counts}
        for row in rows:
            messages, last_seq = counted.get(row.id, (0, 0))
            self.add(row, messages=messages, last_seq=max(last_seq, row.purged_through))
        self.deleted_at_ms = {QueueKey(row.account, row.region, row.name): row.deleted_at_ms for row in deleted}

    def add(self, row: Any, *, messages: int = 0, last_seq: int = 0) -> Queue:
        """Make a queue known that is a row; ``row`` has the columns of ``sqs_queues``."""
        key = QueueKey(row["account"], row["region"], row["name"])
        values: dict[str, str] = orjson.loads(row["attributes"])
        settings = attributes.settings(values)
        queue = self._queues[key] = Queue(
            id=row["id"],
            key=key,
            arn=names.queue_arn(key),
            attributes=values,
            settings=settings,
            tags=orjson.loads(row["tags"]),
            secret=row["secret"],
            created_at_ms=row["created_at_ms"],
            modified_at_ms=row["modified_at_ms"],
            purged_at_ms=row["purged_at_ms"],
            purged_through=row["purged_through"],
            last_seq=last_seq,
            index=QueueIndex(is_fifo=settings.is_fifo, spilled=messages, last_seq=last_seq, cache=self._cache, window=self._window),
        )
        return queue

    def remove(self, queue: Queue, now_ms: int) -> None:
        """Forget a queue that is no row any more."""
        queue.is_deleted = True
        self._queues.pop(queue.key, None)
        self.deleted_at_ms[queue.key] = now_ms

    def get(self, key: QueueKey) -> Queue | None:
        """Return a queue, or None."""
        return self._queues.get(key)

    def everything(self) -> Iterator[Queue]:
        """Yield all queues; the caller must not let others run in between."""
        return iter(self._queues.values())

    def of_account(self, account: str, region: str) -> list[Queue]:
        """Return the queues of an account in a region, in order of names."""
        found = [queue for key, queue in self._queues.items() if key.account == account and key.region == region]
        return sorted(found, key=lambda queue: queue.key.name)

    def find(self, context: CallContext, request: dict[str, Any], action: str) -> Queue:
        """
        Find the queue that a request names by ``QueueUrl``.

        Raises:
            MissingParameter, InvalidAddress: it names none.
            AccessDenied: it is another account's, whose policy does not let the caller in.
            QueueDoesNotExist: there is none of that name.
        """
        url = request.get("QueueUrl")
        if not url:
            raise errors.MissingParameter("QueueUrl")
        return self.find_key(context, names.of_url(url, context.account, context.region), action)

    def find_key(self, context: CallContext, key: QueueKey, action: str) -> Queue:
        """
        Find a queue for a caller.

        Raises:
            AccessDenied, QueueDoesNotExist: as in `find`.
        """
        queue = self._queues.get(key)
        if key.account != context.account and context.origin is None:
            policy = queue.attributes.get("Policy", "") if queue is not None else ""
            if not policies.allows(policy, context.account, context.principal_arn, action):
                raise errors.AccessDenied(context.principal_arn, action, names.queue_arn(key))
        if queue is None:
            raise errors.QueueDoesNotExist
        return queue

    def of_arn(self, arn: str) -> Queue | None:
        """Return the queue with an ARN, or None."""
        key = names.of_arn(arn)
        return self._queues.get(key) if key is not None else None

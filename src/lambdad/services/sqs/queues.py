"""Queues: CreateQueue, DeleteQueue, ListQueues, GetQueueUrl, PurgeQueue, and their attributes."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from lambdad.kit.clock import NowMs
from lambdad.services.ports import CallContext, Handler
from lambdad.services.sqs import errors
from lambdad.services.sqs.journal import Journal
from lambdad.services.sqs.registry import Queue, Registry, queries
from lambdad.services.sqs.rules import attributes, limits, names, paging
from lambdad.services.sqs.rules.names import QueueKey
from lambdad.store.connection import Connection
from lambdad.store.database import Database

_EVERYTHING = 2**62


class Queues:
    """The operations on queues and their attributes.

    Args:
        new_secret: makes 16 random bytes.
        woken: told of queues whose waiters should look again.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        journal: Journal,
        now_ms: NowMs,
        new_secret: Callable[[], bytes],
        woken: Callable[[Queue], None],
        *,
        deleted_recently_ms: int,
    ) -> None:
        self._database = database
        self._registry = registry
        self._journal = journal
        self._now_ms = now_ms
        self._new_secret = new_secret
        self._woken = woken
        self._deleted_recently_ms = deleted_recently_ms
        self.changing = asyncio.Lock()  # queues, attributes and tags change one after the other

    def handlers(self) -> dict[str, Handler]:
        """Name the operations."""
        return {
            "CreateQueue": self.create_queue,
            "DeleteQueue": self.delete_queue,
            "GetQueueAttributes": self.get_queue_attributes,
            "GetQueueUrl": self.get_queue_url,
            "ListDeadLetterSourceQueues": self.list_dead_letter_source_queues,
            "ListQueues": self.list_queues,
            "PurgeQueue": self.purge_queue,
            "SetQueueAttributes": self.set_queue_attributes,
        }

    async def create_queue(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Make a queue; one that is there already and has all the attributes that are given is as good.

        Raises:
            InvalidParameterValue, InvalidAttributeName, InvalidAttributeValue, UnsupportedOperation: the name or an attribute.
            QueueNameExists: there is one whose attributes are others.
            QueueDeletedRecently: one of that name was deleted less than a minute ago.
        """
        name = request.get("QueueName")
        if not name:
            raise errors.MissingParameter("QueueName")
        given = request.get("Attributes", {})
        is_fifo = given.get("FifoQueue", "").lower() == "true"
        names.check_new(name, is_fifo=is_fifo)
        tags = request.get("tags", {})
        if len(tags) > limits.TAGS:
            raise errors.InvalidParameterValue(f"Too many tags added for queue {name}.")
        kept = attributes.check(given, is_fifo=is_fifo, is_new=True)
        key = QueueKey(context.account, context.region, name)
        async with self.changing:
            existing = self._registry.get(key)
            if existing is not None:
                differing = attributes.difference(existing.attributes, kept)
                if differing is not None:
                    raise errors.QueueNameExists(differing)
            else:
                complete = attributes.complete(kept, is_fifo=is_fifo)
                self._check_dead_letters(key, complete)
                await self._insert(key, complete, tags)
        return {"QueueUrl": names.queue_url(context.endpoint, key)}

    async def _insert(self, key: QueueKey, complete: dict[str, str], tags: dict[str, str]) -> None:
        now_ms = self._now_ms()
        deleted_at_ms = self._registry.deleted_at_ms.get(key)
        if deleted_at_ms is not None and now_ms - deleted_at_ms < self._deleted_recently_ms:
            raise errors.QueueDeletedRecently
        row = {
            "account": key.account,
            "region": key.region,
            "name": key.name,
            "attributes": orjson.dumps(complete).decode(),
            "tags": orjson.dumps(tags).decode(),
            "secret": self._new_secret(),
        }
        inserted = await self._database.write(lambda connection: connection.one(queries.insert_queue, now_ms=now_ms, **row))
        assert inserted is not None
        times = {"created_at_ms": now_ms, "modified_at_ms": now_ms, "purged_at_ms": 0, "purged_through": 0}
        self._registry.add({"id": inserted.id, **row, **times})

    async def delete_queue(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a queue and all its messages; who waits for messages is told that it is gone.

        Raises:
            QueueDoesNotExist: there is none.
        """
        queue = self._registry.find(context, request, "DeleteQueue")
        async with self.changing:
            if not queue.is_deleted:
                await self._journal.carry_out(_Deletion(self._registry, queue, self._now_ms(), self._woken))
        return {}

    async def purge_queue(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove all messages that were sent before this call.

        Raises:
            QueueDoesNotExist: there is no such queue.
            PurgeQueueInProgress: it was purged less than a minute ago.
        """
        queue = self._registry.find(context, request, "PurgeQueue")
        now_ms = self._now_ms()
        if queue.purged_at_ms and now_ms - queue.purged_at_ms < limits.PURGE_INTERVAL_MS:
            raise errors.PurgeQueueInProgress(queue.key.name)
        queue.purged_at_ms = now_ms  # another one at the same time is refused
        await self._journal.carry_out(_Purge(queue, now_ms, queue.last_seq))
        return {}

    async def get_queue_url(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Return the URL of a queue.

        Raises:
            QueueDoesNotExist: there is none of that name in the account.
        """
        name = request.get("QueueName")
        if not name:
            raise errors.MissingParameter("QueueName")
        account = request.get("QueueOwnerAWSAccountId") or context.account
        queue = self._registry.find_key(context, QueueKey(account, context.region, name), "GetQueueUrl")
        return {"QueueUrl": names.queue_url(context.endpoint, queue.key)}

    async def list_queues(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List the URLs of the caller's queues, in order of names."""
        prefix = request.get("QueueNamePrefix", "")
        found = [queue for queue in self._registry.of_account(context.account, context.region) if queue.key.name.startswith(prefix)]
        page, token = paging.page(found, lambda queue: queue.key.name, request)
        output: dict[str, Any] = {}
        if page:
            output["QueueUrls"] = [names.queue_url(context.endpoint, queue.key) for queue in page]
        if token is not None:
            output["NextToken"] = token
        return output

    async def list_dead_letter_source_queues(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List the URLs of queues whose dead messages come to a queue.

        Raises:
            QueueDoesNotExist: there is no such queue.
        """
        target = self._registry.find(context, request, "ListDeadLetterSourceQueues")
        page, token = paging.page(sources_of(self._registry, target), lambda queue: queue.key.name, request)
        output: dict[str, Any] = {"queueUrls": [names.queue_url(context.endpoint, queue.key) for queue in page]}
        if token is not None:
            output["NextToken"] = token
        return output

    async def get_queue_attributes(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Return attributes of a queue, among them how many messages it has.

        Raises:
            QueueDoesNotExist: there is no such queue.
            InvalidAttributeName: there is no such attribute.
        """
        queue = self._registry.find(context, request, "GetQueueAttributes")
        wanted = attributes.wanted(request.get("AttributeNames", []))
        if not wanted:
            return {}
        index = queue.index
        index.advance(self._now_ms())
        computed = {
            "QueueArn": queue.arn,
            "ApproximateNumberOfMessages": str(index.ready + index.spilled),
            "ApproximateNumberOfMessagesNotVisible": str(index.in_flight),
            "ApproximateNumberOfMessagesDelayed": str(index.delayed),
            "CreatedTimestamp": str(queue.created_at_ms // 1000),
            "LastModifiedTimestamp": str(queue.modified_at_ms // 1000),
        }
        found = {name: value for name, value in {**computed, **queue.attributes}.items() if name in wanted}
        return {"Attributes": found} if found else {}

    async def set_queue_attributes(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Change attributes of a queue; an empty value takes an attribute away.

        Raises:
            QueueDoesNotExist: there is no such queue.
            InvalidParameterValue, InvalidAttributeName, InvalidAttributeValue, UnsupportedOperation: an attribute.
        """
        queue = self._registry.find(context, request, "SetQueueAttributes")
        given = request.get("Attributes")
        if not given:
            raise errors.MissingParameter("Attribute.Name")
        is_fifo = queue.settings.is_fifo
        kept = attributes.check(given, is_fifo=is_fifo, is_new=False)
        async with self.changing:
            complete = attributes.complete({**queue.attributes, **kept}, is_fifo=is_fifo)
            self._check_dead_letters(queue.key, complete)
            await self.store_attributes(queue, complete)
        return {}

    async def store_attributes(self, queue: Queue, complete: dict[str, str]) -> None:
        """Replace a queue's attributes; the caller holds `changing`."""
        if queue.is_deleted:
            raise errors.QueueDoesNotExist
        now_ms = self._now_ms()
        text = orjson.dumps(complete).decode()
        await self._database.write(lambda connection: connection.run(queries.set_attributes, id=queue.id, attributes=text, now_ms=now_ms))
        queue.attributes = complete
        queue.settings = attributes.settings(complete)
        queue.modified_at_ms = now_ms

    def _check_dead_letters(self, key: QueueKey, complete: dict[str, str]) -> None:
        """
        Refuse a dead-letter queue that cannot be one.

        Raises:
            InvalidParameterValue: it is not there, is of the other type or elsewhere, or does not allow it.
        """
        settings = attributes.settings(complete)
        if settings.dead_letters is None:
            return
        policy, target_key = complete["RedrivePolicy"], settings.dead_letters.target
        if (target_key.account, target_key.region) != (key.account, key.region):
            raise errors.invalid(policy, "RedrivePolicy", "Dead-letter target owner should be same as the source.")
        target = self._registry.get(target_key)
        if target is None:
            raise errors.invalid(policy, "RedrivePolicy", "Dead letter target does not exist.")
        if target.settings.is_fifo != settings.is_fifo:
            raise errors.invalid(policy, "RedrivePolicy", "Dead-letter queue must be same type of queue as the source.")
        if not attributes.allows_source(target.attributes, names.queue_arn(key)):
            raise errors.invalid(policy, "RedrivePolicy", "The dead-letter queue does not allow this queue to use it (RedriveAllowPolicy).")


def sources_of(registry: Registry, target: Queue) -> list[Queue]:
    """Return the queues whose dead messages come to a queue, in order of names."""
    queues = registry.of_account(target.key.account, target.key.region)
    return [queue for queue in queues if queue.settings.dead_letters is not None and queue.settings.dead_letters.target == target.key]


class _Deletion:
    """A queue is deleted."""

    size_bytes = 0

    def __init__(self, registry: Registry, queue: Queue, now_ms: int, woken: Callable[[Queue], None]) -> None:
        self._registry = registry
        self._queue = queue
        self._now_ms = now_ms
        self._woken = woken

    def write(self, connection: Connection) -> None:
        key = self._queue.key
        connection.run(queries.delete_queue, id=self._queue.id)
        connection.run(queries.put_deleted_queue, account=key.account, region=key.region, name=key.name, now_ms=self._now_ms)
        connection.run(queries.insert_discard, queue_id=self._queue.id, through_seq=_EVERYTHING)

    def apply(self, written: None) -> None:
        self._registry.remove(self._queue, self._now_ms)
        self._queue.index.purge(_EVERYTHING)
        self._woken(self._queue)


class _Purge:
    """A queue is emptied."""

    size_bytes = 0

    def __init__(self, queue: Queue, now_ms: int, through_seq: int) -> None:
        self._queue = queue
        self._now_ms = now_ms
        self._through_seq = through_seq

    def write(self, connection: Connection) -> None:
        connection.run(queries.set_purged, id=self._queue.id, now_ms=self._now_ms, through_seq=self._through_seq)
        connection.run(queries.insert_discard, queue_id=self._queue.id, through_seq=self._through_seq)

    def apply(self, written: None) -> None:
        self._queue.purged_through = self._through_seq
        self._queue.index.purge(self._through_seq)

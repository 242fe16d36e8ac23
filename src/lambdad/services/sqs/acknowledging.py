"""What receivers do with messages: DeleteMessage, ChangeMessageVisibility, and their batches."""

import asyncio
from collections.abc import Callable
from typing import Any

from lambdad.kit.clock import NowMs
from lambdad.model.errors import AwsError
from lambdad.services.ports import CallContext, Handler
from lambdad.services.sqs import errors
from lambdad.services.sqs.journal import Journal
from lambdad.services.sqs.loading import Loader, entry_of
from lambdad.services.sqs.moving import Removal
from lambdad.services.sqs.registry import Queue, Registry, queries
from lambdad.services.sqs.rules import batches, handles, limits
from lambdad.services.sqs.rules.entries import Entry, State
from lambdad.services.sqs.rules.handles import Handle
from lambdad.store.database import Database


class Acknowledging:
    """The operations on messages that were received.

    Args:
        woken: told of queues whose messages have changed; `serve` gives them to who waits at once.
        touched: told of queues with messages whose rows are to be brought up to date.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        journal: Journal,
        loader: Loader,
        now_ms: NowMs,
        *,
        woken: Callable[[Queue], None],
        serve: Callable[[Queue], None],
        touched: Callable[[Queue], None],
    ) -> None:
        self._database = database
        self._registry = registry
        self._journal = journal
        self._loader = loader
        self._now_ms = now_ms
        self._woken = woken
        self._serve = serve
        self._touched = touched

    def handlers(self) -> dict[str, Handler]:
        """Name the operations."""
        return {
            "ChangeMessageVisibility": self.change_message_visibility,
            "ChangeMessageVisibilityBatch": self.change_message_visibility_batch,
            "DeleteMessage": self.delete_message,
            "DeleteMessageBatch": self.delete_message_batch,
        }

    async def delete_message(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Delete a message; one that is gone already is as good.

        Raises:
            QueueDoesNotExist, ReceiptHandleIsInvalid: there is no such queue; the handle is not one of its.
            InvalidParameterValue: a FIFO queue's message is not, or no longer, the caller's.
        """
        queue = self._registry.find(context, request, "DeleteMessage")
        seq = await self._deletable(queue, request)
        await self._journal.carry_out(Removal(queue, [seq], self._woken))
        return {}

    async def delete_message_batch(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Delete up to ten messages; those that cannot be deleted do not hold up the others.

        Raises:
            QueueDoesNotExist: there is no such queue.
            EmptyBatchRequest, TooManyEntriesInBatchRequest, InvalidBatchEntryId, BatchEntryIdsNotDistinct: the batch.
        """
        queue = self._registry.find(context, request, "DeleteMessage")
        entries = request.get("Entries", [])
        batches.check(entries, "DeleteMessageBatchRequestEntry")
        done: dict[str, int] = {}
        failed: list[dict[str, Any]] = []
        for entry in entries:
            try:
                done[entry["Id"]] = await self._deletable(queue, entry)
            except AwsError as error:
                failed.append(batches.failure(entry["Id"], error))
        if done:
            await self._journal.carry_out(Removal(queue, list(done.values()), self._woken))
        return _outcome(list(done), failed)

    async def change_message_visibility(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Let a message that was received be invisible for longer, or less long.

        Raises:
            QueueDoesNotExist, ReceiptHandleIsInvalid: there is no such queue; the handle is not one of its.
            MissingParameter, InvalidParameterValue: the time; the message is gone, or not the caller's.
            MessageNotInflight: it is visible.
        """
        queue = self._registry.find(context, request, "ChangeMessageVisibility")
        await self._change(queue, request)
        return {}

    async def change_message_visibility_batch(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Do so for up to ten messages; those for which it cannot be done do not hold up the others.

        Raises:
            QueueDoesNotExist: there is no such queue.
            EmptyBatchRequest, TooManyEntriesInBatchRequest, InvalidBatchEntryId, BatchEntryIdsNotDistinct: the batch.
        """
        queue = self._registry.find(context, request, "ChangeMessageVisibility")
        entries = request.get("Entries", [])
        batches.check(entries, "ChangeMessageVisibilityBatchRequestEntry")
        done: list[str] = []
        failed: list[dict[str, Any]] = []
        for entry in entries:
            try:
                await self._change(queue, entry)
                done.append(entry["Id"])
            except AwsError as error:
                failed.append(batches.failure(entry["Id"], error))
        return _outcome(done, failed)

    async def _deletable(self, queue: Queue, entry: dict[str, Any]) -> int:
        text = entry.get("ReceiptHandle")
        if not text:
            raise errors.MissingParameter("ReceiptHandle")
        handle = handles.read(text, queue.secret)
        if queue.settings.is_fifo:
            known = await self._find(queue, handle.seq)
            now_ms = self._now_ms()
            queue.index.advance(now_ms)
            if known is not None and known.state is not State.GONE and not _holds(known, handle, now_ms):
                raise errors.invalid(text, "ReceiptHandle", "The receipt handle has expired.")
        return handle.seq

    async def _change(self, queue: Queue, entry: dict[str, Any]) -> None:
        text, timeout_s = entry.get("ReceiptHandle"), entry.get("VisibilityTimeout")
        if not text:
            raise errors.MissingParameter("ReceiptHandle")
        if timeout_s is None:
            raise errors.MissingParameter("VisibilityTimeout")
        if not 0 <= timeout_s <= limits.VISIBILITY_S:
            raise errors.invalid(timeout_s, "VisibilityTimeout", "Must be between 0 and 43200, if provided.")
        handle = handles.read(text, queue.secret)
        known = await self._find(queue, handle.seq)
        now_ms = self._now_ms()
        queue.index.advance(now_ms)
        if known is None or known.state in (State.GONE, State.MOVING):
            raise errors.invalid(text, "ReceiptHandle", "Message does not exist or is not available for visibility timeout change.")
        if queue.settings.is_fifo and (known.state is not State.IN_FLIGHT or known.receives != handle.receives):
            raise errors.invalid(text, "ReceiptHandle", "The receipt handle has expired.")
        if known.state is not State.IN_FLIGHT:
            raise errors.MessageNotInflight
        if now_ms + timeout_s * 1000 > handle.received_at_ms + limits.VISIBILITY_S * 1000:
            raise errors.invalid(
                timeout_s,
                "VisibilityTimeout",
                f"Total VisibilityTimeout for the message is beyond the limit [{limits.VISIBILITY_S} seconds].",
            )
        queue.index.change_visibility(known, now_ms + timeout_s * 1000, now_ms)
        queue.touched[known.seq] = known
        self._touched(queue)
        self._serve(queue)

    async def _find(self, queue: Queue, seq: int) -> Entry | None:
        """Return what is known of a message; None if it is gone."""
        index = queue.index
        found = index.entries.get(seq)
        if found is not None or not index.spilled:
            return found
        row = await self._database.read(
            lambda connection: connection.one(queries.find_message, queue_id=queue.id, seq=seq, after_seq=queue.purged_through)
        )
        if row is None:
            return None
        if not queue.settings.is_fifo:
            return index.load_one(entry_of(row), self._now_ms())
        while seq not in index.entries and index.horizon is not None and index.horizon[1] <= seq and index.wants_load(self._now_ms()):
            await asyncio.shield(self._loader.load(queue))
        return index.entries.get(seq)


def _holds(entry: Entry, handle: Handle, now_ms: int) -> bool:
    """Say whether a message of a FIFO queue is still with the one who received it."""
    if handle.receives == entry.receives:
        return entry.state is State.IN_FLIGHT
    # Received shortly before the program was killed, so that it was not written down; and not received again since.
    return handle.receives > entry.receives and handle.until_ms > now_ms


def _outcome(done: list[str], failed: list[dict[str, Any]]) -> dict[str, Any]:
    output: dict[str, Any] = {}
    if done:
        output["Successful"] = [{"Id": entry_id} for entry_id in done]
    if failed:
        output["Failed"] = failed
    return output

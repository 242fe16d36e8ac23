"""SendMessage and SendMessageBatch: one row for each message, durable before the answer."""

import base64
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lambdad.kit.clock import NowMs
from lambdad.model.errors import AwsError
from lambdad.services.ports import CallContext, Handler
from lambdad.services.sqs import errors
from lambdad.services.sqs.journal import Journal
from lambdad.services.sqs.moving import row_of
from lambdad.services.sqs.receiving import sequence_number
from lambdad.services.sqs.registry import Queue, Registry, queries
from lambdad.services.sqs.rules import batches, limits, messages
from lambdad.services.sqs.rules.entries import Entry
from lambdad.services.sqs.rules.messages import Message
from lambdad.store.connection import Connection

_NOT_FOR_TYPE = "The request include parameter that is not valid for this queue type."


@dataclass(frozen=True, slots=True)
class _Draft:
    """A message that may be sent."""

    message: Message
    delay_ms: int
    size_bytes: int
    md5_of_system: str


class Sending:
    """The operations that send."""

    def __init__(
        self, registry: Registry, journal: Journal, now_ms: NowMs, new_id: Callable[[], str], woken: Callable[[Queue], None]
    ) -> None:
        self._registry = registry
        self._journal = journal
        self._now_ms = now_ms
        self._new_id = new_id
        self._woken = woken

    def handlers(self) -> dict[str, Handler]:
        """Name the operations."""
        return {"SendMessage": self.send_message, "SendMessageBatch": self.send_message_batch}

    async def send_message(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Send a message. What was sent to a FIFO queue in the last five minutes is not sent again, and answered as it was.

        Raises:
            QueueDoesNotExist: there is no such queue.
            MissingParameter, InvalidParameterValue, InvalidMessageContents, UnsupportedOperation: the message.
        """
        queue = self._registry.find(context, request, "SendMessage")
        draft = self._draft(queue, context, request)
        ((seq, message_id),) = await self._send(queue, [draft])
        return _to_api(queue, draft, seq, message_id)

    async def send_message_batch(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Send up to ten messages; those that cannot be sent do not hold up the others.

        Raises:
            QueueDoesNotExist: there is no such queue.
            EmptyBatchRequest, TooManyEntriesInBatchRequest, InvalidBatchEntryId, BatchEntryIdsNotDistinct, BatchRequestTooLong: the batch.
        """
        queue = self._registry.find(context, request, "SendMessage")
        entries = request.get("Entries", [])
        batches.check(entries, "SendMessageBatchRequestEntry")
        size = sum([messages.size_bytes_sent(entry) for entry in entries])
        if size > limits.MESSAGE_BYTES:
            raise errors.BatchRequestTooLong(size, limits.MESSAGE_BYTES)
        drafts: list[tuple[str, _Draft]] = []
        failed: list[dict[str, Any]] = []
        for entry in entries:
            try:
                drafts.append((entry["Id"], self._draft(queue, context, entry)))
            except AwsError as error:
                failed.append(batches.failure(entry["Id"], error))
        sent = await self._send(queue, [draft for _, draft in drafts]) if drafts else []
        output: dict[str, Any] = {}
        if drafts:
            output["Successful"] = [
                {"Id": entry_id, **_to_api(queue, draft, seq, message_id)}
                for (entry_id, draft), (seq, message_id) in zip(drafts, sent, strict=True)
            ]
        if failed:
            output["Failed"] = failed
        return output

    def _draft(self, queue: Queue, context: CallContext, entry: dict[str, Any]) -> _Draft:
        settings = queue.settings
        body = messages.check_body(entry.get("MessageBody"))
        attributes = entry.get("MessageAttributes") or {}
        if attributes:
            messages.check_attributes(attributes)
        size = messages.size_bytes(body, attributes)
        if size > settings.message_bytes_max:
            raise errors.InvalidParameterValue(
                f"One or more parameters are invalid. Reason: Message must be shorter than {settings.message_bytes_max} bytes."
            )
        system = entry.get("MessageSystemAttributes") or {}
        trace_header = messages.check_system_attributes(system) if system else ""
        group, deduplication_id = _fifo_ids(queue, entry, body)
        message = Message(
            message_id=self._new_id(),
            sender_id=sender_id(context.account, context.principal_arn),
            body=body,
            md5_of_body=messages.md5_of_text(body),
            attributes=attributes,
            md5_of_attributes=messages.md5_of_attributes(attributes),
            group=group,
            deduplication_id=deduplication_id,
            trace_header=trace_header or context.trace_id,
        )
        return _Draft(message, _delay_ms(queue, entry), size, messages.md5_of_attributes(system))

    async def _send(self, queue: Queue, drafts: Sequence[_Draft]) -> list[tuple[int, str]]:
        """Have messages written down; returns their numbers and ids, or those of what was sent before."""
        now_ms = self._now_ms()
        entries = [
            Entry(queue.next_seq(now_ms), now_ms, now_ms + draft.delay_ms, draft.message.group, message=draft.message) for draft in drafts
        ]
        size = sum([draft.size_bytes for draft in drafts])
        sent: list[tuple[int, str]] = await self._journal.carry_out(_Sending(queue, entries, size, now_ms, self._woken))
        return sent


class _Sending:
    """Messages come to a queue."""

    def __init__(self, queue: Queue, entries: Sequence[Entry], size_bytes: int, now_ms: int, woken: Callable[[Queue], None]) -> None:
        self.size_bytes = size_bytes
        self._queue = queue
        self._entries = [(entry, entry.message) for entry in entries if entry.message is not None]
        self._now_ms = now_ms
        self._woken = woken
        self._rows = [row_of(queue.id, entry, messages.dump(message)) for entry, message in self._entries]

    def write(self, connection: Connection) -> dict[int, tuple[int, str]]:
        """Returns what was sent before, by the numbers of the messages that are the same."""
        if not self._queue.settings.is_fifo:
            connection.many(queries.insert_message, self._rows)
            return {}
        earlier: dict[int, tuple[int, str]] = {}
        for (entry, message), row in zip(self._entries, self._rows, strict=True):
            known = self._deduplicate(connection, entry, message)
            if known is None:
                connection.run(queries.insert_message, **row)
            else:
                earlier[entry.seq] = known
        return earlier

    def _deduplicate(self, connection: Connection, entry: Entry, message: Message) -> tuple[int, str] | None:
        key = {
            "queue_id": self._queue.id,
            "scope": message.group if self._queue.settings.deduplicates_in_group else "",
            "deduplication_id": message.deduplication_id,
        }
        is_new = connection.run(
            queries.put_deduplication,
            **key,
            seq=entry.seq,
            message_id=message.message_id,
            now_ms=self._now_ms,
            expires_at_ms=self._now_ms + limits.DEDUPLICATION_MS,
        )
        if is_new:
            return None
        row = connection.one(queries.get_deduplication, **key)
        assert row is not None
        return row.seq, row.message_id

    def apply(self, written: dict[int, tuple[int, str]]) -> list[tuple[int, str]]:
        index, sent = self._queue.index, []
        for entry, message in self._entries:
            known = written.get(entry.seq)
            if known is None:
                index.add(entry, self._now_ms)
            sent.append(known or (entry.seq, message.message_id))
        self._woken(self._queue)
        return sent


def _fifo_ids(queue: Queue, entry: dict[str, Any], body: str) -> tuple[str, str]:
    """
    Return group and deduplication id of a message.

    Raises:
        MissingParameter, InvalidParameterValue: what the queue's type asks for is not there, or is what it does not take.
    """
    group, deduplication_id = entry.get("MessageGroupId"), entry.get("MessageDeduplicationId")
    if group is not None:
        messages.check_fifo_id(group, "MessageGroupId")
    if not queue.settings.is_fifo:
        if deduplication_id is not None:
            raise errors.invalid(deduplication_id, "MessageDeduplicationId", _NOT_FOR_TYPE)
        return group or "", ""
    if group is None:
        raise errors.MissingParameter("MessageGroupId")
    if deduplication_id is not None:
        messages.check_fifo_id(deduplication_id, "MessageDeduplicationId")
        return group, deduplication_id
    if not queue.settings.deduplicates_content:
        raise errors.InvalidParameterValue(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
        )
    return group, messages.content_id(body)


def _delay_ms(queue: Queue, entry: dict[str, Any]) -> int:
    delay_s = entry.get("DelaySeconds")
    if delay_s is None:
        return queue.settings.delay_ms
    if not 0 <= delay_s <= limits.DELAY_S:
        raise errors.invalid(delay_s, "DelaySeconds", f"DelaySeconds must be >= 0 and <= {limits.DELAY_S}.")
    if queue.settings.is_fifo:
        if delay_s:
            raise errors.invalid(delay_s, "DelaySeconds", _NOT_FOR_TYPE)
        return queue.settings.delay_ms
    return int(delay_s) * 1000


@functools.lru_cache(maxsize=1024)
def sender_id(account: str, principal_arn: str) -> str:
    """Return what AWS shows of a sender: the account for its root, else an id that stands for the user or role."""
    kind, _, name = principal_arn.rpartition(":")[2].partition("/")
    if kind not in ("user", "assumed-role"):
        return account
    role, _, session = name.rpartition("/") if kind == "assumed-role" else (name, "", "")
    digest = hashlib.sha256(f"{account}/{role}".encode()).digest()
    unique = base64.b32encode(digest).decode()[:17]
    return f"AROA{unique}:{session}" if kind == "assumed-role" else f"AIDA{unique}"


def _to_api(queue: Queue, draft: _Draft, seq: int, message_id: str) -> dict[str, Any]:
    written = {"MessageId": message_id, "MD5OfMessageBody": draft.message.md5_of_body}
    if draft.message.md5_of_attributes:
        written["MD5OfMessageAttributes"] = draft.message.md5_of_attributes
    if draft.md5_of_system:
        written["MD5OfMessageSystemAttributes"] = draft.md5_of_system
    if queue.settings.is_fifo:
        written["SequenceNumber"] = sequence_number(seq)
    return written

"""Messages that leave a queue otherwise than by being deleted by a receiver: to a dead-letter queue and back, or for their age."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lambdad.kit.clock import NowMs
from lambdad.services.sqs.journal import Journal
from lambdad.services.sqs.registry import Queue, queries
from lambdad.services.sqs.rules import messages
from lambdad.services.sqs.rules.entries import Entry
from lambdad.store.connection import Connection


@dataclass(frozen=True, slots=True)
class Move:
    """One message and where it goes; with a new id it is a new message there, else it is the same that has failed here."""

    entry: Entry
    target: Queue
    seq: int
    new_id: str = ""


class Mover:
    """Have messages moved and removed.

    Args:
        woken: told of queues to which messages have come, or whose groups may be free.
    """

    def __init__(self, journal: Journal, now_ms: NowMs, woken: Callable[[Queue], None]) -> None:
        self._journal = journal
        self._now_ms = now_ms
        self._woken = woken

    def bury(self, source: Queue, target: Queue, dead: Sequence[Entry]) -> "asyncio.Future[Any]":
        """Have messages moved to the dead-letter queue, in their order; until that is done nobody sees them."""
        now_ms = self._now_ms()
        return self.move(source, [Move(entry, target, target.next_seq(now_ms)) for entry in dead])

    def move(self, source: Queue, moves: Sequence[Move]) -> "asyncio.Future[Any]":
        """Have messages moved; the future gives how many were there to be moved."""
        return self._journal.hand_in(_Moving(source, moves, self._now_ms(), self._woken))

    def remove(self, queue: Queue, entries: Sequence[Entry]) -> "asyncio.Future[Any]":
        """Have messages removed that are too old."""
        return self._journal.hand_in(Removal(queue, [entry.seq for entry in entries], self._woken))


class Removal:
    """Messages are deleted."""

    size_bytes = 0

    def __init__(self, queue: Queue, seqs: Sequence[int], woken: Callable[[Queue], None]) -> None:
        self._queue = queue
        self._known = [seq for seq in seqs if seq in queue.index.entries]
        self._others = [seq for seq in seqs if seq not in queue.index.entries]
        self._woken = woken

    def write(self, connection: Connection) -> list[int]:
        queue_id = self._queue.id
        if self._known:
            connection.many(queries.delete_message, [{"queue_id": queue_id, "seq": seq} for seq in self._known])
        return [connection.run(queries.delete_message, queue_id=queue_id, seq=seq) for seq in self._others]

    def apply(self, written: list[int]) -> None:
        index = self._queue.index
        for seq in self._known:
            entry = index.entries.get(seq)
            if entry is not None:
                index.remove(entry)
        for seq, count in zip(self._others, written, strict=True):
            index.remove_row(seq, was_there=count > 0)
        self._woken(self._queue)


class _Moving:
    """Messages go from one queue to others."""

    size_bytes = 0

    def __init__(self, source: Queue, moves: Sequence[Move], now_ms: int, woken: Callable[[Queue], None]) -> None:
        self._source = source
        self._moves = moves
        self._now_ms = now_ms
        self._woken = woken

    def write(self, connection: Connection) -> list[Entry | None]:
        return [self._write_one(connection, move) for move in self._moves]

    def _write_one(self, connection: Connection, move: Move) -> Entry | None:
        row = connection.one(queries.read_message, queue_id=self._source.id, seq=move.entry.seq)
        if row is None:
            return None  # deleted in the meantime
        message = messages.parse(row.message, row.message_group)
        if move.new_id:
            message = replace(message, message_id=move.new_id, source_arn="")
            new = Entry(move.seq, self._now_ms, self._now_ms, message.group)
        else:
            message = replace(message, source_arn=self._source.arn)
            # A standard queue counts a message's age from when it was first sent, a FIFO queue from when it came to this queue.
            sent_at_ms = self._now_ms if self._source.settings.is_fifo else move.entry.sent_at_ms
            receives = move.entry.receives
            new = Entry(
                move.seq,
                sent_at_ms,
                self._now_ms,
                message.group,
                receives=receives,
                receives_before=receives,
                first_received_at_ms=move.entry.first_received_at_ms,
            )
        connection.run(queries.insert_message, **row_of(move.target.id, new, messages.dump(message)))
        connection.run(queries.delete_message, queue_id=self._source.id, seq=move.entry.seq)
        return new

    def apply(self, written: list[Entry | None]) -> int:
        for move, new in zip(self._moves, written, strict=True):
            self._source.index.remove(move.entry)
            if new is not None:
                move.target.index.add(new, self._now_ms)
                self._woken(move.target)
        self._woken(self._source)
        return sum(new is not None for new in written)


def row_of(queue_id: int, entry: Entry, text: str) -> dict[str, Any]:
    """Return the row of a message that comes to a queue."""
    return {
        "queue_id": queue_id,
        "seq": entry.seq,
        "visible_at_ms": entry.due_at_ms,
        "sent_at_ms": entry.sent_at_ms,
        "receives": entry.receives,
        "first_received_at_ms": entry.first_received_at_ms,
        "message_group": entry.group,
        "message": text,
    }

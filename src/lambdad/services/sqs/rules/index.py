"""A queue in memory: which of its messages may be received, and what becomes of those that were.

Time and randomness are arguments. What the index says is carried out, and made durable, by others; what it is told is durable already.

Of a long backlog only the head is here. All messages before the `horizon` are in memory, those behind it may be rows only, and are
loaded when their turn comes; `spilled` counts the rows that are not in memory. Places in a standard queue are ordered by when they are
due, those in a FIFO queue by their numbers.
"""

import heapq
from collections.abc import Iterable
from typing import Final, TypeAlias

from lambdad.services.sqs.rules import limits
from lambdad.services.sqs.rules.entries import Cache, Entry, Received, State, Taken
from lambdad.services.sqs.rules.orders import FifoOrder, Order, StandardOrder, Verdict

Place: TypeAlias = tuple[int, int]
"""When a message is due (0 in a FIFO queue), and its number."""

START: Final[Place] = (0, 0)


class QueueIndex:
    """
    Decide which messages of one queue are received.

    Args:
        spilled: how many messages there are already, all of them rows only.
        last_seq: the highest number that may have been given to one of them.
        cache: what messages are kept in; shared by all queues.
        window: how many messages wait in memory; with delayed ones there may be three times as many.
    """

    def __init__(self, *, is_fifo: bool, spilled: int, last_seq: int, cache: Cache, window: int = limits.WINDOW) -> None:
        self.entries: dict[int, Entry] = {}
        self.spilled = spilled
        self.horizon: Place | None = START if spilled else None
        self.applied_seq = last_seq  # of the messages that this index was told of
        self._removed: set[int] | None = None  # since the reading that is under way has begun
        self._spilled_since: Place | None = None  # the first place of those left to the database since then
        self._is_fifo = is_fifo
        self._cache = cache
        self._window = window
        self._order: Order = FifoOrder() if is_fifo else StandardOrder()
        self._due: list[Place] = []  # a heap of those delayed or in flight; out of date where the entry's own time is another
        self._counts = [0] * (len(State) + 1)

    @property
    def ready(self) -> int:
        """How many are visible."""
        return self._counts[State.READY]

    @property
    def delayed(self) -> int:
        """How many are not visible yet."""
        return self._counts[State.DELAYED]

    @property
    def in_flight(self) -> int:
        """How many were received and not deleted."""
        return self._counts[State.IN_FLIGHT]

    def add(self, entry: Entry, now_ms: int) -> bool:
        """
        Hear of a message that has come, and is a row.

        Returns:
            False where it is left to the database, to be loaded later.
        """
        self.applied_seq = max(self.applied_seq, entry.seq)
        place = self._place(entry)
        is_delayed = entry.due_at_ms > now_ms
        if not self._has_room(is_delayed=is_delayed) or (self.horizon is not None and place >= self.horizon):
            self.horizon = place if self.horizon is None else min(self.horizon, place)
            self._spilled_since = place if self._spilled_since is None else min(self._spilled_since, place)
            self.spilled += 1
            entry.message = None
            return False
        if entry.message is not None:
            entry.message = self._cache.keep(entry.message)
        self._enter(entry, State.DELAYED if is_delayed else State.READY)
        return True

    def wants_load(self, now_ms: int) -> bool:
        """Say whether rows should be loaded: there are some whose turn may have come, and room for them."""
        if self.horizon is None or self._waiting() * 2 > self._window:
            return False
        return self._is_fifo or self.horizon[0] <= now_ms

    def room(self) -> int:
        """Say how many rows may be loaded at once."""
        return max(self._window - self._waiting(), 1)

    def begin_load(self) -> None:
        """Hear that rows are being read; `load` or `end_load` follows."""
        self._removed = set()
        self._spilled_since = None

    def end_load(self) -> None:
        """Hear that nothing came of the reading."""
        self._removed = None

    def load(self, rows: Iterable[Entry], now_ms: int, *, is_all: bool) -> None:
        """
        Take in rows that were read from the horizon on, in order of their places.

        Args:
            is_all: there were no more.
        """
        removed, self._removed = self._removed or (), None
        for row in rows:
            if row.seq > self.applied_seq:  # so new that this index has not been told; it will be
                is_all = False
                break
            if row.due_at_ms > now_ms and row.seq not in self.entries and not self._has_room(is_delayed=True):
                self.horizon = self._place(row)
                is_all = False
                break
            self.horizon = (self._place(row)[0], row.seq + 1)
            if row.seq not in removed:
                self.load_one(row, now_ms)
        if self._spilled_since is not None:
            self.horizon = min(self.horizon or START, self._spilled_since)
        elif is_all:
            self.spilled = 0
            self.horizon = None

    def load_one(self, row: Entry, now_ms: int) -> Entry:
        """Take in one row, and return the entry that is in memory. Out of turn only in a standard queue."""
        known = self.entries.get(row.seq)
        if known is not None:
            return known
        self.spilled = max(self.spilled - 1, 0)
        if row.due_at_ms <= now_ms:
            self._enter(row, State.READY)
        else:
            self._enter(row, State.IN_FLIGHT if row.receives > row.receives_before else State.DELAYED)
        return row

    def advance(self, now_ms: int) -> None:
        """Make visible what is due."""
        due = self._due
        while due and due[0][0] <= now_ms:
            at_ms, seq = heapq.heappop(due)
            entry = self.entries.get(seq)
            if entry is None or entry.due_at_ms != at_ms:
                continue
            if entry.state is State.DELAYED:
                self._set(entry, State.READY)
                self._order.due(entry)
            elif entry.state is State.IN_FLIGHT:
                self._make_ready(entry)

    def next_due_ms(self) -> int | None:
        """Say when something may become visible by itself; never too late, but perhaps too early."""
        due_ms = self._due[0][0] if self._due else None
        if self.horizon is not None and not self._is_fifo:
            return self.horizon[0] if due_ms is None else min(due_ms, self.horizon[0])
        return due_ms

    def receive(self, now_ms: int, wanted: int, visibility_ms: int, *, oldest_ms: int, receives_max: int | None) -> Taken:
        """
        Receive messages. Call `advance` before.

        Args:
            wanted: how many, at most; fewer may come, also where more are visible.
            visibility_ms: how long nobody else receives them.
            oldest_ms: what was sent before is older than the queue keeps it.
            receives_max: how often a message may be received before it is dead; None for ever.
        """

        def judge(entry: Entry) -> Verdict:
            if entry.sent_at_ms <= oldest_ms:
                return Verdict.EXPIRE
            if receives_max is not None and entry.receives - entry.receives_before >= receives_max:
                return Verdict.MOVE
            return Verdict.RECEIVE

        chosen = self._order.choose(min(wanted, limits.IN_FLIGHT - self.in_flight), judge)
        for entry in chosen.expired:
            self._forget(entry)
        for entry in chosen.dead:
            self._set(entry, State.MOVING)
        received = [self._received(entry, now_ms, now_ms + visibility_ms) for entry in chosen.received]
        return Taken(received, chosen.dead, chosen.expired)

    def _received(self, entry: Entry, now_ms: int, until_ms: int) -> Received:
        entry.receives += 1
        if not entry.first_received_at_ms:
            entry.first_received_at_ms = now_ms
        entry.due_at_ms = until_ms
        self._set(entry, State.IN_FLIGHT)
        self._schedule(entry)
        message = entry.message
        self._cache.drop(entry)  # that it is received again is the exception, and then its row is read
        return Received(entry, entry.seq, entry.sent_at_ms, now_ms, until_ms, entry.receives, entry.first_received_at_ms, message)

    def release(self, received: Received) -> None:
        """Undo a receive whose receiver has gone away before he had the message."""
        entry = received.entry
        if entry.state is State.IN_FLIGHT and entry.receives == received.receives:
            entry.receives -= 1
            if entry.receives == 0:
                entry.first_received_at_ms = 0
            self._make_ready(entry)

    def change_visibility(self, entry: Entry, until_ms: int, now_ms: int) -> None:
        """Let a message that is in flight be so for longer, or less long; 0 makes it visible."""
        entry.due_at_ms = until_ms
        if until_ms <= now_ms:
            self._make_ready(entry)
        else:
            self._schedule(entry)

    def take_to_move(self, wanted: int, oldest_ms: int) -> tuple[list[Entry], list[Entry]]:
        """Take out visible messages that are all to go to another queue; returns them, and those that were too old."""
        chosen = self._order.choose(wanted, lambda entry: Verdict.EXPIRE if entry.sent_at_ms <= oldest_ms else Verdict.RECEIVE)
        for entry in chosen.expired:
            self._forget(entry)
        for entry in chosen.received:
            self._set(entry, State.MOVING)
        return chosen.received, chosen.expired

    def stay(self, entry: Entry) -> None:
        """Hear that a message that was to be moved stays."""
        if entry.state is State.MOVING:
            self._make_ready(entry)

    def remove(self, entry: Entry) -> None:
        """Hear that a message is no row any more."""
        was_taken = entry.state is State.IN_FLIGHT or entry.state is State.MOVING
        if self._forget(entry):
            if was_taken:
                self._order.settled(entry)
            else:
                self._order.due(entry)  # others may have waited for it

    def remove_row(self, seq: int, *, was_there: bool) -> None:
        """Hear that a message that was not in memory when its deletion began is no row any more."""
        entry = self.entries.get(seq)
        if entry is not None:
            self.remove(entry)
        elif was_there:
            self.spilled = max(self.spilled - 1, 0)
            if self._removed is not None:
                self._removed.add(seq)

    def purge(self, through_seq: int) -> None:
        """Hear that all messages up to a number are gone."""
        for entry in [entry for seq, entry in self.entries.items() if seq <= through_seq]:
            self.remove(entry)
        self.spilled = 0
        self.horizon = None

    def expired(self, oldest_ms: int, limit: int) -> list[Entry]:
        """Return messages that are too old and not being moved, at most so many; a few are found only when their turn comes."""
        found: list[Entry] = []
        for entry in self.entries.values():
            if entry.sent_at_ms > oldest_ms or len(found) == limit:
                break
            if entry.state is not State.MOVING:
                found.append(entry)
        return found

    def _place(self, entry: Entry) -> Place:
        return (0 if self._is_fifo else entry.due_at_ms, entry.seq)

    def _waiting(self) -> int:
        return self.ready + (self.delayed if self._is_fifo else 0)

    def _has_room(self, *, is_delayed: bool) -> bool:
        """Say whether one more may wait in memory. Delayed ones become ready by themselves, and must not fill it up that way."""
        if is_delayed and not self._is_fifo:
            return self.ready + self.delayed < 2 * self._window
        return self._waiting() < self._window

    def _enter(self, entry: Entry, state: State) -> None:
        self.entries[entry.seq] = entry
        entry.state = state
        self._counts[state] += 1
        if state is not State.READY:
            self._schedule(entry)
        self._order.add(entry)

    def _schedule(self, entry: Entry) -> None:
        due, live = self._due, self.delayed + self.in_flight
        if len(due) > 1000 + 4 * live:  # most are of messages that are gone
            due[:] = [(each.due_at_ms, each.seq) for each in self.entries.values() if each.state in (State.DELAYED, State.IN_FLIGHT)]
            heapq.heapify(due)
        heapq.heappush(due, (entry.due_at_ms, entry.seq))

    def _set(self, entry: Entry, state: State) -> None:
        self._counts[entry.state] -= 1
        self._counts[state] += 1
        entry.state = state

    def _make_ready(self, entry: Entry) -> None:
        self._set(entry, State.READY)
        self._order.settled(entry)
        self._order.add(entry)

    def _forget(self, entry: Entry) -> bool:
        if self.entries.pop(entry.seq, None) is None:
            return False
        if self._removed is not None:
            self._removed.add(entry.seq)
        self._counts[entry.state] -= 1
        entry.state = State.GONE
        self._cache.drop(entry)
        return True

"""In which order ready messages are received: any in a standard queue, one group at a time and in order in a FIFO queue.

What is no longer ready, or gone, is found out when its turn comes.
"""

import heapq
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol, TypeAlias

from lambdad.services.sqs.rules.entries import Entry, State

DEAD_AT_ONCE: Final = 100  # messages that one receive sends to the dead-letter queue, at most


class Verdict(Enum):
    """What is done with a message whose turn has come."""

    RECEIVE = auto()
    MOVE = auto()
    EXPIRE = auto()


Judge: TypeAlias = Callable[[Entry], Verdict]


class Chosen:
    """Entries whose turn has come, by what is done with them."""

    __slots__ = ("dead", "expired", "received")

    def __init__(self) -> None:
        self.received: list[Entry] = []
        self.dead: list[Entry] = []
        self.expired: list[Entry] = []

    def add(self, entry: Entry, verdict: Verdict) -> None:
        if verdict is Verdict.RECEIVE:
            self.received.append(entry)
        elif verdict is Verdict.MOVE:
            self.dead.append(entry)
        else:
            self.expired.append(entry)


class Order(Protocol):
    """What an index asks."""

    def add(self, entry: Entry) -> None:
        """Hear of an entry that is ready, or will be and others may have to wait for it."""

    def due(self, entry: Entry) -> None:
        """Hear that an entry that was added earlier is ready now."""

    def settled(self, entry: Entry) -> None:
        """Hear that an entry that was received, or being moved, is in flight no more; if it is ready again, it is added after this."""

    def choose(self, wanted: int, judge: Judge) -> Chosen:
        """Take out as many entries as are wanted, and those that are in their way."""


class StandardOrder:
    """Those that were never received, and those that were, in turns: neither holds the other up for ever."""

    def __init__(self) -> None:
        self._fresh: deque[Entry] = deque()
        self._again: deque[Entry] = deque()
        self._is_agains_turn = False

    def add(self, entry: Entry) -> None:
        if entry.state is State.READY:
            (self._again if entry.receives > entry.receives_before else self._fresh).append(entry)

    def due(self, entry: Entry) -> None:
        self.add(entry)

    def settled(self, entry: Entry) -> None:
        pass

    def choose(self, wanted: int, judge: Judge) -> Chosen:
        chosen = Chosen()
        received, dead = chosen.received, chosen.dead
        while len(received) < wanted and len(dead) < DEAD_AT_ONCE:
            queue = self._turn()
            if not queue:
                break
            entry = queue.popleft()
            if entry.state is State.READY:
                chosen.add(entry, judge(entry))
        return chosen

    def _turn(self) -> deque[Entry]:
        if not self._again or not self._fresh:
            return self._again or self._fresh
        self._is_agains_turn = not self._is_agains_turn
        return self._again if self._is_agains_turn else self._fresh


class _Group:
    """The messages of a group that wait, in order, and how many are in flight or being moved: while there are any, none follows."""

    __slots__ = ("taken", "waiting")

    def __init__(self) -> None:
        self.waiting: list[tuple[int, Entry]] = []  # a heap
        self.taken = 0


class FifoOrder:
    """The group whose first message is the oldest comes first, and gives as many as are asked for; then it is locked.

    A group's first message is waited for, even where a later one is visible.
    """

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._open: list[tuple[int, str]] = []  # a heap: the first message of a group that is not locked, and the group

    def add(self, entry: Entry) -> None:
        group = self._groups.get(entry.group)
        if group is None:
            group = self._groups[entry.group] = _Group()
        if entry.state is State.IN_FLIGHT:  # as it was when the program started
            group.taken += 1
            return
        heapq.heappush(group.waiting, (entry.seq, entry))
        if group.waiting[0][1] is entry:
            self._offer(entry.group, group)

    def due(self, entry: Entry) -> None:
        group = self._groups.get(entry.group)
        if group is not None:
            self._offer(entry.group, group)

    def settled(self, entry: Entry) -> None:
        group = self._groups[entry.group]
        group.taken -= 1
        self._offer(entry.group, group)

    def choose(self, wanted: int, judge: Judge) -> Chosen:
        chosen = Chosen()
        received, dead = chosen.received, chosen.dead
        while self._open and len(received) < wanted and len(dead) < DEAD_AT_ONCE:
            seq, name = heapq.heappop(self._open)
            group = self._groups.get(name)
            if group is None or group.taken or not group.waiting or group.waiting[0][0] != seq:
                continue  # offered before something changed; it has been offered again since, or will be
            self._choose_from(group, chosen, wanted, judge)
            self._offer(name, group)
        return chosen

    def _choose_from(self, group: _Group, chosen: Chosen, wanted: int, judge: Judge) -> None:
        """Take from the head of a group, as long as the verdict is the same: what is moved must not be overtaken by what is received."""
        kind: Verdict | None = None
        while len(chosen.received) < wanted:
            entry = _first(group)
            if entry is None:
                return
            verdict = judge(entry)
            if verdict is not Verdict.EXPIRE:
                if kind is not None and verdict is not kind:
                    return
                kind = verdict
                group.taken += 1
            heapq.heappop(group.waiting)
            chosen.add(entry, verdict)

    def _offer(self, name: str, group: _Group) -> None:
        if group.taken:
            return
        first = _first(group)
        if first is not None:
            heapq.heappush(self._open, (first.seq, name))
        elif not group.waiting:
            self._groups.pop(name, None)


def _first(group: _Group) -> Entry | None:
    """Return the first of a group if it is ready."""
    waiting = group.waiting
    while waiting and waiting[0][1].state is State.GONE:
        heapq.heappop(waiting)
    return waiting[0][1] if waiting and waiting[0][1].state is State.READY else None

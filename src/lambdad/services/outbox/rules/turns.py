"""Whose turn it is: which deliveries run at once, so that a target that is out of order holds no other up.

Deliveries to one target are a lane. Lanes take turns, and each has at most a few under way. A lane that fails gets narrower with each
failure, down to one delivery at a time, and wider again with each success; a lane that is new begins narrow. All lanes that fail have
together at most half of the room, both in memory and under way.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")

_FIRST_WIDTH = 8
_REMEMBERED_MAX = 10_000
_FAILING_EVERY = 4  # of so many turns one is a failing lane's, where others wait too


@dataclass(slots=True)
class _Lane(Generic[Item]):
    width: int
    waiting: deque[Item] = field(default_factory=deque)
    running: int = 0
    failing: bool = False
    is_in_line: bool = False


class Turns(Generic[Item]):
    """
    Items of lanes, from when they are read to when they are done.

    Args:
        room: items under way at once, >= 2; twice as many are held in memory.
        width: of them of one lane, >= 1.

    Bounds: `wanted` never asks for more than there is room for; what is put all the same is kept.
    """

    def __init__(self, room: int, width: int) -> None:
        self._room = room
        self._width = width
        self._first_width = min(_FIRST_WIDTH, width)
        self._lanes: dict[str, _Lane[Item]] = {}
        self._sound: deque[str] = deque()  # lanes that have something waiting and may start it, in their order
        self._failing: deque[str] = deque()
        self._narrowed: dict[str, int] = {}  # widths of failing lanes that hold nothing now, the oldest first
        self._turn = 0
        self.running = 0
        self.running_of_failing = 0
        self.held = 0
        self._held_of_failing = 0

    def room(self) -> int:
        """Say how many more items may be put, all lanes together."""
        return max(2 * self._room - self.held, 0)

    def room_for_failing(self) -> int:
        """Say how many more items of failing lanes may be put."""
        return max(min(self._room - self._held_of_failing, self.room()), 0)

    def narrowed(self) -> set[str]:
        """Name the lanes that fail."""
        return self._narrowed.keys() | {name for name, lane in self._lanes.items() if lane.failing}

    def known(self) -> set[str]:
        """Name the lanes that have items, or fail."""
        return self._lanes.keys() | self._narrowed.keys()

    def wanted(self, lane: str) -> int:
        """Say how many more items of a lane may be put; 0 while it has enough to do."""
        found = self._lanes.get(lane)
        width = found.width if found is not None else self._narrowed.get(lane, self._first_width)
        is_failing = found.failing if found is not None else lane in self._narrowed
        has = len(found.waiting) + found.running if found is not None else 0
        most = 2 * width - has if has <= width else 0
        return min(most, self.room_for_failing() if is_failing else self.room())

    def put(self, lane: str, item: Item) -> None:
        """Let an item wait for its turn."""
        found = self._lanes.get(lane)
        if found is None:
            width = self._narrowed.pop(lane, None)
            found = self._lanes[lane] = _Lane(width=width or self._first_width, failing=width is not None)
        found.waiting.append(item)
        self.held += 1
        self._held_of_failing += found.failing
        self._line_up(lane, found)

    def take(self) -> tuple[str, Item] | None:
        """Give the next item to be started and its lane; None while nothing may start."""
        if self.running >= self._room:
            return None
        may_fail = bool(self._failing) and self.running_of_failing < self._room // 2
        self._turn += 1
        if may_fail and (not self._sound or self._turn % _FAILING_EVERY == 0):
            line = self._failing
        elif self._sound:
            line = self._sound
        else:
            return None
        name = line.popleft()
        lane = self._lanes[name]
        lane.is_in_line = False
        item = lane.waiting.popleft()
        lane.running += 1
        self.running += 1
        self.running_of_failing += lane.failing
        self._line_up(name, lane)
        return name, item

    def done(self, name: str, *, ok: bool) -> None:
        """An item that was taken is done; `ok` says whether its target is in order."""
        lane = self._lanes[name]
        lane.running -= 1
        self.running -= 1
        self.held -= 1
        if lane.failing:
            self.running_of_failing -= 1
            self._held_of_failing -= 1
        if ok:
            lane.width = min(lane.width * 2 if lane.failing else lane.width + 1, self._width)
        else:
            lane.width = max(lane.width // 2, 1)
        self._judge(name, lane, failing=not ok or (lane.failing and lane.width < self._first_width))
        if lane.waiting or lane.running:
            self._line_up(name, lane)
            return
        del self._lanes[name]
        if lane.failing:
            self._narrowed[name] = lane.width
            if len(self._narrowed) > _REMEMBERED_MAX:
                del self._narrowed[next(iter(self._narrowed))]

    def waiting(self) -> int:
        """Say how many items wait for their turn."""
        return self.held - self.running

    def lanes(self) -> int:
        """Say how many lanes have items."""
        return len(self._lanes)

    def _judge(self, name: str, lane: _Lane[Item], *, failing: bool) -> None:
        if lane.failing == failing:
            return
        if lane.is_in_line:
            (self._failing if lane.failing else self._sound).remove(name)
            lane.is_in_line = False
        lane.failing = failing
        sign = 1 if failing else -1
        self.running_of_failing += sign * lane.running
        self._held_of_failing += sign * (lane.running + len(lane.waiting))

    def _line_up(self, name: str, lane: _Lane[Item]) -> None:
        if not lane.is_in_line and lane.waiting and lane.running < lane.width:
            (self._failing if lane.failing else self._sound).append(name)
            lane.is_in_line = True

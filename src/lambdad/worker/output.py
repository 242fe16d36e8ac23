"""What environments write, on its way to the server: read as it comes, cut into lines, stamped, sent in batches.

A function is never made to wait for its log: when more is written than can be sent, lines are dropped and counted.
"""

import collections
import os
from collections.abc import Callable

from lambdad.kit.clock import NowMs
from lambdad.machines import lines

READ_BYTES = 64 * 1024
READS_AT_ONCE = 16  # then others get their turn
TAIL_BYTES = 4096
MAX_BUFFERED_BYTES = 32 * 1024 * 1024
MAX_BUFFERED_EVENTS = 400_000
MAX_ENVIRONMENT_BYTES = 4 * 1024 * 1024
BATCH_BYTES = 1024 * 1024
_EVENT_BYTES = 64  # of an event, beside its text


class LogBuffer:
    """Events of all environments of a worker that have not been sent yet.

    Bounds: `MAX_BUFFERED_BYTES` and `MAX_BUFFERED_EVENTS`, and for each environment `MAX_ENVIRONMENT_BYTES`, so that one that floods
    its log costs no other a line. Past them lines are dropped, all but the platform's own, and the environment's log says how many.

    Args:
        waiting: called when the first event comes after a `take`.
        much: called when so much has come that it is worth a frame of its own.
    """

    def __init__(self, waiting: Callable[[], None], much: Callable[[], None]) -> None:
        self._waiting = waiting
        self._much = much
        self._events: list[tuple[str, int, str]] = []
        self._size_bytes = 0
        self._used_bytes: dict[str, int] = {}  # by environment
        self._dropped: dict[str, tuple[int, int]] = {}  # by environment: how many, and when the last one was

    def add(self, environment_id: str, at_ms: int, line: str, *, is_platforms: bool = False) -> None:
        """Take a line; the platform's own are kept however full it is, as they are few."""
        size_bytes = len(line) + _EVENT_BYTES
        used_bytes = self._used_bytes.get(environment_id, 0) + size_bytes
        if not is_platforms and (
            used_bytes > MAX_ENVIRONMENT_BYTES or self._size_bytes > MAX_BUFFERED_BYTES or len(self._events) >= MAX_BUFFERED_EVENTS
        ):
            count, _ = self._dropped.get(environment_id, (0, 0))
            self._dropped[environment_id] = (count + 1, at_ms)
            return
        if not self._events:
            self._waiting()
        self._events.append((environment_id, at_ms, line))
        self._used_bytes[environment_id] = used_bytes
        self._size_bytes += size_bytes
        if self._size_bytes - size_bytes < BATCH_BYTES <= self._size_bytes:
            self._much()

    def take(self) -> list[list[tuple[str, int, str]]]:
        """Return and forget what is there, in batches that fit a frame."""
        events, self._events, self._size_bytes = self._events, [], 0
        self._used_bytes.clear()
        for environment_id, (count, at_ms) in self._dropped.items():
            events.append((environment_id, at_ms, f"[lambdad] {count} log events came faster than they could be taken and were lost."))
        self._dropped.clear()
        batches: list[list[tuple[str, int, str]]] = []
        size_bytes = BATCH_BYTES
        for event in events:
            if size_bytes >= BATCH_BYTES:
                batches.append([])
                size_bytes = 0
            batches[-1].append(event)
            size_bytes += 4 * len(event[2]) + _EVENT_BYTES
        return batches


class Tail:
    """The last lines of an invocation's log.

    Bound: what is needed for `TAIL_BYTES`, and one line.
    """

    def __init__(self) -> None:
        self._lines: collections.deque[str] = collections.deque()
        self._size = 0  # characters; a character is a byte or more

    def append(self, line: str) -> None:
        self._lines.append(line)
        self._size += len(line) + 1
        while self._size - len(self._lines[0]) - 1 >= TAIL_BYTES:
            self._size -= len(self._lines.popleft()) + 1

    def last_bytes(self) -> bytes:
        """Return the end of the log, each line with its newline."""
        return ("\n".join(self._lines) + "\n").encode()[-TAIL_BYTES:]


class OutputReader:
    """The reading end of one environment's standard output and error.

    Resource handling: the descriptor belongs to whoever made it; `close` only stops watching it.
    """

    def __init__(self, fd: int, now_ms: NowMs, emit: Callable[[int, str], None]) -> None:
        self._fd = fd
        self._now_ms = now_ms
        self._emit = emit
        self._lines = lines.LogSplitter()
        self.ended = False

    def drain(self, reads: int = READS_AT_ONCE) -> None:
        """Read what is there now, without waiting."""
        if self.ended:
            return
        for _ in range(reads):
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self.ended = True
                return
            if not data:
                self.ended = True
                return
            at_ms = self._now_ms()
            for text, at_us in self._lines.feed(data):
                self._emit(at_ms if at_us is None else min(at_us // 1000, at_ms), text)
            if len(data) < READ_BYTES:
                return

    def flush(self) -> None:
        """Give out the unfinished line, as at the end of an invocation."""
        for text, _ in self._lines.flush():
            self._emit(self._now_ms(), text)

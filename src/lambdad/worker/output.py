"""What environments write, on its way to the server: read as it comes, cut into lines, stamped, sent in batches.

A function is never made to wait for its log: when more is written than can be sent, lines are dropped and counted.
"""

import os
from collections.abc import Callable

from lambdad.kit.clock import NowMs
from lambdad.machines import lines

READ_BYTES = 64 * 1024
READS_AT_ONCE = 16  # then others get their turn
MAX_BUFFERED_BYTES = 8 * 1024 * 1024
MAX_BUFFERED_EVENTS = 100_000
BATCH_BYTES = 1024 * 1024


class LogBuffer:
    """Events of all environments of a worker that have not been sent yet.

    Bounds: `MAX_BUFFERED_BYTES` and `MAX_BUFFERED_EVENTS`; past them lines are dropped, and `dropped` says how many.
    """

    def __init__(self, waiting: Callable[[], None]) -> None:
        self._waiting = waiting  # called when the first event comes after a `take`
        self._events: list[tuple[str, int, str]] = []
        self._size_bytes = 0
        self.dropped = 0

    def add(self, environment_id: str, at_ms: int, line: str) -> None:
        if self._size_bytes > MAX_BUFFERED_BYTES or len(self._events) >= MAX_BUFFERED_EVENTS:
            self.dropped += 1
            return
        if not self._events:
            self._waiting()
        self._events.append((environment_id, at_ms, line))
        self._size_bytes += len(line) + 64

    def take(self) -> list[list[tuple[str, int, str]]]:
        """Return and forget what is there, in batches that fit a frame."""
        events, self._events, self._size_bytes = self._events, [], 0
        batches: list[list[tuple[str, int, str]]] = []
        size_bytes = BATCH_BYTES
        for event in events:
            if size_bytes >= BATCH_BYTES:
                batches.append([])
                size_bytes = 0
            batches[-1].append(event)
            size_bytes += 4 * len(event[2]) + 64
        return batches


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

"""What environments write, on its way to the server: read as it comes, cut into lines, stamped, sent in batches.

A function is never made to wait for its log: when more is written than can be sent, lines are dropped and counted.
"""

import collections
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from lambdad.kit.clock import NowMs
from lambdad.machines import lines, telemetry

READ_BYTES = 64 * 1024
READS_AT_THE_END = 16  # as much as a pipe can be made to hold
TAIL_BYTES = 4096
MAX_BUFFERED_BYTES = 32 * 1024 * 1024
MAX_BUFFERED_EVENTS = 400_000
MAX_ENVIRONMENT_BYTES = 4 * 1024 * 1024
BATCH_BYTES = 128 * 1024
NOTICE_MS = 1000  # losses are told once in so long, or when everything has been taken
_EVENT_BYTES = 64  # of an event, beside its text


@dataclass(slots=True)
class _Batch:
    """As many events as go into one frame."""

    events: list[tuple[str, int, str]] = field(default_factory=list)
    size_bytes: int = 0
    used_bytes: dict[str, int] = field(default_factory=dict)  # by environment


@dataclass(slots=True)
class _Dropped:
    """What one environment has lost since it was last told."""

    first_at_ms: int
    as_json: bool
    last_at_ms: int = 0
    count: int = 0
    size_bytes: int = 0

    def text(self) -> str:
        if not self.as_json:
            return f"[lambdad] {self.count} log events came faster than they could be taken and were lost."
        record = telemetry.dropped_record(self.count, self.size_bytes, "Log events came faster than they could be taken")
        body = {"time": telemetry.iso(self.last_at_ms), "type": "platform.logsDropped", "record": record}
        return json.dumps(body, separators=(",", ":"))


class LogBuffer:
    """Events of all environments of a worker that have not been sent yet.

    Bounds: `MAX_BUFFERED_BYTES` and `MAX_BUFFERED_EVENTS`, and for each environment `MAX_ENVIRONMENT_BYTES`, so that one that floods
    its log costs no other a line. Past them lines are dropped, all but the platform's own, and the environment's log says how many.

    Args:
        waiting: called when the first event comes to an empty buffer.
        much: called when so much has come that it is worth a frame of its own.
    """

    def __init__(self, waiting: Callable[[], None], much: Callable[[], None]) -> None:
        self._waiting = waiting
        self._much = much
        self._full: collections.deque[_Batch] = collections.deque()
        self._open = _Batch()
        self._count = 0
        self._size_bytes = 0
        self._used_bytes: dict[str, int] = {}  # by environment
        self._dropped: dict[str, _Dropped] = {}  # by environment

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, environment_id: str, at_ms: int, line: str, *, is_platforms: bool = False, as_json: bool = False) -> None:
        """Take a line; the platform's own are kept however full it is, as they are few. `as_json`: losses are told in JSON."""
        size_bytes = len(line) + _EVENT_BYTES
        used_bytes = self._used_bytes.get(environment_id, 0) + size_bytes
        if not is_platforms and (
            used_bytes > MAX_ENVIRONMENT_BYTES or self._size_bytes > MAX_BUFFERED_BYTES or self._count >= MAX_BUFFERED_EVENTS
        ):
            dropped = self._dropped.setdefault(environment_id, _Dropped(at_ms, as_json))
            dropped.count += 1
            dropped.size_bytes += len(line)
            dropped.last_at_ms = at_ms
            return
        if not self._count:
            self._waiting()
        batch = self._open
        batch.events.append((environment_id, at_ms, line))
        batch.size_bytes += size_bytes
        batch.used_bytes[environment_id] = batch.used_bytes.get(environment_id, 0) + size_bytes
        self._used_bytes[environment_id] = used_bytes
        self._size_bytes += size_bytes
        self._count += 1
        if batch.size_bytes >= BATCH_BYTES:
            self._full.append(batch)
            self._open = _Batch()
            self._much()

    def take(self) -> list[tuple[str, int, str]]:
        """Return and forget the oldest batch; it is empty when there is nothing."""
        if self._full:
            batch = self._full.popleft()
        else:
            batch, self._open = self._open, _Batch()
        self._count -= len(batch.events)
        self._size_bytes -= batch.size_bytes
        for environment_id, size_bytes in batch.used_bytes.items():
            rest_bytes = self._used_bytes[environment_id] - size_bytes
            if rest_bytes:
                self._used_bytes[environment_id] = rest_bytes
            else:
                del self._used_bytes[environment_id]
        if self._dropped:
            for environment_id, dropped in list(self._dropped.items()):
                if self._count and dropped.last_at_ms - dropped.first_at_ms < NOTICE_MS:
                    continue
                batch.events.append((environment_id, dropped.last_at_ms, dropped.text()))
                del self._dropped[environment_id]
        return batch.events


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

    def __init__(
        self, fd: int, now_ms: NowMs, emit: Callable[[int, str], None], emit_framed: Callable[[int, str], None] | None = None
    ) -> None:
        self._emit_framed = emit_framed or emit  # what a runtime has stamped, and so has made itself
        self._fd = fd
        self._now_ms = now_ms
        self._emit = emit
        self._lines = lines.LogSplitter()
        self.ended = False

    def drain(self, reads: int = READS_AT_THE_END) -> None:
        """Read what is there now, without waiting; at most so many times `READ_BYTES`."""
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
                if at_us is None:
                    self._emit(at_ms, text)
                else:
                    self._emit_framed(min(at_us // 1000, at_ms), text)
            if len(data) < READ_BYTES:
                return

    def flush(self) -> None:
        """Give out the unfinished line, as at the end of an invocation."""
        for text, _ in self._lines.flush():
            self._emit(self._now_ms(), text)

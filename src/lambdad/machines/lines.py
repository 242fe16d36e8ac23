"""Log events from what a process writes, piece by piece.

    plain text\n                                       an event for each line
    a5 5a 00 03 | u32 length | u64 time, us | text     an event as it is, newlines and all: how runtimes send a stack trace

The last byte of the mark is 2 (there is a time), plus 1 for text that is not JSON, plus 4 times the level (0 none, 1 TRACE .. 6 FATAL).

Knows bytes, newlines and frames; does not know where they come from. Frames come in the same stream as lines, so that the order is the
order of writing; their mark is no UTF-8, so that text cannot be taken for it. Text is decoded as UTF-8, with U+FFFD where it is none.

Source: CloudWatch Logs quotas (event size 256 KB); the frame as AWS's open runtime interface clients write it.
"""

import struct
from typing import NamedTuple

MAX_EVENT_BYTES = 256 * 1024 - 26
MAX_FRAME_BYTES = 16 * 1024 * 1024
MARK = b"\xa5\x5a\x00"  # and one of the next
_KINDS = frozenset(kind for kind in range(28) if kind & 2)
_FRAME = struct.Struct(">4sIQ")


class LogEvent(NamedTuple):
    """What was logged; `at_us` is the writer's own Unix time in microseconds, None where it gave none."""

    text: str
    at_us: int | None = None


class LogSplitter:
    """Cut a byte stream into log events. Keeps at most one unfinished event of at most `MAX_EVENT_BYTES`.

    A framed record of up to `MAX_FRAME_BYTES` becomes several events if need be; what claims to be longer is no frame.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[LogEvent]:
        """Return the events that are whole now, without their last newlines. One that is too long is cut into several."""
        data = self._rest + data
        events: list[LogEvent] = []
        start = 0
        while (at := data.find(MARK, start)) >= 0:
            if at + _FRAME.size > len(data):
                break
            mark, size_bytes, at_us = _FRAME.unpack_from(data, at)
            end = at + _FRAME.size + size_bytes
            if MAX_EVENT_BYTES < size_bytes <= MAX_FRAME_BYTES and mark[3] in _KINDS:
                # A record that is longer than an event: its beginning is one, and the rest is read as a record of its own.
                cut = most = at + _FRAME.size + MAX_EVENT_BYTES
                if cut >= len(data):
                    break
                while data[cut] & 0xC0 == 0x80 and cut > most - 4:  # not within a character
                    cut -= 1
                _lines(events, data[start:at], whole=True)
                events.append(LogEvent(_text(data[at + _FRAME.size : cut]), at_us))
                data, start = _FRAME.pack(mark, end - cut, at_us) + data[cut:], 0
                continue
            if size_bytes > MAX_FRAME_BYTES or mark[3] not in _KINDS:
                at_us, end = None, at + len(MARK)  # not a frame: the mark is dropped, the rest is text
            elif end > len(data):
                break
            _lines(events, data[start:at], whole=True)
            if at_us is not None:
                events.append(LogEvent(_text(data[end - size_bytes : end].removesuffix(b"\n")), at_us))
            start = end
        unfinished = data.find(MARK, start)
        text_end = len(data) if unfinished < 0 else unfinished
        rest = _lines(events, data[start:text_end], whole=unfinished >= 0)
        self._rest = rest if unfinished < 0 else data[unfinished:]
        return events

    def flush(self) -> list[LogEvent]:
        """Return the unfinished event, if there is one."""
        rest, self._rest = self._rest, b""
        events: list[LogEvent] = []
        _lines(events, rest.removeprefix(MARK), whole=True)
        return events


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _lines(events: list[LogEvent], data: bytes, *, whole: bool) -> bytes:
    """Append the lines of a piece of text; return what follows the last newline, unless the piece is whole."""
    pieces = data.split(b"\n")
    rest = pieces.pop()
    for piece in pieces:
        for start in range(0, max(len(piece), 1), MAX_EVENT_BYTES):
            events.append(LogEvent(_text(piece[start : start + MAX_EVENT_BYTES])))
    while len(rest) > MAX_EVENT_BYTES or (whole and rest):
        events.append(LogEvent(_text(rest[:MAX_EVENT_BYTES])))
        rest = rest[MAX_EVENT_BYTES:]
    return rest

"""Lines from what a process writes, piece by piece: the events of a function's log.

Knows bytes and newlines; does not know where they come from. A line is decoded as UTF-8, with U+FFFD where it is none.

Source: CloudWatch Logs quotas (event size 256 KB).
"""

MAX_EVENT_BYTES = 256 * 1024 - 26


class LineSplitter:
    """Cut a byte stream at its newlines. Keeps at most one unfinished line of at most `MAX_EVENT_BYTES`."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are whole now, without their newlines. A line that is too long is cut into several."""
        pieces = (self._rest + data).split(b"\n")
        rest = pieces.pop()
        lines: list[str] = []
        for piece in pieces:
            _append_cut(lines, piece)
        while len(rest) > MAX_EVENT_BYTES:
            lines.append(rest[:MAX_EVENT_BYTES].decode("utf-8", "replace"))
            rest = rest[MAX_EVENT_BYTES:]
        self._rest = rest
        return lines

    def flush(self) -> list[str]:
        """Return the unfinished line as a line, if there is one."""
        rest, self._rest = self._rest, b""
        return [rest.decode("utf-8", "replace")] if rest else []


def _append_cut(lines: list[str], piece: bytes) -> None:
    for start in range(0, max(len(piece), 1), MAX_EVENT_BYTES):
        lines.append(piece[start : start + MAX_EVENT_BYTES].decode("utf-8", "replace"))

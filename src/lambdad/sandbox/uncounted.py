"""Memory that the kernel counts for no cgroup: replies that wait in netlink sockets, some 200 KB in each.

No setting bounds it, so it is looked at, once a second while an environment's processes may run. Source: Linux, net/netlink/af_netlink.c,
whose buffers are allocated without __GFP_ACCOUNT; the columns of /proc/net/netlink.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

LOOK_S = 1.0
SHARE_OF_MEMORY = 4
MOST_TEXT_BYTES = 512 * 1024  # a line is about a hundred; who has more sockets than this has too many
_RECEIVED = 4  # the column with what waits to be read


class Watch:
    """
    Looks at one environment's netlink sockets until it is stopped; calls `on_excess`, and stops, when they hold too much.

    Resource handling: a timer of the running loop, from `start` to `stop`. Both may be called at any time, and again.
    """

    def __init__(self, on_excess: Callable[[], None]) -> None:
        self._on_excess = on_excess
        self._timer: asyncio.TimerHandle | None = None
        self._file: Path | None = None
        self._most_bytes = 0

    def start(self, init_pid: int, memory_bytes: int) -> None:
        """Look at the network namespace of a process; a quarter of an environment's memory may wait in sockets."""
        self._file = Path(f"/proc/{init_pid}/net/netlink")
        self._most_bytes = memory_bytes // SHARE_OF_MEMORY
        self.resume()

    def resume(self) -> None:
        """Go on after `stop`, if it was started before."""
        self.stop()
        if self._file is not None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        assert self._file is not None
        try:
            with self._file.open("rb", buffering=0) as file:
                text = _read(file.read)
        except OSError:
            return  # it is gone, or not ours to see
        if len(text) >= MOST_TEXT_BYTES or waiting_bytes(text) > self._most_bytes:
            self._timer = None
            self._on_excess()
        else:
            self.resume()


def _read(read: Callable[[int], bytes | None]) -> bytes:
    text = b""
    while len(text) < MOST_TEXT_BYTES and (piece := read(65536)):
        text += piece
    return text


def waiting_bytes(text: bytes) -> int:
    """Return how much waits in all sockets of a /proc/net/netlink; a line of another form counts nothing."""
    total = 0
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > _RECEIVED and words[_RECEIVED].isdigit():
            total += int(words[_RECEIVED])
    return total

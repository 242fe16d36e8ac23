"""The worker's side of a channel to a process that may end at any time."""

import asyncio
import json
import socket
from typing import Any

from lambdad.sandbox import channel


async def test_last_words_are_heard():
    """What the other side said before it went is heard, also if it left unread what was said to it; the end comes once."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    heard: list[Any] = []
    ended = asyncio.Event()

    def end() -> None:
        heard.append("end")
        ended.set()

    made = channel.Channel(ours, lambda message, fds, pid: heard.append(message), end)
    made.send({"request": "unread"})
    for n in range(2):
        theirs.send(json.dumps({"event": n}).encode())
    theirs.close()
    async with asyncio.timeout(5):
        await ended.wait()
    assert heard == [{"event": 0}, {"event": 1}, "end"] and made.closed

"""How many bytes of messages all pollers together hold in memory."""

import asyncio

HELD_BYTES_MAX = 256 * 1024 * 1024


class Room:
    """Counts what is held. Who wants to receive more waits while it is too much; what is then under way still comes in on top."""

    def __init__(self, limit_bytes: int = HELD_BYTES_MAX) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    def take(self, size_bytes: int) -> None:
        self._held_bytes += size_bytes
        if self._held_bytes >= self._limit_bytes:
            self._has_room.clear()

    def free(self, size_bytes: int) -> None:
        self._held_bytes -= size_bytes
        if self._held_bytes < self._limit_bytes:
            self._has_room.set()

    async def wait_for_room(self, within_s: float) -> bool:
        """Return at once where there is room; else wait for some, and say whether it came in time."""
        if self._has_room.is_set():
            return True
        try:
            async with asyncio.timeout(within_s):
                await self._has_room.wait()
        except TimeoutError:
            return False
        return True

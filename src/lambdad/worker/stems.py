"""Stem cells: sandboxes that are booted and fenced in, made before anybody asks for them.

A pool keeps some spare ones; whoever takes one causes another to be made, off the path of the invocation that waits. Demand decides how
many: what was taken in the last seconds is kept ready, within a bound.
"""

import asyncio
import collections
import logging
from collections.abc import Awaitable, Callable

from lambdad.worker.ports import Sandbox

log = logging.getLogger("lambdad.worker")

MOST_SPARE = 16
DEMAND_WINDOW_S = 5.0
RETRY_S = 1.0


class StemPool:
    """The stem cells of one kind of runtime. `run` keeps them; `take` may be called at any time.

    Resource handling: leaving `run` kills what is spare.
    """

    def __init__(self, spawn: Callable[[], Awaitable[Sandbox]], least: int) -> None:
        self._spawn = spawn
        self._least = least
        self._spare: collections.deque[Sandbox] = collections.deque()
        self._taken_at_s: collections.deque[float] = collections.deque(maxlen=MOST_SPARE)
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._loop = asyncio.get_running_loop()

    def spare(self) -> int:
        """Return how many are ready."""
        return len(self._spare)

    async def take(self) -> Sandbox:
        """Return a stem cell, made on the spot if none is spare. It belongs to the caller from here on."""
        self._taken_at_s.append(self._loop.time())
        self._wanted.set()
        if self._spare:
            return self._spare.popleft()
        return await self._spawn()

    def _target(self) -> int:
        since_s = self._loop.time() - DEMAND_WINDOW_S
        recent = sum(at_s > since_s for at_s in self._taken_at_s)
        return max(self._least, min(recent, MOST_SPARE))

    async def run(self) -> None:
        """Keep the pool filled, until cancelled."""
        try:
            while True:
                self._wanted.clear()
                while len(self._spare) < self._target():
                    try:
                        self._spare.append(await self._spawn())
                    except OSError as error:
                        log.error("stem.failed error=%s", error)
                        await asyncio.sleep(RETRY_S)
                await self._wanted.wait()
        finally:
            for sandbox in self._spare:
                await sandbox.kill()
            self._spare.clear()

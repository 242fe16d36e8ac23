"""Stem cells: sandboxes that are booted and fenced in, made before anybody asks for them.

A pool keeps some spare ones; whoever takes one causes another to be made, off the path of the invocation that waits. Demand decides how
many: what was taken in the last seconds is kept ready, within a bound, and what nobody has wanted for a while is let go again. One that
dies meanwhile is replaced, and never handed out.
"""

import asyncio
import collections
import contextlib
import logging

from lambdad.worker.ports import Sandbox, Spawn

log = logging.getLogger("lambdad.worker")

MOST_SPARE = 16
DEMAND_WINDOW_S = 5.0
SURPLUS_AFTER_S = 60.0  # spare stem cells beyond the least are kept for so long after the last demand
REFILL_AFTER_S = 0.03  # as long as there are spare ones, the processors are left to the function that was just started
RETRY_S = 1.0
_MIB = 1024 * 1024


class StemPool:
    """The stem cells of one kind of runtime. `run` keeps them; `take` may be called at any time.

    Args:
        least: how many are kept whatever the demand.
        most: how many are kept at most.

    Resource handling: leaving `run` kills what is spare.
    """

    def __init__(self, spawn: Spawn, least: int, most: int = MOST_SPARE) -> None:
        self._spawn = spawn
        self._least = min(least, most)
        self._most = most
        self._spare: collections.deque[Sandbox] = collections.deque()
        self._outdated: set[Sandbox] = set()  # some of the spare ones
        self._taken_at_s: collections.deque[float] = collections.deque(maxlen=MOST_SPARE)
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._filled = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def spare(self) -> int:
        """Return how many are ready."""
        return len(self._spare)

    def spare_mib(self) -> int:
        """Return how much memory those that are ready use, or have used at most."""
        return sum(sandbox.peak_memory_bytes() for sandbox in self._spare) // _MIB

    async def take(self) -> Sandbox:
        """Return a stem cell, made on the spot if none is spare. It belongs to the caller from here on."""
        self._taken_at_s.append(self._loop.time())
        self._wanted.set()
        while self._spare:
            sandbox = self._spare.popleft()
            self._outdated.discard(sandbox)
            if not sandbox.is_lost():
                return sandbox
            await sandbox.kill()
        return await self._spawn(hurried=True)

    async def wait_filled(self, *, booted: bool = False) -> None:
        """
        Wait until the first stem cell is there, or could not be made.

        Args:
            booted: wait, too, until the one that would be taken next has booted.
        """
        await self._filled.wait()
        if booted and self._spare:
            await self._spare[0].wait_booted()

    def renew(self) -> None:
        """Replace all that are spare, one after the other, by new ones."""
        self._outdated.update(self._spare)
        self._wanted.set()

    def note_given_up(self) -> None:
        """Hear that `run` has ended, or will never begin: whoever waits waits for nothing."""
        self._filled.set()

    def add(self, sandbox: Sandbox) -> None:
        """Keep a stem cell that somebody else has made."""
        self._spare.append(sandbox)

    async def close(self) -> None:
        """Kill what is spare."""
        while self._spare:
            await self._spare.popleft().kill()

    def _target(self) -> int:
        since_s = self._loop.time() - DEMAND_WINDOW_S
        recent = sum(at_s > since_s for at_s in self._taken_at_s)
        return max(self._least, min(recent, self._most))

    async def run(self) -> None:
        """Keep the pool filled, until cancelled."""
        try:
            while True:
                self._wanted.clear()
                await self._fill()
                self._filled.set()
                if not await self._wanted_within(SURPLUS_AFTER_S if len(self._spare) > self._least else None):
                    await self._drop(self._spare[-1])
                elif self._spare:
                    await asyncio.sleep(REFILL_AFTER_S)
        finally:
            await self.close()

    async def _fill(self) -> None:
        for lost in [sandbox for sandbox in self._spare if sandbox.is_lost()]:
            log.warning("stem.lost")
            await self._drop(lost)
        while len(self._spare) - len(self._outdated) < self._target():
            try:
                sandbox = await self._spawn(hurried=False)
            except OSError as error:
                log.error("stem.failed error=%s", error)
                self._filled.set()
                await asyncio.sleep(RETRY_S)
            else:
                self._spare.append(sandbox)
                self._filled.set()
                sandbox.when_lost(self._note_lost)
        while self._outdated:
            await self._drop(next(iter(self._outdated)))

    async def _drop(self, sandbox: Sandbox) -> None:
        self._outdated.discard(sandbox)
        if sandbox in self._spare:
            self._spare.remove(sandbox)
            await sandbox.kill()

    def _note_lost(self, sandbox: Sandbox) -> None:
        if sandbox in self._spare:
            self._loop.call_later(RETRY_S, self._wanted.set)  # what dies at once again and again is not to keep us busy

    async def _wanted_within(self, within_s: float | None) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._wanted.wait()
                return True
        return False

"""The loop of a service that keeps times in rows: look for what is due, do it, sleep until the next time.

What makes a time happen exactly once is the service's transaction: the row's next time and the deliveries that the present one causes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from lambdad.kit.clock import NowMs

log = logging.getLogger("lambdad.timetable")

POLL_S: Final = 1.0
"""The rows are looked at this often at least: the clock may be advanced, and rows may be written by other processes."""

FAILED_S: Final = 1.0
SHORTEST_S: Final = 0.005


class Timetable:
    """
    Keep a service's times.

    Args:
        what: names the times, for the log.
        step: does what is due at a time (Unix, milliseconds), a bounded number of rows at once, and returns the next time at which
            there is something to do: now or earlier if there is more, None if there is nothing.
        now_ms: the clock.

    `run` once; `wake` whenever a row gets an earlier time.
    """

    def __init__(self, what: str, step: Callable[[int], Awaitable[int | None]], now_ms: NowMs) -> None:
        self._what = what
        self._step = step
        self._now_ms = now_ms
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at the rows now."""
        self._wake.set()

    async def run(self) -> NoReturn:
        """Do what is due, until cancelled; what is under way then is whole or has not happened."""
        while True:
            self._wake.clear()
            try:
                next_ms = await self._step(self._now_ms())
            except Exception:
                # Safe to go on: the rows that were not done are still due, and are looked at again.
                log.exception("timetable.step.failed what=%s", self._what)
                await asyncio.sleep(FAILED_S)
                continue
            await self._wait(next_ms)

    async def _wait(self, next_ms: int | None) -> None:
        patience_s = POLL_S if next_ms is None else min((next_ms - self._now_ms()) / 1000, POLL_S)
        if patience_s <= 0:
            await asyncio.sleep(0)  # others have their turn between two batches
            return
        try:
            async with asyncio.timeout(max(patience_s, SHORTEST_S)):
                await self._wake.wait()
        except TimeoutError:
            pass

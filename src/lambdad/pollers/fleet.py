"""All pollers of this server: started, halted, changed and stopped by mapping."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from lambdad.pollers.plans import Plan
from lambdad.pollers.ports import Queue, Runner
from lambdad.pollers.queue_driver import QueuePoller
from lambdad.pollers.room import Room

log = logging.getLogger("lambdad.pollers")

RESTART_S = 5.0  # after a poller has failed in a way that nobody foresaw


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Messages since the start of the server, of the mappings that are polled now; `lanes` and `held_bytes` at present."""

    pollers: int
    lanes: int
    held_bytes: int
    received: int
    filtered: int
    deleted: int
    failed: int
    invocations: int
    throttles: int


@dataclass(slots=True, kw_only=True)
class _Entry:
    plan: Plan
    queue: Queue
    runner: Runner
    halted: str  # why; "" while it may receive
    poller: QueuePoller
    ended: asyncio.Event


class Fleet:
    """The pollers, one for each mapping that is enabled. `run` once; everything else at any time, also before."""

    def __init__(self, draw: Callable[[], float], room: Room | None = None) -> None:
        self._draw = draw
        self._room = room or Room()
        self._entries: dict[str, _Entry] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._leaving: set[asyncio.Event] = set()
        self._close_at_s: float | None = None

    async def run(self) -> None:
        """
        Run the pollers until cancelled; `begin_to_close` and `close` first let what runs come to its end.

        Cancellation: messages that are held come again by their visibility timeout.
        """
        async with asyncio.TaskGroup() as self._tasks:
            for entry in self._entries.values():
                self._tasks.create_task(self._keep(entry))
            await asyncio.Event().wait()

    def put(self, plan: Plan, queue: Queue, runner: Runner, halted: str) -> None:
        """
        Work a queue off from now on, or go on by another plan.

        Args:
            halted: why the function cannot be invoked at present; "" where it can.

        Nothing happens when `begin_to_close` has been called.
        """
        if self._close_at_s is not None:
            return
        entry = self._entries.get(plan.id)
        if entry is not None:
            entry.plan, entry.runner = plan, runner
            entry.poller.configure(plan, runner)
            self.halt(plan.id, halted) if halted else self.resume(plan.id)
            return
        poller = QueuePoller(plan, queue, runner, self._room, self._draw)
        entry = _Entry(plan=plan, queue=queue, runner=runner, halted=halted, poller=poller, ended=asyncio.Event())
        self._entries[plan.id] = entry
        if self._tasks is not None:
            self._tasks.create_task(self._keep(entry))

    def halt(self, mapping_id: str, reason: str) -> None:
        """Receive nothing for a mapping until it is resumed."""
        if (entry := self._entries.get(mapping_id)) is not None:
            entry.halted = reason
            entry.poller.halt()

    def resume(self, mapping_id: str) -> None:
        if (entry := self._entries.get(mapping_id)) is not None:
            entry.halted = ""
            entry.poller.resume()

    async def remove(self, mapping_id: str) -> None:
        """Stop a poller; return when its last invocation has ended. Nothing happens where there is none."""
        entry = self._entries.pop(mapping_id, None)
        if entry is None or self._tasks is None:
            return
        self._leaving.add(entry.ended)
        entry.poller.stop()
        try:
            await entry.ended.wait()
        finally:
            self._leaving.discard(entry.ended)

    def problem(self, mapping_id: str) -> str:
        """Say why a mapping is not worked off at present; "" where it is, or where it has no poller."""
        entry = self._entries.get(mapping_id)
        return (entry.halted or entry.poller.problem) if entry is not None else ""

    def begin_to_close(self, within_s: float) -> None:
        """Stop all pollers, for good: nothing more is received. `close` waits until `within_s` from now at most."""
        self._close_at_s = asyncio.get_running_loop().time() + within_s
        for entry in self._entries.values():
            entry.poller.stop()
            self._leaving.add(entry.ended)
        self._entries.clear()

    async def close(self) -> None:
        """Wait for what runs to end; what takes longer is for `run`'s cancellation to break off."""
        if self._close_at_s is None:
            self.begin_to_close(0)
        if self._tasks is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._close_at_s):
                for ended in [*self._leaving]:
                    await ended.wait()

    def statistics(self) -> Statistics:
        pollers = [entry.poller for entry in self._entries.values()]
        return Statistics(
            pollers=len(pollers),
            lanes=sum(poller.lanes for poller in pollers),
            held_bytes=self._room.held_bytes,
            received=sum(poller.counts.received for poller in pollers),
            filtered=sum(poller.counts.filtered for poller in pollers),
            deleted=sum(poller.counts.deleted for poller in pollers),
            failed=sum(poller.counts.failed for poller in pollers),
            invocations=sum(poller.counts.invocations for poller in pollers),
            throttles=sum(poller.counts.throttles for poller in pollers),
        )

    async def _keep(self, entry: _Entry) -> None:
        try:
            while True:
                if not entry.halted:
                    entry.poller.resume()
                try:
                    await entry.poller.run()
                    return
                except Exception:
                    # Safe to go on: whatever the poller held was not deleted and comes again; a fresh one knows nothing of it.
                    log.exception("poller.failed mapping=%s", entry.plan.id)
                await asyncio.sleep(RESTART_S)
                if self._entries.get(entry.plan.id) is not entry:
                    return
                entry.poller = QueuePoller(entry.plan, entry.queue, entry.runner, self._room, self._draw)
        finally:
            entry.ended.set()

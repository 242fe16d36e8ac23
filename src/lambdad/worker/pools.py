"""The pools of stem cells: one for each kind of process made ahead, the ones that nobody has used for longest given up first.

Bounds: what a template forks costs little, and there are as many kinds as interpreters. What is executed ahead (Node.js, a JVM) holds tens
of MiB each, and there is a kind for each memory size: at most `MOST_EXECUTED` such pools, `EXECUTED_SPARE` in each, and all of them
together at most `EXECUTED_MIB` of memory in use.
"""

import asyncio
import contextlib
from dataclasses import dataclass

from lambdad.worker.ports import Spawn
from lambdad.worker.stems import StemPool

MOST_EXECUTED = 8
EXECUTED_SPARE = 4
EXECUTED_MIB = 1024


@dataclass(slots=True)
class _Kept:
    pool: StemPool
    keeper: asyncio.Task[None]
    executed: bool


class Pools:
    """Keeps pools by key.

    Args:
        tasks: where their keepers run.
        spare: stem cells kept in each at least.

    Resource handling: `close` kills all that is spare.
    """

    def __init__(self, tasks: asyncio.TaskGroup, spare: int) -> None:
        self._tasks = tasks
        self._spare = spare
        self._kept: dict[str, _Kept] = {}  # the one used last comes last

    def use(self, key: str, spawn: Spawn, *, executed: bool) -> StemPool:
        """Return the pool of a kind, made if there is none; what is then too much is given up.

        Args:
            executed: its stem cells are programs of their own, not forks that share their memory.
        """
        kept = self._kept.pop(key, None)
        if kept is None:
            pool = StemPool(spawn, self._spare, EXECUTED_SPARE) if executed else StemPool(spawn, self._spare)
            kept = _Kept(pool, self._tasks.create_task(pool.run()), executed)
            kept.keeper.add_done_callback(lambda _: pool.note_given_up())
        self._kept[key] = kept
        self._bound()
        return kept.pool

    def renew(self, key: str) -> None:
        """Replace the stem cells of a kind, because better ones can be made now."""
        kept = self._kept.get(key)
        if kept is not None:
            kept.pool.renew()

    def _bound(self) -> None:
        """Give up the pools that were used longest ago, down to the bounds; never the one used last."""
        executed = [(key, kept) for key, kept in self._kept.items() if kept.executed]
        used_mib = sum(kept.pool.spare_mib() for _, kept in executed)
        while len(executed) > 1 and (len(executed) > MOST_EXECUTED or used_mib > EXECUTED_MIB):
            key, kept = executed.pop(0)
            used_mib -= kept.pool.spare_mib()
            kept.keeper.cancel()
            del self._kept[key]

    async def close(self) -> None:
        """Kill all stem cells, and return when they are gone."""
        keepers = [kept.keeper for kept in self._kept.values()]
        self._kept.clear()
        for keeper in keepers:
            keeper.cancel()
        for keeper in keepers:
            with contextlib.suppress(asyncio.CancelledError):
                await keeper

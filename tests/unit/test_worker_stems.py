"""The pools of stem cells: who is handed out, who is replaced, and what is given up."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from lambdad.worker import pools, stems


class PaperSandbox:
    """A stem cell of paper, that can be lost."""

    def __init__(self, mib: int = 0) -> None:
        self.lost = self.killed = False
        self._mib = mib
        self._callbacks: list[Callable[[Any], None]] = []
        self.booted = asyncio.Event()

    def is_lost(self) -> bool:
        return self.lost

    def when_lost(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    async def wait_booted(self) -> None:
        await self.booted.wait()

    def peak_memory_bytes(self) -> int:
        return self._mib << 20

    async def kill(self) -> None:
        self.killed = True

    def die(self) -> None:
        self.lost = True
        for callback in self._callbacks:
            callback(self)


class Nursery:
    """Makes them, and remembers."""

    def __init__(self, mib: int = 0) -> None:
        self.made: list[PaperSandbox] = []
        self._mib = mib

    async def spawn(self, *, hurried: bool) -> Any:
        self.made.append(PaperSandbox(self._mib))
        return self.made[-1]

    def living(self) -> list[PaperSandbox]:
        return [one for one in self.made if not one.killed]


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_one_that_died_is_never_handed_out_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stems, "RETRY_S", 0.0)
    nursery = Nursery()
    pool = stems.StemPool(nursery.spawn, 2)
    async with asyncio.TaskGroup() as tasks:
        keeper = tasks.create_task(pool.run())
        await pool.wait_filled()
        first, second = nursery.made
        first.die()
        assert await pool.take() is second
        await until(lambda: pool.spare() == 2)
        assert first.killed and not any(one.lost for one in nursery.living())
        nursery.made[-1].die()  # while nobody asks
        await until(lambda: nursery.made[-2].killed or nursery.made[-1] not in nursery.living() or len(nursery.made) == 5)
        keeper.cancel()
    assert pool.spare() == 0


async def test_surplus_is_let_go_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stems, "SURPLUS_AFTER_S", 0.001)
    monkeypatch.setattr(stems, "DEMAND_WINDOW_S", 0.05)
    nursery = Nursery()
    pool = stems.StemPool(nursery.spawn, 1, 4)
    async with asyncio.TaskGroup() as tasks:
        keeper = tasks.create_task(pool.run())
        for _ in range(9):
            await pool.take()
        await settle()
        assert pool.spare() <= 4
        await until(lambda: pool.spare() == 1)
        keeper.cancel()


async def test_waiting_for_the_first_to_boot() -> None:
    nursery = Nursery()
    pool = stems.StemPool(nursery.spawn, 1)
    async with asyncio.TaskGroup() as tasks:
        keeper = tasks.create_task(pool.run())
        waiting = tasks.create_task(pool.wait_filled(booted=True))
        await settle()
        assert nursery.made and not waiting.done()
        nursery.made[0].booted.set()
        await waiting
        keeper.cancel()


async def test_pools_used_longest_ago_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MOST_EXECUTED", 2)
    nurseries = {name: Nursery() for name in "abcd"}
    async with asyncio.TaskGroup() as tasks:
        kept = pools.Pools(tasks, 1)
        forked = kept.use("forked", nurseries["d"].spawn, executed=False)
        await forked.wait_filled()
        for name in ("a", "b", "a", "c"):
            await kept.use(name, nurseries[name].spawn, executed=True).wait_filled()
        await settle()
        assert [len(nurseries[name].living()) for name in "abcd"] == [1, 0, 1, 1]
        assert kept.use("forked", nurseries["d"].spawn, executed=False) is forked
        await kept.close()
    assert not any(nursery.living() for nursery in nurseries.values())


async def test_memory_bounds_what_is_executed_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "EXECUTED_MIB", 100)
    large, small = Nursery(90), Nursery(20)
    async with asyncio.TaskGroup() as tasks:
        kept = pools.Pools(tasks, 1)
        await kept.use("large", large.spawn, executed=True).wait_filled()
        pool = kept.use("small", small.spawn, executed=True)
        await pool.wait_filled()
        assert len(large.living()) == 1  # not known to be too much before both are there
        assert kept.use("small", small.spawn, executed=True) is pool
        await settle()
        assert (len(large.living()), len(small.living())) == (0, 1)
        await kept.close()


async def test_nobody_waits_for_a_pool_that_never_began() -> None:
    async with asyncio.TaskGroup() as tasks:
        kept = pools.Pools(tasks, 1)
        pool = kept.use("a", Nursery().spawn, executed=True)
        await kept.close()
        async with asyncio.timeout(1):
            await pool.wait_filled()


async def test_renewing_replaces_all_that_are_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stems, "REFILL_AFTER_S", 0.0)
    nursery = Nursery()
    pool = stems.StemPool(nursery.spawn, 2)
    async with asyncio.TaskGroup() as tasks:
        keeper = tasks.create_task(pool.run())
        await pool.wait_filled()
        before = list(nursery.made)
        pool.renew()
        await until(lambda: all(one.killed for one in before))
        assert pool.spare() == 2 and not any(one.killed for one in nursery.made[2:])
        assert await pool.take() in nursery.made[2:]
        keeper.cancel()

"""Cgroups for environments: one driver whichever version the kernel has, a pool of directories, and the sweep."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lambdad.kit import threads
from lambdad.sandbox import cgroup_files, cgroup_v1, cgroup_v2, instances, spec

POOLED_GROUPS = 64
_SWEEP_DEPTH = 6
_PREFIX = "lambdad-"


class Group(Protocol):
    """What an environment needs of its cgroup. Sync calls take microseconds, except ``reset`` and ``destroy``."""

    freezer_fd: int | None  # passed to init, which thaws in an emergency

    @property
    def can_freeze(self) -> bool: ...
    def open_procs(self) -> list[int]: ...
    def limit(self, limits: spec.Limits) -> None: ...
    def watch(self) -> None: ...
    def unwatch(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def peak_memory_bytes(self) -> int | None: ...
    def memory_bytes(self) -> int | None: ...
    def oom_kills(self) -> int: ...
    def members(self) -> list[int]: ...
    def reset(self) -> bool: ...
    def destroy(self) -> None: ...


class Driver(Protocol):
    """One version's way of making groups."""

    version: int
    controllers: frozenset[str]

    def create(self, name: str) -> Group: ...
    def stop_watching(self) -> None: ...
    def destroy(self) -> None: ...


class NoGroup:
    """Stands where no cgroup is to be had: joins nothing, limits nothing, cannot freeze."""

    freezer_fd: int | None = None
    can_freeze = False

    def open_procs(self) -> list[int]:
        return []

    def limit(self, limits: spec.Limits) -> None:
        return None

    def watch(self) -> None:
        return None

    def unwatch(self) -> None:
        return None

    def freeze(self) -> None:
        return None

    def thaw(self) -> None:
        return None

    def peak_memory_bytes(self) -> int | None:
        return None

    def memory_bytes(self) -> int | None:
        return None

    def oom_kills(self) -> int:
        return 0

    def members(self) -> list[int]:
        return []

    def reset(self) -> bool:
        return True

    def destroy(self) -> None:
        return None


class NoDriver:
    """The driver of a machine, or of a user, without cgroups."""

    version = 0
    controllers: frozenset[str] = frozenset()

    def create(self, name: str) -> NoGroup:
        return NoGroup()

    def stop_watching(self) -> None:
        return None

    def destroy(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Statistics:
    """``made`` counts directories ever made, ``in_use`` those lent out, ``pooled`` those waiting, ``lost`` those that did
    not become empty."""

    version: int
    controllers: frozenset[str]
    made: int
    in_use: int
    pooled: int
    lost: int


class Cgroups:
    """
    Lends cgroups to environments.

    Directories are reused, because making one costs the kernel more than emptying one; at most ``POOLED_GROUPS`` wait.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._free: list[Group] = []
        self._numbers = itertools.count(1)
        self._made = self._in_use = self._lost = 0

    async def acquire(self) -> Group:
        """Lend an empty group without limits. Raises CgroupFailed."""
        self._in_use += 1
        if self._free:
            return self._free.pop()
        self._made += 1
        name = f"e{next(self._numbers)}"
        making = asyncio.get_running_loop().run_in_executor(None, self.driver.create, name)
        try:
            await asyncio.wait((making,))
            return making.result()
        except BaseException:
            self._in_use -= 1
            making.add_done_callback(self._keep_unwanted)
            raise

    def _keep_unwanted(self, making: asyncio.Future[Group]) -> None:
        """Keep for the next one what somebody stopped waiting for."""
        if not making.cancelled() and making.exception() is None:
            self._free.append(making.result())

    def release(self, group: Group, before: Callable[[], None], on_done: Callable[[], None]) -> None:
        """
        Take back a group whose processes are gone, in a thread; what is not empty, or not as good as new, is removed.

        Args:
            before: what else is to be done in that thread, first.
            on_done: called on the running loop when everything is done.

        Ordering: not bound to whoever calls, so that a cancelled caller leaves no group half returned.
        """

        def done(cleaning: asyncio.Future[bool | None]) -> None:
            self._in_use -= 1
            reusable = cleaning.result()
            if reusable:
                self._free.append(group)
            elif reusable is None:
                self._lost += 1  # the sweep at the end, or at the next start, removes it
            on_done()

        keep = len(self._free) < POOLED_GROUPS
        asyncio.get_running_loop().run_in_executor(None, _clean, group, keep, before).add_done_callback(done)

    def statistics(self) -> Statistics:
        """Return counts since the start."""
        return Statistics(self.driver.version, self.driver.controllers, self._made, self._in_use, len(self._free), self._lost)

    def close(self) -> None:
        """Remove the whole subtree. Blocks for milliseconds. Raises CgroupFailed."""
        for group in self._free:
            group.destroy()
        self._free.clear()
        self.driver.destroy()


def _clean(group: Group, keep: bool, before: Callable[[], None]) -> bool | None:
    """Make a group reusable (True), or remove it (False), or say that neither could be done (None)."""
    before()
    try:
        if keep and group.reset():
            return True
        group.destroy()
    except cgroup_files.CgroupFailed:
        return None
    return False


def detect(instance: str, proc_self: Path = Path("/proc/self")) -> Driver:
    """Choose the driver for this machine and user: version 1 where the memory controller is there, else version 2."""
    try:
        hierarchies = cgroup_files.mounted_hierarchies(proc_self)
    except OSError:
        return NoDriver()
    old = [one for one in hierarchies if one.version == 1]
    if any("memory" in one.controllers for one in old):
        driver_v1 = cgroup_v1.DriverV1(old, instance)
        if driver_v1.controllers:
            return driver_v1
    for one in hierarchies:
        if one.version == 2:
            try:
                return cgroup_v2.DriverV2(one, instance)
            except cgroup_files.CgroupFailed:
                break
    return NoDriver()


def sweep(proc_self: Path = Path("/proc/self")) -> list[str]:
    """
    Kill and remove what workers that are dead have left behind. Blocks; call it before serving.

    Returns:
        The ids of the dead instances, each once. A living neighbour's cgroups are never touched.

    Raises:
        CgroupFailed: a leftover process does not die.
    """
    swept: dict[str, None] = {}
    try:
        hierarchies = cgroup_files.mounted_hierarchies(proc_self)
    except OSError:
        return []
    # The freezer comes first: what is frozen there can leave none of the others.
    for one in sorted(hierarchies, key=lambda one: "freezer" not in one.controllers):
        for directory in _subtrees(one.place):
            instance = directory.name.removeprefix(_PREFIX)
            if not instances.is_alive(instance) and os.access(directory, os.W_OK):
                cgroup_files.remove(directory)
                swept[instance] = None
    return list(swept)


def _subtrees(top: Path) -> list[Path]:
    """Return the directories named ``lambdad-...`` at most a few levels down."""
    found: list[Path] = []
    for place, names, _files in os.walk(top):
        if len(Path(place).relative_to(top).parts) >= _SWEEP_DEPTH:
            names.clear()
        found.extend(Path(place, name) for name in names if name.startswith(_PREFIX))
        names[:] = [name for name in names if not name.startswith(_PREFIX)]
    return found


@asynccontextmanager
async def open_cgroups(instance: str) -> AsyncIterator[Cgroups]:
    """Sweep dead instances' leftovers, open this instance's subtree, and remove it at the end."""
    await threads.run(sweep)
    cgroups = Cgroups(await threads.run(detect, instance))
    try:
        yield cgroups
    finally:
        cgroups.driver.stop_watching()
        await threads.run(cgroups.close)

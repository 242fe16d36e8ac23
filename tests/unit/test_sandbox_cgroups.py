"""Cgroups: both back ends against a tree of plain files, and what decides about memory."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from lambdad.sandbox import cgroup_files, cgroup_v1, cgroup_v2, cgroups, instances, memory_files, spec

MIB = 1 << 20
LIMITS = spec.Limits(memory_bytes=128 * MIB, cpu_millicores=72, pids=1024, tmp_bytes=512 * MIB)
DEAD = "4194305-1-{}"  # pids end at 4194304


class FakeKernel:
    """Plain files where the kernel's would be: directories get their control files when they are made."""

    V1: ClassVar = {
        "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max_usage_in_bytes",
                   "memory.usage_in_bytes", "memory.force_empty", "memory.stat", "memory.oom_control"),
        "cpu": ("cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.shares"),
        "pids": ("pids.max",),
        "freezer": ("freezer.state",),
    }  # fmt: skip
    V2 = ("cgroup.freeze", "cgroup.kill", "memory.max", "memory.high", "memory.swap.max", "memory.peak", "memory.current",
          "memory.events", "memory.stat", "memory.oom.group", "cpu.max", "cpu.weight", "pids.max", "cgroup.subtree_control",
          "cgroup.controllers")  # fmt: skip

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        self.make = cgroup_files.make
        self.write = cgroup_files.write
        self.busy: set[Path] = set()
        monkeypatch.setattr(cgroup_files, "make", self._make)
        monkeypatch.setattr(cgroup_files, "write", self._write)

    def _make(self, directory: Path) -> None:
        self.make(directory)
        self.populate(directory)

    def _write(self, directory: Path, name: str, text: str) -> None:
        if name == "cgroup.subtree_control":
            if directory in self.busy and cgroup_files.members(directory):
                raise cgroup_files.CgroupFailed("hand down", errno.EBUSY)
            text = (directory / name).read_text() + " " + text.lstrip("+")
        if name == "cgroup.procs":
            (directory.parent / name).write_text("")
        self.write(directory, name, text)

    def populate(self, directory: Path) -> None:
        controller = directory.relative_to(self.place).parts[0]
        names = self.V2 if controller == "unified" else self.V1[controller]
        for name in (*names, "cgroup.procs"):
            if not (directory / name).exists():
                (directory / name).write_text("")
        if controller == "unified":
            (directory / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
            (directory / "memory.events").write_text("low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n")
        for name in ("memory.current", "memory.usage_in_bytes", "memory.peak", "memory.max_usage_in_bytes"):
            if (directory / name).exists():
                (directory / name).write_text("0\n")

    def proc_self(self, cgroup: str, mountinfo: str) -> Path:
        place = self.place / "proc"
        place.mkdir()
        (place / "cgroup").write_text(cgroup)
        (place / "mountinfo").write_text(mountinfo)
        return place


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, monkeypatch)


def version_1(kernel: FakeKernel) -> Path:
    lines = []
    for number, names in enumerate(("memory", "cpu,cpuacct", "pids", "freezer"), 30):
        place = kernel.place / names.partition(",")[0]
        place.mkdir()
        lines.append(f"{number} 25 0:{number} / {place} rw,relatime shared:9 - cgroup cgroup rw,{names}\n")
    return kernel.proc_self("4:memory:/unit\n3:cpu,cpuacct:/\n2:pids:/\n1:freezer:/\n0::/\n", "".join(lines))


def version_2(kernel: FakeKernel, own: str = "/user.slice/lambdad.service") -> Path:
    place = kernel.place / "unified"
    (place / own.lstrip("/")).mkdir(parents=True)
    for directory in (place, place / own.lstrip("/")):
        kernel.populate(directory)
    return kernel.proc_self(f"0::{own}\n", f"30 25 0:26 / {place} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n")


def test_version_1_is_found_where_memory_is(kernel: FakeKernel) -> None:
    """Controllers are used in this process's own directory of each hierarchy, co-mounted ones included."""
    driver = cgroups.detect("me", version_1(kernel))
    assert (driver.version, driver.controllers) == (1, {"memory", "cpu", "pids", "freezer"})
    group = driver.create("e1")
    assert (kernel.place / "memory/unit/lambdad-me/e1").is_dir()
    assert (kernel.place / "cpu/lambdad-me/e1").is_dir()
    fds = group.open_procs()
    assert len(fds) == 4
    for fd in fds:
        os.close(fd)
    group.limit(LIMITS)
    read = {name: (kernel.place / name).read_text() for name in (
        "memory/unit/lambdad-me/e1/memory.limit_in_bytes", "memory/unit/lambdad-me/e1/memory.memsw.limit_in_bytes",
        "cpu/lambdad-me/e1/cpu.cfs_quota_us", "cpu/lambdad-me/e1/cpu.cfs_period_us", "pids/lambdad-me/e1/pids.max",
    )}  # fmt: skip
    assert list(read.values()) == [str(128 * MIB), str(128 * MIB), "1440", "20000", "1024"]
    group.freeze()
    assert (kernel.place / "freezer/lambdad-me/e1/freezer.state").read_text() == "FROZEN"
    group.thaw()
    assert (kernel.place / "freezer/lambdad-me/e1/freezer.state").read_text() == "THAWED"
    assert isinstance(group, cgroup_v1.GroupV1)
    group.close()


def test_a_cap_above_the_share_lets_idle_processors_be_used(kernel: FakeKernel) -> None:
    """The share weighs among functions, the cap bounds a function alone."""
    group = cgroups.detect("me", version_1(kernel)).create("e1")
    group.limit(replace(LIMITS, cpu_millicores=72, cpu_cap_millicores=1000))
    cpu = kernel.place / "cpu/lambdad-me/e1"
    assert [(cpu / name).read_text() for name in ("cpu.shares", "cpu.cfs_quota_us")] == ["73", "20000"]
    assert isinstance(group, cgroup_v1.GroupV1)
    group.close()


def test_version_1_writes_only_what_changes(kernel: FakeKernel) -> None:
    """A limit that is already set is not written again, also after the group was given back."""
    group = cgroups.detect("me", version_1(kernel)).create("e1")
    assert isinstance(group, cgroup_v1.GroupV1)
    group.limit(LIMITS)
    pids = kernel.place / "pids/lambdad-me/e1/pids.max"
    pids.write_text("sentinel")
    assert group.reset()
    group.limit(LIMITS)
    assert pids.read_text() == "sentinel"
    group.close()


def test_version_1_measures(kernel: FakeKernel) -> None:
    """Peak, use and OOM kills are read from the kernel's files; a group with members is not reusable."""
    group = cgroups.detect("me", version_1(kernel)).create("e1")
    assert isinstance(group, cgroup_v1.GroupV1)
    memory = kernel.place / "memory/unit/lambdad-me/e1"
    (memory / "memory.max_usage_in_bytes").write_text("123\n")
    (memory / "memory.usage_in_bytes").write_text("45\n")
    (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert (group.peak_memory_bytes(), group.memory_bytes(), group.oom_kills()) == (123, 45, 3)
    (memory / "cgroup.procs").write_text("17\n4\n")
    assert group.members() == [4, 17]
    assert not group.reset()
    group.close()


def test_version_2_uses_its_own_delegated_cgroup(kernel: FakeKernel) -> None:
    """Controllers are handed down from this process's own cgroup to the subtree."""
    proc_self = version_2(kernel)
    own = kernel.place / "unified/user.slice/lambdad.service"
    driver = cgroups.detect("me", proc_self)
    assert (driver.version, driver.controllers) == (2, {"memory", "cpu", "pids"})
    group = driver.create("e1")
    assert isinstance(group, cgroup_v2.GroupV2)
    directory = own / "lambdad-me/e1"
    group.limit(LIMITS)
    names = ("memory.max", "memory.swap.max", "cpu.max", "pids.max", "memory.oom.group")
    assert [(directory / name).read_text() for name in names] == [str(128 * MIB), "0", "1440 20000", "1024", "1"]
    group.freeze()
    assert (directory / "cgroup.freeze").read_text() == "1"
    group.thaw()
    assert (directory / "cgroup.freeze").read_text() == "0"
    (directory / "memory.events").write_text("oom 9\noom_kill 2\n")
    (directory / "memory.peak").write_text("777\n")
    assert (group.oom_kills(), group.peak_memory_bytes()) == (2, 777)
    group.close()
    driver.stop_watching()


def test_version_2_moves_processes_into_a_leaf_where_it_may(kernel: FakeKernel) -> None:
    """At a container's top the processes are moved beside the subtree, because controllers are for leaves only."""
    proc_self = version_2(kernel, "/")
    top = kernel.place / "unified"
    kernel.busy.add(top)
    (top / "cgroup.procs").write_text("4194305\n")
    driver = cgroups.detect("me", proc_self)
    assert driver.controllers == {"memory", "cpu", "pids"}
    assert (top / "lambdad-supervisor/cgroup.procs").read_text() == "4194305"
    assert (top / "lambdad-me").is_dir()


async def test_version_2_makes_room_for_files_and_kills_for_the_rest(kernel: FakeKernel) -> None:
    """When memory.events changes, files raise memory.high; anything else lowers memory.max to what is allowed."""
    place = kernel.place / "unified/group"
    place.mkdir(parents=True)
    driver_events = cgroup_v2.cgroup_events.FileEvents()
    group = cgroup_v2.GroupV2(place, frozenset(("memory",)), driver_events)
    group.watch()
    group.limit(LIMITS)
    assert (place / "memory.high").read_text() == str(128 * MIB)
    assert (place / "memory.max").read_text() == str(memory_files.most_bytes(LIMITS))

    def now() -> tuple[int, int]:
        return int((place / "memory.high").read_text()) // MIB, int((place / "memory.max").read_text()) // MIB

    async def after_event(used: int, files: int) -> tuple[int, int]:
        before = now()
        (place / "memory.current").write_text(f"{used * MIB}\n")
        (place / "memory.stat").write_text(f"anon 1\nshmem {files * MIB}\n")
        (place / "memory.events").write_text("high 1\n")
        async with asyncio.timeout(5):
            while now() == before:
                await asyncio.sleep(0)
        return now()

    assert await after_event(130, 100) == (128 + 100 + 64, 128 + 512 + 64)
    assert await after_event(400, 100) == (128 + 100 + 64, 128 + 100)
    group.unwatch()
    group.close()
    driver_events.close()


def test_a_machine_without_cgroups_has_no_driver(kernel: FakeKernel) -> None:
    """Neither version mounted, or nothing writable: environments go without."""
    driver = cgroups.detect("me", kernel.proc_self("0::/\n", "1 0 8:1 / / rw - ext4 /dev/sda rw\n"))
    assert (driver.version, driver.controllers) == (0, frozenset())
    group = driver.create("e1")
    group.limit(LIMITS)
    assert (group.open_procs(), group.peak_memory_bytes(), group.can_freeze) == ([], None, False)


def test_membership_below_a_bind_mount_is_translated(kernel: FakeKernel) -> None:
    """Where only a part of the tree is mounted (containers), paths are relative to that part."""
    (mounted,) = cgroup_files.mounted_hierarchies(
        kernel.proc_self(
            "1:memory:/docker/abc/unit\n",
            f"30 25 0:26 /docker/abc {kernel.place}/memory rw - cgroup cgroup rw,memory\n",
        )
    )
    assert mounted.own == kernel.place / "memory/unit"


def test_sweep_removes_the_dead_and_spares_the_living(kernel: FakeKernel) -> None:
    """Leftovers of dead instances go, a living instance's and foreign directories stay."""
    proc_self = version_1(kernel)
    namespace = instances.own_instance().split("-")[2]
    dead = DEAD.format(namespace)
    for controller in ("memory", "cpu", "pids", "freezer"):
        for name in (dead, instances.own_instance(), "supervisor", DEAD.format(1)):
            (kernel.place / controller / "unit" / f"lambdad-{name}" / "e1").mkdir(parents=True)
    assert cgroups.sweep(proc_self) == [dead]
    left = {place.name for place in (kernel.place / "memory/unit").iterdir()}
    assert left == {f"lambdad-{name}" for name in (instances.own_instance(), "supervisor", DEAD.format(1))}


async def test_pool_lends_and_takes_back() -> None:
    """What is given back is lent again; what does not come back clean is destroyed."""

    class Group(cgroups.NoGroup):
        clean = True
        destroyed = False

        def reset(self) -> bool:
            return self.clean

        def destroy(self) -> None:
            self.destroyed = True

    class Driver(cgroups.NoDriver):
        def create(self, name: str) -> Group:
            return Group()

    pool = cgroups.Cgroups(Driver())

    async def release(group: cgroups.Group) -> None:
        done = asyncio.Event()
        pool.release(group, lambda: None, done.set)
        await done.wait()

    first = await pool.acquire()
    assert isinstance(first, Group)
    await release(first)
    assert await pool.acquire() is first
    first.clean = False
    await release(first)
    assert first.destroyed
    statistics = pool.statistics()
    assert (statistics.made, statistics.in_use, statistics.pooled) == (1, 0, 0)


def test_own_instance_is_alive_and_others_are_judged() -> None:
    """A name is dead only if its pid, start and namespace say so."""
    own = instances.own_instance()
    pid, start, namespace = own.split("-")
    assert instances.is_alive(own)
    assert not instances.is_alive(f"{pid}-{int(start) + 1}-{namespace}")
    assert not instances.is_alive(DEAD.format(namespace))
    assert instances.is_alive(f"{pid}-{int(start) + 1}-1")
    assert instances.is_alive("supervisor")


@pytest.mark.parametrize(
    ("used", "files", "room"),
    [(128, 0, 0), (128, 1, 0), (128, 100, 164), (300, 100, 0), (600, 512, 576), (127, 127, 191)],
)
def test_room_is_made_for_files_only(used: int, files: int, room: int) -> None:
    """Files raise the limit by their size and a step, bounded by /tmp's size; memory of other kinds does not."""
    assert memory_files.room_bytes(LIMITS, used * MIB, files * MIB) == room * MIB


def test_looking_is_rare_far_from_the_limit() -> None:
    """The nearer the limit, the sooner the next look, within 5 and 250 ms."""
    waits = [memory_files.look_again_s(10240 * MIB, used * MIB) for used in (0, 9000, 10000, 10239, 12000)]
    assert waits == sorted(waits, reverse=True)
    assert (waits[0], waits[-1]) == (0.25, 0.005)

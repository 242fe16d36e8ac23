"""Cgroups of version 1: one directory per controller, and a freezer whose prisoners cannot be killed before a thaw.

Memory: the kernel counts files in a tmpfs against the memory of whoever writes them, but /tmp has a size of its own. So, while
a group is watched, its limit is raised as its files grow, ahead of them; and at the limit the kernel stops the function instead
of killing it at once, until ``relieve_memory`` has made room or lets it kill. A writer that outruns the watching sees ENOMEM.
"""

from __future__ import annotations

import asyncio
import errno as errnos
import os
from collections.abc import Mapping
from pathlib import Path

from lambdad.sandbox import cgroup_files, memory_files, spec

CONTROLLERS = ("memory", "cpu", "pids", "freezer")
CPU_PERIOD_US = 20_000
# What is under way in TCP connections is no memory to version 1, unless it has a limit of its own; without one a function can fill
# what the whole machine has for it (net.ipv4.tcp_mem) from the loopback alone.
TCP_SHARE_OF_MEMORY = 4


class GroupV1:
    """
    One environment's directories, one per controller.

    Resource handling: holds up to three descriptors from creation until ``close``; the directories outlive it until
    ``destroy``.
    """

    def __init__(self, directories: Mapping[str, Path]) -> None:
        self._directories = dict(directories)
        for directory in set(self._directories.values()):
            cgroup_files.make(directory)
        self._written: dict[str, str] = {}
        self._limits: spec.Limits | None = None
        self._relieved_bytes = 0
        self._event_fd: int | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._watching: asyncio.AbstractEventLoop | None = None
        if cpu := self._directories.get("cpu"):
            cgroup_files.write(cpu, "cpu.cfs_period_us", str(CPU_PERIOD_US))
        self._peak_fd = self._open("memory", "memory.max_usage_in_bytes", os.O_RDWR)
        self._usage_fd = self._open("memory", "memory.usage_in_bytes", os.O_RDONLY)
        self.freezer_fd = self._open("freezer", "freezer.state", os.O_WRONLY)

    def _open(self, controller: str, name: str, flags: int) -> int | None:
        directory = self._directories.get(controller)
        return None if directory is None else cgroup_files.open_file(directory, name, flags)

    def open_procs(self) -> list[int]:
        """Open what a process joins by writing ``0``; the caller closes."""
        places = dict.fromkeys(self._directories.values())
        return [cgroup_files.open_file(place, "cgroup.procs", os.O_WRONLY) for place in places]

    def limit(self, limits: spec.Limits) -> None:
        """Set what may be used; may be called again, and is cheapest for what does not change. Raises CgroupFailed."""
        self._limits = limits
        self._limit_memory(limits.memory_bytes + self._relieved_bytes)
        if self._watching is not None:
            self._set("memory", "memory.oom_control", "1")  # stop, do not kill, and tell
            self._look()
        self._set("memory", "memory.kmem.tcp.limit_in_bytes", str(limits.memory_bytes // TCP_SHARE_OF_MEMORY))
        cap_millicores = limits.cpu_cap_millicores or limits.cpu_millicores
        self._set("cpu", "cpu.shares", str(max(2, limits.cpu_millicores * 1024 // 1000)))
        self._set("cpu", "cpu.cfs_quota_us", str(max(1000, cap_millicores * CPU_PERIOD_US // 1000)))
        self._set("pids", "pids.max", str(limits.pids))

    def _limit_memory(self, size_bytes: int) -> None:
        """Set memory, and memory and swap together, which may at no time be less; equal, they leave no swap."""
        memory, both = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
        growing = memory in self._written and size_bytes > int(self._written[memory])
        for name in (both, memory) if growing else (memory, both):
            self._set("memory", name, str(size_bytes))

    def watch(self) -> None:
        """Decide on the running loop what happens when memory is used up, until ``unwatch``. Raises CgroupFailed."""
        memory = self._directories.get("memory")
        if memory is None:
            return
        if self._event_fd is None:
            self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            control = cgroup_files.open_file(memory, "memory.oom_control", os.O_RDONLY)
            try:
                cgroup_files.write(memory, "cgroup.event_control", f"{self._event_fd} {control}")
            finally:
                os.close(control)
        self._watching = asyncio.get_running_loop()
        self._watching.add_reader(self._event_fd, self._on_memory_used_up)

    def unwatch(self) -> None:
        """Let the kernel decide alone again. Idempotent."""
        self._rest()
        if self._watching is not None and self._event_fd is not None:
            self._watching.remove_reader(self._event_fd)
            self._watching = None
            self._set("memory", "memory.oom_control", "0")

    def _look(self) -> None:
        """Raise the limit ahead of growing files, and look again when they could have used it up."""
        if self._watching is None or self._limits is None:
            return
        used_bytes = self.memory_bytes() or 0
        limit_bytes = self._limits.memory_bytes + self._relieved_bytes
        if used_bytes > limit_bytes // 2:
            self._make_room(used_bytes)
            limit_bytes = self._limits.memory_bytes + self._relieved_bytes
        self._rest()
        self._looking = self._watching.call_later(memory_files.look_again_s(limit_bytes, used_bytes), self._look)

    def _rest(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _make_room(self, used_bytes: int) -> bool:
        """Raise the limit if files have grown; says whether it was raised. Raises CgroupFailed."""
        files_bytes = cgroup_files.counter((self._directories["memory"] / "memory.stat").read_text(), "shmem")
        room_bytes = memory_files.room_bytes(self._limits, used_bytes, files_bytes)
        if self._limits is None or room_bytes <= self._relieved_bytes:
            return False
        self._relieved_bytes = room_bytes
        self._limit_memory(self._limits.memory_bytes + room_bytes)
        return True

    def _on_memory_used_up(self) -> None:
        assert self._event_fd is not None
        try:
            os.eventfd_read(self._event_fd)
        except BlockingIOError:
            return
        self.relieve_memory()

    def relieve_memory(self) -> None:
        """Make room for files if it is files that use the memory up, else let the kernel kill. Raises CgroupFailed."""
        if not self._make_room(self.memory_bytes() or 0):
            self._set("memory", "memory.oom_control", "0")

    def _set(self, controller: str, name: str, text: str) -> None:
        """Write a limit unless it is so already. A kernel that does not count swap is told not to use it; one may count no TCP."""
        directory = self._directories.get(controller)
        if directory is None or self._written.get(name) == text:
            return
        try:
            cgroup_files.write(directory, name, text)
        except cgroup_files.CgroupFailed as refused:
            if name not in ("memory.memsw.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes") or (
                refused.errno not in (errnos.ENOENT, errnos.EACCES)
            ):
                raise
            if name == "memory.memsw.limit_in_bytes":
                cgroup_files.write_if_there(directory, "memory.swappiness", "0")
        self._written[name] = text

    def freeze(self) -> None:
        """Stop every member where it stands; returns before the last one has stopped."""
        self._rest()
        if self.freezer_fd is not None:
            os.pwrite(self.freezer_fd, b"FROZEN", 0)

    def thaw(self) -> None:
        """Let the members go on."""
        self._look()
        if self.freezer_fd is not None:
            os.pwrite(self.freezer_fd, b"THAWED", 0)

    @property
    def can_freeze(self) -> bool:
        """Say whether freezing does anything."""
        return self.freezer_fd is not None

    def peak_memory_bytes(self) -> int | None:
        """Return the most memory used since the last reset, but for files; None without a memory controller."""
        if self._peak_fd is None:
            return None
        peak_bytes = int(os.pread(self._peak_fd, 32, 0))
        if self._relieved_bytes and self._limits is not None:  # then nobody knows when the files came; not above the limit
            return min(peak_bytes, self._limits.memory_bytes)
        return peak_bytes

    def memory_bytes(self) -> int | None:
        """Return the memory in use now; None without a memory controller."""
        return None if self._usage_fd is None else int(os.pread(self._usage_fd, 32, 0))

    def oom_kills(self) -> int:
        """Return how many members were killed for want of memory since the directory was made."""
        memory = self._directories.get("memory")
        return 0 if memory is None else cgroup_files.counter((memory / "memory.oom_control").read_text(), "oom_kill")

    def members(self) -> list[int]:
        """Return the pids of the members."""
        return sorted({pid for place in set(self._directories.values()) for pid in cgroup_files.members(place)})

    def reset(self) -> bool:
        """Make the empty group as good as new; its limits stay until they are set anew. Says False, if it is not empty."""
        if self.members():
            return False
        self.thaw()
        if memory := self._directories.get("memory"):
            cgroup_files.write_if_there(memory, "memory.force_empty", "0")
        self._relieved_bytes = 0
        self._limits = None
        if self._peak_fd is not None:
            os.pwrite(self._peak_fd, b"0", 0)
        return True

    def close(self) -> None:
        """Close the descriptors; the directories stay."""
        for fd in (self._peak_fd, self._usage_fd, self.freezer_fd, self._event_fd):
            if fd is not None:
                os.close(fd)
        self._peak_fd = self._usage_fd = self.freezer_fd = self._event_fd = None

    def destroy(self) -> None:
        """Close, kill what is left, and remove the directories. Blocks. Raises CgroupFailed."""
        self.close()
        for place in sorted(set(self._directories.values()), key=lambda place: "freezer" not in place.parts):
            cgroup_files.remove(place)


class DriverV1:
    """Makes groups below ``lambdad-<instance>`` in this process's directory of every controller it can use."""

    version = 1
    freezer_blocks_kill = True

    def __init__(self, hierarchies: list[cgroup_files.Mounted], instance: str) -> None:
        self._subtrees: dict[str, Path] = {}
        for hierarchy in hierarchies:
            for controller in hierarchy.controllers.intersection(CONTROLLERS):
                subtree = hierarchy.own / f"lambdad-{instance}"
                try:
                    cgroup_files.make(subtree)
                except cgroup_files.CgroupFailed:
                    continue  # not ours to use; the probe says so
                self._subtrees[controller] = subtree
        if pids := self._subtrees.get("pids"):
            cgroup_files.limit_processes_together(pids)
        self.controllers = frozenset(self._subtrees)

    def create(self, name: str) -> GroupV1:
        """Make one group. Raises CgroupFailed."""
        return GroupV1({controller: subtree / name for controller, subtree in self._subtrees.items()})

    def stop_watching(self) -> None:
        """Nothing is shared between groups that would have to be stopped."""

    def destroy(self) -> None:
        """Kill what is left of this instance and remove its subtree. Blocks. Raises CgroupFailed."""
        for controller in sorted(self._subtrees, key=lambda name: name != "freezer"):
            cgroup_files.remove(self._subtrees[controller])

"""Cgroups of version 2: one directory, and the rule that processes live in leaves only.

Memory: the kernel counts files in a tmpfs against the memory of whoever writes them, but /tmp has a size of its own. So, while
a group is watched, ``memory.high`` is the function's memory (the kernel slows a function down there, and tells), and
``relieve_memory`` either makes room for the files or lowers ``memory.max`` so that the kernel kills.
"""

from __future__ import annotations

import errno as errnos
import os
from pathlib import Path

from lambdad.sandbox import cgroup_events, cgroup_files, memory_files, spec

CONTROLLERS = ("memory", "cpu", "pids")
CPU_PERIOD_US = 20_000
SUPERVISOR = "lambdad-supervisor"


class GroupV2:
    """
    One environment's directory.

    Resource handling: holds up to three descriptors from creation until ``close``; the directory outlives it until
    ``destroy``.
    """

    # Members that are frozen die at once when they are killed, so nobody needs to be able to thaw in an emergency.
    freezer_fd: int | None = None

    def __init__(self, directory: Path, controllers: frozenset[str], events: cgroup_events.FileEvents | None = None) -> None:
        self._directory = directory
        self._controllers = controllers
        self._events = events
        self._watch: int | None = None
        self._limits: spec.Limits | None = None
        self._relieved_bytes = 0
        cgroup_files.make(directory)
        self._freeze_fd = self._maybe_open("cgroup.freeze", os.O_WRONLY)
        has_memory = "memory" in controllers
        # The kernel keeps one peak per open descriptor once it was written to (Linux 6.12), so it stays open.
        self._peak_fd = (self._maybe_open("memory.peak", os.O_RDWR) or self._maybe_open("memory.peak", os.O_RDONLY)) if has_memory else None
        self._usage_fd = self._maybe_open("memory.current", os.O_RDONLY) if has_memory else None
        if has_memory:
            cgroup_files.write_if_there(directory, "memory.oom.group", "1")

    def _maybe_open(self, name: str, flags: int) -> int | None:
        try:
            return cgroup_files.open_file(self._directory, name, flags)
        except cgroup_files.CgroupFailed as refused:
            if refused.errno in (errnos.ENOENT, errnos.EACCES):
                return None
            raise

    def open_procs(self) -> list[int]:
        """Open what a process joins by writing ``0``; the caller closes."""
        return [cgroup_files.open_file(self._directory, "cgroup.procs", os.O_WRONLY)]

    def limit(self, limits: spec.Limits) -> None:
        """Set what may be used; may be called again. Raises CgroupFailed."""
        self._limits = limits
        if "memory" in self._controllers:
            if self._watch is None:
                cgroup_files.write(self._directory, "memory.max", str(limits.memory_bytes))
            else:
                cgroup_files.write(self._directory, "memory.high", str(limits.memory_bytes + self._relieved_bytes))
                cgroup_files.write(self._directory, "memory.max", str(memory_files.most_bytes(limits)))
            cgroup_files.write_if_there(self._directory, "memory.swap.max", "0")
        if "cpu" in self._controllers:
            cgroup_files.write(self._directory, "cpu.weight", str(min(max(limits.cpu_millicores // 10, 1), 10_000)))
            quota_us = max(1000, (limits.cpu_cap_millicores or limits.cpu_millicores) * CPU_PERIOD_US // 1000)
            cgroup_files.write(self._directory, "cpu.max", f"{quota_us} {CPU_PERIOD_US}")
        if "pids" in self._controllers:
            cgroup_files.write(self._directory, "pids.max", str(limits.pids))

    def watch(self) -> None:
        """Decide on the running loop what happens when memory is used up, until ``unwatch``. Raises WatchFailed."""
        if "memory" in self._controllers and self._events is not None and self._watch is None:
            self._watch = self._events.add(self._directory / "memory.events", self.relieve_memory)

    def unwatch(self) -> None:
        """Let the kernel decide alone again. Idempotent."""
        if self._watch is not None and self._events is not None:
            self._events.remove(self._watch)
            self._watch = None
            cgroup_files.write_if_there(self._directory, "memory.high", "max")

    def relieve_memory(self) -> None:
        """Make room for files if it is files that use the memory up, else let the kernel kill. Raises CgroupFailed."""
        used_bytes = self.memory_bytes() or 0
        if self._limits is None or used_bytes < self._limits.memory_bytes:
            return  # another of the events in the file
        files_bytes = cgroup_files.counter((self._directory / "memory.stat").read_text(), "shmem")
        room_bytes = memory_files.room_bytes(self._limits, used_bytes, files_bytes)
        if room_bytes > self._relieved_bytes:
            self._relieved_bytes = room_bytes
            cgroup_files.write(self._directory, "memory.high", str(self._limits.memory_bytes + room_bytes))
        elif used_bytes - files_bytes >= self._limits.memory_bytes - memory_files.MARGIN_BYTES:
            cgroup_files.write(self._directory, "memory.max", str(self._limits.memory_bytes + files_bytes))

    def freeze(self) -> None:
        """Stop every member where it stands; returns before the last one has stopped."""
        if self._freeze_fd is not None:
            os.pwrite(self._freeze_fd, b"1", 0)

    def thaw(self) -> None:
        """Let the members go on."""
        if self._freeze_fd is not None:
            os.pwrite(self._freeze_fd, b"0", 0)

    @property
    def can_freeze(self) -> bool:
        """Say whether freezing does anything."""
        return self._freeze_fd is not None

    def peak_memory_bytes(self) -> int | None:
        """Return the most memory ever used (in use now, before Linux 5.19), but for files; None without a controller."""
        fd = self._usage_fd if self._peak_fd is None else self._peak_fd
        if fd is None:
            return None
        peak_bytes = int(os.pread(fd, 32, 0))
        if self._relieved_bytes and self._limits is not None:  # then nobody knows when the files came; not above the limit
            return min(peak_bytes, self._limits.memory_bytes)
        return peak_bytes

    def memory_bytes(self) -> int | None:
        """Return the memory in use now; None without a memory controller."""
        return None if self._usage_fd is None else int(os.pread(self._usage_fd, 32, 0))

    def oom_kills(self) -> int:
        """Return how many members were killed for want of memory since the directory was made."""
        if "memory" not in self._controllers:
            return 0
        return cgroup_files.counter((self._directory / "memory.events").read_text(), "oom_kill")

    def members(self) -> list[int]:
        """Return the pids of the members."""
        return cgroup_files.members(self._directory)

    def reset(self) -> bool:
        """Make the empty group as good as new. Says False, if a new one must be made instead."""
        if self.members():
            return False
        self.thaw()
        self._relieved_bytes = 0
        if "memory" in self._controllers:
            cgroup_files.write_if_there(self._directory, "memory.max", "max")
            if self._peak_fd is None:
                return False
            cgroup_files.write_if_there(self._directory, "memory.reclaim", "1G")
            try:
                os.pwrite(self._peak_fd, b"reset", 0)
            except OSError:
                return False  # before Linux 6.12 a peak is for ever
        if "cpu" in self._controllers:
            cgroup_files.write(self._directory, "cpu.max", "max")
        if "pids" in self._controllers:
            cgroup_files.write(self._directory, "pids.max", "max")
        return True

    def close(self) -> None:
        """Close the descriptors; the directory stays."""
        for fd in (self._peak_fd, self._usage_fd, self._freeze_fd):
            if fd is not None:
                os.close(fd)
        self._peak_fd = self._usage_fd = self._freeze_fd = None

    def destroy(self) -> None:
        """Close, kill what is left, and remove the directory. Blocks. Raises CgroupFailed."""
        self.close()
        cgroup_files.write_if_there(self._directory, "cgroup.kill", "1")
        cgroup_files.remove(self._directory)


class DriverV2:
    """
    Makes groups below ``lambdad-<instance>``, as deep as delegation allows.

    The place is this process's own cgroup. Where processes live in it (so that controllers cannot be handed down), they are
    moved into a leaf beside ours if the cgroup was delegated to us; otherwise root uses the top of the hierarchy.
    """

    version = 2
    freezer_blocks_kill = False

    def __init__(self, hierarchy: cgroup_files.Mounted, instance: str) -> None:
        self._events = cgroup_events.FileEvents()
        self._parent = self._choose_parent(hierarchy)
        self._subtree = self._parent / f"lambdad-{instance}"
        cgroup_files.make(self._subtree)
        self.controllers = self._hand_down(self._subtree)
        if "pids" in self.controllers:
            cgroup_files.limit_processes_together(self._subtree)

    def _choose_parent(self, hierarchy: cgroup_files.Mounted) -> Path:
        if not os.access(hierarchy.own, os.W_OK):
            raise cgroup_files.CgroupFailed(f"use {hierarchy.own}", errnos.EACCES)
        wanted = available(hierarchy.own)
        if self._hand_down(hierarchy.own) >= wanted:
            return hierarchy.own
        if _is_delegated(hierarchy):
            self._move_aside(hierarchy.own)
            self._hand_down(hierarchy.own)
            return hierarchy.own
        if os.access(hierarchy.place, os.W_OK) and self._hand_down(hierarchy.place):
            return hierarchy.place
        return hierarchy.own

    @staticmethod
    def _hand_down(directory: Path) -> frozenset[str]:
        """Let children of ``directory`` use its controllers; returns those that they may use."""
        for controller in available(directory):
            try:
                cgroup_files.write(directory, "cgroup.subtree_control", f"+{controller}")
            except cgroup_files.CgroupFailed:
                continue  # EBUSY: processes live here; the caller sees it by what is returned
        return _controllers(directory / "cgroup.subtree_control")

    @staticmethod
    def _move_aside(directory: Path) -> None:
        """Move the processes of ``directory`` into a leaf of it. SAFETY: only in a cgroup that was delegated to us."""
        leaf = directory / SUPERVISOR
        cgroup_files.make(leaf)
        for pid in cgroup_files.members(directory):
            cgroup_files.write_if_there(leaf, "cgroup.procs", str(pid))

    def create(self, name: str) -> GroupV2:
        """Make one group. Raises CgroupFailed."""
        return GroupV2(self._subtree / name, self.controllers, self._events)

    def stop_watching(self) -> None:
        """Stop listening to all groups' events; on the loop's own thread."""
        self._events.close()

    def destroy(self) -> None:
        """Kill what is left of this instance and remove its subtree. Blocks. Raises CgroupFailed."""
        cgroup_files.remove(self._subtree)


def available(directory: Path) -> frozenset[str]:
    """Return the controllers that ``directory`` may hand down, of those that limit environments."""
    return _controllers(directory / "cgroup.controllers")


def _controllers(file: Path) -> frozenset[str]:
    try:
        return frozenset(file.read_text().split()).intersection(CONTROLLERS)
    except OSError:
        return frozenset()


def _is_delegated(hierarchy: cgroup_files.Mounted) -> bool:
    """Say whether the processes in our cgroup are ours to move: systemd marked it so, or it is a container's top."""
    if hierarchy.own == hierarchy.place:
        return True
    for name in ("trusted.delegate", "user.delegate"):
        try:
            if os.getxattr(hierarchy.own, name) == b"1":
                return True
        except OSError:
            continue
    return os.geteuid() != 0 and hierarchy.own.stat().st_uid == os.geteuid()

"""Reading and writing the small files of a cgroup directory, and finding out what is mounted where."""

from __future__ import annotations

import errno as errnos
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


class CgroupFailed(OSError):
    """The kernel refused one operation on a cgroup; ``step`` names the operation and the file."""

    def __init__(self, step: str, errno: int) -> None:
        super().__init__(errno, os.strerror(errno))
        self.step = step

    def __str__(self) -> str:
        return f"{self.step}: {self.strerror}"


@dataclass(frozen=True, slots=True)
class Mounted:
    """One mounted hierarchy: its place, the controllers on it (none named for version 2), this process's directory."""

    version: int
    place: Path
    controllers: frozenset[str]
    own: Path


def mounted_hierarchies(proc_self: Path = Path("/proc/self")) -> list[Mounted]:
    """Return the cgroup hierarchies that this process can see. Source: cgroups(7), proc_pid_mountinfo(5)."""
    memberships: dict[str, str] = {}
    for line in (proc_self / "cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            memberships[name] = path
    found = []
    for line in (proc_self / "mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _source, options = right.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        root, place = left.split(" ")[3:5]
        if kind == "cgroup2":
            found.append(Mounted(2, Path(place), frozenset(), _below(Path(place), root, memberships.get("", "/"))))
            continue
        controllers = frozenset(option for option in options.split(",") if option in memberships)
        if controllers:
            own = _below(Path(place), root, memberships[min(controllers)])
            found.append(Mounted(1, Path(place), controllers, own))
    return found


def _below(place: Path, root: str, path: str) -> Path:
    """Translate a membership path into a directory under the mount, which may show only a part (``root``) of the tree."""
    if root != "/":
        if path != root and not path.startswith(root + "/"):
            return place
        path = path[len(root) :]
    return place / path.lstrip("/") if ".." not in path else place


def write(directory: Path, name: str, text: str) -> None:
    """Write one control file. Raises CgroupFailed."""
    try:
        fd = os.open(directory / name, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as refused:
        raise CgroupFailed(f"write {text!r} to {name}", refused.errno or 0) from refused


def limit_processes_together(subtree: Path) -> None:
    """Leave the machine half of its process numbers, however many environments make as many processes as each may."""
    try:
        most = int(Path("/proc/sys/kernel/pid_max").read_text()) // 2
    except OSError:
        return
    write_if_there(subtree, "pids.max", str(most))


def write_if_there(directory: Path, name: str, text: str) -> bool:
    """Write one control file that this kernel may not have, or may not let be written. Says whether it was."""
    try:
        write(directory, name, text)
    except CgroupFailed as refused:
        if refused.errno in (errnos.ENOENT, errnos.EACCES, errnos.EPERM, errnos.EINVAL, errnos.EOPNOTSUPP):
            return False
        raise
    return True


def open_file(directory: Path, name: str, flags: int) -> int:
    """Open one control file. Raises CgroupFailed."""
    try:
        return os.open(directory / name, flags | os.O_CLOEXEC)
    except OSError as refused:
        raise CgroupFailed(f"open {name}", refused.errno or 0) from refused


def counter(text: str, key: str) -> int:
    """Return the number beside ``key`` in a flat-keyed file such as memory.events; 0 if it is not there."""
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if name == key:
            return int(number)
    return 0


def members(directory: Path) -> list[int]:
    """Return the pids in a cgroup; none if it is gone."""
    try:
        return [int(pid) for pid in (directory / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def make(directory: Path) -> None:
    """Create a cgroup directory, existing or not. Raises CgroupFailed."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as refused:
        raise CgroupFailed(f"create {directory.name}", refused.errno or 0) from refused


def remove(directory: Path, *, within_s: float = 2.0) -> None:
    """
    Kill what is left in a cgroup and its children, and remove them. Blocks up to ``within_s``; gone already is fine.

    Raises:
        CgroupFailed: a member did not die in time, for example because it waits for a disk.
    """
    try:
        children = [Path(entry.path) for entry in os.scandir(directory) if entry.is_dir()]
    except FileNotFoundError:
        return  # also when another worker sweeps at the same time
    for child in children:
        remove(child, within_s=within_s)
    deadline_s = time.monotonic() + within_s
    while True:
        write_if_there(directory, "freezer.state", "THAWED")
        for pid in members(directory):
            # SAFETY: only members of a cgroup that carries our name and a dead or closing instance's id.
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            directory.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as refused:
            if time.monotonic() > deadline_s:
                raise CgroupFailed(f"remove {directory.name}", refused.errno or 0) from refused
        time.sleep(0.002)

"""Names that tell a living worker's belongings from those of a dead one."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NAME = re.compile(r"^(\d+)-(\d+)-(\d+)$")


def own_instance() -> str:
    """Return this process's instance id: pid, start (clock ticks since boot), pid namespace: ``4711-93847-4026531836``."""
    return f"{os.getpid()}-{_started_at(os.getpid())}-{_pid_namespace()}"


def is_alive(instance: str) -> bool:
    """Say whether the process that named itself ``instance`` may still run.

    A name of another form, or from another pid namespace, where this process cannot look, counts as alive.
    """
    match = _NAME.match(instance)
    if match is None or int(match[3]) != _pid_namespace():
        return True
    return _started_at(int(match[1])) == int(match[2])


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _started_at(pid: int) -> int | None:
    """Return field 22 of /proc/<pid>/stat, or None if there is no such process (a zombie counts as none)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])

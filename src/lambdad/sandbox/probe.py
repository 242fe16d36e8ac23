"""Finds out how strong fences can be on this machine, for this user, and says what is missing and what that means."""

from __future__ import annotations

import errno as errnos
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lambdad.sandbox import cgroup_files, cgroup_v2, plain, private_root, rootless, seccomp, zygote

OLDEST_KERNEL = (5, 10)
_ATTEMPT = "import sys; sys.path.insert(0, {path!r}); from inside import attempt; attempt.main({rootless})"


class Level(StrEnum):
    """How functions are kept apart from the machine and from each other."""

    NAMESPACES = "namespaces"
    USER_NAMESPACE = "user-namespace"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Finding:
    """One mechanism: is it there, and if it is not (or only in part), what follows."""

    mechanism: str
    ok: bool
    detail: str
    consequence: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What ``probe`` found; ``findings`` in the order of their weight."""

    level: Level
    kernel: str
    cgroup_version: int
    cgroup_controllers: frozenset[str]
    seccomp: bool
    leaf_user_namespace: bool
    findings: tuple[Finding, ...]

    def isolation(self) -> zygote.Isolation:
        """Return what templates are to be opened with."""
        return zygote.Isolation(
            fenced=self.level is not Level.PLAIN,
            rootless=self.level is Level.USER_NAMESPACE,
            leaf_user_namespace=self.leaf_user_namespace,
            seccomp=self.seccomp,
        )


def probe() -> Report:
    """
    Try the mechanisms out in a child process. Blocks for some 50 ms; changes nothing.

    Ordering: before ``rootless.enter``; in a user namespace it would report what that has.
    """
    as_root = not rootless.is_needed()
    results = _attempted(not as_root)
    fence = [results.get(step) for step in ("namespaces", "mounts", "network", "proc")]
    fenced = all(one == 0 for one in fence) and (as_root or results.get("user namespace") == 0)
    level = Level.PLAIN if not fenced else Level.NAMESPACES if as_root else Level.USER_NAMESPACE
    leaf = fenced and results.get("leaf user namespace") == 0
    has_seccomp = Path("/proc/sys/kernel/seccomp/actions_avail").exists() and bool(seccomp.default_program())
    version, controllers = _cgroups()
    release = platform.release()
    findings = (
        _kernel_finding(release),
        _fence_finding(level, results),
        _leaf_finding(leaf),
        _seccomp_finding(has_seccomp),
        *_cgroup_findings(version, controllers),
    )
    return Report(level, release, version, controllers, has_seccomp, leaf, findings)


def _attempted(as_rootless: bool) -> dict[str, int]:
    """Return the errno of every step that was tried; empty where the attempt itself is impossible."""
    if sys.platform != "linux":
        return {}
    code = _ATTEMPT.format(path=str(private_root.INSIDE.parent), rootless=as_rootless)
    try:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    results: dict[str, int] = json.loads(done.stdout)
    return results


def _cgroups() -> tuple[int, frozenset[str]]:
    """Return the version that the driver would choose and the controllers that this user may use of it."""
    try:
        hierarchies = cgroup_files.mounted_hierarchies()
    except OSError:
        return 0, frozenset()
    old = [one for one in hierarchies if one.version == 1 and os.access(one.own, os.W_OK)]
    if any("memory" in one.controllers for one in old):
        wanted = frozenset(("memory", "cpu", "pids", "freezer"))
        return 1, wanted.intersection(*[frozenset().union(*(one.controllers for one in old))])
    for one in hierarchies:
        if one.version == 2 and os.access(one.own, os.W_OK):
            return 2, cgroup_v2.available(one.own) | {"freezer"}
    return 0, frozenset()


def _kernel_finding(release: str) -> Finding:
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    ok = sys.platform == "linux" and numbers >= OLDEST_KERNEL
    return Finding("kernel", ok, f"{platform.system()} {release}", "" if ok else "Linux 5.10 or later is needed for fences")


def _fence_finding(level: Level, results: dict[str, int]) -> Finding:
    if level is Level.NAMESPACES:
        return Finding("namespaces", True, "pid, mount, network, ipc, uts, cgroup and user namespaces, as root")
    if level is Level.USER_NAMESPACE:
        return Finding(
            "namespaces", True, "in a user namespace, without root",
            "all functions share this user's id: limits that the kernel counts per user are shared too",
        )  # fmt: skip
    refused = [f"{step} ({errnos.errorcode.get(number, number)})" for step, number in results.items() if number]
    return Finding("namespaces", False, "refused: " + (", ".join(refused) or "not on this system"), plain.WARNING)


def _leaf_finding(leaf: bool) -> Finding:
    consequence = "" if leaf else "functions share one user id, and with it the limits that the kernel counts per user"
    return Finding("user id per environment", leaf, "one user namespace each" if leaf else "refused", consequence)


def _seccomp_finding(has: bool) -> Finding:
    consequence = "" if has else "functions may make every system call that an ordinary user may make"
    return Finding("seccomp", has, platform.machine(), consequence)


def _cgroup_findings(version: int, controllers: frozenset[str]) -> list[Finding]:
    consequences = {
        "memory": "memory is limited per process (RLIMIT_DATA), not per function; memory use is that of one process",
        "cpu": "a function may use every processor of the machine, whatever its memory size",
        "pids": "a function may start as many processes as its user may",
        "freezer": "idle functions are stopped by a signal, which they can notice",
    }
    return [
        Finding(f"cgroup {name}", name in controllers, f"version {version}" if version else "no cgroups",
                "" if name in controllers else consequence)
        for name, consequence in consequences.items()
    ]  # fmt: skip

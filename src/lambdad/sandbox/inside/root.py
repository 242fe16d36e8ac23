"""A root of its own: a small tmpfs with read-only views of what a program needs, and nothing else of the machine."""

from __future__ import annotations

import os
import stat
from typing import Any

from . import kernel

DEVICES = ("null", "zero", "full", "random", "urandom")
# The mount point of the new root while it is being built, in a private mount namespace: hides nothing that matters.
SCAFFOLDS = ("/mnt", "/tmp", "/run", "/var")


def enter(plan: dict[str, Any]) -> None:
    """Move this process into the root described by ``plan`` and forget the machine's.

    Args:
        plan: ``{"binds": [[source, target, read_only], ...], "directories": ["/opt", ...], "writable": ["/tmp"],
            "files": {"/etc/hosts": "..."}, "links": {"/bin": "usr/bin"}, "size_bytes": 4194304, "proc": true}``. Binds are made
            in their order; a source that does not exist is an error, so leave out what is optional.

    Raises:
        StepFailed: with the step's name; the process is then good for nothing but to end.

    Ordering: sources are opened before anything is mounted, so that the scaffold cannot hide them.
    """
    # SAFETY: a new mount namespace, made private at once, so that nothing done here reaches the machine's mounts.
    kernel.unshare(kernel.CLONE_NEWNS, "unshare a mount namespace")
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    sources = [(_opened(source), target, read_only) for source, target, read_only in plan["binds"]]
    devices = [(_opened("/dev/" + name), name) for name in DEVICES]
    proc = _opened("/proc")
    root = next(path for path in SCAFFOLDS if os.path.isdir(path))
    options = "mode=755,size=%d" % plan.get("size_bytes", 4 << 20)
    own_fds = "/proc/self/fd/%d"

    # The magic links of /proc must stay reachable until the last bind, hence the scaffold is never /proc.
    kernel.mount("lambdad", root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    _furnish(root, plan)
    for name in ("proc", "dev/shm"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    for fd, name in devices:
        node = os.path.join(root, "dev", name)
        _touch(node)
        kernel.mount(own_fds % fd, node, None, kernel.MS_BIND)
        os.close(fd)
    for name, target in (("fd", "self/fd"), ("stdin", "self/fd/0"), ("stdout", "self/fd/1"), ("stderr", "self/fd/2")):
        os.symlink("/proc/" + target, os.path.join(root, "dev", name))
    for path in plan.get("writable", ()):  # before the binds, some of which may be beneath
        kernel.mount("tmpfs", root + path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777,size=64m")
    for fd, target, read_only in sources:
        place = root + target
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.makedirs(place, exist_ok=True)
        else:
            _touch(place)
        kernel.bind(own_fds % fd, place, read_only=read_only)
        os.close(fd)
    if plan.get("proc", True):
        kernel.mount(own_fds % proc, os.path.join(root, "proc"), None, kernel.MS_BIND | kernel.MS_REC)
    os.close(proc)
    kernel.pivot_root_here(root)
    kernel.mount(None, "/", None, kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV)


def _opened(path: str) -> int:
    """Open a path for naming only. Raises StepFailed with the path."""
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as refused:
        raise kernel.StepFailed("open %s" % path, refused.errno or 0) from refused


def _furnish(root: str, plan: dict[str, Any]) -> None:
    """Make the plan's directories, links and small files in the new root."""
    for path in (*plan.get("directories", ()), *plan.get("writable", ())):
        os.makedirs(root + path, exist_ok=True)
    for path, target in plan.get("links", {}).items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(target, root + path)
    for path, text in plan.get("files", {}).items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        with open(root + path, "w", encoding="utf-8") as file:
            file.write(text)


def _touch(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))

"""Tries out, in a process of its own, which parts of a fence this machine and this user allow."""

from __future__ import annotations

import json
import os
import sys
from typing import Callable

from . import kernel, network

FENCE = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWNET


def main(rootless: bool) -> None:
    """Print ``{"<step>": errno or 0, ...}``; a step that needs one that failed is not tried and not there."""
    results: dict[str, int] = {}
    if rootless and not _tried(results, "user namespace", enter_user_namespace):
        sys.stdout.write(json.dumps(results))
        return
    _tried(results, "leaf user namespace", _leaf_user_namespace)  # first: a pid namespace dies with its first process
    if _tried(results, "namespaces", lambda: kernel.unshare(FENCE)):
        _tried(results, "mounts", _mount)
        _tried(results, "network", lambda: network.bring_up(["169.254.100.1"]))
        _tried(results, "proc", _mount_proc)
    _tried(results, "keyring", kernel.join_new_session_keyring)
    sys.stdout.write(json.dumps(results))


def enter_user_namespace() -> None:
    """Become root of a new user namespace that knows one user and one group. Raises StepFailed.

    The process must have one thread only.
    """
    uid, gid = os.geteuid(), os.getegid()
    # SAFETY: gives power over nothing but namespaces that are made from now on.
    kernel.unshare(kernel.CLONE_NEWUSER, "unshare the user namespace")
    for name, text in (("setgroups", "deny"), ("uid_map", "0 %d 1" % uid), ("gid_map", "0 %d 1" % gid)):
        try:
            with open("/proc/self/" + name, "w", encoding="ascii") as file:
                file.write(text)
        except OSError as refused:
            raise kernel.StepFailed("write " + name, refused.errno or 0) from refused


def _tried(results: dict[str, int], step: str, attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError as refused:
        results[step] = refused.errno or -1
        return False
    results[step] = 0
    return True


def _mount() -> None:
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", "/mnt", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=64k")
    os.mkdir("/mnt/usr")
    kernel.bind("/usr", "/mnt/usr", read_only=True)


def _mount_proc() -> None:
    """Mount /proc as the first process of the new pid namespace."""
    _in_child(lambda: kernel.mount("proc", "/proc", "proc", 0, "hidepid=2"))


def _leaf_user_namespace() -> None:
    _in_child(lambda: kernel.unshare(kernel.CLONE_NEWUSER))


def _in_child(attempt: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            attempt()
        except OSError as refused:
            os._exit(refused.errno or 255)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if status != 0:
        raise kernel.StepFailed("in a child", os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1)


if __name__ == "__main__":
    main(sys.argv[1:] == ["rootless"])

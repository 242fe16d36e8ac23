"""Makes the fence into which a snapshot is to be copied: like any other, but inside the snapshot's user and pid namespaces."""

from __future__ import annotations

import os
import socket
from typing import Any

from . import kernel, runtime, wire


def fork_into(pid_namespace: int, own_pid_namespace: int) -> int:
    """Fork a child that is in another pid namespace, below this one; this process's later children are not to be there."""
    # SAFETY: only children are affected, and the line after the fork takes it back.
    kernel.setns(pid_namespace, kernel.CLONE_NEWPID, "enter the snapshot's pid namespace")
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid != 0:
            kernel.setns(own_pid_namespace, kernel.CLONE_NEWPID, "return to the own pid namespace")
    return pid


def become_first(config: dict[str, Any], template: socket.socket, request: dict[str, Any], user_namespace: int) -> dict[str, Any]:
    """
    Place the code, move into the snapshot's user namespace, and go on as process 1 of a new pid namespace.

    The template's channel is told of the new process, or of the failure; the process in between ends then.

    Returns:
        The configuration of the fence, in process 1 alone.
    """
    try:
        _place(config["code"], request["within"])
        _own_by(config, request["outer_id"], user_namespace)
        kernel.unshare(kernel.CLONE_NEWPID, "unshare the pid namespace")
        pid = os.fork()
        if pid == 0:
            template.close()
            tmp = "mode=1777,size=%d,nr_inodes=200k" % request["within"]["tmp_bytes"]
            return {**config, "outer_id": request["outer_id"], "within": True, "tmp": tmp}
        wire.send(template, {"event": "forked", "id": request["id"]}, [kernel.open_pidfd(pid)])
    except OSError as refused:
        step = getattr(refused, "step", "fork within")
        wire.send(template, {"event": "failed", "id": request["id"], "step": step, "errno": refused.errno})
    os._exit(0)


def _place(code: str, places: dict[str, Any]) -> None:
    """
    Show the code and take the code store away, still as root of the machine's user namespace.

    Ordering: in a mount namespace of its own, before the one that the fence's first process makes. What is not there any more when that
    one is copied cannot be uncovered in the copy; what is there is locked.
    """
    runtime._write_quietly("/proc/self/oom_score_adj", "-1000")
    kernel.unshare(kernel.CLONE_NEWNS, "unshare a mount namespace")
    for target, source in (("/var/task", places["task"]), ("/opt", places["opt"])):
        if source is not None:
            kernel.bind(code + "/" + source, target, read_only=True)
    kernel.umount(code)


def _own_by(config: dict[str, Any], outer_id: int, user_namespace: int) -> None:
    """
    Enter a user namespace below the snapshot's, which belongs to the snapshot's user.

    The real and saved user ids stay root's, which mean nothing in there: so a function, whose user this process's effective one is, may
    not signal it.
    """
    try:
        os.setgroups([])
        os.setresgid(outer_id, outer_id, outer_id)
        kernel.setns(user_namespace, kernel.CLONE_NEWUSER, "enter the snapshot's user namespace")
        os.setresuid(-1, config["uid"], -1)
    except OSError as refused:
        raise kernel.StepFailed(getattr(refused, "step", "take the snapshot's ids"), refused.errno or 0) from refused
    # SAFETY: owned by the snapshot's user, so that a copy of the snapshot has capabilities in it until it gives them up, and nowhere else.
    kernel.unshare(kernel.CLONE_NEWUSER, "unshare the user namespace")
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1, step="PR_SET_DUMPABLE")  # its own files in /proc are root's otherwise
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", "%d %d 1" % (config["uid"], config["uid"])),
        ("gid_map", "%d %d 1" % (config["gid"], config["gid"])),
    ):
        try:
            with open("/proc/self/" + name, "w", encoding="ascii") as file:
                file.write(text)
        except OSError as refused:
            raise kernel.StepFailed("write " + name, refused.errno or 0) from refused
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0, step="PR_SET_DUMPABLE")

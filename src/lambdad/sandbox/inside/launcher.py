"""The moment between the worker and a program in a private root: builds the root, gives up what was asked, execs.

Run as ``python -I -S -c '<put this package on sys.path>; from inside import launcher; launcher.main(fd)'``; the plan is the
first packet on ``fd``: ``{"root": {...} or null, "argv": [...], "environment": {...}, "cwd": "/", "ids": [uid, gid] or null,
"keep": [fd, ...], "die_with_parent": true, "own_pid_namespace": false}``.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any, NoReturn

from . import kernel, root, wire


def main(fd: int) -> NoReturn:
    """Carry out the plan that comes on ``fd`` and become its program; tell ``fd`` (a packet) if that is impossible."""
    channel = socket.socket(fileno=fd)
    received = wire.receive(channel)
    if received is None:
        sys.exit(1)
    try:
        carry_out(received[0], fd)
    except OSError as refused:
        wire.send(channel, {"event": "broken", "step": getattr(refused, "step", "exec"), "errno": refused.errno})
    os._exit(1)


def carry_out(plan: dict[str, Any], channel: int) -> NoReturn:
    """Move into the plan's root, give up what it says, and exec its program. Raises OSError."""
    kernel.close_descriptors(frozenset([0, 1, 2, channel, *plan["keep"]]))
    os.set_inheritable(channel, False)
    for fd in plan["keep"]:
        os.set_inheritable(fd, True)
    if plan["root"] is not None:
        root.enter(plan["root"])
    if plan["ids"] is not None:
        drop_to(*plan["ids"])
    if plan["die_with_parent"]:
        kernel.die_with_parent(signal.SIGKILL)  # after the ids: a change of ids forgets it
    if plan["own_pid_namespace"]:
        _fork_first_process()
    os.chdir(plan["cwd"])
    os.execve(plan["argv"][0], plan["argv"], plan["environment"])


def _fork_first_process() -> None:
    """Go on in a child that is process 1 of a pid namespace of its own; the parent waits for it and does nothing else.

    In a user namespace a template needs this, because only a pid namespace of that user namespace can be returned to after
    forking into another one.
    """
    # SAFETY: what the namespace holds dies with its process 1, which dies with this process.
    kernel.unshare(kernel.CLONE_NEWPID, "unshare the pid namespace")
    pid = os.fork()
    if pid == 0:
        kernel.die_with_parent(signal.SIGKILL)
        return
    kernel.close_descriptors(frozenset((0, 1, 2)))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.waitpid(pid, 0)
    os._exit(0)


def drop_to(uid: int, gid: int) -> None:
    """Become an ordinary user without capabilities, with no way back. Raises StepFailed."""
    try:
        if uid != os.geteuid() or os.getgroups():
            os.setgroups([])
        os.setresgid(gid, gid, gid)
        # SAFETY: the bounding set goes while CAP_SETPCAP is still there.
        kernel.drop_bounding_set()
        os.setresuid(uid, uid, uid)
    except OSError as refused:
        raise kernel.StepFailed(getattr(refused, "step", "drop ids"), refused.errno or 0) from refused
    kernel.set_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1, step="PR_SET_NO_NEW_PRIVS")

"""The way to fences for an ordinary user: become root of a user namespace, early and with one thread."""

from __future__ import annotations

import os
import threading

from lambdad.sandbox.inside import attempt


class RootlessFailed(Exception):
    """This process could not enter a user namespace; ``step`` and ``errno`` say why."""

    def __init__(self, step: str, errno: int) -> None:
        super().__init__(f"{step}: {os.strerror(errno)}")
        self.step = step
        self.errno = errno


def is_needed() -> bool:
    """Say whether this process is no root, and so must enter a user namespace before it can build fences."""
    return os.geteuid() != 0


def enter() -> None:
    """
    Move this process, for good, into a user namespace in which it is root.

    Files keep their owners: what was this user's appears as root's, everybody else's as nobody's. Call it before any thread is
    started and before an event loop is made.

    Raises:
        RootlessFailed: the kernel refuses (user namespaces are switched off, or there are threads).
    """
    assert threading.active_count() == 1, "the kernel refuses a new user namespace to a process with threads"
    try:
        attempt.enter_user_namespace()
    except OSError as refused:
        raise RootlessFailed(getattr(refused, "step", "enter"), refused.errno or 0) from refused

"""Processes that belong together: children that die with their parent, and a supervisor that restarts them.

Knows pids and signals; does not know what the processes do.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

_PR_SET_PDEATHSIG = 1

FIRST_RESTART_S = 0.05
LAST_RESTART_S = 5.0
STEADY_S = 10.0  # a process that lived this long has earned a quick restart


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGKILL) -> None:
    """Have the kernel end this process when its parent ends, however that happens. Linux only; elsewhere it does nothing.

    Args:
        parent_pid: as the parent knows itself; if it is gone already this process ends at once.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal_number)


def raise_descriptor_limit() -> None:
    """Allow this process as many descriptors as it may have: connections and environments take several each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(slots=True)
class Child:
    """One supervised process.

    Args:
        start: makes the process; called again each time it has died.
        drain_s: how long it may take after SIGTERM.
    """

    name: str
    start: Callable[[], "subprocess.Popen[bytes]"]
    drain_s: float
    process: "subprocess.Popen[bytes] | None" = field(default=None)
    started_at_s: float = 0.0
    restart_at_s: float = 0.0
    backoff_s: float = FIRST_RESTART_S
    restarts: int = 0


class GiveUp(Exception):
    """There is no use in going on; the text says why."""


class Supervisor:
    """Keeps children alive until it is told to stop, then stops them in reverse order of their start.

    The first SIGTERM or SIGINT drains; the second kills. Blocking: it owns its process's main thread.
    """

    def __init__(self, children: Sequence[Child], say: Callable[[str], None]) -> None:
        self._children = list(children)
        self._say = say
        self._signals: list[int] = []

    def run(self, *, tick: Callable[[], None]) -> int:
        """
        Start the children and watch over them.

        Args:
            tick: called a few times a second; it may raise GiveUp.

        Returns:
            The exit status: 0 after a drain, 1 if a child had to be killed, or after GiveUp.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self._signals.append(number))
        for child in self._children:
            self._start(child)
        while not self._signals:
            try:
                tick()
            except GiveUp as reason:
                self._say(str(reason))
                self._stop()
                return 1
            self._revive()
            time.sleep(0.05)
        return self._stop()

    def _start(self, child: Child) -> None:
        child.process = child.start()
        child.started_at_s = time.monotonic()

    def _revive(self) -> None:
        now_s = time.monotonic()
        for child in self._children:
            if child.process is not None and (status := child.process.poll()) is not None:
                lived_s = now_s - child.started_at_s
                child.backoff_s = FIRST_RESTART_S if lived_s > STEADY_S else min(child.backoff_s * 2, LAST_RESTART_S)
                child.restart_at_s = now_s + child.backoff_s
                child.process = None
                child.restarts += 1
                self._say(f"{child.name} ended with status {status}; starting it again in {child.backoff_s:.2f} s")
            if child.process is None and now_s >= child.restart_at_s:
                self._start(child)

    def _stop(self) -> int:
        status = 0
        for child in reversed(self._children):
            process = child.process
            if process is None or process.poll() is not None:
                continue
            process.send_signal(signal.SIGTERM)
            deadline_s = time.monotonic() + child.drain_s
            while process.poll() is None:
                if time.monotonic() > deadline_s or len(self._signals) > 1:
                    process.kill()
                    process.wait()
                    status = 1
                    break
                time.sleep(0.01)
        return status


def spawn(
    command: Sequence[str],
    *,
    stdin: str,
    environment: Mapping[str, str],
    pass_fds: Sequence[int] = (),
    stdout: "int | IO[bytes] | None" = None,
) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own, and hand it a text on its standard input."""
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=stdout,
        env=dict(environment),
        pass_fds=tuple(pass_fds),
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(stdin.encode())
        process.stdin.close()
    except BrokenPipeError:
        pass  # it died at once; whoever watches it will see
    return process

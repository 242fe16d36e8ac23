"""What is left when a worker dies without a farewell: nothing that runs, and nothing that the next one does not sweep away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sandbox_fixtures import needs_root

from lambdad.sandbox import cgroup_files, cgroups

pytestmark = needs_root


def leftovers(instance: str) -> list[Path]:
    """Return the cgroup directories that carry an instance's name."""
    return [directory for hierarchy in cgroup_files.mounted_hierarchies() for directory in hierarchy.place.rglob(f"lambdad-{instance}")]


def instance_of(pid: int) -> str:
    """Return the id that a worker of this pid gives itself."""
    start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{pid}-{start}-{os.stat('/proc/self/ns/pid').st_ino}"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("mode", ["run", "freeze"])
def test_a_killed_worker_leaves_nothing_running(tmp_path: Path, mode: str) -> None:
    """After kill -9 of the worker all templates and functions end by themselves, frozen ones too; a sweep removes the rest."""
    worker = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("sandbox_parent.py"), tmp_path, mode], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    with worker.stdout:
        pids = [int(pid) for pid in worker.stdout.readline().split()]
        instance = instance_of(worker.pid)
        children = [int(pid) for pid in Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()]
        assert len(pids) == 6
        assert all(map(alive, (*pids, *children)))
        assert leftovers(instance)
        assert instance not in cgroups.sweep()  # a living neighbour is not touched
        assert leftovers(instance)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    deadline_s = time.monotonic() + 10
    while any(map(alive, (*pids, *children))):
        assert time.monotonic() < deadline_s, f"still alive: {[pid for pid in (*pids, *children) if alive(pid)]}"
        os.sched_yield()
    cgroups.sweep()  # or a neighbour that has just started was faster
    assert leftovers(instance) == []


def test_a_killed_template_takes_its_fences_along(tmp_path: Path) -> None:
    """When only the template dies, its environments die with it and the worker ends in order."""
    worker = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("sandbox_parent.py"), tmp_path, "run"], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    with worker.stdout:
        pids = [int(pid) for pid in worker.stdout.readline().split()]
        instance = instance_of(worker.pid)
        (template,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
        os.kill(int(template), signal.SIGKILL)
        deadline_s = time.monotonic() + 10
        while any(map(alive, pids)):
            assert time.monotonic() < deadline_s
            os.sched_yield()
        assert worker.poll() is None
        worker.send_signal(signal.SIGINT)
        worker.wait(10)
    assert leftovers(instance) == []


def test_a_stage_leaves_no_trace(tmp_path: Path) -> None:
    """After an orderly end there is no process, no mount and no cgroup of ours."""
    mounts = Path("/proc/self/mounts").read_text()
    worker = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("sandbox_parent.py"), tmp_path, "freeze"], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    with worker.stdout:
        pids = [int(pid) for pid in worker.stdout.readline().split()]
        instance = instance_of(worker.pid)
        worker.send_signal(signal.SIGINT)
        worker.wait(20)
    assert not any(map(alive, pids))
    assert Path("/proc/self/mounts").read_text() == mounts
    assert leftovers(instance) == []

"""The life of an environment: assigned, ended, started anew, frozen, killed."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
import uvloop
from sandbox_fixtures import needs_root, stage  # noqa: F401
from sandbox_stage import LIMITS, Stage, open_stage, wait_written, written

from lambdad.sandbox import channel, fence, spec, zygote

pytestmark = needs_root
TICKING = (
    "import itertools\n"
    "for number in itertools.count():\n"
    "    os.pwrite(file, b'%020d' % number, 0)\n"
)  # fmt: skip


def read(path: str) -> str:
    """Return a small file of /proc."""
    return Path(path).read_text()


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def descendants_of(pid: int) -> set[int]:
    """Return the pids below ``pid`` in the process tree."""
    found: set[int] = set()
    pending = [pid]
    while pending:
        try:
            children = Path(f"/proc/{(top := pending.pop())}/task/{top}/children").read_text().split()
        except OSError:
            continue
        found.update(map(int, children))
        pending.extend(map(int, children))
    return found


async def test_exit_is_reported_as_it_was(stage: Stage) -> None:  # noqa: F811
    """The exit code, or the signal, of the runtime process reaches the worker."""
    assert (await stage.run("sys.exit(7)"))[0] == spec.Exit(7, None, False)
    assert (await stage.run("os.kill(os.getpid(), signal.SIGSEGV)"))[0] == spec.Exit(None, 11, False)
    assert (await stage.run(None, "/bin/sh", "-c", "exit 3"))[0] == spec.Exit(3, None, False)


async def test_environment_and_directory_are_exactly_the_assigned_ones(stage: Stage) -> None:  # noqa: F811
    """A function sees the variables it was assigned, and none of the worker's."""
    changes = {"environment": {"A": "1", "B": "zwei ü"}, "cwd": "/tmp"}
    _, text = await stage.run("print(dict(os.environ), os.getcwd())", **changes)
    assert text == "{'A': '1', 'B': 'zwei ü'} /tmp\n"
    _, text = await stage.run(None, "/usr/bin/env", **changes)
    assert sorted(text.splitlines()) == ["A=1", "B=zwei ü"]


@pytest.mark.parametrize(("argv", "expected"), [(("/bin/nonesuch",), errno.ENOENT), (("/var/task/handler.py",), errno.EACCES)])
async def test_a_program_that_cannot_start_is_told_apart(stage: Stage, argv: tuple[str, ...], expected: int) -> None:  # noqa: F811
    """ExecFailed carries the errno of the exec."""
    sandbox = await stage.spawn()
    with pytest.raises(fence.ExecFailed) as refused:
        await sandbox.assign(stage.assignment(None, *argv))
    assert refused.value.errno == expected
    await sandbox.respawn(stage.assignment("print('second chance')"))
    assert (await sandbox.wait_exit()).code == 0


async def test_code_that_is_not_there_fails_the_assignment(stage: Stage) -> None:  # noqa: F811
    """A task directory that does not exist is AssignFailed, with the step."""
    sandbox = await stage.spawn()
    with pytest.raises(fence.AssignFailed, match="/var/task"):
        await sandbox.assign(stage.assignment("pass", task="missing"))


async def test_an_assignment_too_large_is_refused_before_it_is_sent(stage: Stage) -> None:  # noqa: F811
    """More than a packet holds is an error of its own, and the environment stays usable."""
    sandbox = await stage.spawn()
    with pytest.raises(channel.MessageTooLarge):
        await sandbox.assign(stage.assignment("pass", environment={"A": "x" * 300_000}))
    await sandbox.assign(stage.assignment("print(len(os.environ['A']))", environment={"A": "x" * 100_000}))
    assert (await sandbox.wait_exit()).code == 0
    assert written(sandbox) == "100000\n"


async def test_respawn_keeps_tmp_and_loses_everything_else(stage: Stage) -> None:  # noqa: F811
    """A reset environment keeps /tmp; processes, also detached ones, and memory are gone."""
    sandbox = await stage.start(
        "open('/tmp/kept', 'w').write('kept')\n"
        "import builtins; builtins.leaked = 1\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0: print('daemon', flush=True); signal.pause()\n"
        "os._exit(1)\n"
    )
    assert (await sandbox.wait_exit()).code == 1
    await wait_written(sandbox, "daemon")
    before = sandbox.pid
    await sandbox.respawn(
        stage.assignment(
            "import builtins\n"
            "print(open('/tmp/kept').read(), hasattr(builtins, 'leaked'), os.listdir('/var/task'), os.listdir('/mnt/code'))\n"
            "print([p for p in os.listdir('/proc') if p.isdigit()] == [str(os.getpid())])"
        )
    )
    assert sandbox.pid != before
    assert (await sandbox.wait_exit()).code == 0
    assert written(sandbox) == "kept False ['handler.py'] []\nTrue\n"


async def test_respawn_ends_a_running_process(stage: Stage) -> None:  # noqa: F811
    """A process that still runs, even a frozen one, is killed by a respawn."""
    sandbox = await stage.start("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\nsignal.pause()")
    await wait_written(sandbox, "up")
    sandbox.freeze()
    waiting = asyncio.ensure_future(sandbox.wait_exit())
    await sandbox.respawn(stage.assignment("print('again')"))
    assert (await sandbox.wait_exit()).code == 0
    waiting.cancel()


async def test_nothing_runs_while_frozen(stage: Stage) -> None:  # noqa: F811
    """A frozen function's counter stands still, threads and children included, and goes on after a thaw."""
    sandbox = await stage.start("file = os.open('/tmp/count', os.O_RDWR | os.O_CREAT)\nprint('up', flush=True)\n" + TICKING)
    await wait_written(sandbox, "up")
    counter = f"/proc/{sandbox.pid}/root/tmp/count"

    async def changes() -> bool:
        before = read(counter)
        try:
            async with asyncio.timeout(0.15):
                while read(counter) == before:
                    await asyncio.sleep(0.005)
        except TimeoutError:
            return False
        return True

    assert await changes()
    sandbox.freeze()
    while await changes():
        pass  # the last one stops a moment later
    assert not await changes()
    sandbox.thaw()
    assert await changes()


@pytest.mark.parametrize("frozen", [False, True])
async def test_kill_takes_everything_along(stage: Stage, frozen: bool) -> None:  # noqa: F811
    """After kill no process is left, whether frozen or not, and whatever it did to survive."""
    sandbox = await stage.start(
        "for number in range(1, 65):\n"
        "    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "for _ in range(5):\n"
        "    if os.fork() == 0: os.setsid(); os.fork(); signal.pause()\n"
        "print('up', flush=True)\nsignal.pause()"
    )
    await wait_written(sandbox, "up")
    template = sandbox.init_pid
    below = descendants_of(template)
    assert len(below) >= 6
    if frozen:
        sandbox.freeze()
    async with asyncio.timeout(10):
        await asyncio.gather(sandbox.kill(), sandbox.kill())
        await sandbox.kill()
    assert not [pid for pid in (template, *below) if exists(pid)]
    assert sandbox.runtime_listener.fileno() == -1
    assert stage.cgroups.statistics().in_use == 0


async def test_kill_while_others_wait(stage: Stage) -> None:  # noqa: F811
    """Who waits for an exit, or assigns, is told when the environment is killed."""
    sandbox = await stage.start("signal.pause()")
    waiting = asyncio.ensure_future(sandbox.wait_exit())
    await asyncio.sleep(0)
    await sandbox.kill()
    assert await waiting == spec.Exit(None, None, False)
    with pytest.raises(fence.AssignFailed):
        await sandbox.respawn(stage.assignment("pass"))
    sandbox.freeze()
    sandbox.thaw()


async def test_cancelled_spawn_leaves_nothing(stage: Stage) -> None:  # noqa: F811
    """A spawn that is cancelled at any point gives its cgroup back and leaves no process."""
    for turns in range(12):
        spawning = asyncio.ensure_future(stage.zygote.spawn())
        for _ in range(turns):
            await asyncio.sleep(0.001)
        spawning.cancel()
        try:
            sandbox = await spawning
        except asyncio.CancelledError:
            continue
        await sandbox.kill()
    survivor = await stage.spawn()
    await survivor.kill()
    assert stage.cgroups.statistics().in_use == 0
    assert stage.zygote.statistics().alive == 0


async def test_death_of_init_is_noticed(stage: Stage) -> None:  # noqa: F811
    """When process 1 of an environment dies from outside, waiters learn it and kill cleans up."""
    sandbox = await stage.start("signal.pause()")
    os.kill(sandbox.init_pid, 9)
    assert await sandbox.wait_exit() == spec.Exit(None, None, False)
    with pytest.raises(fence.AssignFailed):
        await sandbox.respawn(stage.assignment("pass"))
    await sandbox.kill()


async def test_a_template_that_cannot_start_says_why(stage: Stage, tmp_path: Path) -> None:  # noqa: F811
    """A missing bind, interpreter or preload module is ZygoteFailed with the step's name."""
    good = stage.zygote.spec
    cases = {
        "open /nonesuch": spec.ZygoteSpec(name="a", interpreter=good.interpreter, binds=(spec.Bind("/nonesuch", "/x"),)),
        "exec": spec.ZygoteSpec(name="b", interpreter="/usr/bin/nonesuch", binds=good.binds),
        "preload": spec.ZygoteSpec(name="c", interpreter=good.interpreter, binds=good.binds, preload="/nonesuch.py"),
    }
    for step, wrong in cases.items():
        with pytest.raises(zygote.ZygoteFailed, match=step):
            async with zygote.open_zygote(wrong, code_store=stage.code_store, cgroups=stage.cgroups):
                pass


async def test_statistics_add_up(stage: Stage) -> None:  # noqa: F811
    """Templates and cgroups count what they have made, and reuse what was given back."""
    for _ in range(3):
        await stage.run("pass", limits=LIMITS)
    assert stage.zygote.statistics().spawned == 3
    assert stage.zygote.statistics().alive == 0
    assert stage.cgroups.statistics().made == 1
    assert stage.cgroups.statistics().pooled == 1


def test_the_same_under_uvloop(tmp_path: Path) -> None:
    """The worker's own event loop serves as well as asyncio's: spawn, output, exit, respawn, kill."""

    async def live() -> tuple[str, spec.Exit]:
        async with open_stage(tmp_path) as opened:
            sandbox = await opened.start("print('first', flush=True); signal.pause()")
            text = await wait_written(sandbox, "first")
            sandbox.freeze()
            await sandbox.respawn(opened.assignment("print('second', flush=True); sys.exit(2)"))
            end = await sandbox.wait_exit()
            text += await wait_written(sandbox, "second")
            await sandbox.kill()
            return text, end

    assert uvloop.run(live()) == ("first\nsecond\n", spec.Exit(2, None, False))

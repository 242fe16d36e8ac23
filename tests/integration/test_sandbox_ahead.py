"""Stem cells that have executed their program before they are anybody's."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from sandbox_fixtures import needs_root, stage  # noqa: F401
from sandbox_stage import LIMITS, Stage, wait_written, written

from lambdad.sandbox import fence, spec

pytestmark = needs_root

PROGRAM = (
    "ls /var/task | head -1; eval \"exec $LAMBDAD_STEM_READY_FD>&-\"; eval 'read line <&'$LAMBDAD_STEM_FD; "
    'echo "$MADE $$ $line"; cat /var/task/handler.py; exec sleep 60'
)
ARGV = ("/bin/sh", "-c", PROGRAM)
# Started anew, the program has no descriptor to read from.
ANEW = ("/bin/sh", "-c", 'echo "anew $A"; exec sleep 60')


def ahead(argv: tuple[str, ...] = ARGV) -> spec.Ahead:
    return spec.Ahead(argv=argv, environment={"PATH": "/usr/bin:/bin", "MADE": "ahead"}, limits=LIMITS)


async def stem(stage: Stage, argv: tuple[str, ...] = ARGV) -> fence.Sandbox:  # noqa: F811
    sandbox = await stage.zygote.spawn(ahead(argv))
    stage.sandboxes.append(sandbox)
    return sandbox


async def test_it_becomes_the_function_that_it_is_told(stage: Stage) -> None:  # noqa: F811
    """The program runs before the assignment, sees no code until then, and the same process goes on with it."""
    sandbox = await stem(stage)
    async with asyncio.timeout(5):
        await sandbox.wait_booted()
    assert not sandbox.is_lost() and written(sandbox) == ""
    await sandbox.assign(stage.assignment(None, *ARGV, environment={"A": "ü" * 20_000}))
    text = await wait_written(sandbox, "NAME = 'one'")
    assert text.startswith('ahead 2 {"environment":') and '"cwd": "/var/task"' in text
    os.kill(sandbox.pid, signal.SIGSEGV)
    assert await sandbox.wait_exit() == spec.Exit(None, 11, False)


async def test_it_is_fenced_in_as_all_are(stage: Stage) -> None:  # noqa: F811
    """No capability, no other descriptor than its own two and the standard three, the system call filter."""
    command = "grep -E '^(CapPrm|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; ls /proc/self/fd | tr '\\n' ' '; id -u; echo end; sleep 60"
    sandbox = await stem(stage, ("/bin/sh", "-c", command))
    text = await wait_written(sandbox, "end")
    assert "CapPrm:\t0000000000000000" in text and "CapBnd:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text and "Seccomp:\t2" in text
    fds = text.splitlines()[4].split()[:-1]
    assert len(fds) <= 6, fds  # 0 1 2, the two, and that of ls


@pytest.mark.parametrize("noticed", [False, True])
async def test_one_that_died_is_replaced_within_the_assignment(stage: Stage, noticed: bool) -> None:  # noqa: F811
    """Whether its end is known yet or not, the function starts, and its end is the one that is reported."""
    sandbox = await stem(stage)
    await sandbox.wait_booted()
    lost = asyncio.Event()
    sandbox.when_lost(lambda _: lost.set())
    os.kill(sandbox.pid, signal.SIGKILL)
    if noticed:
        await lost.wait()
        assert sandbox.is_lost()
    await sandbox.assign(stage.assignment(None, "/bin/sh", "-c", "cat handler.py; exit 7"))
    assert await sandbox.wait_exit() == spec.Exit(7, None, False)
    assert written(sandbox) == "NAME = 'one'\n"


async def test_another_program_than_the_one_ahead(stage: Stage) -> None:  # noqa: F811
    """An assignment of another program ends the one ahead and starts its own."""
    sandbox = await stem(stage)
    await sandbox.wait_booted()
    before = sandbox.pid
    await sandbox.assign(stage.assignment(None, *ANEW, environment={"A": "1"}))
    assert await wait_written(sandbox, "anew 1\n") == "anew 1\n"
    assert sandbox.pid != before
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


async def test_a_program_that_is_not_there(stage: Stage) -> None:  # noqa: F811
    """The assignment's own failure to start is told as ever; a stem cell whose program is missing is none."""
    with pytest.raises(fence.SpawnFailed, match="exec"):
        await stage.zygote.spawn(ahead(("/bin/not-there",)))
    sandbox = await stem(stage)
    with pytest.raises(fence.ExecFailed):
        await sandbox.assign(stage.assignment(None, "/bin/not-there"))


async def test_respawn_is_a_plain_start(stage: Stage) -> None:  # noqa: F811
    """After a kill the program starts with its whole environment; /tmp is as it was."""
    sandbox = await stem(stage)
    await sandbox.assign(stage.assignment(None, *ARGV))
    await wait_written(sandbox, "NAME = 'one'")
    await sandbox.stop_runtime()
    await sandbox.respawn(stage.assignment(None, *ANEW, environment={"A": "2"}))
    assert await wait_written(sandbox, "anew 2\n") == "anew 2\n"
    os.kill(sandbox.pid, signal.SIGTERM)
    assert (await sandbox.wait_exit()).signal == signal.SIGTERM


async def test_waiting_costs_nothing(stage: Stage) -> None:  # noqa: F811
    """A stem cell sleeps in its read, and its memory belongs to its own group."""
    sandbox = await stem(stage)
    await sandbox.wait_booted()
    async with asyncio.timeout(5):
        while (await asyncio.to_thread(_state, sandbox.pid)) != "S":
            await asyncio.sleep(0.005)
    assert sandbox.peak_memory_bytes() > 0


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]

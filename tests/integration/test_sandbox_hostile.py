"""Processes that do all they can not to be stopped, frozen, ended or counted, in a bare fence."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sandbox_fixtures import needs_root, stage  # noqa: F401
from sandbox_stage import LIMITS, Stage, wait_written, written

from lambdad.sandbox import fence, uncounted

pytestmark = needs_root

FORK_BOMB = """
os.write(1, b'ready')
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
# Each grandchild becomes a child of process 1 and is a zombie at once: work for process 1 as fast as it can be made.
ORPHANS = """
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
for _ in range(3):
    os.fork()
os.write(1, b'ready')
while True:
    try:
        pid = os.fork()
        if pid == 0:
            try:
                os.fork()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
    except OSError:
        pass
"""
DEAF = """
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
for _ in range(10):
    if os.fork() == 0:
        os.setsid()
        break
"""
HOSTILE = {
    "fork bomb": FORK_BOMB,
    "orphans": ORPHANS,
    "deaf": DEAF + "os.write(1, b'ready')\nwhile True: time.sleep(1)",
    "stopped": DEAF + "os.write(1, b'ready')\nos.kill(os.getpid(), signal.SIGSTOP)\nwhile True: pass",
    "vfork": "libc.prctl(1, 0)\nos.write(1, b'ready')\nos.posix_spawn('/bin/sleep', ['sleep', '1000'], {})\nwhile True: pass",
    "signal storm": "signal.signal(15, signal.SIG_IGN)\nfor _ in range(4): os.fork()\nos.write(1, b'ready')\nwhile True: os.kill(-1, 15)",
    "busy threads": "os.write(1, b'ready')\n[threading.Thread(target=exec, args=('while True: pass',)).start() for _ in range(20)]",
}


def members(sandbox: fence.Sandbox) -> list[int]:
    return sandbox._group.members()  # type: ignore[attr-defined]


def work_done(pids: list[int]) -> int:
    """Return the processor time that processes have had, in ticks; 0 for those that are gone."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total


async def until(condition, what: str) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not in time: {what}")


@pytest.mark.parametrize("kind", HOSTILE)
async def test_what_will_not_end_is_ended(stage: Stage, kind: str) -> None:  # noqa: F811
    """Frozen it stands still; stopped or killed it is gone, in the middle of a freeze, too; a neighbour goes on all the while."""
    neighbour = await stage.start("os.write(1, b'here')\nwhile True:\n    sys.stdin.read(1)\n    time.sleep(1)")
    await wait_written(neighbour, "here")
    sandbox = await stage.start(HOSTILE[kind])
    await wait_written(sandbox, "ready")
    await asyncio.sleep(0.1)
    if sandbox._group.can_freeze:
        sandbox.freeze()
        await asyncio.sleep(0.3)
        frozen = members(sandbox)
        done = work_done(frozen)
        await asyncio.sleep(0.3)
        assert members(sandbox) == frozen and work_done(frozen) - done <= 1
        sandbox.thaw()
        await asyncio.sleep(0.05)
    async with asyncio.timeout(15):
        await sandbox.stop_runtime()
    assert members(sandbox) == []
    async with asyncio.timeout(15):
        await sandbox.respawn(stage.assignment("print('again', flush=True)\n" + HOSTILE[kind]))
        await wait_written(sandbox, "again")
    await asyncio.sleep(0.05)
    caught = members(sandbox)
    sandbox.freeze()
    async with asyncio.timeout(15):
        await sandbox.kill()
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in caught), "everything has ended")
    assert members(neighbour) == [neighbour.pid]


async def test_it_does_not_grow_while_it_is_frozen(stage: Stage) -> None:  # noqa: F811
    """A bomb that is frozen before its first fork does not go off until it is thawed, and then ends at its limit."""
    sandbox = await stage.start("os.write(1, b'ready')\ntime.sleep(0.2)\n" + FORK_BOMB)
    await wait_written(sandbox, "ready")
    if not sandbox._group.can_freeze:
        pytest.skip("no freezer here")
    sandbox.freeze()
    await asyncio.sleep(0.5)
    assert len(members(sandbox)) == 1
    sandbox.thaw()
    await until(lambda: len(members(sandbox)) > 10, "it goes off")
    assert len(members(sandbox)) <= LIMITS.pids


async def test_nothing_of_the_channels_is_left_to_a_function(stage: Stage) -> None:  # noqa: F811
    """Neither process 1's channel nor the worker's is among a function's descriptors, and its output pipe tells process 1 nothing."""
    forged = '{"event": "exit", "generation": 1, "code": 0, "signal": null, "peak_bytes": 0}'
    code = f"""
forged = {forged!r}.encode()
kinds = []
for fd in range(0, 1024):
    try:
        target = os.readlink('/proc/self/fd/%d' % fd)
    except OSError:
        continue
    kinds.append(target.partition(':')[0])
    try:
        os.write(fd, forged)
        socket.socket(fileno=os.dup(fd)).sendmsg([forged])
    except OSError:
        pass
print(json.dumps(sorted(kinds)), flush=True)
time.sleep(1000)
"""
    sandbox = await stage.start(code)
    text = await wait_written(sandbox, "]\n")
    assert set(text[text.index("[") + 1 : text.index("]")].replace('"', "").split(", ")) <= {"pipe", "/dev/null", "/proc/1/fd"}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await sandbox.wait_exit()
    await sandbox.stop_runtime()
    assert written(sandbox) == ""


async def test_the_machine_keeps_half_of_its_process_numbers(stage: Stage) -> None:  # noqa: F811
    """All environments together may have no more."""
    directories = getattr((await stage.spawn())._group, "_directories", {})
    if "pids" not in directories:
        pytest.skip("no pids cgroup of version 1 here")
    assert int(read(directories["pids"].parent / "pids.max")) == int(read(Path("/proc/sys/kernel/pid_max"))) // 2


def read(path: Path) -> str:
    return path.read_text()


NETLINK = """
for _ in range(4):
    os.fork()
kept = []
while True:
    try:
        one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    except OSError:
        time.sleep(60)
        continue
    one.bind((0, 0))
    one.setblocking(False)
    kept.append(one)
    try:
        for _ in range(400):
            one.send(b'\\x18\\0\\0\\0\\x03\\0\\x05\\0' + bytes(16))
    except OSError:
        pass
"""


async def test_memory_that_no_cgroup_counts(stage: Stage) -> None:  # noqa: F811
    """Who lets replies pile up in netlink sockets is killed before they are much, and can begin again; who has few is not."""
    few = await stage.start("kept = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) for _ in range(500)]\ntime.sleep(1000)")
    sandbox = await stage.start(NETLINK)
    async with asyncio.timeout(20):
        end = await sandbox.wait_exit()
    assert end.signal == 9
    await until(lambda: uncounted.waiting_bytes(netlink(sandbox)) == 0, "the replies are gone")
    await sandbox.respawn(stage.assignment("print('again', flush=True)\ntime.sleep(1000)"))
    await wait_written(sandbox, "again")
    await asyncio.sleep(1.5)
    assert members(few) == [few.pid] and members(sandbox) == [sandbox.pid]


def netlink(sandbox: fence.Sandbox) -> bytes:
    return Path(f"/proc/{sandbox.init_pid}/net/netlink").read_bytes()

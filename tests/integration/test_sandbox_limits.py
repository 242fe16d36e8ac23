"""What a function may use: memory, files, processes, processor time, descriptors; and that its neighbours do not notice."""

from __future__ import annotations

import asyncio
import time

from sandbox_fixtures import needs_root, stage  # noqa: F401
from sandbox_stage import LIMITS, MEBIBYTE, Stage, wait_written, written

from lambdad.sandbox import spec

pytestmark = needs_root
EAT = "eaten = []\nwhile True:\n    eaten.append(bytearray(b'x' * (4 << 20)))\n"


async def test_memory_beyond_the_limit_kills_only_the_function(stage: Stage) -> None:  # noqa: F811
    """Memory used up is an OOM kill that is reported as one; init and the neighbour live on."""
    neighbour = await stage.start("print('up', flush=True); sys.stdin.read(); signal.pause()")
    sandbox = await stage.start(EAT)
    assert await sandbox.wait_exit() == spec.Exit(None, 9, True)
    assert 100 * MEBIBYTE < sandbox.peak_memory_bytes() <= LIMITS.memory_bytes
    await sandbox.respawn(stage.assignment("print('again')"))
    assert await sandbox.wait_exit() == spec.Exit(0, None, False)
    await sandbox.respawn(stage.assignment(EAT))
    assert await sandbox.wait_exit() == spec.Exit(None, 9, True)
    await wait_written(neighbour, "up")
    assert not neighbour._exit.done()


async def test_memory_within_the_limit_is_measured(stage: Stage) -> None:  # noqa: F811
    """The peak follows what a function used, also in an environment whose cgroup had another use before."""
    for _ in range(2):
        big = await stage.start("x = b'x' * (64 << 20)")
        assert (await big.wait_exit()).code == 0
        assert 64 * MEBIBYTE < big.peak_memory_bytes() < 90 * MEBIBYTE
        await big.kill()
        small = await stage.start("pass")
        assert (await small.wait_exit()).code == 0
        assert small.peak_memory_bytes() < 20 * MEBIBYTE
        await small.kill()
    assert stage.cgroups.statistics().made == 1


async def test_tmp_has_its_size_and_not_more(stage: Stage) -> None:  # noqa: F811
    """A full /tmp is ENOSPC at the assigned size."""
    end, text = await stage.run(
        "def fill():\n"
        "    with open('/tmp/big', 'wb', buffering=0) as file:\n"
        "        while True: file.write(b'x' * 65536)\n"
        "print(attempt(fill), os.stat('/tmp/big').st_size >> 20)\n"
    )
    assert (end.code, text) == (0, "ENOSPC 16\n")


async def test_files_in_tmp_do_not_use_up_memory(stage: Stage) -> None:  # noqa: F811
    """A function of 64 MiB can fill a /tmp of 256 MiB; its memory limit holds nevertheless, before and after."""
    limits = spec.Limits(memory_bytes=64 * MEBIBYTE, cpu_millicores=2000, tmp_bytes=256 * MEBIBYTE)
    fill = (
        "with open('/tmp/big', 'wb', buffering=0) as file:\n"
        "    def fill():\n"
        "        while True: file.write(b'x' * (1 << 20))\n"
        "    print(attempt(fill), os.stat('/tmp/big').st_size >> 20, flush=True)\n"
    )
    sandbox = await stage.start(fill, limits=limits)
    async with asyncio.timeout(20):
        assert await sandbox.wait_exit() == spec.Exit(0, None, False)
    assert written(sandbox) == "ENOSPC 256\n"
    assert sandbox.peak_memory_bytes() <= limits.memory_bytes
    async with asyncio.timeout(20):
        await sandbox.respawn(stage.assignment(EAT, limits=limits))
        assert await sandbox.wait_exit() == spec.Exit(None, 9, True)


async def test_a_fork_bomb_stops_at_the_limit(stage: Stage) -> None:  # noqa: F811
    """Processes beyond the limit are EAGAIN, and the whole heap of them dies on kill."""
    sandbox = await stage.start(
        "count = 0\n"
        "try:\n"
        "    while True:\n"
        "        if os.fork() == 0: signal.pause()\n"
        "        count += 1\n"
        "except OSError as refused: print(errno.errorcode[refused.errno], count, flush=True)\n"
        "signal.pause()\n"
    )
    assert await wait_written(sandbox, "\n") == f"EAGAIN {LIMITS.pids - 1}\n"
    assert len(sandbox._group.members()) == LIMITS.pids
    await sandbox.kill()
    assert stage.cgroups.statistics().pooled == 1


async def test_processor_time_is_shared_out(stage: Stage) -> None:  # noqa: F811
    """With 100 millicores, 50 ms of work take some 500 ms; with 2,000 they do not."""
    work = "before = time.process_time()\nwhile time.process_time() - before < 0.05: pass\n"

    async def took_s(millicores: int) -> float:
        sandbox = await stage.start(
            work, limits=spec.Limits(memory_bytes=LIMITS.memory_bytes, cpu_millicores=millicores, tmp_bytes=1 << 20)
        )
        started_s = time.perf_counter()
        assert (await sandbox.wait_exit()).code == 0
        return time.perf_counter() - started_s

    assert await took_s(100) > 0.3
    assert await took_s(2000) < 0.3


async def test_limits_can_be_raised_and_lowered(stage: Stage) -> None:  # noqa: F811
    """One cgroup serves functions of different sizes one after the other."""
    for size in (128, 512, 64, 256):
        limits = spec.Limits(memory_bytes=size * MEBIBYTE, cpu_millicores=1000)
        end, text = await stage.run(f"x = b'x' * ({size // 2} << 20); print(len(x) >> 20)", limits=limits)
        assert (end.code, text) == (0, f"{size // 2}\n")
    assert stage.cgroups.statistics().made == 1


async def test_resource_limits_are_lambdas(stage: Stage) -> None:  # noqa: F811
    """Descriptors, stack, core and locked memory are limited as on the original."""
    _, text = await stage.run(
        "for name in ('NOFILE', 'STACK', 'CORE', 'MEMLOCK'):\n    print(name, *resource.getrlimit(getattr(resource, 'RLIMIT_' + name)))\n"
    )
    assert text.splitlines() == [
        "NOFILE 1024 1024",
        "STACK 8388608 -1",
        "CORE 1 1",
        "MEMLOCK 65536 65536",
    ]


async def test_a_child_that_is_killed_for_its_memory_is_told_from_the_runtime(stage: Stage) -> None:  # noqa: F811
    """Where the kernel kills the child alone, the runtime lives on and says how it ended; where it kills all, that is an OOM kill."""
    code = f"pid = os.fork()\nif pid == 0:\n    exec({EAT!r})\nprint(os.waitpid(pid, 0)[1], flush=True)\nsys.exit(3)"
    sandbox = await stage.start(code)
    end = await sandbox.wait_exit()
    if stage.cgroups.driver.version == 1:
        assert (end, written(sandbox)) == (spec.Exit(3, None, False), "9\n")
    else:
        assert end == spec.Exit(None, 9, True)


async def test_a_signal_is_no_want_of_memory(stage: Stage) -> None:  # noqa: F811
    """A SIGKILL that is not the kernel's is reported as the signal that it is."""
    sandbox = await stage.start("x = b'x' * (100 << 20)\nos.kill(os.getpid(), signal.SIGKILL)")
    assert await sandbox.wait_exit() == spec.Exit(None, 9, False)


async def test_what_is_shared_is_counted_and_not_limited(stage: Stage) -> None:  # noqa: F811
    """Memory that a function shares with its template is part of what it used at most."""
    alone, both = await stage.start("pass"), await stage.start("pass", shared_bytes=30 * MEBIBYTE)
    for sandbox in (alone, both):
        await sandbox.wait_exit()
    difference = both.peak_memory_bytes() - alone.peak_memory_bytes()
    assert 28 * MEBIBYTE < difference < 32 * MEBIBYTE

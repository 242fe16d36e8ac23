"""How many environments fit, and whether the last ones start as fast as the first: a thousand living Python functions, by hundreds.

Run: python -m bench.density [number of environments]          (needs root or user namespaces)

An environment counts as started when its function has been imported and asks for its first event. Memory is what the whole machine has less
available, kernel included, divided by the environments. Beside each line there is what a fresh page of memory costs at that time: an
environment touches some 1,500, and the host of a virtual machine may have to find each of them first.
"""

import asyncio
import contextlib
import mmap
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from lambdad.runtimes import discovery, environment, matching, plans
from lambdad.sandbox import cgroups, fence, instances, probe, spec
from lambdad.worker.stove import Stove, Template

ENVIRONMENTS = 1000
HUNDRED = 100
AT_ONCE = 8
CHURN = 200
TOUCHED_BYTES = 6 << 20
MADV_POPULATE_WRITE = 23  # Linux 5.14
LIMITS = spec.Limits(memory_bytes=256 << 20, cpu_millicores=145, cpu_cap_millicores=1000)
HANDLER = "def handler(event, context):\n    return event\n"


def available_mib() -> float:
    """Return what the kernel says is available without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024
    return 0.0


def fresh_page_us() -> float:
    """Return what it costs to touch a page for the first time, in microseconds; in a virtual machine that is the host's affair, too."""
    pages = 2048
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
        started_s = time.perf_counter()
        for place in range(0, len(memory), mmap.PAGESIZE):
            memory[place] = 1
        return (time.perf_counter() - started_s) / pages * 1e6


def have_memory_at_hand(environments: int) -> None:
    """Touch as much memory as will be needed: the first time, the host of a virtual machine has to find it, at four times the cost."""
    with contextlib.suppress(OSError), mmap.mmap(-1, environments * TOUCHED_BYTES) as memory:
        memory.madvise(MADV_POPULATE_WRITE)


def proportional_mib(pids: list[int]) -> float:
    """Add up the proportional set sizes of processes."""
    total_kib = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total_kib += int(line.split()[1])
    return total_kib / 1024


@contextlib.asynccontextmanager
async def python_template(folder: Path) -> AsyncIterator[tuple[Template, spec.Assignment]]:
    """Give a template of the nearest Python, as the worker makes it, and the assignment of a function."""
    code = folder / "code"
    (code / "f").mkdir(parents=True)
    (code / "f" / "app.py").write_text(HANDLER)
    found = discovery.discover(discovery.usual_places({}, "", ()), folder / "interpreters.json")
    match = matching.match("python{}.{}".format(*sys.version_info[:2]), found, exact_only=False)
    if match is None:
        raise SystemExit("there is no Python on this machine to make a template of")
    plan = plans.launch(match, memory_mib=256, customer={}, files=plans.find_runtime_files())
    facts = environment.Facts(
        handler="app.handler", region="us-east-1", function_name="f", version="$LATEST", memory_mib=256, log_group="g", log_stream="s"
    )
    variables = environment.build(match.runtime, facts, {}, plan.environment)
    async with cgroups.open_cgroups(instances.own_instance()) as source, asyncio.TaskGroup() as tasks:
        template = Stove(code, source, probe.probe().isolation()).open_template(plan, tasks)
        try:
            yield template, spec.Assignment(task="f", limits=LIMITS, environment=variables, payload={})
        finally:
            await template.close()


async def start(template: Template, assignment: spec.Assignment, took_s: list[float]) -> fence.Sandbox:
    """Make an environment and wait until its function asks for an event."""
    started_s = time.perf_counter()
    sandbox = await template.spawn(hurried=True)
    await sandbox.assign(assignment)
    connection, _ = await asyncio.get_running_loop().sock_accept(sandbox.runtime_listener)
    took_s.append(time.perf_counter() - started_s)
    kept.append(connection)  # else the function would find its platform gone
    sandbox.freeze()  # as the worker does when nothing is invoked
    return sandbox


kept: list[object] = []


async def fill(template: Template, assignment: spec.Assignment, count: int) -> tuple[list[fence.Sandbox], list[float], float]:
    """Start environments, some at once; return them, what each took, and how long all of it took, in seconds."""
    took_s: list[float] = []
    turn = asyncio.Semaphore(AT_ONCE)

    async def one() -> fence.Sandbox:
        async with turn:
            return await start(template, assignment, took_s)

    started_s = time.perf_counter()
    made = await asyncio.gather(*(one() for _ in range(count)))
    return list(made), took_s, time.perf_counter() - started_s


async def measure(count: int, folder: Path) -> None:
    have_memory_at_hand(count)
    async with python_template(folder) as (template, assignment):
        started_s = time.perf_counter()
        await (await template.spawn()).kill()
        print(f"{'template, from nothing to its first stem cell':46} {(time.perf_counter() - started_s) * 1e3:8.0f} ms")
        before_mib = available_mib()
        living: list[fence.Sandbox] = []
        medians: list[float] = []
        while len(living) < count:
            alone: list[float] = []
            for _ in range(10):
                living.append(await start(template, assignment, alone))
            made, took_s, all_s = await fill(template, assignment, HUNDRED - 10)
            living += made
            medians.append(statistics.median(alone))
            print(
                f"environments {len(living) - HUNDRED + 1:5}..{len(living):<5} one by one p50 {medians[-1] * 1e3:7.2f} ms   "
                f"{AT_ONCE} at a time p50 {statistics.median(took_s) * 1e3:7.2f} ms, {len(made) / all_s:5.0f} a second   "
                f"(a fresh page {fresh_page_us():.1f} µs)"
            )
        print(f"{'the last hundred beside the first':46} {medians[-1] / medians[0]:8.2f} x")
        pids = [pid for sandbox in living for pid in (sandbox.pid, sandbox.init_pid)]
        used_mib = before_mib - available_mib()
        own_mib = proportional_mib(pids)
        print(f"{'memory, by what the machine has less':46} {used_mib:8.0f} MiB, {used_mib / count:.2f} each")
        print(f"{'memory, by their processes (PSS)':46} {own_mib:8.0f} MiB, {own_mib / count:.2f} each")
        started_s = time.perf_counter()
        for number in range(CHURN):
            await living.pop(number % len(living)).kill()
            living.append(await start(template, assignment, []))
        churn_s = (time.perf_counter() - started_s) / CHURN
        print(f"{'churn: one ends, another starts, all others live':46} {churn_s * 1e3:8.2f} ms")
        started_s = time.perf_counter()
        await asyncio.gather(*(sandbox.kill() for sandbox in living))
        print(f"{'all of them ended at once':46} {time.perf_counter() - started_s:8.2f} s")


def run(count: int = ENVIRONMENTS) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(count, Path(folder)))


if __name__ == "__main__":
    run(*map(int, sys.argv[1:2]))

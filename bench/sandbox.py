"""Measure the sandbox: spawn, assign, exit, freeze, thaw and kill of fully fenced environments (needs root or user namespaces).

Run: python bench/sandbox.py [number of environments]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from lambdad.sandbox import cgroups, instances, private_root, spec, zygote

LIMITS = spec.Limits(memory_bytes=128 << 20, cpu_millicores=1000)
PRELOADED = "import signal\n\ndef main(payload):\n    while True:\n        signal.pause()\n"


def report(name: str, took_s: list[float]) -> None:
    """Print the median, the 99th percentile and the extremes of one measurement, in milliseconds."""
    took_ms = sorted(one * 1e3 for one in took_s)
    p99 = took_ms[min(len(took_ms) - 1, round(len(took_ms) * 0.99))]
    print(
        f"{name:28} n={len(took_ms):4}  p50 {statistics.median(took_ms):8.3f} ms  p99 {p99:8.3f} ms"
        f"  min {took_ms[0]:8.3f}  max {took_ms[-1]:8.3f}"
    )


async def measure(count: int, directory: Path) -> None:
    """Run the measurements one after the other."""
    (directory / "code" / "f").mkdir(parents=True)
    (directory / "preloaded.py").write_text(PRELOADED)
    interpreter = Path(sys.executable)
    zygote_spec = spec.ZygoteSpec(
        name="bench",
        interpreter=str(interpreter),
        binds=(
            *private_root.interpreter_binds(interpreter),
            spec.Bind(str(directory / "preloaded.py"), "/var/runtime/preloaded.py"),
        ),
        preload="/var/runtime/preloaded.py",
    )
    assignment = spec.Assignment(task="f", limits=LIMITS, environment={"A": "b"}, payload={})
    program = spec.Assignment(task="f", limits=LIMITS, environment={"A": "b"}, argv=("/bin/true",))
    async with cgroups.open_cgroups(instances.own_instance()) as groups:
        at_s = time.perf_counter()
        async with zygote.open_zygote(zygote_spec, code_store=directory / "code", cgroups=groups) as template:
            print(f"template ready in {(time.perf_counter() - at_s) * 1e3:.1f} ms, cgroups {groups.statistics()}")
            took: dict[str, list[float]] = {}

            async def timed(name: str, waiting: object) -> object:
                started_s = time.perf_counter()
                result = await waiting  # type: ignore[misc]
                took.setdefault(name, []).append(time.perf_counter() - started_s)
                return result

            for _ in range(count):
                sandbox = await timed("spawn, one by one", template.spawn())
                await timed("assign, fork type", sandbox.assign(assignment))
                for name, call in (("freeze", sandbox.freeze), ("thaw", sandbox.thaw)):
                    started_s = time.perf_counter()
                    call()
                    took.setdefault(name, []).append(time.perf_counter() - started_s)
                started_s = time.perf_counter()
                sandbox.peak_memory_bytes()
                took.setdefault("read peak memory", []).append(time.perf_counter() - started_s)
                await timed("kill", sandbox.kill())
            for _ in range(min(count, 50)):
                sandbox = await template.spawn()
                await timed("assign, exec type", sandbox.assign(program))
                await timed("exit of /bin/true", sandbox.wait_exit())
                await timed("respawn, exec type", sandbox.respawn(program))
                await sandbox.kill()
            for name, value in took.items():
                report(name, value)
            started_s = time.perf_counter()
            fences = await asyncio.gather(*(template.spawn() for _ in range(count)))
            total_s = time.perf_counter() - started_s
            print(f"{count} spawns, 8 at a time: {total_s * 1e3:.0f} ms, {count / total_s:.0f} per second")
            started_s = time.perf_counter()
            await asyncio.gather(*(sandbox.kill() for sandbox in fences))
            print(f"{count} kills at once: {(time.perf_counter() - started_s) * 1e3:.0f} ms")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 200, Path(place)))

"""A stand-in for a worker, to be killed: opens a stage, starts functions, says their pids, and waits.

Run: python sandbox_parent.py <directory> <freeze or run>
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from sandbox_stage import open_stage, wait_written


async def main(place: Path, frozen: bool) -> None:
    """Print ``<init pid> <runtime pid> ...`` once all are up."""
    async with open_stage(place) as stage:
        pids = []
        for _ in range(2):
            sandbox = await stage.start("os.fork()\nprint('up', flush=True)\nsignal.pause()")
            await wait_written(sandbox, "up")
            if frozen:
                sandbox.freeze()
            pids += [sandbox.init_pid, sandbox.pid]
        idle = await stage.spawn()
        print(*pids, idle.init_pid, idle.pid, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background may have it ignored
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2] == "freeze"))

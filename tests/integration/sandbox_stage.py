"""A stage for tests of the sandbox: one template, and functions that are a few lines of Python each."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lambdad.sandbox import cgroups, egress, fence, instances, private_root, spec, zygote

PRELOADED = """
import json, os, signal, sys, time, threading, socket, ctypes, errno, resource, subprocess

def preload():
    global libc
    libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return "allowed" if result >= 0 else errno.errorcode[ctypes.get_errno()]

def attempt(work):
    try:
        return work()
    except OSError as refused:
        return errno.errorcode[refused.errno]

def main(payload):
    exec(payload["code"], globals())
    return 0
"""

MEBIBYTE = 1 << 20
LIMITS = spec.Limits(memory_bytes=128 * MEBIBYTE, cpu_millicores=1000, pids=64, tmp_bytes=16 * MEBIBYTE)


@dataclass
class Stage:
    """One template with a code store of two functions, ``one`` and ``two``, and the means to run things in it."""

    zygote: zygote.Zygote
    cgroups: cgroups.Cgroups
    code_store: Path
    sandboxes: list[fence.Sandbox] = field(default_factory=list)

    def assignment(self, code: str | None = None, *argv: str, **changes: object) -> spec.Assignment:
        """Return an assignment of function ``one`` that runs Python ``code``, or the program ``argv``."""
        fields: dict[str, object] = {
            "task": "one",
            "limits": LIMITS,
            "environment": {"PATH": "/usr/bin:/bin"},
            "payload": None if code is None else {"code": code},
            "argv": argv or None,
        }
        return spec.Assignment(**{**fields, **changes})  # type: ignore[arg-type]

    async def spawn(self) -> fence.Sandbox:
        sandbox = await self.zygote.spawn()
        self.sandboxes.append(sandbox)
        return sandbox

    async def start(self, code: str | None = None, *argv: str, **changes: object) -> fence.Sandbox:
        sandbox = await self.spawn()
        await sandbox.assign(self.assignment(code, *argv, **changes))
        return sandbox

    async def run(self, code: str | None = None, *argv: str, **changes: object) -> tuple[spec.Exit, str]:
        """Run something to its end in a sandbox of its own; returns how it ended and what it wrote."""
        sandbox = await self.start(code, *argv, **changes)
        end = await sandbox.wait_exit()
        text = written(sandbox)
        await sandbox.kill()
        return end, text


def written(sandbox: fence.Sandbox) -> str:
    """Return what is in the pipe of a sandbox now."""
    chunks = []
    while True:
        try:
            chunk = os.read(sandbox.output, 65536)
        except BlockingIOError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    return b"".join(chunks).decode()


async def wait_written(sandbox: fence.Sandbox, text: str) -> str:
    """Wait until the sandbox has written ``text``; returns all it has written meanwhile."""
    loop = asyncio.get_running_loop()
    seen = ""
    async with asyncio.timeout(20):
        while text not in seen:
            readable = asyncio.Event()
            loop.add_reader(sandbox.output, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(sandbox.output)
            seen += written(sandbox)
    return seen


@asynccontextmanager
async def open_stage(
    place: Path,
    isolation: zygote.Isolation | None = None,
    interpreter: Path = Path(sys.executable),
    way_out: egress.Egress | None = None,
) -> AsyncIterator[Stage]:
    """Open a stage whose files are below ``place``; at the end all its sandboxes are killed."""
    code_store = place / "code"
    for name in ("one", "two"):
        (code_store / name).mkdir(parents=True)
        (code_store / name / "handler.py").write_text(f"NAME = {name!r}\n")
    (place / "preloaded.py").write_text(PRELOADED)
    zygote_spec = spec.ZygoteSpec(
        name="stage",
        interpreter=str(interpreter),
        binds=(
            *private_root.interpreter_binds(interpreter),
            spec.Bind(str(place / "preloaded.py"), "/var/runtime/preloaded.py"),
        ),
        preload="/var/runtime/preloaded.py",
    )
    async with cgroups.open_cgroups(instances.own_instance()) as groups:
        async with zygote.open_zygote(zygote_spec, code_store=code_store, cgroups=groups, isolation=isolation, way_out=way_out) as template:
            stage = Stage(template, groups, code_store)
            try:
                yield stage
            finally:
                for sandbox in stage.sandboxes:
                    await sandbox.kill()

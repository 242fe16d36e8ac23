"""A rehearsal of a Java function, in the very view that functions have, that records what every start loads (class data sharing).

The virtual machine checks an archive by the names and dates of the jars, so it is made where it will be used: behind a fence, with the
client at /var/runtime. An archive that does not fit is ignored at the start of a function, which then takes longer.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lambdad.runtimes import java_client, matching, plans
from lambdad.runtimes.discovery import Interpreter
from lambdad.sandbox import fenced, spec

_WITHIN_S = 60.0
_CANNOT_FENCE = 126
_HEAD = "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n{more}\r\n"
_EVENTS = (b'{"a":[1,2.5,"b",null,true],"c":{"d":"e"}}', b'"text"', b'{"exit":true}')


def record(machine: Interpreter, client: java_client.JavaClient, say: Callable[[str], None]) -> None:
    """Make the archive for one virtual machine; a failure is told, and costs some milliseconds at each start."""
    name = f"Java {'.'.join(map(str, machine.version))}"
    archive = Path(client.directory, "cds", java_client.archive_name(machine))
    try:
        for behind_fence in (True, False):
            status = asyncio.run(_rehearse(machine, client, behind_fence=behind_fence))
            if status != _CANNOT_FENCE:
                break
    except (OSError, TimeoutError) as error:
        say(f"{name}: no archive of classes, functions start more slowly ({str(error) or 'it took too long'})")
        return
    if status or not archive.is_file():
        say(f"{name}: no archive of classes, functions start more slowly (exit status {status})")
    else:
        archive.chmod(0o644)
        say(f"{name}: recorded what every start loads ({archive.stat().st_size >> 20} MiB)")


async def _rehearse(machine: Interpreter, client: java_client.JavaClient, *, behind_fence: bool) -> int:
    """Run the function of the rehearsal as a stem cell until it ends; return its exit status."""
    runtime = next(name for name in ("java25", "java21", "java17") if matching.match(name, (machine,)))
    match = matching.match(runtime, (machine,))
    assert match is not None
    files = plans.RuntimeFiles(directory="", sdk={}, sdk_oldest=(3, 8), java=java_client.JavaClient(client.directory, True))
    plan = plans.launch(match, memory_mib=512, customer={}, files=files, fenced=behind_fence)
    runtime_dir = plans.RUNTIME_DIR if behind_fence else client.directory
    archive = f"{runtime_dir}/cds/{java_client.archive_name(machine)}"
    program, *options = plan.stem_command
    argv = [program, f"-XX:ArchiveClassesAtExit={archive}", *options]
    events = iter(_EVENTS)
    asked = asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await _answer(reader, writer, events)
                asked.release()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    environment = {**plan.environment, "_HANDLER": "lambdad.Rehearsal::handleRequest", "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}"}
    facts = ("FUNCTION_NAME", "FUNCTION_VERSION", "LOG_GROUP_NAME", "LOG_STREAM_NAME")
    environment |= {f"AWS_LAMBDA_{name}": "rehearsal" for name in facts} | {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}
    environment["_LAMBDA_TELEMETRY_LOG_FD"] = "1"
    becoming = {"environment": environment, "cwd": f"{runtime_dir}/rehearsal"}
    reading, writing = os.pipe()
    try:
        async with server:
            process = await _start(argv, plan, client, reading, behind_fence=behind_fence)
            try:
                os.write(writing, json.dumps(becoming).encode() + b"\n")
                async with asyncio.timeout(_WITHIN_S):
                    return await process.wait()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
    finally:
        os.close(reading)
        os.close(writing)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, events: Any) -> None:
    """Be the Runtime API for one request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    _, _, length = head.partition("content-length:")
    if length:
        await reader.readexactly(int(length.split("\r\n")[0]))
    if head.startswith("get"):
        body = next(events, _EVENTS[-1])
        more = "Lambda-Runtime-Aws-Request-Id: rehearsal\r\nLambda-Runtime-Invoked-Function-Arn: arn\r\n"
        more += "Lambda-Runtime-Deadline-Ms: 4102444800000\r\nLambda-Runtime-Trace-Id: Root=1-0-0\r\n"
        writer.write(_HEAD.format(status="200 OK", size=len(body), more=more).encode() + body)
    else:
        writer.write(_HEAD.format(status="202 Accepted", size=0, more="").encode())
    await writer.drain()


async def _start(
    argv: list[str], plan: plans.RuntimePlan, client: java_client.JavaClient, stem_fd: int, *, behind_fence: bool
) -> asyncio.subprocess.Process:
    environment = {**plan.template_environment, "LAMBDAD_STEM_FD": str(stem_fd)}
    if not behind_fence:
        return await asyncio.create_subprocess_exec(*argv, env=environment, pass_fds=(stem_fd,), stdout=subprocess.DEVNULL)
    binds = [[bind.source, bind.target, True] for bind in plan.binds]
    binds.append([f"{client.directory}/cds", f"{plans.RUNTIME_DIR}/cds", False])
    order = json.dumps({"argv": argv, "environment": environment, "binds": binds})
    with tempfile.TemporaryFile() as given:
        given.write(order.encode())
        given.seek(0)
        command = [sys.executable, "-P", "-m", __name__]
        return await asyncio.create_subprocess_exec(*command, stdin=given, stdout=subprocess.DEVNULL, pass_fds=(stem_fd,))


def main() -> None:
    """Become the fenced program that standard input describes; exits with 126 if that cannot be."""
    order = json.load(sys.stdin)
    try:
        fenced.execute(
            fenced.Fenced(
                argv=tuple(order["argv"]),
                environment=order["environment"],
                binds=tuple(spec.Bind(source, target, read_only) for source, target, read_only in order["binds"]),
                proc=True,
            )
        )
    except fenced.FenceFailed as refused:
        sys.stderr.write(f"{refused}\n")
        raise SystemExit(_CANNOT_FENCE) from refused


if __name__ == "__main__":
    main()

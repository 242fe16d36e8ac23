"""Compiling Python modules ahead of their first import: in a stem cell, like a function, because sources are a stranger's bytes.

What comes out of it is not looked at here; it goes on to the server, which has no privileges, in pieces.
"""

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

from lambdad.sandbox import fence
from lambdad.wire import frames

if TYPE_CHECKING:
    from lambdad.worker.host import Kitchen, ServerConnection

log = logging.getLogger("lambdad.worker")

WITHIN_S = 120.0
PIECE_BYTES = 64 * 1024
MOST_BYTES = 256 * 1024 * 1024
BACKLOG_BYTES = 1024 * 1024  # for the server to read; answers are not to wait behind this
_WAIT_S = 0.005


async def run(message: frames.Compile, kitchen: "Kitchen", connection: "ServerConnection") -> None:
    """Compile a directory and send what was made; Compiled with `ended` is sent in any case."""
    try:
        async with asyncio.timeout(WITHIN_S):
            await _compile(message, kitchen, connection)
    except (OSError, TimeoutError, fence.AssignFailed) as error:
        log.warning("compiler.failed directory=%s error=%r", message.directory, error)
    finally:
        connection.send(frames.Compiled(job_id=message.job_id, ended=True), b"")


async def _compile(message: frames.Compile, kitchen: "Kitchen", connection: "ServerConnection") -> None:
    compiler = await kitchen.prepare_compiler(message.runtime, message.directory)
    if compiler is None:
        return
    sandbox, assignment = compiler
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sandbox.output, readable.set)
    sent = 0
    exited: asyncio.Task[Any] | None = None
    try:
        await sandbox.assign(assignment)
        exited = asyncio.ensure_future(sandbox.wait_exit())
        exited.add_done_callback(lambda _: readable.set())
        while sent < MOST_BYTES:
            readable.clear()
            ended = exited.done()
            try:
                piece = os.read(sandbox.output, PIECE_BYTES)
            except BlockingIOError:
                if ended:
                    return
                await readable.wait()
                continue
            connection.send(frames.Compiled(job_id=message.job_id), piece)
            sent += len(piece)
            while connection.unsent_bytes() > BACKLOG_BYTES:
                await asyncio.sleep(_WAIT_S)
    finally:
        if exited is not None:
            exited.cancel()
        loop.remove_reader(sandbox.output)
        await sandbox.kill()

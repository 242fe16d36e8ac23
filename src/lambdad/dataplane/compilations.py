"""Compilations under way at the worker: what is asked, what has come of each."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lambdad.wire import frames

AT_ONCE = 2  # so that deployments leave the worker's time to functions; others wait their turn


class Sink(Protocol):
    """Where the pieces go. Must not wait."""

    def __call__(self, piece: bytes) -> None: ...


@dataclass(slots=True)
class _Job:
    sink: Sink
    done: "asyncio.Future[bool]"


class Compilations:
    """Has the worker compile directories of the code store."""

    def __init__(self, send: Callable[[frames.ToWorker], bool]) -> None:
        self._send = send
        self._jobs: dict[str, _Job] = {}
        self._numbers = itertools.count(1)
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def compile(self, runtime: str, directory: str, sink: Sink) -> bool:
        """
        Have a directory compiled for a runtime, and give what comes of it to a sink, piece by piece.

        Returns:
            False when there is no worker, or it has gone meanwhile. True says that it has done what it could.

        Cancellation: what still comes is dropped.
        """
        async with self._turn:
            job_id = f"compile-{next(self._numbers)}"
            job = self._jobs[job_id] = _Job(sink, asyncio.get_running_loop().create_future())
            try:
                return self._send(frames.Compile(job_id=job_id, runtime=runtime, directory=directory)) and await job.done
            finally:
                del self._jobs[job_id]

    def heard(self, message: frames.Compiled, piece: bytes) -> None:
        """Take what the worker says of a job; of one that nobody waits for any more it is dropped."""
        job = self._jobs.get(message.job_id)
        if job is None or job.done.done():
            return
        if piece:
            job.sink(piece)
        if message.ended:
            job.done.set_result(True)

    def lost(self) -> None:
        """Note that the worker is gone."""
        for job in self._jobs.values():
            if not job.done.done():
                job.done.set_result(False)

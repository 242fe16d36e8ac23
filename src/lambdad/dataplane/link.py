"""The server's end of the connection to its worker: frames over a Unix socket, made again whenever it breaks."""

import asyncio
import logging
from pathlib import Path
from typing import Protocol

from lambdad.kit.gathering import GatheringWriter
from lambdad.wire import frames

log = logging.getLogger("lambdad.dataplane")

RETRY_S = 0.05


class Listener(Protocol):
    """Hears what the worker says, and when it comes and goes."""

    def worker_came(self, welcome: frames.Welcome) -> None: ...

    def worker_said(self, message: frames.ToServer, body: bytes) -> None: ...

    def worker_went(self) -> None: ...


class Link(asyncio.Protocol):
    """One connection at a time to the worker at a path.

    Until the worker's Welcome nothing may be sent; `capacity` is 0 until then. A worker that has `write_limit_bytes` to read and does not
    is given up, as if it had gone.
    """

    def __init__(self, path: Path, listener: Listener, write_limit_bytes: int = 256 * 1024 * 1024) -> None:
        self._path = path
        self._listener = listener
        self._write_limit_bytes = write_limit_bytes
        self._transport: asyncio.Transport | None = None
        self._writer: GatheringWriter | None = None
        self._parser = frames.FrameParser()
        self._gone: asyncio.Event = asyncio.Event()
        self.welcome: frames.Welcome | None = None

    @property
    def capacity(self) -> int:
        return self.welcome.max_environments if self.welcome is not None else 0

    def send(self, message: frames.ToWorker, body: bytes = b"") -> None:
        if self._writer is not None and self._transport is not None and self.welcome is not None:
            for piece in frames.encode(message, body):
                self._writer.write(piece)
            if self._writer.unsent_bytes() > self._write_limit_bytes:
                log.error("worker.stuck")
                self._transport.abort()

    async def run(self) -> None:
        """Keep a connection to the worker, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._gone.clear()
            try:
                await loop.create_unix_connection(lambda: self, str(self._path))
            except OSError:
                await asyncio.sleep(RETRY_S)
                continue
            try:
                await self._gone.wait()
            except asyncio.CancelledError:
                self._leave()
                raise

    def _leave(self) -> None:
        """Hang up, as opposed to being left."""
        self.welcome = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio's and uvloop's transports have no common class
        self._writer = GatheringWriter(transport)  # type: ignore[arg-type]
        self._parser = frames.FrameParser()

    def data_received(self, data: bytes) -> None:
        try:
            for message, body in self._parser.feed(data):
                if isinstance(message, frames.Welcome):
                    self.welcome = message
                    log.info("worker.came worker_id=%s isolation=%s", message.worker_id, message.isolation)
                    self._listener.worker_came(message)
                elif isinstance(message, frames.ToWorker):
                    raise frames.FrameError("a worker gave orders to the server")
                else:
                    self._listener.worker_said(message, body)
        except frames.FrameError:
            log.exception("worker.unreadable")
            assert self._transport is not None
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = self._writer = None
        if self.welcome is not None:
            self.welcome = None
            log.warning("worker.went")
            self._listener.worker_went()
        self._gone.set()

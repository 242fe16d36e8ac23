"""The worker: one server connection, many environments. Takes orders as frames, and owns every environment that it makes.

When the server goes, so do the environments: what they ran is unknown to the next server, and what was acknowledged is run again.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

from lambdad.kit.clock import NowMs
from lambdad.kit.gathering import GatheringWriter
from lambdad.machines import environment as machine
from lambdad.wire import frames
from lambdad.worker import compiling, endpoint, output, ports, snapshots, telemetry
from lambdad.worker.environment import Environment
from lambdad.worker.restored import RestoredEnvironment

log = logging.getLogger("lambdad.worker")

LOG_FLUSH_S = 0.04
LOG_RETRY_S = 0.005
LOG_BACKLOG_BYTES = 256 * 1024
SWEEP_S = 0.25
PREPARE_WITHIN_S = 1.0  # then a function has to do without
LOAD_EVERY = 4  # sweeps
SPARE_ENVIRONMENTS = 16  # the server keeps count of them; twice what it was told, and these, is the most that it gets
WRITE_LIMIT_BYTES = 256 * 1024 * 1024  # a server that reads no more is gone


class NoRuntime(Exception):
    """Nothing on this machine runs a runtime; the text says what is missing and how to add it."""


Prepared: TypeAlias = ports.Prepared


class Kitchen(Protocol):
    """Makes environments: interpreters, templates, sandboxes."""

    async def prepare(self, spec: frames.EnvironmentSpec) -> Prepared:
        """Return a stem cell for a specification.

        Raises:
            NoRuntime: nothing here runs it.
            OSError: the kernel refused.
        """
        ...

    async def expect(self, runtime: str, memory_mib: int) -> None:
        """Hear that functions of a runtime and a memory size will be invoked soon; return when the first can be started swiftly.

        Never fails: where nothing can be made ready, there is nothing to wait for.
        """
        ...

    async def prepare_compiler(self, runtime: str, directory: str) -> tuple[ports.Sandbox, Any] | None:
        """
        Return a stem cell and an assignment that makes it write compiled modules to its output; None where there is nothing to compile.

        Raises:
            OSError: the kernel refused.
        """
        ...


class Worker:
    """Serves one server at a time on a Unix socket. A second connection replaces the first."""

    def __init__(
        self,
        kitchen: Kitchen,
        welcome: frames.Welcome,
        tasks: asyncio.TaskGroup,
        *,
        now_ms: NowMs,
        freeze_after_s: float,
        may_connect: Callable[[socket.socket], bool],
        upstream: tuple[str, int],
        most_snapshots: int = 0,
        read_load: Callable[[], frames.Load | None] = lambda: None,
    ) -> None:
        self.environments: dict[str, Environment] = {}
        self._kitchen = kitchen
        self._welcome = welcome
        self._tasks = tasks
        self._now_ms = now_ms
        self._freeze_after_s = freeze_after_s
        self._may_connect = may_connect
        self._upstream = endpoint.Upstream(*upstream)
        self._read_load = read_load
        self._loop = asyncio.get_running_loop()
        self._telemetry = telemetry.Budget()
        self._logs = output.LogBuffer(self._logs_waiting, self._logs_much)
        self._log_timer: asyncio.TimerHandle | None = None
        self._connection: ServerConnection | None = None
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._errands: set[asyncio.Task[None]] = set()  # what need not be done when the worker ends
        self._snapshots = snapshots.Snapshots(kitchen.prepare, tasks, self._logs, now_ms, self._upstream, most_snapshots)

    def accept(self) -> "ServerConnection":
        """Make the protocol of a connection that was just accepted."""
        return ServerConnection(self)

    def connected(self, connection: "ServerConnection", sock: socket.socket) -> bool:
        """Take a connection, or refuse it because of who is at its other end."""
        if not self._may_connect(sock):
            log.error("server.refused")
            return False
        if self._connection is not None:
            self._connection.close()
            self._drop_environments()
        self._connection = connection
        connection.send(self._welcome, b"")
        log.info("server.connected")
        return True

    def disconnected(self, connection: "ServerConnection") -> None:
        if connection is self._connection:
            self._connection = None
            log.info("server.disconnected environments=%d", len(self.environments))
            self._drop_environments()

    def _drop_environments(self) -> None:
        for task in self._starting.values():
            task.cancel()
        self._starting.clear()
        environments, self.environments = self.environments, {}
        for environment in environments.values():
            environment.stop()

    def heard(self, message: frames.AnyMessage, body: bytes) -> None:
        match message:
            case frames.Invoke(environment_id=environment_id):
                environment = self.environments.get(environment_id)
                if environment is not None:
                    try:
                        environment.invoke(message, body)
                    except machine.IllegalEvent as error:
                        raise frames.FrameError(f"an invocation for an environment that has one: {error}") from error
            case frames.Start(spec=spec) if spec.environment_id in self._starting or spec.environment_id in self.environments:
                raise frames.FrameError(f"a second environment {spec.environment_id[:64]}")
            case frames.Start(spec=spec) if len(self._running) >= 2 * self._welcome.max_environments + SPARE_ENVIRONMENTS:
                if self._connection is not None:
                    self._connection.send(frames.Stopped(environment_id=spec.environment_id, reason="not made: too many"), b"")
            case frames.Start(spec=spec):
                task = self._tasks.create_task(self._run(spec, self._connection))
                self._starting[spec.environment_id] = task
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            case frames.Stop(environment_id=environment_id):
                environment = self.environments.get(environment_id)
                if environment is not None:
                    environment.stop()
                elif environment_id in self._starting:
                    self._starting.pop(environment_id).cancel()
            case frames.Prepare():
                self._send_on_errand(self._prepare(message, self._connection))
            case frames.Compile():
                if self._connection is not None:
                    self._send_on_errand(compiling.run(message, self._kitchen, self._connection))
            case frames.Build(spec=spec):
                self._send_on_errand(self._build(spec, self._connection))
            case frames.Forget(snapshot=snapshot):
                self._snapshots.forget(snapshot)
            case _:
                raise frames.FrameError(f"a server said {type(message).__name__}")

    def _send_on_errand(self, work: Coroutine[Any, Any, None]) -> None:
        errand = self._tasks.create_task(work)
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _prepare(self, asked: frames.Prepare, connection: "ServerConnection | None") -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PREPARE_WITHIN_S):
                await self._kitchen.expect(asked.runtime, asked.memory_mib)
        if connection is not None and connection is self._connection:
            connection.send(frames.Prepared(runtime=asked.runtime, memory_mib=asked.memory_mib), b"")

    async def _run(self, spec: frames.EnvironmentSpec, connection: "ServerConnection | None") -> None:
        """Make an environment and stay with it to its end. Whatever happens, the server hears Stopped."""

        def send(message: frames.ToServer, body: bytes) -> None:
            if connection is not None and connection is self._connection:
                if isinstance(message, frames.Stopped):
                    while self._logs:
                        self._send_log_batch()
                connection.send(message, body)

        environment_id = spec.environment_id
        copy: snapshots.Copy | None = None
        try:
            if spec.snapshot:
                copy = await self._snapshots.take(spec.snapshot)
            prepared = await self._kitchen.prepare(spec) if copy is None else replace(copy.kept.prepared, sandbox=copy.sandbox)
        except NoRuntime as error:
            send(frames.Stopped(environment_id=environment_id, reason=f"no runtime: {error}"), b"")
            return
        except (OSError, asyncio.CancelledError) as error:
            if isinstance(error, OSError):
                log.error("environment.unmade environment_id=%s error=%s", environment_id, error)
            send(frames.Stopped(environment_id=environment_id, reason=f"not made: {error}"), b"")
            return
        except Exception as error:
            # Safe to go on: what cannot be made out of a specification is not made; nothing of it is there yet.
            log.exception("environment.unmade environment_id=%s", environment_id)
            send(frames.Stopped(environment_id=environment_id, reason=f"not made: {type(error).__name__}"), b"")
            return
        finally:
            self._starting.pop(environment_id, None)
        notices = prepared.notices
        if spec.snapshot and copy is None:
            if self._snapshots.is_missing(spec.snapshot):
                send(frames.SnapshotMissing(environment_id=environment_id), b"")
            notices += tuple(filter(None, [self._snapshots.notice(spec.snapshot)]))
        environment = (Environment if copy is None else RestoredEnvironment)(
            spec,
            prepared.sandbox,
            prepared.assignment,
            prepared.limits,
            runtime_version=prepared.runtime_version,
            runtime_version_arn=prepared.runtime_version_arn,
            notices=notices,
            program=prepared.program,
            missing_program=prepared.missing_program,
            extension_programs=prepared.extensions,
            telemetry_budget=self._telemetry,
            credentials_token=prepared.credentials_token,
            upstream=self._upstream,
            send=send,
            logs=self._logs,
            now_ms=self._now_ms,
        )
        try:
            if connection is not self._connection:
                await prepared.sandbox.kill()
                return
            self.environments[environment_id] = environment
            if copy is not None and isinstance(environment, RestoredEnvironment):
                environment.snapshot_bytes = copy.kept.memory_bytes
            await environment.run()
        finally:
            self.environments.pop(environment_id, None)
            if copy is not None:
                self._snapshots.ended(copy, environment.lost if isinstance(environment, RestoredEnvironment) else "")

    async def _build(self, spec: frames.EnvironmentSpec, connection: "ServerConnection | None") -> None:
        """Run the Init phase of a version with SnapStart. Whatever happens, the server hears Built."""
        environment_id = spec.environment_id
        try:
            built = await self._snapshots.build(spec)
        except NoRuntime as error:
            built = frames.Built(environment_id=environment_id, error_type="InvalidRuntime", reason=str(error))
        except (OSError, asyncio.CancelledError) as error:
            log.error("snapshot.unmade environment_id=%s error=%s", environment_id, error)
            reason = f"The snapshot could not be made: {error}"
            built = frames.Built(environment_id=environment_id, error_type="InternalError", reason=reason)
        if connection is not None and connection is self._connection:
            while self._logs:
                self._send_log_batch()
            connection.send(built, b"")

    # Logs.
    def _logs_waiting(self) -> None:
        if self._log_timer is None:
            self._log_timer = self._loop.call_later(LOG_FLUSH_S, self._flush_logs)

    def _logs_much(self) -> None:
        if self._log_timer is not None:
            self._log_timer.cancel()
        self._log_timer = self._loop.call_later(0, self._flush_logs)

    def _flush_logs(self) -> None:
        """Send what has come, as far as the server keeps up: answers are not to wait behind logs."""
        self._log_timer = None
        connection = self._connection
        while self._logs and (connection is None or connection.unsent_bytes() < LOG_BACKLOG_BYTES):
            self._send_log_batch()
        if self._logs:
            self._log_timer = self._loop.call_later(LOG_RETRY_S, self._flush_logs)

    def _send_log_batch(self) -> None:
        events = self._logs.take()
        if self._connection is not None:
            self._connection.send(frames.LogEvents(events=events), b"")

    async def close(self) -> None:
        """End every environment, and return when they are gone."""
        for errand in self._errands:
            errand.cancel()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._drop_environments()
        while ending := self._running | self._errands:
            await asyncio.wait(ending)
        await self._snapshots.close()

    async def sweep(self) -> None:
        """Freeze what is idle, and tell the server of the machine's memory, until cancelled."""
        rounds = 0
        while True:
            await asyncio.sleep(SWEEP_S)
            rounds += 1
            if rounds % LOAD_EVERY == 0 and self._connection is not None and (load := self._read_load()) is not None:
                self._connection.send(load, b"")
            idle_before_s = self._loop.time() - self._freeze_after_s
            for environment in list(self.environments.values()):
                environment.freeze_if_idle(idle_before_s)


class ServerConnection(asyncio.Protocol):
    """The worker's end of a connection to the server."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._parser = frames.FrameParser()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio's and uvloop's transports have no common class
        self._writer = GatheringWriter(transport)  # type: ignore[arg-type]
        if not self._worker.connected(self, transport.get_extra_info("socket")):
            self.close()

    def data_received(self, data: bytes) -> None:
        try:
            for message, body in self._parser.feed(data):
                self._worker.heard(message, body)
        except frames.FrameError:
            log.exception("server.unreadable")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._worker.disconnected(self)

    def send(self, message: frames.ToServer, body: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        for piece in frames.encode(message, body):
            self._writer.write(piece)
        if self._writer.unsent_bytes() > WRITE_LIMIT_BYTES:
            transport.abort()

    def unsent_bytes(self) -> int:
        """Return how much the server has yet to read."""
        return self._writer.unsent_bytes() if self._transport is not None else 0

    def close(self) -> None:
        if self._transport is not None:
            self._writer.flush()
            self._transport.close()

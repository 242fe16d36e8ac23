"""The driver of one execution environment: feeds its machine with what happens, and carries out what it commands.

Resource handling: an `Environment` owns its sandbox, its Runtime API connections and its timer from `run` to the end of `run`.
"""

import asyncio
import contextlib
import errno
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lambdad.kit.clock import NowMs
from lambdad.machines import environment as machine
from lambdad.machines import platform_text
from lambdad.sandbox import fence
from lambdad.sandbox import spec as sandbox_spec
from lambdad.wire import frames
from lambdad.worker import endpoint, output, platform_log, runtime_api
from lambdad.worker.ports import Exit, Sandbox

log = logging.getLogger("lambdad.worker")

LEAVE_WITHIN_S = 0.1
_MIB = 1024 * 1024


@dataclass(slots=True)
class _Invocation:
    """The invocation that is being run: what came in, and what is known of how it ended."""

    invoke: frames.Invoke
    payload: bytes
    tail: output.Tail | None
    started: bool = False
    answer: bytes = b""
    error_type: str = ""


class Environment:
    """One execution environment. `invoke` and `stop` are called by the worker's host; the rest happens by itself."""

    def __init__(
        self,
        spec: frames.EnvironmentSpec,
        sandbox: Sandbox,
        assignment: Any,
        limits: Any,
        *,
        runtime_version: str,
        runtime_version_arn: str,
        send: Callable[[frames.ToServer, bytes], None],
        logs: output.LogBuffer,
        now_ms: NowMs,
        upstream: endpoint.Upstream,
        notices: tuple[str, ...] = (),
        program: str = "",
        missing_program: str = "",
    ) -> None:
        self.spec = spec
        self.connections: set[runtime_api.RuntimeApi] = set()
        self.idle_since_s: float | None = None  # loop time; None while it runs, is frozen or is gone
        self._sandbox = sandbox
        self._assignment = assignment
        self._limits = limits
        self._send = send
        self._logs = logs
        self._now_ms = now_ms
        self._upstream = upstream
        self._notices = notices
        self._program = program
        self._missing_program = missing_program
        self._loop = asyncio.get_running_loop()
        self._state = machine.begin(time.monotonic())
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0
        self._poll: runtime_api.RuntimeApi | None = None
        self._current: _Invocation | None = None
        self._actions: asyncio.Queue[machine.Command | None] = asyncio.Queue()  # at most a few: the machine never repeats itself
        self._failure = ("", b"")  # type and payload of an error that the runtime posted in Init
        self._exit: Exit | None = None
        self._init_ms: float | None = None  # of a cold start, until it has been reported
        self._unstarted = ""  # why the runtime's program could not be started
        self._frozen = False
        self._launches = 0
        self._reader = output.OutputReader(sandbox.output, now_ms, self._emit)
        self._platform = platform_log.PlatformLog(spec, runtime_version, runtime_version_arn, self._emit_now, now_ms)

    # What the host calls.
    async def run(self) -> None:
        """Initialise, serve until stopped, and leave nothing behind. Announces itself Ready, and at the end Stopped."""
        reason = "stopped"
        relay = endpoint.Relay(self._upstream)
        server = await self._loop.create_server(lambda: runtime_api.RuntimeApi(self), sock=self._sandbox.runtime_listener)
        relay_server = await self._loop.create_server(relay.accept, sock=self._sandbox.endpoint_listener)
        self._loop.add_reader(self._sandbox.output, self._output_ready)
        watcher: asyncio.Task[None] | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                self._platform.init_start()
                for notice in self._notices:
                    self._emit_now(notice)
                limit_s = machine.init_limit_s(self.spec.initialization_type, self.spec.timeout_s)
                self._state = machine.begin(time.monotonic(), limit_s)
                self._set_timer()
                try:
                    await self._launch(self._sandbox.assign)
                    watcher = tasks.create_task(self._watch(self._launches))
                    while (command := await self._actions.get()) is not None:
                        match command:
                            case machine.KillRuntime():
                                await self._let_leave()
                                await self._sandbox.stop_runtime()
                                watcher.cancel()
                                self._hang_up()
                            case machine.Relaunch():
                                await self._launch(self._sandbox.respawn)
                                watcher = tasks.create_task(self._watch(self._launches))
                            case machine.KillEnvironment():
                                break
                except fence.AssignFailed as error:
                    # The fence itself is gone; where its first process has the function's own user, a function can do that.
                    log.warning("environment.lost environment_id=%s error=%s", self.spec.environment_id, error)
                    reason = f"lost: {error}"
                if watcher is not None:
                    watcher.cancel()
        except Exception as error:
            # Safe to go on: one environment is given up, with its sandbox; the others share nothing with it.
            log.exception("environment.failed environment_id=%s", self.spec.environment_id)
            reason = f"failed: {type(error).__name__}"
        finally:
            self._clear_timer()
            self._state = machine.Environment(machine.State.STOPPED)
            self._loop.remove_reader(self._sandbox.output)
            self._reader.drain()
            self._reader.flush()
            self._hang_up()
            server.close()
            relay_server.close()
            relay.close()
            await self._sandbox.kill()
            lost = self._current.invoke.request_id if self._current is not None and self._current.started else ""
            self._send(frames.Stopped(environment_id=self.spec.environment_id, reason=reason, request_id=lost), b"")

    def invoke(self, invoke: frames.Invoke, payload: bytes) -> None:
        """Run an invocation; its Answer is sent when it has ended, or Stopped when the environment has."""
        if self._state.state is machine.State.STOPPED:
            return
        self._thaw()
        self._current = _Invocation(invoke, payload, output.Tail() if invoke.want_tail else None)
        self._feed(machine.InvokeArrived(invoke.request_id, float(self.spec.timeout_s)))

    def stop(self) -> None:
        self._thaw()
        self._feed(machine.StopAsked())

    def freeze_if_idle(self, idle_before_s: float) -> None:
        """Stop the clock for every process of an environment that has been idle since before a time."""
        if self.idle_since_s is not None and self.idle_since_s < idle_before_s:
            self.idle_since_s = None
            self._frozen = True
            self._sandbox.freeze()

    # What the Runtime API calls.
    def next_called(self, connection: runtime_api.RuntimeApi) -> None:
        self._poll = connection
        self._feed(machine.NextCalled())

    def poll_lost(self, connection: runtime_api.RuntimeApi) -> None:
        if connection is self._poll:
            self._poll = None
            self._feed(machine.PollLost())

    def response_posted(self, request_id: str, body: bytes, content_type: str) -> None:
        self._expect(request_id).answer = body
        self._feed(machine.ResponsePosted(request_id))

    def error_posted(self, request_id: str, body: bytes, error_type: str) -> None:
        current = self._expect(request_id)
        current.answer, current.error_type = body, error_type
        self._feed(machine.ErrorPosted(request_id))

    def oversize_posted(self, request_id: str) -> None:
        self._expect(request_id)
        self._feed(machine.OversizePosted(request_id))

    def init_error_posted(self, body: bytes, error_type: str) -> None:
        self._failure = (error_type, body)
        self._feed(machine.InitErrorPosted())

    def _hang_up(self) -> None:
        """Close what processes left behind that are no more."""
        self._poll = None
        for connection in list(self.connections):
            connection.close()

    def _expect(self, request_id: str) -> _Invocation:
        current = self._current
        if current is None or current.invoke.request_id != request_id or not current.started:
            raise runtime_api.UnknownRequest
        return current

    # The machine.
    def _feed(self, event: machine.Event) -> None:
        self._state, commands = machine.step(self._state, event, time.monotonic())
        for command in commands:
            match command:
                case machine.Deliver():
                    self._deliver()
                case machine.Finish():
                    self._finish(command)
                case machine.Announce(init_s):
                    if self._state.state is machine.State.READY:
                        self._init_ms = init_s * 1000
                    self._send(frames.Ready(environment_id=self.spec.environment_id, init_ms=init_s * 1000), b"")
                    self._limit()
                case machine.ReportInit():
                    self._report_init(command)
                case machine.KillRuntime():
                    self._launches += 1  # from here on, the end of the present process is nobody's news
                    self._actions.put_nowait(command)
                case _:
                    self._actions.put_nowait(command)
        self._set_timer()
        idle = self._state.request_id is None and self._state.state in (machine.State.READY, machine.State.SETTLING)
        self.idle_since_s = self._loop.time() if idle else None

    def _limit(self) -> None:
        try:
            self._sandbox.limit(self._limits)
        except fence.AssignFailed as error:
            # Safe to go on: the limits of Init hold, which are wider in processor time alone.
            log.warning("environment.unlimited environment_id=%s error=%s", self.spec.environment_id, error)

    def _set_timer(self) -> None:
        deadline_s = self._state.deadline_s
        if deadline_s is None:
            self._clear_timer()
        elif self._timer is None or self._timer_at_s != deadline_s:
            self._clear_timer()
            self._timer_at_s = deadline_s
            self._timer = self._loop.call_later(max(deadline_s - time.monotonic(), 0.0), self._tick)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        self._feed(machine.Tick())

    # Carrying out.
    async def _launch(self, start: Callable[[Any], Any]) -> None:
        self._launches += 1
        self._exit = None
        self._failure = ("", b"")
        self._unstarted = ""
        try:
            await start(self._assignment)
        except fence.ExecFailed as error:
            log.info("runtime.unstarted environment_id=%s error=%s", self.spec.environment_id, error)
            if self._program:
                self._unstarted = self._missing_program or f"fork/exec {self._program}: {os.strerror(error.errno).lower()}"
            else:
                status = 127 if error.errno == errno.ENOENT else 126  # as a shell has it
                self._exit = sandbox_spec.Exit(status, None, False)
            self._feed(machine.Exited())

    async def _let_leave(self) -> None:
        """Give a runtime that has reported its own failure in Init a moment to hear the answer, say more, and exit."""
        if self._failure[0]:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_WITHIN_S):
                    await self._sandbox.wait_exit()
            self._reader.drain()

    async def _watch(self, launch: int) -> None:
        exit_ = await self._sandbox.wait_exit()
        if launch == self._launches:
            self._reader.drain()
            self._exit = exit_
            self._feed(machine.Exited())

    def _deliver(self) -> None:
        current, poll = self._current, self._poll
        assert current is not None and poll is not None
        self._poll = None
        invoke = current.invoke
        self._start(current)
        remaining_s = self._state.deadline_s - time.monotonic()  # type: ignore[operator]  # BUSY has a deadline
        headers = [
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", invoke.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(self._now_ms() + int(remaining_s * 1000))),
            ("Lambda-Runtime-Invoked-Function-Arn", invoke.invoked_arn),
            ("Lambda-Runtime-Trace-Id", invoke.trace_id),
        ]
        if invoke.client_context:
            headers.append(("Lambda-Runtime-Client-Context", invoke.client_context))
        poll.deliver(headers, current.payload)
        current.payload = b""

    def _start(self, current: _Invocation) -> None:
        if not current.started:
            current.started = True
            self._platform.start(current.invoke.request_id, current.invoke.invoked_arn)

    def _report_init(self, command: machine.ReportInit) -> None:
        status, error_type = "", ""
        if command.cause is not machine.Cause.SUCCESS:
            error_type, _, _ = self._platform_error(command.cause, "")
            status = "timeout" if command.cause is machine.Cause.TIMEOUT else "error"
            self._reader.drain()
        self._platform.init_report(
            init_ms=command.init_s * 1000, phase=command.phase, status=status, error_type="" if status == "timeout" else error_type
        )

    def _platform_error(self, cause: machine.Cause, request_id: str) -> tuple[str, str, bytes]:
        """Return type, text and payload of a failure that the runtime did not report itself (or reported in Init)."""
        if cause is machine.Cause.TIMEOUT:
            error_type, text = "Sandbox.Timedout", platform_text.timeout_text(self.spec.timeout_s)
        elif self._failure[1]:
            return self._failure[0], "", self._failure[1]
        elif self._unstarted:
            error_type, text = "Runtime.InvalidEntrypoint", self._unstarted
        else:
            exit_ = self._exit
            error_type = "Runtime.OutOfMemory" if exit_ is not None and exit_.oom else "Runtime.ExitError"
            text = platform_text.exit_text(exit_.code, exit_.signal) if exit_ is not None else platform_text.exit_text(None, None)
            return error_type, text, platform_text.platform_error("Runtime.ExitError", request_id, text)
        return error_type, text, platform_text.platform_error(error_type, request_id, text)

    def _finish(self, command: machine.Finish) -> None:
        current = self._current
        assert current is not None
        started = current.started
        request_id, cause = command.request_id, command.cause
        self._start(current)
        self._reader.drain()
        self._reader.flush()
        duration_ms = command.duration_s * 1000
        if cause is machine.Cause.TIMEOUT:
            duration_ms = self.spec.timeout_s * 1000.0  # what we took to notice is not the function's
        status = error_type = function_error = ""
        payload = current.answer
        match cause:
            case machine.Cause.SUCCESS:
                pass
            case machine.Cause.TOO_LARGE:
                payload, error_type = platform_text.response_too_large(), "Function.ResponseSizeTooLarge"
                function_error, status = "Unhandled", "error"
            case machine.Cause.FUNCTION_ERROR if started:
                error_type, function_error = current.error_type, "Unhandled"
            case _:
                error_type, text, payload = self._platform_error(cause, request_id)
                function_error, status = "Unhandled", "timeout" if cause is machine.Cause.TIMEOUT else "error"
                if text:
                    self._platform.failed(request_id, text, error_type, self._now_ms())
        init_ms, self._init_ms = self._init_ms, None
        report = platform_log.Report(
            request_id=request_id,
            duration_ms=duration_ms,
            billed_ms=platform_text.billed_ms(duration_ms, init_ms or 0.0),
            max_memory_mib=self._peak_mib(),
            init_ms=init_ms,
            status=status,
            error_type=error_type if status == "error" else "",
            succeeded=not function_error,
        )
        self._platform.end(report)
        self._current = None
        answer = frames.Answer(
            environment_id=self.spec.environment_id,
            request_id=request_id,
            function_error=function_error,
            error_type=error_type,
            duration_ms=duration_ms,
            billed_ms=report.billed_ms,
            init_ms=init_ms or 0.0,
            max_memory_mib=report.max_memory_mib,
            tail=current.tail.last_bytes() if current.tail is not None else b"",
        )
        self._send(answer, payload)

    def _peak_mib(self) -> int:
        peak_mib = math.ceil(self._sandbox.peak_memory_bytes() / _MIB)
        return min(max(peak_mib, 1), self.spec.memory_mib)

    # Output.
    def _output_ready(self) -> None:
        self._reader.drain(reads=1)  # then others get their turn
        if self._reader.ended:
            self._loop.remove_reader(self._sandbox.output)

    def _emit(self, at_ms: int, line: str, *, is_platforms: bool = False) -> None:
        self._logs.add(self.spec.environment_id, at_ms, line, is_platforms=is_platforms)
        if self._current is not None and self._current.tail is not None:
            self._current.tail.append(line)

    def _emit_now(self, line: str) -> None:
        self._emit(self._now_ms(), line, is_platforms=True)

    def _thaw(self) -> None:
        if self._frozen:
            self._frozen = False
            self._sandbox.thaw()

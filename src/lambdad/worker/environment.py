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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambdad.kit.clock import NowMs
from lambdad.machines import environment as machine
from lambdad.machines import extensions, json_lines, platform_text, telemetry
from lambdad.sandbox import fence
from lambdad.sandbox import spec as sandbox_spec
from lambdad.wire import frames
from lambdad.worker import endpoint, output, platform_log, role_credentials, runtime_api
from lambdad.worker.crew import Crew
from lambdad.worker.ports import Exit, Sandbox
from lambdad.worker.telemetry import Budget, Hub

log = logging.getLogger("lambdad.worker")

LEAVE_WITHIN_S = 0.1
AWAKE_FOR_TELEMETRY_S = 3.0  # how much later what is idle may be frozen, because telemetry has yet to be delivered
MAX_LATE_MS = 3_600_000  # a JSON line's own timestamp is taken for its time if it is not older
PROVISIONED = "provisioned-concurrency"  # an InitializationType: nobody waits for Init, and its environment is replaced when it fails
_MIB = 1024 * 1024


@dataclass(slots=True)
class _Ended:
    """How an invocation ended, for the caller and for the log."""

    payload: bytes
    error_type: str = ""
    function_error: str = ""
    status: str = ""


@dataclass(slots=True)
class _Invocation:
    """The invocation that is being run: what came in, and what is known of how it ended."""

    invoke: frames.Invoke
    payload: bytes
    tail: output.Tail | None
    began_s: float = 0.0  # when it came
    head_s: float = 0.0  # when the answer began to come, and when it had come; 0.0 where there is none
    posted_s: float = 0.0
    started: bool = False
    answer: bytes = b""
    error_type: str = ""
    ended: _Ended | None = None  # the runtime's answer, while extensions are still at work
    answered: bool = False
    runtime_done: bool = False  # that has been told


class Environment:
    """One execution environment. `invoke` and `stop` are called by the worker's host; the rest happens by itself."""

    LOST = "lost: "  # how the reason of a Stopped begins when the fence has gone

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
        extension_programs: Sequence[tuple[str, Any]] = (),
        telemetry_budget: Budget | None = None,
        credentials_token: str = "",
    ) -> None:
        self.spec = spec
        self.connections: set[runtime_api.RuntimeApi] = set()
        self.head_at_s = 0.0
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
        self._credentials_token = credentials_token
        self._reason = "stopped"  # what the server is told at the end
        self._restore: tuple[float, int] | None = None  # milliseconds of a restore, and those billed, until they have been reported
        self._loop = asyncio.get_running_loop()
        self._state = machine.begin(time.monotonic())
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0
        self._poll: runtime_api.RuntimeApi | None = None
        self._current: _Invocation | None = None
        self._actions: asyncio.Queue[extensions.Command | None] = asyncio.Queue()  # at most a few: the machine never repeats itself
        self._failure = ("", b"")  # type and payload of an error that the runtime posted in Init
        self._exit: Exit | None = None
        self._init_ms: float | None = None  # of a cold start, until it has been reported
        self._unstarted = ""  # why the runtime's program could not be started
        self._frozen = False
        self._launches = 0
        self._is_ahead = spec.initialization_type == PROVISIONED
        self._reader = output.OutputReader(sandbox.output, now_ms, self._emit, self._emit_framed)
        self._hub = Hub(sandbox.open_socket, sandbox.own_address, telemetry_budget or Budget(), now_ms, self._telemetry_lost)
        self._platform = platform_log.PlatformLog(spec, runtime_version, runtime_version_arn, self._emit_now, now_ms, self._hub)
        self.crew = Crew(self, spec, sandbox, extension_programs, limits, self._platform, self._hub, now_ms)
        self._json = spec.log_format == "JSON"
        self._least_level = json_lines.LEVELS.get(spec.application_log_level, json_lines.INFO)
        self._figures = (0.0, 0, 0.0)  # of the invocation that ended last: duration and extensions in ms, what is billed between

    # What the host calls.
    async def run(self) -> None:
        """Initialise, serve until stopped, and leave nothing behind. Announces itself Ready, and at the end Stopped."""
        relay = endpoint.Relay(self._upstream)
        server = await self._loop.create_server(lambda: runtime_api.RuntimeApi(self), sock=self._sandbox.runtime_listener)
        relay_server = await self._loop.create_server(relay.accept, sock=self._sandbox.endpoint_listener)
        self._loop.add_reader(self._sandbox.output, self._output_ready)
        watcher: asyncio.Task[None] | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                self._begin()
                self._set_timer()
                try:
                    first = self.crew.begin()
                    for one in first:
                        self._actions.put_nowait(one)
                    if not first:
                        await self._launch(self._put_to_work)
                        watcher = tasks.create_task(self._watch(self._launches))
                    while (command := await self._actions.get()) is not None:
                        match command:
                            case machine.KillRuntime():
                                await self._let_leave()
                                await self._sandbox.stop_runtime()
                                if watcher is not None:
                                    watcher.cancel()
                                self.crew.forget()
                                self._hang_up()
                            case machine.Relaunch():
                                await self._launch(self._sandbox.respawn)
                                watcher = tasks.create_task(self._watch(self._launches))
                            case extensions.Launch(anew=anew):
                                self._failure = ("", b"")
                                await (self._sandbox.renew() if anew else self._sandbox.place(self._assignment))
                                await self.crew.launch(command, tasks.create_task)
                            case extensions.StartRuntime():
                                await self._launch(self._sandbox.assign)
                                watcher = tasks.create_task(self._watch(self._launches))
                            case machine.KillEnvironment():
                                break
                except fence.AssignFailed as error:
                    # The fence itself is gone; where its first process has the function's own user, a function can do that.
                    log.warning("environment.lost environment_id=%s error=%s", self.spec.environment_id, error)
                    self._reason = f"{self.LOST}{error}"
                if watcher is not None:
                    watcher.cancel()
                self.crew.drain()
                self.crew.forget()
        except Exception as error:
            # Safe to go on: one environment is given up, with its sandbox; the others share nothing with it.
            log.exception("environment.failed environment_id=%s", self.spec.environment_id)
            self._reason = f"failed: {type(error).__name__}"
        finally:
            self._clear_timer()
            self._state = machine.Environment(machine.State.STOPPED)
            self._loop.remove_reader(self._sandbox.output)
            self._reader.drain()
            self._reader.flush()
            self.crew.forget()
            self.crew.state = None
            self._hub.close()
            self._hang_up()
            server.close()
            relay_server.close()
            relay.close()
            await self._sandbox.kill()
            current = self._current
            lost = current.invoke.request_id if current is not None and current.started and not current.answered else ""
            self._send(frames.Stopped(environment_id=self.spec.environment_id, reason=self._reason, request_id=lost), b"")

    def _begin(self) -> None:
        """Write what the log begins with, and begin the first phase."""
        self._platform.init_start()
        for notice in self._notices:
            self._emit_now(notice)
        limit_s = machine.init_limit_s(self.spec.initialization_type, self.spec.timeout_s)
        self._state = machine.begin(time.monotonic(), limit_s)

    async def _put_to_work(self, assignment: Any) -> None:
        await self._sandbox.assign(assignment)

    def invoke(self, invoke: frames.Invoke, payload: bytes) -> None:
        """Run an invocation; its Answer is sent when it has ended, or Stopped when the environment has."""
        if self._state.state is machine.State.STOPPED:
            return
        self._thaw()
        self._current = _Invocation(invoke, payload, output.Tail() if invoke.want_tail else None, time.monotonic())
        self._feed(machine.InvokeArrived(invoke.request_id, float(self.spec.timeout_s)))

    def stop(self) -> None:
        self._thaw()
        self._feed(machine.StopAsked())

    def freeze_if_idle(self, idle_before_s: float) -> None:
        """Stop the clock for every process of an environment that has been idle since before a time."""
        if self.idle_since_s is not None and self.idle_since_s < idle_before_s:
            if self._hub.pending() and self.idle_since_s > idle_before_s - AWAKE_FOR_TELEMETRY_S:
                self._hub.flush()
                return
            self._hub.pause()
            self.idle_since_s = None
            self._frozen = True
            self._sandbox.freeze()

    # What the Runtime API calls.
    def next_called(self, connection: runtime_api.RuntimeApi) -> None:
        self._poll = connection
        current = self._current
        if current is not None and current.ended is not None and not current.runtime_done:
            self._tell_runtime_done(current, current.ended)
        self._feed(machine.NextCalled())

    def poll_lost(self, connection: runtime_api.RuntimeApi) -> None:
        if connection is self._poll:
            self._poll = None
            self._feed(machine.PollLost())

    def response_posted(self, request_id: str, body: bytes, content_type: str) -> None:
        current = self._expect(request_id)
        current.answer, current.head_s, current.posted_s = body, self.head_at_s, time.monotonic()
        self._feed(machine.ResponsePosted(request_id))

    def error_posted(self, request_id: str, body: bytes, error_type: str) -> None:
        current = self._expect(request_id)
        current.answer, current.error_type = body, error_type
        current.head_s, current.posted_s = self.head_at_s, time.monotonic()
        self._feed(machine.ErrorPosted(request_id))

    def oversize_posted(self, request_id: str) -> None:
        self._expect(request_id)
        self._feed(machine.OversizePosted(request_id))

    def init_error_posted(self, body: bytes, error_type: str) -> None:
        before, self._failure = self._failure, (error_type, body)
        try:
            self._feed(machine.InitErrorPosted())
        except machine.IllegalEvent:
            self._failure = before
            raise

    def restore_next_called(self, connection: runtime_api.RuntimeApi) -> None:
        if not self.spec.snapshot:
            raise runtime_api.NoSuchThing
        connection.restored()  # what is initialised here runs here

    def restore_error_posted(self, body: bytes, error_type: str) -> None:
        if not self.spec.snapshot:
            raise runtime_api.NoSuchThing
        self.init_error_posted(body, error_type)

    def credentials(self, authorization: str) -> bytes:
        return role_credentials.answer(self.spec, self._credentials_token, authorization)

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

    # What the extensions' driver calls.
    def feed(self, event: extensions.Event) -> None:
        """Let something happen. Raises as the machines do."""
        self._feed(event)

    def event_facts(self) -> tuple[frames.Invoke, int]:
        """Return the invocation that runs, and its deadline in Unix time, ms."""
        assert self._current is not None
        return self._current.invoke, self._deadline_ms()

    def emit_extension_line(self, at_ms: int, line: str) -> None:
        """Take a line that an external extension has written."""
        if self._hub.listening:
            self._hub.line("extension", at_ms, line, as_object=self._json and json_lines.read(line) is not None)
        self._log_line(at_ms, line)

    def in_init(self) -> bool:
        crew = self.crew.state
        return self._state.state in (machine.State.INIT, machine.State.REINIT) and (crew is None or crew.shutdown is None)

    # The machine.
    def _feed(self, event: extensions.Event) -> None:
        commands: Sequence[extensions.Command]
        if self.crew.state is None and not isinstance(event, extensions.Register):
            self._state, commands = machine.step(self._state, event, time.monotonic())  # type: ignore[arg-type]  # the others want a crew
        else:
            self._state, commands = self.crew.step(event, self._state, time.monotonic())
        for command in commands:
            match command:
                case machine.Deliver():
                    self._deliver()
                case machine.Finish() | extensions.Conclude():
                    self._finish(command)
                case extensions.Respond():
                    self._respond(command)
                case extensions.Report():
                    self._report_late(command)
                case extensions.Free(request_id):
                    duration_ms, billed_ms, extensions_ms = self._figures
                    freed = frames.Freed(
                        environment_id=self.spec.environment_id,
                        request_id=request_id,
                        duration_ms=duration_ms,
                        billed_ms=billed_ms,
                        extensions_ms=extensions_ms,
                    )
                    self._send(freed, b"")
                case machine.Announce(init_s):
                    if self._state.state is machine.State.READY:
                        self._initialised(init_s)
                        self._hub.end_of_init()
                    elif self._is_ahead:
                        continue  # it is given up below
                    self._send(frames.Ready(environment_id=self.spec.environment_id, init_ms=init_s * 1000), b"")
                    self._limit()
                case machine.ReportInit():
                    self._report_init(command)
                case machine.KillRuntime():
                    self._launches += 1  # from here on, the end of the present process is nobody's news
                    self.crew.doom()
                    self._actions.put_nowait(command)
                case _:
                    if not self.crew.carry_out(command):
                        self._actions.put_nowait(command)
        if self._is_ahead and self._state.state is machine.State.RESET:
            self._give_up(commands)
            return
        self._set_timer()
        idle = self._state.request_id is None and self._state.state in (machine.State.READY, machine.State.SETTLING)
        self.idle_since_s = self._loop.time() if idle and (self.crew.state is None or self.crew.is_quiet) else None

    def _initialised(self, init_s: float) -> None:
        self._init_ms = init_s * 1000
        self._platform.init_report(init_ms=init_s * 1000, phase="init", status="", error_type="", is_ahead=self._is_ahead)

    def _give_up(self, commands: Sequence[object]) -> None:
        """End an environment whose runtime is gone, so that a warm one takes its place; whoever invoked it has his answer."""
        if any(isinstance(command, machine.Announce) for command in commands):
            self._reason = f"init failed: {self._failure[0] or 'Runtime.ExitError'}"
        self._feed(machine.StopAsked())

    def _limit(self) -> None:
        try:
            self._sandbox.limit(self._limits)
        except fence.AssignFailed as error:
            # Safe to go on: the limits of Init hold, which are wider in processor time alone.
            log.warning("environment.unlimited environment_id=%s error=%s", self.spec.environment_id, error)

    def _set_timer(self) -> None:
        crew = self.crew.state
        deadline_s = self._state.deadline_s if crew is None else extensions.deadline_s(crew, self._state)
        if crew is None and self._timer is not None and (deadline_s is None or deadline_s >= self._timer_at_s):
            return  # it comes too early, and is then set anew: cheaper than setting it twice for each invocation
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
        deadline_s = self._state.deadline_s
        if self.crew.state is None and (deadline_s is None or time.monotonic() < deadline_s):
            self._set_timer()  # it was an invocation's that has ended
        else:
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
        headers = [
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", invoke.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(self._deadline_ms())),
            ("Lambda-Runtime-Invoked-Function-Arn", invoke.invoked_arn),
            ("Lambda-Runtime-Trace-Id", invoke.trace_id),
        ]
        if invoke.client_context:
            headers.append(("Lambda-Runtime-Client-Context", invoke.client_context))
        poll.deliver(headers, current.payload)
        current.payload = b""

    def _deadline_ms(self) -> int:
        remaining_s = self._state.deadline_s - time.monotonic()  # type: ignore[operator]  # BUSY has a deadline
        return self._now_ms() + int(remaining_s * 1000)

    def _start(self, current: _Invocation) -> None:
        if not current.started:
            current.started = True
            self._platform.start(current.invoke.request_id, current.invoke.invoked_arn, current.invoke.trace_id)

    def _report_init(self, command: machine.ReportInit) -> None:
        status, error_type = "", ""
        if command.cause is not machine.Cause.SUCCESS:
            error_type, _, _ = self._platform_error(command.cause, "")
            status = "timeout" if command.cause is machine.Cause.TIMEOUT else "error"
            self._drain()
        else:
            self._hub.end_of_init()
        self._platform.init_report(
            init_ms=command.init_s * 1000, phase=command.phase, status=status, error_type="" if status == "timeout" else error_type
        )

    def _platform_error(self, cause: machine.Cause, request_id: str) -> tuple[str, str, bytes]:
        """Return type, text and payload of a failure that the runtime did not report itself (or reported in Init)."""
        if cause is machine.Cause.TIMEOUT:
            error_type, text = "Sandbox.Timedout", platform_text.timeout_text(self.spec.timeout_s)
        elif cause is machine.Cause.EXTENSION:
            fault = self.crew.fault()
            error_type, text = fault.error_type, fault.text
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

    def _drain(self) -> None:
        """Read what has been written up to now, the unfinished line included."""
        self._reader.drain()
        if self.crew.state is not None:
            self.crew.drain()
        self._reader.flush()

    def _finish(self, command: machine.Finish | extensions.Conclude) -> None:
        current = self._current
        assert current is not None
        ended = self._end(current, command.cause)
        duration_ms = self._duration_ms(command.cause, command.duration_s)
        if self._json or self._hub.listening:
            self._tell_runtime_done(current, ended, duration_ms)
        report = self._report(current, ended, duration_ms)
        self._current = None
        self._answer(current, ended, report, busy=isinstance(command, extensions.Conclude))

    def _respond(self, command: extensions.Respond) -> None:
        """Answer the caller while extensions are at work; one who wants the log's tail waits for the report that is its end."""
        current = self._current
        assert current is not None
        current.ended = self._end(current, command.cause)
        current.answered = current.tail is None
        if current.answered:
            self._answer(current, current.ended, self._figure(current, current.ended, command.duration_s * 1000), busy=True)

    def _report_late(self, command: extensions.Report) -> None:
        current = self._current
        assert current is not None and current.ended is not None
        answer = ended = current.ended
        if command.cause in (machine.Cause.TIMEOUT, machine.Cause.EXIT, machine.Cause.EXTENSION):
            ended = self._end(current, command.cause)
        if not current.runtime_done:
            self._tell_runtime_done(current, ended)
        self._drain()
        duration_ms = self._duration_ms(command.cause, command.duration_s)
        report = self._report(current, ended, duration_ms, command.extensions_s * 1000)
        self._current = None
        if not current.answered:
            self._answer(current, answer, report, busy=True)

    def _duration_ms(self, cause: machine.Cause, duration_s: float) -> float:
        # What we took to notice a timeout is not the function's.
        return self.spec.timeout_s * 1000.0 if cause is machine.Cause.TIMEOUT else duration_s * 1000

    def _end(self, current: _Invocation, cause: machine.Cause) -> _Ended:
        """Say how an invocation ended, and write what people look for if it did not end well."""
        started = current.started
        self._start(current)
        self._drain()
        match cause:
            case machine.Cause.SUCCESS:
                return _Ended(current.answer)
            case machine.Cause.TOO_LARGE:
                return _Ended(platform_text.response_too_large(), "Function.ResponseSizeTooLarge", "Unhandled", "error")
            case machine.Cause.FUNCTION_ERROR if started:
                return _Ended(current.answer, current.error_type, "Unhandled")
        request_id = current.invoke.request_id
        error_type, text, payload = self._platform_error(cause, request_id)
        if text:
            self._platform.failed(request_id, text, error_type, self._now_ms())
        return _Ended(payload, error_type, "Unhandled", "timeout" if cause is machine.Cause.TIMEOUT else "error")

    def _tell_runtime_done(self, current: _Invocation, ended: _Ended, duration_ms: float | None = None) -> None:
        current.runtime_done = True
        if not (self._json or self._hub.listening):
            return
        now_ms = self._now_ms()
        posted_ms = current.posted_s - current.began_s if current.posted_s else 0.0
        lasted_ms = duration_ms if duration_ms is not None else (time.monotonic() - current.began_s) * 1000
        spans: tuple[tuple[str, int, float], ...] = ()
        if current.posted_s:
            began_ms = now_ms - int((time.monotonic() - current.began_s) * 1000)
            latency_ms = max(current.head_s - current.began_s, 0.0) * 1000
            transfer_ms = (current.posted_s - max(current.head_s, current.began_s)) * 1000
            spans = (
                ("responseLatency", began_ms, latency_ms),
                ("responseDuration", began_ms + int(latency_ms), transfer_ms),
                ("runtimeOverhead", began_ms + int(posted_ms * 1000), max(lasted_ms - posted_ms * 1000, 0.0)),
            )
        done = platform_log.RuntimeDone(
            request_id=current.invoke.request_id,
            status=ended.status or ("error" if ended.function_error else "success"),
            error_type=ended.error_type if ended.function_error else "",
            duration_ms=lasted_ms,
            produced_bytes=len(current.answer) if current.posted_s else None,
            spans=spans,
            trace_id=current.invoke.trace_id,
        )
        self._platform.runtime_done(done)

    def _figure(self, current: _Invocation, ended: _Ended, duration_ms: float, extensions_ms: float | None = None) -> platform_log.Report:
        """Return the figures of an invocation as of now."""
        restore_ms, billed_restore_ms = self._restore or (None, 0)
        return platform_log.Report(
            request_id=current.invoke.request_id,
            duration_ms=duration_ms,
            billed_ms=platform_text.billed_ms(duration_ms, (0.0 if self._is_ahead else self._init_ms or 0.0) + billed_restore_ms),
            max_memory_mib=self._peak_mib(),
            init_ms=self._init_ms,
            restore_ms=restore_ms,
            billed_restore_ms=billed_restore_ms,
            status=ended.status,
            error_type=ended.error_type if ended.status == "error" else "",
            succeeded=not ended.function_error,
            extensions_ms=extensions_ms,
        )

    def _report(self, current: _Invocation, ended: _Ended, duration_ms: float, extensions_ms: float | None = None) -> platform_log.Report:
        """Write the end of an invocation."""
        report = self._figure(current, ended, duration_ms, extensions_ms)
        self._init_ms = self._restore = None
        self._figures = (report.duration_ms, report.billed_ms, extensions_ms or 0.0)
        self._platform.end(report, current.invoke.trace_id)
        return report

    def _answer(self, current: _Invocation, ended: _Ended, report: platform_log.Report, *, busy: bool) -> None:
        answer = frames.Answer(
            environment_id=self.spec.environment_id,
            request_id=report.request_id,
            function_error=ended.function_error,
            error_type=ended.error_type,
            duration_ms=report.duration_ms,
            billed_ms=report.billed_ms,
            init_ms=report.init_ms or 0.0,
            max_memory_mib=report.max_memory_mib,
            tail=current.tail.last_bytes() if current.tail is not None else b"",
            busy=busy,
        )
        self._send(answer, ended.payload)

    def _peak_mib(self) -> int:
        peak_mib = math.ceil(self._sandbox.peak_memory_bytes() / _MIB)
        return min(max(peak_mib, 1), self.spec.memory_mib)

    # Output.
    def _output_ready(self) -> None:
        self._reader.drain(reads=1)  # then others get their turn
        if self._reader.ended:
            self._loop.remove_reader(self._sandbox.output)

    def _emit(self, at_ms: int, line: str) -> None:
        """Take a line that the function has written."""
        as_object = False
        if self._json and (read := json_lines.read(line)) is not None:
            if read.level < self._least_level:
                return
            as_object = True
            if read.at_ms is not None and at_ms - MAX_LATE_MS <= read.at_ms <= at_ms:
                at_ms = read.at_ms
        if self._hub.listening:
            self._hub.line("function", at_ms, line, as_object=as_object)
        self._log_line(at_ms, line)

    def _emit_framed(self, at_ms: int, line: str) -> None:
        """Take a record that the function's runtime has written, filtered and stamped."""
        if self._hub.listening:
            self._hub.line("function", at_ms, line, as_object=self._json and json_lines.read(line) is not None)
        self._log_line(at_ms, line)

    def _log_line(self, at_ms: int, line: str, *, is_platforms: bool = False) -> None:
        self._logs.add(self.spec.environment_id, at_ms, line, is_platforms=is_platforms, as_json=self._json)
        if self._current is not None and self._current.tail is not None:
            self._current.tail.append(line)

    def _emit_now(self, line: str) -> None:
        self._log_line(self._now_ms(), line, is_platforms=True)

    def _telemetry_lost(self, record: Mapping[str, telemetry.Json]) -> None:
        self._platform.dropped(record)

    def _thaw(self) -> None:
        if self._frozen:
            self._frozen = False
            self._hub.resume()
            self._sandbox.thaw()

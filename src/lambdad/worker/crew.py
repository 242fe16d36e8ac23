"""The extensions of one environment: their programs, their polls and what waits for them.

Carries out what `machines.extensions` commands; the environment's own driver feeds the machine and tells when processes are gone.

Resource handling: programs and polls end with the environment's processes; `forget` is called when those are gone.
"""

import asyncio
import json
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from lambdad.kit.clock import NowMs
from lambdad.machines import environment as machine
from lambdad.machines import extensions, platform_text, telemetry
from lambdad.sandbox import fence
from lambdad.wire import frames
from lambdad.worker import extensions_api, output
from lambdad.worker.platform_log import PlatformLog
from lambdad.worker.ports import Launched, Sandbox
from lambdad.worker.telemetry import Hub

log = logging.getLogger("lambdad.worker")


class Environment(Protocol):
    """The driver of the environment that the extensions belong to."""

    def feed(self, event: extensions.Event) -> None: ...

    def event_facts(self) -> tuple[frames.Invoke, int]:
        """Return the invocation that runs, and its deadline in Unix time, ms."""
        ...

    def emit_extension_line(self, at_ms: int, line: str) -> None: ...

    def in_init(self) -> bool:
        """Say whether Init goes on: for as long as not everybody has asked for the first event."""
        ...


class Crew:
    """
    The extensions of one environment.

    Attributes:
        state: None for as long as there is no extension at all; then the environment's machine runs alone.
    """

    def __init__(
        self,
        environment: Environment,
        spec: frames.EnvironmentSpec,
        sandbox: Sandbox,
        programs: Sequence[tuple[str, Any]],
        limits: Any,
        platform: PlatformLog,
        hub: Hub,
        now_ms: NowMs,
    ) -> None:
        self.state: extensions.Crew | None = None
        self.account = spec.account
        self._environment = environment
        self._spec = spec
        self._sandbox = sandbox
        self._programs = dict(programs)
        self._limits = limits
        self._platform = platform
        self._hub = hub
        self._now_ms = now_ms
        self._loop = asyncio.get_running_loop()
        self._polls: dict[str, extensions_api.Connection] = {}  # by identifier
        self._waiting: dict[str, list[bytes]] = {}  # events for who is not polling, by identifier; one INVOKE and one SHUTDOWN at most
        self._running: dict[str, tuple[Launched, output.OutputReader]] = {}  # by name
        self._life = 0
        self._watchers: list[asyncio.Task[None]] = []

    def begin(self) -> list[extensions.Command]:
        """Begin Init; returns what is to be done first, nothing where there is no external extension."""
        if not self._programs:
            return []
        self.state, commands = extensions.begin(tuple(self._programs))
        return commands

    @property
    def is_quiet(self) -> bool:
        return self.state is None or extensions.is_quiet(self.state)

    # What the Extensions API calls.
    def register(self, name: str, events: tuple[str, ...]) -> str:
        """Register an extension and return its identifier. Raises `extensions.Refused`."""
        identifier = str(uuid.uuid4())
        self._environment.feed(extensions.Register(name, identifier, events))
        return identifier

    def has(self, identifier: str) -> bool:
        return self.state is not None and extensions.find(self.state, identifier) is not None

    def next_called(self, connection: extensions_api.Connection, identifier: str) -> None:
        waiting = self._waiting.get(identifier)
        if waiting:
            self._answer(connection, waiting.pop(0))
            return
        self._polls[identifier] = connection
        connection.extension_poll = identifier
        try:
            self._environment.feed(extensions.ExtensionNext(identifier))
        except extensions.Refused:
            self.poll_lost(connection, identifier)
            raise

    def poll_lost(self, connection: extensions_api.Connection, identifier: str) -> None:
        connection.extension_poll = ""
        if self._polls.get(identifier) is connection:
            del self._polls[identifier]

    def error_reported(self, identifier: str, error_type: str, *, in_init: bool) -> None:
        self._environment.feed(extensions.ErrorReported(identifier, error_type, in_init))

    def subscribe(self, identifier: str, subscription: telemetry.Subscription) -> None:
        """Subscribe an extension to telemetry. Raises `extensions.Refused` after Init, and through a second API."""
        assert self.state is not None, "an identifier that was not looked up"
        one = extensions.find(self.state, identifier)
        assert one is not None
        api = subscription.api
        other = self._hub.subscribed(identifier)
        if not self._environment.in_init() or (other is not None and other is not api):
            raise extensions.Refused(f"{api}.SubscriptionClosed", f"{api} API subscription is closed already")
        self._hub.subscribe(identifier, subscription)
        self._platform.subscribed(one.name, subscription)

    def about(self) -> dict[str, str]:
        return {"functionName": self._spec.function_name, "functionVersion": self._spec.version, "handler": self._spec.handler}

    # Carrying out.
    def carry_out(self, command: extensions.Command) -> bool:
        """Do what can be done at once; False: the command is another's, or takes time."""
        match command:
            case extensions.TellExtension(one):
                self._platform.extension(one.name, one.phase.value, one.events, one.error_type)
            case extensions.Notify(identifier):
                self._send(identifier, self._invoke_event())
            case extensions.NotifyShutdown(identifier, reason, until_s):
                deadline_ms = self._now_ms() + max(int((until_s - time.monotonic()) * 1000), 0)
                self._send(identifier, {"eventType": "SHUTDOWN", "shutdownReason": reason.value, "deadlineMs": deadline_ms})
            case extensions.SignalRuntime(number):
                self._sandbox.signal(number)
            case extensions.KillExtension(name):
                if name in self._running:
                    self._sandbox.signal(signal.SIGKILL, self._running[name][0])
            case extensions.ShutdownBegun():
                self._hub.resume()
                self._hub.flush()
            case _:
                return False
        return True

    def _invoke_event(self) -> dict[str, Any]:
        invoke, deadline_ms = self._environment.event_facts()
        return {
            "eventType": "INVOKE",
            "deadlineMs": deadline_ms,
            "requestId": invoke.request_id,
            "invokedFunctionArn": invoke.invoked_arn,
            "tracing": {"type": "X-Amzn-Trace-Id", "value": invoke.trace_id},
        }

    def _send(self, identifier: str, event: dict[str, Any]) -> None:
        body = json.dumps(event, separators=(",", ":")).encode()
        poll = self._polls.pop(identifier, None)
        if poll is None:
            self._waiting.setdefault(identifier, []).append(body)
        else:
            self._answer(poll, body)

    def _answer(self, connection: extensions_api.Connection, body: bytes) -> None:
        connection.extension_poll = ""
        headers = [("content-type", "application/json"), ("Lambda-Extension-Event-Identifier", str(uuid.uuid4()))]
        connection.respond(200, headers, body)

    async def launch(self, command: extensions.Launch, spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]) -> None:
        """Start the programs, one after the other. Raises `fence.AssignFailed` where the fence is lost."""
        if len(command.names) > extensions.MOST_EXTENSIONS:
            name = command.names[extensions.MOST_EXTENSIONS]
            text = f"Extension limit ({extensions.MOST_EXTENSIONS}) reached"
            self._environment.feed(extensions.LaunchFailed(name, extensions.Fault("TooManyExtensions", text)))
            return
        life = self._life
        for name in command.names:
            try:
                launched = await self._sandbox.launch(self._programs[name], self._limits)
            except fence.ExecFailed as error:
                text = f"fork/exec {self._programs[name].argv[0]}: {os.strerror(error.errno).lower()}"
                kind = "PermissionDenied" if error.errno in (1, 13) else "UnknownError"
                self._environment.feed(extensions.LaunchFailed(name, extensions.Fault("Extension.LaunchError", text), kind))
                return
            reader = output.OutputReader(launched.output, self._now_ms, self._environment.emit_extension_line)
            self._running[name] = (launched, reader)
            self._loop.add_reader(launched.output, self._readable, name)
            self._watchers.append(spawn(self._watch(name, launched, life)))

    async def _watch(self, name: str, launched: Launched, life: int) -> None:
        exit_ = await launched.wait_exit()
        if life != self._life:
            return
        self._running[name][1].drain()
        text = platform_text.program_exit_text(exit_.code, exit_.signal)
        self._environment.feed(extensions.ExtensionEnded(name, text))

    def _readable(self, name: str) -> None:
        launched, reader = self._running[name]
        reader.drain(reads=1)
        if reader.ended:
            self._loop.remove_reader(launched.output)

    def drain(self) -> None:
        """Read what extensions have written up to now."""
        for _, reader in self._running.values():
            reader.drain()

    def doom(self) -> None:
        """Take no more notice of how programs end: they are about to be killed."""
        self._life += 1

    def forget(self) -> None:
        """Let go of what belonged to processes that are no more."""
        self._life += 1
        for watcher in self._watchers:
            watcher.cancel()
        self._watchers.clear()
        for launched, reader in self._running.values():
            if launched.output >= 0:
                reader.drain()
                reader.flush()
                self._loop.remove_reader(launched.output)
                launched.close()
        self._running.clear()
        self._polls.clear()
        self._waiting.clear()
        self._hub.reset()

    def fault(self) -> extensions.Fault:
        """Return what an extension did."""
        fault = self.state.fault if self.state is not None else None
        return fault or extensions.Fault("Extension.Crash", "")

    def step(self, event: extensions.Event, env: machine.Environment, now_s: float) -> tuple[machine.Environment, list[extensions.Command]]:
        """Feed the machine of an environment that has extensions, or gets its first one. Raises as `extensions.step`."""
        state = self.state if self.state is not None else extensions.Crew()
        self.state, env, commands = extensions.step(state, env, event, now_s)
        return env, commands

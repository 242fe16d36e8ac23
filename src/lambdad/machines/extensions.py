"""The extensions of one execution environment: when they are told what, and when all of them are done.

    Started ──register──► Registered ──next──► Ready ──INVOKE──► Running ──next──► Ready

Wraps `machines.environment`, which knows the runtime alone: the runtime's first `next` is held back until every extension has asked for
its own; an answer is told at once, and its invocation ends when runtime and extensions have all asked for what is next; before processes
are killed the extensions hear SHUTDOWN. Environments without extensions never come here.

Knows names, subscriptions and the order of events; does not know HTTP, processes, telemetry or clocks.

Ordering: commands are carried out in the order given. What follows a shutdown (`Crew.deferred`) waits for its end.

Source: AWS Lambda developer guide, "Extensions API" and "Lambda execution environment"; budgets of the Shutdown phase as there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from lambdad.machines import environment
from lambdad.machines.environment import Cause, Environment, State

MOST_EXTENSIONS = 10
SHUTDOWN_S = 2.0  # with an external extension
SHUTDOWN_INTERNAL_S = 0.5  # with internal ones only
RUNTIME_SHARE = 0.3  # of it, for the runtime, which goes first
NOT_ALLOWED = "State transition is not allowed"
_EVENTS = frozenset(("INVOKE", "SHUTDOWN"))
_TERM, _KILL = 15, 9


class Phase(StrEnum):
    """Where one extension is."""

    STARTED = "Started"
    REGISTERED = "Registered"
    READY = "Ready"
    RUNNING = "Running"
    INIT_ERROR = "InitError"
    EXIT_ERROR = "ExitError"
    LAUNCH_ERROR = "LaunchError"
    EXITED = "Exited"


class Reason(StrEnum):
    """Why an environment shuts down; the `shutdownReason` of SHUTDOWN."""

    SPINDOWN = "spindown"
    TIMEOUT = "timeout"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """One extension. `identifier` is "" until it has registered; an internal one lives in the runtime's processes."""

    name: str
    external: bool
    identifier: str = ""
    events: tuple[str, ...] = ()
    phase: Phase = Phase.STARTED
    alive: bool = True
    error_type: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """What an extension did that ends the invocation, or the Init phase, as the platform puts it."""

    error_type: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """An invocation that has been answered and has not ended."""

    request_id: str
    cause: Cause
    since_s: float
    deadline_s: float
    runtime_done_s: float


@dataclass(frozen=True, slots=True)
class Shutdown:
    """A Shutdown phase; `runtime_until_s` is None once it is the extensions' turn."""

    reason: Reason
    until_s: float
    runtime_until_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """
    The extensions of one environment.

    Invariants: `deferred` is empty unless `shutdown` is set; not both `tail` and `shutdown` are set; at most `MOST_EXTENSIONS` members.
    """

    programs: tuple[str, ...] = ()  # file names of the external ones, started at every Init
    members: tuple[Extension, ...] = ()
    open: bool = True  # to be registered with
    launching: bool = False  # the runtime is not started before all programs have registered
    runtime_waits: bool = False  # it has asked for its first event, in Init
    runtime_gone: bool = False
    fault: Fault | None = None  # the first of this life
    tail: Tail | None = None
    shutdown: Shutdown | None = None
    deferred: "tuple[Command, ...]" = ()


# Events, beside those of `machines.environment`.
@dataclass(frozen=True, slots=True)
class Register:
    name: str
    identifier: str  # to be given to it
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExtensionNext:
    identifier: str


@dataclass(frozen=True, slots=True)
class ErrorReported:
    """An extension says that it fails, in Init or later, and is about to exit."""

    identifier: str
    error_type: str
    in_init: bool


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    name: str
    fault: Fault
    error_type: str = ""  # of the extension itself, where it is not the fault's


@dataclass(frozen=True, slots=True)
class ExtensionEnded:
    """The program of an external extension has ended; the text says how."""

    name: str
    text: str


# Commands, beside those of `machines.environment`.
@dataclass(frozen=True, slots=True)
class Launch:
    """Start the programs of the external extensions; `anew` kills everything first."""

    names: tuple[str, ...]
    anew: bool


@dataclass(frozen=True, slots=True)
class StartRuntime:
    """Start the runtime; its process waits behind its fence."""


@dataclass(frozen=True, slots=True)
class TellExtension:
    """Write what became of an extension in Init."""

    extension: Extension


@dataclass(frozen=True, slots=True)
class Notify:
    """Send INVOKE."""

    identifier: str
    request_id: str


@dataclass(frozen=True, slots=True)
class NotifyShutdown:
    """Send SHUTDOWN; the extension has until then."""

    identifier: str
    reason: Reason
    until_s: float


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer the caller; the invocation has not ended."""

    request_id: str
    cause: Cause
    duration_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """Write the end of an invocation that has been answered."""

    request_id: str
    cause: Cause
    duration_s: float
    extensions_s: float  # from the runtime's end to the end


@dataclass(frozen=True, slots=True)
class Conclude:
    """Answer the caller and write the end of the invocation; the environment is not free yet."""

    request_id: str
    cause: Cause
    duration_s: float


@dataclass(frozen=True, slots=True)
class Free:
    """Tell the server that the environment takes the next invocation."""

    request_id: str


@dataclass(frozen=True, slots=True)
class SignalRuntime:
    number: int


@dataclass(frozen=True, slots=True)
class KillExtension:
    name: str


@dataclass(frozen=True, slots=True)
class ShutdownBegun:
    """Deliver what telemetry there is: a Shutdown phase begins."""


Event: TypeAlias = environment.Event | Register | ExtensionNext | ErrorReported | LaunchFailed | ExtensionEnded
Own: TypeAlias = (
    Launch
    | StartRuntime
    | TellExtension
    | Notify
    | NotifyShutdown
    | Respond
    | Report
    | Conclude
    | Free
    | SignalRuntime
    | KillExtension
    | ShutdownBegun
)
Command: TypeAlias = environment.Command | Own
Result: TypeAlias = "tuple[Crew, Environment, list[Command]]"


class Refused(Exception):
    """An extension did what it must not; it is told so (403) and nothing changes."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


def begin(programs: Sequence[str]) -> tuple[Crew, list[Command]]:
    """Return the crew of an environment whose Init begins, and what to do first. Without programs: nothing, it is there to be joined."""
    if not programs:
        return Crew(), []
    crew = _afresh(tuple(programs))
    return crew, [Launch(crew.programs, False)]


def _afresh(programs: tuple[str, ...]) -> Crew:
    members = tuple(Extension(name=name, external=True) for name in programs)
    return Crew(programs=programs, members=members, launching=bool(programs))


def deadline_s(crew: Crew, env: Environment) -> float | None:
    """Return when the next Tick is due."""
    if crew.shutdown is not None:
        return crew.shutdown.until_s if crew.shutdown.runtime_until_s is None else crew.shutdown.runtime_until_s
    return crew.tail.deadline_s if crew.tail is not None else env.deadline_s


def is_quiet(crew: Crew) -> bool:
    """Say whether nothing of the extensions is under way."""
    return crew.tail is None and crew.shutdown is None


def find(crew: Crew, identifier: str) -> Extension | None:
    """Return the extension of an identifier."""
    return next((one for one in crew.members if one.identifier == identifier and identifier), None)


def step(crew: Crew, env: Environment, event: Event, now_s: float) -> Result:
    """
    Return the next crew, the next environment, and the commands to carry out, in order.

    Raises:
        Refused: an extension may not do that now.
        environment.IllegalEvent: the runtime may not.
    """
    match event:
        case Register():
            return _registered(crew, env, event)
        case ExtensionNext(identifier):
            return _asked(crew, env, identifier, now_s)
        case ErrorReported():
            return _confessed(crew, event), env, []
        case LaunchFailed() | ExtensionEnded():
            return _lost(crew, env, event, now_s)
    if isinstance(event, environment.Exited):
        crew = replace(crew, runtime_gone=True)
    if crew.shutdown is not None:
        return _while_closing(crew, env, event, now_s)
    if isinstance(event, environment.NextCalled) and env.state in (State.INIT, State.REINIT):
        crew = replace(crew, open=False)
        if not _all_ready(crew):
            return replace(crew, runtime_waits=True), env, []
    if isinstance(event, environment.PollLost):
        crew = replace(crew, runtime_waits=False)
    if isinstance(event, environment.Tick) and crew.tail is not None:
        if now_s < crew.tail.deadline_s:
            return crew, env, []
        return _forward(crew, env, environment.ExtensionFailed(), now_s, late=Cause.TIMEOUT)
    late = Cause.EXIT if isinstance(event, environment.Exited) else Cause.EXTENSION
    return _forward(crew, env, event, now_s, late=late)


# What extensions do.
def _registered(crew: Crew, env: Environment, event: Register) -> Result:
    for name in event.events:
        if name not in _EVENTS:
            raise Refused("Extension.InvalidEventType", f"{name}: ErrorInvalidEventType")
    launched = next((one for one in crew.members if one.external and one.name == event.name), None)
    if launched is None:
        if "SHUTDOWN" in event.events:
            raise Refused("Extension.InvalidEventType", "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension")
        if not crew.open or crew.shutdown is not None or env.state not in (State.INIT, State.REINIT):
            raise Refused("Extension.RegistrationClosed", "Extension registration closed already")
        if any(one.name == event.name for one in crew.members):
            raise Refused("Extension.InvalidExtensionState", "Extension with this name already registered")
        if len(crew.members) >= MOST_EXTENSIONS:
            raise Refused("Extension.TooManyExtensions", f"Extension limit ({MOST_EXTENSIONS}) reached")
        launched = Extension(name=event.name, external=False)
        crew = replace(crew, members=(*crew.members, launched))
    if launched.phase is not Phase.STARTED or not launched.alive or crew.shutdown is not None:
        raise _not_allowed(launched, Phase.REGISTERED, launched.name)
    crew = _with(crew, replace(launched, phase=Phase.REGISTERED, identifier=event.identifier, events=event.events))
    if crew.launching and all(one.phase is not Phase.STARTED for one in crew.members):
        return replace(crew, launching=False), env, [StartRuntime()]
    return crew, env, []


def _asked(crew: Crew, env: Environment, identifier: str, now_s: float) -> Result:
    one = find(crew, identifier)
    assert one is not None, "an identifier that was not looked up"
    if one.phase not in (Phase.REGISTERED, Phase.READY, Phase.RUNNING):
        raise _not_allowed(one, Phase.READY, identifier)
    crew = _with(crew, replace(one, phase=Phase.READY))
    if crew.shutdown is not None:
        return crew, env, []
    if crew.runtime_waits and _all_ready(crew):
        return _forward(replace(crew, runtime_waits=False), env, environment.NextCalled(), now_s)
    return _settled(crew, env, [], now_s)


def _confessed(crew: Crew, event: ErrorReported) -> Crew:
    one = find(crew, event.identifier)
    assert one is not None, "an identifier that was not looked up"
    phase = Phase.INIT_ERROR if event.in_init else Phase.EXIT_ERROR
    if one.phase not in ((Phase.REGISTERED,) if event.in_init else (Phase.REGISTERED, Phase.READY, Phase.RUNNING)):
        raise _not_allowed(one, phase, event.identifier)
    return _with(crew, replace(one, phase=phase, error_type=event.error_type))


def _lost(crew: Crew, env: Environment, event: LaunchFailed | ExtensionEnded, now_s: float) -> Result:
    one = next((one for one in crew.members if one.external and one.alive and one.name == event.name), None)
    if one is None:
        return crew, env, []
    if isinstance(event, LaunchFailed):
        fault = event.fault
        one = replace(one, phase=Phase.LAUNCH_ERROR, error_type=event.error_type or fault.error_type, alive=False)
    else:
        kinds = {Phase.INIT_ERROR: "Extension.InitError", Phase.EXIT_ERROR: "Extension.ExitError"}
        fault = Fault(kinds.get(one.phase, "Extension.Crash"), event.text)
        phase = one.phase if one.phase in kinds else Phase.EXITED
        one = replace(one, phase=phase, error_type=one.error_type or fault.error_type, alive=False)
    crew = _with(crew, one)
    if crew.shutdown is not None:
        return _closed_if_done(crew, env, now_s)
    if env.state in (State.STOPPED, State.RESET):
        return crew, env, []
    return _forward(replace(crew, fault=crew.fault or fault), env, environment.ExtensionFailed(), now_s)


# The runtime's machine, and what its commands become.
def _forward(crew: Crew, env: Environment, event: environment.Event, now_s: float, *, late: Cause = Cause.EXTENSION) -> Result:
    """Feed the runtime's machine; `late` is how an answered invocation ended if this ends it."""
    before = env
    env, inner = environment.step(env, event, now_s)
    commands: list[Command] = list(inner)
    tail = crew.tail
    if tail is not None and any(isinstance(one, environment.KillRuntime | environment.KillEnvironment) for one in inner):
        crew = replace(crew, tail=None)
        cause = tail.cause if isinstance(event, environment.StopAsked) else late
        commands = [_report(tail, cause, now_s), *commands, Free(tail.request_id)]
    crew, commands = _translated(crew, before, commands, now_s, late)
    if isinstance(event, environment.NextCalled) and crew.tail is not None and env.state is State.READY:
        crew = replace(crew, tail=replace(crew.tail, runtime_done_s=now_s))
    return _settled(crew, env, commands, now_s)


def _translated(
    crew: Crew, before: Environment, commands: Iterable[Command], now_s: float, late: Cause, *, closed: bool = False
) -> tuple[Crew, list[Command]]:
    """Return what the runtime's commands mean where there are extensions; `closed`: the Shutdown phase is over."""
    out: list[Command] = []
    given = list(commands)
    for at, command in enumerate(given):
        match command:
            case environment.ReportInit() | environment.Announce() if crew.members and _initialising(before) and not closed:
                if not any(isinstance(one, TellExtension) for one in out):
                    out += [TellExtension(one) for one in crew.members]
                out.append(command)
            case environment.Deliver(request_id):
                out.append(command)
                asked = [one for one in crew.members if "INVOKE" in one.events]
                out += [Notify(one.identifier, request_id) for one in asked]
                crew = _with(crew, *(replace(one, phase=Phase.RUNNING) for one in asked))
            case environment.Finish(request_id, cause, duration_s) if crew.members:
                if any(isinstance(one, environment.KillRuntime) for one in given):
                    out.append(Conclude(request_id, cause, duration_s))
                    given.append(Free(request_id))
                    late = cause
                else:
                    assert before.deadline_s is not None, "a busy environment has a deadline"
                    out.append(Respond(request_id, cause, duration_s))
                    crew = replace(
                        crew,
                        tail=Tail(
                            request_id=request_id,
                            cause=cause,
                            since_s=before.since_s,
                            deadline_s=before.deadline_s,
                            runtime_done_s=now_s,
                        ),
                    )
            case environment.KillRuntime() | environment.KillEnvironment() if not closed and crew.members:
                timed_out = late is Cause.TIMEOUT or any(
                    isinstance(one, environment.ReportInit) and one.cause is Cause.TIMEOUT for one in given
                )
                reason = Reason.TIMEOUT if timed_out else Reason.FAILURE
                if isinstance(command, environment.KillEnvironment):
                    reason = Reason.SPINDOWN
                rest = tuple(given[at:])
                crew, more = _closing(replace(crew, deferred=rest), reason, now_s)
                return crew, out + more
            case environment.KillRuntime():
                crew = replace(crew, members=(), open=False, launching=False, runtime_waits=False)
                out.append(command)
            case environment.Relaunch():
                crew = _afresh(crew.programs)
                out.append(Launch(crew.programs, True) if crew.programs else command)
            case _:
                out.append(command)
    return crew, out


def _settled(crew: Crew, env: Environment, commands: list[Command], now_s: float) -> Result:
    """End the invocation that was answered, if everybody is done; go on with what waited for a Shutdown phase, if that is over."""
    if crew.shutdown is not None:
        crew, env, more = _closed_if_done(crew, env, now_s)
        return crew, env, commands + more
    tail = crew.tail
    if tail is None or env.state is not State.READY or not _all_ready(crew):
        return crew, env, commands
    crew = replace(crew, tail=None)
    return crew, env, [*commands, _report(tail, tail.cause, now_s), Free(tail.request_id)]


def _report(tail: Tail, cause: Cause, now_s: float) -> Report:
    return Report(tail.request_id, cause, now_s - tail.since_s, now_s - tail.runtime_done_s)


# The Shutdown phase.
def _closing(crew: Crew, reason: Reason, now_s: float) -> tuple[Crew, list[Command]]:
    """Begin a Shutdown phase; the runtime goes first."""
    begun: list[Command] = [ShutdownBegun()]
    has_runtime = not crew.runtime_gone and not crew.launching
    if any(one.external and one.alive and one.identifier for one in crew.members):
        budget_s = SHUTDOWN_S
    elif has_runtime and any(not one.external for one in crew.members):
        budget_s = SHUTDOWN_INTERNAL_S
    else:
        budget_s, has_runtime = 0.0, False
    until_s = now_s + budget_s
    if has_runtime:
        crew = replace(crew, shutdown=Shutdown(reason, until_s, now_s + budget_s * RUNTIME_SHARE))
        return crew, [*begun, SignalRuntime(_TERM)]
    crew, told = _turn(replace(crew, shutdown=Shutdown(reason, until_s, None)))
    return crew, begun + told


def _turn(crew: Crew) -> tuple[Crew, list[Command]]:
    """Tell the extensions that are to know; kill the others."""
    assert crew.shutdown is not None
    shutdown = replace(crew.shutdown, runtime_until_s=None)
    crew = replace(crew, shutdown=shutdown)
    out: list[Command] = []
    for one in crew.members:
        if not one.external or not one.alive:
            continue
        if "SHUTDOWN" in one.events:
            out.append(NotifyShutdown(one.identifier, shutdown.reason, shutdown.until_s))
            if one.phase in (Phase.READY, Phase.REGISTERED):
                crew = _with(crew, replace(one, phase=Phase.RUNNING))
        else:
            out.append(KillExtension(one.name))
            crew = _with(crew, replace(one, alive=False))
    return crew, out


def _while_closing(crew: Crew, env: Environment, event: environment.Event, now_s: float) -> Result:
    shutdown = crew.shutdown
    assert shutdown is not None
    match event:
        case environment.Tick():
            due_s = deadline_s(crew, env)
            if due_s is None or now_s < due_s:
                return crew, env, []
            if shutdown.runtime_until_s is not None:
                crew, told = _turn(replace(crew, runtime_gone=True))
                return _settled(crew, env, [SignalRuntime(_KILL), *told], now_s)
            return _closed(crew, env, now_s)
        case environment.Exited():
            if shutdown.runtime_until_s is not None:
                crew, told = _turn(crew)
                return _settled(crew, env, told, now_s)
            return crew, env, []
        case environment.NextCalled() | environment.PollLost() | environment.InitErrorPosted() | environment.ExtensionFailed():
            return crew, env, []  # a runtime that asks for more waits until it is killed
        case environment.StopAsked() | environment.InvokeArrived():
            env, inner = environment.step(env, event, now_s)
            return replace(crew, deferred=(*crew.deferred, *inner)), env, []
    return _forward(crew, env, event, now_s)


def _closed_if_done(crew: Crew, env: Environment, now_s: float) -> Result:
    shutdown = crew.shutdown
    assert shutdown is not None
    if shutdown.runtime_until_s is not None or any(one.external and one.alive and one.identifier for one in crew.members):
        return crew, env, []
    return _closed(crew, env, now_s)


def _closed(crew: Crew, env: Environment, now_s: float) -> Result:
    """Go on with what waited for the end of the Shutdown phase."""
    deferred = crew.deferred
    crew = replace(crew, shutdown=None, deferred=())
    crew, commands = _translated(crew, env, deferred, now_s, Cause.EXTENSION, closed=True)
    return crew, env, commands


# Values.
def _with(crew: Crew, *changed: Extension) -> Crew:
    """Return the crew with some members in the place of those of their names."""
    named = {one.name: one for one in changed}
    return replace(crew, members=tuple(named.get(one.name, one) for one in crew.members)) if named else crew


def _all_ready(crew: Crew) -> bool:
    return all(one.phase is Phase.READY for one in crew.members)


def _initialising(env: Environment) -> bool:
    return env.state in (State.INIT, State.REINIT)


def _not_allowed(one: Extension, target: Phase, who: str) -> Refused:
    text = f"State transition from {one.phase} to {target} failed for extension {who}. Error: {NOT_ALLOWED}"
    return Refused("Extension.InvalidExtensionState", text)

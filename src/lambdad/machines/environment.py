"""One execution environment, as its worker sees it: Init, then Invoke after Invoke, until it is stopped.

    INIT ──next──► READY ──invoke──► BUSY ──response/error──► SETTLING ──next──► READY
      │              │                 │                          │
      └─ error, exit, time ─► RESET ◄──┴── exit, time ────────────┘
                                │
                                └──invoke──► REINIT ──next──► BUSY

Knows the order of events; does not know sockets, clocks, processes or payloads. RESET means that no process of the runtime is left, and
that the next invocation begins by starting one anew (AWS calls this a suppressed init); /tmp is kept.

Ordering: commands are carried out in the order given; a caller is answered before processes are killed.

States, events and commands are msgspec's structs: some ten are made for each invocation, in a tenth of the time of frozen dataclasses.

Source: AWS Lambda developer guide, "Understanding the Lambda execution environment lifecycle".
"""

from enum import StrEnum
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

INIT_TIMEOUT_S = 10.0
RESTORE_TIMEOUT_S = 10.0  # of a copy of a snapshot, until it asks for its first event
AHEAD_INIT_TIMEOUT_S = 130.0  # at the least, where nobody waits for it
AHEAD_INIT_TIMEOUT_MAX_S = 900.0


class State(StrEnum):
    INIT = "Init"
    READY = "Ready"
    BUSY = "Busy"
    SETTLING = "Settling"
    RESET = "Reset"
    REINIT = "Reinit"
    STOPPED = "Stopped"


class Cause(StrEnum):
    """How an invocation, or an Init phase, ended."""

    SUCCESS = "success"
    FUNCTION_ERROR = "error"  # the runtime posted an error; its body is the payload
    TOO_LARGE = "too large"
    TIMEOUT = "timeout"
    EXIT = "exit"
    EXTENSION = "extension"  # one of its extensions failed; `machines.extensions` knows how


class Environment(msgspec.Struct, frozen=True):
    """Invariants: `deadline_s` is set exactly in INIT, BUSY, REINIT, and in SETTLING while `request_id` is; READY has no request."""

    state: State = State.INIT
    since_s: float = 0.0  # when Init, or the invocation, began
    request_id: str | None = None
    deadline_s: float | None = None
    is_restored: bool = False  # from a snapshot: where others are started anew, it ends, and another one is restored


# Events: what the driver has seen.
class NextCalled(msgspec.Struct, frozen=True): ...


class PollLost(msgspec.Struct, frozen=True):
    """The runtime has hung up while it waited for the next event."""


class InitErrorPosted(msgspec.Struct, frozen=True): ...


class InvokeArrived(msgspec.Struct, frozen=True):
    request_id: str
    timeout_s: float


class ResponsePosted(msgspec.Struct, frozen=True):
    request_id: str


class ErrorPosted(msgspec.Struct, frozen=True):
    request_id: str


class OversizePosted(msgspec.Struct, frozen=True):
    request_id: str


class Exited(msgspec.Struct, frozen=True): ...


class ExtensionFailed(msgspec.Struct, frozen=True):
    """Nothing that runs here may run on; see `machines.extensions`."""


class Tick(msgspec.Struct, frozen=True): ...


class StopAsked(msgspec.Struct, frozen=True): ...


# Commands: what the driver must do.
class Announce(msgspec.Struct, frozen=True):
    """Tell the server that the environment takes invocations."""

    init_s: float


class ReportInit(msgspec.Struct, frozen=True):
    """Write INIT_REPORT: an Init phase failed, or one ran within an invocation."""

    cause: Cause
    init_s: float
    phase: str  # "init" or "invoke"; "restore" for what was restored


class Deliver(msgspec.Struct, frozen=True):
    """Answer the runtime's `next` with the invocation."""

    request_id: str


class Finish(msgspec.Struct, frozen=True):
    """Answer the caller."""

    request_id: str
    cause: Cause
    duration_s: float


class KillRuntime(msgspec.Struct, frozen=True):
    """End every process of the runtime, keep the environment."""


class Relaunch(msgspec.Struct, frozen=True):
    """Start the runtime anew."""


class KillEnvironment(msgspec.Struct, frozen=True): ...


Event: TypeAlias = (
    NextCalled
    | PollLost
    | InitErrorPosted
    | InvokeArrived
    | ResponsePosted
    | ErrorPosted
    | OversizePosted
    | Exited
    | ExtensionFailed
    | Tick
    | StopAsked
)
Command: TypeAlias = Announce | ReportInit | Deliver | Finish | KillRuntime | Relaunch | KillEnvironment

_POSTED = {ResponsePosted: Cause.SUCCESS, ErrorPosted: Cause.FUNCTION_ERROR, OversizePosted: Cause.TOO_LARGE}


class IllegalEvent(Exception):
    """The runtime did what the life cycle forbids; it is told so (403 InvalidStateTransition, 400 InvalidRequestID) and nothing changes."""


def init_limit_s(initialization_type: str, timeout_s: int) -> float:
    """
    Return how long an Init phase may take.

    Args:
        initialization_type: as in AWS_LAMBDA_INITIALIZATION_TYPE; anything but "on-demand" is initialised ahead of invocations.
        timeout_s: of the function.
    """
    if initialization_type == "on-demand":
        return INIT_TIMEOUT_S
    return min(max(AHEAD_INIT_TIMEOUT_S, float(timeout_s)), AHEAD_INIT_TIMEOUT_MAX_S)


def begin(now_s: float, limit_s: float = INIT_TIMEOUT_S) -> Environment:
    """Return an environment whose Init phase begins now, and may take a time; see `init_limit_s`."""
    return Environment(State.INIT, now_s, None, now_s + limit_s)


def begin_restore(now_s: float) -> Environment:
    """Return an environment into which a copy of a snapshot is put now."""
    return Environment(State.INIT, now_s, None, now_s + RESTORE_TIMEOUT_S, is_restored=True)


def step(env: Environment, event: Event, now_s: float) -> tuple[Environment, list[Command]]:
    """
    Return the next environment and the commands to carry out, in order.

    Raises:
        IllegalEvent: the event cannot happen in this state.
    """
    if isinstance(event, StopAsked):
        if env.state is State.STOPPED:
            return env, []
        return Environment(State.STOPPED), [KillEnvironment()]
    if env.state is State.STOPPED and isinstance(event, Exited | ExtensionFailed | Tick | NextCalled):
        return env, []  # a runtime that asks for more waits until it is killed; were it refused, it would say so in the function's log
    if isinstance(event, PollLost) and env.state is not State.READY:
        return env, []
    if isinstance(event, Tick) and (env.deadline_s is None or now_s < env.deadline_s):
        return env, []
    if env.is_restored:
        return _restored(*_step(replace(env, is_restored=False), event, now_s))
    return _step(env, event, now_s)


def _restored(env: Environment, commands: list[Command]) -> tuple[Environment, list[Command]]:
    """Let an environment end where another one's runtime would be killed: there is nothing to start it from but the snapshot."""
    for number, command in enumerate(commands):
        if isinstance(command, KillRuntime):
            told = [replace(one, phase="restore") if isinstance(one, ReportInit) else one for one in commands[:number]]
            return Environment(State.STOPPED, is_restored=True), [*told, KillEnvironment()]
    return replace(env, is_restored=True), commands


def _step(env: Environment, event: Event, now_s: float) -> tuple[Environment, list[Command]]:
    match env.state:
        case State.INIT:
            return _initialising(env, event, now_s)
        case State.READY:
            return _ready(env, event, now_s)
        case State.BUSY:
            return _busy(env, event, now_s)
        case State.SETTLING:
            return _settling(env, event, now_s)
        case State.RESET:
            return _reset(env, event, now_s)
        case State.REINIT:
            return _reinitialising(env, event, now_s)
    raise _illegal(env, event)


def _illegal(env: Environment, event: Event) -> IllegalEvent:
    return IllegalEvent(f"{type(event).__name__} while {env.state}")


def _failure(event: Event) -> Cause | None:
    match event:
        case InitErrorPosted():
            return Cause.FUNCTION_ERROR
        case Exited():
            return Cause.EXIT
        case ExtensionFailed():
            return Cause.EXTENSION
        case Tick():
            return Cause.TIMEOUT
    return None


def _initialising(env: Environment, event: Event, now_s: float) -> tuple[Environment, list[Command]]:
    init_s = now_s - env.since_s
    if isinstance(event, NextCalled):
        return Environment(State.READY), [Announce(init_s)]
    cause = _failure(event)
    if cause is None:
        raise _illegal(env, event)
    return Environment(State.RESET), [ReportInit(cause, init_s, "init"), KillRuntime(), Announce(init_s)]


def _ready(env: Environment, event: Event, now_s: float) -> tuple[Environment, list[Command]]:
    match event:
        case InvokeArrived(request_id, timeout_s):
            return Environment(State.BUSY, now_s, request_id, now_s + timeout_s), [Deliver(request_id)]
        case Exited() | ExtensionFailed():
            return Environment(State.RESET), [KillRuntime()]
        case PollLost():
            return Environment(State.SETTLING), []
        case NextCalled():  # another poll of a runtime that gave its first one up
            return env, []
    raise _illegal(env, event)


def _busy(env: Environment, event: Event, now_s: float) -> tuple[Environment, list[Command]]:
    assert env.request_id is not None
    duration_s = now_s - env.since_s
    match event:
        case ResponsePosted(request_id) | ErrorPosted(request_id) | OversizePosted(request_id) if request_id == env.request_id:
            return Environment(State.SETTLING), [Finish(request_id, _POSTED[type(event)], duration_s)]
        case Tick():
            return Environment(State.RESET), [Finish(env.request_id, Cause.TIMEOUT, duration_s), KillRuntime()]
        case Exited() | ExtensionFailed():
            cause = Cause.EXIT if isinstance(event, Exited) else Cause.EXTENSION
            return Environment(State.RESET), [Finish(env.request_id, cause, duration_s), KillRuntime()]
    raise _illegal(env, event)


def _settling(env: Environment, event: Event, now_s: float) -> tuple[Environment, list[Command]]:
    match event:
        case NextCalled() if env.request_id is None:
            return Environment(State.READY), []
        case NextCalled():
            assert env.request_id is not None
            return replace(env, state=State.BUSY), [Deliver(env.request_id)]
        case InvokeArrived(request_id, timeout_s) if env.request_id is None:
            return Environment(State.SETTLING, now_s, request_id, now_s + timeout_s), []
        case Exited() | ExtensionFailed() if env.request_id is None:
            return Environment(State.RESET), [KillRuntime()]
        case Exited() | ExtensionFailed():
            return replace(env, state=State.REINIT), [KillRuntime(), Relaunch()]
        case Tick():
            assert env.request_id is not None
            return Environment(State.RESET), [Finish(env.request_id, Cause.TIMEOUT, now_s - env.since_s), KillRuntime()]
    raise _illegal(env, event)


def _reset(env: Environment, event: Event, now_s: float) -> tuple[Environment, list[Command]]:
    match event:
        case InvokeArrived(request_id, timeout_s):
            return Environment(State.REINIT, now_s, request_id, now_s + timeout_s), [Relaunch()]
        case Exited() | ExtensionFailed():
            return env, []
    raise _illegal(env, event)


def _reinitialising(env: Environment, event: Event, now_s: float) -> tuple[Environment, list[Command]]:
    assert env.request_id is not None
    init_s = now_s - env.since_s
    if isinstance(event, NextCalled):
        return replace(env, state=State.BUSY), [ReportInit(Cause.SUCCESS, init_s, "invoke"), Deliver(env.request_id)]
    cause = _failure(event)
    if cause is None:
        raise _illegal(env, event)
    return Environment(State.RESET), [
        ReportInit(cause, init_s, "invoke"),
        Finish(env.request_id, cause, init_s),
        KillRuntime(),
    ]

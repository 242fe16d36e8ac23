"""Transcripts of one environment with extensions: `>>` feeds an event, `<<` states the commands it must cause, in order."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.machines import environment, extensions
from lambdad.machines.environment import (
    Announce,
    Cause,
    Deliver,
    Exited,
    IllegalEvent,
    InitErrorPosted,
    InvokeArrived,
    KillEnvironment,
    KillRuntime,
    NextCalled,
    PollLost,
    Relaunch,
    ReportInit,
    ResponsePosted,
    State,
    StopAsked,
    Tick,
)
from lambdad.machines.extensions import (
    Conclude,
    ErrorReported,
    ExtensionEnded,
    ExtensionNext,
    Fault,
    Free,
    KillExtension,
    Launch,
    LaunchFailed,
    Notify,
    NotifyShutdown,
    Phase,
    Reason,
    Refused,
    Register,
    Report,
    Respond,
    ShutdownBegun,
    SignalRuntime,
    StartRuntime,
    TellExtension,
)

BOTH = ("INVOKE", "SHUTDOWN")


@dataclass
class Playbook:
    crew: extensions.Crew = field(default_factory=extensions.Crew)
    env: environment.Environment = field(default_factory=lambda: environment.begin(0.0))
    now_s: float = 0.0
    got: list[extensions.Command] = field(default_factory=list)

    def at(self, now_s: float) -> "Playbook":
        self.now_s = now_s
        return self

    def __rshift__(self, event: extensions.Event) -> "Playbook":
        assert not self.got, f"unexpected commands {self.got}"
        self.crew, self.env, self.got = extensions.step(self.crew, self.env, event, self.now_s)
        return self

    def __lshift__(self, command: object) -> "Playbook":
        assert self.got, f"wanted {command}, got nothing"
        if isinstance(command, type):
            assert isinstance(self.got[0], command), f"wanted {command}, got {self.got}"
        else:
            assert self.got[0] == command, f"wanted {command}, got {self.got}"
        self.got = self.got[1:]
        return self

    def __bool__(self) -> bool:
        assert not self.got, f"unexpected commands {self.got}"
        return True


def launched(*names: str) -> Playbook:
    crew, commands = extensions.begin(names)
    assert commands == [Launch(names, False)]
    return Playbook(crew)


def ready(*subscriptions: tuple[str, ...]) -> Playbook:
    """Return an environment with external extensions e0, e1 … of these subscriptions, after Init."""
    names = [f"e{number}" for number in range(len(subscriptions))]
    play = launched(*names)
    for name, events in zip(names, subscriptions, strict=True):
        play = play >> Register(name, f"id-{name}", events)
    play = play << StartRuntime()
    for name in names:
        play = play >> ExtensionNext(f"id-{name}")
    play = play.at(0.5) >> NextCalled()
    for _ in names:
        play = play << TellExtension
    assert play << Announce(0.5)
    return play


def test_init_waits_for_everybody():
    """The runtime starts when the programs have registered; Init ends when all have asked for their first event."""
    play = launched("a", "b") >> Register("a", "1", BOTH) >> Register("b", "2", ()) << StartRuntime()
    assert play.at(1) >> NextCalled() >> ExtensionNext("2")
    play = play.at(2) >> ExtensionNext("1") << TellExtension << TellExtension << Announce(2)
    assert play and play.env.state is State.READY


def test_an_invocation_ends_when_all_are_done():
    """The caller has the answer when the runtime has; the report and the freedom come with the last `next`."""
    play = ready(BOTH, ("SHUTDOWN",)).at(1) >> InvokeArrived("r1", 3) << Deliver("r1") << Notify("id-e0", "r1")
    assert play.at(1.25) >> ResponsePosted("r1") << Respond("r1", Cause.SUCCESS, 0.25)
    assert play.at(1.5) >> NextCalled()
    assert play.at(2) >> ExtensionNext("id-e0") << Report("r1", Cause.SUCCESS, 1.0, 0.5) << Free("r1")
    assert extensions.is_quiet(play.crew)


def test_an_extension_may_be_done_before_the_runtime():
    """Then the runtime's `next` ends the invocation."""
    play = ready(BOTH) >> InvokeArrived("r1", 3) << Deliver("r1") << Notify("id-e0", "r1")
    assert play >> ExtensionNext("id-e0") >> ResponsePosted("r1") << Respond("r1", Cause.SUCCESS, 0)
    assert play >> NextCalled() << Report("r1", Cause.SUCCESS, 0, 0) << Free("r1")


def test_one_budget_for_runtime_and_extensions():
    """An extension that takes too long after the answer ends in a reset with reason timeout; the runtime goes first."""
    play = ready(BOTH).at(1) >> InvokeArrived("r1", 3) << Deliver("r1") << Notify("id-e0", "r1") >> ResponsePosted("r1")
    assert play << Respond("r1", Cause.SUCCESS, 0) >> NextCalled()
    assert extensions.deadline_s(play.crew, play.env) == 4
    play = play.at(4) >> Tick() << Report("r1", Cause.TIMEOUT, 3, 3) << ShutdownBegun() << SignalRuntime(15)
    assert play and extensions.deadline_s(play.crew, play.env) == pytest.approx(4.6)
    play = play.at(4.6) >> Tick() << SignalRuntime(9) << NotifyShutdown("id-e0", Reason.TIMEOUT, 6.0)
    assert play and extensions.deadline_s(play.crew, play.env) == 6.0
    assert play.at(5) >> ExtensionEnded("e0", "exit status 0") << KillRuntime() << Free("r1")
    assert play >> InvokeArrived("r2", 3) << Launch(("e0",), True) >> Register("e0", "again", ()) << StartRuntime()
    assert play >> NextCalled() >> ExtensionNext("again") << TellExtension << ReportInit << Deliver("r2")


def test_a_timeout_answers_first():
    """The caller hears before anybody is told to go; extensions without SHUTDOWN are killed; the rest have until the end of the budget."""
    play = ready(BOTH, ("INVOKE",)) >> InvokeArrived("r1", 3) << Deliver("r1") << Notify << Notify
    play = play.at(3.5) >> Tick() << Conclude("r1", Cause.TIMEOUT, 3) << ShutdownBegun() << SignalRuntime(15)
    play = play.at(3.6) >> Exited() << NotifyShutdown("id-e0", Reason.TIMEOUT, 5.5) << KillExtension("e1")
    assert play and play.at(5.4) >> Tick()
    assert play.at(5.5) >> Tick() << KillRuntime() << Free("r1")


def test_a_crash_of_an_extension():
    """It fails the invocation, and the others hear `failure`."""
    play = ready(BOTH, BOTH) >> InvokeArrived("r1", 3) << Deliver("r1") << Notify << Notify
    play = play.at(1) >> ExtensionEnded("e0", "exit status 1") << Conclude("r1", Cause.EXTENSION, 0.5) << ShutdownBegun()
    assert play << SignalRuntime(15) and play.crew.fault == Fault("Extension.Crash", "exit status 1")
    assert play >> Exited() << NotifyShutdown("id-e1", Reason.FAILURE, 3.0)
    assert play >> ExtensionEnded("e1", "exit status 0") << KillRuntime() << Free("r1")


def test_a_crash_after_the_answer():
    """The caller keeps the answer, the report says error."""
    play = ready(BOTH) >> InvokeArrived("r1", 3) << Deliver("r1") << Notify >> ResponsePosted("r1") << Respond >> NextCalled()
    assert play >> ExtensionEnded("e0", "exit status 1") << Report("r1", Cause.EXTENSION, 0, 0) << ShutdownBegun() << KillRuntime() << Free


def test_a_crash_between_invocations():
    """The next invocation begins with everything anew; if it comes too early it waits."""
    play = ready(BOTH, BOTH) >> ExtensionEnded("e0", "signal: killed") << ShutdownBegun() << SignalRuntime(15)
    assert play >> InvokeArrived("r1", 3) >> Exited() << NotifyShutdown
    assert play >> ExtensionEnded("e1", "exit status 0") << KillRuntime() << Launch(("e0", "e1"), True)


def test_init_that_fails():
    """An extension that confesses and exits fails Init with its own kind; it is tried again within the first invocation."""
    play = launched("a") >> Register("a", "1", ()) << StartRuntime() >> ErrorReported("1", "Extension.NoConfig", True)
    play = play.at(1) >> ExtensionEnded("a", "exit status 1") << TellExtension << ReportInit(Cause.EXTENSION, 1, "init") << ShutdownBegun()
    assert play << KillRuntime() << Announce(1)
    assert play.crew.fault == Fault("Extension.InitError", "exit status 1")
    play = play >> InvokeArrived("r1", 3) << Launch(("a",), True) >> LaunchFailed("a", Fault("Extension.LaunchError", "x"))
    assert play << TellExtension << ReportInit << Conclude("r1", Cause.EXTENSION, 0) << ShutdownBegun() << KillRuntime() << Free


def test_one_that_never_registers_lets_init_time_out():
    """The runtime has not been started, and nobody is told to go."""
    play = launched("a", "b") >> Register("a", "1", ())
    play = play.at(10) >> Tick() << TellExtension << TellExtension << ReportInit(Cause.TIMEOUT, 10, "init") << ShutdownBegun()
    assert play << KillExtension("a") << KillExtension("b") << KillRuntime() << Announce(10)


def test_internal_extensions():
    """They register until the runtime asks for its first event, hear INVOKE, are waited for, and go with the runtime."""
    play = Playbook() >> Register("in", "1", ("INVOKE",)) >> NextCalled() >> ExtensionNext("1") << TellExtension << Announce(0)
    assert play >> InvokeArrived("r1", 3) << Deliver("r1") << Notify("1", "r1") >> ResponsePosted("r1") << Respond
    assert play >> NextCalled() >> ExtensionNext("1") << Report << Free("r1")
    play = play.at(1) >> StopAsked() << ShutdownBegun() << SignalRuntime(15)
    assert play and extensions.deadline_s(play.crew, play.env) == pytest.approx(1.15)
    assert play.at(1.15) >> Tick() << SignalRuntime(9) << KillEnvironment()


def test_spindown():
    """The runtime has three tenths of two seconds, then the extensions have what is left; a second stop changes nothing."""
    play = ready(BOTH).at(1) >> StopAsked() << ShutdownBegun() << SignalRuntime(15) >> StopAsked() >> NextCalled() >> PollLost()
    play = play.at(1.2) >> Exited() << NotifyShutdown("id-e0", Reason.SPINDOWN, 3.0) >> ExtensionNext("id-e0")
    assert play.at(1.3) >> ExtensionEnded("e0", "exit status 0") << KillEnvironment()
    assert play >> Tick() >> ExtensionEnded("e0", "twice")


def test_stopped_while_an_extension_is_at_work():
    """What was answered is reported before the end."""
    play = ready(BOTH) >> InvokeArrived("r1", 3) << Deliver("r1") << Notify >> ResponsePosted("r1") << Respond
    play = play >> StopAsked() << Report("r1", Cause.SUCCESS, 0, 0) << ShutdownBegun() << SignalRuntime(15) >> Exited() << NotifyShutdown
    assert play >> ExtensionEnded("e0", "") << KillEnvironment() << Free


def test_stopped_before_anybody_has_registered():
    """There is nobody to tell."""
    assert launched("a") >> StopAsked() << ShutdownBegun() << KillExtension("a") << KillEnvironment()


def test_a_failed_runtime_init_with_extensions():
    """The runtime's error ends Init; the extensions hear `failure`."""
    play = (
        launched("a") >> Register("a", "1", BOTH) << StartRuntime() >> InitErrorPosted() << TellExtension << ReportInit << ShutdownBegun()
    )
    assert play << SignalRuntime(15) >> Exited() << NotifyShutdown("1", Reason.FAILURE, 2.0)
    assert play.at(2) >> Tick() << KillRuntime() << Announce(0)


def refusal(play: Playbook, event: extensions.Event) -> str:
    before = (play.crew, play.env)
    with pytest.raises(Refused) as refused:
        extensions.step(play.crew, play.env, event, play.now_s)
    assert (play.crew, play.env) == before
    return f"{refused.value.error_type}: {refused.value}"


def test_refusals():
    """What extensions must not do, in AWS's words."""
    closed = "Extension.RegistrationClosed: Extension registration closed already"
    play = launched("a")
    assert refusal(play, Register("a", "1", ("NEVER",))) == "Extension.InvalidEventType: NEVER: ErrorInvalidEventType"
    assert refusal(play, Register("x", "1", BOTH)) == (
        "Extension.InvalidEventType: SHUTDOWN: ShutdownEventNotSupportedForInternalExtension"
    )
    play = play >> Register("a", "1", ()) << StartRuntime()
    assert refusal(play, Register("a", "2", ())) == (
        "Extension.InvalidExtensionState: State transition from Registered to Registered failed for extension a. "
        "Error: State transition is not allowed"
    )
    for number in range(9):
        play = play >> Register(f"in{number}", f"i{number}", ())
    assert refusal(play, Register("in0", "2", ())).endswith("Extension with this name already registered")
    assert refusal(play, Register("in9", "2", ())) == "Extension.TooManyExtensions: Extension limit (10) reached"
    play = play >> NextCalled()
    assert refusal(play, Register("late", "2", ())) == closed
    play = play >> ErrorReported("1", "Extension.X", True)
    assert "from InitError to Ready" in refusal(play, ExtensionNext("1"))
    assert "from InitError to ExitError" in refusal(play, ErrorReported("1", "Extension.X", False))
    assert refusal(ready(BOTH), Register("late", "2", ())) == closed


NAMES = ("a", "b")
EVENTS = st.one_of(
    st.builds(Register, st.sampled_from([*NAMES, "in"]), st.just(""), st.sampled_from([(), ("INVOKE",), BOTH])),
    st.builds(ExtensionNext, st.sampled_from([*NAMES, "in"])),
    st.builds(ErrorReported, st.sampled_from([*NAMES, "in"]), st.just("Extension.X"), st.booleans()),
    st.builds(ExtensionEnded, st.sampled_from(NAMES), st.just("exit status 1")),
    st.builds(LaunchFailed, st.sampled_from(NAMES), st.just(Fault("Extension.LaunchError", ""))),
    st.just(NextCalled()),
    st.just(NextCalled()),
    st.just(PollLost()),
    st.just(InitErrorPosted()),
    st.just(InvokeArrived("?", 3.0)),
    st.just(ResponsePosted("?")),
    st.just(ResponsePosted("?")),
    st.just(Exited()),
    st.just(Tick()),
    st.just(Tick()),
    st.just(StopAsked()),
)


@settings(max_examples=600)
@given(st.sampled_from([(), ("a",), NAMES]), st.lists(st.tuples(EVENTS, st.sampled_from([0.0, 0.1, 1.0, 4.0, 11.0])), max_size=60))
def test_any_order_of_events_keeps_the_promises(programs: tuple[str, ...], history: list[tuple[extensions.Event, float]]):
    """
    Every invocation is answered once and, if it was answered early, reported and freed once; nothing is killed while a Shutdown phase
    goes on; what happens in it has an end; a stop always ends in KillEnvironment.
    """
    crew, _ = extensions.begin(programs)
    env, now_s, number = environment.begin(0.0), 0.0, 0
    answered = reported = freed = True
    announced = stopping = False
    identifiers: dict[str, str] = {}
    for event, passed_s in [*history, (StopAsked(), 0.0), (Tick(), 1.0), (Tick(), 3.0)]:
        now_s += passed_s
        if isinstance(event, InvokeArrived):
            if not (announced and answered and reported and freed) or stopping:
                continue  # the server sends none
            number += 1
            event = InvokeArrived(f"r{number}", 3.0)
            answered = False
        elif isinstance(event, ResponsePosted):
            event = ResponsePosted(f"r{number}")
        elif isinstance(event, Register):
            number_of_identifier = f"{event.name}{now_s}{len(identifiers)}"
            event = Register(event.name, number_of_identifier, event.events)
        elif isinstance(event, ExtensionNext | ErrorReported):
            one = next((one for one in crew.members if one.name == event.identifier and one.identifier), None)
            if one is None:
                continue
            event = (
                ExtensionNext(one.identifier)
                if isinstance(event, ExtensionNext)
                else ErrorReported(one.identifier, event.error_type, event.in_init)
            )
        try:
            crew, env, commands = extensions.step(crew, env, event, now_s)
        except (IllegalEvent, Refused):
            continue
        stopping = stopping or isinstance(event, StopAsked)
        for command in commands:
            match command:
                case environment.Finish(request_id) | Conclude(request_id) | Respond(request_id):
                    assert request_id == f"r{number}" and not answered
                    answered = True
                    reported = not isinstance(command, Respond)
                    freed = isinstance(command, environment.Finish)
                case Report(request_id):
                    assert answered and not reported
                    reported = True
                case Free(request_id):
                    assert request_id == f"r{number}" and reported and not freed
                    freed = True
                case Announce():
                    announced = True
                case KillRuntime() | Relaunch() | Launch():
                    assert crew.shutdown is None or commands.index(command) < len(commands)
                case KillEnvironment():
                    assert stopping
                    assert env.state is State.STOPPED
                    return
        assert len(crew.members) <= extensions.MOST_EXTENSIONS
        assert not (crew.tail and crew.shutdown)
        assert bool(crew.deferred) == (crew.shutdown is not None)
        if crew.tail or crew.shutdown or env.state in (State.INIT, State.BUSY, State.REINIT):
            assert extensions.deadline_s(crew, env) is not None
        if crew.launching:
            assert not any(one.phase is Phase.READY and not one.identifier for one in crew.members)
    raise AssertionError("a stop that came to no end")

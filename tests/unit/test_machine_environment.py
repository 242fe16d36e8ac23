"""Transcripts of one execution environment: `>>` feeds an event, `<<` states the commands it must cause, in order."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.machines import environment as machine
from lambdad.machines.environment import (
    Announce,
    Cause,
    Deliver,
    ErrorPosted,
    Exited,
    Finish,
    IllegalEvent,
    InitErrorPosted,
    InvokeArrived,
    KillEnvironment,
    KillRuntime,
    NextCalled,
    OversizePosted,
    PollLost,
    Relaunch,
    ReportInit,
    ResponsePosted,
    State,
    StopAsked,
    Tick,
)


@dataclass
class Playbook:
    env: machine.Environment = field(default_factory=lambda: machine.begin(0.0))
    now_s: float = 0.0
    got: list[machine.Command] = field(default_factory=list)

    def at(self, now_s: float) -> "Playbook":
        self.now_s = now_s
        return self

    def __rshift__(self, event: machine.Event) -> "Playbook":
        assert not self.got, f"unexpected commands {self.got}"
        self.env, self.got = machine.step(self.env, event, self.now_s)
        return self

    def __lshift__(self, command: machine.Command) -> "Playbook":
        assert self.got and self.got[0] == command, f"wanted {command}, got {self.got}"
        self.got = self.got[1:]
        return self

    def __bool__(self) -> bool:
        return not self.got


def ready() -> Playbook:
    play = Playbook().at(0.5) >> NextCalled() << Announce(0.5)
    assert play
    return play


def test_cold_start_then_two_invocations_in_one_environment():
    """After a response and the next poll, the same environment takes another invocation."""
    assert (
        (ready().at(1) >> InvokeArrived("r1", 3) << Deliver("r1")).at(1.25)
        >> ResponsePosted("r1")
        << Finish("r1", Cause.SUCCESS, 0.25)
        >> NextCalled()
        >> InvokeArrived("r2", 3)
        << Deliver("r2")
    )


def test_a_poll_that_is_given_up_is_not_answered():
    """What arrives while nobody polls is delivered to the next poll; at any other time a lost poll means nothing."""
    play = ready() >> PollLost()
    assert play and play.at(1) >> InvokeArrived("r1", 3)
    assert play.at(1.5) >> NextCalled() << Deliver("r1")
    assert play >> PollLost()
    assert play >> ResponsePosted("r1") << Finish("r1", Cause.SUCCESS, 0.5) >> PollLost() >> NextCalled()


def test_an_invocation_that_arrives_before_the_next_poll_waits_for_it():
    """The caller's time runs from its arrival, the runtime gets it at its poll."""
    play = ready() >> InvokeArrived("r1", 3) << Deliver("r1") >> ResponsePosted("r1") << Finish("r1", Cause.SUCCESS, 0)
    assert play.at(1) >> InvokeArrived("r2", 3)
    assert play.at(1.5) >> NextCalled() << Deliver("r2")
    assert play.env.deadline_s == 4


def test_timeout_answers_the_caller_before_it_kills():
    """The caller gets its error first; the processes die second; the environment stays."""
    play = ready() >> InvokeArrived("r1", 3) << Deliver("r1")
    assert play.at(3.4) >> Tick()
    assert play.at(3.5) >> Tick() << Finish("r1", Cause.TIMEOUT, 3.0) << KillRuntime()
    assert play.env.state is State.RESET
    assert play >> InvokeArrived("r2", 3) << Relaunch()
    assert play.at(3.75) >> NextCalled() << ReportInit(Cause.SUCCESS, 0.25, "invoke") << Deliver("r2")


def test_a_failed_init_is_tried_again_within_the_first_invocation():
    """An error of Init is told to nobody; the second one is the invocation's answer."""
    play = Playbook().at(1) >> InitErrorPosted() << ReportInit(Cause.FUNCTION_ERROR, 1, "init") << KillRuntime() << Announce(1)
    assert play >> InvokeArrived("r1", 3) << Relaunch()
    assert play.at(2) >> Exited() << ReportInit(Cause.EXIT, 1, "invoke") << Finish("r1", Cause.EXIT, 1) << KillRuntime()


def test_init_that_takes_too_long_is_cut_off_and_tried_again():
    """Ten seconds are all that Init has; the second try has the function's own timeout."""
    play = Playbook().at(10) >> Tick() << ReportInit(Cause.TIMEOUT, 10, "init") << KillRuntime() << Announce(10)
    assert play >> InvokeArrived("r1", 3) << Relaunch()
    assert play.at(13) >> Tick() << ReportInit(Cause.TIMEOUT, 3, "invoke") << Finish("r1", Cause.TIMEOUT, 3) << KillRuntime()


def test_exit_in_an_invocation_fails_it():
    """A runtime that exits in the middle fails its invocation at once."""
    assert ready() >> InvokeArrived("r1", 3) << Deliver("r1") >> Exited() << Finish("r1", Cause.EXIT, 0) << KillRuntime()


def test_exit_before_the_next_poll_starts_the_runtime_anew_for_who_waits():
    """An invocation that waits for the poll of a runtime that dies instead is run by a new one."""
    play = ready() >> InvokeArrived("r1", 3) << Deliver("r1") >> ErrorPosted("r1") << Finish("r1", Cause.FUNCTION_ERROR, 0)
    assert play >> InvokeArrived("r2", 3) >> Exited() << KillRuntime() << Relaunch()


def test_an_answer_that_is_too_large_keeps_the_environment():
    """Only the answer is refused."""
    play = ready() >> InvokeArrived("r1", 3) << Deliver("r1") >> OversizePosted("r1") << Finish("r1", Cause.TOO_LARGE, 0)
    assert play >> NextCalled()
    assert play.env.state is State.READY


@pytest.mark.parametrize("event", [ResponsePosted("other"), NextCalled(), InvokeArrived("r2", 1), InitErrorPosted()])
def test_what_a_busy_runtime_must_not_do(event: machine.Event):
    """A runtime that breaks the order of calls is refused, and nothing changes."""
    play = ready() >> InvokeArrived("r1", 3) << Deliver("r1")
    before = play.env
    with pytest.raises(IllegalEvent):
        play >> event
    assert play.env == before


def test_stop_ends_it_once():
    """Stopping is final, whatever comes after."""
    play = ready() >> StopAsked() << KillEnvironment() >> StopAsked() >> Exited() >> Tick() >> NextCalled()
    with pytest.raises(IllegalEvent):
        play >> InvokeArrived("r2", 1)


EVENTS = st.one_of(
    st.just(NextCalled()),
    st.just(PollLost()),
    st.just(InitErrorPosted()),
    st.builds(InvokeArrived, st.sampled_from(["a", "b"]), st.just(3.0)),
    st.builds(ResponsePosted, st.sampled_from(["a", "b"])),
    st.builds(ErrorPosted, st.sampled_from(["a", "b"])),
    st.builds(OversizePosted, st.sampled_from(["a", "b"])),
    st.just(Exited()),
    st.just(Tick()),
    st.just(StopAsked()),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(EVENTS, st.floats(0, 6)), max_size=40))
def test_any_order_of_events_keeps_the_promises(history: list[tuple[machine.Event, float]]):
    """Every invocation that is taken is finished exactly once, unless the environment is stopped; deadlines stand where they must."""
    env, now_s, open_request = machine.begin(0.0), 0.0, None
    for event, passed_s in history:
        now_s += passed_s
        try:
            env, commands = machine.step(env, event, now_s)
        except IllegalEvent:
            continue
        if isinstance(event, InvokeArrived):
            assert open_request is None
            open_request = event.request_id
        for command in commands:
            if isinstance(command, Finish):
                assert command.request_id == open_request
                open_request = None
            if isinstance(command, Deliver):
                assert command.request_id == open_request
        if env.state is State.STOPPED:
            assert env.deadline_s is None
            return
        assert env.request_id == open_request
        timed = env.state in (State.INIT, State.BUSY, State.REINIT) or (env.state is State.SETTLING and open_request is not None)
        assert (env.deadline_s is not None) == timed


@pytest.mark.parametrize(
    ("kind", "timeout_s", "limit_s"),
    [("on-demand", 900, 10), ("provisioned-concurrency", 3, 130), ("snap-start", 300, 300), ("provisioned-concurrency", 2000, 900)],
)
def test_init_has_longer_where_nobody_waits_for_it(kind, timeout_s, limit_s):
    """Ten seconds on demand; ahead of invocations 130 seconds or the function's timeout, whichever is longer, up to 15 minutes."""
    limit = machine.init_limit_s(kind, timeout_s)
    assert limit == limit_s
    env = machine.begin(0.0, limit)
    assert machine.step(env, Tick(), limit - 0.1) == (env, [])
    assert machine.step(env, Tick(), limit)[1][0] == ReportInit(Cause.TIMEOUT, limit, "init")

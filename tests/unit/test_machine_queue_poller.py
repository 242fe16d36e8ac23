"""The queue poller: playbooks of what it does, and a naive twin of what it must never do."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lambdad.machines import queue_poller as machine
from lambdad.machines.queue_poller import (
    BreakOff,
    Command,
    Configured,
    Delete,
    Deleted,
    DeleteFailed,
    End,
    Event,
    Forget,
    Halted,
    IllegalEvent,
    Invoke,
    Message,
    NotRun,
    Phase,
    Poller,
    Ran,
    Receive,
    Received,
    ReceiveFailed,
    Resumed,
    Return,
    Settings,
    State,
    Stopped,
    TickAt,
    Ticked,
    TimeCame,
    WakeAt,
)


class Playbook:
    """`say` an event at a time, and see the commands."""

    def __init__(self, **settings: Any) -> None:
        self.poller = machine.new(Settings(**{"batch_size": 10, **settings}))
        self.now_s = 100.0

    def say(self, event: Event, after_s: float = 0.0) -> list[Command]:
        self.now_s += after_s
        self.poller, commands = machine.step(self.poller, event, self.now_s)
        return commands


def messages(*numbers: int, size_bytes: int = 100, group: str = "") -> tuple[Message, ...]:
    return tuple(Message(number, size_bytes, group) for number in numbers)


def test_a_batch_from_the_receive_to_the_deletion() -> None:
    """One long poll waits while there is nothing; a batch is invoked, deleted, and the next poll begins beside it."""
    play = Playbook()
    assert play.say(Resumed()) == [Receive(1, 10, 20)]
    assert play.say(Received(1, messages(1, 2), taken=2), after_s=5) == [Invoke(1, (1, 2)), Receive(2, 10, 20), Receive(3, 10, 20)]
    assert play.say(Ran(1)) == [Delete(1, (1, 2))]
    assert play.say(Deleted(1)) == []
    assert set(play.poller.lanes) == {2, 3}


def test_an_empty_queue_has_one_poll() -> None:
    """However many polls a backlog called for, of an empty queue one is left."""
    play = Playbook()
    play.say(Resumed())
    play.say(Received(1, messages(*range(1, 11)), taken=10))
    assert set(play.poller.lanes) == {1, 2, 3}
    assert play.say(Received(2, (), taken=0), after_s=20) == []
    assert play.say(Received(3, (), taken=0)) == [Receive(4, 10, 20)]


def test_a_queue_that_does_not_wait_is_not_asked_without_end() -> None:
    """A receive that comes back empty at once is followed by a pause."""
    play = Playbook()
    play.say(Resumed())
    assert play.say(Received(1, (), taken=0), after_s=0.01) == [WakeAt(1, play.now_s + 1)]
    assert play.say(TimeCame(1), after_s=1) == [Receive(1, 10, 20)]


def test_what_no_filter_lets_pass_is_not_invoked() -> None:
    """A receive of which nothing is for the function opens the next ones, for there may be more."""
    play = Playbook()
    play.say(Resumed())
    assert play.say(Received(1, (), taken=10)) == [Receive(2, 10, 20), Receive(3, 10, 20)]


def test_a_lane_that_only_deletes_has_left_its_place() -> None:
    """The next batch is received while the last one is deleted, and there are never more deletions than places."""
    play = Playbook(floor=2, ceiling=2)
    play.say(Resumed())
    play.say(Received(1, messages(1), taken=1))
    play.say(Received(2, messages(2), taken=1))
    assert play.say(Ran(1)) == [Delete(1, (1,)), Receive(3, 10, 20)]
    play.say(Received(3, messages(3), taken=1))
    assert play.say(Ran(2)) == [Delete(2, (2,)), Receive(4, 10, 20)]
    play.say(Received(4, messages(4), taken=1))
    assert play.say(Ran(3)) == [Delete(3, (3,))]
    assert play.say(Deleted(1)) == [Receive(5, 10, 20)]


def test_failed_messages_are_left_to_the_queue() -> None:
    """Nothing is done with what has failed; the rest of the batch is deleted."""
    play = Playbook()
    play.say(Resumed())
    play.say(Received(1, messages(1, 2, 3), taken=3))
    assert play.say(Ran(1, frozenset((2,)))) == [Forget((2,)), Delete(1, (1, 3))]


def test_a_batch_that_failed_is_forgotten() -> None:
    """After a function error the lane is free at once."""
    play = Playbook()
    play.say(Resumed())
    play.say(Received(1, messages(1, 2), taken=2))
    assert play.say(Ran(1, frozenset((1, 2)))) == [Forget((1, 2))]
    assert 1 not in play.poller.lanes


def test_a_throttled_batch_is_tried_again_while_it_is_ours() -> None:
    """Throttles are waited out, longer each time, and given up before the messages become visible."""
    play = Playbook(visibility_s=4.0)
    play.say(Resumed())
    play.say(Received(1, messages(1), taken=1))
    at_s = play.now_s
    waits: list[float] = []
    while True:
        commands = play.say(NotRun(1, draw=0.5))
        if not isinstance(commands[0], WakeAt):
            break
        waits.append(commands[0].at_s - play.now_s)
        assert play.say(TimeCame(1), after_s=waits[-1]) == [Invoke(1, (1,))]
    assert commands[0] == Forget((1,))
    assert waits == pytest.approx([0.075, 0.15, 0.3, 0.6, 1.2])
    assert play.now_s - at_s < 4.0 - machine.MARGIN_S


def test_throttles_let_fewer_lanes_open() -> None:
    """A function that may run twice at once soon has two lanes, and gets more only after a while."""
    play = Playbook(visibility_s=600)
    play.say(Resumed())
    for lane in range(1, 6):
        play.say(Received(lane, messages(*range(lane * 10, lane * 10 + 10)), taken=10))
    for lane in (3, 4, 5):
        play.say(NotRun(lane))
    assert play.poller.allowance == 2
    play.say(Ran(1))
    assert play.say(Deleted(1)) == []
    play.say(Ticked())
    assert play.poller.allowance == 2


def test_a_backlog_makes_it_grow_to_the_ceiling() -> None:
    """While every lane is busy and more comes, five lanes a second are added; without a backlog they go again."""
    play = Playbook(ceiling=12)
    play.say(Resumed())
    ticks: list[TickAt] = []

    def fill() -> None:
        for lane_id, lane in list(play.poller.lanes.items()):
            if lane.state is State.RECEIVING:
                commands = play.say(Received(lane_id, messages(*range(lane_id * 10, lane_id * 10 + 10)), taken=10))
                ticks.extend(command for command in commands if isinstance(command, TickAt))

    for _ in range(5):
        fill()
    assert len(play.poller.lanes) == 5
    assert ticks == [TickAt(play.now_s + 1)]
    play.say(Ticked(), after_s=1)
    assert play.poller.allowance == 10
    for _ in range(5):
        fill()
    assert len(play.poller.lanes) == 10
    play.say(Ticked(), after_s=1)
    assert play.poller.allowance == 12
    for lane_id in list(play.poller.lanes):
        if play.poller.lanes[lane_id].state is State.INVOKING:
            play.say(Ran(lane_id))
            play.say(Deleted(lane_id))
    waiting = next(lane_id for lane_id, lane in play.poller.lanes.items() if lane.state is State.RECEIVING)
    play.say(Received(waiting, (), taken=0), after_s=20)
    assert play.poller.allowance == 6


def test_a_window_collects_until_it_is_over() -> None:
    """Waits are whole seconds; the rest is slept, and what has come meanwhile is taken along."""
    play = Playbook(batch_size=100, window_s=2.5)
    assert play.say(Resumed()) == [Receive(1, 10, 20)]
    assert play.say(Received(1, messages(1), taken=1), after_s=3) == [Receive(1, 10, 2)]
    assert play.say(Received(1, (), taken=0), after_s=2) == [WakeAt(1, play.now_s + 0.5)]
    assert play.say(TimeCame(1), after_s=0.5) == [Receive(1, 10, 0)]
    assert play.say(Received(1, messages(*range(2, 12)), taken=10)) == [Receive(1, 10, 0), Receive(2, 10, 20)]
    assert play.say(Received(1, messages(12), taken=1))[0] == Invoke(1, tuple(range(1, 13)))


def test_a_full_batch_does_not_wait_for_its_window() -> None:
    """A batch is invoked as soon as it has its size, and never has more."""
    play = Playbook(batch_size=15, window_s=300)
    play.say(Resumed())
    assert play.say(Received(1, messages(*range(10)), taken=10))[0] == Receive(1, 5, 20)
    assert play.say(Received(1, messages(*range(10, 15)), taken=5))[0] == Invoke(1, tuple(range(15)))


def test_a_batch_is_cut_at_the_payload_limit() -> None:
    """What does not fit into 6 MB is the lane's next batch, without a new receive."""
    play = Playbook()
    play.say(Resumed())
    big = messages(1, 2, 3, size_bytes=3 * 1024 * 1024 - 10)
    assert play.say(Received(1, big, taken=3))[0] == Invoke(1, (1, 2))
    assert play.say(Ran(1)) == [Delete(1, (1, 2))]
    assert play.say(Deleted(1))[0] == Invoke(1, (3,))


def test_the_limit_is_exact() -> None:
    """Envelope, commas and records together may be 6 MB and not a byte more."""
    half = (machine.PAYLOAD_BYTES - machine.ENVELOPE_BYTES - 1) // 2
    odd = (machine.PAYLOAD_BYTES - machine.ENVELOPE_BYTES - 1) % 2
    fits = (Message(1, half), Message(2, half + odd))
    assert machine._cut(fits, 10) == (fits, ())
    over = (Message(1, half), Message(2, half + odd + 1))
    assert machine._cut(over, 10) == (over[:1], over[1:])


def test_nothing_of_a_group_overtakes_what_failed() -> None:
    """What is left over of a FIFO receive is given up with its group, and goes on where its group has not failed."""
    play = Playbook(is_fifo=True)
    play.say(Resumed())
    size = 3 * 1024 * 1024 - 10
    received = (Message(1, size, "a"), Message(2, size, "b"), Message(3, 10, "a"), Message(4, 10, "b"))
    assert play.say(Received(1, received, taken=4))[0] == Invoke(1, (1, 2))
    assert play.say(Ran(1, frozenset((1,)))) == [Forget((1,)), Forget((3,)), Delete(1, (2,))]
    assert play.say(Deleted(1))[0] == Invoke(1, (4,))


def test_a_group_is_in_one_lane_at_a_time() -> None:
    """Messages that come again while another lane works on their group are left alone."""
    play = Playbook(is_fifo=True)
    play.say(Resumed())
    play.say(Received(1, messages(1, group="a"), taken=1))
    commands = play.say(Received(2, (*messages(2, group="a"), *messages(3, group="b")), taken=2))
    assert commands[:2] == [Forget((2,)), Invoke(2, (3,))]


def test_a_group_goes_on_before_its_deletion_is_confirmed() -> None:
    """The queue gives out the next message of a group as soon as the last one is deleted, and that may be heard of first."""
    play = Playbook(is_fifo=True)
    play.say(Resumed())
    play.say(Received(1, messages(1, group="a"), taken=1))
    play.say(Ran(1))
    assert play.say(Received(2, messages(2, group="a"), taken=1))[0] == Invoke(2, (2,))


def test_a_failing_receive_is_tried_again_ever_later() -> None:
    """One lane goes on trying, after half a second at first and a minute at last."""
    play = Playbook()
    play.say(Resumed())
    waits = []
    for _ in range(10):
        (command,) = play.say(ReceiveFailed(1))
        assert isinstance(command, WakeAt)
        waits.append(command.at_s - play.now_s)
        assert play.say(TimeCame(1), after_s=waits[-1]) == [Receive(1, 10, 20)]
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60])
    play.say(Received(1, (), taken=0), after_s=20)
    assert play.poller.failures == 0


def test_what_was_collected_is_seen_off_when_the_queue_fails() -> None:
    """A receive that fails in the middle of a window ends the window."""
    play = Playbook(batch_size=100, window_s=60)
    play.say(Resumed())
    play.say(Received(1, messages(1), taken=1))
    assert play.say(ReceiveFailed(1))[0] == Invoke(1, (1,))


def test_a_deletion_that_fails_is_tried_again() -> None:
    """What could not be deleted is tried a few times, and then comes again."""
    play = Playbook()
    play.say(Resumed())
    play.say(Received(1, messages(1, 2), taken=2))
    play.say(Ran(1))
    for _ in range(machine.DELETE_ATTEMPTS - 1):
        (command,) = play.say(DeleteFailed(1, (2,)))
        assert isinstance(command, WakeAt)
        assert play.say(TimeCame(1), after_s=command.at_s - play.now_s) == [Delete(1, (2,))]
    assert play.say(DeleteFailed(1, (2,)))[0] == Forget((2,))


def test_a_halt_lets_the_running_end_and_gives_the_rest_back() -> None:
    """Nothing is received while the function cannot be invoked; what has not begun is visible again at once."""
    play = Playbook(batch_size=100, window_s=60)
    play.say(Resumed())
    play.say(Received(1, messages(1), taken=1))
    assert play.say(Halted()) == [BreakOff(1), Return((1,))]
    assert play.say(Received(1, messages(2), taken=1)) == [Return((2,))]
    assert play.say(Resumed()) == [Receive(2, 10, 20)]


def test_a_stop_ends_with_the_last_invocation() -> None:
    """The poller ends when what runs has ended, its deletions included."""
    play = Playbook()
    play.say(Resumed())
    play.say(Received(1, messages(1), taken=1))
    assert play.say(Stopped()) == [BreakOff(2), BreakOff(3)]
    assert play.say(Ran(1)) == [Delete(1, (1,))]
    assert play.say(Deleted(1)) == [End()]
    assert play.poller.phase is Phase.ENDED


def test_a_stop_gives_back_what_is_throttled() -> None:
    """A batch that waits for another try is not waited for."""
    play = Playbook()
    play.say(Resumed())
    play.say(Received(1, messages(1), taken=1))
    play.say(NotRun(1))
    assert Return((1,)) in play.say(Stopped())


def test_another_concurrency_holds_at_once() -> None:
    """A lower maximum lets no further lane open until enough have closed."""
    play = Playbook()
    play.say(Resumed())
    for lane in (1, 2, 3):
        play.say(Received(lane, messages(lane), taken=1))
    play.say(Configured(Settings(batch_size=10, floor=2, ceiling=2)))
    play.say(Ran(1))
    assert play.say(Deleted(1)) == []


def test_what_cannot_happen_is_an_error() -> None:
    """Events of lanes in another state are faults of the driver."""
    play = Playbook()
    play.say(Resumed())
    with pytest.raises(IllegalEvent):
        play.say(Ran(1))
    with pytest.raises(IllegalEvent):
        play.say(Deleted(9))


@dataclass
class Twin:
    """What happens to messages, naively."""

    group: dict[int, str] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    receives: dict[int, int] = field(default_factory=dict)
    broken_off: set[int] = field(default_factory=set)
    invocations: dict[int, tuple[int, ...]] = field(default_factory=dict)
    deletions: dict[int, tuple[int, ...]] = field(default_factory=dict)
    timers: list[tuple[float, int]] = field(default_factory=list)
    overtaken: set[int] = field(default_factory=set)  # a message of their group, received before them or together, has failed
    most: int = 0  # the highest ceiling that there was: what runs is not ended for a lower one
    ticks: int = 0
    has_ended: bool = False


class Naive(RuleBasedStateMachine):
    """Whatever happens: each message received is settled once, limits hold, groups keep their order, nothing gets stuck."""

    def __init__(self) -> None:
        super().__init__()
        self.twin = Twin()
        self.now_s = 0.0
        self.poller: Poller | None = None
        self.next_number = 1

    @initialize(batch_size=st.integers(1, 25), window_s=st.sampled_from([0.0, 1.0, 5.0]), is_fifo=st.booleans(), ceiling=st.integers(2, 9))
    def begin(self, batch_size: int, window_s: float, is_fifo: bool, ceiling: int) -> None:
        if is_fifo:
            batch_size, window_s = min(batch_size, 10), 0.0
        settings = Settings(batch_size=batch_size, window_s=window_s, is_fifo=is_fifo, floor=min(5, ceiling), ceiling=ceiling)
        self.poller = machine.new(settings)
        self.twin.most = ceiling
        self.say(Resumed())

    def say(self, event: Event) -> None:
        assert self.poller is not None
        twin = self.twin
        self.poller, commands = machine.step(self.poller, event, self.now_s)
        settings = self.poller.settings
        for command in commands:
            assert not twin.has_ended
            match command:
                case Receive(lane, count, wait_s):
                    assert lane not in twin.receives and 1 <= count <= min(10, settings.batch_size) and 0 <= wait_s <= 20
                    twin.receives[lane] = count
                case BreakOff(lane):
                    twin.broken_off |= {lane} & twin.receives.keys()
                case Invoke(lane, numbers):
                    assert lane not in twin.invocations and 1 <= len(numbers) <= settings.batch_size
                    assert set(numbers) <= twin.held
                    if settings.is_fifo:
                        assert list(numbers) == sorted(numbers)
                        assert twin.overtaken.isdisjoint(numbers)
                        groups = {twin.group[number] for number in numbers}
                        for others in twin.invocations.values():
                            assert groups.isdisjoint(twin.group[number] for number in others)
                    twin.invocations[lane] = numbers
                    assert len(twin.invocations) <= twin.most
                case Delete(lane, numbers):
                    assert lane not in twin.deletions and set(numbers) <= twin.held
                    twin.deletions[lane] = numbers
                case Return(numbers) | Forget(numbers):
                    assert len(set(numbers)) == len(numbers) and set(numbers) <= twin.held
                    twin.held -= set(numbers)
                    twin.settled |= set(numbers)
                case WakeAt(lane, at_s):
                    assert at_s >= self.now_s
                    twin.timers.append((at_s, lane))
                case TickAt():
                    twin.ticks += 1
                case End():
                    twin.has_ended = True

    def pick(self, data: st.DataObject, options: list[int]) -> int:
        return data.draw(st.sampled_from(sorted(options)))

    @rule(seconds=st.sampled_from([0.0, 0.4, 1.0, 7.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.twin.receives)
    @rule(data=st.data(), count=st.integers(0, 10), wanted=st.integers(0, 10), size=st.sampled_from([100, 2_500_000]))
    def receive(self, data: st.DataObject, count: int, wanted: int, size: int) -> None:
        lane = self.pick(data, list(self.twin.receives))
        taken = min(count, self.twin.receives.pop(lane))
        given = []
        for _ in range(min(taken, wanted)):
            group = data.draw(st.sampled_from("abc"))
            given.append(Message(self.next_number, size, group))
            self.twin.group[self.next_number] = group
            self.twin.held.add(self.next_number)
            self.next_number += 1
        if lane in self.twin.broken_off and not given:
            return
        self.say(Received(lane, tuple(given), taken))

    @precondition(lambda self: self.twin.receives)
    @rule(data=st.data())
    def fail_to_receive(self, data: st.DataObject) -> None:
        lane = self.pick(data, list(self.twin.receives))
        del self.twin.receives[lane]
        self.say(ReceiveFailed(lane))

    @precondition(lambda self: self.twin.invocations)
    @rule(data=st.data(), failing=st.sampled_from([0.0, 0.5, 1.0]))
    def end_invocation(self, data: st.DataObject, failing: float) -> None:
        lane = self.pick(data, list(self.twin.invocations))
        numbers = self.twin.invocations.pop(lane)
        failed = frozenset(number for number in numbers if data.draw(st.floats(0, 1, exclude_max=True)) < failing)
        for number in failed:
            group = self.twin.group[number]
            self.twin.overtaken |= {late for late in self.twin.held if late > number and self.twin.group[late] == group}
        self.say(Ran(lane, failed))

    @precondition(lambda self: self.twin.invocations)
    @rule(data=st.data())
    def throttle(self, data: st.DataObject) -> None:
        lane = self.pick(data, list(self.twin.invocations))
        del self.twin.invocations[lane]
        self.say(NotRun(lane, 0.5))

    @precondition(lambda self: self.twin.deletions)
    @rule(data=st.data(), left=st.integers(0, 3))
    def end_deletion(self, data: st.DataObject, left: int) -> None:
        lane = self.pick(data, list(self.twin.deletions))
        numbers = self.twin.deletions.pop(lane)
        remaining = numbers[:left]
        gone = set(numbers) - set(remaining)
        self.twin.held -= gone
        self.twin.settled |= gone
        self.say(DeleteFailed(lane, remaining) if remaining else Deleted(lane))

    @precondition(lambda self: self.twin.timers)
    @rule()
    def fire(self) -> None:
        at_s, lane = min(self.twin.timers)
        self.twin.timers.remove((at_s, lane))
        self.now_s = max(self.now_s, at_s)
        self.say(TimeCame(lane))

    @precondition(lambda self: self.twin.ticks)
    @rule()
    def tick(self) -> None:
        self.twin.ticks -= 1
        self.now_s += 1
        self.say(Ticked())

    @rule(event=st.sampled_from([Halted(), Resumed()]))
    def turn(self, event: Event) -> None:
        self.say(event)

    @rule(ceiling=st.integers(2, 9))
    def configure(self, ceiling: int) -> None:
        assert self.poller is not None
        old = self.poller.settings
        self.twin.most = max(self.twin.most, ceiling)
        self.say(
            Configured(
                Settings(batch_size=old.batch_size, window_s=old.window_s, is_fifo=old.is_fifo, floor=min(5, ceiling), ceiling=ceiling)
            )
        )

    @invariant()
    def each_message_is_in_one_place(self) -> None:
        if self.poller is None:
            return
        assert self.poller.seeking == {lane_id for lane_id, lane in self.poller.lanes.items() if machine._is_seeking(lane)}
        assert self.poller.settling == {lane_id for lane_id, lane in self.poller.lanes.items() if machine._is_settling(lane)}
        carried = [number for lane in self.poller.lanes.values() for number in lane.numbers()]
        assert len(carried) == len(set(carried))
        assert self.twin.held <= set(carried)
        assert self.twin.held.isdisjoint(self.twin.settled)

    @invariant()
    def nothing_gets_stuck(self) -> None:
        if self.poller is None:
            return
        lanes = set(self.poller.lanes)
        driven = set(self.twin.receives) | set(self.twin.invocations) | set(self.twin.deletions) | {lane for _, lane in self.twin.timers}
        assert lanes <= driven
        if self.poller.phase is Phase.RUNNING:
            assert lanes, "nothing would ever happen again"
            assert 1 <= self.poller.allowance <= self.poller.settings.ceiling

    def teardown(self) -> None:
        """Stop, let everything end, and see that nothing is left."""
        if self.poller is None:
            return
        self.say(Stopped())
        while self.twin.invocations or self.twin.deletions:
            for lane in list(self.twin.invocations):
                del self.twin.invocations[lane]
                self.say(Ran(lane))
            for lane in list(self.twin.deletions):
                numbers = self.twin.deletions.pop(lane)
                self.twin.held -= set(numbers)
                self.say(Deleted(lane))
        for _, lane in sorted(self.twin.timers):
            self.say(TimeCame(lane))
            if lane in self.twin.deletions:
                self.twin.held -= set(self.twin.deletions.pop(lane))
                self.say(Deleted(lane))
        assert self.twin.has_ended
        assert not self.twin.held and not self.poller.lanes


TestNaive = Naive.TestCase
TestNaive.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)

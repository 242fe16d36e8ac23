"""What the poller of one queue does next: receive, collect a batch, invoke, delete, wait; and how many of these it does at once.

A *lane* carries one batch at a time, from the receive to the deletion:

    RECEIVING ──messages──► COLLECTING ──full, or its window is over──► INVOKING ──ran──► DELETING ──► (gone, or what is left over)
        │ nothing: gone                                        throttled │  ▲                 │  ▲
        └ failed: WAITING ► RECEIVING                           WAITING ◄┘──┘     it failed: WAITING

The poller opens lanes: as many receives as the backlog asks for, one where there is none, and no more lanes than `allowance`, which grows
while there is a backlog that every lane is busy with, and shrinks when the queue is empty, the function is throttled or fails. A lane that
receives has its place among those that may invoke, so nothing is received that could not be invoked. One that has only to delete has left
its place, as long as there are not more of these than of the others.

What a lane has received ends in exactly one of three ways: Delete (done with), Return (visible again at once), Forget (visible again by
the queue's own timeout). The queue counts receives and knows about dead letters; this does not.

Knows messages by number, size and group; does not know bodies, SQS, clocks or tasks. Of a FIFO queue, no two lanes ever carry messages of
one group, and after a failure nothing later of its group is invoked before it comes again.

Ordering: commands are carried out in the order given.

Source: AWS Lambda developer guide, "Using Lambda with Amazon SQS".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias, assert_never

RECEIVE_MAX = 10  # SQS gives no more at once
LONG_POLL_S = 20
POLLS_MAX = 10  # receives that wait or collect at the same time
PAYLOAD_BYTES = 6 * 1024 * 1024
ENVELOPE_BYTES = len('{"Records":[]}')
STEP_S = 1.0  # between two steps of growth
CALM_S = 10.0  # no growth for so long after a throttle
RETRY_FIRST_S = 0.1  # after a throttle, or a deletion that failed; doubled with each in a row
RETRY_MAX_S = 5.0
RECEIVE_RETRY_FIRST_S = 0.5
RECEIVE_RETRY_MAX_S = 60.0
PAUSE_S = 1.0  # before the next receive where one has come back empty without having waited
DELETE_ATTEMPTS = 6
MARGIN_S = 1.0  # nothing is tried again so shortly before messages become visible


_NOTHING: tuple["Message", ...] = ()


class State(StrEnum):
    """What a lane does."""

    RECEIVING = "receiving"
    COLLECTING = "collecting"
    INVOKING = "invoking"
    DELETING = "deleting"
    WAITING = "waiting"


class Phase(StrEnum):
    """Whether the poller may begin anything."""

    RUNNING = "running"
    HALTED = "halted"
    STOPPING = "stopping"
    ENDED = "ended"


class IllegalEvent(Exception):
    """The driver has seen what cannot happen."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message; `number` is the driver's name for it, `group` is "" where the queue is not FIFO."""

    number: int
    size_bytes: int
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a mapping is to be worked off.

    Args:
        batch_size: 1..10,000 messages.
        window_s: how long a batch may be collected, 0: not at all.
        is_fifo: keep the order within groups.
        floor: lanes that may always be open, and that there may be at first.
        ceiling: lanes that may ever be open.
        growth_per_s: lanes that may be added per second of backlog.
        visibility_s: how long a received message stays ours.
    """

    batch_size: int
    window_s: float = 0.0
    is_fifo: bool = False
    floor: int = 5
    ceiling: int = 1250
    growth_per_s: float = 5.0
    visibility_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One batch on its way.

    Invariants: `batch` is empty in RECEIVING, and not in INVOKING and DELETING; `rest` has what was received beyond the batch, and is
    empty while collecting. `to_delete` is set in DELETING, and in WAITING for another try to delete.
    """

    state: State
    batch: tuple[Message, ...] = ()
    rest: tuple[Message, ...] = ()
    asked: int = 0  # of the receive that runs, or ran last
    asked_at_s: float = 0.0
    size_bytes: int = 0  # of the batch while it is collected, a comma with each message
    window_ends_s: float = 0.0
    has_slept: bool = False  # until its window's end; what has come meanwhile is still collected
    ours_until_s: float = 0.0
    tries: int = 0  # in a row, without success
    to_delete: tuple[int, ...] = ()

    def numbers(self) -> tuple[int, ...]:
        return tuple(message.number for message in (*self.batch, *self.rest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Poller:
    """The poller of one queue for one mapping. Invariant: 1 <= allowance <= settings.ceiling."""

    settings: Settings
    allowance: float
    phase: Phase = Phase.HALTED
    lanes: Mapping[int, Lane] = field(default_factory=dict)
    seeking: frozenset[int] = frozenset()  # lanes that look for messages, or wait before they do again
    settling: frozenset[int] = frozenset()  # lanes that have only to delete
    next_lane: int = 1
    polls: int = 1  # receives that are worth while at the same time
    has_backlog: bool = False  # the last receive has brought something
    failures: int = 0  # of receives, in a row
    is_ticking: bool = False
    calm_until_s: float = 0.0


# Events: what the driver has seen.
@dataclass(frozen=True, slots=True)
class Resumed:
    """The function can be invoked, as far as is known. The first event, too."""


@dataclass(frozen=True, slots=True)
class Halted:
    """The function cannot be invoked."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Begin nothing more; the poller ends when what runs has ended."""


@dataclass(frozen=True, slots=True)
class Configured:
    settings: Settings


@dataclass(frozen=True, slots=True)
class Received:
    """A receive has ended: `taken` messages came, of which `messages` are for the function."""

    lane: int
    messages: tuple[Message, ...]
    taken: int


@dataclass(frozen=True, slots=True)
class ReceiveFailed:
    lane: int


@dataclass(frozen=True, slots=True)
class Ran:
    """The function has run; `failed` are the messages that it has not dealt with."""

    lane: int
    failed: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class NotRun:
    """The function could not run: throttled, or no room. `draw` is random in [0, 1)."""

    lane: int
    draw: float = 0.0


@dataclass(frozen=True, slots=True)
class Deleted:
    lane: int


@dataclass(frozen=True, slots=True)
class DeleteFailed:
    """`remaining` could not be deleted."""

    lane: int
    remaining: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TimeCame:
    """What WakeAt asked for; a lane that is gone is passed over."""

    lane: int


@dataclass(frozen=True, slots=True)
class Ticked:
    """What TickAt asked for."""


Event: TypeAlias = (
    Resumed | Halted | Stopped | Configured | Received | ReceiveFailed | Ran | NotRun | Deleted | DeleteFailed | TimeCame | Ticked
)


# Commands: what the driver is to do.
@dataclass(frozen=True, slots=True)
class Receive:
    """Ask the queue for up to `count` messages, and wait for the first for `wait_s` at most; answer by Received or ReceiveFailed."""

    lane: int
    count: int
    wait_s: int


@dataclass(frozen=True, slots=True)
class BreakOff:
    """Wait no longer for a receive, if one runs; what it brings all the same is still to be said by Received."""

    lane: int


@dataclass(frozen=True, slots=True)
class Invoke:
    """Run the function; answer by Ran or NotRun."""

    lane: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete messages, and forget them; answer by Deleted or DeleteFailed."""

    lane: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Return:
    """Make messages visible again at once, and forget them."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Forget:
    """Leave messages to the queue's timeout."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WakeAt:
    lane: int
    at_s: float


@dataclass(frozen=True, slots=True)
class TickAt:
    at_s: float


@dataclass(frozen=True, slots=True)
class End:
    """Everything has ended; the last command."""


Command: TypeAlias = Receive | BreakOff | Invoke | Delete | Return | Forget | WakeAt | TickAt | End
Step: TypeAlias = tuple[Poller, list[Command]]


def new(settings: Settings) -> Poller:
    """Return a poller that does nothing before it is resumed."""
    return Poller(settings=settings, allowance=_bounded(settings, settings.floor))


def step(poller: Poller, event: Event, now_s: float) -> Step:
    """
    Say what comes of an event.

    Args:
        now_s: of a clock that never goes back.

    Raises:
        IllegalEvent: a lane is not in the state that the event belongs to.
    """
    poller, commands = _react(poller, event, now_s)
    poller, opened = _open_lanes(poller, now_s)
    commands += opened
    if poller.phase is Phase.STOPPING and not poller.lanes:
        return replace(poller, phase=Phase.ENDED), [*commands, End()]
    return poller, commands


def _react(poller: Poller, event: Event, now_s: float) -> Step:
    match event:
        case Resumed():
            return (replace(poller, phase=Phase.RUNNING) if poller.phase is Phase.HALTED else poller), []
        case Halted():
            return _wind_down(poller, Phase.HALTED) if poller.phase is Phase.RUNNING else (poller, [])
        case Stopped():
            running = poller.phase in (Phase.RUNNING, Phase.HALTED)
            return _wind_down(poller, Phase.STOPPING) if running else (poller, [])
        case Configured(settings):
            allowance = max(poller.allowance, settings.floor)
            return replace(poller, settings=settings, allowance=_bounded(settings, allowance)), []
        case Received():
            return _received(poller, event, now_s)
        case ReceiveFailed(lane_id):
            return _receive_failed(poller, lane_id, now_s)
        case Ran(lane_id, failed):
            return _ran(poller, lane_id, failed)
        case NotRun(lane_id, draw):
            return _not_run(poller, lane_id, draw, now_s)
        case Deleted(lane_id):
            lane = _in_state(poller, lane_id, State.DELETING)
            return _go_on(poller, lane_id, lane.rest, lane.ours_until_s)
        case DeleteFailed(lane_id, remaining):
            return _delete_failed(poller, lane_id, remaining, now_s)
        case TimeCame(lane_id):
            return _woken(poller, lane_id, now_s)
        case Ticked():
            return _grown(replace(poller, is_ticking=False), now_s), []
        case _:
            assert_never(event)


# --- receiving and collecting


def _received(poller: Poller, event: Received, now_s: float) -> Step:
    lane = poller.lanes.get(event.lane)
    if lane is None:  # it was broken off, and has brought something all the same
        return poller, _return(message.number for message in event.messages)
    if lane.state not in (State.RECEIVING, State.COLLECTING):
        raise IllegalEvent(f"{event} in {lane.state}")
    is_full = event.taken >= lane.asked
    poller = _measured(poller, event.taken, is_full)
    messages, blocked = _unblocked(poller, event.lane, event.messages)
    commands = _forget(message.number for message in blocked)
    if not lane.batch and not messages:
        if not event.taken and now_s - lane.asked_at_s < PAUSE_S:  # a queue that does not know long polls must not be asked without end
            return _with(poller, event.lane, Lane(state=State.WAITING)), [WakeAt(event.lane, now_s + PAUSE_S)]
        return _without(poller, event.lane), commands
    if not lane.batch:
        ends_s = now_s + poller.settings.window_s
        lane = replace(lane, window_ends_s=ends_s, ours_until_s=now_s + poller.settings.visibility_s)
    size_bytes = lane.size_bytes + sum(message.size_bytes for message in messages) + len(messages)
    lane = replace(lane, batch=lane.batch + messages, size_bytes=size_bytes)
    poller, more = _collect(poller, event.lane, lane, event.taken, is_full, now_s)
    return poller, commands + more


def _measured(poller: Poller, taken: int, is_full: bool) -> Poller:
    """Learn from what a receive has brought how many are worth while."""
    if not taken:
        # Down by halves to the floor: the longest backlog is forgotten after some minutes of empty receives.
        allowance = max(min(poller.allowance, poller.settings.floor), poller.allowance // 2)
        return replace(poller, failures=0, has_backlog=False, polls=1, allowance=allowance)
    if is_full:
        polls = poller.polls * 2
    else:  # there may be more, for a queue need not give all it has; but who collects does not want it spread over many batches
        polls = poller.polls + (0 if poller.settings.window_s else 1)
    return replace(poller, failures=0, has_backlog=True, polls=min(polls, POLLS_MAX))


def _unblocked(poller: Poller, lane_id: int, messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """
    Part messages from those whose group another lane is busy with: their visibility has run out while the function worked on them.

    A lane that deletes is done with its batch. The queue may give out the next of a group before we hear that the last one is deleted.
    """
    if not poller.settings.is_fifo:
        return messages, ()
    busy: set[str] = set()
    for other, lane in poller.lanes.items():
        if other != lane_id:
            busy.update(message.group for message in lane.rest)
            if not lane.to_delete:
                busy.update(message.group for message in lane.batch)
    return (
        tuple(message for message in messages if message.group not in busy),
        tuple(message for message in messages if message.group in busy),
    )


def _collect(poller: Poller, lane_id: int, lane: Lane, taken: int, is_full: bool, now_s: float) -> Step:
    """Collect further, or see the batch off."""
    settings = poller.settings
    batch, rest = lane.batch, _NOTHING
    if len(batch) > settings.batch_size or lane.size_bytes > PAYLOAD_BYTES - ENVELOPE_BYTES:
        batch, rest = _cut(batch, settings.batch_size)
    left_s = max(lane.window_ends_s - now_s, 0.0)
    is_complete = bool(rest) or len(batch) >= settings.batch_size or not settings.window_s
    is_over = not is_full if lane.has_slept else not left_s
    if is_complete or is_over:
        return _invoke(poller, lane_id, batch, rest, lane.ours_until_s)
    if left_s < 1 and not taken:
        # Waits are whole seconds. Sleep the fraction, and then take what has come meanwhile.
        asleep = replace(lane, state=State.COLLECTING, has_slept=True)
        return _with(poller, lane_id, asleep), [WakeAt(lane_id, lane.window_ends_s)]
    return _receive(poller, lane_id, lane, min(int(left_s), LONG_POLL_S), now_s)


def _receive(poller: Poller, lane_id: int, lane: Lane, wait_s: int, now_s: float) -> Step:
    count = max(min(RECEIVE_MAX, poller.settings.batch_size - len(lane.batch)), 1)
    state = State.COLLECTING if lane.batch else State.RECEIVING
    return _with(poller, lane_id, replace(lane, state=state, asked=count, asked_at_s=now_s)), [Receive(lane_id, count, wait_s)]


def _cut(messages: tuple[Message, ...], batch_size: int) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Part what fits into one invocation from the rest; one message always does, for the function's limits to judge."""
    room = PAYLOAD_BYTES - ENVELOPE_BYTES
    for count, message in enumerate(messages):
        room -= message.size_bytes + (1 if count else 0)
        if count and (room < 0 or count >= batch_size):
            return messages[:count], messages[count:]
    return messages, ()


def _receive_failed(poller: Poller, lane_id: int, now_s: float) -> Step:
    lane = poller.lanes.get(lane_id)
    if lane is None:
        return poller, []
    if lane.state not in (State.RECEIVING, State.COLLECTING):
        raise IllegalEvent(f"receive failed in {lane.state}")
    poller = replace(poller, failures=poller.failures + 1, polls=1, has_backlog=False)
    if lane.batch:  # what is there is seen off, the next receive finds out more
        return _invoke(poller, lane_id, *_cut(lane.batch, poller.settings.batch_size), lane.ours_until_s)
    if poller.seeking - {lane_id}:
        return _without(poller, lane_id), []  # one that tries is enough
    delay_s = min(RECEIVE_RETRY_FIRST_S * 2.0 ** min(poller.failures - 1, 20), RECEIVE_RETRY_MAX_S)
    return _with(poller, lane_id, Lane(state=State.WAITING)), [WakeAt(lane_id, now_s + delay_s)]


# --- invoking and deleting


def _invoke(poller: Poller, lane_id: int, batch: tuple[Message, ...], rest: tuple[Message, ...], ours_until_s: float) -> Step:
    lane = Lane(state=State.INVOKING, batch=batch, rest=rest, ours_until_s=ours_until_s)
    return _with(poller, lane_id, lane), [Invoke(lane_id, _numbers(batch))]


def _ran(poller: Poller, lane_id: int, failed: frozenset[int]) -> Step:
    lane = _in_state(poller, lane_id, State.INVOKING)
    done = tuple(message.number for message in lane.batch if message.number not in failed)
    commands = _forget(message.number for message in lane.batch if message.number in failed)
    if failed:
        poller = replace(poller, allowance=max(min(poller.allowance, poller.settings.floor), poller.allowance - 1))
        if poller.settings.is_fifo:  # nothing of a group may overtake what comes again
            late = {message.group for message in lane.batch if message.number in failed}
            commands += _forget(message.number for message in lane.rest if message.group in late)
            lane = replace(lane, rest=tuple(message for message in lane.rest if message.group not in late))
    if not done:
        poller, more = _go_on(poller, lane_id, lane.rest, lane.ours_until_s)
        return poller, commands + more
    deleting = replace(lane, state=State.DELETING, tries=0, to_delete=done)
    return _with(poller, lane_id, deleting), [*commands, Delete(lane_id, done)]


def _go_on(poller: Poller, lane_id: int, rest: tuple[Message, ...], ours_until_s: float) -> Step:
    """Take up what is left over, or close the lane."""
    if not rest:
        return _without(poller, lane_id), []
    if poller.phase is not Phase.RUNNING:
        return _without(poller, lane_id), _return(_numbers(rest))
    return _invoke(poller, lane_id, *_cut(rest, poller.settings.batch_size), ours_until_s)


def _not_run(poller: Poller, lane_id: int, draw: float, now_s: float) -> Step:
    lane = _in_state(poller, lane_id, State.INVOKING)
    invoking = sum(other.state is State.INVOKING for other in poller.lanes.values())
    allowance = max(min(poller.allowance, invoking - 1), 1)
    poller = replace(poller, allowance=allowance, calm_until_s=now_s + CALM_S)
    if poller.phase is not Phase.RUNNING:
        return _without(poller, lane_id), _return(lane.numbers())
    tries = lane.tries + 1
    at_s = now_s + min(RETRY_FIRST_S * 2.0 ** min(tries - 1, 20), RETRY_MAX_S) * (0.5 + draw / 2)
    if at_s >= lane.ours_until_s - MARGIN_S:
        return _without(poller, lane_id), _forget(lane.numbers())
    return _with(poller, lane_id, replace(lane, state=State.WAITING, tries=tries)), [WakeAt(lane_id, at_s)]


def _delete_failed(poller: Poller, lane_id: int, remaining: tuple[int, ...], now_s: float) -> Step:
    lane = _in_state(poller, lane_id, State.DELETING)
    tries = lane.tries + 1
    at_s = now_s + min(RETRY_FIRST_S * 2.0 ** min(tries - 1, 20), RETRY_MAX_S)
    if tries >= DELETE_ATTEMPTS or at_s >= lane.ours_until_s - MARGIN_S:
        poller, commands = _go_on(poller, lane_id, () if poller.settings.is_fifo else lane.rest, lane.ours_until_s)
        left = _numbers(lane.rest) if poller.settings.is_fifo else ()
        return poller, [*_forget((*remaining, *left)), *commands]
    waiting = replace(lane, state=State.WAITING, tries=tries, to_delete=remaining)
    return _with(poller, lane_id, waiting), [WakeAt(lane_id, at_s)]


# --- time


def _woken(poller: Poller, lane_id: int, now_s: float) -> Step:
    lane = poller.lanes.get(lane_id)
    if lane is None:
        return poller, []
    if lane.state is State.COLLECTING:
        return _receive(poller, lane_id, lane, 0, now_s)
    if lane.state is not State.WAITING:
        raise IllegalEvent(f"woken in {lane.state}")
    if lane.to_delete:
        return _with(poller, lane_id, replace(lane, state=State.DELETING)), [Delete(lane_id, lane.to_delete)]
    if lane.batch:
        return _with(poller, lane_id, replace(lane, state=State.INVOKING)), [Invoke(lane_id, _numbers(lane.batch))]
    return _receive(poller, lane_id, Lane(state=State.RECEIVING), LONG_POLL_S, now_s)


def _grown(poller: Poller, now_s: float) -> Poller:
    """Allow more lanes, if every one is busy and there is a backlog still."""
    if not _is_saturated(poller) or now_s < poller.calm_until_s:
        return poller
    return replace(poller, allowance=_bounded(poller.settings, poller.allowance + poller.settings.growth_per_s * STEP_S))


def _is_saturated(poller: Poller) -> bool:
    return poller.has_backlog and not _has_place(poller)


def _has_place(poller: Poller) -> bool:
    allowance = int(poller.allowance)
    return len(poller.lanes) - min(len(poller.settling), allowance) < allowance


# --- opening and closing lanes


def _open_lanes(poller: Poller, now_s: float) -> Step:
    """Open as many lanes as are worth while and allowed."""
    commands: list[Command] = []
    if poller.phase is not Phase.RUNNING:
        return poller, commands
    while len(poller.seeking) < poller.polls and _has_place(poller):
        lane_id = poller.next_lane
        poller, more = _receive(replace(poller, next_lane=lane_id + 1), lane_id, Lane(state=State.RECEIVING), LONG_POLL_S, now_s)
        commands += more
    can_grow = poller.allowance < poller.settings.ceiling
    if can_grow and not poller.is_ticking and _is_saturated(poller):
        poller = replace(poller, is_ticking=True)
        commands.append(TickAt(now_s + STEP_S))
    return poller, commands


def _is_seeking(lane: Lane) -> bool:
    """Say whether a lane looks for messages, or waits before it does again."""
    return lane.state in (State.RECEIVING, State.COLLECTING) or (lane.state is State.WAITING and not lane.batch)


def _is_settling(lane: Lane) -> bool:
    return bool(lane.to_delete) and not lane.rest


def _wind_down(poller: Poller, phase: Phase) -> Step:
    """Let what invokes and deletes end; everything else is given back."""
    commands: list[Command] = []
    kept: dict[int, Lane] = {}
    for lane_id, lane in poller.lanes.items():
        if lane.state in (State.INVOKING, State.DELETING) or lane.to_delete:
            kept[lane_id] = lane
            continue
        if lane.state in (State.RECEIVING, State.COLLECTING):
            commands.append(BreakOff(lane_id))
        commands += _return(lane.numbers())
    return replace(poller, phase=phase, lanes=kept, seeking=frozenset(), polls=1, has_backlog=False), commands


def _bounded(settings: Settings, allowance: float) -> float:
    return max(1.0, min(allowance, settings.ceiling))


def _in_state(poller: Poller, lane_id: int, state: State) -> Lane:
    lane = poller.lanes.get(lane_id)
    if lane is None or lane.state is not state:
        raise IllegalEvent(f"lane {lane_id} is {lane.state if lane else 'gone'}, not {state}")
    return lane


def _with(poller: Poller, lane_id: int, lane: Lane) -> Poller:
    seeking, settling = poller.seeking, poller.settling
    if _is_seeking(lane) is not (lane_id in seeking):
        seeking = seeking ^ {lane_id}
    if _is_settling(lane) is not (lane_id in settling):
        settling = settling ^ {lane_id}
    return replace(poller, lanes={**poller.lanes, lane_id: lane}, seeking=seeking, settling=settling)


def _without(poller: Poller, lane_id: int) -> Poller:
    lanes = dict(poller.lanes)
    del lanes[lane_id]
    return replace(poller, lanes=lanes, seeking=poller.seeking - {lane_id}, settling=poller.settling - {lane_id})


def _numbers(messages: Iterable[Message]) -> tuple[int, ...]:
    return tuple(message.number for message in messages)


def _return(numbers: Iterable[int]) -> list[Command]:
    given = tuple(numbers)
    return [Return(given)] if given else []


def _forget(numbers: Iterable[int]) -> list[Command]:
    given = tuple(numbers)
    return [Forget(given)] if given else []

"""Works one queue off for one mapping: carries out what `machines.queue_poller` decides.

Everything here may be lost at any moment: what was received and not deleted comes again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import orjson

from lambdad.machines import batch_responses, queue_poller
from lambdad.machines.queue_poller import Command, Event, Message
from lambdad.pollers import plans, sqs_records
from lambdad.pollers.plans import Plan
from lambdad.pollers.ports import Answered, FunctionFailed, NotRun, Queue, Runner, SourceFailed
from lambdad.pollers.room import Room

log = logging.getLogger("lambdad.pollers")

REQUEST_MAX = 10  # messages of one SQS request
VISIBILITY_KNOWN_S = 60.0  # how long the queue's visibility timeout is believed
VISIBILITY_DEFAULT_S = 30


@dataclass(frozen=True, slots=True)
class _Held:
    """A message that was received and is not settled; `record` is its JSON in the event."""

    message_id: str
    receipt_handle: str
    record: bytes


@dataclass(slots=True, kw_only=True)
class Counts:
    """What a poller has done since it was made, in messages; `invocations` in batches."""

    received: int = 0
    filtered: int = 0
    deleted: int = 0
    failed: int = 0
    returned: int = 0
    invocations: int = 0
    throttles: int = 0


class QueuePoller:
    """The poller of one mapping. `run` once; it begins when it is resumed, and returns some time after `stop`.

    Args:
        draw: gives a random number in [0, 1).
    """

    def __init__(self, plan: Plan, queue: Queue, runner: Runner, room: Room, draw: Callable[[], float]) -> None:
        self.problem = ""  # why nothing can be received at present
        self.counts = Counts()
        self._plan = plan
        self._queue = queue
        self._runner = runner
        self._room = room
        self._draw = draw
        self._queue_timeout_s = VISIBILITY_DEFAULT_S
        self._timeout_known_until_s = 0.0
        self._poller = queue_poller.new(plans.settings(plan, self._queue_timeout_s))
        self._held: dict[int, _Held] = {}
        self._next_number = 1
        self._receives: dict[int, asyncio.Task[None]] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Event] = []  # before `run`
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """
        Work until `stop`, and until what then runs has ended.

        Cancellation: what was received comes again by its visibility timeout.
        """
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for event in self._waiting:
                    self._feed(event)
                await self._ended.wait()
        finally:
            self._ended.set()  # nothing is fed any more
            for timer in self._timers:
                timer.cancel()
            self._forget(list(self._held))

    # --- from outside

    def resume(self) -> None:
        """Begin to receive: the function can be invoked."""
        self._feed(queue_poller.Resumed())

    def halt(self) -> None:
        """Receive nothing for the present: the function cannot be invoked."""
        self._feed(queue_poller.Halted())

    def stop(self) -> None:
        """Receive nothing more, and end when the invocations that run have ended."""
        self._feed(queue_poller.Stopped())

    def configure(self, plan: Plan, runner: Runner) -> None:
        """Go on by another plan for the same queue; what runs already ends by it, too."""
        self._plan = plan
        self._runner = runner
        self._feed(queue_poller.Configured(plans.settings(plan, self._queue_timeout_s)))

    @property
    def lanes(self) -> int:
        """How many batches, and receives, are under way."""
        return len(self._poller.lanes)

    # --- the machine

    def _feed(self, event: Event) -> None:
        if self._tasks is None:
            self._waiting.append(event)
            return
        if self._ended.is_set():
            return
        self._poller, commands = queue_poller.step(self._poller, event, self._loop.time())
        for command in commands:
            self._perform(command, self._tasks)

    def _perform(self, command: Command, tasks: asyncio.TaskGroup) -> None:
        match command:
            case queue_poller.Receive(lane, count, wait_s):
                self._receives[lane] = tasks.create_task(self._receive(lane, count, wait_s))
            case queue_poller.BreakOff(lane):
                if (task := self._receives.pop(lane, None)) is not None:
                    task.cancel()
            case queue_poller.Invoke(lane, numbers):
                tasks.create_task(self._invoke(lane, numbers))
            case queue_poller.Delete(lane, numbers):
                tasks.create_task(self._delete(lane, numbers))
            case queue_poller.Return(numbers):
                tasks.create_task(self._return(numbers))
            case queue_poller.Forget(numbers):
                self.counts.failed += len(numbers)
                self._forget(numbers)
            case queue_poller.WakeAt(lane, at_s):
                self._at(at_s, queue_poller.TimeCame(lane))
            case queue_poller.TickAt(at_s):
                self._at(at_s, queue_poller.Ticked())
            case queue_poller.End():
                self._ended.set()

    def _at(self, at_s: float, event: Event) -> None:
        def fire() -> None:
            self._timers.discard(timer)
            self._feed(event)

        timer = self._loop.call_at(at_s, fire)
        self._timers.add(timer)

    # --- what it commands

    async def _receive(self, lane: int, count: int, wait_s: int) -> None:
        try:
            messages, taken = await self._received(lane, count, wait_s)
        except SourceFailed as error:
            if self.problem != str(error):
                log.warning("poller.receive.failed mapping=%s error=%s", self._plan.id, error)
            self.problem = str(error)
            self._receives.pop(lane, None)
            self._feed(queue_poller.ReceiveFailed(lane))
            return
        self._feed(queue_poller.Received(lane, messages, taken))

    async def _received(self, lane: int, count: int, wait_s: int) -> tuple[tuple[Message, ...], int]:
        if not await self._room.wait_for_room(wait_s):
            self._receives.pop(lane, None)
            return (), 0
        if self._loop.time() >= self._timeout_known_until_s:
            await self._learn_timeout()
        answers = await self._queue.receive(count, wait_s, plans.visibility_s(self._plan, self._queue_timeout_s))
        self._receives.pop(lane, None)  # from here on it has messages, and is not to be broken off
        self.problem = ""
        self.counts.received += len(answers)
        messages: list[Message] = []
        unwanted: list[str] = []
        for answer in answers:
            record = sqs_records.record(answer, self._plan.queue_arn, self._plan.region)
            if not self._plan.filters.match(record):
                unwanted.append(record["receiptHandle"])
                continue
            held = _Held(record["messageId"], record["receiptHandle"], orjson.dumps(record))
            group = record["attributes"].get("MessageGroupId", "") if self._plan.is_fifo else ""
            messages.append(Message(self._next_number, len(held.record), group))
            self._held[self._next_number] = held
            self._room.take(len(held.record))
            self._next_number += 1
        if unwanted:
            self.counts.filtered += len(unwanted)
            await self._discard(unwanted)
        return tuple(messages), len(answers)

    async def _learn_timeout(self) -> None:
        timeout_s = await self._queue.visibility_timeout_s()
        self._timeout_known_until_s = self._loop.time() + VISIBILITY_KNOWN_S
        if timeout_s != self._queue_timeout_s:
            self._queue_timeout_s = timeout_s
            self._feed(queue_poller.Configured(plans.settings(self._plan, timeout_s)))

    async def _discard(self, receipt_handles: Sequence[str]) -> None:
        """Delete what no filter lets pass; what cannot be deleted comes again, and is then deleted."""
        try:
            await self._queue.delete(receipt_handles)
        except SourceFailed as error:
            log.warning("poller.discard.failed mapping=%s error=%s", self._plan.id, error)

    async def _invoke(self, lane: int, numbers: Sequence[int]) -> None:
        held = [self._held[number] for number in numbers]
        payload = b'{"Records":[' + b",".join([each.record for each in held]) + b"]}"
        self.counts.invocations += 1
        result = await self._runner.run(payload)
        match result:
            case Answered(answer) if self._plan.reports_failures:
                places = batch_responses.failed(answer, [each.message_id for each in held])
                self._feed(queue_poller.Ran(lane, frozenset(numbers[place] for place in places)))
            case Answered():
                self._feed(queue_poller.Ran(lane))
            case FunctionFailed():
                self._feed(queue_poller.Ran(lane, frozenset(numbers)))
            case NotRun():
                self.counts.throttles += 1
                self._feed(queue_poller.NotRun(lane, self._draw()))

    async def _delete(self, lane: int, numbers: Sequence[int]) -> None:
        remaining: list[int] = []
        for begin in range(0, len(numbers), REQUEST_MAX):
            part = numbers[begin : begin + REQUEST_MAX]
            try:
                failed = await self._queue.delete([self._held[number].receipt_handle for number in part])
            except SourceFailed as error:
                log.warning("poller.delete.failed mapping=%s error=%s", self._plan.id, error)
                failed = range(len(part))
            left = {part[place] for place in failed}
            remaining += left
            self.counts.deleted += len(part) - len(left)
            self._forget(number for number in part if number not in left)
        if remaining:
            self._feed(queue_poller.DeleteFailed(lane, tuple(remaining)))
        else:
            self._feed(queue_poller.Deleted(lane))

    async def _return(self, numbers: Sequence[int]) -> None:
        """Give messages back; where that fails they come again by their timeout."""
        handles = [self._held[number].receipt_handle for number in numbers]
        self._forget(numbers)
        self.counts.returned += len(handles)
        try:
            for begin in range(0, len(handles), REQUEST_MAX):
                await self._queue.give_back(handles[begin : begin + REQUEST_MAX])
        except SourceFailed as error:
            log.warning("poller.return.failed mapping=%s error=%s", self._plan.id, error)

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            held = self._held.pop(number, None)
            if held is not None:
                self._room.free(len(held.record))

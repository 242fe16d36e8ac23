"""Work that blocks, done in threads. The only module that starts threads.

Two ways to it: `run`, for now and then a call that waits on a file or a program; and `Crew`, threads that each own a thing (a
connection to a database) and take calls from one bounded queue.

Rules of this file: nothing of asyncio is touched from a thread but ``loop.call_soon_threadsafe``, and that once for each group of
calls. A call is settled exactly once. Knows nothing about what the calls do.
"""

import asyncio
import copy
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar

State = TypeVar("State")
Offered = TypeVar("Offered")
Result = TypeVar("Result")
Given = ParamSpec("Given")


async def run(work: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """
    Run blocking work in one of the event loop's own threads (at most cores + 4 at once; further calls queue).

    Cancellation: the caller goes on at once, the work runs to its end and its result is dropped.
    """
    courtesy = _Courtesy(asyncio.get_running_loop())
    courtesy.begin()
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    finally:
        courtesy.end(1)
        courtesy.close()


class _Courtesy:
    """
    Keep a busy event loop from starving the threads it waits for.

    A thread that comes back from a blocking call needs the interpreter's lock. An event loop that is never idle lets go of the lock
    only for the instant of each poll, and wins it back before another thread has woken up: measured, calls then waited for seconds.
    So while calls are under way this looks every few milliseconds, and where the loop was busy and no call was finished since, the
    loop's thread sleeps for a moment in which the others can run. An idle loop never sleeps so.
    """

    LOOK_EVERY_S = 0.003
    QUIET_S = 0.0005  # long enough for a commit; with the above, at most a seventh of the loop's time
    BUSY_SHARE = 0.5

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._under_way = 0
        self._finished = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A call is under way."""
        self._under_way += 1
        if self._timer is None:
            self._look_later()

    def end(self, count: int) -> None:
        """So many calls are finished."""
        self._under_way -= count
        self._finished += count

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(self.LOOK_EVERY_S, self._look, self._finished, time.monotonic(), time.thread_time())

    def _look(self, finished_before: int, then_s: float, then_busy_s: float) -> None:
        self._timer = None
        if not self._under_way:
            return
        busy_share = (time.thread_time() - then_busy_s) / max(time.monotonic() - then_s, 1e-9)
        if self._finished == finished_before and busy_share >= self.BUSY_SHARE:
            time.sleep(self.QUIET_S)
        self._look_later()


class CrewClosed(Exception):
    """The crew is closing or closed and takes no more calls."""


class Call(Generic[Offered]):
    """One caller's work on its way through a crew: waiting, then either taken or dropped, then settled."""

    __slots__ = ("_fate", "_work", "error", "future", "value")

    def __init__(self, work: Callable[[Offered], Any], future: asyncio.Future[Any]) -> None:
        self._work = work
        self._fate = threading.Lock()  # held by whoever decided first: the thread that takes, or the caller who drops
        self.future = future
        self.value: Any = None
        self.error: BaseException | None = None

    def claim(self) -> bool:
        """Decide the call's fate, taken or dropped; True for the first who asks."""
        return self._fate.acquire(blocking=False)

    def attempt(self, offered: Offered) -> bool:
        """Do the work and keep its result, or the exception for the caller; True means it did not raise."""
        try:
            self.value = self._work(offered)
        except BaseException as error:  # not swallowed: it is raised where the call was made
            self.error = error
            return False
        return True

    def fail(self, error: BaseException) -> None:
        """Give the caller an exception, unless the work's own is already there."""
        if self.error is None:
            self.error = error

    def settle(self) -> None:
        """Wake the caller up. Called by the event loop's thread."""
        if self.future.done():  # cancelled
            return
        if self.error is None:
            self.future.set_result(self.value)
        elif isinstance(self.error, StopIteration):  # a future cannot carry it
            wrapped = RuntimeError("the work raised StopIteration")
            wrapped.__cause__ = self.error
            self.future.set_exception(wrapped)
        else:
            self.future.set_exception(self.error)


class Job(Protocol[State, Offered]):
    """
    What the threads of a crew do; written by whoever needs a crew. Every method is called in the crew's threads.

    `State` is what a thread owns, `Offered` what it lets a call's work see of that.
    """

    def open(self) -> State:
        """Make what a thread owns. Raising makes opening the crew raise."""
        ...

    def serve(self, state: State, calls: Sequence[Call[Offered]]) -> None:
        """Attempt each call, or `fail` it. All of them are settled after the return; what this raises fails the rest."""
        ...

    def close(self, state: State) -> None:
        """Undo `open`."""
        ...


@dataclass(frozen=True, slots=True)
class CrewStatistics:
    """For debugging and introspection."""

    threads: int
    pending: int  # calls made and not settled, including those that wait for room in the queue
    pending_max: int


class Crew(Generic[State, Offered]):
    """
    Threads that each own a state and take calls, in order, from one queue.

    When `pending_max` calls are under way a further caller waits for room, in order of arrival; nothing is refused or lost.
    A free thread takes what is queued, at most `take_max` calls, without waiting for more.

    Args:
        name: of the threads.
        job: what the threads do.
        threads: 1 or more.
        take_max: how many calls `Job.serve` is given at once, 1 or more.
        pending_max: 1 or more.

    Cancellation: a call that no thread has taken yet is dropped; one that was taken is done, and its result is dropped.

    Resource handling: an async context manager, bound to the event loop that entered it. Leaving refuses new calls, serves those
    made before, closes what the threads own, and waits until the threads are gone.
    """

    def __init__(self, name: str, job: Job[State, Offered], *, threads: int, take_max: int, pending_max: int) -> None:
        self._name = name
        self._job = job
        self._take_max = take_max
        self._pending_max = pending_max
        self._queue: SimpleQueue[Call[Offered] | None] = SimpleQueue()
        self._room = asyncio.Semaphore(pending_max)
        self._pending = 0
        self._threads = threads
        self._ended: list[asyncio.Future[None]] = []
        self._empty: asyncio.Future[None] | None = None
        self._closing = False
        self._loop: asyncio.AbstractEventLoop
        self._courtesy: _Courtesy

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._courtesy = _Courtesy(self._loop)
        started = [self._start(f"{self._name}-{number}") for number in range(self._threads)]
        try:
            for future in started:
                await future
        except BaseException:
            await self._end()
            for future in started:
                if future.done() and not future.cancelled():
                    future.exception()  # one of them has been told; the others' are the same
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        try:
            if self._pending:
                self._empty = self._loop.create_future()
                await self._empty
        finally:
            await self._end()

    async def call(self, work: Callable[[Offered], Result]) -> Result:
        """
        Have work done by one of the threads.

        Raises:
            CrewClosed: the crew takes no more calls.
            BaseException: what the work raised.
        """
        if self._closing:
            raise CrewClosed(self._name)
        self._pending += 1
        try:
            await self._room.acquire()
        except BaseException:
            self._left(1)
            raise
        call = Call[Offered](work, self._loop.create_future())
        self._queue.put(call)
        self._courtesy.begin()
        try:
            result: Result = await call.future
        except asyncio.CancelledError:
            call.claim()
            raise
        return result

    def statistics(self) -> CrewStatistics:
        """Say how much is under way."""
        return CrewStatistics(self._threads, self._pending, self._pending_max)

    def _start(self, name: str) -> asyncio.Future[None]:
        started: asyncio.Future[None] = self._loop.create_future()
        ended: asyncio.Future[None] = self._loop.create_future()
        self._ended.append(ended)
        # A daemon, so that a program that dies without leaving the context does not hang in its exit.
        threading.Thread(target=self._live, args=(started, ended), name=name, daemon=True).start()
        return started

    async def _end(self) -> None:
        """Let the threads go; they are gone when this returns."""
        self._courtesy.close()
        for _ in self._ended:
            self._queue.put(None)
        for ended in self._ended:
            await ended

    def _live(self, started: asyncio.Future[None], ended: asyncio.Future[None]) -> None:
        try:
            state = self._job.open()
        except BaseException as error:  # not swallowed: it is raised where the crew is entered
            self._tell(_settle_started, started, error)
            self._tell(_settle_ended, ended, None)
            return
        self._tell(_settle_started, started, None)
        while calls := self._take():
            taken = [call for call in calls if call.claim()]
            if taken:
                self._serve(state, taken)
            self._tell(self._settle, calls)
        failure: BaseException | None = None
        try:
            self._job.close(state)
        except BaseException as error:  # not swallowed: it is raised where the crew is left
            failure = error
        self._tell(_settle_ended, ended, failure)

    def _take(self) -> list[Call[Offered]]:
        """Wait for calls and take what is there; empty means: go."""
        first = self._queue.get()
        if first is None:
            return []
        calls = [first]
        while len(calls) < self._take_max:
            try:
                more = self._queue.get_nowait()
            except Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            calls.append(more)
        return calls

    def _serve(self, state: State, calls: list[Call[Offered]]) -> None:
        try:
            self._job.serve(state, calls)
        except BaseException as error:  # not swallowed: it is raised where the calls were made
            for call in calls:
                call.fail(_twin(error))

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop was closed over our head; nobody is left to be told
            pass

    def _settle(self, calls: list[Call[Offered]]) -> None:
        for call in calls:
            self._room.release()
            call.settle()
        self._courtesy.end(len(calls))
        self._left(len(calls))

    def _left(self, count: int) -> None:
        self._pending -= count
        if not self._pending and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)


def _twin(error: BaseException) -> BaseException:
    """Copy an exception, so that callers in different tasks do not write their tracebacks into one object."""
    twin = copy.copy(error)
    twin.__cause__ = error
    return twin


def _settle_started(started: asyncio.Future[None], error: BaseException | None) -> None:
    if started.done():
        return
    if error is None:
        started.set_result(None)
    else:
        started.set_exception(error)


_settle_ended = _settle_started

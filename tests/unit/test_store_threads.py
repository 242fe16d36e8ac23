"""Crews of threads, without a database."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from lambdad.kit import threads
from lambdad.kit.threads import Call, Crew, CrewClosed


class Journal:
    """A job that writes down what happens to it; what a thread owns is a list of what it was given."""

    def __init__(self, *, open_error: Exception | None = None, serve_error: Exception | None = None) -> None:
        self.events: list[str] = []
        self.sizes: list[int] = []
        self._open_error = open_error
        self._serve_error = serve_error

    def open(self) -> str:
        """Begin."""
        self.events.append("open")
        if self._open_error is not None:
            raise self._open_error
        return threading.current_thread().name

    def serve(self, state: str, calls: Sequence[Call[str]]) -> None:
        """Do the calls."""
        self.sizes.append(len(calls))
        for call in calls:
            call.attempt(state)
            if self._serve_error is not None:
                raise self._serve_error

    def close(self, state: str) -> None:
        """End."""
        self.events.append("close")


def crew(job: Journal, *, count: int = 1, take_max: int = 10, pending_max: int = 100) -> Crew[str, str]:
    return Crew("crew", job, threads=count, take_max=take_max, pending_max=pending_max)


def waiting_for(entered: threading.Event, leave: threading.Event) -> Callable[[str], str]:
    """Make a work that says it runs and waits to be let go."""

    def work(name: str) -> str:
        entered.set()
        assert leave.wait(10)
        return name

    return work


async def test_a_call_runs_in_a_thread_of_the_crew() -> None:
    """The work sees what its thread owns, and the caller its result."""
    job = Journal()
    async with crew(job) as one:
        assert await one.call(lambda name: (name, threading.current_thread().name)) == ("crew-0", "crew-0")
    assert job.events == ["open", "close"]
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("crew")]:
        thread.join(10)  # it has told us the last that it does, and may not have left yet
        assert not thread.is_alive()


async def test_what_waits_is_taken_together_up_to_a_bound() -> None:
    """While a thread is busy calls gather, and are taken in order at once."""
    job = Journal()
    entered, leave = threading.Event(), threading.Event()
    async with crew(job, take_max=10) as one:
        first = asyncio.ensure_future(one.call(waiting_for(entered, leave)))
        assert await threads.run(entered.wait, 10)
        order: list[int] = []
        others = [asyncio.ensure_future(one.call(lambda _, n=n: order.append(n))) for n in range(25)]
        await asyncio.sleep(0)
        leave.set()
        await asyncio.gather(first, *others)
    assert job.sizes == [1, 10, 10, 5]
    assert order == list(range(25))


async def test_a_caller_waits_when_the_queue_is_full() -> None:
    """No more than the bound are queued; those who wait for room are served in order, and none is refused."""
    job = Journal()
    entered, leave = threading.Event(), threading.Event()
    async with crew(job, pending_max=3, take_max=100) as one:
        order: list[int] = []
        first = asyncio.ensure_future(one.call(waiting_for(entered, leave)))
        assert await threads.run(entered.wait, 10)
        others = [asyncio.ensure_future(one.call(lambda _, n=n: order.append(n))) for n in range(8)]
        impatient = others.pop(5)
        await asyncio.sleep(0)
        assert one.statistics() == threads.CrewStatistics(threads=1, pending=9, pending_max=3)
        impatient.cancel()
        leave.set()
        await asyncio.gather(first, *others)
        assert one.statistics().pending == 0
    assert max(job.sizes) <= 3
    assert order == [0, 1, 2, 3, 4, 6, 7]


async def test_cancelling_drops_what_was_not_taken() -> None:
    """A queued call that is cancelled is not done; one that runs is done, and its result dropped."""
    job = Journal()
    entered, leave = threading.Event(), threading.Event()
    done: list[str] = []
    async with crew(job) as one:
        running = asyncio.ensure_future(one.call(waiting_for(entered, leave)))
        assert await threads.run(entered.wait, 10)
        queued = asyncio.ensure_future(one.call(lambda _: done.append("queued")))
        await asyncio.sleep(0)
        running.cancel()
        queued.cancel()
        results = await asyncio.gather(running, queued, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 2
        leave.set()
        await one.call(lambda _: done.append("last"))
    assert done == ["last"]
    assert job.sizes == [1, 1]


async def test_leaving_serves_those_before_and_refuses_those_after() -> None:
    """The end of the context waits for all that was called before it."""
    job = Journal()
    async with crew(job, pending_max=2) as one:
        calls = [asyncio.ensure_future(one.call(lambda _, n=n: n)) for n in range(20)]
        await asyncio.sleep(0)
    assert [await call for call in calls] == list(range(20))
    assert job.events == ["open", "close"]
    with pytest.raises(CrewClosed):
        await one.call(lambda _: None)


async def test_an_error_in_opening_is_raised_on_entering() -> None:
    """When a thread cannot start its work the crew is not entered, and the threads are gone."""
    job = Journal(open_error=OSError("no"))
    with pytest.raises(OSError, match="no"):
        async with crew(job, count=3):
            pass
    assert job.events == ["open"] * 3


async def test_an_error_in_serving_fails_the_calls_and_not_the_thread() -> None:
    """Each caller is given an exception of its own, with the common one as its cause."""
    error = OSError("broken")
    job = Journal(serve_error=error)
    async with crew(job) as one:
        results = await asyncio.gather(*(one.call(lambda _: None) for _ in range(3)), return_exceptions=True)
        assert [(type(each), each.args, each.__cause__) for each in results if isinstance(each, OSError)] == [
            (OSError, ("broken",), error)
        ] * 3
        assert len({id(each) for each in results}) == 3
        with pytest.raises(ZeroDivisionError):
            await one.call(lambda _: 1 // 0)


async def test_many_threads_share_the_calls() -> None:
    """Two works that wait for each other end, because two threads run them."""
    barrier = threading.Barrier(2, timeout=10)
    async with crew(Journal(), count=2, take_max=1) as two:
        numbers = await asyncio.gather(*(two.call(lambda _: barrier.wait()) for _ in range(2)))
    assert sorted(numbers) == [0, 1]


async def test_a_group_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls are settled together, the loop is told once."""
    loop = asyncio.get_running_loop()
    told: list[str] = []
    real = loop.call_soon_threadsafe
    entered, leave = threading.Event(), threading.Event()
    async with crew(Journal(), take_max=100) as one:
        first = asyncio.ensure_future(one.call(waiting_for(entered, leave)))
        while not entered.is_set():
            await asyncio.sleep(0)
        others = [asyncio.ensure_future(one.call(lambda _: None)) for _ in range(50)]
        await asyncio.sleep(0)

        def count(callback: Callable[..., object], *args: object, **kwargs: object) -> asyncio.Handle:
            told.append(threading.current_thread().name)
            return real(callback, *args, **kwargs)  # type: ignore[arg-type]  # passed through

        monkeypatch.setattr(loop, "call_soon_threadsafe", count)
        leave.set()
        await asyncio.gather(first, *others)
        monkeypatch.undo()
    assert told == ["crew-0"] * 2


async def test_a_busy_loop_does_not_starve_the_threads() -> None:
    """Calls that let go of the interpreter's lock and want it back end while the loop never rests."""
    loop = asyncio.get_running_loop()
    busy = True

    def never_rest() -> None:
        until_s = time.perf_counter() + 0.001
        while time.perf_counter() < until_s:
            pass
        if busy:
            loop.call_soon(never_rest)

    def let_go_often(_: str) -> None:
        for _ in range(15):
            time.sleep(0)

    async with crew(Journal()) as one:
        never_rest()
        async with asyncio.timeout(10):  # it takes a tenth of a second; without the crew's courtesy, half a minute
            for _ in range(10):
                await one.call(let_go_often)
            await threads.run(let_go_often, "")
        busy = False


def test_a_loop_that_is_gone_does_not_kill_the_thread() -> None:
    """A program that ends without leaving the context does not hang, and its thread ends in peace."""
    entered, leave = threading.Event(), threading.Event()
    one = crew(Journal())

    async def abandon() -> None:
        await one.__aenter__()
        task = asyncio.ensure_future(one.call(waiting_for(entered, leave)))
        while not entered.is_set():
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(abandon())
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "crew-0")
    leave.set()
    one._queue.put(None)  # as the end of the context would
    thread.join(10)
    assert not thread.is_alive()

"""The loop of services that keep times in rows."""

import asyncio
from collections.abc import Awaitable, Callable

import fast_time

from lambdad.services.timetable import Timetable


def seconds_until(timetable: Timetable, done: asyncio.Event) -> float:
    """Run until something has happened, and say how long that took, in fast time."""

    async def run() -> float:
        began = asyncio.get_running_loop().time()
        running = asyncio.create_task(timetable.run())
        await done.wait()
        took_s = asyncio.get_running_loop().time() - began
        running.cancel()
        await asyncio.wait([running])
        return took_s

    return fast_time.run(run())


def steps(answers: list[int | Exception | None], seen: list[int], done: asyncio.Event) -> Callable[[int], Awaitable[int | None]]:
    """Make a step that gives these answers, one after the other."""

    async def step(now_ms: int) -> int | None:
        seen.append(now_ms)
        answer = answers[len(seen) - 1]
        if len(seen) == len(answers):
            done.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    return step


def test_what_is_due_is_done_until_nothing_is() -> None:
    """While there is more to do now, the step is called again at once; a time that is near is waited for, no longer than a second."""
    seen: list[int] = []
    done = asyncio.Event()
    took_s = seconds_until(Timetable("x", steps([100, 50, 350, 99_999, None], seen, done), lambda: 100), done)
    assert seen == [100] * 5
    assert 1.2 < took_s < 1.3


def test_a_wake_is_not_missed() -> None:
    """A wake while the step runs has it called again at once."""
    done = asyncio.Event()
    calls = 0

    async def step(now_ms: int) -> int | None:
        nonlocal calls
        calls += 1
        if calls == 1:
            timetable.wake()
        else:
            done.set()
        return None

    timetable = Timetable("x", step, lambda: 0)
    assert seconds_until(timetable, done) < 0.1
    assert calls == 2


def test_a_step_that_fails_is_tried_again() -> None:
    """An error is logged, and the next step is made all the same."""
    seen: list[int] = []
    done = asyncio.Event()
    assert seconds_until(Timetable("x", steps([RuntimeError("no"), None], seen, done), lambda: 0), done) >= 1.0
    assert len(seen) == 2

"""The data plane against a fake worker: provisioned concurrency, rates, room, and idle environments."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from test_dataplane import VERSION, WELCOME, FakeWorker, _spec, begin, call  # type: ignore[import-not-found]  # a sibling

from lambdad.dataplane.plane import INIT_FAILED, NO_RUNTIME, DataPlane
from lambdad.machines import keep_alive, provisioned
from lambdad.model.function import FunctionVersion
from lambdad.model.invocation import Throttled
from lambdad.wire import frames

KEY = VERSION.key
ONE = replace(VERSION, version="1", deployment_id="v1")
TWO = replace(VERSION, version="2", deployment_id="v2")
OTHER = replace(VERSION, name="g", deployment_id="g1")
GIB = 1 << 30


def open_plane(*, capacity: int = 10, **settings: Any) -> FakeWorker:
    plane = DataPlane(_spec, lambda *line: None, **{"keep_alive_s": 600.0, **settings})
    worker = FakeWorker(plane)
    worker.capacity = capacity
    plane.link = worker
    plane.worker_came(WELCOME)
    return worker


@pytest.fixture
async def worker() -> FakeWorker:
    return open_plane()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeWorker, float], None]:
    """Let time pass for a data plane: `later(worker, 3.0)`, then a sweep."""
    begun_s: dict[int, float] = {}

    def pass_time(worker: FakeWorker, seconds: float) -> None:
        loop = worker.plane._loop
        begun_s[id(worker)] = now_s = begun_s.get(id(worker), loop.time()) + seconds
        monkeypatch.setattr(loop, "time", lambda: now_s)
        worker.plane.sweep()

    return pass_time


def configure(worker: FakeWorker, **wanted: list[tuple[FunctionVersion, int]]) -> None:
    worker.plane.provisioned.configure(KEY, wanted, worker.plane._loop.time())


def state(worker: FakeWorker, qualifier: str = "live") -> tuple[str, int, str]:
    found = worker.plane.provisioned_state(KEY, qualifier)
    assert found is not None
    return (found[0].value, found[1], found[2])


def die(worker: FakeWorker, environment_id: str, reason: str = "lost: X") -> None:
    worker.plane.worker_said(frames.Stopped(environment_id=environment_id, reason=reason), b"")


async def test_provisioned_environments_are_made_ahead_and_used_first(worker: FakeWorker):
    """They say what they are; beyond them invocations spill over to environments on demand."""
    configure(worker, live=[(ONE, 2)])
    starts = worker.take(frames.Start)
    assert [start.spec.initialization_type for start in starts] == ["provisioned-concurrency"] * 2
    assert state(worker) == ("IN_PROGRESS", 0, "")
    kept = [start.spec.environment_id for start in starts]
    for environment_id in kept:
        worker.plane.worker_said(frames.Ready(environment_id=environment_id, init_ms=1.0), b"")
    assert state(worker) == ("READY", 2, "")
    tasks = await begin(worker.plane, *(call(number, version=ONE) for number in range(3)))
    (start,) = worker.take(frames.Start)
    assert start.spec.initialization_type == "on-demand"
    worker.plane.worker_said(frames.Ready(environment_id=start.spec.environment_id, init_ms=1.0), b"")
    assert {invoke.environment_id for invoke in worker.answer_all()} == {*kept, start.spec.environment_id}
    await asyncio.gather(*tasks)
    statistics = worker.plane.statistics()
    assert (statistics.provisioned, statistics.provisioned_invocations, statistics.spillovers) == (2, 2, 1)
    assert statistics.idle == 3 and statistics.cold_starts == 1


async def test_they_count_against_nobody(worker: FakeWorker):
    """With nothing left of the account's pool, or of the reservation, exactly as many run as are provisioned."""
    for reserved, limit in ((None, 0), (0, 1000)):
        configure(worker, live=[(ONE, 2)])
        worker.start_all()
        tasks = await begin(worker.plane, *(call(number, version=ONE, reserved=reserved) for number in range(3)), limit=limit)
        with pytest.raises(Throttled):
            await tasks[2]
        worker.answer_all()
        await asyncio.gather(*tasks[:2])
        (again,) = await begin(worker.plane, call(9, version=ONE, reserved=reserved), limit=limit)
        worker.answer_all()
        await again


async def test_who_waits_is_served_by_a_provisioned_one_that_is_free_first(worker: FakeWorker):
    """And is then counted there: its place on demand is free for another."""
    configure(worker, live=[(ONE, 1)])
    worker.start_all()
    first, second = await begin(worker.plane, call(1, version=ONE), call(2, version=ONE), limit=1)
    worker.answer_all()  # the first has ended, and the second takes its environment
    assert [invoke.request_id for invoke in worker.take(frames.Invoke)] == ["r2"]
    await first
    (third,) = await begin(worker.plane, call(3, version=ONE), limit=1)
    worker.start_all()
    assert [invoke.request_id for invoke in worker.answer_all()] == ["r3"]
    await third
    assert not second.done()
    second.cancel()


async def test_provisioned_ones_are_neither_reaped_nor_evicted(later: Callable[[FakeWorker, float], None]):
    """However long they are idle, and however short memory is."""
    worker = open_plane(capacity=3, memory_low_percent=50.0)
    configure(worker, live=[(ONE, 2)])
    worker.start_all()
    (one,) = await begin(worker.plane, call(1))
    worker.start_all()
    worker.answer_all()
    await one
    later(worker, 3000.0)
    assert len(worker.take(frames.Stop)) == 1  # the one on demand
    worker.plane.worker_said(frames.Load(available_bytes=1, total_bytes=GIB, stalled_percent=99.0), b"")
    (other, another) = await begin(worker.plane, call(2, version=OTHER), call(3, version=OTHER))
    with pytest.raises(Throttled):
        await another
    assert worker.take(frames.Stop) == []
    worker.start_all()
    worker.answer_all()
    await other


async def test_those_that_die_are_made_again(worker: FakeWorker, later: Callable[[FakeWorker, float], None]):
    """At once when one dies at work, after a second when one ends itself."""
    configure(worker, live=[(ONE, 1)])
    (kept,) = worker.start_all()
    (running,) = await begin(worker.plane, call(1, version=ONE))
    worker.plane.worker_said(frames.Stopped(environment_id=kept, reason="failed: X", request_id="r1"), b"")
    with pytest.raises(Exception, match="environment has gone"):
        await running
    (kept,) = worker.start_all()
    die(worker, kept)
    assert worker.take(frames.Start) == [] and state(worker) == ("READY", 0, "")
    later(worker, 1.1)
    assert len(worker.start_all()) == 1 and state(worker) == ("READY", 1, "")


async def test_init_that_fails_and_fails(worker: FakeWorker, later: Callable[[FakeWorker, float], None]):
    """FAILED after six attempts, each later than the one before; READY when it works after all."""
    configure(worker, live=[(ONE, 2)])
    attempts = 0
    for _ in range(200):
        for start in worker.take(frames.Start):
            attempts += 1
            die(worker, start.spec.environment_id, f"{INIT_FAILED}Runtime.ImportModuleError")
        later(worker, 1.0)
        if state(worker)[0] == "FAILED":
            break
    assert attempts == provisioned.FAILURES_UNTIL_FAILED
    assert state(worker) == ("FAILED", 0, "FUNCTION_ERROR_INIT_FAILURE")
    later(worker, provisioned.RETRY_MAX_S)
    assert len(worker.start_all()) == 1 and len(worker.start_all()) == 1
    assert state(worker) == ("READY", 2, "")


async def test_a_runtime_that_nobody_has(worker: FakeWorker):
    """The worker's own words are the reason."""
    configure(worker, live=[(ONE, 6)])
    for start in worker.take(frames.Start):
        die(worker, start.spec.environment_id, f"{NO_RUNTIME}no ruby here")
    assert state(worker) == ("FAILED", 0, "no ruby here")


async def test_old_ones_are_replaced_without_a_gap(worker: FakeWorker, later: Callable[[FakeWorker, float], None]):
    """The replacement is ready before the old one is ended."""
    configure(worker, live=[(ONE, 1)])
    (old,) = worker.start_all()
    later(worker, 6 * 3600 + 1.0)
    (start,) = worker.take(frames.Start)
    assert start.spec.initialization_type == "provisioned-concurrency" and worker.take(frames.Stop) == []
    worker.plane.worker_said(frames.Ready(environment_id=start.spec.environment_id, init_ms=1.0), b"")
    assert [stop.environment_id for stop in worker.take(frames.Stop)] == [old]
    later(worker, 1.0)
    assert worker.take(frames.Start) == [] and state(worker) == ("READY", 1, "")


async def test_an_alias_that_moves_keeps_its_old_environments_until_the_new_are_ready(
    worker: FakeWorker, later: Callable[[FakeWorker, float], None]
):
    """And a weighted one splits them."""
    configure(worker, live=[(ONE, 2)])
    old = worker.start_all()
    configure(worker, live=[(TWO, 2)])
    assert state(worker) == ("IN_PROGRESS", 0, "") and worker.take(frames.Stop) == []
    (still,) = await begin(worker.plane, call(1, version=ONE))
    assert {invoke.environment_id for invoke in worker.answer_all()} <= set(old)
    await still
    new = worker.start_all()
    assert len(new) == 2 and state(worker) == ("READY", 2, "")
    later(worker, 1.0)
    assert {stop.environment_id for stop in worker.take(frames.Stop)} == set(old)
    configure(worker, live=[(TWO, 1), (ONE, 1)])
    worker.start_all()
    later(worker, 1.0)
    assert state(worker) == ("READY", 2, "") and {stop.environment_id for stop in worker.take(frames.Stop)} < set(new)


async def test_what_is_no_longer_wanted_ends(worker: FakeWorker, later: Callable[[FakeWorker, float], None]):
    """Fewer, none, or no function any more: idle ones end at once, busy ones when they are done, and nothing is left of it."""
    configure(worker, live=[(ONE, 3)])
    worker.start_all()
    (busy,) = await begin(worker.plane, call(1, version=ONE))
    configure(worker, live=[(ONE, 1)])
    assert len(worker.take(frames.Stop)) == 2
    worker.plane.retire(KEY, frozenset())
    configure(worker)
    (invoke,) = worker.answer_all()
    await busy
    assert [stop.environment_id for stop in worker.take(frames.Stop)] == [invoke.environment_id]
    later(worker, 1.0)
    assert worker.take(frames.Start) == [] and worker.plane.provisioned_state(KEY, "live") is None
    for environment_id in list(worker.plane.homes):
        die(worker, environment_id, "stopped")
    later(worker, 1.0)
    assert worker.plane.deployments == {} and worker.plane.homes == {}


async def test_something_is_left_for_others():
    """However many are asked for, a tenth of the worker's environments is for those on demand."""
    worker = open_plane(capacity=10)
    configure(worker, live=[(ONE, 50)])
    assert len(worker.start_all()) == 9 and state(worker) == ("IN_PROGRESS", 9, "")
    (one,) = await begin(worker.plane, call(1, version=OTHER))
    worker.start_all()
    worker.answer_all()
    await one


async def test_nobody_jumps_the_queue_for_room(later: Callable[[FakeWorker, float], None]):
    """Room that comes by itself, as when a function is deleted, goes to who waits, and not to who comes next."""
    worker = open_plane(capacity=1, capacity_wait_s=5.0)
    later(worker, 0.0)
    (busy,) = await begin(worker.plane, call(1))
    worker.start_all()
    (waiting,) = await begin(worker.plane, call(2, version=OTHER))
    worker.plane.stop(next(iter(worker.plane.homes)))
    (newer,) = await begin(worker.plane, call(3, version=replace(VERSION, name="h", deployment_id="h1")))
    (start,) = worker.take(frames.Start)
    assert start.spec.function_name == "g"
    for task in (busy, waiting, newer):
        task.cancel()
    await asyncio.gather(busy, waiting, newer, return_exceptions=True)


async def test_a_new_worker_warms_them_again(worker: FakeWorker):
    """All of them, and none while there is no worker."""
    configure(worker, live=[(ONE, 2)])
    worker.start_all()
    worker.plane.worker_went()
    assert state(worker) == ("IN_PROGRESS", 0, "")
    worker.sent.clear()
    worker.plane.worker_came(WELCOME)
    assert len(worker.start_all()) == 2 and state(worker) == ("READY", 2, "")


async def test_more_requests_than_ten_a_second_for_each_spill_over(worker: FakeWorker):
    """Although a provisioned environment is free."""
    configure(worker, live=[(ONE, 1)])
    worker.start_all()
    for number in range(12):
        (one,) = await begin(worker.plane, call(number, version=ONE))
        worker.start_all()
        worker.answer_all()
        await one
    assert worker.plane.statistics().spillovers >= 1 and worker.plane.statistics().provisioned_invocations >= 10


async def test_closing_makes_nothing_again(worker: FakeWorker):
    """Provisioned environments end with the others."""
    configure(worker, live=[(ONE, 2)])
    kept = worker.start_all()
    closing = asyncio.ensure_future(worker.plane.close(5.0))
    await asyncio.sleep(0)
    for environment_id in kept:
        die(worker, environment_id, "stopped")
    await closing
    assert worker.take(frames.Start) == []


async def test_requests_per_second_are_limited(worker: FakeWorker, later: Callable[[FakeWorker, float], None]):
    """Ten for each unit of concurrency, with AWS's reason; queued events are let through."""
    later(worker, 0.0)
    for number in range(20):
        (one,) = await begin(worker.plane, call(number), limit=2)
        worker.start_all()
        worker.answer_all()
        await one
    (refused,) = await begin(worker.plane, call(30), limit=2)
    with pytest.raises(Throttled, match=r"^FunctionInvocationRateLimitExceeded$"):
        await refused
    (queued,) = await begin(worker.plane, msgspec.structs.replace(call(31), rate_limited=False), limit=2)
    worker.answer_all()
    await queued
    (refused,) = await begin(worker.plane, *[call(40 + number, reserved=0) for number in range(1)], limit=2)
    with pytest.raises(Throttled, match=r"^ReservedFunctionConcurrentInvocationLimitExceeded$"):
        await refused
    later(worker, 0.1)
    (again,) = await begin(worker.plane, call(32), limit=2)
    worker.answer_all()
    await again


async def test_a_function_adds_a_thousand_environments_at_once(later: Callable[[FakeWorker, float], None]):
    """Then a hundred a second; other functions have a bucket of their own."""
    worker = open_plane(capacity=3000)
    later(worker, 0.0)
    tasks = await begin(worker.plane, *(call(number) for number in range(1001)), limit=3000)
    with pytest.raises(Throttled, match=r"^ConcurrentInvocationLimitExceeded$"):
        await tasks[1000]
    (other,) = await begin(worker.plane, call(2000, version=OTHER), limit=3000)
    assert len(worker.take(frames.Start)) == 1001
    later(worker, 0.055)
    more = await begin(worker.plane, *(call(3000 + number) for number in range(10)), limit=3000)
    assert len(worker.take(frames.Start)) == 5 and sum(task.done() for task in more) == 5
    for task in (*tasks, other, *more):
        task.cancel()
    await asyncio.gather(*tasks, other, *more, return_exceptions=True)


async def test_who_waits_for_room_is_served_in_order(later: Callable[[FakeWorker, float], None]):
    """Across functions: the one that has waited longest gets the first place that is free, after a little patience for warm ones."""
    worker = open_plane(capacity=1, capacity_wait_s=2.0)
    later(worker, 0.0)
    third_version = replace(VERSION, name="h", deployment_id="h1")
    (first,) = await begin(worker.plane, call(1))
    worker.start_all()
    (second,) = await begin(worker.plane, call(2, version=OTHER))
    (third,) = await begin(worker.plane, call(3, version=third_version))
    later(worker, 0.01)
    (fourth,) = await begin(worker.plane, call(4))
    worker.answer_all()
    await first
    assert [invoke.request_id for invoke in worker.take(frames.Invoke)] == ["r4"]  # warm, and the others have not waited for long
    later(worker, 0.3)
    (fifth,) = await begin(worker.plane, call(5))
    served = []
    environment_id = next(iter(worker.plane.homes))
    worker.plane.worker_said(frames.Answer(environment_id=environment_id, request_id="r4"), b"1")
    await fourth
    for task in (second, third, fifth):
        assert len(worker.take(frames.Stop)) == 1
        for gone in list(worker.plane._leaving):
            die(worker, gone, "stopped")
        assert len(worker.start_all()) == 1
        served += [invoke.request_id for invoke in worker.answer_all()]
        await task
    assert served == ["r2", "r3", "r5"]


async def test_who_waits_for_room_too_long_is_throttled(later: Callable[[FakeWorker, float], None]):
    """Without an environment on its way; nobody else is, and nothing of it is left."""
    worker = open_plane(capacity=1, capacity_wait_s=2.0)
    later(worker, 0.0)
    (first,) = await begin(worker.plane, call(1))
    (second,) = await begin(worker.plane, call(2, version=OTHER))
    later(worker, 1.9)
    assert not second.done()
    later(worker, 0.2)
    with pytest.raises(Throttled, match=r"^ConcurrentInvocationLimitExceeded$"):
        await second
    worker.start_all()
    worker.answer_all()
    await first
    assert not worker.plane._room.short and OTHER.deployment_id not in worker.plane.deployments


async def test_short_memory_ends_idle_environments_of_little_worth(worker: FakeWorker):
    """A tenth with each word of it, at least one; busy ones never; none when there is enough."""
    worker = open_plane(memory_low_percent=5.0, memory_stall_percent=10.0)
    versions = [replace(VERSION, name=f"f{number}", deployment_id=f"d{number}") for number in range(3)]
    for number, version in enumerate(versions):
        for attempt in range(1 + 5 * (number != 1)):
            (one,) = await begin(worker.plane, call(10 * number + attempt, version=version))
            worker.start_all()
            worker.answer_all()
            await one
    (busy,) = await begin(worker.plane, call(99, version=versions[0]))
    for available, stalled in ((GIB // 5, 9.0), (GIB // 2, 99.0)):  # not stalled enough; stalled, but that is a function's own matter
        worker.plane.worker_said(frames.Load(available_bytes=available, total_bytes=GIB, stalled_percent=stalled), b"")
        assert worker.take(frames.Stop) == []
    worker.plane.worker_said(frames.Load(available_bytes=GIB // 100, total_bytes=GIB), b"")
    (stopped,) = worker.take(frames.Stop)
    assert worker.plane.homes[stopped.environment_id].deployment.version == versions[1]
    worker.plane.worker_said(frames.Load(available_bytes=GIB // 5, total_bytes=GIB, stalled_percent=11.0), b"")
    (stopped,) = worker.take(frames.Stop)
    assert worker.plane.homes[stopped.environment_id].deployment.version == versions[2]
    worker.plane.worker_said(frames.Load(available_bytes=GIB // 5, total_bytes=GIB, stalled_percent=11.0), b"")
    assert worker.take(frames.Stop) == [] and worker.plane.statistics().evicted == 2
    worker.answer_all()
    await busy


async def test_an_environment_is_made_ahead_of_a_timer(later: Callable[[FakeWorker, float], None]):
    """A version that is invoked each hour is given up between, and warm when it is wanted."""
    worker = open_plane()
    later(worker, 0.0)
    for number in range(keep_alive.SAMPLES_MIN + 3):
        (one,) = await begin(worker.plane, call(number))
        later(worker, keep_alive.COLD_MS / 1000)
        worker.start_all()
        worker.answer_all()
        await one
        for _ in range(60):
            later(worker, 60.0)
            for gone in list(worker.plane._leaving):
                die(worker, gone, "stopped")
            worker.start_all()
    cold_before = worker.plane.statistics()
    assert cold_before.made_ahead >= 2 and cold_before.idle == 1
    (warm,) = await begin(worker.plane, call(100))
    assert worker.take(frames.Start) == []
    worker.answer_all()
    await warm
    worker.plane.retire(KEY, frozenset())
    for _ in range(120):
        later(worker, 60.0)
    assert worker.take(frames.Start) == []  # nothing is made for what is gone

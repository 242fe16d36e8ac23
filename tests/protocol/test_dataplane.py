"""The data plane against a fake worker: what it sends, and what it makes of what it hears."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from lambdad.dataplane.plane import NO_RUNTIME, DataPlane
from lambdad.model.function import FunctionVersion
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.model.invocation import Invocation, Outcome, RuntimeUnavailable, SystemFailure, Throttled
from lambdad.wire import frames

VERSION = FunctionVersion(
    account=AccountId("000000000000"),
    region=Region("us-east-1"),
    name="f",
    deployment_id="d1",
    revision_id="r",
    last_modified="",
    runtime="python3.11",
    handler="app.handler",
    role="arn:aws:iam::000000000000:role/r",
    timeout_s=3,
    memory_mib=128,
    ephemeral_storage_mib=512,
    code_sha256="00",
    code_size_bytes=1,
    log_group="/aws/lambda/f",
)
WELCOME = frames.Welcome(worker_id="w", isolation="none", runtimes=[], interpreters=[], max_environments=3)


class FakeWorker:
    """Remembers what it was sent; answers when it is told to."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane
        self.capacity = 3
        self.sent: list[tuple[Any, bytes]] = []

    def send(self, message: frames.ToWorker, body: bytes = b"") -> None:
        self.sent.append((message, body))

    def take(self, kind: type) -> list[Any]:
        taken = [message for message, _ in self.sent if isinstance(message, kind)]
        self.sent = [(message, body) for message, body in self.sent if not isinstance(message, kind)]
        return taken

    def start_all(self) -> list[str]:
        ids = [message.spec.environment_id for message in self.take(frames.Start)]
        for environment_id in ids:
            self.plane.worker_said(frames.Ready(environment_id=environment_id, init_ms=1.0), b"")
        return ids

    def answer_all(self, payload: bytes = b"1") -> list[frames.Invoke]:
        invokes = self.take(frames.Invoke)
        for invoke in invokes:
            answer = frames.Answer(environment_id=invoke.environment_id, request_id=invoke.request_id)
            self.plane.worker_said(answer, payload)
        return invokes


@pytest.fixture
async def worker() -> FakeWorker:
    logged: list[Any] = []
    plane = DataPlane(_spec, lambda *line: logged.append(line), keep_alive_s=10.0)
    fake = FakeWorker(plane)
    plane.link = fake
    plane.worker_came(WELCOME)
    fake.logged = logged  # type: ignore[attr-defined]  # for one test
    return fake


def _spec(version: FunctionVersion, environment_id: str) -> frames.EnvironmentSpec:
    return frames.EnvironmentSpec(
        environment_id=environment_id,
        account=version.account,
        region=version.region,
        function_name=version.name,
        function_arn=version.arn,
        version=version.version,
        runtime="python3.11",
        handler="h",
        memory_mib=128,
        timeout_s=3,
        ephemeral_storage_mib=512,
        task="00",
        log_group=version.log_group,
        log_stream=f"stream-{environment_id}",
    )


def call(number: int, *, reserved: int | None = None, version: FunctionVersion = VERSION) -> Invocation:
    return Invocation(
        request_id=RequestId(f"r{number}"), version=version, invoked_arn=version.arn, payload=b"{}", reserved_concurrency=reserved
    )


async def begin(plane: DataPlane, *calls: Invocation, limit: int = 1000) -> list["asyncio.Task[Outcome]"]:
    tasks = [asyncio.ensure_future(plane.invoke(one, limit)) for one in calls]
    await asyncio.sleep(0)
    return tasks


async def test_a_cold_and_a_warm_invocation(worker: FakeWorker):
    """The first starts an environment, the second uses it again."""
    (first,) = await begin(worker.plane, call(1))
    (environment_id,) = worker.start_all()
    worker.answer_all(b"one")
    assert (await first).payload == b"one"
    (second,) = await begin(worker.plane, call(2))
    assert worker.take(frames.Start) == []
    assert [invoke.environment_id for invoke in worker.answer_all(b"two")] == [environment_id]
    assert (await second).payload == b"two"


async def test_limits_throttle_with_awss_reasons(worker: FakeWorker):
    """The account's pool and a reservation are told apart; what ends makes room."""
    first, second, third = await begin(worker.plane, call(1), call(2), call(3, reserved=0), limit=1)
    with pytest.raises(Throttled, match=r"^ConcurrentInvocationLimitExceeded$"):
        await second
    with pytest.raises(Throttled, match=r"^ReservedFunctionConcurrentInvocationLimitExceeded$"):
        await third
    worker.start_all()
    worker.answer_all()
    await first
    (again,) = await begin(worker.plane, call(4), limit=1)
    worker.answer_all()
    await again


async def test_a_caller_who_goes_away_leaves_nothing_behind(worker: FakeWorker):
    """The invocation runs on and is counted until its end; its outcome is dropped."""
    (first,) = await begin(worker.plane, call(1), limit=1)
    first.cancel()
    (second,) = await begin(worker.plane, call(2), limit=1)
    with pytest.raises(Throttled):
        await second
    worker.start_all()
    worker.answer_all()
    (third,) = await begin(worker.plane, call(3), limit=1)
    worker.answer_all()
    await third


async def test_a_worker_that_goes_fails_what_it_ran_and_keeps_what_waits(worker: FakeWorker):
    """Nobody can say how the one ended; the other has not begun, and the next worker runs it."""
    running, waiting = await begin(worker.plane, call(1), call(2))
    starts = worker.take(frames.Start)
    worker.plane.worker_said(frames.Ready(environment_id=starts[0].spec.environment_id, init_ms=1.0), b"")
    worker.plane.worker_went()
    with pytest.raises(SystemFailure):
        await running
    worker.sent.clear()
    worker.plane.worker_came(WELCOME)
    worker.start_all()
    worker.answer_all(b"later")
    assert (await waiting).payload == b"later"
    assert worker.plane.statistics().busy == 0


async def test_an_environment_that_dies_fails_its_invocation(worker: FakeWorker):
    """The next invocation gets another one."""
    (first,) = await begin(worker.plane, call(1))
    (environment_id,) = worker.start_all()
    worker.plane.worker_said(frames.Stopped(environment_id=environment_id, reason="failed: X", request_id=call(1).request_id), b"")
    with pytest.raises(SystemFailure):
        await first
    (second,) = await begin(worker.plane, call(2))
    assert worker.start_all() != [environment_id]
    worker.answer_all()
    await second


async def test_an_invocation_that_had_not_begun_moves_on_once(worker: FakeWorker):
    """It gets another environment when its first one dies before it has begun there, and an error when the second does too."""
    (first,) = await begin(worker.plane, call(1))
    (environment_id,) = worker.start_all()
    worker.plane.worker_said(frames.Stopped(environment_id=environment_id, reason="lost: X"), b"")
    (other_id,) = worker.start_all()
    assert other_id != environment_id and not first.done()
    worker.plane.worker_said(frames.Stopped(environment_id=other_id, reason="lost: X"), b"")
    with pytest.raises(SystemFailure):
        await first


async def test_a_runtime_that_nobody_has(worker: FakeWorker):
    """The worker's text reaches the caller."""
    (first,) = await begin(worker.plane, call(1))
    (start,) = worker.take(frames.Start)
    worker.plane.worker_said(frames.Stopped(environment_id=start.spec.environment_id, reason=f"{NO_RUNTIME}no ruby here"), b"")
    with pytest.raises(RuntimeUnavailable, match="no ruby here"):
        await first


async def test_retired_deployments_end_when_they_are_done(worker: FakeWorker):
    """Idle environments end at once, busy ones after their invocation; the new deployment's are others."""
    idle, busy = await begin(worker.plane, call(1), call(2))
    worker.start_all()
    answers = worker.take(frames.Invoke)
    worker.plane.worker_said(frames.Answer(environment_id=answers[0].environment_id, request_id=answers[0].request_id), b"")
    await idle
    worker.plane.retire(VERSION.key, frozenset({"d2"}))
    assert [stop.environment_id for stop in worker.take(frames.Stop)] == [answers[0].environment_id]
    worker.plane.worker_said(frames.Answer(environment_id=answers[1].environment_id, request_id=answers[1].request_id), b"")
    await busy
    assert [stop.environment_id for stop in worker.take(frames.Stop)] == [answers[1].environment_id]
    (new,) = await begin(worker.plane, call(3, version=replace(VERSION, deployment_id="d2")))
    assert len(worker.start_all()) == 1
    worker.answer_all()
    await new


async def test_idle_environments_give_way_when_the_worker_is_full(worker: FakeWorker):
    """The one idle for longest is ended for another function's; with none idle the caller is throttled."""
    others = [replace(VERSION, name=f"g{n}", deployment_id=f"g{n}") for n in range(4)]
    for number in range(3):
        (one,) = await begin(worker.plane, call(number, version=others[number]))
        worker.start_all()
        worker.answer_all()
        await one
    (fourth,) = await begin(worker.plane, call(9, version=others[3]))
    assert len(worker.take(frames.Stop)) == 1
    worker.start_all()
    busy = await begin(worker.plane, *(call(20 + n, version=VERSION) for n in range(3)))
    with pytest.raises(Throttled):
        await busy[2]
    worker.start_all()
    worker.answer_all()
    await asyncio.gather(fourth, *busy[:2])


async def test_lines_go_to_the_environments_stream(worker: FakeWorker):
    """Lines of several environments in one frame are told apart, and keep their order."""
    await begin(worker.plane, call(1), call(2))
    one, two = worker.start_all()
    worker.plane.worker_said(frames.LogEvents(events=[(one, 1, "a"), (two, 2, "b"), (one, 3, "c"), ("gone", 4, "d")]), b"")
    assert [(line[3], line[4]) for line in worker.logged] == [  # type: ignore[attr-defined]
        (f"stream-{one}", [(1, "a\n"), (3, "c\n")]),
        (f"stream-{two}", [(2, "b\n")]),
    ]
    worker.answer_all()


async def test_what_a_worker_forgets_is_failed(worker: FakeWorker, monkeypatch: pytest.MonkeyPatch):
    """No caller waits for ever, whether its environment never answers or never comes."""
    running, waiting = await begin(worker.plane, call(1), call(2))
    starts = worker.take(frames.Start)
    worker.plane.worker_said(frames.Ready(environment_id=starts[0].spec.environment_id, init_ms=1.0), b"")
    now_s = asyncio.get_running_loop().time()
    monkeypatch.setattr(worker.plane._loop, "time", lambda: now_s + VERSION.timeout_s + 59)
    worker.plane.sweep()
    assert not running.done() and not waiting.done()
    monkeypatch.setattr(worker.plane._loop, "time", lambda: now_s + VERSION.timeout_s + 61)
    worker.plane.sweep()
    monkeypatch.undo()
    for task in (running, waiting):
        with pytest.raises(SystemFailure):
            await task
    assert len(worker.take(frames.Stop)) == 1


async def test_an_old_environment_is_replaced(worker: FakeWorker, monkeypatch: pytest.MonkeyPatch):
    """Even one that is never idle: it ends after its invocation, and who waits gets a new one."""
    (first,) = await begin(worker.plane, call(1))
    (old,) = worker.start_all()
    (second,) = await begin(worker.plane, call(2))
    worker.take(frames.Start)
    now_s = asyncio.get_running_loop().time()
    monkeypatch.setattr(worker.plane._loop, "time", lambda: now_s + 6 * 3600 + 1)
    worker.answer_all()
    await first
    assert [stop.environment_id for stop in worker.take(frames.Stop)] == [old]
    monkeypatch.undo()
    second.cancel()


async def test_closing_waits_for_the_last_of_the_log(worker: FakeWorker):
    """Every environment is told to stop; what runs fails, and what was written before Stopped is kept."""
    first, second = await begin(worker.plane, call(1), call(2))
    idle, busy = worker.start_all()
    answered = worker.take(frames.Invoke)[0]
    assert answered.environment_id == idle
    worker.plane.worker_said(frames.Answer(environment_id=idle, request_id=answered.request_id), b"1")
    await first
    closing = asyncio.ensure_future(worker.plane.close(5.0))
    await asyncio.sleep(0)
    assert {stop.environment_id for stop in worker.take(frames.Stop)} == {idle, busy} and not closing.done()
    with pytest.raises(SystemFailure):
        await second
    worker.plane.worker_said(frames.LogEvents(events=[(idle, 1, "the last")]), b"")
    for environment_id in (idle, busy):
        worker.plane.worker_said(frames.Stopped(environment_id=environment_id, reason="stopped", request_id=""), b"")
    await closing
    assert [line[-1] for line in worker.logged] == [[(1, "the last\n")]]  # type: ignore[attr-defined]


async def test_closing_does_not_wait_for_ever(worker: FakeWorker):
    """A worker that never says Stopped is left alone; with nothing to stop there is nothing to wait for."""
    await worker.plane.close(5.0)
    (first,) = await begin(worker.plane, call(1))
    worker.start_all()
    worker.answer_all()
    await first
    await worker.plane.close(0.0)
    worker.plane.worker_went()


async def test_compilations_collect_pieces_and_end_with_their_worker():
    """Pieces go to the sink of their job; a worker that goes ends its jobs; without one nothing begins."""
    plane = DataPlane(lambda version, environment_id: None, lambda *_: None)  # type: ignore[arg-type, return-value]  # neither is used
    worker = FakeWorker(plane)
    pieces: list[bytes] = []
    plane.link = worker
    assert not await plane.compilations.compile("python3.11", "a" * 64, pieces.append)
    plane.worker_came(WELCOME)
    first = asyncio.ensure_future(plane.compilations.compile("python3.11", "a" * 64, pieces.append))
    second = asyncio.ensure_future(plane.compilations.compile("python3.12", "b" * 64, pieces.append))
    third = asyncio.ensure_future(plane.compilations.compile("python3.13", "c" * 64, pieces.append))
    await asyncio.sleep(0)
    one, two = worker.take(frames.Compile)
    assert (one.runtime, one.directory, two.runtime) == ("python3.11", "a" * 64, "python3.12")
    plane.worker_said(frames.Compiled(job_id=one.job_id), b"x")
    plane.worker_said(frames.Compiled(job_id="unknown"), b"y")
    plane.worker_said(frames.Compiled(job_id=one.job_id, ended=True), b"z")
    assert await first and pieces == [b"x", b"z"]
    await asyncio.sleep(0)
    assert [message.runtime for message in worker.take(frames.Compile)] == ["python3.13"]
    plane.worker_went()
    assert not await second and not await third


async def test_an_environment_whose_extensions_are_at_work(worker: FakeWorker):
    """Its caller has the answer, and it takes nothing and counts until it is freed; what is lost then harms nobody."""
    (first,) = await begin(worker.plane, call(1), limit=1)
    (environment_id,) = worker.start_all()
    (invoke,) = worker.take(frames.Invoke)
    answer = frames.Answer(environment_id=environment_id, request_id=invoke.request_id, busy=True)
    worker.plane.worker_said(answer, b"early")
    assert (await first).payload == b"early"
    (throttled,) = await begin(worker.plane, call(2), limit=1)
    with pytest.raises(Throttled):
        await throttled
    (second,) = await begin(worker.plane, call(3), limit=2)
    (other,) = [message.spec.environment_id for message in worker.take(frames.Start)]
    assert worker.take(frames.Invoke) == []
    freed = frames.Freed(environment_id=environment_id, request_id=invoke.request_id)
    worker.plane.worker_said(frames.Freed(environment_id=environment_id, request_id="another"), b"")
    assert worker.take(frames.Invoke) == []
    worker.plane.worker_said(freed, b"")
    assert [one.request_id for one in worker.answer_all(b"late")] == ["r3"]
    assert (await second).payload == b"late"
    worker.plane.worker_said(freed, b"")  # once more is once too often, and nothing
    (third,) = await begin(worker.plane, call(4), limit=1)
    (invoke,) = worker.take(frames.Invoke)
    worker.plane.worker_said(frames.Answer(environment_id=environment_id, request_id="r4", busy=True), b"x")
    assert (await third).payload == b"x"
    worker.plane.worker_said(frames.Stopped(environment_id=environment_id, reason="stopped"), b"")
    assert worker.plane.statistics().busy == 0
    (last,) = await begin(worker.plane, call(5), limit=1)
    worker.plane.worker_said(frames.Ready(environment_id=other, init_ms=1.0), b"")
    worker.answer_all(b"last")
    assert (await last).payload == b"last"


async def test_what_is_prepared_is_asked_for_once_and_waited_for(worker: FakeWorker) -> None:
    """Each runtime and memory size is asked for once at a time; who waits goes on when the worker has answered, or has gone."""
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(worker.plane.prepare("nodejs20.x", memory_mib)) for memory_mib in (128, 128, 256)]
        await asyncio.sleep(0)
        assert [message.memory_mib for message in worker.take(frames.Prepare)] == [128, 256]
        worker.plane.worker_said(frames.Prepared(runtime="nodejs20.x", memory_mib=128), b"")
        worker.plane.worker_said(frames.Prepared(runtime="ruby3.3", memory_mib=128), b"")  # nobody asked
        await asyncio.wait(waiting[:2])
        assert not waiting[2].done()
        worker.plane.worker_went()
    await worker.plane.prepare("nodejs20.x", 128)  # there is nobody to ask
    assert not worker.take(frames.Prepare)
    worker.plane.runtimes_in_use = lambda: {("python3.11", 512)}
    worker.plane.worker_came(WELCOME)
    (asked,) = worker.take(frames.Prepare)
    assert (asked.runtime, asked.memory_mib) == ("python3.11", 512)

"""The data plane and snapshots, against a fake worker: builds, lost ones, and restores that fail."""

import asyncio
from dataclasses import replace

import pytest
from test_dataplane import VERSION, WELCOME, FakeWorker, begin, call, worker  # noqa: F401

from lambdad.dataplane.plane import RESTORE_FAILED, RESTORE_LOST, RESTORE_TIMED_OUT
from lambdad.model.function import SnapStartApplyOn
from lambdad.model.invocation import RestoreFailed
from lambdad.wire import frames
from lambdad.worker import restored

PUBLISHED = replace(VERSION, version="1", deployment_id="s1", snap_start=SnapStartApplyOn.PUBLISHED_VERSIONS)


def test_both_sides_use_the_same_words():
    """What the worker says of a failed restore is what the data plane looks for."""
    assert (restored.TIMED_OUT, restored.FAILED, restored.RestoredEnvironment.LOST) == (RESTORE_TIMED_OUT, RESTORE_FAILED, RESTORE_LOST)


async def test_a_build_is_asked_for_and_answered(worker: FakeWorker):  # noqa: F811
    """Its lines go to a stream of its own; its outcome is the worker's."""
    building = asyncio.ensure_future(worker.plane.build(PUBLISHED))
    await asyncio.sleep(0)
    (build,) = worker.take(frames.Build)
    environment_id = build.spec.environment_id
    worker.plane.worker_said(frames.LogEvents(events=[(environment_id, 5, "INIT_START")]), b"")
    assert worker.logged == [("000000000000", "us-east-1", "/aws/lambda/f", f"stream-{environment_id}", [(5, "INIT_START\n")])]  # type: ignore[attr-defined]
    worker.plane.worker_said(frames.Built(environment_id=environment_id, error_type="Function.Unknown", reason="x"), b"")
    assert (await building).error_type == "Function.Unknown"


async def test_a_build_goes_on_with_the_next_worker(worker: FakeWorker):  # noqa: F811
    """One that a worker takes with it is begun again."""
    building = asyncio.ensure_future(worker.plane.build(PUBLISHED))
    await asyncio.sleep(0)
    (first,) = worker.take(frames.Build)
    worker.plane.worker_went()
    await asyncio.sleep(0.01)
    assert worker.take(frames.Build) == []
    worker.plane.worker_came(WELCOME)
    await asyncio.sleep(0.01)
    (second,) = worker.take(frames.Build)
    assert first.spec.environment_id != second.spec.environment_id
    worker.plane.worker_said(frames.Built(environment_id=second.spec.environment_id), b"")
    assert (await building).error_type == ""


async def test_a_missing_snapshot_is_built_beside(worker: FakeWorker):  # noqa: F811
    """The invocation that found it missing is served meanwhile."""
    (running,) = await begin(worker.plane, call(1, version=PUBLISHED))
    (start,) = worker.take(frames.Start)
    worker.plane.worker_said(frames.SnapshotMissing(environment_id=start.spec.environment_id), b"")
    (build,) = worker.take(frames.Build)
    worker.plane.worker_said(frames.Ready(environment_id=start.spec.environment_id, init_ms=1.0), b"")
    worker.answer_all()
    await running
    worker.plane.worker_said(frames.Built(environment_id=build.spec.environment_id, error_type="x"), b"")
    worker.plane.worker_said(frames.Built(environment_id=build.spec.environment_id), b"")  # a second time, to no effect


@pytest.mark.parametrize(("reason", "timed_out"), [(RESTORE_TIMED_OUT + "x", True), (RESTORE_FAILED + "x", False)])
async def test_a_restore_that_fails_is_told_apart(worker: FakeWorker, reason: str, timed_out: bool):  # noqa: F811
    """The caller hears what it was, and the next invocation has another environment."""
    (running,) = await begin(worker.plane, call(1, version=PUBLISHED))
    (start,) = worker.take(frames.Start)
    worker.plane.worker_said(frames.Stopped(environment_id=start.spec.environment_id, reason=reason), b"")
    with pytest.raises(RestoreFailed) as failed:
        await running
    assert failed.value.timed_out is timed_out
    await begin(worker.plane, call(2, version=PUBLISHED))
    assert len(worker.take(frames.Start)) == 1


async def test_a_lost_snapshot_is_nobodys_error(worker: FakeWorker):  # noqa: F811
    """Another environment is started for the invocation that waits."""
    (running,) = await begin(worker.plane, call(1, version=PUBLISHED))
    (start,) = worker.take(frames.Start)
    worker.plane.worker_said(frames.Stopped(environment_id=start.spec.environment_id, reason=RESTORE_LOST + "x"), b"")
    assert len(worker.start_all()) == 1
    worker.answer_all(b"after all")
    assert (await running).payload == b"after all"


async def test_snapshots_of_deleted_versions_are_forgotten(worker: FakeWorker):  # noqa: F811
    """Those built here, those of a former server, and one whose version goes while it is built."""
    building = asyncio.ensure_future(worker.plane.build(PUBLISHED))
    worker.plane.expect_snapshot(replace(PUBLISHED, deployment_id="s0"))
    await asyncio.sleep(0)
    (build,) = worker.take(frames.Build)
    worker.plane.retire(PUBLISHED.key, frozenset({"other"}))
    assert {message.snapshot for message in worker.take(frames.Forget)} == {"s0", "s1"}
    worker.plane.worker_said(frames.Built(environment_id=build.spec.environment_id), b"")
    await building
    assert len(worker.take(frames.Forget)) == 1

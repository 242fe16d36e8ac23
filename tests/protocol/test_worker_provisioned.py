"""The driver of a provisioned environment: what it says of Init, and that it does not outlive its runtime."""

import asyncio
import os
from collections.abc import AsyncIterator

import msgspec
import pytest
from test_worker_environment import SPEC, Scene, ready, settled  # type: ignore[import-not-found]  # a sibling

from lambdad.wire import frames


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """A provisioned environment before its runtime has said anything; stopped after the test."""
    spec = msgspec.structs.replace(SPEC, initialization_type="provisioned-concurrency")
    made = Scene(spec)
    async with asyncio.timeout(10):
        running = asyncio.ensure_future(made.environment.run())
        yield made
        made.environment.stop()
        made.sandbox.may_die.set()
        await running
        await made.hang_up()


async def test_init_is_reported_and_not_billed(scene: Scene):
    """INIT_REPORT says how long it took; the first REPORT shows it too, and bills only its own duration."""
    client = await ready(scene)
    assert [line.split(" ")[0] for line in scene.lines()] == ["INIT_START", "INIT_REPORT"]
    scene.invoke("r1")
    await client.answer()
    await client.post("invocation/r1/response", b"1")
    answer, _ = await scene.heard()
    assert isinstance(answer, frames.Answer) and answer.init_ms > 0
    assert answer.billed_ms <= answer.duration_ms + 1
    report = scene.lines()[-1]
    assert "Init Duration" in report and f"Billed Duration: {answer.billed_ms} ms" in report


@pytest.mark.parametrize("posts", [True, False])
async def test_init_that_fails(scene: Scene, posts: bool):
    """It is not tried again within an invocation, as on demand: the environment ends, and says why."""
    if posts:
        client = await scene.dial()
        client.writer.write(
            b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nlambda-runtime-function-error-type: Runtime.ImportModuleError\r\n"
            b"content-length: 2\r\n\r\n{}"
        )
        await client.answer()
    scene.sandbox.exit(1)
    message, _ = await scene.heard()
    assert isinstance(message, frames.Stopped) and message.request_id == ""
    assert message.reason == f"init failed: {'Runtime.ImportModuleError' if posts else 'Runtime.ExitError'}"
    assert any(line.startswith("INIT_REPORT") and "Status: error" in line for line in scene.lines())


async def test_a_runtime_that_exits_takes_its_environment_along(scene: Scene):
    """While idle: so that another one is made, and nobody finds it cold."""
    await ready(scene)
    scene.sandbox.exit(0)
    message, _ = await scene.heard()
    assert isinstance(message, frames.Stopped) and (message.reason, message.request_id) == ("stopped", "")


async def test_a_crash_answers_before_the_environment_ends(scene: Scene):
    """The caller has his error, and then the environment is gone."""
    client = await ready(scene)
    scene.invoke("r1")
    await client.answer()
    os.write(scene.sandbox.pen, b"oh\n")
    scene.sandbox.exit(3)
    answer, _ = await scene.heard()
    assert isinstance(answer, frames.Answer) and answer.error_type == "Runtime.ExitError"
    message, _ = await scene.heard()
    assert isinstance(message, frames.Stopped) and message.request_id == ""
    await settled(lambda: scene.sandbox.killing.is_set())

"""Extensions and their telemetry against a sandbox that only pretends: real HTTP, real destinations, no processes."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_worker_environment import SPEC, Client, Scene, settled

from lambdad.machines import telemetry
from lambdad.wire import frames
from lambdad.worker.telemetry import Budget, Hub

EXTENSION = "/2020-01-01/extension/"


async def call(scene: Scene, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    client = await scene.dial()
    return await ask(client, method, path, body, **headers)


def send(client: Client, method: str, path: str, body: bytes = b"", **headers: str) -> None:
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    client.writer.write(f"{method} {path} HTTP/1.1\r\n{fields}content-length: {len(body)}\r\n\r\n".encode() + body)


async def ask(client: Client, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    send(client, method, path, body, **headers)
    return await client.answer()


async def register(scene: Scene, name: str, *events: str) -> str:
    status, headers, body = await call(
        scene, "POST", EXTENSION + "register", json.dumps({"events": events}).encode(), lambda_extension_name=name
    )
    assert status == 200 and json.loads(body) == {"functionName": "f", "functionVersion": "$LATEST", "handler": "app.handler"}
    return headers["lambda-extension-identifier"]


async def poll(scene: Scene, identifier: str) -> Client:
    """Ask for the next event, without waiting for it."""
    client = await scene.dial()
    send(client, "GET", EXTENSION + "event/next", lambda_extension_identifier=identifier)
    return client


async def event(client: Client) -> Any:
    status, headers, body = await client.answer()
    assert status == 200 and headers["lambda-extension-event-identifier"]
    return json.loads(body)


@contextlib.asynccontextmanager
async def opened(*programs: str, spec: frames.EnvironmentSpec = SPEC) -> AsyncIterator[Scene]:
    made = Scene(spec, programs)
    async with asyncio.timeout(20):
        running = asyncio.ensure_future(made.environment.run())
        await settled(lambda: bool(made.sandbox.calls))
        yield made
        made.environment.stop()
        made.sandbox.exit(0)
        for program in made.sandbox.launched.values():
            with contextlib.suppress(asyncio.InvalidStateError):
                program.exit(0)
        await running
        await made.hang_up()


async def ready(scene: Scene, *subscriptions: str) -> tuple[Client, str, Client]:
    """Bring an environment with the one extension `a` through Init; returns the runtime, the identifier, the extension's poll."""
    identifier = await register(scene, "a", *subscriptions)
    polling = await poll(scene, identifier)
    runtime = await scene.dial()
    runtime.poll()
    message, _ = await scene.heard()
    assert isinstance(message, frames.Ready)
    return runtime, identifier, polling


async def test_a_life_with_an_extension():
    """Programs before the runtime; the answer before the end; SHUTDOWN after the runtime, which goes by SIGTERM."""
    async with opened("a") as scene:
        await settled(lambda: "launch a" in scene.sandbox.calls)
        assert scene.sandbox.calls == ["place", "launch a"]
        runtime, identifier, polling = await ready(scene, "INVOKE", "SHUTDOWN")
        assert scene.sandbox.calls[2:] == ["assign", "limit"]
        scene.invoke("r1")
        assert (await runtime.answer())[1]["lambda-runtime-aws-request-id"] == "r1"
        told = await event(polling)
        assert told["requestId"] == "r1" and told["invokedFunctionArn"] == "arn"
        os.write(scene.sandbox.launched["a"].pen, b"written by the extension\n")
        assert await runtime.post("invocation/r1/response", b"[1]") == 202
        answer, payload = await scene.heard()
        assert isinstance(answer, frames.Answer) and answer.busy and payload == b"[1]"
        runtime.poll()
        polling = await poll(scene, identifier)
        freed, _ = await scene.heard()
        assert isinstance(freed, frames.Freed) and freed.request_id == "r1" and 0 < freed.extensions_ms <= freed.duration_ms
        assert freed.billed_ms >= freed.duration_ms
        kinds = [line.split(" ")[0].split("\t")[0] for line in scene.lines()]
        assert kinds == ["INIT_START", "EXTENSION", "START", "written", "END", "REPORT"]
        scene.environment.stop()
        assert scene.sandbox.calls[-1] == "signal 15 runtime"
        scene.sandbox.exit(0)
        told = await event(polling)
        assert (told["eventType"], told["shutdownReason"]) == ("SHUTDOWN", "spindown")
        scene.sandbox.launched["a"].exit(0)
        message, _ = await scene.heard()
        assert isinstance(message, frames.Stopped) and message.request_id == ""


async def test_an_event_for_one_who_does_not_poll_waits():
    """An extension whose poll was lost, or that is at work, gets it at its next one."""
    async with opened("a") as scene:
        runtime, identifier, polling = await ready(scene, "INVOKE")
        before = len(scene.environment.connections)
        polling.close()
        await settled(lambda: len(scene.environment.connections) < before)
        scene.invoke("r1")
        await runtime.answer()
        assert (await event(await poll(scene, identifier)))["requestId"] == "r1"


async def test_an_extension_that_ends_while_it_is_waited_for():
    """The caller has its answer; the report says Extension.Crash; the environment is freed when everything is gone."""
    async with opened("a") as scene:
        runtime, _, polling = await ready(scene, "INVOKE")
        scene.invoke("r1")
        await runtime.answer()
        await event(polling)
        await runtime.post("invocation/r1/response", b"[1]")
        assert isinstance((await scene.heard())[0], frames.Answer)
        scene.sandbox.launched["a"].exit(None, 11)
        assert isinstance((await scene.heard())[0], frames.Freed)
        lines = scene.lines()
        assert "RequestId: r1 Error: signal: segmentation fault" in lines and "Extension.Crash" in lines[-1]
        await settled(lambda: "stop" in scene.sandbox.calls)
        scene.invoke("r2")
        await settled(lambda: scene.sandbox.calls[-2:] == ["renew", "launch a"])


async def test_one_who_wants_the_tail_waits_for_its_end():
    """The last lines include REPORT."""
    async with opened("a") as scene:
        runtime, identifier, polling = await ready(scene, "INVOKE")
        invoke = frames.Invoke(environment_id="e1", request_id="r1", invoked_arn="arn", want_tail=True)
        scene.environment.invoke(invoke, b"{}")
        await runtime.answer()
        await event(polling)
        await runtime.post("invocation/r1/response", b"[1]")
        runtime.poll()
        await poll(scene, identifier)
        answer, payload = await scene.heard()
        assert isinstance(answer, frames.Answer) and b"REPORT RequestId: r1" in answer.tail and payload == b"[1]"
        assert isinstance((await scene.heard())[0], frames.Freed)


async def test_the_programs_are_asked_for_once_the_function_is_idle():
    """What is idle is frozen though an extension polls, and thawed for its SHUTDOWN."""
    async with opened("a") as scene:
        await ready(scene, "SHUTDOWN")
        scene.environment.freeze_if_idle(asyncio.get_running_loop().time() + 1)
        assert scene.sandbox.calls[-1] == "freeze"
        scene.environment.stop()
        assert scene.sandbox.calls[-2:] == ["thaw", "signal 15 runtime"]


async def test_the_account_is_told_to_who_asks():
    """Lambda-Extension-Accept-Feature: accountId."""
    async with opened() as scene:
        _, _, body = await call(
            scene, "POST", EXTENSION + "register", b"null", lambda_extension_name="x", lambda_extension_accept_feature="other, accountId"
        )
        assert json.loads(body)["accountId"] == "000000000000"


async def test_json_lines_are_filtered():
    """Where the log is JSON, a line below the level that was asked for is left out; text is not."""
    spec = msgspec.structs.replace(SPEC, log_format="JSON", application_log_level="WARN", system_log_level="DEBUG")
    async with opened(spec=spec) as scene:
        runtime = await scene.dial()
        runtime.poll()
        await scene.heard()
        scene.invoke("r1")
        await runtime.answer()
        stamp = '"timestamp":"2020-01-01T00:00:00Z"'
        os.write(scene.sandbox.pen, f'text\n{{"level":"ERROR",{stamp}}}\n{{"level":"INFO",{stamp}}}\n{{"level":"ERROR"}}\n'.encode())
        await runtime.post("invocation/r1/response", b"[1]")
        await scene.heard()
        lines = scene.lines()
        kinds = [json.loads(line).get("type", "function") if line.startswith("{") else line for line in lines]
        assert kinds == [
            "platform.initStart",
            "platform.initRuntimeDone",
            "platform.initReport",
            "platform.start",
            "text",
            "function",
            "platform.runtimeDone",
            "platform.report",
        ]


METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE"])
PATHS = st.sampled_from(
    [EXTENSION + tail for tail in ("register", "event/next", "init/error", "exit/error", "other")]
    + ["/2022-07-01/telemetry", "/2020-08-15/logs"]
)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)
BODIES = st.binary(max_size=100) | st.recursive(
    st.none() | st.text() | st.integers(), lambda x: st.dictionaries(VALUES, x) | st.lists(x)
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(METHODS, PATHS, BODIES, VALUES, st.booleans()), max_size=15))
def test_whatever_is_said(history: list[tuple[str, str, bytes, str, bool]]):
    """Garbage is answered with a status and costs the environment nothing: Init ends, and an invocation runs."""

    async def play() -> None:
        async with opened() as scene:
            identifier = await register(scene, "known")
            for method, path, body, value, knows in history:
                if (method, path) == ("GET", EXTENSION + "event/next") and knows:
                    continue  # it would wait
                who = identifier if knows else value
                headers = {
                    "lambda_extension_identifier": who,
                    "lambda_extension_name": value,
                    "lambda_extension_function_error_type": value,
                }
                status, _, _ = await call(scene, method, path, body, **{name: text for name, text in headers.items() if text})
                assert status in (200, 202, 400, 403, 404)
            runtime = await scene.dial()
            runtime.poll()
            crew = scene.environment.crew.state
            assert crew is not None
            for one in crew.members:
                await poll(scene, one.identifier)
            if all(one.phase in ("Registered", "Ready") for one in crew.members):
                assert isinstance((await scene.heard())[0], frames.Ready)
                scene.invoke("r1")
                await runtime.answer()

    asyncio.run(play())


# Telemetry alone.
class Destination:
    """Listens, and answers as it is told; keeps what it heard."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") -> None:
        self.answer = answer
        self.bodies: list[bytes] = []
        self.heads: list[bytes] = []
        self.port = 0
        self.heard = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            self.heads.append(head)
            self.bodies.append(await reader.readexactly(length))
            self.heard.set()
            writer.write(self.answer)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def delivering(destination: Any, budget: Budget | None = None, **options: Any) -> AsyncIterator[tuple[Hub, list[Any]]]:
    """Open a hub with one subscriber that is sent batches to a destination."""
    server = await asyncio.start_server(destination, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    lost: list[Any] = []
    scene = Scene()
    hub = Hub(scene.sandbox.open_socket, "127.0.0.1", budget or Budget(), lambda: 0, lost.append)
    subscription = telemetry.Subscription(
        **{"api": telemetry.Api.TELEMETRY, "schema": "2022-12-13", "types": telemetry.TYPES, "port": port, "timeout_s": 0.025, **options}
    )
    hub.platform("platform.initStart", {"phase": "init"})
    hub.subscribe("id", subscription)
    try:
        async with asyncio.timeout(20):
            yield hub, lost
    finally:
        hub.close()
        await asyncio.sleep(0.01)  # for deliveries that were cut off to let go of their connections
        server.close()
        await scene.sandbox.kill()


async def undelivered(hub: Hub) -> None:
    await settled(lambda: not hub.pending())


async def test_what_came_before_the_subscription_is_delivered_first():
    """Init's events are kept for those who subscribe later; every event comes once and in order."""
    destination = Destination()
    async with delivering(destination, path="/here?x") as (hub, _):
        hub.line("function", 5, "one")
        hub.line("extension", 6, '{"a":1}', as_object=True)
        await undelivered(hub)
        hub.end_of_init()
        events = [event for body in destination.bodies for event in json.loads(body)]
        assert [(event["type"], event["record"]) for event in events] == [
            ("platform.initStart", {"phase": "init"}),
            ("function", "one"),
            ("extension", {"a": 1}),
        ]
        assert destination.heads[0].startswith(b"POST /here?x HTTP/1.1\r\nHost: sandbox.localdomain:")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n",
        b"HTTP/1.1 500 No\r\n\r\n",
        b"garbage\r\n\r\n",
        b"x" * 100_000,
        b"",
    ],
)
async def test_what_is_no_success_is_tried_again(answer: bytes):
    """Redirections are not followed, errors and garbage are retried, and a late success takes the same batch."""
    destination = Destination(answer)
    async with delivering(destination) as (hub, _):
        await destination.heard.wait()
        destination.answer = b"HTTP/1.1 204 Fine\r\n\r\n"
        await undelivered(hub)
        assert len(destination.bodies) >= 2 and len(set(destination.bodies)) == 1


async def test_lines_by_tcp():
    """NDJSON on one connection."""
    read: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            read.append(line)
        writer.close()

    async with delivering(take, protocol="TCP") as (hub, _):
        for number in range(3):
            hub.line("function", number, f"line {number}")
        await settled(lambda: len(read) == 4)
        assert [json.loads(line)["type"] for line in read] == ["platform.initStart", "function", "function", "function"]


async def test_what_is_too_much_is_dropped_and_told():
    """A slow destination costs no more memory than its share, and hears how much it has missed."""
    destination = Destination(b"")
    budget = Budget(500_000)
    async with delivering(destination, budget) as (hub, lost):
        await destination.heard.wait()
        for _ in range(2000):
            hub.line("function", 0, "x" * 1000)
        assert 400_000 < budget.used_bytes <= 500_000
        destination.answer = b"HTTP/1.1 200 OK\r\n\r\n"
        await settled(lambda: bool(lost))
        await undelivered(hub)
        told = [event for body in destination.bodies for event in json.loads(body) if event["type"] == "platform.logsDropped"]
        assert told[-1]["record"] == lost[-1] and sum(one["droppedRecords"] for one in lost) > 1000
    assert budget.used_bytes == 0


async def test_nothing_is_begun_while_it_is_paused():
    """A frozen environment is left alone; what waited comes afterwards."""
    destination = Destination()
    async with delivering(destination, timeout_s=30.0) as (hub, _):
        hub.pause()
        hub.flush()
        await asyncio.sleep(0.05)
        assert not destination.bodies and hub.pending()
        hub.resume()
        await destination.heard.wait()


async def test_a_frozen_environment_waits_for_telemetry_only_so_long():
    """Undelivered telemetry puts freezing off, and is delivered at once; after some seconds it no longer counts."""
    async with opened() as scene:
        identifier = await register(scene, "in")
        body = {"types": ["platform"], "buffering": {"timeoutMs": 30000}, "destination": {"protocol": "TCP", "port": 1}}
        status, _, answer = await call(
            scene, "PUT", "/2022-07-01/telemetry", json.dumps(body).encode(), lambda_extension_identifier=identifier
        )
        assert (status, answer) == (200, b'"OK"')
        await poll(scene, identifier)
        runtime = await scene.dial()
        runtime.poll()
        await scene.heard()
        now_s = asyncio.get_running_loop().time()
        scene.environment.freeze_if_idle(now_s + 1)
        assert "freeze" not in scene.sandbox.calls
        scene.environment.freeze_if_idle(now_s + 60)
        assert scene.sandbox.calls[-1] == "freeze"

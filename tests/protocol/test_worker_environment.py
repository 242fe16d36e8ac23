"""One environment's driver against a sandbox that only pretends, and a runtime that speaks real HTTP to it."""

import asyncio
import contextlib
import itertools
import os
import re
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lambdad.sandbox import fence
from lambdad.sandbox import spec as sandbox_spec
from lambdad.wire import frames
from lambdad.worker import endpoint, output
from lambdad.worker.environment import Environment

SPEC = frames.EnvironmentSpec(
    environment_id="e1",
    account="000000000000",
    region="us-east-1",
    function_name="f",
    function_arn="arn:aws:lambda:us-east-1:000000000000:function:f",
    version="$LATEST",
    runtime="provided.al2023",
    handler="app.handler",
    memory_mib=128,
    timeout_s=3,
    ephemeral_storage_mib=512,
    task="t",
)


class PretendedSandbox:
    """Implements `worker.ports.Sandbox`: no processes, but real sockets and a real pipe."""

    def __init__(self) -> None:
        self.runtime_listener, self.endpoint_listener = _listener(), _listener()
        self.address = self.runtime_listener.getsockname()
        self.output, self.pen = os.pipe()
        os.set_blocking(self.output, False)
        self.runtime_api = self.endpoint = self.task_root = ""
        self.own_address = "127.0.0.1"
        self.launched: dict[str, PretendedProgram] = {}
        self.calls: list[str] = []
        self.failure: Exception | None = None  # of the next assign, respawn or stop_runtime
        self.killing = asyncio.Event()
        self.may_die = asyncio.Event()
        self.may_die.set()
        self._exit: asyncio.Future[sandbox_spec.Exit] = asyncio.get_running_loop().create_future()

    def _called(self, name: str) -> None:
        self.calls.append(name)
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    async def assign(self, assignment: Any) -> None:
        self._called("assign")

    async def place(self, assignment: Any) -> None:
        self._called("place")

    async def renew(self) -> None:
        self._exit = asyncio.get_running_loop().create_future()
        self._called("renew")

    async def launch(self, program: Any, limits: Any) -> "PretendedProgram":
        self._called(f"launch {program}")
        self.launched[program] = PretendedProgram(program)
        return self.launched[program]

    def signal(self, number: int, launched: Any = None) -> None:
        self.calls.append(f"signal {number} {launched.name if launched is not None else 'runtime'}")

    async def open_socket(self) -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        return made

    async def respawn(self, assignment: Any) -> None:
        self._exit = asyncio.get_running_loop().create_future()
        self._called("respawn")

    async def stop_runtime(self) -> None:
        self._called("stop")
        self.exit(None, 9)

    def exit(self, code: int | None, number: int | None = None, *, oom: bool = False) -> None:
        if not self._exit.done():
            self._exit.set_result(sandbox_spec.Exit(code, number, oom))

    async def wait_exit(self) -> sandbox_spec.Exit:
        return await asyncio.shield(self._exit)

    def limit(self, limits: Any) -> None:
        self._called("limit")

    def freeze(self) -> None:
        self.calls.append("freeze")

    def thaw(self) -> None:
        self.calls.append("thaw")

    def peak_memory_bytes(self) -> int:
        return 5 << 20

    async def kill(self) -> None:
        self.killing.set()
        await self.may_die.wait()
        self.exit(None, None)
        self.runtime_listener.close()
        self.endpoint_listener.close()
        for fd in (self.output, self.pen):
            with contextlib.suppress(OSError):
                os.close(fd)


class PretendedProgram:
    """Implements `worker.ports.Launched`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.output, self.pen = os.pipe()
        os.set_blocking(self.output, False)
        self._exit: asyncio.Future[sandbox_spec.Exit] = asyncio.get_running_loop().create_future()

    def exit(self, code: int | None, number: int | None = None) -> None:
        self._exit.set_result(sandbox_spec.Exit(code, number, False))

    async def wait_exit(self) -> sandbox_spec.Exit:
        return await asyncio.shield(self._exit)

    def close(self) -> None:
        if self.output >= 0:
            os.close(self.output)
            os.close(self.pen)
            self.output = -1


def _listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener


class Scene:
    """An environment that runs, what it has sent to the server, and the connections of its runtime."""

    def __init__(self, spec: frames.EnvironmentSpec = SPEC, programs: tuple[str, ...] = ()) -> None:
        self.sandbox = PretendedSandbox()
        self.sent: asyncio.Queue[tuple[frames.ToServer, bytes]] = asyncio.Queue()
        self.logs = output.LogBuffer(lambda: None, lambda: None)
        ticks = itertools.count(1_700_000_000_000)
        self.environment = Environment(
            spec,
            self.sandbox,
            {},
            {},
            runtime_version="provided:al2023.v1",
            runtime_version_arn="arn",
            send=lambda message, body: self.sent.put_nowait((message, body)),
            logs=self.logs,
            now_ms=lambda: next(ticks),
            upstream=endpoint.Upstream("127.0.0.1", 1),
            program="/var/task/bootstrap",
            extension_programs=[(name, name) for name in programs],
        )
        self._writers: list[asyncio.StreamWriter] = []

    async def heard(self) -> tuple[frames.ToServer, bytes]:
        return await self.sent.get()

    async def dial(self) -> "Client":
        reader, writer = await asyncio.open_connection(*self.sandbox.address)
        self._writers.append(writer)
        return Client(reader, writer)

    def invoke(self, request_id: str, payload: bytes = b"{}") -> None:
        self.environment.invoke(frames.Invoke(environment_id="e1", request_id=request_id, invoked_arn="arn"), payload)

    def lines(self) -> list[str]:
        return [text for batch in iter(self.logs.take, []) for _, _, text in batch]

    async def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


class Client:
    """One connection of a runtime."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def poll(self) -> None:
        self.writer.write(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: x\r\n\r\n")

    async def post(self, path: str, body: bytes) -> int:
        self.writer.write(b"POST /2018-06-01/runtime/%b HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(body), body))
        return (await self.answer())[0]

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *fields = head.strip().splitlines()
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers, body

    def close(self) -> None:
        self.writer.close()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """An environment before its runtime has said anything; stopped after the test."""
    made = Scene()
    async with asyncio.timeout(10):
        running = asyncio.ensure_future(made.environment.run())
        yield made
        made.environment.stop()
        made.sandbox.may_die.set()
        await running
        await made.hang_up()


async def ready(scene: Scene) -> Client:
    client = await scene.dial()
    client.poll()
    message, _ = await scene.heard()
    assert isinstance(message, frames.Ready)
    return client


async def settled(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_an_invocation(scene: Scene):
    """The event goes to the poll, the answer to the server, the platform's lines to the log."""
    client = await ready(scene)
    scene.invoke("r1", b'{"n": 1}')
    status, headers, body = await client.answer()
    assert (status, headers["lambda-runtime-aws-request-id"], body) == (200, "r1", b'{"n": 1}')
    os.write(scene.sandbox.pen, b"printed\n")
    assert await client.post("invocation/r1/response", b"[1]") == 202
    answer, payload = await scene.heard()
    assert isinstance(answer, frames.Answer) and (answer.request_id, answer.function_error, payload) == ("r1", "", b"[1]")
    assert [line.split(" ")[0] for line in scene.lines()] == ["INIT_START", "START", "printed", "END", "REPORT"]


ANSWER = b"POST /2018-06-01/runtime/invocation/%b/response HTTP/1.1\r\ncontent-length: 3\r\n%b\r\n[1]"
POLL = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: x\r\n\r\n"


async def test_an_answer_and_the_next_poll_in_one_breath(scene: Scene):
    """The server hears the answer at once; the runtime hears nothing until there is something to do, and then everything in order."""
    client = await ready(scene)
    scene.invoke("r1")
    await client.answer()
    client.writer.write(ANSWER % (b"r1", b"") + POLL)
    answer, payload = await scene.heard()
    assert isinstance(answer, frames.Answer) and (answer.request_id, payload) == ("r1", b"[1]")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await client.reader.read(1)
    scene.invoke("r2", b"2")
    assert (await client.answer())[0] == 202
    status, headers, body = await client.answer()
    assert (status, headers["lambda-runtime-aws-request-id"], body) == (200, "r2", b"2")
    assert await client.post("invocation/r2/response", b"[2]") == 202


async def test_an_answer_that_is_the_last_of_its_connection(scene: Scene):
    """Where the runtime asks for the connection to be closed, its answer is acknowledged before that, whatever follows it."""
    client = await ready(scene)
    scene.invoke("r1")
    await client.answer()
    client.writer.write(ANSWER % (b"r1", b"connection: close\r\n") + POLL)
    assert (await client.answer())[0] == 202
    assert await client.reader.read() == b""


async def test_an_answer_that_nobody_waits_for(scene: Scene):
    """What is wrong with an answer is told with the next event, not in its place."""
    client = await ready(scene)
    scene.invoke("r1")
    await client.answer()
    client.writer.write(ANSWER % (b"other", b"") + ANSWER % (b"r1", b"") + POLL)
    await scene.heard()
    scene.invoke("r2")
    assert [(await client.answer())[0] for _ in range(3)] == [400, 202, 200]


async def test_a_poll_that_was_given_up(scene: Scene):
    """An invocation goes to the poll that is there, not to the one that was."""
    first = await ready(scene)
    first.close()
    await settled(lambda: not scene.environment.connections)
    scene.invoke("r1")
    second = await scene.dial()
    second.poll()
    assert (await second.answer())[1]["lambda-runtime-aws-request-id"] == "r1"


async def test_an_answer_too_large_to_be_read(scene: Scene):
    """An announced gigabyte is the invocation's answer: too large; the runtime is told and may go on."""
    client = await ready(scene)
    scene.invoke("r1")
    await client.answer()
    client.writer.write(b"POST /2018-06-01/runtime/invocation/r1/response HTTP/1.1\r\ncontent-length: 1000000000\r\n\r\nxx")
    assert (await client.answer())[0] == 413
    answer, payload = await scene.heard()
    assert isinstance(answer, frames.Answer) and answer.error_type == "Function.ResponseSizeTooLarge" and b"6291556" in payload
    again = await scene.dial()
    again.poll()
    scene.invoke("r2")
    assert (await again.answer())[1]["lambda-runtime-aws-request-id"] == "r2"


async def test_a_runtime_that_exits(scene: Scene):
    """The caller hears how; the next invocation starts a new process first."""
    client = await ready(scene)
    scene.invoke("r1")
    await client.answer()
    scene.sandbox.exit(3)
    answer, payload = await scene.heard()
    assert isinstance(answer, frames.Answer) and b"exit status 3" in payload
    scene.invoke("r2")
    await settled(lambda: "respawn" in scene.sandbox.calls)
    assert await client.reader.read() == b""
    again = await scene.dial()
    again.poll()
    assert (await again.answer())[1]["lambda-runtime-aws-request-id"] == "r2"


async def test_a_runtime_that_reports_and_then_speaks(scene: Scene):
    """What a runtime writes between its init/error and its exit is in the log; it is killed if it does not exit."""
    client = await scene.dial()
    assert await client.post("init/error", b'{"errorType": "Bad"}') == 202
    os.write(scene.sandbox.pen, b"last words\n")
    scene.sandbox.exit(1)
    await settled(lambda: "stop" in scene.sandbox.calls)
    assert isinstance((await scene.heard())[0], frames.Ready)
    lines = scene.lines()
    assert lines[-1] == "last words" and re.match(r"INIT_REPORT .*Phase: init\tStatus: error\tError Type: Function.Unknown", lines[1])


async def test_a_fence_that_is_lost(scene: Scene, caplog: pytest.LogCaptureFixture):
    """Its environment stops, in one line of the worker's log; what had not begun is not named, and nothing more is taken."""
    client = await ready(scene)
    scene.sandbox.may_die.clear()
    scene.sandbox.failure = fence.AssignFailed("stop", 0, "the environment has ended")
    scene.sandbox.exit(None, None)
    await scene.sandbox.killing.wait()
    scene.invoke("r1")
    scene.sandbox.may_die.set()
    message, _ = await scene.heard()
    assert isinstance(message, frames.Stopped) and message.reason.startswith("lost: ") and message.request_id == ""
    assert [record.exc_info for record in caplog.records if "environment.lost" in record.getMessage()] == [None]
    assert await client.reader.read() == b""


async def test_a_fence_that_is_lost_while_it_runs(scene: Scene):
    """The caller of what had begun has its answer before the environment is given up."""
    client = await ready(scene)
    scene.invoke("r1")
    await client.answer()
    scene.sandbox.failure = fence.AssignFailed("stop", 0, "the environment has ended")
    scene.sandbox.exit(None, None)
    answer, payload = await scene.heard()
    assert isinstance(answer, frames.Answer) and b"Runtime exited without providing a reason" in payload
    message, _ = await scene.heard()
    assert isinstance(message, frames.Stopped) and message.request_id == ""


async def test_stopped_while_it_runs(scene: Scene):
    """The invocation that had begun is named."""
    client = await ready(scene)
    scene.invoke("r1")
    await client.answer()
    scene.environment.stop()
    message, _ = await scene.heard()
    assert isinstance(message, frames.Stopped) and message.request_id == "r1"


async def test_a_program_that_cannot_be_started(scene: Scene):
    """The first launch fails, the second is within the invocation; the payload says what exec said."""
    await ready(scene)
    scene.sandbox.exit(1)
    await settled(lambda: "stop" in scene.sandbox.calls)
    scene.sandbox.failure = fence.ExecFailed(13)
    scene.invoke("r1")
    answer, payload = await scene.heard()
    assert isinstance(answer, frames.Answer) and answer.error_type == "Runtime.InvalidEntrypoint"
    assert b"fork/exec /var/task/bootstrap: permission denied" in payload


async def test_freezing(scene: Scene):
    """Only what is idle is frozen; an invocation thaws it first."""
    client = await ready(scene)
    now_s = asyncio.get_running_loop().time() + 1
    scene.environment.freeze_if_idle(now_s)
    scene.environment.freeze_if_idle(now_s)
    assert scene.sandbox.calls.count("freeze") == 1
    scene.invoke("r1")
    assert scene.sandbox.calls[-1] == "thaw"
    await client.answer()
    scene.environment.freeze_if_idle(now_s)
    assert scene.sandbox.calls.count("freeze") == 1


async def test_limits_that_cannot_be_set(scene: Scene):
    """A kernel that refuses the limits after Init leaves those of Init; the environment serves."""
    scene.sandbox.failure = None
    await settled(lambda: "assign" in scene.sandbox.calls)
    scene.sandbox.failure = fence.AssignFailed("limit", 16)
    client = await ready(scene)
    scene.invoke("r1")
    assert (await client.answer())[0] == 200

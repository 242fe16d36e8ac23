"""A server that was taken over speaks to its worker: garbage, frames out of order, too many environments. The worker stays."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_worker_environment import SPEC, PretendedSandbox  # type: ignore[import-not-found]

from lambdad.wire import frames
from lambdad.worker import host

MOST = 4


class Kitchen:
    """Implements `host.Kitchen` with sandboxes that pretend; some specifications surprise it."""

    def __init__(self) -> None:
        self.sandboxes: list[PretendedSandbox] = []
        self.surprise: Exception | None = None

    async def prepare(self, spec: frames.EnvironmentSpec) -> host.Prepared:
        if self.surprise is not None:
            raise self.surprise
        if not spec.runtime:
            raise host.NoRuntime("no such runtime")
        await asyncio.sleep(0)
        self.sandboxes.append(PretendedSandbox())
        return host.Prepared(sandbox=self.sandboxes[-1], assignment={}, limits={}, runtime_version="v", runtime_version_arn="arn")

    async def expect(self, runtime: str, memory_mib: int) -> None: ...

    async def prepare_compiler(self, runtime: str, directory: str) -> None:
        return None


class Server:
    """The other end of a connection to the worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._parser = frames.FrameParser()
        self._heard: list[frames.AnyMessage] = []

    def say(self, message: frames.AnyMessage, body: bytes = b"") -> None:
        self.writer.write(b"".join(frames.encode(message, body)))

    async def hear(self) -> frames.AnyMessage:
        """Return the next message that is no log line."""
        while not self._heard:
            data = await self.reader.read(65536)
            assert data, "the worker hung up"
            self._heard += [message for message, _ in self._parser.feed(data) if not isinstance(message, frames.LogEvents)]
        return self._heard.pop(0)


class House:
    def __init__(self, worker: host.Worker, kitchen: Kitchen, path: Path) -> None:
        self.worker, self.kitchen, self._path = worker, kitchen, path
        self._writers: list[asyncio.StreamWriter] = []
        self.failures: list[str] = []

    async def connect(self) -> Server:
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        self._writers.append(writer)
        server = Server(reader, writer)
        assert isinstance(await server.hear(), frames.Welcome)
        return server

    async def serves(self) -> None:
        """Connect anew and have an environment made: all that the connection before has asked for is gone, and the worker works."""
        server = await self.connect()
        assert self.worker.environments == {}
        server.say(frames.Start(spec=changed(SPEC, environment_id="fresh")))
        while "fresh" not in self.worker.environments:
            await asyncio.sleep(0.001)
        server.say(frames.Stop(environment_id="fresh"))
        stopped = await server.hear()
        assert isinstance(stopped, frames.Stopped) and stopped.environment_id == "fresh"

    async def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def changed(spec: frames.EnvironmentSpec, **changes: object) -> frames.EnvironmentSpec:
    return msgspec.structs.replace(spec, **changes)


@contextlib.asynccontextmanager
async def house(place: Path) -> AsyncIterator[House]:
    kitchen = Kitchen()
    welcome = frames.Welcome(worker_id="w", isolation="none", runtimes=[], interpreters=[], max_environments=MOST)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        worker = host.Worker(
            kitchen, welcome, tasks, now_ms=lambda: 1, freeze_after_s=1, may_connect=lambda _: True, upstream=("127.0.0.1", 1)
        )
        path = place / "w.sock"
        listening = await asyncio.get_running_loop().create_unix_server(worker.accept, str(path))
        made = House(worker, kitchen, path)
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: made.failures.append(repr(context.get("exception")) + context["message"])
        )
        try:
            yield made
            await made.hang_up()
            await worker.close()
        finally:
            listening.close()
            path.unlink()
        assert made.failures == []
        assert all(sandbox.killing.is_set() for sandbox in kitchen.sandboxes)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


def raw(head: bytes, body: bytes = b"", rest: int | None = None, head_size: int | None = None) -> bytes:
    size = 4 + len(head) + len(body) if rest is None else rest
    return struct.pack(">II", size, len(head) if head_size is None else head_size) + head + body


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        raw(b"", rest=0xFFFFFFFF),
        raw(b"\x81", head_size=4000),
        raw(b"\xc1"),
        raw(msgspec.msgpack.encode({"type": "Start"})),
        raw(msgspec.msgpack.encode({"type": "Nonsense"})),
        raw(msgspec.msgpack.encode([1] * 1000)),
        raw(b"\x91" * 5000 + b"\xc0"),
        raw(msgspec.msgpack.encode({"type": "Stop", "environment_id": 5})),
        b"".join(frames.encode(frames.Ready(environment_id="e1", init_ms=1.0))),
        b"".join(frames.encode(frames.Stopped(environment_id="e1", reason=""))),
    ],
)
async def test_frames_that_no_server_sends(home: House, data: bytes, caplog: pytest.LogCaptureFixture):
    """The connection is closed, what was begun on it is gone, and the next server is served."""
    server = await home.connect()
    server.say(frames.Start(spec=SPEC))
    server.writer.write(data)
    while await server.reader.read(65536):
        pass
    await home.serves()


async def test_one_environment_twice(home: House):
    """A second one of the same name is refused with the connection; the first is not lost sight of."""
    server = await home.connect()
    for _ in range(2):
        server.say(frames.Start(spec=SPEC))
    while await server.reader.read(65536):
        pass
    await home.serves()


async def test_more_environments_than_there_may_be(home: House):
    """Beyond twice what was agreed, and some, none is made."""
    server = await home.connect()
    most = 2 * MOST + host.SPARE_ENVIRONMENTS
    for n in range(most + 10):
        server.say(frames.Start(spec=changed(SPEC, environment_id=f"e{n}")))
    refused = [await server.hear() for _ in range(10)]
    assert {message.reason for message in refused if isinstance(message, frames.Stopped)} == {"not made: too many"}
    assert len(home.worker.environments) == most
    server.writer.close()
    while home.worker.environments:
        await asyncio.sleep(0.001)
    await home.serves()


async def test_an_invocation_for_what_is_not_ready(home: House):
    """It is a breach of the protocol; one for what is not there is only too late."""
    server = await home.connect()
    server.say(frames.Invoke(environment_id="nobody", request_id="r", invoked_arn="arn"), b"{}")
    server.say(frames.Stop(environment_id="nobody"))
    server.say(frames.Start(spec=SPEC))
    while SPEC.environment_id not in home.worker.environments:
        await asyncio.sleep(0.001)
    server.say(frames.Invoke(environment_id=SPEC.environment_id, request_id="r", invoked_arn="arn"), b"{}")
    while await server.reader.read(65536):
        pass
    await home.serves()


async def test_a_specification_that_surprises(home: House):
    """An error that nobody thought of costs one environment."""
    server = await home.connect()
    home.kitchen.surprise = ValueError("a surprise")
    server.say(frames.Start(spec=SPEC))
    stopped = await server.hear()
    assert isinstance(stopped, frames.Stopped) and stopped.reason == "not made: ValueError"
    home.kitchen.surprise = None
    await home.serves()


TEXTS = st.sampled_from(["", "e1", "e2", "x" * 5000, "\0", "../../etc", "\u20ac"])
SPECS = st.builds(
    frames.EnvironmentSpec,
    environment_id=TEXTS, account=TEXTS, region=TEXTS, function_name=TEXTS, function_arn=TEXTS, version=TEXTS, runtime=TEXTS, handler=TEXTS,
    memory_mib=st.integers(-1, 2**40), timeout_s=st.integers(-1, 2**40), ephemeral_storage_mib=st.integers(-1, 2**40), task=TEXTS,
    log_format=TEXTS, initialization_type=TEXTS, environment=st.dictionaries(TEXTS, TEXTS, max_size=2),
)  # fmt: skip
SAYINGS = st.one_of(
    st.builds(frames.Start, spec=SPECS),
    st.builds(frames.Invoke, environment_id=TEXTS, request_id=TEXTS, invoked_arn=TEXTS, client_context=TEXTS, want_tail=st.booleans()),
    st.builds(frames.Stop, environment_id=TEXTS),
    st.builds(frames.Prepare, runtime=TEXTS, memory_mib=st.integers(-1, 2**40)),
    st.builds(frames.Compile, job_id=TEXTS, runtime=TEXTS, directory=TEXTS),
    st.builds(frames.Build, spec=SPECS),
    st.builds(frames.Forget, snapshot=TEXTS),
    st.binary(min_size=1, max_size=40),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(SAYINGS, max_size=12))
def test_whatever_a_server_says(tmp_path: Path, sayings: list[frames.AnyMessage | bytes]):
    """Nothing but the connection is lost, and no sandbox is left behind."""

    async def play() -> None:
        async with house(tmp_path) as home:
            server = await home.connect()
            for saying in sayings:
                if isinstance(saying, bytes):
                    server.writer.write(saying)
                else:
                    server.say(saying, b"{}")
            for _ in range(10):
                await asyncio.sleep(0)
            server.writer.close()
            await home.serves()

    asyncio.run(play())

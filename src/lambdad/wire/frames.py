"""The frames between server and worker: typed messages with an opaque body, over a byte stream.

A frame is `u32 length of the rest | u32 length of the head | head (MessagePack of one message) | body`, big endian. The body is a payload
that nobody on the way looks into. The same frames will run over TCP to workers on other machines.
"""

import struct
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

MAX_FRAME_BYTES = 64 * 1024 * 1024
JOINED_BYTES = 16 * 1024  # copying less than this costs less than a second system call
_LENGTHS = struct.Struct(">II")


class FrameError(Exception):
    """The peer sent something that is not a frame of ours; the connection is beyond repair."""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message; the subclass's name is its tag."""


class EnvironmentSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a worker needs to make an execution environment for one function version.

    `environment` holds the customer's variables and what the server alone knows (credentials, endpoint); the worker adds what
    the runtime needs. `task` and `layers` are names of directories in the code store.
    """

    environment_id: str
    account: str
    region: str
    function_name: str
    function_arn: str  # unqualified
    version: str
    runtime: str
    handler: str
    memory_mib: int
    timeout_s: int
    ephemeral_storage_mib: int
    task: str
    layers: str = ""
    environment: dict[str, str] = {}
    log_group: str = ""
    log_stream: str = ""
    log_format: str = "Text"
    application_log_level: str = ""
    system_log_level: str = ""
    initialization_type: str = "on-demand"
    runtime_version_arn: str = ""
    snapshot: str = ""  # names what a version with SnapStart is restored from; equal for its environments
    credentials_until_ms: int = 0  # Unix time at which those in `environment` end


# Server to worker.
class Start(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """Make an environment and initialise it; answered by Ready or Stopped."""

    spec: EnvironmentSpec


class Invoke(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """Run one invocation in an environment that is Ready; the body is the event. Answered by Answer, always."""

    environment_id: str
    request_id: str
    invoked_arn: str
    trace_id: str = ""
    client_context: str = ""  # decoded JSON
    want_tail: bool = False


class Stop(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """End an environment; answered by Stopped."""

    environment_id: str


class Prepare(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """Functions of a runtime and a memory size are about to be invoked: make ready what can be. Answered by Prepared."""

    runtime: str
    memory_mib: int = 128


class Compile(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """Compile the Python modules of a directory in the code store, as the interpreter of a runtime does; answered by Compiled."""

    job_id: str
    runtime: str
    directory: str


class Build(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """Run the Init phase of a version with SnapStart once, and keep a snapshot; answered by Built. Free where there is one."""

    spec: EnvironmentSpec


class Forget(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """A snapshot is needed no more; environments restored from it live on. No answer."""

    snapshot: str


# Worker to server.
class Welcome(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """The first message on a connection: who the worker is and what it can run."""

    worker_id: str
    isolation: str
    runtimes: list[str]  # identifiers that functions may name
    interpreters: list[str]  # what there is to run them, for people
    max_environments: int


class Ready(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """The environment has been initialised, or has failed to and will try again within its first invocation."""

    environment_id: str
    init_ms: float


class Prepared(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """What could be made ready for functions of a runtime and a memory size has been, or has taken too long."""

    runtime: str
    memory_mib: int


class Answer(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """An invocation was answered; the body is the payload for the caller. The environment takes the next one, unless it is busy: then
    Freed follows, or Stopped."""

    environment_id: str
    request_id: str
    function_error: str = ""  # "Unhandled", or "" for success
    error_type: str = ""  # e.g. Sandbox.Timedout, for logs and metrics
    duration_ms: float = 0.0
    billed_ms: int = 0
    init_ms: float = 0.0
    max_memory_mib: int = 0
    tail: bytes = b""  # last 4 KB of the invocation's log when it was wanted
    busy: bool = False  # extensions are still at work; the figures are those up to now


class Freed(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """An invocation whose Answer said busy has ended: the environment takes the next one. The figures are the final ones."""

    environment_id: str
    request_id: str
    duration_ms: float = 0.0
    billed_ms: int = 0
    extensions_ms: float = 0.0  # of it, after the runtime was done: PostRuntimeExtensionsDuration


class Stopped(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """The environment is gone, with every process in it; `request_id` names the invocation that had begun there and not ended, if any."""

    environment_id: str
    reason: str
    request_id: str = ""


class Compiled(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """The next part of what a Compile has made, as the body; the last one is `ended`, whether it made everything or not."""

    job_id: str
    ended: bool = False


class Built(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """The Init phase of a version with SnapStart has ended."""

    environment_id: str
    error_type: str = ""  # "" if it went well
    reason: str = ""  # why not, for people
    not_kept: str = ""  # it went well, and yet no snapshot could be kept: why, for people


class SnapshotMissing(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """An environment is initialised the long way, since there is no snapshot (any more); a Build would change that."""

    environment_id: str


class LogEvents(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """What environments wrote: (environment id, Unix time in ms, line without its newline), in order for each environment."""

    events: list[tuple[str, int, str]]


class Load(Message, tag=True, frozen=True, kw_only=True, omit_defaults=True):
    """How the worker's machine is off for memory; sent about each second."""

    available_bytes: int
    total_bytes: int
    stalled_percent: float = 0.0  # of the last ten seconds, in which something waited for memory


ToWorker: TypeAlias = Start | Invoke | Stop | Prepare | Compile | Build | Forget
ToServer: TypeAlias = Welcome | Prepared | Ready | Answer | Freed | Stopped | Compiled | Built | SnapshotMissing | LogEvents | Load
AnyMessage: TypeAlias = ToWorker | ToServer

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage, body: bytes = b"") -> list[bytes]:
    """Return the pieces of a frame, to be written in order; a large body is not copied."""
    head = _encoder.encode(message)
    lengths = _LENGTHS.pack(4 + len(head) + len(body), len(head))
    return [lengths + head + body] if len(body) < JOINED_BYTES else [lengths + head, body]


class FrameParser:
    """Turn a byte stream into messages. Feed it what arrives; it keeps what is not yet whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[AnyMessage, bytes]]:
        """
        Yield every frame that is whole now, as (message, body).

        Raises:
            FrameError: the stream is not made of frames, or a frame is larger than `MAX_FRAME_BYTES`.
        """
        buffer = self._buffer
        buffer += data
        start, available = 0, len(buffer)
        try:
            while available - start >= 8:
                rest_bytes, head_bytes = _LENGTHS.unpack_from(buffer, start)
                if rest_bytes > MAX_FRAME_BYTES or head_bytes > rest_bytes - 4:
                    raise FrameError(f"a frame of {rest_bytes} bytes with a head of {head_bytes}")
                end = start + 4 + rest_bytes
                if end > available:
                    break
                body_at = start + 8 + head_bytes
                with memoryview(buffer) as view:
                    head, body = bytes(view[start + 8 : body_at]), bytes(view[body_at:end])
                start = end
                try:
                    message = _decoder.decode(head)
                except msgspec.MsgspecError as error:
                    raise FrameError(f"an unreadable message: {error}") from error
                yield message, body
        finally:
            if start:
                del buffer[:start]

"""The Runtime API, as the processes of one environment see it at 127.0.0.1:9001.

Knows paths, headers and answers; the decisions are the environment's. What comes in is hostile: every request is bounded, and
anything unknown is refused without touching the environment.

Source: AWS Lambda developer guide, "Using the Lambda runtime API for custom runtimes" (version 2018-06-01).
"""

import asyncio
import base64
import binascii
import contextlib
import json
import time
from collections.abc import Sequence
from typing import Protocol

from lambdad.kit import http1
from lambdad.machines import environment as machine
from lambdad.machines import platform_text
from lambdad.worker import extensions_api

PREFIX = "/2018-06-01/runtime/"
NEXT = PREFIX + "invocation/next"
INVOCATION = PREFIX + "invocation/"
INIT_ERROR = PREFIX + "init/error"
RESTORE_NEXT = PREFIX + "restore/next"
RESTORE_ERROR = PREFIX + "restore/error"
CREDENTIALS = "/2021-04-23/credentials"
MAX_CONNECTIONS = 64
MAX_HELD_BYTES = 32 * 1024 * 1024  # for all connections of one environment; the one that goes beyond it is cut
SMALL_BYTES = 64 * 1024  # a connection that holds less than this is not held against its environment
REFUSED_LINGER_S = 5.0

LIMITS = http1.Limits(
    header_bytes=1024 * 1024,  # error causes travel in headers
    body_bytes=platform_text.RESPONSE_LIMIT_BYTES,
    discard_bytes=256 * 1024 * 1024,
    pipelined=4,
)

_JSON = [("content-type", "application/json")]
_ACCEPTED = b'{"status":"OK"}\n'


class Crew(extensions_api.Crew, Protocol):
    """What the API needs of the environment's extensions."""

    def poll_lost(self, connection: "RuntimeApi", identifier: str) -> None: ...


class Environment(Protocol):
    """What the API needs of the environment it belongs to. Each call answers at once, or raises `machine.IllegalEvent`."""

    connections: "set[RuntimeApi]"
    head_at_s: float  # when the headers came of what is being posted; monotonic time

    @property
    def crew(self) -> Crew: ...

    def next_called(self, connection: "RuntimeApi") -> None: ...

    def poll_lost(self, connection: "RuntimeApi") -> None: ...

    def response_posted(self, request_id: str, body: bytes, content_type: str) -> None: ...

    def error_posted(self, request_id: str, body: bytes, error_type: str) -> None: ...

    def oversize_posted(self, request_id: str) -> None: ...

    def init_error_posted(self, body: bytes, error_type: str) -> None: ...

    def restore_next_called(self, connection: "RuntimeApi") -> None:
        """Answer `restored` now or later. Raises NoSuchThing where there is no SnapStart."""
        ...

    def restore_error_posted(self, body: bytes, error_type: str) -> None:
        """Hear that a hook failed after the restore. Raises NoSuchThing where there is no SnapStart."""
        ...

    def credentials(self, authorization: str) -> bytes:
        """Return the role's credentials as JSON. Raises NoSuchThing where they are in variables, Forbidden for a wrong token."""
        ...


class RuntimeApi(http1.Connection):
    """One connection of a runtime."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(LIMITS)
        self._environment = environment
        self.polling = False  # the current request is a `next` that has not been answered
        self.extension_poll = ""  # or an extension's `next`: its identifier
        self._lingering: asyncio.TimerHandle | None = None
        self._corked: list[bytes] | None = None  # answers to what is being read; None while nothing is
        self._carried = b""  # answers that go out with that of the pending `next`

    def connection_made(self, transport: object) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # asyncio's and uvloop's transports have no common class
        if len(self._environment.connections) >= MAX_CONNECTIONS:
            self.close()
            return
        self._environment.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._corked = []
        super().data_received(data)
        if self._corked is not None and self.polling and not self.waiting:
            # Who posts an answer and asks for the next event in one breath is woken once, when there is one.
            self._carried += b"".join(self._corked)
            self._corked = None
        else:
            self.write_out()
        if self.held_bytes() > SMALL_BYTES and sum(one.held_bytes() for one in self._environment.connections) > MAX_HELD_BYTES:
            self._cut()

    def write(self, data: bytes) -> None:
        if self._corked is not None:
            self._corked.append(data)
        elif self._carried:
            carried, self._carried = self._carried, b""
            self.transport.write(carried + data)
        else:
            self.transport.write(data)

    def write_out(self) -> None:
        held, self._carried = self._carried, b""
        if self._corked:
            held += b"".join(self._corked)
        self._corked = None
        if held and not self.transport.is_closing():
            self.transport.write(held)

    def held_bytes(self) -> int:
        return super().held_bytes() + len(self._carried)

    def _accept(self, request: http1.Request) -> None:
        """Take a request in its turn. No runtime asks for more while its `next` is pending; much more is an attack."""
        if len(self.waiting) < LIMITS.pipelined:
            super()._accept(request)
        else:
            self._cut()

    def disconnected(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        self._environment.connections.discard(self)
        if self.polling:
            self.polling = False
            self._environment.poll_lost(self)
        elif self.extension_poll:
            self._environment.crew.poll_lost(self, self.extension_poll)

    def on_headers_complete(self) -> None:
        self._environment.head_at_s = time.monotonic()
        super().on_headers_complete()

    def refuse(self, status: int, reason: bytes) -> None:
        """Answer what cannot be read. An answer of the function that is too large to be read to its end is still its answer."""
        reading = self._reading
        super().refuse(status, reason)
        if self._lingering is None:
            self._lingering = self.loop.call_later(REFUSED_LINGER_S, self._cut)
        if status == 413 and reading is not None and reading.method == "POST" and reading.target.startswith(INVOCATION):
            with contextlib.suppress(UnknownRequest, machine.IllegalEvent):
                self._environment.oversize_posted(reading.target[len(INVOCATION) :].partition("/")[0])

    def _cut(self) -> None:
        self.transport.abort()

    def request_received(self, request: http1.Request) -> None:
        target, method = request.target, request.method
        try:
            if method == "GET" and target == NEXT:
                self.polling = True
                self._environment.next_called(self)
            elif method == "POST" and target.startswith(INVOCATION):
                self._posted(request, target[len(INVOCATION) :])
            elif method == "POST" and target == INIT_ERROR:
                self._environment.init_error_posted(request.body, _error_type(request.headers))
                self.respond(202, _JSON, _ACCEPTED)
            elif method == "GET" and target == RESTORE_NEXT:
                self._environment.restore_next_called(self)
            elif method == "POST" and target == RESTORE_ERROR:
                self._environment.restore_error_posted(request.body, _error_type(request.headers))
                self.respond(202, _JSON, _ACCEPTED)
            elif method == "GET" and target == CREDENTIALS:
                self.respond(200, _JSON, self._environment.credentials(request.headers.get("authorization", "")))
            elif method == "GET" and target in ("/ping", "/2018-06-01/ping"):
                self.respond(200, [("content-type", "text/plain")], b"pong")
            elif extensions_api.is_one(target):
                extensions_api.handle(self, self._environment.crew, request)
            else:
                self.respond(404, _JSON, _error("NotFound", f"There is no {method} {target[:200]} here."))
        except NoSuchThing:
            self.respond(404, _JSON, _error("NotFound", f"There is no {method} {target[:200]} here."))
        except Forbidden:
            self.respond(403, _JSON, _error("AccessDenied", "The authorization token is not the one of this environment."))
        except machine.IllegalEvent as error:
            self.polling = False
            text = f"State transition failed for runtime. Error: {error}"
            self.respond(403, _JSON, _error("InvalidStateTransition", text))

    def _posted(self, request: http1.Request, rest: str) -> None:
        request_id, _, what = rest.partition("/")
        headers = request.headers
        if what not in ("response", "error"):
            self.respond(404, _JSON, _error("NotFound", f"There is no POST {request.target[:200]} here."))
            return
        mode = headers.get("lambda-runtime-function-response-mode", "").lower()
        if what == "response" and mode not in ("", "buffered", "streaming"):
            self.respond(400, _JSON, _error("InvalidFunctionResponseMode", f"Invalid response mode: {mode[:64]}"))
            return
        try:
            if request.oversize:
                self._environment.oversize_posted(request_id)
                limit = platform_text.RESPONSE_LIMIT_BYTES
                text = f"Exceeded maximum allowed payload size ({limit} bytes)."
                self.respond(413, _JSON, _error("RequestEntityTooLarge", text))
                return
            trailed = headers.get("lambda-runtime-function-error-type", "") if mode == "streaming" else ""
            if what == "response" and trailed:
                body = _trailed_error(headers.get("lambda-runtime-function-error-body", ""))
                self._environment.error_posted(request_id, body, platform_text.normal_error_type(trailed))
            elif what == "response":
                content_type = headers.get("content-type", "application/json")
                self._environment.response_posted(request_id, request.body, content_type)
            else:
                self._environment.error_posted(request_id, request.body, _error_type(headers))
        except UnknownRequest:
            self.respond(400, _JSON, _error("InvalidRequestID", "Invalid request ID"))
            return
        self.respond(202, _JSON, _ACCEPTED)

    def restored(self) -> None:
        """Answer the pending `restore/next`: this is a restored environment, or one that needs none."""
        self.respond(200, [], b"")

    def local_port(self) -> int:
        """Return the runtime's own port of this connection."""
        return int(self.transport.get_extra_info("peername")[1])

    def deliver(self, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Answer the pending `next` with an invocation."""
        self.polling = False
        self.respond(200, headers, body)


class NoSuchThing(Exception):
    """What was asked for belongs to SnapStart, and this environment has none."""


class Forbidden(Exception):
    """Credentials were asked for without the token."""


class UnknownRequest(Exception):
    """A runtime posted for an invocation that is not the one it runs."""


def _error(error_type: str, message: str) -> bytes:
    return json.dumps({"errorMessage": message, "errorType": error_type}).encode()


def _error_type(headers: dict[str, str]) -> str:
    return platform_text.normal_error_type(headers.get("lambda-runtime-function-error-type", ""))


def _trailed_error(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b"{}"

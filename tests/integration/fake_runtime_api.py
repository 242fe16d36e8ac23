"""A small Runtime API for tests of runtime clients: hands out scripted events, keeps what is posted, counts connections."""

import json
import os
import queue
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PREFIX = "/2018-06-01/runtime/"
WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Post:
    """What a runtime posted; trailers come after a chunked body."""

    path: str
    headers: dict[str, str]
    body: bytes
    trailers: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "FakeRuntimeApi"

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1
            self.server.sockets.append(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        assert self.path == PREFIX + "invocation/next", self.path
        self.server.asked.release()
        event = self.server.events.get()
        if event is None:
            self.close_connection = True
            return
        body, headers = event
        self._answer(200, body, headers)

    def do_POST(self) -> None:
        trailers: dict[str, str] = {}
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while (line := self.rfile.readline().strip()) != b"":
                name, _, value = line.decode().partition(":")
                trailers[name.lower()] = value.strip()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.posts.put(Post(self.path.removeprefix(PREFIX), headers, body, trailers))
        self._answer(self.server.answer_status, b'{"status":"OK"}', {})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            half = len(body) // 2
            for part in (body[:half], body[half:]):
                if part:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        if self.server.close_each:
            self.close_connection = True


class FakeRuntimeApi(ThreadingHTTPServer):
    """Serves one runtime process on 127.0.0.1. `close_each` closes connections without announcing it, after each answer."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.connections = 0
        self.sockets: list[socket.socket] = []
        self.events: queue.Queue[tuple[bytes, dict[str, str]] | None] = queue.Queue()
        self.posts: queue.Queue[Post] = queue.Queue()
        self.asked = threading.Semaphore(0)
        self.answer_status = 202
        self.chunked = False
        self.close_each = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: runtimes under test are killed with their connections open."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class RuntimeProcess:
    """A runtime under test: `invoke` gives it an event and returns what it posts."""

    def __init__(self, api: FakeRuntimeApi, process: "subprocess.Popen[bytes]", frames_fd: int | None) -> None:
        self.api = api
        self.process = process
        self._frames_fd = frames_fd
        self._count = 0

    def invoke(self, event: Any, headers: Mapping[str, str] | None = None, raw: bytes | None = None) -> Post:
        self._count += 1
        body = raw if raw is not None else json.dumps(event, ensure_ascii=False).encode()
        self.api.events.put(
            (
                body,
                {
                    "Lambda-Runtime-Aws-Request-Id": f"request-{self._count}",
                    "Lambda-Runtime-Deadline-Ms": "4102444800000",
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:f:live",
                    "Lambda-Runtime-Trace-Id": f"Root=1-{self._count}",
                    "Content-Type": "application/json",
                    **(headers or {}),
                },
            )
        )
        return self.api.posts.get(timeout=WAIT_S)

    def wait_idle(self) -> None:
        """Wait until the runtime has asked for an event once more than it was given."""
        for _ in range(self._count + 1):
            assert self.api.asked.acquire(timeout=WAIT_S)

    def wait_exit(self) -> int:
        return self.process.wait(timeout=WAIT_S)

    def output(self) -> str:
        """End the process if it still runs; return what it wrote to standard output and error."""
        if self.process.poll() is None:
            self.process.kill()
        data, _ = self.process.communicate(timeout=WAIT_S)
        return data.decode()

    def frames(self) -> list[str]:
        """End the process if it still runs; return its framed log records."""
        self.process.kill()
        self.process.wait(timeout=WAIT_S)
        assert self._frames_fd is not None
        with os.fdopen(self._frames_fd, "rb", closefd=False) as pipe:
            data = pipe.read()
        records = []
        while data:
            assert data[:4] == b"\xa5\x5a\x00\x03"
            size = int.from_bytes(data[4:8], "big")
            assert int.from_bytes(data[8:16], "big") > 1_600_000_000_000_000
            records.append(data[16 : 16 + size].decode())
            data = data[16 + size :]
        return records


@contextmanager
def running(
    command: list[str], task_root: Path, handler: str, environment: Mapping[str, str] | None = None, *, framed: bool = False
) -> Iterator[RuntimeProcess]:
    """Run a runtime client against a fresh fake API, in a clean environment, until the end of the block."""
    api = FakeRuntimeApi()
    thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    reading, writing = os.pipe() if framed else (None, None)
    variables = {
        "PATH": "/usr/bin:/bin",
        "TZ": ":UTC",
        "LANG": "C.UTF-8",
        "_HANDLER": handler,
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "LAMBDA_TASK_ROOT": str(task_root),
        "LAMBDA_RUNTIME_DIR": str(task_root / "no-such-runtime-dir"),
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "7",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/31/[7]0123",
        "PYTHONDONTWRITEBYTECODE": "1",
        **({"_LAMBDA_TELEMETRY_LOG_FD": str(writing)} if framed else {}),
        **(environment or {}),
    }
    process = subprocess.Popen(
        command,
        env=variables,
        cwd=task_root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[writing] if writing is not None else [],
    )
    if writing is not None:
        os.close(writing)
    try:
        yield RuntimeProcess(api, process, reading)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(timeout=WAIT_S)
        assert process.stdout is not None
        process.stdout.close()
        if reading is not None:
            os.close(reading)
        for _ in range(4):
            api.events.put(None)
        api.shutdown()
        thread.join()
        for connection in api.sockets:
            connection.close()
        api.server_close()

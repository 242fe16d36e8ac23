"""`lambdad up` as a process of its own, and AWS's own clients to talk to it."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

ROLE = "arn:aws:iam::000000000000:role/test"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


def zipped(files: dict[str, str | bytes], modes: dict[str, int] | None = None) -> bytes:
    """Pack files into a zip; modes are 0644 where none is given."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100000 | (modes or {}).get(name, 0o644)) << 16
            archive.writestr(info, content)
    return out.getvalue()


def eventually(condition: Callable[[], Any], what: str, within_s: float = 20.0) -> Any:
    """Return what `condition` gives once it is true; for what happens by itself, and soon."""
    end_s = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end_s, f"not within {within_s} s: {what}"
        time.sleep(0.01)
    return value


def _read_payload(parsed: dict[str, Any], **_: Any) -> None:
    """Read an answer's payload at once: a test that does not look at it would leave its connection open."""
    if "Payload" in parsed:
        parsed["Payload"] = io.BytesIO(parsed["Payload"].read())


def descendants(pid: int) -> set[int]:
    """Return all descendants of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    queue = [pid]
    while queue:
        for child in parents.get(queue.pop(), []):
            found.add(child)
            queue.append(child)
    return found


@dataclass
class Lambdad:
    """A running `lambdad up`."""

    data_dir: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()  # before the command, such as nsenter
    process: "subprocess.Popen[str] | None" = None
    url: str = ""
    line: str = ""
    _clients: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def start(self) -> "Lambdad":
        port = self.url.rpartition(":")[2] if self.url else "0"
        command = [*self.prefix, sys.executable, "-m", "lambdad.cli.main", "up"]
        command += ["--port", port, "--data-dir", str(self.data_dir), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **self.environment})
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline().strip()
        assert " ready on " in self.line, f"lambdad did not start: {self.line!r}"
        self.url = self.line.partition(" on ")[2].partition(" ")[0]
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(number)
        status = self.process.wait(40)
        self.process.stdout.close()
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        return status

    def client(self, service: str, *, checks: bool = True, **options: Any) -> Any:
        """
        Return a boto3 client that tries once; the same one for the same options, until we stop.

        Args:
            checks: whether boto3 itself refuses what its model of the service does not allow.
        """
        given = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1", **options}
        wanted = (service, checks, *sorted(given.items()))
        if wanted not in self._clients:
            config = Config(retries={"max_attempts": 0}, read_timeout=60, max_pool_connections=64, parameter_validation=checks)
            client = self._clients[wanted] = boto3.client(service, endpoint_url=self.url, config=config, **given)
            client.meta.events.register("after-call.lambda.Invoke", _read_payload)
        return self._clients[wanted]

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/_lambdad/health") as response:
            return dict(json.load(response))

    def pids(self) -> dict[str, int]:
        """Return the pids of the server and the worker by their roles."""
        assert self.process is not None
        found: dict[str, int] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"lambdad.app" in words and str(self.process.pid).encode() in words:
                    found[words[words.index(b"lambdad.app") + 1].decode()] = int(entry.name)
        return found


@pytest.fixture(scope="session")
def lambdad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lambdad]:
    """One lambdad for all tests that leave it as they found it."""
    running = Lambdad(tmp_path_factory.mktemp("lambdad"))
    try:
        yield running.start()
    finally:
        status = running.stop()
    assert status == 0


@pytest.fixture
def fenced(lambdad: Lambdad) -> None:
    """Skip where functions run as plain processes: paths, users and networks are the machine's there."""
    if lambdad.health()["worker"]["isolation"] == "plain":
        pytest.skip("functions are not fenced in here")


@pytest.fixture
def own_lambdad(tmp_path: Path) -> Iterator[Callable[..., Lambdad]]:
    """Start a lambdad of the test's own: `own_lambdad("--auth", "iam", environment={...})`."""
    started: list[Lambdad] = []

    def start(*options: str, environment: dict[str, str] | None = None) -> Lambdad:
        started.append(Lambdad(tmp_path / f"data{len(started)}", options, environment or {}))
        return started[-1].start()

    yield start
    for running in started:
        if running.process is not None and running.process.poll() is None:
            running.stop()


class Functions:
    """Deploys functions for one test, and deletes them after it."""

    def __init__(self, lambdad: Lambdad, prefix: str) -> None:
        self.client = lambdad.client("lambda")
        self.logs = lambdad.client("logs")
        self._prefix = prefix
        self._names: list[str] = []

    def deploy(self, source: str | dict[str, str | bytes], *, handler: str = "app.handler", runtime: str = PYTHON, **options: Any) -> str:
        """Create a function and wait until it is Active; a string is the source of app.py."""
        files: dict[str, str | bytes] = {"app.py": source} if isinstance(source, str) else source
        name = f"{self._prefix}-{len(self._names)}"
        modes = options.pop("modes", None)
        self.client.create_function(
            FunctionName=name, Runtime=runtime, Role=ROLE, Handler=handler, Code={"ZipFile": zipped(files, modes)}, **options
        )
        self._names.append(name)
        self.settle(name)
        return name

    def adopt(self, name: str) -> None:
        """Delete this function too after the test."""
        self._names.append(name)

    def settle(self, name: str) -> None:
        for _ in range(500):
            config = self.client.get_function_configuration(FunctionName=name)
            if config["State"] != "Pending" and config.get("LastUpdateStatus") != "InProgress":
                return
            time.sleep(0.01)
        raise AssertionError(f"{name} stays {config['State']}")

    def invoke(self, name: str, event: Any = None, **options: Any) -> dict[str, Any]:
        """Invoke; the answer's Payload is parsed, its LogResult decoded."""
        import base64

        response = self.client.invoke(FunctionName=name, Payload=json.dumps(event), **options)
        payload = response["Payload"].read()
        response["Payload"] = json.loads(payload) if payload else None
        if "LogResult" in response:
            response["LogResult"] = base64.b64decode(response["LogResult"]).decode("utf-8", "replace")
        return dict(response)

    def log_lines(self, name: str, *, until: str = "REPORT", count: int = 1) -> list[str]:
        """Return the function's log, without the newlines that end its events, once it has `count` lines that begin with `until`."""
        for _ in range(300):
            try:
                events = self.logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
            except self.logs.exceptions.ResourceNotFoundException:
                events = []
            lines = [event["message"].removesuffix("\n") for event in events]
            if sum(line.startswith(until) for line in lines) >= count:
                return lines
            time.sleep(0.02)
        raise AssertionError(f"no {until} in {lines}")

    def records(self, name: str, count: int, within_s: float = 30.0) -> list[dict[str, Any]]:
        """Return what a function has printed as "RECORD {...}", in order, once there are `count` records."""

        def found() -> list[dict[str, Any]] | None:
            pages = self.logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}")
            try:
                lines = [event["message"] for page in pages for event in page["events"]]
            except self.logs.exceptions.ResourceNotFoundException:
                return None
            records = [json.loads(line.removeprefix("RECORD ")) for line in lines if line.startswith("RECORD ")]
            return records if len(records) >= count else None

        return list(eventually(found, f"{count} records have come", within_s))

    def clean(self) -> None:
        for name in self._names:
            with contextlib.suppress(self.client.exceptions.ResourceNotFoundException):
                self.client.delete_function(FunctionName=name)


@pytest.fixture
def functions(lambdad: Lambdad, request: pytest.FixtureRequest) -> Iterator[Functions]:
    """Functions of this test on the shared lambdad."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:40]
    name = f"{name}-{os.urandom(3).hex()}"  # tests of one name in two files share no logs
    deployed = Functions(lambdad, name)
    yield deployed
    deployed.clean()

"""Cold starts and warm invocations of Python, Node.js and a static binary, over HTTP, with the signature check on."""

import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import uvloop
from botocore.config import Config

from bench import client

ROLE = "arn:aws:iam::000000000000:role/bench"
COLD = 100
WARM = 2000
CLIENTS = 16
HAMMER_S = 4.0

PYTHON = {"app.py": (b"def handler(event, context):\n    return {'statusCode': 200, 'body': event}\n", 0o644)}
PYTHON_BOTO3 = {
    "app.py": (
        b"import boto3\n\nclient = boto3.client('s3')\n\ndef handler(event, context):\n    return {'statusCode': 200, 'body': event}\n",
        0o644,
    )
}
RUBY = {"app.rb": (b"def handler(event:, context:)\n  { statusCode: 200, body: event }\nend\n", 0o644)}
JAVA = "public class Hello {\n  public Object handle(Object event) {\n    return event;\n  }\n}\n"
NODE = {"app.mjs": (b"export const handler = async (event) => ({ statusCode: 200, body: event });\n", 0o644)}


def zipped(files: dict[str, tuple[bytes, int]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (content, mode) in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100000 | mode) << 16
            archive.writestr(info, content)
    return out.getvalue()


@contextlib.contextmanager
def serving(*options: str) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Run `lambdad up` in a folder of its own; give its URL, its health document and its pid."""
    folder = tempfile.mkdtemp(prefix="lambdad-bench-")
    environment = {**os.environ, "LAMBDAD_ACCESS_KEYS": f"{client.ACCESS_KEY}:{client.SECRET}"}
    command = [sys.executable, "-m", "lambdad.cli.main", "up", "--port", "0", "--data-dir", folder, "--auth", "iam", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.partition(" on ")[2].partition(" ")[0]
        connection = client.Connection(url)
        health = json.loads(connection.call(b"GET /_lambdad/health HTTP/1.1\r\nHost: x\r\n\r\n").body)
        connection.close()
        yield url, health, process.pid
    finally:
        process.terminate()
        process.wait(40)
        shutil.rmtree(folder, ignore_errors=True)


def sdk(url: str) -> Any:
    config = Config(retries={"max_attempts": 0})
    return boto3.client(
        "lambda",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=client.ACCESS_KEY,
        aws_secret_access_key=client.SECRET,
        config=config,
    )


def deploy(lambda_: Any, name: str, runtime: str, handler: str, code: bytes, *, snap_start: bool = False) -> None:
    """Create a function and wait until it can be invoked; with SnapStart its version 1."""
    options = {"SnapStart": {"ApplyOn": "PublishedVersions"}, "Publish": True} if snap_start else {}
    lambda_.create_function(
        FunctionName=name, Runtime=runtime, Role=ROLE, Handler=handler, Code={"ZipFile": code}, Timeout=30, MemorySize=256, **options
    )
    qualifier = {"Qualifier": "1"} if snap_start else {}
    while (state := lambda_.get_function_configuration(FunctionName=name, **qualifier)["State"]) != "Active":
        assert state == "Pending", state
        time.sleep(0.01)


def static_bootstrap(folder: Path) -> bytes | None:
    """Build the smallest custom runtime there is, a static C program; None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    program = folder / "bootstrap"
    source = Path(__file__).with_name("bootstrap.c")
    subprocess.run([compiler, "-O2", "-static", "-o", str(program), str(source)], check=True)
    return program.read_bytes()


def spread(took_s: list[float]) -> str:
    took = sorted(value * 1000 for value in took_s)
    p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
    return f"p50 {statistics.median(took):8.2f} ms   p99 {p99:8.2f} ms   min {took[0]:8.2f} ms   max {took[-1]:8.2f} ms"


def yardstick() -> float:
    """Return how long `python3 -c pass` takes here and now, in seconds (median of 20)."""
    took_s = []
    for _ in range(20):
        started_s = time.perf_counter()
        subprocess.run(["python3", "-c", "pass"], check=True)
        took_s.append(time.perf_counter() - started_s)
    print(f"{'python3 -c pass (yardstick)':34} {spread(took_s)}")
    return statistics.median(took_s)


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of function. `names` select it on the command line; `code` is None where it cannot be built here."""

    label: str
    runtime: str
    handler: str
    code: bytes | None
    snap_start: bool = False
    warm: bool = True


def measure(url: str, lambda_: Any, case: Case, yard_s: float) -> None:
    """Measure first invokes of new functions, and then those of one function that is warm."""
    assert case.code is not None
    payload = b'{"key":"value"}'
    connection = client.Connection(url)
    qualifier = "1" if case.snap_start else ""
    cold_s = []
    for number in range(COLD):
        name = f"{case.label}-{number}"
        deploy(lambda_, name, case.runtime, case.handler, case.code, snap_start=case.snap_start)
        time.sleep(0.05)  # what the worker does after a start is not what the next start costs
        request = client.signed_invoke(url, name, payload, qualifier)
        started_s = time.perf_counter()
        reply = connection.call(request)
        cold_s.append(time.perf_counter() - started_s)
        assert reply.status == 200 and b"x-amz-function-error" not in reply.headers.lower(), reply
    print(f"{case.label + ' cold, first invoke':34} {spread(cold_s)}   {statistics.median(cold_s) / yard_s:.2f} x yardstick", flush=True)
    if case.warm:
        request = client.signed_invoke(url, f"{case.label}-0", payload, qualifier)
        warm_s = []
        for _ in range(WARM):
            started_s = time.perf_counter()
            connection.call(request)
            warm_s.append(time.perf_counter() - started_s)
        hammered_s = uvloop.run(client.hammer(url, [request] * CLIENTS, HAMMER_S))
        print(f"{case.label + ' warm, one client':34} {spread(warm_s)}   {len(warm_s) / sum(warm_s):7.0f}/s")
        print(f"{case.label + f' warm, {CLIENTS} clients':34} {spread(hammered_s)}   {len(hammered_s) / HAMMER_S:7.0f}/s", flush=True)
    connection.close()
    for number in range(COLD):
        lambda_.delete_function(FunctionName=f"{case.label}-{number}")


def cases(runtimes: list[str], folder: Path) -> list[Case]:
    """Return what can be measured here."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    snap = next((name for name in ("python3.12", "python3.13", "python3.14") if name in runtimes), python)
    node = next((name for name in runtimes if name.startswith("nodejs2")), "")
    java = next((name for name in ("java17", "java21", "java11", "java25") if name in runtimes), "")
    ruby = next((name for name in runtimes if name.startswith("ruby")), "")
    binary = static_bootstrap(folder)
    return [
        Case("python", python, "app.handler", zipped(PYTHON)),
        Case("boto3", python, "app.handler", zipped(PYTHON_BOTO3), warm=False),
        Case("snapstart", snap, "app.handler", zipped(PYTHON_BOTO3), snap_start=True, warm=False),
        Case("node", node, "app.handler", zipped(NODE) if node else None),
        Case("ruby", ruby, "app.handler", zipped(RUBY) if ruby else None, warm=False),
        Case("provided", "provided.al2023", "none", zipped({"bootstrap": (binary, 0o755)}) if binary else None),
        Case("java", java, "Hello::handle", java_classes(folder) if java else None, warm=False),
    ]


def java_classes(folder: Path) -> bytes | None:
    """Compile the smallest Java function; None where there is no compiler."""
    compiler = shutil.which("javac")
    if compiler is None:
        return None
    source = folder / "Hello.java"
    source.write_text(JAVA)
    subprocess.run([compiler, "--release", "11", "-d", str(folder), str(source)], check=True)
    return zipped({"Hello.class": ((folder / "Hello.class").read_bytes(), 0o644)})


def memory_mib(pid: int) -> float:
    """Return the proportional memory of a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    total_kib, queue = 0, [pid]
    while queue:
        current = queue.pop()
        queue += children.get(current, [])
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{current}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total_kib += int(line.split()[1])
    return total_kib / 1024


def run(only: frozenset[str] = frozenset()) -> None:
    yard_s = yardstick()
    folder = Path(tempfile.mkdtemp(prefix="lambdad-bench-"))
    try:
        started_s = time.perf_counter()
        with serving() as (url, health, pid):
            print(f"{'up, to the ready line':34} {(time.perf_counter() - started_s) * 1000:.0f} ms")
            time.sleep(2)
            print(f"{'idle, all processes (PSS)':34} {memory_mib(pid):.0f} MB")
            print(f"{'isolation':34} {health['worker']['isolation']}", flush=True)
            for case in cases(health["worker"]["runtimes"], folder):
                if only and case.label not in only:
                    continue
                if case.code is None:
                    print(f"{case.label:34} not measured: what it needs is not on this machine")
                else:
                    measure(url, sdk(url), case, yard_s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""Cold starts and warm invocations of Python, Node.js and a static binary, over HTTP, with the signature check on."""

import asyncio
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
from pathlib import Path
from typing import Any

import boto3
import uvloop
from botocore.config import Config

from bench import client

ROLE = "arn:aws:iam::000000000000:role/bench"
COLD = 30
WARM = 2000
CLIENTS = 16
HAMMER_S = 4.0

PYTHON = {"app.py": (b"def handler(event, context):\n    return {'statusCode': 200, 'body': event}\n", 0o644)}
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


def deploy(lambda_: Any, name: str, runtime: str, handler: str, code: bytes) -> None:
    lambda_.create_function(
        FunctionName=name, Runtime=runtime, Role=ROLE, Handler=handler, Code={"ZipFile": code}, Timeout=30, MemorySize=256
    )
    while lambda_.get_function_configuration(FunctionName=name)["State"] != "Active":
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


def measure(url: str, lambda_: Any, label: str, runtime: str, handler: str, code: bytes, yard_s: float) -> None:
    payload = b'{"key":"value"}'
    connection = client.Connection(url)
    cold_s = []
    for number in range(COLD):
        name = f"{label}-{number}"
        deploy(lambda_, name, runtime, handler, code)
        time.sleep(0.05)  # what the worker does after a start is not what the next start costs
        request = client.signed_invoke(url, name, payload)
        started_s = time.perf_counter()
        reply = connection.call(request)
        cold_s.append(time.perf_counter() - started_s)
        assert reply.status == 200 and b"x-amz-function-error" not in reply.headers.lower(), reply
    request = client.signed_invoke(url, f"{label}-0", payload)
    warm_s = []
    for _ in range(WARM):
        started_s = time.perf_counter()
        connection.call(request)
        warm_s.append(time.perf_counter() - started_s)
    connection.close()
    hammered_s = uvloop.run(client.hammer(url, [request] * CLIENTS, HAMMER_S))
    cold_ratio = statistics.median(cold_s) / yard_s
    print(f"{label + ' cold, first invoke':34} {spread(cold_s)}   {cold_ratio:.2f} x yardstick")
    print(f"{label + ' warm, one client':34} {spread(warm_s)}   {len(warm_s) / sum(warm_s):7.0f}/s")
    print(f"{label + f' warm, {CLIENTS} clients':34} {spread(hammered_s)}   {len(hammered_s) / HAMMER_S:7.0f}/s")


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
            asyncio.run(asyncio.sleep(2))
            print(f"{'idle, all processes (PSS)':34} {memory_mib(pid):.0f} MB")
            runtimes = health["worker"]["runtimes"]
            print(f"{'isolation':34} {health['worker']['isolation']}")
            lambda_ = sdk(url)
            python = f"python{sys.version_info.major}.{sys.version_info.minor}"
            if not only or "python" in only:
                measure(url, lambda_, "python", python, "app.handler", zipped(PYTHON), yard_s)
            node = next((name for name in runtimes if name.startswith("nodejs2")), None)
            if node is not None and (not only or "node" in only):
                measure(url, lambda_, "node", node, "app.handler", zipped(NODE), yard_s)
            binary = static_bootstrap(folder)
            if binary is not None and (not only or "provided" in only):
                code = zipped({"bootstrap": (binary, 0o755)})
                measure(url, lambda_, "provided", "provided.al2023", "none", code, yard_s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""`lambdad demo`: the main job on a fresh machine, by AWS's own SDK: deploy two functions, invoke them, read their logs."""

import base64
import io
import json
import math
import shutil
import statistics
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from importlib import resources
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from rich.console import Console
from rich.table import Table

PILLOW = "pillow>=10"
WARM_INVOCATIONS = 20
LARGEST_IMAGE_BYTES = 4_500_000  # as base64 it must fit into an invocation's 6 MB
ROLE = "arn:aws:iam::000000000000:role/demo"
TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on while the fox looks for the next dog."


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


def run(*, image: Path | None, out: Path) -> int:
    """
    Run the demo in a folder.

    Args:
        image: a picture for the thumbnail, 4.5 MB at most; None draws one.
        out: the folder; what an earlier demo left there is replaced.

    Returns:
        0 when everything worked.
    """
    console = Console(highlight=False)
    try:
        _Demo(console, out.absolute()).run(image)
    except (DemoFailed, subprocess.CalledProcessError, OSError) as error:
        console.print(f"[red]demo failed:[/red] {error}")
        return 1
    return 0


class _Demo:
    """One run of the demo."""

    def __init__(self, console: Console, out: Path) -> None:
        self._console = console
        self._out = out
        self._client: Any = None
        self._logs: Any = None

    def run(self, image: Path | None) -> None:
        picture = _read(image) if image else _draw(960, 640)
        self._out.mkdir(parents=True, exist_ok=True)
        self._say("Pack the functions: Python with Pillow (native code) in its zip, and Node.js")
        thumbnail_zip = self._pack_thumbnail()
        words_zip = _zip({"words.mjs": _source("words.mjs")})
        shutil.rmtree(self._out / "data", ignore_errors=True)
        self._say("Start lambdad")
        process, url = self._start()
        try:
            options: dict[str, Any] = {
                "endpoint_url": url,
                "region_name": "us-east-1",
                "aws_access_key_id": "demo",
                "aws_secret_access_key": "demo",
            }
            config = Config(retries={"max_attempts": 0})
            self._client = boto3.client("lambda", config=config, **options)
            self._logs = boto3.client("logs", config=config, **options)
            python = f"python{sys.version_info.major}.{sys.version_info.minor}"
            self._thumbnail(python, thumbnail_zip, picture)
            runtimes = json.loads(_get(f"{url}/_lambdad/health"))["worker"]["runtimes"]
            node = next((name for name in reversed(runtimes) if name.startswith("nodejs")), None)
            if node is None:
                self._console.print("\nNo Node.js on this machine: its function is left out. See `lambdad doctor`.")
            else:
                self._words("nodejs22.x" if "nodejs22.x" in runtimes else node, words_zip)
        finally:
            process.terminate()
            process.wait(30)
        self._say("Stopped. Everything that was deployed is still in " + str(self._out / "data"))

    def _say(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/bold]")

    def _pack_thumbnail(self) -> bytes:
        packages = self._out / "packages"
        if not (packages / "PIL").is_dir():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
            subprocess.run([*command, "--target", str(packages), PILLOW], check=True)
        files = {
            str(path.relative_to(packages)): path.read_bytes()
            for path in sorted(packages.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
        return _zip({**files, "thumbnail.py": _source("thumbnail.py")})

    def _start(self) -> tuple["subprocess.Popen[str]", str]:
        command = [sys.executable, "-m", "lambdad.cli.main", "up", "--port", "0", "--data-dir", str(self._out / "data")]
        started_s = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise DemoFailed(f"lambdad ended with status {process.wait()}")
        self._console.print(line, soft_wrap=True, markup=False)
        self._console.print(f"ready after {time.perf_counter() - started_s:.2f} s")
        return process, line.partition(" on ")[2].partition(" ")[0]

    def _thumbnail(self, runtime: str, code: bytes, picture: bytes) -> None:
        self._deploy("thumbnail", runtime, "thumbnail.handler", code)
        event = {"image": base64.b64encode(picture).decode(), "width": 160}
        answer = self._measure("thumbnail", event)
        target = self._out / "thumbnail.png"
        target.write_bytes(base64.b64decode(answer["image"]))
        self._console.print(
            f"{len(picture):,} bytes became {answer['width']} x {answer['height']} pixels, {target.stat().st_size:,} bytes: {target}",
            soft_wrap=True,
        )

    def _words(self, runtime: str, code: bytes) -> None:
        self._deploy("words", runtime, "words.handler", code)
        self._console.print(self._measure("words", {"text": TEXT}))

    def _deploy(self, name: str, runtime: str, handler: str, code: bytes) -> None:
        self._say(f"Deploy {name} ({runtime}, {len(code):,} bytes) and invoke it")
        self._client.create_function(
            FunctionName=name, Runtime=runtime, Role=ROLE, Handler=handler, Code={"ZipFile": code}, Timeout=30, MemorySize=512
        )
        self._client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

    def _measure(self, name: str, event: dict[str, Any]) -> Any:
        payload = json.dumps(event)
        took_ms = []
        first_log = ""
        answer: Any = None
        for number in range(1 + WARM_INVOCATIONS):
            started_s = time.perf_counter()
            response = self._client.invoke(FunctionName=name, Payload=payload, LogType="Tail")
            took_ms.append((time.perf_counter() - started_s) * 1000)
            answer = json.load(response["Payload"])
            if "FunctionError" in response:
                raise DemoFailed(f"{name}: {answer}")
            if number == 0:
                first_log = base64.b64decode(response["LogResult"]).decode()
        table = Table("invocation", "milliseconds, boto3 included", title_justify="left")
        table.add_row("cold (the first)", f"{took_ms[0]:.1f}")
        table.add_row(f"warm (median of {WARM_INVOCATIONS})", f"{statistics.median(took_ms[1:]):.1f}")
        self._console.print(table)
        group = f"/aws/lambda/{name}"
        stream = self._logs.describe_log_streams(logGroupName=group)["logStreams"][0]["logStreamName"]
        self._console.print(f"log of the first, as in CloudWatch Logs {group} {stream}:", soft_wrap=True, markup=False)
        for line in first_log.splitlines():
            self._console.print("  " + line.replace("\t", "  "), soft_wrap=True, markup=False)
        return answer


def _get(url: str) -> bytes:
    import urllib.request

    with urllib.request.urlopen(url) as response:
        content: bytes = response.read()
        return content


def _source(name: str) -> bytes:
    return resources.files("lambdad.cli.demo_functions").joinpath(name).read_bytes()


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    if len(content) > LARGEST_IMAGE_BYTES:
        raise DemoFailed(f"{path} has {len(content):,} bytes; an invocation takes pictures of up to {LARGEST_IMAGE_BYTES:,}")
    return content


def _draw(width: int, height: int) -> bytes:
    """Draw a sunrise over waves, as PNG."""
    rows = bytearray()
    centre_x, centre_y, radius = width // 2, int(height * 0.55), height // 5
    for y in range(height):
        rows.append(0)
        sea = y > height * 0.62
        for x in range(width):
            if sea:
                wave = int(25 * math.sin(x / 23 + y / 9) + 25 * math.sin(x / 51 - y / 17))
                rows += bytes((20 + wave // 3 + 17, 70 + wave, 120 + wave))
            elif (x - centre_x) ** 2 + (y - centre_y) ** 2 < radius * radius:
                rows += b"\xff\xe0\x70"
            else:
                glow = y * 255 // height
                rows += bytes((60 + glow // 2, 40 + glow // 3, 110 - glow // 5))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rows), 6)) + chunk(b"IEND", b"")

"""Where the acts of `lambdad demo` are played: a lambdad of its own, clients for it, and a terminal."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from rich.console import Console

from lambdad.cli import demo_files

ROLE = "arn:aws:iam::000000000000:role/demo"
ACCOUNT, REGION = "000000000000", "us-east-1"
CODE = "demo-code"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "AWS_DEFAULT_REGION": REGION}
_T = TypeVar("_T")


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


class Stage:
    """
    A running lambdad and what talks to it.

    Args:
        out: the demo's folder; it is there.

    Resource handling: a context manager; leaving it stops lambdad.
    """

    def __init__(self, console: Console, out: Path) -> None:
        self.console = console
        self.out = out
        self.url = ""
        self.summary: list[tuple[str, str]] = []  # what was measured
        self._process: subprocess.Popen[str] | None = None
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> "Stage":
        shutil.rmtree(self.out / "data", ignore_errors=True)
        command = [sys.executable, "-m", "lambdad.cli.main", "up", "--port", "0", "--data-dir", str(self.out / "data")]
        started_s = time.perf_counter()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise DemoFailed(f"lambdad ended with status {self._process.wait()}")
        self.quote(line)
        self.summary.append(("lambdad ready after", f"{(time.perf_counter() - started_s) * 1000:,.0f} ms"))
        self.url = line.partition(" on ")[2].partition(" ")[0]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        for client in self._clients.values():
            client.close()
        self._process.terminate()
        self._process.wait(30)

    def client(self, service: str) -> Any:
        """Give a boto3 client."""
        if service not in self._clients:
            config = Config(retries={"max_attempts": 0}, max_pool_connections=16)
            make: Any = boto3.client  # typed for names that are literals
            self._clients[service] = make(
                service,
                endpoint_url=self.url,
                region_name=REGION,
                aws_access_key_id=_CREDENTIALS["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
                config=config,
            )
        return self._clients[service]

    # --- saying

    def title(self, text: str) -> None:
        """Begin an act."""
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left", style="dim")

    def say(self, text: str) -> None:
        """Say what happens."""
        self.console.print(text, soft_wrap=True, markup=False)

    def quote(self, text: str) -> None:
        """Show what a program wrote, or a command."""
        for line in text.splitlines():
            self.console.print("  " + line, soft_wrap=True, markup=False, style="dim")

    # --- doing

    def aws(self, *arguments: str) -> bool:
        """Show a command of the AWS CLI and run it; False where there is no CLI."""
        program = shutil.which("aws", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
        if program is None:
            return False
        self.quote("$ aws " + shlex.join(arguments))
        environment = {**os.environ, **_CREDENTIALS, "AWS_ENDPOINT_URL": self.url, "AWS_CONFIG_FILE": os.devnull}
        ran = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True)
        if ran.returncode:
            raise DemoFailed(f"aws {shlex.join(arguments)}: {ran.stderr.strip()}")
        self.quote(ran.stdout.rpartition("\r")[2].strip())
        return True

    def deploy(self, name: str, file: str, *, runtime: str = PYTHON, layers: tuple[str, ...] = (), **settings: Any) -> str:
        """Put a function's code into S3 and make the function of it; returns its ARN when it is ready."""
        self.client("s3").put_object(Bucket=CODE, Key=f"{name}.zip", Body=demo_files.function_zip(file))
        lambda_ = self.client("lambda")
        arn: str = lambda_.create_function(
            FunctionName=name,
            Runtime=runtime,
            Role=ROLE,
            Handler=f"{file.partition('.')[0]}.handler",
            Code={"S3Bucket": CODE, "S3Key": f"{name}.zip"},
            Layers=list(layers),
            MemorySize=512,
            **settings,
        )["FunctionArn"]
        lambda_.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        return arn

    def allow(self, name: str, service: str, source_arn: str) -> None:
        """Let a service call a function."""
        self.client("lambda").add_permission(
            FunctionName=name, StatementId="demo", Action="lambda:InvokeFunction", Principal=service, SourceArn=source_arn
        )

    def wait(self, what: str, within_s: float, look: Callable[[], _T | None]) -> _T:
        """Look until there is something; DemoFailed after so many seconds."""
        end_s = time.monotonic() + within_s
        while (found := look()) is None:
            if time.monotonic() > end_s:
                raise DemoFailed(f"{what} did not happen within {within_s:.0f} seconds")
            time.sleep(0.02)
        return found

    def logged(self, name: str, pattern: str) -> list[dict[str, Any]]:
        """Give the JSON lines that fit a pattern in a function's log."""
        logs = self.client("logs")
        group = f"/aws/lambda/{name}"
        if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
            return []
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, filterPattern=pattern)
        return [json.loads(event["message"]) for page in pages for event in page["events"]]

    def runtimes(self) -> list[str]:
        """Say for which runtimes there are interpreters."""
        with urllib.request.urlopen(f"{self.url}/_lambdad/health") as response:
            found: list[str] = json.load(response)["worker"]["runtimes"]
        return found

"""kill -9 of the server, of the worker, and of both, in the middle of many Event invokes."""

import concurrent.futures
import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from conftest import PYTHON, ROLE, Lambdad, descendants, zipped  # type: ignore[import-not-found]

EVENTS = 1000
# Says that it has run by a durable write of its own, to lambdad's log service; it keeps trying while lambdad is being restarted.
SOURCE = """
import http.client, json, os, time
from urllib.parse import urlsplit
host = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc

def handler(event, context):
    body = json.dumps({"logGroupName": "done", "logStreamName": "done",
                       "logEvents": [{"timestamp": int(time.time() * 1000), "message": context.aws_request_id}]})
    headers = {"X-Amz-Target": "Logs_20140328.PutLogEvents", "Content-Type": "application/x-amz-json-1.1"}
    while True:
        try:
            connection = http.client.HTTPConnection(host, timeout=5)
            connection.request("POST", "/", body, headers)
            if connection.getresponse().status == 200:
                return "done"
        except OSError:
            pass
        time.sleep(0.05)
"""


def _cgroups(workers: set[int]) -> set[str]:
    """Return the cgroup directories of these workers, dead or alive, of whichever version."""
    top = Path("/sys/fs/cgroup")
    return {str(path) for pid in workers for pattern in (f"*/lambdad-{pid}-*", f"lambdad-{pid}-*") for path in top.glob(pattern)}


def _alive(pids: set[int]) -> set[int]:
    alive = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                alive.add(pid)
    return alive


def _wait(condition: Callable[[], bool], within_s: float, what: str) -> None:
    until_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until_s, what
        time.sleep(0.05)


def _done(lambdad: Lambdad) -> set[str]:
    logs = lambdad.client("logs")
    found: set[str] = set()
    for page in logs.get_paginator("filter_log_events").paginate(logGroupName="done"):
        found.update(event["message"] for event in page["events"])
    return found


def _deploy(lambdad: Lambdad) -> None:
    logs = lambdad.client("logs")
    logs.create_log_group(logGroupName="done")
    logs.create_log_stream(logGroupName="done", logStreamName="done")
    client = lambdad.client("lambda")
    client.create_function(
        FunctionName="f", Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": zipped({"app.py": SOURCE})}, Timeout=30
    )
    client.get_waiter("function_active_v2").wait(FunctionName="f", WaiterConfig={"Delay": 1})
    client.publish_version(FunctionName="f")
    client.invoke(FunctionName="f", Payload=b"{}")


def _send(lambdad: Lambdad, stop: threading.Event, count: int) -> set[str]:
    """Send Event invokes until enough are acknowledged; what is refused or cut off meanwhile is sent again."""
    client: Any = lambdad.client("lambda")
    acknowledged: set[str] = set()
    while len(acknowledged) < count and not stop.is_set():
        try:
            answer = client.invoke(FunctionName="f", InvocationType="Event", Payload=json.dumps({"n": len(acknowledged)}))
        except (BotoCoreError, ClientError):
            time.sleep(0.02)
            continue
        assert answer["StatusCode"] == 202
        acknowledged.add(answer["ResponseMetadata"]["RequestId"])
    return acknowledged


@pytest.mark.parametrize(
    "victims",
    [("server",), ("worker",), pytest.param(("server", "worker"), marks=pytest.mark.slow)],
    ids=["server", "worker", "both"],
)
@pytest.mark.timeout(180)
def test_nothing_acknowledged_is_lost(own_lambdad: Callable[..., Lambdad], victims: tuple[str, ...]):
    """Every acknowledged event runs to an end at least once, whoever is killed how often; nothing is left behind."""
    lambdad = own_lambdad()
    _deploy(lambdad)
    workers: set[int] = set()
    stop = threading.Event()
    dice = random.Random(7)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        senders = [pool.submit(_send, lambdad, stop, EVENTS // 8) for _ in range(8)]
        try:
            for _ in range(3):
                time.sleep(dice.uniform(0.3, 0.8))
                pids = lambdad.pids()
                workers |= {pids["worker"]} if "worker" in pids else set()
                doomed = [pids[role] for role in victims if role in pids]
                family = set().union(*(descendants(pid) for pid in doomed)) if "worker" in victims else set()
                for pid in doomed:
                    os.kill(pid, signal.SIGKILL)
                _wait(lambda family=family: not _alive(family), 10, "processes of a killed worker live on")
            acknowledged = set().union(*(sender.result(timeout=90) for sender in senders))
        finally:
            stop.set()
    assert len(acknowledged) == EVENTS
    _wait(lambda: acknowledged <= _done(lambdad), 60, "acknowledged events have not run")

    client = lambdad.client("lambda")
    versions = client.list_versions_by_function(FunctionName="f")["Versions"]
    assert [version["Version"] for version in versions] == ["$LATEST", "1"]
    lines = [event["message"] for event in lambdad.client("logs").filter_log_events(logGroupName="/aws/lambda/f")["events"]]
    assert any(line.startswith("REPORT") for line in lines)
    assert lambdad.process is not None
    family = descendants(lambdad.process.pid)
    workers.add(lambdad.pids()["worker"])
    if "cgroup v" in lambdad.health()["worker"]["isolation"]:
        assert _cgroups(workers), "the running worker has cgroups of its own"
    assert lambdad.stop() == 0
    _wait(lambda: not _alive(family), 10, "processes are left behind")
    _wait(lambda: not _cgroups(workers), 5, f"cgroups are left behind: {_cgroups(workers)}")


def test_killing_everything_at_once_leaves_nothing(own_lambdad: Callable[..., Lambdad]):
    """After kill -9 of all processes, their children are gone at once, and the next start sweeps the rest and serves."""
    lambdad = own_lambdad()
    _deploy(lambdad)
    workers = {lambdad.pids()["worker"]}
    assert lambdad.process is not None and lambdad.process.stdout is not None
    family = descendants(lambdad.process.pid)
    lambdad.process.kill()
    lambdad.process.wait()
    lambdad.process.stdout.close()
    _wait(lambda: not _alive(family), 10, "processes outlive their supervisor")
    lambdad.start()
    answer = lambdad.client("lambda").invoke(FunctionName="f", Payload=b"{}")
    assert json.load(answer["Payload"]) == "done"
    workers.add(lambdad.pids()["worker"])
    assert lambdad.stop() == 0
    _wait(lambda: not _cgroups(workers), 5, f"cgroups are left behind: {_cgroups(workers)}")

"""SnapStart for Python over the whole program: life cycle, hooks, uniqueness, credentials, failures, restarts."""

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conftest import ROLE, Functions, Lambdad, descendants, eventually, zipped  # type: ignore[import-not-found]

RUNTIME = "python3.12"
SNAP_START = {"ApplyOn": "PublishedVersions"}
HELLO = "def handler(event, context):\n    return event\n"
ARN = "arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}"


@pytest.fixture
def kept(lambdad: Lambdad) -> None:
    """Skip where no snapshot can be kept: there environments are initialised one by one, which another test covers."""
    _need_snapshots(lambdad)


def _need_snapshots(lambdad: Lambdad) -> None:
    if not lambdad.health()["worker"]["isolation"].startswith("namespaces") or os.uname().machine != "x86_64":
        pytest.skip("snapshots are kept by a worker that is root, on x86-64")


def deploy(functions: Functions, source: str | dict[str, str | bytes], *, publish: bool = True, **options: Any) -> str:
    """Create a function with SnapStart and publish version 1; return its name."""
    name: str = functions.deploy(source, runtime=RUNTIME, SnapStart=SNAP_START, **{"Timeout": 10, **options})
    if publish:
        functions.client.publish_version(FunctionName=name)
        settle(functions.client, name)
    return name


def settle(client: Any, name: str, version: str = "1") -> dict[str, Any]:
    """Wait until a version is not Pending."""

    def settled() -> dict[str, Any] | None:
        config: dict[str, Any] = client.get_function_configuration(FunctionName=name, Qualifier=version)
        return config if config["State"] != "Pending" else None

    return eventually(settled, "a version is Active or Failed")  # type: ignore[no-any-return]


def invoke(functions: Functions, name: str, event: Any = None, **options: Any) -> Any:
    """Invoke version 1 and return the payload of its success."""
    answer = functions.invoke(name, event, Qualifier="1", **options)
    assert "FunctionError" not in answer, answer
    return answer["Payload"]


def at_once(functions: Functions, name: str, count: int, event: Any = None) -> list[Any]:
    """Invoke version 1 so many times at the same time; return the payloads."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: invoke(functions, name, event), range(count)))


def test_a_published_version_is_prepared_and_restored(functions: Functions, kept: None) -> None:
    """Pending, then Active with a snapshot; log lines of the Init phase, of the restore, and of the invocation are AWS's."""
    name = deploy(functions, "print('loading')\n" + HELLO, publish=False, MemorySize=256)
    latest = functions.client.get_function_configuration(FunctionName=name)
    assert latest["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
    published = functions.client.publish_version(FunctionName=name)
    assert (published["Version"], published["State"], published["StateReasonCode"]) == ("1", "Pending", "Creating")
    version = settle(functions.client, name)
    assert (version["State"], version["LastUpdateStatus"]) == ("Active", "Successful")
    assert version["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
    assert functions.client.publish_version(FunctionName=name)["Version"] == "1"
    assert invoke(functions, name, "hello") == "hello"
    assert invoke(functions, name, "again") == "again"
    lines = functions.log_lines(name, count=2)
    report = r"REPORT RequestId: \S+\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 256 MB\tMax Memory Used: \d+ MB\t"
    expected = [
        rf"INIT_START Runtime Version: python:3.12\S*\tRuntime Version ARN: {ARN}",
        "loading",
        r"INIT_REPORT Init Duration: [\d.]+ ms\tPhase: init",
        rf"RESTORE_START Runtime Version: python:3.12\S*\tRuntime Version ARN: {ARN}",
        r"RESTORE_REPORT Restore Duration: [\d.]+ ms",
        r"START RequestId: \S+ Version: 1",
        r"END RequestId: \S+",
        rf"{report}Restore Duration: [\d.]+ ms\tBilled Restore Duration: \d+ ms\t",
        r"START RequestId: \S+ Version: 1",
        r"END RequestId: \S+",
        report,
    ]
    lines = [line for line in lines if not line.startswith("lambdad: ")]  # of a machine whose python3.12 is another one
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), (pattern, line)
    duration, billed, restore = re.search(
        r"Duration: ([\d.]+) ms\tBilled Duration: (\d+).*Billed Restore Duration: (\d+)", lines[7]
    ).groups()  # type: ignore[union-attr]
    assert float(duration) + int(restore) <= int(billed) <= float(duration) + int(restore) + 1.01
    answer = functions.invoke(name, 1)
    assert answer["Payload"] == 1  # $LATEST has no snapshot


def test_json_logs(functions: Functions, kept: None) -> None:
    """The JSON twins of the lines, with AWS's members."""
    name = deploy(functions, HELLO, LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "DEBUG"})
    invoke(functions, name)
    lines = functions.log_lines(name, until='{"time"', count=9)
    records = {event["type"]: event["record"] for event in map(json.loads, (line for line in lines if line.startswith("{")))}
    assert list(records) == [
        "platform.initStart",
        "platform.initRuntimeDone",
        "platform.initReport",
        "platform.restoreStart",
        "platform.restoreRuntimeDone",
        "platform.restoreReport",
        "platform.start",
        "platform.runtimeDone",
        "platform.report",
    ]
    assert (records["platform.initStart"]["initializationType"], records["platform.initStart"]["phase"]) == ("snap-start", "snap-start")
    assert records["platform.restoreStart"]["functionVersion"] == "1"
    assert records["platform.restoreReport"]["status"] == "success"
    assert records["platform.restoreReport"]["metrics"]["durationMs"] > 0


HOOKS = """
from snapshot_restore_py import register_after_restore, register_before_snapshot
calls = []

@register_before_snapshot
def first():
    calls.append("before 1")

register_before_snapshot(calls.append, "before 2")
register_after_restore(lambda word, *, end: calls.append(word + end), "after 1", end="!")

@register_after_restore
def last():
    calls.append("after 2")

def handler(event, context):
    return [calls, first.__name__, last.__name__]
"""


@pytest.mark.parametrize("bundled", [False, True])
def test_hooks_run_in_order(functions: Functions, lambdad: Lambdad, bundled: bool) -> None:
    """Before the snapshot last in first out, after the restore first in first out; with our module, or one in the zip."""
    files: dict[str, str | bytes] = {"app.py": HOOKS}
    if bundled:
        import lambdad.runtimes.python.snapshot_restore_py as module  # type: ignore[import-not-found,import-untyped,unused-ignore]

        files["snapshot_restore_py.py"] = Path(module.__file__).read_text() + "\nBUNDLED = True\n"
        files["app.py"] = HOOKS + "import snapshot_restore_py\nassert snapshot_restore_py.BUNDLED\n"
    name = deploy(functions, files)
    assert invoke(functions, name) == [["before 2", "before 1", "after 1!", "after 2"], "first", "last"]


UNIQUE = """
import os, random, secrets, ssl, tempfile, time, uuid
random.random(); ssl.RAND_bytes(8); tempfile.mktemp()
own = random.Random()

def handler(event, context):
    time.sleep(1.5)
    return {"random": random.random(), "secrets": secrets.token_hex(8), "uuid4": str(uuid.uuid4()), "uuid1": str(uuid.uuid1()),
            "ssl": ssl.RAND_bytes(16).hex(), "temporary": tempfile.mktemp(), "system": random.SystemRandom().random(),
            "stream": context.log_stream_name, "group": context.log_group_name, "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
            "keys": [name for name in os.environ if name.startswith(("AWS_ACCESS", "AWS_SECRET", "AWS_SESSION"))]}
"""


def test_restored_environments_draw_different_numbers(functions: Functions, kept: None) -> None:
    """Each environment has a seed of its own for what Python and OpenSSL draw, and none knows a log stream or has keys in variables."""
    answers = at_once(functions, deploy(functions, UNIQUE), 6)
    for what in ("random", "secrets", "uuid4", "uuid1", "ssl", "temporary", "system"):
        assert len({answer[what] for answer in answers}) == 6, what
    assert {(answer["stream"], answer["group"], answer["type"], tuple(answer["keys"])) for answer in answers} == {
        (None, None, "snap-start", ())
    }


CLIENT = """
import boto3, os, urllib.request, urllib.error
client = boto3.client("lambda")
first = client.get_account_settings()["AccountUsage"]["FunctionCount"]

def handler(event, context):
    request = urllib.request.Request(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
    if event:
        request.add_header("Authorization", event if event != "right" else os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
        try:
            return sorted(__import__("json").load(urllib.request.urlopen(request)))
        except urllib.error.HTTPError as error:
            return error.code
    return [client.get_account_settings()["AccountUsage"]["FunctionCount"] >= first, client._request_signer._credentials.method]
"""


def test_a_client_made_in_the_module_works(functions: Functions, lambdad: Lambdad) -> None:
    """boto3 finds its credentials at the container endpoint, during Init and after a restore; the endpoint wants its token."""
    name = deploy(functions, CLIENT, MemorySize=512)
    assert invoke(functions, name) == [True, "container-role"]
    assert invoke(functions, name, "right") == ["AccessKeyId", "Expiration", "SecretAccessKey", "Token"]
    assert invoke(functions, name, "wrong") == 403


def test_a_version_whose_init_fails(functions: Functions, lambdad: Lambdad) -> None:
    """It is Failed and says why; an invocation of it is a SnapStartException."""
    name = deploy(functions, "raise ValueError('not today')\n", publish=False)
    functions.client.publish_version(FunctionName=name)
    version = settle(functions.client, name)
    assert (version["State"], version["StateReasonCode"]) == ("Failed", "FunctionError.RuntimeInitError")
    assert "not today" in version["StateReason"]
    assert version["SnapStart"]["OptimizationStatus"] == "Off"
    with pytest.raises(ClientError) as refused:
        functions.client.invoke(FunctionName=name, Qualifier="1")
    assert refused.value.response["Error"]["Code"] == "SnapStartException"
    assert refused.value.response["Error"]["Message"].startswith("AWS Lambda could not invoke your SnapStart function.")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    lines = functions.log_lines(name, until="INIT_REPORT")
    assert any(re.fullmatch(r"INIT_REPORT Init Duration: [\d.]+ ms\tPhase: init\tStatus: error\tError Type: \S+", line) for line in lines)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os; os._exit(3)\n", "Runtime.ExitError: Runtime exited with error: exit status 3"),
        (
            "from snapshot_restore_py import register_before_snapshot\nregister_before_snapshot(lambda: 1 / 0)\n" + HELLO,
            "Runtime.BeforeSnapshotError",
        ),
    ],
)
def test_other_ways_to_fail_in_init(functions: Functions, source: str, reason: str) -> None:
    """An exit, and a hook that raises before the snapshot, fail the version too."""
    name = deploy(functions, source)
    version = settle(functions.client, name)
    assert version["State"] == "Failed"
    assert reason in version["StateReason"]


def test_a_version_is_not_invocable_while_it_is_pending(functions: Functions) -> None:
    """Until its Init phase has ended, ResourceConflictException."""
    name = deploy(functions, "import time; time.sleep(1.5)\n" + HELLO, publish=False)
    functions.client.publish_version(FunctionName=name)
    with pytest.raises(functions.client.exceptions.ResourceConflictException, match="state: Pending"):
        functions.client.invoke(FunctionName=name, Qualifier="1")
    settle(functions.client, name)
    assert invoke(functions, name, 1) == 1


def test_publish_while_creating_and_updating(functions: Functions) -> None:
    """Publish=true makes snapshots too; each version has the code it was published with."""
    client = functions.client
    name = f"{functions._prefix}-published"
    functions.adopt(name)
    source = "import os\nVALUE = {}\ndef handler(event, context):\n    return [VALUE, os.environ['AWS_LAMBDA_FUNCTION_VERSION']]\n"
    created = client.create_function(
        FunctionName=name,
        Runtime=RUNTIME,
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": zipped({"app.py": source.format(1)})},
        SnapStart=SNAP_START,
        Publish=True,
    )
    assert (created["Version"], created["State"]) == ("1", "Pending")
    settle(client, name)
    functions.settle(name)
    client.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": source.format(2)}), Publish=True)
    settle(client, name, "2")
    for version in ("1", "2"):
        assert functions.invoke(name, Qualifier=version)["Payload"] == [int(version), version]
    functions.settle(name)
    client.update_function_configuration(FunctionName=name, SnapStart={"ApplyOn": "None"})
    functions.settle(name)
    assert client.publish_version(FunctionName=name)["State"] == "Active"
    assert functions.invoke(name, Qualifier="3")["Payload"] == [2, "3"]


def test_a_hook_that_fails_after_the_restore(functions: Functions, kept: None) -> None:
    """The invocation is a SnapStartException, and the log says so; the next one is restored anew."""
    source = """
from snapshot_restore_py import register_after_restore
register_after_restore(lambda: 1 / 0)
"""
    name = deploy(functions, source + HELLO)
    for _ in range(2):
        with pytest.raises(ClientError) as refused:
            functions.client.invoke(FunctionName=name, Qualifier="1")
        assert refused.value.response["Error"]["Code"] == "SnapStartException"
    lines = functions.log_lines(name, until="RESTORE_REPORT", count=2)
    pattern = r"RESTORE_REPORT Restore Duration: [\d.]+ ms\tStatus: error\tError Type: Runtime.AfterRestoreError"
    assert sum(bool(re.fullmatch(pattern, line)) for line in lines) == 2
    assert any("[ERROR] ZeroDivisionError" in line for line in lines)


@pytest.mark.slow
def test_a_restore_that_takes_too_long(functions: Functions, kept: None) -> None:
    """After ten seconds it is a SnapStartTimeoutException, 408."""
    source = "import time\nfrom snapshot_restore_py import register_after_restore\nregister_after_restore(time.sleep, 15)\n"
    name = deploy(functions, source + HELLO)
    with pytest.raises(ClientError) as refused:
        functions.client.invoke(FunctionName=name, Qualifier="1")
    assert refused.value.response["Error"]["Code"] == "SnapStartTimeoutException"
    assert refused.value.response["Error"]["Message"] == "Lambda couldn't restore the snapshot within the timeout limit."
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 408
    assert re.fullmatch(
        r"RESTORE_REPORT Restore Duration: [\d.]+ ms\tStatus: timeout", functions.log_lines(name, until="RESTORE_REPORT")[-1]
    )


def test_after_a_crash_another_environment_is_restored(functions: Functions, kept: None) -> None:
    """What ends or times out is not begun anew by an Init phase: the next invocation has a restored environment."""
    source = """
import os, time
count = 0

def handler(event, context):
    global count
    count += 1
    if event == "exit":
        os._exit(3)
    if event == "sleep":
        time.sleep(30)
    return count
"""
    name = deploy(functions, source, Timeout=1)
    assert [invoke(functions, name), invoke(functions, name)] == [1, 2]
    for event, error_type in (("exit", "Runtime.ExitError"), ("sleep", "Sandbox.Timedout")):
        answer = functions.invoke(name, event, Qualifier="1")
        assert answer["Payload"]["errorType"] == error_type
        assert invoke(functions, name) == 1
    lines = functions.log_lines(name, count=6)
    assert sum(line.startswith("RESTORE_START") for line in lines) == 3
    assert sum(line.startswith("INIT_START") for line in lines) == 1


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n", "the function runs 2 threads"),
        ("import subprocess\nkept = subprocess.Popen(['/bin/sleep', '3600'])\n", "the function has started other processes"),
        ("open('/tmp/cache', 'w').write('x')\n", "the function has written to /tmp"),
    ],
)
def test_what_cannot_be_kept_is_said_and_initialised(functions: Functions, kept: None, before: str, reason: str) -> None:
    """The version is Active all the same; its log says why, and its environments are initialised one by one."""
    name = deploy(functions, before + HELLO)
    assert settle(functions.client, name)["State"] == "Active"
    assert invoke(functions, name, "works") == "works"
    lines = functions.log_lines(name)
    notice = f"lambdad: this version's environments are initialised one by one, and not restored from a snapshot: {reason}"
    assert lines.count(notice) == 2  # in the snapshot's log and in the environment's
    assert sum(line.startswith("INIT_START") for line in lines) == 2
    assert not any(line.startswith("RESTORE") for line in lines)
    assert "\tInit Duration: " in lines[-1]


def test_an_environment_lives_apart_from_its_siblings(functions: Functions, kept: None) -> None:
    """Restored environments share no variables, no /tmp and no processes."""
    source = """
import os, time
seen = []

def handler(event, context):
    seen.append(event)
    open("/tmp/" + str(event), "w").close()
    time.sleep(1)
    return [seen, os.listdir("/tmp"), [name for name in os.listdir("/proc") if name.isdigit()] == [str(os.getpid())]]
"""
    name = deploy(functions, source)
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda number: invoke(functions, name, number), range(5)))
    assert answers == [[[number], [str(number)], True] for number in range(5)]


@pytest.mark.slow
def test_a_hundred_at_once(functions: Functions, kept: None) -> None:
    """A hundred environments restored together all answer, none by an Init phase of its own."""
    name = deploy(
        functions, "import os, random, time\ndef handler(event, context):\n    time.sleep(4)\n    return random.random()\n", Timeout=60
    )
    assert len(set(at_once(functions, name, 100))) == 100
    lines = functions.log_lines(name, count=100)
    assert sum(line.startswith("RESTORE_REPORT") for line in lines) >= 90
    assert sum(line.startswith("INIT_START") for line in lines) == 1


def test_what_is_refused(functions: Functions) -> None:
    """Runtimes that have no SnapStart, and more than 512 MB of /tmp, when creating and when updating."""
    client = functions.client
    common = {"Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": zipped({"app.py": HELLO})}, "SnapStart": SNAP_START}
    invalid = client.exceptions.InvalidParameterValueException
    for runtime in ("python3.11", "nodejs20.x", "provided.al2023", "ruby3.3"):
        with pytest.raises(invalid, match=f"{re.escape(runtime)} is not supported for SnapStart enabled functions"):
            client.create_function(FunctionName="refused", Runtime=runtime, **common)
    with pytest.raises(invalid, match="SnapStart for java21 is not supported by lambdad yet"):
        client.create_function(FunctionName="refused", Runtime="java21", **common)
    with pytest.raises(invalid, match="512 MB is not supported for SnapStart enabled"):
        client.create_function(FunctionName="refused", Runtime=RUNTIME, EphemeralStorage={"Size": 1024}, **common)
    name = deploy(functions, HELLO, publish=False)
    with pytest.raises(invalid, match="512 MB is not supported"):
        client.update_function_configuration(FunctionName=name, EphemeralStorage={"Size": 513})
    with pytest.raises(invalid, match=r"nodejs20.x is not supported"):
        client.update_function_configuration(FunctionName=name, Runtime="nodejs20.x")


def _alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists() and ") Z" not in Path(f"/proc/{pid}/stat").read_text()}


def test_restarts(own_lambdad: Callable[..., Lambdad]) -> None:
    """
    A killed worker leaves nothing behind, and its snapshots are made again; a server that is killed while one is made begins again;
    more snapshots than are kept only cost time.
    """
    lambdad = own_lambdad(environment={"LAMBDAD_SNAPSHOTS": "2"})
    _need_snapshots(lambdad)
    functions = Functions(lambdad, "restarts")
    name = deploy(functions, "import time; time.sleep(1)\ndef handler(event, context):\n    time.sleep(0.3)\n    return event\n")
    assert invoke(functions, name, 1) == 1
    time.sleep(2)  # so that it is frozen
    worker = lambdad.pids()["worker"]
    family = descendants(worker) | {worker}
    assert len(family) > 8
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not _alive(family), "nothing of the killed worker lives")
    eventually(lambda: lambdad.pids().get("worker") not in (None, worker), "there is another worker")
    assert invoke(functions, name, 2) == 2  # the long way
    lines = functions.log_lines(name, count=2)
    assert sum(line.startswith("RESTORE_START") for line in lines) == 1
    assert "\tInit Duration: " in [line for line in lines if line.startswith("REPORT")][-1]

    def restored() -> bool:
        return sum(line.startswith("RESTORE_START") for line in functions.log_lines(name)) > 1

    together = 1

    def more() -> bool:
        nonlocal together
        together += 1  # one more than there are environments
        at_once(functions, name, together)
        return restored()

    eventually(more, "environments are restored again")

    # A server that dies while a version is Pending.
    functions.client.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": "import time; time.sleep(2)\n" + HELLO}))
    functions.settle(name)
    assert functions.client.publish_version(FunctionName=name)["State"] == "Pending"
    server = lambdad.pids()["server"]
    os.kill(server, signal.SIGKILL)
    eventually(lambda: lambdad.pids().get("server") not in (None, server), "there is another server")

    def active() -> bool:
        with contextlib.suppress(Exception):  # while the server starts
            return bool(functions.client.get_function_configuration(FunctionName=name, Qualifier="2")["State"] == "Active")
        return False

    eventually(active, "the version becomes Active")
    assert functions.invoke(name, 3, Qualifier="2")["Payload"] == 3

    # More versions than snapshots.
    for number in (3, 4):
        functions.client.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": f"N = {number}\n" + HELLO}))
        functions.settle(name)
        functions.client.publish_version(FunctionName=name)
        settle(functions.client, name, str(number))
    for number in ("1", "2", "3", "4"):
        assert functions.invoke(name, int(number), Qualifier=number)["Payload"] == int(number)
    family = descendants(lambdad.pids()["worker"])
    assert lambdad.stop() == 0
    eventually(lambda: not _alive(family), "nothing lives on")


def test_a_snapshot_that_is_killed_is_made_again(own_lambdad: Callable[..., Lambdad]) -> None:
    """Whatever kills the process around a snapshot takes its environments along, and no invocation that comes later."""
    lambdad = own_lambdad()
    _need_snapshots(lambdad)
    functions = Functions(lambdad, "killed")
    name = deploy(functions, "import time\ndef handler(event, context):\n    time.sleep(0.2)\n    return event\n")
    assert invoke(functions, name, 1) == 1
    stats = {pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in descendants(lambdad.pids()["worker"])}
    parents = {int(fields[1]) for fields in stats.values() if fields[0] == "t"}
    assert len(parents) == 1  # process 1 of the snapshot: of what it traces
    os.kill(parents.pop(), signal.SIGKILL)
    eventually(lambda: not any(_is_traced(pid) for pid in stats), "the snapshot is gone")
    assert invoke(functions, name, 2) == 2
    together = 1

    def restored() -> bool:
        nonlocal together
        together += 1
        at_once(functions, name, together)
        return sum(line.startswith("RESTORE_START") for line in functions.log_lines(name)) > 1

    eventually(restored, "environments are restored again")


def _is_traced(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "t"
    return False


def test_a_deleted_version_is_forgotten(own_lambdad: Callable[..., Lambdad]) -> None:
    """The kept process of a deleted function ends, while an environment that is busy does its work."""
    lambdad = own_lambdad()
    _need_snapshots(lambdad)
    functions = Functions(lambdad, "deleted")
    before = descendants(lambdad.pids()["worker"])
    name = deploy(functions, "import time\ndef handler(event, context):\n    time.sleep(event)\n    return 'done'\n")
    invoke(functions, name, 0)
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(invoke(functions, name, 2)))
    caller.start()
    time.sleep(0.5)
    family = descendants(lambdad.pids()["worker"]) - before
    functions.client.delete_function(FunctionName=name)
    caller.join()
    assert answers == ["done"]
    spare = 8  # stem cells of the runtime
    eventually(lambda: len(_alive(family)) <= spare, "the snapshot has ended", 10)

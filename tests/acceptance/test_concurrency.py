"""How many run at once and in which environments: scaling out, re-use, limits, freezing, reaping, retiring, and events."""

import concurrent.futures
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conftest import Functions, Lambdad, eventually, zipped  # type: ignore[import-not-found]

WHO = (
    "import os, time\nkey = os.urandom(8).hex()\ncount = 0\n"
    "def handler(event, context):\n    global count\n    count += 1\n    time.sleep((event or {}).get('sleep', 0))\n"
    "    return {'key': key, 'count': count, 'stream': context.log_stream_name, 'at': time.time()}\n"
)


def at_once(functions: Functions, name: str, event: Any, times: int, **options: Any) -> list[dict[str, Any]]:
    """Invoke a function so many times at once; return what each gave, or the error that it raised."""

    def one(_: int) -> dict[str, Any]:
        try:
            return functions.invoke(name, event, **options)
        except ClientError as error:
            return {"error": error.response}

    with concurrent.futures.ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


def processes(marker: str) -> list[int]:
    """Return the processes of this machine that carry a marker among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass
    return found


def test_as_many_environments_as_invocations(functions: Functions):
    """Eight at once run in eight environments, each with a log stream of its own; afterwards the warm ones serve."""
    name = functions.deploy(WHO, Timeout=20)
    began_s = time.monotonic()
    answers = [answer["Payload"] for answer in at_once(functions, name, {"sleep": 0.3}, 8)]
    assert time.monotonic() - began_s < 0.3 * 8
    assert len({answer["key"] for answer in answers}) == 8 and len({answer["stream"] for answer in answers}) == 8
    assert {answer["count"] for answer in answers} == {1}
    again = [answer["Payload"] for answer in at_once(functions, name, {"sleep": 0.3}, 8)]
    assert {answer["key"] for answer in again} == {answer["key"] for answer in answers} and {answer["count"] for answer in again} == {2}
    functions.log_lines(name, count=16)
    streams = functions.logs.describe_log_streams(logGroupName=f"/aws/lambda/{name}")["logStreams"]
    assert {stream["logStreamName"] for stream in streams} == {answer["stream"] for answer in answers}


def test_the_one_used_last_is_used_first(functions: Functions):
    """Of several idle environments the most recently used one serves, again and again."""
    name = functions.deploy(WHO, Timeout=20)
    at_once(functions, name, {"sleep": 0.3}, 4)
    keys = [functions.invoke(name, {})["Payload"]["key"] for _ in range(6)]
    assert len(set(keys)) == 1


def test_reserved_concurrency(functions: Functions):
    """Of six at once two run and four are throttled with AWS's error; when the limit is gone all run; at zero none."""
    name = functions.deploy(WHO, Timeout=20)
    functions.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    answers = at_once(functions, name, {"sleep": 0.5}, 6)
    refused = [answer["error"] for answer in answers if "error" in answer]
    assert len(refused) == 4
    for error in refused:
        assert error["Error"]["Code"] == "TooManyRequestsException" and error["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert error["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded" and error["Error"]["Message"] == "Rate Exceeded."
    assert len([answer for answer in at_once(functions, name, {}, 2) if "error" not in answer]) == 2
    functions.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    assert all("error" in answer for answer in at_once(functions, name, {}, 3))
    functions.client.delete_function_concurrency(FunctionName=name)
    assert not [answer for answer in at_once(functions, name, {"sleep": 0.2}, 6) if "error" in answer]


def test_the_accounts_limit(own_lambdad: Callable[..., Lambdad]):
    """Beyond the account's concurrency nothing runs; a place is free as soon as an invocation has ended, however it ended."""
    running = own_lambdad(environment={"LAMBDAD_ACCOUNT_CONCURRENCY": "3"})
    functions = Functions(running, "limit")
    name = functions.deploy(WHO.replace("    return", "    if event.get('die'): os._exit(1)\n    return"), Timeout=1)
    answers = at_once(functions, name, {"sleep": 0.5}, 7)
    refused = [answer["error"] for answer in answers if "error" in answer]
    assert len(refused) == 4 and {error["Reason"] for error in refused} == {"ConcurrentInvocationLimitExceeded"}
    for event in ({"die": 1}, {"sleep": 5}, {}):
        assert not [answer for answer in at_once(functions, name, event, 3) if "error" in answer]


def test_as_many_environments_as_the_worker_holds(own_lambdad: Callable[..., Lambdad]):
    """Where the worker is full, the environment that is worth least gives way; busy ones do not, and nobody waits where waiting is off."""
    running = own_lambdad(environment={"LAMBDAD_MAX_ENVIRONMENTS": "2", "LAMBDAD_CAPACITY_WAIT_S": "0"})
    functions = Functions(running, "full")
    names = [functions.deploy(WHO, Timeout=20) for _ in range(3)]
    keys = [functions.invoke(name, {})["Payload"]["key"] for name in names]
    assert sum(running.health()["environments"].values()) <= 2
    assert functions.invoke(names[2], {})["Payload"]["key"] == keys[2]
    assert [functions.invoke(name, {})["Payload"]["key"] for name in names[:2]] != keys[:2]
    answers = at_once(functions, names[0], {"sleep": 0.5}, 4)
    assert sum("error" not in answer for answer in answers) == 2
    assert {answer["error"]["Error"]["Code"] for answer in answers if "error" in answer} == {"TooManyRequestsException"}


def test_freezing_and_reaping(own_lambdad: Callable[..., Lambdad]):
    """An idle environment is frozen, thaws when it is needed, and is ended when it has been idle for long, with its processes."""
    running = own_lambdad(environment={"LAMBDAD_FREEZE_AFTER_S": "0.2", "LAMBDAD_KEEP_ALIVE_S": "1.5", "LAMBDAD_SPARE_ENVIRONMENTS": "0"})
    functions = Functions(running, "idle")
    marker = f"idle-{os.urandom(6).hex()}"
    name = functions.deploy(
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)', '{marker}'])\n" + WHO,
        MemorySize=512,
    )
    first = functions.invoke(name, {})["Payload"]
    (child,) = processes(marker)
    eventually(lambda: _is_frozen(child), "the child is frozen")
    assert functions.invoke(name, {})["Payload"]["key"] == first["key"]
    assert not _is_frozen(child)
    eventually(lambda: not processes(marker), "its processes are gone")
    eventually(lambda: sum(running.health()["environments"].values()) == 0, "its environment is gone")
    assert functions.invoke(name, {})["Payload"]["key"] != first["key"]


def _is_frozen(pid: int) -> bool:
    """Say whether a process is held by a freezer (version 1 says so in its state file, version 2 in its events), or stopped."""
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return True
        groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        for line in groups:
            _, controllers, path = line.split(":", 2)
            if controllers == "freezer":
                return Path(f"/sys/fs/cgroup/freezer{path}/freezer.state").read_text().strip() == "FROZEN"
        for line in groups:
            events = Path(f"/sys/fs/cgroup{line.split(':', 2)[2]}/cgroup.events")
            if line.startswith("0::") and events.exists() and "frozen 1" in events.read_text():
                return True
    except OSError:
        pass
    return False


def test_new_code_retires_old_environments(functions: Functions):
    """After an update no invocation sees the old code, and idle environments of it end; one that is busy ends its invocation first."""
    marker = f"old-{os.urandom(6).hex()}"
    old = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)', '{marker}'])\n" + WHO
    name = functions.deploy(old, Timeout=20, MemorySize=512)
    functions.invoke(name, {})
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        busy = pool.submit(functions.invoke, name, {"sleep": 1.0})
        functions.log_lines(name, until="START", count=2)
        at_once(functions, name, {"sleep": 0.1}, 2)
        functions.client.update_function_code(
            FunctionName=name, ZipFile=zipped({"app.py": "def handler(event, context):\n    return 'new'\n"})
        )
        functions.settle(name)
        assert functions.invoke(name, {})["Payload"] == "new"
        assert "key" in busy.result()["Payload"]
    eventually(lambda: not processes(marker), "its processes are gone")
    assert functions.invoke(name, {})["Payload"] == "new"


def test_new_configuration_retires_old_environments(functions: Functions):
    """Variables of an update are there at the next invocation; a published version keeps its own."""
    name = functions.deploy(
        "import os\ndef handler(event, context):\n    return os.environ.get('COLOUR')\n", Environment={"Variables": {"COLOUR": "red"}}
    )
    assert functions.invoke(name)["Payload"] == "red"
    version = functions.client.publish_version(FunctionName=name)["Version"]
    assert functions.invoke(name, Qualifier=version)["Payload"] == "red"
    functions.client.update_function_configuration(FunctionName=name, Environment={"Variables": {"COLOUR": "blue"}})
    functions.settle(name)
    assert functions.invoke(name)["Payload"] == "blue"
    answer = functions.invoke(name, Qualifier=version)
    assert answer["Payload"] == "red" and answer["ExecutedVersion"] == version


def test_deleting_a_function_ends_its_environments(functions: Functions):
    """After DeleteFunction nothing of its environments is left, and it is not found."""
    marker = f"gone-{os.urandom(6).hex()}"
    name = functions.deploy(
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)', '{marker}'])\n" + WHO,
        Timeout=20,
        MemorySize=512,
    )
    at_once(functions, name, {"sleep": 0.3}, 3)
    assert len(processes(marker)) == 3
    functions.client.delete_function(FunctionName=name)
    eventually(lambda: not processes(marker), "its processes are gone")
    with pytest.raises(functions.client.exceptions.ResourceNotFoundException):
        functions.invoke(name, {})


def test_events(functions: Functions):
    """Event invocations are answered 202 at once and run: each writes its line, each under the request id of its 202."""
    name = functions.deploy("def handler(event, context):\n    print('event', event['n'], context.aws_request_id)\n")
    ids = {}
    for n in range(20):
        answer = functions.client.invoke(FunctionName=name, InvocationType="Event", Payload=f'{{"n": {n}}}')
        assert answer["StatusCode"] == 202 and answer["Payload"].read() == b"" and "ExecutedVersion" not in answer
        ids[n] = answer["ResponseMetadata"]["RequestId"]
    lines = [line for line in functions.log_lines(name, count=20) if line.startswith("event")]
    assert {int(line.split()[1]): line.split()[2] for line in lines} == ids


def test_a_failing_event_waits_for_its_second_attempt(functions: Functions):
    """A failed event is not run again at once, and is in nobody's way meanwhile."""
    name = functions.deploy("def handler(event, context):\n    print('tried', event)\n    raise ValueError(event)\n")
    functions.client.invoke(FunctionName=name, InvocationType="Event", Payload='"event"')
    functions.log_lines(name)
    for n in range(3):
        assert functions.invoke(name, n)["Payload"]["errorMessage"] == str(n)
    tried = [line for line in functions.log_lines(name, count=4) if line.startswith("tried")]
    assert tried == ["tried event", "tried 0", "tried 1", "tried 2"]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_second_attempt_has_the_same_request_id(functions: Functions):
    """After a minute the event is tried again, under its request id."""
    name = functions.deploy("def handler(event, context):\n    print('tried', context.aws_request_id)\n    raise ValueError(event)\n")
    answer = functions.client.invoke(FunctionName=name, InvocationType="Event", Payload='"x"')
    lines = eventually(
        lambda: [line for line in functions.log_lines(name) if line.startswith("tried")][1:], "a second attempt", within_s=75
    )
    assert lines == [f"tried {answer['ResponseMetadata']['RequestId']}"]


def test_throttled_events_wait(functions: Functions):
    """Events beyond the reservation are not lost and not failed: they run as soon as there is room."""
    name = functions.deploy("import time\ndef handler(event, context):\n    time.sleep(0.1)\n    print('ran', event)\n", Timeout=10)
    functions.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    for n in range(3):
        functions.client.invoke(FunctionName=name, InvocationType="Event", Payload=str(n))
    lines = eventually(
        lambda: (found := [line for line in functions.log_lines(name) if line.startswith("ran")])[2:] and found, "three runs"
    )
    assert sorted(lines) == ["ran 0", "ran 1", "ran 2"]


def test_a_caller_that_goes_away(functions: Functions, lambdad: Lambdad):
    """The invocation of a caller that hangs up goes on, is counted until it ends, and leaves its place free then."""
    import socket

    name = functions.deploy(WHO, Timeout=20)
    functions.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    key = functions.invoke(name, {})["Payload"]["key"]
    host, _, port = lambdad.url.rpartition("/")[2].rpartition(":")
    with socket.create_connection((host, int(port))) as sock:
        body = b'{"sleep": 0.6}'
        scope = "Credential=test/20260101/us-east-1/lambda/aws4_request"
        sock.sendall(
            f"POST /2015-03-31/functions/{name}/invocations HTTP/1.1\r\nhost: x\r\n"
            f"authorization: AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        functions.log_lines(name, until="START", count=2)
    with pytest.raises(ClientError, match="Rate Exceeded"):
        functions.invoke(name, {})
    functions.log_lines(name, count=2)
    assert functions.invoke(name, {})["Payload"] == {
        **functions.invoke(name, {})["Payload"],
        "key": key,
        "count": 3,
        "at": pytest.approx(time.time(), abs=5),
    }

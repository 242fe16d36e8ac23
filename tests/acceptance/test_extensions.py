"""Extensions in layers, and from within the function: told of invocations, waited for, and heard out at the end."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Functions, Lambdad, eventually, zipped  # type: ignore[import-not-found]

SYSTEM_PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
pytestmark = pytest.mark.skipif(SYSTEM_PYTHON is None, reason="the system has no python3")

# The beginning of an external extension, as AWS documents it.
EXTENSION = """#!/usr/bin/env python3
import http.client, json, os, sys, threading, time, signal
HOST, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
NAME = os.path.basename(__file__)
def call(method, path, body=None, **headers):
    connection = http.client.HTTPConnection(HOST, int(PORT))
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return response.status, response.read(), response.headers
API = "/2020-01-01/extension/"
def register(*events, name=NAME, **headers):
    status, body, answer = call("POST", API + "register", json.dumps({"events": events}), Lambda_Extension_Name=name, **headers)
    assert status == 200, body
    return answer["Lambda-Extension-Identifier"]
def following(identifier):
    status, body, headers = call("GET", API + "event/next", Lambda_Extension_Identifier=identifier)
    assert status == 200 and headers["Lambda-Extension-Event-Identifier"], body
    return json.loads(body)
def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()
"""

SHARED = """
import json, os
def handler(event, context):
    print("handling", event)
    return [event, context.aws_request_id, os.getpid()]
"""


@pytest.fixture
def layer(functions: Functions) -> Callable[..., str]:
    """Publish a layer whose /opt/extensions has these files, each the rest of a Python program, or bytes."""
    made: list[str] = []

    def publish(files: dict[str, str | bytes], **options: Any) -> str:
        made.append(published(functions, files, **options))
        return made[-1]

    yield publish  # type: ignore[misc]
    for arn in made:
        name, _, version = arn.rpartition(":")
        functions.client.delete_layer_version(LayerName=name, VersionNumber=int(version))


def published(
    functions: Functions, files: dict[str, str | bytes], *, mode: int = 0o755, others: dict[str, str | bytes] | None = None
) -> str:
    """Publish a layer as the fixture `layer` does, and leave it there."""
    paths = {f"extensions/{name}": EXTENSION + rest if isinstance(rest, str) else rest for name, rest in files.items()}
    content = zipped({**paths, **(others or {})}, dict.fromkeys(paths, mode))
    answer = functions.client.publish_layer_version(LayerName=f"ext-{os.urandom(4).hex()}", Content={"ZipFile": content})
    return str(answer["LayerVersionArn"])


def lines_until(functions: Functions, name: str, text: str, within_s: float = 40.0) -> list[str]:
    """Return the function's log once it has a line with a text."""
    seen: list[str] = []

    def there() -> bool:
        try:
            events = functions.logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
        except functions.logs.exceptions.ResourceNotFoundException:
            events = []
        seen[:] = [event["message"].removesuffix("\n") for event in events]
        return any(text in line for line in seen)

    try:
        eventually(there, text, within_s)
    except AssertionError as error:
        raise AssertionError(f"no {text!r} in {seen}") from error
    return seen


def report_of(lines: list[str], number: int = -1) -> dict[str, str]:
    """Return the fields of one of the REPORT lines."""
    report = [line for line in lines if line.startswith("REPORT")][number]
    return dict(field.split(": ", 1) for field in report.split("\t") if ": " in field)


def test_an_external_extension(functions: Functions, layer: Callable[..., str]):
    """It starts before the runtime, hears of each invocation, is waited for, sees what AWS lets it see, and has time to say goodbye."""
    arn = layer({
        "observer": """
identifier = register("INVOKE", "SHUTDOWN", Lambda_Extension_Accept_Feature="accountId")
say("ext env", sorted(set(os.environ) & {"_HANDLER", "LAMBDA_TASK_ROOT", "AWS_LAMBDA_FUNCTION_NAME", "AWS_REGION", "MINE"}))
while True:
    event = following(identifier)
    say("ext got", json.dumps(event))
    if event["eventType"] == "SHUTDOWN":
        open("/tmp/gone", "w").close()
        say("ext bye", round(event["deadlineMs"] / 1000 - time.time(), 1))
        sys.exit(0)
    time.sleep(0.4)
    say("ext done")
"""
    })  # fmt: skip
    name = functions.deploy(SHARED, Layers=[arn], Environment={"Variables": {"MINE": "1"}}, Timeout=10)
    first = functions.invoke(name, 1)
    request_id = first["ResponseMetadata"]["RequestId"]
    assert first["Payload"][:2] == [1, request_id]
    second = functions.invoke(name, 2)
    assert second["Payload"][2] == first["Payload"][2], "the same environment"
    lines = functions.log_lines(name, count=2)
    kinds = [line.split(" ")[0].split("\t")[0] for line in lines if not line.startswith("[lambdad")]
    assert kinds.index("INIT_START") < kinds.index("EXTENSION") < kinds.index("START") < kinds.index("END") < kinds.index("REPORT")
    assert "EXTENSION\tName: observer\tState: Ready\tEvents: [INVOKE, SHUTDOWN]" in lines
    assert "ext env ['AWS_LAMBDA_FUNCTION_NAME', 'AWS_REGION', 'MINE']" in lines
    told = json.loads(next(line for line in lines if line.startswith("ext got")).removeprefix("ext got "))
    assert told["requestId"] == request_id and told["eventType"] == "INVOKE" and told["invokedFunctionArn"].endswith(name)
    assert told["tracing"]["type"] == "X-Amzn-Trace-Id" and told["deadlineMs"] > time.time() * 1000
    assert lines.index("ext done") < lines.index(f"END RequestId: {request_id}")
    assert float(report_of(lines, 0)["Duration"].removesuffix(" ms")) > 400
    functions.client.delete_function(FunctionName=name)
    lines = lines_until(functions, name, "ext bye")
    told = json.loads([line for line in lines if line.startswith("ext got")][-1].removeprefix("ext got "))
    assert (told["eventType"], told["shutdownReason"]) == ("SHUTDOWN", "spindown")
    assert 0.0 < float(next(line for line in lines if line.startswith("ext bye")).removeprefix("ext bye ")) <= 2.0


@pytest.mark.slow
def test_the_answer_does_not_wait(functions: Functions, layer: Callable[..., str]):
    """The caller has the answer while the extension is at work; one who asks for the log's tail waits for its end."""
    arn = layer({
        "slow": """
identifier = register("INVOKE")
while following(identifier):
    time.sleep(4)
"""
    })  # fmt: skip
    name = functions.deploy(SHARED, Layers=[arn], Timeout=30)
    functions.invoke(name, 0)
    lines_until(functions, name, "REPORT")
    began = time.monotonic()
    functions.invoke(name, 1)
    assert time.monotonic() - began < 4
    answer = functions.invoke(name, 2, LogType="Tail")
    assert "REPORT RequestId" in answer["LogResult"] and time.monotonic() - began > 4


def test_concurrency_counts_until_all_are_done(functions: Functions, layer: Callable[..., str]):
    """An environment whose extension is at work takes no invocation, and counts."""
    arn = layer({"slow": "identifier = register('INVOKE')\nwhile following(identifier):\n    time.sleep(3)\n"})
    name = functions.deploy(SHARED, Layers=[arn], Timeout=10)
    functions.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    functions.invoke(name, 0)
    with pytest.raises(functions.client.exceptions.TooManyRequestsException):
        functions.invoke(name, 1)
    lines_until(functions, name, "REPORT")
    eventually(lambda: throttle_is_over(functions, name), "room for an invocation")


def throttle_is_over(functions: Functions, name: str, event: object = 3) -> bool:
    """Invoke a function, and say whether that was possible."""
    try:
        functions.invoke(name, event)
    except functions.client.exceptions.TooManyRequestsException:
        return False
    return True


def test_an_internal_extension(functions: Functions):
    """A thread of the function registers in Init, is told of invocations, and may not ask for SHUTDOWN or come late."""
    source = (
        EXTENSION.partition("\n")[2].replace("NAME = os.path.basename(__file__)", "NAME = 'inner'")
        + """
refused = call("POST", API + "register", '{"events": ["SHUTDOWN"]}', Lambda_Extension_Name="x")
identifier = register("INVOKE", name="inner")
heard = []
def work():
    while True:
        heard.append(following(identifier)["requestId"])
threading.Thread(target=work, daemon=True).start()
def handler(event, context):
    late = call("POST", API + "register", '{"events": []}', Lambda_Extension_Name="late")
    for _ in range(1000):
        if context.aws_request_id in heard:
            break
        time.sleep(0.002)
    return [json.loads(refused[1])["errorType"], json.loads(late[1])["errorType"], heard, context.aws_request_id]
"""
    )
    name = functions.deploy(source)
    functions.invoke(name)
    closed, late, heard, request_id = functions.invoke(name)["Payload"]
    assert (closed, late) == ("Extension.InvalidEventType", "Extension.RegistrationClosed")
    assert heard[-1] == request_id and len(heard) == 2
    assert "EXTENSION\tName: inner\tState: Ready\tEvents: [INVOKE]" in functions.log_lines(name)


def failure(functions: Functions, name: str) -> tuple[str, str]:
    answer = functions.invoke(name)
    assert answer["FunctionError"] == "Unhandled"
    payload = answer["Payload"]
    request_id = answer["ResponseMetadata"]["RequestId"]
    return payload["errorType"], payload["errorMessage"].replace(request_id, "ID")


@pytest.mark.parametrize(
    ("rest", "error_type", "text", "state"),
    [
        ("sys.exit(3)", "Extension.Crash", "exit status 3", "State: Exited\tEvents: []\tError Type: Extension.Crash"),
        (
            "i = register('INVOKE')\n"
            "print(call('POST', API + 'init/error', '{}', Lambda_Extension_Identifier=i, Lambda_Extension_Function_Error_Type="
            "'Extension.NoConfig'))\nsys.exit(1)",
            "Extension.InitError",
            "exit status 1",
            "State: InitError\tEvents: [INVOKE]\tError Type: Extension.NoConfig",
        ),
    ],
)
def test_extensions_that_fail_in_init(functions: Functions, layer: Callable[..., str], rest: str, error_type: str, text: str, state: str):
    """Init is tried again within the invocation, and then its error is the answer."""
    name = functions.deploy(SHARED, Layers=[layer({"bad": rest})])
    assert failure(functions, name) == (error_type, f"RequestId: ID Error: {text}")
    lines = functions.log_lines(name)
    assert f"EXTENSION\tName: bad\t{state}" in lines
    assert [line.partition("Phase: ")[2] for line in lines if line.startswith("INIT_REPORT")] == [
        f"init\tStatus: error\tError Type: {error_type}",
        f"invoke\tStatus: error\tError Type: {error_type}",
    ]
    assert f"Status: error\tError Type: {error_type}" in lines[-1]


def test_extensions_that_cannot_be_started(functions: Functions, layer: Callable[..., str]):
    """A file that may not be executed, one that is no program, and an eleventh."""
    name = functions.deploy(SHARED, Layers=[layer({"flat": "pass"}, mode=0o644)])
    assert failure(functions, name) == (
        "Extension.LaunchError",
        "RequestId: ID Error: fork/exec /opt/extensions/flat: permission denied",
    )
    assert "EXTENSION\tName: flat\tState: LaunchError\tEvents: []\tError Type: PermissionDenied" in functions.log_lines(name)
    name = functions.deploy(SHARED, Layers=[layer({"text": b"no program\n"})])
    assert failure(functions, name)[0] == "Extension.LaunchError"
    name = functions.deploy(SHARED, Layers=[layer({f"e{number:02}": "register()" for number in range(11)})])
    assert failure(functions, name) == ("TooManyExtensions", "RequestId: ID Error: Extension limit (10) reached")


def test_nothing_below_a_directory_and_nothing_with_the_switch(functions: Functions, layer: Callable[..., str]):
    """Directories are not looked into; a layer with the kill switch has none of them started."""
    name = functions.deploy(SHARED, Layers=[layer({"deep/one": "sys.exit(1)"})])
    assert functions.invoke(name, 1)["Payload"][0] == 1
    arn = layer({"bad": "sys.exit(1)"}, others={"disable-extensions-jwigqn8j": ""})
    assert functions.invoke(functions.deploy(SHARED, Layers=[arn]), 1)["Payload"][0] == 1


@pytest.mark.slow
def test_one_that_never_registers(functions: Functions, layer: Callable[..., str]):
    """Init takes its ten seconds, and then the function's timeout."""
    name = functions.deploy(SHARED, Layers=[layer({"dumb": "time.sleep(60)"})], Timeout=1)
    assert failure(functions, name) == ("Sandbox.Timedout", "RequestId: ID Error: Task timed out after 1.00 seconds")
    lines = functions.log_lines(name)
    assert "EXTENSION\tName: dumb\tState: Started\tEvents: []" in lines
    assert any("Phase: init\tStatus: timeout" in line and line.startswith("INIT_REPORT Init Duration: 10") for line in lines)


def test_a_crash_in_an_invocation_and_life_after_it(functions: Functions, layer: Callable[..., str]):
    """The invocation fails with Extension.Crash; the next one has new processes, and /tmp as it was."""
    arn = layer({
        "moody": """
identifier = register("INVOKE")
while following(identifier):
    if not os.path.exists("/tmp/crashed"):
        open("/tmp/crashed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
""",
        "witness": """
identifier = register("INVOKE", "SHUTDOWN")
while True:
    event = following(identifier)
    if event["eventType"] == "SHUTDOWN":
        say("reason", event["shutdownReason"])
        sys.exit(0)
""",
    })  # fmt: skip
    name = functions.deploy("import os, time\ndef handler(e, c):\n    time.sleep(e or 0)\n    return os.path.exists('/tmp/crashed')\n",
                            Layers=[arn], Timeout=20)  # fmt: skip
    answer = functions.invoke(name, 10)
    assert answer["Payload"]["errorType"] == "Extension.Crash" and answer["Payload"]["errorMessage"].endswith("Error: signal: killed")
    assert functions.invoke(name, 0)["Payload"] is True
    lines = functions.log_lines(name, count=2)
    assert "reason failure" in lines and report_of(lines, 0)["Error Type"] == "Extension.Crash"


def test_a_timeout_is_told(functions: Functions, layer: Callable[..., str]):
    """Extensions hear `timeout` once the runtime is gone, and start anew with it."""
    arn = layer({
        "witness": """
identifier = register("SHUTDOWN")
event = following(identifier)
say("reason", event["shutdownReason"], round(event["deadlineMs"] / 1000 - time.time(), 1))
"""
    })  # fmt: skip
    name = functions.deploy("import time\ndef handler(e, c):\n    time.sleep(e)\n    return e\n", Layers=[arn], Timeout=1)
    assert functions.invoke(name, 5)["Payload"]["errorType"] == "Sandbox.Timedout"
    lines_until(functions, name, "reason timeout")
    assert functions.invoke(name, 0)["Payload"] == 0
    assert sum("State: Ready" in line for line in functions.log_lines(name, count=2)) == 2


def test_the_tail_has_the_functions_timeout(functions: Functions, layer: Callable[..., str]):
    """An extension that never comes back costs the invocation its good report, not its answer."""
    name = functions.deploy(SHARED, Layers=[layer({"stuck": "i = register('INVOKE')\nfollowing(i)\ntime.sleep(60)\n"})], Timeout=2)
    assert functions.invoke(name, 7)["Payload"][0] == 7
    report = report_of(functions.log_lines(name))
    assert report["Duration"] == "2000.00 ms" and report["Status"] == "timeout"
    assert functions.invoke(name, 8)["Payload"][0] == 8


def test_out_of_memory_starts_extensions_anew(functions: Functions, layer: Callable[..., str], fenced: None):
    """When the kernel ends the runtime, the extensions go through the same reset."""
    name = functions.deploy("def handler(e, c):\n    return len('x' * (e << 20))\n", MemorySize=128,
                            Layers=[layer({"fine": "i = register('INVOKE')\nwhile following(i): pass\n"})], Timeout=20)  # fmt: skip
    assert "FunctionError" in functions.invoke(name, 4000)
    assert functions.invoke(name, 1)["Payload"] == 1 << 20
    assert sum("Name: fine\tState: Ready" in line for line in functions.log_lines(name, count=2)) == 2


def test_what_is_refused(functions: Functions, layer: Callable[..., str]):
    """Each wrong call has AWS's answer, and harms nobody."""
    arn = layer({
        "odd": """
def refusal(method, path, body=None, **headers):
    status, body, _ = call(method, path, body, **headers)
    return [status, json.loads(body).get("errorType")]
NO = "00000000-0000-4000-8000-000000000000"
said = [
    refusal("POST", API + "register", "{}"),
    refusal("POST", API + "register", "{", Lambda_Extension_Name=NAME),
    refusal("POST", API + "register", "[" * 50000, Lambda_Extension_Name=NAME),
    refusal("POST", API + "register", "x" * 7000000, Lambda_Extension_Name=NAME),
    refusal("POST", API + "register", '{"events": ["OTHER"]}', Lambda_Extension_Name=NAME),
    refusal("GET", API + "event/next"),
    refusal("GET", API + "event/next", Lambda_Extension_Identifier="x"),
    refusal("GET", API + "event/next", Lambda_Extension_Identifier=NO),
]
identifier = register("INVOKE")
said += [
    refusal("POST", API + "register", "{}", Lambda_Extension_Name=NAME),
    refusal("POST", API + "init/error", "{}", Lambda_Extension_Identifier=identifier),
    refusal("PUT", "/2022-07-01/telemetry", "{}", Lambda_Extension_Identifier=identifier),
    refusal("PUT", "/2022-07-01/telemetry", "{}", Lambda_Extension_Identifier=NO),
    refusal("DELETE", API + "register"),
]
following(identifier)
say(json.dumps(said))
say(json.dumps(refusal("PUT", "/2022-07-01/telemetry", '{"types": ["platform"], "destination": {"protocol": "TCP", "port": 8080}}',
    Lambda_Extension_Identifier=identifier)))
following(identifier)
"""
    })  # fmt: skip
    name = functions.deploy(SHARED, Layers=[arn])
    functions.invoke(name)
    said = [json.loads(line) for line in functions.log_lines(name) if line.startswith("[")]
    assert said[0] == [
        [403, "Extension.InvalidExtensionName"],
        [403, "InvalidRequestFormat"],
        [403, "InvalidRequestFormat"],
        [403, "InvalidRequestFormat"],
        [403, "Extension.InvalidEventType"],
        [403, "Extension.MissingExtensionIdentifier"],
        [403, "Extension.InvalidExtensionIdentifier"],
        [403, "Extension.UnknownExtensionIdentifier"],
        [403, "Extension.InvalidExtensionState"],
        [403, "Extension.MissingHeader"],
        [400, "ValidationError"],
        [403, "Extension.UnknownExtensionIdentifier"],
        [404, "NotFound"],
    ]
    assert said[1] == [403, "Telemetry.SubscriptionClosed"]


def test_one_that_floods(functions: Functions, layer: Callable[..., str]):
    """Its lines are dropped when too many; the function answers as ever."""
    shout = "lambda: [os.write(1, b'x' * 100 + b'\\n' * 2) for _ in range(1 << 20)]"
    loop = f"threading.Thread(target={shout}, daemon=True).start()\nwhile following(i): pass\n"
    arn = layer({"loud": f"i = register('INVOKE')\n{loop}"})
    name = functions.deploy(SHARED, Layers=[arn], Timeout=20)
    for number in range(5):
        assert functions.invoke(name, number)["Payload"][0] == number


@pytest.mark.slow
def test_lambdad_stops_in_time(own_lambdad: Callable[..., Lambdad]):
    """An extension that will not go has its two seconds, and not more; nothing of it is left."""
    running = own_lambdad()
    functions = Functions(running, "stubborn")
    arn = published(functions, {"stubborn": "i = register('SHUTDOWN')\nwhile True:\n    following(i)\n    say('still here')\n"})
    name = functions.deploy(SHARED, Layers=[arn])
    functions.invoke(name)
    began = time.monotonic()
    assert running.stop() == 0
    assert 1.0 < time.monotonic() - began < 30
    assert not pids_of("/opt/extensions/stubborn")


def pids_of(word: str) -> list[int]:
    """Return the processes with a word in their command lines."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            if word.encode() in Path(f"/proc/{int(entry)}/cmdline").read_bytes():
                found.append(int(entry))
    return found


@pytest.mark.slow
def test_a_killed_worker_leaves_no_extension(own_lambdad: Callable[..., Lambdad]):
    """Extensions die with the worker that held them; the next worker starts them anew."""
    running = own_lambdad()
    functions = Functions(running, "killed")
    arn = published(functions, {"held": "i = register('INVOKE')\nwhile following(i): pass\n"})
    name = functions.deploy(SHARED, Layers=[arn])
    functions.invoke(name)
    assert len(pids_of("/opt/extensions/held")) == 1
    os.kill(running.pids()["worker"], signal.SIGKILL)
    eventually(lambda: not pids_of("/opt/extensions/held"), "the end of the extension")

    def is_answered() -> bool:
        """Invoke; what is given to the dead worker before the server has noticed its death may have run, and so is an error."""
        try:
            return "Payload" in functions.invoke(name, 5)
        except functions.client.exceptions.ServiceException:
            return False

    assert eventually(is_answered, "another worker")
    assert len(pids_of("/opt/extensions/held")) == 1


@pytest.mark.slow
def test_without_a_fence(own_lambdad: Callable[..., Lambdad]):
    """Extensions run as plain processes too, and hear of invocations and of the end."""
    functions = Functions(own_lambdad(environment={"LAMBDAD_ISOLATION": "plain"}), "plain")
    rest = "i = register('INVOKE', 'SHUTDOWN')\nwhile True:\n    e = following(i)\n    say('heard', e['eventType'])\n"
    rest += "    if e['eventType'] == 'SHUTDOWN': sys.exit()\n"
    name = functions.deploy(SHARED, Layers=[published(functions, {"plainly": rest})])
    assert functions.invoke(name, 5)["Payload"][0] == 5
    lines_until(functions, name, "heard INVOKE")
    functions.client.delete_function(FunctionName=name)
    lines_until(functions, name, "heard SHUTDOWN")


@pytest.mark.slow
def test_a_static_program(functions: Functions, layer: Callable[..., str], tmp_path: Path):
    """An extension in Go, linked statically, with nothing but the standard library."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        pytest.skip("there is no Go compiler")
    (tmp_path / "main.go").write_text(GO_EXTENSION)
    (tmp_path / "go.mod").write_text("module observer\n\ngo 1.18\n")
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    subprocess.run([go, "build", "-o", "observer", "."], cwd=tmp_path, env=home, check=True, timeout=110)
    name = functions.deploy(SHARED, Layers=[layer({"observer": (tmp_path / "observer").read_bytes()})])
    request_id = functions.invoke(name, 1)["ResponseMetadata"]["RequestId"]
    assert f"go heard INVOKE {request_id}" in lines_until(functions, name, "REPORT")


GO_EXTENSION = """package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

func main() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2020-01-01/extension"
	request, _ := http.NewRequest("POST", api+"/register", bytes.NewBufferString(`{"events":["INVOKE","SHUTDOWN"]}`))
	request.Header.Set("Lambda-Extension-Name", filepath.Base(os.Args[0]))
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != 200 {
		fmt.Println("not registered", err)
		os.Exit(1)
	}
	identifier := response.Header.Get("Lambda-Extension-Identifier")
	for {
		request, _ := http.NewRequest("GET", api+"/event/next", nil)
		request.Header.Set("Lambda-Extension-Identifier", identifier)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			os.Exit(1)
		}
		var event struct{ EventType, RequestId string }
		if json.NewDecoder(response.Body).Decode(&event) != nil {
			os.Exit(1)
		}
		response.Body.Close()
		fmt.Println("go heard", event.EventType, event.RequestId)
		if event.EventType == "SHUTDOWN" {
			return
		}
	}
}
"""

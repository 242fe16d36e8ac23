"""Programs that bring their own runtime: AWS's own clients unchanged, and clients that misbehave."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conftest import PYTHON, Functions, zipped  # type: ignore[import-not-found]

PROVIDED = "provided.al2023"
EXECUTABLE = {"bootstrap": 0o755}
PROGRAMS = Path(__file__).parent / "programs"
REPOSITORY = Path(__file__).parents[2]
GO = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
CARGO = shutil.which("cargo")
SYSTEM_PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
SAME_PYTHON = shutil.which(PYTHON, path="/usr/local/bin:/usr/bin:/bin")

# The beginning of a runtime of ours in Python: it says to the Runtime API exactly what a test wants it to say.
CLIENT = """#!/usr/bin/env python3
import http.client, json, os, socket, sys, time
HOST, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
API = "/2018-06-01/runtime/"
def dial():
    return http.client.HTTPConnection(HOST, int(PORT), timeout=20)
usual = dial()
def call(method, path, body=None, headers={}, connection=usual):
    connection.request(method, path if path.startswith("/") else API + path, body, headers)
    response = connection.getresponse()
    return response.status, response.read(), response.headers
def following():
    status, body, headers = call("GET", "invocation/next")
    return headers["Lambda-Runtime-Aws-Request-Id"], json.loads(body), headers
def answer(request_id, value):
    return call("POST", f"invocation/{request_id}/response", json.dumps(value).encode())
def refusal(*words, **options):
    status, body, _ = call(*words, **options)
    return [status, json.loads(body)["errorType"]]
def raw(*pieces):
    with socket.create_connection((HOST, int(PORT)), timeout=10) as sock:
        try:
            for piece in pieces:
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        data = b""
        try:
            while more := sock.recv(65536):
                data += more
        except OSError:
            pass
        return data[:12].decode("latin-1")
"""
needs_system_python = pytest.mark.skipif(SYSTEM_PYTHON is None, reason="the system has no python3")


@pytest.fixture
def neighbour(functions: Functions) -> str:
    """A function that has nothing to do with it, and must not notice anything."""
    name = functions.deploy("def handler(event, context):\n    return ['neighbour', event]\n")
    assert functions.invoke(name, 0)["Payload"] == ["neighbour", 0]
    return name


def deploy(functions: Functions, bootstrap: str | bytes, **options: Any) -> str:
    return functions.deploy({"bootstrap": bootstrap}, modes=EXECUTABLE, runtime=PROVIDED, **options)


def platform_payload(answer: dict[str, Any], error_type: str, text: str) -> dict[str, str]:
    return {"errorType": error_type, "errorMessage": f"RequestId: {answer['ResponseMetadata']['RequestId']} Error: {text}"}


def aws_runtime_client() -> dict[str, str | bytes]:
    """Return the files of awslambdaric and what it needs, as they would lie in a function's zip."""
    files: dict[str, str | bytes] = {}
    for name in ("awslambdaric", "simplejson", "runtime_client", "snapshot_restore_py"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            pytest.skip(f"{name} is not installed")
        path = Path(spec.origin)
        if path.name == "__init__.py":
            inside = [file for file in path.parent.rglob("*") if file.suffix in (".py", ".so")]
            files |= {str(file.relative_to(path.parents[1])): file.read_bytes() for file in inside}
        else:
            files[path.name] = path.read_bytes()
    return files


RIC_HANDLER = (
    "import logging, os\nlogging.getLogger().setLevel('INFO')\n"
    "def handler(event, context):\n"
    "    if event.get('raise'): raise KeyError('lost')\n"
    "    print('printed')\n    logging.info('logged')\n"
    "    return {'event': event, 'id': context.aws_request_id, 'arn': context.invoked_function_arn,\n"
    "            'name': context.function_name, 'left': context.get_remaining_time_in_millis(),\n"
    "            'custom': context.client_context.custom if context.client_context else None,\n"
    "            'execution': os.environ.get('AWS_EXECUTION_ENV'), 'handler': os.environ['_HANDLER'], 'uid': os.getuid()}\n"
)


@pytest.mark.skipif(SAME_PYTHON is None, reason=f"the system has no {PYTHON}")
def test_awss_own_python_client(functions: Functions, fenced: None):
    """awslambdaric from PyPI, with its native module, is a custom runtime as it is."""
    bootstrap = f'#!/bin/sh\nexec {SAME_PYTHON} -m awslambdaric "$_HANDLER"\n'
    files = {**aws_runtime_client(), "app.py": RIC_HANDLER, "bootstrap": bootstrap}
    name = functions.deploy(files, modes=EXECUTABLE, runtime=PROVIDED, Timeout=20, MemorySize=256)
    answer = functions.invoke(name, {"a": "ü"}, LogType="Tail", ClientContext="eyJjdXN0b20iOiB7ImIiOiAiYyJ9fQ==")
    request_id = answer["ResponseMetadata"]["RequestId"]
    payload = answer["Payload"]
    assert 0 < payload.pop("left") <= 20_000 and payload.pop("arn").endswith(f":function:{name}")
    assert payload == {
        "event": {"a": "ü"}, "id": request_id, "name": name, "custom": {"b": "c"}, "execution": None, "handler": "app.handler", "uid": 993
    }  # fmt: skip
    assert "printed\n" in answer["LogResult"] and re.search(rf"\[INFO\]\t\S+Z\t{request_id}\tlogged\n", answer["LogResult"])
    failed = functions.invoke(name, {"raise": 1}, LogType="Tail")
    assert failed["FunctionError"] == "Unhandled"
    assert list(failed["Payload"]) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert (failed["Payload"]["errorType"], failed["Payload"]["errorMessage"]) == ("KeyError", "'lost'")
    assert "[ERROR] KeyError: 'lost'" in failed["LogResult"]
    assert functions.invoke(name, {"n": 3})["Payload"]["event"] == {"n": 3}
    assert "INIT_START Runtime Version: provided:al2023" in functions.log_lines(name)[0]


@pytest.mark.skipif(SAME_PYTHON is None, reason=f"the system has no {PYTHON}")
def test_awss_own_python_client_in_a_layer(functions: Functions, fenced: None):
    """The runtime may come from a layer, as /opt/bootstrap; its import errors are AWS's."""
    bootstrap = f'#!/bin/sh\nPYTHONPATH=/opt exec {SAME_PYTHON} -m awslambdaric "$_HANDLER"\n'
    layer = functions.client.publish_layer_version(
        LayerName="ric", Content={"ZipFile": zipped({**aws_runtime_client(), "bootstrap": bootstrap}, EXECUTABLE)}
    )["LayerVersionArn"]
    name = functions.deploy(RIC_HANDLER, runtime=PROVIDED, Timeout=20, MemorySize=256, Layers=[layer])
    assert functions.invoke(name, {"n": 1})["Payload"]["event"] == {"n": 1}
    name = functions.deploy("import nowhere\n", runtime=PROVIDED, Timeout=20, MemorySize=256, Layers=[layer])
    answer = functions.invoke(name, {})
    assert answer["FunctionError"] == "Unhandled" and answer["Payload"]["errorType"] == "Runtime.ImportModuleError"
    assert answer["Payload"]["errorMessage"] == "Unable to import module 'app': No module named 'nowhere'"


NODE = shutil.which("node", path="/usr/local/bin:/usr/bin:/bin")
NODE_CLIENT = "aws-lambda-ric@3"  # for Node.js 18 and later; 4 wants 22


@pytest.fixture(scope="session")
def node_client(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | bytes]:
    """AWS's client for Node.js from npm, with the native module that npm builds from its sources."""
    missing = [name for name in ("npm", "cmake", "autoreconf", "libtoolize", "g++", "make") if shutil.which(name) is None]
    if missing or NODE is None:
        pytest.skip(f"building AWS's client for Node.js needs {', '.join(missing) or 'Node.js'}")
    place = tmp_path_factory.mktemp("npm")
    built = subprocess.run(["npm", "install", NODE_CLIENT], cwd=place, capture_output=True, text=True)
    if any(word in built.stderr for word in ("ENOTFOUND", "ECONNREFUSED", "EAI_AGAIN", "ETIMEDOUT")):
        pytest.skip("the registry of npm cannot be reached")
    assert built.returncode == 0, built.stderr[-2000:]
    client = place / "node_modules" / "aws-lambda-ric"
    inside = [client / "package.json", *client.glob("bin/*"), *client.glob("dist/*")]
    return {str(file.relative_to(place)): file.read_bytes() for file in inside}


@pytest.mark.node
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_awss_own_node_client(functions: Functions, fenced: None, node_client: dict[str, str | bytes]):
    """aws-lambda-ric from npm, with its native module, runs unchanged: as a custom runtime, and in place of ours on nodejs20.x."""
    source = (
        "exports.handler = async (event, context) => {\n"
        "  if (event.raise) throw new TypeError('lost');\n  console.log('logged');\n"
        "  return { event, id: context.awsRequestId, name: context.functionName, left: context.getRemainingTimeInMillis() };\n};\n"
    )
    command = "node_modules/aws-lambda-ric/bin/index.mjs"
    files = {**node_client, "app.js": source}
    custom = {**files, "bootstrap": f'#!/bin/sh\nexec {NODE} {command} "$_HANDLER"\n'}
    wrapped = {**files, "wrapper": f'#!/bin/sh\nexec "$1" /var/task/{command} "$_HANDLER"\n'}
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"}
    names = [
        functions.deploy(custom, modes=EXECUTABLE, runtime=PROVIDED, Timeout=20, MemorySize=256),
        functions.deploy(
            wrapped, modes={"wrapper": 0o755}, runtime="nodejs20.x", Timeout=20, MemorySize=256, Environment={"Variables": variables}
        ),
    ]
    for name in names:
        answer = functions.invoke(name, {"a": "ü"}, LogType="Tail")
        request_id = answer["ResponseMetadata"]["RequestId"]
        assert 0 < answer["Payload"].pop("left") <= 20_000
        assert answer["Payload"] == {"event": {"a": "ü"}, "id": request_id, "name": name}
        assert re.search(rf"Z\t{request_id}\tINFO\tlogged\n", answer["LogResult"])
        failed = functions.invoke(name, {"raise": 1})
        assert failed["FunctionError"] == "Unhandled" and list(failed["Payload"]) == ["errorType", "errorMessage", "trace"]
        assert (failed["Payload"]["errorType"], failed["Payload"]["errorMessage"]) == ("TypeError", "lost")
        assert functions.invoke(name, {"n": 3})["Payload"]["event"] == {"n": 3}


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A function built with AWS's library for Go."""
    if GO is None:
        pytest.skip("Go is not installed")
    target = tmp_path_factory.mktemp("go") / "bootstrap"
    built = subprocess.run(
        [GO, "build", "-tags", "lambda.norpc", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", str(target), "."],
        cwd=PROGRAMS / "go",
        env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
    )
    if "dial tcp" in built.stderr or "no such host" in built.stderr or "module lookup disabled" in built.stderr:
        pytest.skip("the module proxy cannot be reached")
    assert built.returncode == 0, built.stderr
    return target.read_bytes()


@pytest.mark.go
@pytest.mark.timeout(300)
def test_a_go_program(functions: Functions, go_program: bytes):
    """A program built with aws-lambda-go runs unchanged: answers, errors, panics, exits."""
    name = deploy(functions, go_program, Timeout=10)
    answer = functions.invoke(name, {"name": "Ada"}, LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    payload = answer["Payload"]
    assert (payload["hello"], payload["id"]) == ("Ada", request_id) and payload["arn"].endswith(f":function:{name}")
    assert "\ngot Ada\n" in answer["LogResult"] and "Init Duration" in answer["LogResult"]
    answer = functions.invoke(name, {"name": "Bob", "do": "error"})
    assert answer["FunctionError"] == "Unhandled" and answer["Payload"] == {"errorMessage": "no way", "errorType": "errorString"}
    answer = functions.invoke(name, {"name": "Cy", "do": "panic"})
    assert answer["FunctionError"] == "Unhandled" and answer["Payload"]["errorMessage"] == "help" and answer["Payload"]["stackTrace"]
    answer = functions.invoke(name, {"name": "Di", "do": "exit"})
    assert answer["Payload"] == platform_payload(answer, "Runtime.ExitError", "Runtime exited with error: exit status 3")
    assert functions.invoke(name, {"name": "Eve"})["Payload"]["hello"] == "Eve"


@pytest.mark.go
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_rust_program(functions: Functions, tmp_path: Path):
    """A program built with AWS's lambda_runtime for Rust runs unchanged."""
    if CARGO is None:
        pytest.skip("Rust is not installed")
    command = [CARGO, "build", "--release", "--target-dir", str(tmp_path / "target")]
    built = subprocess.run(command, cwd=PROGRAMS / "rust", capture_output=True, text=True)
    if "failed to download" in built.stderr or "Could not resolve host" in built.stderr:
        pytest.skip("the crate registry cannot be reached")
    assert built.returncode == 0, built.stderr
    name = deploy(functions, (tmp_path / "target/release/bootstrap").read_bytes(), Timeout=10)
    answer = functions.invoke(name, {"name": "Ada"}, LogType="Tail")
    assert answer["Payload"]["hello"] == "Ada" and answer["Payload"]["id"] == answer["ResponseMetadata"]["RequestId"]
    assert '\ngot "Ada"\n' in answer["LogResult"]
    answer = functions.invoke(name, {"do": "error"})
    assert answer["FunctionError"] == "Unhandled" and answer["Payload"]["errorMessage"] == "no way"
    assert functions.invoke(name, {"name": "Eve"})["Payload"]["hello"] == "Eve"


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_c_program(functions: Functions, tmp_path: Path):
    """A client of the Runtime API in eighty lines of C is enough, of any size of payload."""
    subprocess.run(["cc", "-O1", "-o", str(tmp_path / "bootstrap"), str(REPOSITORY / "bench/bootstrap.c")], check=True)
    name = deploy(functions, (tmp_path / "bootstrap").read_bytes())
    for event in (None, 1, {"a": ["ü", None]}, "x" * 900_000):
        assert functions.invoke(name, event)["Payload"] == event


@pytest.mark.skipif(shutil.which("curl", path="/usr/bin:/bin") is None, reason="there is no curl")
def test_a_shell_script(functions: Functions):
    """The runtime of AWS's own tutorial: a shell script with curl, sourcing the function by its handler's name."""
    bootstrap = """#!/bin/bash
set -euo pipefail
source $LAMBDA_TASK_ROOT/"$(echo $_HANDLER | cut -d. -f1).sh"
while true
do
  HEADERS="$(mktemp)"
  EVENT_DATA=$(curl -sS -LD "$HEADERS" "http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/next")
  REQUEST_ID=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$HEADERS" | tr -d '[:space:]' | cut -d: -f2)
  RESPONSE=$($(echo "$_HANDLER" | cut -d. -f2) "$EVENT_DATA")
  curl -sS "http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/$REQUEST_ID/response"  -d "$RESPONSE"
done
"""
    function = 'function handler () {\n  EVENT_DATA=$1\n  echo "$EVENT_DATA" 1>&2;\n'
    function += "  RESPONSE=\"Echoing request: '$EVENT_DATA'\"\n  echo $RESPONSE\n}\n"
    files = {"bootstrap": bootstrap, "function.sh": function}
    name = functions.deploy(files, modes={"bootstrap": 0o755, "function.sh": 0o755}, runtime="provided.al2", handler="function.handler")
    for number in range(2):
        response = functions.client.invoke(FunctionName=name, Payload=json.dumps({"n": number}))
        assert response["Payload"].read().decode() == f"Echoing request: '{{\"n\": {number}}}'"
    assert '{"n": 1}' in functions.log_lines(name, count=2)


def test_no_bootstrap(functions: Functions):
    """A zip without a program, or with a directory in its place, gives AWS's error, and the function's log says so."""
    for files, modes in (({"readme": "x"}, {}), ({"bootstrap/readme": "x"}, {})):
        name = functions.deploy(files, modes=modes, runtime=PROVIDED)
        answer = functions.invoke(name, LogType="Tail")
        text = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"
        assert answer["StatusCode"] == 200 and answer["FunctionError"] == "Unhandled"
        assert answer["Payload"] == platform_payload(answer, "Runtime.InvalidEntrypoint", text)
        assert "Status: error\tError Type: Runtime.InvalidEntrypoint" in answer["LogResult"]


def test_a_bootstrap_that_cannot_be_executed(functions: Functions):
    """No execute permission, no interpreter, and a file that is no program: each says what exec said."""
    cases = [
        ("#!/bin/sh\n", 0o644, "fork/exec /var/task/bootstrap: permission denied"),
        ("#!/nowhere/sh\n", 0o755, "fork/exec /var/task/bootstrap: no such file or directory"),
        ("just words\n", 0o755, "fork/exec /var/task/bootstrap: exec format error"),
    ]
    for content, mode, text in cases:
        name = functions.deploy({"bootstrap": content}, modes={"bootstrap": mode}, runtime=PROVIDED)
        answer = functions.invoke(name)
        assert answer["Payload"] == platform_payload(answer, "Runtime.InvalidEntrypoint", text)
        assert answer["FunctionError"] == "Unhandled"
        again = functions.invoke(name)
        assert again["Payload"] == platform_payload(again, "Runtime.InvalidEntrypoint", text)


def test_a_layers_bootstrap_gives_way_to_the_functions_own(functions: Functions):
    """/var/task/bootstrap is looked for before /opt/bootstrap."""
    layer = functions.client.publish_layer_version(
        LayerName="exits", Content={"ZipFile": zipped({"bootstrap": "#!/bin/sh\nexit 4\n"}, EXECUTABLE)}
    )["LayerVersionArn"]
    own = deploy(functions, "#!/bin/sh\nexit 5\n", Layers=[layer])
    assert functions.invoke(own)["Payload"]["errorMessage"].endswith("exit status 5")
    none = functions.deploy({"readme": "x"}, runtime=PROVIDED, Layers=[layer])
    assert functions.invoke(none)["Payload"]["errorMessage"].endswith("exit status 4")


def test_a_runtime_that_ends_at_once(functions: Functions):
    """Init is tried, then tried once more within the invocation; then the caller hears of it."""
    name = deploy(functions, "#!/bin/sh\necho starting\nexit 5\n")
    answer = functions.invoke(name, LogType="Tail")
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"] == platform_payload(answer, "Runtime.ExitError", "Runtime exited with error: exit status 5")
    lines = functions.log_lines(name)
    reports = [re.sub(r"[\d.]+ ms", "N ms", line) for line in lines if line.startswith("INIT_REPORT")]
    assert reports == [
        f"INIT_REPORT Init Duration: N ms\tPhase: {phase}\tStatus: error\tError Type: Runtime.ExitError" for phase in ("init", "invoke")
    ]
    assert lines.count("starting") == 2 and lines[0].startswith("INIT_START")
    assert lines.index("starting") < lines.index(next(line for line in lines if line.startswith("INIT_REPORT")))
    assert sum(line.startswith("REPORT") for line in lines) == 1
    again = functions.invoke(name)
    assert again["Payload"] == platform_payload(again, "Runtime.ExitError", "Runtime exited with error: exit status 5")


@needs_system_python
def test_a_runtime_that_reports_its_init_error(functions: Functions):
    """What is posted to init/error is the payload, to the letter."""
    name = deploy(
        functions,
        CLIENT + 'body = b\'{"errorMessage": "no database",  "errorType": "Function.NoDatabase", "stackTrace": []}\'\n'
        "status, body, _ = call('POST', 'init/error', body, {'Lambda-Runtime-Function-Error-Type': 'Function.NoDatabase'})\n"
        "print(status, body, flush=True)\nsys.exit(1)\n",
    )
    answer = functions.invoke(name, LogType="Tail")
    assert answer["StatusCode"] == 200 and answer["FunctionError"] == "Unhandled"
    assert answer["Payload"] == {"errorMessage": "no database", "errorType": "Function.NoDatabase", "stackTrace": []}
    assert "Error Type: Function.NoDatabase" in answer["LogResult"]
    assert '202 b\'{"status":"OK"}\\n\'' in functions.log_lines(name)


@needs_system_python
def test_an_init_that_works_the_second_time(functions: Functions):
    """Init that fails once is repeated within the invocation, with /tmp as the first left it; the caller hears of nothing."""
    name = deploy(
        functions,
        CLIENT + "if not os.path.exists('/tmp/mark'):\n    open('/tmp/mark', 'w').close()\n    sys.exit(3)\n"
        "while True:\n    request_id, event, _ = following()\n    answer(request_id, ['well', event])\n",
    )
    first = functions.invoke(name, 1, LogType="Tail")
    assert first["Payload"] == ["well", 1] and "FunctionError" not in first
    assert "Init Duration" not in first["LogResult"].splitlines()[-1]
    assert functions.invoke(name, 2)["Payload"] == ["well", 2]
    phases = [line.split("\t", 1)[1] for line in functions.log_lines(name, count=2) if line.startswith("INIT_REPORT")]
    assert phases[0] == "Phase: init\tStatus: error\tError Type: Runtime.ExitError"


@needs_system_python
def test_a_runtime_that_exits_between_invocations(functions: Functions):
    """A runtime that ends after it has answered is started again for the next event."""
    name = deploy(functions, CLIENT + "request_id, event, _ = following()\nanswer(request_id, os.getpid())\nsys.exit(0)\n")
    for _ in range(4):
        answer = functions.invoke(name)
        assert isinstance(answer["Payload"], int), answer["Payload"]


@needs_system_python
def test_a_child_that_answers_is_as_good(functions: Functions):
    """Any process of the environment may speak to the Runtime API, over any number of connections."""
    name = deploy(
        functions,
        CLIENT + "import subprocess\nwhile True:\n    request_id, event, _ = following()\n"
        "    connection = dial()\n    if os.fork() == 0:\n"
        "        call('POST', f'invocation/{request_id}/response', b'\"child\"', connection=connection)\n"
        "        os._exit(0)\n    os.wait()\n",
    )
    assert [functions.invoke(name)["Payload"] for _ in range(3)] == ["child"] * 3


@needs_system_python
def test_what_the_runtime_api_tells(functions: Functions):
    """`next` has AWS's headers; answers are passed on as bytes, JSON or not."""
    name = deploy(
        functions,
        CLIENT + "while True:\n    request_id, event, headers = following()\n"
        "    if event == 'bytes':\n        call('POST', f'invocation/{request_id}/response', bytes(range(256)))\n"
        "    elif event == 'nothing':\n        call('POST', f'invocation/{request_id}/response', b'')\n"
        "    elif event == 'chunks':\n"
        "        call('POST', f'invocation/{request_id}/response', iter([b'\"a', b'b\"']),\n"
        "             {'Lambda-Runtime-Function-Response-Mode': 'streaming'})\n"
        "    else:\n        answer(request_id, {'now': time.time() * 1000, 'ping': call('GET', '/2018-06-01/ping')[1].decode(),\n"
        "            **{key.lower(): value for key, value in headers.items()}})\n",
        Timeout=7,
    )
    client = functions.client
    context = "eyJjdXN0b20iOiB7ImIiOiAiYyJ9fQ=="
    answer = functions.invoke(name, {}, ClientContext=context)
    told = answer["Payload"]
    assert told["lambda-runtime-aws-request-id"] == answer["ResponseMetadata"]["RequestId"]
    assert told["lambda-runtime-invoked-function-arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert 0 < int(told["lambda-runtime-deadline-ms"]) - told["now"] <= 7000
    assert re.match(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};", told["lambda-runtime-trace-id"])
    assert json.loads(told["lambda-runtime-client-context"]) == {"custom": {"b": "c"}}
    assert told["content-type"] == "application/json" and told["ping"] == "pong"
    assert client.invoke(FunctionName=name, Payload='"bytes"')["Payload"].read() == bytes(range(256))
    assert client.invoke(FunctionName=name, Payload='"nothing"')["Payload"].read() == b""
    assert client.invoke(FunctionName=name, Payload='"chunks"')["Payload"].read() == b'"ab"'


@needs_system_python
def test_misuse_of_the_runtime_api(functions: Functions, neighbour: str):
    """What the life cycle forbids is refused with AWS's errors, and changes nothing."""
    name = deploy(
        functions,
        CLIENT + "late = None\nwhile True:\n    request_id, event, _ = following()\n    seen = {'late': late}\n"
        "    seen['next'] = refusal('GET', 'invocation/next', connection=dial())\n"
        "    seen['init'] = refusal('POST', 'init/error', b'{}')\n"
        "    seen['other'] = refusal('POST', 'invocation/12345678-1234-4123-8123-123456789012/response', b'1')\n"
        "    seen['words'] = refusal('POST', 'invocation/../../x/error', b'1')\n"
        "    seen['mode'] = refusal('POST', f'invocation/{request_id}/response', b'1', {'Lambda-Runtime-Function-Response-Mode': 'loud'})\n"
        "    seen['verb'] = refusal('PUT', f'invocation/{request_id}/response', b'1')\n"
        "    seen['path'] = refusal('GET', '/latest/meta-data/')\n"
        "    assert answer(request_id, seen)[0] == 202\n"
        "    late = refusal('POST', f'invocation/{request_id}/response', b'\"twice\"')\n",
    )
    expected = {
        "late": None,
        "next": [403, "InvalidStateTransition"],
        "init": [403, "InvalidStateTransition"],
        "other": [400, "InvalidRequestID"],
        "words": [404, "NotFound"],
        "mode": [400, "InvalidFunctionResponseMode"],
        "verb": [404, "NotFound"],
        "path": [404, "NotFound"],
    }
    assert functions.invoke(name)["Payload"] == expected
    assert functions.invoke(name)["Payload"] == {**expected, "late": [400, "InvalidRequestID"]}
    assert functions.invoke(neighbour, 1)["Payload"] == ["neighbour", 1]


@needs_system_python
def test_garbage_for_the_runtime_api(functions: Functions, neighbour: str):
    """What is no HTTP, too much of it, or half of it, is refused; runtime, worker and neighbours go on."""
    name = deploy(
        functions,
        CLIENT + "while True:\n    request_id, event, _ = following()\n"
        "    post = f'POST {API}invocation/{request_id}/response HTTP/1.1\\r\\n'.encode()\n"
        "    seen = {\n"
        "        'noise': raw(os.urandom(3000) + b'\\r\\n\\r\\n'),\n"
        "        'headers': raw(b'GET / HTTP/1.1\\r\\n', *[b'x-%d: %b\\r\\n' % (n, b'y' * 60000) for n in range(40)]),\n"
        "        'half': raw(post + b'content-length: 100\\r\\n\\r\\nhalf'),\n"
        "        'chunk': raw(post + b'transfer-encoding: chunked\\r\\n\\r\\nzzzz\\r\\n'),\n"
        "        'lengths': raw(post + b'content-length: 1\\r\\ncontent-length: 2\\r\\n\\r\\nab'),\n"
        "        'both': raw(post + b'content-length: 1\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n1\\r\\na\\r\\n0\\r\\n\\r\\n'),\n"
        "        'endless': raw(post.replace(request_id.encode(), b'other') + b'content-length: 99999999999\\r\\n\\r\\n'),\n"
        "        'nothing': raw(),\n"
        "    }\n"
        "    idle = [socket.create_connection((HOST, int(PORT))) for _ in range(200)]\n"
        "    idle[0].sendall(b'GET ' + API.encode() + b'invocation/ne')\n"
        "    assert answer(request_id, seen)[0] == 202\n"
        "    for one in idle: one.close()\n",
        Timeout=30,
    )
    for _ in range(2):
        answer = functions.invoke(name)
        assert answer["Payload"] == {
            "noise": "HTTP/1.1 400", "headers": "HTTP/1.1 431", "half": "", "chunk": "HTTP/1.1 400", "lengths": "HTTP/1.1 400",
            "both": "HTTP/1.1 400", "endless": "HTTP/1.1 413", "nothing": "",
        }  # fmt: skip
    assert functions.invoke(neighbour, 1)["Payload"] == ["neighbour", 1]


@needs_system_python
def test_answers_that_are_too_large(functions: Functions, neighbour: str):
    """7 MB is AWS's error and 413 for the runtime; it goes on. So it is with 300 MB, that nobody reads to the end."""
    name = deploy(
        functions,
        CLIENT + "last = 0\nwhile True:\n    request_id, event, _ = following()\n"
        "    if not event:\n        answer(request_id, last)\n        continue\n"
        "    last = call('POST', f'invocation/{request_id}/response', (b'x' * 1000000 for _ in range(event)))[0]\n    usual.close()\n",
        Timeout=30,
        MemorySize=1769,
    )
    for megabytes in (7, 300):
        answer = functions.invoke(name, megabytes)
        assert answer["FunctionError"] == "Unhandled" and answer["Payload"]["errorType"] == "Function.ResponseSizeTooLarge"
        assert functions.invoke(name, 0)["Payload"] == 413
    assert functions.invoke(neighbour, 1)["Payload"] == ["neighbour", 1]


@needs_system_python
def test_a_slow_answer_counts_until_it_is_whole(functions: Functions):
    """A response that trickles in and is not whole at the end of the timeout is a timeout."""
    name = deploy(
        functions,
        CLIENT + "def trickle():\n    for _ in range(100):\n        yield b' '\n        time.sleep(0.05)\n"
        "while True:\n    request_id, event, _ = following()\n"
        "    call('POST', f'invocation/{request_id}/response', trickle() if event else b'1')\n",
        Timeout=1,
    )
    late = functions.invoke(name, 1)
    assert late["Payload"] == platform_payload(late, "Sandbox.Timedout", "Task timed out after 1.00 seconds")
    assert functions.invoke(name, 0)["Payload"] == 1


@needs_system_python
def test_a_runtime_that_polls_anew(functions: Functions):
    """A runtime that gives up one poll and begins another gets its event by the second."""
    name = deploy(
        functions,
        CLIENT + "import select\ndef impatient():\n    sock = socket.create_connection((HOST, int(PORT)))\n"
        "    sock.sendall(f'GET {API}invocation/next HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n'.encode())\n"
        "    select.select([sock], [], [], 0.02)\n    return sock\n"
        "while True:\n    sock = impatient()\n    if not select.select([sock], [], [], 0)[0]:\n        sock.close()\n        continue\n"
        "    head, _, body = sock.recv(65536).partition(b'\\r\\n\\r\\n')\n"
        "    request_id = head.lower().partition(b'aws-request-id: ')[2].partition(b'\\r')[0].decode()\n"
        "    answer(request_id, json.loads(body))\n    sock.close()\n",
        Timeout=5,
    )
    for number in range(20):
        assert functions.invoke(name, number)["Payload"] == number


@pytest.mark.slow
def test_an_init_that_takes_too_long(functions: Functions):
    """Init gets 10 seconds; then it is begun again within the invocation, on the function's own time."""
    name = deploy(functions, "#!/bin/sh\nsleep 60\n", Timeout=1)
    answer = functions.invoke(name)
    assert answer["Payload"] == platform_payload(answer, "Sandbox.Timedout", "Task timed out after 1.00 seconds")
    reports = [line for line in functions.log_lines(name) if line.startswith("INIT_REPORT")]
    assert re.fullmatch(r"INIT_REPORT Init Duration: 10\d\d\d\.\d\d ms\tPhase: init\tStatus: timeout", reports[0])
    assert re.fullmatch(r"INIT_REPORT Init Duration: 10\d\d\.\d\d ms\tPhase: invoke\tStatus: timeout", reports[1])

"""Python functions, run for real: each way to end, with AWS's payload, header and log lines."""

import base64
import importlib.util
import json
import pathlib
import re
import sys
import time

import pytest

from conftest import PYTHON, Functions, zipped  # type: ignore[import-not-found]

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def test_an_answer_its_headers_and_its_log(functions: Functions):
    """A cold and a warm invocation answer, tail their logs, and write AWS's lines to the letter."""
    name = functions.deploy("def handler(event, context):\n    print('got', event)\n    return {'n': event['n'] + 1}\n")
    cold = functions.invoke(name, {"n": 1}, LogType="Tail")
    assert (cold["StatusCode"], cold["Payload"], cold["ExecutedVersion"]) == (200, {"n": 2}, "$LATEST")
    assert "FunctionError" not in cold
    request_id = cold["ResponseMetadata"]["RequestId"]
    assert re.fullmatch(UUID, request_id)
    assert re.fullmatch(
        rf"START RequestId: {request_id} Version: \$LATEST\ngot {{'n': 1}}\nEND RequestId: {request_id}\n"
        rf"REPORT RequestId: {request_id}\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t"
        r"Max Memory Used: \d+ MB\tInit Duration: \d+\.\d\d ms\t\n",
        cold["LogResult"],
    )
    warm = functions.invoke(name, {"n": 2}, LogType="Tail")
    assert warm["Payload"] == {"n": 3} and "Init Duration" not in warm["LogResult"]
    lines = functions.log_lines(name, count=2)
    assert re.fullmatch(
        r"INIT_START Runtime Version: python:\S+\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}", lines[0]
    )
    assert [line.split(" ")[0].strip() for line in lines[1:]] == ["START", "got", "END", "REPORT"] * 2
    streams = functions.logs.describe_log_streams(logGroupName=f"/aws/lambda/{name}")["logStreams"]
    assert len(streams) == 1
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", streams[0]["logStreamName"])


def test_what_a_function_sees(functions: Functions):
    """Environment, context and boto3 are as on AWS."""
    name = functions.deploy(
        "import os, boto3\n"
        "def handler(event, context):\n"
        "    sts = boto3.client('lambda').get_function_configuration(FunctionName=context.function_name)['Handler']\n"
        "    return {'env': dict(os.environ), 'name': context.function_name, 'arn': context.invoked_function_arn, 'uid': os.getuid(),\n"
        "            'memory': context.memory_limit_in_mb, 'left': context.get_remaining_time_in_millis(), 'cwd': os.getcwd(),\n"
        "            'group': context.log_group_name, 'stream': context.log_stream_name, 'handler': sts,\n"
        "            'client': context.client_context.custom if context.client_context else None}\n",
        Environment={"Variables": {"COLOUR": "blue", "LANG": "C"}},
        Timeout=20,
        MemorySize=256,
    )
    context = base64.b64encode(json.dumps({"custom": {"a": "b"}}).encode()).decode()
    answer = functions.invoke(name, ClientContext=context)["Payload"]
    env = answer["env"]
    expected = {
        "COLOUR": "blue",
        "LANG": "C",
        "AWS_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{PYTHON}",
        "_HANDLER": "app.handler",
        "TZ": ":UTC",
    }
    assert {key: env.get(key) for key in expected} == expected
    assert env["AWS_ACCESS_KEY_ID"].startswith("ASIA") and env["AWS_SESSION_TOKEN"]
    assert answer["name"] == name and answer["arn"].endswith(f":function:{name}") and answer["memory"] == "256"
    assert 0 < answer["left"] <= 20_000 and answer["client"] == {"a": "b"} and answer["handler"] == "app.handler"
    assert answer["group"] == f"/aws/lambda/{name}" and answer["stream"] == env["AWS_LAMBDA_LOG_STREAM_NAME"]


def test_a_handler_that_raises(functions: Functions):
    """The exception is the payload; the environment stays warm."""
    name = functions.deploy(
        "count = 0\ndef handler(event, context):\n    global count\n    count += 1\n    raise ValueError(f'no {count}')\n"
    )
    first = functions.invoke(name, LogType="Tail")
    assert first["StatusCode"] == 200 and first["FunctionError"] == "Unhandled"
    request_id = first["ResponseMetadata"]["RequestId"]
    payload = first["Payload"]
    assert list(payload) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert (payload["errorMessage"], payload["errorType"], payload["requestId"]) == ("no 1", "ValueError", request_id)
    assert "[ERROR] ValueError: no 1" in first["LogResult"]
    assert functions.invoke(name)["Payload"]["errorMessage"] == "no 2"


def test_a_timeout(functions: Functions):
    """The caller hears of it at once; /tmp is kept, memory is not; the next invocation works."""
    name = functions.deploy(
        "import os, time\nseen = []\n"
        "def handler(event, context):\n"
        "    seen.append(1)\n"
        "    if event.get('hang'):\n        open('/tmp/mark', 'w').close()\n        time.sleep(60)\n"
        "    return [len(seen), os.path.exists('/tmp/mark')]\n",
        Timeout=1,
    )
    late = functions.invoke(name, {"hang": True}, LogType="Tail")
    request_id = late["ResponseMetadata"]["RequestId"]
    assert late["FunctionError"] == "Unhandled"
    assert late["Payload"] == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {request_id} Error: Task timed out after 1.00 seconds",
    }
    assert f"{request_id} Task timed out after 1.00 seconds" in late["LogResult"]
    assert "Status: timeout" in late["LogResult"] and "Duration: 1000" in late["LogResult"]
    assert functions.invoke(name, {})["Payload"] == [1, True]


def test_exits_and_signals(functions: Functions):
    """Exit statuses and signals are told apart, in AWS's words."""
    name = functions.deploy(
        "import os, signal, sys\ndef handler(event, context):\n"
        "    if event == 'kill': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if event == 'abort': os.abort()\n"
        "    os._exit(event)\n"
    )
    for event, text in (
        (0, "Runtime exited without providing a reason"),
        (7, "Runtime exited with error: exit status 7"),
        ("kill", "Runtime exited with error: signal: killed"),
        ("abort", "Runtime exited with error: signal: aborted"),
    ):
        answer = functions.invoke(name, event, LogType="Tail")
        request_id = answer["ResponseMetadata"]["RequestId"]
        assert answer["Payload"] == {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: {request_id} Error: {text}"}
        assert answer["FunctionError"] == "Unhandled" and "Status: error\tError Type: Runtime.ExitError" in answer["LogResult"]


def test_import_errors(functions: Functions):
    """What goes wrong before the handler runs has AWS's error types."""
    cases = [
        ({"app.py": "import nowhere_to_be_found\n"}, "app.handler", "Runtime.ImportModuleError", "No module named 'nowhere_to_be_found'"),
        ({"app.py": "def handler(:\n"}, "app.handler", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'"),
        ({"app.py": "pass\n"}, "app.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
        ({"app.py": "pass\n"}, "handler", "Runtime.MalformedHandlerName", "Bad handler 'handler'"),
    ]
    for files, handler, error_type, text in cases:
        name = functions.deploy(files, handler=handler)
        answer = functions.invoke(name, LogType="Tail")
        assert answer["FunctionError"] == "Unhandled"
        assert answer["Payload"]["errorType"] == error_type and text in answer["Payload"]["errorMessage"]
    report = [line for line in functions.log_lines(name) if line.startswith("INIT_REPORT")]
    assert [line.split("\t")[1] for line in report] == ["Phase: init", "Phase: invoke"]


def test_answers_that_cannot_be_sent(functions: Functions):
    """What is no JSON, and what is larger than 6 MB, is an error of the function; it stays warm."""
    name = functions.deploy("def handler(event, context):\n    return {1, 2} if event == 'set' else 'x' * event\n")
    answer = functions.invoke(name, "set")
    assert answer["Payload"]["errorType"] == "Runtime.MarshalError"
    assert answer["Payload"]["errorMessage"] == "Unable to marshal response: Object of type set is not JSON serializable"
    answer = functions.invoke(name, 7_000_000)
    assert answer["Payload"] == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }
    assert answer["FunctionError"] == "Unhandled"
    assert len(functions.invoke(name, 6_291_550)["Payload"]) == 6_291_550


def test_init_that_takes_its_time(functions: Functions):
    """Init is measured apart from the invocation, and both are billed."""
    name = functions.deploy("import time\ntime.sleep(0.3)\ndef handler(event, context):\n    return 1\n")
    line = functions.invoke(name, LogType="Tail")["LogResult"].splitlines()[-1]
    init_ms = float(re.search(r"Init Duration: ([\d.]+) ms", line)[1])  # type: ignore[index]
    duration_ms = float(re.search(r"\tDuration: ([\d.]+) ms", line)[1])  # type: ignore[index]
    billed_ms = int(re.search(r"Billed Duration: (\d+) ms", line)[1])  # type: ignore[index]
    assert init_ms >= 300 and duration_ms < 300 and billed_ms >= init_ms
    assert abs(billed_ms - init_ms - duration_ms) <= 1.02


def test_versions_of_the_language(functions: Functions, lambdad):
    """A function runs on the language version that its runtime names, where it is installed."""
    runtimes = [name for name in lambdad.health()["worker"]["runtimes"] if name.startswith("python3")]
    assert PYTHON in runtimes
    for runtime in runtimes[:6]:
        name = functions.deploy(
            "import sys\ndef handler(event, context):\n    return list(sys.version_info[:2])\n", runtime=runtime, Timeout=20
        )
        version = functions.invoke(name)["Payload"]
        if runtime == PYTHON:
            assert version == list(sys.version_info[:2])
        assert version[0] == 3


def test_logging(functions: Functions):
    """`logging` and `print` write as on AWS; a record of several lines is one event, what is printed without a newline is not lost."""
    name = functions.deploy(
        "import logging, sys\nlogging.getLogger().setLevel(logging.INFO)\n"
        "def handler(event, context):\n    logging.info('one\\ntwo')\n"
        "    logging.getLogger('mine').warning('%s %d', 'careful', 7)\n    logging.debug('no')\n"
        "    print('a\\nb')\n    print('ü', file=sys.stderr)\n    sys.stdout.write('unfinished')\n"
    )
    answer = functions.invoke(name)
    assert answer["Payload"] is None
    request_id = answer["ResponseMetadata"]["RequestId"]
    lines = functions.log_lines(name)
    inside = lines[lines.index(f"START RequestId: {request_id} Version: $LATEST") + 1 : lines.index(f"END RequestId: {request_id}")]
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf"\[INFO\]\t{time}\t{request_id}\tone[\n\r]two", inside[0].rstrip())
    assert re.fullmatch(rf"\[WARNING\]\t{time}\t{request_id}\tcareful 7", inside[1].rstrip())
    assert sorted(line for line in inside[2:]) == ["a", "b", "unfinished", "ü"]


def test_json_logs(functions: Functions):
    """LoggingConfig JSON: records become objects with AWS's keys, filtered by level; print stays as it is."""
    name = functions.deploy(
        "import logging\nlog = logging.getLogger('mine')\n"
        "def handler(event, context):\n    log.info('no')\n    log.warning('careful', extra={'order': 7})\n"
        "    print('plain')\n    raise KeyError('x')\n",
        LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "WARN"},
    )
    answer = functions.invoke(name)
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert answer["FunctionError"] == "Unhandled" and answer["Payload"]["errorType"] == "KeyError"
    lines = functions.log_lines(name, until="{", count=2)
    assert "plain" in lines and not [line for line in lines if "platform." in line and '"INFO"' in line]
    records = [json.loads(line) for line in lines if line.startswith("{") and '"level"' in line]
    careful, failed = records
    assert careful["level"] in ("WARN", "WARNING") and careful["message"] == "careful" and careful["logger"] == "mine"
    assert careful["order"] == 7 and careful["requestId"] == request_id and careful["timestamp"].endswith("Z")
    assert failed["level"] == "ERROR" and failed["errorType"] == "KeyError" and failed["errorMessage"] == "'x'" and failed["stackTrace"]


def test_payloads_of_all_kinds(functions: Functions):
    """What goes in comes out: text of all scripts, numbers, nothing at all, 6 MB."""
    name = functions.deploy("def handler(event, context):\n    return event\n", MemorySize=512, Timeout=20)
    for event in ("äöü €𝄞 \u2028", 0.1, 12345678901234567890, True, [], {"": None}, {"a": {"b": [1, [2, {"c": "d"}]]}}, "x" * 6_000_000):
        assert functions.invoke(name, event)["Payload"] == event
    assert json.loads(functions.client.invoke(FunctionName=name)["Payload"].read()) == {}


def test_layers_and_packages(functions: Functions, fenced: None):
    """Layers are found under /opt/python, later ones over earlier ones; the function's own packages come before them."""

    def layer(name: str, files: dict[str, str | bytes]) -> str:
        content = {"ZipFile": zipped(files)}
        return str(functions.client.publish_layer_version(LayerName=name, Content=content)["LayerVersionArn"])

    first = layer(
        "first",
        {"python/one.py": "who = 'first'", "python/two.py": "who = 'first'", "python/three.py": "who = 'first'", "data.txt": "data"},
    )
    second = layer("second", {f"python/lib/{PYTHON}/site-packages/two.py": "who = 'second'", "python/three.py": "who = 'second'"})
    name = functions.deploy(
        {
            "app.py": "import one, two, three\ndef handler(event, context):\n"
            "    return [one.who, two.who, three.who, open('/opt/data.txt').read()]\n",
            "three.py": "who = 'own'",
        },
        Layers=[first, second],
    )
    assert functions.invoke(name)["Payload"] == ["first", "second", "own", "data"]


def test_a_wrapper(functions: Functions, fenced: None):
    """AWS_LAMBDA_EXEC_WRAPPER is given the runtime's command line to run; one that is missing is exit status 127."""
    source = {
        "app.py": "import os\ndef handler(event, context):\n    return os.environ.get('WRAPPED')\n",
        "wrapper": '#!/bin/sh\necho "wrapping $#"\nexport WRAPPED=yes\nexec "$@"\n',
    }
    variables = {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"}}
    name = functions.deploy(source, modes={"wrapper": 0o755}, Environment=variables, Timeout=10, MemorySize=512)
    assert functions.invoke(name)["Payload"] == "yes"
    assert any(line.startswith("wrapping ") for line in functions.log_lines(name))
    name = functions.deploy(source, Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/nothing"}})
    assert functions.invoke(name)["Payload"]["errorMessage"].endswith("Runtime exited with error: exit status 127")


def test_threads_and_children(functions: Functions):
    """Threads, processes and pipes work inside a function."""
    name = functions.deploy(
        "import concurrent.futures, multiprocessing, subprocess, sys\n"
        "def handler(event, context):\n"
        "    with concurrent.futures.ThreadPoolExecutor(4) as pool:\n        squares = list(pool.map(lambda n: n * n, range(5)))\n"
        "    here, there = multiprocessing.Pipe()\n"
        "    process = multiprocessing.Process(target=there.send, args=('from a child',))\n    process.start()\n    process.join()\n"
        "    said = subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True, text=True).stdout\n"
        "    return [squares, here.recv(), said]\n",
        Timeout=20,
        MemorySize=512,
    )
    assert functions.invoke(name)["Payload"] == [[0, 1, 4, 9, 16], "from a child", "42\n"]


def test_modules_are_compiled_at_deploy(functions: Functions, fenced: None):
    """A cold start finds what it imports compiled, of the function and of its layers; nothing of it has been run for that."""
    client = functions.client
    layer = client.publish_layer_version(
        LayerName="compiled-at-deploy", Content={"ZipFile": zipped({"python/shared/__init__.py": "TEXT = 'layer'\n"})}
    )["LayerVersionArn"]
    source = {
        "app.py": "import broken_later, os, shared, pkg.mod\n"
        "def handler(event, context):\n"
        "    cached = [[module.__cached__, os.path.exists(module.__cached__)] for module in (shared, pkg.mod)]\n"
        "    return cached + [shared.TEXT, pkg.mod.NAME, pkg.mod.f.__code__.co_filename]\n",
        "pkg/__init__.py": "",
        "pkg/mod.py": "NAME = __name__\ndef f(): pass\n",
        "broken_later.py": "import os\nassert os.environ['_HANDLER'] == 'app.handler', 'run before its time'\n",
        "never_imported.py": "this is ( no Python\n",
    }
    name = functions.deploy(source, Layers=[layer])
    shared, module, *rest = functions.invoke(name)["Payload"]
    tag = f"cpython-{sys.version_info[0]}{sys.version_info[1]}"
    assert shared == [f"/opt/python/shared/__pycache__/__init__.{tag}.pyc", True]
    assert module == [f"/var/task/pkg/__pycache__/mod.{tag}.pyc", True]
    assert rest == ["layer", "pkg.mod", "/var/task/pkg/mod.py"]


SEEN = (
    "import sys\nbefore = [name for name in sys.modules if name.partition('.')[0] in ('boto3', 'botocore', 'urllib3', 'six')]\n"
    "import boto3, botocore.session, os, threading\n"
    "session = boto3.DEFAULT_SESSION\nclient = boto3.client('sqs')\n"
    "def handler(event, context):\n"
    "    keys = client._request_signer._credentials.get_frozen_credentials()\n"
    "    return [before, session is None, keys.access_key == os.environ['AWS_ACCESS_KEY_ID'], client.meta.region_name,\n"
    "            threading.active_count(), boto3.__spec__.loader is boto3.__loader__, type(boto3.__loader__).__name__,\n"
    "            os.path.dirname(boto3.__file__)]\n"
)


def test_the_sdk_is_there_and_nobody_has_used_it(functions: Functions, fenced: None):
    """boto3 is loaded ahead, and looks as if it were not: no session, no credentials, no thread, no trace in `sys.modules`."""
    first, second = functions.deploy(SEEN), functions.deploy(SEEN, Environment={"Variables": {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}})
    expected = [[], True, True, "us-east-1", 1, True, "SourceFileLoader", "/var/runtime/boto3"]
    assert functions.invoke(first)["Payload"] == expected
    assert functions.invoke(second)["Payload"] == expected


def test_the_sdk_is_loaded_ahead(functions: Functions, fenced: None):
    """Soon after an interpreter is used for the first time, its new environments have the SDK's models at hand."""
    source = (
        "import boto3, botocore.loaders\n"
        "def handler(event, context):\n    return hasattr(botocore.loaders.JSONFileLoader.load_file, '__wrapped__')\n"
    )
    for _ in range(50):
        if functions.invoke(functions.deploy(source, Timeout=20))["Payload"]:
            return
        time.sleep(0.2)
    raise AssertionError("it never is")


def test_the_sdk_works(functions: Functions, fenced: None):
    """A client made from what was loaded ahead calls lambdad, and a second session is as good as the first."""
    name = functions.deploy(
        "import boto3\n"
        "def handler(event, context):\n"
        "    first = boto3.client('lambda')\n    second = boto3.session.Session().client('lambda')\n"
        "    names = [client.get_function(FunctionName=context.function_name)['Configuration']['Handler'] for client in (first, second)]\n"
        "    return names + [len(boto3.session.Session().get_available_services()) > 300, boto3.resource('dynamodb').meta.service_name]\n",
        Timeout=20,
        MemorySize=512,
    )
    assert functions.invoke(name)["Payload"] == ["app.handler", "app.handler", True, "dynamodb"]


def test_a_functions_own_sdk_wins(functions: Functions, fenced: None):
    """Own copies of boto3, of a package that it needs, or in a folder that the code adds to the path, are the ones imported."""
    handler = "def handler(event, context):\n    return boto3.__file__, getattr(boto3, 'mark', None)\n"
    own = functions.deploy({"app.py": f"import boto3\n{handler}", "boto3/__init__.py": "mark = 'own'\n"})
    assert functions.invoke(own)["Payload"] == ["/var/task/boto3/__init__.py", "own"]
    vendored = functions.deploy(
        {
            "app.py": f"import sys\nsys.path.insert(0, '/var/task/vendored')\nimport boto3\n{handler}",
            "vendored/boto3.py": "mark = 'vendored'\n",
        }
    )
    assert functions.invoke(vendored)["Payload"] == ["/var/task/vendored/boto3.py", "vendored"]
    layer = functions.client.publish_layer_version(LayerName="sdk", Content={"ZipFile": zipped({"python/boto3.py": "mark = 'layer'\n"})})
    layered = functions.deploy(f"import boto3\n{handler}", Layers=[layer["LayerVersionArn"]])
    assert functions.invoke(layered)["Payload"] == ["/opt/python/boto3.py", "layer"]


@pytest.mark.parametrize("package", ["six", "dateutil", "jmespath", "certifi"])
def test_the_sdk_uses_the_functions_own_packages(functions: Functions, fenced: None, package: str):
    """A parent of the SDK that a function brings alone is the one that the SDK gets, as on AWS."""
    source = (
        "import importlib.util, os, sys\n"
        "import boto3, botocore.loaders\n"
        f"import {package}\n"
        "def handler(event, context):\n"
        f"    return [{package}.__file__, boto3.__file__, hasattr(botocore.loaders.JSONFileLoader.load_file, '__wrapped__')]\n"
    )
    spec = importlib.util.find_spec(package)
    origin = pathlib.Path(spec.origin) if spec is not None and spec.origin is not None else None
    files: dict[str, str | bytes]
    if origin is None:
        files = {f"{package}.py": "def where():\n    return ''\n"}
    elif origin.name == "__init__.py":
        files = {f"{package}/{path.relative_to(origin.parent)}": path.read_bytes() for path in origin.parent.rglob("*.py")}
    else:
        files = {f"{package}.py": origin.read_bytes()}
    name = functions.deploy({"app.py": source, **files}, Timeout=20, MemorySize=512)
    file, sdk, loaded_ahead = functions.invoke(name)["Payload"]
    assert file.startswith(f"/var/task/{package}") and sdk == "/var/runtime/boto3/__init__.py" and not loaded_ahead

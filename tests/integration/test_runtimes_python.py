"""The managed Python runtime, as a process, under every Python of this machine that it supports."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_runtime_api import WAIT_S, RuntimeProcess, running

from lambdad.runtimes import discovery, plans
from lambdad.runtimes.catalogue import Family

BOOTSTRAP = Path(plans.find_runtime_files().directory, "python", "bootstrap.py")
NBSP = "\u00a0"


def _pythons() -> dict[str, str]:
    found = discovery.discover(discovery.usual_places(os.environ, str(Path.home())))
    named = {f"3.{i.version[1]}": i.path for i in found if i.family is Family.PYTHON and i.version >= (3, 8)}
    return dict(sorted(named.items(), key=lambda item: int(item[0][2:])))


PYTHONS = _pythons()
NEWEST = list(PYTHONS)[-1]

APP = """
import collections, decimal, json, logging, os, random, sys, time
log = logging.getLogger()
named = logging.getLogger("my.module")
Point = collections.namedtuple("Point", "x y")
COLD = {"argv": sys.argv, "path": sys.path}

class Odd(Exception):
    pass

def inner(event):
    raise Odd("bad " + event["text"])

def handler(event, context):
    what = event.get("do") if isinstance(event, dict) else None
    if what == "echo" or what is None:
        return event
    if what == "raise":
        inner(event)
    if what == "context":
        context.log("by context\\n")
        client = context.client_context
        return {
            "id": context.aws_request_id, "name": context.function_name, "version": context.function_version,
            "arn": context.invoked_function_arn, "memory": context.memory_limit_in_mb,
            "group": context.log_group_name, "stream": context.log_stream_name,
            "remaining": context.get_remaining_time_in_millis(), "tenant": context.tenant_id,
            "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
            "client": client and [client.custom, client.env, client.client and client.client.app_title],
            "trace": os.environ.get("_X_AMZN_TRACE_ID"), "repr": repr(context)[:14],
        }
    if what == "values":
        return {"d": decimal.Decimal("1.10"), "n": Point(1, 2), "b": b"caf\\xc3\\xa9", "é": "ü", 1: [decimal.Decimal(7)]}
    if what == "set":
        return {1, 2}
    if what == "print":
        print("one"); print("two\\nthree"); sys.stdout.write("part"); print("err", file=sys.stderr)
    if what == "log":
        log.info("not shown by default")
        log.warning("careful\\nplease", extra={"order": 5})
        try:
            inner(event)
        except Odd:
            named.exception("it failed")
    if what == "exit":
        sys.exit(event["status"])
    if what == "big":
        return "x" * event["size"]
    return "done"
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("task")
    (root / "app.py").write_text(APP)
    (root / "nested" / "deeper").mkdir(parents=True)
    (root / "nested" / "deeper" / "mod.py").write_text("def run(event, context):\n    return 'nested'\n")
    (root / "broken.py").write_text("def handler(event, context)\n    return 1\n")
    (root / "imports.py").write_text("import no_such_module\n")
    (root / "raises.py").write_text("value = 1 / 0\n")
    (root / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    (root / "bootstrap.py").write_text("def handler(event, context):\n    return 'mine'\n")
    return root


def _run(python: str, task: Path, handler: str = "app.handler", **options: object) -> Iterator[RuntimeProcess]:
    return running([PYTHONS[python], str(BOOTSTRAP)], task, handler, **options)  # type: ignore[arg-type, return-value]


@pytest.fixture(scope="module", params=list(PYTHONS))
def python(request: pytest.FixtureRequest) -> str:
    return request.param


def test_answers_events_over_one_connection(python: str, task: Path) -> None:
    """Events of all sorts come back as they went in, and hundreds of them need one connection."""
    with _run(python, task) as runtime:
        for event in ({"a": [1, 2.5, None, True]}, "text", 7, None, [], {"é": "日本語 😀"}):
            post = runtime.invoke(event)
            assert post.path.endswith("/response")
            assert post.json() == event
        for number in range(200):
            assert runtime.invoke(number).body == b"%d" % number
        assert runtime.api.connections == 1


def test_passes_six_megabytes_both_ways(python: str, task: Path) -> None:
    """Payloads of the largest size AWS allows arrive whole, with a length or in chunks."""
    with _run(python, task) as runtime:
        event = "x" * (6 * 1024 * 1024 - 2)
        assert runtime.invoke(event).json() == event
        runtime.api.chunked = True
        assert runtime.invoke(event).json() == event
        assert runtime.invoke({}).json() == {}


def test_goes_on_after_a_refused_answer(python: str, task: Path) -> None:
    """An answer that the platform refuses with 413 is no reason to stop."""
    with _run(python, task) as runtime:
        runtime.api.answer_status = 413
        assert runtime.invoke({"do": "big", "size": 7_000_000}).path == "invocation/request-1/response"
        runtime.api.answer_status = 202
        assert runtime.invoke(1).body == b"1"
        assert runtime.api.connections == 1
        runtime.wait_idle()
        assert runtime.output() == ""


def test_connects_again_when_the_platform_hung_up(python: str, task: Path) -> None:
    """A kept connection that turns out to be closed is replaced without losing an answer."""
    with _run(python, task) as runtime:
        runtime.api.close_each = True
        for number in range(5):
            assert runtime.invoke(number).body == b"%d" % number


def test_reports_what_the_handler_raises(python: str, task: Path) -> None:
    """A handler's exception becomes AWS's payload, with a traceback that begins in the function's own code."""
    with _run(python, task) as runtime:
        post = runtime.invoke({"do": "raise", "text": "ünicode"})
        assert post.path == "invocation/request-1/error"
        payload = post.json()
        assert list(payload) == ["errorMessage", "errorType", "requestId", "stackTrace"]
        assert (payload["errorMessage"], payload["errorType"]) == ("bad ünicode", "Odd")
        assert payload["requestId"] == "request-1"
        file = task / "app.py"
        assert payload["stackTrace"] == [
            f'  File "{file}", line 19, in handler\n    inner(event)\n',
            f'  File "{file}", line 12, in inner\n    raise Odd("bad " + event["text"])\n',
        ]
        assert post.headers["lambda-runtime-function-error-type"] == "Odd"
        cause = json.loads(post.headers["lambda-runtime-function-xray-error-cause"])
        assert cause["exceptions"][0]["stack"][0]["label"] == "handler"
        runtime.wait_idle()
        assert runtime.output() == (
            "[ERROR] Odd: bad ünicode\rTraceback (most recent call last):\r"
            f'{NBSP}{NBSP}File "{file}", line 19, in handler\r{NBSP * 4}inner(event)\r'
            f'{NBSP}{NBSP}File "{file}", line 12, in inner\r{NBSP * 4}raise Odd("bad " + event["text"])\n'
        )


def test_encodes_results_as_the_managed_runtimes_do(python: str, task: Path) -> None:
    """Decimals keep their digits, named tuples are objects, bytes are text; Unicode is escaped before python3.12."""
    for name, text in (("python3.11", '"\\u00e9": "\\u00fc"'), ("python3.12", '"é": "ü"'), ("python3.13", '"é": "ü"')):
        with _run(python, task, environment={"AWS_EXECUTION_ENV": f"AWS_Lambda_{name}"}) as runtime:
            post = runtime.invoke({"do": "values"})
            coffee = '"caf\\u00e9"' if name == "python3.11" else '"café"'
            assert post.body.decode() == f'{{"d": 1.10, "n": {{"x": 1, "y": 2}}, "b": {coffee}, {text}, "1": [7]}}'


def test_refuses_results_that_are_no_json(python: str, task: Path) -> None:
    """A result that cannot be encoded is a Runtime.MarshalError, and the function goes on."""
    with _run(python, task) as runtime:
        post = runtime.invoke({"do": "set"})
        assert post.json() == {
            "errorMessage": "Unable to marshal response: Object of type set is not JSON serializable",
            "errorType": "Runtime.MarshalError",
            "requestId": "request-1",
            "stackTrace": [],
        }
        assert post.headers["lambda-runtime-function-error-type"] == "Runtime.MarshalError"
        post = runtime.invoke(None, raw=b"{nonsense")
        assert post.json()["errorType"] == "Runtime.UnmarshalError"
        assert runtime.invoke(1).body == b"1"


def test_gives_a_complete_context(python: str, task: Path) -> None:
    """Everything that AWS documents for the context object is there."""
    headers = {
        "Lambda-Runtime-Client-Context": '{"custom": {"k": "v"}, "env": {"e": "1"}, "client": {"app_title": "T"}}',
        "Lambda-Runtime-Cognito-Identity": '{"cognitoIdentityId": "i", "cognitoIdentityPoolId": "p"}',
        "Lambda-Runtime-Aws-Tenant-Id": "blue",
        "Lambda-Runtime-Invocation-Id": "attempt-1",
    }
    with _run(python, task) as runtime:
        post = runtime.invoke({"do": "context"}, headers)
        got = post.json()
        assert got.pop("remaining") > 1_000_000
        assert got == {
            "id": "request-1",
            "name": "f",
            "version": "7",
            "arn": "arn:aws:lambda:us-east-1:000000000000:function:f:live",
            "memory": "256",
            "group": "/aws/lambda/f",
            "stream": "2026/01/31/[7]0123",
            "tenant": "blue",
            "identity": ["i", "p"],
            "client": [{"k": "v"}, {"e": "1"}, "T"],
            "trace": "Root=1-1",
            "repr": "LambdaContext(",
        }
        assert post.headers["lambda-runtime-invocation-id"] == "attempt-1"
        got = runtime.invoke({"do": "context"}, {"Lambda-Runtime-Deadline-Ms": "1", "Lambda-Runtime-Trace-Id": ""}).json()
        assert (got["client"], got["identity"], got["tenant"]) == (None, [None, None], None)
        assert (got["remaining"], got["trace"]) == (0, None)
        runtime.wait_idle()
        assert runtime.output() == "by context\n" * 2


def test_writes_text_logs(python: str, task: Path) -> None:
    """Prints stay plain; log records from WARNING on have AWS's format."""
    with _run(python, task) as runtime:
        runtime.invoke({"do": "print"})
        runtime.invoke({"do": "log", "text": "luck"})
        runtime.wait_idle()
        text = runtime.output()
    prints, _, records = text.partition("[WARNING]\t")
    assert "one\ntwo\nthree\n" in prints and "err\n" in prints and prints.endswith("part")
    assert "not shown" not in text
    record = "[WARNING]\t" + records.partition("\n")[0]
    level, stamp, request, message = record.split("\t")
    assert (level, request, message) == ("[WARNING]", "request-2", "careful")
    assert len(stamp) == 24 and stamp.endswith("Z") and stamp[10] == "T"
    assert "[ERROR]\t" in records and "\trequest-2\tit failed\nTraceback (most recent call last):\n  File" in records


def test_writes_json_logs(python: str, task: Path) -> None:
    """In JSON mode each record is one object, with extras and exceptions as members, filtered by the level."""
    variables = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "WARN"}
    with _run(python, task, environment=variables) as runtime:
        runtime.invoke({"do": "log", "text": "luck"}, {"Lambda-Runtime-Aws-Tenant-Id": "blue"})
        runtime.invoke({"do": "raise", "text": "x"})
        runtime.wait_idle()
        careful, failed, raised = (json.loads(line) for line in runtime.output().splitlines())
    assert careful.pop("timestamp")[-1] == "Z"
    assert careful == {
        "level": "WARNING",
        "message": "careful\nplease",
        "logger": "root",
        "requestId": "request-1",
        "tenantId": "blue",
        "order": 5,
    }
    assert (failed["logger"], failed["errorType"], failed["errorMessage"]) == ("my.module", "Odd", "bad luck")
    assert failed["location"] == f"{task / 'app.py'}:handler:44"
    assert len(failed["stackTrace"]) == 2
    assert (raised["level"], raised["errorType"], raised["requestId"]) == ("ERROR", "Odd", "request-2")
    assert raised["errorMessage"] == "bad x" and len(raised["stackTrace"]) == 2


def test_frames_records_for_the_telemetry_descriptor(python: str, task: Path) -> None:
    """With the descriptor, a record with newlines is one frame, and prints stay on the pipe."""
    with _run(python, task, framed=True) as runtime:
        runtime.invoke({"do": "log", "text": "luck"})
        runtime.invoke({"do": "raise", "text": "x"})
        runtime.invoke({"do": "print"})
        runtime.wait_idle()
        warning, error, raised = runtime.frames()
        assert warning.endswith("\trequest-1\tcareful\nplease\n")
        assert "it failed\nTraceback (most recent call last):\n" in error
        assert raised.startswith("[ERROR] Odd: bad x\nTraceback (most recent call last):\n" + NBSP * 2 + "File")
        assert "one\ntwo\nthree\n" in runtime.output()


INIT_FAILURES = {
    "imports.handler": ("Runtime.ImportModuleError", "Unable to import module 'imports': No module named 'no_such_module'"),
    "absent.handler": ("Runtime.ImportModuleError", "Unable to import module 'absent': No module named 'absent'"),
    "app.missing": ("Runtime.HandlerNotFound", "Handler 'missing' missing on module 'app'"),
    "app": ("Runtime.MalformedHandlerName", "Bad handler 'app': not enough values to unpack (expected 2, got 1)"),
    "sys.exit": ("Runtime.BuiltinModuleConflict", "Cannot use built-in module sys as a handler module"),
}


@pytest.mark.parametrize("handler", list(INIT_FAILURES))
def test_reports_why_init_failed(python: str, task: Path, handler: str) -> None:
    """A handler that cannot be had is reported once, with AWS's type and words, and the runtime leaves with a status."""
    kind, message = INIT_FAILURES[handler]
    with _run(python, task, handler) as runtime:
        post = runtime.api.posts.get(timeout=WAIT_S)
        assert post.path == "init/error"
        assert post.json() == {"errorMessage": message, "errorType": kind, "requestId": "", "stackTrace": []}
        assert post.headers["lambda-runtime-function-error-type"] == kind
        assert runtime.wait_exit() == 1
        assert runtime.output() == f"[ERROR] {kind}: {message}\rTraceback (most recent call last):\n"


def test_reports_code_that_fails_while_it_is_imported(python: str, task: Path) -> None:
    """Syntax errors and exceptions at module level are reported from Init; sys.exit there ends the runtime."""
    with _run(python, task, "broken.handler") as runtime:
        payload = runtime.api.posts.get(timeout=WAIT_S).json()
        assert payload["errorType"] == "Runtime.UserCodeSyntaxError"
        assert payload["errorMessage"].startswith("Syntax error in module 'broken': ")
        assert payload["errorMessage"].endswith("(broken.py, line 1)")
        assert payload["stackTrace"] == [f'  File "{task / "broken.py"}" Line 1\n    def handler(event, context)\n']
        assert runtime.wait_exit() == 1
    with _run(python, task, "raises.handler") as runtime:
        payload = runtime.api.posts.get(timeout=WAIT_S).json()
        assert (payload["errorType"], payload["errorMessage"]) == ("ZeroDivisionError", "division by zero")
        assert payload["stackTrace"][-1] == f'  File "{task / "raises.py"}", line 1, in <module>\n    value = 1 / 0\n'
        assert str(BOOTSTRAP) not in "".join(payload["stackTrace"])
        assert runtime.wait_exit() == 1
    with _run(python, task, "leaves.handler") as runtime:
        assert runtime.wait_exit() == 3


@pytest.mark.parametrize(("status", "code"), [(0, 0), (None, 0), (3, 3), ("words", 1)])
def test_leaves_when_the_handler_does(task: Path, status: object, code: int) -> None:
    """sys.exit in a handler ends the runtime with its status and posts nothing."""
    with _run(NEWEST, task) as runtime:
        runtime.api.events.put((json.dumps({"do": "exit", "status": status}).encode(), {"Lambda-Runtime-Aws-Request-Id": "r"}))
        assert runtime.wait_exit() == code
        assert runtime.api.posts.empty()


def test_finds_nested_and_awkwardly_named_handlers(python: str, task: Path) -> None:
    """Handlers in packages are found by path or dots; a module called like the runtime's own file is the function's."""
    for name, answer in (
        ("nested/deeper/mod.run", "nested"),
        ("nested.deeper.mod.run", "nested"),
        ("bootstrap.handler", "mine"),
    ):
        with _run(python, task, name) as runtime:
            assert runtime.invoke({}).json() == answer


def test_hides_packages_installed_beside_the_interpreter(python: str, task: Path) -> None:
    """The module path is code, layers, PYTHONPATH, the standard library, and last the platform's SDK."""
    (task / "paths.py").write_text("import sys\n\ndef handler(event, context):\n    return [sys.path, sys.argv]\n")
    variables = {"PYTHONPATH": "/somewhere", "LAMBDA_RUNTIME_DIR": "/runtime-dir"}
    with _run(python, task, "paths.handler", environment=variables) as runtime:
        path, argv = runtime.invoke({}).json()
    assert path[:4] == [str(task), f"/opt/python/lib/python{python}/site-packages", "/opt/python", "/somewhere"]
    assert path[-1] == "/runtime-dir"
    assert not any(entry.endswith(("site-packages", "dist-packages")) for entry in path[3:])
    assert argv == [str(BOOTSTRAP)]


FORKER = """
import importlib.util, json, os, sys
sys.path.insert(0, sys.argv[3])
spec = importlib.util.spec_from_file_location("__preloaded__", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["__preloaded__"] = module
spec.loader.exec_module(module)
module.preload(("fake_sdk",))
secret = "of the template"
if os.fork() == 0:
    del sys.modules["__preloaded__"]
    module.main({"environment": json.loads(sys.argv[2]), "cwd": "/"})
os.wait()
"""


@pytest.mark.parametrize("own_copy", [False, True])
def test_becomes_a_function_in_a_forked_child(python: str, task: Path, tmp_path: Path, own_copy: bool) -> None:
    """A child of a preloaded template takes on the given environment, and sees its own copy of a preloaded package."""
    (tmp_path / "sdk" / "fake_sdk").mkdir(parents=True)
    (tmp_path / "sdk" / "fake_sdk" / "__init__.py").write_text("origin = 'platform'\n")
    root = tmp_path / "task"
    root.mkdir()
    (root / "forked.py").write_text(
        "import fake_sdk, os, subprocess, sys\n"
        "def handler(event, context):\n"
        "    import __main__\n"
        "    leaks = [os.environ.get('LEAK'), hasattr(__main__, 'secret'), sys.argv[1:], sys.path[-2:-1]]\n"
        "    subprocess.run(['echo', 'from a child process'])\n"
        "    exit\n"
        "    return [fake_sdk.origin, os.environ.get('MINE'), os.getcwd(), leaks]\n"
    )
    if own_copy:
        (root / "fake_sdk.py").write_text("origin = 'mine'\n")
    with running(["true"], root, "forked.handler") as runtime:
        runtime.wait_exit()
        variables = {
            "_HANDLER": "forked.handler",
            "AWS_LAMBDA_RUNTIME_API": runtime.api.address,
            "LAMBDA_TASK_ROOT": str(root),
            "LAMBDA_RUNTIME_DIR": "/runtime-dir",
            "_LAMBDA_TELEMETRY_LOG_FD": "1",
            "PATH": "/usr/bin:/bin",
            "MINE": "yes",
        }
        command = [PYTHONS[python], "-I", "-S", "-c", FORKER, str(BOOTSTRAP), json.dumps(variables), str(tmp_path / "sdk")]
        template = subprocess.Popen(command, env={"LEAK": "template"}, stdout=subprocess.PIPE)
        try:
            origin, mine, cwd, leaks = runtime.invoke({}).json()
            assert (origin, mine, cwd) == ("mine" if own_copy else "platform", "yes", "/")
            assert leaks[:3] == [None, False, []] and leaks[3][0].endswith("lib-dynload")
        finally:
            runtime.api.events.put(None)
            runtime.api.events.put(None)
            output, _ = template.communicate(timeout=WAIT_S)
            assert template.returncode == 0
        assert output == b"from a child process\n"

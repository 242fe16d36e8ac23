"""The managed Node.js runtime, as a process."""

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fake_runtime_api import WAIT_S, running

from lambdad.runtimes import plans

NODE = shutil.which("node") or ""
BOOTSTRAP = str(Path(plans.find_runtime_files().directory, "node", "bootstrap.cjs"))
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

pytestmark = [pytest.mark.node, pytest.mark.skipif(not NODE, reason="node: Node.js is not installed")]

APP = """
const assert = require("assert");
console.log("init line");
exports.value = 5;
exports.deep = { er: { handler: async () => "deep" } };
exports.handler = async (event, context) => {
  const what = event && event.do;
  if (what === "throw") throw new TypeError("bad " + event.text);
  if (what === "throwText") throw "just text";
  if (what === "code") throw Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
  if (what === "context") {
    const { getRemainingTimeInMillis, ...rest } = context;
    return { ...rest, remaining: getRemainingTimeInMillis(), trace: process.env._X_AMZN_TRACE_ID };
  }
  if (what === "circular") { const a = {}; a.a = a; return a; }
  if (what === "log") {
    console.log("hello %s\\nsecond", "world", { a: 1 });
    console.debug("quiet"); console.warn("careful"); console.error({ an: "object" });
    console.error("it failed", new RangeError("out"));
  }
  if (what === "logSingly") {
    console.log(5); console.log(null); console.log(10n); console.log(Object.assign(new class Special extends Error {}("m"), { code: 7 }));
  }
  if (what === "uncaught") { setTimeout(() => { throw new Error("later"); }, 1); await new Promise(() => setTimeout(() => {}, 5000)); }
  if (what === "unhandled") { Promise.reject(new Error("nobody cares")); await new Promise((r) => setTimeout(r, 5000)); }
  if (what === "never") await new Promise(() => {});
  if (what === "exit") process.exit(event.status);
  if (what === "big") return "x".repeat(event.size);
  if (what === "undefined") return undefined;
  return event;
};
exports.callback = (event, context, callback) => {
  if (event.quick) context.callbackWaitsForEmptyEventLoop = false;
  if (event.fail) return callback(event.fail === "text" ? "as text" : new Error("by callback"));
  if (event.silent) return 7;
  if (event.way) return context[event.way](event.way === "done" ? null : event.value, event.value);
  if (event.throws) throw new Error("sync");
  let later = "not yet";
  setTimeout(() => { later = "later"; }, event.quick ? 600 : 30);
  callback(null, { get later() { return later; } });
};
"""

STREAM = """
const { pipeline } = require("stream/promises");
const { Readable } = require("stream");
exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
  if (event.before) throw new Error("before");
  if (event.http) {
    stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { "x-a": "1" }, cookies: ["c=1"] });
    stream.write("<b>");
    return stream.end();
  }
  stream.setContentType("text/plain");
  stream.write("one,"); stream.write(Buffer.from("two,")); stream.write({ three: 3 });
  if (event.during) throw new TypeError("during");
  if (event.large) return pipeline(Readable.from((function* () { for (let i = 0; i < 64; i++) yield "x".repeat(65536); })()), stream);
  if (event.open) return;
  stream.end();
});
exports.sync = awslambda.streamifyResponse((event, stream) => {});
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("task")
    (root / "index.js").write_text(APP)
    (root / "stream.js").write_text(STREAM)
    (root / "module.mjs").write_text("const late = await Promise.resolve(41);\nexport const handler = async () => late + 1;\n")
    (root / "common.cjs").write_text("exports.handler = async () => 'common';\n")
    (root / "esm" / "src").mkdir(parents=True)
    (root / "esm" / "package.json").write_text('{"type": "module"}')
    (root / "esm" / "src" / "app.js").write_text("import fs from 'node:fs';\nexport const run = async () => typeof fs.readFileSync;\n")
    (root / "layer" / "dep").mkdir(parents=True)
    (root / "layer" / "dep" / "index.js").write_text("module.exports = 'from NODE_PATH';\n")
    (root / "uses.js").write_text("const dep = require('dep');\nexports.handler = async () => dep;\n")
    (root / "missing.js").write_text("require('no-such-package');\n")
    (root / "missing_esm.mjs").write_text("import 'no-such-package';\n")
    (root / "broken.js").write_text("exports.handler = async () => { return ;;) };\n")
    (root / "raises.js").write_text("null.field;\n")
    (root / "rejects.js").write_text("Promise.reject(new Error('early'));\nexports.handler = async () => 1;\nsetTimeout(() => {}, 500);\n")
    (root / "wrong_kind.js").write_text("import fs from 'fs';\nexports.handler = 1;\n")
    return root


def _run(task: Path, handler: str = "index.handler", **options: object):  # type: ignore[no-untyped-def]
    return running([NODE, BOOTSTRAP], task, handler, **options)  # type: ignore[arg-type]


def test_answers_events_over_one_connection(task: Path) -> None:
    """Events of all sorts come back as they went in, and hundreds of them need one connection."""
    with _run(task) as runtime:
        for event in ({"a": [1, 2.5, None, True]}, "text", 7, None, [], {"é": "日本語 😀"}):
            post = runtime.invoke(event)
            assert post.path.endswith("/response")
            assert post.headers["content-type"] == "application/json"
            assert post.json() == event
        for number in range(200):
            assert runtime.invoke(number).body == b"%d" % number
        assert runtime.invoke({"do": "undefined"}).body == b"null"
        assert runtime.api.connections == 1


def test_passes_six_megabytes_both_ways(task: Path) -> None:
    """Payloads of the largest size AWS allows arrive whole, with a length or in chunks; a refusal is survived."""
    with _run(task) as runtime:
        event = "é" * (3 * 1024 * 1024 - 1)
        assert runtime.invoke(event).json() == event
        runtime.api.chunked = True
        assert runtime.invoke(event).json() == event
        assert runtime.invoke({}).json() == {}
        runtime.api.chunked = False
        runtime.api.answer_status = 413
        assert len(runtime.invoke({"do": "big", "size": 7_000_000}).body) == 7_000_002
        runtime.api.answer_status = 202
        assert runtime.invoke(1).body == b"1"
        assert runtime.api.connections == 1


def test_connects_again_when_the_platform_hung_up(task: Path) -> None:
    """A kept connection that turns out to be closed is replaced without losing an answer."""
    with _run(task) as runtime:
        runtime.api.close_each = True
        for number in range(5):
            assert runtime.invoke(number).body == b"%d" % number


def test_reports_what_the_handler_throws(task: Path) -> None:
    """Whatever is thrown becomes AWS's payload and one log record."""
    with _run(task) as runtime:
        post = runtime.invoke({"do": "throw", "text": "lück"})
        assert post.path == "invocation/request-1/error"
        payload = post.json()
        assert list(payload) == ["errorType", "errorMessage", "trace"]
        assert (payload["errorType"], payload["errorMessage"]) == ("TypeError", "bad lück")
        assert payload["trace"][0] == "TypeError: bad lück"
        assert payload["trace"][1].lstrip().startswith(f"at exports.handler ({task}/index.js:") or str(task) in payload["trace"][1]
        assert post.headers["lambda-runtime-function-error-type"] == "TypeError"
        cause = json.loads(post.headers["lambda-runtime-function-xray-error-cause"])
        assert cause["exceptions"][0]["message"] == "bad lück"
        assert runtime.invoke({"do": "throwText"}).json() == {"errorType": "string", "errorMessage": "just text", "trace": []}
        assert runtime.invoke({"do": "circular"}).json()["errorMessage"] == "Unable to stringify response body"
        assert runtime.invoke({"do": "code"}).json()["errorMessage"] == "refused"
        assert runtime.invoke(None, raw=b"{nonsense").json()["errorType"] == "SyntaxError"
        runtime.wait_idle()
        lines = runtime.output().splitlines()
    stamp, request, level, title, text = lines[1].split("\t")
    assert re.fullmatch(STAMP, stamp)
    assert (request, level, title) == ("request-1", "ERROR", "Invoke Error ")
    logged = json.loads(text)
    assert list(logged) == ["errorType", "errorMessage", "stack"]
    assert logged["stack"] == payload["trace"]
    assert list(json.loads(lines[4].split("\t")[-1])) == ["errorType", "errorMessage", "code", "stack"]


def test_gives_a_complete_context(task: Path) -> None:
    """Everything that AWS documents for the context object is there."""
    headers = {
        "Lambda-Runtime-Client-Context": '{"custom": {"k": "v"}}',
        "Lambda-Runtime-Cognito-Identity": '{"cognitoIdentityId": "i", "cognitoIdentityPoolId": "p"}',
        "Lambda-Runtime-Aws-Tenant-Id": "blue",
        "Lambda-Runtime-Invocation-Id": "attempt-1",
    }
    with _run(task) as runtime:
        post = runtime.invoke({"do": "context"}, headers)
        got = post.json()
        assert got.pop("remaining") > 1_000_000
        assert got == {
            "awsRequestId": "request-1",
            "functionName": "f",
            "functionVersion": "7",
            "invokedFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:f:live",
            "memoryLimitInMB": "256",
            "logGroupName": "/aws/lambda/f",
            "logStreamName": "2026/01/31/[7]0123",
            "tenantId": "blue",
            "identity": {"cognitoIdentityId": "i", "cognitoIdentityPoolId": "p"},
            "clientContext": {"custom": {"k": "v"}},
            "callbackWaitsForEmptyEventLoop": True,
            "trace": "Root=1-1",
        }
        assert post.headers["lambda-runtime-invocation-id"] == "attempt-1"


def test_callbacks_wait_for_an_empty_event_loop_unless_told_not_to(task: Path) -> None:
    """The old ways to answer work as on AWS: the callback waits, errors and context methods do not."""
    with _run(task, "index.callback") as runtime:
        assert runtime.invoke({}).json() == {"later": "later"}
        assert runtime.invoke({"quick": True}).json() == {"later": "not yet"}
        assert runtime.invoke({"fail": "error"}).json()["errorMessage"] == "by callback"
        assert runtime.invoke({"fail": "text"}).json() == {"errorType": "string", "errorMessage": "as text", "trace": []}
        assert runtime.invoke({"silent": True}).body == b"null"
        assert runtime.invoke({"throws": True}).json()["errorMessage"] == "sync"
        assert runtime.invoke({"way": "done", "value": 1}).body == b"1"
        assert runtime.invoke({"way": "succeed", "value": 2}).body == b"2"
        assert runtime.invoke({"way": "fail", "value": "no"}).json()["errorMessage"] == "no"


def test_an_async_handler_that_never_settles_is_an_error(task: Path) -> None:
    """When nothing can happen any more, the invocation fails at once, and the next one works."""
    with _run(task) as runtime:
        assert runtime.invoke({"do": "never"}).json()["errorType"] == "Runtime.NodeJsExit"
        assert runtime.invoke(3).body == b"3"


@pytest.mark.parametrize(
    ("handler", "answer"),
    [
        ("index.deep.er.handler", "deep"),
        ("module.handler", 42),
        ("common.handler", "common"),
        ("esm/src/app.run", "function"),
        ("uses.handler", "from NODE_PATH"),
    ],
)
def test_finds_handlers_of_every_kind(task: Path, handler: str, answer: object) -> None:
    """CommonJS and ES modules, nested exports, folders and NODE_PATH are all understood."""
    with _run(task, handler, environment={"NODE_PATH": str(task / "layer")}) as runtime:
        assert runtime.invoke({}).json() == answer


INIT_FAILURES = [
    ("absent.handler", "Runtime.ImportModuleError", "Error: Cannot find module 'absent'\nRequire stack:\n- /var/runtime/index.mjs"),
    (
        "missing.handler",
        "Runtime.ImportModuleError",
        "Error: Cannot find module 'no-such-package'\nRequire stack:\n- TASK/missing.js\n- /var/runtime/index.mjs",
    ),
    ("missing_esm.handler", "Error", "Cannot find package 'no-such-package' imported from TASK/missing_esm.mjs"),
    ("index.nothing", "Runtime.HandlerNotFound", "index.nothing is undefined or not exported"),
    ("index.value", "Runtime.HandlerNotFound", "index.value is not a function"),
    ("index", "Runtime.MalformedHandlerName", "Bad handler"),
    ("../index.handler", "Runtime.MalformedHandlerName", "'..' is not valid in a handler string."),
    ("broken.handler", "Runtime.UserCodeSyntaxError", "SyntaxError: Unexpected token ')'"),
    ("raises.handler", "TypeError", "Cannot read properties of null (reading 'field')"),
]


@pytest.mark.parametrize(("handler", "kind", "message"), INIT_FAILURES)
def test_reports_why_init_failed(task: Path, handler: str, kind: str, message: str) -> None:
    """A handler that cannot be had is reported once, with AWS's type and words, and the runtime leaves with a status."""
    with _run(task, handler) as runtime:
        post = runtime.api.posts.get(timeout=WAIT_S)
        assert post.path == "init/error"
        payload = post.json()
        assert list(payload) == ["errorType", "errorMessage", "trace"]
        assert (payload["errorType"], payload["errorMessage"]) == (kind, message.replace("TASK", str(task)))
        assert post.headers["lambda-runtime-function-error-type"] == kind
        assert runtime.wait_exit() == 129
        last = runtime.output().splitlines()[-1].split("\t")
        assert last[1:4] == ["undefined", "ERROR", "Uncaught Exception "]
        assert json.loads(last[4])["errorType"] == kind


def test_reports_what_nobody_catches(task: Path) -> None:
    """Exceptions out of timers and rejections that nobody handles end the invocation and the process."""
    for what, status, title, kind in (
        ("uncaught", 129, "Uncaught Exception ", "Error"),
        ("unhandled", 128, "Unhandled Promise Rejection ", "Runtime.UnhandledPromiseRejection"),
    ):
        with _run(task) as runtime:
            post = runtime.invoke({"do": what})
            assert post.path == "invocation/request-1/error"
            assert post.json()["errorType"] == kind
            assert runtime.wait_exit() == status
            last = runtime.output().splitlines()[-1].split("\t")
            assert last[1:4] == ["request-1", "ERROR", title]
            if what == "unhandled":
                logged = json.loads(last[4])
                assert logged["errorMessage"] == "Error: nobody cares"
                assert logged["reason"]["errorType"] == "Error"
                assert list(logged) == ["errorType", "errorMessage", "promise", "reason", "stack"] or "promise" in logged
    with _run(task, "rejects.handler") as runtime:
        runtime.wait_exit()
        assert runtime.api.posts.get(timeout=WAIT_S).json()["errorMessage"] == "Error: early"


def test_leaves_when_the_handler_does(task: Path) -> None:
    """process.exit in a handler ends the runtime with its status and posts nothing."""
    with _run(task) as runtime:
        runtime.api.events.put((b'{"do": "exit", "status": 3}', {"Lambda-Runtime-Aws-Request-Id": "r"}))
        assert runtime.wait_exit() == 3
        assert runtime.api.posts.empty()


def test_removed_callbacks_are_refused_from_node_24_on(task: Path) -> None:
    """A handler with three parameters is an Init error in the nodejs24.x runtime; a plain result is then the answer."""
    newer = {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs24.x"}
    with _run(task, "index.callback", environment=newer) as runtime:
        assert runtime.api.posts.get(timeout=WAIT_S).json()["errorType"] == "Runtime.CallbackHandlerDeprecated"
        runtime.wait_exit()
    (task / "plain.js").write_text("exports.handler = (event, context) => ({ waits: 'callbackWaitsForEmptyEventLoop' in context });\n")
    with _run(task, "plain.handler", environment=newer) as runtime:
        assert runtime.invoke({}).json() == {"waits": False}
    with _run(task, "plain.handler", environment={"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs20.x"}) as runtime:
        assert runtime.invoke({}).body == b"null"


def test_writes_text_logs(task: Path) -> None:
    """Console output has AWS's format, one record for each call."""
    with _run(task) as runtime:
        runtime.invoke({"do": "log"})
        runtime.wait_idle()
        lines = [line.split("\t") for line in runtime.output().split("\n")]
    assert all(re.fullmatch(STAMP, line[0]) for line in lines[:6])
    assert lines[0][1:] == ["undefined", "INFO", "init line"]
    assert lines[1][1:] == ["request-1", "INFO", "hello world\rsecond { a: 1 }"]
    assert [line[2] for line in lines[2:5]] == ["DEBUG", "WARN", "ERROR"]
    assert lines[4][3] == "{ an: 'object' }"
    assert lines[5][3].startswith("it failed RangeError: out\r    at ")
    assert lines[6:] == [[""]]


def test_writes_json_logs(task: Path) -> None:
    """In JSON mode each record is one object, filtered by the level, with errors taken apart."""
    with _run(task, environment={"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "WARN"}) as runtime:
        runtime.invoke({"do": "log"})
        runtime.invoke({"do": "throw", "text": "x"})
        runtime.wait_idle()
        careful, an_object, failed, thrown = (json.loads(line) for line in runtime.output().splitlines())
    assert re.fullmatch(STAMP, careful.pop("timestamp"))
    assert careful == {"level": "WARN", "requestId": "request-1", "message": "careful"}
    assert an_object["message"] == {"an": "object"}
    assert failed["message"].startswith("it failed RangeError: out\n")
    assert (failed["errorType"], failed["errorMessage"]) == ("RangeError", "out") and len(failed["stackTrace"]) > 1
    assert (thrown["level"], thrown["requestId"]) == ("ERROR", "request-2")
    assert thrown["message"]["errorType"] == "TypeError" and thrown["message"]["stackTrace"][0] == "TypeError: bad x"


def test_a_single_value_stays_what_it_is_in_json(task: Path) -> None:
    """Numbers, null and errors keep their form; errors are named by their class and keep their own members."""
    with _run(task, environment={"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}) as runtime:
        runtime.invoke({"do": "logSingly"})
        runtime.invoke({"do": "throwText"})
        runtime.wait_idle()
        messages = [json.loads(line)["message"] for line in runtime.output().splitlines()][1:]
    assert messages[:3] == [5, None, "10n"]
    assert (messages[3]["errorType"], messages[3]["errorMessage"], messages[3]["code"]) == ("Special", "m", 7)
    assert (messages[4]["errorType"], messages[4]["errorMessage"]) == ("Error", "just text")


def test_frames_records_for_the_telemetry_descriptor(task: Path) -> None:
    """With the descriptor, a record is one frame and keeps its newlines."""
    with _run(task, framed=True) as runtime:
        runtime.invoke({"do": "log"})
        runtime.wait_idle()
        records = runtime.frames()
        assert len(records) == 6
        assert records[1].endswith("\trequest-1\tINFO\thello world\nsecond { a: 1 }\n")


def test_streams_answers(task: Path) -> None:
    """A streaming handler's writes are sent as they come, with its content type and without a length."""
    with _run(task, "stream.handler") as runtime:
        post = runtime.invoke({})
        assert post.body == b'one,two,{"three":3}'
        assert post.headers["content-type"] == "text/plain"
        assert post.headers["lambda-runtime-function-response-mode"] == "streaming"
        assert post.headers["transfer-encoding"] == "chunked" and "content-length" not in post.headers
        assert post.trailers == {}
        post = runtime.invoke({"http": True})
        assert post.headers["content-type"] == "application/vnd.awslambda.http-integration-response"
        prelude, _, body = post.body.partition(b"\0" * 8)
        assert json.loads(prelude) == {"statusCode": 201, "headers": {"x-a": "1"}, "cookies": ["c=1"]}
        assert body == b"<b>"
        assert len(runtime.invoke({"large": True}).body) == 64 * 65536 + len('one,two,{"three":3}')
        assert runtime.api.connections == 1


def test_reports_failures_while_streaming(task: Path) -> None:
    """An error before the first byte is an ordinary one; later it travels in trailers."""
    with _run(task, "stream.handler") as runtime:
        post = runtime.invoke({"before": True})
        assert (post.path, post.json()["errorMessage"]) == ("invocation/request-1/error", "before")
        post = runtime.invoke({"during": True})
        assert post.path == "invocation/request-2/response"
        assert post.body == b'one,two,{"three":3}'
        assert post.trailers["lambda-runtime-function-error-type"] == "TypeError"
        payload = json.loads(base64.b64decode(post.trailers["lambda-runtime-function-error-body"]))
        assert (payload["errorType"], payload["errorMessage"]) == ("TypeError", "during")
        post = runtime.invoke({"open": True})
        assert post.trailers["lambda-runtime-function-error-type"] == "Runtime.NodeJsExit"
        assert runtime.invoke({}).body == b'one,two,{"three":3}'
    with _run(task, "stream.sync") as runtime:
        assert runtime.invoke({}).json()["errorMessage"] == "Streaming does not support non-async handlers."


def test_becomes_a_function_when_it_is_told_which(task: Path) -> None:
    """A stem cell boots without a function, takes one line, and runs with exactly that environment."""
    (task / "env.js").write_text(
        "const dep = require('dep');\nexports.handler = async () => [dep, process.cwd(), Object.keys(process.env).sort()];\n"
    )
    with running(["true"], task, "env.handler") as runtime:
        runtime.wait_exit()
        reading, writing = os.pipe()
        stem = subprocess.Popen(
            [NODE, BOOTSTRAP], env={"LAMBDAD_STEM_FD": str(reading), "LEAK": "1"}, pass_fds=[reading], stdin=subprocess.DEVNULL
        )
        os.close(reading)
        variables = {
            "_HANDLER": "env.handler",
            "AWS_LAMBDA_RUNTIME_API": runtime.api.address,
            "LAMBDA_TASK_ROOT": str(task),
            "NODE_PATH": str(task / "layer"),
        }
        os.write(writing, json.dumps({"environment": variables, "cwd": str(task)}).encode() + b"\n")
        os.close(writing)
        try:
            answer = runtime.invoke({}, {"Lambda-Runtime-Trace-Id": ""}).json()
            assert answer == ["from NODE_PATH", str(task), sorted(variables)]
        finally:
            stem.kill()
            stem.wait()


def test_a_stem_cell_that_is_not_needed_leaves(task: Path) -> None:
    """The end of the descriptor ends a stem cell, so none is left behind by a dead worker."""
    reading, writing = os.pipe()
    stem = subprocess.Popen([NODE, BOOTSTRAP], env={"LAMBDAD_STEM_FD": str(reading)}, pass_fds=[reading], stdin=subprocess.DEVNULL)
    os.close(reading)
    os.close(writing)
    assert stem.wait(timeout=WAIT_S) == 0

"""Node.js functions, run for real: modules, ways to answer, ways to fail, logs; compared with what AWS gives."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from conftest import Functions, Lambdad, zipped  # type: ignore[import-not-found]

NODE = shutil.which("node")
MAJOR = int(subprocess.run([NODE, "-p", "process.versions.node.split('.')[0]"], capture_output=True).stdout) if NODE else 0
RUNTIME = f"nodejs{MAJOR}.x"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

pytestmark = [pytest.mark.node, pytest.mark.skipif(NODE is None, reason="there is no Node.js")]


def deploy(functions: Functions, source: str, file: str = "index.mjs", **options: Any) -> str:
    given = {"runtime": RUNTIME, "handler": "index.handler", "Timeout": 10, "MemorySize": 512, **options}
    return functions.deploy({file: source}, **given)


def platform_payload(answer: dict[str, Any], error_type: str, text: str) -> dict[str, str]:
    return {"errorType": error_type, "errorMessage": f"RequestId: {answer['ResponseMetadata']['RequestId']} Error: {text}"}


def test_an_es_module(functions: Functions):
    """An async handler of an ES module answers, cold and warm, and keeps what it remembers."""
    name = deploy(functions, "let n = 0;\nexport const handler = async (event) => ({ n: ++n, event });\n")
    cold = functions.invoke(name, {"a": "ü"}, LogType="Tail")
    assert (cold["StatusCode"], cold["Payload"]) == (200, {"n": 1, "event": {"a": "ü"}}) and "FunctionError" not in cold
    assert re.search(r"\tInit Duration: \d+\.\d\d ms\t\n\Z", cold["LogResult"])
    assert functions.invoke(name, [1])["Payload"] == {"n": 2, "event": [1]}
    first = functions.log_lines(name)[0]
    assert re.fullmatch(
        rf"INIT_START Runtime Version: nodejs:{MAJOR}\S*\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:[0-9a-f]+", first
    )


def test_modules_of_all_kinds(functions: Functions):
    """CommonJS, an ES module by package.json, a folder, a nested export, top-level await, a package of its own and of a layer."""
    cases: list[tuple[dict[str, str], str]] = [
        ({"index.js": "exports.handler = async () => 'well';"}, "index.handler"),
        ({"index.cjs": "module.exports.handler = async () => 'well';"}, "index.handler"),
        ({"index.js": "export const handler = async () => 'well';", "package.json": '{"type": "module"}'}, "index.handler"),
        ({"src/deep/index.js": "exports.api = { get: async () => 'well' };"}, "src/deep/index.api.get"),
        ({"index.mjs": "const what = await Promise.resolve('well');\nexport const handler = async () => what;"}, "index.handler"),
        (
            {
                "index.mjs": "import said from 'says';\nexport const handler = async () => said;",
                "node_modules/says/package.json": '{"name": "says", "main": "main.js"}',
                "node_modules/says/main.js": "module.exports = 'well';",
            },
            "index.handler",
        ),
    ]
    for files, handler in cases:
        name = functions.deploy(files, runtime=RUNTIME, handler=handler, MemorySize=512)
        assert functions.invoke(name)["Payload"] == "well", files


def test_a_package_in_a_layer(functions: Functions):
    """What a layer has under nodejs/node_modules is found."""
    content = zipped({"nodejs/node_modules/said/index.js": "module.exports = 'by a layer';"})
    layer = functions.client.publish_layer_version(LayerName="said", Content={"ZipFile": content})["LayerVersionArn"]
    name = deploy(functions, "const said = require('said');\nexports.handler = async () => said;", "index.js", Layers=[layer])
    assert functions.invoke(name)["Payload"] == "by a layer"


def test_ways_to_answer(functions: Functions):
    """Promises, callbacks, context.succeed, nothing at all: each becomes what AWS makes of it."""
    name = deploy(
        functions,
        """
exports.handler = (event, context, callback) => {
  switch (event) {
    case "promise": return Promise.resolve({ by: "promise" });
    case "thenable": return { then: (resolve) => resolve("then") };
    case "callback": return callback(null, { by: "callback" });
    case "later": setTimeout(() => callback(null, "later"), 20); return;
    case "waits": setTimeout(() => { global.waited = true; }, 50); return callback(null, "waits");
    case "hurries":
      context.callbackWaitsForEmptyEventLoop = false;
      setTimeout(() => {}, 60000);
      return callback(null, [global.waited, "hurries"]);
    case "succeed": return context.succeed("succeeded");
    case "nothing": return callback();
    case "undefined": return Promise.resolve();
    case "sync": return;
    case "fails": return callback(new Error("by callback"));
    case "words": return callback("just words");
  }
};
""",
        "index.js",
        runtime="nodejs20.x",
    )
    expected = {
        "promise": {"by": "promise"}, "thenable": "then", "callback": {"by": "callback"}, "later": "later", "waits": "waits",
        "succeed": "succeeded", "nothing": None, "undefined": None, "sync": None, "hurries": [True, "hurries"],
    }  # fmt: skip
    for event, answer in expected.items():
        assert functions.invoke(name, event)["Payload"] == answer, event
    failed = functions.invoke(name, "fails")
    assert failed["FunctionError"] == "Unhandled"
    assert (failed["Payload"]["errorType"], failed["Payload"]["errorMessage"]) == ("Error", "by callback")
    assert functions.invoke(name, "words")["Payload"] == {"errorType": "string", "errorMessage": "just words", "trace": []}


def test_errors(functions: Functions):
    """What a handler throws is the payload, in AWS's order of keys, and one line of the log; the environment stays warm."""
    name = deploy(
        functions,
        "let n = 0;\nclass Odd extends RangeError { constructor(m) { super(m); this.name = 'Odd'; this.code = 'E_ODD'; } }\n"
        "export const handler = async (event) => {\n  n++;\n  if (event === 'odd') throw new Odd('no\\nway');\n"
        "  if (event === 'string') throw 'words';\n  if (event === 'null') throw null;\n  return n;\n};\n",
    )
    odd = functions.invoke(name, "odd", LogType="Tail")
    assert odd["StatusCode"] == 200 and odd["FunctionError"] == "Unhandled"
    assert list(odd["Payload"]) == ["errorType", "errorMessage", "trace"]
    assert (odd["Payload"]["errorType"], odd["Payload"]["errorMessage"]) == ("Odd", "no\nway")
    assert odd["Payload"]["trace"][0].endswith("no") and "handler" in " ".join(odd["Payload"]["trace"])
    request_id = odd["ResponseMetadata"]["RequestId"]
    line = next(line for line in odd["LogResult"].splitlines() if "Invoke Error" in line)
    found = re.fullmatch(rf"{TIME}\t{request_id}\tERROR\tInvoke Error \t(.*)", line)
    assert found is not None
    logged = json.loads(found[1])
    assert logged["errorType"] == "Odd" and logged["errorMessage"] == "no\nway" and logged["code"] == "E_ODD" and logged["stack"]
    assert functions.invoke(name, "string")["Payload"] == {"errorType": "string", "errorMessage": "words", "trace": []}
    assert functions.invoke(name, "null")["FunctionError"] == "Unhandled"
    assert functions.invoke(name)["Payload"] == 4


def test_what_nobody_catches(functions: Functions):
    """An unhandled rejection, an exception outside of the handler, and process.exit end the runtime; the next invocation is served."""
    name = deploy(
        functions,
        """
const sleep = () => new Promise((resolve) => setTimeout(resolve, 5000));
exports.handler = async (event) => {
  if (event === "reject") { Promise.reject(new Error("forgotten")); await sleep(); }
  if (event === "throw") { setTimeout(() => { throw new TypeError("thrown"); }, 1); await sleep(); }
  if (event === "exit") process.exit(4);
  if (event === "zero") process.exit(0);
  if (event === "never") await new Promise(() => {});
  return "well";
};
""",
        "index.js",
    )
    rejected = functions.invoke(name, "reject", LogType="Tail")
    assert rejected["Payload"]["errorType"] == "Runtime.UnhandledPromiseRejection"
    assert rejected["Payload"]["errorMessage"] == "Error: forgotten" and rejected["FunctionError"] == "Unhandled"
    assert "\tERROR\tUnhandled Promise Rejection \t{" in rejected["LogResult"]
    assert functions.invoke(name)["Payload"] == "well"
    thrown = functions.invoke(name, "throw", LogType="Tail")
    assert (thrown["Payload"]["errorType"], thrown["Payload"]["errorMessage"]) == ("TypeError", "thrown")
    assert "\tERROR\tUncaught Exception \t{" in thrown["LogResult"]
    for event, text in (("exit", "Runtime exited with error: exit status 4"), ("zero", "Runtime exited without providing a reason")):
        answer = functions.invoke(name, event)
        assert answer["Payload"] == platform_payload(answer, "Runtime.ExitError", text)
    never = functions.invoke(name, "never")
    assert never["FunctionError"] == "Unhandled" and never["Payload"]["errorType"].lower() == "runtime.nodejsexit"
    assert functions.invoke(name)["Payload"] == "well"


def test_what_cannot_be_loaded(functions: Functions, fenced: None):
    """Syntax errors, missing modules, files and exports have AWS's types; Init was tried twice."""
    cases = [
        ({"index.mjs": "export const handler = async ( => 1;"}, "index.handler", "Runtime.UserCodeSyntaxError", "SyntaxError: "),
        ({"index.js": "const x = require('nowhere'); exports.handler = async () => x;"}, "index.handler", "Runtime.ImportModuleError",
         "Error: Cannot find module 'nowhere'\nRequire stack:\n- /var/task/index.js"),
        ({"readme": ""}, "index.handler", "Runtime.ImportModuleError",
         "Error: Cannot find module 'index'\nRequire stack:\n- /var/runtime/index.mjs"),
        ({"index.js": ""}, "index.handler", "Runtime.HandlerNotFound", "index.handler is undefined or not exported"),
        ({"index.js": "exports.handler = 1;"}, "index.handler", "Runtime.HandlerNotFound", "index.handler is not a function"),
        ({"index.js": ""}, "../index.handler", "Runtime.MalformedHandlerName", "'..' is not valid in a handler string."),
        ({"index.js": "throw new RangeError('too early');"}, "index.handler", "RangeError", "too early"),
    ]  # fmt: skip
    for files, handler, error_type, text in cases:
        name = functions.deploy(files, runtime=RUNTIME, handler=handler, MemorySize=512)
        answer = functions.invoke(name, LogType="Tail")
        assert answer["FunctionError"] == "Unhandled", files
        assert answer["Payload"]["errorType"] == error_type and text in answer["Payload"]["errorMessage"], answer["Payload"]
        assert "Status: error" in answer["LogResult"]
    lines = functions.log_lines(name)
    assert [line.split("\t")[1] for line in lines if line.startswith("INIT_REPORT")] == ["Phase: init", "Phase: invoke"]
    assert sum("\tundefined\tERROR\tUncaught Exception \t" in line for line in lines) >= 1


def test_the_console(functions: Functions):
    """Each method has its level; newlines stay in one event; what comes in Init has no request id."""
    name = deploy(
        functions,
        "console.log('early');\nexport const handler = async () => {\n"
        "  for (const level of ['trace', 'debug', 'info', 'log', 'warn', 'error'])\n"
        "    console[level]('%s %d', level, 7, { a: [1] });\n  console.log('two\\nlines');\n  process.stdout.write('raw\\n');\n};\n",
    )
    answer = functions.invoke(name, LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    lines = functions.log_lines(name)
    assert re.fullmatch(rf"{TIME}\tundefined\tINFO\tearly", lines[1])
    inside = lines[lines.index(f"START RequestId: {request_id} Version: $LATEST") + 1 : lines.index(f"END RequestId: {request_id}")]
    levels = {"trace": "TRACE", "debug": "DEBUG", "info": "INFO", "log": "INFO", "warn": "WARN", "error": "ERROR"}
    for line, (method, level) in zip(inside, levels.items(), strict=False):
        assert re.match(rf"{TIME}\t{request_id}\t{level}\t(Trace: )?{method} 7 {{ a: \[ 1 \] }}", line), line
    rest = inside[len(levels) :]
    assert re.fullmatch(rf"{TIME}\t{request_id}\tINFO\ttwo[\n\r]lines", rest[0]) and rest[1:] == ["raw"]


def test_json_logs(functions: Functions):
    """LoggingConfig JSON makes objects of console's and of the platform's lines, by level."""
    name = deploy(
        functions,
        "export const handler = async (event) => {\n  console.debug('hidden');\n  console.info({ order: 7 });\n"
        "  console.error('failed:', new TypeError('odd'));\n  if (event) throw new Error('end');\n};\n",
        LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"},
    )
    answer = functions.invoke(name, True)
    request_id = answer["ResponseMetadata"]["RequestId"]
    for _ in range(200):
        lines = [json.loads(line) for line in functions.log_lines(name, until="{")]
        if lines[-1].get("type") == "platform.report":
            break
    platform = [line["type"] for line in lines if "type" in line]
    assert platform == ["platform.initStart", "platform.start", "platform.runtimeDone", "platform.report"]  # the third: it failed
    logged = [line for line in lines if "level" in line]
    assert all(re.fullmatch(TIME, line["timestamp"]) and line["requestId"] == request_id for line in logged)
    assert [line["level"] for line in logged] == ["INFO", "ERROR", "ERROR"]
    assert logged[0]["message"] == {"order": 7}
    assert (logged[1]["errorType"], logged[1]["errorMessage"]) == ("TypeError", "odd") and logged[1]["message"].startswith(
        "failed: TypeError: odd"
    )
    assert logged[2]["message"]["errorType"] == "Error" and logged[2]["message"]["errorMessage"] == "end"


def test_context_and_environment(functions: Functions, fenced: None):
    """The context has AWS's members; the environment is the function's and nothing of the worker's."""
    name = deploy(
        functions,
        "import os from 'node:os';\nexport const handler = async (event, context) => ({ env: process.env, context, cwd: process.cwd(),\n"
        "  left: context.getRemainingTimeInMillis(), keys: Object.keys(context).sort(), "
        "  user: os.userInfo().username, node: process.version });\n",
        Environment={"Variables": {"COLOUR": "blue", "NODE_ENV": "production"}},
        MemorySize=256,
    )
    answer = functions.invoke(name, ClientContext="eyJjdXN0b20iOiB7ImIiOiAiYyJ9fQ==")
    told = answer["Payload"]
    context, env = told["context"], told["env"]
    assert context["awsRequestId"] == answer["ResponseMetadata"]["RequestId"]
    assert context["functionName"] == name and context["functionVersion"] == "$LATEST" and context["memoryLimitInMB"] == "256"
    assert context["invokedFunctionArn"].endswith(f":function:{name}") and context["clientContext"] == {"custom": {"b": "c"}}
    assert context["logGroupName"] == f"/aws/lambda/{name}" and context["logStreamName"] == env["AWS_LAMBDA_LOG_STREAM_NAME"]
    assert 0 < told["left"] <= 10_000 and told["cwd"] == "/var/task" and told["user"] == "sbx_user1051"
    assert told["node"].startswith(f"v{MAJOR}.")
    expected = {
        "COLOUR": "blue", "NODE_ENV": "production", "AWS_EXECUTION_ENV": f"AWS_Lambda_{RUNTIME}", "_HANDLER": "index.handler",
        "AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime", "AWS_REGION": "us-east-1", "TZ": ":UTC",
    }  # fmt: skip
    assert {key: env.get(key) for key in expected} == expected
    assert env["_X_AMZN_TRACE_ID"].startswith("Root=1-") and not [key for key in env if key.startswith("LAMBDAD")]
    assert not {"HOME", "USER", "PYTHONPATH", "VIRTUAL_ENV"} & set(env)


def test_payload_sizes(functions: Functions):
    """6 MB goes in and comes out; what is larger is AWS's error, and the environment stays warm."""
    name = deploy(
        functions,
        "let n = 0;\nexport const handler = async (event) => (n++, event.give ? 'x'.repeat(event.give) : [n, event.length]);\n",
        Timeout=20,
    )
    assert functions.invoke(name, "y" * 6_000_000)["Payload"] == [1, 6_000_000]
    assert len(functions.invoke(name, {"give": 6_291_550})["Payload"]) == 6_291_550
    large = functions.invoke(name, {"give": 7_000_000})
    assert large["FunctionError"] == "Unhandled" and large["Payload"]["errorType"] == "Function.ResponseSizeTooLarge"
    assert functions.invoke(name, "ab")["Payload"] == [4, 2]
    broken = functions.client.invoke(FunctionName=name, Payload=json.dumps("\ud83d\ude00 ünï"))
    assert json.loads(broken["Payload"].read()) == [5, len("😀 ünï") + 1]


def test_a_streaming_handler_invoked_plainly(functions: Functions):
    """Invoke waits for the whole stream; an error before or after the first byte is the invocation's."""
    name = deploy(
        functions,
        """
export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
  stream.setContentType("text/plain");
  if (event === "early") throw new Error("early");
  stream.write("Hello, ");
  await new Promise((resolve) => setTimeout(resolve, 20));
  if (event === "late") throw new Error("late");
  stream.write(event);
  stream.end();
});
""",
    )
    assert functions.client.invoke(FunctionName=name, Payload='"world"')["Payload"].read() == b"Hello, world"
    for event in ("early", "late"):
        answer = functions.invoke(name, event)
        assert answer["FunctionError"] == "Unhandled"
        assert (answer["Payload"]["errorType"], answer["Payload"]["errorMessage"]) == ("Error", event)
    assert functions.client.invoke(FunctionName=name, Payload='"again"')["Payload"].read() == b"Hello, again"


def test_a_timeout(functions: Functions):
    """A handler that hangs, busy or idle, is ended in time; the next invocation is served."""
    name = deploy(
        functions,
        "export const handler = async (event) => {\n  if (event === 'busy') for (;;);\n"
        "  if (event === 'idle') await new Promise((resolve) => setTimeout(resolve, 60000));\n  return 'well';\n};\n",
        Timeout=1,
    )
    for event in ("busy", "idle"):
        late = functions.invoke(name, event, LogType="Tail")
        assert late["Payload"] == platform_payload(late, "Sandbox.Timedout", "Task timed out after 1.00 seconds")
        assert "Status: timeout" in late["LogResult"]
    assert functions.invoke(name)["Payload"] == "well"


def test_each_memory_size_has_its_heap(functions: Functions):
    """V8 is told the function's own memory, also by a process that was made ahead, and after a change of it."""
    source = "export const handler = async () => process.execArgv;\n"
    names = {memory_mib: deploy(functions, source, MemorySize=memory_mib) for memory_mib in (128, 512, 1024)}
    for memory_mib, name in names.items():
        assert f"--max-old-space-size={memory_mib - memory_mib // 10}" in functions.invoke(name)["Payload"]
    functions.client.update_function_configuration(FunctionName=names[128], MemorySize=256)
    functions.settle(names[128])
    assert "--max-old-space-size=231" in functions.invoke(names[128])["Payload"]


def test_what_was_made_ahead_is_not_to_be_seen(functions: Functions, fenced: None):
    """Variables, directory, open files and sockets are as in a process that was started for the function."""
    source = (
        "import fs from 'node:fs';\nimport Module from 'node:module';\n"
        "export const handler = async () => [Object.keys(process.env).filter((name) => name.startsWith('LAMBDAD')), process.cwd(),\n"
        "  process.env.MINE, process.listenerCount('exit'), Module.globalPaths.includes('/opt/nodejs/node_modules'),\n"
        "  fs.readdirSync('/proc/self/fd').map((fd) => { try { return fs.readlinkSync(`/proc/self/fd/${fd}`); } catch { return ''; } })\n"
        "    .filter((name) => name.startsWith('socket:')).length];\n"
    )
    name = deploy(functions, source, Environment={"Variables": {"MINE": "yes"}})
    assert functions.invoke(name)["Payload"] == [[], "/var/task", "yes", 0, True, 1]


def test_callbacks_are_gone_in_24(functions: Functions, lambdad: Lambdad):
    """nodejs24.x refuses a handler with a callback, whatever Node.js it runs on here."""
    if "nodejs24.x" not in lambdad.health()["worker"]["runtimes"]:
        pytest.skip("nodejs24.x cannot run here")
    name = deploy(functions, "exports.handler = (event, context, callback) => callback(null, 1);", "index.js", runtime="nodejs24.x")
    answer = functions.invoke(name)
    assert answer["Payload"]["errorType"] == "Runtime.CallbackHandlerDeprecated"


def test_another_major_version_is_said(functions: Functions, lambdad: Lambdad):
    """A function whose Node.js is not installed runs on the nearest, and its log says so."""
    others = [
        name for name in lambdad.health()["worker"]["runtimes"] if name in ("nodejs18.x", "nodejs20.x", "nodejs22.x") and name != RUNTIME
    ]
    if not others:
        pytest.skip("only the installed version is served")
    name = deploy(functions, "export const handler = async () => process.version;", runtime=others[-1])
    assert functions.invoke(name)["Payload"].startswith("v")
    if functions.invoke(name)["Payload"].startswith(f"v{MAJOR}."):
        assert any(line.startswith("lambdad: ") and str(MAJOR) in line for line in functions.log_lines(name))

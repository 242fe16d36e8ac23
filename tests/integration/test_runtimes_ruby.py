"""The managed Ruby runtime, as a process."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fake_runtime_api import running

from lambdad.runtimes import plans

RUBY = shutil.which("ruby") or ""
BOOTSTRAP = str(Path(plans.find_runtime_files().directory, "ruby", "bootstrap.rb"))

pytestmark = pytest.mark.skipif(not RUBY, reason="Ruby is not installed")

APP = """
require "logger"
puts "init line"
LOG = Logger.new($stdout)
def handler(event:, context:)
  what = event && event["do"]
  case what
  when "raise" then raise ArgumentError, "bad #{event["text"]}"
  when "nested" then inner
  when "name" then nowhere
  when "interrupt" then raise NotImplementedError, "later"
  when "exit" then exit(event["status"])
  when "io" then return StringIO.new("raw bytes")
  when "nan" then return Float::NAN
  when "log"
    LOG.info("one\\ntwo"); LOG.debug("quiet"); puts "first", ["second"]; $stdout.puts "plain"; warn "to stderr"
  when "context"
    return { id: context.aws_request_id, name: context.function_name, version: context.function_version, arn: context.invoked_function_arn,
             memory: context.memory_limit_in_mb, group: context.log_group_name, stream: context.log_stream_name, identity: context.identity,
             client: context.client_context, deadline: context.deadline_ms, left: context.get_remaining_time_in_millis,
             trace: ENV["_X_AMZN_TRACE_ID"] }
  when "paths" then return { gems: Gem.path, load: $LOAD_PATH, lib: require("mine") }
  end
  event
end
def inner = raise("from below")
module Outer
  class Inner
    def self.process(event:, context:) = ["class", event]
  end
end
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.rb").write_text(APP)
    return tmp_path


def command() -> list[str]:
    return [RUBY, BOOTSTRAP]


def test_it_answers_with_json(app: Path) -> None:
    """Events and answers are JSON in UTF-8, of any size, and one connection is enough for all."""
    with running(command(), app, handler="app.handler") as runtime:
        for event in ({"a": ["ü", 1.5, None]}, None, "text", {"big": "x" * 1_000_000}):
            post = runtime.invoke(event)
            assert post.path.endswith("/response") and post.json() == event
        assert runtime.api.connections == 1


def test_class_handlers(app: Path) -> None:
    """A handler may be a method of a class or module."""
    with running(command(), app, handler="app.Outer::Inner.process") as runtime:
        assert runtime.invoke({"n": 1}).json() == ["class", {"n": 1}]


def test_what_the_context_knows(app: Path) -> None:
    """The context has AWS's members."""
    headers = {
        "Lambda-Runtime-Trace-Id": "Root=1-2-3",
        "Lambda-Runtime-Client-Context": '{"custom":{"a":"b"}}',
        "Lambda-Runtime-Cognito-Identity": '{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}',
    }
    with running(command(), app, handler="app.handler") as runtime:
        seen = runtime.invoke({"do": "context"}, headers=headers).json()
        assert seen["client"] == {"custom": {"a": "b"}} and seen["identity"]["cognitoIdentityId"] == "i"
        assert seen["memory"] == "256" and seen["version"] == "7" and seen["trace"] == "Root=1-2-3"
        assert 0 < seen["left"] <= seen["deadline"] and seen["group"] == "/aws/lambda/f"
        assert runtime.invoke({"do": "context"}).json()["client"] is None


def test_errors_are_awss(app: Path) -> None:
    """Errors keep the process, but for those that AWS's client gives up on."""
    with running(command(), app, handler="app.handler") as runtime:
        post = runtime.invoke({"do": "raise", "text": "thing"})
        assert post.path.endswith("/error") and post.headers["lambda-runtime-function-error-type"] == "Function<ArgumentError>"
        assert list(post.json()) == ["errorMessage", "errorType", "stackTrace"]
        assert post.json()["errorMessage"] == "bad thing"
        assert re.fullmatch(r"/.*/app\.rb:\d+:in .handler'", post.json()["stackTrace"][0]) and len(post.json()["stackTrace"]) == 1
        nested = runtime.invoke({"do": "nested"}).json()
        assert nested["errorType"] == "Function<RuntimeError>" and len(nested["stackTrace"]) == 2
        cause = json.loads(post.headers["lambda-runtime-function-xray-error-cause"])
        assert cause["exceptions"][0]["message"] == "bad thing" and cause["paths"] == [str(app / "app.rb")]
        assert runtime.invoke({"do": "nan"}).json()["errorType"] == "Function<JSON::GeneratorError>"
        assert runtime.invoke({"n": 1}).json() == {"n": 1}
        name = runtime.invoke({"do": "name"}).json()
        assert name["errorType"] == "Function<NameError>"
        assert re.match(r"undefined local variable or method .nowhere' for main(:Object)?$", name["errorMessage"])
        assert runtime.process.wait(10) == 255
    with running(command(), app, handler="app.handler") as runtime:
        assert runtime.invoke({"do": "interrupt"}).json()["errorType"] == "Function<NotImplementedError>"
        assert runtime.process.wait(10) == 255


def test_other_answers(app: Path) -> None:
    """What an IO gives is sent as it is."""
    with running(command(), app, handler="app.handler") as runtime:
        post = runtime.invoke({"do": "io"})
        assert post.body == b"raw bytes" and post.headers["content-type"] == "application/unknown"


@pytest.mark.parametrize(
    ("handler", "kind", "words"),
    [
        ("nothing.handler", "Init<LoadError>", "cannot load such file -- nothing"),
        ("app", "Init<ArgumentError>", 'Invalid handler ["app"], must be of form FILENAME.METHOD or FILENAME.CLASS.METHOD'),
        ("broken.handler", "Init<SyntaxError>", "broken.rb"),
        ("fails.handler", "Init<RuntimeError>", "in the file"),
    ],
)
def test_init_errors(app: Path, handler: str, kind: str, words: str) -> None:
    """What goes wrong before the first event is reported as AWS does, and the process ends."""
    (app / "broken.rb").write_text("def handler(\n")
    (app / "fails.rb").write_text("raise 'in the file'\n")
    with running(command(), app, handler=handler) as runtime:
        post = runtime.api.posts.get(timeout=20)
        assert post.path == "init/error" and post.json()["errorType"] == kind and words in post.json()["errorMessage"]
        assert runtime.process.wait(10) == 252


def test_a_missing_method_is_an_error_of_the_invocation(app: Path) -> None:
    """AWS's client looks for the method when it is called."""
    with running(command(), app, handler="app.nowhere") as runtime:
        assert runtime.invoke({}).json()["errorType"] == "Function<NoMethodError>"


def test_records_are_framed(app: Path) -> None:
    """A Logger's record and what puts prints are one event each; the Logger's has AWS's format."""
    with running(command(), app, handler="app.handler", framed=True) as runtime:
        runtime.invoke({"do": "log"})
        runtime.invoke({"do": "raise", "text": "x"})
        records = runtime.frames()
        assert records[0] == "init line\n"
        assert re.fullmatch(r"I, \[\d{4}-\d\d-\d\dT[\d:]+\.\d{6} #\d+\]  INFO \S+ -- : one\ntwo\n", records[1])
        assert records[2].startswith("D, [") and records[3] == "first\nsecond\n"
        assert records[4] == "Error raised from handler method\n"


def test_json_logs(app: Path) -> None:
    """From ruby4.0 on records are JSON when that is the function's format, with levels."""
    environment = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_EXECUTION_ENV": "AWS_Lambda_ruby4.0", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
    with running(command(), app, handler="app.handler", framed=True, environment=environment) as runtime:
        runtime.invoke({"do": "log"})
        _, first, last = runtime.frames()  # the debug record is left out
        record = json.loads(first)
        assert (
            list(record) == ["timestamp", "level", "message", "requestId"] and record["level"] == "INFO" and record["message"] == "one\ntwo"
        )
        assert last == "first\nsecond\n"


def test_a_stem_cell_becomes_a_function(app: Path) -> None:
    """A process made ahead takes on variables, directory and gem paths of the function that it is given."""
    (app / "lib").mkdir()
    (app / "lib" / "mine.rb").write_text("MINE = 1\n")
    reading, writing = os.pipe()
    hearing, ready = os.pipe()
    with running(["/bin/true"], app, handler="x") as plain:
        environment = {
            "_HANDLER": "app.handler",
            "AWS_LAMBDA_RUNTIME_API": plain.api.address,
            "LAMBDA_TASK_ROOT": str(app),
            "GEM_PATH": "/nowhere/gems",
            "PATH": "/usr/bin:/bin",
            "RUBYLIB": str(app / "lib"),
        }
        stem = subprocess.Popen(
            [RUBY, BOOTSTRAP],
            env={"LAMBDAD_STEM_FD": str(reading), "LAMBDAD_STEM_READY_FD": str(ready), "RUBYLIB": str(app / "lib")},
            cwd="/",
            pass_fds=[reading, ready],
            stdout=subprocess.DEVNULL,
        )
        os.close(reading)
        os.close(ready)
        assert os.read(hearing, 1) == b""  # closed when it waits
        os.close(hearing)
        try:
            os.write(writing, json.dumps({"environment": environment, "cwd": str(app)}).encode() + b"\n")
            seen = plain.invoke({"do": "paths"}).json()
            assert "/nowhere/gems" in seen["gems"] and seen["lib"] is True
        finally:
            stem.kill()
            stem.wait()
            os.close(writing)


def test_a_stem_cell_without_a_function_leaves() -> None:
    """A process made ahead ends when nobody can give it a function any more."""
    reading, writing = os.pipe()
    stem = subprocess.Popen([RUBY, BOOTSTRAP], env={"LAMBDAD_STEM_FD": str(reading)}, pass_fds=[reading])
    os.close(reading)
    os.close(writing)
    assert stem.wait(20) == 0

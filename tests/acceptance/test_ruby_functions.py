"""Ruby functions on a real lambdad."""

import json
import re
import shutil

import pytest

from conftest import Functions, zipped

RUBY = shutil.which("ruby")
RUNTIME = "ruby3.3"

pytestmark = pytest.mark.skipif(RUBY is None, reason="Ruby is not installed")

APP = """
require "logger"
require "json"
LOGGER = Logger.new($stdout)
$count = 0
def handler(event:, context:)
  LOGGER.info("one\\ntwo")
  raise IOError, "no #{event["raise"]}" if event["raise"]
  sleep(30) if event["sleep"]
  exit(3) if event["exit"]
  nowhere if event["name"]
  { event: event, count: $count += 1, id: context.aws_request_id, name: context.function_name, left: context.get_remaining_time_in_millis,
    custom: context.client_context && context.client_context["custom"], environment: ENV.to_h, directory: Dir.pwd, uid: Process.uid }
end
module Outer
  class Inner
    def self.process(event:, context:)
      require "greeting"
      { gem: GREETING, path: Gem.path }
    end
  end
end
"""


def test_a_ruby_function(functions: Functions):
    """Event, context, variables and logs are as AWS's; an environment serves more than one invocation."""
    name = functions.deploy({"app.rb": APP}, runtime=RUNTIME, Timeout=20, Environment={"Variables": {"CUSTOM": "küche"}})
    answer = functions.invoke(name, {"a": ["ü", None]}, LogType="Tail", ClientContext="eyJjdXN0b20iOiB7ImIiOiAiYyJ9fQ==")
    seen = answer["Payload"]
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert seen["event"] == {"a": ["ü", None]} and seen["id"] == request_id and seen["name"] == name and seen["custom"] == {"b": "c"}
    assert 0 < seen["left"] <= 20_000 and seen["count"] == 1
    environment = seen["environment"]
    assert environment["CUSTOM"] == "küche" and environment["AWS_EXECUTION_ENV"] == "AWS_Lambda_ruby3.3"
    assert "LAMBDAD_STEM_FD" not in environment and environment["_X_AMZN_TRACE_ID"].startswith("Root=")
    record = rf"I, \[[^]]+ #\d+\]  INFO {request_id} -- : one\ntwo"
    assert any(re.fullmatch(record, line) for line in functions.log_lines(name))
    assert "Init Duration" in answer["LogResult"]
    assert functions.invoke(name, {})["Payload"]["count"] == 2


def test_where_it_runs(functions: Functions, fenced: None):
    """Paths, user and gem paths are AWS's."""
    name = functions.deploy({"app.rb": APP}, runtime=RUNTIME, Timeout=20)
    seen = functions.invoke(name, {})["Payload"]
    environment = seen["environment"]
    assert seen["directory"] == "/var/task" and seen["uid"] == 993
    assert environment["GEM_PATH"].startswith("/var/task/vendor/bundle/ruby/3.3.0:/opt/ruby/gems/3.3.0")
    assert environment["RUBYLIB"] == "/var/task:/var/runtime/lib:/opt/ruby/lib" and environment["LAMBDA_RUNTIME_DIR"] == "/var/runtime"


def test_errors(functions: Functions):
    """What is raised reaches the caller and the log in AWS's form, before, in and after an invocation."""
    name = functions.deploy({"app.rb": APP}, runtime=RUNTIME, Timeout=2)
    failed = functions.invoke(name, {"raise": "way"})
    assert failed["FunctionError"] == "Unhandled" and list(failed["Payload"]) == ["errorMessage", "errorType", "stackTrace"]
    assert (failed["Payload"]["errorMessage"], failed["Payload"]["errorType"]) == ("no way", "Function<IOError>")
    assert failed["Payload"]["stackTrace"][0].startswith(("/var/task/app.rb:7:in", "/"))
    lines = functions.log_lines(name)
    assert "Error raised from handler method" in lines
    assert json.loads(next(line for line in lines if line.startswith("{\n"))) == failed["Payload"]
    assert functions.invoke(name, {"name": 1})["Payload"]["errorType"] == "Function<NameError>"
    exits = functions.invoke(name, {"exit": 1})["Payload"]
    assert exits["errorType"] == "Runtime.ExitError" and exits["errorMessage"].endswith("exit status 3")
    assert functions.invoke(name, {"sleep": 1})["Payload"]["errorType"] == "Sandbox.Timedout"
    assert functions.invoke(name, {"n": 1})["Payload"]["event"] == {"n": 1}
    missing = functions.invoke(functions.deploy({"app.rb": APP}, handler="other.handler", runtime=RUNTIME, Timeout=20))["Payload"]
    assert missing["errorType"] == "Init<LoadError>" and missing["errorMessage"].startswith("cannot load such file -- other")


def test_classes_and_layers(functions: Functions, fenced: None):
    """A handler may be a class's method; files in a layer's ruby/lib are found."""
    content = zipped({"ruby/lib/greeting.rb": "GREETING = 'from a layer'\n"})
    layer = functions.client.publish_layer_version(LayerName="ruby-greeting", Content={"ZipFile": content})["LayerVersionArn"]
    name = functions.deploy({"app.rb": APP}, handler="app.Outer::Inner.process", runtime=RUNTIME, Timeout=20, Layers=[layer])
    seen = functions.invoke(name, {})["Payload"]
    assert seen["gem"] == "from a layer" and "/opt/ruby/gems/3.3.0" in seen["path"]


def test_a_wrapper_script_and_options(functions: Functions, fenced: None):
    """AWS_LAMBDA_EXEC_WRAPPER gets Ruby's command line; RUBYOPT is heeded."""
    wrapper = '#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n'
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"}
    files = {"app.rb": APP, "wrapper": wrapper}
    name = functions.deploy(files, modes={"wrapper": 0o755}, runtime=RUNTIME, Timeout=20, Environment={"Variables": variables})
    assert functions.invoke(name, {})["Payload"]["environment"]["WRAPPED"] == "yes"
    source = "def handler(event:, context:) = [$VERBOSE, defined?(Set).to_s]\n"
    name = functions.deploy({"app.rb": source}, runtime=RUNTIME, Timeout=20, Environment={"Variables": {"RUBYOPT": "-W2 -rset"}})
    assert functions.invoke(name, {})["Payload"] == [True, "constant"]

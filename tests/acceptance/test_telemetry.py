"""The Telemetry and Logs APIs: what extensions are told about a function, and how."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from test_extensions import SHARED, layer, lines_until, throttle_is_over  # noqa: F401

from conftest import Functions, eventually  # type: ignore[import-not-found]

SYSTEM_PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
pytestmark = pytest.mark.skipif(SYSTEM_PYTHON is None, reason="the system has no python3")

# An extension that listens where it is told to, and repeats what it is told in its own log.
RECEIVER = """
import http.server, socketserver
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        take(self, body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *words): pass
def take(request, body):
    for event in json.loads(body):
        if event["type"] != "extension":
            say("EVENT", request.path, json.dumps(event))
def serve(port, handler=Receiver):
    server = http.server.ThreadingHTTPServer(("sandbox.localdomain", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
def subscribe(identifier, path="/2022-07-01/telemetry", types=("platform", "function"), destination=None, **more):
    body = {"schemaVersion": "2022-12-13", "types": types, "buffering": {"timeoutMs": 25, "maxItems": 1000, "maxBytes": 262144},
            "destination": destination or {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8123/in?x=1"}, **more}
    return call("PUT", path, json.dumps(body), Lambda_Extension_Identifier=identifier)[:2]
"""
LOOP = """
while following(identifier)["eventType"] == "INVOKE": pass
time.sleep(0.3)
"""


def events_of(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line.split(" ", 2)[2]) for line in lines if line.startswith("EVENT")]


def told(functions: Functions, name: str, kind: str, count: int = 1) -> list[dict[str, Any]]:
    """Return the events that the extension has repeated, once there are so many of a kind."""
    seen: list[dict[str, Any]] = []

    def there() -> bool:
        try:
            events = functions.logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern="EVENT")["events"]
        except functions.logs.exceptions.ResourceNotFoundException:
            events = []
        seen[:] = events_of([event["message"].removesuffix("\n") for event in events])
        return sum(event["type"] == kind for event in seen) >= count

    try:
        eventually(there, kind, 40)
    except AssertionError as error:
        events = functions.logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
        raise AssertionError(f"no {kind} in {[event['message'] for event in events]}") from error
    return seen


def one(events: list[dict[str, Any]], kind: str, number: int = 0) -> dict[str, Any]:
    return dict([event["record"] for event in events if event["type"] == kind][number])


@pytest.fixture
def receiver(functions: Functions, layer: Callable[..., str]) -> Callable[..., str]:  # noqa: F811
    """Deploy a function with an extension that subscribes and repeats."""

    def deploy(rest: str, source: str = SHARED, **options: Any) -> str:
        arn = layer({"receiver": RECEIVER + "identifier = register('INVOKE', 'SHUTDOWN')\n" + rest})
        return functions.deploy(source, Layers=[arn], **{"Timeout": 10, **options})

    return deploy


def test_telemetry_by_http(functions: Functions, receiver: Callable[..., str]):
    """All of the platform's events of a cold and a warm invocation, with their fields, and the function's lines in between."""
    name = receiver("serve(8123)\nassert subscribe(identifier) == (200, b'\"OK\"')\n" + LOOP)
    request_id = functions.invoke(name, 5)["ResponseMetadata"]["RequestId"]
    functions.invoke(name, 6)
    events = told(functions, name, "platform.report", 2)
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["platform.initStart", "platform.telemetrySubscription", "platform.extension"]
    assert kinds[3:9] == [
        "platform.initRuntimeDone",
        "platform.initReport",
        "platform.start",
        "function",
        "platform.runtimeDone",
        "platform.report",
    ]
    assert one(events, "platform.initStart") == {
        "initializationType": "on-demand",
        "phase": "init",
        "runtimeVersion": one(events, "platform.initStart")["runtimeVersion"],
        "runtimeVersionArn": one(events, "platform.initStart")["runtimeVersionArn"],
        "functionName": name,
        "functionVersion": "$LATEST",
        "instanceId": one(events, "platform.initStart")["instanceId"],
        "instanceMaxMemory": 128,
    }
    subscription = {"name": "receiver", "state": "Subscribed", "types": ["platform", "function"]}
    assert one(events, "platform.telemetrySubscription") == subscription
    assert one(events, "platform.extension") == {"name": "receiver", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]}
    assert one(events, "platform.initReport")["status"] == "success" and one(events, "platform.initReport")["metrics"]["durationMs"] > 0
    start, done, report = (one(events, f"platform.{kind}") for kind in ("start", "runtimeDone", "report"))
    assert start["requestId"] == done["requestId"] == report["requestId"] == request_id
    assert start["version"] == "$LATEST" and start["tracing"]["type"] == "X-Amzn-Trace-Id"
    assert done["status"] == report["status"] == "success" and done["metrics"]["producedBytes"] > 40
    assert [span["name"] for span in done["spans"]] == ["responseLatency", "responseDuration", "runtimeOverhead"]
    assert set(report["metrics"]) == {"durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB", "initDurationMs"}
    assert [span["name"] for span in report["spans"]] == ["extensionOverhead"]
    assert [event["record"] for event in events if event["type"] == "function"] == ["handling 5", "handling 6"]
    lines = functions.log_lines(name)
    assert "TELEMETRY\tName: receiver\tState: Subscribed\tTypes: [Platform, Function]" in lines
    assert any(line.startswith("EVENT /in?x=1 ") for line in lines)


def test_telemetry_by_tcp(functions: Functions, receiver: Callable[..., str]):
    """One JSON object in a line; lines that are JSON objects come as objects where the log format is JSON."""
    name = receiver(
        """
class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            say("EVENT tcp", line.decode().strip())
server = socketserver.ThreadingTCPServer(("sandbox.localdomain", 8124), Lines)
threading.Thread(target=server.serve_forever, daemon=True).start()
assert subscribe(identifier, destination={"protocol": "TCP", "port": 8124}, types=["function"])[0] == 200
"""
        + LOOP,
        source="import json\ndef handler(e, c):\n    print('plain')\n    print(json.dumps({'level': 'INFO', 'a': [1]}))\n",
        LoggingConfig={"LogFormat": "JSON"},
    )
    functions.invoke(name)
    assert [event["record"] for event in told(functions, name, "function", 2)] == ["plain", {"level": "INFO", "a": [1]}]


def test_the_logs_api(functions: Functions, receiver: Callable[..., str]):
    """The older API has its own events, with fewer fields; the other API is closed to who uses it."""
    name = receiver(
        """
serve(8123)
say(subscribe(identifier, path="/2020-08-15/logs", schemaVersion="2021-03-18"))
say(subscribe(identifier))
"""
        + LOOP
    )
    functions.invoke(name, 5)
    events = told(functions, name, "platform.report")
    kinds = [event["type"] for event in events]
    assert kinds == [
        "platform.logsSubscription",
        "platform.extension",
        "platform.start",
        "function",
        "platform.runtimeDone",
        "platform.end",
        "platform.report",
    ]
    assert set(one(events, "platform.runtimeDone")) == {"requestId", "status"} and set(one(events, "platform.end")) == {"requestId"}
    lines = functions.log_lines(name)
    assert "LOGS\tName: receiver\tState: Subscribed\tTypes: [Platform, Function]" in lines
    assert any("Telemetry.SubscriptionClosed" in line and line.startswith("(403") for line in lines)


def test_what_is_left_is_delivered_at_the_end(functions: Functions, receiver: Callable[..., str]):
    """With half a minute of buffering nothing comes before the Shutdown phase, and then all of it."""
    name = receiver("serve(8123)\nsubscribe(identifier, buffering={'timeoutMs': 30000})\n" + LOOP)
    functions.invoke(name, 5)
    functions.client.delete_function(FunctionName=name)
    events = told(functions, name, "platform.report")
    assert one(events, "platform.report")["status"] == "success"


def test_an_idle_environment_hears_the_end_of_its_invocation(functions: Functions, receiver: Callable[..., str]):
    """Before it is frozen, what there is is delivered, whatever the buffering."""
    name = receiver("serve(8123)\nsubscribe(identifier, buffering={'timeoutMs': 30000})\n" + LOOP)
    functions.invoke(name, 5)
    assert one(told(functions, name, "platform.report"), "platform.report")["status"] == "success"


@pytest.mark.parametrize(
    "destination",
    [
        # never answers
        "server = __import__('socket').create_server(('0.0.0.0', 8123))\n",
        # redirects to a place outside, and so gets nothing more than what came first
        """
class Elsewhere(Receiver):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(302)
        self.send_header("Location", "http://169.254.100.1:4566/_lambdad/health")
        self.send_header("Content-Length", "0")
        self.end_headers()
serve(8123, Elsewhere)
""",
        # answers without end
        """
class Endless(Receiver):
    def do_POST(self):
        while True:
            self.wfile.write(b"x" * 65536)
serve(8123, Endless)
""",
        # is not there
        "",
    ],
    ids=["mute", "redirects", "endless", "absent"],
)
def test_destinations_that_misbehave(functions: Functions, receiver: Callable[..., str], destination: str):
    """They get nothing, and neither the function nor the end of the environment waits for them."""
    name = receiver(destination + "assert subscribe(identifier)[0] == 200\n" + LOOP)
    for number in range(3):
        assert functions.invoke(name, number)["Payload"][0] == number
    functions.client.delete_function(FunctionName=name)


def test_too_much_for_a_slow_destination(functions: Functions, receiver: Callable[..., str]):
    """What does not fit is dropped and counted; the function is not slowed down."""
    name = receiver(
        """
def take(request, body):
    if not os.path.exists("/tmp/fast"):
        time.sleep(2)
    for event in json.loads(body):
        if event["type"] == "platform.logsDropped":
            say("EVENT", request.path, json.dumps(event))
serve(8123)
subscribe(identifier)
"""
        + LOOP,
        source="def handler(e, c):\n    for n in range(e):\n        print('x' * 1000)\n    if not e: open('/tmp/fast', 'w').close()\n",
    )
    functions.invoke(name, 3000)
    functions.invoke(name, 0)
    record = one(told(functions, name, "platform.logsDropped"), "platform.logsDropped")
    assert record["droppedRecords"] > 100 and record["droppedBytes"] > 100_000 and "slower" in record["reason"]


def test_failures_are_told(functions: Functions, receiver: Callable[..., str]):
    """A function's error, and a runtime that exits: status and type are in the events; a new Init has phase invoke."""
    source = "import os\ndef handler(e, c):\n    if e == 1: raise ValueError('no')\n    if e == 2: os._exit(3)\n    return e\n"
    name = receiver("serve(8123)\nsubscribe(identifier)\n" + LOOP, source=source)
    functions.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    functions.invoke(name, 1)
    events = told(functions, name, "platform.report")
    assert (one(events, "platform.runtimeDone")["status"], one(events, "platform.report")["status"]) == ("error", "error")
    eventually(lambda: throttle_is_over(functions, name, 2), "the end of the first invocation")
    told(functions, name, "platform.report", 2)
    eventually(lambda: throttle_is_over(functions, name), "the end of the reset")
    events = told(functions, name, "platform.report", 3)
    assert one(events, "platform.report", 1)["errorType"] == "Runtime.ExitError"
    assert "invoke" in [event["record"]["phase"] for event in events if event["type"] == "platform.initReport"]
    lines_until(functions, name, "REPORT")

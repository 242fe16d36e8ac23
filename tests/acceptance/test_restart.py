"""Stopping and starting: what was acknowledged is there again, and one data directory has one lambdad."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conftest import PYTHON, ROLE, Lambdad, eventually, zipped  # type: ignore[import-not-found]

SOURCE = (
    "import os\nprint('imported')\n"
    "try:\n    import shelf\nexcept ImportError:\n    shelf = None\n"
    "def handler(event, context):\n"
    "    print('ran', event)\n"
    "    return [event, os.environ.get('TURN'), context.function_version, shelf.BOOK if shelf else None]\n"
)
FUNCTION = {"FunctionName": "kept"}
GROUP = {"logGroupName": "/aws/lambda/kept"}


def settle(client: Any) -> None:
    client.get_waiter("function_updated_v2").wait(**FUNCTION, WaiterConfig={"Delay": 0, "MaxAttempts": 1000})


def invoke(running: Lambdad, event: Any, **options: Any) -> Any:
    return json.load(running.client("lambda").invoke(**FUNCTION, Payload=json.dumps(event), **options)["Payload"])


def furnish(running: Lambdad) -> None:
    """Make one of each thing that is kept."""
    client, logs = running.client("lambda"), running.client("logs")
    layer = client.publish_layer_version(LayerName="shelf", Content={"ZipFile": zipped({"python/shelf.py": "BOOK = 'one'\n"})})
    client.add_layer_version_permission(
        LayerName="shelf", VersionNumber=1, StatementId="all", Action="lambda:GetLayerVersion", Principal="*"
    )
    client.create_function(
        **FUNCTION,
        Runtime=PYTHON,
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": zipped({"app.py": SOURCE})},
        Layers=[layer["LayerVersionArn"]],
        Environment={"Variables": {"TURN": "first"}},
        Tags={"team": "blue"},
    )
    client.get_waiter("function_active_v2").wait(**FUNCTION, WaiterConfig={"Delay": 0, "MaxAttempts": 1000})
    client.publish_version(**FUNCTION)
    client.update_function_configuration(**FUNCTION, Environment={"Variables": {"TURN": "second"}})
    settle(client)
    client.publish_version(**FUNCTION, Description="two")
    client.create_alias(**FUNCTION, Name="live", FunctionVersion="1")
    client.create_alias(
        **FUNCTION, Name="mixed", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}}, Description="both"
    )
    grant = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    client.add_permission(**FUNCTION, StatementId="all", **grant)
    client.add_permission(**FUNCTION, StatementId="live", Qualifier="live", **grant)
    client.put_function_concurrency(**FUNCTION, ReservedConcurrentExecutions=5)
    logs.create_log_group(logGroupName="own", tags={"a": "b"})
    logs.put_retention_policy(logGroupName="own", retentionInDays=7)
    client.create_function(
        **{**FUNCTION, "FunctionName": "gone"}, Runtime=PYTHON, Role=ROLE, Handler="a.b", Code={"ZipFile": zipped({"a": ""})}
    )
    client.delete_function(FunctionName="gone")


def inventory(running: Lambdad) -> dict[str, Any]:
    """Read all that is kept, without what differs from answer to answer."""
    client, logs = running.client("lambda"), running.client("logs")
    shelf = {"LayerName": "shelf", "VersionNumber": 1}
    calls: list[tuple[Any, str, dict[str, Any]]] = [
        (client, "list_functions", {"FunctionVersion": "ALL"}),
        *((client, "get_function_configuration", {**FUNCTION, "Qualifier": one}) for one in ("$LATEST", "1", "2", "live")),
        (client, "list_aliases", FUNCTION),
        (client, "list_tags", {"Resource": "arn:aws:lambda:us-east-1:000000000000:function:kept"}),
        (client, "get_policy", FUNCTION),
        (client, "get_policy", {**FUNCTION, "Qualifier": "live"}),
        (client, "get_function_concurrency", FUNCTION),
        (client, "list_layers", {}),
        (client, "get_layer_version_policy", shelf),
        (client, "get_account_settings", {}),
        (logs, "describe_log_groups", {}),
        (logs, "list_tags_log_group", {"logGroupName": "own"}),
    ]
    found = {}
    for api, operation, parameters in calls:
        answer = getattr(api, operation)(**parameters)
        del answer["ResponseMetadata"]
        for group in answer.get("logGroups", ()):
            del group["storedBytes"]
        found[f"{operation} {parameters}"] = answer
    return found


def ran(running: Lambdad) -> list[str]:
    """Give what the function has printed of its events, in order."""
    try:
        events = running.client("logs").filter_log_events(**GROUP, filterPattern="ran")["events"]
    except running.client("logs").exceptions.ResourceNotFoundException:
        return []
    return [event["message"].strip() for event in events]


def check_a_life(running: Lambdad) -> None:
    """Use lambdad, stop it, start it, and find everything there and working; then the same once more."""
    furnish(running)
    assert invoke(running, 1) == [1, "second", "$LATEST", "one"]
    assert invoke(running, 2, Qualifier="1") == [2, "first", "1", "one"]
    eventually(lambda: len(ran(running)) == 2, "the log of two invocations")
    before = inventory(running)
    written = ["ran 1", "ran 2"]
    for turn in (3, 4):
        assert running.stop() == 0
        running.start()
        assert inventory(running) == before
        assert ran(running) == written
        assert invoke(running, turn) == [turn, "second", "$LATEST", "one"]
        assert invoke(running, turn, Qualifier="live") == [turn, "first", "1", "one"]
        written += [f"ran {turn}"] * 2
    eventually(lambda: ran(running) == written, "the log of the last two invocations")
    client = running.client("lambda")
    location = client.get_function(**FUNCTION)["Code"]["Location"]
    with urllib.request.urlopen(location) as answer:
        assert answer.read() == zipped({"app.py": SOURCE})
    client.update_function_configuration(**FUNCTION, Description="goes on")
    settle(client)
    assert client.publish_version(**FUNCTION)["Version"] == "3"
    assert client.publish_layer_version(LayerName="shelf", Content={"ZipFile": zipped({"a": "b"})})["Version"] == 2
    assert running.stop() == 0


def test_a_life_on_sqlite(own_lambdad: Callable[..., Lambdad]):
    """Functions, versions, aliases, layers, tags, policies, reservations and logs outlive SIGTERM, and functions run."""
    check_a_life(own_lambdad())


@pytest.mark.postgres
def test_a_life_on_postgresql(own_lambdad: Callable[..., Lambdad], postgres_url: str):
    """The same, with everything but code in PostgreSQL."""
    running = own_lambdad("--database-url", postgres_url)
    check_a_life(running)
    assert not list(running.data_dir.rglob("*.sqlite3"))


def test_a_stop_waits_for_what_runs(own_lambdad: Callable[..., Lambdad]):
    """SIGTERM lets a call end and its answer and log go out; who comes later is not let in."""
    running = own_lambdad()
    client = running.client("lambda")
    source = (
        "import time\ndef handler(event, context):\n"
        "    print('begun', flush=True)\n    time.sleep(1)\n    print('ran to the end')\n    return 1\n"
    )
    code = {"ZipFile": zipped({"app.py": source})}
    client.create_function(**FUNCTION, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code=code, Timeout=10)
    client.get_waiter("function_active_v2").wait(**FUNCTION, WaiterConfig={"Delay": 0, "MaxAttempts": 1000})
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.invoke, **FUNCTION)
        eventually(lambda: running.health()["environments"]["busy"] == 1, "the invocation")
        begun_s = time.monotonic()
        assert running.process is not None
        running.process.terminate()
        assert json.load(call.result()["Payload"]) == 1
    assert running.process.wait(30) == 0 and time.monotonic() - begun_s < 5
    with pytest.raises(urllib.error.URLError):
        running.health()
    assert running.process.stdout is not None
    running.process.stdout.close()
    running.start()
    assert ran(running) == ["ran to the end"]


def test_one_data_directory_has_one_lambdad(own_lambdad: Callable[..., Lambdad]):
    """A second `up` on the same directory says so and exits 1; the first one does not notice."""
    running = own_lambdad()
    command = [sys.executable, "-m", "lambdad.cli.main", "up", "--port", "0", "--data-dir", str(running.data_dir)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == f"lambdad: another lambdad uses {running.data_dir}\n"
    assert running.health()["status"] == "ok"
    port = running.url.rpartition(":")[2]
    other = str(running.data_dir.with_name("other"))
    third = subprocess.run([*command[:-4], "--port", port, "--data-dir", other], capture_output=True, text=True, timeout=30)
    assert third.returncode == 1 and f"cannot listen on 127.0.0.1:{port}" in third.stderr


def test_the_access_key_that_is_made_is_kept(own_lambdad: Callable[..., Lambdad], capfd: pytest.CaptureFixture[str]):
    """With `--auth iam` and no key given one is made, said where it is, readable by its owner alone, and the same after a restart."""
    running = own_lambdad("--auth", "iam")
    path: Path = running.data_dir / "access-key.json"
    key = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    said = capfd.readouterr().err
    assert key["access_key_id"] in said and str(path) in said and key["secret_access_key"] not in said
    credentials = {"aws_access_key_id": key["access_key_id"], "aws_secret_access_key": key["secret_access_key"]}
    assert running.client("lambda", **credentials).list_functions()["Functions"] == []
    assert running.stop() == 0
    running.start()
    assert running.client("lambda", **credentials).list_functions()["Functions"] == []
    with pytest.raises(running.client("lambda").exceptions.ClientError, match="security token included in the request is invalid"):
        running.client("lambda").list_functions()

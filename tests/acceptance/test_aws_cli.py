"""AWS's own command line program, from PyPI, against `lambdad up`: what it is told to do, what it prints, how it exits."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conftest import PYTHON, ROLE, Lambdad, eventually, zipped  # type: ignore[import-not-found]

PROGRAM = Path(sys.executable).with_name("aws")
FAILED = 255  # what version 1 of the CLI exits with when the service says no
MISUSED = 2  # ... when it does not understand its own options
ACCOUNT = "000000000000"

# What AWS answers to CreateFunction with nothing optional given.
CONFIGURATION = {
    "FunctionName",
    "FunctionArn",
    "Runtime",
    "Role",
    "Handler",
    "CodeSize",
    "Description",
    "Timeout",
    "MemorySize",
    "LastModified",
    "CodeSha256",
    "Version",
    "TracingConfig",
    "RevisionId",
    "PackageType",
    "Architectures",
    "EphemeralStorage",
    "SnapStart",
    "LoggingConfig",
}
SINGLE = CONFIGURATION | {"State", "RuntimeVersionConfig"}
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
UPDATE_REASON = {"LastUpdateStatusReason": "The function is being created.", "LastUpdateStatusReasonCode": "Creating"}

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="awscli is not installed")


class Cli:
    """Runs the AWS CLI with nothing of the machine's own AWS settings, and without retries."""

    def __init__(self, lambdad: Lambdad, directory: Path, prefix: str) -> None:
        self.directory = directory
        self.name = prefix
        self.client = lambdad.client("lambda")  # for what has to be quick, or at the same time
        self.logs = lambdad.client("logs")
        self._url = lambdad.url
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def run(self, *arguments: str, status: int = 0) -> "subprocess.CompletedProcess[str]":
        """Run a command and check how it exits."""
        done = subprocess.run(
            [str(PROGRAM), "--endpoint-url", self._url, *arguments],
            env=self._environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, f"{arguments} exits {done.returncode}: {done.stderr}"
        return done

    def __call__(self, *arguments: str) -> Any:
        """Run a command that succeeds, and give what it prints: JSON, or None for nothing."""
        done = self.run(*arguments)
        assert not done.stderr
        return json.loads(done.stdout) if done.stdout else None

    def fails(self, *arguments: str, status: int = FAILED) -> str:
        """Run a command that fails, and give what it says."""
        done = self.run(*arguments, status=status)
        assert not done.stdout
        return done.stderr.strip()

    def zip(self, file: str, content: dict[str, str | bytes]) -> str:
        """Write a zip and give the parameter that names it."""
        (self.directory / file).write_bytes(zipped(content))
        return f"fileb://{file}"

    def wait(self, condition: str) -> None:
        """Wait by one of the CLI's own waiters on the test's function."""
        assert self.function(f"wait {condition}") is None

    def create(self, source: str, *options: str) -> dict[str, Any]:
        """Create the test's function and wait until it is active."""
        made: dict[str, Any] = self(
            *("lambda", "create-function", "--function-name", self.name, "--runtime", PYTHON, "--role", ROLE),
            *("--handler", "app.handler", "--zip-file", self.zip("code.zip", {"app.py": source}), *options),
        )
        self.wait("function-active-v2")
        return made

    def function(self, operation: str, *options: str) -> Any:
        """Run an operation on the test's function."""
        words = operation.split()
        return self("lambda", *words, "--function-name", self.name, *options)

    def function_fails(self, operation: str, *options: str) -> str:
        """Run an operation on the test's function that the service refuses."""
        return self.fails("lambda", operation, "--function-name", self.name, *options)

    def invoke(self, *options: str) -> tuple[dict[str, Any], bytes]:
        """Invoke the test's function: what the program prints, and what it writes to the file."""
        printed = self.function("invoke", *options, "out")
        return printed, (self.directory / "out").read_bytes()


@pytest.fixture
def cli(lambdad: Lambdad, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cli]:
    """The CLI, for a test whose function, if it makes one, has the test's name."""
    made = Cli(lambdad, tmp_path, request.node.name.replace("_", "-"))
    yield made
    names = [one["FunctionName"] for one in made.client.list_functions()["Functions"]]
    if made.name in names:
        made.client.delete_function(FunctionName=made.name)


def arn(name: str, qualifier: str = "") -> str:
    return f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}" + (f":{qualifier}" if qualifier else "")


def refusal(operation: str, code: str, message: str) -> str:
    """Write what the CLI says of an error."""
    return f"An error occurred ({code}) when calling the {operation} operation: {message}"


def test_life_of_a_function(cli: Cli):
    """Create, wait, look, invoke, change code, change configuration, list, delete: each with AWS's output."""
    made = cli.create("def handler(event, context):\n    return 'one'\n")
    content = (cli.directory / "code.zip").read_bytes()
    assert set(made) == SINGLE | {"StateReason", "StateReasonCode"}
    expected = {
        "FunctionName": cli.name,
        "FunctionArn": arn(cli.name),
        "CodeSize": len(content),
        "CodeSha256": base64.b64encode(hashlib.sha256(content).digest()).decode(),
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Version": "$LATEST",
        "TracingConfig": {"Mode": "PassThrough"},
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
        "PackageType": "Zip",
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{cli.name}"},
    }
    assert {key: made[key] for key in expected} == expected
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", made["LastModified"])
    assert re.fullmatch(UUID, made["RevisionId"])
    assert re.fullmatch(r"arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}", made["RuntimeVersionConfig"]["RuntimeVersionArn"])

    shown = cli.function("get-function")
    assert set(shown) == {"Configuration", "Code"}
    assert set(shown["Code"]) == {"RepositoryType", "Location"} and shown["Code"]["RepositoryType"] == "S3"
    configuration = shown["Configuration"]
    assert set(configuration) == SINGLE | {"LastUpdateStatus"}
    assert (configuration["State"], configuration["LastUpdateStatus"]) == ("Active", "Successful")
    assert configuration["RevisionId"] != made["RevisionId"]
    qualified = cli.function("get-function-configuration", "--qualifier", "$LATEST")
    assert qualified == {**configuration, "FunctionArn": arn(cli.name, "$LATEST")}
    assert cli.invoke() == ({"StatusCode": 200, "ExecutedVersion": "$LATEST"}, b'"one"')

    source = "import os\ndef handler(event, context):\n    return dict(os.environ)\n"
    changed = cli.function("update-function-code", "--zip-file", cli.zip("two.zip", {"app.py": source}))
    assert changed.items() >= UPDATE_REASON.items() and changed["State"] == "Active"
    cli.wait("function-updated-v2")
    changed = cli.function(
        *("update-function-configuration", "--timeout", "7", "--memory-size", "256", "--description", "two"),
        *("--environment", "Variables={COLOUR=blue,SHAPE=round}", "--ephemeral-storage", "Size=600"),
    )
    assert changed.items() >= UPDATE_REASON.items()
    assert changed["Environment"] == {"Variables": {"COLOUR": "blue", "SHAPE": "round"}}
    assert (changed["Timeout"], changed["MemorySize"], changed["Description"]) == (7, 256, "two")
    cli.wait("function-updated-v2")
    environment = json.loads(cli.invoke()[1])
    assert (environment["COLOUR"], environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) == ("blue", "256")

    listed = [one for one in cli("lambda", "list-functions")["Functions"] if one["FunctionName"] == cli.name]
    assert len(listed) == 1 and set(listed[0]) == CONFIGURATION | {"Environment"}
    cli.run("lambda", "delete-function", "--function-name", cli.name)
    missing = f"Function not found: {arn(cli.name)}"
    assert cli.function_fails("get-function") == refusal("GetFunction", "ResourceNotFoundException", missing)


def test_ways_to_invoke(cli: Cli):
    """Payload, log tail, event, dry run, qualifier, client context; a function's error is no error of the program."""
    cli.create(
        "def handler(event, context):\n"
        "    if event == 'raise':\n        raise ValueError('no')\n"
        "    print('got', event)\n"
        "    return [event, context.invoked_function_arn, context.client_context.custom if context.client_context else None]\n"
    )
    printed, answer = cli.invoke("--payload", '{"n": 1}', "--log-type", "Tail")
    assert set(printed) == {"StatusCode", "LogResult", "ExecutedVersion"}
    assert (printed["StatusCode"], printed["ExecutedVersion"]) == (200, "$LATEST")
    tail = base64.b64decode(printed["LogResult"]).decode().splitlines()
    assert [line.split(" ")[0] for line in tail] == ["START", "got", "END", "REPORT"]
    assert json.loads(answer) == [{"n": 1}, arn(cli.name), None]

    context = base64.b64encode(json.dumps({"custom": {"who": "me"}}).encode()).decode()
    printed, answer = cli.invoke("--qualifier", "$LATEST", "--client-context", context)
    assert json.loads(answer) == [{}, arn(cli.name, "$LATEST"), {"who": "me"}]
    printed, answer = cli.invoke("--payload", '"raise"')
    assert printed == {"StatusCode": 200, "FunctionError": "Unhandled", "ExecutedVersion": "$LATEST"}
    assert json.loads(answer)["errorType"] == "ValueError"
    assert cli.invoke("--invocation-type", "DryRun") == ({"StatusCode": 204}, b"")
    assert cli.invoke("--invocation-type", "Event", "--payload", '"later"') == ({"StatusCode": 202}, b"")
    group = ("--log-group-name", f"/aws/lambda/{cli.name}")
    eventually(lambda: cli("logs", "filter-log-events", *group, "--filter-pattern", "later")["events"], "the event's output in the log")

    missing = f"Function not found: {arn('nowhere', '$LATEST')}"
    said = cli.fails("lambda", "invoke", "--function-name", "nowhere", "out")
    assert said == refusal("Invoke", "ResourceNotFoundException", missing)
    said = cli.function_fails("invoke", "--payload", "{", "out")
    assert said.startswith(refusal("Invoke", "InvalidRequestContentException", "Could not parse request body into json: "))
    assert "the following arguments are required: outfile" in cli.fails("lambda", "invoke", "--function-name", cli.name, status=MISUSED)


def test_versions_and_aliases(cli: Cli):
    """A version is published once for each change; an alias names one, or shares calls between two."""
    cli.create("import os\ndef handler(event, context):\n    return os.environ['AWS_LAMBDA_FUNCTION_VERSION']\n")
    first = cli.function("publish-version", "--description", "the first")
    assert set(first) == SINGLE | {"LastUpdateStatus"}
    assert (first["Version"], first["FunctionArn"], first["State"]) == ("1", arn(cli.name, "1"), "Active")
    assert cli.function("publish-version", "--description", "again") == first
    cli.function("update-function-configuration", "--description", "changed")
    cli.wait("function-updated-v2")
    assert cli.function("publish-version")["Version"] == "2"
    versions = cli.function("list-versions-by-function")["Versions"]
    assert [(one["Version"], one["Description"]) for one in versions] == [("$LATEST", "changed"), ("1", "the first"), ("2", "changed")]
    assert versions[0]["FunctionArn"] == arn(cli.name, "$LATEST") and "State" not in versions[0]

    alias = cli.function("create-alias", "--name", "live", "--function-version", "1")
    assert re.fullmatch(UUID, alias.pop("RevisionId"))
    assert alias == {"AliasArn": arn(cli.name, "live"), "Name": "live", "FunctionVersion": "1", "Description": ""}
    printed, answer = cli.invoke("--qualifier", "live")
    assert (printed["ExecutedVersion"], answer) == ("1", b'"1"')
    shown = cli.function("get-function", "--qualifier", "live")["Configuration"]
    assert (shown["FunctionArn"], shown["Version"]) == (arn(cli.name, "live"), "1")

    weights = "AdditionalVersionWeights={2=0.3}"
    weighted = cli.function("update-alias", "--name", "live", "--routing-config", weights)
    assert weighted["RoutingConfig"] == {"AdditionalVersionWeights": {"2": 0.3}}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: cli.client.invoke(FunctionName=cli.name, Qualifier="live")["ExecutedVersion"], range(60)))
    # 60 calls at 0.3: outside 4..36 once in a million runs.
    assert set(answers) == {"1", "2"} and 4 <= answers.count("2") <= 36
    unweighted = cli.function("update-alias", "--name", "live", "--routing-config", "AdditionalVersionWeights={}")
    assert "RoutingConfig" not in unweighted and unweighted["RevisionId"] != weighted["RevisionId"]
    assert cli.function("list-aliases", "--function-version", "1")["Aliases"] == [unweighted]

    cli.function("delete-alias", "--name", "live")
    missing = f"Cannot find alias arn: {arn(cli.name, 'live')}"
    assert cli.function_fails("get-alias", "--name", "live") == refusal("GetAlias", "ResourceNotFoundException", missing)
    cli.function("delete-function", "--qualifier", "1")
    assert [one["Version"] for one in cli.function("list-versions-by-function")["Versions"]] == ["$LATEST", "2"]


def test_layers(cli: Cli):
    """What a layer brings in python/ can be imported, and stays with the function when the layer is deleted."""
    name = f"{cli.name}-layer"
    layer = ("--layer-name", name)
    published = cli(
        *("lambda", "publish-layer-version", *layer, "--description", "colours", "--compatible-runtimes", PYTHON, "--license-info", "MIT"),
        *("--zip-file", cli.zip("layer.zip", {"python/colours.py": "RED = 'red'\n", "data.txt": "from the layer"})),
    )
    layer_arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:{name}"
    assert set(published.pop("Content")) == {"Location", "CodeSha256", "CodeSize"}
    created = published.pop("CreatedDate")
    assert published == {
        "LayerArn": layer_arn,
        "LayerVersionArn": f"{layer_arn}:1",
        "Description": "colours",
        "Version": 1,
        "CompatibleRuntimes": [PYTHON],
        "LicenseInfo": "MIT",
    }
    made = cli.create(
        "import colours\ndef handler(event, context):\n    return [colours.RED, colours.__file__, open('/opt/data.txt').read()]\n",
        *("--layers", f"{layer_arn}:1"),
    )
    assert made["Layers"] == [{"Arn": f"{layer_arn}:1", "CodeSize": (cli.directory / "layer.zip").stat().st_size}]
    used = ["red", "/opt/python/colours.py", "from the layer"]
    assert json.loads(cli.invoke()[1]) == used

    (listed,) = cli("lambda", "list-layer-versions", *layer)["LayerVersions"]
    assert listed == {
        "LayerVersionArn": f"{layer_arn}:1",
        "Version": 1,
        "Description": "colours",
        "CreatedDate": created,
        "CompatibleRuntimes": [PYTHON],
        "LicenseInfo": "MIT",
    }
    layers = {one["LayerName"]: one for one in cli("lambda", "list-layers")["Layers"]}
    assert layers[name] == {"LayerName": name, "LayerArn": layer_arn, "LatestMatchingVersion": listed}
    assert cli("lambda", "delete-layer-version", *layer, "--version-number", "1") is None
    assert cli("lambda", "list-layer-versions", *layer) == {"LayerVersions": []}
    said = cli.fails("lambda", "get-layer-version", *layer, "--version-number", "1")
    assert said == refusal("GetLayerVersion", "ResourceNotFoundException", "The resource you requested does not exist.")
    cli.function("update-function-configuration", "--timeout", "4")
    cli.wait("function-updated-v2")
    assert json.loads(cli.invoke()[1]) == used


def test_tags_and_permissions(cli: Cli):
    """Tags and the resource policy of a function are kept and shown as AWS shows them."""
    cli.create("def handler(event, context):\n    pass\n", "--tags", "team=blue,cost=1")
    resource = ("--resource", arn(cli.name))
    assert cli("lambda", "list-tags", *resource) == {"Tags": {"team": "blue", "cost": "1"}}
    assert cli("lambda", "tag-resource", *resource, "--tags", "team=red,stage=test") is None
    assert cli("lambda", "untag-resource", *resource, "--tag-keys", "cost", "absent") is None
    assert cli.function("get-function")["Tags"] == {"team": "red", "stage": "test"}

    grant = ("--principal", "s3.amazonaws.com", "--action", "lambda:InvokeFunction")
    source = ("--source-arn", "arn:aws:s3:::pictures", "--source-account", "123456789012")
    added = cli.function("add-permission", "--statement-id", "s3", *grant, *source)
    statement = {
        "Sid": "s3",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": arn(cli.name),
        "Condition": {"StringEquals": {"AWS:SourceAccount": "123456789012"}, "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::pictures"}},
    }
    assert list(added) == ["Statement"] and json.loads(added["Statement"]) == statement
    said = cli.function_fails("add-permission", "--statement-id", "s3", *grant)
    text = "The statement id (s3) provided already exists. Please provide a new statement id, or remove the existing statement."
    assert said == refusal("AddPermission", "ResourceConflictException", text)
    policy = cli.function("get-policy")
    assert json.loads(policy["Policy"]) == {"Version": "2012-10-17", "Id": "default", "Statement": [statement]}
    assert policy["RevisionId"] == cli.function("get-function-configuration")["RevisionId"]
    assert cli.function("remove-permission", "--statement-id", "s3") is None
    said = cli.function_fails("get-policy")
    assert said == refusal("GetPolicy", "ResourceNotFoundException", "The resource you requested does not exist.")


def test_reserved_concurrency_throttles(cli: Cli):
    """With nothing reserved nothing runs; with one reserved, a second call is refused while the first one runs."""
    cli.create(
        "import boto3, time\n"
        "api = boto3.client('lambda')\n"
        "def handler(event, context):\n"
        "    arn = context.invoked_function_arn\n"
        "    api.tag_resource(Resource=arn, Tags={'running': 'yes'})\n"
        "    while 'enough' not in api.list_tags(Resource=arn)['Tags']:\n"
        "        time.sleep(0.02)\n",
        *("--timeout", "30"),
    )
    throttled = refusal("Invoke", "TooManyRequestsException", "Rate Exceeded.")
    concurrency = ("--reserved-concurrent-executions",)
    assert cli.function("put-function-concurrency", *concurrency, "0") == {"ReservedConcurrentExecutions": 0}
    assert cli.function_fails("invoke", "out").replace(" (reached max retries: 0)", "") == throttled
    with pytest.raises(cli.client.exceptions.TooManyRequestsException) as refused:
        cli.client.invoke(FunctionName=cli.name)
    answer = refused.value.response
    assert answer["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert answer["Error"]["Message"] == "Rate Exceeded." and answer["Type"] == "User"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429 and answer["retryAfterSeconds"].isdigit()

    cli.function("put-function-concurrency", *concurrency, "1")
    assert cli.function("get-function-concurrency") == {"ReservedConcurrentExecutions": 1}
    assert cli.function("get-function")["Concurrency"] == {"ReservedConcurrentExecutions": 1}
    limit = cli("lambda", "get-account-settings")["AccountLimit"]
    assert limit["UnreservedConcurrentExecutions"] == limit["ConcurrentExecutions"] - 1
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cli.client.invoke, FunctionName=cli.name)
        try:
            eventually(lambda: "running" in cli.client.list_tags(Resource=arn(cli.name))["Tags"], "the first invocation")
            assert cli.function_fails("invoke", "out").replace(" (reached max retries: 0)", "") == throttled
        finally:
            cli.client.tag_resource(Resource=arn(cli.name), Tags={"enough": "yes"})
        assert first.result()["StatusCode"] == 200
    assert cli.function("delete-function-concurrency") is None
    assert cli.function("get-function-concurrency") is None
    minimum = (
        "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
        "below its minimum value of [100]."
    )
    said = cli.function_fails("put-function-concurrency", *concurrency, "901")
    assert said == refusal("PutFunctionConcurrency", "InvalidParameterValueException", minimum)


def test_account_settings(cli: Cli):
    """The account's limits and usage have AWS's members and figures."""
    settings = cli("lambda", "get-account-settings")
    assert set(settings) == {"AccountLimit", "AccountUsage"}
    assert set(settings["AccountUsage"]) == {"TotalCodeSize", "FunctionCount"}
    unreserved = settings["AccountLimit"].pop("UnreservedConcurrentExecutions")
    assert settings["AccountLimit"] == {
        "TotalCodeSize": 322_122_547_200,
        "CodeSizeUnzipped": 262_144_000,
        "CodeSizeZipped": 52_428_800,
        "ConcurrentExecutions": 1000,
    }
    assert unreserved <= 1000


def test_logs(cli: Cli):
    """A function's log is found by group, stream, pattern and time; retention is set and taken back."""
    cli.create("def handler(event, context):\n    print('colour', event['colour'])\n    print('two', 'words')\n")
    for colour in ("red", "green"):
        cli.client.invoke(FunctionName=cli.name, Payload=json.dumps({"colour": colour}))
    name = f"/aws/lambda/{cli.name}"
    group = ("--log-group-name", name)

    def reports() -> int:
        try:
            return len(cli.logs.filter_log_events(logGroupName=name, filterPattern="REPORT")["events"])
        except cli.logs.exceptions.ResourceNotFoundException:
            return 0

    eventually(lambda: reports() == 2, "two REPORT lines")
    (described,) = cli("logs", "describe-log-groups", "--log-group-name-prefix", name)["logGroups"]
    group_arn = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{name}"
    assert described.items() >= {"logGroupName": name, "arn": f"{group_arn}:*", "logGroupArn": group_arn, "metricFilterCount": 0}.items()
    assert "retentionInDays" not in described
    (stream,) = cli("logs", "describe-log-streams", *group)["logStreams"]
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", stream["logStreamName"])
    assert set(stream) == {
        "logStreamName",
        "creationTime",
        "firstEventTimestamp",
        "lastEventTimestamp",
        "lastIngestionTime",
        "uploadSequenceToken",
        "arn",
        "storedBytes",
    }
    assert stream["arn"] == f"{group_arn}:log-stream:{stream['logStreamName']}"

    found = cli("logs", "filter-log-events", *group, "--filter-pattern", "colour -green")["events"]
    assert [event["message"] for event in found] == ["colour red\n"]
    assert set(found[0]) == {"logStreamName", "timestamp", "message", "ingestionTime", "eventId"}
    streamed = ("--log-stream-name", stream["logStreamName"])
    page = cli("logs", "get-log-events", *group, *streamed, "--start-from-head")
    assert set(page) == {"events", "nextForwardToken", "nextBackwardToken"}
    words = [event["message"].split()[0] for event in page["events"]]
    assert words == ["INIT_START", *["START", "colour", "two", "END", "REPORT"] * 2]
    assert set(page["events"][0]) == {"timestamp", "message", "ingestionTime"}
    after = cli("logs", "get-log-events", *group, *streamed, "--next-token", page["nextForwardToken"])
    assert after["events"] == [] and after["nextForwardToken"] == page["nextForwardToken"]

    assert cli("logs", "put-retention-policy", *group, "--retention-in-days", "7") is None
    (described,) = cli("logs", "describe-log-groups", "--log-group-name-prefix", name)["logGroups"]
    assert described["retentionInDays"] == 7
    assert "InvalidParameterException" in cli.fails("logs", "put-retention-policy", *group, "--retention-in-days", "8")
    assert cli("logs", "delete-retention-policy", *group) is None
    assert cli("logs", "delete-log-group", *group) is None
    said = cli.fails("logs", "filter-log-events", *group)
    assert said == refusal("FilterLogEvents", "ResourceNotFoundException", "The specified log group does not exist.")

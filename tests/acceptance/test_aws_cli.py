"""AWS's own command line program, from PyPI, against `lambdad up`: what it is told to do, what it prints, how it exits."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import PYTHON, ROLE, Lambdad, zipped  # type: ignore[import-not-found]

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
        self.client = lambdad.client("lambda")
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

    def create(self, source: str, *options: str) -> dict[str, Any]:
        """Create the test's function and wait until it is active."""
        made: dict[str, Any] = self(
            *("lambda", "create-function", "--function-name", self.name, "--runtime", PYTHON, "--role", ROLE),
            *("--handler", "app.handler", "--zip-file", self.zip("code.zip", {"app.py": source}), *options),
        )
        assert self("lambda", "wait", "function-active-v2", "--function-name", self.name) is None
        return made

    def function(self, operation: str, *options: str) -> Any:
        """Run an operation on the test's function."""
        return self("lambda", operation, "--function-name", self.name, *options)

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
    assert cli.function("get-function-configuration", "--qualifier", "$LATEST") == {
        **configuration,
        "FunctionArn": arn(cli.name, "$LATEST"),
    }
    assert cli.invoke() == ({"StatusCode": 200, "ExecutedVersion": "$LATEST"}, b'"one"')

    changed = cli.function(
        "update-function-code", "--zip-file", cli.zip("two.zip", {"app.py": "import os\ndef handler(e, c):\n    return dict(os.environ)\n"})
    )
    assert {key: changed[key] for key in UPDATE_REASON} == UPDATE_REASON and changed["LastUpdateStatus"] == "InProgress"
    assert cli.function("wait", "function-updated-v2") if False else cli("lambda", "wait", "function-updated-v2", "--function-name", cli.name) is None
    changed = cli.function(
        *("update-function-configuration", "--timeout", "7", "--memory-size", "256", "--description", "two"),
        *("--environment", "Variables={COLOUR=blue,SHAPE=round}", "--ephemeral-storage", "Size=600"),
    )
    assert changed["Environment"] == {"Variables": {"COLOUR": "blue", "SHAPE": "round"}}
    assert (changed["Timeout"], changed["MemorySize"], changed["Description"]) == (7, 256, "two")
    assert cli("lambda", "wait", "function-updated-v2", "--function-name", cli.name) is None
    _, environment = cli.invoke()
    assert json.loads(environment)["COLOUR"] == "blue" and json.loads(environment)["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"

    listed = [one for one in cli("lambda", "list-functions")["Functions"] if one["FunctionName"] == cli.name]
    assert len(listed) == 1 and set(listed[0]) == CONFIGURATION | {"Environment"}
    cli.run("lambda", "delete-function", "--function-name", cli.name)
    said = cli.fails("lambda", "get-function", "--function-name", cli.name)
    assert said == f"An error occurred (ResourceNotFoundException) when calling the GetFunction operation: Function not found: {arn(cli.name)}"

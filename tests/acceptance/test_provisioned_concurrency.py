"""Provisioned concurrency as boto3's users see it: warm environments, what becomes of them, and errors."""

import base64
import concurrent.futures
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conftest import Functions, Lambdad, eventually, zipped  # type: ignore[import-not-found]

WHO = (
    "import os, time\nkey = os.urandom(8).hex()\nhow = os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']\n"
    "def handler(event, context):\n    event = event or {}\n    time.sleep(event.get('sleep', 0))\n"
    "    if event.get('die'):\n        os._exit(3)\n"
    "    return {'key': key, 'how': how, 'version': os.environ['AWS_LAMBDA_FUNCTION_VERSION']}\n"
)
WARM, COLD = "provisioned-concurrency", "on-demand"


def publish(functions: Functions, source: str = WHO, **options: Any) -> str:
    """Deploy a function and publish its version 1."""
    name = functions.deploy(source, Timeout=20, **options)
    assert functions.client.publish_version(FunctionName=name)["Version"] == "1"
    return name


def put(functions: Functions, name: str, qualifier: str, count: int) -> dict[str, Any]:
    answer = functions.client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=count
    )
    return dict(answer)


def get(functions: Functions, name: str, qualifier: str) -> dict[str, Any]:
    return dict(functions.client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier))


def wait(functions: Functions, name: str, qualifier: str, status: str = "READY", available: int | None = None) -> dict[str, Any]:
    """Wait until a configuration has a status, and so many environments."""

    def is_so() -> bool:
        found = get(functions, name, qualifier)
        return found["Status"] == status and available in (None, found["AvailableProvisionedConcurrentExecutions"])

    eventually(is_so, f"{name}:{qualifier} is {status}", within_s=30)
    return get(functions, name, qualifier)


def at_once(functions: Functions, name: str, times: int, qualifier: str = "1", event: Any = None) -> list[Any]:
    """Invoke so many times at once; return the payloads, and for what is refused its reason."""

    def one(_: int) -> Any:
        try:
            return functions.invoke(name, event, Qualifier=qualifier)["Payload"]
        except ClientError as error:
            assert error.response["Error"]["Code"] == "TooManyRequestsException"
            return error.response["Reason"]

    with concurrent.futures.ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


def test_its_life(functions: Functions):
    """From IN_PROGRESS to READY to gone; the function sees how it was initialised, and what is beyond spills over."""
    name = publish(functions)
    asked = put(functions, name, "1", 2)
    assert asked["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert {key: value for key, value in asked.items() if key not in ("ResponseMetadata", "LastModified")} == {
        "RequestedProvisionedConcurrentExecutions": 2,
        "AvailableProvisionedConcurrentExecutions": 0,
        "AllocatedProvisionedConcurrentExecutions": 0,
        "Status": "IN_PROGRESS",
    }
    ready = wait(functions, name, "1")
    assert ready["AllocatedProvisionedConcurrentExecutions"] == ready["AvailableProvisionedConcurrentExecutions"] == 2
    assert ready["LastModified"] == asked["LastModified"] and "StatusReason" not in ready
    lines = functions.log_lines(name, until="INIT_REPORT", count=2)
    assert not [line for line in lines if line.startswith("START")]
    answers = at_once(functions, name, 4, event={"sleep": 0.4})
    assert sorted(answer["how"] for answer in answers) == [COLD, COLD, WARM, WARM]
    again = functions.invoke(name, {}, Qualifier="1")["Payload"]
    assert again["how"] == WARM and again["key"] in {answer["key"] for answer in answers}
    assert functions.invoke(name, {})["Payload"]["how"] == COLD  # $LATEST
    (listed,) = functions.client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]
    assert listed["FunctionArn"].endswith(f":function:{name}:1") and listed["Status"] == "READY"
    functions.client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
    with pytest.raises(functions.client.exceptions.ProvisionedConcurrencyConfigNotFoundException) as caught:
        get(functions, name, "1")
    assert caught.value.response["Error"]["Message"] == "No Provisioned Concurrency Config found for this function"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert functions.invoke(name, {}, Qualifier="1")["Payload"]["how"] == COLD


def test_init_is_not_billed_to_the_invocation(functions: Functions):
    """The first REPORT of a warm environment shows its Init Duration, and bills the invocation alone."""
    name = publish(functions, "import time\ntime.sleep(0.3)\n" + WHO)
    put(functions, name, "1", 1)
    wait(functions, name, "1")
    answer = functions.client.invoke(FunctionName=name, Qualifier="1", LogType="Tail")
    report = base64.b64decode(answer["LogResult"]).decode().splitlines()[-1]
    fields = dict(part.split(": ", 1) for part in report.split("\t")[1:] if part)
    assert float(fields["Init Duration"].split()[0]) >= 300 > int(fields["Billed Duration"].split()[0])


def test_errors(functions: Functions):
    """What boto3 raises where something cannot be provisioned."""
    name, client = publish(functions), functions.client

    def refused(code: str, message: str, status: int, **request: Any) -> None:
        with pytest.raises(ClientError) as caught:
            client.put_provisioned_concurrency_config(**{"FunctionName": name, "ProvisionedConcurrentExecutions": 1, **request})
        response = caught.value.response
        assert (response["Error"]["Code"], response["Error"]["Message"]) == (code, message)
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status

    arn = client.get_function_configuration(FunctionName=name)["FunctionArn"]
    unpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    refused("InvalidParameterValueException", unpublished, 400, Qualifier="$LATEST")
    refused("ResourceNotFoundException", f"Cannot find alias arn: {arn}:none", 404, Qualifier="none")
    refused("ResourceNotFoundException", f"Function not found: {arn}:9", 404, Qualifier="9")
    greater = "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000]."
    refused("InvalidParameterValueException", greater, 400, Qualifier="1", ProvisionedConcurrentExecutions=5000)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    too_much = "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
    refused("InvalidParameterValueException", too_much, 400, Qualifier="1", ProvisionedConcurrentExecutions=2)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    put(functions, name, "live", 1)
    refused("ResourceConflictException", "Version is pointed by a Provisioned Concurrency alias", 409, Qualifier="1")


def test_zero_is_refused(lambdad: Lambdad, functions: Functions):
    """By the model's own range, as AWS words it."""
    client = lambdad.client("lambda", checks=False)
    with pytest.raises(ClientError, match="Member must have value greater than or equal to 1") as caught:
        client.put_provisioned_concurrency_config(FunctionName=publish(functions), Qualifier="1", ProvisionedConcurrentExecutions=0)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_a_reservation_that_is_all_provisioned(functions: Functions):
    """Nothing is left for other versions, nor for more than is provisioned."""
    name = publish(functions)
    functions.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    put(functions, name, "1", 2)
    wait(functions, name, "1")
    answers = at_once(functions, name, 4, event={"sleep": 0.4})
    refused = "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert sorted(answer if isinstance(answer, str) else answer["how"] for answer in answers) == [refused, refused, WARM, WARM]
    assert at_once(functions, name, 1, qualifier="$LATEST") == [refused]


def test_init_that_fails(functions: Functions):
    """FAILED with AWS's reason after some attempts; on demand the function's own error is still what its caller gets."""
    name = publish(functions, "raise ValueError('never')\n")
    put(functions, name, "1", 1)
    failed = wait(functions, name, "1", "FAILED")
    assert failed["StatusReason"] == "FUNCTION_ERROR_INIT_FAILURE" and failed["AvailableProvisionedConcurrentExecutions"] == 0
    assert functions.invoke(name, {}, Qualifier="1")["FunctionError"] == "Unhandled"
    functions.client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="1")


def test_a_crash_is_made_good(functions: Functions):
    """After an invocation that kills its runtime another warm environment is there."""
    name = publish(functions)
    put(functions, name, "1", 1)
    wait(functions, name, "1")
    first = functions.invoke(name, {}, Qualifier="1")["Payload"]
    assert functions.invoke(name, {"die": 1}, Qualifier="1")["FunctionError"] == "Unhandled"
    eventually(lambda: functions.invoke(name, {}, Qualifier="1")["Payload"]["how"] == WARM, "a new one is warm")
    assert functions.invoke(name, {}, Qualifier="1")["Payload"]["key"] != first["key"]


def test_an_alias(functions: Functions):
    """Its weights split what is provisioned; when it moves, the new version is warmed."""
    name = publish(functions)
    client = functions.client
    client.update_function_configuration(FunctionName=name, Description="two")
    functions.settle(name)
    assert client.publish_version(FunctionName=name)["Version"] == "2"
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    put(functions, name, "live", 2)
    wait(functions, name, "live")
    assert {(one["how"], one["version"]) for one in at_once(functions, name, 2, "live", {"sleep": 0.3})} == {(WARM, "1")}
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="2", RoutingConfig={"AdditionalVersionWeights": {"1": 0.5}})
    wait(functions, name, "live")
    for version in ("1", "2"):
        assert functions.invoke(name, {}, Qualifier=version)["Payload"] == {
            **functions.invoke(name, {}, Qualifier=version)["Payload"],
            "how": WARM,
        }
    client.update_alias(FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {}})
    wait(functions, name, "live")
    assert {(one["how"], one["version"]) for one in at_once(functions, name, 2, "live", {"sleep": 0.3})} == {(WARM, "2")}
    eventually(lambda: functions.invoke(name, {}, Qualifier="1")["Payload"]["how"] == COLD, "version 1 is no longer provisioned")
    client.delete_alias(FunctionName=name, Name="live")
    assert client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"] == []


def test_an_alias_that_moves_to_what_never_starts(functions: Functions):
    """Its invocations stay with the warm old version, until it moves to one that does start."""
    name, client = publish(functions), functions.client
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    put(functions, name, "live", 1)
    wait(functions, name, "live")
    for number, source in (("2", "raise ValueError('never')\n"), ("3", WHO)):
        client.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": source}))
        functions.settle(name)
        assert client.publish_version(FunctionName=name)["Version"] == number
        assert client.update_alias(FunctionName=name, Name="live", FunctionVersion=number)["FunctionVersion"] == number
        if number == "2":
            for _ in range(5):
                answer = functions.invoke(name, {}, Qualifier="live")
                assert (answer["ExecutedVersion"], answer["Payload"]["how"]) == ("1", WARM)
            assert get(functions, name, "live")["Status"] == "IN_PROGRESS"
    wait(functions, name, "live")
    answer = functions.invoke(name, {}, Qualifier="live")
    assert (answer["ExecutedVersion"], answer["Payload"]["how"]) == ("3", WARM)


def test_the_accounts_settings(functions: Functions):
    """What is provisioned is no longer unreserved."""
    name, client = publish(functions), functions.client
    before = client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    put(functions, name, "1", 3)
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == before - 3
    client.delete_function(FunctionName=name)
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == before


@pytest.mark.slow
def test_they_outlive_whatever_dies(own_lambdad: Callable[..., Lambdad]):
    """Idle for longer than others are kept, a worker that is killed, a server that is, and a restart: they are warm again."""
    running = own_lambdad(environment={"LAMBDAD_KEEP_ALIVE_S": "1", "LAMBDAD_FREEZE_AFTER_S": "0.2"})
    functions = Functions(running, "warm")
    name = publish(functions)
    put(functions, name, "1", 2)
    wait(functions, name, "1", available=2)
    keys = {one["key"] for one in at_once(functions, name, 2, event={"sleep": 0.3})}
    time.sleep(3)
    assert {one["key"] for one in at_once(functions, name, 2, event={"sleep": 0.3})} == keys
    for role in ("worker", "server"):
        os.kill(running.pids()[role], signal.SIGKILL)
        eventually(lambda: _is_served(functions, name), f"served after the {role} was killed", within_s=30)
        wait(functions, name, "1", available=2)
        assert {one["how"] for one in at_once(functions, name, 2, event={"sleep": 0.3})} == {WARM}
    assert running.stop() == 0
    running.start()
    functions = Functions(running, "warm")
    wait(functions, name, "1", available=2)
    assert {one["how"] for one in at_once(functions, name, 2, event={"sleep": 0.3})} == {WARM}


def _is_served(functions: Functions, name: str) -> bool:
    try:
        return "how" in json.dumps(functions.invoke(name, {}, Qualifier="1")["Payload"])
    except Exception:
        return False

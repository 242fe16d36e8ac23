"""Who may call `lambdad up`, and as whom: signatures of known keys with `--auth iam`, any credential on loopback without it."""

import datetime
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.auth
import botocore.crt.auth
import pytest
from botocore.exceptions import ClientError

from conftest import PYTHON, Lambdad, eventually, zipped  # type: ignore[import-not-found]
from lambdad import settings

ACCOUNT = "123456789012"
KEY = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}
ROLE = f"arn:aws:iam::{ACCOUNT}:role/service/worker"
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
# A call of each protocol that is served, and the status of its refusals: REST-JSON has 403, JSON 400.
CALLS = (("lambda", "list_functions", 403), ("logs", "describe_log_groups", 400))


@pytest.fixture(scope="module")
def iam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lambdad]:
    """A lambdad that knows one key."""
    environment = {"LAMBDAD_ACCESS_KEYS": f"AKIDEXAMPLE:secret:{ACCOUNT}"}
    running = Lambdad(tmp_path_factory.mktemp("iam"), ("--auth", "iam"), environment).start()
    yield running
    assert running.stop() == 0


def refusal(client: Any, operation: str) -> tuple[int, str, str]:
    """Call what is refused; give status, code and message."""
    with pytest.raises(ClientError) as refused:
        getattr(client, operation)()
    response = refused.value.response
    assert "Type" not in response, "errors of the front end have no Type"
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


def deploy(client: Any, name: str, source: str, role: str = ROLE, **options: Any) -> dict[str, Any]:
    """Create a function and wait until it is active."""
    made = client.create_function(
        FunctionName=name, Runtime=PYTHON, Role=role, Handler="app.handler", Code={"ZipFile": zipped({"app.py": source})}, **options
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 500})
    return dict(made)


def test_a_right_signature(iam: Lambdad):
    """A known key works for both protocols, and names the account in every ARN."""
    assert " | auth iam | " in iam.line
    client = iam.client("lambda", **KEY)
    made = deploy(client, "signed", "def handler(event, context):\n    return context.invoked_function_arn\n")
    assert made["FunctionArn"] == f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:signed"
    answer = client.invoke(FunctionName="signed", Qualifier="$LATEST", Payload=b'{"\xc3\xa9": "%/ +~"}')
    assert json.load(answer["Payload"]) == f"{made['FunctionArn']}:$LATEST"
    assert client.get_function(FunctionName=made["FunctionArn"])["Configuration"]["FunctionName"] == "signed"
    logs = iam.client("logs", **KEY)
    (group,) = eventually(lambda: logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/signed")["logGroups"], "the log group")
    assert group["logGroupArn"] == f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/aws/lambda/signed"


@pytest.mark.parametrize(("service", "operation", "status"), CALLS)
def test_wrong_credentials(iam: Lambdad, service: str, operation: str, status: int):
    """A wrong secret, an unknown key and a forged session token are refused as AWS refuses them."""
    unknown = (status, "UnrecognizedClientException", "The security token included in the request is invalid.")
    wrong_secret = iam.client(service, **{**KEY, "aws_secret_access_key": "guess"})
    assert refusal(wrong_secret, operation) == (status, "InvalidSignatureException", MISMATCH)
    for stranger in (
        {"aws_access_key_id": "AKIDNOBODY", "aws_secret_access_key": "secret"},
        {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": "secret"},
        {"aws_access_key_id": "ASIANOBODY", "aws_secret_access_key": "secret", "aws_session_token": "lambdad1.e30.e30"},
        {**KEY, "aws_session_token": "token"},
    ):
        assert refusal(iam.client(service, **stranger), operation) == unknown


@pytest.mark.parametrize(("service", "operation", "status"), CALLS)
def test_wrong_clocks(iam: Lambdad, monkeypatch: pytest.MonkeyPatch, service: str, operation: str, status: int):
    """A signature is good for five minutes, either way."""
    client = iam.client(service, **KEY)
    for minutes, text in ((-6, "Signature expired: "), (6, "Signature not yet current: ")):
        at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
        with monkeypatch.context() as patch:
            for signer in (botocore.auth, botocore.crt.auth):  # which of them signs is botocore's choice
                patch.setattr(
                    signer, "get_current_datetime", lambda remove_tzinfo=True, at=at: at.replace(tzinfo=None) if remove_tzinfo else at
                )
            got_status, code, message = refusal(client, operation)
        assert (got_status, code) == (status, "InvalidSignatureException")
        assert message.startswith(f"{text}{at:%Y%m%dT%H%M%SZ} is ") and message.endswith("5 min.)")
    getattr(client, operation)()


def test_no_signature(iam: Lambdad):
    """An unsigned request is told so; only the health check answers everybody."""
    for headers, body, status in (
        ({}, None, 403),
        ({"X-Amz-Target": "Logs_20140328.DescribeLogGroups", "Content-Type": "application/x-amz-json-1.1"}, b"{}", 400),
    ):
        path = "/" if body else "/2015-03-31/functions"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(f"{iam.url}{path}", body, headers))
        with refused.value as answer:
            assert answer.code == status
            document = json.load(answer)
            named = document.get("__type") or answer.headers["x-amzn-ErrorType"]
            assert (named, document["message"]) == ("MissingAuthenticationTokenException", "Missing Authentication Token")
            assert answer.headers["x-amzn-RequestId"]
    assert iam.health()["status"] == "ok"


def test_a_changed_body(iam: Lambdad):
    """The signature covers what was sent: nobody can change a payload or a header on the way."""
    client = iam.client("lambda", **KEY)

    def change_body(request: Any, **_: Any) -> None:
        request.body = b'{"changed": true}'

    client.meta.events.register("before-send.lambda.Invoke", change_body)
    try:
        with pytest.raises(ClientError) as refused:
            client.invoke(FunctionName="signed", Payload=b'{"changed": none}')
    finally:
        client.meta.events.unregister("before-send.lambda.Invoke", change_body)
    assert refused.value.response["Error"]["Code"] == "InvalidSignatureException"


def test_a_functions_own_credentials(iam: Lambdad):
    """A function calls the API as its role, in its own account; what it was given cannot be altered."""
    client = iam.client("lambda", **KEY)
    source = (
        "import boto3, os\n"
        "from botocore.exceptions import ClientError\n"
        "def refused(**changes):\n"
        "    given = {'aws_access_key_id': os.environ['AWS_ACCESS_KEY_ID'], 'aws_secret_access_key': os.environ['AWS_SECRET_ACCESS_KEY'],\n"
        "             'aws_session_token': os.environ['AWS_SESSION_TOKEN'], **changes}\n"
        "    try:\n        boto3.client('lambda', **given).list_functions()\n"
        "    except ClientError as error:\n        return error.response['Error']['Code']\n"
        "def handler(event, context):\n"
        "    api = boto3.client('lambda')\n"
        "    own = api.get_function_configuration(FunctionName=context.function_name)['FunctionArn']\n"
        "    try:\n"
        "        api.get_layer_version(LayerName='arn:aws:lambda:us-east-1:999999999999:layer:x', VersionNumber=1)\n"
        "    except ClientError as error:\n        denied = error.response['Error']['Message']\n"
        "    token = os.environ['AWS_SESSION_TOKEN']\n"
        "    return {'own': own, 'denied': denied, 'groups': len(boto3.client('logs').describe_log_groups()['logGroups']),\n"
        "            'endpoint': os.environ['AWS_ENDPOINT_URL'], 'key': os.environ['AWS_ACCESS_KEY_ID'],\n"
        "            'secret': refused(aws_secret_access_key='x'), 'token': refused(aws_session_token=token[:-4] + 'AAAA'),\n"
        "            'id': refused(aws_access_key_id='ASIAOTHER'), 'none': refused(aws_session_token=None)}\n"
    )
    made = deploy(client, "caller", source, Timeout=30, MemorySize=1024)
    answer = client.invoke(FunctionName="caller")
    payload = json.load(answer["Payload"])
    assert "FunctionError" not in answer, payload
    assert payload["own"] == made["FunctionArn"] and payload["key"].startswith("ASIA") and payload["groups"] >= 0
    assert payload["denied"] == (
        f"User: arn:aws:sts::{ACCOUNT}:assumed-role/worker/caller is not authorized to perform: lambda:GetLayerVersion on resource: "
        "arn:aws:lambda:us-east-1:999999999999:layer:x:1 because no resource-based policy allows the lambda:GetLayerVersion action"
    )
    assert payload["secret"] == "InvalidSignatureException"
    assert (payload["token"], payload["id"], payload["none"]) == ("UnrecognizedClientException",) * 3


def test_open_mode_keeps_accounts_and_regions_apart(lambdad: Lambdad):
    """Twelve digits as access key name the account; nothing of one account or region is seen from another."""
    assert " | auth open | " in lambdad.line
    places = [("111111111111", "us-east-1"), ("222222222222", "us-east-1"), ("111111111111", "eu-central-1")]
    source = (
        "import os\ndef handler(event, context):\n    print('seen')\n    return [context.invoked_function_arn, os.environ['AWS_REGION']]\n"
    )

    def client(service: str, account: str, region: str) -> Any:
        return lambdad.client(service, aws_access_key_id=account, region_name=region)

    for account, region in places:
        role = f"arn:aws:iam::{account}:role/test"
        deploy(client("lambda", account, region), "shared", source, role, Description=f"{account} {region}")
        client("lambda", account, region).publish_layer_version(LayerName="shared", Content={"ZipFile": zipped({"a": region})})
    for account, region in places:
        api, logs = client("lambda", account, region), client("logs", account, region)
        arn = f"arn:aws:lambda:{region}:{account}:function:shared"
        (shown,) = api.list_functions()["Functions"]
        assert (shown["FunctionArn"], shown["Description"]) == (arn, f"{account} {region}")
        assert json.load(api.invoke(FunctionName="shared")["Payload"]) == [arn, region]
        (layer,) = api.list_layers()["Layers"]
        assert layer["LayerArn"] == f"arn:aws:lambda:{region}:{account}:layer:shared"
        (group,) = eventually(lambda logs=logs: logs.describe_log_groups()["logGroups"], "the log group")
        assert group["logGroupArn"] == f"arn:aws:logs:{region}:{account}:log-group:/aws/lambda/shared"
        events = eventually(
            lambda logs=logs: logs.filter_log_events(logGroupName="/aws/lambda/shared", filterPattern="seen")["events"], "the log"
        )
        assert len(events) == 1
        usage = api.get_account_settings()["AccountUsage"]
        assert usage["FunctionCount"] == 1
    other = client("lambda", "222222222222", "us-east-1")
    with pytest.raises(ClientError) as refused:
        other.get_function(FunctionName="arn:aws:lambda:us-east-1:111111111111:function:shared")
    assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
    with pytest.raises(ClientError) as refused:
        other.get_function(FunctionName="arn:aws:lambda:eu-central-1:222222222222:function:shared")
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
    for account, region in places:
        client("lambda", account, region).delete_function(FunctionName="shared")
        client("lambda", account, region).delete_layer_version(LayerName="shared", VersionNumber=1)
        client("logs", account, region).delete_log_group(logGroupName="/aws/lambda/shared")


def test_open_mode_checks_the_keys_it_knows(own_lambdad: Callable[..., Lambdad]):
    """Without `--auth iam`, any key will do; one that is known must have the right signature all the same."""
    running = own_lambdad(environment={"LAMBDAD_ACCESS_KEYS": f"AKIDEXAMPLE:secret:{ACCOUNT}"})
    assert running.client("lambda", aws_access_key_id="any").list_functions()["Functions"] == []
    made = deploy(running.client("lambda", **KEY), "known", "def handler(event, context):\n    pass\n")
    assert f":{ACCOUNT}:" in made["FunctionArn"]
    wrong = running.client("lambda", **{**KEY, "aws_secret_access_key": "guess"})
    assert refusal(wrong, "list_functions") == (403, "InvalidSignatureException", MISMATCH)


def test_what_others_can_reach_is_not_open(tmp_path: Path):
    """On an address that is not the machine's own, signatures are checked unless told otherwise; and being told so is refused."""
    assert settings.load({"host": "0.0.0.0"}, {}).auth == "iam"
    assert settings.load({"host": "127.0.0.1"}, {}).auth == "open"
    assert settings.load({"host": "::1"}, {}).auth == "open"
    # SAFETY: this fails before it listens; were it not to, the port would be a free one, and closed again at once.
    command = [sys.executable, "-m", "lambdad.cli.main", "up", "--auth", "open", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run([*command, "--data-dir", str(tmp_path / "data")], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "") and "--auth iam" in done.stderr
    assert not (tmp_path / "data").exists()

"""Log events that go to functions, to S3, and code that comes from there: through boto3, against `lambdad up`."""

import base64
import gzip
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from conftest import PYTHON, ROLE, Functions, Lambdad, eventually, zipped  # type: ignore[import-not-found]

ACCOUNT, REGION = "000000000000", "us-east-1"
SINK = """
import base64, gzip, json
def handler(event, context):
    message = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
    print("GOT " + json.dumps({"event": list(event), "message": message}))
"""
KEEPER = """
import base64, gzip, json, boto3
s3 = boto3.client("s3")
def handler(event, context):
    message = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
    for each in message["logEvents"] if message["messageType"] == "DATA_MESSAGE" else ():
        s3.put_object(Bucket="kept", Key=each["message"], Body=each["id"])
"""
SPEAKER = "def handler(event, context):\n    print('ERROR', event['n'])\n    print('fine', event['n'])\n"


def got(logs: Any, name: str) -> list[dict[str, Any]]:
    """Return the messages that a sink has been sent, but for control messages."""
    group = f"/aws/lambda/{name}"
    if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
        return []
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, filterPattern="GOT DATA_MESSAGE")
    return [json.loads(event["message"].removeprefix("GOT "))["message"] for page in pages for event in page["events"]]


def subscribe(lambdad: Lambdad, functions: Functions, group: str, principal: str = "logs.amazonaws.com", source: str = SINK) -> str:
    """Make a function, and send it a group's errors; returns its name."""
    logs = lambdad.client("logs")
    name: str = functions.deploy(source, Timeout=30)
    source_arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:*"
    functions.client.add_permission(
        FunctionName=name, StatementId="s", Action="lambda:InvokeFunction", Principal=principal, SourceArn=source_arn
    )
    logs.create_log_group(logGroupName=group)
    destination = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    logs.put_subscription_filter(logGroupName=group, filterName="errors", filterPattern="ERROR", destinationArn=destination)
    return name


@pytest.mark.parametrize("principal", ["logs.amazonaws.com", "logs.us-east-1.amazonaws.com"])
def test_what_a_function_prints_goes_to_another(lambdad: Lambdad, functions: Functions, principal: str) -> None:
    """A function's lines that fit go to the function of a subscription filter, as AWS sends them, under either name of the service."""
    logs = lambdad.client("logs")
    name = functions.deploy(SPEAKER)
    sink = subscribe(lambdad, functions, f"/aws/lambda/{name}", principal)
    functions.invoke(name, {"n": 1})
    (message,) = eventually(lambda: got(logs, sink), "a message")
    shown = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern="ERROR")["events"]
    assert message == {
        "messageType": "DATA_MESSAGE",
        "owner": ACCOUNT,
        "logGroup": f"/aws/lambda/{name}",
        "logStream": shown[0]["logStreamName"],
        "subscriptionFilters": ["errors"],
        "logEvents": [{"id": event["eventId"], "timestamp": event["timestamp"], "message": "ERROR 1\n"} for event in shown],
    }


def test_a_function_must_let_logs_call_it(lambdad: Lambdad, functions: Functions) -> None:
    """Without permission, with one for another group, and without a function there is no subscription."""
    logs = lambdad.client("logs")
    sink = functions.deploy(SINK)
    logs.create_log_group(logGroupName="closed")
    other = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:other:*"
    for name, permission in ((sink, None), (sink, other), ("no-such-sink", None)):
        if permission:
            functions.client.add_permission(
                FunctionName=name, StatementId="s", Action="lambda:InvokeFunction", Principal="logs.amazonaws.com", SourceArn=permission
            )
        with pytest.raises(logs.exceptions.InvalidParameterException, match="Could not execute the lambda function"):
            logs.put_subscription_filter(
                logGroupName="closed",
                filterName="f",
                filterPattern="",
                destinationArn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}",
            )
    assert logs.describe_subscription_filters(logGroupName="closed")["subscriptionFilters"] == []


def test_messages_survive_kill_9(own_lambdad: Callable[..., Lambdad]) -> None:
    """Events of PutLogEvents that were acknowledged reach the function, although everything is killed right after."""
    lambdad = own_lambdad()
    logs, s3 = lambdad.client("logs"), lambdad.client("s3")
    s3.create_bucket(Bucket="kept")
    subscribe(lambdad, Functions(lambdad, "kill"), "survivor", source=KEEPER)
    logs.create_log_stream(logGroupName="survivor", logStreamName="s")
    sent = [f"ERROR {number:02d}" for number in range(20)]
    for message in sent:
        log_events = [{"timestamp": int(time.time() * 1000), "message": message}]
        logs.put_log_events(logGroupName="survivor", logStreamName="s", logEvents=log_events)
    for pid in lambdad.pids().values():
        os.kill(pid, signal.SIGKILL)  # both are started again

    def kept() -> bool:
        try:
            return [each["Key"] for each in s3.list_objects_v2(Bucket="kept").get("Contents", [])] == sent
        except (EndpointConnectionError, ConnectionClosedError):
            return False

    eventually(kept, "all messages", within_s=60)  # an event that ran when it was killed is tried again later


def test_code_and_layers_come_from_s3(lambdad: Lambdad, functions: Functions) -> None:
    """A function and its layer are deployed from a bucket, in a version that is named; what is not there is said in AWS's words."""
    s3, client = lambdad.client("s3"), functions.client
    s3.create_bucket(Bucket="deployments")
    s3.put_bucket_versioning(Bucket="deployments", VersioningConfiguration={"Status": "Enabled"})
    code = "import inlayer\ndef handler(event, context):\n    return [{}, inlayer.VALUE]\n"
    versions = [
        s3.put_object(Bucket="deployments", Key="code.zip", Body=zipped({"app.py": code.format(number)}))["VersionId"] for number in (1, 2)
    ]
    s3.put_object(Bucket="deployments", Key="layer.zip", Body=zipped({"python/inlayer.py": "VALUE = 7\n"}))
    layer = client.publish_layer_version(LayerName="from-s3", Content={"S3Bucket": "deployments", "S3Key": "layer.zip"})
    functions.adopt("from-s3")
    client.create_function(
        FunctionName="from-s3",
        Runtime=PYTHON,
        Role=ROLE,
        Handler="app.handler",
        Code={"S3Bucket": "deployments", "S3Key": "code.zip", "S3ObjectVersion": versions[0]},
        Layers=[layer["LayerVersionArn"]],
    )
    client.get_waiter("function_active_v2").wait(FunctionName="from-s3", WaiterConfig={"Delay": 0, "MaxAttempts": 500})
    assert functions.invoke("from-s3")["Payload"] == [1, 7]
    client.update_function_code(FunctionName="from-s3", S3Bucket="deployments", S3Key="code.zip")
    client.get_waiter("function_updated_v2").wait(FunctionName="from-s3", WaiterConfig={"Delay": 0, "MaxAttempts": 500})
    assert functions.invoke("from-s3")["Payload"] == [2, 7]
    lambdad.client("s3", region_name="eu-west-1").create_bucket(
        Bucket="deployments-far", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    for source, said in (
        (("deployments", "x"), "NoSuchKey. S3 Error Message: The specified key does not exist."),
        (("deployments-none", "x"), "NoSuchBucket. S3 Error Message: The specified bucket does not exist"),
        (("deployments-far", "x"), "PermanentRedirect. S3 Error Message: The bucket is in this region: eu-west-1."),
    ):
        with pytest.raises(ClientError) as caught:
            client.update_function_code(FunctionName="from-s3", S3Bucket=source[0], S3Key=source[1])
        assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"
        assert f"Error occurred while GetObject. S3 Error Code: {said}" in caught.value.response["Error"]["Message"]


def test_large_code_comes_from_s3(lambdad: Lambdad, functions: Functions) -> None:
    """A zip that no request could carry is deployed from a bucket."""
    s3 = lambdad.client("s3")
    s3.create_bucket(Bucket="large-deployments")
    noise = base64.b64encode(b"".join(number.to_bytes(4, "big") * 3 for number in range(5_000_000)))
    body = zipped({"app.py": "import os\ndef handler(event, context):\n    return os.path.getsize('noise')\n", "noise": noise})
    s3.put_object(Bucket="large-deployments", Key="k", Body=body)
    functions.adopt("large-from-s3")
    functions.client.create_function(
        FunctionName="large-from-s3",
        Runtime=PYTHON,
        Role=ROLE,
        Handler="app.handler",
        Code={"S3Bucket": "large-deployments", "S3Key": "k"},
    )
    functions.client.get_waiter("function_active_v2").wait(FunctionName="large-from-s3", WaiterConfig={"Delay": 0, "MaxAttempts": 5000})
    assert functions.invoke("large-from-s3")["Payload"] == len(noise)


def test_groups_are_exported_to_s3(lambdad: Lambdad) -> None:
    """An export puts a group's events into a bucket as gzipped text."""
    logs, s3 = lambdad.client("logs"), lambdad.client("s3")
    s3.create_bucket(Bucket="exported-logs")
    logs.create_log_group(logGroupName="exported")
    logs.create_log_stream(logGroupName="exported", logStreamName="a/b")
    now_ms = int(time.time() * 1000)
    logs.put_log_events(logGroupName="exported", logStreamName="a/b", logEvents=[{"timestamp": now_ms, "message": "hello"}])
    request = {"logGroupName": "exported", "from": 0, "to": now_ms + 1, "destination": "exported-logs"}
    task_id = logs.create_export_task(**request)["taskId"]
    eventually(lambda: logs.describe_export_tasks(taskId=task_id)["exportTasks"][0]["status"]["code"] == "COMPLETED", "the export")
    body = s3.get_object(Bucket="exported-logs", Key=f"exportedlogs/{task_id}/a-b/000000.gz")["Body"].read()
    assert gzip.decompress(body).decode().endswith("Z hello\n")
    with pytest.raises(logs.exceptions.InvalidParameterException, match="The given bucket does not exist"):
        logs.create_export_task(**{**request, "destination": "no-such-bucket-here"})

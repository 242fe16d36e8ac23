"""CloudWatch Logs over HTTP, as boto3 and the AWS CLI speak to it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from logs_neighbours import FakeNeighbours, FakeOutbox, new_uuid

from lambdad.kit import clock
from lambdad.model.errors import AwsError
from lambdad.server import listener
from lambdad.server.auth import Authenticator, Mode
from lambdad.server.credentials import StaticCredentials
from lambdad.server.frontend import Frontend
from lambdad.server.request_ids import RequestIds
from lambdad.services.logs.app import LogsService, migrations
from lambdad.store.database import open_database, sqlite_url

GROUP = "/aws/lambda/f"
ACCOUNT, REGION = "123456789012", "eu-west-1"


class Served:
    """The service behind a socket."""

    def __init__(self, logs: LogsService, port: int, neighbours: FakeNeighbours) -> None:
        self.logs = logs
        self.neighbours = neighbours
        self.endpoint = f"http://127.0.0.1:{port}"

    async def sdk(self, work: Any) -> Any:
        """Run work with a boto3 client, in a thread."""

        def run() -> Any:
            client = boto3.client(
                "logs",
                region_name=REGION,
                endpoint_url=self.endpoint,
                aws_access_key_id=ACCOUNT,
                aws_secret_access_key="x",
                config=Config(retries={"total_max_attempts": 1}),
            )
            try:
                return work(client)
            finally:
                client.close()

        return await asyncio.to_thread(run)

    async def cli(self, *arguments: str) -> Any:
        """Run the AWS CLI and return what it prints, read as JSON."""
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("aws")),
            "logs",
            *arguments,
            env={
                "PATH": os.environ["PATH"],
                "AWS_ACCESS_KEY_ID": ACCOUNT,
                "AWS_SECRET_ACCESS_KEY": "x",
                "AWS_DEFAULT_REGION": REGION,
                "AWS_ENDPOINT_URL": self.endpoint,
                "AWS_CONFIG_FILE": "/nonexistent",
                "AWS_MAX_ATTEMPTS": "1",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out) if out.strip() else None


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with open_database(sqlite_url(tmp_path / "logs.db"), migrations=[migrations()], now_ms=clock.now_ms) as database:
        neighbours = FakeNeighbours()
        logs = LogsService(database, clock.now_ms, outbox=FakeOutbox(), neighbours=neighbours, new_uuid=new_uuid)
        frontend = Frontend(
            {"logs": logs.service()}, Authenticator(StaticCredentials([]), Mode.OPEN, clock.now_ms), RequestIds(), clock.now_ms
        )
        sockets = listener.open_sockets("127.0.0.1", 0)
        port = listener.address_of(sockets[0])[1]
        async with listener.serving(frontend, sockets, drain_timeout_s=5):
            yield Served(logs, port, neighbours)


async def test_boto3_round(served: Served) -> None:
    """Every operation's answer is read by boto3, pages are followed by its paginators, and errors have its classes."""
    now_ms = clock.now_ms()

    def work(client: Any) -> None:
        client.create_log_group(logGroupName="g", tags={"a": "b"})
        client.put_retention_policy(logGroupName="g", retentionInDays=7)
        client.create_log_stream(logGroupName="g", logStreamName="s")
        log_events = [{"timestamp": now_ms + number, "message": f"m{number} é"} for number in range(25)]
        assert client.put_log_events(logGroupName="g", logStreamName="s", logEvents=log_events)["nextSequenceToken"]
        paginator = client.get_paginator("filter_log_events")
        pages = paginator.paginate(logGroupName="g", interleaved=True, PaginationConfig={"PageSize": 10})
        assert [event["message"] for page in pages for event in page["events"]] == [f"m{number} é" for number in range(25)]
        page = client.get_log_events(logGroupName="g", logStreamName="s", limit=2)
        assert [event["message"] for event in page["events"]] == ["m23 é", "m24 é"]
        assert client.describe_log_groups()["logGroups"][0]["retentionInDays"] == 7
        assert client.list_log_groups()["logGroups"][0]["logGroupName"] == "g"
        assert client.describe_log_streams(logGroupName="g")["logStreams"][0]["lastEventTimestamp"] == now_ms + 24
        arn = client.describe_log_groups()["logGroups"][0]["logGroupArn"]
        assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "b"}
        with pytest.raises(client.exceptions.ResourceAlreadyExistsException):
            client.create_log_group(logGroupName="g")
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.filter_log_events(logGroupName="none")
        with pytest.raises(client.exceptions.InvalidParameterException, match="Invalid character"):
            client.filter_log_events(logGroupName="g", filterPattern="a:b")
        with pytest.raises(ClientError) as caught:
            client.start_query(logGroupName="g", startTime=0, endTime=1, queryString="fields @message")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
        client.delete_log_stream(logGroupName="g", logStreamName="s")
        client.delete_log_group(logGroupName="g")

    await served.sdk(work)


async def test_model_constraints_are_invalid_parameters(served: Served) -> None:
    """CloudWatch Logs answers what breaks its model with InvalidParameterException, not ValidationException."""

    def work(client: Any) -> str:
        with pytest.raises(client.exceptions.InvalidParameterException) as caught:
            client.create_log_group(logGroupName="a b")
        message: str = caught.value.response["Error"]["Message"]
        return message

    assert (await served.sdk(work)).startswith("1 validation error detected: Value 'a b' at 'logGroupName' failed to satisfy constraint: ")


async def test_cli_shows_what_a_function_wrote(served: Served) -> None:
    """`aws logs filter-log-events` finds what the platform appended, before it was written out."""
    now_ms = clock.now_ms()
    served.logs.store.append(ACCOUNT, REGION, GROUP, "2026/01/01/[$LATEST]0", [(now_ms, "START\n"), (now_ms, "ERROR\n")])
    shown = await served.cli("filter-log-events", "--log-group-name", GROUP, "--filter-pattern", "ERROR", "--start-time", "0")
    assert [event["message"] for event in shown["events"]] == ["ERROR\n"]


FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
STREAM = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/s"
METRIC = {"metricName": "m", "metricNamespace": "n", "metricValue": "1"}
POLICY = json.dumps({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "logs:*"}})
NO_GROUP = "The specified log group does not exist."


async def test_filters_and_policies_with_boto3(served: Served) -> None:
    """What filters and policies are is read by boto3 and the AWS CLI, and found by boto3's paginators."""

    def work(client: Any) -> None:
        client.create_log_group(logGroupName="g")
        client.put_subscription_filter(logGroupName="g", filterName="f", filterPattern="ERROR", destinationArn=FUNCTION)
        (shown,) = (
            client.get_paginator("describe_subscription_filters").paginate(logGroupName="g").build_full_result()["subscriptionFilters"]
        )
        assert (shown["filterName"], shown["distribution"], shown["applyOnTransformedLogs"]) == ("f", "ByLogStream", False)
        transformation = {**METRIC, "unit": "Count", "defaultValue": 0.5}
        for name in ("a", "b"):
            client.put_metric_filter(logGroupName="g", filterName=name, filterPattern="", metricTransformations=[transformation])
        pages = client.get_paginator("describe_metric_filters").paginate(PaginationConfig={"PageSize": 1})
        assert [each["metricTransformations"] for page in pages for each in page["metricFilters"]] == [[transformation]] * 2
        client.put_resource_policy(policyName="p", policyDocument=POLICY)
        (policy,) = client.describe_resource_policies()["resourcePolicies"]
        assert policy["policyDocument"] == POLICY
        assert client.describe_destinations()["destinations"] == []
        client.delete_subscription_filter(logGroupName="g", filterName="f")
        client.delete_metric_filter(logGroupName="g", filterName="a")
        client.delete_resource_policy(policyName="p")

    await served.sdk(work)
    described = await served.cli("describe-metric-filters", "--log-group-name", "g")
    assert [each["filterName"] for each in described["metricFilters"]] == ["b"]


@pytest.mark.parametrize(
    ("operation", "request_", "code", "message"),
    [
        ("put_subscription_filter", {"logGroupName": "x"}, "ResourceNotFoundException", NO_GROUP),
        ("put_subscription_filter", {"filterPattern": "{"}, "InvalidParameterException", "Invalid filter pattern"),
        ("put_subscription_filter", {"filterName": "third"}, "LimitExceededException", "Resource limit exceeded."),
        (
            "put_subscription_filter",
            {"destinationArn": STREAM},
            "InvalidParameterException",
            "vendor kinesis cannot be used without roleArn",
        ),
        ("put_subscription_filter", {"destinationArn": FUNCTION.replace(ACCOUNT, "0" * 12)}, "AccessDeniedException", "Cross-account"),
        ("put_subscription_filter", {"filterName": "a:b"}, "InvalidParameterException", "Member must satisfy regular expression pattern"),
        ("put_subscription_filter", {"distribution": "x"}, "InvalidParameterException", "Member must satisfy enum value set"),
        (
            "delete_subscription_filter",
            {"filterName": "x"},
            "ResourceNotFoundException",
            "The specified subscription filter does not exist.",
        ),
        ("delete_subscription_filter", {"logGroupName": "x"}, "ResourceNotFoundException", NO_GROUP),
        ("describe_subscription_filters", {"logGroupName": "x"}, "ResourceNotFoundException", NO_GROUP),
        ("describe_subscription_filters", {"nextToken": "?"}, "InvalidParameterException", "The specified nextToken is invalid."),
        ("put_metric_filter", {"logGroupName": "x"}, "ResourceNotFoundException", NO_GROUP),
        ("put_metric_filter", {"filterPattern": "["}, "InvalidParameterException", "Invalid filter pattern"),
        (
            "put_metric_filter",
            {"metricTransformations": [{**METRIC, "metricValue": "x"}]},
            "InvalidParameterException",
            "Invalid metric tr",
        ),
        ("put_metric_filter", {"metricTransformations": [METRIC, METRIC]}, "InvalidParameterException", "less than or equal to 1"),
        ("delete_metric_filter", {}, "ResourceNotFoundException", "The specified metric filter does not exist."),
        ("describe_metric_filters", {"metricName": "m"}, "InvalidParameterException", "must be given together"),
        ("put_resource_policy", {"policyDocument": "{"}, "InvalidParameterException", "it is not JSON"),
        ("delete_resource_policy", {}, "ResourceNotFoundException", "Policy with name [p] does not exist."),
    ],
)
async def test_errors_of_filters_and_policies(served: Served, operation: str, request_: dict[str, Any], code: str, message: str) -> None:
    """Each documented error comes through boto3, with its class where the model has one."""
    valid: dict[str, dict[str, Any]] = {
        "put_subscription_filter": {"logGroupName": "g", "filterName": "n", "filterPattern": "", "destinationArn": FUNCTION},
        "delete_subscription_filter": {"logGroupName": "g", "filterName": "n"},
        "describe_subscription_filters": {"logGroupName": "g"},
        "put_metric_filter": {"logGroupName": "g", "filterName": "n", "filterPattern": "", "metricTransformations": [METRIC]},
        "delete_metric_filter": {"logGroupName": "g", "filterName": "n"},
        "describe_metric_filters": {},
        "put_resource_policy": {"policyName": "p", "policyDocument": POLICY},
        "delete_resource_policy": {"policyName": "p"},
    }

    def work(client: Any) -> None:
        client.create_log_group(logGroupName="g")
        for name in ("one", "two"):
            client.put_subscription_filter(logGroupName="g", filterName=name, filterPattern="", destinationArn=FUNCTION)
        expected = getattr(client.exceptions, code, ClientError)
        with pytest.raises(expected) as caught:
            getattr(client, operation)(**{**valid[operation], **request_})
        assert caught.value.response["Error"]["Code"] == code
        assert message in caught.value.response["Error"]["Message"]

    await served.sdk(work)


async def test_a_destination_that_refuses_with_boto3(served: Served) -> None:
    """A function that may not be called is no destination."""

    def work(client: Any) -> None:
        client.create_log_group(logGroupName="g")
        with pytest.raises(client.exceptions.InvalidParameterException, match="Could not execute the lambda function"):
            client.put_subscription_filter(logGroupName="g", filterName="n", filterPattern="", destinationArn=FUNCTION)

    served.neighbours.refusal = AwsError("AccessDeniedException", "no", status=403)
    await served.sdk(work)

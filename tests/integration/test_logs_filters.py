"""Subscription filters, metric filters and resource policies of CloudWatch Logs through its handlers, on both databases."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from logs_neighbours import FakeNeighbours, FakeOutbox, new_uuid, unpacked

from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.logs.app import LogsService, migrations
from lambdad.services.outbox import Delivery
from lambdad.services.ports import CallContext
from lambdad.store.connection import Connection
from lambdad.store.database import Database, open_database

START_MS = 1_700_000_000_000
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
CANNOT_EXECUTE = (
    "InvalidParameterException",
    "Could not execute the lambda function. Make sure you have given CloudWatch Logs permission to execute your function.",
)
MISSING_GROUP = ("ResourceNotFoundException", "The specified log group does not exist.")
FULL = ("LimitExceededException", "Resource limit exceeded.")
METRIC = {"metricName": "m", "metricNamespace": "n", "metricValue": "1"}
POLICY = json.dumps({"Statement": [{"Effect": "Allow", "Principal": {"Service": "es.amazonaws.com"}, "Action": "logs:PutLogEvents"}]})


class Logs:
    """The service, its fake neighbours, and calls by AWS's names."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.outbox = FakeOutbox()
        self.neighbours = FakeNeighbours()
        self.service = LogsService(database, lambda: START_MS, outbox=self.outbox, neighbours=self.neighbours, new_uuid=new_uuid)

    async def __call__(self, operation: str, *, account: str = "000000000000", **request: Any) -> Any:
        ctx = CallContext(
            account=AccountId(account),
            region=Region("us-east-1"),
            request_id=RequestId("00000000-0000-0000-0000-000000000000"),
            principal_arn=f"arn:aws:iam::{account}:root",
        )
        return await self.service.service().handlers[operation](ctx, request)

    async def refused(self, operation: str, **request: Any) -> tuple[str, str | None]:
        with pytest.raises(AwsError) as caught:
            await self(operation, **request)
        return caught.value.code, caught.value.message

    async def subscribe(self, name: str = "n", pattern: str = "ERROR", group: str = "g", **options: Any) -> None:
        request = {"logGroupName": group, "filterName": name, "filterPattern": pattern, "destinationArn": FUNCTION, **options}
        await self("PutSubscriptionFilter", **request)

    async def put(self, *messages: str, group: str = "g") -> None:
        events = [{"timestamp": START_MS + number, "message": message} for number, message in enumerate(messages)]
        await self("PutLogEvents", logGroupName=group, logStreamName="s", logEvents=events)

    def append(self, *messages: str, stream: str = "s", group: str = "g") -> None:
        self.service.store.append("000000000000", "us-east-1", group, stream, [(START_MS, message) for message in messages])


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, migrations=[migrations()], now_ms=lambda: START_MS) as opened:
        yield opened


@pytest.fixture
async def logs(database: Database) -> AsyncIterator[Logs]:
    made = Logs(database)
    await made("CreateLogGroup", logGroupName="g")
    await made("CreateLogStream", logGroupName="g", logStreamName="s")
    yield made
    await made.service.store.flush()


def said(messages: list[dict[str, Any]]) -> list[list[str]]:
    return [[event["message"] for event in message["logEvents"]] for message in messages]


async def test_the_function_is_tried_first(logs: Logs) -> None:
    """PutSubscriptionFilter sends a control message, on behalf of the group."""
    await logs.subscribe()
    ((origin, service, operation, params),) = logs.neighbours.calls
    assert (service, operation, params["FunctionName"], params["InvocationType"]) == ("lambda", "Invoke", FUNCTION, "Event")
    assert unpacked(params["Payload"])["messageType"] == "CONTROL_MESSAGE"
    assert (origin.principal, origin.source_arn) == ("logs.amazonaws.com", "arn:aws:logs:us-east-1:000000000000:log-group:g:*")


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (AwsError("AccessDeniedException", "no", status=403), CANNOT_EXECUTE),
        (AwsError("ResourceNotFoundException", "no", status=404), CANNOT_EXECUTE),
        (
            AwsError("TooManyRequestsException", "no", status=429),
            ("ServiceUnavailableException", "The service cannot complete the request."),
        ),
        (AwsError("ServiceException", "no", status=500), ("ServiceUnavailableException", "The service cannot complete the request.")),
    ],
)
async def test_a_function_that_refuses_is_no_destination(logs: Logs, refusal: AwsError, told: tuple[str, str]) -> None:
    """Nothing is kept when the trial fails."""
    logs.neighbours.refusal = refusal
    request = {"logGroupName": "g", "filterName": "n", "filterPattern": "", "destinationArn": FUNCTION}
    assert await logs.refused("PutSubscriptionFilter", **request) == told
    assert await logs("DescribeSubscriptionFilters", logGroupName="g") == {"subscriptionFilters": []}
    await logs.put("a")
    assert logs.outbox.deliveries == []


async def test_what_fits_is_delivered(logs: Logs) -> None:
    """Events of PutLogEvents and of the platform go to the function, with the ids that FilterLogEvents shows, and others do not."""
    await logs.put("ERROR before")
    await logs.subscribe()
    await logs.put("ERROR a", "INFO", "ERROR b")
    (delivery,) = logs.outbox.deliveries
    assert (delivery.service, delivery.operation, delivery.params["FunctionName"]) == ("lambda", "Invoke", FUNCTION)
    assert delivery.params["InvocationType"] == "Event"
    assert delivery.origin.source_arn == "arn:aws:logs:us-east-1:000000000000:log-group:g:*"
    assert delivery.maximum_age_s == 24 * 3600
    (message,) = logs.outbox.messages()
    assert (message["owner"], message["logGroup"], message["logStream"]) == ("000000000000", "g", "s")
    shown = (await logs("FilterLogEvents", logGroupName="g", filterPattern="ERROR"))["events"]
    assert message["logEvents"] == [
        {"id": event["eventId"], "timestamp": event["timestamp"], "message": event["message"]} for event in shown[1:]
    ]
    assert logs.outbox.woken == 1
    logs.append("ERROR c", "INFO")
    logs.append("ERROR d", stream="t")
    logs.append("ERROR e", group="other")
    await logs.service.store.flush()
    assert said(logs.outbox.messages()) == [["ERROR c"], ["ERROR d"]]
    assert logs.outbox.woken == 2
    shown = (await logs("FilterLogEvents", logGroupName="g"))["events"]
    assert sorted(event["message"] for event in shown) == ["ERROR a", "ERROR b", "ERROR before", "ERROR c", "ERROR d", "INFO", "INFO"]


async def test_large_batches_are_delivered_whole(logs: Logs) -> None:
    """Events that make several chunks, and are matched in a thread, have the ids that FilterLogEvents shows."""
    await logs.subscribe(pattern="")
    logs.append(*[f"{number} " + "x" * 1000 for number in range(700)])
    await logs.service.store.flush()
    arrived = [event for message in logs.outbox.messages() for event in message["logEvents"]]
    shown = (await logs("FilterLogEvents", logGroupName="g"))["events"]
    assert [event["id"] for event in arrived] == [event["eventId"] for event in shown]
    assert len(arrived) == 700


async def test_filters_are_used_after_a_new_start(logs: Logs) -> None:
    """A new process reads the filters and goes on."""
    await logs.subscribe(pattern="[level = ERROR, ...]", emitSystemFields=["@aws.account"])
    again = Logs(logs.database)
    await again.service.load()
    again.append("ERROR a", "x ERROR")
    await again.service.store.flush()
    (message,) = again.outbox.messages()
    (event,) = message["logEvents"]
    assert event["extractedFields"] == {"level": "ERROR", "2": "a", "@aws.account": "000000000000"}


async def test_events_and_deliveries_are_one_transaction(logs: Logs) -> None:
    """Where a delivery cannot be kept, the events are not stored either, and come again."""
    await logs.subscribe()
    add = logs.outbox.add

    def fail(connection: Connection, deliveries: list[Delivery], now_ms: int) -> None:
        raise ZeroDivisionError

    logs.outbox.add = fail  # type: ignore[method-assign,assignment]  # to stand for a full disk
    with pytest.raises(ZeroDivisionError):
        await logs.put("ERROR a")
    logs.outbox.add = add  # type: ignore[method-assign]
    assert (await logs("FilterLogEvents", logGroupName="g"))["events"] == []
    await logs.put("ERROR b")
    assert said(logs.outbox.messages()) == [["ERROR b"]]


async def test_two_filters_each_get_their_own(logs: Logs) -> None:
    """A group has two filters at most; each is delivered by itself."""
    await logs.subscribe("a", "ERROR")
    await logs.subscribe("b", "WARN")
    request = {"logGroupName": "g", "filterName": "c", "filterPattern": "", "destinationArn": FUNCTION}
    assert await logs.refused("PutSubscriptionFilter", **request) == FULL
    assert len(logs.neighbours.calls) == 2
    await logs.put("ERROR WARN", "WARN")
    messages = logs.outbox.messages()
    assert [message["subscriptionFilters"] for message in messages] == [["a"], ["b"]]
    assert said(messages) == [["ERROR WARN"], ["ERROR WARN", "WARN"]]
    await logs.subscribe("b", "INFO")
    await logs.put("WARN", "INFO")
    assert said(logs.outbox.messages()) == [["INFO"]]


async def test_filters_are_described_as_they_are(logs: Logs) -> None:
    """Describe shows what was put, in order of names, page by page and by prefix."""
    await logs.subscribe("bb", "")
    await logs.subscribe("a", "ERROR", distribution="Random", emitSystemFields=["@aws.region"])
    page = await logs("DescribeSubscriptionFilters", logGroupName="g", limit=1)
    assert page["subscriptionFilters"] == [
        {
            "filterName": "a",
            "logGroupName": "g",
            "filterPattern": "ERROR",
            "destinationArn": FUNCTION,
            "distribution": "Random",
            "applyOnTransformedLogs": False,
            "creationTime": START_MS,
            "emitSystemFields": ["@aws.region"],
        }
    ]
    rest = await logs("DescribeSubscriptionFilters", logGroupName="g", limit=1, nextToken=page["nextToken"])
    assert [each["filterName"] for each in rest["subscriptionFilters"]] == ["bb"]
    assert rest["subscriptionFilters"][0]["distribution"] == "ByLogStream"
    assert "nextToken" not in rest
    page = await logs("DescribeSubscriptionFilters", logGroupName="g", filterNamePrefix="b")
    assert [each["filterName"] for each in page["subscriptionFilters"]] == ["bb"]
    assert await logs.refused("DescribeSubscriptionFilters", logGroupName="x") == MISSING_GROUP
    assert (await logs.refused("DescribeSubscriptionFilters", logGroupName="g", nextToken="?"))[0] == "InvalidParameterException"


async def test_deleted_filters_are_silent(logs: Logs) -> None:
    """A filter that was deleted, or whose group was, wants nothing any more."""
    await logs.subscribe()
    await logs("DeleteSubscriptionFilter", logGroupName="g", filterName="n")
    await logs.put("ERROR")
    missing = ("ResourceNotFoundException", "The specified subscription filter does not exist.")
    assert await logs.refused("DeleteSubscriptionFilter", logGroupName="g", filterName="n") == missing
    assert await logs.refused("DeleteSubscriptionFilter", logGroupName="x", filterName="n") == MISSING_GROUP
    await logs.subscribe()
    await logs("DeleteLogGroup", logGroupName="g")
    logs.append("ERROR")
    await logs.service.store.flush()
    assert await logs("DescribeSubscriptionFilters", logGroupName="g") == {"subscriptionFilters": []}
    assert logs.outbox.deliveries == []
    again = Logs(logs.database)
    await again.service.load()
    again.append("ERROR")
    await again.service.store.flush()
    assert again.outbox.deliveries == []


async def test_subscriptions_that_are_refused(logs: Logs) -> None:
    """Wrong patterns, groups and destinations are refused before any function is called."""
    request = {"logGroupName": "g", "filterName": "n", "filterPattern": "", "destinationArn": FUNCTION}
    assert await logs.refused("PutSubscriptionFilter", **{**request, "logGroupName": "x"}) == MISSING_GROUP
    assert (await logs.refused("PutSubscriptionFilter", **{**request, "filterPattern": "{"}))[0] == "InvalidParameterException"
    other = FUNCTION.replace("000000000000", "111111111111")
    assert (await logs.refused("PutSubscriptionFilter", **{**request, "destinationArn": other}))[0] == "AccessDeniedException"
    assert logs.neighbours.calls == []


async def test_metric_filters_are_kept(logs: Logs) -> None:
    """Metric filters are shown as they were put, counted in their group, and found by group, name and metric."""
    await logs("CreateLogGroup", logGroupName="h")
    await logs("PutMetricFilter", logGroupName="g", filterName="a", filterPattern="ERROR", metricTransformations=[METRIC])
    counted = {"metricName": "bytes", "metricNamespace": "n", "metricValue": "$bytes", "unit": "Bytes", "dimensions": {"Ip": "$ip"}}
    await logs("PutMetricFilter", logGroupName="g", filterName="b", filterPattern="[ip, bytes]", metricTransformations=[counted])
    await logs("PutMetricFilter", logGroupName="h", filterName="a", filterPattern="", metricTransformations=[METRIC])
    described = (await logs("DescribeLogGroups"))["logGroups"]
    assert [(group["logGroupName"], group["metricFilterCount"]) for group in described] == [("g", 2), ("h", 1)]
    shown = (await logs("DescribeMetricFilters", logGroupName="g"))["metricFilters"]
    assert shown[1] == {
        "filterName": "b",
        "filterPattern": "[ip, bytes]",
        "metricTransformations": [counted],
        "creationTime": START_MS,
        "logGroupName": "g",
        "applyOnTransformedLogs": False,
    }

    async def found(**request: Any) -> list[tuple[str, str]]:
        names: list[tuple[str, str]] = []
        while True:
            page = await logs("DescribeMetricFilters", limit=1, **request)
            names += [(each["filterName"], each["logGroupName"]) for each in page["metricFilters"]]
            if "nextToken" not in page:
                return names
            request["nextToken"] = page["nextToken"]

    assert await found() == [("a", "g"), ("a", "h"), ("b", "g")]
    assert await found(logGroupName="h") == [("a", "h")]
    assert await found(filterNamePrefix="b") == [("b", "g")]
    assert await found(metricName="m", metricNamespace="n") == [("a", "g"), ("a", "h")]
    await logs("PutMetricFilter", logGroupName="g", filterName="a", filterPattern="WARN", metricTransformations=[METRIC])
    assert (await logs("DescribeMetricFilters", logGroupName="g"))["metricFilters"][0]["filterPattern"] == "WARN"
    await logs("DeleteMetricFilter", logGroupName="g", filterName="a")
    await logs("DeleteLogGroup", logGroupName="h")
    assert await found() == [("b", "g")]


async def test_metric_filters_that_are_refused(logs: Logs) -> None:
    """Wrong groups, patterns, names and numbers of filters are refused."""
    request = {"logGroupName": "g", "filterName": "a", "filterPattern": "", "metricTransformations": [METRIC]}
    assert await logs.refused("PutMetricFilter", **{**request, "logGroupName": "x"}) == MISSING_GROUP
    assert (await logs.refused("PutMetricFilter", **{**request, "filterPattern": "["}))[0] == "InvalidParameterException"
    missing = ("ResourceNotFoundException", "The specified metric filter does not exist.")
    assert await logs.refused("DeleteMetricFilter", logGroupName="g", filterName="a") == missing
    assert await logs.refused("DeleteMetricFilter", logGroupName="x", filterName="a") == MISSING_GROUP
    assert await logs.refused("DescribeMetricFilters", logGroupName="x") == MISSING_GROUP
    assert (await logs.refused("DescribeMetricFilters", metricName="m"))[0] == "InvalidParameterException"
    assert (await logs.refused("DescribeMetricFilters", nextToken="?"))[0] == "InvalidParameterException"
    for number in range(100):
        await logs("PutMetricFilter", **{**request, "filterName": str(number)})
    assert await logs.refused("PutMetricFilter", **request) == FULL
    await logs("PutMetricFilter", **{**request, "filterName": "7"})


async def test_resource_policies_are_kept(logs: Logs) -> None:
    """Policies are shown as they were put, in order of names; an account has ten."""
    put = await logs("PutResourcePolicy", policyName="b", policyDocument=POLICY)
    assert put["resourcePolicy"] == {
        "policyName": "b",
        "policyDocument": POLICY,
        "lastUpdatedTime": START_MS,
        "policyScope": "ACCOUNT",
        "revisionId": put["revisionId"],
    }
    for number in range(9):
        await logs("PutResourcePolicy", policyName=f"a{number}", policyDocument=POLICY)
    assert await logs.refused("PutResourcePolicy", policyName="c", policyDocument=POLICY) == FULL
    changed = POLICY.replace("es.", "route53.")
    await logs("PutResourcePolicy", policyName="a0", policyDocument=changed)
    page = await logs("DescribeResourcePolicies", limit=9)
    assert [each["policyName"] for each in page["resourcePolicies"]] == [f"a{number}" for number in range(9)]
    assert page["resourcePolicies"][0]["policyDocument"] == changed
    page = await logs("DescribeResourcePolicies", limit=9, nextToken=page["nextToken"])
    assert page == {"resourcePolicies": [put["resourcePolicy"]]}
    assert await logs("DescribeResourcePolicies", policyScope="RESOURCE") == {"resourcePolicies": []}
    assert await logs("DescribeResourcePolicies", account="111111111111") == {"resourcePolicies": []}
    await logs("DeleteResourcePolicy", policyName="b")
    missing = ("ResourceNotFoundException", "Policy with name [b] does not exist.")
    assert await logs.refused("DeleteResourcePolicy", policyName="b") == missing
    assert await logs("DescribeDestinations") == {"destinations": []}


async def test_entities_are_refused_as_aws_does(logs: Logs) -> None:
    """The events of a request with an entity are stored, and the answer says that the entity was not."""
    events = [{"timestamp": START_MS, "message": "a"}]
    entity = {"keyAttributes": {"Type": "Service", "Name": "x"}}
    answer = await logs("PutLogEvents", logGroupName="g", logStreamName="s", logEvents=events, entity=entity)
    assert answer["rejectedEntityInfo"] == {"errorType": "UnsupportedLogGroupType"}
    assert len((await logs("FilterLogEvents", logGroupName="g"))["events"]) == 1

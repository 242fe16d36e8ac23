"""The operations on configurations of asynchronous invocation, and dead-letter targets of functions."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from lambda_house import CONTEXT, FUNCTION_ARN, NOW_MS, House, new_uuid, open_house, refused

from lambdad.services.lambda_.event_invoke_configs import EventInvokeConfigs
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.rules import event_invoke
from lambdad.services.lambda_.rules.event_invoke import Settings

QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
TOPIC = "arn:aws:sns:us-east-1:000000000000:t"
BARE = {"OnSuccess": {}, "OnFailure": {}}
INVALID = "InvalidParameterValueException"
MISSING = "ResourceNotFoundException"
NO_CONFIG = f"The function {FUNCTION_ARN}:{{}} doesn't have an EventInvokeConfig"


class ConfigHouse:
    """The operations beside all others, over one registry."""

    def __init__(self, house: House) -> None:
        self.house = house
        configs = EventInvokeConfigs(house.registry, World(now_ms=lambda: NOW_MS, new_uuid=new_uuid))
        self.handlers = {**house.handlers, **configs.handlers()}

    async def call(self, operation: str, **request: Any) -> dict[str, Any]:
        if not operation.endswith(("Function", "Configuration", "Version", "Alias")):
            operation = operation.replace("Config", "FunctionEventInvokeConfig")
        return await self.handlers[operation](CONTEXT, {"FunctionName": "f", **request})

    def applied(self, qualifier: str | None = None) -> Settings:
        function = self.house.registry.get(CONTEXT.account, CONTEXT.region, "f")
        assert function is not None
        return event_invoke.settings(function, qualifier)


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[ConfigHouse]:
    async with open_house(database_url) as opened:
        await opened.create_settled()
        await opened.call("PublishVersion", FunctionName="f")
        await opened.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        yield ConfigHouse(opened)


async def test_put_replaces_and_update_merges(house: ConfigHouse) -> None:
    """What is not put has its default again; what is not updated stays."""
    put = await house.call("PutConfig", MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": QUEUE}})
    assert put == {
        "LastModified": datetime.fromtimestamp(NOW_MS / 1000, tz=UTC),
        "FunctionArn": f"{FUNCTION_ARN}:$LATEST",
        "MaximumRetryAttempts": 0,
        "DestinationConfig": {"OnSuccess": {}, "OnFailure": {"Destination": QUEUE}},
    }
    assert await house.call("GetConfig") == put
    updated = await house.call("UpdateConfig", MaximumEventAgeInSeconds=60)
    assert updated == {**put, "MaximumEventAgeInSeconds": 60}
    assert house.applied() == Settings(maximum_retry_attempts=0, maximum_event_age_ms=60_000, on_failure=QUEUE)
    replaced = await house.call("PutConfig", MaximumEventAgeInSeconds=70)
    assert "MaximumRetryAttempts" not in replaced and replaced["DestinationConfig"] == BARE
    assert house.applied() == Settings(maximum_event_age_ms=70_000)
    other = await house.call("UpdateConfig", DestinationConfig={"OnSuccess": {"Destination": TOPIC}, "OnFailure": {"Destination": ""}})
    assert other["DestinationConfig"] == {"OnSuccess": {"Destination": TOPIC}, "OnFailure": {}}


async def test_each_qualifier_has_its_own(house: ConfigHouse) -> None:
    """A version, an alias and the function are apart; a new version has none; the list shows all, qualified."""
    await house.call("PutConfig", MaximumRetryAttempts=1)
    await house.call("PutConfig", Qualifier="live", MaximumRetryAttempts=0)
    await house.call("PutConfig", FunctionName=f"{FUNCTION_ARN}:1", MaximumEventAgeInSeconds=60)
    assert [house.applied(name).maximum_retry_attempts for name in (None, "$LATEST", "live", "1")] == [1, 1, 0, 2]
    listed = (await house.call("ListConfigs"))["FunctionEventInvokeConfigs"]
    assert [each["FunctionArn"].rpartition(":")[2] for each in listed] == ["$LATEST", "1", "live"]
    first = await house.call("ListConfigs", MaxItems=2)
    assert len(first["FunctionEventInvokeConfigs"]) == 2
    second = await house.call("ListConfigs", MaxItems=2, Marker=first["NextMarker"])
    assert len(second["FunctionEventInvokeConfigs"]) == 1 and "NextMarker" not in second
    await house.call("DeleteConfig", Qualifier="live")
    await refused(house.call("GetConfig", Qualifier="live"), MISSING, NO_CONFIG.format("live"))
    await house.call("UpdateFunctionConfiguration", Description="changed")
    await house.house.wait_settled()
    await house.call("PublishVersion")
    await refused(house.call("GetConfig", Qualifier="2"), MISSING, NO_CONFIG.format("2"))


async def test_configurations_go_with_what_they_belong_to(house: ConfigHouse, database_url: str) -> None:
    """Deleting an alias, a version or the function deletes its configuration; restarting does not."""
    for qualifier in ("live", "1", "$LATEST"):
        await house.call("PutConfig", Qualifier=qualifier, MaximumRetryAttempts=0, DestinationConfig={"OnSuccess": {"Destination": TOPIC}})
    async with open_house(database_url) as reopened:
        again = ConfigHouse(reopened)
        assert again.applied("live") == house.applied("live") == Settings(maximum_retry_attempts=0, on_success=TOPIC)
    await house.call("DeleteAlias", Name="live")
    await house.call("DeleteFunction", Qualifier="1")
    await house.call("CreateAlias", Name="live", FunctionVersion="$LATEST")
    listed = (await house.call("ListConfigs"))["FunctionEventInvokeConfigs"]
    assert [each["FunctionArn"] for each in listed] == [f"{FUNCTION_ARN}:$LATEST"]
    await house.call("DeleteFunction")
    await house.house.create_settled()
    await refused(house.call("GetConfig"), MISSING, NO_CONFIG.format("$LATEST"))


async def test_what_is_refused(house: ConfigHouse) -> None:
    """Each error in AWS's words."""
    nothing = "You must specify at least one of error handling or destination setting."
    await refused(house.call("PutConfig"), INVALID, nothing)
    for operation in ("UpdateConfig", "DeleteConfig", "GetConfig"):
        await refused(house.call(operation, MaximumRetryAttempts=0), MISSING, NO_CONFIG.format("$LATEST"))
    gone = {"FunctionName": "g", "MaximumRetryAttempts": 0}
    await refused(house.call("PutConfig", **gone), MISSING, "The function doesn't exist.")
    await refused(house.call("PutConfig", MaximumRetryAttempts=0, Qualifier="7"), MISSING, "The function doesn't exist.")
    await refused(house.call("ListConfigs", FunctionName="g"), MISSING, "The function doesn't exist.")
    no_config = NO_CONFIG.format("$LATEST").replace(":f:", ":g:")
    await refused(house.call("GetConfig", FunctionName="g"), MISSING, no_config)
    itself = {"OnSuccess": {"Destination": FUNCTION_ARN}}
    message = "You can't specify the function as a destination for itself."
    await refused(house.call("PutConfig", DestinationConfig=itself), INVALID, message)
    unknown = FUNCTION_ARN.replace(":f", ":g").replace("gunction", "function")
    message = f"The destination ARN {unknown} is invalid."
    await refused(house.call("PutConfig", DestinationConfig={"OnFailure": {"Destination": unknown}}), INVALID, message)
    await house.house.create_settled("g")
    await house.call("PutConfig", DestinationConfig={"OnFailure": {"Destination": unknown}})


async def test_dead_letter_targets_are_part_of_a_version(house: ConfigHouse) -> None:
    """Set, shown, published, and taken away again by an empty ARN."""
    changed = await house.call("UpdateFunctionConfiguration", DeadLetterConfig={"TargetArn": QUEUE})
    assert changed["DeadLetterConfig"] == {"TargetArn": QUEUE}
    await house.house.wait_settled()
    await house.call("PublishVersion")
    await house.call("UpdateFunctionConfiguration", Description="kept")
    await house.house.wait_settled()
    assert house.applied().dead_letter_target == QUEUE
    cleared = await house.call("UpdateFunctionConfiguration", DeadLetterConfig={"TargetArn": ""})
    assert "DeadLetterConfig" not in cleared
    assert (house.applied().dead_letter_target, house.applied("2").dead_letter_target, house.applied("live").dead_letter_target) == (
        "",
        QUEUE,
        "",
    )

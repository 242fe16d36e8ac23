"""Provisioned concurrency: the handlers on both databases, with a provisioner that says what the test says."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from lambda_house import CONTEXT, FUNCTION_ARN, NOW_MS, House, new_uuid, open_house, refused

from lambdad.model.function import FunctionKey, SnapStartApplyOn
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.ports import ProvisionedState
from lambdad.services.lambda_.provisioned_concurrency import ProvisionedConcurrencyConfigs
from lambdad.services.lambda_.registry import Change

INVALID = "InvalidParameterValueException"
MISSING = "ResourceNotFoundException"
CONFLICT = "ResourceConflictException"
NONE = "ProvisionedConcurrencyConfigNotFoundException"
PUT, GET = "PutProvisionedConcurrencyConfig", "GetProvisionedConcurrencyConfig"
DELETE, LIST = "DeleteProvisionedConcurrencyConfig", "ListProvisionedConcurrencyConfigs"
AT = "2025-11-25T02:26:54+0000"


class Provisioner:
    def __init__(self) -> None:
        self.states: dict[str, ProvisionedState] = {}

    def provisioned_state(self, key: FunctionKey, qualifier: str) -> ProvisionedState | None:
        return self.states.get(qualifier)


def equip(house: House) -> Provisioner:
    """Give a house the operations; they are a chapter that the composition root adds."""
    provisioner = Provisioner()
    world = World(now_ms=lambda: NOW_MS, new_uuid=new_uuid)
    house.handlers = {**house.handlers, **ProvisionedConcurrencyConfigs(house.registry, provisioner, world).handlers()}
    return provisioner


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    async with open_house(database_url) as opened:
        opened.provisioner = equip(opened)  # type: ignore[attr-defined]  # for the tests that ask for states
        await opened.create_settled(Publish=True)
        await opened.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)
        await opened.wait_settled()
        await opened.call("PublishVersion", FunctionName="f")
        await opened.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        yield opened


async def put(house: House, qualifier: str, count: int = 2, name: str = "f") -> dict[str, Any]:
    return await house.call(PUT, FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=count)


async def unreserved(house: House) -> int:
    limits = (await house.call("GetAccountSettings"))["AccountLimit"]
    return int(limits["UnreservedConcurrentExecutions"])


async def test_a_configuration_from_put_to_delete(house: House) -> None:
    """AWS's members in each status, and 404 when it is gone."""
    assert await put(house, "1") == {
        "RequestedProvisionedConcurrentExecutions": 2,
        "AvailableProvisionedConcurrentExecutions": 0,
        "AllocatedProvisionedConcurrentExecutions": 0,
        "Status": "IN_PROGRESS",
        "LastModified": AT,
    }
    states = house.provisioner.states  # type: ignore[attr-defined]  # see the fixture
    states["1"] = ProvisionedState(status="READY", ready=2)
    ready = await house.call(GET, FunctionName="f", Qualifier="1")
    assert (ready["Status"], ready["AllocatedProvisionedConcurrentExecutions"], ready["AvailableProvisionedConcurrentExecutions"]) == (
        "READY",
        2,
        2,
    )
    assert "StatusReason" not in ready
    states["1"] = ProvisionedState(status="FAILED", ready=1, reason="FUNCTION_ERROR_INIT_FAILURE")
    failed = await house.call(GET, FunctionName=FUNCTION_ARN + ":1", Qualifier="1")
    assert failed["StatusReason"] == "FUNCTION_ERROR_INIT_FAILURE" and failed["AvailableProvisionedConcurrentExecutions"] == 0
    assert await house.call(DELETE, FunctionName="f", Qualifier="1") == {}
    await refused(house.call(GET, FunctionName="f", Qualifier="1"), NONE, "No Provisioned Concurrency Config found for this function")
    assert await house.call(DELETE, FunctionName="f", Qualifier="1") == {}


async def test_the_list(house: House) -> None:
    """Configurations with their qualified ARNs, in pages; a deleted alias or version takes its own along."""
    await put(house, "2", 3)
    await put(house, "live", 4)
    listed = (await house.call(LIST, FunctionName="f"))["ProvisionedConcurrencyConfigs"]
    assert [(each["FunctionArn"], each["RequestedProvisionedConcurrentExecutions"]) for each in listed] == [
        (f"{FUNCTION_ARN}:2", 3),
        (f"{FUNCTION_ARN}:live", 4),
    ]
    first = await house.call(LIST, FunctionName="f", MaxItems=1)
    rest = await house.call(LIST, FunctionName="f", Marker=first["NextMarker"])
    assert first["ProvisionedConcurrencyConfigs"] + rest["ProvisionedConcurrencyConfigs"] == listed and "NextMarker" not in rest
    await house.call("DeleteAlias", FunctionName="f", Name="live")
    await house.call("DeleteFunction", FunctionName="f", Qualifier="2")
    assert (await house.call(LIST, FunctionName="f"))["ProvisionedConcurrencyConfigs"] == []
    assert await unreserved(house) == 1000
    await refused(house.call(LIST, FunctionName="g"), MISSING, f"Function not found: {FUNCTION_ARN[:-1]}g")


async def test_what_cannot_be_provisioned(house: House) -> None:
    """AWS's errors for what is not published and what does not exist."""
    unpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    neither = "The function resource provided must be an alias or a published version."
    await refused(put(house, "$LATEST"), INVALID, unpublished)
    await refused(house.call(GET, FunctionName="f", Qualifier="$LATEST"), INVALID, neither)
    await refused(house.call(DELETE, FunctionName="f", Qualifier="$LATEST"), INVALID, neither)
    for operation in (GET, DELETE):
        await refused(house.call(operation, FunctionName="f", Qualifier="7"), MISSING, f"Function not found: {FUNCTION_ARN}:7")
    await refused(put(house, "7"), MISSING, f"Function not found: {FUNCTION_ARN}:7")
    await refused(put(house, "none"), MISSING, f"Cannot find alias arn: {FUNCTION_ARN}:none")
    await refused(put(house, "1", name="g"), MISSING, f"Function not found: {FUNCTION_ARN[:-1]}g:1")
    await house.call("CreateAlias", FunctionName="f", Name="newest", FunctionVersion="$LATEST")
    await refused(put(house, "newest"), INVALID, unpublished)


async def test_a_version_is_provisioned_once(house: House) -> None:
    """By itself or by one alias, however it comes about."""
    already = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
    await put(house, "1")
    await refused(put(house, "live"), CONFLICT, already)
    await house.call(DELETE, FunctionName="f", Qualifier="1")
    await put(house, "live")
    await refused(put(house, "1"), CONFLICT, "Version is pointed by a Provisioned Concurrency alias")
    await house.call("CreateAlias", FunctionName="f", Name="other", FunctionVersion="1")
    await refused(put(house, "other"), CONFLICT, already)
    await put(house, "2")
    await refused(house.call("UpdateAlias", FunctionName="f", Name="live", FunctionVersion="2"), CONFLICT, already)
    weights = {"AdditionalVersionWeights": {"2": 0.5}}
    await refused(house.call("UpdateAlias", FunctionName="f", Name="live", RoutingConfig=weights), CONFLICT, already)
    await house.call(DELETE, FunctionName="f", Qualifier="2")
    await house.call("UpdateAlias", FunctionName="f", Name="live", FunctionVersion="2")
    await put(house, "live", 5)  # itself again


async def test_what_is_left_for_the_others(house: House) -> None:
    """Without a reservation it is taken from the account's pool, of which a hundred must stay."""
    greater = "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000]."
    below = (
        "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100]."
    )
    await refused(put(house, "1", 1001), INVALID, greater)
    await refused(put(house, "1", 901), INVALID, below)
    await put(house, "1", 900)
    assert await unreserved(house) == 100
    await put(house, "1", 500)
    await put(house, "2", 400)
    assert await unreserved(house) == 100
    await refused(put(house, "2", 401), INVALID, below)
    await house.create_settled("g", Publish=True)
    await refused(put(house, "1", 1, name="g"), INVALID, below)
    reserved = below.replace("ConcurrentExecutions for", "ReservedConcurrentExecutions for")
    await refused(house.call("PutFunctionConcurrency", FunctionName="g", ReservedConcurrentExecutions=1), INVALID, reserved)


async def test_within_a_reservation(house: House) -> None:
    """What is provisioned is a part of the function's reservation, from whichever side it is changed."""
    await house.call("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=5)
    await put(house, "1", 3)
    too_much = "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
    await refused(put(house, "2", 3), INVALID, too_much)
    await put(house, "2", 2)
    assert await unreserved(house) == 995
    too_little = " ReservedConcurrentExecutions  4 should not be lower than function's total provisioned concurrency [5]."
    await refused(house.call("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=4), INVALID, too_little)
    target = house.registry.resolve(CONTEXT.account, CONTEXT.region, "f", "1", 0.0)
    assert (target.reserved_concurrency, target.on_demand_concurrency) == (5, 0)
    await house.call("DeleteFunctionConcurrency", FunctionName="f")
    assert await unreserved(house) == 995
    assert house.registry.resolve(CONTEXT.account, CONTEXT.region, "f", "1", 0.0).on_demand_concurrency is None


async def test_snapshots_are_not_provisioned(house: House) -> None:
    """A version has a snapshot or warm environments."""
    key = FunctionKey(CONTEXT.account, CONTEXT.region, "f")

    def snapshot(function: Any) -> Change[None]:
        version = replace(function.versions["1"], snap_start=SnapStartApplyOn.PUBLISHED_VERSIONS)
        return Change(replace(function, versions={**function.versions, "1": version}), None)

    await house.registry.change(key, snapshot)
    await refused(put(house, "1"), INVALID, "Provisioned Concurrency is not supported for functions that use SnapStart.")
    await refused(put(house, "live"), INVALID, "Provisioned Concurrency is not supported for functions that use SnapStart.")


async def test_configurations_survive_a_restart(database_url: str) -> None:
    """What was asked for is durable; how far it has got is asked anew. A deleted function leaves nothing."""
    async with open_house(database_url) as house:
        equip(house)
        await house.create_settled(Publish=True)
        await house.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        await put(house, "live", 4)
        await put(house, "live", 3)
    async with open_house(database_url) as house:
        equip(house)
        assert await unreserved(house) == 997
        again = await house.call(GET, FunctionName="f", Qualifier="live")
        assert (again["RequestedProvisionedConcurrentExecutions"], again["Status"], again["LastModified"]) == (3, "IN_PROGRESS", AT)
        await house.call("DeleteFunction", FunctionName="f")
        assert await unreserved(house) == 1000
    async with open_house(database_url) as house:
        equip(house)
        await house.create_settled(Publish=True)
        assert (await house.call(LIST, FunctionName="f"))["ProvisionedConcurrencyConfigs"] == []

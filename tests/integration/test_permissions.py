"""AddPermission, RemovePermission, GetPolicy and the operations on whole policies."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lambda_house import CONTEXT, FUNCTION_ARN, House, new_uuid, open_house, refused
from msgspec.structs import replace

from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId
from lambdad.services.lambda_.permissions import Permissions

STALE = "00000000-0000-4000-8000-ffffffffffff"
STALE_TEXT = "The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest Revision Id"
GONE = "The resource you requested does not exist."


class PermissionHouse:
    """The operations of permissions beside all others, over one registry."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.handlers = {**house.handlers, **Permissions(house.registry, new_uuid).handlers()}

    async def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return await self.handlers[operation](CONTEXT, {"FunctionName": "f", **request})

    async def add(self, sid: str = "s", **request: Any) -> dict[str, Any]:
        settings = {"StatementId": sid, "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
        answer = await self.call("AddPermission", **{**settings, **request})
        statement: dict[str, Any] = json.loads(answer["Statement"])
        return statement

    async def policy(self, **request: Any) -> list[str]:
        document = json.loads((await self.call("GetPolicy", **request))["Policy"])
        return [statement["Sid"] for statement in document["Statement"]]


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[PermissionHouse]:
    async with open_house(database_url) as opened:
        await opened.create_settled()
        yield PermissionHouse(opened)


async def test_statement_and_policy_are_aws_json(house: PermissionHouse) -> None:
    """The answer is the statement, the policy holds it, and the function has a new revision."""
    before = (await house.call("GetFunctionConfiguration"))["RevisionId"]
    answer = await house.call(
        "AddPermission",
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::b",
        SourceAccount="123456789012",
        RevisionId=before,
    )
    statement = (
        '{"Sid":"s3","Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"lambda:InvokeFunction",'
        f'"Resource":"{FUNCTION_ARN}","Condition":{{"StringEquals":{{"AWS:SourceAccount":"123456789012"}},'
        '"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::b"}}}'
    )
    assert answer == {"Statement": statement}
    shown = await house.call("GetPolicy")
    assert shown["Policy"] == '{"Version":"2012-10-17","Id":"default","Statement":[' + statement + "]}"
    after = (await house.call("GetFunctionConfiguration"))["RevisionId"]
    assert shown["RevisionId"] == after != before


async def test_permission_change_deploys_nothing(house: PermissionHouse) -> None:
    """What runs is the same deployment, and nothing is prepared again."""
    prepared = list(house.house.code.prepared)
    before = house.house.registry.get("000000000000", "us-east-1", "f")
    await house.add()
    after = house.house.registry.get("000000000000", "us-east-1", "f")
    assert before is not None
    assert after is not None
    assert after.serving is after.latest
    assert after.latest.deployment_id == before.latest.deployment_id
    assert house.house.code.prepared == prepared


async def test_policies_of_versions_and_aliases_are_their_own(house: PermissionHouse) -> None:
    """Function, version and alias each have a policy, with the ARN and the revision of each."""
    await house.call("PublishVersion")
    await house.call("CreateAlias", Name="live", FunctionVersion="1")
    revisions = {
        qualifier: (await house.call("GetFunctionConfiguration", **qualified))["RevisionId"]
        for qualifier, qualified in (("", {}), ("1", {"Qualifier": "1"}))
    }
    assert (await house.add("a"))["Resource"] == FUNCTION_ARN
    assert (await house.add("a", Qualifier="1"))["Resource"] == FUNCTION_ARN + ":1"
    assert (await house.add("a", FunctionName="f:live"))["Resource"] == FUNCTION_ARN + ":live"
    await house.add("b", FunctionName=FUNCTION_ARN + ":live", Qualifier="live")
    assert await house.policy() == ["a"]
    assert await house.policy(Qualifier="1") == ["a"]
    assert await house.policy(Qualifier="live") == ["a", "b"]
    alias = await house.call("GetAlias", Name="live")
    assert (await house.call("GetPolicy", Qualifier="live"))["RevisionId"] == alias["RevisionId"]
    for qualifier, before in revisions.items():
        qualified = {"Qualifier": qualifier} if qualifier else {}
        shown = await house.call("GetFunctionConfiguration", **qualified)
        assert shown["RevisionId"] == (await house.call("GetPolicy", **qualified))["RevisionId"] != before
    await house.call("RemovePermission", StatementId="a", Qualifier="live")
    assert await house.policy(Qualifier="live") == ["b"]
    assert await house.policy() == ["a"]


async def test_policy_goes_with_its_alias(house: PermissionHouse) -> None:
    """An alias that is made anew begins without the policy of the former one."""
    await house.call("PublishVersion")
    for _ in range(2):
        await house.call("CreateAlias", Name="live", FunctionVersion="1")
        await refused(house.call("GetPolicy", Qualifier="live"), "ResourceNotFoundException", GONE)
        await house.add(Qualifier="live")
        await house.call("DeleteAlias", Name="live")
    await refused(house.call("GetPolicy", Qualifier="live"), "ResourceNotFoundException", GONE)


async def test_add_refusals(house: PermissionHouse) -> None:
    """Each reason has AWS's text."""
    invalid, missing = "InvalidParameterValueException", "ResourceNotFoundException"
    await refused(house.add(Qualifier="$LATEST"), invalid, "We currently do not support adding policies for $LATEST.")
    await refused(house.add(Principal="me"), invalid, "The provided principal was invalid. Please check the principal and try again.")
    await refused(
        house.add(FunctionName="f:1", Qualifier="2"),
        invalid,
        "The derived qualifier from the function name does not match the specified qualifier.",
    )
    await refused(house.add(FunctionName="g"), missing, "Function not found: arn:aws:lambda:us-east-1:000000000000:function:g")
    await refused(house.add(Qualifier="7"), missing, f"Function not found: {FUNCTION_ARN}:7")
    await refused(house.add(Qualifier="live"), missing, f"Cannot find alias arn: {FUNCTION_ARN}:live")
    await refused(house.add(RevisionId=STALE), "PreconditionFailedException", STALE_TEXT)
    await house.add()
    await refused(
        house.add(),
        "ResourceConflictException",
        "The statement id (s) provided already exists. Please provide a new statement id, or remove the existing statement.",
    )
    stranger = replace(CONTEXT, account=AccountId("111111111111"))
    request = {"FunctionName": FUNCTION_ARN, "StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*"}
    await refused(house.handlers["AddPermission"](stranger, request), "AccessDeniedException", None)


async def test_remove_refusals(house: PermissionHouse) -> None:
    """A missing function, policy and statement have texts of their own; nothing is changed by a refusal."""
    missing = "ResourceNotFoundException"
    none = "No policy is associated with the given resource."
    await refused(house.call("RemovePermission", StatementId="s"), missing, none)
    await refused(house.call("RemovePermission", StatementId="s", Qualifier="7"), missing, none)
    await refused(
        house.call("RemovePermission", StatementId="s", FunctionName="g"),
        missing,
        "No policy found for: arn:aws:lambda:us-east-1:000000000000:function:g",
    )
    await house.add()
    await refused(house.call("RemovePermission", StatementId="t"), missing, "Statement t is not found in resource policy.")
    await refused(house.call("RemovePermission", StatementId="s", RevisionId=STALE), "PreconditionFailedException", STALE_TEXT)
    assert await house.policy() == ["s"]
    latest = (await house.call("GetPolicy"))["RevisionId"]
    assert await house.call("RemovePermission", StatementId="s", RevisionId=latest) == {}
    for request in ({}, {"FunctionName": "g"}, {"Qualifier": "$LATEST"}):
        await refused(house.call("GetPolicy", **request), missing, GONE)


async def test_whole_policies(house: PermissionHouse) -> None:
    """A whole document replaces what was added, is appended to, and can be removed."""
    await house.add("old")
    document = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [{"Sid": "deny", "Effect": "Deny", "Principal": "*", "Action": "lambda:*", "Resource": FUNCTION_ARN}],
        }
    )
    put = await house.call("PutResourcePolicy", ResourceArn=FUNCTION_ARN, Policy=document)
    assert put["Policy"] == document
    assert await house.call("GetResourcePolicy", ResourceArn=FUNCTION_ARN) == put == await house.call("GetPolicy")
    await refused(
        house.call("PutResourcePolicy", ResourceArn=FUNCTION_ARN, Policy=document, RevisionId=STALE),
        "PreconditionFailedException",
        STALE_TEXT,
    )
    await house.add("new")
    assert await house.policy() == ["deny", "new"]
    await refused(
        house.call("DeleteResourcePolicy", ResourceArn=FUNCTION_ARN, RevisionId=put["RevisionId"]),
        "PreconditionFailedException",
        STALE_TEXT,
    )
    assert await house.call("DeleteResourcePolicy", ResourceArn=FUNCTION_ARN) == {}
    for operation in ("GetResourcePolicy", "DeleteResourcePolicy"):
        await refused(house.call(operation, ResourceArn=FUNCTION_ARN), "ResourceNotFoundException", GONE)


async def test_policies_survive_a_restart(database_url: str) -> None:
    """What was answered is on the disk."""
    async with open_house(database_url) as first:
        await first.create_settled()
        await PermissionHouse(first).add()
        before = await PermissionHouse(first).call("GetPolicy")
    async with open_house(database_url) as second:
        assert await PermissionHouse(second).call("GetPolicy") == before


async def test_concurrent_additions_are_all_kept(house: PermissionHouse) -> None:
    """Of several callers with different ids none is lost; of several with one id one wins."""

    async def attempt(sid: str) -> bool:
        try:
            await house.add(sid)
        except AwsError as error:
            assert error.code == "ResourceConflictException"
            return False
        return True

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attempt(sid)) for sid in "abcabcabc"]
    assert sum(task.result() for task in tasks) == 3
    assert sorted(await house.policy()) == ["a", "b", "c"]

"""Invoke, called by a neighbour service: the function's resource policy decides."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lambda_house import CONTEXT, FUNCTION_ARN, House, new_uuid, open_house, refused

from lambdad.app.neighbours import Neighbourhood
from lambdad.model.function import FunctionKey
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.model.invocation import Invocation, Outcome
from lambdad.server.request_ids import RequestIds
from lambdad.services.lambda_.invoke import Invocations, Invoker
from lambdad.services.lambda_.permissions import Permissions
from lambdad.services.ports import Origin, Service

BUCKET = "arn:aws:s3:::bucket"
S3 = Origin(account=CONTEXT.account, region=CONTEXT.region, principal="s3.amazonaws.com", source_arn=BUCKET)
WHY = (
    "User: {} is not authorized to perform: lambda:InvokeFunction on resource: {} "
    "because no resource-based policy allows the lambda:InvokeFunction action"
)


class Plane:
    """Answers at once, and keeps what was asked."""

    def __init__(self) -> None:
        self.events: list[tuple[FunctionKey, str | None]] = []
        self.ran: list[str] = []

    async def invoke(self, invocation: Invocation, unreserved_limit: int) -> Outcome:
        self.ran.append(invocation.invoked_arn)
        return Outcome(payload=b"1", function_error="", error_type="", tail=b"", duration_ms=1, billed_ms=1, init_ms=0, max_memory_mib=1)

    async def accept(self, key: FunctionKey, qualifier: str | None, payload: bytes, request_id: RequestId, trace_id: str) -> None:
        self.events.append((key, qualifier))


class Street:
    """Lambda among its neighbours."""

    def __init__(self, house: House) -> None:
        self.plane = Plane()
        invocations = Invocations(Invoker(house.registry, self.plane, 1000, lambda: 0), self.plane)
        handlers = {**house.handlers, **Permissions(house.registry, new_uuid).handlers(), **invocations.handlers()}
        self.neighbours = Neighbourhood({}, RequestIds(), "")
        self.neighbours.serve(Service(name="lambda", handlers=handlers))
        self.handlers = handlers

    async def grant(self, **request: Any) -> None:
        settings = {"FunctionName": "f", "StatementId": new_uuid(), "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
        await self.handlers["AddPermission"](CONTEXT, {**settings, **request})

    async def invoke(self, function: str = FUNCTION_ARN, origin: Origin = S3, **request: Any) -> int:
        params = {"FunctionName": function, "InvocationType": "Event", "Payload": b"{}", **request}
        status: int = (await self.neighbours.call(origin, "lambda", "Invoke", params))["StatusCode"]
        return status


@pytest.fixture
async def street(database_url: str) -> AsyncIterator[Street]:
    async with open_house(database_url) as house:
        await house.create_settled()
        await house.call("PublishVersion", FunctionName="f")
        await house.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        yield Street(house)


async def test_a_service_needs_a_permission(street: Street) -> None:
    """Without one it is refused in AWS's words; with one for its source it is not, and for another source it is."""
    await refused(street.invoke(), "AccessDeniedException", WHY.format("s3.amazonaws.com", FUNCTION_ARN))
    await street.grant(SourceArn=BUCKET, SourceAccount=CONTEXT.account)
    assert await street.invoke() == 202
    assert await street.invoke(InvocationType="RequestResponse") == 200
    other = Origin(account=CONTEXT.account, region=CONTEXT.region, principal="s3.amazonaws.com", source_arn="arn:aws:s3:::other")
    error = await refused(street.invoke(origin=other), "AccessDeniedException", WHY.format("s3.amazonaws.com", FUNCTION_ARN))
    assert error.status == 403
    assert len(street.plane.events) == len(street.plane.ran) == 1


async def test_versions_and_aliases_have_their_own(street: Street) -> None:
    """A permission of the function says nothing of its alias, and one of the alias nothing of the function."""
    await street.grant(Qualifier="live")
    assert await street.invoke(FUNCTION_ARN + ":live") == 202
    await refused(street.invoke(), "AccessDeniedException", WHY.format("s3.amazonaws.com", FUNCTION_ARN))
    await refused(street.invoke(FUNCTION_ARN + ":1"), "AccessDeniedException", WHY.format("s3.amazonaws.com", FUNCTION_ARN + ":1"))
    statement = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": [FUNCTION_ARN, FUNCTION_ARN + ":*"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    await street.handlers["PutResourcePolicy"](CONTEXT, {"ResourceArn": FUNCTION_ARN, "Policy": policy})
    assert await street.invoke(FUNCTION_ARN + ":1") == 202


async def test_other_accounts_services_are_let_in_by_policy_too(street: Street) -> None:
    """A topic of another account and region invokes what lets it in; a role of another account does not."""
    origin = Origin(
        account=AccountId("111122223333"), region=Region("eu-west-1"), principal="sns.amazonaws.com", source_arn="arn:aws:sns:::t"
    )
    await refused(street.invoke(origin=origin), "AccessDeniedException", WHY.format("sns.amazonaws.com", FUNCTION_ARN))
    await street.grant(Principal="sns.amazonaws.com")
    assert await street.invoke(origin=origin) == 202
    assert street.plane.events == [(FunctionKey(CONTEXT.account, CONTEXT.region, "f"), None)]
    role = Origin(account=AccountId("111122223333"), region=CONTEXT.region)
    await refused(street.invoke(origin=role), "AccessDeniedException", None)
    assert await street.invoke(origin=Origin(account=CONTEXT.account, region=CONTEXT.region)) == 202


async def test_a_function_that_is_not_there_is_not_found(street: Street) -> None:
    """Whoever asks."""
    gone = "arn:aws:lambda:us-east-1:000000000000:function:g"
    await refused(street.invoke(gone), "ResourceNotFoundException", f"Function not found: {gone}:$LATEST")

"""AWS's own SDK against Lambda's handlers, over the wire's bytes but in one process, without sockets."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from lambdad.model.errors import AwsError, NotImplementedHere
from lambdad.model.function import FunctionVersion, LayerReference
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.lambda_.code_links import CodeLinks
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.permissions import Permissions
from lambdad.services.lambda_.ports import StoredCode
from lambdad.services.lambda_.preparation import Preparation
from lambdad.services.lambda_.registry import Registry
from lambdad.services.lambda_.s3_code import S3Code
from lambdad.services.lambda_.service import LambdaService
from lambdad.services.ports import CallContext, Origin, Service
from lambdad.store import database, migrations
from lambdad.wire import codec
from lambdad.wire.http import Request

ROLE = "arn:aws:iam::000000000000:role/r"
CONTEXT = CallContext(
    account=AccountId("000000000000"),
    region=Region("us-east-1"),
    request_id=RequestId("8f5d1b1e-0000-4000-8000-000000000000"),
    principal_arn="arn:aws:iam::000000000000:root",
    endpoint="http://127.0.0.1:4566",
)
FUNCTION: dict[str, Any] = {
    "FunctionName": "f",
    "Runtime": "python3.12",
    "Handler": "handler.handler",
    "Role": ROLE,
    "Code": {"ZipFile": b"a zip"},
}


class PaperCode:
    """A code store that keeps nothing and needs no preparation."""

    async def check(self, zip_file: bytes) -> StoredCode:
        return StoredCode(sha256=hashlib.sha256(zip_file).hexdigest(), size_bytes=len(zip_file), unzipped_bytes=1)

    async def store(self, zip_file: bytes) -> StoredCode:
        return await self.check(zip_file)

    async def prepare(self, version: FunctionVersion) -> None:
        return


class NoLayers:
    """No layer exists."""

    async def resolve(self, context: CallContext, arns: Sequence[str]) -> tuple[LayerReference, ...]:
        raise AssertionError("not asked for here")

    def stored_bytes(self, account: str, region: str) -> int:
        return 0


class NoNeighbours:
    """No other service is there."""

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedHere(service, operation)


class Body:
    """A response's body as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> list[bytes]:
        return [self._body]

    def read(self, *_: Any) -> bytes:
        return self._body


async def answer(service: Service, prepared: AWSPreparedRequest) -> AWSResponse:
    """Carry one of botocore's requests through codec and handler."""
    parts = urlsplit(prepared.url)
    headers = {name.lower(): value if isinstance(value, str) else value.decode() for name, value in prepared.headers.items()}
    body = prepared.body.encode() if isinstance(prepared.body, str) else bytes(prepared.body or b"")
    call = codec.load("lambda").match(Request(prepared.method, parts.path, parts.query, headers, body))
    try:
        request = call.parse()
        call.validate(request)
        handler = service.handlers.get(call.operation)
        if handler is None:
            raise NotImplementedHere("lambda", call.operation)
        response = call.respond(await handler(CONTEXT, request), CONTEXT.request_id)
    except AwsError as error:
        response = call.respond_error(error, CONTEXT.request_id)
    assert isinstance(response.body, bytes)
    return AWSResponse(prepared.url, response.status, dict(response.headers), Body(response.body))


class Sdk:
    """boto3's client, called from the event loop."""

    def __init__(self, service: Service) -> None:
        loop = asyncio.get_running_loop()
        self.client = boto3.client(
            "lambda",
            region_name="us-east-1",
            endpoint_url="http://127.0.0.1:4566",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 0}),
        )

        def send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
            return asyncio.run_coroutine_threadsafe(answer(service, request), loop).result(10)

        self.client.meta.events.register("before-send.lambda.*", send)

    async def do(self, work: Callable[[Any], Any]) -> Any:
        return await asyncio.to_thread(work, self.client)

    async def __call__(self, operation: str, **request: Any) -> dict[str, Any]:
        output: dict[str, Any] = await asyncio.to_thread(getattr(self.client, operation), **request)
        return output

    async def refused(self, operation: str, **request: Any) -> tuple[int, str, str, dict[str, Any]]:
        with pytest.raises(ClientError) as caught:
            await self(operation, **request)
        response: Any = caught.value.response
        error = response["Error"]
        return response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"], response


@pytest.fixture
async def sdk(tmp_path: Path) -> AsyncIterator[Sdk]:
    now_ms, numbers = (lambda: 1_764_037_614_123), iter(range(1, 1_000_000))
    world = World(now_ms=now_ms, new_uuid=lambda: f"00000000-0000-4000-8000-{next(numbers):012x}")
    needed = [migrations.load_migrations("lambdad.services.lambda_")]
    url = database.sqlite_url(tmp_path / "lambdad.db")
    async with database.open_database(url, migrations=needed, now_ms=now_ms) as opened, asyncio.TaskGroup() as tasks:
        registry = Registry(opened, tasks.create_task)
        await registry.load()
        Preparation(registry, PaperCode(), spawn=tasks.create_task, new_uuid=world.new_uuid, warm=lambda _: asyncio.sleep(0)).resume()
        service = LambdaService(
            registry,
            PaperCode(),
            NoLayers(),
            CodeLinks(b"k" * 32),
            world,
            objects=S3Code(NoNeighbours()),
            architectures={"x86_64"},
            chapters=[Permissions(registry, world.new_uuid)],
        )
        yield Sdk(service.service())


async def test_a_functions_life(sdk: Sdk) -> None:
    """Create, wait with the SDK's waiters, update, publish, alias, tag, reserve, delete: as deployment tools do."""
    created = await sdk("create_function", **FUNCTION, Environment={"Variables": {"KEY": "ä"}}, Tags={"a": "b"})
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201 and created["State"] == "Pending"
    assert "LastUpdateStatus" not in created
    await sdk.do(lambda client: client.get_waiter("function_active_v2").wait(FunctionName="f"))
    shown = await sdk("get_function", FunctionName="f")
    assert shown["Tags"] == {"a": "b"} and shown["Configuration"]["Environment"] == {"Variables": {"KEY": "ä"}}
    assert shown["Code"]["Location"].startswith("http://127.0.0.1:4566/_lambdad/code/")
    await sdk("update_function_code", FunctionName="f", ZipFile=b"another zip")
    await sdk.do(lambda client: client.get_waiter("function_updated_v2").wait(FunctionName="f"))
    one = await sdk("publish_version", FunctionName="f")
    assert (one["ResponseMetadata"]["HTTPStatusCode"], one["Version"]) == (201, "1")
    await sdk("update_function_configuration", FunctionName="f", MemorySize=256, VpcConfig={"SubnetIds": []})
    await sdk.do(lambda client: client.get_waiter("function_updated_v2").wait(FunctionName="f"))
    await sdk("publish_version", FunctionName="f")
    weights = {"AdditionalVersionWeights": {"2": 0.2}}
    alias = await sdk("create_alias", FunctionName="f", Name="live", FunctionVersion="1", RoutingConfig=weights)
    assert alias["RoutingConfig"] == weights
    await sdk("add_permission", FunctionName="f", StatementId="s", Action="lambda:InvokeFunction", Principal="*")
    arn = created["FunctionArn"]
    await sdk("tag_resource", Resource=arn, Tags={"c": "d"})
    untagged = await sdk("untag_resource", Resource=arn, TagKeys=["a", "x"])
    assert untagged["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert (await sdk("list_tags", Resource=arn))["Tags"] == {"c": "d"}
    reserved = await sdk("put_function_concurrency", FunctionName="f", ReservedConcurrentExecutions=0)
    assert reserved["ReservedConcurrentExecutions"] == 0
    assert (await sdk("get_function_concurrency", FunctionName=arn))["ReservedConcurrentExecutions"] == 0
    listed = await sdk.do(
        lambda client: list(client.get_paginator("list_versions_by_function").paginate(FunctionName="f", PaginationConfig={"PageSize": 1}))
    )
    assert [page["Versions"][0]["Version"] for page in listed] == ["$LATEST", "1", "2"]
    assert (await sdk("get_account_settings"))["AccountUsage"]["FunctionCount"] == 1
    assert (await sdk("delete_alias", FunctionName="f", Name="live"))["ResponseMetadata"]["HTTPStatusCode"] == 204
    deleted = await sdk("delete_function", FunctionName="f")
    assert (deleted["ResponseMetadata"]["HTTPStatusCode"], deleted["StatusCode"]) == (204, 204)
    assert (await sdk("list_functions"))["Functions"] == []


async def test_errors_reach_the_sdk_in_aws_shape(sdk: Sdk) -> None:
    """Status, code, message and ``Type`` of each family of refusals are AWS's."""
    arn = "arn:aws:lambda:us-east-1:000000000000:function:f"
    status, code, message, response = await sdk.refused("get_function", FunctionName="f")
    assert (status, code, message) == (404, "ResourceNotFoundException", f"Function not found: {arn}")
    assert response["Type"] == "User"
    status, code, message, response = await sdk.refused("create_function", **{**FUNCTION, "Runtime": "python1"})
    assert (status, code) == (400, "InvalidParameterValueException") and message.endswith("or be a valid ARN")
    status, code, message, response = await sdk.refused("create_function", **{**FUNCTION, "Timeout": 901})
    assert (status, code) == (400, "InvalidParameterValueException")
    status, code, message, response = await sdk.refused("create_function", **{**FUNCTION, "Role": "r"})
    assert (status, code) == (400, "ValidationException") and "at 'role' failed to satisfy constraint" in message
    await sdk("create_function", **FUNCTION)
    status, code, message, response = await sdk.refused("create_function", **FUNCTION)
    assert (status, code, message) == (409, "ResourceConflictException", "Function already exist: f")
    await sdk.do(lambda client: client.get_waiter("function_active_v2").wait(FunctionName="f"))
    status, code, message, response = await sdk.refused("publish_version", FunctionName="f", RevisionId="stale")
    assert (status, code) == (412, "PreconditionFailedException")
    status, code, message, response = await sdk.refused("get_function", FunctionName="arn:aws:lambda:us-east-1:111111111111:function:f")
    assert (status, code) == (403, "AccessDeniedException")
    status, code, message, response = await sdk.refused("list_event_source_mappings")
    assert status == 501

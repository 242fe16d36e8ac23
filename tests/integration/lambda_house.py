"""Lambda's service in one piece on a real database, with a naive code store, for tests of its handlers."""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from lambdad.model.errors import AwsError
from lambdad.model.function import Function, FunctionVersion, LayerReference
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.lambda_.code_links import CodeLinks
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.ports import StoredCode
from lambdad.services.lambda_.preparation import Preparation
from lambdad.services.lambda_.registry import Registry
from lambdad.services.lambda_.rules import lifecycle
from lambdad.services.lambda_.s3_code import S3Code
from lambdad.services.lambda_.service import LambdaService
from lambdad.services.ports import CallContext, Origin
from lambdad.store import database, migrations

ROLE = "arn:aws:iam::000000000000:role/r"
FUNCTION_ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
NOW_MS = 1_764_037_614_123
CONTEXT = CallContext(
    account=AccountId("000000000000"),
    region=Region("us-east-1"),
    request_id=RequestId("8f5d1b1e-0000-4000-8000-000000000000"),
    principal_arn="arn:aws:iam::000000000000:root",
    endpoint="http://127.0.0.1:4566",
)


class NaiveCode:
    """A code store that keeps nothing; preparation waits for the gate, and fails where told to."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.prepared: list[str] = []
        self.failure: Exception | None = None

    async def check(self, zip_file: bytes | AsyncIterable[bytes]) -> StoredCode:
        if not isinstance(zip_file, bytes):
            zip_file = b"".join([piece async for piece in zip_file])
        return StoredCode(sha256=hashlib.sha256(zip_file).hexdigest(), size_bytes=len(zip_file), unzipped_bytes=len(zip_file))

    async def store(self, zip_file: bytes | AsyncIterable[bytes]) -> StoredCode:
        return await self.check(zip_file)

    async def prepare(self, version: FunctionVersion) -> None:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.prepared.append(version.qualified_arn)


class NaiveS3:
    """Buckets and objects in memory, as far as deployments ask for them; bodies come whole or in pieces."""

    def __init__(self) -> None:
        self.regions = {"b": "us-east-1"}
        self.objects: dict[tuple[str, str, str], bytes | list[bytes]] = {}  # by bucket, key, version
        self.failure: AwsError | None = None
        self.closed = 0

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        assert service == "s3" and origin.principal == ""
        if self.failure is not None:
            raise self.failure
        if params["Bucket"] not in self.regions:
            raise AwsError("NoSuchBucket", "The specified bucket does not exist", status=404)
        if operation == "GetBucketLocation":
            region = self.regions[params["Bucket"]]
            return {} if region == "us-east-1" else {"LocationConstraint": region}
        assert operation == "GetObject"
        body = self.objects.get((params["Bucket"], params["Key"], params.get("VersionId", "")))
        if body is None:
            raise AwsError("NoSuchKey", "The specified key does not exist.", status=404)
        return {"Body": body if isinstance(body, bytes) else self._pieces(body)}

    async def _pieces(self, body: list[bytes]) -> AsyncIterator[bytes]:
        try:
            for piece in body:
                yield piece
        finally:
            self.closed += 1


class NaiveLayers:
    """Layers of which every version exists."""

    async def resolve(self, context: CallContext, arns: Sequence[str]) -> tuple[LayerReference, ...]:
        return tuple(LayerReference(arn, "ab" * 32, 7, 70) for arn in arns)

    def stored_bytes(self, account: str, region: str) -> int:
        return 7


class House:
    """The service in one piece, restartable over the same database."""

    def __init__(self, opened: database.Database, registry: Registry, code: NaiveCode, s3: NaiveS3, service: LambdaService) -> None:
        self.database = opened
        self.registry = registry
        self.code = code
        self.s3 = s3
        self.handlers = service.service().handlers
        self.changed = asyncio.Event()
        registry.on_change(lambda *_: self.changed.set())

    async def call(self, operation: str, context: CallContext = CONTEXT, **request: Any) -> dict[str, Any]:
        return await self.handlers[operation](context, request)

    async def create(self, name: str = "f", **request: Any) -> dict[str, Any]:
        settings = {
            "FunctionName": name,
            "Runtime": "python3.12",
            "Handler": "handler.handler",
            "Role": ROLE,
            "Code": {"ZipFile": b"zip 1"},
        }
        return await self.call("CreateFunction", **{**settings, **request})

    async def wait_for(self, is_reached: Callable[[Function | None], bool], name: str = "f") -> None:
        """Wait until a function, or its absence, is as wanted."""
        async with asyncio.timeout(10):
            while not is_reached(self.registry.get(CONTEXT.account, CONTEXT.region, name)):
                await self.changed.wait()
                self.changed.clear()

    async def wait_settled(self, name: str = "f") -> dict[str, Any]:
        """Wait until nothing of a function is being prepared; give its configuration."""
        await self.wait_for(
            lambda function: function is not None and not any(map(lifecycle.is_unsettled, (function.latest, *function.versions.values()))),
            name,
        )
        return await self.call("GetFunctionConfiguration", FunctionName=name)

    async def create_settled(self, name: str = "f", **request: Any) -> dict[str, Any]:
        await self.create(name, **request)
        return await self.wait_settled(name)


_numbers = itertools.count(1)


def new_uuid() -> str:
    return f"00000000-0000-4000-8000-{next(_numbers):012x}"


@contextlib.asynccontextmanager
async def open_house(url: str, code: NaiveCode | None = None) -> AsyncIterator[House]:
    code, s3 = code or NaiveCode(), NaiveS3()
    needed = [migrations.load_migrations("lambdad.services.lambda_")]
    async with database.open_database(url, migrations=needed, now_ms=lambda: NOW_MS) as opened:
        async with asyncio.TaskGroup() as tasks:
            started: list[asyncio.Task[None]] = []
            world = World(now_ms=lambda: NOW_MS, new_uuid=new_uuid)
            registry = Registry(opened, lambda work: started.append(tasks.create_task(work)))
            await registry.load()
            preparation = Preparation(
                registry,
                code,
                spawn=lambda work: started.append(tasks.create_task(work)),
                new_uuid=world.new_uuid,
                warm=lambda _: asyncio.sleep(0),
            )
            preparation.resume()
            links = CodeLinks(b"k" * 32)
            yield House(
                opened,
                registry,
                code,
                s3,
                LambdaService(registry, code, NaiveLayers(), links, world, objects=S3Code(s3), architectures=frozenset({"x86_64"})),
            )
            for task in started:
                task.cancel()


async def refused(work: Awaitable[Any], code: str, message: str | None) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await work
    assert (caught.value.code, caught.value.message) == (code, message)
    return caught.value

"""S3 with a caller, a clock and neighbours that remember what they were told; for tests through its handlers."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.outbox import Outbox
from lambdad.services.outbox import migrations as outbox_migrations
from lambdad.services.ports import CallContext, Origin
from lambdad.services.s3.app import S3Service, migrations
from lambdad.store.database import Database, open_database

START_MS = 1_700_000_000_000
ACCOUNT = "000000000000"


class Clock:
    """A clock that stands still until it is told to go."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


class Told:
    """Neighbours that remember calls, and refuse those that they are told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Origin, str, str, dict[str, Any]]] = []
        self.refusals: dict[str, AwsError] = {}

    async def call(self, origin: Origin, service: str, operation: str, params: Any) -> dict[str, Any]:
        self.calls.append((origin, service, operation, dict(params)))
        for part, error in self.refusals.items():
            if part in str(params):
                raise error
        return {}


class Body:
    """A body that arrives in pieces."""

    def __init__(self, *pieces: bytes, trailers: dict[str, str] | None = None, fails: Exception | None = None) -> None:
        self.size_bytes = sum(map(len, pieces))
        self.trailers: dict[str, str] = {}
        self._pieces, self._trailers, self._fails = pieces, trailers or {}, fails

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._fails is not None:
            raise self._fails
        self.trailers = self._trailers


class House:
    """The service, and calls by AWS's names."""

    def __init__(self, service: S3Service, database: Database, outbox: Outbox, told: Told, clock: Clock, root: Path) -> None:
        self.service, self.database, self.outbox, self.told, self.clock, self.root = service, database, outbox, told, clock, root
        self.handlers = service.service().handlers
        self.ctx = self._context({})

    @staticmethod
    def _context(headers: dict[str, str], account: str = ACCOUNT, region: str = "us-east-1") -> CallContext:
        return CallContext(
            account=AccountId(account),
            region=Region(region),
            request_id=RequestId("00000000-0000-0000-0000-000000000000"),
            principal_arn=f"arn:aws:iam::{account}:root",
            endpoint="http://127.0.0.1:4566",
            source_ip="127.0.0.1",
            headers=headers,
            origin=Origin(account=AccountId(account), region=Region(region)),
        )

    async def __call__(
        self, operation: str, *, headers: dict[str, str] | None = None, account: str = ACCOUNT, region: str = "us-east-1", **request: Any
    ) -> Any:
        self.ctx = self._context(headers or {}, account, region)
        return await self.handlers[operation](self.ctx, request)

    async def refused(self, operation: str, **request: Any) -> str:
        with pytest.raises(AwsError) as caught:
            await self(operation, **request)
        self.error = caught.value
        return caught.value.code

    async def put(self, key: str, body: Any = b"", bucket: str = "bucket", **request: Any) -> Any:
        return await self("PutObject", Bucket=bucket, Key=key, Body=body, **request)

    async def get(self, key: str, bucket: str = "bucket", **request: Any) -> bytes:
        body = (await self("GetObject", Bucket=bucket, Key=key, **request))["Body"]
        return body if isinstance(body, bytes) else b"".join([piece async for piece in body])

    async def keys(self, bucket: str = "bucket", **request: Any) -> list[str]:
        return [entry["Key"] for entry in (await self("ListObjectsV2", Bucket=bucket, **request))["Contents"]]

    def files(self) -> list[str]:
        """The files that hold objects, or did."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.glob("*/*"))

    async def collected(self) -> int:
        """Do two rounds of upkeep, which remove what was discarded before."""
        return await self.service.upkeep.collect() + await self.service.upkeep.collect()


@contextlib.asynccontextmanager
async def open_house(database_url: str, root: Path) -> AsyncIterator[House]:
    """Open the service; the bucket `bucket` is there."""
    clock, told = Clock(), Told()
    async with open_database(database_url, migrations=[migrations(), outbox_migrations()], now_ms=clock) as database:
        outbox = Outbox(database, told, clock)
        service = S3Service(database, root, outbox, told, clock)
        await service.open()
        try:
            yield House(service, database, outbox, told, clock, root)
        finally:
            await service.close()

"""SNS with a caller, a clock and neighbours that write down what reaches them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.outbox import Outbox
from lambdad.services.outbox import migrations as outbox_migrations
from lambdad.services.ports import CallContext, Origin
from lambdad.services.sns.app import SnsService, migrations
from lambdad.store.database import Database, open_database

START_MS = 1_700_000_000_123
ACCOUNT = "000000000000"
ENDPOINT = "http://127.0.0.1:4566"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue"
FUNCTION = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f"


class Clock:
    """A clock that stands still until it is told to go."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


class Neighbours:
    """Writes down calls; fails those of operations that are in `failures`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Origin, str, str, Mapping[str, Any]]] = []
        self.failures: dict[str, AwsError] = {}

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append((origin, service, operation, params))
        if (failure := self.failures.get(f"{service} {params.get('QueueUrl', '').rpartition('/')[2]}".strip())) is not None:
            raise failure
        return {}


class Sns:
    """The service, and calls by AWS's names."""

    def __init__(self, service: SnsService, database: Database, outbox: Outbox, neighbours: Neighbours, clock: Clock) -> None:
        self.service = service
        self.database = database
        self.outbox = outbox
        self.neighbours = neighbours
        self.clock = clock
        self.handlers = service.service().handlers

    async def __call__(
        self, operation: str, *, account: str = ACCOUNT, region: str = "us-east-1", principal: str | None = None, **request: Any
    ) -> Any:
        ctx = CallContext(
            account=AccountId(account),
            region=Region(region),
            request_id=RequestId("00000000-0000-0000-0000-000000000000"),
            principal_arn=f"arn:aws:iam::{account}:root" if principal is None else principal,
            endpoint=ENDPOINT,
        )
        return await self.handlers[operation](ctx, request)

    async def refused(self, operation: str, **request: Any) -> tuple[str, str | None]:
        with pytest.raises(AwsError) as caught:
            await self(operation, **request)
        return caught.value.code, caught.value.message

    async def topic(self, name: str = "topic", **attributes: str) -> str:
        """Make a topic, and return its ARN."""
        if name.endswith(".fifo"):
            attributes["FifoTopic"] = "true"
        arn: str = (await self("CreateTopic", Name=name, Attributes=attributes))["TopicArn"]
        return arn

    async def subscription(self, topic: str, protocol: str = "sqs", endpoint: str = QUEUE, **attributes: str) -> str:
        """Subscribe an endpoint, and return the ARN."""
        answer = await self(
            "Subscribe", TopicArn=topic, Protocol=protocol, Endpoint=endpoint, Attributes=attributes, ReturnSubscriptionArn=True
        )
        arn: str = answer["SubscriptionArn"]
        return arn

    async def delivered(self, count: int) -> list[tuple[Origin, str, str, Mapping[str, Any]]]:
        """Wait for a number of calls of neighbours, and return them; fails where more were made."""
        async with asyncio.timeout(20):
            while len(self.neighbours.calls) < count or self.outbox.statistics().running:
                await asyncio.sleep(0.002)
        calls, self.neighbours.calls = self.neighbours.calls, []
        assert len(calls) == count, calls
        return calls


@asynccontextmanager
async def open_sns(database_url: str, clock: Clock | None = None) -> AsyncIterator[Sns]:
    """Open SNS on a database, with an outbox that runs."""
    clock, neighbours = clock or Clock(), Neighbours()
    async with (
        open_database(database_url, migrations=[migrations(), outbox_migrations()], now_ms=clock) as database,
        asyncio.TaskGroup() as tasks,
    ):
        outbox = Outbox(database, neighbours, clock)
        service = SnsService(database, outbox, clock, spawn=tasks.create_task, endpoint=ENDPOINT)
        await service.load()
        running = tasks.create_task(outbox.run())
        yield Sns(service, database, outbox, neighbours, clock)
        running.cancel()

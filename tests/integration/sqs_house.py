"""SQS with a clock that stands still, called by AWS's names."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.ports import CallContext, Origin
from lambdad.services.sqs.app import SqsService, migrations
from lambdad.store.database import Database, open_database

START_MS = 1_700_000_000_000
ACCOUNT, REGION = "000000000000", "us-east-1"
ENDPOINT = "http://localhost:4566"


class Clock:
    """A clock that stands still until it is told to go."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


class Sqs:
    """The service with a caller, and calls by AWS's names."""

    def __init__(self, service: SqsService, clock: Clock, database: Database) -> None:
        self.service = service
        self.clock = clock
        self.database = database
        self.handlers = service.service().handlers

    async def __call__(
        self, operation: str, *, account: str = ACCOUNT, region: str = REGION, origin: Origin | None = None, **request: Any
    ) -> Any:
        context = CallContext(
            account=AccountId(account),
            region=Region(region),
            request_id=RequestId("00000000-0000-0000-0000-000000000000"),
            principal_arn=f"arn:aws:iam::{account}:root",
            endpoint=ENDPOINT,
            origin=origin,
        )
        return await self.handlers[operation](context, request)

    async def refused(self, operation: str, **request: Any) -> tuple[str, str | None]:
        with pytest.raises(AwsError) as caught:
            await self(operation, **request)
        return caught.value.code, caught.value.message

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.ms += int(seconds * 1000)

    async def queue(self, name: str = "q", **attributes: str) -> str:
        """Make a queue and return its URL; a name that ends with .fifo makes a FIFO queue."""
        if name.endswith(".fifo"):
            attributes = {"FifoQueue": "true", **attributes}
        created = await self("CreateQueue", QueueName=name, Attributes=attributes)
        return str(created["QueueUrl"])

    async def send(self, url: str, *bodies: str, **more: Any) -> None:
        for body in bodies:
            await self("SendMessage", QueueUrl=url, MessageBody=body, **more)

    async def receive(self, url: str, count: int = 10, **more: Any) -> list[dict[str, Any]]:
        received = await self("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=count, MessageSystemAttributeNames=["All"], **more)
        return list(received.get("Messages", []))

    async def bodies(self, url: str, count: int = 10, **more: Any) -> list[str]:
        return [message["Body"] for message in await self.receive(url, count, **more)]

    async def delete(self, url: str, *messages: dict[str, Any]) -> None:
        for message in messages:
            await self("DeleteMessage", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    async def counts(self, url: str) -> tuple[int, int, int]:
        """Return how many messages are visible, in flight, delayed."""
        found = (await self("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"]))["Attributes"]
        names = ("", "NotVisible", "Delayed")
        visible, in_flight, delayed = (int(found[f"ApproximateNumberOfMessages{name}"]) for name in names)
        return visible, in_flight, delayed


@asynccontextmanager
async def opened(url: str, clock: Clock, *, kill: bool = False, **options: Any) -> AsyncIterator[Sqs]:
    """Run the service on a database; killed, it writes nothing down in the end."""
    async with open_database(url, migrations=[migrations()], now_ms=clock) as database:
        service = SqsService(database, clock, **options)
        await service.open()
        running = asyncio.get_running_loop().create_task(service.run())
        try:
            yield Sqs(service, clock, database)
        finally:
            running.cancel()
            await asyncio.wait([running])
            if not kill:
                await service.close()
    assert running.cancelled(), running.exception()


def arn(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

"""A service whose clock stands still, a caller, and an outbox that shows what was put into it; for tests of EventBridge and Scheduler."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.outbox import Delivery, Outbox
from lambdad.services.ports import CallContext, Origin, Service
from lambdad.store.database import Connection, Database

START_MS = 1_700_000_000_000
"""2023-11-14T22:13:20Z, a Tuesday."""

ACCOUNT, REGION = "000000000000", "us-east-1"


class Clock:
    """A clock that stands still until it is told to go."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


class Neighbours:
    """Other services that note what they are called for, and answer nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[Origin, str, str, Mapping[str, Any]]] = []
        self.errors: dict[str, AwsError] = {}

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append((origin, service, operation, params))
        if service in self.errors:
            raise self.errors[service]
        return {}


class ShownOutbox(Outbox):
    """The outbox, which also shows what was added to it."""

    def __init__(self, database: Database, neighbours: Neighbours, clock: Clock) -> None:
        super().__init__(database, neighbours, clock, jitter=lambda: 0.0)
        self.neighbours = neighbours
        self.added: list[Delivery] = []

    def add(self, connection: Connection, deliveries: Sequence[Delivery], now_ms: int) -> None:
        super().add(connection, deliveries, now_ms)
        self.added += deliveries

    def take(self) -> list[Delivery]:
        """Return what was added since the last time."""
        taken, self.added = self.added, []
        return taken

    async def deliver(self, calls: int) -> None:
        """Run until so many calls have been made."""
        running = asyncio.create_task(self.run())
        self.wake()
        async with asyncio.timeout(20):
            while len(self.neighbours.calls) < calls:
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.wait([running])


class House:
    """A service's operations by AWS's names, called by somebody."""

    def __init__(self, service: Service, clock: Clock, outbox: ShownOutbox) -> None:
        self.clock = clock
        self.outbox = outbox
        self._handlers = service.handlers

    async def __call__(
        self, operation: str, *, account: str = ACCOUNT, region: str = REGION, origin: Origin | None = None, **request: Any
    ) -> Any:
        ctx = CallContext(
            account=AccountId(account),
            region=Region(region),
            request_id=RequestId("00000000-0000-0000-0000-000000000000"),
            principal_arn=f"arn:aws:iam::{account}:root",
            origin=origin,
        )
        return await self._handlers[operation](ctx, request)

    async def refused(self, operation: str, **request: Any) -> tuple[str, str | None]:
        """Return code and message of the error that an operation answers with."""
        with pytest.raises(AwsError) as caught:
            await self(operation, **request)
        return caught.value.code, caught.value.message

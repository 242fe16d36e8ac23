"""Asynchronous invocations with a clock that tests move, functions that they script, and neighbours that keep what they are sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from lambdad.model.errors import AwsError
from lambdad.model.function import FunctionKey
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.model.invocation import Outcome
from lambdad.services.lambda_ import async_event_rows
from lambdad.services.lambda_.async_events import AsyncEvents
from lambdad.services.lambda_.rules.event_invoke import Settings
from lambdad.services.outbox import Outbox, migrations, rows
from lambdad.services.ports import Origin
from lambdad.store.database import Connection, Database
from lambdad.store.migrations import load_migrations

KEY = FunctionKey(AccountId("000000000000"), Region("us-east-1"), "f")
MINUTE_MS = 60_000
MIGRATIONS = [load_migrations("lambdad.services.lambda_"), migrations()]


def outcome(function_error: str = "", payload: bytes = b"1") -> Outcome:
    return Outcome(
        payload=payload, function_error=function_error, error_type="", tail=b"", duration_ms=1, billed_ms=1, init_ms=0, max_memory_mib=1
    )


class Version:
    version = "$LATEST"


class Target:
    reserved_concurrency: int | None = None
    version = Version()


class World:
    """A clock, a function that does what the test says, the events of one queue, and who hears of their ends."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now_ms = 1_000_000
        self.script: Callable[[RequestId, int], Any] = lambda request_id, attempt: outcome()
        self.attempts: dict[RequestId, list[int]] = {}
        self.target = Target()
        self.applied = Settings()
        self.missing = False
        self.sent: list[tuple[Origin, str, str, Mapping[str, Any]]] = []
        self.unreachable = False
        self.outbox = Outbox(database, self, lambda: self.now_ms)
        self.events = AsyncEvents(
            database,
            self,  # type: ignore[arg-type]  # a scripted invoker
            self.outbox,
            lambda: self.now_ms,
            in_flight=8,
            new_id=lambda: "a-uuid",
            jitter=lambda: 0.5,
        )

    def resolve(self, key: FunctionKey, qualifier: str | None) -> Any:
        if self.missing:
            raise AwsError("ResourceNotFoundException", "Function not found", status=404)
        return self.target

    def settings(self, key: FunctionKey, qualifier: str | None) -> Settings:
        return self.applied

    async def run(self, target: Any, payload: bytes, request_id: RequestId, *, trace_id: str = "", rate_limited: bool = True) -> Outcome:
        await asyncio.sleep(0)
        made = self.attempts.setdefault(request_id, [])
        made.append(self.now_ms)
        result = self.script(request_id, len(made))
        if isinstance(result, Exception):
            raise result
        assert isinstance(result, Outcome)
        return result

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if self.unreachable:
            raise AwsError("ServiceUnavailable", "down", status=503)
        self.sent.append((origin, service, operation, params))
        return {}

    async def accept(self, *names: str, payload: bytes = b"{}", qualifier: str | None = None, trace_id: str = "trace") -> None:
        for name in names:
            await self.events.accept(KEY, qualifier, payload, RequestId(name), trace_id)

    async def settle(self) -> None:
        """Wait until nothing runs, and nothing is due."""
        for _ in range(4000):
            self.events._wake.set()  # stands for the poll of once a second
            self.events._unread = True
            self.outbox.wake()
            await asyncio.sleep(0.005)
            events, sent = self.events.statistics(), self.outbox.statistics()
            if not (events.running or events.ready or sent.running or sent.waiting or await self.database.read(self._is_due)):
                return
        raise AssertionError(f"does not settle: {self.events.statistics()} {self.outbox.statistics()}")

    def _is_due(self, connection: Connection) -> bool:
        return bool(async_event_rows.due(connection, self.now_ms, 1)[0]) or rows.is_due(connection, self.now_ms)

    async def left(self) -> tuple[int, int]:
        """Say how many events and deliveries there are in the database."""
        return await self.database.read(lambda connection: (async_event_rows.count(connection), rows.count(connection)))


@contextlib.asynccontextmanager
async def dispatching(world: World) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(world.events.run()), asyncio.ensure_future(world.outbox.run())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

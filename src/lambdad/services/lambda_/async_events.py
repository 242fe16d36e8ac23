"""Events that are run later: accepted durably, run at least once, retried as AWS does.

An event is a row from before its 202 until it has run to an end or is given up; what is in memory beside it (the queue of due events,
the ones that run) can be lost at any moment.

Bounds: at most `MAX_READY` events and `MAX_READY_BYTES` wait in memory, the rest wait in the table; at most `in_flight` run at once.

Source: AWS Lambda developer guide, "How Lambda handles errors and retries with asynchronous invocation".
"""

import asyncio
import collections
import logging
import random
from dataclasses import dataclass
from typing import Protocol

from lambdad.kit.clock import NowMs
from lambdad.machines import retry
from lambdad.model.errors import AwsError
from lambdad.model.function import FunctionKey
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.model.invocation import InvocationRefused, Outcome, Throttled
from lambdad.services.lambda_.registry import Target
from lambdad.store import queries
from lambdad.store.database import Connection, Database

log = logging.getLogger("lambdad.lambda.async")

MAX_READY = 4096
MAX_READY_BYTES = 64 * 1024 * 1024
POLL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One accepted event; `attempts` and `held_back` as `machines.retry` counts them."""

    request_id: RequestId
    key: FunctionKey
    qualifier: str | None
    payload: bytes
    trace_id: str
    accepted_at_ms: int
    attempts: int = 0
    held_back: int = 0


class Invoker(Protocol):
    """Resolves and runs functions."""

    def resolve(self, key: FunctionKey, qualifier: str | None) -> Target: ...

    async def run(
        self, target: Target, payload: bytes, request_id: RequestId, *, trace_id: str = "", rate_limited: bool = True
    ) -> Outcome: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    ready: int
    running: int
    accepted: int
    completed: int
    retried: int
    given_up: int


class AsyncEvents:
    """The queue of asynchronous invocations and its dispatcher. `run` once; `accept` at any time."""

    def __init__(self, database: Database, invoker: Invoker, now_ms: NowMs, in_flight: int = 200) -> None:
        self._database = database
        self._invoker = invoker
        self._now_ms = now_ms
        self._in_flight = in_flight
        self._queries = queries.load_queries("lambdad.services.lambda_", "async_events.sql")
        self._ready: collections.deque[Event] = collections.deque()
        self._ready_bytes = 0
        self._held: set[RequestId] = set()  # in memory in any way: not to be read from the table again
        self._running = 0
        self._unread = True  # the table may have due events that are not in memory
        self._next_due_ms: int | None = None
        self._wake = asyncio.Event()
        self._accepted = self._completed = self._retried = self._given_up = 0

    async def accept(self, key: FunctionKey, qualifier: str | None, payload: bytes, request_id: RequestId, trace_id: str) -> None:
        """Keep an event; return once it is durable.

        Cancellation: the event may have been kept.
        """
        now_ms = self._now_ms()
        event = Event(request_id=request_id, key=key, qualifier=qualifier, payload=payload, trace_id=trace_id, accepted_at_ms=now_ms)
        self._held.add(request_id)
        try:
            await self._database.write(lambda connection: self._insert(connection, event))
        except BaseException:
            self._held.discard(request_id)
            self._unread = True
            raise
        self._accepted += 1
        if len(self._ready) < MAX_READY and self._ready_bytes + len(payload) <= MAX_READY_BYTES:
            self._push(event)
        else:
            self._held.discard(request_id)
            self._unread = True
        self._wake.set()

    async def run(self) -> None:
        """Run what is due, until cancelled; what is then running is run again after the next start."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._read_due()
                while self._ready and self._running < self._in_flight:
                    event = self._ready.popleft()
                    self._ready_bytes -= len(event.payload)
                    self._running += 1
                    tasks.create_task(self._run_one(event))
                await self._wait()

    def statistics(self) -> Statistics:
        return Statistics(
            ready=len(self._ready),
            running=self._running,
            accepted=self._accepted,
            completed=self._completed,
            retried=self._retried,
            given_up=self._given_up,
        )

    def _push(self, event: Event) -> None:
        self._held.add(event.request_id)
        self._ready.append(event)
        self._ready_bytes += len(event.payload)

    async def _wait(self) -> None:
        """Wait for something to do: a new event, an end, or the time of the next retry (looked at every second)."""
        if self._unread and not self._ready and self._running < self._in_flight:
            return
        try:
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _read_due(self) -> None:
        now_ms = self._now_ms()
        if self._next_due_ms is not None and self._next_due_ms <= now_ms:
            self._unread = True
        if not self._unread or self._ready:
            return
        self._unread = False
        most = MAX_READY // 4 + len(self._held)
        rows, self._next_due_ms = await self._database.read(lambda connection: self._select(connection, now_ms, most))
        for event in rows:
            if event.request_id in self._held:
                continue
            if self._ready_bytes > MAX_READY_BYTES:
                self._unread = True
                break
            self._push(event)
        if len(rows) == most:
            self._unread = True

    async def _run_one(self, event: Event) -> None:
        try:
            await self._settle(event, await self._attempt(event))
        except Exception:
            # Safe to go on: the event is still a row; it is read again and run again.
            log.exception("event.failed request_id=%s", event.request_id)
            await asyncio.sleep(POLL_S)
            self._unread = True
        finally:
            self._held.discard(event.request_id)
            self._running -= 1
            self._wake.set()

    async def _attempt(self, event: Event) -> Outcome | retry.Failure | retry.Condition | AwsError:
        try:
            target = self._invoker.resolve(event.key, event.qualifier)
        except AwsError as error:
            return error if error.status == 404 else retry.Failure.SYSTEM_ERROR
        if target.reserved_concurrency == 0:
            return retry.Condition.ZERO_RESERVED_CONCURRENCY
        try:
            return await self._invoker.run(target, event.payload, event.request_id, trace_id=event.trace_id, rate_limited=False)
        except Throttled:
            return retry.Failure.THROTTLED
        except InvocationRefused as error:
            log.warning("event.attempt.failed request_id=%s error=%s", event.request_id, error)
            return retry.Failure.SYSTEM_ERROR

    async def _settle(self, event: Event, result: Outcome | retry.Failure | retry.Condition | AwsError) -> None:
        """Write down what came of an attempt, before the event is let go of."""
        attempts, held_back = event.attempts, event.held_back
        match result:
            case Outcome(function_error=""):
                self._completed += 1
                await self._delete(event)
                return
            case AwsError():
                log.warning("event.discarded request_id=%s function=%s reason=%s", event.request_id, event.key.name, result.message)
                self._given_up += 1
                await self._delete(event)
                return
            case retry.Condition():
                await self._give_up(event, result)
                return
            case Outcome():
                failure, attempts, held_back = retry.Failure.FUNCTION_ERROR, attempts + 1, 0
            case _:
                failure, held_back = result, held_back + 1
        now_ms = self._now_ms()
        decision = retry.decide(failure, attempts=attempts, held_back=held_back, age_ms=now_ms - event.accepted_at_ms)
        if isinstance(decision, retry.GiveUp):
            await self._give_up(event, decision.condition)
            return
        delay_ms = decision.delay_ms
        if failure is not retry.Failure.FUNCTION_ERROR:
            delay_ms += random.randrange(delay_ms // 2)  # so that events held back together do not come back together
        await self._postpone(event, now_ms + delay_ms, attempts, held_back)

    async def _give_up(self, event: Event, condition: retry.Condition) -> None:
        log.warning("event.given_up request_id=%s function=%s condition=%s", event.request_id, event.key.name, condition)
        self._given_up += 1
        await self._delete(event)

    async def _delete(self, event: Event) -> None:
        await self._database.write(lambda connection: connection.run(self._queries.delete_event, request_id=event.request_id))

    async def _postpone(self, event: Event, due_at_ms: int, attempts: int, held_back: int) -> None:
        self._retried += 1
        await self._database.write(
            lambda connection: connection.run(
                self._queries.postpone_event,
                request_id=event.request_id,
                due_at_ms=due_at_ms,
                attempts=attempts,
                held_back=held_back,
            )
        )
        if self._next_due_ms is None or due_at_ms < self._next_due_ms:
            self._next_due_ms = due_at_ms

    def _insert(self, connection: Connection, event: Event) -> None:
        connection.run(
            self._queries.insert_event,
            request_id=event.request_id,
            account=event.key.account,
            region=event.key.region,
            name=event.key.name,
            qualifier=event.qualifier,
            payload=event.payload,
            trace_id=event.trace_id,
            accepted_at_ms=event.accepted_at_ms,
        )

    def _select(self, connection: Connection, now_ms: int, most: int) -> tuple[list[Event], int | None]:
        events = [
            Event(
                request_id=RequestId(row["request_id"]),
                key=FunctionKey(AccountId(row["account"]), Region(row["region"]), row["name"]),
                qualifier=row["qualifier"],
                payload=row["payload"],
                trace_id=row["trace_id"],
                accepted_at_ms=row["accepted_at_ms"],
                attempts=row["attempts"],
                held_back=row["held_back"],
            )
            for row in connection.all(self._queries.due_events, now_ms=now_ms, most=most)
        ]
        following = connection.one(self._queries.next_due, now_ms=now_ms)
        return events, following["due_at_ms"] if following is not None else None

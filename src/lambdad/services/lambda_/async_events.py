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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lambdad.kit import threads
from lambdad.kit.clock import NowMs
from lambdad.machines import retry
from lambdad.model.errors import AwsError
from lambdad.model.function import FunctionKey
from lambdad.model.ids import RequestId
from lambdad.model.invocation import InvocationRefused, Outcome, Throttled
from lambdad.services.lambda_ import async_event_rows as rows
from lambdad.services.lambda_.registry import Target
from lambdad.services.lambda_.rules import attempts, endings
from lambdad.services.lambda_.rules.attempts import Discarded, Ended, Event, Gone, Postponed, Result
from lambdad.services.lambda_.rules.endings import Ending, Response
from lambdad.services.lambda_.rules.event_invoke import Settings
from lambdad.services.outbox import Delivery, Outbox
from lambdad.store.database import Connection, Database

log = logging.getLogger("lambdad.lambda.async")

MAX_READY = 4096
MAX_READY_BYTES = 64 * 1024 * 1024
POLL_S = 1.0
_WRITTEN_IN_THREAD_BYTES = 256 * 1024


class Invoker(Protocol):
    """Resolves and runs functions."""

    def resolve(self, key: FunctionKey, qualifier: str | None) -> Target: ...

    async def run(
        self, target: Target, payload: bytes, request_id: RequestId, *, trace_id: str = "", rate_limited: bool = True
    ) -> Outcome: ...

    def settings(self, key: FunctionKey, qualifier: str | None) -> Settings:
        """Say how events to a function, version or alias are retried, and who hears of their ends; defaults where it is gone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    ready: int
    running: int
    accepted: int
    completed: int
    retried: int
    given_up: int


class AsyncEvents:
    """
    The queue of asynchronous invocations and its dispatcher. `run` once; `accept` at any time.

    Args:
        outbox: takes what destinations and dead-letter targets are sent, in the transaction that ends the event.
        in_flight: events that run at once.
        new_id: draws a UUID.
        jitter: draws a number 0.0..1.0.
    """

    def __init__(
        self,
        database: Database,
        invoker: Invoker,
        outbox: Outbox,
        now_ms: NowMs,
        in_flight: int = 200,
        *,
        new_id: Callable[[], str],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._invoker = invoker
        self._outbox = outbox
        self._now_ms = now_ms
        self._in_flight = in_flight
        self._new_id = new_id
        self._jitter = jitter
        self._ready: collections.deque[Event] = collections.deque()
        self._ready_bytes = 0
        self._held: set[RequestId] = set()  # in memory in any way: not to be read from the table again
        self._let_go_meanwhile: set[RequestId] | None = None  # while the table is read
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
            await self._database.write(lambda connection: rows.insert(connection, event))
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
                    self._ready_bytes -= event.size_bytes
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
        self._ready_bytes += event.size_bytes

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
        let_go: set[RequestId] = set()
        self._let_go_meanwhile = let_go
        try:
            due, self._next_due_ms = await self._database.read(lambda connection: rows.due(connection, now_ms, most))
        finally:
            self._let_go_meanwhile = None
        for event in due:
            # What the read saw may have run to its end before the read came back.
            if event.request_id in self._held or event.request_id in let_go:
                continue
            if self._ready_bytes > MAX_READY_BYTES:
                self._unread = True
                break
            self._push(event)
        if len(due) == most:
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
            if self._let_go_meanwhile is not None:
                self._let_go_meanwhile.add(event.request_id)
            self._running -= 1
            self._wake.set()

    async def _attempt(self, event: Event) -> Result:
        try:
            target = self._invoker.resolve(event.key, event.qualifier)
        except AwsError as error:
            return Gone(str(error.message)) if error.status == 404 else retry.Failure.SYSTEM_ERROR
        settings = self._invoker.settings(event.key, event.qualifier)
        condition = attempts.before(event, settings, self._now_ms(), reserved_concurrency=target.reserved_concurrency)
        if condition is not None:
            return condition
        try:
            outcome = await self._invoker.run(target, event.payload, event.request_id, trace_id=event.trace_id, rate_limited=False)
        except Throttled:
            return retry.Failure.THROTTLED
        except InvocationRefused as error:
            log.warning("event.attempt.failed request_id=%s error=%s", event.request_id, error)
            return retry.Failure.SYSTEM_ERROR
        return Response(payload=outcome.payload, function_error=outcome.function_error, executed_version=target.version.version)

    async def _settle(self, event: Event, result: Result) -> None:
        """Write down what came of an attempt, before the event is let go of."""
        settings = self._invoker.settings(event.key, event.qualifier)
        match attempts.after(event, result, settings, self._now_ms(), jitter=self._jitter()):
            case Postponed(changed, due_at_ms):
                await self._postpone(changed, due_at_ms)
            case Ended(ending):
                if ending.condition == endings.SUCCESS:
                    self._completed += 1
                else:
                    log.warning("event.given_up request_id=%s function=%s condition=%s", event.request_id, event.key.name, ending.condition)
                    self._given_up += 1
                await self._end(event, await self._deliveries(ending, settings))
            case Discarded(reason):
                log.warning("event.discarded request_id=%s function=%s reason=%s", event.request_id, event.key.name, reason)
                self._given_up += 1
                await self._end(event, [])

    async def _deliveries(self, ending: Ending, settings: Settings) -> list[Delivery]:
        """Make what destinations are sent; large records are written in a thread."""
        if not (settings.on_success or settings.on_failure or settings.dead_letter_target):
            return []
        now_ms, new_id = self._now_ms(), self._new_id()
        size_bytes = len(ending.payload) + (len(ending.response.payload) if ending.response is not None else 0)
        if size_bytes > _WRITTEN_IN_THREAD_BYTES:
            return await threads.run(endings.deliveries, ending, settings, now_ms=now_ms, new_id=new_id)
        return endings.deliveries(ending, settings, now_ms=now_ms, new_id=new_id)

    async def _end(self, event: Event, deliveries: list[Delivery]) -> None:
        """Forget an event; what follows from its end is in the same transaction, so that it follows once, and from one end only."""
        now_ms = self._now_ms()

        def work(connection: Connection) -> None:
            if rows.delete(connection, event.request_id) and deliveries:
                self._outbox.add(connection, deliveries, now_ms)

        await self._database.write(work)
        if deliveries:
            self._outbox.wake()

    async def _postpone(self, event: Event, due_at_ms: int) -> None:
        self._retried += 1
        await self._database.write(lambda connection: rows.postpone(connection, event, due_at_ms))
        if self._next_due_ms is None or due_at_ms < self._next_due_ms:
            self._next_due_ms = due_at_ms

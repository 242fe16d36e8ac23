"""ReceiveMessage, and who waits for messages.

Messages are chosen with no `await` in between, for whoever asks, or for those who wait, the longest first. A receive writes nothing
down: what it changes is written within a second, with that of others (`upkeep`).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from lambdad.kit.clock import NowMs
from lambdad.services.ports import CallContext, Handler
from lambdad.services.sqs import errors
from lambdad.services.sqs.loading import Loader
from lambdad.services.sqs.moving import Mover
from lambdad.services.sqs.registry import Queue, Registry, Waiter, queries
from lambdad.services.sqs.rules import handles, limits, messages
from lambdad.services.sqs.rules.entries import Received, State
from lambdad.services.sqs.rules.handles import Handle
from lambdad.services.sqs.rules.messages import Message
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database

_LOOK_AGAIN_S: Final = 1.0
"""How long a timer runs at most, so that a clock that was advanced is noticed."""

_SYSTEM_ATTRIBUTES: Final = frozenset(
    (
        *("All", "SenderId", "SentTimestamp", "ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SequenceNumber"),
        *("MessageDeduplicationId", "MessageGroupId", "AWSTraceHeader", "DeadLetterQueueSourceArn"),
    )
)


class Receiving:
    """Give messages to those who ask, and to those who wait."""

    def __init__(
        self, database: Database, registry: Registry, loader: Loader, mover: Mover, now_ms: NowMs, touched: Callable[[Queue], None]
    ) -> None:
        self._database = database
        self._registry = registry
        self._loader = loader
        self._mover = mover
        self._now_ms = now_ms
        self._touched = touched
        self._is_closing = False

    def handlers(self) -> dict[str, Handler]:
        """Name the operations."""
        return {"ReceiveMessage": self.receive_message}

    async def receive_message(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Receive messages; wait for some if there are none and the caller, or the queue, says so.

        Raises:
            QueueDoesNotExist: there is no such queue, or it was deleted while the caller waited.
            InvalidParameterValue, InvalidAttributeName: a number out of its range, an attribute that is none.
            OverLimit: a standard queue has as many messages in flight as it may.

        Cancellation: messages that were chosen and not handed over are visible again at once.
        """
        queue = self._registry.find(context, request, "ReceiveMessage")
        wanted = _ranged(request, "MaxNumberOfMessages", 1, 1, limits.RECEIVE_MESSAGES, "Must be between 1 and 10, if provided.")
        wait_s = _ranged(request, "WaitTimeSeconds", queue.settings.wait_s, 0, limits.WAIT_S, "Must be >= 0 and <= 20, if provided.")
        visibility_s = _ranged(
            request,
            "VisibilityTimeout",
            queue.settings.visibility_ms // 1000,
            0,
            limits.VISIBILITY_S,
            "Must be between 0 and 43200, if provided.",
        )
        system = _wanted_system_attributes(request)
        attempt = request.get("ReceiveRequestAttemptId", "")
        if attempt:
            _check_attempt(queue, attempt)
        if not queue.settings.is_fifo and queue.index.in_flight >= limits.IN_FLIGHT:
            queue.index.advance(self._now_ms())
            if queue.index.in_flight >= limits.IN_FLIGHT:
                raise errors.OverLimit("The maximum number of in flight messages is reached.")
        received = self._again(queue, attempt, visibility_s * 1000) if attempt else []
        if not received:
            received = await self._receive(queue, wanted, visibility_s * 1000, wait_s, context.is_gone)
            if attempt and received:
                self._remember(queue, attempt, received)
        if not received:
            return {}
        try:
            found = await self._messages(queue, received)
        except BaseException:
            self._release(queue, received)
            raise
        asked = request.get("MessageAttributeNames", [])
        return {"Messages": [_to_api(queue, each, message, system, asked) for each, message in found]}

    def serve(self, queue: Queue) -> None:
        """Give messages to those who wait, the longest first, and see to it that what becomes visible later is given to them too."""
        if not queue.waiters:
            return
        if queue.is_deleted or self._is_closing:
            self._dismiss(queue)
            return
        now_ms = self._now_ms()
        while queue.waiters:
            waiter = next(iter(queue.waiters))
            if waiter.future.done():  # who waits has just been cancelled, and has not had its turn to say so
                del queue.waiters[waiter]
                continue
            if waiter.is_gone():
                del queue.waiters[waiter]
                waiter.future.set_result([])
                continue
            received, _ = self._choose(queue, waiter.wanted, waiter.visibility_ms, now_ms)
            if not received:
                break
            del queue.waiters[waiter]
            waiter.future.set_result(received)
        if queue.waiters:
            if queue.index.wants_load(now_ms):
                self._loader.load(queue)  # and serve again
            self._set_timer(queue, now_ms)

    def close(self) -> None:
        """Send everybody who waits away with nothing, now and from now on."""
        self._is_closing = True
        for queue in self._registry.everything():
            self._dismiss(queue)

    def _dismiss(self, queue: Queue) -> None:
        while queue.waiters:
            waiter, _ = queue.waiters.popitem()
            if waiter.future.done():
                continue
            if queue.is_deleted:
                waiter.future.set_exception(errors.QueueDoesNotExist())
            else:
                waiter.future.set_result([])

    async def _receive(self, queue: Queue, wanted: int, visibility_ms: int, wait_s: int, is_gone: Callable[[], bool]) -> list[Received]:
        if not queue.waiters:  # those who wait come first; had there been messages, they would have them
            while True:
                now_ms = self._now_ms()
                received, moving = self._choose(queue, wanted, visibility_ms, now_ms)
                if moving is not None:
                    await self._until_moved(queue, moving, received)
                if received:
                    return received
                if moving is not None:
                    continue  # others may have waited for what was moved
                if queue.index.wants_load(now_ms):
                    await asyncio.shield(self._loader.load(queue))
                    continue
                break
        if wait_s == 0 or self._is_closing or queue.is_deleted:
            return []
        return await self._wait(queue, Waiter(wanted, visibility_ms, is_gone, asyncio.get_running_loop().create_future()), wait_s)

    async def _until_moved(self, queue: Queue, moving: "asyncio.Future[Any]", received: list[Received]) -> None:
        """Wait until dead messages are where they belong, so that who looks there next finds them."""
        try:
            await asyncio.wait([moving])
        except asyncio.CancelledError:
            self._release(queue, received)
            raise

    async def _wait(self, queue: Queue, waiter: Waiter, wait_s: int) -> list[Received]:
        queue.waiters[waiter] = None
        if queue.timer is None:
            self._set_timer(queue, self._now_ms())
        timeout = asyncio.get_running_loop().call_later(wait_s, self._give_up, queue, waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                self._release(queue, waiter.future.result())
            raise
        finally:
            timeout.cancel()
            queue.waiters.pop(waiter, None)

    def _give_up(self, queue: Queue, waiter: Waiter) -> None:
        if queue.waiters.pop(waiter, waiter) is None and not waiter.future.done():
            waiter.future.set_result([])

    def _choose(self, queue: Queue, wanted: int, visibility_ms: int, now_ms: int) -> tuple[list[Received], "asyncio.Future[Any] | None"]:
        """Receive, and have moved what is dead and removed what is too old; returns also what to wait for where something is moved."""
        index, settings = queue.index, queue.settings
        index.advance(now_ms)
        if not index.ready:
            return [], None
        dead_letters = settings.dead_letters
        target = self._registry.get(dead_letters.target) if dead_letters is not None else None
        taken = index.receive(
            now_ms,
            wanted,
            visibility_ms,
            oldest_ms=now_ms - settings.retention_ms,
            receives_max=dead_letters.receives_max if dead_letters is not None and target is not None else None,
        )
        if taken.received:
            for each in taken.received:
                queue.touched[each.seq] = each.entry
            self._touched(queue)
        if taken.expired:
            self._mover.remove(queue, taken.expired)
        moving = self._mover.bury(queue, target, taken.dead) if taken.dead and target is not None else None
        return taken.received, moving

    def _release(self, queue: Queue, received: list[Received]) -> None:
        for each in reversed(received):
            queue.index.release(each)
        self.serve(queue)

    def _set_timer(self, queue: Queue, now_ms: int) -> None:
        """Look again when something may become visible by itself; only while somebody waits for it."""
        if queue.timer is not None:
            queue.timer.cancel()
        due_ms = queue.index.next_due_ms()
        delay_s = _LOOK_AGAIN_S if due_ms is None else min(max(due_ms - now_ms, 1) / 1000, _LOOK_AGAIN_S)
        queue.timer = asyncio.get_running_loop().call_later(delay_s, self._look_again, queue)

    def _look_again(self, queue: Queue) -> None:
        queue.timer = None
        self.serve(queue)

    async def _messages(self, queue: Queue, received: list[Received]) -> list[tuple[Received, Message]]:
        """Find what was sent: in memory as a rule. A message whose row is gone was deleted in the meantime, and is left out."""
        missing = [each.seq for each in received if each.message is None]
        if not missing:
            return [(each, each.message) for each in received if each.message is not None]

        def read(connection: Connection) -> list[Row | None]:
            return [connection.one(queries.read_message, queue_id=queue.id, seq=seq) for seq in missing]

        rows = await self._database.read(read)
        stored = {row.seq: messages.parse(row.message, row.message_group) for row in rows if row is not None}
        found: list[tuple[Received, Message]] = []
        for each in received:
            message = each.message or stored.get(each.seq)
            if message is not None:
                found.append((each, message))
            else:
                queue.index.remove(each.entry)
        return found

    def _again(self, queue: Queue, attempt: str, visibility_ms: int) -> list[Received]:
        """Return what an earlier try of the same receive came to, if nothing has happened to it since; its visibility begins anew."""
        now_ms = self._now_ms()
        queue.index.advance(now_ms)
        expires_at_ms, received = queue.attempts.get(attempt, (0, []))
        if expires_at_ms <= now_ms or not all(
            each.entry.state is State.IN_FLIGHT and each.entry.receives == each.receives and each.entry.due_at_ms == each.until_ms
            for each in received
        ):
            return []
        renewed = [each._replace(until_ms=now_ms + visibility_ms, message=None) for each in received]
        for each in renewed:
            queue.index.change_visibility(each.entry, each.until_ms, now_ms)
            queue.touched[each.seq] = each.entry
        self._touched(queue)
        queue.attempts[attempt] = (expires_at_ms, renewed)
        return [each._replace(until_ms=first.until_ms) for each, first in zip(renewed, received, strict=True)]

    def _remember(self, queue: Queue, attempt: str, received: list[Received]) -> None:
        queue.attempts[attempt] = (self._now_ms() + limits.DEDUPLICATION_MS, [each._replace(message=None) for each in received])
        queue.attempts.move_to_end(attempt)
        if len(queue.attempts) > limits.ATTEMPTS:
            queue.attempts.popitem(last=False)


def _ranged(request: dict[str, Any], name: str, default: int, lowest: int, highest: int, reason: str) -> int:
    value = request.get(name)
    if value is None:
        return default
    if not lowest <= value <= highest:
        raise errors.invalid(value, name, reason)
    return int(value)


def _wanted_system_attributes(request: dict[str, Any]) -> frozenset[str]:
    wanted = frozenset((*request.get("AttributeNames", ()), *request.get("MessageSystemAttributeNames", ())))
    for name in wanted:
        if name not in _SYSTEM_ATTRIBUTES:
            raise errors.InvalidAttributeName(name)
    return _SYSTEM_ATTRIBUTES if "All" in wanted else wanted


def _check_attempt(queue: Queue, attempt: str) -> None:
    if not queue.settings.is_fifo:
        raise errors.invalid(attempt, "ReceiveRequestAttemptId", "The request include parameter that is not valid for this queue type.")
    messages.check_fifo_id(attempt, "ReceiveRequestAttemptId")


def sequence_number(seq: int) -> str:
    """Write a message's number as AWS does: twenty digits that grow."""
    return str(10**19 + seq)


def _to_api(queue: Queue, received: Received, message: Message, system: frozenset[str], asked: list[str]) -> dict[str, Any]:
    handle = Handle(received.seq, received.receives, received.received_at_ms, received.until_ms)
    written: dict[str, Any] = {
        "MessageId": message.message_id,
        "ReceiptHandle": handles.write(handle, queue.secret),
        "MD5OfBody": message.md5_of_body,
        "Body": message.body,
    }
    if system:
        all_of_them = {
            "SenderId": message.sender_id,
            "SentTimestamp": str(received.sent_at_ms),
            "ApproximateReceiveCount": str(received.receives),
            "ApproximateFirstReceiveTimestamp": str(received.first_received_at_ms),
            "SequenceNumber": sequence_number(received.seq) if queue.settings.is_fifo else "",
            "MessageDeduplicationId": message.deduplication_id,
            "MessageGroupId": message.group,
            "AWSTraceHeader": message.trace_header,
            "DeadLetterQueueSourceArn": message.source_arn,
        }
        shown = {name: value for name, value in all_of_them.items() if value and name in system}
        if shown:
            written["Attributes"] = shown
    selected = messages.select(message.attributes, asked)
    if selected:
        written["MessageAttributes"] = selected
        written["MD5OfMessageAttributes"] = (
            message.md5_of_attributes if selected is message.attributes else messages.md5_of_attributes(selected)
        )
    return written

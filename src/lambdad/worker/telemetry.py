"""Delivers telemetry to the extensions of one environment that have subscribed to it.

A destination listens inside the environment: connections are made by sockets of its own network namespace, to its own address, and
nowhere else. What it answers is read up to `MAX_ANSWER_BYTES` and looked at for its status alone; redirections are not followed.

Bounds: what `machines.telemetry.Buffer` keeps for each subscriber, `MAX_ENVIRONMENT_BYTES` for an environment and `Budget` for a worker.
What comes beyond is dropped and told as platform.logsDropped; nobody is made to wait.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from lambdad.machines import telemetry

log = logging.getLogger("lambdad.worker")

MAX_BYTES = 32 * 1024 * 1024  # for all environments of a worker
MAX_ENVIRONMENT_BYTES = 4 * 1024 * 1024
MAX_EARLY_EVENTS = 1000  # kept in Init for those who have yet to subscribe
MAX_EARLY_BYTES = 256 * 1024
MAX_ANSWER_BYTES = 16 * 1024
ATTEMPT_S = 3.0
MOST_ATTEMPTS = 8  # for one batch; then it is dropped

Socket = Callable[[], Awaitable[socket.socket]]


class Budget:
    """What all environments of a worker together may keep."""

    def __init__(self, most_bytes: int = MAX_BYTES) -> None:
        self.most_bytes = most_bytes
        self.used_bytes = 0


@dataclass(frozen=True, slots=True)
class _Early:
    kind: str
    record: Mapping[str, telemetry.Json] | str
    at_ms: int
    as_object: bool = False


class Hub:
    """
    Where the events of one environment come together.

    Args:
        open_socket: gives an unconnected socket of the environment's network namespace, or raises OSError.
        address: of the environment itself, for destinations.
        dropped: told how many events, and bytes, were lost.

    Resource handling: `reset` and `close` end every delivery.
    """

    def __init__(
        self,
        open_socket: Socket,
        address: str,
        budget: Budget,
        now_ms: Callable[[], int],
        dropped: Callable[[Mapping[str, telemetry.Json]], None],
    ) -> None:
        self._open_socket = open_socket
        self._address = address
        self._budget = budget
        self._now_ms = now_ms
        self._dropped = dropped
        self._loop = asyncio.get_running_loop()
        self._subscribers: dict[str, _Subscriber] = {}  # by identifier of the extension
        self._early: list[_Early] | None = []
        self._early_bytes = 0
        self.listening = True  # events are of interest to somebody, or may become so; asked very often, hence no property

    def subscribed(self, identifier: str) -> telemetry.Api | None:
        """Return through which API an extension has subscribed."""
        subscriber = self._subscribers.get(identifier)
        return subscriber.subscription.api if subscriber is not None else None

    def subscribe(self, identifier: str, subscription: telemetry.Subscription) -> None:
        """Deliver to an extension from here on, what was kept of Init first. A second subscription takes the place of the first."""
        earlier = self._subscribers.pop(identifier, None)
        if earlier is not None:
            earlier.cancel()
        subscriber = _Subscriber(subscription, self, self._open_socket, self._address)
        self._subscribers[identifier] = subscriber
        for one in self._early or ():
            self._offer(subscriber, one)

    def end_of_init(self) -> None:
        """Keep nothing any more for those who have not subscribed: they never will."""
        self._early = None
        self._early_bytes = 0
        self.listening = bool(self._subscribers)

    def platform(self, kind: str, record: Mapping[str, telemetry.Json] | str) -> None:
        """Take one of the platform's events."""
        self._take(_Early(kind, record, self._now_ms()), 256)

    def line(self, kind: str, at_ms: int, text: str, *, as_object: bool = False) -> None:
        """Take a line of the function ("function") or of an extension ("extension")."""
        self._take(_Early(kind, text, at_ms, as_object), len(text) + 64)

    def _take(self, event: _Early, size_bytes: int) -> None:
        early = self._early
        if early is not None and len(early) < MAX_EARLY_EVENTS and self._early_bytes + size_bytes <= MAX_EARLY_BYTES:
            early.append(event)
            self._early_bytes += size_bytes
        for subscriber in self._subscribers.values():
            self._offer(subscriber, event)

    def _offer(self, subscriber: "_Subscriber", event: _Early) -> None:
        subscription = subscriber.subscription
        if event.kind not in ("function", "extension"):
            item = telemetry.platform_item(subscription, event.kind, event.record, event.at_ms)
        elif event.kind in subscription.types and isinstance(event.record, str):
            as_object = event.as_object and subscription.structured
            item = telemetry.line_item(event.kind, event.record, event.at_ms, as_object=as_object)
        else:
            item = None
        if item is not None:
            subscriber.offer(item)

    def room_bytes(self) -> int:
        """Return how much more may be kept."""
        own_bytes = sum(one.held_bytes for one in self._subscribers.values())
        return min(MAX_ENVIRONMENT_BYTES - own_bytes, self._budget.most_bytes - self._budget.used_bytes)

    def hold(self, size_bytes: int) -> None:
        """Count what is kept from here on, or (negative) no more."""
        self._budget.used_bytes += size_bytes

    def lost(self, subscriber: "_Subscriber", records: int, size_bytes: int) -> None:
        """Tell a subscriber, and the function's log, what was lost."""
        record = telemetry.dropped_record(records, size_bytes)
        item = telemetry.platform_item(subscriber.subscription, "platform.logsDropped", record, self._now_ms())
        if item is not None:
            subscriber.offer(item)
        self._dropped(record)

    def pending(self) -> bool:
        """Say whether something has yet to be delivered."""
        return any(one.pending for one in self._subscribers.values())

    def flush(self) -> None:
        """Deliver what is there without waiting for more."""
        for subscriber in self._subscribers.values():
            subscriber.flush()

    def pause(self) -> None:
        """Begin no delivery until `resume`: there is nobody awake to take it."""
        for subscriber in self._subscribers.values():
            subscriber.awake.clear()

    def resume(self) -> None:
        for subscriber in self._subscribers.values():
            subscriber.awake.set()

    def reset(self) -> None:
        """Forget every subscriber, as their processes are gone, and keep what comes for the next ones."""
        self.close()
        self._early = []
        self._early_bytes = 0
        self.listening = True

    def close(self) -> None:
        for subscriber in self._subscribers.values():
            subscriber.cancel()
        self._subscribers.clear()


class _Subscriber:
    """One destination, and the task that delivers to it."""

    def __init__(self, subscription: telemetry.Subscription, hub: Hub, open_socket: Socket, address: str) -> None:
        self.subscription = subscription
        self.awake = asyncio.Event()
        self.awake.set()
        self._hub = hub
        self._open_socket = open_socket
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._buffer = telemetry.Buffer(subscription)
        self._sending_bytes = 0
        self._urgent = False
        self._changed = asyncio.Event()
        self._tcp: asyncio.StreamWriter | None = None
        self._task = self._loop.create_task(self._run())

    @property
    def held_bytes(self) -> int:
        return self._buffer.size_bytes + self._sending_bytes

    @property
    def pending(self) -> bool:
        return self._sending_bytes > 0 or len(self._buffer) > 0

    def offer(self, item: bytes) -> None:
        if self._buffer.add(item, self._loop.time(), room_bytes=self._hub.room_bytes()):
            self._hub.hold(len(item))
            self._changed.set()

    def flush(self) -> None:
        if self.pending:
            self._urgent = True
            self._changed.set()

    def cancel(self) -> None:
        self._task.cancel()
        self._hub.hold(-self.held_bytes)
        self._sending_bytes = 0
        self._buffer = telemetry.Buffer(self.subscription)
        self._hang_up()

    async def _run(self) -> None:
        try:
            while True:
                await self._wait_due()
                batch = self._buffer.take(self._loop.time())
                self._sending_bytes = sum(map(len, batch))
                delivered = await self._deliver(batch)
                self._hub.hold(-self._sending_bytes)
                if not delivered:
                    self._buffer.drop(len(batch), self._sending_bytes)
                self._sending_bytes = 0
                records, size_bytes = self._buffer.take_dropped()
                if records:
                    self._hub.lost(self, records, size_bytes)
                if not len(self._buffer):
                    self._urgent = False
        except Exception:
            # Safe to go on: one subscriber gets no more; the environment and the others share nothing with it.
            log.exception("telemetry.failed")

    async def _wait_due(self) -> None:
        while True:
            self._changed.clear()
            due_s = self._buffer.due_s()
            if due_s is not None:
                left_s = 0.0 if self._urgent else due_s - self._loop.time()
                if left_s <= 0:
                    return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due_s is None else left_s):
                    await self._changed.wait()

    async def _deliver(self, batch: list[bytes]) -> bool:
        for failures in range(1, MOST_ATTEMPTS + 1):
            await self.awake.wait()
            try:
                async with asyncio.timeout(ATTEMPT_S):
                    if self.subscription.protocol == "TCP":
                        await self._send_lines(batch)
                    else:
                        await self._post(batch)
                return True
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, _Unwilling):
                self._hang_up()
            await asyncio.sleep(telemetry.retry_after_s(failures))
        return False

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        made = await self._open_socket()
        try:
            await self._loop.sock_connect(made, (self._address, self.subscription.port))
            return await asyncio.open_connection(sock=made, limit=MAX_ANSWER_BYTES)
        except BaseException:
            made.close()
            raise

    async def _send_lines(self, batch: list[bytes]) -> None:
        if self._tcp is None or self._tcp.is_closing():
            _, self._tcp = await self._connect()  # what it says stays in its socket, once `MAX_ANSWER_BYTES` have come
        self._tcp.write(b"\n".join(batch) + b"\n")
        await self._tcp.drain()

    async def _post(self, batch: list[bytes]) -> None:
        """Send one request on a connection of its own; any status but a 2xx is a failure."""
        reader, writer = await self._connect()
        one = self.subscription
        body = b"[" + b",".join(batch) + b"]"
        head = (
            f"{one.method} {one.path} HTTP/1.1\r\nHost: {one.host}:{one.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        try:
            writer.write(head.encode("ascii", "replace") + body)
            await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            status = answer.split(b" ", 2)[1:2]
            with contextlib.suppress(TimeoutError):  # hear it out, so that it is not cut off in its answer
                async with asyncio.timeout(0.2):
                    await reader.read(MAX_ANSWER_BYTES)
        finally:
            writer.close()
        if not status or not (len(status[0]) == 3 and status[0].startswith(b"2")):
            raise _Unwilling

    def _hang_up(self) -> None:
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None


class _Unwilling(Exception):
    """The destination answered something else than a success."""

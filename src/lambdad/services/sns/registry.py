"""All topics and subscriptions in memory, and the one way to change them.

Reading is synchronous and runs no SQL: a publish finds its subscribers without asking the database. Every change of a topic or of its
subscriptions goes through `Registry.change`: it takes the topic's lock, lets a synchronous `decide` say what is to be, writes that
(and the deliveries that come of it, in the same transaction), and only then shows it in memory.

Invariants: memory never shows what is not durable; changes of one topic never overlap; what was read stays true to itself.
"""

import asyncio
import bisect
import logging
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from lambdad.kit.clock import NowMs
from lambdad.services.outbox import Delivery, Outbox
from lambdad.services.sns import errors, rows
from lambdad.services.sns.rules.nouns import State, Subscription, Topic
from lambdad.services.sns.rules.topic_attributes import Counts
from lambdad.store.connection import Connection
from lambdad.store.database import Database

_log = logging.getLogger("lambdad.sns.registry")

T = TypeVar("T")
Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None]], object]
"""Start a task that its owner (a TaskGroup) waits for."""


@dataclass(slots=True)
class Entry:
    """A topic as memory has it. Only the registry changes it, but for `sequence`, which a publish counts up."""

    topic: Topic
    sequence: int
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    by_endpoint: dict[tuple[str, str], str] = field(default_factory=dict)  # (protocol, endpoint) to ARN, without deleted ones
    by_token: dict[str, str] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)  # ARNs in order, without deleted ones
    states: Counter[State] = field(default_factory=Counter)
    filters: int = 0

    def counts(self) -> Counts:
        """Count the subscriptions by their states."""
        return Counts(self.states[State.CONFIRMED], self.states[State.PENDING], self.states[State.DELETED])

    def confirmed(self) -> Iterator[Subscription]:
        """Go through the subscriptions that get messages."""
        return (each for each in self.subscriptions.values() if each.state is State.CONFIRMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Generic[T]):
    """What a decision about one topic came to.

    Args:
        topic: the topic from now on; None deletes it with all that belongs to it. The old object itself: no change.
        answer: handed to the caller of `Registry.change` once the change is durable.
        put: subscriptions that are new or changed.
        removed: ARNs of subscriptions to be forgotten.
        deliveries: to be made because of the change.
    """

    topic: Topic | None
    answer: T
    put: tuple[Subscription, ...] = ()
    removed: tuple[str, ...] = ()
    deliveries: tuple[Delivery, ...] = ()


class Registry:
    """The topics of all accounts and regions.

    Call `load` once before anything else. All methods belong to the event loop's thread.
    """

    def __init__(self, database: Database, outbox: Outbox, now_ms: NowMs, spawn: Spawn) -> None:
        self._database = database
        self._outbox = outbox
        self._now_ms = now_ms
        self._spawn = spawn
        self._entries: dict[str, Entry] = {}
        self._arns: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._owned: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def load(self) -> None:
        """Read everything from the store."""
        topics, subscriptions = await self._database.read(rows.load)
        for topic in topics:
            self._install_topic(topic.arn, topic)
        for subscription in subscriptions:
            if (entry := self._entries.get(subscription.topic_arn)) is not None:
                self._put(entry, subscription)

    # --- reading

    def entry(self, topic_arn: str) -> Entry | None:
        """Return a topic; None if there is none."""
        return self._entries.get(topic_arn)

    def find(self, topic_arn: str) -> Entry:
        """
        Find a topic.

        Raises:
            NotFound: there is none.
        """
        entry = self._entries.get(topic_arn)
        if entry is None:
            raise errors.NotFound("Topic does not exist")
        return entry

    def topics_of(self, account: str, region: str) -> list[str]:
        """Return the ARNs of an account's topics in a region, in order."""
        return self._arns.get((account, region), [])

    def subscriptions_of(self, owner: str, region: str) -> list[str]:
        """Return the ARNs of an account's subscriptions to topics of a region, in order."""
        return self._owned.get((owner, region), [])

    def subscription(self, arn: str) -> Subscription | None:
        """Return a subscription by its ARN."""
        entry = self._entries.get(arn.rpartition(":")[0])
        return entry.subscriptions.get(arn) if entry is not None else None

    def everything(self) -> list[Entry]:
        """Return all topics."""
        return list(self._entries.values())

    # --- changing

    async def change(self, topic_arn: str, decide: Callable[[Entry | None], Change[T]]) -> T:
        """
        Change a topic and its subscriptions: lock, decide, write durably, install.

        Args:
            decide: gets the topic as it is (None: there is none). Synchronous, and the only place where what it sees is sure to be
                current. What it raises reaches the caller; nothing is then changed.

        Cancellation: a change that has begun is finished whether its caller still waits or not.

        Raises:
            What `decide` or the store raise.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._spawn(self._carry_out(topic_arn, decide, done))
        return await done

    async def _carry_out(self, topic_arn: str, decide: Callable[[Entry | None], Change[T]], done: "asyncio.Future[T]") -> None:
        try:
            answer = await self._change_locked(topic_arn, decide)
        except asyncio.CancelledError:
            done.cancel()
            raise
        except Exception as error:  # handed to the caller, who raises it; logged only where nobody is left to
            if done.done():
                _log.warning("topic.change.failed topic=%s error=%r", topic_arn, error)
            else:
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(answer)

    async def _change_locked(self, topic_arn: str, decide: Callable[[Entry | None], Change[T]]) -> T:
        async with self._lock(topic_arn):
            old = self._entries.get(topic_arn)
            change = decide(old)
            is_same = change.topic is (old.topic if old is not None else None)
            if is_same and not (change.put or change.removed or change.deliveries):
                return change.answer
            now_ms = self._now_ms()
            await self._database.write(lambda connection: self._write(connection, topic_arn, old, change, now_ms))
            self._install(topic_arn, change)
        if change.deliveries:
            self._outbox.wake()
        return change.answer

    def _write(self, connection: Connection, topic_arn: str, old: Entry | None, change: Change[T], now_ms: int) -> None:
        if change.topic is None:
            rows.delete_topic(connection, topic_arn)
        elif old is None or change.topic is not old.topic:
            rows.put_topic(connection, change.topic)
        for subscription in change.put:
            rows.put_subscription(connection, subscription)
        rows.delete_subscriptions(connection, change.removed)
        if change.deliveries:
            self._outbox.add(connection, change.deliveries, now_ms)

    def _install(self, topic_arn: str, change: Change[T]) -> None:
        self._install_topic(topic_arn, change.topic)
        if change.topic is None:
            return
        entry = self._entries[topic_arn]
        for arn in change.removed:
            self._take(entry, arn)
        for subscription in change.put:
            self._put(entry, subscription)

    def _install_topic(self, arn: str, topic: Topic | None) -> None:
        entry = self._entries.get(arn)
        if topic is None:
            if entry is not None:
                for each in list(entry.subscriptions):
                    self._take(entry, each)
                del self._entries[arn]
                _remove(self._arns[entry.topic.account, entry.topic.region], arn)
        elif entry is None:
            self._entries[arn] = Entry(topic, topic.sequence)
            bisect.insort(self._arns[topic.account, topic.region], arn)
        else:
            entry.topic = topic

    def _put(self, entry: Entry, subscription: Subscription) -> None:
        self._take(entry, subscription.arn)
        entry.subscriptions[subscription.arn] = subscription
        entry.states[subscription.state] += 1
        if subscription.token:
            entry.by_token[subscription.token] = subscription.arn
        if subscription.state is State.DELETED:
            return
        entry.filters += subscription.filter is not None
        entry.by_endpoint[subscription.protocol, subscription.endpoint] = subscription.arn
        bisect.insort(entry.listed, subscription.arn)
        bisect.insort(self._owned[subscription.owner, entry.topic.region], subscription.arn)

    def _take(self, entry: Entry, arn: str) -> None:
        old = entry.subscriptions.pop(arn, None)
        if old is None:
            return
        entry.states[old.state] -= 1
        entry.by_token.pop(old.token, None)
        if old.state is State.DELETED:
            return
        entry.filters -= old.filter is not None
        del entry.by_endpoint[old.protocol, old.endpoint]
        _remove(entry.listed, arn)
        _remove(self._owned[old.owner, entry.topic.region], arn)

    def _lock(self, topic_arn: str) -> asyncio.Lock:
        lock = self._locks.get(topic_arn)
        if lock is None:
            lock = self._locks[topic_arn] = asyncio.Lock()
        return lock


def _remove(ordered: list[str], item: str) -> None:
    position = bisect.bisect_left(ordered, item)
    assert ordered[position] == item, "what is removed was listed"
    del ordered[position]

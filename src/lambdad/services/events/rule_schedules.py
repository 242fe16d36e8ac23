"""Rules that start by the clock: once a time has come, the rule's next time and the deliveries of this one are one transaction.

A time that passed while nothing ran is made up for once, if it is less than a day ago: of several missed times only the latest.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lambdad.kit.clock import NowMs
from lambdad.machines import schedules
from lambdad.model.ids import AccountId, Region
from lambdad.services.events.dispatch import Dispatcher, Routed
from lambdad.services.events.registry import Registry, Rule, sql
from lambdad.services.events.rules import events, limits
from lambdad.services.events.rules.names import BusKey, RuleKey
from lambdad.services.outbox import Outbox
from lambdad.store.database import Connection, Database

BATCH = 500


@dataclass(frozen=True, slots=True)
class _Due:
    key: RuleKey
    at_ms: int
    next_at_ms: int | None
    routed: Routed


class RuleSchedules:
    """Starts the targets of rules whose times have come."""

    def __init__(
        self, registry: Registry, dispatcher: Dispatcher, database: Database, outbox: Outbox, now_ms: NowMs, new_id: Callable[[], str]
    ) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._database = database
        self._outbox = outbox
        self._now_ms = now_ms
        self._new_id = new_id

    async def step(self, now_ms: int) -> int | None:
        """Do what is due, as `Timetable` asks; no rule changes meanwhile."""
        return await self._registry.change(lambda: self._step(now_ms))

    async def _step(self, now_ms: int) -> int | None:
        rows = await self._database.read(lambda connection: connection.all(sql.due_rules, now_ms=now_ms, limit=BATCH))
        due = []
        for row in rows:
            key = RuleKey(BusKey(AccountId(row.account), Region(row.region), row.bus), row.name)
            bus = self._registry.find(key.bus)
            rule = bus.rules.get(key.name) if bus is not None else None
            due.append(await self._prepare(key, rule, row.next_at_ms, now_ms))
        if due:
            await self._database.write(lambda connection: self._carry_out(connection, due))
            self._outbox.wake()
        following = await self._database.read(lambda connection: connection.one(sql.next_rule))
        return following.next_at_ms if following is not None else None

    async def _prepare(self, key: RuleKey, rule: Rule | None, at_ms: int, now_ms: int) -> _Due:
        """Say what the time of a rule comes to; a rule that has been deleted or disabled meanwhile comes to nothing."""
        routed = Routed()
        if rule is None or rule.schedule is None or not rule.is_enabled:
            return _Due(key, at_ms, None, routed)
        latest_ms = schedules.latest_until(rule.schedule, now_ms, first_ms=at_ms, anchor_ms=rule.anchor_ms)
        if latest_ms > now_ms - limits.EVENT_AGE_S * 1000:
            await self._dispatcher.start(rule, events.scheduled(key, self._new_id(), latest_ms, now_ms), routed)
        return _Due(key, at_ms, schedules.next_after(rule.schedule, now_ms, anchor_ms=rule.anchor_ms), routed)

    def _carry_out(self, connection: Connection, due: list[_Due]) -> None:
        for each in due:
            advanced = connection.run(
                sql.advance_rule,
                account=each.key.bus.account,
                region=each.key.bus.region,
                bus=each.key.bus.name,
                name=each.key.name,
                next_at_ms=each.next_at_ms,
                expected_ms=each.at_ms,
            )
            if advanced:
                self._dispatcher.write(connection, each.routed, self._now_ms())

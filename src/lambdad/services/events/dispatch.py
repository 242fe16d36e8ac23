"""Events to deliveries: which rules an event matches, what their targets are sent, which archives keep it.

All of it is found in memory; the deliveries and the archived events are then one transaction, after which the event is accepted.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lambdad.kit import threads
from lambdad.kit.clock import NowMs
from lambdad.machines import target_calls
from lambdad.machines.target_calls import TargetCall
from lambdad.model.ids import AccountId, Region
from lambdad.services.events.registry import Archive, Bus, Registry, Rule, sql
from lambdad.services.events.rules import inputs, limits, names, targets
from lambdad.services.events.rules.events import Event
from lambdad.services.events.rules.names import BusKey
from lambdad.services.outbox import DeadLetter, Delivery, Outbox
from lambdad.services.ports import Origin
from lambdad.store.database import Connection, Database

log = logging.getLogger("lambdad.events")

PRINCIPAL: Final = "events.amazonaws.com"
HOPS_MAX: Final = 1
"""An event that has come from another bus is not sent on to a third one, as in AWS."""

LARGE_CHARACTERS: Final = 16_384
"""Events that are longer are matched in a thread: an array of many thousand elements may keep a pattern busy for long."""

TURN_S: Final = 0.005
"""How long rules are looked at before others have their turn: there may be many, and patterns of any kind."""


@dataclass(slots=True)
class Routed:
    """What events come to."""

    deliveries: list[Delivery] = field(default_factory=list)
    archived: list[tuple[Archive, Event]] = field(default_factory=list)


class Dispatcher:
    """Finds what events come to, and writes it."""

    def __init__(self, registry: Registry, database: Database, outbox: Outbox, now_ms: NowMs) -> None:
        self._registry = registry
        self._database = database
        self._outbox = outbox
        self._now_ms = now_ms
        self._turn_until_s = 0.0

    async def accept(self, events: Sequence[tuple[BusKey, Event]]) -> None:
        """
        Take events: return when what they come to is on the disk. An event for a bus that is not there is dropped.

        Cancellation: they may have been taken.
        """
        routed = Routed()
        for key, event in events:
            await self.route(key, event, routed)
        if routed.deliveries or routed.archived:
            now_ms = self._now_ms()
            await self._database.write(lambda connection: self.write(connection, routed, now_ms))
            self._outbox.wake()

    async def route(self, key: BusKey, event: Event, routed: Routed, *, only: Collection[str] = ()) -> None:
        """
        Find out what an event on a bus comes to.

        Args:
            routed: what is found is added to it.
            only: ARNs of rules to which a replay is limited; () for all.
        """
        bus = self._registry.find(key)
        if bus is None:
            return
        rules = [rule for rule in bus.rules.values() if rule.is_enabled and (not only or names.rule_arn(rule.key) in only)]
        for rule in await self._matching(rules, event):
            await self.start(rule, event, routed)
        if not event.is_replayed:
            self._archive(bus, event, routed)

    async def _matching(self, rules: Sequence[Rule], event: Event) -> list[Rule]:
        if len(event.text) > LARGE_CHARACTERS:
            return await threads.run(_matching, rules, event.body)
        loop = asyncio.get_running_loop()
        found: list[Rule] = []
        for rule in rules:
            if loop.time() > self._turn_until_s:
                await asyncio.sleep(0)
                self._turn_until_s = loop.time() + TURN_S
            found += _matching((rule,), event.body)
        return found

    async def start(self, rule: Rule, event: Event, routed: Routed) -> None:
        """Add what a rule's targets are sent for an event."""
        for target in list(rule.targets.values()):
            arn = target_calls.parse_arn(target["Arn"])
            if arn is None:
                continue
            if target_calls.kind(arn) == "event bus":
                await self._send_to_bus(
                    rule, target, names.bus_key(rule.key.bus.account, rule.key.bus.region, target["Arn"]), event, routed
                )
                continue
            text = inputs.render(target, event, rule.key.name, names.rule_arn(rule.key))
            if text is None:
                log.info("events.input.invalid rule=%s target=%s", names.rule_arn(rule.key), target["Id"])
                continue
            group = target.get("SqsParameters", {}).get("MessageGroupId", "")
            call = target_calls.of_target(target["Arn"], text, group=group, at_ms=event.at_ms, unique=f"{event.id}-{rule.key.name}")
            routed.deliveries += _deliveries(rule, target, call, text, event)

    def write(self, connection: Connection, routed: Routed, now_ms: int) -> None:
        """Write what events come to, in a transaction."""
        self._outbox.add(connection, routed.deliveries, now_ms)
        counts: dict[int, list[int]] = {}
        for archive, event in routed.archived:
            counts.setdefault(archive.id, []).append(len(event.text.encode()))
        connection.many(
            sql.insert_archived,
            [{"archive_id": archive.id, "at_ms": event.at_ms, "body": event.text} for archive, event in routed.archived],
        )
        for number, sizes in counts.items():
            connection.run(sql.count_archived, id=number, events=len(sizes), size_bytes=sum(sizes))

    async def _send_to_bus(self, rule: Rule, target: Mapping[str, Any], key: BusKey, event: Event, routed: Routed) -> None:
        if event.hops >= HOPS_MAX:
            return
        if self._registry.find(key) is None:
            if queue_arn := target.get("DeadLetterConfig", {}).get("Arn"):
                message = f"Event bus {key.name} does not exist."
                routed.deliveries.append(_dead_letter(rule, target, queue_arn, event, "NO_RESOURCE", message))
            return
        await self.route(key, replace(event, hops=event.hops + 1), routed)

    def _archive(self, bus: Bus, event: Event, routed: Routed) -> None:
        for archive in bus.archives.values():
            if archive.pattern is None or archive.pattern.matches(event.body):
                routed.archived.append((archive, event))


def _matching(rules: Sequence[Rule], body: dict[str, Any]) -> list[Rule]:
    return [rule for rule in rules if rule.pattern is not None and rule.pattern.matches(body)]


def _deliveries(rule: Rule, target: Mapping[str, Any], call: TargetCall, text: str, event: Event) -> list[Delivery]:
    bus = rule.key.bus
    origin = Origin(
        account=AccountId(call.account) if call.account else bus.account,
        region=Region(call.region),
        principal=PRINCIPAL,
        source_arn=names.rule_arn(rule.key),
        trace_id=event.trace_id,
    )
    policy = target.get("RetryPolicy", {})
    attempts = policy.get("MaximumRetryAttempts", limits.RETRY_ATTEMPTS) + 1
    age_s = policy.get("MaximumEventAgeInSeconds", limits.EVENT_AGE_S)
    queue_arn = target.get("DeadLetterConfig", {}).get("Arn")
    letter = None if queue_arn is None else _letter(rule, target, queue_arn, text)
    order = f"{event.id} {names.rule_arn(rule.key)} {target['Id']}" if call.before else ""
    calls: list[tuple[TargetCall, DeadLetter | None]] = [(each, None) for each in call.before]
    return [
        Delivery(
            origin=origin,
            service=each.service,
            operation=each.operation,
            params=each.params,
            order_key=order,
            maximum_attempts=attempts,
            maximum_age_s=age_s,
            dead_letter=dead_letter,
        )
        for each, dead_letter in [*calls, (call, letter)]
    ]


def _letter(rule: Rule, target: Mapping[str, Any], queue_arn: str, text: str) -> DeadLetter:
    return DeadLetter(
        queue_arn=queue_arn,
        body=text,
        attributes={"RULE_ARN": _string(names.rule_arn(rule.key)), "TARGET_ARN": _string(target["Arn"])},
        error_code_attribute="ERROR_CODE",
        error_message_attribute="ERROR_MESSAGE",
        attempts_attribute="RETRY_ATTEMPTS",
        condition_attribute="EXHAUSTED_RETRY_CONDITION",
        error_codes=targets.ERROR_CODES,
    )


def _dead_letter(rule: Rule, target: Mapping[str, Any], queue_arn: str, event: Event, code: str, message: str) -> Delivery:
    """Make the message for what cannot even be tried."""
    queue = target_calls.parse_arn(queue_arn)
    assert queue is not None
    values = {"RULE_ARN": names.rule_arn(rule.key), "TARGET_ARN": target["Arn"], "ERROR_CODE": code, "ERROR_MESSAGE": message}
    attributes = {name: _string(value) for name, value in {**values, "RETRY_ATTEMPTS": "0"}.items()}
    bus = rule.key.bus
    return Delivery(
        origin=Origin(account=bus.account, region=Region(queue.region), principal=PRINCIPAL, source_arn=names.rule_arn(rule.key)),
        service="sqs",
        operation="SendMessage",
        params={"QueueUrl": target_calls.queue_url(queue), "MessageBody": event.text, "MessageAttributes": attributes},
        maximum_attempts=limits.RETRY_ATTEMPTS + 1,
        maximum_age_s=limits.EVENT_AGE_S,
    )


def _string(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}

"""Rules: which events are for whom, and what happens by the clock."""

from typing import Any

import orjson

from lambdad.kit.clock import NowMs
from lambdad.machines import event_patterns, schedules
from lambdad.services.events import errors, registry
from lambdad.services.events.registry import Registry, Rule
from lambdad.services.events.rules import events, limits, names
from lambdad.services.events.rules.names import RuleKey
from lambdad.services.ports import CallContext, Handler
from lambdad.services.timetable import Timetable

_MEMBERS = ("EventPattern", "ScheduleExpression", "Description", "RoleArn")


class EventRules:
    """The operations on rules."""

    def __init__(self, rules: Registry, timetable: Timetable, now_ms: NowMs) -> None:
        self._registry = rules
        self._timetable = timetable
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        """Return the operations by AWS's names."""
        return {
            "PutRule": self.put_rule,
            "DescribeRule": self.describe_rule,
            "DeleteRule": self.delete_rule,
            "EnableRule": self.enable_rule,
            "DisableRule": self.disable_rule,
            "ListRules": self.list_rules,
            "TestEventPattern": self.test_event_pattern,
        }

    async def put_rule(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Make a rule, or replace one; its targets and tags stay.

        Raises:
            BusMissing, InvalidPattern, InvalidValue, LimitExceeded.
        """
        key = RuleKey(names.bus_key(ctx.account, ctx.region, request.get("EventBusName")), request["Name"])
        if not request.get("EventPattern") and not request.get("ScheduleExpression"):
            raise errors.InvalidValue("Parameter(s) EventPattern or ScheduleExpression must be specified.")
        if request.get("ScheduleExpression") and key.bus.name != names.DEFAULT:
            raise errors.InvalidValue("ScheduleExpression is supported only on the default event bus.")
        tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}
        if len(tags) > limits.TAGS:
            raise errors.LimitExceeded
        definition = {name: request[name] for name in _MEMBERS if request.get(name)}
        definition["State"] = request.get("State", "ENABLED")
        registry.compiled(key, definition, 0)

        async def put() -> None:
            known = self._registry.bus(key.bus).rules.get(key.name)
            if known is None and len(self._registry.bus(key.bus).rules) >= limits.RULES:
                raise errors.LimitExceeded
            kept = {"Targets": {}, "Tags": tags} if known is None else {name: known.definition[name] for name in ("Targets", "Tags")}
            anchor_ms = self._anchor_ms(known, definition)
            await self._put(registry.compiled(key, {**definition, **kept}, anchor_ms))

        await self._registry.change(put)
        return {"RuleArn": names.rule_arn(key)}

    async def describe_rule(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show a rule.

        Raises:
            BusMissing, RuleMissing.
        """
        rule = self._registry.rule(self._key(ctx, request))
        return {**_to_api(rule), "CreatedBy": str(rule.key.bus.account)}

    async def delete_rule(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a rule; one that is not there is no error.

        Raises:
            BusMissing.
            InvalidValue: it has targets.
        """
        key = self._key(ctx, request)

        async def delete() -> None:
            rule = self._registry.bus(key.bus).rules.get(key.name)
            if rule is None:
                return
            if rule.targets:
                raise errors.InvalidValue("Rule can't be deleted since it has targets.")
            await self._registry.delete_rule(key)

        await self._registry.change(delete)
        return {}

    async def enable_rule(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Let a rule's targets be started.

        Raises:
            BusMissing, RuleMissing.
        """
        return await self._set_state(ctx, request, "ENABLED")

    async def disable_rule(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Keep a rule's targets from being started.

        Raises:
            BusMissing, RuleMissing.
        """
        return await self._set_state(ctx, request, "DISABLED")

    async def list_rules(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show the rules of a bus in order of names.

        Raises:
            BusMissing.
            InvalidValue: the token is none of ours.
        """
        bus = self._registry.bus(names.bus_key(ctx.account, ctx.region, request.get("EventBusName")))
        after, prefix = names.parse_token(request.get("NextToken")), request.get("NamePrefix", "")
        found = sorted(name for name in bus.rules if name.startswith(prefix) and name > after)
        page = found[: request.get("Limit", limits.PAGE_ITEMS)]
        answer: dict[str, Any] = {"Rules": [_to_api(bus.rules[name]) for name in page]}
        if len(page) < len(found):
            answer["NextToken"] = names.token(page[-1])
        return answer

    async def test_event_pattern(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Say whether a pattern matches an event.

        Raises:
            InvalidPattern.
            InvalidValue: the event is no JSON, or lacks what an event has.
        """
        try:
            event = orjson.loads(request["Event"])
        except orjson.JSONDecodeError:
            raise errors.InvalidValue("Parameter Event is not valid.") from None
        if not events.is_complete(event):
            raise errors.InvalidValue("Parameter Event is not valid.")
        try:
            return {"Result": event_patterns.compile(request["EventPattern"]).matches(event)}
        except event_patterns.InvalidPattern as error:
            raise errors.InvalidPattern(error.message) from None

    async def _set_state(self, ctx: CallContext, request: dict[str, Any], state: str) -> dict[str, Any]:
        key = self._key(ctx, request)

        async def change() -> None:
            known = self._registry.rule(key)
            if known.is_enabled and state == "ENABLED":
                return
            definition = {**known.definition, "State": state}
            await self._put(registry.compiled(key, definition, self._anchor_ms(known, definition)))

        await self._registry.change(change)
        return {}

    async def _put(self, rule: Rule) -> None:
        next_at_ms = None
        if rule.schedule is not None and rule.is_enabled:
            next_at_ms = schedules.next_after(rule.schedule, self._now_ms(), anchor_ms=rule.anchor_ms)
        await self._registry.put_rule(rule, next_at_ms)
        self._timetable.wake()

    def _anchor_ms(self, known: Rule | None, definition: dict[str, Any]) -> int:
        """Say from when a rate counts: since the rule was made, enabled, or given another schedule."""
        is_as_before = (
            known is not None and known.is_enabled and known.definition.get("ScheduleExpression") == definition.get("ScheduleExpression")
        )
        return known.anchor_ms if known is not None and is_as_before else self._now_ms()

    def _key(self, ctx: CallContext, request: dict[str, Any]) -> RuleKey:
        return RuleKey(names.bus_key(ctx.account, ctx.region, request.get("EventBusName")), request["Name"])


def _to_api(rule: Rule) -> dict[str, Any]:
    shown = {name: rule.definition[name] for name in (*_MEMBERS, "State") if name in rule.definition}
    return {"Name": rule.key.name, "Arn": names.rule_arn(rule.key), "EventBusName": rule.key.bus.name, **shown}

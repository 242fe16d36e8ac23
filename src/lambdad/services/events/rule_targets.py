"""Targets of rules: what is started when a rule matches."""

from typing import Any

from lambdad.services.events import errors
from lambdad.services.events.registry import Registry, Rule
from lambdad.services.events.rules import limits, names, targets
from lambdad.services.events.rules.names import RuleKey
from lambdad.services.ports import CallContext, Handler


class RuleTargets:
    """The operations on targets."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def handlers(self) -> dict[str, Handler]:
        """Return the operations by AWS's names."""
        return {
            "PutTargets": self.put_targets,
            "RemoveTargets": self.remove_targets,
            "ListTargetsByRule": self.list_targets_by_rule,
            "ListRuleNamesByTarget": self.list_rule_names_by_target,
        }

    async def put_targets(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Add targets to a rule, or replace those of the same ids.

        Raises:
            BusMissing, RuleMissing, LimitExceeded.
            InvalidValue: one of them cannot be a target; none is put.
        """
        key = self._key(ctx, request)

        async def put() -> None:
            rule = self._registry.rule(key)
            for target in request["Targets"]:
                targets.check(target)
            together = {**rule.targets, **{target["Id"]: target for target in request["Targets"]}}
            if len(together) > limits.TARGETS:
                raise errors.LimitExceeded
            await self._registry.put_definition(rule, {"Targets": together})

        await self._registry.change(put)
        return {"FailedEntryCount": 0, "FailedEntries": []}

    async def remove_targets(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove targets from a rule; those that it does not have are failures of their own.

        Raises:
            BusMissing, RuleMissing.
        """
        key = self._key(ctx, request)

        async def remove() -> list[str]:
            rule = self._registry.rule(key)
            missing = [name for name in request["Ids"] if name not in rule.targets]
            kept = {name: target for name, target in rule.targets.items() if name not in request["Ids"]}
            if len(kept) < len(rule.targets):
                await self._registry.put_definition(rule, {"Targets": kept})
            return missing

        missing = await self._registry.change(remove)
        failed = [
            {
                "TargetId": name,
                "ErrorCode": "ResourceNotFoundException",
                "ErrorMessage": f"Rule '{key.name}' does not have a target with the Id '{name}'.",
            }
            for name in missing
        ]
        return {"FailedEntryCount": len(failed), "FailedEntries": failed}

    async def list_targets_by_rule(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show a rule's targets in order of ids.

        Raises:
            BusMissing, RuleMissing.
            InvalidValue: the token is none of ours.
        """
        rule = self._registry.rule(self._key(ctx, request))
        after = names.parse_token(request.get("NextToken"))
        found = sorted(name for name in rule.targets if name > after)
        page = found[: request.get("Limit", limits.PAGE_ITEMS)]
        answer: dict[str, Any] = {"Targets": [rule.targets[name] for name in page]}
        if len(page) < len(found):
            answer["NextToken"] = names.token(page[-1])
        return answer

    async def list_rule_names_by_target(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Name the rules of a bus that have a target with an ARN, in order.

        Raises:
            BusMissing.
            InvalidValue: the token is none of ours.
        """
        bus = self._registry.bus(names.bus_key(ctx.account, ctx.region, request.get("EventBusName")))
        after = names.parse_token(request.get("NextToken"))
        found = sorted(name for name, rule in bus.rules.items() if name > after and _has(rule, request["TargetArn"]))
        page = found[: request.get("Limit", limits.PAGE_ITEMS)]
        answer: dict[str, Any] = {"RuleNames": page}
        if len(page) < len(found):
            answer["NextToken"] = names.token(page[-1])
        return answer

    def _key(self, ctx: CallContext, request: dict[str, Any]) -> RuleKey:
        return RuleKey(names.bus_key(ctx.account, ctx.region, request.get("EventBusName")), request["Rule"])


def _has(rule: Rule, target_arn: str) -> bool:
    return any(target["Arn"] == target_arn for target in rule.targets.values())

"""Tags of event buses and rules."""

from collections.abc import Callable
from typing import Any

from lambdad.kit.clock import NowMs
from lambdad.services.events import errors
from lambdad.services.events.registry import Registry
from lambdad.services.events.rules import limits, names
from lambdad.services.events.rules.names import BusKey, RuleKey
from lambdad.services.ports import CallContext, Handler


class Tags:
    """The operations on tags."""

    def __init__(self, registry: Registry, now_ms: NowMs) -> None:
        self._registry = registry
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        """Return the operations by AWS's names."""
        return {
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
            "ListTagsForResource": self.list_tags_for_resource,
        }

    async def tag_resource(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Set tags.

        Raises:
            BusMissing, RuleMissing, ArnMissing, LimitExceeded.
        """
        added = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        await self._change(request["ResourceARN"], lambda tags: {**tags, **added})
        return {}

    async def untag_resource(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove tags; those that are not there are no error.

        Raises:
            BusMissing, RuleMissing, ArnMissing.
        """
        removed = frozenset(request["TagKeys"])
        await self._change(request["ResourceARN"], lambda tags: {key: value for key, value in tags.items() if key not in removed})
        return {}

    async def list_tags_for_resource(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show tags.

        Raises:
            BusMissing, RuleMissing, ArnMissing.
        """
        tags = self._of(_key(request["ResourceARN"]))
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def _of(self, key: BusKey | RuleKey) -> dict[str, str]:
        if isinstance(key, RuleKey):
            return dict(self._registry.rule(key).definition["Tags"])
        return dict(self._registry.bus(key).settings.get("Tags", {}))

    async def _change(self, arn: str, decide: Callable[[dict[str, str]], dict[str, str]]) -> None:
        key = _key(arn)

        async def change() -> None:
            tags = decide(self._of(key))
            if len(tags) > limits.TAGS:
                raise errors.LimitExceeded
            if isinstance(key, RuleKey):
                await self._registry.put_definition(self._registry.rule(key), {"Tags": tags})
            else:
                await self._registry.put_bus(key, {**self._registry.bus(key).settings, "Tags": tags}, self._now_ms())

        await self._registry.change(change)


def _key(arn: str) -> BusKey | RuleKey:
    key = names.with_tags(arn)
    if key is None:
        raise errors.ArnMissing(arn)
    return key

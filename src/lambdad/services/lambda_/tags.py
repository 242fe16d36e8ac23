"""Tags of functions and event source mappings."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from lambdad.model import limits
from lambdad.model.function import Function
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.registry import Change, Registry
from lambdad.services.lambda_.rules import lifecycle, names, revisions
from lambdad.services.ports import CallContext, Handler

Output = dict[str, Any]

TagMap = Mapping[str, str]

_OTHERS = {"event-source-mapping": "Event source mapping", "capacity-provider": "Capacity provider"}
_OTHER = re.compile(rf"arn:[^:]*:lambda:[^:]*:\d{{12}}:({'|'.join(_OTHERS)}):.+")


class Tagged(Protocol):
    """Resources other than functions, whose tags they keep themselves. Both raise ResourceNotFound."""

    def tags_of(self, context: CallContext, resource: str) -> TagMap: ...

    async def change_tags(self, context: CallContext, resource: str, decide: Callable[[TagMap], TagMap]) -> None: ...


class Tags:
    """The operations on tags. Capacity providers have ARNs of their own, and do not exist here.

    Args:
        mappings: the event source mappings; None where there are none.
    """

    def __init__(self, registry: Registry, world: World, mappings: Tagged | None = None) -> None:
        self._registry = registry
        self._world = world
        self._mappings = mappings

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
            "ListTags": self.list_tags,
        }

    async def tag_resource(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Add tags to a resource, or change their values."""
        resource, added = request["Resource"], request["Tags"]
        if not added:
            raise errors.InvalidParameterValue("An error occurred and the request cannot be processed.")
        if (mappings := self._mappings_for(resource)) is not None:
            await mappings.change_tags(context, resource, lambda tags: _added(tags, added))
            return {}
        name = _named(context, resource)

        def decide(old: Function | None) -> Change[Output]:
            function = _existing(name, old)
            lifecycle.require_no_update(function)
            tags = _added(function.tags, added)
            return Change(revisions.touched(replace(function, tags=tags), None, self._world.new_uuid()), {})

        return await self._registry.change(name.key, decide)

    async def untag_resource(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Take tags from a resource; keys that it does not have are passed over."""
        resource, gone = request["Resource"], frozenset(request["TagKeys"])
        if (mappings := self._mappings_for(resource)) is not None:
            await mappings.change_tags(context, resource, lambda tags: _without(tags, gone))
            return {}
        name = _named(context, resource)

        def decide(old: Function | None) -> Change[Output]:
            function = _existing(name, old)
            tags = _without(function.tags, gone)
            return Change(revisions.touched(replace(function, tags=tags), None, self._world.new_uuid()), {})

        return await self._registry.change(name.key, decide)

    async def list_tags(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show a resource's tags."""
        if (mappings := self._mappings_for(request["Resource"])) is not None:
            return {"Tags": dict(mappings.tags_of(context, request["Resource"]))}
        name = _named(context, request["Resource"])
        return {"Tags": dict(_existing(name, self._registry.find(name.key)).tags)}

    def _mappings_for(self, resource: str) -> Tagged | None:
        other = _OTHER.fullmatch(resource)
        return self._mappings if other is not None and other[1] == "event-source-mapping" else None


def _added(tags: TagMap, added: TagMap) -> TagMap:
    together = {**tags, **added}
    if len(together) > limits.TAGS_PER_RESOURCE:
        raise errors.InvalidParameterValue("Number of tags exceeds resource tag limit.")
    return together


def _without(tags: TagMap, gone: frozenset[str]) -> TagMap:
    return {key: value for key, value in tags.items() if key not in gone}


def _named(context: CallContext, resource: str) -> names.Named:
    other = _OTHER.fullmatch(resource)
    if other is not None:
        raise errors.ResourceNotFound(f"{_OTHERS[other[1]]} not found: {resource}")
    name = names.named(context.account, context.region, resource)
    if name.qualifier is not None:
        raise errors.InvalidParameterValue("Tags on function aliases and versions are not supported. Please specify a function ARN.")
    return name


def _existing(name: names.Named, function: Function | None) -> Function:
    if function is None:
        raise errors.function_not_found(name.arn)
    return function

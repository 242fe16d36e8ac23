"""Tags of functions."""

import re
from dataclasses import replace
from typing import Any

from lambdad.model import limits
from lambdad.model.function import Function
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.registry import Change, Registry
from lambdad.services.lambda_.rules import lifecycle, names, revisions
from lambdad.services.ports import CallContext, Handler

Output = dict[str, Any]

_OTHERS = {"event-source-mapping": "Event source mapping", "capacity-provider": "Capacity provider"}
_OTHER = re.compile(rf"arn:[^:]*:lambda:[^:]*:\d{{12}}:({'|'.join(_OTHERS)}):.+")


class Tags:
    """The operations on tags. Event source mappings and capacity providers have ARNs of their own, and do not exist here."""

    def __init__(self, registry: Registry, world: World) -> None:
        self._registry = registry
        self._world = world

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
            "ListTags": self.list_tags,
        }

    async def tag_resource(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Add tags to a function, or change their values."""
        name = _named(context, request["Resource"])
        if not request["Tags"]:
            raise errors.InvalidParameterValue("An error occurred and the request cannot be processed.")

        def decide(old: Function | None) -> Change[Output]:
            function = _existing(name, old)
            lifecycle.require_no_update(function)
            tags = {**function.tags, **request["Tags"]}
            if len(tags) > limits.TAGS_PER_RESOURCE:
                raise errors.InvalidParameterValue("Number of tags exceeds resource tag limit.")
            return Change(revisions.touched(replace(function, tags=tags), None, self._world.new_uuid()), {})

        return await self._registry.change(name.key, decide)

    async def untag_resource(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Take tags from a function; keys that it does not have are passed over."""
        name = _named(context, request["Resource"])
        gone = frozenset(request["TagKeys"])

        def decide(old: Function | None) -> Change[Output]:
            function = _existing(name, old)
            tags = {key: value for key, value in function.tags.items() if key not in gone}
            return Change(revisions.touched(replace(function, tags=tags), None, self._world.new_uuid()), {})

        return await self._registry.change(name.key, decide)

    async def list_tags(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show a function's tags."""
        name = _named(context, request["Resource"])
        return {"Tags": dict(_existing(name, self._registry.find(name.key)).tags)}


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

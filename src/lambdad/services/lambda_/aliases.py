"""Aliases: create, read, list, update, delete."""

from dataclasses import replace
from typing import Any

from lambdad.model import arn
from lambdad.model.function import Function
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.registry import Change, Registry
from lambdad.services.lambda_.rules import aliases, event_invoke, names, paging, presentation, provisioned, revisions
from lambdad.services.ports import CallContext, Handler

Output = dict[str, Any]


class Aliases:
    """The operations on aliases; none of them changes the function's or a version's RevisionId."""

    def __init__(self, registry: Registry, world: World) -> None:
        self._registry = registry
        self._world = world

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "CreateAlias": self.create_alias,
            "GetAlias": self.get_alias,
            "ListAliases": self.list_aliases,
            "UpdateAlias": self.update_alias,
            "DeleteAlias": self.delete_alias,
        }

    async def create_alias(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Give a version a name."""
        name = names.named(context.account, context.region, request["FunctionName"])

        def decide(old: Function | None) -> Change[Output]:
            function = _existing(name, old)
            alias = aliases.create(function, request, self._world.new_uuid())
            changed = replace(function, aliases=dict(sorted({**function.aliases, alias.name: alias}.items())))
            return Change(changed, presentation.alias(alias))

        return await self._registry.change(name.key, decide)

    async def get_alias(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show an alias."""
        name = names.named(context.account, context.region, request["FunctionName"])
        alias = _existing(name, self._registry.find(name.key)).aliases.get(request["Name"])
        if alias is None:
            raise errors.ResourceNotFound(f"Cannot find alias arn: {arn.function(*name.key, request['Name'])}")
        return presentation.alias(alias)

    async def list_aliases(self, context: CallContext, request: dict[str, Any]) -> Output:
        """List a function's aliases, or those that point at one version, by name."""
        name = names.named(context.account, context.region, request["FunctionName"])
        function = _existing(name, self._registry.find(name.key))
        version = request.get("FunctionVersion")
        listed = aliases.pointing_at(function, version) if version else list(function.aliases.values())
        shown, next_marker = paging.page(listed, lambda alias: alias.name, request.get("Marker"), request.get("MaxItems"))
        output: Output = {"Aliases": [presentation.alias(alias) for alias in shown]}
        if next_marker is not None:
            output["NextMarker"] = next_marker
        return output

    async def update_alias(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Point an alias elsewhere, or change its weights or description."""
        name = names.named(context.account, context.region, request["FunctionName"])

        def decide(old: Function | None) -> Change[Output]:
            function = _existing(name, old)
            alias = function.aliases.get(request["Name"])
            if alias is None:
                raise errors.ResourceNotFound(f"Alias not found: {arn.function(*name.key, request['Name'])}")
            revisions.require(request.get("RevisionId"), alias.revision_id)
            changed = aliases.update(function, alias, request, self._world.new_uuid())
            if changed.name in function.provisioned:
                provisioned.check_alias(function, changed)
            return Change(replace(function, aliases={**function.aliases, changed.name: changed}), presentation.alias(changed))

        return await self._registry.change(name.key, decide)

    async def delete_alias(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Take a name away, with its policy; nothing happens where there is none of that name."""
        name = names.named(context.account, context.region, request["FunctionName"])

        def decide(old: Function | None) -> Change[Output]:
            function = _existing(name, old)
            gone = request["Name"]
            if gone not in function.aliases:
                return Change(function, {})
            remaining = replace(
                function,
                aliases={key: alias for key, alias in function.aliases.items() if key != gone},
                policies={key: policy for key, policy in function.policies.items() if key != gone},
                provisioned=provisioned.without(function, gone),
                event_invoke_configs=event_invoke.without(function, gone),
            )
            return Change(remaining, {})

        return await self._registry.change(name.key, decide)


def _existing(name: names.Named, function: Function | None) -> Function:
    if function is None:
        raise errors.function_not_found(name.arn)
    return function

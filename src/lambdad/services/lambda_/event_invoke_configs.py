"""Configurations of asynchronous invocation, one for each function, version or alias.

A configuration is a part of its `Function`; it is not copied when a version is published.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lambdad.model import arn
from lambdad.model.arn import FunctionReference
from lambdad.model.function import LATEST, EventInvokeConfig, Function
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.registry import Change, Registry
from lambdad.services.lambda_.rules import destinations, event_invoke, names, paging
from lambdad.services.lambda_.rules.names import Named
from lambdad.services.ports import CallContext, Handler

Output = dict[str, Any]

_NO_FUNCTION = "The function doesn't exist."


class EventInvokeConfigs:
    """The operations on configurations of asynchronous invocation."""

    def __init__(self, registry: Registry, world: World) -> None:
        self._registry = registry
        self._world = world

    def handlers(self) -> Mapping[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "PutFunctionEventInvokeConfig": self.put_function_event_invoke_config,
            "UpdateFunctionEventInvokeConfig": self.update_function_event_invoke_config,
            "GetFunctionEventInvokeConfig": self.get_function_event_invoke_config,
            "DeleteFunctionEventInvokeConfig": self.delete_function_event_invoke_config,
            "ListFunctionEventInvokeConfigs": self.list_function_event_invoke_configs,
        }

    async def put_function_event_invoke_config(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Set a configuration; what the request does not give has AWS's default."""
        name = _named(context, request)
        event_invoke.require_settings(request)
        self._check_destinations(name, request)

        def decide(function: Function | None) -> Change[Output]:
            return _changed(_existing(function, name), name, event_invoke.put(request, self._world.now_ms()))

        return await self._registry.change(name.key, decide)

    async def update_function_event_invoke_config(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Change what the request gives of a configuration."""
        name = _named(context, request)
        event_invoke.require_settings(request)
        self._check_destinations(name, request)

        def decide(function: Function | None) -> Change[Output]:
            function, config = _configured(function, name)
            return _changed(function, name, event_invoke.update(config, request, self._world.now_ms()))

        return await self._registry.change(name.key, decide)

    async def get_function_event_invoke_config(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show a configuration."""
        name = _named(context, request)
        function, config = _configured(self._registry.find(name.key), name)
        return event_invoke.shown(function, _qualifier(name), config)

    async def delete_function_event_invoke_config(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Remove a configuration; AWS's defaults apply from then on."""
        name = _named(context, request)

        def decide(function: Function | None) -> Change[Output]:
            function, _ = _configured(function, name)
            return Change(replace(function, event_invoke_configs=event_invoke.without(function, _qualifier(name))), {})

        return await self._registry.change(name.key, decide)

    async def list_function_event_invoke_configs(self, context: CallContext, request: dict[str, Any]) -> Output:
        """List a function's configurations, by qualifier."""
        name = names.named(context.account, context.region, request["FunctionName"])
        function = self._registry.find(name.key)
        if function is None:
            raise errors.ResourceNotFound(_NO_FUNCTION)
        qualifiers = sorted(function.event_invoke_configs)
        page, next_marker = paging.page(qualifiers, lambda qualifier: qualifier, request.get("Marker"), request.get("MaxItems"))
        output: Output = {
            "FunctionEventInvokeConfigs": [
                event_invoke.shown(function, qualifier, function.event_invoke_configs[qualifier]) for qualifier in page
            ]
        }
        if next_marker is not None:
            output["NextMarker"] = next_marker
        return output

    def _check_destinations(self, name: Named, request: dict[str, Any]) -> None:
        if not event_invoke.exists(self._registry.find(name.key), name.qualifier):
            raise errors.ResourceNotFound(_NO_FUNCTION)

        def exists(reference: FunctionReference) -> bool:
            function = self._registry.get(reference.account or "", reference.region or "", reference.name)
            return event_invoke.exists(function, reference.qualifier)

        destinations.check(request.get("DestinationConfig") or {}, name.key, exists)


def _named(context: CallContext, request: Mapping[str, Any]) -> Named:
    return names.named(context.account, context.region, request["FunctionName"], request.get("Qualifier"))


def _qualifier(name: Named) -> str:
    return name.qualifier or LATEST


def _existing(function: Function | None, name: Named) -> Function:
    if function is None or not event_invoke.exists(function, name.qualifier):
        raise errors.ResourceNotFound(_NO_FUNCTION)
    return function


def _configured(function: Function | None, name: Named) -> tuple[Function, EventInvokeConfig]:
    qualifier = _qualifier(name)
    config = function.event_invoke_configs.get(qualifier) if function is not None else None
    if function is None or config is None:
        qualified_arn = arn.function(*name.key, qualifier)
        raise errors.ResourceNotFound(f"The function {qualified_arn} doesn't have an EventInvokeConfig")
    return function, config


def _changed(function: Function, name: Named, config: EventInvokeConfig) -> Change[Output]:
    configs = dict(sorted({**function.event_invoke_configs, _qualifier(name): config}.items()))
    return Change(replace(function, event_invoke_configs=configs), event_invoke.shown(function, _qualifier(name), config))

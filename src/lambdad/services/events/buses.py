"""Event buses, and who may put events on them."""

from datetime import UTC, datetime
from typing import Any, Final

from lambdad.kit.clock import NowMs
from lambdad.services.events import errors
from lambdad.services.events.registry import Bus, Registry
from lambdad.services.events.rules import limits, names, permissions
from lambdad.services.events.rules.names import BusKey
from lambdad.services.ports import CallContext, Handler

_SETTINGS: Final[tuple[str, ...]] = ("Description", "KmsKeyIdentifier", "DeadLetterConfig", "LogConfig")


class Buses:
    """The operations on event buses."""

    def __init__(self, registry: Registry, now_ms: NowMs) -> None:
        self._registry = registry
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        """Return the operations by AWS's names."""
        return {
            "CreateEventBus": self.create_event_bus,
            "UpdateEventBus": self.update_event_bus,
            "DescribeEventBus": self.describe_event_bus,
            "DeleteEventBus": self.delete_event_bus,
            "ListEventBuses": self.list_event_buses,
            "PutPermission": self.put_permission,
            "RemovePermission": self.remove_permission,
        }

    async def create_event_bus(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Make a bus.

        Raises:
            BusExists, InvalidValue, LimitExceeded.
        """
        key = BusKey(ctx.account, ctx.region, request["Name"])
        if "EventSourceName" in request:
            raise errors.InvalidValue("Parameter EventSourceName is not valid. Reason: there are no partner event sources.")
        _check_settings(request)
        if len(request.get("Tags", [])) > limits.TAGS:
            raise errors.LimitExceeded

        async def create() -> None:
            if self._registry.find(key) is not None:
                raise errors.BusExists(key.name)
            if "/" in key.name:
                raise errors.InvalidValue("Event bus name must not contain '/'.")
            if len(self._registry.buses(ctx.account, ctx.region)) >= limits.BUSES:
                raise errors.LimitExceeded
            settings = {name: request[name] for name in _SETTINGS if name in request}
            settings["Tags"] = {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}
            await self._registry.put_bus(key, settings, self._now_ms())

        await self._registry.change(create)
        return {"EventBusArn": names.bus_arn(key), **{name: request[name] for name in _SETTINGS if name in request}}

    async def update_event_bus(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Change a bus's settings; what is not given stays.

        Raises:
            BusMissing, InvalidValue.
        """
        key = names.bus_key(ctx.account, ctx.region, request.get("Name"))
        _check_settings(request)

        async def update() -> dict[str, Any]:
            settings = {**self._registry.bus(key).settings, **{name: request[name] for name in _SETTINGS if name in request}}
            await self._registry.put_bus(key, settings, self._now_ms())
            return settings

        settings = await self._registry.change(update)
        shown = {name: settings[name] for name in _SETTINGS if name in settings}
        return {"Arn": names.bus_arn(key), "Name": key.name, **shown}

    async def describe_event_bus(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show a bus.

        Raises:
            BusMissing.
        """
        bus = self._registry.bus(names.bus_key(ctx.account, ctx.region, request.get("Name")))
        settings = {name: bus.settings[name] for name in _SETTINGS if name in bus.settings}
        return {**_to_api(bus), **settings}

    async def delete_event_bus(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a bus; one that is not there is no error.

        Raises:
            InvalidValue: it is the default bus, or has rules.
        """
        key = BusKey(ctx.account, ctx.region, request["Name"])
        if key.name == names.DEFAULT:
            raise errors.InvalidValue("Cannot delete event bus default.")

        async def delete() -> None:
            bus = self._registry.find(key)
            if bus is None:
                return
            if bus.rules:
                raise errors.InvalidValue("Event bus can't be deleted since it has rules.")
            for archive in list(bus.archives.values()):
                await self._registry.delete_archive(archive)
            await self._registry.delete_bus(key)

        await self._registry.change(delete)
        return {}

    async def list_event_buses(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show buses in order of names.

        Raises:
            InvalidValue: the token is none of ours.
        """
        after, prefix = names.parse_token(request.get("NextToken")), request.get("NamePrefix", "")
        buses = [bus for bus in self._registry.buses(ctx.account, ctx.region) if bus.key.name.startswith(prefix) and bus.key.name > after]
        page = buses[: request.get("Limit", limits.PAGE_ITEMS)]
        answer: dict[str, Any] = {"EventBuses": [_to_api(bus) for bus in page]}
        if len(page) < len(buses):
            answer["NextToken"] = names.token(page[-1].key.name)
        return answer

    async def put_permission(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Add a statement to a bus's policy, or replace the policy.

        Raises:
            BusMissing, InvalidValue, PolicyTooLong.
        """
        key = names.bus_key(ctx.account, ctx.region, request.get("EventBusName"))

        async def put() -> None:
            settings = self._registry.bus(key).settings
            policy = permissions.put(settings.get("Policy"), key, request)
            await self._registry.put_bus(key, {**settings, "Policy": policy}, self._now_ms())

        await self._registry.change(put)
        return {}

    async def remove_permission(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a statement from a bus's policy, or all of them.

        Raises:
            BusMissing, InvalidValue, StatementMissing.
        """
        key = names.bus_key(ctx.account, ctx.region, request.get("EventBusName"))

        async def remove() -> None:
            settings = dict(self._registry.bus(key).settings)
            policy = permissions.remove(settings.pop("Policy", None), request)
            if policy is not None:
                settings["Policy"] = policy
            await self._registry.put_bus(key, settings, self._now_ms())

        await self._registry.change(remove)
        return {}


def _check_settings(request: dict[str, Any]) -> None:
    """Refuse what would be accepted and do nothing."""
    if "DeadLetterConfig" in request and request["DeadLetterConfig"].get("Arn"):
        raise errors.InvalidValue("Parameter DeadLetterConfig is not valid. Reason: lambdad has dead-letter queues of targets only.")
    if request.get("LogConfig", {}).get("Level", "OFF") != "OFF":
        raise errors.InvalidValue("Parameter LogConfig is not valid. Reason: lambdad does not write logs of event buses.")
    if request.get("KmsKeyIdentifier"):
        raise errors.InvalidValue("Parameter KmsKeyIdentifier is not valid. Reason: lambdad does not encrypt events.")


def _to_api(bus: Bus) -> dict[str, Any]:
    shown: dict[str, Any] = {"Name": bus.key.name, "Arn": names.bus_arn(bus.key)}
    if "Description" in bus.settings:
        shown["Description"] = bus.settings["Description"]
    if "Policy" in bus.settings:
        shown["Policy"] = bus.settings["Policy"]
    if bus.created_at_ms:
        shown["CreationTime"] = datetime.fromtimestamp(bus.created_at_ms / 1000, UTC)
        shown["LastModifiedTime"] = datetime.fromtimestamp(bus.modified_at_ms / 1000, UTC)
    return shown

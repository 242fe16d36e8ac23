"""Configurations of asynchronous invocation: what requests make of them, and what applies to an event.

Source: Lambda API Reference, PutFunctionEventInvokeConfig and its siblings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from lambdad.machines import retry
from lambdad.model import arn
from lambdad.model.function import LATEST, EventInvokeConfig, Function
from lambdad.services.lambda_ import errors

_BARE = EventInvokeConfig(last_modified_ms=0)
_SETTINGS = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What applies to an event: its configuration with AWS's defaults, and the function's dead-letter target."""

    maximum_retry_attempts: int = retry.DEFAULT_MAXIMUM_RETRY_ATTEMPTS
    maximum_event_age_ms: int = retry.DEFAULT_MAXIMUM_EVENT_AGE_MS
    on_success: str = ""
    on_failure: str = ""
    dead_letter_target: str = ""


def require_settings(parameters: Mapping[str, Any]) -> None:
    """
    Refuse a request that sets nothing.

    Raises:
        InvalidParameterValue
    """
    if all(parameters.get(name) is None for name in _SETTINGS):
        raise errors.InvalidParameterValue("You must specify at least one of error handling or destination setting.")


def put(parameters: Mapping[str, Any], now_ms: int) -> EventInvokeConfig:
    """Make a configuration of a request alone."""
    return update(EventInvokeConfig(last_modified_ms=now_ms), parameters, now_ms)


def update(config: EventInvokeConfig, parameters: Mapping[str, Any], now_ms: int) -> EventInvokeConfig:
    """Apply what a request gives, and keep the rest; a DestinationConfig replaces both destinations."""
    changes: dict[str, Any] = {"last_modified_ms": now_ms}
    if parameters.get("MaximumRetryAttempts") is not None:
        changes["maximum_retry_attempts"] = parameters["MaximumRetryAttempts"]
    if parameters.get("MaximumEventAgeInSeconds") is not None:
        changes["maximum_event_age_s"] = parameters["MaximumEventAgeInSeconds"]
    destinations = parameters.get("DestinationConfig")
    if destinations is not None:
        changes["on_success"] = (destinations.get("OnSuccess") or {}).get("Destination") or ""
        changes["on_failure"] = (destinations.get("OnFailure") or {}).get("Destination") or ""
    return replace(config, **changes)


def shown(function: Function, qualifier: str, config: EventInvokeConfig) -> dict[str, Any]:
    """Show a configuration; its ARN is always qualified, and both destinations are always there."""
    output: dict[str, Any] = {
        "LastModified": datetime.fromtimestamp(config.last_modified_ms / 1000, tz=UTC),
        "FunctionArn": arn.function(*function.key, qualifier),
        "DestinationConfig": {
            "OnSuccess": {"Destination": config.on_success} if config.on_success else {},
            "OnFailure": {"Destination": config.on_failure} if config.on_failure else {},
        },
    }
    if config.maximum_retry_attempts is not None:
        output["MaximumRetryAttempts"] = config.maximum_retry_attempts
    if config.maximum_event_age_s is not None:
        output["MaximumEventAgeInSeconds"] = config.maximum_event_age_s
    return output


def exists(function: Function | None, qualifier: str | None) -> bool:
    """Say whether there is a function, and the version or alias that a qualifier names."""
    if function is None:
        return False
    return qualifier is None or qualifier == LATEST or qualifier in function.versions or qualifier in function.aliases


def without(function: Function, qualifier: str) -> dict[str, EventInvokeConfig]:
    """Give a function's configurations but for one."""
    return {name: each for name, each in function.event_invoke_configs.items() if name != qualifier}


def settings(function: Function, qualifier: str | None) -> Settings:
    """
    Say what applies to events that were sent to a function, version or alias.

    Args:
        qualifier: as the event's sender gave it; None means ``$LATEST``.
    """
    name = qualifier or LATEST
    alias = function.aliases.get(name)
    version = function.version(alias.function_version if alias is not None else name)
    found = function.event_invoke_configs.get(name, _BARE)
    retries, age_s = found.maximum_retry_attempts, found.maximum_event_age_s
    return Settings(
        maximum_retry_attempts=retry.DEFAULT_MAXIMUM_RETRY_ATTEMPTS if retries is None else retries,
        maximum_event_age_ms=retry.DEFAULT_MAXIMUM_EVENT_AGE_MS if age_s is None else age_s * 1000,
        on_success=found.on_success,
        on_failure=found.on_failure,
        dead_letter_target=version.dead_letter_target if version is not None else "",
    )

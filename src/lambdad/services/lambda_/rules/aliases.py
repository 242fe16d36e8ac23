"""Aliases: what they may point at.

Source: Lambda API Reference, CreateAlias and UpdateAlias.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lambdad.model import arn, limits
from lambdad.model.function import LATEST, Alias, Function
from lambdad.services.lambda_ import errors


def create(function: Function, parameters: Mapping[str, Any], revision_id: str) -> Alias:
    """
    Make a new alias.

    Raises:
        ResourceConflict: there is one of this name.
        ResourceNotFound, InvalidParameterValue: it may not point there.
    """
    name = parameters["Name"]
    alias_arn = arn.function(*function.key, name)
    if name in function.aliases:
        raise errors.ResourceConflict(f"Alias already exists: {alias_arn}")
    alias = Alias(
        name=name,
        arn=alias_arn,
        function_version=parameters["FunctionVersion"],
        additional=_weights(parameters) or (),
        description=parameters.get("Description") or "",
        revision_id=revision_id,
    )
    _check(function, alias)
    return alias


def update(function: Function, alias: Alias, parameters: Mapping[str, Any], revision_id: str) -> Alias:
    """
    Apply a partial update; even an empty one gives a new RevisionId.

    Raises:
        ResourceNotFound, InvalidParameterValue: it may not point there.
    """
    weights = _weights(parameters)
    changed = replace(
        alias,
        function_version=parameters.get("FunctionVersion") or alias.function_version,
        additional=alias.additional if weights is None else weights,
        description=alias.description if parameters.get("Description") is None else parameters["Description"],
        revision_id=revision_id,
    )
    _check(function, changed)
    return changed


def pointing_at(function: Function, version: str) -> list[Alias]:
    """Give the aliases that send invocations to a version."""
    return [
        alias
        for alias in function.aliases.values()
        if alias.function_version == version or any(number == version for number, _ in alias.additional)
    ]


def _weights(parameters: Mapping[str, Any]) -> tuple[tuple[str, float], ...] | None:
    """Read a RoutingConfig; None where it was left out, () where it asks for none."""
    if parameters.get("RoutingConfig") is None:
        return None
    weights = parameters["RoutingConfig"].get("AdditionalVersionWeights") or {}
    if len(weights) > limits.ADDITIONAL_VERSIONS_PER_ALIAS:
        raise errors.InvalidParameterValue("Number of items in AdditionalVersionWeights cannot be greater than 1")
    return tuple((version, float(weight)) for version, weight in weights.items())


def _check(function: Function, alias: Alias) -> None:
    if alias.additional and alias.function_version == LATEST:
        raise errors.InvalidParameterValue("$LATEST is not supported for an alias pointing to more than 1 version", typed=False)
    for version, _ in alias.additional:
        if version == alias.function_version:
            raise errors.InvalidParameterValue(
                f"Invalid function version {version}. Function version {version} is already included in routing configuration.",
                typed=False,
            )
    for version in (alias.function_version, *(number for number, _ in alias.additional)):
        if function.version(version) is None:
            raise errors.function_not_found(arn.function(*function.key, version))

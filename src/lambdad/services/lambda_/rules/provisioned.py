"""Provisioned concurrency: what may be provisioned, and for which versions.

A version has at most one configuration: its own, or that of one alias that sends invocations to it.

Source: Lambda developer guide, "Configuring provisioned concurrency"; Lambda API Reference, PutProvisionedConcurrencyConfig.
"""

from lambdad.model import arn
from lambdad.model.function import LATEST, Alias, Function, ProvisionedConcurrency, SnapStartApplyOn
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.rules import aliases, lifecycle

_UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
_ALREADY_PROVISIONED = "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"


def require_qualifier(qualifier: str | None) -> str:
    """
    Give the version or alias that a configuration is asked about.

    Raises:
        InvalidParameterValue: it is ``$LATEST``.
    """
    if qualifier is None or qualifier == LATEST:
        raise errors.InvalidParameterValue("The function resource provided must be an alias or a published version.")
    return qualifier


def require_target(function: Function | None, arn_: str, qualifier: str) -> Function:
    """
    Refuse a qualifier that nothing stands behind.

    Args:
        arn_: of the function, unqualified.

    Raises:
        ResourceNotFound: no such function, version or alias.
    """
    if function is None:
        raise errors.function_not_found(f"{arn_}:{qualifier}")
    if qualifier in function.versions or qualifier in function.aliases:
        return function
    if qualifier.isdigit():
        raise errors.function_not_found(f"{arn_}:{qualifier}")
    raise errors.ResourceNotFound(f"Cannot find alias arn: {arn_}:{qualifier}")


def check(function: Function, qualifier: str, wanted: int, *, claimed_by_others: int, account_limit: int, unreserved_min: int) -> None:
    """
    Refuse a configuration that cannot be.

    Args:
        qualifier: an existing version or alias.
        wanted: environments, >= 1.
        claimed_by_others: what the account's other functions keep from its unreserved pool.
        account_limit: concurrent executions of the account in the region.
        unreserved_min: what must stay unreserved.

    Raises:
        InvalidParameterValue: the version is unpublished or snapshotted, or there is not enough concurrency for it.
        ResourceConflict: the version is provisioned otherwise already, or is not Active.
    """
    alias = function.aliases.get(qualifier)
    if alias is not None:
        check_alias(function, alias)
    elif any(other.name in function.provisioned for other in aliases.pointing_at(function, qualifier)):
        raise errors.ResourceConflict("Version is pointed by a Provisioned Concurrency alias")
    for number in (qualifier,) if alias is None else _targets(alias):
        version = function.versions[number]
        lifecycle.require_invocable(version)
        if version.snap_start is SnapStartApplyOn.PUBLISHED_VERSIONS:
            raise errors.InvalidParameterValue("Provisioned Concurrency is not supported for functions that use SnapStart.")
    others = sum(each.requested for name, each in function.provisioned.items() if name != qualifier)
    if function.reserved_concurrency is not None:
        if others + wanted > function.reserved_concurrency:
            raise errors.InvalidParameterValue(
                "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function", typed=False
            )
        return
    unreserved = account_limit - claimed_by_others - others
    if wanted > unreserved:
        raise errors.InvalidParameterValue(
            f"Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{unreserved}].", typed=False
        )
    if unreserved - wanted < unreserved_min:
        raise errors.InvalidParameterValue(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value "
            f"of [{unreserved_min}].",
            typed=False,
        )


def check_alias(function: Function, alias: Alias) -> None:
    """
    Refuse to provision an alias, or to point a provisioned one, at versions that cannot be provisioned through it.

    Args:
        alias: as it is going to be; `function` may still hold it as it was.

    Raises:
        InvalidParameterValue: it points at ``$LATEST``.
        ResourceConflict: a version has provisioned concurrency itself, or by another alias.
    """
    for number in _targets(alias):
        if number == LATEST:
            raise errors.InvalidParameterValue(_UNPUBLISHED)
        pointing = aliases.pointing_at(function, number)
        if number in function.provisioned or any(other.name in function.provisioned for other in pointing if other.name != alias.name):
            raise errors.ResourceConflict(_ALREADY_PROVISIONED)


def require_published(qualifier: str | None) -> str:
    """
    Give the version or alias that is to be provisioned.

    Raises:
        InvalidParameterValue: it is ``$LATEST``.
    """
    if qualifier is None or qualifier == LATEST:
        raise errors.InvalidParameterValue(_UNPUBLISHED)
    return qualifier


def without(function: Function, qualifier: str) -> dict[str, ProvisionedConcurrency]:
    """Give a function's configurations but for one."""
    return {name: each for name, each in function.provisioned.items() if name != qualifier}


def shares(function: Function, qualifier: str) -> dict[str, int]:
    """
    Split a configuration by an alias's weights.

    Returns:
        How many environments each version gets, by its number; the sum is what was requested. A version that gets invocations at all
        gets an environment, as far as there are two.
    """
    requested = function.provisioned[qualifier].requested
    alias = function.aliases.get(qualifier)
    if alias is None:
        return {qualifier: requested}
    result: dict[str, int] = {}
    left = requested
    for number, weight in alias.additional:
        share = int(requested * weight + 0.5)
        if requested > 1:
            share = min(max(share, 1 if weight > 0 else 0), requested - 1 if weight < 1 else requested)
        result[number] = share
        left -= share
    result[alias.function_version] = left
    return {number: share for number, share in result.items() if share > 0}


def _targets(alias: Alias) -> tuple[str, ...]:
    return (alias.function_version, *(number for number, _ in alias.additional))


def listed_arn(function: Function, qualifier: str) -> str:
    """Give the qualified ARN that a list of configurations shows."""
    return arn.function(*function.key, qualifier)

"""Which function a caller means: the ``FunctionName`` and ``Qualifier`` parameters.

Source: Lambda API Reference, "FunctionName" of each operation.
"""

from dataclasses import dataclass

from lambdad.model import arn, limits
from lambdad.model.function import LATEST, Function, FunctionKey, FunctionVersion
from lambdad.model.ids import AccountId, Region
from lambdad.services.lambda_ import errors

WHOLE_FUNCTION_ONLY = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
    "Please specify either a function name or an unqualified function ARN."
)


@dataclass(frozen=True, slots=True)
class Named:
    """The function meant, which may not exist, and the qualifier as the caller gave it (None: none)."""

    key: FunctionKey
    qualifier: str | None

    @property
    def arn(self) -> str:
        """The ARN without the qualifier."""
        return arn.function(*self.key)

    @property
    def qualified_arn(self) -> str:
        """The ARN as the caller qualified it."""
        return arn.function(*self.key, self.qualifier)


def named(account: AccountId, region: Region, function_name: str, qualifier: str | None = None) -> Named:
    """
    Say which function and qualifier a caller means.

    Args:
        account: the caller's.
        region: of the endpoint that was called.
        function_name: the parameter, in any of its forms.
        qualifier: the ``Qualifier`` parameter; None or "" where it was left out.

    Raises:
        ResourceNotFound: the ARN is of another region.
        AccessDenied: the ARN is of another account.
        InvalidParameterValue: two different qualifiers were given.
    """
    reference = arn.parse_function(function_name)
    if reference is None:
        raise errors.function_not_found(arn.function(account, region, function_name))
    if reference.region is not None and reference.region != region:
        raise errors.ResourceNotFound(f"Functions from '{reference.region}' are not reachable in this region ('{region}')")
    if reference.account is not None and reference.account != account:
        raise errors.AccessDenied()
    if qualifier and reference.qualifier and qualifier != reference.qualifier:
        raise errors.InvalidParameterValue("The derived qualifier from the function name does not match the specified qualifier.")
    return Named(FunctionKey(account, region, reference.name), qualifier or reference.qualifier)


def named_by_service(account: AccountId, region: Region, function_name: str, qualifier: str | None = None) -> Named:
    """
    Say which function a service means that acts for itself: an ARN may be of another account or region, and its policy decides.

    Raises:
        What `named` raises, but for those.
    """
    reference = arn.parse_function(function_name)
    if reference is not None:
        account, region = reference.account or account, reference.region or region
    return named(account, region, function_name, qualifier)


def whole_function(account: AccountId, region: Region, function_name: str) -> Named:
    """
    Say which function a caller means, for an operation that takes no qualifier.

    Raises:
        InvalidParameterValue: there is one; and what `named` raises.
    """
    name = named(account, region, function_name)
    if name.qualifier is not None:
        raise errors.InvalidParameterValue(WHOLE_FUNCTION_ONLY, typed=False)
    return name


def latest_of(account: AccountId, region: Region, function_name: str) -> Named:
    """
    Say which function a caller means, for an operation that changes ``$LATEST``.

    Raises:
        InvalidParameterValue: a version or an alias was named; and what `named` raises.
    """
    name = named(account, region, function_name)
    if name.qualifier not in (None, LATEST):
        raise errors.InvalidParameterValue(WHOLE_FUNCTION_ONLY, typed=False)
    return name


def to_create(account: AccountId, region: Region, function_name: str) -> FunctionKey:
    """
    Say which function is to be created.

    Raises:
        InvalidParameterValue: the bare name is too long; and what `named` raises.
    """
    name = named(account, region, function_name)
    if len(name.key.name) > limits.FUNCTION_NAME_LENGTH:
        raise errors.InvalidParameterValue(
            f"1 validation error detected: Value '{name.key.name}' at 'functionName' failed to satisfy constraint: "
            f"Member must have length less than or equal to {limits.FUNCTION_NAME_LENGTH}"
        )
    return name.key


def version_of(name: Named, function: Function | None) -> FunctionVersion:
    """
    Find the version that a name means, as it is shown; an alias means its primary version.

    Raises:
        ResourceNotFound: no such function, version or alias.
    """
    if function is None:
        raise errors.function_not_found(name.qualified_arn)
    number = name.qualifier or LATEST
    if number in function.aliases:
        number = function.aliases[number].function_version
    version = function.version(number)
    if version is None:
        raise errors.function_not_found(name.qualified_arn)
    return version

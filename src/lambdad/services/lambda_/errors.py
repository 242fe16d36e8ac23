"""Errors of AWS Lambda's service model, with the texts that AWS sends.

    AwsError
    ├── InvalidParameterValue   400 InvalidParameterValueException
    ├── AccessDenied            403 AccessDeniedException (no ``Type``)
    ├── ResourceNotFound        404 ResourceNotFoundException
    ├── ResourceConflict        409 ResourceConflictException
    ├── ResourceInUse           400 ResourceInUseException
    ├── PreconditionFailed      412 PreconditionFailedException
    ├── CodeStorageExceeded     400 CodeStorageExceededException
    ├── SnapStartFailed         400 SnapStartException
    ├── SnapStartTimeout        408 SnapStartTimeoutException
    ├── PolicyLengthExceeded    400 PolicyLengthExceededException
    ├── NoProvisionedConcurrency 404 ProvisionedConcurrencyConfigNotFoundException
    └── TooLarge                413 RequestEntityTooLargeException (front end, no ``Type``)

Source: Lambda API Reference; the texts were recorded from the service.
"""

from lambdad.model import limits
from lambdad.model.errors import AwsError

_USER = {"Type": "User"}


class InvalidParameterValue(AwsError):
    """A parameter is well-formed and still cannot be accepted.

    Args:
        typed: whether the answer carries ``Type: User``; a few of AWS's texts come without it.
    """

    def __init__(self, message: str, *, typed: bool = True) -> None:
        super().__init__("InvalidParameterValueException", message, status=400, members=_USER if typed else None)


class AccessDenied(AwsError):
    """The caller may not do this; AWS sends a null message for another account's function."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__("AccessDeniedException", message, status=403)


class ResourceNotFound(AwsError):
    """What the caller named does not exist."""

    def __init__(self, message: str, *, typed: bool = True) -> None:
        super().__init__("ResourceNotFoundException", message, status=404, members=_USER if typed else None)


class ResourceConflict(AwsError):
    """It exists already, or is in a state that does not allow the operation."""

    def __init__(self, message: str) -> None:
        super().__init__("ResourceConflictException", message, status=409, members=_USER)


class ResourceInUse(AwsError):
    """A change of it is being carried out."""

    def __init__(self, message: str) -> None:
        super().__init__("ResourceInUseException", message, status=400, members=_USER)


class PreconditionFailed(AwsError):
    """The RevisionId given is not the latest one.

    Args:
        call: the call that AWS's text tells the caller to make: ``GetFunction/GetAlias``, ``GetPolicy``, ``GetLayerPolicy``.
    """

    def __init__(self, call: str = "GetFunction/GetAlias") -> None:
        super().__init__(
            "PreconditionFailedException",
            f"The Revision Id provided does not match the latest Revision Id. Call the {call} API to retrieve the latest Revision Id",
            status=412,
            members=_USER,
        )


class CodeStorageExceeded(AwsError):
    """The account's code storage in this region is used up."""

    def __init__(self) -> None:
        super().__init__("CodeStorageExceededException", "Code storage limit exceeded.", status=400, members=_USER)


class PolicyLengthExceeded(AwsError):
    """A resource policy would be longer than it may be.

    Args:
        size_bytes: what it would come to.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            "PolicyLengthExceededException",
            f"The final policy size ({size_bytes}) is bigger than the limit ({limits.POLICY_BYTES}).",
            status=400,
            members=_USER,
        )


class SnapStartFailed(AwsError):
    """A version with SnapStart could not be initialised, or one of its environments could not be restored."""

    def __init__(self) -> None:
        text = (
            "AWS Lambda could not invoke your SnapStart function. If this error persists, check your function's CloudWatch logs "
            "for initialization errors."
        )
        super().__init__("SnapStartException", text, status=400, members=_USER)


class SnapStartTimeout(AwsError):
    """An environment was not restored within ten seconds."""

    def __init__(self) -> None:
        text = "Lambda couldn't restore the snapshot within the timeout limit."
        super().__init__("SnapStartTimeoutException", text, status=408, members=_USER)


class NoProvisionedConcurrency(AwsError):
    """Nothing is provisioned for the version or alias."""

    def __init__(self) -> None:
        super().__init__(
            "ProvisionedConcurrencyConfigNotFoundException",
            "No Provisioned Concurrency Config found for this function",
            status=404,
            members=_USER,
        )


class TooLarge(AwsError):
    """What was uploaded is larger than may be uploaded in a request."""

    def __init__(self, message: str) -> None:
        super().__init__("RequestEntityTooLargeException", message, status=413)


def function_not_found(arn: str) -> ResourceNotFound:
    """Say that there is no such function, version or alias; `arn` is qualified as AWS's operation qualifies it."""
    return ResourceNotFound(f"Function not found: {arn}")


def unsupported(what: str) -> InvalidParameterValue:
    """Refuse a feature of AWS that lambdad does not have, rather than accept and ignore it."""
    return InvalidParameterValue(f"{what} is not supported by lambdad yet.")

"""Errors that a caller is told.

    AwsError                 any error of any AWS service: a code, a message, a status, further members
    ├── ValidationError      the request breaks the service model ("ValidationException", no ``Type`` member)
    └── NotImplementedHere   the operation exists in AWS and is not built here

The service model, where it names the error, gives the status and the members' places; what is given here is used otherwise.
"""

from collections.abc import Mapping
from typing import Any


class AwsError(Exception):
    """Tell the caller of an API that the request failed, in AWS's words.

    Args:
        code: the error's name on the wire, e.g. ``ResourceNotFoundException``.
        message: what the caller reads; None where AWS sends a null message.
        status: HTTP status, used where the service model does not know the code. 400..599.
        members: further members of the modelled exception, e.g. ``{"Type": "User", "Reason": "..."}``; members bound to
            headers in the model (``retryAfterSeconds``) are sent as headers.
    """

    def __init__(self, code: str, message: str | None, *, status: int = 400, members: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.members: dict[str, Any] = dict(members or {})


class ValidationError(AwsError):
    """The request breaks the constraints of the service model; AWS's front end refuses it before the service sees it."""

    def __init__(self, failures: list[str], *, code: str = "ValidationException") -> None:
        count = len(failures)
        noun = "error" if count == 1 else "errors"
        super().__init__(code, f"{count} validation {noun} detected: " + "; ".join(failures))


class NotImplementedHere(AwsError):
    """The operation is AWS's, and lambdad does not have it (yet)."""

    def __init__(self, service: str, operation: str) -> None:
        super().__init__("NotImplementedException", f"{service}:{operation} is not implemented by lambdad.", status=501)

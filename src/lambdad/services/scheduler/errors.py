"""What callers of EventBridge Scheduler are told, in AWS's words.

AwsError
├── InvalidValue                    "ValidationException": a value breaks a rule of the service
├── ScheduleMissing, GroupMissing, ArnMissing       "ResourceNotFoundException"
├── ScheduleExists, GroupExists         "ConflictException"
└── QuotaExceeded                   "ServiceQuotaExceededException"
"""

from lambdad.model.errors import AwsError


class InvalidValue(AwsError):
    """A value breaks a rule of the service."""

    def __init__(self, message: str) -> None:
        super().__init__("ValidationException", message)


class _NotFound(AwsError):
    def __init__(self, message: str) -> None:
        super().__init__("ResourceNotFoundException", message, status=404)


class ScheduleMissing(_NotFound):
    """There is no schedule of that name in the group."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Schedule {name} does not exist.")


class GroupMissing(_NotFound):
    """There is no group of that name in the account and region."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Schedule group {name} does not exist.")


class ArnMissing(_NotFound):
    """An ARN names no group here."""

    def __init__(self, arn: str) -> None:
        super().__init__(f"Resource {arn} does not exist.")


class _Conflict(AwsError):
    def __init__(self, message: str) -> None:
        super().__init__("ConflictException", message, status=409)


class ScheduleExists(_Conflict):
    """The name is taken."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Schedule {name} already exists.")


class GroupExists(_Conflict):
    """The name is taken."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Schedule group {name} already exists.")


class QuotaExceeded(AwsError):
    """There would be more of something than there may be."""

    def __init__(self, what: str) -> None:
        super().__init__("ServiceQuotaExceededException", f"The request exceeds the quota of {what}.", status=402)

"""What callers of CloudWatch Logs are told, in AWS's words.

AwsError
├── InvalidParameter        "InvalidParameterException": a value breaks a rule of the service
├── InvalidFilterPattern    the same code; a filter pattern cannot be read
├── GroupExists, StreamExists       "ResourceAlreadyExistsException"
├── GroupMissing, StreamMissing     "ResourceNotFoundException"
├── LimitExceeded           "LimitExceededException"
├── TooManyTags             "TooManyTagsException"
└── DeletionProtected       "ValidationException": the group must not be deleted
"""

from lambdad.model.errors import AwsError


class InvalidParameter(AwsError):
    """A value breaks a rule of the service."""

    def __init__(self, message: str) -> None:
        super().__init__("InvalidParameterException", message)


class InvalidFilterPattern(InvalidParameter):
    """A filter pattern cannot be read."""


class GroupExists(AwsError):
    """There is a group of that name in the account and region."""

    def __init__(self) -> None:
        super().__init__("ResourceAlreadyExistsException", "The specified log group already exists")


class StreamExists(AwsError):
    """There is a stream of that name in the group."""

    def __init__(self) -> None:
        super().__init__("ResourceAlreadyExistsException", "The specified log stream already exists")


class GroupMissing(AwsError):
    """There is no group of that name in the account and region."""

    def __init__(self) -> None:
        super().__init__("ResourceNotFoundException", "The specified log group does not exist.")


class StreamMissing(AwsError):
    """There is no stream of that name in the group."""

    def __init__(self) -> None:
        super().__init__("ResourceNotFoundException", "The specified log stream does not exist.")


class LimitExceeded(AwsError):
    """The account has as many groups in the region as it may have."""

    def __init__(self) -> None:
        super().__init__("LimitExceededException", "Resource limit exceeded.")


class TooManyTags(AwsError):
    """The group would have more than 50 tags."""

    def __init__(self, arn: str) -> None:
        super().__init__(
            "TooManyTagsException",
            "The resource would have more than 50 tags.",
            members={"resourceName": arn},
        )


class DeletionProtected(AwsError):
    """The group was told not to let itself be deleted."""

    def __init__(self) -> None:
        super().__init__(
            "ValidationException",
            "The log group cannot be deleted because deletion protection is enabled for it.",
        )

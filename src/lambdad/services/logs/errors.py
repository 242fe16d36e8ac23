"""What callers of CloudWatch Logs are told, in AWS's words.

AwsError
├── InvalidParameter        "InvalidParameterException": a value breaks a rule of the service
├── InvalidFilterPattern    the same code; a filter pattern cannot be read
├── GroupExists, StreamExists       "ResourceAlreadyExistsException"
├── GroupMissing, StreamMissing     "ResourceNotFoundException"
├── SubscriptionFilterMissing, MetricFilterMissing, ResourcePolicyMissing, ExportTaskMissing   the same code
├── InvalidOperation        "InvalidOperationException": the resource's state does not allow it
├── LimitExceeded           "LimitExceededException"
├── TooManyTags             "TooManyTagsException"
├── DeletionProtected       "ValidationException": the group must not be deleted
├── CannotExecute           "InvalidParameterException": a function does not let itself be called by CloudWatch Logs
├── CrossAccount            "AccessDeniedException": a function of another account
└── ServiceUnavailable      "ServiceUnavailableException": a neighbour does not answer
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


class SubscriptionFilterMissing(AwsError):
    """There is no subscription filter of that name in the group."""

    def __init__(self) -> None:
        super().__init__("ResourceNotFoundException", "The specified subscription filter does not exist.")


class MetricFilterMissing(AwsError):
    """There is no metric filter of that name in the group."""

    def __init__(self) -> None:
        super().__init__("ResourceNotFoundException", "The specified metric filter does not exist.")


class ResourcePolicyMissing(AwsError):
    """There is no resource policy of that name in the account and region."""

    def __init__(self, name: str) -> None:
        super().__init__("ResourceNotFoundException", f"Policy with name [{name}] does not exist.")


class ExportTaskMissing(AwsError):
    """There is no export of that id in the account and region."""

    def __init__(self) -> None:
        super().__init__("ResourceNotFoundException", "The specified export task does not exist.")


class InvalidOperation(AwsError):
    """The state of a resource does not allow what is to be done with it."""

    def __init__(self, message: str) -> None:
        super().__init__("InvalidOperationException", message)


class LimitExceeded(AwsError):
    """There are as many groups, filters, policies or exports under way as there may be."""

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


class CannotExecute(InvalidParameter):
    """A function that is to be a destination is not there, or its policy does not let CloudWatch Logs call it."""

    def __init__(self) -> None:
        super().__init__(
            "Could not execute the lambda function. Make sure you have given CloudWatch Logs permission to execute your function."
        )


class CrossAccount(AwsError):
    """A function that is to be a destination belongs to another account."""

    def __init__(self) -> None:
        super().__init__(
            "AccessDeniedException",
            "Cross-account lambda invocation passing is not allowed. "
            "You must use DestinationPolicies to create cross account lambda triggers.",
        )


class ServiceUnavailable(AwsError):
    """A neighbour does not answer; to be tried again."""

    def __init__(self) -> None:
        super().__init__("ServiceUnavailableException", "The service cannot complete the request.", status=503)

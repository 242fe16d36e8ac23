"""What callers of SQS are told, in AWS's words.

AwsError
├── InvalidParameterValue       a value breaks a rule of the service
├── MissingParameter            a parameter is not there, or empty
├── InvalidAttributeName        the queue cannot have such an attribute
├── InvalidAttributeValue       the attribute cannot have such a value
├── InvalidMessageContents      characters that no message may have
├── InvalidAddress              a queue URL that is none
├── QueueDoesNotExist, QueueNameExists, QueueDeletedRecently
├── PurgeQueueInProgress        less than a minute after the last one
├── ReceiptHandleIsInvalid      not one of this queue's handles
├── MessageNotInflight          there is nothing to change
├── OverLimit                   too many messages in flight; too many statements in a policy
├── UnsupportedOperation        AWS does not do it, or lambdad does not
├── ResourceNotFound            of the ARN or task handle of a message move task
├── AccessDenied                the queue is another account's
└── EmptyBatchRequest, TooManyEntriesInBatchRequest, BatchEntryIdsNotDistinct, InvalidBatchEntryId, BatchRequestTooLong

Their names in the Query protocol and in ``x-amzn-query-error`` are in `wire.failures`.
"""

from lambdad.model.errors import AwsError


class InvalidParameterValue(AwsError):
    """A value breaks a rule of the service."""

    def __init__(self, message: str) -> None:
        super().__init__("InvalidParameterValue", message)


def invalid(value: object, parameter: str, reason: str) -> InvalidParameterValue:
    """Return the error for a parameter's value, in the form that SQS uses for most of them."""
    return InvalidParameterValue(f"Value {value} for parameter {parameter} is invalid. Reason: {reason}")


class MissingParameter(AwsError):
    """A parameter is not there, or empty."""

    def __init__(self, parameter: str) -> None:
        super().__init__("MissingParameter", f"The request must contain the parameter {parameter}.")


class InvalidAttributeName(AwsError):
    """There is no such attribute, or not for this type of queue."""

    def __init__(self, name: str) -> None:
        super().__init__("InvalidAttributeName", f"Unknown Attribute {name}.")


class InvalidAttributeValue(AwsError):
    """An attribute of a queue cannot have such a value."""

    def __init__(self, name: str, reason: str = "") -> None:
        super().__init__("InvalidAttributeValue", f"Invalid value for the parameter {name}." + (f" Reason: {reason}" if reason else ""))


class InvalidMessageContents(AwsError):
    """The message has characters that XML 1.0 does not allow."""

    def __init__(self) -> None:
        super().__init__(
            "InvalidMessageContents",
            "Invalid characters found. Valid unicode characters are "
            "#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
        )


class InvalidAddress(AwsError):
    """A queue URL that is none."""

    def __init__(self, url: str) -> None:
        super().__init__("InvalidAddress", f"The address {url} is not valid for this endpoint.", status=404)


class QueueDoesNotExist(AwsError):
    """There is no queue of that name in the account and region."""

    def __init__(self) -> None:
        super().__init__("QueueDoesNotExist", "The specified queue does not exist.")


class QueueNameExists(AwsError):
    """There is a queue of that name whose attributes are others."""

    def __init__(self, attribute: str) -> None:
        super().__init__("QueueNameExists", f"A queue already exists with the same name and a different value for attribute {attribute}")


class QueueDeletedRecently(AwsError):
    """A queue of that name was deleted less than a minute ago."""

    def __init__(self) -> None:
        super().__init__(
            "QueueDeletedRecently", "You must wait 60 seconds after deleting a queue before you can create another with the same name."
        )


class PurgeQueueInProgress(AwsError):
    """The queue was purged less than a minute ago."""

    def __init__(self, name: str) -> None:
        super().__init__("PurgeQueueInProgress", f"Only one PurgeQueue operation on {name} is allowed every 60 seconds.", status=403)


class ReceiptHandleIsInvalid(AwsError):
    """The text is no receipt handle of this queue."""

    def __init__(self, handle: str) -> None:
        super().__init__("ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.', status=404)


class MessageNotInflight(AwsError):
    """The message is visible, so that its visibility timeout cannot be changed."""

    def __init__(self) -> None:
        super().__init__("MessageNotInflight", None)


class OverLimit(AwsError):
    """Something is full."""

    def __init__(self, message: str) -> None:
        super().__init__("OverLimit", message, status=403)


class UnsupportedOperation(AwsError):
    """What was asked for is not done."""

    def __init__(self, message: str) -> None:
        super().__init__("UnsupportedOperation", message)


class ResourceNotFound(AwsError):
    """There is no such queue or task."""

    def __init__(self, message: str) -> None:
        super().__init__("ResourceNotFoundException", message, status=404)


class AccessDenied(AwsError):
    """The queue belongs to another account, whose policy does not let the caller in."""

    def __init__(self, principal_arn: str, action: str, arn: str) -> None:
        super().__init__(
            "AccessDenied",
            f"User: {principal_arn} is not authorized to perform: sqs:{action.lower()} on resource: {arn} "
            "because no resource-based policy allows the "
            f"sqs:{action.lower()} action",
            status=403,
        )


class EmptyBatchRequest(AwsError):
    """A batch without entries."""

    def __init__(self, entry: str) -> None:
        super().__init__("EmptyBatchRequest", f"There should be at least one {entry} in the request.")


class TooManyEntriesInBatchRequest(AwsError):
    """A batch of more than ten entries."""

    def __init__(self, count: int) -> None:
        super().__init__("TooManyEntriesInBatchRequest", f"Maximum number of entries per request are 10. You have sent {count}.")


class BatchEntryIdsNotDistinct(AwsError):
    """Two entries of a batch have one id."""

    def __init__(self, entry_id: str) -> None:
        super().__init__("BatchEntryIdsNotDistinct", f"Id {entry_id} repeated.")


class InvalidBatchEntryId(AwsError):
    """An id that is none."""

    def __init__(self) -> None:
        super().__init__(
            "InvalidBatchEntryId",
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.",
        )


class BatchRequestTooLong(AwsError):
    """The messages of a batch are too large together."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            "BatchRequestTooLong", f"Batch requests cannot be longer than {limit_bytes} bytes. You have sent {size_bytes} bytes."
        )

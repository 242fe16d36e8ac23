"""What the model knows of an error: its name and code on the wire, its status, whose fault it is, where its members go."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambdad.model.errors import AwsError
from lambdad.wire.service_model import Ref, ServiceModel, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as it will be written.

    Args:
        name: the exception's shape name; the code given, where the model does not know it.
        code: what the Query protocol calls it.
        shape: None for an error that is not in the model.
        members: message and further members by their names in the model.
    """

    name: str
    code: str
    status: int
    shape: Shape | None
    message: str | None
    members: Mapping[str, Any]

    @property
    def is_senders(self) -> bool:
        return self.status < 500


def describe(model: ServiceModel, error: AwsError) -> Failure:
    """Look an error up in the model, by its shape's name or its code on the wire."""
    shape_name = model.exceptions.get(error.code) or _SHAPES_BY_QUERY_CODE.get((model.service, error.code))
    if shape_name is None:
        members = dict(error.members)
        return Failure(
            name=_JSON_NAMES.get(model.service, {}).get(error.code, error.code),
            code=error.code,
            status=error.status,
            shape=None,
            message=error.message,
            members=members,
        )
    shape = model.shape(shape_name)
    traits: Mapping[str, Any] = shape.traits.get("error", {})
    message = message_member(shape)
    tells_more = model.service == "s3"  # its errors have elements that the model has lost, such as Key and BucketName
    members = {name: value for name, value in error.members.items() if tells_more or name in shape.members}
    if message is not None and message.name not in members:
        members[message.name] = error.message
    return Failure(
        name=shape_name,
        code=_QUERY_CODES.get(model.service, {}).get(shape_name) or traits.get("code") or shape_name,
        status=traits.get("httpStatusCode") or (500 if shape.traits.get("fault") else error.status),
        shape=shape,
        message=error.message,
        members=members,
    )


def message_member(shape: Shape) -> Ref | None:
    """Return the member that holds the message, however the model spells it."""
    return next((ref for name, ref in shape.members.items() if name.lower() == "message"), None)


_SQS = "AWS.SimpleQueueService."

_QUERY_CODES: Mapping[str, Mapping[str, str]] = {
    # The JSON model of SQS no longer says what its exceptions are called in its older protocol and in x-amzn-query-error.
    "sqs": {
        "BatchEntryIdsNotDistinct": _SQS + "BatchEntryIdsNotDistinct",
        "BatchRequestTooLong": _SQS + "BatchRequestTooLong",
        "EmptyBatchRequest": _SQS + "EmptyBatchRequest",
        "InvalidBatchEntryId": _SQS + "InvalidBatchEntryId",
        "KmsAccessDenied": "KMS.AccessDeniedException",
        "KmsDisabled": "KMS.DisabledException",
        "KmsInvalidKeyUsage": "KMS.InvalidKeyUsageException",
        "KmsInvalidState": "KMS.InvalidStateException",
        "KmsNotFound": "KMS.NotFoundException",
        "KmsOptInRequired": "KMS.OptInRequired",
        "KmsThrottled": "KMS.ThrottlingException",
        "MessageNotInflight": _SQS + "MessageNotInflight",
        "PurgeQueueInProgress": _SQS + "PurgeQueueInProgress",
        "QueueDeletedRecently": _SQS + "QueueDeletedRecently",
        "QueueDoesNotExist": _SQS + "NonExistentQueue",
        "QueueNameExists": "QueueAlreadyExists",
        "TooManyEntriesInBatchRequest": _SQS + "TooManyEntriesInBatchRequest",
        "UnsupportedOperation": _SQS + "UnsupportedOperation",
    }
}

# What errors that no model has are called in the JSON protocol of a service that once spoke Query.
_JSON_NAMES: Mapping[str, Mapping[str, str]] = {
    "sqs": {
        "AccessDenied": "AccessDeniedException",
        "InvalidParameterValue": "InvalidParameterValueException",
        "MissingParameter": "MissingRequiredParameterException",
    }
}

_SHAPES_BY_QUERY_CODE = {(service, code): shape for service, codes in _QUERY_CODES.items() for shape, code in codes.items()}

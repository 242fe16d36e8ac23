"""What callers of SNS are told, in AWS's words.

AwsError
├── InvalidParameter            "InvalidParameter": a value breaks a rule of the service
├── InvalidAttributeValue       "ParameterValueInvalid": a message attribute does
├── NotFound                    "NotFound", 404: no such topic, subscription or policy statement
├── ResourceNotFound            "ResourceNotFound", 404: no such topic, for the operations on tags
├── AuthorizationError          "AuthorizationError", 403: the topic's policy does not let the caller do this
├── TooManyTopics               "TopicLimitExceeded", 403
├── TooManySubscriptions        "SubscriptionLimitExceeded", 403
├── TooManyFilterPolicies       "FilterPolicyLimitExceeded", 403
├── TooManyTags                 "TagLimitExceeded"
├── EmptyBatch, TooManyEntries, IdsNotDistinct, InvalidBatchId, BatchTooLong        of PublishBatch
└── DeliveryFailed              an HTTP endpoint did not take a message; the outbox hears of it, no client does
"""

from lambdad.model.errors import AwsError


class InvalidParameter(AwsError):
    """A value breaks a rule of the service; the message begins with "Invalid parameter: "."""

    def __init__(self, reason: str) -> None:
        super().__init__("InvalidParameter", f"Invalid parameter: {reason}")


class InvalidAttributeValue(AwsError):
    """A message attribute breaks a rule."""

    def __init__(self, message: str) -> None:
        super().__init__("ParameterValueInvalid", message)


class NotFound(AwsError):
    """There is no such thing."""

    def __init__(self, message: str) -> None:
        super().__init__("NotFound", message, status=404)


class ResourceNotFound(AwsError):
    """There is no topic to tag."""

    def __init__(self) -> None:
        super().__init__("ResourceNotFound", "Resource does not exist", status=404)


class AuthorizationError(AwsError):
    """The caller's account may not do this to another account's topic."""

    def __init__(self, principal_arn: str, action: str, resource_arn: str) -> None:
        super().__init__(
            "AuthorizationError",
            f"User: {principal_arn} is not authorized to perform: SNS:{action} on resource: {resource_arn} "
            f"because no resource-based policy allows the SNS:{action} action",
            status=403,
        )


class TooManyTopics(AwsError):
    """The account has as many topics in the region as it may have."""

    def __init__(self) -> None:
        super().__init__("TopicLimitExceeded", "Topic limit exceeded", status=403)


class TooManySubscriptions(AwsError):
    """The topic has as many subscriptions as it may have."""

    def __init__(self) -> None:
        super().__init__("SubscriptionLimitExceeded", "Subscription limit exceeded", status=403)


class TooManyFilterPolicies(AwsError):
    """The topic has as many subscriptions with a filter policy as it may have."""

    def __init__(self) -> None:
        super().__init__("FilterPolicyLimitExceeded", "Filter policy limit exceeded", status=403)


class TooManyTags(AwsError):
    """The topic would have more tags than it may have."""

    def __init__(self) -> None:
        super().__init__("TagLimitExceeded", "Could not complete request: tag quota of per resource exceeded")


class EmptyBatch(AwsError):
    """A batch without an entry."""

    def __init__(self) -> None:
        super().__init__("EmptyBatchRequest", "The batch request doesn't contain any entries.")


class TooManyEntries(AwsError):
    """A batch of more entries than are allowed."""

    def __init__(self) -> None:
        super().__init__("TooManyEntriesInBatchRequest", "The batch request contains more entries than permissible.")


class IdsNotDistinct(AwsError):
    """Two entries of a batch with one id."""

    def __init__(self) -> None:
        super().__init__("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")


class InvalidBatchId(AwsError):
    """An entry's id breaks the rules for ids."""

    def __init__(self) -> None:
        super().__init__("InvalidBatchEntryId", "The Id of a batch entry in a batch request doesn't abide by the specification.")


class BatchTooLong(AwsError):
    """The messages of a batch are too long together."""

    def __init__(self) -> None:
        super().__init__("BatchRequestTooLong", "The length of all the messages put together is more than the limit.")


class DeliveryFailed(AwsError):
    """An endpoint did not take a message. 4xx: it never will; 5xx: it may later."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(code, message, status=status)

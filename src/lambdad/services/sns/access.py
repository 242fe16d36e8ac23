"""Which topic a request is for, and whether the caller may do this to it.

Within its account everybody may do everything: identities have no policies here. Another account needs a statement of the topic's policy.
"""

from lambdad.services.ports import CallContext
from lambdad.services.sns import errors
from lambdad.services.sns.registry import Entry, Registry
from lambdad.services.sns.rules import access_policies, names, topic_attributes
from lambdad.services.sns.rules.access_policies import Caller


def topic_of(registry: Registry, ctx: CallContext, arn: str, action: str, parameter: str = "TopicArn") -> Entry:
    """
    Find the topic that a request names.

    Args:
        action: what the caller does to it, "Publish".
        parameter: where its ARN was given.

    Raises:
        InvalidParameter: that is no ARN of a topic.
        NotFound: there is no such topic.
        AuthorizationError: the caller's account may not do this.
    """
    names.parse_topic(arn, parameter)
    entry = registry.find(arn)
    if not may(ctx, entry, action):
        raise errors.AuthorizationError(ctx.principal_arn, action, arn)
    return entry


def may(ctx: CallContext, entry: Entry, action: str) -> bool:
    """Say whether the caller may do something to a topic."""
    topic = entry.topic
    if ctx.account == topic.account:
        return True
    origin = ctx.origin
    caller = Caller(account=ctx.account)
    if origin is not None and origin.principal:
        caller = Caller(account=origin.account, service=origin.principal, source_arn=origin.source_arn)
    return access_policies.allows(topic_attributes.policy(topic), caller, action)

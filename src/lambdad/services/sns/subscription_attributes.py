"""What is known of subscriptions: their attributes, and lists of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lambdad.services.ports import CallContext, Handler
from lambdad.services.sns import access, errors
from lambdad.services.sns.registry import Change, Entry, Registry
from lambdad.services.sns.rules import endpoints, limits, names, paging, subscription_attributes
from lambdad.services.sns.rules.nouns import State, Subscription


class SubscriptionAttributes:
    """The operations on attributes and lists of subscriptions."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def handlers(self) -> Mapping[str, Handler]:
        """Give the operations of this chapter."""
        return {
            "GetSubscriptionAttributes": self.get_subscription_attributes,
            "SetSubscriptionAttributes": self.set_subscription_attributes,
            "ListSubscriptions": self.list_subscriptions,
            "ListSubscriptionsByTopic": self.list_subscriptions_by_topic,
        }

    async def get_subscription_attributes(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show a subscription.

        Raises:
            InvalidParameter: the ARN is none.
            NotFound: there is no such subscription.
            AuthorizationError: it is neither the caller's, nor its topic is.
        """
        arn = request["SubscriptionArn"]
        entry = self._registry.entry(names.parse_subscription(arn).arn)
        found = _find(ctx, entry, arn, "GetSubscriptionAttributes")
        assert entry is not None, "a subscription was found in it"
        return {"Attributes": subscription_attributes.to_api(entry.topic, found)}

    async def set_subscription_attributes(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Set an attribute of a subscription.

        Raises:
            InvalidParameter: the ARN is none, there is no such attribute, or it cannot be this.
            NotFound, AuthorizationError: as `get_subscription_attributes`.
            TooManyFilterPolicies: the topic has as many as it may have.
        """
        arn, name, value = request["SubscriptionArn"], request["AttributeName"], request.get("AttributeValue", "")

        def decide(entry: Entry | None) -> Change[None]:
            found = _find(ctx, entry, arn, "SetSubscriptionAttributes")
            assert entry is not None, "a subscription was found in it"
            attributes = subscription_attributes.changed(entry.topic, found, name, value)
            new = replace(found, attributes=attributes, filter=subscription_attributes.compiled(attributes))
            if new.filter is not None and found.filter is None and entry.filters >= limits.FILTER_POLICIES:
                raise errors.TooManyFilterPolicies
            return Change(topic=entry.topic, answer=None, put=(new,))

        await self._registry.change(names.parse_subscription(arn).arn, decide)
        return {}

    async def list_subscriptions(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List the caller's subscriptions, a hundred at a time.

        Raises:
            InvalidParameter: the token is none.
        """
        arns, token = paging.page(self._registry.subscriptions_of(ctx.account, ctx.region), request.get("NextToken"))
        return {"Subscriptions": self._to_api(arns), "NextToken": token}

    async def list_subscriptions_by_topic(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List the subscriptions of a topic, a hundred at a time.

        Raises:
            InvalidParameter, NotFound, AuthorizationError: as `access.topic_of`; or the token is none.
        """
        entry = access.topic_of(self._registry, ctx, request["TopicArn"], "ListSubscriptionsByTopic")
        arns, token = paging.page(entry.listed, request.get("NextToken"))
        return {"Subscriptions": self._to_api(arns), "NextToken": token}

    def _to_api(self, arns: list[str]) -> list[dict[str, Any]]:
        found = [self._registry.subscription(arn) for arn in arns]
        return [
            {
                "SubscriptionArn": each.arn_shown,
                "Owner": each.owner,
                "Protocol": each.protocol,
                "Endpoint": endpoints.shown(each.endpoint),
                "TopicArn": each.topic_arn,
            }
            for each in found
            if each is not None
        ]


def _find(ctx: CallContext, entry: Entry | None, arn: str, action: str) -> Subscription:
    found = entry.subscriptions.get(arn) if entry is not None else None
    if entry is None or found is None or found.state is State.DELETED:
        raise errors.NotFound("Subscription does not exist")
    if ctx.account not in (found.owner, entry.topic.account):
        raise errors.AuthorizationError(ctx.principal_arn, action, arn)
    return found

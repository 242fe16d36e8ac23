"""Topics: CreateTopic, DeleteTopic, ListTopics, their attributes and their permissions."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lambdad.services.ports import CallContext, Handler
from lambdad.services.sns import access, errors
from lambdad.services.sns.registry import Change, Entry, Registry
from lambdad.services.sns.rules import access_policies, limits, names, paging, tag_lists, topic_attributes
from lambdad.services.sns.rules.nouns import Topic


class Topics:
    """The operations on topics."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def handlers(self) -> Mapping[str, Handler]:
        """Give the operations of this chapter."""
        return {
            "CreateTopic": self.create_topic,
            "DeleteTopic": self.delete_topic,
            "ListTopics": self.list_topics,
            "GetTopicAttributes": self.get_topic_attributes,
            "SetTopicAttributes": self.set_topic_attributes,
            "AddPermission": self.add_permission,
            "RemovePermission": self.remove_permission,
        }

    async def create_topic(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Make a topic; one of that name and with these attributes and tags is returned.

        Raises:
            InvalidParameter: the name, an attribute or the tags cannot be, or the topic is there and differs.
            TooManyTags, TooManyTopics: there would be more than allowed.
        """
        name, given = request["Name"], request.get("Attributes", {})
        if request.get("DataProtectionPolicy"):
            raise errors.InvalidParameter("DataProtectionPolicy: lambdad does not inspect messages")
        is_fifo = given.get("FifoTopic", "").lower() == "true"
        names.check_new_topic(name, is_fifo=is_fifo)
        attributes = topic_attributes.checked_new(given, is_fifo=is_fifo)
        tags = tag_lists.checked(request.get("Tags", []))
        arn = names.topic_arn(ctx.account, ctx.region, name)
        new = Topic(arn=arn, account=ctx.account, region=ctx.region, name=name, attributes=attributes, tags=tags)

        def decide(entry: Entry | None) -> Change[str]:
            if entry is None:
                self._check_room(ctx, is_fifo=is_fifo)
                return Change(topic=new, answer=arn)
            topic = entry.topic
            if "Tags" in request and tags != topic.tags:
                raise errors.InvalidParameter("Tags Reason: Topic already exists with different tags")
            if topic_attributes.differs(topic, attributes, given):
                raise errors.InvalidParameter("Attributes Reason: Topic already exists with different attributes")
            return Change(topic=topic, answer=arn)

        return {"TopicArn": await self._registry.change(arn, decide)}

    def _check_room(self, ctx: CallContext, *, is_fifo: bool) -> None:
        there = self._registry.topics_of(ctx.account, ctx.region)
        if len(there) >= limits.TOPICS or (is_fifo and sum(arn.endswith(".fifo") for arn in there) >= limits.TOPICS_FIFO):
            raise errors.TooManyTopics

    async def delete_topic(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a topic and its subscriptions; one that is not there is no error.

        Raises:
            InvalidParameter: the ARN is none.
        """
        arn = request["TopicArn"]
        names.parse_topic(arn)

        def decide(entry: Entry | None) -> Change[None]:
            if entry is not None and not access.may(ctx, entry, "DeleteTopic"):
                raise errors.AuthorizationError(ctx.principal_arn, "DeleteTopic", arn)
            return Change(topic=None, answer=None)

        await self._registry.change(arn, decide)
        return {}

    async def list_topics(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List the ARNs of the caller's topics, a hundred at a time.

        Raises:
            InvalidParameter: the token is none.
        """
        arns, token = paging.page(self._registry.topics_of(ctx.account, ctx.region), request.get("NextToken"))
        return {"Topics": [{"TopicArn": arn} for arn in arns], "NextToken": token}

    async def get_topic_attributes(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show a topic.

        Raises:
            InvalidParameter, NotFound, AuthorizationError: as `access.topic_of`.
        """
        entry = access.topic_of(self._registry, ctx, request["TopicArn"], "GetTopicAttributes")
        return {"Attributes": topic_attributes.to_api(entry.topic, entry.counts())}

    async def set_topic_attributes(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Set an attribute of a topic.

        Raises:
            InvalidParameter: there is no such attribute, or it cannot be this.
            NotFound, AuthorizationError: as `access.topic_of`.
        """
        name, value = request["AttributeName"], request.get("AttributeValue", "")

        def changed(topic: Topic) -> Topic:
            return replace(topic, attributes=topic_attributes.changed(topic, name, value))

        await self._change(ctx, request["TopicArn"], "SetTopicAttributes", changed)
        return {}

    async def add_permission(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Let accounts do things to a topic.

        Raises:
            InvalidParameter: the label is taken, or an account or action is none.
            NotFound, AuthorizationError: as `access.topic_of`.
        """
        label, accounts, actions = request["Label"], request["AWSAccountId"], request["ActionName"]

        def changed(topic: Topic) -> Topic:
            policy = access_policies.add(topic_attributes.policy(topic), topic.arn, label, accounts, actions)
            return replace(topic, attributes={**topic.attributes, "Policy": policy})

        await self._change(ctx, request["TopicArn"], "AddPermission", changed)
        return {}

    async def remove_permission(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a statement of a topic's policy.

        Raises:
            NotFound: there is none of that label, or no such topic.
            InvalidParameter, AuthorizationError: as `access.topic_of`.
        """

        def changed(topic: Topic) -> Topic:
            policy = access_policies.remove(topic_attributes.policy(topic), request["Label"])
            return replace(topic, attributes={**topic.attributes, "Policy": policy})

        await self._change(ctx, request["TopicArn"], "RemovePermission", changed)
        return {}

    async def _change(self, ctx: CallContext, arn: str, action: str, changed: Callable[[Topic], Topic]) -> None:
        def decide(_: Entry | None) -> Change[None]:
            entry = access.topic_of(self._registry, ctx, arn, action)
            return Change(topic=changed(entry.topic), answer=None)

        await self._registry.change(arn, decide)

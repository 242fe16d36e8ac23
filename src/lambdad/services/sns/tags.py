"""Tags of topics."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lambdad.services.ports import CallContext, Handler
from lambdad.services.sns import access, errors
from lambdad.services.sns.registry import Change, Entry, Registry
from lambdad.services.sns.rules import limits, tag_lists


class Tags:
    """The operations on tags."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def handlers(self) -> Mapping[str, Handler]:
        """Give the operations of this chapter."""
        return {
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
            "ListTagsForResource": self.list_tags_for_resource,
        }

    async def tag_resource(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Set tags of a topic.

        Raises:
            InvalidParameter: the ARN is none, or tags cannot be set so.
            ResourceNotFound: there is no such topic.
            TooManyTags: it would have more than 50.
        """
        new = tag_lists.checked(request["Tags"])
        await self._change(ctx, request["ResourceArn"], "TagResource", lambda tags: {**tags, **new})
        return {}

    async def untag_resource(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove tags of a topic; those that it does not have are no error.

        Raises:
            InvalidParameter, ResourceNotFound: there is no such topic.
        """
        gone = set(request["TagKeys"])
        await self._change(ctx, request["ResourceArn"], "UntagResource", lambda tags: {key: tags[key] for key in tags if key not in gone})
        return {}

    async def list_tags_for_resource(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Return the tags of a topic.

        Raises:
            InvalidParameter, ResourceNotFound: there is no such topic.
        """
        entry = self._find(ctx, request["ResourceArn"], "ListTagsForResource")
        return {"Tags": tag_lists.to_api(entry.topic.tags)}

    async def _change(self, ctx: CallContext, arn: str, action: str, changed: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
        def decide(_: Entry | None) -> Change[None]:
            topic = self._find(ctx, arn, action).topic
            tags = changed(topic.tags)
            if len(tags) > limits.TAGS:
                raise errors.TooManyTags
            return Change(topic=replace(topic, tags=tags), answer=None)

        await self._registry.change(arn, decide)

    def _find(self, ctx: CallContext, arn: str, action: str) -> Entry:
        try:
            return access.topic_of(self._registry, ctx, arn, action, "ResourceArn")
        except errors.NotFound:
            raise errors.ResourceNotFound from None

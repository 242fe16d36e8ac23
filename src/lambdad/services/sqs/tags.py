"""Tags and permissions of queues: TagQueue, UntagQueue, ListQueueTags, AddPermission, RemovePermission."""

from typing import Any

import orjson

from lambdad.services.ports import CallContext, Handler
from lambdad.services.sqs import errors
from lambdad.services.sqs.queues import Queues
from lambdad.services.sqs.registry import Queue, Registry, queries
from lambdad.services.sqs.rules import limits, policies
from lambdad.store.database import Database


class Tags:
    """The operations on tags, and on the policy by label."""

    def __init__(self, database: Database, registry: Registry, queues: Queues) -> None:
        self._database = database
        self._registry = registry
        self._queues = queues

    def handlers(self) -> dict[str, Handler]:
        """Name the operations."""
        return {
            "AddPermission": self.add_permission,
            "ListQueueTags": self.list_queue_tags,
            "RemovePermission": self.remove_permission,
            "TagQueue": self.tag_queue,
            "UntagQueue": self.untag_queue,
        }

    async def tag_queue(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Set tags of a queue.

        Raises:
            QueueDoesNotExist: there is no such queue.
            MissingParameter, InvalidParameterValue: there are no tags, or too many.
        """
        queue = self._registry.find(context, request, "TagQueue")
        added = request.get("Tags")
        if not added:
            raise errors.MissingParameter("Tags")
        async with self._queues.changing:
            tags = {**queue.tags, **added}
            if len(tags) > limits.TAGS:
                raise errors.InvalidParameterValue(f"Too many tags added for queue {queue.key.name}.")
            await self._store(queue, tags)
        return {}

    async def untag_queue(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove tags of a queue; tags that it does not have are no error.

        Raises:
            QueueDoesNotExist: there is no such queue.
            MissingParameter: there are no keys.
        """
        queue = self._registry.find(context, request, "UntagQueue")
        removed = request.get("TagKeys")
        if not removed:
            raise errors.MissingParameter("TagKeys")
        async with self._queues.changing:
            await self._store(queue, {key: value for key, value in queue.tags.items() if key not in removed})
        return {}

    async def list_queue_tags(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Return the tags of a queue.

        Raises:
            QueueDoesNotExist: there is no such queue.
        """
        queue = self._registry.find(context, request, "ListQueueTags")
        return {"Tags": dict(queue.tags)} if queue.tags else {}

    async def add_permission(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Add a statement to a queue's policy.

        Raises:
            QueueDoesNotExist: there is no such queue.
            MissingParameter, InvalidParameterValue, OverLimit: the statement.
        """
        queue = self._registry.find(context, request, "AddPermission")
        for parameter, shown in (("Label", "Label"), ("AWSAccountIds", "AWSAccountId.1"), ("Actions", "ActionName.1")):
            if not request.get(parameter):
                raise errors.MissingParameter(shown)
        async with self._queues.changing:
            policy = policies.add_permission(
                queue.attributes.get("Policy", ""), queue.arn, request["Label"], request["AWSAccountIds"], request["Actions"]
            )
            await self._queues.store_attributes(queue, {**queue.attributes, "Policy": policy})
        return {}

    async def remove_permission(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a statement from a queue's policy.

        Raises:
            QueueDoesNotExist: there is no such queue.
            MissingParameter, InvalidParameterValue: there is no such label.
        """
        queue = self._registry.find(context, request, "RemovePermission")
        if not request.get("Label"):
            raise errors.MissingParameter("Label")
        async with self._queues.changing:
            policy = policies.remove_permission(queue.attributes.get("Policy", ""), queue.arn, request["Label"])
            others = {name: value for name, value in queue.attributes.items() if name != "Policy"}
            await self._queues.store_attributes(queue, {**others, **({"Policy": policy} if policy else {})})
        return {}

    async def _store(self, queue: Queue, tags: dict[str, str]) -> None:
        if queue.is_deleted:
            raise errors.QueueDoesNotExist
        text = orjson.dumps(tags).decode()
        await self._database.write(lambda connection: connection.run(queries.set_tags, id=queue.id, tags=text))
        queue.tags = tags

"""Tags of log groups: the operations by ARN, and the older ones by name."""

from typing import Any

import orjson

from lambdad.services.logs import errors, groups
from lambdad.services.logs.ingestion import LogStore
from lambdad.services.logs.rules import limits, names
from lambdad.services.ports import CallContext
from lambdad.store.connection import Connection
from lambdad.store.database import Database
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.logs", "queries.sql")


class Tags:
    """The operations on tags."""

    def __init__(self, database: Database, store: LogStore) -> None:
        self._database = database
        self._store = store

    async def tag_resource(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Set tags of the group with an ARN.

        Raises:
            GroupMissing, InvalidParameter: there is no such group.
            TooManyTags: it would have more than 50.
        """
        name = names.group_of_arn(ctx.account, ctx.region, request["resourceArn"])
        await self._change(ctx, name, request["tags"], [])
        return {}

    async def untag_resource(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove tags of the group with an ARN; tags that it does not have are no error.

        Raises:
            GroupMissing, InvalidParameter: there is no such group.
        """
        name = names.group_of_arn(ctx.account, ctx.region, request["resourceArn"])
        await self._change(ctx, name, {}, request["tagKeys"])
        return {}

    async def list_tags_for_resource(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Return the tags of the group with an ARN.

        Raises:
            GroupMissing, InvalidParameter: there is no such group.
        """
        return await self._list(ctx, names.group_of_arn(ctx.account, ctx.region, request["resourceArn"]))

    async def tag_log_group(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Set tags of the group with a name; raises as `tag_resource` does."""
        await self._change(ctx, request["logGroupName"], request["tags"], [])
        return {}

    async def untag_log_group(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove tags of the group with a name; raises as `untag_resource` does."""
        await self._change(ctx, request["logGroupName"], {}, request["tags"])
        return {}

    async def list_tags_log_group(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Return the tags of the group with a name; raises as `list_tags_for_resource` does."""
        return await self._list(ctx, request["logGroupName"])

    async def _change(self, ctx: CallContext, name: str, added: dict[str, str], removed: list[str]) -> None:
        await self._store.flush()

        def change(connection: Connection) -> None:
            group = groups.find(connection, ctx, name)
            tags = {**orjson.loads(group.tags), **added}
            for key in removed:
                tags.pop(key, None)
            if len(tags) > limits.TAGS:
                raise errors.TooManyTags(names.group_arn(ctx.account, ctx.region, name))
            connection.run(queries.set_group_tags, id=group.id, tags=orjson.dumps(tags).decode())

        await self._database.write(change)

    async def _list(self, ctx: CallContext, name: str) -> dict[str, Any]:
        await self._store.flush()
        group = await self._database.read(lambda connection: groups.find(connection, ctx, name))
        return {"tags": orjson.loads(group.tags)}

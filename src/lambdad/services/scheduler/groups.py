"""Schedule groups, and their tags."""

from datetime import UTC, datetime
from typing import Any

import orjson

from lambdad.kit.clock import NowMs
from lambdad.services.ports import CallContext, Handler
from lambdad.services.scheduler import errors
from lambdad.services.scheduler.rules import limits, names
from lambdad.services.timetable import Timetable
from lambdad.store import queries
from lambdad.store.database import Connection, Database, Row

sql = queries.load_queries("lambdad.services.scheduler", "queries.sql")

_BATCH = 1000


class Groups:
    """The operations on groups. The group "default" is always there; its row is made when it is first asked for."""

    def __init__(self, database: Database, timetable: Timetable, now_ms: NowMs) -> None:
        self._database = database
        self._timetable = timetable
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        """Return the operations by AWS's names."""
        return {
            "CreateScheduleGroup": self.create_schedule_group,
            "GetScheduleGroup": self.get_schedule_group,
            "DeleteScheduleGroup": self.delete_schedule_group,
            "ListScheduleGroups": self.list_schedule_groups,
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
            "ListTagsForResource": self.list_tags_for_resource,
        }

    async def create_schedule_group(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Make a group.

        Raises:
            GroupExists, QuotaExceeded.
        """
        name, token, now_ms = request["Name"], request.get("ClientToken", ""), self._now_ms()
        tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}
        if len(tags) > limits.TAGS:
            raise errors.QuotaExceeded("tags")

        def create(connection: Connection) -> None:
            known = find(connection, ctx, name, now_ms)
            if known is not None:
                if not token or known.client_token != token:
                    raise errors.GroupExists(name)
                return
            count = connection.one(sql.count_groups, **of(ctx))
            if count is not None and count.number >= limits.GROUPS:
                raise errors.QuotaExceeded("schedule groups")
            connection.run(sql.insert_group, **of(ctx), name=name, tags=_dumps(tags), client_token=token, now_ms=now_ms)

        await self._database.write(create)
        return {"ScheduleGroupArn": names.group_arn(ctx.account, ctx.region, name)}

    async def get_schedule_group(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show a group.

        Raises:
            GroupMissing.
        """
        return _to_api(ctx, await self._group(ctx, request["Name"]))

    async def delete_schedule_group(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Begin to remove a group with its schedules.

        Raises:
            GroupMissing.
            InvalidValue: it is the default group.
        """
        name, now_ms = request["Name"], self._now_ms()
        if name == names.DEFAULT:
            raise errors.InvalidValue("The default schedule group cannot be deleted.")

        def delete(connection: Connection) -> None:
            existing(connection, ctx, name, now_ms)
            connection.run(sql.set_group_deleting, **of(ctx), name=name, now_ms=now_ms)

        await self._database.write(delete)
        self._timetable.wake()
        return {}

    async def list_schedule_groups(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show groups in order of names.

        Raises:
            InvalidValue: the token is none of ours.
        """
        (after,) = names.parse_token(request.get("NextToken"), 1)
        limit, now_ms = request.get("MaxResults", limits.PAGE_ITEMS), self._now_ms()

        def page(connection: Connection) -> list[Row]:
            find(connection, ctx, names.DEFAULT, now_ms)
            return connection.all(sql.groups_by_name, **of(ctx), after=after, prefix=request.get("NamePrefix", ""), limit=limit + 1)

        rows = await self._database.write(page)
        answer: dict[str, Any] = {"ScheduleGroups": [_to_api(ctx, row) for row in rows[:limit]]}
        if len(rows) > limit:
            answer["NextToken"] = names.token(rows[limit - 1].name)
        return answer

    async def tag_resource(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Set tags of a group.

        Raises:
            ArnMissing, GroupMissing, QuotaExceeded.
        """
        await self._change_tags(ctx, request["ResourceArn"], {tag["Key"]: tag["Value"] for tag in request["Tags"]}, [])
        return {}

    async def untag_resource(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove tags of a group; those that it does not have are no error.

        Raises:
            ArnMissing, GroupMissing.
        """
        await self._change_tags(ctx, request["ResourceArn"], {}, request["TagKeys"])
        return {}

    async def list_tags_for_resource(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show the tags of a group.

        Raises:
            ArnMissing, GroupMissing.
        """
        row = await self._group(ctx, self._named(ctx, request["ResourceArn"]))
        return {"Tags": [{"Key": key, "Value": value} for key, value in orjson.loads(row.tags).items()]}

    async def remove_deleted(self) -> None:
        """Remove what is left of groups that were deleted, in small transactions."""
        while await self._database.read(lambda connection: connection.one(sql.deleting_group)) is not None:
            await self._database.write(_remove_some)

    async def _change_tags(self, ctx: CallContext, arn: str, added: dict[str, str], removed: list[str]) -> None:
        name, now_ms = self._named(ctx, arn), self._now_ms()

        def change(connection: Connection) -> None:
            tags = {**orjson.loads(existing(connection, ctx, name, now_ms).tags), **added}
            for key in removed:
                tags.pop(key, None)
            if len(tags) > limits.TAGS:
                raise errors.QuotaExceeded("tags")
            connection.run(sql.set_group_tags, **of(ctx), name=name, tags=_dumps(tags))

        await self._database.write(change)

    async def _group(self, ctx: CallContext, name: str) -> Row:
        row = await self._database.read(lambda connection: connection.one(sql.get_group, **of(ctx), name=name))
        if row is not None:
            return row
        now_ms = self._now_ms()
        return await self._database.write(lambda connection: existing(connection, ctx, name, now_ms))

    def _named(self, ctx: CallContext, arn: str) -> str:
        account, region, name = names.group_of_arn(arn)
        if (account, region) != (ctx.account, ctx.region):
            raise errors.GroupMissing(name)
        return name


def find(connection: Connection, ctx: CallContext, name: str, now_ms: int) -> Row | None:
    """Find a group; makes the default group's row where it is missing."""
    row = connection.one(sql.get_group, **of(ctx), name=name)
    if row is None and name == names.DEFAULT:
        connection.run(sql.insert_group, **of(ctx), name=name, tags="{}", client_token="", now_ms=now_ms)
        row = connection.one(sql.get_group, **of(ctx), name=name)
    return row


def existing(connection: Connection, ctx: CallContext, name: str, now_ms: int) -> Row:
    """
    Find a group.

    Raises:
        GroupMissing: there is none.
    """
    row = find(connection, ctx, name, now_ms)
    if row is None:
        raise errors.GroupMissing(name)
    return row


def of(ctx: CallContext) -> dict[str, str]:
    """Return the parameters that every statement has."""
    return {"account": ctx.account, "region": ctx.region}


def _remove_some(connection: Connection) -> None:
    group = connection.one(sql.deleting_group)
    if group is None:
        return
    where = {"account": group.account, "region": group.region}
    if connection.run(sql.delete_some_schedules, **where, group_name=group.name, limit=_BATCH) < _BATCH:
        connection.run(sql.delete_group, **where, name=group.name)


def _to_api(ctx: CallContext, row: Row) -> dict[str, Any]:
    return {
        "Arn": names.group_arn(ctx.account, ctx.region, row.name),
        "Name": row.name,
        "State": row.state,
        "CreationDate": datetime.fromtimestamp(row.created_at_ms / 1000, UTC),
        "LastModificationDate": datetime.fromtimestamp(row.modified_at_ms / 1000, UTC),
    }


def _dumps(tags: dict[str, str]) -> str:
    return orjson.dumps(tags).decode()

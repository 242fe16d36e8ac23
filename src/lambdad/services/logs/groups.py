"""Log groups: CreateLogGroup, DeleteLogGroup, DescribeLogGroups, ListLogGroups, retention and deletion protection."""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from lambdad.kit.clock import NowMs
from lambdad.services.logs import errors, retention, writing
from lambdad.services.logs.feeds import Feeds
from lambdad.services.logs.ingestion import LogStore
from lambdad.services.logs.rules import limits, names, paging
from lambdad.services.ports import CallContext
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.logs", "queries.sql")

_SCAN_ROWS: Final = 200


def find(connection: Connection, ctx: CallContext, name: str) -> Row:
    """Find a group of the caller.

    Raises:
        GroupMissing: there is none of that name.
    """
    row = connection.one(queries.get_group, account=ctx.account, region=ctx.region, name=name)
    if row is None:
        raise errors.GroupMissing
    return row


class Groups:
    """The operations on log groups."""

    def __init__(self, database: Database, store: LogStore, feeds: Feeds, now_ms: NowMs, groups_max: int) -> None:
        self._database = database
        self._store = store
        self._feeds = feeds
        self._now_ms = now_ms
        self._groups_max = groups_max

    async def create_log_group(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Make a group.

        Raises:
            GroupExists: the name is taken.
            InvalidParameter: the name is AWS's own, or a KMS key was given; there is no encryption here to use it.
            LimitExceeded: the account has as many groups as it may have.
        """
        name = request["logGroupName"]
        names.check_new_group(name)
        if request.get("kmsKeyId"):
            raise errors.InvalidParameter("lambdad does not encrypt log groups with KMS keys; leave out kmsKeyId.")
        now_ms = self._now_ms()

        def create(connection: Connection) -> None:
            if not writing.insert_group(
                connection,
                ctx.account,
                ctx.region,
                name,
                now_ms,
                group_class=request.get("logGroupClass", writing.STANDARD),
                is_protected=request.get("deletionProtectionEnabled", False),
                tags=orjson.dumps(request.get("tags", {})).decode(),
            ):
                raise errors.GroupExists
            if connection.one(queries.has_groups, account=ctx.account, region=ctx.region, number=self._groups_max):
                raise errors.LimitExceeded

        await self._database.write(create)
        return {}

    async def delete_log_group(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a group, its streams and their events.

        Raises:
            GroupMissing: there is none.
            DeletionProtected: it was protected.
        """
        name = request["logGroupName"]
        await self._store.discard(ctx.account, ctx.region, name)

        def delete(connection: Connection) -> None:
            group = find(connection, ctx, name)
            if group.deletion_protected:
                raise errors.DeletionProtected
            connection.run(queries.delete_group, id=group.id)
            connection.run(queries.delete_streams, group_id=group.id)
            connection.run(queries.delete_subscription_filters, group_id=group.id)
            connection.run(queries.delete_metric_filters, group_id=group.id)
            connection.run(queries.insert_discard, group_id=group.id, stream_id=None)

        async with self._feeds.changing:
            await self._database.write(delete)
            self._feeds.forget(ctx.account, ctx.region, name)
        await retention.remove_discarded(self._database, rounds=retention.ROUNDS_OF_REQUEST)
        return {}

    async def describe_log_groups(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List groups with all that is known of them, in order of names.

        Raises:
            InvalidParameter: prefix and pattern were both given, or the token is none.
        """
        if request.get("logGroupNamePrefix") and request.get("logGroupNamePattern"):
            raise errors.InvalidParameter("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
        await self._store.flush()
        if request.get("logGroupIdentifiers"):
            rows = await self._database.read(lambda connection: _identified(connection, ctx, request))
            return {"logGroups": [_to_api(ctx, row) for row in rows]}
        limit = request.get("limit", limits.PAGE_ITEMS)
        after = paging.parse_name_token(request["nextToken"]) if request.get("nextToken") else ""
        rows = await self._database.read(
            lambda connection: _page(
                connection,
                ctx,
                after,
                limit + 1,
                prefix=request.get("logGroupNamePrefix", ""),
                pattern=request.get("logGroupNamePattern", ""),
                group_class=request.get("logGroupClass", ""),
            )
        )
        output: dict[str, Any] = {"logGroups": [_to_api(ctx, row) for row in rows[:limit]]}
        if len(rows) > limit:
            output["nextToken"] = paging.name_token(rows[limit - 1].name)
        return output

    async def list_log_groups(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List names, ARNs and classes of groups, by patterns of names and by tags.

        Raises:
            InvalidParameter: the token is none.
        """
        limit = request.get("limit", limits.PAGE_ITEMS)
        after = paging.parse_name_token(request["nextToken"]) if request.get("nextToken") else ""
        if request.get("dataSources") or request.get("fieldIndexNames"):
            return {"logGroups": []}  # there are neither data sources nor field indexes, so no group has one
        await self._store.flush()

        def select(connection: Connection) -> list[Row]:
            found: list[Row] = []
            for row in _all_groups(connection, ctx, after, request.get("logGroupClass", "")):
                if _has_name(row.name, request.get("logGroupNamePattern", "")) and _has_tags(row, request.get("logGroupTags", [])):
                    found.append(row)
                    if len(found) > limit:
                        break
            return found

        rows = await self._database.read(select)
        output: dict[str, Any] = {
            "logGroups": [
                {
                    "logGroupName": row.name,
                    "logGroupArn": names.group_arn(ctx.account, ctx.region, row.name),
                    "logGroupClass": row["class"],
                }
                for row in rows[:limit]
            ]
        }
        if len(rows) > limit:
            output["nextToken"] = paging.name_token(rows[limit - 1].name)
        return output

    async def put_retention_policy(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Keep a group's events for a number of days.

        Raises:
            GroupMissing: there is none.
            InvalidParameter: the number is not among those that AWS allows.
        """
        days = request["retentionInDays"]
        if days not in limits.RETENTION_DAYS:
            raise errors.InvalidParameter(
                f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: "
                f"Member must satisfy enum value set: {list(limits.RETENTION_DAYS)}"
            )
        await self._set_retention(ctx, request["logGroupName"], days)
        return {}

    async def delete_retention_policy(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Keep a group's events for ever.

        Raises:
            GroupMissing: there is none.
        """
        await self._set_retention(ctx, request["logGroupName"], None)
        return {}

    async def put_log_group_deletion_protection(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Allow or forbid that a group is deleted.

        Raises:
            GroupMissing: there is none.
        """
        name = names.group_of_request(ctx.account, ctx.region, request)
        is_protected = request["deletionProtectionEnabled"]
        await self._store.flush()
        changed = await self._database.write(
            lambda connection: connection.run(
                queries.set_deletion_protection,
                account=ctx.account,
                region=ctx.region,
                name=name,
                deletion_protected=is_protected,
            )
        )
        if not changed:
            raise errors.GroupMissing
        return {}

    async def _set_retention(self, ctx: CallContext, name: str, days: int | None) -> None:
        await self._store.flush()
        changed = await self._database.write(
            lambda connection: connection.run(queries.set_retention, account=ctx.account, region=ctx.region, name=name, retention_days=days)
        )
        if not changed:
            raise errors.GroupMissing


def _page(
    connection: Connection,
    ctx: CallContext,
    after: str,
    limit: int,
    *,
    prefix: str = "",
    pattern: str = "",
    group_class: str = "",
) -> list[Row]:
    return connection.all(
        queries.groups_by_name,
        account=ctx.account,
        region=ctx.region,
        after=after,
        prefix=prefix,
        prefix_end=names.end_of_prefix(prefix),
        pattern=pattern,
        limit=limit,
        **{"class": group_class},
    )


def _all_groups(connection: Connection, ctx: CallContext, after: str, group_class: str) -> Iterator[Row]:
    while rows := _page(connection, ctx, after, _SCAN_ROWS, group_class=group_class):
        yield from rows
        after = rows[-1].name


def _identified(connection: Connection, ctx: CallContext, request: dict[str, Any]) -> list[Row]:
    """Find the groups of ``logGroupIdentifiers`` that there are, in order of names."""
    wanted: set[str] = set()
    for identifier in request["logGroupIdentifiers"]:
        try:
            wanted.add(names.group_of_request(ctx.account, ctx.region, {"logGroupIdentifier": identifier}))
        except errors.GroupMissing:
            continue
    found = [connection.one(queries.get_group, account=ctx.account, region=ctx.region, name=name) for name in sorted(wanted)]
    return [row for row in found if row is not None]


def _has_name(name: str, pattern: str) -> bool:
    """Say whether a name fits ``^prefix|substring|…``; the empty pattern fits all."""
    return not pattern or any(name.startswith(part[1:]) if part.startswith("^") else part in name for part in pattern.split("|"))


def _has_tags(row: Row, filters: list[dict[str, Any]]) -> bool:
    """Say whether a group has all the tags asked for; an asterisk in a value stands for any text."""
    tags: dict[str, str] = orjson.loads(row.tags)
    for tag_filter in filters:
        value = tags.get(tag_filter["key"])
        if value is None:
            return False
        wanted = tag_filter.get("values", [])
        if wanted and not any(_fits(value, each) for each in wanted):
            return False
    return True


def _fits(value: str, wanted: str) -> bool:
    """Say whether a value is what is wanted, each asterisk standing for any text."""
    first, *middle = wanted.split("*")
    if not middle:
        return value == first
    last = middle.pop()
    if not value.startswith(first) or len(value) < len(first) + len(last) or not value.endswith(last):
        return False
    index, end = len(first), len(value) - len(last)
    for part in middle:
        index = value.find(part, index, end)
        if index < 0:
            return False
        index += len(part)
    return True


def _to_api(ctx: CallContext, row: Row) -> dict[str, Any]:
    arn = names.group_arn(ctx.account, ctx.region, row.name)
    group: dict[str, Any] = {
        "logGroupName": row.name,
        "creationTime": row.created_at_ms,
        "metricFilterCount": row.metric_filters,
        "arn": f"{arn}:*",
        "logGroupArn": arn,
        "storedBytes": row.stored_bytes,
        "logGroupClass": row["class"],
        "deletionProtectionEnabled": bool(row.deletion_protected),
    }
    if row.retention_days is not None:
        group["retentionInDays"] = row.retention_days
    return group

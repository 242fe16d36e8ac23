"""Subscription filters: PutSubscriptionFilter, DescribeSubscriptionFilters, DeleteSubscriptionFilter.

What filters do to events is in `feeds`.
"""

from collections.abc import Callable
from typing import Any, Final

import orjson

from lambdad.kit.clock import NowMs
from lambdad.model.errors import AwsError
from lambdad.services.logs import errors, feeds, groups
from lambdad.services.logs.ingestion import LogStore
from lambdad.services.logs.rules import destinations, limits, names, paging, patterns
from lambdad.services.logs.rules import feeds as messages
from lambdad.services.ports import CallContext, Handler, Neighbours
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.logs", "queries.sql")

BY_LOG_STREAM: Final = "ByLogStream"
_TRY_AGAIN: Final = 500  # errors from this status on, and throttling, say nothing of the destination
_THROTTLED: Final = 429


class SubscriptionFilters:
    """The operations on subscription filters."""

    def __init__(self, database: Database, store: LogStore, live: feeds.Feeds, neighbours: Neighbours, now_ms: NowMs) -> None:
        self._database = database
        self._store = store
        self._feeds = live
        self._neighbours = neighbours
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "PutSubscriptionFilter": self.put_subscription_filter,
            "DescribeSubscriptionFilters": self.describe_subscription_filters,
            "DeleteSubscriptionFilter": self.delete_subscription_filter,
        }

    async def put_subscription_filter(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Send a group's events that fit a pattern to a function from now on; the function is tried first.

        Raises:
            InvalidParameter: the pattern or the destination is none, or not one that is here.
            GroupMissing: there is no such group.
            LimitExceeded: the group has two other filters.
            CannotExecute: the function is not there, or does not let CloudWatch Logs call it.
            CrossAccount: the function is another account's.
            ServiceUnavailable: the function could not be tried just now.
        """
        group_name, name = request["logGroupName"], request["filterName"]
        pattern = patterns.compile_pattern(request["filterPattern"])
        destination_arn = destinations.check(ctx.account, ctx.region, request)
        await self._store.flush()
        await self._database.read(lambda connection: _require_room(connection, groups.find(connection, ctx, group_name), name))
        now_ms = self._now_ms()
        await self._try(ctx, group_name, destination_arn, now_ms)
        system_fields = request.get("emitSystemFields")

        def put(connection: Connection) -> list[Row]:
            group = groups.find(connection, ctx, group_name)
            _require_room(connection, group, name)
            connection.run(
                queries.put_subscription_filter,
                group_id=group.id,
                name=name,
                created_at_ms=now_ms,
                pattern=pattern.text,
                destination_arn=destination_arn,
                distribution=request.get("distribution", BY_LOG_STREAM),
                system_fields=orjson.dumps(system_fields).decode() if system_fields is not None else None,
            )
            return _of_group(connection, group)

        await self._change(ctx, group_name, put)
        return {}

    async def describe_subscription_filters(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List a group's filters in order of names.

        Raises:
            GroupMissing: there is no such group.
            InvalidParameter: the token is none.
        """
        group_name = request["logGroupName"]
        limit = request.get("limit", limits.PAGE_ITEMS)
        after = paging.parse_name_token(request["nextToken"]) if request.get("nextToken") else ""
        await self._store.flush()
        rows = await self._database.read(
            lambda connection: _page(
                connection, groups.find(connection, ctx, group_name), after, request.get("filterNamePrefix", ""), limit + 1
            )
        )
        output: dict[str, Any] = {"subscriptionFilters": [_to_api(group_name, row) for row in rows[:limit]]}
        if len(rows) > limit:
            output["nextToken"] = paging.name_token(rows[limit - 1].name)
        return output

    async def delete_subscription_filter(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a filter; what is on its way to the function still arrives.

        Raises:
            GroupMissing, SubscriptionFilterMissing: there is no such group or filter.
        """
        group_name = request["logGroupName"]
        await self._store.flush()

        def delete(connection: Connection) -> list[Row]:
            group = groups.find(connection, ctx, group_name)
            if not connection.run(queries.delete_subscription_filter, group_id=group.id, name=request["filterName"]):
                raise errors.SubscriptionFilterMissing
            return _of_group(connection, group)

        await self._change(ctx, group_name, delete)
        return {}

    async def _try(self, ctx: CallContext, group_name: str, destination_arn: str, now_ms: int) -> None:
        """Send a control message, as AWS does to see whether the function can be called."""
        params = {"FunctionName": destination_arn, "InvocationType": "Event", "Payload": messages.control_message(now_ms)}
        try:
            await self._neighbours.call(feeds.origin(ctx.account, ctx.region, group_name), "lambda", "Invoke", params)
        except AwsError as refused:
            if refused.status >= _TRY_AGAIN or refused.status == _THROTTLED:
                raise errors.ServiceUnavailable from refused
            raise errors.CannotExecute from refused

    async def _change(self, ctx: CallContext, group_name: str, work: Callable[[Connection], list[Row]]) -> None:
        """Change filters in the database, and use what is left of the group's from then on."""
        async with self._feeds.changing:
            rows = await self._database.write(work)
            self._feeds.replace(ctx.account, ctx.region, group_name, [feeds.feed_of(row) for row in rows])


def _page(connection: Connection, group: Row, after: str, prefix: str, limit: int) -> list[Row]:
    return connection.all(
        queries.subscription_filters,
        group_id=group.id,
        after=after,
        prefix=prefix,
        prefix_end=names.end_of_prefix(prefix),
        limit=limit,
    )


def _of_group(connection: Connection, group: Row) -> list[Row]:
    return _page(connection, group, "", "", limits.SUBSCRIPTION_FILTERS)


def _require_room(connection: Connection, group: Row, name: str) -> None:
    there = [row.name for row in _of_group(connection, group)]
    if name not in there and len(there) >= limits.SUBSCRIPTION_FILTERS:
        raise errors.LimitExceeded


def _to_api(group_name: str, row: Row) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "filterName": row.name,
        "logGroupName": group_name,
        "filterPattern": row.pattern,
        "destinationArn": row.destination_arn,
        "distribution": row.distribution,
        "applyOnTransformedLogs": False,
        "creationTime": row.created_at_ms,
    }
    if row.system_fields is not None:
        shown["emitSystemFields"] = orjson.loads(row.system_fields)
    return shown

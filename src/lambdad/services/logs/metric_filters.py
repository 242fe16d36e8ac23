"""Metric filters: PutMetricFilter, DescribeMetricFilters, DeleteMetricFilter. They are kept; nothing is counted by them yet."""

from typing import Any

import orjson

from lambdad.kit.clock import NowMs
from lambdad.services.logs import errors, groups
from lambdad.services.logs.ingestion import LogStore
from lambdad.services.logs.rules import limits, metric_transformations, names, paging, patterns
from lambdad.services.ports import CallContext, Handler
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.logs", "queries.sql")


class MetricFilters:
    """The operations on metric filters."""

    def __init__(self, database: Database, store: LogStore, now_ms: NowMs) -> None:
        self._database = database
        self._store = store
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "PutMetricFilter": self.put_metric_filter,
            "DescribeMetricFilters": self.describe_metric_filters,
            "DeleteMetricFilter": self.delete_metric_filter,
        }

    async def put_metric_filter(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Keep a filter of a group, or change it.

        Raises:
            InvalidParameter: the pattern is none, or the transformation breaks a rule.
            GroupMissing: there is no such group.
            LimitExceeded: the group has 100 other filters.
        """
        name = request["filterName"]
        pattern = patterns.compile_pattern(request["filterPattern"])
        transformation = metric_transformations.check(request, pattern)
        await self._store.flush()
        now_ms = self._now_ms()

        def put(connection: Connection) -> None:
            group = groups.find(connection, ctx, request["logGroupName"])
            is_there = connection.one(queries.has_metric_filter, group_id=group.id, name=name) is not None
            if not is_there and group.metric_filters >= limits.METRIC_FILTERS:
                raise errors.LimitExceeded
            connection.run(
                queries.put_metric_filter,
                group_id=group.id,
                name=name,
                created_at_ms=now_ms,
                pattern=pattern.text,
                metric_name=transformation["metricName"],
                metric_namespace=transformation["metricNamespace"],
                transformation=orjson.dumps(transformation).decode(),
            )

        await self._database.write(put)
        return {}

    async def describe_metric_filters(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List filters in order of names: a group's, those for a metric, or all.

        Raises:
            GroupMissing: there is no such group.
            InvalidParameter: a metric's name was given without its namespace, or the other way round; or the token is none.
        """
        metric_name, metric_namespace = request.get("metricName", ""), request.get("metricNamespace", "")
        if bool(metric_name) != bool(metric_namespace):
            raise errors.InvalidParameter("metricName and metricNamespace must be given together.")
        group_name = request.get("logGroupName", "")
        prefix = request.get("filterNamePrefix", "")
        limit = request.get("limit", limits.PAGE_ITEMS)
        after, after_group = paging.parse_filter_name_token(request["nextToken"]) if request.get("nextToken") else ("", "")
        await self._store.flush()

        def page(connection: Connection) -> list[Row]:
            if group_name:
                groups.find(connection, ctx, group_name)
            return connection.all(
                queries.metric_filters,
                account=ctx.account,
                region=ctx.region,
                group_name=group_name,
                after=after,
                after_group=after_group,
                prefix=prefix,
                prefix_end=names.end_of_prefix(prefix),
                metric_name=metric_name,
                metric_namespace=metric_namespace,
                limit=limit + 1,
            )

        rows = await self._database.read(page)
        output: dict[str, Any] = {"metricFilters": [_to_api(row) for row in rows[:limit]]}
        if len(rows) > limit:
            last = rows[limit - 1]
            output["nextToken"] = paging.filter_name_token(last.name, last.group_name)
        return output

    async def delete_metric_filter(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a filter.

        Raises:
            GroupMissing, MetricFilterMissing: there is no such group or filter.
        """
        await self._store.flush()

        def delete(connection: Connection) -> None:
            group = groups.find(connection, ctx, request["logGroupName"])
            if not connection.run(queries.delete_metric_filter, group_id=group.id, name=request["filterName"]):
                raise errors.MetricFilterMissing

        await self._database.write(delete)
        return {}


def _to_api(row: Row) -> dict[str, Any]:
    return {
        "filterName": row.name,
        "filterPattern": row.pattern,
        "metricTransformations": [orjson.loads(row.transformation)],
        "creationTime": row.created_at_ms,
        "logGroupName": row.group_name,
        "applyOnTransformedLogs": False,
    }

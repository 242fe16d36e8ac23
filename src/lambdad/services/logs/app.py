"""The service: its parts put together, its operations by name, and what it does by itself."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NoReturn

from lambdad.kit.clock import NowMs
from lambdad.services.logs import ingestion, retention
from lambdad.services.logs.events import Events
from lambdad.services.logs.export_tasks import ExportTasks
from lambdad.services.logs.feeds import Feeds, Outbox
from lambdad.services.logs.groups import Groups
from lambdad.services.logs.ingestion import LogStore
from lambdad.services.logs.metric_filters import MetricFilters
from lambdad.services.logs.resource_policies import ResourcePolicies
from lambdad.services.logs.rules import limits
from lambdad.services.logs.streams import Streams
from lambdad.services.logs.subscription_filters import SubscriptionFilters
from lambdad.services.logs.tags import Tags
from lambdad.services.ports import CallContext, Neighbours, Service
from lambdad.store.database import Database
from lambdad.store.errors import StoreError
from lambdad.store.migrations import Migrations, load_migrations

_log = logging.getLogger(__name__)

EXPIRE_INTERVAL_S: Final = 900.0
"""How often old events are removed. AWS promises no more than "within 72 hours"; readers never see them anyway."""


def migrations() -> Migrations:
    """Return the schema that the service needs in its database."""
    return load_migrations("lambdad.services.logs")


class LogsService:
    """CloudWatch Logs.

    Args:
        database: opened with `migrations`.
        now_ms: the clock.
        outbox: delivers events to subscribers; opened with the same database.
        neighbours: to try subscribers by, and to export to S3.
        new_uuid: a random UUID, lower case with hyphens.
        buffer_bytes, flush_interval_s: of the `LogStore`.
        groups_max: how many groups an account may have in a region.

    `load` comes first. `run`, ``store.run`` and ``exports.run`` are to be kept running; after they have been cancelled, ``store.flush``
    writes out the rest.
    """

    def __init__(
        self,
        database: Database,
        now_ms: NowMs,
        *,
        outbox: Outbox,
        neighbours: Neighbours,
        new_uuid: Callable[[], str],
        buffer_bytes: int = ingestion.BUFFER_BYTES,
        flush_interval_s: float = ingestion.FLUSH_INTERVAL_S,
        groups_max: int = limits.GROUPS,
    ) -> None:
        self._database = database
        self._now_ms = now_ms
        self._feeds = Feeds(database, outbox)
        self.store = LogStore(database, self._feeds, now_ms, buffer_bytes=buffer_bytes, flush_interval_s=flush_interval_s)
        self._groups = Groups(database, self.store, self._feeds, now_ms, groups_max)
        self._streams = Streams(database, self.store, now_ms)
        self._events = Events(database, self.store, self._feeds, now_ms)
        self._tags = Tags(database, self.store)
        self._subscription_filters = SubscriptionFilters(database, self.store, self._feeds, neighbours, now_ms)
        self._metric_filters = MetricFilters(database, self.store, now_ms)
        self._resource_policies = ResourcePolicies(database, now_ms)
        self.exports = ExportTasks(database, self.store, neighbours, now_ms, new_uuid)

    async def load(self) -> None:
        """Read the subscription filters that there are; to be called before events come."""
        await self._feeds.load()

    def service(self) -> Service:
        """Return the operations for the server."""
        groups, streams, events, tags = self._groups, self._streams, self._events, self._tags
        return Service(
            name="logs",
            handlers={
                "CreateLogGroup": groups.create_log_group,
                "DeleteLogGroup": groups.delete_log_group,
                "DescribeLogGroups": groups.describe_log_groups,
                "ListLogGroups": groups.list_log_groups,
                "PutRetentionPolicy": groups.put_retention_policy,
                "DeleteRetentionPolicy": groups.delete_retention_policy,
                "PutLogGroupDeletionProtection": groups.put_log_group_deletion_protection,
                "CreateLogStream": streams.create_log_stream,
                "DeleteLogStream": streams.delete_log_stream,
                "DescribeLogStreams": streams.describe_log_streams,
                "PutLogEvents": events.put_log_events,
                "GetLogEvents": events.get_log_events,
                "FilterLogEvents": events.filter_log_events,
                "TestMetricFilter": events.test_metric_filter,
                "TagResource": tags.tag_resource,
                "UntagResource": tags.untag_resource,
                "ListTagsForResource": tags.list_tags_for_resource,
                "TagLogGroup": tags.tag_log_group,
                "UntagLogGroup": tags.untag_log_group,
                "ListTagsLogGroup": tags.list_tags_log_group,
                "DescribeDestinations": _describe_destinations,
                **self._subscription_filters.handlers(),
                **self._metric_filters.handlers(),
                **self._resource_policies.handlers(),
                **self.exports.handlers(),
            },
        )

    async def expire(self, now_ms: int) -> int:
        """Remove events that their groups no longer keep; returns the number of chunks removed. See `retention.expire`."""
        return await retention.expire(self._database, now_ms)

    async def run(self) -> NoReturn:
        """Remove old events from time to time, until cancelled."""
        while True:
            try:
                await self.expire(self._now_ms())
            except StoreError:
                _log.exception("logs.expire.failed")
            await asyncio.sleep(EXPIRE_INTERVAL_S)


async def _describe_destinations(_ctx: CallContext, _request: dict[str, object]) -> dict[str, object]:
    """List the account's logs destinations: there are none, as there is no PutDestination here."""
    return {"destinations": []}

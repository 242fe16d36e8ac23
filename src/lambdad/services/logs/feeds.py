"""What subscription filters want is put on its way to their functions, in the transaction that stores the events."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

import orjson

from lambdad.model.ids import AccountId, Region
from lambdad.services.logs.rules import chunks, limits, names, patterns
from lambdad.services.logs.rules import feeds as rules
from lambdad.services.logs.writing import StreamBatch
from lambdad.services.outbox import Delivery
from lambdad.services.ports import Origin
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.logs", "queries.sql")

_log = logging.getLogger(__name__)

PRINCIPAL: Final = "logs.amazonaws.com"
ATTEMPTS_MAX: Final = 1_000  # more than fit into the time for which deliveries are tried

_GroupKey: TypeAlias = tuple[str, str, str]


class Outbox(Protocol):
    """Keeps deliveries and makes them; `services.outbox`."""

    def add(self, connection: Connection, deliveries: Sequence[Delivery], now_ms: int) -> None:
        """Keep deliveries, within a write."""
        ...

    def wake(self) -> None:
        """Look for new deliveries now."""
        ...


class Feeds:
    """All subscription filters, in memory, so that no log line waits for a query; and the way out for what they want.

    Args:
        database: of which `load` reads the filters.
        outbox: takes the deliveries.
    """

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox
        self.changing = asyncio.Lock()
        """Held by whoever changes filters, from before his write until he has called `replace` or `forget`: the last to write is the
        last to be heard."""
        self._by_group: dict[_GroupKey, tuple[rules.Feed, ...]] = {}  # its values are never changed in place: other threads read them

    async def load(self) -> None:
        """Read all filters; to be called once, before events come."""
        for row in await self._database.read(lambda connection: connection.all(queries.all_subscription_filters)):
            key = (row.account, row.region, row.group_name)
            self._by_group[key] = (*self._by_group.get(key, ()), feed_of(row))

    def of(self, account: str, region: str, group: str) -> Sequence[rules.Feed]:
        """Return the filters of a group."""
        return self._by_group.get((account, region, group), ())

    def replace(self, account: str, region: str, group: str, feeds: Sequence[rules.Feed]) -> None:
        """Use other filters for a group from now on, after they have been committed."""
        if feeds:
            self._by_group[account, region, group] = tuple(feeds)
        else:
            self.forget(account, region, group)

    def forget(self, account: str, region: str, group: str) -> None:
        """Drop a group's filters, after they have been deleted."""
        self._by_group.pop((account, region, group), None)

    def send(self, connection: Connection, batch: StreamBatch, chunk_ids: Sequence[int]) -> None:
        """Keep deliveries of what filters want of a batch; runs in the write that stores its chunks under these ids."""
        account, region, group, stream = batch.key
        sender = rules.Sender(account=account, region=region, group=group, stream=stream)
        deliveries: list[Delivery] = []
        for match in batch.matches:
            ids = [
                chunks.event_id((event.timestamp_ms, batch.ingested_at_ms, chunk_ids[event.chunk], event.place)) for event in match.events
            ]
            messages = rules.messages(sender, match, ids)
            if messages.too_large:
                _log.warning("logs.subscription.too_large group=%s filter=%s events=%d", group, match.feed.name, messages.too_large)
            deliveries += [_delivery(sender, match.feed.destination_arn, payload) for payload in messages.payloads]
        self._outbox.add(connection, deliveries, batch.ingested_at_ms)

    def sent(self, batches: Sequence[StreamBatch]) -> None:
        """Have what was kept delivered, after the commit."""
        if any(batch.matches for batch in batches):
            self._outbox.wake()


def feed_of(row: Row) -> rules.Feed:
    """Make a filter ready for use from its row."""
    return rules.Feed(
        name=row.name,
        pattern=patterns.compile_pattern(row.pattern),
        destination_arn=row.destination_arn,
        system_fields=tuple(orjson.loads(row.system_fields)) if row.system_fields is not None else (),
    )


def origin(account: str, region: str, group: str) -> Origin:
    """Say for whom a function is called: the group is the source, as the function's policy is to name it."""
    return Origin(
        account=AccountId(account),
        region=Region(region),
        principal=PRINCIPAL,
        source_arn=f"{names.group_arn(account, region, group)}:*",
    )


def _delivery(sender: rules.Sender, function_arn: str, payload: bytes) -> Delivery:
    return Delivery(
        origin=origin(sender.account, sender.region, sender.group),
        service="lambda",
        operation="Invoke",
        params={"FunctionName": function_arn, "InvocationType": "Event", "Payload": payload},
        maximum_attempts=ATTEMPTS_MAX,
        maximum_age_s=limits.DELIVERY_MAX_S,
    )

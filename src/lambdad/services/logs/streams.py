"""Log streams: CreateLogStream, DeleteLogStream, DescribeLogStreams."""

from typing import Any, Final

from lambdad.kit.clock import NowMs
from lambdad.services.logs import errors, groups, retention
from lambdad.services.logs.ingestion import LogStore
from lambdad.services.logs.rules import limits, names, paging
from lambdad.services.ports import CallContext
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.logs", "queries.sql")

BY_LAST_EVENT: Final = "LastEventTime"


def find(connection: Connection, group: Row, name: str) -> Row:
    """Find a stream of a group.

    Raises:
        StreamMissing: there is none of that name.
    """
    row = connection.one(queries.get_stream, group_id=group.id, name=name) if names.is_storable(name) else None
    if row is None:
        raise errors.StreamMissing
    return row


def sequence_token(stream_id: int, ingested_at_ms: int) -> str:
    """Write the token that AWS once demanded with the next PutLogEvents: 56 digits. It is given out and not looked at."""
    return f"4961{stream_id:032d}{ingested_at_ms:020d}"


class Streams:
    """The operations on log streams."""

    def __init__(self, database: Database, store: LogStore, now_ms: NowMs) -> None:
        self._database = database
        self._store = store
        self._now_ms = now_ms

    async def create_log_stream(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Make a stream in a group.

        Raises:
            GroupMissing: there is no such group.
            StreamExists: the name is taken.
            InvalidParameter: the name cannot be stored.
        """
        name = request["logStreamName"]
        names.check_new_stream(name)
        await self._store.flush()
        now_ms = self._now_ms()

        def create(connection: Connection) -> None:
            group = groups.find(connection, ctx, request["logGroupName"])
            if not connection.run(queries.insert_stream, group_id=group.id, name=name, created_at_ms=now_ms):
                raise errors.StreamExists

        await self._database.write(create)
        return {}

    async def delete_log_stream(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a stream and its events.

        Raises:
            GroupMissing: there is no such group.
            StreamMissing: there is no such stream.
        """
        group_name, name = request["logGroupName"], request["logStreamName"]
        await self._store.discard(ctx.account, ctx.region, group_name, name)

        def delete(connection: Connection) -> None:
            group = groups.find(connection, ctx, group_name)
            stream = find(connection, group, name)
            connection.run(queries.delete_stream, id=stream.id)
            connection.run(queries.add_group_bytes, id=group.id, size_bytes=-stream.stored_bytes)
            connection.run(queries.insert_discard, group_id=group.id, stream_id=stream.id)

        await self._database.write(delete)
        await retention.remove_discarded(self._database, rounds=retention.ROUNDS_OF_REQUEST)
        return {}

    async def describe_log_streams(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List a group's streams in order of names or of their last events.

        Raises:
            GroupMissing: there is no such group.
            InvalidParameter: a prefix was given together with the order of last events, or the token is none.
        """
        group_name = names.group_of_request(ctx.account, ctx.region, request)
        by_last_event = request.get("orderBy") == BY_LAST_EVENT
        if by_last_event and request.get("logStreamNamePrefix"):
            raise errors.InvalidParameter("Cannot order by LastEventTime with a logStreamNamePrefix.")
        limit = request.get("limit", limits.PAGE_ITEMS)
        page = _page_by_last_event if by_last_event else _page_by_name
        await self._store.flush()
        rows = await self._database.read(lambda connection: page(connection, groups.find(connection, ctx, group_name), request, limit + 1))
        output: dict[str, Any] = {"logStreams": [_to_api(ctx, group_name, row) for row in rows[:limit]]}
        if len(rows) > limit:
            last = rows[limit - 1]
            output["nextToken"] = (
                paging.last_event_token(last.last_event_at_ms, last.name) if by_last_event else paging.name_token(last.name)
            )
        return output


def _page_by_name(connection: Connection, group: Row, request: dict[str, Any], limit: int) -> list[Row]:
    token = request.get("nextToken")
    prefix = request.get("logStreamNamePrefix", "")
    if not names.is_storable(prefix):
        return []
    end = names.end_of_prefix(prefix)
    parameters = {"group_id": group.id, "prefix": prefix, "prefix_end": end, "limit": limit}
    if request.get("descending"):
        before = paging.parse_name_token(token) if token else end
        return connection.all(queries.streams_by_name_descending, before=before, **parameters)
    after = paging.parse_name_token(token) if token else ""
    return connection.all(queries.streams_by_name, after=after, **parameters)


def _page_by_last_event(connection: Connection, group: Row, request: dict[str, Any], limit: int) -> list[Row]:
    token = request.get("nextToken")
    if request.get("descending"):
        before_ms, before = paging.parse_last_event_token(token) if token else (1 << 62, "")
        return connection.all(
            queries.streams_by_last_event_descending,
            group_id=group.id,
            before_ms=before_ms,
            before=before,
            limit=limit,
        )
    after_ms, after = paging.parse_last_event_token(token) if token else (-1, "")
    return connection.all(queries.streams_by_last_event, group_id=group.id, after_ms=after_ms, after=after, limit=limit)


def _to_api(ctx: CallContext, group: str, row: Row) -> dict[str, Any]:
    stream: dict[str, Any] = {
        "logStreamName": row.name,
        "creationTime": row.created_at_ms,
        "arn": names.stream_arn(ctx.account, ctx.region, group, row.name),
        "storedBytes": 0,  # AWS has said nothing else of streams since 2019
        "uploadSequenceToken": sequence_token(row.id, row.last_ingested_at_ms),
    }
    if row.first_event_at_ms is not None:
        stream["firstEventTimestamp"] = row.first_event_at_ms
    if row.last_ingested_at_ms:
        stream["lastEventTimestamp"] = row.last_event_at_ms
        stream["lastIngestionTime"] = row.last_ingested_at_ms
    return stream

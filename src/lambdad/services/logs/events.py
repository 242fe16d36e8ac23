"""Log events: PutLogEvents, GetLogEvents, FilterLogEvents, TestMetricFilter."""

import itertools
from collections.abc import Iterator
from typing import Any, Final

from lambdad.kit import threads
from lambdad.kit.clock import NowMs
from lambdad.services.logs import errors, groups, reading, streams, writing
from lambdad.services.logs.feeds import Feeds
from lambdad.services.logs.ingestion import LogStore
from lambdad.services.logs.rules import batches, chunks, limits, names, paging, patterns
from lambdad.services.ports import CallContext
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database

SCAN_EVENTS: Final = 100_000
SCAN_BYTES: Final = 32 * 1024 * 1024
"""How much one FilterLogEvents looks through; then it answers with what it has found and a token."""


class Events:
    """The operations on log events."""

    def __init__(self, database: Database, store: LogStore, feeds: Feeds, now_ms: NowMs) -> None:
        self._database = database
        self._store = store
        self._feeds = feeds
        self._now_ms = now_ms

    async def put_log_events(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Store events in a stream; the answer means that they are durable.

        Raises:
            GroupMissing, StreamMissing: there is no such group or stream.
            InvalidParameter: the batch breaks a rule, see `batches.judge`.
        """
        group_name, stream_name = request["logGroupName"], request["logStreamName"]
        now_ms = self._now_ms()
        await self._store.flush()
        group, stream = await self._database.read(lambda connection: _group_and_stream(connection, ctx, group_name, stream_name))
        verdict = batches.judge(request["logEvents"], now_ms=now_ms, retention_days=group.retention_days)
        if verdict.events:
            key = (ctx.account, ctx.region, group_name, stream_name)
            subscribers = self._feeds.of(*key[:3])
            if sum([len(message) for _, message in verdict.events]) <= writing.INLINE_CHARACTERS:
                batch = writing.pack(key, verdict.events, subscribers, now_ms)
            else:
                batch = await threads.run(writing.pack, key, verdict.events, subscribers, now_ms)
            await self._database.write(lambda connection: writing.write_batch(connection, batch, (group.id, stream.id), self._feeds.send))
            self._feeds.sent([batch])
        output: dict[str, Any] = {"nextSequenceToken": streams.sequence_token(stream.id, now_ms)}
        if verdict.rejected:
            output["rejectedLogEventsInfo"] = verdict.rejected
        if "entity" in request:
            # Events are stored whatever becomes of the entity, in AWS too; it has this answer for groups that take none.
            output["rejectedEntityInfo"] = {"errorType": "UnsupportedLogGroupType"}
        return output

    async def get_log_events(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Return a page of one stream's events, oldest first, from the stream's end unless told otherwise.

        At the end of the stream the token that was sent comes back.

        Raises:
            GroupMissing, StreamMissing: there is no such group or stream.
            InvalidParameter: the token is none.
        """
        group_name = names.group_of_request(ctx.account, ctx.region, request)
        token = paging.parse_stream_token(request["nextToken"]) if request.get("nextToken") else None
        forward = token.forward if token else bool(request.get("startFromHead", False))
        limit = request.get("limit", limits.PAGE_EVENTS)
        end_ms: int | None = request.get("endTime")
        now_ms = self._now_ms()
        await self._store.flush()

        def read(connection: Connection) -> tuple[list[reading.Event], int]:
            group, stream = _group_and_stream(connection, ctx, group_name, request["logStreamName"])
            begin_ms = _begin_ms(request, group, now_ms)
            scope = reading.of_stream(stream.id)
            if forward:
                events = reading.ascending(connection, scope, _begin(begin_ms, token), end_ms)
                return _fill(events, limit), begin_ms
            events = reading.descending(connection, scope, _end(end_ms, token), begin_ms)
            return _fill(events, limit)[::-1], begin_ms

        events, begin_ms = await self._database.read(read)
        forward_token, backward_token = _stream_tokens(events, token, begin_ms, None if forward else end_ms)
        return {
            "events": [{"timestamp": event.position[0], "message": event.message, "ingestionTime": event.position[1]} for event in events],
            "nextForwardToken": forward_token.of_stream(),
            "nextBackwardToken": backward_token.of_stream(),
        }

    async def filter_log_events(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Return a page of those events of a group that fit a pattern, all streams interleaved.

        A page may be empty and yet have a token: then as much was looked through as one call may.

        Raises:
            GroupMissing, StreamMissing: there is no such group, or no stream of a name in ``logStreamNames``.
            InvalidParameter: the token or the pattern is none, or both names and a prefix were given.
        """
        group_name = names.group_of_request(ctx.account, ctx.region, request)
        if request.get("logStreamNames") and request.get("logStreamNamePrefix"):
            raise errors.InvalidParameter("LogStreamNames and LogStreamNamePrefix are mutually exclusive parameters.")
        pattern = patterns.compile_pattern(request.get("filterPattern", ""))
        token = paging.parse_filter_token(request["nextToken"]) if request.get("nextToken") else None
        forward = token.forward if token else bool(request.get("startFromHead", True))
        limit = request.get("limit", limits.PAGE_EVENTS)
        # Unlike in GetLogEvents, an event at the end time itself belongs to the answer.
        end_ms = request["endTime"] + 1 if "endTime" in request else None
        now_ms = self._now_ms()
        await self._store.flush()

        def read(connection: Connection) -> tuple[list[reading.Event], reading.Event | None]:
            group = groups.find(connection, ctx, group_name)
            begin_ms = _begin_ms(request, group, now_ms)
            scope = _scope(connection, group, request)
            if forward:
                events = reading.ascending(connection, scope, _begin(begin_ms, token), end_ms)
            else:
                events = reading.descending(connection, scope, _end(end_ms, token), begin_ms)
            return _search(events, pattern, limit)

        events, last = await self._database.read(read)
        output: dict[str, Any] = {
            "events": [
                {
                    "logStreamName": event.stream,
                    "timestamp": event.position[0],
                    "message": event.message,
                    "ingestionTime": event.position[1],
                    "eventId": chunks.event_id(event.position),
                }
                for event in events
            ],
            "searchedLogStreams": [],
        }
        if last is not None:
            output["nextToken"] = paging.EventsToken(forward, chunks.position_number(last.position)).of_filter()
        return output

    async def test_metric_filter(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Try a filter pattern on messages; nothing is stored.

        Raises:
            InvalidParameter: the pattern is none.
        """
        pattern = patterns.compile_pattern(request["filterPattern"])
        return {
            "matches": [
                {"eventNumber": number, "eventMessage": message, "extractedValues": pattern.extract(message)}
                for number, message in enumerate(request["logEventMessages"], 1)
                if pattern.matches(message)
            ]
        }


def _group_and_stream(connection: Connection, ctx: CallContext, group_name: str, stream_name: str) -> tuple[Row, Row]:
    group = groups.find(connection, ctx, group_name)
    return group, streams.find(connection, group, stream_name)


def _scope(connection: Connection, group: Row, request: dict[str, Any]) -> reading.Scope:
    if prefix := request.get("logStreamNamePrefix"):
        return reading.of_prefix(group.id, prefix)
    if stream_names := request.get("logStreamNames"):
        return reading.of_streams(group.id, [streams.find(connection, group, name).id for name in stream_names])
    return reading.of_group(group.id)


def _begin_ms(request: dict[str, Any], group: Row, now_ms: int) -> int:
    """Return the time from which events are shown: those that the group no longer keeps are not, even if still there."""
    begin_ms: int = request.get("startTime", 0)
    if group.retention_days is None:
        return begin_ms
    kept_from_ms: int = now_ms - group.retention_days * limits.DAY_MS
    return max(begin_ms, kept_from_ms)


def _begin(begin_ms: int, token: paging.EventsToken | None) -> chunks.Position:
    """Return the first position that a page going forward may have."""
    first = (begin_ms, 0, 0, 0)
    return first if token is None else max(first, chunks.position_of(token.number + 1))


def _end(end_ms: int | None, token: paging.EventsToken | None) -> chunks.Position | None:
    """Return the position before which a page going backward ends."""
    ends = []
    if end_ms is not None:
        ends.append((end_ms, 0, 0, 0))
    if token is not None:
        ends.append(chunks.position_of(token.number))
    return min(ends, default=None)


def _fill(events: Iterator[reading.Event], limit: int) -> list[reading.Event]:
    """Take as many events as a page holds, one at least if there is one."""
    page: list[reading.Event] = []
    size = 0
    for event in itertools.islice(events, min(limit, limits.PAGE_EVENTS)):
        size += batches.size_bytes([event.message])
        if page and size > limits.PAGE_BYTES:
            break
        page.append(event)
    return page


def _search(
    events: Iterator[reading.Event], pattern: patterns.FilterPattern, limit: int
) -> tuple[list[reading.Event], reading.Event | None]:
    """Take the events that fit; the second value is the last event looked at, or None if there are no more."""
    found: list[reading.Event] = []
    found_bytes = scanned_bytes = 0
    last: reading.Event | None = None
    for scanned, event in enumerate(events):
        if len(found) >= limit or scanned >= SCAN_EVENTS or scanned_bytes >= SCAN_BYTES:
            return found, last
        size = batches.size_bytes([event.message])
        if pattern.matches(event.message):
            if found and found_bytes + size > limits.PAGE_BYTES:
                return found, last
            found.append(event)
            found_bytes += size
        last = event
        scanned_bytes += size
    return found, None


def _stream_tokens(
    events: list[reading.Event], token: paging.EventsToken | None, begin_ms: int, end_ms: int | None
) -> tuple[paging.EventsToken, paging.EventsToken]:
    """Return the tokens forward and backward.

    Args:
        events: of the page, oldest first.
        token: the one that was sent.
        begin_ms, end_ms: where an empty page without a token stands: at its end if there is one, else at its beginning.
    """
    if events:
        behind = chunks.position_number(events[-1].position)
        before = chunks.position_number(events[0].position)
    elif token is not None and token.forward:
        behind, before = token.number, token.number + 1
    elif token is not None:
        behind, before = max(token.number - 1, 0), token.number
    else:
        before = chunks.position_number((begin_ms if end_ms is None else end_ms, 0, 0, 0))
        behind = max(before - 1, 0)
    return paging.EventsToken(True, behind), paging.EventsToken(False, before)

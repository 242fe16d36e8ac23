"""Replays: events of an archive are sent to the rules of their bus once more.

A replay goes through its archive in order of time, a batch after the other; each batch's deliveries and the note how far it has come are
one transaction, so that a replay goes on after a restart where it was.
"""

from datetime import UTC, datetime
from typing import Any, Final

import orjson

from lambdad.kit.clock import NowMs
from lambdad.services.events import errors
from lambdad.services.events.dispatch import Dispatcher, Routed
from lambdad.services.events.registry import Archive, Registry, sql
from lambdad.services.events.rules import events, limits, names
from lambdad.services.outbox import Outbox
from lambdad.services.ports import CallContext, Handler
from lambdad.services.timetable import Timetable
from lambdad.store.database import Connection, Database, Row

_BATCH: Final = 200
_AT_ONCE: Final = 10


class Replays:
    """The operations on replays, and the work of those that are under way."""

    def __init__(self, registry: Registry, dispatcher: Dispatcher, database: Database, outbox: Outbox, now_ms: NowMs) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._database = database
        self._outbox = outbox
        self._now_ms = now_ms
        self.timetable = Timetable("replays", self._step, now_ms)

    def handlers(self) -> dict[str, Handler]:
        """Return the operations by AWS's names."""
        return {
            "StartReplay": self.start_replay,
            "DescribeReplay": self.describe_replay,
            "ListReplays": self.list_replays,
            "CancelReplay": self.cancel_replay,
        }

    async def start_replay(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Begin to send events of an archive again.

        Raises:
            ReplayExists, InvalidValue.
        """
        name, now_ms = request["ReplayName"], self._now_ms()
        archive = self._archive(ctx, request)
        begin_ms, end_ms = (int(request[member].timestamp() * 1000) for member in ("EventStartTime", "EventEndTime"))
        if end_ms <= begin_ms:
            raise errors.InvalidValue("Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime.")
        kept = {member: request[member] for member in ("Description", "EventSourceArn", "Destination") if member in request}

        inserted = await self._database.write(
            lambda connection: connection.run(
                sql.insert_replay,
                account=ctx.account,
                region=ctx.region,
                name=name,
                request=orjson.dumps(kept).decode(),
                archive_id=archive.id,
                state="STARTING",
                begin_ms=begin_ms,
                end_ms=end_ms,
                cursor_ms=begin_ms - 1,
                started_at_ms=now_ms,
            )
        )
        if not inserted:
            raise errors.ReplayExists(name)
        self.timetable.wake()
        return {
            "ReplayArn": names.replay_arn(ctx.account, ctx.region, name),
            "State": "STARTING",
            "ReplayStartTime": datetime.fromtimestamp(now_ms / 1000, UTC),
        }

    async def describe_replay(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show a replay.

        Raises:
            ReplayMissing.
        """
        name = request["ReplayName"]
        row = await self._database.read(lambda connection: connection.one(sql.get_replay, **_of(ctx), name=name))
        if row is None:
            raise errors.ReplayMissing(name)
        asked = orjson.loads(row.request)
        more = {member: asked[member] for member in ("Description", "Destination") if member in asked}
        return {**_to_api(row), **more, "ReplayArn": names.replay_arn(ctx.account, ctx.region, name)}

    async def list_replays(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show replays in order of names, all or those of an archive, a prefix or a state.

        Raises:
            InvalidValue: several of these are asked for, or the token is none of ours.
        """
        if sum(name in request for name in ("NamePrefix", "EventSourceArn", "State")) > 1:
            raise errors.InvalidValue("At most one filter is allowed for ListReplays. Use either : State, EventSourceArn, or NamePrefix.")
        after, prefix = names.parse_token(request.get("NextToken")), request.get("NamePrefix", "")
        rows = await self._database.read(lambda connection: connection.all(sql.replays_by_name, **_of(ctx), after=after))
        found = [
            shown
            for shown in map(_to_api, rows)
            if shown["ReplayName"].startswith(prefix)
            and request.get("State", shown["State"]) == shown["State"]
            and request.get("EventSourceArn", shown["EventSourceArn"]) == shown["EventSourceArn"]
        ]
        page = found[: request.get("Limit", limits.PAGE_ITEMS)]
        answer: dict[str, Any] = {"Replays": page}
        if len(page) < len(found):
            answer["NextToken"] = names.token(page[-1]["ReplayName"])
        return answer

    async def cancel_replay(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Let a replay end where it is.

        Raises:
            ReplayMissing, IllegalStatus.
        """
        name = request["ReplayName"]

        def cancel(connection: Connection) -> None:
            if not connection.run(sql.cancel_replay, **_of(ctx), name=name):
                known = connection.one(sql.get_replay, **_of(ctx), name=name)
                raise errors.ReplayMissing(name) if known is None else errors.IllegalStatus(name)

        await self._database.write(cancel)
        self.timetable.wake()
        return {"ReplayArn": names.replay_arn(ctx.account, ctx.region, name), "State": "CANCELLING"}

    def _archive(self, ctx: CallContext, request: dict[str, Any]) -> Archive:
        found = names.archive_of_arn(request["EventSourceArn"])
        if found is None or found[:2] != (ctx.account, ctx.region):
            raise errors.InvalidValue("Parameter EventSourceArn is not valid. Reason: Must contain an archive ARN.")
        try:
            archive = self._registry.archive(*found)
        except errors.ArchiveMissing as error:
            raise errors.InvalidValue(f"Parameter EventSourceArn is not valid. Reason: {error.message}") from None
        if request["Destination"]["Arn"] != names.bus_arn(archive.bus):
            raise errors.InvalidValue("Parameter Destination.Arn is not valid. Reason: Cross event bus replay is not permitted.")
        return archive

    async def _step(self, now_ms: int) -> int | None:
        """Do a batch of each replay that is under way, as `Timetable` asks."""
        rows = await self._database.read(lambda connection: connection.all(sql.replays_under_way, limit=_AT_ONCE))
        for row in rows:
            await self._go_on(row, now_ms)
        return now_ms if rows else None

    async def _go_on(self, row: Row, now_ms: int) -> None:
        if row.state == "CANCELLING":
            await self._advance(row, "CANCELLED", row.cursor_ms, row.cursor_id, now_ms, Routed())
            return
        asked = orjson.loads(row.request)
        archive = next((each for each in self._registry.all_archives() if each.id == row.archive_id), None)
        if archive is None:
            await self._advance(row, "FAILED", row.cursor_ms, row.cursor_id, now_ms, Routed(), reason="The archive has been deleted.")
            return
        stored = await self._database.read(
            lambda connection: connection.all(
                sql.archived_between,
                archive_id=archive.id,
                cursor_ms=row.cursor_ms,
                cursor_id=row.cursor_id,
                end_ms=row.end_ms,
                limit=_BATCH,
            )
        )
        routed = Routed()
        only = frozenset(asked["Destination"].get("FilterArns", []))
        for each in stored:
            await self._dispatcher.route(archive.bus, events.replayed(each.body, row.name, each.at_ms, now_ms), routed, only=only)
        is_done = len(stored) < _BATCH
        cursor = (stored[-1].at_ms, stored[-1].id) if stored else (row.cursor_ms, row.cursor_id)
        await self._advance(row, "COMPLETED" if is_done else "RUNNING", *cursor, now_ms, routed)

    async def _advance(
        self, row: Row, state: str, cursor_ms: int, cursor_id: int, now_ms: int, routed: Routed, *, reason: str = ""
    ) -> None:
        def advance(connection: Connection) -> None:
            advanced = connection.run(
                sql.advance_replay,
                id=row.id,
                state=state,
                state_reason=reason,
                cursor_ms=cursor_ms,
                cursor_id=cursor_id,
                ended_at_ms=None if state == "RUNNING" else now_ms,
                expected=row.state,
                expected_ms=row.cursor_ms,
                expected_id=row.cursor_id,
            )
            if advanced:
                self._dispatcher.write(connection, routed, now_ms)

        await self._database.write(advance)
        self._outbox.wake()


def _of(ctx: CallContext) -> dict[str, str]:
    return {"account": ctx.account, "region": ctx.region}


def _to_api(row: Row) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "ReplayName": row.name,
        "EventSourceArn": orjson.loads(row.request)["EventSourceArn"],
        "State": row.state,
        "EventStartTime": datetime.fromtimestamp(row.begin_ms / 1000, UTC),
        "EventEndTime": datetime.fromtimestamp(row.end_ms / 1000, UTC),
        "ReplayStartTime": datetime.fromtimestamp(row.started_at_ms / 1000, UTC),
    }
    if row.state_reason:
        shown["StateReason"] = row.state_reason
    if row.cursor_id:
        shown["EventLastReplayedTime"] = datetime.fromtimestamp(row.cursor_ms / 1000, UTC)
    if row.ended_at_ms is not None:
        shown["ReplayEndTime"] = datetime.fromtimestamp(row.ended_at_ms / 1000, UTC)
    return shown

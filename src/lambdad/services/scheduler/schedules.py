"""Schedules: when a target is started."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from lambdad.kit.clock import NowMs
from lambdad.services.ports import CallContext, Handler
from lambdad.services.scheduler import errors, groups, zones
from lambdad.services.scheduler.groups import of, sql
from lambdad.services.scheduler.rules import limits, names, targets, times
from lambdad.services.scheduler.rules.times import Due, Times
from lambdad.services.timetable import Timetable
from lambdad.store.database import Connection, Database, Row

_MEMBERS: Final[tuple[str, ...]] = (
    *("ScheduleExpression", "ScheduleExpressionTimezone", "StartDate", "EndDate", "Description", "State", "Target"),
    *("FlexibleTimeWindow", "ActionAfterCompletion"),
)
_BEGINS_ANEW: Final = ("ScheduleExpression", "StartDate", "State")
"""Where one of these changes, a rate counts anew."""


class Schedules:
    """
    The operations on schedules.

    Args:
        draw: gives random numbers 0.0..1.0, for places in flexible windows.
        model_of: reads service models, for universal targets.
    """

    def __init__(
        self, database: Database, timetable: Timetable, now_ms: NowMs, *, draw: Callable[[], float], model_of: targets.ModelOf
    ) -> None:
        self._database = database
        self._timetable = timetable
        self._now_ms = now_ms
        self._draw = draw
        self._model_of = model_of

    def handlers(self) -> dict[str, Handler]:
        """Return the operations by AWS's names."""
        return {
            "CreateSchedule": self.create_schedule,
            "GetSchedule": self.get_schedule,
            "UpdateSchedule": self.update_schedule,
            "DeleteSchedule": self.delete_schedule,
            "ListSchedules": self.list_schedules,
        }

    async def create_schedule(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Make a schedule.

        Raises:
            ScheduleExists, GroupMissing, InvalidValue.
        """
        name, group, token = request["Name"], request.get("GroupName", names.DEFAULT), request.get("ClientToken", "")
        now_ms = self._now_ms()
        definition = self._definition(request)
        times.check_dates(definition, now_ms)
        read = _times(definition, now_ms)
        due = times.first(read, now_ms, self._draw()) if definition["State"] == "ENABLED" else None

        def create(connection: Connection) -> None:
            if groups.existing(connection, ctx, group, now_ms).state != "ACTIVE":
                raise errors.GroupMissing(group)
            inserted = connection.run(
                sql.insert_schedule,
                **of(ctx),
                group_name=group,
                name=name,
                definition=_dumps(definition),
                client_token=token,
                now_ms=now_ms,
                **_due(due),
            )
            if not inserted and not (token and _existing(connection, ctx, group, name).client_token == token):
                raise errors.ScheduleExists(name)

        await self._database.write(create)
        self._timetable.wake()
        return {"ScheduleArn": names.schedule_arn(ctx.account, ctx.region, group, name)}

    async def get_schedule(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show a schedule.

        Raises:
            ScheduleMissing.
        """
        name, group = request["Name"], request.get("GroupName", names.DEFAULT)
        row = await self._database.read(lambda connection: _existing(connection, ctx, group, name))
        definition = orjson.loads(row.definition)
        for date in ("StartDate", "EndDate"):
            if date in definition:
                definition[date] = datetime.fromisoformat(definition[date])
        target = definition["Target"]
        policy = {"MaximumEventAgeInSeconds": limits.EVENT_AGE_S, "MaximumRetryAttempts": limits.RETRY_ATTEMPTS}
        definition["Target"] = {**target, "RetryPolicy": {**policy, **target.get("RetryPolicy", {})}}
        return {
            **definition,
            "Name": name,
            "GroupName": group,
            "Arn": names.schedule_arn(ctx.account, ctx.region, group, name),
            "CreationDate": datetime.fromtimestamp(row.created_at_ms / 1000, UTC),
            "LastModificationDate": datetime.fromtimestamp(row.modified_at_ms / 1000, UTC),
        }

    async def update_schedule(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Replace a schedule; what is not given has its default again.

        Raises:
            ScheduleMissing, InvalidValue.
        """
        name, group, now_ms = request["Name"], request.get("GroupName", names.DEFAULT), self._now_ms()
        definition = orjson.loads(_dumps(self._definition(request)))
        _times(definition, now_ms)
        draw = self._draw()

        def update(connection: Connection) -> None:
            row = _existing(connection, ctx, group, name)
            old = orjson.loads(row.definition)
            if any(old.get(date) != definition.get(date) for date in ("StartDate", "EndDate")):
                times.check_dates(definition, now_ms)
            is_anew = any(old.get(member) != definition.get(member) for member in _BEGINS_ANEW)
            made_at_ms = now_ms if is_anew else row.made_at_ms
            read = _times(definition, made_at_ms)
            due = None
            if definition["State"] == "ENABLED":
                due = times.first(read, now_ms, draw) if is_anew else times.following(read, now_ms, draw)
            connection.run(sql.update_schedule, id=row.id, definition=_dumps(definition), now_ms=now_ms, made_at_ms=made_at_ms, **_due(due))

        await self._database.write(update)
        self._timetable.wake()
        return {"ScheduleArn": names.schedule_arn(ctx.account, ctx.region, group, name)}

    async def delete_schedule(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a schedule.

        Raises:
            ScheduleMissing.
        """
        name, group = request["Name"], request.get("GroupName", names.DEFAULT)
        deleted = await self._database.write(lambda connection: connection.run(sql.delete_schedule, **of(ctx), group_name=group, name=name))
        if not deleted:
            raise errors.ScheduleMissing(name)
        return {}

    async def list_schedules(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show schedules in order of groups and names.

        Raises:
            GroupMissing.
            InvalidValue: the token is none of ours.
        """
        after_group, after = names.parse_token(request.get("NextToken"), 2)
        limit, group, state, now_ms = (
            request.get("MaxResults", limits.PAGE_ITEMS),
            request.get("GroupName", ""),
            request.get("State"),
            self._now_ms(),
        )

        def page(connection: Connection) -> tuple[list[Row], bool]:
            if group and group != names.DEFAULT:
                groups.existing(connection, ctx, group, now_ms)
            found: list[Row] = []
            place = (after_group, after)
            while True:
                rows = connection.all(
                    sql.schedules_by_name,
                    **of(ctx),
                    after_group=place[0],
                    after=place[1],
                    group_name=group,
                    prefix=request.get("NamePrefix", ""),
                    limit=limit + 1,
                )
                found += [row for row in rows if state is None or orjson.loads(row.definition)["State"] == state]
                if len(found) > limit or len(rows) <= limit:
                    return found[:limit], len(found) > limit
                place = (rows[-1].group_name, rows[-1].name)

        rows, has_more = await self._database.read(page)
        answer: dict[str, Any] = {"Schedules": [_summary(ctx, row) for row in rows]}
        if has_more:
            answer["NextToken"] = names.token(rows[-1].group_name, rows[-1].name)
        return answer

    def _definition(self, request: dict[str, Any]) -> dict[str, Any]:
        """Read what is kept of a request, with AWS's defaults.

        Raises:
            InvalidValue: the target or a key cannot be used.
        """
        if "KmsKeyArn" in request:
            raise errors.InvalidValue("KmsKeyArn is not supported: lambdad does not encrypt schedules.")
        targets.check(request["Target"], self._model_of)
        given = {member: request[member] for member in _MEMBERS if member in request}
        return {"ScheduleExpressionTimezone": "UTC", "State": "ENABLED", "ActionAfterCompletion": "NONE", **given}


def _times(definition: dict[str, Any], made_at_ms: int) -> Times:
    return times.read(definition, made_at_ms, zones.find(definition["ScheduleExpressionTimezone"]))


def _existing(connection: Connection, ctx: CallContext, group: str, name: str) -> Row:
    row = connection.one(sql.get_schedule, **of(ctx), group_name=group, name=name)
    if row is None:
        raise errors.ScheduleMissing(name)
    return row


def _due(due: Due | None) -> dict[str, int | None]:
    if due is None:
        return {"scheduled_at_ms": None, "due_at_ms": None}
    return {"scheduled_at_ms": due.scheduled_at_ms, "due_at_ms": due.due_at_ms}


def _summary(ctx: CallContext, row: Row) -> dict[str, Any]:
    definition = orjson.loads(row.definition)
    return {
        "Arn": names.schedule_arn(ctx.account, ctx.region, row.group_name, row.name),
        "Name": row.name,
        "GroupName": row.group_name,
        "State": definition["State"],
        "Target": {"Arn": definition["Target"]["Arn"]},
        "CreationDate": datetime.fromtimestamp(row.created_at_ms / 1000, UTC),
        "LastModificationDate": datetime.fromtimestamp(row.modified_at_ms / 1000, UTC),
    }


def _dumps(definition: dict[str, Any]) -> str:
    return orjson.dumps(definition).decode()

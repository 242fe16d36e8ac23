"""Starts of targets: once a schedule's time has come, its next time and the call of its target are one transaction."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from lambdad.machines import target_calls
from lambdad.model.ids import AccountId, Region
from lambdad.services.outbox import DeadLetter, Delivery, Outbox
from lambdad.services.ports import Origin
from lambdad.services.scheduler import errors, zones
from lambdad.services.scheduler.groups import sql
from lambdad.services.scheduler.rules import limits, names, targets, times, universal
from lambdad.services.scheduler.rules.targets import Execution
from lambdad.services.scheduler.rules.times import Due
from lambdad.store.database import Connection, Database, Row

log = logging.getLogger("lambdad.scheduler")

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class _Step:
    """What becomes of a schedule whose time has come."""

    row: Row
    deliveries: list[Delivery]
    due: Due | None
    is_deleted: bool


class Starts:
    """Starts the targets of schedules whose times have come."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        *,
        new_id: Callable[[], str],
        draw: Callable[[], float],
        model_of: targets.ModelOf,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._new_id = new_id
        self._draw = draw
        self._model_of = model_of

    async def step(self, now_ms: int) -> int | None:
        """Do what is due, as `Timetable` asks."""
        rows = await self._database.read(lambda connection: connection.all(sql.due_schedules, now_ms=now_ms, limit=BATCH))
        steps = [self._decide(row, now_ms) for row in rows]
        if steps:
            await self._database.write(lambda connection: self._carry_out(connection, steps, now_ms))
            self._outbox.wake()
        following = await self._database.read(lambda connection: connection.one(sql.next_schedule))
        return following.due_at_ms if following is not None else None

    def _decide(self, row: Row, now_ms: int) -> _Step:
        definition = orjson.loads(row.definition)
        try:
            read = times.read(definition, row.made_at_ms, zones.find(definition["ScheduleExpressionTimezone"]))
        except errors.InvalidValue:
            # Its time zone is not known on this machine any more. It must not keep the others from being started.
            log.exception("scheduler.schedule.unreadable name=%s", row.name)
            return _Step(row, [], None, is_deleted=False)
        at_ms, due = times.go_on(read, Due(row.scheduled_at_ms, row.due_at_ms), now_ms, self._draw())
        deliveries = [] if at_ms is None else self._deliveries(row, definition["Target"], at_ms)
        return _Step(row, deliveries, due, is_deleted=due is None and definition["ActionAfterCompletion"] == "DELETE")

    def _carry_out(self, connection: Connection, steps: list[_Step], now_ms: int) -> None:
        deliveries: list[Delivery] = []
        for step in steps:
            expected = {"id": step.row.id, "version": step.row.version, "expected_ms": step.row.due_at_ms}
            if step.is_deleted:
                done = connection.run(sql.complete_schedule, **expected)
            elif step.due is None:
                done = connection.run(sql.advance_schedule, **expected, scheduled_at_ms=None, due_at_ms=None)
            else:
                done = connection.run(
                    sql.advance_schedule, **expected, scheduled_at_ms=step.due.scheduled_at_ms, due_at_ms=step.due.due_at_ms
                )
            if done:
                deliveries += step.deliveries
        self._outbox.add(connection, deliveries, now_ms)

    def _deliveries(self, row: Row, target: dict[str, Any], at_ms: int) -> list[Delivery]:
        schedule_arn = names.schedule_arn(row.account, row.region, row.group_name, row.name)
        execution = Execution(schedule_arn=schedule_arn, account=row.account, region=row.region, scheduled_at_ms=at_ms, id=self._new_id())
        policy = target.get("RetryPolicy", {})
        origin = Origin(account=AccountId(row.account), region=Region(row.region), source_arn=schedule_arn)
        queue_arn = target.get("DeadLetterConfig", {}).get("Arn")
        attributes = {
            "SCHEDULE_ARN": schedule_arn,
            "TARGET_ARN": target["Arn"],
            "EXECUTION_ID": execution.id,
            "SCHEDULED_TIME": times.iso(at_ms),
            "IS_PAYLOAD_TRUNCATED": "false",
        }
        try:
            call = targets.call(target, execution, self._model_of)
        except universal.InvalidTarget as error:
            log.warning("scheduler.input.invalid schedule=%s error=%s", schedule_arn, error)
            attributes |= {"ERROR_CODE": "ValidationException", "ERROR_MESSAGE": str(error), "RETRY_ATTEMPTS": "0"}
            return [] if queue_arn is None else [_dead_letter(origin, queue_arn, targets.render(target, execution), attributes)]
        letter = None
        if queue_arn is not None:
            letter = DeadLetter(
                queue_arn=queue_arn,
                body=targets.render(target, execution),
                attributes=_strings(attributes),
                error_code_attribute="ERROR_CODE",
                error_message_attribute="ERROR_MESSAGE",
                attempts_attribute="RETRY_ATTEMPTS",
                condition_attribute="EXHAUSTED_RETRY_CONDITION",
            )
        return [
            Delivery(
                origin=Origin(account=origin.account, region=Region(call.region), source_arn=schedule_arn),
                service=call.service,
                operation=call.operation,
                params=call.params,
                maximum_attempts=policy.get("MaximumRetryAttempts", limits.RETRY_ATTEMPTS) + 1,
                maximum_age_s=policy.get("MaximumEventAgeInSeconds", limits.EVENT_AGE_S),
                dead_letter=letter,
            )
        ]


def _dead_letter(origin: Origin, queue_arn: str, body: str, attributes: dict[str, str]) -> Delivery:
    """Make the message for what cannot even be tried."""
    queue = target_calls.parse_arn(queue_arn)
    assert queue is not None
    return Delivery(
        origin=origin,
        service="sqs",
        operation="SendMessage",
        params={"QueueUrl": target_calls.queue_url(queue), "MessageBody": body, "MessageAttributes": _strings(attributes)},
        maximum_attempts=limits.RETRY_ATTEMPTS + 1,
        maximum_age_s=limits.EVENT_AGE_S,
    )


def _strings(values: dict[str, str]) -> dict[str, Any]:
    return {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}

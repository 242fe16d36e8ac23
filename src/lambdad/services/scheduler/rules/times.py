"""When a schedule is due: its expression, between its dates, in its time zone, somewhere in its window.

Source: EventBridge Scheduler user guide, "Schedule types", "Configuring flexible time windows"; API Reference, CreateSchedule.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from lambdad.machines import schedules
from lambdad.machines.schedules import At, Rate, Schedule
from lambdad.services.scheduler import errors
from lambdad.services.scheduler.rules import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """
    The times of a schedule.

    Args:
        anchor_ms: from which a rate counts: the start date, or else the time at which the schedule was made.
        start_ms, end_ms: no time is before the one or after the other; None for no such limit.
        window_ms: how much later than its time the target may be started.
    """

    schedule: Schedule
    zone: tzinfo
    anchor_ms: int
    start_ms: int | None
    end_ms: int | None
    window_ms: int


@dataclass(frozen=True, slots=True)
class Due:
    """A time of a schedule, and when its target is started."""

    scheduled_at_ms: int
    due_at_ms: int


def read(definition: Mapping[str, Any], made_at_ms: int, zone: tzinfo | None) -> Times:
    """
    Read the times of a schedule.

    Args:
        definition: members of CreateSchedule.
        made_at_ms: when it was made, or was given another expression or start.
        zone: that of ``ScheduleExpressionTimezone``; None if there is no such zone.

    Raises:
        InvalidValue: the expression, the zone or the window is none.
    """
    expression = definition["ScheduleExpression"]
    try:
        schedule = schedules.parse(expression)
    except schedules.InvalidExpression:
        raise errors.InvalidValue(f"Invalid Schedule Expression {expression}.") from None
    if zone is None:
        raise errors.InvalidValue(f"Invalid Schedule Expression Timezone {definition['ScheduleExpressionTimezone']}.")
    window = definition["FlexibleTimeWindow"]
    minutes = window.get("MaximumWindowInMinutes")
    if (window["Mode"] == "FLEXIBLE") != (minutes is not None):
        needed = "must" if minutes is None else "cannot"
        raise errors.InvalidValue(f"MaximumWindowInMinutes {needed} be specified when the flexible time window Mode is {window['Mode']}.")
    start_ms, end_ms = date_ms(definition.get("StartDate")), date_ms(definition.get("EndDate"))
    if isinstance(schedule, At):
        start_ms = end_ms = None
    return Times(
        schedule=schedule,
        zone=zone,
        anchor_ms=made_at_ms if start_ms is None else start_ms,
        start_ms=start_ms,
        end_ms=end_ms,
        window_ms=(minutes or 0) * 60_000,
    )


def check_dates(definition: Mapping[str, Any], now_ms: int) -> None:
    """
    Check the dates of a schedule that is made or gets others.

    Raises:
        InvalidValue: a date has passed, or the end is before the start.
    """
    start_ms, end_ms = date_ms(definition.get("StartDate")), date_ms(definition.get("EndDate"))
    if start_ms is not None and start_ms < now_ms - limits.START_MS:
        raise errors.InvalidValue("The StartDate you specify cannot be earlier than 5 minutes ago.")
    if end_ms is not None and end_ms <= now_ms:
        raise errors.InvalidValue("The EndDate you specify must be later than the current time.")
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise errors.InvalidValue("The EndDate you specify must come after the StartDate.")


def first(times: Times, now_ms: int, draw: float) -> Due | None:
    """
    Find the first time of a schedule that is made or switched on now.

    Args:
        draw: a random number 0.0..1.0, which decides on the place in the window.

    A rate begins at once, or with its start date. A single time that passed within the last minute is still met.
    """
    match times.schedule:
        case At():
            return following(times, now_ms - limits.ONCE_MS, draw)
        case Rate():
            return following(times, now_ms - 1, draw)
        case _:
            return following(times, now_ms, draw)


def following(times: Times, after_ms: int, draw: float) -> Due | None:
    """Find the first time of a schedule after an instant; None where there is none."""
    if times.start_ms is not None:
        after_ms = max(after_ms, times.start_ms - 1)
    at_ms = schedules.next_after(times.schedule, after_ms, anchor_ms=times.anchor_ms, zone=times.zone)
    if at_ms is None or (times.end_ms is not None and at_ms > times.end_ms):
        return None
    return Due(at_ms, at_ms + int(times.window_ms * draw))


def go_on(times: Times, due: Due, now_ms: int, draw: float) -> tuple[int | None, Due | None]:
    """
    Decide what becomes of a time that has come.

    Returns:
        The time for which the target is started now, None for none; and the schedule's next time.

    Of times that were missed because nothing ran, the latest is made up for, unless it is more than a day ago.
    """
    if now_ms - due.due_at_ms <= limits.LATE_MS:
        return due.scheduled_at_ms, following(times, due.scheduled_at_ms, draw)
    until_ms = now_ms if times.end_ms is None else min(now_ms, times.end_ms)
    at_ms = due.scheduled_at_ms
    if at_ms < until_ms:
        at_ms = schedules.latest_until(times.schedule, until_ms, first_ms=at_ms, anchor_ms=times.anchor_ms, zone=times.zone)
    is_too_old = at_ms < now_ms - limits.EVENT_AGE_S * 1000
    return None if is_too_old else at_ms, following(times, max(at_ms, now_ms), draw)


def iso(at_ms: int) -> str:
    """Write a time as Scheduler does, e.g. ``2026-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def date_ms(date: datetime | str | None) -> int | None:
    """Read a date as it comes from the wire, or as it is stored."""
    if isinstance(date, str):
        date = datetime.fromisoformat(date)
    return None if date is None else int(date.timestamp() * 1000)

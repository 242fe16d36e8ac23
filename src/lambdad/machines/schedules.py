"""Schedule expressions: when something happens again and again, or once.

    rate(5 minutes)                 every five minutes from an anchor
    cron(0 10 ? * MON-FRI *)        minute, hour, day of month, month, day of week, year; in a time zone
    at(2030-01-31T12:00:00)         once; in a time zone

Where clocks are put forward, a cron time that the day does not have is left out; where they are put back, a time that comes twice
counts the first time only.

Source: EventBridge user guide, "Cron expressions", "Rate expressions"; EventBridge Scheduler user guide, "Schedule types", "Daylight
savings time".
"""

import calendar
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, TypeAlias

_RATE: Final = re.compile(r"rate\(([1-9][0-9]{0,8}) (minute|hour|day)(s?)\)")
_AT: Final = re.compile(r"at\((\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\)", re.ASCII)
_CRON: Final = re.compile(r"cron\((\S+(?: +\S+){5})\)")
_PART: Final = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d{1,4}))?", re.ASCII)
_UNITS_MS: Final = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_MONTHS: Final = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS: Final = {"SUN": 1, "MON": 2, "TUE": 3, "WED": 4, "THU": 5, "FRI": 6, "SAT": 7}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)
_LAST_YEAR: Final = 2199


class InvalidExpression(ValueError):
    """A text is no schedule expression."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Every so often, from an anchor on."""

    period_ms: int


@dataclass(frozen=True, slots=True)
class At:
    """Once, at a local time (without a zone)."""

    local: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """
    Which days of a month.

    Args:
        of_month: days 1..31.
        nearest: days 1..31 whose nearest weekday in the same month is meant.
        last, last_weekday: whether the month's last day, or its last day from Monday to Friday, is meant.
        of_week: 1 (Sunday) .. 7, every one in the month.
        last_of_week: 1..7, the last one in the month.
        nth_of_week: (1..7, 1..5), e.g. (3, 2) for the second Tuesday.
    """

    of_month: frozenset[int] = frozenset()
    nearest: frozenset[int] = frozenset()
    last: bool = False
    last_weekday: bool = False
    of_week: frozenset[int] = frozenset()
    last_of_week: frozenset[int] = frozenset()
    nth_of_week: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """At certain minutes of certain hours of certain days; all numbers ascend."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: Days
    months: tuple[int, ...]
    years: tuple[int, ...]


Schedule: TypeAlias = Rate | At | Cron


def parse_of_rule(expression: str) -> Rate | Cron:
    """
    Read the schedule expression of an EventBridge rule: a rate, whose unit is in the plural unless its value is 1, or a cron expression.

    Raises:
        InvalidExpression: it is neither.
    """
    match = _RATE.fullmatch(expression)
    if match is not None and (match[1] == "1") == bool(match[3]):
        raise InvalidExpression(expression)
    schedule = parse(expression)
    if isinstance(schedule, At):
        raise InvalidExpression(expression)
    return schedule


def parse(expression: str) -> Schedule:
    """
    Read the schedule expression of an EventBridge Scheduler schedule: a rate, a cron expression, or a time.

    Raises:
        InvalidExpression: it is none of them.
    """
    if match := _RATE.fullmatch(expression):
        return Rate(int(match[1]) * _UNITS_MS[match[2]])
    if match := _AT.fullmatch(expression):
        try:
            return At(datetime(*map(int, match.groups())))  # type: ignore[arg-type]  # six numbers
        except ValueError as error:
            raise InvalidExpression(expression) from error
    if match := _CRON.fullmatch(expression):
        return _parse_cron(match[1].split(), expression)
    raise InvalidExpression(expression)


def next_after(schedule: Schedule, after_ms: int, *, anchor_ms: int, zone: tzinfo = UTC) -> int | None:
    """
    Find the first time of a schedule after an instant.

    Args:
        after_ms: Unix time, milliseconds; what is returned is greater.
        anchor_ms: Unix time from which a rate counts; itself its first time.
        zone: whose local time cron expressions and `At` are in. A time of `At` that its day does not have is as much later as the clock is
            put forward.

    Returns:
        Unix time in milliseconds; None where there is no further time.
    """
    match schedule:
        case Rate(period_ms):
            return max(anchor_ms, after_ms + period_ms - (after_ms - anchor_ms) % period_ms)
        case At(local):
            at_ms = _instant_ms(local, zone)
            return at_ms if at_ms > after_ms else None
        case Cron():
            return _next_of_cron(schedule, after_ms, zone)


def latest_until(schedule: Schedule, until_ms: int, *, first_ms: int, anchor_ms: int, zone: tzinfo = UTC) -> int:
    """
    Find the last time of a schedule that is not after an instant.

    Args:
        first_ms: one of its times, not after `until_ms`.
        anchor_ms, zone: as for `next_after`.
    """

    def is_before_last(at_ms: int) -> bool:
        following = next_after(schedule, at_ms, anchor_ms=anchor_ms, zone=zone)
        return following is not None and following <= until_ms

    if not is_before_last(first_ms):
        return first_ms
    low, high = first_ms, until_ms  # the last time is after the one, and not after the other
    while high - low > 1:
        middle = (low + high) // 2
        if is_before_last(middle):
            low = middle
        else:
            high = middle
    return high


def _instant_ms(local: datetime, zone: tzinfo) -> int:
    """Return the first instant at which clocks in a zone show a local time."""
    return (local.replace(tzinfo=zone) - _EPOCH) // timedelta(milliseconds=1)


def _next_of_cron(cron: Cron, after_ms: int, zone: tzinfo) -> int | None:
    try:
        start = (_EPOCH + timedelta(milliseconds=after_ms)).astimezone(zone).replace(tzinfo=None, fold=0)
    except OverflowError:
        return None
    for local in _local_times(cron, start.replace(second=0, microsecond=0)):
        at_ms = _instant_ms(local, zone)
        if at_ms > after_ms and (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone).replace(tzinfo=None) == local:
            return at_ms
    return None


def _local_times(cron: Cron, start: datetime) -> Iterator[datetime]:
    """Give the times of a cron expression from a minute on, that minute included, without regard to clocks that are put forward or back."""
    for year in cron.years[bisect_left(cron.years, start.year) :]:
        for month in cron.months:
            if (year, month) < (start.year, start.month):
                continue
            for day in _days_of(cron.days, year, month):
                if (year, month, day) < (start.year, start.month, start.day):
                    continue
                is_first = (year, month, day) == (start.year, start.month, start.day)
                for hour in cron.hours[bisect_left(cron.hours, start.hour) if is_first else 0 :]:
                    skip = bisect_left(cron.minutes, start.minute) if is_first and hour == start.hour else 0
                    for minute in cron.minutes[skip:]:
                        yield datetime(year, month, day, hour, minute)


def _days_of(days: Days, year: int, month: int) -> list[int]:
    """Return the days of a month, in order."""
    first, length = calendar.monthrange(year, month)  # Monday is 0
    first = (first + 1) % 7 + 1  # Sunday is 1
    found = {day for day in days.of_month if day <= length}
    found.update(_nearest_weekday(day, first, length) for day in days.nearest if day <= length)
    if days.last:
        found.add(length)
    if days.last_weekday:
        found.add(_nearest_weekday(length, first, length))
    for day in range(1, length + 1):
        of_week = (first + day - 2) % 7 + 1
        is_last = of_week in days.last_of_week and day + 7 > length
        if of_week in days.of_week or is_last or (of_week, (day + 6) // 7) in days.nth_of_week:
            found.add(day)
    return sorted(found)


def _nearest_weekday(day: int, first: int, length: int) -> int:
    of_week = (first + day - 2) % 7 + 1
    if of_week == 7:
        return day - 1 if day > 1 else day + 2
    if of_week == 1:
        return day + 1 if day < length else day - 2
    return day


# --- Reading cron expressions


def _parse_cron(fields: list[str], expression: str) -> Cron:
    minute, hour, day_of_month, month, day_of_week, year = fields
    try:
        if (day_of_month == "?") == (day_of_week == "?"):
            raise InvalidExpression(expression)
        return Cron(
            minutes=_numbers(minute, 0, 59),
            hours=_numbers(hour, 0, 23),
            days=_days_of_month(day_of_month) if day_of_week == "?" else _days_of_week(day_of_week),
            months=_numbers(month, 1, 12, _MONTHS),
            years=_numbers(year, 1970, _LAST_YEAR),
        )
    except InvalidExpression as error:
        raise InvalidExpression(expression) from error


def _days_of_month(text: str) -> Days:
    of_month: set[int] = set()
    nearest: set[int] = set()
    last = last_weekday = False
    for part in text.upper().split(","):
        if part == "L":
            last = True
        elif part == "LW":
            last_weekday = True
        elif part.endswith("W"):
            nearest.add(_number(part[:-1], 1, 31))
        else:
            of_month.update(_numbers(part, 1, 31))
    return Days(of_month=frozenset(of_month), nearest=frozenset(nearest), last=last, last_weekday=last_weekday)


def _days_of_week(text: str) -> Days:
    of_week: set[int] = set()
    last_of_week: set[int] = set()
    nth_of_week: set[tuple[int, int]] = set()
    for part in text.upper().split(","):
        if part == "L":
            of_week.add(7)
        elif "#" in part:
            day, _, nth = part.partition("#")
            nth_of_week.add((_number(day, 1, 7, _DAYS), _number(nth, 1, 5)))
        elif part.endswith("L"):
            last_of_week.add(_number(part[:-1], 1, 7, _DAYS))
        else:
            of_week.update(_numbers(part, 1, 7, _DAYS, has_steps=False))
    if len(nth_of_week) > 1:
        raise InvalidExpression(text)
    return Days(of_week=frozenset(of_week), last_of_week=frozenset(last_of_week), nth_of_week=frozenset(nth_of_week))


def _numbers(text: str, low: int, high: int, names: dict[str, int] | None = None, *, has_steps: bool = True) -> tuple[int, ...]:
    """Read a field of numbers, names, ranges and steps; a range may go beyond the end and on from the beginning, but for years."""
    found: set[int] = set()
    for part in text.upper().split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise InvalidExpression(text)
        everything, first, last, every = match.groups()
        step = int(every) if every else 1
        if (every and not has_steps) or not 0 < step <= high:
            raise InvalidExpression(text)
        if everything:
            start, end = low, high
        else:
            start = _number(first, low, high, names)
            end = _number(last, low, high, names) if last else high if every else start
        if end < start:
            if high == _LAST_YEAR:
                raise InvalidExpression(text)
            end += high - low + 1
        found.update((number - low) % (high - low + 1) + low for number in range(start, end + 1, step))
    return tuple(sorted(found))


def _number(text: str, low: int, high: int, names: dict[str, int] | None = None) -> int:
    if names is not None and text in names:
        return names[text]
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and low <= int(text) <= high):
        raise InvalidExpression(text)
    return int(text)

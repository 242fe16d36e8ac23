"""Schedule expressions against AWS's examples, and against looking at every minute."""

import calendar
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.machines import schedules

MINUTE_MS = 60_000


def ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def times(expression: str, after: str, count: int, zone: str = "UTC") -> list[str]:
    """Return the next local times of an expression, with their offsets to UTC."""
    schedule, at_ms, found = schedules.parse(expression), ms(after, zone), []
    for _ in range(count):
        following = schedules.next_after(schedule, at_ms, anchor_ms=ms(after, zone), zone=ZoneInfo(zone))
        if following is None:
            break
        at_ms = following
        found.append(datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M%z"))
    return found


@pytest.mark.parametrize(
    "expression",
    [
        *("rate(1 minute)", "rate(5 minutes)", "rate(1 hour)", "rate(12 hours)", "rate(7 days)"),
        *("cron(0 2 ? * SAT#3 *)", "cron(15 10 ? * 6L 2002-2005)", "cron(0/30 0-2 ? * MON-FRI *)", "cron(* * ? * SAT#3 *)"),
        *("cron(0/5 5 ? JAN 1-5 2022)", "cron(0-15/1 8-8 ? * 2,3,4,5,6,7 *)", "cron(30-30 13-13 ? * 2,4,6 *)"),
        *("cron(1-31/30 1-1 ? * 1,7 *)", "cron(*/15 * * * ? *)", "cron(0-59/10 0-23/2 ? * * *)", "cron(0 9 3W * ? *)"),
        *("cron(0 9 L * ? *)", "cron(0 9 ? * L *)", "cron(0 9 ? jan-MAR mon *)", "cron(0 8 1 * ? *)"),
    ],
)
def test_expressions_of_rules(expression: str) -> None:
    """What AWS takes for a rule is taken, and for a schedule too."""
    assert schedules.parse_of_rule(expression) == schedules.parse(expression)


@pytest.mark.parametrize(
    "expression",
    [
        *("rate(1 minutes)", "rate(5 minute)", "rate(1 days)", "rate(2 hour)", "at(2030-01-01T00:00:00)"),
        *("cron(0 1 * * * *)", "cron(7 20 * * NOT *)", "cron(INVALID)", "cron(0 dummy ? * MON-FRI *)", "cron(71 8 1 * ? *)"),
    ],
)
def test_expressions_that_rules_do_not_take(expression: str) -> None:
    """What AWS refuses for a rule is refused."""
    with pytest.raises(schedules.InvalidExpression):
        schedules.parse_of_rule(expression)


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "",
            "rate(10 seconds)",
            "rate(10 years)",
            "rate(10)",
            "rate(-10 minutes)",
            "rate(0 minutes)",
            "rate( 10 minutes )",
            "rate(٣ days)",
        ),
        *(" rate(10 minutes)", "rate(10 minutes) ", "rate(1.5 hours)", "Rate(1 hour)", "at(2021-12-31T23:59:59Z)", "at(2021-12-31)"),
        *("at(2021-02-29T00:00:00)", "at(2021-12-31 23:59:59)", "cron()", "cron(0 9 * * ?)", "cron(0 9 * * ? * *)", "cron(0 9 ? * ? *)"),
        *("cron(60 * * * ? *)", "cron(* 24 * * ? *)", "cron(* * 0 * ? *)", "cron(* * 32 * ? *)", "cron(* * * 13 ? *)", "cron(* * ? * 8 *)"),
        *("cron(* * * * ? 1969)", "cron(* * * * ? 2200)", "cron(* * ? * MON#6 *)", "cron(* * ? * MON#1,TUE#2 *)", "cron(0/0 * * * ? *)"),
        *(
            "cron(, * * * ? *)",
            "cron(1, * * * ? *)",
            "cron(1- * * * ? *)",
            "cron(* * W * ? *)",
            "cron(* * ? * 2/2 *)",
            "cron(1/60 * * * ? *)",
        ),
        *("cron(? * * * ? *)", "cron(* * * * ? 2030-2020)", "cron( 0 9 * * ? *)", "cron(0 9 * * ? * )", "cron(1/2/3 * * * ? *)"),
    ],
)
def test_what_is_no_expression(expression: str) -> None:
    """What AWS refuses everywhere is refused."""
    with pytest.raises(schedules.InvalidExpression):
        schedules.parse(expression)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("cron(0 10 * * ? *)", ["2024-01-01T10:00+0000", "2024-01-02T10:00+0000"]),
        ("cron(15 12 ? * MON-FRI *)", ["2024-01-01T12:15+0000", "2024-01-02T12:15+0000"]),
        ("cron(0 18 ? * 2-6 2025)", ["2025-01-01T18:00+0000", "2025-01-02T18:00+0000"]),
        ("cron(0 8 1 * ? *)", ["2024-01-01T08:00+0000", "2024-02-01T08:00+0000"]),
        ("cron(0 8 L * ? *)", ["2024-01-31T08:00+0000", "2024-02-29T08:00+0000"]),
        ("cron(0 8 LW 3-4 ? *)", ["2024-03-29T08:00+0000", "2024-04-30T08:00+0000"]),
        ("cron(0 8 6W 1,4 ? *)", ["2024-01-05T08:00+0000", "2024-04-05T08:00+0000"]),
        ("cron(0 8 1W 6,9 ? *)", ["2024-06-03T08:00+0000", "2024-09-02T08:00+0000"]),
        ("cron(0 8 31W 3 ? *)", ["2024-03-29T08:00+0000", "2025-03-31T08:00+0000"]),
        ("cron(0 8 ? * 6L *)", ["2024-01-26T08:00+0000", "2024-02-23T08:00+0000"]),
        ("cron(0 8 ? * 3#2 *)", ["2024-01-09T08:00+0000", "2024-02-13T08:00+0000"]),
        ("cron(0 8 ? * FRI-SUN *)", ["2024-01-05T08:00+0000", "2024-01-06T08:00+0000", "2024-01-07T08:00+0000"]),
        ("cron(0 22-1/2 * * ? *)", ["2024-01-01T22:00+0000", "2024-01-02T00:00+0000", "2024-01-02T22:00+0000"]),
        ("cron(50/5 23 * * ? *)", ["2024-01-01T23:50+0000", "2024-01-01T23:55+0000", "2024-01-02T23:50+0000"]),
        ("cron(0 0 29 2 ? *)", ["2024-02-29T00:00+0000", "2028-02-29T00:00+0000"]),
        ("cron(0 0 30 2 ? *)", []),
        ("cron(0 0 1 1 ? 2020)", []),
        ("at(2024-03-01T12:30:00)", ["2024-03-01T12:30+0000"]),
        ("at(2024-01-01T00:00:00)", []),
        ("rate(90 minutes)", ["2024-01-01T01:30+0000", "2024-01-01T03:00+0000"]),
    ],
)
def test_next_times(expression: str, expected: list[str]) -> None:
    """Every kind of field gives the days and times that AWS's guide says."""
    assert times(expression, "2024-01-01T00:00", max(len(expected), 1)) == expected


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("cron(30 2 * * ? *)", "2024-03-08T12:00", ["2024-03-09T02:30-0500", "2024-03-11T02:30-0400"]),
        ("cron(30 1 * * ? *)", "2024-11-02T12:00", ["2024-11-03T01:30-0400", "2024-11-04T01:30-0500"]),
        ("cron(0/30 * * * ? *)", "2024-11-03T01:00", ["2024-11-03T01:30-0400", "2024-11-03T02:00-0500"]),
        ("at(2024-03-10T02:30:00)", "2024-01-01T00:00", ["2024-03-10T03:30-0400"]),
        ("at(2024-11-03T01:30:00)", "2024-01-01T00:00", ["2024-11-03T01:30-0400"]),
        ("rate(1 day)", "2024-03-09T12:00", ["2024-03-10T13:00-0400"]),
    ],
)
def test_clocks_that_are_put_forward_and_back(expression: str, after: str, expected: list[str]) -> None:
    """A time that a day does not have is skipped, one that it has twice counts once, and rates do not mind."""
    assert times(expression, after, len(expected), "America/New_York") == expected


@given(st.integers(1, 10**6), st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_rates_keep_their_anchor(period_ms: int, anchor_ms: int, after_ms: int) -> None:
    """The next time is the first of the anchor's series that is later than now."""
    following = schedules.next_after(schedules.Rate(period_ms), after_ms, anchor_ms=anchor_ms)
    assert following is not None and following > after_ms and following >= anchor_ms
    assert (following - anchor_ms) % period_ms == 0
    assert following == anchor_ms or following - period_ms <= after_ms


@pytest.mark.parametrize("expression", ["rate(7 minutes)", "cron(0/20 * * * ? *)", "cron(0 8 ? * 6L *)", "at(2024-01-01T00:00:00)"])
@given(st.integers(0, 50_000))
def test_the_latest_time_is_the_last_of_the_next_ones(expression: str, minutes: int) -> None:
    """Looking for the last time until an instant finds what going from time to time does."""
    schedule, anchor_ms = schedules.parse(expression), ms("2024-01-01T00:00")
    until_ms = anchor_ms + minutes * MINUTE_MS + 1
    first_ms = schedules.next_after(schedule, anchor_ms - 1, anchor_ms=anchor_ms)
    if first_ms is None or first_ms > until_ms:
        return
    last_ms: int | None = first_ms
    following = first_ms
    while following is not None and following <= until_ms:
        last_ms, following = following, schedules.next_after(schedule, following, anchor_ms=anchor_ms)
    assert schedules.latest_until(schedule, until_ms, first_ms=first_ms, anchor_ms=anchor_ms) == last_ms


# --- A naive twin: look at every minute, and at every field as it is written


def fits(field: str, number: int, low: int, high: int) -> bool:
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        start, end = (low, high) if first == "*" else (int(first), int(last or (high if step else first)))
        if start <= number <= end and (number - start) % int(step or 1) == 0:
            return True
    return False


def day_fits(day_of_month: str, day_of_week: str, local: datetime) -> bool:
    length = calendar.monthrange(local.year, local.month)[1]
    weekday = local.isoweekday() % 7 + 1
    if day_of_week == "?":
        if day_of_month == "L":
            return local.day == length
        if day_of_month.endswith("W"):
            wanted = int(day_of_month[:-1])
            candidates = [day for day in range(1, length + 1) if datetime(local.year, local.month, day).isoweekday() < 6]
            nearest = min(candidates, key=lambda day: (abs(day - wanted), abs(day - wanted - 0.5)))
            return wanted <= length and local.day == nearest
        return fits(day_of_month, local.day, 1, 31)
    if "#" in day_of_week:
        day, nth = day_of_week.split("#")
        return weekday == int(day) and (local.day - 1) // 7 + 1 == int(nth)
    if day_of_week.endswith("L"):
        return weekday == int(day_of_week[:-1]) and local.day + 7 > length
    return fits(day_of_week, weekday, 1, 7)


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.integers(1, high - low)
    part = st.one_of(number.map(str), span, st.builds("{}/{}".format, st.one_of(number.map(str), span, st.just("*")), step))
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


DAYS = st.one_of(
    st.one_of(numbers(1, 31), st.just("L"), st.integers(1, 31).map("{}W".format)).map(lambda text: (text, "?")),
    st.one_of(
        st.just("*"),
        st.lists(st.integers(1, 7).map(str), min_size=1).map(",".join),
        st.integers(1, 7).map("{}L".format),
        st.builds("{}#{}".format, st.integers(1, 7), st.integers(1, 5)),
    ).map(lambda text: ("?", text)),
)


@settings(max_examples=60, deadline=None)
@given(
    numbers(0, 59),
    st.one_of(numbers(0, 23), st.integers(0, 3).map(str)),
    DAYS,
    st.sampled_from(
        ["2024-03-09T20:00", "2024-11-02T20:00", "2024-03-30T20:00", "2024-04-06T00:00", "2024-10-05T00:00", "2024-02-28T12:00"]
    ),
    st.integers(0, 1000),
    st.sampled_from(["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_agrees_with_looking_at_every_minute(
    minute: str, hour: int, days: tuple[str, str], start: str, seconds: int, zone_name: str
) -> None:
    """The next time is the first minute that shows a fitting local time for the first time; months and years are looked at elsewhere."""
    zone = ZoneInfo(zone_name)
    cron = schedules.parse(f"cron({minute} {hour} {days[0]} * {days[1]} *)")
    after_ms = ms(start) + seconds * 1000
    at = datetime.fromtimestamp(after_ms // MINUTE_MS * 60, UTC)
    expected = None
    for _ in range(3 * 24 * 60):
        at += timedelta(minutes=1)
        local = at.astimezone(zone)
        if local.fold == 0 and fits(minute, local.minute, 0, 59) and fits(str(hour), local.hour, 0, 23) and day_fits(*days, local):
            expected = int(at.timestamp() * 1000)
            break
    found = schedules.next_after(cron, after_ms, anchor_ms=0, zone=zone)
    if expected is None:
        assert found is None or found > int(at.timestamp() * 1000)
    else:
        assert found == expected


@settings(max_examples=100, deadline=None)
@given(numbers(1, 12), st.one_of(st.just("*"), st.integers(2020, 2030).map(str), st.just("2021-2029/3")), DAYS, st.integers(0, 3000))
def test_agrees_with_looking_at_every_day(month: str, year: str, days: tuple[str, str], day: int) -> None:
    """The next day is the first one of a fitting month and year."""
    cron = schedules.parse(f"cron(0 0 {days[0]} {month} {days[1]} {year})")
    start = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day)
    expected = None
    for offset in range(1, 1500):
        at = start + timedelta(days=offset)
        if fits(month, at.month, 1, 12) and fits(year, at.year, 1970, 2199) and day_fits(*days, at):
            expected = int(at.timestamp() * 1000)
            break
    found = schedules.next_after(cron, int(start.timestamp() * 1000), anchor_ms=0)
    if expected is not None or found is None:
        assert found == expected
    else:
        assert found > int(start.timestamp() * 1000) + 1499 * 86_400_000

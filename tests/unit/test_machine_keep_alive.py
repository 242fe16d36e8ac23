"""Keep-alive: what is learnt of idle times, and which environment gives way."""

import random

from hypothesis import given
from hypothesis import strategies as st

from lambdad.machines import keep_alive
from lambdad.machines.keep_alive import Clock, Histogram, Usage, Window

DEFAULT_S = 600.0


def used(period_s: float, times: int, *, duration_s: float = 1.0, begin_s: float = 1000.0) -> Usage:
    """Return what is known of a version that was invoked so often, at even times."""
    usage = Usage()
    for number in range(times):
        keep_alive.came(usage, begin_s + number * period_s)
        keep_alive.went(usage, begin_s + number * period_s + duration_s)
    return usage


def test_too_little_is_known():
    """Then the fixed time holds, from when the environment became idle."""
    usage = used(3600.0, keep_alive.SAMPLES_MIN)  # one idle time fewer than invocations
    assert keep_alive.window(usage, 1, DEFAULT_S) == Window(0.0, DEFAULT_S)
    assert keep_alive.expires_at(usage, 1, 50_000.0, DEFAULT_S) == 50_600.0
    assert keep_alive.expires_at(Usage(), 3, 7.0, DEFAULT_S) == 607.0


def test_an_hourly_timer():
    """Its environment is ended soon, and another one made in time for the next invocation and kept a little beyond it."""
    usage = used(3600.0, 30)
    last_s = usage.idle_since_s[0]
    window = keep_alive.window(usage, 1, DEFAULT_S)
    assert 3000 < window.ahead_s < 3599 < window.keep_s < 4400
    assert keep_alive.expires_at(usage, 1, last_s, DEFAULT_S) == last_s + keep_alive.LINGER_S
    at_s = keep_alive.ahead_at(usage, last_s + 20, DEFAULT_S)
    assert at_s == last_s + window.ahead_s
    assert keep_alive.expires_at(usage, 1, at_s, DEFAULT_S) == last_s + window.keep_s
    assert keep_alive.ahead_at(usage, last_s + window.keep_s + 1, DEFAULT_S) is None  # it did not come: nothing is made in vain


def test_nothing_is_made_ahead_while_it_runs():
    """The next idle time is not known before the invocation has ended."""
    usage = used(3600.0, 30)
    keep_alive.came(usage, usage.idle_since_s[0] + 3600)
    assert keep_alive.ahead_at(usage, usage.idle_since_s[0] + 3600, DEFAULT_S) is None


def test_one_that_comes_each_twelve_minutes_is_kept():
    """Although the fixed time would end it just before it is needed."""
    usage = used(720.0, 30)
    last_s = usage.idle_since_s[0]
    window = keep_alive.window(usage, 1, DEFAULT_S)
    wanted_s = last_s + 719.0
    assert window.ahead_s < 719.0 < window.keep_s
    assert keep_alive.expires_at(usage, 1, last_s + window.ahead_s, DEFAULT_S) > wanted_s


def test_one_that_comes_twice_a_day_is_not_kept():
    """Its idle times are longer than any window: ten minutes of keeping are of no use."""
    usage = used(43_200.0, 30)
    assert keep_alive.window(usage, 1, DEFAULT_S) == Window(0.0, keep_alive.LINGER_S)


def test_a_busy_one_is_kept_for_minutes():
    """Each level of concurrency has its own times."""
    usage = Usage()
    now_s = 0.0
    for number in range(300):
        now_s += 5.0
        for _ in range(4 if number % 100 == 99 else 1):
            keep_alive.came(usage, now_s)
        for _ in range(usage.level):
            keep_alive.went(usage, now_s + 1.0)
    assert keep_alive.window(usage, 1, DEFAULT_S).keep_s < 120.0
    assert keep_alive.window(usage, 4, DEFAULT_S) == Window(0.0, DEFAULT_S)  # seen twice only
    assert usage.level == 0


def test_a_cold_start_that_weighs_more_is_avoided_for_longer():
    """An environment that is slow to start for its size is kept at times at which a cheap one is not."""
    heavy, light = used(1900.0, 30), used(1900.0, 30)
    heavy.cold_ms, light.cold_ms = 8000.0, 5.0
    for usage in (heavy, light):
        for _ in range(5):  # now and then it comes after a few seconds, so that nothing is gained by making one ahead
            keep_alive.came(usage, usage.idle_since_s[0] + 2.0)
            keep_alive.went(usage, usage.idle_since_s[0] + 3.0)
        keep_alive.weigh(usage, keep_alive.COLD_MS / keep_alive.SIZE_MIB)
        usage.histograms[1].decided = None
    assert 1 / keep_alive.WEIGHT_MAX <= light.weight < 1 < heavy.weight <= keep_alive.WEIGHT_MAX
    assert keep_alive.window(heavy, 1, DEFAULT_S).keep_s > 1900 > keep_alive.window(light, 1, DEFAULT_S).keep_s


def test_what_was_long_ago_weighs_less():
    """A version whose rhythm changes is soon kept as its new rhythm asks for."""
    usage = used(3600.0, 900)
    for number in range(1200):
        keep_alive.came(usage, 4e6 + number * 60.0)
        keep_alive.went(usage, 4e6 + number * 60.0 + 1.0)
    assert usage.histograms[1].total <= keep_alive.SAMPLES_MAX
    assert keep_alive.window(usage, 1, DEFAULT_S).ahead_s == 0.0


@given(st.lists(st.floats(0, 6 * 3600), min_size=1, max_size=300), st.floats(60, 5000), st.booleans())
def test_the_window_is_worth_what_it_costs(idle_s: list[float], price_s: float, may_end: bool):
    """By the counts it was chosen from, no window without an end is worth more; and it is never worth less than none."""
    histogram = Histogram()
    for each in idle_s:
        keep_alive.add(histogram, each)
    window = keep_alive.decide(histogram, price_s, may_end=may_end)
    assert 0 <= window.ahead_s < window.keep_s or window == Window(0.0, keep_alive.LINGER_S)
    assert may_end or window.ahead_s == 0.0
    assert histogram.total == sum(histogram.bins) + histogram.outside == len(idle_s)

    def value(begin: int, end: int) -> float:
        total = -keep_alive.LINGER_S * histogram.total if begin else 0.0
        for index, count in enumerate(histogram.bins):
            if begin <= index < end:
                total += count * (price_s - (index - begin + 0.5) * 60)
            elif index >= end:
                total -= count * (end - begin) * 60
        return total - histogram.outside * (end - begin) * 60

    chosen = value(int(window.ahead_s / 60), round(window.keep_s / 66)) if window.keep_s > keep_alive.LINGER_S else 0.0
    assert chosen >= max(0.0, *(value(0, end) for end in range(1, keep_alive.BINS + 1))) - 1e-6


@given(st.lists(st.tuples(st.booleans(), st.floats(0.001, 500)), max_size=200))
def test_counting_never_goes_wrong(steps: list[tuple[bool, float]]):
    """For any order of begins and ends the level is what it is, and every idle time is of a level that there was."""
    usage, now_s, running = Usage(), 0.0, 0
    for begins, gap_s in steps:
        now_s += gap_s
        if begins:
            keep_alive.came(usage, now_s)
            running += 1
        elif running:
            keep_alive.went(usage, now_s)
            running -= 1
        assert usage.level == running and all(0 <= since <= now_s for since in usage.idle_since_s)
        for level in range(1, running + 4):
            assert keep_alive.expires_at(usage, level, now_s, DEFAULT_S) >= 0


def test_worth_is_use_times_cost_for_its_size():
    """And what gave way last raises the clock, so that what is used no longer is overtaken."""
    often, rare, large = used(60.0, 101), used(60.0, 3), used(60.0, 101)
    large.size_mib = 10 * keep_alive.SIZE_MIB
    clock = Clock()
    at_s = clock.at(5)
    assert keep_alive.worth(often, 1, at_s) > keep_alive.worth(large, 1, at_s) > keep_alive.worth(rare, 1, at_s)
    assert keep_alive.worth(often, 2, at_s) < keep_alive.worth(rare, 1, at_s)  # a second one was never needed
    clock.advance(keep_alive.worth(often, 1, 0.0), 10.0)
    assert keep_alive.worth(rare, 1, clock.at(11.0)) > keep_alive.worth(often, 1, clock.at(9.0))
    clock.advance(1.0, 12.0)
    assert clock.at(12.0) == clock.at(11.0)  # it never goes back


def test_the_clock_remembers_a_bounded_past():
    """What is older than that has the least value that it remembers."""
    clock = Clock()
    for number in range(keep_alive.CLOCKS_MAX + 50):
        clock.advance(float(number), float(number))
    assert len(clock.values) == keep_alive.CLOCKS_MAX and clock.at(0.0) == 50.0 and clock.at(1e9) == keep_alive.CLOCKS_MAX + 49


def test_memory_is_bounded():
    """Whatever a function does, what is known of it stays small."""
    source, usage, now_s = random.Random(1), Usage(), 0.0
    for _ in range(20_000):
        now_s += source.random() * 100
        if source.random() < 0.6:
            keep_alive.came(usage, now_s)
        elif usage.level:
            keep_alive.went(usage, now_s)
    while usage.level:
        keep_alive.went(usage, now_s)
    assert len(usage.idle_since_s) <= keep_alive.LEVELS_MAX and len(usage.histograms) <= 13

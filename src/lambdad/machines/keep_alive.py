"""Keep-alive that learns: how long an idle environment is worth keeping, when one is made ahead, and which one gives way first.

For each function version the idle times are counted in bins of a minute up to four hours, apart for each *level* of concurrency (in
powers of two): an idle time of level n is how long fewer than n invocations ran. Of all windows the one is chosen that is worth most by
what was counted: a cold start that it saves has a price in seconds of keeping. Where even the shortest idle times are long, as with
timers, an environment may be ended soon and another one made ahead of the 5th percentile. Where too little is known the fixed time holds.

When there is no room, the environment of the least worth gives way: worth = clock + uses of its level x cold cost / size, where the
clock is the worth of the last one that gave way (greedy-dual), so that what is no longer used ages.

All of it is soft state: it begins anew when the server does. Bounds: at most twelve levels of 240 numbers for a version.

Why so, and what it brings: docs/decisions/0011-keep-alive.md.

Source: Shahrad et al., "Serverless in the Wild", ATC 2020 (histograms of idle times); Fuerst and Sharma, "FaasCache", ASPLOS 2021
(greedy-dual).
"""

import bisect
import math
from array import array
from dataclasses import dataclass, field

BIN_S = 60.0
BINS = 240
SAMPLES_MIN = 10  # idle times
SAMPLES_MAX = 1000  # then all are halved, so that what was long ago weighs less
PRICE = 2.0  # of a usual cold start, in keep-alive times
WEIGHT_MAX = 4.0
AHEAD_PERCENTILE = 0.05
MARGIN = 0.10
AHEAD_MIN_S = 180.0  # for less than this an environment is not ended to be made again
LINGER_S = 10.0  # how long it is kept then
LEVELS_MAX = 2048
CLOCKS_MAX = 4096
COLD_MS = 100.0  # until one was seen
SIZE_MIB = 64.0  # likewise


@dataclass(frozen=True, slots=True)
class Window:
    """When an idle environment is wanted, in seconds after its level was last in use."""

    ahead_s: float  # 0: it is kept from the beginning; else it is ended, and one is made at this time
    keep_s: float


@dataclass(slots=True)
class Histogram:
    """Idle times of one level.

    Invariant: `total` is the sum of `bins` and `outside`.
    """

    bins: "array[int]" = field(default_factory=lambda: array("H", bytes(2 * BINS)))
    outside: int = 0
    total: int = 0
    decided: Window | None = None
    decide_again_at: int = 0  # total


@dataclass(slots=True)
class Usage:
    """What is known of one function version's use.

    Invariant: `level` invocations run or wait; `idle_since_s[n]` says when more than n last did, for n < len.
    """

    level: int = 0
    idle_since_s: list[float] = field(default_factory=list)
    histograms: dict[int, Histogram] = field(default_factory=dict)  # by the level's bit length
    cold_ms: float = COLD_MS
    size_mib: float = SIZE_MIB
    weight: float = 1.0  # what a cold start costs for its size, beside what it does usually
    last_used_s: float = 0.0


def came(usage: Usage, now_s: float) -> None:
    """Note that an invocation begins, or begins to wait."""
    usage.last_used_s = now_s
    level = usage.level
    usage.level = level + 1
    if level < len(usage.idle_since_s):
        key = (level + 1).bit_length()
        histogram = usage.histograms.get(key)
        if histogram is None:
            histogram = usage.histograms[key] = Histogram()
        add(histogram, now_s - usage.idle_since_s[level])


def went(usage: Usage, now_s: float) -> None:
    """Note that an invocation has ended."""
    level = usage.level - 1
    usage.level = level
    usage.last_used_s = now_s
    since = usage.idle_since_s
    if level < len(since):
        since[level] = now_s
    elif len(since) < LEVELS_MAX:
        since.extend([now_s] * (level + 1 - len(since)))


def add(histogram: Histogram, idle_s: float) -> None:
    """Count an idle time."""
    index = int(idle_s / BIN_S)
    if index < BINS:
        histogram.bins[index] += 1
    else:
        histogram.outside += 1
    histogram.total += 1
    if histogram.total > SAMPLES_MAX:
        histogram.bins = array("H", [count >> 1 for count in histogram.bins])
        histogram.outside >>= 1
        histogram.total = sum(histogram.bins) + histogram.outside
        histogram.decided = None


def learnt(usage: Usage, *, cold_ms: float | None = None, size_mib: float | None = None) -> None:
    """Note what a start cost, or how large an environment is; a moving average."""
    if cold_ms is not None:
        usage.cold_ms += (max(cold_ms, 1.0) - usage.cold_ms) * 0.3
    if size_mib is not None:
        usage.size_mib += (max(size_mib, 1.0) - usage.size_mib) * 0.1


def weigh(usage: Usage, typical: float) -> None:
    """
    Say what a version's cold starts weigh; by the root, so that neither long nor large ones rule.

    Args:
        typical: milliseconds of a cold start for each MiB that it fills, over all functions, > 0.
    """
    usage.weight = min(max(math.sqrt(usage.cold_ms / usage.size_mib / typical), 1 / WEIGHT_MAX), WEIGHT_MAX)


def window(usage: Usage, level: int, default_s: float) -> Window:
    """
    Say when the environment of a level is wanted.

    Args:
        level: 1 for the environment that the next invocation uses, 2 for the one that a second at the same time would use, ...
        default_s: how long it is kept where too little is known, and the price of a cold start in seconds of keeping.
    """
    histogram = usage.histograms.get(level.bit_length())
    if histogram is None or histogram.total < SAMPLES_MIN:
        return Window(0.0, default_s)
    decided = histogram.decided
    if decided is None or histogram.total >= histogram.decide_again_at:
        decided = histogram.decided = decide(histogram, default_s * PRICE * usage.weight, may_end=level == 1)
        histogram.decide_again_at = histogram.total + max(histogram.total // 20, 1)
    return decided


def decide(histogram: Histogram, price_s: float, *, may_end: bool) -> Window:
    """
    Choose the window that is worth most: a cold start that it saves counts for `price_s`, less the time for which it keeps an environment.

    Args:
        may_end: whether the environment may be ended, and one made ahead of the time at which it is wanted.
    """
    bins = histogram.bins
    best = Window(0.0, LINGER_S)
    best_value = 0.0
    begins = [0]
    if may_end:
        first = int(percentile(histogram, AHEAD_PERCENTILE) * (1 - MARGIN))
        if first * BIN_S >= AHEAD_MIN_S:
            begins.append(first)
    for begin in begins:
        hits, kept_s = 0, 0.0  # of the idle times so far, and how long they were waited for
        left = histogram.total
        if begin:
            left -= sum(bins[:begin])
            kept_s = LINGER_S * histogram.total
        for index in range(begin, BINS):
            count = bins[index]
            if not count:
                continue
            hits += count
            left -= count
            kept_s += count * (index - begin + 0.5) * BIN_S
            value = hits * price_s - kept_s - left * (index + 1 - begin) * BIN_S
            if value > best_value:
                best_value = value
                best = Window(begin * BIN_S, (index + 1) * BIN_S * (1 + MARGIN))
    return best


def percentile(histogram: Histogram, share: float) -> int:
    """Return the bin within which a share of the idle times ends, 0..239."""
    wanted = share * histogram.total
    seen = 0
    for index, count in enumerate(histogram.bins):
        seen += count
        if count and seen >= wanted:
            return index
    return BINS - 1


def idle_since(usage: Usage, level: int, otherwise_s: float) -> float:
    """Say since when a level has not been in use; `otherwise_s` where it never was."""
    return usage.idle_since_s[level - 1] if level <= len(usage.idle_since_s) else otherwise_s


def expires_at(usage: Usage, level: int, since_s: float, default_s: float) -> float:
    """
    Say when an idle environment is to be ended.

    Args:
        level: as for `window`.
        since_s: when this environment became idle.
        default_s: how long it is kept where too little is known.
    """
    return ends_at(usage, window(usage, level, default_s), level, since_s)


def ends_at(usage: Usage, wanted: Window, level: int, since_s: float) -> float:
    """Say when an idle environment is to be ended by a window; see `expires_at`."""
    used_s = idle_since(usage, level, since_s)
    if not wanted.ahead_s:
        return max(used_s, since_s) + wanted.keep_s
    if since_s < used_s + wanted.ahead_s:
        return since_s + LINGER_S  # it was not made ahead: the time for which it is wanted is too far away
    return used_s + wanted.keep_s


def ahead_at(usage: Usage, now_s: float, default_s: float) -> float | None:
    """Say when an environment is to be made ahead of the next invocation; None: never, or it is too late for it."""
    if usage.level or not usage.idle_since_s:
        return None
    return begins_at(usage, window(usage, 1, default_s), now_s)


def begins_at(usage: Usage, wanted: Window, now_s: float) -> float | None:
    """Say when an environment is to be made ahead by a window; see `ahead_at`."""
    if usage.level or not usage.idle_since_s or not wanted.ahead_s:
        return None
    at_s = usage.idle_since_s[0] + wanted.ahead_s
    return at_s if now_s < usage.idle_since_s[0] + wanted.keep_s else None


@dataclass(slots=True)
class Clock:
    """The worth of the last environment that gave way, and what it was before: at most `CLOCKS_MAX` steps are remembered."""

    times_s: list[float] = field(default_factory=list)  # ascending
    values: list[float] = field(default_factory=list)  # likewise

    def at(self, time_s: float) -> float:
        """Return what the clock showed at a time."""
        index = bisect.bisect_right(self.times_s, time_s)
        return self.values[index - 1] if index else self.values[0] if len(self.values) == CLOCKS_MAX else 0.0

    def advance(self, value: float, now_s: float) -> None:
        """Set the clock to the worth of what gives way now; it never goes back."""
        self.times_s.append(now_s)
        self.values.append(max(value, self.values[-1] if self.values else 0.0))
        if len(self.times_s) > CLOCKS_MAX:
            del self.times_s[0], self.values[0]


def worth(usage: Usage, level: int, clock: float) -> float:
    """
    Return what an idle environment is worth; the least one gives way first.

    Args:
        level: as for `window`; its use counts, not that of the function as a whole, or what a burst left behind would never go.
        clock: what it showed when the environment became idle.
    """
    histogram = usage.histograms.get(level.bit_length())
    uses = histogram.total if histogram is not None else 0
    return clock + (1 + uses) * usage.cold_ms / usage.size_mib

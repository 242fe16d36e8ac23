"""Replay a trace of invocations against ways of keeping environments, and say what each costs.

    python -m bench.keep_alive [--trace DIR] [--functions N] [--days N] [--seed N] [--memory-gib N]

The trace is the Azure Functions trace of 2019 in DIR (`invocations_per_function_md.anon.dNN.csv`, and if they are there
`function_durations_percentiles.anon.dNN.csv` and `app_memory_percentiles.anon.dNN.csv`), or a synthetic one that has its published
characteristics: rates over many orders of magnitude (45 % of functions at most hourly, 81 % at most once a minute), 16 % timers,
15 % that come in bursts, the others Poisson with a daily rhythm. Counts are per minute; within a minute invocations are spread evenly
at random, those of timers come at its beginning.

The policy is `lambdad.machines.keep_alive` itself. Cold cost, memory and duration are drawn for each function once.
"""

import argparse
import csv
import heapq
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lambdad.machines import keep_alive

DAY_MIN = 1440
PER_DAY_MAX = 2880  # what comes more often than twice a minute is warm under every policy
DEFAULT_S = 600.0
TYPICAL = 250 / 150  # ms for each MiB: the medians of what is drawn


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the trace: when it is invoked (seconds, ascending), and what it is like."""

    arrivals_s: Sequence[float]
    duration_s: float
    cold_s: float
    memory_mib: float


@dataclass(slots=True)
class Cost:
    """What a policy came to."""

    invocations: int = 0
    cold: int = 0
    wasted_gib_s: float = 0.0
    waits_s: list[float] = field(default_factory=list)  # of cold invocations
    cold_shares: list[float] = field(default_factory=list)  # by function
    made_ahead: int = 0

    def line(self, name: str) -> str:
        shares = sorted(self.cold_shares)
        waits = sorted(self.waits_s)
        beyond = int(self.invocations * 0.01)  # the slowest hundredth, all of it cold or not
        p99_ms = 1000 * waits[-beyond - 1] if len(waits) > beyond else 0.0
        return (
            f"{name:<34} cold {100 * self.cold / self.invocations:6.3f} %   p75 of functions {100 * shares[len(shares) * 3 // 4]:6.2f} %   "
            f"waited {sum(waits):8.0f} s   p99 {p99_ms:5.0f} ms   wasted {self.wasted_gib_s / 3600:8.1f} GiB h   ahead {self.made_ahead}"
        )


class Fixed:
    """Every environment is kept for the same time."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self.usage = keep_alive.Usage()

    def expires_at(self, level: int, since_s: float) -> float:
        return since_s + self._keep_s

    def ahead_at(self, now_s: float) -> float | None:
        return None


class Learning:
    """The policy of lambdad."""

    def __init__(self, default_s: float) -> None:
        self._default_s = default_s
        self.usage = keep_alive.Usage()

    def expires_at(self, level: int, since_s: float) -> float:
        return keep_alive.expires_at(self.usage, level, since_s, self._default_s)

    def ahead_at(self, now_s: float) -> float | None:
        return keep_alive.ahead_at(self.usage, now_s, self._default_s)


class Percentiles:
    """The policy of the paper: from the 5th to the 99th percentile of idle times, with a tenth more at both ends."""

    def __init__(self, default_s: float) -> None:
        self._default_s = default_s
        self.usage = keep_alive.Usage()

    def _window(self, level: int) -> keep_alive.Window:
        histogram = self.usage.histograms.get(level.bit_length())
        if histogram is None or histogram.total < keep_alive.SAMPLES_MIN or histogram.outside > histogram.total // 2:
            return keep_alive.Window(0.0, self._default_s)
        keep_s = min((keep_alive.percentile(histogram, 0.99) + 1) * 1.1, keep_alive.BINS) * keep_alive.BIN_S
        ahead_s = keep_alive.percentile(histogram, 0.05) * 0.9 * keep_alive.BIN_S
        return keep_alive.Window(ahead_s if level == 1 and ahead_s >= keep_alive.AHEAD_MIN_S else 0.0, keep_s)

    def expires_at(self, level: int, since_s: float) -> float:
        return keep_alive.ends_at(self.usage, self._window(level), level, since_s)

    def ahead_at(self, now_s: float) -> float | None:
        return keep_alive.begins_at(self.usage, self._window(1), now_s)


def replay(function: Function, policy: Fixed | Learning | Percentiles, cost: Cost, *, spare: float = 0.0) -> None:
    """
    Run one function's invocations; environments are used last in, first out.

    Args:
        spare: share of the busy environments that is kept free ahead of demand, for a function that is invoked more than once a second.
    """
    idle: list[float] = []  # since when, the one used last at the end
    busy: list[float] = []  # a heap of ends
    size_gib = function.memory_mib / 1024
    coming: list[float] = []  # spare ones: when they are ready
    cold = 0
    usage = policy.usage
    usage.cold_ms, usage.size_mib = function.cold_s * 1000, function.memory_mib
    keep_alive.weigh(usage, TYPICAL)
    last_s = -1e9

    def settle(until_s: float) -> None:
        """Let time pass, with no arrival in it: invocations end, environments expire, others are made ahead."""
        while busy and busy[0] <= until_s:
            end_s = heapq.heappop(busy)
            expire(end_s)
            keep_alive.went(usage, end_s)
            idle.append(end_s)
        while coming and coming[0] <= until_s:
            idle.insert(0, coming.pop(0))
        expire(until_s)

    def expire(until_s: float) -> None:
        while idle:
            # The oldest goes first; it is at the highest level.
            ends_s = policy.expires_at(usage.level + len(idle), idle[0])
            if ends_s > until_s:
                return
            cost.wasted_gib_s += max(ends_s - idle.pop(0), 0.0) * size_gib
            if not idle and not busy:
                at_s = policy.ahead_at(ends_s)
                if at_s is not None and ends_s < at_s <= until_s:
                    cost.made_ahead += 1
                    idle.append(at_s)

    for at_s in function.arrivals_s:
        settle(at_s)
        keep_alive.came(usage, at_s)
        if idle:
            cost.wasted_gib_s += (at_s - idle.pop()) * size_gib
            heapq.heappush(busy, at_s + function.duration_s)
        else:
            cold += 1
            cost.waits_s.append(function.cold_s)
            heapq.heappush(busy, at_s + function.cold_s + function.duration_s)
        if spare and at_s - last_s < 1.0 and len(idle) + len(coming) < max(1, int(spare * len(busy))):
            coming.append(at_s + function.cold_s)
            cost.wasted_gib_s += function.cold_s * size_gib
            cost.made_ahead += 1
        last_s = at_s
    settle(function.arrivals_s[-1] + 4 * 3600 if function.arrivals_s else 0.0)
    cost.invocations += len(function.arrivals_s)
    cost.cold += cold
    if function.arrivals_s:
        cost.cold_shares.append(cold / len(function.arrivals_s))


def replay_full(functions: Sequence[Function], memory_gib: float, *, by_worth: bool) -> Cost:
    """Run all functions on a machine whose memory is always full: an environment stays until another one needs its place."""
    cost, free_mib = Cost(), memory_gib * 1024
    usages = [keep_alive.Usage(cold_ms=function.cold_s * 1000, size_mib=function.memory_mib) for function in functions]
    idle: list[list[float]] = [[] for _ in functions]
    colds = [0] * len(functions)
    clock = keep_alive.Clock()
    ends: list[tuple[float, int]] = []
    arrivals = heapq.merge(*([(at_s, number) for at_s in function.arrivals_s] for number, function in enumerate(functions)))
    for at_s, number in arrivals:
        function = functions[number]
        while ends and ends[0][0] <= at_s:
            end_s, ended = heapq.heappop(ends)
            keep_alive.went(usages[ended], end_s)
            idle[ended].append(end_s)
        keep_alive.came(usages[number], at_s)
        cost.invocations += 1
        if idle[number]:
            idle[number].pop()
            heapq.heappush(ends, (at_s + function.duration_s, number))
            continue
        cost.cold += 1
        colds[number] += 1
        cost.waits_s.append(function.cold_s)
        while free_mib < function.memory_mib:
            candidates = [
                (
                    (keep_alive.worth(usages[other], usages[other].level + len(since), clock.at(since[0])), since[0])
                    if by_worth
                    else (since[0], 0.0),
                    other,
                )
                for other, since in enumerate(idle)
                if since
            ]
            if not candidates:
                break  # more is busy than fits; the machine would have them wait
            (worth, _), victim = min(candidates)
            clock.advance(worth, at_s)
            idle[victim].pop(0)
            free_mib += functions[victim].memory_mib
        free_mib -= function.memory_mib
        heapq.heappush(ends, (at_s + function.cold_s + function.duration_s, number))
    cost.cold_shares = [cold / len(function.arrivals_s) for cold, function in zip(colds, functions, strict=True) if function.arrivals_s]
    return cost


# Traces.
def synthetic(functions: int, days: int, seed: int) -> list[Function]:
    """Make a trace with the published characteristics; the same for the same arguments."""
    source = random.Random(seed)
    return [_like(source, _arrivals(source, days)) for _ in range(functions)]


def _like(source: random.Random, arrivals_s: list[float], *, duration_s: float | None = None, memory_mib: float | None = None) -> Function:
    """Draw what a trace does not say: half of functions run for less than a second, nine in ten apps use less than 400 MB."""
    return Function(
        arrivals_s,
        min(max(duration_s or source.lognormvariate(math.log(0.7), 1.2), 0.005), 60.0),
        min(max(source.lognormvariate(math.log(0.25), 1.0), 0.01), 8.0),
        min(max(memory_mib or source.lognormvariate(math.log(150), 0.75), 32.0), 3008.0),
    )


def _arrivals(source: random.Random, days: int) -> list[float]:
    drawn = source.random()
    low, high = (0.5, 24.0) if drawn < 0.45 else (24.0, 1440.0) if drawn < 0.81 else (1440.0, 100_000.0)
    per_day = min(low * (high / low) ** source.random(), PER_DAY_MAX)
    kind = source.random()
    end_s = days * 86400.0
    if kind < 0.16:
        return _timer(source, per_day, end_s)
    if kind < 0.31:
        return _bursts(source, per_day, end_s)
    return _poisson(source, per_day, end_s)


def _timer(source: random.Random, per_day: float, end_s: float) -> list[float]:
    usual = [1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440]
    period_s = 60.0 * min(usual, key=lambda minutes: abs(math.log(DAY_MIN / per_day / minutes)))
    offset_s = 60.0 * source.randrange(60)
    times = (offset_s + number * period_s + source.random() * 2.0 for number in range(int(end_s / period_s)))
    return [at_s for at_s in times if at_s < end_s]


def _bursts(source: random.Random, per_day: float, end_s: float) -> list[float]:
    size = min(max(source.lognormvariate(math.log(8), 1.0), 2.0), 200.0)
    times: list[float] = []
    at_s = 0.0
    while True:
        at_s += source.expovariate(per_day / size / 86400)
        if at_s >= end_s:
            return sorted(times)
        times += [at_s + source.random() * 20.0 for _ in range(max(1, round(source.expovariate(1 / size))))]


def _poisson(source: random.Random, per_day: float, end_s: float) -> list[float]:
    times: list[float] = []
    at_s = 0.0
    phase = source.random() * 2 * math.pi
    while True:
        at_s += source.expovariate(2 * per_day / 86400)
        if at_s >= end_s:
            return times
        if source.random() < 0.5 * (1 + 0.7 * math.sin(2 * math.pi * at_s / 86400 + phase)):
            times.append(at_s)


def azure(folder: Path, functions: int, days: int, seed: int) -> list[Function]:
    """Read the trace of 2019: a sample of its functions over its first days."""
    source = random.Random(seed)
    files = sorted(folder.glob("invocations_per_function_md.anon.d*.csv"))[:days]
    if not files:
        raise SystemExit(f"there is no invocations_per_function_md.anon.d*.csv in {folder}")
    durations = dict(_column(folder, "function_durations_percentiles.anon.d*.csv", "HashFunction", "percentile_Average_50"))
    memory = dict(_column(folder, "app_memory_percentiles.anon.d*.csv", "HashApp", "AverageAllocatedMb"))
    arrivals: dict[tuple[str, str], list[float]] = {}
    chosen: set[tuple[str, str]] | None = None
    for day, file in enumerate(files):
        with file.open(newline="") as opened:
            rows = list(csv.DictReader(opened))
        if chosen is None:
            keys = [(row["HashApp"], row["HashFunction"]) for row in rows]
            chosen = set(source.sample(keys, min(functions, len(keys))))
        for row in rows:
            key = (row["HashApp"], row["HashFunction"])
            if key in chosen:
                arrivals.setdefault(key, []).extend(_spread(source, row, day))
    return [
        _like(source, times, duration_s=durations.get(name, 0.0) / 1000 or None, memory_mib=memory.get(app))
        for (app, name), times in arrivals.items()
    ]


def _spread(source: random.Random, row: dict[str, str], day: int) -> list[float]:
    counts = [int(row[str(minute)]) for minute in range(1, DAY_MIN + 1)]
    total = sum(counts)
    kept = min(1.0, PER_DAY_MAX / total) if total else 1.0
    times: list[float] = []
    for minute, count in enumerate(counts):
        begin_s = day * 86400.0 + minute * 60.0
        for _ in range(count if kept == 1.0 else round(count * kept)):
            times.append(begin_s + source.random() * (2.0 if row["Trigger"] == "timer" else 60.0))
    return sorted(times)


def _column(folder: Path, pattern: str, key: str, value: str) -> Iterator[tuple[str, float]]:
    for file in sorted(folder.glob(pattern)):
        with file.open(newline="") as opened:
            for row in csv.DictReader(opened):
                yield row[key], float(row[value])


def compare(functions: Sequence[Function], memory_gib: float) -> dict[str, Cost]:
    """Replay a trace under each policy."""
    costs: dict[str, Cost] = {}
    for minutes in (5, 10, 20, 60):
        cost = costs[f"fixed, {minutes} min"] = Cost()
        for function in functions:
            replay(function, Fixed(minutes * 60.0), cost)
    for name, default_s, spare in (
        ("learning", DEFAULT_S, 0.0),
        ("learning, default 15 min", DEFAULT_S * 1.5, 0.0),
        ("learning, spare 10 %", DEFAULT_S, 0.1),
    ):
        cost = costs[name] = Cost()
        for function in functions:
            replay(function, Learning(default_s), cost, spare=spare)
    cost = costs["5th to 99th percentile"] = Cost()
    for function in functions:
        replay(function, Percentiles(DEFAULT_S), cost)
    costs[f"{memory_gib:g} GiB full, least recently used"] = replay_full(functions, memory_gib, by_worth=False)
    costs[f"{memory_gib:g} GiB full, least worth"] = replay_full(functions, memory_gib, by_worth=True)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.keep_alive", description="Replay a trace against ways of keeping environments.")
    parser.add_argument("--trace", type=Path, help="folder of the Azure Functions trace of 2019; without it a synthetic trace is made")
    parser.add_argument("--functions", type=int, default=400)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory-gib", type=float, default=8.0)
    given = parser.parse_args()
    began_s = time.perf_counter()
    if given.trace:
        functions = azure(given.trace, given.functions, given.days, given.seed)
    else:
        functions = synthetic(given.functions, given.days, given.seed)
    total = sum(len(function.arrivals_s) for function in functions)
    print(f"{len(functions)} functions, {total} invocations, {given.days} days, seed {given.seed}\n")
    for name, cost in compare(functions, given.memory_gib).items():
        print(cost.line(name))
    print(f"\ntook {time.perf_counter() - began_s:.0f} s")


if __name__ == "__main__":
    main()

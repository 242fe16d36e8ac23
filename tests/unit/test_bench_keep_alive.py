"""The simulator of keep-alive policies: it reads the trace's format, and the policy that learns earns its place."""

import csv
from pathlib import Path

import pytest
from bench import keep_alive as bench


def test_learning_beats_a_fixed_time_for_no_more_memory():
    """On the synthetic trace: at most three quarters of the cold starts and of the waiting of ten minutes for all."""
    functions = bench.synthetic(60, 4, seed=3)
    fixed, learning = bench.Cost(), bench.Cost()
    for function in functions:
        bench.replay(function, bench.Fixed(600.0), fixed)
        bench.replay(function, bench.Learning(600.0), learning)
    assert fixed.invocations == learning.invocations == sum(len(function.arrivals_s) for function in functions)
    assert learning.cold < 0.75 * fixed.cold and sum(learning.waits_s) < 0.75 * sum(fixed.waits_s)
    assert learning.wasted_gib_s <= fixed.wasted_gib_s


def test_a_fixed_time_by_hand():
    """Two invocations within it share an environment, a third one does not; what is wasted is the idle time."""
    cost = bench.Cost()
    bench.replay(bench.Function([0.0, 100.0, 1000.0], 1.0, 0.5, 1024.0), bench.Fixed(600.0), cost)
    assert (cost.invocations, cost.cold) == (3, 2)
    assert cost.wasted_gib_s == pytest.approx((100.0 - 1.5) + 600.0 + 600.0)


def test_the_trace_has_its_published_shape():
    """The same for the same seed; nearly half of the functions at most hourly, and most at most once a minute."""
    functions = bench.synthetic(300, 1, seed=5)
    assert [list(one.arrivals_s) for one in functions] == [list(one.arrivals_s) for one in bench.synthetic(300, 1, seed=5)]
    counts = [len(function.arrivals_s) for function in functions]
    assert 0.35 < sum(count <= 24 for count in counts) / 300 < 0.6
    assert sum(count <= 1500 for count in counts) / 300 > 0.7
    assert all(list(one.arrivals_s) == sorted(one.arrivals_s) for one in functions)


def test_full_memory_never_holds_more_than_fits():
    """With room for one environment two functions in turn are always cold; with room for two only at first."""
    turns = [bench.Function([float(at) for at in range(first, 100, 20)], 1.0, 0.1, 1024.0) for first in (0, 10)]
    for by_worth in (False, True):
        assert bench.replay_full(turns, 1.0, by_worth=by_worth).cold == 10
        assert bench.replay_full(turns, 2.0, by_worth=by_worth).cold == 2


def test_the_format_of_2019(tmp_path: Path):
    """Counts per minute, with durations and memory from the other two files."""
    minutes = [str(minute) for minute in range(1, 1441)]
    for day in (1, 2):
        with (tmp_path / f"invocations_per_function_md.anon.d0{day}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["HashOwner", "HashApp", "HashFunction", "Trigger", *minutes])
            writer.writerow(["o", "a", "f", "http", "2", "0", "1", *["0"] * 1437])
            writer.writerow(["o", "a", "g", "timer", *["1"] * 1440])
    (tmp_path / "function_durations_percentiles.anon.d01.csv").write_text(
        "HashOwner,HashApp,HashFunction,percentile_Average_50\no,a,f,250\n"
    )
    (tmp_path / "app_memory_percentiles.anon.d01.csv").write_text("HashOwner,HashApp,SampleCount,AverageAllocatedMb\no,a,9,96\n")
    http, timer = sorted(bench.azure(tmp_path, 10, 2, seed=1), key=lambda function: len(function.arrivals_s))
    assert len(http.arrivals_s) == 6 and len(timer.arrivals_s) == 2880
    assert http.duration_s == 0.25 and http.memory_mib == timer.memory_mib == 96
    assert [int(at_s // 60) for at_s in http.arrivals_s] == [0, 0, 2, 1440, 1440, 1442]
    assert all(at_s % 60 < 2 for at_s in timer.arrivals_s)

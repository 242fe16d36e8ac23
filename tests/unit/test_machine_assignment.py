"""Assignment against a naive twin: a list of environments and a list of those who wait."""

from hypothesis import given
from hypothesis import strategies as st

from lambdad.machines import assignment

STEPS = st.lists(st.tuples(st.sampled_from(["request", "ready", "done", "lost"]), st.integers(0, 5)), max_size=60)


def test_the_one_used_last_is_used_first():
    """So that the others grow old and are reaped."""
    pool: assignment.Pool[str] = assignment.Pool()
    for environment_id in ("a", "b"):
        assignment.started(pool, environment_id)
        assert assignment.free(pool, environment_id, 1.0) is None
    assert assignment.request(pool, "r") == "b"


def test_who_waits_is_served_by_whichever_is_free_first():
    """An environment that ends its invocation serves the one that caused a start; the new one is then idle."""
    pool: assignment.Pool[str] = assignment.Pool()
    assignment.started(pool, "a")
    assignment.free(pool, "a", 0.0)
    assert assignment.request(pool, "r1") == "a"
    assert assignment.request(pool, "r2") is None and assignment.needs_start(pool)
    assignment.started(pool, "b")
    assert not assignment.needs_start(pool)
    assert assignment.free(pool, "a", 1.0) == "r2"
    assert assignment.free(pool, "b", 2.0) is None
    assert assignment.expired(pool, 3.0) == ["b"] and assignment.expired(pool, 2.0) == []


@given(STEPS)
def test_no_environment_runs_two_and_nobody_waits_beside_an_idle_one(steps: list[tuple[str, int]]):
    """The pool agrees with a naive twin on who runs where, for any order of events."""
    pool: assignment.Pool[int] = assignment.Pool()
    idle: list[str] = []
    busy: dict[str, int] = {}
    waiting: list[int] = []
    starting: list[str] = []
    made = 0
    for number, (kind, which) in enumerate(steps):
        if kind == "request":
            got = assignment.request(pool, number)
            if idle:
                assert got == idle[-1]
                busy[idle.pop()] = number
            else:
                assert got is None
                waiting.append(number)
                if assignment.needs_start(pool):
                    made += 1
                    starting.append(f"e{made}")
                    assignment.started(pool, f"e{made}")
        elif kind in ("ready", "done"):
            candidates = starting if kind == "ready" else list(busy)
            if not candidates:
                continue
            environment_id = candidates[which % len(candidates)]
            starting = [other for other in starting if other != environment_id]
            busy.pop(environment_id, None)
            got_token = assignment.free(pool, environment_id, float(number))
            if waiting:
                assert got_token == waiting[0]
                busy[environment_id] = waiting.pop(0)
            else:
                assert got_token is None
                idle.append(environment_id)
        else:
            candidates = [*starting, *idle, *busy]
            if not candidates:
                continue
            environment_id = candidates[which % len(candidates)]
            assert assignment.lost(pool, environment_id) == busy.pop(environment_id, None)
            starting = [other for other in starting if other != environment_id]
            idle = [other for other in idle if other != environment_id]
        assert list(pool.idle) == idle and pool.busy == busy and list(pool.waiting) == waiting and pool.starting == set(starting)
        assert not (pool.idle and pool.waiting)

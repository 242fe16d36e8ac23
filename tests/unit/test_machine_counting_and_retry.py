"""Who may run, and what becomes of an event whose invocation failed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.machines import concurrency, retry
from lambdad.machines.concurrency import Claim, Counts, ThrottleReason
from lambdad.machines.retry import Condition, Failure, GiveUp, Retry


def test_a_reservation_is_a_limit_of_its_own():
    """A function with a reservation neither uses the account's pool nor is helped by it."""
    counts = Counts()
    assert concurrency.admit(counts, "f", 1, 1) is None
    assert concurrency.admit(counts, "f", 1, 1) is ThrottleReason.RESERVED
    assert concurrency.admit(counts, "g", None, 1) is None
    assert concurrency.admit(counts, "h", None, 1) is ThrottleReason.ACCOUNT
    concurrency.leave(counts, "f", Claim.RESERVED)
    assert concurrency.admit(counts, "f", 1, 1) is None


@given(st.lists(st.tuples(st.sampled_from("fg"), st.sampled_from([None, 0, 1, 3]), st.booleans()), max_size=60), st.integers(0, 4))
def test_limits_hold_and_everything_that_left_is_gone(steps: list[tuple[str, int | None, bool]], limit: int):
    """Never more than the limits in flight, for any order of arrivals and departures; nothing is left at the end."""
    counts, inside = Counts(), []
    for function, reserved, departs in steps:
        if departs and inside:
            name, was_reserved = inside.pop(0)
            concurrency.leave(counts, name, Claim.RESERVED if was_reserved else Claim.UNRESERVED)
        elif concurrency.admit(counts, function, reserved, limit) is None:
            inside.append((function, reserved is not None))
            if reserved is None:
                assert sum(not was for _, was in inside) <= limit
            else:
                assert sum(was and name == function for name, was in inside) <= reserved
    for name, was_reserved in inside:
        concurrency.leave(counts, name, Claim.RESERVED if was_reserved else Claim.UNRESERVED)
    assert counts == Counts()


def test_function_errors_are_tried_twice_more():
    """One minute, two minutes, then the event is given up."""
    decide = [retry.decide(Failure.FUNCTION_ERROR, attempts=n, held_back=0, age_ms=0) for n in (1, 2, 3)]
    assert decide == [Retry(60_000), Retry(120_000), GiveUp(Condition.RETRIES_EXHAUSTED)]


@pytest.mark.parametrize(("age_limit_s", "attempts_made"), [(60, 1), (90, 2)])
def test_the_age_limit_gives_up_before_it_waits(age_limit_s: int, attempts_made: int):
    """With 60 s there is never a retry, with 90 s exactly one, and the condition is the age."""
    age_ms = 100
    for attempt in range(1, attempts_made + 1):
        decision = retry.decide(
            Failure.FUNCTION_ERROR, attempts=attempt, held_back=0, age_ms=age_ms, maximum_event_age_ms=age_limit_s * 1000
        )
        if attempt < attempts_made:
            assert isinstance(decision, Retry)
            age_ms += decision.delay_ms
    assert decision == GiveUp(Condition.EVENT_AGE_EXCEEDED)


@given(st.integers(1, 10_000))
def test_throttles_back_off_to_five_minutes_and_use_up_no_attempts(held_back: int):
    """From one second doubling to 300, for as long as the event is young enough."""
    decision = retry.decide(Failure.THROTTLED, attempts=0, held_back=held_back, age_ms=0)
    assert decision == Retry(min(1000 * 2 ** min(held_back - 1, 20), 300_000))

"""Token buckets, and who gets the next free environment."""

from hypothesis import given
from hypothesis import strategies as st

from lambdad.machines import concurrency, scaling
from lambdad.machines.concurrency import Counts, ThrottleReason

GAPS = st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=200)


@given(GAPS, st.floats(0.5, 50), st.floats(1, 20))
def test_no_more_than_the_rate_and_what_was_saved(gaps: list[float], rate: float, capacity: float):
    """In any stretch of time no more is given than its length times the rate, and the capacity once."""
    bucket, now_s, given_at = scaling.Bucket(), 100.0, []
    for gap in gaps:
        now_s += gap
        if scaling.take(bucket, rate, capacity, now_s):
            given_at.append(now_s)
    for first in range(len(given_at)):
        for last in range(first, len(given_at)):
            assert last - first + 1 <= (given_at[last] - given_at[first]) * rate + capacity + 1e-6


def test_a_bucket_begins_full_and_refills_continuously():
    """A thousand environments at once, then one each hundredth of a second."""
    bucket = scaling.Bucket()
    assert all(scaling.take_environment(bucket, 5.0) for _ in range(1000))
    assert not scaling.take_environment(bucket, 5.0) and not scaling.take_environment(bucket, 5.005)
    assert scaling.take_environment(bucket, 5.011)
    assert not scaling.is_full(bucket, 14.0) and scaling.is_full(bucket, 15.1)


def test_requests_follow_a_limit_that_changes():
    """What was saved under a higher limit is cut down to the new one; with no concurrency nothing is given."""
    bucket = scaling.Bucket()
    assert scaling.take_request(bucket, 100, 1.0)
    assert [scaling.take_request(bucket, 1, 1.0) for _ in range(11)] == [True] * 10 + [False]
    assert not scaling.take_request(bucket, 0, 100.0)


def test_requests_per_second_have_reasons_of_their_own():
    """Ten a second for each unit of concurrency, counted apart for a reservation; queued events are not limited."""
    counts = Counts()
    for pool, reason in ((None, ThrottleReason.ACCOUNT_RATE), (2, ThrottleReason.RESERVED_RATE)):
        for _ in range(20):
            assert concurrency.admit(counts, "f", pool, 2, 1.0, rate_limited=True) is None
            concurrency.leave(counts, "f", concurrency.Claim.UNRESERVED if pool is None else concurrency.Claim.RESERVED)
        assert concurrency.admit(counts, "f", pool, 2, 1.0, rate_limited=True) is reason
        assert concurrency.admit(counts, "f", pool, 2, 1.0) is None
        concurrency.leave(counts, "f", concurrency.Claim.UNRESERVED if pool is None else concurrency.Claim.RESERVED)
        assert concurrency.admit(counts, "f", pool, 2, 1.11, rate_limited=True) is None
        concurrency.leave(counts, "f", concurrency.Claim.UNRESERVED if pool is None else concurrency.Claim.RESERVED)
    assert counts.unreserved == 0 and counts.reserved == {}
    concurrency.forget(counts, 1.5)
    assert list(counts.reserved_rates) == ["f"]
    concurrency.forget(counts, 3.0)
    assert counts.reserved_rates == {}


def test_who_refuses_concurrency_keeps_the_rate():
    """An invocation that the limit of concurrency refuses uses up no request."""
    counts = Counts()
    assert concurrency.admit(counts, "f", None, 1, 1.0, rate_limited=True) is None
    for _ in range(50):
        assert concurrency.admit(counts, "f", None, 1, 1.0, rate_limited=True) is ThrottleReason.ACCOUNT
    concurrency.leave(counts, "f", concurrency.Claim.UNRESERVED)
    assert concurrency.admit(counts, "f", None, 1, 1.0, rate_limited=True) is None


def test_a_free_environment_gives_way_to_who_has_waited_longer():
    """At once where it would be idle; else only to an older one, and after a while."""
    assert scaling.gives_way(10.0, None, 10.0)
    assert not scaling.gives_way(10.0, 9.0, 20.0)
    assert not scaling.gives_way(10.0, 10.1, 10.1)
    assert scaling.gives_way(10.0, 10.1, 10.0 + scaling.PATIENCE_S + 0.01)

"""How fast: token buckets for requests per second and for new environments, and who comes first when there is no room.

Source: AWS Lambda developer guide, "Understanding Lambda function scaling" (requests per second; concurrency scaling rate).
"""

from dataclasses import dataclass

REQUESTS_PER_S = 10.0  # for each unit of concurrency
ENVIRONMENTS_PER_S = 100.0  # that a function may add: 1,000 in ten seconds, refilled continuously
ENVIRONMENTS_AT_ONCE = 1000.0
PATIENCE_S = 0.2  # how long another function's invocation waits behind younger ones that find a warm environment


@dataclass(slots=True)
class Bucket:
    """Tokens that come back with time. A new bucket is full.

    Invariant: 0 <= `tokens` after each `take`; never more than the capacity that `take` was given.
    """

    tokens: float = float("inf")
    at_s: float = 0.0  # when `tokens` was right


def take(bucket: Bucket, rate: float, capacity: float, now_s: float) -> bool:
    """
    Take one token, if there is one.

    Args:
        rate: tokens that come back in a second, >= 0; may change from call to call.
        capacity: the most that there can be, >= 0; likewise.
        now_s: never before the last call's.
    """
    tokens = bucket.tokens + (now_s - bucket.at_s) * rate
    if tokens > capacity:
        tokens = capacity
    bucket.at_s = now_s
    if tokens < 1.0:
        bucket.tokens = tokens
        return False
    bucket.tokens = tokens - 1.0
    return True


def take_request(bucket: Bucket, concurrency: int, now_s: float) -> bool:
    """Take the right to one request from a pool of concurrency: ten a second for each unit, a second's worth at once."""
    rate = concurrency * REQUESTS_PER_S
    return take(bucket, rate, rate, now_s)


def take_environment(bucket: Bucket, now_s: float) -> bool:
    """Take the right to one more environment of a function."""
    return take(bucket, ENVIRONMENTS_PER_S, ENVIRONMENTS_AT_ONCE, now_s)


def is_full(bucket: Bucket, now_s: float) -> bool:
    """Say whether a bucket of environments is as good as a new one."""
    return bucket.tokens + (now_s - bucket.at_s) * ENVIRONMENTS_PER_S >= ENVIRONMENTS_AT_ONCE


def gives_way(waits_since_s: float, others_since_s: float | None, now_s: float) -> bool:
    """
    Say whether a free environment is given up for another function, on a machine that has no room.

    Args:
        waits_since_s: since when the invocation waits that has no environment on its way, of another function.
        others_since_s: since when the oldest invocation waits that this environment could serve; None: none does.
    """
    if others_since_s is None:
        return True
    return waits_since_s < others_since_s and now_s - waits_since_s > PATIENCE_S

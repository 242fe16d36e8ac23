"""Counting: who may run. Knows limits and what is in flight; does not know environments.

Source: AWS Lambda developer guide, "Understanding Lambda function scaling" (reserved concurrency; account limit; requests per second).
"""

from dataclasses import dataclass, field
from enum import StrEnum

from lambdad.machines import scaling


class ThrottleReason(StrEnum):
    """Why an invocation may not run now; the `Reason` member of TooManyRequestsException."""

    ACCOUNT = "ConcurrentInvocationLimitExceeded"
    RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"
    ACCOUNT_RATE = "FunctionInvocationRateLimitExceeded"
    RESERVED_RATE = "ReservedFunctionInvocationRateLimitExceeded"


class Claim(StrEnum):
    """Whose concurrency an invocation uses."""

    UNRESERVED = "unreserved"
    RESERVED = "reserved"
    PROVISIONED = "provisioned"  # an environment that is counted already; nothing else is


@dataclass(slots=True)
class Counts:
    """What is in flight in one account and region.

    Invariant: every value of `reserved` is > 0; `unreserved` >= 0. `reserved_rates` has at most the functions that there are with a
    reservation; see `forget`.
    """

    unreserved: int = 0
    reserved: dict[str, int] = field(default_factory=dict)  # by function name, for those admitted against a reservation
    rate: scaling.Bucket = field(default_factory=scaling.Bucket)
    reserved_rates: dict[str, scaling.Bucket] = field(default_factory=dict)


def admit(
    counts: Counts, function: str, reserved: int | None, unreserved_limit: int, now_s: float = 0.0, *, rate_limited: bool = False
) -> ThrottleReason | None:
    """
    Let one invocation in and count it, or say why not.

    Args:
        reserved: what the function may run at once of its ReservedConcurrentExecutions outside of provisioned environments, >= 0;
            None when it runs in the account's unreserved pool.
        unreserved_limit: the account's limit less everything that is claimed.
        now_s: never before the last call's.
        rate_limited: whether requests per second are limited too, for synchronous invocations.
    """
    if reserved is None:
        if counts.unreserved >= unreserved_limit:
            return ThrottleReason.ACCOUNT
        if rate_limited and not scaling.take_request(counts.rate, unreserved_limit, now_s):
            return ThrottleReason.ACCOUNT_RATE
        counts.unreserved += 1
        return None
    running = counts.reserved.get(function, 0)
    if running >= reserved:
        return ThrottleReason.RESERVED
    if rate_limited:
        bucket = counts.reserved_rates.get(function)
        if bucket is None:
            bucket = counts.reserved_rates[function] = scaling.Bucket()
        if not scaling.take_request(bucket, reserved, now_s):
            return ThrottleReason.RESERVED_RATE
    counts.reserved[function] = running + 1
    return None


def leave(counts: Counts, function: str, claim: Claim) -> None:
    """Count one invocation out; `claim` as it was when it was admitted, whatever the reservation is by now."""
    if claim is Claim.PROVISIONED:
        return
    if claim is Claim.UNRESERVED:
        assert counts.unreserved > 0, "an invocation left that had not been admitted"
        counts.unreserved -= 1
        return
    running = counts.reserved[function] - 1
    if running:
        counts.reserved[function] = running
    else:
        del counts.reserved[function]


def forget(counts: Counts, now_s: float) -> None:
    """Drop what is known of the rates of functions that have not been invoked for a second: their buckets are full again."""
    for function in [name for name, bucket in counts.reserved_rates.items() if bucket.at_s < now_s - 1.0]:
        del counts.reserved_rates[function]

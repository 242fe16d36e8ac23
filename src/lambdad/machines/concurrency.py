"""Counting: who may run. Knows limits and what is in flight; does not know environments.

Source: AWS Lambda developer guide, "Understanding Lambda function scaling" (reserved concurrency; account limit).
"""

from dataclasses import dataclass, field
from enum import StrEnum


class ThrottleReason(StrEnum):
    """Why an invocation may not run now; the `Reason` member of TooManyRequestsException."""

    ACCOUNT = "ConcurrentInvocationLimitExceeded"
    RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"


@dataclass(slots=True)
class Counts:
    """What is in flight in one account and region.

    Invariant: every value is > 0 or absent; `unreserved` >= 0.
    """

    unreserved: int = 0
    reserved: dict[str, int] = field(default_factory=dict)  # by function name, for those admitted against a reservation


def admit(counts: Counts, function: str, reserved: int | None, unreserved_limit: int) -> ThrottleReason | None:
    """
    Let one invocation in and count it, or say why not.

    Args:
        reserved: the function's ReservedConcurrentExecutions, >= 0; None when it runs in the account's unreserved pool.
        unreserved_limit: the account's limit less everything that is reserved.
    """
    if reserved is None:
        if counts.unreserved >= unreserved_limit:
            return ThrottleReason.ACCOUNT
        counts.unreserved += 1
        return None
    running = counts.reserved.get(function, 0)
    if running >= reserved:
        return ThrottleReason.RESERVED
    counts.reserved[function] = running + 1
    return None


def leave(counts: Counts, function: str, *, was_reserved: bool) -> None:
    """Count one invocation out; `was_reserved` as it was when it was admitted, whatever the reservation is by now."""
    if not was_reserved:
        assert counts.unreserved > 0, "an invocation left that had not been admitted"
        counts.unreserved -= 1
        return
    running = counts.reserved[function] - 1
    if running:
        counts.reserved[function] = running
    else:
        del counts.reserved[function]

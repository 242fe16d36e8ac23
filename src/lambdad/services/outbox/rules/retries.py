"""Whether a delivery that failed is tried again, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from lambdad.model.errors import AwsError

FIRST_DELAY_MS = 200
LAST_DELAY_MS = 300_000

# 4xx by which a service says "later": AWS SDKs retry the same ones.
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429})
_TRANSIENT_CODES = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttled",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_FINAL_STATUS = frozenset({501, 505})  # of those above 499: what nobody serves is not served later either


class Condition(StrEnum):
    """Why a delivery is given up."""

    FINAL_ERROR = "FinalError"
    ATTEMPTS = "MaximumRetryAttempts"
    AGE = "MaximumEventAgeInSeconds"


@dataclass(frozen=True, slots=True)
class Retry:
    delay_ms: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    condition: Condition


Decision: TypeAlias = Retry | GiveUp


def is_final(error: AwsError) -> bool:
    """Say whether an error would be the same at another time: the call itself is refused, and not only now."""
    if error.code in _TRANSIENT_CODES or error.code.rpartition(".")[2] in _TRANSIENT_CODES:
        return False
    if error.status >= 500:
        return error.status in _FINAL_STATUS
    return error.status not in _TRANSIENT_STATUS


def decide(
    error: AwsError,
    *,
    attempts: int,
    age_ms: int,
    maximum_attempts: int,
    maximum_age_ms: int,
    jitter: float,
    delays_ms: Sequence[int] = (),
) -> Decision:
    """
    Decide on a delivery after a failed attempt.

    Args:
        attempts: made so far, this one included, >= 1.
        age_ms: since the delivery was added.
        jitter: 0.0..1.0, drawn for this decision; shortens a delay of our own by up to a half, so that what failed together does not
            come back together.
        delays_ms: instead of the back-off, see `Delivery`.

    A delivery that would be too old by its next attempt is given up at once.
    """
    if is_final(error):
        return GiveUp(Condition.FINAL_ERROR)
    if attempts >= maximum_attempts:
        return GiveUp(Condition.ATTEMPTS)
    if delays_ms:
        delay_ms = delays_ms[min(attempts, len(delays_ms)) - 1]
    else:
        longest_ms = min(FIRST_DELAY_MS << min(attempts - 1, 20), LAST_DELAY_MS)
        delay_ms = longest_ms - int(longest_ms / 2 * jitter)
    if age_ms + delay_ms > maximum_age_ms:
        return GiveUp(Condition.AGE)
    return Retry(delay_ms)

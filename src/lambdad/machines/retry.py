"""What becomes of an event whose invocation failed.

Source: AWS Lambda developer guide, "How Lambda handles errors and retries with asynchronous invocation".
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

FUNCTION_ERROR_DELAYS_MS = (60_000, 120_000)  # before the second, before the third attempt
FIRST_BACKOFF_MS = 1_000
LAST_BACKOFF_MS = 300_000
DEFAULT_MAXIMUM_RETRY_ATTEMPTS = 2
DEFAULT_MAXIMUM_EVENT_AGE_MS = 21_600_000


class Failure(StrEnum):
    """How an attempt failed: in the function, or before it ran."""

    FUNCTION_ERROR = "FunctionError"
    THROTTLED = "Throttled"
    SYSTEM_ERROR = "SystemError"


class Condition(StrEnum):
    """Why an event is given up; the `condition` of a destination record."""

    RETRIES_EXHAUSTED = "RetriesExhausted"
    EVENT_AGE_EXCEEDED = "EventAgeExceeded"
    ZERO_RESERVED_CONCURRENCY = "ZeroReservedConcurrency"


def is_too_old(age_ms: int, maximum_event_age_ms: int) -> bool:
    """Say whether an event has waited too long to be run at all."""
    return age_ms > maximum_event_age_ms


@dataclass(frozen=True, slots=True)
class Retry:
    delay_ms: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    condition: Condition


Decision: TypeAlias = Retry | GiveUp


def decide(
    failure: Failure,
    *,
    attempts: int,
    held_back: int,
    age_ms: int,
    maximum_retry_attempts: int = DEFAULT_MAXIMUM_RETRY_ATTEMPTS,
    maximum_event_age_ms: int = DEFAULT_MAXIMUM_EVENT_AGE_MS,
) -> Decision:
    """
    Decide on an event after a failed attempt.

    Args:
        attempts: how often the function has run for it, this time included when it ran, >= 0.
        held_back: how often in a row it could not run (throttled, system error), this time included, >= 0.
        age_ms: since it was accepted.

    An event that would be too old by the time of its next attempt is given up at once (OBSERVED by AWS-recorded tests: with an age
    limit of 60 s there is never a retry, with 90 s exactly one). Throttles and system errors use up no attempts.
    """
    if failure is Failure.FUNCTION_ERROR:
        if attempts > maximum_retry_attempts:
            return GiveUp(Condition.RETRIES_EXHAUSTED)
        delay_ms = FUNCTION_ERROR_DELAYS_MS[min(attempts, len(FUNCTION_ERROR_DELAYS_MS)) - 1]
    else:
        delay_ms = min(FIRST_BACKOFF_MS << min(max(held_back - 1, 0), 20), LAST_BACKOFF_MS)
    if age_ms + delay_ms > maximum_event_age_ms:
        return GiveUp(Condition.EVENT_AGE_EXCEEDED)
    return Retry(delay_ms)

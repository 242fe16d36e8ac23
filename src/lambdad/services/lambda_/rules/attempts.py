"""What becomes of an event after an attempt to run it: it has ended, or is tried again later, or is forgotten."""

from dataclasses import dataclass, replace
from typing import TypeAlias

from lambdad.machines import retry
from lambdad.model.function import FunctionKey
from lambdad.model.ids import RequestId
from lambdad.services.lambda_.rules import endings
from lambdad.services.lambda_.rules.endings import Ending, Response
from lambdad.services.lambda_.rules.event_invoke import Settings

_THROTTLED = (429, "Rate Exceeded.")
_FAILED = (500, "ServiceException")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One accepted event; `attempts` and `held_back` as `machines.retry` counts them, `response` of the last attempt that ran."""

    request_id: RequestId
    key: FunctionKey
    qualifier: str | None
    payload: bytes
    trace_id: str
    accepted_at_ms: int
    attempts: int = 0
    held_back: int = 0
    response: Response | None = None

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, nearly."""
        return len(self.payload) + (len(self.response.payload) if self.response is not None else 0)


@dataclass(frozen=True, slots=True)
class Gone:
    """What was to be run does not exist any more."""

    reason: str


Result: TypeAlias = Response | retry.Failure | retry.Condition | Gone
"""How an attempt went: the function ran; it could not; it may not, for good; there is none."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The event is over, and its destinations hear of it."""

    ending: Ending


@dataclass(frozen=True, slots=True)
class Discarded:
    """The event is forgotten, and nobody hears of it: the function is gone, and its configuration with it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """The event is tried again."""

    event: Event
    due_at_ms: int


Step: TypeAlias = Ended | Discarded | Postponed


def before(event: Event, settings: Settings, now_ms: int, *, reserved_concurrency: int | None) -> retry.Condition | None:
    """Say why an event is not even tried; None where it is."""
    if retry.is_too_old(now_ms - event.accepted_at_ms, settings.maximum_event_age_ms):
        return retry.Condition.EVENT_AGE_EXCEEDED
    return retry.Condition.ZERO_RESERVED_CONCURRENCY if reserved_concurrency == 0 else None


def after(event: Event, result: Result, settings: Settings, now_ms: int, *, jitter: float) -> Step:
    """
    Decide on an event after an attempt.

    Args:
        jitter: 0.0..1.0; makes the wait of what could not run longer by up to a half, so that events that were held back together do
            not come back together.
    """
    match result:
        case Gone(reason):
            return Discarded(reason)
        case retry.Condition():
            return _ended(event, result.value, *(_THROTTLED if event.response is None else (200, "")))
        case Response():
            event = replace(event, attempts=event.attempts + 1, held_back=0, response=result)
            if not result.function_error:
                return _ended(event, endings.SUCCESS)
            failure, error = retry.Failure.FUNCTION_ERROR, (200, "")
        case _:
            event = replace(event, held_back=event.held_back + 1)
            failure, error = result, _THROTTLED if result is retry.Failure.THROTTLED else _FAILED
    decision = retry.decide(
        failure,
        attempts=event.attempts,
        held_back=event.held_back,
        age_ms=now_ms - event.accepted_at_ms,
        maximum_retry_attempts=settings.maximum_retry_attempts,
        maximum_event_age_ms=settings.maximum_event_age_ms,
    )
    if isinstance(decision, retry.GiveUp):
        return _ended(event, decision.condition.value, *error)
    delay_ms = decision.delay_ms
    if failure is not retry.Failure.FUNCTION_ERROR:
        delay_ms += int(delay_ms / 2 * jitter)
    return Postponed(event, now_ms + delay_ms)


def _ended(event: Event, condition: str, error_code: int = 200, error_message: str = "") -> Ended:
    return Ended(
        Ending(
            request_id=event.request_id,
            key=event.key,
            qualifier=event.qualifier,
            payload=event.payload,
            trace_id=event.trace_id,
            condition=condition,
            attempts=event.attempts,
            response=event.response,
            error_code=error_code,
            error_message=error_message,
        )
    )

"""Judge the events of one PutLogEvents: which are taken, which are rejected, and when the whole batch is refused."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lambdad.services.logs import errors
from lambdad.services.logs.rules import limits

Event: TypeAlias = tuple[int, str]
"""Timestamp (Unix time, milliseconds) and message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The events to store, and ``rejectedLogEventsInfo`` as the API has it (empty if none was rejected)."""

    events: Sequence[Event]
    rejected: dict[str, int]


def size_bytes(messages: Sequence[str]) -> int:
    """Count messages as AWS does: their bytes in UTF-8, and 26 for each."""
    joined = "".join(messages)
    text = len(joined) if joined.isascii() else len(joined.encode("utf-8", "replace"))
    return text + limits.EVENT_OVERHEAD_BYTES * len(messages)


def judge(log_events: Sequence[dict[str, Any]], *, now_ms: int, retention_days: int | None) -> Verdict:
    """Judge a batch.

    Args:
        log_events: ``[{"timestamp": 1700000000000, "message": "..."}, ...]``, at least one.
        now_ms: Unix time, milliseconds.
        retention_days: of the group; None means for ever.

    Raises:
        InvalidParameter: the batch or an event is too large, the events are not in order, or the valid ones are more than
            24 hours apart.

    Source: CloudWatch Logs API Reference, PutLogEvents.
    """
    _check_sizes([event["message"] for event in log_events])
    times = [event["timestamp"] for event in log_events]
    if any(later < earlier for earlier, later in itertools.pairwise(times)):
        raise errors.InvalidParameter("Log events in a single PutLogEvents request must be in chronological order.")
    too_old = now_ms - limits.OLDEST_MS
    expired = now_ms - retention_days * limits.DAY_MS if retention_days is not None else too_old
    begin_old = sum(time < too_old for time in times)
    begin_expired = sum(time < expired for time in times)
    end = len(times) - sum(time > now_ms + limits.NEWEST_MS for time in times)
    begin = max(begin_old, begin_expired)
    rejected: dict[str, int] = {}
    if end < len(times):
        rejected["tooNewLogEventStartIndex"] = end
    if begin_old:
        rejected["tooOldLogEventEndIndex"] = begin_old
    if retention_days is not None and begin_expired:
        rejected["expiredLogEventEndIndex"] = begin_expired
    if begin < end and times[end - 1] - times[begin] > limits.BATCH_SPAN_MS:
        raise errors.InvalidParameter("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
    return Verdict(events=[(event["timestamp"], event["message"]) for event in log_events[begin:end]], rejected=rejected)


def _check_sizes(messages: list[str]) -> None:
    for message in messages:
        size = size_bytes([message])
        if size > limits.EVENT_BYTES:
            raise errors.InvalidParameter(f"Log event too large: {size} bytes exceeds limit of {limits.EVENT_BYTES}")
    total = size_bytes(messages)
    if total > limits.BATCH_BYTES:
        raise errors.InvalidParameter(f"Upload too large: {total} bytes exceeds limit of {limits.BATCH_BYTES}")

"""Exports of log events to S3: what a request may ask for, and how events are written.

    PREFIX/aws-logs-write-test                      written first, to see whether the bucket takes anything
    PREFIX/TASK-ID/STREAM/000000.gz                 a stream's events, "/" in its name written as "-"; further ones where it is large

Each event is a line: ``2026-01-31T12:00:00.000Z the message``.

Source: CloudWatch Logs User Guide, "Exporting log data to Amazon S3".
"""

import gzip
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from lambdad.services.logs import errors
from lambdad.services.logs.rules import batches

DESTINATION_PREFIX: Final = "exportedlogs"
WRITE_TEST: Final = b"Permission Check Successful"
FILE_BYTES: Final = 16 * 1024 * 1024
"""As much text goes into one object, before it is compressed."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = 253_402_300_799_999  # of the year 9999


class Status(StrEnum):
    """How far an export is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PENDING_CANCEL = "PENDING_CANCEL"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"


def check(request: dict[str, Any]) -> None:
    """
    Check CreateExportTask.

    Raises:
        InvalidParameter: the time it is to end is not after that at which it is to begin.
    """
    if request["from"] >= request["to"]:
        raise errors.InvalidParameter("The 'from' time must be earlier than the 'to' time.")


def cancelled(status: str) -> Status:
    """
    Say what becomes of an export that is to be cancelled.

    Raises:
        InvalidOperation: it is done.
    """
    match status:
        case Status.PENDING:
            return Status.CANCELLED
        case Status.RUNNING | Status.PENDING_CANCEL:
            return Status.PENDING_CANCEL
        case _:
            raise errors.InvalidOperation("The specified export task has already finished.")


def write_test_key(prefix: str) -> str:
    """Name the object that is written first."""
    return f"{prefix}/aws-logs-write-test"


def key(prefix: str, task_id: str, stream: str, number: int) -> str:
    """Name the object with a part of a stream."""
    return f"{prefix}/{task_id}/{stream.replace('/', '-')}/{number:06d}.gz"


def body(events: Iterable[batches.Event]) -> bytes:
    """Write events as the content of an object."""
    return gzip.compress("".join([_line(*event) for event in events]).encode(), 6, mtime=0)


def _line(timestamp_ms: int, message: str) -> str:
    time = (_EPOCH + timedelta(milliseconds=min(timestamp_ms, _LAST_MS))).isoformat(timespec="milliseconds")
    return f"{time.removesuffix('+00:00')}Z {message}" + ("" if message.endswith("\n") else "\n")

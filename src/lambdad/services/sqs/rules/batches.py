"""What every batch must be: one to ten entries with distinct ids."""

import re
from collections.abc import Sequence
from typing import Any, Final

from lambdad.model.errors import AwsError
from lambdad.services.sqs import errors
from lambdad.services.sqs.rules import limits

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}").fullmatch
_PREFIXED: Final = frozenset(("MessageNotInflight", "UnsupportedOperation"))


def check(entries: Sequence[dict[str, Any]], entry_name: str) -> None:
    """
    Refuse a batch as a whole.

    Args:
        entry_name: what the API calls an entry, e.g. ``SendMessageBatchRequestEntry``.

    Raises:
        EmptyBatchRequest, TooManyEntriesInBatchRequest, InvalidBatchEntryId, BatchEntryIdsNotDistinct.
    """
    if not entries:
        raise errors.EmptyBatchRequest(entry_name)
    if len(entries) > limits.BATCH_ENTRIES:
        raise errors.TooManyEntriesInBatchRequest(len(entries))
    seen: set[str] = set()
    for entry in entries:
        entry_id = entry.get("Id", "")
        if not _ID(entry_id):
            raise errors.InvalidBatchEntryId
        if entry_id in seen:
            raise errors.BatchEntryIdsNotDistinct(entry_id)
        seen.add(entry_id)


def failure(entry_id: str, error: AwsError) -> dict[str, Any]:
    """Return an entry's own failure, as an entry of ``Failed``; codes are those of the Query protocol, as in AWS."""
    return {
        "Id": entry_id,
        "SenderFault": error.status < 500,
        "Code": f"AWS.SimpleQueueService.{error.code}" if error.code in _PREFIXED else error.code,
        "Message": error.message,
    }

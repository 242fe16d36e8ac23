"""What an answer says of a call's parts: some operations answer 200 though not all, or nothing, was done."""

from collections.abc import Mapping
from typing import Any

from lambdad.model.errors import AwsError

# By operation: where the parts are, and the members of one that failed.
_PARTS = {
    "PutEvents": ("Entries", "ErrorCode", "ErrorMessage"),
    "PutRecords": ("Records", "ErrorCode", "ErrorMessage"),
    "SendMessageBatch": ("Failed", "Code", "Message"),
    "PublishBatch": ("Failed", "Code", "Message"),
}


def failure_in(operation: str, answer: Mapping[str, Any]) -> AwsError | None:
    """
    Find a part that failed.

    A delivery is made anew as a whole, so who adds one puts only one part into it, or minds no repetition.

    Returns:
        The first such part's error; None where all was done.
    """
    where = _PARTS.get(operation)
    if where is None:
        return None
    parts, code, message = where
    for part in answer.get(parts) or ():
        if part.get(code):
            status = 400 if part.get("SenderFault", "Failed" not in answer) else 500
            return AwsError(str(part[code]), part.get(message), status=status)
    return None

"""The policy in a browser's form: until when, and for which fields, its signer lets a stranger upload.

Source: S3 API Reference, "Browser-based uploads using POST", "Creating a POST policy".
"""

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from lambdad.services.s3 import errors

# Fields that need no condition: those of the signature itself, the file, and what begins so.
_FREE: Final = frozenset({"policy", "x-amz-signature", "file", "awsaccesskeyid", "signature"})
_FREE_PREFIX: Final = "x-ignore-"


def parsed(policy: str) -> dict[str, Any]:
    """
    Read a policy document.

    Raises:
        S3Error: InvalidPolicyDocument, it is none.
    """
    try:
        document = json.loads(base64.b64decode(policy))
        expiration, conditions = document["expiration"], document["conditions"]
    except (ValueError, KeyError, TypeError):
        raise _invalid("Invalid Policy: Invalid JSON.") from None
    if not isinstance(expiration, str) or not isinstance(conditions, list):
        raise _invalid("Invalid Policy: Policy missing expiration or conditions.")
    return dict(document)


def check(document: Mapping[str, Any], fields: Mapping[str, str], bucket: str, now_ms: int) -> tuple[int, int] | None:
    """
    Check a form against its policy.

    Args:
        fields: of the form, names in lower case, without the file.

    Returns:
        The least and the most bytes that the file may have; None where the policy does not say.

    Raises:
        AccessDenied: the policy has expired, or a field is not as it says, or it says nothing of one.
    """
    try:
        until = datetime.fromisoformat(document["expiration"])
    except ValueError:
        raise _invalid("Invalid Policy: Invalid 'expiration' value.") from None
    if now_ms >= until.timestamp() * 1000:
        raise errors.AccessDenied("Invalid according to Policy: Policy expired.")
    values = {**fields, "bucket": bucket}
    spoken_of: set[str] = set()
    size_range: tuple[int, int] | None = None
    for condition in document["conditions"]:
        name, operator, wanted = _read(condition)
        if operator == "content-length-range":
            size_range = wanted
            continue
        spoken_of.add(name)
        value = values.get(name, "")
        holds = value == wanted if operator == "eq" else value.startswith(wanted)
        if operator == "starts-with" and name == "content-type" and not holds:
            holds = all(part.strip().startswith(wanted) for part in value.split(","))
        if not holds:
            raise errors.AccessDenied(f"Invalid according to Policy: Policy Condition failed: {json.dumps(condition)}")
    extra = sorted(name for name in fields if name not in spoken_of and name not in _FREE and not name.startswith(_FREE_PREFIX))
    if extra:
        raise errors.AccessDenied(f"Invalid according to Policy: Extra input fields: {extra[0]}")
    return size_range


def _read(condition: Any) -> tuple[str, str, Any]:
    """Read {"acl": "private"}, ["eq", "$acl", "private"], ["starts-with", "$key", "a/"] or ["content-length-range", 1, 10]."""
    if isinstance(condition, dict) and len(condition) == 1:
        name, wanted = next(iter(condition.items()))
        return str(name).lower(), "eq", str(wanted)
    if isinstance(condition, list) and len(condition) == 3:
        operator = str(condition[0]).lower()
        if operator == "content-length-range":
            try:
                return "", operator, (int(condition[1]), int(condition[2]))
            except (ValueError, TypeError):
                raise _invalid("Invalid Policy: Invalid 'content-length-range' value.") from None
        if operator in ("eq", "starts-with") and str(condition[1]).startswith("$"):
            return str(condition[1])[1:].lower(), operator, str(condition[2])
    raise _invalid(f"Invalid Policy: Invalid Simple-Condition: {json.dumps(condition)}")


def _invalid(message: str) -> errors.S3Error:
    return errors.S3Error("InvalidPolicyDocument", message)

"""Pages of a list: ``NextToken`` and ``MaxResults`` in, ``NextToken`` out. A token names the last item that was shown."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from lambdad.services.sqs import errors
from lambdad.services.sqs.rules import limits

T = TypeVar("T")


def page(items: Sequence[T], name: Callable[[T], str], request: dict[str, Any]) -> tuple[Sequence[T], str | None]:
    """
    Cut a page out of a list.

    Args:
        items: all of them, in order of their names.

    Returns:
        The page, and the next token; None after the last page, and where the caller did not ask for pages.

    Raises:
        InvalidParameterValue: the token is none, or the size is.
    """
    size = request.get("MaxResults")
    if size is not None and not 1 <= size <= limits.PAGE_ITEMS:
        raise errors.invalid(size, "MaxResults", f"Must be between 1 and {limits.PAGE_ITEMS}, if provided.")
    token = request.get("NextToken")
    if token:
        after = _read(token)
        items = [item for item in items if name(item) > after]
    shown = items[: size or limits.PAGE_ITEMS]
    has_more = size is not None and len(items) > size
    return shown, base64.b64encode(name(shown[-1]).encode()).decode() if has_more else None


def _read(token: str) -> str:
    try:
        return base64.b64decode(token, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise errors.InvalidParameterValue("Invalid or expired next token.") from None

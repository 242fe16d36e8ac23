"""Pages of sorted lists: the token is the last item of the page before, opaque to callers."""

import base64
import binascii
import bisect
from collections.abc import Sequence

from lambdad.services.sns import errors
from lambdad.services.sns.rules import limits


def page(items: Sequence[str], token: str | None) -> tuple[list[str], str | None]:
    """
    Cut a page out of a list.

    Args:
        items: sorted.
        token: what came with the page before; None for the first.

    Returns:
        The items, and the token for the next page; None where this is the last.

    Raises:
        InvalidParameter: the token was not given out here.
    """
    start = bisect.bisect_right(items, _read(token)) if token else 0
    found = list(items[start : start + limits.PAGE_ITEMS])
    is_last = start + len(found) >= len(items)
    return found, None if is_last else _write(found[-1])


def _write(item: str) -> str:
    return base64.urlsafe_b64encode(item.encode()).decode()


def _read(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise errors.InvalidParameter("NextToken") from None

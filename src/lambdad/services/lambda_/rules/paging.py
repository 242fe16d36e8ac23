"""Pages of a list: ``Marker`` and ``MaxItems`` in, ``NextMarker`` out.

A marker names the last item that was shown, not a position, so that items which come or go between two pages are neither shown
twice nor skipped.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from lambdad.model import limits
from lambdad.services.lambda_ import errors

T = TypeVar("T")


def page(
    items: Sequence[T], position: Callable[[T], str], marker: str | None, max_items: int | None, most: int = limits.PAGE_ITEMS
) -> tuple[Sequence[T], str | None]:
    """
    Cut one page out of a list.

    Args:
        items: all of them, in order of their positions.
        position: gives an item's place in the order, unique; compared as text.
        marker: what an earlier page gave as ``NextMarker``; None or "": the first page.
        max_items: 1..10,000.
        most: what a page never holds more of.

    Returns:
        The page, and the next marker or None after the last page.

    Raises:
        InvalidParameterValue: the marker is none of ours.
    """
    start = 0
    if marker:
        after = _decode(marker)
        start = next((index for index, item in enumerate(items) if position(item) > after), len(items))
    size = min(max_items or most, most)
    shown = items[start : start + size]
    has_more = start + size < len(items)
    return shown, _encode(position(shown[-1])) if has_more else None


def number(version: str) -> str:
    """Give a version's place in the order of versions: ``$LATEST`` first, then ascending."""
    return version.rjust(20, "0") if version.isdigit() else "!"


def _encode(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode()


def _decode(marker: str) -> str:
    try:
        return base64.b64decode(marker, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise errors.InvalidParameterValue("Invalid value for marker.") from None

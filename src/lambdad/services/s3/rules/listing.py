"""Pages of keys, versions and uploads: prefixes, delimiters, where a page begins and where the next one does.

Keys are in order of their UTF-8 bytes, which is the order of code points. What reads the rows is given as a function, so that a page of
common prefixes skips over all that is below each of them.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from lambdad.services.s3 import errors
from lambdad.services.s3.rules import names

_FIRST_CHARACTER: Final = "\x01"  # NUL is in no key, so nothing lies between a key and the key with this at its end
_ROWS_MOST: Final = 1000
_ROWS_AFTER_SKIP: Final = 16


class Start(NamedTuple):
    """Where to go on: at the first row whose key is not less than `key`; of the rows of `tie_key`, at those after `tie`."""

    key: str
    tie_key: str = ""
    tie: int = 0


class Entry(NamedTuple):
    """A row: its key, what puts rows of one key in order, and the row itself."""

    key: str
    tie: int
    row: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What was found, in order; `following` is None on the last page.

    Args:
        last: the last item or common prefix, whichever came last.
    """

    items: list[Entry]
    prefixes: list[str]
    last: Entry | str | None = None
    following: Start | None = None

    @property
    def count(self) -> int:
        return len(self.items) + len(self.prefixes)


def after(key: str) -> Start:
    """Go on after all rows of a key."""
    return Start(key + _FIRST_CHARACTER) if key else Start("")


def after_item(item: Entry) -> Start:
    """Go on after a row, with further rows of its key."""
    return Start(item.key, item.key, item.tie)


def after_marker(marker: str, prefix: str, delimiter: str) -> Start:
    """Go on after a marker that a former page gave out: after all that is below it, where it is a common prefix."""
    if marker and delimiter and common_prefix(marker, prefix, delimiter) == marker:
        return Start(names.end_of_prefix(marker) or marker + _FIRST_CHARACTER)
    return after(marker)


def common_prefix(key: str, prefix: str, delimiter: str) -> str | None:
    """Return what a key is rolled up into; None where the key itself is listed."""
    if not delimiter or not key.startswith(prefix):
        return None
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]


def collect(fetch: Callable[[Start, int], Sequence[Entry]], prefix: str, delimiter: str, start: Start, limit: int) -> Page:
    """
    Read one page.

    Args:
        fetch: given a start and a number of rows, returns that many rows that begin with the prefix, or all there are.
        limit: of items and common prefixes together.
    """
    items: list[Entry] = []
    prefixes: list[str] = []
    last: Entry | str | None = None
    if limit <= 0:
        return Page(items=items, prefixes=prefixes)
    if start.key < prefix:
        start = Start(prefix)
    rows_wanted = min(limit + 1, _ROWS_MOST)
    while True:
        rows = fetch(start, rows_wanted)
        skipping = False
        for row in rows:
            if isinstance(last, str) and row.key.startswith(last):
                skipping = True
                continue
            if len(items) + len(prefixes) == limit:
                return Page(items=items, prefixes=prefixes, last=last, following=start)
            skipping = False
            rolled = common_prefix(row.key, prefix, delimiter)
            if rolled is None:
                items.append(row)
                last = row
                start = after_item(row)
                continue
            prefixes.append(rolled)
            last = rolled
            end = names.end_of_prefix(rolled)
            if not end:
                return Page(items=items, prefixes=prefixes, last=last)
            start = Start(end)
        if len(rows) < rows_wanted:
            return Page(items=items, prefixes=prefixes, last=last)
        rows_wanted = _ROWS_AFTER_SKIP if skipping else min(rows_wanted * 2, _ROWS_MOST)


def token_of(start: Start) -> str:
    """Write a start as an opaque continuation token."""
    return base64.urlsafe_b64encode(json.dumps(list(start), ensure_ascii=False, separators=(",", ":")).encode()).decode()


def start_of(token: str) -> Start:
    """
    Read a continuation token.

    Raises:
        InvalidArgument: nobody gave it out.
    """
    try:
        key, tie_key, tie = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, UnicodeError, binascii.Error):
        raise _incorrect() from None
    if (
        not isinstance(key, str)
        or not isinstance(tie_key, str)
        or type(tie) is not int
        or not -(2**63) <= tie < 2**63
        or "\0" in key + tie_key
    ):
        raise _incorrect()
    return Start(key, tie_key, tie)


def _incorrect() -> errors.InvalidArgument:
    return errors.InvalidArgument("The continuation token provided is incorrect", "continuation-token")

"""Text with asterisks that stand for any text: checked, compiled, matched in a time that grows no faster than the text.

An asterisk is literal after a backslash, and so is a backslash; a backslash before anything else is refused.

Source: EventBridge user guide, "Wildcard matching".
"""

from collections.abc import Callable, Sequence
from typing import Final

COMPLEXITY_MAX: Final = 100
"""How many beginnings of one pattern a text may continue at the same time."""


class InvalidWildcard(ValueError):
    """A pattern with wildcards that cannot be used; the text says why."""


def split(pattern: str) -> list[str]:
    """
    Cut a pattern at its asterisks.

    Returns:
        The literal texts before, between and behind the asterisks: one more than there are asterisks.

    Raises:
        InvalidWildcard: two asterisks in a row, an escape that is none, or too complex.
    """
    parts: list[str] = []
    literal: list[str] = []
    index, position, was_asterisk = 0, 1, False  # AWS counts bytes, and a quotation mark before the first
    while index < len(pattern):
        character = pattern[index]
        if character == "*":
            if was_asterisk:
                raise InvalidWildcard(f"Consecutive wildcard characters at pos {position - 1}")
            parts.append("".join(literal))
            literal.clear()
        elif character == "\\":
            if pattern[index + 1 : index + 2] not in ("*", "\\"):
                raise InvalidWildcard(f"Invalid escape character at pos {position}")
            index += 1
            position += 1
            literal.append(pattern[index])
        else:
            literal.append(character)
        was_asterisk = character == "*"
        index += 1
        position += len(character.encode("utf-8", "surrogatepass"))
    parts.append("".join(literal))
    if sum(1 + _depth(part) for part in parts[1:]) > COMPLEXITY_MAX:
        raise InvalidWildcard(
            "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character"
        )
    return parts


def compile(pattern: str) -> Callable[[str], bool]:  # as in `re`
    """
    Compile a pattern to a test of whole texts.

    Raises:
        InvalidWildcard: as `split`.
    """
    parts = split(pattern)
    if len(parts) == 1:
        return parts[0].__eq__
    first, last = parts[0], parts[-1]
    return _Test(first, [part for part in parts[1:-1] if part], last)


class _Test:
    """Look for the middle parts from left to right: the leftmost place leaves most room for the rest."""

    __slots__ = ("_ends", "_first", "_last", "_middle")

    def __init__(self, first: str, middle: Sequence[str], last: str) -> None:
        self._first = first
        self._middle = middle
        self._last = last
        self._ends = len(first) + len(last)

    def __call__(self, text: str) -> bool:
        if len(text) < self._ends or not text.startswith(self._first) or not text.endswith(self._last):
            return False
        index, end = len(self._first), len(text) - len(self._last)
        for part in self._middle:
            index = text.find(part, index, end)
            if index < 0:
                return False
            index += len(part)
        return True


def _depth(part: str) -> int:
    """Return how many beginnings of a text can end at the same place of a longer one, at most: 4 for "aaaa", 2 for "abab"."""
    borders = [0] * len(part)
    depths = [1] * len(part)
    length = 0
    for index in range(1, len(part)):
        while length and part[index] != part[length]:
            length = borders[length - 1]
        if part[index] == part[length]:
            length += 1
        borders[index] = length
        if length:
            depths[index] = depths[length - 1] + 1
    return max(depths, default=0)

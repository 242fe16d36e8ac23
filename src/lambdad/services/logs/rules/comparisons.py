"""Compare one value of a log event with what a filter pattern asks for.

The values are words of a space-delimited event (always text) or nodes of a JSON event. An asterisk is a wildcard only
as the first or last character of an operand; elsewhere it is itself. Numbers compare as numbers.
"""

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from lambdad.services.logs import errors
from lambdad.services.logs.rules import regexes

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"
Test: TypeAlias = Callable[[Value], bool]

OPERATORS: Final = ("=", "!=", "<", "<=", ">", ">=")

NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_DIGITS_MAX: Final = 300  # longer words are not taken for numbers; Python refuses to read integers of thousands of digits


def number(text: str) -> int | float | None:
    """Read a number as filter patterns write it (``-3``, ``55.5``, ``10e-3``); None where the text is none."""
    if len(text) > _DIGITS_MAX or NUMBER.fullmatch(text) is None:
        return None
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def wildcard(operand: str) -> Callable[[str], bool]:
    """Return the test for a text with an optional asterisk at either end; ``*`` alone accepts everything."""
    inner = operand.removeprefix("*")
    leading = len(inner) < len(operand)
    core = inner.removesuffix("*")
    trailing = len(core) < len(inner)
    if leading and trailing:
        return lambda text: core in text
    if leading:
        return lambda text: text.endswith(core)
    if trailing:
        return lambda text: text.startswith(core)
    return lambda text: text == core


def text_of(value: Value) -> str | None:
    """Return a scalar as the text it has in JSON (without quotes); None for null, arrays and objects."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return None


def text_test(operator: str, accepts: Callable[[str], bool]) -> Test:
    """Return the test ``=`` or ``!=`` on a value's text. Both are false for null, arrays, objects and what is absent."""

    def equal(value: Value) -> bool:
        text = text_of(value)
        return text is not None and accepts(text)

    def unequal(value: Value) -> bool:
        text = text_of(value)
        return text is not None and not accepts(text)

    return equal if operator == "=" else unequal


def regex_test(operator: str, source: str) -> Test:
    """Return the test ``= %source%`` or ``!= %source%``.

    Raises:
        InvalidFilterPattern: the expression is outside the language, or the operator is neither of the two.
    """
    if operator not in ("=", "!="):
        raise errors.InvalidFilterPattern(f"Invalid filter pattern: '{operator}' does not take a regular expression")
    return text_test(operator, regexes.Regex(source).search)


def word_test(operator: str, word: str, *, words_are_numbers: bool) -> Test:
    """Return the test with an unquoted operand, which may be a number, or text with wildcards.

    Args:
        operator: one of `OPERATORS`.
        word: ``200``, ``4*``, ``UpdateTrail``.
        words_are_numbers: whether a text value such as ``"1534"`` counts as a number, as in space-delimited events.

    Raises:
        InvalidFilterPattern: the operator needs a number and the operand is none.
    """
    wanted = number(word)
    if operator in ("=", "!="):
        if wanted is None:
            return text_test(operator, wildcard(word))
        return _equality_test(operator == "=", word, wanted, words_are_numbers)
    if wanted is None:
        raise errors.InvalidFilterPattern(f"Invalid filter pattern: '{operator}' needs a number")
    return _order_test(operator, wanted, words_are_numbers)


def _numeric(value: Value, words_are_numbers: bool) -> int | float | None:
    if isinstance(value, str):
        return number(value) if words_are_numbers else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return None


def _equality_test(equal: bool, word: str, wanted: int | float, words_are_numbers: bool) -> Test:
    def test(value: Value) -> bool:
        text = text_of(value)
        if text is None:
            return False
        found = _numeric(value, words_are_numbers)
        return (text == word if found is None else found == wanted) is equal

    return test


def _order_test(operator: str, wanted: int | float, words_are_numbers: bool) -> Test:
    def test(value: Value) -> bool:
        found = _numeric(value, words_are_numbers)
        if found is None:
            return False
        match operator:
            case "<":
                return found < wanted
            case "<=":
                return found <= wanted
            case ">":
                return found > wanted
            case _:
                return found >= wanted

    return test

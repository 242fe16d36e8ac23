"""What may stand in an array of an event pattern: values and match expressions, compiled to tests of single values.

    ["running", 5, null, {"prefix": "us-"}, {"numeric": [">", 0, "<=", 5]}, {"anything-but": {"suffix": ".png"}}, {"exists": false}]

A value is what stands at a leaf of the event: text, a number, a boolean or null. Texts of errors are AWS's.

Source: EventBridge user guide, "Comparison operators"; the behaviour of github.com/aws/event-ruler.
"""

import ipaddress
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from lambdad.machines import wildcards

Scalar: TypeAlias = str | int | float | bool | None
Test: TypeAlias = Callable[[object], bool]

_IPV4: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+")
_IPV6: Final = re.compile(r"[0-9a-fA-F:]*:[0-9a-fA-F:]*")
_MASK: Final = re.compile(r"[+-]?[0-9]{1,9}")
_ONE_KEY: Final = "Only one key allowed in match expression"
_TOO_MANY_ELEMENTS: Final = "Too many elements in numeric expression"
_BELOW: Final[dict[str, Callable[[float, float], bool]]] = {"<": operator.lt, "<=": operator.le}
_ABOVE: Final[dict[str, Callable[[float, float], bool]]] = {">": operator.gt, ">=": operator.ge}


class InvalidPattern(ValueError):
    """An event pattern breaks the grammar; `message` is the reason in AWS's words."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Leaf:
    """
    One array of a pattern.

    Args:
        test: says whether a value that is there is one of those wanted; None means that none is.
        absent: whether it is wanted that there is no value.
    """

    test: Test | None
    absent: bool


def read(values: Sequence[object]) -> Leaf:
    """
    Compile an array of a pattern.

    Raises:
        InvalidPattern: it breaks the grammar.
    """
    if not values:
        raise InvalidPattern("Empty arrays are not allowed")
    texts: set[str] = set()
    numbers: set[float] = set()
    tests: list[Test] = []
    absent = False
    for value in values:
        match value:
            case str():
                texts.add(value)
            case None | bool():
                tests.append(_identical(value))
            case int() | float():
                numbers.add(value)
            case dict():
                if len(value) == 1 and value.get("exists") is False:
                    absent = True
                else:
                    tests.append(_expression(value))
            case _:
                raise InvalidPattern("Match value must be String, number, true, false, or null")
    if texts:
        tests.insert(0, _one_of_texts(frozenset(texts)))
    if numbers:
        tests.append(_one_of_numbers(frozenset(numbers)))
    return Leaf(_any(tests), absent)


def is_number(value: object) -> bool:
    """Say whether a value is a JSON number, which a boolean is not."""
    return type(value) is int or type(value) is float


def _any(tests: list[Test]) -> Test | None:
    if len(tests) < 2:
        return tests[0] if tests else None
    together = tuple(tests)

    def test(value: object) -> bool:
        for each in together:  # noqa: SIM110  # faster than any() of a generator
            if each(value):
                return True
        return False

    return test


def _identical(wanted: bool | None) -> Test:
    return lambda value: value is wanted


def _one_of_texts(wanted: frozenset[str]) -> Test:
    if len(wanted) == 1:
        (only,) = wanted
        return lambda value: value == only
    return lambda value: type(value) is str and value in wanted


def _one_of_numbers(wanted: frozenset[float]) -> Test:
    return lambda value: is_number(value) and value in wanted


def _of_text(test: Callable[[str], bool]) -> Test:
    return lambda value: isinstance(value, str) and test(value)


def _expression(expression: dict[str, object]) -> Test:
    """Compile a match expression such as ``{"prefix": "x"}``."""
    if not expression:
        raise InvalidPattern("Match expression name not found")
    name, argument = next(iter(expression.items()))
    reader = _READERS.get(name)
    if reader is None:
        raise InvalidPattern(f"Unrecognized match type {name}")
    test = reader(argument)
    if len(expression) > 1:
        raise InvalidPattern(_TOO_MANY_ELEMENTS if name in ("numeric", "anything-but") else _ONE_KEY)
    return test


def _text(argument: object, name: str) -> str:
    if not isinstance(argument, str):
        raise InvalidPattern(f"{name} match pattern must be a string")
    return argument


def _exactly(argument: object) -> Test:
    return _one_of_texts(frozenset((_text(argument, "exact"),)))


def _prefix(argument: object) -> Test:
    if isinstance(argument, dict):
        folded = _ignoring_case(argument, "Prefix").lower()
        return _of_text(lambda value: value.lower().startswith(folded))
    prefix = _text(argument, "prefix")
    return _of_text(lambda value: value.startswith(prefix))


def _suffix(argument: object) -> Test:
    if isinstance(argument, dict):
        folded = _ignoring_case(argument, "Suffix").lower()
        return _of_text(lambda value: value.lower().endswith(folded))
    suffix = _text(argument, "suffix")
    return _of_text(lambda value: value.endswith(suffix))


def _ignoring_case(argument: dict[str, object], where: str) -> str:
    """Read the ``{"equals-ignore-case": "x"}`` inside a prefix or suffix."""
    if not argument:
        raise InvalidPattern(f"{where} expression name not found")
    name, text = next(iter(argument.items()))
    if name != "equals-ignore-case":
        raise InvalidPattern(f"Unsupported {where.lower()} pattern: {name}")
    found = _text(text, "equals-ignore-case")
    if len(argument) > 1:
        raise InvalidPattern(_ONE_KEY)
    return found


def _equals_ignore_case(argument: object) -> Test:
    folded = _text(argument, "equals-ignore-case").lower()
    return _of_text(lambda value: value.lower() == folded)


def _wildcard(argument: object) -> Test:
    return _of_text(_compile_wildcard(_text(argument, "wildcard")))


def _compile_wildcard(pattern: str) -> Callable[[str], bool]:
    try:
        return wildcards.compile(pattern)
    except wildcards.InvalidWildcard as error:
        raise InvalidPattern(str(error)) from None


def _exists(argument: object) -> Test:
    if argument is not True:  # false has been dealt with, unless it has company
        raise InvalidPattern(_ONE_KEY if argument is False else "exists match pattern must be either true or false.")
    return lambda value: True


def _numeric(argument: object) -> Test:
    if not isinstance(argument, list):
        raise InvalidPattern("Value of numeric must be an array.")
    if not argument or not isinstance(argument[0], str):
        raise InvalidPattern(f"Invalid member in numeric match: {_token(argument, 0)}")
    name = argument[0]
    if name != "=" and name not in _BELOW and name not in _ABOVE:
        raise InvalidPattern(f"Unrecognized numeric range operator: {name}")
    bound = _bound(argument, 1, "equals" if name == "=" else name)
    if name in _ABOVE:
        return _range(argument, name, bound) if len(argument) > 2 else _compared(_ABOVE[name], bound)
    if len(argument) > 2:
        raise InvalidPattern(_TOO_MANY_ELEMENTS)
    return _compared(operator.eq if name == "=" else _BELOW[name], bound)


def _range(argument: list[object], name: str, bottom: float) -> Test:
    top_name = argument[2]
    if not isinstance(top_name, str):
        raise InvalidPattern(f"Bad value in numeric range: {_token(argument, 2)}")
    if top_name not in _BELOW:
        raise InvalidPattern(f"Bad numeric range operator: {top_name}")
    top = _bound(argument, 3, top_name)
    if len(argument) > 4:
        raise InvalidPattern("Too many terms in numeric range expression")
    if top <= bottom:
        raise InvalidPattern("Bottom must be less than top")
    above, below = _ABOVE[name], _BELOW[top_name]
    return lambda value: (type(value) is int or type(value) is float) and above(value, bottom) and below(value, top)


def _compared(compare: Callable[[float, float], bool], bound: float) -> Test:
    return lambda value: (type(value) is int or type(value) is float) and compare(value, bound)


def _bound(argument: list[object], index: int, name: str) -> float:
    value = argument[index] if index < len(argument) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidPattern(f"Value of {name} must be numeric")
    return value


def _token(argument: list[object], index: int) -> str:
    """Show an element as AWS's parser does, which has not read beyond its first sign."""
    if index >= len(argument):
        return "]"
    match argument[index]:
        case None:
            return "null"
        case bool(value):
            return "true" if value else "false"
        case dict():
            return "{"
        case list():
            return "["
        case value:
            return str(value)


def _anything_but(argument: object) -> Test:
    match argument:
        case str():
            return _but_texts((argument,))
        case bool() | None:
            raise InvalidPattern("Value of anything-but must be an array or single string/number value.")
        case int() | float():
            return _but_numbers((argument,))
        case list():
            return _but_list(argument)
        case dict():
            return _but_expression(argument)
        case _:
            raise InvalidPattern("Value of anything-but must be an array or single string/number value.")


def _but_list(values: list[object]) -> Test:
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(texts) + len(numbers) < len(values):
        raise InvalidPattern("Inside anything but list, start|null|boolean is not supported.")
    if bool(texts) == bool(numbers):
        raise InvalidPattern("Inside anything but list, either all values are number or string, mixed type is not supported")
    return _but_texts(texts) if texts else _but_numbers(numbers)


def _but_texts(unwanted: Iterable[str]) -> Test:
    texts = frozenset(unwanted)
    return lambda value: not isinstance(value, str) or value not in texts


def _but_numbers(unwanted: Iterable[float]) -> Test:
    numbers = frozenset(unwanted)
    return lambda value: not is_number(value) or value not in numbers


def _but_expression(expression: dict[str, object]) -> Test:
    """Compile what anything-but excludes by prefix, suffix, wildcard or without regard to case: one text or several."""
    if not expression:
        raise InvalidPattern("Anything-But expression name not found")
    name, argument = next(iter(expression.items()))
    if name not in _BUT_TESTS:
        raise InvalidPattern(f"Unsupported anything-but pattern: {name}")
    if argument is None or isinstance(argument, bool | dict):
        raise InvalidPattern("Value of anything-but must be an array or single string/number value.")
    wrong_type, make_test = _BUT_TESTS[name]
    unwanted: list[Callable[[str], bool]] = []
    for text in argument if isinstance(argument, list) else [argument]:
        if not isinstance(text, str):
            raise InvalidPattern(wrong_type)
        if not text and name in ("prefix", "suffix"):
            raise InvalidPattern("Null prefix/suffix not allowed")
        unwanted.append(make_test(text))
    if not unwanted:
        raise InvalidPattern("Empty arrays are not allowed")
    if len(expression) > 1:
        raise InvalidPattern(_TOO_MANY_ELEMENTS)
    return lambda value: not isinstance(value, str) or not any(test(value) for test in unwanted)


def _but_prefix(text: str) -> Callable[[str], bool]:
    return lambda value: value.startswith(text)


def _but_suffix(text: str) -> Callable[[str], bool]:
    return lambda value: value.endswith(text)


def _but_ignoring_case(text: str) -> Callable[[str], bool]:
    folded = text.lower()
    return lambda value: value.lower() == folded


def _cidr(argument: object) -> Test:
    halves = _text(argument, "prefix").rstrip("/").split("/")
    if len(halves) != 2:
        raise InvalidPattern("Malformed CIDR, one '/' required")
    if not _MASK.fullmatch(halves[1]):
        raise InvalidPattern("Malformed CIDR, mask bits must be an integer")
    mask = int(halves[1])
    if mask < 0:
        raise InvalidPattern("Malformed CIDR, mask bits must not be negative")
    first = _address(halves[0])
    if first is None:
        raise InvalidPattern(f"Nonstandard IP address: {halves[0]}")
    version, bits = first.version, first.max_prefixlen
    if mask >= bits:
        raise InvalidPattern(f"IPv{version} mask bits must be < {bits}")
    # OBSERVED: the range begins at the address as it is written, not at the network's first (event-ruler).
    low, high = int(first), int(first) | ((1 << (bits - mask)) - 1)

    def within(text: str) -> bool:
        address = _address(text)
        return address is not None and address.version == version and low <= int(address) <= high

    return _of_text(within)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an IP address; None if the text is none."""
    if len(text) > 45 or not (_IPV4.fullmatch(text) or _IPV6.fullmatch(text)):
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


_READERS: Final[dict[str, Callable[[object], Test]]] = {
    "exactly": _exactly,
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "exists": _exists,
    "cidr": _cidr,
}

_BUT_TESTS: Final[dict[str, tuple[str, Callable[[str], Callable[[str], bool]]]]] = {
    "prefix": ("prefix/suffix match pattern must be a string", _but_prefix),
    "suffix": ("prefix/suffix match pattern must be a string", _but_suffix),
    "equals-ignore-case": ("Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.", _but_ignoring_case),
    "wildcard": ("wildcard match pattern must be a string", _compile_wildcard),
}

"""Match expressions, the objects in a policy's arrays: ``{"prefix": "a"}``, ``{"numeric": [">", 0]}``. Read one, get a predicate."""

import ipaddress
import operator
from collections.abc import Callable
from typing import Final

from lambdad.services.sns.rules.filter_policies.matching import Network, Predicate, Scalar
from lambdad.services.sns.rules.filter_policies.tokens import Token, Tokens

NUMBER_MAX: Final = 1e9
"""The largest number that a policy may name, either way."""

_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def check_number(tokens: Tokens, number: float) -> float:
    """
    Return a number that a policy may name.

    Raises:
        PolicyRefused: it is too large.
    """
    if not -NUMBER_MAX <= number <= NUMBER_MAX:
        tokens.refuse(f"Value must be between {-NUMBER_MAX:.1E} and {NUMBER_MAX:.1E}, inclusive".replace("E+09", "E9"))
    return number


def read_prefix(tokens: Tokens) -> Predicate:
    """Read what follows "prefix"."""
    prefix = _string(tokens, "prefix match pattern must be a string")
    return lambda value: isinstance(value, str) and value.startswith(prefix)


def read_suffix(tokens: Tokens) -> Predicate:
    """Read what follows "suffix"."""
    suffix = _string(tokens, "suffix match pattern must be a string")
    return lambda value: isinstance(value, str) and value.endswith(suffix)


def read_equals_ignore_case(tokens: Tokens) -> Predicate:
    """Read what follows "equals-ignore-case"."""
    wanted = _string(tokens, "equals-ignore-case match pattern must be a string").lower()
    return lambda value: isinstance(value, str) and value.lower() == wanted


def read_wildcard(tokens: Tokens) -> Predicate:
    """Read what follows "wildcard": ``*`` stands for anything, ``\\*`` and ``\\\\`` for themselves."""
    parts = _wildcard_parts(tokens, _string(tokens, "wildcard match pattern must be a string"))
    return lambda value: isinstance(value, str) and _is_like(value, parts)


def _wildcard_parts(tokens: Tokens, pattern: str) -> list[str]:
    """Return the literal texts between the stars."""
    parts = [""]
    position = 0
    while position < len(pattern):
        letter = pattern[position]
        if letter == "*":
            if pattern[position + 1 : position + 2] == "*":
                tokens.refuse(f"Consecutive wildcard characters at pos {position}")
            parts.append("")
        elif letter == "\\":
            position += 1
            if pattern[position : position + 1] not in ("*", "\\"):
                tokens.refuse(f"Invalid escape character at pos {position - 1}")
            parts[-1] += pattern[position]
        else:
            parts[-1] += letter
        position += 1
    return parts


def _is_like(value: str, parts: list[str]) -> bool:
    """Say whether the parts occur in a value in order, the first at its beginning, the last at its end. Linear: no backtracking."""
    if len(parts) == 1:
        return value == parts[0]
    first, *middle, last = parts
    if len(value) < len(first) + len(last) or not value.startswith(first) or not value.endswith(last):
        return False
    position, end = len(first), len(value) - len(last)
    for part in middle:
        found = value.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


def read_cidr(tokens: Tokens) -> Predicate:
    """Read what follows "cidr"."""
    text = _string(tokens, "prefix match pattern must be a string")
    address, slash, bits = text.partition("/")
    if not slash or "/" in bits:
        tokens.refuse("Malformed CIDR, one '/' required")
    if not (bits.isascii() and bits.isdigit()):
        tokens.refuse("Malformed CIDR, mask bits must be an integer")
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        tokens.refuse(f"Nonstandard IP address: {address}")
    if int(bits) > ip.max_prefixlen:
        tokens.refuse(f"Malformed CIDR, mask bits must not exceed {ip.max_prefixlen}")
    network = ipaddress.ip_network((ip, int(bits)), strict=False)
    return lambda value: isinstance(value, str) and _is_in(value, network)


def _is_in(value: str, network: Network) -> bool:
    try:
        return ipaddress.ip_address(value) in network
    except ValueError:
        return False


def read_numeric(tokens: Tokens) -> Predicate:
    """Read what follows "numeric": ``["=", n]``, ``[">", n]`` and its like, ``[">", n, "<=", m]``."""
    if tokens.peek() != "[":
        tokens.take()
        tokens.refuse("Value of numeric must be an array.")
    tokens.take()
    sign = _sign(tokens)
    if sign not in _COMPARISONS:
        tokens.refuse(f"Unrecognized numeric range operator: {sign}")
    low = _number(tokens, sign)
    if tokens.peek() == "]":
        tokens.take()
        return _comparing(_COMPARISONS[sign], low)
    if sign not in (">", ">="):
        tokens.take()
        tokens.refuse("Too many elements in numeric expression" if sign == "=" else "Too many terms in numeric range expression")
    upper = tokens.take()
    if upper.kind != "string":
        tokens.refuse(f"Bad value in numeric range: {_shown(upper)}")
    if upper.text not in ("<", "<="):
        tokens.refuse(f"Bad numeric range operator: {upper.text}")
    high = _number(tokens, upper.text)
    if low >= high:
        tokens.refuse("Bottom must be less than top")
    if tokens.peek() != "]":
        tokens.take()
        tokens.refuse("Too many terms in numeric range expression")
    tokens.take()
    above, below = _comparing(_COMPARISONS[sign], low), _comparing(_COMPARISONS[upper.text], high)
    return lambda value: above(value) and below(value)


def _sign(tokens: Tokens) -> str:
    token = tokens.take()
    if token.kind != "string":
        tokens.refuse(f"Invalid member in numeric match: {_shown(token)}")
    return token.text


def _number(tokens: Tokens, sign: str) -> float:
    token = tokens.take()
    if not token.is_number:
        tokens.refuse(f"Value of {'equals' if sign == '=' else sign} must be numeric")
    assert isinstance(token.value, int | float)
    return check_number(tokens, token.value)


def _comparing(compare: Callable[[float, float], bool], bound: float) -> Predicate:
    def holds(value: Scalar) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and compare(value, bound)

    return holds


def read_anything_but(tokens: Tokens) -> Predicate:
    """Read what follows "anything-but": a string, a number, an array of either, or ``{"prefix": "a"}``."""
    match tokens.peek():
        case "{":
            return _anything_but_prefix(tokens)
        case "[":
            return _anything_but_listed(tokens)
        case _:
            token = tokens.take()
            if token.kind != "string" and not token.is_number:
                tokens.refuse("Value of anything-but must be an array or single string/number value.")
            return _other_than([token])


def _anything_but_prefix(tokens: Tokens) -> Predicate:
    tokens.take()
    name = tokens.take()
    if name.kind != "key":
        tokens.refuse("Anything-But expression name not found")
    if name.text != "prefix":
        tokens.refuse(f"Unsupported anything-but pattern: {name.text}")
    prefix = _string(tokens, "prefix match pattern must be a string")
    if not prefix:
        tokens.refuse("Null prefix/suffix not allowed")
    if tokens.take().kind != "}":
        tokens.refuse("Only one key allowed in match expression")
    return lambda value: not (isinstance(value, str) and value.startswith(prefix))


def _anything_but_listed(tokens: Tokens) -> Predicate:
    tokens.take()
    listed: list[Token] = []
    while tokens.peek() != "]":
        token = tokens.take()
        if token.kind != "string" and not token.is_number:
            tokens.refuse("Inside anything but list, start|null|boolean is not supported.")
        if listed and token.is_number != listed[0].is_number:
            tokens.refuse("Inside anything but list, either all values are number or string, mixed type is not supported")
        listed.append(token)
    tokens.take()
    if not listed:
        tokens.refuse("Empty arrays are not allowed")
    return _other_than(listed)


def _other_than(tokens: list[Token]) -> Predicate:
    excluded = frozenset(token.value for token in tokens)
    # A bool equals 0 or 1 in Python, and is neither in JSON.
    return lambda value: isinstance(value, bool) or value not in excluded


def _string(tokens: Tokens, otherwise: str) -> str:
    token = tokens.take()
    if token.kind != "string":
        tokens.refuse(otherwise)
    return token.text


def _shown(token: Token) -> str:
    match token.value:
        case None:
            return "null" if token.kind == "scalar" else token.kind
        case bool():
            return "true" if token.value else "false"
        case _:
            return str(token.value)


READERS: Final[dict[str, Callable[[Tokens], Predicate]]] = {
    "anything-but": read_anything_but,
    "cidr": read_cidr,
    "equals-ignore-case": read_equals_ignore_case,
    "numeric": read_numeric,
    "prefix": read_prefix,
    "suffix": read_suffix,
    "wildcard": read_wildcard,
}
"""What reads each operator's value, but for "exists", which no value decides."""

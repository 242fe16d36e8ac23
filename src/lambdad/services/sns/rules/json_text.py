"""JSON as SNS takes it: RFC 8259 to the letter, of text that can be written down again, no more deeply nested than anybody needs."""

import json
import re
from typing import Any, NoReturn

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(text: str) -> Any:
    """
    Parse JSON.

    Raises:
        ValueError: it is none, has NaN, Infinity or half a surrogate pair in it, or is nested so deeply that reading it would take
            too much.
    """
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _SURROGATE.search(text):
        json.dumps(found, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
    return found


def parse_object(text: str) -> dict[str, Any]:
    """
    Parse a JSON object.

    Raises:
        ValueError: it is something else.
    """
    found = parse(text)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")

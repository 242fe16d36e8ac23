"""Whether a queue's message is for the function: the FilterCriteria of an event source mapping.

A pattern is an event pattern over one record. What it says of `body` decides how bodies are read:

    pattern's body            message's body     what happens
    object                    JSON               compared
    object                    plain text         no match
    list of strings           plain text         compared
    list of strings           JSON               no match
    none                      any                compared by the other members

A body is JSON where it is an object or an array; a lone number, string or word is plain text.

Source: AWS Lambda developer guide, "Using event filtering with an Amazon SQS event source".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from lambdad.machines import event_patterns
from lambdad.machines.event_patterns import Pattern


@dataclass(frozen=True, slots=True)
class _Filter:
    pattern: Pattern
    wants_json: bool | None  # None: it does not look at bodies


class Filters:
    """The filters of one mapping, compiled; a message that one of them matches is for the function.

    Args:
        patterns: as they were given; none at all lets everything pass.

    Raises:
        InvalidPattern: a text is no event pattern.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._filters = tuple(map(_compiled, patterns))

    def __bool__(self) -> bool:
        return bool(self._filters)

    def match(self, record: dict[str, Any]) -> bool:
        """Say whether a record, whose `body` is text, is for the function."""
        if not self._filters:
            return True
        body = _json(record["body"])
        parsed = record if body is None else {**record, "body": body}
        for each in self._filters:
            if each.wants_json is not None and each.wants_json is (body is None):
                continue
            if each.pattern.matches(parsed if each.wants_json else record):
                return True
        return False


def _compiled(text: str) -> _Filter:
    pattern = event_patterns.compile(text)
    return _Filter(pattern, _wants_json(orjson.loads(text)))


def _wants_json(pattern: Any) -> bool | None:
    """Look for what a pattern says of `body`, in the alternatives of `$or` too; an object anywhere decides."""
    if not isinstance(pattern, dict):
        return None
    wanted: bool | None = None
    if "body" in pattern:
        wanted = isinstance(pattern["body"], dict)
    alternatives = pattern.get("$or")
    for alternative in alternatives if isinstance(alternatives, list) else ():
        found = _wants_json(alternative)
        if found is not None:
            wanted = found or bool(wanted)
    return wanted


def _json(body: str) -> Any:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict | list) else None

"""Paths into JSON values, the part of JSONPath that EventBridge takes: ``$.detail.items[0]['a name']``, ``$.list[*].id``.

Source: EventBridge user guide, "Input transformation".
"""

import re
from typing import Any, Final, TypeAlias

Step: TypeAlias = str | int | None
"""A field's name, an element's number, or None for all elements."""

_STEP: Final = re.compile(
    r"""\.(?P<name>[\w$@:-]+) | \[(?P<number>\d{1,9})\] | \[(?P<all>\*)\] | \['(?P<single>[^'\]]+)'\] | \["(?P<double>[^"\]]+)"\]""",
    re.VERBOSE,
)


class InvalidPath(ValueError):
    """A text is no path that is understood here."""


class Missing(LookupError):
    """A value has nothing at a path."""


def parse(text: str) -> tuple[Step, ...]:
    """
    Read a path.

    Raises:
        InvalidPath: it is none.
    """
    if not text.startswith("$"):
        raise InvalidPath(text)
    steps: list[Step] = []
    index = 1
    while index < len(text):
        match = _STEP.match(text, index)
        if match is None:
            raise InvalidPath(text)
        if match["number"] is not None:
            steps.append(int(match["number"]))
        else:
            steps.append(None if match["all"] else match["name"] or match["single"] or match["double"])
        index = match.end()
    return tuple(steps)


def find(value: Any, path: tuple[Step, ...]) -> Any:
    """
    Return what a value has at a path; where the path asks for all elements, an array of what they have.

    Raises:
        Missing: there is nothing.
    """
    for index, step in enumerate(path):
        if step is None:
            if not isinstance(value, list):
                raise Missing
            return [found for each in value for found in _try(each, path[index + 1 :])]
        if isinstance(step, int):
            if not isinstance(value, list) or step >= len(value):
                raise Missing
            value = value[step]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            raise Missing
    return value


def _try(value: Any, path: tuple[Step, ...]) -> list[Any]:
    try:
        return [find(value, path)]
    except Missing:
        return []

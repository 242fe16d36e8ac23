"""Filter patterns for JSON events: ``{ $.eventType = "Update*" && ($.users[0].id >= 3 || $.error IS NULL) }``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import orjson

from lambdad.services.logs.rules import comparisons, lexemes

_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class _Every:
    """The step ``[*]``: every element of an array."""


Step: TypeAlias = str | int | _Every
Matches: TypeAlias = Callable[[comparisons.Value], bool]


@dataclass(frozen=True, slots=True)
class Selector:
    """``$.a.b[0]``, ``$.list[*].id`` or ``$.['with.dot']``: the way from the root to one node, or with ``*`` to several."""

    text: str
    steps: tuple[Step, ...]

    def nodes(self, root: comparisons.Value) -> Iterator[comparisons.Value]:
        """Give the nodes that the selector points to; none where the document has no such place."""
        nodes = [root]
        for step in self.steps:
            following: list[comparisons.Value] = []
            for node in nodes:
                if isinstance(step, str):
                    if isinstance(node, dict) and step in node:
                        following.append(node[step])
                elif isinstance(node, list):
                    if isinstance(step, _Every):
                        following.extend(node)
                    elif step < len(node):
                        following.append(node[step])
            nodes = following
        return iter(nodes)


def parse(text: str) -> comparisons.Value:
    """Read an event as JSON; None where it is neither an object nor an array."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        root: comparisons.Value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return root


def compile_json(source: str) -> tuple[Callable[[str], bool], Callable[[str], dict[str, str]]]:
    """Compile a pattern in braces.

    Args:
        source: the whole pattern, ``{`` to ``}``.

    Returns:
        The test for a message, and the extraction of the selected values, e.g. ``{"$.latency": "12"}``.

    Raises:
        InvalidFilterPattern: the pattern cannot be read.

    Source: CloudWatch Logs User Guide, "Using filter patterns to match terms in JSON log events".
    """
    if not source.endswith("}"):
        raise lexemes.invalid("a brace is not closed")
    parser = _Parser(source[1:-1])
    test = parser.read()

    def matches(message: str) -> bool:
        root = parse(message)
        return root is not None and test(root)

    def extract(message: str) -> dict[str, str]:
        root = parse(message)
        found: dict[str, str] = {}
        for selector in parser.selectors:
            for node in selector.nodes(root):
                value = comparisons.text_of(node)
                if value is not None:
                    found.setdefault(selector.text, value)
        return found

    return matches, extract


class _Parser:
    """Read what stands between the braces."""

    def __init__(self, source: str) -> None:
        self.selectors: list[Selector] = []
        self._reader = lexemes.Reader(source)

    def read(self) -> Matches:
        test = lexemes.Choices[comparisons.Value](self._reader, self._condition).read()
        if self._reader.peek().kind != "end":
            raise lexemes.invalid(f"'{self._reader.peek().text}' is not expected")
        return test

    def _condition(self) -> Matches:
        lexeme = self._reader.take()
        if lexeme.kind != "selector":
            raise lexemes.invalid("a condition begins with a selector such as $.name")
        selector = _parse_selector(lexeme.text)
        self.selectors.append(selector)
        keyword = self._reader.peek()
        if keyword.kind == "word" and keyword.text.upper() in ("IS", "NOT", "EXISTS"):
            return self._keyword_condition(selector)
        test = self._reader.comparison(words_are_numbers=False)
        return lambda root: any(test(node) for node in selector.nodes(root))

    def _keyword_condition(self, selector: Selector) -> Matches:
        words = [self._reader.take().text.upper()]
        if words[0] != "EXISTS":
            words.append(self._reader.take().text.upper())
        match words:
            case ["IS", "NULL"]:
                return lambda root: any(node is None for node in selector.nodes(root))
            case ["IS", "TRUE"]:
                return lambda root: any(node is True for node in selector.nodes(root))
            case ["IS", "FALSE"]:
                return lambda root: any(node is False for node in selector.nodes(root))
            case ["EXISTS"]:
                return lambda root: any(True for _ in selector.nodes(root))
            case ["NOT", "EXISTS"]:
                return lambda root: not any(True for _ in selector.nodes(root))
            case _:
                raise lexemes.invalid(f"'{' '.join(words)}' is not a condition")


def _parse_selector(text: str) -> Selector:
    steps: list[Step] = []
    index = 1
    while index < len(text):
        if text.startswith(("[", ".["), index):
            index = text.index("[", index) + 1
            step, index = _bracket(text, index)
            steps.append(step)
        elif text[index] == ".":
            begin = index + 1
            index = begin
            while index < len(text) and text[index] in lexemes.KEY:
                index += 1
            if begin == index:
                raise lexemes.bad_character(text[: index + 1])
            steps.append(text[begin:index])
        else:
            raise lexemes.bad_character(text[index])
    if not steps:
        raise lexemes.bad_character(text)
    return Selector(text, tuple(steps))


def _bracket(text: str, index: int) -> tuple[Step, int]:
    quote = text[index : index + 1]
    if quote in ("'", '"'):
        end = text.index(quote + "]", index + 1)
        return text[index + 1 : end], end + 2
    end = text.index("]", index)
    inner = text[index:end].strip()
    if inner == _ANY:
        return _Every(), end + 1
    if not (inner.isascii() and inner.isdigit() and len(inner) <= 9):
        raise lexemes.bad_character(inner)
    return int(inner), end + 1

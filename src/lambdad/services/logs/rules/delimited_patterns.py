"""Filter patterns for space-delimited events: ``[ip, user, ..., status = 4* && status != 404, bytes > 1000]``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lambdad.services.logs.rules import comparisons, lexemes

_ELLIPSIS: Final = "..."
_CLOSING: Final = {'"': '"', "[": "]"}
_NAME: Final = lexemes.KEY | {"."}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the pattern: its name (empty where it has none) and its condition (None where it has none)."""

    name: str
    test: comparisons.Test | None = None


def words(message: str) -> list[str]:
    """Cut an event into its fields: at blanks, but what stands in ``"…"`` or ``[…]`` is one field, without the marks.

    Example:
        ``1.2.3.4 - [10/Oct/2000 -0700] "GET / HTTP/1.0"`` has the fields ``1.2.3.4``, ``-``,
        ``10/Oct/2000 -0700`` and ``GET / HTTP/1.0``.
    """
    if '"' not in message and "[" not in message:
        return message.split()
    found: list[str] = []
    index, length = 0, len(message)
    unclosed: set[str] = set()  # marks that have no closing mark in what is left of the message
    while index < length:
        ch = message[index]
        if ch.isspace():
            index += 1
            continue
        closing = _CLOSING.get(ch, "")
        end = message.find(closing, index + 1) if closing and closing not in unclosed else -1
        if end >= 0:
            found.append(message[index + 1 : end])
            index = end + 1
            continue
        if closing:
            unclosed.add(closing)
        begin = index
        while index < length and not message[index].isspace():
            index += 1
        found.append(message[begin:index])
    return found


def compile_delimited(source: str) -> tuple[Callable[[str], bool], Callable[[str], dict[str, str]], tuple[str, ...]]:
    """Compile a pattern in square brackets.

    Without an ellipsis the event must have exactly as many fields as the pattern.

    Args:
        source: the whole pattern, ``[`` to ``]``.

    Returns:
        The test for a message, and the extraction of the fields, e.g. ``{"$ip": "1.2.3.4", "$2": "-"}``; a field without
        a name is called by its number, from 1. And the names that the pattern gives, e.g. ``("$ip",)``.

    Raises:
        InvalidFilterPattern: the pattern cannot be read.

    Source: CloudWatch Logs User Guide, "Using filter patterns to match terms in space-delimited log events".
    """
    if not source.endswith("]"):
        raise lexemes.invalid("a square bracket is not closed")
    head, tail = _parse(source[1:-1])

    def fits(found: list[str]) -> bool:
        count = len(head) + len(tail or ())
        if len(found) < count or (tail is None and len(found) > count):
            return False
        last = found[len(found) - len(tail) :] if tail else []
        return _accept(head, found) and _accept(tail or [], last)

    def extract(message: str) -> dict[str, str]:
        found = words(message)
        if not fits(found):
            return {}
        names = [field.name for field in head]
        names += [""] * (len(found) - len(head) - len(tail or ()))
        names += [field.name for field in tail or ()]
        return {f"${name or number}": word for number, (name, word) in enumerate(zip(names, found, strict=True), 1)}

    given = tuple(f"${field.name}" for field in (*head, *(tail or ())) if field.name)
    return lambda message: fits(words(message)), extract, given


def _accept(fields: list[Field], found: list[str]) -> bool:
    return all(field.test is None or field.test(word) for field, word in zip(fields, found, strict=False))


def _parse(source: str) -> tuple[list[Field], list[Field] | None]:
    """Return the fields before the ellipsis and those behind it; None where there is no ellipsis."""
    reader = lexemes.Reader(source)
    head: list[Field] = []
    tail: list[Field] | None = None
    while True:
        lexeme = reader.peek()
        if lexeme.kind == "word" and lexeme.text == _ELLIPSIS:
            reader.take()
            if tail is not None:
                raise lexemes.invalid("there is more than one ellipsis")
            tail = []
        else:
            (head if tail is None else tail).append(_field(reader))
        if reader.take_mark(","):
            continue
        if reader.peek().kind != "end":
            raise lexemes.invalid(f"'{reader.peek().text}' is not expected")
        return head, tail


def _field(reader: lexemes.Reader) -> Field:
    lexeme = reader.peek()
    if lexeme.kind == "end" or (lexeme.kind == "mark" and lexeme.text == ","):
        return Field("")
    names: list[str] = []
    bare: list[str] = []

    def condition() -> comparisons.Test:
        name = reader.take()
        if name.kind != "word" or not _NAME.issuperset(name.text):
            raise lexemes.bad_character(name.text) if name.text else lexemes.invalid("a field's name is missing")
        names.append(name.text)
        following = reader.peek()
        if following.kind == "end" or (following.kind == "mark" and following.text in (",", "&&", "||", ")")):
            bare.append(name.text)
            return lambda _value: True
        return reader.comparison(words_are_numbers=True)

    test = lexemes.Choices[comparisons.Value](reader, condition).read()
    if len(set(names)) > 1:
        raise lexemes.invalid("a condition names another field than its own")
    if bare and len(names) > 1:
        raise lexemes.invalid(f"'{bare[0]}' has no comparison")
    return Field(names[0], None if bare else test)

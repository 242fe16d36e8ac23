"""Cut filter patterns into lexemes: what the JSON and the space-delimited grammar have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from lambdad.services.logs import errors
from lambdad.services.logs.rules import comparisons

Kind: TypeAlias = Literal["word", "string", "regex", "selector", "mark", "end"]
WORD: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.*+-/#")
KEY: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
REGEXES_MAX: Final = 2
DEPTH_MAX: Final = 50
"""Parentheses within parentheses."""

_MARKS: Final = ("&&", "||", "!=", "=!", "<=", ">=", "=", "<", ">", "(", ")", ",")
_BLANKS: Final = " \t\r\n\f\v"
_SubjectT = TypeVar("_SubjectT")


@dataclass(frozen=True, slots=True)
class Lexeme:
    """A word, a quoted string (unquoted), a regular expression (without ``%``), a selector, a mark, or the end."""

    kind: Kind
    text: str


def invalid(why: str) -> errors.InvalidFilterPattern:
    """Build the error for a pattern that cannot be read."""
    return errors.InvalidFilterPattern(f"Invalid filter pattern: {why}")


def bad_character(text: str) -> errors.InvalidFilterPattern:
    """Build the error for a character that must not stand where it does."""
    return errors.InvalidFilterPattern(f"Invalid character(s) in term '{text}'")


def quoted(source: str, index: int) -> tuple[str, int]:
    """Read a quoted string that begins at ``index``; a backslash keeps a quote or a backslash.

    Returns:
        The text without quotes, and the index behind it.

    Raises:
        InvalidFilterPattern: the string is not closed.
    """
    parts: list[str] = []
    index += 1
    while index < len(source):
        ch = source[index]
        if ch == '"':
            return "".join(parts), index + 1
        if ch == "\\" and source[index + 1 : index + 2] in ('"', "\\"):
            index += 1
            ch = source[index]
        parts.append(ch)
        index += 1
    raise invalid("a quotation mark is not closed")


def between_percents(source: str, index: int) -> tuple[str, int]:
    """Read a regular expression that begins at ``index`` with ``%``; ``\\%`` does not end it.

    Raises:
        InvalidFilterPattern: the second ``%`` is missing.
    """
    begin = index + 1
    index = begin
    while index < len(source) and source[index] != "%":
        index += 2 if source[index] == "\\" else 1
    if index >= len(source):
        raise invalid("a regular expression is not closed by '%'")
    return source[begin:index], index + 1


def selector_end(source: str, index: int) -> int:
    """Return the index behind a JSON selector that begins at ``index`` with ``$``.

    Raises:
        InvalidFilterPattern: a bracket is not closed.
    """
    index += 1
    while index < len(source):
        if source[index] == "[":
            quote = source[index + 1 : index + 2]
            closing = quote + "]" if quote in ("'", '"') and quote else "]"
            end = source.find(closing, index + 2)
            if end < 0:
                raise invalid("a '[' in a selector is not closed")
            index = end + len(closing)
        elif source[index] == "." or source[index] in KEY:
            index += 1
        else:
            break
    return index


class Reader:
    """Go through a pattern, lexeme by lexeme, one looked at in advance."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.index = 0
        self.regexes = 0
        self._ahead: Lexeme | None = None

    def peek(self) -> Lexeme:
        """Return the next lexeme and leave it."""
        if self._ahead is None:
            self._ahead = self._read()
        return self._ahead

    def take(self) -> Lexeme:
        """Return the next lexeme and go on."""
        lexeme = self.peek()
        self._ahead = None
        return lexeme

    def take_mark(self, *marks: str) -> str | None:
        """Go on if the next lexeme is one of the marks, and return it; otherwise None."""
        lexeme = self.peek()
        if lexeme.kind == "mark" and lexeme.text in marks:
            self._ahead = None
            return lexeme.text
        return None

    def comparison(self, *, words_are_numbers: bool) -> comparisons.Test:
        """Read an operator and its operand.

        Raises:
            InvalidFilterPattern: either is missing or they do not go together.
        """
        operator = self.take_mark("=", "!=", "=!", "<", "<=", ">", ">=")
        if operator is None:
            raise invalid("a comparison is expected")
        operator = "!=" if operator == "=!" else operator
        operand = self.take()
        match operand.kind:
            case "word":
                return comparisons.word_test(operator, operand.text, words_are_numbers=words_are_numbers)
            case "string" if operator in ("=", "!="):
                return comparisons.text_test(operator, comparisons.wildcard(operand.text))
            case "regex":
                return comparisons.regex_test(operator, operand.text)
            case _:
                raise invalid(f"'{operator}' has no operand that it can use")

    def _skip_blanks(self) -> None:
        while self.index < len(self.source) and self.source[self.index] in _BLANKS:
            self.index += 1

    def _read(self) -> Lexeme:
        self._skip_blanks()
        if self.index >= len(self.source):
            return Lexeme("end", "")
        ch = self.source[self.index]
        if ch == '"':
            text, self.index = quoted(self.source, self.index)
            return Lexeme("string", text)
        if ch == "%":
            self.regexes += 1
            if self.regexes > REGEXES_MAX:
                raise invalid(f"there are more than {REGEXES_MAX} regular expressions")
            text, self.index = between_percents(self.source, self.index)
            return Lexeme("regex", text)
        if ch == "$":
            begin, self.index = self.index, selector_end(self.source, self.index)
            return Lexeme("selector", self.source[begin : self.index])
        if ch == "…":
            self.index += 1
            return Lexeme("word", "...")
        for mark in _MARKS:
            if self.source.startswith(mark, self.index):
                self.index += len(mark)
                return Lexeme("mark", mark)
        begin = self.index
        while self.index < len(self.source) and self.source[self.index] in WORD:
            self.index += 1
        if begin == self.index:
            raise bad_character(ch)
        return Lexeme("word", self.source[begin : self.index])


class Choices(Generic[_SubjectT]):
    """Read conditions joined by ``&&`` (first) and ``||`` with parentheses, into one test.

    Args:
        reader: where to read.
        condition: reads one condition and returns its test.
    """

    def __init__(self, reader: Reader, condition: Callable[[], Callable[[_SubjectT], bool]]) -> None:
        self._reader = reader
        self._condition = condition
        self._depth = 0

    def read(self) -> Callable[[_SubjectT], bool]:
        """Read as many conditions as belong together.

        Raises:
            InvalidFilterPattern: a parenthesis is not closed, or they are nested too deeply.
        """
        options = [self._all()]
        while self._reader.take_mark("||"):
            options.append(self._all())
        if len(options) == 1:
            return options[0]
        return lambda subject: any(option(subject) for option in options)

    def _all(self) -> Callable[[_SubjectT], bool]:
        needs = [self._one()]
        while self._reader.take_mark("&&"):
            needs.append(self._one())
        if len(needs) == 1:
            return needs[0]
        return lambda subject: all(need(subject) for need in needs)

    def _one(self) -> Callable[[_SubjectT], bool]:
        if not self._reader.take_mark("("):
            return self._condition()
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise invalid("parentheses are nested too deeply")
        inner = self.read()
        if not self._reader.take_mark(")"):
            raise invalid("a parenthesis is not closed")
        self._depth -= 1
        return inner

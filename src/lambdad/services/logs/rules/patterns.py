"""Filter patterns: from the text that callers write to a test of a log message.

``""``                          everything
``ERROR "not found" -DEBUG``    all terms, none of the excluded ones
``?ERROR ?WARN``                any of the terms
``%5[0-9]{2}%``                 a regular expression
``{ $.level = "ERROR" }``       JSON events, see `json_patterns`
``[ip, ..., status = 5*]``      space-delimited events, see `delimited_patterns`

Compiling refuses what it cannot read and raises nothing else; matching raises nothing and takes time in proportion to
the message's length.

Source: CloudWatch Logs User Guide, "Filter pattern syntax".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from lambdad.services.logs.rules import delimited_patterns, json_patterns, lexemes, regexes

PATTERN_LENGTH_MAX: Final = 1024
Kind: TypeAlias = Literal["everything", "terms", "json", "delimited"]
_TERM: Final = lexemes.KEY | {".", "/"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterPattern:
    """A compiled filter pattern.

    ``matches`` says whether a message fits; ``extract`` returns the values that the pattern names in a message that fits,
    e.g. ``{"$status": "404"}``, and nothing for patterns of terms.
    """

    text: str
    kind: Kind
    names: tuple[str, ...] = ()  # of a space-delimited pattern's fields, e.g. "$status"
    matches: Callable[[str], bool]
    extract: Callable[[str], dict[str, str]]

    def fields(self, message: str) -> dict[str, str]:
        """Return the fields of a space-delimited message that fits, as subscribers get them: ``{"status": "404"}``."""
        if self.kind != "delimited":
            return {}
        return {name.removeprefix("$"): value for name, value in self.extract(message).items()}


def compile_pattern(text: str) -> FilterPattern:
    """Compile a filter pattern.

    Args:
        text: 0..1,024 characters.

    Raises:
        InvalidFilterPattern: the pattern cannot be read.
    """
    if len(text) > PATTERN_LENGTH_MAX:
        raise lexemes.invalid(f"it is longer than {PATTERN_LENGTH_MAX} characters")
    source = text.strip(" \t\r\n\f\v")
    if not source:
        return FilterPattern(text=text, kind="everything", matches=_everything, extract=_nothing)
    if source.startswith("{"):
        matches, extract = json_patterns.compile_json(source)
        return FilterPattern(text=text, kind="json", matches=matches, extract=extract)
    if source.startswith("["):
        matches, extract, names = delimited_patterns.compile_delimited(source)
        return FilterPattern(text=text, kind="delimited", names=names, matches=matches, extract=extract)
    return FilterPattern(text=text, kind="terms", matches=_compile_terms(source), extract=_nothing)


def _everything(_message: str) -> bool:
    return True


def _nothing(_message: str) -> dict[str, str]:
    return {}


def _compile_terms(source: str) -> Callable[[str], bool]:
    required: list[Callable[[str], bool]] = []
    optional: list[Callable[[str], bool]] = []
    excluded: list[Callable[[str], bool]] = []
    index = 0
    regexes_seen = 0
    while index < len(source):
        target = required
        if source[index] in "?-":
            target = optional if source[index] == "?" else excluded
            index = _skip_blanks(source, index + 1)
        if source[index : index + 1] == "%":
            regexes_seen += 1
            if regexes_seen > lexemes.REGEXES_MAX:
                raise lexemes.invalid(f"there are more than {lexemes.REGEXES_MAX} regular expressions")
            expression, index = lexemes.between_percents(source, index)
            target.append(regexes.Regex(expression).search)
        else:
            term, index = _term(source, index)
            target.append(_contains(term))
        index = _skip_blanks(source, index)
    # AWS leaves optional terms out of account as soon as there are others.
    if not required and not excluded:
        return lambda message: any(test(message) for test in optional)
    return lambda message: all(test(message) for test in required) and not any(test(message) for test in excluded)


def _contains(term: str) -> Callable[[str], bool]:
    return lambda message: term in message


def _term(source: str, index: int) -> tuple[str, int]:
    if source[index : index + 1] == '"':
        return lexemes.quoted(source, index)
    begin = index
    while index < len(source) and source[index] in _TERM:
        index += 1
    if begin == index:
        if index >= len(source):
            raise lexemes.invalid("a term is missing")
        raise lexemes.bad_character(source[index])
    if index < len(source) and source[index] not in ' \t\r\n\f\v"%':
        raise lexemes.bad_character(source[index])
    return source[begin:index], index


def _skip_blanks(source: str, index: int) -> int:
    while index < len(source) and source[index] in " \t\r\n\f\v":
        index += 1
    return index

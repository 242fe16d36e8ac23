"""A policy's JSON as tokens that know where they end, because AWS says where it stopped reading.

SNS reads policies with Jackson, whose refusals end in ``at [Source: (String)"..."; line: 1, column: 13]``: the place after the token
that was read last.
"""

import json
import re
from dataclasses import dataclass
from typing import Final, NoReturn

from lambdad.services.sns.rules import json_text

SOURCE_CHARACTERS: Final = 500
"""How much of a policy Jackson repeats in an error."""

_TOKEN = re.compile(
    r'[\s,:]*(?:(?P<mark>[{}\[\]])|(?P<string>"(?:[^"\\]|\\.)*")(?P<colon>\s*:)?|(?P<word>[^\s,:{}\[\]"]+))',
    re.DOTALL,
)


class PolicyRefused(ValueError):
    """A policy breaks the grammar; the argument is AWS's reason, without what stands before it in an error."""


@dataclass(frozen=True, slots=True)
class Token:
    """A mark ("{", "}", "[", "]"), a "key" of an object, a "string" or another "scalar" of JSON, and the offset of what follows it."""

    kind: str
    value: str | int | float | bool | None
    end: int

    @property
    def is_number(self) -> bool:
        """Say whether it is a JSON number."""
        return isinstance(self.value, int | float) and not isinstance(self.value, bool)

    @property
    def text(self) -> str:
        """Return the string that the token is; empty for others."""
        return self.value if isinstance(self.value, str) else ""


class Tokens:
    """The tokens of a text that is known to be JSON, read from left to right.

    Raises:
        PolicyRefused: it is no JSON.
    """

    def __init__(self, text: str) -> None:
        try:
            json_text.parse(text)
        except ValueError as error:
            raise PolicyRefused(f"failed to parse JSON. {error}") from error
        self._text = text
        self._tokens = [_token(match) for match in _TOKEN.finditer(text)]
        self._position = 0

    def take(self) -> Token:
        """Return the next token, and go on."""
        token = self._tokens[self._position]
        self._position += 1
        return token

    def peek(self) -> str:
        """Return the kind of the next token."""
        return self._tokens[self._position].kind

    def is_list_of_objects(self, reserved: frozenset[str]) -> bool:
        """Say whether only objects stand before the end of the array that was opened last, at least two, without a reserved key."""
        depth = objects = 0
        for position in range(self._position, len(self._tokens)):
            token = self._tokens[position]
            match token.kind:
                case "{" | "[":
                    if depth == 0 and token.kind == "[":
                        return False
                    objects += depth == 0
                    depth += 1
                case "]" if depth == 0:
                    return objects > 1
                case "}" | "]":
                    depth -= 1
                case "key" if depth == 1 and token.value in reserved:
                    return False
                case _ if depth == 0:
                    return False
        return False

    def refuse(self, reason: str) -> NoReturn:
        """
        Raise a refusal that says where reading stopped.

        Raises:
            PolicyRefused: always.
        """
        end = self._tokens[self._position - 1].end
        line = self._text.count("\n", 0, end) + 1
        column = end - (self._text.rfind("\n", 0, end) + 1) + 1
        cut = len(self._text) - SOURCE_CHARACTERS
        truncated = f"[truncated {cut} chars]" if cut > 0 else ""
        source = f'(String)"{self._text[:SOURCE_CHARACTERS]}"{truncated}'
        raise PolicyRefused(f"{reason}\n at [Source: {source}; line: {line}, column: {column}]")


def _token(match: re.Match[str]) -> Token:
    if mark := match["mark"]:
        return Token(mark, None, match.end())
    if string := match["string"]:
        return Token("key" if match["colon"] else "string", json.loads(string), match.end())
    return Token("scalar", json.loads(match["word"]), match.end())

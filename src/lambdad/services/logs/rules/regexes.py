"""Regular expressions of filter patterns, matched in linear time.

CloudWatch Logs allows a small language between two ``%``: no groups, no back references, ASCII only. Without groups an
expression is a choice of *chains*, and a chain is a row of *items*, each a set of characters with a count. That is a
non-deterministic automaton whose states are the bits of one integer, and the reachable integers are the states of a
deterministic one, built as texts need them. Matching costs one dictionary look-up per character, whatever the
expression; Python's own `re` backtracks and would let a caller stop the server with ``a*a*a*a*b``.

Source: CloudWatch Logs User Guide, "Supported regular expressions (regex) syntax".
"""

from dataclasses import dataclass
from typing import Final

from lambdad.services.logs import errors

POSITIONS_MAX: Final = 4_000
"""Items after ``{m,n}`` has been written out; more is refused."""

STATES_MAX: Final = 2_000
"""States kept of the deterministic automaton; beyond that it is forgotten and built anew."""

_SYMBOLS: Final = frozenset(":_#=@/;,-")
_ASCII: Final = [chr(code) for code in range(128)]
_ALNUM: Final = frozenset(ch for ch in _ASCII if ch.isalnum())
_DIGIT: Final = frozenset("0123456789")
_WORD: Final = _ALNUM | {"_"}
_SPACE: Final = frozenset(" \t\n\r\f\v")
_HEX: Final = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """A set of characters: some ASCII ones, and either all others or none."""

    ascii: frozenset[str]
    others: bool = False

    def inverted(self) -> "CharacterSet":
        """Return the set of all characters that are not in this one."""
        return CharacterSet(frozenset(_ASCII) - self.ascii, not self.others)


_ANY: Final = CharacterSet(frozenset("\n")).inverted()
_CLASSES: Final = {
    "d": CharacterSet(_DIGIT),
    "D": CharacterSet(_DIGIT).inverted(),
    "w": CharacterSet(_WORD),
    "W": CharacterSet(_WORD).inverted(),
    "s": CharacterSet(_SPACE),
    "S": CharacterSet(_SPACE).inverted(),
}


@dataclass(slots=True)
class _Chain:
    """One alternative: its items, and whether it is bound to the beginning or the end of the text."""

    items: list[tuple[CharacterSet, bool, bool]]  # (characters, optional, repeats)
    at_start: bool = False
    at_end: bool = False
    possible: bool = True


class _Parser:
    """Read an expression into chains."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.index = 0
        self.positions = 0

    def chains(self) -> list[_Chain]:
        chains = [self._chain()]
        while self.index < len(self.source):
            self.index += 1  # "|"
            chains.append(self._chain())
        return chains

    def _chain(self) -> _Chain:
        chain = _Chain([])
        begin = self.index
        while self.index < len(self.source) and self.source[self.index] != "|":
            ch = self.source[self.index]
            if ch == "^":
                self.index += 1
                chain.at_start = True
                chain.possible = chain.possible and not chain.items and not chain.at_end
            elif ch == "$":
                self.index += 1
                chain.at_end = True
            else:
                chain.possible = chain.possible and not chain.at_end
                self._item(chain)
        if begin == self.index:
            raise self._bad("an alternative is empty")
        return chain

    def _item(self, chain: _Chain) -> None:
        characters = self._atom()
        least, most = self._count()
        copies: list[tuple[CharacterSet, bool, bool]]
        if most is None:
            copies = [(characters, False, False)] * (least - 1)
            copies.append((characters, least == 0, True))
        else:
            copies = [(characters, False, False)] * least + [(characters, True, False)] * (most - least)
        self.positions += len(copies)
        if self.positions > POSITIONS_MAX:
            raise self._bad("the regular expression is too large")
        chain.items.extend(copies)

    def _atom(self) -> CharacterSet:
        ch = self._next()
        if ch == ".":
            return _ANY
        if ch == "[":
            return self._bracket()
        if ch == "\\":
            return self._escape()
        if ch in _ALNUM or ch in _SYMBOLS:
            return CharacterSet(frozenset(ch))
        raise self._bad_character(ch)

    def _escape(self) -> CharacterSet:
        ch = self._next()
        if ch in _CLASSES:
            return _CLASSES[ch]
        if ch == "x":
            digits = self.source[self.index : self.index + 2]
            if len(digits) != 2 or not _HEX.issuperset(digits) or int(digits, 16) > 127:
                raise self._bad("\\x needs two hexadecimal digits of an ASCII character")
            self.index += 2
            return CharacterSet(frozenset(chr(int(digits, 16))))
        if ch in _ALNUM or not ch.isascii() or not ch.isprintable():
            raise self._bad_character("\\" + ch)
        return CharacterSet(frozenset(ch))

    def _bracket(self) -> CharacterSet:
        inverted = self.index < len(self.source) and self.source[self.index] == "^"
        if inverted:
            self.index += 1
        members: set[str] = set()
        others = False
        first = True
        while True:
            if self.index >= len(self.source):
                raise self._bad("a '[' is not closed")
            if self.source[self.index] == "]" and not first:
                self.index += 1
                break
            first = False
            low = self._member()
            if len(low.ascii) == 1 and not low.others and self._is_range():
                self.index += 1
                high = self._member()
                begin, end = next(iter(low.ascii)), next(iter(high.ascii), "")
                if len(high.ascii) != 1 or high.others or begin > end:
                    raise self._bad("a range of characters is not in order")
                members.update(chr(code) for code in range(ord(begin), ord(end) + 1))
            else:
                members |= low.ascii
                others = others or low.others
        result = CharacterSet(frozenset(members), others)
        return result.inverted() if inverted else result

    def _is_range(self) -> bool:
        return self.source[self.index : self.index + 1] == "-" and self.source[self.index + 1 : self.index + 2] not in (
            "",
            "]",
        )

    def _member(self) -> CharacterSet:
        ch = self._next()
        if ch == "\\":
            return self._escape()
        if ch in _ALNUM or ch in _SYMBOLS or ch in "^$?*+.|{}":
            return CharacterSet(frozenset(ch))
        raise self._bad_character(ch)

    def _count(self) -> tuple[int, int | None]:
        ch = self.source[self.index : self.index + 1]
        if ch not in ("?", "*", "+", "{") or not ch:
            return 1, 1
        self.index += 1
        counts: tuple[int, int | None]
        if ch == "{":
            counts = self._braces()
        else:
            counts = {"?": (0, 1), "*": (0, None), "+": (1, None)}[ch]
        # A lazy count ("+?") accepts the same texts as a greedy one.
        if self.source[self.index : self.index + 1] == "?":
            self.index += 1
        return counts

    def _braces(self) -> tuple[int, int | None]:
        end = self.source.find("}", self.index)
        low, comma, high = self.source[self.index : max(end, self.index)].partition(",")
        if end < 0 or not _is_count(low) or (high and not _is_count(high)):
            raise self._bad("a '{' does not begin a count such as {2} or {1,3}")
        self.index = end + 1
        if not comma:
            return int(low), int(low)
        if not high:
            return int(low), None
        if int(low) > int(high):
            raise self._bad("a count is not in order")
        return int(low), int(high)

    def _next(self) -> str:
        if self.index >= len(self.source):
            raise self._bad("the regular expression ends too early")
        self.index += 1
        return self.source[self.index - 1]

    def _bad(self, why: str) -> errors.InvalidFilterPattern:
        return errors.InvalidFilterPattern(f"Invalid filter pattern: {why}")

    def _bad_character(self, ch: str) -> errors.InvalidFilterPattern:
        return errors.InvalidFilterPattern(f"Invalid character(s) in term '{ch}'")


def _is_count(digits: str) -> bool:
    return 0 < len(digits) <= 4 and _DIGIT.issuperset(digits)


class _State(dict[str, "_State"]):
    """A state of the deterministic automaton: the next state by character, found out on first use."""

    __slots__ = ("bits", "matched", "matched_at_end", "regex")

    def __init__(self, regex: "Regex", bits: int) -> None:
        super().__init__()
        self.regex = regex
        self.bits = bits
        self.matched = bool(bits & regex.accepting)
        self.matched_at_end = self.matched or bool(bits & regex.accepting_at_end)

    def __missing__(self, ch: str) -> "_State":
        state = self.regex.next_state(self.bits, ch)
        if ch < "\x80":
            self[ch] = state
        return state


class Regex:
    """One compiled expression; `search` answers whether a text has a match anywhere.

    Args:
        source: what stands between the two ``%``.

    Raises:
        InvalidFilterPattern: the expression is outside the allowed language.
    """

    def __init__(self, source: str) -> None:
        if not source:
            raise errors.InvalidFilterPattern("Invalid filter pattern: the regular expression is empty")
        self.accepting = 0
        self.accepting_at_end = 0
        self._restart = 0
        self._optional = 0
        self._moves: dict[str, int] = {}
        self._stays: dict[str, int] = {}
        self._states: dict[int, _State] = {}
        begin = 0
        bit = 0
        for chain in _Parser(source).chains():
            if not chain.possible:
                continue
            begin |= 1 << bit
            if not chain.at_start:
                self._restart |= 1 << bit
            bit = self._add(chain.items, bit)
            if chain.at_end:
                self.accepting_at_end |= 1 << bit
            else:
                self.accepting |= 1 << bit
            bit += 1
        self._restart = self._skip_optional(self._restart)
        self._begin = self._skip_optional(begin)

    def search(self, text: str) -> bool:
        """Say whether the expression matches somewhere in the text; takes time in proportion to its length."""
        state = self._state(self._begin)
        if state.matched:
            return True
        last = len(text) - 1
        for index, ch in enumerate(text):
            # As in Java and Python, "$" also stands before a newline that ends the text.
            if index == last and ch == "\n" and state.matched_at_end:
                return True
            state = state[ch]
            if state.matched:
                return True
        return state.matched_at_end

    def next_state(self, bits: int, ch: str) -> _State:
        """Return the state after one more character."""
        key = ch if ch < "\x80" else ""
        moved = (bits & self._moves.get(key, 0)) << 1 | bits & self._stays.get(key, 0)
        return self._state(self._skip_optional(moved) | self._restart)

    def _add(self, items: list[tuple[CharacterSet, bool, bool]], bit: int) -> int:
        for characters, optional, repeats in items:
            keys = [*characters.ascii, ""] if characters.others else list(characters.ascii)
            for key in keys:
                self._moves[key] = self._moves.get(key, 0) | 1 << bit
                if repeats:
                    self._stays[key] = self._stays.get(key, 0) | 1 << (bit + 1)
            if optional:
                self._optional |= 1 << bit
            bit += 1
        return bit

    def _skip_optional(self, bits: int) -> int:
        # The carry of the addition runs through each row of optional items, as far as the first that is not.
        return bits | (self._optional + (bits & self._optional)) ^ self._optional

    def _state(self, bits: int) -> _State:
        state = self._states.get(bits)
        if state is None:
            if len(self._states) >= STATES_MAX:
                self._states.clear()
            state = self._states[bits] = _State(self, bits)
        return state

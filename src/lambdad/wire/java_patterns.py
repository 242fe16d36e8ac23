"""Java's regular expressions, as the service models have them, in Python's.

Java is unlike Python in `\\p{..}` classes, surrogate pairs, brackets and hyphens within classes. What cannot be said in
Python is not checked at all: a constraint too few, never a request refused wrongly.
"""

import functools
import re
import unicodedata

_POSIX = {
    "Lower": "a-z",
    "Upper": "A-Z",
    "ASCII": r"\x00-\x7f",
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "Punct": r"!-/:-@\[-`{-~",
    "Graph": "!-~",
    "Print": " -~",
    "Blank": r" \t",
    "Cntrl": r"\x00-\x1f\x7f",
    "XDigit": "0-9a-fA-F",
    "Space": r" \t\n\x0b\f\r",
}
_ALIASES = {"IsAlphabetic": "L", "IsLetter": "L", "IsL": "L", "IsN": "N", "IsP": "P", "IsS": "S", "IsZ": "Z", "IsM": "M"}
_ESCAPED_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_SCANNED = (range(0x32400), range(0xE0000, 0xE01F0))  # beyond these nothing is assigned but private use

# Patterns of the models that take exponential time on a hostile text, and what means the same and does not.
_LINEAR = {
    r"^[ \t]*[^\x00-\x1F:\x7F]+([ \t]+[^\x00-\x1F:\x7F]+)*[ \t]*$": r"[ \t]*[^\x00-\x1F:\x7F](?:\t|[^\x00-\x1F:\x7F])*",
    r"^[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*$": r"[ \t]*[\x20-\x7E][\t\x20-\x7E]*",
}


@functools.cache
def compile_pattern(pattern: str) -> re.Pattern[str] | None:
    """Return the pattern in Python, to be used with ``fullmatch``; None if Python has no equal."""
    try:
        return re.compile(_translate(_LINEAR.get(pattern, pattern)), re.ASCII)
    except (re.error, ValueError, OverflowError, RecursionError, FutureWarning):
        return None


def _translate(pattern: str) -> str:
    pattern = _ESCAPED_PAIR.sub(_astral, pattern)
    out: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern[at] == "[":
            at, translated = _translate_class(pattern, at)
            out.append(translated)
        elif pattern[at] == "\\":
            at, escape, is_class = _translate_escape(pattern, at)
            out.append(f"[{escape}]" if is_class else escape)
        else:
            out.append(pattern[at])
            at += 1
    return "".join(out)


def _astral(found: re.Match[str]) -> str:
    high, low = (int(part, 16) for part in found.group()[2:].split("\\u"))
    return f"\\U{0x10000 + (high - 0xD800) * 0x400 + (low - 0xDC00):08x}"


def _translate_escape(pattern: str, at: int) -> tuple[int, str, bool]:
    """Translate the escape at a backslash; say whether the result is the inside of a class."""
    following = pattern[at + 1 : at + 2]
    if following in ("p", "P"):
        end, name = _property_name(pattern, at + 2)
        ranges = _property_ranges(name)
        if following == "P":
            ranges = _complement(name)
        return end, ranges, True
    if following == "Z" or following == "z":
        return at + 2, r"\Z", False
    if following == "h":
        return at + 2, r" \t\xa0", True
    if following == "e":
        return at + 2, r"\x1b", False
    if following == "Q":
        end = pattern.find("\\E", at)
        literal = pattern[at + 2 : end if end >= 0 else len(pattern)]
        return (end + 2 if end >= 0 else len(pattern)), re.escape(literal), False
    if following == "x" and pattern[at + 2 : at + 3] == "{":
        end = pattern.index("}", at)
        return end + 1, f"\\U{int(pattern[at + 3 : end], 16):08x}", False
    if following in ("R", "X", "G", "K"):
        raise ValueError(f"no equal of \\{following}")
    if following.isalpha() and following not in "dDwWsSbBAnrtfvauxU":
        raise ValueError(f"no equal of \\{following}")
    return at + 2, pattern[at : at + 2], False


def _property_name(pattern: str, at: int) -> tuple[int, str]:
    if pattern[at : at + 1] != "{":
        return at + 1, pattern[at]
    end = pattern.index("}", at)
    return end + 1, pattern[at + 1 : end]


def _property_ranges(name: str) -> str:
    posix = _POSIX.get(name)
    if posix is not None:
        return posix
    name = _ALIASES.get(name, name)
    if not 1 <= len(name) <= 2:
        raise ValueError(f"unknown property {name}")
    ranges = category_ranges(name)
    if not ranges:
        raise ValueError(f"unknown property {name}")
    return ranges


def _complement(name: str) -> str:
    """Return the inside of a class of all that a property is not, as far as single categories can say it."""
    if name in _POSIX:
        raise ValueError("complements of POSIX classes do not occur")
    wanted = _ALIASES.get(name, name)
    all_categories = {"L", "M", "N", "P", "S", "Z", "C"}
    if wanted not in all_categories:
        raise ValueError(f"no complement of {name}")
    return "".join(category_ranges(category) for category in sorted(all_categories - {wanted}))


@functools.cache
def category_ranges(category: str) -> str:
    """Return the inside of a class of all characters of a Unicode category: ``L``, ``Lu``, ``Z`` ..."""
    ranges: list[str] = []
    start = previous = -2
    for block in _SCANNED:
        for point in block:
            if unicodedata.category(chr(point)).startswith(category):
                if point != previous + 1:
                    if start >= 0:
                        ranges.append(_range(start, previous))
                    start = point
                previous = point
    if start >= 0:
        ranges.append(_range(start, previous))
    return "".join(ranges)


def _range(first: int, last: int) -> str:
    return f"\\U{first:08x}" if first == last else f"\\U{first:08x}-\\U{last:08x}"


def _translate_class(pattern: str, at: int) -> tuple[int, str]:
    """Translate a class in brackets: unions are flattened, stray brackets and hyphens escaped."""
    at += 1
    out = ["["]
    if pattern[at : at + 1] == "^":
        out.append("^")
        at += 1
    is_first, after_class = True, False
    while at < len(pattern):
        character = pattern[at]
        if character == "]" and not is_first:
            return at + 1, "".join([*out, "]"])
        if pattern.startswith("&&", at):
            raise ValueError("Python has no intersections")
        if character == "[":
            at, nested = _nested_class(pattern, at)
            out.append(nested)
            after_class = True
        elif character == "\\":
            at, escape, is_class = _translate_escape(pattern, at)
            out.append(escape)
            after_class = is_class or escape in (r"\d", r"\w", r"\s", r"\D", r"\W", r"\S")
        elif character == "-":
            out.append(r"\-" if is_first or after_class or _ends_or_class(pattern, at + 1) else "-")
            at += 1
            after_class = False
        else:
            out.append("\\" + character if character in "]~|&" else character)
            at += 1
            after_class = False
        is_first = False
    raise ValueError("a class without an end")


def _ends_or_class(pattern: str, at: int) -> bool:
    return pattern[at : at + 1] in ("]", "[", "-") or pattern[at : at + 2] in (r"\d", r"\w", r"\s", r"\p", r"\P", r"\D", r"\W", r"\S")


def _nested_class(pattern: str, at: int) -> tuple[int, str]:
    """Flatten ``[a[bc]]``; a bracket that opens no class of its own is a plain character, as model authors mean it."""
    depth_end = pattern.find("]", at + 1)
    opens_again = pattern.find("]", depth_end + 1) if depth_end >= 0 else -1
    inside = pattern[at + 1 : depth_end]
    if opens_again < 0 or inside.startswith("^") or not inside or "[" in inside:
        return at + 1, r"\["
    end, translated = _translate_class(pattern, at)
    return end, translated[1:-1]

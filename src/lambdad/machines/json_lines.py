"""Lines of a function whose log format is JSON: which level they have, when they were written, and so whether they are kept.

Source: AWS Lambda developer guide, "Log-level filtering" ("level" and RFC 3339 "timestamp" of raw JSON lines; INFO where one is missing).
"""

import datetime
import re
from dataclasses import dataclass

import msgspec

LEVELS = {"TRACE": 0, "DEBUG": 1, "INFO": 2, "WARN": 3, "ERROR": 4, "FATAL": 5}
INFO = LEVELS["INFO"]
_ALSO = {"WARNING": LEVELS["WARN"], "CRITICAL": LEVELS["FATAL"]}  # Python's names: a line too many is better than one lost
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})")


class _Line(msgspec.Struct):
    level: msgspec.Raw = msgspec.Raw(b"")
    timestamp: msgspec.Raw = msgspec.Raw(b"")


_decoder = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True)
class JsonLine:
    """A line that is a JSON object; `at_ms` is its own Unix time, None where it has none."""

    level: int
    at_ms: int | None


def read(text: str) -> JsonLine | None:
    """Return what a line says of itself; None where it is no JSON object. Takes time in proportion to its length."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        line = _decoder.decode(text)
    except (ValueError, RecursionError):
        return None
    at_ms = _time_ms(_text(line.timestamp))
    name = _text(line.level).upper() if at_ms is not None else ""
    level = LEVELS.get(name, _ALSO.get(name, INFO))
    return JsonLine(level, at_ms)


def _text(raw: msgspec.Raw) -> str:
    if not 2 <= len(raw) <= 100:
        return ""
    value = msgspec.json.decode(raw)
    return value if isinstance(value, str) else ""


def _time_ms(text: str) -> int | None:
    if not _RFC3339.fullmatch(text):
        return None
    try:
        at = datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.upper()))
        return int(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None

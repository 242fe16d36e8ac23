"""The tokens with which callers go on: opaque to them, checked when they come back."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from lambdad.services.logs import errors

_EVENTS_TOKEN: Final = re.compile(r"([fb])/([0-9]{1,80})/s", re.ASCII)
_FILTER_TOKEN: Final = re.compile(r"([fb])([0-9]{1,80})", re.ASCII)
_NUMBER_TOKEN: Final = re.compile(r"i([0-9]{1,18})", re.ASCII)
_LAST_EVENT_TOKEN: Final = re.compile(r"([0-9]{1,18}):(.*)", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class EventsToken:
    """Where to go on among events: behind the event of this number, or before it."""

    forward: bool
    number: int

    def of_stream(self) -> str:
        """Write the token of GetLogEvents, e.g. ``f/0311…/s``."""
        return f"{'f' if self.forward else 'b'}/{self.number:056d}/s"

    def of_filter(self) -> str:
        """Write the token of FilterLogEvents."""
        return _wrap(f"{'f' if self.forward else 'b'}{self.number}")


def invalid_token() -> errors.InvalidParameter:
    """Build the error for a token that was not given out here."""
    return errors.InvalidParameter("The specified nextToken is invalid.")


def parse_stream_token(token: str) -> EventsToken:
    """Read a token of GetLogEvents.

    Raises:
        InvalidParameter: it is none.
    """
    match = _EVENTS_TOKEN.fullmatch(token)
    if match is None:
        raise invalid_token()
    return EventsToken(match[1] == "f", int(match[2]))


def parse_filter_token(token: str) -> EventsToken:
    """Read a token of FilterLogEvents.

    Raises:
        InvalidParameter: it is none.
    """
    match = _FILTER_TOKEN.fullmatch(_unwrap(token))
    if match is None:
        raise invalid_token()
    return EventsToken(match[1] == "f", int(match[2]))


def name_token(name: str) -> str:
    """Write the token of a list in order of names: the last name that was given."""
    return _wrap("n" + name)


def parse_name_token(token: str) -> str:
    """Read a token written by `name_token`.

    Raises:
        InvalidParameter: it is none.
    """
    text = _unwrap(token)
    if not text.startswith("n"):
        raise invalid_token()
    return text[1:]


def last_event_token(last_event_ms: int, name: str) -> str:
    """Write the token of a list in order of last events."""
    return _wrap(f"{last_event_ms}:{name}")


def parse_last_event_token(token: str) -> tuple[int, str]:
    """Read a token written by `last_event_token`.

    Raises:
        InvalidParameter: it is none.
    """
    match = _LAST_EVENT_TOKEN.fullmatch(_unwrap(token))
    if match is None:
        raise invalid_token()
    return int(match[1]), match[2]


def filter_name_token(name: str, group: str) -> str:
    """Write the token of a list in order of filters' names and then of their groups."""
    return _wrap(f"m{name}:{group}")  # neither has a colon


def parse_filter_name_token(token: str) -> tuple[str, str]:
    """Read a token written by `filter_name_token`.

    Raises:
        InvalidParameter: it is none.
    """
    name, colon, group = _unwrap(token).partition(":")
    if not name.startswith("m") or not colon:
        raise invalid_token()
    return name[1:], group


def number_token(number: int) -> str:
    """Write the token of a list in order of numbers: the last that was given."""
    return _wrap(f"i{number}")


def parse_number_token(token: str) -> int:
    """Read a token written by `number_token`.

    Raises:
        InvalidParameter: it is none.
    """
    match = _NUMBER_TOKEN.fullmatch(_unwrap(token))
    if match is None:
        raise invalid_token()
    return int(match[1])


def _wrap(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unwrap(token: str) -> str:
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid_token() from None
    if "\0" in text:
        raise invalid_token()
    return text

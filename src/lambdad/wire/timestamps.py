"""Timestamps of the service models: three formats in, three formats out. Aware UTC datetimes, milliseconds on the wire."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

from lambdad.wire.serialization import serialization_error

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ISO8601 = "iso8601"
RFC822 = "rfc822"
UNIX = "unixTimestamp"


def from_unix(seconds: float) -> datetime:
    """
    Turn seconds since 1970 into a datetime, to the microsecond.

    Raises:
        AwsError: SerializationException, the number is no time between the years 1 and 9999.
    """
    if not math.isfinite(seconds):
        raise serialization_error("NUMBER_VALUE can not be converted to milliseconds since epoch")
    try:
        return EPOCH + timedelta(microseconds=round(seconds * 1_000_000))
    except OverflowError:
        raise serialization_error("NUMBER_VALUE can not be converted to milliseconds since epoch") from None


def from_text(text: str) -> datetime:
    """
    Read a timestamp in any of the formats that clients send, whatever the model says.

    Raises:
        AwsError: SerializationException.
    """
    text = text.strip()
    for read in (_from_iso8601, _from_rfc822, _from_digits):
        try:
            return read(text)
        except (ValueError, OverflowError, TypeError, IndexError):
            continue
    raise serialization_error("STRING_VALUE can not be converted to milliseconds since epoch")


def _from_iso8601(text: str) -> datetime:
    if len(text) < 10 or text[4] != "-":
        raise ValueError(text)
    return _in_utc(datetime.fromisoformat(text))


def _from_rfc822(text: str) -> datetime:
    if not text[:1].isalpha():
        raise ValueError(text)
    return _in_utc(parsedate_to_datetime(text))


def _from_digits(text: str) -> datetime:
    seconds = float(text)
    if not math.isfinite(seconds):
        raise ValueError(text)
    return EPOCH + timedelta(microseconds=round(seconds * 1_000_000))


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def to_unix(moment: datetime) -> int | float:
    """Return seconds since 1970: whole if they are, else with milliseconds."""
    milliseconds = (moment - EPOCH) // timedelta(milliseconds=1)
    seconds, rest = divmod(milliseconds, 1000)
    return milliseconds / 1000 if rest else seconds


def to_iso8601(moment: datetime) -> str:
    """Return ``2015-03-31T10:20:30Z``, or ``2015-03-31T10:20:30.123Z`` if there is a fraction."""
    return _iso8601(moment, "milliseconds" if moment.microsecond >= 1000 else "seconds")


def to_iso8601_ms(moment: datetime) -> str:
    """Return ``2015-03-31T10:20:30.000Z``, which is how S3 always writes it."""
    return _iso8601(moment, "milliseconds")


def _iso8601(moment: datetime, precision: str) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def to_rfc822(moment: datetime) -> str:
    """Return ``Tue, 31 Mar 2015 10:20:30 GMT``."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def text_writer(timestamp_format: str) -> Callable[[datetime], str]:
    """Return the function that writes one format of the models as text."""
    if timestamp_format == ISO8601:
        return to_iso8601
    if timestamp_format == RFC822:
        return to_rfc822
    return lambda moment: str(to_unix(moment))

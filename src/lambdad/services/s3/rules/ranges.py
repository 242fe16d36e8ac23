"""Which bytes of an object a Range header asks for. Source: RFC 9110, section 14; S3 API Reference, GetObject."""

import re
from typing import NamedTuple

from lambdad.services.s3 import errors

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*").fullmatch
_COPY_RANGE = re.compile(r"bytes=(\d+)-(\d+)").fullmatch


class Span(NamedTuple):
    """Bytes `start` to `end`, the end not included."""

    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        return self.end - self.start


def requested(header: str | None, size_bytes: int) -> Span | None:
    """
    Return the span that a Range header asks for.

    Returns:
        None for the whole object: there is no header, or one that is not understood, or one with several ranges, which S3 ignores.

    Raises:
        InvalidRange: no byte of the object is in it.
    """
    match = _RANGE(header) if header else None
    if match is None or header is None:
        return None
    first, last = match[1], match[2]
    if not first and not last:
        return None
    if not first:
        start, end = max(size_bytes - int(last), 0), size_bytes
        if int(last) == 0 or size_bytes == 0:
            raise errors.InvalidRange(header, size_bytes)
        return Span(start, end)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size_bytes:
        raise errors.InvalidRange(header, size_bytes)
    return Span(start, min(int(last) + 1, size_bytes) if last else size_bytes)


def of_copy(header: str | None, size_bytes: int) -> Span:
    """
    Return the span of x-amz-copy-source-range, which must be written out and lie within the source.

    Raises:
        InvalidArgument: it is anything else.
    """
    if header is None:
        return Span(0, size_bytes)
    match = _COPY_RANGE(header)
    if match is None or int(match[2]) < int(match[1]):
        raise errors.InvalidArgument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets "
            "of the first and last bytes to copy",
            "x-amz-copy-source-range",
            header,
        )
    span = Span(int(match[1]), int(match[2]) + 1)
    if span.end > size_bytes:
        raise errors.InvalidArgument(
            f"Range specified is not valid for source object of size: {size_bytes}", "x-amz-copy-source-range", header
        )
    return span


def content_range(span: Span, size_bytes: int) -> str:
    """Write a Content-Range header."""
    return f"bytes {span.start}-{span.end - 1}/{size_bytes}"

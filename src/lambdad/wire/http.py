"""The two values that wire turns into each other's counterpart: a request that was read and a response to be written."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, read to its end.

    Args:
        path: raw, still percent-encoded, without the query.
        query: raw, without the question mark.
        headers: keys in lower case; a repeated header's values joined by ",".
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Response:
    """One HTTP response.

    The server adds ``Content-Length`` for a body of bytes. Where the body is an iterator, or the method was HEAD, a
    length that the service knows is among the headers.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes | AsyncIterator[bytes]

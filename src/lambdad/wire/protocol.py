"""What a wire protocol offers to the codec of a service, and the parts that several protocols share."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol, TypeAlias

from lambdad.wire.failures import Failure
from lambdad.wire.http import Request, Response
from lambdad.wire.rest_output import Headers
from lambdad.wire.routing import Match
from lambdad.wire.service_model import Operation

Parser: TypeAlias = Callable[[Request, Match], dict[str, Any]]
Responder: TypeAlias = Callable[[Mapping[str, Any], str], Response]
Body: TypeAlias = bytes | AsyncIterator[bytes]


class WireProtocol(Protocol):
    """One protocol for one service. Parsers and responders are compiled when asked for; the caller keeps them."""

    def parser(self, operation: Operation) -> Parser:
        """Return the function that reads requests of the operation."""

    def responder(self, operation: Operation) -> Responder:
        """Return the function that writes the operation's output."""

    def refuse(self, failure: Failure, request_id: str) -> Response:
        """Write an error."""


BODILESS_STATUSES = frozenset((204, 304))


def without_length(headers: Headers, body: Body) -> Headers:
    """Leave ``Content-Length`` to the server where it can count, and keep the service's where it cannot."""
    if isinstance(body, bytes):
        return [(name, value) for name, value in headers if name.lower() != "content-length"]
    return headers


def finish(status: int, headers: Headers, body: Body, *, is_head: bool) -> Response:
    """Make a response; a HEAD request's, and those of statuses that forbid it, have no body."""
    if is_head:
        return Response(status, headers, b"")
    headers = without_length(headers, body)
    if status in BODILESS_STATUSES:
        return Response(status, [header for header in headers if header[0].lower() != "content-type"], b"")
    return Response(status, headers, body)

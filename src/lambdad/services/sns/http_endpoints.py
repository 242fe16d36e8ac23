"""Posts messages to HTTP endpoints, as a service that only the outbox calls.

Written on asyncio's streams: what is needed is one POST and the status of its answer, and the libraries that do more take longer to
import than the server takes to start.

Where it posts to is a stranger's choice, so: names are resolved here, and the address that was checked is the one that is connected to;
what clouds answer at to programs on a machine is never connected to; certificates are verified; redirects are not followed; of the
answer nothing is kept but the status. How many posts are under way at once is bounded by the outbox.

Source: RFC 9112; SNS Developer Guide, "Sending messages to HTTP/S endpoints".
"""

import asyncio
import base64
import contextlib
import functools
import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from lambdad.services.ports import CallContext, Service
from lambdad.services.sns import errors
from lambdad.services.sns.deliveries import HTTP_SERVICE, POST
from lambdad.services.sns.rules import addresses, endpoints

TIMEOUT_S: Final = 15.0
"""For all of one post: name, connection, request, answer."""

_HEAD_BYTES: Final = 64 * 1024
_DRAINED_BYTES: Final = 64 * 1024  # of an answer's body, so that who sends it is not cut off in the middle
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r\n")
_AGENT: Final = "Amazon Simple Notification Service Agent"


class HttpEndpoints:
    """Posts messages.

    Args:
        timeout_s: see `TIMEOUT_S`.
        trusted: a PEM file of certificate authorities to trust instead of the system's.
        denied: networks to which nothing is posted, as CIDR.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S, trusted: str | None = None, denied: Sequence[str] = ()) -> None:
        self._timeout_s = timeout_s
        self._trusted = trusted
        self._denied = [ipaddress.ip_network(network) for network in denied]

    def service(self) -> Service:
        """Return the operations for the neighbours."""
        return Service(name=HTTP_SERVICE, handlers={POST: self.post})

    async def post(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """
        Post a body to a URL.

        Args:
            request: ``{"Url": "http://...", "Headers": {"x-amz-sns-message-id": "..."}, "Body": b"..."}``.

        Raises:
            DeliveryFailed: the answer was not 2xx, or there was none; its status tells whether another try is worth it.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                status = await self._post(request["Url"], request["Headers"], request["Body"])
        except TimeoutError as error:
            raise errors.DeliveryFailed("HttpTimeout", f"no answer within {self._timeout_s:g} s", 504) from error
        except (OSError, EOFError, ssl.SSLError, asyncio.LimitOverrunError, ValueError) as error:
            raise errors.DeliveryFailed("HttpUnreachable", f"{type(error).__name__}: {error}", 503) from error
        if status >= 300:
            raise _refusal(status)
        return {}

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        if not endpoints.is_url(url):
            raise errors.DeliveryFailed("HttpForbidden", "the endpoint is no URL that can be posted to", 400)
        parts = urlsplit(url)
        assert parts.hostname is not None, "it is a URL"
        is_tls = parts.scheme.lower() == "https"
        port = parts.port or (443 if is_tls else 80)
        reader, writer = await _connect(
            await self._resolve(parts.hostname, port), port, self._tls if is_tls else None, parts.hostname if is_tls else None
        )
        try:
            writer.write(_head(url, headers, len(body)) + body)
            await writer.drain()
            status = await _read_status(reader)
            with contextlib.suppress(OSError, ValueError):
                await _drain(reader)
            return status
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host; none, if one of them is where nothing may be posted."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        candidates = list(dict.fromkeys(str(each[4][0]) for each in found))
        for candidate in candidates:
            if addresses.is_forbidden(candidate, self._denied):
                raise errors.DeliveryFailed("HttpForbidden", f"messages are never posted to {candidate}", 400)
        return candidates

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._trusted)


async def _connect(
    candidates: list[str], port: int, tls: ssl.SSLContext | None, name: str | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first of the addresses that takes a connection."""
    failure: OSError = OSError("the host has no address")
    for candidate in candidates:
        try:
            return await asyncio.open_connection(candidate, port, ssl=tls, server_hostname=name, limit=_HEAD_BYTES)
        except OSError as error:
            failure = error
    raise failure


def _head(url: str, headers: Mapping[str, str], length: int) -> bytes:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}", f"User-Agent: {_AGENT}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Authorization: Basic {base64.b64encode(credentials.encode()).decode()}")
    lines += [f"Content-Length: {length}", "Accept-Encoding: identity", "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode()


async def _read_status(reader: asyncio.StreamReader) -> int:
    """Read the head of the answer, behind those that only say "go on"."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        match = _STATUS.match(head)
        if match is None:
            raise ValueError("the answer is not HTTP")
        if (status := int(match[1])) >= 200:
            return status


async def _drain(reader: asyncio.StreamReader) -> None:
    left = _DRAINED_BYTES
    while left > 0 and (chunk := await reader.read(left)):
        left -= len(chunk)


def _refusal(status: int) -> errors.DeliveryFailed:
    """Say what an answer that is no 2xx means: 5xx and 429 may be better later, 3xx and other 4xx will not."""
    seen = 429 if status == 429 else 503 if status >= 500 else 400
    return errors.DeliveryFailed(f"Http{status}", f"the endpoint answered {status}", seen)

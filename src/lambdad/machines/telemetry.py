"""Telemetry: what an extension may subscribe to, what each of its events looks like, and when a batch of them is due.

Knows the Telemetry API, the older Logs API and bytes; does not know sockets, tasks or clocks.

Source: AWS Lambda developer guide, "Telemetry API", "Telemetry API Event schema reference" and "Logs API".
"""

import datetime
import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import msgspec

MAX_BODY_BYTES = 64 * 1024  # of a subscription; a sensible one has a few hundred
TYPES = ("platform", "function", "extension")
HOSTS = ("sandbox.localdomain", "sandbox")
RESERVED_PORT = 9001
SLOW_CONSUMER = "Some logs were dropped because the downstream consumer is slower than the logs production rate"
# How much a subscriber may be behind: what waits, beside the batch that is being sent.
MOST_WAITING_BATCHES = 2
_URI = re.compile(r"(?P<scheme>[a-z]+)://(?P<host>[^/:?#]*)(?::(?P<port>[0-9]{1,5}))?(?P<path>/[^\s]*)?")
_LOGS_API_KINDS = frozenset(
    (
        "platform.start",
        "platform.end",
        "platform.report",
        "platform.fault",
        "platform.extension",
        "platform.logsSubscription",
        "platform.logsDropped",
        "platform.runtimeDone",
    )
)
_TELEMETRY_API_HAS_NOT = frozenset(("platform.end", "platform.fault"))

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


class Api(StrEnum):
    """Through which of the two APIs an extension has subscribed; the word that error types and log lines begin with."""

    TELEMETRY = "Telemetry"
    LOGS = "Logs"


SCHEMAS = {
    Api.TELEMETRY: ("2022-07-01", "2022-12-13", "2025-01-29"),
    Api.LOGS: ("2020-08-15", "2021-03-18"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """
    What one extension wants to be told.

    Args:
        max_items: 1,000..10,000 events in a batch.
        max_bytes: 262,144..1,048,576 bytes in a batch.
        timeout_s: 0.025..30; how long an event waits for a batch to fill.
        port: 1..65535 on the environment's own address; for TCP and HTTP.
        path: request target; for HTTP only.
    """

    api: Api
    schema: str
    types: tuple[str, ...]
    max_items: int = 10_000
    max_bytes: int = 262_144
    timeout_s: float = 1.0
    protocol: str = "HTTP"
    method: str = "POST"
    host: str = HOSTS[0]
    port: int = 0
    path: str = "/"

    @property
    def structured(self) -> bool:
        """Say whether lines that are JSON objects are sent as objects, where the function's log format is JSON."""
        return self.api is Api.TELEMETRY and self.schema >= "2022-12-13"


class InvalidSubscription(Exception):
    """The request is not one; the text says why, each fault after the other."""


class _Buffering(msgspec.Struct):
    maxItems: int | None = None
    maxBytes: int | None = None
    timeoutMs: int | None = None


class _Destination(msgspec.Struct):
    protocol: str = ""
    URI: str | None = None
    port: int | None = None
    method: str | None = None
    encoding: str | None = None


class _Body(msgspec.Struct):
    schemaVersion: str | None = None
    types: list[str] | None = None
    buffering: _Buffering | None = None
    destination: _Destination | None = None


_body_decoder = msgspec.json.Decoder(_Body)


def parse(api: Api, body: bytes) -> Subscription:
    """
    Read the body of a subscription.

    Raises:
        InvalidSubscription: it is too large, no JSON, or asks for what there is not.
    """
    if len(body) > MAX_BODY_BYTES:
        raise InvalidSubscription("request body is too large")
    try:
        given = _body_decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise InvalidSubscription(f"request body is not valid: {str(error)[:200]}") from error
    faults: list[str] = []
    schema = given.schemaVersion or SCHEMAS[api][0]
    if schema not in SCHEMAS[api]:
        faults.append(f"schemaVersion should be one of {', '.join(SCHEMAS[api])}")
    types = tuple(dict.fromkeys(given.types or ()))
    if not types:
        faults.append("types should not be empty")
    elif not set(types) <= set(TYPES):
        faults.append(f"types should be among {', '.join(TYPES)}")
    buffering = given.buffering or _Buffering()
    max_items = _within(faults, "maxItems", buffering.maxItems, 10_000, 1000, 10_000)
    max_bytes = _within(faults, "maxBytes", buffering.maxBytes, 262_144, 262_144, 1_048_576)
    timeout_ms = _within(faults, "timeoutMs", buffering.timeoutMs, 1000, 25, 30_000)
    destination = given.destination or _Destination()
    protocol, method, host, port, path = _destination(faults, destination)
    if faults:
        raise InvalidSubscription("; ".join(faults))
    return Subscription(
        api=api,
        schema=schema,
        types=types,
        max_items=max_items,
        max_bytes=max_bytes,
        timeout_s=timeout_ms / 1000,
        protocol=protocol,
        method=method,
        host=host,
        port=port,
        path=path,
    )


def _within(faults: list[str], name: str, value: int | None, otherwise: int, least: int, most: int) -> int:
    if value is None:
        return otherwise
    if not least <= value <= most:
        faults.append(f"{name} should be between {least} and {most}")
    return value


def _destination(faults: list[str], given: _Destination) -> tuple[str, str, str, int, str]:
    protocol, method = given.protocol.upper(), (given.method or "POST").upper()
    host, port, path = HOSTS[0], given.port, "/"
    if protocol not in ("HTTP", "TCP"):
        faults.append("destination protocol should be HTTP or TCP")
    if given.encoding not in (None, "", "JSON"):
        faults.append("destination encoding should be JSON")
    if protocol == "HTTP":
        match = _URI.fullmatch(given.URI or "")
        if method not in ("POST", "PUT"):
            faults.append("destination method should be POST or PUT")
        if match is None or match["scheme"] != "http" or match["host"] not in HOSTS or not (match["path"] or "/").isascii():
            faults.append(f"destination URI should be http://{HOSTS[0]}:port/path")
        else:
            host, path = match["host"], match["path"] or "/"
            port = int(match["port"]) if match["port"] else None
            if port is None:
                faults.append("URI port is not provided")
    elif port is None:
        faults.append("destination port is not provided")
    if port is not None and (not 1 <= port <= 65535 or port == RESERVED_PORT):
        faults.append(f"port {port} can not be used")
    return protocol, method, host, port or 0, path


# Events.
def iso(at_ms: int) -> str:
    """Return a time as AWS writes it, e.g. ``2026-01-31T12:00:00.042Z``."""
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"


def platform_item(subscription: Subscription, kind: str, record: Mapping[str, Json] | str, at_ms: int) -> bytes | None:
    """Return one of the platform's events as a subscriber gets it; None where its API has no such event."""
    if "platform" not in subscription.types:
        return None
    if subscription.api is Api.TELEMETRY:
        return None if kind in _TELEMETRY_API_HAS_NOT else _item(kind, record, at_ms)
    if kind not in _LOGS_API_KINDS or (kind == "platform.runtimeDone" and subscription.schema < "2021-03-18"):
        return None
    return _item(kind, _older(kind, record), at_ms)


def _older(kind: str, record: Mapping[str, Json] | str) -> Mapping[str, Json] | str:
    """Return a record with the fields that the Logs API has."""
    wanted = {
        "platform.start": ("requestId", "version"),
        "platform.runtimeDone": ("requestId", "status"),
        "platform.report": ("requestId", "metrics"),
        "platform.extension": ("name", "state", "events"),
    }.get(kind)
    if wanted is None or isinstance(record, str):
        return record
    return {name: record[name] for name in wanted if name in record}


def line_item(kind: str, text: str, at_ms: int, *, as_object: bool) -> bytes:
    """Return a line of the function or of an extension; `as_object` where it is known to be a JSON object."""
    if as_object:
        if "\n" in text:
            text = msgspec.json.format(text, indent=-1)  # one event is one line
        return b'{"time":"%b","type":"%b","record":%b}' % (iso(at_ms).encode(), kind.encode(), text.strip().encode())
    return _item(kind, text, at_ms)


def dropped_record(records: int, size_bytes: int, reason: str = SLOW_CONSUMER) -> dict[str, Json]:
    return {"reason": reason, "droppedRecords": records, "droppedBytes": size_bytes}


def _item(kind: str, record: Mapping[str, Json] | str, at_ms: int) -> bytes:
    body = {"time": iso(at_ms), "type": kind, "record": record}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


class Buffer:
    """
    The events of one subscriber that have not been taken yet.

    Bound: `MOST_WAITING_BATCHES` batches, and what the caller says is too much; what comes beyond is counted and dropped.
    """

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._items: deque[bytes] = deque()
        self._since_s = 0.0  # when the oldest came
        self.size_bytes = 0
        self.dropped_records = 0
        self.dropped_bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: bytes, now_s: float, *, room_bytes: int) -> bool:
        """Take an event, if there is room; `room_bytes` is how much more may be kept for everybody together."""
        most = MOST_WAITING_BATCHES * self._subscription.max_bytes
        full = len(self._items) >= MOST_WAITING_BATCHES * self._subscription.max_items
        if full or len(item) > room_bytes or (self._items and self.size_bytes + len(item) > most):
            self.drop(1, len(item))
            return False
        if not self._items:
            self._since_s = now_s
        self._items.append(item)
        self.size_bytes += len(item)
        return True

    def drop(self, records: int, size_bytes: int) -> None:
        """Count what is lost."""
        self.dropped_records += records
        self.dropped_bytes += size_bytes

    def take_dropped(self) -> tuple[int, int]:
        """Return how many events, and bytes, were lost since this was asked last."""
        lost = self.dropped_records, self.dropped_bytes
        self.dropped_records = self.dropped_bytes = 0
        return lost

    def due_s(self) -> float | None:
        """Return from when on a batch is to be taken; None while there is nothing."""
        if not self._items:
            return None
        if len(self._items) >= self._subscription.max_items or self.size_bytes >= self._subscription.max_bytes:
            return self._since_s
        return self._since_s + self._subscription.timeout_s

    def take(self, now_s: float) -> list[bytes]:
        """Return and forget the oldest events, as many as make a batch; one that is larger than a batch comes alone."""
        batch: list[bytes] = []
        size_bytes = 0
        while self._items and len(batch) < self._subscription.max_items:
            if batch and size_bytes + len(self._items[0]) > self._subscription.max_bytes:
                break
            item = self._items.popleft()
            batch.append(item)
            size_bytes += len(item)
        self.size_bytes -= size_bytes
        self._since_s = now_s
        return batch


def retry_after_s(failures: int) -> float:
    """Return how long to wait after so many failures of one batch, at least one: a tenth of a second, doubled to five."""
    return min(0.1 * float(2 ** (failures - 1)), 5.0)

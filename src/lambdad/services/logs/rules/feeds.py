"""Subscription filters at work: which events of a batch each of them wants, and what its destination is sent.

A message is the JSON text below, compressed and wrapped so that it is an event for a Lambda function:

    {"messageType": "DATA_MESSAGE", "owner": "000000000000", "logGroup": "g", "logStream": "s", "subscriptionFilters": ["f"],
     "logEvents": [{"id": "0307…", "timestamp": 1700000000000, "message": "…", "extractedFields": {"ip": "1.2.3.4"}}]}

    {"awslogs": {"data": "<base64 of the gzipped JSON>"}}

Source: CloudWatch Logs User Guide, "Log group-level subscription filters".
"""

import base64
import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from lambdad.model.limits import ASYNC_PAYLOAD_BYTES
from lambdad.services.logs.rules import batches, patterns

TEXT_BYTES: Final = 1_048_576
"""About as much JSON goes into one message before it is compressed."""

SYSTEM_FIELDS: Final = ("@aws.account", "@aws.region")
"""What ``emitSystemFields`` can ask for here."""

_ENVELOPE_BYTES: Final = 150  # of one event in the JSON text, besides its message
_LEVEL: Final = 6
# AWS's words for streams; what it says to functions is nowhere written down.
_CONTROL_OWNER: Final = "CloudwatchLogs"
_CONTROL_TEXT: Final = "CWL CONTROL MESSAGE: Checking health of destination Lambda function."


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A subscription filter, ready for use."""

    name: str
    pattern: patterns.FilterPattern
    destination_arn: str
    system_fields: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """An event that a filter wants: in which chunk of the batch, at which place in it, and what it says."""

    chunk: int
    place: int
    timestamp_ms: int
    message: str
    fields: dict[str, str]  # what the pattern names


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What one filter wants of a batch; at least one event."""

    feed: Feed
    events: Sequence[Wanted]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Where the events of a batch are from."""

    account: str
    region: str
    group: str
    stream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """Payloads for a function, in the order of the events; and how many events did not fit into any."""

    payloads: Sequence[bytes]
    too_large: int


def match(feeds: Iterable[Feed], pieces: Sequence[Sequence[batches.Event]]) -> list[Match]:
    """
    Find what filters want of a batch.

    Args:
        feeds: the filters of the batch's group.
        pieces: the batch's events as its chunks hold them, see `chunks.cut`.

    Returns:
        A match for each filter that wants something.
    """
    found: list[Match] = []
    for feed in feeds:
        matches, fields = feed.pattern.matches, feed.pattern.fields
        wanted = [
            Wanted(chunk, index, timestamp_ms, message, fields(message))
            for chunk, piece in enumerate(pieces)
            for index, (timestamp_ms, message) in enumerate(piece)
            if matches(message)
        ]
        if wanted:
            found.append(Match(feed=feed, events=wanted))
    return found


def messages(sender: Sender, wanted: Match, ids: Sequence[str]) -> Messages:
    """
    Write what a filter's function is sent.

    Args:
        ids: of the events, as FilterLogEvents shows them.

    Returns:
        As few messages as their size allows; an event that is too large for a message of its own is left out and counted.
    """
    system = {"@aws.account": sender.account, "@aws.region": sender.region}
    emitted = {name: system[name] for name in wanted.feed.system_fields}
    log_events = [_log_event(event, event_id, emitted) for event, event_id in zip(wanted.events, ids, strict=True)]
    payloads: list[bytes] = []
    too_large = 0
    for begin, end in _cut(wanted.events):
        written, lost = _fitting(sender, wanted.feed.name, log_events[begin:end])
        payloads += written
        too_large += lost
    return Messages(payloads=payloads, too_large=too_large)


def control_message(now_ms: int) -> bytes:
    """Write the message by which PutSubscriptionFilter tries whether a destination can be reached."""
    event = {"id": "", "timestamp": now_ms, "message": _CONTROL_TEXT}
    return _payload(
        {
            "messageType": "CONTROL_MESSAGE",
            "owner": _CONTROL_OWNER,
            "logGroup": "",
            "logStream": "",
            "subscriptionFilters": [],
            "logEvents": [event],
        }
    )


def _log_event(event: Wanted, event_id: str, emitted: dict[str, str]) -> dict[str, Any]:
    log_event: dict[str, Any] = {"id": event_id, "timestamp": event.timestamp_ms, "message": _text(event.message)}
    if event.fields or emitted:
        log_event["extractedFields"] = {**{name: _text(value) for name, value in event.fields.items()}, **emitted}
    return log_event


def _text(message: str) -> str:
    """Replace halves of surrogate pairs, as the stored event has them replaced."""
    return message if message.isascii() else message.encode("utf-8", "replace").decode()


def _cut(events: Sequence[Wanted]) -> list[tuple[int, int]]:
    """Cut a row of events where the text of a message is long enough."""
    cuts: list[tuple[int, int]] = []
    begin = size = 0
    for index, event in enumerate(events):
        size += len(event.message) + sum(map(len, event.fields.values())) + _ENVELOPE_BYTES
        if size > TEXT_BYTES and index > begin:
            cuts.append((begin, index))
            begin, size = index, len(event.message) + _ENVELOPE_BYTES
    cuts.append((begin, len(events)))
    return cuts


def _fitting(sender: Sender, name: str, log_events: list[dict[str, Any]]) -> tuple[list[bytes], int]:
    """Write messages that an event of Lambda can hold, halving what is too large."""
    payload = _payload(
        {
            "messageType": "DATA_MESSAGE",
            "owner": sender.account,
            "logGroup": sender.group,
            "logStream": sender.stream,
            "subscriptionFilters": [name],
            "logEvents": log_events,
        }
    )
    if len(payload) <= ASYNC_PAYLOAD_BYTES:
        return [payload], 0
    if len(log_events) == 1:
        return [], 1
    middle = len(log_events) // 2
    first, first_lost = _fitting(sender, name, log_events[:middle])
    second, second_lost = _fitting(sender, name, log_events[middle:])
    return first + second, first_lost + second_lost


def _payload(message: dict[str, Any]) -> bytes:
    data = base64.b64encode(gzip.compress(orjson.dumps(message), _LEVEL, mtime=0))
    return b'{"awslogs":{"data":"' + data + b'"}}'

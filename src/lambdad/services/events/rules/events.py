"""What an event is: read from an entry of PutEvents or made for a schedule, and written as its JSON.

    {"version":"0","id":"6a7e8feb-…","detail-type":"OrderPlaced","source":"shop","account":"000000000000",
     "time":"2026-01-31T12:00:00Z","region":"us-east-1","resources":[],"detail":{"order":1}}

The detail's JSON is passed on as it was written: numbers keep their digits.

Source: EventBridge user guide, "Events", "PutEvents"; API Reference, PutEventsRequestEntry.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from lambdad.services.events.rules import limits, names
from lambdad.services.events.rules.names import RuleKey

_REQUIRED_OF_TESTED: Final = ("id", "account", "source", "time", "region", "resources", "detail-type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event on a bus; `body` is what `text` says, parsed."""

    id: str
    at_ms: int
    received_at_ms: int
    text: str
    body: dict[str, Any]
    trace_id: str = ""
    hops: int = 0  # from bus to bus
    is_replayed: bool = False


@dataclass(frozen=True, slots=True)
class EntryRefused:
    """Why an entry of PutEvents is not taken."""

    code: str
    message: str


def size_bytes(entry: Mapping[str, Any]) -> int:
    """Count an entry as AWS does."""
    texts = [entry.get("Source", ""), entry.get("DetailType", ""), entry.get("Detail", ""), *entry.get("Resources", [])]
    return (limits.ENTRY_TIME_BYTES if "Time" in entry else 0) + sum(len(text.encode()) for text in texts)


def read(
    entry: Mapping[str, Any], account: str, region: str, event_id: str, now_ms: int, *, is_service: bool, trace_id: str = ""
) -> Event | EntryRefused:
    """
    Read an entry of PutEvents.

    Args:
        account, region: where the event comes from, whichever bus it goes to.
        is_service: whether a service of AWS puts it, which may call itself "aws.".
    """
    for name in ("Source", "DetailType", "Detail"):
        if not entry.get(name):
            return EntryRefused("InvalidArgument", f"Parameter {name} is not valid. Reason: {name} is a required argument.")
    if entry["Source"].startswith("aws.") and not is_service:
        return EntryRefused("NotAuthorizedForSourceException", "Not authorized for the source.")
    at: datetime | None = entry.get("Time")
    at_ms = now_ms if at is None else int(at.timestamp()) * 1000
    detail_text = entry["Detail"].strip()
    try:
        detail = orjson.loads(detail_text)
    except orjson.JSONDecodeError:
        return EntryRefused("MalformedDetail", "Detail is malformed.")
    if not isinstance(detail, dict):
        return EntryRefused("MalformedDetail", "Detail is malformed.")
    head = _head(event_id, entry["DetailType"], entry["Source"], account, region, at_ms, entry.get("Resources", []))
    return Event(
        id=event_id,
        at_ms=at_ms,
        received_at_ms=now_ms,
        text=_text(head, detail_text),
        body={**head, "detail": detail},
        trace_id=entry.get("TraceHeader", trace_id),
    )


def scheduled(rule: RuleKey, event_id: str, at_ms: int, now_ms: int) -> Event:
    """Make the event with which a rule's schedule starts its targets."""
    bus = rule.bus
    head = _head(event_id, "Scheduled Event", "aws.events", bus.account, bus.region, at_ms, [names.rule_arn(rule)])
    return Event(id=event_id, at_ms=at_ms, received_at_ms=now_ms, text=_text(head, "{}"), body={**head, "detail": {}})


def replayed(stored: str, replay: str, at_ms: int, now_ms: int) -> Event:
    """Make an event of an archive one that a replay sends again: the same, with the replay's name."""
    body = orjson.loads(stored)
    text = f'{stored[:-1]},"replay-name":{_dumps(replay)}}}'
    return Event(
        id=body["id"],
        at_ms=at_ms,
        received_at_ms=now_ms,
        text=text,
        body={**body, "replay-name": replay},
        is_replayed=True,
    )


def is_complete(event: object) -> bool:
    """Say whether a value has what TestEventPattern asks of an event."""
    return isinstance(event, dict) and all(name in event for name in _REQUIRED_OF_TESTED)


def iso_seconds(at_ms: int) -> str:
    """Write a time as events do, e.g. ``2026-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _head(event_id: str, detail_type: str, source: str, account: str, region: str, at_ms: int, resources: Sequence[str]) -> dict[str, Any]:
    return {
        "version": "0",
        "id": event_id,
        "detail-type": detail_type,
        "source": source,
        "account": account,
        "time": iso_seconds(at_ms),
        "region": region,
        "resources": list(resources),
    }


def _text(head: dict[str, Any], detail_text: str) -> str:
    return f'{_dumps(head)[:-1]},"detail":{detail_text}}}'


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()

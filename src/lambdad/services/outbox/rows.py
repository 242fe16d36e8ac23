"""Deliveries as rows. Every function runs inside a read or a write of the store."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from lambdad.services.outbox.delivery import Delivery, encode
from lambdad.services.outbox.rules.lanes import lane_of
from lambdad.store.connection import Connection, Row
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.outbox", "queries.sql")

LANES_READ_MAX = 256
BYTES_READ_MAX = 16 * 1024 * 1024  # in one look; the lane that passes it is read to its limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A delivery that was read and is not done."""

    id: int
    lane: str
    order_key: str
    added_at_ms: int
    attempts: int
    stored: bytes

    @property
    def size_bytes(self) -> int:
        """What it takes in memory, nearly."""
        return len(self.stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a look may bring.

    Args:
        after: begin with the lane that follows this one.
        room: deliveries in all.
        room_for_failing: of them from lanes that are in `failing`, and come after `failing_after`: so that they take turns.
        wanted: deliveries of each lane that is known; `default` of any other.
        held: ids that were read before and are not done, by lane.
    """

    after: str
    room: int
    room_for_failing: int
    failing_after: str
    wanted: Mapping[str, int]
    default: int
    failing: Set[str]
    held: Mapping[str, Set[int]]


@dataclass(slots=True)
class Found:
    """What one look into the table came to."""

    deliveries: list[Held] = field(default_factory=list)
    partial: set[str] = field(default_factory=set)  # lanes that have more that is due
    next_due_ms: int | None = None  # of what is not due yet in the lanes that were looked into
    after: str = ""  # where the next look goes on; "" after the last lane
    is_cut: bool = False  # there was no room for the lanes that follow `after`
    failing_after: str = ""  # there was no room for lanes that fail after this one; "" if there was
    is_passed: bool = False  # lanes that fail were passed over, since it was not their turn


@dataclass(slots=True)
class Settled:
    """What is to be written of deliveries that were tried."""

    gone: list[tuple[int, str]] = field(default_factory=list)  # id, order_key
    replaced: list[tuple[int, str, Delivery]] = field(default_factory=list)  # id, order_key, the dead letter
    postponed: list[tuple[int, int, int]] = field(default_factory=list)  # id, due_at_ms, attempts


def insert(connection: Connection, deliveries: Sequence[Delivery], now_ms: int) -> None:
    """Add deliveries, in this order."""
    connection.many(
        queries.insert_delivery,
        [
            {"lane": lane_of(each), "order_key": each.order_key, "now_ms": now_ms, "delivery": encode(each)}  #
            for each in deliveries
        ],
    )


def look(connection: Connection, now_ms: int, ask: Ask) -> Found:
    """Read what is due, lane by lane."""
    found = Found()
    lanes = [row.lane for row in connection.all(queries.lanes, after=ask.after, most=LANES_READ_MAX)]
    room, room_for_failing, size_bytes = ask.room, ask.room_for_failing, 0
    for lane in lanes:
        if room <= 0 or size_bytes > BYTES_READ_MAX:
            found.is_cut = True
            return found
        found.after = lane
        most = min(ask.wanted.get(lane, ask.default), room)
        is_failing = lane in ask.failing
        if is_failing:
            if lane <= ask.failing_after or room_for_failing <= 0:
                found.is_passed = True
                continue
            most = min(most, room_for_failing)
        have = ask.held.get(lane, frozenset())
        due = connection.all(queries.due_ids, lane=lane, now_ms=now_ms, most=most + len(have) + 1)
        ids = [row.id for row in due if row.id not in have]
        if len(ids) > most:
            found.partial.add(lane)
            ids = ids[:most]
        if ids:
            taken = [_held(row) for row in connection.all(queries.get_deliveries, ids=json.dumps(ids))]
            found.deliveries += taken
            room -= len(taken)
            if is_failing:
                room_for_failing -= len(taken)
                found.failing_after = lane if room_for_failing <= 0 else ""
            size_bytes += sum(each.size_bytes for each in taken)
        following = connection.one(queries.next_due, lane=lane, now_ms=now_ms)
        if following is not None and following.due_at_ms is not None:
            found.next_due_ms = min(following.due_at_ms, found.next_due_ms or following.due_at_ms)
    if len(lanes) < LANES_READ_MAX:
        found.after = ""
    return found


def _held(row: Row) -> Held:
    return Held(
        id=row.id,
        lane=row.lane,
        order_key=row.order_key,
        added_at_ms=row.added_at_ms,
        attempts=row.attempts,
        stored=row.delivery,
    )


def settle(connection: Connection, settled: Settled, now_ms: int) -> None:
    """Write down what came of deliveries, all in one transaction. Writing it twice changes nothing."""
    connection.many(queries.delete_delivery, [{"id": id_} for id_, _ in settled.gone])
    for id_, _, letter in settled.replaced:
        if connection.run(queries.delete_delivery, id=id_):
            insert(connection, [letter], now_ms)
    ended = [*settled.gone, *((id_, key) for id_, key, _ in settled.replaced)]
    keys = dict.fromkeys(key for _, key in ended if key)
    connection.many(queries.promote_delivery, [{"order_key": key, "now_ms": now_ms} for key in keys])
    connection.many(
        queries.postpone_delivery,
        [{"id": id_, "due_at_ms": due_at_ms, "attempts": attempts} for id_, due_at_ms, attempts in settled.postponed],
    )


def count(connection: Connection) -> int:
    """Say how many deliveries there are."""
    row = connection.one(queries.count_deliveries)
    assert row is not None
    return int(row.deliveries)


def is_due(connection: Connection, now_ms: int) -> bool:
    """Say whether there is any delivery whose time has come."""
    return connection.one(queries.any_due, now_ms=now_ms) is not None

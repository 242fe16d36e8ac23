"""Events as rows. Every function runs inside a read or a write of the store."""

from collections.abc import Sequence

from lambdad.model.function import FunctionKey
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.lambda_.rules.attempts import Event
from lambdad.services.lambda_.rules.endings import Response
from lambdad.store.connection import Connection, Row
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.lambda_", "async_events.sql")


def insert(connection: Connection, event: Event) -> None:
    """Keep an event that is about to be acknowledged."""
    connection.run(
        queries.insert_event,
        request_id=event.request_id,
        account=event.key.account,
        region=event.key.region,
        name=event.key.name,
        qualifier=event.qualifier,
        payload=event.payload,
        trace_id=event.trace_id,
        accepted_at_ms=event.accepted_at_ms,
    )


def due(connection: Connection, now_ms: int, most: int) -> tuple[Sequence[Event], int | None]:
    """Read events whose time has come, and when the next one's comes."""
    events = [_event(row) for row in connection.all(queries.due_events, now_ms=now_ms, most=most)]
    following = connection.one(queries.next_due, now_ms=now_ms)
    return events, following.due_at_ms if following is not None else None


def postpone(connection: Connection, event: Event, due_at_ms: int) -> None:
    """Keep an event as it is now, for later."""
    response = event.response
    connection.run(
        queries.postpone_event,
        request_id=event.request_id,
        due_at_ms=due_at_ms,
        attempts=event.attempts,
        held_back=event.held_back,
        response=response.payload if response is not None else None,
        function_error=response.function_error if response is not None else None,
        executed_version=response.executed_version if response is not None else None,
    )


def delete(connection: Connection, request_id: RequestId) -> bool:
    """Forget an event; False where it was forgotten before."""
    return connection.run(queries.delete_event, request_id=request_id) == 1


def count(connection: Connection) -> int:
    """Say how many events wait or run."""
    row = connection.one(queries.count_events)
    assert row is not None
    return int(row.events)


def _event(row: Row) -> Event:
    response = None
    if row.executed_version is not None:
        response = Response(payload=row.response or b"", function_error=row.function_error or "", executed_version=row.executed_version)
    return Event(
        request_id=RequestId(row.request_id),
        key=FunctionKey(AccountId(row.account), Region(row.region), row.name),
        qualifier=row.qualifier,
        payload=row.payload,
        trace_id=row.trace_id,
        accepted_at_ms=row.accepted_at_ms,
        attempts=row.attempts,
        held_back=row.held_back,
        response=response,
    )

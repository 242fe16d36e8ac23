"""PutEvents: events from applications and from other services."""

from collections.abc import Callable
from typing import Any

from lambdad.kit.clock import NowMs
from lambdad.services.events import errors
from lambdad.services.events.dispatch import Dispatcher
from lambdad.services.events.rules import events, limits, names
from lambdad.services.events.rules.events import EntryRefused, Event
from lambdad.services.events.rules.names import BusKey
from lambdad.services.ports import CallContext


class PutEvents:
    """The operation; what it answers with an id is durable, as far as anybody wants it."""

    def __init__(self, dispatcher: Dispatcher, now_ms: NowMs, new_id: Callable[[], str]) -> None:
        self._dispatcher = dispatcher
        self._now_ms = now_ms
        self._new_id = new_id

    async def put_events(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Put events on buses; entries that cannot be taken are told in the answer.

        Raises:
            InvalidValue: the entries are too large together, or an endpoint is named.
        """
        if "EndpointId" in request:
            raise errors.InvalidValue("Parameter EndpointId is not valid. Reason: lambdad has no global endpoints.")
        if sum(map(events.size_bytes, request["Entries"])) > limits.REQUEST_BYTES:
            raise errors.InvalidValue("Total size of the entries in the request is over the limit.")
        now_ms = self._now_ms()
        taken: list[tuple[BusKey, Event]] = []
        answers: list[dict[str, Any]] = []
        for entry in request["Entries"]:
            bus = names.bus_key(ctx.account, ctx.region, entry.get("EventBusName"))
            is_service = ctx.origin is not None and bool(ctx.origin.principal)
            event = events.read(entry, ctx.account, ctx.region, self._new_id(), now_ms, is_service=is_service, trace_id=ctx.trace_id)
            if isinstance(event, EntryRefused):
                answers.append({"ErrorCode": event.code, "ErrorMessage": event.message})
            else:
                taken.append((bus, event))
                answers.append({"EventId": event.id})
        await self._dispatcher.accept(taken)
        return {"FailedEntryCount": len(answers) - len(taken), "Entries": answers}

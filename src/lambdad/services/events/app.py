"""The service: its parts put together, its operations by name, and what it does by itself."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn

from lambdad.kit.clock import NowMs
from lambdad.services.events.archives import Archives
from lambdad.services.events.buses import Buses
from lambdad.services.events.dispatch import Dispatcher
from lambdad.services.events.event_rules import EventRules
from lambdad.services.events.put_events import PutEvents
from lambdad.services.events.registry import Registry
from lambdad.services.events.replays import Replays
from lambdad.services.events.rule_schedules import RuleSchedules
from lambdad.services.events.rule_targets import RuleTargets
from lambdad.services.events.tags import Tags
from lambdad.services.outbox import Outbox
from lambdad.services.ports import Service
from lambdad.services.timetable import Timetable
from lambdad.store.database import Database
from lambdad.store.errors import StoreError
from lambdad.store.migrations import Migrations, load_migrations

_log = logging.getLogger(__name__)

EXPIRE_INTERVAL_S: Final = 900.0


def migrations() -> Migrations:
    """Return the schema that the service needs in its database."""
    return load_migrations("lambdad.services.events")


class EventsService:
    """
    EventBridge.

    Args:
        database: opened with `migrations` and those of the outbox.
        new_id: makes ids of events, UUIDs.
        spawn: runs a change to its end, whatever becomes of who asked for it.

    `load` once before the first call, then keep `run` running.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        now_ms: NowMs,
        *,
        new_id: Callable[[], str],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._now_ms = now_ms
        self._registry = Registry(database, spawn)
        dispatcher = Dispatcher(self._registry, database, outbox, now_ms)
        self.schedules = RuleSchedules(self._registry, dispatcher, database, outbox, now_ms, new_id)
        self._timetable = Timetable("rules", self.schedules.step, now_ms)
        self._buses = Buses(self._registry, now_ms)
        self._rules = EventRules(self._registry, self._timetable, now_ms)
        self._targets = RuleTargets(self._registry)
        self._put_events = PutEvents(dispatcher, now_ms, new_id)
        self.archives = Archives(self._registry, database, now_ms)
        self.replays = Replays(self._registry, dispatcher, database, outbox, now_ms)
        self._tags = Tags(self._registry, now_ms)

    async def load(self) -> None:
        """Read buses, rules and archives into memory."""
        await self._registry.load()

    def service(self) -> Service:
        """Return the operations for the server."""
        return Service(
            name="events",
            handlers={
                **self._buses.handlers(),
                **self._rules.handlers(),
                **self._targets.handlers(),
                "PutEvents": self._put_events.put_events,
                **self.archives.handlers(),
                **self.replays.handlers(),
                **self._tags.handlers(),
            },
        )

    async def run(self) -> None:
        """Start rules by the clock, carry replays on and remove what archives do not keep, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._timetable.run())
            tasks.create_task(self.replays.timetable.run())
            tasks.create_task(self._expire())

    async def _expire(self) -> NoReturn:
        while True:
            try:
                await self.archives.expire(self._now_ms())
            except StoreError:
                _log.exception("events.expire.failed")
            await asyncio.sleep(EXPIRE_INTERVAL_S)

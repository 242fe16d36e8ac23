"""The service: its parts put together, its operations by name, and what it does by itself."""

import functools
from collections.abc import Callable
from typing import NoReturn

from lambdad.kit.clock import NowMs
from lambdad.services.outbox import Outbox
from lambdad.services.ports import Service
from lambdad.services.scheduler.groups import Groups
from lambdad.services.scheduler.schedules import Schedules
from lambdad.services.scheduler.starts import Starts
from lambdad.services.timetable import Timetable
from lambdad.store.database import Database
from lambdad.store.migrations import Migrations, load_migrations
from lambdad.wire import service_model

MODELS_MAX = 32


def migrations() -> Migrations:
    """Return the schema that the service needs in its database."""
    return load_migrations("lambdad.services.scheduler")


class SchedulerService:
    """
    EventBridge Scheduler.

    Args:
        database: opened with `migrations` and those of the outbox.
        new_id: makes ids of executions.
        draw: gives random numbers 0.0..1.0, for places in flexible windows.

    `run` is to be kept running.
    """

    def __init__(self, database: Database, outbox: Outbox, now_ms: NowMs, *, new_id: Callable[[], str], draw: Callable[[], float]) -> None:
        model_of = functools.lru_cache(maxsize=MODELS_MAX)(service_model.read)
        self._timetable = Timetable("schedules", self.step, now_ms)
        self._groups = Groups(database, self._timetable, now_ms)
        self._schedules = Schedules(database, self._timetable, now_ms, draw=draw, model_of=model_of)
        self._starts = Starts(database, outbox, new_id=new_id, draw=draw, model_of=model_of)

    def service(self) -> Service:
        """Return the operations for the server."""
        return Service(name="scheduler", handlers={**self._schedules.handlers(), **self._groups.handlers()})

    async def step(self, now_ms: int) -> int | None:
        """Start what is due and remove what is left of deleted groups; returns when there is something to do next."""
        await self._groups.remove_deleted()
        return await self._starts.step(now_ms)

    async def run(self) -> NoReturn:
        """Start targets when their times have come, until cancelled."""
        await self._timetable.run()

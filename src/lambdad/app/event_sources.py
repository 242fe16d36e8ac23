"""Event source mappings and their pollers: made, run and drained together."""

import random

from lambdad.pollers.fleet import Fleet
from lambdad.services.lambda_.event_source_mappings import EventSourceMappings
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.invoke import Invoker
from lambdad.services.lambda_.polling import Polling
from lambdad.services.lambda_.registry import Registry, Spawn
from lambdad.services.ports import Neighbours
from lambdad.store.database import Database


class EventSources:
    """
    What fetches events for functions.

    `open` when the services that it calls are there, `run` is to be kept running. Before its task is cancelled, `leave` and then
    `close` let what runs come to its end.
    """

    def __init__(
        self, database: Database, registry: Registry, invoker: Invoker, neighbours: Neighbours, world: World, spawn: Spawn
    ) -> None:
        self._fleet = Fleet(random.random)
        polling = Polling(registry, invoker, neighbours, self._fleet, world.new_uuid)
        registry.on_change(polling)
        self.mappings = EventSourceMappings(database, registry, polling, world, spawn)

    async def open(self) -> None:
        """Read the mappings, and begin where they stand."""
        await self.mappings.load()

    async def run(self) -> None:
        """Poll, until cancelled."""
        await self._fleet.run()

    def leave(self, within_s: float) -> None:
        """Receive nothing more: the server is about to stop. What runs may take `within_s` from now."""
        self._fleet.begin_to_close(within_s)

    async def close(self) -> None:
        """Wait for what runs, for as long as `leave` has said."""
        await self._fleet.close()

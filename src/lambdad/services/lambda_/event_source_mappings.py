"""Event source mappings: create, read, update, delete, list. The mappings are rows, and all of them are in memory.

A change is written, acknowledged with the state it leads through, and then carried out: the poller is started or stopped, and the state
that this comes to is written. After a crash in between that is done at the next start.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import msgspec

from lambdad.model import limits
from lambdad.pollers.ports import SourceFailed
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.registry import Registry, Spawn
from lambdad.services.lambda_.rules import event_source_mappings as rules
from lambdad.services.lambda_.rules import names, paging
from lambdad.services.lambda_.rules.event_source_mappings import EventSourceMapping
from lambdad.services.lambda_.sqs_queues import QueueRefused
from lambdad.services.ports import CallContext, Handler
from lambdad.store import queries
from lambdad.store.database import Connection, Database
from lambdad.store.errors import StoreError

log = logging.getLogger("lambdad.lambda.mappings")

Output = dict[str, Any]

SETTLE_RETRY_S = 5.0


class Queue(Protocol):
    """The queue of a mapping."""

    async def visibility_timeout_s(self) -> int: ...


class Pollers(Protocol):
    """Works mappings off."""

    def queue(self, mapping: EventSourceMapping) -> Queue: ...

    def start(self, mapping: EventSourceMapping) -> None: ...

    async def stop(self, uuid: str) -> None: ...

    def problem(self, uuid: str) -> str: ...


class EventSourceMappings:
    """The operations on event source mappings. Call `load` once before anything else."""

    def __init__(self, database: Database, registry: Registry, pollers: Pollers, world: World, spawn: Spawn) -> None:
        self._database = database
        self._registry = registry
        self._pollers = pollers
        self._world = world
        self._spawn = spawn
        self._queries = queries.load_queries("lambdad.services.lambda_", "event_source_mappings.sql")
        self._mappings: dict[str, EventSourceMapping] = {}
        self._changing = asyncio.Lock()  # one change at a time: whether two mappings are alike depends on all

    def handlers(self) -> Mapping[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "CreateEventSourceMapping": self.create_event_source_mapping,
            "GetEventSourceMapping": self.get_event_source_mapping,
            "ListEventSourceMappings": self.list_event_source_mappings,
            "UpdateEventSourceMapping": self.update_event_source_mapping,
            "DeleteEventSourceMapping": self.delete_event_source_mapping,
        }

    async def load(self) -> None:
        """Read all mappings, and go on with each where it stands."""
        rows = await self._database.read(lambda connection: connection.all(self._queries.all_mappings))
        for row in rows:
            mapping = msgspec.json.decode(row["configuration"], type=EventSourceMapping)
            self._mappings[mapping.uuid] = mapping
            if mapping.state not in rules.SETTLED:
                self._spawn(self._settle(mapping))
            elif mapping.is_enabled:
                self._pollers.start(mapping)

    # --- the operations

    async def create_event_source_mapping(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Have a queue worked off by a function."""
        name = names.named(context.account, context.region, request["FunctionName"])
        kept = rules.kept_qualifier(name.qualifier, request["FunctionName"])
        mapping = rules.create(
            request, self._world.new_uuid(), context.account, context.region, (name.key.name, kept), self._world.now_ms()
        )
        await self._check_queue(mapping, self._function_timeout_s(name))

        def decide() -> EventSourceMapping:
            self._require_unlike_others(mapping)
            return mapping

        return rules.shown(await self._change(mapping.uuid, decide))

    async def get_event_source_mapping(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show a mapping."""
        mapping = self._existing(context, request["UUID"])
        return rules.shown(mapping, self._pollers.problem(mapping.uuid))

    async def list_event_source_mappings(self, context: CallContext, request: dict[str, Any]) -> Output:
        """List mappings: all, of a queue, of a function as it is qualified."""
        wanted = None
        if request.get("FunctionName"):
            name = names.named(context.account, context.region, request["FunctionName"])
            wanted = (name.key, rules.kept_qualifier(name.qualifier, request["FunctionName"]))
        listed = [
            mapping
            for uuid, mapping in sorted(self._mappings.items())
            if (mapping.account, mapping.region) == (context.account, context.region)
            and request.get("EventSourceArn", mapping.queue_arn) == mapping.queue_arn
            and wanted in (None, (mapping.function_key, mapping.qualifier))
        ]
        shown, next_marker = paging.page(
            listed, lambda mapping: mapping.uuid, request.get("Marker"), request.get("MaxItems"), limits.MAPPING_PAGE_ITEMS
        )
        output: Output = {"EventSourceMappings": [rules.shown(mapping, self._pollers.problem(mapping.uuid)) for mapping in shown]}
        if next_marker is not None:
            output["NextMarker"] = next_marker
        return output

    async def update_event_source_mapping(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Change how a queue is worked off, by which function, and whether it is at all."""
        uuid = request["UUID"]
        mapping = self._existing(context, uuid)
        function = None
        if request.get("FunctionName"):
            name = names.named(context.account, context.region, request["FunctionName"])
            function = (name.key.name, rules.kept_qualifier(name.qualifier, request["FunctionName"]))
            changed = rules.update(mapping, request, function, self._world.now_ms())
            await self._check_queue(changed, self._function_timeout_s(name))

        def decide() -> EventSourceMapping:
            changed = rules.update(self._existing(context, uuid), request, function, self._world.now_ms())
            self._require_unlike_others(changed)
            return changed

        return rules.shown(await self._change(uuid, decide))

    async def delete_event_source_mapping(self, context: CallContext, request: dict[str, Any]) -> Output:
        """End a mapping; it is gone when its last invocation has ended."""
        uuid = request["UUID"]
        return rules.shown(await self._change(uuid, lambda: rules.delete(self._existing(context, uuid), self._world.now_ms())))

    # --- for the operations on tags

    def tags_of(self, context: CallContext, resource: str) -> Mapping[str, str]:
        """Give the tags of the mapping with an ARN; raises ResourceNotFound."""
        return self._by_arn(context, resource).tags

    async def change_tags(self, context: CallContext, resource: str, decide: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
        """Change the tags of the mapping with an ARN, and nothing else of it; raises ResourceNotFound, and what `decide` raises."""
        uuid = self._by_arn(context, resource).uuid

        def change() -> EventSourceMapping:
            mapping = self._by_arn(context, resource)
            return replace(mapping, tags=decide(mapping.tags))

        await self._change(uuid, change)

    # --- inside

    def _existing(self, context: CallContext, uuid: str) -> EventSourceMapping:
        mapping = self._mappings.get(uuid)
        if mapping is None or (mapping.account, mapping.region) != (context.account, context.region):
            raise errors.ResourceNotFound("The resource you requested does not exist.")
        return mapping

    def _by_arn(self, context: CallContext, resource: str) -> EventSourceMapping:
        mapping = self._mappings.get(resource.rpartition(":")[2])
        if mapping is None or mapping.arn != resource or mapping.account != context.account:
            raise errors.ResourceNotFound(f"Event source mapping not found: {resource}")
        return mapping

    def _function_timeout_s(self, name: names.Named) -> int:
        try:
            return names.version_of(name, self._registry.find(name.key)).timeout_s
        except errors.ResourceNotFound:
            raise errors.InvalidParameterValue("Function does not exist") from None

    async def _check_queue(self, mapping: EventSourceMapping, function_timeout_s: int) -> None:
        try:
            visibility_timeout_s = await self._pollers.queue(mapping).visibility_timeout_s()
        except QueueRefused as refused:
            if refused.code in ("AccessDenied", "AccessDeniedException"):
                text = "The provided execution role does not have permissions to call ReceiveMessage on SQS"
                raise errors.InvalidParameterValue(text) from refused
            raise errors.InvalidParameterValue(str(refused)) from refused
        except SourceFailed as refused:
            raise errors.InvalidParameterValue(str(refused)) from refused
        rules.require_time(visibility_timeout_s, function_timeout_s)

    def _require_unlike_others(self, mapping: EventSourceMapping) -> None:
        for other in self._mappings.values():
            if other.uuid != mapping.uuid and rules.are_alike(mapping, other):
                raise rules.conflict(other)

    async def _change(self, uuid: str, decide: Callable[[], EventSourceMapping]) -> EventSourceMapping:
        """
        Decide, write durably, install, and have it carried out.

        Cancellation: a change that has begun is finished whether its caller still waits or not.
        """
        done: asyncio.Future[EventSourceMapping] = asyncio.get_running_loop().create_future()
        self._spawn(self._carry_out(uuid, decide, done))
        return await done

    async def _carry_out(self, uuid: str, decide: Callable[[], EventSourceMapping], done: asyncio.Future[EventSourceMapping]) -> None:
        try:
            async with self._changing:
                mapping = decide()
                await self._write(mapping)
        except asyncio.CancelledError:
            done.cancel()
            raise
        except Exception as error:  # handed to the caller, who raises it; logged only where nobody is left to
            if done.done():
                log.warning("mapping.change.failed uuid=%s error=%r", uuid, error)
            else:
                done.set_exception(error)
            return
        if not done.done():
            done.set_result(mapping)
        await self._settle(mapping)

    async def _write(self, mapping: EventSourceMapping) -> None:
        text = msgspec.json.encode(mapping).decode()
        await self._database.write(lambda connection: self._put(connection, mapping.uuid, text))
        self._mappings[mapping.uuid] = mapping

    def _put(self, connection: Connection, uuid: str, text: str) -> None:
        connection.run(self._queries.put_mapping, uuid=uuid, configuration=text)

    async def _settle(self, mapping: EventSourceMapping) -> None:
        """Do what a mapping's state stands for, and write down that it is done; a newer change of it does so for itself."""
        while self._mappings.get(mapping.uuid) is mapping and mapping.state not in rules.SETTLED:
            if mapping.is_enabled:
                self._pollers.start(mapping)
            else:
                await self._pollers.stop(mapping.uuid)
            try:
                async with self._changing:
                    if self._mappings.get(mapping.uuid) is not mapping:
                        return
                    if mapping.state is rules.State.DELETING:
                        await self._database.write(lambda connection: connection.run(self._queries.delete_mapping, uuid=mapping.uuid))
                        del self._mappings[mapping.uuid]
                    else:
                        await self._write(rules.settled(mapping))
                return
            except StoreError:
                # Safe to go on: the row has the state that leads here, and the next round or the next start does it again.
                log.exception("mapping.settle.failed uuid=%s", mapping.uuid)
            await asyncio.sleep(SETTLE_RETRY_S)

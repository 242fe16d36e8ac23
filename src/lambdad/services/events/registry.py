"""All buses, rules and archives in memory, compiled: what an event is matched against without asking the database.

A change is decided on what is in memory, written, and installed when the write is durable; one after the other. Memory therefore never
shows what is not on the disk.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import orjson

from lambdad.machines import event_patterns, schedules
from lambdad.machines.event_patterns import Pattern
from lambdad.model.ids import AccountId, Region
from lambdad.services.events import errors
from lambdad.services.events.rules import names
from lambdad.services.events.rules.names import BusKey, RuleKey
from lambdad.store import queries
from lambdad.store.database import Connection, Database, Row

log = logging.getLogger("lambdad.events")
sql = queries.load_queries("lambdad.services.events", "queries.sql")

Result = TypeVar("Result")
Json = Mapping[str, Any]
Spawn = Callable[[Coroutine[Any, Any, None]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    A rule.

    Args:
        definition: members of PutRule, and ``Targets`` (id → target) and ``Tags`` (key → value).
        anchor_ms: from which a rate counts.
    """

    key: RuleKey
    definition: Json
    anchor_ms: int
    pattern: Pattern | None = None
    schedule: schedules.Rate | schedules.Cron | None = None

    @property
    def is_enabled(self) -> bool:
        return bool(self.definition["State"] != "DISABLED")

    @property
    def targets(self) -> Mapping[str, Json]:
        found: Mapping[str, Json] = self.definition["Targets"]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An archive of the events of a bus."""

    id: int
    account: AccountId
    region: Region
    name: str
    bus: BusKey
    settings: Json
    created_at_ms: int
    pattern: Pattern | None = None


@dataclass(slots=True, kw_only=True)
class Bus:
    """A bus with everything on it; only the registry changes it. `created_at_ms` is 0 for a default bus that nobody has touched."""

    key: BusKey
    settings: Json = field(default_factory=dict)
    created_at_ms: int = 0
    modified_at_ms: int = 0
    rules: dict[str, Rule] = field(default_factory=dict)
    archives: dict[str, Archive] = field(default_factory=dict)


def compiled(key: RuleKey, definition: Json, anchor_ms: int) -> Rule:
    """
    Make a rule of its definition.

    Raises:
        InvalidPattern, InvalidValue: its pattern or its schedule cannot be used.
    """
    schedule = None
    if expression := definition.get("ScheduleExpression"):
        try:
            schedule = schedules.parse_of_rule(expression)
        except schedules.InvalidExpression:
            raise errors.InvalidValue("Parameter ScheduleExpression is not valid.") from None
    return Rule(key=key, definition=definition, anchor_ms=anchor_ms, pattern=compiled_pattern(definition), schedule=schedule)


def compiled_pattern(definition: Json) -> Pattern | None:
    """
    Compile the ``EventPattern`` of a rule or an archive, if there is one.

    Raises:
        InvalidPattern: it breaks the grammar.
    """
    text = definition.get("EventPattern")
    if not text:
        return None
    try:
        return event_patterns.compile(text)
    except event_patterns.InvalidPattern as error:
        raise errors.InvalidPattern(error.message) from None


class Registry:
    """
    Buses by their keys. `load` once; what writes is called inside `change` only.

    Args:
        spawn: runs a change to its end.
    """

    def __init__(self, database: Database, spawn: Spawn) -> None:
        self._database = database
        self._spawn = spawn
        self._buses: dict[BusKey, Bus] = {}
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Read everything from the database."""
        buses, rules, archives = await self._database.read(
            lambda connection: (connection.all(sql.all_buses), connection.all(sql.all_rules), connection.all(sql.all_archives))
        )
        for row in buses:
            key = BusKey(AccountId(row.account), Region(row.region), row.name)
            self._buses[key] = Bus(
                key=key,
                settings=orjson.loads(row.settings),
                created_at_ms=row.created_at_ms,
                modified_at_ms=row.modified_at_ms,
            )
        for row in rules:
            bus = self._at(BusKey(AccountId(row.account), Region(row.region), row.bus))
            bus.rules[row.name] = _compiled_stored(RuleKey(bus.key, row.name), orjson.loads(row.definition), row.anchor_ms)
        for row in archives:
            self._install_archive(_archive(row))

    async def change(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """
        Let a change read memory, write and install, with no other change in between.

        Cancellation: a change that has begun is finished whether its caller still waits or not.

        Raises:
            What the work raises.
        """
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._spawn(self._carry_out(work, done))
        return await done

    async def _carry_out(self, work: Callable[[], Awaitable[Result]], done: "asyncio.Future[Result]") -> None:
        try:
            async with self._lock:
                answer = await work()
        except asyncio.CancelledError:
            done.cancel()
            raise
        except Exception as error:  # handed to the caller, who raises it; logged only where nobody is left to
            if done.done():
                log.warning("events.change.failed error=%r", error)
            else:
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(answer)

    def find(self, key: BusKey) -> Bus | None:
        """Return a bus; a default bus is always there."""
        found = self._buses.get(key)
        return Bus(key=key) if found is None and key.name == names.DEFAULT else found

    def bus(self, key: BusKey) -> Bus:
        """
        Return a bus.

        Raises:
            BusMissing: there is none.
        """
        found = self.find(key)
        if found is None:
            raise errors.BusMissing(key.name)
        return found

    def rule(self, key: RuleKey) -> Rule:
        """
        Return a rule.

        Raises:
            BusMissing, RuleMissing: there is none.
        """
        found = self.bus(key.bus).rules.get(key.name)
        if found is None:
            raise errors.RuleMissing(key.name, key.bus.name)
        return found

    def archive(self, account: AccountId, region: Region, name: str) -> Archive:
        """
        Return an archive.

        Raises:
            ArchiveMissing: there is none.
        """
        found = next((archive for archive in self.archives(account, region) if archive.name == name), None)
        if found is None:
            raise errors.ArchiveMissing(name)
        return found

    def buses(self, account: AccountId, region: Region) -> list[Bus]:
        """Return the buses of an account in a region in order of names, the default bus among them."""
        found = [bus for key, bus in self._buses.items() if key.account == account and key.region == region]
        if not any(bus.key.name == names.DEFAULT for bus in found):
            found.append(Bus(key=BusKey(account, region, names.DEFAULT)))
        return sorted(found, key=lambda bus: bus.key.name)

    def archives(self, account: AccountId, region: Region) -> list[Archive]:
        """Return the archives of an account in a region in order of names."""
        found = [archive for archive in self.all_archives() if archive.account == account and archive.region == region]
        return sorted(found, key=lambda archive: archive.name)

    def all_archives(self) -> Iterator[Archive]:
        """Return all archives."""
        for bus in self._buses.values():
            yield from bus.archives.values()

    async def put_bus(self, key: BusKey, settings: Json, now_ms: int) -> None:
        """Write a bus's settings; inside `change`."""
        known = self._buses.get(key)
        created_at_ms = known.created_at_ms if known is not None and known.created_at_ms else now_ms
        await self._write(
            lambda connection: connection.run(
                sql.put_bus,
                **_of(key),
                name=key.name,
                settings=_dumps(settings),
                created_at_ms=created_at_ms,
                modified_at_ms=now_ms,
            )
        )
        bus = self._at(key)
        bus.settings, bus.created_at_ms, bus.modified_at_ms = settings, created_at_ms, now_ms

    async def delete_bus(self, key: BusKey) -> None:
        """Remove a bus; inside `change`."""
        await self._write(lambda connection: connection.run(sql.delete_bus, **_of(key), name=key.name))
        self._buses.pop(key, None)

    async def put_rule(self, rule: Rule, next_at_ms: int | None) -> None:
        """Write a rule with its next time; inside `change`."""
        await self._write(
            lambda connection: connection.run(
                sql.put_rule,
                **_of(rule.key.bus),
                bus=rule.key.bus.name,
                name=rule.key.name,
                definition=_dumps(rule.definition),
                anchor_ms=rule.anchor_ms,
                next_at_ms=next_at_ms,
            )
        )
        self._at(rule.key.bus).rules[rule.key.name] = rule

    async def put_definition(self, rule: Rule, changes: Json) -> None:
        """Change targets or tags of a rule; inside `change`."""
        changed = replace(rule, definition={**rule.definition, **changes})
        await self._write(
            lambda connection: connection.run(
                sql.put_definition,
                **_of(rule.key.bus),
                bus=rule.key.bus.name,
                name=rule.key.name,
                definition=_dumps(changed.definition),
            )
        )
        self._at(rule.key.bus).rules[rule.key.name] = changed

    async def delete_rule(self, key: RuleKey) -> None:
        """Remove a rule; inside `change`."""
        await self._write(lambda connection: connection.run(sql.delete_rule, **_of(key.bus), bus=key.bus.name, name=key.name))
        self._at(key.bus).rules.pop(key.name, None)

    async def add_archive(self, bus: BusKey, name: str, settings: Json, pattern: Pattern | None, now_ms: int) -> Archive:
        """Make an archive; inside `change`."""

        def insert(connection: Connection) -> int:
            row = connection.one(sql.insert_archive, **_of(bus), name=name, bus=bus.name, settings=_dumps(settings), created_at_ms=now_ms)
            assert row is not None
            return int(row.id)

        number = await self._write(insert)
        archive = Archive(
            id=number,
            account=bus.account,
            region=bus.region,
            name=name,
            bus=bus,
            settings=settings,
            created_at_ms=now_ms,
            pattern=pattern,
        )
        self._install_archive(archive)
        return archive

    async def set_archive(self, archive: Archive, settings: Json, pattern: Pattern | None) -> Archive:
        """Change an archive; inside `change`."""
        await self._write(lambda connection: connection.run(sql.set_archive, id=archive.id, settings=_dumps(settings)))
        changed = replace(archive, settings=settings, pattern=pattern)
        self._install_archive(changed)
        return changed

    async def delete_archive(self, archive: Archive) -> None:
        """Remove an archive; inside `change`."""

        def delete(connection: Connection) -> None:
            connection.run(sql.delete_archive, id=archive.id)
            connection.run(sql.insert_discard, archive_id=archive.id)

        await self._write(delete)
        self._at(archive.bus).archives.pop(archive.name, None)

    def _at(self, key: BusKey) -> Bus:
        return self._buses.setdefault(key, Bus(key=key))

    def _install_archive(self, archive: Archive) -> None:
        self._at(archive.bus).archives[archive.name] = archive

    async def _write(self, work: Callable[[Connection], Result]) -> Result:
        assert self._lock.locked()
        return await self._database.write(work)


def _compiled_stored(key: RuleKey, definition: Json, anchor_ms: int) -> Rule:
    """Make a rule of a row; one that this version does not understand starts nothing, but can be shown and replaced."""
    try:
        return compiled(key, definition, anchor_ms)
    except (errors.InvalidPattern, errors.InvalidValue):
        log.exception("events.rule.unreadable rule=%s", names.rule_arn(key))
        return Rule(key=key, definition=definition, anchor_ms=anchor_ms)


def _archive(row: Row) -> Archive:
    account, region, settings = AccountId(row.account), Region(row.region), orjson.loads(row.settings)
    return Archive(
        id=row.id,
        account=account,
        region=region,
        name=row.name,
        bus=BusKey(account, region, row.bus),
        settings=settings,
        created_at_ms=row.created_at_ms,
        pattern=compiled_pattern(settings),
    )


def _of(key: BusKey) -> dict[str, str]:
    return {"account": key.account, "region": key.region}


def _dumps(value: Json) -> str:
    return orjson.dumps(value).decode()

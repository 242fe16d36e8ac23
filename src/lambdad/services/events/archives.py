"""Archives: events of a bus that are kept, to be replayed."""

from datetime import UTC, datetime
from typing import Any, Final

from lambdad.kit.clock import NowMs
from lambdad.services.events import errors, registry
from lambdad.services.events.registry import Archive, Registry, sql
from lambdad.services.events.rules import limits, names
from lambdad.services.ports import CallContext, Handler
from lambdad.store.database import Connection, Database

DAY_MS: Final = 86_400_000
_SETTINGS: Final[tuple[str, ...]] = ("Description", "EventPattern", "RetentionDays")
_BATCH: Final = 500


class Archives:
    """The operations on archives, and the removal of what they no longer keep."""

    def __init__(self, rules: Registry, database: Database, now_ms: NowMs) -> None:
        self._registry = rules
        self._database = database
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        """Return the operations by AWS's names."""
        return {
            "CreateArchive": self.create_archive,
            "DescribeArchive": self.describe_archive,
            "ListArchives": self.list_archives,
            "UpdateArchive": self.update_archive,
            "DeleteArchive": self.delete_archive,
        }

    async def create_archive(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Begin to keep the events of a bus.

        Raises:
            ArchiveExists, BusMissing, InvalidPattern, InvalidValue, LimitExceeded.
        """
        name, source = request["ArchiveName"], names.with_tags(request["EventSourceArn"])
        settings = _settings(request)
        pattern = registry.compiled_pattern(settings)

        async def create() -> Archive:
            known = self._registry.archives(ctx.account, ctx.region)
            if any(archive.name == name for archive in known):
                raise errors.ArchiveExists(name)
            if not isinstance(source, names.BusKey) or (source.account, source.region) != (ctx.account, ctx.region):
                raise errors.InvalidValue("Parameter EventSourceArn is not valid. Reason: Must contain an event bus ARN.")
            self._registry.bus(source)
            if len(known) >= limits.ARCHIVES:
                raise errors.LimitExceeded
            return await self._registry.add_archive(source, name, settings, pattern, self._now_ms())

        return _short(await self._registry.change(create))

    async def describe_archive(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show an archive.

        Raises:
            ArchiveMissing.
        """
        archive = self._registry.archive(ctx.account, ctx.region, request["ArchiveName"])
        shown = {name: archive.settings[name] for name in _SETTINGS if name in archive.settings}
        return {**shown, **await self._to_api(archive), "ArchiveArn": _arn(archive)}

    async def list_archives(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show archives in order of names, all or those of a bus, a prefix or a state.

        Raises:
            InvalidValue: several of these are asked for, or the token is none of ours.
        """
        if sum(name in request for name in ("NamePrefix", "EventSourceArn", "State")) > 1:
            raise errors.InvalidValue("At most one filter is allowed for ListArchives. Use either : State, EventSourceArn, or NamePrefix.")
        after, prefix = names.parse_token(request.get("NextToken")), request.get("NamePrefix", "")
        found = [
            archive
            for archive in self._registry.archives(ctx.account, ctx.region)
            if archive.name > after
            and archive.name.startswith(prefix)
            and request.get("EventSourceArn", names.bus_arn(archive.bus)) == names.bus_arn(archive.bus)
            and request.get("State", "ENABLED") == "ENABLED"
        ]
        page = found[: request.get("Limit", limits.PAGE_ITEMS)]
        answer: dict[str, Any] = {"Archives": [await self._to_api(archive) for archive in page]}
        if len(page) < len(found):
            answer["NextToken"] = names.token(page[-1].name)
        return answer

    async def update_archive(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Change what an archive keeps, and for how long; what is not given stays.

        Raises:
            ArchiveMissing, InvalidPattern, InvalidValue.
        """
        changes = _settings(request)
        registry.compiled_pattern(changes)

        async def update() -> Archive:
            archive = self._registry.archive(ctx.account, ctx.region, request["ArchiveName"])
            settings = {**archive.settings, **changes}
            return await self._registry.set_archive(archive, settings, registry.compiled_pattern(settings))

        return _short(await self._registry.change(update))

    async def delete_archive(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove an archive with its events.

        Raises:
            ArchiveMissing.
        """

        async def delete() -> None:
            await self._registry.delete_archive(self._registry.archive(ctx.account, ctx.region, request["ArchiveName"]))

        await self._registry.change(delete)
        return {}

    async def expire(self, now_ms: int) -> None:
        """Remove events that archives no longer keep, and those of archives that are gone."""
        for archive in list(self._registry.all_archives()):
            if days := archive.settings.get("RetentionDays", 0):
                before_ms = now_ms - days * DAY_MS
                while await self._expire_some(archive.id, before_ms):
                    pass
        while await self._database.write(_discard_some):
            pass

    async def _expire_some(self, number: int, before_ms: int) -> int:
        def expire(connection: Connection) -> int:
            rows = connection.all(sql.expired_archived, archive_id=number, before_ms=before_ms, limit=_BATCH)
            connection.many(sql.delete_archived, [{"id": row.id} for row in rows])
            size_bytes = sum(len(row.body.encode()) for row in rows)
            connection.run(sql.count_archived, id=number, events=-len(rows), size_bytes=-size_bytes)
            return len(rows)

        return await self._database.write(expire)

    async def _to_api(self, archive: Archive) -> dict[str, Any]:
        size = await self._database.read(lambda connection: connection.one(sql.get_archive_size, id=archive.id))
        shown = {"RetentionDays": archive.settings["RetentionDays"]} if "RetentionDays" in archive.settings else {}
        return {
            "ArchiveName": archive.name,
            "EventSourceArn": names.bus_arn(archive.bus),
            "State": "ENABLED",
            "RetentionDays": 0,
            **shown,
            "SizeBytes": size.size_bytes if size is not None else 0,
            "EventCount": size.event_count if size is not None else 0,
            "CreationTime": datetime.fromtimestamp(archive.created_at_ms / 1000, UTC),
        }


def _discard_some(connection: Connection) -> int:
    """Remove some events of an archive that is gone; returns how many, and the archive itself as one when it is empty."""
    discard = connection.one(sql.next_discard)
    if discard is None:
        return 0
    removed = connection.run(sql.discard_archived, archive_id=discard.archive_id, limit=_BATCH)
    return removed or connection.run(sql.delete_discard, archive_id=discard.archive_id)


def _settings(request: dict[str, Any]) -> dict[str, Any]:
    if request.get("KmsKeyIdentifier"):
        raise errors.InvalidValue("Parameter KmsKeyIdentifier is not valid. Reason: lambdad does not encrypt events.")
    return {name: request[name] for name in _SETTINGS if name in request}


def _short(archive: Archive) -> dict[str, Any]:
    return {"ArchiveArn": _arn(archive), "State": "ENABLED", "CreationTime": datetime.fromtimestamp(archive.created_at_ms / 1000, UTC)}


def _arn(archive: Archive) -> str:
    return names.archive_arn(archive.account, archive.region, archive.name)

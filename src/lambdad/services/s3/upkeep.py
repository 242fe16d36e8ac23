"""What S3 does by itself: removes files that no object has any more, and carries out lifecycle rules."""

import asyncio
import logging
from typing import Final, NoReturn

import orjson

from lambdad.kit import threads
from lambdad.kit.clock import NowMs
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.ports import CallContext
from lambdad.services.s3 import configurations, happenings, rows
from lambdad.services.s3.files import Files
from lambdad.services.s3.ports import Announcer, NewId
from lambdad.services.s3.rows import NewVersion
from lambdad.services.s3.rules import lifecycle, listing, names
from lambdad.services.s3.rules.lifecycle import Rule
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.errors import StoreError

_log = logging.getLogger(__name__)

ROUND_S: Final = 10.0
LIFECYCLE_EVERY: Final = 90  # rounds: a quarter of an hour; S3 itself promises no more than once a day
_BATCH: Final = 500
_PRINCIPAL: Final = "s3.amazonaws.com"


class Upkeep:
    """The background work of the service."""

    def __init__(self, database: Database, files: Files, announcer: Announcer, new_id: NewId, now_ms: NowMs) -> None:
        self._database = database
        self._files = files
        self._announcer = announcer
        self._new_id = new_id
        self._now_ms = now_ms
        self._seen: set[str] = set()  # garbage of the round before: no reader that began before it is still to open a file of it

    async def run(self) -> NoReturn:
        """Sweep what the process before left, then do the rounds, until cancelled."""
        round_number = 0
        swept = False
        while True:
            try:
                if not swept:
                    await self.sweep()
                    swept = True
                await self.collect()
                if round_number % LIFECYCLE_EVERY == 0:
                    await self.expire(self._now_ms())
            except (StoreError, OSError):
                _log.exception("s3.upkeep.failed")
            round_number += 1
            await asyncio.sleep(ROUND_S)

    async def sweep(self) -> int:
        """Remove files of earlier processes that no row names, and return how many there were."""
        removed = 0
        for shard in self._files.old_shards:
            there = await threads.run(self._files.list_shard, shard)
            first, end = f"{shard:08x}/", f"{shard:08x}0"
            found = await self._database.read(
                lambda connection, first=first, end=end: connection.all(rows.queries.files_of_shard, first=first, end=end)  # type: ignore[misc]
            )
            known = {row.file for row in found}
            lost = [name for name in there if name not in known and name not in self._seen]
            garbage = await self._garbage(first, end)
            lost = [name for name in lost if name not in garbage]
            await self._files.remove(lost)
            removed += len(lost)
            if len(lost) == len(there):
                await threads.run(self._files.drop_shard, shard)
        return removed

    async def _garbage(self, first: str, end: str) -> set[str]:
        found = await self._database.read(lambda connection: connection.all(rows.queries.garbage, after=first, limit=100_000))
        return {row.file for row in found if row.file < end}

    async def collect(self) -> int:
        """Remove files that were discarded before the last round and that nobody reads, and return how many there were."""
        after, removed, seen = "", 0, set[str]()
        while True:
            found = await self._database.read(
                lambda connection, after=after: connection.all(rows.queries.garbage, after=after, limit=_BATCH)  # type: ignore[misc]
            )
            if not found:
                break
            after = found[-1].file
            due = [row.file for row in found if row.file in self._seen and not self._files.is_pinned(row.file)]
            seen.update(row.file for row in found)
            seen.difference_update(due)
            if due:
                await self._files.remove(due)
                await self._database.write(
                    lambda connection, due=due: connection.many(rows.queries.forget_garbage, [{"file": file} for file in due])  # type: ignore[misc]
                )
                removed += len(due)
        self._seen = seen
        return removed

    async def expire(self, now_ms: int) -> int:
        """Carry out the lifecycle rules of all buckets, and return how many versions and uploads were ended."""
        ended = 0
        documents = await self._database.read(
            lambda connection: connection.all(rows.queries.documents_of_kind, kind=configurations.LIFECYCLE)
        )
        if not documents:
            return 0
        buckets = {row.id: row for row in await self._database.read(lambda connection: connection.all(rows.queries.all_buckets))}
        for document in documents:
            bucket = buckets.get(document.bucket_id)
            rules = lifecycle.rules_of(orjson.loads(document.document))
            if bucket is not None and rules:
                ended += await self._expire_current(bucket, rules, now_ms)
                ended += await self._expire_noncurrent(bucket, rules, now_ms)
                ended += await self._abort_uploads(bucket, rules, now_ms)
        if ended:
            self._announcer.wake()
        return ended

    async def _expire_current(self, bucket: Row, rules: list[Rule], now_ms: int) -> int:
        start, end = _span(rules)
        ended = 0
        while True:
            found = await self._database.read(
                lambda connection, start=start: connection.all(  # type: ignore[misc]
                    rows.queries.current_after, bucket_id=bucket.id, start=start, end=end, before_ms=now_ms, limit=_BATCH
                )
            )
            due = [row for row in found if self._is_due(row, rules, now_ms)]
            if due:
                ended += await self._database.write(lambda connection, due=due: self._end_current(connection, bucket, due, now_ms))  # type: ignore[misc]
            if len(found) < _BATCH:
                return ended
            start = listing.after(found[-1].key).key

    def _is_due(self, row: Row, rules: list[Rule], now_ms: int) -> bool:
        tags = orjson.loads(row.tags)
        for rule in rules:
            if not rule.concerns(row.key, tags, row.size_bytes):
                continue
            if row.is_marker:
                if rule.removes_lonely_markers or rule.expires(row.modified_at_ms, now_ms):
                    return True
            elif rule.expires(row.modified_at_ms, now_ms):
                return True
        return False

    def _end_current(self, connection: Connection, bucket: Row, due: list[Row], now_ms: int) -> int:
        """End current versions whose time has come, unless they have changed since that was decided."""
        ended = 0
        for seen in due:
            row = rows.latest(connection, bucket, seen.key)
            if row is None or row.id != seen.id:
                continue
            ctx = _context(bucket)
            if row.is_marker:
                if len(connection.all(rows.queries.versions_of_key, bucket_id=bucket.id, key=row.key)) > 1:
                    continue
                rows.remove_version(connection, bucket, row)
                event, version_id = "s3:LifecycleExpiration:Delete", row.version_id
            elif not bucket.versioning:
                rows.remove_version(connection, bucket, row)
                event, version_id = "s3:LifecycleExpiration:Delete", row.version_id
            else:
                marker = NewVersion(key=row.key, attributes={}, tags={}, is_marker=True)
                version_id, _ = rows.add_version(connection, bucket, marker, self._new_id(), now_ms)
                event = "s3:LifecycleExpiration:DeleteMarkerCreated"
            self._announcer.announce(connection, bucket, happenings.of_object(ctx, bucket, event, row.key, now_ms, version_id=version_id))
            ended += 1
        return ended

    async def _expire_noncurrent(self, bucket: Row, rules: list[Rule], now_ms: int) -> int:
        if not any(rule.noncurrent_days is not None for rule in rules):
            return 0
        start, end = _span(rules)
        tie_key, tie, newer, ended = "", 0, 0, 0
        while True:
            found = await self._database.read(
                lambda connection, start=start, tie_key=tie_key, tie=tie: connection.all(  # type: ignore[misc]
                    rows.queries.noncurrent_of, bucket_id=bucket.id, start=start, end=end, tie_key=tie_key, tie=tie, limit=_BATCH
                )
            )
            due: list[Row] = []
            for row in found:
                newer = newer + 1 if row.key == tie_key else 0
                start, tie_key, tie = row.key, row.key, row.id
                tags = orjson.loads(row.tags)
                since_ms = row.noncurrent_at_ms or row.modified_at_ms
                if any(rule.concerns(row.key, tags, row.size_bytes) and rule.expires_noncurrent(since_ms, newer, now_ms) for rule in rules):
                    due.append(row)
            if due:
                ended += await self._database.write(lambda connection, due=due: self._end_noncurrent(connection, bucket, due, now_ms))  # type: ignore[misc]
            if len(found) < _BATCH:
                return ended

    def _end_noncurrent(self, connection: Connection, bucket: Row, due: list[Row], now_ms: int) -> int:
        ended = 0
        for seen in due:
            row = rows.get_version(connection, bucket, seen.key, seen.version_id)
            if row is None or row.id != seen.id or row.is_latest:
                continue
            rows.remove_version(connection, bucket, row)
            happening = happenings.of_object(
                _context(bucket), bucket, "s3:LifecycleExpiration:Delete", row.key, now_ms, version_id=row.version_id
            )
            self._announcer.announce(connection, bucket, happening)
            ended += 1
        return ended

    async def _abort_uploads(self, bucket: Row, rules: list[Rule], now_ms: int) -> int:
        if not any(rule.abort_days is not None for rule in rules):
            return 0

        def abort(connection: Connection) -> int:
            found = connection.all(rows.queries.uploads_before, bucket_id=bucket.id, before_ms=now_ms)
            due = [
                row for row in found if any(row.key.startswith(rule.prefix) and rule.aborts(row.initiated_at_ms, now_ms) for rule in rules)
            ]
            for row in due:
                rows.remove_upload(connection, row.id)
            return len(due)

        return await self._database.write(abort)


def _span(rules: list[Rule]) -> tuple[str, str]:
    prefix = lifecycle.widest_prefix(rules)
    return prefix, names.end_of_prefix(prefix)


def _context(bucket: Row) -> CallContext:
    """Make the context of what S3 does by itself."""
    return CallContext(
        account=AccountId(bucket.account),
        region=Region(bucket.region),
        request_id=RequestId(""),
        principal_arn=_PRINCIPAL,
    )

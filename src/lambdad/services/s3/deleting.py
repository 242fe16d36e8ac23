"""DeleteObject and DeleteObjects."""

from collections.abc import Mapping
from typing import Any

from lambdad.kit.clock import NowMs
from lambdad.model.errors import AwsError
from lambdad.services.ports import CallContext, Handler
from lambdad.services.s3 import errors, happenings, rows
from lambdad.services.s3.ports import Announcer, NewId
from lambdad.services.s3.rows import NewVersion
from lambdad.services.s3.rules import conditions, limits, names
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database

_REMOVED = "s3:ObjectRemoved:Delete"
_MARKED = "s3:ObjectRemoved:DeleteMarkerCreated"


class Deleting:
    """The operations that remove objects."""

    def __init__(self, database: Database, announcer: Announcer, new_id: NewId, now_ms: NowMs) -> None:
        self._database = database
        self._announcer = announcer
        self._new_id = new_id
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        return {"DeleteObject": self.delete_object, "DeleteObjects": self.delete_objects}

    async def delete_object(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Remove an object, or one version of it; in a bucket that keeps versions, put a delete marker on it.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            PreconditionFailed: If-Match does not hold.
        """
        _check_supported(params)

        def delete(connection: Connection) -> dict[str, Any]:
            bucket = rows.find_bucket(connection, ctx, params)
            return self._delete(connection, ctx, bucket, params)

        answer = await self._database.write(delete)
        self._announcer.wake()
        return {name: value for name, value in answer.items() if name in ("DeleteMarker", "VersionId")}

    async def delete_objects(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Remove up to 1,000 objects, each for itself.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            MalformedXml: there are none, or too many.
        """
        wanted = params["Delete"].get("Objects") or []
        if not 1 <= len(wanted) <= limits.DELETED_AT_ONCE:
            raise errors.MalformedXml

        def delete(connection: Connection) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
            bucket = rows.find_bucket(connection, ctx, params)
            deleted: list[dict[str, Any]] = []
            failed: list[dict[str, Any]] = []
            for item in wanted:
                named = {"Key": item["Key"]} | ({"VersionId": item["VersionId"]} if item.get("VersionId") else {})
                try:
                    _check_supported(item | {"IfMatchLastModifiedTime": item.get("LastModifiedTime"), "IfMatchSize": item.get("Size")})
                    conditional = {**named, "IfMatch": item["ETag"]} if item.get("ETag") else named
                    answer = self._delete(connection, ctx, bucket, conditional)
                except AwsError as error:
                    failed.append({**named, "Code": error.code, "Message": error.message})
                    continue
                entry: dict[str, Any] = dict(named)
                if answer.get("DeleteMarker"):
                    entry |= {"DeleteMarker": True, "DeleteMarkerVersionId": answer["VersionId"]}
                deleted.append(entry)
            return deleted, failed

        deleted, failed = await self._database.write(delete)
        self._announcer.wake()
        shown = [] if params["Delete"].get("Quiet") else deleted
        return {"Deleted": shown, "Errors": failed}

    def _delete(self, connection: Connection, ctx: CallContext, bucket: Row, params: Mapping[str, Any]) -> dict[str, Any]:
        """Remove one object in a transaction. Decides everything before the first change, so that a refusal changes nothing."""
        key, version_id = params["Key"], params.get("VersionId")
        if version_id is not None:
            names.check_version_id(version_id)
        wanted = params.get("IfMatch")
        if wanted is not None:
            current = rows.latest(connection, bucket, key) if version_id is None else rows.get_version(connection, bucket, key, version_id)
            etag = rows.current_etag(current)
            if etag is None or not conditions.matches(wanted, etag):
                raise errors.PreconditionFailed("If-Match")
        if version_id is not None:
            return self._delete_version(connection, ctx, bucket, key, version_id)
        now_ms = self._now_ms()
        if not bucket.versioning:
            row = rows.latest(connection, bucket, key)
            if row is not None:
                rows.remove_version(connection, bucket, row)
                self._announcer.announce(connection, bucket, happenings.of_object(ctx, bucket, _REMOVED, key, now_ms))
            return {}
        names.check_key(key)
        marker = NewVersion(key=key, attributes={}, tags={}, is_marker=True)
        marker_id, _ = rows.add_version(connection, bucket, marker, self._new_id(), now_ms)
        happening = happenings.of_object(ctx, bucket, _MARKED, key, now_ms, version_id=marker_id)
        self._announcer.announce(connection, bucket, happening)
        return {"DeleteMarker": True, "VersionId": marker_id}

    def _delete_version(self, connection: Connection, ctx: CallContext, bucket: Row, key: str, version_id: str) -> dict[str, Any]:
        row = rows.get_version(connection, bucket, key, version_id)
        answer: dict[str, Any] = {"VersionId": version_id}
        if row is None:
            return answer
        rows.remove_version(connection, bucket, row)
        if row.is_marker:
            answer["DeleteMarker"] = True
        happening = happenings.of_object(ctx, bucket, _REMOVED, key, self._now_ms(), version_id=version_id)
        self._announcer.announce(connection, bucket, happening)
        return answer


def _check_supported(params: Mapping[str, Any]) -> None:
    """Refuse conditions that only directory buckets have."""
    for member, header in (
        ("IfMatchLastModifiedTime", "x-amz-if-match-last-modified-time"),
        ("IfMatchSize", "x-amz-if-match-size"),
    ):
        if params.get(member) is not None:
            raise errors.NotImplementedForm(header)

"""Tags of objects and of buckets."""

from typing import Any

import orjson

from lambdad.kit.clock import NowMs
from lambdad.services.ports import CallContext, Handler
from lambdad.services.s3 import errors, happenings, rows
from lambdad.services.s3.ports import Announcer
from lambdad.services.s3.rules import limits, tags
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database


class Tagging:
    """The operations on tags."""

    def __init__(self, database: Database, announcer: Announcer, now_ms: NowMs) -> None:
        self._database = database
        self._announcer = announcer
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        return {
            "PutObjectTagging": self.put_object_tagging,
            "GetObjectTagging": self.get_object_tagging,
            "DeleteObjectTagging": self.delete_object_tagging,
            "PutBucketTagging": self.put_bucket_tagging,
            "GetBucketTagging": self.get_bucket_tagging,
            "DeleteBucketTagging": self.delete_bucket_tagging,
        }

    async def put_object_tagging(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Replace an object's tags.

        Raises:
            NoSuchKey, NoSuchVersion, MethodNotAllowed: there is no such object.
            InvalidTag: a tag is not taken.
        """
        given = tags.checked(params["Tagging"].get("TagSet") or [], limits.OBJECT_TAGS)
        return await self._set(ctx, params, given, "s3:ObjectTagging:Put")

    async def delete_object_tagging(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Remove an object's tags.

        Raises:
            NoSuchKey, NoSuchVersion, MethodNotAllowed: there is no such object.
        """
        return await self._set(ctx, params, {}, "s3:ObjectTagging:Delete")

    async def _set(self, ctx: CallContext, params: dict[str, Any], given: dict[str, str], event: str) -> dict[str, Any]:
        now_ms = self._now_ms()

        def put(connection: Connection) -> tuple[Row, Row]:
            bucket = rows.find_bucket(connection, ctx, params)
            row = rows.existing(connection, ctx, bucket, params)
            connection.run(rows.queries.set_tags, id=row.id, tags=orjson.dumps(given).decode())
            happening = happenings.of_object(ctx, bucket, event, row.key, now_ms, etag=row.etag, version_id=row.version_id)
            self._announcer.announce(connection, bucket, happening)
            return bucket, row

        bucket, row = await self._database.write(put)
        self._announcer.wake()
        return {"VersionId": rows.shown_version(bucket, row.version_id)}

    async def get_object_tagging(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Show an object's tags; none is no error.

        Raises:
            NoSuchKey, NoSuchVersion, MethodNotAllowed: there is no such object.
        """

        def find(connection: Connection) -> tuple[Row, Row]:
            bucket = rows.find_bucket(connection, ctx, params)
            return bucket, rows.existing(connection, ctx, bucket, params)

        bucket, row = await self._database.read(find)
        return {"TagSet": tags.to_api(orjson.loads(row.tags)), "VersionId": rows.shown_version(bucket, row.version_id)}

    async def put_bucket_tagging(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Replace a bucket's tags.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            InvalidTag: a tag is not taken.
        """
        given = tags.checked(params["Tagging"].get("TagSet") or [], limits.BUCKET_TAGS)

        def put(connection: Connection) -> None:
            bucket = rows.find_bucket(connection, ctx, params)
            connection.run(rows.queries.put_document, bucket_id=bucket.id, kind=rows.TAGS, document=orjson.dumps(given).decode())

        await self._database.write(put)
        return {}

    async def get_bucket_tagging(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Show a bucket's tags.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            NotConfigured: it has none.
        """

        def find(connection: Connection) -> dict[str, Any]:
            bucket = rows.find_bucket(connection, ctx, params)
            given = rows.document(connection, bucket, rows.TAGS)
            if not given:
                raise errors.NotConfigured("NoSuchTagSet", "The TagSet does not exist", bucket.name)
            return {"TagSet": tags.to_api(given)}

        return await self._database.read(find)

    async def delete_bucket_tagging(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Remove a bucket's tags.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
        """

        def delete(connection: Connection) -> None:
            bucket = rows.find_bucket(connection, ctx, params)
            connection.run(rows.queries.delete_document, bucket_id=bucket.id, kind=rows.TAGS)

        await self._database.write(delete)
        return {}

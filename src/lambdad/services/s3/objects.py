"""PutObject and CopyObject: how an object comes to be from one body, or from another object."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from lambdad.kit.clock import NowMs
from lambdad.model.errors import AwsError
from lambdad.services.ports import CallContext, Handler
from lambdad.services.s3 import acls, errors, happenings, rows
from lambdad.services.s3.files import READ_BYTES, Files, Piece
from lambdad.services.s3.ports import Announcer, NewId
from lambdad.services.s3.reading import pieces_of
from lambdad.services.s3.receiving import Received, receive
from lambdad.services.s3.rows import NewVersion
from lambdad.services.s3.rules import attributes, checksums, conditions, limits, names, tags
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database

_SELF_COPY = (
    "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, "
    "storage class, website redirect location or encryption attributes."
)


class Objects:
    """The operations that make objects."""

    def __init__(self, database: Database, files: Files, announcer: Announcer, new_id: NewId, now_ms: NowMs) -> None:
        self._database = database
        self._files = files
        self._announcer = announcer
        self._new_id = new_id
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        return {"PutObject": self.put_object, "CopyObject": self.copy_object}

    async def put_object(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Keep a body under a key.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            PreconditionFailed, NoSuchKey: a condition does not hold.
            BadDigest, InvalidRequest: the body is not what its checksum says.
            InvalidTag, InvalidStorageClass, MetadataTooLarge, KeyTooLong, EntityTooLarge: something is not taken.
        """
        return await self.put(ctx, params, event="s3:ObjectCreated:Put")

    async def put(
        self, ctx: CallContext, params: Mapping[str, Any], *, event: str, least_bytes: int = 0, most_bytes: int = limits.PUT_BYTES
    ) -> dict[str, Any]:
        """Keep a body under a key, as `put_object` does or a browser's POST."""
        key = params["Key"]
        names.check_key(key)
        found = attributes.of_request(params)
        given_tags = tags.of_header(params.get("Tagging"))
        conditions.check_form(params)
        if not isinstance(params.get("Body", b""), bytes):
            await self._database.read(lambda connection: self._check_before(connection, ctx, params))
        async with receive(self._files, ctx, params, least_bytes=least_bytes, most_bytes=most_bytes) as received:
            version = NewVersion(
                key=key,
                size_bytes=received.size_bytes,
                etag=received.md5,
                file=received.file,
                checksum_algorithm=received.algorithm,
                checksum_type=checksums.FULL_OBJECT,
                checksum=received.checksum,
                attributes=found,
                tags=given_tags,
            )
            bucket, version_id = await self._commit(ctx, params, version, event)
        answer = _written(received)
        answer["VersionId"] = rows.shown_version(bucket, version_id) if bucket.versioning == rows.ENABLED else None
        return answer

    def _check_before(self, connection: Connection, ctx: CallContext, params: Mapping[str, Any]) -> None:
        """Refuse what will fail anyway before gigabytes are read."""
        bucket = rows.find_bucket(connection, ctx, params)
        if "IfMatch" in params or "IfNoneMatch" in params:
            conditions.check_write(params, params["Key"], rows.current_etag(rows.latest(connection, bucket, params["Key"])))

    async def _commit(self, ctx: CallContext, params: Mapping[str, Any], version: NewVersion, event: str) -> tuple[Row, str]:
        """Make the version the latest, and write down who is to be told, in one transaction."""
        now_ms = self._now_ms()
        new_id = self._new_id()

        def commit(connection: Connection) -> tuple[Row, str]:
            bucket = rows.find_bucket(connection, ctx, params)
            acls.check_object_acl(connection, bucket, version.attributes.get("ACL"))
            if "IfMatch" in params or "IfNoneMatch" in params:
                conditions.check_write(params, version.key, rows.current_etag(rows.latest(connection, bucket, version.key)))
            version_id, _ = rows.add_version(connection, bucket, version, new_id, now_ms)
            self._announcer.announce(
                connection,
                bucket,
                happenings.of_object(
                    ctx, bucket, event, version.key, now_ms, size_bytes=version.size_bytes, etag=version.etag, version_id=version_id
                ),
            )
            return bucket, version_id

        result = await self._database.write(commit)
        self._announcer.wake()
        return result

    async def copy_object(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Make an object of another one, without its bytes going over the wire.

        Raises:
            NoSuchBucket, NoSuchKey, NoSuchVersion, AccessDenied: there is no such source or target.
            PreconditionFailed: a condition on the source or on the target does not hold.
            InvalidRequest: source and target are the same and nothing changes, or the source is larger than 5 GB.
        """
        names.check_key(params["Key"])
        attributes.check_supported(params)
        conditions.check_form(params)
        if params.get("ChecksumAlgorithm") not in (None, *checksums.ALGORITHMS):
            raise checksums.unsupported()
        source_bucket, source_key, source_version = names.copy_source(params["CopySource"])
        source_params = {**params, "SourceBucket": source_bucket, "Key": source_key, "VersionId": source_version}

        def find(connection: Connection) -> tuple[Row, Row, list[Piece], Row]:
            target = rows.find_bucket(connection, ctx, params)
            bucket = rows.find_bucket(connection, ctx, source_params, "SourceBucket")
            row = rows.existing(connection, ctx, bucket, source_params)
            return bucket, row, pieces_of(connection, row), target

        bucket, source, pieces, target = await self._database.read(find)
        ctx.answer_headers.clear()
        conditions.check_read(params, f'"{source.etag}"', source.modified_at_ms, prefix="CopySource")
        if source.size_bytes > limits.PUT_BYTES:
            raise errors.InvalidRequest(
                f"The specified copy source is larger than the maximum allowable size for a copy source: {limits.PUT_BYTES}"
            )
        is_same = (bucket.id, source.key) == (target.id, params["Key"]) and source_version is None
        found, given_tags = _copied(params, source, is_same=is_same)
        algorithm = params.get("ChecksumAlgorithm") or source.checksum_algorithm
        received = await self._copy(source, pieces, algorithm)
        version = NewVersion(
            key=params["Key"],
            size_bytes=received.size_bytes,
            etag=received.md5,
            file=received.file,
            checksum_algorithm=received.algorithm,
            checksum_type=checksums.FULL_OBJECT,
            checksum=received.checksum,
            attributes=found,
            tags=given_tags,
        )
        try:
            target, version_id = await self._commit(ctx, params, version, "s3:ObjectCreated:Copy")
        except AwsError:
            await self._files.remove([received.file] if received.file else [])
            raise
        result = {
            "ETag": f'"{received.md5}"',
            "LastModified": datetime.fromtimestamp(self._now_ms() // 1000, UTC),
            checksums.member(received.algorithm): received.checksum,
            "ChecksumType": checksums.FULL_OBJECT,
        }
        return {
            "CopyObjectResult": result,
            "ServerSideEncryption": "AES256",
            "VersionId": version_id if target.versioning == rows.ENABLED else None,
            "CopySourceVersionId": rows.shown_version(bucket, source.version_id),
        }

    async def _copy(self, source: Row, pieces: list[Piece], algorithm: str) -> Received:
        """Have the bytes once more: by a second name for the file where they are one file, else by copying them into one."""
        if not source.pieces and algorithm == source.checksum_algorithm:
            file = await self._files.link(source.file) if source.file is not None else None
            return Received(file=file, size_bytes=source.size_bytes, md5=source.etag, algorithm=algorithm, checksum=source.checksum)
        with self._files.pinned([piece.file for piece in pieces]):
            async with self._files.writing(algorithm) as writer:
                for piece in pieces:
                    for at in range(0, piece.size_bytes, READ_BYTES):
                        count = min(READ_BYTES, piece.size_bytes - at)
                        await writer.write(await self._files.read(piece.file, piece.offset + at, count))
                name = await writer.finish()
                writer.keep()
        digests = writer.digests
        return Received(
            file=name, size_bytes=digests.size_bytes, md5=digests.md5.hex(), algorithm=algorithm, checksum=digests.checksum(algorithm)
        )


def _copied(params: Mapping[str, Any], source: Row, *, is_same: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a copy's attributes and tags, from the source or from the request as its directives say."""
    directive = params.get("MetadataDirective", "COPY")
    tagging = params.get("TaggingDirective", "COPY")
    for name, value in (("x-amz-metadata-directive", directive), ("x-amz-tagging-directive", tagging)):
        if value not in ("COPY", "REPLACE"):
            raise errors.InvalidArgument(f"Unknown {name.removeprefix('x-amz-').replace('-', ' ')}.", name, value)
    of_source: dict[str, Any] = orjson.loads(source.attributes)
    of_request = attributes.of_request(params)
    changes = directive == "REPLACE" or any(
        params.get(name) for name in ("StorageClass", "WebsiteRedirectLocation", "ServerSideEncryption")
    )
    if is_same and not changes and tagging != "REPLACE":
        raise errors.InvalidRequest(_SELF_COPY)
    found = of_request if directive == "REPLACE" else {key: value for key, value in of_source.items() if key not in _OWN}
    for name in _OWN:
        if name in of_request:
            found[name] = of_request[name]
    given_tags = tags.of_header(params.get("Tagging")) if tagging == "REPLACE" else orjson.loads(source.tags)
    return found, given_tags


_OWN = ("StorageClass", "WebsiteRedirectLocation", "ACL")  # never copied: the request says, or the default holds


def _written(received: Received) -> dict[str, Any]:
    return {
        "ETag": f'"{received.md5}"',
        checksums.member(received.algorithm): received.checksum,
        "ChecksumType": checksums.FULL_OBJECT,
        "ServerSideEncryption": "AES256",
    }

"""Uploads in parts: begun, filled, completed, aborted."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from lambdad.kit.clock import NowMs
from lambdad.services.ports import CallContext, Handler
from lambdad.services.s3 import acls, errors, happenings, rows
from lambdad.services.s3.files import READ_BYTES, Files
from lambdad.services.s3.ports import Announcer, NewId
from lambdad.services.s3.reading import cut, pieces_of
from lambdad.services.s3.receiving import Received, receive
from lambdad.services.s3.rows import NewVersion
from lambdad.services.s3.rules import attributes, checksums, conditions, limits, names, parts, ranges, tags
from lambdad.services.s3.rules.parts import Part, Whole
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database


class Multipart:
    """The operations on uploads in parts."""

    def __init__(self, database: Database, files: Files, announcer: Announcer, new_id: NewId, now_ms: NowMs) -> None:
        self._database = database
        self._files = files
        self._announcer = announcer
        self._new_id = new_id
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateMultipartUpload": self.create_multipart_upload,
            "UploadPart": self.upload_part,
            "UploadPartCopy": self.upload_part_copy,
            "CompleteMultipartUpload": self.complete_multipart_upload,
            "AbortMultipartUpload": self.abort_multipart_upload,
        }

    async def create_multipart_upload(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Begin an upload.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            InvalidRequest: the checksum is none, or not of that type.
            InvalidTag, InvalidStorageClass, MetadataTooLarge, KeyTooLong: something is not taken.
        """
        names.check_key(params["Key"])
        found = attributes.of_request(params)
        given_tags = tags.of_header(params.get("Tagging"))
        asked, asked_type = params.get("ChecksumAlgorithm"), params.get("ChecksumType")
        if asked is not None and asked not in checksums.ALGORITHMS:
            raise checksums.unsupported()
        if asked is None and asked_type is not None:
            raise errors.InvalidRequest("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
        algorithm = asked or checksums.DEFAULT
        checksum_type = checksums.type_of_upload(algorithm, asked_type)
        upload_id = self._new_id()

        def create(connection: Connection) -> None:
            bucket = rows.find_bucket(connection, ctx, params)
            acls.check_object_acl(connection, bucket, found.get("ACL"))
            connection.run(
                rows.queries.insert_upload,
                upload_id=upload_id,
                bucket_id=bucket.id,
                key=params["Key"],
                initiated_at_ms=self._now_ms(),
                initiator=ctx.principal_arn,
                checksum_algorithm=algorithm,
                checksum_type=checksum_type,
                is_checksum_asked=asked is not None,
                attributes=orjson.dumps(found).decode(),
                tags=orjson.dumps(given_tags).decode(),
            )

        await self._database.write(create)
        answer: dict[str, Any] = {
            "Bucket": params["Bucket"],
            "Key": params["Key"],
            "UploadId": upload_id,
            "ServerSideEncryption": "AES256",
        }
        if asked is not None:
            answer |= {"ChecksumAlgorithm": algorithm, "ChecksumType": checksum_type}
        return answer

    async def upload_part(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Keep a part; one of the same number before it is gone.

        Raises:
            NoSuchUpload: it is completed or aborted, or there never was one.
            BadDigest, InvalidRequest: the body is not what its checksum says.
            InvalidArgument, EntityTooLarge: the number or the size is not taken.
        """
        number = params["PartNumber"]
        parts.check_number(number)
        attributes.check_supported(params)
        upload = await self._database.read(lambda connection: find_upload(connection, ctx, params)[1])
        declared = checksums.declared(params, ctx.headers.get("x-amz-trailer", ""))
        if declared is not None and upload.is_checksum_asked and declared.algorithm != upload.checksum_algorithm:
            raise errors.InvalidRequest(
                f"Checksum Type mismatch occurred, expected checksum Type: {upload.checksum_algorithm.lower()}, "
                f"actual checksum Type: {declared.algorithm.lower()}"
            )
        async with receive(self._files, ctx, params, kept=upload.checksum_algorithm) as received:
            await self._keep(ctx, params, number, received)
        answer: dict[str, Any] = {"ETag": f'"{received.md5}"', "ServerSideEncryption": "AES256"}
        if received.declared is not None:
            answer[checksums.member(received.declared[0])] = received.declared[1]
        elif upload.is_checksum_asked:
            answer[checksums.member(received.algorithm)] = received.checksum
        return answer

    async def _keep(self, ctx: CallContext, params: Mapping[str, Any], number: int, received: Received) -> None:
        def put(connection: Connection) -> None:
            _, upload = find_upload(connection, ctx, params)
            there = connection.one(rows.queries.get_part, upload=upload.id, number=number)
            if there is not None and there.file:
                connection.run(rows.queries.discard_file, file=there.file)
            connection.run(
                rows.queries.put_part,
                upload=upload.id,
                number=number,
                size_bytes=received.size_bytes,
                etag=received.md5,
                file=received.file or "",
                checksum=received.checksum,
                modified_at_ms=self._now_ms(),
            )

        await self._database.write(put)

    async def upload_part_copy(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Make a part of an object, or of a range of it.

        Raises:
            NoSuchUpload: it is completed or aborted, or there never was one.
            NoSuchBucket, NoSuchKey, NoSuchVersion, AccessDenied: there is no such source.
            PreconditionFailed: a condition on the source does not hold.
            InvalidArgument, InvalidRequest: the number or the range is not taken.
        """
        number = params["PartNumber"]
        parts.check_number(number)
        attributes.check_supported(params)
        source_bucket, source_key, source_version = names.copy_source(params["CopySource"])
        source_params = {**params, "SourceBucket": source_bucket, "Key": source_key, "VersionId": source_version}

        def find(connection: Connection) -> tuple[Row, Row, Row, list[Any]]:
            _, upload = find_upload(connection, ctx, params)
            bucket = rows.find_bucket(connection, ctx, source_params, "SourceBucket")
            row = rows.existing(connection, ctx, bucket, source_params)
            return upload, bucket, row, pieces_of(connection, row)

        upload, bucket, source, pieces = await self._database.read(find)
        conditions.check_read(params, f'"{source.etag}"', source.modified_at_ms, prefix="CopySource")
        span = ranges.of_copy(params.get("CopySourceRange"), source.size_bytes)
        if span.size_bytes > limits.PUT_BYTES:
            raise errors.InvalidRequest(
                f"The specified copy source is larger than the maximum allowable size for a copy source: {limits.PUT_BYTES}"
            )
        with self._files.pinned([piece.file for piece in pieces]):
            async with self._files.writing(upload.checksum_algorithm) as writer:
                for piece in cut(pieces, span):
                    for at in range(0, piece.size_bytes, READ_BYTES):
                        count = min(READ_BYTES, piece.size_bytes - at)
                        await writer.write(await self._files.read(piece.file, piece.offset + at, count))
                file = await writer.finish()
                writer.keep()
        digests = writer.digests
        received = Received(
            file=file,
            size_bytes=digests.size_bytes,
            md5=digests.md5.hex(),
            algorithm=upload.checksum_algorithm,
            checksum=digests.checksum(upload.checksum_algorithm),
        )
        try:
            await self._keep(ctx, params, number, received)
        except errors.S3Error:
            await self._files.remove([file])
            raise
        result: dict[str, Any] = {"ETag": f'"{received.md5}"', "LastModified": _moment(self._now_ms())}
        if upload.is_checksum_asked:
            result[checksums.member(received.algorithm)] = received.checksum
        return {
            "CopyPartResult": result,
            "ServerSideEncryption": "AES256",
            "CopySourceVersionId": rows.shown_version(bucket, source.version_id),
        }

    async def complete_multipart_upload(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Make an object of an upload's parts. Not a byte is copied: the object is its parts' files.

        Raises:
            NoSuchUpload: it is completed or aborted, or there never was one.
            InvalidPart, InvalidPartOrder, PartTooSmall, InvalidRequest: the parts that are named cannot be an object.
            PreconditionFailed, NoSuchKey: a condition does not hold.
            BadDigest: the whole has another checksum than the caller says.
        """
        conditions.check_form(params)
        named = (params.get("MultipartUpload") or {}).get("Parts") or []
        new_id, now_ms = self._new_id(), self._now_ms()

        def complete(connection: Connection) -> _Completed:
            bucket = rows.find_bucket(connection, ctx, params)
            done = _completed_before(connection, bucket, params)
            if done is not None:
                return done
            _, upload = find_upload(connection, ctx, params)
            there = {row.number: row for row in connection.all(rows.queries.parts_of, upload=upload.id)}
            whole = parts.complete(
                upload.upload_id,
                named,
                {number: _part(row) for number, row in there.items()},
                upload.checksum_algorithm,
                upload.checksum_type,
            )
            _check_whole(params, upload, whole)
            if "IfMatch" in params or "IfNoneMatch" in params:
                conditions.check_write(params, upload.key, rows.current_etag(rows.latest(connection, bucket, upload.key)))
            version = _version_of(upload, whole)
            version_id, object_id = rows.add_version(connection, bucket, version, new_id, now_ms)
            _move(connection, object_id, whole, there)
            connection.run(rows.queries.delete_parts, upload=upload.id)
            connection.run(rows.queries.delete_upload, id=upload.id)
            happening = happenings.of_object(
                ctx,
                bucket,
                "s3:ObjectCreated:CompleteMultipartUpload",
                upload.key,
                now_ms,
                size_bytes=whole.size_bytes,
                etag=whole.etag,
                version_id=version_id,
            )
            self._announcer.announce(connection, bucket, happening)
            return _Completed(bucket, version_id, whole.etag, version.checksum_algorithm, version.checksum_type, whole.checksum)

        done = await self._database.write(complete)
        self._announcer.wake()
        return {
            "Location": f"{ctx.endpoint}/{done.bucket.name}/{names.encoded(params['Key'])}",
            "Bucket": done.bucket.name,
            "Key": params["Key"],
            "ETag": f'"{done.etag}"',
            checksums.member(done.algorithm): done.checksum,
            "ChecksumType": done.checksum_type,
            "ServerSideEncryption": "AES256",
            "VersionId": done.version_id if done.bucket.versioning == rows.ENABLED else None,
        }

    async def abort_multipart_upload(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Forget an upload and its parts.

        Raises:
            NoSuchUpload: it is completed or aborted, or there never was one.
        """
        if params.get("IfMatchInitiatedTime") is not None:
            raise errors.NotImplementedForm("x-amz-if-match-initiated-time")

        def abort(connection: Connection) -> None:
            _, upload = find_upload(connection, ctx, params)
            rows.remove_upload(connection, upload.id)

        await self._database.write(abort)
        return {}


def find_upload(connection: Connection, ctx: CallContext, params: Mapping[str, Any]) -> tuple[Row, Row]:
    """Find a bucket and an upload into it.

    Raises:
        NoSuchBucket, AccessDenied: there is no such bucket for the caller.
        NoSuchUpload: there is no such upload of that key.
    """
    bucket = rows.find_bucket(connection, ctx, params)
    upload = connection.one(rows.queries.get_upload, upload_id=params["UploadId"], bucket_id=bucket.id, key=params["Key"])
    if upload is None:
        raise errors.NoSuchUpload(params["UploadId"])
    return bucket, upload


class _Completed(NamedTuple):
    """What an upload has become."""

    bucket: Row
    version_id: str
    etag: str
    algorithm: str
    checksum_type: str
    checksum: str


def _completed_before(connection: Connection, bucket: Row, params: Mapping[str, Any]) -> _Completed | None:
    """Find the object that an upload has become already: clients that lost the answer ask again, and S3 answers like the first time."""
    row = connection.one(rows.queries.object_of_upload, upload_id=params["UploadId"], bucket_id=bucket.id, key=params["Key"])
    if row is None:
        return None
    return _Completed(bucket, row.version_id, row.etag, row.checksum_algorithm, row.checksum_type, row.checksum)


def _version_of(upload: Row, whole: Whole) -> NewVersion:
    return NewVersion(
        key=upload.key,
        size_bytes=whole.size_bytes,
        etag=whole.etag,
        pieces=len(whole.parts),
        checksum_algorithm=upload.checksum_algorithm,
        checksum_type=upload.checksum_type,
        checksum=whole.checksum,
        attributes=orjson.loads(upload.attributes),
        tags=orjson.loads(upload.tags),
        upload_id=upload.upload_id,
    )


def _part(row: Row) -> Part:
    return Part(number=row.number, size_bytes=row.size_bytes, md5=row.etag, checksum=row.checksum)


def _check_whole(params: Mapping[str, Any], upload: Row, whole: Whole) -> None:
    """Compare what the caller says of the whole with what it is."""
    expected = params.get("MpuObjectSize")
    if expected is not None and expected != whole.size_bytes:
        raise errors.InvalidRequest(
            f"The provided 'x-amz-mp-object-size' header value {expected} does not match what was computed: {whole.size_bytes}"
        )
    asked_type = params.get("ChecksumType")
    if asked_type is not None and asked_type != upload.checksum_type:
        raise errors.InvalidRequest(
            f"The upload was created using the {upload.checksum_type} checksum mode. The complete request must use the same checksum mode."
        )
    claimed = params.get(checksums.member(upload.checksum_algorithm))
    if claimed is not None and claimed != whole.checksum and f"{claimed}-{len(whole.parts)}" != whole.checksum:
        raise errors.BadDigest(f"The {upload.checksum_algorithm.lower()} you specified did not match the calculated checksum.")


def _move(connection: Connection, object_id: int, whole: Whole, there: Mapping[int, Row]) -> None:
    """Make parts the pieces of an object, and have the files of those that nobody named removed."""
    offset = 0
    used: set[int] = set()
    pieces: list[dict[str, Any]] = []
    for number, part in enumerate(whole.parts, 1):
        used.add(part.number)
        pieces.append(
            {
                "object_id": object_id,
                "number": number,
                "offset_bytes": offset,
                "size_bytes": part.size_bytes,
                "file": there[part.number].file,
                "checksum": part.checksum,
            }
        )
        offset += part.size_bytes
    connection.many(rows.queries.insert_piece, pieces)
    for number, row in there.items():
        if number not in used and row.file:
            connection.run(rows.queries.discard_file, file=row.file)


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, UTC)

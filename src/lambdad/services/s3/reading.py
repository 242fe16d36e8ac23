"""GetObject, HeadObject and GetObjectAttributes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from lambdad.services.ports import CallContext, Handler
from lambdad.services.s3 import errors, rows
from lambdad.services.s3.files import Files, Piece
from lambdad.services.s3.rules import attributes, checksums, conditions, limits, ranges
from lambdad.services.s3.rules.ranges import Span
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database

INLINE_BYTES: Final = 256 * 1024
"""Objects and ranges up to this size are answered as bytes, larger ones as an `ObjectBody`."""


class _Found(NamedTuple):
    bucket: Row
    row: Row
    pieces: list[Piece]
    part_sizes: list[int]
    part_checksums: list[str]


def pieces_of(connection: Connection, row: Row) -> list[Piece]:
    """Return what an object's bytes are made of, in order."""
    if row.pieces:
        return [Piece(each.file, 0, each.size_bytes) for each in connection.all(rows.queries.pieces_of, object_id=row.id)]
    return [Piece(row.file, 0, row.size_bytes)] if row.file is not None else []


def cut(pieces: list[Piece], span: Span) -> list[Piece]:
    """Return the pieces, or parts of them, that make up a span of the whole."""
    found: list[Piece] = []
    at = 0
    for piece in pieces:
        start, end = max(span.start - at, 0), min(span.end - at, piece.size_bytes)
        if start < end:
            found.append(Piece(piece.file, piece.offset + start, end - start))
        at += piece.size_bytes
    return found


class Reading:
    """The operations that read objects."""

    def __init__(self, database: Database, files: Files) -> None:
        self._database = database
        self._files = files

    def handlers(self) -> dict[str, Handler]:
        return {
            "GetObject": self.get_object,
            "HeadObject": self.head_object,
            "GetObjectAttributes": self.get_object_attributes,
        }

    async def get_object(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Return an object or a range of it.

        Returns:
            `Body` is bytes up to `INLINE_BYTES`, beyond that an `ObjectBody`: an async iterator of bytes with `size_bytes`.

        Raises:
            NoSuchKey, NoSuchVersion, MethodNotAllowed: there is no such object.
            PreconditionFailed, NotModified: a condition does not hold.
            InvalidRange, InvalidPartNumber: the object has no such bytes.
        """
        found, span, answer = await self._describe(ctx, params)
        wanted = found.pieces if span is None else cut(found.pieces, span)
        size_bytes = found.row.size_bytes if span is None else span.size_bytes
        if size_bytes <= INLINE_BYTES:
            answer["Body"] = b"".join([await self._files.read(*piece) for piece in wanted])
        else:
            answer["Body"] = self._files.body(wanted, size_bytes)
        return answer

    async def head_object(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Return all that is known of an object but its bytes.

        Raises:
            as `get_object`.
        """
        _, _, answer = await self._describe(ctx, params)
        return answer

    async def _find(self, ctx: CallContext, params: Mapping[str, Any]) -> _Found:
        def find(connection: Connection) -> _Found:
            bucket = rows.find_bucket(connection, ctx, params)
            row = rows.existing(connection, ctx, bucket, params)
            if not row.pieces:
                return _Found(bucket, row, pieces_of(connection, row), [], [])
            pieces = connection.all(rows.queries.pieces_of, object_id=row.id)
            sizes = [each.size_bytes for each in pieces]
            return _Found(bucket, row, [Piece(each.file, 0, each.size_bytes) for each in pieces], sizes, [each.checksum for each in pieces])

        return await self._database.read(find)

    async def _describe(self, ctx: CallContext, params: Mapping[str, Any]) -> tuple[_Found, Span | None, dict[str, Any]]:
        """Find what is asked for, and write all of the answer but its body."""
        attributes.check_supported(params)
        part_number, header = params.get("PartNumber"), params.get("Range")
        if part_number is not None and header is not None:
            raise errors.InvalidRequest("Cannot specify both Range header and partNumber query parameter")
        found = await self._find(ctx, params)
        row = found.row
        etag = f'"{row.etag}"'
        self._add_validators(ctx, row, etag)
        conditions.check_read(params, etag, row.modified_at_ms)
        ctx.answer_headers.clear()
        answer = attributes.to_answer(orjson.loads(row.attributes), params)
        span = _part_span(found, part_number) if part_number is not None else ranges.requested(header, row.size_bytes)
        answer |= {
            "AcceptRanges": "bytes",
            "ETag": etag,
            "LastModified": datetime.fromtimestamp(row.modified_at_ms // 1000, UTC),
            "ContentLength": row.size_bytes if span is None else span.size_bytes,
            "ServerSideEncryption": "AES256",
            "VersionId": rows.shown_version(found.bucket, row.version_id),
        }
        if span is not None and (span.size_bytes or row.size_bytes):
            answer["ContentRange"] = ranges.content_range(span, row.size_bytes)
        if part_number is not None and row.pieces:
            answer["PartsCount"] = row.pieces
        tag_count = len(orjson.loads(row.tags))
        if tag_count:
            answer["TagCount"] = tag_count
        if params.get("ChecksumMode") == "ENABLED":
            answer |= _checksum(found, span, part_number)
        return found, span, answer

    def _add_validators(self, ctx: CallContext, row: Row, etag: str) -> None:
        """Have a 304 say which object it means; a whole answer says it by itself. Source: RFC 9110, section 15.4.5."""
        modified = datetime.fromtimestamp(row.modified_at_ms // 1000, UTC)
        ctx.answer_headers.append(("ETag", etag))
        ctx.answer_headers.append(("Last-Modified", modified.strftime("%a, %d %b %Y %H:%M:%S GMT")))

    async def get_object_attributes(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Return those of an object's attributes that are asked for.

        Raises:
            NoSuchKey, NoSuchVersion, MethodNotAllowed: there is no such object.
            InvalidArgument: an attribute is asked for that there is not.
        """
        wanted = set(params.get("ObjectAttributes") or ())
        known = {"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}
        if not wanted or wanted - known:
            raise errors.InvalidArgument("Invalid attribute name specified.", "x-amz-object-attributes", ",".join(sorted(wanted)))
        attributes.check_supported(params)
        found = await self._find(ctx, params)
        row = found.row
        answer: dict[str, Any] = {
            "LastModified": datetime.fromtimestamp(row.modified_at_ms // 1000, UTC),
            "VersionId": rows.shown_version(found.bucket, row.version_id),
        }
        if "ETag" in wanted:
            answer["ETag"] = row.etag
        if "ObjectSize" in wanted:
            answer["ObjectSize"] = row.size_bytes
        if "StorageClass" in wanted:
            answer["StorageClass"] = orjson.loads(row.attributes).get("StorageClass", attributes.STANDARD)
        if "Checksum" in wanted:
            bare = row.checksum.partition("-")[0]
            answer["Checksum"] = {checksums.member(row.checksum_algorithm): bare, "ChecksumType": row.checksum_type}
        if "ObjectParts" in wanted and row.pieces:
            answer["ObjectParts"] = await self._object_parts(found, params)
        return answer

    async def _object_parts(self, found: _Found, params: Mapping[str, Any]) -> dict[str, Any]:
        limit = min(params.get("MaxParts", limits.PAGE), limits.PAGE)
        after = int(params.get("PartNumberMarker") or 0)
        row = found.row
        parts = await self._database.read(
            lambda connection: connection.all(rows.queries.pieces_after, object_id=row.id, after=after, limit=limit + 1)
        )
        page = parts[:limit]
        document: dict[str, Any] = {
            "TotalPartsCount": row.pieces,
            "PartNumberMarker": after,
            "MaxParts": limit,
            "IsTruncated": len(parts) > limit,
        }
        if page:
            document["NextPartNumberMarker"] = page[-1].number
        if row.checksum_type == checksums.COMPOSITE:
            name = checksums.member(row.checksum_algorithm)
            document["Parts"] = [{"PartNumber": part.number, "Size": part.size_bytes, name: part.checksum} for part in page]
        return document


def _part_span(found: _Found, number: int) -> Span:
    """
    Return the span of a part; an object that was put as one is its own first part.

    Raises:
        InvalidPartNumber: there are fewer.
    """
    sizes = found.part_sizes or [found.row.size_bytes]
    if not 1 <= number <= len(sizes):
        raise errors.InvalidPartNumber(number, len(sizes))
    start = sum(sizes[: number - 1])
    return Span(start, start + sizes[number - 1])


def _checksum(found: _Found, span: Span | None, part_number: int | None) -> dict[str, Any]:
    """Return the checksum of what is answered, where one is known: of the whole, or of a part."""
    row = found.row
    if span is None or span == (0, row.size_bytes):
        return {checksums.member(row.checksum_algorithm): row.checksum, "ChecksumType": row.checksum_type}
    if part_number is not None and found.part_checksums:
        return {checksums.member(row.checksum_algorithm): found.part_checksums[part_number - 1], "ChecksumType": row.checksum_type}
    return {}

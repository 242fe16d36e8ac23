"""Lists of unfinished uploads, and of their parts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from lambdad.services.ports import CallContext, Handler
from lambdad.services.s3 import errors, rows
from lambdad.services.s3.listing import Asked
from lambdad.services.s3.multipart import find_upload
from lambdad.services.s3.rules import attributes, checksums, limits, listing, names
from lambdad.services.s3.rules.listing import Entry, Page
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database


class UploadListing:
    """The operations that list uploads and parts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def handlers(self) -> dict[str, Handler]:
        return {"ListParts": self.list_parts, "ListMultipartUploads": self.list_multipart_uploads}

    async def list_parts(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        List an upload's parts in order of numbers.

        Raises:
            NoSuchUpload: it is completed or aborted, or there never was one.
        """
        limit = min(params.get("MaxParts", limits.PAGE), limits.PAGE)
        if limit < 0:
            raise errors.InvalidArgument("Argument max-parts must be an integer between 0 and 2147483647", "max-parts", limit)
        marker = _marker(params.get("PartNumberMarker"))

        def find(connection: Connection) -> tuple[Row, Row, list[Row]]:
            bucket, upload = find_upload(connection, ctx, params)
            return bucket, upload, connection.all(rows.queries.parts_after, upload=upload.id, after=marker, limit=limit + 1)

        bucket, upload, found = await self._database.read(find)
        page = found[:limit]
        return {
            "Bucket": bucket.name,
            "Key": upload.key,
            "UploadId": upload.upload_id,
            "PartNumberMarker": marker,
            "NextPartNumberMarker": page[-1].number if page else 0,
            "MaxParts": limit,
            "IsTruncated": len(found) > limit,
            "Parts": [_shown_part(row, upload) for row in page],
            "Initiator": {"ID": upload.initiator, "DisplayName": upload.initiator.rpartition(":")[2]},
            "Owner": {"ID": names.owner_id(bucket.account)},
            "StorageClass": orjson.loads(upload.attributes).get("StorageClass", attributes.STANDARD),
            "ChecksumAlgorithm": upload.checksum_algorithm if upload.is_checksum_asked else None,
            "ChecksumType": upload.checksum_type if upload.is_checksum_asked else None,
        }

    async def list_multipart_uploads(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        List a bucket's unfinished uploads in order of keys, the oldest of each key first.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            InvalidArgument: a parameter is not taken.
        """
        asked = Asked(params, "MaxUploads")
        key_marker, upload_marker = params.get("KeyMarker", ""), params.get("UploadIdMarker", "")

        def select(connection: Connection) -> tuple[Row, Page]:
            bucket = rows.find_bucket(connection, ctx, params)
            start = listing.after_marker(key_marker, asked.prefix, asked.delimiter)
            if key_marker and upload_marker:
                marked = connection.one(rows.queries.upload_number, upload_id=upload_marker, bucket_id=bucket.id)
                if marked is not None:
                    start = listing.after_item(Entry(key_marker, marked.id, None))
            return bucket, asked.collect(connection, rows.queries.uploads_from, bucket, start)

        bucket, page = await self._database.read(select)
        owner = {"ID": names.owner_id(bucket.account)}
        answer = asked.answer(page) | {
            "Bucket": bucket.name,
            "KeyMarker": asked.write(key_marker),
            "UploadIdMarker": upload_marker,
            "MaxUploads": asked.limit,
            "Uploads": [_shown_upload(entry.row, asked, owner) for entry in page.items],
        }
        if page.following is not None:
            last = page.last
            answer["NextKeyMarker"] = asked.write(last.key if isinstance(last, Entry) else last or "")
            answer["NextUploadIdMarker"] = last.row.upload_id if isinstance(last, Entry) else ""
        return answer


def _marker(text: str | int | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        raise errors.InvalidArgument("Argument part-number-marker must be an integer", "part-number-marker", text) from None


def _shown_part(row: Row, upload: Row) -> dict[str, Any]:
    part: dict[str, Any] = {
        "PartNumber": row.number,
        "LastModified": _moment(row.modified_at_ms),
        "ETag": f'"{row.etag}"',
        "Size": row.size_bytes,
    }
    if upload.is_checksum_asked:
        part[checksums.member(upload.checksum_algorithm)] = row.checksum
    return part


def _shown_upload(row: Row, asked: Asked, owner: Mapping[str, str]) -> dict[str, Any]:
    return {
        "UploadId": row.upload_id,
        "Key": asked.write(row.key),
        "Initiated": _moment(row.initiated_at_ms),
        "StorageClass": orjson.loads(row.attributes).get("StorageClass", attributes.STANDARD),
        "Owner": owner,
        "Initiator": {"ID": row.initiator, "DisplayName": row.initiator.rpartition(":")[2]},
        "ChecksumAlgorithm": row.checksum_algorithm,
        "ChecksumType": row.checksum_type,
    }


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, UTC)

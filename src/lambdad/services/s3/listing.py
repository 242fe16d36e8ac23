"""ListObjects, ListObjectsV2 and ListObjectVersions."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from lambdad.services.ports import CallContext, Handler
from lambdad.services.s3 import errors, rows
from lambdad.services.s3.rules import attributes, limits, listing, names
from lambdad.services.s3.rules.listing import Entry, Page, Start
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.queries import Query


class Listing:
    """The operations that list objects and their versions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def handlers(self) -> dict[str, Handler]:
        return {
            "ListObjects": self.list_objects,
            "ListObjectsV2": self.list_objects_v2,
            "ListObjectVersions": self.list_object_versions,
        }

    async def list_objects(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        List objects in order of keys, from a marker on.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            InvalidArgument: a parameter is not taken.
        """
        asked = Asked(params, "MaxKeys")
        marker = params.get("Marker", "")
        start = listing.after_marker(marker, asked.prefix, asked.delimiter)
        bucket, page = await self._objects(ctx, params, asked, start)
        answer = asked.answer(page) | {
            "Name": params["Bucket"],
            "Marker": asked.write(marker),
            "MaxKeys": asked.limit,
            "Contents": [_content(entry.row, asked, bucket.account) for entry in page.items],
        }
        if page.following is not None and asked.delimiter:
            answer["NextMarker"] = asked.write(_last_key(page))
        return answer

    async def list_objects_v2(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        List objects in order of keys, from a token or a key on.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            InvalidArgument: a parameter is not taken, or the token is none.
        """
        asked = Asked(params, "MaxKeys")
        token, start_after = params.get("ContinuationToken"), params.get("StartAfter", "")
        if token == "":
            raise errors.InvalidArgument("The continuation token provided is incorrect", "continuation-token", "")
        start = listing.start_of(token) if token is not None else listing.after(start_after)
        bucket, page = await self._objects(ctx, params, asked, start)
        owner = bucket.account if params.get("FetchOwner") else None
        answer = asked.answer(page) | {
            "Name": params["Bucket"],
            "MaxKeys": asked.limit,
            "KeyCount": page.count,
            "Contents": [_content(entry.row, asked, owner) for entry in page.items],
            "ContinuationToken": token,
        }
        if start_after:
            answer["StartAfter"] = asked.write(start_after)
        if page.following is not None:
            answer["NextContinuationToken"] = listing.token_of(page.following)
        return answer

    async def list_object_versions(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        List versions and delete markers in order of keys, the newest of each key first.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            InvalidArgument: a parameter is not taken.
        """
        asked = Asked(params, "MaxKeys")
        key_marker, version_marker = params.get("KeyMarker", ""), params.get("VersionIdMarker")
        if version_marker is not None and not key_marker:
            raise errors.InvalidArgument(
                "A version-id marker cannot be specified without a key marker.", "version-id-marker", version_marker
            )
        if version_marker:
            names.check_version_id(version_marker)

        def select(connection: Connection) -> tuple[Row, Page]:
            bucket = rows.find_bucket(connection, ctx, params)
            start = listing.after_marker(key_marker, asked.prefix, asked.delimiter)
            if version_marker:
                marked = rows.get_version(connection, bucket, key_marker, version_marker)
                start = listing.after_item(Entry(key_marker, marked.id, None)) if marked is not None else start
            return bucket, asked.collect(connection, rows.queries.versions_from, bucket, start)

        bucket, page = await self._database.read(select)
        owner = {"ID": names.owner_id(bucket.account)}
        answer = asked.answer(page) | {
            "Name": params["Bucket"],
            "KeyMarker": asked.write(key_marker),
            "VersionIdMarker": version_marker or "",
            "MaxKeys": asked.limit,
            "Versions": [_version(entry.row, asked, owner) for entry in page.items if not entry.row.is_marker],
            "DeleteMarkers": [_marker(entry.row, asked, owner) for entry in page.items if entry.row.is_marker],
        }
        if page.following is not None:
            answer["NextKeyMarker"] = asked.write(_last_key(page))
            if isinstance(page.last, Entry):
                answer["NextVersionIdMarker"] = page.last.row.version_id
        return answer

    async def _objects(self, ctx: CallContext, params: Mapping[str, Any], asked: "Asked", start: Start) -> tuple[Row, Page]:
        def select(connection: Connection) -> tuple[Row, Page]:
            bucket = rows.find_bucket(connection, ctx, params)
            return bucket, asked.collect(connection, rows.queries.objects_from, bucket, start)

        return await self._database.read(select)


class Asked:
    """What every list is asked: prefix, delimiter, size of the page, encoding."""

    def __init__(self, params: Mapping[str, Any], limit_member: str) -> None:
        """
        Raises:
            InvalidArgument: the size is below 0, or the encoding is none.
        """
        self.prefix: str = params.get("Prefix", "")
        self.delimiter: str = params.get("Delimiter", "")
        self.encoding: str | None = params.get("EncodingType")
        wanted = params.get(limit_member, limits.PAGE)
        if wanted < 0 or wanted > 2**31 - 1:
            name = {"MaxKeys": "maxKeys", "MaxUploads": "max-uploads"}[limit_member]
            raise errors.InvalidArgument(f"Argument {name} must be an integer between 0 and 2147483647", name, wanted)
        if self.encoding not in (None, "url"):
            raise errors.InvalidArgument("Invalid Encoding Method specified in Request", "encoding-type", self.encoding)
        self.limit: int = min(wanted, limits.PAGE)
        if "\0" in self.prefix + self.delimiter:
            raise errors.InvalidArgument("Prefix and delimiter must not contain the NUL character.", "prefix", "")
        self.write: Callable[[str], str] = names.encoded if self.encoding else str

    def collect(self, connection: Connection, query: Query, bucket: Row, start: Start) -> Page:
        """Read a page of rows, in a transaction."""
        end = names.end_of_prefix(self.prefix)

        def fetch(at: Start, count: int) -> list[Entry]:
            found = connection.all(query, bucket_id=bucket.id, start=at.key, end=end, tie_key=at.tie_key, tie=at.tie, limit=count)
            return [Entry(row.key, row.id, row) for row in found]

        return listing.collect(fetch, self.prefix, self.delimiter, start, self.limit)

    def answer(self, page: Page) -> dict[str, Any]:
        """Write what every list answers."""
        return {
            "IsTruncated": page.following is not None,
            "Prefix": self.write(self.prefix),
            "Delimiter": self.write(self.delimiter) if self.delimiter else None,
            "EncodingType": self.encoding,
            "CommonPrefixes": [{"Prefix": self.write(prefix)} for prefix in page.prefixes],
        }


def _last_key(page: Page) -> str:
    return page.last.key if isinstance(page.last, Entry) else page.last or ""


def _content(row: Row, asked: Asked, owner_account: str | None) -> dict[str, Any]:
    content = {
        "Key": asked.write(row.key),
        "LastModified": _moment(row.modified_at_ms),
        "ETag": f'"{row.etag}"',
        "Size": row.size_bytes,
        "StorageClass": orjson.loads(row.attributes).get("StorageClass", attributes.STANDARD),
        "ChecksumAlgorithm": [row.checksum_algorithm],
        "ChecksumType": row.checksum_type,
    }
    if owner_account is not None:
        content["Owner"] = {"ID": names.owner_id(owner_account)}
    return content


def _version(row: Row, asked: Asked, owner: Mapping[str, str]) -> dict[str, Any]:
    return _content(row, asked, None) | {"VersionId": row.version_id, "IsLatest": bool(row.is_latest), "Owner": owner}


def _marker(row: Row, asked: Asked, owner: Mapping[str, str]) -> dict[str, Any]:
    return {
        "Key": asked.write(row.key),
        "VersionId": row.version_id,
        "IsLatest": bool(row.is_latest),
        "LastModified": _moment(row.modified_at_ms),
        "Owner": owner,
    }


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, UTC)

"""Buckets and versions of objects as rows: how they are found, replaced and removed, inside a transaction.

Rules of this file: everything here is called with a connection of a work that the database runs. What an object loses of files goes to
s3_garbage in the same transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from lambdad.services.ports import CallContext
from lambdad.services.s3 import errors
from lambdad.services.s3.rules import names
from lambdad.store.connection import Connection, Row
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.s3", "queries.sql")

ENABLED: Final = "Enabled"
SUSPENDED: Final = "Suspended"

ENCRYPTION: Final = "encryption"
NOTIFICATION: Final = "notification"
OWNERSHIP: Final = "ownership"
POLICY: Final = "policy"
PUBLIC_ACCESS: Final = "public-access-block"
TAGS: Final = "tags"


def find_bucket(connection: Connection, ctx: CallContext, params: Mapping[str, Any], member: str = "Bucket") -> Row:
    """
    Find the bucket that a request names.

    Raises:
        NoSuchBucket: there is none.
        AccessDenied: it is another account's, or not that of the account that the caller expects.
    """
    name = params[member]
    bucket = connection.one(queries.get_bucket, name=name)
    expected = params.get("ExpectedSourceBucketOwner" if member == "SourceBucket" else "ExpectedBucketOwner")
    if bucket is None:
        raise errors.NoSuchBucket(name)
    if expected is not None:
        names.check_owner(expected, bucket.account)
    if bucket.account != ctx.account:
        raise errors.AccessDenied
    return bucket


def document(connection: Connection, bucket: Row, kind: str) -> Any:
    """Return a configuration of a bucket; None where there is none."""
    row = connection.one(queries.get_document, bucket_id=bucket.id, kind=kind)
    return None if row is None else orjson.loads(row.document)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A version of an object that is to be, with its bytes in place already."""

    key: str
    size_bytes: int = 0
    etag: str = ""
    file: str | None = None
    pieces: int = 0
    checksum_algorithm: str = ""
    checksum_type: str = ""
    checksum: str = ""
    attributes: Mapping[str, Any]
    tags: Mapping[str, str]
    is_marker: bool = False
    upload_id: str | None = None


def add_version(connection: Connection, bucket: Row, version: NewVersion, version_id: str, now_ms: int) -> tuple[str, int]:
    """
    Make a version the latest of its key: beside those before it where the bucket keeps versions, else in the place of the null version.

    Args:
        version_id: what it will be called in a bucket that keeps versions.

    Returns:
        The version's id, and the number of its row.
    """
    found = latest(connection, bucket, version.key)
    keeps = bucket.versioning == ENABLED
    if not keeps:
        version_id = names.NULL_VERSION
        replaced = found
        if found is not None and found.version_id != names.NULL_VERSION:
            replaced = get_version(connection, bucket, version.key, names.NULL_VERSION)
        if replaced is not None:
            remove_row(connection, replaced)
            found = None if found is not None and replaced.id == found.id else found
    if found is not None:
        connection.run(queries.end_latest, id=found.id, now_ms=now_ms)
    row = connection.one(
        queries.insert_object,
        bucket_id=bucket.id,
        key=version.key,
        version_id=version_id,
        is_marker=version.is_marker,
        modified_at_ms=now_ms,
        size_bytes=version.size_bytes,
        etag=version.etag,
        file=version.file,
        pieces=version.pieces,
        checksum_algorithm=version.checksum_algorithm,
        checksum_type=version.checksum_type,
        checksum=version.checksum,
        attributes=orjson.dumps(dict(version.attributes)).decode(),
        tags=orjson.dumps(dict(version.tags)).decode(),
        upload_id=version.upload_id,
    )
    assert row is not None, "an insert returns its row"
    return version_id, row.id


def latest(connection: Connection, bucket: Row, key: str) -> Row | None:
    """Return the latest version of a key, which may be a delete marker."""
    return connection.one(queries.get_latest, bucket_id=bucket.id, key=key)


def get_version(connection: Connection, bucket: Row, key: str, version_id: str) -> Row | None:
    """Return one version of a key."""
    return connection.one(queries.get_version, bucket_id=bucket.id, key=key, version_id=version_id)


def remove_row(connection: Connection, row: Row) -> None:
    """Remove a version, and have its files removed."""
    if row.file is not None:
        connection.run(queries.discard_file, file=row.file)
    if row.pieces:
        connection.run(queries.discard_pieces, object_id=row.id)
        connection.run(queries.delete_pieces, object_id=row.id)
    connection.run(queries.delete_object, id=row.id)


def remove_version(connection: Connection, bucket: Row, row: Row) -> None:
    """Remove a version for good; what was before it is the latest then."""
    remove_row(connection, row)
    if row.is_latest:
        left = connection.one(queries.newest_left, bucket_id=bucket.id, key=row.key)
        if left is not None:
            connection.run(queries.make_latest, id=left.id)


def current_etag(row: Row | None) -> str | None:
    """Return what conditions of a write are asked about: the entity tag; None where a reader would find nothing."""
    return None if row is None or row.is_marker else f'"{row.etag}"'


def existing(connection: Connection, ctx: CallContext, bucket: Row, params: Mapping[str, Any]) -> Row:
    """
    Find the version that a request means, by key and perhaps version id.

    Raises:
        NoSuchKey, NoSuchVersion: there is none, or the latest is a delete marker.
        MethodNotAllowed: the version that is named is a delete marker.
    """
    key, version_id = params["Key"], params.get("VersionId")
    if version_id is None:
        row = latest(connection, bucket, key)
        if row is None:
            raise errors.NoSuchKey(key)
        if row.is_marker:
            ctx.answer_headers.append(("x-amz-delete-marker", "true"))
            ctx.answer_headers.append(("x-amz-version-id", row.version_id))
            raise errors.NoSuchKey(key)
        return row
    names.check_version_id(version_id)
    row = get_version(connection, bucket, key, version_id)
    if row is None:
        raise errors.NoSuchVersion(key, version_id)
    if row.is_marker:
        ctx.answer_headers.append(("x-amz-delete-marker", "true"))
        ctx.answer_headers.append(("x-amz-version-id", row.version_id))
        ctx.answer_headers.append(("Allow", "DELETE"))
        raise errors.MethodNotAllowed("GET")
    return row


def shown_version(bucket: Row, version_id: str) -> str | None:
    """Return the version id that an answer shows; None in a bucket that never kept versions."""
    return version_id if bucket.versioning else None


def remove_upload(connection: Connection, upload: int) -> None:
    """Forget an upload and its parts, and have their files removed."""
    connection.run(queries.discard_parts, upload=upload)
    connection.run(queries.delete_parts, upload=upload)
    connection.run(queries.delete_upload, id=upload)

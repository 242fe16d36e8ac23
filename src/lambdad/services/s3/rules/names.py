"""Names of buckets, keys and versions, and how they are written in addresses and lists."""

import hashlib
import re
from typing import Final
from urllib.parse import quote, unquote

from lambdad.model import arn
from lambdad.services.s3 import errors
from lambdad.services.s3.rules import limits

NULL_VERSION: Final = "null"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]").fullmatch
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}").fullmatch
_VERSION = re.compile(r"[A-Za-z0-9._-]{1,1024}").fullmatch
_ACCOUNT = re.compile(r"\d{12}").fullmatch
_LAST: Final = 0x10FFFF


def check_new_bucket(name: str) -> None:
    """
    Check the name of a bucket to be made.

    Raises:
        InvalidBucketName: no bucket can be called so.

    Source: S3 User Guide, "General purpose bucket naming rules".
    """
    reserved = name.startswith(("xn--", "sthree-", "amzn-s3-demo-")) or name.endswith(
        ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
    )
    if not _BUCKET(name) or ".." in name or _ADDRESS(name) or reserved:
        raise errors.InvalidBucketName(name)


def check_key(key: str) -> None:
    """
    Check a key that is to be written.

    Raises:
        KeyTooLong: it has more than 1,024 bytes.
        InvalidArgument: it holds a NUL or what is no Unicode; AWS could not list it either.
    """
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        raise errors.InvalidArgument("Object key must be valid UTF-8.", "key", "") from None
    if size_bytes > limits.KEY_BYTES:
        raise errors.KeyTooLong(size_bytes, limits.KEY_BYTES)
    if "\0" in key:
        raise errors.InvalidArgument("Object key must not contain the NUL character.", "key", key.replace("\0", "\\0"))


def check_version_id(version_id: str) -> None:
    """
    Check a version id as a caller gives it.

    Raises:
        InvalidArgument: it is empty, or no version can have it.
    """
    if not version_id:
        raise errors.InvalidArgument("Version id cannot be the empty string", "versionId", "")
    if version_id != NULL_VERSION and not (len(version_id) == 32 and _VERSION(version_id)):
        raise errors.InvalidArgument("Invalid version id specified", "versionId", version_id)


def check_owner(expected: str, account: str) -> None:
    """
    Check x-amz-expected-bucket-owner.

    Raises:
        S3Error: InvalidBucketOwnerAWSAccountID, it is no account id.
        AccessDenied: the bucket is another account's.
    """
    if not _ACCOUNT(expected):
        raise errors.S3Error(
            "InvalidBucketOwnerAWSAccountID", "The value of the expected bucket owner parameter must be an AWS account ID", Value=expected
        )
    if expected != account:
        raise errors.AccessDenied


def bucket_arn(bucket: str, region: str) -> str:
    """Return arn:aws:s3:::bucket, in the region's partition."""
    return f"arn:{arn.partition(region)}:s3:::{bucket}"


def owner_id(account: str) -> str:
    """Return the canonical user id of an account: 64 hex digits, always the same."""
    return hashlib.sha256(f"canonical-user/{account}".encode()).hexdigest()


def end_of_prefix(prefix: str) -> str:
    """Return the least text that is greater, in order of code points, than all that begins so; "" where there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at])
        if code < _LAST:
            following = 0xE000 if code == 0xD7FF else code + 1  # surrogates are no characters
            return prefix[:at] + chr(following)
    return ""


def encoded(key: str) -> str:
    """Write a key, prefix or delimiter as encoding-type=url has it."""
    return quote(key, safe="/*-._", encoding="utf-8").replace("%20", "+")


def copy_source(text: str) -> tuple[str, str, str | None]:
    """
    Read x-amz-copy-source: "bucket/key", "/bucket/key?versionId=v", percent-encoded; or an access point's ARN, which is none here.

    Returns:
        Bucket, key and version id, None where none is named.

    Raises:
        InvalidArgument: it is nothing of that.
    """
    path, _, query = text.partition("?")
    version_id: str | None = None
    if query:
        name, _, value = query.partition("=")
        if name != "versionId":
            path = text
        else:
            version_id = unquote(value)
            check_version_id(version_id)
    bucket, slash, key = unquote(path).removeprefix("/").partition("/")
    if not slash or not bucket or not key:
        raise errors.InvalidArgument(
            "Invalid copy source object key" if bucket and not key else "Invalid copy source bucket name", "x-amz-copy-source", text
        )
    return bucket, key, version_id

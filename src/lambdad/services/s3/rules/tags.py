"""Tags of buckets and objects. Source: S3 API Reference, PutObjectTagging, PutBucketTagging; S3 User Guide, "Object tagging"."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from lambdad.services.s3 import errors
from lambdad.services.s3.rules import limits

_ALLOWED = re.compile(r"[\w\s+\-=.:/@]*", re.UNICODE).fullmatch


def of_header(header: str | None) -> dict[str, str]:
    """
    Read x-amz-tagging: "k1=v1&k2=v2", form-encoded.

    Raises:
        InvalidArgument: it is no such text.
        InvalidTag: S3 does not take them.
    """
    if not header:
        return {}
    try:
        pairs = parse_qsl(header, keep_blank_values=True, strict_parsing="=" in header, errors="strict")
    except ValueError:
        raise _unreadable(header) from None
    if "=" not in header:
        pairs = [(header, "")]
    try:
        return checked([{"Key": key, "Value": value} for key, value in pairs], limits.OBJECT_TAGS)
    except errors.InvalidTag as error:
        if "same key" in str(error.message):
            raise _unreadable(header) from None
        raise


def _unreadable(header: str) -> errors.InvalidArgument:
    message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates."
    return errors.InvalidArgument(message, "x-amz-tagging", header)


def checked(tags: Sequence[Mapping[str, Any]], most: int) -> dict[str, str]:
    """
    Return a tag set as keys and values.

    Raises:
        InvalidTag: a key or a value is too long or has other characters, or a key is there twice, or is AWS's own.
        S3Error: BadRequest, there are too many.
    """
    if len(tags) > most:
        noun = "Object" if most == limits.OBJECT_TAGS else "Bucket"
        raise errors.S3Error("BadRequest", f"{noun} tags cannot be greater than {most}")
    found: dict[str, str] = {}
    for tag in tags:
        key, value = str(tag.get("Key", "")), str(tag.get("Value", ""))
        if not 1 <= len(key) <= 128 or not _ALLOWED(key):
            raise errors.InvalidTag("The TagKey you have provided is invalid", TagKey=key)
        if key.lower().startswith("aws:"):
            raise errors.InvalidTag("System tags cannot be added/updated by requester")
        if len(value) > 256 or not _ALLOWED(value):
            raise errors.InvalidTag("The TagValue you have provided is invalid", TagKey=key, TagValue=value)
        if key in found:
            raise errors.InvalidTag("Cannot provide multiple Tags with the same key", TagKey=key)
        found[key] = value
    return found


def to_api(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Write keys and values as a tag set."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]

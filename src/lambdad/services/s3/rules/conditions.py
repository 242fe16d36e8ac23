"""Whether the conditions of a request hold for the object that is there.

Source: RFC 9110, section 13.2.2 (precedence); S3 User Guide, "Conditional requests"; S3 API Reference, GetObject and CopyObject.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lambdad.services.s3 import errors

_ANY = "*"


def check_read(params: Mapping[str, Any], etag: str, modified_at_ms: int, *, prefix: str = "") -> None:
    """
    Check the conditions of a read, or of a copy on its source.

    Args:
        etag: of the object, in quotation marks.
        prefix: of the members' names: "CopySource" for those of a copy.

    Raises:
        PreconditionFailed: one does not hold; for a copy also what a read would call not modified.
        NotModified: the caller has this object.
    """
    header = "x-amz-copy-source-" if prefix else ""
    wanted, unwanted = params.get(f"{prefix}IfMatch"), params.get(f"{prefix}IfNoneMatch")
    since, until = params.get(f"{prefix}IfModifiedSince"), params.get(f"{prefix}IfUnmodifiedSince")
    modified = datetime.fromtimestamp(modified_at_ms // 1000, UTC)
    if wanted is not None:
        if not matches(wanted, etag):
            raise errors.PreconditionFailed(f"{header}If-Match")
    elif until is not None and modified > until:
        raise errors.PreconditionFailed(f"{header}If-Unmodified-Since")
    if unwanted is not None:
        if matches(unwanted, etag):
            raise errors.PreconditionFailed(f"{header}If-None-Match") if prefix else errors.NotModified()
    elif since is not None and modified <= since:
        raise errors.PreconditionFailed(f"{header}If-Modified-Since") if prefix else errors.NotModified()


def check_write(params: Mapping[str, Any], key: str, etag: str | None) -> None:
    """
    Check the conditions of a write on the object that it would replace.

    Args:
        etag: of the current object, in quotation marks; None where there is none, or a delete marker.

    Raises:
        PreconditionFailed: there is an object and the caller wants none, or another.
        NoSuchKey: there is none and the caller wants a certain one.
        NotImplementedForm: If-None-Match is something else than "*".
    """
    unwanted, wanted = params.get("IfNoneMatch"), params.get("IfMatch")
    check_form(params)
    if unwanted is not None and etag is not None:
        raise errors.PreconditionFailed("If-None-Match")
    if wanted is not None:
        if etag is None:
            raise errors.NoSuchKey(key)
        if not matches(wanted, etag):
            raise errors.PreconditionFailed("If-Match")


def check_form(params: Mapping[str, Any]) -> None:
    """
    Check that a write's conditions are ones that S3 has.

    Raises:
        NotImplementedForm: If-None-Match is something else than "*", If-Match is "*", or both are there.
    """
    unwanted, wanted = params.get("IfNoneMatch"), params.get("IfMatch")
    if unwanted is not None and unwanted != _ANY:
        raise errors.NotImplementedForm("If-None-Match", "We don't accept the provided value of If-None-Match header for this API")
    if wanted == _ANY:
        raise errors.NotImplementedForm("If-Match", "We don't accept the provided value of If-Match header for this API")
    if unwanted is not None and wanted is not None:
        raise errors.NotImplementedForm("If-Match,If-None-Match", "Multiple conditional request headers present in the request")


def matches(listed: str, etag: str) -> bool:
    """Say whether an entity tag is in a list of them, with or without quotation marks."""
    bare = etag.strip('"')
    return any(item.strip() == _ANY or item.strip().removeprefix("W/").strip('"') == bare for item in listed.split(","))

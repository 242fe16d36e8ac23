"""How parts become an object. Source: S3 API Reference, CompleteMultipartUpload; S3 User Guide, "Multipart upload limits"."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambdad.services.s3 import errors
from lambdad.services.s3.rules import checksums, limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part that was uploaded: its MD5 in hex, without quotation marks; its checksum in base64."""

    number: int
    size_bytes: int
    md5: str
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What the object will be."""

    parts: list[Part]
    size_bytes: int
    etag: str
    checksum: str


def check_number(number: int) -> None:
    """
    Check a part's number.

    Raises:
        InvalidArgument: it is outside 1..10,000.
    """
    if not 1 <= number <= limits.PARTS:
        raise errors.InvalidArgument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", number)


def complete(upload_id: str, named: Sequence[Mapping[str, Any]], there: Mapping[int, Part], algorithm: str, checksum_type: str) -> Whole:
    """
    Choose the parts that a caller names, and compute the whole's entity tag and checksum.

    Args:
        named: as in the request: PartNumber, ETag, perhaps a checksum.
        there: what was uploaded, by number.

    Raises:
        InvalidRequest: no part is named, or a part's checksum is missing where the upload's type needs it.
        InvalidPartOrder, InvalidPart, PartTooSmall: as they say.
    """
    if not named:
        raise errors.InvalidRequest("You must specify at least one part")
    numbers = [int(part.get("PartNumber", 0)) for part in named]
    if any(number >= following for number, following in itertools.pairwise(numbers)):
        raise errors.InvalidPartOrder(upload_id)
    chosen: list[Part] = []
    for wanted, number in zip(named, numbers, strict=True):
        part = there.get(number)
        etag = str(wanted.get("ETag", "")).strip('"')
        if part is None or part.md5 != etag:
            raise errors.InvalidPart(upload_id, number, etag)
        claimed = wanted.get(checksums.member(algorithm))
        if claimed is not None and claimed != part.checksum:
            raise errors.InvalidPart(upload_id, number, etag)
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size_bytes < limits.PART_BYTES_MIN:
            raise errors.PartTooSmall(part.md5, part.number, part.size_bytes, limits.PART_BYTES_MIN)
    size_bytes = sum(part.size_bytes for part in chosen)
    if size_bytes > limits.OBJECT_BYTES:
        raise errors.EntityTooLarge(size_bytes, limits.OBJECT_BYTES)
    if checksum_type == checksums.COMPOSITE:
        checksum = checksums.composite(algorithm, [part.checksum for part in chosen])
    else:
        checksum = checksums.combined(algorithm, [(part.checksum, part.size_bytes) for part in chosen])
    etag = checksums.etag_of_parts([part.md5 for part in chosen])
    return Whole(parts=chosen, size_bytes=size_bytes, etag=etag, checksum=checksum)

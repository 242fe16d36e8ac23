"""Checksums of objects and parts: which one a caller names, whether it is right, and what comes of the parts' ones.

Values are as on the wire: base64. CRC32C and CRC64NVME come from AWS's own library, which is loaded when it is first needed.

Source: S3 User Guide, "Checking object integrity in Amazon S3".
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from lambdad.services.s3 import errors

ALGORITHMS: Final = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
DEFAULT: Final = "CRC64NVME"
FULL_OBJECT: Final = "FULL_OBJECT"
COMPOSITE: Final = "COMPOSITE"

_SIZES: Final = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}
_UNSUPPORTED: Final = ("SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128")


class Declared(NamedTuple):
    """What a caller says of a checksum. `value` is None where it comes in a trailer, or is ours to compute."""

    algorithm: str
    value: str | None = None


def member(algorithm: str) -> str:
    """Return the name of the model's member: ChecksumCRC32."""
    return f"Checksum{algorithm}"


def header(algorithm: str) -> str:
    """Return the name of the header: x-amz-checksum-crc32."""
    return f"x-amz-checksum-{algorithm.lower()}"


def declared(params: Mapping[str, Any], trailers: str = "") -> Declared | None:
    """
    Read which checksum a request brings along.

    Args:
        trailers: the x-amz-trailer header, of a request whose checksum follows its body.

    Returns:
        None where it brings none.

    Raises:
        InvalidRequest: more than one, one that S3 has not, one that cannot be right, or a name without a value.
    """
    for algorithm in _UNSUPPORTED:
        if member(algorithm) in params or params.get("ChecksumAlgorithm") == algorithm:
            raise unsupported()
    given = [Declared(algorithm, params[member(algorithm)]) for algorithm in ALGORITHMS if member(algorithm) in params]
    announced = [name.strip().lower() for name in trailers.split(",")]
    trailing = [algorithm for algorithm in ALGORITHMS if header(algorithm) in announced]
    given += [Declared(algorithm) for algorithm in trailing if all(each.algorithm != algorithm for each in given)]
    if len(given) > 1:
        raise errors.InvalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
    named = params.get("ChecksumAlgorithm")
    if not given:
        if named is not None:
            raise errors.InvalidRequest(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
            )
        return None
    if given[0].value is not None:
        check_form(given[0].algorithm, given[0].value)
    if named is not None and named != given[0].algorithm:
        raise errors.InvalidRequest("Value for x-amz-sdk-checksum-algorithm header is invalid.")
    return given[0]


def unsupported() -> errors.S3Error:
    """Make the error for an algorithm that is not here."""
    names = ", ".join(ALGORITHMS)
    return errors.InvalidRequest(f"Checksum algorithm provided is unsupported. Please try again with any of the valid types: [{names}]")


def check_form(algorithm: str, value: str) -> None:
    """
    Check that a value can be a checksum.

    Raises:
        InvalidRequest: it cannot.
    """
    try:
        size = len(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        size = -1
    if size != _SIZES[algorithm]:
        raise errors.InvalidRequest(f"Value for {header(algorithm)} header is invalid.")


def check(algorithm: str, claimed: str, computed: str) -> None:
    """
    Compare a caller's checksum with ours.

    Raises:
        BadDigest: they differ.
        InvalidRequest: the caller's cannot be one.
    """
    check_form(algorithm, claimed)
    if claimed != computed:
        raise errors.BadDigest(f"The {algorithm} you specified did not match the calculated checksum.")


def md5_of_header(value: str | None) -> bytes | None:
    """
    Read Content-MD5.

    Raises:
        InvalidDigest: it is no MD5.
    """
    if value is None:
        return None
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise errors.InvalidDigest(value)
    return digest


class _Crc:
    """A CRC with the interface of hashlib's hashes."""

    __slots__ = ("_function", "_size", "_value")

    def __init__(self, algorithm: str) -> None:
        self._function = _crc_function(algorithm)
        self._size = _SIZES[algorithm]
        self._value = 0

    def update(self, piece: bytes) -> None:
        self._value = self._function(piece, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


class Digests:
    """The MD5 and the checksums of bytes that arrive piece by piece."""

    __slots__ = ("_hashes", "_md5", "size_bytes")

    def __init__(self, *algorithms: str) -> None:
        self.size_bytes = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._hashes = {
            name: hashlib.new(name.lower(), usedforsecurity=False) if name.startswith("SHA") else _Crc(name) for name in algorithms
        }

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        self.size_bytes += len(piece)
        self._md5.update(piece)
        for each in self._hashes.values():
            each.update(piece)

    @property
    def md5(self) -> bytes:
        return self._md5.digest()

    def checksum(self, algorithm: str) -> str:
        """Return the checksum of all pieces so far."""
        return base64.b64encode(self._hashes[algorithm].digest()).decode()


def of(algorithm: str, data: bytes) -> str:
    """Compute a checksum of bytes that are whole."""
    digests = Digests(algorithm)
    digests.update(data)
    return digests.checksum(algorithm)


def type_of_upload(algorithm: str, asked: str | None) -> str:
    """
    Say whether an upload's checksum will be of the whole object or of its parts' checksums.

    Raises:
        InvalidRequest: the algorithm has no such type.
    """
    if asked == FULL_OBJECT and algorithm.startswith("SHA"):
        raise errors.InvalidRequest(f"The FULL_OBJECT checksum type cannot be used with the {algorithm.lower()} checksum algorithm.")
    if asked == COMPOSITE and algorithm == "CRC64NVME":
        raise errors.InvalidRequest("The COMPOSITE checksum type cannot be used with the crc64nvme checksum algorithm.")
    return asked or (FULL_OBJECT if algorithm == "CRC64NVME" else COMPOSITE)


def composite(algorithm: str, parts: Sequence[str]) -> str:
    """Compute the checksum of the parts' checksums: "base64-3" for three parts."""
    joined = b"".join(base64.b64decode(part) for part in parts)
    return f"{of(algorithm, joined)}-{len(parts)}"


def combined(algorithm: str, parts: Sequence[tuple[str, int]]) -> str:
    """Compute the checksum of the whole from those of its parts and their sizes, without reading a byte. CRCs only."""
    combine = _combine_function(algorithm)
    whole = 0
    for value, size_bytes in parts:
        whole = combine(whole, int.from_bytes(base64.b64decode(value), "big"), size_bytes)
    return base64.b64encode(whole.to_bytes(_SIZES[algorithm], "big")).decode()


def etag_of_parts(md5s: Sequence[str]) -> str:
    """Return the entity tag of an object made of parts, from the parts' MD5s in hex; without quotation marks."""
    joined = b"".join(bytes.fromhex(md5) for md5 in md5s)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(md5s)}"


def _crc_function(algorithm: str) -> Callable[[bytes, int], int]:
    if algorithm == "CRC32":
        return zlib.crc32
    from awscrt import checksums  # here, for it takes 60 ms and 8 MB

    return checksums.crc32c if algorithm == "CRC32C" else checksums.crc64nvme  # type: ignore[no-any-return]  # untyped


def _combine_function(algorithm: str) -> Callable[[int, int, int], int]:
    from awscrt import checksums  # here, for it takes 60 ms and 8 MB

    return getattr(checksums, f"combine_{algorithm.lower()}")  # type: ignore[no-any-return]  # untyped

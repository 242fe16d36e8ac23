"""The zip container: finds a zip's members in its bytes and inflates them. What a member may be called is not known here.

    InvalidParameterValue
    └── RefusedZip        "Could not unzip uploaded file..."; `reason` says why, for our own log

The central directory is believed only where the rest of the file agrees: every local header must name the same member with the
same compression, no two members may share bytes, and what is inflated must have the declared length and checksum. Refused
besides: encryption, compression other than stored and deflate, several disks, anything after the end record. Bytes before the
first member are accepted, as every unzip does (self-extracting archives). Zip64 and data descriptors are understood.

Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from lambdad.services.lambda_ import errors

CHUNK_BYTES = 256 * 1024

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL = struct.Struct("<4s2B4HL2L2H")
_END_MAGIC, _END64_MAGIC, _LOCATOR64_MAGIC = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_CENTRAL_MAGIC, _LOCAL_MAGIC = b"PK\x01\x02", b"PK\x03\x04"
_COMMENT_BYTES = 0xFFFF
_SATURATED_16, _SATURATED_32 = 0xFFFF, 0xFFFFFFFF

_STORED, _DEFLATED = 0, 8
_REFUSED_FLAGS = 1 | 1 << 5 | 1 << 6 | 1 << 13  # encrypted, patch data, strong encryption, masked headers
_UNIX_SYSTEMS = (3, 19)  # "version made by": Unix, macOS; only these have st_mode in the upper half of the attributes


class Source(Protocol):
    """The bytes of a zip: `bytes`, or an `mmap` of a file."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: slice, /) -> bytes: ...
    def rfind(self, sub: bytes, start: int, end: int, /) -> int: ...


class RefusedZip(errors.InvalidParameterValue):
    """The zip is broken or hostile. The caller reads AWS's sentence; ``reason`` is for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__("Could not unzip uploaded file. Please check your file, then try to upload again.")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Where the central directory is, and how many members it promises."""

    start: int
    end: int
    count: int
    shift_bytes: int  # what stands before the zip, and is missing in all its offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member, as central directory and local header agree it is."""

    name: bytes
    unix_mode: int  # st_mode; 0 where the zip was made on another system
    is_deflated: bool
    size_bytes: int  # inflated
    crc32: int
    span: tuple[int, int]  # all the bytes it takes up, local header included
    data: tuple[int, int]  # its content, as stored


def find_directory(data: Source) -> Directory:
    """
    Find the central directory.

    Raises:
        RefusedZip: there is none, it is elsewhere than promised, or it is part of a set of disks.
    """
    end = len(data)
    lowest = max(0, end - _END.size - _COMMENT_BYTES)
    found = data.rfind(_END_MAGIC, lowest, end)
    while found >= 0:
        record = data[found : found + _END.size]
        if len(record) == _END.size and found + _END.size + _END.unpack(record)[7] == end:
            break
        found = data.rfind(_END_MAGIC, lowest, found + len(_END_MAGIC) - 1)
    else:
        raise RefusedZip("no end record at the end of the file")
    _, disk, first_disk, here, count, size, offset, _ = _END.unpack(record)
    if _SATURATED_16 in (disk, first_disk, here, count) or _SATURATED_32 in (size, offset):
        large = _end64(data, found)
        if large is not None:
            found, disk, first_disk, here, count, size, offset = large
    if disk or first_disk or here != count:
        raise RefusedZip("part of a set of several disks")
    shift_bytes = found - size - offset
    if shift_bytes < 0:
        raise RefusedZip("central directory lies outside the file")
    return Directory(start=found - size, end=found, count=count, shift_bytes=shift_bytes)


def members(data: Source, directory: Directory) -> Iterator[Member]:
    """
    Go through a zip's members in the order of its central directory.

    Raises:
        RefusedZip: a header is damaged, contradicts the other one, or the directory does not end after its last entry.
    """
    position = directory.start
    for _ in range(directory.count):
        header = _Header.read(data, position, directory.end)
        position = header.end
        yield _member(data, header, directory)
    if position != directory.end:
        raise RefusedZip("central directory is longer than its entries")


def refuse_shared_bytes(spans: list[tuple[int, int]]) -> None:
    """
    Let no two members use the same bytes: that is how a small zip becomes very large.

    Raises:
        RefusedZip: two spans overlap.
    """
    used_to = 0
    for start, end in sorted(spans):
        if start < used_to:
            raise RefusedZip("entries overlap")
        used_to = end


def inflate(data: Source, member: Member) -> Iterator[bytes]:
    """
    Give a member's content in chunks of at most `CHUNK_BYTES`.

    Raises:
        RefusedZip: the content is longer or shorter than the directory says, damaged, or its checksum is wrong. What was
            given before that is at most ``member.size_bytes`` long.
    """
    left, crc32 = member.size_bytes, 0
    for chunk in _deflated(data, *member.data) if member.is_deflated else _stored(data, *member.data):
        left -= len(chunk)
        if left < 0:
            raise RefusedZip(f"{member.name!r} is longer than declared")
        crc32 = zlib.crc32(chunk, crc32)
        yield chunk
    if left:
        raise RefusedZip(f"{member.name!r} is shorter than declared")
    if crc32 != member.crc32:
        raise RefusedZip(f"{member.name!r} has a wrong checksum")


def _stored(data: Source, start: int, end: int) -> Iterator[bytes]:
    for position in range(start, end, CHUNK_BYTES):
        yield data[position : min(position + CHUNK_BYTES, end)]


def _deflated(data: Source, start: int, end: int) -> Iterator[bytes]:
    position = start
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    waiting = b""
    while not inflater.eof:
        if not waiting:
            waiting = data[position : min(position + CHUNK_BYTES, end)]
            position += len(waiting)
        had_input = bool(waiting)
        try:
            chunk = inflater.decompress(waiting, CHUNK_BYTES)
        except zlib.error as error:
            raise RefusedZip("damaged content") from error
        waiting = inflater.unconsumed_tail
        if chunk:
            yield chunk
        elif not had_input:
            raise RefusedZip("truncated content")
    if inflater.unused_data or position != end:
        raise RefusedZip("bytes after the end of the content")


def _end64(data: Source, end_at: int) -> tuple[int, int, int, int, int, int, int] | None:
    """Read the zip64 end record in front of the plain one; None where there is none."""
    locator_at = end_at - _LOCATOR64.size
    record_at = locator_at - _END64.size
    if record_at < 0 or data[locator_at : locator_at + 4] != _LOCATOR64_MAGIC:
        return None
    _, locator_disk, _, disks = _LOCATOR64.unpack(data[locator_at:end_at])
    magic, _, _, _, disk, first_disk, here, count, size, offset = _END64.unpack(data[record_at:locator_at])
    if magic != _END64_MAGIC or locator_disk or disks > 1:
        raise RefusedZip("zip64 end record is not where it belongs")
    return record_at, disk, first_disk, here, count, size, offset


@dataclass(frozen=True, slots=True)
class _Header:
    """One entry of the central directory."""

    name: bytes
    unix_mode: int
    flags: int
    method: int
    crc32: int
    data_bytes: int
    size_bytes: int
    offset: int
    end: int  # where the next header starts

    @classmethod
    def read(cls, data: Source, position: int, limit: int) -> "_Header":
        name_at = position + _CENTRAL.size
        if name_at > limit:
            raise RefusedZip("central directory is cut off")
        fields = _CENTRAL.unpack(data[position:name_at])
        magic, _, system, _, _, flags, method, _, _, crc32 = fields[:10]
        data_bytes, size_bytes, name_bytes, extra_bytes, comment_bytes, disk, _, attributes, offset = fields[10:]
        extra_at = name_at + name_bytes
        end = extra_at + extra_bytes + comment_bytes
        if magic != _CENTRAL_MAGIC or end > limit:
            raise RefusedZip("central directory is damaged")
        if _SATURATED_32 in (data_bytes, size_bytes, offset) or disk == _SATURATED_16:
            extra = data[extra_at : extra_at + extra_bytes]
            size_bytes, data_bytes, offset, disk = _zip64_extra(extra, size_bytes, data_bytes, offset, disk)
        if disk:
            raise RefusedZip("entry on another disk")
        unix_mode = attributes >> 16 if system in _UNIX_SYSTEMS else 0
        return cls(data[name_at:extra_at], unix_mode, flags, method, crc32, data_bytes, size_bytes, offset, end)


def _zip64_extra(extra: bytes, size_bytes: int, data_bytes: int, offset: int, disk: int) -> tuple[int, int, int, int]:
    """Take what does not fit in the header from the zip64 extra field; it holds only those values, in this order."""
    field = _extra_field(extra, 1)
    if field is None:
        return size_bytes, data_bytes, offset, disk
    taken = 0
    values = []
    for value, saturated, width in (
        (size_bytes, _SATURATED_32, 8),
        (data_bytes, _SATURATED_32, 8),
        (offset, _SATURATED_32, 8),
        (disk, _SATURATED_16, 4),
    ):
        if value == saturated:
            if taken + width > len(field):
                raise RefusedZip("zip64 extra field is too short")
            value = int.from_bytes(field[taken : taken + width], "little")
            taken += width
        values.append(value)
    return values[0], values[1], values[2], values[3]


def _extra_field(extra: bytes, wanted: int) -> bytes | None:
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        position += 4
        if kind == wanted:
            return extra[position : position + length]
        position += length
    return None


def _member(data: Source, header: _Header, directory: Directory) -> Member:
    start = header.offset + directory.shift_bytes
    name_at = start + _LOCAL.size
    if name_at > directory.start:
        raise RefusedZip("entry lies outside the file")
    magic, _, _, flags, method, _, _, _, _, _, name_bytes, extra_bytes = _LOCAL.unpack(data[start:name_at])
    data_at = name_at + name_bytes + extra_bytes
    end = data_at + header.data_bytes
    if magic != _LOCAL_MAGIC or end > directory.start:
        raise RefusedZip("entry lies outside the file")
    if data[name_at : name_at + name_bytes] != header.name or method != header.method:
        raise RefusedZip("local header contradicts the central directory")
    if (flags | header.flags) & _REFUSED_FLAGS:
        raise RefusedZip("encrypted")
    if method not in (_STORED, _DEFLATED):
        raise RefusedZip(f"compression method {method}")
    if method == _STORED and header.data_bytes != header.size_bytes:
        raise RefusedZip("stored entry of two sizes")
    return Member(
        name=header.name,
        unix_mode=header.unix_mode,
        is_deflated=method == _DEFLATED,
        size_bytes=header.size_bytes,
        crc32=header.crc32,
        span=(start, end),
        data=(data_at, end),
    )

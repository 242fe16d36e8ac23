"""Builds zips byte by byte, so that they can lie."""

import struct
import zlib
from dataclasses import dataclass

REGULAR, DIRECTORY, LINK, FIFO, CHARACTER, BLOCK, SOCKET = (
    0o100000,
    0o040000,
    0o120000,
    0o010000,
    0o020000,
    0o060000,
    0o140000,
)


@dataclass(frozen=True, kw_only=True)
class Crafted:
    """One member of a zip. What is None is as it should be."""

    name: bytes
    content: bytes = b""
    mode: int = REGULAR | 0o644
    system: int = 3
    method: int = 8
    flags: int = 0
    local_name: bytes | None = None
    local_method: int | None = None
    declared_bytes: int | None = None
    declared_data_bytes: int | None = None
    declared_crc32: int | None = None
    declared_offset: int | None = None
    data: bytes | None = None
    zip64: bool = False
    shares_previous: bool = False  # points to the local header of the member before it


def deflate(content: bytes) -> bytes:
    """Compress as zip does: raw deflate."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(content) + deflater.flush()


def craft(
    *members: Crafted,
    before: bytes = b"",
    after: bytes = b"",
    comment: bytes = b"",
    count: int | None = None,
    disk: int = 0,
    zip64: bool = False,
) -> bytes:
    """Put a zip together; `before` is not counted in the offsets, as in a self-extracting archive."""
    body, central = b"", b""
    offset = 0
    for member in members:
        data = member.data
        if data is None:
            data = deflate(member.content) if member.method == 8 else member.content
        size = len(member.content) if member.declared_bytes is None else member.declared_bytes
        data_size = len(data) if member.declared_data_bytes is None else member.declared_data_bytes
        crc32 = zlib.crc32(member.content) if member.declared_crc32 is None else member.declared_crc32
        local_name = member.name if member.local_name is None else member.local_name
        local_method = member.method if member.local_method is None else member.local_method
        if not member.shares_previous:
            offset = len(body)
            body += struct.pack(
                "<4s2B4HL2L2H",
                *(b"PK\x03\x04", 20, 0, member.flags, local_method, 0, 0x21, crc32),
                *(min(data_size, 0xFFFFFFFF), min(size, 0xFFFFFFFF), len(local_name), 0),
            )
            body += local_name + data
        where = offset if member.declared_offset is None else member.declared_offset
        extra = struct.pack("<2H3Q", 1, 24, size, data_size, where) if member.zip64 else b""
        shown = (0xFFFFFFFF,) * 3 if member.zip64 else (data_size, size, where)
        central += struct.pack(
            "<4s4B4HL2L5H2L",
            *(b"PK\x01\x02", 20, member.system, 20, 0, member.flags, member.method, 0, 0x21, crc32),
            *(shown[0], shown[1], len(member.name), len(extra), 0, 0, 0, member.mode << 16, shown[2]),
        )
        central += member.name + extra
    number = len(members) if count is None else count
    end = b""
    if zip64:
        end += struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, number, number, len(central), len(body))
        end += struct.pack("<4sLQL", b"PK\x06\x07", 0, len(body) + len(central), 1)
        end += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, len(comment))
    else:
        end += struct.pack("<4s4H2LH", b"PK\x05\x06", disk, disk, number, number, len(central), len(body), len(comment))
    return before + body + central + end + comment + after

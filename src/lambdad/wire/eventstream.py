"""The frames of ``application/vnd.amazon.eventstream``: headers of nine types, a payload, two checksums.

A frame is ``total length u32 | headers length u32 | crc32 of these | headers | payload | crc32 of all``, big-endian.
"""

import struct
from binascii import crc32
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TypeAlias

from lambdad.wire.timestamps import EPOCH

HeaderValue: TypeAlias = bool | int | bytes | str | datetime
"""A UUID is its sixteen bytes."""

MEDIA_TYPE = "application/vnd.amazon.eventstream"

_PRELUDE = struct.Struct("!III")
_U32 = struct.Struct("!I")
_U16 = struct.Struct("!H")
_OVERHEAD_BYTES = _PRELUDE.size + _U32.size
HEADERS_MAX_BYTES = 128 * 1024
PAYLOAD_MAX_BYTES = 24 * 1024 * 1024


class FrameError(ValueError):
    """The bytes are no frame: a checksum, a length or a header is wrong."""


class HeaderType(IntEnum):
    TRUE = 0
    FALSE = 1
    BYTE = 2
    SHORT = 3
    INTEGER = 4
    LONG = 5
    BYTES = 6
    STRING = 7
    TIMESTAMP = 8
    UUID = 9


@dataclass(frozen=True, slots=True)
class Header:
    """A header of a frame. The type tells the four sizes of integers apart."""

    type: HeaderType
    value: HeaderValue


@dataclass(frozen=True, slots=True)
class Message:
    """What a frame holds."""

    headers: Mapping[str, Header]
    payload: bytes


_INTEGERS = {
    HeaderType.BYTE: struct.Struct("!b"),
    HeaderType.SHORT: struct.Struct("!h"),
    HeaderType.INTEGER: struct.Struct("!i"),
    HeaderType.LONG: struct.Struct("!q"),
}


def header_of(value: HeaderValue, *, integer_type: HeaderType = HeaderType.INTEGER) -> Header:
    """Return the header that holds a value; an integer is written in the given size."""
    match value:
        case bool():
            return Header(HeaderType.TRUE if value else HeaderType.FALSE, value)
        case int():
            return Header(integer_type, value)
        case bytes():
            return Header(HeaderType.BYTES, value)
        case str():
            return Header(HeaderType.STRING, value)
        case datetime():
            return Header(HeaderType.TIMESTAMP, value)


def text_header(name: str, value: str) -> bytes:
    """Return one encoded header of type string, for tables that are built once."""
    return encode_header(name, Header(HeaderType.STRING, value))


def encode_header(name: str, header: Header) -> bytes:
    """
    Write a header.

    Raises:
        FrameError: the name is longer than 255 bytes, or the value does not fit its type.
    """
    encoded_name = name.encode()
    if not 0 < len(encoded_name) < 256:
        raise FrameError(f"a header's name has 1 to 255 bytes: {name!r}")
    return bytes((len(encoded_name),)) + encoded_name + bytes((header.type,)) + _encode_value(header)


def _encode_value(header: Header) -> bytes:
    value = header.value
    match header.type:
        case HeaderType.TRUE | HeaderType.FALSE:
            return b""
        case HeaderType.BYTES | HeaderType.STRING:
            raw = value.encode() if isinstance(value, str) else value
            if not isinstance(raw, bytes) or len(raw) > 0xFFFF:
                raise FrameError("a header's value has at most 65535 bytes")
            return _U16.pack(len(raw)) + raw
        case HeaderType.TIMESTAMP:
            assert isinstance(value, datetime)
            return _INTEGERS[HeaderType.LONG].pack((value - EPOCH) // timedelta(milliseconds=1))
        case HeaderType.UUID:
            if not isinstance(value, bytes) or len(value) != 16:
                raise FrameError("a UUID has 16 bytes")
            return value
        case _:
            try:
                return _INTEGERS[header.type].pack(value)
            except struct.error as error:
                raise FrameError(str(error)) from None


def encode_message(headers: Mapping[str, Header], payload: bytes) -> bytes:
    """Write a frame."""
    return encode_frame((encode_header(name, header) for name, header in headers.items()), payload)


def encode_frame(encoded_headers: Iterable[bytes], payload: bytes) -> bytes:
    """
    Write a frame from headers that are encoded already.

    Raises:
        FrameError: more headers than 128 KiB, or a payload of more than 24 MiB, which no client accepts.
    """
    headers = b"".join(encoded_headers)
    if len(headers) > HEADERS_MAX_BYTES or len(payload) > PAYLOAD_MAX_BYTES:
        raise FrameError("the frame is too large")
    lengths = struct.pack("!II", _OVERHEAD_BYTES + len(headers) + len(payload), len(headers))
    prelude = lengths + _U32.pack(crc32(lengths))
    frame = b"".join((prelude, headers, payload))
    return frame + _U32.pack(crc32(frame))


class Decoder:
    """Reads frames from a stream that is cut anywhere.

    Holds what has arrived of the frame that is not complete yet, at most one frame's size.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """
        Take the next bytes and return the messages that they complete.

        Raises:
            FrameError: the stream is broken and cannot be read further.
        """
        self._buffer += data
        messages: list[Message] = []
        while len(self._buffer) >= _PRELUDE.size:
            total, headers_length, checksum = _PRELUDE.unpack_from(self._buffer)
            if crc32(self._buffer[:8]) != checksum:
                raise FrameError("the checksum of the prelude is wrong")
            payload_length = total - headers_length - _OVERHEAD_BYTES
            if headers_length > HEADERS_MAX_BYTES or not 0 <= payload_length <= PAYLOAD_MAX_BYTES:
                raise FrameError("the lengths in the prelude are impossible")
            if len(self._buffer) < total:
                break
            frame = bytes(self._buffer[:total])
            del self._buffer[:total]
            if crc32(frame[:-4]) != _U32.unpack_from(frame, total - 4)[0]:
                raise FrameError("the checksum of the message is wrong")
            end = _PRELUDE.size + headers_length
            messages.append(Message(_decode_headers(frame[_PRELUDE.size : end]), frame[end:-4]))
        return messages

    @property
    def is_between_frames(self) -> bool:
        """Whether the stream may end here."""
        return not self._buffer


def _decode_headers(raw: bytes) -> dict[str, Header]:
    headers: dict[str, Header] = {}
    at = 0
    try:
        while at < len(raw):
            name = raw[at + 1 : at + 1 + raw[at]].decode()
            at += 1 + raw[at]
            header_type = HeaderType(raw[at])
            value, at = _DECODERS[header_type](raw, at + 1)
            if at > len(raw) or not name or name in headers:
                raise FrameError("a header is cut short, has no name or is there twice")
            headers[name] = Header(header_type, value)
    except (IndexError, struct.error, ValueError, OverflowError) as error:
        raise FrameError(f"the headers are broken: {error}") from None
    return headers


_Decoded: TypeAlias = tuple[HeaderValue, int]


def _integer_decoder(layout: struct.Struct) -> Callable[[bytes, int], _Decoded]:
    return lambda raw, at: (layout.unpack_from(raw, at)[0], at + layout.size)


def _decode_bytes(raw: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + _U16.unpack_from(raw, at)[0]
    return raw[at + 2 : end], end


def _decode_string(raw: bytes, at: int) -> _Decoded:
    value, end = _decode_bytes(raw, at)
    return value.decode(), end


def _decode_timestamp(raw: bytes, at: int) -> _Decoded:
    return EPOCH + timedelta(milliseconds=_INTEGERS[HeaderType.LONG].unpack_from(raw, at)[0]), at + 8


def _decode_uuid(raw: bytes, at: int) -> _Decoded:
    return raw[at : at + 16], at + 16


_DECODERS: dict[HeaderType, Callable[[bytes, int], _Decoded]] = {
    HeaderType.TRUE: lambda raw, at: (True, at),
    HeaderType.FALSE: lambda raw, at: (False, at),
    HeaderType.BYTES: _decode_bytes,
    HeaderType.STRING: _decode_string,
    HeaderType.TIMESTAMP: _decode_timestamp,
    HeaderType.UUID: _decode_uuid,
    **{header_type: _integer_decoder(layout) for header_type, layout in _INTEGERS.items()},
}

"""Concise Binary Object Representation (RFC 8949), as much of it as RPC v2 CBOR allows.

A stranger's bytes are read by this and not by a general library: no tag but that of time is known, no length is believed
before the bytes are there, and nesting is bounded.
"""

import struct
from datetime import datetime
from typing import Any

from lambdad.wire import timestamps
from lambdad.wire.serialization import serialization_error

_DEPTH_MAX = 200
_HALF, _SINGLE, _DOUBLE = struct.Struct(">e"), struct.Struct(">f"), struct.Struct(">d")
_LENGTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_INDEFINITE = 31
_BREAK = object()


def loads(data: bytes) -> Any:
    """
    Read one data item: dicts with text keys, lists, text, bytes, numbers, booleans, None, and datetimes for tag 1.

    Raises:
        AwsError: SerializationException.
    """
    reader = _Reader(data)
    try:
        value = reader.item(0)
    except (IndexError, struct.error, UnicodeDecodeError):
        raise serialization_error() from None
    if value is _BREAK or reader.at != len(data):
        raise serialization_error()
    return value


class _Reader:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def item(self, depth: int) -> Any:
        if depth > _DEPTH_MAX:
            raise serialization_error("The request is nested too deeply")
        initial = self.data[self.at]
        self.at += 1
        major, info = initial >> 5, initial & 31
        if major == 7:
            return self._simple(info)
        if info == _INDEFINITE:
            return self._indefinite(major, depth)
        number = self._number(info)
        match major:
            case 0:
                return number
            case 1:
                return -1 - number
            case 2:
                return self._take(number)
            case 3:
                return self._take(number).decode()
            case 4:
                self._expect(number)
                return [self._element(depth) for _ in range(number)]
            case 5:
                self._expect(2 * number)
                return dict(self._pair(depth) for _ in range(number))
        return self._tagged(number, depth)

    def _number(self, info: int) -> int:
        if info < 24:
            return info
        if info not in _LENGTHS:
            raise serialization_error()
        return int.from_bytes(self._take(_LENGTHS[info]), "big")

    def _take(self, length: int) -> bytes:
        self._expect(length)
        start = self.at
        self.at += length
        return self.data[start : self.at]

    def _expect(self, length: int) -> None:
        """Refuse a length that the rest of the data cannot hold."""
        if length > len(self.data) - self.at:
            raise serialization_error()

    def _element(self, depth: int) -> Any:
        value = self.item(depth + 1)
        if value is _BREAK:
            raise serialization_error()
        return value

    def _pair(self, depth: int) -> tuple[str, Any]:
        key = self._element(depth)
        if type(key) is not str:
            raise serialization_error()
        return key, self._element(depth)

    def _indefinite(self, major: int, depth: int) -> Any:
        if major == 5:
            found: dict[str, Any] = {}
            while self.data[self.at] != 0xFF:
                key, value = self._pair(depth)
                found[key] = value
            self.at += 1
            return found
        if major not in (2, 3, 4):
            raise serialization_error()
        parts: list[Any] = []
        while (value := self.item(depth + 1)) is not _BREAK:
            parts.append(value)
        if major == 4:
            return parts
        wanted = bytes if major == 2 else str
        if not all(type(part) is wanted for part in parts):
            raise serialization_error()
        return (b"" if major == 2 else "").join(parts)

    def _tagged(self, tag: int, depth: int) -> datetime:
        value = self._element(depth)
        if tag != 1 or type(value) not in (int, float):
            raise serialization_error(f"The tag {tag} is not supported")
        return timestamps.from_unix(value)

    def _simple(self, info: int) -> Any:
        match info:
            case 20:
                return False
            case 21:
                return True
            case 22 | 23:
                return None
            case 25:
                return _HALF.unpack(self._take(2))[0]
            case 26:
                return _SINGLE.unpack(self._take(4))[0]
            case 27:
                return _DOUBLE.unpack(self._take(8))[0]
            case 31:
                return _BREAK
        raise serialization_error()


def dumps(value: Any) -> bytes:
    """Write one data item; a datetime becomes tag 1, with milliseconds if it has any."""
    out = bytearray()
    _write(value, out)
    return bytes(out)


def _write(value: Any, out: bytearray) -> None:
    match value:
        case None:
            out.append(0xF6)
        case bool():
            out.append(0xF5 if value else 0xF4)
        case str():
            encoded = value.encode("utf-8", "replace")
            _write_head(3, len(encoded), out)
            out += encoded
        case int():
            _write_head(0 if value >= 0 else 1, value if value >= 0 else -1 - value, out)
        case float():
            out.append(0xFB)
            out += _DOUBLE.pack(value)
        case bytes() | bytearray():
            _write_head(2, len(value), out)
            out += value
        case list() | tuple():
            _write_head(4, len(value), out)
            for item in value:
                _write(item, out)
        case dict():
            _write_head(5, len(value), out)
            for key, item in value.items():
                _write(key, out)
                _write(item, out)
        case datetime():
            out.append(0xC1)
            _write(timestamps.to_unix(value), out)
        case _:
            raise TypeError(f"CBOR has no {type(value).__name__}")


def _write_head(major: int, number: int, out: bytearray) -> None:
    if number < 24:
        out.append(major << 5 | number)
        return
    for info, length in _LENGTHS.items():
        if number < 1 << 8 * length:
            out.append(major << 5 | info)
            out += number.to_bytes(length, "big")
            return
    raise TypeError("CBOR has no integers beyond 64 bits")

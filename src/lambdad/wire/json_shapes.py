"""Closures that turn JSON's plain values into a shape's typed values and back, compiled once per shape.

An encoder of None means that the value is written as it is. Structures are entered into the tables before their members
are compiled, so that shapes may contain themselves.
"""

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn, TypeAlias

import orjson

from lambdad.wire import timestamps
from lambdad.wire.serialization import mismatch, serialization_error, unexpected_scalar
from lambdad.wire.service_model import Ref, Shape

Decoder: TypeAlias = Callable[[Any], Any]
Encoder: TypeAlias = Callable[[Any], Any]

_SPECIAL_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def loads(body: bytes) -> Any:
    """
    Read a JSON text; nothing at all is an empty structure.

    Raises:
        AwsError: SerializationException.
    """
    if not body:
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise serialization_error() from None


def dumps(value: Any) -> bytes:
    """Write a JSON text, also one with integers beyond 64 bits or unpaired surrogates, which orjson refuses."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


class JsonDecoders:
    """Decoders of a model's shapes, compiled at first use."""

    def __init__(self) -> None:
        self._structures: dict[str, Decoder] = {}

    def members(self, refs: Iterable[Ref]) -> Callable[[Any], dict[str, Any]]:
        """Return a decoder of a structure that has just these members: what is left in a body beside the headers."""
        table: dict[str, tuple[str, Decoder]] = {ref.wire_name: (ref.name, self.of(ref)) for ref in refs}
        return _structure_decoder(table)

    def of(self, ref: Ref) -> Decoder:
        shape = ref.shape
        if shape.type == "structure":
            return self._structure(shape)
        if shape.type == "list":
            return _list_decoder(self.of(shape.element))
        if shape.type == "map":
            return _map_decoder(self.of(shape.entry[1]))
        return _SCALARS[shape.type]

    def _structure(self, shape: Shape) -> Decoder:
        if shape.traits.get("document"):
            return _as_it_is
        known = self._structures.get(shape.name)
        if known is not None:
            return known
        table: dict[str, tuple[str, Decoder]] = {}
        decode = _structure_decoder(table)
        if shape.traits.get("union"):
            decode = _union_decoder(decode)
        self._structures[shape.name] = decode
        for ref in shape.members.values():
            table[ref.wire_name] = (ref.name, self.of(ref))
        return decode


def _as_it_is(value: Any) -> Any:
    return value


def _structure_decoder(table: Mapping[str, tuple[str, Decoder]]) -> Callable[[Any], dict[str, Any]]:
    def decode(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            _not_a_map(value)
        found: dict[str, Any] = {}
        for key, item in value.items():
            if item is not None:
                entry = table.get(key)
                if entry is not None:
                    found[entry[0]] = entry[1](item)
        return found

    return decode


def _union_decoder(decode: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    def decode_union(value: Any) -> dict[str, Any]:
        found = decode(value)
        if len(found) != 1:
            raise serialization_error("Unions must have exactly one member set")
        return found

    return decode_union


def _list_decoder(member: Decoder) -> Decoder:
    def decode(value: Any) -> list[Any]:
        if type(value) is not list:
            if type(value) is dict:
                mismatch(value, "a List")
            unexpected_scalar()
        return [None if item is None else member(item) for item in value]

    return decode


def _map_decoder(member: Decoder) -> Decoder:
    def decode(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            _not_a_map(value)
        return {key: None if item is None else member(item) for key, item in value.items()}

    return decode


def _not_a_map(value: Any) -> NoReturn:
    if type(value) is list:
        mismatch(value, "a Map")
    unexpected_scalar()


def decode_string(value: Any) -> str:
    if type(value) is not str:
        mismatch(value, "a String")
    return value


def decode_boolean(value: Any) -> bool:
    if value is not True and value is not False:
        mismatch(value, "a Boolean")
    return bool(value)


def _whole_number_decoder(wanted: str, bits: int) -> Decoder:
    lowest, highest = -(1 << bits - 1), (1 << bits - 1) - 1

    def decode(value: Any) -> int:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not lowest <= value <= highest:
            mismatch(value, wanted)
        return int(value)

    return decode


decode_integer = _whole_number_decoder("an Integer", 32)
decode_long = _whole_number_decoder("a Long", 64)


def decode_float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    if type(value) is str and value in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[value]
    mismatch(value, "a Double")


def decode_blob(value: Any) -> bytes:
    if type(value) is not str:
        mismatch(value, "a Blob")
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        return _lenient_base64(value)


def _lenient_base64(text: str) -> bytes:
    """Read base64 that is broken into lines or written with the URL alphabet, as some clients do."""
    plain = "".join(text.split()).replace("-", "+").replace("_", "/")
    try:
        return binascii.a2b_base64(plain, strict_mode=True)
    except ValueError:
        raise serialization_error("STRING_VALUE can not be converted to a Blob") from None


def decode_timestamp(value: Any) -> datetime:
    if type(value) is int or type(value) is float:
        return timestamps.from_unix(value)
    if type(value) is not str:
        mismatch(value, "milliseconds since epoch")
    return timestamps.from_text(value)


_SCALARS: dict[str, Decoder] = {
    "string": decode_string,
    "character": decode_string,
    "boolean": decode_boolean,
    "integer": decode_integer,
    "long": decode_long,
    "float": decode_float,
    "double": decode_float,
    "blob": decode_blob,
    "timestamp": decode_timestamp,
}


class JsonEncoders:
    """Encoders of a model's shapes, compiled at first use."""

    def __init__(self) -> None:
        self._structures: dict[str, Encoder] = {}

    def members(self, refs: Iterable[Ref]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """Return an encoder of a structure that has just these members; others are left out."""
        return _structure_encoder({ref.name: (ref.wire_name, self.of(ref)) for ref in refs})

    def of(self, ref: Ref) -> Encoder | None:
        shape = ref.shape
        match shape.type:
            case "structure":
                return None if shape.traits.get("document") else self._structure(shape)
            case "list":
                return _list_encoder(self.of(shape.element))
            case "map":
                return _map_encoder(self.of(shape.entry[1]))
            case "blob":
                return encode_blob
            case "timestamp":
                return _timestamp_encoder(ref.trait("timestampFormat") or timestamps.UNIX)
            case "float" | "double":
                return encode_float
        return None

    def _structure(self, shape: Shape) -> Encoder:
        known = self._structures.get(shape.name)
        if known is not None:
            return known
        table: dict[str, tuple[str, Encoder | None]] = {}
        encode = self._structures[shape.name] = _structure_encoder(table)
        for ref in shape.members.values():
            table[ref.name] = (ref.wire_name, self.of(ref))
        return encode


def _structure_encoder(
    table: Mapping[str, tuple[str, Encoder | None]],
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    def encode(value: Mapping[str, Any]) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for key, item in value.items():
            if item is not None:
                entry = table.get(key)
                if entry is not None:
                    written[entry[0]] = item if entry[1] is None else entry[1](item)
        return written

    return encode


def _list_encoder(member: Encoder | None) -> Encoder | None:
    if member is None:
        return None
    encode = member
    return lambda items: [None if item is None else encode(item) for item in items]


def _map_encoder(member: Encoder | None) -> Encoder | None:
    if member is None:
        return None
    encode = member
    return lambda items: {key: None if item is None else encode(item) for key, item in items.items()}


def encode_blob(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def encode_float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _timestamp_encoder(timestamp_format: str) -> Encoder:
    if timestamp_format == timestamps.UNIX:
        return timestamps.to_unix
    return timestamps.text_writer(timestamp_format)

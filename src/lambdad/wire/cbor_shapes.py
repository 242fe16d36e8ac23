"""Decoders and encoders between CBOR's plain values and a shape's typed values.

They differ from JSON's in three scalars: blobs are bytes, timestamps are datetimes, special floats are floats.
"""

from datetime import datetime
from typing import Any

from lambdad.wire import json_shapes, timestamps
from lambdad.wire.serialization import mismatch, serialization_error
from lambdad.wire.service_model import Ref


class CborDecoders(json_shapes.JsonDecoders):
    """Decoders of a model's shapes, compiled at first use."""

    def of(self, ref: Ref) -> json_shapes.Decoder:
        return _SCALARS.get(ref.shape.type) or super().of(ref)


class CborEncoders(json_shapes.JsonEncoders):
    """Encoders of a model's shapes, compiled at first use."""

    def of(self, ref: Ref) -> json_shapes.Encoder | None:
        if ref.shape.type in ("float", "double"):
            return float
        return None if ref.shape.type in _SCALARS else super().of(ref)


def _decode_blob(value: Any) -> bytes:
    if type(value) is not bytes:
        mismatch(value, "a Blob")
    return value


def _decode_timestamp(value: Any) -> datetime:
    if type(value) is datetime:
        return value
    if type(value) in (int, float):
        return timestamps.from_unix(value)
    raise serialization_error("The value can not be converted to milliseconds since epoch")


_SCALARS: dict[str, json_shapes.Decoder] = {"blob": _decode_blob, "timestamp": _decode_timestamp}

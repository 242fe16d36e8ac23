"""What a REST response carries outside its body: its status and headers; compiled once per operation."""

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from lambdad.wire import json_shapes, timestamps
from lambdad.wire.service_model import Ref

Headers: TypeAlias = list[tuple[str, str]]
Writer: TypeAlias = Callable[[Mapping[str, Any], Headers], int | None]
TextWriter: TypeAlias = Callable[[Any], str]


def compile_writer(members: Iterable[Ref]) -> Writer:
    """Return a function that appends the headers of an output, or an error, and returns the status that it sets."""
    refs = list(members)
    headers = [(ref.name, ref.wire_name, _header_writer(ref)) for ref in refs if ref.location == "header"]
    prefixed = [(ref.name, ref.trait("locationName") or "") for ref in refs if ref.location == "headers"]
    status_member = next((ref.name for ref in refs if ref.location == "statusCode"), None)

    def write(output: Mapping[str, Any], written: Headers) -> int | None:
        for name, header, to_text in headers:
            value = output.get(name)
            if value is not None:
                written.append((header, to_text(value)))
        for name, prefix in prefixed:
            for key, value in (output.get(name) or {}).items():
                written.append((safe_header(prefix + key), safe_header(value)))
        return output.get(status_member) if status_member is not None else None

    return write


def _header_writer(ref: Ref) -> TextWriter:
    if ref.trait("jsonvalue"):
        return lambda value: base64.b64encode(json_shapes.dumps(value)).decode("ascii")
    if ref.shape.type == "list":
        write = text_writer(ref.shape.element, timestamps.RFC822)
        return lambda items: safe_header(",".join(_quoted(write(item)) for item in items))
    if ref.shape.type in ("string", "character"):
        return safe_header
    return text_writer(ref, timestamps.RFC822)


def _quoted(item: str) -> str:
    return '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' if "," in item or '"' in item else item


def text_writer(ref: Ref, timestamp_format: str) -> TextWriter:
    """Return the function that writes a scalar of the model as text; the format is the one where the model names none."""
    match ref.shape.type:
        case "boolean":
            return lambda value: "true" if value else "false"
        case "timestamp":
            return timestamps.text_writer(ref.trait("timestampFormat") or timestamp_format)
        case "blob":
            return json_shapes.encode_blob
        case "float" | "double":
            return lambda value: str(json_shapes.encode_float(value))
    return str


def safe_header(value: str) -> str:
    """Make a header's value of any text: no line break survives, and what is not ASCII is wrapped as RFC 2047 says."""
    if value.isascii():
        if value.isprintable():
            return str(value)
        return "".join(character if character.isprintable() or character == "\t" else " " for character in value)
    return f"=?UTF-8?B?{base64.b64encode(value.encode('utf-8', 'replace')).decode('ascii')}?="

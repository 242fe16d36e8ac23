"""What a REST request carries outside its body: labels of the path, query, headers; compiled once per operation."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from lambdad.wire import json_shapes, timestamps
from lambdad.wire.http import Request
from lambdad.wire.routing import Match
from lambdad.wire.serialization import serialization_error
from lambdad.wire.service_model import Operation, Ref

TextReader: TypeAlias = Callable[[str], Any]
Reader: TypeAlias = Callable[[Match, Mapping[str, str], dict[str, Any]], None]


def compile_parser(operation: Operation, read_body: Callable[[bytes], dict[str, Any]] | None) -> Callable[[Request, Match], dict[str, Any]]:
    """Build what reads an operation's input: the body first, by its protocol's way, then path, query and headers."""
    read_outside = compile_reader(operation)

    def parse(request: Request, match: Match) -> dict[str, Any]:
        found: dict[str, Any] = {} if read_body is None else read_body(request.body)
        read_outside(match, request.headers, found)
        return found

    return parse


def compile_reader(operation: Operation) -> Reader:
    """Return a function that enters the members bound to path, query and headers into the given dict."""
    members = list(operation.input.shape.members.values()) if operation.input is not None else []
    labels = [(ref.name, ref.wire_name, _text_reader(ref)) for ref in members if ref.location == "uri"]
    headers = [(ref.name, ref.wire_name.lower(), _header_reader(ref)) for ref in members if ref.location == "header"]
    prefixed = [(ref.name, (ref.trait("locationName") or "").lower()) for ref in members if ref.location == "headers"]
    queried = [ref for ref in members if ref.location == "querystring"]
    single = {ref.wire_name: (ref.name, _text_reader(ref)) for ref in queried if ref.shape.type not in ("list", "map")}
    lists = {ref.wire_name: (ref.name, _text_reader(ref.shape.element)) for ref in queried if ref.shape.type == "list"}
    rest = [(ref.name, ref.shape.entry[1].shape.type == "list") for ref in queried if ref.shape.type == "map"]
    taken = {*single, *lists, *_literal_names(operation)}

    def read(match: Match, given: Mapping[str, str], found: dict[str, Any]) -> None:
        for name, label, from_text in labels:
            found[name] = from_text(match.labels[label])
        if match.query:
            for key, values in match.query.items():
                if key in single:
                    name, from_text = single[key]
                    found[name] = from_text(values[0])
                elif key in lists:
                    name, from_text = lists[key]
                    found[name] = [from_text(value) for value in values]
            for name, many in rest:
                others = {key: values for key, values in match.query.items() if key not in taken}
                if others:
                    found[name] = others if many else {key: values[0] for key, values in others.items()}
        for name, header, from_text in headers:
            value = given.get(header)
            if value is not None:
                found[name] = from_text(value)
        for name, prefix in prefixed:
            matching = {k[len(prefix) :]: header_text(v) for k, v in given.items() if k.startswith(prefix)}
            if matching:
                found[name] = matching

    return read


def _literal_names(operation: Operation) -> list[str]:
    query = operation.request_uri.partition("?")[2]
    return [part.partition("=")[0] for part in query.split("&") if part]


def header_text(value: str) -> str:
    """Read a header's value: HTTP gives it as Latin-1, clients mean UTF-8."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _header_reader(ref: Ref) -> TextReader:
    if ref.trait("jsonvalue"):
        return _json_header
    if ref.shape.type == "list":
        return _list_reader(_text_reader(ref.shape.element))
    read = _text_reader(ref)
    return header_text if read is str else read


def _json_header(value: str) -> Any:
    try:
        return json.loads(base64.b64decode(value))
    except ValueError:
        raise serialization_error("STRING_VALUE can not be converted to a JSON value") from None


def _list_reader(read: TextReader) -> TextReader:
    return lambda value: [read(item) for item in split_list(value)]


def split_list(value: str) -> list[str]:
    r"""Split a list in a header: ``a, "b,c", d`` are three; a backslash escapes within quotes."""
    if '"' not in value:
        return [item.strip() for item in value.split(",")] if value else []
    items: list[str] = []
    current: list[str] = []
    quoted = escaped = False
    for character in value:
        if escaped:
            current.append(character)
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            items.append("".join(current).strip())
            current = []
        else:
            current.append(character)
    return [*items, "".join(current).strip()]


def _text_reader(ref: Ref) -> TextReader:
    return text_reader(ref.shape.type)


def text_reader(shape_type: str) -> TextReader:
    """Return the function that reads a scalar of the model from text."""
    return _READERS[shape_type]


def _boolean(text: str) -> bool:
    lower = text.strip().lower()
    if lower in ("true", "false"):
        return lower == "true"
    raise serialization_error("STRING_VALUE can not be converted to a Boolean")


def _whole_number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise serialization_error("STRING_VALUE can not be converted to an Integer") from None
    if not -(1 << 63) <= number < 1 << 63 or "_" in text:
        raise serialization_error("STRING_VALUE can not be converted to an Integer")
    return number


def _float(text: str) -> float:
    try:
        if "_" not in text:
            return json_shapes.decode_float(text) if text in ("NaN", "Infinity", "-Infinity") else float(text)
    except ValueError:
        pass
    raise serialization_error("STRING_VALUE can not be converted to a Double")


_READERS: dict[str, TextReader] = {
    "string": str,
    "character": str,
    "boolean": _boolean,
    "integer": _whole_number,
    "long": _whole_number,
    "float": _float,
    "double": _float,
    "blob": json_shapes.decode_blob,
    "timestamp": timestamps.from_text,
}

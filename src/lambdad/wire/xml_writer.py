"""Closures that write a shape's typed values as XML, compiled once per shape. Text is collected in a list of parts."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from lambdad.wire import rest_output, timestamps
from lambdad.wire.service_model import Ref, Shape

Parts: TypeAlias = list[str]
ValueWriter: TypeAlias = Callable[[Any, Parts], None]
"""Appends the inside of an element."""

_SPECIAL = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}


def escape(text: str) -> str:
    """Write text for content or attributes; what XML 1.0 cannot say becomes U+FFFD."""
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda found: _ESCAPES.get(found.group(), "�"), text)


class XmlWriters:
    """Writers of a model's shapes, compiled at first use.

    Args:
        iso8601: how this service writes the format that is XML's default.
    """

    def __init__(self, iso8601: Callable[[Any], str] = timestamps.to_iso8601) -> None:
        self._iso8601 = iso8601
        self._structures: dict[str, ValueWriter] = {}

    def members(self, refs: Iterable[Ref]) -> Callable[[Mapping[str, Any], Parts], None]:
        """Return a writer of a structure that has just these members."""
        return _structure_writer({ref.name: self.element(ref) for ref in refs})

    def element(self, ref: Ref, name: str | None = None) -> ValueWriter:
        """Return a writer of a member with its tags: one element, or one for each value if it is flattened."""
        shape = ref.shape
        tag = name or ref.wire_name
        if shape.type == "list":
            if ref.flattened:
                return _each(self.element(shape.element, shape.element.trait("locationName") or tag))
            inner = self.element(shape.element, shape.element.trait("locationName") or "member")
            return _enclosed(tag, _each(inner))
        if shape.type == "map":
            pair = self._pair(shape)
            if ref.flattened:
                return _each_pair(_enclosed(tag, pair))
            return _enclosed(tag, _each_pair(_enclosed("entry", pair)))
        if shape.type == "structure":
            return self._structure_element(tag, ref)
        to_text = self._to_text(ref)
        opening, closing = f"<{tag}>", f"</{tag}>"
        return lambda value, parts: parts.extend((opening, escape(to_text(value)), closing))

    def of(self, shape: Shape) -> ValueWriter:
        """Return a writer of the inside of a structure."""
        known = self._structures.get(shape.name)
        if known is not None:
            return known
        table: dict[str, ValueWriter] = {}
        write = self._structures[shape.name] = _structure_writer(table)
        for ref in shape.members.values():
            if not ref.trait("xmlAttribute"):
                table[ref.name] = self.element(ref)
        return write

    def _structure_element(self, tag: str, ref: Ref) -> ValueWriter:
        write = self.of(ref.shape)
        attributes = [(member.name, member.wire_name) for member in ref.shape.members.values() if member.trait("xmlAttribute")]
        namespace = ref.trait("xmlNamespace")
        opening = f"<{tag}"
        if isinstance(namespace, dict) and namespace.get("prefix"):
            opening += f' xmlns:{namespace["prefix"]}="{escape(namespace["uri"])}"'
        if not attributes:
            return _enclosed_by(f"{opening}>", f"</{tag}>", write)

        def write_element(value: Any, parts: Parts) -> None:
            parts.append(opening)
            for name, attribute in attributes:
                if value.get(name) is not None:
                    parts.append(f' {attribute}="{escape(value[name])}"')
            parts.append(">")
            write(value, parts)
            parts.append(f"</{tag}>")

        return write_element

    def _pair(self, shape: Shape) -> ValueWriter:
        key, value = shape.entry
        write_key = self.element(key, key.trait("locationName") or "key")
        write_value = self.element(value, value.trait("locationName") or "value")

        def write(pair: Any, parts: Parts) -> None:
            write_key(pair[0], parts)
            write_value(pair[1], parts)

        return write

    def _to_text(self, ref: Ref) -> Callable[[Any], str]:
        if ref.shape.type == "timestamp" and ref.trait("timestampFormat") in (None, timestamps.ISO8601):
            return self._iso8601
        return rest_output.text_writer(ref, timestamps.ISO8601)


def _structure_writer(table: Mapping[str, ValueWriter]) -> Callable[[Mapping[str, Any], Parts], None]:
    def write(value: Mapping[str, Any], parts: Parts) -> None:
        for key, item in value.items():
            if item is not None:
                writer = table.get(key)
                if writer is not None:
                    writer(item, parts)

    return write


def _each(write: ValueWriter) -> ValueWriter:
    def write_each(items: Any, parts: Parts) -> None:
        for item in items:
            if item is not None:
                write(item, parts)

    return write_each


def _each_pair(write: ValueWriter) -> ValueWriter:
    def write_each(items: Any, parts: Parts) -> None:
        for pair in items.items():
            write(pair, parts)

    return write_each


def _enclosed(tag: str, write: ValueWriter) -> ValueWriter:
    return _enclosed_by(f"<{tag}>", f"</{tag}>", write)


def _enclosed_by(opening: str, closing: str, write: ValueWriter) -> ValueWriter:
    def write_element(value: Any, parts: Parts) -> None:
        parts.append(opening)
        write(value, parts)
        parts.append(closing)

    return write_element

"""Closures that turn XML elements into a shape's typed values, compiled once per shape.

Names are compared without their namespaces, and the name of the root is not looked at, as AWS does it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from lambdad.model.errors import AwsError
from lambdad.wire import rest_input
from lambdad.wire.service_model import Ref, Shape

ElementReader: TypeAlias = Callable[[Element], Any]


def malformed_xml() -> AwsError:
    return AwsError(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
        status=400,
    )


class _Builder(TreeBuilder):
    """Refuses document types, and with them every entity that a stranger could define."""

    def doctype(self, name: str, pubid: str, system: str) -> None:
        raise malformed_xml()


def parse(body: bytes) -> Element:
    """
    Read an XML document.

    Raises:
        AwsError: MalformedXML.
    """
    parser = XMLParser(target=_Builder())
    try:
        parser.feed(body)
        root: Element = parser.close()
    except (ParseError, ValueError, LookupError):
        raise malformed_xml() from None
    return root


def local_name(tag: str) -> str:
    return tag.rpartition("}")[2]


class XmlReaders:
    """Readers of a model's shapes, compiled at first use."""

    def __init__(self) -> None:
        self._structures: dict[str, ElementReader] = {}

    def members(self, refs: Iterable[Ref]) -> Callable[[Element], dict[str, Any]]:
        """Return a reader of a structure that has just these members."""
        table: dict[str, _Entry] = {}
        self._fill(table, refs)
        return _structure_reader(table, {})

    def of(self, ref: Ref) -> ElementReader:
        shape = ref.shape
        match shape.type:
            case "structure":
                return self._structure(shape)
            case "list":
                return _list_reader(self.of(shape.element))
            case "map":
                return _map_reader(*self._entry(shape))
        return _scalar_reader(shape.type)

    def _structure(self, shape: Shape) -> ElementReader:
        known = self._structures.get(shape.name)
        if known is not None:
            return known
        table: dict[str, _Entry] = {}
        refs = shape.members.values()
        attributes = {local_name(ref.wire_name.replace(":", "}")): ref.name for ref in refs if ref.trait("xmlAttribute")}
        read = self._structures[shape.name] = _structure_reader(table, attributes)
        self._fill(table, (ref for ref in refs if not ref.trait("xmlAttribute")))
        return read

    def _fill(self, table: "dict[str, _Entry]", refs: Iterable[Ref]) -> None:
        for ref in refs:
            shape = ref.shape
            if ref.flattened and shape.type == "list":
                entry: _Entry = (ref.name, self.of(shape.element), _append)
                name = shape.element.trait("locationName")
                if name:
                    table[name] = entry
                table.setdefault(ref.wire_name, entry)
            elif ref.flattened and shape.type == "map":
                table[ref.wire_name] = (ref.name, _pair_reader(*self._entry(shape)), _merge)
            else:
                table[ref.wire_name] = (ref.name, self.of(ref), _put)

    def _entry(self, shape: Shape) -> "tuple[_Part, _Part]":
        key, value = shape.entry
        return (key.trait("locationName") or "key", self.of(key)), (
            value.trait("locationName") or "value",
            self.of(value),
        )


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    found[name] = value


def _append(found: dict[str, Any], name: str, value: Any) -> None:
    found.setdefault(name, []).append(value)


def _merge(found: dict[str, Any], name: str, value: Any) -> None:
    found.setdefault(name, {}).update([value])


_Entry: TypeAlias = tuple[str, ElementReader, Callable[[dict[str, Any], str, Any], None]]
_Part: TypeAlias = tuple[str, ElementReader]


def _structure_reader(table: Mapping[str, _Entry], attributes: Mapping[str, str]) -> Callable[[Element], dict[str, Any]]:
    def read(node: Element) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if attributes:
            for attribute, text in node.attrib.items():
                name = attributes.get(local_name(attribute))
                if name is not None:
                    found[name] = text
        for child in node:
            entry = table.get(local_name(child.tag))
            if entry is not None:
                entry[2](found, entry[0], entry[1](child))
        return found

    return read


def _list_reader(member: ElementReader) -> ElementReader:
    return lambda node: [member(child) for child in node]


def _map_reader(key: _Part, value: _Part) -> ElementReader:
    read_pair = _pair_reader(key, value)
    return lambda node: dict(read_pair(child) for child in node)


def _pair_reader(key: _Part, value: _Part) -> Callable[[Element], tuple[Any, Any]]:
    key_name, read_key = key
    value_name, read_value = value

    def read(node: Element) -> tuple[Any, Any]:
        parts = {local_name(child.tag): child for child in node}
        if key_name not in parts or value_name not in parts:
            raise malformed_xml()
        return read_key(parts[key_name]), read_value(parts[value_name])

    return read


def _scalar_reader(shape_type: str) -> ElementReader:
    read = rest_input.text_reader(shape_type)
    if shape_type in ("string", "character"):
        return lambda node: node.text or ""
    if shape_type == "blob":
        return lambda node: read(node.text or "")

    def read_scalar(node: Element) -> Any:
        try:
            return read((node.text or "").strip())
        except AwsError:
            raise malformed_xml() from None

    return read_scalar

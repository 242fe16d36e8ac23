"""Closures that turn the flat names of a Query request (``Tags.member.1.Key=a``) into a shape's typed values.

The names are first made into a tree, so that reading costs what was sent and not what the model could hold.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote_plus

from lambdad.wire import rest_input
from lambdad.wire.serialization import serialization_error
from lambdad.wire.service_model import Ref, Shape

Tree: TypeAlias = dict[str, Any]
"""``{"Tags": {"member": {"1": {"Key": {"": "a"}}}}}``: the value of a name is under the empty step."""

NodeReader: TypeAlias = Callable[[Tree], Any]

_DEPTH_MAX = 64


def parse_form(text: str, tree: Tree) -> None:
    """
    Enter the names and values of a form (or a query string) into a tree.

    Raises:
        AwsError: SerializationException, a name has more than 64 parts.
    """
    for part in text.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        if "%" in part or "+" in part:
            name, value = unquote_plus(name), unquote_plus(value)
        steps = name.split(".")
        if len(steps) > _DEPTH_MAX:
            raise serialization_error("The request is nested too deeply")
        node = tree
        for step in steps:
            node = node.setdefault(step or ".", {})
        node[""] = value


class FormReaders:
    """Readers of a model's shapes, compiled at first use.

    Args:
        is_ec2: lists are always flat, and names begin with a capital letter.
    """

    def __init__(self, *, is_ec2: bool = False) -> None:
        self._is_ec2 = is_ec2
        self._structures: dict[str, NodeReader] = {}

    def of(self, ref: Ref) -> NodeReader:
        shape = ref.shape
        match shape.type:
            case "structure":
                return self._structure(shape)
            case "list":
                is_flat = ref.flattened or self._is_ec2
                wrapper = None if is_flat else shape.element.trait("locationName") or "member"
                return _list_reader(wrapper, self.of(shape.element))
            case "map":
                key, value = shape.entry
                names = (key.trait("locationName") or "key", value.trait("locationName") or "value")
                return _map_reader(ref.flattened or self._is_ec2, names, self.of(key), self.of(value))
        return _scalar_reader(shape.type)

    def _structure(self, shape: Shape) -> NodeReader:
        known = self._structures.get(shape.name)
        if known is not None:
            return known
        table: dict[str, tuple[str, NodeReader]] = {}
        read = self._structures[shape.name] = _structure_reader(table)
        for ref in shape.members.values():
            reader = self.of(ref)
            for name in self._names(ref):
                table.setdefault(name, (ref.name, reader))
        return read

    def _names(self, ref: Ref) -> Iterable[str]:
        if self._is_ec2:
            name = ref.trait("queryName") or ref.wire_name
            return (name[:1].upper() + name[1:], name)
        if ref.shape.type == "list" and ref.flattened:
            element = ref.shape.element.trait("locationName")
            if element:
                return (element, ref.wire_name)
        return (ref.wire_name,)


def _structure_reader(table: Mapping[str, tuple[str, NodeReader]]) -> NodeReader:
    def read(node: Tree) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, child in node.items():
            entry = table.get(name)
            if entry is not None:
                found[entry[0]] = entry[1](child)
        return found

    return read


def _list_reader(wrapper: str | None, member: NodeReader) -> NodeReader:
    def read(node: Tree) -> list[Any]:
        if wrapper is not None:
            node = node.get(wrapper) or next((child for name, child in node.items() if name and type(child) is dict), {})
        return [member(child) for child in _in_order(node)]

    return read


def _map_reader(is_flat: bool, names: tuple[str, str], read_key: NodeReader, read_value: NodeReader) -> NodeReader:
    key_name, value_name = names

    def read(node: Tree) -> dict[Any, Any]:
        pairs = node if is_flat else node.get("entry", {})
        found: dict[Any, Any] = {}
        for pair in _in_order(pairs):
            if key_name not in pair or value_name not in pair:
                raise serialization_error("A map's entry has a key and a value")
            found[read_key(pair[key_name])] = read_value(pair[value_name])
        return found

    return read


def _in_order(node: Tree) -> Iterator[Tree]:
    """Yield the numbered children, by their numbers; gaps are closed."""
    numbered = [(int(step), child) for step, child in node.items() if step.isdecimal() and len(step) < 10]
    return (child for _, child in sorted(numbered, key=lambda pair: pair[0]))


def _scalar_reader(shape_type: str) -> NodeReader:
    read_text = rest_input.text_reader(shape_type)

    def read(node: Tree) -> Any:
        value = node.get("")
        if value is None:
            raise serialization_error("Unexpected complex element")
        return read_text(value)

    return read

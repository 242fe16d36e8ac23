"""A compiled policy, and what it matches.

A field that holds an array matches if one of its elements does, arrays in arrays are laid flat, and an empty one is no field at all.
In an array of objects, one and the same object must match all that a policy says of its members.
"""

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from lambdad.services.sns.rules import json_text

Scalar: TypeAlias = str | int | float | bool | None
Predicate: TypeAlias = Callable[[Scalar], bool]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_MISSING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What the value of one field may be: any of these.

    Args:
        strings, numbers, words: exact values; words are True, False and None.
        predicates: asked of each scalar that the field holds.
        present, absent: whether it is enough that the field holds a scalar, or none.
    """

    strings: frozenset[str] = frozenset()
    numbers: frozenset[float] = frozenset()
    words: frozenset[bool | None] = frozenset()
    predicates: tuple[Predicate, ...] = ()
    present: bool = False
    absent: bool = False

    def matches(self, value: Any) -> bool:
        """Say whether a field with this value matches."""
        kind = type(value)
        if kind is not list and kind is not dict:
            return self.accepts(value)
        is_empty = True
        for scalar in scalars(value):
            if self.accepts(scalar):
                return True
            is_empty = False
        return is_empty and self.absent

    def accepts(self, scalar: Scalar) -> bool:
        """Say whether one scalar matches."""
        kind = type(scalar)
        if kind is str:
            if scalar in self.strings:
                return True
        elif kind is int or kind is float:
            if scalar in self.numbers:
                return True
        elif scalar in self.words:
            return True
        if self.present:
            return True
        for predicate in self.predicates:  # noqa: SIM110  # any() takes twice as long, and this is asked for each subscription
            if predicate(scalar):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Fields:
    """What an object must be like: every member, and one of each group of alternatives."""

    members: tuple[tuple[str, "Leaf | Fields"], ...]
    alternatives: tuple[tuple["Fields", ...], ...] = ()

    def match(self, value: Mapping[str, Any]) -> bool:
        """Say whether an object matches."""
        for name, wanted in self.members:
            if isinstance(wanted, Fields):
                if not _any_object_matches(wanted, value.get(name)):
                    return False
            elif name in value:
                if not wanted.matches(value[name]):
                    return False
            elif not wanted.absent:
                return False
        return all(any(choice.match(value) for choice in choices) for choices in self.alternatives)


@dataclass(frozen=True, slots=True)
class Filter:
    """A compiled policy.

    Args:
        fields: what a message must be like.
        reads_body: whether it is asked about the body, else about the attributes.
    """

    fields: Fields
    reads_body: bool

    def matches_attributes(self, attributes: Mapping[str, Any]) -> bool:
        """Say whether a message with these attributes is wanted, given as `message_attributes.comparable` gives them."""
        return self.fields.match(attributes)

    def matches_body(self, body: Any) -> bool:
        """Say whether a message with this body is wanted, given as `parsed_body` gives it; what is no object never is."""
        return isinstance(body, dict) and self.fields.match(body)


def parsed_body(message: str) -> Any:
    """Parse a body for `Filter.matches_body`; None where it is no JSON."""
    try:
        return json_text.parse(message)
    except ValueError:
        return None


def scalars(value: Any) -> Iterator[Scalar]:
    """Return the scalars that a field holds; none of an object's."""
    if isinstance(value, list):
        for element in value:
            yield from scalars(element)
    elif not isinstance(value, dict):
        yield value


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for element in value:
            yield from _objects(element)


def _any_object_matches(wanted: Fields, value: Any) -> bool:
    found = False
    for each in _objects(value):
        if wanted.match(each):
            return True
        found = True
    return not found and wanted.match(_MISSING)  # without an object no member is there, which is what {"exists": false} asks for

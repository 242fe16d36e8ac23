"""Check a filter policy and compile it.

    {"store": ["a", {"prefix": "b"}], "price": [{"numeric": [">", 0, "<=", 100]}]}

Fields are all to match, what an array lists is one or the other. Policies on bodies may be nested. ``$or`` with at least two objects
is one or the other too; with anything else it is the name of a field.

Source: SNS Developer Guide, "Filter policies", "Filter policy constraints".
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final

from lambdad.services.sns.rules import json_text
from lambdad.services.sns.rules.filter_policies import operators
from lambdad.services.sns.rules.filter_policies.matching import Fields, Filter, Leaf, Predicate
from lambdad.services.sns.rules.filter_policies.tokens import PolicyRefused, Token, Tokens

ATTRIBUTES: Final = "MessageAttributes"
BODY: Final = "MessageBody"

KEYS: Final = 5
COMBINATIONS: Final = 150
POLICY_BYTES: Final = 256 * 1024
DEPTH: Final = 32
"""How deeply a policy may be nested; AWS's bound on combinations comes to less."""

_RESERVED: Final = frozenset({*operators.READERS, "exists"})


class ScopeRefused(PolicyRefused):
    """A policy on attributes is nested."""


def compile_policy(text: str, scope: str) -> Filter:
    """
    Compile a policy.

    Args:
        text: the policy's JSON.
        scope: `ATTRIBUTES` or `BODY`.

    Raises:
        PolicyRefused: with AWS's reason.
        ScopeRefused: only a policy on bodies could be like this.
    """
    if len(text.encode()) > POLICY_BYTES:
        raise PolicyRefused("Filter policy is too complex")
    tokens = Tokens(text)
    if tokens.peek() != "{":
        tokens.take()
        tokens.refuse("Filter is not an object")
    document = json_text.parse_object(text)
    if scope == ATTRIBUTES and _is_nested(document):
        raise ScopeRefused("Filter policy scope MessageAttributes does not support nested filter policy")
    if _depth(document) > DEPTH:
        raise PolicyRefused("Filter policy is too complex")
    fields = _read_object(tokens)
    _check_size(document)
    return Filter(fields, reads_body=scope == BODY)


def _read_object(tokens: Tokens) -> Fields:
    """Read from "{" to its "}"."""
    tokens.take()
    members: dict[str, Leaf | Fields] = {}  # of a name that is there twice, the last one counts
    alternatives: list[tuple[Fields, ...]] = []
    while tokens.peek() != "}":
        name = tokens.take().text
        match tokens.peek():
            case "{":
                members[name] = _read_object(tokens)
            case "[":
                tokens.take()
                if name == "$or" and tokens.is_list_of_objects(_RESERVED):
                    alternatives.append(_read_choices(tokens))
                else:
                    members[name] = _read_array(tokens)
            case _:
                tokens.take()
                tokens.refuse(f'"{name}" must be an object or an array')
    tokens.take()
    return Fields(tuple(members.items()), tuple(alternatives))


@dataclass(slots=True)
class _Listed:
    """What an array has been found to list."""

    strings: set[str] = field(default_factory=set)
    numbers: set[float] = field(default_factory=set)
    words: set[bool | None] = field(default_factory=set)
    predicates: list[Predicate] = field(default_factory=list)
    exists: set[bool] = field(default_factory=set)

    def leaf(self) -> Leaf:
        return Leaf(
            strings=frozenset(self.strings),
            numbers=frozenset(self.numbers),
            words=frozenset(self.words),
            predicates=tuple(self.predicates),
            present=True in self.exists,
            absent=False in self.exists,
        )


def _read_array(tokens: Tokens) -> Leaf:
    """Read from behind "[" to its "]"."""
    if tokens.peek() == "]":
        tokens.take()
        tokens.refuse("Empty arrays are not allowed")
    listed = _Listed()
    while tokens.peek() != "]":
        match tokens.peek():
            case "{":
                _read_expression(tokens, listed)
            case "[":
                tokens.take()
                tokens.refuse("Match value must be String, number, true, false, or null")
            case _:
                _list_value(tokens, tokens.take(), listed)
    tokens.take()
    return listed.leaf()


def _list_value(tokens: Tokens, token: Token, listed: _Listed) -> None:
    value = token.value
    if isinstance(value, str):
        listed.strings.add(value)
    elif value is None or isinstance(value, bool):
        listed.words.add(value)
    else:
        listed.numbers.add(operators.check_number(tokens, value))


def _read_choices(tokens: Tokens) -> tuple[Fields, ...]:
    """Read from behind the "[" of a ``$or`` to its "]"."""
    choices = []
    while tokens.peek() == "{":
        choices.append(_read_object(tokens))
    tokens.take()
    return tuple(choices)


def _read_expression(tokens: Tokens, listed: _Listed) -> None:
    """Read a match expression from "{" to its "}"."""
    tokens.take()
    name = tokens.take()
    if name.kind != "key":
        tokens.refuse("Match expression name not found")
    if name.text == "exists":
        value = tokens.take().value
        if not isinstance(value, bool):
            tokens.refuse("exists match pattern must be either true or false.")
        listed.exists.add(value)
    elif name.text in operators.READERS:
        listed.predicates.append(operators.READERS[name.text](tokens))
    else:
        tokens.refuse(f"Unrecognized match type {name.text}")
    if tokens.take().kind != "}":
        tokens.refuse("Only one key allowed in match expression")


def _check_size(document: dict[str, Any]) -> None:
    """
    Check the bounds on a policy.

    Raises:
        PolicyRefused: more than `KEYS` fields have values, or more than `COMBINATIONS` ways lead to a match.
    """
    if len(_paths(document, ())) > KEYS:
        raise PolicyRefused("Filter policy can not have more than 5 keys")
    if _combinations(document, 1) > COMBINATIONS:
        raise PolicyRefused("Filter policy is too complex")


def _is_or(name: str, value: Any) -> bool:
    return (
        name == "$or"
        and isinstance(value, list)
        and len(value) > 1
        and all(isinstance(choice, dict) and not _RESERVED & choice.keys() for choice in value)
    )


def _is_nested(document: dict[str, Any]) -> bool:
    """Say whether a field holds an object, itself or in a choice."""
    return any(any(map(_is_nested, value)) if _is_or(name, value) else isinstance(value, dict) for name, value in document.items())


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _paths(document: dict[str, Any], prefix: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Return the paths of all fields with values."""
    found: set[tuple[str, ...]] = set()
    for name, value in document.items():
        if _is_or(name, value):
            found.update(*(_paths(choice, prefix) for choice in value))
        elif isinstance(value, dict):
            found |= _paths(value, (*prefix, name))
        else:
            found.add((*prefix, name))
    return found


def _combinations(document: dict[str, Any], depth: int) -> int:
    """Multiply the numbers of values, each times the depth at which it stands; the choices of a ``$or`` are added up."""
    factors = [1]
    for name, value in document.items():
        if _is_or(name, value):
            factors.append(sum(_combinations(choice, depth) for choice in value))
        elif isinstance(value, dict):
            factors.append(_combinations(value, depth + 1))
        else:
            factors.append(len(value) * depth)
    return math.prod(factors)

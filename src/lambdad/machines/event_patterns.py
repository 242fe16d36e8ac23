"""Event patterns: which events a rule is for, or a filter lets through.

    pattern = compile('{"source": ["aws.s3"], "detail": {"size": [{"numeric": [">", 0]}], "$or": [{"a": [1]}, {"b": [2]}]}}')
    pattern.matches(event)

Fields must all match, of an array's values one must. Where an event has an array of objects, one and the same object of it must satisfy
all that the pattern asks for inside. A key with dots is a path, on either side. All is compiled to closures once; matching looks
at those fields only which the pattern names.

Source: EventBridge user guide, "Event patterns"; the behaviour of github.com/aws/event-ruler.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import orjson

from lambdad.machines import pattern_leaves
from lambdad.machines.pattern_leaves import InvalidPattern, Leaf

__all__ = ["InvalidPattern", "Pattern", "compile"]

COMBINATIONS_MAX: Final = 1000
"""How many patterns without ``$or`` a pattern may come to, when every combination is written out."""

DEPTH_MAX: Final = 100

Path: TypeAlias = tuple[str, ...]
Rule: TypeAlias = dict[Path, Leaf]
_ObjectTest: TypeAlias = Callable[[dict[str, Any]], bool]
_ValueTest: TypeAlias = Callable[[Any], bool]

_OR: Final = "$or"
_MISSING: Final = object()
_TOO_COMPLEX: Final = "Rule is too complex - try using fewer $or conditions or fewer levels"
_RESERVED: Final = frozenset(
    (
        *("exactly", "equals-ignore-case", "prefix", "suffix", "anything-but", "exists", "wildcard", "numeric", "cidr"),
        *("=", "<", "<=", ">", ">=", "regex", "not-wildcard", "not-equals-ignore-case"),
        *("date-after", "date-on-or-after", "date-before", "date-on-or-before", "in-date-range"),
        *("ip-address-in-range", "ip-address-not-in-range"),
    )
)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled event pattern. Made by `compile`."""

    matches: Callable[[dict[str, Any]], bool]
    """Say whether an event, a parsed JSON object, is one that the pattern describes."""


def compile(pattern: str | bytes | dict[str, Any]) -> Pattern:  # as in `re`
    """
    Compile an event pattern.

    Args:
        pattern: the pattern's JSON, or what was parsed from it. Of a key that occurs twice the last one counts.

    Raises:
        InvalidPattern: it breaks the grammar; the message is AWS's reason, without "Event pattern is not valid. Reason: ".
    """
    if not isinstance(pattern, dict):
        try:
            pattern = orjson.loads(pattern)
        except orjson.JSONDecodeError as error:
            raise InvalidPattern(f"Invalid JSON: {error.msg}") from None
    if not isinstance(pattern, dict):
        raise InvalidPattern("Filter is not an object")
    entries = _read_object(pattern, (), in_or=False)
    if _combinations(entries) > COMBINATIONS_MAX:
        raise InvalidPattern(_TOO_COMPLEX)
    if _is_plain(entries):
        return Pattern(_compile_object(_tree(entries, 0)))
    tests = tuple(_compile_object(_tree_of_rule(rule)) for rule in _written_out(entries))
    return Pattern(tests[0] if len(tests) == 1 else _any(tests))


# --- Reading


@dataclass(frozen=True, slots=True)
class _Or:
    """A ``$or`` in the object at a path."""

    path: Path
    alternatives: tuple["_Entries", ...]


_Entry: TypeAlias = "tuple[Path, Leaf] | _Or"
_Entries: TypeAlias = "list[_Entry]"


def _read_object(pattern: dict[str, Any], path: Path, *, in_or: bool) -> _Entries:
    """Return all leaves and ``$or``s of an object, in order."""
    if not pattern:
        raise InvalidPattern("Empty objects are not allowed")
    if len(path) > DEPTH_MAX:
        raise InvalidPattern(_TOO_COMPLEX)
    entries: _Entries = []
    for key, value in pattern.items():
        if key == _OR and _is_or(value):
            entries.append(_Or(path, tuple(_read_object(each, path, in_or=True) for each in value)))
            continue
        below = (*path, *key.split("."))
        if isinstance(value, dict):
            entries += _read_object(value, below, in_or=in_or)
        elif isinstance(value, list):
            entries.append((below, pattern_leaves.read(value)))
        else:
            raise InvalidPattern(f'"{key}" must be an object or an array')
    return entries


def _is_or(value: Any) -> bool:
    """Say whether the value of a key ``$or`` makes it the operator rather than a field of that name."""
    return (
        isinstance(value, list)
        and len(value) >= 2
        and all(isinstance(each, dict) and each and _RESERVED.isdisjoint(each) for each in value)
    )


def _combinations(entries: _Entries) -> int:
    count = 1
    for entry in entries:
        if isinstance(entry, _Or):
            count *= sum(_combinations(alternative) for alternative in entry.alternatives)
            if count > COMBINATIONS_MAX:
                break
    return count


def _written_out(entries: _Entries, rules: Sequence[Rule] = ({},)) -> list[Rule]:
    """Return a rule without ``$or`` for each combination of alternatives; what comes later at the same path replaces what was there."""
    current = [dict(rule) for rule in rules]
    for entry in entries:
        if isinstance(entry, _Or):
            current = [rule for alternative in entry.alternatives for rule in _written_out(alternative, current)]
        else:
            for rule in current:
                rule[entry[0]] = entry[1]
    return current


def _is_plain(entries: _Entries) -> bool:
    """Say whether each ``$or`` can be decided by itself: it shares no field with what is beside it, and no array decides what is absent."""
    ors = [entry for entry in entries if isinstance(entry, _Or)]
    if not ors:
        return True
    taken = [frozenset(entry[0] for entry in entries if not isinstance(entry, _Or))]
    for each in ors:
        taken.append(frozenset(path for alternative in each.alternatives for path in _paths(alternative)))
    firsts = [{path[: len(each.path) + 1] for path in paths} for each, paths in zip(ors, taken[1:], strict=True)]
    for index, first in enumerate(firsts):
        others = itertools.chain.from_iterable(paths for number, paths in enumerate(taken) if number != index + 1)
        depth = len(ors[index].path) + 1
        if any(path[:depth] in first for path in others):
            return False
    absences = (path for path, leaf in _leaves(entries) if leaf.absent and len(path) > 1)
    return next(absences, None) is None and all(_is_plain(alternative) for each in ors for alternative in each.alternatives)


def _leaves(entries: _Entries) -> Iterator[tuple[Path, Leaf]]:
    for entry in entries:
        if isinstance(entry, _Or):
            for alternative in entry.alternatives:
                yield from _leaves(alternative)
        else:
            yield entry


def _paths(entries: _Entries) -> Iterator[Path]:
    return (path for path, _ in _leaves(entries))


# --- The tree of what is asked for, an object of the event each


@dataclass(slots=True)
class _Node:
    leaves: dict[str, Leaf] = field(default_factory=dict)
    children: dict[str, "_Node"] = field(default_factory=dict)
    ors: list[list["_Node"]] = field(default_factory=list)

    def at(self, path: Path) -> "_Node":
        node = self
        for key in path:
            node = node.children.setdefault(key, _Node())
        return node


def _tree_of_rule(rule: Rule) -> _Node:
    return _tree(list(rule.items()), 0)


def _tree(entries: _Entries, depth: int) -> _Node:
    """Build the tree of entries, seen from an object that is this deep."""
    root = _Node()
    for entry in entries:
        if isinstance(entry, _Or):
            root.at(entry.path[depth:]).ors.append([_tree(each, len(entry.path)) for each in entry.alternatives])
        else:
            path, leaf = entry
            root.at(path[depth:-1]).leaves[path[-1]] = leaf
    return root


# --- Compiling


def _compile_object(node: _Node) -> _ObjectTest:
    """Compile what is asked of one object."""
    fields: list[tuple[str, _ValueTest]] = [(key, _compile_leaf(leaf)) for key, leaf in node.leaves.items()]
    fields += [(key, _compile_value(child)) for key, child in node.children.items()]
    alternatives = tuple(_any(tuple(_compile_object(each) for each in nodes)) for nodes in node.ors)
    dotted = frozenset(".".join(path) for path in _below(node) if len(path) > 1)
    tests = tuple(fields)

    def test(value: dict[str, Any]) -> bool:
        if not dotted.isdisjoint(value):
            value = _expand(value, dotted)
        for key, each in tests:
            if not each(value.get(key, _MISSING)):
                return False
        for each_or in alternatives:  # noqa: SIM110  # faster than all() of a generator
            if not each_or(value):
                return False
        return True

    return test


def _any(tests: tuple[_ObjectTest, ...]) -> _ObjectTest:
    def test(value: dict[str, Any]) -> bool:
        for each in tests:  # noqa: SIM110  # faster than any() of a generator
            if each(value):
                return True
        return False

    return test


def _compile_value(node: _Node) -> _ValueTest:
    """Compile what is asked of the value of a field that the pattern looks into: an object, or an array with a suitable object."""
    test_object = _compile_object(node)
    of_nothing = test_object({})
    absent_everywhere = _absent_everywhere(node)

    def test(value: Any) -> bool:
        if type(value) is dict:
            return test_object(value)
        if type(value) is not list:
            return of_nothing
        objects = [each for each in _flat(value) if type(each) is dict]
        if not objects:
            return of_nothing
        for path in absent_everywhere:
            if any(_is_present(each, path) for each in objects):
                return False
        return any(map(test_object, objects))

    return test


def _compile_leaf(leaf: Leaf) -> _ValueTest:
    test_scalar, absent = leaf.test, leaf.absent
    if test_scalar is None:
        return lambda value: not _is_present(value, ())
    wanted = test_scalar

    def test(value: Any) -> bool:
        if type(value) is list:
            scalars = [each for each in _flat(value) if type(each) is not dict]
            return any(map(wanted, scalars)) if scalars else absent
        if type(value) is dict or value is _MISSING:
            return absent
        return wanted(value)

    return test


def _below(node: _Node) -> Iterator[Path]:
    """Return the paths of everything that is asked for below an object."""
    for key in node.leaves:
        yield (key,)
    for key, child in node.children.items():
        yield (key,)
        for path in _below(child):
            yield (key, *path)
    for nodes in node.ors:
        for each in nodes:
            yield from _below(each)


def _absent_everywhere(node: _Node) -> list[Path]:
    """
    Return the paths that no object of an array may have.

    OBSERVED: event-ruler looks at paths in their order. Until one has led it into a certain object of the array, what is to be
    absent must be absent from all of them (patterns with ``$or`` are written out where this makes a difference).
    """
    absent: list[Path] = []
    for path, leaf in sorted(_node_leaves(node), key=lambda found: ".".join(found[0])):
        if leaf.test is not None:
            break
        absent.append(path)
    return absent


def _node_leaves(node: _Node) -> Iterator[tuple[Path, Leaf]]:
    for key, leaf in node.leaves.items():
        yield (key,), leaf
    for key, child in node.children.items():
        for path, leaf in _node_leaves(child):
            yield (key, *path), leaf


# --- Looking at events


def _flat(values: list[Any]) -> list[Any]:
    """Return the elements of an array, and those of arrays in it in their place."""
    if list not in map(type, values):
        return values
    found: list[Any] = []
    stack = [iter(values)]
    while stack:
        for each in stack[-1]:
            if type(each) is list:
                stack.append(iter(each))
                break
            found.append(each)
        else:
            stack.pop()
    return found


def _is_present(value: Any, path: Path) -> bool:
    """Say whether there is a value at a path: one that is neither an object nor an empty array."""
    if type(value) is list:
        return any(_is_present(each, path) for each in _flat(value))
    if not path:
        return type(value) is not dict and value is not _MISSING
    if type(value) is not dict:
        return False
    for end in range(1, len(path) + 1):
        below = value.get(".".join(path[:end]), _MISSING)
        if below is not _MISSING and _is_present(below, path[end:]):
            return True
    return False


def _expand(value: dict[str, Any], dotted: frozenset[str]) -> dict[str, Any]:
    """Return an object in which keys with dots that a pattern may mean are objects in objects."""
    expanded = {key: each for key, each in value.items() if key not in dotted}
    for key in dotted.intersection(value):
        nested = value[key]
        for part in reversed(key.split(".")):
            nested = {part: nested}
        expanded = _merged(expanded, nested)
    return expanded


def _merged(one: Any, other: Any) -> Any:
    """Lay two values of the same path together; both are there."""
    if type(one) is dict and type(other) is dict:
        result = dict(one)
        for key, each in other.items():
            result[key] = _merged(result[key], each) if key in result else each
        return result
    return [one, other]

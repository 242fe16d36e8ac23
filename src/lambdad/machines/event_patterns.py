"""Event patterns: which events a rule is for, or a filter lets through.

    pattern = compile('{"source": ["aws.s3"], "detail": {"size": [{"numeric": [">", 0]}], "$or": [{"a": [1]}, {"b": [2]}]}}')
    pattern.matches(event)

Fields must all match, of an array's values one must. Where an event has an array of objects, one and the same object of it must satisfy
all that the pattern asks for inside. A key with dots is a path, on either side. All is compiled to closures once; matching looks
at those fields only which the pattern names.

Source: EventBridge user guide, "Event patterns"; the behaviour of github.com/aws/event-ruler.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

import orjson

from lambdad.machines import pattern_leaves
from lambdad.machines.pattern_leaves import InvalidPattern, Leaf

__all__ = ["InvalidPattern", "Pattern", "compile"]

COMBINATIONS_MAX: Final = 1000
"""How many patterns without ``$or`` a pattern may come to, when every combination is written out."""

WRITTEN_OUT_MAX: Final = 64
"""How many of them may have to be looked at one by one; each costs the time of a pattern of its own."""

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
    entries = _read_object(pattern, ())
    if _combinations(entries) > COMBINATIONS_MAX:
        raise InvalidPattern(_TOO_COMPLEX)
    return Pattern(_compile_object(_Arranger().node(entries, 0)))


# --- Reading


@dataclass(frozen=True, slots=True)
class _Or:
    """A ``$or`` in the object at a path."""

    path: Path
    alternatives: tuple["_Entries", ...]


_Entry: TypeAlias = "tuple[Path, Leaf] | _Or"
_Entries: TypeAlias = "list[_Entry]"
_Counted = TypeVar("_Counted")


def _read_object(pattern: dict[str, Any], path: Path) -> _Entries:
    """Return all leaves and ``$or``s of an object, in order."""
    if not pattern:
        raise InvalidPattern("Empty objects are not allowed")
    if len(path) > DEPTH_MAX:
        raise InvalidPattern(_TOO_COMPLEX)
    entries: _Entries = []
    for key, value in pattern.items():
        if key == _OR and _is_or(value):
            entries.append(_Or(path, tuple(_read_object(each, path) for each in value)))
            continue
        below = (*path, *key.split("."))
        if isinstance(value, dict):
            entries += _read_object(value, below)
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


def _leaves(entries: _Entries) -> Iterator[tuple[Path, Leaf]]:
    for entry in entries:
        if isinstance(entry, _Or):
            for alternative in entry.alternatives:
                yield from _leaves(alternative)
        else:
            yield entry


# --- The tree of what is asked for, an object of the event each


@dataclass(slots=True)
class _Node:
    leaves: dict[str, Leaf] = field(default_factory=dict)
    children: dict[str, "_Node"] = field(default_factory=dict)
    ors: list[list["_Node"]] = field(default_factory=list)


class _Arranger:
    """
    Builds the tree of entries. A ``$or`` that shares no field with anything beside it is decided by itself. Others are moved into the
    object that all of their alternatives are about, or else written out, since it must be one object of an array that satisfies an
    alternative and what is beside it.
    """

    def __init__(self) -> None:
        self._written_out = 0

    def node(self, entries: _Entries, depth: int) -> _Node:
        """Build the tree of entries, seen from an object that is this deep."""
        node = _Node()
        for keys, cluster in _clusters(entries, depth):
            ors = [entry for entry in cluster if isinstance(entry, _Or) and len(entry.path) == depth]
            key = next(iter(keys))
            if ors and len(cluster) > 1 and len(keys) == 1 and all(_is_about_object(each, depth) for each in ors):
                cluster, ors = [_moved_into(entry, depth, key) for entry in cluster], []
            if not ors:
                self._add_field(node, key, cluster, depth)
            elif len(cluster) == 1:
                node.ors.append([self.node(alternative, depth) for alternative in ors[0].alternatives])
            else:
                node.ors.append([self.node(each, depth) for each in self._counted(_combined(cluster, depth))])
        return node

    def _add_field(self, node: _Node, key: str, entries: _Entries, depth: int) -> None:
        has_or = any(isinstance(entry, _Or) for entry in entries)
        if depth == 0 and has_or and any(leaf.absent and len(path) > 1 for path, leaf in _leaves(entries)):
            # What must be absent from which objects of an array depends on everything else that is asked for inside.
            rules = self._counted(_written_out(entries))
            node.ors.append([self.node(list(rule.items()), depth) for rule in rules])
            return
        deeper: _Entries = []
        for entry in entries:
            if not isinstance(entry, _Or) and len(entry[0]) == depth + 1:
                node.leaves[key] = entry[1]
            else:
                deeper.append(entry)
        if deeper:
            node.children[key] = self.node(deeper, depth + 1)

    def _counted(self, written_out: list[_Counted]) -> list[_Counted]:
        self._written_out += len(written_out)
        if self._written_out > WRITTEN_OUT_MAX:
            raise InvalidPattern(_TOO_COMPLEX)
        return written_out


def _clusters(entries: _Entries, depth: int) -> list[tuple[frozenset[str], _Entries]]:
    """Put together what is about the same fields of an object; each in order."""
    found: list[tuple[frozenset[str], list[int]]] = []
    for number, entry in enumerate(entries):
        keys, numbers = frozenset(path[depth] for path, _ in _leaves([entry])), [number]
        apart = []
        for other in found:
            if keys.isdisjoint(other[0]):
                apart.append(other)
            else:
                keys, numbers = keys | other[0], numbers + other[1]
        found = [*apart, (keys, numbers)]
    return [(keys, [entries[number] for number in sorted(numbers)]) for keys, numbers in found]


def _is_about_object(entry: _Or, depth: int) -> bool:
    """Say whether all alternatives of a ``$or`` at an object look into a field of it, rather than at its value."""
    return all(
        len(each.path) > depth or _is_about_object(each, depth) if isinstance(each, _Or) else len(each[0]) > depth + 1
        for alternative in entry.alternatives
        for each in alternative
    )


def _moved_into(entry: _Entry, depth: int, key: str) -> _Entry:
    """Return a ``$or`` at an object as one at the object in a field of it, which all of it is about; anything else as it is."""
    if not isinstance(entry, _Or) or len(entry.path) > depth:
        return entry
    alternatives = tuple([_moved_into(each, depth, key) for each in alternative] for alternative in entry.alternatives)
    return _Or((*entry.path, key), alternatives)


def _combined(entries: _Entries, depth: int) -> list[_Entries]:
    """Write out the ``$or``s at an object: the entries with one alternative of each in its place, for every combination."""
    combined: list[_Entries] = [[]]
    for entry in entries:
        choices = entry.alternatives if isinstance(entry, _Or) and len(entry.path) == depth else ([entry],)
        combined = [[*each, *choice] for each in combined for choice in choices]
    return combined


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

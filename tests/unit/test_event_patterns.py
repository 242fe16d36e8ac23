"""Event patterns against AWS's examples, AWS's texts of errors, and a naive matcher."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lambdad.machines import event_patterns, wildcards

EVENT = {
    "version": "0",
    "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "detail-type": "EC2 Instance State-change Notification",
    "source": "aws.ec2",
    "account": "111122223333",
    "time": "2017-12-22T18:43:48Z",
    "region": "us-west-1",
    "resources": ["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"],
    "detail": {"instance-id": "i-1234567890abcdef0", "state": "terminated", "count": 3, "ok": True, "none": None, "empty": "", "list": []},
}


def matches(pattern: Any, event: dict[str, Any]) -> bool:
    return event_patterns.compile(json.dumps(pattern)).matches(event)


def on_value(matcher: Any, value: Any) -> bool:
    return matches({"k": [matcher]}, {"k": value})


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"source": ["aws.ec2"], "detail": {"state": ["terminated", "stopped"]}}, True),
        ({"source": ["aws.EC2"]}, False),
        ({"Source": ["aws.ec2"]}, False),
        ({"resources": [{"suffix": "instance/i-1234567890abcdef0"}]}, True),
        ({"detail": {"count": [3]}}, True),
        ({"detail": {"count": [3.0]}}, True),
        ({"detail": {"count": ["3"]}}, False),
        ({"detail": {"ok": [True]}}, True),
        ({"detail": {"ok": [1]}}, False),
        ({"detail": {"count": [True]}}, False),
        ({"detail": {"none": [None]}}, True),
        ({"detail": {"missing": [None]}}, False),
        ({"detail": {"empty": [""]}}, True),
        ({"detail": {"none": [""]}}, False),
        ({"detail": {"list": [None]}}, False),
        ({"detail": {"list": [{"exists": True}]}}, False),
        ({"detail": {"list": [{"exists": False}]}}, True),
        ({"detail": [{"exists": True}]}, False),
        ({"detail": [{"exists": False}]}, True),
        ({"detail": {"none": [{"exists": True}]}}, True),
        ({"missing": [{"exists": False}]}, True),
        ({"missing": {"deeper": [{"exists": False}]}}, True),
        ({"source": {"deeper": ["x"]}}, False),
        ({"detail.state": ["terminated"]}, True),
        ({"detail": {"state": [{"exists": True}, {"prefix": "x"}]}}, True),
        ({"$or": [{"source": ["aws.s3"]}, {"detail": {"count": [{"numeric": [">", 2]}]}}]}, True),
        ({"$or": [{"source": ["aws.s3"]}, {"detail": {"count": [{"numeric": [">", 3]}]}}]}, False),
        ({"source": ["aws.ec2"], "$or": [{"a": [1]}, {"$or": [{"b": [1]}, {"region": ["us-west-1"]}]}]}, True),
    ],
)
def test_patterns_of_a_whole_event(pattern: Any, expected: bool) -> None:
    """Fields are joined by and, values by or; case, types and absence count as in AWS."""
    assert matches(pattern, EVENT) is expected


@pytest.mark.parametrize(
    ("matcher", "fitting", "others"),
    [
        ({"prefix": "us-"}, ["us-east-1", ["eu", "us-"]], ["eu-us-", 12, None, "US-"]),
        ({"prefix": ""}, ["", "x"], [12, None, True]),
        ({"prefix": {"equals-ignore-case": "EventB"}}, ["eventbridge", "EVENTB"], ["event"]),
        ({"suffix": ".png"}, [".png", "a.png"], [".PNG", "png"]),
        ({"suffix": {"equals-ignore-case": ".Png"}}, ["a.pnG"], ["a.jpg"]),
        ({"equals-ignore-case": "ALICE"}, ["alice", "Alice"], ["alic", None]),
        ({"exactly": "x"}, ["x"], ["X"]),
        ({"numeric": ["=", 3]}, [3, 3.0], ["3", None, True]),
        ({"numeric": [">", 0, "<=", 5]}, [0.1, 5], [0, 5.1, "3"]),
        ({"numeric": [">=", 1]}, [1, 1e9], [0.999]),
        ({"numeric": ["<", 1]}, [-1], [1]),
        ({"numeric": ["<=", 1]}, [1], [True]),
        ({"anything-but": "a"}, ["b", 1, None, True, ["a", "b"]], ["a", ["a"], {}, []]),
        ({"anything-but": ["a", "b"]}, ["c"], ["a", "b"]),
        ({"anything-but": 100}, [101, "100"], [100, 100.0]),
        ({"anything-but": [100, 200]}, [300, True], [200]),
        ({"anything-but": {"prefix": "init"}}, ["x", 12], ["initializing"]),
        ({"anything-but": {"prefix": ["a", "b"]}}, ["c"], ["ax", "bx"]),
        ({"anything-but": {"suffix": [".png", ".jpg"]}}, ["a.txt"], ["a.png"]),
        ({"anything-but": {"equals-ignore-case": ["A", "b"]}}, ["c"], ["a", "B"]),
        ({"anything-but": {"wildcard": "*/lib/*"}}, ["lib"], ["/lib/", "a/lib/b"]),
        ({"anything-but": {"wildcard": ["a*", "*b"]}}, ["c"], ["ab", "xb"]),
        ({"wildcard": "dir/*.png"}, ["dir/.png", "dir/a/b.png"], ["dir.png", 1]),
        ({"wildcard": "a\\*b\\\\*"}, ["a*b\\", "a*b\\c"], ["aab\\"]),
        ({"wildcard": ""}, [""], ["x"]),
        ({"wildcard": "*"}, ["", "x"], [1]),
        ({"wildcard": "ab*ba"}, ["abba", "ab.ba"], ["aba"]),
        ({"cidr": "10.0.0.0/24"}, ["10.0.0.0", "10.0.0.255"], ["10.0.1.0", "x", "::1", 10, None]),
        ({"cidr": "2001:db8::/32"}, ["2001:db8::1", "2001:0DB8:ffff::"], ["2001:db9::", "10.0.0.0"]),
        ({"exists": True}, ["", 0, None, False, [1]], [{}, [], {"a": 1}]),
        ({"exists": False}, [{}, [], {"a": 1}, [{"a": 1}]], ["", [[[1]]]]),
    ],
)
def test_match_expressions(matcher: Any, fitting: list[Any], others: list[Any]) -> None:
    """Each operator fits what AWS says, and nothing else."""
    assert [value for value in fitting if not on_value(matcher, value)] == []
    assert [value for value in others if on_value(matcher, value)] == []


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ([], "Filter is not an object"),
        ("x", "Filter is not an object"),
        ({}, "Empty objects are not allowed"),
        ({"a": {}}, "Empty objects are not allowed"),
        ({"source": "aws.ec2"}, '"source" must be an object or an array'),
        ({"detail": {"state": None}}, '"state" must be an object or an array'),
        ({"a": []}, "Empty arrays are not allowed"),
        ({"a": [["x"]]}, "Match value must be String, number, true, false, or null"),
        ({"a": [{}]}, "Match expression name not found"),
        ({"a": [{"Prefix": "x"}]}, "Unrecognized match type Prefix"),
        ({"a": [{"prefix": "x", "suffix": "y"}]}, "Only one key allowed in match expression"),
        ({"a": [{"exactly": 1}]}, "exact match pattern must be a string"),
        ({"a": [{"prefix": 1}]}, "prefix match pattern must be a string"),
        ({"a": [{"suffix": None}]}, "suffix match pattern must be a string"),
        ({"a": [{"prefix": {}}]}, "Prefix expression name not found"),
        ({"a": [{"prefix": {"wildcard": "x"}}]}, "Unsupported prefix pattern: wildcard"),
        ({"a": [{"suffix": {"equals-ignore-case": 1}}]}, "equals-ignore-case match pattern must be a string"),
        ({"a": [{"equals-ignore-case": ["x"]}]}, "equals-ignore-case match pattern must be a string"),
        ({"a": [{"exists": "true"}]}, "exists match pattern must be either true or false."),
        ({"a": [{"exists": True, "prefix": "x"}]}, "Only one key allowed in match expression"),
        ({"a": [{"numeric": 3}]}, "Value of numeric must be an array."),
        ({"a": [{"numeric": []}]}, "Invalid member in numeric match: ]"),
        ({"a": [{"numeric": [3]}]}, "Invalid member in numeric match: 3"),
        ({"a": [{"numeric": ["=="]}]}, "Unrecognized numeric range operator: =="),
        ({"a": [{"numeric": ["=", "3"]}]}, "Value of equals must be numeric"),
        ({"a": [{"numeric": [">"]}]}, "Value of > must be numeric"),
        ({"a": [{"numeric": ["<", 1, ">", 0]}]}, "Too many elements in numeric expression"),
        ({"a": [{"numeric": [">", 1, 2]}]}, "Bad value in numeric range: 2"),
        ({"a": [{"numeric": [">", 1, ">", 2]}]}, "Bad numeric range operator: >"),
        ({"a": [{"numeric": [">", 1, "<", True]}]}, "Value of < must be numeric"),
        ({"a": [{"numeric": [">", 2, "<", 1]}]}, "Bottom must be less than top"),
        ({"a": [{"numeric": [">", 1, "<", 2, 3]}]}, "Too many terms in numeric range expression"),
        ({"a": [{"numeric": ["=", 1], "x": 1}]}, "Too many elements in numeric expression"),
        ({"a": [{"anything-but": None}]}, "Value of anything-but must be an array or single string/number value."),
        ({"a": [{"anything-but": ["a", None]}]}, "Inside anything but list, start|null|boolean is not supported."),
        (
            {"a": [{"anything-but": ["a", 1]}]},
            "Inside anything but list, either all values are number or string, mixed type is not supported",
        ),
        ({"a": [{"anything-but": {"numeric": 1}}]}, "Unsupported anything-but pattern: numeric"),
        ({"a": [{"anything-but": {"prefix": 1}}]}, "prefix/suffix match pattern must be a string"),
        ({"a": [{"anything-but": {"suffix": [""]}}]}, "Null prefix/suffix not allowed"),
        (
            {"a": [{"anything-but": {"equals-ignore-case": [1]}}]},
            "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.",
        ),
        ({"a": [{"anything-but": {"wildcard": 1}}]}, "wildcard match pattern must be a string"),
        ({"a": [{"wildcard": 1}]}, "wildcard match pattern must be a string"),
        ({"a": [{"wildcard": "a**b"}]}, "Consecutive wildcard characters at pos 2"),
        ({"a": [{"wildcard": "a\\b"}]}, "Invalid escape character at pos 2"),
        (
            {"a": [{"wildcard": "*" + "a" * 200}]},
            "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character",
        ),
        ({"a": [{"cidr": 1}]}, "prefix match pattern must be a string"),
        ({"a": [{"cidr": "10.0.0.0"}]}, "Malformed CIDR, one '/' required"),
        ({"a": [{"cidr": "10.0.0.0/x"}]}, "Malformed CIDR, mask bits must be an integer"),
        ({"a": [{"cidr": "10.0.0.0/-1"}]}, "Malformed CIDR, mask bits must not be negative"),
        ({"a": [{"cidr": "10.0.0/8"}]}, "Nonstandard IP address: 10.0.0"),
        ({"a": [{"cidr": "10.0.0.0/32"}]}, "IPv4 mask bits must be < 32"),
        ({"a": [{"cidr": "::/128"}]}, "IPv6 mask bits must be < 128"),
    ],
)
def test_invalid_patterns(pattern: Any, message: str) -> None:
    """What breaks the grammar is refused in AWS's words."""
    with pytest.raises(event_patterns.InvalidPattern) as caught:
        event_patterns.compile(json.dumps(pattern))
    assert caught.value.message == message


def test_what_is_no_json_is_refused() -> None:
    """Broken JSON, nesting without end and too many alternatives are refused, not run into."""
    deep = '{"a":' * 5000 + "[1]" + "}" * 5000
    many = json.dumps({"a": {"$or": [{"x": [1]}] * 2}} | {f"k{n}": {"$or": [{"x": [1]}, {"y": [1]}]} for n in range(12)})
    for text in ("", "{", '{"a":[NaN]}', deep, many):
        with pytest.raises(event_patterns.InvalidPattern):
            event_patterns.compile(text)


def test_or_may_be_the_name_of_a_field() -> None:
    """A value of $or that is not a list of objects makes it an ordinary field."""
    assert matches({"$or": ["x"]}, {"$or": "x"})
    assert matches({"$or": [{"prefix": "a"}, {"prefix": "b"}]}, {"$or": "bc"})


@pytest.mark.parametrize(
    ("pattern", "items", "expected"),
    [
        ({"a": [1], "b": [1]}, [{"a": 1}, {"b": 1}], False),
        ({"a": [1], "b": [1]}, [{"a": 2, "b": 1}, [{"a": 1, "b": 1}]], True),
        ({"b": [{"exists": False}]}, [{"a": 1}, {"b": 1}], False),
        ({"a": [1], "b": [{"exists": False}]}, [{"a": 1}, {"b": 1}], True),
        ({"b": [{"exists": False}], "c": [1]}, [{"c": 1}, {"b": 1}], False),
        ({"$or": [{"a": [1]}, {"b": [1]}], "c": [1]}, [{"a": 1, "c": 1}, {"d": 1}], True),
        ({"$or": [{"a": [1]}, {"b": [1]}], "c": [1]}, [{"a": 1}, {"c": 1}], False),
    ],
)
def test_arrays_of_objects(pattern: Any, items: list[Any], expected: bool) -> None:
    """One object of an array must have all that is asked for."""
    assert matches({"items": pattern}, {"items": items}) is expected


def test_an_or_beside_a_field_of_the_same_array() -> None:
    """Where $or stands outside an array, its fields and those beside it still belong to one object."""
    pattern = {"items": {"a": [1]}, "$or": [{"items": {"b": [1]}}, {"c": [1]}]}
    assert not matches(pattern, {"items": [{"a": 1}, {"b": 1}]})
    assert matches(pattern, {"items": [{"a": 1, "b": 1}]})
    assert matches(pattern, {"items": [{"a": 1}], "c": 1})


def alternatives(names: str, count: int) -> list[Any]:
    return [{"d": {f"{names}{number}": [1]}} for number in range(count)]


def test_alternatives_about_the_same_object_are_moved_into_it() -> None:
    """Many alternatives beside each other cost no more than they are, where all are about one object; else few are taken."""
    moved = {"a": {"$or": alternatives("x", 10), "d": {"$or": [{"y": [1]}, {"z": [1]}, {"$or": [{"v": [1]}, {"w": [1]}]}]}}}
    event = {"a": {"d": [{"x3": 1}, {"w": 1}, {"x3": 2, "z": 1}]}}
    assert not matches(moved, event)
    event["a"]["d"].append({"x9": 1, "w": 1})
    assert matches(moved, event)
    both = [{**each, "e": [1]} for each in alternatives("x", 33)]
    written_out = {"a": {"$or": both, "d": {"y": [1]}}}
    assert matches(written_out, {"a": {"d": [{"x5": 1, "y": 1}], "e": 1}})
    assert not matches(written_out, {"a": {"d": [{"x5": 1}, {"y": 1}], "e": 1}})
    with pytest.raises(event_patterns.InvalidPattern, match="too complex"):
        matches({"a": {"$or": both * 2, "d": {"y": [1]}}}, {})


# --- A naive twin: an event is a list of (path, value, which element of which array), looked through by trial and error

Membership = dict[int, int]
Leaf = tuple[str, Any]


def fields_of(event: Any) -> list[tuple[str, Any, Membership]]:
    numbers = itertools.count()

    def walk(value: Any, path: str, membership: Membership) -> Iterator[tuple[str, Any, Membership]]:
        if isinstance(value, dict):
            for key, each in value.items():
                yield from walk(each, f"{path}.{key}" if path else key, membership)
        elif isinstance(value, list):
            number = next(numbers)
            for index, each in enumerate(value):
                yield from walk(each, path, {**membership, number: index})
        else:
            yield path, value, membership

    return list(walk(event, "", {}))


def rules_of(pattern: dict[str, Any]) -> list[dict[str, Any]]:
    def extend(rules: list[dict[str, Any]], pattern: dict[str, Any], path: str) -> list[dict[str, Any]]:
        for key, value in pattern.items():
            if key == "$or":
                rules = [rule for each in value for rule in extend([dict(rule) for rule in rules], each, path)]
            elif isinstance(value, dict):
                rules = extend(rules, value, f"{path}.{key}" if path else key)
            else:
                rules = [{**rule, f"{path}.{key}" if path else key: value} for rule in rules]
        return rules

    return extend([{}], pattern, "")


def consistent(one: Membership, other: Membership) -> bool:
    return all(other.get(number, index) == index for number, index in one.items())


def naive(pattern: dict[str, Any], event: dict[str, Any]) -> bool:
    fields = fields_of(event)

    def search(leaves: list[Leaf], membership: Membership) -> bool:
        if not leaves:
            return True
        (path, wanted), rest = leaves[0], leaves[1:]
        there = [field for field in fields if field[0] == path and consistent(membership, field[2])]
        if wanted == [{"exists": False}]:
            return not there and search(rest, membership)
        return any(
            any(on_value(each, value) for each in wanted) and search(rest, {**membership, **elements}) for _, value, elements in there
        )

    return any(search(sorted(rule.items()), {}) for rule in rules_of(pattern))


SCALARS = st.sampled_from(["x", "y", 1, 2, None, True])
MATCHERS = st.one_of(
    st.lists(st.one_of(SCALARS, st.sampled_from([{"anything-but": "x"}, {"prefix": "x"}, {"exists": True}])), min_size=1, max_size=2),
    st.just([{"exists": False}]),
)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(st.sampled_from("abc"), below, max_size=3)),
    max_leaves=8,
)
EVENTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def objects(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from("abc"), below, min_size=1, max_size=3)


def with_ors(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    alternatives = st.lists(objects(below), min_size=2, max_size=2)
    return st.builds(lambda own, ors: {**own, **({"$or": ors} if ors else {})}, objects(below), st.none() | alternatives)


PATTERNS = with_ors(st.recursive(MATCHERS, with_ors, max_leaves=6))


def unambiguous(pattern: dict[str, Any]) -> bool:
    """Say whether no rule asks for a field both as a value and as an object."""
    return not any(a != b and b.startswith(f"{a}.") for rule in rules_of(pattern) for a in rule for b in rule)


@settings(max_examples=500, deadline=None)
@given(PATTERNS, EVENTS)
@example({"a": {"b": [{"exists": False}], "c": [1]}}, {"a": [{"c": 1}, {"b": 1}]})
def test_agrees_with_the_naive_matcher(pattern: dict[str, Any], event: dict[str, Any]) -> None:
    """The compiled pattern says of every event what trying out all fields says."""
    assume(unambiguous(pattern))
    assert matches(pattern, event) is naive(pattern, event)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("abc"), SCALARS, min_size=1), min_size=1), PATTERNS)
def test_dots_are_paths(event: dict[str, Any], pattern: dict[str, Any]) -> None:
    """A key with a dot is the same as an object in an object, on either side."""
    dotted = {f"{outer}.{inner}": value for outer, fields in event.items() for inner, value in fields.items()}
    assert matches(pattern, dotted) is matches(pattern, event)


@settings(max_examples=300, deadline=None)
@given(st.text("ab*\\", max_size=8), st.text("ab*\\", max_size=8))
def test_wildcards_agree_with_backtracking(pattern: str, text: str) -> None:
    """The linear matcher says what trying out every length for every asterisk says."""
    try:
        test = wildcards.compile(pattern)
    except wildcards.InvalidWildcard:
        assume(False)
        raise

    def fits(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(fits(pattern[1:], text[index:]) for index in range(len(text) + 1))
        if pattern[0] == "\\":
            pattern = pattern[1:]
        return bool(text) and text[0] == pattern[0] and fits(pattern[1:], text[1:])

    assert test(text) is fits(pattern, text)


def test_wildcards_take_no_longer_than_the_text() -> None:
    """A text made to drive a backtracking matcher mad is settled at once."""
    test = wildcards.compile("*" + "a*" * 40 + "b")
    assert not test("a" * 1_000_000)
    assert test("a" * 1_000_000 + "b")

"""Filter policies of SNS: the grammar, what is refused, and the compiled filter against a naive reader of the same policies."""

import json
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.services.sns.rules import message_attributes
from lambdad.services.sns.rules.filter_policies import ATTRIBUTES, BODY, PolicyRefused, ScopeRefused, compile_policy
from lambdad.services.sns.rules.filter_policies.matching import parsed_body
from lambdad.services.sns.rules.message_attributes import Attribute


def body_matches(policy: Any, body: Any) -> bool:
    return compile_policy(json.dumps(policy), BODY).matches_body(body)


@pytest.mark.parametrize(
    ("wanted", "good", "bad"),
    [
        (["a"], ["a", ["b", "a"], [["a"]]], ["A", "", None, 1, [], {"a": "a"}]),
        ([""], [""], [" ", None]),
        ([300], [300, 300.0, 3e2], ["300", True, 301]),
        ([1], [1], [True]),
        ([True], [True, [False, True]], ["true", 1]),
        ([None], [None, [None]], ["null", 0, []]),
        ([{"prefix": "a"}], ["a", "ab", ["c", "ab"]], ["ba", 1, None]),
        ([{"prefix": ""}], ["", "x"], [1, None]),
        ([{"suffix": "z"}], ["z", "yz"], ["zy", 1]),
        ([{"equals-ignore-case": "Ab"}], ["ab", "AB"], ["abc", 1]),
        ([{"wildcard": "a*c*"}], ["ac", "abc", "acd", "abcd"], ["ab", "ca", 1]),
        ([{"wildcard": "*.png"}], [".png", "a.png"], ["a.png.gz"]),
        ([{"wildcard": "a\\*b\\\\*"}], ["a*b\\", "a*b\\c"], ["axb\\"]),
        ([{"wildcard": "ab*ba"}], ["abba", "abxba"], ["aba"]),
        ([{"anything-but": "a"}], ["b", None, 1, True, ["a", "b"]], ["a", ["a"], []]),
        ([{"anything-but": ["a", "b"]}], ["c", 1], ["a", "b", ["a", "b"]]),
        ([{"anything-but": [1, 2]}], [3, True, "1"], [1, 2.0]),
        ([{"anything-but": {"prefix": "a"}}], ["b", 12, None], ["a", "ab"]),
        ([{"numeric": ["=", 3]}], [3, 3.0, [1, 3]], [4, "3", None, True]),
        ([{"numeric": [">", 0, "<=", 5]}], [0.1, 5], [0, 5.1, "1"]),
        ([{"numeric": ["<", 0]}], [-1], [0, False]),
        ([{"cidr": "10.0.0.0/24"}], ["10.0.0.255"], ["10.0.1.0", "::1", "x", 1]),
        ([{"cidr": "2001:db8::/32"}], ["2001:db8::1"], ["2001:db9::1", "10.0.0.1"]),
        ([{"exists": True}], [None, "", 0, [1], [{}, 1]], [[], {}, {"a": 1}, [{}]]),
        ([{"exists": False}], [[], {}, {"a": 1}], [None, "", 0, [1]]),
        (["a", {"numeric": [">", 5]}, {"exists": False}], ["a", 6, []], ["b", 5]),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_each_operator_matches_what_it_should(wanted: list[Any], good: list[Any], bad: list[Any]) -> None:
    """A field's value is judged by its type as well as by its value."""
    found = compile_policy(json.dumps({"k": wanted}), BODY)
    assert [value for value in good if not found.matches_body({"k": value})] == []
    assert [value for value in bad if found.matches_body({"k": value})] == []
    assert found.matches_body({"other": 1}) == ({"exists": False} in wanted)


def test_nested_fields_are_of_one_object() -> None:
    """In an array of objects one element must have all that is wanted; objects in arrays in arrays count too."""
    policy = {"a": {"b": ["x"], "c": [{"exists": False}]}}
    assert body_matches(policy, {"a": {"b": "x"}})
    assert body_matches(policy, {"a": [{"b": "y"}, [{"b": "x"}]]})
    assert not body_matches(policy, {"a": [{"b": "x", "c": 1}, {"b": "y"}]})
    assert not body_matches(policy, {"a": "x"})
    assert body_matches({"a": {"b": [{"exists": False}]}}, {})


def test_or_is_an_operator_only_where_it_can_be_one() -> None:
    """With two objects or more it chooses, beside what else is wanted; otherwise it is the name of a field."""
    policy = {"s": ["x"], "$or": [{"a": [1]}, {"b": [2], "c": [3]}]}
    assert body_matches(policy, {"s": "x", "a": 1})
    assert body_matches(policy, {"s": "x", "b": 2, "c": 3})
    assert not body_matches(policy, {"s": "x", "b": 2})
    assert not body_matches(policy, {"a": 1})
    assert body_matches({"$or": [{"prefix": "a"}, {"prefix": "b"}]}, {"$or": "bc"})
    assert body_matches({"$or": ["x"]}, {"$or": "x"})
    nested = {"$or": [{"a": [1]}, {"$or": [{"b": [1]}, {"c": [1]}]}]}
    assert body_matches(nested, {"c": 1})


def test_what_is_no_object_is_not_wanted() -> None:
    """A body that is no JSON, or no object, matches no policy; the empty policy wants every object."""
    found = compile_policy("{}", BODY)
    assert found.matches_body({})
    for text in ("no JSON", "[]", "1", "null", '{"a":NaN}', '{"a":"\\ud800"}', "[" * 100_000):
        assert not found.matches_body(parsed_body(text))


def test_attributes_are_compared_by_their_types() -> None:
    """Numbers as numbers, arrays by element, binary values not at all."""
    attributes = message_attributes.comparable(
        {
            "s": Attribute("String", "1"),
            "n": Attribute("Number", "1.50"),
            "l": Attribute("String.Array", '["a",2,true,null]'),
            "x": Attribute("String.Array", "no JSON"),
            "b": Attribute("Binary", b"1"),
            "c": Attribute("String.custom", "v"),
        }
    )

    def matches(policy: Any) -> bool:
        return compile_policy(json.dumps(policy), ATTRIBUTES).matches_attributes(attributes)

    assert matches({"s": ["1"]})
    assert not matches({"s": [1]})
    assert matches({"n": [1.5], "l": ["a"], "c": ["v"]})
    assert matches({"l": [2]})
    assert matches({"l": [True]})
    assert matches({"l": [None]})
    assert matches({"b": [{"exists": False}], "x": [{"exists": False}]})


@pytest.mark.parametrize(
    ("policy", "reason", "column"),
    [
        ('{"k":"a"}', '"k" must be an object or an array', 9),
        ('{"k":[]}', "Empty arrays are not allowed", 8),
        ('{"k":[["a"]]}', "Match value must be String, number, true, false, or null", 8),
        ('{"k":[{"like":"a"}]}', "Unrecognized match type like", 15),
        ('{"k":[{"prefix":"a","suffix":"b"}]}', "Only one key allowed in match expression", 30),
        ('{"k":[{"prefix":1}]}', "prefix match pattern must be a string", 18),
        ('{"k":[{"suffix":[]}]}', "suffix match pattern must be a string", 18),
        ('{"k":[{"exists":1}]}', "exists match pattern must be either true or false.", 18),
        ('{"k":[{"numeric":1}]}', "Value of numeric must be an array.", 19),
        ('{"k":[{"numeric":[]}]}', "Invalid member in numeric match: ]", 20),
        ('{"k":[{"numeric":["~",1]}]}', "Unrecognized numeric range operator: ~", 22),
        ('{"k":[{"numeric":["=","1"]}]}', "Value of equals must be numeric", 26),
        ('{"k":[{"numeric":[">",null]}]}', "Value of > must be numeric", 27),
        ('{"k":[{"numeric":["=",1,2]}]}', "Too many elements in numeric expression", 26),
        ('{"k":[{"numeric":["<",1,">",0]}]}', "Too many terms in numeric range expression", 28),
        ('{"k":[{"numeric":[">",1,">",2]}]}', "Bad numeric range operator: >", 28),
        ('{"k":[{"numeric":[">",1,2]}]}', "Bad value in numeric range: 2", 26),
        ('{"k":[{"numeric":[">",2,"<",1]}]}', "Bottom must be less than top", 30),
        ('{"k":[{"numeric":[">",1,"<",2,3]}]}', "Too many terms in numeric range expression", 32),
        ('{"k":[{"anything-but":null}]}', "Value of anything-but must be an array or single string/number value.", 27),
        ('{"k":[{"anything-but":[true]}]}', "Inside anything but list, start|null|boolean is not supported.", 28),
        ('{"k":[{"anything-but":{"suffix":"a"}}]}', "Unsupported anything-but pattern: suffix", 33),
        ('{"k":[{"anything-but":{"prefix":""}}]}', "Null prefix/suffix not allowed", 35),
        ('{"k":[{"wildcard":"a**"}]}', "Consecutive wildcard characters at pos 1", 24),
        ('{"k":[{"cidr":"10.0.0.0"}]}', "Malformed CIDR, one '/' required", 25),
        ('{"k":[{"cidr":"10.0.0.0/x"}]}', "Malformed CIDR, mask bits must be an integer", 27),
        ('{"k":[{"cidr":"10.0.0/8"}]}', "Nonstandard IP address: 10.0.0", 25),
        ("[1]", "Filter is not an object", 2),
        ('{"k":[1e10]}', "Value must be between -1.0E9 and 1.0E9, inclusive", 11),
        ('{"$or":[{"a":["x"]},{"b":"y"}]}', '"b" must be an object or an array', 29),
    ],
)
def test_bad_policies_are_refused_in_awss_words(policy: str, reason: str, column: int) -> None:
    """A refusal says what is wrong, and where reading stopped."""
    with pytest.raises(PolicyRefused) as caught:
        compile_policy(policy, BODY)
    found, _, where = str(caught.value).partition("\n at ")
    assert found == reason
    assert where == f'[Source: (String)"{policy}"; line: 1, column: {column}]'


def test_long_policies_are_shown_in_part() -> None:
    """The source in an error is cut as Jackson cuts it, and lines are counted."""
    policy = '{"k":\n["' + "x" * 600 + '"],\n"l":1}'
    with pytest.raises(PolicyRefused) as caught:
        compile_policy(policy, BODY)
    assert f'{policy[:500]}"[truncated {len(policy) - 500} chars]; line: 3, column: 6]' in str(caught.value)


@pytest.mark.parametrize("policy", ["", "nope", '{"a":', '{"a":[NaN]}', '{"a":["\\ud800"]}', "[" * 100_000])
def test_what_is_no_json_is_refused(policy: str) -> None:
    """Neither broken JSON nor what only Python takes for JSON is a policy."""
    with pytest.raises(PolicyRefused, match=r"^failed to parse JSON\. "):
        compile_policy(policy, BODY)


def test_bounds_are_kept() -> None:
    """At most five fields with values, 150 combinations weighted by depth, and no nesting for attributes."""
    five = {f"k{number}": ["v"] for number in range(5)}
    compile_policy(json.dumps(five), ATTRIBUTES)
    with pytest.raises(PolicyRefused, match="can not have more than 5 keys"):
        compile_policy(json.dumps({**five, "more": ["v"]}), ATTRIBUTES)
    with pytest.raises(PolicyRefused, match="can not have more than 5 keys"):
        compile_policy(json.dumps({"outer": {**five, "more": ["v"]}}), BODY)
    listed = [str(number) for number in range(150)]
    compile_policy(json.dumps({"k": listed}), ATTRIBUTES)
    with pytest.raises(PolicyRefused, match="Filter policy is too complex"):
        compile_policy(json.dumps({"k": [*listed, "x"]}), ATTRIBUTES)
    with pytest.raises(PolicyRefused, match="Filter policy is too complex"):
        compile_policy(json.dumps({"a": {"b": {"c": list("wxyz")}}, "d": {"e": list("xyz")}, "f": list("xyz")}), BODY)
    with pytest.raises(ScopeRefused):
        compile_policy('{"a":{"b":["c"]}}', ATTRIBUTES)
    with pytest.raises(ScopeRefused):
        compile_policy('{"$or":[{"a":{"b":["c"]}},{"d":["e"]}]}', ATTRIBUTES)
    with pytest.raises(PolicyRefused, match="Filter policy is too complex"):
        compile_policy('{"a":' * 40 + '["b"]' + "}" * 40, BODY)


# --- against a naive reader

_texts = st.sampled_from(["", "a", "b", "ab", "ba", "A", "10.0.0.1"])
_numbers = st.sampled_from([0, 1, 2, 1.5, -1])
_scalars = st.one_of(_texts, _numbers, st.booleans(), st.none())
_names = st.sampled_from(["a", "b", "c"])
_signs = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_conditions = st.one_of(
    _scalars,
    st.builds(lambda text: {"prefix": text}, _texts),
    st.builds(lambda text: {"suffix": text}, _texts),
    st.builds(lambda text: {"equals-ignore-case": text}, _texts),
    st.builds(lambda text: {"wildcard": text}, st.sampled_from(["*", "a*", "*b", "a*b", "a", "*a*", ""])),
    st.builds(lambda text: {"anything-but": text}, st.one_of(_texts, _numbers)),
    st.builds(lambda texts: {"anything-but": texts}, st.lists(_texts, min_size=1, max_size=2)),
    st.builds(lambda text: {"anything-but": {"prefix": text}}, st.sampled_from(["a", "b"])),
    st.builds(lambda sign, number: {"numeric": [sign, number]}, st.sampled_from(sorted(_signs)), _numbers),
    st.just({"numeric": [">=", 0, "<", 2]}),
    st.builds(lambda flag: {"exists": flag}, st.booleans()),
)
_leaves = st.lists(_conditions, min_size=1, max_size=2)
_fields = st.recursive(
    st.dictionaries(_names, _leaves, max_size=2),
    lambda inner: st.one_of(
        st.dictionaries(_names, st.one_of(_leaves, inner), max_size=2),
        st.builds(lambda one, two: {"$or": [one, two]}, inner, inner),
    ),
    max_leaves=3,
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(_names, inner, max_size=3)),
    max_leaves=6,
)
_bodies = st.dictionaries(_names, _values, max_size=3)


def _naive(policy: dict[str, Any], body: dict[str, Any]) -> bool:
    return all(_naive_field(name, wanted, body) for name, wanted in policy.items())


def _naive_field(name: str, wanted: Any, body: dict[str, Any]) -> bool:
    if name == "$or":
        return any(_naive(choice, body) for choice in wanted)
    flat = _flat(body[name]) if name in body else []
    if isinstance(wanted, dict):
        objects = [each for each in flat if isinstance(each, dict)] or [{}]
        return any(_naive(wanted, each) for each in objects)
    values = [each for each in flat if not isinstance(each, dict)]
    return any(_naive_condition(condition, values) for condition in wanted)


def _flat(value: Any) -> list[Any]:
    return [inner for each in value for inner in _flat(each)] if isinstance(value, list) else [value]


def _same(one: Any, other: Any) -> bool:
    """JSON's equality: numbers by value, nothing else across types."""
    both_numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (one, other))
    return bool(one == other) if both_numbers else type(one) is type(other) and bool(one == other)


def _naive_condition(condition: Any, values: list[Any]) -> bool:
    if not isinstance(condition, dict):
        return any(_same(condition, value) for value in values)
    [(name, wanted)] = condition.items()
    if name == "exists":
        return bool(values) == wanted
    return any(_naive_operator(name, wanted, value) for value in values)


def _naive_operator(name: str, wanted: Any, value: Any) -> bool:
    is_text = isinstance(value, str)
    match name:
        case "prefix":
            return is_text and value[: len(wanted)] == wanted
        case "suffix":
            return is_text and (not wanted or value[-len(wanted) :] == wanted)
        case "equals-ignore-case":
            return is_text and value.lower() == wanted.lower()
        case "wildcard":
            return is_text and _like(value, wanted)
        case "anything-but" if isinstance(wanted, dict):
            return not (is_text and value.startswith(wanted["prefix"]))
        case "anything-but":
            return not any(_same(each, value) for each in (wanted if isinstance(wanted, list) else [wanted]))
        case _:
            pairs = zip(wanted[::2], wanted[1::2], strict=True)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and all(_signs[sign](value, bound) for sign, bound in pairs)


def _like(value: str, pattern: str) -> bool:
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(_like(value[position:], pattern[1:]) for position in range(len(value) + 1))
    return value[:1] == pattern[0] and _like(value[1:], pattern[1:])


@given(policy=_fields, body=_bodies)
def test_the_compiled_filter_agrees_with_a_naive_one(policy: dict[str, Any], body: dict[str, Any]) -> None:
    """Whatever the policy and the body, both say the same."""
    try:
        found = compile_policy(json.dumps(policy), BODY)
    except PolicyRefused as error:
        assert "more than 5 keys" in str(error) or "too complex" in str(error)
        return
    assert found.matches_body(body) == _naive(policy, body)


@given(text=st.text(alphabet='{}[]":,a1$or \\nrefixtue', max_size=40))
def test_garbage_is_refused_and_nothing_else(text: str) -> None:
    """No text makes the compiler fail in any other way."""
    try:
        compile_policy(text, BODY).matches_body({"a": 1})
    except PolicyRefused:
        pass

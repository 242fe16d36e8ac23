"""Filter criteria over records of queues: which bodies are compared with what."""

from typing import Any

import pytest

from lambdad.machines.event_patterns import InvalidPattern
from lambdad.machines.record_filters import Filters


def record(body: str, **members: Any) -> dict[str, Any]:
    return {"messageId": "m", "body": body, "attributes": {"SenderId": "s"}, "messageAttributes": {}, "awsRegion": "us-east-1", **members}


@pytest.mark.parametrize(
    ("pattern", "body", "expected"),
    [
        ('{"body":{"kind":["a"]}}', '{"kind":"a"}', True),
        ('{"body":{"kind":["a"]}}', '{"kind":"b"}', False),
        ('{"body":{"kind":["a"]}}', "kind a", False),
        ('{"body":{"kind":["a"]}}', "", False),
        ('{"body":{"kind":["a"]}}', '{"kind":', False),
        ('{"body":["a"]}', "a", True),
        ('{"body":["a"]}', "b", False),
        ('{"body":["{}"]}', "{}", False),
        ('{"body":[{"prefix":"a"}]}', "abc", True),
        ('{"body":["12"]}', "12", True),
        ('{"awsRegion":["us-east-1"]}', "a", True),
        ('{"awsRegion":["us-east-1"]}', '{"kind":"a"}', True),
        ('{"awsRegion":["eu-west-1"]}', '{"kind":"a"}', False),
        ('{"attributes":{"SenderId":["s"]},"body":{"n":[{"numeric":[">",3]}]}}', '{"n":4}', True),
        ('{"attributes":{"SenderId":["s"]},"body":{"n":[{"numeric":[">",3]}]}}', '{"n":3}', False),
        ('{"$or":[{"body":{"a":[1]}},{"body":{"b":[2]}}]}', '{"b":2}', True),
        ('{"$or":[{"body":{"a":[1]}},{"body":{"b":[2]}}]}', '{"b":3}', False),
    ],
)
def test_a_pattern_lets_pass_what_it_describes(pattern: str, body: str, expected: bool) -> None:
    """JSON is compared with JSON, text with text, and the body is left alone where the pattern does not name it."""
    assert Filters([pattern]).match(record(body)) is expected


def test_one_of_several_filters_is_enough() -> None:
    """Filters are joined by or; no filter lets everything pass."""
    filters = Filters(['{"body":["a"]}', '{"body":{"kind":["b"]}}'])
    assert [filters.match(record(body)) for body in ("a", "b", '{"kind":"b"}')] == [True, False, True]
    assert Filters([]).match(record("anything"))
    assert not Filters([])


@pytest.mark.parametrize("pattern", ["", "null", "text", "[]", '[{"body":["a"]}]', '{"body":"a"}', '{"body":[]}', '{"body":[{"what":1}]}'])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    """A filter that could never be understood is an error when it is compiled, not when messages come."""
    with pytest.raises(InvalidPattern):
        Filters([pattern])

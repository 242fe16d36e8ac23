"""Filter patterns of CloudWatch Logs: the documented examples, the refusals, and hostile input."""

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.services.logs import errors
from lambdad.services.logs.rules import patterns, regexes

TRAIL = json.dumps(
    {
        "eventType": "UpdateTrail",
        "sourceIPAddress": "111.111.111.111",
        "arrayKey": ["value", "another value"],
        "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
        "SomeObject": None,
        "ThisFlag": True,
        "latency": 55.5,
        "errorCode": 400,
        "with.dot": "c",
        "detail-type": "d",
    }
)
USERS = json.dumps(
    {
        "user": {"id": 1, "email": "John.Stiles@example.com"},
        "users": [{"id": 2, "email": "John.Doe@example.com"}, {"id": 3, "email": "Jane.Doe@example.com"}],
        "actions": ["GET", "PUT", "DELETE"],
        "coordinates": [[0, 1, 2], [4, 5, 6], [7, 8, 9]],
    }
)
ACCESS = '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'
REPORT = "REPORT RequestId: 8f5d\tDuration: 3.01 ms\tBilled Duration: 114 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\t\n"


def matches(pattern: str, message: str) -> bool:
    return patterns.compile_pattern(pattern).matches(message)


@pytest.mark.parametrize(
    ("pattern", "message", "expected"),
    [
        ("", "anything", True),
        ("  ", "anything", True),
        ("ERROR", "Exiting with ERRORCODE: -1", True),
        ("error", "ERROR", False),
        ("ERROR Exception", "[ERROR] Caught IllegalArgumentException", True),
        ("ERROR Exception", "[ERROR] fine", False),
        ('"ERROR" -"Exiting"', "Exiting with ERRORCODE: -1", False),
        ('"ERROR" - "Exiting"', "ERROR", True),
        ("-ERROR", "fine", True),
        ("-ERROR", "an ERROR", False),
        ("?ERROR ?WARN", "WARN message", True),
        ("?ERROR ?WARN", "INFO message", False),
        ("?ERROR WARN", "ERROR message", False),
        ("?ERROR WARN", "WARN message", True),
        ('"Failed to process"', "Failed to process the request", True),
        ('"Failed to process"', "Failed process to", False),
        ('"say \\"hi\\""', 'they say "hi"', True),
        ('"a\\\\b"', "a\\b", True),
        ("a.b/c-d", "in a.b/c-d here", True),
        ("%AUTHORIZED%", "[ERROR 401] UNAUTHORIZED REQUEST", True),
        ("ERROR -%[45]0[0-9]%", "ERROR 404", False),
        ("ERROR -%[45]0[0-9]%", "ERROR 414", True),
    ],
)
def test_terms(pattern: str, message: str, expected: bool) -> None:
    """Terms are substrings: all of them, any of the optional ones, none of the excluded ones."""
    assert matches(pattern, message) is expected


@pytest.mark.parametrize(
    ("pattern", "message", "expected"),
    [
        ('{ $.eventType = "UpdateTrail" }', TRAIL, True),
        ("{$.eventType=UpdateTrail}", TRAIL, True),
        ('{ $.eventType = "Update*" }', TRAIL, True),
        ('{ $.eventType = "*Trail" }', TRAIL, True),
        ('{ $.eventType = "*date*" }', TRAIL, True),
        ('{ $.eventType = "Up*Trail" }', TRAIL, False),
        ('{ $.eventType != "Update*" }', TRAIL, False),
        ("{ $.sourceIPAddress != 123.123.* }", TRAIL, True),
        ("{ $.sourceIPAddress = 111.111.* }", TRAIL, True),
        ('{ $.arrayKey[0] = "value" }', TRAIL, True),
        ('{ $.arrayKey[9] = "value" }', TRAIL, False),
        ('{ $.arrayKey[*] = "another value" }', TRAIL, True),
        ("{ $.objectList[1].id = 2 }", TRAIL, True),
        ("{ $.objectList[*].id > 1 }", TRAIL, True),
        ("{ $.eventType[0] = U }", TRAIL, False),
        ("{ $.SomeObject IS NULL }", TRAIL, True),
        ("{ $.eventType IS NULL }", TRAIL, False),
        ("{ $.SomeOtherObject NOT EXISTS }", TRAIL, True),
        ("{ $.SomeObject EXISTS }", TRAIL, True),
        ("{ $.ThisFlag IS TRUE }", TRAIL, True),
        ("{ $.ThisFlag is false }", TRAIL, False),
        ("{ $.ThisFlag = * }", TRAIL, True),
        ("{ $.nothing = * }", TRAIL, False),
        ('{ $.nothing != "x" }', TRAIL, False),
        ("{ $.arrayKey = value }", TRAIL, False),
        ("{ $.arrayKey != value }", TRAIL, False),
        ("{ $.latency >= 55.5 && $.latency < 10e3 }", TRAIL, True),
        ("{ $.latency < 10e-3 }", TRAIL, False),
        ("{ $.latency > +1000 }", TRAIL, False),
        ("{ $.latency <= 55.5 }", TRAIL, True),
        ("{ $.latency = * }", TRAIL, True),
        ("{ $.errorCode = 400 }", TRAIL, True),
        ("{ $.errorCode != 500 }", TRAIL, True),
        ("{ $.errorCode = 4* }", TRAIL, True),
        ('{ $.errorCode = "400" }', TRAIL, True),
        ("{ $.eventType > 3 }", TRAIL, False),
        ("{ $.['with.dot'] = c }", TRAIL, True),
        ("{ $['with.dot'] = c }", TRAIL, True),
        ("{ $.detail-type = d }", TRAIL, True),
        ("{ $.eventType = %^Up.*l$% }", TRAIL, True),
        ("{ $.eventType != %Trail% }", TRAIL, False),
        ('{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }', USERS, True),
        ('{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }', USERS, False),
        (
            '{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch && $.actions[2] = nomatch }',
            USERS,
            True,
        ),
        (
            '{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch) && $.actions[2] = nomatch }',
            USERS,
            False,
        ),
        ("{ $.user.id = 1 }", "not json", False),
        ("{ $.user.id = 1 }", '{"user": ', False),
        ("{ $[1] = 2 }", "[1, 2]", True),
    ],
)
def test_json(pattern: str, message: str, expected: bool) -> None:
    """JSON patterns follow the documentation's examples."""
    assert matches(pattern, message) is expected


@pytest.mark.parametrize(
    ("pattern", "message", "expected"),
    [
        ("[ip, user, username, timestamp, request, status_code, bytes]", ACCESS, True),
        ("[ip, user, username, timestamp, request, status_code]", ACCESS, False),
        ("[ip, user, ...]", ACCESS, True),
        ("[ip, user, …]", ACCESS, True),
        ("[..., status_code, bytes]", ACCESS, True),
        ("[ip, user, ..., status_code, bytes]", ACCESS, True),
        ("[..., bytes > 1000]", ACCESS, True),
        ("[..., bytes > 2000]", ACCESS, False),
        ("[..., status_code = 200, bytes]", ACCESS, False),
        ("[..., status_code = 4*, bytes]", ACCESS, True),
        ("[..., request = *html*, status_code = 4*, bytes]", ACCESS, True),
        ("[..., request=*.html*, status_code=4*,]", ACCESS, True),
        ("[..., status_code = 4* && status_code != 404, bytes]", ACCESS, False),
        ("[..., (status_code = 4* || status_code = 5*) && status_code != 403, bytes]", ACCESS, True),
        ('[ip, user, username = "frank", ...]', ACCESS, True),
        ("[ip = %127\\.0\\.0\\.[1-9]%, ...]", ACCESS, True),
        ("[w1=ERROR, w2]", "ERROR WARN message", False),
        ("[w1=ERROR, w2]", "ERROR message", True),
        ("[w1=ERROR || w1=WARN, w2]", "WARN message", True),
        ("[w1=!ERROR&&w1=!WARN, w2]", "INFO message", True),
        ("[w1=!ERROR&&w1=!WARN, w2]", "WARN message", False),
        ("[n >= 2]", "two", False),
        ("[n != 2]", "two", True),
        ("[a, b, c, ..., d]", "1 2 3", False),
        ('[a, b]', '"not closed', True),
        ('[report="REPORT", label="RequestId:", id, duration="Duration:", value > 3, unit="ms", ..., unit2="MB"]', REPORT, True),
    ],
)  # fmt: skip
def test_space_delimited(pattern: str, message: str, expected: bool) -> None:
    """Space-delimited patterns look at fields, of which quotes and brackets make one."""
    assert matches(pattern, message) is expected


def test_extraction() -> None:
    """Values are extracted under the fields' names, numbers where there is none, and selectors."""
    fields = patterns.compile_pattern("[..., request=*.html*, status_code=4*,]").extract(ACCESS)
    assert fields == {
        "$1": "127.0.0.1",
        "$2": "-",
        "$3": "frank",
        "$4": "10/Oct/2000:13:25:15 -0700",
        "$request": "GET /index.html HTTP/1.0",
        "$status_code": "404",
        "$7": "1534",
    }
    assert patterns.compile_pattern("[a]").extract("x y") == {}
    assert patterns.compile_pattern("{ $.latency = * && $.errorCode = 400 }").extract(TRAIL) == {
        "$.latency": "55.5",
        "$.errorCode": "400",
    }
    assert patterns.compile_pattern("ERROR").extract("ERROR") == {}


@pytest.mark.parametrize(
    "pattern",
    [
        "Status:",
        "a,b",
        "fail(",
        "[",
        "`x",
        '"open',
        "%open",
        "%%",
        "%a!%",
        "%(a)%",
        "%a{2%",
        "%a{3,2}%",
        "%*a%",
        "%a**%",
        "%[b-a]%",
        "%[a%",
        "%a|%",
        "%é%",
        "%\\b%",
        "%\\x9%",
        "%\\x99%",
        "%a{9999}b{9999}%",
        "%a% %b% %c%",
        "-",
        "?",
        "{ }",
        "{",
        "{ $.a }",
        "{ $.a = }",
        "{ $.a = b",
        "{ $.a = b) }",
        "{ ($.a = b }",
        "{ $.a > b }",
        '{ $.a > "1" }',
        "{ $.a > %b% }",
        '{ $."a" = b }',
        "{ $ = b }",
        "{ $.a..b = c }",
        "{ $.a[x] = c }",
        "{ $.a[1 = c }",
        "{ a = b }",
        "{ $.a IS MAYBE }",
        "{ $.a NOT NULL }",
        "{ $.a = b && }",
        "{ $.a = b:c }",
        "{ $.a = %x% && $.b = %y% && $.c = %z% }",
        "[a, ..., b, ...]",
        "[a b]",
        "[a = 1 && b = 2]",
        "[a && a = 2]",
        "[a = 1",
        "[$.a = 1]",
        "[a* = 1]",
        "{" + "(" * 500 + "$.a = b" + ")" * 500 + "}",
        "x" * 1025,
    ],
)
def test_bad_patterns_are_refused(pattern: str) -> None:
    """What cannot be read is the caller's error."""
    with pytest.raises(errors.InvalidFilterPattern) as caught:
        patterns.compile_pattern(pattern)
    assert caught.value.code == "InvalidParameterException"
    assert caught.value.status == 400


def test_messages_of_refusals() -> None:
    """A character that must not stand unquoted is named as AWS names it."""
    with pytest.raises(errors.InvalidFilterPattern) as caught:
        patterns.compile_pattern("?Status: timeout")
    assert caught.value.message == "Invalid character(s) in term ':'"


_ATOMS = ["a", "b", "0", "_", ".", "[ab]", "[^a]", "[a-c0-9]", "\\d", "\\W", "\\s", "\\.", "\\x61", "[\\d_]", "[-a]", "\\S"]
_COUNTS = ["", "", "", "?", "*", "+", "{2}", "{1,2}", "{0,2}", "{1,}", "*?"]
_CHAINS = st.builds(
    lambda start, items, end: start + "".join(atom + count for atom, count in items) + end,
    st.sampled_from(["", "", "^"]),
    st.lists(st.tuples(st.sampled_from(_ATOMS), st.sampled_from(_COUNTS)), min_size=1, max_size=5),
    st.sampled_from(["", "", "$"]),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(_CHAINS, min_size=1, max_size=3), st.lists(st.text("ab01_. \n\té", max_size=12), min_size=1, max_size=8))
def test_regexes_agree_with_python(chains: list[str], texts: list[str]) -> None:
    """The linear automaton accepts what a backtracking matcher accepts."""
    source = "|".join(chains)
    ours, theirs = regexes.Regex(source), re.compile(source, re.ASCII)
    for text in texts:
        assert ours.search(text) is (theirs.search(text) is not None), (source, text)


def test_regexes_are_linear() -> None:
    """Expressions that make backtracking matchers stand still are answered at once."""
    hostile = "a" * 50_000
    begin = time.process_time()
    for source in ["a*a*a*a*a*a*b", "a?" * 60 + "b", ".*.*.*.*x", "[^b]*[^b]*b", "a{0,500}a{0,500}b", "a*$b|c"]:
        assert not regexes.Regex(source).search(hostile)
    assert time.process_time() - begin < 2.0


_PIECES = st.sampled_from(
    ["{", "}", "[", "]", "(", ")", "$", ".", "$.a", "=", "!=", "<", ">=", "&&", "||", '"', "%", "\\", "*", "...", ",", " ", "IS",
     "NOT", "EXISTS", "NULL", "a", "1", "-", "?", "^", "|", "{1,2}", "é", "\x00", "[*]", "'", "\ud800"]
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["", "{ ", "[", "{$.a="]), st.lists(_PIECES, max_size=25).map("".join),
    st.sampled_from(["", " }", "]"]), st.text(max_size=40),
)  # fmt: skip
def test_hostile_patterns(begin: str, middle: str, end: str, message: str) -> None:
    """Whatever a caller writes is compiled or refused, and never anything else; matching never raises."""
    try:
        pattern = patterns.compile_pattern(begin + middle + end)
    except errors.InvalidFilterPattern:
        return
    for text in (message, TRAIL, ACCESS, "", "{", "[[", '"' * 9, "9" * 5_000, '{"a": ' + "9" * 5_000 + "}"):
        pattern.matches(text)
        pattern.extract(text)


@settings(max_examples=50, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)))  # fmt: skip
def test_exists_is_the_opposite_of_not_exists(document: object) -> None:
    """Every JSON document has either EXISTS or NOT EXISTS for a selector."""
    message = json.dumps({"a": document})
    exists = matches("{ $.a.b[0] EXISTS }", message)
    assert matches("{ $.a.b[0] NOT EXISTS }", message) is not exists


@settings(max_examples=50, deadline=None)
@given(st.text("ab ", max_size=10), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=3))
def test_terms_against_a_naive_twin(message: str, terms: list[str]) -> None:
    """Required, optional and excluded terms are containment, combined as documented."""
    assert matches(" ".join(terms), message) is all(term in message for term in terms)
    assert matches(" ".join("?" + term for term in terms), message) is any(term in message for term in terms)
    assert matches(" ".join("-" + term for term in terms), message) is not any(term in message for term in terms)

"""Whatever a stranger sends, the codecs answer with an error of AWS and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_generation import DIALECTS, SERVICES

from lambdad.model.errors import AwsError
from lambdad.wire import cbor
from lambdad.wire.codec import Call, load
from lambdad.wire.http import Request

some = settings(max_examples=50, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
header_values = st.text(st.characters(max_codepoint=255), max_size=20)


def try_all(call: Call) -> None:
    """Go through a call; any error of AWS is right, and can be written."""
    try:
        call.validate(call.parse())
    except AwsError as error:
        assert 400 <= call.respond_error(error, "id").status < 600


def try_request(service: str, request: Request) -> None:
    codec = load(service)
    try:
        call = codec.match(request)
    except AwsError as error:
        assert 400 <= codec.refuse(error, "id", request).status < 600
        return
    try_all(call)


@pytest.mark.parametrize("service", SERVICES)
@some
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "X"]),
    path=st.text(st.sampled_from("/abc%2F:arnë?{}+. "), max_size=30).map(lambda text: "/" + text),
    query=st.text(max_size=20),
    body=st.binary(max_size=40),
    headers=st.dictionaries(st.sampled_from(["x-amz-target", "smithy-protocol", "content-type", "x-amz-invocation-type"]), header_values),
)
def test_any_request(service: str, method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> None:
    """Random requests are answered."""
    try_request(service, Request(method, path, query, headers, body))


def requests_of(service: str, protocol: str, name: str, body: bytes) -> Request:
    """Return a request that reaches the operation, with any body."""
    codec = load(service)
    operation = codec.operations[name]
    path, _, query = operation.request_uri.partition("?")
    path = path.replace("{", "").replace("+}", "").replace("}", "")
    if protocol == "smithy-rpc-v2-cbor":
        path = f"/service/{codec.target_prefix}/operation/{name}"
        return Request("POST", path, "", {"smithy-protocol": "rpc-v2-cbor"}, body)
    if protocol == "json":
        return Request("POST", "/", "", {"x-amz-target": f"{codec.target_prefix}.{name}"}, body)
    if protocol == "query":
        return Request("POST", "/", f"Action={name}", {}, body)
    return Request(operation.method, path, query, {}, body)


@pytest.mark.parametrize(("service", "protocol"), DIALECTS)
@some
@given(data=st.data())
def test_any_body(service: str, protocol: str, data: st.DataObject) -> None:
    """Random bodies of known operations are answered, also those that are well-formed and of wrong types."""
    names = sorted(load(service).operations)
    name = data.draw(st.sampled_from(names))
    operation = load(service).operations[name]
    members = sorted(operation.input.shape.members) if operation.input is not None else []
    keys = st.sampled_from(members or ["x"]) | st.text(max_size=5)
    match protocol:
        case "json" | "rest-json":
            document = data.draw(st.dictionaries(keys, json_values, max_size=4) | json_values)
            body = json.dumps(document).encode()
        case "query":
            steps = st.sampled_from(["member", "1", "entry", "key", "value", "Name", "-1", ""])
            fields = st.tuples(keys, st.lists(steps, max_size=4), st.text(max_size=5))
            drawn = data.draw(st.lists(fields, max_size=4))
            body = "&".join(".".join([key, *rest]) + "=" + value for key, rest, value in drawn).encode()
        case "rest-xml":
            inner = "".join(f"<{key}><b>1</b>x</{key}>" for key in data.draw(st.lists(st.sampled_from(members or ["x"]))))
            body = f"<a xmlns='b'>{inner}</a>".encode()
        case _:
            body = data.draw(st.binary(max_size=30)) if data.draw(st.booleans()) else _cbor(data.draw(json_values))
    try_request(service, requests_of(service, protocol, name, body))


def _cbor(value: Any) -> bytes:
    try:
        return cbor.dumps(value)
    except TypeError:  # an integer beyond 64 bits
        return b"\xff"


@some
@given(st.binary(max_size=60))
def test_random_cbor(data: bytes) -> None:
    """Bytes are a data item or a SerializationException."""
    try:
        cbor.loads(data)
    except AwsError as error:
        assert error.code == "SerializationException"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",  # a list of 2**64 elements
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",  # a text longer than any memory
        b"\x81" * 500 + b"\x00",
        b"\x9f" * 5000,
        b"\xa1\x01\x02",  # a key that is no text
        b"\xc0\x60",  # the tag of a textual date
        b"\xc1\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",  # a time at infinity
        b"\xd8\x23\x61a",  # the tag of a regular expression
        b"\xe0",
        b"\x1c",
        b"\x1f",
        b"\x00\x00",  # two items
        b"\x62\xff\xff",  # no UTF-8
        b"\x5f\x01\xff",  # an indefinite byte string of integers
        b"\xbf\x61a\xff",
        b"\x82\x01\xff",
    ],
)
def test_hostile_cbor(data: bytes) -> None:
    """Lengths that cannot be, nesting without end, unknown tags: each is refused at once."""
    with pytest.raises(AwsError):
        cbor.loads(data)


def test_cbor_in_all_its_forms() -> None:
    """Indefinite lengths, half floats and undefined are read."""
    assert cbor.loads(b"\xbf\x61a\x9f\x01\x20\xff\x61b\x5f\x41a\x41b\xff\x61c\x7f\x61x\xff\xff") == {
        "a": [1, -1],
        "b": b"ab",
        "c": "x",
    }
    assert cbor.loads(b"\x86\xf9\x3c\x00\xfa\x3f\x80\x00\x00\xf7\xf6\xf4\xf5") == [1.0, 1.0, None, None, False, True]
    assert cbor.loads(b"\x19\x01\x00") == 256


@some
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**64), 2**64 - 1)
        | st.floats(allow_nan=False)
        | st.text(max_size=300)
        | st.binary(max_size=300),
        lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=5), inner, max_size=30),
        max_leaves=10,
    )
)
def test_cbor_comes_back(value: Any) -> None:
    """What is written is read back."""
    assert cbor.loads(cbor.dumps(value)) == value


@some
@given(name=st.text(max_size=20), value=json_values)
def test_errors_with_any_members_can_be_written(name: str, value: Any) -> None:
    """A service may put what it likes into an unmodelled error."""
    for service, request in (
        ("lambda", Request("GET", "/2015-03-31/functions", "", {}, b"")),
        ("s3", Request("GET", "/", "", {}, b"")),
        ("iam", Request("GET", "/", "Action=ListRoles", {}, b"")),
        ("logs", Request("POST", "/", "", {"x-amz-target": "Logs_20140328.PutLogEvents"}, b"")),
    ):
        error = AwsError("No\r\nSuch<Error>ä", "\x00 message", members={name: str(value)})
        load(service).match(request).respond_error(error, "id\r\n<")

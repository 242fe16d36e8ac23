"""The front end's validation: every message that the real service was seen to send, and what it lets pass."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_generation import SERVICES

from lambdad.model.errors import AwsError, ValidationError
from lambdad.wire import java_patterns
from lambdad.wire.codec import Call, load
from lambdad.wire.http import Request
from lambdad.wire.service_model import read

ROLE = "arn:aws:iam::000000000000:role/r"
ONE = "1 validation error detected: "


def call_of(service: str, operation: str) -> Call:
    """Return a call of an operation that is told by its target header or, for lambda, by its path."""
    codec = load(service)
    model = codec.operations[operation]
    path = model.request_uri.partition("?")[0].replace("{", "").replace("+}", "").replace("}", "")
    headers = {"x-amz-target": f"{codec.target_prefix}.{operation}"}
    body = f"Action={operation}".encode() if codec.protocols == ("query",) else b""
    return codec.match(Request(model.method, path, model.request_uri.partition("?")[2], headers, body))


def message_of(service: str, operation: str, params: dict[str, Any]) -> str:
    """Return the text with which the input is refused."""
    with pytest.raises(ValidationError) as caught:
        call_of(service, operation).validate(params)
    assert caught.value.status == 400
    assert caught.value.message is not None
    return caught.value.message


def function(**more: Any) -> dict[str, Any]:
    """Return valid parameters of CreateFunction, and more."""
    return {"FunctionName": "f", "Role": ROLE, "Code": {"ZipFile": b"PK"}, **more}


URL_CONFIG = {"FunctionName": "f", "AuthType": "NONE"}
ALIAS = {"FunctionName": "f", "Name": "a", "FunctionVersion": "1"}

CASES = [
    (
        "CreateFunctionUrlConfig",
        {**URL_CONFIG, "InvokeMode": "UNKNOWN"},
        "Value 'UNKNOWN' at 'invokeMode' failed to satisfy constraint: Member must satisfy enum value set: [BUFFERED, RESPONSE_STREAM]",
    ),
    (
        "CreateFunction",
        function(VpcConfig={"SecurityGroupIds": ["sg-xxx!"]}),
        "Value '[sg-xxx!]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: Member must satisfy constraint: "
        "[Member must have length less than or equal to 1024, Member must have length greater than or equal to 0, "
        "Member must satisfy regular expression pattern: sg-[0-9a-zA-Z]*]",
    ),
    (
        "CreateAlias",
        {**ALIAS, "RoutingConfig": {"AdditionalVersionWeights": {"2": 2.0}}},
        "Value '{2=2.0}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map value must satisfy "
        "constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or equal to "
        "0.0, Member must not be null]",
    ),
    (
        "CreateAlias",
        {**ALIAS, "RoutingConfig": {"AdditionalVersionWeights": {"$LATEST": 0.5}}},
        "Value '{$LATEST=0.5}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map keys must "
        "satisfy constraint: [Member must have length less than or equal to 1024, Member must have length greater than or "
        "equal to 1, Member must satisfy regular expression pattern: [0-9]+]",
    ),
    (
        "CreateFunction",
        function(Architectures=["x86_64", "arm64"]),
        "Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: Member must have length less than or equal to 1",
    ),
    (
        "CreateFunction",
        function(Architectures=["X86_64"]),
        "Value '[X86_64]' at 'architectures' failed to satisfy constraint: Member must satisfy constraint: "
        "[Member must satisfy enum value set: [x86_64, arm64]]",
    ),
    (
        "CreateFunction",
        function(SnapStart={"ApplyOn": "Sometimes"}),
        "Value 'Sometimes' at 'snapStart.applyOn' failed to satisfy constraint: Member must satisfy enum value set: "
        "[PublishedVersions, None]",
    ),
    (
        "CreateFunction",
        function(Handler="x" * 129),
        f"Value '{'x' * 129}' at 'handler' failed to satisfy constraint: Member must have length less than or equal to 128",
    ),
    (
        "CreateFunction",
        function(Timeout=0),
        "Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1",
    ),
    (
        "CreateFunction",
        {"FunctionName": "f", "Code": {}},
        "Value null at 'role' failed to satisfy constraint: Member must not be null",
    ),
    (
        "CreateFunction",
        function(Environment={"Variables": {"1": "secret"}}),
        "Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: "
        "[Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]",
    ),
    (
        "CreateFunction",
        function(VpcConfig={"SubnetIds": [None]}),
        "Value '[null]' at 'vpcConfig.subnetIds' failed to satisfy constraint: Member must satisfy constraint: "
        "[Member must have length less than or equal to 1024, Member must have length greater than or equal to 0, "
        "Member must satisfy regular expression pattern: subnet-[0-9a-z]*, Member must not be null]",
    ),
    (
        "PutFunctionEventInvokeConfig",
        {"FunctionName": "f", "DestinationConfig": {"OnFailure": {"Destination": "x" * 351}}},
        None,
    ),
]


@pytest.mark.parametrize(("operation", "params", "expected"), CASES)
def test_the_message_is_aws_own(operation: str, params: dict[str, Any], expected: str | None) -> None:
    """Each constraint is worded as recorded from the service, with the value and its path."""
    message = message_of("lambda", operation, params)
    if expected is not None:
        assert message == ONE + expected
    else:
        assert "at 'destinationConfig.onFailure.destination' failed to satisfy constraint: Member must have" in message


def test_all_failures_are_told_at_once() -> None:
    """Failures are counted and joined by semicolons."""
    message = message_of("lambda", "CreateFunction", {"FunctionName": "f f", "Code": {"ZipFile": b"PK"}, "Timeout": 0})
    assert message.startswith("3 validation errors detected: Value 'f f' at 'functionName' failed")
    assert message.count("; Value ") == 2


def test_an_unknown_runtime_is_left_to_the_service() -> None:
    """Lambda itself refuses runtimes, with a text and an error of its own; layers are refused here."""
    call_of("lambda", "CreateFunction").validate(function(Runtime="python9"))
    call_of("lambda", "UpdateFunctionConfiguration").validate({"FunctionName": "f", "Runtime": "python9"})
    assert "'compatibleRuntime'" in message_of("lambda", "ListLayers", {"CompatibleRuntime": "python9"})


def test_elements_of_lists_and_maps_have_paths_of_their_own() -> None:
    """A structure in a list is ``name.1.member``, one in a map ``name.key.member``."""
    params = {"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": 1, "message": "m"}, {"timestamp": -1}]}
    message = message_of("logs", "PutLogEvents", params)
    assert "Value '-1' at 'logEvents.2.member.timestamp' failed to satisfy constraint: Member must have value" in message
    assert "Value null at 'logEvents.2.member.message' failed to satisfy constraint: Member must not be null" in message
    batch = {"RequestItems": {"t": []}}
    assert message_of("dynamodb", "BatchWriteItem", batch) == (
        ONE + "Value '{t=[]}' at 'requestItems' failed to satisfy constraint: Map value must satisfy constraint: "
        "[Member must have length less than or equal to 25, Member must have length greater than or equal to 1]"
    )
    nested = {"RequestItems": {"t": [{"PutRequest": {}}]}}
    assert "at 'requestItems.t.member.1.member.putRequest.item' failed" in message_of("dynamodb", "BatchWriteItem", nested)


def test_structures_are_printed_as_java_does() -> None:
    """A structure has its name and all its members, absent ones as null, secret ones hidden."""
    entries = [{"Source": "s", "Time": datetime(2026, 1, 2, tzinfo=UTC)}] + [{}] * 10
    message = message_of("events", "PutEvents", {"Entries": entries})
    assert message.startswith(ONE + "Value '[PutEventsRequestEntry(time=Fri Jan 02 00:00:00 UTC 2026, source=s, resources=null")
    assert message.endswith("at 'entries' failed to satisfy constraint: Member must have length less than or equal to 10")


@pytest.mark.parametrize(
    ("service", "operation", "params", "code"),
    [
        ("lambda", "GetFunction", {}, "ValidationException"),
        ("kinesis", "CreateStream", {}, "ValidationException"),
        ("logs", "CreateLogGroup", {}, "InvalidParameterException"),
        ("iam", "CreateUser", {}, "ValidationError"),
        ("sts", "AssumeRole", {}, "ValidationError"),
    ],
)
def test_services_name_the_error_differently(service: str, operation: str, params: dict[str, Any], code: str) -> None:
    """The grammar is one, the error's name is the service's."""
    with pytest.raises(ValidationError) as caught:
        call_of(service, operation).validate(params)
    assert caught.value.code == code


def test_a_shape_may_contain_itself() -> None:
    """DynamoDB's attribute values nest; what is wrong deep inside is found."""
    value: dict[str, Any] = {"M": {"a": {"L": [{"M": {}}]}}}
    call_of("dynamodb", "PutItem").validate({"TableName": "t" * 3, "Item": {"k": value}})


def test_deep_nesting_is_refused_politely() -> None:
    """A value nested beyond all reason is an error of the caller, not a crash."""
    body = b'{"TableName":"ttt","Item":{"k":' + b'{"L":[' * 400 + b"]}" * 400 + b"}}"
    request = Request("POST", "/", "", {"x-amz-target": "DynamoDB_20120810.PutItem"}, body)
    call = load("dynamodb").match(request)
    try:
        call.validate(call.parse())
    except AwsError as error:
        assert error.code == "SerializationException"


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (r"[a-zA-Z0-9-_]+", ["a-b_C"], ["a.b", ""]),
        (r"a|b+", ["a", "bb"], ["ab", "a\n"]),
        (r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)", ["", "Größe 12/€".replace("/€", ""), "a@b", "日本 ٣"], ["a€", "a\tb"]),
        (r"\p{Alnum}[\w-.]*", ["a-.b"], ["-", "aä"]),
        ("[\\u0020-\\uD7FF\\uE000-\\uFFFD\\uD800\\uDC00-\\uDBFF\\uDFFF\\r\\n\\t]*", ["a\n𝄞"], ["\x00"]),
        ("[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+", ["a\tÿ"], ["Ā"]),
        (r"[^\s]+", ["x"], ["a b"]),
        (r"[[a-z]0-9]+", ["a0"], ["A"]),
        (r"[\[\]a&|~]+", ["[]&|~"], ["b"]),
        (r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+", ["$LATEST.PUBLISHED", "a$"], ["$LATEST.X"]),
        (r"(?!^[0-9]+$)([a-zA-Z0-9-_]+)", ["a1"], ["11"]),
        (r"\S\z", ["x"], [" "]),
        (r"\x{1F600}\Q.*\E", ["😀.*"], ["😀xx"]),
        (r"\P{L}", ["1"], ["a"]),
    ],
)
def test_java_patterns_match_as_in_java(pattern: str, matching: list[str], other: list[str]) -> None:
    """Classes, surrogate pairs and stray hyphens mean what Java makes of them, and the whole value must match."""
    compiled = java_patterns.compile_pattern(pattern)
    assert compiled is not None
    assert [text for text in matching if not compiled.fullmatch(text)] == []
    assert [text for text in other if compiled.fullmatch(text)] == []


@pytest.mark.parametrize("pattern", [r"[a-z&&[^b]]", r"\X", r"a(?<n", r"\p{IsUnheardOf}", r"[a"])
def test_patterns_without_an_equal_are_not_checked(pattern: str) -> None:
    """A pattern that Python cannot say refuses nothing."""
    assert java_patterns.compile_pattern(pattern) is None


def test_nearly_all_patterns_of_the_served_services_compile() -> None:
    """The translation knows what occurs in the models that we serve."""
    models = [read(service) for service in SERVICES]
    traits = [model.shape(name).traits for model in models for name in model.shape_names]
    patterns = {trait["pattern"] for trait in traits if "pattern" in trait}
    failing = [pattern for pattern in patterns if java_patterns.compile_pattern(pattern) is None]
    assert failing == []


@pytest.mark.parametrize("hostile", ["a" * 300 + "\n", "a " * 200 + "\n", " " * 400 + "\n", "a\t" * 200 + "\x00"])
def test_patterns_with_nested_repeats_take_linear_time(hostile: str) -> None:
    """EventBridge's patterns for headers would keep a processor busy for years."""
    model = read("events")
    for name in ("AuthHeaderParameters", "HeaderValue"):
        compiled = java_patterns.compile_pattern(model.shape(name).traits["pattern"])
        assert compiled is not None
        assert compiled.fullmatch(hostile) is None
        assert compiled.fullmatch(" \ta b\tc\t") is not None


@settings(max_examples=50, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.from_regex(r"[a-zA-Z0-9-_]{1,64}", fullmatch=True), st.integers(1, 900), st.integers(128, 10240))
def test_what_keeps_to_the_model_passes(name: str, timeout: int, memory: int) -> None:
    """Valid input is not refused."""
    call_of("lambda", "CreateFunction").validate(function(FunctionName=name, Timeout=timeout, MemorySize=memory))

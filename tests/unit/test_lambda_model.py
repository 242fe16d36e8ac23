"""Lambda's nouns: ARNs round trip and follow the service model's grammar, enumerations are AWS's."""

import re
from enum import StrEnum

import botocore.session
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.model import arn, function
from lambdad.model.arn import LATEST

MODEL = botocore.session.get_session().get_service_model("lambda")
NAMESPACED = MODEL.shape_for("NamespacedFunctionName").metadata["pattern"]
FUNCTION_NAME = MODEL.shape_for("FunctionName").metadata["pattern"]

names = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)
accounts = st.from_regex(r"[0-9]{12}", fullmatch=True)
regions = st.sampled_from(["us-east-1", "eu-west-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1", "us-isob-east-1"])
qualifiers = st.none() | st.just(LATEST) | st.from_regex(r"[a-zA-Z0-9_-]{1,128}", fullmatch=True)


@given(accounts, regions, names, qualifiers)
@settings(max_examples=50)
def test_function_arns_round_trip(account: str, region: str, name: str, qualifier: str | None) -> None:
    """What is built is parsed back into its parts, and is what the service model calls an ARN."""
    built = arn.function(account, region, name, qualifier)
    reference = arn.parse_function(built)
    assert reference is not None
    assert (reference.account, reference.region, reference.name, reference.qualifier) == (account, region, name, qualifier)
    assert re.fullmatch(FUNCTION_NAME, built)


@given(st.from_regex(NAMESPACED, fullmatch=True))
@settings(max_examples=50)
def test_every_allowed_function_name_is_understood(text: str) -> None:
    """The parser takes all that the service model lets through."""
    assert arn.parse_function(text) is not None


@given(st.text(max_size=40) | st.from_regex(NAMESPACED))
@settings(max_examples=50)
def test_nothing_else_is_understood(text: str) -> None:
    """The parser takes nothing that the service model does not let through."""
    if arn.parse_function(text) is not None:
        assert re.fullmatch(NAMESPACED, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f", ("f", None, None, None)),
        ("f:live", ("f", "live", None, None)),
        ("f:$LATEST", ("f", "$LATEST", None, None)),
        ("function:f", ("f", None, None, None)),
        ("123456789012:function:f:7", ("f", "7", "123456789012", None)),
        ("arn:aws:lambda:us-east-1:123456789012:function:f", ("f", None, "123456789012", "us-east-1")),
        ("arn:aws:lambda:us-east-1:123456789012:function", ("function", None, "123456789012", "us-east-1")),
        ("f:$LATEST.PUBLISHED", ("f", "$LATEST.PUBLISHED", None, None)),
        ("", None),
        ("f:", None),
        ("f:a:b:c", None),
        ("f/g", None),
        ("f\n", None),
    ],
)
def test_forms_of_function_names(text: str, expected: tuple[str | None, ...] | None) -> None:
    """Each documented form is taken apart as documented."""
    found = arn.parse_function(text)
    assert (found and (found.name, found.qualifier, found.account, found.region)) == expected


@given(accounts, regions, names, st.integers(1, 10**9))
@settings(max_examples=50)
def test_layer_version_arns_round_trip(account: str, region: str, name: str, version: int) -> None:
    """What is built is parsed back; a layer's ARN without a version is none."""
    reference = arn.parse_layer_version(arn.layer_version(account, region, name, version))
    assert reference is not None
    assert (reference.account, reference.region, reference.name, reference.version) == (account, region, name, version)
    assert arn.parse_layer_version(arn.layer(account, region, name)) is None


@pytest.mark.parametrize(
    ("ours", "shape", "is_all"),
    [
        (function.State, "State", True),
        (function.StateReasonCode, "StateReasonCode", False),
        (function.LastUpdateStatus, "LastUpdateStatus", True),
        (function.InvocationType, "InvocationType", True),
        (function.LogType, "LogType", True),
        (function.PackageType, "PackageType", True),
        (function.Architecture, "Architecture", True),
        (function.TracingMode, "TracingMode", True),
        (function.LogFormat, "LogFormat", True),
        (function.SnapStartApplyOn, "SnapStartApplyOn", True),
    ],
)
def test_enumerations_are_the_service_models(ours: type[StrEnum], shape: str, is_all: bool) -> None:
    """Members are AWS's strings; where a list is ours to shorten, it is a part of AWS's."""
    theirs = set(MODEL.shape_for(shape).enum)
    assert {member.value for member in ours} == theirs if is_all else {member.value for member in ours} <= theirs


def test_versions_survive_storage() -> None:
    """A version is read back from its JSON as the same value, enumerations and tuples included."""
    version = function.FunctionVersion(
        account=function.AccountId("000000000000"),
        region=function.Region("us-east-1"),
        name="f",
        deployment_id="d",
        revision_id="r",
        last_modified="t",
        runtime="python3.12",
        handler="h",
        role="r",
        timeout_s=3,
        memory_mib=128,
        ephemeral_storage_mib=512,
        environment={"KEY": "ä\0"},
        code_sha256="00",
        code_size_bytes=1,
        layers=(function.LayerReference("a", "b", 1, 2),),
        log_group="g",
    )
    assert msgspec.json.decode(msgspec.json.encode(version), type=function.FunctionVersion) == version

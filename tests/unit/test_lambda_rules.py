"""Rules of Lambda's control plane, one decision at a time."""

from dataclasses import replace
from typing import Any

import botocore.session
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.model.errors import AwsError
from lambdad.model.function import Alias, FunctionKey, FunctionVersion, LayerReference
from lambdad.model.ids import AccountId, Region
from lambdad.runtimes import catalogue
from lambdad.services.lambda_.rules import (
    concurrency,
    configuration,
    environment,
    layers_used,
    lifecycle,
    names,
    paging,
    presentation,
    routing,
    runtimes,
)

MODEL = botocore.session.get_session().get_service_model("lambda")
KEY = FunctionKey(AccountId("000000000000"), Region("us-east-1"), "f")
IDS = configuration.Ids(revision_id="r1", deployment_id="d1", last_modified="2025-11-25T02:26:54.000+0000")
CODE = configuration.CodeReference(sha256="ab" * 32, size_bytes=10, unzipped_bytes=20)
CREATE: dict[str, Any] = {
    "FunctionName": "f",
    "Runtime": "python3.12",
    "Handler": "handler.handler",
    "Role": "arn:aws:iam::000000000000:role/r",
    "Code": {"ZipFile": b"zip"},
}
FIFO = "arn:aws:sqs:us-east-1:000000000000:q.fifo"
DEAD_LETTER = "The provided dead letter target {} is invalid. It must be a standard Amazon SQS queue or a standard Amazon SNS topic."
NOT_YET = "is not supported by lambdad yet."
MOST = "value failed to satisfy constraint: Member must have value less than or equal to"


def created(**parameters: Any) -> FunctionVersion:
    return configuration.create(KEY, {**CREATE, **parameters}, CODE, (), IDS)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"Handler": None}, "Runtime and Handler are mandatory parameters for functions created with deployment packages."),
        ({"PackageType": "Image"}, f"PackageType Image {NOT_YET}"),
        ({"Architectures": ["arm64"]}, "The architecture arm64 is not supported by this machine, which runs x86_64."),
        ({"Code": {}}, "Please provide a source for function code."),
        ({"Code": {"S3Bucket": "b"}}, "Please provide a source for function code."),
        ({"Code": {"S3Bucket": "b", "S3Key": "k", "S3ObjectStorageMode": "REFERENCE"}}, f"S3ObjectStorageMode REFERENCE {NOT_YET}"),
        ({"Code": {"ZipFile": b"", "S3Key": "k"}}, "Please do not provide other FunctionCode parameters when providing a ZipFile."),
        ({"Code": {"ImageUri": "x"}}, "Please don't provide ImageUri when creating a function with packageType Zip."),
        ({"ImageConfig": {"Command": ["x"]}}, "Please don't provide ImageConfig when creating a function with packageType Zip."),
        ({"Timeout": 901}, f"'Timeout' {MOST} 900"),
        ({"Timeout": 0}, "'Timeout' value failed to satisfy constraint: Member must have value greater than or equal to 1"),
        ({"MemorySize": 10241}, f"'MemorySize' {MOST} 10240"),
        ({"EphemeralStorage": {"Size": 10241}}, f"'EphemeralStorage.Size' {MOST} 10240"),
        ({"VpcConfig": {"SubnetIds": ["subnet-1"]}}, f"VpcConfig {NOT_YET}"),
        ({"DeadLetterConfig": {"TargetArn": FIFO}}, DEAD_LETTER.format(FIFO)),
        ({"DeadLetterConfig": {"TargetArn": "arn:aws:s3:::bucket"}}, DEAD_LETTER.format("arn:aws:s3:::bucket")),
        ({"SnapStart": {"ApplyOn": "PublishedVersions"}, "Runtime": "java21"}, f"SnapStart for java21 {NOT_YET}"),
        ({"KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"}, f"KMSKeyArn {NOT_YET}"),
        ({"FileSystemConfigs": [{"Arn": "a", "LocalMountPath": "/mnt/a"}]}, f"FileSystemConfigs {NOT_YET}"),
        ({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, f"TenancyConfig {NOT_YET}"),
        ({"CapacityProviderConfig": {}}, f"CapacityProviderConfig {NOT_YET}"),
        ({"DurableConfig": {"ExecutionTimeout": 1}}, f"DurableConfig {NOT_YET}"),
        ({"PublishTo": "LATEST_PUBLISHED"}, f"PublishTo {NOT_YET}"),
        ({"CodeSigningConfigArn": "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0"}, f"CodeSigningConfigArn {NOT_YET}"),
        ({"Tags": {str(number): "" for number in range(51)}}, "Number of tags exceeds resource tag limit."),
    ],
)  # fmt: skip
def test_what_create_refuses(parameters: dict[str, Any], message: str) -> None:
    """Each thing that cannot be honoured is refused in words; nothing is accepted and ignored."""
    with pytest.raises(AwsError) as caught:
        configuration.check_create({**CREATE, **parameters}, {"x86_64"})
    assert (caught.value.code, caught.value.message) == ("InvalidParameterValueException", message)
    assert caught.value.members == {"Type": "User"}


def test_every_setting_of_the_model_is_decided_on() -> None:
    """A member that botocore's model gains shows up here, and is then either built or refused."""
    handled = {
        *("FunctionName", "Role", "Runtime", "Handler", "Description", "Timeout", "MemorySize", "Environment", "Layers"),
        *("TracingConfig", "RevisionId", "EphemeralStorage", "LoggingConfig", "Architectures", "Code", "Publish", "Tags"),
        *("VpcConfig", "PackageType", "DeadLetterConfig", "KMSKeyArn", "FileSystemConfigs", "CodeSigningConfigArn"),
        *("ImageConfig", "SnapStart", "TenancyConfig", "CapacityProviderConfig", "DurableConfig", "PublishTo"),
        *("RuntimeConfig", "AcceleratorConfig"),
    }
    for operation in ("CreateFunction", "UpdateFunctionConfiguration"):
        assert set(MODEL.operation_model(operation).input_shape.members) <= handled


def test_runtimes() -> None:
    """Unknown, blocked and create-blocked runtimes are refused each with AWS's text; every other one is taken."""
    for runtime in catalogue.PRINTED:
        runtimes.require_creatable(runtime)
        runtimes.require_updatable(runtime)
    with pytest.raises(AwsError) as caught:
        runtimes.require_creatable("PYTHON3.9")
    assert caught.value.message is not None and caught.value.message.startswith("Value PYTHON3.9 at 'runtime' failed")
    assert caught.value.message.endswith("] or be a valid ARN")
    for check, runtime in ((runtimes.require_creatable, "python3.7"), (runtimes.require_updatable, "nodejs10.x")):
        with pytest.raises(AwsError, match=f"The runtime parameter of {runtime} is no longer supported"):
            check(runtime)
    runtimes.require_updatable("python3.7")


def test_environment_limits() -> None:
    """4 KB of compact JSON fit and one byte more does not; bytes count, not characters; reserved keys are all named."""
    fits = {"KEY": "x" * (4096 - len('{"KEY":""}'))}
    assert environment.check(fits) == fits
    for too_much in ({"KEY": fits["KEY"] + "x"}, {"KEY": "ä" * 2048}):
        with pytest.raises(AwsError, match=r'exceeded the 4KB limit\. String measured: \{"KEY":"'):
            environment.check(too_much)
    with pytest.raises(AwsError, match=r"Reserved keys used in this request: AWS_REGION, LAMBDA_TASK_ROOT$"):
        environment.check({"AWS_REGION": "x", "KEY": "y", "LAMBDA_TASK_ROOT": "z"})


def layer(name: str, version: int = 1, region: str = "us-east-1") -> str:
    return f"arn:aws:lambda:{region}:000000000000:layer:{name}:{version}"


@pytest.mark.parametrize(
    ("arns", "message"),
    [
        ([layer(f"l{number}") for number in range(6)], "Cannot reference more than 5 layers."),
        (
            [layer("a"), layer("a", 2)],
            "Two different versions of the same layer are not allowed to be referenced in the same function. "
            f"{layer('a')} and {layer('a', 2)} are versions of the same layer.",
        ),
        (
            [layer("a"), layer("a")],
            "Two different versions of the same layer are not allowed to be referenced in the same function. "
            f"{layer('a')} and {layer('a')} are versions of the same layer.",
        ),
        (
            [layer("a", region="eu-west-1")],
            "Layers are not in the same region as the function. Layers are expected to be in region us-east-1.",
        ),
    ],
)
def test_layers_that_do_not_go_together(arns: list[str], message: str) -> None:
    """A function's list of layers is refused with AWS's texts."""
    with pytest.raises(AwsError) as caught:
        layers_used.check(arns, "us-east-1")
    assert caught.value.message == message


def test_code_and_layers_together() -> None:
    """Code and layers may be 262,144,000 bytes unpacked, and no more."""
    layers_used.check(["arn"], "us-east-1")
    layers_used.check_size(262_144_000 - 5, [LayerReference("a", "b", 1, 5)])
    with pytest.raises(AwsError, match="The actual size is 262144001 bytes"):
        layers_used.check_size(262_144_000 - 4, [LayerReference("a", "b", 1, 5)])


def test_update_keeps_replaces_and_merges() -> None:
    """Absent members keep their value, structures replace theirs, LoggingConfig merges, and every update is a new one."""
    version = created(
        Timeout=9,
        Environment={"Variables": {"KEY_A": "a"}},
        LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "WARN", "LogGroup": "g"},
    )
    ids = replace(IDS, revision_id="r2", deployment_id="d2")
    changed = configuration.update(version, {"Environment": {}, "LoggingConfig": {"ApplicationLogLevel": "DEBUG"}}, None, ids)
    assert changed == replace(version, environment={}, application_log_level="DEBUG", revision_id="r2", deployment_id="d2")
    assert (changed.timeout_s, changed.system_log_level, changed.log_group) == (9, "WARN", "g")
    text = configuration.update(changed, {"LoggingConfig": {"LogFormat": "Text"}}, None, ids)
    assert (text.application_log_level, text.system_log_level, text.log_group) == (None, None, "g")
    with pytest.raises(AwsError, match="LogFormat is JSON"):
        configuration.update(text, {"LoggingConfig": {"SystemLogLevel": "INFO"}}, None, ids)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "Timeout": st.integers(1, 900),
            "Description": st.text(max_size=20),
            "Environment": st.fixed_dictionaries({}, optional={"Variables": st.dictionaries(st.just("KEY"), st.text(max_size=5))}),
            "LoggingConfig": st.fixed_dictionaries({}, optional={"LogFormat": st.just("JSON"), "LogGroup": st.just("g")}),
            "VpcConfig": st.just({}),
        },
    )
)  # fmt: skip
@settings(max_examples=30)
def test_what_is_shown_is_in_the_model(parameters: dict[str, Any]) -> None:
    """Every member that is shown exists in the service model, in lists as in single answers."""
    shape = MODEL.shape_for("FunctionConfiguration")
    for version in (created(**parameters), lifecycle.ready(created(**parameters))):
        shown = presentation.configuration(version, version.arn)
        assert shown.keys() <= shape.members.keys()
        for name, value in shown.items():
            if isinstance(value, dict) and name != "Environment":
                assert value.keys() <= shape.members[name].members.keys()
        assert presentation.in_list(version, version.arn).keys() <= shown.keys()


@given(
    st.sets(st.integers(0, 10**6), max_size=130),
    st.integers(1, 10_000),
    st.lists(st.integers(0, 129), max_size=3),
)
@settings(max_examples=30)
def test_pages_show_everything_once(numbers: set[int], max_items: int, deleted: list[int]) -> None:
    """Following the markers shows every item that stays exactly once, even if others vanish between two pages."""
    items = sorted((paging.number(str(number)) for number in numbers), key=str)
    seen: list[str] = []
    marker: str | None = None
    gone: set[str] = set()
    while True:
        page, marker = paging.page([item for item in items if item not in gone], str, marker, max_items)
        assert len(page) <= min(max_items, 50)
        seen.extend(page)
        if marker is None:
            break
        assert page
        gone |= {items[index] for index in deleted if index < len(items)}
    assert len(seen) == len(set(seen)) and set(items) - gone <= set(seen) <= set(items)


@pytest.mark.parametrize("marker", ["!", "====", "\udcff", "/w=="])
def test_foreign_markers_are_refused(marker: str) -> None:
    """A marker that is none of ours is told so."""
    with pytest.raises(AwsError, match="marker"):
        paging.page(["a"], str, marker, None)


@given(st.floats(0, 1), st.floats(0, 1, exclude_max=True))
@settings(max_examples=50)
def test_weights(weight: float, pick: float) -> None:
    """An additional version gets exactly its share of the interval; weight 0 gets nothing, weight 1 everything."""
    alias = Alias(name="a", arn="x", function_version="1", additional=(("2", weight),), revision_id="r")
    assert routing.choose(alias, pick) == ("2" if pick < weight else "1")
    assert routing.choose(replace(alias, additional=()), pick) == "1"


@given(st.integers(0, 2000), st.integers(0, 900))
@settings(max_examples=50)
def test_reservations(wanted: int, others: int) -> None:
    """A reservation is taken exactly if enough stays unreserved; 0 always is."""
    fits = wanted == 0 or 1000 - others - wanted >= 100
    try:
        concurrency.check(wanted, others, 1000, 100)
    except AwsError as error:
        assert not fits and error.members == {}
    else:
        assert fits


def test_long_names_are_refused_on_create_only() -> None:
    """64 characters is the limit of a new function's name; a lookup of a longer one just finds nothing."""
    long = "n" * 65
    with pytest.raises(AwsError) as caught:
        names.to_create(KEY.account, KEY.region, long)
    assert (caught.value.code, caught.value.message) == (
        "InvalidParameterValueException",
        f"1 validation error detected: Value '{long}' at 'functionName' failed to satisfy constraint: "
        "Member must have length less than or equal to 64",
    )
    assert names.named(KEY.account, KEY.region, long).key.name == long


def test_timestamps() -> None:
    """Times are shown with milliseconds and a zone without a colon."""
    assert presentation.timestamp(1_764_037_614_007) == "2025-11-25T02:26:54.007+0000"

"""What botocore writes our codecs read back, and what our codecs write botocore reads back, for every operation."""

import gc
from collections.abc import Iterator
from typing import Any

import botocore.model
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_generation import DIALECTS, Generator, botocore_model, from_response, to_request

from lambdad.model.errors import AwsError
from lambdad.wire.codec import Call, ServiceCodec, load
from lambdad.wire.http import Request

REQUEST_ID = "5f0c1a4e-0d5b-4c4f-9a53-2b6d7c1e8f90"

# GET / means ListBuckets; only the host, or x-id, says that directory buckets are meant.
SAME_AS_ANOTHER = {"ListDirectoryBuckets": "ListBuckets", "GetBucketLifecycle": "GetBucketLifecycleConfiguration"}
SAME_AS_ANOTHER |= {"PutBucketLifecycle": "PutBucketLifecycleConfiguration"}
SAME_AS_ANOTHER |= {"GetBucketNotification": "GetBucketNotificationConfiguration"}
SAME_AS_ANOTHER |= {"PutBucketNotification": "PutBucketNotificationConfiguration"}

dialects = pytest.mark.parametrize(("service", "protocol"), DIALECTS, ids=[f"{s}-{p}" for s, p in DIALECTS])
few = settings(max_examples=10, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
many = settings(few, max_examples=150)
seeds = given(seed=st.integers(0, 2**32), richness=st.integers(0, 4))


@pytest.fixture(scope="module", autouse=True)
def _memory() -> Iterator[None]:
    """Give botocore's models back when this module is done."""
    yield
    botocore_model.cache_clear()
    gc.collect()


def operations(service: str, protocol: str) -> Iterator[botocore.model.OperationModel]:
    model = botocore_model(service, protocol)
    return (model.operation_model(name) for name in model.operation_names)


def normalised_input(operation: botocore.model.OperationModel, params: dict[str, Any]) -> dict[str, Any]:
    """Leave out an empty payload, which no protocol tells from an absent one."""
    shape = operation.input_shape
    found = dict(params)
    payload = shape.serialization.get("payload") if shape is not None else None
    if found.get(payload) in (b"", "", {}) and (found[payload] == {} or payload not in shape.required_members):
        del found[payload]
    return found


def call_of(codec: ServiceCodec, service: str, protocol: str, operation: botocore.model.OperationModel) -> Call:
    """Return a call of the operation, from a small request."""
    generator = Generator(0, 0, protocol, is_output=False)
    params = generator.structure(operation.input_shape) if operation.input_shape is not None else {}
    return codec.match(with_x_id(service, operation, to_request(protocol, operation, params)))


def with_x_id(service: str, operation: botocore.model.OperationModel, request: Request) -> Request:
    """Name the operation as other SDKs do where botocore's request leaves it open."""
    if service != "s3" or operation.name not in SAME_AS_ANOTHER:
        return request
    query = f"{request.query}&x-id={operation.name}".lstrip("&")
    return Request(request.method, request.path, query, request.headers, request.body)


def check_inputs(service: str, protocol: str, seed: int, richness: int) -> None:
    codec = load(service)
    for operation in operations(service, protocol):
        shape = operation.input_shape
        generator = Generator(seed, richness, protocol, is_output=False)
        params = generator.structure(shape) if shape is not None else {}
        request = with_x_id(service, operation, to_request(protocol, operation, params))
        call = codec.match(request)
        assert call.operation == operation.name, request
        found = normalised_input(operation, call.parse())
        if "ContentLength" not in params:
            found.pop("ContentLength", None)  # a header that every request with a body has
        assert found == normalised_input(operation, params), (operation.name, request)


def check_outputs(service: str, protocol: str, seed: int, richness: int) -> None:
    codec = load(service)
    for operation in operations(service, protocol):
        shape = operation.output_shape
        if operation.has_event_stream_output:
            continue
        output = Generator(seed, richness, protocol, is_output=True).structure(shape) if shape is not None else {}
        adjust_output(operation, output)
        response = call_of(codec, service, protocol, operation).respond(output, REQUEST_ID)
        is_head = operation.http["method"] == "HEAD"
        parsed = from_response(protocol, operation, response, shape, is_head=is_head)
        metadata = parsed.pop("ResponseMetadata")
        assert shape is None or metadata.get("RequestId") == REQUEST_ID, operation.name
        assert REQUEST_ID in dict(response.headers).values()
        check_output(service, operation, output, parsed, response)


def adjust_output(operation: botocore.model.OperationModel, output: dict[str, Any]) -> None:
    """Make the output one that a service could send: its length is its body's, nothing travels with HEAD or 204."""
    shape = operation.output_shape
    if shape is None:
        return
    payload = shape.serialization.get("payload")
    if "ContentLength" in shape.members and operation.http["method"] != "HEAD":
        output["ContentLength"] = len(output.get(payload, b""))
    for name, member in shape.members.items():
        if member.serialization.get("location") == "statusCode":
            output[name] = operation.http.get("responseCode", 200)
    if operation.http.get("responseCode") == 204:
        for name, member in shape.members.items():
            if member.serialization.get("location") is None:
                output.pop(name, None)


def check_output(
    service: str, operation: botocore.model.OperationModel, output: dict[str, Any], parsed: dict[str, Any], response: Any
) -> None:
    shape = operation.output_shape
    if shape is None:
        return
    if (service, operation.name) == ("s3", "GetBucketLocation"):
        assert f">{output.get('LocationConstraint', '')}</LocationConstraint>".encode() in response.body
        return
    payload = shape.serialization.get("payload")
    for name, value in list(parsed.items()):
        if name not in output and (value in ({}, b"", "") or name.lower() in ("contentlength", "contenttype")):
            del parsed[name]  # headers of every body; botocore reads an absent payload or prefix map as an empty one
    if payload in output and isinstance(output[payload], str):
        output[payload] = output[payload].encode()
        parsed.setdefault(payload, b"")
        parsed[payload] = parsed[payload] if isinstance(parsed[payload], bytes) else parsed[payload].encode()
    if payload in output and output[payload] == b"":
        parsed.setdefault(payload, b"")
    assert parsed == output, (operation.name, response)


def check_errors(service: str, protocol: str, seed: int, richness: int) -> None:
    codec = load(service)
    model = botocore_model(service, protocol)
    operation = next(o for o in operations(service, protocol) if o.http["method"] != "HEAD")
    call = call_of(codec, service, protocol, operation)
    for shape in model.error_shapes:
        generator = Generator(seed, richness, protocol, is_output=True)
        members = {n: v for n, v in generator.structure(shape).items() if n.lower() != "message"}
        error = AwsError(shape.name, "It's <no> good & ä", members=members)
        response = call.respond_error(error, REQUEST_ID)
        parsed = from_response(protocol, operation, response, operation.output_shape)
        expected_code = codec_code(service, protocol, shape)
        assert parsed["Error"]["Code"] == expected_code, shape.name
        assert parsed["Error"]["Message"] == "It's <no> good & ä", shape.name
        assert parsed["ResponseMetadata"]["RequestId"] == REQUEST_ID
        assert parsed["ResponseMetadata"]["HTTPStatusCode"] == response.status
        error_shape = model.shape_for_error_code(parsed["Error"]["Code"])
        if error_shape is not None and error_shape.name == shape.name:
            modelled = from_response(protocol, operation, response, shape)
            found = {n: v for n, v in modelled.items() if n.lower() != "message" and n != "ResponseMetadata"}
            assert found == members, (shape.name, response)


def codec_code(service: str, protocol: str, shape: botocore.model.StructureShape) -> str:
    """Return the code under which botocore's client finds the exception's class."""
    if service == "sqs":
        sqs_codes = {"QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue", "QueueNameExists": "QueueAlreadyExists"}
        if shape.name in sqs_codes:
            return sqs_codes[shape.name]
        from lambdad.wire.failures import describe
        from lambdad.wire.service_model import read

        return describe(read("sqs"), AwsError(shape.name, "")).code
    if protocol in ("query", "rest-xml") or service == "cloudwatch":
        return str(shape.error_code)
    return str(shape.name)


@dialects
@few
@seeds
def test_inputs_of_botocore_are_read_back(service: str, protocol: str, seed: int, richness: int) -> None:
    """Every operation's request is told apart and its parameters come back as they were."""
    check_inputs(service, protocol, seed, richness)


@dialects
@few
@seeds
def test_outputs_are_read_back_by_botocore(service: str, protocol: str, seed: int, richness: int) -> None:
    """Every operation's output comes back as it was from botocore's parser."""
    check_outputs(service, protocol, seed, richness)


@dialects
@settings(few, max_examples=4)
@seeds
def test_errors_are_read_back_by_botocore(service: str, protocol: str, seed: int, richness: int) -> None:
    """Every modelled exception has the code, message and members that botocore's client looks for."""
    check_errors(service, protocol, seed, richness)


@pytest.mark.slow
@dialects
@many
@seeds
def test_everything_goes_both_ways_at_length(service: str, protocol: str, seed: int, richness: int) -> None:
    """The three properties above, with many more values."""
    check_inputs(service, protocol, seed, richness)
    check_outputs(service, protocol, seed, richness)
    check_errors(service, protocol, seed, richness)

"""Which operation a REST request means."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.model.errors import AwsError
from lambdad.wire.codec import load
from lambdad.wire.http import Request
from lambdad.wire.routing import parse_query

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


def meant(service: str, method: str, target: str, headers: dict[str, str] | None = None) -> str:
    path, _, query = target.partition("?")
    return load(service).match(Request(method, path, query, headers or {}, b"")).operation


@pytest.mark.parametrize(
    ("method", "target", "operation"),
    [
        ("GET", "/2015-03-31/functions", "ListFunctions"),
        ("GET", "/2015-03-31/functions/", "ListFunctions"),
        ("POST", "/2015-03-31/functions/", "CreateFunction"),
        ("GET", "/2015-03-31/functions/f", "GetFunction"),
        ("GET", "/2015-03-31/functions/f/", "GetFunction"),
        ("GET", "/2015-03-31/functions/f/versions", "ListVersionsByFunction"),
        ("POST", "/2015-03-31/functions/f/versions/", "PublishVersion"),
        ("GET", "/2018-10-31/layers", "ListLayers"),
        ("GET", "/2018-10-31/layers?find=LayerVersion&Arn=x", "GetLayerVersionByArn"),
        ("GET", "/2018-10-31/layers?find=LayerVersion", "GetLayerVersionByArn"),
        ("GET", "/2019-09-30/functions/f/provisioned-concurrency?List=ALL", "ListProvisionedConcurrencyConfigs"),
        ("GET", "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=a", "GetProvisionedConcurrencyConfig"),
        ("GET", "/2019-09-30/functions/f/provisioned-concurrency", "GetProvisionedConcurrencyConfig"),
        ("POST", f"/2015-03-31/functions/{ARN}/invocations", "Invoke"),
        ("GET", f"/2017-03-31/tags/{ARN}", "ListTags"),
    ],
)
def test_lambda_paths(method: str, target: str, operation: str) -> None:
    """Slashes at the end do not matter, literal queries do, and a missing required one does not hide the operation."""
    assert meant("lambda", method, target) == operation


@pytest.mark.parametrize(
    ("method", "target", "headers", "operation"),
    [
        ("GET", "/", {}, "ListBuckets"),
        ("GET", "/?x-id=ListDirectoryBuckets", {}, "ListDirectoryBuckets"),
        ("GET", "/b", {}, "ListObjects"),
        ("GET", "/b/", {}, "ListObjects"),
        ("GET", "/b?list-type=2&prefix=x", {}, "ListObjectsV2"),
        ("GET", "/b?list-type=1", {}, "ListObjects"),
        ("GET", "/b?location", {}, "GetBucketLocation"),
        ("GET", "/b?location=", {}, "GetBucketLocation"),
        ("GET", "/b?lifecycle", {}, "GetBucketLifecycleConfiguration"),
        ("GET", "/b?analytics", {}, "ListBucketAnalyticsConfigurations"),
        ("GET", "/b?analytics&id=a", {}, "GetBucketAnalyticsConfiguration"),
        ("GET", "/b?uploads", {}, "ListMultipartUploads"),
        ("PUT", "/b", {}, "CreateBucket"),
        ("HEAD", "/b", {}, "HeadBucket"),
        ("POST", "/b?delete", {}, "DeleteObjects"),
        ("PUT", "/b/k", {}, "PutObject"),
        ("PUT", "/b/k", {"x-amz-copy-source": "/c/k"}, "CopyObject"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", {}, "UploadPart"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", {"x-amz-copy-source": "/c/k"}, "UploadPartCopy"),
        ("PUT", "/b/k?tagging", {}, "PutObjectTagging"),
        ("GET", "/b/k", {}, "GetObject"),
        ("GET", "/b/folder/", {}, "GetObject"),
        ("GET", "/b/k?versionId=null&x-id=GetObject", {}, "GetObject"),
        ("GET", "/b/k?uploadId=u", {}, "ListParts"),
        ("POST", "/b/k?uploads", {}, "CreateMultipartUpload"),
        ("POST", "/b/k?uploadId=u", {}, "CompleteMultipartUpload"),
        ("DELETE", "/b/k?uploadId=u", {}, "AbortMultipartUpload"),
        ("DELETE", "/b/k", {}, "DeleteObject"),
        ("POST", "/b/k?select&select-type=2", {}, "SelectObjectContent"),
    ],
)
def test_s3_tells_operations_apart_by_query_and_headers(method: str, target: str, headers: dict[str, str], operation: str) -> None:
    """One path has many operations."""
    assert meant("s3", method, target, headers) == operation


@pytest.mark.parametrize(
    ("method", "target", "operation"),
    [
        ("POST", "/restapis", "CreateRestApi"),
        ("POST", "/restapis?mode=import", "ImportRestApi"),
        ("GET", "/restapis/a/resources/r/methods/GET/integration", "GetIntegration"),
        ("GET", "/tags/arn:aws:apigateway:us-east-1::/restapis/abc", "GetTags"),
        ("GET", "/tags/arn%3Aaws%3Aapigateway%3Aus-east-1%3A%3A%2Frestapis%2Fabc", "GetTags"),
    ],
)
def test_apigateway_paths(method: str, target: str, operation: str) -> None:
    """Labels may hold ARNs with slashes, encoded or not."""
    assert meant("apigateway", method, target) == operation


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (ARN.replace(":", "%3A"), ARN),
        (ARN, ARN),
        ("a%2Bb", "a+b"),
        ("a+b", "a+b"),
        ("%252F", "%2F"),
        ("a%2Fb", "a/b"),
        ("%F0%9D%84%9E", "𝄞"),
    ],
)
def test_labels_are_decoded_once(path: str, name: str) -> None:
    """A plus in a path is a plus, and what was encoded twice is decoded once."""
    call = load("lambda").match(Request("GET", f"/2015-03-31/functions/{path}/configuration", "", {}, b""))
    assert (call.operation, call.parse()) == ("GetFunctionConfiguration", {"FunctionName": name})


def test_arns_with_raw_slashes_are_one_label() -> None:
    """An unencoded ARN takes the segments up to where the rest of the path fits."""
    arn = f"{ARN}:1/durable-execution/name/id"
    request = Request("GET", f"/2025-12-01/durable-executions/{arn}/history", "", {}, b"")
    call = load("lambda").match(request)
    assert call.operation == "GetDurableExecutionHistory"
    assert call.parse()["DurableExecutionArn"] == arn


@pytest.mark.parametrize(("path", "key"), [("/b/k", "k"), ("/b//k", "/k"), ("/b/a//b/", "a//b/"), ("/b/%2F..", "/..")])
def test_keys_keep_their_slashes(path: str, key: str) -> None:
    """S3's keys are whatever follows the bucket."""
    assert load("s3").match(Request("GET", path, "", {}, b"")).parse() == {"Bucket": "b", "Key": key}


@pytest.mark.parametrize(
    ("service", "request_", "code", "status"),
    [
        ("lambda", Request("GET", "/nothing", "", {}, b""), "UnknownOperationException", 404),
        ("lambda", Request("PATCH", "/2015-03-31/functions", "", {}, b""), "UnknownOperationException", 404),
        ("logs", Request("POST", "/", "", {}, b""), "UnknownOperationException", 400),
        ("logs", Request("POST", "/", "", {"x-amz-target": "Logs_20140328.No"}, b""), "UnknownOperationException", 400),
        ("logs", Request("POST", "/", "", {"x-amz-target": "X.PutLogEvents"}, b""), "UnknownOperationException", 400),
        ("iam", Request("POST", "/", "", {}, b"Action=No"), "InvalidAction", 400),
        ("iam", Request("POST", "/", "", {}, b""), "MissingAction", 400),
        (
            "cloudwatch",
            Request("POST", "/service/X/operation/No", "", {"smithy-protocol": "rpc-v2-cbor"}, b""),
            "UnknownOperationException",
            404,
        ),
    ],
)
def test_what_means_nothing_is_refused(service: str, request_: Request, code: str, status: int) -> None:
    """Each protocol has its own word for an unknown operation, and its own way to write it."""
    codec = load(service)
    with pytest.raises(AwsError) as caught:
        codec.match(request_)
    assert (caught.value.code, caught.value.status) == (code, status)
    response = codec.refuse(caught.value, "id", request_)
    assert response.status == status
    assert isinstance(response.body, bytes)


@pytest.mark.parametrize(
    ("service", "request_", "protocol", "operation"),
    [
        ("sqs", Request("POST", "/", "", {"x-amz-target": "AmazonSQS.ListQueues"}, b"{}"), "json", "ListQueues"),
        ("sqs", Request("POST", "/", "", {}, b"Action=ListQueues"), "query", "ListQueues"),
        ("sqs", Request("GET", "/", "Action=ListQueues&Version=2012-11-05", {}, b""), "query", "ListQueues"),
        (
            "cloudwatch",
            Request("POST", "/", "", {"x-amz-target": "GraniteServiceVersion20100801.ListMetrics"}, b"{}"),
            "json",
            "ListMetrics",
        ),
        ("cloudwatch", Request("POST", "/", "", {}, b"Action=ListMetrics"), "query", "ListMetrics"),
        (
            "cloudwatch",
            Request(
                "POST",
                "/service/GraniteServiceVersion20100801/operation/ListMetrics",
                "",
                {"smithy-protocol": "rpc-v2-cbor"},
                b"",
            ),
            "smithy-rpc-v2-cbor",
            "ListMetrics",
        ),
        ("sts", Request("GET", "/", "X-Amz-Date=1&Action=GetCallerIdentity", {}, b""), "query", "GetCallerIdentity"),
    ],
)
def test_protocols_of_one_service_are_told_apart(service: str, request_: Request, protocol: str, operation: str) -> None:
    """Headers, path and body say which protocol a client speaks."""
    codec = load(service)
    assert codec.protocol_of(request_) == protocol
    assert codec.match(request_).operation == operation


@settings(max_examples=50, derandomize=True, deadline=None, database=None)
@given(st.text(max_size=60))
def test_any_query_can_be_read(query: str) -> None:
    """Decoding a query never fails."""
    assert all(isinstance(value, str) for values in parse_query(query).values() for value in values)


def test_codecs_know_what_they_are_called() -> None:
    """The server tells services apart by these names."""
    assert (load("lambda").signing_name, load("lambda").endpoint_prefix) == ("lambda", "lambda")
    assert (load("dynamodbstreams").signing_name, load("cloudwatch").endpoint_prefix) == ("dynamodb", "monitoring")
    assert load("logs").target_prefix == "Logs_20140328"
    assert load("lambda") is load("lambda")
    assert "Invoke" in load("lambda").operations
    with pytest.raises(LookupError):
        load("no-such-service")

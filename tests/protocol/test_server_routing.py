"""One port, all services: each request tells its own."""

import pytest

from lambdad.server import routing
from lambdad.wire import sigv4_claims
from lambdad.wire.http import Request

FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


def signed(service):
    credential = f"test/20260102/us-east-1/{service}/aws4_request"
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature={'0' * 64}"}


def route(method="GET", path="/", query="", headers=None, body=b""):
    request = Request(method, path, query, headers or {}, body)
    return routing.route(request, sigv4_claims.read(query, request.headers))


@pytest.mark.parametrize(
    ("signing_name", "service"),
    [
        ("lambda", "lambda"),
        ("logs", "logs"),
        ("monitoring", "cloudwatch"),
        ("states", "stepfunctions"),
        ("dynamodb", "dynamodb"),
        ("apigateway", "apigateway"),
        ("execute-api", "execute-api"),
        ("s3", "s3"),
        ("nonsense", "nonsense"),
    ],
)
def test_by_credential_scope(signing_name, service):
    """A signed request goes to the service that its scope names."""
    assert route(headers=signed(signing_name)).service == service


@pytest.mark.parametrize(
    ("signing_name", "path", "headers", "service"),
    [
        ("dynamodb", "/", {"x-amz-target": "DynamoDBStreams_20120810.ListStreams"}, "dynamodbstreams"),
        ("apigateway", "/v2/apis", {}, "apigatewayv2"),
        ("execute-api", "/prod/@connections/abc=", {}, "apigatewaymanagementapi"),
        ("execute-api", "/prod/%40connections/abc%3D", {}, "apigatewaymanagementapi"),
        ("lambda", "/", {"host": "abc123.lambda-url.us-east-1.on.aws"}, "lambda-url"),
    ],
)
def test_services_that_share_a_signing_name(signing_name, path, headers, service):
    """Where a signing name is shared, target, path or host decide."""
    assert route(path=path, headers={**signed(signing_name), **headers}).service == service


@pytest.mark.parametrize(
    ("path", "query", "headers", "body", "service"),
    [
        ("/2015-03-31/functions", "", {}, b"", "lambda"),
        ("/2020-05-31/distribution", "", {}, b"", "cloudfront"),
        ("/schedules/x", "", {}, b"", "scheduler"),
        ("/restapis", "", {}, b"", "apigateway"),
        ("/v2/apis/x", "", {}, b"", "apigatewayv2"),
        ("/", "", {"x-amz-target": "Logs_20140328.DescribeLogGroups"}, b"", "logs"),
        ("/", "", {"x-amz-target": "DynamoDBStreams_20120810.ListStreams"}, b"", "dynamodbstreams"),
        ("/", "", {"x-amz-target": "Nobody.Knows"}, b"", ""),
        (
            "/service/GraniteServiceVersion20100801/operation/ListMetrics",
            "",
            {"smithy-protocol": "rpc-v2-cbor"},
            b"",
            "cloudwatch",
        ),
        ("/", "", FORM, b"Action=GetCallerIdentity&Version=2011-06-15", "sts"),
        ("/", "Action=ListUsers&Version=2010-05-08", {}, b"", "iam"),
        ("/", "", FORM, b"Action=X&Version=1999-01-01", ""),
        ("/some/thing", "", {}, b"", ""),
        ("/", "", {}, b"", ""),
    ],
)
def test_unsigned(path, query, headers, body, service):
    """Without a signature, target, path and form tell."""
    assert route(path=path, query=query, headers=headers, body=body).service == service


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("lambda.eu-west-1.amazonaws.com", ("lambda", "", "eu-west-1")),
        ("lambda.us-gov-west-1.amazonaws.com", ("lambda", "", "us-gov-west-1")),
        ("iam.amazonaws.com", ("iam", "", "")),
        ("streams.dynamodb.us-east-1.amazonaws.com:443", ("dynamodbstreams", "", "us-east-1")),
        ("123456789012.ddb.us-east-1.amazonaws.com", ("dynamodb", "", "us-east-1")),
        ("eu-west-1.queue.amazonaws.com", ("sqs", "", "eu-west-1")),
        ("s3.amazonaws.com", ("s3", "", "")),
        ("my.bucket.s3.eu-west-1.amazonaws.com", ("s3", "my.bucket", "eu-west-1")),
        ("bucket.s3-eu-west-1.amazonaws.com", ("s3", "bucket", "eu-west-1")),
        ("bucket.s3.dualstack.eu-west-1.amazonaws.com", ("s3", "bucket", "eu-west-1")),
        ("bucket.s3.localhost:4566", ("s3", "bucket", "")),
        ("abc123.lambda-url.eu-west-1.on.aws", ("lambda-url", "abc123", "eu-west-1")),
        ("a1b2.execute-api.us-east-1.amazonaws.com", ("execute-api", "a1b2", "us-east-1")),
        ("a1b2.execute-api.localhost:4566", ("execute-api", "a1b2", "")),
        ("127.0.0.1:4566", ("", "", "")),
        ("[::1]:4566", ("", "", "")),
        ("localhost", ("", "", "")),
        ("", ("", "", "")),
    ],
)
def test_host_names(host, expected):
    """Host names tell service, region and, for some, the resource."""
    assert route(headers={"host": host}) == expected


@pytest.mark.parametrize(
    ("host", "bucket"),
    [("b.s3.amazonaws.com", "b"), ("b.localhost:4566", "b"), ("localhost:4566", ""), ("lambda.us-east-1.amazonaws.com", "")],
)
def test_buckets_in_host_names(host, bucket):
    """A request signed for S3 takes its bucket from the host, if that names one."""
    assert route(headers={**signed("s3"), "host": host})[:2] == ("s3", bucket)

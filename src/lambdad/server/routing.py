"""Which service is a request for? All services share one port, so the request itself must tell.

A signed request says it in its credential scope. For the others, in this order: the name in the JSON protocols' target header, the
host name, the path, and the version that a Query request names. Pure; knows names and shapes of requests, never what they ask for.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from lambdad.wire.http import Request
from lambdad.wire.sigv4_claims import Claim

S3_WEBSITE = "s3-website"


class Route(NamedTuple):
    """Where a request goes.

    Args:
        service: botocore's name, or "lambda-url", "execute-api" and "s3-website" for what functions, APIs and buckets answer themselves;
            "" if unknown.
        resource: what the host name names: an S3 bucket, a function URL's or an API's id; "" if nothing.
        region: what the host name says; "" if nothing.
    """

    service: str
    resource: str = ""
    region: str = ""


# Signing names that are not botocore's name of the service.
_BY_SIGNING_NAME = {
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
    "s3express": "s3",
    "s3-object-lambda": "s3",
    "states": "stepfunctions",
    "tagging": "resourcegroupstaggingapi",
}

_BY_TARGET = {
    "AmazonEC2ContainerRegistry_V20150921": "ecr",
    "AmazonSQS": "sqs",
    "AmazonSSM": "ssm",
    "AWSEvents": "events",
    "AWSStepFunctions": "stepfunctions",
    "DynamoDBStreams_20120810": "dynamodbstreams",
    "DynamoDB_20120810": "dynamodb",
    "GraniteServiceVersion20100801": "cloudwatch",
    "Kinesis_20131202": "kinesis",
    "Logs_20140328": "logs",
    "ResourceGroupsTaggingAPI_20170126": "resourcegroupstaggingapi",
    "TrentService": "kms",
    "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101": "cloudtrail",
    "secretsmanager": "secretsmanager",
}

# First labels of host names.
_BY_ENDPOINT = {
    "apigateway": "apigateway",
    "cloudformation": "cloudformation",
    "cloudfront": "cloudfront",
    "cloudtrail": "cloudtrail",
    "dynamodb": "dynamodb",
    "ddb": "dynamodb",
    "ecr": "ecr",
    "events": "events",
    "iam": "iam",
    "kinesis": "kinesis",
    "kms": "kms",
    "lambda": "lambda",
    "logs": "logs",
    "monitoring": "cloudwatch",
    "queue": "sqs",
    "scheduler": "scheduler",
    "secretsmanager": "secretsmanager",
    "serverlessrepo": "serverlessrepo",
    "sns": "sns",
    "sqs": "sqs",
    "ssm": "ssm",
    "states": "stepfunctions",
    "streams": "dynamodbstreams",
    "sts": "sts",
    "tagging": "resourcegroupstaggingapi",
    "xray": "xray",
}

_BY_QUERY_VERSION = {
    "2010-03-31": "sns",
    "2010-05-08": "iam",
    "2010-05-15": "cloudformation",
    "2010-08-01": "cloudwatch",
    "2011-06-15": "sts",
    "2012-11-05": "sqs",
    "2014-10-31": "rds",
    "2015-12-01": "elbv2",
    "2016-11-15": "ec2",
}

_BY_PATH = [
    (re.compile(r"/2020-05-31/").match, "cloudfront"),
    (re.compile(r"/20\d\d-\d\d-\d\d/").match, "lambda"),
    (re.compile(r"/(?:schedules|schedule-groups)(?:/|$)").match, "scheduler"),
    (re.compile(r"/v2/(?:apis|domainnames|vpclinks|tags|portals|portalproducts)(?:/|$)").match, "apigatewayv2"),
    (
        re.compile(
            r"/(?:restapis|apikeys|usageplans|domainnames|domainnameaccessassociations|clientcertificates|vpclinks|sdktypes|account)"
            r"(?:/|$)"
        ).match,
        "apigateway",
    ),
]

_REGION = r"[a-z]{2}(?:-[a-z]+)+-\d"
_S3_WEBSITE_HOST = re.compile(rf"(?P<resource>.+)\.s3-website(?:[.-](?P<region>{_REGION}))?\..+").fullmatch
_S3_HOST = re.compile(rf"(?:(?P<resource>.+)\.)?s3(?:[.-](?:dualstack\.)?(?P<region>{_REGION}))?\..+").fullmatch
_DATA_HOST = re.compile(rf"(?P<resource>[a-z0-9]+)\.(?P<service>lambda-url|execute-api)(?:\.(?P<region>{_REGION}))?\..+").fullmatch
_REGION_LABEL = re.compile(_REGION).fullmatch
_VERSION_IN_FORM = re.compile(r"(?:^|&)Version=(\d{4}-\d\d-\d\d)(?:&|$)").search
_CBOR_PATH = re.compile(r"/service/([A-Za-z0-9_.]+)/operation/[A-Za-z0-9_]+$").search
_FORM_HEAD_BYTES = 16 * 1024


def route(request: Request, claim: Claim | None) -> Route:
    """Return where the request goes; the service is "" where nothing tells."""
    host = request.headers.get("host", "")
    named = _by_host(host)
    if claim is not None and claim.service:
        return _by_scope(claim.service, request, host, named)
    service = _by_target(request) or named.service or _by_path(request.path) or _by_form(request) or _by_browser(request)
    return named._replace(service=service)


def _by_scope(signing_name: str, request: Request, host: str, named: Route) -> Route:
    """Tell apart the services that share a signing name."""
    service = _BY_SIGNING_NAME.get(signing_name, signing_name)
    match service:
        case "s3" if not named.service:
            return Route("s3", _bucket_label(host))
        case "s3":
            return named._replace(service="s3", resource=named.resource if named.service == "s3" else "")
        case "dynamodb" if request.headers.get("x-amz-target", "").startswith("DynamoDBStreams_"):
            service = "dynamodbstreams"
        case "apigateway" if request.path.startswith("/v2/"):
            service = "apigatewayv2"
        case "lambda" if named.service == "lambda-url":
            return named
        case "execute-api" if "/@connections/" in request.path or "/%40connections/" in request.path:
            return named._replace(service="apigatewaymanagementapi")
        case "execute-api":
            return named._replace(service="execute-api")
    return Route(service, "", named.region)


def _bucket_label(host: str) -> str:
    """Return the bucket of a host like "bucket.localhost:4566"."""
    name = host.lower().partition(":")[0]
    return name.removesuffix(".localhost") if name.endswith(".localhost") else ""


@lru_cache(maxsize=512)
def _by_host(host: str) -> Route:
    """Read a host name such as "lambda.eu-west-1.amazonaws.com", "bucket.s3.localhost:4566" or an IP address."""
    name = host.lower().partition(":")[0].rstrip(".")
    labels = name.split(".")
    if len(labels) == 1 or len(name) > 253 or labels[-1].isdigit():
        return Route("")
    data = _DATA_HOST(name)
    if data is not None:
        return Route(data["service"], data["resource"], data["region"] or "")
    region = next((label for label in labels if _REGION_LABEL(label)), "")
    website = _S3_WEBSITE_HOST(name)
    if website is not None:
        return Route(S3_WEBSITE, website["resource"], website["region"] or "")
    s3 = _S3_HOST(name)
    if s3 is not None:
        return Route("s3", s3["resource"] or "", s3["region"] or "")
    for label in labels[:2]:
        service = _BY_ENDPOINT.get(label.removesuffix("-fips"))
        if service is not None:
            return Route(service, "", region)
    return Route("", "", region)


def _by_target(request: Request) -> str:
    target = request.headers.get("x-amz-target")
    if target is not None:
        return _BY_TARGET.get(target.rpartition(".")[0], "")
    if request.headers.get("smithy-protocol") == "rpc-v2-cbor":
        found = _CBOR_PATH(request.path)
        return _BY_TARGET.get(found[1].rpartition("#")[2], "") if found else ""
    return ""


def _by_path(path: str) -> str:
    return next((service for matches, service in _BY_PATH if matches(path)), "")


def _by_browser(request: Request) -> str:
    """Know what only S3 is sent without a signature: forms with files, and questions of browsers before they send anything."""
    if request.method == "POST" and request.headers.get("content-type", "").startswith("multipart/form-data"):
        return "s3"
    return "s3" if request.method == "OPTIONS" and "access-control-request-method" in request.headers else ""


def _by_form(request: Request) -> str:
    """Read the version of a Query request, which stands in its query or in its form body."""
    found = _VERSION_IN_FORM(request.query) if request.query else None
    if found is None and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        head = request.body if len(request.body) <= 2 * _FORM_HEAD_BYTES else request.body[:_FORM_HEAD_BYTES]
        found = _VERSION_IN_FORM(head.decode("latin-1"))
    return _BY_QUERY_VERSION.get(found[1], "") if found else ""

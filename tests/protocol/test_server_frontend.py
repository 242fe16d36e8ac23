"""Requests of real clients, and of strangers, through routing, authentication, codec and a fake service."""

import asyncio
import hashlib
import io
import json
import logging
import re
import urllib.error
import urllib.request
from contextlib import asynccontextmanager

import boto3
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from lambdad.kit import clock, http1
from lambdad.model.errors import AwsError
from lambdad.server import listener
from lambdad.server.auth import Authenticator, Mode
from lambdad.server.credentials import StaticCredentials
from lambdad.server.frontend import Frontend
from lambdad.server.ports import AccessKey
from lambdad.server.request_ids import RequestIds
from lambdad.services.ports import Service

ROOT = AccessKey(access_key_id="AKIAROOT", secret="root-secret", account="111111111111", principal_arn="arn:aws:iam::111111111111:root")
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").fullmatch


class Fake:
    """Handlers that say what they were given."""

    def __init__(self):
        self.calls = []
        self.objects = {}

    async def invoke(self, context, params):
        self.calls.append((context, params))
        if params["FunctionName"] == "missing":
            raise AwsError("ResourceNotFoundException", "Function not found", members={"Type": "User"})
        if params["FunctionName"] == "broken":
            raise KeyError("a bug")
        if params["FunctionName"] == "slow":
            await asyncio.Event().wait()
        return {"StatusCode": 200, "Payload": params.get("Payload", b"") or b"null", "ExecutedVersion": "$LATEST"}

    async def describe_log_groups(self, context, params):
        self.calls.append((context, params))
        return {"logGroups": []}

    async def get_caller_identity(self, context, params):
        return {"Account": context.account, "Arn": context.principal_arn, "UserId": context.account}

    async def put_object(self, context, params):
        self.calls.append((context, params))
        self.objects[params["Bucket"], params["Key"]] = params["Body"]
        return {"ETag": '"e"'}

    async def get_object(self, context, params):
        return {"Body": self.objects[params["Bucket"], params["Key"]]}

    def services(self):
        handlers = {
            "lambda": {"Invoke": self.invoke},
            "logs": {"DescribeLogGroups": self.describe_log_groups},
            "sts": {"GetCallerIdentity": self.get_caller_identity},
            "s3": {"PutObject": self.put_object, "GetObject": self.get_object},
        }
        return {name: Service(name=name, handlers=found) for name, found in handlers.items()}


class Served:
    """A frontend behind a socket, and clients for it."""

    def __init__(self, fake, port):
        self.fake, self.endpoint = fake, f"http://127.0.0.1:{port}"

    def client(self, service, key_id="AKIAROOT", secret="root-secret", **config):
        return boto3.client(
            service,
            region_name="eu-west-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    async def call(self, service, method, *, client=None, **params):
        def work():
            made = client or self.client(service)
            try:
                return getattr(made, method)(**params)
            finally:
                made.close()

        return await asyncio.to_thread(work)


def frontend_of(fake, mode=Mode.OPEN, health=dict):
    authenticator = Authenticator(StaticCredentials([ROOT]), mode, clock.now_ms)
    return Frontend(fake.services(), authenticator, RequestIds(), clock.now_ms, health)


@asynccontextmanager
async def serving(mode=Mode.OPEN):
    fake = Fake()
    sockets = listener.open_sockets("127.0.0.1", 0)
    port = listener.address_of(sockets[0])[1]
    async with listener.serving(frontend_of(fake, mode), sockets, drain_timeout_s=5):
        yield Served(fake, port)


@pytest.fixture(params=Mode)
async def served(request):
    async with serving(request.param) as server:
        yield server


@pytest.fixture
async def open_served():
    async with serving() as server:
        yield server


@pytest.fixture
async def iam_served():
    async with serving(Mode.IAM) as server:
        yield server


def ask(frontend, method="GET", target="/", headers=None, body=b""):
    return frontend(http1.Request(method, target, headers or {}, body))


def header(response, name):
    return next((value for key, value in response.headers if key.lower() == name), None)


async def test_invoke(served):
    """boto3 reaches the handler, which knows the caller and the id that the caller is told."""
    response = await served.call("lambda", "invoke", FunctionName="f:1", Payload=b'{"a": 1}')
    assert response["Payload"].read() == b'{"a": 1}'
    assert response["ExecutedVersion"] == "$LATEST"
    context, params = served.fake.calls[0]
    assert params["FunctionName"] == "f:1"
    assert (context.account, context.region) == ("111111111111", "eu-west-1")
    assert context.endpoint == served.endpoint
    assert context.request_id == response["ResponseMetadata"]["RequestId"]
    assert UUID4(context.request_id)
    assert "date" in response["ResponseMetadata"]["HTTPHeaders"]


async def test_services_share_the_port(served):
    """JSON, Query and REST-XML beside REST-JSON."""
    assert (await served.call("logs", "describe_log_groups"))["logGroups"] == []
    identity = await served.call("sts", "get_caller_identity")
    assert (identity["Account"], identity["Arn"]) == ("111111111111", ROOT.principal_arn)


@pytest.mark.parametrize("body", [b"hello", b"x" * 700_000], ids=["small", "large"])
async def test_s3_objects_with_odd_keys(served, body):
    """S3's path encoding, payload hash and checksum survive the way in."""
    key = "a b/ü+&=?#%2F//.."
    await served.call("s3", "put_object", Bucket="bucket", Key=key, Body=body)
    assert served.fake.objects == {("bucket", key): body}
    response = await served.call("s3", "get_object", Bucket="bucket", Key=key)
    assert await asyncio.to_thread(response["Body"].read) == body


async def test_s3_presigned(iam_served):
    """A presigned URL works by itself, and with a byte changed it does not."""
    client = iam_served.client("s3", s3={"addressing_style": "path"}, signature_version="s3v4")
    url = client.generate_presigned_url("put_object", {"Bucket": "bucket", "Key": "k/1"}, ExpiresIn=60)
    client.close()

    def put(address):
        request = urllib.request.Request(address, b"data", method="PUT", headers={"Content-Type": ""})
        with urllib.request.urlopen(request) as response:
            return response.status

    assert await asyncio.to_thread(put, url) == 200
    assert iam_served.fake.objects == {("bucket", "k/1"): b"data"}
    with pytest.raises(urllib.error.HTTPError) as raised:
        await asyncio.to_thread(put, url.replace("/k/1", "/k/2"))
    with raised.value as answer:
        assert answer.status == 403
        assert b"<Code>SignatureDoesNotMatch</Code>" in answer.read()


def chunked_put(trailer=b"x-amz-checksum-crc32:NhCmhg==\r\n"):
    """Return an S3 upload in the form that botocore sends over TLS: chunks unsigned, checksum at the end."""
    headers = {
        "Host": "bucket.s3.localhost:4566",
        "Content-Encoding": "aws-chunked",
        "X-Amz-Trailer": "x-amz-checksum-crc32",
        "X-Amz-Decoded-Content-Length": "5",
    }
    request = AWSRequest("PUT", "https://bucket.s3.localhost:4566/key", data=io.BytesIO(b"hello"), headers=headers)
    request.context = {"checksum": {"request_algorithm": {"in": "trailer", "algorithm": "crc32"}}}
    S3SigV4Auth(Credentials("AKIAROOT", "root-secret"), "s3", "eu-west-1").add_auth(request)
    lowered = {name.lower(): value for name, value in request.headers.items()}
    return lowered, b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n"


async def test_aws_chunked_upload_to_a_bucket_host():
    """The chunks' framing is taken off, the trailer becomes a header, and the bucket comes from the host."""
    fake = Fake()
    headers, body = chunked_put()
    response = await ask(frontend_of(fake, Mode.IAM), "PUT", "/key", headers, body)
    assert response.status == 200
    params = fake.calls[0][1]
    assert (params["Bucket"], params["Key"], params["Body"]) == ("bucket", "key", b"hello")
    assert (params["ChecksumCRC32"], params.get("ContentEncoding")) == ("NhCmhg==", None)


async def test_broken_chunks_are_refused():
    """Broken framing is refused as S3 does, before any handler."""
    fake = Fake()
    headers, body = chunked_put(trailer=b"")
    response = await ask(frontend_of(fake, Mode.IAM), "PUT", "/key", headers, body)
    assert (response.status, b"<Code>MalformedTrailerError</Code>" in response.body) == (400, True)
    assert fake.calls == []


async def test_modelled_error(served):
    """A service's error reaches the client as its own exception."""
    with pytest.raises(ClientError) as raised:
        await served.call("lambda", "invoke", FunctionName="missing")
    response = raised.value.response
    assert response["Error"]["Code"] == "ResourceNotFoundException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert response["Type"] == "User"


async def test_validation_error(open_served):
    """What breaks the model's constraints never reaches the handler."""
    with pytest.raises(ClientError, match="1 validation error detected"):
        client = open_served.client("lambda", parameter_validation=False)
        await open_served.call("lambda", "invoke", client=client, FunctionName="no such name!")
    assert open_served.fake.calls == []


async def test_a_bug_is_an_internal_error(open_served, caplog):
    """A handler's bug is a 500 in the service's shape, logged with its id and traceback."""
    with caplog.at_level(logging.ERROR), pytest.raises(ClientError) as raised:
        await open_served.call("lambda", "invoke", FunctionName="broken")
    response = raised.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == ("ServiceException", 500)
    assert response["ResponseMetadata"]["RequestId"] in caplog.text
    assert "KeyError: 'a bug'" in caplog.text


@pytest.mark.parametrize(
    ("service", "method", "params", "text"),
    [
        ("lambda", "list_layers", {}, "lambda:ListLayers"),
        ("logs", "create_log_group", {"logGroupName": "g"}, "logs:CreateLogGroup"),
        ("kinesis", "list_streams", {}, "kinesis:ListStreams"),
        ("iam", "list_users", {}, "iam:ListUsers"),
        ("s3", "list_buckets", {}, "s3:ListBuckets"),
        ("glue", "get_databases", {}, "glue:GetDatabases"),
        ("redshift", "describe_clusters", {}, "redshift"),
        ("batch", "list_jobs", {"jobQueue": "q"}, "batch"),
    ],
)
async def test_operations_that_are_not_built(open_served, service, method, params, text):
    """An operation that AWS has and lambdad has not is named, in a shape that its client reads."""
    with pytest.raises(ClientError) as raised:
        await open_served.call(service, method, **params)
    error = raised.value.response["Error"]
    assert error["Code"] == "NotImplementedException"
    assert f"{text} is not implemented by lambdad." in error["Message"]


@pytest.mark.parametrize(
    ("service", "method", "params", "unknown", "wrong", "status"),
    [
        ("lambda", "invoke", {"FunctionName": "f"}, "UnrecognizedClientException", "InvalidSignatureException", 403),
        ("logs", "describe_log_groups", {}, "UnrecognizedClientException", "InvalidSignatureException", 400),
        ("sts", "get_caller_identity", {}, "InvalidClientTokenId", "SignatureDoesNotMatch", 403),
        ("s3", "get_object", {"Bucket": "b", "Key": "k"}, "InvalidAccessKeyId", "SignatureDoesNotMatch", 403),
    ],
)
async def test_iam_mode_refuses_in_the_services_words(iam_served, service, method, params, unknown, wrong, status):
    """Unknown keys and wrong secrets are told apart, in each family's codes and statuses."""
    for key_id, code in (("AKIAOTHER", unknown), ("AKIAROOT", wrong)):
        with pytest.raises(ClientError) as raised:
            client = iam_served.client(service, key_id, "guess")
            await iam_served.call(service, method, client=client, **params)
        response = raised.value.response
        assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert iam_served.fake.calls == []


async def test_open_mode_takes_anybody():
    """Unsigned requests, made-up keys and half-written signatures are served for the account they name."""
    fake = Fake()
    frontend = frontend_of(fake)
    target = "/2015-03-31/functions/f/invocations"
    scope = "20200101/eu-west-3/lambda/aws4_request"
    for headers in (
        {},
        {"authorization": f"AWS4-HMAC-SHA256 Credential=123456789012/{scope}, SignedHeaders=host, Signature={'0' * 64}"},
        {"authorization": f"AWS4-HMAC-SHA256 Credential=test/{scope}"},
    ):
        response = await ask(frontend, "POST", target, headers, b"1")
        assert (response.status, response.body) == (200, b"1")
    found = [(context.account, context.region) for context, _ in fake.calls]
    assert found == [("000000000000", "us-east-1"), ("123456789012", "eu-west-3"), ("000000000000", "eu-west-3")]


async def test_unsigned_in_iam_mode():
    """Each family asks for a signature in its own way."""
    frontend = frontend_of(Fake(), Mode.IAM)
    response = await ask(frontend, "POST", "/2015-03-31/functions/f/invocations")
    assert (response.status, header(response, "x-amzn-errortype")) == (403, "MissingAuthenticationTokenException")
    assert json.loads(response.body) == {"message": "Missing Authentication Token"}
    response = await ask(frontend, "POST", "/", {"x-amz-target": "Logs_20140328.DescribeLogGroups"})
    assert (response.status, json.loads(response.body)["__type"]) == (400, "MissingAuthenticationTokenException")
    response = await ask(frontend, "GET", "/b/k", {"host": "s3.amazonaws.com"})
    assert (response.status, b"<Code>AccessDenied</Code>" in response.body) == (403, True)


@pytest.mark.parametrize(
    ("size", "kind", "limit"),
    [
        (6_291_456, "RequestResponse", None),
        (6_291_457, "RequestResponse", 6_291_456),
        (1_048_576, "Event", None),
        (1_048_577, "Event", 1_048_576),
    ],
)
async def test_payload_limits(size, kind, limit):
    """Sync and async payloads have their own limits, checked before anything is read."""
    fake = Fake()
    body = b'"' + b"x" * (size - 2) + b'"'
    headers = {"x-amz-invocation-type": kind}
    response = await ask(frontend_of(fake), "POST", "/2015-03-31/functions/f/invocations", headers, body)
    if limit is None:
        assert response.status == 200
        return
    message = f"Request must be smaller than {limit} bytes for the InvokeFunction operation"
    assert response.status == 413
    assert header(response, "x-amzn-errortype") == "RequestEntityTooLargeException"
    assert json.loads(response.body)["message"] == message
    assert fake.calls == []


@pytest.mark.parametrize(
    ("method", "target", "headers", "code"),
    [
        ("POST", "/2015-03-31/functions", {}, "70167211 bytes for the CreateFunction operation"),
        ("PUT", "/b/k", {"host": "s3.amazonaws.com"}, "<Code>EntityTooLarge</Code>"),
        ("POST", "/", {"x-amz-target": "Logs_20140328.DescribeLogGroups"}, "bytes for the DescribeLogGroups operation"),
    ],
)
async def test_bodies_that_were_thrown_away(method, target, headers, code):
    """A body too large for any operation is refused as that operation refuses."""
    fake = Fake()
    request = http1.Request(method, target, headers, b"", oversize=True)
    response = await frontend_of(fake)(request)
    assert response.status in (400, 413)
    assert code in response.body.decode()
    assert fake.calls == []


async def test_configuration_limit():
    """A configuration update is small."""
    response = await ask(frontend_of(Fake()), "PUT", "/2015-03-31/functions/f/configuration", {}, b" " * 5121)
    assert response.status == 413
    assert b"5120 bytes for the UpdateFunctionConfiguration operation" in response.body


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/", {}, 404),
        ("GET", "/favicon.ico", {}, 404),
        ("OPTIONS", "*", {}, 404),
        ("GET", "/2015-03-31/nothing", {}, 404),
        ("POST", "/", {"x-amz-target": "Logs_20140328.Nothing"}, 400),
        ("POST", "/", {"x-amz-target": "Nobody.Nothing"}, 404),
        ("GET", "/_lambdad/nothing", {}, 404),
        ("POST", "/_lambdad/health", {}, 405),
    ],
)
async def test_what_nobody_knows(method, target, headers, status):
    """Unknown paths and operations are refused in AWS's way."""
    response = await ask(frontend_of(Fake()), method, target, headers)
    assert response.status == status
    if "_lambdad" not in target:
        assert header(response, "x-amzn-requestid")
        assert b"UnknownOperation" in response.body or header(response, "x-amzn-errortype") == "UnknownOperationException"


async def test_absolute_target():
    """A proxy's absolute form is the same request."""
    fake = Fake()
    target = "http://localhost:4566/2015-03-31/functions/f/invocations?Qualifier=1"
    response = await ask(frontend_of(fake), "POST", target, {}, b"{}")
    assert (response.status, fake.calls[0][1]["Qualifier"]) == (200, "1")


async def test_path_that_was_signed_is_served():
    """Where the signer normalised the path, the normalised one is served: what was not signed cannot be reached."""
    fake = Fake()
    url = "http://localhost:4566/2015-03-31/functions/../functions//f/invocations"
    request = AWSRequest("POST", url, data=b"{}", headers={"Host": "localhost:4566"})
    request.context = {}
    SigV4Auth(Credentials("AKIAROOT", "root-secret"), "lambda", "eu-west-1").add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    frontend = frontend_of(fake, Mode.IAM)
    for path in ("/2015-03-31/functions/f/invocations", "/2015-03-31/functions/g/../f/invocations"):
        response = await ask(frontend, "POST", path, headers, b"{}")
        assert response.status in (200, 404)
    assert [params["FunctionName"] for _, params in fake.calls] == ["f"]


async def test_health():
    """Health says who we are, and is 503 until we are ready."""
    response = await ask(frontend_of(Fake(), Mode.IAM, lambda: {"workers": 1}), target="/_lambdad/health")
    assert response.status == 200
    assert json.loads(response.body) == {"status": "ok", "version": "0.1.0", "workers": 1}
    response = await ask(frontend_of(Fake(), health=lambda: {"status": "starting"}), target="/_lambdad/health?x")
    assert (response.status, json.loads(response.body)["status"]) == (503, "starting")


async def test_cancellation_passes():
    """A cancelled request is not turned into an answer."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ask(frontend_of(Fake()), "POST", "/2015-03-31/functions/slow/invocations"))
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()


async def test_chunk_signatures_are_checked():
    """An upload signed chunk by chunk is proven to its last byte."""
    data = b"hello"
    headers = {
        "Host": "localhost:4566",
        "Content-Encoding": "aws-chunked",
        "X-Amz-Decoded-Content-Length": str(len(data)),
        "X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    }
    request = AWSRequest("PUT", "http://localhost:4566/bucket/key", headers=headers)
    request.context = {}
    signer = SigV4Auth(Credentials("AKIAROOT", "root-secret"), "s3", "eu-west-1")
    signer.add_auth(request)
    lowered = {name.lower(): value for name, value in request.headers.items()}
    previous, body = lowered["authorization"].rpartition("=")[2], b""
    for chunk in (data, b""):
        to_sign = "\n".join(
            [
                "AWS4-HMAC-SHA256-PAYLOAD",
                request.context["timestamp"],
                signer.credential_scope(request),
                previous,
                hashlib.sha256(b"").hexdigest(),
                hashlib.sha256(chunk).hexdigest(),
            ]
        )
        previous = signer.signature(to_sign, request)
        body += b"%x;chunk-signature=%s\r\n%s%s" % (len(chunk), previous.encode(), chunk, b"\r\n")
    fake = Fake()
    frontend = frontend_of(fake, Mode.IAM)
    assert (await ask(frontend, "PUT", "/bucket/key", lowered, body)).status == 200
    assert fake.objects == {("bucket", "key"): data}
    response = await ask(frontend, "PUT", "/bucket/key", lowered, body.replace(b"hello", b"HELLO"))
    assert (response.status, b"<Code>SignatureDoesNotMatch</Code>" in response.body) == (403, True)


async def test_presigned_query_of_another_service():
    """S3's presigner for a bucket host: the bucket is signed in the host, not in the path."""
    request = AWSRequest("GET", "http://bucket.s3.localhost:4566/key")
    request.context = {}
    S3SigV4QueryAuth(Credentials("AKIAROOT", "root-secret"), "s3", "eu-west-1", expires=60).add_auth(request)
    fake = Fake()
    fake.objects["bucket", "key"] = b"data"
    target = request.url.partition(":4566")[2]
    response = await ask(frontend_of(fake, Mode.IAM), "GET", target, {"host": "bucket.s3.localhost:4566"})
    assert (response.status, response.body) == (200, b"data")
    other = await ask(frontend_of(fake, Mode.IAM), "GET", target, {"host": "other.s3.localhost:4566"})
    assert other.status == 403


def test_request_ids():
    """Ids are version 4 UUIDs, all different, also across draws of randomness."""
    new = RequestIds()
    ids = [new() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(UUID4(one) for one in ids)

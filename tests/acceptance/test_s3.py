"""S3 for boto3 and for browsers, through HTTP."""

import concurrent.futures
import hashlib
import http.client
import io
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from conftest import Lambdad, eventually

MIB = 1024 * 1024


@pytest.fixture
def s3(lambdad: Lambdad) -> Any:
    return lambdad.client("s3")


@pytest.fixture
def bucket(s3: Any) -> Iterator[str]:
    """A bucket of the test's own, emptied and removed after it."""
    name = f"test-{os.urandom(6).hex()}"
    s3.create_bucket(Bucket=name)
    yield name
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        if found:
            objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
            s3.delete_objects(Bucket=name, Delete={"Objects": objects})
    s3.delete_bucket(Bucket=name)


def code_of(call: Any, **params: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


def ask(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request without an SDK, following no redirects."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, data


def test_round_trip(s3: Any, bucket: str) -> None:
    """Keys with any characters, metadata and bytes survive HTTP, with boto3's checksums on."""
    keys = ["plain", "a b", "a+b", "ü/ö", "a//b", "/lead", "trail/", "q?x=1&y", "per%20cent", "emoji 🎉", "dots/../up", "*!'()", "k" * 1024]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), Metadata={"n": "1"}, ContentType="text/plain; charset=utf-8")
        got = s3.get_object(Bucket=bucket, Key=key)
        assert got["Body"].read() == key.encode(), key
        assert got["Metadata"] == {"n": "1"} and got["ContentType"] == "text/plain; charset=utf-8"
        s3.copy_object(Bucket=bucket, Key=f"copy/{key}"[:1024], CopySource={"Bucket": bucket, "Key": key})
    listed = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert set(keys) < set(listed) and listed == sorted(listed, key=str.encode)
    assert s3.head_object(Bucket=bucket, Key="plain")["ETag"] == f'"{hashlib.md5(b"plain").hexdigest()}"'


def test_high_level_transfers(s3: Any, bucket: str) -> None:
    """boto3's concurrent multipart uploads and downloads give the bytes back."""
    data = os.urandom(40 * MIB + 12345)
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=8)
    s3.upload_fileobj(io.BytesIO(data), bucket, "big", Config=config)
    head = s3.head_object(Bucket=bucket, Key="big")
    assert head["ETag"].endswith('-6"') and head["ContentLength"] == len(data)
    out = io.BytesIO()
    s3.download_fileobj(bucket, "big", out, Config=config)
    assert out.getvalue() == data
    s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "copied", Config=config)
    assert s3.get_object(Bucket=bucket, Key="copied")["Body"].read() == data
    one = TransferConfig(multipart_threshold=100 * MIB)
    s3.upload_fileobj(io.BytesIO(data), bucket, "one", Config=one)
    assert s3.head_object(Bucket=bucket, Key="one")["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="one", Range=f"bytes={7 * MIB}-{9 * MIB}")
    assert got["Body"].read() == data[7 * MIB : 9 * MIB + 1] and got["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_many_writers(s3: Any, bucket: str) -> None:
    """Concurrent writers of one key leave one of their objects, whole; those of many keys leave all."""
    bodies = [bytes([number]) * 100_000 for number in range(16)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda body: s3.put_object(Bucket=bucket, Key="one", Body=body), bodies))
        assert s3.get_object(Bucket=bucket, Key="one")["Body"].read() in bodies
        list(pool.map(lambda number: s3.put_object(Bucket=bucket, Key=f"many/{number}", Body=b"x"), range(200)))
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="many/", PaginationConfig={"PageSize": 30})
    assert len([each for page in pages for each in page["Contents"]]) == 200


def test_conditions_and_ranges(s3: Any, bucket: str) -> None:
    """Statuses of conditional and partial requests are those that SDKs expect."""
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")["ETag"]
    assert code_of(s3.get_object, Bucket=bucket, Key="k", IfNoneMatch=etag) == ("304", 304)
    assert code_of(s3.get_object, Bucket=bucket, Key="k", IfMatch='"x"') == ("PreconditionFailed", 412)
    assert code_of(s3.put_object, Bucket=bucket, Key="k", IfNoneMatch="*") == ("PreconditionFailed", 412)
    assert code_of(s3.put_object, Bucket=bucket, Key="new", IfMatch=etag) == ("NoSuchKey", 404)
    assert code_of(s3.put_object, Bucket=bucket, Key="k", IfNoneMatch=etag) == ("NotImplemented", 501)
    assert code_of(s3.get_object, Bucket=bucket, Key="k", Range="bytes=10-") == ("InvalidRange", 416)
    assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=-3")["Body"].read() == b"789"
    assert s3.get_object(Bucket=bucket, Key="k", ResponseContentType="a/b", ResponseCacheControl="c")["ContentType"] == "a/b"


def test_errors(s3: Any, bucket: str) -> None:
    """Codes and statuses of what cannot be, as boto3 reads them."""
    assert code_of(s3.head_object, Bucket=bucket, Key="none") == ("404", 404)
    assert code_of(s3.head_bucket, Bucket="none-such-bucket") == ("404", 404)
    assert code_of(s3.get_object, Bucket=bucket, Key="none") == ("NoSuchKey", 404)
    assert code_of(s3.list_objects_v2, Bucket="none-such-bucket") == ("NoSuchBucket", 404)
    assert code_of(s3.put_object, Bucket="none-such-bucket", Key="k", Body=os.urandom(3 * MIB)) == ("NoSuchBucket", 404)
    assert code_of(s3.get_object, Bucket=bucket, Key="k", VersionId="x") == ("InvalidArgument", 400)
    assert code_of(s3.put_object, Bucket=bucket, Key="k", StorageClass="NONSENSE") == ("InvalidStorageClass", 400)
    assert code_of(s3.put_object, Bucket=bucket, Key="k", ServerSideEncryption="aws:kms") == ("NotImplemented", 501)
    assert code_of(s3.put_object, Bucket=bucket, Key="k", ACL="public-read") == ("AccessControlListNotSupported", 400)
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==") == ("BadDigest", 400)
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ChecksumSHA1="AAAAAAAAAAAAAAAAAAAAAAAAAAA=") == ("BadDigest", 400)
    assert code_of(s3.get_bucket_policy, Bucket=bucket) == ("NoSuchBucketPolicy", 404)
    assert code_of(s3.get_bucket_cors, Bucket=bucket) == ("NoSuchCORSConfiguration", 404)
    assert code_of(s3.get_bucket_tagging, Bucket=bucket) == ("NoSuchTagSet", 404)
    assert code_of(s3.get_bucket_website, Bucket=bucket) == ("NoSuchWebsiteConfiguration", 404)
    assert code_of(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == ("NoSuchLifecycleConfiguration", 404)
    assert code_of(s3.get_bucket_replication, Bucket=bucket) == ("ReplicationConfigurationNotFoundError", 404)
    assert code_of(s3.get_object_lock_configuration, Bucket=bucket) == ("ObjectLockConfigurationNotFoundError", 404)
    assert code_of(s3.abort_multipart_upload, Bucket=bucket, Key="k", UploadId="none") == ("NoSuchUpload", 404)
    assert code_of(s3.create_bucket, Bucket="Bad_Name") == ("InvalidBucketName", 400)
    west = {"LocationConstraint": "nonsense"}
    assert code_of(s3.create_bucket, Bucket="some-name-x", CreateBucketConfiguration=west) == ("InvalidLocationConstraint", 400)
    assert code_of(
        s3.select_object_content, Bucket=bucket, Key="k", Expression="", ExpressionType="SQL", InputSerialization={}, OutputSerialization={}
    ) == (
        "NotImplementedException",
        501,
    )
    s3.put_object(Bucket=bucket, Key="there")
    assert code_of(s3.delete_bucket, Bucket=bucket) == ("BucketNotEmpty", 409)


def test_configurations_over_http(s3: Any, bucket: str) -> None:
    """Configurations survive XML both ways."""
    rules = [
        {
            "ID": "r",
            "Status": "Enabled",
            "Filter": {"And": {"Prefix": "a/", "Tags": [{"Key": "k", "Value": "v"}]}},
            "Expiration": {"Days": 3},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 2, "NewerNoncurrentVersions": 1},
        }
    ]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
    cors = [
        {"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"], "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 3}
    ]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": cors})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == cors
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "ü"}]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "ü"}]
    s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]},
    )
    assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]["BucketKeyEnabled"] is False
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]["BlockPublicAcls"] is True
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"][0]["Grantee"]["Type"] == "CanonicalUser"
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}})
    assert "EventBridgeConfiguration" in s3.get_bucket_notification_configuration(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    queue = [{"QueueArn": "arn:aws:sqs:us-east-1:000000000000:none-such-queue", "Events": ["s3:ObjectCreated:*"]}]
    with pytest.raises(ClientError) as caught:
        s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": queue})
    told = caught.value.response["Error"]
    assert (told["Code"], told["ArgumentValue1"]) == ("InvalidArgument", "The destination queue does not exist")


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_links(lambdad: Lambdad, bucket: str, version: str) -> None:
    """Links of both signatures let a stranger read and write."""
    client = boto3.client(
        "s3",
        endpoint_url=lambdad.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(signature_version=version),
    )
    put = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a b/ü"})
    assert ask(put, "PUT", b"through a link")[0] == 200
    get = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a b/ü", "ResponseContentType": "x/y"})
    status, headers, body = ask(get)
    assert (status, headers["content-type"], body) == (200, "x/y", b"through a link")
    big = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "big"})
    assert ask(big, "PUT", bytes(3 * MIB))[0] == 200
    client.close()


def test_links_are_proven(own_lambdad: Any) -> None:
    """Where keys are known, links of both signatures are verified, and those of strangers refused."""
    running = own_lambdad("--auth", "iam", environment={"LAMBDAD_ACCESS_KEYS": "AKIDEXAMPLE:secret:000000000000"})

    def client(secret: str, version: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=running.url,
            region_name="us-east-1",
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key=secret,
            config=Config(signature_version=version),
        )

    good = client("secret", "s3v4")
    good.create_bucket(Bucket="bucket")
    good.put_object(Bucket="bucket", Key="k", Body=b"x")
    good.put_object(Bucket="bucket", Key="big", Body=bytes(3 * MIB))
    params = {"Bucket": "bucket", "Key": "k", "ResponseContentType": "x/y"}
    for version in ("s3", "s3v4"):
        right, wrong = client("secret", version), client("wrong", version)
        assert ask(right.generate_presigned_url("get_object", Params=params))[2] == b"x"
        assert ask(wrong.generate_presigned_url("get_object", Params=params))[0] == 403
        put = right.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "p", "ContentType": "a/b"})
        assert ask(put, "PUT", bytes(2 * MIB), content_type="a/b")[0] == 200
        right.close(), wrong.close()
    late = good.generate_presigned_url("get_object", Params=params, ExpiresIn=1)
    assert eventually(lambda: ask(late)[0] == 403, "the link expires") and b"Request has expired" in ask(late)[2]
    changed = good.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "k"})
    assert ask(changed.replace("/k?", "/other?"), "PUT", b"y")[0] == 403
    status, _, body = ask(f"{running.url}/bucket/k", host="s3.localhost")
    assert (status, b"<Code>AccessDenied</Code>" in body) == (403, True)
    for version, name in (("s3", "signature"), ("s3v4", "x-amz-signature")):
        signer = client("secret", version)
        form = signer.generate_presigned_post("bucket", "form")
        assert post(f"{running.url}/bucket", form["fields"], b"data")[0] == 204
        forged = {**form["fields"], name: "0" * 64}
        assert b"SignatureDoesNotMatch" in post(f"{running.url}/bucket", forged, b"data")[2]
        signer.close()
    assert post(f"{running.url}/bucket", {"key": "k"}, b"data")[0] == 403
    good.close()


def post(url: str, fields: dict[str, str], data: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send a form as a browser does."""
    boundary = "----browser-boundary"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="C:\\\\dir\\\\pic.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    )
    body = "".join(parts).encode() + head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return ask(url, "POST", body, content_type=f"multipart/form-data; boundary={boundary}", **headers)


def test_forms(s3: Any, lambdad: Lambdad, bucket: str) -> None:
    """A browser uploads by a form whose policy was signed, small files and large ones."""
    conditions = [["starts-with", "$key", "in/"], {"success_action_status": "201"}, ["content-length-range", 1, 5 * MIB]]
    fields = {"success_action_status": "201", "x-amz-meta-a": "1", "Content-Type": "image/jpeg"}
    conditions += [{"x-amz-meta-a": "1"}, ["starts-with", "$Content-Type", "image/"]]
    form = s3.generate_presigned_post(bucket, "in/${filename}", Fields=fields, Conditions=conditions)
    for data in (b"jpeg", os.urandom(4 * MIB)):
        status, headers, body = post(form["url"], form["fields"], data)
        assert status == 201 and b"<Key>in/pic.jpg</Key>" in body and headers["location"].endswith("/in/pic.jpg")
        got = s3.get_object(Bucket=bucket, Key="in/pic.jpg")
        assert got["Body"].read() == data and got["ContentType"] == "image/jpeg" and got["Metadata"] == {"a": "1"}
    assert b"EntityTooLarge" in post(form["url"], form["fields"], bytes(6 * MIB))[2]
    assert b"EntityTooSmall" in post(form["url"], form["fields"], b"")[2]
    assert b"Policy Condition failed" in post(form["url"], {**form["fields"], "key": "out/x"}, b"x")[2]
    assert b"Extra input fields: x-amz-meta-b" in post(form["url"], {**form["fields"], "x-amz-meta-b": "2"}, b"x")[2]
    unsigned = {name: value for name, value in form["fields"].items() if name != "signature"}
    assert b"must contain a field named 'X-Amz-Signature'" in post(form["url"], unsigned, b"x")[2]
    expired = s3.generate_presigned_post(bucket, "k", ExpiresIn=-1)
    assert b"Policy expired" in post(expired["url"], expired["fields"], b"x")[2]
    redirect = s3.generate_presigned_post(
        bucket, "k", Fields={"success_action_redirect": "http://x.test/ok"}, Conditions=[{"success_action_redirect": "http://x.test/ok"}]
    )
    status, headers, _ = post(redirect["url"], redirect["fields"], b"x")
    assert status == 303 and headers["location"].startswith(f"http://x.test/ok?bucket={bucket}&key=k&etag=")


def test_cors(s3: Any, lambdad: Lambdad, bucket: str) -> None:
    """Browsers' preflights are answered as the bucket's configuration says, and answers carry its headers."""
    url = f"{lambdad.url}/{bucket}/k"
    asked = {"origin": "http://localhost:3000", "access_control_request_method": "GET"}
    status, _, body = ask(url, "OPTIONS", **asked)
    assert status == 403 and b"CORS is not enabled for this bucket" in body
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["http://localhost:*"], "AllowedHeaders": ["x-*"], "ExposeHeaders": ["ETag"]}
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    status, headers, _ = ask(url, "OPTIONS", **asked, access_control_request_headers="X-Some")
    assert (status, headers["access-control-allow-origin"]) == (200, "http://localhost:3000")
    assert headers["access-control-allow-headers"] == "x-some" and headers["access-control-expose-headers"] == "ETag"
    assert ask(url, "OPTIONS", origin="http://other.test", access_control_request_method="GET")[0] == 403
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    link = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    status, headers, body = ask(link, origin="http://localhost:3000")
    assert (status, body, headers["access-control-allow-origin"]) == (200, b"x", "http://localhost:3000")
    missing = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "none"})
    status, headers, _ = ask(missing, origin="http://localhost:3000")
    assert (status, headers["access-control-allow-origin"]) == (404, "http://localhost:3000")


def test_websites(s3: Any, lambdad: Lambdad, bucket: str) -> None:
    """A bucket with a website and a public policy serves pages, redirects and error pages."""
    host = f"{bucket}.s3-website.localhost:{lambdad.url.rpartition(':')[2]}"

    def visit(path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        return ask(lambdad.url + path, method, host=host)

    status, _, body = visit("/")
    assert status == 404 and b"NoSuchWebsiteConfiguration" in body
    site = {
        "IndexDocument": {"Suffix": "index.html"},
        "ErrorDocument": {"Key": "error.html"},
        "RoutingRules": [{"Condition": {"KeyPrefixEquals": "old/"}, "Redirect": {"ReplaceKeyPrefixWith": "new/"}}],
    }
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=site)
    pages = {"index.html": b"home", "docs/index.html": b"docs", "big": bytes(2 * MIB), "error.html": b"oops"}
    for key, data in pages.items():
        s3.put_object(Bucket=bucket, Key=key, Body=data, ContentType="text/html")
    assert visit("/")[0] == 403
    s3.delete_public_access_block(Bucket=bucket)
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    assert visit("/")[0::2] == (200, b"home") and visit("/")[1]["content-type"] == "text/html"
    assert visit("/docs/")[2] == b"docs" and visit("/big")[2] == pages["big"]
    status, headers, _ = visit("/docs")
    assert (status, headers["location"]) == (302, "/docs/")
    status, headers, _ = visit("/old/page")
    assert (status, headers["location"]) == (301, f"http://{host}/new/page")
    assert visit("/none")[0::2] == (404, b"oops")
    assert visit("/", "HEAD")[0] == 200 and visit("/", "DELETE")[0] == 405


def test_virtual_hosts(lambdad: Lambdad, bucket: str) -> None:
    """A bucket may stand in the host name or in the path."""
    port = lambdad.url.rpartition(":")[2]
    signed = {
        "authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=" + "0" * 64,
        "x_amz_date": "20260101T000000Z",
    }
    assert ask(f"{lambdad.url}/a/b", "PUT", b"x", host=f"{bucket}.s3.localhost:{port}", **signed)[0] == 200
    for url, host in (
        (f"{lambdad.url}/{bucket}/a/b", "s3.localhost"),
        (f"{lambdad.url}/{bucket}/a/b", "127.0.0.1"),
        (f"{lambdad.url}/a/b", f"{bucket}.s3.us-east-1.amazonaws.com"),
        (f"{lambdad.url}/a/b", f"{bucket}.localhost"),
    ):
        assert ask(url, host=host, **signed)[2] == b"x", (url, host)


def test_events_reach_queues_and_functions(lambdad: Lambdad, s3: Any, bucket: str, functions: Any) -> None:
    """What is put into a bucket is told to a queue and runs a function."""
    sqs, lambda_ = lambdad.client("sqs"), lambdad.client("lambda")
    url = sqs.create_queue(QueueName=f"{bucket}-q")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    name = functions.deploy("def handler(event, context):\n    print('KEY', event['Records'][0]['s3']['object']['key'])\n")
    function = lambda_.get_function_configuration(FunctionName=name)["FunctionArn"]
    lambda_.add_permission(
        FunctionName=name,
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn=f"arn:aws:s3:::{bucket}",
    )
    pictures = {"Key": {"FilterRules": [{"Name": "suffix", "Value": ".jpg"}]}}
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectRemoved:*"]}],
            "LambdaFunctionConfigurations": [{"LambdaFunctionArn": function, "Events": ["s3:ObjectCreated:*"], "Filter": pictures}],
        },
    )
    s3.put_object(Bucket=bucket, Key="a b.jpg", Body=b"x")
    s3.put_object(Bucket=bucket, Key="a.txt", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="a.txt")
    assert "KEY a+b.jpg" in functions.log_lines(name, until="KEY")

    def received() -> list[Any]:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        return [json.loads(message["Body"]) for message in answer.get("Messages", ())]

    bodies: list[Any] = []
    eventually(lambda: bodies.extend(received()) or len(bodies) >= 2, "the test event and the deletion")
    assert [body["Event"] for body in bodies if "Event" in body] == ["s3:TestEvent"]
    (record,) = [body["Records"][0] for body in bodies if "Records" in body]
    assert record["eventName"] == "ObjectRemoved:Delete" and record["s3"]["object"]["key"] == "a.txt"
    sqs.delete_queue(QueueUrl=url)

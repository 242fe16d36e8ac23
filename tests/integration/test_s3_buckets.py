"""Configurations of S3's buckets, what S3 tells others, and what it does by itself; through its handlers, on both databases."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from s3_house import ACCOUNT, START_MS, House, open_house

from lambdad.model.errors import AwsError
from lambdad.services.s3.rules.lifecycle import DAY_MS

FUNCTION = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:q"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:t"


@pytest.fixture
async def s3(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(database_url, tmp_path / "objects") as house:
        await house("CreateBucket", Bucket="bucket")
        yield house


async def delivered(s3: House) -> list[tuple[str, str, dict[str, Any]]]:
    """Have the outbox deliver what is in it."""
    s3.told.calls.clear()
    before = s3.outbox.statistics().delivered
    running = asyncio.get_running_loop().create_task(s3.outbox.run())
    s3.outbox.wake()
    for _ in range(200):
        await asyncio.sleep(0.005)
        statistics = s3.outbox.statistics()
        if statistics.delivered > before and not statistics.running and not statistics.waiting:
            break
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return [(service, operation, params) for _, service, operation, params in s3.told.calls]


def record_of(call: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    params = call[2]
    text = params.get("Payload") or params.get("MessageBody") or params.get("Message")
    return dict(json.loads(text)["Records"][0])


NOT_CONFIGURED = {
    "GetBucketCors": "NoSuchCORSConfiguration",
    "GetBucketWebsite": "NoSuchWebsiteConfiguration",
    "GetBucketPolicy": "NoSuchBucketPolicy",
    "GetBucketPolicyStatus": "NoSuchBucketPolicy",
    "GetBucketLifecycleConfiguration": "NoSuchLifecycleConfiguration",
    "GetBucketTagging": "NoSuchTagSet",
    "GetBucketReplication": "ReplicationConfigurationNotFoundError",
    "GetObjectLockConfiguration": "ObjectLockConfigurationNotFoundError",
    "GetBucketMetricsConfiguration": "NoSuchConfiguration",
    "GetBucketInventoryConfiguration": "NoSuchConfiguration",
    "GetBucketAnalyticsConfiguration": "NoSuchConfiguration",
    "GetBucketIntelligentTieringConfiguration": "NoSuchConfiguration",
}


async def test_what_a_new_bucket_has(s3: House) -> None:
    """What tools read of a new bucket is there as in AWS, or the right error says that it is not."""
    for operation, code in NOT_CONFIGURED.items():
        assert await s3.refused(operation, Bucket="bucket", Id="x") == code
        assert s3.error.status == 404
    encryption = await s3("GetBucketEncryption", Bucket="bucket")
    rule = encryption["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    ownership = await s3("GetBucketOwnershipControls", Bucket="bucket")
    assert ownership["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert all((await s3("GetPublicAccessBlock", Bucket="bucket"))["PublicAccessBlockConfiguration"].values())
    assert await s3("GetBucketRequestPayment", Bucket="bucket") == {"Payer": "BucketOwner"}
    for operation in ("GetBucketAccelerateConfiguration", "GetBucketLogging", "GetBucketNotificationConfiguration"):
        assert await s3(operation, Bucket="bucket") == {}
    assert await s3("GetBucketVersioning", Bucket="bucket") == {"Status": None}


async def test_configurations_are_kept(s3: House) -> None:
    """What is put is shown, and what is removed is gone."""
    cors = {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://*.example.com"], "MaxAgeSeconds": 60}]}
    await s3("PutBucketCors", Bucket="bucket", CORSConfiguration=cors)
    assert await s3("GetBucketCors", Bucket="bucket") == cors
    await s3("DeleteBucketCors", Bucket="bucket")
    assert await s3.refused("GetBucketCors", Bucket="bucket") == "NoSuchCORSConfiguration"
    website = {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "error.html"}}
    await s3("PutBucketWebsite", Bucket="bucket", WebsiteConfiguration=website)
    assert await s3("GetBucketWebsite", Bucket="bucket") == website
    until = datetime(2030, 1, 1, tzinfo=UTC)
    rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "a"}, "Expiration": {"Date": until}}
    await s3("PutBucketLifecycleConfiguration", Bucket="bucket", LifecycleConfiguration={"Rules": [rule]})
    shown = await s3("GetBucketLifecycleConfiguration", Bucket="bucket")
    assert shown["Rules"] == [rule] and shown["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"
    await s3("DeleteBucketLifecycle", Bucket="bucket")
    await s3("DeletePublicAccessBlock", Bucket="bucket")
    assert await s3.refused("GetPublicAccessBlock", Bucket="bucket") == "NoSuchPublicAccessBlockConfiguration"
    await s3("DeleteBucketOwnershipControls", Bucket="bucket")
    assert await s3.refused("GetBucketOwnershipControls", Bucket="bucket") == "OwnershipControlsNotFoundError"


async def test_configurations_that_are_refused(s3: House) -> None:
    """What S3 does not take, and what is not built, is refused."""
    refused = {
        ("PutBucketCors", "CORSConfiguration"): ({"CORSRules": []}, "MalformedXML"),
        ("PutBucketWebsite", "WebsiteConfiguration"): ({"IndexDocument": {"Suffix": "a/b"}}, "InvalidArgument"),
        ("PutBucketVersioning", "VersioningConfiguration"): ({}, "IllegalVersioningConfigurationException"),
        ("PutBucketEncryption", "ServerSideEncryptionConfiguration"): (
            {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]},
            "NotImplemented",
        ),
        ("PutBucketRequestPayment", "RequestPaymentConfiguration"): ({"Payer": "Requester"}, "NotImplemented"),
        ("PutBucketAccelerateConfiguration", "AccelerateConfiguration"): ({"Status": "Enabled"}, "NotImplemented"),
        ("PutBucketLogging", "BucketLoggingStatus"): ({"LoggingEnabled": {"TargetBucket": "b"}}, "NotImplemented"),
        ("PutBucketLifecycleConfiguration", "LifecycleConfiguration"): ({"Rules": []}, "MalformedXML"),
        ("PutBucketPolicy", "Policy"): ("nonsense", "MalformedPolicy"),
    }
    for (operation, member), (document, code) in refused.items():
        assert await s3.refused(operation, Bucket="bucket", **{member: document}) == code, operation


async def test_policies(s3: House) -> None:
    """A policy comes back letter by letter; a public one needs the block to be off."""

    def policy(principal: Any) -> str:
        statement = {"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}
        return json.dumps({"Version": "2012-10-17", "Statement": statement})

    private = policy({"AWS": "arn:aws:iam::111111111111:root"})
    await s3("PutBucketPolicy", Bucket="bucket", Policy=private)
    assert (await s3("GetBucketPolicy", Bucket="bucket"))["Policy"] == private
    assert await s3("GetBucketPolicyStatus", Bucket="bucket") == {"PolicyStatus": {"IsPublic": False}}
    assert await s3.refused("PutBucketPolicy", Bucket="bucket", Policy=policy("*")) == "AccessDenied"
    assert await s3.refused("PutBucketPolicy", Bucket="bucket", Policy=policy("*").replace("bucket/", "other/")) == "MalformedPolicy"
    await s3("DeletePublicAccessBlock", Bucket="bucket")
    await s3("PutBucketPolicy", Bucket="bucket", Policy=policy("*"))
    assert await s3("GetBucketPolicyStatus", Bucket="bucket") == {"PolicyStatus": {"IsPublic": True}}


def configuration(*events: str, arn: str = FUNCTION, **options: Any) -> dict[str, Any]:
    kinds = {
        "lambda": ("LambdaFunctionConfigurations", "LambdaFunctionArn"),
        "sqs": ("QueueConfigurations", "QueueArn"),
        "sns": ("TopicConfigurations", "TopicArn"),
    }
    member, name = kinds[arn.split(":")[2]]
    return {member: [{"Id": "id", name: arn, "Events": list(events), **options}]}


async def test_notifications_are_validated(s3: House) -> None:
    """Functions are asked, queues and topics are sent a test event, and all that fail are named together."""
    put = "PutBucketNotificationConfiguration"
    both = configuration("s3:ObjectCreated:*") | configuration("s3:ObjectRemoved:*", arn=QUEUE, Id="q")
    await s3(put, Bucket="bucket", NotificationConfiguration=both)
    (origin, service, operation, params), (_, _, _, message) = s3.told.calls
    assert (service, operation, params["InvocationType"]) == ("lambda", "Invoke", "DryRun")
    assert (origin.principal, origin.source_arn, origin.account) == ("s3.amazonaws.com", "arn:aws:s3:::bucket", ACCOUNT)
    assert json.loads(message["MessageBody"])["Event"] == "s3:TestEvent"
    shown = await s3("GetBucketNotificationConfiguration", Bucket="bucket")
    assert shown == both
    s3.told.refusals["function:f"] = AwsError("ResourceNotFoundException", "no", status=404)
    s3.told.refusals["/q'"] = AwsError("QueueDoesNotExist", "no", status=400)
    assert await s3.refused(put, Bucket="bucket", NotificationConfiguration=both) == "InvalidArgument"
    assert s3.error.message == "Unable to validate the following destination configurations"
    assert s3.error.members == {
        "ArgumentName1": f"{FUNCTION}, null",
        "ArgumentValue1": f"Not authorized to invoke function [{FUNCTION}]",
        "ArgumentName2": QUEUE,
        "ArgumentValue2": "The destination queue does not exist",
    }
    s3.told.refusals["arn:aws:sns"] = AwsError("AuthorizationError", "no", status=403)
    topic = configuration("s3:ObjectCreated:Put", arn=TOPIC)
    assert await s3.refused(put, Bucket="bucket", NotificationConfiguration=topic) == "InvalidArgument"
    assert s3.error.members["ArgumentValue1"].startswith("Permissions on the destination topic")
    await s3(put, Bucket="bucket", NotificationConfiguration=topic, SkipDestinationValidation=True)
    assert await s3("GetBucketNotificationConfiguration", Bucket="bucket") == topic
    await s3(put, Bucket="bucket", NotificationConfiguration={})
    assert await s3("GetBucketNotificationConfiguration", Bucket="bucket") == {}


async def test_events_are_told(s3: House) -> None:
    """What happens to objects is told to those that want it, with AWS's records, member for member."""
    everything = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*")
    prefixed = {"Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}}}
    other = {"Filter": {"Key": {"FilterRules": [{"Name": "Prefix", "Value": "out/"}]}}}
    document = configuration(*everything, **prefixed) | configuration(*everything, arn=QUEUE, Id="q", **other)
    await s3("PutBucketNotificationConfiguration", Bucket="bucket", NotificationConfiguration=document)
    await s3.put("in/red flower@.jpg", b"hello")
    await s3.put("elsewhere", b"x")
    (call,) = await delivered(s3)
    assert (call[0], call[1], call[2]["FunctionName"], call[2]["InvocationType"]) == ("lambda", "Invoke", FUNCTION, "Event")
    record = record_of(call)
    sequencer = record["s3"]["object"].pop("sequencer")
    assert record == {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2023-11-14T22:13:20.000Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": f"AWS:{ACCOUNT}"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": s3.ctx.request_id, "x-amz-id-2": record["responseElements"]["x-amz-id-2"]},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "id",
            "bucket": {"name": "bucket", "ownerIdentity": {"principalId": "A0000000000000"}, "arn": "arn:aws:s3:::bucket"},
            "object": {"key": "in/red+flower%40.jpg", "size": 5, "eTag": "5d41402abc4b2a76b9719d911017c592"},
        },
    }
    await s3("CopyObject", Bucket="bucket", Key="out/b", CopySource="bucket/elsewhere")
    (call,) = await delivered(s3)
    assert call[0] == "sqs" and call[2]["QueueUrl"] == f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/q"
    assert record_of(call)["eventName"] == "ObjectCreated:Copy" and record_of(call)["s3"]["object"]["sequencer"] > sequencer
    await s3("DeleteObject", Bucket="bucket", Key="out/b")
    await s3("DeleteObject", Bucket="bucket", Key="out/never there")
    (call,) = await delivered(s3)
    assert set(record_of(call)["s3"]["object"]) == {"key", "sequencer"} and record_of(call)["eventName"] == "ObjectRemoved:Delete"
    await s3("PutObjectTagging", Bucket="bucket", Key="in/red flower@.jpg", Tagging={"TagSet": []})
    (call,) = await delivered(s3)
    assert record_of(call)["eventVersion"] == "2.3" and set(record_of(call)["s3"]["object"]) == {"key", "eTag"}
    await s3("PutBucketVersioning", Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    version = (await s3.put("out/v", b"v"))["VersionId"]
    marker = (await s3("DeleteObject", Bucket="bucket", Key="out/v"))["VersionId"]
    calls = [record_of(call) for call in await delivered(s3)]
    objects = {each["eventName"]: each["s3"]["object"] for each in calls}
    assert objects["ObjectCreated:Put"]["versionId"] == version
    assert objects["ObjectRemoved:DeleteMarkerCreated"]["versionId"] == marker
    assert set(objects["ObjectRemoved:DeleteMarkerCreated"]) == {"key", "eTag", "versionId", "sequencer"}


async def test_topics_and_event_bridge_are_told(s3: House) -> None:
    """A topic hears with a subject; EventBridge hears everything, with keys as they are."""
    document = configuration("s3:ObjectCreated:*", arn=TOPIC) | {"EventBridgeConfiguration": {}}
    await s3("PutBucketNotificationConfiguration", Bucket="bucket", NotificationConfiguration=document)
    await s3.put("a b", b"hello")
    calls = {call[0]: call[2] for call in await delivered(s3)}
    assert calls["sns"]["Subject"] == "Amazon S3 Notification" and calls["sns"]["TopicArn"] == TOPIC
    (entry,) = calls["events"]["Entries"]
    assert (entry["Source"], entry["DetailType"], entry["Resources"]) == ("aws.s3", "Object Created", ["arn:aws:s3:::bucket"])
    assert entry["Time"] == datetime.fromtimestamp(START_MS // 1000, UTC)
    detail = json.loads(entry["Detail"])
    assert detail["object"].pop("sequencer")
    assert detail == {
        "version": "0",
        "bucket": {"name": "bucket"},
        "object": {"key": "a b", "size": 5, "etag": "5d41402abc4b2a76b9719d911017c592"},
        "request-id": s3.ctx.request_id,
        "requester": ACCOUNT,
        "source-ip-address": "127.0.0.1",
        "reason": "PutObject",
    }
    await s3("DeleteObject", Bucket="bucket", Key="a b")
    ((_, _, params),) = await delivered(s3)
    detail = json.loads(params["Entries"][0]["Detail"])
    assert detail["deletion-type"] == "Permanently Deleted" and detail["reason"] == "DeleteObject"


async def test_a_refused_write_tells_nobody(s3: House) -> None:
    """An event is part of the transaction that makes the object."""
    await s3("PutBucketNotificationConfiguration", Bucket="bucket", NotificationConfiguration=configuration("s3:ObjectCreated:*"))
    await s3.put("k", b"x")
    assert await s3.refused("PutObject", Bucket="bucket", Key="k", Body=b"y", IfNoneMatch="*") == "PreconditionFailed"
    assert len(await delivered(s3)) == 1


async def lifecycle(s3: House, **rule: Any) -> None:
    rules = [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, **rule}]
    await s3("PutBucketLifecycleConfiguration", Bucket="bucket", LifecycleConfiguration={"Rules": rules})


async def test_lifecycle_of_current_versions(s3: House) -> None:
    """Objects whose days are over are removed, at the midnight after; those of other prefixes stay."""
    await s3("PutBucketNotificationConfiguration", Bucket="bucket", NotificationConfiguration=configuration("s3:LifecycleExpiration:*"))
    await lifecycle(s3, Expiration={"Days": 2})
    for key in ("tmp/a", "tmp/b", "kept"):
        await s3.put(key, b"x")
    assert await s3.service.upkeep.expire(START_MS + 2 * DAY_MS) == 0
    s3.clock.ms = START_MS + 3 * DAY_MS
    assert await s3.service.upkeep.expire(s3.clock.ms) == 2
    assert await s3.keys() == ["kept"]
    calls = await delivered(s3)
    assert {record_of(call)["eventName"] for call in calls} == {"LifecycleExpiration:Delete"} and len(calls) == 2
    assert await s3.collected() == 2


async def test_lifecycle_of_versions(s3: House) -> None:
    """Current versions get a delete marker, noncurrent ones go but for the newest, and a marker that is alone goes too."""
    await s3("PutBucketVersioning", Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    await lifecycle(s3, Expiration={"Days": 1}, NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 1})
    for number in range(3):
        await s3.put("tmp/k", b"%d" % number)
    s3.clock.ms += 2 * DAY_MS
    await s3.service.upkeep.expire(s3.clock.ms)
    listed = await s3("ListObjectVersions", Bucket="bucket")
    assert len(listed["DeleteMarkers"]) == 1 and len(listed["Versions"]) == 1 and await s3.keys() == []
    await lifecycle(s3, Expiration={"ExpiredObjectDeleteMarker": True}, NoncurrentVersionExpiration={"NoncurrentDays": 1})
    s3.clock.ms += 3 * DAY_MS
    await s3.service.upkeep.expire(s3.clock.ms)
    await s3.service.upkeep.expire(s3.clock.ms)
    listed = await s3("ListObjectVersions", Bucket="bucket")
    assert listed["DeleteMarkers"] == [] == listed["Versions"]


async def test_lifecycle_of_uploads(s3: House) -> None:
    """Uploads that nobody completes are aborted."""
    await lifecycle(s3, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1})
    for key in ("tmp/k", "kept"):
        upload = (await s3("CreateMultipartUpload", Bucket="bucket", Key=key))["UploadId"]
        await s3("UploadPart", Bucket="bucket", Key=key, UploadId=upload, PartNumber=1, Body=b"x")
    assert await s3.service.upkeep.expire(START_MS + DAY_MS // 2) == 0
    assert await s3.service.upkeep.expire(START_MS + 2 * DAY_MS) == 1
    assert [each["Key"] for each in (await s3("ListMultipartUploads", Bucket="bucket"))["Uploads"]] == ["kept"]
    assert await s3.collected() == 1

"""S3's objects through its handlers, on both databases."""

import asyncio
import base64
import hashlib
import os
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from s3_house import ACCOUNT, START_MS, Body, House, open_house

from lambdad.services.s3.reading import INLINE_BYTES

EMPTY = "d41d8cd98f00b204e9800998ecf8427e"
AT = datetime.fromtimestamp(START_MS // 1000, UTC)


@pytest.fixture
async def s3(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(database_url, tmp_path / "objects") as house:
        await house("CreateBucket", Bucket="bucket")
        yield house


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


async def test_bucket_life(s3: House) -> None:
    """A bucket is made, found, listed, and removed when it is empty."""
    assert await s3("CreateBucket", Bucket="another") == {"Location": "/another", "BucketArn": "arn:aws:s3:::another"}
    assert (await s3("HeadBucket", Bucket="another"))["BucketRegion"] == "us-east-1"
    assert await s3("GetBucketLocation", Bucket="another") == {"LocationConstraint": None}
    assert [bucket["Name"] for bucket in (await s3("ListBuckets"))["Buckets"]] == ["another", "bucket"]
    await s3.put("k", b"x", bucket="another")
    assert await s3.refused("DeleteBucket", Bucket="another") == "BucketNotEmpty"
    await s3("DeleteObject", Bucket="another", Key="k")
    await s3("DeleteBucket", Bucket="another")
    assert await s3.refused("HeadBucket", Bucket="another") == "NoSuchBucket"
    assert s3.error.members["BucketName"] == "another"


async def test_bucket_names_and_regions(s3: House) -> None:
    """Names, owners and location constraints are checked as AWS does."""
    for name in ("ab", "UPPER", "a..b", "-ab", "ab-", "192.168.0.1", "xn--a", "a" * 64, "a_b"):
        assert await s3.refused("CreateBucket", Bucket=name) == "InvalidBucketName", name
    assert (await s3("CreateBucket", Bucket="bucket"))["Location"] == "/bucket"  # again, in us-east-1, by its owner
    assert await s3.refused("CreateBucket", Bucket="bucket", account="111111111111") == "BucketAlreadyExists"
    west = {"LocationConstraint": "eu-west-1"}
    assert await s3.refused("CreateBucket", Bucket="west", region="eu-west-1") == "IllegalLocationConstraintException"
    assert s3.error.message.startswith("The unspecified location constraint")
    made = await s3("CreateBucket", Bucket="west", region="eu-west-1", CreateBucketConfiguration=west)
    assert made["Location"] == "http://west.s3.amazonaws.com/"
    assert await s3("GetBucketLocation", Bucket="west") == {"LocationConstraint": "eu-west-1"}
    assert await s3.refused("CreateBucket", Bucket="west", region="eu-west-1", CreateBucketConfiguration=west) == "BucketAlreadyOwnedByYou"
    bad = {"LocationConstraint": "us-east-1"}
    assert await s3.refused("CreateBucket", Bucket="east", CreateBucketConfiguration=bad) == "InvalidLocationConstraint"
    other = {"LocationConstraint": "eu-west-2"}
    assert await s3.refused("CreateBucket", Bucket="east", region="eu-west-1", CreateBucketConfiguration=other) == (
        "IllegalLocationConstraintException"
    )


async def test_owners(s3: House) -> None:
    """Another account's bucket is closed, and the expected owner is checked."""
    assert await s3.refused("HeadBucket", Bucket="bucket", account="111111111111") == "AccessDenied"
    assert await s3.refused("HeadBucket", Bucket="bucket", ExpectedBucketOwner="111111111111") == "AccessDenied"
    assert await s3.refused("HeadBucket", Bucket="bucket", ExpectedBucketOwner="me") == "InvalidBucketOwnerAWSAccountID"
    await s3("HeadBucket", Bucket="bucket", ExpectedBucketOwner=ACCOUNT)
    assert (await s3("ListBuckets", account="111111111111"))["Buckets"] == []


async def test_pages_of_buckets(s3: House) -> None:
    """Buckets are listed page by page, by prefix and by region."""
    for number in range(5):
        await s3("CreateBucket", Bucket=f"page-{number}")
    found, token = [], None
    while True:
        page = await s3("ListBuckets", MaxBuckets=2, Prefix="page-", **({"ContinuationToken": token} if token else {}))
        found += [bucket["Name"] for bucket in page["Buckets"]]
        token = page.get("ContinuationToken")
        if token is None:
            break
    assert found == [f"page-{number}" for number in range(5)]
    assert (await s3("ListBuckets", BucketRegion="eu-west-1"))["Buckets"] == []


async def test_put_and_get(s3: House) -> None:
    """What was put comes back, with its headers, its metadata, its checksum."""
    data = b"hello"
    until = datetime(2030, 1, 1, tzinfo=UTC)
    written = await s3.put("a/ü b", data, ContentType="text/plain", CacheControl="no-store", Metadata={"Name": "v"}, Expires=until)
    assert written["ETag"] == f'"{md5(data)}"'
    assert written["ChecksumCRC64NVME"] and written["ChecksumType"] == "FULL_OBJECT" and written["VersionId"] is None
    got = await s3("GetObject", Bucket="bucket", Key="a/ü b", ChecksumMode="ENABLED")
    assert got["Body"] == data
    assert got["ContentType"] == "text/plain" and got["CacheControl"] == "no-store" and got["Expires"] == until
    assert got["Metadata"] == {"name": "v"} and got["ContentLength"] == 5 and got["LastModified"] == AT
    assert got["ChecksumCRC64NVME"] == written["ChecksumCRC64NVME"]
    head = await s3("HeadObject", Bucket="bucket", Key="a/ü b", ResponseContentType="x/y")
    assert "Body" not in head and head["ContentType"] == "x/y" and "ChecksumCRC64NVME" not in head
    assert await s3.refused("GetObject", Bucket="bucket", Key="missing") == "NoSuchKey"
    assert s3.error.members["Key"] == "missing" and s3.error.status == 404


async def test_empty_and_large_objects(s3: House) -> None:
    """An empty object has no file; a large one is read in pieces."""
    await s3.put("empty")
    assert await s3.get("empty") == b"" and s3.files() == []
    assert (await s3("HeadObject", Bucket="bucket", Key="empty"))["ETag"] == f'"{EMPTY}"'
    data = os.urandom(3 * INLINE_BYTES + 7)
    await s3.put("large", data)
    got = await s3("GetObject", Bucket="bucket", Key="large")
    assert got["Body"].size_bytes == len(data) == got["ContentLength"]
    assert b"".join([piece async for piece in got["Body"]]) == data
    assert await s3.get("large", Range=f"bytes={INLINE_BYTES - 3}-{2 * INLINE_BYTES + 9}") == data[INLINE_BYTES - 3 : 2 * INLINE_BYTES + 10]


async def test_streamed_put(s3: House) -> None:
    """A body that arrives in pieces is checked by what trails it, and leaves nothing where it is wrong."""
    pieces = [os.urandom(1000) for _ in range(5)]
    crc = base64.b64encode(zlib.crc32(b"".join(pieces)).to_bytes(4, "big")).decode()
    trailing = {"x-amz-trailer": "x-amz-checksum-crc32"}
    good = Body(*pieces, trailers={"x-amz-checksum-crc32": crc})
    written = await s3.put("k", good, headers=trailing)
    assert written["ChecksumCRC32"] == crc and await s3.get("k") == b"".join(pieces)
    before = s3.files()
    bad = Body(*pieces, trailers={"x-amz-checksum-crc32": "AAAAAA=="})
    assert await s3.refused("PutObject", Bucket="bucket", Key="k", Body=bad, headers=trailing) == "BadDigest"
    assert await s3.refused("PutObject", Bucket="bucket", Key="k", Body=Body(*pieces), headers=trailing) == "MalformedTrailerError"
    assert await s3.refused("PutObject", Bucket="missing", Key="k", Body=Body(*pieces)) == "NoSuchBucket"
    with pytest.raises(ConnectionError):
        await s3.put("k", Body(*pieces, fails=ConnectionError()))
    assert s3.files() == before and await s3.get("k") == b"".join(pieces)


async def test_checksums(s3: House) -> None:
    """Every algorithm is checked and kept; wrong, malformed and unknown ones are refused."""
    data = b"123456789"
    values = {
        "CRC32": "y/Q5Jg==",
        "CRC32C": "4waSgw==",
        "CRC64NVME": "rosUhgp5mIg=",
        "SHA1": base64.b64encode(hashlib.sha1(data).digest()).decode(),
        "SHA256": base64.b64encode(hashlib.sha256(data).digest()).decode(),
    }
    for algorithm, value in values.items():
        member = f"Checksum{algorithm}"
        assert (await s3.put(algorithm, data, **{member: value}))[member] == value
        head = await s3("HeadObject", Bucket="bucket", Key=algorithm, ChecksumMode="ENABLED")
        assert head[member] == value and head["ChecksumType"] == "FULL_OBJECT"
        assert await s3.refused("PutObject", Bucket="bucket", Key="k", Body=b"other", **{member: value}) == "BadDigest"
        assert s3.error.message == f"The {algorithm} you specified did not match the calculated checksum."
        assert await s3.refused("PutObject", Bucket="bucket", Key="k", Body=data, **{member: "!"}) == "InvalidRequest"
    both = {"ChecksumCRC32": values["CRC32"], "ChecksumSHA1": values["SHA1"]}
    assert await s3.refused("PutObject", Bucket="bucket", Key="k", Body=data, **both) == "InvalidRequest"
    assert await s3.refused("PutObject", Bucket="bucket", Key="k", Body=data, ChecksumAlgorithm="XXHASH64") == "InvalidRequest"
    assert await s3.refused("PutObject", Bucket="bucket", Key="k", Body=data, ChecksumAlgorithm="CRC32") == "InvalidRequest"
    assert await s3.refused("PutObject", Bucket="bucket", Key="k", Body=data, ContentMD5="x") == "InvalidDigest"
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    assert await s3.refused("PutObject", Bucket="bucket", Key="k", Body=data, ContentMD5=wrong) == "BadDigest"
    await s3.put("k", data, ContentMD5=base64.b64encode(hashlib.md5(data).digest()).decode())


async def test_what_is_refused(s3: House) -> None:
    """Keys, metadata, storage classes and features that are not taken."""

    async def code(**request: object) -> str:
        return await s3.refused("PutObject", **{"Bucket": "bucket", "Key": "k", **request})

    assert await code(Key="k" * 1025) == "KeyTooLongError"
    assert await code(Metadata={"k": "v" * 2048}) == "MetadataTooLarge"
    assert await code(StorageClass="GLACIER") == "InvalidStorageClass"
    assert await code(Tagging="a=1&a=2") == "InvalidArgument"
    assert await code(Tagging="aws:x=1") == "InvalidTag"
    assert await code(Tagging="&".join(f"k{n}=v" for n in range(11))) == "BadRequest"
    assert await code(ACL="public-read") == "AccessControlListNotSupported"
    assert await code(ACL="nonsense") == "InvalidArgument"
    assert await code(SSECustomerAlgorithm="AES256") == "NotImplemented"
    assert await code(ServerSideEncryption="aws:kms") == "NotImplemented"
    assert await code(ObjectLockMode="GOVERNANCE") == "InvalidRequest"
    assert await code(WebsiteRedirectLocation="ftp://x") == "InvalidArgument"
    assert await code(Bucket="missing") == "NoSuchBucket"
    assert s3.files() == []
    await s3.put("k", b"", ACL="bucket-owner-full-control", StorageClass="STANDARD_IA", ServerSideEncryption="AES256")
    assert (await s3("HeadObject", Bucket="bucket", Key="k"))["StorageClass"] == "STANDARD_IA"


async def test_conditional_reads(s3: House) -> None:
    """Entity tags and dates decide between the object, 304 and 412."""
    etag = (await s3.put("k", b"x"))["ETag"]
    later, earlier = AT + timedelta(days=1), AT - timedelta(days=1)
    for holds in ({"IfMatch": etag}, {"IfNoneMatch": '"other"'}, {"IfModifiedSince": earlier}, {"IfUnmodifiedSince": AT}):
        assert await s3.get("k", **holds) == b"x"
    assert await s3.get("k", IfMatch=etag, IfUnmodifiedSince=earlier) == b"x"
    for failed in ({"IfMatch": '"other"'}, {"IfUnmodifiedSince": earlier}):
        assert await s3.refused("GetObject", Bucket="bucket", Key="k", **failed) == "PreconditionFailed"
    for same in ({"IfNoneMatch": etag}, {"IfModifiedSince": AT}, {"IfNoneMatch": etag, "IfModifiedSince": earlier}):
        assert await s3.refused("HeadObject", Bucket="bucket", Key="k", **same) == "NotModified"
        assert s3.error.status == 304 and ("ETag", etag) in s3.ctx.answer_headers
    assert await s3.get("k", IfNoneMatch='"other"', IfModifiedSince=later) == b"x"


async def test_conditional_writes(s3: House) -> None:
    """Only one of many who want to be first is; If-Match replaces what the caller knows."""
    results = await asyncio.gather(*(s3.put("k", b"%d" % n, IfNoneMatch="*") for n in range(8)), return_exceptions=True)
    assert sum(isinstance(result, dict) for result in results) == 1
    assert {getattr(result, "code", "") for result in results} == {"", "PreconditionFailed"}
    etag = next(result["ETag"] for result in results if isinstance(result, dict))
    assert await s3.refused("PutObject", Bucket="bucket", Key="k", IfMatch='"other"') == "PreconditionFailed"
    assert await s3.refused("PutObject", Bucket="bucket", Key="none", IfMatch=etag) == "NoSuchKey"
    assert await s3.refused("PutObject", Bucket="bucket", Key="k", IfNoneMatch=etag) == "NotImplemented"
    await s3.put("k", b"new", IfMatch=etag)
    assert await s3.get("k") == b"new"
    assert await s3.refused("DeleteObject", Bucket="bucket", Key="k", IfMatch=etag) == "PreconditionFailed"
    await s3("DeleteObject", Bucket="bucket", Key="k", IfMatch="*")
    assert len(s3.files()) == 2 and await s3.collected() == 2 and s3.files() == []


async def test_ranges(s3: House) -> None:
    """Ranges are cut out, and those that no byte is in are refused."""
    await s3.put("k", b"0123456789")
    got = await s3("GetObject", Bucket="bucket", Key="k", Range="bytes=2-4")
    assert (got["Body"], got["ContentRange"], got["ContentLength"]) == (b"234", "bytes 2-4/10", 3)
    for header, expected in {"bytes=7-": b"789", "bytes=-2": b"89", "bytes=0-99": b"0123456789", "bytes=5-2": b"0123456789"}.items():
        assert await s3.get("k", Range=header) == expected
    assert await s3.refused("GetObject", Bucket="bucket", Key="k", Range="bytes=10-") == "InvalidRange"
    assert (s3.error.status, s3.error.members["ActualObjectSize"]) == (416, 10)
    assert await s3.refused("GetObject", Bucket="bucket", Key="k", Range="bytes=0-1", PartNumber=1) == "InvalidRequest"
    assert await s3.get("k", PartNumber=1) == b"0123456789"
    assert await s3.refused("GetObject", Bucket="bucket", Key="k", PartNumber=2) == "InvalidPartNumber"


async def test_copy(s3: House) -> None:
    """A copy has the source's bytes and attributes, or those of the request; onto itself only with a change."""
    data = b"x" * 1000
    await s3.put("from", data, Metadata={"a": "1"}, ContentType="text/plain", Tagging="t=1")
    copied = await s3("CopyObject", Bucket="bucket", Key="to", CopySource="bucket/from")
    assert copied["CopyObjectResult"]["ETag"] == f'"{md5(data)}"'
    head = await s3("HeadObject", Bucket="bucket", Key="to")
    assert head["Metadata"] == {"a": "1"} and head["ContentType"] == "text/plain" and head["TagCount"] == 1
    await s3("DeleteObject", Bucket="bucket", Key="from")
    await s3.collected()
    assert await s3.get("to") == data
    await s3("CopyObject", Bucket="bucket", Key="to", CopySource="/bucket/to", MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert (await s3("HeadObject", Bucket="bucket", Key="to"))["Metadata"] == {"b": "2"} and await s3.get("to") == data
    assert await s3.refused("CopyObject", Bucket="bucket", Key="to", CopySource="bucket/to") == "InvalidRequest"
    assert await s3.refused("CopyObject", Bucket="bucket", Key="x", CopySource="bucket/none") == "NoSuchKey"
    assert await s3.refused("CopyObject", Bucket="bucket", Key="x", CopySource="none/none") == "NoSuchBucket"
    assert await s3.refused("CopyObject", Bucket="bucket", Key="x", CopySource="nonsense") == "InvalidArgument"
    assert (
        await s3.refused("CopyObject", Bucket="bucket", Key="x", CopySource="bucket/to", CopySourceIfNoneMatch="*") == "PreconditionFailed"
    )
    sha = await s3("CopyObject", Bucket="bucket", Key="sha", CopySource="bucket/to", ChecksumAlgorithm="SHA256")
    assert sha["CopyObjectResult"]["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(data).digest()).decode()
    await s3.collected()
    assert len(s3.files()) == 2


async def test_delete(s3: House) -> None:
    """Deleting is idempotent, and deletes many at once, each for itself."""
    for key in ("a", "b", "c"):
        await s3.put(key, b"x")
    assert await s3("DeleteObject", Bucket="bucket", Key="a") == {} == await s3("DeleteObject", Bucket="bucket", Key="a")
    wanted = {"Objects": [{"Key": "b"}, {"Key": "none"}, {"Key": "c", "ETag": '"other"'}]}
    answer = await s3("DeleteObjects", Bucket="bucket", Delete=wanted)
    assert answer["Deleted"] == [{"Key": "b"}, {"Key": "none"}]
    assert [(each["Key"], each["Code"]) for each in answer["Errors"]] == [("c", "PreconditionFailed")]
    assert await s3("DeleteObjects", Bucket="bucket", Delete={"Objects": [{"Key": "c"}], "Quiet": True}) == {"Deleted": [], "Errors": []}
    assert await s3.keys() == []
    assert await s3.refused("DeleteObjects", Bucket="bucket", Delete={"Objects": []}) == "MalformedXML"
    assert await s3.refused("DeleteObjects", Bucket="bucket", Delete={"Objects": [{"Key": "k"}] * 1001}) == "MalformedXML"


async def test_a_reader_keeps_what_it_reads(s3: House) -> None:
    """An object that is deleted while it is read is read to its end, and its file goes afterwards."""
    data = os.urandom(4 * INLINE_BYTES)
    await s3.put("k", data)
    body = (await s3("GetObject", Bucket="bucket", Key="k"))["Body"]
    first = await body.__anext__()
    await s3("DeleteObject", Bucket="bucket", Key="k")
    assert await s3.collected() == 0
    assert first + b"".join([piece async for piece in body]) == data
    assert await s3.collected() == 1 and s3.files() == []


async def test_lists(s3: House) -> None:
    """Keys are listed in order, by prefix, rolled up by delimiter, page by page."""
    for key in ("a", "b/1", "b/2", "b/c/3", "d e", "ü", "z"):
        await s3.put(key, b"x")
    assert await s3.keys() == ["a", "b/1", "b/2", "b/c/3", "d e", "z", "ü"]
    assert await s3.keys(Prefix="b/") == ["b/1", "b/2", "b/c/3"]
    page = await s3("ListObjectsV2", Bucket="bucket", Delimiter="/", MaxKeys=2)
    assert [each["Key"] for each in page["Contents"]] == ["a"] and page["CommonPrefixes"] == [{"Prefix": "b/"}]
    assert page["KeyCount"] == 2 and page["IsTruncated"]
    page = await s3("ListObjectsV2", Bucket="bucket", Delimiter="/", ContinuationToken=page["NextContinuationToken"])
    assert [each["Key"] for each in page["Contents"]] == ["d e", "z", "ü"] and not page["IsTruncated"] and page["CommonPrefixes"] == []
    assert await s3.keys(StartAfter="b/2") == ["b/c/3", "d e", "z", "ü"]
    assert await s3.keys(EncodingType="url", StartAfter="b/c/3") == ["d+e", "z", "%C3%BC"]
    assert "Owner" in (await s3("ListObjectsV2", Bucket="bucket", FetchOwner=True))["Contents"][0]
    assert "Owner" not in (await s3("ListObjectsV2", Bucket="bucket"))["Contents"][0]
    assert await s3.refused("ListObjectsV2", Bucket="bucket", ContinuationToken="nonsense") == "InvalidArgument"
    assert await s3.refused("ListObjectsV2", Bucket="bucket", MaxKeys=-1) == "InvalidArgument"
    assert (await s3("ListObjectsV2", Bucket="bucket", MaxKeys=0))["Contents"] == []
    old = await s3("ListObjects", Bucket="bucket", Delimiter="/", MaxKeys=2)
    assert old["NextMarker"] == "b/" and old["Contents"][0]["Owner"]
    old = await s3("ListObjects", Bucket="bucket", Delimiter="/", Marker="b/")
    assert [each["Key"] for each in old["Contents"]] == ["d e", "z", "ü"] and "NextMarker" not in old


async def test_versions(s3: House) -> None:
    """Versions are kept beside each other; delete markers hide them, and removing those brings them back."""
    await s3.put("k", b"null")
    await s3("PutBucketVersioning", Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    assert await s3("GetBucketVersioning", Bucket="bucket") == {"Status": "Enabled"}
    first = (await s3.put("k", b"one"))["VersionId"]
    second = (await s3.put("k", b"two"))["VersionId"]
    assert len(first) == 32 and await s3.get("k") == b"two"
    assert await s3.get("k", VersionId=first) == b"one" and await s3.get("k", VersionId="null") == b"null"
    marker = await s3("DeleteObject", Bucket="bucket", Key="k")
    assert marker["DeleteMarker"] and marker["VersionId"] not in (first, second)
    assert await s3.refused("GetObject", Bucket="bucket", Key="k") == "NoSuchKey"
    assert ("x-amz-delete-marker", "true") in s3.ctx.answer_headers
    assert await s3.refused("GetObject", Bucket="bucket", Key="k", VersionId=marker["VersionId"]) == "MethodNotAllowed"
    assert await s3.refused("GetObject", Bucket="bucket", Key="k", VersionId="x" * 32) == "NoSuchVersion"
    assert await s3.refused("GetObject", Bucket="bucket", Key="k", VersionId="x") == "InvalidArgument"
    assert await s3.keys() == []
    listed = await s3("ListObjectVersions", Bucket="bucket")
    assert [each["VersionId"] for each in listed["Versions"]] == [second, first, "null"]
    assert [each["IsLatest"] for each in listed["Versions"]] == [False] * 3 and listed["DeleteMarkers"][0]["IsLatest"]
    assert await s3.refused("DeleteBucket", Bucket="bucket") == "BucketNotEmpty"
    assert s3.error.message.endswith("You must delete all versions in the bucket.")
    undeleted = await s3("DeleteObject", Bucket="bucket", Key="k", VersionId=marker["VersionId"])
    assert undeleted == {"DeleteMarker": True, "VersionId": marker["VersionId"]} and await s3.get("k") == b"two"
    await s3("DeleteObject", Bucket="bucket", Key="k", VersionId=second)
    assert await s3.get("k") == b"one"
    await s3("PutBucketVersioning", Bucket="bucket", VersioningConfiguration={"Status": "Suspended"})
    assert (await s3.put("k", b"new null"))["VersionId"] is None
    assert await s3.get("k", VersionId="null") == b"new null" and await s3.get("k", VersionId=first) == b"one"
    assert (await s3("DeleteObject", Bucket="bucket", Key="k"))["VersionId"] == "null"
    assert await s3.refused("GetObject", Bucket="bucket", Key="k", VersionId="null") == "MethodNotAllowed"


async def test_pages_of_versions(s3: House) -> None:
    """Versions are listed page by page, through the middle of a key's versions too."""
    await s3("PutBucketVersioning", Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    expected = []
    for key in ("a", "b", "c"):
        expected += reversed([(key, (await s3.put(key, b"x"))["VersionId"]) for _ in range(3)])
    for size in (1, 2, 4, 9):
        found, markers = [], {}
        while True:
            page = await s3("ListObjectVersions", Bucket="bucket", MaxKeys=size, **markers)
            found += [(each["Key"], each["VersionId"]) for each in page["Versions"]]
            if not page["IsTruncated"]:
                break
            markers = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
        assert found == expected, size
    assert await s3.refused("ListObjectVersions", Bucket="bucket", VersionIdMarker="x" * 32) == "InvalidArgument"


async def test_tags(s3: House) -> None:
    """Tags of objects and buckets are put, shown, counted and removed."""
    await s3.put("k", b"x", Tagging="a=1&b=")
    tagged = await s3("GetObjectTagging", Bucket="bucket", Key="k")
    assert tagged["TagSet"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]
    await s3("PutObjectTagging", Bucket="bucket", Key="k", Tagging={"TagSet": [{"Key": "c", "Value": "3"}]})
    assert (await s3("HeadObject", Bucket="bucket", Key="k"))["TagCount"] == 1
    await s3("DeleteObjectTagging", Bucket="bucket", Key="k")
    assert (await s3("GetObjectTagging", Bucket="bucket", Key="k"))["TagSet"] == []
    twice = {"TagSet": [{"Key": "c", "Value": "3"}] * 2}
    assert await s3.refused("PutObjectTagging", Bucket="bucket", Key="k", Tagging=twice) == "InvalidTag"
    assert await s3.refused("GetBucketTagging", Bucket="bucket") == "NoSuchTagSet"
    await s3("PutBucketTagging", Bucket="bucket", Tagging={"TagSet": [{"Key": "c", "Value": "3"}]})
    assert (await s3("GetBucketTagging", Bucket="bucket"))["TagSet"] == [{"Key": "c", "Value": "3"}]
    await s3("DeleteBucketTagging", Bucket="bucket")
    assert await s3.refused("GetBucketTagging", Bucket="bucket") == "NoSuchTagSet"


async def test_acls(s3: House) -> None:
    """ACLs are refused by default, and kept where the owner allows them."""
    await s3.put("k", b"x")
    acl = await s3("GetBucketAcl", Bucket="bucket")
    assert [grant["Permission"] for grant in acl["Grants"]] == ["FULL_CONTROL"] and len(acl["Owner"]["ID"]) == 64
    assert await s3.refused("PutBucketAcl", Bucket="bucket", ACL="public-read") == "AccessControlListNotSupported"
    assert await s3.refused("PutObjectAcl", Bucket="bucket", Key="k", ACL="public-read") == "AccessControlListNotSupported"
    rules = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    await s3("PutBucketOwnershipControls", Bucket="bucket", OwnershipControls=rules)
    await s3("PutBucketAcl", Bucket="bucket", ACL="public-read")
    assert len((await s3("GetBucketAcl", Bucket="bucket"))["Grants"]) == 2
    await s3("PutObjectAcl", Bucket="bucket", Key="k", AccessControlPolicy={"Grants": [], "Owner": {"ID": "x"}})
    assert (await s3("GetObjectAcl", Bucket="bucket", Key="k"))["Grants"] == []
    assert await s3.refused("PutObjectAcl", Bucket="bucket", Key="k") == "MissingSecurityHeader"


async def test_object_attributes(s3: House) -> None:
    """GetObjectAttributes gives what is asked for."""
    await s3.put("k", b"123456789", ChecksumCRC32="y/Q5Jg==")
    wanted = ["ETag", "Checksum", "ObjectSize", "StorageClass", "ObjectParts"]
    got = await s3("GetObjectAttributes", Bucket="bucket", Key="k", ObjectAttributes=wanted)
    assert got["ETag"] == md5(b"123456789") and got["ObjectSize"] == 9 and got["StorageClass"] == "STANDARD"
    assert got["Checksum"] == {"ChecksumCRC32": "y/Q5Jg==", "ChecksumType": "FULL_OBJECT"} and "ObjectParts" not in got
    assert await s3.refused("GetObjectAttributes", Bucket="bucket", Key="k", ObjectAttributes=["Nonsense"]) == "InvalidArgument"


async def test_lost_files_are_found(database_url: str, tmp_path: Path) -> None:
    """Files that a process wrote and no row names are removed by the next one; all others stay."""
    root = tmp_path / "objects"
    async with open_house(database_url, root) as s3:
        await s3("CreateBucket", Bucket="bucket")
        await s3.put("k", b"kept")
        await s3.put("gone", b"gone")
        await s3("DeleteObject", Bucket="bucket", Key="gone")
        shard = next(root.iterdir())
        (shard / ("0" * 32)).write_bytes(b"lost")
    async with open_house(database_url, root) as s3:
        await s3.put("new", b"new")
        assert await s3.service.upkeep.sweep() == 1
        assert await s3.get("k") == b"kept" and await s3.get("new") == b"new"
        assert await s3.collected() == 1 and len(s3.files()) == 2

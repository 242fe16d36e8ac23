"""S3's uploads in parts through its handlers, on both databases."""

import base64
import hashlib
import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from s3_house import Body, House, open_house

from lambdad.services.s3.rules import limits


@pytest.fixture
async def s3(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(limits, "PART_BYTES_MIN", 1000)
    async with open_house(database_url, tmp_path / "objects") as house:
        await house("CreateBucket", Bucket="bucket")
        yield house


async def begin(s3: House, key: str = "k", **options: Any) -> str:
    return str((await s3("CreateMultipartUpload", Bucket="bucket", Key=key, **options))["UploadId"])


async def part(s3: House, upload: str, number: int, data: Any, key: str = "k", **options: Any) -> dict[str, Any]:
    answer = await s3("UploadPart", Bucket="bucket", Key=key, UploadId=upload, PartNumber=number, Body=data, **options)
    return {"PartNumber": number, "ETag": answer["ETag"]}


def named(upload: str, parts: list[dict[str, Any]], key: str = "k", **options: Any) -> dict[str, Any]:
    return {"Bucket": "bucket", "Key": key, "UploadId": upload, "MultipartUpload": {"Parts": parts}, **options}


async def test_an_upload_becomes_an_object(s3: House) -> None:
    """Parts make an object with their files, a composite entity tag, and the attributes that were given at the beginning."""
    datas = [os.urandom(1000), os.urandom(2000), b"end"]
    upload = await begin(s3, ContentType="text/plain", Metadata={"a": "1"}, Tagging="t=1")
    await part(s3, upload, 2, b"replaced")
    parts = [await part(s3, upload, number, data) for number, data in enumerate(datas, 1)]
    await part(s3, upload, 9, b"never named")
    assert len(s3.files()) == 5
    done = await s3("CompleteMultipartUpload", **named(upload, parts))
    md5s = b"".join(hashlib.md5(data).digest() for data in datas)
    assert done["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-3"' and done["ChecksumType"] == "FULL_OBJECT"
    assert await s3.get("k") == b"".join(datas)
    whole = await s3("PutObject", Bucket="bucket", Key="whole", Body=b"".join(datas))
    assert whole["ChecksumCRC64NVME"] == done["ChecksumCRC64NVME"]
    head = await s3("HeadObject", Bucket="bucket", Key="k")
    assert (head["ContentType"], head["Metadata"], head["TagCount"]) == ("text/plain", {"a": "1"}, 1)
    assert await s3.collected() == 2 and len(s3.files()) == 4
    assert await s3.get("k", Range="bytes=998-1001") == b"".join(datas)[998:1002]
    second = await s3("GetObject", Bucket="bucket", Key="k", PartNumber=2, ChecksumMode="ENABLED")
    assert second["Body"] == datas[1] and second["PartsCount"] == 3 and second["ContentRange"] == "bytes 1000-2999/3003"
    assert await s3.refused("GetObject", Bucket="bucket", Key="k", PartNumber=4) == "InvalidPartNumber"
    assert await s3("CompleteMultipartUpload", **named(upload, parts)) == done  # the answer may have been lost
    copied = await s3("CopyObject", Bucket="bucket", Key="copy", CopySource="bucket/k")
    assert copied["CopyObjectResult"]["ETag"] == whole["ETag"] and await s3.get("copy") == b"".join(datas)
    await s3("DeleteObject", Bucket="bucket", Key="k")
    assert await s3.refused("CompleteMultipartUpload", **named(upload, parts)) == "NoSuchUpload"
    assert await s3.collected() == 3 and len(s3.files()) == 2


async def test_checksums_of_uploads(s3: House) -> None:
    """Composite and full-object checksums follow from the parts' ones, and types that cannot be are refused."""
    datas = [os.urandom(1000), os.urandom(500)]
    crcs = [zlib.crc32(data).to_bytes(4, "big") for data in datas]
    upload = await begin(s3, ChecksumAlgorithm="CRC32")
    parts = [
        await part(s3, upload, n, d, ChecksumCRC32=base64.b64encode(c).decode())
        for n, (d, c) in enumerate(zip(datas, crcs, strict=True), 1)
    ]
    done = await s3("CompleteMultipartUpload", **named(upload, parts))
    composite = base64.b64encode(zlib.crc32(b"".join(crcs)).to_bytes(4, "big")).decode()
    assert done["ChecksumCRC32"] == f"{composite}-2" and done["ChecksumType"] == "COMPOSITE"
    attributes = await s3("GetObjectAttributes", Bucket="bucket", Key="k", ObjectAttributes=["ObjectParts", "Checksum"])
    assert attributes["Checksum"]["ChecksumCRC32"] == composite and attributes["ObjectParts"]["TotalPartsCount"] == 2
    assert [each["Size"] for each in attributes["ObjectParts"]["Parts"]] == [1000, 500]
    for algorithm in ("CRC32", "CRC32C", "CRC64NVME"):
        upload = await begin(s3, ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")
        parts = [await part(s3, upload, number, data) for number, data in enumerate(datas, 1)]
        bad = named(upload, parts, **{f"Checksum{algorithm}": "AAAAAAAAAAA=" if algorithm == "CRC64NVME" else "AAAAAA=="})
        assert await s3.refused("CompleteMultipartUpload", **bad) == "BadDigest"
        done = await s3("CompleteMultipartUpload", **named(upload, parts, ChecksumType="FULL_OBJECT"))
        whole = await s3("CopyObject", Bucket="bucket", Key="whole", CopySource="bucket/k")
        assert done[f"Checksum{algorithm}"] == whole["CopyObjectResult"][f"Checksum{algorithm}"], algorithm
    assert await s3.refused("CreateMultipartUpload", Bucket="bucket", Key="k", ChecksumAlgorithm="SHA1", ChecksumType="FULL_OBJECT") == (
        "InvalidRequest"
    )
    assert s3.error.message == "The FULL_OBJECT checksum type cannot be used with the sha1 checksum algorithm."
    upload = await begin(s3, ChecksumAlgorithm="SHA256")
    assert await s3.refused("UploadPart", Bucket="bucket", Key="k", UploadId=upload, PartNumber=1, Body=b"x", ChecksumCRC32="jNySgw==") == (
        "InvalidRequest"
    )


async def test_what_cannot_be_completed(s3: House) -> None:
    """Missing, wrong, small and unordered parts are refused, and the upload stays as it is."""
    upload = await begin(s3)
    small, other = await part(s3, upload, 1, b"small"), await part(s3, upload, 2, b"other")
    cases = {
        "InvalidRequest": [],
        "InvalidPartOrder": [other, small],
        "InvalidPart": [small, {**other, "ETag": '"x"'}],
        "EntityTooSmall": [small, other],
    }
    for code, parts in cases.items():
        assert await s3.refused("CompleteMultipartUpload", **named(upload, parts)) == code
    assert s3.error.members == {"ETag": hashlib.md5(b"small").hexdigest(), "MinSizeAllowed": 1000, "PartNumber": 1, "ProposedSize": 5}
    assert await s3.refused("CompleteMultipartUpload", **named(upload, [small], MpuObjectSize=6)) == "InvalidRequest"
    assert await s3.refused("CompleteMultipartUpload", **named(upload, [small], key="another")) == "NoSuchUpload"
    assert await s3.refused("UploadPart", Bucket="bucket", Key="k", UploadId=upload, PartNumber=0, Body=b"") == "InvalidArgument"
    assert await s3.refused("UploadPart", Bucket="bucket", Key="k", UploadId=upload, PartNumber=10_001, Body=b"") == "InvalidArgument"
    assert await s3.refused("UploadPart", Bucket="bucket", Key="k", UploadId="none", PartNumber=1, Body=b"") == "NoSuchUpload"
    await s3.put("k", b"there")
    assert await s3.refused("CompleteMultipartUpload", **named(upload, [small], IfNoneMatch="*")) == "PreconditionFailed"
    await s3("CompleteMultipartUpload", **named(upload, [small]))
    assert await s3.get("k") == b"small"


async def test_streamed_parts_and_aborting(s3: House) -> None:
    """Parts may arrive in pieces; aborting removes all of them, and so does removing the bucket."""
    upload, other = await begin(s3), await begin(s3, key="other")
    await part(s3, upload, 1, Body(b"one", b"two"))
    await part(s3, other, 1, b"x", key="other")
    assert len(s3.files()) == 2
    await s3("AbortMultipartUpload", Bucket="bucket", Key="k", UploadId=upload)
    assert await s3.refused("AbortMultipartUpload", Bucket="bucket", Key="k", UploadId=upload) == "NoSuchUpload"
    assert await s3.refused("ListParts", Bucket="bucket", Key="k", UploadId=upload) == "NoSuchUpload"
    await s3("DeleteBucket", Bucket="bucket")
    assert await s3.collected() == 2 and s3.files() == []


async def test_lists_of_parts_and_uploads(s3: House) -> None:
    """Parts and uploads are listed page by page."""
    upload = await begin(s3, key="a/k")
    for number in (1, 3, 5):
        await part(s3, upload, number, b"x" * number, key="a/k")
    page = await s3("ListParts", Bucket="bucket", Key="a/k", UploadId=upload, MaxParts=2)
    assert [each["PartNumber"] for each in page["Parts"]] == [1, 3] and page["IsTruncated"] and page["NextPartNumberMarker"] == 3
    page = await s3("ListParts", Bucket="bucket", Key="a/k", UploadId=upload, PartNumberMarker="3")
    assert [(each["PartNumber"], each["Size"]) for each in page["Parts"]] == [(5, 5)] and not page["IsTruncated"]
    expected = [("a/k", upload)]
    for key in ("a/k", "b", "b"):
        expected.append((key, await begin(s3, key=key)))
    found, markers = [], {}
    while True:
        page = await s3("ListMultipartUploads", Bucket="bucket", MaxUploads=1, **markers)
        found += [(each["Key"], each["UploadId"]) for each in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert found == expected
    rolled = await s3("ListMultipartUploads", Bucket="bucket", Delimiter="/")
    assert rolled["CommonPrefixes"] == [{"Prefix": "a/"}] and len(rolled["Uploads"]) == 2


async def test_parts_that_are_copied(s3: House) -> None:
    """A part may be an object, or a range of one that was itself uploaded in parts."""
    data = os.urandom(3000)
    await s3.put("from", data)
    upload = await begin(s3)
    parts = []
    for number, span in enumerate(("bytes=0-1499", "bytes=1500-2999"), 1):
        copied = await s3(
            "UploadPartCopy", Bucket="bucket", Key="k", UploadId=upload, PartNumber=number, CopySource="bucket/from", CopySourceRange=span
        )
        parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
    await s3("CompleteMultipartUpload", **named(upload, parts))
    assert await s3.get("k") == data
    again = await begin(s3, key="again")
    base = {"Bucket": "bucket", "Key": "again", "UploadId": again, "PartNumber": 1, "CopySource": "bucket/k"}
    copied = await s3("UploadPartCopy", **base, CopySourceRange="bytes=1000-1999")
    await s3("CompleteMultipartUpload", **named(again, [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}], key="again"))
    assert await s3.get("again") == data[1000:2000]
    assert await s3.refused("UploadPartCopy", **base, CopySourceRange="bytes=1-9") == "NoSuchUpload"
    base["UploadId"] = await begin(s3, key="again")
    assert await s3.refused("UploadPartCopy", **base, CopySourceRange="bytes=0-3000") == "InvalidArgument"
    assert await s3.refused("UploadPartCopy", **base, CopySourceRange="0-1") == "InvalidArgument"
    assert await s3.refused("UploadPartCopy", **{**base, "CopySource": "bucket/none"}) == "NoSuchKey"


async def test_uploads_into_versioned_buckets(s3: House) -> None:
    """A completed upload is a version like any other."""
    await s3("PutBucketVersioning", Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    first = (await s3.put("k", b"one"))["VersionId"]
    upload = await begin(s3)
    done = await s3("CompleteMultipartUpload", **named(upload, [await part(s3, upload, 1, b"two")]))
    assert len(done["VersionId"]) == 32 and await s3.get("k") == b"two" and await s3.get("k", VersionId=first) == b"one"
    await s3("DeleteObject", Bucket="bucket", Key="k", VersionId=done["VersionId"])
    assert await s3.get("k") == b"one" and await s3.collected() == 1

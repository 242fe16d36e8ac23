"""S3's versions against a naive twin: whatever is done in whichever order, both show the same."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from s3_house import House, open_house

from lambdad.model.errors import AwsError
from lambdad.store.database import sqlite_url

KEYS = st.sampled_from(["a", "a/b", "c"])
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS),
        st.tuples(st.just("copy"), KEYS),
        st.tuples(st.just("upload"), KEYS),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("delete version"), KEYS, st.integers(0, 3)),
        st.tuples(st.just("versioning"), st.sampled_from(["Enabled", "Suspended"])),
        st.tuples(st.just("collect")),
    ),
    max_size=14,
)


class Twin:
    """For each key its versions, the newest first: an id, and the bytes or None for a delete marker."""

    def __init__(self) -> None:
        self.versions: dict[str, list[tuple[str, bytes | None]]] = {}
        self.keeps = False
        self.ever = False

    def add(self, key: str, version_id: str | None, data: bytes | None) -> None:
        found = self.versions.setdefault(key, [])
        if not self.keeps:
            version_id = "null"
            found[:] = [each for each in found if each[0] != "null"]
        assert version_id is not None
        found.insert(0, (version_id, data))

    def delete(self, key: str, marker_id: str | None) -> None:
        if self.ever:
            self.add(key, marker_id, None)
        else:
            self.versions.pop(key, None)

    def current(self, key: str) -> bytes | None:
        found = self.versions.get(key)
        return found[0][1] if found else None

    def all(self) -> list[tuple[str, str, bool]]:
        return [(key, each[0], each[1] is None) for key in sorted(self.versions) for each in self.versions[key]]


async def upload(s3: House, key: str, data: bytes) -> Any:
    base = {"Bucket": "bucket", "Key": key}
    base["UploadId"] = (await s3("CreateMultipartUpload", **base))["UploadId"]
    part = await s3("UploadPart", **base, PartNumber=1, Body=data)
    return await s3("CompleteMultipartUpload", **base, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})


async def do(s3: House, twin: Twin, deed: tuple[Any, ...], number: int) -> None:
    data = b"%d" % number
    match deed:
        case ("put", key):
            twin.add(key, (await s3.put(key, data))["VersionId"], data)
        case ("upload", key):
            twin.add(key, (await upload(s3, key, data))["VersionId"], data)
        case ("copy", key):
            source = twin.current("a")
            if source is None or key == "a":
                return
            twin.add(key, (await s3("CopyObject", Bucket="bucket", Key=key, CopySource="bucket/a"))["VersionId"], source)
        case ("delete", key):
            twin.delete(key, (await s3("DeleteObject", Bucket="bucket", Key=key)).get("VersionId"))
        case ("delete version", key, index):
            found = twin.versions.get(key, [])
            if index < len(found):
                await s3("DeleteObject", Bucket="bucket", Key=key, VersionId=found.pop(index)[0])
                if not found:
                    del twin.versions[key]
        case ("versioning", status):
            await s3("PutBucketVersioning", Bucket="bucket", VersioningConfiguration={"Status": status})
            twin.keeps, twin.ever = status == "Enabled", True
        case ("collect",):
            await s3.collected()


async def compare(s3: House, twin: Twin) -> None:
    page = await s3("ListObjectVersions", Bucket="bucket")
    there = [(each["Key"], each["VersionId"], False) for each in page["Versions"]]
    there += [(each["Key"], each["VersionId"], True) for each in page["DeleteMarkers"]]
    assert sorted(there) == sorted(twin.all())
    latest = {each["Key"]: each["VersionId"] for each in [*page["Versions"], *page["DeleteMarkers"]] if each["IsLatest"]}
    assert latest == {key: versions[0][0] for key, versions in twin.versions.items()}
    assert await s3.keys() == [key for key in sorted(twin.versions) if twin.current(key) is not None]
    for key, versions in twin.versions.items():
        for version_id, data in versions:
            if data is not None:
                assert await s3.get(key, VersionId=version_id) == data
        try:
            assert await s3.get(key) == twin.current(key)
        except AwsError as error:
            assert error.code == "NoSuchKey" and twin.current(key) is None


async def live(deeds: list[tuple[Any, ...]], folder: Path) -> None:
    async with open_house(sqlite_url(folder / "db"), folder / "objects") as s3:
        await s3("CreateBucket", Bucket="bucket")
        twin = Twin()
        for number, deed in enumerate(deeds):
            await do(s3, twin, deed, number)
        await compare(s3, twin)
        await s3.collected()
        await compare(s3, twin)
        assert len(s3.files()) == sum(data is not None for versions in twin.versions.values() for _, data in versions)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DEEDS)
def test_versions_are_those_of_a_twin(deeds: list[tuple[Any, ...]]) -> None:
    """Puts, copies, uploads, deletes and changes of versioning leave the same versions, the same bytes, and no file too many."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(deeds, Path(folder)))

"""Layers: published, shown, listed, deleted, shared, and used by functions."""

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lambda_house import CONTEXT, NOW_MS, House, NaiveCode, new_uuid, open_house, refused
from msgspec.structs import replace

from lambdad.model.function import LayerReference
from lambdad.model.ids import AccountId, Region
from lambdad.services.lambda_.layer_permissions import LayerPermissions
from lambdad.services.lambda_.layers import Layers
from lambdad.services.lambda_.s3_code import S3Code
from lambdad.services.ports import CallContext
from lambdad.store import database, migrations

LAYER_ARN = "arn:aws:lambda:us-east-1:000000000000:layer:l"
STRANGER = replace(CONTEXT, account=AccountId("111111111111"), principal_arn="arn:aws:iam::111111111111:user/u")
NOT_THERE = "The resource you requested does not exist."


class LayerHouse:
    """The operations on layers over a database that is shared with the functions' registry."""

    def __init__(self, house: House, layers: Layers, permissions: LayerPermissions) -> None:
        self.functions = house
        self.layers = layers
        self.handlers = {**layers.handlers(), **permissions.handlers()}

    async def call(self, operation: str, context: CallContext = CONTEXT, **request: Any) -> dict[str, Any]:
        return await self.handlers[operation](context, {"LayerName": "l", **request})

    async def publish(self, zip_file: bytes = b"zip", context: CallContext = CONTEXT, **request: Any) -> dict[str, Any]:
        return await self.call("PublishLayerVersion", context, **{"Content": {"ZipFile": zip_file}, **request})

    async def versions(self, **request: Any) -> list[int]:
        return [each["Version"] for each in (await self.call("ListLayerVersions", **request))["LayerVersions"]]


@contextlib.asynccontextmanager
async def open_layers(url: str, **settings: Any) -> AsyncIterator[LayerHouse]:
    needed = [migrations.load_migrations("lambdad.services.lambda_")]
    async with (
        open_house(url) as house,
        database.open_database(url, migrations=needed, now_ms=lambda: NOW_MS) as opened,
    ):
        layers = Layers(
            opened,
            house.registry,
            NaiveCode(),
            objects=S3Code(house.s3),
            link=lambda context, sha256: f"{context.endpoint}/{sha256}",
            now_ms=lambda: NOW_MS,
            **settings,
        )
        await layers.load()
        yield LayerHouse(house, layers, LayerPermissions(opened, new_uuid))


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[LayerHouse]:
    async with open_layers(database_url) as opened:
        yield opened


async def test_published_version_is_shown_as_aws_does(house: LayerHouse) -> None:
    """Publish, get and get by ARN answer the same; lists leave the content out."""
    digest = hashlib.sha256(b"zip").digest()
    published = await house.publish(
        Description="d",
        CompatibleRuntimes=["python3.12", "nodejs22.x"],
        CompatibleArchitectures=["x86_64"],
        LicenseInfo="MIT",
    )
    item = {
        "LayerVersionArn": f"{LAYER_ARN}:1",
        "Version": 1,
        "Description": "d",
        "CreatedDate": "2025-11-25T02:26:54.123+0000",
        "CompatibleRuntimes": ["python3.12", "nodejs22.x"],
        "CompatibleArchitectures": ["x86_64"],
        "LicenseInfo": "MIT",
    }
    assert published == {
        "Content": {
            "Location": f"http://127.0.0.1:4566/{digest.hex()}",
            "CodeSha256": base64.b64encode(digest).decode(),
            "CodeSize": 3,
        },
        "LayerArn": LAYER_ARN,
        **item,
    }
    assert await house.call("GetLayerVersion", VersionNumber=1) == published
    assert await house.call("GetLayerVersion", LayerName=LAYER_ARN, VersionNumber=1) == published
    assert await house.call("GetLayerVersionByArn", Arn=f"{LAYER_ARN}:1") == published
    assert await house.call("ListLayerVersions") == {"LayerVersions": [item]}
    assert await house.call("ListLayers") == {"Layers": [{"LayerName": "l", "LayerArn": LAYER_ARN, "LatestMatchingVersion": item}]}


async def test_what_is_not_given_is_not_shown(house: LayerHouse) -> None:
    """Arrays are echoed as given: absent or empty; a description is always there."""
    bare = await house.publish()
    assert bare["Description"] == ""
    assert not {"CompatibleRuntimes", "CompatibleArchitectures", "LicenseInfo"} & bare.keys()
    empty = await house.publish(CompatibleRuntimes=[], CompatibleArchitectures=[], Description="\0ü")
    assert (empty["CompatibleRuntimes"], empty["CompatibleArchitectures"], empty["Description"]) == ([], [], "\0ü")
    assert await house.call("GetLayerVersion", VersionNumber=2) == empty


async def test_numbers_are_never_given_twice(database_url: str) -> None:
    """Numbering continues after deletion, after a restart, and with many publishers at once."""
    async with open_layers(database_url) as house:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(house.publish()) for _ in range(5)]
        assert sorted(task.result()["Version"] for task in tasks) == [1, 2, 3, 4, 5]
        for number in (1, 2, 3, 4, 5, 5, 99):
            assert await house.call("DeleteLayerVersion", VersionNumber=number) == {}
        assert await house.versions() == []
        assert await house.call("ListLayers") == {"Layers": []}
    async with open_layers(database_url) as house:
        assert (await house.publish(b"other"))["Version"] == 6
        assert (await house.publish(LayerName="m"))["Version"] == 1


async def test_missing_versions(house: LayerHouse) -> None:
    """What is not there is told in the words of each operation."""
    await house.publish()
    await house.call("DeleteLayerVersion", VersionNumber=1)
    for number in (1, 2, 2**40, 2**70):
        await refused(house.call("GetLayerVersion", VersionNumber=number), "ResourceNotFoundException", NOT_THERE)
        await refused(house.call("GetLayerVersionByArn", Arn=f"{LAYER_ARN}:{number}"), "ResourceNotFoundException", NOT_THERE)
    await refused(house.call("GetLayerVersionByArn", Arn="arn:aws:lambda:::awslayer:AmazonLinux"), "ResourceNotFoundException", NOT_THERE)
    await refused(
        house.call("GetLayerVersionByArn", Arn="arn:aws:lambda:eu-west-1:000000000000:layer:l:1"),
        "ResourceNotFoundException",
        NOT_THERE,
    )
    for operation in ("GetLayerVersion", "DeleteLayerVersion", "GetLayerVersionPolicy"):
        await refused(house.call(operation, VersionNumber=0), "InvalidParameterValueException", "Layer Version Cannot be less than 1")
    assert await house.versions(LayerName="nobody") == []


async def test_lists_are_filtered_and_paged(house: LayerHouse) -> None:
    """Newest first, a page at a time, and only what fits the runtime and the architecture."""
    for number in range(1, 13):
        await house.publish(CompatibleRuntimes=["python3.12"] if number % 3 else ["nodejs22.x"], CompatibleArchitectures=["x86_64"])
    await house.publish(LayerName="a", CompatibleRuntimes=["nodejs22.x"])
    assert await house.versions() == list(range(12, 0, -1))
    assert await house.versions(CompatibleRuntime="nodejs22.x") == [12, 9, 6, 3]
    assert await house.versions(CompatibleArchitecture="arm64") == []
    seen: list[int] = []
    marker: dict[str, str] = {}
    while True:
        page = await house.call("ListLayerVersions", MaxItems=5, **marker)
        seen += [each["Version"] for each in page["LayerVersions"]]
        if "NextMarker" not in page:
            break
        marker = {"Marker": page["NextMarker"]}
    assert seen == list(range(12, 0, -1))

    listed = await house.call("ListLayers", CompatibleRuntime="python3.12")
    assert [(each["LayerName"], each["LatestMatchingVersion"]["Version"]) for each in listed["Layers"]] == [("l", 11)]
    first = await house.call("ListLayers", MaxItems=1)
    assert [each["LayerName"] for each in first["Layers"]] == ["a"]
    second = await house.call("ListLayers", MaxItems=1, Marker=first["NextMarker"])
    assert ([each["LayerName"] for each in second["Layers"]], "NextMarker" in second) == (["l"], False)


async def test_layers_of_accounts_and_regions_are_apart(house: LayerHouse) -> None:
    """Equal names elsewhere are other layers."""
    await house.publish()
    for context in (STRANGER, replace(CONTEXT, region=Region("eu-west-1"))):
        assert await house.call("ListLayers", context) == {"Layers": []}
        assert (await house.publish(context=context))["Version"] == 1
    assert await house.versions() == [1]
    await refused(
        house.publish(LayerName="arn:aws:lambda:eu-west-1:000000000000:layer:l"),
        "ResourceNotFoundException",
        "Layers from 'eu-west-1' are not reachable in this region ('us-east-1')",
    )
    await refused(
        house.publish(LayerName=LAYER_ARN, context=STRANGER),
        "AccessDeniedException",
        f"User: arn:aws:iam::111111111111:user/u is not authorized to perform: lambda:PublishLayerVersion on resource: {LAYER_ARN} "
        "because no resource-based policy allows the lambda:PublishLayerVersion action",
    )


async def test_content_must_be_given(house: LayerHouse) -> None:
    """A layer is made of one zip, in the request or in S3."""
    for content in ({}, {"S3Bucket": "b"}, {"S3Key": "k"}):
        await refused(house.publish(Content=content), "InvalidParameterValueException", "Please provide a source for layer content.")
    with pytest.raises(Exception, match="S3ObjectStorageMode REFERENCE is not supported by lambdad yet"):
        await house.publish(Content={"S3Bucket": "b", "S3Key": "k", "S3ObjectStorageMode": "REFERENCE"})
    with pytest.raises(Exception, match="when providing a ZipFile"):
        await house.publish(Content={"S3Bucket": "b", "S3Key": "k", "ZipFile": b"zip"})


async def test_content_comes_from_s3(house: LayerHouse) -> None:
    """A layer in S3 is the same as one in the request."""
    house.functions.s3.objects["b", "k", ""] = [b"zi", b"p"]
    published = await house.publish(Content={"S3Bucket": "b", "S3Key": "k"})
    assert published["Content"]["CodeSha256"] == (await house.publish(b"zip"))["Content"]["CodeSha256"]
    assert published["Content"]["CodeSize"] == 3
    await refused(
        house.publish(Content={"S3Bucket": "b", "S3Key": "x"}),
        "InvalidParameterValueException",
        "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist.",
    )


async def test_storage_is_counted_and_limited(database_url: str) -> None:
    """Layer versions use the account's code storage until they are deleted."""
    async with open_layers(database_url, code_storage_bytes=10) as house:
        await house.publish(b"12345")
        await house.publish(b"12345")
        assert house.layers.stored_bytes("000000000000", "us-east-1") == 10
        await refused(house.publish(b"1"), "CodeStorageExceededException", "Code storage limit exceeded.")
        for _ in range(2):
            await house.call("DeleteLayerVersion", VersionNumber=1)
        assert house.layers.stored_bytes("000000000000", "us-east-1") == 5
        await house.publish(b"1")
        assert await house.layers.code_hashes() == {hashlib.sha256(data).hexdigest() for data in (b"12345", b"1")}
    async with open_layers(database_url) as house:
        assert house.layers.stored_bytes("000000000000", "us-east-1") == 6
        assert house.layers.stored_bytes("111111111111", "us-east-1") == 0


async def test_functions_find_their_layers(house: LayerHouse) -> None:
    """In the order asked for, with all that outlives the layer."""
    await house.publish(b"one")
    await house.publish(b"other", LayerName="m")
    arns = ["arn:aws:lambda:us-east-1:000000000000:layer:m:1", f"{LAYER_ARN}:1"]
    assert await house.layers.resolve(CONTEXT, arns) == (
        LayerReference(arns[0], hashlib.sha256(b"other").hexdigest(), 5, 5),
        LayerReference(arns[1], hashlib.sha256(b"one").hexdigest(), 3, 3),
    )
    for missing in (f"{LAYER_ARN}:2", "arn:aws:lambda:::awslayer:AmazonLinux", f"{LAYER_ARN}:{2**70}"):
        await refused(
            house.layers.resolve(CONTEXT, [arns[0], missing]),
            "InvalidParameterValueException",
            f"Layer version {missing} does not exist.",
        )


async def test_other_accounts_need_a_grant(house: LayerHouse) -> None:
    """Without one even the existence is not told; with one the layer can be read and used."""
    await house.publish()
    arn = f"{LAYER_ARN}:1"
    denied = (
        f"User: arn:aws:iam::111111111111:user/u is not authorized to perform: lambda:GetLayerVersion on resource: {arn} "
        "because no resource-based policy allows the lambda:GetLayerVersion action"
    )

    async def expect_denied() -> None:
        await refused(house.layers.resolve(STRANGER, [arn]), "AccessDeniedException", denied)
        await refused(house.call("GetLayerVersionByArn", STRANGER, Arn=arn), "AccessDeniedException", denied)
        await refused(house.call("GetLayerVersion", STRANGER, LayerName=LAYER_ARN, VersionNumber=1), "AccessDeniedException", denied)
        await refused(house.layers.resolve(STRANGER, [f"{LAYER_ARN}:2"]), "AccessDeniedException", denied.replace(arn, f"{LAYER_ARN}:2"))

    await expect_denied()
    grant = {"VersionNumber": 1, "StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "111111111111"}
    await house.call("AddLayerVersionPermission", **grant)
    assert len(await house.layers.resolve(STRANGER, [arn])) == 1
    assert (await house.call("GetLayerVersionByArn", STRANGER, Arn=arn))["LayerVersionArn"] == arn
    await house.call("RemoveLayerVersionPermission", VersionNumber=1, StatementId="s")
    await expect_denied()


async def test_layer_policies(house: LayerHouse) -> None:
    """Statements, revisions and refusals are AWS's."""
    await house.publish()
    arn = f"{LAYER_ARN}:1"
    grant = {"VersionNumber": 1, "Action": "lambda:GetLayerVersion"}
    none = "No policy is associated with the given resource."
    await refused(house.call("GetLayerVersionPolicy", VersionNumber=1), "ResourceNotFoundException", none)
    first = await house.call("AddLayerVersionPermission", **grant, StatementId="s1", Principal="111111111111")
    assert first["Statement"] == (
        '{"Sid":"s1","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:root"},'
        f'"Action":"lambda:GetLayerVersion","Resource":"{arn}"}}'
    )
    second = await house.call(
        "AddLayerVersionPermission",
        **grant,
        StatementId="s2",
        Principal="*",
        OrganizationId="o-1234567890",
        RevisionId=first["RevisionId"],
    )
    assert json.loads(second["Statement"])["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": "o-1234567890"}}
    shown = await house.call("GetLayerVersionPolicy", VersionNumber=1)
    assert shown == {
        "Policy": '{"Version":"2012-10-17","Id":"default","Statement":[' + f"{first['Statement']},{second['Statement']}" + "]}",
        "RevisionId": second["RevisionId"],
    }

    stale = "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the latest Revision Id"
    again = {**grant, "Principal": "*", "StatementId": "s1"}
    await refused(
        house.call("AddLayerVersionPermission", **again),
        "ResourceConflictException",
        "The statement id (s1) provided already exists. Please provide a new statement id, or remove the existing statement.",
    )
    for call in (
        house.call("AddLayerVersionPermission", **{**again, "StatementId": "s3"}, RevisionId=first["RevisionId"]),
        house.call("RemoveLayerVersionPermission", VersionNumber=1, StatementId="s1", RevisionId=first["RevisionId"]),
    ):
        await refused(call, "PreconditionFailedException", stale)
    await refused(
        house.call("RemoveLayerVersionPermission", VersionNumber=1, StatementId="s9"),
        "ResourceNotFoundException",
        "Statement s9 is not found in resource policy.",
    )
    assert await house.call("GetLayerVersionPolicy", VersionNumber=1) == shown
    await house.call("RemoveLayerVersionPermission", VersionNumber=1, StatementId="s1", RevisionId=second["RevisionId"])
    await house.call("RemoveLayerVersionPermission", VersionNumber=1, StatementId="s2")
    await refused(house.call("GetLayerVersionPolicy", VersionNumber=1), "ResourceNotFoundException", none)
    for operation in ("AddLayerVersionPermission", "GetLayerVersionPolicy", "RemoveLayerVersionPermission"):
        await refused(
            house.call(operation, **{**again, "VersionNumber": 2}),
            "ResourceNotFoundException",
            f"Layer version {LAYER_ARN}:2 does not exist.",
        )

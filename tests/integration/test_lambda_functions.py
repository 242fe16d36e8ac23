"""Functions, versions, aliases, concurrency and tags: the handlers on both databases, with a naive code store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from lambda_house import CONTEXT, FUNCTION_ARN, NOW_MS, ROLE, House, NaiveCode, NaiveLayers, new_uuid, open_house, refused

from lambdad.model.errors import AwsError
from lambdad.model.function import Function, StateReasonCode
from lambdad.model.ids import AccountId, Region
from lambdad.services.lambda_.code_links import CodeLinks
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.ports import PreparationFailed
from lambdad.services.lambda_.registry import Change, Target
from lambdad.services.lambda_.s3_code import S3Code
from lambdad.services.lambda_.service import LambdaService
from lambdad.services.ports import CallContext
from lambdad.store.database import Connection


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    async with open_house(database_url) as opened:
        yield opened


INVALID = "InvalidParameterValueException"
MISSING = "ResourceNotFoundException"
CONFLICT = "ResourceConflictException"


async def test_create_answers_as_aws_does(house: House) -> None:
    """The answer to CreateFunction is AWS's recorded one, member by member."""
    house.code.gate.clear()
    created = await house.create()
    revision = created.pop("RevisionId")
    assert created.pop("RuntimeVersionConfig")["RuntimeVersionArn"].startswith("arn:aws:lambda:us-east-1::runtime:")
    assert created == {
        "FunctionName": "f",
        "FunctionArn": FUNCTION_ARN,
        "Runtime": "python3.12",
        "Role": ROLE,
        "Handler": "handler.handler",
        "CodeSize": 5,
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "LastModified": "2025-11-25T02:26:54.123+0000",
        "CodeSha256": "qJM+H5RKBJuiDwt8ab55exfSldS9b2RtBJ61kiD+6rE=",
        "Version": "$LATEST",
        "TracingConfig": {"Mode": "PassThrough"},
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
    }
    house.code.gate.set()
    settled = await house.wait_settled()
    assert (settled["State"], settled["LastUpdateStatus"]) == ("Active", "Successful")
    assert settled["RevisionId"] != revision
    assert "StateReason" not in settled and "LastUpdateStatusReason" not in settled


async def test_functions_survive_a_restart(database_url: str) -> None:
    """What was acknowledged is there again, to the last member, and what was Pending is finished."""
    code = NaiveCode()
    code.gate.clear()
    async with open_house(database_url, code) as house:
        await house.create(Tags={"a": "b"}, Publish=True, Environment={"Variables": {"KEY": "ä\0"}})
    async with open_house(database_url) as house:
        await house.wait_settled()
        await house.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        await house.call("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=5)
        await house.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)
        await house.wait_settled()
        await house.call("PublishVersion", FunctionName="f")
        before = [await house.call("GetFunction", FunctionName="f", Qualifier=one) for one in ("$LATEST", "1", "live")]
    async with open_house(database_url) as house:
        after = [await house.call("GetFunction", FunctionName="f", Qualifier=one) for one in ("$LATEST", "1", "live")]
        assert house.registry.claimed("000000000000", "us-east-1") == 5
        function = house.registry.get("000000000000", "us-east-1", "f")
        assert function is not None and list(function.versions) == ["1", "2"] and function.next_version == 3
        assert function.serving is function.latest
    assert before == after


async def test_update_in_progress_survives_a_restart(database_url: str) -> None:
    """An update that was being prepared runs the old code until it is finished after the restart."""
    code = NaiveCode()
    async with open_house(database_url, code) as house:
        old = await house.create_settled()
        code.gate.clear()
        await house.call("UpdateFunctionCode", FunctionName="f", ZipFile=b"zip 2")
    async with open_house(database_url, code) as house:
        target = house.registry.resolve("000000000000", "us-east-1", "f", None, 0.0)
        assert target.version.code_sha256 == hashlib.sha256(b"zip 1").hexdigest()
        code.gate.set()
        new = await house.wait_settled()
        assert new["CodeSha256"] != old["CodeSha256"]
        target = house.registry.resolve("000000000000", "us-east-1", "f", None, 0.0)
        assert target.version.code_sha256 == hashlib.sha256(b"zip 2").hexdigest()


async def test_refused_create_leaves_nothing(house: House) -> None:
    """What lambdad cannot honour is refused in words, before anything is stored."""
    error = await refused(house.create(PackageType="Image"), INVALID, "PackageType Image is not supported by lambdad yet.")
    assert error.members == {"Type": "User"}
    layers = [f"arn:aws:lambda:us-east-1:000000000000:layer:l{number}:1" for number in range(6)]
    await refused(house.create(Layers=layers), INVALID, "Cannot reference more than 5 layers.")
    assert (await house.call("ListFunctions"))["Functions"] == []


async def test_what_means_nothing_is_accepted(house: House) -> None:
    """Empty structures ask for nothing, and tools send them."""
    created = await house.create_settled(
        VpcConfig={"SubnetIds": [], "SecurityGroupIds": []},
        DeadLetterConfig={"TargetArn": ""},
        KMSKeyArn="",
        SnapStart={"ApplyOn": "None"},
        Environment={},
        FileSystemConfigs=[],
        Layers=[],
        ImageConfig={},
        TracingConfig={"Mode": "Active"},
    )
    assert created["Environment"] == {"Variables": {}}
    assert created["TracingConfig"] == {"Mode": "Active"}
    assert not {"VpcConfig", "DeadLetterConfig", "KMSKeyArn", "Layers", "FileSystemConfigs"} & created.keys()


async def test_names(house: House) -> None:
    """Every form of a function's name means the function; ARNs of elsewhere are refused as AWS does."""
    await house.create_settled()
    for form in ("f", "function:f", "000000000000:function:f", FUNCTION_ARN):
        assert (await house.call("GetFunctionConfiguration", FunctionName=form))["FunctionArn"] == FUNCTION_ARN
        latest = await house.call("GetFunctionConfiguration", FunctionName=f"{form}:$LATEST", Qualifier="$LATEST")
        assert latest["FunctionArn"] == f"{FUNCTION_ARN}:$LATEST"
    await refused(
        house.call("GetFunction", FunctionName=FUNCTION_ARN.replace("us-east-1", "eu-west-1")),
        MISSING,
        "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
    )
    denied = await refused(
        house.call("GetFunction", FunctionName=FUNCTION_ARN.replace("000000000000", "111111111111")),
        "AccessDeniedException",
        None,
    )
    assert denied.members == {}
    await refused(
        house.call("GetFunction", FunctionName="f:1", Qualifier="2"),
        INVALID,
        "The derived qualifier from the function name does not match the specified qualifier.",
    )
    await refused(house.call("GetFunction", FunctionName="g"), MISSING, f"Function not found: {FUNCTION_ARN[:-1]}g")
    await refused(house.call("GetFunction", FunctionName="f", Qualifier="7"), MISSING, f"Function not found: {FUNCTION_ARN}:7")


async def test_code_and_configuration_updates(house: House) -> None:
    """An update shows InProgress at once and runs the old version until it is Successful; two revisions each."""
    first = await house.create_settled()
    house.code.gate.clear()
    shown = await house.call("UpdateFunctionConfiguration", FunctionName="f", MemorySize=256, RevisionId=first["RevisionId"])
    assert (shown["State"], shown["LastUpdateStatus"], shown["LastUpdateStatusReasonCode"]) == ("Active", "InProgress", "Creating")
    assert shown["LastUpdateStatusReason"] == "The function is being created."
    assert house.registry.resolve("000000000000", "us-east-1", "f", None, 0.0).version.memory_mib == 128
    busy = f"The operation cannot be performed at this time. An update is in progress for resource: {FUNCTION_ARN}"
    await refused(house.call("UpdateFunctionCode", FunctionName="f", ZipFile=b"2"), CONFLICT, busy)
    await refused(house.call("PublishVersion", FunctionName="f"), CONFLICT, busy)
    await refused(house.call("TagResource", Resource=FUNCTION_ARN, Tags={"a": "b"}), CONFLICT, busy)
    house.code.gate.set()
    settled = await house.wait_settled()
    assert len({first["RevisionId"], shown["RevisionId"], settled["RevisionId"]}) == 3
    assert house.registry.resolve("000000000000", "us-east-1", "f", None, 0.0).version.memory_mib == 256
    with pytest.raises(AwsError, match="Revision Id provided does not match"):
        await house.call("UpdateFunctionCode", FunctionName="f", ZipFile=b"2", RevisionId=first["RevisionId"])


async def test_failed_preparation(house: House) -> None:
    """A create that fails ends Failed; an update that fails keeps what ran."""
    house.code.failure = PreparationFailed("no room", StateReasonCode.INTERNAL_ERROR)
    failed = await house.create_settled()
    assert (failed["State"], failed["StateReason"], failed["StateReasonCode"]) == ("Failed", "no room", "InternalError")
    await refused(
        house.call("UpdateFunctionCode", FunctionName="f", ZipFile=b"2"),
        CONFLICT,
        "The operation cannot be performed at this time. The function is currently in the following state: Failed",
    )
    house.code.failure = None
    await house.create_settled("g")
    house.code.failure = OSError("unforeseen")
    await house.call("UpdateFunctionCode", FunctionName="g", ZipFile=b"zip 2")
    kept = await house.wait_settled("g")
    assert (kept["State"], kept["LastUpdateStatus"], kept["LastUpdateStatusReasonCode"]) == ("Active", "Failed", "InternalError")
    assert kept["CodeSize"] == 5
    house.code.failure = None
    await house.call("UpdateFunctionCode", FunctionName="g", ZipFile=b"zip 2")
    assert (await house.wait_settled("g"))["LastUpdateStatus"] == "Successful"


async def test_dry_run_changes_nothing(house: House) -> None:
    """UpdateFunctionCode with DryRun says what would be."""
    first = await house.create_settled()
    shown = await house.call("UpdateFunctionCode", FunctionName="f", ZipFile=b"longer zip", DryRun=True)
    assert shown["CodeSize"] == 10 and shown["CodeSha256"] != first["CodeSha256"]
    assert await house.call("GetFunctionConfiguration", FunctionName="f") == first


async def test_partial_configuration_update(house: House) -> None:
    """Absent members keep their value, structures replace theirs, LoggingConfig merges."""
    await house.create_settled(
        Environment={"Variables": {"KEY_A": "a"}},
        Layers=["arn:aws:lambda:us-east-1:000000000000:layer:l:1"],
        LoggingConfig={"LogFormat": "JSON", "SystemLogLevel": "WARN"},
    )
    shown = await house.call(
        "UpdateFunctionConfiguration",
        FunctionName="f",
        Environment={"Variables": {"KEY_B": "b"}},
        LoggingConfig={"ApplicationLogLevel": "DEBUG"},
        VpcConfig={"SubnetIds": [], "SecurityGroupIds": []},
    )
    assert shown["Environment"] == {"Variables": {"KEY_B": "b"}}
    assert shown["Layers"] == [{"Arn": "arn:aws:lambda:us-east-1:000000000000:layer:l:1", "CodeSize": 7}]
    assert shown["LoggingConfig"] == {
        "LogFormat": "JSON",
        "ApplicationLogLevel": "DEBUG",
        "SystemLogLevel": "WARN",
        "LogGroup": "/aws/lambda/f",
    }
    assert shown["VpcConfig"] == {"SubnetIds": [], "SecurityGroupIds": [], "VpcId": "", "Ipv6AllowedForDualStack": False}
    await house.wait_settled()
    shown = await house.call("UpdateFunctionConfiguration", FunctionName="f", Layers=[], LoggingConfig={"LogFormat": "Text"})
    assert "Layers" not in shown
    assert shown["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"}


async def test_publish(house: House) -> None:
    """Publishing twice without a change gives the same version; settings and code make a new one."""
    await house.create_settled(Description="of the function")
    before = await house.call("GetFunctionConfiguration", FunctionName="f")
    one = await house.call("PublishVersion", FunctionName="f", Description="first", RevisionId=before["RevisionId"])
    assert (one["Version"], one["FunctionArn"], one["State"], one["LastUpdateStatus"], one["Description"]) == (
        "1",
        f"{FUNCTION_ARN}:1",
        "Active",
        "Successful",
        "first",
    )
    after = await house.call("GetFunctionConfiguration", FunctionName="f")
    assert after["RevisionId"] not in (before["RevisionId"], one["RevisionId"])
    assert await house.call("PublishVersion", FunctionName="f", Description="again") == one
    assert await house.call("GetFunctionConfiguration", FunctionName="f") == after
    with pytest.raises(AwsError, match=r"CodeSHA256 \(x\) is different from current CodeSHA256 in \$LATEST"):
        await house.call("PublishVersion", FunctionName="f", CodeSha256="x")
    await house.call("UpdateFunctionConfiguration", FunctionName="f", Description="changed")
    await house.wait_settled()
    two = await house.call("PublishVersion", FunctionName="f", CodeSha256=after["CodeSha256"])
    assert (two["Version"], two["Description"]) == ("2", "changed")
    listed = await house.call("ListVersionsByFunction", FunctionName="f")
    assert [item["FunctionArn"] for item in listed["Versions"]] == [f"{FUNCTION_ARN}:{n}" for n in ("$LATEST", "1", "2")]
    assert not {"State", "LastUpdateStatus", "RuntimeVersionConfig"} & listed["Versions"][0].keys()


async def test_publish_with_create_and_update(house: House) -> None:
    """``Publish`` on create names version 1 under the unqualified ARN; on an update, the new version under its own."""
    created = await house.create(Publish=True)
    assert (created["Version"], created["FunctionArn"], created["State"]) == ("1", FUNCTION_ARN, "Pending")
    await house.wait_settled()
    house.code.gate.clear()
    two = await house.call("UpdateFunctionCode", FunctionName="f", ZipFile=b"zip 2", Publish=True)
    assert (two["Version"], two["FunctionArn"], two["State"]) == ("2", f"{FUNCTION_ARN}:2", "Pending")
    assert "LastUpdateStatus" not in two
    latest = await house.call("GetFunctionConfiguration", FunctionName="f")
    assert latest["LastUpdateStatus"] == "InProgress" and latest["RevisionId"] != two["RevisionId"]
    with pytest.raises(AwsError, match="following state: Pending"):
        house.registry.resolve("000000000000", "us-east-1", "f", "2", 0.0)
    house.code.gate.set()
    await house.wait_settled()
    same = await house.call("UpdateFunctionCode", FunctionName="f", ZipFile=b"zip 2", Publish=True)
    assert same["Version"] == "2" and same["State"] == "Active"


async def test_numbers_survive_deletion(database_url: str) -> None:
    """A version number is never given twice, not even after deletion, restart and re-creation."""
    async with open_house(database_url) as house:
        await house.create_settled(Publish=True)
        assert await house.call("DeleteFunction", FunctionName="f") == {"StatusCode": 204}
        await refused(house.call("DeleteFunction", FunctionName="f"), MISSING, f"Function not found: {FUNCTION_ARN}")
    async with open_house(database_url) as house:
        assert (await house.create(Publish=True))["Version"] == "2"
        await house.wait_settled()
        await house.call("DeleteFunction", FunctionName="f")
        assert (await house.create(Publish=True))["Version"] == "3"


async def test_create_twice(house: House) -> None:
    """Of creations of one name, at once or one after the other, one wins."""
    results = await asyncio.gather(*(house.create() for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(result, dict) for result in results) == 1
    await refused(house.create(), CONFLICT, "Function already exist: f")


async def test_delete_versions(house: House) -> None:
    """Versions are deleted idempotently, but not while an alias points at them; $LATEST and aliases never."""
    await house.create_settled(Publish=True)
    await house.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
    latest = "$LATEST version cannot be deleted without deleting the function."
    await refused(house.call("DeleteFunction", FunctionName="f", Qualifier="$LATEST"), INVALID, latest)
    alias = "Deletion of aliases is not currently supported."
    await refused(house.call("DeleteFunction", FunctionName="f", Qualifier="live"), INVALID, alias)
    with pytest.raises(AwsError, match="live"):
        await house.call("DeleteFunction", FunctionName="f", Qualifier="1")
    await house.call("DeleteAlias", FunctionName="f", Name="live")
    await house.call("DeleteFunction", FunctionName="f", Qualifier="1")
    await house.call("DeleteFunction", FunctionName="f", Qualifier="1")
    await house.call("DeleteFunction", FunctionName="f", Qualifier="$latest")
    assert len((await house.call("ListVersionsByFunction", FunctionName="f"))["Versions"]) == 1


async def test_aliases(house: House) -> None:
    """Aliases are made, shown, routed by weight, changed and deleted with AWS's answers and texts."""
    await house.create_settled(Publish=True)
    await house.call("UpdateFunctionCode", FunctionName="f", ZipFile=b"zip 2", Publish=True)
    await house.wait_settled()
    function_revision = (await house.call("GetFunctionConfiguration", FunctionName="f"))["RevisionId"]
    made = await house.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
    assert made == {
        "AliasArn": f"{FUNCTION_ARN}:live",
        "Name": "live",
        "FunctionVersion": "1",
        "Description": "",
        "RevisionId": made["RevisionId"],
    }
    assert (await house.call("GetFunctionConfiguration", FunctionName="f"))["RevisionId"] == function_revision
    by_alias = await house.call("GetFunctionConfiguration", FunctionName="f", Qualifier="live")
    assert (by_alias["FunctionArn"], by_alias["Version"]) == (f"{FUNCTION_ARN}:live", "1")

    async def create(**request: Any) -> dict[str, Any]:
        return await house.call("CreateAlias", FunctionName="f", **request)

    await refused(create(Name="live", FunctionVersion="1"), CONFLICT, f"Alias already exists: {FUNCTION_ARN}:live")
    await refused(create(Name="x", FunctionVersion="9"), MISSING, f"Function not found: {FUNCTION_ARN}:9")
    routed = {"AdditionalVersionWeights": {"1": 0.5}}
    untyped = await refused(
        create(Name="x", FunctionVersion="$LATEST", RoutingConfig=routed),
        INVALID,
        "$LATEST is not supported for an alias pointing to more than 1 version",
    )
    assert untyped.members == {}
    await refused(
        create(Name="x", FunctionVersion="1", RoutingConfig=routed),
        INVALID,
        "Invalid function version 1. Function version 1 is already included in routing configuration.",
    )
    await refused(
        create(Name="x", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"1": 0.5, "2": 0.5}}),
        INVALID,
        "Number of items in AdditionalVersionWeights cannot be greater than 1",
    )
    weights = {"AdditionalVersionWeights": {"2": 0.25}}
    changed = await house.call("UpdateAlias", FunctionName="f", Name="live", RoutingConfig=weights, RevisionId=made["RevisionId"])
    assert changed["RoutingConfig"] == weights and changed["RevisionId"] != made["RevisionId"]
    picked = [house.registry.resolve("000000000000", "us-east-1", "f", "live", pick) for pick in (0.0, 0.2499, 0.25, 0.99)]
    assert [target.version.version for target in picked] == ["2", "2", "1", "1"]
    assert {(target.alias, target.invoked_arn) for target in picked} == {("live", f"{FUNCTION_ARN}:live")}
    with pytest.raises(AwsError, match="Revision Id provided does not match"):
        await house.call("UpdateAlias", FunctionName="f", Name="live", RevisionId=made["RevisionId"])
    emptied = await house.call("UpdateAlias", FunctionName="f", Name="live", RoutingConfig={})
    assert "RoutingConfig" not in emptied
    await create(Name="blue", FunctionVersion="$LATEST")
    listed = await house.call("ListAliases", FunctionName="f", FunctionVersion="1")
    assert [alias["Name"] for alias in listed["Aliases"]] == ["live"]
    page = await house.call("ListAliases", FunctionName="f", MaxItems=1)
    rest = await house.call("ListAliases", FunctionName="f", Marker=page["NextMarker"])
    assert [alias["Name"] for alias in page["Aliases"] + rest["Aliases"]] == ["blue", "live"] and "NextMarker" not in rest
    await refused(house.call("GetAlias", FunctionName="f", Name="x"), MISSING, f"Cannot find alias arn: {FUNCTION_ARN}:x")
    await refused(house.call("UpdateAlias", FunctionName="f", Name="x"), MISSING, f"Alias not found: {FUNCTION_ARN}:x")
    await house.call("DeleteAlias", FunctionName="f", Name="x")


async def test_reserved_concurrency(house: House) -> None:
    """Reservations leave 100 unreserved, whoever asks at the same time; 0 blocks; the account shows the rest."""
    for name in ("f", "g", "h"):
        await house.create_settled(name)

    async def put(name: str, wanted: int) -> dict[str, Any]:
        return await house.call("PutFunctionConcurrency", FunctionName=name, ReservedConcurrentExecutions=wanted)

    results = await asyncio.gather(put("f", 500), put("g", 500), return_exceptions=True)
    assert sum(isinstance(result, AwsError) for result in results) == 1
    await house.call("DeleteFunctionConcurrency", FunctionName="g")
    await put("f", 900)
    too_much = (
        "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
        "minimum value of [100]."
    )
    assert (await refused(put("h", 1), INVALID, too_much)).members == {}
    assert await put("h", 0) == {"ReservedConcurrentExecutions": 0}
    assert (await house.call("GetFunction", FunctionName="h"))["Concurrency"] == {"ReservedConcurrentExecutions": 0}
    assert house.registry.resolve("000000000000", "us-east-1", "h", None, 0.0).reserved_concurrency == 0
    assert await house.call("GetFunctionConcurrency", FunctionName="g") == {}
    await refused(put("x", 1), MISSING, f"Function not found: {FUNCTION_ARN[:-1]}x:$LATEST")
    with pytest.raises(AwsError, match="permitted on Lambda functions only"):
        await put("f:$LATEST", 1)
    account = await house.call("GetAccountSettings")
    assert account == {
        "AccountLimit": {
            "TotalCodeSize": 322_122_547_200,
            "CodeSizeUnzipped": 262_144_000,
            "CodeSizeZipped": 52_428_800,
            "ConcurrentExecutions": 1000,
            "UnreservedConcurrentExecutions": 100,
        },
        "AccountUsage": {"TotalCodeSize": 3 * 5 + 7, "FunctionCount": 3},
    }
    await house.call("DeleteFunction", FunctionName="f")
    assert house.registry.claimed("000000000000", "us-east-1") == 0


async def test_tags(house: House) -> None:
    """Tags belong to the function, change its revision, and are refused elsewhere."""
    first = await house.create_settled(Tags={"a": "1"})
    await house.call("TagResource", Resource=FUNCTION_ARN, Tags={"b": "2"})
    second = await house.call("GetFunction", FunctionName="f")
    assert second["Tags"] == {"a": "1", "b": "2"} and second["Configuration"]["RevisionId"] != first["RevisionId"]
    await house.call("UntagResource", Resource=FUNCTION_ARN, TagKeys=["a", "b", "c"])
    assert await house.call("ListTags", Resource=FUNCTION_ARN) == {"Tags": {}}
    assert "Tags" not in await house.call("GetFunction", FunctionName="f")
    qualified = "Tags on function aliases and versions are not supported. Please specify a function ARN."
    await refused(house.call("ListTags", Resource=f"{FUNCTION_ARN}:1"), INVALID, qualified)
    empty = "An error occurred and the request cannot be processed."
    await refused(house.call("TagResource", Resource=FUNCTION_ARN, Tags={}), INVALID, empty)
    many = {f"k{number}": "" for number in range(51)}
    await refused(house.call("TagResource", Resource=FUNCTION_ARN, Tags=many), INVALID, "Number of tags exceeds resource tag limit.")
    missing = f"{FUNCTION_ARN[:-1]}x"
    await refused(house.call("ListTags", Resource=missing), MISSING, f"Function not found: {missing}")
    mapping = "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:u"
    await refused(house.call("ListTags", Resource=mapping), MISSING, f"Event source mapping not found: {mapping}")


async def test_tags_keep_what_runs(house: House) -> None:
    """A new revision alone does not make a new deployment, so environments stay warm."""
    await house.create_settled()
    heard: list[Any] = []
    house.registry.on_change(lambda key, old, new: heard.append((old, new)))
    before = house.registry.resolve("000000000000", "us-east-1", "f", None, 0.0).version
    await house.call("TagResource", Resource=FUNCTION_ARN, Tags={"b": "2"})
    after = house.registry.resolve("000000000000", "us-east-1", "f", None, 0.0).version
    assert before.deployment_id == after.deployment_id and before.revision_id != after.revision_id
    assert len(heard) == 1 and heard[0][0].latest is before and heard[0][1].latest is after


async def test_list_functions(house: House) -> None:
    """Pages hold 50 at most, markers survive deletions, ALL shows every version under qualified ARNs."""
    for number in range(60):
        await house.create(f"f{number:02}")
    await house.create_settled("a", Publish=True)
    first = await house.call("ListFunctions", MaxItems=10_000)
    assert len(first["Functions"]) == 50 and first["Functions"][0]["FunctionArn"].endswith(":a")
    assert not {"State", "RuntimeVersionConfig"} & first["Functions"][0].keys()
    await house.call("DeleteFunction", FunctionName=first["Functions"][-1]["FunctionName"])
    second = await house.call("ListFunctions", Marker=first["NextMarker"])
    names = [item["FunctionName"] for item in first["Functions"] + second["Functions"]]
    assert names == ["a", *(f"f{number:02}" for number in range(60))] and "NextMarker" not in second
    everything = await house.call("ListFunctions", FunctionVersion="ALL", MaxItems=3)
    assert [item["FunctionArn"].rpartition("function:")[2] for item in everything["Functions"]] == ["a:$LATEST", "a:1", "f00:$LATEST"]
    with pytest.raises(AwsError, match="marker"):
        await house.call("ListFunctions", Marker="!")


async def test_accounts_and_regions_do_not_meet(house: House) -> None:
    """A function is of one account and region, and others do not see it."""
    await house.create_settled()
    for account, region in (("111111111111", "us-east-1"), ("000000000000", "eu-west-1")):
        context = CallContext(account=AccountId(account), region=Region(region), request_id=CONTEXT.request_id, principal_arn="x")
        assert (await house.call("ListFunctions", context))["Functions"] == []
        with pytest.raises(AwsError, match="Function not found"):
            await house.call("GetFunction", context, FunctionName="f")


async def test_code_link(house: House) -> None:
    """The code's link opens for ten minutes, and no forged one does."""
    await house.create_settled()
    code = (await house.call("GetFunction", FunctionName="f"))["Code"]
    assert code["RepositoryType"] == "S3"
    prefix, _, token = code["Location"].rpartition("/")
    assert prefix == "http://127.0.0.1:4566/_lambdad/code"
    links = CodeLinks(b"k" * 32)
    assert links.open_code(token, NOW_MS + 599_000) == hashlib.sha256(b"zip 1").hexdigest()
    assert links.open_code(token, NOW_MS + 601_000) is None
    assert CodeLinks(b"j" * 32).open_code(token, NOW_MS) is None
    assert links.open_code("0" + token[1:], NOW_MS) is links.open_code("", NOW_MS) is None


async def test_defaults_that_tools_ask_for(house: House) -> None:
    """Terraform, SAM and the CLI read these right after a create."""
    await house.create_settled()
    assert await house.call("GetFunctionCodeSigningConfig", FunctionName="f") == {}
    assert await house.call("GetFunctionRecursionConfig", FunctionName="f") == {"RecursiveLoop": "Terminate"}
    assert await house.call("GetRuntimeManagementConfig", FunctionName="f", Qualifier="$LATEST") == {
        "UpdateRuntimeOn": "Auto",
        "FunctionArn": f"{FUNCTION_ARN}:$LATEST",
    }
    with pytest.raises(AwsError, match="Function not found"):
        await house.call("GetFunctionCodeSigningConfig", FunctionName="x")


async def test_cancelled_caller_leaves_no_half_change(house: House) -> None:
    """A change that has begun is finished when its caller goes away, and the function settles."""
    work = asyncio.ensure_future(house.create())
    for _ in range(5):
        await asyncio.sleep(0)
    work.cancel()
    await asyncio.wait([work])
    await house.wait_for(lambda function: function is not None)
    assert (await house.wait_settled())["State"] == "Active"


async def test_storage_quota(database_url: str) -> None:
    """What does not fit into the account's code storage is refused; a configuration update adds nothing."""
    async with open_house(database_url) as house:
        small = LambdaService(
            house.registry,
            house.code,
            NaiveLayers(),
            CodeLinks(b"k" * 32),
            World(now_ms=lambda: NOW_MS, new_uuid=new_uuid),
            objects=S3Code(house.s3),
            architectures=frozenset({"x86_64"}),
            code_storage_bytes=7 + 5 + 5,
        )
        house.handlers = small.service().handlers
        await house.create_settled(Publish=True)
        await refused(house.create("g"), "CodeStorageExceededException", "Code storage limit exceeded.")


async def test_resolve(house: House) -> None:
    """An invocation finds its version by any qualifier, keeps the caller's ARN, and hears AWS's texts where there is none."""
    await house.create_settled(Publish=True)

    def resolve(name: str, qualifier: str | None) -> Target:
        return house.registry.resolve(CONTEXT.account, CONTEXT.region, name, qualifier, 0.5)

    found = [resolve("f", qualifier) for qualifier in (None, "$LATEST", "1")]
    assert [target.invoked_arn for target in found] == [FUNCTION_ARN, f"{FUNCTION_ARN}:$LATEST", f"{FUNCTION_ARN}:1"]
    assert [target.version.version for target in found] == ["$LATEST", "$LATEST", "1"]
    for name, qualifier, arn in (
        ("g", None, f"{FUNCTION_ARN[:-1]}g:$LATEST"),
        ("g", "live", f"{FUNCTION_ARN[:-1]}g:live"),
        ("f", "live", f"{FUNCTION_ARN}:live"),
        ("f", "7", f"{FUNCTION_ARN}:7"),
    ):
        with pytest.raises(AwsError) as caught:
            resolve(name, qualifier)
        assert (caught.value.code, caught.value.message) == (MISSING, f"Function not found: {arn}")


async def test_policies_go_with_what_carried_them(database_url: str) -> None:
    """Deleting an alias, a version or the function deletes its policy, for good."""
    async with open_house(database_url) as house:
        await house.create_settled(Publish=True)
        await house.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="$LATEST")

        def permit(function: Function | None) -> Change[None]:
            assert function is not None
            return Change(replace(function, policies={"": "{}", "1": "{}", "live": "{}"}), None)

        function = house.registry.get(CONTEXT.account, CONTEXT.region, "f")
        assert function is not None
        await house.registry.change(function.key, permit)
        await house.call("DeleteAlias", FunctionName="f", Name="live")
        await house.call("DeleteFunction", FunctionName="f:1")
    async with open_house(database_url) as house:
        function = house.registry.get(CONTEXT.account, CONTEXT.region, "f")
        assert function is not None and function.policies == {"": "{}"}
        await house.call("DeleteFunction", FunctionName="f")
        await house.create_settled()
        function = house.registry.get(CONTEXT.account, CONTEXT.region, "f")
        assert function is not None and function.policies == {}


async def test_deleted_while_being_prepared(house: House) -> None:
    """A preparation that ends after its function was deleted and made anew settles nothing but its own."""
    house.code.gate.clear()
    await house.create()
    await house.call("DeleteFunction", FunctionName="f")
    made = await house.create(Code={"ZipFile": b"zip 2"})
    house.code.gate.set()
    settled = await house.wait_settled()
    assert settled["CodeSha256"] == made["CodeSha256"] and settled["State"] == "Active"


async def test_nothing_is_shown_that_is_not_durable(house: House) -> None:
    """Where the store refuses a change, memory keeps what was there, and the next change works."""
    await house.create_settled()
    function = house.registry.get(CONTEXT.account, CONTEXT.region, "f")
    assert function is not None
    key = function.key

    def refuse(connection: Connection) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        await house.registry.change(key, lambda old: Change(None, None, refuse))
    assert house.registry.find(key) is function
    await house.call("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=1)


IN_S3 = {"S3Bucket": "b", "S3Key": "k"}
GET_OBJECT = "Error occurred while GetObject. S3 Error Code: "


async def test_code_comes_from_s3(house: House) -> None:
    """Code in S3, whole or in pieces, in a version that is named or not, is the same as code in the request."""
    sent = (await house.create("sent"))["CodeSha256"]
    house.s3.objects["b", "k", ""] = b"zip 1"
    house.s3.objects["b", "k", "2"] = [b"zip", b" ", b"2"]
    created = await house.create_settled(Code=IN_S3)
    assert (created["CodeSha256"], created["CodeSize"]) == (sent, 5)
    dry = await house.call("UpdateFunctionCode", FunctionName="f", DryRun=True, **IN_S3, S3ObjectVersion="2")
    updated = await house.call("UpdateFunctionCode", FunctionName="f", **IN_S3, S3ObjectVersion="2", S3ObjectStorageMode="COPY")
    assert updated["CodeSha256"] == dry["CodeSha256"] != sent
    assert house.s3.closed == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"S3Bucket": "b", "S3Key": "x"}, f"{GET_OBJECT}NoSuchKey. S3 Error Message: The specified key does not exist."),
        ({"S3Bucket": "x", "S3Key": "k"}, f"{GET_OBJECT}NoSuchBucket. S3 Error Message: The specified bucket does not exist"),
        (
            {"S3Bucket": "far", "S3Key": "k"},
            f"{GET_OBJECT}PermanentRedirect. S3 Error Message: The bucket is in this region: eu-west-1. "
            "Please use this region to retry the request",
        ),
        ({"S3Bucket": "b", "S3Key": "large"}, "Unzipped size must be smaller than 262144000 bytes"),
        ({"S3Bucket": "b"}, "Please provide a source for function code."),
        ({"S3Key": "k"}, "Please provide a source for function code."),
        ({**IN_S3, "S3ObjectStorageMode": "REFERENCE"}, "S3ObjectStorageMode REFERENCE is not supported by lambdad yet."),
    ],
)
async def test_code_that_s3_does_not_give(house: House, source: dict[str, str], message: str) -> None:
    """What S3 says is passed on in AWS's words, and no function is made or changed."""
    house.s3.regions["far"] = "eu-west-1"
    house.s3.objects["b", "large", ""] = [bytes(1024 * 1024)] * 251
    await refused(house.create(Code=source), "InvalidParameterValueException", message)
    await house.create_settled()
    await refused(house.call("UpdateFunctionCode", FunctionName="f", **source), "InvalidParameterValueException", message)


async def test_s3_that_fails(house: House) -> None:
    """An S3 that is out of order is no mistake of the caller."""
    house.s3.failure = AwsError("InternalError", "We encountered an internal error. Please try again.", status=500)
    await refused(house.create(Code=IN_S3), "InternalError", "We encountered an internal error. Please try again.")

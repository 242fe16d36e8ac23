"""boto3 against `lambdad up`: waiters, paginators, what is shown when, which RevisionId changes when, and the ways to invoke."""

import base64
import itertools
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conftest import PYTHON, ROLE, Functions, Lambdad, eventually, zipped  # type: ignore[import-not-found]

ACCOUNT = "000000000000"
ECHO = "def handler(event, context):\n    return event\n"
BULKY: dict[str, str | bytes] = {"app.py": ECHO, **{f"data/{number}.txt": str(number) for number in range(1000)}}


def arn(name: str, qualifier: str = "") -> str:
    return f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}" + (f":{qualifier}" if qualifier else "")


def create(functions: Functions, name: str, **options: Any) -> dict[str, Any]:
    """Create a function without waiting for it."""
    given = {"Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": zipped({"app.py": ECHO})}, **options}
    functions.adopt(name)
    return dict(functions.client.create_function(FunctionName=name, **given))


def status(error: "pytest.ExceptionInfo[ClientError]") -> tuple[int, str, str]:
    response = error.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


# Waiters and paginators


def test_every_waiter(functions: Functions):
    """All waiters that boto3 has for Lambda come to an end."""
    client, name = functions.client, "every-waiter"
    create(functions, name)
    quick = {"Delay": 0, "MaxAttempts": 500}
    for waiter in ("function_exists", "function_active", "function_active_v2", "function_updated", "function_updated_v2"):
        client.get_waiter(waiter).wait(FunctionName=name, WaiterConfig=quick)
    client.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": "def handler(event, context):\n    return 'new'\n"}))
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig=quick)
    assert functions.invoke(name)["Payload"] == "new"
    published = client.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": ECHO}), Publish=True)
    client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier=published["Version"], WaiterConfig=quick)
    assert client.waiter_names.__len__() == 6, "a waiter is new"


def test_every_paginator(functions: Functions, lambdad: Lambdad):
    """Pages of any size have all items once; without a size, a page has at most 50."""
    client = lambdad.client("lambda", region_name="eu-north-1")
    names = [f"paged-{number}" for number in range(5)]
    code = {"ZipFile": zipped({"app.py": ECHO})}
    for name in names:
        client.create_function(FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code=code)
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 500})
    name = names[0]
    for number in range(3):
        client.update_function_configuration(FunctionName=name, Description=str(number))
        client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 500})
        client.publish_version(FunctionName=name)
    aliases = [f"alias-{number:02}" for number in range(51)]
    for alias in aliases:
        client.create_alias(FunctionName=name, Name=alias, FunctionVersion="1")
    for number in range(3):
        client.publish_layer_version(LayerName=f"layer-{number}", Content={"ZipFile": zipped({"a": "b"})})
        client.publish_layer_version(LayerName="layer-0", Content={"ZipFile": zipped({"a": str(number)})})

    def pages(operation: str, key: str, size: int, **parameters: Any) -> list[list[Any]]:
        found = client.get_paginator(operation).paginate(PaginationConfig={"PageSize": size}, **parameters)
        return [page[key] for page in found]

    def all_of(operation: str, key: str, item: str, **parameters: Any) -> list[Any]:
        found = pages(operation, key, 2, **parameters)
        assert all(len(page) <= 2 for page in found)
        return [each[item] for each in itertools.chain(*found)]

    try:
        assert all_of("list_functions", "Functions", "FunctionName") == names
        qualified = all_of("list_functions", "Functions", "FunctionArn", FunctionVersion="ALL")
        first = f"arn:aws:lambda:eu-north-1:{ACCOUNT}:function:{name}"
        assert qualified[:4] == [f"{first}:{version}" for version in ("$LATEST", "1", "2", "3")] and len(qualified) == 8
        versions = all_of("list_versions_by_function", "Versions", "Version", FunctionName=name)
        assert versions == ["$LATEST", "1", "2", "3"]
        assert all_of("list_aliases", "Aliases", "Name", FunctionName=name) == aliases
        assert all_of("list_layers", "Layers", "LayerName") == ["layer-0", "layer-1", "layer-2"]
        assert all_of("list_layer_versions", "LayerVersions", "Version", LayerName="layer-0") == [4, 3, 2, 1]
        assert [len(page) for page in pages("list_aliases", "Aliases", 10_000, FunctionName=name)] == [50, 1]
        assert all_of("list_aliases", "Aliases", "Name", FunctionName=name, FunctionVersion="2") == []
    finally:
        for each in names:
            client.delete_function(FunctionName=each)


# What is shown


def test_members_appear_when_they_are_set(functions: Functions):
    """What a function was never given is not shown; what it was given empty is."""
    client = functions.client
    name = functions.deploy(ECHO)
    bare = client.get_function_configuration(FunctionName=name)
    optional = {
        "Environment",
        "Layers",
        "VpcConfig",
        "DeadLetterConfig",
        "KMSKeyArn",
        "FileSystemConfigs",
        "StateReason",
        "ImageConfigResponse",
    }
    assert not optional & set(bare)

    def updated(**changes: Any) -> dict[str, Any]:
        client.update_function_configuration(FunctionName=name, **changes)
        functions.settle(name)
        return dict(client.get_function_configuration(FunctionName=name))

    layer = client.publish_layer_version(LayerName="members", Content={"ZipFile": zipped({"a": "b"})})
    assert updated(Environment={"Variables": {}})["Environment"] == {"Variables": {}}
    assert updated(Environment={"Variables": {"AB": "1", "CD": "2"}})["Environment"] == {"Variables": {"AB": "1", "CD": "2"}}
    assert updated(Environment={"Variables": {"EF": "3"}})["Environment"] == {"Variables": {"EF": "3"}}
    assert updated(Timeout=9)["Environment"] == {"Variables": {"EF": "3"}}
    shown = updated(Layers=[layer["LayerVersionArn"]])["Layers"]
    assert shown == [{"Arn": layer["LayerVersionArn"], "CodeSize": layer["Content"]["CodeSize"]}]
    assert "Layers" not in updated(Layers=[])
    emptied = {"SubnetIds": [], "SecurityGroupIds": [], "VpcId": "", "Ipv6AllowedForDualStack": False}
    assert updated(VpcConfig={"SubnetIds": [], "SecurityGroupIds": []})["VpcConfig"] == emptied
    assert updated(LoggingConfig={"LogFormat": "JSON"})["LoggingConfig"] == {
        "LogFormat": "JSON",
        "ApplicationLogLevel": "INFO",
        "SystemLogLevel": "INFO",
        "LogGroup": f"/aws/lambda/{name}",
    }
    assert updated(LoggingConfig={"SystemLogLevel": "WARN", "LogGroup": "/own"})["LoggingConfig"] == {
        "LogFormat": "JSON",
        "ApplicationLogLevel": "INFO",
        "SystemLogLevel": "WARN",
        "LogGroup": "/own",
    }
    assert updated(LoggingConfig={"LogFormat": "Text"})["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": "/own"}
    assert updated(TracingConfig={"Mode": "Active"})["TracingConfig"] == {"Mode": "Active"}
    client.delete_layer_version(LayerName="members", VersionNumber=layer["Version"])


def test_the_arn_is_qualified_as_the_caller_qualified_it(functions: Functions):
    """Name, partial ARN and full ARN mean the same function; the answer's ARN has the qualifier that was asked for."""
    client = functions.client
    name = functions.deploy("def handler(event, context):\n    return [context.invoked_function_arn, context.function_version]\n")
    client.publish_version(FunctionName=name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for spelt in (name, f"function:{name}", f"{ACCOUNT}:function:{name}", arn(name)):
        for qualifier, version in (("", "$LATEST"), ("$LATEST", "$LATEST"), ("1", "1"), ("live", "1")):
            inline = {"FunctionName": f"{spelt}:{qualifier}" if qualifier else spelt}
            apart = {"FunctionName": spelt, "Qualifier": qualifier} if qualifier else inline
            for asked in (inline, apart):
                shown = client.get_function(**asked)["Configuration"]
                assert (shown["FunctionArn"], shown["Version"]) == (arn(name, qualifier), version)
        answer = client.invoke(FunctionName=f"{spelt}:live")
        assert answer["ExecutedVersion"] == "1" and json.load(answer["Payload"]) == [arn(name, "live"), "1"]


def test_creating_and_updating_with_publish(functions: Functions):
    """Create with Publish shows version 1 under the bare ARN; UpdateFunctionCode with Publish shows the new version, still Pending."""
    client, name = functions.client, "published-at-once"
    made = create(functions, name, Publish=True)
    assert (made["Version"], made["FunctionArn"], made["State"]) == ("1", arn(name), "Pending")
    client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="1", WaiterConfig={"Delay": 0, "MaxAttempts": 500})
    functions.settle(name)
    other = zipped({"app.py": "def handler(event, context):\n    return 2\n"})
    before = client.get_function_configuration(FunctionName=name)
    tried = client.update_function_code(FunctionName=name, ZipFile=other, DryRun=True)
    assert tried["CodeSize"] == len(other) and client.get_function_configuration(FunctionName=name)["CodeSha256"] == before["CodeSha256"]
    updated = client.update_function_code(FunctionName=name, ZipFile=other, Publish=True)
    assert (updated["Version"], updated["FunctionArn"], updated["State"]) == ("2", arn(name, "2"), "Pending")
    assert "LastUpdateStatus" not in updated and updated["CodeSha256"] == tried["CodeSha256"]
    functions.settle(name)
    again = client.update_function_code(FunctionName=name, ZipFile=other, Publish=True)
    assert again["Version"] == "2"
    functions.settle(name)
    assert [one["Version"] for one in client.list_versions_by_function(FunctionName=name)["Versions"]] == ["$LATEST", "1", "2"]


def test_the_code_can_be_fetched(functions: Functions):
    """The link that GetFunction gives leads to the zip that was uploaded; a link that was tampered with leads nowhere."""
    content = zipped({"app.py": ECHO})
    name = functions.deploy({"app.py": ECHO})
    location = functions.client.get_function(FunctionName=name)["Code"]["Location"]
    with urllib.request.urlopen(location) as response:
        assert response.read() == content
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(location[:-1] + ("0" if location[-1] != "0" else "1"))
    assert refused.value.code == 403
    refused.value.close()


def test_version_numbers_outlive_a_function(functions: Functions):
    """A function that is deleted and made again goes on counting its versions."""
    client, name = functions.client, "counting-on"
    for expected in ("1", "2"):
        create(functions, name)
        functions.settle(name)
        assert client.publish_version(FunctionName=name)["Version"] == expected
        client.delete_function(FunctionName=name)


# Revisions


def test_what_changes_a_revision(functions: Functions):
    """A RevisionId changes with each mutation and when it settles, and not with what belongs to another resource."""
    client = functions.client
    name = functions.deploy(ECHO)
    resource = arn(name)

    def latest() -> str:
        return str(client.get_function_configuration(FunctionName=name)["RevisionId"])

    def changes(operation: str, **parameters: Any) -> bool:
        before = latest()
        getattr(client, operation)(**parameters)
        functions.settle(name)
        return latest() != before

    answered = client.update_function_configuration(FunctionName=name, Timeout=5)["RevisionId"]
    functions.settle(name)
    assert latest() != answered, "the second change, when the update has settled"
    grant = {"FunctionName": name, "StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "sns.amazonaws.com"}
    assert changes("update_function_code", FunctionName=name, ZipFile=zipped({"app.py": ECHO, "b": "c"}))
    assert changes("publish_version", FunctionName=name)
    assert changes("add_permission", **grant)
    assert client.get_policy(FunctionName=name)["RevisionId"] == latest()
    assert changes("remove_permission", FunctionName=name, StatementId="s")
    assert changes("tag_resource", Resource=resource, Tags={"a": "b"})
    assert changes("untag_resource", Resource=resource, TagKeys=["a"])
    assert not changes("create_alias", FunctionName=name, Name="live", FunctionVersion="1")
    assert not changes("update_alias", FunctionName=name, Name="live", Description="d")
    assert not changes("add_permission", **grant, Qualifier="live")
    assert not changes("put_function_concurrency", FunctionName=name, ReservedConcurrentExecutions=1)
    assert not changes("delete_function_concurrency", FunctionName=name)
    assert not changes("delete_alias", FunctionName=name, Name="live")


def test_stale_revisions(functions: Functions):
    """Whoever names a RevisionId that is not the latest is refused; whoever names the latest is not."""
    client = functions.client
    name = functions.deploy(ECHO)
    published = client.publish_layer_version(LayerName="stale", Content={"ZipFile": zipped({"a": "b"})})
    layer = {"LayerName": "stale", "VersionNumber": published["Version"]}
    grant = {"Action": "lambda:InvokeFunction", "Principal": "sns.amazonaws.com"}
    layer_grant = {**layer, "Action": "lambda:GetLayerVersion", "Principal": "*"}

    def latest(**qualifier: str) -> str:
        return str(client.get_function_configuration(FunctionName=name, **qualifier)["RevisionId"])

    def require(operation: str, call: str, current: str, **parameters: Any) -> dict[str, Any]:
        with pytest.raises(client.exceptions.PreconditionFailedException) as refused:
            getattr(client, operation)(RevisionId="00000000-0000-4000-8000-000000000000", **parameters)
        text = f"The Revision Id provided does not match the latest Revision Id. Call the {call} API to retrieve the latest Revision Id"
        assert status(refused) == (412, "PreconditionFailedException", text) and refused.value.response["Type"] == "User"
        answer = getattr(client, operation)(RevisionId=current, **parameters)
        functions.settle(name)
        return dict(answer)

    function = "GetFunction/GetAlias"
    require("update_function_configuration", function, latest(), FunctionName=name, Timeout=4)
    require("update_function_code", function, latest(), FunctionName=name, ZipFile=zipped({"app.py": ECHO, "b": "c"}))
    require("publish_version", function, latest(), FunctionName=name)
    alias = client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    require("update_alias", function, alias["RevisionId"], FunctionName=name, Name="live")
    require("add_permission", "GetPolicy", latest(), FunctionName=name, StatementId="s", **grant)
    require("remove_permission", "GetPolicy", latest(), FunctionName=name, StatementId="s")
    require("add_permission", "GetPolicy", latest(Qualifier="1"), FunctionName=name, Qualifier="1", StatementId="s", **grant)
    first = client.add_layer_version_permission(**layer_grant, StatementId="a")["RevisionId"]
    second = require("add_layer_version_permission", "GetLayerPolicy", first, **layer_grant, StatementId="b")["RevisionId"]
    assert client.get_layer_version_policy(**layer)["RevisionId"] == second != first
    require("remove_layer_version_permission", "GetLayerPolicy", second, **layer, StatementId="a")
    client.delete_layer_version(**layer)


# States


def test_what_is_refused_while_a_function_is_prepared(functions: Functions):
    """A Pending function cannot be invoked or changed; one that is updated runs on with its old code, and cannot be changed."""
    client, name = functions.client, "long-prepared"
    assert create(functions, name, Code={"ZipFile": zipped(BULKY)})["State"] == "Pending"
    pending = "The operation cannot be performed at this time. The function is currently in the following state: Pending"
    refused: list[tuple[int, str, str]] = []
    for operation in ("invoke", "publish_version", "update_function_configuration"):
        with pytest.raises(client.exceptions.ResourceConflictException) as conflict:
            getattr(client, operation)(FunctionName=name)
        refused.append(status(conflict))
    assert refused == [(409, "ResourceConflictException", pending)] * 3
    functions.settle(name)

    new = {**BULKY, "app.py": "def handler(event, context):\n    return 'new'\n"}
    assert client.update_function_code(FunctionName=name, ZipFile=zipped(new))["LastUpdateStatus"] == "InProgress"
    assert functions.invoke(name, "old")["Payload"] == "old"
    busy = f"The operation cannot be performed at this time. An update is in progress for resource: {arn(name)}"
    for operation, parameters in (
        ("publish_version", {"FunctionName": name}),
        ("update_function_configuration", {"FunctionName": name}),
        ("tag_resource", {"Resource": arn(name), "Tags": {"a": "b"}}),
    ):
        with pytest.raises(client.exceptions.ResourceConflictException) as conflict:
            getattr(client, operation)(**parameters)
        assert status(conflict) == (409, "ResourceConflictException", busy)
    assert client.get_function_configuration(FunctionName=name)["LastUpdateStatus"] == "InProgress"
    functions.settle(name)
    assert functions.invoke(name)["Payload"] == "new"


# Invoke


def test_what_an_invocation_answers(functions: Functions):
    """The headers of the three ways to invoke are AWS's, and the request's id is the one that the function sees."""
    client = functions.client
    name = functions.deploy("def handler(event, context):\n    return [event, context.aws_request_id]\n")

    def headers(**options: Any) -> tuple[int, dict[str, str], bytes]:
        answer = client.invoke(FunctionName=name, **options)
        metadata = answer["ResponseMetadata"]
        return metadata["HTTPStatusCode"], metadata["HTTPHeaders"], answer["Payload"].read()

    code, got, payload = headers()
    assert (code, got["content-type"], got["x-amz-executed-version"]) == (200, "application/json", "$LATEST")
    assert json.loads(payload) == [{}, got["x-amzn-requestid"]]
    assert not {"x-amz-function-error", "x-amz-log-result"} & set(got)
    assert got["x-amzn-trace-id"].startswith("Root=1-")
    code, got, payload = headers(InvocationType="Event", Payload="1")
    assert (code, payload) == (202, b"") and "x-amz-executed-version" not in got
    code, got, payload = headers(InvocationType="DryRun")
    assert (code, payload) == (204, b"") and "x-amz-executed-version" not in got
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    client.meta.events.register_first("before-send.lambda.Invoke", add := _Header("X-Amzn-Trace-Id", trace))
    try:
        assert headers()[1]["x-amzn-trace-id"].startswith("Root=1-5759e988-bd862e3fe1be46a994272793;")
    finally:
        client.meta.events.unregister("before-send.lambda.Invoke", add)


class _Header:
    """Adds a header to requests that are already signed."""

    def __init__(self, name: str, value: str) -> None:
        self._header = {name: value}

    def __call__(self, request: Any, **_: Any) -> None:
        request.headers.update(self._header)


def test_payloads_of_any_json(functions: Functions):
    """Whatever is JSON reaches the function as it is, and comes back."""
    name = functions.deploy(ECHO)
    for value in (None, True, 0, -1.5, "", "\u00e9\u2028\U0001f600", [], {}, {"a": [{"b": None}]}, [[[[1]]]]):
        assert functions.invoke(name, value)["Payload"] == value
    assert json.load(functions.client.invoke(FunctionName=name, Payload=b' \n{"a" : 1 }\t')["Payload"]) == {"a": 1}
    assert functions.client.invoke(FunctionName=name, Payload=b"null")["Payload"].read() == b"null"


def test_the_largest_payloads(functions: Functions):
    """6 MB for a call, 1 MB for an event, 256 KB for InvokeAsync; one byte more is refused."""
    client = functions.client
    name = functions.deploy("def handler(event, context):\n    return len(event)\n", Timeout=20)

    def text(size_bytes: int) -> bytes:
        return b'"' + b"x" * (size_bytes - 2) + b'"'

    assert json.load(client.invoke(FunctionName=name, Payload=text(6_291_456))["Payload"]) == 6_291_454
    assert client.invoke(FunctionName=name, Payload=text(1_048_576), InvocationType="Event")["StatusCode"] == 202
    assert client.invoke_async(FunctionName=name, InvokeArgs=text(262_144))["Status"] == 202
    for size_bytes, options in ((6_291_456, {}), (1_048_576, {"InvocationType": "Event"})):
        with pytest.raises(ClientError) as refused:
            client.invoke(FunctionName=name, Payload=text(size_bytes + 1), **options)
        message = f"Request must be smaller than {size_bytes} bytes for the InvokeFunction operation"
        assert status(refused) == (413, "RequestEntityTooLargeException", message)
    with pytest.raises(ClientError) as refused:
        client.invoke_async(FunctionName=name, InvokeArgs=text(262_145))
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_payloads_that_are_no_json(functions: Functions):
    """What is no JSON is refused in the words of AWS's parser, for calls and for events."""
    name = functions.deploy(ECHO)
    prefix = "Could not parse request body into json: Could not parse payload into json: "
    source = "at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: "
    for payload, text in ((b'{"\x87": 1}', f"Invalid UTF-8 start byte 0x87\n {source}3]"), (b"what", "Un"), (b"{", "Un"), (b"1 2", "Un")):
        for kind in ("RequestResponse", "Event", "DryRun"):
            with pytest.raises(functions.client.exceptions.InvalidRequestContentException) as refused:
                functions.client.invoke(FunctionName=name, Payload=payload, InvocationType=kind)
            code, _, message = status(refused)
            assert code == 400 and message.startswith(prefix + text) and refused.value.response["Type"] == "User"


def test_a_tail_has_the_last_4_kb(functions: Functions):
    """LogResult is cut to its last 4,096 bytes, wherever that is."""
    name = functions.deploy("def handler(event, context):\n    for number in range(1000):\n        print('line', number)\n")
    answer = functions.client.invoke(FunctionName=name, LogType="Tail")
    tail = base64.b64decode(answer["LogResult"])
    assert len(tail) == 4096 and b"line 999\nEND RequestId" in tail and b"START" not in tail


def test_events_and_invoke_async_run(functions: Functions):
    """What is accepted with 202 is run, with the id that was answered."""
    name = functions.deploy("def handler(event, context):\n    print('ran', event, context.aws_request_id)\n")
    client = functions.client
    for payload, operation in ((1, "event"), (2, "async")):
        if operation == "event":
            answer = client.invoke(FunctionName=name, Payload=json.dumps(payload), InvocationType="Event")
        else:
            answer = client.invoke_async(FunctionName=name, InvokeArgs=json.dumps(payload))
        line = f"ran {payload} {answer['ResponseMetadata']['RequestId']}"
        eventually(lambda line=line: line in functions.log_lines(name), line)


def test_client_contexts(functions: Functions):
    """A client context reaches the function; one that is too long or no JSON is refused."""
    name = functions.deploy("def handler(event, context):\n    return context.client_context.custom\n")

    def context(value: object) -> str:
        return base64.b64encode(json.dumps(value).encode()).decode()

    assert functions.invoke(name, ClientContext=context({"custom": {"a": "\u00e9"}}))["Payload"] == {"a": "\u00e9"}
    for bad in (context({"custom": {"a": "x" * 3000}}), context([1]), "!", context({})[:-1]):
        with pytest.raises(functions.client.exceptions.InvalidRequestContentException) as refused:
            functions.client.invoke(FunctionName=name, ClientContext=bad)
        assert status(refused)[0] == 400


def test_an_update_reaches_the_next_invocation(functions: Functions):
    """Once an update is Successful, no invocation sees what was there before it."""
    name = functions.deploy("import os\ndef handler(event, context):\n    return [os.environ.get('TURN'), 0]\n")
    for turn in range(5):
        assert functions.invoke(name)["StatusCode"] == 200
        functions.client.update_function_configuration(FunctionName=name, Environment={"Variables": {"TURN": str(turn)}})
        functions.settle(name)
        assert functions.invoke(name)["Payload"] == [str(turn), 0]
        source = f"import os\ndef handler(event, context):\n    return [os.environ.get('TURN'), {turn + 1}]\n"
        functions.client.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": source}))
        functions.settle(name)
        assert functions.invoke(name)["Payload"] == [str(turn), turn + 1]
        if turn < 4:
            functions.client.update_function_code(
                FunctionName=name, ZipFile=zipped({"app.py": "import os\ndef handler(e, c):\n    return [os.environ.get('TURN'), 0]\n"})
            )
            functions.settle(name)


@pytest.fixture(autouse=True)
def nothing_reserved(lambdad: Lambdad) -> Iterator[None]:
    """Each test leaves the account as it found it."""
    yield
    limit = lambdad.client("lambda").get_account_settings()["AccountLimit"]
    assert limit["ConcurrentExecutions"] == limit["UnreservedConcurrentExecutions"]

"""Each error that Lambda's operations document is provoked once through boto3: code, HTTP status, message, `Type`."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError

from conftest import PYTHON, ROLE, Functions, Lambdad, zipped  # type: ignore[import-not-found]

ACCOUNT = "000000000000"
NAME = "errors"
BASE = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function"
ARN = f"{BASE}:{NAME}"
NOWHERE = f"{BASE}:nowhere"
LAYER = f"arn:aws:lambda:us-east-1:{ACCOUNT}:layer:errors"
ZIP = zipped({"app.py": "def handler(event, context):\n    return event\n"})

INVALID = (400, "InvalidParameterValueException")
UNTYPED = (400, "InvalidParameterValueException", "untyped")
REJECTED = (400, "ValidationException", "untyped")
MISSING = (404, "ResourceNotFoundException")
CONFLICT = (409, "ResourceConflictException")
STALE = (412, "PreconditionFailedException")
DENIED = (403, "AccessDeniedException", "untyped")
TOO_LARGE = (413, "RequestEntityTooLargeException", "untyped")
CONTENT = (400, "InvalidRequestContentException")

REVISION = "The Revision Id provided does not match the latest Revision Id. Call the {} API to retrieve the latest Revision Id"
FUNCTION_ONLY = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
    "Please specify either a function name or an unqualified function ARN."
)
QUALIFIERS = "The derived qualifier from the function name does not match the specified qualifier."
NO_RESOURCE = "The resource you requested does not exist."
NO_UNZIP = "Could not unzip uploaded file. Please check your file, then try to upload again."
SAME_SID = "The statement id (s1) provided already exists. Please provide a new statement id, or remove the existing statement."
ALL = "…"  # stands for any text within a message


class Case(NamedTuple):
    """One call that is refused."""

    operation: str
    parameters: dict[str, Any]
    error: tuple[Any, ...]
    message: str | None

    @property
    def id(self) -> str:
        return f"{self.operation}-{self.error[1]}"


def violation(*constraints: str) -> str:
    """Write the text of AWS's front-end validation."""
    number = len(constraints)
    return f"{number} validation error{'s' if number > 1 else ''} detected: " + "; ".join(constraints)


def value(what: str, at: str, constraint: str) -> str:
    return f"Value '{what}' at '{at}' failed to satisfy constraint: {constraint}"


def null(at: str) -> str:
    return f"Value null at '{at}' failed to satisfy constraint: Member must not be null"


def creating(error: tuple[Any, ...], message: str, **changes: Any) -> Case:
    """Give a CreateFunction that is right but for some parameters; None leaves one out."""
    given = {"FunctionName": "never", "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler", "Code": {"ZipFile": ZIP}, **changes}
    return Case("create_function", {name: each for name, each in given.items() if each is not None}, error, message)


def updating(error: tuple[Any, ...], message: str, **changes: Any) -> Case:
    return Case("update_function_configuration", {"FunctionName": NAME, **changes}, error, message)


def granting(error: tuple[Any, ...], message: str, **changes: Any) -> Case:
    given = {"FunctionName": NAME, "StatementId": "s9", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", **changes}
    return Case("add_permission", given, error, message)


def aliasing(error: tuple[Any, ...], message: str, **changes: Any) -> Case:
    given = {"FunctionName": NAME, "Name": "never", "FunctionVersion": "1", **changes}
    return Case("create_alias", given, error, message)


def invoking(error: tuple[Any, ...], message: str, **changes: Any) -> Case:
    return Case("invoke", {"FunctionName": NAME, **changes}, error, message)


def weights(**versions: float) -> dict[str, Any]:
    return {"AdditionalVersionWeights": {version.lstrip("v"): weight for version, weight in versions.items()}}


AT_MOST_64 = "Member must have length less than or equal to 64"
CREATE = (
    creating(CONFLICT, f"Function already exist: {NAME}", FunctionName=NAME),
    creating(INVALID, violation(value("x" * 65, "functionName", AT_MOST_64)), FunctionName="x" * 65),
    creating(
        REJECTED, violation(f"Value 'a b' at 'functionName' failed to satisfy constraint: Member must satisfy {ALL}"), FunctionName="a b"
    ),
    creating(REJECTED, violation(null("role")), Role=None),
    creating(REJECTED, violation(f"{value('x', 'role', 'Member must satisfy regular expression pattern: arn:(aws')}{ALL}"), Role="x"),
    creating(
        REJECTED,
        violation(
            value("0", "timeout", "Member must have value greater than or equal to 1"),
            value("1", "memorySize", "Member must have value greater than or equal to 128"),
        ),
        Timeout=0,
        MemorySize=1,
    ),
    creating(INVALID, "Runtime and Handler are mandatory parameters for functions created with deployment packages.", Runtime=None),
    creating(INVALID, "Runtime and Handler are mandatory parameters for functions created with deployment packages.", Handler=None),
    creating(
        INVALID,
        f"Value python9 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{ALL}] or be a valid ARN",
        Runtime="python9",
    ),
    creating(
        INVALID,
        f"Value PYTHON3.12 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [{ALL}] or be a valid ARN",
        Runtime="PYTHON3.12",
    ),
    creating(
        INVALID,
        "The runtime parameter of python2.7 is no longer supported for creating or updating AWS Lambda functions. "
        "We recommend you use a supported runtime while creating or updating functions.",
        Runtime="python2.7",
    ),
    creating(INVALID, NO_UNZIP, Code={"ZipFile": b"no zip"}),
    creating(INVALID, f"Please don't provide ImageUri when creating a function with packageType Zip.{ALL}", Code={"ImageUri": "a/b:c"}),
    creating(INVALID, "'Timeout' value failed to satisfy constraint: Member must have value less than or equal to 900", Timeout=901),
    creating(
        INVALID, "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to 10240", MemorySize=10241
    ),
    creating(
        INVALID,
        "Lambda was unable to configure your environment variables because the environment variables you have provided contains "
        "reserved keys that are currently not supported for modification. Reserved keys used in this request: AWS_REGION",
        Environment={"Variables": {"AWS_REGION": "x"}},
    ),
    creating(
        INVALID,
        "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the "
        '4KB limit. String measured: {"AB":"' + "x" * 4096 + '"}',
        Environment={"Variables": {"AB": "x" * 4096}},
    ),
    creating(
        REJECTED,
        "1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: "
        "[Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]",  # AWS does not repeat values that may be secret
        Environment={"Variables": {"1": "x"}},
    ),
    creating(REJECTED, f"1 validation error detected: Value '[X86_64]' at 'architectures'{ALL}", Architectures=["X86_64"]),
    creating(
        REJECTED,
        violation(value("[x86_64, arm64]", "architectures", "Member must have length less than or equal to 1")),
        Architectures=["x86_64", "arm64"],
    ),
    creating(
        REJECTED,
        violation(value("On", "tracingConfig.mode", f"Member must satisfy enum value set: [{ALL}]")),
        TracingConfig={"Mode": "On"},
    ),
    creating(
        REJECTED,
        f"1 validation error detected: Value '[sg-xxx!]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: "
        f"Member must satisfy constraint: [{ALL}Member must satisfy regular expression pattern: sg-[0-9a-zA-Z]*{ALL}]",
        VpcConfig={"SecurityGroupIds": ["sg-xxx!"]},
    ),
    creating(INVALID, "Number of tags exceeds resource tag limit.", Tags={str(number): "x" for number in range(51)}),
)

LAYERS_USED = (
    creating(INVALID, "Cannot reference more than 5 layers.", Layers=[f"{LAYER}{number}:1" for number in range(6)]),
    creating(
        INVALID,
        "Two different versions of the same layer are not allowed to be referenced in the same function. "
        f"{LAYER}:1 and {LAYER}:2 are versions of the same layer.",
        Layers=[f"{LAYER}:1", f"{LAYER}:2"],
    ),
    creating(
        INVALID,
        "Two different versions of the same layer are not allowed to be referenced in the same function. "
        f"{LAYER}:1 and {LAYER}:1 are versions of the same layer.",
        Layers=[f"{LAYER}:1", f"{LAYER}:1"],
    ),
    creating(
        INVALID,
        "Layers are not in the same region as the function. Layers are expected to be in region us-east-1.",
        Layers=[f"arn:aws:lambda:eu-west-1:{ACCOUNT}:layer:errors:1"],
    ),
    creating(INVALID, f"Layer version {LAYER}:99 does not exist.", Layers=[f"{LAYER}:99"]),
    creating(REJECTED, f"1 validation error detected: Value '[{LAYER}]' at 'layers' failed to satisfy constraint: {ALL}", Layers=[LAYER]),
    creating(
        DENIED,
        f"User: {ALL} is not authorized to perform: lambda:GetLayerVersion on resource: arn:aws:lambda:us-east-1:111111111111:layer:x:1 "
        "because no resource-based policy allows the lambda:GetLayerVersion action",
        Layers=["arn:aws:lambda:us-east-1:111111111111:layer:x:1"],
    ),
)

FUNCTIONS = (
    Case("get_function", {"FunctionName": "nowhere"}, MISSING, f"Function not found: {NOWHERE}"),
    Case("get_function", {"FunctionName": "nowhere", "Qualifier": "1"}, MISSING, f"Function not found: {NOWHERE}:1"),
    Case("get_function", {"FunctionName": NAME, "Qualifier": "9"}, MISSING, f"Function not found: {ARN}:9"),
    Case("get_function", {"FunctionName": f"{NAME}:1", "Qualifier": "2"}, INVALID, QUALIFIERS),
    Case("get_function", {"FunctionName": "x" * 65}, MISSING, f"Function not found: {BASE}:{'x' * 65}"),
    Case(
        "get_function",
        {"FunctionName": f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:f"},
        MISSING,
        "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
    ),
    Case("get_function", {"FunctionName": "arn:aws:lambda:us-east-1:111111111111:function:f"}, DENIED, None),
    Case(
        "get_function",
        {"FunctionName": NAME, "Qualifier": "a b"},
        REJECTED,
        violation(value("a b", "qualifier", f"Member must satisfy regular expression pattern: {ALL}")),
    ),
    Case("get_function_configuration", {"FunctionName": "nowhere"}, MISSING, f"Function not found: {NOWHERE}"),
    Case(
        "list_functions",
        {"FunctionVersion": "SOME"},
        REJECTED,
        violation(value("SOME", "functionVersion", "Member must satisfy enum value set: [ALL]")),
    ),
    Case(
        "list_functions",
        {"MaxItems": 0},
        REJECTED,
        violation(value("0", "maxItems", "Member must have value greater than or equal to 1")),
    ),
    updating(MISSING, f"Function not found: {NOWHERE}", FunctionName="nowhere"),
    updating(STALE, REVISION.format("GetFunction/GetAlias"), RevisionId="stale"),
    updating(INVALID, "'Timeout' value failed to satisfy constraint: Member must have value less than or equal to 900", Timeout=901),
    updating(
        TOO_LARGE,
        "Request must be smaller than 5120 bytes for the UpdateFunctionConfiguration operation",
        Environment={"Variables": {"AB": "x" * 5120}},
    ),
    updating(
        INVALID,
        f"Lambda was unable to configure your environment variables because the environment variables you have provided exceeded{ALL}",
        Environment={"Variables": {"AB": "x" * 4090}},
    ),
    Case("update_function_code", {"FunctionName": "nowhere", "ZipFile": ZIP}, MISSING, f"Function not found: {NOWHERE}"),
    Case("update_function_code", {"FunctionName": NAME, "ZipFile": b"no zip"}, INVALID, NO_UNZIP),
    Case(
        "update_function_code",
        {"FunctionName": NAME, "ImageUri": "a/b:c"},
        INVALID,
        "Please don't provide ImageUri when updating a function with packageType Zip.",
    ),
    Case(
        "update_function_code",
        {"FunctionName": NAME, "ZipFile": ZIP, "RevisionId": "stale"},
        STALE,
        REVISION.format("GetFunction/GetAlias"),
    ),
    Case("delete_function", {"FunctionName": "nowhere"}, MISSING, f"Function not found: {NOWHERE}"),
    Case(
        "delete_function",
        {"FunctionName": NAME, "Qualifier": "$LATEST"},
        INVALID,
        "$LATEST version cannot be deleted without deleting the function.",
    ),
    Case("delete_function", {"FunctionName": NAME, "Qualifier": "live"}, INVALID, "Deletion of aliases is not currently supported."),
    Case("delete_function", {"FunctionName": NAME, "Qualifier": "1"}, CONFLICT, ALL),
    *(
        Case(operation, {"FunctionName": "nowhere"}, MISSING, f"Function not found: {NOWHERE}")
        for operation in ("get_function_code_signing_config", "get_runtime_management_config", "get_function_recursion_config")
    ),
)

VERSIONS_AND_ALIASES = (
    Case("publish_version", {"FunctionName": "nowhere"}, MISSING, f"Function not found: {NOWHERE}"),
    Case("publish_version", {"FunctionName": NAME, "RevisionId": "stale"}, STALE, REVISION.format("GetFunction/GetAlias")),
    Case(
        "publish_version",
        {"FunctionName": NAME, "CodeSha256": "x"},
        INVALID,
        f"CodeSHA256 (x) is different from current CodeSHA256 in $LATEST ({ALL}). Please try again with the CodeSHA256 in $LATEST.",
    ),
    Case("list_versions_by_function", {"FunctionName": "nowhere"}, MISSING, f"Function not found: {NOWHERE}"),
    aliasing(MISSING, f"Function not found: {NOWHERE}", FunctionName="nowhere"),
    aliasing(CONFLICT, f"Alias already exists: {ARN}:live", Name="live"),
    aliasing(MISSING, f"Function not found: {ARN}:9", FunctionVersion="9"),
    aliasing(
        REJECTED, f"1 validation error detected: Value '12' at 'name' failed to satisfy constraint: {ALL}(?!^[0-9]+$){ALL}", Name="12"
    ),
    aliasing(
        INVALID,
        "Number of items in AdditionalVersionWeights cannot be greater than 1",
        RoutingConfig=weights(v2=0.1, v3=0.1),
    ),
    aliasing(
        UNTYPED,
        "$LATEST is not supported for an alias pointing to more than 1 version",
        FunctionVersion="$LATEST",
        RoutingConfig=weights(v1=0.1),
    ),
    aliasing(
        UNTYPED,
        "Invalid function version 1. Function version 1 is already included in routing configuration.",
        RoutingConfig=weights(v1=0.1),
    ),
    aliasing(
        REJECTED,
        "1 validation error detected: Value '{2=2.0}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: "
        "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, "
        "Member must have value greater than or equal to 0.0, Member must not be null]",
        RoutingConfig=weights(v2=2.0),
    ),
    aliasing(
        REJECTED,
        "1 validation error detected: Value '{$LATEST=0.5}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: "
        "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, "
        "Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [0-9]+]",
        RoutingConfig={"AdditionalVersionWeights": {"$LATEST": 0.5}},
    ),
    Case("get_alias", {"FunctionName": NAME, "Name": "never"}, MISSING, f"Cannot find alias arn: {ARN}:never"),
    Case("update_alias", {"FunctionName": NAME, "Name": "never"}, MISSING, f"Alias not found: {ARN}:never"),
    Case(
        "update_alias",
        {"FunctionName": NAME, "Name": "live", "RevisionId": "stale"},
        STALE,
        REVISION.format("GetFunction/GetAlias"),
    ),
    Case("list_aliases", {"FunctionName": "nowhere"}, MISSING, f"Function not found: {NOWHERE}"),
)

UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
NEITHER = "The function resource provided must be an alias or a published version."
NOT_PROVISIONED = "No Provisioned Concurrency Config found for this function"


def providing(error: tuple[Any, ...], message: str, name: str = NAME, qualifier: str = "1", wanted: int = 1) -> Case:
    """Give a PutProvisionedConcurrencyConfig."""
    given = {"FunctionName": name, "Qualifier": qualifier, "ProvisionedConcurrentExecutions": wanted}
    return Case("put_provisioned_concurrency_config", given, error, message)


PROVISIONED_CONCURRENCY = (
    providing(INVALID, UNPUBLISHED, qualifier="$LATEST"),
    providing(MISSING, f"Function not found: {ARN}:77", qualifier="77"),
    providing(MISSING, f"Function not found: {NOWHERE}:1", name="nowhere"),
    providing(MISSING, f"Cannot find alias arn: {ARN}:none", qualifier="none"),
    providing(INVALID, QUALIFIERS, name=f"{NAME}:2"),
    providing(UNTYPED, "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [1000].", wanted=1001),
    providing(
        UNTYPED,
        "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100].",
        wanted=901,
    ),
    providing(
        REJECTED,
        violation(value("0", "provisionedConcurrentExecutions", "Member must have value greater than or equal to 1")),
        wanted=0,
    ),
    Case(
        "get_provisioned_concurrency_config",
        {"FunctionName": NAME, "Qualifier": "1"},
        (404, "ProvisionedConcurrencyConfigNotFoundException"),
        NOT_PROVISIONED,
    ),
    Case("get_provisioned_concurrency_config", {"FunctionName": NAME, "Qualifier": "$LATEST"}, INVALID, NEITHER),
    Case("get_provisioned_concurrency_config", {"FunctionName": NAME}, REJECTED, violation(null("qualifier"))),
    Case("delete_provisioned_concurrency_config", {"FunctionName": NAME, "Qualifier": "$LATEST"}, INVALID, NEITHER),
    Case("delete_provisioned_concurrency_config", {"FunctionName": NAME, "Qualifier": "77"}, MISSING, f"Function not found: {ARN}:77"),
    Case("list_provisioned_concurrency_configs", {"FunctionName": "nowhere"}, MISSING, f"Function not found: {NOWHERE}"),
    Case(
        "list_provisioned_concurrency_configs",
        {"FunctionName": NAME, "MaxItems": 51},
        REJECTED,
        violation(value("51", "maxItems", "Member must have value less than or equal to 50")),
    ),
)

CONCURRENCY_AND_TAGS = (
    Case(
        "put_function_concurrency",
        {"FunctionName": "nowhere", "ReservedConcurrentExecutions": 1},
        MISSING,
        f"Function not found: {NOWHERE}:$LATEST",
    ),
    Case("put_function_concurrency", {"FunctionName": f"{NAME}:1", "ReservedConcurrentExecutions": 1}, UNTYPED, FUNCTION_ONLY),
    Case(
        "put_function_concurrency",
        {"FunctionName": NAME, "ReservedConcurrentExecutions": 901},
        UNTYPED,
        "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
        "below its minimum value of [100].",
    ),
    Case(
        "put_function_concurrency",
        {"FunctionName": NAME, "ReservedConcurrentExecutions": -1},
        REJECTED,
        violation(value("-1", "reservedConcurrentExecutions", "Member must have value greater than or equal to 0")),
    ),
    Case("get_function_concurrency", {"FunctionName": "nowhere"}, MISSING, f"Function not found: {NOWHERE}"),
    Case("get_function_concurrency", {"FunctionName": f"{NAME}:live"}, UNTYPED, FUNCTION_ONLY),
    Case("delete_function_concurrency", {"FunctionName": "nowhere"}, MISSING, f"Function not found: {NOWHERE}"),
    Case("list_tags", {"Resource": NOWHERE}, MISSING, f"Function not found: {NOWHERE}"),
    Case(
        "list_tags",
        {"Resource": f"{ARN}:1"},
        INVALID,
        "Tags on function aliases and versions are not supported. Please specify a function ARN.",
    ),
    Case(
        "list_tags",
        {"Resource": f"{LAYER}:1"},
        REJECTED,
        f"1 validation error detected: Value '{LAYER}:1' at 'resource' failed to satisfy constraint: {ALL}",
    ),
    Case("tag_resource", {"Resource": ARN, "Tags": {}}, INVALID, "An error occurred and the request cannot be processed."),
    Case(
        "tag_resource",
        {"Resource": ARN, "Tags": {str(number): "x" for number in range(51)}},
        INVALID,
        "Number of tags exceeds resource tag limit.",
    ),
    Case("untag_resource", {"Resource": ARN}, REJECTED, violation(null("tagKeys"))),
    Case(
        "list_tags",
        {"Resource": f"arn:aws:lambda:us-east-1:{ACCOUNT}:event-source-mapping:5e5bd0a2-4bc1-4a3d-9fd5-1ef46ba0eb42"},
        MISSING,
        f"Event source mapping not found: arn:aws:lambda:us-east-1:{ACCOUNT}:event-source-mapping:5e5bd0a2-4bc1-4a3d-9fd5-1ef46ba0eb42",
    ),
)

SHELF = {"LayerName": "errors", "VersionNumber": 1}
LAYERS = (
    Case("publish_layer_version", {"LayerName": "errors", "Content": {"ZipFile": b"no zip"}}, INVALID, NO_UNZIP),
    Case(
        "publish_layer_version",
        {"LayerName": "a b", "Content": {"ZipFile": ZIP}},
        REJECTED,
        f"1 validation error detected: Value 'a b' at 'layerName' failed to satisfy constraint: {ALL}",
    ),
    Case("publish_layer_version", {"LayerName": "errors"}, REJECTED, violation(null("content"))),
    Case("get_layer_version", {**SHELF, "VersionNumber": 0}, INVALID, "Layer Version Cannot be less than 1"),
    Case("get_layer_version", {**SHELF, "VersionNumber": 99}, MISSING, NO_RESOURCE),
    Case("get_layer_version", {**SHELF, "LayerName": "nowhere"}, MISSING, NO_RESOURCE),
    Case("get_layer_version_by_arn", {"Arn": f"{LAYER}:99"}, MISSING, NO_RESOURCE),
    Case(
        "get_layer_version_by_arn",
        {"Arn": LAYER},
        REJECTED,
        f"1 validation error detected: Value '{LAYER}' at 'arn' failed to satisfy constraint: {ALL}",
    ),
    Case("delete_layer_version", {**SHELF, "VersionNumber": 0}, INVALID, "Layer Version Cannot be less than 1"),
    Case(
        "list_layers",
        {"MaxItems": 51},
        REJECTED,
        violation(value("51", "maxItems", "Member must have value less than or equal to 50")),
    ),
    Case(
        "add_layer_version_permission",
        {**SHELF, "VersionNumber": 99, "StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "*"},
        MISSING,
        f"Layer version {LAYER}:99 does not exist.",
    ),
    Case(
        "add_layer_version_permission",
        {**SHELF, "StatementId": "s1", "Action": "lambda:GetLayerVersion", "Principal": "*"},
        CONFLICT,
        SAME_SID,
    ),
    Case(
        "add_layer_version_permission",
        {**SHELF, "StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*"},
        REJECTED,
        violation(value("lambda:InvokeFunction", "action", "Member must satisfy regular expression pattern: lambda:GetLayerVersion")),
    ),
    Case(
        "add_layer_version_permission",
        {**SHELF, "StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "*", "RevisionId": "stale"},
        STALE,
        REVISION.format("GetLayerPolicy"),
    ),
    Case("get_layer_version_policy", {**SHELF, "VersionNumber": 2}, MISSING, "No policy is associated with the given resource."),
    Case("remove_layer_version_permission", {**SHELF, "StatementId": "s9"}, MISSING, "Statement s9 is not found in resource policy."),
    Case(
        "remove_layer_version_permission",
        {**SHELF, "StatementId": "s1", "RevisionId": "stale"},
        STALE,
        REVISION.format("GetLayerPolicy"),
    ),
)

PERMISSIONS = (
    granting(MISSING, f"Function not found: {NOWHERE}", FunctionName="nowhere"),
    granting(MISSING, f"Function not found: {ARN}:9", Qualifier="9"),
    granting(MISSING, f"Cannot find alias arn: {ARN}:never", Qualifier="never"),
    granting(INVALID, "We currently do not support adding policies for $LATEST.", Qualifier="$LATEST"),
    granting(INVALID, "The provided principal was invalid. Please check the principal and try again.", Principal="nobody"),
    granting(CONFLICT, SAME_SID, StatementId="s1"),
    granting(STALE, REVISION.format("GetPolicy"), RevisionId="stale"),
    granting(
        REJECTED,
        violation(value("s3:GetObject", "action", f"{ALL}(lambda:[*]|lambda:[a-zA-Z]+|[*])")),
        Action="s3:GetObject",
    ),
    granting(INVALID, f"FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action{ALL}", FunctionUrlAuthType="NONE"),
    granting(
        (400, "PolicyLengthExceededException"),
        f"The final policy size ({ALL}) is bigger than the limit (20480).",
        FunctionName=f"{NAME}-policy",
    ),
    Case("get_policy", {"FunctionName": "nowhere"}, MISSING, NO_RESOURCE),
    Case("get_policy", {"FunctionName": NAME, "Qualifier": "live"}, MISSING, NO_RESOURCE),
    Case("remove_permission", {"FunctionName": "nowhere", "StatementId": "s"}, MISSING, f"No policy found for: {NOWHERE}"),
    Case(
        "remove_permission",
        {"FunctionName": NAME, "StatementId": "s", "Qualifier": "live"},
        MISSING,
        "No policy is associated with the given resource.",
    ),
    Case("remove_permission", {"FunctionName": NAME, "StatementId": "s9"}, MISSING, "Statement s9 is not found in resource policy."),
    Case("remove_permission", {"FunctionName": NAME, "StatementId": "s1", "RevisionId": "stale"}, STALE, REVISION.format("GetPolicy")),
    Case("get_resource_policy", {"ResourceArn": NOWHERE}, MISSING, NO_RESOURCE),
    Case("delete_resource_policy", {"ResourceArn": f"{ARN}:live"}, MISSING, NO_RESOURCE),
    Case("put_resource_policy", {"ResourceArn": ARN, "Policy": "{"}, INVALID, ALL),
)

INVOKE = (
    invoking(MISSING, f"Function not found: {NOWHERE}:$LATEST", FunctionName="nowhere"),
    invoking(MISSING, f"Function not found: {NOWHERE}:live", FunctionName="nowhere", Qualifier="live"),
    invoking(MISSING, f"Function not found: {ARN}:never", Qualifier="never"),
    invoking(MISSING, f"Function not found: {ARN}:9", Qualifier="9", InvocationType="Event"),
    invoking(MISSING, f"Function not found: {NOWHERE}:$LATEST", FunctionName="nowhere", InvocationType="DryRun"),
    invoking(INVALID, QUALIFIERS, FunctionName=f"{NAME}:1", Qualifier="2"),
    invoking(
        REJECTED,
        violation(value("Later", "invocationType", f"Member must satisfy enum value set: [{ALL}]")),
        InvocationType="Later",
    ),
    invoking(
        REJECTED,
        violation(value("All", "logType", f"Member must satisfy enum value set: [{ALL}]")),
        LogType="All",
    ),
    invoking(CONTENT, f"Could not parse request body into json: Could not parse payload into json: {ALL}", Payload="{"),
    invoking(
        TOO_LARGE,
        "Request must be smaller than 6291456 bytes for the InvokeFunction operation",
        Payload=json.dumps("x" * 6_291_456),
    ),
    invoking(CONTENT, ALL, ClientContext="e" * 3584),
    invoking(DENIED, None, FunctionName="arn:aws:lambda:us-east-1:111111111111:function:f"),
    Case("invoke_async", {"FunctionName": "nowhere", "InvokeArgs": "{}"}, MISSING, f"Function not found: {NOWHERE}:$LATEST"),
    Case("invoke_async", {"FunctionName": NAME, "InvokeArgs": "{"}, CONTENT, f"Could not parse request body into json: {ALL}"),
)

NO_MAPPING = "11111111-2222-3333-4444-555555555555"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:nowhere"
NO_CONFIG = f"The function {ARN}:$LATEST doesn't have an EventInvokeConfig"
AT_LEAST_1 = "Member must have value greater than or equal to 1"
EVENT_SOURCES = (
    Case("create_event_source_mapping", {"FunctionName": "nowhere", "EventSourceArn": QUEUE}, INVALID, "Function does not exist"),
    Case(
        "create_event_source_mapping",
        {"FunctionName": NAME, "EventSourceArn": QUEUE},
        INVALID,
        "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
        "SQS Error Message: The specified queue does not exist.",
    ),
    Case("create_event_source_mapping", {"BatchSize": 0}, REJECTED, f"{ALL}{value('0', 'batchSize', AT_LEAST_1)}{ALL}"),
    Case("get_event_source_mapping", {"UUID": NO_MAPPING}, MISSING, NO_RESOURCE),
    Case("update_event_source_mapping", {"UUID": NO_MAPPING, "BatchSize": 3}, MISSING, NO_RESOURCE),
    Case("delete_event_source_mapping", {"UUID": NO_MAPPING}, MISSING, NO_RESOURCE),
    Case("list_event_source_mappings", {"MaxItems": 0}, REJECTED, violation(value("0", "maxItems", AT_LEAST_1))),
)
EVENT_INVOKE_CONFIGS = (
    Case(
        "put_function_event_invoke_config", {"FunctionName": "nowhere", "MaximumRetryAttempts": 1}, MISSING, "The function doesn't exist."
    ),
    Case(
        "put_function_event_invoke_config",
        {"FunctionName": NAME},
        INVALID,
        "You must specify at least one of error handling or destination setting.",
    ),
    Case("update_function_event_invoke_config", {"FunctionName": NAME, "MaximumRetryAttempts": 1}, MISSING, NO_CONFIG),
    Case("get_function_event_invoke_config", {"FunctionName": NAME}, MISSING, NO_CONFIG),
    Case("delete_function_event_invoke_config", {"FunctionName": NAME}, MISSING, NO_CONFIG),
    Case("list_function_event_invoke_configs", {"FunctionName": "nowhere"}, MISSING, "The function doesn't exist."),
)
CASES = (
    *CREATE,
    *LAYERS_USED,
    *FUNCTIONS,
    *VERSIONS_AND_ALIASES,
    *CONCURRENCY_AND_TAGS,
    *PROVISIONED_CONCURRENCY,
    *LAYERS,
    *PERMISSIONS,
    *INVOKE,
    *EVENT_SOURCES,
    *EVENT_INVOKE_CONFIGS,
)


@pytest.fixture(scope="module")
def client(lambdad: Lambdad) -> Iterator[Any]:
    """A client that does not check what it sends, and a function with versions, an alias, policies and layers to fail on."""
    client = lambdad.client("lambda", checks=False)
    deployed = Functions(lambdad, NAME)
    for name in (NAME, f"{NAME}-policy"):
        deployed.adopt(name)
        client.create_function(FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": ZIP})
        deployed.settle(name)
    for number in range(2):
        client.publish_version(FunctionName=NAME)
        client.publish_layer_version(LayerName="errors", Content={"ZipFile": ZIP})
        client.update_function_configuration(FunctionName=NAME, Description=str(number))
        deployed.settle(NAME)
    client.create_alias(FunctionName=NAME, Name="live", FunctionVersion="1")
    grant = {"StatementId": "s1", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    client.add_permission(FunctionName=NAME, **grant)
    client.add_layer_version_permission(**SHELF, StatementId="s1", Action="lambda:GetLayerVersion", Principal="*")
    document = {"Version": "2012-10-17", "Statement": {"Sid": "x", "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}}
    padded = json.dumps({**document, "Id": "x" * 20_300})
    client.put_resource_policy(ResourceArn=f"{ARN}-policy", Policy=padded)
    yield client
    deployed.clean()
    for number in (1, 2):
        client.delete_layer_version(LayerName="errors", VersionNumber=number)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_refusal(client: Any, case: Case):
    """The refusal has AWS's status, code, message and members."""
    with pytest.raises(ClientError) as refused:
        getattr(client, case.operation)(**case.parameters)
    response = refused.value.response
    status, code, *untyped = case.error
    message = response["Error"]["Message"]
    assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (status, code), message
    assert response.get("Type") == (None if untyped else "User")
    headers = response["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-errortype"] == code and headers["x-amzn-requestid"] and headers["content-type"] == "application/json"
    if case.message is None:
        assert not message or message == "None"
    else:
        assert like(message, case.message), f"{message!r} is not {case.message!r}"
        shape = client.meta.service_model.shape_for_error_code(code)
        if shape is not None:
            assert response["Message" if "Message" in shape.members else "message"] == message


def test_every_documented_operation_is_here(lambdad: Lambdad):
    """Each operation that is built is refused for some reason above, but for those that cannot be."""
    never = {"GetAccountSettings"}  # it takes no parameter
    idempotent = {"DeleteAlias", "ListLayerVersions"}  # they have an answer for everything
    model = lambdad.client("lambda").meta
    refused = {model.method_to_api_mapping[case.operation] for case in CASES}
    built = set()
    for method, operation in model.method_to_api_mapping.items():
        try:
            getattr(lambdad.client("lambda", checks=False), method)(**dict.fromkeys(_labels(model, operation), "x"))
        except ClientError as error:
            if error.response["Error"]["Code"] == "NotImplementedException":
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 501 and operation in error.response["Error"]["Message"]
                continue
        built.add(operation)
    assert built - refused == never | idempotent


def _labels(model: Any, operation: str) -> list[str]:
    """Give the members that are part of an operation's path."""
    shape = model.service_model.operation_model(operation).input_shape
    members = shape.members if shape is not None else {}
    return [name for name, member in members.items() if member.serialization.get("location") == "uri"]


def like(text: str, pattern: str) -> bool:
    """Say whether a text is the pattern, in which an ellipsis stands for anything."""
    first, *rest = pattern.split(ALL)
    if not rest:
        return text == pattern
    if not text.startswith(first) or not text.endswith(rest[-1]):
        return False
    at = len(first)
    for part in rest[:-1]:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return at + len(rest[-1]) <= len(text)

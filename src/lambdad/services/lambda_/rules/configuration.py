"""A function's configuration: from the API's parameters to a `FunctionVersion`.

What lambdad cannot do is refused here, in words; nothing is accepted and ignored.

Source: Lambda API Reference, CreateFunction and UpdateFunctionConfiguration.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lambdad.model import limits
from lambdad.model.function import (
    Architecture,
    FunctionKey,
    FunctionVersion,
    LayerReference,
    LogFormat,
    PackageType,
    SnapStartApplyOn,
    TracingMode,
)
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.rules import destinations, environment, runtimes, snap_start

Parameters = Mapping[str, Any]

_MANDATORY = "Runtime and Handler are mandatory parameters for functions created with deployment packages."


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """What the world has to add to a decision: new identifiers and the time."""

    revision_id: str
    deployment_id: str
    last_modified: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeReference:
    """A stored zip as a version refers to it."""

    sha256: str  # hex
    size_bytes: int
    unzipped_bytes: int


def check_create(parameters: Parameters, architectures: Collection[str]) -> None:
    """
    Check what can be checked before code is stored.

    Args:
        parameters: of CreateFunction.
        architectures: what this machine can run.

    Raises:
        InvalidParameterValue
    """
    if parameters.get("PackageType", PackageType.ZIP) != PackageType.ZIP:
        raise errors.unsupported("PackageType Image")
    if not parameters.get("Runtime") or not parameters.get("Handler"):
        raise errors.InvalidParameterValue(_MANDATORY)
    runtimes.require_creatable(parameters["Runtime"])
    check_architectures(parameters.get("Architectures"), architectures)
    check_code_source(parameters.get("Code", {}), "creating")
    if parameters.get("ImageConfig"):
        raise errors.InvalidParameterValue("Please don't provide ImageConfig when creating a function with packageType Zip.")
    if parameters.get("CodeSigningConfigArn"):
        raise errors.unsupported("CodeSigningConfigArn")
    if parameters.get("PublishTo"):
        raise errors.unsupported("PublishTo")
    if len(parameters.get("Tags") or {}) > limits.TAGS_PER_RESOURCE:
        raise errors.InvalidParameterValue("Number of tags exceeds resource tag limit.")
    _check_settings(parameters)
    snap_start.check(
        (parameters.get("SnapStart") or {}).get("ApplyOn", SnapStartApplyOn.NONE),
        parameters["Runtime"],
        (parameters.get("EphemeralStorage") or {}).get("Size", limits.EPHEMERAL_STORAGE_DEFAULT_MIB),
    )


def check_update(parameters: Parameters) -> None:
    """
    Check the parameters of UpdateFunctionConfiguration.

    Raises:
        InvalidParameterValue
    """
    if parameters.get("Runtime"):
        runtimes.require_updatable(parameters["Runtime"])
    if parameters.get("ImageConfig"):
        raise errors.InvalidParameterValue("Please don't provide ImageConfig when updating a function with packageType Zip.")
    _check_settings(parameters)


def check_architectures(wanted: Sequence[str] | None, available: Collection[str]) -> None:
    """
    Refuse an architecture that this machine cannot run.

    Raises:
        InvalidParameterValue
    """
    for architecture in wanted or ():
        if architecture not in available:
            raise errors.InvalidParameterValue(
                f"The architecture {architecture} is not supported by this machine, which runs {', '.join(sorted(available))}."
            )


def check_code_source(code: Parameters, doing: str) -> None:
    """
    Check where code comes from: exactly one source, in the request or in S3.

    Args:
        doing: "creating" or "updating", for the text.

    Raises:
        InvalidParameterValue
    """
    if code.get("ImageUri"):
        raise errors.InvalidParameterValue(f"Please don't provide ImageUri when {doing} a function with packageType Zip.")
    in_s3 = any(code.get(name) for name in ("S3Bucket", "S3Key", "S3ObjectVersion"))
    if in_s3 and "ZipFile" in code:
        raise errors.InvalidParameterValue("Please do not provide other FunctionCode parameters when providing a ZipFile.")
    if code.get("S3ObjectStorageMode") == "REFERENCE":
        raise errors.unsupported("S3ObjectStorageMode REFERENCE")
    if "ZipFile" not in code and not (code.get("S3Bucket") and code.get("S3Key")):
        raise errors.InvalidParameterValue("Please provide a source for function code.")
    if code.get("SourceKMSKeyArn"):
        raise errors.unsupported("SourceKMSKeyArn")


def _check_settings(parameters: Parameters) -> None:
    _within("Timeout", parameters.get("Timeout"), 1, limits.TIMEOUT_MAX_S)
    _within("MemorySize", parameters.get("MemorySize"), limits.MEMORY_MIN_MIB, limits.MEMORY_MAX_MIB)
    _within(
        "EphemeralStorage.Size",
        (parameters.get("EphemeralStorage") or {}).get("Size"),
        limits.EPHEMERAL_STORAGE_MIN_MIB,
        limits.EPHEMERAL_STORAGE_MAX_MIB,
    )
    environment.check((parameters.get("Environment") or {}).get("Variables") or {})
    vpc = parameters.get("VpcConfig") or {}
    if vpc.get("SubnetIds") or vpc.get("SecurityGroupIds"):
        raise errors.unsupported("VpcConfig")
    destinations.check_dead_letter_target((parameters.get("DeadLetterConfig") or {}).get("TargetArn", ""))
    for name in ("KMSKeyArn", "FileSystemConfigs"):
        if parameters.get(name):
            raise errors.unsupported(name)
    for name in ("TenancyConfig", "CapacityProviderConfig", "DurableConfig", "RuntimeConfig", "AcceleratorConfig"):
        if parameters.get(name) is not None:
            raise errors.unsupported(name)


def _within(name: str, value: int | None, least: int, most: int) -> None:
    if value is None:
        return
    text = f"'{name}' value failed to satisfy constraint: Member must have value"
    if value < least:
        raise errors.InvalidParameterValue(f"{text} greater than or equal to {least}")
    if value > most:
        raise errors.InvalidParameterValue(f"{text} less than or equal to {most}")


def create(key: FunctionKey, parameters: Parameters, code: CodeReference, layers: tuple[LayerReference, ...], ids: Ids) -> FunctionVersion:
    """
    Make the ``$LATEST`` of a new function, with AWS's defaults; its state is set by `rules.lifecycle`.

    Args:
        parameters: of CreateFunction, checked by `check_create`.
    """
    architectures = parameters.get("Architectures") or [Architecture.X86_64]
    bare = FunctionVersion(
        account=key.account,
        region=key.region,
        name=key.name,
        deployment_id=ids.deployment_id,
        revision_id=ids.revision_id,
        last_modified=ids.last_modified,
        runtime=None,
        handler=None,
        role="",
        timeout_s=limits.TIMEOUT_DEFAULT_S,
        memory_mib=limits.MEMORY_DEFAULT_MIB,
        ephemeral_storage_mib=limits.EPHEMERAL_STORAGE_DEFAULT_MIB,
        architectures=tuple(Architecture(one) for one in architectures),
        code_sha256=code.sha256,
        code_size_bytes=code.size_bytes,
        code_unzipped_bytes=code.unzipped_bytes,
        log_group=f"/aws/lambda/{key.name}",
    )
    version = update(bare, parameters, layers, ids)
    return replace(version, has_vpc_config=False)


def update(version: FunctionVersion, parameters: Parameters, layers: tuple[LayerReference, ...] | None, ids: Ids) -> FunctionVersion:
    """
    Apply a partial update: absent members keep their value, structures replace theirs, LoggingConfig merges.

    Raises:
        InvalidParameterValue: the settings together are impossible (SnapStart).

    Args:
        parameters: of UpdateFunctionConfiguration (or CreateFunction), checked.
        layers: the new ones, resolved; None keeps those there are.
    """
    changes: dict[str, Any] = {
        field: parameters[name]
        for name, field in (
            ("Role", "role"),
            ("Runtime", "runtime"),
            ("Handler", "handler"),
            ("Description", "description"),
            ("Timeout", "timeout_s"),
            ("MemorySize", "memory_mib"),
        )
        if parameters.get(name) is not None
    }
    if "runtime" in changes:
        changes["runtime_version_arn"] = runtimes.version_arn(version.region, changes["runtime"])
    if parameters.get("Environment") is not None:
        changes["environment"] = dict(parameters["Environment"].get("Variables") or {})
    if (parameters.get("EphemeralStorage") or {}).get("Size") is not None:
        changes["ephemeral_storage_mib"] = parameters["EphemeralStorage"]["Size"]
    if (parameters.get("TracingConfig") or {}).get("Mode"):
        changes["tracing_mode"] = TracingMode(parameters["TracingConfig"]["Mode"])
    if parameters.get("LoggingConfig") is not None:
        changes.update(_logging(version, parameters["LoggingConfig"]))
    if parameters.get("DeadLetterConfig") is not None:
        changes["dead_letter_target"] = parameters["DeadLetterConfig"].get("TargetArn") or ""
    if parameters.get("VpcConfig") is not None:
        changes["has_vpc_config"] = True
    if layers is not None:
        changes["layers"] = layers
    if (parameters.get("SnapStart") or {}).get("ApplyOn"):
        changes["snap_start"] = SnapStartApplyOn(parameters["SnapStart"]["ApplyOn"])
    changed = replace(
        version,
        **changes,
        revision_id=ids.revision_id,
        deployment_id=ids.deployment_id,
        last_modified=ids.last_modified,
    )
    snap_start.check(changed.snap_start, changed.runtime or "", changed.ephemeral_storage_mib)
    return changed


def update_code(version: FunctionVersion, code: CodeReference, architectures: Sequence[str] | None, ids: Ids) -> FunctionVersion:
    """Give a version other code, and another architecture where one was named."""
    return replace(
        version,
        code_sha256=code.sha256,
        code_size_bytes=code.size_bytes,
        code_unzipped_bytes=code.unzipped_bytes,
        architectures=tuple(Architecture(one) for one in architectures) if architectures else version.architectures,
        revision_id=ids.revision_id,
        deployment_id=ids.deployment_id,
        last_modified=ids.last_modified,
    )


def _logging(version: FunctionVersion, config: Parameters) -> dict[str, Any]:
    """Merge a LoggingConfig into what a version has; levels exist only for JSON, and default to INFO there."""
    log_format = LogFormat(config.get("LogFormat") or version.log_format)
    levels = {
        "application_log_level": config.get("ApplicationLogLevel") or version.application_log_level,
        "system_log_level": config.get("SystemLogLevel") or version.system_log_level,
    }
    if log_format is LogFormat.TEXT:
        if config.get("ApplicationLogLevel") or config.get("SystemLogLevel"):
            raise errors.InvalidParameterValue("ApplicationLogLevel and SystemLogLevel can only be set when LogFormat is JSON.")
        levels = {"application_log_level": None, "system_log_level": None}
    else:
        levels = {name: level or "INFO" for name, level in levels.items()}
    return {"log_format": log_format, "log_group": config.get("LogGroup") or version.log_group, **levels}

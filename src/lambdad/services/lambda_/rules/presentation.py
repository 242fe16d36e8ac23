"""Functions, versions and aliases as the API shows them.

Source: Lambda API Reference, FunctionConfiguration and AliasConfiguration; which member is present when was recorded.
"""

import base64
from datetime import UTC, datetime
from typing import Any

from lambdad.model.function import Alias, FunctionVersion, LogFormat, State


def timestamp(at_ms: int) -> str:
    """Format a time as functions show it: ``2025-11-25T02:26:54.000+0000``."""
    at = datetime.fromtimestamp(at_ms // 1000, tz=UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}+0000"


def timestamp_s(at_ms: int) -> str:
    """Format a time as configurations of provisioned concurrency show it: ``2025-11-25T02:42:49+0000``."""
    return f"{datetime.fromtimestamp(at_ms // 1000, tz=UTC):%Y-%m-%dT%H:%M:%S}+0000"


def code_sha256(digest_hex: str) -> str:
    """Give a digest as the API shows it, in base64."""
    return base64.b64encode(bytes.fromhex(digest_hex)).decode()


def configuration(version: FunctionVersion, arn: str) -> dict[str, Any]:
    """
    Show one version, as single-object calls do.

    Args:
        arn: qualified as the operation and its caller qualify it.
    """
    shown = in_list(version, arn)
    shown["State"] = version.state.value
    if version.state is not State.ACTIVE:
        _put(shown, "StateReason", version.state_reason)
        _put(shown, "StateReasonCode", version.state_reason_code)
    if version.last_update_status is not None:
        shown["LastUpdateStatus"] = version.last_update_status.value
        _put(shown, "LastUpdateStatusReason", version.last_update_status_reason)
        _put(shown, "LastUpdateStatusReasonCode", version.last_update_status_reason_code)
    if version.runtime_version_arn is not None:
        shown["RuntimeVersionConfig"] = {"RuntimeVersionArn": version.runtime_version_arn}
    return shown


def in_list(version: FunctionVersion, arn: str) -> dict[str, Any]:
    """Show one version as lists do: without states and the runtime's version."""
    shown: dict[str, Any] = {
        "FunctionName": version.name,
        "FunctionArn": arn,
        "Role": version.role,
        "CodeSize": version.code_size_bytes,
        "Description": version.description,
        "Timeout": version.timeout_s,
        "MemorySize": version.memory_mib,
        "LastModified": version.last_modified,
        "CodeSha256": code_sha256(version.code_sha256),
        "Version": version.version,
        "TracingConfig": {"Mode": version.tracing_mode.value},
        "RevisionId": version.revision_id,
        "PackageType": version.package_type.value,
        "Architectures": [architecture.value for architecture in version.architectures],
        "EphemeralStorage": {"Size": version.ephemeral_storage_mib},
        "SnapStart": {
            "ApplyOn": version.snap_start.value,
            "OptimizationStatus": "On" if version.has_snapshots and version.state is State.ACTIVE else "Off",
        },
        "LoggingConfig": _logging(version),
    }
    _put(shown, "Runtime", version.runtime)
    _put(shown, "Handler", version.handler)
    if version.environment is not None:
        shown["Environment"] = {"Variables": dict(version.environment)}
    if version.layers:
        shown["Layers"] = [{"Arn": layer.arn, "CodeSize": layer.code_size_bytes} for layer in version.layers]
    if version.dead_letter_target:
        shown["DeadLetterConfig"] = {"TargetArn": version.dead_letter_target}
    if version.has_vpc_config:
        shown["VpcConfig"] = {
            "SubnetIds": [],
            "SecurityGroupIds": [],
            "VpcId": "",
            "Ipv6AllowedForDualStack": False,
        }
    return shown


def alias(shown: Alias) -> dict[str, Any]:
    """Show an alias; a routing of nothing is left out."""
    output: dict[str, Any] = {
        "AliasArn": shown.arn,
        "Name": shown.name,
        "FunctionVersion": shown.function_version,
        "Description": shown.description,
        "RevisionId": shown.revision_id,
    }
    if shown.additional:
        output["RoutingConfig"] = {"AdditionalVersionWeights": dict(shown.additional)}
    return output


def _logging(version: FunctionVersion) -> dict[str, Any]:
    shown: dict[str, Any] = {"LogFormat": version.log_format.value}
    if version.log_format is LogFormat.JSON:
        _put(shown, "ApplicationLogLevel", version.application_log_level)
        _put(shown, "SystemLogLevel", version.system_log_level)
    shown["LogGroup"] = version.log_group
    return shown


def _put(shown: dict[str, Any], name: str, value: object) -> None:
    if value is not None:
        shown[name] = value

"""SnapStart: which functions may have it, and what is shown of one whose Init phase failed.

Source: Lambda developer guide, "Improving startup performance with Lambda SnapStart".
"""

from lambdad.model import limits
from lambdad.model.function import FunctionVersion, SnapStartApplyOn, StateReasonCode
from lambdad.runtimes import catalogue
from lambdad.runtimes.catalogue import Family
from lambdad.services.lambda_ import errors

# The oldest version of each language that has it on AWS.
_OLDEST = {Family.PYTHON: (3, 12), Family.JAVA: (11,), Family.DOTNET: (8,)}
_HERE = frozenset({Family.PYTHON})
_REASON_CODES = {
    "Sandbox.Timedout": StateReasonCode.FUNCTION_ERROR_INIT_TIMEOUT,
    "Runtime.InvalidEntrypoint": StateReasonCode.FUNCTION_ERROR_INVALID_ENTRYPOINT,
    "Runtime.OutOfMemory": StateReasonCode.FUNCTION_ERROR_INIT_RESOURCES,
    "InvalidRuntime": StateReasonCode.INVALID_RUNTIME,
    "InternalError": StateReasonCode.INTERNAL_ERROR,
}
_REASON_CHARACTERS = 1024


def applies(latest: FunctionVersion) -> bool:
    """Say whether what is published of a function gets a snapshot."""
    return latest.snap_start is SnapStartApplyOn.PUBLISHED_VERSIONS


def check(apply_on: str, runtime: str, ephemeral_storage_mib: int) -> None:
    """
    Refuse SnapStart where AWS does, and where lambdad has none.

    Raises:
        InvalidParameterValue
    """
    if apply_on != SnapStartApplyOn.PUBLISHED_VERSIONS:
        return
    known = catalogue.find(runtime)
    if known is None or known.family not in _OLDEST or known.version < _OLDEST[known.family]:
        raise errors.InvalidParameterValue(f"{runtime} is not supported for SnapStart enabled functions.")
    if ephemeral_storage_mib > limits.EPHEMERAL_STORAGE_DEFAULT_MIB:
        raise errors.InvalidParameterValue(
            f"EphemeralStorage.Size larger than {limits.EPHEMERAL_STORAGE_DEFAULT_MIB} MB is not supported for SnapStart enabled functions."
        )
    if known.family not in _HERE:
        raise errors.unsupported(f"SnapStart for {runtime}")


def build_failure(error_type: str, reason: str) -> tuple[str, StateReasonCode]:
    """Return the StateReason and the StateReasonCode of a version whose Init phase failed."""
    code = _REASON_CODES.get(error_type, StateReasonCode.FUNCTION_ERROR_RUNTIME_INIT)
    if code in (StateReasonCode.INVALID_RUNTIME, StateReasonCode.INTERNAL_ERROR, StateReasonCode.FUNCTION_ERROR_INIT_TIMEOUT):
        return reason[:_REASON_CHARACTERS], code
    return f"The function could not be initialized: {error_type}: {reason}"[:_REASON_CHARACTERS], code

"""The platform's own words: payloads of errors that it makes, and the lines that it writes to a function's log.

Source: AWS Lambda developer guide, "Viewing logs"; error types as the Runtime Interface Emulator and the service make them.
"""

import json
import math
import re
import signal
from collections.abc import Sequence

RESPONSE_LIMIT_BYTES = 6_291_556
_ERROR_TYPE = re.compile(r"(Runtime|Function|Extension|Sandbox)\.[A-Z][a-zA-Z]+\Z")
_SIGNAL_WORDS = {
    signal.SIGKILL: "killed",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGABRT: "aborted",
    signal.SIGTERM: "terminated",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "floating point exception",
    signal.SIGILL: "illegal instruction",
    signal.SIGINT: "interrupt",
    signal.SIGTRAP: "trace/breakpoint trap",
    signal.SIGHUP: "hangup",
    signal.SIGQUIT: "quit",
    signal.SIGPIPE: "broken pipe",
    signal.SIGSYS: "bad system call",
}


def platform_error(error_type: str, request_id: str, text: str) -> bytes:
    """Return the payload of an error that the platform makes for an invocation."""
    body = {"errorType": error_type, "errorMessage": f"RequestId: {request_id} Error: {text}"}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def response_too_large() -> bytes:
    """Return the payload for an answer over 6 MB (no request id in it, other order of keys, as AWS has it)."""
    message = f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT_BYTES} bytes)."
    body = {"errorMessage": message, "errorType": "Function.ResponseSizeTooLarge"}
    return json.dumps(body, separators=(",", ":")).encode()


def exit_text(exit_code: int | None, exit_signal: int | None) -> str:
    """Say how a runtime ended, in AWS's words."""
    if exit_signal is not None:
        return f"Runtime exited with error: signal: {_SIGNAL_WORDS.get(exit_signal, str(exit_signal))}"  # type: ignore[call-overload]
    if exit_code:
        return f"Runtime exited with error: exit status {exit_code}"
    return "Runtime exited without providing a reason"


def timeout_text(timeout_s: float) -> str:
    return f"Task timed out after {timeout_s:.2f} seconds"


def normal_error_type(given: str, otherwise: str = "Function.Unknown") -> str:
    """Return the error type that a runtime gave in its header, if it has the form that AWS keeps."""
    return given if _ERROR_TYPE.match(given) else otherwise


def billed_ms(duration_ms: float, init_ms: float = 0.0) -> int:
    """Return what is billed: duration and a cold start's Init together, rounded up to a millisecond."""
    return math.ceil(round(duration_ms + init_ms, 6))


def init_start_line(runtime_version: str, runtime_version_arn: str) -> str:
    return f"INIT_START Runtime Version: {runtime_version}\tRuntime Version ARN: {runtime_version_arn}"


def restore_start_line(runtime_version: str, runtime_version_arn: str) -> str:
    return f"RESTORE_START Runtime Version: {runtime_version}\tRuntime Version ARN: {runtime_version_arn}"


def restore_report_line(*, restore_ms: float, status: str = "", error_type: str = "") -> str:
    return f"RESTORE_REPORT Restore Duration: {restore_ms:.2f} ms" + _status(status, error_type, start="\t")


def start_line(request_id: str, version: str) -> str:
    return f"START RequestId: {request_id} Version: {version}"


def end_line(request_id: str) -> str:
    return f"END RequestId: {request_id}"


def report_line(
    request_id: str,
    *,
    duration_ms: float,
    billed: int,
    memory_mib: int,
    max_memory_mib: int,
    init_ms: float | None,
    restore_ms: float | None = None,
    billed_restore_ms: int = 0,
    status: str = "",
    error_type: str = "",
) -> str:
    """Return the REPORT line; it ends in a tab, as AWS's does. `status` is "", "timeout" or "error"."""
    line = (
        f"REPORT RequestId: {request_id}\tDuration: {duration_ms:.2f} ms\tBilled Duration: {billed} ms"
        f"\tMemory Size: {memory_mib} MB\tMax Memory Used: {max_memory_mib} MB\t"
    )
    if init_ms is not None:
        line += f"Init Duration: {init_ms:.2f} ms\t"
    if restore_ms is not None:
        line += f"Restore Duration: {restore_ms:.2f} ms\tBilled Restore Duration: {billed_restore_ms} ms\t"
    return line + _status(status, error_type, end="\t")


def init_report_line(*, init_ms: float, phase: str, status: str, error_type: str = "") -> str:
    return f"INIT_REPORT Init Duration: {init_ms:.2f} ms\tPhase: {phase}" + _status(status, error_type, start="\t")


def _status(status: str, error_type: str, *, start: str = "", end: str = "") -> str:
    if not status:
        return ""
    text = f"{start}Status: {status}{end}"
    return text + (f"{start}Error Type: {error_type}{end}" if error_type else "")


def program_exit_text(exit_code: int | None, exit_signal: int | None) -> str:
    """Say how an extension ended, in AWS's words."""
    if exit_signal is not None:
        return f"signal: {_SIGNAL_WORDS.get(exit_signal, str(exit_signal))}"  # type: ignore[call-overload]
    return f"exit status {exit_code or 0}"


def extension_line(name: str, state: str, events: Sequence[str], error_type: str = "") -> str:
    line = f"EXTENSION\tName: {name}\tState: {state}\tEvents: [{', '.join(events)}]"
    return line + (f"\tError Type: {error_type}" if error_type else "")


def subscription_line(word: str, name: str, types: Sequence[str]) -> str:
    """Return the TELEMETRY or LOGS line."""
    return f"{word}\tName: {name}\tState: Subscribed\tTypes: [{', '.join(one.capitalize() for one in types)}]"

"""The platform's lines in one environment's log, as text or as JSON, whichever its LoggingConfig asks for.

Source: AWS Lambda developer guide, "Configuring JSON and plain text log formats"; level filters as listed there.
"""

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass

from lambdad.machines import platform_text
from lambdad.wire import frames

_LEVELS = {"DEBUG": 0, "INFO": 1, "WARN": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The figures of one invocation."""

    request_id: str
    duration_ms: float
    billed_ms: int
    max_memory_mib: int
    init_ms: float | None
    status: str = ""  # "timeout" or "error" where the platform ended it; "" where the runtime answered, be it with an error
    error_type: str = ""
    succeeded: bool = True


class PlatformLog:
    """Write INIT_START, START, END, REPORT and their JSON twins."""

    def __init__(
        self,
        spec: frames.EnvironmentSpec,
        runtime_version: str,
        runtime_version_arn: str,
        emit: Callable[[str], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._spec = spec
        self._runtime_version = runtime_version
        self._runtime_version_arn = runtime_version_arn
        self._emit = emit
        self._now_ms = now_ms
        self._json = spec.log_format == "JSON"
        self._least = _LEVELS.get(spec.system_log_level or "INFO", 1)

    def init_start(self) -> None:
        if self._json:
            record = {
                "initializationType": self._spec.initialization_type,
                "phase": "init",
                "runtimeVersion": self._runtime_version,
                "runtimeVersionArn": self._runtime_version_arn,
                "functionName": self._spec.function_name,
                "functionVersion": self._spec.version,
                "instanceId": self._spec.environment_id,
                "instanceMaxMemory": self._spec.memory_mib,
            }
            self._event("platform.initStart", record, "INFO")
        else:
            self._emit(platform_text.init_start_line(self._runtime_version, self._runtime_version_arn))

    def init_report(self, *, init_ms: float, phase: str, status: str, error_type: str) -> None:
        if self._json:
            record: dict[str, object] = {
                "initializationType": self._spec.initialization_type,
                "phase": phase,
                "status": status or "success",
                "metrics": {"durationMs": round(init_ms, 3)},
            }
            if error_type:
                record["errorType"] = error_type
            self._event("platform.initReport", record, "WARN" if status else "DEBUG")
        elif status:
            self._emit(platform_text.init_report_line(init_ms=init_ms, phase=phase, status=status, error_type=error_type))

    def start(self, request_id: str, invoked_arn: str) -> None:
        if self._json:
            record: dict[str, object] = {"requestId": request_id, "functionArn": invoked_arn, "version": self._spec.version}
            self._event("platform.start", record, "INFO")
        else:
            self._emit(platform_text.start_line(request_id, self._spec.version))

    def failed(self, request_id: str, text: str, error_type: str, at_ms: int) -> None:
        """Write the lines that people look for after a timeout or a crash."""
        if self._json:
            return
        if error_type == "Sandbox.Timedout":
            self._emit(f"{_iso(at_ms)} {request_id} {text}")
        else:
            self._emit(f"RequestId: {request_id} Error: {text}")
            self._emit(error_type)

    def end(self, report: Report) -> None:
        if self._json:
            metrics: dict[str, object] = {
                "durationMs": round(report.duration_ms, 3),
                "billedDurationMs": report.billed_ms,
                "memorySizeMB": self._spec.memory_mib,
                "maxMemoryUsedMB": report.max_memory_mib,
            }
            if report.init_ms is not None:
                metrics["initDurationMs"] = round(report.init_ms, 3)
            record: dict[str, object] = {
                "requestId": report.request_id,
                "metrics": metrics,
                "status": report.status or ("success" if report.succeeded else "error"),
            }
            if report.error_type:
                record["errorType"] = report.error_type
            self._event("platform.report", record, "WARN" if report.status else "INFO")
            return
        self._emit(platform_text.end_line(report.request_id))
        self._emit(
            platform_text.report_line(
                report.request_id,
                duration_ms=report.duration_ms,
                billed=report.billed_ms,
                memory_mib=self._spec.memory_mib,
                max_memory_mib=report.max_memory_mib,
                init_ms=report.init_ms,
                status=report.status,
                error_type=report.error_type,
            )
        )

    def _event(self, kind: str, record: dict[str, object], level: str) -> None:
        if _LEVELS[level] >= self._least:
            body = {"time": _iso(self._now_ms()), "type": kind, "record": record}
            self._emit(json.dumps(body, separators=(",", ":"), ensure_ascii=False))


def _iso(at_ms: int) -> str:
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"

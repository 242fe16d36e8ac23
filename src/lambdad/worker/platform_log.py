"""The platform's lines in one environment's log, as text or as JSON, whichever its LoggingConfig asks for.

Source: AWS Lambda developer guide, "Configuring JSON and plain text log formats"; level filters as listed there.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from lambdad.machines import platform_text, telemetry
from lambdad.wire import frames

_LEVELS = {"DEBUG": 0, "INFO": 1, "WARN": 2}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one invocation."""

    request_id: str
    duration_ms: float
    billed_ms: int
    max_memory_mib: int
    init_ms: float | None
    restore_ms: float | None = None
    billed_restore_ms: int = 0
    status: str = ""  # "timeout" or "error" where the platform ended it; "" where the runtime answered, be it with an error
    error_type: str = ""
    succeeded: bool = True
    extensions_ms: float | None = None  # what the extensions took after the runtime was done; None where there are none


class Observer(Protocol):
    """Who else hears of the platform's events, whatever the log format: the subscribers of the Telemetry API."""

    listening: bool

    def platform(self, kind: str, record: Mapping[str, telemetry.Json] | str) -> None: ...


class PlatformLog:
    """Write INIT_START, RESTORE_START, START, END, REPORT and their JSON twins."""

    def __init__(
        self,
        spec: frames.EnvironmentSpec,
        runtime_version: str,
        runtime_version_arn: str,
        emit: Callable[[str], None],
        now_ms: Callable[[], int],
        observer: Observer | None = None,
    ) -> None:
        self._observer = observer
        self._spec = spec
        self._runtime_version = runtime_version
        self._runtime_version_arn = runtime_version_arn
        self._emit = emit
        self._now_ms = now_ms
        self._json = spec.log_format == "JSON"
        self._least = _LEVELS.get(spec.system_log_level or "INFO", 1)

    @property
    def _recorded(self) -> bool:
        """Say whether anybody wants records."""
        return self._json or (self._observer is not None and self._observer.listening)

    def init_start(self, phase: str = "init") -> None:
        if self._recorded:
            record: dict[str, telemetry.Json] = {
                "initializationType": self._spec.initialization_type,
                "phase": phase,
                **self._who(),
            }
            self._event("platform.initStart", record, "INFO")
        if not self._json:
            self._emit(platform_text.init_start_line(self._runtime_version, self._runtime_version_arn))

    def _who(self) -> dict[str, telemetry.Json]:
        return {
            "runtimeVersion": self._runtime_version,
            "runtimeVersionArn": self._runtime_version_arn,
            "functionName": self._spec.function_name,
            "functionVersion": self._spec.version,
            "instanceId": self._spec.environment_id,
            "instanceMaxMemory": self._spec.memory_mib,
        }

    def restore_start(self) -> None:
        if self._json:
            self._event("platform.restoreStart", self._who(), "INFO")
        else:
            self._emit(platform_text.restore_start_line(self._runtime_version, self._runtime_version_arn))

    def restore_report(self, *, restore_ms: float, status: str = "", error_type: str = "") -> None:
        """Say how a restore ended; `status` is "" for success, else "timeout" or "error"."""
        if not self._json:
            self._emit(platform_text.restore_report_line(restore_ms=restore_ms, status=status, error_type=error_type))
            return
        record: dict[str, telemetry.Json] = {"status": status or "success"}
        if error_type:
            record["errorType"] = error_type
        self._event("platform.restoreRuntimeDone", record, "WARN" if status else "DEBUG")
        record = {**record, "metrics": {"durationMs": round(restore_ms, 3)}}
        self._event("platform.restoreReport", record, "WARN" if status else "INFO")

    def snapshot_report(self, *, init_ms: float, status: str = "", error_type: str = "") -> None:
        """Say how the Init phase of a snapshot ended; unlike others it is reported if it went well, too."""
        if not self._json:
            self._emit(platform_text.init_report_line(init_ms=init_ms, phase="init", status=status, error_type=error_type))
            return
        record: dict[str, telemetry.Json] = {
            "initializationType": self._spec.initialization_type,
            "phase": "snap-start",
            "status": status or "success",
        }
        if error_type:
            record["errorType"] = error_type
        self._event("platform.initRuntimeDone", record, "WARN" if status else "DEBUG")
        record = {**record, "metrics": {"durationMs": round(init_ms, 3)}}
        self._event("platform.initReport", record, "WARN" if status else "INFO")

    def init_report(self, *, init_ms: float, phase: str, status: str, error_type: str, is_ahead: bool = False) -> None:
        """Write how an Init phase went; as text a success is not worth a line, except of one ahead of invocations."""
        if self._recorded:
            record: dict[str, telemetry.Json] = {
                "initializationType": self._spec.initialization_type,
                "phase": phase,
                "status": status or "success",
            }
            if error_type:
                record["errorType"] = error_type
            self._event("platform.initRuntimeDone", record, "WARN" if status else "DEBUG")
            ahead = self._spec.initialization_type != "on-demand"
            record = {**record, "metrics": {"durationMs": round(init_ms, 3)}}
            self._event("platform.initReport", record, "WARN" if status else "INFO" if ahead else "DEBUG")
        if not self._json and (status or is_ahead):
            self._emit(platform_text.init_report_line(init_ms=init_ms, phase=phase, status=status, error_type=error_type))

    def start(self, request_id: str, invoked_arn: str, trace_id: str = "") -> None:
        if self._recorded:
            record: dict[str, telemetry.Json] = {"requestId": request_id, "functionArn": invoked_arn, "version": self._spec.version}
            self._event("platform.start", record, "INFO", trace_id)
        if not self._json:
            self._emit(platform_text.start_line(request_id, self._spec.version))

    def failed(self, request_id: str, text: str, error_type: str, at_ms: int) -> None:
        """Write the lines that people look for after a timeout or a crash."""
        if self._observer is not None and self._observer.listening:
            self._observer.platform("platform.fault", f"RequestId: {request_id} Error: {text}\n{error_type}")
        if self._json:
            return
        if error_type == "Sandbox.Timedout":
            self._emit(f"{_iso(at_ms)} {request_id} {text}")
        else:
            self._emit(f"RequestId: {request_id} Error: {text}")
            self._emit(error_type)

    def runtime_done(self, done: "RuntimeDone") -> None:
        """Tell that the runtime is done with an invocation; the text log has no line for it."""
        if not self._recorded:
            return
        record: dict[str, telemetry.Json] = {"requestId": done.request_id, "status": done.status}
        if done.error_type:
            record["errorType"] = done.error_type
        metrics: dict[str, telemetry.Json] = {"durationMs": round(done.duration_ms, 3)}
        if done.produced_bytes is not None:
            metrics["producedBytes"] = done.produced_bytes
        record["metrics"] = metrics
        if done.spans:
            record["spans"] = [_span(name, at_ms, lasted_ms) for name, at_ms, lasted_ms in done.spans]
        self._event("platform.runtimeDone", record, "DEBUG" if done.status == "success" else "WARN", done.trace_id)

    def extension(self, name: str, state: str, events: Sequence[str], error_type: str) -> None:
        """Write what became of an extension in Init."""
        record: dict[str, telemetry.Json] = {"name": name, "state": state, "events": list(events)}
        if error_type:
            record["errorType"] = error_type
        if self._recorded:
            self._event("platform.extension", record, "WARN" if error_type else "INFO")
        if not self._json:
            self._emit(platform_text.extension_line(name, state, events, error_type))

    def subscribed(self, name: str, subscription: telemetry.Subscription) -> None:
        """Write that an extension has subscribed to telemetry, or through the older API to logs."""
        kind = "platform.telemetrySubscription" if subscription.api is telemetry.Api.TELEMETRY else "platform.logsSubscription"
        if self._recorded:
            self._event(kind, {"name": name, "state": "Subscribed", "types": list(subscription.types)}, "INFO")
        if not self._json:
            self._emit(platform_text.subscription_line(subscription.api.upper(), name, subscription.types))

    def dropped(self, record: Mapping[str, telemetry.Json]) -> None:
        """Write that telemetry was lost; subscribers have been told."""
        if self._json and _LEVELS["WARN"] >= self._least:
            self._emit_event("platform.logsDropped", record)

    def end(self, report: Report, trace_id: str = "") -> None:
        if self._recorded:
            metrics: dict[str, telemetry.Json] = {
                "durationMs": round(report.duration_ms, 3),
                "billedDurationMs": report.billed_ms,
                "memorySizeMB": self._spec.memory_mib,
                "maxMemoryUsedMB": report.max_memory_mib,
            }
            if report.init_ms is not None:
                metrics["initDurationMs"] = round(report.init_ms, 3)
            if report.restore_ms is not None:
                metrics["restoreDurationMs"] = round(report.restore_ms, 3)
                metrics["billedRestoreDurationMs"] = report.billed_restore_ms
            record: dict[str, telemetry.Json] = {
                "requestId": report.request_id,
                "metrics": metrics,
                "status": report.status or ("success" if report.succeeded else "error"),
            }
            if report.error_type:
                record["errorType"] = report.error_type
            if report.extensions_ms is not None:
                span = _span("extensionOverhead", self._now_ms() - int(report.extensions_ms), report.extensions_ms)
                record["spans"] = [span]
            if self._observer is not None:
                self._observer.platform("platform.end", {"requestId": report.request_id})
            self._event("platform.report", record, "INFO" if record["status"] == "success" else "WARN", trace_id)
        if self._json:
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
                restore_ms=report.restore_ms,
                billed_restore_ms=report.billed_restore_ms,
                status=report.status,
                error_type=report.error_type,
            )
        )

    def _event(self, kind: str, record: dict[str, telemetry.Json], level: str, trace_id: str = "") -> None:
        if self._observer is not None and self._observer.listening:
            tracing: telemetry.Json = {"type": "X-Amzn-Trace-Id", "value": trace_id}
            self._observer.platform(kind, {**record, "tracing": tracing} if trace_id else record)
        if self._json and _LEVELS[level] >= self._least:
            self._emit_event(kind, record)

    def _emit_event(self, kind: str, record: Mapping[str, telemetry.Json]) -> None:
        body = {"time": _iso(self._now_ms()), "type": kind, "record": record}
        self._emit(json.dumps(body, separators=(",", ":"), ensure_ascii=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeDone:
    """The runtime's part of one invocation. `spans` are (name, Unix time of the start in ms, duration in ms)."""

    request_id: str
    status: str  # success, error, timeout or failure
    error_type: str
    duration_ms: float
    produced_bytes: int | None = None
    spans: tuple[tuple[str, int, float], ...] = ()
    trace_id: str = ""


def _span(name: str, at_ms: int, lasted_ms: float) -> telemetry.Json:
    return {"name": name, "start": _iso(at_ms), "durationMs": round(lasted_ms, 3)}


_iso = telemetry.iso

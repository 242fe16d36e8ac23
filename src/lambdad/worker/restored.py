"""An environment whose runtime is a copy of a snapshot: it is restored where others are initialised, and ends where others begin anew.

Source: AWS Lambda developer guide, "Improving startup performance with Lambda SnapStart" and "Monitoring for Lambda SnapStart".
"""

import math
import time
from typing import Any

from lambdad.machines import environment as machine
from lambdad.machines import platform_text
from lambdad.sandbox import fence
from lambdad.worker import runtime_api
from lambdad.worker.environment import Environment

# How the reason of a Stopped begins when an environment could not be restored; the data plane knows these words.
TIMED_OUT = "restore timeout: "
FAILED = "restore error: "
_MIB = 1024 * 1024


class RestoredEnvironment(Environment):
    """Set `snapshot_bytes` to what the snapshot holds: a copy shares it, and is charged for what it changes alone."""

    LOST = "restore lost: "
    snapshot_bytes = 0
    lost = ""  # why there was no copy
    _asked_at_s: float | None = None  # when the copy first asked for its restore

    def _begin(self) -> None:
        self._platform.restore_start()
        for notice in self._notices:
            self._emit_now(notice)
        self._state = machine.begin_restore(time.monotonic())

    async def _put_to_work(self, assignment: Any) -> None:
        try:
            await self._sandbox.restore(self._limits)
        except fence.AssignFailed as error:
            self.lost = str(error)
            raise

    def restore_next_called(self, connection: runtime_api.RuntimeApi) -> None:
        if self._asked_at_s is None:
            self._asked_at_s = time.monotonic()
        connection.restored()

    def restore_error_posted(self, body: bytes, error_type: str) -> None:
        self.init_error_posted(body, error_type)

    def _initialised(self, init_s: float) -> None:
        own_s = time.monotonic() - self._asked_at_s if self._asked_at_s is not None else init_s
        self._restore = (init_s * 1000, math.ceil(round(own_s * 1000, 6)))
        self._platform.restore_report(restore_ms=init_s * 1000)

    def _report_init(self, command: machine.ReportInit) -> None:
        self._reader.drain()
        timed_out = command.cause is machine.Cause.TIMEOUT
        error_type, text, _ = self._platform_error(command.cause, "")
        self._platform.restore_report(
            restore_ms=command.init_s * 1000,
            status="timeout" if timed_out else "error",
            error_type="" if timed_out else error_type,
        )
        if timed_out:
            text = platform_text.timeout_text(machine.RESTORE_TIMEOUT_S)
        self._reason = (TIMED_OUT if timed_out else FAILED) + (text or error_type)

    def _peak_mib(self) -> int:
        together = self._sandbox.peak_memory_bytes() + self.snapshot_bytes
        return min(max(math.ceil(together / _MIB), 1), self.spec.memory_mib)

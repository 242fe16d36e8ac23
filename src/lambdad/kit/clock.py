"""The clock: the one source of wall time for decisions, so that it can be advanced.

Monotonic time for durations comes from the event loop; this is for instants that are stored or shown.
"""

import time
from collections.abc import Callable
from typing import TypeAlias

NowMs: TypeAlias = Callable[[], int]
"""Returns Unix time in milliseconds."""


def now_ms() -> int:
    """Return Unix time in milliseconds, from the system's clock."""
    return time.time_ns() // 1_000_000


def utc_day(at_ms: int) -> str:
    """Return the day of an instant as YYYY/MM/DD, in UTC."""
    return time.strftime("%Y/%m/%d", time.gmtime(at_ms // 1000))

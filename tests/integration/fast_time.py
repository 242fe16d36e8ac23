"""An event loop whose clock jumps to the next timer when nothing else is left to do: hours pass in milliseconds, and in order."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]  # which class it is depends on the system
    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not events:
            assert timeout is not None, "everything waits, and nothing would ever happen"
            self.passed_s += max(timeout, 0.0)
        return events


class FastLoop(asyncio.SelectorEventLoop):
    """Nothing may run in threads or other processes: time does not wait for them."""

    def __init__(self) -> None:
        self._fast = _Selector()
        super().__init__(self._fast)

    def time(self) -> float:
        return 1000.0 + self._fast.passed_s


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in fast time."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(work)

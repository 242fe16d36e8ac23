"""What is to be worked off and how: an event source mapping, as its poller needs it."""

from dataclasses import dataclass

from lambdad.machines import queue_poller
from lambdad.machines.record_filters import Filters

CONCURRENCY_FIRST = 5
CONCURRENCY_MAX = 1250
GROWTH_PER_MINUTE = 300
PROVISIONED_GROWTH_PER_MINUTE = 1000
INVOCATIONS_PER_POLLER = 10  # of a provisioned poller, at once
VISIBILITY_RESERVE_S = 30
VISIBILITY_MAX_S = 43_200


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One mapping from an SQS queue.

    Args:
        id: the mapping's UUID.
        function_timeout_s: of what is invoked.
        reports_failures: whether the function says which messages it has not dealt with.
        maximum_concurrency: 2..1,000, None: AWS's limit.
        pollers: provisioned ones, at least and at most; None: none.
    """

    id: str
    queue_arn: str
    region: str
    is_fifo: bool
    batch_size: int
    window_s: int
    function_timeout_s: int
    filters: Filters
    reports_failures: bool = False
    maximum_concurrency: int | None = None
    pollers: tuple[int, int] | None = None


def visibility_s(plan: Plan, queue_timeout_s: int) -> int | None:
    """
    Say for how long messages are to be received; None where the queue's own timeout does.

    A batch that is collected, and a function that works on it, may take longer than the queue's timeout.
    """
    needed_s = plan.window_s + plan.function_timeout_s
    return min(needed_s + VISIBILITY_RESERVE_S, VISIBILITY_MAX_S) if needed_s > queue_timeout_s else None


def settings(plan: Plan, queue_timeout_s: int) -> queue_poller.Settings:
    """Say by which numbers the poller decides."""
    ceiling = plan.maximum_concurrency or CONCURRENCY_MAX
    floor = min(CONCURRENCY_FIRST, ceiling)
    growth = GROWTH_PER_MINUTE
    if plan.pollers is not None:
        floor, ceiling = (count * INVOCATIONS_PER_POLLER for count in plan.pollers)
        growth = PROVISIONED_GROWTH_PER_MINUTE
    return queue_poller.Settings(
        batch_size=plan.batch_size,
        window_s=plan.window_s,
        is_fifo=plan.is_fifo,
        floor=floor,
        ceiling=ceiling,
        growth_per_s=growth / 60,
        visibility_s=visibility_s(plan, queue_timeout_s) or queue_timeout_s,
    )

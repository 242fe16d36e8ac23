"""Provisioned concurrency: how many environments of one deployment are kept initialised, and which.

    starting ──ready──► idle ◄──► busy          lost in any of them: another one is started
        └──failed: again after a while, FAILED after six in a row

An environment that has grown old is used until another one is ready in its place.

Knows environments by id; does not know invocations, workers or AWS's configurations.
"""

from dataclasses import dataclass, field
from enum import StrEnum

AT_ONCE = 16  # environments of one deployment that are initialised at the same time
FAILURES_UNTIL_FAILED = 6
RETRY_S = 0.5  # after the first failure; doubled with each
RETRY_MAX_S = 300.0


class Status(StrEnum):
    """How far a configuration has got; AWS's words."""

    IN_PROGRESS = "IN_PROGRESS"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(slots=True)
class Pool:
    """The provisioned environments of one deployment.

    Invariants: no environment is in two of `idle`, `busy`, `starting`; `old` has no others than `idle` and `busy`.
    """

    target: int = 0
    idle: dict[str, None] = field(default_factory=dict)  # the one used last comes last
    busy: set[str] = field(default_factory=set)
    starting: set[str] = field(default_factory=set)
    old: set[str] = field(default_factory=set)
    failures: int = 0  # in a row
    reason: str = ""  # of the last failure
    retry_at_s: float = 0.0
    has_been_ready: bool = False  # since the target was last raised

    def ready(self) -> int:
        """Count those that are initialised."""
        return len(self.idle) + len(self.busy)

    def is_empty(self) -> bool:
        return not (self.idle or self.busy or self.starting)


def aim(pool: Pool, target: int) -> None:
    """Change how many are wanted."""
    if target > pool.target:
        pool.has_been_ready = False
    if target != pool.target:
        pool.failures, pool.retry_at_s, pool.reason = 0, 0.0, ""
    pool.target = target
    if pool.ready() >= target:
        pool.has_been_ready = True


def missing(pool: Pool, now_s: float) -> int:
    """Say how many are to be started now. After a failure one is tried, and the others wait for it."""
    lacking = pool.target - (pool.ready() - len(pool.old) + len(pool.starting))
    if lacking <= 0:
        return 0
    if pool.failures:
        return 0 if pool.starting or now_s < pool.retry_at_s else 1
    return max(min(lacking, AT_ONCE - len(pool.starting)), 0)


def surplus(pool: Pool) -> list[str]:
    """Give those that are to be ended: idle ones beyond the target, the old ones first; none while too few are ready."""
    excess = pool.ready() - pool.target
    if excess <= 0:
        return []
    old = [each for each in pool.idle if each in pool.old][:excess]
    fresh = max(excess - len(pool.old), 0)
    return old + [each for each in pool.idle if each not in pool.old][:fresh]


def started(pool: Pool, environment_id: str) -> None:
    pool.starting.add(environment_id)


def freed(pool: Pool, environment_id: str) -> None:
    """Note that an environment is initialised, or has ended its invocation."""
    if environment_id in pool.starting:
        pool.starting.discard(environment_id)
        pool.failures, pool.reason = 0, ""
    pool.busy.discard(environment_id)
    pool.idle[environment_id] = None
    if pool.ready() >= pool.target:
        pool.has_been_ready = True


def take(pool: Pool) -> str | None:
    """Take the environment used last; None where none is free."""
    if not pool.idle:
        return None
    environment_id, _ = pool.idle.popitem()
    pool.busy.add(environment_id)
    return environment_id


def lost(pool: Pool, environment_id: str, now_s: float, reason: str) -> None:
    """Note that an environment is gone; one that was not yet initialised, or has ended itself, has failed for a reason."""
    if environment_id in pool.starting or environment_id in pool.idle:
        pool.failures += 1
        pool.reason = reason
        pool.retry_at_s = now_s + min(RETRY_S * 2.0 ** min(pool.failures - 1, 20), RETRY_MAX_S)
    forget(pool, environment_id)


def forget(pool: Pool, environment_id: str) -> None:
    """Note that an environment was told to end."""
    pool.starting.discard(environment_id)
    pool.busy.discard(environment_id)
    pool.old.discard(environment_id)
    pool.idle.pop(environment_id, None)


def aged(pool: Pool, environment_id: str) -> None:
    """Have an environment replaced: it is used until there are enough without it."""
    if environment_id in pool.idle or environment_id in pool.busy:
        pool.old.add(environment_id)


def clear(pool: Pool) -> None:
    """Note that every environment is gone with its worker; the next worker begins anew."""
    for group in (pool.idle, pool.busy, pool.starting, pool.old):
        group.clear()
    pool.failures, pool.retry_at_s, pool.reason = 0, 0.0, ""
    pool.has_been_ready = False


def status(shares: list[tuple[Pool | None, int]]) -> tuple[Status, int, str]:
    """
    Say how far a configuration has got.

    Args:
        shares: the pools among which it is split, with the share of each; None for a pool that there is not yet.

    Returns:
        The status, how many environments are ready, and why it failed.
    """
    ready = sum(min(pool.ready(), share) for pool, share in shares if pool is not None)
    for pool, _ in shares:
        if pool is not None and pool.failures >= FAILURES_UNTIL_FAILED:
            return Status.FAILED, ready, pool.reason
    if all(pool is not None and pool.has_been_ready for pool, _ in shares):
        return Status.READY, ready, ""
    return Status.IN_PROGRESS, ready, ""

"""Idle environments: which are kept, which are made ahead, and which give way. Decisions are in `machines.keep_alive`.

What is learnt is kept for `USAGES_MAX` function versions, those used last.
"""

import heapq
import logging

from lambdad.dataplane.deployments import Deployment, Plane
from lambdad.machines import keep_alive
from lambdad.model.function import FunctionKey, FunctionVersion
from lambdad.wire import frames

log = logging.getLogger("lambdad.dataplane")

USAGES_MAX = 4096
AHEAD_MAX = 16_384  # times to look whether an environment is to be made ahead; beyond that none is
RELIEF = 10  # of so many idle environments one is ended in a second, while memory is short
STALLS_COUNT_BELOW_PERCENT = 25.0  # of memory available: a function that thrashes within its own limit stalls too, and must not end others
LOAD_HOLDS_S = 3.0  # how long a worker's word on memory is good for


class Idle:
    """Decides on idle environments on demand. All methods belong to the event loop's thread.

    Args:
        keep_s: how long an environment is kept of which too little is known.
        memory_low_percent, memory_stall_percent: see `settings`.
    """

    def __init__(self, plane: Plane, keep_s: float, *, memory_low_percent: float, memory_stall_percent: float) -> None:
        self._plane = plane
        self._keep_s = keep_s
        self._memory_low_percent = memory_low_percent
        self._memory_stall_percent = memory_stall_percent
        self._usages: dict[tuple[FunctionKey, str], keep_alive.Usage] = {}
        self._clock = keep_alive.Clock()
        self._ahead: list[tuple[float, int, FunctionVersion]] = []  # a heap: when to look whether an environment is to be made ahead
        self._numbers = 0
        self._typical = keep_alive.COLD_MS / keep_alive.SIZE_MIB
        self._short_until_s = 0.0  # memory is, and nothing is made ahead
        self.made_ahead = self.evicted = 0

    def usage(self, version: FunctionVersion) -> keep_alive.Usage:
        """Return what is known of a version's use; it outlives its deployments."""
        place = (version.key, version.version)
        usage = self._usages.get(place)
        if usage is None:
            if len(self._usages) >= USAGES_MAX:
                self._forget_some()
            usage = self._usages[place] = keep_alive.Usage()
        return usage

    def _forget_some(self) -> None:
        resting = sorted((usage.last_used_s, place) for place, usage in self._usages.items() if not usage.level)
        for _, place in resting[: USAGES_MAX // 10]:
            del self._usages[place]

    def learnt(self, usage: keep_alive.Usage, *, cold_ms: float | None = None, size_mib: float | None = None) -> None:
        """Hear what a start took, or how large an environment has become."""
        keep_alive.learnt(usage, cold_ms=cold_ms, size_mib=size_mib)
        self._typical += (usage.cold_ms / usage.size_mib - self._typical) * 0.02
        keep_alive.weigh(usage, self._typical)

    def retire(self, key: FunctionKey, keep: frozenset[str]) -> None:
        """Hear which deployments of a function there still are."""
        self._ahead = [entry for entry in self._ahead if entry[2].key != key or entry[2].deployment_id in keep]
        heapq.heapify(self._ahead)
        if not keep:
            for place in [place for place in self._usages if place[0] == key]:
                del self._usages[place]

    def evict(self, now_s: float) -> bool:
        """End the idle environment that is worth least; False where none is idle."""
        least: tuple[float, float, str] | None = None
        for deployment in self._plane.deployments.values():
            idle = deployment.pool.idle
            if idle:
                environment_id, since_s = next(iter(idle.items()))  # the others of this deployment were used later
                worth = keep_alive.worth(deployment.usage, deployment.usage.level + len(idle), self._clock.at(since_s))
                if least is None or (worth, since_s) < least[:2]:
                    least = (worth, since_s, environment_id)
        if least is None:
            return False
        self._clock.advance(least[0], now_s)
        self.evicted += 1
        self._plane.stop(least[2])
        return True

    def relieve(self, load: frames.Load, now_s: float) -> None:
        """Hear how the worker is off for memory; while it is short, end the environments that are worth least."""
        available_percent = 100.0 * load.available_bytes / max(load.total_bytes, 1)
        is_stalled = load.stalled_percent > self._memory_stall_percent and available_percent < STALLS_COUNT_BELOW_PERCENT
        if available_percent >= self._memory_low_percent and not is_stalled:
            return
        self._short_until_s = now_s + LOAD_HOLDS_S
        idle = sum(len(deployment.pool.idle) for deployment in self._plane.deployments.values())
        ended = 0
        while ended < max(idle // RELIEF, 1) and self.evict(now_s):
            ended += 1
        if ended:
            log.warning("memory.short ended=%d available_mib=%d stalled=%.1f", ended, load.available_bytes >> 20, load.stalled_percent)

    def sweep(self, now_s: float) -> None:
        """End what has been idle for too long, and make what will be wanted soon."""
        for deployment in list(self._plane.deployments.values()):
            if deployment.pool.idle:
                self._expire(deployment, now_s)
        while self._ahead and self._ahead[0][0] <= now_s:
            self._make_ahead(heapq.heappop(self._ahead)[2], now_s)

    def _expire(self, deployment: Deployment, now_s: float) -> None:
        usage, idle = deployment.usage, deployment.pool.idle
        level = usage.level + len(idle)
        for environment_id, since_s in list(idle.items()):
            if now_s > keep_alive.expires_at(usage, level, since_s, self._keep_s):
                self._plane.stop(environment_id)
            level -= 1
        if not idle:
            at_s = keep_alive.ahead_at(usage, now_s, self._keep_s)
            if at_s is not None and at_s > now_s and len(self._ahead) < AHEAD_MAX:
                self._numbers += 1
                heapq.heappush(self._ahead, (at_s, self._numbers, deployment.version))

    def _make_ahead(self, version: FunctionVersion, now_s: float) -> None:
        at_s = keep_alive.ahead_at(self.usage(version), now_s, self._keep_s)
        if at_s is None or at_s > now_s or now_s < self._short_until_s or not self._plane.has_room():
            return
        deployment = self._plane.deployment(version)
        if not deployment.pool.size() and deployment.kept is None:
            self.made_ahead += 1
            self._plane.start(deployment)

"""Room: how fast functions may add environments, and who waits where the worker holds no more.

An invocation for which no environment can be started waits in its function's pool, and its function in a queue for room. Whoever has
waited longest is served first; a warm environment goes to its own function's invocations ahead of that, for `scaling.PATIENCE_S` at most.

Bounds: the queue holds at most an entry for each admitted invocation. After `wait_s` an invocation that still has no environment on its
way is throttled.
"""

import collections
import itertools

from lambdad.dataplane.deployments import Deployment, Plane
from lambdad.machines import assignment, scaling
from lambdad.model.function import FunctionKey


class Room:
    """Who gets a new environment. All methods belong to the event loop's thread.

    Args:
        wait_s: how long an invocation waits for room; 0: not at all.
    """

    def __init__(self, plane: Plane, *, wait_s: float) -> None:
        self._plane = plane
        self._wait_s = wait_s
        self._buckets: dict[FunctionKey, scaling.Bucket] = {}  # of those that have added environments in the last ten seconds
        self.short: collections.deque[tuple[float, Deployment]] = collections.deque()  # one for each start that there was no room for

    def may_grow(self, deployment: Deployment, now_s: float) -> bool:
        """Take one of the thousand environments that a function may add in ten seconds."""
        key = deployment.version.key
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = scaling.Bucket()
        return scaling.take_environment(bucket, now_s)

    def start_or_queue(self, deployment: Deployment, now_s: float) -> bool:
        """Start an environment, or have a deployment wait for one behind those who wait already; False where nobody waits."""
        if self.short:
            self.serve()
        return (not self.short and self._plane.start(deployment)) or self.queue(deployment, now_s)

    def queue(self, deployment: Deployment, now_s: float) -> bool:
        """Have a deployment wait for room for one environment; False where nobody waits."""
        if not self._wait_s:
            return False
        self.short.append((now_s, deployment))
        return True

    def again(self, deployment: Deployment, now_s: float) -> None:
        """Start, or have queued, what a deployment lacks; its invocations have been admitted long since."""
        while assignment.needs_start(deployment.pool):
            if not self._plane.start(deployment):
                lacking = len(deployment.pool.waiting) - len(deployment.pool.starting)
                queued = sum(other is deployment for _, other in self.short)
                for _ in range(lacking - queued):
                    if not self.queue(deployment, now_s):
                        self._plane.throttle(deployment.pool.waiting.pop())
                return

    def gives_way(self, deployment: Deployment, now_s: float) -> bool:
        """Say whether an environment that is free now is ended, so that another function gets one."""
        while self.short and not assignment.needs_start(self.short[0][1].pool):
            self.short.popleft()
        if not self.short or self.short[0][1] is deployment:
            return False
        waiting = deployment.pool.waiting
        return scaling.gives_way(self.short[0][0], waiting[0].since_s if waiting else None, now_s)

    def serve(self) -> None:
        """Start environments for those who wait, as far as there is room now."""
        while self.short:
            deployment = self.short[0][1]
            if assignment.needs_start(deployment.pool) and not self._plane.start(deployment):
                return
            self.short.popleft()

    def sweep(self, now_s: float) -> None:
        """Throttle those who have waited for too long, and forget what has no meaning any more."""
        for deployment in {id(deployment): deployment for _, deployment in self.short}.values():
            pool = deployment.pool
            late = [
                running for running in itertools.islice(pool.waiting, len(pool.starting), None) if running.since_s + self._wait_s < now_s
            ]
            for running in late:
                pool.waiting.remove(running)
                self._plane.throttle(running)
            self._plane.forget_if_empty(deployment)
        self.short = collections.deque(entry for entry in self.short if assignment.needs_start(entry[1].pool))
        self.serve()
        for key in [key for key, bucket in self._buckets.items() if scaling.is_full(bucket, now_s)]:
            del self._buckets[key]

    def clear(self) -> None:
        """Hear that the worker is gone; what waits is taken up by the next one."""
        self.short.clear()

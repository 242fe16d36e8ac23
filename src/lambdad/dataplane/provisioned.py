"""Provisioned concurrency in the data plane: which deployments are to have how many environments, and that they have them.

A configuration that moves to other versions, as when its alias does, keeps the environments of the former ones until the new ones are
ready. Decisions are in `machines.provisioned`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lambdad.dataplane.deployments import Deployment, Plane
from lambdad.machines import provisioned, scaling
from lambdad.model.function import FunctionKey, FunctionVersion

MAX_AGE_S = 6 * 3600.0  # as for all environments
LEFT_ON_DEMAND = 10  # one of so many of the worker's environments is never provisioned, or one account could have them all


@dataclass(slots=True)
class _Configuration:
    """How a configuration is split among deployments, by deployment id; `former` is what it had before, until `shares` are ready."""

    shares: dict[str, int]
    former: dict[str, int] = field(default_factory=dict)


class Provisioned:
    """Keeps environments initialised. All methods belong to the event loop's thread."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._configurations: dict[tuple[FunctionKey, str], _Configuration] = {}
        self._active: dict[str, Deployment] = {}  # deployments with a pool, by id
        self._is_moving = False  # a configuration has a `former`

    def configure(self, key: FunctionKey, wanted: Mapping[str, Sequence[tuple[FunctionVersion, int]]], now_s: float) -> None:
        """
        Hear what a function's configurations are now.

        Args:
            wanted: by qualifier, the versions among which it is split, with their shares; versions that cannot run yet are left out.
        """
        for place in [place for place in self._configurations if place[0] == key and place[1] not in wanted]:
            del self._configurations[place]
        for qualifier, versions in wanted.items():
            shares = {version.deployment_id: share for version, share in versions}
            for version, _ in versions:
                deployment = self._plane.deployment(version)
                if deployment.kept is None:
                    deployment.kept = provisioned.Pool()
                self._active[version.deployment_id] = deployment
            known = self._configurations.get((key, qualifier))
            if known is None:
                self._configurations[key, qualifier] = _Configuration(shares)
            elif known.shares != shares:
                self._configurations[key, qualifier] = _Configuration(shares, {**known.shares, **known.former})
        self._aim()
        self.tick(now_s)

    def _aim(self) -> None:
        """Give every pool its target."""
        targets = dict.fromkeys(self._active, 0)
        self._is_moving = False
        for configuration in self._configurations.values():
            if configuration.former and self._are_ready(configuration):
                configuration.former = {}
            shares, former = configuration.shares, configuration.former
            self._is_moving = self._is_moving or bool(former)
            for deployment_id in shares.keys() | former.keys():
                if deployment_id in targets:
                    targets[deployment_id] += max(shares.get(deployment_id, 0), former.get(deployment_id, 0))
        for deployment_id, target in targets.items():
            deployment = self._active[deployment_id]
            assert deployment.kept is not None
            provisioned.aim(deployment.kept, 0 if deployment.retired else target)

    def _are_ready(self, configuration: _Configuration) -> bool:
        return bool(configuration.shares) and all(
            (pool := self._pool(deployment_id)) is not None and pool.ready() >= share
            for deployment_id, share in configuration.shares.items()
        )

    def _pool(self, deployment_id: str) -> provisioned.Pool | None:
        deployment = self._active.get(deployment_id)
        return deployment.kept if deployment is not None else None

    def state(self, key: FunctionKey, qualifier: str) -> tuple[provisioned.Status, int, str] | None:
        """Say how far a configuration has got; None where there is none of that name."""
        configuration = self._configurations.get((key, qualifier))
        if configuration is None or not configuration.shares:
            return None
        return provisioned.status([(self._pool(deployment_id), share) for deployment_id, share in configuration.shares.items()])

    # Invoking.
    def admits(self, deployment: Deployment, now_s: float) -> bool:
        """Say whether an invocation is to use a provisioned environment: one is free, and no more than ten a second for each came."""
        pool = deployment.kept
        return pool is not None and bool(pool.idle) and scaling.take_request(deployment.kept_rate, pool.target, now_s)

    def take(self, deployment: Deployment) -> str | None:
        """Take a free environment."""
        return provisioned.take(deployment.kept) if deployment.kept is not None else None

    # Keeping.
    def tick(self, now_s: float) -> None:
        """Start what is missing, have replaced what is old, end what is too many."""
        if self._is_moving:
            self._aim()
        for deployment in list(self._active.values()):
            pool = deployment.kept
            assert pool is not None
            for environment_id in [*pool.idle, *pool.busy]:
                if self._plane.homes[environment_id].made_at_s + MAX_AGE_S < now_s:
                    provisioned.aged(pool, environment_id)
            self.settle(deployment, now_s)

    def settle(self, deployment: Deployment, now_s: float) -> None:
        """Bring one deployment to what is wanted of it, as far as that can be done now."""
        pool = deployment.kept
        assert pool is not None
        for environment_id in provisioned.surplus(pool):
            self._plane.stop(environment_id)
        lacking = provisioned.missing(pool, now_s)
        for _ in range(min(lacking, self._left()) if lacking else 0):
            if not self._plane.start(deployment, is_provisioned=True):
                break  # there is no room; tried again at the next tick
        if self._is_moving and pool.ready() == pool.target:
            self._aim()
        if not pool.target and pool.is_empty():
            self._active.pop(deployment.version.deployment_id, None)
            deployment.kept = None
            self._plane.forget_if_empty(deployment)

    def _left(self) -> int:
        """Return how many environments more may be provisioned: a tenth of the worker's is left to those on demand."""
        capacity = self._plane.capacity()
        held = sum(deployment.kept.ready() + len(deployment.kept.starting) for deployment in self._active.values() if deployment.kept)
        return max(capacity - capacity // LEFT_ON_DEMAND - held, 0)

    def drop(self, deployment: Deployment) -> None:
        """Hear that a deployment is not to be used any more."""
        for configuration in self._configurations.values():
            configuration.former.pop(deployment.version.deployment_id, None)
        pool = deployment.kept
        if pool is not None:
            provisioned.aim(pool, 0)
            for environment_id in list(pool.idle):
                self._plane.stop(environment_id)

    def clear(self) -> None:
        """Hear that every environment is gone with its worker."""
        for deployment in self._active.values():
            if deployment.kept is not None:
                provisioned.clear(deployment.kept)

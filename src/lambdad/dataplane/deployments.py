"""What the data plane keeps: invocations, the deployments that they are for, and the environments that these have."""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from lambdad.machines import assignment, concurrency, keep_alive, provisioned, scaling
from lambdad.model.function import FunctionVersion
from lambdad.model.invocation import Invocation, Outcome
from lambdad.wire import frames


@dataclass(slots=True, eq=False)
class Running:
    """An admitted invocation, until it has left."""

    invocation: Invocation
    future: "asyncio.Future[Outcome]"
    claim: concurrency.Claim
    since_s: float  # loop time
    overdue_at_s: float  # loop time by which it has ended, or its worker is at fault
    answered: bool = False  # its caller has the answer, and extensions are still at work
    moved: bool = False  # it has lost an environment before it had begun there
    usage: keep_alive.Usage | None = None  # where it is counted, once it was given to a deployment


@dataclass(slots=True, eq=False)
class Deployment:
    """The environments of one deployment of a function version.

    Provisioned ones are in `kept`, and in `pool.busy` too while they run an invocation; they are never in `pool.idle`.
    """

    version: FunctionVersion
    usage: keep_alive.Usage
    pool: assignment.Pool[Running] = field(default_factory=assignment.Pool)
    kept: provisioned.Pool | None = None
    kept_rate: scaling.Bucket = field(default_factory=scaling.Bucket)
    retired: bool = False


@dataclass(frozen=True, slots=True)
class Home:
    """Where an environment belongs."""

    deployment: Deployment
    spec: frames.EnvironmentSpec
    made_at_s: float  # loop time
    is_provisioned: bool = False


class Plane(Protocol):
    """What the parts of the data plane need of the whole."""

    deployments: dict[str, Deployment]
    homes: dict[str, Home]

    def deployment(self, version: FunctionVersion) -> Deployment: ...

    def forget_if_empty(self, deployment: Deployment) -> None: ...

    def capacity(self) -> int: ...

    def has_room(self) -> bool: ...

    def start(self, deployment: Deployment, *, is_provisioned: bool = False) -> bool: ...

    def stop(self, environment_id: str) -> None: ...

    def throttle(self, running: Running) -> None: ...

"""What the data plane needs: a worker to command, and specifications of environments."""

from typing import Protocol

from lambdad.model.function import FunctionVersion
from lambdad.wire import frames


class WorkerLink(Protocol):
    """The way to the worker. Sending never waits; what is sent while there is no connection is lost, and `lost` is called."""

    @property
    def capacity(self) -> int:
        """How many environments the worker can hold; 0 while there is no worker."""
        ...

    def send(self, message: frames.ToWorker, body: bytes = b"") -> None: ...


class SpecSource(Protocol):
    """Says what an environment of a function version is made of."""

    def __call__(self, version: FunctionVersion, environment_id: str) -> frames.EnvironmentSpec: ...


class LogSink(Protocol):
    """Takes what functions write. Must not wait."""

    def __call__(self, account: str, region: str, group: str, stream: str, events: list[tuple[int, str]]) -> None: ...

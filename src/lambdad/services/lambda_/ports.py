"""What the functions of this service need from their neighbours; plugged together in `service.py` and `app.py`."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lambdad.model.function import FunctionKey, FunctionVersion, LayerReference, StateReasonCode
from lambdad.services.ports import CallContext


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCode:
    """A zip that was checked and is durable."""

    sha256: str  # hex of the zip's bytes
    size_bytes: int
    unzipped_bytes: int


class PreparationFailed(Exception):
    """A version's code could not be made ready to run.

    Args:
        reason: shown as StateReason or LastUpdateStatusReason.
    """

    def __init__(self, reason: str, code: StateReasonCode) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class Code(Protocol):
    """Zips: checked, stored, and unpacked to read-only directories."""

    async def check(self, zip_file: bytes | AsyncIterable[bytes]) -> StoredCode:
        """Check a zip without storing it; raises AWS's errors for what cannot be unpacked or is too large."""
        ...

    async def store(self, zip_file: bytes | AsyncIterable[bytes]) -> StoredCode:
        """Check a zip and store it durably; raises what `check` raises."""
        ...

    async def prepare(self, version: FunctionVersion) -> None:
        """Unpack a version's code and layers where environments can mount them. Doing it again is free.

        Raises:
            PreparationFailed: and what to show.
        """
        ...


class Objects(Protocol):
    """Zips that callers have put into S3."""

    def fetch(self, context: CallContext, source: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """Give the object that ``S3Bucket``, ``S3Key`` and ``S3ObjectVersion`` name, piece by piece.

        Raises:
            AwsError: in AWS's words, when the first piece is asked for.
        """
        ...


class Compiler(Protocol):
    """Compiles Python modules where it is safe to read them."""

    async def compile(self, runtime: str, directory: str, sink: Callable[[bytes], None]) -> bool:
        """Give the records of a directory's compiled modules to a sink, piece by piece; False when that has been broken off."""
        ...


class Bytecode(Protocol):
    """Compiled modules beside the sources."""

    async def add(self, version: FunctionVersion) -> None:
        """Compile a prepared version's code. Never fails, and takes seconds at most."""
        ...


class Snapshots(Protocol):
    """Snapshots of versions with SnapStart."""

    def expect(self, version: FunctionVersion) -> None:
        """Hear of a version that was Active before this server was started."""
        ...

    async def build(self, version: FunctionVersion) -> None:
        """Run a version's Init phase once, and keep a snapshot where that is possible. Waits for a worker.

        Raises:
            PreparationFailed: Init failed, and what to show.
        """
        ...


class LayerResolver(Protocol):
    """Layer versions that functions refer to."""

    async def resolve(self, context: CallContext, arns: Sequence[str]) -> tuple[LayerReference, ...]:
        """Find layer versions; raises AWS's errors for missing ones and ones the caller may not use."""
        ...

    def stored_bytes(self, account: str, region: str) -> int:
        """Give the bytes (zipped) of all layer versions that an account keeps in a region."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionedState:
    """How far the environments of a configuration have got.

    `status` is AWS's: IN_PROGRESS, READY or FAILED; `reason` says why it failed. `ready` environments are initialised.
    """

    status: str
    ready: int
    reason: str = ""


class Provisioner(Protocol):
    """Keeps environments initialised; the data plane."""

    def provisioned_state(self, key: FunctionKey, qualifier: str) -> ProvisionedState | None:
        """Say how far a configuration has got; None for one that has not been heard of yet."""
        ...

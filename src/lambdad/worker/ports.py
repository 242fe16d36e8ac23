"""What the worker needs of the sandbox: one stem cell, made ahead, that becomes an environment."""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol


class Exit(Protocol):
    """How a runtime process ended: by itself with a code, or by a signal; `oom` says that the kernel killed it for its memory."""

    @property
    def code(self) -> int | None: ...

    @property
    def signal(self) -> int | None: ...

    @property
    def oom(self) -> bool: ...


class Launched(Protocol):
    """A program that was started beside the runtime process; `output` is the nonblocking read end of what it writes."""

    output: int

    async def wait_exit(self) -> Exit: ...

    def close(self) -> None: ...


class Sandbox(Protocol):
    """One environment's processes, namespaces, limits and sockets. See `sandbox.zygotes`."""

    runtime_listener: socket.socket
    endpoint_listener: socket.socket
    output: int  # reading end of standard output and error, non-blocking
    runtime_api: str
    endpoint: str  # URL of `endpoint_listener` as the function sees it
    task_root: str
    own_address: str  # at which its processes reach one another

    async def place(self, assignment: Any) -> None: ...

    async def renew(self) -> None: ...

    async def launch(self, program: Any, limits: Any) -> Any: ...  # a `Launched`

    def signal(self, number: int, launched: Any = None) -> None: ...

    async def open_socket(self) -> socket.socket: ...

    async def assign(self, assignment: Any) -> None: ...

    async def respawn(self, assignment: Any) -> None: ...

    async def stop_runtime(self) -> None: ...

    async def wait_exit(self) -> Exit: ...

    async def wait_booted(self) -> None: ...

    def is_lost(self) -> bool: ...

    def when_lost(self, callback: "Callable[[Any], None]") -> None: ...

    def limit(self, limits: Any) -> None: ...

    async def keep(self, port: int) -> None: ...

    async def restore(self, limits: Any) -> None: ...

    def drop_snapshot(self) -> None: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def peak_memory_bytes(self) -> int: ...

    async def kill(self) -> None: ...


class Spawn(Protocol):
    """Makes a stem cell. Raises OSError."""

    async def __call__(self, *, hurried: bool) -> Sandbox: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A stem cell and what makes it an environment of a function."""

    sandbox: Sandbox
    assignment: Any
    limits: Any  # once Init has ended
    runtime_version: str
    runtime_version_arn: str
    notices: tuple[str, ...] = ()  # lines for the function's log, such as that another minor version of the language is used
    program: str = ""  # the entrypoint that is executed; "" where AWS starts the runtime from a shell
    extensions: tuple[tuple[str, Any], ...] = ()  # names and programs of external extensions
    missing_program: str = ""  # what to say because there is no such entrypoint; "" if there is
    credentials_token: str = ""  # of a version with SnapStart: what opens the credentials that the Runtime API has
    spawn_copy: Callable[[], Awaitable[Sandbox]] | None = None  # makes a fence for a copy of `sandbox`, once that is kept

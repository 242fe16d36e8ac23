"""What a fence is to be: the nouns that callers fill in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RUNTIME_API_ADDRESS = ("127.0.0.1", 9001)
ENDPOINT_ADDRESS = ("169.254.100.1", 4566)
USER_NAME = "sbx_user1051"
USER_ID = 993
GROUP_ID = 990
HOST_NAME = "169.254.100.1"


@dataclass(frozen=True, slots=True)
class Bind:
    """One path of the machine that is visible inside, at ``target``; files and directories alike."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ZygoteSpec:
    """
    One kind of template: which interpreter serves it, what it sees, what it has loaded already.

    ``interpreter`` is a CPython (3.8 or later) at its path inside the root; everything it needs beyond the system's
    libraries must be among ``binds``. ``preload`` is a Python file inside the root with ``main(payload: dict) -> int | None``
    (called in each environment whose assignment has no ``argv``) and, where it wants them, ``preload()`` (called once, first),
    ``preload_later()`` (called once, when nobody has asked for an environment for a moment) and ``rehearse()`` (called in each
    environment that nobody waits for yet).
    ``directories`` are made, empty, in the root before the interpreter starts.
    """

    name: str
    interpreter: str
    binds: tuple[Bind, ...] = ()
    directories: tuple[str, ...] = ()
    preload: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    What one environment may use.

    Files in /tmp may take ``tmp_bytes`` on top of ``memory_bytes``; there is no swap. ``cpu_millicores`` is its share of the
    processors where they do not suffice for all, 1000 for a whole one; ``cpu_cap_millicores`` is the most it ever gets,
    None being its share.
    """

    memory_bytes: int
    cpu_millicores: int
    cpu_cap_millicores: int | None = None
    pids: int = 1024
    tmp_bytes: int = 512 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """
    A program that a stem cell executes before it is anybody's.

    It finds the number of a blocking descriptor in LAMBDAD_STEM_FD, boots as far as it can, reads one line of JSON there,
    ``{"environment": {...}, "cwd": "/var/task"}``, and is the assignment's program from then on, if that has the same ``argv``.
    In LAMBDAD_STEM_READY_FD there is the number of another one, to be closed (or written to) when it is about to read.

    It must not look at code before the line has come: until then there is none.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """
    What one environment is for.

    ``task`` and ``opt`` are directories relative to the code store; None leaves /var/task or /opt empty. With ``argv``
    the program ``argv[0]`` (an absolute path inside) is executed; without it ``main(payload)`` of the preloaded module is
    called.

    ``shared_bytes`` is memory that it uses together with others, such as its template's, and that nobody charges it with; it is
    counted in what it used at most, and not limited.
    """

    task: str | None
    opt: str | None = None
    limits: Limits
    environment: dict[str, str]
    cwd: str = "/var/task"
    argv: tuple[str, ...] | None = None
    payload: dict[str, Any] | None = None
    shared_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program beside the runtime process, behind the same fence: ``argv[0]`` is an absolute path inside."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    cwd: str = "/"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a runtime process ended: ``code`` or ``signal`` is set; both None means that the whole fence was lost."""

    code: int | None
    signal: int | None
    oom: bool

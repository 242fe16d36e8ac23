"""Templates from the worker's side: start one in its private root, and have it fork fences."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import random
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambdad.sandbox import cgroups as cgroups_
from lambdad.sandbox import channel, egress_rules, fence, instances, plain, private_root, seccomp, spec

if TYPE_CHECKING:
    from lambdad.sandbox import egress  # not loaded where there is no way out

PARALLEL_SPAWNS = 8
# Host user ids for environments: above every range that distributions and container tools hand out.
# Source: systemd, "Users, Groups, UIDs and GIDs on systemd Systems".
OUTER_IDS = range(1_900_000_000, 1_900_000_000 + 65_536)
_BOOT = "import sys; sys.path.insert(0, {path!r}); from inside import {module}; sys.path.pop(0); {module}.main({fd})"


class ZygoteFailed(Exception):
    """A template could not be started, or is gone; ``step`` and ``errno`` say at what."""

    def __init__(self, name: str, step: str, errno: int, text: str = "") -> None:
        super().__init__(f"template {name}: {step}: {text or os.strerror(errno)}")
        self.step = step
        self.errno = errno


@dataclass(frozen=True, slots=True)
class Isolation:
    """How strong the fences of a template are made; see ``probe`` for what this machine allows."""

    fenced: bool = True
    rootless: bool = False
    leaf_user_namespace: bool = True
    seccomp: bool = True


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the start; ``python`` is the exact version of the template's interpreter."""

    name: str
    python: str
    spawned: int
    failed: int
    alive: int


class Zygote:
    """
    One running template.

    Cancellation: a cancelled ``spawn`` leaves nothing behind; what was being made is killed as soon as it is there.
    Resource handling: made by ``open_zygote`` only. When it closes, its process and all its fences are gone.
    """

    def __init__(
        self,
        zygote_spec: spec.ZygoteSpec,
        own: socket.socket,
        cgroups: cgroups_.Cgroups,
        isolation: Isolation,
        code_store: Path,
        way_out: egress.Egress | None = None,
    ) -> None:
        self.spec = zygote_spec
        self.isolation = isolation
        self.python = ""
        self.base_bytes = 0  # of its memory, what every function uses, by the word of what it has preloaded
        self._code_store = code_store
        self._instance = instances.own_instance()
        self._translate = plain.translator({} if isolation.fenced else plain.mapping(zygote_spec.binds))
        self._cgroups = cgroups
        self._way_out = way_out
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._warmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._forks: dict[int, fence.Sandbox] = {}
        self._numbers = itertools.count(1)
        # Starting anywhere, so that two templates rarely share an id and with it the limits that count per user.
        self._outer_ids = itertools.count(random.randrange(len(OUTER_IDS)))
        self._turn = asyncio.Semaphore(PARALLEL_SPAWNS)
        self._fences: set[fence.Sandbox] = set()
        self._spawned = self._failed = 0
        self._channel = channel.Channel(own, self._on_message, self._on_end)

    async def start(self, plan: dict[str, Any] | None) -> None:
        """Give the launcher and then the template what they need, and wait until it has preloaded. Raises ZygoteFailed."""
        fenced = self.isolation.fenced
        config = {
            "fenced": fenced,
            "rootless": self.isolation.rootless,
            "leaf_user_namespace": self.isolation.leaf_user_namespace,
            "preload": None if self.spec.preload is None else self._translate(self.spec.preload),
            "seccomp": seccomp.default_program().hex() if self.isolation.seccomp else "",
            "uid": spec.USER_ID,
            "gid": spec.GROUP_ID,
            "host_name": spec.HOST_NAME,
            "listen": [list(spec.RUNTIME_API_ADDRESS), list(spec.ENDPOINT_ADDRESS)],
            "code": private_root.CODE_TARGET if fenced else str(self._code_store),
        }
        # A launcher that has failed already cannot be sent more; what it had to say, or its end, is on its way.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if plan is not None:
                self._channel.send(plan)
            self._channel.send(config)
        await self._ready

    async def wait_warmed(self) -> None:
        """Wait until the template has loaded what it loads when there is time; for ever if there is nothing, or it ends before."""
        await asyncio.wait((self._warmed,))

    async def spawn(self, ahead: spec.Ahead | None = None, *, hurried: bool = False, within: fence.Within | None = None) -> fence.Sandbox:
        """
        Make a stem cell: an environment that is fenced in, listens, and waits for its assignment.

        Args:
            ahead: what it is to execute already; only behind a fence.
            hurried: somebody waits for it; then what is preloaded does not go through its motions first.
            within: make it for a copy of a snapshot; it then waits for ``restore``, and not for ``assign``.

        Raises:
            ZygoteFailed: the template is gone or could not fork.
            SpawnFailed: the fence could not be completed.
            CgroupFailed: no cgroup could be made.
            EgressFailed: no network with a way out could be made.
        """
        async with self._turn:
            if self._channel.closed:
                raise ZygoteFailed(self.spec.name, "spawn", 0, "the template has ended")
            if within is not None and self._way_out is not None:
                # Its namespaces belong to the snapshot's user namespace, and the network that was made ahead cannot.
                raise ZygoteFailed(self.spec.name, "spawn", errno.EOPNOTSUPP, "a copy cannot have a way out of its network")
            network = None if self._way_out is None else await self._way_out.acquire()
            try:
                group = await self._cgroups.acquire()
            except BaseException:
                if network is not None:
                    network.release()
                raise
            sandbox = fence.Sandbox(
                id=f"{self.spec.name}-{next(self._numbers)}",
                group=group,
                cgroups=self._cgroups,
                on_finished=self._fences.discard,
                place=None if self.isolation.fenced else plain.private_directory(self._instance),
                binds=self.spec.binds,
                within=None if within is None else within.snapshot,
                network=network,
            )
            self._fences.add(sandbox)
            try:
                if ahead is not None:
                    assert self.isolation.fenced, "a plain process does not know where its code will be"
                    sandbox.limit(ahead.limits)
                self._fork(sandbox, ahead, hurried, within)
                await sandbox.wait_ready()
                if within is not None:
                    await sandbox.carry()
            except asyncio.CancelledError:
                sandbox.begin_kill()
                raise
            except Exception:
                self._failed += 1
                await sandbox.kill()
                raise
            self._spawned += 1
            return sandbox

    def _fork(self, sandbox: fence.Sandbox, ahead: spec.Ahead | None, hurried: bool, within: fence.Within | None) -> None:
        """Ask the template for a process; the answer goes to the sandbox, whether somebody waits for it or not."""
        number = next(self._numbers)
        names, fds, close = sandbox.descriptors_for_template()
        message: dict[str, Any] = {"id": number, "names": names}
        if within is not None:
            sandbox.outer_id = within.snapshot.outer_id
            message["within"] = {"task": within.task, "opt": within.opt, "tmp_bytes": within.tmp_bytes}
        elif not self.isolation.rootless:
            sandbox.outer_id = OUTER_IDS[next(self._outer_ids) % len(OUTER_IDS)]
        try:
            if ahead is not None:
                message["ahead"] = sandbox.ahead_request(ahead)
            self._channel.send({**message, "outer_id": sandbox.outer_id, "hurried": hurried}, fds)
            self._forks[number] = sandbox
        except OSError as refused:
            sandbox.stillborn(ZygoteFailed(self.spec.name, "send to the template", refused.errno or 0))
        finally:
            channel.close_all(close)

    def _on_message(self, message: dict[str, Any], fds: list[int], _pid: int) -> None:
        match message:
            case {"event": "ready"}:
                self.python = message["python"]
                self.base_bytes = message["base_bytes"]
                if not self._ready.done():
                    self._ready.set_result(None)
            case {"event": "warmed"} if not self._warmed.done():
                self._warmed.set_result(None)
            case {"event": "forked"} if not fds:
                failure = ZygoteFailed(self.spec.name, "receive the process", errno.EMFILE)
                self._forks.pop(message["id"]).stillborn(failure)
            case {"event": "forked"}:
                self._forks.pop(message["id"]).born(fds.pop())
            case {"event": "failed"}:
                failure = ZygoteFailed(self.spec.name, message["step"], message["errno"] or 0)
                self._forks.pop(message["id"]).stillborn(failure)
            case {"event": "broken"} if not self._ready.done():
                text = message.get("text", "")
                self._ready.set_exception(ZygoteFailed(self.spec.name, message["step"], message["errno"] or 0, text))
        channel.close_all(fds)

    def _on_end(self) -> None:
        failure = ZygoteFailed(self.spec.name, "run", 0, "the template has ended")
        if not self._ready.done():
            self._ready.set_exception(failure)
        for sandbox in self._forks.values():
            sandbox.stillborn(failure)
        self._forks.clear()

    def statistics(self) -> Statistics:
        """Return counts since the start."""
        return Statistics(self.spec.name, self.python, self._spawned, self._failed, len(self._fences))

    async def close(self) -> None:
        """Kill all fences, and let the template end."""
        fences = list(self._fences)
        for sandbox in fences:
            sandbox.begin_kill()
        for sandbox in fences:
            await sandbox.kill()  # the template still answers, so that those being born are found, too
        self._channel.close()
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()  # it was reported where it was awaited


@asynccontextmanager
async def open_zygote(
    zygote_spec: spec.ZygoteSpec,
    *,
    code_store: Path,
    cgroups: cgroups_.Cgroups,
    isolation: Isolation | None = None,
    way_out: egress.Egress | None = None,
) -> AsyncIterator[Zygote]:
    """
    Start a template; it is ready to spawn when the body is entered.

    Args:
        zygote_spec: which interpreter, and what it sees.
        code_store: directory of functions' code, shown to each environment only as far as it is assigned.
        cgroups: where environments' cgroups come from.
        isolation: None means the strongest (namespaces, as root).
        way_out: where environments' networks come from; None gives each one of its own that leads nowhere.

    Raises:
        ZygoteFailed: with the step that failed.

    Resource handling: must be opened on the loop's own thread, and that thread must be the process's main thread or
    outlive the template: the kernel kills the template when the thread that started it ends.
    """
    isolation = isolation or Isolation()
    own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        fd = theirs.fileno()
        arguments, plan = _command(zygote_spec, code_store, isolation, fd)
        if plan is not None and way_out is not None:
            plan["root"]["files"]["/etc/resolv.conf"] = egress_rules.resolv_conf(way_out.subnet)
        zygote = Zygote(zygote_spec, own, cgroups, isolation, code_store, way_out)
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=(fd,),
            env={"LANG": "C.UTF-8"},
        )
    try:
        await zygote.start(plan)
        yield zygote
    finally:
        await zygote.close()
        await process.wait()


def _command(zygote_spec: spec.ZygoteSpec, code_store: Path, isolation: Isolation, fd: int) -> tuple[list[str], dict[str, Any] | None]:
    """Return what to execute, and the launcher's plan if there is a root to be built first."""
    flags = ["-I", "-S", "-c"]
    own_package = str(private_root.INSIDE.parent)
    if not isolation.fenced:
        boot = _BOOT.format(path=own_package, module="zygote", fd=fd)
        interpreter = plain.translator(plain.mapping(zygote_spec.binds))(zygote_spec.interpreter)
        return [interpreter, *flags, boot], None
    inside = str(Path(private_root.INSIDE_TARGET).parent)
    argv = [zygote_spec.interpreter, *flags, _BOOT.format(path=inside, module="zygote", fd=fd)]
    plan = {
        "root": private_root.for_environments(zygote_spec.binds, code_store, zygote_spec.directories),
        "argv": argv,
        "environment": {"LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin", **zygote_spec.environment},
        "cwd": "/",
        "ids": None,
        "keep": [fd],
        "die_with_parent": True,
        "own_pid_namespace": isolation.rootless,
    }
    return [sys.executable, *flags, _BOOT.format(path=own_package, module="launcher", fd=fd)], plan

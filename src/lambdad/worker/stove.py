"""Templates kept running, and what the sandbox needs to know to start each: the bridge between runtimes and sandbox."""

import asyncio
import contextlib
import hashlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambdad.kit import threads
from lambdad.runtimes import plans
from lambdad.sandbox import cgroups, fence, private_root, spec, zygote

if TYPE_CHECKING:
    from lambdad.sandbox import egress  # not loaded where there is no way out

log = logging.getLogger("lambdad.worker")

STEM_CPU_MILLICORES = 10
STEM_CPU_CAP_MILLICORES = 2000


class Template:
    """A zygote that is started at its first use, and again when it has died."""

    def __init__(self, stove: "Stove", zygote_spec: spec.ZygoteSpec, tasks: asyncio.TaskGroup) -> None:
        self._stove = stove
        self._spec = zygote_spec
        self._tasks = tasks
        self._lock = asyncio.Lock()
        self._zygote: zygote.Zygote | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.on_warmed: Callable[[], None] = lambda: None  # what it forks from now on is better than what it has forked
        self._program_bytes: dict[tuple[str, ...], int] = {}  # of programs executed ahead

    async def spawn(self, ahead: spec.Ahead | None = None, *, hurried: bool = False) -> fence.Sandbox:
        """Return a new stem cell; arguments as for `zygote.Zygote.spawn`. Raises OSError, whatever the step was that failed."""
        if hurried:
            ahead = None  # to boot with a rehearsal takes longer than to boot
        try:
            running = await self._running()
            try:
                made = await running.spawn(ahead, hurried=hurried)
            except zygote.ZygoteFailed:
                await self._end()
                made = await (await self._running()).spawn(ahead, hurried=hurried)
        except (zygote.ZygoteFailed, fence.SpawnFailed) as error:
            raise OSError(error.errno, str(error)) from error
        if ahead is not None and ahead.argv not in self._program_bytes:
            self._program_bytes[ahead.argv] = 0
            self._tasks.create_task(self._measure(ahead.argv, made))
        return made

    async def spawn_within(self, within: fence.Within) -> fence.Sandbox:
        """Return a fence for a copy of a snapshot. Raises OSError, whatever the step was that failed."""
        try:
            return await (await self._running()).spawn(within=within)
        except (zygote.ZygoteFailed, fence.SpawnFailed) as error:
            raise OSError(error.errno, str(error)) from error

    def shared_bytes(self, ahead: spec.Ahead | None) -> int:
        """Return what each environment uses without being charged with it: of the template, or of a program's file; 0 if not known yet."""
        if ahead is not None:
            return self._program_bytes.get(ahead.argv, 0)
        return 0 if self._zygote is None else self._zygote.base_bytes

    async def _measure(self, argv: tuple[str, ...], sandbox: fence.Sandbox) -> None:
        """Measure once what a program that has booted has mapped of files: its code, its libraries."""
        await sandbox.wait_booted()
        self._program_bytes[argv] = await threads.run(_file_bytes, sandbox.pid)

    async def _running(self) -> zygote.Zygote:
        async with self._lock:
            if self._zygote is None:
                ready: asyncio.Future[zygote.Zygote] = asyncio.get_running_loop().create_future()
                self._keeper = self._tasks.create_task(self._keep(ready))
                self._zygote = await ready
            return self._zygote

    async def close(self) -> None:
        """End the zygote, and with it everything that was forked from it."""
        await self._end()

    async def _end(self) -> None:
        async with self._lock:
            self._zygote = None
            if self._keeper is not None:
                self._keeper.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._keeper

    async def _keep(self, ready: "asyncio.Future[zygote.Zygote]") -> None:
        """Hold the zygote open until cancelled."""
        try:
            async with zygote.open_zygote(
                self._spec,
                code_store=self._stove.code_store,
                cgroups=self._stove.cgroups,
                isolation=self._stove.isolation,
                way_out=self._stove.way_out,
            ) as running:
                ready.set_result(running)
                await running.wait_warmed()
                self.on_warmed()
                await asyncio.Event().wait()
        except zygote.ZygoteFailed as error:
            if ready.done():
                log.exception("template.lost name=%s", self._spec.name)
            else:
                ready.set_exception(error)


def _file_bytes(pid: int) -> int:
    """Return how much of files is resident in a process; 0 if it is gone."""
    sizes = {"Rss": 0, "Anonymous": 0}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in sizes:
                sizes[name] = int(rest.split()[0]) * 1024
    return sizes["Rss"] - sizes["Anonymous"]


class Stove:
    """Where templates stand: one level of isolation, one code store, one source of cgroups, one way out if there is one."""

    def __init__(
        self, code_store: Path, source: cgroups.Cgroups, isolation: zygote.Isolation, way_out: "egress.Egress | None" = None
    ) -> None:
        self.code_store = code_store
        self.cgroups = source
        self.isolation = isolation
        self.way_out = way_out
        self._own_interpreter = Path(sys.executable)

    @property
    def fenced(self) -> bool:
        return self.isolation.fenced

    def key(self, plan: plans.RuntimePlan) -> str:
        """Return what is equal for plans that can share a template: programs that are executed need no template of their own."""
        if plan.kind is plans.Kind.FORK:
            return plan.key
        return hashlib.sha256(repr((plan.binds, plan.directories)).encode()).hexdigest()

    def ahead(self, plan: plans.RuntimePlan, memory_mib: int) -> spec.Ahead | None:
        """Return what a stem cell of a plan is to execute before it is anybody's; None if there is nothing."""
        if not plan.stem_command or not self.fenced:
            return None
        # While nobody waits for it, it gets the processor when nobody else wants it.
        limits = spec.Limits(memory_bytes=memory_mib << 20, cpu_millicores=STEM_CPU_MILLICORES, cpu_cap_millicores=STEM_CPU_CAP_MILLICORES)
        return spec.Ahead(argv=plan.stem_command, environment=dict(plan.template_environment), limits=limits)

    def open_template(self, plan: plans.RuntimePlan, tasks: asyncio.TaskGroup) -> Template:
        binds = tuple(spec.Bind(bind.source, bind.target) for bind in plan.binds)
        if plan.kind is plans.Kind.FORK:
            zygote_spec = spec.ZygoteSpec(
                name=plan.match.runtime.name,
                interpreter=plan.interpreter,
                binds=binds,
                directories=plan.directories,
                preload=plan.bootstrap,
                environment=dict(plan.template_environment),
            )
        else:
            # Programs are executed by a small process of our own interpreter, which is at its place on this machine.
            zygote_spec = spec.ZygoteSpec(
                name=plan.match.runtime.name,
                interpreter=str(self._own_interpreter),
                binds=(*private_root.interpreter_binds(self._own_interpreter), *binds) if self.fenced else (),
                directories=plan.directories,
            )
        return Template(self, zygote_spec, tasks)

    def within(self, snapshot: Any, *, task: str, opt: str | None, tmp_bytes: int) -> fence.Within:
        """Say where a fence for a copy is made; the snapshot is one of our sandboxes."""
        assert isinstance(snapshot, fence.Sandbox)
        return fence.Within(snapshot, task, opt, tmp_bytes)

    def assignment(
        self,
        *,
        task: str,
        opt: str | None,
        limits: spec.Limits,
        variables: dict[str, str],
        command: tuple[str, ...] | None,
        cwd: str,
        shared_bytes: int = 0,
        payload: dict[str, Any] | None = None,
    ) -> spec.Assignment:
        if payload is None and command is None:
            payload = {}  # what there is to know is in the environment
        return spec.Assignment(
            task=task, opt=opt, limits=limits, environment=variables, cwd=cwd, argv=command, payload=payload, shared_bytes=shared_bytes
        )

"""Templates kept running, and what the sandbox needs to know to start each: the bridge between runtimes and sandbox."""

import asyncio
import contextlib
import hashlib
import logging
import sys
from pathlib import Path
from typing import Any

from lambdad.runtimes import plans
from lambdad.sandbox import cgroups, fence, private_root, spec, zygote

log = logging.getLogger("lambdad.worker")


class Template:
    """A zygote that is started at its first use, and again when it has died."""

    def __init__(self, stove: "Stove", zygote_spec: spec.ZygoteSpec, tasks: asyncio.TaskGroup) -> None:
        self._stove = stove
        self._spec = zygote_spec
        self._tasks = tasks
        self._lock = asyncio.Lock()
        self._zygote: zygote.Zygote | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def spawn(self) -> fence.Sandbox:
        """Return a new stem cell. Raises OSError, whatever the step was that failed."""
        try:
            running = await self._running()
            try:
                return await running.spawn()
            except zygote.ZygoteFailed:
                await self._end()
                return await (await self._running()).spawn()
        except (zygote.ZygoteFailed, fence.SpawnFailed) as error:
            raise OSError(error.errno, str(error)) from error

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
                self._spec, code_store=self._stove.code_store, cgroups=self._stove.cgroups, isolation=self._stove.isolation
            ) as running:
                ready.set_result(running)
                await asyncio.Event().wait()
        except zygote.ZygoteFailed as error:
            if ready.done():
                log.exception("template.lost name=%s", self._spec.name)
            else:
                ready.set_exception(error)


class Stove:
    """Where templates stand: one level of isolation, one code store, one source of cgroups."""

    def __init__(self, code_store: Path, source: cgroups.Cgroups, isolation: zygote.Isolation) -> None:
        self.code_store = code_store
        self.cgroups = source
        self.isolation = isolation
        self._own_interpreter = Path(sys.executable)

    @property
    def fenced(self) -> bool:
        return self.isolation.fenced

    def key(self, plan: plans.RuntimePlan) -> str:
        """Return what is equal for plans that can share a template: programs that are executed need no template of their own."""
        if plan.kind is plans.Kind.FORK:
            return plan.key
        return hashlib.sha256(repr((plan.binds, plan.directories)).encode()).hexdigest()

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

    def assignment(
        self,
        *,
        task: str,
        opt: str | None,
        limits: spec.Limits,
        variables: dict[str, str],
        command: tuple[str, ...] | None,
        cwd: str,
        payload: dict[str, Any] | None = None,
    ) -> spec.Assignment:
        if payload is None and command is None:
            payload = {}  # what there is to know is in the environment
        return spec.Assignment(task=task, opt=opt, limits=limits, environment=variables, cwd=cwd, argv=command, payload=payload)

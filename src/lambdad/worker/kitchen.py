"""Where environments are made: interpreters found on this machine, templates and stem cells for each, assignments for functions."""

import asyncio
import contextlib
import errno
import functools
import logging
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lambdad.kit import threads
from lambdad.runtimes import catalogue, environment, matching, plans
from lambdad.runtimes.discovery import Interpreter
from lambdad.sandbox import spec as sandbox_spec
from lambdad.wire import frames
from lambdad.worker import host
from lambdad.worker.pools import Pools
from lambdad.worker.ports import Sandbox
from lambdad.worker.runtime_api import CREDENTIALS
from lambdad.worker.stems import StemPool
from lambdad.worker.stove import Stove, Template

log = logging.getLogger("lambdad.worker")

PIDS = 1024
FULL_CPU_MEMORY_MIB = 1769  # at this much memory a function has one whole processor
_TASK_ROOT = "/var/task"
_MIB = 1024 * 1024
_PLACES = {catalogue.Family.PYTHON: 2, catalogue.Family.NODEJS: 1, catalogue.Family.JAVA: 1, catalogue.Family.RUBY: 2}  # of the version
MOST_LAYER_SETS = 4096
_EXTENSIONS_OFF = "disable-extensions-jwigqn8j"  # a layer with this file has no extension started
_STORED = re.compile(r"(?:opt-)?[0-9a-f]{64}")  # names in the code store; the server's word is not taken for it
_COMPILER_LIMITS = sandbox_spec.Limits(memory_bytes=512 * _MIB, cpu_millicores=500, cpu_cap_millicores=1000, pids=16, tmp_bytes=64 * _MIB)
_FOR_RUNTIMES = ("_LAMBDA_TELEMETRY_LOG_FD", "LAMBDAD_LAYERS_ROOT")  # between us and our runtimes
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class Kitchen:
    """Implements `host.Kitchen`.

    Args:
        exact: refuse to run a runtime on another version of its language.
        capped: never give a function more processor than its share, as AWS does; Init has a whole one all the same.
        spare: stem cells kept for each kind of runtime that has been used.
    """

    def __init__(
        self,
        stove: Stove,
        interpreters: Sequence[Interpreter],
        files: plans.RuntimeFiles,
        tasks: asyncio.TaskGroup,
        *,
        code_store: Path,
        exact: bool,
        capped: bool,
        spare: int,
    ) -> None:
        self._stove = stove
        self._interpreters = tuple(interpreters)
        self._files = files
        self._tasks = tasks
        self._code_store = code_store
        self._exact = exact
        self._capped = capped
        self._pools = Pools(tasks, spare)
        self._templates: dict[str, Template] = {}
        self._matches: dict[str, matching.Match] = {}
        self._extensions: dict[str, tuple[str, ...]] = {}  # file names by layer set; at most MOST_LAYER_SETS

    def runtimes(self) -> list[str]:
        """Return the identifiers of the runtimes that can run here, those that AWS has closed left out."""
        there = matching.runnable(self._interpreters, exact_only=self._exact, without=self._files.without)
        return [name for name in there if name in catalogue.PRINTED]

    def interpreters(self) -> list[str]:
        """Name what was found on this machine and runs functions, e.g. "python3.12", and what needs nothing."""
        found = {
            f"{one.family.value}{'.'.join(map(str, one.version[:places]))}"
            for one in self._interpreters
            if (places := _PLACES.get(one.family)) and one.family not in self._files.without and matching.is_new_enough(one)
        }
        return [*sorted(found, key=catalogue.natural_order), "provided"]

    def _match(self, runtime: str) -> matching.Match:
        match = self._matches.get(runtime)
        if match is None:
            without = self._files.without
            match = matching.match(runtime, self._interpreters, exact_only=self._exact, without=without)
            if match is None:
                raise host.NoRuntime(matching.explain_missing(runtime, self._interpreters, exact_only=self._exact, without=without))
            self._matches[runtime] = match
        return match

    def _template(self, key: str, plan: plans.RuntimePlan) -> Template:
        template = self._templates.get(key)
        if template is None:
            template = self._templates[key] = self._stove.open_template(plan, self._tasks)
            template.on_warmed = functools.partial(self._pools.renew, key)
            if plan.kind is plans.Kind.EXEC and plan.match.interpreter is not None:
                files = (plan.match.interpreter.path, *plan.read_through)
                self._tasks.create_task(threads.run(_read_through, files))
        return template

    def _stems(self, plan: plans.RuntimePlan, memory_mib: int) -> StemPool:
        """Return the pool of those stem cells that can become a function with this plan."""
        key = self._stove.key(plan)
        template = self._template(key, plan)
        ahead = self._stove.ahead(plan, memory_mib)
        if ahead is not None:
            key = f"{key} {plan.key} {memory_mib}"
        return self._pools.use(key, functools.partial(template.spawn, ahead), executed=ahead is not None)

    def _shared_bytes(self, plan: plans.RuntimePlan, memory_mib: int) -> int:
        ahead = self._stove.ahead(plan, memory_mib)
        if plan.kind is plans.Kind.EXEC and ahead is None:
            return 0  # what it executes is all its own
        return self._template(self._stove.key(plan), plan).shared_bytes(ahead)

    async def expect(self, runtime: str, memory_mib: int) -> None:
        try:
            plan = plans.launch(self._match(runtime), memory_mib=memory_mib, customer={}, files=self._files, fenced=self._stove.fenced)
        except host.NoRuntime:
            return
        await self._stems(plan, memory_mib).wait_filled(booted=self._stove.ahead(plan, memory_mib) is not None)

    async def prepare(self, spec: frames.EnvironmentSpec) -> host.Prepared:
        if not _STORED.fullmatch(spec.task) or (spec.layers and not _STORED.fullmatch(spec.layers)):
            raise OSError(errno.EINVAL, "a code directory has a name that none has")
        match = self._match(spec.runtime)
        customer = {name: value for name, value in spec.environment.items() if name not in _CREDENTIALS}
        fenced = self._stove.fenced
        # Where there is no fence the sandbox puts the places where these really are in the place of their names.
        plan = plans.launch(match, memory_mib=spec.memory_mib, customer=customer, files=self._files, fenced=fenced)
        sandbox = await self._stems(plan, spec.memory_mib).take()
        template = self._template(self._stove.key(plan), plan)
        token = secrets.token_urlsafe(32) if spec.snapshot else ""
        facts = _facts(
            spec,
            runtime_api=sandbox.runtime_api,
            endpoint_url=sandbox.endpoint,
            task_root=_TASK_ROOT,
            runtime_dir=plans.RUNTIME_DIR if fenced or not plan.bootstrap else str(Path(plan.bootstrap).parent),
            token=token,
        )
        variables = environment.build(match.runtime, facts, customer, plan.environment)
        if plan.bootstrap:
            variables["_LAMBDA_TELEMETRY_LOG_FD"] = "1"  # our runtimes frame their records; they take the variable away
        if not fenced and match.runtime.family is catalogue.Family.PYTHON:
            variables["LAMBDAD_LAYERS_ROOT"] = "/opt"  # so that the sandbox says where it is
        command, found = self._command(plan, spec) if plan.kind is plans.Kind.EXEC else (None, True)
        limits, later_limits = self._limits(spec)
        extensions: tuple[tuple[str, sandbox_spec.Program], ...] = ()
        if spec.layers and (names := self._extension_names(spec.layers)):
            seen = environment.for_extension({name: value for name, value in variables.items() if name not in _FOR_RUNTIMES})
            extensions = tuple((name, sandbox_spec.Program(argv=(f"/opt/extensions/{name}",), environment=seen, cwd="/")) for name in names)
        return host.Prepared(
            sandbox=sandbox,
            assignment=self._stove.assignment(
                task=spec.task,
                opt=spec.layers or None,
                limits=limits,
                variables=variables,
                command=command,
                cwd=_TASK_ROOT,
                shared_bytes=self._shared_bytes(plan, spec.memory_mib),
            ),
            limits=later_limits,
            runtime_version=match.version_name,
            runtime_version_arn=spec.runtime_version_arn or match.version_arn(spec.region),
            notices=plan.notes,
            program=command[0] if command and match.interpreter is None else "",
            extensions=extensions,
            missing_program="" if found else plans.missing_entrypoint(plan),
            credentials_token=token,
            spawn_copy=lambda: template.spawn_within(
                self._stove.within(sandbox, task=spec.task, opt=spec.layers or None, tmp_bytes=limits.tmp_bytes)
            ),
        )

    async def prepare_compiler(self, runtime: str, directory: str) -> tuple[Sandbox, Any] | None:
        if not _STORED.fullmatch(directory):
            raise OSError(errno.EINVAL, "a code directory has a name that none has")
        try:
            match = self._match(runtime)
        except host.NoRuntime:
            return None
        plan = plans.launch(match, memory_mib=128, customer={}, files=self._files, fenced=self._stove.fenced)
        if plan.kind is not plans.Kind.FORK:
            return None
        sandbox = await self._stems(plan, 128).take()
        assignment = self._stove.assignment(
            task=directory, opt=None, limits=_COMPILER_LIMITS, variables={}, command=None, cwd=_TASK_ROOT, payload={"compile": _TASK_ROOT}
        )
        return sandbox, assignment

    def _limits(self, spec: frames.EnvironmentSpec) -> tuple[sandbox_spec.Limits, sandbox_spec.Limits]:
        """Return what an environment may use during Init, and after it. Source: AWS Lambda developer guide, "Configure memory"."""
        share = max(spec.memory_mib * 1000 // FULL_CPU_MEMORY_MIB, 1)
        limits = sandbox_spec.Limits(
            memory_bytes=spec.memory_mib * _MIB,
            cpu_millicores=share,
            cpu_cap_millicores=max(share, 1000),
            pids=PIDS,
            tmp_bytes=spec.ephemeral_storage_mib * _MIB,
        )
        return limits, replace(limits, cpu_cap_millicores=share) if self._capped else limits

    def _extension_names(self, layers: str) -> tuple[str, ...]:
        """Return the names of the files in /opt/extensions: looked up once for each layer set, which never changes."""
        names = self._extensions.get(layers)
        if names is None:
            root = self._code_store / layers
            try:
                off = (root / _EXTENSIONS_OFF).exists()
                with os.scandir(root / "extensions") as entries:
                    names = () if off else tuple(sorted(one.name for one in entries if one.is_file(follow_symlinks=False)))
            except OSError:
                names = ()
            if len(self._extensions) >= MOST_LAYER_SETS:
                del self._extensions[next(iter(self._extensions))]
            self._extensions[layers] = names
        return names

    async def close(self) -> None:
        """Kill all stem cells and templates."""
        await self._pools.close()
        for template in self._templates.values():
            await template.close()

    def _command(self, plan: plans.RuntimePlan, spec: frames.EnvironmentSpec) -> tuple[tuple[str, ...], bool]:
        """Choose the first command whose program is there, of an OS-only function its own or one of a layer's, and say if one is."""
        places = {"/var/task": spec.task, "/opt": spec.layers}
        for command in plan.commands:
            program = command[0]
            for target, name in places.items():
                if name and program.startswith(f"{target}/"):
                    program = str(self._code_store / name) + program.removeprefix(target)
            if Path(program).is_file():
                return command, True
        return plan.commands[-1], False


def _read_through(paths: Sequence[str]) -> None:
    """
    Bring a program into the page cache, on our account.

    The kernel charges a cached page to whoever read it first. Were that a function, it would be measured by a program of 90 MB, and the
    cache would go with it.
    """
    for path in paths:
        with contextlib.suppress(OSError), Path(path).open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def _facts(
    spec: frames.EnvironmentSpec, *, runtime_api: str, endpoint_url: str, task_root: str, runtime_dir: str, token: str
) -> environment.Facts:
    return environment.Facts(
        handler=spec.handler,
        region=spec.region,
        function_name=spec.function_name,
        version=spec.version,
        memory_mib=spec.memory_mib,
        log_group=spec.log_group,
        log_stream=spec.log_stream,
        initialization_type=spec.initialization_type,
        log_format=spec.log_format,
        application_log_level=spec.application_log_level,
        runtime_api=runtime_api,
        endpoint_url=endpoint_url,
        task_root=task_root,
        runtime_dir=runtime_dir,
        credentials=_credentials(spec.environment),
        credentials_uri=f"http://{runtime_api}{CREDENTIALS}" if token else "",
        credentials_token=token,
    )


def _credentials(variables: dict[str, str]) -> environment.Credentials | None:
    key = variables.get("AWS_ACCESS_KEY_ID")
    if not key:
        return None
    return environment.Credentials(
        access_key_id=key,
        secret_access_key=variables.get("AWS_SECRET_ACCESS_KEY", ""),
        session_token=variables.get("AWS_SESSION_TOKEN", ""),
    )

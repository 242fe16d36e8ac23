"""Snapshots for SnapStart: the Init phase of a version run once and kept, and environments restored from it.

A snapshot lives in the memory of this worker; after a restart there is none, and environments are initialised the long way until the
server has had one built again. At most `most` are kept: one more, and the one whose last restore is longest ago is given up.

Resource handling: a snapshot's fence is around the fences of its copies, so it is killed after the last of them has ended; the memory of
the kept process is given back as soon as the snapshot is given up.
"""

import asyncio
import collections
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from lambdad.kit.clock import NowMs
from lambdad.machines import environment as machine
from lambdad.machines import platform_text
from lambdad.sandbox import fence
from lambdad.wire import frames
from lambdad.worker import endpoint, output, platform_log, role_credentials, runtime_api
from lambdad.worker.ports import Prepared, Sandbox
from lambdad.worker.stems import StemPool

log = logging.getLogger("lambdad.worker")

SPARE_COPIES = 1  # fences made ahead for each snapshot
BUILDS_AT_ONCE = 2
MOST_REMEMBERED = 4096  # versions that cannot be kept
NOTICE = "lambdad: this version's environments are initialised one by one, and not restored from a snapshot: {}"
LEAVE_WITHIN_S = 0.1
MOST_FAILURES = 3


@dataclass(slots=True, eq=False)
class Kept:
    """A snapshot."""

    name: str
    prepared: Prepared
    memory_bytes: int
    copies: StemPool
    keeper: asyncio.Task[None]
    failures: int = 0  # of restores, one after another
    in_use: int = 0  # environments restored from it that live
    given_up: bool = False
    ended: bool = False


@dataclass(slots=True)
class _Outcome:
    """How an Init phase went."""

    error_type: str = ""
    reason: str = ""
    not_kept: str = ""
    port: int = 0  # of the connection that waits for the restore


class Building:
    """
    The Init phase of a snapshot: what its runtime may ask for meanwhile, and how it ends.

    Implements `runtime_api.Environment`.
    """

    def __init__(
        self,
        spec: frames.EnvironmentSpec,
        prepared: Prepared,
        *,
        logs: output.LogBuffer,
        now_ms: NowMs,
        upstream: endpoint.Upstream,
    ) -> None:
        self.connections: set[runtime_api.RuntimeApi] = set()
        self._spec = spec
        self._prepared = prepared
        self._sandbox = prepared.sandbox
        self._logs = logs
        self._now_ms = now_ms
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[_Outcome] = self._loop.create_future()
        self._reader = output.OutputReader(self._sandbox.output, now_ms, self._emit)
        self.head_at_s = 0.0
        self._platform = platform_log.PlatformLog(
            spec, prepared.runtime_version, prepared.runtime_version_arn, lambda line: self.say(line), now_ms
        )

    async def run(self) -> _Outcome:
        """
        Run Init and the hooks before the snapshot; returns when the runtime waits for the restore, or has failed.

        Raises:
            AssignFailed: the fence is gone.
        """
        began_s = time.monotonic()
        limit_s = machine.init_limit_s(self._spec.initialization_type, self._spec.timeout_s)
        relay = endpoint.Relay(self._upstream)
        server = await self._loop.create_server(lambda: runtime_api.RuntimeApi(self), sock=self._sandbox.runtime_listener)
        relay_server = await self._loop.create_server(relay.accept, sock=self._sandbox.endpoint_listener)
        self._loop.add_reader(self._sandbox.output, self._output_ready)
        self._platform.init_start("snap-start")
        for notice in self._prepared.notices:
            self.say(notice)
        try:
            outcome = await self._wait(limit_s)
            if outcome.not_kept:
                raise fence.NotKept(outcome.not_kept)
            status = "" if not outcome.error_type else "timeout" if outcome.error_type == "Sandbox.Timedout" else "error"
            self._drain()
            self._platform.snapshot_report(
                init_ms=(time.monotonic() - began_s) * 1000, status=status, error_type=outcome.error_type if status == "error" else ""
            )
            if not outcome.error_type and not outcome.port:
                raise fence.NotKept("its runtime does not ask to be restored")
            if not outcome.error_type:
                await self._sandbox.keep(outcome.port)
            return outcome
        finally:
            self._loop.remove_reader(self._sandbox.output)
            self._drain()
            self._reader.flush()
            for connection in list(self.connections):
                connection.close()
            server.close()
            relay_server.close()
            relay.close()

    async def _wait(self, limit_s: float) -> _Outcome:
        try:
            async with asyncio.timeout(limit_s), asyncio.TaskGroup() as tasks:
                try:
                    await self._sandbox.assign(self._prepared.assignment)
                except fence.ExecFailed as error:
                    return _Outcome("Runtime.InvalidEntrypoint", str(error))
                watcher = tasks.create_task(self._watch())
                outcome = await self._outcome
                if outcome.error_type:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LEAVE_WITHIN_S):
                            await self._sandbox.wait_exit()
                watcher.cancel()
                return outcome
        except TimeoutError:
            return _Outcome("Sandbox.Timedout", f"The function was not initialized within {limit_s:.0f} seconds.")

    async def _watch(self) -> None:
        exit_ = await self._sandbox.wait_exit()
        kind = "Runtime.OutOfMemory" if exit_.oom else "Runtime.ExitError"
        self._end(_Outcome(kind, platform_text.exit_text(exit_.code, exit_.signal)))

    def _end(self, outcome: _Outcome) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def say(self, line: str) -> None:
        """Write a line of the platform's."""
        self._logs.add(self._spec.environment_id, self._now_ms(), line, is_platforms=True)

    def _emit(self, at_ms: int, line: str, *, is_platforms: bool = False) -> None:
        self._logs.add(self._spec.environment_id, at_ms, line, is_platforms=is_platforms)

    def _output_ready(self) -> None:
        self._reader.drain(reads=1)
        if self._reader.ended:
            self._loop.remove_reader(self._sandbox.output)

    def _drain(self) -> None:
        self._reader.drain()

    # What the Runtime API calls.
    @property
    def crew(self) -> runtime_api.Crew:
        self._end(_Outcome(not_kept="its code registers an extension"))
        raise machine.IllegalEvent("an extension cannot be kept in a snapshot")

    def next_called(self, connection: runtime_api.RuntimeApi) -> None:
        self._end(_Outcome("", ""))  # a runtime that knows nothing of snapshots: it cannot be kept

    def poll_lost(self, connection: runtime_api.RuntimeApi) -> None:
        return None

    def response_posted(self, request_id: str, body: bytes, content_type: str) -> None:
        raise runtime_api.UnknownRequest

    def error_posted(self, request_id: str, body: bytes, error_type: str) -> None:
        raise runtime_api.UnknownRequest

    def oversize_posted(self, request_id: str) -> None:
        raise runtime_api.UnknownRequest

    def init_error_posted(self, body: bytes, error_type: str) -> None:
        self._end(_Outcome(error_type, body[:1024].decode("utf-8", "replace")))

    def restore_next_called(self, connection: runtime_api.RuntimeApi) -> None:
        self._end(_Outcome(port=connection.local_port()))

    def restore_error_posted(self, body: bytes, error_type: str) -> None:
        raise machine.IllegalEvent("RestoreError while Init")

    def credentials(self, authorization: str) -> bytes:
        return role_credentials.answer(self._spec, self._prepared.credentials_token, authorization)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A fence made for a copy of a snapshot; whoever takes it must give it back by `Snapshots.ended`."""

    kept: Kept
    sandbox: Sandbox


@dataclass(slots=True)
class Snapshots:
    """All snapshots of this worker."""

    prepare: Callable[[frames.EnvironmentSpec], Awaitable[Prepared]]
    tasks: asyncio.TaskGroup
    logs: output.LogBuffer
    now_ms: NowMs
    upstream: endpoint.Upstream
    most: int
    _kept: "collections.OrderedDict[str, Kept]" = field(default_factory=collections.OrderedDict)  # last used last
    _unkept: "collections.OrderedDict[str, str]" = field(default_factory=collections.OrderedDict)  # name to the reason
    _building: "dict[str, asyncio.Future[frames.Built]]" = field(default_factory=dict)
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(BUILDS_AT_ONCE))
    _ends: set[asyncio.Task[None]] = field(default_factory=set)

    def notice(self, name: str) -> str:
        """Return what the log of an environment that is initialised the long way has to say of it; "" if nothing."""
        reason = self._unkept.get(name, "")
        return NOTICE.format(reason) if reason else ""

    def is_missing(self, name: str) -> bool:
        """Say whether a snapshot should be built: it is not there, not on its way, and not known to be impossible."""
        return self.most > 0 and name not in self._kept and name not in self._unkept and name not in self._building

    async def build(self, spec: frames.EnvironmentSpec) -> frames.Built:
        """Run the Init phase of a version and keep a snapshot; where there is one, that is it. Raises NoRuntime, OSError."""
        name = spec.snapshot
        if name in self._kept:
            self._kept.move_to_end(name)
            return frames.Built(environment_id=spec.environment_id)
        waiting = self._building.get(name)
        if waiting is not None:
            built = await asyncio.shield(waiting)
            return frames.Built(
                environment_id=spec.environment_id, error_type=built.error_type, reason=built.reason, not_kept=built.not_kept
            )
        done = self._building[name] = asyncio.get_running_loop().create_future()
        try:
            async with self._turn:
                built = await self._build(spec)
            done.set_result(built)
            return built
        except BaseException as error:
            done.set_exception(error if isinstance(error, Exception) else OSError(str(error)))
            done.exception()
            raise
        finally:
            del self._building[name]

    async def _build(self, spec: frames.EnvironmentSpec) -> frames.Built:
        prepared = await self.prepare(spec)
        if prepared.extensions:
            await prepared.sandbox.kill()
            reason = "it has external extensions, which are processes of their own"
            self._remember(spec.snapshot, reason)
            return frames.Built(environment_id=spec.environment_id, not_kept=reason)
        building = Building(spec, prepared, logs=self.logs, now_ms=self.now_ms, upstream=self.upstream)
        kept = False
        try:
            outcome = await building.run()
            if outcome.error_type:
                return frames.Built(environment_id=spec.environment_id, error_type=outcome.error_type, reason=outcome.reason)
            await self._keep(spec.snapshot, prepared)
            kept = True
            return frames.Built(environment_id=spec.environment_id)
        except fence.NotKept as refused:
            building.say(NOTICE.format(refused))
            self._remember(spec.snapshot, str(refused))
            return frames.Built(environment_id=spec.environment_id, not_kept=str(refused))
        except fence.AssignFailed as error:
            raise OSError(error.errno, str(error)) from error
        finally:
            if not kept:
                await prepared.sandbox.kill()

    async def _keep(self, name: str, prepared: Prepared) -> None:
        assert prepared.spawn_copy is not None
        if self.most < 1:
            raise fence.NotKept("snapshots are switched off")
        try:
            first = await prepared.spawn_copy()  # a machine that cannot make one is found out here
        except OSError as refused:
            raise fence.NotKept(f"no fence can be made inside its own: {refused}") from refused
        spawn_copy = prepared.spawn_copy

        async def spawn(*, hurried: bool) -> Sandbox:
            return await spawn_copy()

        copies = StemPool(spawn, SPARE_COPIES)
        copies.add(first)
        keeper = self.tasks.create_task(copies.run())
        kept = self._kept[name] = Kept(name, prepared, prepared.sandbox.peak_memory_bytes(), copies, keeper)
        watcher = self.tasks.create_task(self._watch(kept))
        self._ends.add(watcher)
        watcher.add_done_callback(self._ends.discard)
        log.info("snapshot.kept snapshot=%s snapshots=%d", name, len(self._kept))
        while len(self._kept) > self.most:
            self.forget(next(iter(self._kept)))

    async def _watch(self, kept: Kept) -> None:
        """Forget a snapshot that is no more: its template has died, or somebody has killed it. It is built again when it is needed."""
        await kept.prepared.sandbox.wait_exit()
        if self._kept.get(kept.name) is kept:
            log.error("snapshot.gone snapshot=%s", kept.name)
            self.forget(kept.name)

    def _remember(self, name: str, reason: str) -> None:
        self._unkept[name] = reason
        while len(self._unkept) > MOST_REMEMBERED:
            self._unkept.popitem(last=False)

    async def take(self, name: str) -> Copy | None:
        """Return a fence for an environment that is restored, None where there is no snapshot to restore it from."""
        kept = self._kept.get(name)
        if kept is None:
            return None
        self._kept.move_to_end(name)
        kept.in_use += 1
        try:
            return Copy(kept=kept, sandbox=await kept.copies.take())
        except OSError as refused:
            self._failed(kept, str(refused))
            self._leave(kept)
            return None
        except BaseException:
            self._leave(kept)
            raise

    def _failed(self, kept: Kept, reason: str) -> None:
        """Note that a restore failed, for no fault of the function's. After a few in a row a snapshot is given up for good."""
        kept.failures += 1
        log.error("restore.failed snapshot=%s failures=%d reason=%s", kept.name, kept.failures, reason)
        if self._kept.get(kept.name) is kept and kept.failures >= MOST_FAILURES:
            self.forget(kept.name)
            self._remember(kept.name, f"its snapshot was lost: {reason}")

    def ended(self, copy: Copy, failure: str) -> None:
        """Note that an environment, with its sandbox, is gone, and why it was never restored ("" if it was)."""
        if failure:
            self._failed(copy.kept, failure)
        else:
            copy.kept.failures = 0
        self._leave(copy.kept)

    def forget(self, name: str) -> None:
        """Give a snapshot up, if there is one."""
        self._unkept.pop(name, None)
        kept = self._kept.pop(name, None)
        if kept is None:
            return
        kept.given_up = True
        kept.keeper.cancel()
        kept.prepared.sandbox.drop_snapshot()
        self._end_if_unused(kept)

    def _leave(self, kept: Kept) -> None:
        kept.in_use -= 1
        self._end_if_unused(kept)

    def _end_if_unused(self, kept: Kept) -> None:
        if kept.given_up and not kept.in_use and not kept.ended:
            kept.ended = True
            task = self.tasks.create_task(self._end(kept))
            self._ends.add(task)
            task.add_done_callback(self._ends.discard)

    async def _end(self, kept: Kept) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await kept.keeper
        await kept.copies.close()
        await kept.prepared.sandbox.kill()

    async def close(self) -> None:
        """Give everything up; call it when no environment is left."""
        for name in list(self._kept):
            self.forget(name)
        while self._ends:
            await asyncio.wait(self._ends)

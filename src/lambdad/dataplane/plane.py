"""The data plane: count, assign, run, record. A warm invocation passes here without an `await` before it is on its way.

Decisions are taken by `machines.concurrency` and `machines.assignment`; this module keeps what they decide on, and carries them out.

Invariants: every admitted invocation leaves exactly once, whatever becomes of its caller, its environment or the worker; an environment
is in one pool from its Start to its Stopped.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from lambdad.dataplane import compilations, ports
from lambdad.dataplane.deployments import Deployment, Home, Running
from lambdad.dataplane.idle import Idle
from lambdad.dataplane.provisioned import Provisioned
from lambdad.dataplane.room import Room
from lambdad.machines import assignment, concurrency, keep_alive, provisioned
from lambdad.model.function import FunctionKey, FunctionVersion
from lambdad.model.invocation import Invocation, Outcome, RestoreFailed, RuntimeUnavailable, SystemFailure, Throttled
from lambdad.wire import frames

log = logging.getLogger("lambdad.dataplane")

WORKER_WAIT_S = 10.0  # how long an invocation waits for a worker that is being restarted
OVERDUE_S = 60.0  # what an invocation may take beyond its timeout: a cold start, a wait for the worker
PREPARED_WITHIN_S = 1.5  # the worker answers sooner
MAX_AGE_S = 6 * 3600.0  # an environment that is never idle is replaced, as on AWS; its credentials end later
BUILD_OVERDUE_S = 960.0  # a snapshot's Init takes 900 s at most, but may have to wait for its turn
RESTORE_TIMED_OUT = "restore timeout: "  # likewise, when an environment could not be restored in time,
RESTORE_FAILED = "restore error: "  # or its function failed to take that up,
RESTORE_LOST = "restore lost: "  # or there was nothing to restore it from any more
NO_RUNTIME = "no runtime: "  # how a worker's Stopped.reason begins when it has no interpreter
INIT_FAILED = "init failed: "  # likewise, when an environment that nobody waits for could not be initialised


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    environments: int
    idle: int
    busy: int
    starting: int
    waiting: int
    invocations: int
    cold_starts: int
    throttled: int
    provisioned: int  # environments that are initialised
    provisioned_busy: int
    provisioned_invocations: int
    spillovers: int  # invocations of a version with provisioned concurrency that none of it was free for
    made_ahead: int
    evicted: int


def provision_failure(reason: str) -> str:
    """Return the StatusReason for an environment that could not be initialised, from a worker's Stopped.reason."""
    return "FUNCTION_ERROR_INIT_FAILURE" if reason.startswith(INIT_FAILED) else reason.removeprefix(NO_RUNTIME)


class DataPlane:
    """Runs invocations on a worker. All methods belong to the event loop's thread."""

    def __init__(
        self,
        make_spec: ports.SpecSource,
        log_sink: ports.LogSink,
        *,
        keep_alive_s: float = 600.0,
        capacity_wait_s: float = 0.0,
        memory_low_percent: float = 0.0,
        memory_stall_percent: float = 100.0,
    ) -> None:
        self.link: ports.WorkerLink | None = None  # set once by the composition root
        # Likewise: runtime and memory size (MiB) of the functions that there are.
        self.runtimes_in_use: Callable[[], Iterable[tuple[str, int]]] = tuple
        self.compilations = compilations.Compilations(self._send)
        self._preparing: dict[tuple[str, int], asyncio.Event] = {}  # what the worker has been asked to prepare and has not answered
        self._make_spec = make_spec
        self._log_sink = log_sink
        self._loop = asyncio.get_running_loop()
        self.deployments: dict[str, Deployment] = {}  # by deployment id
        self.homes: dict[str, Home] = {}  # by environment id, until Stopped
        self.provisioned = Provisioned(self)
        self._room = Room(self, wait_s=capacity_wait_s)
        self._idle = Idle(self, keep_alive_s, memory_low_percent=memory_low_percent, memory_stall_percent=memory_stall_percent)
        self._leaving: set[str] = set()  # those of `homes` that were told to stop; their last log lines are still to come
        self._counts: dict[tuple[str, str], concurrency.Counts] = {}
        self._builds: dict[str, tuple[frames.EnvironmentSpec, asyncio.Future[frames.Built]]] = {}  # by environment id
        self._snapshots: dict[str, FunctionVersion] = {}  # that a worker may hold, by deployment id
        self._present = asyncio.Event()  # a worker is there
        self._emptied: asyncio.Event | None = None  # set once the last environment is gone, while somebody waits for that
        self._invocations = self._cold_starts = self._throttled = 0
        self._provisioned_invocations = self._spillovers = 0

    # Invoking.
    def admit(self, invocation: Invocation, unreserved_limit: int) -> Running:
        """
        Count an invocation in.

        Raises:
            Throttled: it may not run now.
        """
        version = invocation.version
        now_s = self._loop.time()
        overdue_at_s = now_s + version.timeout_s + OVERDUE_S
        deployment = self.deployments.get(version.deployment_id)
        if deployment is not None and deployment.kept is not None and self.provisioned.admits(deployment, now_s):
            self._provisioned_invocations += 1
            return Running(invocation, self._loop.create_future(), concurrency.Claim.PROVISIONED, now_s, overdue_at_s)
        place = (version.account, version.region)
        counts = self._counts.get(place)
        if counts is None:
            counts = self._counts[place] = concurrency.Counts()
        reserved = invocation.reserved_concurrency
        rate_limited = invocation.rate_limited
        reason = concurrency.admit(counts, version.name, reserved, unreserved_limit, now_s, rate_limited=rate_limited)
        if reason is not None:
            self._throttled += 1
            raise Throttled(reason)
        if deployment is not None and deployment.kept is not None:
            self._spillovers += 1
        claim = concurrency.Claim.UNRESERVED if reserved is None else concurrency.Claim.RESERVED
        return Running(invocation, self._loop.create_future(), claim, now_s, overdue_at_s)

    async def invoke(self, invocation: Invocation, unreserved_limit: int) -> Outcome:
        """
        Run an invocation and return how it ended.

        Args:
            unreserved_limit: what the account may run at once outside of reservations.

        Raises:
            Throttled: a limit of concurrency is reached; the function has not run.
            RuntimeUnavailable: no worker has the function's runtime; the function has not run.
            SystemFailure: the platform failed; the function may or may not have run.

        Cancellation: the invocation goes on and is counted until it ends; its outcome is dropped.
        """
        running = self.admit(invocation, unreserved_limit)
        if not self._present.is_set():
            await self._wait_for_worker(running)
        self._assign(running)
        return await running.future

    async def _wait_for_worker(self, running: Running) -> None:
        try:
            async with asyncio.timeout(WORKER_WAIT_S):
                await self._present.wait()
        except BaseException as error:
            self._leave(running)
            if isinstance(error, TimeoutError):
                raise SystemFailure("there is no worker to run the function") from error
            raise

    def _assign(self, running: Running) -> None:
        self._invocations += 1
        deployment = self.deployment(running.invocation.version)
        if running.claim is not concurrency.Claim.PROVISIONED:
            keep_alive.came(deployment.usage, running.since_s)
            running.usage = deployment.usage
        self._place(deployment, running)

    def deployment(self, version: FunctionVersion) -> Deployment:
        """Return the deployment of a version; it stays as long as it has environments, or invocations that wait for one."""
        deployment = self.deployments.get(version.deployment_id)
        if deployment is None:
            deployment = self.deployments[version.deployment_id] = Deployment(version, self._idle.usage(version))
        return deployment

    def _place(self, deployment: Deployment, running: Running) -> None:
        environment_id = self.provisioned.take(deployment) if running.claim is concurrency.Claim.PROVISIONED else None
        if environment_id is not None:
            deployment.pool.busy[environment_id] = running
        else:
            environment_id = assignment.request(deployment.pool, running)
        if environment_id is not None:
            self._run(environment_id, running)
        elif assignment.needs_start(deployment.pool):
            self._scale_out(deployment)

    def _scale_out(self, deployment: Deployment) -> None:
        """Start an environment for the newest invocation that waits; those before it have environments on their way."""
        now_s = self._loop.time()
        if not self._room.may_grow(deployment, now_s) or not self._room.start_or_queue(deployment, now_s):
            self.throttle(deployment.pool.waiting.pop())
            self.forget_if_empty(deployment)

    def throttle(self, running: Running) -> None:
        """Refuse an invocation that was admitted and waits; the caller takes it out of where it waits."""
        self._throttled += 1
        self._end(running, Throttled(concurrency.ThrottleReason.ACCOUNT))

    def _run(self, environment_id: str, running: Running) -> None:
        assert self.link is not None
        invocation = running.invocation
        message = frames.Invoke(
            environment_id=environment_id,
            request_id=invocation.request_id,
            invoked_arn=invocation.invoked_arn,
            trace_id=invocation.trace_id,
            client_context=invocation.client_context,
            want_tail=invocation.want_tail,
        )
        self.link.send(message, invocation.payload)

    def start(self, deployment: Deployment, *, is_provisioned: bool = False) -> bool:
        """Start an environment; False where there is no room for it, and none that could be made."""
        assert self.link is not None
        if self._emptied is not None or (not self.has_room() and not self._idle.evict(self._loop.time())):
            return False
        environment_id = secrets.token_hex(16)
        spec = self._make_spec(deployment.version, environment_id)
        if is_provisioned:
            assert deployment.kept is not None
            spec = msgspec.structs.replace(spec, initialization_type="provisioned-concurrency")
            provisioned.started(deployment.kept, environment_id)
        else:
            assignment.started(deployment.pool, environment_id)
            self._cold_starts += 1
        self.homes[environment_id] = Home(deployment, spec, self._loop.time(), is_provisioned)
        self.link.send(frames.Start(spec=spec))
        return True

    # Snapshots.
    async def build(self, version: FunctionVersion) -> frames.Built:
        """
        Have the Init phase of a version with SnapStart run once, and a snapshot of it kept; says how it went.

        Waits for a worker, and begins again with the next one when it goes meanwhile.
        """
        self._snapshots[version.deployment_id] = version
        while True:
            await self._present.wait()
            try:
                async with asyncio.timeout(BUILD_OVERDUE_S):
                    return await self._build(version)
            except SystemFailure:
                continue  # its worker has gone
            except TimeoutError:
                log.error("snapshot.overdue function=%s", version.qualified_arn)  # asked again, it goes on with what it has begun

    async def _build(self, version: FunctionVersion) -> frames.Built:
        assert self.link is not None
        environment_id = secrets.token_hex(16)
        spec = self._make_spec(version, environment_id)
        done: asyncio.Future[frames.Built] = self._loop.create_future()
        self._builds[environment_id] = (spec, done)
        try:
            self.link.send(frames.Build(spec=spec))
            return await done
        finally:
            del self._builds[environment_id]

    def expect_snapshot(self, version: FunctionVersion) -> None:
        """Note that a worker may hold a snapshot of a version, from the time of another server."""
        self._snapshots[version.deployment_id] = version

    def _forget_if_unknown(self, snapshot: str) -> None:
        """Have a snapshot dropped whose version was deleted while it was built."""
        if snapshot not in self._snapshots and self.link is not None:
            self.link.send(frames.Forget(snapshot=snapshot))

    def _build_again(self, environment_id: str) -> None:
        """Have a snapshot made that a worker has not, or no longer, for the environments that come next."""
        home = self.homes.get(environment_id)
        if home is None or self.link is None or home.deployment.retired:
            return
        spec = self._make_spec(home.deployment.version, secrets.token_hex(16))
        done: asyncio.Future[frames.Built] = self._loop.create_future()
        done.add_done_callback(lambda _: self._builds.pop(spec.environment_id, None))
        done.add_done_callback(_note_build)
        self._builds[spec.environment_id] = (spec, done)
        self._snapshots[home.deployment.version.deployment_id] = home.deployment.version
        self.link.send(frames.Build(spec=spec))

    def capacity(self) -> int:
        """Return how many environments the worker can hold; 0 while there is none."""
        assert self.link is not None
        return self.link.capacity

    def has_room(self) -> bool:
        """Say whether the worker holds fewer environments than it can."""
        return len(self.homes) - len(self._leaving) < self.capacity()

    def stop(self, environment_id: str) -> None:
        """Have an environment ended. What ran there is forgotten."""
        assert self.link is not None
        deployment = self.homes[environment_id].deployment
        assignment.lost(deployment.pool, environment_id)
        if deployment.kept is not None:
            provisioned.forget(deployment.kept, environment_id)
        self._leaving.add(environment_id)
        self.link.send(frames.Stop(environment_id=environment_id))

    def _fail_waiting(self, deployment: Deployment, error: Exception) -> None:
        if deployment.pool.waiting:
            self._end(deployment.pool.waiting.popleft(), error)

    def _end(self, running: Running, result: Outcome | Exception) -> None:
        self._leave(running)
        self._tell(running, result)

    def _tell(self, running: Running, result: Outcome | Exception) -> None:
        if running.future.done():
            return  # its caller has gone, or has its answer
        if isinstance(result, Exception):
            running.future.set_exception(result)
        else:
            running.future.set_result(result)

    def _leave(self, running: Running) -> None:
        version = running.invocation.version
        if running.usage is not None:
            keep_alive.went(running.usage, self._loop.time())
            running.usage = None
        if running.claim is not concurrency.Claim.PROVISIONED:
            concurrency.leave(self._counts[version.account, version.region], version.name, running.claim)

    def _send(self, message: frames.ToWorker) -> bool:
        if self.link is None or not self._present.is_set():
            return False
        self.link.send(message)
        return True

    async def worker_present(self) -> None:
        """Return when there is a worker."""
        await self._present.wait()

    # What the worker says.
    def worker_came(self, welcome: frames.Welcome) -> None:
        self._present.set()
        for runtime, memory_mib in self.runtimes_in_use():
            self._ask_to_prepare(runtime, memory_mib)
        for deployment in self.deployments.values():
            self._room.again(deployment, self._loop.time())
        self.provisioned.tick(self._loop.time())

    def worker_went(self) -> None:
        """Forget every environment; fail what ran in them, keep what waits for the next worker."""
        self._present.clear()
        self.compilations.lost()
        self.homes.clear()
        self._leaving.clear()
        for asked in list(self._preparing):
            self._preparing.pop(asked).set()
        for _, done in list(self._builds.values()):
            if not done.done():
                done.set_exception(SystemFailure("the worker that built the snapshot has gone"))
        self._tell_if_empty()
        self._room.clear()
        self.provisioned.clear()
        for deployment in self.deployments.values():
            pool = deployment.pool
            ended, pool.busy = list(pool.busy.values()), {}
            pool.idle.clear()
            pool.starting.clear()
            for running in ended:
                self._end(running, SystemFailure("the worker that ran the function has gone"))

    def worker_said(self, message: frames.ToServer, body: bytes) -> None:
        match message:
            case frames.Answer():
                self._answered(message, body)
            case frames.Freed(environment_id=environment_id, request_id=request_id):
                self._ended(environment_id, request_id)
            case frames.Ready(environment_id=environment_id):
                if environment_id in self.homes and environment_id not in self._leaving:
                    self._freed(environment_id)
            case frames.LogEvents(events=events):
                self._logged(events)
            case frames.Load():
                self._idle.relieve(message, self._loop.time())
            case frames.Stopped():
                self._stopped(message)
            case frames.Compiled():
                self.compilations.heard(message, body)
            case frames.Prepared(runtime=runtime, memory_mib=memory_mib):
                if (waiting := self._preparing.pop((runtime, memory_mib), None)) is not None:
                    waiting.set()
            case frames.Built(environment_id=environment_id):
                build = self._builds.get(environment_id)
                if build is not None and not build[1].done():
                    build[1].set_result(message)
                    self._forget_if_unknown(build[0].snapshot)
            case frames.SnapshotMissing(environment_id=environment_id):
                self._build_again(environment_id)
            case frames.Welcome():
                raise AssertionError("the link hears Welcome itself")

    def _answered(self, answer: frames.Answer, payload: bytes) -> None:
        home = self.homes.get(answer.environment_id)
        running = home.deployment.pool.busy.get(answer.environment_id) if home is not None else None
        if running is None or running.invocation.request_id != answer.request_id:
            log.error("answer.unexpected environment_id=%s request_id=%s", answer.environment_id, answer.request_id)
            return
        outcome = Outcome(
            payload=payload,
            function_error=answer.function_error,
            error_type=answer.error_type,
            tail=answer.tail,
            duration_ms=answer.duration_ms,
            billed_ms=answer.billed_ms,
            init_ms=answer.init_ms,
            max_memory_mib=answer.max_memory_mib,
        )
        if answer.init_ms and home is not None:
            self._idle.learnt(home.deployment.usage, size_mib=float(answer.max_memory_mib))
        if answer.busy:  # its extensions are still at work: it counts, and takes nothing else, until it is freed
            running.answered = True
            self._tell(running, outcome)
            return
        self._end(running, outcome)
        self._freed(answer.environment_id)

    def _ended(self, environment_id: str, request_id: str) -> None:
        """Note that an invocation that has been answered has ended."""
        home = self.homes.get(environment_id)
        running = home.deployment.pool.busy.get(environment_id) if home is not None else None
        if running is not None and running.invocation.request_id == request_id:
            self._leave(running)
            self._freed(environment_id)

    def _freed(self, environment_id: str) -> None:
        home, now_s = self.homes[environment_id], self._loop.time()
        deployment = home.deployment
        if home.is_provisioned:
            self._freed_provisioned(deployment, environment_id, now_s)
            return
        if environment_id in deployment.pool.starting:
            self._idle.learnt(deployment.usage, cold_ms=(now_s - home.made_at_s) * 1000)
        if now_s > home.made_at_s + MAX_AGE_S:
            self.stop(environment_id)
            self._room.again(deployment, now_s)
            return
        if self._room.short and self._room.gives_way(deployment, now_s):
            self.stop(environment_id)
            self._room.serve()
            return
        following = assignment.free(deployment.pool, environment_id, now_s)
        if following is not None:
            self._run(environment_id, following)
        elif deployment.retired:
            self.stop(environment_id)
            self._room.serve()

    def _freed_provisioned(self, deployment: Deployment, environment_id: str, now_s: float) -> None:
        deployment.pool.busy.pop(environment_id, None)
        kept = deployment.kept
        assert kept is not None, "a provisioned environment has a pool"
        provisioned.freed(kept, environment_id)
        if deployment.pool.waiting and environment_id not in kept.old:
            running = deployment.pool.waiting.popleft()
            provisioned.take(kept)
            deployment.pool.busy[environment_id] = running
            self._reclaim(running)
            self._run(environment_id, running)
        self.provisioned.settle(deployment, now_s)

    def _reclaim(self, running: Running) -> None:
        """Count an invocation that waited for an environment on demand as what it has got: one that is counted already."""
        if running.claim is not concurrency.Claim.PROVISIONED:
            version = running.invocation.version
            concurrency.leave(self._counts[version.account, version.region], version.name, running.claim)
            running.claim = concurrency.Claim.PROVISIONED

    def _stopped(self, message: frames.Stopped) -> None:
        self._leaving.discard(message.environment_id)
        home = self.homes.pop(message.environment_id, None)
        self._tell_if_empty()
        if home is None:
            return
        deployment = home.deployment
        if deployment.kept is not None:
            provisioned.lost(deployment.kept, message.environment_id, self._loop.time(), provision_failure(message.reason))
        was_starting = message.environment_id in deployment.pool.starting
        lost = assignment.lost(deployment.pool, message.environment_id)
        reason = message.reason
        error: Exception
        if reason.startswith(NO_RUNTIME):
            error = RuntimeUnavailable(reason.removeprefix(NO_RUNTIME))
        elif reason.startswith((RESTORE_TIMED_OUT, RESTORE_FAILED)):
            error = RestoreFailed(reason, timed_out=reason.startswith(RESTORE_TIMED_OUT))
        else:
            error = SystemFailure("the function's environment has gone")
        if lost is not None and not lost.answered and message.request_id != lost.invocation.request_id and not lost.moved:
            lost.moved = True  # it has not begun: nobody will notice
            self._place(deployment, lost)
        elif lost is not None:
            self._end(lost, error)
        elif was_starting and reason.startswith(RESTORE_LOST):
            self._room.again(deployment, self._loop.time())  # one that is initialised the long way
        elif was_starting:
            self._fail_waiting(deployment, error)
        if deployment.kept is not None:
            self.provisioned.settle(deployment, self._loop.time())
        self._room.serve()
        self.forget_if_empty(deployment)

    def _logged(self, events: list[tuple[str, int, str]]) -> None:
        by_environment: dict[str, list[tuple[int, str]]] = {}
        for environment_id, at_ms, line in events:
            # Lambda's events end with their newline. Source: developer guide, "Viewing CloudWatch logs", output of get-log-events.
            by_environment.setdefault(environment_id, []).append((at_ms, f"{line}\n"))
        for environment_id, lines in by_environment.items():
            home, build = self.homes.get(environment_id), self._builds.get(environment_id)
            spec = home.spec if home is not None else build[0] if build is not None else None
            if spec is not None:
                self._log_sink(spec.account, spec.region, spec.log_group, spec.log_stream, lines)

    # Housekeeping.
    def provisioned_state(self, key: FunctionKey, qualifier: str) -> tuple[provisioned.Status, int, str] | None:
        """Say how far a configuration of provisioned concurrency has got: status, environments that are ready, and why it failed."""
        return self.provisioned.state(key, qualifier)

    def retire(self, key: FunctionKey, keep: frozenset[str]) -> None:
        """End the environments of a function but for those of the deployments to keep; busy ones end when they are done."""
        for deployment_id, version in list(self._snapshots.items()):
            if version.key == key and deployment_id not in keep:
                del self._snapshots[deployment_id]
                if self.link is not None:
                    self.link.send(frames.Forget(snapshot=deployment_id))
        for deployment_id, deployment in list(self.deployments.items()):
            if deployment.version.key == key and deployment_id not in keep and not deployment.retired:
                deployment.retired = True
                self.provisioned.drop(deployment)
                for environment_id in list(deployment.pool.idle):
                    self.stop(environment_id)
                self.forget_if_empty(deployment)
        self._idle.retire(key, keep)

    def sweep(self) -> None:
        """
        Do what time asks for: end environments that are not worth keeping, make those that are wanted, fail invocations that a worker
        has forgotten. Called about each second.
        """
        now_s = self._loop.time()
        for deployment in list(self.deployments.values()):
            pool = deployment.pool
            for environment_id, running in [item for item in pool.busy.items() if item[1].overdue_at_s < now_s]:
                log.error("invocation.overdue request_id=%s environment_id=%s", running.invocation.request_id, environment_id)
                self.stop(environment_id)
                self._end(running, SystemFailure("the function's environment does not answer"))
            while pool.waiting and pool.waiting[0].overdue_at_s < now_s:
                log.error("invocation.overdue request_id=%s", pool.waiting[0].invocation.request_id)
                self._end(pool.waiting.popleft(), SystemFailure("no environment could be made for the function"))
        if self._present.is_set() and self._emptied is None:
            self._room.sweep(now_s)
            self._idle.sweep(now_s)
            self.provisioned.tick(now_s)
        for counts in self._counts.values():
            concurrency.forget(counts, now_s)

    async def prepare(self, runtime: str, memory_mib: int) -> None:
        """Let the worker make ready what functions of a runtime and a memory size need; return when it has, or will not in time."""
        if not self._present.is_set():
            return
        prepared = self._ask_to_prepare(runtime, memory_mib)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PREPARED_WITHIN_S):
                await prepared.wait()

    def _ask_to_prepare(self, runtime: str, memory_mib: int) -> asyncio.Event:
        assert self.link is not None
        asked = (runtime, memory_mib)
        waiting = self._preparing.get(asked)
        if waiting is None:
            waiting = self._preparing[asked] = asyncio.Event()
            self.link.send(frames.Prepare(runtime=runtime, memory_mib=memory_mib))
        return waiting

    async def close(self, within_s: float) -> None:
        """
        End every environment, and wait until the last is gone: what it wrote has come before that.

        Args:
            within_s: how long to wait; then the worker is left with what is still there.
        """
        self._emptied = asyncio.Event()
        for environment_id, home in list(self.homes.items()):
            running = home.deployment.pool.busy.get(environment_id)
            self.stop(environment_id)
            if running is not None:
                self._end(running, SystemFailure("lambdad stops"))
        self._tell_if_empty()
        try:
            async with asyncio.timeout(within_s):
                await self._emptied.wait()
        except TimeoutError:
            log.warning("environments.left environments=%d", len(self.homes))
        finally:
            self._emptied = None

    def _tell_if_empty(self) -> None:
        if self._emptied is not None and not self.homes:
            self._emptied.set()

    def forget_if_empty(self, deployment: Deployment) -> None:
        """Let go of a deployment that has nothing left, and of which nothing is wanted."""
        pool, kept = deployment.pool, deployment.kept
        if not pool.size() and not pool.waiting and (kept is None or (kept.is_empty() and not kept.target)):
            self.deployments.pop(deployment.version.deployment_id, None)

    def statistics(self) -> Statistics:
        pools = [deployment.pool for deployment in self.deployments.values()]
        kept = [deployment.kept for deployment in self.deployments.values() if deployment.kept is not None]
        return Statistics(
            environments=len(self.homes),
            idle=sum(len(pool.idle) for pool in pools) + sum(len(pool.idle) for pool in kept),
            busy=sum(len(pool.busy) for pool in pools),
            starting=sum(len(pool.starting) for pool in pools) + sum(len(pool.starting) for pool in kept),
            waiting=sum(len(pool.waiting) for pool in pools),
            invocations=self._invocations,
            cold_starts=self._cold_starts,
            throttled=self._throttled,
            provisioned=sum(pool.ready() for pool in kept),
            provisioned_busy=sum(len(pool.busy) for pool in kept),
            provisioned_invocations=self._provisioned_invocations,
            spillovers=self._spillovers,
            made_ahead=self._idle.made_ahead,
            evicted=self._idle.evicted,
        )


def _note_build(done: "asyncio.Future[frames.Built]") -> None:
    """Say what became of a snapshot that nobody waits for."""
    if done.cancelled() or done.exception() is not None:
        return
    built = done.result()
    if built.error_type:
        log.warning("snapshot.failed error_type=%s reason=%s", built.error_type, built.reason)

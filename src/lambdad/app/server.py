"""The server process: the API, the services behind it, and the data plane. Holds no privileges."""

import asyncio
import contextlib
import json
import logging
import os
import platform
import secrets
import signal
import uuid
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from lambdad.app import endpoints, memory, surroundings
from lambdad.app.event_sources import EventSources
from lambdad.app.neighbours import Neighbourhood
from lambdad.app.provisioning import Provisioning
from lambdad.app.surroundings import Surroundings
from lambdad.dataplane.link import Link
from lambdad.dataplane.plane import DataPlane
from lambdad.kit import clock, http1
from lambdad.model import limits
from lambdad.model.function import Function, FunctionKey, FunctionVersion
from lambdad.model.ids import AccountId
from lambdad.server import listener
from lambdad.server.auth import Authenticator, Mode
from lambdad.server.credentials import ChainedCredentials, DerivedCredentials, StaticCredentials
from lambdad.server.frontend import Frontend
from lambdad.server.ports import AccessKey
from lambdad.server.request_ids import RequestIds
from lambdad.services.lambda_ import code_links
from lambdad.services.lambda_.async_events import AsyncEvents
from lambdad.services.lambda_.bytecode import Bytecode
from lambdad.services.lambda_.code import Code
from lambdad.services.lambda_.code_links import CodeLinks
from lambdad.services.lambda_.event_invoke_configs import EventInvokeConfigs
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.invoke import Invocations, Invoker
from lambdad.services.lambda_.layer_permissions import LayerPermissions
from lambdad.services.lambda_.layers import Layers
from lambdad.services.lambda_.permissions import Permissions
from lambdad.services.lambda_.ports import PreparationFailed
from lambdad.services.lambda_.preparation import Preparation
from lambdad.services.lambda_.provisioned_concurrency import ProvisionedConcurrencyConfigs
from lambdad.services.lambda_.registry import Registry
from lambdad.services.lambda_.rules import snap_start
from lambdad.services.lambda_.s3_code import S3Code
from lambdad.services.lambda_.service import LambdaService
from lambdad.services.logs import app as logs_app
from lambdad.services.outbox import Outbox
from lambdad.settings import Settings
from lambdad.store import publish
from lambdad.store.blobs import Blobs
from lambdad.store.database import open_database
from lambdad.store.errors import StoreError
from lambdad.store.migrations import load_migrations
from lambdad.wire import frames

log = logging.getLogger("lambdad.app")

MASTER_KEY_BYTES = 32
CREDENTIALS_LIVE_MS = 12 * 3600 * 1000
HOUSEKEEPING_S = 1.0
GOODBYE_S = 3.0  # for the last of the functions' logs to come
COLLECT_EVERY = 3600  # housekeeping rounds
WORKER_READY_S = 15.0
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def main(settings: Settings, *, listen_fd: int, ready_fd: int) -> None:
    """Serve until SIGTERM, then drain."""
    os.chdir(settings.data_dir)  # so that the worker's socket has a short name
    try:
        uvloop.run(_serve(settings, listen_fd, ready_fd))
    except StoreError as error:
        raise SystemExit(f"lambdad: the database cannot be used: {error}") from error


async def _serve(settings: Settings, listen_fd: int, ready_fd: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sock = listener.inherited_socket(listen_fd)
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(_open(settings, sock.getsockname()[1]))
        await stack.enter_async_context(
            listener.serving(server, [sock], wants_stream=server.wants_stream, drain_timeout_s=settings.drain_timeout_s)
        )
        server.serving = True
        announcer = asyncio.get_running_loop().create_task(server.announce(ready_fd))
        memory.settle()
        await stop.wait()
        announcer.cancel()
        server.leave(settings.drain_timeout_s)


class Server:
    """The composed server: answers requests, and knows how it is."""

    def __init__(
        self,
        frontend: Frontend,
        links: CodeLinks,
        code: Code,
        link: Link,
        plane: DataPlane,
        around: Surroundings,
        sources: EventSources,
    ) -> None:
        self.serving = False
        self._around = around
        self._sources = sources
        self._own_paths = around.own_paths()
        self._frontend = frontend
        self._links = links
        self._code = code
        self._link = link
        self._plane = plane

    async def __call__(self, request: http1.Request) -> http1.Response:
        if request.target.startswith(code_links.PATH):
            return await self._send_code(request)
        for path, answer in self._own_paths.items():
            if request.target.startswith(path):
                return await answer(request)
        return await self._frontend(request)

    def wants_stream(self, request: http1.Request) -> bool:
        return self._frontend.wants_stream(request)

    async def _send_code(self, request: http1.Request) -> http1.Response:
        """Answer a link that GetFunction or GetLayerVersion gave out."""
        sha256 = self._links.open_code(request.target.removeprefix(code_links.PATH), clock.now_ms())
        if sha256 is None or request.method not in ("GET", "HEAD"):
            return http1.Response(403, [("content-type", "application/json")], b'{"message":"Forbidden"}')
        try:
            body = await self._code.read(sha256)
        except KeyError:
            return http1.Response(404, [("content-type", "application/json")], b'{"message":"Not Found"}')
        return http1.Response(200, [("content-type", "application/zip")], body)

    def leave(self, within_s: float) -> None:
        """Begin nothing by ourselves any more, and let nobody wait: we are about to stop."""
        self.serving = False
        self._around.stop_waiting()
        self._sources.leave(within_s)

    def health(self) -> dict[str, Any]:
        welcome = self._link.welcome
        statistics = self._plane.statistics()
        return {
            "status": "ok" if self.serving else "starting",
            "worker": None if welcome is None else {"isolation": welcome.isolation, "runtimes": welcome.runtimes},
            "environments": {"idle": statistics.idle, "busy": statistics.busy, "starting": statistics.starting},
        }

    async def announce(self, ready_fd: int) -> None:
        """Tell whoever started us that we serve, once the worker is there too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WORKER_READY_S):
                while self._link.welcome is None:
                    await asyncio.sleep(0.01)
        welcome = self._link.welcome
        said = {
            "isolation": welcome.isolation if welcome else "unknown: the worker has not answered",
            "interpreters": welcome.interpreters if welcome else [],
        }
        with contextlib.suppress(OSError):
            os.write(ready_fd, json.dumps(said).encode() + b"\n")


@contextlib.asynccontextmanager
async def _open(settings: Settings, port: int) -> AsyncIterator[Server]:
    now_ms = clock.now_ms
    master_key = _master_key(settings.server_dir / "master.key")
    derived = DerivedCredentials(master_key)
    known = [
        AccessKey(
            access_key_id=key.access_key_id, secret=key.secret_access_key, account=AccountId(key.account), principal_arn=_root(key.account)
        )
        for key in settings.access_keys
    ]
    credentials = ChainedCredentials(StaticCredentials(known), derived)
    own_endpoint = f"http://{settings.host}:{port}"
    migrations = [load_migrations("lambdad.services.lambda_"), logs_app.migrations(), *surroundings.migrations()]
    async with (
        open_database(settings.database, migrations=migrations, now_ms=now_ms) as database,
        endpoints.connected(settings.endpoints) as elsewhere,
        asyncio.TaskGroup() as tasks,
    ):
        background: set[asyncio.Task[None]] = set()

        def spawn(work: Coroutine[Any, Any, None]) -> None:
            tasks.create_task(work)

        def daemon(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
            background.add(task := tasks.create_task(work))
            return task

        new_request_id = RequestIds()
        neighbours = Neighbourhood(elsewhere, new_request_id, own_endpoint)
        outbox = Outbox(database, neighbours, now_ms)
        logs = logs_app.LogsService(database, now_ms, outbox=outbox, neighbours=neighbours, new_uuid=lambda: str(uuid.uuid4()))
        await logs.load()
        around = Surroundings(
            database,
            outbox,
            now_ms,
            spawn=spawn,
            endpoint=own_endpoint,
            objects=settings.server_dir / "objects",
            neighbours=neighbours,
            sns_deny=settings.sns_denied,
        )
        await around.open()
        plane = DataPlane(
            _SpecSource(settings, derived, now_ms),
            logs.store.append,
            keep_alive_s=settings.keep_alive_s,
            capacity_wait_s=settings.capacity_wait_s,
            memory_low_percent=settings.memory_low_percent,
            memory_stall_percent=settings.memory_stall_percent,
        )
        link = Link(settings.worker_socket.relative_to(settings.data_dir), plane)
        plane.link = link

        code = Code(Blobs(settings.server_dir / "blobs"), settings.code_store)
        await code.open()
        links = CodeLinks(master_key)
        world = World(now_ms=now_ms, new_uuid=lambda: str(uuid.uuid4()))
        registry = Registry(database, spawn)
        await registry.load()
        registry.on_change(_Retiring(plane))
        provisioning = Provisioning(plane)
        registry.on_change(provisioning)
        registry.alias_in_effect = provisioning.alias_in_effect
        provisioning.resume(registry.everything())
        plane.runtimes_in_use = lambda: {_kind(function.latest) for function in registry.everything() if function.latest.runtime}
        s3_code = S3Code(neighbours)
        layers = Layers(
            database,
            registry,
            code,
            objects=s3_code,
            link=lambda context, sha256: links.link(context.endpoint, sha256, now_ms()),
            now_ms=now_ms,
        )
        await layers.load()
        invoker = Invoker(registry, plane, settings.account_concurrency, now_ms)
        sources = EventSources(database, registry, invoker, neighbours, world, spawn)
        events = AsyncEvents(database, invoker, outbox, now_ms, settings.async_in_flight, new_id=new_request_id)
        unreserved_min = min(limits.UNRESERVED_CONCURRENT_EXECUTIONS_MIN, settings.account_concurrency // 10)
        lambda_ = LambdaService(
            registry,
            code,
            layers,
            links,
            world,
            objects=s3_code,
            architectures={ARCHITECTURES.get(platform.machine().lower(), "x86_64")},
            chapters=(
                layers,
                LayerPermissions(database, world.new_uuid),
                Permissions(registry, world.new_uuid),
                Invocations(invoker, events),
                sources.mappings,
                EventInvokeConfigs(registry, world),
                ProvisionedConcurrencyConfigs(
                    registry, provisioning, world, account_limit=settings.account_concurrency, unreserved_min=unreserved_min
                ),
            ),
            mappings=sources.mappings,
            concurrency_limit=settings.account_concurrency,
            unreserved_min=unreserved_min,
        )

        async def interpreters() -> list[str]:
            await plane.worker_present()
            return link.welcome.interpreters if link.welcome is not None else []

        bytecode = Bytecode(code, settings.server_dir / "compiled", plane.compilations, interpreters)
        Preparation(
            registry,
            code,
            _Snapshots(plane),
            spawn=spawn,
            new_uuid=world.new_uuid,
            bytecode=bytecode,
            warm=lambda version: plane.prepare(*_kind(version)),
        ).resume()
        services = {service.name: service for service in (lambda_.service(), logs.service(), *around.services())}
        neighbours.serve(*services.values(), *around.hidden())
        server: Server
        frontend = Frontend(
            services,
            Authenticator(credentials, Mode(settings.auth), now_ms),
            new_request_id,
            now_ms,
            lambda: server.health(),
            own_endpoint,
        )
        server = Server(frontend, links, code, link, plane, around, sources)
        await sources.open()
        daemon(link.run())
        daemon(outbox.run())
        daemon(logs.run())
        for work in around.runs():
            daemon(work)
        daemon(logs.store.run())
        daemon(logs.exports.run())
        running_events = daemon(events.run())
        daemon(sources.run())
        daemon(_housekeeping(plane, registry, layers, code, bytecode))
        try:
            yield server
        finally:
            running_events.cancel()  # what is not done is run after the next start
            await sources.close()
            await bytecode.close()
            await plane.close(GOODBYE_S)
            for task in background:
                task.cancel()
            await logs.store.flush()
            await around.close()


async def _housekeeping(plane: DataPlane, registry: Registry, layers: Layers, code: Code, bytecode: Bytecode) -> None:
    """End what has been idle for too long, and remove code that nobody refers to any more."""
    rounds = 0
    while True:
        await asyncio.sleep(HOUSEKEEPING_S)
        plane.sweep()
        rounds += 1
        if rounds % COLLECT_EVERY == 0:
            try:
                await code.collect(_live_code(registry) | await layers.code_hashes())
                await bytecode.collect()
            except (OSError, StoreError):
                log.exception("code.collect.failed")


def _live_code(registry: Registry) -> set[str]:
    live: set[str] = set()
    for function in registry.everything():
        for version in (function.latest, function.serving, *function.versions.values()):
            if version is not None:
                live |= Code.names(version)
    return live


def _kind(version: FunctionVersion) -> tuple[str, int]:
    """Return what decides which stem cells serve a version."""
    return version.runtime or "", version.memory_mib


class _Retiring:
    """Hears of changed functions, and has the environments of what no longer runs ended."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def __call__(self, key: FunctionKey, old: Function | None, new: Function | None) -> None:
        keep = frozenset(self._running(new))
        if old is not None and any(deployment not in keep for deployment in self._running(old)):
            self._plane.retire(key, keep)

    @staticmethod
    def _running(function: Function | None) -> list[str]:
        if function is None:
            return []
        versions = (function.serving or function.latest, *function.versions.values())
        return [version.deployment_id for version in versions]


class _Snapshots:
    """Has snapshots of versions built by the worker."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def expect(self, version: FunctionVersion) -> None:
        self._plane.expect_snapshot(version)

    async def build(self, version: FunctionVersion) -> None:
        built = await self._plane.build(version)
        if built.error_type:
            raise PreparationFailed(*snap_start.build_failure(built.error_type, built.reason))


class _SpecSource:
    """Says what an environment of a function version is made of: its configuration, and credentials of its role."""

    def __init__(self, settings: Settings, credentials: DerivedCredentials, now_ms: clock.NowMs) -> None:
        self._settings = settings
        self._credentials = credentials
        self._now_ms = now_ms

    def __call__(self, version: FunctionVersion, environment_id: str) -> frames.EnvironmentSpec:
        now_ms = self._now_ms()
        role = version.role.rpartition("/")[2]
        principal = f"arn:aws:sts::{version.account}:assumed-role/{role}/{version.name}"
        key = self._credentials.mint(version.account, principal, now_ms + CREDENTIALS_LIVE_MS)
        credentials_until_ms = now_ms + CREDENTIALS_LIVE_MS
        variables = {
            **(version.environment or {}),
            "AWS_ACCESS_KEY_ID": key.access_key_id,
            "AWS_SECRET_ACCESS_KEY": key.secret,
            "AWS_SESSION_TOKEN": key.session_token or "",
        }
        return frames.EnvironmentSpec(
            environment_id=environment_id,
            account=version.account,
            region=version.region,
            function_name=version.name,
            function_arn=version.arn,
            version=version.version,
            runtime=version.runtime or "",
            handler=version.handler or "",
            memory_mib=version.memory_mib,
            timeout_s=version.timeout_s,
            ephemeral_storage_mib=version.ephemeral_storage_mib,
            task=Code.task_directory(version),
            layers=Code.opt_directory(version) or "",
            environment=variables,
            log_group=version.log_group,
            log_stream=_log_stream(version, environment_id, now_ms),
            log_format=version.log_format,
            application_log_level=version.application_log_level or "",
            system_log_level=version.system_log_level or "",
            runtime_version_arn=version.runtime_version_arn or "",
            initialization_type="snap-start" if version.has_snapshots else "on-demand",
            snapshot=version.deployment_id if version.has_snapshots else "",
            credentials_until_ms=credentials_until_ms,
        )


def _log_stream(version: FunctionVersion, environment_id: str, now_ms: int) -> str:
    """Name an environment's log stream as AWS does: by day (UTC), version and a random id; by the function's name too in a shared group."""
    day = clock.utc_day(now_ms)
    own = "" if version.log_group == f"/aws/lambda/{version.name}" else version.name
    return f"{day}/{own}[{version.version}]{environment_id}"


def _root(account: str) -> str:
    return f"arn:aws:iam::{account}:root"


def _master_key(path: Path) -> bytes:
    """Read the key that temporary credentials and code links are made with; make it at the first start."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        publish.publish_file(path, secrets.token_bytes(MASTER_KEY_BYTES), mode=0o600)
        return path.read_bytes()

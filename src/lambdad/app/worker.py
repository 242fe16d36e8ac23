"""The worker process: everything that needs privileges, and nothing that strangers' bytes from the network reach."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import uvloop

from lambdad.app import isolation, launch, memory
from lambdad.kit import clock
from lambdad.runtimes import discovery, plans
from lambdad.sandbox import cgroups, instances, memory_load, probe
from lambdad.settings import Settings
from lambdad.wire import frames
from lambdad.worker.host import Worker
from lambdad.worker.kitchen import Kitchen
from lambdad.worker.stove import Stove

if TYPE_CHECKING:
    from lambdad.sandbox.egress import Egress

log = logging.getLogger("lambdad.app")

_CREDENTIALS = struct.Struct("3i")


def main(settings: Settings, *, port: int, server_uid: int) -> None:
    """
    Hold environments until SIGTERM.

    Args:
        port: where the server listens.
        server_uid: who may connect, as seen from where this process is going to be.
    """
    fences = isolation.choose(settings.isolation)
    os.chdir(settings.data_dir)  # so that the socket has a short name
    if fences.level is not probe.Level.NAMESPACES:
        server_uid = os.geteuid()
    uvloop.run(_serve(settings, port, server_uid, fences))


async def _serve(settings: Settings, port: int, server_uid: int, fences: isolation.Choice) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    home = os.environ.get("HOME", "")
    places = discovery.usual_places(os.environ, home, settings.interpreter_dirs)
    instance = instances.own_instance()
    async with cgroups.open_cgroups(instance) as source, _way_out(settings, fences) as way_out, asyncio.TaskGroup() as tasks:
        found = discovery.discover(places, settings.run_dir / "interpreters.json")
        kitchen = Kitchen(
            Stove(settings.code_store, source, fences.isolation, way_out),
            found,
            plans.find_runtime_files(settings.runtimes_dir),
            tasks,
            code_store=settings.code_store,
            exact=settings.runtimes == "exact",
            capped=settings.cpu == "capped",
            spare=settings.spare_environments,
        )
        welcome = frames.Welcome(
            worker_id=instance,
            isolation=fences.describe(source.driver),
            runtimes=kitchen.runtimes(),
            interpreters=kitchen.interpreters(),
            max_environments=settings.max_environments,
        )
        host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host
        worker = Worker(
            kitchen,
            welcome,
            tasks,
            now_ms=clock.now_ms,
            freeze_after_s=settings.freeze_after_s,
            may_connect=lambda sock: _peer_uid(sock) == server_uid,
            upstream=(host, port),
            most_snapshots=settings.snapshots,
            read_load=_load,
        )
        path = settings.worker_socket.relative_to(settings.data_dir)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        server = await loop.create_unix_server(worker.accept, str(path))
        launch.own_socket(path, server_uid)
        sweeper = tasks.create_task(worker.sweep())
        memory.settle()
        await stop.wait()
        sweeper.cancel()
        server.close()
        await worker.close()
        await kitchen.close()


def _load() -> frames.Load | None:
    """Return how this machine is off for memory, as the server is told."""
    read = memory_load.read()
    if read is None:
        return None
    return frames.Load(available_bytes=read.available_bytes, total_bytes=read.total_bytes, stalled_percent=read.stalled_percent)


@contextlib.asynccontextmanager
async def _way_out(settings: Settings, fences: isolation.Choice) -> "AsyncIterator[Egress | None]":
    """Open the way out if there is to be one; a plain process has the machine's network."""
    marker = settings.run_dir / "egress"  # there while there may be something to be swept
    wanted = settings.egress == "on" and fences.isolation.fenced
    if not wanted and not marker.exists():
        yield None
        return
    from lambdad.app import egress  # takes memory, which a worker without a way out does not spend

    if not wanted:
        with contextlib.suppress(egress.Failed):
            await egress.sweep()
            marker.unlink()
        yield None
        return
    marker.touch()
    try:
        async with egress.opened(settings) as way_out:
            yield way_out
        marker.unlink(missing_ok=True)
    except egress.Failed as error:
        log.error("worker.unstarted error=%s", error)
        raise SystemExit(1) from error


def _peer_uid(sock: socket.socket) -> int:
    """Return the user of the process at the other end."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return int(uid)

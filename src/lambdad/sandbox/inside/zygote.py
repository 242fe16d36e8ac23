"""The template: loads what every fence needs once, then forks a fence on every request of the worker.

Run as ``python -I -S -c '<put this package on sys.path>; from inside import zygote; zygote.main(fd)'``, inside its private
root. Single-threaded, so that each fork is a whole process.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import select
import signal
import socket
import sys
from typing import Any, Callable

from . import init, kernel, nested, runtime, wire

CAPABILITIES = init.CAPABILITIES | {kernel.CAP_NET_ADMIN, kernel.CAP_SYS_PTRACE, kernel.CAP_SYS_RESOURCE}

_POOL_BYTES = 16384 if sys.version_info >= (3, 10) else 4096  # of CPython's allocator, for objects of one size
_MOST_PLUGS = 200000  # of one size
_PLUGS: list[object] = []
IDLE_MS = 250  # what comes sooner than that belongs to the same occasion


def main(fd: int) -> None:
    """Serve spawn requests from the channel ``fd`` until it is closed. In a runtime process: run what it was given."""
    control = socket.socket(fileno=fd)
    control.set_inheritable(False)
    received = wire.receive(control)
    if received is None:
        return
    config = received[0]
    if config["fenced"]:
        # SAFETY: what no fence needs to be built is given up before anything else is loaded.
        kernel.drop_bounding_set(CAPABILITIES)
        kernel.set_capabilities(CAPABILITIES)
    # SAFETY: no template outlives its worker. After the capabilities: giving some up could forget it.
    kernel.die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a ^C in a terminal goes to the worker, which decides
    try:
        if config["preload"] is not None:
            _preload(config["preload"])
        own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    except Exception as refused:
        wire.send(control, {"event": "broken", "step": "preload", "errno": 0, "text": repr(refused)})
        raise
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the worker watches fences by pidfd; nobody waits for them here
    late = getattr(sys.modules.get("__preloaded__"), "preload_later", None)
    _settle(for_good=late is None)
    base_bytes = getattr(sys.modules.get("__preloaded__"), "base_bytes", 0)
    wire.send(control, {"event": "ready", "python": kernel.exact_python(), "base_bytes": base_bytes})
    entry = _serve(control, config, own_pid_namespace, late)
    if entry is not None:
        sys.exit(entry())


def _settle(for_good: bool) -> None:
    """Arrange memory so that forks are cheap; huge pages only when nothing more will be loaded."""
    gc.collect()
    _PLUGS.extend(_fill_holes())
    gc.freeze()
    if for_good:
        kernel.settle_memory()


def _fill_holes() -> list[object]:
    """
    Take up the free places among Python's small objects, so that what a child makes lies together, on pages of its own.

    What was loaded and thrown away here leaves holes on thousands of pages. A child would put its objects there, and each page
    that it writes to is copied first.
    """
    plugs: list[object] = []
    for size in range(16, 513, 16):
        in_a_row, before = 0, 0
        fresh = _POOL_BYTES // size - 2  # so many neighbours, one after the other, are a page run nobody has used yet
        taken: list[object] = []
        while in_a_row < fresh and len(taken) < _MOST_PLUGS:
            # In an object's size is a head: 16 bytes of a bare one, 24 of a float, 33 of bytes and their end.
            plug: object = object() if size == 16 else 0.5 + len(taken) if size == 32 else bytes(size - 33)
            taken.append(plug)
            in_a_row = in_a_row + 1 if id(plug) - before == size else 0
            before = id(plug)
        plugs.extend(taken[: len(taken) - in_a_row - 1])
    return plugs


def _preload(path: str) -> None:
    """Import the module at ``path`` under a name that no function uses, and let it load what it wants ready."""
    spec = importlib.util.spec_from_file_location("__preloaded__", path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python module: %s" % path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["__preloaded__"] = module
    spec.loader.exec_module(module)
    if hasattr(module, "preload"):
        module.preload()


def _serve(control: socket.socket, config: dict[str, Any], own_pid_namespace: int, late: Callable[[], None] | None) -> runtime.Entry | None:
    """Fork on request. What may be loaded later is loaded once nobody has asked for a while; then the worker is told."""
    asked = select.poll()
    asked.register(control, select.POLLIN)
    while True:
        if late is not None and not asked.poll(IDLE_MS):
            late()
            late = None
            _settle(for_good=True)
            wire.send(control, {"event": "warmed"})
        received = wire.receive(control)
        if received is None:
            return None
        request, fds = received
        if request.get("within"):
            entry = _serve_within(control, config, own_pid_namespace, request, fds)
            if entry is not None:
                return entry
            continue
        try:
            pid, pidfd = _fork_fence(config, request)
            if pid == 0:
                control.close()
                os.close(own_pid_namespace)
                return _become_init({**config, **request}, request, fds)
        except OSError as refused:
            step = getattr(refused, "step", "fork")
            wire.send(control, {"event": "failed", "id": request["id"], "step": step, "errno": refused.errno})
        else:
            wire.send(control, {"event": "forked", "id": request["id"]}, [pidfd])
            os.close(pidfd)
        for fd in fds:
            os.close(fd)


def _serve_within(
    control: socket.socket, config: dict[str, Any], own_pid_namespace: int, request: dict[str, Any], fds: list[int]
) -> runtime.Entry | None:
    """Make a fence inside a snapshot's. Who answers is the process in between, which knows process 1."""
    named = dict(zip(request["names"], fds))
    try:
        pid = nested.fork_into(named["pid_namespace"], own_pid_namespace)
    except OSError as refused:
        step = getattr(refused, "step", "fork")
        wire.send(control, {"event": "failed", "id": request["id"], "step": step, "errno": refused.errno})
        pid = -1
    if pid == 0:
        os.close(own_pid_namespace)
        inner = nested.become_first(config, control, request, named["user_namespace"])
        for name in ("pid_namespace", "user_namespace"):
            os.close(named[name])
        return _become_init(inner, request, fds)
    for fd in fds:
        os.close(fd)
    return None


def _fork_fence(config: dict[str, Any], request: dict[str, Any]) -> tuple[int, int]:
    """Fork process 1 of a fence, into namespaces of its own; return its pid and its pidfd, in the child (0, -1)."""
    if config["fenced"]:
        return kernel.clone(kernel.CLONE_NEWPID | init.own_namespaces("network" in request["names"]), "fork into namespaces")
    pid = os.fork()
    return (pid, kernel.open_pidfd(pid)) if pid else (0, -1)


def _become_init(config: dict[str, Any], request: dict[str, Any], fds: list[int]) -> runtime.Entry:
    control = socket.socket(fileno=fds[0])
    named = dict(zip(request["names"], fds))
    procs = [fd for name, fd in zip(request["names"], fds) if name == "procs"]
    try:
        return init.Init(config, control, named, procs).run()
    except OSError as refused:
        step = getattr(refused, "step", "init")
        try:
            wire.send(control, {"event": "broken", "step": step, "errno": refused.errno})
        except OSError:
            pass  # the worker is gone, and with it whoever could be told
        os._exit(1)

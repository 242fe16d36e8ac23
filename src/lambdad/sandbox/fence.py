"""One environment from the worker's side: assign, watch, freeze, kill."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lambdad.sandbox import cgroups as cgroups_
from lambdad.sandbox import channel, plain, spec, uncounted

if TYPE_CHECKING:
    from lambdad.sandbox import egress  # not loaded where there is no way out

_GONE = "the environment has ended"


class SpawnFailed(Exception):
    """A fence could not be completed; ``step`` and ``errno`` say at what."""

    def __init__(self, step: str, errno: int, text: str = "") -> None:
        super().__init__(f"{step}: {text or os.strerror(errno)}")
        self.step = step
        self.errno = errno


class AssignFailed(SpawnFailed):
    """An environment could not be given its code; it is good for nothing but ``kill``."""


class ExecFailed(AssignFailed):
    """The program of an assignment could not be started, for example ENOENT or EACCES; ``errno`` says why."""

    def __init__(self, errno: int) -> None:
        super().__init__("exec", errno)


class _StemLost(AssignFailed):
    """The program that was executed ahead is gone, or another one than is asked for. The place is prepared all the same."""


class Launched:
    """
    A program that runs, or ran, beside the runtime process.

    ``output`` is the nonblocking read end of its stdout and stderr.

    Resource handling: ``close`` closes ``output``; the sandbox's ``kill`` does so too.
    """

    def __init__(self, number: int, output: int) -> None:
        self.number = number
        self.output = output
        self._exit: asyncio.Future[spec.Exit] = asyncio.get_running_loop().create_future()

    async def wait_exit(self) -> spec.Exit:
        """Wait until the program has ended; neither code nor signal means that the whole fence was lost."""
        await asyncio.wait((self._exit,))
        return self._exit.result()

    def close(self) -> None:
        if self.output >= 0:
            channel.close_all([self.output])
            self.output = -1

    def _ended(self, end: spec.Exit) -> None:
        if not self._exit.done():
            self._exit.set_result(end)


class NotKept(Exception):
    """A runtime process cannot be kept as a snapshot; the text says why, for people."""


class Sandbox:
    """
    One environment.

    ``runtime_listener`` and ``endpoint_listener`` live in its network namespace and belong to the caller until ``kill``.
    ``output`` is the nonblocking read end of its stdout and stderr; it ends when all its processes have ended.

    Cancellation: ``kill`` may be called at any time, also while another call waits; that one then raises AssignFailed,
    or returns an Exit with neither code nor signal. Once begun, killing goes on to its end whoever stops waiting for it.
    Resource handling: ``kill`` releases everything, descriptors included; it must be called for every sandbox.
    """

    def __init__(
        self,
        *,
        id: str,
        group: cgroups_.Group,
        cgroups: cgroups_.Cgroups,
        on_finished: Callable[[Sandbox], None],
        place: Path | None = None,
        binds: tuple[spec.Bind, ...] = (),
        within: Sandbox | None = None,
        network: egress.Network | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.id = id
        self.pid = 0
        self.init_pid = 0
        self.outer_id = 0  # the machine's user id behind it
        self._within = within  # the snapshot that it is made from
        self._namespaces: list[int] = []  # once it is a snapshot: its user and pid namespaces
        self._copies: dict[int, Sandbox] = {}  # of this snapshot, by number
        self._copying: dict[int, asyncio.Future[None]] = {}
        self._numbers = itertools.count(1)
        self._number = 0  # of this one among the snapshot's copies
        self.runtime_api = "{}:{}".format(*spec.RUNTIME_API_ADDRESS)
        self.endpoint = "http://{}:{}".format(*spec.ENDPOINT_ADDRESS)
        self.own_address = spec.ENDPOINT_ADDRESS[0] if place is None else spec.RUNTIME_API_ADDRESS[0]
        self._place = place
        self._translate = plain.translator({} if place is None else plain.mapping(binds, place))
        self.task_root = self._translate("/var/task")
        self.opt_root = self._translate("/opt")
        self.tmp_root = self._translate("/tmp")
        self.runtime_listener: socket.socket
        self.endpoint_listener: socket.socket
        self._network = network
        self._group = group
        self._cgroups = cgroups
        self._on_finished = on_finished
        self._listeners: list[socket.socket] = []
        self._pidfd = -1
        self._oom_kills = 0
        self._last_peak_bytes = 0
        self._shared_bytes = 0
        self._generation = 1
        self._frozen = False
        self._uncounted = uncounted.Watch(lambda: self._tell("stop"))
        self._ready: asyncio.Future[None] = loop.create_future()
        self._booted: asyncio.Future[None] = loop.create_future()
        self._born = asyncio.Event()
        self._answer: asyncio.Future[None] | None = None
        self._exit: asyncio.Future[spec.Exit] = loop.create_future()
        self._killing = False
        self._gone = False
        self._awaited = False  # the template was asked for a process and has not answered yet
        self._finished: asyncio.Future[None] = loop.create_future()
        self._programs: dict[int, Launched] = {}  # by number, until closed with the sandbox
        self._sockets: dict[int, asyncio.Future[socket.socket]] = {}  # asked for
        self._numbers = itertools.count(1)
        own, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = channel.Channel(own, self._on_message, self._on_end)
        self.output, self._output_write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.output, False)

    # -- birth; for the template only

    def descriptors_for_template(self) -> tuple[list[str], list[int], list[int]]:
        """Return names and descriptors to send to the template, and those of them to close afterwards.

        Ordering: either ``born`` or ``stillborn`` follows.
        """
        procs = self._group.open_procs() if self._within is None else []
        names = ["control", "output", *["procs"] * len(procs)]
        fds = [self._theirs.detach(), self._output_write, *procs]
        if self._network is not None:
            names.append("network")
            fds.append(self._network.detach())
        close = list(fds)
        if self._within is None:
            self._output_write = -1
        else:  # the copy gets it
            close.remove(self._output_write)
            names += ["user_namespace", "pid_namespace"]
            fds += self._within._namespaces
        if self._group.freezer_fd is not None:
            names.append("freezer")
            fds.append(self._group.freezer_fd)
        self._awaited = True
        return names, fds, close

    def born(self, pidfd: int) -> None:
        """Take over the process that the template has forked."""
        self._awaited = False
        self._pidfd = pidfd
        self._born.set()
        asyncio.get_running_loop().add_reader(pidfd, self._on_gone)
        try:
            self._group.watch()
        except OSError as refused:
            _resolve(self._ready, SpawnFailed(str(refused), refused.errno or 0))
        if self._killing:
            self._kill_init()

    def stillborn(self, failure: Exception) -> None:
        """Note that there will be no process, and why."""
        self._awaited = False
        self._born.set()
        _resolve(self._ready, failure)
        if self._killing:
            self._give_back()

    def ahead_request(self, ahead: spec.Ahead) -> dict[str, Any]:
        """Return what the template is to be told of a program that is executed ahead."""
        data_bytes = None if self._limits_memory() else ahead.limits.memory_bytes
        return {"argv": list(ahead.argv), "environment": ahead.environment, "data_bytes": data_bytes}

    async def wait_ready(self) -> None:
        """Wait until the fence is complete. Raises SpawnFailed."""
        await self._ready

    # -- life

    async def wait_booted(self) -> None:
        """Wait until the program that was executed ahead has booted, or has ended. Others have nothing to boot, and never say so."""
        await asyncio.wait((self._booted, self._exit), return_when=asyncio.FIRST_COMPLETED)

    def is_lost(self) -> bool:
        """Say whether the runtime process of a stem cell, or the whole fence, has ended: nobody should get it then."""
        return self._exit.done()

    def when_lost(self, callback: Callable[[Sandbox], None]) -> None:
        """Have ``callback`` called when the present runtime process, or the fence, has ended; also if that is long ago."""
        self._exit.add_done_callback(lambda _: callback(self))

    async def assign(self, assignment: spec.Assignment) -> None:
        """
        Give this stem cell its code and start its program; returns when it runs.

        Raises:
            ExecFailed: the program could not be started.
            AssignFailed: a mount or a limit was refused, or the environment ended meanwhile.
            MessageTooLarge: environment and payload together do not fit into one packet (192 KiB).
        """
        self.limit(assignment.limits)
        self._watch_uncounted(assignment.limits)
        try:
            await self._request("assign", assignment)
        except _StemLost:  # what is needed is there but for the process: nobody notices but by the time it takes
            await self.respawn(assignment)

    async def respawn(self, assignment: spec.Assignment) -> None:
        """
        Kill every process of the function and start it anew in the same place: /tmp is kept. Raises as ``assign``.

        Ordering: a call to ``wait_exit`` after this one is about the new process.
        """
        self.thaw()
        self.limit(assignment.limits)
        if self._exit.done():
            self._exit = asyncio.get_running_loop().create_future()
        self._generation += 1
        self._watch_uncounted(assignment.limits)
        await self._request("respawn", assignment)

    async def place(self, assignment: spec.Assignment) -> None:
        """
        Show this stem cell its code and start nothing yet: ``launch`` and ``assign`` follow. Raises AssignFailed.

        Ordering: optional; ``assign`` does it where it has not been done.
        """
        self.limit(assignment.limits)
        await self._request("place", assignment)

    async def renew(self) -> None:
        """Kill every process of the function; the next ``assign`` starts it anew in the same place. Raises AssignFailed.

        Ordering: a call to ``wait_exit`` after this one is about the new process.
        """
        self.thaw()
        if self._exit.done():
            self._exit = asyncio.get_running_loop().create_future()
        self._generation += 1
        await self._ask({"request": "renew"})
        for launched in self._programs.values():  # they have ended, and that has been told
            launched.close()
        self._programs.clear()

    async def launch(self, program: spec.Program, limits: spec.Limits) -> Launched:
        """
        Start a program beside the runtime process: the same user, limits, filter and namespaces. It ends with ``stop_runtime``.

        Raises:
            ExecFailed: it could not be started.
            AssignFailed: the environment has ended.
        """
        if self._place is not None:
            program = plain.relocate_program(program, self._translate)
        output, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output, False)
        launched = Launched(next(self._numbers), output)
        self._programs[launched.number] = launched
        message = {
            "request": "launch",
            "program": launched.number,
            "data_bytes": None if self._limits_memory() else limits.memory_bytes,
            "environment": program.environment,
            "cwd": program.cwd,
            "argv": list(program.argv),
            "payload": None,
        }
        try:
            await self._ask(message, [write])
        except BaseException:
            launched.close()
            self._programs.pop(launched.number, None)
            raise
        finally:
            os.close(write)
        return launched

    def signal(self, number: int, launched: Launched | None = None) -> None:
        """Signal a program with all that is in its process group, or (None) the runtime process; nothing happens if it has ended."""
        self.thaw()
        self._channel_tell({"request": "signal", "program": None if launched is None else launched.number, "number": number})

    async def open_socket(self) -> socket.socket:
        """Return an unconnected, nonblocking TCP socket of the environment's network namespace. Raises AssignFailed."""
        if self._channel.closed or self._killing:
            raise AssignFailed("socket", 0, _GONE)
        number = next(self._numbers)
        waiting: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        self._sockets[number] = waiting
        try:
            self._channel.send({"request": "socket", "id": number})
            return await waiting
        except OSError as refused:
            raise AssignFailed("socket", refused.errno or 0, _GONE) from refused
        finally:
            self._sockets.pop(number, None)

    async def stop_runtime(self) -> None:
        """Kill every process of the function; the environment and its /tmp stay, for ``respawn``. Raises AssignFailed."""
        self.thaw()
        await self._ask({"request": "stop"})

    # -- snapshots

    async def keep(self, port: int) -> None:
        """
        Keep the runtime process as it stands, for ``restore`` of others; it never runs again.

        Args:
            port: of its own end of the connection to the Runtime API, on which it waits.

        Raises:
            NotKept: forking would not copy it wholly.
            AssignFailed: the environment has ended.
        """
        if self._within is not None or self._place is not None:
            raise NotKept("there is no fence that could be made inside its own")
        await self._ask({"request": "keep", "port": port})

    async def carry(self) -> None:
        """Have the snapshot, in which this fence was made, prepare a copy for it. Raises AssignFailed."""
        assert self._within is not None
        await self._born.wait()  # the template's word may come after that of process 1
        self._number = next(self._within._numbers)
        try:
            procs = self._group.open_procs()
        except OSError as refused:
            raise AssignFailed("carry", refused.errno or 0) from refused
        names = ["home", "output", *["procs"] * len(procs)]
        fds = [self._pidfd, self._output_write, *procs]
        if self._group.freezer_fd is not None:
            names.append("freezer")
            fds.append(self._group.freezer_fd)
        try:
            await self._within._ask_for(self, {"request": "carry", "names": names}, fds)
        finally:
            channel.close_all([*procs, self._output_write])
            self._output_write = -1

    async def restore(self, limits: spec.Limits) -> None:
        """Let a copy of the snapshot, in which this fence was made, run here; returns when it runs. Raises AssignFailed."""
        assert self._within is not None
        self.limit(limits)
        self._watch_uncounted(limits)
        self._oom_kills = self._group.oom_kills()
        self._within._copies[self._number] = self
        try:
            await self._within._ask_for(self, {"request": "copy"}, [])
        except AssignFailed:
            self._within._copies.pop(self._number, None)
            raise

    async def _ask_for(self, home: Sandbox, message: dict[str, Any], fds: list[int]) -> None:
        """Ask this snapshot for something on behalf of a fence that is made in it."""
        kind = message["request"]
        if self._channel.closed or self._killing or home._killing:
            raise AssignFailed(kind, 0, _GONE)
        done = self._copying[home._number] = asyncio.get_running_loop().create_future()
        try:
            self._channel.send({**message, "number": home._number}, fds)
            await done
        except OSError as refused:
            raise AssignFailed(kind, refused.errno or 0, _GONE) from refused
        finally:
            self._copying.pop(home._number, None)

    def drop_snapshot(self) -> None:
        """End the kept process, and give its memory back; what was copied from it goes on. No more can be."""
        self._tell("drop")

    def limit(self, limits: spec.Limits) -> None:
        """Change what may be used, but for /tmp. Takes tens of microseconds. Raises AssignFailed."""
        try:
            self._group.limit(limits)
        except OSError as refused:
            raise AssignFailed(str(refused), refused.errno or 0) from refused

    def _watch_uncounted(self, limits: spec.Limits) -> None:
        if self._place is None and not self._killing:  # without a fence the sockets are the machine's
            self._uncounted.start(self.init_pid, limits.memory_bytes)

    async def _request(self, kind: str, assignment: spec.Assignment) -> None:
        self._oom_kills = self._group.oom_kills()
        self._shared_bytes = assignment.shared_bytes
        if self._place is not None:
            assignment = plain.relocate(assignment, self._translate)
        message = {
            "request": kind,
            "task": assignment.task,
            "opt": assignment.opt,
            "private": None if self._place is None else str(self._place),
            "tmp_bytes": assignment.limits.tmp_bytes,
            "data_bytes": None if self._limits_memory() else assignment.limits.memory_bytes,
            "environment": assignment.environment,
            "cwd": assignment.cwd,
            "argv": None if assignment.argv is None else list(assignment.argv),
            "payload": assignment.payload,
        }
        await self._ask(message)

    async def _ask(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        kind = message["request"]
        if self._channel.closed or self._killing:
            raise AssignFailed(kind, 0, _GONE)
        assert self._answer is None, "one request at a time"
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._channel.send(message, fds)
            await self._answer
        except OSError as refused:
            raise AssignFailed(kind, refused.errno or 0, _GONE) from refused
        finally:
            self._answer = None

    def _limits_memory(self) -> bool:
        return self._group.memory_bytes() is not None

    async def wait_exit(self) -> spec.Exit:
        """Wait until the runtime process has ended. Other processes of the function may still run."""
        end = self._exit
        await asyncio.wait((end,))  # unlike awaiting it, this leaves it alone when the caller is cancelled
        return end.result()

    def freeze(self) -> None:
        """Stop the function's processes where they stand."""
        if self._frozen or self._killing:
            return
        self._frozen = True
        self._uncounted.stop()
        if self._group.can_freeze:
            self._group.freeze()
        else:
            self._tell("freeze")

    def thaw(self) -> None:
        """Let the function's processes go on."""
        if not self._frozen:
            return
        self._frozen = False
        self._uncounted.resume()
        if self._group.can_freeze:
            self._group.thaw()
        else:
            self._tell("thaw")

    def _tell(self, request: str, number: int = 0) -> None:
        self._channel_tell({"request": request, "number": number})

    def _channel_tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # gone: then there is nobody to stop
            self._channel.send(message)

    def peak_memory_bytes(self) -> int:
        """Return the most memory used since birth, what is shared included. Without a memory cgroup: the runtime process's own peak."""
        if self._pidfd < 0:
            return self._last_peak_bytes
        measured = self._group.peak_memory_bytes()
        if measured is not None:
            return measured + self._shared_bytes
        return _resident_peak_bytes(self.pid) or self._last_peak_bytes

    # -- death

    async def kill(self) -> None:
        """Kill everything inside and give everything back; returns when all is gone. Idempotent."""
        self.begin_kill()
        await asyncio.wait((self._finished,))

    def begin_kill(self) -> None:
        """Do as ``kill``, without waiting."""
        if self._killing:
            return
        self._killing = True
        for copy in list(self._copies.values()):
            copy.begin_kill()  # they end with this one; but what is frozen cannot
        self._end("kill")
        if self._within is not None and self._number and self._number not in self._within._copies:
            self._within._tell("abandon", self._number)
        if self._pidfd >= 0 and not self._gone:
            self._kill_init()
        elif not self._awaited:
            self._give_back()

    def _kill_init(self) -> None:
        if self._group.freezer_fd is not None:
            self._group.thaw()  # what a version 1 freezer holds cannot die; a freeze may also still be under way
        if self._place is None:
            # SAFETY: the descriptor names process 1 of this fence and nothing else, ever.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        else:
            self._channel.close()  # there is no pid namespace that would take the others along; init does

    def _give_back(self) -> None:
        """Close what is open, and let threads do the rest: there is nobody left inside."""
        self._channel.close()
        self._theirs.close()
        for listener in self._listeners:
            listener.close()
        channel.close_all([fd for fd in (self.output, self._output_write, self._pidfd, *self._namespaces) if fd >= 0])
        self._namespaces = []
        for launched in self._programs.values():
            launched.close()
        self._last_peak_bytes = self.peak_memory_bytes()
        self._pidfd = -1
        if self._network is not None:
            self._network.release()
        group, self._group = self._group, cgroups_.NoGroup()
        group.unwatch()
        self._cgroups.release(group, self._leave_place, self._note_finished)

    def _leave_place(self) -> None:
        if self._place is not None:
            plain.remove(self._place)

    def _note_finished(self) -> None:
        self._on_finished(self)
        self._finished.set_result(None)

    # -- what the other side tells

    def _on_message(self, message: dict[str, Any], fds: list[int], pid: int) -> None:
        match message:
            case {"event": "runtime"}:
                self.pid = pid
            case {"event": "ready"} if len(fds) != len(message["addresses"]):
                _resolve(self._ready, SpawnFailed("receive the listeners", errno.EMFILE))
            case {"event": "ready"}:
                self.init_pid = pid
                self._listeners = [socket.socket(fileno=fd) for fd in fds]
                fds = []
                for listener in self._listeners:
                    listener.setblocking(False)
                self.runtime_listener, self.endpoint_listener = self._listeners
                self.runtime_api, endpoint = ("{}:{}".format(*address) for address in message["addresses"])
                self.endpoint = f"http://{endpoint}"
                _resolve(self._ready, None)
            case {"event": "booted"}:
                _resolve(self._booted, None)
            case {"event": "stem_lost"}:
                _resolve(self._answer, _StemLost("assign", 0, "the program executed ahead has ended"))
            case {"event": "assigned"}:
                _resolve(self._answer, None)
            case {"event": "exec_failed"}:
                _resolve(self._answer, ExecFailed(message["errno"]))
            case {"event": "program_exit"}:
                launched = self._programs.get(message["program"])
                if launched is not None:
                    oom = message["signal"] == signal.SIGKILL and self._group.oom_kills() > self._oom_kills
                    launched._ended(spec.Exit(message["code"], message["signal"], oom))
            case {"event": "socket"} if fds:
                waiting = self._sockets.get(message["id"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(socket.socket(fileno=fds.pop()))
            case {"event": "kept"} if len(fds) == 2 and not self._namespaces:
                self._namespaces, fds = fds, []
                _resolve(self._answer, None)
            case {"event": "kept"}:
                _resolve(self._answer, AssignFailed("receive the namespaces", errno.EMFILE))
            case {"event": "not_kept"}:
                _resolve(self._answer, NotKept(message["text"]))
            case {"event": "carried"} | {"event": "copied"}:
                _resolve(self._copying.get(message["number"]), None)
            case {"event": "copy_failed"}:
                _resolve(self._copying.get(message["number"]), AssignFailed(message["step"], message["errno"] or 0))
            case {"event": "copy_exit"}:
                if (copy := self._copies.pop(message["number"], None)) is not None:
                    copy._on_message({**message, "event": "exit", "generation": 1}, [], pid)
            case {"event": "broken"}:
                failure = AssignFailed(message["step"], message["errno"] or 0)
                _resolve(self._ready, SpawnFailed(message["step"], message["errno"] or 0))
                _resolve(self._answer, failure)
            case {"event": "exit"} if message["generation"] == self._generation and not self._exit.done():
                oom = message["signal"] == signal.SIGKILL and self._group.oom_kills() > self._oom_kills
                self._last_peak_bytes = message["peak_bytes"]
                self._exit.set_result(spec.Exit(message["code"], message["signal"], oom))
        channel.close_all(fds)

    def _on_end(self) -> None:
        self._end("run")

    def _on_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._end("run")
        if self._killing:
            self._give_back()
        else:
            self._gone = True

    def _end(self, step: str) -> None:
        """Tell everybody who waits that nothing more will come."""
        self._uncounted.stop()
        _resolve(self._ready, SpawnFailed(step, 0, _GONE))
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()
        _resolve(self._answer, AssignFailed(step, 0, _GONE))
        for waiting in self._sockets.values():
            if not waiting.done():
                waiting.set_exception(AssignFailed("socket", 0, _GONE))
        for launched in self._programs.values():
            launched._ended(spec.Exit(None, None, False))
        for copying in self._copying.values():
            _resolve(copying, AssignFailed(step, 0, _GONE))
        if not self._exit.done():
            self._exit.set_result(spec.Exit(None, None, False))


@dataclass(frozen=True, slots=True)
class Within:
    """Where a fence for a copy is made, and what it shows: directories of the code store, as in ``spec.Assignment``."""

    snapshot: Sandbox
    task: str | None
    opt: str | None
    tmp_bytes: int


def _resolve(waiting: asyncio.Future[None] | None, outcome: Exception | None) -> None:
    if waiting is None or waiting.done():
        return
    if outcome is None:
        waiting.set_result(None)
    else:
        waiting.set_exception(outcome)


def _resident_peak_bytes(pid: int) -> int:
    """Return VmHWM of a process, 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0

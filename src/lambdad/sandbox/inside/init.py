"""Process 1 of a fence: makes the namespaces, keeps the runtime process, and never runs a stranger's code."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
from typing import Any, NoReturn

from . import kernel, network, runtime, snapshot, tracing, wire

# Files and directories of a fresh /proc that tell about, or act on, the machine as a whole.
MASKED_FILES = (
    "kcore", "keys", "key-users", "kmsg", "kallsyms", "latency_stats", "timer_list", "timer_stats", "sched_debug",
    "sysrq-trigger", "kpagecount", "kpageflags", "kpagecgroup", "vmallocinfo", "slabinfo", "modules", "config.gz",
)  # fmt: skip
MASKED_DIRECTORIES = ("acpi", "asound", "bus", "driver", "fs", "irq", "scsi", "sysvipc", "tty", "dynamic_debug")
SHARED_MEMORY = "mode=1777,size=64m"
DEFAULT_TMP = "mode=1777,size=512m,nr_inodes=200k"
# What process 1 of a fence needs for the rest of its life: mounts, namespaces, making runtime processes, and keeping one as a
# snapshot. (An ordinary user's init does not even see its own runtime process in a /proc with hidepid by its group alone.)
# What a process with CAP_SYS_RESOURCE writes to its oom_score_adj is the least that its children may write; so a runtime process
# begins with it, else it could make itself unkillable as its process 1 is.
CAPABILITIES = frozenset((
    kernel.CAP_CHOWN, kernel.CAP_DAC_READ_SEARCH, kernel.CAP_KILL, kernel.CAP_SETGID, kernel.CAP_SETUID,
    kernel.CAP_SETPCAP, kernel.CAP_SYS_ADMIN, kernel.CAP_SETFCAP, kernel.CAP_SYS_PTRACE, kernel.CAP_SYS_RESOURCE,
))  # fmt: skip
SAFE = kernel.MS_NOSUID | kernel.MS_NODEV
MOST_REAPED = 256  # at a time, between two looks at what the worker asks for


def own_namespaces(has_network: bool) -> int:
    """Return the flags of the namespaces that a fence gets beside its pid namespace: a network where it is not given one."""
    return kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | (0 if has_network else kernel.CLONE_NEWNET)


class _Carrier:
    """What of a copy was made ahead: see ``snapshot.Snapshot.carry``."""

    def __init__(self, tracee: tracing.Tracee, home: int, freezer: list[int]) -> None:
        self.tracee = tracee
        self.home = home
        self.freezer = freezer


class Init:
    """
    One fence, seen from its first process.

    Resource handling: everything ends with this process, because it is process 1 of its pid namespace; it ends when the
    worker's side of ``control`` is closed, when its parent ends, and when the worker kills it.
    """

    def __init__(self, config: dict[str, Any], control: socket.socket, fds: dict[str, int], procs: list[int]) -> None:
        self.config = config
        self.control = control
        self.output = fds["output"]
        self.freezer = fds.get("freezer")
        self.network = fds.get("network")
        self.procs = procs
        self.channel: socket.socket | None = None
        self.runtime_pid = 0
        self.generation = 0
        self.code_detached = False
        self.stem: int | None = None  # where the program that was executed ahead hears what it is to be
        self.stem_ready: int | None = None  # where it says that it has booted
        self.placed = False
        self.programs: dict[int, int] = {}  # pid to the number that the worker gave it
        self.within = bool(config.get("within"))  # this fence is inside a snapshot's, and gets a copy of it as its runtime
        self.snapshot: snapshot.Snapshot | None = None
        self.carriers: dict[int, _Carrier] = {}  # by the number by which the worker knows them
        self.copies: dict[int, tuple[int, list[int]]] = {}  # pid to the number by which the worker knows it, and its freezer

    def run(self) -> runtime.Entry:
        """Fence this process in and serve the worker. Returns only in a runtime process, with what it is to call."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        # A process frozen by a version 1 cgroup cannot be killed, so there init must live long enough to thaw it.
        # The same where there is no pid namespace that would take the others along.
        swift = self.freezer is None and self.config["fenced"]
        # Elsewhere SIGTERM stays what it is for process 1, nothing: an unprivileged function may have the right to send it.
        if not swift:
            signal.signal(signal.SIGTERM, self._leave)
        if not self.within:  # else it ends with the snapshot's fence, whose pid namespace is around its own
            kernel.die_with_parent(signal.SIGKILL if swift else signal.SIGTERM)
        listeners = self._build() if self.config["fenced"] else self._open_plain()
        entry = None if self.within else self._start_runtime(self.config.get("ahead"))
        if entry is not None:
            return entry
        wire.send(self.control, {"event": "ready", "addresses": [list(one.getsockname()) for one in listeners]},
                  [one.fileno() for one in listeners])  # fmt: skip
        for one in listeners:
            one.close()
        return self._serve(wake_read)

    def _build(self) -> list[socket.socket]:
        """Make namespaces, mounts and network. SAFETY: in a fresh child, before anything of the function's is here."""
        if self.within:
            kernel.unshare(own_namespaces(self.network is not None), "unshare namespaces")
        if self.network is not None:
            # SAFETY: one with a way out, made for this fence alone; no process has been in it.
            kernel.setns(self.network, kernel.CLONE_NEWNET, "enter the network namespace")
            os.close(self.network)
        kernel.set_host_name(self.config["host_name"])
        self._mount_proc()
        kernel.mount("tmpfs", "/dev/shm", "tmpfs", SAFE | kernel.MS_NOEXEC, SHARED_MEMORY)
        kernel.mount("tmpfs", "/tmp", "tmpfs", SAFE, self.config.get("tmp", DEFAULT_TMP))
        network.bring_up([address for address, _ in self.config["listen"] if not address.startswith("127.")])
        listeners = [network.listener(address, port) for address, port in self.config["listen"]]
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0, step="PR_SET_DUMPABLE")
        runtime._write_quietly("/proc/self/oom_score_adj", "-1000")
        kernel.set_capabilities(CAPABILITIES)
        return listeners

    def _open_plain(self) -> list[socket.socket]:
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1, step="PR_SET_CHILD_SUBREAPER")
        return [network.listener("127.0.0.1", 0) for _ in self.config["listen"]]

    def _mount_proc(self) -> None:
        """Show this pid namespace's /proc, without what concerns the machine, instead of the machine's."""
        flags = SAFE | kernel.MS_NOEXEC
        try:
            kernel.mount("proc", "/mnt/proc", "proc", flags, "hidepid=2")
        except kernel.StepFailed:
            kernel.mount("proc", "/mnt/proc", "proc", flags)
        if not self.within:  # there it is locked; it is covered, and nothing in the fence can take the cover away
            kernel.umount("/proc")
        kernel.mount("/mnt/proc", "/proc", None, kernel.MS_MOVE)
        present = frozenset(os.listdir("/proc"))
        for name in MASKED_FILES:
            if name in present:
                kernel.mount("/dev/null", "/proc/" + name, None, kernel.MS_BIND)
        for name in MASKED_DIRECTORIES:
            if name in present:
                kernel.mount("/mnt/empty", "/proc/" + name, None, kernel.MS_BIND)
        if self.within:
            # The copy's pid is to be another one than the snapshot's: libraries notice by it that they were forked, and draw new seeds.
            runtime._write_quietly("/proc/sys/kernel/ns_last_pid", str(100 + int.from_bytes(os.urandom(2), "big") % 30000))
        kernel.bind("/proc/sys", "/proc/sys", read_only=True)

    # -- the runtime process

    def _start_runtime(self, ahead: dict[str, Any] | None = None) -> runtime.Entry | None:
        """Fork a runtime process and see it through its fence, and through its exec if it is to be ahead.

        Returns an entry in the child, None in init.
        """
        self._close_stem()
        self.generation += 1
        pid, channel, entry = self._fork_fenced(self.control, self.output, ahead)
        if entry is None:
            self.channel, self.runtime_pid = channel, pid
            fds = self._await_fence(pid, channel)
            if ahead is not None:
                self.stem, self.stem_ready = fds
                self._await_execution(channel)
        return entry

    def _fork_fenced(
        self, control: socket.socket | None, output: int, ahead: dict[str, Any] | None = None
    ) -> tuple[int, socket.socket, runtime.Entry | None]:
        """Fork a process that fences itself in. Returns its pid, our end of its channel, and in the child what it is to call."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            ours.close()
            try:
                become = runtime.become
                rehearse = control is not None and self.generation == 1 and not self.config["hurried"]
                return 0, theirs, become(self.config, theirs, control, output, self.procs, ahead, rehearse=rehearse)
            except OSError as refused:
                step = getattr(refused, "step", "runtime")
                wire.send(theirs, {"event": "broken", "step": step, "errno": refused.errno})
                os._exit(126)
        theirs.close()
        return pid, ours, None

    def _await_fence(self, pid: int, channel: socket.socket) -> list[int]:
        """See a process through its fence; return the descriptors that it sends when that is complete. Raises StepFailed."""
        while True:
            received = wire.receive(channel)
            if received is None:
                raise kernel.StepFailed("start the runtime process", 0)
            message = received[0]
            if message["event"] == "unmapped":
                self._map_ids(pid)
                wire.send(channel, {"event": "mapped"})
            elif message["event"] == "broken":
                raise kernel.StepFailed(message["step"], message["errno"] or 0)
            else:
                return received[1]

    def _await_execution(self, channel: socket.socket) -> None:
        """Wait until the program ahead runs: then the channel closes. Raises StepFailed."""
        received = wire.receive(channel)
        channel.close()
        self.channel = None
        if received is not None:
            raise kernel.StepFailed(received[0]["step"], received[0]["errno"] or 0)

    def _close_stem(self) -> None:
        for fd in (self.stem, self.stem_ready):
            if fd is not None:
                os.close(fd)
        self.stem = self.stem_ready = None

    def _map_ids(self, pid: int) -> None:
        """Give the runtime's user namespace its one user and one group. SAFETY: never root's, except rootless, where
        0 here is the worker's own unprivileged user."""
        for name, inside in (("uid_map", self.config["uid"]), ("gid_map", self.config["gid"])):
            line = "%d %d 1\n" % (inside, self.config["outer_id"])
            try:
                kernel.write_file("/proc/%d/%s" % (pid, name), line)
            except OSError as refused:
                raise kernel.StepFailed("write " + name, refused.errno or 0) from refused

    # -- the worker's requests

    def _serve(self, wake_read: int) -> runtime.Entry:
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        ready = self.stem_ready
        if ready is not None:
            poll.register(ready, select.POLLIN)
        unreaped = False
        while True:
            if unreaped:
                unreaped = self._reap()
            for fd, _ in poll.poll(0 if unreaped else None):
                if fd == wake_read:
                    os.read(wake_read, 4096)
                    unreaped = True
                    continue
                if fd == ready:
                    poll.unregister(fd)
                    if self.stem is not None:
                        wire.send(self.control, {"event": "booted"})
                    continue
                received = wire.receive(self.control)
                if received is None:
                    self._leave()
                request, fds = received
                entry = self._carry_out(request, fds)
                if entry is not None:
                    return entry
                for given in fds:
                    os.close(given)

    def _carry_out(self, request: dict[str, Any], fds: list[int]) -> runtime.Entry | None:
        kind = request["request"]
        try:
            if kind == "assign":
                self._place(request)
                if self.stem is None:
                    self._hand_over(request)
                else:
                    wire.send(self.control, {"event": "assigned" if self._inform_stem(request) else "stem_lost"})
            elif kind == "place":
                self._place(request)
                wire.send(self.control, {"event": "assigned"})
            elif kind == "launch":
                return self._launch(request, fds[0])
            elif kind == "signal":
                self._signal_one(request["program"], request["number"])
            elif kind == "socket":
                self._open_socket(request["id"])
            elif kind == "renew":
                self.kill_all()
                entry = self._start_runtime()
                if entry is not None:
                    return entry
                wire.send(self.control, {"event": "assigned"})
            elif kind == "respawn":
                self.kill_all()
                entry = self._start_runtime()
                if entry is not None:
                    return entry
                self._hand_over(request)
            elif kind == "stop":
                self.kill_all()
                wire.send(self.control, {"event": "assigned"})
            elif kind in ("freeze", "thaw"):
                self._signal_all(signal.SIGSTOP if kind == "freeze" else signal.SIGCONT)
            elif kind == "keep":
                self._keep(request["port"])
            elif kind == "carry":
                self._carry(request, fds)
            elif kind == "copy":
                self._copy(request["number"])
            elif kind == "abandon":
                self._abandon(request["number"])
            elif kind == "drop" and self.snapshot is not None:
                for number in list(self.carriers):
                    self._abandon(number)
                self.snapshot.drop()
                self.snapshot = None
        except OSError as refused:
            step = getattr(refused, "step", kind)
            wire.send(self.control, {"event": "broken", "step": step, "errno": refused.errno})
        return None

    def _place(self, request: dict[str, Any]) -> None:
        """Show the code, and then take the code store away, so that no other function's code can be seen."""
        if self.placed:
            return
        self.placed = True
        if not self.config["fenced"]:
            for name in ("task", "opt"):
                place = os.path.join(request["private"], name)
                if request[name] is None:
                    os.mkdir(place)
                else:
                    os.symlink(os.path.join(self.config["code"], request[name]), place)
            return
        code = self.config["code"]
        for target, source in (("/var/task", request["task"]), ("/opt", request["opt"])):
            if source is not None:
                kernel.bind(code + "/" + source, target, read_only=True)
        kernel.mount(None, "/tmp", None, kernel.MS_REMOUNT | SAFE, "mode=1777,size=%d" % request["tmp_bytes"])
        if not self.code_detached:
            kernel.umount(code)
            self.code_detached = True

    def _hand_over(self, request: dict[str, Any]) -> None:
        assert self.channel is not None
        channel, self.channel = self.channel, None
        self._hand_over_by(channel, request)

    def _launch(self, request: dict[str, Any], output: int) -> runtime.Entry | None:
        """Start one more program behind the same fence, with an output of its own; it ends with the others."""
        pid, channel, entry = self._fork_fenced(None, output)
        if entry is not None:
            return entry
        self.programs[pid] = request["program"]
        self._await_fence(pid, channel)
        self._hand_over_by(channel, request)
        return None

    def _signal_one(self, program: int | None, number: int) -> None:
        """Signal a program, or the runtime process (None), with its group. SAFETY: a pid that was not waited for is nobody else's."""
        pids = [self.runtime_pid] if program is None else [pid for pid, one in self.programs.items() if one == program]
        for pid in pids:
            if pid:
                try:
                    os.killpg(pid, number)
                except (ProcessLookupError, PermissionError):
                    pass

    def _open_socket(self, number: int) -> None:
        """Make an unconnected socket in this network namespace for the worker. SAFETY: it reaches what processes in here reach."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as made:
            wire.send(self.control, {"event": "socket", "id": number}, [made.fileno()])

    def _hand_over_by(self, channel: socket.socket, request: dict[str, Any]) -> None:
        keys = ("environment", "cwd", "argv", "payload", "data_bytes")
        wire.send(channel, {key: request[key] for key in keys})
        received = wire.receive(channel)  # the channel closes as the program starts
        channel.close()
        if received is None:
            wire.send(self.control, {"event": "assigned"})
        else:
            wire.send(self.control, {"event": "exec_failed", "errno": received[0]["errno"]})

    def _inform_stem(self, request: dict[str, Any]) -> bool:
        """Tell the program that was executed ahead what it is; says False if it is gone, or another one than is asked for.

        It is ours, and has read nothing of a function's yet, so it may be waited for.
        """
        assert self.stem is not None
        try:
            if request["argv"] != self.config["ahead"]["argv"]:
                self.kill_all()
                return False
            line = json.dumps({"environment": request["environment"], "cwd": request["cwd"]}).encode() + b"\n"
            while line:
                line = line[os.write(self.stem, line) :]
        except BrokenPipeError:
            return False
        finally:
            self._close_stem()
        return True

    # -- snapshots

    def _keep(self, port: int) -> None:
        """Keep the runtime process as it stands, and tell the worker, with the namespaces that copies' fences are made in."""
        try:
            self.snapshot = snapshot.Snapshot(self.runtime_pid, self.output, port)
        except snapshot.NotKept as refused:
            wire.send(self.control, {"event": "not_kept", "text": str(refused)})
            return
        except OSError as refused:
            text = "the kernel refuses: %s" % refused
            wire.send(self.control, {"event": "not_kept", "text": text})
            return
        places = ("/proc/%d/ns/user" % self.runtime_pid, "/proc/self/ns/pid")
        fds = [os.open(place, os.O_RDONLY | os.O_CLOEXEC) for place in places]
        wire.send(self.control, {"event": "kept"}, fds)
        for fd in fds:
            os.close(fd)

    def _carry(self, request: dict[str, Any], fds: list[int]) -> None:
        """Prepare a copy for the fence whose process 1 is behind the first descriptor."""
        number = request["number"]
        try:
            if self.snapshot is None:
                raise kernel.StepFailed("carry", errno.ESRCH)
            named = list(zip(request["names"], fds))
            output = next(fd for name, fd in named if name == "output")
            procs = [fd for name, fd in named if name == "procs"]
            home = kernel.pid_of(next(fd for name, fd in named if name == "home"))
            tracee = self.snapshot.carry(home, output, procs)
            self.carriers[number] = _Carrier(tracee, home, [os.dup(fd) for name, fd in named if name == "freezer"])
        except OSError as refused:
            self._tell_failed(number, refused)
        else:
            wire.send(self.control, {"event": "carried", "number": number})

    def _copy(self, number: int) -> None:
        """Let a copy of the snapshot run where its carrier stands."""
        carrier = self.carriers.pop(number, None)
        try:
            if self.snapshot is None or carrier is None:
                raise kernel.StepFailed("copy", errno.ESRCH)
            pid = self.snapshot.copy(carrier.tracee, carrier.home)
        except OSError as refused:
            self._tell_failed(number, refused)
            return
        self.copies[pid] = (number, carrier.freezer)
        wire.send(self.control, {"event": "copied", "number": number})

    def _abandon(self, number: int) -> None:
        carrier = self.carriers.pop(number, None)
        if carrier is not None:
            snapshot.end(carrier.tracee)
            for fd in carrier.freezer:
                os.close(fd)

    def _tell_failed(self, number: int, refused: OSError) -> None:
        step = getattr(refused, "step", "copy")
        wire.send(self.control, {"event": "copy_failed", "number": number, "step": step, "errno": refused.errno})

    def _reap(self) -> bool:
        """Note who has ended; says whether there may be more. A function that makes orphans for ever must not keep the worker waiting."""
        for _ in range(MOST_REAPED):
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return False
            self._note_end(pid, status, usage.ru_maxrss)
        return True

    def _note_end(self, pid: int, status: int, peak_kib: int) -> None:
        if os.WIFSTOPPED(status):
            return
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        code = None if number is not None else os.WEXITSTATUS(status)
        if pid in self.copies:
            copy, freezer = self.copies.pop(pid)
            for fd in freezer:
                os.close(fd)
            end = {"number": copy, "code": code, "signal": number, "peak_bytes": peak_kib * 1024}
            wire.send(self.control, {"event": "copy_exit", **end})
        program = self.programs.pop(pid, None)
        if program is not None:
            wire.send(self.control, {"event": "program_exit", "program": program, "code": code, "signal": number})
        if pid != self.runtime_pid:
            return
        self.runtime_pid = 0
        end = {"generation": self.generation, "code": code, "signal": number, "peak_bytes": peak_kib * 1024}
        wire.send(self.control, {"event": "exit", **end})

    def kill_all(self) -> None:
        """Kill every process of this fence but this one, and wait until they are gone."""
        self._signal_all(signal.SIGKILL)
        while True:
            try:
                pid, status, usage = os.wait4(-1, 0)
            except ChildProcessError:
                return
            self._note_end(pid, status, usage.ru_maxrss)
            self._signal_all(signal.SIGKILL)  # what was being forked meanwhile, and whose parent was us all along

    def _signal_all(self, number: int) -> None:
        """Signal every other process of this fence. SAFETY: -1 reaches no further than this pid namespace."""
        if not self.config["fenced"]:
            for pid in descendants(os.getpid()):
                _kill_quietly(pid, number)
            return
        _kill_quietly(-1, number)

    def _leave(self, *_: object) -> NoReturn:
        """End, and with this process 1 the whole fence."""
        frozen = [] if self.freezer is None else [self.freezer]
        for fd in frozen + [fd for _, freezer in self.copies.values() for fd in freezer]:
            _write_quietly(fd, b"THAWED")
        if not self.config["fenced"]:
            self._signal_all(signal.SIGCONT)
            self._signal_all(signal.SIGKILL)
            while _any_child():  # children of the dead become ours, and their turn comes
                self._signal_all(signal.SIGKILL)
        os._exit(0)


def descendants(pid: int) -> list[int]:
    """Return the pids of all children, grandchildren and so on of ``pid``, nearest first."""
    found: list[int] = []
    pending = [pid]
    while pending:
        parent = pending.pop()
        try:
            with open("/proc/%d/task/%d/children" % (parent, parent), encoding="ascii") as file:
                children = [int(one) for one in file.read().split()]
        except OSError:
            continue
        found.extend(children)
        pending.extend(children)
    return found


def _any_child() -> bool:
    """Wait for one child to end; says False when there is none left."""
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        return False
    return True


def _write_quietly(fd: int, data: bytes) -> None:
    """Write where the file may have gone: a copy's cgroup goes before the snapshot does."""
    try:
        os.write(fd, data)
    except OSError:
        pass


def _kill_quietly(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass

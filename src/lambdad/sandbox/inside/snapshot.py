"""A runtime process kept as it stands after its Init, and forked into other fences. Runs in process 1 of the snapshot's fence.

The kept process never runs again by itself: it stays stopped, traced by process 1. A copy of it is made, moved into its new fence and
stripped of everything by calls that process 1 makes in it; it executes its first own instruction after the kernel's view of it was
checked. So no code of a function's ever runs with a capability, although the copy has some in between.

How: a fence to be restored into is owned by a user namespace that is a child of the snapshot's own and belongs to the snapshot's user.
By the kernel's rule the copy may therefore enter it (setns), in which it has all capabilities, and gives them up.

Connections do not survive: a copy has sockets in their places that are connected to nothing.

Source: user_namespaces(7), "Capabilities"; setns(2); ptrace(2).
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from typing import Any

from . import kernel, tracing, wire

SCRATCH_BYTES = 16384
# Offsets in the scratch pages, the loop being at 0: tables and data of one moment, the table that every copy runs, and its data.
TABLE, DATA, OWN_TABLE, OWN_DATA = 256, 2048, 4096, 12288
MOST_BYTES_READ = 8 << 20  # of one file of /proc: a process with more mappings is not kept
# The user namespace comes first: who has entered it may enter the others, which it owns.
NAMESPACES = {
    "user": kernel.CLONE_NEWUSER, "mnt": kernel.CLONE_NEWNS, "net": kernel.CLONE_NEWNET, "ipc": kernel.CLONE_NEWIPC,
    "uts": kernel.CLONE_NEWUTS, "pid": kernel.CLONE_NEWPID,
}  # fmt: skip
CLONE_VM, CLONE_PARENT, CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, SIGCHLD = 0x100, 0x8000, 0x200000, 0x1000000, 17
PR_SET_PDEATHSIG, PR_GET_TID_ADDRESS = 1, 40
CMSG_CLOEXEC = 0x40000000
RWX, PRIVATE_ANONYMOUS = 7, 0x22
STATELESS = frozenset("/dev/" + name for name in ("null", "zero", "full", "random", "urandom"))
MOST_CONNECTIONS, MOST_PATH_BYTES = 64, 1024
STOP_ATTEMPTS = 50
_LISTENS = "0A"
_INTERRUPTED = (1 << 64) - 512  # -ERESTARTSYS, which no process ever sees of itself
_PIDFD_GETFD, _GETITIMER = 438, 36
_libc = ctypes.CDLL(None, use_errno=True)
_libc.process_vm_writev.restype = ctypes.c_ssize_t


class _Piece(ctypes.Structure):
    _fields_ = (("address", ctypes.c_void_p), ("length", ctypes.c_size_t))


class NotKept(Exception):
    """A process cannot be kept by forking; the text says why, for the function's log."""


class Snapshot:
    """
    One kept process.

    Resource handling: ends with process 1, which it is traced by; or by ``drop``.
    """

    def __init__(self, pid: int, output: int, port: int) -> None:
        """
        Stop a process for good, if it can be kept.

        Args:
            pid: of the runtime process, a child of this one.
            output: the pipe that its standard output and error must be.
            port: of its end of the connection on which it waits.

        Raises:
            NotKept: it cannot be kept. It is then good for nothing.
            StepFailed: the kernel refuses to trace.
        """
        if not tracing.available():
            raise NotKept("this machine is no x86-64")
        self.pid = pid
        self._tracee = tracing.Tracee(pid)
        try:
            self._tracee.attach()
        except kernel.StepFailed as refused:
            raise NotKept("the kernel does not allow it (%s)" % refused) from refused
        for _ in range(STOP_ATTEMPTS):  # it has asked, and may be on its way into waiting for the answer
            self._registers = self._tracee.registers()
            if _waits(self._registers):
                break
            self._tracee.run_on()
            time.sleep(0.002)
            self._tracee.stop()
        self._memory = os.open("/proc/%d/mem" % pid, os.O_RDONLY | os.O_CLOEXEC)
        self._connections: list[int] = []  # descriptors that lead to nobody in a copy
        self._api = self._check(output, port)
        self._gadget = self._registers["rip"] - 2
        try:
            self._tracee.command()
        except kernel.StepFailed as refused:
            raise NotKept("the kernel does not allow it (%s)" % refused) from refused
        self._scratch = 0
        self._prepare()

    # -- what can be kept

    def _check(self, output: int, port: int) -> int:
        """
        Look at everything that a fork would share or lose; returns the descriptor of the Runtime API's connection.

        SAFETY: the process is stopped already, so that what is seen cannot change: there is nobody else who could.
        """
        place = "/proc/%d/" % self.pid
        if [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, self.pid)]:
            raise NotKept("the function has started other processes")
        threads = len(os.listdir(place + "task"))
        if threads != 1:
            raise NotKept("the function runs %d threads" % threads)
        status = _status(self.pid)
        if status.get("Seccomp_filters", "1") != "1":
            raise NotKept("the function has filtered its own system calls")
        for name in ("/tmp", "/dev/shm"):
            if os.listdir(name):
                raise NotKept("the function has written to " + name)
        self._directory = os.fsencode(os.readlink(place + "cwd"))
        if len(self._directory) > MOST_PATH_BYTES or self._directory.endswith(b" (deleted)"):
            raise NotKept("the function's working directory is not there in others")
        api = self._check_descriptors(place, "pipe:[%d]" % os.fstat(output).st_ino, port)
        self._check_mappings(place)
        if _read(place + "timers"):
            raise NotKept("the function has set a timer")
        registers = self._registers
        if not _waits(registers) or registers["rdi"] != api or self._peek(registers["rip"] - 2, 2) != b"\x0f\x05":
            raise NotKept("the runtime does something else than wait")
        return api

    def _check_descriptors(self, place: str, pipe: str, port: int) -> int:
        found = -1
        self._shared: set[str] = {pipe}  # what no copy may have open
        connections = _connections(place)
        for name in os.listdir(place + "fd"):
            target = os.readlink(place + "fd/" + name)
            number = int(name)
            if number in (1, 2) and target == pipe:
                continue
            if target in STATELESS and number not in (1, 2):
                continue
            if target in connections:
                self._shared.add(target)
                if connections[target] == "0100007F:%04X" % port and found < 0:
                    found = number
                else:
                    self._connections.append(number)
                continue
            raise NotKept("descriptor %d is open: %s" % (number, target[:200]))
        if found < 0:
            raise NotKept("the runtime's connection is gone")
        if len(self._connections) > MOST_CONNECTIONS:
            raise NotKept("the function has %d connections open" % len(self._connections))
        return found

    @staticmethod
    def _check_mappings(place: str) -> None:
        """Refuse memory that copies would share, but for the machine's own read-only files (such as glibc's caches)."""
        for line in _read(place + "maps").splitlines():
            fields = line.split(None, 5)
            path = fields[5] if len(fields) > 5 else ""
            if fields[1][3] == "s" and not (fields[1][1] == "-" and path.startswith(("/usr/", "/lib/", "/lib64/", "/var/lang/"))):
                raise NotKept("the function shares memory: " + (path[:200] or fields[0]))

    # -- preparation

    def _prepare(self) -> None:
        """Put the loop and a socket for descriptors into the process."""
        call = self._call
        self._scratch = call(tracing.CALLS["mmap"], 0, SCRATCH_BYTES, RWX, PRIVATE_ANONYMOUS, MINUS_ONE, 0)
        data = self._scratch + DATA
        for which in (0, 1, 2):
            call(_GETITIMER, which, data)
            if struct.unpack("=4q", self._peek(data, 32))[2:] != (0, 0):
                raise NotKept("the function has set a timer")
        self._poke(self._scratch, tracing.LOOP)
        call(tracing.CALLS["prctl"], PR_GET_TID_ADDRESS, data, 0, 0, 0)
        (self._tid_address,) = struct.unpack("=Q", self._peek(data, 8))
        self._rseq = self._tracee.rseq()
        head, size = ctypes.c_ulong(0), ctypes.c_ulong(0)
        number = ctypes.c_long(tracing.CALLS["get_robust_list"])
        found = _libc.syscall(number, ctypes.c_long(self.pid), ctypes.byref(head), ctypes.byref(size))
        self._robust = (head.value, size.value) if found == 0 else (0, 0)
        own = self._own_table()
        assert len(own) <= OWN_DATA - OWN_TABLE, "the table has room"
        self._poke(self._scratch + OWN_TABLE, own)  # in memory before any fork: it is copied along
        self._own_calls = len(own) // tracing.ENTRY.size - 1
        for fd in self._connections:  # their other ends need not wait
            call(tracing.CALLS["shutdown"], fd, socket.SHUT_RDWR)
        call(tracing.CALLS["socketpair"], socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC, 0, data)
        theirs, ours = struct.unpack("=2i", self._peek(data, 8))
        pidfd = kernel.open_pidfd(self.pid)
        fd = _libc.syscall(ctypes.c_long(_PIDFD_GETFD), ctypes.c_long(pidfd), ctypes.c_long(ours), ctypes.c_long(0))
        os.close(pidfd)
        if fd < 0:
            raise kernel.StepFailed("pidfd_getfd", ctypes.get_errno())
        self._channel = socket.socket(fileno=fd)
        self._channel.set_inheritable(False)
        call(tracing.CALLS["close"], ours)
        self._their_end = theirs

    def _call(self, number: int, *arguments: int) -> int:
        return self._tracee.call_once(self._registers, self._gadget, number, arguments)

    def _poke(self, address: int, data: bytes) -> None:
        """Write into the kept process: by a call that asks for the right to trace, and not for one to the file in /proc."""
        from_here = ctypes.create_string_buffer(data, len(data))
        local, remote = _Piece(ctypes.addressof(from_here), len(data)), _Piece(address, len(data))
        if _libc.process_vm_writev(self.pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) != len(data):
            raise kernel.StepFailed("write to the process", ctypes.get_errno())

    def _peek(self, address: int, size: int) -> bytes:
        return os.pread(self._memory, size, address)

    def drop(self) -> None:
        """End the kept process; copies of it go on."""
        end(self._tracee)
        os.close(self._memory)
        self._channel.close()

    # -- copies

    def carry(self, home: int, output: int, procs: list[int]) -> tracing.Tracee:
        """
        Make a carrier: a process that shares the kept one's memory, and stands, stopped, in another fence, ready to be forked there.

        That is what of a restore can be done ahead; joining cgroups alone takes the kernel up to ten milliseconds.

        Args:
            home: process 1 of the fence, as this process sees it.
            output: where the copy's standard output and error go.
            procs: ``cgroup.procs`` descriptors to join by.

        Raises:
            StepFailed: nothing of it is left.
        """
        carrier = self._fork(self._tracee, ("clone", CLONE_VM | CLONE_PARENT | SIGCHLD, 0, 0, 0, 0))
        try:
            for fd in procs:
                _join(fd, carrier.pid)
            output_fd, *namespaces = self._hand_over(carrier, output, home)
            calls: list[tuple[object, ...]] = [("setns", fd, kind) for fd, kind in zip(namespaces, NAMESPACES.values())]
            calls += [
                ("unshare", kernel.CLONE_NEWCGROUP),  # the copy sees its own cgroup as the root of all
                ("dup3", output_fd, 1, 0),
                ("dup3", output_fd, 2, 0),
                *[("close", fd) for fd in (*namespaces, output_fd, self._their_end)],
            ]
            self._run(carrier, calls)
            for fd in (self._api, *self._connections):
                self._run(carrier, [("socket", socket.AF_INET, socket.SOCK_STREAM, 0)])
                (fresh,) = struct.unpack("=q", self._peek(self._scratch + TABLE + 56, 8))
                self._run(carrier, [("dup3", fresh, fd, os.O_CLOEXEC), ("close", fresh)])
        except BaseException:
            end(carrier)
            raise
        return carrier

    def copy(self, carrier: tracing.Tracee, home: int) -> int:
        """
        Make a copy of the process run where a carrier stands; the carrier ends.

        Returns:
            The copy's pid as this process sees it; it is a child of this process, and runs.

        Raises:
            StepFailed: the copy could not be made, or is not what it must be. Nothing of it is left.
        """
        copy = None
        try:
            flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD
            copy = self._fork(carrier, ("clone", flags, 0, 0, self._tid_address, 0))
            # SAFETY: everything is given up here, by calls that the function's code has no part in.
            before = copy.registers()
            start = self._scratch + OWN_TABLE
            copy.resume_at(before, self._scratch, start)
            copy.wait()
            self._expect_done(copy, start, self._own_calls)
            copy.call_once(before, self._gadget, tracing.CALLS["munmap"], (self._scratch, SCRATCH_BYTES))
            self._verify(copy.pid, home)
            # What the process waited for has ended: the connection is not there any more. It opens a new one and asks again.
            copy.set_registers({**self._registers, "rax": 0, "orig_rax": tracing.MINUS_ONE})
            copy.detach()
        except BaseException:
            if copy is not None:
                end(copy)
            raise
        finally:
            end(carrier)
        return copy.pid

    def _own_table(self) -> bytes:
        """What a copy does before it runs: gives everything up, and takes on what belongs to a process of its own."""
        data = self._scratch + OWN_DATA
        self._poke(data, struct.pack("=2I", 0x20080522, 0) + bytes(24) + self._directory + b"\0")
        calls: list[tuple[object, ...]] = [("prctl", kernel.PR_CAPBSET_DROP, one, 0, 0, 0) for one in range(_last_capability() + 1)]
        calls += [
            ("prctl", kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0),
            ("capset", data, data + 8),
            ("prctl", kernel.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            ("prctl", kernel.PR_SET_DUMPABLE, 1, 0, 0, 0),
            ("setsid",),
            ("chdir", data + 32),
        ]
        if self._robust[0]:
            calls.append(("set_robust_list", *self._robust))
        if self._rseq[0]:
            address, size, mark = self._rseq
            calls.append(("rseq", address, size, 0, mark))
        return tracing.table(*calls)

    def _fork(self, parent: tracing.Tracee, call: tuple[object, ...]) -> tracing.Tracee:
        """Have a stopped process fork; parent and child are stopped afterwards."""
        start = self._scratch + TABLE
        self._poke(start, tracing.table(call))  # a carrier shares the kept process's memory
        before = parent.registers()
        parent.resume_at(before, self._scratch, start)
        if not parent.wait(tracing.EVENT_FORK, tracing.EVENT_CLONE):
            self._expect_done(parent, start, 1)  # it did not fork, and this raises why
        child = tracing.Tracee(parent.event_message())
        child.wait(tracing.EVENT_STOP)
        parent.ask(tracing.CONT, 0, 0, "continue")
        parent.wait()
        self._expect_done(parent, start, 1)
        return child

    def _run(self, process: tracing.Tracee, calls: list[tuple[object, ...]]) -> None:
        start = self._scratch + TABLE
        self._poke(start, tracing.table(*calls))
        process.resume_at(process.registers(), self._scratch, start)
        process.wait()
        self._expect_done(process, start, len(calls))

    def _expect_done(self, process: tracing.Tracee, start: int, count: int) -> None:
        after = process.registers()
        if after["rip"] != self._scratch + len(tracing.LOOP):
            raise kernel.StepFailed("run a table in the copy", 4)
        done = (after["rbx"] - start) // tracing.ENTRY.size
        if done != count:
            (number,) = struct.unpack("=Q", self._peek(after["rbx"], 8))
            name = next((name for name, one in tracing.CALLS.items() if one == number), str(number))
            raise kernel.StepFailed("%s in the copy" % name, (-after["rax"]) & 0xFFFFFFFF)

    def _hand_over(self, carrier: tracing.Tracee, output: int, home: int) -> tuple[int, ...]:
        """Give a copy its output and the namespaces of its fence; returns their numbers there."""
        fds = [output]
        try:
            for name in NAMESPACES:
                fds.append(os.open("/proc/%d/ns/%s" % (home, name), os.O_RDONLY | os.O_CLOEXEC))
            wire.send(self._channel, {}, fds)
        finally:
            for fd in fds[1:]:
                os.close(fd)
        data, count = self._scratch + DATA, len(fds)
        # struct msghdr, then one iovec at 64, room for the control message at 128, and for the packet at 256.
        header = struct.pack("=QIIQQQQII", 0, 0, 0, data + 64, 1, data + 128, 128, 0, 0)
        self._poke(data, header + bytes(64 - len(header)) + struct.pack("=QQ", data + 256, 64))
        self._run(carrier, [("recvmsg", self._their_end, data, CMSG_CLOEXEC)])
        length, level, kind = struct.unpack("=Qii", self._peek(data + 128, 16))
        if (length, level, kind) != (16 + 4 * count, socket.SOL_SOCKET, socket.SCM_RIGHTS):
            raise kernel.StepFailed("hand descriptors over", 9)
        return struct.unpack("=%di" % count, self._peek(data + 144, 4 * count))

    def _verify(self, pid: int, home: int) -> None:
        """Check what the kernel says of a copy before it runs. Raises StepFailed."""
        status = _status(pid)
        wanted = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0000000000000000")
        wanted.update({"NoNewPrivs": "1", "Seccomp": "2", "Threads": "1"})
        for name, value in wanted.items():
            if status.get(name) != value:
                raise kernel.StepFailed("verify %s: %s" % (name, status.get(name)), 1)
        for name in NAMESPACES:
            if os.readlink("/proc/%d/ns/%s" % (pid, name)) != os.readlink("/proc/%d/ns/%s" % (home, name)):
                raise kernel.StepFailed("verify the %s namespace" % name, 1)
        if os.readlink("/proc/%d/ns/cgroup" % pid) == os.readlink("/proc/self/ns/cgroup"):
            raise kernel.StepFailed("verify the cgroup namespace", 1)
        for number in os.listdir("/proc/%d/fd" % pid):
            if os.readlink("/proc/%d/fd/%s" % (pid, number)) in self._shared:
                raise kernel.StepFailed("verify descriptor %s" % number, 1)


def end(process: tracing.Tracee) -> None:
    """Kill a traced process and wait until it is gone."""
    try:
        os.kill(process.pid, 9)
        while not os.WIFSIGNALED(os.waitpid(process.pid, tracing.WALL)[1]):
            pass
    except (ProcessLookupError, ChildProcessError):
        pass


MINUS_ONE = tracing.MINUS_ONE


def _waits(registers: dict[str, int]) -> bool:
    """Say whether a stopped process was interrupted while it waited for data from a socket."""
    return registers["orig_rax"] == tracing.CALLS["recvfrom"] and registers["rax"] == _INTERRUPTED


def _join(fd: int, pid: int) -> None:
    try:
        os.write(fd, b"%d" % pid)
    except OSError as refused:
        raise kernel.StepFailed("join a cgroup", refused.errno or 0) from refused


def _status(pid: int) -> dict[str, Any]:
    lines = (line.partition(":") for line in _read("/proc/%d/status" % pid).splitlines())
    return {name: value.strip() for name, _, value in lines}


def _connections(place: str) -> dict[str, str]:
    """Return the TCP connections of a fence, as descriptors show them, and their own addresses as the kernel prints them."""
    found = {}
    for name in ("tcp", "tcp6"):
        try:
            lines = _read(place + "net/" + name).splitlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for line in lines:
            fields = line.split()
            if fields[3] != _LISTENS:
                found["socket:[%s]" % fields[9]] = fields[1]
    return found


def _read(path: str) -> str:
    """Read a small file of /proc. Raises NotKept if it is large."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read(MOST_BYTES_READ)
    if len(text) == MOST_BYTES_READ:
        raise NotKept("%s is too large" % path)
    return text


def _last_capability() -> int:
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())

"""The Linux calls that Python has no wrapper for, each failing with its own step name.

Runs under CPython 3.8 and later; needs ctypes.
"""

from __future__ import annotations

import ctypes
import errno as errnos
import os
import signal
import struct
import sys

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_PIDFD = 0x00001000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_SECCOMP = 22
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2
SECBIT_NO_SETUID_FIXUP = 4

MADV_COLLAPSE = 25
HUGE_PAGE_BYTES = 2 << 20

AT_FDCWD = -100
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4

CAP_CHOWN, CAP_DAC_READ_SEARCH, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP = 0, 2, 5, 6, 7, 8
CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CAP_SETFCAP = 12, 19, 21, 24, 31

KEYCTL_JOIN_SESSION_KEYRING = 1
LAST_CAPABILITY = 63

# Numbers of the calls without a glibc wrapper: (x86_64, aarch64).
_NUMBERS = {
    "pivot_root": (155, 41),
    "clone": (56, 220),
    "capget": (125, 90),
    "capset": (126, 91),
    "keyctl": (250, 219),
    "pidfd_open": (434, 434),
    "close_range": (436, 436),
    "mount_setattr": (442, 442),
}

_libc = ctypes.CDLL(None, use_errno=True)
_held = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock during a call, so that the child of a clone has it
_CapabilityData = ctypes.c_char * 24  # made once: a type is expensive in memory
_COLUMN = {"x86_64": 0, "aarch64": 1}.get(os.uname().machine)


class StepFailed(OSError):
    """One step of building the fence was refused by the kernel; ``step`` says which."""

    def __init__(self, step: str, errno: int) -> None:
        super().__init__(errno, os.strerror(errno))
        self.step = step

    def __str__(self) -> str:
        return f"{self.step}: {errnos.errorcode.get(self.errno or 0, str(self.errno))} ({self.strerror})"


def _checked(result: int, step: str) -> int:
    if result < 0:
        raise StepFailed(step, ctypes.get_errno())
    return result


def _call(name: str, *arguments: object) -> int:
    if _COLUMN is None:
        raise StepFailed(name, errnos.ENOSYS)
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _checked(_libc.syscall(ctypes.c_long(_NUMBERS[name][_COLUMN]), *wide), name)


def write_file(path: str, text: str) -> None:
    """Write a kernel's file. Raises OSError.

    Not by ``open``: text files and their codecs touch hundreds of pages, in each of a thousand processes.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def unshare(flags: int, step: str = "unshare") -> None:
    """Give this process new namespaces of its own. Raises StepFailed."""
    _checked(_libc.unshare(ctypes.c_int(flags)), step)


def clone(flags: int, step: str = "clone") -> tuple[int, int]:
    """
    Fork into new namespaces, and return the child's pid and a descriptor that names it; in the child (0, -1).

    The interpreter does not notice: nothing that it or its libraries do after a fork is done. So it is for a single-threaded
    process, and for a child that forks properly before it runs anything that is not ours. It saves the child hundreds of pages
    that those preparations would write to. Raises StepFailed.
    """
    if _COLUMN is None:
        raise StepFailed(step, errnos.ENOSYS)
    pidfd = ctypes.c_int(-1)
    zero = ctypes.c_long(0)
    arguments = (ctypes.c_long(flags | CLONE_PIDFD | signal.SIGCHLD), zero, ctypes.byref(pidfd), zero, zero)
    pid = _checked(_held.syscall(ctypes.c_long(_NUMBERS["clone"][_COLUMN]), *arguments), step)
    return (pid, pidfd.value) if pid else (0, -1)


def setns(fd: int, kind: int, step: str = "setns") -> None:
    """Move this process (for a pid namespace: its future children) into the namespace behind ``fd``."""
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), step)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount ``source`` on ``target``; the step is named by the target. Raises StepFailed."""
    raw = [one.encode() if one is not None else None for one in (source, target, kind)]
    result = _libc.mount(*raw, ctypes.c_ulong(flags), data.encode() if data is not None else None)
    _checked(result, f"mount {kind or source or ''} on {target}")


def umount(target: str) -> None:
    """Detach the mount at ``target`` and all beneath it. Raises StepFailed."""
    _checked(_libc.umount2(target.encode(), ctypes.c_int(MNT_DETACH)), f"umount {target}")


def pivot_root_here(directory: str) -> None:
    """Make ``directory`` (a mount) the root of this mount namespace and forget the old root. Raises StepFailed."""
    os.chdir(directory)
    _call("pivot_root", b".", b".")  # the old root is now stacked on the new one, at the same place
    _checked(_libc.umount2(b".", ctypes.c_int(MNT_DETACH)), "detach the old root")
    os.chdir("/")


def restrict_mount(target: str, *, read_only: bool, devices: bool = False) -> None:
    """Make a mount and all beneath it nosuid, and, as asked, read-only and without device nodes.

    mount_setattr (Linux 5.12) reaches the submounts too and keeps flags that a user namespace may not clear; before it,
    only the mount itself is restricted, with the flags it has.
    """
    attributes = MOUNT_ATTR_NOSUID | (MOUNT_ATTR_RDONLY if read_only else 0) | (0 if devices else MOUNT_ATTR_NODEV)
    request = struct.pack("QQQQ", attributes, 0, 0, 0)
    try:
        _call("mount_setattr", AT_FDCWD, target.encode(), AT_RECURSIVE, request, len(request))
        return
    except StepFailed as refused:
        if refused.errno != errnos.ENOSYS:
            raise StepFailed(f"restrict {target}", refused.errno or 0) from refused
    present = os.statvfs(target).f_flag
    flags = MS_NOSUID | (MS_RDONLY if read_only else 0) | (0 if devices else MS_NODEV)
    flags |= present & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | 1024 | 2048)
    if present & 4096:  # ST_RELATIME
        flags |= 1 << 21
    mount(None, target, None, MS_BIND | MS_REMOUNT | flags)


def bind(source: str, target: str, *, read_only: bool, devices: bool = False) -> None:
    """Show ``source`` at ``target``, with everything mounted beneath it, restricted as in ``restrict_mount``."""
    mount(source, target, None, MS_BIND | MS_REC)
    restrict_mount(target, read_only=read_only, devices=devices)


def prctl(option: int, value: int = 0, third: int = 0, step: str = "prctl") -> int:
    """Call prctl with two integers. Raises StepFailed."""
    zero = ctypes.c_ulong(0)
    return _checked(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(third), zero, zero), step)


def die_with_parent(signal_number: int) -> None:
    """Ask for ``signal_number`` when the thread that started this process ends."""
    prctl(PR_SET_PDEATHSIG, signal_number, step="PR_SET_PDEATHSIG")


def set_host_name(name: str) -> None:
    """Name this UTS namespace. Raises StepFailed."""
    raw = name.encode()
    _checked(_libc.sethostname(raw, ctypes.c_size_t(len(raw))), "sethostname")


def drop_bounding_set(keep: frozenset[int] = frozenset()) -> None:
    """Make every capability outside ``keep`` unobtainable for this process and its children."""
    for capability in range(LAST_CAPABILITY + 1):
        if capability in keep:
            continue
        try:
            present = prctl(PR_CAPBSET_READ, capability, step="PR_CAPBSET_READ")
        except StepFailed:
            return  # EINVAL: past the last capability this kernel knows
        if present:
            prctl(PR_CAPBSET_DROP, capability, step="PR_CAPBSET_DROP")


def set_capabilities(keep: frozenset[int] = frozenset()) -> None:
    """Keep of the permitted set what is in ``keep``, inheritable and ambient nothing. Raises StepFailed."""
    try:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, step="PR_CAP_AMBIENT")
    except StepFailed as refused:
        if refused.errno != errnos.EINVAL:  # before Linux 4.3 there is nothing to clear
            raise
    header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    present = _CapabilityData()
    _call("capget", header, present)
    _, low_now, _, _, high_now, _ = struct.unpack("IIIIII", present.raw)
    mask = sum(1 << capability for capability in keep) & (low_now | high_now << 32)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    _call("capset", header, struct.pack("IIIIII", low, low, 0, high, high, 0))


def keep_capabilities_over_users() -> None:
    """Have changes of user leave the capabilities alone, until this process enters a user namespace. Raises StepFailed."""
    prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, step="PR_SET_SECUREBITS")


def join_new_session_keyring() -> None:
    """Leave the keyrings of whoever started this process. Raises StepFailed."""
    _call("keyctl", KEYCTL_JOIN_SESSION_KEYRING, None)


def open_pidfd(pid: int) -> int:
    """Return a descriptor that names the process ``pid`` for good. Raises StepFailed."""
    return _call("pidfd_open", pid, 0)


def pid_of(pidfd: int) -> int:
    """Return the pid behind a pidfd, as this process's /proc shows it. Raises StepFailed when it is gone, or not to be seen from here."""
    with open("/proc/self/fdinfo/%d" % pidfd, encoding="ascii") as file:
        for line in file:
            if line.startswith("Pid:"):
                pid = int(line.split()[1])
                if pid > 0:
                    return pid
    raise StepFailed("read a pidfd", errnos.ESRCH)


def close_descriptors(keep: frozenset[int]) -> None:
    """Close every descriptor that is not in ``keep``."""
    first = 0
    for kept in [*sorted(keep), None]:
        last = 0xFFFFFFFF if kept is None else kept - 1
        if first <= last:
            try:
                _call("close_range", first, last, 0)
            except StepFailed:  # before Linux 5.9
                os.closerange(first, min(last, 65536) + 1)
        if kept is not None:
            first = kept + 1


def settle_memory() -> None:
    """
    Give freed memory back, and put what remains on huge pages, so that a fork has less to copy: half of what it takes at 70 MiB.

    Only ever makes things better; before Linux 6.1 nothing happens. To be called before the first fork, else the old pages stay, too.
    """
    try:
        _libc.malloc_trim(0)
    except AttributeError:
        pass  # another C library
    with open("/proc/self/maps", encoding="ascii", errors="replace") as file:
        mappings = [line.split() for line in file]
    for fields in mappings:
        if fields[1] == "rw-p" and (len(fields) < 6 or fields[5] == "[heap]"):
            start, end = (int(address, 16) for address in fields[0].split("-"))
            start, end = (start + HUGE_PAGE_BYTES - 1) & -HUGE_PAGE_BYTES, end & -HUGE_PAGE_BYTES
            if start < end:
                _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), ctypes.c_int(MADV_COLLAPSE))


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def load_seccomp(program: bytes) -> None:
    """Install a classic BPF program as this process's system call filter, for good. Raises StepFailed.

    no_new_privs must have been set before.
    """
    description = _FilterProgram(len(program) // 8, program)
    zero = ctypes.c_ulong(0)
    result = _libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(description), zero, zero)
    _checked(result, "seccomp")


def exact_python() -> str:
    """Return the version of the interpreter that runs this, for reports: ``3.11.7``."""
    return ".".join(str(part) for part in sys.version_info[:3])

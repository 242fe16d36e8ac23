"""Drives a stopped process from outside, one system call at a time or a whole table of them. x86-64 only.

The process executes nothing of its own meanwhile: what runs in it is the small loop below, on a page that nobody else can write.

Source: ptrace(2), "PTRACE_SEIZE"; Linux arch/x86/include/uapi/asm/ptrace-abi.h.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct

from . import kernel

GETREGS, SETREGS, CONT, DETACH = 12, 13, 7, 17
SINGLE_STEP = 9
SETOPTIONS, GETEVENTMSG, SEIZE, INTERRUPT, RSEQ_CONFIGURATION = 0x4200, 0x4201, 0x4206, 0x4207, 0x420F
TRACE_FORK, TRACE_CLONE, EXIT_KILL, SUSPEND_SECCOMP = 0x2, 0x8, 0x100000, 0x200000
OPTIONS = TRACE_FORK | TRACE_CLONE | EXIT_KILL | SUSPEND_SECCOMP
EVENT_FORK, EVENT_CLONE, EVENT_STOP = 1, 3, 128
WALL = 0x40000000

REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs").split()
_LAYOUT = struct.Struct("=27Q")
MINUS_ONE = (1 << 64) - 1

CALLS = {
    "close": 3, "mmap": 9, "munmap": 11, "socket": 41, "recvfrom": 45, "recvmsg": 47, "shutdown": 48, "socketpair": 53,
    "clone": 56, "chdir": 80, "setsid": 112, "capset": 126, "prctl": 157, "unshare": 272, "set_robust_list": 273,
    "get_robust_list": 274, "dup3": 292, "setns": 308, "rseq": 334,
}  # fmt: skip

# rbx points to entries of eight words: number, six arguments, room for the result. It stops (int3) at the first call that
# fails, or at an entry whose number is negative.
LOOP = bytes.fromhex(
    "488b03" "4885c0" "782c"                  # mov rax,[rbx]; test rax,rax; js done
    "488b7b08" "488b7310" "488b5318"          # mov rdi,[rbx+8]; mov rsi,[rbx+16]; mov rdx,[rbx+24]
    "4c8b5320" "4c8b4328" "4c8b4b30"          # mov r10,[rbx+32]; mov r8,[rbx+40]; mov r9,[rbx+48]
    "0f05" "48894338"                         # syscall; mov [rbx+56],rax
    "483d01f0ffff" "7306"                     # cmp rax,-4095; jae done
    "4883c340" "ebcc"                         # add rbx,64; jmp start
    "cc"                                      # done: int3
)  # fmt: skip
ENTRY = struct.Struct("=8Q")

_libc = ctypes.CDLL(None, use_errno=True)


def available() -> bool:
    """Say whether this machine's registers are known here."""
    return os.uname().machine == "x86_64"


class Tracee:
    """A process that this one traces and that is stopped, between any two calls of this class."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def ask(self, request: int, address: int = 0, data: object = 0, step: str = "ptrace") -> None:
        """Make one ptrace request. Raises StepFailed."""
        wide = ctypes.c_ulong(data) if isinstance(data, int) else data
        result = _libc.ptrace(ctypes.c_long(request), ctypes.c_long(self.pid), ctypes.c_ulong(address), wide)
        if result < 0:
            raise kernel.StepFailed(step, ctypes.get_errno())

    def registers(self) -> dict[str, int]:
        """Return the general registers."""
        raw = ctypes.create_string_buffer(_LAYOUT.size)
        self.ask(GETREGS, 0, raw, "read registers")
        return dict(zip(REGISTERS, _LAYOUT.unpack(raw.raw)))

    def set_registers(self, values: dict[str, int]) -> None:
        """Replace the general registers."""
        raw = _LAYOUT.pack(*(values[name] for name in REGISTERS))
        self.ask(SETREGS, 0, ctypes.create_string_buffer(raw, _LAYOUT.size), "set registers")

    def event_message(self) -> int:
        """Return what the last event stop was about: of a fork, the child's pid."""
        number = ctypes.c_ulong(0)
        self.ask(GETEVENTMSG, 0, ctypes.byref(number), "read the event")
        return number.value

    def rseq(self) -> tuple[int, int, int]:
        """Return address, size and signature of the registered rseq area; an address of 0 means none (or an old kernel)."""
        raw = ctypes.create_string_buffer(24)
        try:
            self.ask(RSEQ_CONFIGURATION, 24, raw, "read rseq")
        except kernel.StepFailed:
            return 0, 0, 0
        address, size, mark, _flags, _pad = struct.unpack("=QIIII", raw.raw)
        return address, size, mark

    def wait(self, *events: int, again: int = CONT) -> int:
        """
        Wait for one of the ptrace events, which is returned, or for int3 or a step, which is 0. Other signals are swallowed.

        Args:
            again: how the process is resumed after another signal: as it was before.
        """
        while True:
            _, status = os.waitpid(self.pid, WALL)
            if not os.WIFSTOPPED(status):
                raise kernel.StepFailed("the process has ended", 3)
            event = status >> 16
            if event and event in events:
                return event
            if not event and os.WSTOPSIG(status) == signal.SIGTRAP:
                return 0
            self.ask(again, 0, 0, "continue")

    def attach(self) -> None:
        """Begin to trace the process, and stop it."""
        self.ask(SEIZE, 0, EXIT_KILL, "PTRACE_SEIZE")
        self.stop()

    def stop(self) -> None:
        """Stop the process, which runs."""
        self.ask(INTERRUPT, 0, 0, "PTRACE_INTERRUPT")
        while self.wait(EVENT_STOP) != EVENT_STOP:
            self.ask(CONT, 0, 0, "continue")

    def run_on(self) -> None:
        """Let the process run until the next ``stop``. Not once it is ``commanded``."""
        self.ask(CONT, 0, 0, "continue")

    def command(self) -> None:
        """
        Suspend the process's filter, and have its children traced too.

        SAFETY: from here on nothing of the process's own may run until ``detach``, which ends the suspension: its filter is a wall.
        """
        self.ask(SETOPTIONS, 0, OPTIONS, "suspend the system call filter")

    def detach(self) -> None:
        """Let the process go on by itself."""
        self.ask(DETACH, 0, 0, "PTRACE_DETACH")

    def resume_at(self, before: dict[str, int], place: int, table: int) -> None:
        """Let the loop at ``place`` run the table at ``table``."""
        self.set_registers({**before, "rip": place, "rbx": table, "orig_rax": MINUS_ONE, "rax": 0})
        self.ask(CONT, 0, 0, "continue")

    def call_once(self, before: dict[str, int], gadget: int, number: int, arguments: tuple[int, ...]) -> int:
        """Make one call with the ``syscall`` instruction at ``gadget``, stepping over it; returns its result."""
        given = dict(zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), (*arguments, 0, 0, 0, 0, 0, 0)))
        self.set_registers({**before, **given, "rip": gadget, "rax": number, "orig_rax": MINUS_ONE})
        self.ask(SINGLE_STEP, 0, 0, "PTRACE_SINGLESTEP")
        self.wait(again=SINGLE_STEP)
        after = self.registers()
        if after["rip"] != gadget + 2:
            raise kernel.StepFailed("call %d in the process" % number, 4)
        result: int = struct.unpack("=q", struct.pack("=Q", after["rax"]))[0]
        if -4096 < result < 0:
            raise kernel.StepFailed("call %d in the process" % number, -result)
        return result


def table(*calls: tuple[object, ...]) -> bytes:
    """Return a table for the loop, ended as it must be: ``("close", 3), ("exit", 0)``."""
    rows = []
    for name, *arguments in calls:
        words = [int(one) & MINUS_ONE for one in arguments]  # type: ignore[call-overload]  # numbers and addresses
        rows.append(ENTRY.pack(CALLS[str(name)], *words, *[0] * (7 - len(words))))
    return b"".join(rows) + ENTRY.pack(MINUS_ONE, *[0] * 7)

"""Compiles a policy into a classic BPF program: a balanced tree over ranges of call numbers, small enough to load fast.

The kernel runs a new filter once for every call number to fill its allow cache, so the length of a path is what loading costs;
a tree of ranges has paths of eight steps where a list has three hundred. Source: seccomp(2), Linux kernel/seccomp.c.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from lambdad.sandbox import seccomp_policy
from lambdad.sandbox.seccomp_policy import Verdict

MOST_INSTRUCTIONS = 136

LOAD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
RET_KILL_PROCESS, RET_ERRNO, RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
NUMBER_OFFSET, ARCHITECTURE_OFFSET, ARGUMENTS_OFFSET = 0, 4, 16
X32_BIT = 0x40000000

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_STREAM, SOCK_DGRAM, SOCK_TYPE_MASK = 1, 2, 0xF
PROTOCOLS = (0, 6, 17)  # any, TCP, UDP
NETLINK_ROUTE = 0
NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
TIOCSTI, TIOCLINUX = 0x5412, 0x541C  # type into, or paste into, the terminal of whoever is looking
RLIMIT_CORE = 4  # a change of it does nothing: at any other limit the kernel may start a program of the machine's for a dump
PERSONALITIES = (0, 0xFFFFFFFF)  # the native one; "tell me which"
EPERM, EAFNOSUPPORT, EPROTONOSUPPORT = 1, 97, 93

Instruction = tuple[int, int, int, int]


@dataclass(slots=True)
class _Assembler:
    """Collects instructions whose jumps name labels, and resolves them when all are there."""

    lines: list[tuple[int, str | None, str | None, int]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def label(self, name: str) -> None:
        self.labels[name] = len(self.lines)

    def add(self, code: int, value: int, then: str | None = None, otherwise: str | None = None) -> None:
        """Add one instruction; None jumps to the next one."""
        self.lines.append((code, then, otherwise, value))

    def resolved(self) -> list[Instruction]:
        return [
            (code, self._distance(here, then), self._distance(here, otherwise), value)
            for here, (code, then, otherwise, value) in enumerate(self.lines)
        ]

    def _distance(self, here: int, name: str | None) -> int:
        if name is None:
            return 0
        distance = self.labels[name] - here - 1
        assert 0 <= distance <= 255, "a classic BPF jump goes forward, at most 255 instructions"
        return distance


def compile_policy(machine: seccomp_policy.Machine, verdicts: Mapping[int, Verdict]) -> list[Instruction]:
    """
    Return the program for one machine; numbers that ``verdicts`` does not mention are UNKNOWN (ENOSYS).

    A call of another architecture, or an x32 call, kills the process: its numbers mean something else.
    """
    assembler = _Assembler()
    assembler.add(LOAD, ARCHITECTURE_OFFSET)
    assembler.add(JUMP_EQUAL, machine.architecture, None, "kill")
    assembler.add(LOAD, NUMBER_OFFSET)
    if machine.has_x32:
        assembler.add(JUMP_GREATER_EQUAL, X32_BIT, "kill", None)
    ranges = merged(verdicts)
    _tree(assembler, ranges)
    used = {verdict for _, verdict in ranges}
    for verdict, check in _CHECKS.items():
        if verdict in used:
            assembler.label(verdict.value)
            check(assembler)
    for verdict, number in seccomp_policy.ERRNO_OF.items():
        assembler.label(verdict.value)
        assembler.add(RETURN, RET_ERRNO | number)
    for name, number in (("no family", EAFNOSUPPORT), ("no protocol", EPROTONOSUPPORT)):
        assembler.label(name)
        assembler.add(RETURN, RET_ERRNO | number)
    assembler.label(Verdict.ALLOW.value)
    assembler.add(RETURN, RET_ALLOW)
    assembler.label("kill")
    assembler.add(RETURN, RET_KILL_PROCESS)
    program = assembler.resolved()
    assert len(program) <= MOST_INSTRUCTIONS, f"{len(program)} instructions: the policy has too many ranges"
    return program


def merged(verdicts: Mapping[int, Verdict]) -> list[tuple[int, Verdict]]:
    """Return the verdicts as ranges, ``[(first number, verdict), ...]``, each up to the next one's first number."""
    ranges: list[tuple[int, Verdict]] = []
    for number in range(max(verdicts, default=0) + 2):
        verdict = verdicts.get(number, Verdict.UNKNOWN)
        if not ranges or ranges[-1][1] is not verdict:
            ranges.append((number, verdict))
    return ranges


def _tree(assembler: _Assembler, ranges: list[tuple[int, Verdict]]) -> None:
    """Add a balanced tree of comparisons; a subtree of one range is a jump to its verdict."""
    if len(ranges) == 1:
        verdict = ranges[0][1].value
        assembler.add(JUMP_GREATER_EQUAL, 0, verdict, verdict)
        return
    middle = len(ranges) // 2
    low, high = ranges[:middle], ranges[middle:]
    high_label = _leaf(high) or f"from {high[0][0]}"
    assembler.add(JUMP_GREATER_EQUAL, high[0][0], high_label, _leaf(low))
    if len(low) > 1:
        _tree(assembler, low)
    if len(high) > 1:
        assembler.label(high_label)
        _tree(assembler, high)


def _leaf(ranges: list[tuple[int, Verdict]]) -> str | None:
    return ranges[0][1].value if len(ranges) == 1 else None


def _argument(index: int) -> int:
    """Return the offset of an argument's low half; both machines are little-endian, and all checked ones are 32 bits."""
    return ARGUMENTS_OFFSET + 8 * index


def _check_socket(to: _Assembler) -> None:
    allow, refuse = Verdict.ALLOW.value, Verdict.REFUSE.value
    to.add(LOAD, _argument(0))
    to.add(JUMP_EQUAL, AF_UNIX, allow, None)
    to.add(JUMP_EQUAL, AF_NETLINK, "netlink", None)
    to.add(JUMP_EQUAL, AF_INET, "internet", None)
    to.add(JUMP_EQUAL, AF_INET6, "internet", "no family")
    to.label("internet")
    to.add(LOAD, _argument(1))
    to.add(AND, SOCK_TYPE_MASK)
    to.add(JUMP_EQUAL, SOCK_STREAM, "protocol", None)
    to.add(JUMP_EQUAL, SOCK_DGRAM, "protocol", refuse)
    to.label("protocol")
    to.add(LOAD, _argument(2))
    for protocol in PROTOCOLS[:-1]:
        to.add(JUMP_EQUAL, protocol, allow, None)
    to.add(JUMP_EQUAL, PROTOCOLS[-1], allow, "no protocol")
    to.label("netlink")
    to.add(LOAD, _argument(2))
    to.add(JUMP_EQUAL, NETLINK_ROUTE, allow, "no protocol")


def _check_socketpair(to: _Assembler) -> None:
    to.add(LOAD, _argument(0))
    to.add(JUMP_EQUAL, AF_UNIX, Verdict.ALLOW.value, "no family")


def _check_clone(to: _Assembler) -> None:
    to.add(LOAD, _argument(0))
    to.add(JUMP_ANY_BIT, NEW_NAMESPACES, Verdict.REFUSE.value, Verdict.ALLOW.value)


def _check_ioctl(to: _Assembler) -> None:
    to.add(LOAD, _argument(1))
    to.add(JUMP_EQUAL, TIOCSTI, Verdict.REFUSE.value, None)
    to.add(JUMP_EQUAL, TIOCLINUX, Verdict.REFUSE.value, Verdict.ALLOW.value)


def _check_personality(to: _Assembler) -> None:
    to.add(LOAD, _argument(0))
    to.add(JUMP_EQUAL, PERSONALITIES[0], Verdict.ALLOW.value, None)
    to.add(JUMP_EQUAL, PERSONALITIES[1], Verdict.ALLOW.value, Verdict.REFUSE.value)


def _check_setrlimit(to: _Assembler) -> None:
    to.add(LOAD, _argument(0))
    to.add(JUMP_EQUAL, RLIMIT_CORE, Verdict.DONE.value, Verdict.ALLOW.value)


def _check_prlimit(to: _Assembler) -> None:
    allow, done = Verdict.ALLOW.value, Verdict.DONE.value
    to.add(LOAD, _argument(1))
    to.add(JUMP_EQUAL, RLIMIT_CORE, None, allow)
    for half in (0, 4):  # no new limit is given: it asks
        to.add(LOAD, _argument(2) + half)
        to.add(JUMP_EQUAL, 0, None if half == 0 else allow, done)


_CHECKS: dict[Verdict, Callable[[_Assembler], None]] = {
    Verdict.CHECK_SOCKET: _check_socket,
    Verdict.CHECK_SOCKETPAIR: _check_socketpair,
    Verdict.CHECK_CLONE: _check_clone,
    Verdict.CHECK_IOCTL: _check_ioctl,
    Verdict.CHECK_PERSONALITY: _check_personality,
    Verdict.CHECK_SETRLIMIT: _check_setrlimit,
    Verdict.CHECK_PRLIMIT: _check_prlimit,
}


def encode(program: list[Instruction]) -> bytes:
    """Return the program as the kernel takes it: an array of ``struct sock_filter``."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


@cache
def default_program() -> bytes:
    """Return the default policy for this machine; empty where no filter can be made (another machine type)."""
    machine = seccomp_policy.MACHINES.get(os.uname().machine)
    if machine is None:
        return b""
    return encode(compile_policy(machine, seccomp_policy.verdicts(machine)))

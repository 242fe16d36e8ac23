"""The system call filter: the compiled tree says what the policy says, for every call number, on every machine."""

from __future__ import annotations

import errno
import struct

import pytest

from lambdad.sandbox import seccomp, seccomp_policy
from lambdad.sandbox.seccomp_policy import MACHINES, Machine, Verdict

ALLOW = seccomp.RET_ALLOW
KILL = seccomp.RET_KILL_PROCESS


def refuse(number: int) -> int:
    return seccomp.RET_ERRNO | number


def interpret(program: list[seccomp.Instruction], call: bytes) -> int:
    """Run a classic BPF program over one ``struct seccomp_data``. Source: Linux net/core/filter.c."""
    accumulator = 0
    at = 0
    while True:
        code, then, otherwise, value = program[at]
        at += 1
        match code:
            case seccomp.LOAD:
                (accumulator,) = struct.unpack_from("=I", call, value)
            case seccomp.AND:
                accumulator &= value
            case seccomp.JUMP_EQUAL:
                at += then if accumulator == value else otherwise
            case seccomp.JUMP_GREATER_EQUAL:
                at += then if accumulator >= value else otherwise
            case seccomp.JUMP_ANY_BIT:
                at += then if accumulator & value else otherwise
            case seccomp.RETURN:
                return value
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


def call_of(machine: Machine, number: int, *arguments: int, architecture: int | None = None) -> bytes:
    six = [*arguments, *[0] * (6 - len(arguments))]
    return struct.pack("=IIQ6Q", number, machine.architecture if architecture is None else architecture, 0, *six)


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES[request.param]


@pytest.fixture
def program(machine: Machine) -> list[seccomp.Instruction]:
    return seccomp.compile_policy(machine, seccomp_policy.verdicts(machine))


def test_tree_agrees_with_the_policy_on_every_number(machine: Machine, program: list[seccomp.Instruction]) -> None:
    """For the numbers 0..600 the tree gives the policy's verdict; unknown ones are ENOSYS."""
    verdicts = seccomp_policy.verdicts(machine)
    plain = {Verdict.ALLOW: ALLOW, Verdict.REFUSE: refuse(1), Verdict.UNKNOWN: refuse(errno.ENOSYS), Verdict.DONE: refuse(0)}
    for number in range(601):
        verdict = verdicts.get(number, Verdict.UNKNOWN)
        if verdict in plain:
            assert interpret(program, call_of(machine, number, 99, 99, 99)) == plain[verdict], number
    assert interpret(program, call_of(machine, 0x3FFFFFFF)) == refuse(errno.ENOSYS)


def test_program_is_small_and_shallow(machine: Machine, program: list[seccomp.Instruction]) -> None:
    """At most 136 instructions, and no call takes more than 26 steps."""
    assert len(program) <= 136
    depth = {len(program): 0}
    for at in range(len(program) - 1, -1, -1):
        code, then, otherwise, _ = program[at]
        if code == seccomp.RETURN:
            depth[at] = 1
        elif code in (seccomp.LOAD, seccomp.AND):
            depth[at] = 1 + depth[at + 1]
        else:
            depth[at] = 1 + max(depth[at + 1 + then], depth[at + 1 + otherwise])
    assert depth[0] <= 26
    assert len(seccomp.encode(program)) == 8 * len(program)


def test_foreign_calls_kill(machine: Machine, program: list[seccomp.Instruction]) -> None:
    """Another architecture's calls, and x32 calls, end the process."""
    for other in (0x40000003, 0x40000028, 0xC000003E, 0xC00000B7):
        if other != machine.architecture:
            assert interpret(program, call_of(machine, machine.numbers["read"], architecture=other)) == KILL
    if machine.has_x32:
        for number in (0, 1, 520, 0x3FFFFFFF):
            assert interpret(program, call_of(machine, seccomp.X32_BIT | number)) == KILL


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("socket", (1, 1, 0), ALLOW),
        ("socket", (1, 5, 0), ALLOW),
        ("socket", (2, 1, 0), ALLOW),
        ("socket", (2, 0x80801, 6), ALLOW),
        ("socket", (10, 0x80002, 17), ALLOW),
        ("socket", (2, 3, 1), refuse(errno.EPERM)),
        ("socket", (2, 0x80003, 255), refuse(errno.EPERM)),
        ("socket", (2, 10, 0), refuse(errno.EPERM)),
        ("socket", (2, 1, 132), refuse(errno.EPROTONOSUPPORT)),
        ("socket", (10, 1, 262), refuse(errno.EPROTONOSUPPORT)),
        ("socket", (16, 3, 0), ALLOW),
        ("socket", (16, 0x80003, 0), ALLOW),
        ("socket", (16, 3, 12), refuse(errno.EPROTONOSUPPORT)),
        *[("socket", (family, 3, 0), refuse(errno.EAFNOSUPPORT)) for family in (0, 3, 17, 21, 29, 31, 38, 40, 44)],
        ("socketpair", (1, 1, 0), ALLOW),
        ("socketpair", (2, 1, 0), refuse(errno.EAFNOSUPPORT)),
        ("clone", (0x11,), ALLOW),
        ("clone", (0x3D0F00,), ALLOW),
        *[
            ("clone", (flag | 0x11,), refuse(errno.EPERM))
            for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
        ],
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), refuse(errno.EPERM)),
        ("ioctl", (0, 0xFFFFFFFF00005412), refuse(errno.EPERM)),
        ("ioctl", (0, 0x541C), refuse(errno.EPERM)),
        ("personality", (0,), ALLOW),
        ("personality", (0xFFFFFFFF,), ALLOW),
        ("personality", (0x40000,), refuse(errno.EPERM)),
        ("clone3", (0,), refuse(errno.ENOSYS)),
        ("io_uring_setup", (1,), refuse(errno.ENOSYS)),
        ("io_setup", (1, 0), refuse(errno.ENOSYS)),
        ("sync", (), refuse(0)),
        ("prlimit64", (0, 7, 0x7FFF00000000, 0), ALLOW),
        ("prlimit64", (0, 4, 0, 0x7FFF00000000), ALLOW),
        ("prlimit64", (0, 4, 0x7FFF00000000, 0), refuse(0)),
        ("prlimit64", (0, 4, 0x12345678, 0), refuse(0)),
        ("setrlimit", (7, 1), ALLOW),
        ("setrlimit", (4, 1), refuse(0)),
    ],
)
def test_arguments_decide(
    machine: Machine, program: list[seccomp.Instruction], name: str, arguments: tuple[int, ...], expected: int
) -> None:
    """Calls whose danger is in their arguments are judged by them."""
    assert interpret(program, call_of(machine, machine.numbers[name], *arguments)) == expected


def test_what_must_never_be_allowed_is_not() -> None:
    """The calls that reach out of a fence are on no allow-list."""
    never = """
    mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr unshare setns ptrace
    process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp bpf perf_event_open userfaultfd io_uring_setup
    io_uring_enter io_uring_register keyctl add_key request_key kexec_load kexec_file_load init_module finit_module
    delete_module open_by_handle_at name_to_handle_at fanotify_init quotactl quotactl_fd reboot swapon swapoff syslog acct
    settimeofday clock_settime clock_adjtime adjtimex iopl ioperm move_pages migrate_pages mbind set_mempolicy sethostname
    setdomainname vhangup modify_ldt uselib lookup_dcookie vmsplice nfsservctl clone3 io_setup
    """
    assert not seccomp_policy.allowed_names().intersection(never.split())


def test_every_name_of_the_policy_exists() -> None:
    """No name is misspelt: each is a call of x86_64, and the common ones are calls of both machines."""
    names = seccomp_policy.allowed_names()
    assert names <= MACHINES["x86_64"].numbers.keys()
    for common in ("read", "write", "openat", "mmap", "futex", "execve", "clone", "epoll_pwait", "newfstatat", "rseq"):
        assert common in MACHINES["aarch64"].numbers


def test_numbers_are_unique() -> None:
    """Two names never share a number."""
    for machine in MACHINES.values():
        assert len(set(machine.numbers.values())) == len(machine.numbers)


def test_a_policy_of_one_verdict_compiles() -> None:
    """The smallest possible policies are compiled too."""
    machine = MACHINES["aarch64"]
    nothing = seccomp.compile_policy(machine, {})
    assert interpret(nothing, call_of(machine, 0)) == refuse(errno.ENOSYS)
    one = seccomp.compile_policy(machine, {5: Verdict.ALLOW})
    assert [interpret(one, call_of(machine, number)) for number in (4, 5, 6)] == [
        refuse(errno.ENOSYS),
        ALLOW,
        refuse(errno.ENOSYS),
    ]

"""Which system calls a fenced program may make: an allow-list, seven calls that depend on their arguments, and no more.

What is absent on purpose: everything that mounts, changes roots or namespaces, looks into other processes (ptrace, process_vm_*,
kcmp, pidfd_getfd, process_madvise), loads code into the kernel (bpf, modules, kexec), reaches files without a path
(open_by_handle_at), sets clocks, or has a record of kernel bugs that outweighs its use (io_uring, userfaultfd, keyrings,
perf_event_open, vmsplice, memory policy). Nor what one program can use up for the whole machine: io_setup (fs.aio-max-nr).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum

from lambdad.sandbox import syscall_numbers

_ALLOWED = """
read write open close stat fstat lstat newfstatat statx poll ppoll select pselect6 lseek mmap mprotect munmap brk mremap
msync mincore madvise pread64 pwrite64 readv writev preadv pwritev preadv2 pwritev2 access faccessat faccessat2
pipe pipe2 dup dup2 dup3 sendfile splice tee copy_file_range fcntl flock fsync fdatasync sync_file_range truncate
ftruncate fallocate fadvise64 readahead cachestat getdents getdents64 getcwd chdir fchdir rename renameat renameat2
mkdir mkdirat rmdir creat link linkat unlink unlinkat symlink symlinkat readlink readlinkat chmod fchmod fchmodat
fchmodat2 chown fchown lchown fchownat umask mknod mknodat utime utimes futimesat utimensat statfs fstatfs openat
openat2 close_range setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
removexattr lremovexattr fremovexattr inotify_init inotify_init1 inotify_add_watch inotify_rm_watch memfd_create
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo rt_sigsuspend
sigaltstack signalfd signalfd4 pause kill tkill tgkill pidfd_open pidfd_send_signal restart_syscall
nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times getitimer setitimer alarm timer_create
timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime timerfd_gettime
connect accept accept4 sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown bind listen getsockname getpeername
setsockopt getsockopt eventfd eventfd2 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
fork vfork execve execveat exit exit_group wait4 waitid set_tid_address set_robust_list get_robust_list futex
futex_waitv futex_wake futex_wait futex_requeue rseq membarrier arch_prctl prctl seccomp landlock_create_ruleset
landlock_add_rule landlock_restrict_self mseal map_shadow_stack pkey_mprotect pkey_alloc pkey_free
getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups getpgid getpgrp getsid setsid setpgid
setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capget capset
uname sysinfo getrlimit getrusage getpriority setpriority ioprio_get ioprio_set getcpu getrandom
sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam sched_getscheduler sched_setscheduler
sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_getattr sched_setattr
mlock mlock2 munlock mlockall munlockall get_mempolicy
shmget shmat shmctl shmdt semget semop semtimedop semctl msgget msgsnd msgrcv msgctl
mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
"""

# Programs try these first and have another way, which they take when told that the kernel does not know the call.
_UNKNOWN = """
clone3 io_uring_setup io_uring_enter io_uring_register memfd_secret statmount listmount
io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents
"""
# These would make the whole machine write its caches out; what a function has is gone with it anyway.
_DONE = "sync syncfs"


class Verdict(Enum):
    """What happens to a call, or which check of its arguments decides it."""

    ALLOW = "allow"
    REFUSE = "refuse"  # EPERM
    UNKNOWN = "unknown"  # ENOSYS
    DONE = "done"  # success, and nothing happens
    CHECK_SOCKET = "socket"
    CHECK_SOCKETPAIR = "socketpair"
    CHECK_CLONE = "clone"
    CHECK_IOCTL = "ioctl"
    CHECK_PERSONALITY = "personality"
    CHECK_SETRLIMIT = "setrlimit"
    CHECK_PRLIMIT = "prlimit64"


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine's audit architecture and call numbers; x32 calls are those with bit 30 set, where there are such."""

    architecture: int
    numbers: dict[str, int]
    has_x32: bool


MACHINES = {
    "x86_64": Machine(0xC000003E, syscall_numbers.X86_64, True),
    "aarch64": Machine(0xC00000B7, syscall_numbers.AARCH64, False),
}

ERRNO_OF = {Verdict.REFUSE: errno.EPERM, Verdict.UNKNOWN: errno.ENOSYS, Verdict.DONE: 0}


def verdicts(machine: Machine) -> dict[int, Verdict]:
    """Return the verdict on every call number this machine knows; a number that is not there is UNKNOWN."""
    named = dict.fromkeys(machine.numbers, Verdict.REFUSE)
    for names, verdict in ((_ALLOWED, Verdict.ALLOW), (_UNKNOWN, Verdict.UNKNOWN), (_DONE, Verdict.DONE)):
        for name in names.split():
            if name in named:
                named[name] = verdict
    for check in ("socket", "socketpair", "clone", "ioctl", "personality", "setrlimit", "prlimit64"):
        if check in named:
            named[check] = Verdict(check)
    return {machine.numbers[name]: verdict for name, verdict in named.items()}


def allowed_names() -> frozenset[str]:
    """Return the names of all calls that are allowed whatever their arguments are."""
    return frozenset(_ALLOWED.split())

"""The process that will run a stranger's code: fenced in first, then given its assignment."""

from __future__ import annotations

import errno as errnos
import os
import resource
import signal
import socket
import sys
from typing import Any, Callable, NoReturn, Optional

from . import kernel, wire

UNLIMITED = resource.RLIM_INFINITY
# (limit, soft, hard); a hard limit that is lower already stays.
RESOURCE_LIMITS = (
    (resource.RLIMIT_NOFILE, 1024, 1024),
    (resource.RLIMIT_NPROC, 1024, 1024),
    (resource.RLIMIT_STACK, 8 << 20, UNLIMITED),
    # Not 0: the kernel hands a dump to a program on the machine, where there is one, whatever the limit is, but for this one.
    (resource.RLIMIT_CORE, 1, 1),
    (resource.RLIMIT_MEMLOCK, 65536, 65536),
)
OOM_SCORE_ADJUSTMENT = 300
OWN_MODULES = (
    "", ".attempt", ".init", ".kernel", ".launcher", ".nested", ".network", ".root", ".runtime", ".snapshot", ".tracing",
    ".wire", ".zygote",
)  # fmt: skip

Entry = Callable[[], Optional[int]]


def become(
    config: dict[str, Any],
    channel: socket.socket,
    control: Optional[socket.socket],
    output: int,
    procs: list[int],
    ahead: dict[str, Any] | None = None,
    rehearse: bool = False,
) -> Entry:
    """
    Fence this fresh process in, wait for its assignment, and return what to call (unless it execs).

    Args:
        channel: packets to and from ``init``; closed before any of the function's code runs.
        control: the worker's channel; used once, so that the worker learns this process's pid from the kernel. None for a program
            beside the runtime process.
        output: where stdout and stderr go.
        procs: ``cgroup.procs`` descriptors to join by.
        ahead: a program to execute at once, which then waits for its assignment itself: ``{"argv", "environment", "data_bytes"}``.
        rehearse: nobody waits for this process yet, so the preloaded module may go through its motions.

    Returns:
        What runs the function in this process; its value is the exit status.

    Raises:
        StepFailed: the fence could not be completed. The process then ends without having run anything.

    Ordering: cgroups, then the user namespace, then ids, then capabilities, then the filter: each step takes away
    what the next one does not need.
    """
    if control is not None:
        wire.send(control, {"event": "runtime"})
        control.close()
    _reset_signals()
    _wire_stdio(output)
    os.setsid()
    fenced = bool(config["fenced"])
    for fd in procs:
        _join_cgroup(fd)
    _write_quietly("/proc/self/oom_score_adj", str(OOM_SCORE_ADJUSTMENT))
    if fenced:
        # SAFETY: shows the function its own cgroup as the root of all; after joining, else it would be the worker's.
        kernel.unshare(kernel.CLONE_NEWCGROUP, "unshare the cgroup namespace")
        _drop_ids(config, channel)
    _limit_resources()
    if fenced:
        # SAFETY: from here on nothing can be gained back: no capability in any set, none to be had from exec.
        kernel.drop_bounding_set()
        kernel.set_capabilities()
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1, step="PR_SET_DUMPABLE")  # its own /proc/self is its own to read
    elif os.geteuid() == 0:
        _give_up_what_can_be()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1, step="PR_SET_NO_NEW_PRIVS")
    if config["seccomp"]:
        kernel.load_seccomp(bytes.fromhex(config["seccomp"]))
    kernel.close_descriptors(frozenset((0, 1, 2, channel.fileno())))
    if ahead is not None:
        _execute_ahead(channel, ahead)
    wire.send(channel, {"event": "fenced"})
    if rehearse:
        _rehearse()
    return _take_assignment(channel)


def _rehearse() -> None:
    """Let the preloaded module go through its motions, while nobody waits for it."""
    rehearse = getattr(sys.modules.get("__preloaded__"), "rehearse", None)
    if rehearse is not None:
        try:
            rehearse()
        except Exception:  # then the first time is the function's own, and whatever is wrong is told there
            pass


def _execute_ahead(channel: socket.socket, ahead: dict[str, Any]) -> NoReturn:
    """Become the program of a stem cell. Init gets the other ends of its two pipes; the channel closes as the program starts."""
    stem, telling = os.pipe()  # made here and now, so that they belong to the user whom the program runs as
    hearing, ready = os.pipe()
    wire.send(channel, {"event": "fenced"}, [telling, hearing])
    for fd in (stem, ready):
        os.set_inheritable(fd, True)
    numbers = {"LAMBDAD_STEM_FD": str(stem), "LAMBDAD_STEM_READY_FD": str(ready)}
    try:
        if ahead["data_bytes"]:
            resource.setrlimit(resource.RLIMIT_DATA, (ahead["data_bytes"], ahead["data_bytes"]))
        os.chdir("/")
        os.execve(ahead["argv"][0], ahead["argv"], {**ahead["environment"], **numbers})
    except (OSError, ValueError) as refused:
        number = refused.errno if isinstance(refused, OSError) else errnos.EINVAL
        wire.send(channel, {"event": "broken", "step": "exec", "errno": number})
        os._exit(127)


def _take_assignment(channel: socket.socket) -> Entry:
    received = wire.receive(channel)
    if received is None:
        os._exit(0)
    assignment = received[0]
    environment: dict[str, str] = assignment["environment"]
    try:
        if assignment.get("data_bytes"):
            resource.setrlimit(resource.RLIMIT_DATA, (assignment["data_bytes"], assignment["data_bytes"]))
        os.chdir(assignment["cwd"])
        if assignment["argv"] is not None:
            argv: list[str] = assignment["argv"]
            os.execve(argv[0], argv, environment)
    except (OSError, ValueError) as refused:
        number = refused.errno if isinstance(refused, OSError) else errnos.EINVAL
        wire.send(channel, {"event": "failed", "errno": number})
        os._exit(127)
    os.environ.clear()
    os.environ.update(environment)
    channel.close()
    # As any Python has it that was started by itself: writing to who has gone is an exception, not the end.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    payload = assignment["payload"]
    module = sys.modules["__preloaded__"]
    _forget_own_modules()

    def entry() -> int | None:
        result: int | None = module.main(payload)
        return result

    return entry


def _drop_ids(config: dict[str, Any], channel: socket.socket) -> None:
    """Become the unprivileged user, behind a user namespace of its own where the kernel has one to give."""
    kernel.join_new_session_keyring()
    if not config["rootless"]:
        # SAFETY: still root of the machine's user namespace here, so the groups can be given up.
        os.setgroups([])
        owner = config["outer_id"] if config["leaf_user_namespace"] else config["uid"]
        os.fchown(1, owner, owner)  # so that it can open its own /dev/stdout
    if config["leaf_user_namespace"]:
        # SAFETY: init (in the parent namespace) maps exactly one user and one group, neither of them root, which
        # exist nowhere else on the machine. Limits that count per user are then the sandbox's own: the kernel counts
        # against a namespace's owner, too, so that its owner must not be root, whom all would share with the machine.
        if not config["rootless"]:
            kernel.keep_capabilities_over_users()
            os.setresgid(owner, owner, owner)
            os.setresuid(owner, owner, owner)
        kernel.unshare(kernel.CLONE_NEWUSER, "unshare the user namespace")
        wire.send(channel, {"event": "unmapped"})
        if wire.receive(channel) is None:
            os._exit(1)
    elif config["rootless"]:
        return  # one user id is all there is
    try:
        os.setresgid(config["gid"], config["gid"], config["gid"])
        os.setresuid(config["uid"], config["uid"], config["uid"])
    except OSError as refused:
        raise kernel.StepFailed("setresuid", refused.errno or 0) from refused


def _give_up_what_can_be() -> None:
    """Drop root's capabilities where there is no fence; a root without CAP_SETPCAP keeps its bounding set."""
    try:
        kernel.drop_bounding_set()
    except kernel.StepFailed:
        pass
    kernel.set_capabilities()


def _reset_signals() -> None:
    """Take back what init did to signals, so that the function starts with the defaults."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _wire_stdio(output: int) -> None:
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _join_cgroup(fd: int) -> None:
    """Write this process into the cgroup behind ``fd``. SAFETY: the worker chose and opened the file."""
    try:
        os.write(fd, b"0")
    except OSError as refused:
        raise kernel.StepFailed("join a cgroup", refused.errno or 0) from refused


def _limit_resources() -> None:
    for limit, soft, hard in RESOURCE_LIMITS:
        _, present = resource.getrlimit(limit)
        if present != UNLIMITED and (hard == UNLIMITED or hard > present):
            hard = present
        if hard != UNLIMITED:
            soft = min(soft, hard)
        try:
            resource.setrlimit(limit, (soft, hard))
        except (OSError, ValueError) as refused:
            raise kernel.StepFailed("setrlimit %d" % limit, getattr(refused, "errno", 0) or 0) from refused


def _write_quietly(path: str, text: str) -> None:
    """Write a setting that only makes things better; a kernel that refuses it leaves the default."""
    try:
        kernel.write_file(path, text)
    except OSError:
        pass


def _forget_own_modules() -> None:
    """Take these modules' names out of the way of the function's own modules.

    By name: to go through all modules is to write to a page of memory for nearly each of them, their reference counts.
    """
    package = __name__.partition(".")[0]
    for name in OWN_MODULES:
        sys.modules.pop(package + name, None)
    del sys.modules["__preloaded__"]

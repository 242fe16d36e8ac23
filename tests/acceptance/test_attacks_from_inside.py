# ruff: noqa: E501
"""The table of attempts by a deployed function, bombs of every kind, and secrets that are looked for where they must not be.

What was there before the environment's own harm is what is looked at after it: the machine's mounts, names and settings, the worker, and a
neighbour that goes on in the same environment.
"""

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import attack_table  # type: ignore[import-not-found]
from conftest import Functions, Lambdad  # type: ignore[import-not-found]
from lambdad.sandbox import seccomp_policy

NUMBERS = seccomp_policy.MACHINES[os.uname().machine].numbers if os.uname().machine in seccomp_policy.MACHINES else {}
SOURCE = f"NUMBERS = {NUMBERS!r}\n{attack_table.TOOLS}\n{attack_table.RUNNER}\n"
SETTINGS = ("kernel/core_pattern", "kernel/hostname", "kernel/domainname", "kernel/modprobe", "vm/overcommit_memory", "net/ipv4/ip_forward")


@pytest.fixture
def strong(lambdad: Lambdad) -> None:
    """Skip where the fence is not whole: a user of one's own, limits of one's own."""
    isolation = lambdad.health()["worker"]["isolation"]
    if not isolation.startswith("namespaces") or "memory" not in isolation or "pids" not in isolation:
        pytest.skip(f"functions are fenced in by less here: {isolation}")


def machine_state() -> dict[str, Any]:
    """Return what no function may change."""
    settings = {}
    for name in SETTINGS:
        with contextlib.suppress(OSError):
            settings[name] = (Path("/proc/sys") / name).read_text()
    return {
        "settings": settings,
        "mounts": sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
        "clock": round((time.time() - time.monotonic()) / 60),
        "swaps": Path("/proc/swaps").read_text(),
    }


@pytest.fixture
def unharmed(lambdad: Lambdad, functions: Functions) -> Iterator[None]:
    """See that the machine, the worker and the server are after the test what they were, and that a neighbour has noticed nothing."""
    source = "import os\nkey = os.urandom(8).hex()\ndef handler(event, context):\n    return key\n"
    neighbour = functions.deploy(source)
    key = functions.invoke(neighbour)["Payload"]
    before, pids = machine_state(), lambdad.pids()
    yield
    assert machine_state() == before
    assert lambdad.pids() == pids
    assert functions.invoke(neighbour)["Payload"] == key


@pytest.mark.usefixtures("strong", "unharmed")
def test_every_attempt_of_the_table_is_refused(functions: Functions):
    """As the table says, from within a handler, twice in the same environment; the function itself goes on."""
    name = functions.deploy(
        {"app.py": f"{SOURCE}\ndef handler(event, context):\n    return tried(event) if event else 'well'\n"}, MemorySize=512, Timeout=60
    )
    for _ in range(2):
        answer = functions.invoke(name, attack_table.pairs())
        assert "FunctionError" not in answer, answer["Payload"]
        assert attack_table.wrong(answer["Payload"]) == {}
    assert functions.invoke(name)["Payload"] == "well"


# Each is made as often as it can, and kept; a neighbour must still be able to make some.
BOMBS = {
    "inotify instances": "number('inotify_init1', 0)",
    "inotify watches": "[number('inotify_add_watch', WATCHER, next(PATHS).encode(), 2) for _ in range(10)]",
    "epoll watches": "(lambda e: [[e.register(fd) for fd in LISTENERS], e])(select.epoll())",
    "pipes of a megabyte": "(lambda p: (fcntl.fcntl(p[1], 1031, 1 << 20), os.set_blocking(p[1], False), os.write(p[1], bytes(1 << 20))))(os.pipe())",
    "queued signals": "[signal.pthread_sigmask(signal.SIG_BLOCK, {40}), number('rt_sigqueueinfo', os.getpid(), 40, struct.pack('iiii', 40, 0, -1, 0) + bytes(112))]",
    "timers": "number('timer_create', 1, 0, ctypes.addressof(ctypes.create_string_buffer(8)))",
    "message queues": "number('mq_open', b'q%d' % len(KEEP), 0o102, 0o600, struct.pack('8q', 0, 10, 8192, 0, 0, 0, 0, 0))",
    "System V messages": "[number('msgsnd', number('msgget', 0, 0o1666), struct.pack('q', 1) + bytes(8000), 8000, 0o4000)]",
    "semaphores": "number('semget', 0, 250, 0o1666)",
    "shared segments": "ctypes.memset(number('shmat', number('shmget', 0, 16 << 20, 0o1666), 0, 0), 1, 16 << 20)",
    "memory files": "(lambda fd: os.posix_fallocate(fd, 0, 16 << 20))(os.memfd_create('x'))",
    "files in /dev/shm": "make('/dev/shm/%d' % len(KEEP), 'x' * (1 << 20))",
    "empty files": "make('/tmp/%d' % len(KEEP), '')",
    "file locks": "fcntl.lockf(LOCKS, fcntl.LOCK_EX, 1, 2 * len(KEEP))",
    "event descriptors": "number('eventfd2', 0, 0)",
    "descriptors in flight": "(lambda s: [s[0].sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack('2i', s[0].fileno(), s[1].fileno()))]), s])(socket.socketpair())",
    "address space": "mmap.mmap(-1, 1 << 40, flags=0x4022)",
    "page tables": "(lambda m: [[m.__setitem__(n << 21, 1) for n in range(1 << 9)], m])(mmap.mmap(-1, 1 << 30))",
    "system call filters": "number('seccomp', 1, 0, struct.pack('HxxxxxxQ', 4096, ctypes.addressof(BPF)))",
    "threads": "__import__('_thread').start_new_thread(time.sleep, (60,))",
    "TCP buffers": "pair()",
    "UDP buffers": "(lambda a: [a.bind(('127.0.0.1', 0)), a.setsockopt(1, 8, 1 << 24), [a.sendto(bytes(60000), a.getsockname()) for _ in range(200)], a])(socket.socket(2, 2))",
}  # fmt: skip
BOMBER = f"""{SOURCE}
BPF = ctypes.create_string_buffer(struct.pack('HBBI', 0x06, 0, 0, 0x7fff0000) * 4096, 8 * 4096)
LISTENER = socket.create_server(('127.0.0.1', 0), backlog=4096)
LISTENERS = [socket.create_server(('127.0.0.1', 0)) for _ in range(100)]
WATCHER = number('inotify_init1', 0)
PATHS = (os.path.join(place, name) for place, _, names in os.walk('/usr') for name in names)
LOCKS = open('/tmp/locks', 'w')
KEEP = []
def pair():
    a = socket.socket()
    a.setsockopt(1, 7, 8 << 20)
    a.connect(LISTENER.getsockname())
    b = LISTENER.accept()[0]
    a.setblocking(False)
    try:
        while True:
            a.send(bytes(1 << 20))
    except BlockingIOError:
        pass
    return a, b
def handler(event, context):
    code, most = event
    code, until = compile(code, 'bomb', 'eval'), time.monotonic() + 4
    try:
        while len(KEEP) < most and time.monotonic() < until:
            KEEP.append(eval(code))
    except (OSError, RuntimeError, MemoryError, ValueError) as error:
        ended = errno.errorcode.get(getattr(error, 'errno', 0) or 0, type(error).__name__)
        count = len(KEEP)
        return [count, ended]
    return [len(KEEP), 'enough']
"""


def tcp_pages() -> int:
    """Return how much memory all TCP connections of the machine have."""
    found = re.search(r"^TCP: .* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


@pytest.mark.usefixtures("strong", "unharmed")
@pytest.mark.slow
@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_ends_within_its_own_environment(functions: Functions, lambdad: Lambdad, what: str):
    """However many of a thing one function takes, another has its own, the machine's memory is left alone, and the bomb goes with its environment."""
    bomb, other = (functions.deploy(BOMBER, MemorySize=256, Timeout=20) for _ in range(2))
    assert functions.invoke(other, ["None", 1])["Payload"] == [1, "enough"]
    free_kib, pages = available_kib(), tcp_pages()
    answer = functions.invoke(bomb, [BOMBS[what], 1_000_000])
    if "FunctionError" in answer:
        assert answer["Payload"]["errorType"] in ("Runtime.ExitError", "Sandbox.Timedout"), answer["Payload"]
    else:
        assert answer["Payload"][0] > 0, answer["Payload"]
    # Its memory, what /tmp may have, and what others on this machine have taken meanwhile.
    assert free_kib - available_kib() < 1024 * (256 + 512 + 2048)
    assert tcp_pages() - pages < (256 // 4 + 128) * 256
    assert functions.invoke(other, [BOMBS[what], 3])["Payload"] in ([3, "enough"], [0, "EPERM"])
    functions.client.delete_function(FunctionName=bomb)


def available_kib() -> int:
    return next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))


@pytest.mark.usefixtures("strong", "unharmed")
def test_what_is_counted_for_a_user_is_counted_for_one_environment(functions: Functions):
    """One environment takes all inotify instances, queued signals and message queues that it may; another, and root, still have theirs."""
    kinds = ("inotify instances", "queued signals", "message queues")
    first, second = (functions.deploy(BOMBER, MemorySize=512, Timeout=30) for _ in range(2))
    for what in kinds:
        count, ended = functions.invoke(first, [BOMBS[what], 1_000_000])["Payload"]
        assert count > 3 and ended in ("EMFILE", "EAGAIN", "ENOSPC"), (what, count, ended)
        assert functions.invoke(second, [BOMBS[what], 3])["Payload"] == [3, "enough"], what
    subprocess.run(["python3", "-c", "import ctypes; assert ctypes.CDLL(None).inotify_init1(0) >= 0"], check=True)


def processes_below(pid: int) -> dict[int, int]:
    """Return the descendants of a process and the parent of each."""
    parents = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: dict[int, int] = {}
    pending = [pid]
    while pending:
        parent = pending.pop()
        for one in [one for one, its in parents.items() if its == parent]:
            found[one] = parent
            pending.append(one)
    return found


def remembers(pid: int, secret: bytes) -> bool:
    """Say whether a secret is anywhere in the memory of a process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, permissions = line.split()[:2]
            if "r" not in permissions or "[v" in line:
                continue
            start, end = (int(word, 16) for word in span.split("-"))
            for at in range(start, end, 1 << 24):
                with contextlib.suppress(OSError):
                    memory.seek(at)
                    if secret in memory.read(min(1 << 24, end - at)):
                        return True
    return False


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: reads the memory of lambdad's processes")
@pytest.mark.usefixtures("strong", "unharmed")
def test_a_secret_stays_where_it_is(functions: Functions, lambdad: Lambdad):
    """What one function holds in memory, variables and files is in no template, no stem cell and no environment that was forked before or since."""
    halves = os.urandom(12).hex(), os.urandom(12).hex()
    secret = "".join(halves)
    keeper = functions.deploy(
        "import os, ctypes, multiprocessing.shared_memory as shared\n"
        "libc = ctypes.CDLL(None)\n"
        "def handler(event, context):\n"
        "    global kept\n    kept = ''.join(event).encode() * 1000\n"
        "    os.environ['PLANTED'] = ''.join(event)\n    open('/tmp/secret', 'wb').write(kept)\n"
        "    segment = shared.SharedMemory('planted', create=True, size=len(kept))\n    segment.buf[:] = kept\n"
        "    print(''.join(event))\n    return os.getpid()\n",
        Environment={"Variables": {"CONFIGURED": f"x{secret}x"}},
    )
    finder = functions.deploy(
        f"{SOURCE}\n"
        "def handler(event, context):\n"
        "    needle = ''.join(reversed(event)).encode()  # so that the event itself is not found\n"
        "    needle, found = needle[24:] + needle[:24], []\n"
        "    del event\n"
        "    with open('/proc/self/mem', 'rb', 0) as memory:\n"
        "        for line in open('/proc/self/maps'):\n"
        "            span, permissions = line.split()[:2]\n"
        "            if 'r' not in permissions or '[v' in line:\n                continue\n"
        "            start, end = (int(word, 16) for word in span.split('-'))\n"
        "            try:\n                memory.seek(start)\n                data = memory.read(end - start)\n"
        "            except OSError:\n                continue\n"
        "            if data.count(needle) > 50:\n                found.append(line)\n"
        "            del data\n"
        "    found += [p for place in ('/tmp', '/dev/shm') for p in glob.glob(place + '/*')]\n"
        "    return found + [k for k, v in os.environ.items() if needle.decode() in v]\n",
        MemorySize=512,
    )
    assert functions.invoke(finder, list(halves))["Payload"] == []  # begun before
    functions.invoke(keeper, list(halves))
    assert functions.invoke(finder, list(halves))["Payload"] == []
    functions.client.update_function_configuration(FunctionName=finder, MemorySize=513)
    functions.settle(finder)
    assert functions.invoke(finder, list(halves))["Payload"] == []  # begun since, from the same template
    worker = lambdad.pids()["worker"]
    below = processes_below(worker)
    planted = (secret * 2).encode()
    holders = [pid for pid in below if remembers(pid, planted)]
    assert len(holders) == 1, "the one that was given it"
    init = below[holders[0]]
    environment = {init, *processes_below(init)}
    told = f"x{secret}x".encode()
    templates = [pid for pid, parent in below.items() if parent == worker]
    assert templates and not [pid for pid in below if pid not in environment and remembers(pid, told)]

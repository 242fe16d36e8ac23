"""What a function cannot do: tried from inside, one sandbox per attempt."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from sandbox_fixtures import needs_root, stage  # noqa: F401
from sandbox_stage import Stage, wait_written, written

from lambdad.sandbox import syscall_numbers

pytestmark = needs_root
NUMBERS = syscall_numbers.X86_64 if Path("/lib64/ld-linux-x86-64.so.2").exists() else syscall_numbers.AARCH64

# What is tried inside (an expression), and what must come of it.
ATTEMPTS = {
    "read the machine's accounts' secrets": ("attempt(lambda: open('/etc/shadow').read())", "ENOENT"),
    "see home directories": ("sorted(os.listdir('/root')) in ([], ['.pyenv'])", True),
    "see /home": ("attempt(lambda: os.listdir('/home'))", "ENOENT"),
    "see /sys": ("attempt(lambda: os.listdir('/sys'))", "ENOENT"),
    "see other functions' code": ("os.listdir('/mnt/code')", []),
    "see its own code": ("os.listdir('/var/task')", ["handler.py"]),
    "write its code": ("attempt(lambda: open('/var/task/x', 'w'))", "EROFS"),
    "write the root": ("attempt(lambda: open('/x', 'w'))", "EROFS"),
    "write the system": ("attempt(lambda: open('/usr/x', 'w'))", "EROFS"),
    "write the runtime": ("attempt(lambda: open('/var/runtime/x', 'w'))", "EROFS"),
    "see other processes": ("[p for p in os.listdir('/proc') if p.isdigit()] == [str(os.getpid())]", True),
    "see process 1": ("attempt(lambda: os.listdir('/proc/1'))", "ENOENT"),
    "kill process 1": ("attempt(lambda: os.kill(1, 9))", "EPERM"),
    "read process 1's memory": ("attempt(lambda: open('/proc/1/mem', 'rb'))", "ENOENT"),
    "become root": ("attempt(lambda: os.setuid(0))", "EPERM|EINVAL"),
    "join a group": ("attempt(lambda: os.setgroups([0]))", "EPERM"),
    "mount": ("libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None) and errno.errorcode[ctypes.get_errno()]", "EPERM"),
    "unmount": ("libc.umount2(b'/var/task', 2) and errno.errorcode[ctypes.get_errno()]", "EPERM"),
    "unshare": ("libc.unshare(0x10000000) and errno.errorcode[ctypes.get_errno()]", "EPERM"),
    "clone into a namespace": (f"call({NUMBERS['clone']}, 0x10000011, 0, 0, 0, 0)", "EPERM"),
    "clone3": (f"call({NUMBERS['clone3']}, 0, 0)", "ENOSYS"),
    "setns": (f"call({NUMBERS['setns']}, 0, 0)", "EPERM"),
    "chroot": ("attempt(lambda: os.chroot('/tmp'))", "EPERM"),
    "pivot_root": (f"call({NUMBERS['pivot_root']}, b'/tmp', b'/tmp')", "EPERM"),
    "make a device": ("attempt(lambda: os.mknod('/tmp/sda', 0o60600, os.makedev(8, 0)))", "EPERM"),
    "ptrace": (f"call({NUMBERS['ptrace']}, 0, 0, 0, 0)", "EPERM"),
    "keyctl": (f"call({NUMBERS['keyctl']}, 0, -3, 0)", "EPERM"),
    "add_key": (f"call({NUMBERS['add_key']}, b'user', b'x', b'y', 1, -3)", "EPERM"),
    "bpf": (f"call({NUMBERS['bpf']}, 0, 0, 0)", "EPERM"),
    "perf_event_open": (f"call({NUMBERS['perf_event_open']}, 0, 0, 0, 0, 0)", "EPERM"),
    "io_uring": (f"call({NUMBERS['io_uring_setup']}, 1, 0)", "ENOSYS"),
    "userfaultfd": (f"call({NUMBERS['userfaultfd']}, 0)", "EPERM"),
    "open by handle": (f"call({NUMBERS['open_by_handle_at']}, 0, 0, 0)", "EPERM"),
    "load a module": (f"call({NUMBERS['finit_module']}, 0, b'', 0)", "EPERM"),
    "reboot": (f"call({NUMBERS['reboot']}, 0, 0, 0, 0)", "EPERM"),
    "set the clock": ("attempt(lambda: time.clock_settime(time.CLOCK_REALTIME, 0))", "EPERM"),
    "set the host name": ("attempt(lambda: socket.sethostname('x'))", "EPERM"),
    "look into another process": (f"call({NUMBERS['process_vm_readv']}, 1, 0, 0, 0, 0, 0)", "EPERM"),
    "take another process's descriptor": (f"call({NUMBERS['pidfd_getfd']}, 0, 0, 0)", "EPERM"),
    "open a raw socket": ("attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))", "EPERM"),
    "open a packet socket": ("attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))", "EAFNOSUPPORT"),
    "open a crypto socket": ("attempt(lambda: socket.socket(38, socket.SOCK_SEQPACKET))", "EAFNOSUPPORT"),
    "open a vsock": ("attempt(lambda: socket.socket(40, socket.SOCK_STREAM))", "EAFNOSUPPORT"),
    "type into a terminal": ("attempt(lambda: __import__('fcntl').ioctl(0, 0x5412, b'x'))", "EPERM"),
    "write a kernel setting": ("attempt(lambda: open('/proc/sys/kernel/hostname', 'w'))", "EROFS"),
    "ask for sysrq": ("os.path.exists('/proc/sysrq-trigger') and os.path.samefile('/proc/sysrq-trigger', '/dev/null')", "falsy|True"),
    "read the kernel's keys": ("open('/proc/keys').read()", ""),
    "hold capabilities": ("[l.split()[1].strip('0') for l in open('/proc/self/status') if l.startswith('Cap')]", [""] * 5),
    "gain privileges": ("'NoNewPrivs:\\t1' in open('/proc/self/status').read()", True),
    "raise its limits": ("resource.getrlimit(resource.RLIMIT_NOFILE)[1]", 1024),
    "see the machine's network": ("sorted(name for _, name in socket.if_nameindex())", ["lo"]),
    "hold foreign descriptors": ("len(os.listdir('/proc/self/fd'))", 4),
    "see where its cgroup is": ("any('lambdad' in line for line in open('/proc/self/cgroup'))", False),
}  # fmt: skip


def read(path: str) -> str:
    """Return a small file of /proc."""
    return Path(path).read_text()


async def test_attempts_to_get_out_fail(stage: Stage) -> None:  # noqa: F811
    """Every attempt to reach what is outside is refused, in the way that was meant."""
    code = "\n".join(
        ["seen = {}", *(f"seen[{name!r}] = {expression}" for name, (expression, _) in ATTEMPTS.items()),
         "print(json.dumps(seen))"]
    )  # fmt: skip
    end, text = await stage.run(code)
    assert end.code == 0, text
    seen = json.loads(text)
    wrong = {}
    for name, (_, expected) in ATTEMPTS.items():
        meant = expected.split("|") if isinstance(expected, str) else [expected]
        if seen[name] not in meant and not ("falsy" in meant and not seen[name]):
            wrong[name] = seen[name]
    assert wrong == {}


async def test_what_functions_need_works(stage: Stage) -> None:  # noqa: F811
    """Threads, subprocesses, sockets on the loopback, locks, name look-ups and files in /tmp work as in any process."""
    end, text = await stage.run(
        "import multiprocessing, tempfile, pwd, grp, asyncio\n"
        "thread = threading.Thread(target=lambda: None); thread.start(); thread.join()\n"
        "assert subprocess.run(['/bin/sh', '-c', 'echo hello from $PWD'], capture_output=True).stdout == b'hello from /var/task\\n'\n"
        "a = socket.create_server(('127.0.0.1', 0)); b = socket.create_connection(a.getsockname()); a.accept()\n"
        "socket.create_server(('::1', 0), family=socket.AF_INET6)\n"
        "assert socket.getaddrinfo('localhost', 80) and socket.gethostbyname('sandbox.localdomain') == '169.254.100.1'\n"
        "multiprocessing.Lock(); tempfile.NamedTemporaryFile().write(b'x'); os.mkfifo('/tmp/fifo')\n"
        "assert pwd.getpwuid(os.getuid()).pw_name == 'sbx_user1051' and grp.getgrgid(os.getgid()).gr_gid == 990\n"
        "async def work():\n"
        "    process = await asyncio.create_subprocess_exec('/bin/true')\n"
        "    assert await process.wait() == 0\n"
        "asyncio.run(work())\n"
        "assert open('/proc/self/fd/1', 'wb').write(b'stdout again\\n')\n"
        "os.kill(os.getpid(), 0); os.sync(); open('/proc/meminfo').read(); os.nice(1)\n"
        "print(os.environ, os.getcwd(), socket.gethostname(), len(os.urandom(8)))\n"
    )
    assert end.code == 0, text
    assert "stdout again" in text


async def test_listeners_are_private(stage: Stage) -> None:  # noqa: F811
    """A function reaches its own two listeners, and neither the machine's loopback nor a neighbour's listener."""
    probe = (
        "for address in (('127.0.0.1', 9001), ('169.254.100.1', 4566), ('127.0.0.1', %d)):\n"
        "    print(attempt(lambda: socket.create_connection(address, 2).sendall(b'from one')))\n"
        "print(attempt(lambda: socket.create_server(('127.0.0.1', 9001))))\n"
    )
    outside = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with outside:
        neighbour = await stage.spawn()
        sandbox = await stage.start(probe % outside.sockets[0].getsockname()[1])
        loop = asyncio.get_running_loop()
        for listener in (sandbox.runtime_listener, sandbox.endpoint_listener):
            accepted, _ = await loop.sock_accept(listener)
            accepted.setblocking(False)
            assert await loop.sock_recv(accepted, 100) == b"from one"
            accepted.close()
        assert (await sandbox.wait_exit()).code == 0
        assert written(sandbox).split() == ["None", "None", "ECONNREFUSED", "EADDRINUSE"]
        for listener in (neighbour.runtime_listener, neighbour.endpoint_listener):
            with pytest.raises(BlockingIOError):
                listener.accept()


async def test_neighbours_do_not_share_memory_or_ids(stage: Stage) -> None:  # noqa: F811
    """Two environments see neither each other's System V memory nor each other's user: limits per user are their own."""
    first = await stage.start("print(libc.shmget(0x1051, 4096, 0o1666) >= 0, flush=True); signal.pause()")
    await wait_written(first, "True")
    _, text = await stage.run("print(libc.shmget(0x1051, 4096, 0o666)); print(open('/proc/self/uid_map').read())")
    assert text.split()[0] == "-1"
    inside, outside, count = read(f"/proc/{first.pid}/uid_map").split()
    assert (inside, count) == ("993", "1")
    assert outside not in ("0", "993", text.split()[2])


async def test_layers_and_code_are_what_was_assigned(stage: Stage) -> None:  # noqa: F811
    """/var/task and /opt show the assigned directories; without a layer /opt is empty."""
    _, text = await stage.run("print(open('/var/task/handler.py').read(), open('/opt/handler.py').read())", task="two", opt="one")
    assert text.split() == ["NAME", "=", "'two'", "NAME", "=", "'one'"]
    _, text = await stage.run("print(os.listdir('/opt'), os.listdir('/var/task'))", task=None)
    assert text == "[] []\n"

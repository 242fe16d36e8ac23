# ruff: noqa: E501
"""What a function may try in order to get out, or to get at others, and what must come of it: one line of Python for each attempt.

The table is data. `tests/integration/test_sandbox_fence.py` has it tried in a bare fence, `tests/acceptance/test_attacks_from_inside.py` by a
deployed function, and `docs/generate_attacks.py` writes it into docs/security.md. Every attempt is made by a child of its own, so that none is
in the way of the next; what it comes to is the name of an errno, `done`, the signal that killed it (`SIGSYS`), or a value.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Attempt:
    """One attempt: an expression, or statements that set `result`; and what may come of it, alternatives separated by `|`."""

    name: str
    code: str
    refusal: str


# What attempts are written in; runs inside. `call` makes a system call by its name in `NUMBERS`.
TOOLS = r"""
import ctypes, errno, fcntl, glob, json, mmap, os, resource, select, signal, socket, stat, struct, subprocess, sys, time
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
def _word(word):
    return ctypes.c_char_p(word) if isinstance(word, bytes) else ctypes.c_long(word)
def number(name, *words):
    'Make a system call; return its number, or raise OSError.'
    if name not in NUMBERS:
        raise OSError(errno.ENOSYS, 'no such call on this machine')
    ctypes.set_errno(0)
    result = _libc.syscall(ctypes.c_long(NUMBERS[name]), *[_word(word) for word in words])
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result
def call(name, *words):
    number(name, *words)
def read(path, size=4096):
    with open(path, 'rb') as file:
        return file.read(size).decode('utf-8', 'replace')
def write(path, text):
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
def make(path, text='x'):
    with open(path, 'w') as file:
        file.write(text)
    return path
def field(name, path='/proc/self/status'):
    return next(line.split(':', 1)[1].strip() for line in open(path) if line.startswith(name + ':'))
def child(work):
    'Do something in a child; return its status or the signal that killed it.'
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
        except BaseException:
            os._exit(255)
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else errno.errorcode.get(os.WEXITSTATUS(status), os.WEXITSTATUS(status))
def machine_code(code):
    'Execute bytes.'
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    return ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
def ioctl(fd, request, argument=0):
    fcntl.ioctl(fd, request, argument)
def connect(address, family=socket.AF_INET):
    with socket.socket(family) as sock:
        sock.settimeout(0.5)
        sock.connect(address)
def ran(*words):
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode().strip()
"""

# Tries attempts [[name, code], ...] one by one, each in a child; `tried` gives {name: what it came to}.
RUNNER = r"""
def _outcome(code):
    scope = dict(globals())
    try:
        try:
            result = eval(compile(code, 'attempt', 'eval'), scope)
        except SyntaxError:
            exec(code, scope)
            result = scope['result']
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__) if error.errno else type(error).__name__
    except Exception as error:
        return type(error).__name__ + ': ' + str(error)
    return 'done' if result is None else result
def _try(code):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.setsid()
        try:
            os.write(writing, json.dumps(_outcome(code)).encode()[:60000])
        finally:
            os._exit(0)
    os.close(writing)
    said, until = b'', time.monotonic() + 10
    while time.monotonic() < until and select.select([reading], [], [], max(until - time.monotonic(), 0))[0]:
        piece = os.read(reading, 65536)
        if not piece:
            break
        said += piece
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(reading)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return json.loads(said) if said else 'nothing'
def tried(attempts):
    return {name: _try(code) for name, code in attempts}
"""

_CLONES = {
    "mount": 0x20000, "cgroup": 0x2000000, "UTS": 0x4000000, "IPC": 0x8000000, "user": 0x10000000, "pid": 0x20000000, "network": 0x40000000,
}  # fmt: skip
_MASKED = (
    "kcore", "keys", "key-users", "kmsg", "kallsyms", "timer_list", "sched_debug", "kpagecount", "kpageflags", "kpagecgroup",
    "vmallocinfo", "slabinfo", "modules", "config.gz", "latency_stats",
)  # fmt: skip
_WRITTEN = {
    "its code": "/var/task/x", "a layer": "/opt/x", "an extension into the layers": "/opt/extensions", "the system's programs": "/usr/bin/x",
    "the system's settings": "/etc/x", "the runtime": "/var/runtime/x", "the root directory": "/x", "devices": "/dev/x",
    "where code comes from": "/mnt/code/x",
}  # fmt: skip
_SETTINGS = {
    "the program that takes core dumps": "kernel/core_pattern", "the program that loads modules": "kernel/modprobe",
    "how much memory may be promised": "vm/overcommit_memory", "who may trace whom": "kernel/yama/ptrace_scope",
    "the host name, by /proc/sys": "kernel/hostname", "routing between interfaces": "net/ipv4/ip_forward",
}  # fmt: skip
_FAMILIES = {
    "raw IP": ("AF_INET, 3, 1", "EPERM"), "ping": ("AF_INET, 2, 1", "EPROTONOSUPPORT"), "packet": ("AF_PACKET, 3", "EAFNOSUPPORT"),
    "SCTP": ("AF_INET, 1, 132", "EPROTONOSUPPORT"), "DCCP": ("AF_INET, 6, 33", "EPERM"), "MPTCP": ("AF_INET, 1, 262", "EPROTONOSUPPORT"),
    "UDP-Lite": ("AF_INET, 2, 136", "EPROTONOSUPPORT"), "netfilter": ("AF_NETLINK, 3, 12", "EPROTONOSUPPORT"),
    "audit": ("AF_NETLINK, 3, 9", "EPROTONOSUPPORT"), "IPsec": ("AF_NETLINK, 3, 6", "EPROTONOSUPPORT"),
    "kernel events": ("AF_NETLINK, 3, 15", "EPROTONOSUPPORT"), "generic netlink": ("AF_NETLINK, 3, 16", "EPROTONOSUPPORT"),
}  # fmt: skip
_NUMBERED_FAMILIES = {
    "vsock": 40,
    "crypto": 38,
    "key": 15,
    "Bluetooth": 31,
    "TIPC": 30,
    "CAN": 29,
    "XDP": 44,
    "SMC": 43,
    "RDS": 21,
    "X.25": 9,
}

# fmt: off
AREAS: dict[str, list[Attempt]] = {
    "Namespaces": [
        *[Attempt(f"unshare the {name} namespace", f"call('unshare', {flag})", "EPERM") for name, flag in _CLONES.items()],
        Attempt("unshare the time namespace", "call('unshare', 0x80)", "EPERM"),
        *[Attempt(f"clone into a new {name} namespace", f"call('clone', {flag | 17}, 0, 0, 0, 0)", "EPERM") for name, flag in _CLONES.items()],
        Attempt("clone3", "call('clone3', bytes(88), 88)", "ENOSYS"),
        *[
            Attempt(f"re-enter its own {name} namespace", f"call('setns', os.open('/proc/self/ns/{name}', 0), 0)", "EPERM")
            for name in ("mnt", "net", "pid", "user", "ipc", "uts", "cgroup")
        ],
        Attempt("enter process 1's namespaces by a pidfd", "call('setns', os.pidfd_open(1), 0x20000)", "EPERM"),
        Attempt("open process 1's namespaces", "os.open('/proc/1/ns/mnt', 0)", "ENOENT"),
        Attempt("ask a pidfd of process 1 for its mounts", "ioctl(os.pidfd_open(1), 0xFF03)", "EACCES|EPERM|ENOTTY|EINVAL"),
        Attempt("ask for the owner of its network", "ioctl(os.open('/proc/self/ns/net', 0), 0xB701)", "EPERM"),
        Attempt("ask for the parent of its user namespace", "ioctl(os.open('/proc/self/ns/user', 0), 0xB702)", "EPERM"),
        Attempt("ask for the parent of its pid namespace", "ioctl(os.open('/proc/self/ns/pid', 0), 0xB702)", "EPERM"),
        Attempt("ask for the next mount namespace", "ioctl(os.open('/proc/self/ns/mnt', 0), 0x8010B70B, bytearray(16))", "EPERM|ENOTTY"),
        Attempt("ask a socket for its network namespace", "ioctl(socket.socket(), 0x894C)", "EPERM"),
        Attempt("give itself another user map", "write('/proc/self/uid_map', '0 0 1')", "EPERM"),
        Attempt("give itself another group map", "write('/proc/self/gid_map', '0 0 1')", "EPERM"),
        Attempt("unshare with the system's program", "ran('/usr/bin/unshare', '-r', 'id', '-u')", "|FileNotFoundError|ENOENT"),
    ],
    "Mounts and roots": [
        Attempt("mount a tmpfs", "call('mount', b'none', b'/tmp', b'tmpfs', 0, 0)", "EPERM"),
        Attempt("mount a cgroup hierarchy", "call('mount', b'none', b'/tmp', b'cgroup', 0, b'memory')", "EPERM"),
        Attempt("mount cgroup version 2", "call('mount', b'none', b'/tmp', b'cgroup2', 0, 0)", "EPERM"),
        Attempt("mount another /proc", "call('mount', b'proc', b'/tmp', b'proc', 0, 0)", "EPERM"),
        Attempt("bind the root elsewhere", "call('mount', b'/', b'/tmp', b'', 4096, 0)", "EPERM"),
        Attempt("make its code writable again", "call('mount', b'none', b'/var/task', b'', 4096 | 32, 0)", "EPERM"),
        Attempt("unmount its code", "call('umount2', b'/var/task', 2)", "EPERM"),
        Attempt("unmount what covers /proc/kcore", "call('umount2', b'/proc/kcore', 2)", "EPERM"),
        Attempt("unmount /proc/sys", "call('umount2', b'/proc/sys', 0)", "EPERM"),
        Attempt("pivot_root", "call('pivot_root', b'/tmp', b'/tmp')", "EPERM"),
        Attempt("chroot", "os.chroot('/tmp')", "EPERM"),
        Attempt("fsopen", "call('fsopen', b'tmpfs', 0)", "EPERM"),
        Attempt("fsconfig", "call('fsconfig', 0, 6, 0, 0, 0)", "EPERM"),
        Attempt("fsmount", "call('fsmount', 0, 0, 0)", "EPERM"),
        Attempt("fspick", "call('fspick', -100, b'/tmp', 0)", "EPERM"),
        Attempt("open_tree", "call('open_tree', -100, b'/', 1)", "EPERM"),
        Attempt("move_mount", "call('move_mount', -100, b'/tmp', -100, b'/var/task', 0)", "EPERM"),
        Attempt("mount_setattr", "call('mount_setattr', -100, b'/var/task', 0x8000, struct.pack('4Q', 0, 1, 0, 0), 32)", "EPERM"),
        Attempt("open a file by its handle", "call('open_by_handle_at', -100, struct.pack('ii8s', 8, 1, b'\\2'), 0)", "EPERM"),
        Attempt("ask for a file's handle", "call('name_to_handle_at', -100, b'/', bytes(136), bytes(8), 0)", "EPERM"),
        Attempt("list mounts by number", "call('listmount', bytes(32), bytes(64), 8, 0)", "ENOSYS"),
        Attempt("race a mount against a renamed directory", "[os.makedirs('/tmp/a/b', exist_ok=True), os.rename('/tmp/a', '/tmp/c%d' % os.getpid()),"
                " call('mount', b'/', b'/tmp/a', b'', 4096, 0)]", "EPERM"),
        Attempt("rename over a mount", "os.rename('/tmp', '/tmp2')", "EBUSY|EROFS|EXDEV"),
        Attempt("take /tmp away", "os.rmdir('/tmp')", "EBUSY|EROFS"),
        Attempt("swap on a file", "call('swapon', make('/tmp/swap').encode(), 0)", "EPERM"),
        Attempt("set a quota", "call('quotactl', 0, b'/', 0, 0)", "EPERM"),
    ],
    "Files of others, and of the machine": [
        Attempt("read /etc/shadow", "read('/etc/shadow')", "ENOENT"),
        Attempt("see home directories", "os.listdir('/home')", "ENOENT"),
        Attempt("see root's home", "sorted(os.listdir('/root')) in ([], ['.pyenv'])", "true"),
        Attempt("see /sys", "os.listdir('/sys')", "ENOENT"),
        Attempt("see /run", "os.listdir('/run')", "ENOENT"),
        Attempt("see the boot files", "os.listdir('/boot')", "ENOENT"),
        Attempt("see other functions' code", "os.listdir('/mnt/code')", "[]"),
        Attempt("see other functions' code beside its own", "os.listdir('/var/task/..')", '["lang", "runtime", "task"]|["runtime", "task"]|["task", "runtime"]'),
        Attempt("find the code store mounted still", "any(' /mnt/code ' in line for line in open('/proc/self/mountinfo'))", "false"),
        *[Attempt(f"write into {what}", f"make({path!r})", "EROFS|EACCES") for what, path in _WRITTEN.items()],
        Attempt("make its code's directory its own", "os.chown('/var/task', os.getuid(), os.getgid())", "EROFS|EPERM"),
        Attempt("make its code writable", "os.chmod('/var/task', 0o777)", "EROFS"),
        Attempt("give its code an attribute", "os.setxattr('/var/task', 'user.x', b'y')", "EROFS"),
        Attempt("link a file of the system into /tmp", "os.link('/etc/passwd', '/tmp/linked')", "EXDEV|EPERM"),
        Attempt("truncate a file of the system by a link", "[os.symlink('/etc/passwd', '/tmp/l%d' % os.getpid()), os.truncate('/tmp/l%d' % os.getpid(), 0)]", "EROFS|EACCES"),
        Attempt("write a file that it may read, through its descriptor", "os.open('/proc/self/fd/%d' % os.open('/etc/passwd', 0), os.O_WRONLY)", "EROFS|EACCES"),
        Attempt("lease a file of the system", "fcntl.fcntl(os.open('/usr/bin/env', 0), fcntl.F_SETLEASE, fcntl.F_WRLCK)", "EACCES|EAGAIN"),
        Attempt("watch the whole system by fanotify", "call('fanotify_init', 0, 0)", "EPERM"),
        Attempt("make a disk", "os.mknod('/tmp/disk', stat.S_IFBLK | 0o666, os.makedev(8, 0))", "EPERM"),
        Attempt("make /dev/mem", "os.mknod('/tmp/mem', stat.S_IFCHR | 0o666, os.makedev(1, 1))", "EPERM"),
        Attempt("make /dev/kmsg", "os.mknod('/dev/shm/kmsg', stat.S_IFCHR | 0o666, os.makedev(1, 11))", "EPERM"),
        Attempt("find other devices", "sorted(set(os.listdir('/dev')) - {'fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero'})", "[]"),
        Attempt("add to the machine's randomness", "ioctl(os.open('/dev/urandom', os.O_WRONLY), 0x40085203, bytes(16))", "EPERM"),
        Attempt("clear the machine's randomness", "ioctl(os.open('/dev/urandom', os.O_WRONLY), 0x5206)", "EPERM"),
        Attempt("execute from shared memory", "[make('/dev/shm/p', '#!/bin/sh'), os.chmod('/dev/shm/p', 0o755), os.execv('/dev/shm/p', ['p'])]", "EACCES"),
    ],
    "Other processes": [
        Attempt("see processes that are not its own", "[int(p) for p in os.listdir('/proc') if p.isdigit() and int(p) not in (os.getpid(), os.getppid())]", "[]"),
        Attempt("see process 1", "os.listdir('/proc/1')", "ENOENT"),
        *[
            Attempt(f"read process 1's {name}", f"open('/proc/1/{name}', 'rb')", "ENOENT")
            for name in ("mem", "maps", "environ", "root/etc/shadow", "cwd", "fd", "auxv", "syscall", "stack", "cmdline")
        ],
        Attempt("make process 1 the victim when memory is short", "write('/proc/1/oom_score_adj', '1000')", "ENOENT"),
        Attempt("kill process 1", "os.kill(1, 9)", "EPERM"),
        Attempt("stop process 1", "os.kill(1, 19)", "EPERM"),
        Attempt("queue a signal to process 1", "call('rt_sigqueueinfo', 1, 15, struct.pack('iiii', 15, 0, -1, 0) + bytes(112))", "EPERM"),
        Attempt("kill process 1 by a pidfd", "signal.pidfd_send_signal(os.pidfd_open(1), 9)", "EPERM"),
        Attempt("signal every process but itself", "[signal.signal(15, signal.SIG_IGN), signal.signal(1, signal.SIG_IGN), child(lambda: os.kill(1, 1))]", '[0, 0, "EPERM"]'),
        Attempt("signal processes by numbers of outside", "sum(child(lambda: os.kill(pid, 0)) != 'ESRCH' for pid in range(100000, 100016))", "0"),
        Attempt("attach to process 1", "call('ptrace', 16, 1, 0, 0)", "EPERM"),
        Attempt("seize process 1", "call('ptrace', 0x4206, 1, 0, 0)", "EPERM"),
        Attempt("trace itself", "call('ptrace', 0, 0, 0, 0)", "EPERM"),
        Attempt("read process 1's memory", "call('process_vm_readv', 1, 0, 0, 0, 0, 0)", "EPERM"),
        Attempt("write process 1's memory", "call('process_vm_writev', 1, 0, 0, 0, 0, 0)", "EPERM"),
        Attempt("advise process 1's memory away", "call('process_madvise', os.pidfd_open(1), 0, 0, 21, 0)", "EPERM"),
        Attempt("free process 1's memory", "call('process_mrelease', os.pidfd_open(1), 0)", "EPERM"),
        Attempt("take a descriptor of process 1", "call('pidfd_getfd', os.pidfd_open(1), 3, 0)", "EPERM"),
        Attempt("compare itself with process 1", "call('kcmp', 1, os.getpid(), 0, 0, 0)", "EPERM"),
        Attempt("move process 1's pages", "call('move_pages', 1, 0, 0, 0, 0, 0)", "EPERM"),
        Attempt("change process 1's limits", "call('prlimit64', 1, 7, struct.pack('QQ', 0, 0), 0)", "EPERM"),
        Attempt("change process 1's priority", "os.setpriority(os.PRIO_PROCESS, 1, 19)", "EPERM|EACCES"),
        Attempt("change process 1's scheduling", "os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))", "EPERM"),
        Attempt("bind process 1 to a processor", "os.sched_setaffinity(1, {0})", "EPERM"),
        Attempt("change process 1's I/O priority", "call('ioprio_set', 1, 1, 3 << 13)", "EPERM"),
        Attempt("find process 1's robust list", "call('get_robust_list', 1, bytes(8), bytes(8))", "EPERM"),
        Attempt("see other environments' shared memory segments", "read('/proc/sysvipc/shm')", "ENOENT"),
    ],
    "Privileges": [
        Attempt("become root", "os.setuid(0)", "EPERM|EINVAL"),
        Attempt("become root, all three ids", "os.setresuid(0, 0, 0)", "EPERM|EINVAL"),
        Attempt("become the worker's group", "os.setgid(0)", "EPERM|EINVAL"),
        Attempt("join a group", "os.setgroups([0])", "EPERM"),
        Attempt("have root's files for the file system", "number('setfsuid', 0) and int(field('Uid').split()[3])", "993"),
        Attempt("hold a capability", "[field(name).strip('0') for name in ('CapEff', 'CapPrm', 'CapInh', 'CapBnd', 'CapAmb')]", '["", "", "", "", ""]'),
        Attempt("take all capabilities", "call('capset', struct.pack('Ii', 0x20080522, 0), struct.pack('6I', *[0xffffffff] * 6))", "EPERM"),
        Attempt("raise an ambient capability", "_libc.prctl(47, 2, 21, 0, 0) and errno.errorcode[ctypes.get_errno()]", "EPERM"),
        Attempt("leave no_new_privs", "[_libc.prctl(38, 0, 0, 0, 0), field('NoNewPrivs')]", '[-1, "1"]'),
        Attempt("turn the system call filter off", "_libc.prctl(22, 0, 0, 0, 0) and field('Seccomp')", "2"),
        Attempt("run a set-user-id copy of a program", "import shutil\nshutil.copy('/usr/bin/id', '/tmp/id')\nos.chmod('/tmp/id', 0o6755)\nresult = ran('/tmp/id', '-u')", "993"),
        Attempt("run the system's set-user-id programs as root",
                "[p for p in glob.glob('/usr/bin/*') + glob.glob('/usr/sbin/*') if os.stat(p).st_mode & stat.S_ISUID and not os.statvfs(p).f_flag & os.ST_NOSUID]", "[]"),
        Attempt("give a program a file capability", "os.setxattr(make('/tmp/cap'), 'security.capability', struct.pack('<5I', 0x2000001, 0xffffffff, 0, 0, 0))", "EPERM"),
        Attempt("give away a file", "os.chown(make('/tmp/mine'), 0, 0)", "EPERM|EINVAL"),
        Attempt("set secure bits", "_libc.prctl(28, 1, 0, 0, 0) and errno.errorcode[ctypes.get_errno()]", "EPERM"),
        Attempt("change where its code is taken to be", "_libc.prctl(35, 1, 4096, 0, 0) and errno.errorcode[ctypes.get_errno()]", "EPERM|EINVAL"),
        Attempt("raise its descriptors", "call('prlimit64', 0, 7, struct.pack('QQ', 1 << 20, 1 << 20), 0)", "EPERM"),
        Attempt("raise its processes", "call('prlimit64', 0, 6, struct.pack('QQ', 1 << 20, 1 << 20), 0)", "EPERM"),
        Attempt("raise its locked memory", "call('prlimit64', 0, 8, struct.pack('QQ', 1 << 30, 1 << 30), 0)", "EPERM"),
        Attempt("lock more memory than it may", "call('mlock', ctypes.addressof(ctypes.create_string_buffer(1 << 20)), 1 << 20)", "ENOMEM|EAGAIN"),
        Attempt("have its core dumped by a program of the machine", "[resource.setrlimit(resource.RLIMIT_CORE, (0, 0)), resource.getrlimit(resource.RLIMIT_CORE)]", "[null, [1, 1]]"),
        Attempt("raise its priority", "os.setpriority(os.PRIO_PROCESS, 0, -5)", "EPERM|EACCES"),
        Attempt("run in real time", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))", "EPERM"),
        Attempt("run by deadlines", "call('sched_setattr', 0, struct.pack('IIQiIQQQ', 48, 6, 0, 0, 0, 10**7, 10**7, 10**8), 0)", "EPERM"),
        Attempt("read and write the disk in real time", "call('ioprio_set', 1, 0, 1 << 13)", "EPERM"),
        Attempt("be spared when memory is short", "write('/proc/self/oom_score_adj', '-1000')", "EACCES"),
        Attempt("be spared when memory is short, the old way", "write('/proc/self/oom_adj', '-17')", "EACCES|ENOENT"),
    ],
    "The kernel": [
        Attempt("load a module", "call('init_module', b'x', 1, b'')", "EPERM"),
        Attempt("load a module from a file", "call('finit_module', 0, b'', 0)", "EPERM"),
        Attempt("unload a module", "call('delete_module', b'loop', 0)", "EPERM"),
        Attempt("load another kernel", "call('kexec_load', 0, 0, 0, 0)", "EPERM"),
        Attempt("load another kernel from a file", "call('kexec_file_load', 0, 0, 0, b'', 0)", "EPERM|ENOSYS"),
        Attempt("reboot", "call('reboot', 0xfee1dead, 672274793, 0x1234567, 0)", "EPERM"),
        Attempt("load a program into the kernel", "call('bpf', 5, bytes(128), 128)", "EPERM"),
        Attempt("count events of the processor", "call('perf_event_open', bytes(128), 0, -1, -1, 0)", "EPERM"),
        Attempt("handle page faults", "call('userfaultfd', 0)", "EPERM"),
        Attempt("io_uring", "call('io_uring_setup', 8, bytes(120))", "ENOSYS"),
        Attempt("use up the machine's asynchronous I/O", "call('io_setup', 65536, bytes(8))", "ENOSYS"),
        Attempt("make secret memory", "call('memfd_secret', 0)", "ENOSYS"),
        Attempt("splice pages into a pipe", "call('vmsplice', 1, 0, 0, 0)", "EPERM"),
        Attempt("bind memory to a node", "call('mbind', 0, 4096, 0, 0, 0, 0)", "EPERM"),
        Attempt("add a key", "call('add_key', b'user', b'k', b'v', 1, -3)", "EPERM"),
        Attempt("request a key", "call('request_key', b'user', b'k', 0, 0)", "EPERM"),
        Attempt("join a session keyring", "call('keyctl', 1, 0)", "EPERM"),
        Attempt("read the user's keyring", "call('keyctl', 11, -4, 0, 0)", "EPERM"),
        Attempt("read the kernel's log", "call('syslog', 2, bytes(64), 64)", "EPERM"),
        Attempt("keep account of processes", "call('acct', b'/tmp/a')", "EPERM"),
        Attempt("reach I/O ports", "call('iopl', 3)", "EPERM|ENOSYS"),
        Attempt("reach one I/O port", "call('ioperm', 0x70, 1, 1)", "EPERM|ENOSYS"),
        Attempt("change its segments", "call('modify_ldt', 0, 0, 0)", "EPERM|ENOSYS"),
        Attempt("change its personality", "call('personality', 0x0400000)", "EPERM"),
        Attempt("have its addresses not random", "call('personality', 0x0040000)", "EPERM"),
        Attempt("set the clock", "time.clock_settime(time.CLOCK_REALTIME, 0)", "EPERM"),
        Attempt("set the clock, the old way", "call('settimeofday', bytes(16), 0)", "EPERM"),
        Attempt("slow the clock", "call('adjtimex', struct.pack('I', 2) + bytes(252))", "EPERM"),
        Attempt("slow another clock", "call('clock_adjtime', 0, struct.pack('I', 2) + bytes(252))", "EPERM"),
        Attempt("set the host name", "socket.sethostname('x')", "EPERM"),
        Attempt("set the domain name", "call('setdomainname', b'x', 1)", "EPERM"),
        Attempt("hang up terminals", "call('vhangup')", "EPERM"),
        Attempt("type into a terminal", "ioctl(0, 0x5412, b'x')", "EPERM"),
        Attempt("paste into a terminal", "ioctl(0, 0x541C, bytearray(b'\\2'))", "EPERM"),
        Attempt("type into a terminal, with high bits set", "call('ioctl', 0, 0xFFFFFFFF00005412 - (1 << 64), b'x')", "EPERM"),
        Attempt("have a terminal", "os.open('/dev/tty', os.O_RDWR)", "ENXIO|ENOENT"),
        *[Attempt(f"read /proc/{name}", f"read('/proc/{name}')", "|ENOENT") for name in _MASKED],
        Attempt("ask for sysrq", "write('/proc/sysrq-trigger', 'h') or read('/proc/sysrq-trigger')", "|ENOENT|EACCES"),
        *[Attempt(f"change {what}", f"write('/proc/sys/{name}', '1')", "EROFS|ENOENT|EACCES") for what, name in _SETTINGS.items()],
        Attempt("drop the machine's caches", "write('/proc/sys/vm/drop_caches', '3')", "EROFS|EACCES"),
        *[
            Attempt(f"see /proc/{name}", f"os.path.exists('/proc/{name}') and len(os.listdir('/proc/{name}'))", "false|0")
            for name in ("fs", "irq", "bus", "acpi", "scsi", "driver", "sysvipc", "tty")
        ],
    ],
    "Around the system call filter": [
        Attempt("make a call with x32's numbers", "_libc.syscall(ctypes.c_long(0x40000000 | 39))", "SIGSYS|-1"),
        Attempt("mount with x32's number", "_libc.syscall(ctypes.c_long(0x40000000 | 165), b'n', b'/tmp', b'tmpfs', 0, 0)", "SIGSYS|-1"),
        # mov eax, 20 (getpid); int 0x80; ret
        Attempt("make a call of i386", "machine_code(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3') if os.uname().machine == 'x86_64' else 'SIGSYS'", "SIGSYS|SIGSEGV"),
        # mov eax, 113 (vm86old); int 0x80; ret
        Attempt("enter virtual 8086 mode", "machine_code(b'\\xb8\\x71\\0\\0\\0\\xcd\\x80\\xc3') if os.uname().machine == 'x86_64' else 'SIGSYS'", "SIGSYS|SIGSEGV"),
        Attempt("make a call with a number that none has", "_libc.syscall(ctypes.c_long(100000)) and errno.errorcode[ctypes.get_errno()]", "ENOSYS"),
        Attempt("make a call with a negative number", "_libc.syscall(ctypes.c_long(-2)) and errno.errorcode.get(ctypes.get_errno())", "ENOSYS|SIGSYS"),
        Attempt("load a filter that allows everything and unshare", "program = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000), 8)\n"
                "text = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 1, ctypes.addressof(program)), 16)\n"
                "number('seccomp', 1, 0, ctypes.addressof(text))\nresult = call('unshare', 0x10000000)", "EPERM"),
        Attempt("have a thread without the filter", "import threading\nseen = []\nthread = threading.Thread(target=lambda: seen.append(_libc.unshare(0x10000000)))\n"
                "thread.start()\nthread.join()\nresult = seen", "[-1]"),
        Attempt("have a program without the filter", "ran('/bin/sh', '-c', 'grep Seccomp: /proc/self/status').split()[-1]", "2"),
    ],
    "Networks": [
        *[Attempt(f"open a socket: {name}", f"socket.socket(socket.{words.replace(', ', ', ', 1)}).close()", refusal) for name, (words, refusal) in _FAMILIES.items()],
        *[Attempt(f"open a socket: {name}", f"socket.socket({number}, 2).close()", "EAFNOSUPPORT") for name, number in _NUMBERED_FAMILIES.items()],
        Attempt("make a pair of network sockets", "socket.socketpair(socket.AF_INET)", "EAFNOSUPPORT|ValueError"),
        Attempt("see the machine's interfaces", "sorted(set(name for _, name in socket.if_nameindex()) - {'lo', 'tunl0', 'sit0', 'ip6tnl0', 'gre0', 'gretap0', 'erspan0', 'ip_vti0', 'ip6_vti0', 'ip6gre0', 'dummy0'})", "[]"),
        Attempt("take the loopback down", "ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack('16sh14x', b'lo', 0))", "EPERM"),
        Attempt("give itself an address", "ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8916, struct.pack('16sHH4s8x', b'lo:9', 2, 0, bytes((10, 0, 0, 1))))", "EPERM"),
        Attempt("add a route", "ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x890B, bytes(120))", "EPERM"),
        Attempt("make an interface by netlink", "sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n"
                "sock.send(struct.pack('IHHII', 44, 16, 0x605, 1, 0) + bytes(16) + struct.pack('HH', 12, 0x8012) + struct.pack('HH4s', 8, 1, b'dumm'))\n"
                "result = errno.errorcode[-struct.unpack_from('i', sock.recv(4096), 16)[0]]", "EPERM"),
        Attempt("make a tunnel", "os.open('/dev/net/tun', os.O_RDWR)", "ENOENT"),
        Attempt("replace the packet filter", "socket.socket().setsockopt(0, 64, bytes(96))", "EPERM|ENOPROTOOPT"),
        Attempt("mark its packets", "socket.socket().setsockopt(socket.SOL_SOCKET, 36, 1)", "EPERM"),
        Attempt("take addresses that are not its own", "socket.socket().setsockopt(0, 19, 1)", "EPERM"),
        Attempt("take a buffer beyond the limit", "socket.socket().setsockopt(socket.SOL_SOCKET, 33, 1 << 30)", "EPERM"),
        Attempt("take over connections", "socket.socket().setsockopt(6, 19, 1)", "EPERM"),
        Attempt("reach the Runtime API's port for itself", "socket.create_server(('127.0.0.1', 9001))", "EADDRINUSE"),
        Attempt("share the Runtime API's port", "sock = socket.socket()\nsock.setsockopt(1, 15, 1)\nsock.setsockopt(1, 2, 1)\nresult = sock.bind(('127.0.0.1', 9001))", "EADDRINUSE"),
        Attempt("reach the metadata service", "connect(('169.254.169.254', 80))", "ENETUNREACH|EHOSTUNREACH|TimeoutError"),
        Attempt("reach another address of the link", "connect(('169.254.100.2', 4566))", "ENETUNREACH|EHOSTUNREACH|TimeoutError"),
        Attempt("reach another port of lambdad's address", "connect(('169.254.100.1', 22))", "ECONNREFUSED"),
        Attempt("reach the machine's secure shell", "connect(('127.0.0.1', 22))", "ECONNREFUSED"),
        Attempt("reach the Internet", "connect(('192.0.2.1', 443))", "ENETUNREACH|EHOSTUNREACH|TimeoutError"),
        Attempt("reach the network over IPv6", "connect(('2001:db8::1', 443), socket.AF_INET6)", "ENETUNREACH|EADDRNOTAVAIL|EHOSTUNREACH"),
        Attempt("see Unix sockets of others", "[line.split()[-1] for line in open('/proc/net/unix').read().splitlines()[1:] if '/' in line or '@' in line]", "[]"),
        Attempt("reach systemd's abstract socket", "connect('\\0/org/freedesktop/systemd1/notify', socket.AF_UNIX)", "ECONNREFUSED"),
    ],
    "What it inherits": [
        Attempt("find descriptors beside its own three, and those of this attempt",
                "[l for l in (os.readlink('/proc/self/fd/' + f) for f in os.listdir('/proc/self/fd') if int(f) > 2 and os.path.exists('/proc/self/fd/' + f)) if not l.startswith(('pipe:', '/proc/', 'socket:'))]", "[]"),
        Attempt("find the worker's variables", "[name for name in os.environ if name.startswith(('LAMBDAD', 'PYTEST', 'VIRTUAL', 'PYENV', 'SSH', 'SUDO', 'HOME'))]", "[]"),
        Attempt("find the worker's variables in its first memory", "[word for word in read('/proc/self/environ', 1 << 20).split('\\0') if word.startswith(('LAMBDAD', 'PYTEST', 'VIRTUAL', 'SSH', 'SUDO'))]", "[]"),
        Attempt("find who started it in its auxiliary vector", "b'lambdad' in open('/proc/self/auxv', 'rb').read()", "false"),
        Attempt("find lambdad's modules", "[name for name in sys.modules if name.partition('.')[0] in ('lambdad', 'inside', '__preloaded__')]", "[]"),
        Attempt("find where its cgroup is", "[line for line in open('/proc/self/cgroup').read().splitlines() if not line.endswith(':/')]", "[]"),
        Attempt("find cgroups to write to", "[line for line in open('/proc/self/mountinfo') if ' - cgroup' in line]", "[]"),
        Attempt("find a release agent", "glob.glob('/sys/fs/cgroup/*/release_agent')", "[]"),
        Attempt("find a mount that is writable and not its own",
                "[line.split()[4] for line in open('/proc/self/mountinfo') if 'ro' not in line.split()[5].split(',') and line.split()[4] not in ('/tmp', '/dev/shm')"
                " and not line.split()[4].startswith(('/dev/', '/proc'))]", "[]"),
        Attempt("find a mount without nosuid", "[line.split()[4] for line in open('/proc/self/mountinfo') if 'nosuid' not in line.split()[5].split(',') and not line.split()[4].startswith(('/proc/', '/dev/'))]", "[]"),
    ],
}
# fmt: on


def attempts() -> list[Attempt]:
    """Return all attempts, area by area."""
    return [one for area in AREAS.values() for one in area]


def pairs() -> list[list[str]]:
    """Return what `tried` takes."""
    return [[one.name, one.code] for one in attempts()]


def wrong(outcomes: dict[str, object]) -> dict[str, tuple[object, str]]:
    """Return those that came to anything but what is meant, as (outcome, meant)."""
    found = {}
    for one in attempts():
        outcome = outcomes.get(one.name, "not tried")
        text = outcome if isinstance(outcome, str) else json.dumps(outcome)
        if text not in one.refusal.split("|"):
            found[one.name] = (outcome, one.refusal)
    return found

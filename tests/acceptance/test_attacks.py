"""Function code that wants out, or wants more than its share: each attempt, through a real invocation, and what becomes of it.

The functions here are what a stranger might deploy. Each test says what must be refused and how, and that a neighbour lives on.
What takes one line to try is in `attack_table.py`.
"""

import concurrent.futures
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Functions, Lambdad  # type: ignore[import-not-found]
from lambdad.sandbox import seccomp_policy

NUMBERS = seccomp_policy.MACHINES[os.uname().machine].numbers if os.uname().machine in seccomp_policy.MACHINES else {}
REFUSED = {"EPERM", "EACCES", "ENOSYS"}

# The beginning of every attacker: a raw system call that says its error by name, and an attempt that says its exception.
TOOLS = """
import ctypes, errno, glob, os, signal, socket, stat, struct, subprocess, sys, threading, time
_libc = ctypes.CDLL(None, use_errno=True)
def syscall(number, *words):
    ctypes.set_errno(0)
    result = _libc.syscall(ctypes.c_long(number), *[ctypes.c_char_p(w) if isinstance(w, bytes) else ctypes.c_long(w) for w in words])
    return 'done' if result >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(work, *words):
    try:
        result = work(*words)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error)) if error.errno else type(error).__name__
    return result if isinstance(result, (str, int, list, dict, type(None))) else 'done'
def status(*names):
    fields = dict(line.split(':', 1) for line in open('/proc/self/status'))
    return [fields[name].strip() for name in names]
"""


@pytest.fixture
def attack(functions: Functions, fenced: None) -> Callable[..., str]:
    """Deploy an attacker: the body of a handler, after `TOOLS`."""

    def deploy(body: str, *, before: str = "", **options: Any) -> str:
        lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
        return functions.deploy(
            f"{TOOLS}\n{before}\ndef handler(event, context):\n{lines}", **{"Timeout": 20, "MemorySize": 512, **options}
        )

    return deploy


def answered(functions: Functions, name: str, event: Any = None) -> Any:
    """Invoke an attacker that must come to its end; return what it tells."""
    answer = functions.invoke(name, event)
    assert "FunctionError" not in answer, answer["Payload"]
    return answer["Payload"]


@pytest.fixture
def limited(lambdad: Lambdad) -> None:
    """Skip where there are no cgroups to limit anything by."""
    if "memory" not in lambdad.health()["worker"]["isolation"] or "pids" not in lambdad.health()["worker"]["isolation"]:
        pytest.skip("no memory and pids cgroups here")


@pytest.fixture
def neighbour(functions: Functions) -> Callable[[], None]:
    """A warm function that must go on as if nothing were; call it to see that it does, in the same environment."""
    name = functions.deploy("import os\nkey = os.urandom(8).hex()\ndef handler(event, context):\n    return [key, event]\n")
    key = functions.invoke(name)["Payload"][0]

    def lives() -> None:
        assert functions.invoke(name, "there?")["Payload"] == [key, "there?"]

    lives()
    return lives


# 1. Reading what belongs to others.


def test_the_data_directory_cannot_be_read(functions: Functions, attack: Callable[..., str], lambdad: Lambdad):
    """Neither the data directory nor another function's code is anywhere in what a function sees."""
    secret = f"secret-{os.urandom(8).hex()}"
    other = functions.deploy({"app.py": "def handler(event, context):\n    return 1\n", "treasure.txt": secret})
    assert functions.invoke(other)["Payload"] == 1
    name = attack(
        """
found, opened = [], 0
for place in ('/var', '/opt', '/mnt', '/run', '/tmp', '/etc', '/dev', '/root', '/home', '/srv', '/media', '/boot', '/sys', '/proc/1/root',
              '/proc/1/cwd', '/proc/self/root/mnt', '/proc/self/task'):
    for folder, _, names in os.walk(place):
        for name in names:
            path = os.path.join(folder, name)
            if folder.startswith(('/var/lang', '/var/runtime')):
                continue
            if name == 'treasure.txt':
                found.append(path)
            try:
                if not stat.S_ISREG(os.lstat(path).st_mode):
                    continue
                with open(path, 'rb') as file:
                    opened += 1
                    if event['secret'].encode() in file.read(1 << 20):
                        found.append(path)
            except OSError:
                pass
return {'found': found, 'opened': opened, 'data': [attempt(os.listdir, path) for path in event['paths']],
        'dots': attempt(os.listdir, '/var/task/../../mnt/code'), 'task': sorted(os.listdir('/var/task')),
        'mnt': attempt(os.listdir, '/mnt/code')}
"""
    )
    paths = [str(path) for path in (lambdad.data_dir, *lambdad.data_dir.iterdir(), Path.home() / ".ssh")]
    told = answered(functions, name, {"secret": secret, "paths": paths})
    assert told["found"] == [] and told["opened"] > 3
    assert set(told["data"]) <= {"ENOENT", "EACCES"}
    assert told["task"] == ["__pycache__", "app.py"] or told["task"] == ["app.py"]
    assert told["mnt"] in ([], "ENOENT", "EACCES") and told["dots"] in ([], "ENOENT", "EACCES")


def test_nothing_of_the_worker_is_inherited(functions: Functions, attack: Callable[..., str], own_lambdad: Callable[..., Lambdad]):
    """The worker's variables, descriptors and arguments do not reach a function."""
    name = attack(
        """
fds = {}
for fd in os.listdir('/proc/self/fd'):
    try:
        fds[fd] = os.readlink('/proc/self/fd/' + fd)
    except OSError:
        pass  # the listing's own
return {'env': dict(os.environ), 'fds': fds,
        'init': [attempt(lambda: open('/proc/1/' + name, 'rb').read().decode()) for name in ('environ', 'maps', 'mem')],
        'links': [attempt(os.readlink, '/proc/1/' + name) for name in ('exe', 'cwd', 'root')], 'fd1': attempt(os.listdir, '/proc/1/fd'),
        'modules': sorted(name for name in sys.modules if 'lambdad' in name or name in ('inside', '__preloaded__')), 'argv': sys.argv}
"""
    )
    told = answered(functions, name)
    assert not [key for key in told["env"] if key.startswith(("LAMBDAD", "PYTEST", "VIRTUAL", "HOME", "PYENV"))]
    for fd, target in told["fds"].items():
        assert re.match(r"/dev/null|pipe:|socket:|anon_inode:|/proc/", target), (fd, target)
    assert set(told["fds"]) >= {"0", "1", "2"} and len(told["fds"]) <= 6
    assert set(told["init"]) <= {"EACCES", "EPERM", "ENOENT"} and set(told["links"]) <= {"EACCES", "EPERM", "ENOENT"}
    assert told["fd1"] in ("EACCES", "EPERM", "ENOENT") and told["modules"] == []
    assert not any("lambdad" in word or "data" in word for word in told["argv"])


# 2. Writing where nothing is to be written.


def test_only_tmp_can_be_written(functions: Functions, attack: Callable[..., str]):
    """In the whole tree a file can be made in /tmp and in shared memory, and nowhere else; files that are there stay as they are."""
    name = attack(
        """
writable, seen, changed = [], 0, []
for folder, folders, names in os.walk('/'):
    if folder == '/':
        folders.remove('proc')
    if folder.count('/') > 5:
        folders.clear()
    seen += 1
    path = os.path.join(folder, '.attack')
    if attempt(lambda: os.close(os.open(path, os.O_CREAT | os.O_WRONLY))) in (None, 'done'):
        writable.append(folder)
for path in ('/etc/passwd', '/etc/hosts', '/etc/resolv.conf', '/var/task/app.py', '/var/runtime/bootstrap.py', '/bin/sh', '/usr/bin/env',
             '/proc/sys/kernel/hostname', '/proc/sys/vm/drop_caches', '/proc/sysrq-trigger', '/proc/1/oom_score_adj', '/proc/self/uid_map',
             '/proc/self/cgroup', '/dev/null/x', sys.executable):
    if attempt(lambda: os.write(os.open(path, os.O_WRONLY | os.O_APPEND), b'x')) == 1:
        changed.append(path)
moved = [attempt(os.rename, '/var/task/app.py', '/tmp/app.py'), attempt(os.unlink, '/var/task/app.py'),
         attempt(os.chmod, '/var/task/app.py', 0o777),
         attempt(os.rename, '/tmp', '/tmp2'), attempt(os.rmdir, '/var/task'), attempt(os.symlink, '/etc', '/var/task/etc')]
return {'writable': writable, 'seen': seen, 'changed': changed, 'moved': moved}
"""
    )
    told = answered(functions, name)
    assert set(told["writable"]) <= {"/tmp", "/dev/shm"} and "/tmp" in told["writable"] and told["seen"] > 50
    assert told["changed"] == []
    assert set(told["moved"]) <= {"EROFS", "EXDEV", "EBUSY", "EACCES", "EPERM"}


# 3. Filling things.


def test_filling_tmp(functions: Functions, attack: Callable[..., str], neighbour: Callable[[], None]):
    """/tmp ends at EphemeralStorage: ENOSPC, and the function goes on."""
    name = attack(
        """
written, ended = 0, ''
try:
    with open('/tmp/fill', 'wb', buffering=0) as file:
        block = bytes(1 << 20)
        while written < 1 << 31:
            written += file.write(block)
except OSError as error:
    ended = errno.errorcode[error.errno]
big = attempt(lambda: os.posix_fallocate(os.open('/tmp/big', os.O_CREAT | os.O_WRONLY), 0, 1 << 40))
os.unlink('/tmp/fill')
return [written >> 20, ended, big, os.statvfs('/tmp').f_blocks * os.statvfs('/tmp').f_frsize >> 20]
""",
        MemorySize=128,
        EphemeralStorage={"Size": 512},
    )
    written, ended, big, size = functions.invoke(name)["Payload"]
    assert ended == "ENOSPC" and size == 512 and 500 <= written <= 512 and big in ("ENOSPC", "EFBIG")
    neighbour()


@pytest.mark.usefixtures("limited")
def test_filling_memory(functions: Functions, attack: Callable[..., str], neighbour: Callable[[], None]):
    """The function alone is killed: ExitError for the caller, OutOfMemory and the true figure in its log; the next invocation is served."""
    name = attack(
        """
if event == 'eat':
    eaten = []
    while True:
        eaten.append(b'x' * (1 << 20))
if event == 'shm':
    with open('/dev/shm/fill', 'wb', buffering=0) as file:
        while True:
            file.write(bytes(1 << 20))
return 'well'
""",
        MemorySize=128,
    )
    answer = functions.invoke(name, "eat", LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert answer["FunctionError"] == "Unhandled"
    assert answer["Payload"] == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {request_id} Error: Runtime exited with error: signal: killed",
    }
    report = answer["LogResult"].splitlines()[-1]
    assert "\tMemory Size: 128 MB\t" in report and "\tStatus: error\tError Type: Runtime.OutOfMemory\t" in report
    used = int(re.search(r"Max Memory Used: (\d+) MB", report)[1])  # type: ignore[index]
    assert 120 <= used <= 128
    neighbour()
    assert functions.invoke(name)["Payload"] == "well"
    shared = functions.invoke(name, "shm")
    assert shared["FunctionError"] == "Unhandled"  # its own size or the function's memory, whichever is smaller
    assert functions.invoke(name)["Payload"] == "well"
    neighbour()


@pytest.mark.usefixtures("limited")
def test_a_child_that_fills_memory(functions: Functions, attack: Callable[..., str]):
    """Memory is counted over all processes of the environment."""
    name = attack(
        """
code = "eaten = []\\nwhile True: eaten.append(b'x' * (1 << 20))"
children = [subprocess.Popen([sys.executable, '-c', code]) for _ in range(2)]
return [child.wait() for child in children]
""",
        MemorySize=128,
    )
    answer = functions.invoke(name, LogType="Tail")
    if "FunctionError" in answer:  # the kernel may choose the runtime
        assert answer["Payload"]["errorType"] == "Runtime.ExitError"
    else:
        assert answer["Payload"] == [-9, -9]


@pytest.mark.usefixtures("limited")
def test_filling_the_process_table(functions: Functions, attack: Callable[..., str], neighbour: Callable[[], None]):
    """A fork bomb ends at the environment's own limit while a neighbour is served, and is gone with the invocation."""
    marker = f"bomb-{os.urandom(6).hex()}"
    name = attack(
        """
if event == 'count':
    count = 0
    try:
        while count < 5000:
            if os.fork() == 0:
                signal.pause()
            count += 1
    except OSError as error:
        return [count, errno.errorcode[error.errno]]
if event:
    with open('/proc/self/comm', 'w') as file:
        file.write(event[:15])
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)
return len([name for name in os.listdir('/proc') if name.isdigit()])
""",
        Timeout=2,
        MemorySize=3008,
    )
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        bomb = pool.submit(functions.invoke, name, marker)
        while not bomb.done():
            neighbour()
    assert bomb.result()["Payload"]["errorType"] == "Sandbox.Timedout"
    assert functions.invoke(name)["Payload"] <= 5
    assert not _processes(marker[:15])
    functions.client.update_function_configuration(FunctionName=name, Timeout=30)
    functions.settle(name)
    count, error = answered(functions, name, "count")
    assert 100 <= count <= 1024 and error == "EAGAIN"
    neighbour()


def _processes(name: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and name in (entry / "comm").read_text() + (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except OSError:
            pass
    return found


@pytest.mark.usefixtures("limited")
def test_filling_descriptors_threads_and_addresses(functions: Functions, attack: Callable[..., str], neighbour: Callable[[], None]):
    """Open files, threads, locked memory and limits end where AWS's do."""
    name = attack(
        """
import resource
files, threads, ended = [], 0, []
try:
    while True:
        files.append(open('/dev/null'))
except OSError as error:
    ended.append(errno.errorcode[error.errno])
count = len(files)
files.clear()
event = threading.Event()
try:
    while threads < 3000:
        threading.Thread(target=event.wait, daemon=True).start()
        threads += 1
except RuntimeError as error:
    ended.append('RuntimeError')
event.set()
def raised(what):
    try:
        resource.setrlimit(what, (1 << 20, 1 << 20))
    except (OSError, ValueError) as error:
        return 'refused'
limits = (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_MEMLOCK)
return [count, threads, ended, [raised(limit) for limit in limits]]
""",
        MemorySize=1024,
    )
    files, threads, ended, raised = functions.invoke(name)["Payload"]
    assert 900 <= files <= 1024 and 100 <= threads <= 1024 and ended == ["EMFILE", "RuntimeError"] and raised == ["refused"] * 3
    neighbour()


@pytest.mark.timeout(60)
def test_a_flood_of_logs(functions: Functions, attack: Callable[..., str], neighbour: Callable[[], None], lambdad: Lambdad):
    """A function that writes as fast as it can is not stopped, the worker stays small, and others are served."""
    name = attack(
        """
end = time.time() + 1.5
line = (b'x' * 999 + b'\\n') * 60
written = 0
while time.time() < end:
    written += os.write(1, line)
os.write(2, b'y' * 2000000)
return written
""",
        MemorySize=1769,
    )
    worker = lambdad.pids()["worker"]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        flood = pool.submit(functions.invoke, name, None, LogType="Tail")
        slowest_s = 0.0
        while not flood.done():
            began_s = time.monotonic()
            neighbour()
            slowest_s = max(slowest_s, time.monotonic() - began_s)
    answer = flood.result()
    assert answer["Payload"] > 1_000_000 and len(answer["LogResult"]) <= 4096
    assert slowest_s < 5
    resident_mib = (
        next(int(line.split()[1]) for line in Path(f"/proc/{worker}/status").read_text().splitlines() if line.startswith("VmRSS")) / 1024
    )
    assert resident_mib < 150
    neighbour()


# 4. Reaching what is not for functions.


def test_reaching_the_worker_and_the_host(functions: Functions, attack: Callable[..., str], lambdad: Lambdad):
    """The worker's socket, the API's port and the host's other services cannot be reached; the endpoint for AWS's APIs can."""
    with socket.create_server(("127.0.0.1", 0)) as loopback, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0lambdad-attack-" + os.urandom(4).hex())
        abstract.listen()
        name = attack(
            """
def reach(address, family=socket.AF_INET):
    with socket.socket(family) as sock:
        sock.settimeout(1)
        try:
            sock.connect(tuple(address) if isinstance(address, list) else address)
        except TimeoutError:
            return 'timeout'
        except OSError as error:
            return errno.errorcode.get(error.errno, type(error).__name__)
        return 'reached'
def open_family(*words):
    try:
        socket.socket(*words).close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return 'done'
return {
    'api': reach(['127.0.0.1', event['port']]), 'loopback': reach(['127.0.0.1', event['loopback']]),
    'hosts': [reach([host, port]) for host in event['hosts'] for port in (event['port'], event['loopback'], 22)],
    'outside': reach(['192.0.2.1', 80]),
    'others': [reach(['169.254.100.1', port]) for port in (9001, 22, event['port'], event['loopback'])],
    'gateway': [reach([f'169.254.100.{n}', 4566]) for n in (2, 3, 254)], 'metadata': reach(['169.254.169.254', 80]),
    'endpoint': reach(['169.254.100.1', 4566]), 'runtime': reach(['127.0.0.1', 9001]),
    'socket': [reach(path, socket.AF_UNIX) for path in event['sockets']], 'abstract': reach('\\0' + event['abstract'], socket.AF_UNIX),
    'seen': [line.split()[-1] for line in open('/proc/net/unix').read().splitlines()[1:] if '/' in line or '@' in line],
    'families': [open_family(*one) for one in ((17, 3), (2, 3, 1), (40, 1), (38, 5), (16, 3, 9), (1, 1))],
    'interfaces': [name for _, name in socket.if_nameindex()],
}
"""
        )
        addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
        port = int(lambdad.url.rpartition(":")[2])
        sockets = [str(path) for path in lambdad.data_dir.rglob("*.sock")]
        assert sockets
        event = {
            "port": port, "loopback": loopback.getsockname()[1], "hosts": sorted(addresses), "sockets": sockets,
            "abstract": abstract.getsockname()[1:].decode(),
        }  # fmt: skip
        told = answered(functions, name, event)
    nothing = {"ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH", "timeout", "EACCES", "EPERM"}
    assert told["api"] == "ECONNREFUSED" and told["loopback"] == "ECONNREFUSED"
    assert set(told["hosts"]) <= nothing and told["outside"] in nothing and told["metadata"] in nothing
    assert set(told["others"]) == {"ECONNREFUSED"} and set(told["gateway"]) <= nothing
    assert (told["endpoint"], told["runtime"]) == ("reached", "reached")
    assert set(told["socket"]) <= {"ENOENT", "EACCES"} and told["abstract"] == "ECONNREFUSED"
    assert told["seen"] == []
    packet, raw, vsock, algorithms, netlink_audit, unix = told["families"]
    assert unix == "done"
    assert {packet, raw, vsock, algorithms, netlink_audit} <= REFUSED | {"EAFNOSUPPORT", "ESOCKTNOSUPPORT", "EPROTONOSUPPORT"}
    assert set(told["interfaces"]) <= {
        "lo",
        "sandbox",
        "tunl0",
        "sit0",
        "ip6tnl0",
        "gre0",
        "gretap0",
        "erspan0",
        "ip_vti0",
        "ip6_vti0",
        "ip6gre0",
        "dummy0",
    }


def test_reaching_another_environments_runtime_api(functions: Functions, attack: Callable[..., str]):
    """Two environments at once speak each to its own Runtime API; the other's request id is unknown there."""
    name = attack(
        """
import http.client, json
if event.get('id') is None:
    time.sleep(1)
    return 'mine'
connection = http.client.HTTPConnection('127.0.0.1', 9001)
connection.request('POST', f"/2018-06-01/runtime/invocation/{event['id']}/response", b'"stolen"')
response = connection.getresponse()
return [response.status, json.loads(response.read())['errorType']]
"""
    )
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        seen: list[str] = []
        victim = pool.submit(functions.invoke, name, {})
        while not seen and not victim.done():
            seen = [line.split()[2] for line in _lines(functions, name) if line.startswith("START")]
        thief = functions.invoke(name, {"id": seen[0]})
        assert thief["Payload"] == [400, "InvalidRequestID"]
        assert victim.result()["Payload"] == "mine"


def _lines(functions: Functions, name: str) -> list[str]:
    try:
        return [event["message"] for event in functions.logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]]
    except functions.logs.exceptions.ResourceNotFoundException:
        return []


def test_signals_and_tracing(functions: Functions, attack: Callable[..., str], neighbour: Callable[[], None], lambdad: Lambdad):
    """No process but its own can be seen, signalled, traced or read: not pid 1, not the worker, not a neighbour."""
    name = attack(
        """
n = event['numbers']
buffer = ctypes.create_string_buffer(64)
class Iov(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]
def read_memory(pid):
    near, far = Iov(ctypes.addressof(buffer), 64), Iov(0x400000, 64)
    return syscall(n['process_vm_readv'], pid, ctypes.addressof(near), 1, ctypes.addressof(far), 1, 0)
own = [int(name) for name in os.listdir('/proc') if name.isdigit()]
pidfd = attempt(os.pidfd_open, 1)
return {
    'own': own, 'me': os.getpid(), 'far': [attempt(os.kill, pid, 0) for pid in event['pids'] if pid not in own],
    'one': [attempt(os.kill, 1, number) for number in event['signals']],
    'queue': event['signals'] and syscall(n['rt_sigqueueinfo'], 1, 15, ctypes.addressof(buffer)),
    'attach': [syscall(n['ptrace'], request, 1, 0, 0) for request in (16, 0x4206)], 'traceme': syscall(n['ptrace'], 0, 0, 0, 0),
    'memory': [read_memory(1), syscall(n['kcmp'], 1, os.getpid(), 0, 0, 0)], 'mem': attempt(lambda: open('/proc/1/mem', 'rb')),
    'pidfd': syscall(n['pidfd_getfd'], pidfd, 1, 0) if isinstance(pidfd, int) else pidfd,
}
"""
    )
    pids = [*lambdad.pids().values(), os.getpid(), *(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())]
    # An ordinary user has one user id to give: there a function may end its own fence, see the next test.
    signals = [0, 15, 9, 19] if lambdad.health()["worker"]["isolation"].startswith("namespaces") else []
    event = {"numbers": NUMBERS, "pids": sorted(set(pids) - {1, 2}), "signals": signals}
    told = answered(functions, name, event)
    assert set(told["own"]) <= {1, told["me"]} and set(told["far"]) == {"ESRCH"}
    assert set(told["one"]) <= {"EPERM", "ESRCH"} and (not signals or told["queue"] in REFUSED | {"ESRCH"})
    assert set(told["attach"]) <= REFUSED and told["traceme"] in REFUSED
    assert set(told["memory"]) <= REFUSED and told["mem"] in REFUSED | {"ENOENT"} and told["pidfd"] in REFUSED | {"EBADF"}
    neighbour()
    assert answered(functions, name, {**event, "pids": []})["me"] == told["me"]


def test_ending_its_own_fence(functions: Functions, attack: Callable[..., str], neighbour: Callable[[], None]):
    """A function that kills what it can reach, process 1 among it, harms its own invocations at most; those after it are served."""
    name = attack(
        """
if event:
    def kill():
        for pid in (1, -1):
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
                attempt(os.kill, pid, number)
    threading.Timer(0.01 * (event % 3), kill).start()
    time.sleep(0.01 * (event % 2))
return 'well'
"""
    )
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(functions.client.invoke, FunctionName=name, Payload=str(n)) for n in range(1, 41)]
        neighbour()
    failures = [error for call in calls if (error := call.exception())]
    assert all(getattr(error, "response", {}).get("Error", {}).get("Code") == "ServiceException" for error in failures), failures
    neighbour()
    assert answered(functions, name, 0) == "well"


# 5. Becoming more than one is.


def test_the_machine_cannot_be_seen(functions: Functions, attack: Callable[..., str]):
    """/proc shows this environment and hides the machine's memory, keys and log; there is no /sys; names are the sandbox's."""
    name = attack(
        """
def content(path):
    return attempt(lambda: open(path, 'rb').read(200).decode('latin-1'))
return {
    'masked': {path: content('/proc/' + path) for path in
               'kcore keys kmsg kallsyms timer_list sysrq-trigger sched_debug slabinfo modules'.split()},
    'sys': attempt(os.listdir, '/sys'), 'cgroup': content('/proc/self/cgroup'), 'host': socket.gethostname(),
    'mounts': open('/proc/mounts').read(),
    'sysctl': attempt(lambda: os.write(os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY), b'|/tmp/x')),
    'ipc': open('/proc/sysvipc/shm').read() if os.path.exists('/proc/sysvipc/shm') else '',
}
"""
    )
    told = answered(functions, name)
    assert set(told["masked"].values()) <= {"", "ENOENT", "EACCES", "EPERM"}, told["masked"]
    assert told["sys"] in ("ENOENT", []) and all(line.endswith(":/") for line in told["cgroup"].splitlines())
    assert told["host"] != socket.gethostname() and told["sysctl"] in {"EROFS", "EACCES", "EPERM"} and len(told["ipc"].splitlines()) <= 1
    for line in told["mounts"].splitlines():
        _, target, _, options = line.split()[:4]
        assert "ro" in options.split(",") or target in ("/tmp", "/dev/shm") or target.startswith(("/dev/", "/proc")), line
        assert target.startswith(("/dev/", "/proc/")) or target in ("/",) or "nosuid" in options, line


def test_environments_share_no_memory(functions: Functions, attack: Callable[..., str]):
    """Shared memory, semaphores, queues, files in /tmp and abstract sockets of one environment are not there in another."""
    body = """
import multiprocessing.shared_memory as shared
n = event['numbers']
if event['write']:
    segment = shared.SharedMemory('attack', create=True, size=16)
    key = _libc.shmget(4711, 4096, 0o1666)
    open('/tmp/attack', 'w').close()
    server = globals()['server'] = socket.socket(socket.AF_UNIX)
    server.bind('\\0attack')
    server.listen()
    return ['written', key >= 0]
with socket.socket(socket.AF_UNIX) as sock:
    reached = attempt(sock.connect, '\\0attack')
return [attempt(lambda: shared.SharedMemory('attack')), _libc.shmget(4711, 4096, 0), os.listdir('/tmp'), reached]
"""
    writer, reader = attack(body), attack(body)
    assert functions.invoke(writer, {"numbers": NUMBERS, "write": True})["Payload"] == ["written", True]
    assert functions.invoke(reader, {"numbers": NUMBERS, "write": False})["Payload"] == ["ENOENT", -1, [], "ECONNREFUSED"]


# 6. Living longer than one may.


@pytest.fixture
def hasty(own_lambdad: Callable[..., Lambdad]) -> Lambdad:
    """A lambdad that freezes and ends idle environments soon."""
    running = own_lambdad(environment={"LAMBDAD_FREEZE_AFTER_S": "0.2", "LAMBDAD_KEEP_ALIVE_S": "2"})
    if running.health()["worker"]["isolation"].startswith("plain"):
        pytest.skip("functions are not fenced in here")
    return running


def test_surviving_the_freeze(hasty: Lambdad):
    """Threads and children stand still between invocations, go on with the next, and end with the environment."""
    marker = f"daemon-{os.urandom(6).hex()}"
    functions = Functions(hasty, "freeze")
    name = functions.deploy(
        f"{TOOLS}\nticks = []\n"
        "def tick():\n    while True:\n        ticks.append(time.monotonic())\n        time.sleep(0.005)\n"
        "threading.Thread(target=tick, daemon=True).start()\n"
        "code = '''import os, time\nos.setsid()\nif os.fork():\n    os._exit(0)\n"
        "while True:\n    open('/tmp/ticks', 'a').write(f'{time.monotonic()}\\\\n')\n    time.sleep(0.005)'''\n"
        f"subprocess.run([sys.executable, '-c', code, '{marker}'])\n"
        "def handler(event, context):\n"
        "    time.sleep(0.1)\n    child = [float(line) for line in open('/tmp/ticks')]\n    gaps = []\n"
        "    for times in (ticks, child):\n        longest = max(b - a for a, b in zip(times, times[1:]))\n"
        "        gaps.append([len(times), longest, time.monotonic() - times[-1]])\n"
        "    return [time.monotonic(), gaps]\n",
        MemorySize=512,
        Timeout=10,
    )
    first_s, gaps = functions.invoke(name)["Payload"]
    assert all(count > 5 and recent < 0.1 for count, _, recent in gaps)
    time.sleep(1.5)
    second_s, gaps = functions.invoke(name)["Payload"]
    asleep_s = second_s - first_s - 0.1
    for count, longest_s, recent_s in gaps:
        assert longest_s > asleep_s - 0.8 and count > 30 and recent_s < 0.1, (longest_s, asleep_s, recent_s)
    assert _processes(marker)
    for _ in range(150):  # idle for longer than keep-alive: the environment goes, daemon and all
        if not _processes(marker):
            break
        time.sleep(0.05)
    assert not _processes(marker)
    assert hasty.health()["status"] == "ok"


def test_a_daemon_ends_with_its_runtime(functions: Functions, attack: Callable[..., str]):
    """What a function leaves behind is gone after its runtime has been reset, and after the function is deleted."""
    marker = f"left-{os.urandom(6).hex()}"
    name = attack(
        """
if event:
    deaf = 'for n in set(range(1, 32)) - {9, 19}: signal.signal(n, signal.SIG_IGN)'
    code = 'import os, time, signal\\nos.setsid()\\n' + deaf + '\\ntime.sleep(300)'
    subprocess.Popen([sys.executable, '-c', code, event], stdin=subprocess.DEVNULL)
    time.sleep(0.05)
if event and event.endswith('die'):
    os._exit(1)
return len([name for name in os.listdir('/proc') if name.isdigit()])
"""
    )
    functions.invoke(name, f"{marker}-die")
    assert functions.invoke(name)["Payload"] == 1 and not _processes(marker)
    assert functions.invoke(name, marker)["Payload"] == 2 and _processes(marker)
    functions.client.delete_function(FunctionName=name)
    for _ in range(200):
        if not _processes(marker):
            break
        time.sleep(0.02)
    assert not _processes(marker)


def test_stopping_itself(functions: Functions, attack: Callable[..., str]):
    """A runtime that stops itself, blocks every signal or holds its output open is ended by its timeout like any other."""
    name = attack(
        """
signal.pthread_sigmask(signal.SIG_SETMASK, set(range(1, 65)) - {9, 19})
for number in range(1, 32):
    if number not in (9, 19):
        signal.signal(number, signal.SIG_IGN)
if event:
    if os.fork() == 0:
        time.sleep(300)
    os.kill(os.getpid(), signal.SIGSTOP)
return 'well'
""",
        Timeout=1,
    )
    answer = functions.invoke(name, 1)
    assert answer["Payload"]["errorType"] == "Sandbox.Timedout"
    assert functions.invoke(name, 0)["Payload"] == "well"

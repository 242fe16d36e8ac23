"""A runtime process kept as it stands, and copied into other fences: what copies are, what they may not, and what is not kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sandbox_fixtures import needs_root, stage  # noqa: F401
from sandbox_stage import LIMITS, Stage, open_stage, wait_written, written

from lambdad.sandbox import fence, zygote

pytestmark = [
    *needs_root,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="snapshots are kept on x86-64 only"),
    pytest.mark.filterwarnings("default::ResourceWarning"),
]
# As a runtime does: asks on a connection to 127.0.0.1:9001, and waits for the answer.
WAIT = """
s = socket.create_connection(('127.0.0.1', 9001)); s.sendall(b'next')
answer = s.recv(100)
s.close()
assert answer == b'', answer
"""


@dataclass
class Album:
    """A stage on which things are kept and copied."""

    stage: Stage
    connections: list[object] = field(default_factory=list)

    async def keep(self, after: str, before: str = "") -> fence.Sandbox:
        """Run ``before`` in a sandbox and keep it; its copies run ``after``. Raises NotKept."""
        sandbox = await self.stage.start(before + WAIT + after)
        connection, (_, port) = await asyncio.get_running_loop().sock_accept(sandbox.runtime_listener)
        self.connections.append(connection)
        await sandbox.keep(port)
        return sandbox

    async def spawn(self, snapshot: fence.Sandbox) -> fence.Sandbox:
        """Make a fence for a copy."""
        made = await self.stage.zygote.spawn(within=fence.Within(snapshot, "one", None, 16 << 20))
        self.stage.sandboxes.append(made)
        return made

    async def copy(self, snapshot: fence.Sandbox) -> fence.Sandbox:
        made = await self.spawn(snapshot)
        await made.restore(LIMITS)
        return made

    async def run(self, after: str, before: str = "") -> str:
        """Keep something, run one copy of it to its end, and return what the copy has written."""
        made = await self.copy(await self.keep(after, before))
        async with asyncio.timeout(20):
            end = await made.wait_exit()
        text = written(made)
        assert end.code == 0, (end, text)
        return text


@pytest.fixture
async def album(stage: Stage) -> AsyncIterator[Album]:  # noqa: F811
    opened = Album(stage)
    yield opened
    for connection in opened.connections:
        connection.close()  # type: ignore[attr-defined]  # a socket


async def test_a_copy_goes_on_where_the_kept_process_stood(album: Album) -> None:
    """Its memory is the kept one's, its directory, user, output, network and process id are its own."""
    text = await album.run(
        "print(things, os.getcwd(), os.getuid(), os.getgid(), os.getpid() != pid, socket.gethostname())\n"
        "c = socket.socket(); c.connect(('127.0.0.1', 9001)); print('connected')\n"
        "print(open('/var/task/handler.py').read(), os.listdir('/tmp'), os.getsid(0) == os.getpid())",
        "things = {'kept': [1, 2, 3]}; pid = os.getpid()\n",
    )
    assert text == "{'kept': [1, 2, 3]} /var/task 993 990 True 169.254.100.1\nconnected\nNAME = 'one'\n [] True\n"


async def test_a_copy_is_where_the_kept_process_was(album: Album) -> None:
    """In the same directory, with the same umask and signal handlers."""
    text = await album.run(
        "print(os.getcwd(), oct(os.umask(0)), signal.getsignal(signal.SIGUSR1) is handler); os.kill(os.getpid(), signal.SIGUSR1)",
        "def handler(*_): print('handled')\nos.chdir('/tmp'); os.umask(0o27); signal.signal(signal.SIGUSR1, handler)\n",
    )
    assert text == "/tmp 0o27 True\nhandled\n"


async def test_a_copy_has_no_privilege(album: Album) -> None:
    """No capability in any set, no way to get one, the system call filter on, one thread."""
    text = await album.run("print(open('/proc/self/status').read())")
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Threads"], status["TracerPid"]) == ("1", "2", "1", "0")
    assert status["Groups"].split() in ([], ["65534"])


ATTEMPTS = """
def tried(name, work):
    try:
        result = work()
    except OSError as refused:
        result = errno.errorcode[refused.errno]
    print(name, result)
tried('setns', lambda: call(308, os.open('/proc/self/ns/user', os.O_RDONLY), 0))
tried('unshare', lambda: call(272, 0x10000000))
tried('umount', lambda: call(166, b'/proc', 2))
tried('mount', lambda: call(165, b'none', b'/tmp', b'tmpfs', 0, 0))
tried('ptrace', lambda: call(101, 16, 1, 0, 0))
tried('read init', lambda: open('/proc/1/mem', 'rb'))
tried('init namespaces', lambda: os.readlink('/proc/1/ns/mnt'))
tried('signal init', lambda: os.kill(1, signal.SIGTERM))
tried('code store', lambda: [found for found in os.walk('/mnt/code')][0][1:])
tried('setuid', lambda: os.setuid(0))
tried('kernel messages', lambda: open('/proc/kmsg').read(1))
tried('sysctl', lambda: open('/proc/sys/kernel/ns_last_pid', 'w').write('1'))
tried('processes', lambda: len([name for name in os.listdir('/proc') if name.isdigit()]))
tried('process_vm_readv', lambda: call(310, 1, 0, 0, 0, 0, 0))
tried('pidfd_getfd', lambda: call(438, os.pidfd_open(1), 1, 0))
"""


async def test_a_copy_cannot_get_out(album: Album) -> None:
    """A copy's attempts at other namespaces, at its process 1, at the code store and at what is covered fail."""
    text = await album.run(ATTEMPTS)
    results = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("code store"))
    assert results.pop("processes") == "1"
    assert set(results) >= {"setns", "unshare", "umount", "mount", "ptrace", "signal init", "setuid"}
    assert results.pop("kernel messages", "") == ""  # /dev/null is there
    assert {name for name, result in results.items() if result not in ("EPERM", "EACCES", "ENOENT", "EROFS", "EINVAL", "ESRCH")} == set()
    assert "code store ([], [])" in text


async def test_copies_share_no_memory(album: Album) -> None:
    """What one copy changes, no other sees: not one made before, and not one made later."""
    snapshot = await album.keep(
        "c = socket.create_connection(('127.0.0.1', 9001)); word = c.recv(100).decode()\n"
        "things.append(word); heap[:5] = word.encode()[:5]; open('/tmp/' + word, 'w').close()\n"
        "c.recv(100); print(things, bytes(heap[:5]), os.listdir('/tmp'))",
        "things = []; heap = bytearray(20 << 20)\n",
    )
    loop = asyncio.get_running_loop()
    copies = {word: await album.copy(snapshot) for word in ("first", "other")}
    peers = []
    for word, made in copies.items():
        peer, _ = await loop.sock_accept(made.runtime_listener)
        peers.append(peer)
        await loop.sock_sendall(peer, word.encode())
    for peer in peers:
        peer.close()
    for word, made in copies.items():
        await made.wait_exit()
        assert written(made) == f"['{word}'] {word.encode()!r} ['{word}']\n"


async def test_a_copy_cannot_reach_its_siblings(album: Album) -> None:
    """A copy that kills all it can leaves its sibling, its process 1 and the snapshot alone."""
    snapshot = await album.keep(
        "c = socket.create_connection(('127.0.0.1', 9001))\n"
        "if c.recv(1) == b'k':\n"
        "    for pid in [1, *range(2, 40000)]:\n"
        "        if pid != os.getpid(): attempt(lambda: os.kill(pid, 9))\n"
        "    os.kill(-1, 9)\n"
        "print('alive')"
    )
    loop = asyncio.get_running_loop()
    killer, sibling = await album.copy(snapshot), await album.copy(snapshot)
    peers = [(await loop.sock_accept(made.runtime_listener))[0] for made in (killer, sibling)]
    await loop.sock_sendall(peers[0], b"k")
    await killer.wait_exit()
    await loop.sock_sendall(peers[1], b"x")
    assert (await sibling.wait_exit()).code == 0
    assert written(sibling) == "alive\n"
    later = await album.copy(snapshot)
    await later.kill()
    for peer in peers:
        peer.close()


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n", "2 threads"),
        ("subprocess.Popen(['/bin/sleep', '60'])\n", "other processes"),
        ("if os.fork() == 0: os.setsid(); time.sleep(60)\n", "other processes"),
        ("kept = open('/var/task/handler.py')\n", "is open: /var/task/handler.py"),
        ("kept = os.pipe()\n", "is open: pipe"),
        ("kept = socket.socketpair()\n", "is open: socket"),
        ("kept = socket.create_server(('127.0.0.1', 0))\n", "is open: socket"),
        ("os.dup2(1, 7)\n", "descriptor 7 is open"),
        ("os.dup2(os.open('/var/task/handler.py', os.O_RDONLY), 2, False)\n", "is open"),
        ("open('/tmp/file', 'w').close()\n", "has written to /tmp"),
        ("open('/dev/shm/file', 'w').close()\n", "has written to /dev/shm"),
        ("import mmap; kept = mmap.mmap(-1, 4096)\n", "shares memory"),
        ("signal.setitimer(signal.ITIMER_REAL, 60)\n", "set a timer"),
        ("kept = os.memfd_create('x')\n", "is open"),
        ("import select; kept = select.epoll()\n", "is open"),
    ],
)
async def test_what_forking_would_not_copy_is_not_kept(album: Album, before: str, reason: str) -> None:
    """Each kind of state that copies would share or lose is found, and named."""
    with pytest.raises(fence.NotKept, match=reason):
        await album.keep("print('never')", before)


async def test_a_process_that_does_not_wait_is_not_kept(album: Album) -> None:
    """A runtime that goes on instead of waiting for the answer is not stopped in the middle of something."""
    sandbox = await album.stage.start("s = socket.create_connection(('127.0.0.1', 9001)); s.sendall(b'next')\nwhile True: time.sleep(0.01)")
    connection, (_, port) = await asyncio.get_running_loop().sock_accept(sandbox.runtime_listener)
    album.connections.append(connection)
    with pytest.raises(fence.NotKept, match="does something else"):
        await sandbox.keep(port)


async def test_connections_lead_nowhere_in_a_copy(album: Album) -> None:
    """A connection made before the snapshot is found broken afterwards, and neither shared nor closed under its owner's feet."""
    code = (
        "signal.signal(signal.SIGPIPE, signal.SIG_IGN)\n"
        "old = socket.create_connection(('127.0.0.1', 9001))\n" + WAIT + "for use in (lambda: old.recv(10), lambda: old.send(b'x')):\n"
        "    print(attempt(use))\n"
        "print(old.fileno() >= 0); old.close()"
    )
    sandbox = await album.stage.start(code)
    loop = asyncio.get_running_loop()
    for _ in range(2):
        connection, (_, port) = await loop.sock_accept(sandbox.runtime_listener)
        album.connections.append(connection)
    await sandbox.keep(port)
    made = await album.copy(sandbox)
    await made.wait_exit()
    text = written(made)
    assert text.splitlines() == ["ENOTCONN", "EPIPE", "True"]


async def test_endings_are_reported(album: Album) -> None:
    """The exit code, or the signal, of a copy reaches its own sandbox."""
    snapshot = await album.keep(
        "c = socket.create_connection(('127.0.0.1', 9001)); word = c.recv(1)\nos._exit(7) if word == b'e' else os.kill(os.getpid(), 11)"
    )
    loop = asyncio.get_running_loop()
    for word, expected in ((b"e", (7, None)), (b"s", (None, 11))):
        made = await album.copy(snapshot)
        peer, _ = await loop.sock_accept(made.runtime_listener)
        await loop.sock_sendall(peer, word)
        end = await made.wait_exit()
        assert (end.code, end.signal) == expected
        peer.close()


async def test_limits_and_freezing_hold_for_copies(album: Album) -> None:
    """A copy is in cgroups of its own: its memory is limited, and it stands still while it is frozen."""
    greedy = await album.copy(await album.keep("kept = bytearray(300 << 20)"))
    end = await greedy.wait_exit()
    assert end.signal == 9 and end.oom
    ticking = await album.copy(await album.keep("n = 0\nwhile True:\n    n += 1; print(n, flush=True); time.sleep(0.005)"))
    await wait_written(ticking, "3\n")
    ticking.freeze()
    await asyncio.sleep(0.1)
    written(ticking)
    await asyncio.sleep(0.2)
    assert written(ticking) == ""
    ticking.thaw()
    await wait_written(ticking, "\n")


async def test_a_dropped_snapshot_leaves_its_copies_alone(album: Album) -> None:
    """Copies live on, spare fences are of no use any more, and nothing can be restored."""
    snapshot = await album.keep("c = socket.create_connection(('127.0.0.1', 9001)); c.recv(1); print('alive')")
    living, spare = await album.copy(snapshot), await album.spawn(snapshot)
    snapshot.drop_snapshot()
    with pytest.raises(fence.AssignFailed):
        await spare.restore(LIMITS)
    peer, _ = await asyncio.get_running_loop().sock_accept(living.runtime_listener)
    peer.close()
    assert (await living.wait_exit()).code == 0
    assert written(living) == "alive\n"


async def test_nothing_is_left(album: Album) -> None:
    """Whatever way fences of a snapshot end, no process and no cgroup in use remains."""
    snapshot = await album.keep("time.sleep(60)")
    pids = {snapshot.init_pid, snapshot.pid}
    spare, unused, living = await album.spawn(snapshot), await album.spawn(snapshot), await album.copy(snapshot)
    living.freeze()
    pids |= _below(snapshot.init_pid)
    assert len(pids) >= 8  # process 1 and the kept one; three fences; two carriers and a copy
    await spare.kill()
    await snapshot.kill()
    await unused.kill()
    await living.kill()
    assert _living(pids) == []
    assert album.stage.cgroups.statistics().lost == 0
    assert album.stage.cgroups.statistics().in_use == 0


def _living(pids: set[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def _below(pid: int) -> set[int]:
    found: set[int] = set()
    pending = [pid]
    while pending:
        top = pending.pop()
        children = [int(one) for one in Path(f"/proc/{top}/task/{top}/children").read_text().split()]
        found.update(children)
        pending.extend(children)
    return found


async def test_many_at_once(album: Album) -> None:
    """Twenty copies made together all run, each in a fence of its own."""
    snapshot = await album.keep("print(open('/proc/sys/kernel/random/boot_id').read() and os.readlink('/proc/self/ns/net'))")
    copies = await asyncio.gather(*(album.copy(snapshot) for _ in range(20)))
    ends = await asyncio.gather(*(made.wait_exit() for made in copies))
    assert {end.code for end in ends} == {0}
    assert len({written(made) for made in copies}) == 20


async def test_without_root_nothing_is_kept(tmp_path: Path) -> None:
    """Where there is no fence to make others in, that is said."""
    async with open_stage(tmp_path, zygote.Isolation(fenced=False, leaf_user_namespace=False, seccomp=False)) as plain:
        sandbox = await plain.start("time.sleep(60)")
        with pytest.raises(fence.NotKept, match="no fence"):
            await sandbox.keep(1)

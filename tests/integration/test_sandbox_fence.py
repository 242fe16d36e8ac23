"""What a function cannot do: tried from inside, one sandbox per attempt."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from sandbox_fixtures import needs_root, stage  # noqa: F401
from sandbox_stage import Stage, wait_written, written

import attack_table  # type: ignore[import-not-found]
from lambdad.sandbox import syscall_numbers

pytestmark = needs_root
NUMBERS = syscall_numbers.X86_64 if Path("/lib64/ld-linux-x86-64.so.2").exists() else syscall_numbers.AARCH64


def read(path: str) -> str:
    """Return a small file of /proc."""
    return Path(path).read_text()


async def test_attempts_to_get_out_fail(stage: Stage) -> None:  # noqa: F811
    """Every attempt of the table is refused, in the way that was meant."""
    told = "print(json.dumps(tried(json.load(open('/var/task/attempts.json')))))\n"
    task = stage.code_store / "one"
    (task / "attempts.json").write_text(json.dumps(attack_table.pairs()))
    (task / "attack.py").write_text(f"NUMBERS = {NUMBERS!r}\n{attack_table.TOOLS}\n{attack_table.RUNNER}\n{told}")
    end, text = await stage.run("exec(open('/var/task/attack.py').read(), globals())")
    assert end.code == 0, text
    outcomes = json.loads(text)
    assert len(outcomes) == len(attack_table.attempts())
    assert attack_table.wrong(outcomes) == {}


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
        "a, b = socket.socketpair(); b.close(); assert attempt(lambda: a.send(b'x')) == 'EPIPE'\n"
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

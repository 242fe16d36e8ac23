"""Programs beside the runtime process: behind the same fence, with outputs and ends of their own."""

from __future__ import annotations

import asyncio
import errno
import os
import signal

import pytest
from sandbox_fixtures import needs_root, stage  # noqa: F401
from sandbox_stage import LIMITS, Stage, wait_written

from lambdad.sandbox import fence, spec

pytestmark = needs_root


def shell(script: str, **changes: object) -> spec.Program:
    return spec.Program(argv=("/bin/sh", "-c", script), environment={"PATH": "/usr/bin:/bin", "WHO": "beside"}, **changes)  # type: ignore[arg-type]


async def said(launched: fence.Launched) -> str:
    """Return what a program wrote, once it has ended."""
    await launched.wait_exit()
    return os.read(launched.output, 65536).decode()


async def test_a_program_is_behind_the_same_fence(stage: Stage) -> None:  # noqa: F811
    """It has its own output, sees the code and /tmp, is the same user without capabilities, and starts before the runtime process does."""
    sandbox = await stage.spawn()
    assignment = stage.assignment(
        "open('/tmp/late', 'w').write(open('/tmp/early').read())\nprint('main', os.getuid(), flush=True)\ntime.sleep(60)"
    )
    await sandbox.place(assignment)
    script = "ls /var/task; echo x > /tmp/early; id -u; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; pwd; echo $WHO"
    launched = await sandbox.launch(shell(script, cwd="/tmp"), LIMITS)
    lines = (await said(launched)).splitlines()
    assert lines[1:] == ["993", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "/tmp", "beside"]
    await sandbox.assign(assignment)
    assert await wait_written(sandbox, "main 993") == "main 993\n"
    again = await sandbox.launch(shell("cat /tmp/late; ls /mnt/code"), LIMITS)
    assert (await said(again)).startswith("x\n")
    await sandbox.kill()


async def test_ends_and_signals(stage: Stage) -> None:  # noqa: F811
    """How a program ends is told; a signal reaches its whole group, or the runtime process's, and nobody else."""
    sandbox = await stage.start("signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\nprint('up', flush=True)\nwhile True: time.sleep(1)")
    failing = await sandbox.launch(shell("exit 3"), LIMITS)
    assert await failing.wait_exit() == spec.Exit(3, None, False)
    lasting = await sandbox.launch(shell("sleep 60 & wait"), LIMITS)
    other = await sandbox.launch(shell("sleep 60"), LIMITS)
    sandbox.signal(signal.SIGKILL, lasting)
    assert await lasting.wait_exit() == spec.Exit(None, 9, False)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(lasting.output, ended.set)
    await ended.wait()  # when the last of the group has gone
    asyncio.get_running_loop().remove_reader(lasting.output)
    assert os.read(lasting.output, 10) == b""
    await wait_written(sandbox, "up")
    sandbox.signal(signal.SIGTERM)
    assert await sandbox.wait_exit() == spec.Exit(5, None, False)
    await sandbox.stop_runtime()
    assert await other.wait_exit() == spec.Exit(None, 9, False)
    await sandbox.kill()


async def test_a_program_that_cannot_be_started(stage: Stage) -> None:  # noqa: F811
    """The reason is told, and the fence is none the worse for it."""
    sandbox = await stage.start("print('here', flush=True)\ntime.sleep(60)")
    for path, number in (("/nowhere", errno.ENOENT), ("/etc/passwd", errno.EACCES)):
        with pytest.raises(fence.ExecFailed) as refused:
            await sandbox.launch(spec.Program(argv=(path,), environment={}), LIMITS)
        assert refused.value.errno == number
    assert await said(await sandbox.launch(shell("echo fine"), LIMITS)) == "fine\n"
    await sandbox.kill()


async def test_renewed(stage: Stage) -> None:  # noqa: F811
    """Nothing of before runs; programs come first again, and then the runtime process; /tmp is kept."""
    sandbox = await stage.start("open('/tmp/kept', 'w').write('1')\nprint('first', flush=True)\ntime.sleep(60)")
    before = await sandbox.launch(shell("sleep 60"), LIMITS)
    await wait_written(sandbox, "first")
    await sandbox.renew()
    assert before.output == -1 and (await before.wait_exit()).signal == signal.SIGKILL
    assert await said(await sandbox.launch(shell("cat /tmp/kept; ps ax | grep -c '[s]leep'"), LIMITS)) == "10\n"
    await sandbox.assign(stage.assignment("print('second', flush=True)"))
    assert await wait_written(sandbox, "second") == "second\n"
    assert await sandbox.wait_exit() == spec.Exit(0, None, False)
    await sandbox.kill()


async def test_a_socket_into_the_environment(stage: Stage) -> None:  # noqa: F811
    """It connects to what listens in there, and to nothing that listens on the machine."""
    sandbox = await stage.start(
        "listener = socket.create_server(('0.0.0.0', 7000))\nprint('listening', flush=True)\n"
        "peer, _ = listener.accept()\npeer.sendall(b'hello')"
    )
    await wait_written(sandbox, "listening")
    outside = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    with await sandbox.open_socket() as inside:
        await loop.sock_connect(inside, ("169.254.100.1", 7000))
        assert await loop.sock_recv(inside, 100) == b"hello"
    with await sandbox.open_socket() as inside:
        with pytest.raises(ConnectionRefusedError):
            await loop.sock_connect(inside, outside.sockets[0].getsockname())
    outside.close()
    await sandbox.kill()
    with pytest.raises(fence.AssignFailed):
        await sandbox.open_socket()

"""What an ordinary user, or a user of plain processes, gets: run as a program, prints one JSON object.

Run: python sandbox_ordinary_user.py <source directory> <scratch directory> <rootless or plain>
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
sys.path.insert(0, str(Path(__file__).parent))

from sandbox_stage import LIMITS, Stage, open_stage, wait_written, written

from lambdad.sandbox import fence, probe, rootless, spec, zygote

PROBE = """
def outside():
    return {
        "ids": [os.getuid(), os.getgid()],
        "capabilities": [line.split()[1].strip("0") for line in open("/proc/self/status") if line.startswith("Cap")],
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "home": attempt(lambda: os.listdir("/home")),
        "write root": attempt(lambda: open("/x", "w")),
        "write code": attempt(lambda: open("/var/task/x", "w")),
        "write settings": attempt(lambda: open("/proc/sys/net/ipv4/ip_forward", "w")),
        "mount": libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None),
        "unshare": libc.unshare(0x10000000),
        "root": attempt(lambda: os.setuid(0)),
        "kill init": attempt(lambda: os.kill(1, 9)),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "code store": os.listdir("/mnt/code"),
    }
print(json.dumps(outside()))
"""


async def fenced(place: Path, isolation: zygote.Isolation) -> dict[str, object]:
    """Run the probe behind a fence of a user namespace, and walk through an environment's life."""
    async with open_stage(place, isolation) as stage:
        end, text = await stage.run(PROBE)
        assert end.code == 0, text
        seen: dict[str, object] = json.loads(text)
        sandbox = await stage.start("open('/tmp/kept', 'w').write('x'); print('up', flush=True); signal.pause()")
        await wait_written(sandbox, "up")
        sandbox.freeze()
        await asyncio.sleep(0.02)
        seen["frozen state"] = state_of(sandbox.pid)
        sandbox.thaw()
        seen["peak"] = sandbox.peak_memory_bytes()
        seen["beside"] = await beside(sandbox)
        await sandbox.respawn(stage.assignment("try:\n    x = bytearray(512 << 20)\nexcept MemoryError: print(os.listdir('/tmp'))"))
        seen["respawn exit"] = (await sandbox.wait_exit()).code
        seen["respawn output"] = written(sandbox)
        pids = [sandbox.init_pid, sandbox.pid]
        await sandbox.kill()
        seen["kept"] = await kept(stage)
        program = ("/bin/sh", "-c", 'eval "exec $LAMBDAD_STEM_READY_FD>&-"; eval "read line <&$LAMBDAD_STEM_FD"; cat /var/task/handler.py')
        stem = await stage.zygote.spawn(spec.Ahead(argv=program, environment={"PATH": "/usr/bin:/bin"}, limits=LIMITS))
        await stem.wait_booted()
        await stem.assign(stage.assignment(None, *program))
        seen["ahead"] = [(await stem.wait_exit()).code, written(stem)]
        await stem.kill()
        seen["left"] = [pid for pid in pids if exists(pid)]
    return seen


async def kept(stage: Stage) -> str:
    """Say why a process that waits as runtimes do is not kept as a snapshot; "" if it is."""
    sandbox = await stage.start("s = socket.create_connection(('127.0.0.1', 9001)); s.sendall(b'next'); s.recv(1)")
    connection, (_, port) = await asyncio.get_running_loop().sock_accept(sandbox.runtime_listener)
    try:
        await sandbox.keep(port)
    except fence.NotKept as refused:
        return str(refused)
    finally:
        connection.close()
    return ""


async def beside(sandbox: fence.Sandbox) -> list[object]:
    """Run programs beside the runtime process: one that says who it is, and one that has to be told to go."""
    script = "id -u; grep -c 'CapEff:.0000000000000000' /proc/self/status; cat /tmp/kept"
    shell = spec.Program(argv=("/bin/sh", "-c", script), environment={"PATH": "/usr/bin:/bin"})
    launched = await sandbox.launch(shell, LIMITS)
    code = (await launched.wait_exit()).code
    lasting = await sandbox.launch(spec.Program(argv=("/bin/sleep", "60"), environment={}), LIMITS)
    sandbox.signal(signal.SIGKILL, lasting)
    return [code, os.read(launched.output, 1000).decode(), (await lasting.wait_exit()).signal]


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def state_of(pid: int) -> str:
    """Return the state letter of a process; ``T`` is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def plain(place: Path) -> dict[str, object]:
    """Run functions as plain processes, and walk through an environment's life."""
    seen: dict[str, object] = {}
    async with open_stage(place, zygote.Isolation(fenced=False, leaf_user_namespace=False)) as stage:
        sandbox = await stage.spawn()
        code = (
            "open(os.environ['TMPDIR'] + '/kept', 'w').write('x')\n"
            "private = 'NoNewPrivs:\\t1' in open('/proc/self/status').read()\n"
            "print(json.dumps([os.getcwd(), os.listdir(os.environ['LAMBDA_TASK_ROOT']), private]), flush=True)\n"
            "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    if os.fork() == 0: signal.pause()\n"
            "    os._exit(0)\n"
            "signal.pause()"
        )
        environment = {"LAMBDA_TASK_ROOT": "/var/task", "PATH": "/bin:/usr/bin"}
        await sandbox.assign(stage.assignment(code, environment=environment, limits=LIMITS))
        cwd, listing, no_new_privileges = json.loads(await wait_written(sandbox, "\n"))
        seen["directories"] = [Path(cwd).name, listing]
        seen["no new privileges"] = no_new_privileges
        seen["api"] = sandbox.runtime_api == "{}:{}".format(*sandbox.runtime_listener.getsockname())
        private = Path(sandbox.task_root).parent
        await sandbox.respawn(stage.assignment(None, "/bin/sh", "-c", "ls $TMPDIR; exit 4", environment=environment))
        seen["respawn exit"] = (await sandbox.wait_exit()).code
        seen["respawn output"] = written(sandbox)
        await sandbox.kill()
        seen["left"] = [str(private)] if private.exists() else []
        seen["unreaped"] = children(os.getpid())
    return seen


def children(pid: int) -> int:
    """Return how many children a process has: the template only."""
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def main() -> None:
    """Do as the command line says."""
    place = Path(sys.argv[2])
    report = probe.probe()
    if sys.argv[3] == "rootless":
        rootless.enter()
        seen = asyncio.run(fenced(place, report.isolation()))
    else:
        seen = asyncio.run(plain(place))
    print(json.dumps({"level": report.level, **seen}))


if __name__ == "__main__":
    main()

"""The fence around a long-running program, such as the server: what it sees, whom it is, what it can still do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox_fixtures import needs_root

pytestmark = needs_root
LOOK = """
import json, os, socket, sys, ssl
def attempt(work):
    try: return work()
    except OSError as refused: return type(refused).__name__
data = sys.argv[1]
with socket.create_connection(("127.0.0.1", int(sys.argv[2])), 5) as connection:
    connection.sendall(b"hello")
print(json.dumps({
    "ids": [os.getuid(), os.getgid(), os.getgroups()],
    "data": attempt(lambda: open(data + "/written", "w").write("x")),
    "code": attempt(lambda: open(__import__("lambdad").__file__, "a")),
    "root": sorted(os.listdir("/")),
    "home": attempt(lambda: sorted(os.listdir("/root"))),
    "shadow": attempt(lambda: open("/etc/shadow")),
    "proc": attempt(lambda: os.listdir("/proc")),
    "become root": attempt(lambda: os.setuid(0)),
    "packet socket": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "signal parent": attempt(lambda: os.kill(os.getppid(), 0)),
    "name": attempt(lambda: socket.gethostbyname("localhost")),
    "tmp": attempt(lambda: open("/tmp/x", "w").write("x")),
}))
"""


def command(data: Path, *argv: str) -> list[str]:
    return [
        sys.executable, "-m", "lambdad.sandbox.fenced", "--read-write", str(data), "--user", "64000:64001", "--",
        sys.executable, *argv,
    ]  # fmt: skip


def test_it_sees_its_data_and_nothing_else(tmp_path: Path) -> None:
    """The fenced program writes its data directory, uses the machine's loopback, and holds no privilege."""
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 64000, 64001)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        done = subprocess.run(command(data, "-c", LOOK, str(data), port), capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout)
    assert seen["ids"] == [64000, 64001, []]
    assert seen["data"] == 1
    assert (data / "written").stat().st_uid == 64000
    assert seen["code"] in ("OSError", "PermissionError")
    assert "home" not in seen["root"]
    assert set(seen["home"]) <= {".pyenv"} if isinstance(seen["home"], list) else True
    assert seen["shadow"] == "FileNotFoundError"
    assert seen["proc"] in ([], "FileNotFoundError")
    assert seen["become root"] == "PermissionError"
    assert seen["packet socket"] == "OSError"
    assert seen["signal parent"] == "PermissionError"
    assert (seen["name"], seen["tmp"]) == ("127.0.0.1", 1)


def test_signals_and_pid_are_its_own(tmp_path: Path) -> None:
    """The pid that was started is the program's, and a signal to it reaches it."""
    os.chown(tmp_path, 64000, 64001)
    code = "import os, signal, sys; print(os.getpid(), flush=True); signal.sigwait([signal.SIGTERM]); sys.exit(5)"
    blocked = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]);" + code
    with subprocess.Popen(command(tmp_path, "-c", blocked), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 5


def test_a_fence_that_cannot_be_built_starts_nothing(tmp_path: Path) -> None:
    """A missing directory ends with 126 and the step that failed."""
    done = subprocess.run(command(tmp_path / "nonesuch", "-c", "print('ran')"), capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (126, "")
    assert "open " in done.stderr
    assert "nonesuch" in done.stderr


@pytest.mark.parametrize("argv", [("/bin/nonesuch",)])
def test_a_program_that_is_not_there_is_reported(tmp_path: Path, argv: tuple[str, ...]) -> None:
    """An exec that fails ends with 126 as well."""
    line = command(tmp_path)[:-1]
    done = subprocess.run([*line, *argv], capture_output=True, text=True, timeout=30)
    assert done.returncode == 126
    assert "exec" in done.stderr

"""How the processes of `lambdad up` are started, and who they are."""

import os
import subprocess
import sys
from pathlib import Path

from lambdad.kit import process
from lambdad.settings import Settings

# Above every range that distributions and container tools hand out, and beside the sandbox's own.
# Source: systemd, "Users, Groups, UIDs and GIDs on systemd Systems".
SERVER_ID = 1_899_999_999
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYENV_ROOT", "NVM_DIR", "NODENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME")


def server_ids() -> tuple[int, int]:
    """Return user and group that the server runs as: a user of its own where we are root, else ourselves."""
    return (SERVER_ID, SERVER_ID) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def own_data_dir(data_dir: Path) -> None:
    """Give the data directory, and what an earlier lambdad left there, to the user that the server runs as."""
    uid, gid = server_ids()
    if uid == os.geteuid():
        return
    for path in (data_dir, *data_dir.iterdir(), *(data_dir / "run").iterdir()):
        if path.lstat().st_uid != uid:
            os.chown(path, uid, gid, follow_symlinks=False)


def own_socket(path: Path) -> None:
    """Let the server, and nobody else, connect to a socket that we made."""
    path.chmod(0o600)
    uid, gid = server_ids()
    if uid != os.geteuid():
        os.chown(path, uid, gid, follow_symlinks=False)


def start_worker(settings: Settings, port: int) -> "subprocess.Popen[bytes]":
    """Start the worker; `port` is where the server listens."""
    command = [sys.executable, "-m", "lambdad.app", "worker", str(os.getpid()), str(port)]
    return process.spawn(command, stdin=settings.to_json(), environment=_environment())


def start_server(settings: Settings, port: int, listen_fd: int, ready_fd: int) -> "subprocess.Popen[bytes]":
    """Start the server on a listening socket; it writes one line of JSON to `ready_fd` when it serves."""
    command = [sys.executable, "-m", "lambdad.app", "server", str(os.getpid()), str(listen_fd), str(ready_fd)]
    return process.spawn(command, stdin=settings.to_json(), environment=_environment(), pass_fds=(listen_fd, ready_fd))


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in _KEPT}

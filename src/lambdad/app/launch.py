"""How the processes of `lambdad up` are started, and who they are.

The server runs as a user of its own behind a fence of its own: it sees the system's programs and libraries, its data directory, and
nothing else of the machine. Where fences cannot be had it runs as whoever started it, and that is said.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lambdad.kit import process
from lambdad.settings import Settings

# Above every range that distributions and container tools hand out, and beside the sandbox's own.
# Source: systemd, "Users, Groups, UIDs and GIDs on systemd Systems".
SERVER_ID = 1_899_999_999
CANNOT_FENCE = 126  # exit status of lambdad.sandbox.fenced
_PYTHON = (sys.executable, "-P", "-m")  # -P: the current directory is nobody's module path
_KEPT = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "XDG_DATA_HOME",
    "PYENV_ROOT", "NVM_DIR", "NODENV_ROOT", "RBENV_ROOT", "UV_PYTHON_INSTALL_DIR", "JAVA_HOME", "SDKMAN_DIR",
)  # fmt: skip


def server_uid() -> int:
    """Return the user that the server runs as: one of its own where we are root, else ourselves."""
    return SERVER_ID if os.geteuid() == 0 else os.geteuid()


def prepare_data_dir(settings: Settings) -> None:
    """
    Make the data directory, and give the server what is the server's.

    Raises:
        OSError: it cannot be made, or is not ours.
    """
    uid = server_uid() if settings.isolation != "plain" else os.geteuid()
    settings.data_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    mode = settings.data_dir.stat().st_mode & 0o777
    if uid != os.geteuid() and not mode & 0o001:
        settings.data_dir.chmod(mode | 0o001)  # the server, another user, must get through; what is in it guards itself
    settings.run_dir.mkdir(mode=0o755, exist_ok=True)
    for folder, mode in ((settings.server_dir, 0o700), (settings.code_store, 0o700)):
        folder.mkdir(mode=mode, exist_ok=True)
        if folder.stat(follow_symlinks=False).st_uid != uid:
            _own_tree(folder, uid)


def _own_tree(folder: Path, uid: int) -> None:
    """Give a tree to a user. Nobody else may be writing in it."""
    for place, folders, files in os.walk(folder, topdown=False):
        for name in (*folders, *files):
            os.chown(Path(place, name), uid, uid, follow_symlinks=False)
    os.chown(folder, uid, uid, follow_symlinks=False)


def own_socket(path: Path, uid: int) -> None:
    """Let the server, and nobody else, connect to a socket that we made."""
    path.chmod(0o600)
    if uid != os.geteuid():
        os.chown(path, uid, uid, follow_symlinks=False)


def start_worker(settings: Settings, port: int) -> "subprocess.Popen[bytes]":
    """Start the worker; `port` is where the server listens."""
    # An ordinary user's worker lives in a user namespace, where its own user and the server's are both called 0.
    uid = SERVER_ID if os.geteuid() == 0 else 0
    command = [*_PYTHON, "lambdad.app", "worker", str(os.getpid()), str(port), str(uid)]
    return process.spawn(command, stdin=settings.to_json(), environment=_environment())


class ServerStarter:
    """Starts the server, fenced in if that can be had.

    Args:
        listen_fd: the listening socket; the server takes connections from it, and whoever comes after it goes on with it.
        ready_fd: gets one line of JSON when the server serves.
        say: tells a person.
    """

    def __init__(self, settings: Settings, listen_fd: int, ready_fd: int, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._listen_fd = listen_fd
        self._ready_fd = ready_fd
        self._say = say
        self._fenced = settings.isolation != "plain"
        self._last: subprocess.Popen[bytes] | None = None

    def __call__(self) -> "subprocess.Popen[bytes]":
        if self._fenced and self._last is not None and self._last.returncode == CANNOT_FENCE:
            self._fenced = False
            self._say("WARNING: the server cannot be fenced in here; it runs with all of this user's rights. See `lambdad doctor`.")
        command = [*_PYTHON, "lambdad.app", "server", str(os.getpid()), str(self._listen_fd), str(self._ready_fd)]
        if self._fenced:
            command = [*self._fence(), "--", *command]
        fds = (self._listen_fd, self._ready_fd)
        self._last = process.spawn(command, stdin=self._settings.to_json(), environment=_environment(), pass_fds=fds)
        return self._last

    def _fence(self) -> list[str]:
        data_dir = str(self._settings.data_dir)
        fence = [*_PYTHON, "lambdad.sandbox.fenced", "--read-write", data_dir]
        if os.geteuid() == 0:
            fence += ["--user", f"{SERVER_ID}:{SERVER_ID}"]
        socket_dir = self._settings.database_socket_dir
        if socket_dir is not None and Path(socket_dir).is_dir():
            fence += ["--read-only", socket_dir]
        return fence


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in _KEPT}

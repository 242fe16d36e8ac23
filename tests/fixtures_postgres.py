"""Databases for tests: a PostgreSQL server of our own, and fresh databases of both kinds.

The server is started once per session from the programs that are installed (Debian: postgresql), in a directory of its own, reachable
over a Unix socket only, with fsync on; it is stopped at the end. Tests that ask for it are skipped where the programs are missing.
"""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lambdad.store.database import sqlite_url

_SETTINGS = (
    "listen_addresses = ''",
    "shared_buffers = 16MB",
    "max_connections = 40",
    "fsync = on",
    "synchronous_commit = on",
    "log_min_messages = fatal",
)


class PostgresServer:
    """A server in a directory, run as an unprivileged user."""

    def __init__(self, programs: Path, directory: Path, user: str | None) -> None:
        self._programs = programs
        self._directory = directory
        self._data = directory / "data"
        self._user = user
        self._numbers = itertools.count(1)

    def create(self) -> None:
        """Make the files of a new server, and start it."""
        self._run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync")
        socket = f"unix_socket_directories = '{self._directory}'"
        with (self._data / "postgresql.conf").open("a") as file:
            file.write("\n".join((*_SETTINGS, socket, "")))
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self._directory / 'log'}")

    def crash(self) -> None:
        """Stop the server as a power cut would, but for what the kernel has not written; wait until it is gone."""
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode=immediate")

    def stop(self) -> None:
        """Stop the server if it runs, and wait until it is gone."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split()[0])
        except FileNotFoundError:
            return
        try:
            self._run("pg_ctl", "stop", "--wait", "--silent", "--mode=fast")
        except subprocess.CalledProcessError:
            os.kill(pid, signal.SIGQUIT)
            raise

    def url(self, database: str = "postgres") -> str:
        """Write the URL of a database."""
        return f"postgresql:///{database}?host={self._directory}&user=postgres"

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        import psycopg

        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        identity = {"user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []} if self._user else {}
        subprocess.run(
            [str(self._programs / program), f"--pgdata={self._data}", *arguments],
            check=True,
            cwd=self._directory,
            env={"PATH": f"{self._programs}:/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=60,
            **identity,
        )


def server_programs() -> Path | None:
    """Find the directory of PostgreSQL's server programs: on PATH, in Debian's places, or where pg_config says."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    candidates = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0,
    )
    if program := shutil.which("pg_config"):
        answer = subprocess.run([program, "--bindir"], check=False, capture_output=True, text=True).stdout.strip()
        candidates.insert(0, Path(answer))
    return next((path for path in reversed(candidates) if (path / "initdb").is_file()), None)


def unprivileged_user() -> str | None:
    """Name the user the server runs as; None means: ours. The server refuses to be root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    pytest.skip("PostgreSQL cannot run as root, and there is no user postgres or nobody")


@contextmanager
def running_server(programs: Path) -> Iterator[PostgresServer]:
    """Run a new server, and leave nothing of it behind."""
    user = unprivileged_user()
    directory = Path(tempfile.mkdtemp(prefix="lambdad-test-postgres-"))
    try:
        if user is not None:
            shutil.chown(directory, user, pwd.getpwnam(user).pw_gid)
            directory.chmod(0o711)  # whoever is told where the socket is may connect, such as the server of lambdad
        server = PostgresServer(programs, directory, user)
        try:
            server.create()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL server, the same for the whole session."""
    pytest.importorskip("psycopg")
    programs = server_programs()
    if programs is None:
        pytest.skip("the PostgreSQL server programs (initdb, pg_ctl) are not installed")
    with running_server(programs) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of a fresh PostgreSQL database."""
    return postgres_server.new_database()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh database; a test that asks for it runs on each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "database.db")
    url: str = request.getfixturevalue("postgres_url")
    return url

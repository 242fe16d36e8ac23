"""`lambdad up`: prepare the data directory, start worker and server, say one line when ready, watch over both until told to stop."""

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import IO, Any

from lambdad import __version__, settings
from lambdad.app import launch, root_key
from lambdad.kit import process

READY_WITHIN_S = 30.0


def run(given: Mapping[str, Any]) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0 after a drain, 1 when something had to be killed or could not start, 2 for bad settings.
    """
    try:
        config = settings.load(given)
    except settings.BadSettings as error:
        print(f"lambdad: {error}", file=sys.stderr)
        return 2
    if config.egress == "on" and config.isolation != "plain":
        from lambdad.app import egress

        if missing := egress.examine(config).missing:
            print(f"lambdad: --egress on cannot be had: {missing}; see `lambdad doctor`", file=sys.stderr)
            return 1
    try:
        lock = _prepare(config)
        if config.auth == "iam" and not config.access_keys:
            config = replace(config, access_keys=(root_key.load_or_make(config.root_key),))
            _complain(f"access key {config.access_keys[0].access_key_id}, its secret is in {config.root_key}")
        listener = _listen(config)
    except (OSError, ValueError) as error:
        print(f"lambdad: {error}", file=sys.stderr)
        return 1
    with lock, listener:
        port = listener.getsockname()[1]
        return _Up(config, listener, port).run()


class _Up:
    """The running `lambdad up`."""

    def __init__(self, config: settings.Settings, listener: socket.socket, port: int) -> None:
        self._config = config
        self._listener = listener
        self._port = port
        self._ready_read, self._ready_write = os.pipe()
        os.set_blocking(self._ready_read, False)
        self._said = b""
        self._ready = False
        self._give_up_at_s = time.monotonic() + READY_WITHIN_S

    def run(self) -> int:
        config, port = self._config, self._port
        start_server = launch.ServerStarter(config, self._listener.fileno(), self._ready_write, _complain)
        children = [
            process.Child("worker", lambda: launch.start_worker(config, port), drain_s=10.0),
            process.Child("server", start_server, drain_s=config.drain_timeout_s + 5.0),
        ]
        return process.Supervisor(children, _complain).run(tick=self._tick)

    def _tick(self) -> None:
        if self._ready:
            return
        try:
            self._said += os.read(self._ready_read, 65536)
        except BlockingIOError:
            pass
        line, newline, _ = self._said.partition(b"\n")
        if newline:
            self._ready = True
            print(_ready_line(self._config, self._port, json.loads(line)), flush=True)
        elif time.monotonic() > self._give_up_at_s:
            raise process.GiveUp(f"not ready after {READY_WITHIN_S:.0f} s")


def _complain(text: str) -> None:
    print(f"lambdad: {text}", file=sys.stderr, flush=True)


def _ready_line(config: settings.Settings, port: int, said: dict[str, Any]) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    isolation = said["isolation"]
    if isolation == "plain":
        isolation = "NONE: functions run as plain processes, see `lambdad doctor`"
    way_out = " | egress on" if config.egress == "on" else ""
    return (
        f"lambdad {__version__} ready on http://{host}:{port} | data {config.data_dir} | auth {config.auth} | "
        f"isolation {isolation}{way_out} | runtimes {' '.join(said['interpreters']) or 'unknown'}"
    )


def _prepare(config: settings.Settings) -> IO[str]:
    """Make the data directory and take it for ourselves; returns the open lock file."""
    config.data_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = (config.data_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise OSError(f"another lambdad uses {config.data_dir}") from error
    launch.prepare_data_dir(config)
    return lock


def _listen(config: settings.Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {config.host}:{config.port}: {error.strerror}") from error
    listener.listen(4096)
    listener.set_inheritable(True)
    return listener

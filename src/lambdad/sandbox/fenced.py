"""Runs one program behind a fence of its own: sees only what it is given, holds no privileges, keeps the machine's network.

For the process that parses what strangers send. As a command:

    python -m lambdad.sandbox.fenced --read-write /srv/lambdad --user 64000:64000 -- /usr/bin/python3 -m server

or, from a launcher with one thread, ``fenced.execute(Fenced(...))``. The pid stays the same, so signals and waiting work as
without the fence.
"""

from __future__ import annotations

import argparse
import os
import signal
import site
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from lambdad.sandbox import private_root, rootless, seccomp, spec
from lambdad.sandbox.inside import kernel, launcher, root


class FenceFailed(Exception):
    """The program could not be fenced in and was not started; ``step`` and ``errno`` say why."""

    def __init__(self, step: str, errno: int) -> None:
        super().__init__(f"{step}: {os.strerror(errno)}")
        self.step = step
        self.errno = errno


@dataclass(frozen=True, slots=True, kw_only=True)
class Fenced:
    """
    One program and its fence.

    ``ids`` (uid, gid) are only for root: None keeps the user and gives up its powers. ``binds`` come on top of the system's
    programs and libraries. /tmp is its own, 64 MiB, in memory. Descriptors stay open as they are inheritable. ``proc`` shows it the
    machine's /proc: only for programs that are trusted, and that find their own files by it.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    binds: tuple[spec.Bind, ...] = ()
    ids: tuple[int, int] | None = None
    cwd: str = "/"
    filter_calls: bool = True
    die_with_parent: bool = True
    writable: tuple[str, ...] = field(default=("/tmp",))
    proc: bool = False


def execute(program: Fenced) -> NoReturn:
    """
    Become the fenced program. Raises FenceFailed; this process is then good for nothing but to end.

    Ordering: the caller has one thread. Whoever is not root goes through a user namespace first.
    """
    try:
        if rootless.is_needed():
            rootless.enter()
        root.enter({**private_root.for_program(program.binds, program.writable), "proc": program.proc})
        os.chdir(program.cwd)
        _give_up_powers(program.ids)
        if program.die_with_parent:
            kernel.die_with_parent(signal.SIGKILL)
        if program.filter_calls and (filter_program := seccomp.default_program()):
            kernel.load_seccomp(filter_program)
        os.execve(program.argv[0], program.argv, program.environment)
    except OSError as refused:
        raise FenceFailed(getattr(refused, "step", "exec"), refused.errno or 0) from refused
    except rootless.RootlessFailed as refused:
        raise FenceFailed(refused.step, refused.errno) from refused


def _give_up_powers(ids: tuple[int, int] | None) -> None:
    # SAFETY: nothing given up here can be had back: no capability in any set, no new privileges by exec.
    if ids is not None:
        launcher.drop_to(*ids)
        return
    kernel.drop_bounding_set()
    kernel.set_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1, step="PR_SET_NO_NEW_PRIVS")


def python_binds() -> tuple[spec.Bind, ...]:
    """Return what this very interpreter needs in order to run again: its prefixes, and where its modules are."""
    binds = {one.target: one for one in private_root.interpreter_binds(Path(sys.executable))}
    for entry in (*sys.path, *site.getsitepackages()):
        path = Path(entry or ".").absolute()
        covered = any(path.is_relative_to(target) for target in (*binds, "/usr"))
        if path.exists() and not covered and path != Path("/"):
            binds[str(path)] = spec.Bind(str(path), str(path))
    return tuple(binds.values())


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line above; exits with 126 if the program cannot be fenced in."""
    parser = argparse.ArgumentParser(prog="python -m lambdad.sandbox.fenced", description=__doc__)
    parser.add_argument("--read-only", action="append", default=[], metavar="PATH")
    parser.add_argument("--read-write", action="append", default=[], metavar="PATH")
    parser.add_argument("--user", metavar="UID:GID", help="whom to become; only for root")
    parser.add_argument("--cwd", default="/")
    parser.add_argument("--outlive-parent", action="store_true")
    parser.add_argument("argv", nargs="+")
    given = parser.parse_args(arguments)
    uid, _, gid = (given.user or "").partition(":")
    binds = [spec.Bind(path, path) for path in given.read_only]
    binds += [spec.Bind(path, path, read_only=False) for path in given.read_write]
    try:
        execute(
            Fenced(
                argv=tuple(given.argv),
                environment=dict(os.environ),
                binds=(*python_binds(), *binds),
                ids=(int(uid), int(gid or uid)) if uid else None,
                cwd=given.cwd,
                die_with_parent=not given.outlive_parent,
            )
        )
    except FenceFailed as refused:
        sys.stderr.write(f"lambdad.sandbox.fenced: {refused}\n")
        raise SystemExit(126) from refused


if __name__ == "__main__":
    main()

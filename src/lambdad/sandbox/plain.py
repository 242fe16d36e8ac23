"""The fallback where namespaces are forbidden: plain processes, with the same interface and no fence to speak of.

What remains: no new privileges, no capabilities, the system call filter, resource limits, cgroups where there are any. What is
missing: a root, a network, a process table and a user of its own. A function can read what the worker's user can read.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lambdad.sandbox import instances, spec

_PREFIX = "lambdad-plain-"
WARNING = (
    "functions run as PLAIN PROCESSES: they can read what this user can read, see other processes, and reach the "
    "machine's network; run only code that you trust"
)


def private_directory(instance: str) -> Path:
    """Make the directory that stands for one environment's root: ``task``, ``opt`` (links, later) and ``tmp``."""
    place = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{instance}-"))
    (place / "tmp").mkdir()
    return place


def remove(place: Path) -> None:
    """Remove such a directory and all that functions have written there; what resists is left to the sweep."""
    shutil.rmtree(place, ignore_errors=True)


def sweep() -> list[Path]:
    """Remove the directories of dead instances; returns them. A living neighbour's are never touched."""
    swept = []
    for place in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        instance = place.name.removeprefix(_PREFIX).rpartition("-")[0]
        if not instances.is_alive(instance):
            with contextlib.suppress(OSError):
                remove(place)
                swept.append(place)
    return swept


def mapping(binds: tuple[spec.Bind, ...], place: Path | None = None) -> dict[str, str]:
    """Return where the paths of an environment really are: ``{"/var/task": "/tmp/lambdad-plain-.../task", ...}``."""
    found = {one.target: one.source for one in binds if one.target != one.source}
    if place is not None:
        found |= {"/var/task": f"{place}/task", "/opt": f"{place}/opt", "/tmp": f"{place}/tmp"}
    return found


def translator(paths: Mapping[str, str]) -> Callable[[str], str]:
    """
    Return what replaces the paths of an environment in a text, each only where a path begins and a name ends.

    /tmp itself is replaced, and what is named below it is not: lambdad, and what it brings, may be installed there.
    """
    if not paths:
        return lambda text: text
    longest_first = sorted(paths, key=len, reverse=True)
    names = "|".join(re.escape(path) + ("(?!/)" if path == "/tmp" else "") for path in longest_first)
    pattern = re.compile(rf"(?<![\w./-])({names})(?![\w.-])")
    return lambda text: pattern.sub(lambda match: paths[match[1]], text)


def relocate(assignment: spec.Assignment, translate: Callable[[str], str]) -> spec.Assignment:
    """Return the assignment with its directory, program, environment and payload pointing to where things really are."""
    environment = {name: translate(value) for name, value in assignment.environment.items()}
    environment.setdefault("TMPDIR", translate("/tmp"))
    return replace(
        assignment,
        cwd=translate(assignment.cwd),
        argv=None if assignment.argv is None else tuple(map(translate, assignment.argv)),
        environment=environment,
        payload=_translated(assignment.payload, translate),
    )


def relocate_program(program: spec.Program, translate: Callable[[str], str]) -> spec.Program:
    """Return the program with its path, directory and environment pointing to where things really are."""
    environment = {name: translate(value) for name, value in program.environment.items()}
    environment.setdefault("TMPDIR", translate("/tmp"))
    return replace(program, argv=tuple(map(translate, program.argv)), cwd=translate(program.cwd), environment=environment)


def _translated(value: Any, translate: Callable[[str], str]) -> Any:
    match value:
        case str():
            return translate(value)
        case list() | tuple():
            return [_translated(one, translate) for one in value]
        case dict():
            return {key: _translated(one, translate) for key, one in value.items()}
        case _:
            return value

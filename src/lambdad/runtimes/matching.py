"""Choosing an interpreter for a runtime identifier. Pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from lambdad.runtimes import catalogue
from lambdad.runtimes.catalogue import Family, Runtime
from lambdad.runtimes.discovery import Interpreter

OLDEST: dict[Family, tuple[int, ...]] = {Family.PYTHON: (3, 8), Family.NODEJS: (18,), Family.JAVA: (8,), Family.RUBY: (3, 0)}
"""What the runtime clients run on; families that are missing here have no client."""
HOW_TO_ADD_JAVA = "AWS's runtime client for Java is not installed: lambdad runtimes install java"
_NO_CLIENTS: frozenset[Family] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A runtime and what runs it; ``interpreter`` is None for OS-only runtimes, whose functions bring their own program.

    ``exact`` says that the language's version is the one that the identifier names.
    """

    runtime: Runtime
    interpreter: Interpreter | None
    exact: bool

    @property
    def warning(self) -> str:
        """What the function's log should say about it; "" for an exact match."""
        if self.exact or self.interpreter is None:
            return ""
        version = ".".join(map(str, self.interpreter.version))
        return f"lambdad: no interpreter for {self.runtime.name} on this machine; running {self.interpreter.family.value} {version} instead"

    @property
    def version_name(self) -> str:
        """The runtime version as INIT_START shows it, e.g. ``python:3.11.v7`` (the last part is the interpreter's patch)."""
        if self.interpreter is None:
            return f"{self.runtime.name.replace('.', ':', 1)}.v1"
        places = 2 if self.interpreter.family in (Family.PYTHON, Family.RUBY) else 1
        version = self.interpreter.version
        language = ".".join(map(str, version[:places]))
        patch = ".".join(map(str, version[places:])) or "0"
        return f"{self.interpreter.family.value}:{language}.v{patch}"

    def version_arn(self, region: str) -> str:
        """A stable ARN for exactly this interpreter: it changes when the file is replaced.

        >>> match.version_arn("us-east-1")
        'arn:aws:lambda:us-east-1::runtime:3f2c...'
        """
        identity = self.interpreter.identity if self.interpreter else self.runtime.name
        return f"arn:aws:lambda:{region}::runtime:{hashlib.sha256(identity.encode()).hexdigest()}"


def match(
    runtime: str, found: Iterable[Interpreter], *, exact_only: bool = False, without: frozenset[Family] = _NO_CLIENTS
) -> Match | None:
    """Choose the interpreter for ``runtime``: its own version, else the nearest of the language, the newer of two as near.

    Args:
        runtime: AWS's identifier, e.g. ``python3.12``.
        found: what there is; of equal versions the first is taken.
        exact_only: refuse another version than the identifier's.
        without: families whose runtime client would have to be installed first.

    Returns:
        None when nothing here can run it; `explain_missing` says why.
    """
    named = catalogue.find(runtime)
    if named is None:
        return None
    if named.family is Family.PROVIDED:
        return Match(runtime=named, interpreter=None, exact=True)
    usable = [] if named.family in without else _usable(named, found)
    wanted = named.version
    for interpreter in usable:
        if interpreter.version[: len(wanted)] == wanted:
            return Match(runtime=named, interpreter=interpreter, exact=True)
    if exact_only or not usable:
        return None
    nearest = min(usable, key=lambda interpreter: _distance(wanted, interpreter.version))
    return Match(runtime=named, interpreter=nearest, exact=False)


def explain_missing(
    runtime: str, found: Iterable[Interpreter], *, exact_only: bool = False, without: frozenset[Family] = _NO_CLIENTS
) -> str:
    """Say, for a person, why `match` found nothing, and what would help."""
    named = catalogue.find(runtime)
    if named is None:
        return f"{runtime} is not a Lambda runtime"
    if named.family not in OLDEST:
        language = ".NET" if named.family is Family.DOTNET else "Go 1.x"
        return f"{runtime}: lambdad has no runtime client for {language} yet; a bootstrap on provided.al2023 works"
    usable = _usable(named, found)
    oldest = ".".join(map(str, OLDEST[named.family]))
    if named.family is Family.PYTHON and named.version[0] < 3:
        return f"{runtime}: lambdad has no runtime client for Python 2"
    if named.family in without:
        return f"{runtime}: {HOW_TO_ADD_JAVA}"
    if not usable:
        return f"{runtime}: no {named.family.value} {oldest} or newer was found on this machine"
    there = ", ".join(dict.fromkeys(".".join(map(str, interpreter.version)) for interpreter in usable))
    if exact_only:
        return f"{runtime}: only {named.family.value} {there} was found, and only exact versions are allowed"
    return f"{runtime}: {named.family.value} {there} was found"


def runnable(found: Iterable[Interpreter], *, exact_only: bool = False, without: frozenset[Family] = _NO_CLIENTS) -> tuple[str, ...]:
    """List the identifiers that can run here, in the catalogue's order."""
    there = tuple(found)
    return tuple(name for name in catalogue.RUNTIMES if match(name, there, exact_only=exact_only, without=without) is not None)


def is_new_enough(interpreter: Interpreter) -> bool:
    """Say whether a runtime client runs on an interpreter."""
    oldest = OLDEST.get(interpreter.family)
    return oldest is not None and interpreter.version >= oldest


def _usable(runtime: Runtime, found: Iterable[Interpreter]) -> list[Interpreter]:
    """Return what our client runs on and the runtime's programs may be expected to: Python 2 and 3 are two languages."""
    oldest = OLDEST.get(runtime.family)
    if oldest is None or (runtime.family is Family.PYTHON and runtime.version[0] != oldest[0]):
        return []
    return [interpreter for interpreter in found if interpreter.family is runtime.family and is_new_enough(interpreter)]


def _distance(wanted: tuple[int, ...], version: tuple[int, ...]) -> tuple[int, int, bool]:
    """Order versions by how far they are from the wanted one: major first, then minor, then the newer before the older."""
    major = abs(version[0] - wanted[0])
    if len(wanted) == 1:
        return major, 0, version < wanted
    return major, abs(version[1] - wanted[1]), version < wanted

"""Finding interpreters on this machine: reading directories and a few small files, running nothing unless it must.

Scripts that stand in for an interpreter (pyenv's and nvm's shims) are skipped: only real programs for this machine's
processor count. What is behind several links counts once.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lambdad.runtimes.catalogue import Family

_VERSION_TIMEOUT_S = 5.0
_NAMES = {
    Family.PYTHON: re.compile(r"python(?:3(?:\.(\d+))?)?"),
    Family.NODEJS: re.compile(r"node(?:js)?(\d+)?"),
    Family.JAVA: re.compile(r"java"),
    Family.RUBY: re.compile(r"ruby(?:(\d+\.\d+))?"),
}
_ELF_MACHINES = {"x86_64": 62, "aarch64": 183, "armv7l": 40, "riscv64": 243, "ppc64le": 21, "s390x": 22, "i686": 3}
_SHARED = re.compile(r"libpython3.*\.so")
_OF_AN_INSTALLATION = frozenset(("bin", "doc", "etc", "include", "lib", "lib64", "libexec", "man", "sbin", "share", "ssl"))
_DIGITS = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A program that runs a language, as it lies on this machine.

    Args:
        version: as much as is known without asking it, e.g. (3, 11) or (3, 11, 7); at least what a runtime identifier names.
        path: the real file, no link.
        prefix: the directory that it needs to be complete, e.g. ``/opt/python3.12`` for ``/opt/python3.12/bin/python3.12``.
        identity: changes when the file changes: its path, size and time of change.
        parts: what of the prefix it needs, as relative paths; ("",) is all of it, () nothing that is not in /usr. A prefix
            that other things live in too, such as a home directory, is never taken whole.
        runs_in_place: its libraries are found by the absolute path they were built for.
        also: directories elsewhere that links in the prefix lead to, such as Debian's ``/etc/java-17-openjdk``.
    """

    family: Family
    version: tuple[int, ...]
    path: str
    prefix: str
    identity: str
    parts: tuple[str, ...] = ()
    runs_in_place: bool = False
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.family.value} {'.'.join(map(str, self.version))} at {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where to look, in order; the first of two interpreters of one version is taken.

    Args:
        directories: holding programs, e.g. ``/usr/bin``.
        collections: holding one folder per version with a ``bin`` in it, e.g. ``~/.pyenv/versions``.
    """

    directories: tuple[str, ...]
    collections: tuple[str, ...] = field(default=())


def usual_places(environ: Mapping[str, str], home: str, extra: Iterable[str] = ()) -> Places:
    """Return the places where interpreters usually are.

    Args:
        environ: the process's environment; PATH, JAVA_HOME, PYENV_ROOT, NVM_DIR, NODENV_ROOT, RBENV_ROOT, SDKMAN_DIR,
            UV_PYTHON_INSTALL_DIR are read.
        home: the user's home directory; "" when there is none.
        extra: looked at first: directories of programs, or of versions.
    """
    given = list(extra)
    if java := environ.get("JAVA_HOME"):
        given.append(f"{java}/bin")
    path = [entry for entry in environ.get("PATH", "").split(os.pathsep) if entry.startswith("/")]
    collections = [
        environ.get("PYENV_ROOT") or f"{home}/.pyenv",
        environ.get("NODENV_ROOT") or f"{home}/.nodenv",
        environ.get("RBENV_ROOT") or f"{home}/.rbenv",
    ]
    collections = [f"{root}/versions" for root in collections]
    collections += [
        f"{environ.get('NVM_DIR') or f'{home}/.nvm'}/versions/node",
        environ.get("UV_PYTHON_INSTALL_DIR") or f"{home}/.local/share/uv/python",
        f"{home}/.local/share/mise/installs/python",
        f"{home}/.local/share/mise/installs/node",
        f"{home}/.local/share/mise/installs/java",
        f"{home}/.local/share/mise/installs/ruby",
        f"{home}/.asdf/installs/python",
        f"{home}/.asdf/installs/nodejs",
        f"{home}/.asdf/installs/java",
        f"{home}/.asdf/installs/ruby",
        f"{home}/.local/share/fnm/node-versions",
        f"{home}/.volta/tools/image/node",
        "/usr/local/n/versions/node",
        f"{environ.get('SDKMAN_DIR') or f'{home}/.sdkman'}/candidates/java",
        f"{home}/.jdks",
        f"{home}/.rubies",
        f"{home}/.rvm/rubies",
        "/usr/lib/jvm",
        "/opt",
        "/opt/lambdad/runtimes",
    ]
    return Places(
        directories=tuple(dict.fromkeys([*given, *path, "/usr/local/bin", "/usr/bin", "/bin"])),
        collections=tuple(dict.fromkeys([*given, *(c for c in collections if c.startswith("/"))])),
    )


def discover(places: Places, cache: Path | None = None) -> tuple[Interpreter, ...]:
    """Find all interpreters in ``places``, in their order, each real file once.

    Args:
        cache: a file that remembers the versions of those that had to be asked; written when something was learned. None
            means that they are asked anew each time.
    """
    known = _read_cache(cache)
    size = len(known)
    found: dict[str, Interpreter] = {}
    for candidate, family in _candidates(places):
        real = os.path.realpath(candidate)
        if real in found or not _is_program(real):
            continue
        interpreter = _describe(real, family, known)
        if interpreter is not None:
            found[real] = interpreter
    if cache is not None and len(known) != size:
        _write_cache(cache, known)
    return tuple(found.values())


def _candidates(places: Places) -> Iterator[tuple[str, Family]]:
    """Name every file that is called like an interpreter, links before what they lead to being no matter."""
    directories = list(places.directories)
    for collection in places.collections:
        for version in _list(collection):
            directories.append(f"{collection}/{version}/bin")
            directories.append(f"{collection}/{version}/installation/bin")  # fnm
    for directory in dict.fromkeys(directories):
        for name in _list(directory):
            for family, pattern in _NAMES.items():
                if pattern.fullmatch(name):
                    yield f"{directory}/{name}", family


def _list(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 (plain names are all that is wanted, hundreds of them)
    except OSError:
        return []


def _is_program(path: str) -> bool:
    """Say whether ``path`` is an executable ELF file for this machine's processor."""
    try:
        if not os.access(path, os.X_OK):
            return False
        with open(path, "rb") as file:
            head = file.read(20)
    except OSError:
        return False
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return False
    machine = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return machine == _ELF_MACHINES.get(os.uname().machine, machine)


def _describe(path: str, family: Family, known: dict[str, list[int]]) -> Interpreter | None:
    status = Path(path).stat()
    identity = f"{path}:{status.st_size}:{status.st_mtime_ns}"
    prefix = str(Path(path).parent.parent)
    version = _VERSIONS[family](path, prefix)
    if version is None:
        if identity not in known:
            known[identity] = list(_ask(path))
        version = tuple(known[identity])
    if not version or (family is Family.PYTHON and version[:1] != (3,)):
        return None
    parts = _parts(path, prefix, family, version)
    if parts is None:
        return None
    return Interpreter(
        family=family,
        version=version,
        path=path,
        prefix=prefix,
        identity=identity,
        parts=parts,
        runs_in_place=bool(parts) and (family is Family.RUBY or any(_SHARED.match(name) for name in _list(f"{prefix}/lib"))),
        also=_linked_to(prefix) if family is Family.JAVA else (),
    )


def _parts(path: str, prefix: str, family: Family, version: tuple[int, ...]) -> tuple[str, ...] | None:
    """Return what of ``prefix`` the interpreter needs; None when it is not complete."""
    if prefix == "/" or prefix == "/usr" or prefix.startswith("/usr/"):
        return ()
    if family is Family.JAVA:
        return ("",) if Path(prefix, "lib").is_dir() else None
    entries = [name for name in _list(prefix) if Path(prefix, name).is_dir()]
    if family is Family.RUBY:
        version_name = ".".join(map(str, version[:2]))
        libraries = [f"lib/{name}" for name in _list(f"{prefix}/lib") if name == "ruby" or name.startswith("libruby")]
        # It knows the place that it was built for, and environments have something else in some places.
        complete = Path(prefix, "lib", "ruby", f"{version_name}.0").is_dir() and not prefix.startswith(("/opt/", "/var/", "/dev/"))
        return (f"bin/{Path(path).name}", *libraries) if complete else None
    library = f"lib/python3.{version[1]}" if family is Family.PYTHON else ""
    if library and not Path(prefix, library, "os.py").is_file():
        return None
    if "conda-meta" in entries or _OF_AN_INSTALLATION.issuperset(entries):
        return ("",)
    if not library:
        return (f"bin/{Path(path).name}",)
    shared = [f"lib/{name}" for name in _list(f"{prefix}/lib") if _SHARED.match(name)]
    return (f"bin/{Path(path).name}", library, *shared)


def _python_version(path: str, prefix: str) -> tuple[int, ...] | None:
    named = _NAMES[Family.PYTHON].fullmatch(Path(path).name)
    minors = [named.group(1)] if named and named.group(1) else []
    if not minors:
        libraries = (re.fullmatch(r"python3\.(\d+)", name) for name in _list(f"{prefix}/lib"))
        minors = [library.group(1) for library in libraries if library]
    if len(minors) != 1:
        return None
    header = _read(f"{prefix}/include/python3.{minors[0]}/patchlevel.h")
    patch = re.search(r"define\s+PY_MICRO_VERSION\s+(\d+)", header)
    return (3, int(minors[0]), int(patch.group(1))) if patch else (3, int(minors[0]))


def _node_version(path: str, prefix: str) -> tuple[int, ...] | None:
    header = _read(f"{prefix}/include/node/node_version.h")
    parts = re.findall(r"define NODE_(?:MAJOR|MINOR|PATCH)_VERSION (\d+)", header)
    if len(parts) == 3:
        return tuple(map(int, parts))
    folder = _DIGITS.fullmatch(Path(prefix).name.removeprefix("v"))
    if folder:
        return tuple(map(int, folder.group().split(".")))
    named = _NAMES[Family.NODEJS].fullmatch(Path(path).name)
    return (int(named.group(1)),) if named and named.group(1) else None


def _java_version(_: str, prefix: str) -> tuple[int, ...] | None:
    """Read e.g. (17, 0, 15) from a JDK's file ``release``; before Java 9 versions began with "1."."""
    named = re.search(r'^JAVA_VERSION="(?:1\.)?([\d._]+)"', _read(f"{prefix}/release"), re.MULTILINE)
    if named is None:  # one inside an older JDK: <prefix>/jre/bin/java
        named = re.search(r'^JAVA_VERSION="(?:1\.)?([\d._]+)"', _read(f"{Path(prefix).parent}/release"), re.MULTILINE)
    return tuple(int(part) for part in re.split(r"[._]", named.group(1)) if part) if named else ()


def _ruby_version(path: str, prefix: str) -> tuple[int, ...] | None:
    named = _NAMES[Family.RUBY].fullmatch(Path(path).name)
    folder = _DIGITS.fullmatch(Path(prefix).name.removeprefix("ruby-"))
    found = (named.group(1) if named else None) or (folder.group() if folder else "")
    return tuple(map(int, found.split("."))) if found else None


_VERSIONS = {
    Family.PYTHON: _python_version,
    Family.NODEJS: _node_version,
    Family.JAVA: _java_version,
    Family.RUBY: _ruby_version,
}


def _linked_to(prefix: str) -> tuple[str, ...]:
    """Return the directories below /etc that a JDK's settings are links to: distributions put them there."""
    found: dict[str, None] = {}
    for folder in ("conf", "conf/security", "lib", "lib/security", "jre/lib", "jre/lib/security"):
        for name in _list(f"{prefix}/{folder}"):
            link = Path(prefix, folder, name)
            if link.is_symlink():
                target = Path(os.path.realpath(link))
                if target.parts[:2] == ("/", "etc") and len(target.parts) > 3 and target.parts[2] != "ssl":
                    found[str(Path(*target.parts[:3]))] = None
    return tuple(found)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65_536)
    except OSError:
        return ""


def _ask(path: str) -> tuple[int, ...]:
    """Run ``path --version``; an empty answer when it does not say within the time."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=_VERSION_TIMEOUT_S, check=False, env={}, cwd="/", text=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ()
    said = _DIGITS.search(done.stdout or done.stderr)
    return tuple(map(int, said.group().split("."))) if said else ()


def _read_cache(cache: Path | None) -> dict[str, list[int]]:
    if cache is None:
        return {}
    try:
        stored = json.loads(cache.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(stored, dict):
        return {}
    return {
        identity: version
        for identity, version in stored.items()
        if isinstance(version, list) and all(isinstance(part, int) for part in version)
    }


def _write_cache(cache: Path, known: Mapping[str, list[int]]) -> None:
    """Replace the cache. It is a convenience: a directory that cannot be written is no error."""
    try:
        fd, name = tempfile.mkstemp(dir=cache.parent, prefix=f".{cache.name}.")
        with os.fdopen(fd, "w") as file:
            json.dump(known, file)
        Path(name).replace(cache)
    except OSError:
        return

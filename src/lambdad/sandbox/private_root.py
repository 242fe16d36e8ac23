"""Plans for private roots: which parts of this machine a fenced program may see, and the small files it expects."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lambdad.sandbox import spec

INSIDE = Path(__file__).parent / "inside"
INSIDE_TARGET = "/mnt/lambdad/inside"
CODE_TARGET = "/mnt/code"

_SYSTEM_DIRECTORIES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SYSTEM_FILES = (
    "/etc/ld.so.cache", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/crypto-policies", "/etc/alternatives",
    "/etc/protocols", "/etc/services", "/etc/mime.types",
)  # fmt: skip

_FILES = {
    "/etc/passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    f"{spec.USER_NAME}:x:{spec.USER_ID}:{spec.GROUP_ID}::/tmp:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    "/etc/group": f"root:x:0:\n{spec.USER_NAME}:x:{spec.GROUP_ID}:\nnogroup:x:65534:\n",
    "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{spec.ENDPOINT_ADDRESS[0]} sandbox sandbox.localdomain lambdad\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    "/etc/resolv.conf": "",  # resolvers then ask loopback, where nothing answers: they are refused at once and give up
}


def for_environments(binds: Iterable[spec.Bind], code_store: Path, directories: Iterable[str] = ()) -> dict[str, Any]:
    """Return the plan of the root in which a template and its environments live."""
    plan = _with_system()
    plan["binds"] += [[one.source, one.target, one.read_only] for one in binds]
    plan["binds"] += [[str(INSIDE), INSIDE_TARGET, True], [str(code_store), CODE_TARGET, True]]
    plan["directories"] = ["/var/task", "/opt", "/var/runtime", "/tmp", "/mnt/proc", "/mnt/empty", "/root", "/etc", *directories]
    return plan


def for_program(binds: Iterable[spec.Bind], writable: Iterable[str] = ("/tmp",)) -> dict[str, Any]:
    """Return the plan of a root for one long-running program on the machine's own network, such as a server.

    Names are looked up as on the machine; /proc is not there at all.
    """
    plan = _with_system()
    plan["binds"] += [
        [path, path, True] for path in ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/localtime") if Path(path).exists()
    ]
    plan["files"] = {path: text for path, text in plan["files"].items() if path in ("/etc/passwd", "/etc/group")}
    plan["binds"] += [[one.source, one.target, one.read_only] for one in binds]
    plan["writable"] = list(writable)
    plan["proc"] = False
    return plan


def interpreter_binds(interpreter: Path) -> tuple[spec.Bind, ...]:
    """Return what a Python interpreter needs beyond the system's directories: its own prefix, and its real prefix.

    Both are found by their places alone (``<prefix>/bin/python3``), virtual environments included; nothing is run.
    """
    prefixes: dict[str, None] = {}
    path = interpreter.absolute()
    for _ in range(16):  # a chain of links, as virtual environments of virtual environments make them
        prefixes[str(path.parent.parent)] = None
        if not path.is_symlink():
            break
        path = Path(os.path.normpath(path.parent / path.readlink()))
    prefixes[str(Path(os.path.realpath(interpreter)).parent.parent)] = None
    return tuple(
        spec.Bind(prefix, prefix)
        for prefix in prefixes
        if prefix not in ("/", "/usr") and not prefix.startswith("/usr/") and Path(prefix).is_dir()
    )


def _with_system() -> dict[str, Any]:
    """Start a plan: the system's programs and libraries, links kept as links, and the generated files."""
    links: dict[str, str] = {}
    binds: list[list[Any]] = []
    for name in _SYSTEM_DIRECTORIES:
        path = Path(name)
        if path.is_symlink():
            links[name] = str(path.readlink())
        elif path.is_dir():
            binds.append([name, name, True])
    binds += [[name, name, True] for name in _SYSTEM_FILES if Path(name).exists()]
    return {"binds": binds, "links": links, "files": dict(_FILES), "directories": [], "size_bytes": 4 << 20}

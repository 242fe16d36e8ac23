"""From a matched runtime to what the worker must do to start it: binds, commands, variables, all as values. Pure.

Only `find_runtime_files` looks at the machine, once, for where our own files and the SDK lie.
"""

import hashlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lambdad.runtimes import environment, java_client
from lambdad.runtimes.catalogue import Family
from lambdad.runtimes.discovery import Interpreter
from lambdad.runtimes.java_client import JavaClient
from lambdad.runtimes.matching import Match

LANGUAGE_DIR = "/var/lang"
RUNTIME_DIR = "/var/runtime"
PROVIDED_ENTRYPOINTS = ("/var/task/bootstrap", "/opt/bootstrap")
_SDK = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
_HIDDEN_LATER = ("/opt", "/tmp", "/var", "/proc", "/dev", "/sys")  # an environment puts something else there
_BOOTSTRAPS = {Family.PYTHON: "python/bootstrap.py", Family.NODEJS: "node/bootstrap.cjs", Family.RUBY: "ruby/bootstrap.rb"}
_SNAPSHOT_HOOKS = "snapshot_restore_py.py"
_JAR = "lambdad.jar"

# What a process reads once, when it starts. A function that sets one of these cannot be given a process made ahead.
_READ_AT_START = re.compile(r"LD_.*|MALLOC_.*|GLIBC_TUNABLES|OPENSSL_CONF|OPENSSL_MODULES")
_READ_AT_START_BY = {
    Family.PYTHON: re.compile(r"PYTHON(?!PATH$|DONTWRITEBYTECODE$|UNBUFFERED$|ASYNCIODEBUG$|BREAKPOINT$).*"),
    Family.NODEJS: re.compile(
        r"NODE_(OPTIONS|EXTRA_CA_CERTS|ICU_DATA|NO_WARNINGS|PENDING_DEPRECATION|DEBUG.*|V8_COVERAGE|PRESERVE_SYMLINKS.*)|"
        r"UV_THREADPOOL_SIZE|SSL_CERT_.*|LANG|LC_.*|NO_COLOR|FORCE_COLOR"
    ),
    Family.JAVA: re.compile(r"_?JAVA_(TOOL_)?OPTIONS|JDK_JAVA_OPTIONS|CLASSPATH|TZ|LANG|LC_.*"),
    Family.RUBY: re.compile(r"RUBY.*|LANG|LC_.*"),
}


class Kind(StrEnum):
    """How an environment's runtime process comes to be."""

    FORK = "fork"  # forked from a template: see python/bootstrap.py's `preload` and `main`
    EXEC = "exec"  # a program of its own


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of the machine to be seen, read-only, in an environment."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFiles:
    """Where the files that lambdad itself brings lie on this machine.

    Args:
        directory: of our bootstraps.
        java: AWS's client for Java, if it has been installed.
        sdk: name below /var/runtime to path, e.g. {"boto3": "/.../site-packages/boto3", "six.py": ...}.
        sdk_oldest: the oldest Python that the SDK runs on.
    """

    directory: str
    sdk: Mapping[str, str]
    sdk_oldest: tuple[int, ...]
    java: JavaClient | None = None

    @property
    def without(self) -> frozenset[Family]:
        """Families whose client would have to be installed first; for `matching`."""
        return frozenset() if self.java is not None else frozenset((Family.JAVA,))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePlan:
    """All that the worker needs to start one function's runtime.

    Args:
        interpreter: as seen from inside; "" for OS-only runtimes.
        bootstrap: our runtime client, as seen from inside; "" for OS-only runtimes.
        binds: what must be visible inside beyond /usr, /lib, /lib64 and /bin, in order.
        directories: to be made in the template's root before its process starts. The loader remembers directories of
            LD_LIBRARY_PATH that were missing when it first looked, and a forked function would inherit that.
        commands: for both kinds; to be tried in order, the first whose program is there is the one.
        environment: the defaults that a customer may replace; see `environment.build`.
        template_environment: for the template, or the stem cell, before it is anybody's.
        key: equal for plans that can share a template or a stem cell.
        stem: a process made ahead can become this function (LAMBDAD_STEM_FD); only for kind EXEC.
        stem_command: what such a process executes; () without one. It is `commands[0]`, and may differ by memory size.
        notes: lines that the function's log should carry, e.g. that another version runs than was asked for.
        read_through: files that every start maps, beyond the interpreter: better in the page cache on the worker's account.
    """

    match: Match
    kind: Kind
    interpreter: str
    bootstrap: str
    binds: tuple[Bind, ...]
    directories: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    environment: Mapping[str, str]
    template_environment: Mapping[str, str]
    key: str
    stem: bool
    stem_command: tuple[str, ...] = ()
    notes: tuple[str, ...]
    read_through: tuple[str, ...] = ()


def find_runtime_files(runtimes_dir: Path | None = None) -> RuntimeFiles:
    """Find our bootstraps, boto3 with what it needs among the packages that lambdad itself runs with, and what was installed."""
    sdk: dict[str, str] = {}
    for name in _SDK:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        path = Path(spec.origin)
        path = path.parent if path.name == "__init__.py" else path
        sdk[path.name] = str(path)
    try:
        required = importlib.metadata.metadata("boto3")["Requires-Python"] or ""
    except importlib.metadata.PackageNotFoundError:
        required = ""
    oldest = re.search(r">=\s*(\d+)\.(\d+)", required)
    return RuntimeFiles(
        directory=str(Path(__file__).parent),
        sdk=sdk,
        sdk_oldest=tuple(map(int, oldest.groups())) if oldest else (3, 8),
        java=None if runtimes_dir is None else java_client.find(runtimes_dir),
    )


def launch(
    match: Match,
    *,
    memory_mib: int,
    customer: Mapping[str, str],
    files: RuntimeFiles,
    fenced: bool = True,
    task_root: str = "/var/task",
    layers_root: str = "/opt",
) -> RuntimePlan:
    """Plan how a function's runtime is started.

    Args:
        memory_mib: of the function; Node.js is told to stay below it.
        customer: the function's own variables: some need a process of their own, AWS_LAMBDA_EXEC_WRAPPER needs a program.
        fenced: False plans for a plain process without a root of its own: nothing is bound, all paths are the machine's.
        task_root, layers_root: where code and layers lie for it; only other than AWS's when not fenced.
    """
    interpreter, runtime = match.interpreter, match.runtime
    if interpreter is None:
        return _provided(match, task_root=task_root, layers_root=layers_root)
    source = _source(runtime.family, files)
    runtime_dir = RUNTIME_DIR if fenced else str(Path(source).parent)
    bootstrap = f"{runtime_dir}/{Path(source).name}"
    program = _inside(interpreter) if fenced else interpreter.path
    binds = _binds(interpreter, files) if fenced else ()
    variables = environment.defaults(runtime, task_root=task_root, runtime_dir=runtime_dir)
    if runtime.family is Family.RUBY and not match.exact:
        variables["GEM_PATH"] += _gems_of(interpreter, task_root)
    if not fenced:
        variables = _in_place(variables, interpreter, files, layers_root)
    match runtime.family:
        case Family.NODEJS:
            command = (program, *_memory_options(memory_mib), bootstrap)
        case Family.JAVA:
            command = (program, *_java_options(interpreter, files, memory_mib, runtime_dir, customer), "-jar", bootstrap)
        case _:
            command = (program, bootstrap)
    wrapper = customer.get("AWS_LAMBDA_EXEC_WRAPPER", "")
    ahead = not wrapper and not _needs_own_start(runtime.family, customer, variables)
    forked = ahead and fenced and runtime.family is Family.PYTHON
    stem = ahead and not forked and _can_wait(runtime.family, files)
    names = ("LANG", "TZ", "PATH", "LD_LIBRARY_PATH", "NODE_PATH", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "RUBYLIB")
    template = {name: variables[name] for name in names if name in variables}
    return RuntimePlan(
        match=match,
        kind=Kind.FORK if forked else Kind.EXEC,
        interpreter=program,
        bootstrap=bootstrap,
        binds=binds,
        directories=(f"{task_root}/lib", f"{layers_root}/lib", f"{RUNTIME_DIR}/lib") if fenced else (),
        commands=((wrapper, *command) if wrapper else command,),
        environment=variables,
        template_environment=template,
        key=_key(interpreter.identity, command, template),
        stem=stem,
        stem_command=command if stem else (),
        notes=_notes(match, interpreter, files),
        read_through=_read_through(interpreter, files),
    )


def _provided(match: Match, *, task_root: str, layers_root: str) -> RuntimePlan:
    entrypoints = (f"{task_root}/bootstrap", f"{layers_root}/bootstrap")
    return RuntimePlan(
        match=match,
        kind=Kind.EXEC,
        interpreter="",
        bootstrap="",
        binds=(),
        directories=(),
        commands=tuple((entrypoint,) for entrypoint in entrypoints),
        environment=environment.defaults(match.runtime, task_root=task_root),
        template_environment={},
        key=_key(match.runtime.name, entrypoints, {}),
        stem=False,
        notes=(),
    )


def missing_entrypoint(plan: RuntimePlan) -> str:
    """Return AWS's text for an OS-only function without a program (Runtime.InvalidEntrypoint)."""
    return f"Couldn't find valid bootstrap(s): [{' '.join(command[0] for command in plan.commands)}]"


def _inside(interpreter: Interpreter) -> str:
    """Return where the interpreter is seen in an environment: in /usr, or where AWS puts languages."""
    if not interpreter.parts:
        return interpreter.path
    return LANGUAGE_DIR + interpreter.path[len(interpreter.prefix.rstrip("/")) :]


def _binds(interpreter: Interpreter, files: RuntimeFiles) -> tuple[Bind, ...]:
    prefix = interpreter.prefix
    targets = [LANGUAGE_DIR] if interpreter.parts else []
    if interpreter.runs_in_place and not f"{prefix}/".startswith(tuple(f"{path}/" for path in _HIDDEN_LATER)):
        targets.append(prefix)
    binds = [Bind(f"{prefix}/{part}".rstrip("/"), f"{target}/{part}".rstrip("/")) for target in targets for part in interpreter.parts]
    binds += [Bind(path, path) for path in interpreter.also]
    source = _source(interpreter.family, files)
    if interpreter.family is Family.JAVA:
        binds.append(Bind(str(Path(source).parent), RUNTIME_DIR))
    else:
        binds.append(Bind(source, f"{RUNTIME_DIR}/{Path(source).name}"))
    if interpreter.family is Family.PYTHON:
        binds.append(Bind(f"{files.directory}/python/{_SNAPSHOT_HOOKS}", f"{RUNTIME_DIR}/{_SNAPSHOT_HOOKS}"))
    if _has_sdk(interpreter, files):
        binds += [Bind(path, f"{RUNTIME_DIR}/{name}") for name, path in files.sdk.items()]
    return tuple(binds)


def _source(family: Family, files: RuntimeFiles) -> str:
    """Return where a family's bootstrap lies on this machine."""
    if family is Family.JAVA:
        assert files.java is not None, "a runtime without its client is not matched"
        return f"{files.java.directory}/{_JAR}"
    return f"{files.directory}/{_BOOTSTRAPS[family]}"


def _can_wait(family: Family, files: RuntimeFiles) -> bool:
    """Say whether a family's bootstrap can boot ahead of its function."""
    return family in (Family.NODEJS, Family.RUBY) or (family is Family.JAVA and files.java is not None and files.java.stem_cells)


def _has_sdk(interpreter: Interpreter, files: RuntimeFiles) -> bool:
    return interpreter.family is Family.PYTHON and bool(files.sdk) and interpreter.version >= files.sdk_oldest


def _in_place(variables: dict[str, str], interpreter: Interpreter, files: RuntimeFiles, layers_root: str) -> dict[str, str]:
    """Rewrite the defaults for a process that sees the machine as it is."""
    lang = interpreter.prefix.rstrip("/")
    names = ("PATH", "LD_LIBRARY_PATH", "NODE_PATH", "GEM_PATH", "RUBYLIB")
    changed = {
        name: ":".join(re.sub(r"^/opt(?=/|$)", layers_root, re.sub(r"^/var/lang(?=/)", lang, entry)) for entry in value.split(":"))
        for name, value in variables.items()
        if name in names
    }
    if _has_sdk(interpreter, files):
        changed["PYTHONPATH"] = str(Path(files.sdk["boto3"]).parent) if "boto3" in files.sdk else ""
    return {**variables, **changed}


def _memory_options(memory_mib: int) -> tuple[str, ...]:
    """Divide a function's memory between V8's generations as AWS does: a tenth for the young one."""
    young = memory_mib // 10
    return (f"--max-semi-space-size={young // 2}", f"--max-old-space-size={memory_mib - young}")


def _java_options(
    interpreter: Interpreter, files: RuntimeFiles, memory_mib: int, runtime_dir: str, customer: Mapping[str, str]
) -> tuple[str, ...]:
    """
    Divide a function's memory as AWS does: a tenth for classes, a twentieth for compiled code, the rest for objects.

    Source: the command line of AWS's runtimes, as seen from inside at several memory sizes.
    """
    memory_kib = memory_mib * 1024
    classes_kib = min(memory_kib // 10, 160 * 1024)
    code_kib = min(memory_kib // 20, 80 * 1024)
    first_kib = max(memory_kib // 64, 8 * 1024)  # what a machine of this size would begin with
    options = [
        f"-XX:MaxHeapSize={memory_kib - classes_kib - code_kib}k",
        f"-XX:InitialHeapSize={first_kib}k",
        f"-XX:MaxMetaspaceSize={classes_kib}k",
        f"-XX:ReservedCodeCacheSize={code_kib}k",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-Xshare:auto",
        "-Djava.net.preferIPv4Stack=true",
    ]
    own_options = customer.get("JAVA_TOOL_OPTIONS", "")
    for name in ("file.encoding", "sun.jnu.encoding"):
        if name not in own_options:  # what comes of LANG on AWS; this machine may not have that locale
            options.append(f"-D{name}=UTF-8")
    archive = java_client.archive_name(interpreter)
    if files.java is not None and archive in files.java.archives:
        options.append(f"-XX:SharedArchiveFile={runtime_dir}/cds/{archive}")
    return tuple(options)


def _gems_of(interpreter: Interpreter, task_root: str) -> str:
    """Return where gems for the Ruby that really runs would be, after those for the one that was asked for."""
    version = ".".join(map(str, (*interpreter.version[:2], 0)))
    return f":{task_root}/vendor/bundle/ruby/{version}:/opt/ruby/gems/{version}"


def _read_through(interpreter: Interpreter, files: RuntimeFiles) -> tuple[str, ...]:
    if interpreter.family is not Family.JAVA or files.java is None:
        return ()
    machine = f"{interpreter.prefix}/lib/server"
    jars = (f"{files.java.directory}/lib/{artifact.file}" for artifact in java_client.ARTIFACTS)
    return (
        f"{machine}/libjvm.so",
        f"{machine}/classes.jsa",
        *jars,
        f"{files.java.directory}/{_JAR}",
        f"{files.java.directory}/cds/{java_client.archive_name(interpreter)}",
    )


def _needs_own_start(family: Family, customer: Mapping[str, str], variables: Mapping[str, str]) -> bool:
    """Say whether the customer changes a variable that only a new process would notice."""
    for name, value in customer.items():
        if variables.get(name) == value:
            continue
        if _READ_AT_START.fullmatch(name) or _READ_AT_START_BY[family].fullmatch(name):
            return True
    return False


def _notes(match: Match, interpreter: Interpreter, files: RuntimeFiles) -> tuple[str, ...]:
    notes = [match.warning] if match.warning else []
    if interpreter.family is Family.PYTHON and not _has_sdk(interpreter, files):
        oldest = ".".join(map(str, files.sdk_oldest))
        notes.append(f"lambdad: boto3 needs Python {oldest}; put one that runs on this version into the function or a layer")
    return tuple(notes)


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

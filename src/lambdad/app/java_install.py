"""`lambdad runtimes install java`: AWS's runtime client for Java, fetched by Maven, and what belongs to it, built on this machine.

Needs Maven (it knows where this user's repository is, and how to get there), a JDK, and a C compiler for stem cells.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lambdad.app import java_rehearsal
from lambdad.runtimes import java_client
from lambdad.runtimes.catalogue import Family
from lambdad.runtimes.discovery import Interpreter

_DOWNLOAD_TIMEOUT_S = 600.0
_BUILD_TIMEOUT_S = 120.0
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies"
_SOURCES = Path(java_client.__file__).with_name("java")
_LIBRARY_FOR = {"x86_64": "linux-x86_64", "aarch64": "linux-aarch_64"}
_MANIFEST_LINE_BYTES = 70

Say = Callable[[str], None]


class InstallFailed(Exception):
    """The text says what was missing or went wrong, and what would help."""


def install(runtimes_dir: Path, interpreters: Iterable[Interpreter], *, jars: Path | None, say: Say) -> Path:
    """
    Make the directory that becomes /var/runtime of Java functions; an older one is replaced.

    Args:
        jars: a directory that has AWS's jars already, for a machine without Maven; None asks Maven.
        say: is told, line by line, what happens.

    Returns:
        The directory.

    Raises:
        InstallFailed: nothing was changed.

    Ordering: everything is checked and built beside its place, and then renamed. A lambdad that runs sees it at its next start.
    """
    machines = [one for one in interpreters if one.family is Family.JAVA]
    jdk = _find_jdk(machines)
    runtimes_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".java-", dir=runtimes_dir) as scratch:
        made = Path(scratch, java_client.DIRECTORY)
        made.mkdir(mode=0o755)
        for name in ("lib", "native", "rehearsal", "cds"):
            made.joinpath(name).mkdir(mode=0o755)
        _fetch(jars, made / "lib", Path(scratch), say)
        _compile(jdk, made, Path(scratch), say)
        text = json.dumps({"recipe": java_client.recipe(), "artifacts": [artifact.file for artifact in java_client.ARTIFACTS]})
        made.joinpath("made.json").write_text(text)
        _publish(made, runtimes_dir / java_client.DIRECTORY, Path(scratch, "replaced"))
    directory = runtimes_dir / java_client.DIRECTORY
    client = java_client.find(runtimes_dir)
    assert client is not None
    if client.stem_cells:
        for machine in machines:
            if machine.version >= java_client.ARCHIVES_FROM:
                java_rehearsal.record(machine, client, say)
    return directory


def _find_jdk(machines: Sequence[Interpreter]) -> Path:
    """Return the prefix of the oldest JDK with a compiler: what it compiles runs on the newer ones, too."""
    for machine in sorted(machines, key=lambda one: one.version):
        if Path(machine.prefix, "bin", "javac").is_file():
            return Path(machine.prefix)
    found = ", ".join(map(str, machines)) or "no Java at all"
    raise InstallFailed(f"a JDK (with javac) is needed once, and there is {found}; on Debian: apt install default-jdk-headless")


def _fetch(jars: Path | None, target: Path, scratch: Path, say: Say) -> None:
    """Put the jars into ``target``, and believe nobody that they are what they should be."""
    if jars is None:
        say(f"Fetching AWS's runtime interface client {java_client.ARTIFACTS[0].version} with Maven")
        _run_maven(target, scratch)
    else:
        for artifact in java_client.ARTIFACTS:
            try:
                shutil.copyfile(jars / artifact.file, target / artifact.file)
            except OSError as error:
                raise InstallFailed(f"{jars / artifact.file}: {error.strerror}") from error
    for artifact in java_client.ARTIFACTS:
        file = target / artifact.file
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != artifact.sha256:
            raise InstallFailed(f"{artifact.file} is not the one that was published: its SHA-256 should be {artifact.sha256}")
        file.chmod(0o644)
    say(f"Checked {len(java_client.ARTIFACTS)} jars by their SHA-256")


def _run_maven(target: Path, scratch: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        names = " ".join(artifact.file for artifact in java_client.ARTIFACTS)
        raise InstallFailed(f"Maven (mvn) is needed, on Debian: apt install maven; or --from a directory with {names}")
    dependencies = "".join(
        f"<dependency><groupId>{one.group}</groupId><artifactId>{one.name}</artifactId><version>{one.version}</version></dependency>"
        for one in java_client.ARTIFACTS
    )
    scratch.joinpath("pom.xml").write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>lambdad</groupId><artifactId>runtime</artifactId><version>1</version>"
        f"<packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>\n"
    )
    command = [maven, "-B", "-q", "-C", "-f", str(scratch / "pom.xml"), _COPY, f"-DoutputDirectory={target}", "-DexcludeTransitive=true"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False, text=True, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallFailed(f"Maven: {error}") from error
    if done.returncode:
        raise InstallFailed("Maven could not fetch AWS's jars:\n" + "\n".join((done.stdout + done.stderr).splitlines()[:6]))


def _compile(jdk: Path, made: Path, scratch: Path, say: Say) -> None:
    classes = scratch / "classes"
    classes.mkdir()
    sources = [str(_SOURCES / name) for name in java_client.SOURCES if name.endswith(".java")]
    compiler = [str(jdk / "bin/javac"), "-source", "8", "-target", "8", "-Xlint:-options", "-encoding", "UTF-8", "-cp", str(made / "lib/*")]
    _build([*compiler, "-d", str(classes), *sources], "javac")
    made.joinpath("rehearsal/lambdad").mkdir(mode=0o755)
    shutil.move(classes / "lambdad/Rehearsal.class", made / "rehearsal/lambdad/Rehearsal.class")
    _pack(made, classes)
    _unpack_library(made)
    if (cc := shutil.which("cc")) is None:
        say("No C compiler (cc) was found: Java functions will start without stem cells, some 100 ms slower")
        return
    headers = jdk / "include"
    target = made / "native/liblambdad.so"
    options = ["-O1", "-shared", "-fPIC", f"-I{headers}", f"-I{headers / 'linux'}", "-o", str(target), str(_SOURCES / "process.c")]
    _build([cc, *options], "cc")
    target.chmod(0o644)


def _build(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_BUILD_TIMEOUT_S, check=False, text=True, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallFailed(f"{what}: {error}") from error
    if done.returncode:
        raise InstallFailed(f"{what} failed:\n{done.stdout}{done.stderr}".rstrip())


def _pack(made: Path, classes: Path) -> None:
    """Make lambdad.jar. The log frames of AWS's client need java.io to be open, as on AWS."""
    path = " ".join(f"lib/{artifact.file}" for artifact in java_client.ARTIFACTS)
    entries = [
        "Manifest-Version: 1.0",
        "Main-Class: lambdad.Bootstrap",
        "Add-Opens: java.base/java.io",
        "Enable-Native-Access: ALL-UNNAMED",
        f"Class-Path: {path}",
    ]
    lines = []
    for entry in entries:
        lines.append(entry[:_MANIFEST_LINE_BYTES])
        rest = entry[_MANIFEST_LINE_BYTES:]
        lines += [f" {rest[at : at + _MANIFEST_LINE_BYTES - 1]}" for at in range(0, len(rest), _MANIFEST_LINE_BYTES - 1)]
    with zipfile.ZipFile(made / "lambdad.jar", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("META-INF/MANIFEST.MF", "".join(f"{line}\r\n" for line in lines))
        archive.write(classes / "lambdad/Bootstrap.class", "lambdad/Bootstrap.class")


def _unpack_library(made: Path) -> None:
    """Take the library for this machine out of AWS's jar; without it the client unpacks it itself, at each start."""
    name = _LIBRARY_FOR.get(os.uname().machine)
    if name is None or any(Path("/lib").glob("ld-musl-*")):
        return
    with zipfile.ZipFile(made / "lib" / java_client.ARTIFACTS[0].file) as archive:
        made.joinpath("native/libaws-lambda-jni.so").write_bytes(archive.read(f"jni/libaws-lambda-jni.{name}.so"))


def _publish(made: Path, place: Path, replaced: Path) -> None:
    """Put a directory into its place; what was there goes away with the scratch directory."""
    for path in made.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    if place.exists():
        place.rename(replaced)
    made.rename(place)

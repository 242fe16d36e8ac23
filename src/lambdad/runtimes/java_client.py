"""AWS's runtime interface client for Java, as `lambdad runtimes install java` lays it out: a directory that becomes /var/runtime.

lib/*.jar                       AWS's, unchanged
lambdad.jar                     java/Bootstrap.java, compiled; its manifest leads to lib
native/libaws-lambda-jni.so     out of AWS's jar, so that it is not unpacked at each start
native/liblambdad.so            java/process.c, compiled; without it there are no stem cells
rehearsal/                      the function that the archives are made with
cds/*.jsa                       what a virtual machine loads for every function, one for each virtual machine
made.json                       of what all this was made
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from lambdad.runtimes.discovery import Interpreter

DIRECTORY = "java"
ARCHIVES_FROM = (13,)  # the first version that archives the classes of a program as it ends
SOURCES = ("Bootstrap.java", "Rehearsal.java", "process.c")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One jar, by its Maven coordinates, and what it must be."""

    group: str
    name: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.name}-{self.version}.jar"


ARTIFACTS = (
    Artifact(
        "com.amazonaws",
        "aws-lambda-java-runtime-interface-client",
        "2.9.0",
        "26568a5f63bf9e921567e77661be425650abc8972bae2aa0b7e99bab4e4239d9",
    ),
    Artifact("com.amazonaws", "aws-lambda-java-core", "1.4.0", "575c24393cc1ad645e83e618956eabd89ffe8cc09efae2cb62bc6589154d68ed"),
    Artifact("com.amazonaws", "aws-lambda-java-serialization", "1.2.0", "1513c1f945a3213f916a4b2de1760c97b51d84d110f82bbbcf9cfac53d5651e7"),
    Artifact("software.amazon.awssdk", "utils-lite", "2.34.0", "efaf784f07ae526f0b5c89d71ef21cf16636131c47d44616e3df9bedc3f4f89a"),
    Artifact("software.amazon.awssdk", "annotations", "2.34.0", "fafdcb55f4e5af603f5219f4a2b080aa0decb562a7c0944f7a7eca82dd47e487"),
)
"""AWS's client and all that it needs, each under the Apache License 2.0."""


@dataclass(frozen=True, slots=True)
class JavaClient:
    """An installed client.

    Args:
        directory: where it lies.
        stem_cells: a virtual machine can be booted ahead of its function.
        archives: names of files in ``cds``.
    """

    directory: str
    stem_cells: bool = False
    archives: frozenset[str] = frozenset()


def recipe() -> str:
    """Return a digest of all that an installation is made of. One that was made of something else is to be made again."""
    digest = hashlib.sha256(repr(ARTIFACTS).encode())
    for name in SOURCES:
        digest.update(Path(__file__).with_name("java").joinpath(name).read_bytes())
    return digest.hexdigest()


def archive_name(interpreter: Interpreter) -> str:
    """Return the name of the archive for exactly this virtual machine."""
    return hashlib.sha256(interpreter.identity.encode()).hexdigest()[:16] + ".jsa"


def find(runtimes_dir: Path) -> JavaClient | None:
    """Return what is installed below a directory; None when nothing is, or what another version of lambdad has made."""
    directory = runtimes_dir / DIRECTORY
    try:
        made = json.loads(directory.joinpath("made.json").read_bytes())
        archives = frozenset(path.name for path in directory.joinpath("cds").glob("*.jsa"))
    except (OSError, ValueError):
        return None
    if not isinstance(made, dict) or made.get("recipe") != recipe():
        return None
    return JavaClient(str(directory), directory.joinpath("native", "liblambdad.so").is_file(), archives)

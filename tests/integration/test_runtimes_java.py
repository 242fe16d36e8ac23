"""AWS's Java client as a process: started at once, and booted ahead as a stem cell."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_runtime_api import WAIT_S, running

from lambdad.app import java_install
from lambdad.runtimes import discovery, java_client, matching, plans
from lambdad.runtimes.catalogue import Family

PROGRAMS = Path(__file__).parents[1] / "acceptance" / "programs" / "java"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK is installed"),
    pytest.mark.skipif(shutil.which("mvn") is None, reason="Maven is not installed"),
]

MACHINES = [one for one in discovery.discover(discovery.usual_places(os.environ, os.environ.get("HOME", ""))) if one.family is Family.JAVA]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> plans.RuntimeFiles:
    """An installation, and what was said of it."""
    place = tmp_path_factory.mktemp("runtimes")
    said: list[str] = []
    try:
        java_install.install(place, MACHINES, jars=None, say=said.append)
    except java_install.InstallFailed as failed:
        if "Maven could not fetch" in str(failed):
            pytest.skip("the repository of Maven cannot be reached")
        raise
    found = plans.find_runtime_files(place)
    assert found.java is not None
    assert any("by their SHA-256" in line for line in said)
    return found


@pytest.fixture(scope="module")
def task(files: plans.RuntimeFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("task")
    assert files.java is not None
    command = ["javac", "-source", "8", "-target", "8", "-Xlint:-options", "-cp", f"{files.java.directory}/lib/*", "-d", str(target)]
    subprocess.run([*command, *(str(path) for path in PROGRAMS.glob("*.java"))], check=True)
    target.joinpath("data.txt").write_text("relative")
    return target


def plan_for(machine: discovery.Interpreter, files: plans.RuntimeFiles) -> plans.RuntimePlan:
    """Plan a start on this very virtual machine, without a fence."""
    match = matching.match("java17", [machine])
    assert match is not None
    return plans.launch(match, memory_mib=256, customer={}, files=files, fenced=False)


@contextmanager
def stem_cell(plan: plans.RuntimePlan) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A virtual machine that waits; the descriptor is where its function is told."""
    reading, writing = os.pipe()
    hearing, ready = os.pipe()
    environment = {**plan.template_environment, "LAMBDAD_STEM_FD": str(reading), "LAMBDAD_STEM_READY_FD": str(ready)}
    process = subprocess.Popen(plan.stem_command, env=environment, cwd="/", pass_fds=[reading, ready], stdout=subprocess.DEVNULL)
    os.close(reading)
    os.close(ready)
    try:
        assert os.read(hearing, 1) == b""  # closed when it waits
        os.close(hearing)
        yield process, writing
    finally:
        process.kill()
        process.wait(WAIT_S)
        os.close(writing)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda one: f"java{one.version[0]}")
def test_a_stem_cell_becomes_a_function(machine: discovery.Interpreter, files: plans.RuntimeFiles, task: Path) -> None:
    """Variables, native ones included, and the working directory are the function's; nothing of the stem cell's is left."""
    plan = plan_for(machine, files)
    with running([plan.commands[0][0], "-version"], task, handler="x") as other, stem_cell(plan) as (_, writing):
        environment = {
            **plan.environment,
            "_HANDLER": "example.Handlers::process",
            "AWS_LAMBDA_RUNTIME_API": other.api.address,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_GROUP_NAME": "g",
            "AWS_LAMBDA_LOG_STREAM_NAME": "s",
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "CUSTOM": "küche = '\"\\ \n zwei",
        }
        line = json.dumps({"environment": environment, "cwd": str(task)}).encode() + b"\n"
        for start in range(0, len(line), 700):  # it may come in pieces
            os.write(writing, line[start : start + 700])
        seen: dict[str, Any] = other.invoke({}).json()
        assert seen["environment"] == environment
        assert seen["child"] == f"{environment['CUSTOM']}\n{task}\n".replace(" \n zwei", " zwei")
        assert seen["directory"] == str(task) and seen["file"] == "relative"
        assert not Path("/tmp/.libaws-lambda-jni.so").exists()


@pytest.mark.parametrize("machine", MACHINES, ids=lambda one: f"java{one.version[0]}")
def test_a_stem_cell_without_a_function_leaves(machine: discovery.Interpreter, files: plans.RuntimeFiles) -> None:
    """A virtual machine made ahead ends when nobody can give it a function any more."""
    reading, writing = os.pipe()
    plan = plan_for(machine, files)
    process = subprocess.Popen(plan.stem_command, env={"LAMBDAD_STEM_FD": str(reading)}, pass_fds=[reading])
    os.close(reading)
    os.close(writing)
    assert process.wait(60) == 0


def test_what_was_not_published_is_refused(files: plans.RuntimeFiles, tmp_path: Path) -> None:
    """A jar that has been changed is found out, and what was installed stays."""
    assert files.java is not None
    jars = tmp_path / "jars"
    shutil.copytree(Path(files.java.directory, "lib"), jars)
    place = tmp_path / "runtimes"
    said: list[str] = []
    java_install.install(place, MACHINES[:1], jars=jars, say=said.append)
    before = java_client.find(place)
    changed = jars / java_client.ARTIFACTS[1].file
    changed.write_bytes(changed.read_bytes() + b"x")
    with pytest.raises(java_install.InstallFailed, match=f"{changed.name} is not the one that was published"):
        java_install.install(place, MACHINES[:1], jars=jars, say=said.append)
    changed.unlink()
    with pytest.raises(java_install.InstallFailed, match="No such file"):
        java_install.install(place, MACHINES[:1], jars=jars, say=said.append)
    assert before is not None and java_client.find(place) == before
    assert [path.name for path in place.iterdir()] == ["java"]

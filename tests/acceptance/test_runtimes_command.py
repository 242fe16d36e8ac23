"""`lambdad runtimes` as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import PYTHON
from lambdad.runtimes import catalogue


def run(*arguments: str, runtimes_dir: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lambdad.cli.main", "runtimes", *arguments]
    environment = {**os.environ, "LAMBDAD_RUNTIMES_DIR": str(runtimes_dir), "LAMBDAD_INTERPRETER_DIRS": str(Path(sys.executable).parent)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_list_as_json(tmp_path: Path):
    """Every identifier that functions could be created with, what runs it, and how to add what is missing."""
    done = run("--json", runtimes_dir=tmp_path)
    assert done.returncode == 0, done.stderr
    listed = {one["runtime"]: one for one in json.loads(done.stdout)}
    assert set(listed) == set(catalogue.CURRENT)
    own = listed[PYTHON]
    assert (own["runs"], own["exact"], own["missing"], own["how"]) == (True, True, None, None)
    assert Path(own["path"]).is_file() and own["version"].startswith(PYTHON.removeprefix("python"))
    assert listed["provided.al2023"]["runs"] and not listed["dotnet8"]["runs"]
    assert listed["java21"]["how"] == "lambdad runtimes install java" and "not installed" in listed["java21"]["missing"]
    assert all(one["how"] for one in listed.values() if not one["exact"])
    exact = {one["runtime"]: one for one in json.loads(run("--json", "--runtimes", "exact", runtimes_dir=tmp_path).stdout)}
    assert all(one["exact"] for one in exact.values() if one["runs"])
    assert {name for name, one in exact.items() if one["runs"]} == {name for name, one in listed.items() if one["exact"]}


def test_the_list_for_people(tmp_path: Path):
    """The same as a table, with what to do below it."""
    done = run(runtimes_dir=tmp_path)
    assert done.returncode == 0 and PYTHON in done.stdout
    assert "To add what is missing" in done.stdout and "lambdad runtimes install java" in done.stdout


def test_what_cannot_be_installed(tmp_path: Path):
    """A missing language is wrong usage; jars that are not there are a failure, and leave nothing behind."""
    done = run("install", runtimes_dir=tmp_path)
    assert done.returncode == 2 and "install what?" in done.stderr
    done = run("install", "java", "--from", str(tmp_path / "nothing"), runtimes_dir=tmp_path / "made")
    assert done.returncode == 1 and done.stderr.startswith("lambdad: ")
    assert not list((tmp_path / "made").glob("*"))

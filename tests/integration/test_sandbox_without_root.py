"""Fences in a user namespace, and no fences at all: what an ordinary user gets, and what is said about it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambdad.sandbox import probe

ORDINARY = 64_123
SOURCE = Path(probe.__file__).parents[2]
pytestmark = pytest.mark.sandbox


def interpreter_for(user: int) -> str:
    """Return an interpreter that ``user`` may run: this one, or the system's."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run([candidate, "-I", "-c", f"open({str(SOURCE / 'lambdad/__init__.py')!r})"], user=user, group=user,
                           extra_groups=[], check=True, capture_output=True)  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            continue
        return candidate
    pytest.skip("no interpreter that an ordinary user may run")


@pytest.fixture
def scratch() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="lambdad-test-"))
    yield place
    shutil.rmtree(place)


def run(place: Path, mode: str, user: int | None) -> dict[str, Any]:
    interpreter = sys.executable
    ids: dict[str, Any] = {}
    if user is not None:
        interpreter = interpreter_for(user)
        os.chown(place, user, user)
        ids = {"user": user, "group": user, "extra_groups": []}
    done = subprocess.run(
        [interpreter, "-I", "-B", str(Path(__file__).with_name("sandbox_ordinary_user.py")), SOURCE, place, mode],
        capture_output=True, text=True, cwd="/", timeout=60, **ids,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.privileged
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become an ordinary user")
def test_an_ordinary_user_gets_fences_in_a_user_namespace(scratch: Path) -> None:
    """Without root: the same walls, one user id, limits by resource limits, freezing by signals."""
    seen = run(scratch, "rootless", ORDINARY)
    if seen["level"] == "plain":
        pytest.skip("user namespaces are forbidden here")
    assert seen["ids"] == [993, 990]
    assert seen["capabilities"] == [""] * 5
    assert seen["processes"] == 1
    assert seen["beside"] == [0, "993\n1\nx", 9]
    refused = {name: seen[name] for name in ("home", "write root", "write code", "write settings")}
    assert refused == {
        "home": "ENOENT", "write root": "EROFS", "write code": "EROFS", "write settings": "EROFS",
    }  # fmt: skip
    assert (seen["mount"], seen["unshare"], seen["interfaces"], seen["code store"]) == (-1, -1, ["lo"], [])
    assert seen["root"] in ("EPERM", "EINVAL")
    # init has the same user here: the signal may be sent, but the kernel keeps process 1 from it, else nothing had come back.
    assert seen["kill init"] in (None, "EPERM")
    assert seen["frozen state"] == "T"
    assert 1 << 20 < seen["peak"] < 1 << 28
    assert (seen["respawn exit"], seen["respawn output"]) == (0, "['kept']\n")
    assert "the kernel does not allow it" in seen["kept"] or "no x86-64" in seen["kept"]
    assert seen["ahead"] == [0, "NAME = 'one'\n"]
    assert seen["left"] == []


@pytest.mark.parametrize("user", [None, pytest.param(ORDINARY, marks=pytest.mark.privileged)])
def test_plain_processes_have_the_same_life(scratch: Path, user: int | None) -> None:
    """Where there are no namespaces: the same interface, translated paths, and nothing left after kill."""
    if user is not None and os.geteuid() != 0:
        pytest.skip("needs root to become an ordinary user")
    seen = run(scratch, "plain", user)
    assert seen["directories"] == ["one", ["handler.py"]]
    assert seen["no new privileges"]
    assert seen["api"]
    assert (seen["respawn exit"], seen["respawn output"]) == (4, "kept\n")
    assert (seen["left"], seen["unreaped"]) == ([], 1)


def test_the_probe_says_what_is_missing_and_what_follows() -> None:
    """Every mechanism is in the report once; whatever is missing comes with its consequence."""
    report = probe.probe()
    names = [finding.mechanism for finding in report.findings]
    assert len(names) == len(set(names)) >= 8
    for finding in report.findings:
        assert finding.ok or finding.consequence, finding
    assert report.isolation().fenced is (report.level is not probe.Level.PLAIN)


def test_a_machine_that_forbids_everything_is_plain_and_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """When not one step succeeds the level is plain, and the finding warns in plain words."""
    monkeypatch.setattr(probe, "_attempted", lambda _rootless: {"namespaces": 1})
    report = probe.probe()
    assert report.level is probe.Level.PLAIN
    (finding,) = [one for one in report.findings if one.mechanism == "namespaces"]
    assert not finding.ok
    assert "PLAIN PROCESSES" in finding.consequence
    assert "EPERM" in finding.detail
    assert not report.isolation().fenced

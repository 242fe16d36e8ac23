"""Where things are: plans of private roots, and the paths of plain processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lambdad.sandbox import fenced, plain, private_root, spec

PLACE = Path("/tmp/lambdad-plain-1-2-3-x")
BINDS = (spec.Bind("/srv/lambdad/runtime", "/var/runtime"), spec.Bind("/usr/lib/x", "/usr/lib/x"))
TRANSLATE = plain.translator(plain.mapping(BINDS, PLACE))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/var/task", f"{PLACE}/task"),
        ("/var/task/lib:/opt/lib:/usr/lib", f"{PLACE}/task/lib:{PLACE}/opt/lib:/usr/lib"),
        ("/var/tasks", "/var/tasks"),
        ("/home/opt", "/home/opt"),
        ("/optional", "/optional"),
        ("--dir=/tmp", f"--dir={PLACE}/tmp"),
        ("/tmp.old", "/tmp.old"),
        ("/var/runtime/bootstrap", "/srv/lambdad/runtime/bootstrap"),
        ("http://127.0.0.1/opt", "http://127.0.0.1/opt"),
        ("", ""),
    ],
)
def test_paths_are_translated_where_a_path_begins(text: str, expected: str) -> None:
    """Only whole path components at the start of a path are replaced."""
    assert TRANSLATE(text) == expected


def test_an_assignment_is_relocated_as_a_whole() -> None:
    """Directory, program, variables and payload all point to where things really are; numbers stay."""
    moved = plain.relocate(
        spec.Assignment(
            task="a",
            limits=spec.Limits(memory_bytes=1, cpu_millicores=1),
            environment={"LAMBDA_TASK_ROOT": "/var/task"},
            argv=("/var/runtime/bootstrap", "--x"),
            payload={"root": "/var/task", "list": ["/opt", 1, None], "deep": {"a": "/tmp"}},
        ),
        TRANSLATE,
    )
    assert moved.cwd == f"{PLACE}/task"
    assert moved.argv == ("/srv/lambdad/runtime/bootstrap", "--x")
    assert moved.environment == {"LAMBDA_TASK_ROOT": f"{PLACE}/task", "TMPDIR": f"{PLACE}/tmp"}
    assert moved.payload == {"root": f"{PLACE}/task", "list": [f"{PLACE}/opt", 1, None], "deep": {"a": f"{PLACE}/tmp"}}


def test_a_fenced_environment_is_not_translated() -> None:
    """Without a mapping the text stays as it is."""
    assert plain.translator({})("/var/task") == "/var/task"


def test_private_directories_of_the_dead_are_swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The sweep removes directories of dead instances and no others."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = plain.instances.own_instance()
    kept = plain.private_directory(own)
    dead = plain.private_directory(f"4194305-1-{own.split('-')[2]}")
    (dead / "tmp" / "file").write_text("x")
    assert plain.sweep() == [dead]
    assert kept.exists()
    assert not dead.exists()


def test_the_root_of_environments_shows_no_more_than_it_must(tmp_path: Path) -> None:
    """No home, no /etc of the machine but libraries' and certificates' files, no device but the five harmless ones."""
    plan = private_root.for_environments((spec.Bind("/x", "/y"),), tmp_path)
    sources = {source for source, _, _ in plan["binds"]}
    assert all(read_only for _, _, read_only in plan["binds"])
    assert [str(tmp_path), "/mnt/code", True] in plan["binds"]
    for secret in ("/", "/etc", "/home", "/root", "/var", "/run", "/sys", "/dev", "/etc/shadow", "/etc/passwd"):
        assert secret not in sources
    assert "sbx_user1051:x:993:990:" in plan["files"]["/etc/passwd"]
    assert plan["files"]["/etc/resolv.conf"] == ""


def test_interpreters_bring_their_prefixes(tmp_path: Path) -> None:
    """A virtual environment needs itself and the installation behind it; a system interpreter needs nothing more."""
    real, venv = tmp_path / "python", tmp_path / "venv"
    for prefix in (real, venv):
        (prefix / "bin").mkdir(parents=True)
    (real / "bin/python3.11").touch()
    (venv / "bin/python3.11").symlink_to(real / "bin/python3.11")
    (venv / "bin/python").symlink_to("python3.11")
    found = [one.target for one in private_root.interpreter_binds(venv / "bin/python")]
    assert found == [str(venv), str(real)]
    assert private_root.interpreter_binds(Path("/usr/bin/env")) == ()


def test_this_interpreter_can_run_again_behind_a_fence() -> None:
    """Every directory of modules is covered by a bind or by the system's directories."""
    targets = [one.target for one in fenced.python_binds()]
    for entry in sys.path:
        path = Path(entry or ".").absolute()
        if path.exists():
            assert any(path.is_relative_to(target) for target in (*targets, "/usr")), path


def test_all_modules_inside_are_forgotten_by_name():
    """What a fence is built with is out of the way of the function's own modules, `kernel` and `network` among them."""
    from lambdad.sandbox import private_root
    from lambdad.sandbox.inside import runtime

    there = {"" if path.stem == "__init__" else f".{path.stem}" for path in private_root.INSIDE.glob("*.py")}
    assert there == set(runtime.OWN_MODULES)

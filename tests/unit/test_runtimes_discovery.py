"""Finding interpreters in made-up directory trees."""

import json
import os
from pathlib import Path

import pytest

from lambdad.runtimes import discovery
from lambdad.runtimes.catalogue import Family

MACHINES = {"x86_64": 62, "aarch64": 183}
ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x03\0" + MACHINES.get(os.uname().machine, 62).to_bytes(2, "little")

pytestmark = pytest.mark.skipif(os.uname().machine not in MACHINES, reason="a processor these files are not made for")


def _program(path: Path, content: bytes = ELF) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def _installed_python(prefix: Path, minor: int, patch: int | None = None) -> Path:
    (prefix / "lib" / f"python3.{minor}").mkdir(parents=True)
    (prefix / "lib" / f"python3.{minor}" / "os.py").touch()
    if patch is not None:
        header = prefix / "include" / f"python3.{minor}" / "patchlevel.h"
        header.parent.mkdir(parents=True)
        header.write_text(f"#define PY_MINOR_VERSION {minor}\n#define PY_MICRO_VERSION        {patch}\n")
    return _program(prefix / "bin" / f"python3.{minor}")


def _discover(root: Path, cache: Path | None = None, **places: tuple[str, ...]) -> list[discovery.Interpreter]:
    given = {"directories": (str(root / "bin"),), "collections": (str(root / "versions"),), **places}
    return list(discovery.discover(discovery.Places(**given), cache))


def test_finds_versions_from_names_and_headers(tmp_path: Path) -> None:
    """Versions come from file names, header files and folder names, without running anything."""
    _installed_python(tmp_path / "versions" / "3.11.7", 11, 7)
    _installed_python(tmp_path / "versions" / "3.9.1", 9)
    _program(tmp_path / "versions" / "v20.1.0" / "bin" / "node")
    node = _program(tmp_path / "versions" / "nodeish" / "bin" / "node")
    header = node.parent.parent / "include" / "node" / "node_version.h"
    header.parent.mkdir(parents=True)
    header.write_text("#define NODE_MAJOR_VERSION 22\n#define NODE_MINOR_VERSION 3\n#define NODE_PATCH_VERSION 4\n")
    found = {(one.family, one.version) for one in _discover(tmp_path)}
    assert found == {
        (Family.PYTHON, (3, 11, 7)),
        (Family.PYTHON, (3, 9)),
        (Family.NODEJS, (20, 1, 0)),
        (Family.NODEJS, (22, 3, 4)),
    }


def test_finds_java_and_ruby(tmp_path: Path) -> None:
    """A JDK says its version in its file `release`; a Ruby in its name, or that of its folder."""
    for folder, version in (("jdk-21", "21.0.2"), ("jdk8", "1.8.0_412"), ("not-a-jdk", "")):
        prefix = tmp_path / "versions" / folder
        _program(prefix / "bin" / "java")
        (prefix / "lib").mkdir()
        if version:
            (prefix / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
    ruby = tmp_path / "versions" / "3.3.1"
    _program(ruby / "bin" / "ruby")
    (ruby / "lib" / "ruby" / "3.3.0").mkdir(parents=True)
    (ruby / "lib" / "libruby.so.3.3").touch()
    (ruby / "photos").mkdir()
    _program(tmp_path / "versions" / "3.2.0" / "bin" / "ruby")  # without its library
    found = {(one.family, one.version): one for one in _discover(tmp_path)}
    assert set(found) == {(Family.JAVA, (21, 0, 2)), (Family.JAVA, (8, 0, 412)), (Family.RUBY, (3, 3, 1))}
    assert found[Family.JAVA, (21, 0, 2)].parts == ("",)
    one = found[Family.RUBY, (3, 3, 1)]
    assert (set(one.parts), one.runs_in_place) == ({"bin/ruby", "lib/ruby", "lib/libruby.so.3.3"}, True)


def test_settings_of_a_jdk_that_lie_elsewhere(tmp_path: Path) -> None:
    """Distributions make a JDK's settings links to a folder below /etc, which functions must then see, and no other."""
    prefix = tmp_path / "versions" / "jdk"
    _program(prefix / "bin" / "java")
    (prefix / "lib" / "security").mkdir(parents=True)
    (prefix / "conf").mkdir()
    (prefix / "release").write_text('JAVA_VERSION="17.0.1"\n')
    (prefix / "lib" / "jvm.cfg").symlink_to("/etc/java-99-openjdk/jvm-amd64.cfg")
    (prefix / "conf" / "net.properties").symlink_to("/etc/java-99-openjdk/net.properties")
    (prefix / "lib" / "security" / "cacerts").symlink_to("/etc/ssl/certs/java/cacerts")
    (prefix / "lib" / "odd").symlink_to("/etc/shadow")
    (prefix / "lib" / "src.zip").symlink_to(tmp_path / "src.zip")
    assert [one.also for one in _discover(tmp_path)] == [("/etc/java-99-openjdk",)]


def test_links_count_once_and_shims_not_at_all(tmp_path: Path) -> None:
    """Scripts in place of interpreters, other processors' programs and helpers with similar names are skipped."""
    real = _installed_python(tmp_path / "versions" / "3.12.1", 12, 1)
    (real.parent / "python3").symlink_to("python3.12")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3.12").symlink_to(real)
    _program(tmp_path / "bin" / "python3.13", b"#!/bin/sh\nexec pyenv exec python3.13\n")
    _program(tmp_path / "bin" / "python3.12-config")
    _program(tmp_path / "bin" / "python3.13t")
    foreign = ELF[:18] + (40).to_bytes(2, "little")
    _program(tmp_path / "bin" / "node", foreign)
    _program(tmp_path / "bin" / "nodejs").chmod(0o644)
    found = _discover(tmp_path)
    assert [one.path for one in found] == [str(real)]
    assert found[0].prefix == str(real.parent.parent)


def test_what_an_interpreter_needs_is_not_more_than_it_must_be(tmp_path: Path) -> None:
    """A prefix of its own is taken whole; of one that is shared with other things, only the interpreter's parts."""
    _installed_python(tmp_path / "versions" / "3.12.1", 12, 1)
    home = tmp_path / "home"
    _installed_python(home, 11)
    (home / "lib" / "libpython3.11.so.1.0").touch()
    (home / "private").mkdir()
    (tmp_path / "alone").mkdir()
    _program(tmp_path / "alone" / "v18.2.0" / "bin" / "node")
    (tmp_path / "alone" / "v18.2.0" / "photos").mkdir()
    _program(tmp_path / "broken" / "bin" / "python3.10")
    found = _discover(
        tmp_path,
        directories=(str(home / "bin"), str(tmp_path / "broken" / "bin")),
        collections=(str(tmp_path / "versions"), str(tmp_path / "alone")),
    )
    assert {one.version[:2]: (one.parts, one.runs_in_place) for one in found} == {
        (3, 12): (("",), False),
        (3, 11): (("bin/python3.11", "lib/python3.11", "lib/libpython3.11.so.1.0"), True),
        (18, 2): (("bin/node",), False),
    }


def test_what_cannot_be_read_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that shows its version nowhere is run with --version, and the answer is kept for the next start."""
    node = _program(tmp_path / "bin" / "node")
    asked: list[str] = []

    def ask(path: str) -> tuple[int, ...]:
        asked.append(path)
        return (21, 5, 0)

    monkeypatch.setattr(discovery, "_ask", ask)
    cache = tmp_path / "cache.json"
    assert [one.version for one in _discover(tmp_path, cache)] == [(21, 5, 0)]
    assert [one.version for one in _discover(tmp_path, cache)] == [(21, 5, 0)]
    assert asked == [str(node)]
    node.write_bytes(ELF + b"newer")
    _discover(tmp_path, cache)
    assert len(asked) == 2
    cache.write_text("[not what we wrote")
    _discover(tmp_path, cache)
    assert len(asked) == 3 and json.loads(cache.read_text())


def test_programs_that_do_not_answer_are_left_out(tmp_path: Path) -> None:
    """An ELF file that cannot be run is no interpreter, and no cache is needed to find that out."""
    _program(tmp_path / "bin" / "node")
    assert _discover(tmp_path) == []
    assert _discover(tmp_path, tmp_path / "no-such-directory" / "cache") == []


def test_usual_places_follow_the_environment() -> None:
    """What the caller gives comes first, then PATH, then the system; version managers are known by their variables."""
    environ = {"PATH": "/a/bin:relative:/usr/bin", "PYENV_ROOT": "/pyenv", "NVM_DIR": "/nvm"}
    places = discovery.usual_places(environ, "/home/u", ["/extra"])
    assert places.directories == ("/extra", "/a/bin", "/usr/bin", "/usr/local/bin", "/bin")
    assert places.collections[:2] == ("/extra", "/pyenv/versions")
    assert "/nvm/versions/node" in places.collections and "/home/u/.nodenv/versions" in places.collections

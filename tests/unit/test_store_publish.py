"""Publishing files and directories: the order of steps, failing steps, names."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lambdad.store import publish
from lambdad.store.errors import DiskFull

STEPS = ("open", "write", "fsync", "rename", "mkdir", "chmod", "fchmod")


class Steps:
    """Stands between the code and `os`: writes every step down, and fails one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, top: Path, fail_at: int | None = None) -> None:
        self.done: list[str] = []
        self._top = top
        self._fail_at = fail_at
        self._paths: dict[int, str] = {}
        for name in STEPS:
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(subject: Any, *args: Any, **kwargs: Any) -> Any:
            path = self._paths.get(subject, "?") if isinstance(subject, int) else self._shown(subject)
            if not path.startswith("/"):
                self.done.append(f"{name} {path}")
                if len(self.done) - 1 == self._fail_at:
                    raise OSError(errno.ENOSPC, "No space left on device")
            result = real(subject, *args, **kwargs)
            if name == "open":
                self._paths[result] = path
            return result

        return step

    def _shown(self, path: Any) -> str:
        text = os.fspath(path)
        if not text.startswith(str(self._top)):
            return "/elsewhere"
        parts = [part for part in text.removeprefix(str(self._top)).split("/") if part]
        return "/".join("TEMPORARY" if part.startswith(publish.TEMPORARY_PREFIX) else part for part in parts) or "."


def fill(directory: Path) -> None:
    (directory / "package").mkdir()
    (directory / "package" / "module.py").write_bytes(b"pass")
    (directory / "link").symlink_to("/nowhere")
    (directory / "package").chmod(0o555)


def test_a_file_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write, fsync, rename, fsync of the directory, in this order."""
    steps = Steps(monkeypatch, tmp_path)
    publish.publish_file(tmp_path / "file", b"new", mode=0o640)
    assert steps.done == [
        "open TEMPORARY",
        "write TEMPORARY",
        "fchmod TEMPORARY",
        "fsync TEMPORARY",
        "rename TEMPORARY",
        "open .",
        "fsync .",
    ]
    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_directory_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file and directory inside is fsynced before the rename, from the leaves up."""
    steps = Steps(monkeypatch, tmp_path)
    assert publish.publish_directory(fill, tmp_path / "target")
    synced = [step for step in steps.done if step.split()[0] in ("fsync", "rename")]
    assert synced == [
        "fsync TEMPORARY/package/module.py",
        "fsync TEMPORARY/package",
        "fsync TEMPORARY",
        "rename TEMPORARY",
        "fsync .",
    ]


def test_a_full_disk_at_any_step_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """Whichever step fails of replacing a file, it is as it was or as it should be, and nothing lies about."""
    path = tmp_path / "file"
    for fail_at in range(7):
        path.write_bytes(b"old")
        with pytest.MonkeyPatch.context() as patch:
            Steps(patch, tmp_path, fail_at)
            with pytest.raises(DiskFull, match="No space left"):
                publish.publish_file(path, b"new")
        assert path.read_bytes() == (b"old" if fail_at < 5 else b"new")
        assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_at_any_step_leaves_nothing_or_all_of_a_directory(tmp_path: Path) -> None:
    """Whichever step fails of publishing a directory, it is not there or wholly there, and nothing lies about."""
    target = tmp_path / "target"
    for fail_at in range(100):
        with pytest.MonkeyPatch.context() as patch:
            steps = Steps(patch, tmp_path, fail_at)
            try:
                publish.publish_directory(fill, target)
            except DiskFull:
                pass
        if len(steps.done) <= fail_at:
            break
        if os.listdir(tmp_path):
            assert os.listdir(tmp_path) == ["target"]
            assert (target / "package" / "module.py").read_bytes() == b"pass"
            publish.remove_tree(target)
    assert 10 < fail_at < 99


def test_an_existing_target_is_left_alone(tmp_path: Path) -> None:
    """What has the name has the content, so it is not built again."""
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "here").touch()
    assert not publish.publish_directory(lambda _: pytest.fail("built again"), tmp_path / "target")
    assert os.listdir(tmp_path / "target") == ["here"]


def test_a_concurrent_publisher_may_win(tmp_path: Path) -> None:
    """When the target appears while it is built, that one stays and this is a success."""
    target = tmp_path / "target"

    def build_late(directory: Path) -> None:
        fill(directory)
        assert publish.publish_directory(fill, target)

    assert not publish.publish_directory(build_late, target)
    assert os.listdir(tmp_path) == ["target"]


def test_an_empty_directory_of_that_name_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    """A file in the way is an error and stays."""
    (tmp_path / "target").write_text("in the way")
    with pytest.raises(OSError):
        publish.publish_directory(fill, tmp_path / "target")
    assert os.listdir(tmp_path) == ["target"]


def test_a_failing_builder_leaves_nothing(tmp_path: Path) -> None:
    """The builder's exception passes through, and its read-only leavings are gone."""

    def build(directory: Path) -> None:
        fill(directory)
        raise ValueError("bad zip")

    with pytest.raises(ValueError, match="bad zip"):
        publish.publish_directory(build, tmp_path / "target")
    assert os.listdir(tmp_path) == []


def test_content_may_be_written_by_a_function(tmp_path: Path) -> None:
    """A writer that fails leaves nothing."""
    publish.publish_file(tmp_path / "file", lambda descriptor: publish.write_all(descriptor, b"x" * 100_000))
    assert (tmp_path / "file").stat().st_size == 100_000

    def fail(descriptor: int) -> None:
        os.write(descriptor, b"half")
        raise ValueError

    with pytest.raises(ValueError):
        publish.publish_file(tmp_path / "other", fail)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["..", ".", f"{publish.TEMPORARY_PREFIX}x", "a\0b", "n" * 240])
def test_names_that_are_not_plain_are_refused(tmp_path: Path, name: str) -> None:
    """Nothing is written under a name that means something else."""
    with pytest.raises(ValueError, match="cannot be published"):
        publish.publish_file(tmp_path / "x" / ".." / name if name == "." else Path(f"{tmp_path}/{name}"), b"")
    with pytest.raises(ValueError, match="cannot be published"):
        publish.publish_directory(fill, Path("/"))


def test_sweeping_removes_temporary_names_only(tmp_path: Path) -> None:
    """Leftovers go, read-only ones and links too; what links point at and everything else stays."""
    publish.publish_file(tmp_path / "file", b"")
    publish.publish_directory(fill, tmp_path / "directory")
    publish.temporary_beside(tmp_path / "a").write_bytes(b"half")
    publish.temporary_beside(tmp_path / "b").mkdir()
    publish.temporary_beside(tmp_path / "c").symlink_to(tmp_path / "directory")
    half = publish.temporary_beside(tmp_path / "d")
    half.mkdir()
    fill(half)
    assert publish.sweep(tmp_path) == 4
    assert sorted(os.listdir(tmp_path)) == ["directory", "file"]
    assert publish.sweep(tmp_path) == 0
    assert publish.sweep(tmp_path / "missing") == 0

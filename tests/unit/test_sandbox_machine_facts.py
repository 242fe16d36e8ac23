"""What `lambdad doctor` says of user namespaces and huge pages, by the kernel's files."""

from pathlib import Path

import pytest

from lambdad.sandbox import machine_facts


@pytest.mark.parametrize(
    ("switches", "ok", "detail"),
    [
        ({"user/max_user_namespaces": "63000"}, True, "for ordinary users too"),
        ({"user/max_user_namespaces": "0"}, False, "user.max_user_namespaces = 0"),
        ({"user/max_user_namespaces": "9", "kernel/unprivileged_userns_clone": "0"}, False, "kernel.unprivileged_userns_clone = 0"),
        (
            {"user/max_user_namespaces": "9", "kernel/apparmor_restrict_unprivileged_userns": "1"},
            False,
            "kernel.apparmor_restrict_unprivileged_userns = 1",
        ),
        ({}, False, "not in this kernel"),
    ],
)
def test_user_namespaces(tmp_path: Path, switches: dict[str, str], ok: bool, detail: str) -> None:
    """Each switch that refuses them is named."""
    for name, value in switches.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    found = machine_facts.user_namespaces(tmp_path)
    assert (found.ok, found.detail) == (ok, detail)
    assert bool(found.consequence) == (not ok)


@pytest.mark.parametrize(
    ("setting", "total", "ok", "detail"),
    [
        ("always [madvise] never", 0, True, "transparent: madvise"),
        ("[always] madvise never", 0, False, "transparent: always"),
        ("always madvise [never]", 8, False, "transparent: never, 16 MiB set aside"),
        ("", 0, True, "transparent: not in this kernel"),
    ],
)
def test_huge_pages(tmp_path: Path, setting: str, total: int, ok: bool, detail: str) -> None:
    """How they are given out, and what is set aside for them."""
    (tmp_path / "enabled").write_text(setting)
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nHugePages_Total: {total}\nHugepagesize: 2048 kB\n")
    found = machine_facts.huge_pages(tmp_path / "enabled", tmp_path / "meminfo")
    assert (found.ok, found.detail) == (ok, detail)
    assert bool(found.consequence) == (not ok)

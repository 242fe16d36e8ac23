"""What else of this machine matters to functions: who may have user namespaces, and how memory pages are handed out."""

from __future__ import annotations

from pathlib import Path

from lambdad.sandbox.probe import Finding

_PROC_SYS = Path("/proc/sys")
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# Each refuses user namespaces to ordinary users when it has this value. Source: user_namespaces(7), Debian's and Ubuntu's kernels.
_SWITCHES = (
    ("user/max_user_namespaces", "0"),
    ("kernel/unprivileged_userns_clone", "0"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1"),
)


def user_namespaces(proc_sys: Path = _PROC_SYS) -> Finding:
    """Say whether ordinary users may make user namespaces, by the kernel's switches."""
    shut = [f"{name.replace('/', '.')} = {value}" for name, value in _SWITCHES if _read(proc_sys / name) == value]
    if not (proc_sys / _SWITCHES[0][0]).exists():
        shut = ["not in this kernel"]
    return Finding(
        "user namespaces", not shut, ", ".join(shut) or "for ordinary users too",
        "without root functions are not fenced in" if shut else "",
    )  # fmt: skip


def huge_pages(setting: Path = _HUGE_PAGES, meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """Say how huge pages are given out, and how much memory is set aside for them."""
    text = _read(setting)
    chosen = text.partition("[")[2].partition("]")[0] or "not in this kernel"
    detail, consequence = f"transparent: {chosen}", ""
    if chosen == "always":
        consequence = "an environment may copy 2 MiB where it changes 4 KiB: madvise keeps more of them in memory"
    aside_kib = _number(meminfo, "HugePages_Total") * _number(meminfo, "Hugepagesize")
    if aside_kib:
        detail += f", {aside_kib // 1024} MiB set aside"
        consequence = "; ".join(filter(None, (consequence, "what is set aside is not there for functions")))
    return Finding("huge pages", chosen != "always" and not aside_kib, detail, consequence)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _number(path: Path, name: str) -> int:
    for line in _read(path).splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0

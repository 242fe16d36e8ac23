"""`lambdad runtimes`: what runs each of AWS's runtimes on this machine, and how to add what is missing."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lambdad import settings
from lambdad.app import examine, java_install
from lambdad.runtimes.catalogue import Family
from lambdad.runtimes.discovery import Interpreter

_HOW = {
    Family.PYTHON: "uv python install {version}, pyenv install {version}, or Debian's python3",
    Family.NODEJS: "nvm install {version}, fnm install {version}, or Debian's nodejs",
    Family.RUBY: "rbenv install {version}, or Debian's ruby",
    Family.JAVA: "SDKMAN, or Debian's openjdk-{version}-jdk-headless; then lambdad runtimes install java",
}
_INSTALL_JAVA = "lambdad runtimes install java"
_NO_CLIENT = "no runtime client yet: invoking answers InvalidRuntimeException; build a bootstrap for provided.al2023 instead"
_NAMES = {
    Family.PYTHON: "Python",
    Family.NODEJS: "Node.js",
    Family.RUBY: "Ruby",
    Family.JAVA: "Java",
    Family.DOTNET: ".NET",
    Family.GO: "Go",
}


def run(given: Mapping[str, Any]) -> int:
    """Print the list, or install. Exit status: 0, 1 when an installation failed, 2 for wrong usage or bad settings."""
    try:
        config = settings.load(given)
    except settings.BadSettings as error:
        print(f"lambdad: {error}", file=sys.stderr)
        return 2
    found = examine.find_interpreters(config)
    if given["action"] == "install":
        return _install(config, given, found)
    findings = examine.find_runtimes(config, found)
    if given["json"]:
        print(json.dumps([_as_json(finding) for finding in findings], indent=2))
    else:
        _show(config, findings, found)
    return 0


def _install(config: settings.Settings, given: Mapping[str, Any], found: Sequence[Interpreter]) -> int:
    if given["language"] is None:
        print("lambdad: install what? lambdad runtimes install java", file=sys.stderr)
        return 2
    os.umask(0o022)  # functions run as other users, and must be able to read it
    try:
        place = java_install.install(config.runtimes_dir, found, jars=given["jars"], say=lambda line: print(line, flush=True))
    except (java_install.InstallFailed, OSError) as error:
        print(f"lambdad: {error}", file=sys.stderr)
        return 1
    print(f"Installed in {place}. A lambdad that is running sees it when it is started again.")
    return 0


def _as_json(finding: examine.RuntimeFinding) -> dict[str, Any]:
    return {
        "runtime": finding.name,
        "language": finding.family.value,
        "runs": bool(finding.runs_on),
        "exact": finding.exact,
        "version": finding.version or None,
        "path": finding.path or None,
        "missing": finding.missing or None,
        "how": _how(finding) or None,
    }


def _how(finding: examine.RuntimeFinding) -> str:
    """Say how to get exactly what an identifier names; "" when it is there."""
    if finding.exact:
        return ""
    if finding.family not in _HOW:
        return _NO_CLIENT
    if _INSTALL_JAVA in finding.missing:
        return _INSTALL_JAVA
    return _HOW[finding.family].format(version=_version(finding))


def _version(finding: examine.RuntimeFinding) -> str:
    """Return the language's version in an identifier, e.g. "22" of nodejs22.x, "8" of java8.al2."""
    return finding.name.removeprefix(finding.family.value).partition(".x")[0].partition(".al")[0]


def _show(config: settings.Settings, findings: Sequence[examine.RuntimeFinding], found: Sequence[Interpreter]) -> None:
    console = Console(highlight=False)
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("runtime", "", "version", "runs on"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        if finding.runs_on:
            state = "[green]exact[/]" if finding.exact else "[yellow]near[/]"
            table.add_row(finding.name, state, finding.version, escape(finding.path or finding.runs_on))
        else:
            table.add_row(finding.name, "[red]none[/]", "", f"[dim]{escape(finding.missing)}[/]")
    console.print(table)
    running = sum(bool(finding.runs_on) for finding in findings)
    console.print(f"\n{running} of {len(findings)} runtimes run here, on {len(found)} interpreters; what AWS brings for Java is kept in")
    console.print(f"{config.runtimes_dir}.", markup=False)
    if any(finding.runs_on and not finding.exact for finding in findings):
        console.print("near: another version of the language runs these, and says so in the function's log; --runtimes exact refuses.")
    lacking: dict[Family, list[str]] = {}
    for finding in findings:
        if not finding.exact:
            lacking.setdefault(finding.family, []).append(_version(finding))
    if lacking:
        console.print("\n[bold]To add what is missing[/] (and then start lambdad again):")
        table = Table(show_edge=False, pad_edge=False, show_header=False, box=None)
        for family, versions in lacking.items():
            java = family is Family.JAVA and all(not finding.runs_on for finding in findings if finding.family is family)
            how = _INSTALL_JAVA if java else _HOW.get(family, _NO_CLIENT).format(version="VERSION")
            table.add_row(f"  {_NAMES[family]}", ", ".join(dict.fromkeys(versions)), escape(how))
        console.print(table)

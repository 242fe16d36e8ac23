"""What `lambdad doctor` looks at: the mechanisms of the kernel, the interpreters, and what follows from them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from lambdad.app import egress
from lambdad.runtimes import catalogue, discovery, matching, plans
from lambdad.sandbox import machine_facts, probe
from lambdad.settings import Settings


@dataclass(frozen=True, slots=True)
class RuntimeFinding:
    """One runtime identifier of AWS's list, and what would run it here."""

    name: str
    family: catalogue.Family
    runs_on: str  # "" when nothing does
    version: str  # of the language; "" where the function brings its own
    path: str
    exact: bool
    missing: str


@dataclass(frozen=True, slots=True)
class Examination:
    """The findings."""

    isolation: probe.Report
    findings: Sequence[probe.Finding]
    interpreters: Sequence[discovery.Interpreter]
    runtimes: Sequence[RuntimeFinding]


def examine(settings: Settings) -> Examination:
    """Look at this machine as the current user may. Blocks for some tens of milliseconds, changes nothing."""
    found = find_interpreters(settings)
    report = probe.probe()
    level = probe.Level.PLAIN if settings.isolation == "plain" else report.level
    findings = (*report.findings, machine_facts.user_namespaces(), machine_facts.huge_pages(), *egress.findings(settings, level))
    return Examination(report, findings, found, find_runtimes(settings, found))


def find_interpreters(settings: Settings) -> tuple[discovery.Interpreter, ...]:
    """Look where the current user's interpreters usually are."""
    return discovery.discover(discovery.usual_places(os.environ, os.environ.get("HOME", ""), settings.interpreter_dirs))


def find_runtimes(settings: Settings, found: Sequence[discovery.Interpreter]) -> list[RuntimeFinding]:
    """Say what runs each identifier of `catalogue.CURRENT`, in their natural order."""
    exact = settings.runtimes == "exact"
    without = plans.find_runtime_files(settings.runtimes_dir).without
    findings = []
    for name in sorted(catalogue.CURRENT, key=catalogue.natural_order):
        family = catalogue.RUNTIMES[name].family
        match = matching.match(name, found, exact_only=exact, without=without)
        if match is None:
            missing = matching.explain_missing(name, found, exact_only=exact, without=without)
            findings.append(RuntimeFinding(name, family, "", "", "", False, missing.removeprefix(f"{name}: ")))
        elif match.interpreter is None:
            findings.append(RuntimeFinding(name, family, "its own program", "", "", True, ""))
        else:
            version = ".".join(map(str, match.interpreter.version))
            findings.append(RuntimeFinding(name, family, str(match.interpreter), version, match.interpreter.path, match.exact, ""))
    return findings

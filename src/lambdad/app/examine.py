"""What `lambdad doctor` looks at: the mechanisms of the kernel, the interpreters, and what follows from them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from lambdad.app import egress
from lambdad.runtimes import catalogue, discovery, matching
from lambdad.sandbox import machine_facts, probe
from lambdad.settings import Settings


@dataclass(frozen=True, slots=True)
class RuntimeFinding:
    """One runtime identifier that AWS lets functions be created with, and what would run it here."""

    name: str
    runs_on: str  # "" when nothing does
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
    places = discovery.usual_places(os.environ, os.environ.get("HOME", ""), settings.interpreter_dirs)
    found = discovery.discover(places)
    exact = settings.runtimes == "exact"
    runtimes = []
    for name in sorted(catalogue.PRINTED, key=catalogue.natural_order):
        match = matching.match(name, found, exact_only=exact)
        if match is None:
            runtimes.append(RuntimeFinding(name, "", False, matching.explain_missing(name, found, exact_only=exact)))
        else:
            runs_on = str(match.interpreter) if match.interpreter is not None else "its own program"
            runtimes.append(RuntimeFinding(name, runs_on, match.exact, ""))
    report = probe.probe()
    level = probe.Level.PLAIN if settings.isolation == "plain" else report.level
    findings = (*report.findings, machine_facts.user_namespaces(), machine_facts.huge_pages(), *egress.findings(settings, level))
    return Examination(report, findings, found, runtimes)

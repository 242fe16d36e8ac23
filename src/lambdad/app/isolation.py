"""How strongly functions are fenced in on this machine, and what is said about it."""

from dataclasses import dataclass

from lambdad.sandbox import cgroups, probe, rootless, zygote
from lambdad.settings import IsolationChoice


class NoIsolation(Exception):
    """Fences were demanded, and cannot be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The level that was chosen."""

    isolation: zygote.Isolation
    level: probe.Level

    def describe(self, driver: cgroups.Driver) -> str:
        """Return one phrase for the ready line, e.g. "namespaces (cgroup v2: cpu memory pids)"."""
        if self.level is probe.Level.PLAIN:
            return self.level.value
        if not driver.version:
            return f"{self.level} (no cgroups)"
        return f"{self.level} (cgroup v{driver.version}: {' '.join(sorted(driver.controllers))})"


def choose(wanted: IsolationChoice) -> Choice:
    """
    Take the strongest isolation there is, or what was asked for, and become what it needs. Call while the process has one thread.

    Raises:
        NoIsolation: "namespaces" was asked for, and this user cannot have them on this machine.
    """
    if wanted == "plain":
        return Choice(zygote.Isolation(fenced=False, seccomp=False), probe.Level.PLAIN)
    report = probe.probe()
    if report.level is probe.Level.PLAIN and wanted == "namespaces":
        missing = "; ".join(finding.detail for finding in report.findings if not finding.ok)
        raise NoIsolation(f"functions cannot be fenced in on this machine: {missing}")
    if report.level is probe.Level.USER_NAMESPACE:
        rootless.enter()
    return Choice(report.isolation(), report.level)

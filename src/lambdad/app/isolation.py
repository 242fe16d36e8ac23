"""How strongly functions are fenced in on this machine, and what is said about it."""

import os
from dataclasses import dataclass

from lambdad.sandbox import cgroups, zygote
from lambdad.settings import IsolationChoice


class NoIsolation(Exception):
    """Fences were demanded, and cannot be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The level that was chosen."""

    isolation: zygote.Isolation
    level: str  # "namespaces", "user-namespace" or "plain"

    def describe(self, driver: cgroups.Driver) -> str:
        """Return one phrase for the ready line, e.g. "namespaces (cgroup v2: cpu memory pids)"."""
        if self.level == "plain":
            return "plain"
        if not driver.version:
            return f"{self.level} (no cgroups)"
        return f"{self.level} (cgroup v{driver.version}: {' '.join(sorted(driver.controllers))})"


def choose(wanted: IsolationChoice) -> Choice:
    """
    Take the strongest isolation there is, or what was asked for. Call while the process has one thread.

    Raises:
        NoIsolation: "namespaces" was asked for and this user cannot have them.
    """
    if wanted == "plain":
        return Choice(zygote.Isolation(fenced=False, seccomp=False), "plain")
    if os.geteuid() == 0:
        return Choice(zygote.Isolation(), "namespaces")
    try:
        from lambdad.sandbox import rootless

        rootless.enter()
    except OSError as error:
        if wanted == "namespaces":
            raise NoIsolation(f"user namespaces cannot be had here: {error}") from error
        return Choice(zygote.Isolation(fenced=False, seccomp=False), "plain")
    return Choice(zygote.Isolation(rootless=True), "user-namespace")

"""`lambdad doctor`: what this machine can do for functions, what is missing, and what that means."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lambdad import __version__, settings
from lambdad.app import examine

_LEVELS = {
    "namespaces": "Functions are fenced in by namespaces, cgroups and seccomp.",
    "user-namespace": "Functions are fenced in within a user namespace of yours.",
    "plain": "FUNCTIONS ARE NOT FENCED IN: they run as plain processes with your rights. Run only code that you trust.",
}


def run(given: Mapping[str, Any]) -> int:
    """Print the findings. Exit status: 0 when functions can be fenced in, 1 when not, 2 for bad settings."""
    try:
        config = settings.load(given)
    except settings.BadSettings as error:
        print(f"lambdad: {error}", file=sys.stderr)
        return 2
    found = examine.examine(config)
    report = found.isolation
    console = Console(highlight=False)
    console.print(f"lambdad {__version__}, Linux {report.kernel}, data in {config.data_dir}\n", markup=False)

    fenced = report.level != "plain"
    console.print(f"[bold {'green' if fenced else 'red'}]Isolation: {report.level}[/]. {_LEVELS[report.level]}")
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("mechanism", "", "found", "what follows"):
        table.add_column(heading)
    for finding in found.findings:
        state = "[green]ok[/]" if finding.ok else "[yellow]missing[/]"
        table.add_row(finding.mechanism, state, finding.detail, finding.consequence)
    console.print(table)

    console.print("\n[bold]Runtimes[/]")
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("runtime", "", "runs on"):
        table.add_column(heading)
    for runtime in found.runtimes:
        if runtime.runs_on:
            state = "[green]ok[/]" if runtime.exact else "[yellow]near[/]"
            table.add_row(runtime.name, state, runtime.runs_on)
        else:
            table.add_row(runtime.name, "[dim]none[/]", f"[dim]{escape(runtime.missing)}[/]")
    console.print(table)
    if any(runtime.runs_on and not runtime.exact for runtime in found.runtimes):
        console.print("\nnear: another version of the language runs these, and says so in the function's log; --runtimes exact refuses.")
    if any(runtime.missing for runtime in found.runtimes):
        console.print("\nWhat is missing, and how to add it: lambdad runtimes")
    return 0 if fenced else 1

"""How the machine is off for memory: /proc/meminfo, and pressure stall information where the kernel has it.

Source: proc(5), MemAvailable; the kernel's documentation, accounting/psi.
"""

from dataclasses import dataclass
from pathlib import Path

_KIB = 1024


@dataclass(frozen=True, slots=True)
class MemoryLoad:
    """`stalled_percent` of the last ten seconds something waited for memory; 0.0 where the kernel does not say."""

    available_bytes: int
    total_bytes: int
    stalled_percent: float


def read(proc: Path = Path("/proc")) -> MemoryLoad | None:
    """Read it now; None where it cannot be read. Takes some ten microseconds and does not block."""
    try:
        figures = parse_meminfo((proc / "meminfo").read_text())
        available, total = figures["MemAvailable"] * _KIB, figures["MemTotal"] * _KIB
    except (OSError, KeyError, ValueError):
        return None
    try:
        stalled = parse_pressure((proc / "pressure" / "memory").read_text())
    except (OSError, KeyError, ValueError):
        stalled = 0.0  # CONFIG_PSI is off, or psi=0
    return MemoryLoad(available, total, stalled)


def parse_meminfo(text: str) -> dict[str, int]:
    """Read the lines ``MemTotal:       24683416 kB``."""
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in text.splitlines()) if rest}


def parse_pressure(text: str) -> float:
    """Read avg10 of the line ``some avg10=0.00 avg60=0.00 avg300=0.00 total=0``."""
    for line in text.splitlines():
        kind, *pairs = line.split()
        if kind == "some":
            return float(dict(pair.split("=", 1) for pair in pairs)["avg10"])
    raise ValueError("no line 'some'")

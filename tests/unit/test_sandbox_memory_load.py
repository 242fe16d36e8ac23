"""Reading how the machine is off for memory."""

from pathlib import Path

import pytest

from lambdad.sandbox import memory_load

MEMINFO = "MemTotal:       24683416 kB\nMemFree:         1000 kB\nMemAvailable:   12000000 kB\nHugePages_Total:       0\n"
PRESSURE = "some avg10=12.50 avg60=1.00 avg300=0.10 total=1234\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=56\n"


def proc(tmp_path: Path, meminfo: str = MEMINFO, pressure: str | None = PRESSURE) -> Path:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "meminfo").write_text(meminfo)
    if pressure is not None:
        (tmp_path / "pressure" / "memory").write_text(pressure)
    return tmp_path


def test_both_are_read(tmp_path: Path):
    """Available and total in bytes, and the share of time in which something waited."""
    assert memory_load.read(proc(tmp_path)) == memory_load.MemoryLoad(12_000_000 * 1024, 24_683_416 * 1024, 12.5)


@pytest.mark.parametrize("pressure", [None, "", "full avg10=1.00\n", "some nonsense\n", "some avg10=x\n"])
def test_a_kernel_that_does_not_say(tmp_path: Path, pressure: str | None):
    """Without pressure stall information only what is available counts."""
    load = memory_load.read(proc(tmp_path, pressure=pressure))
    assert load is not None and load.stalled_percent == 0.0


@pytest.mark.parametrize("meminfo", ["", "MemTotal: 5 kB\n", "MemTotal: x kB\n"])
def test_what_cannot_be_read_is_not_known(tmp_path: Path, meminfo: str):
    """Rather than taken for zero."""
    assert memory_load.read(proc(tmp_path, meminfo)) is None
    assert memory_load.read(tmp_path / "nowhere") is None


def test_this_machine():
    """The real files are understood."""
    load = memory_load.read()
    assert load is None or 0 < load.available_bytes <= load.total_bytes

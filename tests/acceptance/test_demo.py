"""`lambdad demo`, from beginning to end, as a stranger runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_demo_shows_events(tmp_path: Path) -> None:
    """A picture becomes a thumbnail, a schedule strikes, a queue is worked off, and each is measured."""
    command = [sys.executable, "-m", "lambdad.cli.main", "demo", "--out", str(tmp_path / "out")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "160 x 106 pixels" in ran.stdout
    assert "The function started at" in ran.stdout
    assert re.search(r"All 1,000 orders were handled, by \d+ invocations; 20 had failed and came again\.", ran.stdout)
    assert re.search(r"schedule to function, cold +\d+ ms late", ran.stdout)
    assert (tmp_path / "out" / "thumbnail.png").read_bytes().startswith(b"\x89PNG")
    assert "Traceback" not in ran.stderr

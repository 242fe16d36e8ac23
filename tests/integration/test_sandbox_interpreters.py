"""Templates run under every Python that is on the machine, not only under the worker's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from sandbox_fixtures import needs_root
from sandbox_stage import open_stage

pytestmark = needs_root
VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def interpreter(version: str) -> Path:
    """Return the real path of an interpreter of a version, or skip."""
    candidates = [shutil.which(f"python{version}")]
    candidates += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")))
    for candidate in filter(None, candidates):
        code = "import ctypes, sys; print(sys.executable)"
        asked = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
        if asked.returncode == 0:
            return Path(asked.stdout.strip())
    pytest.skip(f"no usable Python {version} on this machine")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_template_of_each_version_forks(tmp_path: Path, version: str) -> None:
    """A template of this version spawns, runs in process, executes programs, and starts anew."""
    async with open_stage(tmp_path, interpreter=interpreter(version)) as stage:
        assert stage.zygote.statistics().python.startswith(version + ".")
        end, text = await stage.run("print('.'.join(map(str, sys.version_info[:2])), sorted(sys.modules.get('inside', [])))")
        assert (end.code, text) == (0, f"{version} []\n")
        sandbox = await stage.start(None, "/bin/sh", "-c", "exit 3")
        assert (await sandbox.wait_exit()).code == 3
        await sandbox.respawn(stage.assignment("sys.exit(4)"))
        assert (await sandbox.wait_exit()).code == 4

"""The stage as a fixture, and the marks of tests that need root."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sandbox_stage import Stage, open_stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(tmp_path) as opened:
        yield opened


needs_root = [
    pytest.mark.sandbox,
    pytest.mark.privileged,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: cgroups and other users' ids"),
]

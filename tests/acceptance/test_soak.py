"""Functions come, go and fail for a while, and nothing of them stays: a short run of `bench/soak.py`."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from conftest import Lambdad  # type: ignore[import-not-found]

PROGRAM = Path(__file__).parents[2] / "bench" / "soak.py"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soak", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("fenced")
def test_nothing_stays_behind(program: ModuleType, lambdad: Lambdad, capsys: pytest.CaptureFixture[str]):
    """After each of some bursts there is as much of everything as after the first ones."""
    rows = program.soak(0.5, row_every_s=4.0, write=print)
    assert program.growth(rows) == {}, capsys.readouterr().out
    assert rows[-1].invokes > 100 and rows[-1].failed > 10 and rows[-1].networks > 1


def test_growth_is_seen(program: ModuleType):
    """A column that rises beyond its tolerance is named; one row out of line is not growth."""
    row = program.Row(**{field.name: 100 for field in dataclasses.fields(program.Row)})
    flat = [row] * 10
    assert program.growth(flat) == {}
    assert program.growth([*flat, dataclasses.replace(row, server_fds=900)]) == {}
    leaking = [dataclasses.replace(row, worker_fds=100 + 10 * n) for n in range(12)]
    assert program.growth(leaking) == {"worker_fds": (150, 190)}
    assert program.growth([dataclasses.replace(row, mounts=500), *flat]) == {}, "what there was in the warm-up"

"""What docs/security.md says that is tried is what is tried."""

import collections
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import attack_table  # type: ignore[import-not-found]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_attacks", ROOT / "docs" / "generate_attacks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_of_attempts_is_up_to_date() -> None:
    """The page is what the generator writes for the table."""
    assert PAGE.read_text(encoding="utf-8") == _generator().page(), "run python docs/generate_attacks.py"


def test_every_attempt_has_a_name_of_its_own() -> None:
    """Two attempts of one name would be one in the outcome."""
    counts = collections.Counter(one.name for one in attack_table.attempts())
    assert [name for name, count in counts.items() if count > 1] == []
    assert len(counts) >= 40


def test_every_test_that_is_named_exists() -> None:
    """The files that the page names as holding the other attempts are there, with the tests."""
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 5
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert not name or re.search(rf"def {name}\(", (ROOT / path).read_text(encoding="utf-8")), f"{path}::{name}"


def test_an_outcome_that_is_not_meant_is_found() -> None:
    """The judge of outcomes passes what is meant, in any of its alternatives, and nothing else."""
    meant = {one.name: one.refusal.split("|")[-1] for one in attack_table.attempts()}
    assert attack_table.wrong(meant) == {}
    name = attack_table.attempts()[0].name
    assert attack_table.wrong({**meant, name: "done"}) == {name: ("done", "EPERM")}
    del meant[name]
    assert attack_table.wrong(meant) == {name: ("not tried", "EPERM")}

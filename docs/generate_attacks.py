"""Write into docs/security.md what functions are known to be refused: the table of tests/attack_table.py, and what else is tried.

    python docs/generate_attacks.py

tests/unit/test_docs_attacks.py fails when the page has anything else between the two marks.
"""

import importlib.util
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
PAGE = HERE / "security.md"
TABLE = HERE.parent / "tests" / "attack_table.py"
BEGIN, END = "<!-- written by docs/generate_attacks.py -->\n", "<!-- to here -->\n"
_WIDTH = 160


def table() -> ModuleType:
    """Return the module with the attempts."""
    spec = importlib.util.spec_from_file_location("attack_table", TABLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def render(areas: dict[str, list[object]]) -> str:
    """Return what belongs between the marks: for each area, by what is refused with what."""
    lines = []
    for area, attempts in areas.items():
        by_refusal: dict[str, list[str]] = {}
        for one in attempts:
            named = next((word for word in one.refusal.split("|") if re.fullmatch("(E|SIG)[A-Z0-9]+", word)), "")  # type: ignore[attr-defined]
            by_refusal.setdefault(named and f"`{named}`", []).append(one.name)  # type: ignore[attr-defined]
        told = [f"{refusal or 'In vain'}: {'; '.join(names)}." for refusal, names in by_refusal.items()]
        text = f"* **{area}** ({len(attempts)}). {' '.join(told)}"
        lines += textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the page as it is to be."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    assert mark, f"{PAGE} has lost its marks"
    return before + BEGIN + render(table().AREAS) + END + after


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

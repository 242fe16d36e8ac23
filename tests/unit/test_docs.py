"""The documentation says what is there: settings, commands, operations, refused parameters; and its links lead somewhere."""

import argparse
import ast
import importlib.util
import re
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from lambdad import settings
from lambdad.cli import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "lambdad"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_operations", DOCS / "generate_operations.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _prose(path: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", _text(path), flags=re.MULTILINE | re.DOTALL)


def _commands() -> dict[str, argparse.ArgumentParser]:
    parser = main._parser()
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices)


@pytest.mark.parametrize("name", [field.name for field in fields(settings.Settings)])
def test_every_setting_is_described(name: str) -> None:
    """A row of the configuration page names the setting, its variable, and its option if it has one."""
    row = next((line for line in _text(DOCS / "configuration.md").splitlines() if line.startswith(f"| `{name}` |")), "")
    assert f"`LAMBDAD_{name.upper()}`" in row
    option = f"--{name.replace('_', '-')}"
    has_option = any(option in action.option_strings for command in _commands().values() for action in command._actions)
    assert (f"`{option}`" in row) == has_option


def test_defaults_are_those_of_the_code() -> None:
    """The configuration page gives the defaults that the settings have."""
    page = _text(DOCS / "configuration.md").splitlines()
    for field in fields(settings.Settings):
        if isinstance(field.default, int | float | str) and field.default != "" and field.name != "auth":
            row = next(line for line in page if line.startswith(f"| `{field.name}` |"))
            assert f"| `{field.default}`" in row, field.name


def test_no_setting_is_invented() -> None:
    """The configuration page describes no setting that is gone."""
    described = set(re.findall(r"`LAMBDAD_([A-Z_]+)`", _text(DOCS / "configuration.md"))) - {"CONFIG"}
    assert described == {field.name.upper() for field in fields(settings.Settings)}


def test_every_command_and_option_is_described() -> None:
    """The configuration page has every command and every option of each."""
    page = _text(DOCS / "configuration.md")
    for name, command in _commands().items():
        assert f"`lambdad {name}`" in page
        for action in command._actions:
            for option in action.option_strings:
                if option.startswith("--") and option != "--help":
                    assert re.search(rf"`{option}[` ]", page), f"{name} {option}"


def test_the_page_of_operations_is_up_to_date() -> None:
    """The page is what the generator writes for the operations on it, and all that are built are on it."""
    generator = _generator()
    page = _text(generator.PAGE)
    names = generator.names_on(page)
    assert page == generator.render(names), "run python docs/generate_operations.py"
    assert generator.built("lambda_") <= set(names), "run python docs/generate_operations.py"


def test_the_readme_counts_operations_right() -> None:
    """The numbers of operations in the README are those of the code."""
    generator = _generator()
    readme = _text(ROOT / "README.md")
    assert f"{len(generator.built('lambda_'))} of {len(generator.names_on(_text(generator.PAGE)))} operations" in readme
    assert f"{len(generator.built('logs'))} operations" in readme
    assert f"{len(generator.built('s3'))} operations" in readme


def test_every_operation_of_logs_is_described() -> None:
    """The page on logs names every operation that is built."""
    page = _text(DOCS / "logs.md")
    missing = [name for name in sorted(_generator().built("logs")) if not re.search(rf"\b{name}\b", page)]
    assert missing == []


@pytest.mark.parametrize("service", ["events", "s3", "scheduler", "sns", "sqs"])
def test_every_operation_of_a_page_of_its_own_is_described(service: str) -> None:
    """The page on a service names every operation that is built, and the README counts them."""
    built = sorted(_generator().built(service))
    page = _text(DOCS / f"{service}.md")
    assert [name for name in built if not re.search(rf"\b{name}\b", page)] == []
    assert f"[{len(built)} operations](docs/{service}.md)" in _text(ROOT / "README.md")


def test_everything_that_is_refused_is_listed() -> None:
    """The page on differences lists what `errors.unsupported` refuses."""
    page = _text(DOCS / "limits-and-differences.md")
    source = "".join(path.read_text(encoding="utf-8") for path in (SOURCE / "services" / "lambda_").rglob("*.py"))
    refused = re.findall(r'unsupported\("([^"]+)"\)', source)
    for names in re.findall(r"for name in \(([^)]*)\):\s+if [^\n]*\n\s+raise errors\.unsupported\(name\)", source):
        refused += re.findall(r'"(\w+)"', names)
    assert len(refused) > 10
    assert [what for what in refused if what not in page] == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to another file of the repository, or to a heading in one, finds it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


def test_every_page_is_in_the_index() -> None:
    """The index of the documentation, or that of the decisions, leads to every page."""
    for index in (DOCS / "README.md", DOCS / "decisions" / "README.md"):
        for page in index.parent.glob("*.md"):
            assert page == index or f"({page.name})" in _text(index), page.name


def test_architecture_can_be_read_in_ten_minutes() -> None:
    """ARCHITECTURE.md has at most 200 lines."""
    assert len(_text(ROOT / "ARCHITECTURE.md").splitlines()) <= 200


@cache
def _names(path: Path) -> frozenset[str]:
    """Return the functions, classes, methods and constants of a module, methods as Class.method."""
    found: set[str] = set()

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")
            if isinstance(node, ast.Assign):
                found.update(prefix + target.id for target in node.targets if isinstance(target, ast.Name))

    visit(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return frozenset(found)


@pytest.mark.parametrize("page", [ROOT / "ARCHITECTURE.md", *sorted((DOCS / "decisions").glob("*.md"))], ids=lambda page: page.name)
def test_code_that_is_named_exists(page: Path) -> None:
    """Every `file.py` and `file.py:name` is there."""
    for path, name in re.findall(r"`([\w/]+/[\w/]+\.py)(?::([\w.]+))?`", _prose(page)):
        file = next((place / path for place in (SOURCE, ROOT) if (place / path).is_file()), None)
        assert file is not None, path
        assert not name or name in _names(file), f"{path}:{name}"


def test_architecture_names_every_room() -> None:
    """Every folder of the package is in the table of rooms."""
    text = _text(ROOT / "ARCHITECTURE.md")
    rooms = [path for path in SOURCE.iterdir() if (path / "__init__.py").is_file()]
    assert [room.name for room in rooms if f"| `{room.name}/` |" not in text] == []


def test_the_specification_names_tests_that_exist() -> None:
    """Every test and benchmark that holds a promise is there."""
    for path, name in re.findall(r"`((?:tests|bench)/[\w/]+\.py)(?:::(\w+))?`", _prose(ROOT / "SPECIFICATION.md")):
        assert (ROOT / path).is_file(), path
        assert not name or name in _names(ROOT / path), f"{path}::{name}"

"""Named queries and migrations as files."""

from pathlib import Path

import pytest

from lambdad.store import migrations, queries
from lambdad.store.errors import MalformedSql


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A package of its own for each test: its name, and its folder."""
    name = f"package_of_{abs(hash(request.node.nodeid))}"
    folder = tmp_path / name
    (folder / "migrations").mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return name, folder


GOOD = """\
-- Tables: thing.

-- name: find_thing
-- Find one,
-- by its name.
SELECT * FROM thing WHERE name = :name AND "odd:name" = ':x'; -- done

-- name: claim
UPDATE thing SET taken = 1 WHERE id = (SELECT id FROM thing LIMIT 1)

-- postgres: claim
-- Two processes do not wait for each other.
UPDATE thing SET taken = :taken::int WHERE id = (SELECT id FROM thing LIMIT 1 FOR UPDATE SKIP LOCKED);
"""


def test_blocks_become_queries(package: tuple[str, Path]) -> None:
    """Each block is an attribute with its statement in both dialects."""
    name, folder = package
    (folder / "queries.sql").write_text(GOOD)
    found = queries.load_queries(name, "queries.sql")
    assert dir(found) == ["claim", "find_thing"]
    assert found.find_thing.comment == "Find one, by its name."
    assert found.find_thing.sqlite.parameters == ("name",)
    assert found.find_thing.postgres.text == "SELECT * FROM thing WHERE name = %(name)s AND \"odd:name\" = ':x'"
    assert found.claim.sqlite.parameters == ()
    assert found.claim.postgres.parameters == ("taken",)
    assert "%(taken)s::int" in found.claim.postgres.text
    assert found is queries.load_queries(name, "queries.sql")
    with pytest.raises(AttributeError, match="has no query named 'missing'"):
        _ = found.missing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1;", "before the first"),
        ("-- name:\nSELECT 1", "'' is not a name"),
        ("-- name: Find-It\nSELECT 1", "is not a name"),
        ("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;", "line 3: '-- name: a' is there twice"),
        ("-- name: a\nSELECT 1;\n-- postgres: a\nSELECT 2;\n-- postgres: a\nSELECT 2;", "line 5: .* twice"),
        ("-- postgres: b\nSELECT 1", "overrides a block that is not there"),
        ("-- name: a\n-- Nothing follows.", "0 statements"),
        ("-- name: a\nSELECT 1; SELECT 2", "2 statements"),
        ("-- name: a\nSELECT 1;\n-- postgres: a\n", "0 statements"),
        ("-- name: a\nSELECT 'x", "block a: line 1"),
        ("-- name: a\ncommit", "COMMIT is the store's own business"),
        ("-- name: a\nPRAGMA synchronous = OFF", "PRAGMA is the store's"),
    ],
)
def test_malformed_files_are_refused(package: tuple[str, Path], text: str, message: str) -> None:
    """A mistake in a file is found when it is loaded, and says where."""
    name, folder = package
    (folder / "queries.sql").write_text(text)
    with pytest.raises(MalformedSql, match=message) as caught:
        queries.load_queries(name, "queries.sql")
    assert str(caught.value).startswith(f"{name}/queries.sql")


def test_migrations_are_numbered_without_gaps(package: tuple[str, Path]) -> None:
    """The files' order and names are checked when they are loaded."""
    name, folder = package
    for file in ("0001_things.sql", "0002_more_things.sql"):
        (folder / "migrations" / file).write_text("CREATE TABLE a (b TEXT);\r\n")
    (folder / "migrations" / "README.md").touch()
    found = migrations.load_migrations(name, namespace="things")
    assert [step.name for step in found.steps] == ["0001_things", "0002_more_things"]
    assert found.namespace == "things"
    assert migrations.load_migrations(name).namespace == name
    (folder / "migrations" / "0001_things.sql").write_text("CREATE TABLE a (b TEXT);\n")
    again = migrations.load_migrations(name, namespace="things")
    assert again == found, "how lines end does not count"


@pytest.mark.parametrize("file", ["0003_gap.sql", "0001_again.sql", "2_short.sql", "0002-dash.sql", "0002_Upper.sql"])
def test_wrongly_named_migrations_are_refused(package: tuple[str, Path], file: str) -> None:
    """A gap, a number used twice or a name of another form is an error."""
    name, folder = package
    (folder / "migrations" / "0001_things.sql").touch()
    (folder / "migrations" / file).touch()
    with pytest.raises(MalformedSql):
        migrations.load_migrations(name)

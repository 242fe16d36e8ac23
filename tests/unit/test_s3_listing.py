"""Pages of keys against a naive twin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.services.s3 import errors
from lambdad.services.s3.rules import listing, names
from lambdad.services.s3.rules.listing import Entry, Start

KEYS = st.text(st.sampled_from("ab/-ü\x01\U0010ffff\ud7ff\ue000"), min_size=1, max_size=6)
VERSIONS = st.dictionaries(KEYS, st.integers(1, 3), max_size=25)
AFFIXES = st.text(st.sampled_from("ab/"), max_size=2)


def rows_of(versions: dict[str, int]) -> list[Entry]:
    """All rows in order, the newest version of each key, with the greatest number, first."""
    return [Entry(key, tie, None) for key in sorted(versions) for tie in range(versions[key], 0, -1)]


def fetcher(rows: list[Entry], prefix: str):
    """What the database does: rows from a start on, with a prefix, at most so many."""

    def fetch(start: Start, count: int) -> list[Entry]:
        found = [row for row in rows if row.key.startswith(prefix) and row.key >= start.key]
        return [row for row in found if row.key != start.tie_key or row.tie < start.tie][:count]

    return fetch


def naive(rows: list[Entry], prefix: str, delimiter: str) -> list[object]:
    """Everything that there is to list, in order."""
    found: list[object] = []
    for row in rows:
        if row.key.startswith(prefix):
            rolled = listing.common_prefix(row.key, prefix, delimiter)
            if rolled is None:
                found.append(row)
            elif rolled not in found:
                found.append(rolled)
    return found


@given(VERSIONS, AFFIXES, st.sampled_from(["", "/", "b", "a/"]), st.integers(1, 5))
def test_pages_make_up_the_whole(versions: dict[str, int], prefix: str, delimiter: str, limit: int) -> None:
    """Page by page everything is listed, once, whichever size the pages have; every page but the last is full."""
    rows = rows_of(versions)
    found: list[object] = []
    start = Start("")
    while True:
        page = listing.collect(fetcher(rows, prefix), prefix, delimiter, start, limit)
        found += sorted([*page.items, *page.prefixes], key=lambda each: each if isinstance(each, str) else each.key)
        assert page.count <= limit
        if page.following is None:
            break
        assert page.count == limit
        start = listing.start_of(listing.token_of(page.following))
    assert sorted(map(str, found)) == sorted(map(str, naive(rows, prefix, delimiter)))


@given(st.sets(KEYS, max_size=25), st.sampled_from(["", "/"]), KEYS)
def test_markers(keys: set[str], delimiter: str, marker: str) -> None:
    """After a marker come the keys behind it; where it is a common prefix, nothing that is below it."""
    rows = [Entry(key, 1, None) for key in sorted(keys)]
    page = listing.collect(fetcher(rows, ""), "", delimiter, listing.after_marker(marker, "", delimiter), 1000)
    is_prefix = bool(delimiter) and listing.common_prefix(marker, "", delimiter) == marker
    behind = [row for row in rows if row.key > marker and not (is_prefix and row.key.startswith(marker))]
    assert [*page.items, *page.prefixes] == [
        *(row for row in naive(behind, "", delimiter) if isinstance(row, Entry)),
        *(row for row in naive(behind, "", delimiter) if isinstance(row, str)),
    ]


@given(KEYS, KEYS)
def test_end_of_prefix(prefix: str, key: str) -> None:
    """All keys with a prefix, and no others behind it, come before its end."""
    end = names.end_of_prefix(prefix)
    if key >= prefix:
        assert key.startswith(prefix) == (not end or key < end)
    if end:
        end.encode()


@pytest.mark.parametrize("token", ["", "nonsense", "W10=", "WzEsMiwzXQ==", "WyJhXHUwMDAwIiwiIiwwXQ==", "eyJhIjoxfQ==", "ü"])
def test_tokens_of_strangers(token: str) -> None:
    """What nobody gave out is refused."""
    with pytest.raises(errors.InvalidArgument, match="continuation token"):
        listing.start_of(token)

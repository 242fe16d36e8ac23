"""The demo's thumbnails without Pillow: PNG read and written by the standard library alone."""

import struct
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.cli import demo_files
from lambdad.cli.demo_functions import thumbnail


@pytest.fixture(autouse=True)
def without_pillow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(thumbnail, "Image", None)
    yield


def filtered(kind: int, row: bytes, above: bytes, step: int) -> bytes:
    """Filter a row as the PNG specification says."""
    out = bytearray([kind])
    for i, value in enumerate(row):
        left, up, corner = (row[i - step], above[i], above[i - step]) if i >= step else (0, above[i], 0)
        out.append((value - (0, left, up, (left + up) // 2, thumbnail.nearest(left, up, corner))[kind]) & 255)
    return bytes(out)


@settings(max_examples=50)
@given(st.data())
def test_every_filter_is_undone(data: st.DataObject) -> None:
    """A PNG's rows are read back, whatever filters they were written with."""
    channels = data.draw(st.sampled_from([1, 2, 3, 4]))
    width = data.draw(st.integers(1, 6))
    rows = data.draw(st.lists(st.binary(min_size=width * channels, max_size=width * channels), min_size=1, max_size=6))
    raw = b""
    above = bytes(width * channels)
    for row in rows:
        raw += filtered(data.draw(st.integers(0, 4)), row, above, channels)
        above = row
    assert list(thumbnail.unfilter(raw, width * channels, channels)) == rows


def test_a_drawn_picture_becomes_small() -> None:
    """The thumbnail is a PNG of the wanted width, in the picture's proportions."""
    small, width, height = thumbnail.shrink(demo_files.draw(96, 64), 16)
    assert (width, height) == (16, 10)
    assert struct.unpack_from(">II", small, 16) == (16, 10)
    (measures, rows) = thumbnail.decode(small)
    assert measures == (16, 10, 3) and len(rows) == 10


def test_a_pixel_is_the_mean_of_what_it_stands_for() -> None:
    """Boxes are averaged, channel by channel, also where the width is no multiple."""
    rows = [bytes([0, 10, 100, 110, 200]), bytes([20, 30, 100, 110, 200])]
    assert list(thumbnail.box_filter(rows, 5, 2, 2, 1, 1)) == [bytes([15, 136])]


def test_small_pictures_stay_as_wide_as_they_are() -> None:
    """Nothing is blown up."""
    _, width, height = thumbnail.shrink(demo_files.draw(8, 4), 160)
    assert (width, height) == (8, 4)


UNUSUAL = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 1, 1, 16, 2, 0, 0, 0, 0)  # 16 bits a channel


@pytest.mark.parametrize("picture", [b"\xff\xd8\xff", UNUSUAL])
def test_other_pictures_are_refused(picture: bytes) -> None:
    """What cannot be read without Pillow says so."""
    with pytest.raises(ValueError, match="without Pillow"):
        thumbnail.shrink(picture, 160)


def test_checksums_are_right() -> None:
    """Every chunk of a thumbnail has the checksum that readers look at."""
    small, _, _ = thumbnail.shrink(demo_files.draw(8, 8), 4)
    index = len(thumbnail.SIGNATURE)
    while index < len(small):
        (length,) = struct.unpack_from(">I", small, index)
        assert struct.unpack_from(">I", small, index + 8 + length)[0] == zlib.crc32(small[index + 4 : index + 8 + length])
        index += length + 12


@pytest.mark.parametrize(
    ("picture", "is_needed"),
    [(demo_files.draw(8, 8), False), (UNUSUAL, True), (b"\xff\xd8\xff", True), (b"", True), (demo_files.draw(8, 8)[:20], True)],
)
def test_pillow_is_fetched_where_it_is_needed(picture: bytes, is_needed: bool) -> None:
    """Plain PNG needs nothing; photographs and unusual PNG do."""
    assert demo_files.needs_pillow(picture) is is_needed

"""What is accepted in a deployment package, and what is refused, without touching a file."""

import io
import stat
import zipfile
import zlib

import pytest
import zip_crafting as zips_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st
from zip_crafting import Crafted, craft, deflate

from lambdad.model import limits
from lambdad.model.errors import AwsError
from lambdad.services.lambda_.rules import zip_format, zips
from lambdad.services.lambda_.rules.zips import Kind

COULD_NOT = "Could not unzip uploaded file. Please check your file, then try to upload again."


def contents(data: bytes) -> dict[str, bytes]:
    """Inflate all files of a zip."""
    return {
        entry.path: b"".join(zip_format.inflate(data, entry.member)) for entry in zips.inspect(data).entries if entry.member is not None
    }


def paths(data: bytes) -> list[str]:
    return [entry.path for entry in zips.inspect(data).entries]


def refuse(data: bytes) -> AwsError:
    """Expect AWS's error for a broken zip."""
    with pytest.raises(AwsError) as caught:
        zips.verify(data, zips.inspect(data))
    assert (caught.value.code, caught.value.message) == ("InvalidParameterValueException", COULD_NOT)
    assert caught.value.members == {"Type": "User"}
    return caught.value


def test_plain_zip_is_planned_parents_first() -> None:
    """Directories that are only implied are planned too, before what is in them."""
    data = craft(
        Crafted(name=b"a-b.py", content=b"x = 1\n"),
        Crafted(name=b"a/b/c.py", content=b"y" * 100_000, mode=0o100755),
        Crafted(name=b"a/", mode=0o040700, method=0),
    )
    plan = zips.inspect(data)
    assert [(entry.path, entry.kind, entry.mode) for entry in plan.entries] == [
        ("a", Kind.DIRECTORY, 0o755),
        ("a/b", Kind.DIRECTORY, 0o755),
        ("a/b/c.py", Kind.FILE, 0o755),
        ("a-b.py", Kind.FILE, 0o644),
    ]
    assert plan.unzipped_size_bytes == 100_006
    assert contents(data) == {"a-b.py": b"x = 1\n", "a/b/c.py": b"y" * 100_000}


@pytest.mark.parametrize(
    "name",
    [
        b"../x",
        b"a/../../x",
        b"a/..",
        b"..",
        b"/etc/passwd",
        b"//x",
        b"C:/x",
        b"c:x",
        b"a\\b",
        b"..\\x",
        b"\\\\server\\share",
        b"a\x00b",
        b"a\nb",
        b"a\x1b[2J",
        b"\x7f",
        "a\u0085b".encode(),
        b"\xff\xfe",
        b"caf\xe9",
        b"",
        b"x" * 256,
        b"/".join([b"d"] * 101),
        b"d" * 200 + b"/" + b"/".join([b"e" * 200] * 10),
    ],
)
def test_names_that_could_do_harm_are_refused(name: bytes) -> None:
    """A name that leaves the root, or that systems disagree on, spoils the whole zip."""
    refuse(craft(Crafted(name=b"ok.py"), Crafted(name=name)))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"./a/b", "a/b"),
        (b"a//b", "a/b"),
        (b"a/./b", "a/b"),
        ("größe/日本.py".encode(), "größe/日本.py"),
        (b"..a/b..", "..a/b.."),
        (b"1:x", "1:x"),
    ],
)
def test_odd_names_are_made_plain(name: bytes, path: str) -> None:
    """Empty and "." components are dropped; anything else that Linux allows stays."""
    assert path in paths(craft(Crafted(name=name)))


def test_root_itself_may_be_named() -> None:
    """`zip -r x.zip ./` style archives name the root; nothing is made of it."""
    data = craft(Crafted(name=b"./", mode=0o040755, method=0), Crafted(name=b"./f"))
    assert paths(data) == ["f"]
    refuse(craft(Crafted(name=b".", content=b"x")))


@pytest.mark.parametrize("form", [zips_by_hand.FIFO, zips_by_hand.CHARACTER, zips_by_hand.BLOCK, zips_by_hand.SOCKET, 0o110000])
def test_devices_are_refused(form: int) -> None:
    """Only files, directories and symbolic links have business in a package."""
    refuse(craft(Crafted(name=b"x", mode=form | 0o644)))


@pytest.mark.parametrize(
    ("mode", "system", "expected"),
    [
        (0o100640, 3, 0o644),
        (0o106755, 3, 0o755),
        (0o101777, 3, 0o777),
        (0o100600, 19, 0o644),
        (0, 3, 0o644),
        (0o755, 3, 0o755),
        (0o100000, 3, 0o444),
        (0o100755, 0, 0o644),
        (0o120777, 0, 0o644),
        (0o010644, 10, 0o644),
    ],
)
def test_file_modes(mode: int, system: int, expected: int) -> None:
    """Unix permissions are kept without set-id and sticky bits, and everybody may read; other systems have none."""
    (entry,) = zips.inspect(craft(Crafted(name=b"x", mode=mode, system=system, content=b"1"))).entries
    assert (entry.kind, entry.mode) == (Kind.FILE, expected)


def link(name: bytes, target: bytes) -> Crafted:
    return Crafted(name=name, content=target, mode=zips_by_hand.LINK | 0o777, method=0)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (b"bin/tool", b"../lib/tool.js"),
        (b"a", b"nowhere"),
        (b"node_modules/.bin/x", b"../x/cli.js"),
        (b"x/y/root", b"../.."),
        (b"here", b"."),
    ],
)
def test_links_inside_are_allowed(name: bytes, target: bytes) -> None:
    """Node projects need relative links; they may dangle."""
    entries = {entry.path: entry for entry in zips.inspect(craft(link(name, target))).entries}
    assert (entries[name.decode()].kind, entries[name.decode()].target) == (Kind.LINK, target.decode())


@pytest.mark.parametrize(
    ("links"),
    [
        [(b"a", b"..")],
        [(b"a", b"/etc/passwd")],
        [(b"d/a", b"../../x")],
        [(b"a", b"")],
        [(b"a", b"x\\y")],
        [(b"a", b"x\x00y")],
        [(b"a", b"\xff")],
        [(b"a", b"x" * 1025)],
        [(b"deep/deeper/root", b"../.."), (b"out", b"deep/deeper/root/../x")],
        [(b"a", b"b"), (b"b", b"a")],
        [(b"a", b"a")],
        [(b"a", b"a/a")],
        [(f"l{i}".encode(), f"l{i + 1}/l{i + 1}".encode()) for i in range(60)],
    ],
)
def test_links_that_leave_are_refused(links: list[tuple[bytes, bytes]]) -> None:
    """A link is followed as the kernel would, through other links; out of the root or in circles spoils the zip."""
    refuse(craft(*(link(name, target) for name, target in links)))


def test_nothing_is_put_through_a_link() -> None:
    """A link cannot be a directory for later entries, in whatever order they come."""
    inside = Crafted(name=b"a/b", content=b"x")
    refuse(craft(link(b"a", b"c"), inside))
    refuse(craft(inside, link(b"a", b"c")))
    refuse(craft(link(b"a", b"c"), Crafted(name=b"a/", mode=0o040755, method=0)))


def test_file_and_directory_of_one_name_are_refused() -> None:
    """What is a file cannot have files in it."""
    refuse(craft(Crafted(name=b"a", content=b"x"), Crafted(name=b"a/b")))
    refuse(craft(Crafted(name=b"a/b/c"), Crafted(name=b"a/b")))
    refuse(craft(Crafted(name=b"a", content=b"x"), Crafted(name=b"a/")))


def test_last_file_of_a_name_counts() -> None:
    """Doubled names are accepted as unzip -o does, once, and under any spelling; their sizes all count."""
    data = craft(Crafted(name=b"a", content=b"first"), Crafted(name=b"./a", content=b"second"))
    assert contents(data) == {"a": b"second"}
    assert zips.inspect(data).unzipped_size_bytes == 11
    assert paths(craft(Crafted(name=b"d/"), Crafted(name=b"d//"))) == ["d"]


@pytest.mark.parametrize("flag", [0, 5, 6, 13])
def test_encryption_is_refused(flag: int) -> None:
    """Nobody gave us a password."""
    refuse(craft(Crafted(name=b"x", flags=1 << flag)))


@pytest.mark.parametrize("method", [1, 6, 9, 12, 14, 93, 95, 99])
def test_other_compressions_are_refused(method: int) -> None:
    """Stored and deflate are what every tool writes."""
    refuse(craft(Crafted(name=b"x", content=b"abc", method=method)))


@pytest.mark.parametrize(
    "member",
    [
        Crafted(name=b"x", content=b"abc" * 1000, declared_bytes=2999),
        Crafted(name=b"x", content=b"abc" * 1000, declared_bytes=3001),
        Crafted(name=b"x", content=b"abc", method=0, declared_bytes=2),
        Crafted(name=b"x", content=b"abc", declared_crc32=1),
        Crafted(name=b"x", content=b"abc", declared_data_bytes=2),
        Crafted(name=b"x", content=b"abc", declared_data_bytes=1_000_000),
        Crafted(name=b"x", content=b"abc", data=b"\xff\xff\xff\xff"),
        Crafted(name=b"x", content=b"abc", data=b""),
        Crafted(name=b"x", content=b"abc" * 1000, data=deflate(b"abc" * 1000)[:-3]),
        Crafted(name=b"x", content=b"abc", data=deflate(b"abc") + b"more"),
        Crafted(name=b"x", content=b"", declared_bytes=0, data=deflate(b"\0" * 5_000_000)),
        Crafted(name=b"x", content=b"abc", local_name=b"y"),
        Crafted(name=b"x", content=b"abc", local_name=b"../x"),
        Crafted(name=b"x", content=b"abc", local_method=0),
        Crafted(name=b"x", content=b"abc", declared_offset=1),
        Crafted(name=b"x", content=b"abc", declared_offset=0xFFFFFFF0),
        Crafted(name=b"d/", content=b"abc"),
        Crafted(name=b"x", zip64=True, declared_bytes=2**63, content=b"", declared_offset=2**63),
    ],
)
def test_lies_are_found(member: Crafted) -> None:
    """Lengths, checksums, offsets and names must be the same wherever they are written."""
    try:
        refuse(craft(member))
    except AwsError as error:
        assert error.message == f"Unzipped size must be smaller than {limits.UNZIPPED_BYTES} bytes"


def test_entries_that_share_bytes_are_refused() -> None:
    """One compressed kernel used by thousands of entries is a bomb."""
    kernel = Crafted(name=b"x", content=b"\0" * 10_000)
    refuse(craft(kernel, Crafted(name=b"x", content=b"\0" * 10_000, shares_previous=True)))
    inner = craft(Crafted(name=b"y", content=b"z"))
    start = 30 + 1  # the local header of the stored member "x", and its name
    outer = craft(Crafted(name=b"x", content=inner, method=0), Crafted(name=b"y", content=b"z", declared_offset=start))
    refuse(outer)


def test_too_large_by_declaration() -> None:
    """250 MiB is refused before anything is inflated, in one file or in many."""
    for members in (
        [Crafted(name=b"x", declared_bytes=limits.UNZIPPED_BYTES)],
        [Crafted(name=f"x{i}".encode(), declared_bytes=limits.UNZIPPED_BYTES // 10) for i in range(10)],
    ):
        with pytest.raises(AwsError, match="Unzipped size must be smaller than 262144000 bytes"):
            zips.inspect(craft(*members))
    zips.inspect(craft(Crafted(name=b"x", declared_bytes=limits.UNZIPPED_BYTES - 1)))


def test_zipped_size() -> None:
    """AWS's front end refuses large uploads with 413."""
    zips.check_zipped_size(limits.ZIPPED_BYTES - 1)
    with pytest.raises(AwsError, match="Zipped size must be smaller than 52428800 bytes") as caught:
        zips.check_zipped_size(limits.ZIPPED_BYTES)
    assert (caught.value.code, caught.value.status) == ("RequestEntityTooLargeException", 413)


def test_empty_zips() -> None:
    """No bytes, or no entries: AWS has a text of its own."""
    for data in (b"", craft()):
        with pytest.raises(AwsError, match="Uploaded file must be a non-empty zip"):
            zips.inspect(data)


@pytest.mark.parametrize(
    "data",
    [
        b"not a zip",
        b"PK\x05\x06",
        b"PK\x03\x04" + b"\0" * 100,
        craft(Crafted(name=b"x"))[:-1],
        craft(Crafted(name=b"x"))[10:],
        craft(Crafted(name=b"x"), after=b"junk"),
        craft(Crafted(name=b"x"), count=2),
        craft(Crafted(name=b"x"), Crafted(name=b"y"), count=1),
        craft(Crafted(name=b"x"), count=60_000),
        craft(Crafted(name=b"x"), disk=1),
    ],
)
def test_broken_containers_are_refused(data: bytes) -> None:
    """What is cut off, padded or miscounted is no zip."""
    refuse(data)


def test_containers_of_other_kinds_are_accepted() -> None:
    """Comments, leading bytes, zip64 records: all of them are written by real tools."""
    member = Crafted(name=b"x", content=b"hello")
    for data in (
        craft(member, comment=b"PK\x05\x06 is how a zip ends"),
        craft(member, before=b"#!/usr/bin/env python3\n"),
        craft(member, zip64=True),
        craft(Crafted(name=b"x", content=b"hello", zip64=True), zip64=True, before=b"#!sh\n"),
    ):
        assert contents(data) == {"x": b"hello"}


def test_too_many_entries_are_refused() -> None:
    """The bound holds for entries that are declared and for directories that are implied."""
    refuse(craft(Crafted(name=b"x"), count=zips.ENTRIES + 1, zip64=True))


def test_implied_directories_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short zip cannot ask for a great many directories."""
    monkeypatch.setattr(zips, "ENTRIES", 50)
    refuse(craft(*(Crafted(name=b"/".join([b"%d" % i] * 20)) for i in range(3))))


names = st.lists(st.sampled_from(["a", "b", "c", "d e", "é", ".x", "y.py", "..", ".", "", "C:", "\\", "\0"]), min_size=1, max_size=5).map(
    "/".join
)
members = st.builds(
    Crafted,
    name=names.map(str.encode),
    content=st.one_of(st.binary(max_size=64), names.map(str.encode), st.just(b"\0" * 70_000)),
    mode=st.one_of(st.sampled_from([0, 0o100644, 0o100755, 0o040755, 0o120777]), st.integers(min_value=0, max_value=0xFFFF)),
    system=st.sampled_from([3, 3, 3, 0, 19]),
    method=st.sampled_from([0, 8, 8, 12]),
    flags=st.sampled_from([0, 0, 0, 8, 0x800, 1]),
    declared_bytes=st.one_of(st.none(), st.none(), st.integers(min_value=0, max_value=2**32 - 1)),
    declared_offset=st.one_of(st.none(), st.none(), st.integers(min_value=0, max_value=300)),
    declared_crc32=st.one_of(st.none(), st.none(), st.just(7)),
    data=st.one_of(st.none(), st.none(), st.binary(max_size=40)),
    zip64=st.booleans(),
)


def assert_harmless(data: bytes) -> None:
    """Whatever `data` is: a plan that stays inside, or AWS's error and nothing else."""
    try:
        plan = zips.inspect(data)
        for entry in plan.entries:
            size = 0
            if entry.member is not None:
                for chunk in zip_format.inflate(data, entry.member):
                    size += len(chunk)
                    assert size <= entry.size_bytes
    except AwsError:
        return
    seen: dict[str, Kind] = {}
    for entry in plan.entries:
        parts = entry.path.split("/")
        assert entry.path not in seen
        assert not {"", ".", ".."} & set(parts)
        assert all(seen["/".join(parts[:depth])] is Kind.DIRECTORY for depth in range(1, len(parts)))
        assert entry.mode == stat.S_IMODE(entry.mode) & 0o777
        seen[entry.path] = entry.kind
    assert sum(entry.size_bytes for entry in plan.entries) <= plan.unzipped_size_bytes < limits.UNZIPPED_BYTES


@settings(max_examples=50, deadline=None)
@given(st.lists(members, max_size=5), st.booleans(), st.binary(max_size=5), st.binary(max_size=5))
def test_hostile_zips_are_harmless(crafted: list[Crafted], zip64: bool, before: bytes, after: bytes) -> None:
    """Members that lie at random give a plan within its bounds or AWS's error, never another exception."""
    assert_harmless(craft(*crafted, zip64=zip64, before=before, after=after))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_damaged_zips_are_harmless(data: st.DataObject) -> None:
    """Any change of any bytes of a good zip gives a plan within its bounds or AWS's error."""
    good = bytearray(craft(Crafted(name=b"a/b", content=b"hello" * 20), link(b"l", b"a/b"), Crafted(name=b"c", zip64=True)))
    for _ in range(data.draw(st.integers(min_value=1, max_value=4))):
        good[data.draw(st.integers(min_value=0, max_value=len(good) - 1))] = data.draw(st.integers(0, 255))
    assert_harmless(bytes(good))


files = st.dictionaries(
    st.lists(st.text("abcé .-_", min_size=1, max_size=4).filter(lambda s: s.strip(".")), min_size=1, max_size=3).map("/".join),
    st.tuples(st.binary(max_size=200), st.integers(min_value=0, max_value=0o777), st.sampled_from([0, 8])),
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(files)
def test_good_zips_are_read_as_zipfile_wrote_them(wanted: dict[str, tuple[bytes, int, int]]) -> None:
    """What the standard library writes is read back, contents and modes."""
    wanted = {path: value for path, value in wanted.items() if not any(p.startswith(path + "/") for p in wanted)}
    if not wanted:
        return
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for path, (content, mode, method) in wanted.items():
            info = zipfile.ZipInfo(path)
            info.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(info, content, compress_type=method)
    data = target.getvalue()
    assert contents(data) == {path: content for path, (content, _, _) in wanted.items()}
    modes = {entry.path: entry.mode for entry in zips.inspect(data).entries if entry.kind is Kind.FILE}
    assert modes == {path: mode | 0o444 for path, (_, mode, _) in wanted.items()}


class Unseekable(io.RawIOBase):
    """A pipe: zipfile then writes data descriptors after the content."""

    def __init__(self) -> None:
        self.written = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.written += bytes(data)  # type: ignore[call-overload]  # any buffer
        return len(data)  # type: ignore[arg-type]


def test_streamed_zips_are_accepted() -> None:
    """Data descriptors, and zip64 extras that are not needed, come from tools that write into a pipe."""
    pipe = Unseekable()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.py", "x = 1\n" * 100)
        with archive.open("b.py", "w", force_zip64=True) as member:
            member.write(b"y = 2\n")
    assert contents(pipe.written) == {"a.py": b"x = 1\n" * 100, "b.py": b"y = 2\n"}


def test_content_is_given_in_bounded_chunks() -> None:
    """A bomb inflates piece by piece, and stops where the directory said it would end."""
    content = b"\0" * 3_000_000
    data = craft(Crafted(name=b"x", content=content, declared_bytes=1_000_000, declared_crc32=zlib.crc32(content)))
    (entry,) = zips.inspect(data).entries
    assert entry.member is not None
    sizes: list[int] = []
    with pytest.raises(zip_format.RefusedZip) as caught:
        sizes.extend(len(chunk) for chunk in zip_format.inflate(data, entry.member))
    assert "longer" in caught.value.reason
    assert sum(sizes) <= 1_000_000
    assert max(sizes) <= zip_format.CHUNK_BYTES

"""What may be in a deployment package, decided from its bytes alone: nothing is extracted here, nothing is written.

A zip comes from strangers. `inspect` refuses whatever could do harm or could be understood in two ways, and gives a `Plan`:
the one list of files, directories and links that an extractor has to make.

Refused, besides what `zip_format` refuses: names that leave the root or that systems disagree on (absolute, "..", drive
letters, backslashes, control characters, invalid UTF-8, too long, too deep), links that lead out of the root, devices,
fifos and sockets, files where directories must be, more entries than `ENTRIES`. Set-user-id, set-group-id and sticky bits
are dropped. When one file's name occurs twice the last one counts, as with ``unzip -o``; that is decided here, so an
extractor never writes a name twice.
"""

import stat
from dataclasses import dataclass
from enum import StrEnum

from lambdad.model import limits
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.rules import zip_format
from lambdad.services.lambda_.rules.zip_format import Member, RefusedZip, Source

ENTRIES = 100_000  # files, directories (named or implied) and links
PATH_BYTES = 2048  # leaves room for the path of the code store within Linux's 4096
PATHS_BYTES = 32 * limits.MIB  # of all paths together, implied directories included
NAME_BYTES = 255  # of one component, Linux's own limit
DEPTH = 100  # of components; tree walkers recurse
LINK_BYTES = 1024  # of a symbolic link's target
LINK_HOPS = 40  # as Linux does before ELOOP
LINK_STEPS = 500_000  # components looked at to follow all links

DIRECTORY_MODE = 0o755
FILE_MODE = 0o644  # where the zip has no Unix permissions
READABLE = 0o444  # AWS would leave unreadable what the zip says is; zips made in memory by Python say so of all files
LINK_MODE = 0o777


class Kind(StrEnum):
    """What an extractor has to make of an entry."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file, directory or symbolic link to make.

    ``path`` is relative, "/"-separated, without ".", ".." or empty components. ``member`` is a file's content, for
    `zip_format.inflate`; ``target`` is a link's, and never leads out of the root.
    """

    path: str
    kind: Kind
    mode: int  # 0..0o777
    member: Member | None = None
    target: str = ""

    @property
    def size_bytes(self) -> int:
        """The inflated size of a file; 0 for anything else."""
        return self.member.size_bytes if self.member is not None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to make, parents before children; and how large it is when inflated."""

    entries: tuple[Entry, ...]
    unzipped_size_bytes: int


def check_zipped_size(size_bytes: int) -> None:
    """
    Refuse a zip that is too large to be sent within a request.

    Raises:
        TooLarge: 413, at `limits.ZIPPED_BYTES` and above.
    """
    if size_bytes >= limits.ZIPPED_BYTES:
        raise errors.TooLarge(f"Zipped size must be smaller than {limits.ZIPPED_BYTES} bytes")


def inspect(data: Source) -> Plan:
    """
    Decide what to extract from a zip, from its directory; only links' targets are inflated.

    Raises:
        RefusedZip: it is no zip, is broken, or is not safe to extract.
        InvalidParameterValue: it is empty, or inflates to more than a function may have.
    """
    directory = zip_format.find_directory(data) if len(data) else None
    if directory is None or directory.count == 0:
        raise errors.InvalidParameterValue("Uploaded file must be a non-empty zip")
    if directory.count > ENTRIES:
        raise RefusedZip(f"{directory.count} entries")
    entries: dict[str, Entry] = {}
    spans: list[tuple[int, int]] = []
    size_bytes = 0
    for member in zip_format.members(data, directory):
        spans.append(member.span)
        size_bytes += member.size_bytes
        if size_bytes >= limits.UNZIPPED_BYTES:
            raise errors.InvalidParameterValue(f"Unzipped size must be smaller than {limits.UNZIPPED_BYTES} bytes")
        entry = _entry(data, member)
        if entry.path:  # "./" is the root itself
            _place(entries, entry)
    zip_format.refuse_shared_bytes(spans)
    _complete(entries)
    _refuse_leaving_links(entries)
    # No name holds a control character, so this order has every directory right before what is in it.
    ordered = sorted(entries.values(), key=lambda entry: entry.path.replace("/", "\0"))
    return Plan(entries=tuple(ordered), unzipped_size_bytes=size_bytes)


def verify(data: Source, plan: Plan) -> None:
    """
    Inflate every file of a plan and throw the bytes away.

    Raises:
        RefusedZip: as `zip_format.inflate`.
    """
    for entry in plan.entries:
        if entry.member is not None:
            for _ in zip_format.inflate(data, entry.member):
                pass


def clean_path(name: bytes) -> str:
    """
    Turn an entry's name into a relative path; "" for the root itself (``./``).

    Raises:
        RefusedZip: the name could lead out of the root, or means different things to different systems.
    """
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedZip("name is not UTF-8") from error
    if not text or len(name) > PATH_BYTES:
        raise RefusedZip("name is empty or too long")
    if text.startswith("/") or "\\" in text or (text[1:2] == ":" and text[0].isalpha()):
        raise RefusedZip(f"absolute name or backslash: {text!r}")
    if _has_control_characters(text):
        raise RefusedZip(f"control character in name: {text!r}")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise RefusedZip(f"name leaves the root: {text!r}")
    if len(parts) > DEPTH or any(len(part.encode()) > NAME_BYTES for part in parts):
        raise RefusedZip("name is too deep or has too long a component")
    return "/".join(parts)


def _has_control_characters(text: str) -> bool:
    return any(character < " " or "\x7f" <= character <= "\x9f" for character in text)


def _entry(data: Source, member: Member) -> Entry:
    path = clean_path(member.name)
    form = stat.S_IFMT(member.unix_mode)
    if form not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise RefusedZip(f"{path!r} is a device, fifo or socket: mode {member.unix_mode:o}")
    if member.name.endswith(b"/") or form == stat.S_IFDIR:
        if member.size_bytes or form == stat.S_IFLNK:
            raise RefusedZip(f"directory {path!r} has content")
        return Entry(path=path, kind=Kind.DIRECTORY, mode=DIRECTORY_MODE)
    if not path:
        raise RefusedZip("file without a name")
    if form == stat.S_IFLNK:
        return Entry(path=path, kind=Kind.LINK, mode=LINK_MODE, target=_target(data, member))
    mode = member.unix_mode & 0o777 | READABLE if member.unix_mode else FILE_MODE
    return Entry(path=path, kind=Kind.FILE, mode=mode, member=member)


def _target(data: Source, member: Member) -> str:
    """Read where a symbolic link points; whether that is inside the root is decided when all entries are known."""
    if not 0 < member.size_bytes <= LINK_BYTES:
        raise RefusedZip("link's target is empty or too long")
    try:
        target = b"".join(zip_format.inflate(data, member)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedZip("link's target is not UTF-8") from error
    if target.startswith("/") or "\\" in target or _has_control_characters(target):
        raise RefusedZip(f"link {member.name!r} points to {target!r}")
    return target


def _place(entries: dict[str, Entry], entry: Entry) -> None:
    """Add an entry; of several files of one name the last stays, of several kinds of one name none."""
    before = entries.get(entry.path)
    if before is not None and before.kind is not entry.kind:
        raise RefusedZip(f"{entry.path!r} is two things")
    entries[entry.path] = entry


def _complete(entries: dict[str, Entry]) -> None:
    """Add the directories that are only implied, and refuse files and links where a directory must be."""
    paths_bytes = sum(len(path) for path in entries)
    for path in list(entries):
        parent = path.rpartition("/")[0]
        while parent:
            there = entries.get(parent)
            if there is not None and there.kind is not Kind.DIRECTORY:
                raise RefusedZip(f"{parent!r} is a {there.kind}, and something is in it")
            if there is not None:
                break  # its own parents have had or will have their turn
            entries[parent] = Entry(path=parent, kind=Kind.DIRECTORY, mode=DIRECTORY_MODE)
            paths_bytes += len(parent)
            if len(entries) > ENTRIES or paths_bytes > PATHS_BYTES:
                raise RefusedZip("too many directories")
            parent = parent.rpartition("/")[0]


def _refuse_leaving_links(entries: dict[str, Entry]) -> None:
    """Follow every link as the kernel would, within the plan, and refuse the zip if one leads out of its root."""
    steps = 0
    for entry in entries.values():
        if entry.kind is not Kind.LINK:
            continue
        at = entry.path.split("/")[:-1]
        ahead = entry.target.split("/")[::-1]
        hops = 1
        while ahead:
            part = ahead.pop()
            steps += 1
            if len(at) > DEPTH or steps > LINK_STEPS:
                raise RefusedZip("links lead too deep, or are too many")
            if part in ("", "."):
                continue
            if part == "..":
                if not at:
                    raise RefusedZip(f"link {entry.path!r} leaves the root")
                at.pop()
                continue
            at.append(part)
            there = entries.get("/".join(at))
            if there is not None and there.kind is Kind.LINK:
                hops += 1
                if hops > LINK_HOPS:
                    raise RefusedZip(f"link {entry.path!r} goes in circles")
                at.pop()
                ahead += there.target.split("/")[::-1]

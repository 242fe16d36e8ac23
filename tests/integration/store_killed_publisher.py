"""Publish, killed before each step in turn; run as a program by `test_store_crashes`.

Forks a child for each step, which kills itself (SIGKILL) just before its n-th call into the file system. After each, the target must be
not there or whole, and after `sweep` nothing else may be there. Prints how many steps there were, for each way of publishing.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from lambdad.store import publish
from lambdad.store.blobs import Blobs

STEPS = ("open", "write", "fsync", "rename", "mkdir", "chmod", "fchmod", "close", "unlink")


def kill_before(step: int) -> None:
    """Make this process kill itself before its n-th step."""
    count = 0

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count > step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in STEPS:
        setattr(os, name, dying(getattr(os, name)))


def steps_of(work: Callable[[], object], check: Callable[[], None]) -> int:
    """Do a work again and again, killed one step later each time; return how many steps it has."""
    for step in range(200):
        pid = os.fork()
        if pid == 0:
            kill_before(step)
            work()
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        check()
        if status == 0:
            return step
        assert os.WTERMSIG(status) == signal.SIGKILL, status
    raise AssertionError("never ends")


def files(top: Path) -> dict[str, bytes]:
    """Read everything."""
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def publish_file(top: Path) -> int:
    """Replace a file."""
    top.mkdir()

    def check() -> None:
        publish.sweep(top)
        assert files(top) in ({"file": b"old"}, {"file": b"new"}), files(top)
        (top / "file").write_bytes(b"old")

    (top / "file").write_bytes(b"old")
    return steps_of(lambda: publish.publish_file(top / "file", b"new"), check)


def publish_directory(top: Path) -> int:
    """Make a directory."""
    top.mkdir()
    whole = {"target/a": b"1", "target/b/c": b"2"}

    def build(directory: Path) -> None:
        (directory / "a").write_bytes(b"1")
        (directory / "b").mkdir()
        (directory / "b" / "c").write_bytes(b"2")

    def check() -> None:
        publish.sweep(top)
        assert files(top) == (whole if os.listdir(top) else {}), files(top)
        publish.remove_tree(top / "target")

    return steps_of(lambda: publish.publish_directory(build, top / "target"), check)


def put_pieces(top: Path) -> int:
    """Put a blob in pieces."""
    blobs = Blobs(top)
    sha256 = asyncio.run(Blobs(top.with_name("other")).put(b"onetwo"))

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    def check() -> None:
        asyncio.run(blobs.sweep())
        assert files(top) in ({}, {f"{sha256[:2]}/{sha256}": b"onetwo"}), files(top)
        asyncio.run(blobs.delete(sha256))

    return steps_of(lambda: asyncio.run(blobs.put(pieces())), check)


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    print(publish_file(directory / "1"), publish_directory(directory / "2"), put_pieces(directory / "3"))

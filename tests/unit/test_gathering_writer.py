"""What is written within one turn of the event loop goes out together, in order, and within its bound."""

import asyncio

from lambdad.kit.gathering import GatheringWriter


class Transport:
    """Keeps what is written, call by call."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.closing = False

    def writelines(self, pieces: list[bytes]) -> None:
        self.calls.append(b"".join(pieces))

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 7


async def test_one_turn_is_one_call():
    """Pieces of one turn are one write at its end; those of the next turn are another one."""
    transport = Transport()
    writer = GatheringWriter(transport)  # type: ignore[arg-type]
    for piece in (b"a", b"b", b"c"):
        writer.write(piece)
    assert transport.calls == [] and writer.unsent_bytes() == 10
    await asyncio.sleep(0)
    assert transport.calls == [b"abc"] and writer.unsent_bytes() == 7
    writer.write(b"d")
    await asyncio.sleep(0)
    assert transport.calls == [b"abc", b"d"]


async def test_much_does_not_wait():
    """More than a quarter of a mebibyte is not held back, and nothing overtakes it."""
    transport = Transport()
    writer = GatheringWriter(transport)  # type: ignore[arg-type]
    writer.write(b"first")
    writer.write(bytes(300_000))
    assert [len(call) for call in transport.calls] == [300_005]
    writer.write(b"last")
    await asyncio.sleep(0)
    assert transport.calls[1:] == [b"last"]


async def test_a_closed_transport_gets_nothing():
    """Who has hung up is not written to."""
    transport = Transport()
    writer = GatheringWriter(transport)  # type: ignore[arg-type]
    writer.write(b"lost")
    transport.closing = True
    await asyncio.sleep(0)
    assert transport.calls == []

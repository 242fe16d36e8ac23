"""Writes to a transport, gathered: what is written within one turn of the event loop is one system call, and wakes the reader once."""

import asyncio

_FULL_BYTES = 256 * 1024  # more is written at once


class GatheringWriter:
    """Writes to one transport.

    Bound: `_FULL_BYTES` and one piece are held here, and not beyond the end of the turn; `unsent_bytes` counts them.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def write(self, piece: bytes) -> None:
        """Write a piece, after those before it."""
        if not self._pieces:
            self._loop.call_soon(self.flush)
        self._pieces.append(piece)
        self._size_bytes += len(piece)
        if self._size_bytes > _FULL_BYTES:
            self.flush()

    def flush(self) -> None:
        """Give everything to the transport now, as before it is closed."""
        pieces, self._pieces, self._size_bytes = self._pieces, [], 0
        if pieces and not self._transport.is_closing():
            self._transport.writelines(pieces)

    def unsent_bytes(self) -> int:
        """Return how much the other side has yet to take."""
        return self._transport.get_write_buffer_size() + self._size_bytes

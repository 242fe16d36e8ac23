"""What must be durable before it is true: changes go to the database in order, many in one write, and then into memory.

A change that was handed in is carried out whether or not its caller still waits for it: what is a row is always in memory too, and the
other way round.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, Protocol, TypeAlias

from lambdad.store.connection import Connection
from lambdad.store.database import Database
from lambdad.store.errors import StoreError, Unavailable

_log = logging.getLogger(__name__)

PENDING_MAX: Final = 10_000  # changes that wait; a further caller waits for room, in order
PENDING_BYTES_MAX: Final = 64 * 1024 * 1024  # of messages in them
TOGETHER_MAX: Final = 500  # changes in one write, so that the first does not wait long for the last


class Change(Protocol):
    """One change, of a few rows and of what is in memory."""

    @property
    def size_bytes(self) -> int:
        """How much it holds while it waits."""

    def write(self, connection: Connection) -> Any:
        """Change the rows; runs in a thread of the store."""

    def apply(self, written: Any) -> Any:
        """Change what is in memory, now that the rows are durable; returns what the caller is told."""


_Waiting: TypeAlias = tuple[Change, asyncio.Future[Any]]


class Journal:
    """
    Carry out changes.

    Args:
        applied: called after each write, when all of its changes are in memory.
    """

    def __init__(self, database: Database, applied: Callable[[], None]) -> None:
        self._database = database
        self._applied = applied
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Condition()

    async def carry_out(self, change: Change) -> Any:
        """
        Have a change carried out, and return what its `apply` returns.

        Raises:
            StoreError: the database's failure; nothing of the change has happened, or, after `Unavailable`, perhaps all of it.

        Cancellation: while there is no room the change is dropped; afterwards it is carried out all the same.
        """
        if self._is_full():
            async with self._room:
                await self._room.wait_for(lambda: not self._is_full())
        return await self.hand_in(change)

    def hand_in(self, change: Change) -> "asyncio.Future[Any]":
        """Have a change carried out that is owed, room or not; the future need not be looked at."""
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(_look_at)
        self._waiting.append((change, future))
        self._waiting_bytes += change.size_bytes
        self._filled.set()
        return future

    async def run(self) -> NoReturn:
        """Carry out what is handed in, until cancelled. Call `finish` after that, before the database closes."""
        while True:
            await self._filled.wait()
            await self._write(self._take())

    async def finish(self) -> None:
        """Carry out what was handed in and is not done."""
        while self._waiting:
            await self._write(self._take())

    def _is_full(self) -> bool:
        return len(self._waiting) >= PENDING_MAX or self._waiting_bytes >= PENDING_BYTES_MAX

    def _take(self) -> list[_Waiting]:
        waiting = self._waiting
        taken = [waiting.popleft() for _ in range(min(len(waiting), TOGETHER_MAX))]
        if not waiting:
            self._filled.clear()
        return taken

    async def _write(self, taken: Sequence[_Waiting]) -> None:
        try:
            await self._write_together(taken)
        finally:
            self._waiting_bytes -= sum(change.size_bytes for change, _ in taken)
            async with self._room:
                self._room.notify_all()

    async def _write_together(self, taken: Sequence[_Waiting]) -> None:
        changes = [change for change, _ in taken]
        try:
            written = await self._database.write(lambda connection: [change.write(connection) for change in changes])
        except Exception as error:
            # Safe to go on: nothing of the write is in memory, and its callers are told.
            if len(taken) > 1 and not isinstance(error, Unavailable):
                for each in taken:  # one of them is to blame; the others shall not suffer for it
                    await self._write_together([each])
                return
            _log.exception("sqs.write.failed changes=%d", len(taken))
            for _, future in taken:
                if not future.done():
                    future.set_exception(error.again() if isinstance(error, StoreError) else error)
            return
        for (change, future), result in zip(taken, written, strict=True):
            told = change.apply(result)
            if not future.done():
                future.set_result(told)
        self._applied()


def _look_at(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()

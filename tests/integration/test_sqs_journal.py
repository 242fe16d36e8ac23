"""The journal: changes are carried out in order, one that fails does not take others with it, and there is a bound."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqs_house import Clock, opened

from lambdad.services.sqs import journal as journal_module
from lambdad.services.sqs import receiving
from lambdad.services.sqs.errors import OverLimit
from lambdad.services.sqs.journal import Journal
from lambdad.store.connection import Connection
from lambdad.store.database import open_database
from lambdad.store.errors import StoreError


class Change:
    """A change that tells what becomes of it."""

    def __init__(self, name: str, told: list[str], failure: Exception | None = None, size_bytes: int = 0) -> None:
        self.name = name
        self.told = told
        self.failure = failure
        self.size_bytes = size_bytes

    def write(self, connection: Connection) -> str:
        if self.failure is not None:
            raise self.failure
        return f"written {self.name}"

    def apply(self, written: Any) -> str:
        self.told.append(self.name)
        return str(written)


@pytest.fixture
async def journal(database_url: str) -> AsyncIterator[Journal]:
    async with open_database(database_url, now_ms=Clock()) as database:
        yield Journal(database, lambda: None)


@pytest.mark.parametrize("failure", [StoreError("bad row"), ValueError("a defect")])
async def test_a_change_that_fails_fails_alone(journal: Journal, failure: Exception) -> None:
    """Those written together with it are carried out all the same, in order."""
    told: list[str] = []
    futures = [journal.hand_in(Change(name, told, failure if name == "b" else None)) for name in "abc"]
    await journal.finish()
    assert told == ["a", "c"]
    assert await futures[0] == "written a"
    assert await futures[2] == "written c"
    with pytest.raises(type(failure)):
        await futures[1]


async def test_callers_wait_for_room(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """When as much waits as may, further callers wait, by number and by size."""
    monkeypatch.setattr(journal_module, "PENDING_MAX", 3)
    told: list[str] = []
    calls = [asyncio.ensure_future(journal.carry_out(Change(str(number), told))) for number in range(5)]
    await asyncio.sleep(0)
    assert len(journal._waiting) == 3
    running = asyncio.ensure_future(journal.run())
    await asyncio.gather(*calls)
    assert told == ["0", "1", "2", "3", "4"]
    monkeypatch.setattr(journal_module, "PENDING_BYTES_MAX", 10)
    big = asyncio.ensure_future(journal.carry_out(Change("big", told, size_bytes=10)))
    await asyncio.sleep(0)
    small = asyncio.ensure_future(journal.carry_out(Change("small", told)))
    await asyncio.gather(big, small)
    assert told[-2:] == ["big", "small"]
    running.cancel()
    await asyncio.wait([running])


async def test_no_more_in_flight_than_allowed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standard queue says so, a FIFO queue gives nothing, until something is deleted."""
    monkeypatch.setattr(receiving.limits, "IN_FLIGHT", 3)
    async with opened(database_url, Clock()) as sqs:
        url, fifo = await sqs.queue(), await sqs.queue("q.fifo", ContentBasedDeduplication="true")
        await sqs.send(url, *"abcde")
        for body in "abcde":
            await sqs.send(fifo, body, MessageGroupId=body)
        received = await sqs.receive(url)
        assert len(received) == 3
        with pytest.raises(OverLimit):
            await sqs.receive(url)
        assert len(await sqs.receive(fifo)) == 3
        assert await sqs.receive(fifo) == []
        await sqs.delete(url, received[0])
        assert len(await sqs.receive(url)) == 1

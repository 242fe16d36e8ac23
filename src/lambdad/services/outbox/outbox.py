"""The outbox: adds deliveries to the transactions that cause them, and makes them.

A delivery is a row from the commit of what caused it until it has arrived or was given up; what is in memory beside it can be lost at
any moment, and is read again. So it arrives at least once: twice, where the process died between the call and the note of it.

Bounds: at most `in_flight` calls are under way, at most `LANE_WIDTH` of them to one target, and at most half of them to targets that
fail. At most twice as many deliveries, and about `HELD_BYTES_MAX`, are in memory; all others wait in the table.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from lambdad.kit.clock import NowMs
from lambdad.model.errors import AwsError
from lambdad.services.outbox import rows
from lambdad.services.outbox.delivery import Delivery, decode
from lambdad.services.outbox.rows import Held, Settled
from lambdad.services.outbox.rules import answers, dead_letters, retries
from lambdad.services.outbox.rules.turns import Turns
from lambdad.services.ports import Neighbours
from lambdad.store.database import Connection, Database
from lambdad.store.errors import Closed, StoreError
from lambdad.store.migrations import Migrations, load_migrations

log = logging.getLogger("lambdad.outbox")

IN_FLIGHT = 256
LANE_WIDTH = 32
HELD_BYTES_MAX = 64 * 1024 * 1024
CALL_S = 60.0  # for one try; a target that takes longer has failed
POLL_S = 1.0  # the table is looked at this often, whether or not anybody said that there is something
SHORT_ROUND_S = 0.01  # a round over all lanes that takes longer is followed by as long a rest
UNREADABLE_MS = 300_000
SETTLED_MAX = 2_000  # notes in one transaction


def migrations() -> Migrations:
    """Give the outbox's table."""
    return load_migrations("lambdad.services.outbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """For debugging, introspection and metrics. Numbers of deliveries; the last five counted since the start."""

    waiting: int  # in memory, for their turn
    running: int
    lanes: int
    lanes_failing: int
    delivered: int
    retried: int
    given_up: int
    dead_lettered: int
    lost: int  # given up without a dead-letter queue


class Outbox:
    """
    Deliveries to neighbours. `add` inside writes, `wake` after them, `run` once.

    Args:
        jitter: draws a number 0.0..1.0.
        in_flight: calls under way at once, >= 2.
    """

    def __init__(
        self,
        database: Database,
        neighbours: Neighbours,
        now_ms: NowMs,
        *,
        in_flight: int = IN_FLIGHT,
        lane_width: int = LANE_WIDTH,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._neighbours = neighbours
        self._now_ms = now_ms
        self._jitter = jitter
        self._in_flight = in_flight
        self._turns: Turns[Held] = Turns(in_flight, lane_width)
        self._held: dict[str, set[int]] = {}  # in memory in any way: not to be read from the table again
        self._held_bytes = 0
        self._partial: set[str] = set()  # lanes that have more in the table
        self._after = ""
        self._is_cut = False
        self._failing_after = ""  # lanes that fail had their turn up to this one in the round before, and in this one
        self._failing_up_to = ""
        self._is_passed = False  # there may be due deliveries of lanes that fail, for which there was no room
        self._next_due_ms: int | None = None
        self._look_now = True
        self._looked_s = 0.0  # in this round
        self._round_not_before_s = 0.0
        self._wake = asyncio.Event()
        self._settled: list[tuple[Held, Settled, bool]] = []
        self._to_settle = asyncio.Event()
        self._delivered = self._retried = self._given_up = self._dead_lettered = self._lost = 0

    def add(self, connection: Connection, deliveries: Sequence[Delivery], now_ms: int) -> None:
        """
        Add deliveries to the transaction of a `Connection`; they are made if and when it is committed.

        Args:
            connection: of a write that is under way.
            now_ms: their age is counted from here.

        Raises:
            StoreError: and nothing of the write is kept.
        """
        rows.insert(connection, deliveries, now_ms)

    def wake(self) -> None:
        """Look for new deliveries now, and not only with the next poll. Call it after the commit, in the event loop."""
        self._look_now = True
        self._wake.set()

    async def run(self) -> None:
        """
        Make deliveries, until cancelled.

        Cancellation: what is under way then is made again after the next start.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._settle_all())
                while True:
                    await self._look_and_start(tasks)
                    await self._wait()
        finally:
            await self._write_settled()

    def statistics(self) -> Statistics:
        """Count what was done and what is under way."""
        return Statistics(
            waiting=self._turns.waiting(),
            running=self._turns.running,
            lanes=self._turns.lanes(),
            lanes_failing=len(self._turns.narrowed()),
            delivered=self._delivered,
            retried=self._retried,
            given_up=self._given_up,
            dead_lettered=self._dead_lettered,
            lost=self._lost,
        )

    # --- reading

    async def _look_and_start(self, tasks: asyncio.TaskGroup) -> None:
        """Read what is due of all lanes, as far as there is room, and start what has its turn."""
        while (self._after or (self._look_now and self._rested())) and self._has_room():
            try:
                await self._look()
            except Closed:
                raise
            except StoreError:
                # Safe to go on: nothing was taken; the poll looks again.
                log.exception("outbox.look.failed")
                self._look_now, self._after = False, ""
            self._start(tasks)
        self._start(tasks)

    def _rested(self) -> bool:
        """Say whether the next round may begin: with thousands of lanes a round takes long, and looking is not to take all the time."""
        return asyncio.get_running_loop().time() >= self._round_not_before_s

    def _has_room(self) -> bool:
        """Say whether to read: after a round was cut for want of room not before half of it is free, lest rows are read one by one."""
        if self._held_bytes >= HELD_BYTES_MAX:
            return False
        return self._turns.held <= self._in_flight if self._is_cut else self._turns.room() > 0

    async def _look(self) -> None:
        """Look into some hundred lanes; a round over all of them takes as many looks as it takes."""
        now_ms = self._now_ms()
        turns = self._turns
        began_s = asyncio.get_running_loop().time()
        if not self._after:
            self._look_now = False
            self._looked_s = 0.0
            self._next_due_ms = None
            self._partial.clear()
            self._is_passed = False
            self._failing_after, self._failing_up_to = self._failing_up_to, ""
        ask = rows.Ask(
            after=self._after,
            room=turns.room(),
            room_for_failing=turns.room_for_failing(),
            failing_after=self._failing_after,
            wanted={lane: turns.wanted(lane) for lane in turns.known()},
            default=turns.wanted(""),
            failing=turns.narrowed(),
            held={lane: frozenset(ids) for lane, ids in self._held.items()},
        )
        found = await self._database.read(lambda connection: rows.look(connection, now_ms, ask))
        for held in found.deliveries:
            ids = self._held.setdefault(held.lane, set())
            if held.id not in ids:
                ids.add(held.id)
                self._held_bytes += held.size_bytes
                turns.put(held.lane, held)
        self._partial |= found.partial
        self._after, self._is_cut = found.after, found.is_cut
        ended_s = asyncio.get_running_loop().time()
        self._looked_s += ended_s - began_s
        self._round_not_before_s = ended_s + (self._looked_s if self._looked_s > SHORT_ROUND_S else 0.0)
        self._is_passed |= found.is_passed
        self._failing_up_to = found.failing_after or self._failing_up_to
        if found.next_due_ms is not None:
            self._next_due_ms = min(found.next_due_ms, self._next_due_ms or found.next_due_ms)

    async def _wait(self) -> None:
        """Wait for something to do: new deliveries, room for more, the time of the next retry, the poll."""
        patience_s = POLL_S
        if self._next_due_ms is not None:
            patience_s = min(max((self._next_due_ms - self._now_ms()) / 1000, 0.02), POLL_S)
        if self._look_now and self._has_room():
            patience_s = min(patience_s, max(self._round_not_before_s - asyncio.get_running_loop().time(), 0.001))
        try:
            async with asyncio.timeout(patience_s):
                await self._wake.wait()
        except TimeoutError:
            self._look_now = True
        self._wake.clear()

    # --- making

    def _start(self, tasks: asyncio.TaskGroup) -> None:
        while (taken := self._turns.take()) is not None:
            tasks.create_task(self._make(taken[1]))

    async def _make(self, held: Held) -> None:
        """Make one try; the note of it is written by `_settle_all`, and only then is the delivery let go of."""
        settled = Settled()
        ok = True
        try:
            delivery = decode(held.stored)
        except msgspec.MsgspecError:
            # Written by a newer version, perhaps: kept for it, and the others of the lane go on.
            log.exception("outbox.delivery.unreadable id=%d lane=%s", held.id, held.lane)
            settled.postponed.append((held.id, self._now_ms() + UNREADABLE_MS, held.attempts))
        else:
            error = await self._call(delivery)
            if error is None:
                self._delivered += 1
                settled.gone.append((held.id, held.order_key))
            else:
                ok = retries.is_final(error)
                self._judge(held, delivery, error, settled)
        self._settled.append((held, settled, ok))
        self._to_settle.set()

    async def _call(self, delivery: Delivery) -> AwsError | None:
        try:
            async with asyncio.timeout(CALL_S):
                answer = await self._neighbours.call(delivery.origin, delivery.service, delivery.operation, delivery.params)
        except AwsError as error:
            return error
        except TimeoutError:
            return AwsError("RequestTimeout", f"{delivery.service} did not answer within {CALL_S:.0f} s", status=408)
        except Exception:
            # Safe to go on: it is one try of one delivery, which is tried again and given up in the end.
            log.exception("outbox.call.failed service=%s operation=%s", delivery.service, delivery.operation)
            return AwsError("InternalFailure", "We encountered an internal error. Please try again.", status=500)
        return answers.failure_in(delivery.operation, answer)

    def _judge(self, held: Held, delivery: Delivery, error: AwsError, settled: Settled) -> None:
        now_ms = self._now_ms()
        attempts = held.attempts + 1
        decision = retries.decide(
            error,
            attempts=attempts,
            age_ms=now_ms - held.added_at_ms,
            maximum_attempts=delivery.maximum_attempts,
            maximum_age_ms=delivery.maximum_age_s * 1000,
            jitter=self._jitter(),
            delays_ms=delivery.delays_ms,
        )
        if isinstance(decision, retries.Retry):
            self._retried += 1
            settled.postponed.append((held.id, now_ms + decision.delay_ms, attempts))
            return
        self._given_up += 1
        text = "outbox.given_up lane=%s operation=%s condition=%s attempts=%d error=%s"
        log.warning(text, held.lane, delivery.operation, decision.condition, attempts, error)
        if delivery.dead_letter is None:
            self._lost += 1
            settled.gone.append((held.id, held.order_key))
            return
        try:
            letter = dead_letters.delivery_for(delivery, delivery.dead_letter, error=error, condition=decision.condition, attempts=attempts)
        except ValueError:
            log.exception("outbox.dead_letter.failed lane=%s", held.lane)
            self._lost += 1
            settled.gone.append((held.id, held.order_key))
            return
        self._dead_lettered += 1
        settled.replaced.append((held.id, held.order_key, letter))

    # --- noting

    async def _settle_all(self) -> None:
        """Write notes as they come, all that there are in one transaction."""
        while True:
            await self._to_settle.wait()
            self._to_settle.clear()
            while self._settled:
                try:
                    await self._write_settled()
                except Closed:
                    raise
                except StoreError:
                    # Safe to go on: what is not noted is held, and noted the next time; after a crash it is delivered again.
                    log.exception("outbox.settle.failed")
                    await asyncio.sleep(POLL_S)

    async def _write_settled(self) -> None:
        batch = self._settled[:SETTLED_MAX]
        if not batch:
            return
        now_ms = self._now_ms()
        together = Settled()
        for _, settled, _ in batch:
            together.gone += settled.gone
            together.postponed += settled.postponed
            together.replaced += settled.replaced
        await self._database.write(lambda connection: rows.settle(connection, together, now_ms))
        del self._settled[: len(batch)]
        for held, _, ok in batch:
            self._let_go(held, ok)
        for _, due_at_ms, _ in together.postponed:
            self._next_due_ms = min(due_at_ms, self._next_due_ms or due_at_ms)
        if together.replaced or any(key for _, key in together.gone):
            self._look_now = True
        self._wake.set()

    def _let_go(self, held: Held, ok: bool) -> None:
        ids = self._held[held.lane]
        ids.discard(held.id)
        if not ids:
            del self._held[held.lane]
        self._held_bytes -= held.size_bytes
        turns = self._turns
        turns.done(held.lane, ok=ok)
        if turns.held <= self._in_flight and (self._is_cut or (held.lane in self._partial and turns.wanted(held.lane))):
            self._look_now = True
        if self._is_passed and 2 * turns.room_for_failing() >= self._in_flight:
            self._look_now = True

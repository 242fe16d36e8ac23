"""The index of a queue against a naive twin: a list of messages that is looked through from the beginning each time."""

from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lambdad.services.sqs.rules.entries import Cache, Entry, Received, State
from lambdad.services.sqs.rules.index import START, QueueIndex

WINDOW = 6
RETENTION_MS = 10_000
RECEIVES_MAX = 3


@dataclass(frozen=True)
class Row:
    """A message in the database."""

    seq: int
    sent_at_ms: int
    due_at_ms: int
    group: str
    receives: int = 0

    def entry(self) -> Entry:
        return Entry(self.seq, self.sent_at_ms, self.due_at_ms, self.group, receives=self.receives)


class IndexAgainstTwin(RuleBasedStateMachine):
    """What is received could be received, in order where that matters; and what can be received is."""

    is_fifo = False

    @initialize()
    def begin(self) -> None:
        self.now_ms = 1_000
        self.seq = 0
        self.rows: dict[int, Row] = {}  # the database
        self.twin: dict[int, Row] = {}  # what is true, with every receive
        self.flying: dict[int, Received] = {}
        self.moving: dict[int, Entry] = {}
        self.known: set[int] = set()  # those that somebody has received, and perhaps given back
        self.snapshot: list[Row] | None = None
        self.index = QueueIndex(is_fifo=self.is_fifo, spilled=0, last_seq=0, cache=Cache(0), window=WINDOW)

    def is_flying(self, row: Row) -> bool:
        return row.seq in self.flying and row.due_at_ms > self.now_ms

    def available(self) -> list[Row]:
        """Return what may be received now."""
        taken = {row.group for row in self.twin.values() if self.is_flying(row) or row.seq in self.moving}
        found: list[Row] = []
        blocked = set(taken) if self.is_fifo else set()
        for seq in sorted(self.twin):
            row = self.twin[seq]
            if seq in self.moving or self.is_flying(row) or row.group in blocked:
                continue
            if row.due_at_ms <= self.now_ms:
                found.append(row)
            elif self.is_fifo:
                blocked.add(row.group)
        return found

    def read(self) -> list[Row]:
        horizon = self.index.horizon or START

        def place(row: Row) -> tuple[int, int]:
            return (0 if self.is_fifo else row.due_at_ms, row.seq)

        return sorted((row for row in self.rows.values() if place(row) >= horizon), key=place)[: self.index.room()]

    def load(self, rows: list[Row], room: int) -> None:
        self.index.load([row.entry() for row in rows], self.now_ms, is_all=len(rows) < room)

    def load_all(self) -> None:
        for _ in range(1000):
            if self.snapshot is not None or not self.index.wants_load(self.now_ms):
                return
            self.index.begin_load()
            self.load(self.read(), self.index.room())
        raise AssertionError("loading has no end")

    @rule(group=st.sampled_from("abc"), delay_ms=st.sampled_from([0, 0, 0, 50, 500]), count=st.integers(1, 4))
    def send(self, group: str, delay_ms: int, count: int) -> None:
        """Messages become rows, and then the index hears of them."""
        for _ in range(count):
            self.seq += 1
            row = Row(self.seq, self.now_ms, self.now_ms + delay_ms, group)
            self.rows[row.seq] = self.twin[row.seq] = row
            self.index.add(row.entry(), self.now_ms)

    @rule(ms=st.sampled_from([1, 49, 50, 200, 1000]))
    def wait(self, ms: int) -> None:
        """Time passes."""
        self.now_ms += ms

    @rule(wanted=st.integers(1, 10), visibility_ms=st.sampled_from([0, 50, 300, 5000]), has_limit=st.booleans())
    def receive(self, wanted: int, visibility_ms: int, has_limit: bool) -> None:
        """Only what may be received is; something is, if anything may be."""
        self.index.advance(self.now_ms)
        self.load_all()
        available = self.available()
        oldest_ms = self.now_ms - RETENTION_MS
        taken = self.index.receive(
            self.now_ms, wanted, visibility_ms, oldest_ms=oldest_ms, receives_max=RECEIVES_MAX if has_limit else None
        )
        may = {row.seq: row for row in available}
        assert len(taken.received) <= wanted
        seen: dict[str, int] = {}
        for entry in taken.expired:
            assert may[entry.seq].sent_at_ms <= oldest_ms
            del self.rows[entry.seq], self.twin[entry.seq]
            self.flying.pop(entry.seq, None)
        for entry in taken.dead:
            assert has_limit and may[entry.seq].receives >= RECEIVES_MAX
            self.moving[entry.seq] = entry
            self.flying.pop(entry.seq, None)
        for received in taken.received:
            row = may[received.seq]
            assert row.sent_at_ms > oldest_ms
            assert received.receives == row.receives + 1
            assert not has_limit or row.receives < RECEIVES_MAX
            if self.is_fifo:
                earlier = [each.seq for each in available if each.group == row.group and each.seq < row.seq and each.seq in self.twin]
                assert all(seq in {each.seq for each in taken.received} for seq in earlier)
                assert seen.get(row.group, 0) < row.seq
                seen[row.group] = row.seq
            self.twin[row.seq] = replace(row, receives=row.receives + 1, due_at_ms=received.until_ms)
            self.flying[row.seq] = received
            self.known.add(row.seq)
        looks_far_enough = not self.is_fifo or len(self.twin) <= WINDOW // 2
        if available and looks_far_enough and self.snapshot is None:
            assert taken.received or taken.dead or taken.expired

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """A row is deleted, and then the index hears of it."""
        seq = data.draw(st.sampled_from(sorted(self.flying)))
        del self.flying[seq]
        was_there = self.rows.pop(seq, None) is not None
        self.twin.pop(seq, None)
        entry = self.index.entries.get(seq)
        if entry is not None:
            self.index.remove(entry)
        else:
            self.index.remove_row(seq, was_there=was_there)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), for_ms=st.sampled_from([0, 20, 2000]))
    def change_visibility(self, data: st.DataObject, for_ms: int) -> None:
        """A message in flight is made visible earlier or later."""
        seq = data.draw(st.sampled_from(sorted(self.flying)))
        self.index.advance(self.now_ms)
        entry = self.index.entries.get(seq)
        if entry is not None and entry.state is State.IN_FLIGHT:
            self.index.change_visibility(entry, self.now_ms + for_ms, self.now_ms)
            self.twin[seq] = replace(self.twin[seq], due_at_ms=self.now_ms + for_ms)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """A receiver has gone away before he had the message."""
        seq = data.draw(st.sampled_from(sorted(self.flying)))
        self.index.advance(self.now_ms)
        received = self.flying[seq]
        if self.index.entries.get(seq) is not received.entry:
            return  # received before the program was killed: there is nobody left who would release it
        is_flying = self.is_flying(self.twin[seq])
        self.index.release(received)
        if is_flying and received.receives == self.twin[seq].receives:
            self.twin[seq] = replace(self.twin[seq], receives=received.receives - 1, due_at_ms=self.now_ms)
            del self.flying[seq]

    @precondition(lambda self: self.moving)
    @rule(data=st.data())
    def moved(self, data: st.DataObject) -> None:
        """A dead message has come to the other queue."""
        seq = data.draw(st.sampled_from(sorted(self.moving)))
        self.rows.pop(seq)
        self.twin.pop(seq)
        self.index.remove(self.moving.pop(seq))

    @rule()
    def write_down(self) -> None:
        """What receives have changed is written down."""
        for seq, entry in self.index.entries.items():
            self.rows[seq] = replace(self.rows[seq], due_at_ms=entry.due_at_ms, receives=entry.receives)

    @precondition(lambda self: self.snapshot is None and self.index.wants_load(self.now_ms))
    @rule()
    def begin_to_load(self) -> None:
        """Rows are read; other things happen meanwhile."""
        self.index.begin_load()
        self.snapshot = self.read()
        self.room = self.index.room()

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def have_loaded(self) -> None:
        """The rows that were read arrive."""
        assert self.snapshot is not None
        rows, self.snapshot = self.snapshot, None
        self.load(rows, self.room)

    @precondition(lambda self: self.snapshot is None)
    @rule()
    def restart(self) -> None:
        """The program is killed: what is true is what was written down."""
        self.flying = {
            seq: received
            for seq, received in self.flying.items()
            if seq in self.rows and self.rows[seq].receives and self.rows[seq].due_at_ms > self.now_ms
        }
        self.moving.clear()
        self.twin = dict(self.rows)
        self.index = QueueIndex(is_fifo=self.is_fifo, spilled=len(self.rows), last_seq=self.seq, cache=Cache(0), window=WINDOW)

    @precondition(lambda self: self.snapshot is None)
    @rule()
    def purge(self) -> None:
        """All messages are gone."""
        self.rows.clear()
        self.twin.clear()
        self.flying.clear()
        self.moving.clear()
        self.index.purge(self.seq)

    @invariant()
    def nothing_is_lost_or_invented(self) -> None:
        """All rows are counted."""
        index = self.index
        counted = index.ready + index.delayed + index.in_flight + len(self.moving) + index.spilled
        assert counted == len(self.rows), (counted, len(self.rows))
        assert set(index.entries) <= set(self.rows)

    @invariant()
    def memory_is_bounded(self) -> None:
        """No more messages wait in memory than may, but for those that come back from receivers."""
        index = self.index
        assert index.ready + index.delayed <= (1 if self.is_fifo else 3) * WINDOW + len(self.known & set(self.twin))


class FifoIndexAgainstTwin(IndexAgainstTwin):
    """The same in a FIFO queue."""

    is_fifo = True


IndexAgainstTwin.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
FifoIndexAgainstTwin.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestStandardQueue = IndexAgainstTwin.TestCase
TestFifoQueue = FifoIndexAgainstTwin.TestCase

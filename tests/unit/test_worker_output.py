"""Log events on their way to the server: bounded for each environment and for all, and the tail of one invocation."""

import json

from hypothesis import given
from hypothesis import strategies as st

from lambdad.worker import output


class Heard:
    def __init__(self) -> None:
        self.waiting = 0
        self.much = 0
        self.buffer = output.LogBuffer(self._waiting, self._much)

    def _waiting(self) -> None:
        self.waiting += 1

    def _much(self) -> None:
        self.much += 1

    def everything(self) -> list[list[tuple[str, int, str]]]:
        batches = []
        while self.buffer:
            batches.append(self.buffer.take())
        return batches


def test_events_come_out_in_order_and_once():
    """What was added is taken in its order; the first after a take is announced."""
    heard = Heard()
    for n in range(3):
        heard.buffer.add("a", n, f"line {n}")
    assert (heard.waiting, heard.much) == (1, 0)
    assert heard.everything() == [[("a", 0, "line 0"), ("a", 1, "line 1"), ("a", 2, "line 2")]]
    assert heard.buffer.take() == []
    heard.buffer.add("b", 4, "again")
    assert heard.waiting == 2


def test_losses_are_told_in_the_format_of_the_log():
    """Where the log is JSON, so is what is said of lost lines: platform.logsDropped."""
    heard = Heard()
    for n in range(600):
        heard.buffer.add("flood", n, "x" * 10_000, as_json=True)
    events = [event for batch in heard.everything() for event in batch]
    told = json.loads(events[-1][2])
    lost = 600 - (len(events) - 1)
    assert (told["type"], told["time"]) == ("platform.logsDropped", "1970-01-01T00:00:00.599Z")
    assert told["record"] == {
        "reason": "Log events came faster than they could be taken",
        "droppedRecords": lost,
        "droppedBytes": lost * 10_000,
    }


def test_a_flood_costs_the_others_nothing():
    """One environment's lines stop at its limit and its log says so; another's, and the platform's own, are all there."""
    heard = Heard()
    line = "x" * 10_000
    for n in range(1000):
        heard.buffer.add("flood", n, line)
    heard.buffer.add("flood", 1000, "REPORT", is_platforms=True)
    heard.buffer.add("quiet", 1000, "here")
    batches = heard.everything()
    assert heard.waiting == 1 and heard.much == len(batches) - 1
    events = [event for batch in batches for event in batch]
    lost = [event for event in events if event[2].startswith("[lambdad]")]
    kept = sum(text == line for _, _, text in events)
    assert output.MAX_ENVIRONMENT_BYTES - 20_000 < kept * 10_064 <= output.MAX_ENVIRONMENT_BYTES
    assert lost == [("flood", 999, f"[lambdad] {1000 - kept} log events came faster than they could be taken and were lost.")]
    assert events[-3:] == [("flood", 1000, "REPORT"), ("quiet", 1000, "here"), *lost]
    assert all(sum(len(text) for _, _, text in batch) <= output.BATCH_BYTES + 10_100 for batch in batches)
    heard.buffer.add("flood", 1001, "on it goes")
    assert heard.everything() == [[("flood", 1001, "on it goes")]]


def test_all_together_are_bounded():
    """Many environments together stay within the buffer."""
    heard = Heard()
    for n in range(40):
        for _ in range(100):
            heard.buffer.add(str(n), 0, "x" * 20_000)
    size = sum(len(text) for batch in heard.everything() for _, _, text in batch)
    assert size <= output.MAX_BUFFERED_BYTES + 25_000


@given(st.lists(st.text(max_size=3000), min_size=1, max_size=30))
def test_the_tail_is_the_end_of_the_whole(lines: list[str]):
    """However long the log is, its tail is its last bytes."""
    tail = output.Tail()
    for line in lines:
        tail.append(line)
    assert tail.last_bytes() == "".join(f"{line}\n" for line in lines).encode()[-output.TAIL_BYTES :]

"""The platform's words to the letter, and lines out of bytes."""

import json
import signal
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.machines import lines, platform_text


def test_report_line_to_the_letter():
    """Tabs between the fields, one before the newline, Init Duration last."""
    line = platform_text.report_line("8f5", duration_ms=3.014, billed=114, memory_mib=128, max_memory_mib=36, init_ms=110.1)
    assert line == (
        "REPORT RequestId: 8f5\tDuration: 3.01 ms\tBilled Duration: 114 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\t"
        "Init Duration: 110.10 ms\t"
    )


def test_report_line_of_a_timeout():
    """The status follows the figures."""
    line = platform_text.report_line(
        "8f5", duration_ms=3000, billed=3000, memory_mib=128, max_memory_mib=36, init_ms=None, status="timeout"
    )
    assert line.endswith("Max Memory Used: 36 MB\tStatus: timeout\t")


def test_billing_adds_init_and_rounds_up():
    """133.61 + 80.00 is billed as 214 ms (AWS's own example)."""
    assert platform_text.billed_ms(133.61, 80.00) == 214
    assert platform_text.billed_ms(3.0) == 3


@pytest.mark.parametrize(
    ("code", "number", "text"),
    [
        (0, None, "Runtime exited without providing a reason"),
        (7, None, "Runtime exited with error: exit status 7"),
        (None, signal.SIGKILL, "Runtime exited with error: signal: killed"),
        (None, signal.SIGSEGV, "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_exits_in_awss_words(code: int | None, number: int | None, text: str):
    """Each way to end has its sentence."""
    assert platform_text.exit_text(code, number) == text


def test_payloads_of_the_platforms_errors():
    """Order of keys and the request id as AWS has them."""
    assert (
        platform_text.platform_error("Sandbox.Timedout", "id", platform_text.timeout_text(3))
        == b'{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: id Error: Task timed out after 3.00 seconds"}'
    )
    assert list(json.loads(platform_text.response_too_large())) == ["errorMessage", "errorType"]


def _events(data: bytes, cuts: list[int]) -> list[lines.LogEvent]:
    splitter, got, start = lines.LogSplitter(), [], 0
    for cut in [*cuts, len(data)]:
        got += splitter.feed(data[start : start + cut])
        start += cut
    return got + splitter.flush()


@given(st.text(), st.lists(st.integers(0, 40), max_size=20))
def test_lines_do_not_depend_on_how_bytes_arrive(text: str, cuts: list[int]):
    """However a stream is cut, its lines are the same; nothing is lost."""
    expected = text.split("\n")
    if expected[-1] == "":
        expected.pop()
    assert [event.text for event in _events(text.encode(), cuts)] == expected


KINDS = (2, 3, 6, 7, 11, 15, 18, 19, 23, 26, 27)
FRAMES = st.tuples(st.just(True), st.text(max_size=30), st.integers(0, 2**60))
LINES = st.tuples(st.just(False), st.text(st.characters(exclude_characters="\n", codec="utf-8"), min_size=1, max_size=30), st.none())


@given(st.lists(st.one_of(FRAMES, LINES), max_size=8), st.lists(st.integers(0, 40), max_size=20))
def test_frames_are_one_event_each_wherever_they_stand(pieces: list[tuple[bool, str, int | None]], cuts: list[int]):
    """Lines and framed records come out in the order in which they were written, framed ones whole and with their time."""
    data, expected = b"", []
    for framed, text, at_us in pieces:
        if framed:
            content = text.encode()
            data += lines.MARK + bytes([KINDS[at_us % len(KINDS)]]) + struct.pack(">IQ", len(content), at_us) + content
            expected.append(lines.LogEvent(text.removesuffix("\n"), at_us))
        else:
            data += text.encode() + b"\n"
            expected.append(lines.LogEvent(text))
    assert _events(data, cuts) == expected


@pytest.mark.parametrize("letter", ["x", "ü", "😀"])
def test_a_long_record_becomes_several_events(letter: str):
    """A framed record may be longer than an event; nothing of it is lost, and no character is cut."""
    text = ("a" + letter * 300_000 + "\nend")[:700_000]
    content = text.encode()
    data = b"before\n" + lines.MARK + b"\x13" + struct.pack(">IQ", len(content), 7) + content + b"after\n"
    events = _events(data, [65_536] * (len(data) // 65_536))
    assert [events[0].text, events[-1].text] == ["before", "after"]
    assert "".join(event.text for event in events[1:-1]) == text and len(events) > 3
    assert all(len(event.text.encode()) <= lines.MAX_EVENT_BYTES and event.at_us == 7 for event in events[1:-1])


@given(st.binary(max_size=60).map(lambda data: data.replace(b"~", lines.MARK)), st.lists(st.integers(0, 9), max_size=20))
def test_any_bytes_are_taken(data: bytes, cuts: list[int]):
    """Broken frames and broken text never raise."""
    _events(data.replace(b"x", lines.MARK), cuts)


def test_an_event_without_end_is_cut():
    """A function cannot make the platform keep more than one event's worth of its output."""
    splitter = lines.LogSplitter()
    got = splitter.feed(b"x" * (3 * lines.MAX_EVENT_BYTES + 5))
    assert [len(event.text) for event in got] == [lines.MAX_EVENT_BYTES] * 3
    assert [event.text for event in splitter.flush()] == ["xxxxx"]
    frame_of_more = lines.MARK + b"\x03" + struct.pack(">IQ", 2**31, 0)
    splitter.feed(frame_of_more + b"y" * (lines.MAX_EVENT_BYTES + 100))
    assert len(splitter.flush()[0].text) <= 200

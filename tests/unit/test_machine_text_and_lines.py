"""The platform's words to the letter, and lines out of bytes."""

import json
import signal

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


@given(st.text(), st.lists(st.integers(0, 40), max_size=20))
def test_lines_do_not_depend_on_how_bytes_arrive(text: str, cuts: list[int]):
    """However a stream is cut, its lines are the same; nothing is lost."""
    data = text.encode()
    splitter, got, start = lines.LineSplitter(), [], 0
    for cut in cuts:
        got += splitter.feed(data[start : start + cut])
        start += cut
    got += splitter.feed(data[start:])
    got += splitter.flush()
    expected = text.split("\n")
    if expected[-1] == "":
        expected.pop()
    assert got == expected


def test_a_line_without_end_is_cut():
    """A function cannot make the platform keep more than one event's worth of its output."""
    splitter = lines.LineSplitter()
    got = splitter.feed(b"x" * (3 * lines.MAX_EVENT_BYTES + 5))
    assert [len(line) for line in got] == [lines.MAX_EVENT_BYTES] * 3
    assert splitter.flush() == ["xxxxx"]

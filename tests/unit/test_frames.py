"""Frames between server and worker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.wire import frames

MESSAGES = st.one_of(
    st.builds(frames.Invoke, environment_id=st.text(), request_id=st.text(), invoked_arn=st.text(), want_tail=st.booleans()),
    st.builds(frames.Stop, environment_id=st.text()),
    st.builds(frames.Load, available_bytes=st.integers(0, 2**53), total_bytes=st.integers(0, 2**53), stalled_percent=st.floats(0, 100)),
    st.builds(frames.Ready, environment_id=st.text(), init_ms=st.floats(0, 1e6)),
    st.builds(frames.LogEvents, events=st.lists(st.tuples(st.text(), st.integers(0, 2**53), st.text()), max_size=3)),
    st.builds(
        frames.Answer,
        environment_id=st.text(),
        request_id=st.text(),
        function_error=st.text(),
        tail=st.binary(),
        billed_ms=st.integers(0, 2**31),
    ),
)


@given(st.lists(st.tuples(MESSAGES, st.binary(max_size=200)), max_size=8), st.lists(st.integers(0, 60), max_size=40))
def test_messages_come_out_as_they_went_in_however_bytes_arrive(sent: list[tuple[frames.AnyMessage, bytes]], cuts: list[int]):
    """Framing is independent of how the stream is cut."""
    stream = b"".join(piece for message, body in sent for piece in frames.encode(message, body))
    parser, got, start = frames.FrameParser(), [], 0
    for cut in [*cuts, len(stream)]:
        got += list(parser.feed(stream[start : start + cut]))
        start += cut
    assert got == sent


@given(st.binary(min_size=8, max_size=64))
def test_garbage_is_refused_or_waited_for(data: bytes):
    """Bytes that are no frame never raise anything but FrameError."""
    try:
        list(frames.FrameParser().feed(data))
    except frames.FrameError:
        pass


def test_a_frame_that_is_too_large_is_refused_before_it_is_read():
    """Nobody can make us gather more than one largest frame."""
    with pytest.raises(frames.FrameError):
        list(frames.FrameParser().feed(b"\xff\xff\xff\xff\x00\x00\x00\x01"))

"""The other rules of CloudWatch Logs: batches, chunks, names and tokens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.services.logs import errors
from lambdad.services.logs.rules import batches, chunks, limits, names, paging

NOW_MS = 1_700_000_000_000
ACCOUNT, REGION = "000000000000", "us-east-1"


def events(*times: int, message: str = "m") -> list[dict[str, object]]:
    return [{"timestamp": time, "message": message} for time in times]


def test_batch_is_taken_whole() -> None:
    """Events of today are taken as they are."""
    verdict = batches.judge(events(NOW_MS, NOW_MS, NOW_MS + 1), now_ms=NOW_MS, retention_days=None)
    assert verdict.events == [(NOW_MS, "m"), (NOW_MS, "m"), (NOW_MS + 1, "m")]
    assert verdict.rejected == {}


def test_batch_rejects_at_both_ends() -> None:
    """Events older than 14 days or more than two hours in the future are rejected, and the others are taken."""
    old = NOW_MS - limits.OLDEST_MS
    new = NOW_MS + limits.NEWEST_MS
    verdict = batches.judge(events(old - 1, NOW_MS, new, new + 1), now_ms=NOW_MS, retention_days=None)
    assert [time for time, _ in verdict.events] == [NOW_MS, new]
    assert verdict.rejected == {"tooNewLogEventStartIndex": 3, "tooOldLogEventEndIndex": 1}


def test_batch_rejects_what_the_group_would_not_keep() -> None:
    """Events beyond the group's retention are rejected as expired."""
    verdict = batches.judge(events(NOW_MS - 2 * limits.DAY_MS, NOW_MS), now_ms=NOW_MS, retention_days=1)
    assert verdict.events == [(NOW_MS, "m")]
    assert verdict.rejected == {"expiredLogEventEndIndex": 1}


@pytest.mark.parametrize(
    ("log_events", "message"),
    [
        (events(NOW_MS, NOW_MS - 1), "Log events in a single PutLogEvents request must be in chronological order."),
        (
            events(NOW_MS - limits.BATCH_SPAN_MS - 1, NOW_MS),
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ),
        (events(NOW_MS, message="x" * 1_048_551), "Log event too large: 1048577 bytes exceeds limit of 1048576"),
        (events(NOW_MS, message="é" * 524_276), "Log event too large: 1048578 bytes exceeds limit of 1048576"),
        (events(*[NOW_MS] * 2, message="x" * 524_263), "Upload too large: 1048578 bytes exceeds limit of 1048576"),
    ],
)
def test_batch_is_refused(log_events: list[dict[str, object]], message: str) -> None:
    """Disorder, a span of more than a day and sizes beyond the limits refuse the whole batch."""
    with pytest.raises(errors.InvalidParameter) as caught:
        batches.judge(log_events, now_ms=NOW_MS, retention_days=None)
    assert caught.value.message == message


def test_largest_event_is_taken() -> None:
    """An event of exactly 1 MiB, 26 bytes for itself included, is taken."""
    verdict = batches.judge(events(NOW_MS, message="x" * 1_048_550), now_ms=NOW_MS, retention_days=None)
    assert len(verdict.events) == 1


_EVENTS = st.lists(
    st.tuples(st.integers(NOW_MS, NOW_MS + 300_000), st.text(max_size=20).map(lambda text: text * 40)), min_size=1, max_size=30
)


@settings(max_examples=50, deadline=None)
@given(_EVENTS)
def test_chunks_keep_events(given_events: list[batches.Event]) -> None:
    """Packing and unpacking keeps all events in order of time; chunks are within their span and follow each other."""
    packed = chunks.pack(given_events)
    unpacked = [event for chunk in packed for event in chunks.unpack(chunk.first_ms, chunk.payload)]
    assert unpacked == sorted(given_events, key=lambda event: event[0])
    assert all(chunk.last_ms - chunk.first_ms <= chunks.CHUNK_SPAN_MS for chunk in packed)
    assert sum(chunk.events for chunk in packed) == len(given_events)
    assert sum(chunk.size_bytes for chunk in packed) == batches.size_bytes([message for _, message in given_events])


def test_chunks_are_bounded() -> None:
    """Large events and many events make several chunks."""
    large = chunks.pack([(NOW_MS, "x" * 200_000)] * 5 + [(NOW_MS, "y" * 900_000)])
    assert [chunk.events for chunk in large] == [1, 1, 1, 1, 1, 1]
    many = chunks.pack([(NOW_MS, "")] * 25_000)
    assert [chunk.events for chunk in many] == [10_000, 10_000, 5_000]


def test_half_surrogates_are_replaced() -> None:
    """A message that is no text keeps what is."""
    (chunk,) = chunks.pack([(NOW_MS, "a\ud800b")])
    assert chunks.unpack(chunk.first_ms, chunk.payload) == [(NOW_MS, "a?b")]


_POSITIONS = st.tuples(st.integers(0, 1 << 50), st.integers(0, (1 << 48) - 1), st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 32) - 1))


@settings(max_examples=50)
@given(_POSITIONS, _POSITIONS)
def test_event_ids_order_as_positions(one: chunks.Position, other: chunks.Position) -> None:
    """Ids are unique, in the order of positions, and can be read back."""
    assert chunks.position_of(chunks.position_number(one)) == one
    assert (one < other) is (chunks.position_number(one) < chunks.position_number(other))


def test_event_ids_look_like_those_of_aws() -> None:
    """An id has 56 digits."""
    event_id = chunks.event_id((NOW_MS, NOW_MS, 12, 3))
    assert len(event_id) == 56
    assert event_id.isdigit()


@settings(max_examples=50)
@given(st.booleans(), st.integers(0, 1 << 200), st.integers(0, 1 << 45), st.text(st.characters(exclude_characters="\0", codec="utf-8")))
def test_tokens_come_back(forward: bool, number: int, time_ms: int, name: str) -> None:
    """Every kind of token is read back as it was written."""
    token = paging.EventsToken(forward, number)
    assert paging.parse_stream_token(token.of_stream()) == token
    assert paging.parse_filter_token(token.of_filter()) == token
    assert paging.parse_name_token(paging.name_token(name)) == name
    assert paging.parse_last_event_token(paging.last_event_token(time_ms, name)) == (time_ms, name)


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_foreign_tokens_are_refused(text: str) -> None:
    """A token that was not given out here is the caller's error, and nothing else."""
    for parse in (paging.parse_stream_token, paging.parse_filter_token, paging.parse_name_token, paging.parse_last_event_token):
        try:
            parse(text)
        except errors.InvalidParameter as error:
            assert error.message == "The specified nextToken is invalid."


def test_group_of_request() -> None:
    """A group is meant by its name, or by its ARN with or without the asterisk."""
    arn = "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f"
    assert names.group_of_request(ACCOUNT, REGION, {"logGroupName": "g"}) == "g"
    assert names.group_of_request(ACCOUNT, REGION, {"logGroupIdentifier": "g"}) == "g"
    assert names.group_of_request(ACCOUNT, REGION, {"logGroupIdentifier": arn}) == "/aws/lambda/f"
    assert names.group_of_arn(ACCOUNT, REGION, arn + ":*") == "/aws/lambda/f"
    assert names.group_arn(ACCOUNT, "cn-north-1", "g") == "arn:aws-cn:logs:cn-north-1:000000000000:log-group:g"


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({}, errors.InvalidParameter),
        ({"logGroupName": "g", "logGroupIdentifier": "g"}, errors.InvalidParameter),
        ({"logGroupIdentifier": "arn:aws:s3:::bucket"}, errors.InvalidParameter),
        ({"logGroupIdentifier": "arn:aws:logs:us-east-1:111111111111:log-group:g"}, errors.GroupMissing),
        ({"logGroupIdentifier": "arn:aws:logs:eu-west-1:000000000000:log-group:g"}, errors.GroupMissing),
    ],
)
def test_group_of_request_is_refused(request_: dict[str, str], error: type[Exception]) -> None:
    """Neither none nor two groups, nothing that is no group, and nobody else's."""
    with pytest.raises(error):
        names.group_of_request(ACCOUNT, REGION, request_)

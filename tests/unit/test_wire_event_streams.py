"""Event streams: frames there and back, and against botocore's reader."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import botocore.eventstream
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_generation import RawStream, botocore_model, from_response

from lambdad.model.errors import AwsError
from lambdad.wire import eventstream
from lambdad.wire.codec import Call, load
from lambdad.wire.eventstream import Decoder, FrameError, Header, HeaderType, encode_message
from lambdad.wire.http import Request, Response

few = settings(max_examples=50, derandomize=True, deadline=None, database=None)

moments = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
)
headers = st.one_of(
    st.booleans().map(lambda value: Header(HeaderType.TRUE if value else HeaderType.FALSE, value)),
    st.integers(-(2**7), 2**7 - 1).map(lambda value: Header(HeaderType.BYTE, value)),
    st.integers(-(2**15), 2**15 - 1).map(lambda value: Header(HeaderType.SHORT, value)),
    st.integers(-(2**31), 2**31 - 1).map(lambda value: Header(HeaderType.INTEGER, value)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: Header(HeaderType.LONG, value)),
    st.binary(max_size=20).map(lambda value: Header(HeaderType.BYTES, value)),
    st.text(max_size=20).map(lambda value: Header(HeaderType.STRING, value)),
    moments.map(lambda value: Header(HeaderType.TIMESTAMP, value)),
    st.binary(min_size=16, max_size=16).map(lambda value: Header(HeaderType.UUID, value)),
)
messages = st.tuples(st.dictionaries(st.text(min_size=1, max_size=20), headers, max_size=5), st.binary(max_size=200))


@few
@given(st.lists(messages, max_size=4), st.integers(1, 50))
def test_frames_come_back_however_they_are_cut(sent: list[tuple[dict[str, Header], bytes]], size: int) -> None:
    """What is encoded is decoded, from a stream cut anywhere."""
    stream = b"".join(encode_message(*message) for message in sent)
    decoder = Decoder()
    found = [message for at in range(0, len(stream), size) for message in decoder.feed(stream[at : at + size])]
    assert [(dict(message.headers), message.payload) for message in found] == sent
    assert decoder.is_between_frames


@few
@given(messages)
def test_botocore_reads_our_frames(sent: tuple[dict[str, Header], bytes]) -> None:
    """botocore's buffer finds the same headers and payload."""
    buffer = botocore.eventstream.EventStreamBuffer()
    buffer.add_data(encode_message(*sent))
    (message,) = list(buffer)
    assert message.payload == sent[1]
    for name, header in sent[0].items():
        expected: Any = header.value
        if isinstance(expected, datetime):
            expected = round(expected.timestamp() * 1000)
        assert message.headers[name] == expected


@few
@given(messages, st.data())
def test_broken_frames_are_noticed(sent: tuple[dict[str, Header], bytes], data: st.DataObject) -> None:
    """One flipped bit is an error, or the frame is never complete."""
    frame = bytearray(encode_message(*sent))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert Decoder().feed(bytes(frame)) == []
    except FrameError:
        pass


@few
@given(st.binary(max_size=100))
def test_garbage_is_no_frame(data: bytes) -> None:
    """Random bytes raise nothing but FrameError."""
    try:
        Decoder().feed(data)
    except FrameError:
        pass


@pytest.mark.parametrize("header", [Header(HeaderType.BYTE, 128), Header(HeaderType.STRING, "x" * 65536), Header(HeaderType.UUID, b"")])
def test_values_must_fit_their_type(header: Header) -> None:
    """What cannot be written is refused."""
    with pytest.raises(FrameError):
        encode_message({"a": header}, b"")


def test_limits_are_kept() -> None:
    """Names, headers and payloads have the sizes that clients accept."""
    with pytest.raises(FrameError):
        encode_message({"": Header(HeaderType.TRUE, True)}, b"")
    with pytest.raises(FrameError):
        encode_message({}, bytes(eventstream.PAYLOAD_MAX_BYTES + 1))
    with pytest.raises(FrameError):
        encode_message({str(n): Header(HeaderType.BYTES, bytes(65535)) for n in range(3)}, b"")


@pytest.mark.parametrize("value", [True, 1, b"a", "a", datetime(2026, 1, 1, tzinfo=UTC)])
def test_a_value_finds_its_type(value: Any) -> None:
    """The type of a header follows from its value."""
    (message,) = Decoder().feed(encode_message({"a": eventstream.header_of(value)}, b""))
    assert message.headers["a"].value == value


STREAMS: list[tuple[str, str, str, dict[str, Any], list[dict[str, Any]]]] = [
    (
        "lambda",
        "rest-json",
        "InvokeWithResponseStream",
        {"StatusCode": 200, "ExecutedVersion": "1"},
        [
            {"PayloadChunk": {"Payload": b"\x00abc"}},
            {"PayloadChunk": {"Payload": b""}},
            {"InvokeComplete": {"ErrorCode": "E", "ErrorDetails": "ä", "LogResult": "bG9n"}},
        ],
    ),
    (
        "logs",
        "json",
        "StartLiveTail",
        {},
        [
            {"sessionStart": {"requestId": "r", "logGroupIdentifiers": ["g"]}},
            {
                "sessionUpdate": {
                    "sessionMetadata": {"sampled": False},
                    "sessionResults": [{"message": "m", "timestamp": 1, "ingestionTime": 2}],
                }
            },
        ],
    ),
    (
        "kinesis",
        "json",
        "SubscribeToShard",
        {},
        [
            {
                "SubscribeToShardEvent": {
                    "Records": [
                        {
                            "SequenceNumber": "1",
                            "ApproximateArrivalTimestamp": datetime(2026, 1, 1, 0, 0, 0, 5000, UTC),
                            "Data": b"\xff",
                            "PartitionKey": "k",
                        }
                    ],
                    "ContinuationSequenceNumber": "1",
                    "MillisBehindLatest": 0,
                }
            }
        ],
    ),
    (
        "s3",
        "rest-xml",
        "SelectObjectContent",
        {},
        [
            {"Records": {"Payload": b"a,b\n"}},
            {"Cont": {}},
            {"Stats": {"Details": {"BytesScanned": 1, "BytesProcessed": 2, "BytesReturned": 3}}},
            {"End": {}},
        ],
    ),
]


def call_of(service: str, operation: str) -> Call:
    codec = load(service)
    uri = codec.operations[operation].request_uri
    path, _, query = uri.replace("{", "").replace("+}", "").replace("}", "").partition("?")
    method = codec.operations[operation].method
    return codec.match(Request(method, path, query, {"x-amz-target": f"{codec.target_prefix}.{operation}"}, b""))


def member_of(service: str, operation: str) -> str:
    output = load(service).operations[operation].output
    assert output is not None and output.shape.event_stream is not None
    return output.shape.event_stream.name


def read_back(service: str, protocol: str, operation: str, body: bytes, response: Response) -> dict[str, Any]:
    model = botocore_model(service, protocol).operation_model(operation)
    whole = Response(response.status, response.headers, body)
    return from_response(protocol, model, whole, model.output_shape)


@pytest.mark.parametrize(("service", "protocol", "operation", "output", "events"), STREAMS)
def test_botocore_reads_our_event_streams(
    service: str, protocol: str, operation: str, output: dict[str, Any], events: list[dict[str, Any]]
) -> None:
    """Events that are at hand become one body, which botocore's client reads as the same events."""
    member = member_of(service, operation)
    response = call_of(service, operation).respond({**output, member: events}, "id")
    assert ("Content-Type", eventstream.MEDIA_TYPE) in response.headers
    assert isinstance(response.body, bytes)
    parsed = read_back(service, protocol, operation, response.body, response)
    assert list(parsed[member]) == events
    assert {name: parsed[name] for name in output} == output


@pytest.mark.parametrize(("service", "protocol", "operation", "output", "events"), STREAMS)
async def test_events_are_written_as_they_come(
    service: str, protocol: str, operation: str, output: dict[str, Any], events: list[dict[str, Any]]
) -> None:
    """An asynchronous stream of events becomes one of frames, with the same bytes."""

    async def come() -> AsyncIterator[dict[str, Any]]:
        for event in events:
            yield event

    member = member_of(service, operation)
    call = call_of(service, operation)
    response = call.respond({**output, member: come()}, "id")
    assert not isinstance(response.body, bytes)
    frames = [frame async for frame in response.body]
    assert b"".join(frames) == call.respond({**output, member: events}, "id").body


async def test_an_error_ends_the_stream() -> None:
    """An error of the stream's model is an exception event, any other an error event; nothing follows."""

    async def fail(error: AwsError) -> AsyncIterator[dict[str, Any]]:
        yield {"sessionStart": {}}
        raise error

    call = call_of("logs", "StartLiveTail")
    for code in ("SessionTimeoutException", "SomethingElse"):
        response = call.respond({"responseStream": fail(AwsError(code, "too long"))}, "id")
        assert not isinstance(response.body, bytes)
        body = b"".join([frame async for frame in response.body])
        stream = read_back("logs", "json", "StartLiveTail", body, response)["responseStream"]
        with pytest.raises(botocore.eventstream.EventStreamError) as caught:
            list(stream)
        assert caught.value.response["Error"] == {"Code": code, "Message": "too long"}


async def test_closing_the_frames_closes_the_events() -> None:
    """A client that goes away ends what produces the events."""
    closed: list[bool] = []

    async def come() -> AsyncIterator[dict[str, Any]]:
        try:
            yield {"PayloadChunk": {"Payload": b"a"}}
            yield {"PayloadChunk": {"Payload": b"b"}}
        finally:
            closed.append(True)

    response = call_of("lambda", "InvokeWithResponseStream").respond({"EventStream": come()}, "id")
    body: Any = response.body
    await anext(body)
    await body.aclose()
    assert closed == [True]
    with pytest.raises(StopAsyncIteration):
        await anext(body)


def test_an_event_is_one_member_of_the_stream() -> None:
    """What is no event is a mistake of the service."""
    call = call_of("lambda", "InvokeWithResponseStream")
    for event in ({}, {"A": {}, "B": {}}, {"NoSuchEvent": {}}):
        with pytest.raises(ValueError, match="event"):
            call.respond({"EventStream": [event]}, "id")


def test_raw_streams_are_cut() -> None:
    """The stand-in for a socket gives its bytes in pieces."""
    assert b"".join(RawStream(bytes(20)).stream()) == bytes(20)

"""Output event streams: a stream of typed events becomes a stream of frames, compiled once per event stream shape."""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from typing import Any, TypeAlias

from lambdad.model.errors import AwsError
from lambdad.wire import eventstream
from lambdad.wire.eventstream import Header, HeaderType
from lambdad.wire.service_model import Ref, Shape

Event: TypeAlias = Mapping[str, Any]
"""One member of the stream's union: ``{"PayloadChunk": {"Payload": b"..."}}``."""

DocumentWriter: TypeAlias = Callable[[Any], bytes]
DocumentCompiler: TypeAlias = Callable[[Ref, list[Ref]], DocumentWriter]
"""Given a structure and those of its members that belong in the document, return the function that writes it."""

_INTEGER_TYPES = {"integer": HeaderType.INTEGER, "long": HeaderType.LONG, "byte": HeaderType.BYTE}


class EventWriter:
    """Writes the events of one stream as frames.

    Args:
        stream: the member that is the event stream.
        compile_document: how the protocol writes a structure.
        document_type: the media type of that.
    """

    def __init__(self, stream: Ref, compile_document: DocumentCompiler, document_type: str) -> None:
        self._document_type = document_type
        self._shape = stream.shape
        self._writers = {ref.name: self._compile(ref, compile_document, document_type) for ref in stream.shape.members.values()}

    @staticmethod
    def _compile(event: Ref, compile_document: DocumentCompiler, document_type: str) -> Callable[[Any], bytes]:
        shape = event.shape
        kind = "exception" if shape.traits.get("exception") else "event"
        fixed = [
            eventstream.text_header(":message-type", kind),
            eventstream.text_header(f":{kind}-type", event.name),
        ]
        header_refs = [ref for ref in shape.members.values() if ref.trait("eventheader")]
        write_payload, content_type = _payload(event, shape, compile_document, document_type)
        if content_type:
            fixed.append(eventstream.text_header(":content-type", content_type))

        def write(value: Mapping[str, Any]) -> bytes:
            headers = fixed
            if header_refs:
                headers = [*fixed, *(_header(ref, value[ref.name]) for ref in header_refs if ref.name in value)]
            return eventstream.encode_frame(headers, write_payload(value))

        return write

    def frame(self, event: Event) -> bytes:
        """
        Write one event.

        Raises:
            ValueError: the event is not exactly one member of the stream.
        """
        if len(event) != 1:
            raise ValueError(f"an event of {self._shape.name} has exactly one member, not {sorted(event)}")
        ((name, value),) = event.items()
        if name not in self._writers:
            raise ValueError(f"{self._shape.name} has no event {name}")
        return self._writers[name](value)

    def failure(self, error: AwsError) -> bytes:
        """Write the error that ends a stream: modelled in the stream, or not."""
        ref = self._shape.members.get(error.code)
        if ref is not None and ref.shape.traits.get("exception"):
            message = next((name for name in ref.shape.members if name.lower() == "message"), None)
            members = {**error.members, **({message: error.message} if message else {})}
            return self._writers[error.code](members)
        headers = [
            eventstream.text_header(":message-type", "error"),
            eventstream.text_header(":error-code", error.code),
            eventstream.text_header(":error-message", (error.message or "")[:8000]),
        ]
        return eventstream.encode_frame(headers, b"")

    def initial(self, document: bytes) -> bytes:
        """Write the first frame of an RPC protocol's stream: the output's other members."""
        headers = [
            eventstream.text_header(":message-type", "event"),
            eventstream.text_header(":event-type", "initial-response"),
            eventstream.text_header(":content-type", self._document_type),
        ]
        return eventstream.encode_frame(headers, document)

    def stream(self, events: "AsyncIterator[Event] | Iterable[Event]", first: bytes | None = None) -> "bytes | Frames":
        """Write a whole stream: at once if the events are at hand, else as they come."""
        if isinstance(events, AsyncIterator):
            return Frames(self, events, first)
        return b"".join([first or b"", *map(self.frame, events)])


def _payload(
    event: Ref, shape: Shape, compile_document: DocumentCompiler, document_type: str
) -> tuple[Callable[[Mapping[str, Any]], bytes], str | None]:
    explicit = next((ref for ref in shape.members.values() if ref.trait("eventpayload")), None)
    if explicit is None:
        refs = [ref for ref in shape.members.values() if not ref.trait("eventheader")]
        if not refs and shape.members:
            return (lambda value: b""), None
        return compile_document(event, refs), document_type
    name = explicit.name
    match explicit.shape.type:
        case "blob":
            return (lambda value: value.get(name) or b""), "application/octet-stream"
        case "string":
            return (lambda value: (value.get(name) or "").encode()), "text/plain"
    write = compile_document(explicit, list(explicit.shape.members.values()))
    return (lambda value: write(value.get(name) or {})), document_type


def _header(ref: Ref, value: Any) -> bytes:
    integer_type = _INTEGER_TYPES.get(ref.shape.type, HeaderType.INTEGER)
    header: Header = eventstream.header_of(value, integer_type=integer_type)
    return eventstream.encode_header(ref.name, header)


class Frames(AsyncIterator[bytes]):
    """The frames of events that are still to come. Waits for nothing but the events.

    Resource handling: ``aclose`` closes the iterator of events, if it can be closed.
    """

    __slots__ = ("_events", "_first", "_is_over", "_writer")

    def __init__(self, writer: EventWriter, events: AsyncIterator[Event], first: bytes | None) -> None:
        self._writer = writer
        self._events = events
        self._first = first
        self._is_over = False

    def __anext__(self) -> Awaitable[bytes]:
        return _NextFrame(self._advance)

    def _advance(self) -> Generator[Any, Any, bytes]:
        first, self._first = self._first, None
        if first is not None:
            return first
        if self._is_over:
            raise StopAsyncIteration
        try:
            event = yield from self._events.__anext__().__await__()
        except AwsError as error:
            self._is_over = True
            return self._writer.failure(error)
        return self._writer.frame(event)

    def aclose(self) -> Awaitable[None]:
        return _NextFrame(self._close)

    def _close(self) -> Generator[Any, Any, None]:
        self._is_over = True
        close = getattr(self._events, "aclose", None)
        if close is not None:
            yield from close().__await__()


class _NextFrame:
    """An awaitable made of a generator, so that this room needs no event loop."""

    __slots__ = ("_advance",)

    def __init__(self, advance: Callable[[], Generator[Any, Any, Any]]) -> None:
        self._advance = advance

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._advance()

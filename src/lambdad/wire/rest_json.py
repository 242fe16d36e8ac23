"""REST-JSON: lambda, scheduler, apigateway, apigatewayv2."""

from collections.abc import Callable, Mapping
from typing import Any

from lambdad.wire import event_output, eventstream, json_shapes, rest_input, rest_output
from lambdad.wire.event_output import EventWriter
from lambdad.wire.failures import Failure
from lambdad.wire.http import Response
from lambdad.wire.protocol import Body, Parser, Responder, finish
from lambdad.wire.rest_output import Headers
from lambdad.wire.serialization import serialization_error
from lambdad.wire.service_model import Operation, Ref, ServiceModel, Shape

MEDIA_TYPE = "application/json"

# Invoke answers with what the function returned, which is JSON whether or not it is.
_BLOB_TYPES = {("lambda", "Invoke"): MEDIA_TYPE, ("lambda", "InvokeAsync"): MEDIA_TYPE}

BodyWriter = Callable[[Mapping[str, Any]], tuple[Body, str | None]]


class RestJson:
    """The REST-JSON protocol for one service."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._decoders = json_shapes.JsonDecoders()
        self._encoders = json_shapes.JsonEncoders()
        self._failures: dict[str, tuple[rest_output.Writer, json_shapes.Encoder]] = {}

    def parser(self, operation: Operation) -> Parser:
        read_body = self._body_reader(operation.input.shape) if operation.input is not None else None
        return rest_input.compile_parser(operation, read_body)

    def _body_reader(self, shape: Shape) -> Callable[[bytes], dict[str, Any]] | None:
        if shape.payload is not None:
            return _payload_reader(shape.members[shape.payload], self._decoders, is_required=shape.payload in shape.required)
        refs = [ref for ref in shape.members.values() if ref.location is None]
        if not refs:
            return None
        decode = self._decoders.members(refs)
        return lambda body: decode(json_shapes.loads(body)) if body and body != b"null" else {}

    def responder(self, operation: Operation) -> Responder:
        shape = operation.output.shape if operation.output is not None else None
        members = list(shape.members.values()) if shape is not None else []
        write_headers = rest_output.compile_writer(members)
        write_body = self._body_writer(operation, shape)
        default_status, is_head = operation.status, operation.method == "HEAD"
        needs_care = is_head or any(ref.wire_name.lower() == "content-length" for ref in members if ref.location)
        sets_type = any(ref.wire_name.lower() == "content-type" for ref in members if ref.location == "header")

        def respond(output: Mapping[str, Any], request_id: str) -> Response:
            body, content_type = write_body(output)
            headers: Headers = [("x-amzn-RequestId", request_id)]
            status = write_headers(output, headers) or default_status
            if content_type is not None and not (sets_type and _has(headers, "content-type")):
                headers.insert(0, ("Content-Type", content_type))
            if needs_care or status == 204 or status == 304:
                return finish(status, headers, body, is_head=is_head)
            return Response(status, headers, body)

        return respond

    def _body_writer(self, operation: Operation, shape: Shape | None) -> BodyWriter:
        if shape is None:
            return lambda output: (b"", None)
        if shape.payload is None:
            encode = self._encoders.members(ref for ref in shape.members.values() if ref.location is None)
            return lambda output: (json_shapes.dumps(encode(output)), MEDIA_TYPE)
        payload = shape.members[shape.payload]
        name = payload.name
        if payload.shape.traits.get("eventstream"):
            writer = EventWriter(payload, self._compile_document, MEDIA_TYPE)
            return lambda output: (writer.stream(output[name]), eventstream.MEDIA_TYPE)
        if payload.shape.type in ("blob", "string"):
            default = "text/plain" if payload.shape.type == "string" else "application/octet-stream"
            return raw_body_writer(name, _BLOB_TYPES.get((self._model.service, operation.name), default))
        encode_payload = self._encoders.of(payload) or _as_it_is
        return lambda output: (json_shapes.dumps(encode_payload(output.get(name, {}))), MEDIA_TYPE)

    def _compile_document(self, structure: Ref, members: list[Ref]) -> event_output.DocumentWriter:
        encode = self._encoders.members(members)
        return lambda value: json_shapes.dumps(encode(value))

    def refuse(self, failure: Failure, request_id: str) -> Response:
        headers: Headers = [
            ("Content-Type", MEDIA_TYPE),
            ("x-amzn-RequestId", request_id),
            ("x-amzn-ErrorType", rest_output.safe_header(failure.name)),
        ]
        if failure.shape is None:
            spelling = "Message" if failure.message is None else "message"
            return Response(failure.status, headers, json_shapes.dumps({spelling: failure.message, **failure.members}))
        write_headers, encode = self._failure_writer(failure.shape)
        write_headers(failure.members, headers)
        document = encode(failure.members)
        return Response(failure.status, headers, json_shapes.dumps(with_message(document, failure)))

    def _failure_writer(self, shape: Shape) -> tuple[rest_output.Writer, json_shapes.Encoder]:
        known = self._failures.get(shape.name)
        if known is None:
            encode = self._encoders.members(ref for ref in shape.members.values() if ref.location is None)
            known = self._failures[shape.name] = (rest_output.compile_writer(shape.members.values()), encode)
        return known


def with_message(document: dict[str, Any], failure: Failure) -> dict[str, Any]:
    """Add the message of an exception whose model has no member for it, or whose message is null."""
    if any(key.lower() == "message" for key in document):
        return document
    member = next((name for name in failure.members if name.lower() == "message"), "message")
    return {**document, member: failure.message}


def raw_body_writer(name: str, content_type: str) -> BodyWriter:
    """Return a function that passes a blob, a text or a stream on as it is."""

    def write(output: Mapping[str, Any]) -> tuple[Body, str | None]:
        body = output.get(name)
        if body is None:
            return b"", None
        return (body.encode() if isinstance(body, str) else body), content_type

    return write


def _payload_reader(payload: Ref, decoders: json_shapes.JsonDecoders, *, is_required: bool) -> Callable[[bytes], dict[str, Any]]:
    name = payload.name
    match payload.shape.type:
        case "blob":
            return lambda body: {name: body} if body or is_required else {}
        case "string":
            return lambda body: {name: utf8(body)} if body or is_required else {}
    decode = decoders.of(payload)
    return lambda body: {name: decode(json_shapes.loads(body))} if body else {}


def utf8(body: bytes) -> str:
    """Read a text body."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise serialization_error("The body is not UTF-8") from None


def _has(headers: Headers, name: str) -> bool:
    return any(header.lower() == name for header, _ in headers)


def _as_it_is(value: Any) -> Any:
    return value

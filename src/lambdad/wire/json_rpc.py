"""JSON 1.0 and 1.1: the operation is named in a header, everything else is in the body (logs, sqs, dynamodb, events ...)."""

from collections.abc import Callable, Mapping
from typing import Any

from lambdad.wire import event_output, eventstream, json_shapes
from lambdad.wire.event_output import EventWriter
from lambdad.wire.failures import Failure
from lambdad.wire.http import Request, Response
from lambdad.wire.protocol import Parser, Responder
from lambdad.wire.rest_json import with_message
from lambdad.wire.rest_output import Headers, safe_header
from lambdad.wire.routing import Match
from lambdad.wire.service_model import Operation, Ref, ServiceModel


class JsonRpc:
    """The JSON protocol for one service."""

    def __init__(self, model: ServiceModel) -> None:
        self._media_type = f"application/x-amz-json-{model.metadata.get('jsonVersion', '1.1')}"
        self._is_query_compatible = "awsQueryCompatible" in model.metadata
        self._decoders = json_shapes.JsonDecoders()
        self._encoders = json_shapes.JsonEncoders()
        self._failures: dict[str, json_shapes.Encoder] = {}

    def parser(self, operation: Operation) -> Parser:
        if operation.input is None:
            return lambda request, match: {}
        decode = self._decoders.of(operation.input)

        def parse(request: Request, match: Match) -> dict[str, Any]:
            found: dict[str, Any] = decode(json_shapes.loads(request.body))
            return found

        return parse

    def responder(self, operation: Operation) -> Responder:
        media_type = self._media_type
        if operation.output is None:
            return lambda output, request_id: Response(200, self._headers(request_id), b"")
        stream = operation.output.shape.event_stream
        if stream is not None:
            return self._stream_responder(operation.output, stream)
        encode = self._encoders.members(operation.output.shape.members.values())

        def respond(output: Mapping[str, Any], request_id: str) -> Response:
            headers: Headers = [("x-amzn-RequestId", request_id), ("Content-Type", media_type)]
            return Response(200, headers, json_shapes.dumps(encode(output)))

        return respond

    def _stream_responder(self, output: Ref, stream: Ref) -> Responder:
        writer = EventWriter(stream, self._compile_document, "application/json")
        others = [ref for ref in output.shape.members.values() if ref.name != stream.name]
        write_initial: Callable[[Any], bytes] = self._compile_document(output, others)

        def respond(output: Mapping[str, Any], request_id: str) -> Response:
            headers: Headers = [("x-amzn-RequestId", request_id), ("Content-Type", eventstream.MEDIA_TYPE)]
            first = writer.initial(write_initial(output))
            return Response(200, headers, writer.stream(output[stream.name], first))

        return respond

    def _compile_document(self, structure: Ref, members: list[Ref]) -> event_output.DocumentWriter:
        encode = self._encoders.members(members)
        return lambda value: json_shapes.dumps(encode(value))

    def _headers(self, request_id: str) -> Headers:
        return [("x-amzn-RequestId", request_id), ("Content-Type", self._media_type)]

    def refuse(self, failure: Failure, request_id: str) -> Response:
        document: dict[str, Any] = {"__type": failure.name}
        if failure.shape is None:
            document.update(failure.members)
        else:
            encode = self._failures.get(failure.name)
            if encode is None:
                encode = self._failures[failure.name] = self._encoders.members(failure.shape.members.values())
            document.update(encode(failure.members))
        if failure.message is not None or failure.shape is None:
            document = with_message(document, failure)
        headers = self._headers(request_id)
        if self._is_query_compatible:
            headers.append(query_error_header(failure))
        return Response(failure.status, headers, json_shapes.dumps(document))


def query_error_header(failure: Failure) -> tuple[str, str]:
    """Tell clients of a service that once spoke Query what the error was called there."""
    fault = "Sender" if failure.is_senders else "Receiver"
    return "x-amzn-query-error", safe_header(f"{failure.code};{fault}")

"""Smithy's RPC v2 CBOR: the operation is named in the path, everything else is in the body (cloudwatch)."""

from collections.abc import Mapping
from typing import Any

from lambdad.wire import cbor, cbor_shapes, event_output, eventstream, json_shapes
from lambdad.wire.event_output import EventWriter
from lambdad.wire.failures import Failure
from lambdad.wire.http import Request, Response
from lambdad.wire.json_rpc import query_error_header
from lambdad.wire.protocol import Parser, Responder
from lambdad.wire.rest_json import with_message
from lambdad.wire.rest_output import Headers
from lambdad.wire.routing import Match
from lambdad.wire.service_model import Operation, Ref, ServiceModel

MEDIA_TYPE = "application/cbor"


class RpcCbor:
    """The RPC v2 CBOR protocol for one service."""

    def __init__(self, model: ServiceModel) -> None:
        self._is_query_compatible = "awsQueryCompatible" in model.metadata
        self._decoders = cbor_shapes.CborDecoders()
        self._encoders = cbor_shapes.CborEncoders()
        self._failures: dict[str, json_shapes.Encoder] = {}

    def parser(self, operation: Operation) -> Parser:
        if operation.input is None:
            return lambda request, match: {}
        decode = self._decoders.of(operation.input)

        def parse(request: Request, match: Match) -> dict[str, Any]:
            found: dict[str, Any] = decode(cbor.loads(request.body)) if request.body else {}
            return found

        return parse

    def responder(self, operation: Operation) -> Responder:
        if operation.output is None:
            return lambda output, request_id: Response(200, _headers(request_id, None), b"")
        stream = operation.output.shape.event_stream
        if stream is not None:
            return self._stream_responder(operation.output, stream)
        encode = self._encoders.members(operation.output.shape.members.values())
        return lambda output, request_id: Response(200, _headers(request_id, MEDIA_TYPE), cbor.dumps(encode(output)))

    def _stream_responder(self, output: Ref, stream: Ref) -> Responder:
        writer = EventWriter(stream, self._compile_document, MEDIA_TYPE)
        others = [ref for ref in output.shape.members.values() if ref.name != stream.name]
        write_initial = self._compile_document(output, others)

        def respond(output: Mapping[str, Any], request_id: str) -> Response:
            first = writer.initial(write_initial(output))
            return Response(200, _headers(request_id, eventstream.MEDIA_TYPE), writer.stream(output[stream.name], first))

        return respond

    def _compile_document(self, structure: Ref, members: list[Ref]) -> event_output.DocumentWriter:
        encode = self._encoders.members(members)
        return lambda value: cbor.dumps(encode(value))

    def refuse(self, failure: Failure, request_id: str) -> Response:
        document: dict[str, Any] = {"__type": failure.name}
        if failure.shape is None:
            document.update(failure.members)
        else:
            encode = self._failures.get(failure.name)
            if encode is None:
                encode = self._failures[failure.name] = self._encoders.members(failure.shape.members.values())
            document.update(encode(failure.members))
        if failure.message is not None:
            document = with_message(document, failure)
        headers = _headers(request_id, MEDIA_TYPE)
        if self._is_query_compatible:
            headers.append(query_error_header(failure))
        return Response(failure.status, headers, cbor.dumps(document))


def _headers(request_id: str, media_type: str | None) -> Headers:
    headers: Headers = [("x-amzn-RequestId", request_id), ("smithy-protocol", "rpc-v2-cbor")]
    if media_type is not None:
        headers.append(("Content-Type", media_type))
    return headers

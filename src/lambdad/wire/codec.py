"""The codec of a service: which operation a request means, what it says, and how the answer is written.

``load("lambda").match(request)`` gives a `Call`; that parses, validates and responds in the protocol it came in.
Everything is compiled once per operation and protocol, when the operation is first called.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from lambdad.model.errors import AwsError
from lambdad.wire import failures, service_model
from lambdad.wire.http import Request, Response
from lambdad.wire.json_rpc import JsonRpc
from lambdad.wire.protocol import Parser, Responder, WireProtocol
from lambdad.wire.query import Query, action_of
from lambdad.wire.rest_json import RestJson
from lambdad.wire.rest_xml import RestXml
from lambdad.wire.routing import NO_QUERY, Match, Router
from lambdad.wire.rpc_cbor import RpcCbor
from lambdad.wire.serialization import serialization_error
from lambdad.wire.service_model import Operation, ServiceModel
from lambdad.wire.validation import Validators

_PROTOCOLS: Mapping[str, Callable[[ServiceModel], WireProtocol]] = {
    "rest-json": RestJson,
    "rest-xml": RestXml,
    "json": JsonRpc,
    "query": Query,
    "ec2": Query,
    "smithy-rpc-v2-cbor": RpcCbor,
}

# Protocols that a service still speaks though its model has forgotten them.
_HISTORICAL = {"sqs": ("query",)}


@dataclass(frozen=True, slots=True)
class _Compiled:
    """An operation in one protocol."""

    parse: Parser
    respond: Responder
    validate: Callable[[Mapping[str, Any]], None]
    protocol: WireProtocol


class ServiceCodec:
    """All operations of one service, in all protocols that it speaks.

    Args:
        name: botocore's name of the service.
        signing_name: the service in a credential scope.
        endpoint_prefix: the first label of its host names.
    """

    def __init__(self, model: ServiceModel) -> None:
        metadata = model.metadata
        self.name = model.service
        self.endpoint_prefix: str = metadata["endpointPrefix"]
        self.signing_name: str = metadata.get("signingName", self.endpoint_prefix)
        self.target_prefix: str | None = metadata.get("targetPrefix")
        self.operations: Mapping[str, Operation] = model.operations
        named: list[str] = metadata.get("protocols") or [metadata["protocol"]]
        names = (*named, *_HISTORICAL.get(model.service, ()))
        self.protocols: tuple[str, ...] = tuple(name for name in names if name in _PROTOCOLS)
        self._model = model
        self._speaks = {name: _PROTOCOLS[name](model) for name in self.protocols}
        self._validators = Validators(model)
        self._compiled: dict[tuple[str, str], _Compiled] = {}
        self._inputs: dict[str, Callable[[Mapping[str, Any]], None]] = {}

    @functools.cached_property
    def _router(self) -> Router:
        return Router(list(self._model.operations.values()))

    def match(self, request: Request) -> "Call":
        """
        Find the operation that a request means.

        Raises:
            AwsError: UnknownOperationException and its like; `refuse` writes them in the request's protocol.
        """
        protocol = self.protocol_of(request)
        if protocol in ("rest-json", "rest-xml"):
            match = self._router.match(request)
            if match is None:
                raise AwsError("UnknownOperationException", None, status=404)
        else:
            match = Match(self._operation_name(protocol, request), {}, NO_QUERY)
        compiled = self._compiled.get((protocol, match.operation))
        if compiled is None:
            if match.operation not in self.operations:
                raise _unknown_operation(protocol, match.operation)
            compiled = self._compile(protocol, match.operation)
        return Call(self._model, compiled, request, match)

    def protocol_of(self, request: Request) -> str:
        """Tell the protocols of the service apart by the request's headers; its first one, if nothing tells."""
        protocols = self.protocols
        if len(protocols) == 1:
            return protocols[0]
        headers = request.headers
        if "smithy-rpc-v2-cbor" in protocols and headers.get("smithy-protocol") == "rpc-v2-cbor":
            return "smithy-rpc-v2-cbor"
        if "json" in protocols and "x-amz-target" in headers:
            return "json"
        if "query" in protocols:
            return "query"
        return protocols[0]

    def _operation_name(self, protocol: str, request: Request) -> str:
        if protocol == "json":
            prefix, _, name = request.headers.get("x-amz-target", "").rpartition(".")
            return name if prefix == self.target_prefix else ""
        if protocol == "smithy-rpc-v2-cbor":
            parts = unquote_to_bytes(request.path).decode("utf-8", "replace").split("/")
            if len(parts) < 4 or parts[-4] != "service" or parts[-2] != "operation":
                return ""
            return parts[-1]
        return action_of(request)

    def _compile(self, protocol: str, name: str) -> _Compiled:
        speaks, operation = self._speaks[protocol], self.operations[name]
        compiled = self._compiled[protocol, name] = _Compiled(
            speaks.parser(operation), speaks.responder(operation), self._validators.operation(operation), speaks
        )
        return compiled

    def validator(self, operation: str) -> Callable[[Mapping[str, Any]], None]:
        """
        Return what `Call.validate` does, for an input that never was bytes.

        Raises:
            LookupError: the service has no such operation.
        """
        found = self._inputs.get(operation)
        if found is None:
            found = self._inputs[operation] = self._validators.operation(self.operations[operation])
        return found

    def told(self, error: AwsError) -> tuple[str, int]:
        """Say under which name and with which status an error reaches a caller: the model's, where it knows the error."""
        failure = failures.describe(self._model, error)
        return failure.name, failure.status

    def refuse(self, error: AwsError, request_id: str, request: Request) -> Response:
        """Write an error for a request that means no operation, or was refused before it was matched."""
        protocol = self._speaks[self.protocol_of(request)]
        response = protocol.refuse(failures.describe(self._model, error), request_id)
        return _without_body(response) if request.method == "HEAD" else response


class Call:
    """A request whose operation is known."""

    __slots__ = ("_compiled", "_match", "_model", "_request", "operation")

    def __init__(self, model: ServiceModel, compiled: _Compiled, request: Request, match: Match) -> None:
        self.operation = match.operation
        self._model = model
        self._compiled = compiled
        self._request = request
        self._match = match

    def parse(self) -> dict[str, Any]:
        """
        Return the input: blobs as bytes, timestamps as aware datetimes, absent members absent.

        Raises:
            AwsError: SerializationException (MalformedXML in REST-XML), the bytes are not what the model says.
        """
        try:
            return self._compiled.parse(self._request, self._match)
        except RecursionError:
            raise serialization_error("The request is nested too deeply") from None

    def validate(self, params: Mapping[str, Any]) -> None:
        """
        Check an input against the model's constraints.

        Raises:
            ValidationError: with every failure, in AWS's words.
        """
        try:
            self._compiled.validate(params)
        except RecursionError:
            raise serialization_error("The request is nested too deeply") from None

    def respond(self, output: Mapping[str, Any], request_id: str) -> Response:
        """Write an output. Members that the model does not know are left out, and so are those that are None."""
        return self._compiled.respond(output, request_id)

    def respond_error(self, error: AwsError, request_id: str) -> Response:
        """Write an error."""
        response = self._compiled.protocol.refuse(failures.describe(self._model, error), request_id)
        return _without_body(response) if self._request.method == "HEAD" else response


def _without_body(response: Response) -> Response:
    return Response(response.status, response.headers, b"")


def _unknown_operation(protocol: str, name: str) -> AwsError:
    if protocol in ("query", "ec2"):
        if not name:
            return AwsError("MissingAction", "The request must contain the parameter Action", status=400)
        return AwsError("InvalidAction", f"Could not find operation {name[:200]}", status=400)
    return AwsError("UnknownOperationException", None, status=400 if protocol == "json" else 404)


@functools.cache
def load(service: str) -> ServiceCodec:
    """
    Return the codec of a service, made at the first call.

    Args:
        service: botocore's name of it, e.g. ``lambda``, ``logs``, ``s3``.

    Raises:
        LookupError: botocore has no such service.
    """
    return ServiceCodec(service_model.read(service))

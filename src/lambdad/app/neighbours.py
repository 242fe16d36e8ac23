"""How one service reaches another: its handler in this process, or the endpoint that was configured for it."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lambdad.model import arn
from lambdad.model.errors import AwsError, NotImplementedHere
from lambdad.model.ids import RequestId
from lambdad.services.ports import CallContext, Origin, Service
from lambdad.wire import codec
from lambdad.wire.codec import ServiceCodec

log = logging.getLogger("lambdad.neighbours")

_INTERNAL = "We encountered an internal error. Please try again."


class Endpoint(Protocol):
    """A service that is elsewhere; raises `AwsError`."""

    async def call(self, origin: Origin, operation: str, params: Mapping[str, Any]) -> dict[str, Any]: ...


class Neighbourhood:
    """
    The services that services can call; implements `services.ports.Neighbours`. `serve` each before the first call.

    Args:
        endpoints: services that are elsewhere, by botocore's name; they go before those of this process.
        new_request_id: called once for each call.
        endpoint: how clients reach us, for links in answers.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint], new_request_id: Callable[[], RequestId], endpoint: str) -> None:
        self._endpoints = endpoints
        self._new_request_id = new_request_id
        self._endpoint = endpoint
        self._services: dict[str, Service] = {}
        self._codecs: dict[str, ServiceCodec | None] = {}

    def serve(self, *services: Service) -> None:
        """Let neighbours call services. What botocore knows no service of that name for is not validated."""
        for service in services:
            assert service.name not in self._services, f"there are two services {service.name}"
            self._services[service.name] = service

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation of a service; see `services.ports.Neighbours`."""
        service_codec = self._codec(service)
        if service_codec is not None:
            if operation not in service_codec.operations:
                raise NotImplementedHere(service, operation)
            service_codec.validator(operation)(params)
        if (elsewhere := self._endpoints.get(service)) is not None:
            return await elsewhere.call(origin, operation, params)
        built = self._services.get(service)
        handler = built.handlers.get(operation) if built is not None else None
        if handler is None:
            raise NotImplementedHere(service, operation)
        try:
            return await handler(self._context(origin), dict(params))
        except AwsError as error:
            if service_codec is not None:
                _, error.status = service_codec.told(error)
            raise
        except Exception as error:
            # Safe to go on: what the handler had begun is its own transaction, and the caller is told as a client would be.
            log.exception("neighbour.failed service=%s operation=%s", service, operation)
            raise AwsError("InternalFailure", _INTERNAL, status=500) from error

    def _context(self, origin: Origin) -> CallContext:
        return CallContext(
            account=origin.account,
            region=origin.region,
            request_id=self._new_request_id(),
            principal_arn=origin.principal or f"arn:{arn.partition(origin.region)}:iam::{origin.account}:root",
            trace_id=origin.trace_id,
            endpoint=self._endpoint,
            origin=origin,
        )

    def _codec(self, service: str) -> ServiceCodec | None:
        if service not in self._codecs:
            try:
                self._codecs[service] = codec.load(service)
            except LookupError:
                self._codecs[service] = None
        return self._codecs[service]

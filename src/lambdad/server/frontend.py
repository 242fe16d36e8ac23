"""One request in, one answer out: find the service, know the caller, read the input, call the handler, write the output.

Ordering: route, match the operation, check the size, authenticate, decode, parse, validate, handle, respond. AWS's front ends check
size and signature before they read a body, and so do we: what strangers send is parsed only once they are known.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import orjson

import lambdad
from lambdad.kit import http1, threads
from lambdad.kit.clock import NowMs
from lambdad.model.errors import AwsError, NotImplementedHere
from lambdad.model.ids import RequestId
from lambdad.server import body_limits, routing, unknown
from lambdad.server.auth import Authenticator, Identity
from lambdad.server.routing import Route
from lambdad.services.ports import CallContext, Service
from lambdad.wire import aws_chunked, codec, sigv4_claims, sigv4_errors
from lambdad.wire.codec import Call, ServiceCodec
from lambdad.wire.http import Request, Response
from lambdad.wire.sigv4 import S3_FAMILY, Refused, Verified
from lambdad.wire.sigv4_errors import Family

log = logging.getLogger("lambdad.server")

OWN = "/_lambdad/"

# Services whose models are read though nothing serves them, so that an operation that is not built is named in the service's own
# protocol. Others are answered without a model: some of AWS's are huge.
_MODELLED = frozenset(
    {
        "apigateway",
        "apigatewaymanagementapi",
        "apigatewayv2",
        "cloudformation",
        "cloudfront",
        "cloudtrail",
        "cloudwatch",
        "dynamodb",
        "dynamodbstreams",
        "ecr",
        "events",
        "iam",
        "kinesis",
        "kms",
        "lambda",
        "logs",
        "resourcegroupstaggingapi",
        "s3",
        "scheduler",
        "secretsmanager",
        "serverlessrepo",
        "sns",
        "sqs",
        "ssm",
        "stepfunctions",
        "sts",
        "xray",
    }
)
_FAMILIES = {"json": Family.JSON, "smithy-rpc-v2-cbor": Family.JSON, "rest-json": Family.REST_JSON}
_INTERNAL_CODES = {"lambda": "ServiceException", "s3": "InternalError"}
_INTERNAL_MESSAGE = "We encountered an internal error. Please try again."
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}").fullmatch
_DECODED_IN_THREAD_BYTES = 256 * 1024


class Frontend:
    """The handler of the API's HTTP server.

    Args:
        services: what is built, by botocore's name.
        new_request_id: called once for each request; the id is in the answer and in the handler's context.
        now_ms: the wall clock, for Date headers.
        health: further members of the health document. A `status` other than "ok" makes it 503.
        endpoint: how callers reach us where they do not say so themselves in Host, e.g. "http://127.0.0.1:4566".
    """

    def __init__(
        self,
        services: Mapping[str, Service],
        authenticator: Authenticator,
        new_request_id: Callable[[], RequestId],
        now_ms: NowMs,
        health: Callable[[], Mapping[str, Any]] = dict,
        endpoint: str = "http://127.0.0.1:4566",
    ) -> None:
        self._services = services
        self._codecs = {name: codec.load(name) for name in services}
        self._authenticator = authenticator
        self._new_request_id = new_request_id
        self._now_ms = now_ms
        self._health = health
        self._endpoint = endpoint
        self._date_s = 0
        self._date = ("Date", "")

    async def __call__(self, request: http1.Request) -> http1.Response:
        """Answer a request. Whatever goes wrong, the answer has the shape that the caller's SDK can read."""
        path, _, query = request.target.partition("?")
        if path.startswith(OWN):
            response = self._answer_own(request.method, path)
        else:
            if not path.startswith("/"):
                path = _path_of(path)
            read = Request(request.method, path, query, request.headers, request.body)
            response = await self._answer(read, is_cut=request.oversize)
        response.headers.append(self._date_header())
        return http1.Response(response.status, response.headers, response.body)

    async def _answer(self, request: Request, *, is_cut: bool) -> Response:
        request_id = self._new_request_id()
        claim = sigv4_claims.read(request.query, request.headers)
        route = routing.route(request, claim)
        service_codec = self._codec_of(route.service)
        if service_codec is None:
            return unknown.respond(unknown.error_for(route.service, request), request_id, request)
        call: Call | None = None
        try:
            call = service_codec.match(_addressed(request, route, request.path))
            body_limits.check(route.service, call.operation, request.headers, len(request.body), is_cut=is_cut)
            identity = await self._authenticator.authenticate(claim, request, route.region)
            proven = await _decoded(request, identity.verified)
            if proven is not request:
                call = service_codec.match(_addressed(proven, route, proven.path))
            context = self._context(identity, request_id, request)
            response = call.respond(await self._handle(service_codec.name, call, context), request_id)
            response.headers += context.answer_headers
            return response
        except AwsError as error:
            refusal = error
        except Refused as refused:
            refusal = sigv4_errors.error_for(refused, _family(service_codec, request))
        except Exception:
            # Safe to go on: one request fails and is answered so. What its handler had begun is its own transaction.
            operation = call.operation if call is not None else request.path
            log.exception("request.failed request_id=%s service=%s operation=%s", request_id, route.service, operation)
            code = _INTERNAL_CODES.get(route.service, "InternalFailure")
            refusal = AwsError(code, _INTERNAL_MESSAGE, status=500)
        if call is not None:
            return call.respond_error(refusal, request_id)
        return service_codec.refuse(refusal, request_id, request)

    async def _handle(self, service: str, call: Call, context: CallContext) -> dict[str, Any]:
        built = self._services.get(service)
        handler = built.handlers.get(call.operation) if built is not None else None
        if handler is None:
            raise NotImplementedHere(service, call.operation)
        params = call.parse()
        call.validate(params)
        return await handler(context, params)

    def _context(self, identity: Identity, request_id: RequestId, request: Request) -> CallContext:
        host = request.headers.get("host", "")
        return CallContext(
            account=identity.account,
            region=identity.region,
            request_id=request_id,
            principal_arn=identity.principal_arn,
            trace_id=request.headers.get("x-amzn-trace-id", ""),
            endpoint=f"http://{host}" if _HOST(host) else self._endpoint,
        )

    def _codec_of(self, service: str) -> ServiceCodec | None:
        found = self._codecs.get(service)
        if found is None and service in _MODELLED:
            found = self._codecs[service] = codec.load(service)
        return found

    def _answer_own(self, method: str, path: str) -> Response:
        """Answer what is lambdad's own."""
        if path != f"{OWN}health":
            return _json(404, {"message": "Not Found"})
        if method not in ("GET", "HEAD"):
            return _json(405, {"message": "Method Not Allowed"})
        document = {"status": "ok", "version": lambdad.__version__, **self._health()}
        return _json(200 if document["status"] == "ok" else 503, document)

    def _date_header(self) -> tuple[str, str]:
        """Return the Date header, written anew each second; SDKs correct their clocks by it."""
        now_s = self._now_ms() // 1000
        if now_s != self._date_s:
            self._date_s = now_s
            self._date = ("Date", formatdate(now_s, usegmt=True))
        return self._date


async def _decoded(request: Request, verified: Verified | None) -> Request:
    """Return the request that was meant: the path that the signature covers, the body without its aws-chunked framing.

    The same object comes back where there is nothing to change.

    Raises:
        AwsError: the framing or a chunk's signature is wrong.
    """
    if verified is not None and verified.path != request.path:
        request = replace(request, path=verified.path)
    if not aws_chunked.is_chunked(request.headers):
        return request
    decoder = aws_chunked.decoder_for(request.headers, verified)
    if len(request.body) > _DECODED_IN_THREAD_BYTES:
        body = await threads.run(decoder.feed, request.body)
    else:
        body = decoder.feed(request.body)
    headers = {**request.headers, **decoder.finish(), "content-length": str(len(body))}
    encodings = [name.strip() for name in headers.pop("content-encoding", "").split(",")]
    left = ",".join(name for name in encodings if name and name != "aws-chunked")
    if left:
        headers["content-encoding"] = left
    return replace(request, headers=headers, body=body)


def _addressed(request: Request, route: Route, path: str) -> Request:
    """Return the request as its model writes it: S3's buckets in the path, wherever they were."""
    if route.service == "s3" and route.resource:
        return replace(request, path=f"/{route.resource}{path}")
    return request


def _family(service_codec: ServiceCodec, request: Request) -> Family:
    if service_codec.signing_name in S3_FAMILY:
        return Family.S3
    return _FAMILIES.get(service_codec.protocol_of(request), Family.QUERY)


def _path_of(target: str) -> str:
    """Return the path of a target in absolute form, as proxies send it: "http://host/path"; "*" and garbage are "/"."""
    _, scheme, rest = target.partition("://")
    _, slash, path = rest.partition("/")
    return f"/{path}" if scheme and slash else "/"


def _json(status: int, document: Mapping[str, Any]) -> Response:
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    return Response(status, headers, orjson.dumps(document))

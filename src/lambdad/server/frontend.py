"""One request in, one answer out: find the service, know the caller, read the input, call the handler, write the output.

Ordering: route, match the operation, check the size, authenticate, decode, parse, validate, handle, respond. AWS's front ends check
size and signature before they read a body, and so do we: what strangers send is parsed only once they are known.

Large bodies of S3's PutObject and UploadPart are not read before they are handled: `Frontend.wants_stream` picks them by their headers,
and the handler gets a `StreamedBody` in the place of bytes.
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
from lambdad.server import body_limits, incoming, routing, unknown
from lambdad.server.auth import Authenticator, Identity
from lambdad.server.incoming import Gathered, StreamedBody
from lambdad.server.routing import Route
from lambdad.services.ports import CallContext, Service, WebHandler
from lambdad.wire import aws_chunked, codec, sigv4_claims, sigv4_errors
from lambdad.wire.codec import Call, ServiceCodec
from lambdad.wire.http import Request, Response
from lambdad.wire.sigv4 import S3_FAMILY, Refused, Verified
from lambdad.wire.sigv4_claims import Claim
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
_STREAMED_BYTES = 1024 * 1024  # smaller bodies are quicker read whole
_STREAMED_OPERATIONS = frozenset({"PutObject", "UploadPart"})
_FORM = "multipart/form-data"


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
        self._gathered = Gathered()
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
            response = await self._answer(read, request)
        response.headers.append(self._date_header())
        return http1.Response(response.status, response.headers, response.body)

    def wants_stream(self, request: http1.Request) -> bool:
        """Say whether a request's body is to be streamed: it is large, or of unknown length, and an object or a part of one."""
        headers = request.headers
        is_form = request.method == "POST"
        if request.method != "PUT" and not (is_form and headers.get("content-type", "").startswith(_FORM)):
            return False
        length = headers.get("content-length", "")
        if "s3" not in self._services or (length.isascii() and length.isdigit() and int(length) <= _STREAMED_BYTES):
            return False
        path, _, query = request.target.partition("?")
        read = Request(request.method, path if path.startswith("/") else _path_of(path), query, headers, b"")
        claim = sigv4_claims.read(query, headers)
        route = routing.route(read, claim)
        if route.service != "s3":
            return False
        if is_form:
            return claim is None
        try:
            return self._codecs["s3"].match(_addressed(read, route, read.path)).operation in _STREAMED_OPERATIONS
        except AwsError:
            return False

    async def _answer(self, request: Request, received: http1.Request) -> Response:
        request_id = self._new_request_id()
        claim = sigv4_claims.read(request.query, request.headers)
        route = routing.route(request, claim)
        web = self._web(route, request, claim)
        if web is not None:
            return await self._answer_web(web, route, request, received, request_id)
        service_codec = self._codec_of(route.service)
        if service_codec is None:
            return unknown.respond(unknown.error_for(route.service, request), request_id, request)
        call: Call | None = None
        context: CallContext | None = None
        body: StreamedBody | None = None
        try:
            call = service_codec.match(_addressed(request, route, request.path))
            body_limits.check(route.service, call.operation, request.headers, len(request.body), is_cut=received.oversize)
            if received.stream is None:
                identity = await self._authenticator.authenticate(claim, request, route.region, bucket=route.resource)
                proven = await _decoded(request, identity.verified)
                if identity.verified is None and claim is not None and route.service == "s3":
                    await incoming.check_hash(request, claim)
            else:
                identity = await self._authenticator.authenticate(claim, request, route.region, is_streamed=True, bucket=route.resource)
                body = incoming.streamed(request, received.stream, claim, identity.verified, self._gathered)
                proven = _without_framing(_meant(request, identity.verified), {}, body.size_bytes)
            if proven is not request:
                call = service_codec.match(_addressed(proven, route, proven.path))
            context = self._context(identity, request_id, request, received)
            response = call.respond(await self._handle(service_codec.name, call, context, body), request_id)
            response.headers += context.answer_headers
            return response
        except AwsError as error:
            refusal = error
        except Refused as refused:
            refusal = sigv4_errors.error_for(refused, _family(service_codec, request))
        except http1.ClientDisconnected:
            raise
        except Exception:
            # Safe to go on: one request fails and is answered so. What its handler had begun is its own transaction.
            operation = call.operation if call is not None else request.path
            log.exception("request.failed request_id=%s service=%s operation=%s", request_id, route.service, operation)
            code = _INTERNAL_CODES.get(route.service, "InternalFailure")
            refusal = AwsError(code, _INTERNAL_MESSAGE, status=500)
        if received.stream is not None:
            await incoming.drain(received.stream)
        response = service_codec.refuse(refusal, request_id, request) if call is None else call.respond_error(refusal, request_id)
        if context is not None:
            response.headers += context.answer_headers
        return response

    def _web(self, route: Route, request: Request, claim: Claim | None) -> WebHandler | None:
        """Return what answers a request that is no operation of an API: a website's pages, a browser's preflight or form."""
        if route.service != "s3" and route.service != routing.S3_WEBSITE:
            return None
        built = self._services.get("s3")
        if built is None or built.web is None:
            return None
        if route.service == routing.S3_WEBSITE or request.method == "OPTIONS":
            return built.web
        is_form = request.method == "POST" and claim is None and request.headers.get("content-type", "").startswith(_FORM)
        return built.web if is_form else None

    async def _answer_web(
        self, web: WebHandler, route: Route, request: Request, received: http1.Request, request_id: RequestId
    ) -> Response:
        """Answer what browsers send without a signature in the headers. What a form proves, its handler checks."""
        identity = self._authenticator.anonymous(route.region)
        context = self._context(identity, request_id, request, received)
        addressed = replace(request, path=f"/{route.resource}{request.path}") if route.resource else request
        try:
            body = None if received.stream is None else incoming.streamed(request, received.stream, None, None, self._gathered)
            if received.oversize:
                body_limits.check("s3", "PostObject", request.headers, 0, is_cut=True)
            response = await web(
                context,
                addressed,
                body,
                lambda fields: self._context(self._form_signer(fields, request, route), request_id, request, received),
            )
            response.headers += [("x-amz-request-id", request_id), *context.answer_headers]
            return response
        except AwsError as error:
            refusal = error
        except http1.ClientDisconnected:
            raise
        except Exception:
            # Safe to go on: one request fails and is answered so.
            log.exception("request.failed request_id=%s service=s3 operation=%s", request_id, request.method)
            refusal = AwsError("InternalError", _INTERNAL_MESSAGE, status=500)
        if received.stream is not None:
            await incoming.drain(received.stream)
        response = self._codecs["s3"].refuse(refusal, request_id, request)
        response.headers += context.answer_headers
        return response

    def _form_signer(self, fields: Mapping[str, str], request: Request, route: Route) -> Identity:
        try:
            return self._authenticator.authenticate_form(fields, request.headers, route.region)
        except Refused as refused:
            raise sigv4_errors.error_for(refused, Family.S3) from refused

    async def _handle(self, service: str, call: Call, context: CallContext, body: StreamedBody | None) -> dict[str, Any]:
        built = self._services.get(service)
        handler = built.handlers.get(call.operation) if built is not None else None
        if handler is None:
            raise NotImplementedHere(service, call.operation)
        params = call.parse()
        call.validate(params)
        if body is not None:
            params["Body"] = body
        return await handler(context, params)

    def _context(self, identity: Identity, request_id: RequestId, request: Request, received: http1.Request) -> CallContext:
        host = request.headers.get("host", "")
        return CallContext(
            account=identity.account,
            region=identity.region,
            request_id=request_id,
            principal_arn=identity.principal_arn,
            trace_id=request.headers.get("x-amzn-trace-id", ""),
            endpoint=f"http://{host}" if _HOST(host) else self._endpoint,
            source_ip=received.peer,
            headers=request.headers,
            body=request.body,
            is_gone=lambda: received.is_gone,
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
    request = _meant(request, verified)
    if not aws_chunked.is_chunked(request.headers):
        return request
    decoder = aws_chunked.decoder_for(request.headers, verified)
    if len(request.body) > _DECODED_IN_THREAD_BYTES:
        body = await threads.run(decoder.feed, request.body)
    else:
        body = decoder.feed(request.body)
    return replace(_without_framing(request, decoder.finish(), len(body)), body=body)


def _meant(request: Request, verified: Verified | None) -> Request:
    """Return the request with the path that the signature covers."""
    if verified is not None and verified.path != request.path:
        return replace(request, path=verified.path)
    return request


def _without_framing(request: Request, trailers: Mapping[str, str], size_bytes: int) -> Request:
    """Return a request whose headers say of its body what they would without aws-chunked framing."""
    if not aws_chunked.is_chunked(request.headers):
        return request
    headers = {**request.headers, **trailers, "content-length": str(size_bytes)}
    encodings = [name.strip() for name in headers.pop("content-encoding", "").split(",")]
    left = ",".join(name for name in encodings if name and name != "aws-chunked")
    if left:
        headers["content-encoding"] = left
    return replace(request, headers=headers)


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

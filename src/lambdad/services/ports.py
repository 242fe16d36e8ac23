"""What every service is given and what it offers: the seam between `server` and the services, and between one service and another."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import msgspec

from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.wire.http import Request, Response


class CallContext(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, from where, and under which id. Made by the server for each request, or by a neighbour service.

    A struct, since one is made for each invocation: that takes a tenth of the time of a frozen dataclass.
    """

    account: AccountId
    region: Region
    request_id: RequestId
    principal_arn: str  # arn:aws:iam::000000000000:root in open mode
    trace_id: str = ""  # the caller's X-Amzn-Trace-Id
    endpoint: str = ""  # "http://127.0.0.1:4566": how this caller reaches us, for links in answers
    answer_headers: list[
        tuple[str, str]
    ] = []  # (not shared: msgspec copies it) of the answer, beside those of the model: for the handler to add
    origin: "Origin | None" = None  # set where a neighbour service calls, and no client
    source_ip: str = ""  # of the client's connection
    headers: Mapping[str, str] = {}  # (not shared) the request's, names in lower case: for what the service's model does not bind
    body: bytes = b""  # as it came, where it was read whole; for what is said of it in headers
    is_gone: Callable[[], bool] = bool  # says whether the caller has hung up, so that hardly anybody will read the answer


Handler: TypeAlias = Callable[[CallContext, dict[str, Any]], Awaitable[dict[str, Any]]]
"""An operation: the parsed and validated input, keyed as in the service model, to the output keyed likewise.

Blobs are `bytes`, timestamps `datetime`; members that are absent are not in the dict. It raises `model.errors.AwsError`.
"""


class IncomingBody(Protocol):
    """
    A large body as it arrives: where it is streamed, the member that is the payload is this and no bytes. Iterate it once, to its end.

    Args:
        size_bytes: how long it says it is.
        trailers: headers that came after it, names in lower case; there once the iteration has ended.
    """

    size_bytes: int
    trailers: Mapping[str, str]

    def __aiter__(self) -> AsyncIterator[bytes]:
        """
        Give its pieces, of some hundred KiB.

        Raises:
            AwsError: the body is not what its signature or its framing says; forget what was taken of it.
        """
        ...


FormProof: TypeAlias = Callable[[Mapping[str, str]], CallContext]
"""Given a form's fields, names in lower case, returns the context of whoever signed its policy; raises AwsError where nobody has."""


class WebHandler(Protocol):
    """How a service answers what is no operation of its API: browsers' preflights and forms, pages of a website."""

    async def __call__(self, context: CallContext, request: Request, body: IncomingBody | None, prove: FormProof) -> Response:
        """
        Answer a request that nobody has authenticated.

        Args:
            context: of somebody unknown.
            request: its path begins with the bucket, or whatever the host name named.
            body: what is streamed; None where the body is in the request.
            prove: finds out who has signed a form.

        Raises:
            AwsError: it is refused.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One AWS service: its name in botocore ("lambda", "logs") and its operations by their AWS names.

    Args:
        web: answers what is no operation, where the server says that a request is of that kind; None where there is nothing.
    """

    name: str
    handlers: Mapping[str, Handler]
    web: WebHandler | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """For whom a service calls another one: what the callee's resource policy is asked about.

    Args:
        account: of the resource that causes the call (aws:SourceAccount), and of what the call names without an account.
        region: where the call goes to.
        principal: the calling service, e.g. "s3.amazonaws.com"; "" where it acts as a role, on which no resource policy decides.
        source_arn: the resource that causes the call (aws:SourceArn), e.g. "arn:aws:s3:::bucket".
        trace_id: X-Amzn-Trace-Id to pass on.
    """

    account: AccountId
    region: Region
    principal: str = ""
    source_arn: str = ""
    trace_id: str = ""


class Neighbours(Protocol):
    """The other services, wherever they are: in this process, or at an endpoint that was configured."""

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """
        Call an operation of a service.

        Args:
            service: botocore's name of it.
            params: the input as `Handler` takes it; what it names by ARN or URL may belong to another account or region.

        Raises:
            AwsError: what the service answers; NotImplementedException where nothing here serves it, ServiceUnavailable where the
                endpoint cannot be reached.
        """
        ...

"""What every service is given and what it offers: the seam between `server` and the services, and between one service and another."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import msgspec

from lambdad.model.ids import AccountId, Region, RequestId


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


Handler: TypeAlias = Callable[[CallContext, dict[str, Any]], Awaitable[dict[str, Any]]]
"""An operation: the parsed and validated input, keyed as in the service model, to the output keyed likewise.

Blobs are `bytes`, timestamps `datetime`; members that are absent are not in the dict. It raises `model.errors.AwsError`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One AWS service: its name in botocore ("lambda", "logs") and its operations by their AWS names."""

    name: str
    handlers: Mapping[str, Handler]


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

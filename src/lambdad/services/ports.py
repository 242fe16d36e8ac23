"""What every service is given and what it offers: the seam between `server` and the services."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lambdad.model.ids import AccountId, Region, RequestId


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """Who calls, from where, and under which id. Made by the server for each request, or by a neighbour service."""

    account: AccountId
    region: Region
    request_id: RequestId
    principal_arn: str  # arn:aws:iam::000000000000:root in open mode
    trace_id: str = ""  # the caller's X-Amzn-Trace-Id
    endpoint: str = ""  # "http://127.0.0.1:4566": how this caller reaches us, for links in answers
    answer_headers: list[tuple[str, str]] = field(default_factory=list)  # of the answer, beside those of the model: for the handler to add


Handler: TypeAlias = Callable[[CallContext, dict[str, Any]], Awaitable[dict[str, Any]]]
"""An operation: the parsed and validated input, keyed as in the service model, to the output keyed likewise.

Blobs are `bytes`, timestamps `datetime`; members that are absent are not in the dict. It raises `model.errors.AwsError`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One AWS service: its name in botocore ("lambda", "logs") and its operations by their AWS names."""

    name: str
    handlers: Mapping[str, Handler]

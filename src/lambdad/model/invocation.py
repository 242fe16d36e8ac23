"""One invocation, as values: what is asked for and how it ended.

msgspec's structs, since these are made for each invocation: they take a tenth of the time of frozen dataclasses.
"""

import msgspec

from lambdad.model.function import FunctionVersion
from lambdad.model.ids import RequestId


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run, resolved: the version, and the caller's part.

    `payload` is opaque, 0..6,291,456 bytes. `client_context` is the decoded JSON, "" when there is none. `reserved_concurrency` is what
    the function may run at once outside of its provisioned environments; None when it runs in the account's unreserved pool.
    """

    request_id: RequestId
    version: FunctionVersion
    invoked_arn: str
    payload: bytes
    reserved_concurrency: int | None = None
    client_context: str = ""
    trace_id: str = ""
    want_tail: bool = False
    rate_limited: bool = True  # counts against the requests per second that go with concurrency


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an invocation that ran has ended.

    `function_error` is "" for success, else AWS's word ("Unhandled"); `payload` is then the error's JSON. `tail` holds the last
    4 KB of the invocation's log if they were wanted.
    """

    payload: bytes
    function_error: str
    error_type: str
    tail: bytes
    duration_ms: float
    billed_ms: int
    init_ms: float
    max_memory_mib: int


class InvocationRefused(Exception):
    """The invocation did not run, or nobody can say how it ended."""


class Throttled(InvocationRefused):
    """A limit of concurrency is reached; `reason` is AWS's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SystemFailure(InvocationRefused):
    """The platform failed the invocation: its worker died, or could not make an environment."""


class RestoreFailed(InvocationRefused):
    """An environment of a version with SnapStart could not be restored from its snapshot."""

    def __init__(self, reason: str, *, timed_out: bool) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


class RuntimeUnavailable(InvocationRefused):
    """No interpreter for the function's runtime is to be had on any worker."""

"""Invoke: resolve a name from memory, then run the function, queue the event, or only check.

Source: Lambda API Reference, Invoke and InvokeAsync.
"""

import base64
import random
from collections.abc import Mapping
from typing import Any, Protocol

from lambdad.kit.clock import NowMs
from lambdad.model import arn, limits
from lambdad.model.errors import AwsError
from lambdad.model.function import LATEST, FunctionKey, InvocationType, LogType
from lambdad.model.ids import RequestId
from lambdad.model.invocation import Invocation, Outcome, RestoreFailed, RuntimeUnavailable, SystemFailure, Throttled
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.registry import Registry, Target
from lambdad.services.lambda_.rules import access, event_invoke, names, payloads
from lambdad.services.lambda_.rules.names import Named
from lambdad.services.ports import CallContext, Handler, Origin

INVOKE_ASYNC_BYTES = 262_144


class Runner(Protocol):
    """Runs an invocation; the data plane."""

    async def invoke(self, invocation: Invocation, unreserved_limit: int) -> Outcome: ...


class Queue(Protocol):
    """Takes events that are run later."""

    async def accept(self, key: FunctionKey, qualifier: str | None, payload: bytes, request_id: RequestId, trace_id: str) -> None:
        """Return once the event is durable."""
        ...


class Invoker:
    """The ways to invoke a function by the API, and the one by which queued events are run."""

    def __init__(self, registry: Registry, runner: Runner, concurrency_limit: int, now_ms: NowMs) -> None:
        self._registry = registry
        self._runner = runner
        self._concurrency_limit = concurrency_limit
        self._now_ms = now_ms

    async def run(
        self,
        target: Target,
        payload: bytes,
        request_id: RequestId,
        *,
        client_context: str = "",
        trace_id: str = "",
        want_tail: bool = False,
        rate_limited: bool = True,
    ) -> Outcome:
        """
        Run a resolved function.

        Args:
            rate_limited: whether AWS's limit of requests per second applies; not so for queued events.

        Raises:
            InvocationRefused: it did not run, or nobody can say how it ended.
        """
        version = target.version
        invocation = Invocation(
            request_id=request_id,
            version=version,
            invoked_arn=target.invoked_arn,
            payload=payload,
            reserved_concurrency=target.on_demand_concurrency,
            rate_limited=rate_limited,
            client_context=client_context,
            trace_id=trace_id,
            want_tail=want_tail,
        )
        unreserved_limit = self._concurrency_limit - self._registry.claimed(version.account, version.region)
        return await self._runner.invoke(invocation, unreserved_limit)

    def resolve(self, key: FunctionKey, qualifier: str | None) -> Target:
        """Find what an invocation of a name runs; picks by an alias's weights. Raises what `Registry.resolve` raises."""
        return self._registry.resolve(key.account, key.region, key.name, qualifier, random.random())

    def settings(self, key: FunctionKey, qualifier: str | None) -> event_invoke.Settings:
        """Say how events are retried, and who hears of their ends; defaults for a function that is gone."""
        function = self._registry.find(key)
        return event_invoke.settings(function, qualifier) if function is not None else event_invoke.Settings()

    def require_permission(self, name: Named, origin: Origin) -> None:
        """
        Ask the resource policies of what is to be invoked whether a service may invoke it.

        A version's or alias's own policy decides, and the function's, where that names qualified ARNs too.

        Raises:
            ResourceNotFound: there is no such function.
            AccessDenied: no policy lets it in, or one keeps it out.
        """
        function = self._registry.find(name.key)
        if function is None:
            raise errors.function_not_found(arn.function(*name.key, name.qualifier or LATEST))
        policies = function.policies
        values = {
            "aws:sourceaccount": str(origin.account),
            "aws:principalservicename": origin.principal,
            "aws:principalisawsservice": "true",
        }
        if origin.source_arn:
            values["aws:sourcearn"] = origin.source_arn
        request = {"principal": origin.principal, "action": access.INVOKE_FUNCTION, "resource": name.qualified_arn}
        documents = [policies[key] for key in dict.fromkeys((name.qualifier or "", "")) if key in policies]
        verdict = access.evaluate(documents, **request, values=values)
        if verdict is not access.Verdict.ALLOWED:
            raise errors.AccessDenied(access.refusal(verdict, **request))

    def new_trace_id(self) -> str:
        """Return a trace header for an invocation that came without one; it is not sampled."""
        drawn = f"{random.getrandbits(160):040x}"  # to be told apart, not to be secret
        return f"Root=1-{self._now_ms() // 1000:08x}-{drawn[:24]};Parent={drawn[24:]};Sampled=0"


class Invocations:
    """The operations Invoke and InvokeAsync."""

    def __init__(self, invoker: Invoker, queue: Queue) -> None:
        self._invoker = invoker
        self._queue = queue

    def handlers(self) -> Mapping[str, Handler]:
        """Give the operations by their AWS names."""
        return {"Invoke": self.invoke, "InvokeAsync": self.invoke_async}

    async def invoke(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """
        Run a function and wait for its answer, queue an event for it, or only check that it could be invoked.

        Raises:
            AwsError: ResourceNotFound, AccessDenied, ResourceConflict (not Active), InvalidRequestContent, RequestTooLarge,
                TooManyRequests with its reason, InvalidRuntime, SnapStartFailed, SnapStartTimeout, Service.
        """
        named = self._named(context, request)
        target = self._invoker.resolve(named.key, named.qualifier)
        invocation_type = request.get("InvocationType", InvocationType.REQUEST_RESPONSE)
        is_event = invocation_type == InvocationType.EVENT
        limit_bytes = limits.ASYNC_PAYLOAD_BYTES if is_event else limits.SYNC_PAYLOAD_BYTES
        payload = payloads.event(request.get("Payload", b""), limit_bytes)
        if invocation_type == InvocationType.DRY_RUN:
            return {"StatusCode": 204}
        trace_id = context.trace_id or self._invoker.new_trace_id()
        context.answer_headers.append(("X-Amzn-Trace-Id", trace_id))
        if is_event:
            await self._queue.accept(named.key, named.qualifier, payload, context.request_id, trace_id)
            return {"StatusCode": 202}
        want_tail = request.get("LogType") == LogType.TAIL
        client_context = payloads.client_context(request.get("ClientContext"))
        try:
            outcome = await self._invoker.run(
                target, payload, context.request_id, client_context=client_context, trace_id=trace_id, want_tail=want_tail
            )
        except Throttled as refused:
            raise too_many_requests(refused.reason) from refused
        except RestoreFailed as refused:
            raise (errors.SnapStartTimeout() if refused.timed_out else errors.SnapStartFailed()) from refused
        except RuntimeUnavailable as refused:
            raise AwsError("InvalidRuntimeException", str(refused), status=502, members={"Type": "User"}) from refused
        except SystemFailure as refused:
            raise AwsError("ServiceException", str(refused), status=500, members={"Type": "Service"}) from refused
        answer: dict[str, Any] = {"StatusCode": 200, "Payload": outcome.payload, "ExecutedVersion": target.version.version}
        if outcome.function_error:
            answer["FunctionError"] = outcome.function_error
        if want_tail:
            answer["LogResult"] = base64.b64encode(outcome.tail).decode()
        return answer

    async def invoke_async(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Queue an event, by the older operation that AWS keeps for its earliest users."""
        named = self._named(context, request)
        self._invoker.resolve(named.key, named.qualifier)
        payload = payloads.event(request.get("InvokeArgs", b""), INVOKE_ASYNC_BYTES)
        await self._queue.accept(named.key, named.qualifier, payload, context.request_id, self._invoker.new_trace_id())
        return {"Status": 202}

    def _named(self, context: CallContext, request: dict[str, Any]) -> Named:
        """Say what is to be invoked, and that a service that calls may do so."""
        origin = context.origin
        if origin is None or not origin.principal:
            return names.named(context.account, context.region, request["FunctionName"], request.get("Qualifier"))
        name = names.named_by_service(context.account, context.region, request["FunctionName"], request.get("Qualifier"))
        self._invoker.require_permission(name, origin)
        return name


def too_many_requests(reason: str) -> AwsError:
    """Say that a limit is reached; `reason` is the `Reason` member."""
    members = {"Type": "User", "Reason": reason, "retryAfterSeconds": "1"}
    return AwsError("TooManyRequestsException", "Rate Exceeded.", status=429, members=members)

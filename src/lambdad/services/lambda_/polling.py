"""Event source mappings at work: each enabled mapping has a poller, which is halted while its function cannot be invoked."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

from lambdad.machines.record_filters import Filters
from lambdad.model import limits
from lambdad.model.errors import AwsError
from lambdad.model.function import Function, FunctionKey
from lambdad.model.ids import RequestId
from lambdad.model.invocation import InvocationRefused, Outcome
from lambdad.pollers import ports
from lambdad.pollers.fleet import Fleet
from lambdad.pollers.plans import Plan
from lambdad.services.lambda_.registry import Registry, Target
from lambdad.services.lambda_.rules import event_source_mappings as rules
from lambdad.services.lambda_.rules.event_source_mappings import EventSourceMapping
from lambdad.services.lambda_.sqs_queues import SqsQueue
from lambdad.services.ports import Neighbours, Origin


class Invoker(Protocol):
    """Resolves and runs functions."""

    def resolve(self, key: FunctionKey, qualifier: str | None) -> Target: ...

    async def run(
        self, target: Target, payload: bytes, request_id: RequestId, *, trace_id: str = "", rate_limited: bool = True
    ) -> Outcome: ...

    def new_trace_id(self) -> str: ...


class FunctionRunner:
    """One function as a mapping names it: resolved anew for each batch, so that an alias means what it means then."""

    def __init__(self, invoker: Invoker, key: FunctionKey, qualifier: str | None, new_uuid: Callable[[], str]) -> None:
        self._invoker = invoker
        self._key = key
        self._qualifier = qualifier
        self._new_uuid = new_uuid

    async def run(self, payload: bytes) -> ports.Result:
        if len(payload) > limits.SYNC_PAYLOAD_BYTES:
            return ports.FunctionFailed()  # a single message: no batch is made so large
        try:
            target = self._invoker.resolve(self._key, self._qualifier)
            outcome = await self._invoker.run(
                target, payload, RequestId(self._new_uuid()), trace_id=self._invoker.new_trace_id(), rate_limited=False
            )
        except (AwsError, InvocationRefused) as refused:
            return ports.NotRun(str(refused))
        return ports.FunctionFailed() if outcome.function_error else ports.Answered(outcome.payload)


class Polling:
    """Keeps the pollers in step with mappings and functions. Subscribe it to the registry's changes."""

    def __init__(self, registry: Registry, invoker: Invoker, neighbours: Neighbours, fleet: Fleet, new_uuid: Callable[[], str]) -> None:
        self._registry = registry
        self._invoker = invoker
        self._neighbours = neighbours
        self._fleet = fleet
        self._new_uuid = new_uuid
        self._mappings: dict[str, EventSourceMapping] = {}
        self._by_function: defaultdict[FunctionKey, set[str]] = defaultdict(set)

    def __call__(self, key: FunctionKey, old: Function | None, new: Function | None) -> None:
        for uuid in self._by_function.get(key, ()):
            self._put(self._mappings[uuid])

    def queue(self, mapping: EventSourceMapping) -> SqsQueue:
        """Give the queue of a mapping."""
        reference = rules.queue(mapping.queue_arn)
        assert reference is not None
        return SqsQueue(self._neighbours, Origin(account=mapping.account, region=reference.region), reference)

    def start(self, mapping: EventSourceMapping) -> None:
        """Have a mapping worked off, or go on as it says now."""
        self._drop(mapping.uuid)
        self._mappings[mapping.uuid] = mapping
        self._by_function[mapping.function_key].add(mapping.uuid)
        self._put(mapping)

    async def stop(self, uuid: str) -> None:
        """Have a mapping worked off no longer; return when its last invocation has ended."""
        self._drop(uuid)
        await self._fleet.remove(uuid)

    def problem(self, uuid: str) -> str:
        """Say why a mapping is not worked off at present; "" where it is, or is not enabled."""
        return self._fleet.problem(uuid)

    def start_all(self, mappings: Iterable[EventSourceMapping]) -> None:
        for mapping in mappings:
            self.start(mapping)

    def _drop(self, uuid: str) -> None:
        known = self._mappings.pop(uuid, None)
        if known is None:
            return
        others = self._by_function[known.function_key]
        others.discard(uuid)
        if not others:
            del self._by_function[known.function_key]

    def _put(self, mapping: EventSourceMapping) -> None:
        key, qualifier = rules.target(mapping)
        halted, timeout_s = self._function(key, qualifier)
        plan = Plan(
            id=mapping.uuid,
            queue_arn=mapping.queue_arn,
            region=mapping.region,
            is_fifo=mapping.is_fifo,
            batch_size=mapping.batch_size,
            window_s=mapping.window_s,
            function_timeout_s=timeout_s,
            filters=Filters(mapping.filters),
            reports_failures=mapping.reports_failures,
            maximum_concurrency=mapping.maximum_concurrency,
            pollers=mapping.pollers,
        )
        runner = FunctionRunner(self._invoker, key, qualifier, self._new_uuid)
        self._fleet.put(plan, self.queue(mapping), runner, halted)

    def _function(self, key: FunctionKey, qualifier: str | None) -> tuple[str, int]:
        """Say why a function cannot be invoked, "" where it can, and its timeout."""
        try:
            target = self._invoker.resolve(key, qualifier)
        except AwsError as error:
            return error.message or error.code, limits.TIMEOUT_DEFAULT_S
        # AWS throttles such a function, and its messages end in the dead-letter queue; here they stay where they are.
        halted = "The function's reserved concurrency is 0." if target.reserved_concurrency == 0 else ""
        return halted, target.version.timeout_s

"""Event source mappings from SQS queues: what may be asked for, and how it is shown.

    Creating ──► Enabled ──► Disabling ──► Disabled ──► Enabling ──► Enabled        (Updating ──► Enabled or Disabled; Deleting ──► gone)

Source: Lambda API Reference, CreateEventSourceMapping and UpdateEventSourceMapping; texts and which member is shown when were recorded,
except those that are marked.
"""

from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

from lambdad.machines.event_patterns import InvalidPattern
from lambdad.machines.record_filters import Filters
from lambdad.model import arn, limits
from lambdad.model.function import FunctionKey
from lambdad.model.ids import AccountId, Region
from lambdad.services.lambda_ import errors

Request: TypeAlias = AnyMapping[str, Any]

BATCH_DEFAULT = 10
BATCH_WITHOUT_WINDOW = 10  # more needs a window; a FIFO queue never gives more
FILTERS_MAX = 10
POLLERS_MIN = (2, 200)
POLLERS_MAX = (2, 10_000)
POLLERS_DEFAULT = (2, 200)
USER_INITIATED = "USER_INITIATED"

_SOURCES = frozenset(("kinesis", "dynamodb", "kafka", "mq", "rds"))  # AWS's, with pollers of their own; rds stands for DocumentDB
_FOR_OTHERS = (
    *(
        "ParallelizationFactor",
        "BisectBatchOnFunctionError",
        "MaximumRecordAgeInSeconds",
        "MaximumRetryAttempts",
        "TumblingWindowInSeconds",
    ),
    *("Topics", "Queues", "SourceAccessConfigurations", "SelfManagedEventSource", "AmazonManagedKafkaEventSourceConfig"),
    *("SelfManagedKafkaEventSourceConfig", "DocumentDBEventSourceConfig", "LoggingConfig"),
)


class State(StrEnum):
    """Where a mapping stands."""

    CREATING = "Creating"
    ENABLING = "Enabling"
    ENABLED = "Enabled"
    DISABLING = "Disabling"
    DISABLED = "Disabled"
    UPDATING = "Updating"
    DELETING = "Deleting"


SETTLED = frozenset((State.ENABLED, State.DISABLED))
_IN_USE = frozenset((State.CREATING, State.UPDATING, State.DELETING))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSourceMapping:
    """One mapping; stored as the JSON of this, so a field that is added later must have a default."""

    uuid: str
    account: AccountId
    region: Region
    function_name: str
    qualifier: str | None = None  # as it was given
    queue_arn: str
    batch_size: int = BATCH_DEFAULT
    window_s: int = 0
    filters: tuple[str, ...] = ()
    reports_failures: bool = False
    maximum_concurrency: int | None = None
    pollers: tuple[int, int] | None = None  # provisioned ones, at least and at most
    metrics: tuple[str, ...] | None = None
    tags: AnyMapping[str, str] = field(default_factory=dict)
    is_enabled: bool = True
    state: State = State.CREATING
    last_modified_at_ms: int = 0

    @property
    def function_key(self) -> FunctionKey:
        return FunctionKey(self.account, self.region, self.function_name)

    @property
    def function_arn(self) -> str:
        """The function as it was named: with its qualifier, if one was given."""
        return arn.function(*self.function_key, self.qualifier)

    @property
    def arn(self) -> str:
        return mapping_arn(self.account, self.region, self.uuid)

    @property
    def is_fifo(self) -> bool:
        return self.queue_arn.endswith(".fifo")


@dataclass(frozen=True, slots=True)
class QueueReference:
    """The parts of a queue's ARN."""

    account: AccountId
    region: Region
    name: str


def mapping_arn(account: str, region: str, uuid: str) -> str:
    return f"arn:{arn.partition(region)}:lambda:{region}:{account}:event-source-mapping:{uuid}"


def queue(queue_arn: str) -> QueueReference | None:
    """Take a queue's ARN apart; None where it is none."""
    parts = queue_arn.split(":")
    if len(parts) != 6 or parts[2] != "sqs" or not all(parts[3:]):
        return None
    return QueueReference(AccountId(parts[4]), Region(parts[3]), parts[5])


def kept_qualifier(qualifier: str | None, given: str) -> str | None:
    """Give the qualifier that a mapping keeps of a function's name: AWS drops ``$LATEST`` from a whole ARN, and from nothing else."""
    return None if qualifier == arn.LATEST and given.startswith("arn:") else qualifier


# --- what may be asked for


def create(
    request: Request, uuid: str, account: AccountId, region: Region, function: tuple[str, str | None], now_ms: int
) -> EventSourceMapping:
    """
    Make a new mapping.

    Args:
        function: the name, and the qualifier to keep.

    Raises:
        InvalidParameterValue: AWS would not have it, or it is for another kind of source.
    """
    queue_arn = _source(request, region)
    is_enabled = request.get("Enabled", True)
    tags = dict(request.get("Tags") or {})
    if len(tags) > limits.TAGS_PER_RESOURCE:
        raise errors.InvalidParameterValue("Number of tags exceeds resource tag limit.")
    mapping = EventSourceMapping(
        uuid=uuid,
        account=account,
        region=region,
        function_name=function[0],
        qualifier=function[1],
        queue_arn=queue_arn,
        tags=tags,
        is_enabled=is_enabled,
        state=State.CREATING if is_enabled else State.DISABLED,
        last_modified_at_ms=now_ms,
    )
    return _configured(mapping, request)


def update(mapping: EventSourceMapping, request: Request, function: tuple[str, str | None] | None, now_ms: int) -> EventSourceMapping:
    """
    Change a mapping.

    Args:
        function: None where the request does not name one.

    Raises:
        InvalidParameterValue: AWS would not have it, or it is for another kind of source.
        ResourceInUse: it is on its way to another state.
    """
    require_settled(mapping, "update")
    is_enabled = request.get("Enabled", mapping.is_enabled)
    state = State.UPDATING
    if is_enabled != mapping.is_enabled:
        state = State.ENABLING if is_enabled else State.DISABLING
    if function is not None:
        mapping = replace(mapping, function_name=function[0], qualifier=function[1])
    return replace(_configured(mapping, request), is_enabled=is_enabled, state=state, last_modified_at_ms=now_ms)


def delete(mapping: EventSourceMapping, now_ms: int) -> EventSourceMapping:
    """Give the state of a mapping that is being deleted. Raises ResourceInUse as `update` does."""
    require_settled(mapping, "delete")
    return replace(mapping, is_enabled=False, state=State.DELETING, last_modified_at_ms=now_ms)


def settled(mapping: EventSourceMapping) -> EventSourceMapping:
    """Give the state that a mapping has come to."""
    return replace(mapping, state=State.ENABLED if mapping.is_enabled else State.DISABLED)


def require_settled(mapping: EventSourceMapping, verb: str) -> None:
    """
    Refuse a change while another one is carried out.

    Raises:
        ResourceInUse
    """
    if mapping.state in _IN_USE:
        raise errors.ResourceInUse(f"Cannot {verb} the event source mapping because it is in use.")


def require_time(visibility_timeout_s: int, function_timeout_s: int) -> None:
    """
    Refuse a queue that shows messages again while the function still works on them.

    Raises:
        InvalidParameterValue
    """
    if visibility_timeout_s < function_timeout_s:
        raise errors.InvalidParameterValue(
            f"Queue visibility timeout: {visibility_timeout_s} seconds is less than Function timeout: {function_timeout_s} seconds"
        )


def conflict(mapping: EventSourceMapping) -> errors.ResourceConflict:
    """Say that a queue is mapped to a function already."""
    return errors.ResourceConflict(
        f'An event source mapping with SQS arn (" {mapping.queue_arn} ") and function (" {mapping.function_name} ") already exists. '
        f"Please update or delete the existing mapping with UUID {mapping.uuid}"
    )


def are_alike(one: EventSourceMapping, other: EventSourceMapping) -> bool:
    """Say whether two mappings join the same queue with the same function."""
    return one.queue_arn == other.queue_arn and target(one) == target(other)


def target(mapping: EventSourceMapping) -> tuple[FunctionKey, str | None]:
    """Give what a mapping invokes; ``$LATEST`` is what no qualifier means."""
    return mapping.function_key, None if mapping.qualifier == arn.LATEST else mapping.qualifier


def _source(request: Request, region: Region) -> str:
    queue_arn: str = request.get("EventSourceArn") or ""
    if request.get("SelfManagedEventSource") and not queue_arn:
        raise errors.unsupported("An event source other than SQS")
    if queue(queue_arn) is None:
        if len(queue_arn.split(":", 3)) > 3 and queue_arn.split(":")[2] in _SOURCES:
            raise errors.unsupported("An event source other than SQS")
        raise errors.InvalidParameterValue("Unrecognized event source.")
    reference = queue(queue_arn)
    assert reference is not None
    if reference.region != region:
        raise errors.InvalidParameterValue(f"The queue and the function must be in the same region ('{region}').")  # unrecorded
    return queue_arn


def _configured(mapping: EventSourceMapping, request: Request) -> EventSourceMapping:
    """Take over what a request says about how a queue is worked off, and check what comes of it."""
    _refuse_others(mapping, request)
    mapping = replace(
        mapping,
        batch_size=request.get("BatchSize", mapping.batch_size),
        window_s=request.get("MaximumBatchingWindowInSeconds", mapping.window_s),
        filters=_filters(mapping, request),
        reports_failures=bool(request["FunctionResponseTypes"]) if "FunctionResponseTypes" in request else mapping.reports_failures,
        maximum_concurrency=(
            request["ScalingConfig"].get("MaximumConcurrency") if "ScalingConfig" in request else mapping.maximum_concurrency
        ),
        pollers=_pollers(request["ProvisionedPollerConfig"]) if "ProvisionedPollerConfig" in request else mapping.pollers,
        metrics=_metrics(request["MetricsConfig"]) if "MetricsConfig" in request else mapping.metrics,
    )
    _check_batch(mapping)
    if mapping.maximum_concurrency is not None and mapping.pollers is not None:
        raise errors.InvalidParameterValue("MaximumConcurrency and ProvisionedPollerConfig cannot both be set.")  # unrecorded
    return mapping


def _refuse_others(mapping: EventSourceMapping, request: Request) -> None:
    if request.get("StartingPosition") or request.get("StartingPositionTimestamp"):
        raise errors.InvalidParameterValue(f"Unsupported starting position for arn type: {mapping.queue_arn}")
    for name in ("DestinationConfig", *_FOR_OTHERS):
        if name in request and request[name] not in ({}, [], None):
            raise errors.InvalidParameterValue(f"Unsupported {name} parameter for given event source mapping type.")
    if request.get("KMSKeyArn"):
        raise errors.unsupported("KMSKeyArn of an event source mapping")


def _check_batch(mapping: EventSourceMapping) -> None:
    if mapping.is_fifo:
        if mapping.window_s:
            raise errors.InvalidParameterValue("Batching window is not supported for FIFO queues")
        if mapping.batch_size > BATCH_WITHOUT_WINDOW:
            raise errors.InvalidParameterValue(  # unrecorded
                f"1 validation error detected: Value '{mapping.batch_size}' at 'batchSize' failed to satisfy constraint: "
                f"Member must have value less than or equal to {BATCH_WITHOUT_WINDOW}"
            )
    elif mapping.batch_size > BATCH_WITHOUT_WINDOW and not mapping.window_s:
        raise errors.InvalidParameterValue(
            f"Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than {BATCH_WITHOUT_WINDOW}"
        )


def _filters(mapping: EventSourceMapping, request: Request) -> tuple[str, ...]:
    if "FilterCriteria" not in request:
        return mapping.filters
    given = request["FilterCriteria"].get("Filters") or []
    if len(given) > FILTERS_MAX:
        raise errors.InvalidParameterValue(f"The number of filters exceeds the limit of {FILTERS_MAX}.")  # unrecorded
    patterns = tuple(each.get("Pattern", "") for each in given)
    try:
        Filters(patterns)
    except InvalidPattern:
        raise errors.InvalidParameterValue("Invalid filter pattern definition.") from None
    return patterns


def _pollers(config: Request) -> tuple[int, int] | None:
    if not config:
        return None
    if config.get("PollerGroupName"):
        raise errors.InvalidParameterValue("Unsupported PollerGroupName parameter for given event source mapping type.")
    least = config.get("MinimumPollers", min(POLLERS_DEFAULT[0], config.get("MaximumPollers", POLLERS_DEFAULT[0])))
    most = config.get("MaximumPollers", max(POLLERS_DEFAULT[1], least))
    for name, value, (low, high) in (("MinimumPollers", least, POLLERS_MIN), ("MaximumPollers", most, POLLERS_MAX)):
        if not low <= value <= high:
            raise errors.InvalidParameterValue(f"{name} must be between {low} and {high} for SQS event sources.")  # unrecorded
    if least > most:
        raise errors.InvalidParameterValue("MinimumPollers must be less than or equal to MaximumPollers.")  # unrecorded
    return least, most


def _metrics(config: Request) -> tuple[str, ...] | None:
    metrics = tuple(config.get("Metrics") or ())
    if any(metric != "EventCount" for metric in metrics):
        raise errors.InvalidParameterValue("Unsupported MetricsConfig parameter for given event source mapping type.")
    return metrics or None


# --- how it is shown


def shown(mapping: EventSourceMapping, problem: str = "") -> dict[str, Any]:
    """
    Show a mapping.

    Args:
        problem: why it is not worked off at present; "" where it is.
    """
    output: dict[str, Any] = {
        "UUID": mapping.uuid,
        "BatchSize": mapping.batch_size,
        "MaximumBatchingWindowInSeconds": mapping.window_s,
        "EventSourceArn": mapping.queue_arn,
        "EventSourceMappingArn": mapping.arn,
        "FunctionArn": mapping.function_arn,
        "FunctionResponseTypes": ["ReportBatchItemFailures"] if mapping.reports_failures else [],
        "LastModified": datetime.fromtimestamp(mapping.last_modified_at_ms / 1000, tz=UTC),
        "State": mapping.state.value,
        "StateTransitionReason": problem or USER_INITIATED,
    }
    if mapping.filters:
        output["FilterCriteria"] = {"Filters": [{"Pattern": pattern} for pattern in mapping.filters]}
    if mapping.maximum_concurrency is not None:
        output["ScalingConfig"] = {"MaximumConcurrency": mapping.maximum_concurrency}
    if mapping.pollers is not None:
        output["ProvisionedPollerConfig"] = {"MinimumPollers": mapping.pollers[0], "MaximumPollers": mapping.pollers[1]}
    if mapping.metrics is not None:
        output["MetricsConfig"] = {"Metrics": list(mapping.metrics)}
    return output

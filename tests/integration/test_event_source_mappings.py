"""Event source mappings: the handlers on both databases, with SQS in memory and a function that does as the test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from fake_sqs import FakeSqs
from lambda_house import CONTEXT, FUNCTION_ARN, NOW_MS, House, NaiveCode, new_uuid, open_house, refused

from lambdad.model.errors import AwsError
from lambdad.model.function import FunctionKey
from lambdad.model.ids import RequestId
from lambdad.model.invocation import Outcome
from lambdad.pollers.fleet import Fleet
from lambdad.services.lambda_.event_source_mappings import EventSourceMappings
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.polling import Polling
from lambdad.services.lambda_.registry import Target
from lambdad.services.lambda_.tags import Tags

INVALID, MISSING, CONFLICT = "InvalidParameterValueException", "ResourceNotFoundException", "ResourceConflictException"
IN_USE = "ResourceInUseException"
CREATE, GET, LIST = "CreateEventSourceMapping", "GetEventSourceMapping", "ListEventSourceMappings"
UPDATE, DELETE = "UpdateEventSourceMapping", "DeleteEventSourceMapping"
QUEUE_ARN = "arn:aws:sqs:us-east-1:000000000000:q"
UNKNOWN = "00000000-0000-4000-8000-ffffffffffff"
GONE = "The resource you requested does not exist."


class Invoker:
    """Runs nothing, and answers what the test says."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.invoked: list[tuple[str, list[str]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.ran = asyncio.Event()

    def resolve(self, key: FunctionKey, qualifier: str | None) -> Target:
        return self.house.registry.resolve(key.account, key.region, key.name, qualifier, 0.5)

    async def run(self, target: Target, payload: bytes, request_id: RequestId, *, trace_id: str = "", rate_limited: bool = True) -> Outcome:
        self.invoked.append((target.invoked_arn, [record["body"] for record in orjson.loads(payload)["Records"]]))
        self.ran.set()
        await self.gate.wait()
        return Outcome(
            payload=b"null", function_error="", error_type="", tail=b"", duration_ms=1.0, billed_ms=1, init_ms=0.0, max_memory_mib=1
        )

    def new_trace_id(self) -> str:
        return "Root=1-0-0"


class Scene:
    """A house with mappings."""

    def __init__(self, house: House, sqs: FakeSqs, mappings: EventSourceMappings, invoker: Invoker) -> None:
        self.house = house
        self.sqs = sqs
        self.mappings = mappings
        self.invoker = invoker

    async def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return await self.house.call(operation, **request)

    async def create(self, **request: Any) -> dict[str, Any]:
        return await self.call(CREATE, **{"FunctionName": "f", "EventSourceArn": QUEUE_ARN, **request})

    async def settled(self, uuid: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (shown := await self.call(GET, UUID=uuid))["State"] not in ("Enabled", "Disabled"):
                await asyncio.sleep(0.001)
        return shown

    async def gone(self, uuid: str) -> None:
        async with asyncio.timeout(10):
            with contextlib.suppress(AwsError):
                while True:
                    await self.call(GET, UUID=uuid)
                    await asyncio.sleep(0.001)

    async def until_run(self) -> tuple[str, list[str]]:
        async with asyncio.timeout(10):
            await self.invoker.ran.wait()
        self.invoker.ran.clear()
        return self.invoker.invoked[-1]


@contextlib.asynccontextmanager
async def opened(url: str, sqs: FakeSqs) -> AsyncIterator[Scene]:
    async with open_house(url, NaiveCode()) as house, asyncio.TaskGroup() as tasks:
        invoker, fleet = Invoker(house), Fleet(lambda: 0.5)
        running = tasks.create_task(fleet.run())
        polling = Polling(house.registry, invoker, sqs, fleet, new_uuid)
        house.registry.on_change(polling)
        world = World(now_ms=lambda: NOW_MS, new_uuid=new_uuid)
        spawned = asyncio.TaskGroup()
        async with spawned:
            mappings = EventSourceMappings(house.database, house.registry, polling, world, spawned.create_task)
            await mappings.load()
            house.handlers = {**house.handlers, **mappings.handlers(), **Tags(house.registry, world, mappings).handlers()}
            yield Scene(house, sqs, mappings, invoker)
            fleet.begin_to_close(5)
            await fleet.close()
        running.cancel()


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    sqs = FakeSqs()
    sqs.create()
    async with opened(database_url, sqs) as made:
        await made.house.create_settled(Publish=True)
        await made.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        yield made


async def test_a_mapping_from_its_creation_to_its_end(scene: Scene) -> None:
    """A mapping is shown as AWS shows one, works its queue off, and is gone after its deletion."""
    created = await scene.create()
    uuid = created["UUID"]
    assert created == {
        "UUID": uuid,
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "EventSourceArn": QUEUE_ARN,
        "EventSourceMappingArn": f"arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{uuid}",
        "FunctionArn": FUNCTION_ARN,
        "FunctionResponseTypes": [],
        "LastModified": datetime.fromtimestamp(NOW_MS / 1000, tz=UTC),
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
    }
    assert await scene.settled(uuid) == {**created, "State": "Enabled"}
    scene.sqs.send(scene.sqs.queues["q"], "a")
    assert await scene.until_run() == (FUNCTION_ARN, ["a"])
    assert (await scene.call(DELETE, UUID=uuid))["State"] == "Deleting"
    await scene.gone(uuid)
    await refused(scene.call(GET, UUID=uuid), MISSING, GONE)
    assert (await scene.call(LIST))["EventSourceMappings"] == []


async def test_everything_that_can_be_said(scene: Scene) -> None:
    """What is configured is shown again, by the mapping and in lists."""
    request = {
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 5,
        "FilterCriteria": {"Filters": [{"Pattern": '{"body":{"a":[1]}}'}]},
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": 7},
        "MetricsConfig": {"Metrics": ["EventCount"]},
    }
    created = await scene.create(**request, Enabled=False)
    assert created["State"] == "Disabled"
    assert {name: created[name] for name in request} == request
    assert (await scene.call(LIST))["EventSourceMappings"] == [created]
    cleared = {"FilterCriteria": {}, "ScalingConfig": {}, "MetricsConfig": {}, "FunctionResponseTypes": []}
    updated = await scene.call(UPDATE, UUID=created["UUID"], **cleared, ProvisionedPollerConfig={"MaximumPollers": 300})
    assert updated["State"] == "Updating"
    settled = await scene.settled(created["UUID"])
    assert settled["State"] == "Disabled"
    assert settled["FunctionResponseTypes"] == []
    assert settled["ProvisionedPollerConfig"] == {"MinimumPollers": 2, "MaximumPollers": 300}
    assert settled.keys().isdisjoint(("FilterCriteria", "ScalingConfig", "MetricsConfig"))


async def test_disabling_finishes_what_runs(scene: Scene) -> None:
    """A mapping is Disabling until its last batch has ended, and Enabling starts it again."""
    uuid = (await scene.create())["UUID"]
    await scene.settled(uuid)
    scene.invoker.gate.clear()
    scene.sqs.send(scene.sqs.queues["q"], "a")
    await scene.until_run()
    assert (await scene.call(UPDATE, UUID=uuid, Enabled=False))["State"] == "Disabling"
    await asyncio.sleep(0)
    assert (await scene.call(GET, UUID=uuid))["State"] == "Disabling"
    scene.invoker.gate.set()
    assert (await scene.settled(uuid))["State"] == "Disabled"
    assert scene.sqs.queues["q"].messages == []
    assert (await scene.call(UPDATE, UUID=uuid, Enabled=True))["State"] == "Enabling"
    assert (await scene.settled(uuid))["State"] == "Enabled"
    scene.sqs.send(scene.sqs.queues["q"], "b")
    assert (await scene.until_run())[1] == ["b"]


async def test_a_mapping_in_use_is_not_changed(scene: Scene) -> None:
    """While a deletion waits for a batch, nothing else can be done with the mapping."""
    uuid = (await scene.create())["UUID"]
    await scene.settled(uuid)
    scene.invoker.gate.clear()
    scene.sqs.send(scene.sqs.queues["q"], "a")
    await scene.until_run()
    await scene.call(DELETE, UUID=uuid)
    await refused(scene.call(UPDATE, UUID=uuid, BatchSize=1), IN_USE, "Cannot update the event source mapping because it is in use.")
    await refused(scene.call(DELETE, UUID=uuid), IN_USE, "Cannot delete the event source mapping because it is in use.")
    scene.invoker.gate.set()
    await scene.gone(uuid)


@pytest.mark.parametrize(
    ("named", "shown"),
    [
        ("f", FUNCTION_ARN),
        (FUNCTION_ARN, FUNCTION_ARN),
        ("f:$LATEST", f"{FUNCTION_ARN}:$LATEST"),
        (f"{FUNCTION_ARN}:$LATEST", FUNCTION_ARN),
        ("f:live", f"{FUNCTION_ARN}:live"),
        (f"{FUNCTION_ARN}:1", f"{FUNCTION_ARN}:1"),
        ("000000000000:function:f:live", f"{FUNCTION_ARN}:live"),
    ],
)
async def test_a_function_is_shown_as_it_was_named(scene: Scene, named: str, shown: str) -> None:
    """The qualifier that was given is kept, shown and invoked, but for $LATEST of a whole ARN."""
    created = await scene.create(FunctionName=named)
    assert created["FunctionArn"] == shown
    scene.sqs.send(scene.sqs.queues["q"], "a")
    invoked, _ = await scene.until_run()
    assert invoked.removesuffix(":$LATEST") == shown.removesuffix(":$LATEST")
    assert [each["UUID"] for each in (await scene.call(LIST, FunctionName=named))["EventSourceMappings"]] == [created["UUID"]]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"EventSourceArn": ""}, "Unrecognized event source."),
        ({"EventSourceArn": "arn:aws:s3:::bucket"}, "Unrecognized event source."),
        ({"EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:"}, "Unrecognized event source."),
        (
            {"EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/s", "StartingPosition": "LATEST"},
            "An event source other than SQS is not supported by lambdad yet.",
        ),
        (
            {"EventSourceArn": "", "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["k:9092"]}}},
            "An event source other than SQS is not supported by lambdad yet.",
        ),
        (
            {"EventSourceArn": "arn:aws:sqs:eu-west-1:000000000000:q"},
            "The queue and the function must be in the same region ('us-east-1').",
        ),
        ({"FunctionName": "nobody"}, "Function does not exist"),
        ({"FunctionName": "f:nobody"}, "Function does not exist"),
        ({"FunctionName": "f:9"}, "Function does not exist"),
        (
            {"EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:none"},
            "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
            "SQS Error Message: The specified queue does not exist.",
        ),
        (
            {"BatchSize": 11},
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        ),
        (
            {"EventSourceArn": f"{QUEUE_ARN}.fifo", "MaximumBatchingWindowInSeconds": 1},
            "Batching window is not supported for FIFO queues",
        ),
        (
            {"EventSourceArn": f"{QUEUE_ARN}.fifo", "BatchSize": 11},
            "1 validation error detected: Value '11' at 'batchSize' failed to satisfy constraint: "
            "Member must have value less than or equal to 10",
        ),
        (
            {"DestinationConfig": {"OnFailure": {"Destination": QUEUE_ARN}}},
            "Unsupported DestinationConfig parameter for given event source mapping type.",
        ),
        ({"StartingPosition": "LATEST"}, f"Unsupported starting position for arn type: {QUEUE_ARN}"),
        ({"ParallelizationFactor": 2}, "Unsupported ParallelizationFactor parameter for given event source mapping type."),
        ({"Topics": ["t"]}, "Unsupported Topics parameter for given event source mapping type."),
        ({"MetricsConfig": {"Metrics": ["KafkaMetrics"]}}, "Unsupported MetricsConfig parameter for given event source mapping type."),
        ({"FilterCriteria": {"Filters": [{"Pattern": "text"}]}}, "Invalid filter pattern definition."),
        ({"FilterCriteria": {"Filters": [{"Pattern": '[{"body":["a"]}]'}]}}, "Invalid filter pattern definition."),
        ({"FilterCriteria": {"Filters": [{}]}}, "Invalid filter pattern definition."),
        (
            {"FilterCriteria": {"Filters": [{"Pattern": '{"body":["a"]}'}] * 11}},
            "The number of filters exceeds the limit of 10.",
        ),
        ({"ProvisionedPollerConfig": {"MinimumPollers": 1}}, "MinimumPollers must be between 2 and 200 for SQS event sources."),
        ({"ProvisionedPollerConfig": {"MaximumPollers": 1}}, "MinimumPollers must be between 2 and 200 for SQS event sources."),
        (
            {"ProvisionedPollerConfig": {"MinimumPollers": 5, "MaximumPollers": 4}},
            "MinimumPollers must be less than or equal to MaximumPollers.",
        ),
        (
            {"ProvisionedPollerConfig": {"MinimumPollers": 5}, "ScalingConfig": {"MaximumConcurrency": 2}},
            "MaximumConcurrency and ProvisionedPollerConfig cannot both be set.",
        ),
        (
            {"ProvisionedPollerConfig": {"PollerGroupName": "g"}},
            "Unsupported PollerGroupName parameter for given event source mapping type.",
        ),
        (
            {"KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"},
            "KMSKeyArn of an event source mapping is not supported by lambdad yet.",
        ),
        ({"Tags": {str(number): "" for number in range(51)}}, "Number of tags exceeds resource tag limit."),
    ],
)
async def test_what_is_refused(scene: Scene, request_: dict[str, Any], message: str) -> None:
    """A mapping that AWS, or lambdad, cannot make is refused in its words, and nothing is kept."""
    scene.sqs.create("q.fifo")
    await refused(scene.create(**request_), INVALID, message)
    assert (await scene.call(LIST))["EventSourceMappings"] == []


async def test_a_queue_must_hide_messages_for_as_long_as_the_function_runs(scene: Scene) -> None:
    """A queue whose timeout is shorter than the function's is refused, at creation and for another function."""
    scene.sqs.queues["q"].visibility_timeout_s = 2
    text = "Queue visibility timeout: 2 seconds is less than Function timeout: 3 seconds"
    await refused(scene.create(), INVALID, text)
    scene.sqs.queues["q"].visibility_timeout_s = 3
    uuid = (await scene.create())["UUID"]
    await scene.settled(uuid)
    await scene.house.create_settled("slow", Timeout=4)
    text = "Queue visibility timeout: 3 seconds is less than Function timeout: 4 seconds"
    await refused(scene.call(UPDATE, UUID=uuid, FunctionName="slow"), INVALID, text)
    await refused(scene.call(UPDATE, UUID=uuid, FunctionName="nobody"), INVALID, "Function does not exist")


async def test_what_sqs_refuses_is_said(scene: Scene) -> None:
    """Missing rights have a text of their own; whatever else SQS says is passed on."""
    scene.sqs.failures.append(AwsError("AccessDenied", "Access to the resource is denied.", status=403))
    await refused(scene.create(), INVALID, "The provided execution role does not have permissions to call ReceiveMessage on SQS")
    scene.sqs.failures.append(AwsError("ServiceUnavailable", "sqs cannot be reached", status=503))
    text = "Error occurred while ReceiveMessage. SQS Error Code: ServiceUnavailable. SQS Error Message: sqs cannot be reached"
    await refused(scene.create(), INVALID, text)


async def test_one_mapping_for_a_queue_and_a_function(scene: Scene) -> None:
    """The same queue and function cannot be joined twice; an alias is another function, $LATEST is not."""
    uuid = (await scene.create())["UUID"]
    text = (
        f'An event source mapping with SQS arn (" {QUEUE_ARN} ") and function (" f ") already exists. '
        f"Please update or delete the existing mapping with UUID {uuid}"
    )
    await refused(scene.create(), CONFLICT, text)
    await refused(scene.create(FunctionName="f:$LATEST"), CONFLICT, text)
    other = (await scene.create(FunctionName="f:live"))["UUID"]
    await scene.settled(other)
    await refused(scene.call(UPDATE, UUID=other, FunctionName="f"), CONFLICT, text)


async def test_unknown_mappings(scene: Scene) -> None:
    """A mapping that there is not, or that is another account's, is not found."""
    uuid = (await scene.create())["UUID"]
    for operation in (GET, UPDATE, DELETE):
        await refused(scene.call(operation, UUID=UNKNOWN), MISSING, GONE)
        stranger = CONTEXT.__class__(account="111111111111", region=CONTEXT.region, request_id=CONTEXT.request_id, principal_arn="")  # type: ignore[arg-type]
        await refused(scene.house.handlers[operation](stranger, {"UUID": uuid}), MISSING, GONE)
        assert (await scene.house.handlers[LIST](stranger, {}))["EventSourceMappings"] == []


async def test_lists_have_pages(scene: Scene) -> None:
    """A list has a hundred mappings a page, or fewer, and can be of one queue."""
    for number in range(7):
        scene.sqs.create(f"q{number}")
        await scene.create(EventSourceArn=f"{QUEUE_ARN}{number}", Enabled=False)
    first = await scene.call(LIST, MaxItems=5)
    second = await scene.call(LIST, Marker=first["NextMarker"])
    assert "NextMarker" not in second
    listed = [*first["EventSourceMappings"], *second["EventSourceMappings"]]
    assert sorted(each["EventSourceArn"] for each in listed) == [f"{QUEUE_ARN}{number}" for number in range(7)]
    of_one = await scene.call(LIST, EventSourceArn=f"{QUEUE_ARN}3")
    assert [each["EventSourceArn"] for each in of_one["EventSourceMappings"]] == [f"{QUEUE_ARN}3"]
    assert (await scene.call(LIST, FunctionName="nobody"))["EventSourceMappings"] == []
    await refused(scene.call(LIST, Marker="?"), INVALID, "Invalid value for marker.")


async def test_tags(scene: Scene) -> None:
    """A mapping has tags, from its creation or by its ARN."""
    created = await scene.create(Tags={"a": "1"})
    arn = created["EventSourceMappingArn"]
    await scene.settled(created["UUID"])
    await scene.call("TagResource", Resource=arn, Tags={"b": "2"})
    await scene.call("UntagResource", Resource=arn, TagKeys=["a", "none"])
    assert await scene.call("ListTags", Resource=arn) == {"Tags": {"b": "2"}}
    unknown = arn.replace(created["UUID"], UNKNOWN)
    for operation, more in (("ListTags", {}), ("TagResource", {"Tags": {"a": "1"}}), ("UntagResource", {"TagKeys": ["a"]})):
        await refused(scene.call(operation, Resource=unknown, **more), MISSING, f"Event source mapping not found: {unknown}")
    many = {str(number): "" for number in range(50)}
    await refused(scene.call("TagResource", Resource=arn, Tags=many), INVALID, "Number of tags exceeds resource tag limit.")
    assert (await scene.call(GET, UUID=created["UUID"]))["State"] == "Enabled"


async def test_a_mapping_outlives_its_function(scene: Scene) -> None:
    """A mapping whose function is deleted stays, says so and receives nothing; it goes on with a new function of that name."""
    uuid = (await scene.create())["UUID"]
    await scene.settled(uuid)
    await scene.call("DeleteFunction", FunctionName="f")
    shown = await scene.call(GET, UUID=uuid)
    assert shown["State"] == "Enabled"
    assert shown["StateTransitionReason"] == f"Function not found: {FUNCTION_ARN}:$LATEST"
    scene.sqs.send(scene.sqs.queues["q"], "a")
    await scene.house.create_settled()
    assert await scene.until_run() == (FUNCTION_ARN, ["a"])
    assert (await scene.call(GET, UUID=uuid))["StateTransitionReason"] == "USER_INITIATED"


async def test_a_function_that_may_not_run_is_not_polled_for(scene: Scene) -> None:
    """With a reserved concurrency of 0 messages stay in the queue, and the mapping says why."""
    uuid = (await scene.create())["UUID"]
    await scene.settled(uuid)
    await scene.call("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=0)
    assert (await scene.call(GET, UUID=uuid))["StateTransitionReason"] == "The function's reserved concurrency is 0."
    scene.sqs.send(scene.sqs.queues["q"], "a")
    await scene.call("DeleteFunctionConcurrency", FunctionName="f")
    assert (await scene.until_run())[1] == ["a"]


async def test_mappings_survive_a_restart(database_url: str) -> None:
    """After a restart mappings are what they were, and what was under way is finished."""
    sqs = FakeSqs()
    sqs.create()
    sqs.create("other")
    async with opened(database_url, sqs) as before:
        await before.house.create_settled()
        kept = await before.create(BatchSize=3, Tags={"a": "1"})
        await before.settled(kept["UUID"])
        left = await before.create(EventSourceArn="arn:aws:sqs:us-east-1:000000000000:other")
        await before.settled(left["UUID"])
        before.invoker.gate.clear()
        sqs.send(sqs.queues["other"], "a")
        await before.until_run()
        await before.call(DELETE, UUID=left["UUID"])
        shown = await before.call(GET, UUID=kept["UUID"])
        rows = await before.house.database.read(lambda connection: connection.all(before.mappings._queries.all_mappings))
        assert len(rows) == 2  # the deletion waits for the batch
        before.invoker.gate.set()
        await before.gone(left["UUID"])
        await before.house.database.write(
            lambda connection: [
                connection.run(before.mappings._queries.put_mapping, uuid=row["uuid"], configuration=row["configuration"]) for row in rows
            ]
        )  # as if the server had been killed while it waited
    async with opened(database_url, sqs) as after:
        await after.gone(left["UUID"])
        assert await after.call(GET, UUID=kept["UUID"]) == shown
        sqs.send(sqs.queues["q"], "b")
        assert (await after.until_run())[1] == ["b"]

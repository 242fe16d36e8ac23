"""Exports of CloudWatch Logs to S3, on both databases, with a bucket in memory."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from logs_neighbours import FakeOutbox, new_uuid

from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.logs.app import LogsService, migrations
from lambdad.services.logs.rules import exports
from lambdad.services.ports import CallContext, Origin
from lambdad.store.database import Database, open_database

START_MS = 1_700_000_000_000
REQUEST = {"logGroupName": "g", "from": START_MS, "to": START_MS + 100, "destination": "b"}
NO_ACCESS = (
    "PutObject call on the given bucket failed. Please check if CloudWatch Logs has been granted permission to perform this operation."
)


class Bucket:
    """One bucket, "b"; a gate keeps exports waiting."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refusal: AwsError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        assert (service, operation, origin.principal) == ("s3", "PutObject", "logs.amazonaws.com")
        if not params["Key"].endswith("aws-logs-write-test"):
            self.waiting.set()
            await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        if params["Bucket"] != "b":
            raise AwsError("NoSuchBucket", "The specified bucket does not exist", status=404)
        self.objects[params["Key"]] = params["Body"]
        return {}

    def read(self) -> dict[str, str]:
        return {key: gzip.decompress(body).decode() for key, body in self.objects.items() if key.endswith(".gz")}


class Logs:
    """The service with exports at work, and calls by AWS's names."""

    def __init__(self, database: Database, bucket: Bucket) -> None:
        self.database = database
        self.bucket = bucket
        self.service = LogsService(database, lambda: START_MS, outbox=FakeOutbox(), neighbours=bucket, new_uuid=new_uuid)
        self.work = asyncio.create_task(self.service.exports.run())

    async def __call__(self, operation: str, **request: Any) -> Any:
        ctx = CallContext(
            account=AccountId("000000000000"),
            region=Region("us-east-1"),
            request_id=RequestId("00000000-0000-0000-0000-000000000000"),
            principal_arn="arn:aws:iam::000000000000:root",
        )
        return await self.service.service().handlers[operation](ctx, request)

    async def refused(self, operation: str, **request: Any) -> tuple[str, str | None]:
        with pytest.raises(AwsError) as caught:
            await self(operation, **request)
        return caught.value.code, caught.value.message

    def append(self, *events: tuple[int, str], stream: str = "s") -> None:
        self.service.store.append("000000000000", "us-east-1", "g", stream, [(START_MS + time, message) for time, message in events])

    async def stop(self) -> None:
        self.work.cancel()
        await asyncio.wait([self.work])

    async def done(self, task_id: str) -> Any:
        """Wait until an export is done, and return it."""
        async with asyncio.timeout(20):
            while "completionTime" not in (task := await self.task(task_id))["executionInfo"]:
                await asyncio.sleep(0)
        return task

    async def task(self, task_id: str) -> Any:
        (task,) = (await self("DescribeExportTasks", taskId=task_id))["exportTasks"]
        return task


@pytest.fixture
async def logs(database_url: str) -> AsyncIterator[Logs]:
    async with open_database(database_url, migrations=[migrations()], now_ms=lambda: START_MS) as database:
        made = Logs(database, Bucket())
        await made("CreateLogGroup", logGroupName="g")
        yield made
        await made.stop()


async def test_events_of_a_time_are_written_to_s3(logs: Logs) -> None:
    """Every stream has objects of its own, with lines for the events from the one time to the other, both included."""
    logs.append((-1, "before"), (0, "first\n"), (50, "two\nlines"), (100, "last"), (101, "after"), stream="2023/11/14/[1]a")
    logs.append((10, "é"), stream="t")
    logs.append((500, "late"), stream="u")
    task_id = (await logs("CreateExportTask", **REQUEST, taskName="n", destinationPrefix="p"))["taskId"]
    assert await logs.done(task_id) == {
        "taskId": task_id,
        "taskName": "n",
        "logGroupName": "g",
        "from": START_MS,
        "to": START_MS + 100,
        "destination": "b",
        "destinationPrefix": "p",
        "status": {"code": "COMPLETED", "message": "Completed successfully"},
        "executionInfo": {"creationTime": START_MS, "completionTime": START_MS},
    }
    assert logs.bucket.objects["p/aws-logs-write-test"] == b"Permission Check Successful"
    day = "2023-11-14T22:13:20"
    assert logs.bucket.read() == {
        f"p/{task_id}/2023-11-14-[1]a/000000.gz": f"{day}.000Z first\n{day}.050Z two\nlines\n{day}.100Z last\n",
        f"p/{task_id}/t/000000.gz": f"{day}.010Z é\n",
    }


async def test_streams_can_be_chosen(logs: Logs) -> None:
    """A prefix leaves other streams out, and without a prefix of keys AWS's own is taken."""
    logs.append((1, "a"), stream="aa")
    logs.append((1, "b"), stream="b")
    task_id = (await logs("CreateExportTask", **REQUEST, logStreamNamePrefix="a"))["taskId"]
    await logs.done(task_id)
    assert list(logs.bucket.read()) == [f"exportedlogs/{task_id}/aa/000000.gz"]


async def test_what_is_no_longer_kept_is_not_exported(logs: Logs) -> None:
    """Events older than the group's retention are left out, as readers do not see them either."""
    day_ms = 86_400_000
    logs.append((-2 * day_ms, "old"), (-day_ms // 2, "young"))
    await logs("PutRetentionPolicy", logGroupName="g", retentionInDays=1)
    task_id = (await logs("CreateExportTask", **{**REQUEST, "from": 0}))["taskId"]
    await logs.done(task_id)
    (text,) = logs.bucket.read().values()
    assert text.endswith("Z young\n") and "old" not in text


async def test_large_streams_are_cut(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much for one object goes into several, and nothing is missing or twice."""
    monkeypatch.setattr(exports, "FILE_BYTES", 5_000_000)
    for number in range(40):
        logs.append((number, f"{number} " + "x" * 250_000))
    task_id = (await logs("CreateExportTask", **REQUEST))["taskId"]
    await logs.done(task_id)
    found = logs.bucket.read()
    assert list(found) == [f"exportedlogs/{task_id}/s/{number:06d}.gz" for number in range(len(found))] and len(found) == 2
    lines = "".join(found.values()).splitlines()
    assert [int(line.split()[1]) for line in lines] == list(range(40))


async def test_one_export_at_a_time(logs: Logs) -> None:
    """While one is under way another is refused; it can be cancelled, once."""
    logs.append((1, "a"))
    logs.append((1, "a"), stream="t")
    logs.bucket.gate.clear()
    task_id = (await logs("CreateExportTask", **REQUEST))["taskId"]
    await logs.bucket.waiting.wait()
    assert (await logs.task(task_id))["status"] == {"code": "RUNNING"}
    assert await logs.refused("CreateExportTask", **REQUEST) == ("LimitExceededException", "Resource limit exceeded.")
    await logs("CancelExportTask", taskId=task_id)
    assert (await logs.task(task_id))["status"] == {"code": "PENDING_CANCEL"}
    logs.bucket.gate.set()
    assert (await logs.done(task_id))["status"] == {"code": "CANCELLED"}
    assert list(logs.bucket.read()) == [f"exportedlogs/{task_id}/s/000000.gz"]
    finished = ("InvalidOperationException", "The specified export task has already finished.")
    assert await logs.refused("CancelExportTask", taskId=task_id) == finished
    missing = ("ResourceNotFoundException", "The specified export task does not exist.")
    assert await logs.refused("CancelExportTask", taskId="x") == missing


async def test_a_new_start_goes_on(logs: Logs) -> None:
    """What a process had not finished is done by the next."""
    logs.append((1, "a"))
    logs.bucket.gate.clear()
    task_id = (await logs("CreateExportTask", **REQUEST))["taskId"]
    await logs.bucket.waiting.wait()
    await logs.stop()
    logs.bucket.gate.set()
    again = Logs(logs.database, logs.bucket)
    assert (await again.done(task_id))["status"]["code"] == "COMPLETED"
    assert len(logs.bucket.read()) == 1
    await again.stop()


async def test_exports_that_are_refused(logs: Logs) -> None:
    """What cannot be exported is refused at once, what fails on the way is shown."""
    assert (await logs.refused("CreateExportTask", **{**REQUEST, "to": START_MS}))[0] == "InvalidParameterException"
    missing = ("ResourceNotFoundException", "The specified log group does not exist.")
    assert await logs.refused("CreateExportTask", **{**REQUEST, "logGroupName": "x"}) == missing
    no_bucket = ("InvalidParameterException", "The given bucket does not exist. Please check the bucket name.")
    assert await logs.refused("CreateExportTask", **{**REQUEST, "destination": "x"}) == no_bucket
    logs.bucket.refusal = AwsError("AccessDenied", "Access Denied", status=403)
    assert await logs.refused("CreateExportTask", **REQUEST) == ("InvalidParameterException", NO_ACCESS)
    logs.bucket.refusal = AwsError("InternalError", "no", status=500)
    assert (await logs.refused("CreateExportTask", **REQUEST))[0] == "ServiceUnavailableException"
    logs.bucket.refusal = None
    logs.append((1, "a"))
    logs.bucket.gate.clear()
    task_id = (await logs("CreateExportTask", **REQUEST))["taskId"]
    logs.bucket.refusal = AwsError("AccessDenied", "Access Denied", status=403)
    logs.bucket.gate.set()
    assert (await logs.done(task_id))["status"] == {"code": "FAILED", "message": "Access Denied"}


async def test_exports_are_listed(logs: Logs) -> None:
    """The newest is first; pages and statuses are followed."""
    ids = []
    for _ in range(3):
        ids.append((await logs("CreateExportTask", **REQUEST))["taskId"])
        await logs.done(ids[-1])
    page = await logs("DescribeExportTasks", limit=2)
    assert [task["taskId"] for task in page["exportTasks"]] == [ids[2], ids[1]]
    page = await logs("DescribeExportTasks", limit=2, nextToken=page["nextToken"])
    assert [task["taskId"] for task in page["exportTasks"]] == [ids[0]] and "nextToken" not in page
    assert len((await logs("DescribeExportTasks", statusCode="COMPLETED"))["exportTasks"]) == 3
    assert await logs("DescribeExportTasks", statusCode="FAILED") == {"exportTasks": []}
    assert await logs("DescribeExportTasks", taskId="x") == {"exportTasks": []}
    assert (await logs.refused("DescribeExportTasks", nextToken="x"))[0] == "InvalidParameterException"

"""Exports of log events to S3: CreateExportTask, DescribeExportTasks, CancelExportTask, and the work itself.

An export is a row until it is done. What a dead process had begun is begun again: objects have the same names and the same content.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

from lambdad.kit import threads
from lambdad.kit.clock import NowMs
from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region
from lambdad.services.logs import errors, groups, reading
from lambdad.services.logs.feeds import PRINCIPAL
from lambdad.services.logs.ingestion import LogStore
from lambdad.services.logs.rules import batches, chunks, exports, limits, names, paging
from lambdad.services.logs.rules.exports import Status
from lambdad.services.ports import CallContext, Handler, Neighbours, Origin
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.errors import StoreError
from lambdad.store.queries import load_queries

_log = logging.getLogger(__name__)

queries = load_queries("lambdad.services.logs", "queries.sql")

TASKS_KEPT: Final = 1_000
"""Exports of an account and region that are remembered."""

_COMPLETED_TEXT: Final = "Completed successfully"
_PAGE_BYTES: Final = 4 * 1024 * 1024  # read at once
_STREAMS: Final = 100  # looked up at once
_NO_BUCKET: Final = "The given bucket does not exist. Please check the bucket name."
_NO_ACCESS: Final = (
    "PutObject call on the given bucket failed. Please check if CloudWatch Logs has been granted permission to perform this operation."
)
_RETRY_S: Final = 5.0


class ExportTasks:
    """The operations on exports. `run` is to be kept running; one export is under way at a time.

    Args:
        neighbours: where S3 is.
        new_uuid: a random UUID, lower case with hyphens.
    """

    def __init__(self, database: Database, store: LogStore, neighbours: Neighbours, now_ms: NowMs, new_uuid: Callable[[], str]) -> None:
        self._database = database
        self._store = store
        self._neighbours = neighbours
        self._now_ms = now_ms
        self._new_uuid = new_uuid
        self._begun = asyncio.Event()
        self._begun.set()  # to look for what an earlier process has left

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "CreateExportTask": self.create_export_task,
            "DescribeExportTasks": self.describe_export_tasks,
            "CancelExportTask": self.cancel_export_task,
        }

    async def create_export_task(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Begin to export a group's events of a time, both ends included; S3 is tried first.

        Raises:
            GroupMissing: there is no such group.
            InvalidParameter: the times are not in order, or the bucket does not take the events.
            LimitExceeded: the account is exporting already.
            ServiceUnavailable: S3 does not answer.
        """
        exports.check(request)
        prefix = request.get("destinationPrefix") or exports.DESTINATION_PREFIX
        await self._store.flush()
        await self._database.read(lambda connection: _require_free(connection, ctx, request["logGroupName"]))
        await self._try(_origin(ctx.account, ctx.region), request["destination"], prefix)
        task_id, now_ms = self._new_uuid(), self._now_ms()

        def create(connection: Connection) -> None:
            _require_free(connection, ctx, request["logGroupName"])
            connection.run(
                queries.insert_export_task,
                task_id=task_id,
                account=ctx.account,
                region=ctx.region,
                name=request.get("taskName"),
                group_name=request["logGroupName"],
                stream_prefix=request.get("logStreamNamePrefix", ""),
                from_ms=request["from"],
                to_ms=request["to"],
                destination=request["destination"],
                destination_prefix=prefix,
                status=Status.PENDING,
                created_at_ms=now_ms,
            )
            connection.run(queries.forget_export_tasks, account=ctx.account, region=ctx.region, kept=TASKS_KEPT)

        await self._database.write(create)
        self._begun.set()
        return {"taskId": task_id}

    async def describe_export_tasks(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List exports, the newest first; one, or those of a status, where asked for.

        Raises:
            InvalidParameter: the token is none.
        """
        limit = request.get("limit", limits.PAGE_ITEMS)
        before = paging.parse_number_token(request["nextToken"]) if request.get("nextToken") else 1 << 62

        def select(connection: Connection) -> list[Row]:
            if request.get("taskId"):
                row = connection.one(queries.get_export_task, account=ctx.account, region=ctx.region, task_id=request["taskId"])
                return [] if row is None else [row]
            return connection.all(
                queries.export_tasks,
                account=ctx.account,
                region=ctx.region,
                before=before,
                status=request.get("statusCode", ""),
                limit=limit + 1,
            )

        rows = await self._database.read(select)
        output: dict[str, Any] = {"exportTasks": [_to_api(row) for row in rows[:limit]]}
        if len(rows) > limit:
            output["nextToken"] = paging.number_token(rows[limit - 1].id)
        return output

    async def cancel_export_task(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Stop an export; what it has written stays in S3.

        Raises:
            ExportTaskMissing: there is none of that id.
            InvalidOperation: it is done.
        """

        def cancel(connection: Connection) -> None:
            row = connection.one(queries.get_export_task, account=ctx.account, region=ctx.region, task_id=request["taskId"])
            if row is None:
                raise errors.ExportTaskMissing
            status = exports.cancelled(row.status)
            _set_status(connection, row, status, row.status, "", self._now_ms() if status is Status.CANCELLED else None)

        await self._database.write(cancel)
        return {}

    async def run(self) -> NoReturn:
        """Do exports as they are begun, until cancelled; then those that are not done are left to the next start."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            try:
                while (task := await self._database.read(lambda connection: connection.one(queries.next_export_task))) is not None:
                    await self._export(task)
            except StoreError:
                _log.exception("logs.export.failed")  # what it was is still in the table
                await asyncio.sleep(_RETRY_S)
                self._begun.set()

    async def _export(self, task: Row) -> None:
        if task.status == Status.PENDING:
            await self._move(task, Status.PENDING, Status.RUNNING)
        try:
            is_whole = await self._write_streams(task)
        except AwsError as refused:
            _log.warning("logs.export.refused task_id=%s error=%s", task.task_id, refused)
            await self._finish(task, Status.FAILED, refused.message or refused.code)
        else:
            await self._finish(task, Status.COMPLETED if is_whole else Status.CANCELLED, _COMPLETED_TEXT if is_whole else "")

    async def _finish(self, task: Row, status: Status, message: str) -> None:
        if not await self._move(task, Status.RUNNING, status, message):
            await self._move(task, Status.PENDING_CANCEL, Status.CANCELLED)

    async def _move(self, task: Row, believed: Status, status: Status, message: str = "") -> bool:
        completed_at_ms = None if status is Status.RUNNING else self._now_ms()
        return await self._database.write(lambda connection: _set_status(connection, task, status, believed, message, completed_at_ms))

    async def _write_streams(self, task: Row) -> bool:
        """Write all streams; False where it was cancelled meanwhile."""
        after = ""
        begin_ms = await self._database.read(lambda connection: _begin_ms(connection, task))
        while streams := await self._database.read(lambda connection, after=after: _streams(connection, task, after)):  # type: ignore[misc]  # to bind the loop's value
            for stream in streams:
                if not await self._write_stream(task, stream, begin_ms):
                    return False
            after = streams[-1].name
        return True

    async def _write_stream(self, task: Row, stream: Row, begin_ms: int) -> bool:
        begin: chunks.Position | None = (begin_ms, 0, 0, 0)
        number = 0
        while begin is not None:
            if not await self._database.read(lambda connection: _is_wanted(connection, task)):
                return False
            waiting: list[batches.Event] = []
            size_bytes = 0
            while begin is not None and size_bytes < exports.FILE_BYTES:
                position = begin
                events, begin = await self._database.read(lambda connection, position=position: _page(connection, task, stream, position))  # type: ignore[misc]  # to bind the loop's value
                waiting += events
                size_bytes += sum([len(message) for _, message in events])
            if waiting:
                key = exports.key(task.destination_prefix, task.task_id, stream.name, number)
                params = {"Bucket": task.destination, "Key": key, "Body": await threads.run(exports.body, waiting)}
                await self._neighbours.call(_origin(task.account, task.region), "s3", "PutObject", params)
                number += 1
        return True

    async def _try(self, origin: Origin, bucket: str, prefix: str) -> None:
        params = {"Bucket": bucket, "Key": exports.write_test_key(prefix), "Body": exports.WRITE_TEST}
        try:
            await self._neighbours.call(origin, "s3", "PutObject", params)
        except AwsError as refused:
            if refused.status >= 500:
                raise errors.ServiceUnavailable from refused
            raise errors.InvalidParameter(_NO_BUCKET if refused.code == "NoSuchBucket" else _NO_ACCESS) from refused


def _origin(account: str, region: str) -> Origin:
    source_arn = names.group_arn(account, region, "*").removesuffix("log-group:*") + "*"
    return Origin(account=AccountId(account), region=Region(region), principal=PRINCIPAL, source_arn=source_arn)


def _require_free(connection: Connection, ctx: CallContext, group_name: str) -> None:
    groups.find(connection, ctx, group_name)
    if connection.one(queries.has_export_task_under_way, account=ctx.account, region=ctx.region) is not None:
        raise errors.LimitExceeded


def _set_status(connection: Connection, task: Row, status: Status, believed: str, message: str, completed_at_ms: int | None) -> bool:
    changed = connection.run(
        queries.set_export_status, id=task.id, status=status, believed=believed, message=message, completed_at_ms=completed_at_ms
    )
    return changed == 1


def _is_wanted(connection: Connection, task: Row) -> bool:
    row = connection.one(queries.get_export_task, account=task.account, region=task.region, task_id=task.task_id)
    return row is not None and row.status == Status.RUNNING


def _begin_ms(connection: Connection, task: Row) -> int:
    """Return the time from which events are exported: those that the group did not keep any longer are not, even if still there."""
    begin_ms: int = task.from_ms
    group = connection.one(queries.get_group, account=task.account, region=task.region, name=task.group_name)
    if group is not None and group.retention_days is not None:
        begin_ms = max(begin_ms, task.created_at_ms - group.retention_days * limits.DAY_MS)
    return begin_ms


def _streams(connection: Connection, task: Row, after: str) -> list[Row]:
    group = connection.one(queries.get_group, account=task.account, region=task.region, name=task.group_name)
    if group is None:
        return []
    prefix_end = names.end_of_prefix(task.stream_prefix)
    return connection.all(
        queries.streams_by_name, group_id=group.id, after=after, prefix=task.stream_prefix, prefix_end=prefix_end, limit=_STREAMS
    )


def _page(connection: Connection, task: Row, stream: Row, begin: chunks.Position) -> tuple[list[batches.Event], chunks.Position | None]:
    """Read some of a stream's events; the second value is where the next page begins, None where there is none."""
    found: list[batches.Event] = []
    size_bytes = 0
    events: Iterator[reading.Event] = reading.ascending(connection, reading.of_stream(stream.id), begin, task.to_ms + 1)
    for event in events:
        found.append((event.position[0], event.message))
        size_bytes += len(event.message)
        if size_bytes >= _PAGE_BYTES:
            return found, chunks.position_of(chunks.position_number(event.position) + 1)
    return found, None


def _to_api(row: Row) -> dict[str, Any]:
    execution: dict[str, Any] = {"creationTime": row.created_at_ms}
    if row.completed_at_ms is not None:
        execution["completionTime"] = row.completed_at_ms
    status: dict[str, Any] = {"code": row.status}
    if row.message:
        status["message"] = row.message
    shown: dict[str, Any] = {
        "taskId": row.task_id,
        "logGroupName": row.group_name,
        "from": row.from_ms,
        "to": row.to_ms,
        "destination": row.destination,
        "destinationPrefix": row.destination_prefix,
        "status": status,
        "executionInfo": execution,
    }
    if row.name is not None:
        shown["taskName"] = row.name
    return shown

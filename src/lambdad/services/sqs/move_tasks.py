"""Message move tasks: StartMessageMoveTask, CancelMessageMoveTask, ListMessageMoveTasks, and who carries them out.

A task is a row. One that was running when the program ended goes on after the next start.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from lambdad.kit.clock import NowMs
from lambdad.services.ports import CallContext, Handler
from lambdad.services.sqs import errors
from lambdad.services.sqs.loading import Loader
from lambdad.services.sqs.moving import Move, Mover
from lambdad.services.sqs.queues import sources_of
from lambdad.services.sqs.registry import Queue, Registry, queries
from lambdad.services.sqs.rules import limits, messages, names, task_handles
from lambdad.services.sqs.rules.entries import Entry
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.errors import StoreError

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 100
_TURN_S: Final = 0.2  # how often a task with a rate has its turn; without one it has the next at once
_IDLE_S: Final = 1.0


@dataclass(slots=True, eq=False)
class _Task:
    """A task that is not done."""

    id: str
    source_arn: str
    destination_arn: str
    messages_per_s: int
    status: str
    moved: int
    to_move: int
    started_at_ms: int
    failure_reason: str = ""
    allowance: float = 0.0  # how many messages it may move now, where there is a rate
    next_turn_s: float = 0.0

    def row(self) -> dict[str, Any]:
        """Return its row."""
        return {
            "id": self.id,
            "source_arn": self.source_arn,
            "destination_arn": self.destination_arn,
            "messages_per_s": self.messages_per_s,
            "status": self.status,
            "moved": self.moved,
            "to_move": self.to_move,
            "started_at_ms": self.started_at_ms,
            "failure_reason": self.failure_reason,
        }


class _Failed(Exception):
    """A task cannot go on; the text is its FailureReason."""


class MoveTasks:
    """Move messages out of dead-letter queues."""

    def __init__(
        self, database: Database, registry: Registry, loader: Loader, mover: Mover, now_ms: NowMs, new_id: Callable[[], str]
    ) -> None:
        self._database = database
        self._registry = registry
        self._loader = loader
        self._mover = mover
        self._now_ms = now_ms
        self._new_id = new_id
        self._running: dict[str, _Task] = {}
        self._started = asyncio.Event()
        self._starting = asyncio.Lock()

    def handlers(self) -> dict[str, Handler]:
        """Name the operations."""
        return {
            "CancelMessageMoveTask": self.cancel_message_move_task,
            "ListMessageMoveTasks": self.list_message_move_tasks,
            "StartMessageMoveTask": self.start_message_move_task,
        }

    async def resume(self) -> None:
        """Go on with the tasks that were not done when the program ended."""
        for row in await self._database.read(lambda connection: connection.all(queries.running_move_tasks)):
            self._running[row.source_arn] = _Task(**{**row})
            self._started.set()

    async def start_message_move_task(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Begin to move all messages of a dead-letter queue to another queue, or to where they came from.

        Raises:
            MissingParameter, InvalidParameterValue: the source is no dead-letter queue, or the rate is none.
            ResourceNotFound: there is no such queue.
            UnsupportedOperation: a task of that queue is running.
        """
        source = self._queue(context, request, "SourceArn")
        if source is None:
            raise errors.MissingParameter("SourceArn")
        destination = self._queue(context, request, "DestinationArn")
        if not sources_of(self._registry, source):
            raise errors.InvalidParameterValue("Source queue must be configured as a Dead Letter Queue.")
        if destination is not None and destination.settings.is_fifo != source.settings.is_fifo:
            raise errors.InvalidParameterValue("Source and destination queues must be of the same type.")
        if destination is source:
            raise errors.InvalidParameterValue("Source queue and destination queue must not be the same.")
        rate = request.get("MaxNumberOfMessagesPerSecond")
        if rate is not None and not 1 <= rate <= limits.MOVES_PER_S:
            raise errors.invalid(rate, "MaxNumberOfMessagesPerSecond", f"Must be between 1 and {limits.MOVES_PER_S}, if provided.")
        async with self._starting:
            if source.arn in self._running:
                raise errors.UnsupportedOperation(
                    "There is already a task running. Only one active task is allowed for a source queue arn at a given time."
                )
            task = _Task(
                id=self._new_id(),
                source_arn=source.arn,
                destination_arn=destination.arn if destination is not None else "",
                messages_per_s=rate or 0,
                status="RUNNING",
                moved=0,
                to_move=source.index.ready + source.index.spilled,
                started_at_ms=self._now_ms(),
            )
            await self._store(task)
            self._running[source.arn] = task
        self._started.set()
        return {"TaskHandle": task_handles.write(task.id, source.arn)}

    async def cancel_message_move_task(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Have a task stopped; what it has moved stays moved.

        Raises:
            MissingParameter, InvalidParameterValue, ResourceNotFound: there is no such task.
            UnsupportedOperation: it is done already.
        """
        text = request.get("TaskHandle")
        if not text:
            raise errors.MissingParameter("TaskHandle")
        task_id, source_arn = task_handles.read(text)
        self._check_owner(context, source_arn)
        task = self._running.get(source_arn)
        if task is None or task.id != task_id:
            row = await self._database.read(lambda connection: connection.one(queries.get_move_task, id=task_id))
            if row is None or row.source_arn != source_arn:
                raise errors.ResourceNotFound("Task does not exist.")
            raise errors.UnsupportedOperation("Only active tasks can be cancelled.")
        if task.status == "RUNNING":
            task.status = "CANCELLING"
            await self._store(task)
        self._started.set()
        return {"ApproximateNumberOfMessagesMoved": task.moved}

    async def list_message_move_tasks(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Return the last tasks of a dead-letter queue, the newest first.

        Raises:
            MissingParameter, InvalidParameterValue: the number is out of its range.
            ResourceNotFound: there is no such queue.
        """
        source = self._queue(context, request, "SourceArn")
        if source is None:
            raise errors.MissingParameter("SourceArn")
        limit = request.get("MaxResults", 1)
        if not 1 <= limit <= limits.TASKS_SHOWN:
            raise errors.invalid(limit, "MaxResults", f"Must be between 1 and {limits.TASKS_SHOWN}, if provided.")
        rows = await self._database.read(lambda connection: connection.all(queries.move_tasks_of, source_arn=source.arn, limit=limit))
        running = self._running.get(source.arn)
        shown = [running.row() if running is not None and running.id == row.id else row for row in rows]
        return {"Results": [_to_api(row) for row in shown]}

    async def run(self) -> NoReturn:
        """Give each task its turn, until cancelled."""
        while True:
            await self._started.wait()
            if not self._running:
                self._started.clear()
                continue
            loop = asyncio.get_running_loop()
            for task in list(self._running.values()):
                if task.next_turn_s <= loop.time() or task.status != "RUNNING":
                    await self._turn(task)
            next_s = min((task.next_turn_s for task in self._running.values()), default=0.0)
            await asyncio.sleep(max(next_s - loop.time(), 0))

    async def _turn(self, task: _Task) -> None:
        loop = asyncio.get_running_loop()
        try:
            is_done = task.status == "CANCELLING" or not await self._move_some(task)
            if is_done:
                task.status = "CANCELLED" if task.status == "CANCELLING" else "COMPLETED"
        except _Failed as failure:
            is_done, task.status, task.failure_reason = True, "FAILED", str(failure)
        except StoreError:
            # Safe to go on: what was not moved is still where it was.
            _log.exception("sqs.move_task.failed task=%s", task.id)
            task.next_turn_s = loop.time() + _IDLE_S
            return
        if is_done:
            del self._running[task.source_arn]
        await self._store(task)
        task.next_turn_s = loop.time() + (_TURN_S if task.messages_per_s else 0)

    async def _move_some(self, task: _Task) -> bool:
        """Move as many messages as the task may now; False where there are none left."""
        source = self._registry.of_arn(task.source_arn)
        if source is None:
            raise _Failed("AWS.SimpleQueueService.NonExistentQueue")
        index, now_ms = source.index, self._now_ms()
        index.advance(now_ms)
        if not index.ready and index.wants_load(now_ms):
            await asyncio.shield(self._loader.load(source))
        wanted = _AT_ONCE
        if task.messages_per_s:
            task.allowance = min(task.allowance + task.messages_per_s * _TURN_S, max(task.messages_per_s, 1))
            wanted = min(int(task.allowance), _AT_ONCE)
            if not wanted:
                return True
        entries, expired = index.take_to_move(wanted, now_ms - source.settings.retention_ms)
        if expired:
            await self._mover.remove(source, expired)
        if not entries:
            return bool(expired) or bool(index.ready and not source.settings.is_fifo)
        try:
            moves = await self._moves(task, source, entries, now_ms)
        except BaseException:
            for entry in entries:
                index.stay(entry)
            raise
        moved = await self._mover.move(source, moves)
        task.moved += moved
        task.allowance = max(task.allowance - moved, 0)
        return True

    async def _moves(self, task: _Task, source: Queue, entries: list[Entry], now_ms: int) -> list[Move]:
        """
        Find out where messages go.

        Raises:
            _Failed: there is no such queue, or a message does not say where it came from.
        """
        if task.destination_arn:
            destination = self._registry.of_arn(task.destination_arn)
            if destination is None:
                raise _Failed("AWS.SimpleQueueService.NonExistentQueue")
            return [Move(entry, destination, destination.next_seq(now_ms), self._new_id()) for entry in entries]

        def read(connection: Connection) -> list[Row | None]:
            return [connection.one(queries.read_message, queue_id=source.id, seq=entry.seq) for entry in entries]

        moves: list[Move] = []
        for entry, row in zip(entries, await self._database.read(read), strict=True):
            arn = messages.parse(row.message, row.message_group).source_arn if row is not None else ""
            target = self._registry.of_arn(arn)
            if row is not None and not arn:
                raise _Failed("CouldNotDetermineMessageSource")
            if row is not None and target is None:
                raise _Failed("AWS.SimpleQueueService.NonExistentQueue")
            moves.append(Move(entry, target or source, (target or source).next_seq(now_ms), self._new_id()))
        return moves

    async def _store(self, task: _Task) -> None:
        row = task.row()
        await self._database.write(lambda connection: connection.run(queries.put_move_task, **row))

    def _queue(self, context: CallContext, request: dict[str, Any], parameter: str) -> Queue | None:
        arn = request.get(parameter)
        if not arn:
            return None
        self._check_owner(context, arn)
        queue = self._registry.of_arn(arn)
        if queue is None:
            raise errors.ResourceNotFound(f"The resource that you specified for the {parameter} parameter doesn't exist.")
        return queue

    @staticmethod
    def _check_owner(context: CallContext, arn: str) -> None:
        key = names.of_arn(arn)
        if key is None:
            raise errors.InvalidParameterValue(
                "You must use this format to specify the queue ARN: arn:<partition>:<service>:<region>:<account-id>:<resource-id>"
            )
        if key.account != context.account:
            raise errors.AccessDenied(context.principal_arn, "StartMessageMoveTask", arn)


def _to_api(row: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Status": row["status"],
        "SourceArn": row["source_arn"],
        "ApproximateNumberOfMessagesMoved": row["moved"],
        "ApproximateNumberOfMessagesToMove": row["to_move"],
        "StartedTimestamp": row["started_at_ms"],
    }
    if row["status"] == "RUNNING":
        shown["TaskHandle"] = task_handles.write(row["id"], row["source_arn"])
    if row["destination_arn"]:
        shown["DestinationArn"] = row["destination_arn"]
    if row["messages_per_s"]:
        shown["MaxNumberOfMessagesPerSecond"] = row["messages_per_s"]
    if row["failure_reason"]:
        shown["FailureReason"] = row["failure_reason"]
    return shown

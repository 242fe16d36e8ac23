"""SQS in memory: the operations that pollers use, as AWS describes them, and no others. Its clock is the event loop's."""

import asyncio
import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lambdad.model.errors import AwsError
from lambdad.services.ports import Origin

ACCOUNT, REGION = "000000000000", "us-east-1"


@dataclass
class Message:
    message_id: str
    body: str
    group: str = ""
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent_at_ms: int = 0
    first_received_at_ms: int = 0
    visible_at_s: float = 0.0
    receives: int = 0
    receipt: str = ""


@dataclass
class Queue:
    name: str
    visibility_timeout_s: int = 30
    maximum_receives: int | None = None
    dead_letters: "Queue | None" = None
    messages: list[Message] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.name}"

    @property
    def is_fifo(self) -> bool:
        return self.name.endswith(".fifo")


class FakeSqs:
    """Implements `services.ports.Neighbours` for one account and region."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[AwsError] = []  # what the next calls fail with
        self._numbers = itertools.count(1)

    def create(self, name: str = "q", **attributes: Any) -> Queue:
        self.queues[name] = queue = Queue(name, **attributes)
        return queue

    def send(self, queue: Queue, *bodies: str, group: str = "", attributes: dict[str, dict[str, Any]] | None = None) -> list[Message]:
        sent = []
        for body in bodies:
            number = next(self._numbers)
            sent.append(Message(f"00000000-0000-4000-8000-{number:012x}", body, group, attributes or {}, sent_at_ms=self._now_ms()))
        queue.messages += sent
        queue.changed.set()
        return sent

    def count(self, operation: str) -> int:
        return sum(called == operation for called, _ in self.calls)

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        assert service == "sqs"
        self.calls.append((operation, dict(params)))
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        name = params["QueueName"] if operation == "GetQueueUrl" else params["QueueUrl"].rpartition("/")[2]
        queue = self.queues.get(name)
        if queue is None:
            raise AwsError("QueueDoesNotExist", "The specified queue does not exist.", status=400)
        match operation:
            case "GetQueueUrl":
                return {"QueueUrl": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"}
            case "GetQueueAttributes":
                return {"Attributes": {"VisibilityTimeout": str(queue.visibility_timeout_s)}}
            case "ReceiveMessage":
                messages = await self._receive(queue, params)
                return {"Messages": messages} if messages else {}
            case "DeleteMessageBatch":
                return self._delete(queue, params)
            case "ChangeMessageVisibilityBatch":
                return self._change(queue, params)
        raise AssertionError(operation)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def _now_ms(self) -> int:
        return round(self._now_s() * 1000)

    async def _receive(self, queue: Queue, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        until_s = self._now_s() + params["WaitTimeSeconds"]
        assert 1 <= params["MaxNumberOfMessages"] <= 10
        while True:
            taken = self._take(queue, params)
            left_s = until_s - self._now_s()
            if taken or left_s <= 0 or queue.name not in self.queues:
                return taken
            hidden = [message.visible_at_s for message in queue.messages if message.visible_at_s > self._now_s()]
            queue.changed.clear()
            try:
                async with asyncio.timeout(min([left_s, *(at_s - self._now_s() for at_s in hidden)])):
                    await queue.changed.wait()
            except TimeoutError:
                pass

    def _take(self, queue: Queue, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        now_s = self._now_s()
        visibility_s = params.get("VisibilityTimeout", queue.visibility_timeout_s)
        locked = {message.group for message in queue.messages if message.visible_at_s > now_s} if queue.is_fifo else set()
        taken = []
        for message in list(queue.messages):
            if len(taken) == params["MaxNumberOfMessages"]:
                break
            if message.visible_at_s > now_s or message.group in locked:
                continue
            if queue.maximum_receives is not None and message.receives >= queue.maximum_receives:
                queue.messages.remove(message)
                assert queue.dead_letters is not None
                queue.dead_letters.messages.append(message)
                continue
            message.receives += 1
            message.first_received_at_ms = message.first_received_at_ms or self._now_ms()
            message.visible_at_s = now_s + visibility_s
            message.receipt = f"receipt-{next(self._numbers)}"
            taken.append(self._shown(queue, message))
        return taken

    def _shown(self, queue: Queue, message: Message) -> dict[str, Any]:
        attributes = {
            "SenderId": ACCOUNT,
            "ApproximateFirstReceiveTimestamp": str(message.first_received_at_ms),
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(message.sent_at_ms),
        }
        if queue.is_fifo:
            attributes |= {"MessageGroupId": message.group, "SequenceNumber": "1", "MessageDeduplicationId": message.message_id}
        shown: dict[str, Any] = {
            "MessageId": message.message_id,
            "ReceiptHandle": message.receipt,
            "MD5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
            "Body": message.body,
            "Attributes": attributes,
        }
        if message.attributes:
            shown |= {"MessageAttributes": message.attributes, "MD5OfMessageAttributes": "ab" * 16}
        return shown

    def _delete(self, queue: Queue, params: Mapping[str, Any]) -> dict[str, Any]:
        assert 1 <= len(params["Entries"]) <= 10
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for entry in params["Entries"]:
            message = self._of(queue, entry)
            if queue.is_fifo and (message is None or message.visible_at_s <= self._now_s()):
                answer["Failed"].append({"Id": entry["Id"], "SenderFault": True, "Code": "InvalidParameterValue"})
                continue
            if message is not None:
                queue.messages.remove(message)
                queue.changed.set()
            answer["Successful"].append({"Id": entry["Id"]})
        return answer

    def _change(self, queue: Queue, params: Mapping[str, Any]) -> dict[str, Any]:
        assert 1 <= len(params["Entries"]) <= 10
        for entry in params["Entries"]:
            if (message := self._of(queue, entry)) is not None:
                message.visible_at_s = self._now_s() + entry["VisibilityTimeout"]
        queue.changed.set()
        return {"Successful": [{"Id": entry["Id"]} for entry in params["Entries"]], "Failed": []}

    def _of(self, queue: Queue, entry: Mapping[str, Any]) -> Message | None:
        return next((message for message in queue.messages if message.receipt == entry["ReceiptHandle"]), None)

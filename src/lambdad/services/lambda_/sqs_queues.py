"""Queues as pollers need them, by SQS's public operations: of the embedded service, or of whatever endpoint is configured for SQS."""

from collections.abc import Mapping, Sequence
from typing import Any

from lambdad.model.errors import AwsError
from lambdad.pollers.ports import SourceFailed
from lambdad.services.lambda_.rules.event_source_mappings import QueueReference
from lambdad.services.ports import Neighbours, Origin

_MISSING = "AWS.SimpleQueueService.NonExistentQueue"
_CODES = {"QueueDoesNotExist": _MISSING}  # to the codes that Lambda's texts have


class QueueRefused(SourceFailed):
    """SQS has answered with an error; the text is what Lambda says of it."""

    def __init__(self, operation: str, error: AwsError) -> None:
        self.code = _CODES.get(error.code, error.code)
        message = "The specified queue does not exist." if self.code == _MISSING else error.message
        super().__init__(f"Error occurred while {operation}. SQS Error Code: {self.code}. SQS Error Message: {message}")


class SqsQueue:
    """One queue.

    Args:
        origin: who polls: the account of the mapping, in the role of its function.
    """

    def __init__(self, neighbours: Neighbours, origin: Origin, reference: QueueReference) -> None:
        self._neighbours = neighbours
        self._origin = origin
        self._reference = reference
        self._url = ""  # as the endpoint names it; asked for again when the queue has been gone

    async def visibility_timeout_s(self) -> int:
        answer = await self._call("GetQueueAttributes", AttributeNames=["VisibilityTimeout"])
        return int(answer.get("Attributes", {}).get("VisibilityTimeout", "30"))

    async def receive(self, count: int, wait_s: int, visibility_s: int | None) -> Sequence[Mapping[str, Any]]:
        """Receive as `pollers.ports.Queue` says. Both names of the system attributes are given, for servers know the one or the other."""
        visibility = {} if visibility_s is None else {"VisibilityTimeout": visibility_s}
        answer = await self._call(
            "ReceiveMessage",
            MaxNumberOfMessages=count,
            WaitTimeSeconds=wait_s,
            AttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
            **visibility,
        )
        messages: Sequence[Mapping[str, Any]] = answer.get("Messages") or ()
        return messages

    async def delete(self, receipt_handles: Sequence[str]) -> Sequence[int]:
        entries = [{"Id": str(place), "ReceiptHandle": handle} for place, handle in enumerate(receipt_handles)]
        answer = await self._call("DeleteMessageBatch", Entries=entries)
        # A receipt that SQS does not take will never be taken: its message has been received anew since.
        return [int(entry["Id"]) for entry in answer.get("Failed") or () if not entry.get("SenderFault")]

    async def give_back(self, receipt_handles: Sequence[str]) -> None:
        entries = [{"Id": str(place), "ReceiptHandle": handle, "VisibilityTimeout": 0} for place, handle in enumerate(receipt_handles)]
        await self._call("ChangeMessageVisibilityBatch", Entries=entries)

    async def _call(self, operation: str, **params: Any) -> dict[str, Any]:
        # Whatever is refused, Lambda's texts call it a receive.
        try:
            if not self._url:
                named = {"QueueName": self._reference.name, "QueueOwnerAWSAccountId": self._reference.account}
                self._url = (await self._neighbours.call(self._origin, "sqs", "GetQueueUrl", named))["QueueUrl"]
            return await self._neighbours.call(self._origin, "sqs", operation, {"QueueUrl": self._url, **params})
        except AwsError as error:
            self._url = ""
            raise QueueRefused("ReceiveMessage", error) from error

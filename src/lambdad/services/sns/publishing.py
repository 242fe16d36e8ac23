"""Publish and PublishBatch: a message is accepted when all its deliveries are durable, and not before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambdad.kit.clock import NowMs
from lambdad.model.errors import AwsError
from lambdad.services.outbox import Delivery, Outbox
from lambdad.services.ports import CallContext, Handler
from lambdad.services.sns import access, errors
from lambdad.services.sns.deliveries import FanOut
from lambdad.services.sns.registry import Entry, Registry
from lambdad.services.sns.rules import limits, messages
from lambdad.services.sns.rules.messages import Message
from lambdad.services.sns.signing import Signer
from lambdad.store.connection import Connection
from lambdad.store.database import Database
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.sns", "queries.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What a caller is told of a message; the sequence number is empty where the topic is not FIFO."""

    message_id: str
    sequence_number: str

    def to_api(self) -> dict[str, str]:
        """Show it as Publish does."""
        shown = {"MessageId": self.message_id}
        if self.sequence_number:
            shown["SequenceNumber"] = self.sequence_number
        return shown


class Publishing:
    """The operations that publish.

    Args:
        new_id: makes UUIDs.
    """

    def __init__(
        self, database: Database, registry: Registry, outbox: Outbox, signer: Signer, now_ms: NowMs, new_id: Callable[[], str]
    ) -> None:
        self._database = database
        self._registry = registry
        self._outbox = outbox
        self._signer = signer
        self._now_ms = now_ms
        self._new_id = new_id

    def handlers(self) -> Mapping[str, Handler]:
        """Give the operations of this chapter."""
        return {"Publish": self.publish, "PublishBatch": self.publish_batch}

    async def publish(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Publish a message to a topic.

        Raises:
            InvalidParameter, InvalidAttributeValue: something about the message cannot be, or it is not for a topic.
            NotFound, AuthorizationError: as `access.topic_of`.
        """
        if request.get("PhoneNumber"):
            raise errors.InvalidParameter("PhoneNumber Reason: lambdad does not send text messages")
        parameter = "TopicArn" if request.get("TopicArn") else "TargetArn"
        arn = request.get(parameter)
        if not arn:
            raise errors.InvalidParameter("TopicArn or TargetArn Reason: no value for required parameter")
        entry = access.topic_of(self._registry, ctx, arn, "Publish", parameter)
        message = messages.checked(entry.topic, request)
        accepted = await self._accept(ctx, entry, [message])
        return accepted[0].to_api()

    async def publish_batch(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Publish up to ten messages, in their order; those that cannot be are among the failed.

        Raises:
            EmptyBatch, TooManyEntries, InvalidBatchId, IdsNotDistinct, BatchTooLong: the entries cannot be together.
            InvalidParameter, NotFound, AuthorizationError: as `access.topic_of`.
        """
        entries = request["PublishBatchRequestEntries"]
        entry = access.topic_of(self._registry, ctx, request["TopicArn"], "Publish")
        messages.check_batch(entries)
        good: list[tuple[str, Message]] = []
        failed: list[dict[str, Any]] = []
        for each in entries:
            try:
                good.append((each["Id"], messages.checked(entry.topic, each)))
            except AwsError as error:
                failed.append({"Id": each["Id"], "Code": error.code, "Message": error.message, "SenderFault": True})
        messages.check_batch_size(entry.topic, [message for _, message in good])
        accepted = await self._accept(ctx, entry, [message for _, message in good])
        successful = [{"Id": id_, **each.to_api()} for (id_, _), each in zip(good, accepted, strict=True)]
        return {"Successful": successful, "Failed": failed}

    async def _accept(self, ctx: CallContext, entry: Entry, accepted: Sequence[Message]) -> list[Accepted]:
        """Make a message's deliveries durable, and those of further ones with them."""
        is_fifo = entry.topic.is_fifo
        if not is_fifo and entry.listed:
            await self._signer.ready()
        # From here on nothing waits until the write is queued: sequence numbers rise in the order of the writes.
        now_ms = self._now_ms()
        made = [self._made(ctx, entry, message, now_ms) for message in accepted]
        if is_fifo:
            sequence = entry.sequence
            answers, count = await self._database.write(
                lambda connection: self._write_fifo(connection, entry, accepted, made, now_ms, sequence)
            )
        else:
            answers = [each for each, _ in made]
            deliveries = [delivery for _, several in made for delivery in several]
            count = len(deliveries)
            if deliveries:
                await self._database.write(lambda connection: self._outbox.add(connection, deliveries, now_ms))
        if count:
            self._outbox.wake()
        return answers

    def _made(self, ctx: CallContext, entry: Entry, message: Message, now_ms: int) -> tuple[Accepted, list[Delivery]]:
        sequence_number = ""
        if entry.topic.is_fifo:
            entry.sequence += 1
            sequence_number = str(limits.FIRST_SEQUENCE_NUMBER + entry.sequence)
        answer = Accepted(message_id=self._new_id(), sequence_number=sequence_number)
        fan_out = FanOut(
            entry.topic,
            message,
            message_id=answer.message_id,
            sequence_number=sequence_number,
            now_ms=now_ms,
            trace_id=ctx.trace_id,
            sign=self._signer.sign,
            certificate=self._signer.certificate_name,
        )
        return answer, fan_out.to(entry.confirmed())

    def _write_fifo(
        self,
        connection: Connection,
        entry: Entry,
        accepted: Sequence[Message],
        made: Sequence[tuple[Accepted, list[Delivery]]],
        now_ms: int,
        sequence: int,
    ) -> tuple[list[Accepted], int]:
        """Write the deliveries of those messages that are no duplicates; of the others, return what their originals were told."""
        topic = entry.topic
        answers: list[Accepted] = []
        deliveries: list[Delivery] = []
        for message, (answer, several) in zip(accepted, made, strict=True):
            key = {
                "topic_arn": topic.arn,
                "scope": message.group_id if topic.deduplicates_by_group else "",
                "deduplication_id": message.deduplication_id,
            }
            is_new = connection.run(
                queries.claim_deduplication_id,
                **key,
                message_id=answer.message_id,
                sequence_number=answer.sequence_number,
                accepted_at_ms=now_ms,
                before_ms=now_ms - limits.DEDUPLICATION_MS,
            )
            if is_new:
                deliveries += several
                answers.append(answer)
            else:
                row = connection.one(queries.accepted_message, **key)
                assert row is not None, "its id is taken by it"
                answers.append(Accepted(message_id=row.message_id, sequence_number=row.sequence_number))
        connection.run(queries.advance_sequence, arn=topic.arn, sequence=sequence)
        if deliveries:
            self._outbox.add(connection, deliveries, now_ms)
        return answers, len(deliveries)

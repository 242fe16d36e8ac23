"""Event notifications: how a bucket's are configured, and how what happens is told to functions, queues, topics and EventBridge."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from lambdad.kit.clock import NowMs
from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region
from lambdad.services.outbox import Delivery, Outbox
from lambdad.services.ports import CallContext, Handler, Neighbours, Origin
from lambdad.services.s3 import rows
from lambdad.services.s3.ports import PRINCIPAL, NewId
from lambdad.services.s3.rules import event_filters, event_records, limits, names
from lambdad.services.s3.rules.event_filters import LAMBDA, QUEUE, Subscription
from lambdad.services.s3.rules.event_records import Happening
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.wire.rest_xml import host_id

ATTEMPTS: Final = 1000
MAXIMUM_AGE_S: Final = 24 * 3600
"""How long a delivery is tried. AWS says no number; a destination that cannot be reached for a day is taken to be gone."""

_SUBJECT: Final = "Amazon S3 Notification"


class Announcements:
    """Tells of what happens to objects: as deliveries in the transaction that makes it happen."""

    def __init__(self, outbox: Outbox, now_ms: NowMs) -> None:
        self._outbox = outbox
        self._now_ms = now_ms
        self._number = 0

    def announce(self, connection: Connection, bucket: Row, happening: Happening) -> None:
        """Write down whom to tell of a change, in its transaction."""
        configuration = rows.document(connection, bucket, rows.NOTIFICATION)
        if configuration is None:
            return
        # Works run one after the other, so numbers grow in the order of commits; the clock keeps them growing over restarts.
        self._number = max(self._number + 1, self._now_ms() << 20)
        told = replace(happening, sequencer=event_records.sequencer(self._number))
        deliveries = [
            delivery_to(subscription, told)
            for subscription in event_filters.subscriptions(configuration)
            if subscription.wants(told.event, told.key)
        ]
        if event_filters.EVENT_BRIDGE in configuration and (entry := event_records.bridge_entry(told)) is not None:
            deliveries.append(_delivery(_origin(told, told.region), "events", "PutEvents", {"Entries": [entry]}))
        if deliveries:
            self._outbox.add(connection, deliveries, self._now_ms())

    def wake(self) -> None:
        """Deliver now what was written down."""
        self._outbox.wake()


def delivery_to(subscription: Subscription, happening: Happening) -> Delivery:
    """Make the call that tells one destination."""
    document = orjson.dumps(event_records.record(happening, subscription.id))
    region = subscription.arn.split(":")[3]
    origin = _origin(happening, region)
    if subscription.kind == LAMBDA:
        return _delivery(origin, "lambda", "Invoke", {"FunctionName": subscription.arn, "InvocationType": "Event", "Payload": document})
    if subscription.kind == QUEUE:
        return _delivery(origin, "sqs", "SendMessage", {"QueueUrl": queue_url(subscription.arn), "MessageBody": document.decode()})
    return _delivery(origin, "sns", "Publish", {"TopicArn": subscription.arn, "Message": document.decode(), "Subject": _SUBJECT})


def _delivery(origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> Delivery:
    return Delivery(
        origin=origin,
        service=service,
        operation=operation,
        params=params,
        maximum_attempts=ATTEMPTS,
        maximum_age_s=MAXIMUM_AGE_S,
    )


def _origin(happening: Happening, region: str) -> Origin:
    return Origin(account=AccountId(happening.owner_account), region=Region(region), principal=PRINCIPAL, source_arn=happening.bucket_arn)


def queue_url(arn: str) -> str:
    """Return the URL of a queue, in the form that names its region."""
    _, _, _, region, account, name = arn.split(":", 5)
    return f"https://sqs.{region}.amazonaws.com/{account}/{name}"


class Notifications:
    """The operations on notification configurations."""

    def __init__(self, database: Database, neighbours: Neighbours, new_id: NewId, now_ms: NowMs) -> None:
        self._database = database
        self._neighbours = neighbours
        self._new_id = new_id
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        return {
            "PutBucketNotificationConfiguration": self.put_bucket_notification_configuration,
            "GetBucketNotificationConfiguration": self.get_bucket_notification_configuration,
        }

    async def put_bucket_notification_configuration(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Replace whom a bucket tells of its events. Queues and topics are sent a test event, functions are asked whether S3 may call them.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            InvalidArgument: the configuration cannot be, or a destination is not there or does not let S3 in.
        """
        bucket = await self._database.read(lambda connection: rows.find_bucket(connection, ctx, params))
        ids = [self._new_id() for _ in range(limits.NOTIFICATIONS)]
        configuration = event_filters.checked(params.get("NotificationConfiguration") or {}, ids)
        if not params.get("SkipDestinationValidation"):
            await self._validate(ctx, bucket, configuration)

        def put(connection: Connection) -> None:
            found = rows.find_bucket(connection, ctx, params)
            if not configuration:
                connection.run(rows.queries.delete_document, bucket_id=found.id, kind=rows.NOTIFICATION)
                return
            document = orjson.dumps(configuration).decode()
            connection.run(rows.queries.put_document, bucket_id=found.id, kind=rows.NOTIFICATION, document=document)

        await self._database.write(put)
        return {}

    async def get_bucket_notification_configuration(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Show whom a bucket tells of its events.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
        """

        def find(connection: Connection) -> dict[str, Any]:
            bucket = rows.find_bucket(connection, ctx, params)
            return rows.document(connection, bucket, rows.NOTIFICATION) or {}

        return await self._database.read(find)

    async def _validate(self, ctx: CallContext, bucket: Row, configuration: Mapping[str, Any]) -> None:
        """Ask every destination, and say of all that fail why."""
        failures: list[tuple[str, str]] = []
        asked: set[str] = set()
        document = orjson.dumps(event_records.test_document(bucket.name, self._now_ms(), ctx.request_id, host_id(ctx.request_id))).decode()
        for subscription in event_filters.subscriptions(configuration):
            if subscription.arn in asked:
                continue
            asked.add(subscription.arn)
            failure = await self._ask(bucket, subscription, document)
            if failure is not None:
                failures.append(failure)
        if failures:
            raise event_filters.unvalidated(failures)

    async def _ask(self, bucket: Row, subscription: Subscription, document: str) -> tuple[str, str] | None:
        arn = subscription.arn
        origin = Origin(
            account=AccountId(bucket.account),
            region=Region(arn.split(":")[3]),
            principal=PRINCIPAL,
            source_arn=names.bucket_arn(bucket.name, bucket.region),
        )
        service, operation, params = _probe(subscription, document)
        try:
            await self._neighbours.call(origin, service, operation, params)
        except AwsError as error:
            return _failure(subscription, error)
        return None


def _probe(subscription: Subscription, document: str) -> tuple[str, str, dict[str, Any]]:
    """Return the call that shows whether S3 may call a destination."""
    arn = subscription.arn
    if subscription.kind == LAMBDA:
        return "lambda", "Invoke", {"FunctionName": arn, "InvocationType": "DryRun"}
    if subscription.kind == QUEUE:
        return "sqs", "SendMessage", {"QueueUrl": queue_url(arn), "MessageBody": document}
    return "sns", "Publish", {"TopicArn": arn, "Message": document, "Subject": _SUBJECT}


_MISSING: Final[Sequence[str]] = ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "NotFound", "NotFoundException")


def _failure(subscription: Subscription, error: AwsError) -> tuple[str, str]:
    """Say what is wrong with a destination, in S3's words."""
    arn = subscription.arn
    if subscription.kind == LAMBDA:
        return f"{arn}, null", f"Not authorized to invoke function [{arn}]"
    noun = "queue" if subscription.kind == QUEUE else "topic"
    if error.code in _MISSING or error.status == 404:
        return arn, f"The destination {noun} does not exist"
    if error.status in (401, 403) or "Denied" in error.code or error.code == "AuthorizationError":
        return arn, f"Permissions on the destination {noun} do not allow S3 to publish notifications from this bucket"
    return arn, f"The destination {noun} cannot be reached: {error.code}"

"""The deliveries that come of a message or of a subscription: a call of a neighbour for each, as the outbox takes it.

Everything that is the same for all subscribers is made once: a fan-out to a hundred signs once, and writes a hundred short ends.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from lambdad.model.ids import AccountId, Region
from lambdad.services.outbox import DeadLetter, Delivery
from lambdad.services.ports import Origin
from lambdad.services.sns.rules import (
    delivery_policies,
    endpoints,
    limits,
    message_attributes,
    names,
    notifications,
    subscription_attributes,
)
from lambdad.services.sns.rules.delivery_policies import Schedule
from lambdad.services.sns.rules.filter_policies.matching import parsed_body
from lambdad.services.sns.rules.messages import Message
from lambdad.services.sns.rules.notifications import Notice
from lambdad.services.sns.rules.nouns import Protocol, Subscription, Topic

PRINCIPAL: Final = "sns.amazonaws.com"
HTTP_SERVICE: Final = "sns-http"
"""The service, seen by neighbours only, that posts to HTTP endpoints; see `http_endpoints`."""
POST: Final = "Post"

_ERROR_ATTRIBUTES: Final = 2  # what a dead letter has beside the message's own


class FanOut:
    """
    Makes the deliveries of one message.

    Args:
        sign: a text and a signature version to base64; asked only if somebody gets an envelope.
        certificate: the file name of the certificate.
    """

    def __init__(
        self,
        topic: Topic,
        message: Message,
        *,
        message_id: str,
        sequence_number: str,
        now_ms: int,
        trace_id: str,
        sign: Callable[[bytes, str], str],
        certificate: str,
    ) -> None:
        self._topic = topic
        self._message = message
        self._message_id = message_id
        self._sequence_number = sequence_number
        self._timestamp = notifications.timestamp(now_ms)
        self._trace_id = trace_id
        self._sign = sign
        self._certificate = certificate
        self._notices: dict[str, tuple[Notice, str]] = {}
        self._bodies: dict[str, Any] = {}
        self._comparable: dict[str, Any] | None = None

    def to(self, subscriptions: Iterable[Subscription]) -> list[Delivery]:
        """Make a delivery for each subscription that wants the message."""
        return [self._delivery(each) for each in subscriptions if self._is_wanted(each)]

    def _is_wanted(self, subscription: Subscription) -> bool:
        wanted = subscription.filter
        if wanted is None:
            return True
        if wanted.reads_body:
            text = self._message.text_for(subscription.protocol)
            if text not in self._bodies:
                self._bodies[text] = parsed_body(text)
            return wanted.matches_body(self._bodies[text])
        if self._comparable is None:
            self._comparable = message_attributes.comparable(self._message.attributes)
        return wanted.matches_attributes(self._comparable)

    def _delivery(self, subscription: Subscription) -> Delivery:
        match subscription.protocol:
            case Protocol.LAMBDA:
                return self._to_lambda(subscription)
            case Protocol.SQS:
                return self._to_sqs(subscription)
            case Protocol.HTTP | Protocol.HTTPS:
                return self._to_http(subscription)

    def _to_lambda(self, subscription: Subscription) -> Delivery:
        function = names.parse_function(subscription.endpoint)
        assert function is not None, "it was checked when it subscribed"
        notice, _ = self._notice(subscription)
        payload = notifications.event(notice, subscription.endpoint_of_links, subscription.arn)
        return self._managed(
            subscription,
            function.region,
            "lambda",
            "Invoke",
            {"FunctionName": subscription.endpoint, "InvocationType": "Event", "Payload": payload},
            self._dead_letter(subscription, lambda: self._envelope(subscription)),
        )

    def _to_sqs(self, subscription: Subscription) -> Delivery:
        queue = names.parse_queue(subscription.endpoint)
        assert queue is not None, "it was checked when it subscribed"
        message = self._message
        body = message.text_for(Protocol.SQS) if subscription.is_raw else self._envelope(subscription)
        params: dict[str, Any] = {"QueueUrl": f"https://sqs.{queue.region}.amazonaws.com/{queue.account}/{queue.name}", "MessageBody": body}
        if subscription.is_raw and message.attributes:
            params["MessageAttributes"] = message_attributes.for_sqs(message.attributes)
        if message.group_id:
            params["MessageGroupId"] = message.group_id
        if queue.is_fifo:
            params["MessageDeduplicationId"] = message.deduplication_id
        if self._trace_id:
            params["MessageSystemAttributes"] = {"AWSTraceHeader": {"DataType": "String", "StringValue": self._trace_id}}
        return self._managed(subscription, queue.region, "sqs", "SendMessage", params, self._dead_letter(subscription, lambda: body))

    def _managed(
        self, subscription: Subscription, region: str, service: str, operation: str, params: dict[str, Any], dead_letter: DeadLetter | None
    ) -> Delivery:
        return Delivery(
            origin=_origin(self._topic, region, self._trace_id),
            service=service,
            operation=operation,
            params=params,
            order_key=f"{subscription.arn} {self._message.group_id}" if self._topic.is_fifo else "",
            maximum_attempts=limits.MANAGED_ATTEMPTS,
            maximum_age_s=limits.MANAGED_AGE_S,
            delays_ms=limits.MANAGED_DELAYS_MS,
            dead_letter=dead_letter,
        )

    def _to_http(self, subscription: Subscription) -> Delivery:
        body = self._message.text_for(subscription.protocol) if subscription.is_raw else self._envelope(subscription)
        headers = {"x-amz-sns-subscription-arn": subscription.arn}
        if subscription.is_raw:
            headers["x-amz-sns-rawdelivery"] = "true"
        return _post(
            self._topic,
            subscription,
            kind=notifications.NOTIFICATION,
            message_id=self._message_id,
            body=body,
            headers=headers,
            dead_letter=self._dead_letter(subscription, lambda: body),
            trace_id=self._trace_id,
        )

    def _dead_letter(self, subscription: Subscription, body: Callable[[], str]) -> DeadLetter | None:
        queue_arn = subscription_attributes.dead_letter_queue(subscription)
        if not queue_arn:
            return None
        message = self._message
        attributes = message_attributes.for_sqs(message.attributes) if subscription.is_raw else {}
        if len(attributes) > limits.ATTRIBUTES_OF_RAW_SQS:
            attributes = {}  # no queue takes so many; that is why the message is here
        has_room = len(attributes) + _ERROR_ATTRIBUTES <= limits.ATTRIBUTES_OF_RAW_SQS
        return DeadLetter(
            queue_arn=queue_arn,
            body=body(),
            attributes=attributes,
            message_group_id=message.group_id if self._topic.is_fifo else "",
            message_deduplication_id=message.deduplication_id if self._topic.is_fifo else "",
            error_code_attribute="ErrorCode" if has_room else "",
            error_message_attribute="ErrorMessage" if has_room else "",
        )

    def _envelope(self, subscription: Subscription) -> str:
        notice, begin = self._notice(subscription)
        return notifications.envelope(begin, notice, subscription.endpoint_of_links, subscription.arn)

    def _notice(self, subscription: Subscription) -> tuple[Notice, str]:
        """Return what all envelopes with a subscription's text have in them, and how they begin."""
        text = self._message.text_for(subscription.protocol)
        found = self._notices.get(text)
        if found is None:
            found = self._notices[text] = self._new_notice(text)
        return found

    def _new_notice(self, text: str) -> tuple[Notice, str]:
        topic, message = self._topic, self._message
        notice = Notice(
            message_id=self._message_id,
            topic_arn=topic.arn,
            subject=message.subject,
            text=text,
            timestamp=self._timestamp,
            attributes=message.attributes,
            sequence_number=self._sequence_number,
        )
        if not topic.is_fifo:
            signature = self._sign(notifications.signed_text_of(notice), topic.signature_version)
            notice = replace(notice, signature_version=topic.signature_version, signature=signature, certificate=self._certificate)
        return notice, notifications.envelope_begin(notice)


def confirmation(
    topic: Topic,
    subscription: Subscription,
    *,
    kind: str,
    message_id: str,
    now_ms: int,
    sign: Callable[[bytes, str], str],
    certificate: str,
) -> Delivery:
    """
    Make the delivery of a message that lets the owner of an HTTP endpoint confirm its subscription, or restore it.

    Args:
        kind: `notifications.SUBSCRIPTION_CONFIRMATION` or `notifications.UNSUBSCRIBE_CONFIRMATION`.
    """
    if kind == notifications.SUBSCRIPTION_CONFIRMATION:
        text = (
            f"You have chosen to subscribe to the topic {topic.arn}.\n"
            "To confirm the subscription, visit the SubscribeURL included in this message."
        )
    else:
        text = (
            f"You have chosen to deactivate subscription {subscription.arn}.\n"
            "To cancel this operation and restore the subscription, visit the SubscribeURL included in this message."
        )
    members = {
        "Type": kind,
        "MessageId": message_id,
        "Token": subscription.token,
        "TopicArn": topic.arn,
        "Message": text,
        "SubscribeURL": notifications.subscribe_url(subscription.endpoint_of_links, topic.arn, subscription.token),
        "Timestamp": notifications.timestamp(now_ms),
    }
    version = topic.signature_version
    signature = sign(notifications.signed_text(members), version)
    members |= {
        "SignatureVersion": version,
        "Signature": signature,
        "SigningCertURL": notifications.certificate_url(subscription.endpoint_of_links, certificate),
    }
    headers = {}
    if kind == notifications.UNSUBSCRIBE_CONFIRMATION:
        headers["x-amz-sns-subscription-arn"] = subscription.arn
    return _post(topic, subscription, kind=kind, message_id=message_id, body=notifications.confirmation(members), headers=headers)


def _post(
    topic: Topic,
    subscription: Subscription,
    *,
    kind: str,
    message_id: str,
    body: str,
    headers: dict[str, str],
    dead_letter: DeadLetter | None = None,
    trace_id: str = "",
) -> Delivery:
    schedule = _schedule(topic, subscription)
    sent = {
        "x-amz-sns-message-type": kind,
        "x-amz-sns-message-id": message_id,
        "x-amz-sns-topic-arn": topic.arn,
        **headers,
        "Content-Type": schedule.content_type,
    }
    return Delivery(
        origin=_origin(topic, topic.region, trace_id),
        service=HTTP_SERVICE,
        operation=POST,
        params={"Url": subscription.endpoint, "Headers": sent, "Body": body.encode()},
        maximum_attempts=schedule.attempts,
        maximum_age_s=limits.HTTP_AGE_S,
        delays_ms=schedule.delays_ms,
        dead_letter=dead_letter,
        target=endpoints.shown(subscription.endpoint),
    )


def _schedule(topic: Topic, subscription: Subscription) -> Schedule:
    return delivery_policies.schedule(topic.attributes.get("DeliveryPolicy"), subscription.attributes.get("DeliveryPolicy"))


def _origin(topic: Topic, region: str, trace_id: str) -> Origin:
    return Origin(account=AccountId(topic.account), region=Region(region), principal=PRINCIPAL, source_arn=topic.arn, trace_id=trace_id)

"""Subscriptions come and go: Subscribe, ConfirmSubscription, Unsubscribe, and what nobody has confirmed in time."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from lambdad.kit.clock import NowMs
from lambdad.services.outbox import Delivery
from lambdad.services.ports import CallContext, Handler
from lambdad.services.sns import access, deliveries, errors
from lambdad.services.sns.registry import Change, Entry, Registry
from lambdad.services.sns.rules import endpoints, limits, links, names, notifications, subscription_attributes
from lambdad.services.sns.rules.nouns import Protocol, State, Subscription, Topic
from lambdad.services.sns.signing import Signer

_PENDING: Final = "pending confirmation"
"""What Subscribe answers in place of an ARN."""


class Subscriptions:
    """The operations by which subscriptions come and go.

    Args:
        new_id: makes UUIDs.
        new_token: makes what nobody can guess.
        endpoint: where lambdad listens, for links; see `links.endpoint_for`.
    """

    def __init__(
        self,
        registry: Registry,
        signer: Signer,
        now_ms: NowMs,
        *,
        new_id: Callable[[], str],
        new_token: Callable[[], str],
        endpoint: str,
    ) -> None:
        self._registry = registry
        self._signer = signer
        self._now_ms = now_ms
        self._new_id = new_id
        self._new_token = new_token
        self._endpoint = endpoint

    def handlers(self) -> Mapping[str, Handler]:
        """Give the operations of this chapter."""
        return {
            "Subscribe": self.subscribe,
            "ConfirmSubscription": self.confirm_subscription,
            "Unsubscribe": self.unsubscribe,
        }

    def handlers_of_links(self) -> Mapping[str, Handler]:
        """Give the operations that links in messages ask for."""
        return {"ConfirmSubscription": self.confirm_subscription, "Unsubscribe": self.unsubscribe}

    async def subscribe(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Subscribe an endpoint to a topic; one that is subscribed already, and with these attributes, is returned.

        Queues and functions are confirmed at once: whether messages may be sent to them is for their own policies to say. Who has an
        HTTP endpoint is sent a token with which to confirm.

        Raises:
            InvalidParameter: protocol, endpoint or an attribute cannot be, or the endpoint is subscribed with other attributes.
            NotFound, AuthorizationError: as `access.topic_of`.
            TooManySubscriptions, TooManyFilterPolicies: there would be more than allowed.
        """
        arn, given = request["TopicArn"], request.get("Attributes", {})
        topic = access.topic_of(self._registry, ctx, arn, "Subscribe").topic
        protocol = endpoints.checked(topic, request["Protocol"], request.get("Endpoint", ""))
        attributes = subscription_attributes.checked_new(topic, protocol, given)
        if protocol.is_http:
            await self._signer.ready()
        new = Subscription(
            arn=f"{arn}:{self._new_id()}",
            topic_arn=arn,
            owner=ctx.account,
            principal=ctx.principal_arn,
            protocol=protocol,
            endpoint=request["Endpoint"],
            state=State.PENDING if protocol.is_http else State.CONFIRMED,
            token=self._new_token() if protocol.is_http else "",
            changed_at_ms=self._now_ms(),
            endpoint_of_links=links.endpoint_for(ctx.endpoint, self._endpoint),
            confirmed_by_owner=not protocol.is_http,
            attributes=attributes,
            filter=subscription_attributes.compiled(attributes),
        )

        def decide(_: Entry | None) -> Change[Subscription]:
            entry = access.topic_of(self._registry, ctx, arn, "Subscribe")
            there = entry.subscriptions.get(entry.by_endpoint.get((protocol, new.endpoint), ""))
            if there is None:
                _check_room(entry, new)
                return Change(topic=entry.topic, answer=new, put=(new,), deliveries=self._confirmation(entry.topic, new))
            if any(there.attributes.get(name) != attributes.get(name) for name in given):
                raise errors.InvalidParameter("Attributes Reason: Subscription already exists with different attributes")
            if there.state is State.CONFIRMED:
                return Change(topic=entry.topic, answer=there)
            asked_again = replace(there, token=new.token, changed_at_ms=new.changed_at_ms, endpoint_of_links=new.endpoint_of_links)
            return Change(
                topic=entry.topic, answer=asked_again, put=(asked_again,), deliveries=self._confirmation(entry.topic, asked_again)
            )

        subscription = await self._registry.change(arn, decide)
        shows_arn = subscription.state is State.CONFIRMED or request.get("ReturnSubscriptionArn", False)
        return {"SubscriptionArn": subscription.arn if shows_arn else _PENDING}

    async def confirm_subscription(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Confirm the subscription that a token was sent for, or restore it. Who has the token may do it.

        Raises:
            InvalidParameter: the token was not given out for this topic, or is too old.
            NotFound: there is no such topic.
        """
        arn, token = request["TopicArn"], request["Token"]
        names.parse_topic(arn)
        is_anonymous = not ctx.principal_arn
        by_owner = request.get("AuthenticateOnUnsubscribe", "").lower() == "true" and not is_anonymous

        def decide(_: Entry | None) -> Change[str]:
            entry = self._registry.find(arn)
            found = entry.subscriptions.get(entry.by_token.get(token, ""))
            if found is None or (found.state is not State.CONFIRMED and self._is_too_old(found)):
                raise errors.InvalidParameter("Token")
            other = entry.by_endpoint.get((found.protocol, found.endpoint), found.arn)
            if found.state is State.CONFIRMED or other != found.arn:
                return Change(topic=entry.topic, answer=other)
            confirmed = replace(
                found,
                state=State.CONFIRMED,
                confirmed_by_owner=ctx.account == found.owner and not is_anonymous,
                unsubscribes_by_owner=by_owner,
            )
            return Change(topic=entry.topic, answer=found.arn, put=(confirmed,))

        return {"SubscriptionArn": await self._registry.change(arn, decide)}

    async def unsubscribe(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """End a subscription; one that is not there is no error. Who has an HTTP endpoint is told, and can restore it for two days.

        Raises:
            InvalidParameter: the ARN is none.
            AuthorizationError: the caller is not who may.
        """
        arn = request["SubscriptionArn"]
        topic_arn = names.parse_subscription(arn).arn
        if (there := self._registry.subscription(arn)) is None:
            return {}
        if there.protocol.is_http:
            await self._signer.ready()
        token = self._new_token()

        def decide(entry: Entry | None) -> Change[None]:
            found = entry.subscriptions.get(arn) if entry is not None else None
            if entry is None or found is None or found.state is State.DELETED:
                return Change(topic=entry.topic if entry is not None else None, answer=None)
            if not _may_end(ctx, entry.topic, found):
                raise errors.AuthorizationError(ctx.principal_arn, "Unsubscribe", arn)
            if not found.protocol.is_http or found.state is State.PENDING:
                return Change(topic=entry.topic, answer=None, removed=(arn,))
            ended = replace(found, state=State.DELETED, token=token, changed_at_ms=self._now_ms())
            told = self._confirmation(entry.topic, ended)
            return Change(topic=entry.topic, answer=None, put=(ended,), deliveries=told)

        await self._registry.change(topic_arn, decide)
        return {}

    async def forget_old(self) -> int:
        """Forget what nobody has confirmed, or restored, in two days; returns how many subscriptions that were."""
        count = 0
        for entry in self._registry.everything():
            if any(self._is_forgotten(each) for each in entry.subscriptions.values()):
                count += await self._registry.change(entry.topic.arn, self._forget)
        return count

    def _forget(self, entry: Entry | None) -> Change[int]:
        if entry is None:
            return Change(topic=None, answer=0)
        gone = tuple(each.arn for each in entry.subscriptions.values() if self._is_forgotten(each))
        return Change(topic=entry.topic, answer=len(gone), removed=gone)

    def _is_forgotten(self, subscription: Subscription) -> bool:
        return subscription.state is not State.CONFIRMED and self._is_too_old(subscription)

    def _is_too_old(self, subscription: Subscription) -> bool:
        return self._now_ms() - subscription.changed_at_ms >= limits.TOKEN_LIVES_MS

    def _confirmation(self, topic: Topic, subscription: Subscription) -> tuple[Delivery, ...]:
        """Return the message that takes a token to its endpoint; nothing for those that are confirmed at once."""
        if subscription.state is State.CONFIRMED:
            return ()
        is_new = subscription.state is State.PENDING
        return (
            deliveries.confirmation(
                topic,
                subscription,
                kind=notifications.SUBSCRIPTION_CONFIRMATION if is_new else notifications.UNSUBSCRIBE_CONFIRMATION,
                message_id=self._new_id(),
                now_ms=self._now_ms(),
                sign=self._signer.sign,
                certificate=self._signer.certificate_name,
            ),
        )


def _check_room(entry: Entry, new: Subscription) -> None:
    topic = entry.topic
    most = limits.SUBSCRIPTIONS_FIFO if topic.is_fifo else limits.SUBSCRIPTIONS
    if topic.message_bytes_max > limits.MESSAGE_BYTES:
        most = limits.SUBSCRIPTIONS_LARGE
        if new.protocol not in (Protocol.SQS, Protocol.LAMBDA):
            raise errors.InvalidParameter(
                "Protocol Reason: a topic with a MaximumMessageSize above 256 KiB takes queues and functions only"
            )
    if len(entry.listed) >= most:
        raise errors.TooManySubscriptions
    if new.filter is not None and entry.filters >= limits.FILTER_POLICIES:
        raise errors.TooManyFilterPolicies


def _may_end(ctx: CallContext, topic: Topic, subscription: Subscription) -> bool:
    """Say whether a caller may end a subscription: its owner, the topic's, and, unless that was ruled out, who has the link."""
    if not ctx.principal_arn:
        return not subscription.unsubscribes_by_owner
    return ctx.account in (subscription.owner, topic.account)

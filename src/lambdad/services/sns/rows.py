"""Topics and subscriptions as rows. Every function runs inside a read or a write of the store."""

from collections.abc import Sequence

import orjson

from lambdad.services.sns.rules import subscription_attributes
from lambdad.services.sns.rules.nouns import Protocol, State, Subscription, Topic
from lambdad.store.connection import Connection
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.sns", "queries.sql")


def load(connection: Connection) -> tuple[list[Topic], list[Subscription]]:
    """Read everything."""
    topics = [
        Topic(
            arn=row.arn,
            account=row.account,
            region=row.region,
            name=row.name,
            attributes=orjson.loads(row.attributes),
            tags=orjson.loads(row.tags),
            sequence=row.sequence,
        )
        for row in connection.all(queries.all_topics)
    ]
    subscriptions = []
    for row in connection.all(queries.all_subscriptions):
        attributes = orjson.loads(row.attributes)
        subscriptions.append(
            Subscription(
                arn=row.arn,
                topic_arn=row.topic_arn,
                owner=row.owner,
                principal=row.principal,
                protocol=Protocol(row.protocol),
                endpoint=row.endpoint,
                state=State(row.state),
                token=row.token,
                changed_at_ms=row.changed_at_ms,
                endpoint_of_links=row.endpoint_of_links,
                confirmed_by_owner=bool(row.confirmed_by_owner),
                unsubscribes_by_owner=bool(row.unsubscribes_by_owner),
                attributes=attributes,
                filter=subscription_attributes.compiled(attributes),
            )
        )
    return topics, subscriptions


def put_topic(connection: Connection, topic: Topic) -> None:
    """Store a topic."""
    connection.run(
        queries.put_topic,
        arn=topic.arn,
        account=topic.account,
        region=topic.region,
        name=topic.name,
        attributes=orjson.dumps(topic.attributes).decode(),
        tags=orjson.dumps(topic.tags).decode(),
    )


def delete_topic(connection: Connection, arn: str) -> None:
    """Remove a topic and all that belongs to it."""
    connection.run(queries.delete_topic, arn=arn)
    connection.run(queries.delete_subscriptions, topic_arn=arn)
    connection.run(queries.delete_deduplications, topic_arn=arn)


def put_subscription(connection: Connection, subscription: Subscription) -> None:
    """Store a subscription."""
    connection.run(
        queries.put_subscription,
        arn=subscription.arn,
        topic_arn=subscription.topic_arn,
        owner=subscription.owner,
        principal=subscription.principal,
        protocol=subscription.protocol,
        endpoint=subscription.endpoint,
        state=subscription.state,
        token=subscription.token,
        changed_at_ms=subscription.changed_at_ms,
        endpoint_of_links=subscription.endpoint_of_links,
        confirmed_by_owner=subscription.confirmed_by_owner,
        unsubscribes_by_owner=subscription.unsubscribes_by_owner,
        attributes=orjson.dumps(subscription.attributes).decode(),
    )


def delete_subscriptions(connection: Connection, arns: Sequence[str]) -> None:
    """Forget subscriptions."""
    connection.many(queries.delete_subscription, [{"arn": arn} for arn in arns])

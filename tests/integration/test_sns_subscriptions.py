"""How subscriptions of SNS come and go, through its handlers, on both databases."""

import json
from collections.abc import AsyncIterator
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.integration.sns_house import ACCOUNT, ENDPOINT, FUNCTION, QUEUE, Clock, Sns, open_sns

from lambdad.kit import http1
from lambdad.services.sns.rules import limits, links

URL = "http://subscriber.example/hook"
OTHER = "111111111111"


@pytest.fixture
async def sns(database_url: str) -> AsyncIterator[Sns]:
    async with open_sns(database_url) as opened:
        yield opened


async def received(sns: Sns) -> dict[str, Any]:
    """Return the one message that was posted, with its headers."""
    [(_, service, operation, params)] = await sns.delivered(1)
    assert (service, operation, params["Url"]) == ("sns-http", "Post", URL)
    message: dict[str, Any] = json.loads(params["Body"])
    assert params["Headers"]["x-amz-sns-message-type"] == message["Type"]
    assert params["Headers"]["x-amz-sns-message-id"] == message["MessageId"]
    return message | {"headers": params["Headers"]}


async def follow(sns: Sns, url: str, method: str = "GET") -> tuple[int, str]:
    """Follow a link without a signature; returns the status, and the subscription's ARN or the error's code."""
    assert url.startswith(ENDPOINT)
    answer = await sns.service.links.answer(http1.Request(method, url.removeprefix(ENDPOINT), {}, b""))
    assert isinstance(answer.body, bytes)
    if not answer.body:
        return answer.status, ""
    found = [each.text or "" for each in ElementTree.fromstring(answer.body).iter() if each.tag.endswith(("SubscriptionArn", "}Code"))]
    return answer.status, found[0] if found else ""


async def attributes_of(sns: Sns, subscription: str) -> dict[str, str]:
    shown: dict[str, str] = (await sns("GetSubscriptionAttributes", SubscriptionArn=subscription))["Attributes"]
    return shown


async def test_queues_and_functions_are_confirmed_at_once(sns: Sns) -> None:
    """Subscribe answers with the ARN, and a second time with the same one."""
    topic = await sns.topic()
    answer = await sns("Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=QUEUE)
    assert answer["SubscriptionArn"].startswith(f"{topic}:")
    assert await sns("Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=QUEUE) == answer
    defaults = {"RawMessageDelivery": "false", "FilterPolicyScope": "MessageAttributes"}
    assert await sns("Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=QUEUE, Attributes=defaults) == answer
    function = await sns.subscription(topic, "lambda", FUNCTION)
    assert await attributes_of(sns, function) == {
        "SubscriptionArn": function,
        "TopicArn": topic,
        "Owner": ACCOUNT,
        "Protocol": "lambda",
        "Endpoint": FUNCTION,
        "ConfirmationWasAuthenticated": "true",
        "PendingConfirmation": "false",
        "RawMessageDelivery": "false",
        "SubscriptionPrincipal": f"arn:aws:iam::{ACCOUNT}:root",
    }
    refused = await sns.refused("Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=QUEUE, Attributes={"RawMessageDelivery": "true"})
    assert refused == (
        "InvalidParameter",
        "Invalid parameter: Attributes Reason: Subscription already exists with different attributes",
    )
    assert await sns.delivered(0) == []


async def test_an_http_endpoint_confirms_first(sns: Sns) -> None:
    """Nothing but the token is sent before it is confirmed by the link; then messages are."""
    topic = await sns.topic()
    answer = await sns("Subscribe", TopicArn=topic, Protocol="http", Endpoint=URL)
    assert answer == {"SubscriptionArn": "pending confirmation"}
    message = await received(sns)
    assert message["Type"] == "SubscriptionConfirmation"
    assert "x-amz-sns-subscription-arn" not in message.pop("headers")
    assert list(message) == [
        *("Type", "MessageId", "Token", "TopicArn", "Message", "SubscribeURL"),
        *("Timestamp", "SignatureVersion", "Signature", "SigningCertURL"),
    ]
    assert message["Message"] == (
        f"You have chosen to subscribe to the topic {topic}.\nTo confirm the subscription, visit the SubscribeURL included in this message."
    )
    [listed] = (await sns("ListSubscriptionsByTopic", TopicArn=topic))["Subscriptions"]
    assert listed["SubscriptionArn"] == "PendingConfirmation"
    await sns("Publish", TopicArn=topic, Message="too early")
    assert await sns.delivered(0) == []
    status, arn = await follow(sns, message["SubscribeURL"])
    assert (status, arn.rpartition(":")[0]) == (200, topic)
    assert await follow(sns, message["SubscribeURL"]) == (200, arn)
    assert (await attributes_of(sns, arn))["ConfirmationWasAuthenticated"] == "false"
    await sns("Publish", TopicArn=topic, Message="now")
    notification = await received(sns)
    assert (notification["Type"], notification["Message"]) == ("Notification", "now")
    assert notification["headers"] == {
        "x-amz-sns-message-type": "Notification",
        "x-amz-sns-message-id": notification["MessageId"],
        "x-amz-sns-topic-arn": topic,
        "x-amz-sns-subscription-arn": arn,
        "Content-Type": "text/plain; charset=UTF-8",
    }


async def test_a_token_confirms_through_the_api(sns: Sns) -> None:
    """ConfirmSubscription by the owner shows as authenticated; AuthenticateOnUnsubscribe disables the link that ends it."""
    topic = await sns.topic()
    arn = await sns.subscription(topic, "http", URL)
    token = (await received(sns))["Token"]
    wrong = ("InvalidParameter", "Invalid parameter: Token")
    assert await sns.refused("ConfirmSubscription", TopicArn=topic, Token="x" * 256) == wrong
    assert await sns.refused("ConfirmSubscription", TopicArn=f"{topic}2", Token=token) == ("NotFound", "Topic does not exist")
    answer = await sns("ConfirmSubscription", TopicArn=topic, Token=token, AuthenticateOnUnsubscribe="true")
    assert answer == {"SubscriptionArn": arn}
    assert (await attributes_of(sns, arn))["ConfirmationWasAuthenticated"] == "true"
    link = f"{ENDPOINT}/_lambdad/sns/?Action=Unsubscribe&SubscriptionArn={arn}"
    assert await follow(sns, link) == (403, "AuthorizationError")
    assert (await sns.refused("Unsubscribe", account=OTHER, SubscriptionArn=arn))[0] == "AuthorizationError"
    assert await sns("Unsubscribe", SubscriptionArn=arn) == {}


async def test_who_unsubscribed_can_come_back(sns: Sns) -> None:
    """An HTTP endpoint is told that its subscription ended, and restores it with all its attributes."""
    topic = await sns.topic()
    arn = await sns.subscription(topic, "http", URL, FilterPolicy='{"a":["b"]}')
    await follow(sns, (await received(sns))["SubscribeURL"])
    assert await follow(sns, f"{ENDPOINT}/_lambdad/sns/?Action=Unsubscribe&SubscriptionArn={arn}") == (200, "")
    message = await received(sns)
    assert message["Type"] == "UnsubscribeConfirmation"
    assert message["headers"]["x-amz-sns-subscription-arn"] == arn
    assert await sns.refused("GetSubscriptionAttributes", SubscriptionArn=arn) == ("NotFound", "Subscription does not exist")
    assert (await sns("GetTopicAttributes", TopicArn=topic))["Attributes"]["SubscriptionsDeleted"] == "1"
    assert (await sns("ListSubscriptionsByTopic", TopicArn=topic))["Subscriptions"] == []
    assert await follow(sns, message["SubscribeURL"]) == (200, arn)
    assert (await attributes_of(sns, arn))["FilterPolicy"] == '{"a":["b"]}'


async def test_unsubscribing_queues_is_final_and_can_be_repeated(sns: Sns) -> None:
    """Nobody is told; an ARN that is none is refused."""
    topic = await sns.topic()
    arn = await sns.subscription(topic)
    assert await sns("Unsubscribe", SubscriptionArn=arn) == {}
    assert await sns("Unsubscribe", SubscriptionArn=arn) == {}
    assert await sns.delivered(0) == []
    assert await sns.refused("Unsubscribe", SubscriptionArn="PendingConfirmation") == (
        "InvalidParameter",
        "Invalid parameter: SubscriptionArn Reason: An ARN must have at least 6 elements, not 1",
    )


async def test_tokens_are_good_for_two_days(database_url: str) -> None:
    """Who asks again gets a new token; what nobody confirms is forgotten, also after a restart."""
    clock = Clock()
    async with open_sns(database_url, clock) as sns:
        topic = await sns.topic()
        await sns.subscription(topic, "http", URL)
        first = await received(sns)
        clock.ms += limits.TOKEN_LIVES_MS - 1
        await sns.subscription(topic, "http", URL)
        second = await received(sns)
        assert second["Token"] != first["Token"]
        assert await follow(sns, first["SubscribeURL"]) == (400, "InvalidParameter")
        clock.ms += limits.TOKEN_LIVES_MS
        assert await follow(sns, second["SubscribeURL"]) == (400, "InvalidParameter")
    async with open_sns(database_url, clock) as sns:
        assert len((await sns("ListSubscriptions"))["Subscriptions"]) == 1
        await sns.service.forget_old()
        assert (await sns("ListSubscriptions"))["Subscriptions"] == []


async def test_old_deduplication_ids_are_forgotten(sns: Sns) -> None:
    """What does not count any more does not stay in the database."""
    topic = await sns.topic("t.fifo", ContentBasedDeduplication="true")
    first = await sns("Publish", TopicArn=topic, Message="m", MessageGroupId="g")
    await sns.service.forget_old()
    assert await sns("Publish", TopicArn=topic, Message="m", MessageGroupId="g") == first
    sns.clock.ms += limits.DEDUPLICATION_MS
    await sns.service.forget_old()
    sns.clock.ms -= limits.DEDUPLICATION_MS
    assert await sns("Publish", TopicArn=topic, Message="m", MessageGroupId="g") != first


async def test_links_do_nothing_else(sns: Sns) -> None:
    """Without a signature a link confirms or ends a subscription, and no other operation is done."""
    link = f"{ENDPOINT}/_lambdad/sns/"
    assert await follow(sns, f"{link}?Action=CreateTopic&Name=t") == (403, "AuthorizationError")
    assert await follow(sns, f"{link}?Action=Nonsense") == (400, "InvalidAction")
    assert await follow(sns, link) == (400, "MissingAction")
    assert await follow(sns, f"{link}?Action=Unsubscribe&SubscriptionArn=x", "POST") == (405, "")
    assert (await sns("ListTopics"))["Topics"] == []


async def test_links_lead_where_the_subscriber_can_go(sns: Sns) -> None:
    """Links begin with how who subscribed reached lambdad; from inside a function that would lead nowhere."""
    assert links.endpoint_for("http://lambdad.example:80", ENDPOINT) == "http://lambdad.example:80"
    assert links.endpoint_for("http://169.254.1.1:4566", ENDPOINT) == ENDPOINT
    assert links.endpoint_for("", ENDPOINT) == ENDPOINT


@pytest.mark.parametrize(
    ("protocol", "endpoint", "message"),
    [
        (
            "email",
            "a@example.com",
            "Invalid parameter: Amazon SNS does not support this protocol string: email (lambdad does not send e-mails)",
        ),
        ("pigeon", "x", "Invalid parameter: Amazon SNS does not support this protocol string: pigeon"),
        ("sqs", "queue", "Invalid parameter: SQS endpoint ARN"),
        (
            "sqs",
            f"{QUEUE}.fifo",
            "Invalid parameter: Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics",
        ),
        ("lambda", QUEUE, "Invalid parameter: Lambda endpoint ARN"),
        ("http", "https://example.com/", "Invalid parameter: Endpoint must match the specified protocol"),
        ("http", "http://exa mple.com/", "Invalid parameter: Endpoint"),
        ("http", "", "Invalid parameter: Endpoint"),
    ],
)
async def test_endpoints_that_cannot_be_are_refused(sns: Sns, protocol: str, endpoint: str, message: str) -> None:
    """Subscribe says what does not go together."""
    topic = await sns.topic()
    assert await sns.refused("Subscribe", TopicArn=topic, Protocol=protocol, Endpoint=endpoint) == ("InvalidParameter", message)


async def test_fifo_topics_take_queues_only(sns: Sns) -> None:
    """Functions and HTTP endpoints cannot keep the order; queues of both kinds may subscribe."""
    topic = await sns.topic("t.fifo")
    refusal = ("InvalidParameter", "Invalid parameter: Invalid parameter: Endpoint Reason: Please use FIFO SQS queue")
    assert await sns.refused("Subscribe", TopicArn=topic, Protocol="lambda", Endpoint=FUNCTION) == refusal
    assert await sns.refused("Subscribe", TopicArn=topic, Protocol="http", Endpoint=URL) == refusal
    await sns.subscription(topic, "sqs", QUEUE)
    await sns.subscription(topic, "sqs", f"{QUEUE}.fifo")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (
            "FilterPolicy",
            '{"a":"b"}',
            'FilterPolicy: "a" must be an object or an array\n at [Source: (String)"{"a":"b"}"; line: 1, column: 9]',
        ),
        ("FilterPolicy", '{"a":{"b":["c"]}}', "Filter policy scope MessageAttributes does not support nested filter policy"),
        (
            "FilterPolicyScope",
            "Body",
            "FilterPolicyScope: Invalid value [Body]. Please use either MessageBody or MessageAttributes",
        ),
        ("RawMessageDelivery", "yes", "RawMessageDelivery: Invalid value [yes]. Must be true or false."),
        ("RedrivePolicy", "{", "RedrivePolicy: failed to parse JSON."),
        ("RedrivePolicy", '{"deadLetterTargetArn":"x"}', "RedrivePolicy: deadLetterTargetArn is an invalid arn"),
        (
            "RedrivePolicy",
            json.dumps({"deadLetterTargetArn": f"{QUEUE}.fifo"}),
            "RedrivePolicy: must use a standard queue as DLQ for a standard topic",
        ),
        ("DeliveryPolicy", '{"healthyRetryPolicy":{}}', "Delivery policy is only supported for HTTP/S subscriptions"),
        ("SubscriptionRoleArn", "arn", "SubscriptionRoleArn: lambdad does not deliver to Firehose"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_attributes_that_cannot_be_are_refused(sns: Sns, name: str, value: str, reason: str) -> None:
    """Subscribe and SetSubscriptionAttributes say the same, each in its own way."""
    topic = await sns.topic()
    refused = await sns.refused("Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=QUEUE, Attributes={name: value})
    assert refused == ("InvalidParameter", f"Invalid parameter: Attributes Reason: {reason}")
    arn = await sns.subscription(topic)
    refused = await sns.refused("SetSubscriptionAttributes", SubscriptionArn=arn, AttributeName=name, AttributeValue=value)
    assert refused == ("InvalidParameter", f"Invalid parameter: {reason}")


async def test_attributes_are_shown_as_they_were_set(sns: Sns) -> None:
    """A filter policy keeps its text, and shows its scope."""
    topic = await sns.topic()
    arn = await sns.subscription(topic)
    policy = '{ "a": ["b"] }'
    await sns("SetSubscriptionAttributes", SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue=policy)
    shown = await attributes_of(sns, arn)
    assert (shown["FilterPolicy"], shown["FilterPolicyScope"]) == (policy, "MessageAttributes")
    await sns("SetSubscriptionAttributes", SubscriptionArn=arn, AttributeName="RawMessageDelivery", AttributeValue="true")
    assert (await attributes_of(sns, arn))["RawMessageDelivery"] == "true"
    unknown = await sns.refused("SetSubscriptionAttributes", SubscriptionArn=arn, AttributeName="Nonsense", AttributeValue="x")
    assert unknown == ("InvalidParameter", "Invalid parameter: AttributeName")


async def test_delivery_policies_become_attempts_and_pauses(sns: Sns) -> None:
    """A subscription's own policy goes before the topic's, unless the topic forbids it; both survive in what is shown."""
    topic = await sns.topic(DeliveryPolicy='{"http":{"defaultHealthyRetryPolicy":{"numRetries":5}}}')
    own = {
        "healthyRetryPolicy": {"numRetries": 2, "minDelayTarget": 1, "maxDelayTarget": 3},
        "requestPolicy": {"headerContentType": "application/json"},
    }
    arn = await sns.subscription(topic, "http", URL, DeliveryPolicy=json.dumps(own))
    assert (await received(sns))["headers"]["Content-Type"] == "application/json"
    effective = json.loads((await attributes_of(sns, arn))["EffectiveDeliveryPolicy"])
    assert effective["healthyRetryPolicy"]["numRetries"] == 2
    await sns(
        "SetTopicAttributes",
        TopicArn=topic,
        AttributeName="DeliveryPolicy",
        AttributeValue='{"http":{"defaultHealthyRetryPolicy":{"numRetries":5},"disableSubscriptionOverrides":true}}',
    )
    effective = json.loads((await attributes_of(sns, arn))["EffectiveDeliveryPolicy"])
    assert effective["healthyRetryPolicy"]["numRetries"] == 5


async def test_lists_are_the_callers(sns: Sns) -> None:
    """ListSubscriptions shows what an account subscribed, in this region, a hundred at a time."""
    topic = await sns.topic()
    for number in range(101):
        await sns.subscription(topic, "sqs", f"{QUEUE}{number}")
    first = await sns("ListSubscriptions")
    second = await sns("ListSubscriptions", NextToken=first["NextToken"])
    assert (len(first["Subscriptions"]), len(second["Subscriptions"])) == (100, 1)
    assert (await sns("ListSubscriptions", account=OTHER))["Subscriptions"] == []
    page = await sns("ListSubscriptionsByTopic", TopicArn=topic)
    assert page["Subscriptions"][0].keys() == {"SubscriptionArn", "Owner", "Protocol", "Endpoint", "TopicArn"}


async def test_a_topic_takes_two_hundred_filter_policies(sns: Sns) -> None:
    """The next one is refused; without one, a subscription is still welcome."""
    topic = await sns.topic()
    for number in range(limits.FILTER_POLICIES):
        await sns.subscription(topic, "sqs", f"{QUEUE}{number}", FilterPolicy='{"a":["b"]}')
    refused = await sns.refused("Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=QUEUE, Attributes={"FilterPolicy": '{"a":["b"]}'})
    assert refused == ("FilterPolicyLimitExceeded", "Filter policy limit exceeded")
    arn = await sns.subscription(topic)
    refused = await sns.refused(
        "SetSubscriptionAttributes", SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue='{"a":["b"]}'
    )
    assert refused[0] == "FilterPolicyLimitExceeded"

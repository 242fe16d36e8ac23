"""Topics of SNS through its handlers, on both databases."""

import json
from collections.abc import AsyncIterator

import pytest
from tests.integration.sns_house import ACCOUNT, QUEUE, Clock, Sns, open_sns

OTHER = "111111111111"


@pytest.fixture
async def sns(database_url: str) -> AsyncIterator[Sns]:
    async with open_sns(database_url) as opened:
        yield opened


async def test_topics_are_made_once(sns: Sns) -> None:
    """CreateTopic returns the topic that is there, unless it was given other attributes or tags."""
    arn = await sns.topic("t", DisplayName="a")
    assert arn == f"arn:aws:sns:us-east-1:{ACCOUNT}:t"
    assert await sns.topic("t", DisplayName="a") == arn
    assert await sns("CreateTopic", Name="t") == {"TopicArn": arn}
    assert await sns.topic("t", SignatureVersion="1", TracingConfig="PassThrough") == arn
    assert await sns.refused("CreateTopic", Name="t", Attributes={"DisplayName": "b"}) == (
        "InvalidParameter",
        "Invalid parameter: Attributes Reason: Topic already exists with different attributes",
    )
    assert await sns.refused("CreateTopic", Name="t", Tags=[{"Key": "k", "Value": "v"}]) == (
        "InvalidParameter",
        "Invalid parameter: Tags Reason: Topic already exists with different tags",
    )


async def test_a_topic_shows_its_attributes(sns: Sns) -> None:
    """GetTopicAttributes has what AWS has, with the default policies."""
    arn = await sns.topic("t")
    shown = (await sns("GetTopicAttributes", TopicArn=arn))["Attributes"]
    policy = json.loads(shown.pop("Policy"))
    assert policy["Statement"][0]["Condition"] == {"StringEquals": {"AWS:SourceOwner": ACCOUNT}}
    effective = json.loads(shown.pop("EffectiveDeliveryPolicy"))
    assert effective["http"]["defaultHealthyRetryPolicy"]["numRetries"] == 3
    assert shown == {
        "Owner": ACCOUNT,
        "TopicArn": arn,
        "DisplayName": "",
        "SubscriptionsConfirmed": "0",
        "SubscriptionsPending": "0",
        "SubscriptionsDeleted": "0",
    }


async def test_attributes_are_set_and_survive(database_url: str) -> None:
    """What was set is there after a restart; an empty value is the default again."""
    clock = Clock()
    async with open_sns(database_url, clock) as sns:
        arn = await sns.topic("t.fifo", ContentBasedDeduplication="true")
        await sns("SetTopicAttributes", TopicArn=arn, AttributeName="DisplayName", AttributeValue="d")
        await sns("SetTopicAttributes", TopicArn=arn, AttributeName="SignatureVersion", AttributeValue="2")
        await sns("SetTopicAttributes", TopicArn=arn, AttributeName="SignatureVersion", AttributeValue="")
        await sns("TagResource", ResourceArn=arn, Tags=[{"Key": "k", "Value": "v"}])
    async with open_sns(database_url, clock) as sns:
        shown = (await sns("GetTopicAttributes", TopicArn=arn))["Attributes"]
        assert (shown["DisplayName"], shown["FifoTopic"], shown["ContentBasedDeduplication"]) == ("d", "true", "true")
        assert "SignatureVersion" not in shown
        assert await sns("ListTagsForResource", ResourceArn=arn) == {"Tags": [{"Key": "k", "Value": "v"}]}
        await sns("UntagResource", ResourceArn=arn, TagKeys=["k", "other"])
        assert await sns("ListTagsForResource", ResourceArn=arn) == {"Tags": []}


async def test_topics_are_listed_in_pages(sns: Sns) -> None:
    """ListTopics gives a hundred at a time, of the caller's account and region only."""
    names = [f"t{number:03d}" for number in range(101)]
    for name in names:
        await sns.topic(name)
    await sns("CreateTopic", Name="elsewhere", region="eu-west-1")
    first = await sns("ListTopics")
    assert len(first["Topics"]) == 100
    second = await sns("ListTopics", NextToken=first["NextToken"])
    listed = [topic["TopicArn"].rpartition(":")[2] for topic in first["Topics"] + second["Topics"]]
    assert listed == names
    assert second["NextToken"] is None
    assert await sns.refused("ListTopics", NextToken="?") == ("InvalidParameter", "Invalid parameter: NextToken")


async def test_a_deleted_topic_is_gone_with_all_that_was_its(sns: Sns) -> None:
    """Deleting twice is no error; subscriptions go too, and do not come back with a new topic of that name."""
    arn = await sns.topic()
    subscription = await sns.subscription(arn)
    assert await sns("DeleteTopic", TopicArn=arn) == {}
    assert await sns("DeleteTopic", TopicArn=arn) == {}
    missing = ("NotFound", "Topic does not exist")
    assert await sns.refused("GetTopicAttributes", TopicArn=arn) == missing
    assert await sns.refused("Publish", TopicArn=arn, Message="m") == missing
    assert await sns.refused("GetSubscriptionAttributes", SubscriptionArn=subscription) == ("NotFound", "Subscription does not exist")
    assert (await sns("ListSubscriptions"))["Subscriptions"] == []
    assert await sns.topic() == arn
    assert (await sns("ListSubscriptionsByTopic", TopicArn=arn))["Subscriptions"] == []


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"Name": "a b"}, "Invalid parameter: Topic Name"),
        ({"Name": "a.fifo"}, "Invalid parameter: Topic Name"),
        (
            {"Name": "a", "Attributes": {"FifoTopic": "true"}},
            "Invalid parameter: Fifo Topic names must end with .fifo and must be made up of only uppercase and lowercase ASCII letters, "
            "numbers, underscores, and hyphens, and must be between 1 and 256 characters long.",
        ),
        ({"Name": "a", "Attributes": {"Nonsense": "x"}}, "Invalid parameter: Attributes Reason: Unknown attribute Nonsense"),
        (
            {"Name": "a", "Attributes": {"KmsMasterKeyId": "alias/aws/sns"}},
            "Invalid parameter: Attributes Reason: KmsMasterKeyId: lambdad does not encrypt topics with KMS keys",
        ),
        (
            {"Name": "a", "Attributes": {"ContentBasedDeduplication": "true"}},
            "Invalid parameter: Attributes Reason: ContentBasedDeduplication: this attribute is only supported for FIFO topics",
        ),
        (
            {"Name": "a", "Tags": [{"Key": "k", "Value": "v"}, {"Key": "k", "Value": "w"}]},
            "Invalid parameter: Duplicated keys are not allowed.",
        ),
        ({"Name": "a", "DataProtectionPolicy": "{}"}, "Invalid parameter: DataProtectionPolicy: lambdad does not inspect messages"),
    ],
    ids=str,
)
async def test_topics_that_cannot_be_are_refused(sns: Sns, request_: dict[str, object], message: str) -> None:
    """CreateTopic says what is wrong, and makes nothing."""
    assert await sns.refused("CreateTopic", **request_) == ("InvalidParameter", message)
    assert (await sns("ListTopics"))["Topics"] == []


async def test_attributes_that_cannot_be_are_refused(sns: Sns) -> None:
    """SetTopicAttributes says what is wrong, and changes nothing."""
    arn = await sns.topic()
    for name, value, message in [
        ("Nonsense", "x", "Invalid parameter: AttributeName"),
        ("FifoTopic", "true", "Invalid parameter: AttributeName"),
        ("DisplayName", "x" * 101, "Invalid parameter: DisplayName"),
        ("Policy", "{", "Invalid parameter: Policy Error: null"),
        ("DeliveryPolicy", "[]", "Invalid parameter: DeliveryPolicy: failed to parse JSON."),
        ("SignatureVersion", "3", "Invalid parameter: SignatureVersion: Invalid value [3]. Must be one of 1, 2."),
        ("TracingConfig", "Active", "Invalid parameter: TracingConfig: Invalid value [Active]. Must be one of PassThrough."),
        ("MaximumMessageSize", "9", "Invalid parameter: MaximumMessageSize: must be between 1024 and 1048576"),
    ]:
        refused = await sns.refused("SetTopicAttributes", TopicArn=arn, AttributeName=name, AttributeValue=value)
        assert refused == ("InvalidParameter", message)
    assert await sns.refused("GetTopicAttributes", TopicArn="x") == (
        "InvalidParameter",
        "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 1",
    )
    assert await sns.refused("TagResource", ResourceArn=f"{arn}x", Tags=[]) == ("ResourceNotFound", "Resource does not exist")


async def test_another_account_needs_a_permission(sns: Sns) -> None:
    """AddPermission lets an account in, RemovePermission keeps it out again."""
    arn = await sns.topic()
    refusal = (
        "AuthorizationError",
        f"User: arn:aws:iam::{OTHER}:root is not authorized to perform: SNS:Publish on resource: {arn} "
        "because no resource-based policy allows the SNS:Publish action",
    )
    assert await sns.refused("Publish", account=OTHER, TopicArn=arn, Message="m") == refusal
    await sns("AddPermission", TopicArn=arn, Label="l", AWSAccountId=[OTHER], ActionName=["Publish"])
    assert (await sns("Publish", account=OTHER, TopicArn=arn, Message="m"))["MessageId"]
    assert (await sns.refused("DeleteTopic", account=OTHER, TopicArn=arn))[0] == "AuthorizationError"
    assert await sns.refused("AddPermission", TopicArn=arn, Label="l", AWSAccountId=[OTHER], ActionName=["Publish"]) == (
        "InvalidParameter",
        "Invalid parameter: Statement already exists",
    )
    await sns("RemovePermission", TopicArn=arn, Label="l")
    assert await sns.refused("Publish", account=OTHER, TopicArn=arn, Message="m") == refusal
    assert await sns.refused("RemovePermission", TopicArn=arn, Label="l") == ("NotFound", "Policy statement does not exist")


async def test_more_than_fifty_tags_are_too_many(sns: Sns) -> None:
    """TagResource counts what is there already."""
    arn = await sns.topic()
    await sns("TagResource", ResourceArn=arn, Tags=[{"Key": f"k{number}", "Value": ""} for number in range(50)])
    refused = await sns.refused("TagResource", ResourceArn=arn, Tags=[{"Key": "k50", "Value": ""}])
    assert refused == ("TagLimitExceeded", "Could not complete request: tag quota of per resource exceeded")
    await sns("TagResource", ResourceArn=arn, Tags=[{"Key": "k49", "Value": "new"}])


async def test_counts_follow_subscriptions(sns: Sns) -> None:
    """GetTopicAttributes counts confirmed, pending and deleted subscriptions."""
    arn = await sns.topic()
    await sns.subscription(arn, "sqs", QUEUE)
    await sns.subscription(arn, "http", "http://127.0.0.1:1/")
    shown = (await sns("GetTopicAttributes", TopicArn=arn))["Attributes"]
    assert (shown["SubscriptionsConfirmed"], shown["SubscriptionsPending"], shown["SubscriptionsDeleted"]) == ("1", "1", "0")

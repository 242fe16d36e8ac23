"""What SNS decides: attributes, delivery and access policies, names, pages, addresses."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad.model.errors import AwsError
from lambdad.services.sns.rules import (
    access_policies,
    addresses,
    delivery_policies,
    endpoints,
    message_attributes,
    names,
    notifications,
    paging,
)
from lambdad.services.sns.rules.access_policies import Caller

ARN = "arn:aws:sns:us-east-1:000000000000:t"
OTHER = "111111111111"


def policy(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "SNS:Publish", "Resource": ARN, **statement}]})


@pytest.mark.parametrize(
    ("document", "caller", "allowed"),
    [
        (access_policies.default(ARN, "000000000000"), Caller(account=OTHER), False),
        (access_policies.default(ARN, OTHER), Caller(account=OTHER), True),
        (policy(Principal="*"), Caller(account=OTHER), True),
        (policy(Principal={"AWS": OTHER}), Caller(account=OTHER), True),
        (policy(Principal={"AWS": [f"arn:aws:iam::{OTHER}:root"]}), Caller(account=OTHER), True),
        (policy(Principal={"AWS": f"arn:aws:iam::{OTHER}:role/r"}, Action="sns:*"), Caller(account=OTHER), True),
        (policy(Principal={"AWS": OTHER}, Action=["SNS:Subscribe"]), Caller(account=OTHER), False),
        (policy(Principal={"AWS": OTHER}, Effect="Deny"), Caller(account=OTHER), False),
        (policy(Principal="*", Condition={"StringEquals": {"aws:SourceAccount": OTHER}}), Caller(account=OTHER), True),
        (policy(Principal="*", Condition={"StringEquals": {"aws:SourceAccount": "2" * 12}}), Caller(account=OTHER), False),
        (policy(Principal="*", Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}), Caller(account=OTHER), False),
        (policy(Principal={"AWS": "*"}), Caller(account=OTHER, service="s3.amazonaws.com"), True),
        (policy(Principal={"AWS": OTHER}), Caller(account=OTHER, service="s3.amazonaws.com"), False),
        (
            policy(Principal={"Service": "s3.amazonaws.com"}, Condition={"ArnLike": {"aws:SourceArn": "arn:aws:s3:::b*"}}),
            Caller(account=OTHER, service="s3.amazonaws.com", source_arn="arn:aws:s3:::bucket"),
            True,
        ),
        (
            policy(Principal={"Service": "s3.amazonaws.com"}, Condition={"ArnLike": {"aws:SourceArn": "arn:aws:s3:::c*"}}),
            Caller(account=OTHER, service="s3.amazonaws.com", source_arn="arn:aws:s3:::bucket"),
            False,
        ),
    ],
)
def test_policies_let_in_whom_they_name(document: str, caller: Caller, allowed: bool) -> None:
    """An account or a service gets in by a statement that names it, covers the action, and whose conditions are known to hold."""
    assert access_policies.allows(document, caller, "Publish") is allowed


def test_a_denial_goes_before_permissions() -> None:
    """Whoever may be meant by a Deny stays out."""
    for denial in (
        {"Principal": "*", "Action": "SNS:Publish", "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"NotPrincipal": {"AWS": OTHER}, "Action": "SNS:Publish"},
        {"Principal": "*", "NotAction": "SNS:Subscribe"},
    ):
        document = json.loads(policy(Principal="*"))
        document["Statement"].append({"Effect": "Deny", "Resource": ARN, **denial})
        assert not access_policies.allows(json.dumps(document), Caller(account=OTHER), "Publish")


def test_passwords_of_endpoints_are_not_shown() -> None:
    """What lists, and the log of deliveries, have of a URL is without its secret."""
    assert endpoints.shown("https://user:secret@example.com:8443/a?b=c") == "https://user:****@example.com:8443/a?b=c"
    assert endpoints.shown("https://user@example.com/") == "https://user@example.com/"
    assert endpoints.shown("arn:aws:sqs:us-east-1:000000000000:q") == "arn:aws:sqs:us-east-1:000000000000:q"


def test_permissions_become_statements() -> None:
    """AddPermission writes what AWS writes, for one account and for several."""
    document = access_policies.add(access_policies.default(ARN, "000000000000"), ARN, "l", [OTHER], ["Publish", "Subscribe"])
    statement = json.loads(document)["Statement"][1]
    assert statement == {
        "Sid": "l",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"},
        "Action": ["SNS:Publish", "SNS:Subscribe"],
        "Resource": ARN,
    }
    assert access_policies.remove(document, "l") == access_policies.default(ARN, "000000000000")
    for accounts, actions in ([OTHER], ["Fly"]), (["12"], ["Publish"]), ([], ["Publish"]):
        with pytest.raises(AwsError):
            access_policies.add(document, ARN, "m", accounts, actions)


@pytest.mark.parametrize(
    "document", ["[]", "{}", '{"Statement":[]}', policy(Principal="*", Effect="Maybe"), policy(), policy(Principal="*", Action="sqs:X")]
)
def test_what_is_no_policy_is_refused(document: str) -> None:
    """SetTopicAttributes takes no document that could not let anybody in."""
    with pytest.raises(AwsError, match="Invalid parameter: Policy"):
        access_policies.check(document, "Policy")


def test_delays_follow_the_phases() -> None:
    """No delay, least delay, back-off, most delay, in this order, as many of each as the policy says."""
    retry = {
        "numRetries": 8,
        "numNoDelayRetries": 1,
        "numMinDelayRetries": 2,
        "numMaxDelayRetries": 2,
        "minDelayTarget": 2,
        "maxDelayTarget": 8,
    }
    schedule = delivery_policies.schedule(None, json.dumps({"healthyRetryPolicy": retry}))
    assert schedule.attempts == 9
    assert schedule.delays_ms == (0, 2000, 2000, 4000, 6000, 8000, 8000, 8000)
    assert delivery_policies.schedule(None, None).delays_ms == (20_000, 20_000, 20_000)


@given(
    retries=st.integers(0, 100),
    least=st.integers(1, 3600),
    more=st.integers(0, 3600),
    function=st.sampled_from(["linear", "arithmetic", "geometric", "exponential"]),
)
def test_back_off_only_rises(retries: int, least: int, more: int, function: str) -> None:
    """Whatever the function, delays stay between their bounds, never fall, and end with the most."""
    most = min(least + more, 3600)
    retry = {"numRetries": retries, "minDelayTarget": least, "maxDelayTarget": most, "backoffFunction": function}
    document = json.dumps({"healthyRetryPolicy": retry})
    delivery_policies.check_subscriptions(document, "DeliveryPolicy")
    delays = delivery_policies.schedule(None, document).delays_ms
    assert len(delays) == retries
    assert list(delays) == sorted(delays)
    assert all(least * 1000 <= delay <= most * 1000 for delay in delays)
    assert not delays or delays[-1] == most * 1000


@pytest.mark.parametrize(
    "retry",
    [
        {"numRetries": 101},
        {"numRetries": -1},
        {"numRetries": True},
        {"numRetries": "3"},
        {"minDelayTarget": 0},
        {"maxDelayTarget": 3601},
        {"minDelayTarget": 30},
        {"numNoDelayRetries": 4},
        {"backoffFunction": "random"},
        {"nonsense": 1},
    ],
    ids=str,
)
def test_delivery_policies_that_cannot_be_are_refused(retry: dict[str, Any]) -> None:
    """For topics and subscriptions alike."""
    with pytest.raises(AwsError, match="Invalid parameter: DeliveryPolicy: "):
        delivery_policies.check_subscriptions(json.dumps({"healthyRetryPolicy": retry}), "DeliveryPolicy")
    with pytest.raises(AwsError, match="Invalid parameter: DeliveryPolicy: "):
        delivery_policies.check_topics(json.dumps({"http": {"defaultHealthyRetryPolicy": retry}}), "DeliveryPolicy")


def test_further_parts_of_delivery_policies_are_checked() -> None:
    """Throttles are not built; media types are those that AWS allows, and no header can be smuggled in."""
    for document in (
        {"throttlePolicy": {"maxReceivesPerSecond": 1}},
        {"requestPolicy": {"headerContentType": "image/png"}},
        {"requestPolicy": {"headerContentType": "text/plain\r\nX: y"}},
        {"healthyRetryPolicy": []},
        {"sicklyRetryPolicy": {}},
    ):
        with pytest.raises(AwsError, match="DeliveryPolicy"):
            delivery_policies.check_subscriptions(json.dumps(document), "DeliveryPolicy")
    delivery_policies.check_subscriptions('{"requestPolicy":{"headerContentType":"application/json; charset=UTF-8"}}', "DeliveryPolicy")


@pytest.mark.parametrize("name", ["", "a b", ".a", "a.", "a..b", "x" * 257, "ä"])
def test_attribute_names_have_rules(name: str) -> None:
    """Letters, digits, underscores, hyphens and single periods inside."""
    with pytest.raises(AwsError):
        message_attributes.checked({name: {"DataType": "String", "StringValue": "v"}})


@pytest.mark.parametrize(("value", "good"), [("1", True), ("-1.5e3", True), (".5", True), ("1e", False), ("nan", False), ("0x1", False)])
def test_numbers_are_numbers(value: str, good: bool) -> None:
    """What is called a Number must read as one."""
    given_ = {"n": {"DataType": "Number", "StringValue": value}}
    if good:
        assert message_attributes.comparable(message_attributes.checked(given_)) == {"n": float(value)}
    else:
        with pytest.raises(AwsError, match="Could not cast message attribute 'n' value to number"):
            message_attributes.checked(given_)


@pytest.mark.parametrize(
    "arn", ["x", "arn:aws:sns:us-east-1:000000000000", "arn:aws:sns:us-east-1:0:t", f"{ARN}:x", "arn:aws:sqs:r:000000000000:t"]
)
def test_what_is_no_topics_arn_is_refused(arn: str) -> None:
    """Each in AWS's words for it."""
    with pytest.raises(AwsError, match="Invalid parameter: TopicArn"):
        names.parse_topic(arn)


@given(items=st.lists(st.text(alphabet="abc", min_size=1), unique=True, max_size=350))
def test_pages_are_the_list(items: list[str]) -> None:
    """All pages together are the list, each once, none larger than a hundred."""
    items.sort()
    token: str | None = None
    seen: list[str] = []
    while True:
        found, token = paging.page(items, token)
        assert len(found) <= 100
        seen += found
        if token is None:
            break
    assert seen == items


@pytest.mark.parametrize(
    ("address", "forbidden"),
    [
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("::1", False),
        ("2001:db8::1", False),
        ("169.254.169.254", True),
        ("fe80::1%eth0", True),
        ("::ffff:169.254.0.1", True),
        ("2002:a9fe:a9fe::", True),
        ("64:ff9b::169.254.169.254", True),
        ("fd00:ec2::254", True),
        ("168.63.129.16", True),
        ("::", True),
        ("ff02::1", True),
    ],
)
def test_some_addresses_are_never_posted_to(address: str, forbidden: bool) -> None:
    """Link-local ones and their disguises, metadata services, multicast; loopback and private ones are fine."""
    assert addresses.is_forbidden(address) is forbidden


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("http://example.com", True),
        ("https://user:pass@example.com:8443/a?b=c#d", True),
        ("http://[::1]:80/", True),
        ("http://127.0.0.1/", True),
        ("ftp://example.com/", False),
        ("http://", False),
        ("http://:80/", False),
        ("http://example.com:port/", False),
        ("http://example.com:99999/", False),
        ("http://exa\tmple.com/", False),
        ("http://example.com/\r\nX: y", False),
        ("http://exämple.com/", False),
        ("http://[::1/", False),
        ("http://under_score.example/", False),
        ("http://example.com/" + "x" * 2048, False),
    ],
)
def test_urls_are_what_can_be_posted_to(url: str, good: bool) -> None:
    """No URL can smuggle a header, nor lack a host."""
    assert endpoints.is_url(url) is good


def test_what_is_signed_is_sorted_by_name() -> None:
    """A line for each name and each value; what is not there has none."""
    assert notifications.signed_text({"Type": "t", "Message": "m", "Subject": None}) == b"Message\nm\nType\nt\n"

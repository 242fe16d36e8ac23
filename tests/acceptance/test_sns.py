"""SNS as its users see it: boto3 and the AWS CLI, functions and HTTP endpoints that subscribe, against `lambdad up`."""

import base64
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from conftest import Functions, Lambdad, eventually  # type: ignore[import-not-found]

AWS = Path(sys.executable).with_name("aws")
KEEP_EVENTS = """
import json
def handler(event, context):
    print("EVENT " + json.dumps(event))
"""
SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


class Subscriber:
    """An HTTP endpoint that verifies what it gets, and confirms when it is told to."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.failures = 0  # how many of the next posts are answered 503
        subscriber = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fails = subscriber.failures > 0
                subscriber.failures -= fails
                if not fails:
                    subscriber.messages.append({"headers": dict(self.headers.items()), **json.loads(body)})
                self.send_response(503 if fails else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def next(self) -> dict[str, Any]:
        """Wait for a message, verify its signature, and return it."""
        eventually(lambda: self.messages, "a message is posted")
        message = self.messages.pop(0)
        verify(message, message["SigningCertURL"])
        assert message["headers"]["x-amz-sns-message-type"] == message["Type"]
        return message

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


def verify(message: dict[str, Any], certificate_url: str) -> None:
    """Do what AWS's validators do, with the certificate that the message names."""
    text = "".join(f"{name}\n{message[name]}\n" for name in SIGNED[message["Type"]] if message.get(name) is not None)
    key = x509.load_pem_x509_certificate(fetch(certificate_url)).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    algorithm = hashes.SHA1() if message["SignatureVersion"] == "1" else hashes.SHA256()
    key.verify(base64.b64decode(message["Signature"]), text.encode(), padding.PKCS1v15(), algorithm)


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    opened = Subscriber()
    yield opened
    opened.close()


@pytest.fixture
def topic(lambdad: Lambdad, request: pytest.FixtureRequest) -> Iterator[str]:
    """A topic for one test."""
    sns = lambdad.client("sns")
    arn: str = sns.create_topic(Name=f"{request.node.name[:60]}-{os.urandom(3).hex()}")["TopicArn"]
    yield arn
    sns.delete_topic(TopicArn=arn)


def events_of(functions: Functions, name: str, count: int) -> list[dict[str, Any]]:
    lines = functions.log_lines(name, count=count)
    return [json.loads(line.partition("EVENT ")[2]) for line in lines if "EVENT " in line]


def test_a_message_starts_a_function(lambdad: Lambdad, functions: Functions, topic: str) -> None:
    """Publish, and the function that subscribed gets AWS's event, with a signature that verifies."""
    sns, name = lambdad.client("sns"), functions.deploy(KEEP_EVENTS)
    arn = functions.client.get_function(FunctionName=name)["Configuration"]["FunctionArn"]
    functions.client.add_permission(
        FunctionName=name, StatementId="sns", Action="lambda:InvokeFunction", Principal="sns.amazonaws.com", SourceArn=topic
    )
    subscription = sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=arn)["SubscriptionArn"]
    attributes = {"k": {"DataType": "String", "StringValue": "v"}}
    published = sns.publish(TopicArn=topic, Message="hello", Subject="s", MessageAttributes=attributes)
    [event] = events_of(functions, name, 1)
    [record] = event["Records"]
    assert record["EventSubscriptionArn"] == subscription
    assert record["Sns"]["MessageId"] == published["MessageId"]
    assert record["Sns"]["MessageAttributes"] == {"k": {"Type": "String", "Value": "v"}}
    verify(record["Sns"], record["Sns"]["SigningCertUrl"])


def test_an_http_endpoint_subscribes_listens_and_leaves(lambdad: Lambdad, subscriber: Subscriber, topic: str) -> None:
    """Confirm by link, get messages in both signature versions, unsubscribe by link, come back by link."""
    sns = lambdad.client("sns")
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=subscriber.url)
    fetch(subscriber.next()["SubscribeURL"])
    [listed] = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    sns.publish(TopicArn=topic, Message="one")
    first = subscriber.next()
    assert (first["Message"], first["SignatureVersion"]) == ("one", "1")
    assert first["headers"]["x-amz-sns-subscription-arn"] == listed["SubscriptionArn"]
    assert first["headers"]["User-Agent"] == "Amazon Simple Notification Service Agent"
    sns.set_topic_attributes(TopicArn=topic, AttributeName="SignatureVersion", AttributeValue="2")
    sns.publish(TopicArn=topic, Message="two")
    assert subscriber.next()["SignatureVersion"] == "2"
    fetch(first["UnsubscribeURL"])
    goodbye = subscriber.next()
    assert goodbye["Type"] == "UnsubscribeConfirmation"
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []
    fetch(goodbye["SubscribeURL"])
    sns.publish(TopicArn=topic, Message="three")
    assert subscriber.next()["Message"] == "three"


def test_a_failing_endpoint_is_tried_again(lambdad: Lambdad, subscriber: Subscriber, topic: str) -> None:
    """Retries without delay, as the subscription's delivery policy says."""
    sns = lambdad.client("sns")
    policy = {"healthyRetryPolicy": {"numRetries": 3, "numNoDelayRetries": 3, "minDelayTarget": 1, "maxDelayTarget": 1}}
    arn = sns.subscribe(
        TopicArn=topic,
        Protocol="http",
        Endpoint=subscriber.url,
        Attributes={"DeliveryPolicy": json.dumps(policy)},
        ReturnSubscriptionArn=True,
    )["SubscriptionArn"]
    token = subscriber.next()["Token"]
    assert sns.confirm_subscription(TopicArn=topic, Token=token)["SubscriptionArn"] == arn
    subscriber.failures = 2
    sns.publish(TopicArn=topic, Message="at last")
    assert subscriber.next()["Message"] == "at last"


def test_an_accepted_message_survives_a_kill(own_lambdad: Callable[..., Lambdad], subscriber: Subscriber) -> None:
    """What was published before the server was killed is delivered after its next start, signed with the same key."""
    lambdad = own_lambdad()
    sns = lambdad.client("sns")
    topic = sns.create_topic(Name="t")["TopicArn"]
    policy = {"healthyRetryPolicy": {"numRetries": 50, "minDelayTarget": 1, "maxDelayTarget": 1}}
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=subscriber.url, Attributes={"DeliveryPolicy": json.dumps(policy)})
    fetch(subscriber.next()["SubscribeURL"])
    subscriber.failures = 1
    published = sns.publish(TopicArn=topic, Message="kept")
    os.kill(lambdad.pids()["server"], 9)
    message = subscriber.next()
    assert (message["Message"], message["MessageId"]) == ("kept", published["MessageId"])


def test_links_work_where_requests_must_be_signed(own_lambdad: Callable[..., Lambdad], subscriber: Subscriber) -> None:
    """With --auth iam a subscriber confirms by link, without credentials; everything else needs them."""
    key = {"LAMBDAD_ACCESS_KEYS": "AKIDEXAMPLE:secretsecretsecret:000000000000"}
    lambdad = own_lambdad("--auth", "iam", environment={**key, "LAMBDAD_SNS_DENY": "192.0.2.0/24"})  # else loopback is denied
    sns = lambdad.client("sns", aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secretsecretsecret")
    topic = sns.create_topic(Name="t")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=subscriber.url)
    assert b"<SubscriptionArn>" + topic.encode() in fetch(subscriber.next()["SubscribeURL"])
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(f"{lambdad.url}/?Action=ListTopics&Version=2010-03-31")
    assert caught.value.code == 403
    caught.value.close()


def test_boto3_reads_errors(lambdad: Lambdad, topic: str) -> None:
    """Errors arrive as the exceptions of boto3's client, with AWS's codes, statuses and texts."""
    sns = lambdad.client("sns")
    errors = sns.exceptions
    missing = f"{topic}-missing"
    cases: list[tuple[Callable[[], object], type[ClientError], int, str]] = [
        (lambda: sns.get_topic_attributes(TopicArn=missing), errors.NotFoundException, 404, "Topic does not exist"),
        (lambda: sns.list_tags_for_resource(ResourceArn=missing), errors.ResourceNotFoundException, 404, "Resource does not exist"),
        (lambda: sns.create_topic(Name="a b"), errors.InvalidParameterException, 400, "Invalid parameter: Topic Name"),
        (
            lambda: sns.publish(TopicArn=topic, Message="m", MessageAttributes={"k": {"DataType": "Number", "StringValue": "x"}}),
            errors.InvalidParameterValueException,
            400,
            "Could not cast message attribute 'k' value to number.",
        ),
        (
            lambda: sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[]),
            errors.EmptyBatchRequestException,
            400,
            "The batch request doesn't contain any entries.",
        ),
        (
            lambda: sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[{"Id": "a", "Message": "m"}] * 2),
            errors.BatchEntryIdsNotDistinctException,
            400,
            "Two or more batch entries in the request have the same Id.",
        ),
        (
            lambda: sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[{"Id": str(n), "Message": "m"} for n in range(11)]),
            errors.TooManyEntriesInBatchRequestException,
            400,
            "The batch request contains more entries than permissible.",
        ),
        (
            lambda: sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[{"Id": "?", "Message": "m"}]),
            errors.InvalidBatchEntryIdException,
            400,
            "The Id of a batch entry in a batch request doesn't abide by the specification.",
        ),
        (
            lambda: sns.publish_batch(
                TopicArn=topic, PublishBatchRequestEntries=[{"Id": str(n), "Message": "m" * 140_000} for n in range(2)]
            ),
            errors.BatchRequestTooLongException,
            400,
            "The length of all the messages put together is more than the limit.",
        ),
        (
            lambda: sns.tag_resource(ResourceArn=topic, Tags=[{"Key": str(n), "Value": ""} for n in range(51)]),
            errors.TagLimitExceededException,
            400,
            "Could not complete request: tag quota of per resource exceeded",
        ),
        (
            lambda: lambdad.client("sns", aws_access_key_id="111111111111").publish(TopicArn=topic, Message="m"),
            errors.AuthorizationErrorException,
            403,
            f"User: arn:aws:iam::111111111111:root is not authorized to perform: SNS:Publish on resource: {topic} "
            "because no resource-based policy allows the SNS:Publish action",
        ),
    ]
    for call, _, status, message in cases:
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert caught.value.response["Error"]["Message"] == message
    for call, kind, _, _ in cases[:-1]:  # the last one is another client, whose exceptions are other classes
        with pytest.raises(kind):
            call()


def test_what_is_not_built_says_so(lambdad: Lambdad, topic: str) -> None:
    """E-mails, text messages, mobile push and data protection are refused by name; opt-outs are empty."""
    sns = lambdad.client("sns")
    for call in (
        lambda: sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.com"),
        lambda: sns.publish(PhoneNumber="+41790000000", Message="m"),
        lambda: sns.get_data_protection_policy(ResourceArn=topic),
        lambda: sns.create_platform_application(Name="a", Platform="GCM", Attributes={}),
    ):
        with pytest.raises(ClientError, match="lambdad"):
            call()
    assert sns.list_phone_numbers_opted_out()["phoneNumbers"] == []
    assert sns.check_if_phone_number_is_opted_out(phoneNumber="+41790000000")["isOptedOut"] is False
    assert sns.list_platform_applications()["PlatformApplications"] == []


@pytest.mark.skipif(not AWS.exists(), reason="awscli is not installed")
def test_the_aws_cli_works_through_a_topics_life(lambdad: Lambdad, tmp_path: Path) -> None:
    """Create, tag, subscribe, filter, publish, list, unsubscribe, delete: what the CLI prints is what AWS's would."""

    def aws(*words: str) -> Any:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }
        command = [str(AWS), "--endpoint-url", lambdad.url, "--output", "json", "sns", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=60)
        return json.loads(done.stdout) if done.stdout else None

    queue = "arn:aws:sqs:eu-west-1:000000000000:nowhere.fifo"
    topic = aws(
        "create-topic", "--name", "cli.fifo", "--attributes", "FifoTopic=true,ContentBasedDeduplication=true", "--tags", "Key=k,Value=v"
    )
    arn = topic["TopicArn"]
    assert arn == "arn:aws:sns:eu-west-1:000000000000:cli.fifo"
    policy = json.dumps({"FilterPolicy": '{"a":["never"]}'})
    subscription = aws("subscribe", "--topic-arn", arn, "--protocol", "sqs", "--notification-endpoint", queue, "--attributes", policy)
    assert aws("list-tags-for-resource", "--resource-arn", arn) == {"Tags": [{"Key": "k", "Value": "v"}]}
    published = aws("publish", "--topic-arn", arn, "--message", "m", "--message-group-id", "g")
    assert published.keys() == {"MessageId", "SequenceNumber"}
    assert aws("publish", "--topic-arn", arn, "--message", "m", "--message-group-id", "h") == published
    shown = aws("get-subscription-attributes", "--subscription-arn", subscription["SubscriptionArn"])["Attributes"]
    assert (shown["FilterPolicy"], shown["FilterPolicyScope"]) == ('{"a":["never"]}', "MessageAttributes")
    assert [each["Endpoint"] for each in aws("list-subscriptions")["Subscriptions"]] == [queue]
    assert aws("list-topics")["Topics"] == [{"TopicArn": arn}]
    aws("unsubscribe", "--subscription-arn", subscription["SubscriptionArn"])
    aws("delete-topic", "--topic-arn", arn)
    assert aws("list-topics") == {"Topics": []}


def make_queue(sqs: Any, name: str, **attributes: str) -> tuple[str, str]:
    """Make a queue into which SNS may write; returns its URL and ARN."""
    url: str = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    arn: str = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    return url, arn


def test_queues_get_envelopes_raw_messages_and_order(lambdad: Lambdad) -> None:
    """A FIFO topic with FIFO queues: groups in order, each message once, raw and in an envelope, filtered."""
    sns, sqs = lambdad.client("sns"), lambdad.client("sqs")
    name = f"orders-{os.urandom(3).hex()}"
    topic = sns.create_topic(Name=f"{name}.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]

    def subscribed(suffix: str, **attributes: str) -> str:
        url, arn = make_queue(sqs, f"{name}-{suffix}.fifo", FifoQueue="true")
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
        return url

    enveloped = subscribed("enveloped")
    raw = subscribed("raw", RawMessageDelivery="true", FilterPolicy='{"kind":["even"]}')
    for number in range(20):
        attributes = {"kind": {"DataType": "String", "StringValue": "odd" if number % 2 else "even"}}
        for _ in range(2):  # the second is a duplicate
            sns.publish(
                TopicArn=topic,
                Message=str(number),
                MessageGroupId="g",
                MessageDeduplicationId=f"d{number}",
                MessageAttributes=attributes,
            )

    def receive(url: str, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < count:
            answer = sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5, AttributeNames=["All"], MessageAttributeNames=["All"]
            )
            assert "Messages" in answer, f"only {len(found)} came"
            for message in answer["Messages"]:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                found.append(message)
        assert "Messages" not in sqs.receive_message(QueueUrl=url)
        return found

    bodies = [json.loads(message["Body"]) for message in receive(enveloped, 20)]
    assert [body["Message"] for body in bodies] == [str(number) for number in range(20)]
    assert [body["SequenceNumber"] for body in bodies] == sorted(body["SequenceNumber"] for body in bodies)
    messages = receive(raw, 10)
    assert [message["Body"] for message in messages] == [str(number) for number in range(0, 20, 2)]
    assert messages[0]["MessageAttributes"]["kind"]["StringValue"] == "even"
    assert (messages[0]["Attributes"]["MessageGroupId"], messages[0]["Attributes"]["MessageDeduplicationId"]) == ("g", "d0")
    for url in (enveloped, raw):
        sqs.delete_queue(QueueUrl=url)
    sns.delete_topic(TopicArn=topic)


def test_what_a_function_may_not_get_is_in_the_dead_letter_queue(lambdad: Lambdad, topic: str) -> None:
    """Without the function, or a permission to invoke it, the message and the reason are in the subscription's queue."""
    sns, sqs = lambdad.client("sns"), lambdad.client("sqs")
    url, arn = make_queue(sqs, f"dead-{os.urandom(3).hex()}")
    sns.subscribe(
        TopicArn=topic,
        Protocol="lambda",
        Endpoint="arn:aws:lambda:us-east-1:000000000000:function:nobody",
        Attributes={"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn})},
    )
    published = sns.publish(TopicArn=topic, Message="m")
    [message] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10, MessageAttributeNames=["All"])["Messages"]
    assert json.loads(message["Body"])["MessageId"] == published["MessageId"]
    assert message["MessageAttributes"]["ErrorCode"]["StringValue"] == "ResourceNotFoundException"
    sqs.delete_queue(QueueUrl=url)


@pytest.mark.slow
def test_nothing_published_is_lost_when_the_server_is_killed_again_and_again(own_lambdad: Callable[..., Lambdad]) -> None:
    """Six publishers, three queues, a kill -9 every half second: each message that was acknowledged is in each queue."""
    lambdad = own_lambdad()
    sns, sqs = lambdad.client("sns"), lambdad.client("sqs")
    topic = sns.create_topic(Name="t")["TopicArn"]
    urls = []
    for number in range(3):
        url, arn = make_queue(sqs, f"q{number}")
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        urls.append(url)
    acknowledged: list[str] = []
    done = threading.Event()

    def publish(publisher: int) -> None:
        number = 0
        while not done.is_set():
            entries = [{"Id": str(each), "Message": f"{publisher}-{number}-{each}"} for each in range(5)]
            number += 1
            try:
                answer = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)
            except (BotoCoreError, ClientError):
                continue  # not acknowledged; it may have been accepted all the same
            acknowledged.extend(entries[int(each["Id"])]["Message"] for each in answer["Successful"])

    publishers = [threading.Thread(target=publish, args=(number,)) for number in range(6)]
    for thread in publishers:
        thread.start()
    for _ in range(6):
        before = len(acknowledged)
        eventually(lambda before=before: len(acknowledged) > before + 100, "messages are acknowledged again")
        os.kill(lambdad.pids()["server"], 9)
    before = len(acknowledged)
    eventually(lambda: len(acknowledged) > before + 100, "messages are acknowledged after the last kill")
    done.set()
    for thread in publishers:
        thread.join()
    for url in urls:
        received: set[str] = set()

        def receive(url: str = url, received: set[str] = received) -> bool:
            messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
            received |= {message["Body"] for message in messages}
            if messages:
                handles = [{"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]} for number, each in enumerate(messages)]
                sqs.delete_message_batch(QueueUrl=url, Entries=handles)
            return received >= set(acknowledged)

        eventually(receive, f"all of {len(acknowledged)} messages are in {url}", within_s=90)

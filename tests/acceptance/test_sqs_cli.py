"""AWS's command line program makes, uses and removes queues."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import Lambdad, eventually  # type: ignore[import-not-found]

PROGRAM = Path(sys.executable).with_name("aws")
ARN = "arn:aws:sqs:us-east-1:000000000000:"

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="awscli is not installed")


def run(lambdad: Lambdad, *arguments: str, expect: int = 0) -> Any:
    """Run `aws sqs`, and return what it prints, read as JSON; or what it complains of."""
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_MAX_ATTEMPTS": "1",
    }
    done = subprocess.run(
        [str(PROGRAM), "--endpoint-url", lambdad.url, "sqs", *arguments], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == expect, done.stderr
    return done.stderr.strip() if expect else json.loads(done.stdout or "null")


def test_a_queue_and_its_dead_letters(lambdad: Lambdad) -> None:
    """Messages go in and out, fail, are seen in the dead-letter queue, and are moved back."""
    dead = run(lambdad, "create-queue", "--queue-name", "cli-dead")["QueueUrl"]
    redrive = json.dumps({"RedrivePolicy": json.dumps({"deadLetterTargetArn": f"{ARN}cli-dead", "maxReceiveCount": 1})})
    url = run(lambdad, "create-queue", "--queue-name", "cli", "--attributes", redrive, "--tags", "team=a")["QueueUrl"]
    assert run(lambdad, "get-queue-url", "--queue-name", "cli") == {"QueueUrl": url}
    assert url in run(lambdad, "list-queues", "--queue-name-prefix", "cli")["QueueUrls"]
    assert run(lambdad, "list-queue-tags", "--queue-url", url) == {"Tags": {"team": "a"}}
    assert run(lambdad, "list-dead-letter-source-queues", "--queue-url", dead) == {"queueUrls": [url]}
    attributes = '{"colour": {"DataType": "String", "StringValue": "red"}}'
    sent = run(lambdad, "send-message", "--queue-url", url, "--message-body", "hällo", "--message-attributes", attributes)
    receive = (
        "receive-message",
        "--queue-url",
        url,
        "--attribute-names",
        "All",
        "--message-attribute-names",
        "All",
        "--visibility-timeout",
    )
    (message,) = run(lambdad, *receive, "0")["Messages"]
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], "hällo")
    assert message["MessageAttributes"] == {"colour": {"DataType": "String", "StringValue": "red"}}
    assert run(lambdad, *receive, "0") is None
    shown = run(lambdad, "get-queue-attributes", "--queue-url", dead, "--attribute-names", "ApproximateNumberOfMessages")
    assert shown == {"Attributes": {"ApproximateNumberOfMessages": "1"}}
    assert run(lambdad, "start-message-move-task", "--source-arn", f"{ARN}cli-dead")["TaskHandle"]

    def status() -> bool:
        (task,) = run(lambdad, "list-message-move-tasks", "--source-arn", f"{ARN}cli-dead")["Results"]
        return bool(task["Status"] == "COMPLETED")

    eventually(status, "the messages are moved")
    (message,) = run(lambdad, *receive, "30", "--wait-time-seconds", "5")["Messages"]
    run(
        lambdad, "change-message-visibility", "--queue-url", url, "--receipt-handle", message["ReceiptHandle"], "--visibility-timeout", "60"
    )
    run(lambdad, "delete-message", "--queue-url", url, "--receipt-handle", message["ReceiptHandle"])
    run(lambdad, "set-queue-attributes", "--queue-url", url, "--attributes", "VisibilityTimeout=5")
    run(lambdad, "add-permission", "--queue-url", url, "--label", "l", "--aws-account-ids", "111111111111", "--actions", "SendMessage")
    run(lambdad, "remove-permission", "--queue-url", url, "--label", "l")
    run(lambdad, "tag-queue", "--queue-url", url, "--tags", "a=b")
    run(lambdad, "untag-queue", "--queue-url", url, "--tag-keys", "a")
    run(lambdad, "purge-queue", "--queue-url", url)
    run(lambdad, "delete-queue", "--queue-url", url)
    refusal = run(lambdad, "send-message", "--queue-url", url, "--message-body", "m", expect=255)
    assert refusal.endswith(
        "An error occurred (AWS.SimpleQueueService.NonExistentQueue) when calling the SendMessage operation: "
        "The specified queue does not exist."
    )
    run(lambdad, "delete-queue", "--queue-url", dead)


def test_a_receiver_that_was_interrupted_takes_nothing(lambdad: Lambdad) -> None:
    """A long poll whose client has gone away is given no message, though it has waited longest."""
    client = lambdad.client("sqs")
    url = client.create_queue(QueueName="interrupted")["QueueUrl"]
    body = json.dumps({"QueueUrl": url, "WaitTimeSeconds": 20}).encode()
    host, _, port = lambdad.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST / HTTP/1.1\r\nHost: {host}\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    client.send_message(QueueUrl=url, MessageBody="m")
    assert client.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"][0]["Body"] == "m"
    client.delete_queue(QueueUrl=url)


def test_batches_of_a_fifo_queue(lambdad: Lambdad) -> None:
    """Batches keep their order, and are deleted together."""
    attributes = "FifoQueue=true,ContentBasedDeduplication=true"
    url = run(lambdad, "create-queue", "--queue-name", "cli.fifo", "--attributes", attributes)["QueueUrl"]
    entries = [{"Id": str(number), "MessageBody": f"m{number}", "MessageGroupId": "g"} for number in range(3)]
    sent = run(lambdad, "send-message-batch", "--queue-url", url, "--entries", json.dumps(entries))
    assert [entry["Id"] for entry in sent["Successful"]] == ["0", "1", "2"]
    received = run(lambdad, "receive-message", "--queue-url", url, "--max-number-of-messages", "10")["Messages"]
    assert [message["Body"] for message in received] == ["m0", "m1", "m2"]
    handles = [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(received)]
    longer = [{**handle, "VisibilityTimeout": 60} for handle in handles]
    changed = run(lambdad, "change-message-visibility-batch", "--queue-url", url, "--entries", json.dumps(longer))
    assert len(changed["Successful"]) == 3
    assert len(run(lambdad, "delete-message-batch", "--queue-url", url, "--entries", json.dumps(handles))["Successful"]) == 3
    run(lambdad, "delete-queue", "--queue-url", url)

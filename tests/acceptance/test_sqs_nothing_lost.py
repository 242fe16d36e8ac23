"""Thousands of messages through mappings, to a function that fails in every way, while server and worker are killed at random."""

import concurrent.futures
import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from conftest import PYTHON, ROLE, Lambdad, eventually, zipped  # type: ignore[import-not-found]

MESSAGES = int(os.environ.get("LAMBDAD_TEST_MESSAGES", "3000"))
GROUPS = 30
KILLS_S = 20.0  # for how long something is killed now and then
VISIBILITY_S = 5
ALLOWED_S = 240 + MESSAGES / 50

# Does with each batch what the dice say, and writes down durably, in lambdad's log service, what it has dealt with, and when.
SOURCE = """
import http.client, json, os, random, time
from urllib.parse import urlsplit
host = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc

def write(messages):
    events = [{"timestamp": int(time.time() * 1000), "message": message} for message in messages]
    body = json.dumps({"logGroupName": "done", "logStreamName": "done", "logEvents": events})
    headers = {"X-Amz-Target": "Logs_20140328.PutLogEvents", "Content-Type": "application/x-amz-json-1.1"}
    while True:
        try:
            connection = http.client.HTTPConnection(host, timeout=5)
            connection.request("POST", "/", body, headers)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)

def handler(event, context):
    fate = random.random()
    records = event["Records"]
    if fate < 0.03:
        raise RuntimeError("told to fail")
    if fate < 0.04:
        time.sleep(60)
    if fate < 0.045:
        os._exit(1)
    good = random.randrange(len(records)) if fate < 0.15 else len(records)
    write([f"{time.time_ns()} {record['attributes'].get('MessageGroupId', '-')} {record['body']}" for record in records[:good]])
    if fate > 0.98:
        raise RuntimeError("told to fail after all was done")
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in records[good:]]}
"""


def _again(call: Callable[..., Any], **request: Any) -> Any:
    """Call until it is answered: what is killed is back soon."""
    until_s = time.monotonic() + 60
    while True:
        try:
            return call(**request)
        except (BotoCoreError, ClientError):
            assert time.monotonic() < until_s
            time.sleep(0.05)


def _send(lambdad: Lambdad, url: str, numbers: list[int], is_fifo: bool) -> None:
    """Send messages by tens; what is not acknowledged is sent again, for the same order by the same sender."""
    sqs = lambdad.client("sqs")
    for begin in range(0, len(numbers), 10):
        entries: list[dict[str, Any]] = []
        for number in numbers[begin : begin + 10]:
            entry = {"Id": str(number), "MessageBody": str(number)}
            if is_fifo:
                entry |= {"MessageGroupId": f"g{number % GROUPS}", "MessageDeduplicationId": str(number)}
            entries.append(entry)
        while entries:
            answer = _again(sqs.send_message_batch, QueueUrl=url, Entries=entries)
            sent = {each["Id"] for each in answer.get("Successful", ())}
            entries = [entry for entry in entries if entry["Id"] not in sent]


def _kill_now_and_then(lambdad: Lambdad, stop: threading.Event, dice: random.Random) -> int:
    kills = 0
    while not stop.wait(dice.uniform(1.0, 3.0)):
        pids = lambdad.pids()
        for role in dice.choice((("server",), ("worker",), ("server", "worker"))):
            if role in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pids[role], signal.SIGKILL)
                    kills += 1
    return kills


def _count(sqs: Any, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return sum(map(int, _again(sqs.get_queue_attributes, QueueUrl=url, AttributeNames=names)["Attributes"].values()))


def _dead(sqs: Any, url: str) -> set[int]:
    found: set[int] = set()
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600).get("Messages"):
        found.update(int(message["Body"]) for message in messages)
    return found


def _deploy(lambdad: Lambdad) -> None:
    logs = lambdad.client("logs")
    logs.create_log_group(logGroupName="done")
    logs.create_log_stream(logGroupName="done", logStreamName="done")
    client = lambdad.client("lambda")
    client.create_function(
        FunctionName="f", Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": zipped({"app.py": SOURCE})}, Timeout=2
    )
    client.get_waiter("function_active_v2").wait(FunctionName="f", WaiterConfig={"Delay": 1})


def _queue(lambdad: Lambdad, name: str, receives: int, **attributes: str) -> tuple[str, str]:
    """Make a queue and its dead letters, have it worked off, and return both URLs."""
    sqs = lambdad.client("sqs")
    suffix = ".fifo" if attributes else ""
    dead = sqs.create_queue(QueueName=f"{name}-dead{suffix}", Attributes=attributes)["QueueUrl"]
    target = f"arn:aws:sqs:us-east-1:000000000000:{name}-dead{suffix}"
    policy = json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": receives})
    attributes |= {"VisibilityTimeout": str(VISIBILITY_S), "RedrivePolicy": policy}
    url = sqs.create_queue(QueueName=f"{name}{suffix}", Attributes=attributes)["QueueUrl"]
    lambdad.client("lambda").create_event_source_mapping(
        FunctionName="f",
        EventSourceArn=f"arn:aws:sqs:us-east-1:000000000000:{name}{suffix}",
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    return url, dead


@pytest.mark.slow
@pytest.mark.timeout(ALLOWED_S + 120)
def test_nothing_is_lost(own_lambdad: Callable[..., Lambdad]) -> None:
    """Every acknowledged message is dealt with at least once, or is a dead letter; groups keep their order."""
    lambdad = own_lambdad()
    _deploy(lambdad)
    url, dead = _queue(lambdad, "plain", receives=5)
    fifo_url, fifo_dead = _queue(lambdad, "ordered", receives=20, FifoQueue="true")
    fifo_numbers = list(range(MESSAGES // 3))
    numbers = list(range(MESSAGES - len(fifo_numbers)))
    stop = threading.Event()
    seed = int(os.environ.get("LAMBDAD_TEST_SEED", "7"))
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        killer = pool.submit(_kill_now_and_then, lambdad, stop, random.Random(seed))
        senders = [pool.submit(_send, lambdad, url, numbers[part::4], False) for part in range(4)]
        senders.append(pool.submit(_send, lambdad, fifo_url, fifo_numbers, True))
        begun_s = time.monotonic()
        try:
            for sender in senders:
                sender.result(timeout=ALLOWED_S)
            time.sleep(max(KILLS_S - (time.monotonic() - begun_s), 0))
        finally:
            stop.set()
        assert killer.result() >= 5
    sqs = lambdad.client("sqs")
    eventually(lambda: _count(sqs, url) == 0 and _count(sqs, fifo_url) == 0, "the queues are empty", ALLOWED_S)

    done: dict[str, dict[int, int]] = defaultdict(dict)  # by group: when a message was first dealt with
    for page in lambdad.client("logs").get_paginator("filter_log_events").paginate(logGroupName="done"):
        for event in page["events"]:
            at_ns, group, number = event["message"].split()
            done[group][int(number)] = min(done[group].get(int(number), int(at_ns)), int(at_ns))
    plain_done = set(done.pop("-"))
    assert plain_done | _dead(sqs, dead) == set(numbers)
    fifo_done = {number for group in done.values() for number in group}
    assert fifo_done | _dead(sqs, fifo_dead) == set(fifo_numbers)
    for group, first in done.items():
        in_time = sorted(first, key=lambda number: first[number])
        assert in_time == sorted(first), f"a message of {group} has overtaken another one"

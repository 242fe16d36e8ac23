"""kill -9 of the server among many sends and receives."""

import concurrent.futures
import contextlib
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from conftest import Lambdad, eventually  # type: ignore[import-not-found]

SENDERS = 4
KILLS = 3


def _kill_server(lambdad: Lambdad) -> None:
    before = lambdad.pids()["server"]
    os.kill(before, signal.SIGKILL)

    def is_back() -> bool:
        with contextlib.suppress(OSError):
            return lambdad.pids().get("server", before) != before and lambdad.health()["status"] == "ok"
        return False

    eventually(is_back, "the server is back")


def _drain(client: Any, url: str, seen: Callable[[str], None]) -> None:
    """Receive and delete until nothing comes for longer than messages may be invisible."""
    last_s = time.monotonic()
    while time.monotonic() - last_s < 4:
        answer = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        for message in answer.get("Messages", []):
            seen(message["Body"])
            last_s = time.monotonic()
        entries = [{"Id": str(at), "ReceiptHandle": each["ReceiptHandle"]} for at, each in enumerate(answer.get("Messages", []))]
        if entries:
            client.delete_message_batch(QueueUrl=url, Entries=entries)


@pytest.mark.slow
def test_messages_that_were_acknowledged_are_received(own_lambdad: Callable[..., Lambdad]) -> None:
    """While the server is killed again and again, every message whose sending was answered is received; what was deleted is not."""
    lambdad = own_lambdad()
    client = lambdad.client("sqs")
    url = client.create_queue(QueueName="q", Attributes={"VisibilityTimeout": "2"})["QueueUrl"]
    stop = threading.Event()
    sent: set[str] = set()
    deleted: dict[str, float] = {}
    received: dict[str, list[float]] = defaultdict(list)

    def send(sender: int) -> None:
        number = 0
        while not stop.is_set():
            bodies = [f"{sender}-{number}-{each}" for each in range(10)]
            number += 1
            with contextlib.suppress(BotoCoreError, ClientError):
                entries = [{"Id": str(at), "MessageBody": body} for at, body in enumerate(bodies)]
                answer = client.send_message_batch(QueueUrl=url, Entries=entries)
                sent.update(bodies[int(each["Id"])] for each in answer["Successful"])

    def receive() -> None:
        while not stop.is_set():
            with contextlib.suppress(BotoCoreError, ClientError):
                messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
                for message in messages:
                    received[message["Body"]].append(time.monotonic())
                    client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                    deleted[message["Body"]] = time.monotonic()

    with concurrent.futures.ThreadPoolExecutor(SENDERS + 1) as threads:
        running = [threads.submit(send, sender) for sender in range(SENDERS)] + [threads.submit(receive)]
        for _ in range(KILLS):
            time.sleep(1)
            _kill_server(lambdad)
        stop.set()
        for each in running:
            each.result()
    _drain(client, url, lambda body: received[body].append(time.monotonic()))
    assert len(sent) > 200
    assert sent - set(received) == set()
    assert [body for body, at_s in deleted.items() if max(received[body]) > at_s] == []


@pytest.mark.slow
def test_groups_stay_in_order(own_lambdad: Callable[..., Lambdad]) -> None:
    """Over kills, each group of a FIFO queue is received in order; a message comes again only before any later one."""
    lambdad = own_lambdad()
    client = lambdad.client("sqs")
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true", "VisibilityTimeout": "2"}
    url = client.create_queue(QueueName="q.fifo", Attributes=attributes)["QueueUrl"]
    for start in range(0, 300, 10):
        entries = [{"Id": str(at), "MessageBody": f"{at % 3}-{start + at:04}", "MessageGroupId": str(at % 3)} for at in range(10)]
        client.send_message_batch(QueueUrl=url, Entries=entries)
    orders: dict[str, list[str]] = defaultdict(list)
    done: set[str] = set()
    kills = iter((60, 150, 240))
    next_kill = next(kills)
    last_s = time.monotonic()
    while time.monotonic() - last_s < 4:
        messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=5, WaitTimeSeconds=1).get("Messages", [])
        if messages:
            last_s = time.monotonic()
        if len(done) >= next_kill:
            next_kill = next(kills, 10_000)
            _kill_server(lambdad)
        for message in messages:
            orders[message["Body"][0]].append(message["Body"])
            with contextlib.suppress(ClientError):  # its time may be over
                client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                done.add(message["Body"])
    assert len(done) == 300
    for order in orders.values():
        firsts = list(dict.fromkeys(order))
        assert firsts == sorted(firsts)

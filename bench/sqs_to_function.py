"""Messages a second from SendMessageBatch through a queue and an event source mapping to a function, until they are deleted.

    python -m bench.sqs_to_function [--messages N] [--senders N]

Sending is part of it, over HTTP with the signature check on, on the same processors; batches have ten messages on either side.
"""

import argparse
import asyncio
import json
import time
from typing import Any
from urllib.parse import urlsplit

import boto3
import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from bench import client
from bench.invoke import deploy, sdk, serving, zipped

MESSAGES = 30_000
SENDERS = 32
RUNTIME = "python3.11"
CODE = {"app.py": (b"def handler(event, context):\n    return None\n", 0o644)}


def signed_send(url: str, queue_url: str, body: str) -> bytes:
    """Return the bytes of a signed SendMessageBatch of ten messages; it may be sent for five minutes."""
    entries = [{"Id": str(number), "MessageBody": body} for number in range(10)]
    data = json.dumps({"QueueUrl": queue_url, "Entries": entries}).encode()
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessageBatch"}
    request = AWSRequest("POST", f"{url}/", data=data, headers={**headers, "Host": urlsplit(url).netloc})
    SigV4Auth(Credentials(client.ACCESS_KEY, client.SECRET), "sqs", "us-east-1").add_auth(request)
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST / HTTP/1.1\r\n{lines}Content-Length: {len(data)}\r\n\r\n".encode() + data


class _Sender(asyncio.Protocol):
    """Sends a request as often as it is told to, each after the answer to the one before."""

    def __init__(self, request: bytes, times: int, done: "asyncio.Future[None]") -> None:
        self._request, self._left, self._done, self._data = request, times, done, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.write(self._request)  # type: ignore[attr-defined]  # a stream transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, separator, body = self._data.partition(b"\r\n\r\n")
        if not separator or len(body) < client.content_length(head):
            return
        assert self._data.startswith(b"HTTP/1.1 200") and b'"Failed":[{' not in body, self._data[:500]
        self._data = b""
        self._left -= 1
        if self._left:
            self._transport.write(self._request)  # type: ignore[attr-defined]
        else:
            self._transport.close()
            self._done.set_result(None)


async def _send(url: str, request: bytes, messages: int, senders: int) -> None:
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in range(senders)]
    host, port = client.address(url)
    for future in done:
        times = messages // 10 // senders
        await loop.create_connection(lambda f=future, t=times: _Sender(request, t, f), host, port)  # type: ignore[misc]  # and defaults
    for future in done:
        await future


def _left(sqs: Any, queue_url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return sum(map(int, sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"].values()))


def measure(url: str, messages: int, senders: int) -> float:
    """Send, wait until everything is deleted, and return messages a second."""
    sqs = boto3.client(
        "sqs",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=client.ACCESS_KEY,
        aws_secret_access_key=client.SECRET,
        config=Config(retries={"max_attempts": 0}),
    )
    lambda_ = sdk(url)
    deploy(lambda_, "work", RUNTIME, "app.handler", zipped(CODE))
    queue_url = sqs.create_queue(QueueName="bench")["QueueUrl"]
    mapping = lambda_.create_event_source_mapping(EventSourceArn="arn:aws:sqs:us-east-1:000000000000:bench", FunctionName="work")
    while lambda_.get_event_source_mapping(UUID=mapping["UUID"])["State"] != "Enabled":
        time.sleep(0.05)
    request = signed_send(url, queue_url, json.dumps({"order": 12345, "customer": "a customer", "lines": [{"sku": "x", "count": 3}]}))
    uvloop.run(_send(url, request, 2000, senders))  # warm
    while _left(sqs, queue_url):
        time.sleep(0.05)
    started_s = time.perf_counter()
    uvloop.run(_send(url, request, messages, senders))
    sent_s = time.perf_counter() - started_s
    while _left(sqs, queue_url):
        time.sleep(0.02)
    took_s = time.perf_counter() - started_s
    count = messages // 10 // senders * senders * 10
    print(f"SQS to a function, batches of 10, {count:,} messages: {count / took_s:,.0f} a second, sending included ({sent_s / took_s:.0%})")
    return count / took_s


def run(messages: int = MESSAGES, senders: int = SENDERS) -> None:
    """Measure on a lambdad of its own."""
    with serving() as (url, _, _):
        measure(url, messages, senders)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--senders", type=int, default=SENDERS)
    arguments = parser.parse_args()
    run(arguments.messages, arguments.senders)


if __name__ == "__main__":
    main()

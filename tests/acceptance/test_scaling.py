"""How fast functions grow and are called, what happens when a machine is full, and what is left of a frozen environment."""

import asyncio
import collections
import concurrent.futures
import json
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from conftest import Functions, Lambdad  # type: ignore[import-not-found]

SLEEPER = (
    "import os, time\nkey = os.urandom(8).hex()\n"
    "def handler(event, context):\n    time.sleep((event or {}).get('sleep', 0))\n    return {'key': key, 'at': time.time()}\n"
)
TICKER = """
import threading, time
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.01)
threading.Thread(target=tick, daemon=True).start()
late = []
threading.Timer(1.0, lambda: late.append(time.time())).start()
def handler(event, context):
    time.sleep((event or {}).get('sleep', 0))
    return {'ticks': ticks, 'late': late, 'now': time.time()}
"""


def test_requests_per_second(own_lambdad: Callable[..., Lambdad]):
    """Ten for each unit of concurrency: beyond that 429 with AWS's reason, and when to come again. Events are queued all the same."""
    running = own_lambdad(environment={"LAMBDAD_ACCOUNT_CONCURRENCY": "1"})
    functions = Functions(running, "rate")
    name = functions.deploy(SLEEPER)
    refused = None
    for _ in range(200):
        try:
            functions.invoke(name, {})
        except ClientError as error:
            refused = error.response
            break
    assert refused is not None
    assert refused["Error"]["Code"] == "TooManyRequestsException" and refused["Error"]["Message"] == "Rate Exceeded."
    assert refused["Reason"] == "FunctionInvocationRateLimitExceeded" and refused["Type"] == "User"
    assert refused["ResponseMetadata"]["HTTPStatusCode"] == 429 and refused["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
    for _ in range(15):
        assert functions.client.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")["StatusCode"] == 202
    time.sleep(0.5)
    assert "FunctionError" not in functions.invoke(name, {})


def test_requests_per_second_of_a_reservation(functions: Functions):
    """Have a reason of their own."""
    name = functions.deploy(SLEEPER)
    functions.client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    reasons = set()
    for _ in range(100):
        try:
            functions.invoke(name, {})
        except ClientError as error:
            reasons.add(error.response["Reason"])
    assert reasons == {"ReservedFunctionInvocationRateLimitExceeded"}


def test_a_full_machine_serves_in_order(own_lambdad: Callable[..., Lambdad]):
    """Invocations of several functions that wait for room get it in the order in which they came."""
    running = own_lambdad(environment={"LAMBDAD_MAX_ENVIRONMENTS": "1", "LAMBDAD_CAPACITY_WAIT_S": "20"})
    functions = Functions(running, "order")
    names = [functions.deploy(SLEEPER, Timeout=20) for _ in range(4)]

    def one(number: int) -> float:
        time.sleep(number * 0.1)
        return float(functions.invoke(names[number], {"sleep": 0.5})["Payload"]["at"])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(one, range(4)))
    assert ended == sorted(ended)
    assert sum(running.health()["environments"].values()) <= 1


def test_background_work_stands_still_between_invocations(own_lambdad: Callable[..., Lambdad]):
    """Threads and timers of an idle environment stop, and go on where they were within the next invocation."""
    running = own_lambdad(environment={"LAMBDAD_FREEZE_AFTER_S": "0.1"})
    if running.health()["worker"]["isolation"].startswith("plain"):
        pytest.skip("plain processes are stopped by signals, and not tested here")
    functions = Functions(running, "frozen")
    name = functions.deploy(TICKER, Timeout=20)
    first = functions.invoke(name, {})["Payload"]
    time.sleep(4.0)
    second = functions.invoke(name, {})["Payload"]
    assert second["now"] - first["now"] >= 4.0
    assert second["ticks"] - first["ticks"] < 150  # of four hundred
    third = functions.invoke(name, {"sleep": 1.2})["Payload"]
    assert third["ticks"] - second["ticks"] > 10
    assert len(third["late"]) == 1 and third["late"][0] >= second["now"] - 0.5  # due after one second, it came after the freeze


async def burst(url: str, name: str, times: int) -> "collections.Counter[str]":
    """Invoke a function so many times at once, over as many connections; count the statuses."""
    parts = urlsplit(url)
    body = json.dumps({"sleep": 20}).encode()
    head = (
        f"POST /2015-03-31/functions/{name}/invocations HTTP/1.1\r\nHost: {parts.netloc}\r\nX-Amz-Date: 20261121T000000Z\r\n"
        "Authorization: AWS4-HMAC-SHA256 Credential=test/20261121/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=00\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )

    async def one() -> str:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        return answer.split(b" ", 2)[1].decode()

    return collections.Counter(await asyncio.gather(*(one() for _ in range(times))))


@pytest.mark.slow
def test_a_thousand_at_once_of_a_new_function(own_lambdad: Callable[..., Lambdad]):
    """AWS's default concurrency and scaling rate let them all in, and none is lost on the way."""
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    if int(meminfo["MemAvailable"].split()[0]) < 10 * 1024 * 1024:
        pytest.skip("a thousand environments want ten gigabytes")
    running = own_lambdad()
    functions = Functions(running, "burst")
    name = functions.deploy(SLEEPER, Timeout=60)
    assert asyncio.run(burst(running.url, name, 1000)) == {"200": 1000}
    assert sum(running.health()["environments"].values()) <= 1000

"""Measure SNS: fan-outs, and how fast filter policies are.

    .venv/bin/python bench/sns.py [--subscriptions N] [--messages N]

In one process, on SQLite: a publish to a topic with so many queues, from the call until it is answered, which is after its deliveries
are on the disk; and until the outbox has made them all. What is delivered to only counts, so this is what SNS and the outbox cost.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lambdad.kit import clock
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.outbox import Outbox
from lambdad.services.outbox import migrations as outbox_migrations
from lambdad.services.ports import CallContext, Origin
from lambdad.services.sns.app import SnsService, migrations
from lambdad.services.sns.rules.filter_policies import ATTRIBUTES, BODY, compile_policy
from lambdad.store.database import open_database, sqlite_url

ACCOUNT = "000000000000"
CONTEXT = CallContext(
    account=AccountId(ACCOUNT),
    region=Region("us-east-1"),
    request_id=RequestId("00000000-0000-0000-0000-000000000000"),
    principal_arn=f"arn:aws:iam::{ACCOUNT}:root",
)
SUBSCRIPTIONS, MESSAGES = 100, 100
POLICY = {
    "store": ["example_corp"],
    "event": [{"anything-but": "order_cancelled"}],
    "customer_interests": ["rugby", "football"],
    "price_usd": [{"numeric": [">=", 100]}],
}
ATTRIBUTE_VALUES = {"store": "example_corp", "event": "order_placed", "customer_interests": ["soccer", "rugby"], "price_usd": 210.75}


class Counting:
    """Neighbours that take everything, and count."""

    def __init__(self) -> None:
        self.calls = 0

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Count a call."""
        self.calls += 1
        return {}


async def fan_out(directory: Path, subscriptions: int, messages: int, *, raw: bool) -> None:
    """Publish messages one after the other to a topic with so many queues, and print what it took."""
    neighbours = Counting()
    url = sqlite_url(directory / f"raw-{raw}.db")
    async with (
        open_database(url, migrations=[migrations(), outbox_migrations()], now_ms=clock.now_ms) as database,
        asyncio.TaskGroup() as tasks,
    ):
        outbox = Outbox(database, neighbours, clock.now_ms)
        sns = SnsService(database, outbox, clock.now_ms, spawn=tasks.create_task, endpoint="http://127.0.0.1:4566")
        running = tasks.create_task(outbox.run())
        handlers = sns.service().handlers
        topic = (await handlers["CreateTopic"](CONTEXT, {"Name": "bench"}))["TopicArn"]
        for number in range(subscriptions):
            queue = f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue-{number}"
            request = {"TopicArn": topic, "Protocol": "sqs", "Endpoint": queue, "Attributes": {"RawMessageDelivery": str(raw).lower()}}
            await handlers["Subscribe"](CONTEXT, request)
        publish = {"TopicArn": topic, "Message": json.dumps({"order": 17, "items": ["a", "b", "c"]})}
        await handlers["Publish"](CONTEXT, publish)  # makes the signing key
        times_ms = []
        begin_s = time.perf_counter()
        for _ in range(messages):
            start_s = time.perf_counter()
            await handlers["Publish"](CONTEXT, publish)
            times_ms.append((time.perf_counter() - start_s) * 1000)
        accepted_s = time.perf_counter() - begin_s
        while neighbours.calls < (messages + 1) * subscriptions:
            await asyncio.sleep(0.001)
        delivered_s = time.perf_counter() - begin_s
        running.cancel()
    what = "raw" if raw else "signed envelopes"
    times_ms.sort()
    p50_ms, p99_ms = statistics.median(times_ms), times_ms[int(len(times_ms) * 0.99)]
    print(
        f"SNS, {subscriptions} subscriptions, {what:<17} publish p50 {p50_ms:6.2f} ms, p99 {p99_ms:6.2f} ms, "
        f"{messages * subscriptions / accepted_s:8,.0f} deliveries/s accepted, {messages * subscriptions / delivered_s:8,.0f}/s made"
    )


def filters() -> None:
    """Print how many messages a second one filter policy judges, on one core."""
    body = json.loads(json.dumps(ATTRIBUTE_VALUES))
    for scope in (ATTRIBUTES, BODY):
        found = compile_policy(json.dumps(POLICY), scope)
        start_s = time.perf_counter()
        count = 100_000
        for _ in range(count):
            assert found.fields.match(body)
        print(f"SNS, filter policy on {scope:<17} {count / (time.perf_counter() - start_s):>12,.0f} matches/s")


def run(subscriptions: int = SUBSCRIPTIONS, messages: int = MESSAGES) -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory(prefix="lambdad-bench-") as directory:
        for raw in (False, True):
            asyncio.run(fan_out(Path(directory), subscriptions, messages, raw=raw))
    filters()


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscriptions", type=int, default=SUBSCRIPTIONS)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    arguments = parser.parse_args()
    run(arguments.subscriptions, arguments.messages)


if __name__ == "__main__":
    main()

"""
Measure how many Event invokes a second are accepted, each on the disk before its 202, and what follows from them.

    .venv/bin/python -m bench.event_invokes [--for S] [--clients N] [--database URL]

In process, without HTTP and without environments: the handlers, the queue and the outbox over a database in a temporary directory.
Prints, each a second: events accepted while nothing runs them; events accepted and run to their ends by functions that answer at once,
with a destination for each; deliveries made by the outbox.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from lambdad.app.neighbours import Neighbourhood
from lambdad.kit import clock
from lambdad.model.function import LATEST, EventInvokeConfig, Function, FunctionKey, FunctionVersion, State
from lambdad.model.ids import AccountId, Region
from lambdad.model.invocation import Invocation, Outcome
from lambdad.server.request_ids import RequestIds
from lambdad.services.lambda_.async_events import AsyncEvents
from lambdad.services.lambda_.invoke import Invocations, Invoker
from lambdad.services.lambda_.registry import Change, Registry
from lambdad.services.outbox import Delivery, Outbox, migrations
from lambdad.services.ports import CallContext, Origin, Service
from lambdad.store.database import Database, open_database, sqlite_url
from lambdad.store.migrations import load_migrations

KEY = FunctionKey(AccountId("000000000000"), Region("us-east-1"), "bench")
ORIGIN = Origin(account=KEY.account, region=KEY.region)
QUEUE = "arn:aws:sqs:us-east-1:000000000000:done"
PAYLOAD = b'{"detail": "' + b"x" * 1000 + b'"}'
CLIENTS = 64


class Plane:
    """Functions that answer at once."""

    async def invoke(self, invocation: Invocation, unreserved_limit: int) -> Outcome:
        return Outcome(payload=b"1", function_error="", error_type="", tail=b"", duration_ms=1, billed_ms=1, init_ms=0, max_memory_mib=1)


async def registry_with_one_function(database: Database, tasks: asyncio.TaskGroup) -> Registry:
    """Make a registry with a function that is Active, and tells a queue of its successes."""
    version = FunctionVersion(
        account=KEY.account,
        region=KEY.region,
        name=KEY.name,
        deployment_id="d",
        revision_id="r",
        last_modified="",
        runtime="python3.12",
        handler="app.handler",
        role="arn:aws:iam::000000000000:role/r",
        timeout_s=3,
        memory_mib=128,
        ephemeral_storage_mib=512,
        architectures=(),
        code_sha256="00" * 32,
        code_size_bytes=1,
        code_unzipped_bytes=1,
        log_group="/aws/lambda/bench",
        state=State.ACTIVE,
    )
    configs = {LATEST: EventInvokeConfig(on_success=QUEUE, last_modified_ms=0)}
    function = Function(
        account=KEY.account, region=KEY.region, name=KEY.name, latest=version, serving=version, event_invoke_configs=configs
    )
    registry = Registry(database, tasks.create_task)
    await registry.change(KEY, lambda _: Change(function, None))
    return registry


class Bench:
    """The parts, and what has arrived at the end."""

    def __init__(self, database: Database, registry: Registry) -> None:
        self.arrived = 0
        self.database = database
        self.neighbours = Neighbourhood({}, RequestIds(), "")
        self.outbox = Outbox(database, self.neighbours, clock.now_ms)
        invoker = Invoker(registry, Plane(), 1_000_000, clock.now_ms)
        self.events = AsyncEvents(database, invoker, self.outbox, clock.now_ms, new_id=RequestIds())
        lambda_ = Service(name="lambda", handlers=Invocations(invoker, self.events).handlers())
        self.neighbours.serve(lambda_, Service(name="sqs", handlers={"SendMessage": self._send_message}))

    async def _send_message(self, context: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        self.arrived += 1
        return {}

    async def accept(self, clients: int, for_s: float) -> tuple[int, float]:
        """Send Event invokes from so many clients for a while; returns how many were acknowledged, and the seconds."""
        began_s = time.perf_counter()
        counts = await asyncio.gather(*(self._client(began_s + for_s) for _ in range(clients)))
        return sum(counts), time.perf_counter() - began_s

    async def _client(self, until_s: float) -> int:
        params: Mapping[str, Any] = {"FunctionName": KEY.name, "InvocationType": "Event", "Payload": PAYLOAD}
        count = 0
        while time.perf_counter() < until_s:
            await self.neighbours.call(ORIGIN, "lambda", "Invoke", params)
            count += 1
        return count

    async def until(self, arrived: int) -> None:
        """Wait until so many deliveries have arrived."""
        while self.arrived < arrived:
            await asyncio.sleep(0.005)

    async def deliver(self, count: int) -> float:
        """Add deliveries to ten queues, in writes of a hundred, and return the seconds until the last has arrived."""
        arrived = self.arrived + count
        began_s = time.perf_counter()
        for start in range(0, count, 100):
            batch = [_delivery(number) for number in range(start, start + 100)]
            now_ms = clock.now_ms()
            await self.database.write(lambda connection, batch=batch, now_ms=now_ms: self.outbox.add(connection, batch, now_ms))
            self.outbox.wake()
        await self.until(arrived)
        return time.perf_counter() - began_s


def _delivery(number: int) -> Delivery:
    return Delivery(
        origin=ORIGIN,
        service="sqs",
        operation="SendMessage",
        params={"QueueUrl": f"https://sqs.us-east-1.amazonaws.com/000000000000/q{number % 10}", "MessageBody": "x" * 1000},
        maximum_attempts=3,
        maximum_age_s=60,
    )


async def measure(url: str, clients: int, for_s: float) -> None:
    """Print the three figures for a database."""
    steps = [load_migrations("lambdad.services.lambda_"), migrations()]
    async with open_database(url, migrations=steps, now_ms=clock.now_ms) as database, asyncio.TaskGroup() as tasks:
        bench = Bench(database, await registry_with_one_function(database, tasks))
        count, took_s = await bench.accept(clients, for_s)
        print(f"Event invokes accepted durably, {clients} clients           {count / took_s:8,.0f} a second")
        running = [tasks.create_task(bench.events.run()), tasks.create_task(bench.outbox.run())]
        await bench.until(count)
        arrived = bench.arrived
        more, _ = await bench.accept(clients, for_s)
        began_s = time.perf_counter()
        await bench.until(arrived + more)
        took_s = for_s + time.perf_counter() - began_s
        print(f"the same, each run and its destination told         {more / took_s:8,.0f} a second")
        deliveries = 10_000
        print(f"deliveries by the outbox, ten targets               {deliveries / await bench.deliver(deliveries):8,.0f} a second")
        for task in running:
            task.cancel()


def run(*, for_s: float = 5.0, clients: int = CLIENTS, url: str = "") -> None:
    """Measure, on SQLite in a temporary directory where no other database is given."""
    with tempfile.TemporaryDirectory() as directory:
        uvloop.run(measure(url or sqlite_url(Path(directory) / "bench.db"), clients, for_s))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--for", dest="for_s", type=float, default=5.0, help="seconds of sending")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--database", default="", help="a URL; SQLite in a temporary directory if none is given")
    given = parser.parse_args()
    run(for_s=given.for_s, clients=given.clients, url=given.database)

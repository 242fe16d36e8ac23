"""Measure EventBridge and Scheduler: event patterns, schedule expressions, PutEvents, a thousand schedules due at once.

    .venv/bin/python -m bench.events [patterns] [expressions] [put] [due]

All of it runs in this process, on one core. `put` and `due` write to SQLite with an fsync for each commit; `due` runs the outbox too, with
neighbours that take a call at once, and prints how long after their time the last of the schedules was started.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lambdad.kit import clock
from lambdad.machines import event_patterns, schedules
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services import outbox as outbox_
from lambdad.services.events import app as events_app
from lambdad.services.outbox import Outbox
from lambdad.services.ports import CallContext, Origin
from lambdad.services.scheduler import app as scheduler_app
from lambdad.store.database import Database, open_database, sqlite_url

CTX = CallContext(
    account=AccountId("000000000000"),
    region=Region("us-east-1"),
    request_id=RequestId("00000000-0000-0000-0000-000000000000"),
    principal_arn="arn:aws:iam::000000000000:root",
)
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
EVENT = {
    "version": "0",
    "id": "17793124-05d4-b198-2fde-7ededc63b103",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "account": "111122223333",
    "time": "2021-11-12T00:00:00Z",
    "region": "ca-central-1",
    "resources": ["arn:aws:s3:::pictures"],
    "detail": {"bucket": {"name": "pictures"}, "object": {"key": "in/a.png", "size": 5_000}, "reason": "PutObject"},
}
PATTERNS: dict[str, Any] = {
    "typical, fits": {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": ["pictures"]}, "object": {"key": [{"prefix": "in/"}]}},
    },
    "typical, does not": {
        "source": ["aws.ec2"],
        "detail-type": ["EC2 Instance State-change Notification"],
        "detail": {"state": ["stopped"]},
    },
    "many operators, fits": {
        "source": [{"prefix": "aws."}],
        "detail": {
            "object": {"key": [{"wildcard": "in/*.png"}], "size": [{"numeric": [">", 0, "<", 10_000]}]},
            "reason": [{"anything-but": "CopyObject"}],
            "$or": [{"deletion-type": [{"exists": True}]}, {"version": [{"exists": False}]}],
        },
    },
}
EXPRESSIONS = ["rate(5 minutes)", "cron(0/15 * * * ? *)", "cron(0 9 ? * MON-FRI *)", "cron(0 0 29 2 ? *)"]


def rate(work: Callable[[], Any], seconds: float = 1.0) -> float:
    """Call something for a second or so, and return how often it can be called in one."""
    count, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        for _ in range(100):
            work()
        count += 100
    return count / took


def measure_patterns() -> None:
    for name, pattern in PATTERNS.items():
        matches = event_patterns.compile(pattern).matches
        print(f"pattern, {name:24} {rate(lambda matches=matches: matches(EVENT)):>12,.0f} matches/s")  # type: ignore[misc]


def measure_expressions() -> None:
    now_ms = clock.now_ms()
    for expression in EXPRESSIONS:
        schedule = schedules.parse(expression)
        per_s = rate(lambda schedule=schedule: schedules.next_after(schedule, now_ms, anchor_ms=now_ms))  # type: ignore[misc]
        print(f"next time, {expression:26} {per_s:>8,.0f}/s")


class Taken:
    """Neighbours that take every call, and note when."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self.times.append(time.time())
        return {}


async def measure_put(database: Database, clients: int = 32, calls: int = 100) -> None:
    """Put events, ten in a call, that each have one target."""
    numbers = iter(range(10**9))
    async with asyncio.TaskGroup() as tasks:
        service = events_app.EventsService(
            database,
            Outbox(database, Taken(), clock.now_ms),
            clock.now_ms,
            new_id=lambda: str(next(numbers)),
            spawn=lambda work: [tasks.create_task(work)].clear(),
        )
        await service.load()
        handlers = service.service().handlers
        await handlers["PutRule"](CTX, {"Name": "r", "EventPattern": '{"source":["shop"]}'})
        await handlers["PutTargets"](CTX, {"Rule": "r", "Targets": [{"Id": "1", "Arn": QUEUE}]})
        entry = {"Source": "shop", "DetailType": "Order", "Detail": json.dumps({"order": 1, "items": list(range(20))})}

        async def client() -> None:
            for _ in range(calls):
                await handlers["PutEvents"](CTX, {"Entries": [entry] * 10})

        began = time.perf_counter()
        async with asyncio.TaskGroup() as putting:
            for _ in range(clients):
                putting.create_task(client())
        per_s = clients * calls * 10 / (time.perf_counter() - began)
        print(f"PutEvents, durable, {clients} clients, 10 entries a call: {per_s:,.0f} events/s")


async def measure_due(database: Database, count: int = 1000) -> None:
    """Let schedules be due in the same second, three seconds from now."""
    taken, numbers = Taken(), iter(range(10**9))
    outbox = Outbox(database, taken, clock.now_ms)
    service = scheduler_app.SchedulerService(database, outbox, clock.now_ms, new_id=lambda: str(next(numbers)), draw=lambda: 0.0)
    create = service.service().handlers["CreateSchedule"]
    at_s = int(time.time()) + 4
    expression = f"at({time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at_s))})"
    async with asyncio.TaskGroup() as making:
        for number in range(count):
            target = {"Arn": QUEUE, "RoleArn": "arn:aws:iam::000000000000:role/r"}
            request = {"Name": f"s{number}", "ScheduleExpression": expression, "FlexibleTimeWindow": {"Mode": "OFF"}, "Target": target}
            making.create_task(_discard(create(CTX, request)))
    assert time.time() < at_s, "this machine is too slow to make the schedules in time"
    running = [asyncio.create_task(service.run()), asyncio.create_task(outbox.run())]
    while len(taken.times) < count:
        await asyncio.sleep(0.01)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    late = sorted(each - at_s for each in taken.times)
    print(
        f"{count} schedules due in the same second: the first started {late[0] * 1000:.0f} ms after it, the last {late[-1] * 1000:.0f} ms"
    )


async def _discard(work: Any) -> None:
    await work


async def _with_database(work: Callable[[Database], Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        migrations = [outbox_.migrations(), events_app.migrations(), scheduler_app.migrations()]
        async with open_database(sqlite_url(Path(folder) / "bench.db"), migrations=migrations, now_ms=clock.now_ms) as database:
            await work(database)


def run(only: frozenset[str] = frozenset()) -> None:
    """Measure everything, or what is named."""
    if not only or "patterns" in only:
        measure_patterns()
    if not only or "expressions" in only:
        measure_expressions()
    if not only or "put" in only:
        asyncio.run(_with_database(measure_put))
    if not only or "due" in only:
        asyncio.run(_with_database(measure_due))


if __name__ == "__main__":
    run(frozenset(sys.argv[1:]))

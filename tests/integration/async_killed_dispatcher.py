"""Accept events, run and retry them, tell destinations, all by a clock that runs a hundred times as fast; run as a program, to be killed.

python async_killed_dispatcher.py URL NAME COUNT RECORD BEGAN_MS

Prints each id when it was acknowledged. Functions of events with an odd number always fail, the others fail now and then. RECORD gets a
line "id destination condition attempts" for each delivery, before it is answered. The clock began to hurry at BEGAN_MS.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from async_world import KEY, MIGRATIONS, Target, outcome

from lambdad.model.errors import AwsError
from lambdad.model.function import FunctionKey
from lambdad.model.ids import RequestId
from lambdad.model.invocation import Outcome, Throttled
from lambdad.services.lambda_.async_events import AsyncEvents
from lambdad.services.lambda_.rules.event_invoke import Settings
from lambdad.services.outbox import Outbox
from lambdad.services.ports import Origin
from lambdad.store.database import open_database

SPEED = 100


class House:
    """Functions that do as they are numbered, and destinations that write down what they hear, when they are there."""

    def __init__(self, record: Path) -> None:
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def resolve(self, key: FunctionKey, qualifier: str | None) -> Any:
        return Target()

    def settings(self, key: FunctionKey, qualifier: str | None) -> Settings:
        queues = {name: f"arn:aws:sqs:us-east-1:000000000000:{name}" for name in ("good", "bad", "dead")}
        return Settings(on_success=queues["good"], on_failure=queues["bad"], dead_letter_target=queues["dead"], maximum_event_age_ms=10**12)

    async def run(self, target: Any, payload: bytes, request_id: RequestId, *, trace_id: str = "", rate_limited: bool = True) -> Outcome:
        await asyncio.sleep(random.random() / 100)
        if random.random() < 0.1:
            raise Throttled("x")
        is_odd = json.loads(payload)["number"] % 2 == 1
        return outcome("Unhandled", b'{"errorMessage":"odd"}') if is_odd else outcome()

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(random.random() / 100)
        if random.random() < 0.2:
            raise AwsError("ServiceUnavailable", "now and then", status=503)
        name = params["QueueUrl"].rpartition("/")[2]
        if name == "dead":
            line = f"{params['MessageAttributes']['RequestID']['StringValue']} dead - -\n"
        else:
            told = json.loads(params["MessageBody"])["requestContext"]
            line = f"{told['requestId']} {name} {told['condition']} {told['approximateInvokeCount']}\n"
        os.write(self._record, line.encode())
        return {}


async def main(url: str, name: str, count: int, record: Path, began_ms: int) -> None:
    """Accept events from ten tasks, and go on running them for ever."""
    house = House(record)

    def now_ms() -> int:
        return began_ms + (time.time_ns() // 1_000_000 - began_ms) * SPEED

    async with open_database(url, migrations=MIGRATIONS, now_ms=now_ms) as database, asyncio.TaskGroup() as group:
        outbox = Outbox(database, house, now_ms)
        events = AsyncEvents(database, house, outbox, now_ms, in_flight=50, new_id=lambda: "id")  # type: ignore[arg-type]  # a scripted invoker
        group.create_task(outbox.run())
        group.create_task(events.run())
        numbers = iter(range(count))

        async def accept() -> None:
            for number in numbers:
                request_id = RequestId(f"{name}-{number}")
                await events.accept(KEY, None, json.dumps({"number": number}).encode(), request_id, "")
                os.write(1, f"{request_id}\n".encode())

        for _ in range(10):
            group.create_task(accept())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5])))

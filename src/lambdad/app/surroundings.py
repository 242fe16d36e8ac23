"""The services around Lambda, where events are born: made, opened, kept running and closed together."""

import random
import secrets
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from lambdad.kit import http1
from lambdad.kit.clock import NowMs
from lambdad.services import outbox as outbox_
from lambdad.services.events import app as events_app
from lambdad.services.outbox import Outbox
from lambdad.services.ports import Neighbours, Service
from lambdad.services.s3 import app as s3_app
from lambdad.services.scheduler import app as scheduler_app
from lambdad.services.sns import app as sns_app
from lambdad.services.sns.http_endpoints import HttpEndpoints
from lambdad.services.sns.rules import notifications as sns_notifications
from lambdad.services.sqs import app as sqs_app
from lambdad.store.database import Database
from lambdad.store.migrations import Migrations


def migrations() -> list[Migrations]:
    """Return the schemas of all of them, and of the outbox through which they deliver."""
    services = (sqs_app, sns_app, s3_app, events_app, scheduler_app)
    return [outbox_.migrations(), *(service.migrations() for service in services)]


class Surroundings:
    """
    All services but Lambda and the one that it logs to.

    Args:
        database: opened with `migrations`.
        spawn: starts tasks that its owner waits for.
        endpoint: where lambdad listens.
        objects: the directory of S3's files.
        sns_deny: networks to which SNS posts nothing.

    `open` is to be waited for before anything else, `runs` are to be kept running; after they have been cancelled, `close` writes out
    the rest.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        now_ms: NowMs,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        endpoint: str,
        objects: Path,
        neighbours: Neighbours,
        sns_deny: Sequence[str] = (),
    ) -> None:
        self._s3 = s3_app.S3Service(database, objects, outbox, neighbours, now_ms)
        self._sqs = sqs_app.SqsService(database, now_ms)
        posting = HttpEndpoints(denied=sns_deny)
        self._sns = sns_app.SnsService(database, outbox, now_ms, spawn=spawn, endpoint=endpoint, http=posting)
        self._events = events_app.EventsService(database, outbox, now_ms, new_id=lambda: str(uuid.uuid4()), spawn=spawn)
        self._scheduler = scheduler_app.SchedulerService(database, outbox, now_ms, new_id=lambda: secrets.token_hex(8), draw=random.random)

    async def open(self) -> None:
        """Read what the services keep in memory."""
        await self._sqs.open()
        await self._sns.load()
        await self._s3.open()
        await self._events.load()

    def services(self) -> Sequence[Service]:
        """Return the operations that clients see."""
        own = (self._sqs, self._sns, self._s3, self._events, self._scheduler)
        return [service.service() for service in own]

    def hidden(self) -> Sequence[Service]:
        """Return the operations that only neighbours see."""
        return (self._sns.http_service(),)

    def own_paths(self) -> Mapping[str, http1.Handler]:
        """Return what answers requests without a signature, by how their paths begin, which is with "/_lambdad/"."""
        return {sns_notifications.PATH: self._sns.links.answer}

    def runs(self) -> Sequence[Coroutine[Any, Any, Any]]:
        """Return what the services do by themselves; none of it ends."""
        return (self._sqs.run(), self._sns.run(), self._s3.run(), self._events.run(), self._scheduler.run())

    def stop_waiting(self) -> None:
        """Answer those who wait for something to happen: the server is about to stop."""
        self._sqs.stop_waiting()

    async def close(self) -> None:
        """Write down what is not yet."""
        await self._sqs.close()
        await self._s3.close()

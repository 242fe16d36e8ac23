"""The service: its parts put together, its operations by name, and what it does by itself."""

import asyncio
import logging
import secrets
import uuid
from collections.abc import Callable
from typing import Final, NoReturn

from lambdad.kit.clock import NowMs
from lambdad.services.outbox import Outbox
from lambdad.services.ports import Service
from lambdad.services.sns.http_endpoints import HttpEndpoints
from lambdad.services.sns.links import Links
from lambdad.services.sns.phone_numbers import PhoneNumbers
from lambdad.services.sns.publishing import Publishing
from lambdad.services.sns.registry import Registry, Spawn
from lambdad.services.sns.rules import limits
from lambdad.services.sns.signing import Signer
from lambdad.services.sns.subscription_attributes import SubscriptionAttributes
from lambdad.services.sns.subscriptions import Subscriptions
from lambdad.services.sns.tags import Tags
from lambdad.services.sns.topics import Topics
from lambdad.store.database import Database
from lambdad.store.errors import StoreError
from lambdad.store.migrations import Migrations, load_migrations
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.sns", "queries.sql")

_log = logging.getLogger("lambdad.sns")

FORGET_INTERVAL_S: Final = 300.0
"""How often what is too old is removed. Nobody is shown it anyway."""

_ROWS: Final = 1000
_TOKEN_BYTES: Final = 128


def migrations() -> Migrations:
    """Return the schema that the service needs in its database."""
    return load_migrations("lambdad.services.sns")


class SnsService:
    """SNS.

    Args:
        database: opened with `migrations`, and with those of the outbox.
        outbox: makes the deliveries.
        now_ms: the clock.
        spawn: starts tasks that its owner waits for.
        endpoint: where lambdad listens, "http://127.0.0.1:4566": links in messages begin so, unless who subscribed came by another way.
        new_id: makes UUIDs.
        http: posts to HTTP endpoints.

    `load` is to be waited for before anything else, and `run` is to be kept running.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        now_ms: NowMs,
        *,
        spawn: Spawn,
        endpoint: str,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        http: HttpEndpoints | None = None,
    ) -> None:
        self._database = database
        self._now_ms = now_ms
        self._registry = Registry(database, outbox, now_ms, spawn)
        self._http = http or HttpEndpoints()
        signer = Signer(database, now_ms)
        self._subscriptions = Subscriptions(
            self._registry, signer, now_ms, new_id=new_id, new_token=lambda: secrets.token_hex(_TOKEN_BYTES), endpoint=endpoint
        )
        chapters = (
            Topics(self._registry),
            Tags(self._registry),
            self._subscriptions,
            SubscriptionAttributes(self._registry),
            Publishing(database, self._registry, outbox, signer, now_ms, new_id),
            PhoneNumbers(),
        )
        self._handlers = {name: handler for chapter in chapters for name, handler in chapter.handlers().items()}
        self.links = Links(signer, self._subscriptions.handlers_of_links(), new_id)

    async def load(self) -> None:
        """Read all topics and subscriptions."""
        await self._registry.load()

    def service(self) -> Service:
        """Return the operations for the server and the neighbours."""
        return Service(name="sns", handlers=self._handlers)

    def http_service(self) -> Service:
        """Return the service that posts to HTTP endpoints, for the neighbours only."""
        return self._http.service()

    async def forget_old(self) -> None:
        """Remove subscriptions that nobody has confirmed in time, and ids for de-duplication that do not count any more."""
        await self._subscriptions.forget_old()
        before_ms = self._now_ms() - limits.DEDUPLICATION_MS
        while await self._database.write(
            lambda connection: connection.run(queries.delete_old_deduplications, before_ms=before_ms, most=_ROWS)
        ):
            pass

    async def run(self) -> NoReturn:
        """Remove what is too old from time to time, until cancelled."""
        while True:
            await asyncio.sleep(FORGET_INTERVAL_S)
            try:
                await self.forget_old()
            except StoreError:
                _log.exception("sns.forget.failed")

"""Fakes of what CloudWatch Logs needs from its neighbours: an outbox that keeps what is put into it, and functions that may be called."""

import base64
import gzip
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lambdad.model.errors import AwsError
from lambdad.services.outbox import Delivery
from lambdad.services.ports import Origin
from lambdad.store.connection import Connection


class FakeOutbox:
    """Keeps deliveries in memory; as it does not see rollbacks, tests of those need the real one."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.woken = 0

    def add(self, _connection: Connection, deliveries: Sequence[Delivery], _now_ms: int) -> None:
        self.deliveries += deliveries

    def wake(self) -> None:
        self.woken += 1

    def messages(self) -> list[dict[str, Any]]:
        """Return what functions would be sent, unpacked, and forget it."""
        taken, self.deliveries = self.deliveries, []
        return [unpacked(delivery.params["Payload"]) for delivery in taken]


class FakeNeighbours:
    """Answers every call, or refuses it; remembers calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Origin, str, str, Mapping[str, Any]]] = []
        self.refusal: AwsError | None = None

    async def call(self, origin: Origin, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append((origin, service, operation, params))
        if self.refusal is not None:
            raise self.refusal
        return {"StatusCode": 202}


_numbers = itertools.count(1)


def new_uuid() -> str:
    return f"00000000-0000-4000-8000-{next(_numbers):012x}"


def unpacked(payload: bytes) -> dict[str, Any]:
    """Read an event of CloudWatch Logs as a function does."""
    event = json.loads(payload)
    message: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
    return message

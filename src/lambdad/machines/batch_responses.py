"""Which messages of a batch a function has not dealt with: what it answers where ReportBatchItemFailures is on.

    {"batchItemFailures": [{"itemIdentifier": "<messageId>"}]}

Source: AWS Lambda developer guide, "Implementing partial batch responses"; what else counts as complete success or complete failure
was recorded from the service.
"""

from collections.abc import Sequence
from typing import Any

import orjson


def failed(response: bytes, identifiers: Sequence[str]) -> frozenset[int]:
    """
    Say which messages of a batch have failed, by their places in it.

    They are those that are listed, for FIFO queues too: it is for the function to list what follows its first failure.

    Args:
        response: what the function has returned.
        identifiers: of the messages, in the order of the event.

    Returns:
        Nothing where the response lists nothing: null, ``""``, ``[]``, ``{}``, a null or empty list. All of them where the response is
        no object, or lists something that is no message of the batch.
    """
    everything = frozenset(range(len(identifiers)))
    try:
        answer: Any = orjson.loads(response) if response else None
    except orjson.JSONDecodeError:
        return everything
    if answer is None or answer in ("", [], {}):
        return frozenset()
    if not isinstance(answer, dict):
        return everything
    listed = answer.get("batchItemFailures")
    if listed is None:
        return frozenset()
    if not isinstance(listed, list):
        return everything
    places: dict[str, list[int]] = {}
    for place, identifier in enumerate(identifiers):  # a standard queue may deliver a message twice, in one batch too
        places.setdefault(identifier, []).append(place)
    found: set[int] = set()
    for item in listed:
        named = item.get("itemIdentifier") if isinstance(item, dict) else None
        if not isinstance(named, str) or named not in places:
            return everything
        found.update(places[named])
    return frozenset(found)

"""Partial batch responses: every documented and every recorded case."""

import pytest

from lambdad.machines import batch_responses

IDS = ["a", "b", "c"]
ALL = frozenset((0, 1, 2))


@pytest.mark.parametrize(
    "response",
    [b"", b"null", b'""', b"[]", b"{}", b'{"batchItemFailures":[]}', b'{"batchItemFailures":null}', b'{"other":1}'],
)
def test_nothing_listed_is_success(response: bytes) -> None:
    """A function that lists nothing has dealt with everything."""
    assert batch_responses.failed(response, IDS) == frozenset()


@pytest.mark.parametrize(
    "response",
    [
        b"not json",
        b'"text"',
        b"3",
        b"[1]",
        b'{"batchItemFailures":"a"}',
        b'{"batchItemFailures":{}}',
        b'{"batchItemFailures":["a"]}',
        b'{"batchItemFailures":[null]}',
        b'{"batchItemFailures":[{"itemIdentifier":""}]}',
        b'{"batchItemFailures":[{"itemIdentifier":null}]}',
        b'{"batchItemFailures":[{"itemIdentifier":1}]}',
        b'{"batchItemFailures":[{"foo":"a"}]}',
        b'{"batchItemFailures":[{}]}',
        b'{"batchItemFailures":[{"itemIdentifier":"z"}]}',
        b'{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"z"}]}',
    ],
)
def test_what_cannot_be_understood_is_failure(response: bytes) -> None:
    """A response that makes no sense, or names what is not in the batch, fails the whole batch."""
    assert batch_responses.failed(response, IDS) == ALL


def test_listed_messages_have_failed() -> None:
    """What is listed has failed, however often it is listed and whatever else is said of it."""
    response = b'{"batchItemFailures":[{"itemIdentifier":"c","why":1},{"itemIdentifier":"a"},{"itemIdentifier":"c"}]}'
    assert batch_responses.failed(response, IDS) == {0, 2}


def test_a_message_that_came_twice_fails_twice() -> None:
    """A standard queue may deliver a message twice in one batch; both have failed."""
    response = b'{"batchItemFailures":[{"itemIdentifier":"a"}]}'
    assert batch_responses.failed(response, ["a", "b", "a"]) == {0, 2}


def test_nothing_is_inferred() -> None:
    """What follows a failure has not failed for that: functions of FIFO queues list it themselves, as on AWS."""
    response = b'{"batchItemFailures":[{"itemIdentifier":"b"}]}'
    assert batch_responses.failed(response, IDS) == {1}

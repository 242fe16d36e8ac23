"""Names, ARNs and URLs of queues."""

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from lambdad.model import arn
from lambdad.services.sqs import errors

_STANDARD: Final = re.compile(r"[A-Za-z0-9_-]{1,80}").fullmatch
_FIFO: Final = re.compile(r"(?=.{1,80}\Z)[A-Za-z0-9_-]+\.fifo").fullmatch
_ARN: Final = re.compile(r"arn:aws[a-z-]*:sqs:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):(?P<name>[A-Za-z0-9_.-]{1,80})").fullmatch
_PATH: Final = re.compile(r"(?:.*/)?(?P<account>\d{12})/(?P<name>[A-Za-z0-9_.-]{1,80})").fullmatch
_HOST: Final = re.compile(r"sqs(?:-fips)?\.(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)\.").match


class QueueKey(NamedTuple):
    """What a queue is known by."""

    account: str
    region: str
    name: str


def check_new(name: str, *, is_fifo: bool) -> None:
    """
    Refuse what cannot be the name of a queue of its type.

    Raises:
        InvalidParameterValue: it cannot.
    """
    if is_fifo and not _FIFO(name):
        raise errors.InvalidParameterValue(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix "
            "and be 1 to 80 in length."
        )
    if not is_fifo and not _STANDARD(name):
        raise errors.InvalidParameterValue("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")


def queue_arn(key: QueueKey) -> str:
    """Build a queue's ARN."""
    return f"arn:{arn.partition(key.region)}:sqs:{key.region}:{key.account}:{key.name}"


def queue_url(endpoint: str, key: QueueKey) -> str:
    """Build the URL that a caller at an endpoint uses."""
    return f"{endpoint}/{key.account}/{key.name}"


def of_arn(text: str) -> QueueKey | None:
    """Take a queue's ARN apart; None where the text is none."""
    found = _ARN(text)
    return QueueKey(found["account"], found["region"], found["name"]) if found else None


def of_url(url: str, account: str, region: str) -> QueueKey:
    """
    Find which queue a URL means: by the last two parts of its path, whatever the host; a host ``sqs.REGION.…`` names the region.

    Args:
        url: the queue's URL, or only its name.
        account, region: of the caller, for what the URL does not say.

    Raises:
        InvalidAddress: it means no queue.
    """
    if "/" not in url:
        if _STANDARD(url) or _FIFO(url):
            return QueueKey(account, region, url)
        raise errors.InvalidAddress(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise errors.InvalidAddress(url) from None
    found = _PATH(parts.path.rstrip("/"))
    if found is None:
        raise errors.InvalidAddress(url)
    host = _HOST(parts.netloc)
    return QueueKey(found["account"], host["region"] if host else region, found["name"])

"""ARNs and names of topics and subscriptions, and the ARNs of what subscribes."""

import functools
import re
from dataclasses import dataclass

from lambdad.model import arn as arns
from lambdad.services.sns import errors

_TOPIC_NAME = re.compile(r"[A-Za-z0-9_-]{1,256}")
_FIFO_NAME = re.compile(r"[A-Za-z0-9_-]{1,251}\.fifo")
_PARTITION = r"arn:(?P<partition>aws[a-z-]*)"
_TOPIC = re.compile(rf"{_PARTITION}:sns:(?P<region>[a-z0-9-]+):(?P<account>\d{{12}}):(?P<name>[A-Za-z0-9_-]{{1,256}}(?:\.fifo)?)")
_SUBSCRIPTION = re.compile(rf"(?P<topic>{_TOPIC.pattern}):(?P<id>[0-9a-f-]{{36}})")
_QUEUE = re.compile(rf"{_PARTITION}:sqs:(?P<region>[a-z0-9-]+):(?P<account>\d{{12}}):(?P<name>[A-Za-z0-9_-]{{1,80}}(?:\.fifo)?)")
_FUNCTION = re.compile(
    rf"{_PARTITION}:lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{{12}}):function:"
    r"(?P<name>[A-Za-z0-9_-]{1,64})(?::(?P<qualifier>\$LATEST|[A-Za-z0-9_-]{1,128}))?"
)
_ELEMENTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """The parts of an ARN that say whose and where."""

    arn: str
    account: str
    region: str
    name: str

    @property
    def is_fifo(self) -> bool:
        """Say whether it is a FIFO topic or queue."""
        return self.name.endswith(".fifo")


def topic_arn(account: str, region: str, name: str) -> str:
    """Build a topic's ARN."""
    return f"arn:{arns.partition(region)}:sns:{region}:{account}:{name}"


def check_new_topic(name: str, *, is_fifo: bool) -> None:
    """
    Check the name of a topic that is to be made.

    Raises:
        InvalidParameter: it cannot be one.
    """
    if is_fifo:
        if not _FIFO_NAME.fullmatch(name):
            raise errors.InvalidParameter(
                "Fifo Topic names must end with .fifo and must be made up of only uppercase and lowercase ASCII letters, "
                "numbers, underscores, and hyphens, and must be between 1 and 256 characters long."
            )
    elif not _TOPIC_NAME.fullmatch(name):
        raise errors.InvalidParameter("Topic Name")


def parse_topic(arn: str, parameter: str = "TopicArn") -> Resource:
    """
    Take a topic's ARN apart.

    Raises:
        InvalidParameter: it is none.
    """
    _check_elements(arn, parameter)
    match = _TOPIC.fullmatch(arn)
    if match is None:
        raise errors.InvalidParameter(parameter)
    return _resource(match)


def parse_subscription(arn: str) -> Resource:
    """
    Take a subscription's ARN apart; the parts are those of its topic.

    Raises:
        InvalidParameter: it is none.
    """
    _check_elements(arn, "SubscriptionArn")
    match = _SUBSCRIPTION.fullmatch(arn)
    if match is None:
        raise errors.InvalidParameter(f"SubscriptionArn Reason: An ARN must have at least 7 elements, not {len(arn.split(':'))}")
    return Resource(arn=match["topic"], account=match["account"], region=match["region"], name=match["name"])


@functools.lru_cache(maxsize=1024)
def parse_queue(arn: str) -> Resource | None:
    """Take a queue's ARN apart; None where it is none."""
    match = _QUEUE.fullmatch(arn)
    return _resource(match) if match is not None else None


@functools.lru_cache(maxsize=1024)
def parse_function(arn: str) -> Resource | None:
    """Take a function's ARN apart; None where it is none."""
    match = _FUNCTION.fullmatch(arn)
    return _resource(match) if match is not None else None


def _resource(match: re.Match[str]) -> Resource:
    return Resource(arn=match[0], account=match["account"], region=match["region"], name=match["name"])


def _check_elements(arn: str, parameter: str) -> None:
    count = len(arn.split(":"))
    if count < _ELEMENTS:
        raise errors.InvalidParameter(f"{parameter} Reason: An ARN must have at least 6 elements, not {count}")

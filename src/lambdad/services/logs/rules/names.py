"""Names and ARNs of log groups and streams."""

from typing import Any, Final

from lambdad.model import arn
from lambdad.services.logs import errors

_LAST_CHARACTER: Final = "\U0010ffff"


def group_arn(account: str, region: str, group: str) -> str:
    """Build a group's ARN as ``logGroupArn`` has it, without ``:*``."""
    return f"arn:{arn.partition(region)}:logs:{region}:{account}:log-group:{group}"


def stream_arn(account: str, region: str, group: str, stream: str) -> str:
    """Build a stream's ARN."""
    return f"{group_arn(account, region, group)}:log-stream:{stream}"


def group_of_arn(account: str, region: str, text: str) -> str:
    """Return the name in a group's ARN, with or without ``:*`` at its end.

    Raises:
        InvalidParameter: it is no group's ARN.
        GroupMissing: it belongs to another account or region.
    """
    parts = text.split(":", 6)
    if len(parts) < 7 or parts[0] != "arn" or parts[2] != "logs" or parts[5] != "log-group":
        raise errors.InvalidParameter("The specified ARN is not that of a log group.")
    if parts[3] != region or parts[4] != account:
        raise errors.GroupMissing
    return parts[6].removesuffix(":*")


def group_of_request(account: str, region: str, request: dict[str, Any]) -> str:
    """Return the name of the group that a request means by ``logGroupName`` or ``logGroupIdentifier`` (name or ARN).

    Raises:
        InvalidParameter: there is none of the two, or there are both, or the ARN is none.
        GroupMissing: the ARN belongs to another account or region.
    """
    name, identifier = str(request.get("logGroupName", "")), str(request.get("logGroupIdentifier", ""))
    if name and identifier:
        raise errors.InvalidParameter("LogGroup name and LogGroup ARN are mutually exclusive parameters.")
    if not name and not identifier:
        raise errors.InvalidParameter("Either a LogGroup name or a LogGroup ARN is required.")
    if name:
        return name
    return group_of_arn(account, region, identifier) if identifier.startswith("arn:") else identifier


def check_new_group(group: str) -> None:
    """Refuse names that are AWS's own.

    Raises:
        InvalidParameter: the name begins with ``aws/``.
    """
    if group.lower().startswith("aws/"):
        raise errors.InvalidParameter("Log groups starting with AWS/ are reserved for AWS.")


def is_storable(name: str) -> bool:
    """Say whether a database takes the name: it has no NUL and no half of a surrogate pair."""
    return "\0" not in name and not any("\ud800" <= ch <= "\udfff" for ch in name)


def check_new_stream(stream: str) -> None:
    """Refuse characters that no name can have.

    Raises:
        InvalidParameter: the name has a NUL or half a surrogate pair.
    """
    if not is_storable(stream):
        raise errors.InvalidParameter("The log stream name has characters that cannot be stored.")


def end_of_prefix(prefix: str) -> str:
    """Return a text behind all texts that begin with the prefix, in the order of bytes."""
    return prefix + _LAST_CHARACTER

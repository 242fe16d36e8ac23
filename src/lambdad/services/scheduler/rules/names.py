"""Names and ARNs of schedules and groups, and the tokens of lists."""

import base64
import binascii
import re
from typing import Final

from lambdad.model import arn
from lambdad.model.ids import AccountId, Region
from lambdad.services.scheduler import errors

DEFAULT: Final = "default"

_GROUP_ARN: Final = re.compile(r"arn:aws[a-z-]*:scheduler:([a-z0-9-]+):(\d{12}):schedule-group/([0-9a-zA-Z\-_.]+)", re.ASCII)


def schedule_arn(account: str, region: str, group: str, name: str) -> str:
    """Write a schedule's ARN."""
    return f"arn:{arn.partition(region)}:scheduler:{region}:{account}:schedule/{group}/{name}"


def group_arn(account: str, region: str, name: str) -> str:
    """Write a group's ARN."""
    return f"arn:{arn.partition(region)}:scheduler:{region}:{account}:schedule-group/{name}"


def group_of_arn(text: str) -> tuple[AccountId, Region, str]:
    """
    Read a group's ARN.

    Raises:
        ArnMissing: it is none.
    """
    match = _GROUP_ARN.fullmatch(text)
    if match is None:
        raise errors.ArnMissing(text)
    return AccountId(match[2]), Region(match[1]), match[3]


def token(*parts: str) -> str:
    """Write the token with which a list goes on behind names."""
    return base64.urlsafe_b64encode("/".join(parts).encode()).decode().rstrip("=")


def parse_token(text: str | None, count: int) -> list[str]:
    """
    Read a token that `token` wrote of so many names; empty ones where there is none.

    Raises:
        InvalidValue: it is none.
    """
    if text is None:
        return [""] * count
    try:
        parts = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode().split("/")
    except (binascii.Error, ValueError):
        parts = []
    if len(parts) != count or "\0" in text:
        raise errors.InvalidValue("The NextToken you provided is invalid.")
    return parts
